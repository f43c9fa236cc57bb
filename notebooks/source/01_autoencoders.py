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
# | **For** | whoever knows Python and has trained a small network in PyTorch; nothing about autoencoders is taken for known |
# | **Afterwards you can** | write a VAE and its loss without the classic mistakes, read a latent space with numbers and not only with the eye, and say what a VAE is better at than an autoencoder, and what not |
# | **You need** | the chain rule, expectations, the normal distribution |
# | **Time** | core: 95 minutes with the exercises; further: 25 minutes |
# | **Level** | introductory |
# | **Paper** | D. P. Kingma and M. Welling, *Auto-Encoding Variational Bayes* (2013), [arXiv:1312.6114](https://arxiv.org/abs/1312.6114) |
# | **The review** | "AutoEncoder vs Variant AutoEncoder", a blog post in Korean, 2019; it compares the latent spaces of the two |
#
# **Claims that you will test.** Some hold, some do not, some depend on how one measures.
#
# | claim | source | section |
# |---|---|---|
# | A denoising autoencoder repairs digits, and points to where data are dense | ours; Alain and Bengio | 3 |
# | The codes of a VAE lie more compactly around the origin than those of an AE | review | 5 |
# | Its clusters are tighter, hence better for finding groups | review | 5 |
# | Its codes are compact, *so* it reconstructs the data better | review | 6 |
# | Samples of the prior become digits in a VAE, and not in an AE | ours | 6 |
# | Neighbors in the latent space are of the same class more often than neighbors in pixels | ours | 7 |
# | The reconstruction error finds digits that were never seen | ours | 8 |
# | Superfluous latent dimensions do not lead to overfitting | paper | 9 |
# | For as many bits, a VAE's code says more about a digit than a rounded AE code | ours | 10 |
# | A mean in place of a sum makes the posterior collapse | users of `pytorch/examples` | 11 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the scale: `quick` (4,000 training digits), `full` (all of MNIST), `paper` (the paper's network and optimizer).

# %% tags=["parameters"]
profile = "quick"  # "quick", "full" or "paper"
seed = 0  # another seed: other initial weights, other noise

# %%
import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.distributions import Normal

import labkit
import labkit.data
from labkit.lab.figures import as_png, bars, image_rows, panels
from labkit.lab.latent_figures import class_map, clouds, digit_in_maps
from labkit.lab.training import fit, settled
from labkit.lab.widgets import image_choices, image_sliders
from labkit.papers import autoencoders as paper

lab = labkit.start("01_autoencoders", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...]  # hidden units of the encoder; the decoder mirrors them
    epochs: int  # passes over the training digits, the same for all models that are compared
    batch_size: int  # digits per gradient step; with few digits small ones, for more steps an epoch
    lr: float  # largest step size; chosen once for the AE and the VAE together
    latent: int = 4  # d: the review's figure shows a 4-dimensional latent space
    anomaly: tuple = ((128,), 2)  # section 8: hidden units and epochs of ten small models
    few: int = 500  # section 9: digits of a training so long that it can overfit
    long_epochs: int = 60  # and its epochs
    as_in_paper: bool = False  # tanh, Adagrad, weights from N(0, 0.01) and their decay: see `build` and `train`


config = lab.choose(
    quick=Config((256, 128), epochs=8, batch_size=32, lr=6e-3),
    full=Config((512, 256), epochs=6, batch_size=256, lr=4e-3, few=4000),
    # The paper's text leaves open what we choose: 100 epochs, tanh, the step 0.02 out of its {0.01, 0.02, 0.1}.
    paper=Config((500,), 100, 100, 0.02, anomaly=((500,), 10), few=6000, long_epochs=300, as_in_paper=True),
)

# %% [markdown]
# ## 1 · The data: digits as coin tosses
#
# An image is a vector $x$ of $D = 28 \cdot 28 = 784$ pixels.
# MNIST's pixels are grey, between 0 and 1; we round them: **every image in this lesson is binarized at 0.5**.
# Then a pixel is a coin toss, a *Bernoulli* variable: ink or no ink.
# A model says with which probability each coin shows ink.

# %%
digits = labkit.data.load("mnist", profile=profile)
x_train = (digits.train.flat > 0.5).float().to(lab.device)  # (N, 784)
x_test = (digits.test.flat > 0.5).float().to(lab.device)
y_train, y_test = digits.train.labels.numpy(), digits.test.labels.numpy()
first = [int((y_test == digit).argmax()) for digit in range(10)]  # one test digit of each class
print(digits.source, len(x_train), "for training,", len(x_test), "for the test")
figure = image_rows({"grey": digits.test.flat[first], "binarized": x_test[first]})
lab.show(figure, alt="Ten handwritten digits, 0 to 9, grey as in MNIST, and below them the same in black and white.")

# %% [markdown]
# **A probability is a code length.**
# Whoever knows the probabilities of all messages can give short code words to the likely ones; a message of probability $p$ then takes $-\log p$.
# Four equally likely messages take $-\log_2 \tfrac14 = 2$ bits each, as they should: 00, 01, 10, 11.
# With the natural logarithm the unit is the **nat**, $1/\log 2 \approx 1.44$ bits.
#
# So a model of images is judged by how briefly it describes an image that it has not seen.
# Take one pixel with ink: a model that gave it the probability 0.9 pays 0.1 nats, one that gave it 0.1 pays 2.3.
# Independent pixels multiply their probabilities, so their costs add up.

# %% tags=["nbval-check-output"]
for p in (0.9, 0.5, 0.1):
    print(f"a pixel with ink that was given the probability {p}: {-math.log(p):.2f} nats")
lab.record("no knowledge/error", 784 * math.log(2), unit="nats")  # 1/2 for every pixel

# %% [markdown]
# ## 2 · The autoencoder
#
# ![An autoencoder: a digit of 784 pixels goes through an encoder into a code of four numbers, and through a decoder back to 784 probabilities of ink, which the loss compares with the digit.](figures/01_autoencoders/autoencoder.svg)
#
# **Intuition.** Squeeze an image through a bottleneck of $d = 4$ numbers and rebuild it from them.
# What all images share the decoder can learn by heart; the four numbers must carry what tells them apart.
# Nothing else is asked of them: an image gets a *point*, and where the points lie does not matter to the loss.
#
# **Mathematics.** An encoder $f_\phi$ with weights $\phi$ gives the **code**, or latent vector, $z = f_\phi(x) \in \mathbb R^d$.
# A decoder $g_\theta$ with weights $\theta$ gives a **logit** for each pixel, and the sigmoid of the logit is the probability of ink, $p_i$.
# The reconstruction error is the code length of the image, $-\log p_\theta(x \mid z)$, with one coin a pixel.
#
# ### Exercise 1 · The reconstruction error
#
# A pixel $x_i$ costs $-\log p_i$ if it has ink, and $-\log(1 - p_i)$ if not.
# Return the cost of each image in the batch.
# Start from the logits: a confident decoder's probabilities round to 0 or 1, and their logarithm to $-\infty$.


