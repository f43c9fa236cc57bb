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
# # Lesson 02 · Sparse autoencoders: L1, KL and a misprint
#
# | | |
# |---|---|
# | **For** | whoever knows Python and has trained a small network in PyTorch; lesson 01 helps, but is not needed |
# | **Afterwards you can** | make a hidden layer wider than its input and still learn something, write both classic sparsity penalties without their classic mistakes, count how many units a network really uses, and tell a divergence from a formula that only looks like one |
# | **You need** | the chain rule, logarithms, vectors and matrices |
# | **Time** | 105 minutes with the exercises; the notebook itself runs in a minute |
# | **Level** | introductory |
# | **Paper** | A. Ng, *Sparse autoencoder*, CS294A lecture notes (2011); B. Olshausen and D. Field, *Emergence of simple-cell receptive field properties by learning a sparse code for natural images*, Nature 381 (1996) |
# | **Also** | a review of 2021, in Korean, that explains sparse autoencoders and prints the KL penalty with a slip |
#
# **Claims that you will test.** Some hold. Some do not. One of them is a formula.
#
# | claim | source | section |
# |---|---|---|
# | Weight decay keeps a polynomial from overfitting | review, after CS231n | 1 |
# | Without a penalty, an overcomplete autoencoder learns to copy; what it learned is the identity | review; common explanation | 2 |
# | The larger the penalty on activations, the smaller the effective dimension | review | 3 |
# | The penalty forces feature extraction: neighbours in the code are more often of one class | review | 3 |
# | Penalising activations is not the same as penalising weights | review | 4 |
# | The KL penalty holds mean activations at $\rho$, and the effective dimension small | review | 5 |
# | The formula as printed is a divergence; training with it gives another network | review; this lesson | 6 |
# | A narrow layer and a sparse one constrain the same thing | review | 7 |
# | L1 without unit-norm atoms is cheated | implementations | 8 |
# | Sparse units on natural images are edge detectors, as good as those of dictionary learning | Olshausen & Field; this lesson | 8 |
# | The KL taken for each example drives every activation to $\rho$ | users of an implementation | 9 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the scale: `quick` (5,000 digits, a minute), `full` (all of MNIST, more patches of the photographs), `paper` (a
# layer of 2,000 units, 60 epochs).

# %% tags=["parameters"]
profile = "quick"  # "quick", "full" or "paper"
seed = 0  # another seed: other initial weights, other patches

# %%
import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

import labkit
import labkit.data
from labkit.lab.evaluate import knn_accuracy
from labkit.lab.figures import atom_rows, bars, image_rows, panels
from labkit.lab.training import fit
from labkit.lab.widgets import image_choices
from labkit.papers import sparse_autoencoders as paper
from labkit.papers.sparse_autoencoders import SparseAutoencoder

lab = labkit.start("02_sparse_autoencoders", profile=profile, seed=seed)


# %% [markdown]
# Everything that differs between the profiles stands in one place, each with its reason.


# %%
@dataclass(frozen=True)
class Config:
    hidden: int  # units of the hidden layer, more than the 784 pixels: "overcomplete"
    epochs: int  # passes over the training digits, the same for every model
    batch_size: int  # digits per step; small batches make the mean activation noisy, and give few digits enough steps
    lambdas: tuple[float, ...]  # weights of the L1 penalty, from a tickle to a stranglehold
    rhos: tuple[float, ...]  # mean activations that the KL penalty asks for
    neighbours: int  # training digits among which nearest neighbours are looked for
    patches: int  # patches cut from the photographs, for training
    atoms: int  # units that learn from patches; whitened 12 x 12 patches have 143 directions
    patch_epochs: int  # passes over the patches: a small network, so it needs, and gets, many more steps
    dictionary: int  # patches that dictionary learning sees, once: it costs far more for each of them
    lr: float = 1e-3  # Adam's step size for the digits, the same for every model
    patch_lr: float = 5e-3  # and for the small network on patches
    beta: float = 1.0  # weight of the KL penalty
    k: int = 16  # active units of the k-sparse autoencoder
    weight_decay: float = 0.01  # strong enough to shrink W1 clearly; digits are still rebuilt
    patch_lambda: float = 1.5  # L1 on patches, whose pixels have variance 1
    side: int = 12  # of a patch, in pixels


# %%
config = lab.choose(
    quick=Config(1024, 2, 64, (0.1, 0.3, 1.0), (0.02, 0.05, 0.2), 4000, 20_000, 256, 12, 10_000),
    full=Config(1024, 4, 256, (0.01, 0.03, 0.1, 0.3, 1.0), (0.01, 0.02, 0.05, 0.2), 10_000, 100_000, 400, 20, 100_000),
    paper=Config(
        2000, 60, 256, (0.01, 0.03, 0.1, 0.3, 1.0), (0.01, 0.02, 0.05, 0.2), 60_000, 400_000, 576, 50, 400_000
    ),
)
middle_lambda, middle_rho = 0.1, 0.05  # in every profile's lists: the models that are looked at closely
rho_of_interest = torch.linspace(0.005, 0.6, 200)  # for curves over rho_hat

# %% [markdown]
# ## 1 · Warm-up: punishing weights
#
# **Intuition.** A model that is too flexible bends itself around the noise. One cure is to make flexibility cost something: add the
# squared size of the weights to the error. A curve with huge coefficients that cancel each other is then expensive, and a calm one cheap.
# The review borrows this picture from a lecture (Stanford CS231n) in order to say what a sparse autoencoder does *not* do. Let us have the picture first.
#
# **Mathematics.** A polynomial of degree $p$ is linear in its coefficients $w$: the rows of the matrix $\Phi$ are $(1, t, t^2, \dots, t^p)$. **Weight decay** with the
# strength $\alpha$ asks for
#
# $$ \min_w \; \lVert \Phi w - y \rVert^2 + \alpha \lVert w \rVert^2 . $$
#
# Set the gradient $2\Phi^\top(\Phi w - y) + 2 \alpha w$ to zero, and you have a system of linear equations for $w$ (*ridge regression*).

# %% [markdown]
# ### Exercise 1 · Ridge regression
#
# Solve that system. `torch.linalg.solve(A, b)` solves $A w = b$.


