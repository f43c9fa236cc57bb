# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lesson 01 · Autoencoders: AE, DAE and VAE
#
# | | |
# |---|---|
# | **For** | whoever knows Python and has trained a small network in PyTorch |
# | **Afterwards you can** | write the loss of a VAE without its classic mistakes, read a latent space with numbers and not only with the eye, and say what a VAE is better at than an autoencoder, and what not |
# | **You need** | the chain rule, expectations, the normal distribution; no prior knowledge of autoencoders |
# | **Time** | 2 hours with the exercises; the notebook itself runs in a minute |
# | **Level** | introductory |
# | **Paper** | D. P. Kingma and M. Welling, *Auto-Encoding Variational Bayes* (2013), [arXiv:1312.6114](https://arxiv.org/abs/1312.6114) |
# | **Also** | a review of 2019, in Korean, that compares the latent space of an AE with that of a VAE |
#
# **Claims that you will test.** Some hold. Some do not. Some depend on how much data there is.
#
# | claim | source | section |
# |---|---|---|
# | A denoising autoencoder repairs masked digits better than a plain one | Vincent et al. | 3 |
# | The reparameterised gradient has less variance than the score-function estimator | paper | 4 |
# | (a) The codes of a VAE lie more compactly around the origin than those of an AE | review | 5 |
# | (c) Its clusters are tighter, hence better for finding groups | review | 5 |
# | (b) It reconstructs the data better, because its codes are compact | review | 6 |
# | A VAE can be sampled from its prior, an AE cannot | review | 6 |
# | The reconstruction error finds anomalies | review | 7 |
# | The importance-weighted bound rises with the number of samples | Burda et al. | 7 |
# | The estimator with the closed-form KL has less variance | paper | 7 |
# | Superfluous latent dimensions do not lead to overfitting | paper | 7 |
# | A mean in place of a sum makes the posterior collapse | users of `pytorch/examples` | 8 |

# %% [markdown]
# ## How this notebook works
#
# - An **exercise** is a cell with a stub. Replace the `raise` by your answer, run the cell, run the check below it. Stuck?
#   `lab.hint("name")`, three times; `lab.solution("name")` shows the reference. Whatever you do, the notebook runs on: with
#   your function when it is right, with the reference otherwise.
# - **Predict** asks what you expect before you run the next cell; later your guess stands beside what came out.
# - Every result in the text is computed in this run. `lab.claim` notes whether a sentence of the paper or the review holds.
# - `profile` chooses the scale: `quick` (5,000 digits, a minute), `full` (all of MNIST), `paper` (the paper's architecture).

# %% tags=["parameters"]
profile = "quick"  # "quick", "full" or "paper"
seed = 0  # another seed: other initial weights, other noise

# %%
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import labkit
import labkit.data
from labkit.lab.figures import bars, ellipse, image_rows, panels, scatter_classes
from labkit.lab.training import fit, settled
from labkit.lab.widgets import image_sliders
from labkit.papers import autoencoders as paper
from labkit.papers.autoencoders import Autoencoder, VariationalAutoencoder

lab = labkit.start("01_autoencoders", profile=profile, seed=seed)


# %% [markdown]
# Everything that differs between the profiles stands in one place, each with its reason.


# %%
@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...]  # hidden units of the encoder; the decoder mirrors them
    epochs: int  # passes over the training digits, the same for every model that is compared
    batch_size: int  # digits per gradient step; with few digits small ones, for more steps an epoch
    lr: float  # step size; chosen once for the AE and the VAE together
    held_out: tuple[int, ...]  # digits left out, one at a time, for anomaly detection
    anomaly_epochs: int  # fewer: these models are trained once for each digit left out
    evaluated: int  # test digits on which costly quantities are computed (silhouette, importance weights)
    latent: int = 4  # d: the review's figure shows a 4-dimensional latent space
    enough: int = 20  # latent dimensions of a VAE that has enough of them
    wide: int = 50  # and of one that has too many
    mask: float = 0.5  # share of pixels that corruption sets to 0
    samples: int = 100  # K, draws of z for each digit in the importance-weighted bound
    activation: str = "ReLU"  # between the layers
    optimizer: str = "Adam"  # adapts the step size of each weight
    init_variance: float | None = None  # variance of the initial weights; None: PyTorch's own initialisation
    weight_decay: float = 0.0  # a prior N(0, I) on the weights, scaled by 1/N


# %%
# One hidden layer of 500 units, minibatches of 100, Adagrad, weights from N(0, 0.01), weight decay: as in the paper. Its
# text leaves open what we choose: 100 epochs, tanh, the step 0.02 out of its {0.01, 0.02, 0.1}, 0.01 as a variance.
as_in_paper = {"activation": "Tanh", "optimizer": "Adagrad", "init_variance": 0.01, "weight_decay": 1 / 60000}
every = tuple(range(10))
config = lab.choose(
    quick=Config((256, 128), 8, 32, 2e-3, held_out=(0, 1), anomaly_epochs=3, evaluated=800),
    full=Config((512, 256), 8, 256, 2e-3, held_out=every, anomaly_epochs=2, evaluated=2000),
    paper=Config((500,), 100, 100, 0.02, held_out=every, anomaly_epochs=10, evaluated=5000, **as_in_paper),
)

# %% [markdown]
# ## 1 · The data: digits as coin tosses
#
# An image is a vector $x$ of $D = 28 \cdot 28 = 784$ pixels. MNIST's pixels are grey, between 0 and 1; we round them, **every image
# in this lesson is binarised at 0.5**. Then a pixel is the outcome of a coin toss, a *Bernoulli* variable; a model says with
# which probability each coin shows ink, and what we compute are probabilities of images. Section 8 shows what goes wrong when one
# keeps the grey values.

# %%
digits = labkit.data.load("mnist", profile=profile)
x_train = (digits.train.flat > 0.5).float().to(lab.device)  # (N, 784)
x_test = (digits.test.flat > 0.5).float().to(lab.device)
y_train, y_test = digits.train.labels.numpy(), digits.test.labels.numpy()
print(digits.source)

# %%
lab.record_all({"data/train": len(x_train), "data/test": len(x_test)}, unit="images")
lab.record("data/ink", x_test.mean(), unit="share of pixels")
first = [int(np.flatnonzero(y_test == digit)[0]) for digit in range(10)]  # one test digit of each class
lab.show(
    image_rows({"grey": digits.test.flat[first], "binarised": x_test[first]}),
    alt="Two rows of ten handwritten digits, 0 to 9: grey as in MNIST, and below them the same digits in pure black and "
    "white, with slightly rougher edges.",
)

# %% [markdown]
# The strokes lose their soft edge and nothing else. A decoder that knows nothing and says ½ for every pixel would need
# $784 \log 2$ nats to describe an image; a **nat** is a unit of information, $1/\log 2 \approx 1.44$ bits.

# %% tags=["nbval-check-output"]
print("a batch of images:", tuple(x_test[:128].shape))
lab.record("no knowledge", 784 * math.log(2), unit="nats")

# %% [markdown]
# ## 2 · The autoencoder
#
# **Intuition.** Squeeze an image through a bottleneck of $d = 4$ numbers and rebuild it from them. What the images have in common
# the decoder can learn by heart; the four numbers must carry what tells them apart. Nothing else is asked of them: each
# image gets a *point*, and where the points lie does not matter to the loss.
#
# **Mathematics.** An encoder $z = f_\phi(x)$ gives the **code**, or latent vector, $z \in \mathbb R^d$. A decoder $g_\theta(z)$ gives
# **logits**, one per pixel; the sigmoid of a logit is the probability $p_i$ of ink at pixel $i$. The reconstruction error of
# an image is the negative logarithm of the probability that the decoder gives to it, a sum over independent pixels:
#
# $$ -\log p_\theta(x \mid z) = -\sum_{i=1}^{784} \big[ x_i \log p_i + (1 - x_i) \log (1 - p_i) \big]. $$
#
# (For grey or coloured images one often takes the squared error instead, the same thing for a Gaussian decoder of fixed variance.)
#
# **Predict.** If the mean over the 784 pixels were used instead of the sum, would an autoencoder learn anything different?
# (Keep your answer: in section 8 the same change ruins a VAE.)