# %% tags=["exercise"]
def reconstruction_nats(logits, x):
    """-log p(x|z) in nats, one number an image: logits (B, 784) and x (B, 784) give (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
reconstruction_nats = lab.check(reconstruction_nats)

# %% [markdown]
# Encoder and decoder are stacks of linear layers with a bend (ReLU) between them.


# %%
activation = nn.Tanh if config.as_in_paper else nn.ReLU


def layers(*sizes):
    """Linear layers from sizes[0] to sizes[-1] numbers, with an activation between them."""
    stack = []
    for before, after in pairwise(sizes):
        stack += [nn.Linear(before, after), activation()]
    return nn.Sequential(*stack[:-1])  # none behind the last


class Autoencoder(nn.Module):
    def __init__(self, latent=config.latent, hidden=config.hidden):
        super().__init__()
        self.encode = layers(784, *hidden, latent)  # (B, 784) -> (B, d)
        self.decode = layers(latent, *reversed(hidden), 784)  # (..., d) -> (..., 784) logits


def ae_loss(model, x, generator):
    return reconstruction_nats(model.decode(model.encode(x)), x).mean()


# %% [markdown]
# **A training step**: the loss of a minibatch, its gradient, a step of the optimizer against it.
# Here it is by hand, twenty times on the same batch.

# %%
with lab.seeded("by hand"):
    model = Autoencoder().to(lab.device)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for step in range(20):
    loss = ae_loss(model, x_train[:100], None)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 5 == 0:
        print(f"step {step}: {loss.item():.0f} nats per digit")

# %% [markdown]
# `fit` repeats this step over shuffled minibatches.
# The step size rises at first and then falls to zero, so that a training ends settled; all models that are compared are trained alike.


# %%
def build(kind, *sizes):
    """A new model, its initial weights drawn from one seed for all kinds."""
    with lab.seeded("weights"):
        model = kind(*sizes)
        if config.as_in_paper:
            for weight in model.parameters():
                nn.init.normal_(weight, std=0.1)  # variance 0.01
    return model.to(lab.device)


def train(name, model, loss, images, epochs=config.epochs, **more):
    """Train a model on loss(model, x, generator); returns the history."""
    steps, schedule = epochs * math.ceil(len(images) / config.batch_size), None
    if config.as_in_paper:
        optimizer = torch.optim.Adagrad(model.parameters(), lr=config.lr, weight_decay=1 / 60000)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
    settings = {"epochs": epochs, "batch_size": config.batch_size, "optimizer": optimizer, "schedule": schedule}
    random = {"generator": lab.generator(name, lab.device), "checkpoint": lab.checkpoint(name)}
    return fit(model, loss, images, label=name, **settings, **random, **more)


# %%
ae = build(Autoencoder)
ae_history = train("ae", ae, ae_loss, x_train)


# %%
@torch.no_grad()
def code(model, x):
    """The code that a figure shows: z of an AE, the mean of a VAE's cloud."""
    z = model.encode(x)
    return z[0] if isinstance(z, tuple) else z  # (N, d)


@torch.no_grad()
def errors(model, x, seen=None):
    """Reconstruction errors (N,) in nats of x, rebuilt from what the encoder has seen: x itself, or a damaged x."""
    return reconstruction_nats(model.decode(code(model, x if seen is None else seen)), x)


@torch.no_grad()
def rebuilt(model, x):
    return torch.sigmoid(model.decode(code(model, x)))  # (N, 784) probabilities of ink


# %%
average = torch.logit(x_train.mean(0).clamp(1e-3, 1 - 1e-3)).expand_as(x_test)  # each pixel's share of ink
lab.record("average digit/error", reconstruction_nats(average, x_test).mean(), unit="nats")
for split, images in {"train": x_train, "test": x_test}.items():
    lab.record(f"ae/error/{split}", errors(ae, images).mean(), unit="nats")
figure = image_rows({"digit": x_test[first], "from 4 numbers": rebuilt(ae, x_test[first])})
lab.show(figure, alt="Ten test digits and below each its reconstruction: smoother, with a like width and slant.")
lab.tell(
    "Without any knowledge a digit takes {no knowledge/error:.0f} nats, with the average digit as the answer to all "
    "{average digit/error:.0f}, with four numbers {ae/error/test:.0f}. (The price of the four numbers comes later.)"
)

# %% [markdown]
# **What we saw.** Details are replaced by what is typical.
# Where two classes look alike, such as 4 and 9, the reconstruction may be a blend of both or the wrong one.

# %% [markdown]
# ## 3 · The denoising autoencoder
#
# **Intuition.** An autoencoder may get away with copying; one whose input is damaged must know what digits look like in order to repair them.
# One thing changes: the *input* is damaged, the **target is the clean image**.
#
# **Mathematics.** Draw a damaged image $\tilde x$ at random, given $x$; the loss is the cost of $x$ after a look at $\tilde x$ alone.
# Our damage is *masking noise*: each pixel is set to 0 with probability $\nu$, independently of all others (Vincent et al., 2008).
# (`paper.corrupt` also has Gaussian and salt-and-pepper noise.)
#
# ### Exercise 2 · Masking noise
#
# Return a new tensor: the clean images are still needed as the target.
# All randomness comes from `generator`.


# %% tags=["exercise"]
def mask_pixels(x, probability, generator=None):
    """A copy of x, any shape, in which each pixel is set to 0 with this probability."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
mask_pixels = lab.check(mask_pixels)


# %%
def dae_loss(model, x, generator, probability=0.5):
    damaged = mask_pixels(x, probability, generator)
    return reconstruction_nats(model.decode(model.encode(damaged)), x).mean()  # the target is x, the clean image


denoising = ["the DAE on both", "the DAE on masked digits only", "the AE on masked digits"]
lab.predict("denoising", "Which is better on masked digits, which on whole ones?", choices=denoising)

# %%
dae = build(Autoencoder)
train("dae", dae, dae_loss, x_train)
masked = mask_pixels(x_test, 0.5, lab.generator("masked test digits", lab.device))
for name, model in {"ae": ae, "dae": dae}.items():
    lab.record(f"{name}/error/masked", errors(model, x_test, masked).mean(), unit="nats")
lab.record("dae/error/test", errors(dae, x_test).mean(), unit="nats")

# %%
wins = [lab.metrics[f"dae/error/{on}"] < lab.metrics[f"ae/error/{on}"] for on in ("masked", "test")]
lab.reveal("denoising", denoising[0 if all(wins) else 1 if wins[0] else 2])
rows = {"digit": x_test, "masked": masked, "AE": rebuilt(ae, masked), "DAE": rebuilt(dae, masked)}
figure = image_rows({name: images[first] for name, images in rows.items()})
lab.show(figure, alt="Ten digits, the same half masked, and what AE and DAE make of these: the DAE's are clearer.")
lab.claim("dae-repairs")

# %% [markdown]
# Each does what it was trained for.
# The DAE has never met a whole digit at its input: that is twice the ink it is used to.
# It has learned to read half-masked digits, not to read digits in general.
#
# ### What a denoiser knows about the data
#
# **Intuition.** A damaged point lies off the data; a good repair moves it back, to where data are dense.
# So the arrow from the damaged point to its repair tells where the data are.
#
# **Mathematics.** Let the damage be Gaussian, $\tilde x = x + \sigma \epsilon$, and the loss the squared error.
# The best repair is the mean of all clean points that $\tilde x$ may have come from; for Gaussian noise this mean is
#
# $$ g(f(\tilde x)) = \tilde x + \sigma^2\, \nabla \log p_\sigma(\tilde x), $$
#
# where $p_\sigma$ is the density of the damaged points, and close to the density $p$ of the clean ones where $\sigma$ is small.
# The gradient of the log-density is called the **score**.
# (See Alain and Bengio, 2014, for small $\sigma$.)
#
# **Experiment.** In the plane we can look at it: points along a spiral, a mixture of 60 narrow Gaussians, whose score is known exactly.

# %%
turn = torch.linspace(0, 1, 60)
centers = torch.stack([(4.5 * turn).cos(), (4.5 * turn).sin()], 1) * (0.4 + 1.1 * turn)[:, None]  # (60, 2)
narrow, sigma, noise = 0.08, 0.2, lab.generator("spiral", lab.device)
chosen = torch.randint(60, (4000,), generator=noise, device=lab.device)
points = centers.to(lab.device)[chosen] + narrow * torch.randn(4000, 2, generator=noise, device=lab.device)


def repair_loss(model, x, generator):
    damaged = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    return (model(damaged) - x).square().sum(1).mean()


with lab.seeded("repair"):
    repair = paper.mlp([2, 64, 64, 2], nn.SiLU).to(lab.device)
settings = {"epochs": 20, "batch_size": 100, "lr": 5e-3, "label": "repair"}
settings["generator"] = lab.generator("repair", lab.device)
repair_history = fit(repair, repair_loss, points, **settings)


# %%
def score(x, variance):
    """Gradient of the log-density of the spiral's mixture with this variance around each center: (N, 2) -> (N, 2)."""
    to_centers = centers.to(x.device) - x[:, None]  # (N, 60, 2)
    share = (-to_centers.square().sum(-1) / (2 * variance)).softmax(1)  # whose point x probably is, (N, 60)
    return (share[..., None] * to_centers).sum(1) / variance