# %% tags=["exercise"]
def ridge(features, targets, weight_decay):
    """The w (p,) that minimises |features w - targets|^2 + weight_decay |w|^2: (N, p), (N,) -> (p,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
ridge = lab.check(ridge)

# %%
degree, decays = 9, (0.0, 1e-3, 10.0)
t = torch.linspace(-1, 1, 12, dtype=torch.float64)  # (12,)
noise = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
y = torch.sin(3 * t) + 0.3 * noise
grid = torch.linspace(-1, 1, 400, dtype=torch.float64)
powers, powers_of_grid = (torch.vander(points, degree + 1, increasing=True) for points in (t, grid))  # (N, 10)

# %% [markdown]
# **Predict.** Twelve noisy points, ten coefficients. With no weight decay, with a little, with far too much: which curve is closest to
# the points, and which to the truth between them?

# %%
figure, ax = panels(width=6.5, height=3.6)
for decay in decays:
    w = ridge(powers, y, decay)
    lab.record(f"polynomial {decay:g}/error seen", (powers @ w - y).square().mean())
    lab.record(f"polynomial {decay:g}/error unseen", (powers_of_grid @ w - torch.sin(3 * grid)).square().mean())
    lab.record(f"polynomial {decay:g}/weights", w.norm())
    ax.plot(grid, powers_of_grid @ w, label=f"weight decay {decay:g}")
ax.plot(grid, torch.sin(3 * grid), color="black", linewidth=0.8, linestyle="-", label="truth")
ax.plot(t, y, "o", color="black", markersize=5)
ax.set(xlabel="t", ylabel="y", ylim=(-2, 2))
ax.legend(frameon=False, fontsize=10)
lab.show(
    figure,
    alt="Twelve noisy points around a sine curve and three polynomials of degree 9. Without weight decay the curve follows the "
    "noise of the points; with a little it is calmer; with far too much it is nearly flat.",
)

# %%
free, decayed = (lab.metrics[f"polynomial {decay:g}/error unseen"] for decay in decays[:2])
lab.claim(
    "Weight decay keeps a polynomial from overfitting: its error on unseen points is smaller than without.",
    holds=decayed < free,
    evidence={"without": free, "with": decayed},
    source="review, after CS231n",
    reason="Where it fails, the noise of these few points happens to look like a steep curve.",
)
lab.tell(
    "On the points the error goes from {polynomial 0/error seen:.3f} without weight decay through {polynomial 0.001/error seen:.3f} to {polynomial 10/error seen:.3f}, between them from {polynomial 0/error unseen:.3f} through "
    "{polynomial 0.001/error unseen:.3f} to {polynomial 10/error unseen:.3f}. The norm of the coefficients goes from {polynomial 0/weights:.1f} through {polynomial 0.001/weights:.1f} to {polynomial 10/weights:.2f}. "
    "Together the weights became smaller, though not each of them, and none became exactly zero."
)

# %% [markdown]
# So this is regularisation of **weights**: it makes a *function* calm. From here on we regularise **activations**: we want the network to
# use few units for each *image*.
#
# ## 2 · A hidden layer wider than its input
#
# **Intuition.** An autoencoder must rebuild its input $x$ from a hidden layer $h$. Usually the hidden layer is narrower than the input, so that
# something has to be left out. The review puts it so: there are two constraints on the *structure*, equal sizes of input and output and a narrow middle; a sparse autoencoder drops the
# second one, and lets the *loss* force the features. What happens if we drop it and put nothing in its place?
#
# **Mathematics.** With $n$ inputs and $m$ hidden units,
#
# $$ h = s(W_1 x + b_1) \in \mathbb R^m, \qquad \hat x = W_2 h + b_2 \in \mathbb R^n, \qquad J = \frac1B \sum_{b=1}^{B} \tfrac12 \lVert \hat x_b - x_b \rVert^2, $$
#
# $s$ an activation function, here ReLU, and $B$ the number of images in a batch. Column $j$ of $W_2$ is the **atom** of unit $j$: a small picture that is
# added to the reconstruction, $h_j$ times. The layer is **overcomplete** when $m > n$.

# %%
digits = labkit.data.load("mnist", profile=profile)
x_train, x_test = digits.train.flat.to(lab.device), digits.test.flat.to(lab.device)  # (N, 784), grey values in [0, 1]
y_train, y_test = digits.train.labels.numpy(), digits.test.labels.numpy()
lab.record_all({"data/train": len(x_train), "data/test": len(x_test)}, unit="images")
print(digits.source)

# %% [markdown]
# The copy can be written down by hand: 784 of the hidden units pass on one pixel each, the others rest.

# %% tags=["nbval-check-output"]
copier = SparseAutoencoder(784, 1024).to(lab.device)
with torch.no_grad():
    for parameter in copier.parameters():
        parameter.zero_()
    copier.encoder.weight[:784] = copier.decoder.weight[:, :784] = torch.eye(784, device=lab.device)
    copy, h = copier(x_test)
print(
    "a batch of activations:", tuple(h[:128].shape), " largest error of the copy:", (copy - x_test).abs().max().item()
)

# %% [markdown]
# Perfect, and nothing was learned. An autoencoder is of interest only for what it *cannot* do.
#
# How much of its hidden layer does a network use? The review's answer: a unit whose activation is close to zero means nothing, so count the others. The number
# of units that are active **for one image** is its **effective dimension**, in the literature often called $L_0$.

# %% [markdown]
# ### Exercise 2 · The effective dimension
#
# A unit is active for an image when its activation, positive or negative, is further from zero than the threshold. Count for each image.


# %% tags=["exercise"]
def effective_dimension(activations, threshold=1e-3):
    """The number of active units of each image, a whole number: (B, m) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
effective_dimension = lab.check(effective_dimension)

# %% [markdown]
# **Predict.** What is the effective dimension of the copy by hand, roughly? (Think of what a digit looks like.)

# %%
lab.record("copy by hand/active", effective_dimension(h).float().mean(), unit="units")
lab.tell(
    "It is {copy by hand/active:.0f} of 784: the number of pixels with ink. Remember this number. MNIST is sparse already, and a network that "
    "uses fewer units than this has done more than leave out the empty background."
)


# %% [markdown]
# Now let a network learn it. All networks on digits start from the same random weights, with the average digit as $b_2$, and are trained
# by the same helper. What differs is the **penalty**, a function of the model and its activations, and, where it is said, the activation
# function, the start of $b_1$, the length of the atoms or the number of epochs.


# %%
def train(name, penalty=None, activation=torch.relu, unit_norm=False, mean_activation=None, epochs=config.epochs):
    """A network trained on 1/2 |x_hat - x|^2 + penalty(model, h)."""
    with lab.seeded("weights"):
        model = SparseAutoencoder(784, config.hidden, activation).to(lab.device)
    model.decoder.bias.data = x_train.mean(0)  # (784,): what is left to explain is how an image differs
    if mean_activation is not None:  # sigmoid units start where the penalty wants them
        model.encoder.bias.data.fill_(math.log(mean_activation / (1 - mean_activation)))

    def loss(model, x, generator):
        x_hat, h = model(x)
        error = paper.squared_error(x_hat, x).mean()
        return error if penalty is None else error + penalty(model, h)

    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    if unit_norm:
        keep_unit_norm(model, optimizer)
    settings = {"epochs": epochs, "batch_size": config.batch_size, "optimizer": optimizer, "label": name}
    fit(model, loss, x_train, generator=lab.generator("batches"), checkpoint=lab.checkpoint(name), **settings)
    return model


# %%
@torch.no_grad()
def measure(name, model, x=x_test):
    """Record what a network makes of unseen digits; returns its activations (N, m)."""
    x_hat, h = model(x)
    lab.record(f"{name}/error", paper.squared_error(x_hat, x).mean())
    lab.record(f"{name}/active", paper.effective_dimension(h).float().mean(), unit="units")
    lab.record(f"{name}/participation", paper.participation_ratio(h).mean(), unit="units")
    lab.record(f"{name}/dead", paper.dead_units(h).sum(), unit="units")
    return h


@torch.no_grad()
def explained(model, x):
    """Share of the variance of images x (N, 784) around their mean that a network reconstructs; below 0 it does harm."""
    x_hat, _ = model(x)
    return 1 - (paper.squared_error(x_hat, x).mean() / paper.squared_error(x.mean(0), x).mean()).item()


# %% [markdown]
# Three numbers beside the error. `active` is the effective dimension, averaged over images. `dead` counts the units that are active for *no* image. And
# `participation` needs no threshold: $(\sum_j h_j)^2 / \sum_j h_j^2$ is $k$ when $k$ units are equally active and the others are
# silent, and smaller when a few of the $k$ dominate.
#
# **Predict.** 784 inputs, a thousand units or more, nothing forbidden: how many will a digit use?

# %%
plain = train("plain")
h_plain = measure("plain", plain)
shuffle = torch.randperm(784, generator=torch.Generator().manual_seed(seed)).to(lab.device)
lab.record("plain/explained, digits", explained(plain, x_test))
lab.record("plain/explained, shuffled pixels", explained(plain, x_test[:, shuffle]))
lab.record("average digit/error", paper.squared_error(x_train.mean(0), x_test).mean())

# %%
lab.claim(
    "Without a penalty an overcomplete autoencoder learns to copy: more than four fifths of the variance of unseen digits survives.",
    holds=lab.metrics["plain/explained, digits"] > 0.8,
    evidence={"explained": lab.metrics["plain/explained, digits"], "active units": lab.metrics["plain/active"]},
    source="review",
    reason="Where it fails, training was too short for so many weights.",
)
lab.claim(
    "What it learned is the identity: it copies other images of the same ink as well, digits whose pixels were shuffled.",
    holds=lab.metrics["plain/explained, shuffled pixels"] > 0.8,
    evidence={
        "digits": lab.metrics["plain/explained, digits"],
        "shuffled": lab.metrics["plain/explained, shuffled pixels"],
    },
    source="common explanation",
    reason="Where it fails: gradient descent changes the encoder only along the images that it sees, so what does not occur in digits is not copied.",
)

# %%
first = [int(np.flatnonzero(y_test == digit)[0]) for digit in range(10)]  # one test digit of each class


