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
# | **You need** | the chain rule, the normal distribution, the logarithm; no prior knowledge of autoencoders |
# | **Time** | 2 hours with the exercises; the notebook itself runs in a minute |
# | **Level** | introductory |
# | **Paper** | D. P. Kingma and M. Welling, *Auto-Encoding Variational Bayes* (2013), [arXiv:1312.6114](https://arxiv.org/abs/1312.6114) |
# | **Also** | a review of 2019, in Korean, that compares the latent space of an AE with that of a VAE; the lesson grew out of it |
#
# **Claims that you will test.** Some hold. Some do not. Some depend on how much data there is.
#
# | claim | source | section |
# |---|---|---|
# | A denoising autoencoder repairs masked digits better than a plain one | review | 3 |
# | The reparameterised gradient has less variance than the score-function estimator | paper | 4 |
# | (a) The codes of a VAE lie more compactly around the origin | review | 5 |
# | (c) Its clusters are tighter, hence better for finding groups | review | 5 |
# | (b) It reconstructs the data better, because its codes are compact | review | 6 |
# | A VAE can be sampled, an AE cannot | review | 6 |
# | Reconstruction error and ELBO find anomalies | review | 7 |
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
# - **Predict** means: write down what you expect before you run the next cell. Being wrong on paper is how this works.
# - Every number in the text is computed in this run. `lab.claim` notes whether a sentence of the paper or the review holds.
# - `profile` chooses the scale: `quick` (5,000 digits, a minute), `full` (all of MNIST), `paper` (the paper's architecture).

# %% tags=["parameters"]
profile = "quick"  # "quick", "full" or "paper"
seed = 0  # another seed: other initial weights, other noise

# %%
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import labkit
import labkit.data
from labkit.lab.figures import bars, image_rows, panels, scatter_classes
from labkit.lab.training import fit
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
    batch_size: int  # digits per gradient step
    lr: float  # step size; chosen once for the AE and the VAE together
    held_out: tuple[int, ...]  # digits left out, one at a time, for anomaly detection
    anomaly_epochs: int  # fewer: these models are trained once for each digit left out
    evaluated: int  # test digits on which costly quantities are computed (silhouette, importance weights)
    latent: int = 4  # d: the review's figure shows a 4-dimensional latent space
    wide: int = 50  # latent dimensions of the VAE that has too many
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
    quick=Config((256, 128), 15, 64, 2e-3, held_out=(0, 1), anomaly_epochs=8, evaluated=800),
    full=Config((512, 256), 12, 256, 2e-3, held_out=every, anomaly_epochs=2, evaluated=2000),
    paper=Config((500,), 100, 100, 0.02, held_out=every, anomaly_epochs=10, evaluated=5000, **as_in_paper),
)

# %% [markdown]
# ## 1 · The data: digits as coin tosses
#
# An image is a vector $x$ of $D = 28 \cdot 28 = 784$ pixels. MNIST's pixels are grey, between 0 and 1, but nearly all of them
# are close to 0 or to 1. We round them: **every image in this lesson is binarised at 0.5**. Then a pixel is the outcome of a
# coin toss, the decoder says with which probability it is ink, and what we compute are probabilities of images. Section 8
# shows what goes wrong when one keeps the grey values.

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
lab.record("no knowledge", 784 * np.log(2), unit="nats")

# %% [markdown]
# ## 2 · The autoencoder
#
# **Intuition.** Squeeze an image through a bottleneck of $d = 4$ numbers and rebuild it from them. What survives must be what
# the images have in common, and what tells them apart. Nothing else is asked of the four numbers: each image gets a
# *point*, and where the points lie is nobody's business.
#
# **Mathematics.** An encoder $z = f_\phi(x)$ gives the **code**, or latent vector, $z \in \mathbb R^d$. A decoder $g_\theta(z)$ gives
# **logits**, one per pixel; the sigmoid of a logit is the probability $p_i$ of ink at pixel $i$. The reconstruction error of
# an image is the negative logarithm of the probability that the decoder gives to it, a sum over independent pixels:
#
# $$ -\log p_\theta(x \mid z) = -\sum_{i=1}^{784} \big[ x_i \log p_i + (1 - x_i) \log (1 - p_i) \big]. $$
#
# **Predict.** If the mean over the 784 pixels were used instead of the sum, would an autoencoder learn anything different?
# (Keep your answer: in section 8 the same change ruins a VAE.)

# %% [markdown]
# ### Exercise 1 · The reconstruction term


# %% tags=["exercise"]
def reconstruction_nats(logits, x):
    """-log p(x|z) in nats, one number an image: logits (..., 784) and x (B, 784) give (..., B)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
reconstruction_nats = lab.check(reconstruction_nats)


# %% [markdown]
# A network needs an encoder and a decoder; `labkit.papers.autoencoders.Autoencoder` is two small stacks of linear layers. Have
# a look: `paper.Autoencoder??`. One helper trains every model in this lesson in the same way, so that comparisons are fair.


# %%
def train(name, model, loss, images, epochs=config.epochs, **more):
    """Train a model on loss(model, x, generator), always with this lesson's optimizer; returns the history."""
    if config.init_variance is not None:
        for weight in model.parameters():
            nn.init.normal_(weight, std=config.init_variance**0.5)
    optimizer = getattr(torch.optim, config.optimizer)
    optimizer = optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    settings = {"epochs": epochs, "batch_size": config.batch_size, "optimizer": optimizer, "label": name}
    return fit(model, loss, images, generator=lab.generator(name), checkpoint=lab.checkpoint(name), **settings, **more)