damaged = points + sigma * torch.randn(points.shape, generator=noise, device=lab.device)
with torch.no_grad():
    arrows = {"residual of the denoiser": repair(damaged) - damaged}  # (4000, 2)
arrows["σ² times the score"] = sigma**2 * score(damaged, narrow**2 + sigma**2)

# %%
figure, axes = panels(1, 2, width=4.2, height=4.0)
for ax, (title, arrow) in zip(axes, arrows.items(), strict=True):
    ax.scatter(*points[:1500].cpu().T, s=2, color="#bbbbbb")
    ax.quiver(*damaged[:250].cpu().T, *arrow[:250].cpu().T, angles="xy", scale_units="xy", scale=1, width=0.004)
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
lab.show(figure, alt="Twice a spiral of points, with arrows from damaged points towards it: the two agree.")

# %%
learned, exact = arrows.values()
to_mean = points.mean(0) - damaged  # the trivial rival: always back to the middle
lab.record("residual/cosine with the score", F.cosine_similarity(learned, exact).mean())
lab.record("to the mean/cosine with the score", F.cosine_similarity(to_mean, exact).mean())
lab.record("residual/unexplained", (learned - exact).square().sum() / exact.square().sum(), unit="share")
lab.claim("dae-score")

# %% [markdown]
# A network that was only ever asked to repair has learned the shape of a density.
# (Diffusion models are built on this.)

# %% [markdown]
# ## 4 · The variational autoencoder
#
# ![A variational autoencoder: the encoder's two heads give the mean and the log-variance of a Gaussian; a code is drawn from it with noise and decoded; the loss adds the reconstruction error and the price of the code, the KL divergence from the standard normal.](figures/01_autoencoders/vae.svg)
#
# **Intuition.** Give each image not a point but a small cloud, a Gaussian.
# Charge for each cloud, by how far it is from one common Gaussian at the origin.
# Then codes cannot be scattered at will.
# In the review's example a feature of a face is one number in an AE, and a range in a VAE.
#
# **The model** says how an image comes about.
# First draw a code from the **prior**, $p(z) = N(0, I)$; then toss the pixels with the decoder's probabilities, $p_\theta(x \mid z)$.
#
# **The question** is how probable an image is under this model, for $-\log p_\theta(x)$ is its code length.
# The answer, $p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz$, is a sum over all codes, most of which have nothing to do with $x$.
# In more than a few dimensions it is out of reach.
#
# **The codes that matter** are those that may have produced $x$.
# They follow the **posterior**, by Bayes' rule $p_\theta(z \mid x) = p_\theta(x \mid z)\, p(z) / p_\theta(x)$.
# It is out of reach for the same reason: $p_\theta(x)$ stands in it.
#
# **The way out**: let the encoder propose codes, $q_\phi(z \mid x) = N(\mu, \mathrm{diag}\,\sigma^2)$, where $\mu$ and $\sigma$ are computed from $x$.

# %% [markdown]
# ### The bound, in three steps
#
# **Step 1: a distance.** How far $q$ is from $p$ is measured by the **Kullback-Leibler divergence**, $D_{KL}(q \,\|\, p) = \mathbb E_q[\log q - \log p]$.
# It is what one pays, in nats, for describing draws from $q$ with code words made for $p$; it is never negative, and 0 only for $q = p$.
#
# **Step 2: two lines of algebra.** Write $\log p_\theta(z \mid x)$ by Bayes' rule, and note that $\log p_\theta(x)$ does not depend on $z$:
#
# $$ D_{KL}\big(q \,\|\, p_\theta(z \mid x)\big) = \mathbb E_q\big[\log q - \log p_\theta(x \mid z) - \log p(z) + \log p_\theta(x)\big] $$
# $$ \phantom{D_{KL}\big(q \,\|\, p_\theta(z \mid x)\big)} = -\,\mathbb E_q \log p_\theta(x \mid z) + D_{KL}\big(q \,\|\, p(z)\big) + \log p_\theta(x). $$
#
# **Step 3: rearrange** (paper, equations 1 to 3):
#
# $$ \log p_\theta(x) = \underbrace{\mathbb E_{q} \log p_\theta(x \mid z)}_{-\,\text{reconstruction error}} - \underbrace{D_{KL}\big(q \,\|\, p(z)\big)}_{\text{price of the code}} + \underbrace{D_{KL}\big(q \,\|\, p_\theta(z \mid x)\big)}_{\text{unknown, but}\ \ge\, 0}. $$
#
# The first two terms can be computed.
# Together they are a lower bound on $\log p_\theta(x)$, the **ELBO** (evidence lower bound), and training makes it as large as it can.
# What is lost is exactly how far the proposal $q$ is from the posterior.

# %% [markdown]
# ### The same in one dimension, where everything can be computed
#
# A tiny decoder: one latent number, two pixels.
# The first pixel has ink where $|z| > 1$, the second rather where $z$ is positive.
# On a grid of $z$ the integral is a sum, so that we know the posterior; $q$ is found by climbing the ELBO.

# %%
z = torch.linspace(-5, 5, 1001)
dz = z[1] - z[0]
tiny_decoder = torch.stack([6 * (z.square() - 1), 1.5 * z], 1)  # (1001, 2) logits
log_prior = Normal(0.0, 1.0).log_prob(z)


def best_gaussian(log_joint):
    """log q on the grid for the Gaussian q of the largest ELBO, and that ELBO."""
    parameters = torch.tensor([0.5, 0.0], requires_grad=True)  # mu and logvar
    optimizer = torch.optim.Adam([parameters], lr=0.1)
    for _ in range(150):
        log_q = Normal(parameters[0], (0.5 * parameters[1]).exp()).log_prob(z)
        bound = (log_q.exp() * (log_joint - log_q)).sum() * dz
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
    return log_q.detach(), bound.item()


# %%
figure, axes = panels(1, 2, height=3.0, width=4.6)
for ax, pixels in zip(axes, ([0.0, 1.0], [1.0, 1.0]), strict=True):
    log_joint = log_prior - reconstruction_nats(tiny_decoder, torch.tensor(pixels).expand(1001, 2))
    log_evidence = torch.logsumexp(log_joint, 0) + dz.log()  # log p(x), the integral as a sum
    log_posterior, (log_q, bound) = log_joint - log_evidence, best_gaussian(log_joint)
    for label, curve in {"prior": log_prior, "posterior": log_posterior, "q": log_q}.items():
        ax.plot(z, curve.exp(), label=label)
    ax.set(title=f"pixels {pixels[0]:.0f} and {pixels[1]:.0f}", xlabel="z", xlim=(-3.5, 3.5))
    distance = ((log_q.exp() * (log_q - log_posterior)).sum() * dz).item()
    name = "one hump" if pixels[0] == 0 else "two humps"
    lab.record_all({f"{name}/gap": log_evidence.item() - bound, f"{name}/distance": distance}, unit="nats")
axes[0].legend(frameon=False)
lab.show(figure, alt="Densities over z: q covers a posterior of one hump; of two humps it covers the larger one.")

# %%
lab.tell(
    "The ELBO lies {one hump/gap:.3f} nats below $\\log p(x)$ where the posterior has one hump, {two humps/gap:.3f} "
    "with two: the distances of $q$ from it, {one hump/distance:.3f} and {two humps/distance:.3f}, as step 3 says."
)

# %% [markdown]
# ### Exercise 3 · The price of a code
#
# For Gaussians the KL divergence can be worked out on paper.
# In one dimension, $\log N(z; m, s^2) = -\tfrac12\big[(z - m)^2/s^2 + \log s^2 + \log 2\pi\big]$.
# Subtract $\log p$ (with $m = 0$, $s = 1$) from $\log q$ (with $m = \mu$, $s = \sigma$), and take the expectation under $q$: what are $\mathbb E(z - \mu)^2$ and $\mathbb E z^2$?
# The dimensions are independent, so their prices add up.
# The encoder gives `logvar` $= \log \sigma^2$, which may be any real number: so $\sigma^2$ is positive by itself.

# %%
question = r"A cloud like the prior costs nothing. What does one with $\mu = (1, 1, 1, 1)$ and $\sigma = 1$ cost?"
lab.predict("price of a shift", question, number="nats")