@torch.no_grad()
def rebuilt(model, x):
    return model(x)[0].clamp(0, 1)  # (N, 784)


lab.show(
    image_rows({"digit": x_test[first], "rebuilt": rebuilt(plain, x_test[first])}),
    alt="Ten test digits, 0 to 9, and below each its reconstruction by the overcomplete autoencoder without a penalty: nearly the "
    "same, with some grey noise around the strokes.",
)


# %%
def strongest_atoms(model, h, count=20):
    """The atoms (count, 784) of the units that are most active over all images."""
    return model.decoder.weight.T[h.mean(0).topk(count).indices].detach()


lab.show(
    atom_rows({"no penalty": strongest_atoms(plain, h_plain)}),
    alt="Twenty atoms of the autoencoder without a penalty, 28 by 28 pixels each: grey noise, in which "
    "faint traces of digits can be made out.",
)

# %%
lab.tell(
    "A digit uses {plain/active:.0f} units; it has {copy by hand/active:.0f} pixels with ink. Its error of "
    "{plain/error:.1f} compares with {average digit/error:.1f} for answering everything with the average digit. And the atoms mean hardly anything to "
    "the eye. An explanation that fits: with so many random weights, small changes to each are enough for a good copy, so the noise they started from stays."
)

# %% [markdown]
# ## 3 · A price on activations: L1
#
# **Intuition.** Let every unit charge for its activity. An image then "buys" the few units that help most, and units that serve no image well go out of business.
#
# **Mathematics.**
#
# $$ J = \frac1B \sum_b \Big( \tfrac12 \lVert \hat x_b - x_b \rVert^2 + \lambda \sum_{j=1}^{m} |h_{bj}| \Big). $$
#
# Why the absolute value and not the square? The slope of $|h|$ is 1 however small $h$ is, so a nearly useless activation is still pushed, all the way to
# zero. The slope of $h^2$ vanishes there. Note the reductions: a **sum** over units, a **mean** over images. (With a mean over units, $\lambda$ would mean something else
# for each width of the layer.)

# %% [markdown]
# ### Exercise 3 · The L1 penalty
#
# Everything behind $\lambda$, averaged over the batch: one number.


# %% tags=["exercise"]
def l1_penalty(activations):
    """The mean over the batch of sum_j |h_j|: (B, m) -> ()."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
l1_penalty = lab.check(l1_penalty)

# %% [markdown]
# ### How to cheat L1
#
# Divide $W_1$ and $b_1$ by 10 and multiply $W_2$ by 10.
#
# **Predict.** What becomes of the reconstruction, and what of the penalty?

# %% tags=["nbval-check-output"]
cheat = SparseAutoencoder(784, 1024).to(lab.device)
cheat.load_state_dict(copier.state_dict())
with torch.no_grad():
    for weight in cheat.encoder.parameters():
        weight /= 10
    cheat.decoder.weight *= 10
    same, h_cheat = cheat(x_test)
print("penalty, relative to before:", round((l1_penalty(h_cheat) / l1_penalty(copier.encode(x_test))).item(), 4))
print("largest change of the reconstruction:", round((same - copy).abs().max().item(), 4))

# %% [markdown]
# A ReLU does not mind: $\mathrm{relu}(a/10) = \mathrm{relu}(a)/10$. So the price can be cut to nothing without a single unit going silent: weak activations, huge atoms. Olshausen and
# Field (1996) knew it, and adapted the length of each atom until its activations had a fixed variance. The simpler cure of today: bring the atoms back to **length 1 after every step**. Then an activation is measured in the same
# unit for everybody. (Section 8 shows a network that found the loophole by itself.)

# %% [markdown]
# ### Exercise 4 · Unit-norm atoms
#
# Scale each column of the decoder's weight to length 1, **in place** (the optimizer holds on to this very tensor), and return it. A column of zeros stays zero.
# Gradients must not flow through it: `with torch.no_grad():`.


# %% tags=["exercise"]
def normalize_decoder_(weight):
    """Scale each column of weight (n, m) to length 1, in place; returns the same tensor."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
normalize_decoder_ = lab.check(normalize_decoder_)


# %%
def keep_unit_norm(model, optimizer):
    """Normalise the atoms now and after each step of the optimizer."""
    normalize_decoder_(model.decoder.weight)
    optimizer.register_step_post_hook(lambda *_: normalize_decoder_(model.decoder.weight))


# %% [markdown]
# **Predict.** λ goes from small to large. Sketch the effective dimension and the error against it.

# %%
l1_models, l1_codes = {}, {}
for strength in config.lambdas:
    name = f"L1 {strength:g}"
    l1_models[strength] = train(name, lambda model, h, s=strength: s * l1_penalty(h), unit_norm=True)
    l1_codes[strength] = measure(name, l1_models[strength])
l1, h_l1 = l1_models[middle_lambda], l1_codes[middle_lambda]

# %%
names = {"active": "active units per digit", "dead": "dead units", "error": "reconstruction error"}
figure, axes = panels(1, 3, width=3.7, height=3.2)
for ax, (what, label) in zip(axes, names.items(), strict=True):
    ax.plot(config.lambdas, [lab.metrics[f"L1 {s:g}/{what}"] for s in config.lambdas], marker="o")
    ax.axhline(lab.metrics[f"plain/{what}"], color="gray", linewidth=1, linestyle=":", label="no penalty")
    ax.set(xscale="log", xlabel="λ", title=label)
axes[0].legend(frameon=False)
lab.show(
    figure,
    alt="Three curves over the weight λ of the L1 penalty, with a dotted line for no penalty. The active units per digit fall as λ grows; the number of dead units grows, "
    "at λ = 1 to most of them; the reconstruction error grows with λ, too.",
)

# %%
dimensions = {f"λ = {s:g}": lab.metrics[f"L1 {s:g}/active"] for s in config.lambdas}
lab.claim(
    "The larger λ, the smaller the effective dimension.",
    holds=list(dimensions.values()) == sorted(dimensions.values(), reverse=True),
    evidence={"no penalty": lab.metrics["plain/active"]} | dimensions,
    source="review",
    reason="Where it fails, two neighbouring λ are too close together for the noise of training.",
)
lab.tell(
    "At $\\lambda = 0.1$ a digit uses {L1 0.1/active:.0f} units (it has {copy by hand/active:.0f} pixels with ink), at an error of {L1 0.1/error:.1f}. At $\\lambda = 1$ the price is "
    "higher than what most units can save: {L1 1/dead:.0f} are dead, and the error is {L1 1/error:.1f}, beside {average digit/error:.1f} for the average digit. "
    "A ReLU that is silent for every training image gets no gradient, so hardly any comes back."
)

# %% [markdown]
# Do the atoms look like something now?

# %%
lab.show(
    atom_rows(
        {
            "no penalty": strongest_atoms(plain, h_plain),
            f"L1, λ = {middle_lambda:g}": strongest_atoms(l1, h_l1),
            "L1, λ = 0.3": strongest_atoms(l1_models[0.3], l1_codes[0.3]),
        }
    ),
    alt="Three rows of twenty atoms. Without a penalty: noise with faint traces of digits. With L1, digits and pieces of digits stand out from a calmer "
    "background, the more clearly the larger λ.",
)

# %% [markdown]
# Parts of strokes, loops, whole digits: with a price on each unit, a unit must be worth its price to some images. The review says that the loss thereby *forces feature
# extraction*. A feature should say what an image is; so look at the five nearest neighbours of a test digit in the code, and let them vote on its class.


# %%
def neighbours_vote(codes, test_codes):
    """Share of test digits whose five nearest training digits vote for the right class."""
    some = config.neighbours
    return knn_accuracy(codes[:some], y_train[:some], test_codes[:2000], y_test[:2000], neighbors=5)


@torch.no_grad()
def code_accuracy(name, model):
    lab.record(f"{name}/neighbours", neighbours_vote(model.encode(x_train), model.encode(x_test)), unit="accuracy")


lab.record("pixels/neighbours", neighbours_vote(x_train, x_test), unit="accuracy")
code_accuracy("plain", plain)
code_accuracy("L1 0.1", l1)