# %% [markdown]
# ### Exercise 1 · The reconstruction term
#
# Write the formula above for a whole batch, from the logits rather than from the probabilities: a confident decoder's probabilities
# round to 0 or 1, and their logarithm to $-\infty$. One number comes out for each image.


# %% tags=["exercise"]
def reconstruction_nats(logits, x):
    """-log p(x|z) in nats, one number an image: logits (B, 784) and x (B, 784) give (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
reconstruction_nats = lab.check(reconstruction_nats)


# %% [markdown]
# A network needs an encoder and a decoder; `labkit.papers.autoencoders.Autoencoder` is two small stacks of linear layers. Have
# a look: `paper.Autoencoder??`. One helper trains every model in this lesson in the same way, so that comparisons are fair.


# %%
def train(name, model, loss, images, epochs=config.epochs, **more):
    """Train a model on loss(model, x, generator), always with this lesson's optimizer; returns the history."""
    optimizer = getattr(torch.optim, config.optimizer)  # fused: a step is one pass over the memory, not a dozen
    fused = {"fused": True} if config.optimizer == "Adam" else {}
    optimizer = optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, **fused)
    settings = {"epochs": epochs, "batch_size": config.batch_size, "optimizer": optimizer, "label": name}
    return fit(model, loss, images, generator=lab.generator(name), checkpoint=lab.checkpoint(name), **settings, **more)


def build(kind, latent=config.latent):
    """A new model, its initial weights drawn from one seed for all kinds."""
    with lab.seeded("weights"):
        model = kind(784, config.hidden, latent, getattr(nn, config.activation))
        if config.init_variance is not None:
            for weight in model.parameters():
                nn.init.normal_(weight, std=config.init_variance**0.5)
    return model.to(lab.device)


# %%
def ae_loss(model, x, generator):
    return reconstruction_nats(model(x), x).mean()


ae = build(Autoencoder)
ae_history = train("ae", ae, ae_loss, x_train)

# %% tags=["nbval-check-output"]
print("a code:", tuple(ae.encode(x_test[:128]).shape), " logits:", tuple(ae(x_test[:128]).shape))


# %%
@torch.no_grad()
def mean_code(model, x):
    """The code that a figure shows: z of an AE, the mean mu of a VAE."""
    code = model.encode(x)
    return code[0] if isinstance(code, tuple) else code  # (N, d)


@torch.no_grad()
def error(model, x):
    """Mean reconstruction error in nats per image, from the mean code."""
    return reconstruction_nats(model.decode(mean_code(model, x)), x).mean().item()


@torch.no_grad()
def rebuilt(model, x):
    return torch.sigmoid(model.decode(mean_code(model, x)))  # (N, 784) probabilities of ink


# %%
lab.record_all({"ae/error/train": error(ae, x_train), "ae/error/test": error(ae, x_test)}, unit="nats")
ink_rate = x_train.mean(0).clamp(1e-3, 1 - 1e-3)  # the average digit, (784,)
lab.record(
    "average digit/error", reconstruction_nats(torch.logit(ink_rate).expand_as(x_test), x_test).mean(), unit="nats"
)
lab.show(
    image_rows({"digit": x_test[first], "from 4 numbers": rebuilt(ae, x_test[first])}),
    alt="Ten test digits, 0 to 9, and below each its reconstruction from four numbers: smoother than the digit, of about the "
    "same width and slant, and in some cases closer to another, similar class.",
)

# %% [markdown]
# **What we saw.** Details are replaced by what is typical, and where two classes look alike, such as 4 and 9, the reconstruction may
# be a blend of both or the wrong one.

# %%
lab.tell(
    "Without any knowledge an image takes {no knowledge:.1f} nats; with the average digit as the answer to everything, "
    "{average digit/error:.1f}; with the four numbers, {ae/error/test:.1f} ({ae/error/train:.1f} on the training digits). The price "
    "of sending the four numbers is not counted; a VAE will count it."
)

# %% [markdown]
# ## 3 · The denoising autoencoder
#
# **Intuition.** An autoencoder may memorise; one whose input is damaged must know what digits look like in order to
# repair them. The change is one word: the *input* is corrupted, the **target is the clean image**.
#
# **Mathematics.** Draw a damaged image $\tilde x$ at random, given $x$; the loss is $-\log p_\theta\big(x \mid f_\phi(\tilde x)\big)$. Here masking noise: each pixel is
# set to 0 with probability $\nu$, independently of all others (Vincent et al., 2008). `paper.corrupt` also has Gaussian and
# salt-and-pepper noise.

# %% [markdown]
# ### Exercise 2 · Masking noise
#
# Return a new tensor: the clean images are still needed as the target. All randomness comes from `generator`.


# %% tags=["exercise"]
def mask_pixels(x, probability, generator=None):
    """A copy of x, any shape, in which each pixel is set to 0 with this probability."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
mask_pixels = lab.check(mask_pixels)


# %%
def dae_loss(model, x, generator, probability=config.mask):
    corrupted = mask_pixels(x, probability, generator)
    return reconstruction_nats(model(corrupted), x).mean()  # the target is x, the clean image


# %%
lab.predict(
    "zero noise",
    "By how much do the two losses differ on the same network when the masking probability is 0?",
    number="nats",
)

# %% tags=["nbval-check-output"]
with torch.no_grad():
    without_noise = dae_loss(ae, x_test, lab.generator("zero"), probability=0.0)
print("difference at zero noise:", (without_noise - ae_loss(ae, x_test, None)).item())
lab.reveal("zero noise", (without_noise - ae_loss(ae, x_test, None)).item())

# %% [markdown]
# With zero noise a DAE *is* an autoencoder, to the last bit. Now with half of the pixels masked.

# %%
denoising = ["the DAE on both", "the DAE on masked digits only", "the AE on masked digits"]
lab.predict("denoising", "Which of the two is better on masked digits, and which on clean ones?", choices=denoising)

# %%
dae = build(Autoencoder)
train("dae", dae, dae_loss, x_train)

masked = mask_pixels(x_test, config.mask, lab.generator("masked test digits"))
for name, model in {"ae": ae, "dae": dae}.items():
    with torch.no_grad():
        lab.record(f"{name}/denoising error", reconstruction_nats(model(masked), x_test).mean(), unit="nats")
lab.record("dae/error/test", error(dae, x_test), unit="nats")
better_masked = lab.metrics["dae/denoising error"] < lab.metrics["ae/denoising error"]
better_clean = lab.metrics["dae/error/test"] < lab.metrics["ae/error/test"]
lab.reveal("denoising", denoising[0 if better_masked and better_clean else 1 if better_masked else 2])

# %%
lab.show(
    image_rows(
        {
            "digit": x_test[first],
            "masked": masked[first],
            "AE": rebuilt(ae, masked[first]),
            "DAE": rebuilt(dae, masked[first]),
        }
    ),
    alt="Four rows of ten images: digits; the same digits with half of their pixels masked, so that only specks of ink are "
    "left; the autoencoder's reconstructions from these, pale and blurred; those of the denoising autoencoder, darker.",
)

# %%
lab.claim(
    "A denoising autoencoder repairs masked digits better than a plain autoencoder.",
    holds=lab.metrics["dae/denoising error"] < lab.metrics["ae/denoising error"],
    evidence={"AE": lab.metrics["ae/denoising error"], "DAE": lab.metrics["dae/denoising error"]},
    source="Vincent et al. (2008)",
)
lab.tell(
    "On masked digits the DAE needs {dae/denoising error:.1f} nats and the AE {ae/denoising error:.1f}. On whole ones it is "
    "{dae/error/test:.1f} against {ae/error/test:.1f}."
)

# %% [markdown]
# Each is better at what it was trained for. The DAE has never had a whole digit at its input: twice the ink that it is used to. What
# it has learnt is to read half-masked digits, not to read digits in general. (Going further: mask a *random* share.)
#
# ## 4 · The variational autoencoder
#
# **Intuition.** Give each image not a point but a small cloud, a Gaussian; say how much each cloud costs by how far it is from
# one common Gaussian at the origin. Codes then cannot be scattered at will. In the review's example, a feature of a face is one
# number in an AE and a range in a VAE.
#
# **Mathematics.** The model says how an image comes about: draw a code from the **prior** $p(z) = N(0, I)$, then the pixels
# from the decoder, $p_\theta(x \mid z)$. How probable is an image under this model, $\log p_\theta(x)$? The integral over all $z$ is out of
# reach. The codes that may have produced $x$ follow the **posterior** $p_\theta(z \mid x) = p_\theta(x \mid z)\, p(z) / p_\theta(x)$, which is out of
# reach for the same reason. So let the encoder propose such codes: $q_\phi(z \mid x) = N(\mu, \mathrm{diag}\,\sigma^2)$.
#
# How far one distribution is from another is measured by the **Kullback-Leibler divergence** $D_{KL}(q \,\|\, p) = \mathbb E_q[\log q - \log p]$, which is never
# negative, and 0 only for $q = p$. Insert the posterior for $p$ and rearrange (paper, equation 1):
#
# $$ \log p_\theta(x) = \underbrace{\mathbb E_{q}\,\log p_\theta(x \mid z)}_{-\text{reconstruction error}} - \underbrace{D_{KL}\big(q_\phi(z\mid x)\,\|\,p(z)\big)}_{\text{price of the code}} \; + \underbrace{D_{KL}\big(q_\phi(z\mid x)\,\|\,p_\theta(z\mid x)\big)}_{\ge\, 0,\ \text{unknown}}. $$
#
# Drop the last term, and what remains is a lower bound on the log-likelihood, the **ELBO** (evidence lower bound, equation 3). Training makes it as
# large as possible. The encoder gives $\mu$ and `logvar` $= \log \sigma^2$, which may be any real number, so that positivity takes care of itself.

# %% [markdown]
# ### Exercise 3 · The price of a code
#
# For two Gaussians the KL divergence has a closed form (paper, appendix B). For one latent dimension:
# $D_{KL} = \tfrac12\left(\mu^2 + \sigma^2 - \log \sigma^2 - 1\right)$; dimensions are independent, so they add up.

# %%
lab.predict(
    "price of a shift",
    r"A code whose cloud equals the prior costs nothing. What does one cost with $\mu = (1, 1, 1, 1)$ and $\sigma = 1$?",
    number="nats",
)


# %% tags=["exercise"]
def kl_to_standard_normal(mu, logvar):
    """KL( N(mu, diag exp(logvar)) || N(0, I) ) in nats: (B, d), (B, d) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