# %% tags=["exercise"]
def kl_to_standard_normal(mu, logvar):
    """KL( N(mu, diag exp(logvar)) || N(0, I) ) in nats: (B, d), (B, d) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
kl_to_standard_normal = lab.check(kl_to_standard_normal)

# %% tags=["nbval-check-output"]
ones, zeros = torch.ones(1, 4), torch.zeros(1, 4)
print("equal to the prior:", kl_to_standard_normal(zeros, zeros).item(), "nats")
lab.reveal("price of a shift", kl_to_standard_normal(ones, zeros).item())

# %% [markdown]
# ### Exercise 4 · The reparameterization
#
# The first term of the ELBO is an expectation over $z \sim q_\phi(z \mid x)$, estimated with one draw.
# But the draw depends on $\phi$: how does a gradient get through chance?
# The paper's answer (section 2.4): write the draw as a function of $\mu$, $\sigma$ and a noise $\epsilon \sim N(0, 1)$ that knows of neither; then $z$ has a derivative by both.
# Every normal variable is a standard normal one, stretched and shifted.


# %% tags=["exercise"]
def reparameterize(mu, logvar, generator=None):
    """A sample z ~ N(mu, diag exp(logvar)) through which gradients flow: (B, d), (B, d) -> (B, d)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
reparameterize = lab.check(reparameterize)

# %% [markdown]
# (An older way to such gradients needs no derivative of $z$. Further compares the two.)
#
# ### Exercise 5 · The bound
#
# Put the two terms together, with the signs of a *bound*.
# `logits` are those of one draw $z$; the KL comes in closed form (the paper's estimator B, equation 7).


# %% tags=["exercise"]
def elbo(logits, x, mu, logvar):
    """The evidence lower bound of each image in nats: (B, 784), (B, 784), (B, d), (B, d) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
elbo = lab.check(elbo)

# %% [markdown]
# ### The model
#
# The encoder ends in **two heads**: one for $\mu$, one for `logvar`.
# All the rest is the autoencoder's, and so is the training step.


# %%
class VariationalAutoencoder(nn.Module):
    def __init__(self, latent=config.latent, hidden=config.hidden):
        super().__init__()
        self.trunk = nn.Sequential(layers(784, *hidden), activation())
        self.mu_head = nn.Linear(hidden[-1], latent)
        self.logvar_head = nn.Linear(hidden[-1], latent)
        self.decode = layers(latent, *reversed(hidden), 784)  # (..., d) -> (..., 784) logits

    def encode(self, x):
        h = self.trunk(x)  # (B, H)
        logvar = self.logvar_head(h).clamp(-10, 10)  # so that exp(logvar) stays finite in an untrained network
        return self.mu_head(h), logvar  # (B, d) each


def vae_loss(model, x, generator):
    mu, logvar = model.encode(x)
    z = reparameterize(mu, logvar, generator)
    return -elbo(model.decode(z), x, mu, logvar).mean()


# %%
@torch.no_grad()
def two_terms(model, x, name="two terms"):
    """Reconstruction error from a drawn code, and KL, both in nats per image."""
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, lab.generator(name, lab.device)))
    price = kl_to_standard_normal(mu, logvar)
    return {"reconstruction": reconstruction_nats(logits, x).mean().item(), "kl": price.mean().item()}


vae = build(VariationalAutoencoder)
history = train("vae", vae, vae_loss, x_train, evaluate=lambda: two_terms(vae, x_test))

# %%
lab.record_all({f"vae/{term}": value for term, value in two_terms(vae, x_test).items()}, unit="nats")
lab.record("vae/elbo", -lab.metrics["vae/reconstruction"] - lab.metrics["vae/kl"], unit="nats")
lab.record("vae/kl in bits", lab.metrics["vae/kl"] / math.log(2), unit="bits")
figure, axes = panels(1, 2, height=2.8)
for ax, term in zip(axes, ("reconstruction", "kl"), strict=True):
    ax.plot(range(1, len(history[term]) + 1), history[term])
    ax.set(title=f"{term}, nats per test digit", xlabel="epoch")
lab.show(figure, alt="Two curves over the epochs: the reconstruction error falls, the KL ends higher than it began.")
lab.tell("The ELBO of test digits is {vae/elbo:.1f} nats. The code of a digit is worth {vae/kl in bits:.1f} bits.")

# %% [markdown]
# **What we saw.** The model buys information: what a code says about its image costs nats in the KL, and pays for itself by a lower reconstruction error.
# Always look at both terms; their sum hides which one moved.

# %% [markdown]
# ## 5 · Two latent spaces
#
# Four dimensions do not fit on paper.
# **Principal component analysis** (PCA) turns the axes so that the first two carry as much of the variance as possible: center the codes, take the singular value decomposition $U S V^\top$, keep the first columns of $V$.
# One rule makes such a figure honest: **fit on the training codes, apply to the test codes**.
#
# ### Exercise 6 · Projecting codes
#
# `pca.mean` (d,) and the orthonormal columns of `pca.components` (d, n) were found on other codes.
# Give the coordinates of these codes along those axes.


# %% tags=["exercise"]
def pca_project(codes, pca):
    """Coordinates of codes (N, d) on the axes of a PCA that was fitted elsewhere -> (N, n)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
pca_project = lab.check(pca_project)

# %% [markdown]
# **Predict.** Sketch both clouds before you run the next cells.
# Where is the origin in each, and which is larger?

# %%
models, axes_of, maps = {"AE": ae, "VAE": vae}, {}, {}
for name, model in models.items():
    axes_of[name] = paper.pca_fit(code(model, x_train), 2)
    maps[name] = pca_project(code(model, x_test), axes_of[name]).cpu()  # (N, 2)
    lab.record(f"{name.lower()}/pca explained", axes_of[name].explained.sum(), unit="share of the variance")

# %% [markdown]
# The codes of a VAE are clouds.
# A cloud's covariance in the plane of the figure is $V^\top \mathrm{diag}(\sigma^2)\, V$; we draw it for one test digit of each class, as an ellipse of two standard deviations.

# %%
figure, panes = panels(1, 3, width=4.0, height=4.2)
for ax, (name, points) in zip(panes, maps.items(), strict=False):
    class_map(ax, points[:2000], y_test[:2000], title=f"{name}: the codes")
    origin = pca_project(torch.zeros(1, config.latent, device=lab.device), axes_of[name])[0].cpu()
    ax.plot(*origin, marker="+", markersize=18, markeredgewidth=3, color="black")
with torch.no_grad():
    mu, logvar = vae.encode(x_test)
turned = axes_of["VAE"].components  # V, (d, 2)
spreads = [(turned.T * variance @ turned).cpu() for variance in logvar[first].exp()]
clouds(panes[2], maps["VAE"][first], spreads, range(10), title="VAE: ten clouds")
for ax in panes:
    ax.set(xlabel="first principal component", ylabel="second" if ax is panes[0] else "")
seen = "The codes of test digits in two principal components, with class numbers; at the right ten clouds as ellipses."
lab.show(figure, alt=seen, headline="latent-spaces")

# %%
lab.at_full("latent-spaces")

# %% [markdown]
# **Find a digit.** With a running kernel, choose a test digit: its star shows where it lies in both spaces, and beside them you see it and what each decoder makes of it.


# %%
def find(digit):
    images = {name: rebuilt(model, x_test[[digit]])[0].cpu() for name, model in models.items()}
    shown = {name: points[:1000] for name, points in maps.items()}
    return digit_in_maps(shown, y_test[:1000], digit, {"digit": x_test[digit].cpu()} | images)


lab.show(find(first[4]), alt="Both latent spaces with a star on one four, and the four beside its two reconstructions.")

# %% tags=["widget"]
image_choices(lambda digit: as_png(find(digit)), {"digit": range(40)}, width=900)

# %% [markdown]
# Mind the units of the axes.
# The loss of an AE stays the same when the encoder doubles its codes and the decoder halves them again; so the *size* of its cloud means nothing.
# We measure in each model's own units, and free of them: how far the center of the cloud is from the origin, in units of the cloud's own spread.