# %%
lab.claim(
    "The penalty forces feature extraction: neighbours in the penalised code are of one class more often than in the code of the plain copy.",
    holds=lab.metrics["L1 0.1/neighbours"] > lab.metrics["plain/neighbours"],
    evidence={name: lab.metrics[f"{name}/neighbours"] for name in ("pixels", "plain", "L1 0.1")},
    source="review",
    reason="What tells classes apart is in a copy, too. A penalty helps if it leaves out what blurs the classes, and does harm if it leaves out more.",
)

# %% [markdown]
# The pixels themselves stand beside it for a reason: "better than a copy" is not yet "better than nothing". And one or two thousand test
# digits leave a standard error of almost a percentage point: a smaller difference may be chance.
#
# ### Where do the activations go?

# %%
figure, ax = panels(width=6.5, height=3.4)
edges = np.concatenate([[0], np.logspace(-4, 1, 51)])
for label, h in {"no penalty": h_plain, "λ = 0.1": h_l1, "λ = 0.3": l1_codes[0.3]}.items():
    counts, _ = np.histogram(h[:1000].cpu().numpy(), bins=edges)
    ax.plot(np.r_[5e-5, edges[2:]], counts / h[:1000].numel(), label=label)
ax.set(
    xscale="log", yscale="log", xlabel="activation (leftmost point: all below 0.0001)", ylabel="share of activations"
)
ax.axvline(1e-3, color="gray", linewidth=1, linestyle=":")
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Distribution of all activations on logarithmic axes, without a penalty and for two λ. A large share of the activations, with L1 most of them, lies in the leftmost point, at zero; "
    "few lie just above, between 0.0001 and 0.001, where a dotted line marks the threshold; the others around 0.1 to 1.",
)

# %% [markdown]
# With a ReLU most silent units are *exactly* zero, so it hardly matters where the threshold lies. Keep this in mind for section 5, where it will matter very much.
#
# ## 4 · Weights or activations?
#
# Both penalties are "regularisation", and both keep something small. Train the same overcomplete network with weight decay,
# $\tfrac{\alpha}{2} (\lVert W_1 \rVert^2 + \lVert W_2 \rVert^2)$, in place of L1.
#
# **Predict.** Will a digit use fewer units than without, or more?


# %%
def weight_decay(model, h):
    return config.weight_decay / 2 * (model.encoder.weight.square().sum() + model.decoder.weight.square().sum())


decayed = train("weight decay", weight_decay)
h_decayed = measure("weight decay", decayed)
for name, model in {"plain": plain, "L1 0.1": l1, "weight decay": decayed}.items():
    lab.record(f"{name}/weights", model.encoder.weight.detach().norm(), unit="norm of W1")

# %%
compared = {"no penalty": "plain", "weight decay": "weight decay", "L1, λ = 0.1": "L1 0.1"}
figure, axes = panels(1, 3, width=3.6, height=3.2)
for ax, what in zip(axes, ("active", "weights", "error"), strict=True):
    bars(ax, list(compared), {what: [lab.metrics[f"{name}/{what}"] for name in compared.values()]})
    ax.set_title({"active": "active units", "weights": "norm of W1", "error": "error"}[what])
    ax.tick_params(axis="x", labelsize=9)
    ax.margins(y=0.15)
lab.show(
    figure,
    alt="Bars for no penalty, weight decay and L1. Weight decay makes the norm of W1 smallest and leaves the number of active units "
    "high; L1 leaves the norm high and makes the number of active units smallest, at a larger reconstruction error.",
)
lab.claim(
    "Penalising weights does not make activations sparse: with weight decay a digit uses at least as many units as without.",
    holds=lab.metrics["weight decay/active"] >= lab.metrics["plain/active"],
    evidence={name: lab.metrics[f"{name}/active"] for name in ("plain", "weight decay", "L1 0.1")},
    source="review",
    reason="Weight decay prefers many small contributions to one large one.",
)

# %% [markdown]
# Weight decay prefers many small contributions to one large one: shared out among $k$ equal weights, a contribution has a sum of squares that is $k$ times smaller. So it
# tends to *spread* an image over units. L1 does not ask the encoder's weights to be small, and concentrates an image on few units. (Its atoms also have
# length 1, those of the other two are free: not quite everything else is equal.) The review is right to keep the two apart.
#
# ## 5 · A reference for the activity: KL
#
# **Intuition.** Instead of "less is cheaper", say how active a unit should be. A sigmoid unit, $h = 1/(1+e^{-a})$ of its input $a$ and thus between 0 and 1, is seen as a coin that shows 1 in the share $\rho$ of
# all images, 5 % say. Its actual share is its mean activation $\hat\rho_j$. The penalty says how far apart the two coins are.
#
# **Mathematics.** The Kullback-Leibler divergence between two coins has a term for each side:
#
# $$ \mathrm{KL}(\rho \,\Vert\, \hat\rho_j) = \rho \log \frac{\rho}{\hat\rho_j} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j}, \qquad \hat\rho_j = \frac1B \sum_b h_{bj}, \qquad
# \text{penalty} = \beta \sum_{j=1}^{m} \mathrm{KL}(\rho \,\Vert\, \hat\rho_j). $$
#
# (CS294A notes, section 3; with the natural logarithm, it is counted in *nats*.) It is zero where $\hat\rho_j = \rho$ and positive elsewhere. Its gradient $-\rho/\hat\rho_j + (1-\rho)/(1-\hat\rho_j)$ reaches all images of the batch equally,
# since $\hat\rho_j$ is their mean: **first the mean, then the divergence**. Section 9 shows what the other order does.

# %% [markdown]
# ### Exercise 5 · The KL penalty
#
# From activations `(B, m)`, or from their means `(m,)`: the sum over the units. Keep $\hat\rho$ within $[10^{-6}, 1 - 10^{-6}]$, so that a unit that is always off, or always on, costs much but not infinitely much.