kl_to_standard_normal = lab.check(kl_to_standard_normal)

# %% tags=["nbval-check-output"]
ones, zeros = torch.ones(1, 4), torch.zeros(1, 4)
print("equal to the prior:", kl_to_standard_normal(zeros, zeros).item(), "nats")
print("mu = (1, 1, 1, 1): ", kl_to_standard_normal(ones, zeros).item(), "nats")
lab.reveal("price of a shift", kl_to_standard_normal(ones, zeros).item())

# %% [markdown]
# ### Exercise 4 · The reparameterisation
#
# The first term of the ELBO is an expectation over $z \sim q_\phi(z \mid x)$, estimated with one sample. But the sample depends on $\phi$:
# how does the gradient get through a random draw? Write the draw as a function of the parameters and of noise that has none:
#
# $$ z = \mu + \sigma \odot \epsilon, \qquad \epsilon \sim N(0, I) \qquad\text{(paper, section 2.4)}. $$


# %% tags=["exercise"]
def reparameterize(mu, logvar, generator=None):
    """A sample z ~ N(mu, diag exp(logvar)) through which gradients flow: (B, d), (B, d) -> (B, d)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
reparameterize = lab.check(reparameterize)

# %% [markdown]
# Why go to this length? There is an older way that needs no gradient through $z$, the **score-function estimator**
# $\nabla_\mu \mathbb E[f(z)] = \mathbb E[f(z)\, \nabla_\mu \log q(z)]$. Let us compare both on a case that can be solved on paper:
# $f(z) = z^2$ with $z \sim N(\mu, 1)$, where $\nabla_\mu \mathbb E[z^2] = 2\mu$.

# %%
mu = torch.full((100_000, 1), 1.0, requires_grad=True)
z = reparameterize(mu, torch.zeros(100_000, 1), torch.Generator().manual_seed(seed))
(pathwise,) = torch.autograd.grad(z.square().sum(), mu)  # one gradient per sample, (100000, 1)
score = (z.square() * (z - mu)).detach()  # f(z) times the gradient of log q(z)

for name, gradient in {"pathwise": pathwise, "score": score}.items():
    lab.record(f"gradient/{name} mean", gradient.mean())
    lab.record(f"gradient/{name} standard error", gradient.std() / len(gradient) ** 0.5)
lab.record("gradient/variance ratio", score.var() / pathwise.var())

# %%
lab.claim(
    "For f(z) = z², the reparameterised gradient has less variance than the score-function estimator.",
    holds=lab.metrics["gradient/variance ratio"] > 1,
    evidence={"variance ratio": lab.metrics["gradient/variance ratio"]},
    source="paper, section 2.2",
)
lab.tell(
    "Both estimate the same number, 2: {gradient/pathwise mean:.3f} ± {gradient/pathwise standard error:.3f} and "
    "{gradient/score mean:.3f} ± {gradient/score standard error:.3f} (one standard error). A single score-function sample has "
    "{gradient/variance ratio:.1f} times the variance, so it takes that many times more samples to be as precise."
)

# %% [markdown]
# ### Exercise 5 · The bound
#
# Put the two terms together. `elbo` gets the logits of *one* sample $z$ and returns the bound for each image; the loss
# will be its negative mean. (With one sample and the KL in closed form this is estimator B of the paper, equation 7.)


# %% tags=["exercise"]
def elbo(logits, x, mu, logvar):
    """The evidence lower bound of each image in nats: (B, 784), (B, 784), (B, d), (B, d) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
elbo = lab.check(elbo)


# %%
def vae_loss(model, x, generator):
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, generator))
    return -elbo(logits, x, mu, logvar).mean()


@torch.no_grad()
def two_terms(model, name):
    """Reconstruction error of a sample and KL, both in nats per test digit."""
    mu, logvar = model.encode(x_test)
    logits = model.decode(reparameterize(mu, logvar, lab.generator(name)))
    price = kl_to_standard_normal(mu, logvar)
    return {"reconstruction": reconstruction_nats(logits, x_test).mean().item(), "kl": price.mean().item()}


# %%
vae = build(VariationalAutoencoder)
vae_history = train("vae", vae, vae_loss, x_train, evaluate=lambda: two_terms(vae, "history"))

# %%
lab.record_all({f"vae/{term}": value for term, value in two_terms(vae, "terms").items()}, unit="nats")
lab.record("vae/elbo", -lab.metrics["vae/reconstruction"] - lab.metrics["vae/kl"], unit="nats")
lab.record("vae/code length", lab.metrics["vae/kl"] / math.log(2), unit="bits")

figure, (left, right) = panels(1, 2)
epochs = range(1, len(vae_history["kl"]) + 1)
left.plot(epochs, vae_history["reconstruction"])
right.plot(epochs, vae_history["kl"])
left.set(title="reconstruction error", xlabel="epoch", ylabel="nats per test digit")
right.set(title="KL, the price of the code", xlabel="epoch", ylim=(0, None))
start, end = (
    {key: values[0] for key, values in vae_history.items()},
    {key: values[-1] for key, values in vae_history.items()},
)
lab.show(
    figure,
    alt="Two curves over the epochs, measured on test digits: the reconstruction error goes from "
    f"{start['reconstruction']:.0f} to {end['reconstruction']:.0f} nats, the KL from {start['kl']:.1f} to {end['kl']:.1f} nats.",
)