# %%
ball = chi2.ppf(0.95, config.latent) ** 0.5  # the radius that holds 95 % of N(0, I)
for name, model in models.items():
    z = code(model, x_test)
    spread = (z - z.mean(0)).square().sum(1).mean().sqrt()  # root mean square distance from its own center
    lab.record(f"{name.lower()}/rms radius", z.square().sum(1).mean().sqrt())
    lab.record(f"{name.lower()}/center offset", z.mean(0).norm() / spread, unit="own spreads")
    lab.record(f"{name.lower()}/share in ball", (z.norm(dim=1) < ball).float().mean(), unit="share of digits")
lab.record("vae/variance of all clouds", (mu.var(0) + logvar.exp().mean(0)).mean())
lab.claim("vae-compact")
lab.tell(
    "Of the VAE's codes {vae/share in ball:.0%} lie in the ball that holds 95 % of the prior, of the AE's "
    "{ae/share in ball:.0%}. All clouds of the VAE together have the variance {vae/variance of all clouds:.2f} in each "
    "dimension; it would be 1 if they filled the prior."
)

# %% [markdown]
# ### Are the clusters better?
#
# Tighter clusters, says the review, help to find groups.
# We measure this three times:
#
# - the **silhouette**: 1 if each digit is much nearer to its own class than to the next one, 0 if there is no separation;
# - the accuracy of a **10-nearest-neighbor** classifier on the codes;
# - the **normalized mutual information** (NMI) of the classes and ten groups that *k*-means finds without labels, 1 for equal groupings.
#
# An AE's axes may also be stretched *differently* at no cost, and these numbers change with it.
# So the rival of each claim measures again on **whitened** codes: the covariance of the training codes is turned into the identity.

# %%
lab.predict("neighbors", "In which space do ten neighbors tell the class better?", choices=["the AE's", "the VAE's"])


# %%
def cluster_quality(train_codes, test_codes):
    """Silhouette, k-NN accuracy and k-means NMI of codes against the digits' classes."""
    neighbors = KNeighborsClassifier(10).fit(train_codes, y_train)
    groups = KMeans(10, n_init=4, random_state=seed).fit_predict(test_codes)
    return {
        "silhouette": silhouette_score(test_codes[:2000], y_test[:2000]),
        "knn accuracy": neighbors.score(test_codes, y_test),
        "kmeans nmi": normalized_mutual_info_score(y_test, groups),
    }


for name, model in models.items():
    train_codes, test_codes = code(model, x_train).cpu(), code(model, x_test).cpu()
    whiten = torch.linalg.inv(torch.linalg.cholesky(torch.cov(train_codes.T))).T  # from training codes only
    for how, turn in {"": torch.eye(config.latent), " whitened": whiten}.items():
        quality = cluster_quality(train_codes @ turn, test_codes @ turn)
        lab.record_all({f"{name.lower()}/{key}{how}": value for key, value in quality.items()})

# %%
lab.reveal("neighbors", ["the AE's", "the VAE's"][lab.metrics["vae/knn accuracy"] > lab.metrics["ae/knn accuracy"]])
lab.claim("vae-clusters-silhouette")
lab.claim("vae-clusters-neighbors")
lab.claim("vae-clusters-groups")

# %% [markdown]
# **What we saw.** *Compact* does not imply *well separated*.
# The KL pulls all clusters towards one place: they shrink, and the gaps between them shrink as well.
# What counts is the ratio of the two, and to that the KL is blind, for it knows no classes.

# %% [markdown]
# ## 6 · Reconstruction or generation?
#
# The codes are more compact, says the review, *so* the VAE reconstructs the data better.
# Think before you measure: the decoders are equal.
# The AE minimizes the reconstruction error and nothing else; the VAE minimizes it **plus** the KL, and its decoder sees a noisy code.

# %%
sides = ["the AE on both", "the AE on training digits only", "the VAE on training digits only", "the VAE on both"]
lab.predict("reconstruction", "Who reconstructs better, training digits and unseen ones?", choices=sides)

# %%
for split, images in {"train": x_train, "test": x_test}.items():
    lab.record(f"vae/error/{split}", errors(vae, images).mean(), unit="nats")
heights = {name: [lab.metrics[f"{name}/error/{split}"] for split in ("train", "test")] for name in ("ae", "vae")}
figure, ax = panels(width=5.2, height=3.0)
bars(ax, ["training digits", "unseen digits"], {"AE": heights["ae"], "VAE, mean code": heights["vae"]})
ax.set(ylabel="reconstruction error (nats)", ylim=(0, 1.35 * max(heights["vae"] + heights["ae"])))
lab.show(figure, alt="Bars of the reconstruction error of AE and VAE, on training digits and on unseen ones.")

# %%
first_split, second_split = (vae_error < ae_error for ae_error, vae_error in zip(*heights.values(), strict=True))
lab.reveal("reconstruction", sides[2 * first_split + second_split if first_split == second_split else 1 + first_split])
lab.claim("vae-reconstructs")
for name, (on_training, on_test) in heights.items():
    lab.record(f"{name}/loss", on_test - on_training, unit="nats")
lab.tell("From training to unseen digits the AE loses {ae/loss:.1f} nats, the VAE {vae/loss:.1f}.")

# %% [markdown]
# Where the VAE loses less, the noise in its codes has kept it from learning digits by heart: a gain by noise, not by compactness.
#
# ### What a VAE is for: new digits
#
# Draw $z \sim N(0, I)$ and decode.
# For the VAE this is the model itself; for an AE nobody promised that there is anything at such a $z$.
# A fairer comparison fits a Gaussian to each model's own training codes (for the VAE, to its clouds) and draws from that.

# %%
lines = ["AE, N(0, I)", "AE, fitted", "VAE, N(0, I)", "VAE, fitted"]
lab.predict("samples", "Which of the four rows of samples will look most like digits?", choices=lines)

# %%
noise = torch.randn(2000, config.latent, generator=lab.generator("prior", lab.device), device=lab.device)
samples = {}
with torch.no_grad():
    for name, model in models.items():
        z = code(model, x_train)
        extra = model.encode(x_train)[1].exp().mean(0) if name == "VAE" else torch.zeros_like(z[0])  # clouds' variance
        factor = torch.linalg.cholesky(torch.cov(z.T) + extra.diag())
        samples[f"{name}, N(0, I)"] = torch.sigmoid(model.decode(noise))
        samples[f"{name}, fitted"] = torch.sigmoid(model.decode(z.mean(0) + noise @ factor.T))
figure = image_rows({name: images[:12] for name, images in samples.items()}, size=0.65)
seen = "Four rows of generated images: AE and VAE, with codes from the standard normal and from a fitted Gaussian."
lab.show(figure, alt=seen, headline="samples")

# %%
lab.at_full("samples")

# %% [markdown]
# The eye is easily pleased, so a judge decides: a small classifier, trained on real digits, that gives each image $x$ the probabilities $p(y \mid x)$ of the ten classes.
# Two things make a set of samples good.
# The judge is *sure* of each image: $p(y \mid x)$ is concentrated.
# And the set is *varied*: the average $p(y)$ over all images is spread over the classes.
# Both together make the distance between the two large; the **score** is $\exp$ of its mean, $\exp\big(\mathbb E\, D_{KL}(p(y \mid x) \,\|\, p(y))\big)$.
# It runs from 1 (useless) to 10 (all ten digits, each beyond doubt), and is known as the inception score.
#
# A classifier can be sure of nonsense, too.
# Hence a second yardstick: the share of pixels in which an image differs from the nearest training digit.

# %%
with lab.seeded("judge"):
    judge = layers(784, 128, 10).to(lab.device)
labels = digits.train.labels.to(lab.device)


def judge_loss(model, x, y, generator):
    return F.cross_entropy(model(x), y)


settings = {"epochs": 8, "batch_size": 64, "generator": lab.generator("judge", lab.device), "label": "judge"}
judge_history = fit(judge, judge_loss, x_train, labels, **settings)


# %%
def nearest(queries, keys):
    """For each query (N, D) the place of the nearest key (M, D), and the distance."""
    found = [torch.cdist(part, keys).min(1) for part in queries.split(500)]
    return torch.cat([part.indices for part in found]), torch.cat([part.values for part in found])