# %% tags=["exercise"]
def kl_sparsity(activations_or_mean, rho):
    """sum_j KL(rho || rho_hat_j) in nats, rho_hat the mean over the batch: (B, m) or (m,) -> ()."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
kl_sparsity = lab.check(kl_sparsity)

# %% tags=["nbval-check-output"]
for rho_hat in (0.01, 0.05, 0.1, 0.4, 0.5):
    value = paper.kl_sparsity(torch.tensor([rho_hat], dtype=torch.float64), 0.05)
    print(f"KL(0.05 || {rho_hat:.2f}) = {value.abs():.6f}")

# %% [markdown]
# **Predict.** $\rho = 0.05$ and a thousand units or more. How many units will be active for a digit, by the threshold of section 2? Think of what a sigmoid returns.

# %%
kl_models, kl_codes = {}, {}
for rho in config.rhos:
    name = f"KL {rho:g}"
    kl_penalty = lambda model, h, rho=rho: config.beta * kl_sparsity(h, rho)  # noqa: E731
    kl_models[rho] = train(name, kl_penalty, torch.sigmoid, mean_activation=rho)
    kl_codes[rho] = measure(name, kl_models[rho])
    lab.record(f"{name}/mean activation", kl_codes[rho].mean())
    lab.record(f"{name}/above 0.1", paper.effective_dimension(kl_codes[rho], 0.1).float().mean(), unit="units")
kl, h_kl = kl_models[middle_rho], kl_codes[middle_rho]

# %%
means = {rho: lab.metrics[f"KL {rho:g}/mean activation"] for rho in config.rhos}
lab.claim(
    "The KL penalty holds the mean activation, averaged over all units, at ρ, within a fifth, for every ρ.",
    holds=all(abs(mean - rho) < 0.2 * rho for rho, mean in means.items()),
    evidence={f"ρ = {rho:g}": mean for rho, mean in means.items()},
    source="review",
    reason="The smaller ρ, the sooner a unit exceeds it by doing its work for a few images.",
)
lab.claim(
    "With the KL penalty, too, the effective dimension is small: at ρ = 0.05 fewer than a fifth of the units are active.",
    holds=lab.metrics["KL 0.05/active"] < config.hidden / 5,
    evidence={"above 0.001": lab.metrics["KL 0.05/active"], "above 0.1": lab.metrics["KL 0.05/above 0.1"]},
    source="review",
    reason="A sigmoid is never zero, and the penalty asks for a mean, not for zeros: what counts as active is up to the threshold.",
)

# %%
figure, axes = panels(1, 3, width=3.7, height=3.2)
for what in ("above 0.1", "participation"):
    axes[0].plot(config.rhos, [lab.metrics[f"KL {rho:g}/{what}"] for rho in config.rhos], marker="o", label=what)
axes[0].set(xlabel="ρ", title="units per digit")
axes[0].legend(frameon=False, fontsize=10)
axes[1].plot(config.rhos, [lab.metrics[f"KL {rho:g}/error"] for rho in config.rhos], marker="o")
axes[1].set(xlabel="ρ", title="reconstruction error")
for rho, h in kl_codes.items():
    counts, places = np.histogram(h[:1000].cpu().numpy(), bins=np.linspace(0, 1, 41))
    axes[2].plot(places[:-1] + 0.0125, counts / h[:1000].numel(), label=f"ρ = {rho:g}")
axes[2].set(yscale="log", xlabel="activation", title="share of activations")
axes[2].legend(frameon=False, fontsize=10)
lab.show(
    figure,
    alt="Three panels for the KL networks. Over ρ: the units above 0.1 and the participation ratio both grow with ρ. The reconstruction error falls as ρ grows. Distribution of "
    "activations for each ρ: most lie near ρ, with a tail of larger ones and no gap to zero.",
)

# %%
figure, ax = panels(width=6.5, height=3.4)
thresholds = np.logspace(-4, 0, 17)
for label, h in {"no penalty, ReLU": h_plain, "L1, λ = 0.1, ReLU": h_l1, "KL, ρ = 0.05, sigmoid": h_kl}.items():
    ax.plot(thresholds, [paper.effective_dimension(h[:500], t).float().mean().item() for t in thresholds], label=label)
ax.axvline(1e-3, color="gray", linewidth=1, linestyle=":")
ax.set(xscale="log", xlabel="threshold", ylabel="active units per digit")
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Active units per digit against the threshold. The curves of the ReLU networks are flat from 0.0001 to about 0.01. That of the KL network "
    "stays at all units up to about 0.005 and then falls to nearly none, without a step that would be a natural threshold.",
)

# %% [markdown]
# In the first figure ρ is for KL what λ is for L1: the dial of the effective dimension, however it is counted, traded against the error. In the second, "close to
# zero" needs a number, and for sigmoid units the number decides the answer: at $\rho = 0.05$ nearly all are active by 0.001, far fewer by 0.1. `participation` needs no number, and by it, too, the KL code is
# spread over far more units than the L1 code. (It counts the low activity that all sigmoid units share, which $b_2$ could take over.)

# %%
code_accuracy("KL 0.05", kl)
lab.tell(
    "Participation: {plain/participation:.0f} units without a penalty, {L1 0.1/participation:.0f} with L1, {KL 0.05/participation:.0f} with KL. Compare what the codes are worth: "
    "the error is {KL 0.05/error:.1f} with KL and {L1 0.1/error:.1f} with L1, and neighbours find the class in {KL 0.05/neighbours:.3f} and {L1 0.1/neighbours:.3f} of the cases "
    "(pixels: {pixels/neighbours:.3f}). (λ and ρ were not matched, so this is no contest.) Small on average is one thing, sparse another."
)

# %% [markdown]
# ### Play with it
#
# $\hat x = b_2 + \sum_j h_j \cdot \mathrm{atom}_j$, literally. From the left: a digit, its reconstruction, $b_2$, and the eight largest parts of the sum (mid-grey is zero, darker adds ink, lighter removes it; each row has its own scale, so compare sizes only within a row).
# Move λ or ρ and watch what becomes of the parts.


# %%
def l1_view(λ, digit):
    return paper.explained_image(l1_models[λ], x_test[first[digit]])


def kl_view(ρ, digit):
    return paper.explained_image(kl_models[ρ], x_test[first[digit]])


# %% tags=["widget"]
image_choices(l1_view, {"λ": config.lambdas, "digit": range(10)}, width=640, scale=3)

# %% tags=["widget"]
image_choices(kl_view, {"ρ": config.rhos, "digit": range(10)}, width=640, scale=3)

# %%
views = {f"λ = {s:g}": l1_view(s, 3) for s in config.lambdas} | {f"ρ = {rho:g}": kl_view(rho, 3) for rho in config.rhos}
figure, ax = panels(width=9, height=0.85 * len(views))
ax.imshow(
    np.concatenate([np.pad(np.asarray(view), ((0, 2), (0, 0))) for view in views.values()]),
    vmin=0,
    vmax=1,
    cmap="gray_r",
)
ax.set_yticks([30 * i + 14 for i in range(len(views))], list(views))
ax.set_xticks([14, 43, 72, 217], ["digit", "rebuilt", "b₂", "the eight largest parts"])
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
lab.show(
    figure,
    alt="A three, taken apart by each network: one row for each λ and each ρ with the digit, its reconstruction, the bias b2 and the eight largest parts. "
    "With a larger λ the parts become clearer, until at λ = 1 hardly one is left; with a larger ρ they become noisier and more alike.",
)

# %% [markdown]
# ## 6 · The misprint
#
# The review prints the penalty **without the logarithm in the second term**:
#
# $$ \rho \log \frac{\rho}{\hat\rho} + (1 - \rho) \, \frac{1 - \rho}{1 - \hat\rho}. $$
#
# It is an easy slip, and whoever copies the formula gets code that runs. Is it still a divergence? Would you notice in training?
#
# **Predict.** What is its value at $\hat\rho = \rho$? And its gradient there?

# %% tags=["nbval-check-output"]
for rho_hat in (0.01, 0.05, 0.1, 0.4, 0.5):
    printed = paper.kl_sparsity_as_printed(torch.tensor([rho_hat], dtype=torch.float64), 0.05)
    print(f"as printed at rho_hat = {rho_hat:.2f}: {printed:.6f}")


# %%
def derivatives(formula, at, rho=0.05):
    """First and second derivative with respect to rho_hat."""
    rho_hat = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(formula(rho_hat, rho), rho_hat, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), rho_hat)
    return round(slope.item(), 6) + 0.0, round(curvature.item(), 4)  # + 0.0: no minus before a zero


# %% tags=["nbval-check-output"]
for at in (0.05, 0.2, 0.5):
    print(
        f"rho_hat = {at}: right",
        derivatives(paper.kl_sparsity, at),
        " printed",
        derivatives(paper.kl_sparsity_as_printed, at),
    )

# %%
figure, (left, right) = panels(1, 2, width=4.4)
for label, formula in {"KL": paper.kl_sparsity, "as printed": paper.kl_sparsity_as_printed}.items():
    left.plot(rho_of_interest, [formula(r[None], 0.05).item() for r in rho_of_interest], label=label)
    right.plot(rho_of_interest, [derivatives(formula, r.item())[0] for r in rho_of_interest], label=label)
for ax, title in ((left, "penalty of one unit (nats)"), (right, "its slope")):
    ax.axvline(0.05, color="gray", linewidth=1, linestyle=":")
    ax.set(xlabel="mean activation", title=title)
right.axhline(0, color="gray", linewidth=1, linestyle=":")
right.set_ylim(-2, 6)
left.legend(frameon=False)
lab.show(
    figure,
    alt="Left: penalty over mean activation at rho = 0.05. The KL touches zero at 0.05; the printed formula has its minimum at the same "
    "place, but at 0.95. Right: both slopes cross zero at 0.05 and are alike below; above, the printed one is steeper.",
)

# %%
lab.record("misprint/value at rho", paper.kl_sparsity_as_printed(torch.tensor([0.05]), 0.05), unit="nats")
lab.claim(
    "The formula as printed is a divergence: it is zero where the mean activation is ρ.",
    holds=abs(lab.metrics["misprint/value at rho"]) < 1e-6,
    evidence={"value at ρ = 0.05": lab.metrics["misprint/value at rho"]},
    source="review, formula of the KL penalty",
    reason="Without the logarithm the second term is 1 - ρ there, not 0: the formula in the lecture notes has the logarithm.",
)

# %% [markdown]
# The value is wrong everywhere, by $1 - \rho$ at the minimum; yet the **minimum is at the right place**: the slope
# $-\rho/\hat\rho + (1-\rho)^2/(1-\hat\rho)^2$ vanishes at $\hat\rho = \rho$ as well. Only the curvature there is $1/\rho + 2/(1-\rho)$ instead of
# $1/\rho + 1/(1-\rho)$, about 5 % more at $\rho = 0.05$, and units that are far too active are pushed harder. A slip that hides.
#
# **Predict.** Train with it. Will anything in the network tell?

# %%
as_printed = lambda model, h: config.beta * paper.kl_sparsity_as_printed(h, middle_rho)  # noqa: E731
misprinted = train("misprint", as_printed, torch.sigmoid, mean_activation=middle_rho)
h_misprinted = measure("misprint", misprinted)
lab.record("misprint/mean activation", h_misprinted.mean())
with torch.no_grad():
    lab.record("misprint/penalty", as_printed(misprinted, h_misprinted), unit="nats")
    lab.record("KL 0.05/penalty", config.beta * kl_sparsity(h_kl, middle_rho), unit="nats")

# %%
right, wrong = (
    [lab.metrics[f"{name}/{what}"] for what in ("error", "mean activation")] for name in ("KL 0.05", "misprint")
)
lab.claim(
    "Training with the printed formula gives another network: its error or its mean activation differs by more than a tenth.",
    holds=any(abs(b - a) > 0.1 * a for a, b in zip(right, wrong, strict=True)),
    evidence={"error, KL": right[0], "error, printed": wrong[0], "mean, KL": right[1], "mean, printed": wrong[1]},
    source="this lesson",
    reason="The minimum is the same, the slope near it nearly so, and the units start there: what an optimizer follows is the slope, never the value.",
)
lab.tell(
    "What differs is the number on the screen: the printed penalty stands at {misprint/penalty:.0f}, the right one at {KL 0.05/penalty:.2f}. The units start near ρ (see `train`), "
    "where both slopes agree; from a start at 0.5, or with ρ not small, the printed formula pulls harder. The sure victim is whoever reads a loss curve: a penalty that never comes near zero looks as if $\\beta$ were too small."
)

# %% [markdown]
# A rule to take along: **check a divergence where it must be zero.** One line of code, and this slip would not have been printed.
#
# ## 7 · Sparsity without a penalty: top-k
#
# **Intuition.** If what you want is $k$ active units, say so: keep the $k$ largest activations of each image and set the rest to zero (Makhzani and Frey, 2013). There is a $k$ to choose instead of a λ, but it says what it means; and no shrinking of
# the survivors, since nothing charges for their size. Today's *large* sparse autoencoders, which take apart the activations of language models into thousands to millions of
# directions, many of them interpretable, are direct descendants: overcomplete, unit-norm atoms, ReLU with L1 (Bricken et al., 2023; Cunningham et al., 2023) or top-k (Gao et al., 2024).

# %% [markdown]
# ### Exercise 6 · The k largest
#
# Each image keeps its own $k$ largest activations, in their places; all others become 0. Return a new tensor, through which gradients flow to
# the activations that were kept. `activations.topk(k, dim=-1)` returns the largest values and their places.


# %% tags=["exercise"]
def top_k(activations, k):
    """The k largest activations of each image, all others set to 0: (B, m) -> (B, m)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