def build(kind, latent=config.latent):
    """A new model; the same seed for every kind, so that they differ in nothing else."""
    with lab.seeded("weights"):
        return kind(784, config.hidden, latent, getattr(nn, config.activation)).to(lab.device)


# %%
def ae_loss(model, x, generator):
    return reconstruction_nats(model(x), x).mean()


ae = build(Autoencoder)
ae_history = train("ae", ae, ae_loss, x_train)

# %% tags=["nbval-check-output"]
shapes = {name: tuple(model(x_test[:128]).shape) for name, model in {"Autoencoder": ae}.items()}
print("a code:", tuple(ae.encode(x_test[:128]).shape), " a reconstruction:", shapes)


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
lab.show(
    image_rows({"digit": x_test[first], "from 4 numbers": rebuilt(ae, x_test[first])}),
    alt="Ten test digits and below them their reconstructions from four numbers: most keep class and slant but are "
    "smoother; some look like a blend of similar classes such as 4 and 9.",
)

# %% [markdown]
# **What we saw.** Four numbers carry the class, the slant and the width of most digits; details and rare shapes are
# replaced by what is typical. Where two classes look alike, such as 4 and 9, the reconstruction may be a blend of both.

# %%
lab.tell(
    "An image that took {no knowledge:.1f} nats without any knowledge takes {ae/error/test:.1f} nats when the four numbers are known "
    "({ae/error/train:.1f} on the digits that the autoencoder was trained on)."
)

# %% [markdown]
# ## 3 · The denoising autoencoder
#
# **Intuition.** An autoencoder may memorise; one whose input is damaged must know what digits look like in order to
# repair them. The change is one word: the *input* is corrupted, the **target is the clean image**.
#
# **Mathematics.** $\tilde x \sim q(\tilde x \mid x)$, loss $-\log p_\theta\big(x \mid f_\phi(\tilde x)\big)$. Here masking noise: each pixel is
# set to 0 with probability $\nu$, independently of all others. (`paper.corrupt` also has Gaussian and salt-and-pepper noise.)

# %% [markdown]
# ### Exercise 2 · Masking noise


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


# %% [markdown]
# **Predict.** By how much do the two losses differ on the same network when the masking probability is 0?

# %% tags=["nbval-check-output"]
with torch.no_grad():
    without_noise = dae_loss(ae, x_test, lab.generator("zero"), probability=0.0)
print("difference at zero noise:", (without_noise - ae_loss(ae, x_test, None)).item())

# %% [markdown]
# With zero noise a DAE *is* an autoencoder, to the last bit. Now with half of the pixels masked.
#
# **Predict.** Which of the two is better on masked digits, and which on clean ones?

# %%
dae = build(Autoencoder)
train("dae", dae, dae_loss, x_train)

masked = mask_pixels(x_test, config.mask, lab.generator("masked test digits"))
for name, model in {"ae": ae, "dae": dae}.items():
    with torch.no_grad():
        lab.record(f"{name}/denoising error", reconstruction_nats(model(masked), x_test).mean(), unit="nats")
lab.record("dae/error/test", error(dae, x_test), unit="nats")

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
    alt="Ten digits, the same digits with half of their pixels masked, and two reconstructions from the masked ones. Those "
    "of the autoencoder are mostly wrong or shapeless; those of the denoising autoencoder mostly show the right digit.",
)

# %%
lab.claim(
    "A denoising autoencoder repairs masked digits better than a plain autoencoder.",
    holds=lab.metrics["dae/denoising error"] < lab.metrics["ae/denoising error"],
    evidence={"DAE": lab.metrics["dae/denoising error"], "AE (nats)": lab.metrics["ae/denoising error"]},
    source="review",
)
lab.tell(
    "On masked digits the DAE needs {dae/denoising error:.1f} nats and the AE {ae/denoising error:.1f}. On clean ones it is "
    "{dae/error/test:.1f} against {ae/error/test:.1f}: what each was trained for."
)