# %% [markdown]
# **What we saw.** The model buys information: a code that says something about its image costs nats in the KL and pays for itself by a lower
# reconstruction error. Always look at both terms; their sum hides which one moved.

# %%
lab.tell(
    "On test digits the VAE reaches an ELBO of {vae/elbo:.1f} nats: {vae/reconstruction:.1f} nats of reconstruction error "
    "and {vae/kl:.1f} nats of KL: {vae/code length:.1f} bits for the code of one digit."
)

# %% [markdown]
# ## 5 · Two latent spaces
#
# Four dimensions do not fit on paper. **Principal component analysis** turns the axes so that the first two carry as much of
# the variance as possible: centre the codes, take the singular value decomposition $M_c = U S V^\top$, keep the first two columns of
# $V$. One rule makes such a figure honest: **fit on the training codes, apply to the test codes**, never fit again.

# %% [markdown]
# ### Exercise 6 · Projecting codes


# %% tags=["exercise"]
def pca_project(codes, pca):
    """Coordinates of codes (N, d) on the axes of a PCA fitted elsewhere: pca.mean (d,), pca.components (d, n) -> (N, n)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
pca_project = lab.check(pca_project)

# %% [markdown]
# **Predict.** Sketch both clouds before you run the cell. Where is the origin in each? Which is larger?

# %%
models, fitted_pca = {"AE": ae, "VAE": vae}, {}
figure, axes = panels(1, 2, width=4.6, height=4.4)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    pca = fitted_pca[name] = paper.pca_fit(mean_code(model, x_train), 2)
    points = pca_project(mean_code(model, x_test), pca)
    scatter_classes(ax, points[:2000].cpu(), y_test[:2000], title=f"{name}: {config.latent} dimensions in 2")
    origin = pca_project(torch.zeros(1, config.latent, device=lab.device), pca)[0].cpu()
    ax.plot(*origin, marker="+", markersize=18, markeredgewidth=3, color="black")
    lab.record(f"{name.lower()}/pca explained", pca.explained.sum())

# %% [markdown]
# The codes of a VAE are not points. For ten test digits, one of each class, we draw the cloud as an ellipse of two standard deviations:
# $V^\top \mathrm{diag}(\sigma^2)\, V$ is its covariance in the plane of the figure.

# %%
with torch.no_grad():
    mu, logvar = vae.encode(x_test)
axis = fitted_pca["VAE"].components
for centre, variance in zip(pca_project(mu[first], fitted_pca["VAE"]), logvar[first].exp(), strict=True):
    ellipse(axes[1], centre.cpu(), (axis.T * variance @ axis).cpu())
lab.record("vae/mean sigma", (0.5 * logvar).exp().mean())

# %%
lab.show(
    figure,
    alt="Two scatter plots of test digits in the first two principal components, AE left and VAE right, each class labelled "
    "by its number at its median, the origin marked by a cross. The axes of the AE span a several times wider range. Small "
    "ellipses in the VAE's panel show the clouds of ten digits.",
)
lab.tell(
    "The plane shows {ae/pca explained:.0%} of the variance of the AE's codes and {vae/pca explained:.0%} of the VAE's: classes that "
    "overlap here may be apart in the other two dimensions. A cloud's standard deviation is {vae/mean sigma:.2f} on average, "
    "in units in which the prior's is 1."
)

# %% [markdown]
# Mind the axes: the two panels have different units. That is not a detail. The loss of an AE does not change when the encoder
# doubles its codes and the decoder halves them again, so the *size* of its cloud means nothing by itself. We therefore ask for
# numbers, some in the model's own units and some free of them.

# %%
within = chi2.ppf(0.95, config.latent) ** 0.5  # the ball that holds 95 % of N(0, I)
for name, model in models.items():
    z = mean_code(model, x_test)
    spread = (z - z.mean(0)).square().sum(1).mean().sqrt()  # root mean square distance from the cloud's own centre
    lab.record(f"{name.lower()}/rms radius", z.square().sum(1).mean().sqrt())
    lab.record(f"{name.lower()}/share in ball", (z.norm(dim=1) < within).float().mean())
    lab.record(f"{name.lower()}/centre offset", z.mean(0).norm() / spread, unit="own spreads")
filled = mu.var(0) + logvar.exp().mean(0)  # variance of all the clouds together, in each dimension
lab.record("vae/variance of all clouds", filled.mean())

# %%
claimed = {key: (lab.metrics[f"ae/{key}"], lab.metrics[f"vae/{key}"]) for key in ("rms radius", "centre offset")}
lab.claim(
    "The codes of a VAE lie more compactly around the origin than those of an AE, in the units that each model has.",
    holds=claimed["rms radius"][1] < claimed["rms radius"][0],
    evidence={"AE": claimed["rms radius"][0], "VAE": claimed["rms radius"][1]},
    source="review, conclusion (a)",
)
lab.claim(
    "This is more than a choice of units: the VAE's cloud is also better centred, measured in its own spread.",
    holds=claimed["centre offset"][1] < claimed["centre offset"][0],
    evidence={"AE": claimed["centre offset"][0], "VAE": claimed["centre offset"][1]},
    source="this lesson",
)

# %%
lab.tell(
    "{vae/share in ball:.0%} of the VAE's mean codes lie in the ball that holds 95 % of $N(0, I)$, of the AE's {ae/share in ball:.0%}. "
    "The AE's centre is {ae/centre offset:.2f} of its own spread away from the origin, the VAE's {vae/centre offset:.2f}. But the VAE does "
    "not fill the prior exactly: then all its clouds together would have variance 1 in each dimension; it is "
    "{vae/variance of all clouds:.2f}. Remember this in section 6."
)

# %% [markdown]
# ### Are the clusters better?
#
# Conclusion (c) of the review is that tighter clusters help to find groups. Three numbers, none of which changes when all axes are
# scaled alike: the **silhouette** (1: each digit is much nearer to its own class than to the next; 0: no separation), the accuracy
# of a **10-nearest-neighbour** classifier on the codes, and the **normalised mutual information** (NMI) between the classes and ten
# groups that *k*-means finds without labels.
#
# An AE's loss does not change either when its axes are stretched *differently*, but these numbers do. So we measure twice: on the codes
# as they are, and **whitened**, that is with the covariance of the training codes turned into the identity.
#
# **Predict.** Which of the two models wins each of the three?


# %%
def cluster_quality(train_codes, test_codes):
    """Silhouette, k-NN accuracy and k-means NMI of codes against the digits' classes."""
    some = slice(config.evaluated)
    neighbours = KNeighborsClassifier(10).fit(train_codes, y_train)
    groups = KMeans(10, n_init=4, random_state=seed).fit_predict(test_codes)
    return {
        "silhouette": silhouette_score(test_codes[some], y_test[some]),
        "knn accuracy": neighbours.score(test_codes, y_test),
        "kmeans nmi": normalized_mutual_info_score(y_test, groups),
    }


# %%
for name, model in models.items():
    train_codes, test_codes = mean_code(model, x_train).cpu(), mean_code(model, x_test).cpu()
    whiten = torch.linalg.inv(torch.linalg.cholesky(torch.cov(train_codes.T))).T  # fitted on training codes only
    for how, turn in {"": torch.eye(config.latent), " whitened": whiten}.items():
        for key, value in cluster_quality(train_codes @ turn, test_codes @ turn).items():
            lab.record(f"{name.lower()}/{key}{how}", value)

# %%
sentences = {
    "silhouette": "The VAE's clusters are tighter (silhouette).",
    "knn accuracy": "Neighbours in the VAE's latent space share their class more often (k-NN accuracy).",
    "kmeans nmi": "k-means finds the digits better in the VAE's latent space (NMI).",
}
for key, sentence in sentences.items():
    keys = {
        "AE": f"ae/{key}",
        "VAE": f"vae/{key}",
        "AE whitened": f"ae/{key} whitened",
        "VAE whitened": f"vae/{key} whitened",
    }
    evidence = {label: lab.metrics[name] for label, name in keys.items()}
    reason = "The KL pulls clusters towards one place: it shrinks them, and the gaps between them as well."
    holds = evidence["VAE"] > evidence["AE"]
    lab.claim(sentence, holds=holds, evidence=evidence, source="review, conclusion (c)", reason=reason)