top_k = lab.check(top_k)

# %% [markdown]
# This is the place for the review's boldest sentence: a narrow hidden layer and a sparse one *constrain the same thing*. Give both $k = 16$ numbers for an image. For the narrow layer take the best there
# is: the first 16 principal components. As long as the decoder is $\hat x = W_2 h + b_2$, no encoder into 16 units, linear or not, has a smaller error on the training digits. (A decoder with hidden layers of its own can do better: lesson 01.)
# That is an exact solution, so the sparse network may train twice as long as the others of this lesson.
#
# **Predict.** Same number of numbers. Same error?

# %%
keep_k = lambda a: top_k(torch.relu(a), config.k)  # noqa: E731
k_sparse = train("top-k", activation=keep_k, unit_norm=True, epochs=2 * config.epochs)
h_k = measure("top-k", k_sparse)
code_accuracy("top-k", k_sparse)
pca = PCA(config.k, random_state=0).fit(x_train.cpu().numpy())
narrow = torch.from_numpy(pca.inverse_transform(pca.transform(x_test.cpu().numpy()))).float().to(lab.device)
lab.record("narrow/error", paper.squared_error(narrow, x_test).mean())
lab.record("narrow/reach", config.k, unit="units in use over all digits")
lab.record("top-k/reach", (~paper.dead_units(h_k)).sum(), unit="units in use over all digits")

# %%
sparse, narrow_error = lab.metrics["top-k/error"], lab.metrics["narrow/error"]
lab.claim(
    "A narrow layer and a sparse one constrain the same thing: with 16 numbers for an image both errors agree within a tenth.",
    holds=abs(sparse - narrow_error) < 0.1 * narrow_error,
    evidence={"16 of many (top-k)": sparse, "16 in all (PCA)": narrow_error},
    source="review",
    reason="A narrow layer has the same 16 directions for every image; a sparse one chooses 16 of many, anew for each.",
)
lab.tell(
    "Over all test digits the sparse layer has {top-k/reach:.0f} units in use, the narrow one {narrow/reach:.0f}. The choice carries information that the 16 numbers do not show: "
    "*which* units. For comparison, L1 at $\\lambda = 0.3$ has {L1 0.3/active:.0f} active units and the error {L1 0.3/error:.1f}; top-k has {top-k/active:.0f} and {top-k/error:.1f}, after twice as many epochs. "
    "One reason for a difference is built in: a price that silences units also shrinks those that speak. And top-k leaves {top-k/dead:.0f} units dead, since a unit that is never chosen gets no gradient."
)

# %%
lab.show(
    image_rows(
        {
            "digit": x_test[first],
            "16 of many": rebuilt(k_sparse, x_test[first]),
            "16 in all": narrow[first].clamp(0, 1),
            "L1, λ = 0.3": rebuilt(l1_models[0.3], x_test[first]),
        }
    ),
    alt="Ten digits and three rows of reconstructions: from the 16 largest of many units, from 16 principal components, and from the L1 network "
    "at λ = 0.3. All lose detail: the principal components leave grey shadows around the strokes, and L1 blurs or fades them.",
)

# %% [markdown]
# ## 8 · Natural images: edges
#
# The most famous result on sparse codes is about photographs. Olshausen and Field (1996) asked for a code of small patches in which few units are active, and got
# **edge detectors**: localised, oriented, each for one width of stripes, like the simple cells in the visual cortex. Nothing in the cost mentions edges.

# %%
photos = labkit.data.load("photos", profile=profile)
print(photos.source)
generator = torch.Generator().manual_seed(seed)
cut = photos.patches(config.side, config.patches + 2000, generator)  # (N, 144)
cut = cut[torch.randperm(len(cut), generator=generator)]
cut = cut - cut.mean(1, keepdim=True)  # how bright a patch is, is not its structure

# %% [markdown]
# Neighbouring pixels of a photograph are nearly equal; a code would spend itself on that. **Whitening** turns and scales the pixels so that they are uncorrelated and have equal variance; *ZCA* does it with
# the least change to the picture, so that patches still look like patches. Directions that hold little variance are mostly noise; `epsilon` keeps them smaller than the others, so ours are whitened only in part. What would remain
# after perfect whitening is what correlations between pairs of pixels do not explain.

# %%
whitening = paper.zca_whitening(cut[: config.patches], epsilon=0.3)
white = whitening(cut)
white = (white / white[: config.patches].std()).to(lab.device)
p_train, p_test = white[: config.patches], white[config.patches :]
lab.show(
    atom_rows({"patches": cut[:20], "whitened": white[:20]}),
    alt="Twenty patches of photographs, 12 by 12 pixels, mostly soft shades, and below them the same patches whitened: shades are weaker, "
    "contours and texture stand out.",
)