# %% [markdown]
# The plain autoencoder has never seen a masked digit; with half of the ink gone, its encoder lands in the wrong place. The
# DAE maps the damaged digit to where the whole one lies.
#
# ## 4 · The variational autoencoder
#
# **Intuition.** Give each image not a point but a small cloud, a Gaussian; say how much each cloud costs by how far it is from
# one common Gaussian at the origin. Codes then cannot be scattered at will, and the space between them is not
# empty, because clouds overlap. The review's picture: an AE says that a face's *smile* is 0.9, a VAE that it is between 0.7 and 1.1.
#
# **Mathematics.** The model says how an image comes about: draw a code from the **prior** $p(z) = N(0, I)$, then the pixels
# from the decoder, $p_\theta(x \mid z)$. How probable is an image under this model, $\log p_\theta(x)$? The integral over $z$ is out of
# reach. So the encoder proposes which codes may have produced the image, $q_\phi(z \mid x) = N(\mu, \mathrm{diag}\,\sigma^2)$, and
#
# $$ \log p_\theta(x) \;\ge\; \underbrace{\mathbb E_{q}\,\log p_\theta(x \mid z)}_{-\text{reconstruction error}} - \underbrace{D_{KL}\big(q_\phi(z\mid x)\,\|\,p(z)\big)}_{\text{price of the code}} \quad\text{(paper, equation 3)}. $$
#
# The right side is the **ELBO**, the evidence lower bound. Training makes it as large as possible. Networks give $\mu$ and
# `logvar` $= \log \sigma^2$, which may be any real number, so no positivity has to be enforced.

# %% [markdown]
# ### Exercise 3 · The price of a code
#
# For two Gaussians the KL divergence has a closed form (paper, appendix B). For one latent dimension:
# $D_{KL} = \tfrac12\left(\mu^2 + \sigma^2 - \log \sigma^2 - 1\right)$; dimensions are independent, so they add up.
#
# **Predict.** What does a code cost whose cloud equals the prior? And one with $\mu = (1, 1, 1, 1)$ and $\sigma = 1$?


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

lab.record("gradient/pathwise mean", pathwise.mean())
lab.record("gradient/score mean", score.mean())
lab.record("gradient/variance ratio", score.var() / pathwise.var())