# %%
accuracy = lab.metrics["vae/knn accuracy"]
lab.record("knn standard error", (accuracy * (1 - accuracy) / len(y_test)) ** 0.5)
lab.tell(
    "Is a difference more than luck? An accuracy measured on {data/test:.0f} digits has a standard error of about {knn standard error:.3f}; "
    "the AE reaches {ae/knn accuracy:.3f}, the VAE {vae/knn accuracy:.3f}."
)

# %% [markdown]
# One run decides little here: the claims table at the end shows how often each sentence held over several seeds, with 4,000 training
# digits and with 60,000. *Compact* in the sense of (a) does not imply *well separated*. The KL pulls all clusters towards the same
# place, so they shrink and move together at once; what counts is the ratio of the two, and the KL is blind to it, since it knows no
# classes.

# %% [markdown]
# ## 6 · Reconstruction or generation?
#
# Conclusion (b) of the review: codes are more compact, *so the VAE reconstructs the data better*. Think before you measure.
# Both networks have the same decoder. The AE minimises the reconstruction error and nothing else. The VAE minimises the
# same error **plus** the KL, and its decoder sees a noisy code.

# %%
winners = {
    (False, False): "the AE on both",
    (False, True): "the AE on training digits, the VAE on unseen ones",
    (True, False): "the VAE on training digits, the AE on unseen ones",
    (True, True): "the VAE on both",
}
question = "Who wins on the training digits, who on digits that neither has seen?"
lab.predict("reconstruction", question, choices=list(winners.values()))

# %%
lab.record_all({"vae/error/train": error(vae, x_train), "vae/error/test": error(vae, x_test)}, unit="nats")
of_ae, of_vae = ([lab.metrics[f"{name}/error/{split}"] for split in ("train", "test")] for name in ("ae", "vae"))
figure, ax = panels(width=5.2)
bars(ax, ["training digits", "unseen digits"], {"AE": of_ae, "VAE, mean code": of_vae})
ax.set(ylabel="reconstruction error (nats)", ylim=(0, 1.35 * max(of_vae + of_ae)))
lab.show(
    figure,
    alt=f"Bars of the reconstruction error in nats. Training digits: AE {of_ae[0]:.1f}, VAE {of_vae[0]:.1f}. Unseen digits: AE "
    f"{of_ae[1]:.1f}, VAE {of_vae[1]:.1f}.",
)
lab.reveal("reconstruction", winners[of_vae[0] < of_ae[0], of_vae[1] < of_ae[1]])

# %%
sampled = lab.metrics["vae/reconstruction"]  # test digits, a sampled code instead of the mean
for where, a, v in [
    ("its training digits better than the AE, from the mean code", of_ae[0], of_vae[0]),
    ("unseen digits better than the AE, from the mean code", of_ae[1], of_vae[1]),
    ("unseen digits better than the AE, from a sampled code, as in training", of_ae[1], sampled),
]:
    lab.claim(
        f"The VAE reconstructs {where}.",
        holds=v < a,
        evidence={"AE": a, "VAE": v},
        source="review, conclusion (b)",
        reason="An AE minimises this error alone; a VAE also pays for its codes, and decodes noisy ones.",
    )

# %%
lab.record("ae/generalization gap", of_ae[1] - of_ae[0], unit="nats")
lab.record("vae/generalization gap", of_vae[1] - of_vae[0], unit="nats")
lab.tell(
    "From training to unseen digits the AE loses {ae/generalization gap:.1f} nats, the VAE {vae/generalization gap:.1f}. Where the VAE "
    "loses less, the noise in its codes has acted as a regulariser, and with little data and long training this can outweigh the price "
    "of the KL. It is then a gain by noise, not by compactness."
)

# %% [markdown]
# ### What a VAE is for: new digits
#
# Draw $z \sim N(0, I)$ and decode. For the VAE this is the model itself. For an AE nobody promised that there is anything at
# such a $z$. A fairer comparison fits a Gaussian to the training codes and draws from that, for both: for the VAE to its mean codes plus
# the spread of their clouds.

# %%
rows_of_samples = ["AE, N(0, I)", "AE, fitted", "VAE, N(0, I)", "VAE, fitted"]
lab.predict("samples", "Which of the four rows of samples will look most like digits?", choices=rows_of_samples)

# %%
noise = torch.randn(1000, config.latent, generator=lab.generator("prior"), device=lab.device)


def fitted(mean_codes, extra=0.0):
    """Codes from a Gaussian with the mean and covariance of these codes, plus the mean variance of their clouds."""
    covariance = torch.cov(mean_codes.T) + extra * torch.eye(config.latent, device=lab.device)
    return mean_codes.mean(0) + noise @ torch.linalg.cholesky(covariance).T


# %%
with torch.no_grad():
    clouds = vae.encode(x_train)[1].exp().mean(0)  # (d,) mean variance of a cloud
    sources = {
        "AE, N(0, I)": ae.decode(noise),
        "VAE, N(0, I)": vae.decode(noise),
        "AE, fitted": ae.decode(fitted(mean_code(ae, x_train))),
        "VAE, fitted": vae.decode(fitted(mean_code(vae, x_train), clouds)),
    }
samples = {name: torch.sigmoid(logits) for name, logits in sources.items()}
lab.show(
    image_rows({name: images[:10] for name, images in samples.items()}),
    alt="Four rows of ten generated images: AE and VAE with codes from the standard normal, then both with codes from a Gaussian "
    "fitted to their training codes. The first row shows few different shapes, mostly blurred; the others show digits of many "
    "kinds, some of them blends or broken.",
)

# %% [markdown]
# The eye is easily pleased, so a judge: a small classifier trained on *real* digits. A sample is digit-like if the judge is
# sure of its class; a set of samples is varied if all classes occur. Both at once is measured by
# $\exp\big(\mathbb E\, D_{KL}(p(y \mid x)\,\|\,p(y))\big)$, between 1 (useless) and 10 (all ten digits, each beyond doubt), known as the
# *inception score*; real digits do not reach 10 either, since the judge errs and doubts. And since a classifier can also be sure of nonsense, a second judge: the share of pixels in which
# a sample differs from the nearest real training digit.

# %%
with lab.seeded("judge"):
    judge = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).to(lab.device)


def judge_loss(model, x, y, generator):
    return F.cross_entropy(model(x), y)


labels = digits.train.labels.to(lab.device)
fit(judge, judge_loss, x_train, labels, epochs=10, batch_size=64, generator=lab.generator("judge"), label="judge")
with torch.no_grad():
    right = judge(x_test).argmax(1).cpu().numpy() == y_test
lab.record("judge/accuracy", right.mean())


# %%
@torch.no_grad()
def judged(images):
    """Score in [1, 10] by the classifier, and the share of pixels unlike the nearest training digit."""
    ink = (images > 0.5).float()
    p = judge(ink).softmax(1)  # (N, 10)
    information = (p * (p.clamp_min(1e-12).log() - p.mean(0).log())).sum(1).mean()
    unlike = torch.cdist(ink, x_train).square().min(1).values.mean() / 784  # for 0 and 1: the pixels that differ
    return information.exp().item(), unlike.item()


real = x_test[torch.randperm(len(x_test), generator=lab.generator("real"), device=lab.device)[:1000]]
for name, images in {**samples, "real digits": real}.items():
    score, unlike = judged(images)
    lab.record(f"samples/{name}/score", score)
    lab.record(f"samples/{name}/unlike", unlike, unit="share of pixels")