@torch.no_grad()
def judged(images):
    """Score in [1, 10] by the classifier, and the share of pixels unlike the nearest training digit."""
    ink = (images > 0.5).float()
    p = judge(ink).softmax(1)  # (N, 10)
    information = (p * (p.clamp_min(1e-12).log() - p.mean(0).log())).sum(1).mean()
    return information.exp().item(), nearest(ink, x_train)[1].square().mean().item() / 784


for name, images in {**samples, "real digits": x_test[:2000]}.items():
    for yardstick, value in zip(("score", "unlike"), judged(images), strict=True):
        lab.record(f"samples/{name}/{yardstick}", value)

# %%
scores = {name: lab.metrics[f"samples/{name}/score"] for name in [*samples, "real digits"]}
figure, ax = panels(width=7.4, height=3.0)
bars(ax, list(scores), {"score": list(scores.values())})
ax.set(ylim=(1, 11), ylabel="1: useless, 10: perfect")
lab.show(figure, alt="Bars of the judge's score for the four kinds of samples and for real digits.")
lab.reveal("samples", max(samples, key=scores.get))
lab.claim("prior-samples")
lab.tell(
    "A real digit differs from its nearest training digit in {samples/real digits/unlike:.1%} of the pixels, a sample "
    "of the VAE in {samples/VAE, N(0, I)/unlike:.1%}, of the AE in {samples/AE, N(0, I)/unlike:.1%}. "
    "Less than real digits is not better: it is more average."
)

# %% [markdown]
# ## 7 · Walking through the latent space
#
# **One dimension at a time.** In the review a face is described by six attributes.
# Take a three, vary one of its latent dimensions and keep the others.

# %%
steps = torch.linspace(-2.5, 2.5, 11, device=lab.device)
three = code(vae, x_test[first[3]][None])[0]
with torch.no_grad():
    walks = {f"$z_{i + 1}$": paper.traverse(vae, three, i, steps) for i in range(config.latent)}
figure = image_rows(walks, size=0.6)
lab.show(figure, alt="A three; in each row one latent dimension runs from -2.5 to 2.5 and the image changes.")


# %% tags=["widget"]
def view(**z):
    return paper.decoded_image(vae, list(z.values()))


start = {f"z{i + 1}": float(value) for i, value in enumerate(three)}
image_sliders(view, ranges=dict.fromkeys(start, (-3.0, 3.0)), start=start)

# %% [markdown]
# Nothing in the bound asks a dimension to be one attribute; that one changes several things at once is no surprise.
#
# **The whole space at a glance.** A VAE with only two latent dimensions can be shown whole, as in the paper's appendix A.
# A grid over the unit square goes through the inverse distribution function of the normal, so that each image stands for an equal share of the prior.

# %%
flat = build(VariationalAutoencoder, 2)
train("flat", flat, vae_loss, x_train)
lab.record_all({f"flat/{term}": value for term, value in two_terms(flat, x_test).items()}, unit="nats")

# %%
at = Normal(0.0, 1.0).icdf(torch.linspace(0.03, 0.97, 16)).to(lab.device)
with torch.no_grad():
    grid = {f"{y:.1f}": torch.sigmoid(flat.decode(torch.stack([at, y.expand(16)], 1))) for y in at.flip(0)}
figure = image_rows(grid, size=0.4, columns=[f"{value:.1f}" for value in at])
seen = "A grid of decoded images over two latent dimensions: regions of one digit that pass into each other."
lab.show(figure, alt=seen, headline="manifold")

# %%
lab.at_full("manifold")

# %% [markdown]
# **Between two digits.** Mixing two images pixel by pixel gives a double exposure.
# Mix their codes instead, and decode: in a good latent space everything on the way is an image of its own.

# %%
share = torch.linspace(0, 1, 11, device=lab.device)[:, None]
ends = x_test[[first[0], first[7]]]  # a zero and a seven
ways = {"pixels": torch.lerp(ends[0], ends[1], share)}
for name, model in models.items():
    z = code(model, ends)
    with torch.no_grad():
        ways[name] = torch.sigmoid(model.decode(torch.lerp(z[0], z[1], share)))
figure = image_rows(ways, size=0.6)
lab.show(figure, alt="From a zero to a seven in eleven steps: a double exposure in pixels, new shapes by AE and VAE.")

# %% [markdown]
# **Neighbors.** Which training digit is most like a given one?
# Ask in pixels, and in each latent space.

# %%
found = {"pixels": nearest(x_test[:1000], x_train)[0].cpu()}
for name, model in models.items():
    found[f"{name} codes"] = nearest(code(model, x_test[:1000]), code(model, x_train))[0].cpu()
for name, place in found.items():
    lab.record(f"nearest in {name}/same class", (y_train[place] == y_test[:1000]).mean(), unit="share of digits")
some = [index for index in first if index < 1000]
shown = {"digit": x_test[some]} | {f"in {name}": x_train[place[some]] for name, place in found.items()}
figure = image_rows(shown, size=0.65)
lab.show(figure, alt="Test digits, and the training digits nearest to them in pixels, in AE codes and in VAE codes.")
lab.claim("latent-neighbors")

# %% [markdown]
# **What we saw.** Four numbers instead of 784 make a search fast; they also forget, and what they forget may be what tells two classes apart.

# %% [markdown]
# ## 8 · Anomalies
#
# The review names *anomaly detection* as a use of autoencoders: train on what is normal, and call anomalous what the model finds hard.
# Test it: hold out one digit, train on the other nine, and use the reconstruction error as a score that should be higher for the digit never seen.
# **ROC-AUC** is the probability that a random digit of the unseen class scores higher than a random one of the known classes: 1 is perfect, ½ is chance.

# %%
every = [str(digit) for digit in range(10)]
lab.predict("hardest digit", "Which digit will be hardest to find when it is held out?", choices=every)

# %%
hidden, epochs = config.anomaly
ink = x_test.sum(1).cpu().numpy()  # pixels with ink, (N,)
auc = {"error": [], "ink alone": [], "error, given ink": []}
for digit in range(10):
    known = x_train[torch.from_numpy(y_train != digit)]
    model = build(Autoencoder, config.latent, hidden)
    train(f"without {digit}", model, ae_loss, known, epochs)
    slope = torch.cov(torch.stack([known.sum(1), errors(model, known)]))  # of a regression line on the known digits
    nats, per_pixel = errors(model, x_test).cpu().numpy(), (slope[0, 1] / slope[0, 0]).item()
    for key, points in zip(auc, (nats, ink, nats - per_pixel * ink), strict=True):
        auc[key].append(roc_auc_score(y_test == digit, points))
        lab.record(f"anomaly {key}/{digit}", auc[key][-1], unit="ROC-AUC")

# %%
figure, ax = panels(width=9.0, height=3.4)
bars(ax, every, auc, numbers=False)
ax.axhline(0.5, color="black", linewidth=1)
ax.set(xlabel="digit that was held out", ylabel="ROC-AUC", ylim=(0, 1.25), yticks=[0, 0.25, 0.5, 0.75, 1])
ax.legend(frameon=False, ncols=3, loc="upper center")
seen = "For each digit held out, bars of the ROC-AUC of the error, the ink alone, and the error corrected for ink."
lab.show(figure, alt=seen, headline="auc-by-digit")
lab.reveal("hardest digit", every[min(range(10), key=auc["error"].__getitem__)])

# %%
lab.at_full("auc-by-digit")
lab.claim("anomaly-every-digit")
lab.claim("anomaly-more-than-ink")
lab.claim("anomaly-ink-corrected")

# %% [markdown]
# **What we saw.** The ones are the trap: where their AUC is below ½, a digit *never seen* is reconstructed better than most that were.
# A code length measures how complex an image is as well as how unusual it is, and a one is simple: a short stroke with little ink, which is also a part of other digits.
# The third score takes out what ink explains, by a regression line through the known digits.

# %% [markdown]
# ## 9 · Too many dimensions
#
# The paper reports that superfluous latent dimensions do not lead to overfitting, and explains it by the KL, which prices them (section 5).
# To overfit, a training must be long and the digits few: we take few, train long, and watch both bounds, with 20 dimensions and with 50.