# %%
lab.claim(
    "The reparameterised gradient has less variance than the score-function estimator.",
    holds=lab.metrics["gradient/variance ratio"] > 1,
    evidence={"variance ratio": lab.metrics["gradient/variance ratio"]},
    source="paper, section 2.2",
)
lab.tell(
    "Both estimate the same number, 2: {gradient/pathwise mean:.3f} and {gradient/score mean:.3f}. But a single "
    "score-function sample has {gradient/variance ratio:.1f} times the variance, and this only in one dimension."
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
lab.record("vae/code length", lab.metrics["vae/kl"] / np.log(2), unit="bits")

figure, (left, right) = panels(1, 2)
left.plot(vae_history["reconstruction"])
right.plot(vae_history["kl"])
left.set(title="reconstruction error", xlabel="epoch", ylabel="nats per test digit")
right.set(title="KL, the price of the code", xlabel="epoch", ylim=(0, None))
lab.show(
    figure,
    alt="Two curves over the epochs on test digits. The reconstruction error falls, steeply at first. The KL rises early "
    "and stays nearly level.",
)

# %% [markdown]
# **What we saw.** The model buys information: the KL rises early, because a code that says something pays for itself
# by a lower reconstruction error, and then it stays. Always look at both terms; their sum hides which one moved.

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
    """Coordinates of codes (N, d) on the axes of a PCA fitted elsewhere, with pca.mean (d,), pca.components (d, n): (N, n)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
pca_project = lab.check(pca_project)

# %% [markdown]
# **Predict.** Sketch both clouds before you run the cell. Where is the origin in each? Which is larger?

# %%
models = {"AE": ae, "VAE": vae}
figure, axes = panels(1, 2, width=4.6, height=4.4)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    pca = paper.pca_fit(mean_code(model, x_train), 2)
    points = pca_project(mean_code(model, x_test), pca)
    scatter_classes(ax, points[:2000].cpu(), y_test[:2000], title=f"{name}: 4 dimensions in 2")
    origin = pca_project(torch.zeros(1, config.latent, device=lab.device), pca)[0].cpu()
    ax.plot(*origin, marker="+", markersize=18, markeredgewidth=3, color="black")
    lab.record(f"{name.lower()}/pca explained", pca.explained.sum())

# %%
lab.show(
    figure,
    alt="Two scatter plots of test digits in the first two principal components, each class labelled by its number. The "
    "AE's cloud is several times larger than the VAE's and stretches away from the origin, which a cross marks; the VAE's "
    "is round and centred on it. In both, some classes stand apart and others, such as 4, 7 and 9, overlap.",
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

# %%
claimed = {key: (lab.metrics[f"ae/{key}"], lab.metrics[f"vae/{key}"]) for key in ("rms radius", "centre offset")}
lab.claim(
    "The codes of a VAE lie more compactly around the origin than those of an AE.",
    holds=claimed["rms radius"][1] < claimed["rms radius"][0],
    evidence={"rms radius AE": claimed["rms radius"][0], "VAE": claimed["rms radius"][1]},
    source="review, conclusion (a)",
)
lab.claim(
    "This is more than a choice of units: the VAE's cloud is also better centred, measured in its own spread.",
    holds=claimed["centre offset"][1] < claimed["centre offset"][0],
    evidence={"offset AE": claimed["centre offset"][0], "VAE": claimed["centre offset"][1]},
    source="this lesson",
)

# %%
lab.tell(
    "{vae/share in ball:.0%} of the VAE's codes lie in the ball that holds 95 % of $N(0, I)$, of the AE's "
    "{ae/share in ball:.0%}. The AE's centre is {ae/centre offset:.2f} of its own spread away from the origin, the VAE's "
    "{vae/centre offset:.2f}. Conclusion (a) is about the KL term, and the KL term does what it says."
)

# %% [markdown]
# ### Are the clusters better?
#
# Conclusion (c) of the review is that tighter clusters help to find groups. Three numbers, each free of units: the
# **silhouette** (1: each digit is much nearer to its own class than to the next; 0: no separation), the accuracy of a
# **10-nearest-neighbour** classifier on the codes, and the **normalised mutual information** (NMI) between the classes and ten groups
# that *k*-means finds without labels.
#
# **Predict.** Which of the two wins each of the three?

# %%
for name, model in models.items():
    train_codes, test_codes = mean_code(model, x_train).cpu(), mean_code(model, x_test).cpu()
    some = slice(config.evaluated)
    lab.record(f"{name.lower()}/silhouette", silhouette_score(test_codes[some], y_test[some]))
    neighbours = KNeighborsClassifier(10).fit(train_codes, y_train)
    lab.record(f"{name.lower()}/knn accuracy", neighbours.score(test_codes, y_test))
    groups = KMeans(10, n_init=10, random_state=seed).fit_predict(test_codes)
    lab.record(f"{name.lower()}/kmeans nmi", normalized_mutual_info_score(y_test, groups))

# %%
measures = {
    "silhouette": "The VAE's clusters are tighter (silhouette).",
    "knn accuracy": "Neighbours in the VAE's latent space share their class more often (k-NN accuracy).",
    "kmeans nmi": "k-means finds the digits better in the VAE's latent space (NMI).",
}
for key, sentence in measures.items():
    of_ae, of_vae = lab.metrics[f"ae/{key}"], lab.metrics[f"vae/{key}"]
    lab.claim(sentence, holds=of_vae > of_ae, evidence={"AE": of_ae, "VAE": of_vae}, source="review, conclusion (c)")

# %% [markdown]
# The differences are small, and whether a sentence holds may depend on the seed and on the amount of data: the claims table
# at the end shows how often each held. *Compact* in the sense of (a) does not imply *well separated*: the KL pulls all
# clusters towards the same place, so they shrink and move together at once. What decides is the ratio of the two, and the KL is
# blind to it, since it knows no classes.

# %% [markdown]
# ## 6 · Reconstruction or generation?
#
# Conclusion (b) of the review: codes are more compact, *so the VAE reconstructs the data better*. Think before you measure.
# Both networks have the same decoder. The AE minimises the reconstruction error and nothing else. The VAE minimises the
# same error **plus** the KL, and its decoder sees a noisy code.
#
# **Predict.** Who wins on the training digits? Who on digits that neither has seen?

# %%
lab.record_all({"vae/error/train": error(vae, x_train), "vae/error/test": error(vae, x_test)}, unit="nats")
figure, ax = panels(width=5.2)
where = ["training\nmean code", "test\nmean code", "test\nsampled code"]
of_vae = [lab.metrics["vae/error/train"], lab.metrics["vae/error/test"], lab.metrics["vae/reconstruction"]]
of_ae = [lab.metrics["ae/error/train"], lab.metrics["ae/error/test"], lab.metrics["ae/error/test"]]
bars(ax, where, {"AE": of_ae, "VAE": of_vae})
ax.set(ylabel="reconstruction error (nats)", ylim=(0, 1.3 * max(of_vae + of_ae)))
lab.show(
    figure,
    alt="Bar chart of the reconstruction error of AE and VAE: on training digits and on test digits from the mean code the "
    "bars of the two models are close, with a sampled code the VAE's bar is the highest.",
)

# %%
lab.claim(
    "The VAE reconstructs its training digits better than the AE.",
    holds=of_vae[0] < of_ae[0],
    evidence={"AE": of_ae[0], "VAE": of_vae[0]},
    source="review, conclusion (b)",
)
lab.claim(
    "The VAE reconstructs unseen digits better than the AE, from the mean code.",
    holds=of_vae[1] < of_ae[1],
    evidence={"AE": of_ae[1], "VAE": of_vae[1]},
    source="review, conclusion (b)",
)
lab.claim(
    "The VAE reconstructs unseen digits better than the AE, from a sampled code, as it was trained.",
    holds=of_vae[2] < of_ae[2],
    evidence={"AE": of_ae[2], "VAE": of_vae[2]},
    source="review, conclusion (b)",
)

# %%
lab.record("ae/generalization gap", of_ae[1] - of_ae[0], unit="nats")
lab.record("vae/generalization gap", of_vae[1] - of_vae[0], unit="nats")
lab.tell(
    "From training to test digits the AE loses {ae/generalization gap:.1f} nats and the VAE {vae/generalization gap:.1f}. "
    "The noise in its codes keeps the VAE from memorising. Where data are few and the AE overfits, this can outweigh the "
    "price of the KL; it is a gain by regularisation, not by compactness. With the code that the VAE is trained with, a "
    "sample, its error is {vae/reconstruction:.1f} nats against {ae/error/test:.1f} of the AE."
)

# %% [markdown]
# ### What a VAE is for: new digits
#
# Draw $z \sim N(0, I)$ and decode. For the VAE this is the model itself. For an AE nobody promised that there is anything at
# such a $z$; a fairer try fits a Gaussian to the AE's training codes and draws from that.
#
# **Predict.** Which of the three rows of samples will look like digits?

# %%
noise = torch.randn(1000, config.latent, generator=lab.generator("prior"), device=lab.device)
codes = mean_code(ae, x_train)
fitted = codes.mean(0) + noise @ torch.linalg.cholesky(torch.cov(codes.T)).T  # N(mean, covariance) of the AE's codes
with torch.no_grad():
    samples = {
        "AE, N(0, I)": torch.sigmoid(ae.decode(noise)),
        "AE, fitted": torch.sigmoid(ae.decode(fitted)),
        "VAE, N(0, I)": torch.sigmoid(vae.decode(noise)),
    }
lab.show(
    image_rows({name: images[:10] for name, images in samples.items()}),
    alt="Three rows of ten generated images. AE with standard normal codes: much the same few shapes again and again. AE "
    "with a Gaussian fitted to its codes: a variety, some digits, some blurred mixtures. VAE: a variety, mostly digits.",
)

# %% [markdown]
# The eye is easily pleased, so a judge: a small classifier trained on *real* digits. A sample is digit-like if the judge is
# sure of its class; a set of samples is varied if all classes occur. Both at once is measured by
# $\exp\big(\mathbb E\, D_{KL}(p(y \mid x)\,\|\,p(y))\big)$, between 1 (useless) and 10 (all ten digits, each beyond doubt), known as the
# *inception score*. And since a classifier can also be sure of nonsense, a second judge: the share of pixels in which
# a sample differs from the nearest real training digit.

# %%
with lab.seeded("judge"):
    judge = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).to(lab.device)


def judge_loss(model, x, y, generator):
    return nn.functional.cross_entropy(model(x), y)


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
figure, ax = panels(width=5.2)
bars(ax, list(scores), {"score by the judge": list(scores.values())})
ax.set(ylim=(1, 11.5), ylabel="1: useless, 10: perfect")
lab.show(
    figure,
    alt="Bar chart of the judge's score for four sets of images. Lowest: AE codes drawn from the standard normal. Then, "
    "close to each other, the AE with a fitted Gaussian and the VAE; highest: real test digits.",
)

# %% [markdown]
# The second judge needs a yardstick, too: real test digits. An image nearer to the training digits than those are is not a better
# digit, it is a more average one. Decoders of this size draw smooth, typical digits.

# %%
lab.tell(
    "A real test digit differs from its nearest training digit in {samples/real digits/unlike:.1%} of the pixels, a sample of the VAE in "
    "{samples/VAE, N(0, I)/unlike:.1%}, one of the AE with a fitted Gaussian in {samples/AE, fitted/unlike:.1%} and one of the AE from "
    "$N(0, I)$ in {samples/AE, N(0, I)/unlike:.1%}."
)

# %%
lab.claim(
    "A VAE can be sampled from N(0, I); an AE of the same size cannot (score by the judge).",
    holds=scores["VAE, N(0, I)"] > scores["AE, N(0, I)"],
    evidence=scores,
    source="review",
)
lab.claim(
    "The VAE's samples beat those of an AE even when a Gaussian is fitted to the AE's codes.",
    holds=scores["VAE, N(0, I)"] > scores["AE, fitted"],
    evidence={"AE, fitted": scores["AE, fitted"], "VAE": scores["VAE, N(0, I)"]},
    source="this lesson",
)

# %% [markdown]
# ### Walking through the latent space
#
# The review's example: a face described by six attributes, each of which can be turned up and down. Take one digit, vary one of
# its four latent dimensions, keep the others.

# %%
steps = torch.linspace(-2.5, 2.5, 11, device=lab.device)
code = mean_code(vae, x_test[first[3] : first[3] + 1])[0]
with torch.no_grad():
    walks = {f"$z_{i + 1}$": paper.traverse(vae, code, i, steps) for i in range(config.latent)}
lab.show(
    image_rows(walks),
    alt="Four rows of eleven images. In each row one latent dimension of a three runs from minus 2.5 to 2.5: the digit "
    "changes smoothly, in slant or width and then into other digits; no row is empty or broken.",
)

# %% [markdown]
# No dimension is *the slant* or *the class*: the KL knows no attributes, and any rotation of $z$ would serve it as well. Yet
# every step on the way is a plausible image. Now walk yourself: move the sliders (with a running kernel).


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
    image_rows(grid, size=0.5),
    alt="A ten by ten grid of decoded digits. Neighbours look alike; across the grid the digits change smoothly from one "
    "class into another, with some blends on the borders.",
)

# %% [markdown]
# ## 7 · Two uses of a bound
#
# ### Anomalies
#
# The review names anomaly detection as a use: train on what is normal, and call *anomalous* what the model finds hard. Hold out one
# digit: train on the other nine, then ask for a score that is higher for the digit never seen. For an AE the score is the
# reconstruction error, for a VAE the negative ELBO. **ROC-AUC** is the probability that a random unseen-class digit scores
# higher than a random known one: 1 is perfect, ½ is chance.
#
# **Predict.** Does it matter which digit is held out? Which will be hardest to find?


# %%
@torch.no_grad()
def surprise(model, x):
    """Reconstruction error of an AE, negative ELBO (10 samples) of a VAE, in nats, (N,)."""
    if isinstance(model, Autoencoder):
        return reconstruction_nats(model(x), x).cpu()
    return -paper.log_importance_weights(model, x, 10, lab.generator("surprise")).mean(0).cpu()


for digit in config.held_out:
    normal = x_train[digits.train.labels.to(lab.device) != digit]
    for name, kind, loss in (("ae", Autoencoder, ae_loss), ("vae", VariationalAutoencoder, vae_loss)):
        model = build(kind)
        train(f"{name} without {digit}", model, loss, normal, epochs=config.anomaly_epochs)
        lab.record(f"anomaly/{name}/{digit}", roc_auc_score(y_test == digit, surprise(model, x_test)), unit="ROC-AUC")

# %%
auc = {name: [lab.metrics[f"anomaly/{name}/{digit}"] for digit in config.held_out] for name in ("ae", "vae")}
lab.record_all({f"anomaly/{name}/mean": np.mean(values) for name, values in auc.items()}, unit="ROC-AUC")
figure, ax = panels(width=max(4.2, 0.7 * len(config.held_out)))
bars(ax, [str(digit) for digit in config.held_out], {"AE, error": auc["ae"], "VAE, -ELBO": auc["vae"]})
ax.axhline(0.5, color="black", linewidth=1, linestyle=":")
ax.set(xlabel="digit held out of training", ylabel="ROC-AUC", ylim=(0, 1.25))
lab.show(
    figure,
    alt="Bars of ROC-AUC for each digit held out, AE beside VAE, with a dotted line at one half, which is chance. Zeros are "
    "found well by both; ones lie at or far below chance.",
)

# %%
lab.claim(
    "The reconstruction error of an AE finds a digit that it never saw, whichever digit that is (AUC above one half).",
    holds=min(auc["ae"]) > 0.5,
    evidence={f"AUC, {digit} held out": value for digit, value in zip(config.held_out, auc["ae"], strict=True)},
    source="review",
    reason="A one has little ink: it is cheap to describe for any model, also for one that never saw a one.",
)
lab.claim(
    "The negative ELBO of a VAE finds unseen digits better than the reconstruction error of an AE (mean AUC).",
    holds=np.mean(auc["vae"]) > np.mean(auc["ae"]),
    evidence={"AE": np.mean(auc["ae"]), "VAE": np.mean(auc["vae"])},
    source="review",
)

# %% [markdown]
# Why do ones go unnoticed? Plot what the model is surprised by against something that has nothing to do with novelty: ink.

# %%
known = surprise(ae, x_test).numpy()
ink = x_test.sum(1).cpu().numpy()
lab.record("anomaly/correlation of error and ink", np.corrcoef(known, ink)[0, 1])
figure, ax = panels(width=4.6)
for digit, marker in ((1, "o"), (0, "x")):
    ax.scatter(ink[y_test == digit], known[y_test == digit], s=14, marker=marker, label=f"digit {digit}")
rest = (y_test != 0) & (y_test != 1)
ax.scatter(ink[rest], known[rest], s=3, color="lightgray", zorder=0, label="other digits")
ax.set(xlabel="pixels with ink", ylabel="reconstruction error (nats)")
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Scatter plot of the AE's reconstruction error against the number of ink pixels of each test digit. The error grows "
    "with ink; the ones, with least ink, form a cloud at the lower left, the zeros lie in the middle and to the right.",
)
lab.tell(
    "The autoencoder that was trained on *all* digits already shows it: error and ink correlate with "
    "{anomaly/correlation of error and ink:.2f}. A likelihood measures how complex an image is as well as how unusual."
)

# %% [markdown]
# ### How tight is the bound?
#
# The ELBO is a lower bound on $\log p_\theta(x)$; how far below? Draw $K$ codes from $q_\phi(z \mid x)$ and weigh each by how much
# too often $q$ proposes it:
#
# $$ \log p_\theta(x) \;\ge\; \mathbb E \log \frac1K \sum_{k=1}^{K} w_k, \qquad w_k = \frac{p_\theta(x \mid z_k)\, p(z_k)}{q_\phi(z_k \mid x)}. $$
#
# With $K = 1$ this is the ELBO; with $K \to \infty$ it becomes $\log p_\theta(x)$ (Burda et al., 2015,
# [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)).

# %% [markdown]
# ### Exercise 7 · The importance-weighted bound


# %% tags=["exercise"]
def iwae_bound(log_weights):
    """log( 1/K sum_k w_k ) of each image from log-weights: (K, B) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
iwae_bound = lab.check(iwae_bound)

# %%
with torch.no_grad():
    weights = paper.log_importance_weights(vae, x_test[: config.evaluated // 2], config.samples, lab.generator("iwae"))
for k in (1, 10, config.samples):
    # Every k-th part of the samples gives one estimate; their mean uses all samples for every k.
    bound = torch.stack([iwae_bound(part) for part in weights.split(k)]).mean()
    lab.record(f"bound/K={k}", bound, unit="nats")

# %%
bounds = [lab.metrics[f"bound/K={k}"] for k in (1, 10, config.samples)]
lab.claim(
    "The bound rises with the number of samples: ELBO <= IWAE with 10 <= IWAE with 100.",
    holds=bounds[0] <= bounds[1] <= bounds[2],
    evidence={"K=1": bounds[0], "K=10": bounds[1], "K=100": bounds[2]},
    source="Burda et al. (2015)",
)
lab.record("bound/gap", bounds[2] - bounds[0], unit="nats")
lab.tell(
    "The ELBO lies at least {bound/gap:.1f} nats below the log-likelihood: the true posterior of a digit is not a Gaussian with "
    "independent dimensions, and one encoder must serve all images."
)

# %% [markdown]
# ### Two estimators of the same bound
#
# Estimator A of the paper (equation 6) takes everything from the sample, $\log p(x, z) - \log q(z \mid x)$; estimator B
# (equation 7) uses the closed-form KL. The paper says that B *typically has less variance*. Compare the variance over 64 draws,
# for an untrained VAE and for ours.
#
# **Predict.** Suppose $q(z \mid x)$ were exactly the posterior. What would be the variance of A?


# %%
@torch.no_grad()
def estimator_variance(model, x, draws=64):
    """Mean over images of the variance over draws of estimators A and B, in nats squared."""
    generator = lab.generator("estimators")
    a = paper.log_importance_weights(model, x, draws, generator)  # (draws, N)
    mu, logvar = (half.expand(draws, *half.shape) for half in model.encode(x))
    b = elbo(model.decode(reparameterize(mu, logvar, generator)), x, mu, logvar)  # (draws, N)
    return a.var(0).mean(), b.var(0).mean()


for when, model in {"untrained": build(VariationalAutoencoder), "trained": vae}.items():
    for estimator, variance in zip("AB", estimator_variance(model, x_test[:200]), strict=True):
        lab.record(f"estimator {estimator}/variance {when}", variance, unit="nats²")

# %%
for when in ("untrained", "trained"):
    a, b = (lab.metrics[f"estimator {estimator}/variance {when}"] for estimator in "AB")
    lab.claim(
        f"With the closed-form KL (estimator B) the bound has less variance than without: {when} VAE.",
        holds=b < a,
        evidence={"A": a, "B": b},
        source="paper, section 2.3",
    )

# %% [markdown]
# The closed form removes the randomness of one term, which helps as long as the two terms of A have little to do with each other. In
# a trained VAE they do: where the decoder likes $z$ better, $q$ is denser, and in the difference these fluctuations cancel; if $q$
# were the exact posterior, $\log p(x, z) - \log q(z \mid x) = \log p(x)$ for *every* $z$, and A would have no variance at all.
#
# ### Too many dimensions
#
# The paper reports that superfluous latent dimensions do not lead to overfitting, since the KL prices them.
# A dimension is *active* if its mean moves with the image; $\mathrm{Var}_x(\mu_j) > 0.01$ is a common threshold.

# %%
wide = build(VariationalAutoencoder, config.wide)
train("wide", wide, vae_loss, x_train)


@torch.no_grad()
def mean_elbo(model, x):
    return paper.log_importance_weights(model, x, 10, lab.generator("mean elbo")).mean().item()


for name, model in {"narrow": vae, "wide": wide}.items():
    lab.record(f"{name}/elbo train", mean_elbo(model, x_train[:2000]), unit="nats")
    lab.record(f"{name}/elbo test", mean_elbo(model, x_test[:2000]), unit="nats")
lab.record("wide/active dimensions", (mean_code(wide, x_test).var(0) > 0.01).sum(), unit=f"of {config.wide}")

# %%
lab.claim(
    "Superfluous latent dimensions do not make a VAE overfit: its test ELBO is no worse than with 4.",
    holds=lab.metrics["wide/elbo test"] >= lab.metrics["narrow/elbo test"],
    evidence={
        "d = 4": lab.metrics["narrow/elbo test"],
        f"d = {config.wide}": lab.metrics["wide/elbo test"],
    },
    source="paper, section 5",
)
lab.tell(
    "{wide/active dimensions:.0f} of the wide model's dimensions are active; to the others the KL has assigned the prior, where they "
    "cost nothing. From training to test digits its ELBO falls from {wide/elbo train:.1f} to {wide/elbo test:.1f} nats, that of the "
    "narrow one from {narrow/elbo train:.1f} to {narrow/elbo test:.1f}."
)

# %% [markdown]
# ## 8 · Where the paper, the review and the code disagree
#
# ### The mean that ruins a VAE
#
# The most frequently reported problem with VAEs: `binary_cross_entropy` averages by default, so the reconstruction error becomes a *mean*
# over 784 pixels, while the KL stays a *sum* over 4 dimensions. Nothing crashes, the loss falls. (Asked again and again: issues
# #234, #290, #294 and #817 of pytorch/examples.)
#
# **Predict.** How many times too strong is the KL now? What is the cheapest code an encoder can choose?


# %%
def mean_instead_of_sum(model, x, generator):
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, generator))
    return nn.functional.binary_cross_entropy_with_logits(logits, x) + kl_to_standard_normal(mu, logvar).mean()


collapsed = build(VariationalAutoencoder)
train("collapsed", collapsed, mean_instead_of_sum, x_train, epochs=config.anomaly_epochs)
lab.record("collapsed/kl", two_terms(collapsed, "collapsed")["kl"], unit="nats")
lab.record("collapsed/error/test", error(collapsed, x_test), unit="nats")
lab.record("collapsed/variety", rebuilt(collapsed, x_test).std(0).mean(), unit="std of a pixel")
lab.record("vae/variety", rebuilt(vae, x_test).std(0).mean(), unit="std of a pixel")

# %%
lab.show(
    image_rows(
        {"digit": x_test[first], "sum (right)": rebuilt(vae, x_test[first]), "mean": rebuilt(collapsed, x_test[first])}
    ),
    alt="Ten test digits and two rows of reconstructions. With the sum they resemble the digits; with the mean all ten "
    "are the same grey blur, the average digit.",
)
lab.claim(
    "Averaging the reconstruction over pixels, but not the KL over dimensions, makes the posterior collapse (KL below 0.1 nats).",
    holds=lab.metrics["collapsed/kl"] < 0.1,
    evidence={"KL with the mean": lab.metrics["collapsed/kl"], "KL with the sum": lab.metrics["vae/kl"]},
    source="pytorch/examples, issues 234, 290, 294, 817",
)

# %%
lab.tell(
    "Every code now equals the prior: {collapsed/kl:.4f} nats instead of {vae/kl:.1f}. A code that says nothing leaves the decoder "
    "one answer for all images, the average digit: its pixels vary by {collapsed/variety:.4f} from image to image, instead of "
    "{vae/variety:.3f}. For an AE the same slip only rescales the learning rate, which is why it goes unnoticed there."
)

# %% [markdown]
# ### Cross-entropy on grey pixels is not a likelihood
#
# Many implementations keep the grey values. The Bernoulli cross-entropy then no longer belongs to any probability of the image: even
# a *perfect* reconstruction, $p_i = x_i$, has a positive loss, the entropy of the grey values, and losses of
# grey and of binarised data must not be compared.

# %%
grey = digits.test.flat.clamp(1e-6, 1 - 1e-6)
lab.record("grey/loss of a perfect reconstruction", reconstruction_nats(torch.logit(grey), grey).mean(), unit="nats")
sharp = x_test.clamp(1e-6, 1 - 1e-6)
lab.record(
    "binarised/loss of a perfect reconstruction", reconstruction_nats(torch.logit(sharp), x_test).mean(), unit="nats"
)
lab.tell(
    'A perfect copy of a grey digit still "costs" {grey/loss of a perfect reconstruction:.1f} nats; of a binarised one '
    "{binarised/loss of a perfect reconstruction:.3f}."
)

# %% [markdown]
# The VAE in `pytorch/examples` has for this reason changed its loss to the *continuous Bernoulli*, which adds a normaliser for grey values;
# its losses before and after that change cannot be compared either.
#
# ### Smaller things
#
# - **The paper** swaps the words *encoder* and *decoder* in one sentence of its experiments (in the first arXiv version): a slip of the
#   pen. It prints no table; its figures show curves only, so there is no published number that this lesson could be held against.
# - **The review** draws "compact" and "better" from one picture. The picture is right; two of the three conclusions need more than a picture.
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
# 3. Compact is not the same as separated, and neither makes a reconstruction better.
# 4. Sums stay sums: over pixels *and* over latent dimensions. Watch both terms.
# 5. A high likelihood is not a certificate of normality: simple images are cheap.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Give the DAE Gaussian noise (`paper.corrupt(..., kind="gaussian")`) at several strengths. At which is its reconstruction of *clean* digits
#   best? Does a DAE find anomalies better than an AE?
# - **Core.** Multiply the KL by $\beta$ and repeat section 5 for $\beta$ from 0 to 4. At which $\beta$ is *k*-means best?
# - **Stretch.** Correct the anomaly score for ink: subtract what a linear regression on the ink of the training digits predicts. Does the one show up?
# - **Stretch.** Replace the decoder's Bernoulli by a Gaussian of fixed variance on grey pixels. What does the variance do to the balance of the two terms?
# - **Bonus.** Train on the importance-weighted bound instead of the ELBO ($K = 5$). Does the gap of section 7 close, and at what price in time?
#
# ### References
#
# - D. P. Kingma, M. Welling: *Auto-Encoding Variational Bayes*, 2013. [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)
# - Y. Burda, R. Grosse, R. Salakhutdinov: *Importance Weighted Autoencoders*, 2015. [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)
# - The VAE of [pytorch/examples](https://github.com/pytorch/examples/tree/main/vae), and the issues named in section 8.
# - Data: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-based learning applied to document recognition*, 1998 (MNIST).