# %%
scores = {name: lab.metrics[f"samples/{name}/score"] for name in [*samples, "real digits"]}
figure, ax = panels(width=6.4)
bars(ax, list(scores), {"score by the judge": list(scores.values())})
ax.set(ylim=(1, 11.5), ylabel="1: useless, 10: perfect")
lab.show(
    figure,
    alt=f"Bars of the judge's score: {', '.join(f'{name} {score:.1f}' for name, score in scores.items())}.",
)
lab.reveal("samples", max(samples, key=scores.get))

# %% [markdown]
# The second judge needs a yardstick, too: real test digits. An image nearer to the training digits than those are is not a better
# digit, but a more average one.

# %%
lab.tell(
    "A real test digit differs from its nearest training digit in {samples/real digits/unlike:.1%} of the pixels, a sample of the VAE in "
    "{samples/VAE, N(0, I)/unlike:.1%} and one of the AE in {samples/AE, N(0, I)/unlike:.1%}; from fitted Gaussians it is "
    "{samples/VAE, fitted/unlike:.1%} (VAE) and {samples/AE, fitted/unlike:.1%} (AE)."
)

# %%
lab.claim(
    "Decoding samples of N(0, I) gives better digits with a VAE than with an AE of the same size (score by the judge).",
    holds=scores["VAE, N(0, I)"] > scores["AE, N(0, I)"],
    evidence={"AE": scores["AE, N(0, I)"], "VAE": scores["VAE, N(0, I)"], "real digits": scores["real digits"]},
    source="review",
)
lab.claim(
    "The VAE generates better digits than the AE also when a Gaussian is fitted to the codes of each.",
    holds=scores["VAE, fitted"] > scores["AE, fitted"],
    evidence={"AE": scores["AE, fitted"], "VAE": scores["VAE, fitted"]},
    source="this lesson",
)
lab.claim(
    "Samples of the prior are as good as samples of a Gaussian fitted to the VAE's own codes.",
    holds=scores["VAE, N(0, I)"] >= scores["VAE, fitted"],
    evidence={"prior": scores["VAE, N(0, I)"], "fitted": scores["VAE, fitted"]},
    source="this lesson",
    reason="They would be if the clouds filled the prior exactly (section 5); where they do not, the decoder meets codes it never saw.",
)

# %% [markdown]
# ### Walking through the latent space
#
# In the review's example a face is described by six attributes. Take one digit, vary one of its latent dimensions, keep the
# others.

# %%
steps = torch.linspace(-2.5, 2.5, 11, device=lab.device)
code = mean_code(vae, x_test[first[3] : first[3] + 1])[0]
with torch.no_grad():
    walks = {f"$z_{i + 1}$": paper.traverse(vae, code, i, steps) for i in range(config.latent)}
lab.show(
    image_rows(walks),
    alt="Four rows of eleven images. In each row one latent dimension of a three runs from minus 2.5 to 2.5 and the image changes "
    "gradually, in shape or into another digit; towards the ends of a row some images are no digits.",
)

# %% [markdown]
# Nothing in the bound asks a dimension to be one attribute; that a single one changes several things at once is no surprise. Most steps are
# digits; towards the ends, where few training codes lie, some are not. Now walk yourself: move the sliders (with a running kernel).


# %% tags=["widget"]
def view(**z):
    return paper.decoded_image(vae, list(z.values()))


start = {f"z{i + 1}": float(value) for i, value in enumerate(code)}
image_sliders(view, ranges=dict.fromkeys(start, (-3.0, 3.0)), start=start)

# %% [markdown]
# Without a kernel, the paper's own picture: a grid over the unit square, mapped through the inverse distribution function of the
# normal, so that each image stands for an equal share of the prior; here for $z_1$ and $z_2$, with $z_3 = z_4 = 0$.

# %%
quantiles = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.05, 0.95, 10))
grid = {}
for row in quantiles.flip(0).tolist():
    z = torch.zeros(10, config.latent, device=lab.device)
    z[:, 0], z[:, 1] = quantiles, row
    with torch.no_grad():
        grid[f"$z_2$ = {row:.1f}"] = torch.sigmoid(vae.decode(z))
lab.show(
    image_rows(grid, size=0.5, columns=[f"{value:.1f}" for value in quantiles]),
    alt="A ten by ten grid of decoded images over the first two latent dimensions. Neighbours look alike; across the grid one digit "
    "turns into another, with blends between them.",
)

# %% [markdown]
# ## 7 · What else the bound is good for, and what not
#
# ### Anomalies
#
# The review names anomaly detection as a use: train on what is normal, and call *anomalous* what the model finds hard. Hold out one
# digit: train on the other nine, then ask for a score that is higher for the digit never seen. For an AE the score is the
# reconstruction error; a VAE offers its own reconstruction error or the negative ELBO. **ROC-AUC** is the probability that a random
# digit of the unseen class scores higher than a random one of the known classes: 1 is perfect, ½ is chance.

# %%
held_out = [str(digit) for digit in config.held_out]
lab.predict("hardest digit", "Which digit will be hardest to find when it is held out of training?", choices=held_out)


# %%
@torch.no_grad()
def surprise(model, x):
    """What each score says of test digits, in nats, {score: (N,)}."""
    errors = reconstruction_nats(model.decode(mean_code(model, x)), x).cpu()
    if isinstance(model, Autoencoder):
        return {"ae": errors}
    weights = paper.log_importance_weights(model, x, 10, lab.generator("surprise"))  # (10, N)
    return {"vae error": errors, "vae": -weights.mean(0).cpu()}


# %%
trained_without = {}
for digit in config.held_out:
    normal = x_train[digits.train.labels.to(lab.device) != digit]
    for kind, loss in {Autoencoder: ae_loss, VariationalAutoencoder: vae_loss}.items():
        model = trained_without[kind, digit] = build(kind)
        train(f"{kind.__name__} without {digit}", model, loss, normal, epochs=config.anomaly_epochs)
        for score, values in surprise(model, x_test).items():
            lab.record(f"anomaly/{score}/{digit}", roc_auc_score(y_test == digit, values), unit="ROC-AUC")

# %%
labels = {"ae": "AE, error", "vae error": "VAE, error", "vae": "VAE, -ELBO"}
auc = {score: [lab.metrics[f"anomaly/{score}/{digit}"] for digit in config.held_out] for score in labels}
lab.record_all({f"anomaly/{score}/mean": np.mean(values) for score, values in auc.items()}, unit="ROC-AUC")
lab.reveal("hardest digit", str(min(config.held_out, key=lambda digit: lab.metrics[f"anomaly/ae/{digit}"])))
figure, ax = panels(width=max(4.6, 0.9 * len(config.held_out)))
bars(
    ax,
    [str(digit) for digit in config.held_out],
    {labels[score]: values for score, values in auc.items()},
    numbers=False,
)
ax.axhline(0.5, color="black", linewidth=1, linestyle=":")
ax.set(xlabel="digit held out of training", ylabel="ROC-AUC", ylim=(0, 1.35))
told = "; ".join(
    f"{digit}: {a:.2f}, {e:.2f}, {b:.2f}" for digit, a, e, b in zip(config.held_out, *auc.values(), strict=True)
)
lab.show(
    figure,
    alt=f"Bars of ROC-AUC for each digit held out, with a dotted line at chance, one half. {', '.join(labels.values())} for {told}.",
)

# %%
worst = config.held_out[int(np.argmin(auc["ae"]))]
lab.claim(
    "The reconstruction error of an AE finds a digit that it never saw, whichever of those held out it is (AUC above one half).",
    holds=min(auc["ae"]) > 0.5,
    evidence={f"{digit} held out": value for digit, value in zip(config.held_out, auc["ae"], strict=True)},
    source="review",
    reason=f"The hardest digit to find is {worst}.",
)
lab.claim(
    "For a VAE the negative ELBO finds unseen digits better than its own reconstruction error (mean AUC).",
    holds=lab.metrics["anomaly/vae/mean"] > lab.metrics["anomaly/vae error/mean"],
    evidence={"error": lab.metrics["anomaly/vae error/mean"], "-ELBO": lab.metrics["anomaly/vae/mean"]},
    source="this lesson",
    reason="What the ELBO adds is the price of the code, and the code of an unseen digit need not be a dear one.",
)