# %%
def train_on_patches(name, strength, unit_norm, epochs=config.patch_epochs):
    """ReLU units with L1 of this strength; the encoder starts as the transpose of the decoder."""
    with lab.seeded("patch weights"):
        model = SparseAutoencoder(config.side**2, config.atoms)
    normalize_decoder_(model.decoder.weight)
    model.encoder.weight.data = model.decoder.weight.data.T.clone()
    model.to(lab.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.patch_lr, fused=True)
    if unit_norm:
        keep_unit_norm(model, optimizer)
    settings = {"epochs": epochs, "batch_size": 128, "optimizer": optimizer, "label": name}
    fit(
        model,
        lambda model, x, generator: paper.objective(model, x, l1=strength),
        p_train,
        generator=lab.generator("patch batches"),
        checkpoint=lab.checkpoint(name),
        **settings,
    )
    return model


# %%
started = time.perf_counter()
patch_models = {"patches, L1": train_on_patches("patches, L1", config.patch_lambda, unit_norm=True)}
seconds = time.perf_counter() - started
free_atoms = train_on_patches("patches, L1, free atoms", config.patch_lambda, unit_norm=False)
copying = train_on_patches(
    "patches, no penalty", 0.0, unit_norm=True, epochs=config.patch_epochs // 4
)  # it needs no more
patch_models |= {"patches, L1, free atoms": free_atoms, "patches, no penalty": copying}
for name, model in patch_models.items():
    h = measure(name, model, p_test)
    lab.record(f"{name}/L1", l1_penalty(h))
    lab.record(f"{name}/length of an atom", model.decoder.weight.detach().norm(dim=0).mean())

# %% [markdown]
# ### The loophole, found by a network
#
# The second network was trained with L1, but its atoms were free.
#
# **Predict.** What will it do to its atoms, to the penalty, to the number of active units?

# %%
kept, loose = "patches, L1", "patches, L1, free atoms"
lab.claim(
    "With free atoms L1 is cheated: the penalty falls by more than a fifth, and yet no fewer units are active.",
    holds=lab.metrics[f"{loose}/L1"] < 0.8 * lab.metrics[f"{kept}/L1"]
    and lab.metrics[f"{loose}/active"] >= lab.metrics[f"{kept}/active"],
    evidence={
        f"{what}, {label}": lab.metrics[f"{name}/{what}"]
        for what in ("L1", "active")
        for label, name in (("unit norm", kept), ("free", loose))
    },
    source="implementations of sparse autoencoders",
    reason="Where it fails, training was too short for the atoms to grow.",
)
lab.tell(
    "Its atoms have grown to the length {patches, L1, free atoms/length of an atom:.2f} on average; its penalty is {patches, L1, free atoms/L1:.1f} instead of {patches, L1/L1:.1f}, at "
    "{patches, L1, free atoms/active:.1f} active units instead of {patches, L1/active:.1f}. Whoever watches the penalty alone would prefer it."
)

# %% [markdown]
# ### Are they edges?
#
# The eye says yes too easily, so measure. A **Gabor function**, a plane wave under a Gaussian window, is the textbook description of an edge detector. `paper.gabor_fit` finds, for each atom, the Gabor that explains it best, out of a grid
# of places, widths, orientations and frequencies, and tells the share of the atom's energy that it explains, $R^2$. We call an atom **edge-like** when $R^2 > \tfrac12$. A measure must fail where it
# should: we also give it white noise, single pixels, and principal components. (A pixel in a corner passes: there, a Gabor cut off by the border is hardly more than a dot.) The
# figure shows the sixty units that are active for most patches. Their atoms are whitened, the components are those of the patches as cut.


# %%
def edge_like(name, atoms):
    """Fit Gabors to atoms (M, side²), and record the share that is edge-like."""
    found = paper.gabor_fit(atoms.detach().cpu(), config.side)
    lab.record(f"{name}/edge-like", (found.explained > 0.5).float().mean(), unit="share of atoms")
    return found


noise = torch.randn(500, config.side**2, generator=torch.Generator().manual_seed(seed))
components = torch.linalg.svd(cut[:5000], full_matrices=False)[2][:-1]  # (143, 144): patches have no mean
for name, atoms in {"noise": noise, "single pixels": torch.eye(config.side**2), "components": components}.items():
    edge_like(name, atoms)

# %%
gabors = {}
for name, model in patch_models.items():
    with torch.no_grad():
        alive = ~paper.dead_units(model.encode(p_train[:20_000]))
    gabors[name] = edge_like(name, model.decoder.weight.T[alive])

# %%
atoms = patch_models["patches, L1"].decoder.weight.T.detach()
chosen = paper.effective_dimension(patch_models["patches, L1"].encode(p_test).detach().T).topk(60).indices.cpu()
fitted = paper.gabor_fit(atoms.cpu(), config.side)
unpenalised = patch_models["patches, no penalty"].decoder.weight.T[:20]
lab.show(
    atom_rows(
        {
            "L1": atoms[chosen],
            "their Gabors": fitted.image[chosen],
            "no penalty": unpenalised,
            "components": components[:20],
        }
    ),
    alt="Atoms learned from photographs. L1: sixty of them, many of which are short bars and edges at different places and orientations; then the Gabor fitted to "
    "each, alike where the atom is an edge. No penalty: noise. Principal components: waves over the whole patch.",
)

# %%
shares = {
    name: lab.metrics[f"{name}/edge-like"]
    for name in (kept, "patches, no penalty", "noise", "single pixels", "components")
}
lab.claim(
    "On natural images sparse units become edge detectors: at least a third is edge-like, and without the penalty less than a tenth.",
    holds=shares[kept] >= 1 / 3 and shares["patches, no penalty"] < 0.1,
    evidence=shares,
    source="Olshausen and Field (1996)",
    reason="Where it fails, training was too short for the atoms to leave their random start.",
)
lab.tell(
    "The network without a penalty reconstructs far better, its error is {patches, no penalty/error:.1f} against {patches, L1/error:.1f}, with {patches, no penalty/active:.0f} active units for a patch "
    "instead of {patches, L1/active:.1f}. Without a price nothing had to be left out, and its atoms had no reason to become anything."
)

# %%
edges = gabors[kept].explained > 0.5
figure, ax = panels(subplot_kw={"projection": "polar"}, width=4.2, height=3.2)
angles = (math.pi / 2 - gabors[kept].orientation[edges]) % math.pi  # of the bar, seen with the y axis upwards
counts = np.histogram(angles, bins=12, range=(-math.pi / 24, math.pi - math.pi / 24))[0]
ax.bar(np.arange(12) * math.pi / 12, counts, width=math.pi / 14)
ax.set_thetamin(-10)
ax.set_thetamax(180)
ax.set_title("edge-like atoms by direction of their bar", fontsize=11)
lab.show(
    figure,
    alt="Half-circle histogram of the directions of the edge-like atoms' bars, in twelve sectors from horizontal over vertical back to "
    "horizontal: most directions occur; which are most frequent depends on what is in the photographs.",
)

# %% [markdown]
# ### Against dictionary learning
#
# scikit-learn has the classical method for the *same* cost: `MiniBatchDictionaryLearning` minimises $\tfrac12 \lVert x - D h \rVert^2 + \lambda \lVert h \rVert_1$ over atoms $D$ of length at most 1 *and over the code $h$ of each patch*. It has no encoder: each
# code is the solution of an optimisation problem (the *lasso*). An autoencoder replaces that by a single matrix product. Two questions, then: are its atoms as good, and are its codes? (The unseen patches come from the same photographs and may overlap with
# those of the training.)

# %%
started = time.perf_counter()
with warnings.catch_warnings():  # single codes that stop a little early do no harm here
    warnings.simplefilter("ignore", ConvergenceWarning)
    dictionary = MiniBatchDictionaryLearning(
        config.atoms,
        alpha=config.patch_lambda,
        max_iter=1,
        batch_size=256,
        fit_algorithm="cd",
        positive_code=True,  # as a ReLU's
        random_state=seed,
    ).fit(p_train[: config.dictionary].cpu().numpy())
print(f"dictionary learning: {time.perf_counter() - started:.1f} s, sparse autoencoder: {seconds:.1f} s")
learned = edge_like("dictionary learning", torch.from_numpy(dictionary.components_))