# %%
choices = ["all 50", "about 30", "about 15", "fewer than 10"]
lab.predict("used", "Of 50 latent dimensions, how many will carry more than 0.1 nats each?", choices=choices)

# %%
bounds, priced = {}, {}
for latent in (20, 50):
    model = build(VariationalAutoencoder, latent)
    few = x_train[: config.few]

    def both(model=model, few=few):
        return {key: -sum(two_terms(model, x).values()) for key, x in {"train": few, "test": x_test[:1000]}.items()}

    bounds[latent] = train(f"vae {latent}", model, vae_loss, few, config.long_epochs, evaluate=both)
    with torch.no_grad():
        mu, logvar = model.encode(x_test)
        price = torch.stack([kl_to_standard_normal(mu[:, [j]], logvar[:, [j]]).mean() for j in range(latent)])
    priced[latent] = price.sort(descending=True).values.cpu()

# %%
for latent, curves in bounds.items():
    lab.record(f"d={latent}/gap at the end", curves["train"][-1] - curves["test"][-1], unit="nats")
    lab.record(f"d={latent}/fall from the best", max(curves["test"]) - curves["test"][-1], unit="nats")
    lab.record(f"d={latent}/elbo test", curves["test"][-1], unit="nats")
    lab.record(f"d={latent}/kl test", priced[latent].sum(), unit="nats")
used = int((priced[50] > 0.1).sum())
lab.record("d=50/dimensions above 0.1 nats", used, unit="dimensions")
lab.reveal("used", choices[0 if used > 40 else 1 if used > 22 else 2 if used > 9 else 3])

# %%
figure, (left, right) = panels(1, 2, width=4.8, height=3.4)
for latent, curves in bounds.items():
    left.plot(curves["train"], label=f"d = {latent}, training")
    left.plot(curves["test"], label=f"d = {latent}, unseen")
left.set(xlabel="epoch", ylabel="ELBO (nats)", ylim=(1.3 * bounds[50]["test"][-1], None))
left.legend(frameon=False, fontsize=9)
right.bar(range(1, 51), priced[50], color="#3f90da")
right.set(xlabel="latent dimension, sorted", ylabel="KL (nats)", title="what 50 dimensions carry")
lab.show(figure, alt="ELBO over the epochs, on training and unseen digits; the sorted KL of 50 dimensions.")
lab.claim("superfluous-dimensions")
lab.claim("vae-overfits-late")

# %% [markdown]
# **What we saw.** The KL keeps dimensions from being used: an unused one costs nothing, for its cloud is the prior.
# It does not keep the *network* from learning its digits by heart: from some epoch on the bound rises on the training digits only.
# "Does not overfit" is about when one stops, with 20 dimensions as with 50.

# %% [markdown]
# ## 10 · How many bits is a code worth?
#
# The review names *compression* as a use.
# A code of four real numbers has no length; round it, and it has one.
# With $b$ bits a dimension, each number is replaced by the nearest of $2^b$ levels, quantiles of the training codes, so that all levels are used equally often.
# A VAE's KL is a length without any rounding: so much is sent, on average, by a draw from $q$.

# %%
better = ["the VAE's draw", "the rounded AE's"]
lab.predict("bits", "At the KL's number of bits, whose digits are better?", choices=better)


# %%
def rounded(z, by, bits):
    """Codes z (N, d), each number replaced by the nearest of 2**bits levels, quantiles of the codes `by` (M, d)."""
    places = (torch.arange(2**bits, device=z.device) + 0.5) / 2**bits
    levels = torch.quantile(by, places, dim=0)  # (2**bits, d)
    nearest_level = (z[:, None] - levels).abs().argmin(1)  # (N, d)
    return levels.gather(0, nearest_level)


curves, lengths = {name: [] for name in models}, [config.latent * bits for bits in range(7)]
for name, model in models.items():
    by, z = code(model, x_train[:10000]), code(model, x_test[:2000])
    for bits in range(7):
        with torch.no_grad():
            cost = reconstruction_nats(model.decode(rounded(z, by, bits)), x_test[:2000]).mean().item()
        curves[name].append(cost)
        lab.record(f"{name.lower()}/error at {config.latent * bits} bits", cost, unit="nats")

# %%
figure, ax = panels(width=5.6, height=3.6)
for name, marker in {"AE": "o", "VAE": "s"}.items():
    ax.plot(lengths, curves[name], marker=marker, label=f"{name}, rounded code")
spent, paid = lab.metrics["vae/kl in bits"], lab.metrics["vae/reconstruction"]
ax.plot(spent, paid, marker="*", markersize=18, color="black", linestyle="", label="VAE, drawn code: its KL")
ax.set(xlabel="bits per digit", ylabel="error (nats)", ylim=(0.9 * min(curves["AE"]), 1.1 * curves["VAE"][0]))
ax.legend(frameon=False)
seen = "Error against bits per digit: two falling curves for rounded codes that flatten, and a star for the VAE's draw."
lab.show(figure, alt=seen, headline="error-against-bits")

# %%
lab.at_full("error-against-bits")
i = min(int(spent // config.latent), 5)  # the AE's curve between two measured lengths, on a straight line
at_kl = curves["AE"][i] + (curves["AE"][i + 1] - curves["AE"][i]) * (spent / config.latent - i)
lab.record("ae/error at the bits of the KL", at_kl, unit="nats")
lab.reveal("bits", better[at_kl < paid])
lab.claim("vae-code-per-bit")

# %% [markdown]
# **What we saw.** The first bits buy most; beyond some length rounding no longer matters, and the network is what limits the picture.
# The noise in a VAE's code is its way of rounding: what the decoder need not know is not sent.

# %% [markdown]
# ## 11 · Where the paper, the review and the code disagree
#
# ### The mean that ruins a VAE
#
# The most frequently reported problem with VAEs: `binary_cross_entropy` averages by default.
# The reconstruction error becomes a *mean* over 784 pixels while the KL stays a *sum* over the latent dimensions, and nothing crashes.
# (Issues 234, 290, 294 and 817 of pytorch/examples.)

# %%
lab.predict("cheapest", "What will the KL of such a VAE be after training?", number="nats")


# %%
def mean_instead_of_sum(model, x, generator):
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, generator))
    return F.binary_cross_entropy_with_logits(logits, x) + kl_to_standard_normal(mu, logvar).mean()


collapsed = build(VariationalAutoencoder)
train("collapsed", collapsed, mean_instead_of_sum, x_train, stop=settled(0.01))
lab.record("collapsed/kl", two_terms(collapsed, x_test)["kl"], unit="nats")
lab.record("collapsed/error/test", errors(collapsed, x_test).mean(), unit="nats")
lab.record("vae/kl after an epoch", history["kl"][0], unit="nats")
figure = image_rows({how: rebuilt(model, x_test[first]) for how, model in {"sum": vae, "mean": collapsed}.items()})
lab.show(figure, alt="Ten digits rebuilt: with the sum ten shapes, with the mean ten times the same grey blur.")

# %%
lab.reveal("cheapest", lab.metrics["collapsed/kl"])
lab.claim("mean-collapses")
lab.tell("It reconstructs with {collapsed/error/test:.0f} nats; the average digit has {average digit/error:.0f}.")

# %% [markdown]
# The KL is 784 times too strong, and the cheapest code is the prior itself; a code that says nothing leaves one answer for all.
# An AE survives the same slip: its whole loss is multiplied by a constant, which Adam hardly notices.
#
# ### Cross-entropy on grey pixels is not a likelihood
#
# Many implementations keep the grey values.
# Then the cross-entropy is no code length of anything: even a *perfect* reconstruction, $p_i = x_i$, has a positive loss, the entropy of the grey values.
# Losses on grey and on binarized data must not be compared.

# %%
for kind, images in {"grey": digits.test.flat, "binarized": x_test.cpu()}.items():
    perfect = torch.logit(images.clamp(1e-6, 1 - 1e-6))
    lab.record(f"{kind}/perfect reconstruction", paper.reconstruction_nats(perfect, images).mean(), unit="nats")