# %% [markdown]
# A one is a digit like any other, yet a model that has never seen one finds it *easier* than the digits it knows. Plot the
# surprise of that model against something that has nothing to do with novelty: ink.

# %%
without_ones = trained_without[Autoencoder, 1]
errors, ink = surprise(without_ones, x_test)["ae"].numpy(), x_test.sum(1).cpu().numpy()
lab.record("anomaly/correlation of error and ink", np.corrcoef(errors[y_test != 1], ink[y_test != 1])[0, 1])
figure, ax = panels(width=4.6)
ax.scatter(ink[y_test != 1], errors[y_test != 1], s=3, color="gray", label="digits it knows")
ax.scatter(ink[y_test == 1], errors[y_test == 1], s=14, marker="x", label="ones, never seen")
ax.set(xlabel="pixels with ink", ylabel="reconstruction error (nats)")
ax.legend(frameon=False, loc="upper left")
lab.show(
    figure,
    alt="Scatter plot of the reconstruction error against the number of ink pixels, for an AE that never saw a one. The error grows "
    "with ink; most ones lie at the lower left, with less ink and less error than most of the known digits.",
)

# %%
slope, intercept = np.polyfit(ink[y_test != 1], errors[y_test != 1], 1)  # on the known digits only
corrected = roc_auc_score(y_test == 1, errors - slope * ink - intercept)
lab.record("anomaly/ae/1 corrected for ink", corrected, unit="ROC-AUC")
lab.tell(
    "Among the digits that this model knows, error and ink correlate with {anomaly/correlation of error and ink:.2f}: a likelihood measures "
    "how complex an image is as well as how unusual. Correct the score for ink by a regression line, and the AUC of the ones goes from "
    "{anomaly/ae/1:.2f} to {anomaly/ae/1 corrected for ink:.2f}. What ink does not explain: a short stroke is also a part of other digits, "
    "so a decoder can draw it without ever having seen a one."
)

# %% [markdown]
# ### How tight is the bound?
#
# The ELBO is a lower bound on $\log p_\theta(x)$; how far below? Draw $K$ codes from $q_\phi(z \mid x)$ and weigh each by how much
# likelier the model finds it, together with the image, than $q$ does:
#
# $$ \log p_\theta(x) \;\ge\; \mathbb E \log \frac1K \sum_{k=1}^{K} w_k, \qquad w_k = \frac{p_\theta(x \mid z_k)\, p(z_k)}{q_\phi(z_k \mid x)}. $$
#
# With $K = 1$ this is the ELBO; with $K \to \infty$ it becomes $\log p_\theta(x)$ (Burda et al., 2015,
# [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)).

# %% [markdown]
# ### Exercise 7 · The importance-weighted bound
#
# The formula above without the expectation, given $\log w_k$ for each image. The weights themselves are far too small for float32.