# %%
def lasso_cost(name, atoms, patches=p_test[:1000]):
    """Record the mean cost of patches whose code is the best one for these atoms."""
    x, atoms = patches.cpu().numpy(), atoms.detach().cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        code = sparse_encode(x, atoms, algorithm="lasso_cd", alpha=config.patch_lambda, positive=True)
    error = 0.5 * ((code @ atoms - x) ** 2).sum(1).mean()
    lab.record(f"{name}/cost, best code", error + config.patch_lambda * np.abs(code).sum(1).mean())


with torch.no_grad():
    own_code = paper.objective(patch_models[kept], p_test[:1000], l1=config.patch_lambda)
lab.record(f"{kept}/cost, own code", own_code)
lasso_cost(kept, patch_models[kept].decoder.weight.T)
lasso_cost("dictionary learning", torch.from_numpy(dictionary.components_))

# %%
ours, theirs = (lab.metrics[f"{name}/cost, best code"] for name in (kept, "dictionary learning"))
lab.claim(
    "The atoms of the sparse autoencoder are as good as those of dictionary learning: coding unseen patches with them costs at most 5 % more.",
    holds=ours <= 1.05 * theirs,
    evidence={"autoencoder": ours, "dictionary learning": theirs},
    source="this lesson",
    reason="The autoencoder's codes are not the best ones, but it has taken many more steps.",
)
lab.tell(
    "With its own encoder the autoencoder pays {patches, L1/cost, own code:.1f}, with the best codes for the same atoms {patches, L1/cost, best code:.1f}: that is the price of coding in one step. Of "
    "its living atoms {patches, L1/edge-like:.0%} are edge-like, of all those of dictionary learning {dictionary learning/edge-like:.0%}. Seconds for training stand above, one pass over its patches for dictionary learning, many for the autoencoder. A step of "
    "the autoencoder is cheap because it never solves for a code."
)

# %% [markdown]
# ## 9 · Where the paper, the review and the code disagree
#
# ### First the mean, then the divergence
#
# A frequent bug (an issue of `wblgers/tensorflow_stacked_denoising_autoencoder`): take $\mathrm{KL}(\rho \Vert h_{bj})$ of *each activation* and average afterwards. Now a unit may not be silent for most images and active for a few; every single activation is drawn to $\rho$.
#
# **Predict.** Suppose the mean activation is near $\rho$ in both cases. What will differ?


# %%
def kl_per_example(model, h):
    return config.beta * kl_sparsity(h.flatten(), middle_rho) / len(h)  # each activation is treated as a mean


per_example = train("KL per example", kl_per_example, torch.sigmoid, mean_activation=middle_rho)
h_each = measure("KL per example", per_example)
for name, h in {"KL per example": h_each, "KL 0.05": h_kl}.items():
    lab.record(f"{name}/spread", h.std(0).mean(), unit="std of a unit over images")
lab.claim(
    "A KL taken for each example drives every activation to ρ: a unit varies over images by less than a quarter of ρ.",
    holds=lab.metrics["KL per example/spread"] < middle_rho / 4,
    evidence={"per example": lab.metrics["KL per example/spread"], "of the mean": lab.metrics["KL 0.05/spread"]},
    source="wblgers/tensorflow_stacked_denoising_autoencoder, issue 1",
    reason="It pulls there, but the reconstruction pulls back: what remains depends on β.",
)

# %%
lab.tell(
    "A unit varies from image to image by {KL per example/spread:.3f} instead of {KL 0.05/spread:.3f}, and the error is {KL per example/error:.1f} instead of "
    "{KL 0.05/error:.1f}."
)

# %% [markdown]
# ### `nn.KLDivLoss` is not this KL
#
# PyTorch's KL loss expects the logarithm of a *whole* distribution. Given $\log \hat\rho$ and $\rho$ alone, it computes the first of the two terms. (Why both are needed is asked in issue 561 of `ageron/handson-ml2`.)

# %% tags=["nbval-check-output"]
rho_hat, rho = torch.tensor([0.4], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
print("both terms:   ", round(paper.kl_sparsity(rho_hat, 0.1).item(), 9))
print("nn.KLDivLoss: ", round(torch.nn.KLDivLoss(reduction="sum")(rho_hat.log(), rho).item(), 9))

# %% [markdown]
# The first term alone is negative above $\rho$ and has the slope $-\rho/\hat\rho$: it *rewards* activity without end.
#
# ### KL and ReLU
#
# Activations above 1 make the second logarithm undefined. The formula gives NaN in silence; the library refuses.

# %% tags=["nbval-check-output"]
too_large = torch.tensor([0.3, 1.7])
print((0.05 * torch.log(0.05 / too_large) + 0.95 * torch.log(0.95 / (1 - too_large))).tolist())
try:
    paper.kl_sparsity(too_large, 0.05)
except ValueError as error:
    print(error)

# %% [markdown]
# ### Smaller things
#
# - **The lecture notes** have 25 hidden units for patches of 64 pixels: the best-known "sparse autoencoder" is *not* overcomplete.
# - **The notes** take $\hat\rho$ over the whole training set. With small batches it is noisy; keep a batch at 128 or more, or a running mean.
# - **The code** (`syorami/Autoencoders-Variants`, issue 4): penalising the decoder's output as well is a misreading. The penalty is on the hidden layer.
# - **The review** lets cross-entropy stand in for the squared error. Then $\hat x$ needs a sigmoid, and λ, β another value: the error is in other units.
# - **How to choose β**: large enough that $\hat\rho$ stays near $\rho$, and no larger; the error tells when it is too much. (Going further has an exercise.)
# - **λ and widths**: a mean over units in L1 makes λ depend on $m$, one reason why published values of λ can rarely be compared.
#
# ## 10 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. An overcomplete autoencoder without a price copies what it sees; with a price on activations it has to choose, and its atoms begin to look like what is in the images.
# 2. Penalties on weights and on activations do opposite things to a code: one spreads it, the other concentrates it.
# 3. L1 makes zeros. KL makes means. Before you count active units, ask what "zero" means for your activation function.
# 4. A penalty on scale needs a fixed scale: unit-norm atoms, or it will be cheated.
# 5. Check a divergence where it must be zero. An optimizer will not do it for you.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** The classic exercise of the notes: 10,000 patches of 8 x 8, 25 sigmoid units, $\rho = 0.01$, $\beta = 3$, weight decay 0.0001, 400 iterations of L-BFGS on all patches at once. `paper.objective` has the whole cost. Do its
#   units look like those of section 8, and are they edge-like?
# - **Core.** Add $\beta \in \{0.1, 3\}$ to section 5. Which of error, mean activation and neighbours notices?
# - **Stretch.** Revive the dead: every 100 steps, point the encoder and the atom of a dead unit at an image that is reconstructed badly. How does the curve of section 3 change?
# - **Stretch.** The gradient of an atom along itself is undone by the normalisation. Remove that part before the step. Does training get better?
# - **Bonus.** Train a top-k autoencoder on the hidden layer of a classifier of digits. Do single units stand for something that you can name?
#
# ### References
#
# - A. Ng: *Sparse autoencoder*, CS294A lecture notes, Stanford, 2011.
# - B. Olshausen, D. Field: *Emergence of simple-cell receptive field properties by learning a sparse code for natural images*, Nature 381, 1996.
# - A. Makhzani, B. Frey: *k-Sparse Autoencoders*, 2013. [arXiv:1312.5663](https://arxiv.org/abs/1312.5663)
# - H. Cunningham, A. Ewart, L. Riggs, R. Huben, L. Sharkey: *Sparse Autoencoders Find Highly Interpretable Features in Language Models*, 2023. [arXiv:2309.08600](https://arxiv.org/abs/2309.08600)
# - T. Bricken et al.: *Towards Monosemanticity: Decomposing Language Models With Dictionary Learning*, Transformer Circuits, 2023.
# - L. Gao et al.: *Scaling and evaluating sparse autoencoders*, 2024. [arXiv:2406.04093](https://arxiv.org/abs/2406.04093)
# - J. Mairal, F. Bach, J. Ponce, G. Sapiro: *Online dictionary learning for sparse coding*, ICML 2009: the method of scikit-learn's `MiniBatchDictionaryLearning`.
# - Data: MNIST (LeCun, Bottou, Bengio, Haffner, 1998); photographs that come with scikit-image and scikit-learn, named with their licences by `photos.licence`.