# %% [markdown]
# ### Smaller things
#
# - **The paper** swaps *encoder* and *decoder* in one sentence of its experiments (first arXiv version): a slip of the pen.
# - **The review** draws *compact*, *tighter* and *better* from one picture; the picture shows the first.
# - **The code**: `exp(logvar)` overflows in an untrained encoder on unscaled input; the clamp in our encoder is not in the paper.
# - **Everybody**: show the mean $\mu$, not a draw, in a latent space; use draws, not the mean, in an ELBO.
#
# ### What the paper compares, and we do not
#
# The paper's own experiments are curves.
# Its Figure 2 sets its method beside **wake-sleep**, an older way to train an encoder and a decoder together, by the lower bound on MNIST and Frey Face for several numbers of latent dimensions.
# Its Figure 3 adds **Monte Carlo EM** and compares by the estimated marginal likelihood.
# It prints no table, so there is no published number that this lesson could be held against.
#
# ## 12 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. A probability is a code length; a reconstruction error in nats is one, and an image that is cheap need not be normal.
# 2. An autoencoder minimizes one thing. Its codes lie wherever that is cheap, and their size means nothing.
# 3. A VAE pays for its codes. In return it is a model of the data: it can be sampled, and its score bounds a likelihood.
# 4. Compact is not the same as separated, and neither by itself makes a reconstruction better.
# 5. Sums stay sums, over pixels *and* over latent dimensions. Watch both terms.

# %%
lab.progress()

# %% [markdown]
# ## Further
#
# Another 25 minutes: how tight the bound is, and an older way to get its gradient.
#
# ### How tight is the bound?
#
# The ELBO lies below $\log p_\theta(x)$; how far?
# Draw $K$ codes $z_k$ from $q_\phi(z \mid x)$ and weigh each by how much likelier the model finds it, together with the image, than $q$ does:
#
# $$ w_k = \frac{p_\theta(x \mid z_k)\, p(z_k)}{q_\phi(z_k \mid x)}, \qquad \log p_\theta(x) \;\ge\; \mathbb E \log \frac1K \sum_{k=1}^{K} w_k. $$
#
# With $K = 1$ this is the ELBO; with $K \to \infty$ it becomes $\log p_\theta(x)$ (Burda et al., 2015, [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)).
#
# ### Exercise 7 · The weights
#
# Return $\log w_k$: three log-densities at the same codes $z_k = \mu + \sigma \odot \epsilon_k$, from noise $\epsilon_k$ that is given.
# `decode` turns codes (..., d) into logits (..., D).


# %% tags=["exercise"]
def log_weights(decode, x, mu, logvar, eps):
    """log p(x|z) + log p(z) - log q(z|x): x (B, D), mu and logvar (B, d), eps (K, B, d) -> (K, B)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
log_weights = lab.check(log_weights)

# %% [markdown]
# ### Exercise 8 · The importance-weighted bound
#
# The logarithm of the mean weight, for each image.
# The weights themselves are far too small for float32.


# %% tags=["exercise"]
def iwae_bound(log_weights):
    """log( 1/K sum_k w_k ) of each image from log-weights: (K, B) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
iwae_bound = lab.check(iwae_bound)

# %%
x = x_test[:400]
for k in (1, 10, 100):
    eps = torch.randn(k, len(x), config.latent, generator=lab.generator(f"K = {k}", lab.device), device=lab.device)
    with torch.no_grad():  # fresh draws for each K: nothing forces the order of the three
        weights = log_weights(vae.decode, x, *vae.encode(x), eps)  # (K, B)
    lab.record(f"bound/K={k}", iwae_bound(weights).mean(), unit="nats")
lab.claim("bound-rises")

# %%
lab.record("bound/gap", lab.metrics["bound/K=100"] - lab.metrics["bound/K=1"], unit="nats")
lab.tell("So the ELBO lies at least about {bound/gap:.1f} nats below the log-likelihood.")

# %% [markdown]
# Two possible reasons: the posterior is no Gaussian with independent dimensions, or one encoder cannot serve every image.
#
# ### Two estimators of the same bound
#
# Estimator A of the paper (equation 6) takes everything from the draw: it is the mean of $\log w_k$.
# Estimator B (equation 7), the one that you trained with, uses the closed-form KL.
# The paper says that B *typically* has less variance.
# Compare them over 64 draws of the same noise, for an untrained VAE and for ours.

# %%
x = x_test[:200]
eps = torch.randn(64, len(x), config.latent, generator=lab.generator("estimators", lab.device), device=lab.device)
for when, model in {"untrained": build(VariationalAutoencoder), "trained": vae}.items():
    with torch.no_grad():
        mu, logvar = model.encode(x)
        a = log_weights(model.decode, x, mu, logvar, eps)  # (64, B)
        z = mu + (0.5 * logvar).exp() * eps  # the same draws
        b = torch.stack([elbo(model.decode(draw), x, mu, logvar) for draw in z])
    for estimator, values in {"A": a, "B": b}.items():
        lab.record(f"estimator {estimator}/variance {when}", values.var(0).mean(), unit="nats²")
lab.claim("closed-form-kl")

# %% [markdown]
# The closed form removes the chance from one of A's two terms.
# That helps unless the terms move in opposite directions, for then their sum varies less than either; in a trained VAE they may: where the decoder likes $z$ better, $q$ is denser.
# If $q$ were the exact posterior, $\log p_\theta(x, z) - \log q(z \mid x) = \log p_\theta(x)$ for *every* $z$, and A would have no variance at all.
#
# ### The gradient without a derivative of $z$
#
# The **score-function estimator** needs no gradient of $f$.
# Two lines: the derivative acts on the density, and $\nabla q = q\, \nabla \log q$:
#
# $$ \nabla_\mu \mathbb E_q[f(z)] = \int f(z)\, \nabla_\mu q(z)\, dz = \mathbb E_q\big[f(z)\, \nabla_\mu \log q(z)\big]. $$
#
# Compare both where the answer is known: $f(z) = z^2$ with $z \sim N(\mu, 1)$ has $\nabla_\mu \mathbb E[z^2] = 2\mu$; here $\mu = 1$.

# %%
mu = torch.full((100_000, 1), 1.0, requires_grad=True)
z = reparameterize(mu, torch.zeros(100_000, 1), torch.Generator().manual_seed(seed))
(pathwise,) = torch.autograd.grad(z.square().sum(), mu)  # one gradient per sample, (100000, 1)
score_function = (z.square() * (z - mu)).detach()  # f(z) times the gradient of log q(z)
for name, gradient in {"reparameterized": pathwise, "score function": score_function}.items():
    lab.record(f"gradient/{name} mean", gradient.mean())
    lab.record(f"gradient/{name} variance", gradient.var())
lab.claim("reparameterized-gradient")

# %% [markdown]
# ### Going further
#
# - Train a linear autoencoder (`hidden=()`) on the squared error. Its decoder spans the plane of PCA (`paper.pca_fit`); show it.
# - Mask a random share of the pixels, drawn anew for each digit. Is the DAE now good at whole digits, too?
# - Multiply the KL by $\beta$ from 0 to 4 and repeat section 5. At which $\beta$ is *k*-means best? Where do the stars lie in section 10?
# - Find an anomaly score that finds the ones: the error per ink pixel, the negative ELBO, the distance from the known codes?
# - Train on the importance-weighted bound ($K = 5$). Does the gap close, and at what price in time?
#
# ### References
#
# - D. P. Kingma, M. Welling: *Auto-Encoding Variational Bayes*, 2013. [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)
# - "AutoEncoder vs Variant AutoEncoder", blog post in Korean, 2019 (the review).
# - P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol: *Extracting and Composing Robust Features with Denoising Autoencoders*, ICML 2008.
# - G. Alain, Y. Bengio, 2014, on what regularized autoencoders learn about the density of the data.
# - Y. Burda, R. Grosse, R. Salakhutdinov: *Importance Weighted Autoencoders*, 2015. [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)
# - The VAE of [pytorch/examples](https://github.com/pytorch/examples/tree/main/vae), and the issues named in section 11.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-based learning applied to document recognition*, 1998 (MNIST).