# %% tags=["exercise"]
def iwae_bound(log_weights):
    """log( 1/K sum_k w_k ) of each image from log-weights: (K, B) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
iwae_bound = lab.check(iwae_bound)

# %%
some = x_test[: config.evaluated // 2]
for k in (1, 10, config.samples):
    with torch.no_grad():  # fresh draws for each K: nothing forces the order of the three
        weights = paper.log_importance_weights(vae, some, k, lab.generator(f"iwae {k}"))
    lab.record(f"bound/K={k}", iwae_bound(weights).mean(), unit="nats")

# %%
bounds = {f"K={k}": lab.metrics[f"bound/K={k}"] for k in (1, 10, config.samples)}
lab.claim(
    "The bound rises with the number of samples K, from the ELBO at K = 1.",
    holds=list(bounds.values()) == sorted(bounds.values()),
    evidence=bounds,
    source="Burda et al. (2015)",
)
lab.record("bound/gap", bounds[f"K={config.samples}"] - bounds["K=1"], unit="nats")
lab.tell(
    "So the ELBO lies at least about {bound/gap:.1f} nats below the log-likelihood. Two possible reasons: the posterior is not a Gaussian with "
    "independent dimensions, or one encoder cannot serve every image. The number does not tell them apart."
)

# %% [markdown]
# ### Two estimators of the same bound
#
# Estimator A of the paper (equation 6) takes everything from the sample, $\log p(x, z) - \log q(z \mid x)$; estimator B
# (equation 7) uses the closed-form KL. The paper says that B *typically* has less variance. Compare the two over draws of the same
# noise, for an untrained VAE and for ours.
#
# **Predict.** Suppose $q(z \mid x)$ were exactly the posterior. What would be the variance of A?


# %%
@torch.no_grad()
def estimators(model, x, draws=64):
    """Per image: variance of estimators A and B over draws (nats²), correlation of the two terms of A, (N,) each."""
    a = paper.log_importance_weights(model, x, draws, lab.generator("estimators"))  # (draws, N)
    mu, logvar = (half.expand(draws, *half.shape) for half in model.encode(x))
    z = paper.reparameterize(mu, logvar, lab.generator("estimators"))  # the same noise as in A
    b = paper.elbo(model.decode(z), x, mu, logvar)  # (draws, N)
    fits = b + paper.kl_to_standard_normal(mu, logvar)  # log p(x|z), one of the two terms of A
    prices = a - fits  # log p(z) - log q(z|x), the other
    covariance = ((fits - fits.mean(0)) * (prices - prices.mean(0))).mean(0)
    return a.var(0), b.var(0), covariance / (fits.std(0) * prices.std(0))


# %%
for when, model in {"untrained": build(VariationalAutoencoder), "trained": vae}.items():
    a, b, correlation = (values.mean().item() for values in estimators(model, x_test[:200]))
    lab.record_all({f"estimator A/variance {when}": a, f"estimator B/variance {when}": b}, unit="nats²")
    lab.record(f"estimator A/correlation of its terms {when}", correlation)
    lab.claim(
        f"With the closed-form KL (estimator B) the bound has less variance than without: {when} VAE.",
        holds=b < a,
        evidence={"A": a, "B": b},
        source="paper, section 2.3",
        reason="Where the two terms of A move in opposite directions, part of the noise cancels in A and not in B.",
    )

# %% [markdown]
# The closed form removes the randomness of one of A's two terms. That helps unless the terms move in opposite directions, for then their
# sum varies less than either. In a trained VAE they may: where the decoder likes $z$ better, $q$ is denser. In the
# extreme, if $q$ were the exact posterior, $\log p(x, z) - \log q(z \mid x) = \log p(x)$ for *every* $z$, and A would have no variance at all.

# %%
lab.tell(
    "The correlation of the two terms is {estimator A/correlation of its terms untrained:.2f} before training and "
    "{estimator A/correlation of its terms trained:.2f} after."
)

# %% [markdown]
# ### Too many dimensions
#
# The paper reports that superfluous latent dimensions do not lead to overfitting, and explains it by the KL, which prices them. Give the VAE enough
# dimensions, then far more. A dimension is *active* if its mean moves with the image; $\mathrm{Var}_x(\mu_j) > 0.01$ is a common
# threshold.


# %%
@torch.no_grad()
def mean_elbo(model, x):
    return paper.log_importance_weights(model, x, 10, lab.generator("mean elbo")).mean().item()


vaes = {config.latent: vae}
for latent in (config.enough, config.wide):
    vaes[latent] = build(VariationalAutoencoder, latent)
    train(f"vae {latent}", vaes[latent], vae_loss, x_train)
for latent, model in vaes.items():
    lab.record(f"d={latent}/elbo train", mean_elbo(model, x_train[:2000]), unit="nats")
    lab.record(f"d={latent}/elbo test", mean_elbo(model, x_test[:2000]), unit="nats")

# %%
for latent, model in vaes.items():
    with torch.no_grad():
        mu, logvar = model.encode(x_test)
    active = mu.var(0) > 0.01
    silent = kl_to_standard_normal(mu[:, ~active], logvar[:, ~active]).mean()
    lab.record(f"d={latent}/active", active.sum(), unit="dimensions")
    lab.record(f"d={latent}/kl of the inactive", silent, unit="nats")

# %%
gaps = {}
for latent in vaes:
    seen, unseen = (lab.metrics[f"d={latent}/elbo {split}"] for split in ("train", "test"))
    gaps[f"d = {latent}"] = seen - unseen
    lab.tell(
        f"$d = {latent}$: ELBO {seen:.1f} nats on training digits, {unseen:.1f} on unseen ones; {{d={latent}/active:.0f}} dimensions are "
        f"active, all others together cost {{d={latent}/kl of the inactive:.2f}} nats."
    )

# %%
enough, wide = (lab.metrics[f"d={latent}/elbo test"] for latent in (config.enough, config.wide))
lab.claim(
    "Superfluous latent dimensions do not make a VAE overfit: its loss from training to unseen digits grows by less than 1 nat.",
    holds=gaps[f"d = {config.wide}"] < gaps[f"d = {config.enough}"] + 1,
    evidence=gaps,
    source="paper, section 5",
)
lab.claim(
    "Superfluous latent dimensions cost nothing: after equally many epochs the ELBO on unseen digits is lower by less than 1 nat.",
    holds=wide > enough - 1,
    evidence={f"d = {config.enough}": enough, f"d = {config.wide}": wide},
    source="this lesson",
    reason="More dimensions bring more noise into the code, which the decoder first has to learn to ignore.",
)

# %% [markdown]
# ## 8 · Where the paper, the review and the code disagree
#
# ### The mean that ruins a VAE
#
# The most frequently reported problem with VAEs: `binary_cross_entropy` averages by default, so the reconstruction error becomes a *mean*
# over 784 pixels, while the KL stays a *sum* over the latent dimensions. Nothing crashes, the loss falls. (Asked again and again: issues
# #234, #290, #294 and #817 of pytorch/examples.)
#
# **Predict.** How many times too strong is the KL now? What is the cheapest code an encoder can choose?


# %%
def mean_instead_of_sum(model, x, generator):
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, generator))
    return F.binary_cross_entropy_with_logits(logits, x) + kl_to_standard_normal(mu, logvar).mean()


collapsed = build(VariationalAutoencoder)
stop = settled(0.01)  # a collapse is soon over: no more epochs once one lowers the loss by less than 1 %
train("collapsed", collapsed, mean_instead_of_sum, x_train, epochs=config.anomaly_epochs, stop=stop)
lab.record("collapsed/kl", two_terms(collapsed, "collapsed")["kl"], unit="nats")
lab.record("collapsed/error/test", error(collapsed, x_test), unit="nats")
lab.record("collapsed/variety", rebuilt(collapsed, x_test).std(0).mean(), unit="std of a pixel")
lab.record("vae/variety", rebuilt(vae, x_test).std(0).mean(), unit="std of a pixel")

# %%
lab.show(
    image_rows(
        {"digit": x_test[first], "sum (right)": rebuilt(vae, x_test[first]), "mean": rebuilt(collapsed, x_test[first])}
    ),
    alt="Ten test digits and two rows of reconstructions: with the sum, ten different images, smoother than the digits; with the "
    "mean, ten times the same grey blur.",
)
lab.claim(
    "Averaging the reconstruction over pixels, but not the KL over dimensions, makes the posterior collapse (KL below 0.1 nats).",
    holds=lab.metrics["collapsed/kl"] < 0.1,
    evidence={"KL with the mean": lab.metrics["collapsed/kl"], "KL with the sum": lab.metrics["vae/kl"]},
    source="pytorch/examples, issues 234, 290, 294, 817",
)

# %%
lab.tell(
    "The KL is 784 times too strong, and the cheapest code is the prior itself: {collapsed/kl:.1e} nats instead of {vae/kl:.1f}. A code "
    "that says nothing leaves the decoder one answer for all images, and its error of {collapsed/error/test:.1f} nats is about that of the "
    "average digit, {average digit/error:.1f}. From image to image its pixels vary by {collapsed/variety:.1e}, those of the right VAE by "
    "{vae/variety:.2f}. An AE survives the same slip, since it multiplies its whole loss by a constant, which Adam hardly notices."
)

# %% [markdown]
# ### Cross-entropy on grey pixels is not a likelihood
#
# Many implementations keep the grey values. The Bernoulli cross-entropy then no longer belongs to any probability of the image: even
# a *perfect* reconstruction, $p_i = x_i$, has a positive loss, the entropy of the grey values, and losses of
# grey and of binarised data must not be compared.

# %%
grey = digits.test.flat.clamp(1e-6, 1 - 1e-6)
lab.record(
    "grey/loss of a perfect reconstruction", paper.reconstruction_nats(torch.logit(grey), grey).mean(), unit="nats"
)
sharp = x_test.clamp(1e-6, 1 - 1e-6)
lab.record(
    "binarised/loss of a perfect reconstruction",
    paper.reconstruction_nats(torch.logit(sharp), x_test).mean(),
    unit="nats",
)
lab.tell(
    'A perfect copy of a grey digit still "costs" {grey/loss of a perfect reconstruction:.1f} nats; of a binarised one '
    "{binarised/loss of a perfect reconstruction:.3f}."
)

# %% [markdown]
# The VAE in `pytorch/examples` now uses the *continuous Bernoulli*, which adds a normaliser for grey values; its losses before and after that
# change cannot be compared either.
#
# ### Smaller things
#
# - **The paper** swaps the words *encoder* and *decoder* in one sentence of its experiments (in the first arXiv version): a slip of the
#   pen. It prints no table; its results are curves, so there is no published number that this lesson could be held against.
# - **The review** draws *compact*, *better* and *tighter* from one picture. The picture shows the first.
# - **The code**: `exp(logvar)` overflows for an untrained encoder on unscaled input, and the KL becomes infinite or NaN. The library of this
#   course holds `logvar` between -10 and 10; the paper says nothing of it.
# - **Everybody**: plot the mean $\mu$, not a sample, in a latent space; use samples, not the mean, in an ELBO.
#
# ## 9 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. An autoencoder minimises one thing. Its codes lie wherever that is cheap, and their size means nothing.
# 2. A VAE pays for its codes. In return it is a model of the data: it can be sampled, its score is a bound on a likelihood, and its latent
#    space has known units.
# 3. Compact is not the same as separated, and neither by itself makes a reconstruction better.
# 4. Sums stay sums: over pixels *and* over latent dimensions. Watch both terms.
# 5. A high likelihood is not a certificate of normality: simple images are cheap.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Train `Autoencoder(hidden=())` on the squared error. Its decoder spans the same plane as PCA (`paper.pca_fit`); show it.
# - **Core.** Mask a random share of the pixels, drawn anew for each digit. Is the DAE now good at whole digits, too? Then give it Gaussian noise (`paper.corrupt(..., kind="gaussian")`) at several strengths. At which is its reconstruction of *clean* digits
#   best? Does a DAE find anomalies better than an AE?
# - **Core.** Multiply the KL by $\beta$ and repeat section 5 for $\beta$ from 0 to 4. At which $\beta$ is *k*-means best?
# - **Stretch.** Find an anomaly score that finds the ones: the error per ink pixel, or the distance of the code from the known codes?
# - **Stretch.** Replace the decoder's Bernoulli by a Gaussian of fixed variance on grey pixels. What does the variance do to the balance of the two terms?
# - **Bonus.** Train on the importance-weighted bound instead of the ELBO ($K = 5$). Does the gap of section 7 close, and at what price in time?
#
# ### References
#
# - D. P. Kingma, M. Welling: *Auto-Encoding Variational Bayes*, 2013. [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)
# - P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol: *Extracting and Composing Robust Features with Denoising Autoencoders*, ICML 2008.
# - Y. Burda, R. Grosse, R. Salakhutdinov: *Importance Weighted Autoencoders*, 2015. [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)
# - The VAE of [pytorch/examples](https://github.com/pytorch/examples/tree/main/vae), and the issues named in section 8.
# - Data: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-based learning applied to document recognition*, 1998 (MNIST).
