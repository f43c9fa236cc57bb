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
# | **Afterwards you can** | make a hidden layer wider than its input and still learn something, write the L1, KL and top-k ways to a sparse code without their classic mistakes, compare them at equal sparsity, and tell a divergence from a formula that only looks like one |
# | **You need** | the chain rule, logarithms, vectors and matrices |
# | **Time** | core: 110 minutes with the exercises; further: 40 minutes |
# | **Level** | introductory |
# | **Paper** | A. Ng, *Sparse autoencoder*, CS294A lecture notes (2011); B. Olshausen and D. Field, *Emergence of simple-cell receptive field properties by learning a sparse code for natural images*, Nature 381 (1996) |
# | **The review** | a blog post in Korean, 2021, the third of a series after AE, VAE and DAE; it prints the KL penalty with a slip |
#
# **Claims that you will test.** Some hold, some do not, some depend on how one measures. One of them is a formula. (The words are explained in their sections.)
#
# | claim | source | section |
# |---|---|---|
# | Without a penalty an overcomplete autoencoder learns to copy; what it learned is the identity | common explanation | 1 |
# | The larger the price on activations, the smaller the effective dimension | review | 2 |
# | The price forces feature extraction | review | 2 |
# | With free atoms L1 is cheated | implementations | 2 |
# | The KL penalty holds mean activations at $\rho$, and the effective dimension small | review | 3 |
# | The formula as printed is a divergence; training with it gives another network; it pulls harder | review; ours | 4 |
# | At equal sparsity top-k rebuilds better than L1 and KL; reviving dead units helps | ours | 5 |
# | A narrow layer and a sparse one constrain the same thing | review | 5 |
# | A sparse code finds the features that the data were made of | ours | 6 |
# | Sparse units on photographs are edge detectors | Olshausen and Field; notes | 7 |
# | A KL taken for each example drives every activation to $\rho$ | users of an implementation | 8 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the scale: `quick` (4,000 digits of 14 x 14 pixels), `full` (all of MNIST, 28 x 28), `paper` (larger patches of photographs, long training).

# %% tags=["parameters"]
profile = "quick"  # "quick", "full" or "paper"
seed = 0  # another seed: other initial weights, other patches

# %%
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import nn

import labkit
import labkit.data
from labkit.lab.evaluate import knn_accuracy
from labkit.lab.figures import PALETTE, atom_rows, image_rows, panels, tiled
from labkit.lab.training import fit
from labkit.lab.widgets import image_choices
from labkit.papers import image_patches
from labkit.papers import sparse_autoencoders as paper

lab = labkit.start("02_sparse_autoencoders", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    side: int  # of a digit in pixels; 14 is MNIST averaged over 2 x 2: a network costs a sixteenth and can settle
    hidden: int  # units of the hidden layer, more than the pixels: "overcomplete"
    epochs: int  # passes over the training digits, the same for all networks that are compared
    batch_size: int  # digits per step; small ones make the mean activation noisy, and give few digits enough steps
    lr: float  # Adam's step size for digits; larger ones leave more units dead
    grid_epochs: int  # section 4: passes for each of 36 small networks
    features: tuple[int, int, int, int]  # section 6: true features, dimensions, how many are present, examples
    patch_side: int  # section 7: pixels across a patch of a photograph
    patches: int  # and how many
    atoms: int  # units that learn from them
    patch_epochs: int  # passes over the patches, enough for atoms to leave their random start
    lambdas: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5)  # prices of L1, up to one that few units can pay
    rhos: tuple[float, ...] = (0.01, 0.02, 0.05, 0.2)  # mean activations that the KL penalty asks for
    beta: float = 1.0  # weight of the KL penalty: mean activations stay near rho, digits are still rebuilt
    ks: tuple[int, ...] = (4, 8, 16, 32, 64)  # active units that top-k allows


config = lab.choose(
    quick=Config(14, 256, 6, 64, 2e-3, 3, (128, 64, 5, 16_000), 12, 20_000, 256, 10),
    full=Config(28, 1024, 4, 128, 1e-3, 3, (512, 256, 10, 40_000), 12, 100_000, 400, 20),
    # Digits as at full. Photographs at Olshausen and Field's size as it is commonly cited: 192 functions, 16 x 16.
    paper=Config(28, 1024, 20, 128, 1e-3, 10, (512, 256, 10, 40_000), 16, 400_000, 192, 60),
)

# %% [markdown]
# ## 1 · A hidden layer wider than its input
#
# ![An image x is encoded to a hidden layer wider than itself, with four of 24 units active; each active unit scales its atom, their sum plus b2 is the reconstruction, and penalty and error are the two prices.](figures/02_sparse_autoencoders/network.svg)
#
# **Intuition.** An autoencoder rebuilds its input $x$ from a hidden layer $h$.
# Usually that layer is *narrower* than the input, so that something has to be left out.
# The review puts it so: an autoencoder has two constraints on its structure, equal sizes of input and output and a narrow middle.
# A sparse autoencoder drops the second one: the layer is wide, and the *loss* sees to it that an image may use only a few of its units.
#
# **Mathematics.** With $n$ inputs and $m$ hidden units,
#
# $$ h = s(W_1 x + b_1) \in \mathbb R^m, \qquad \hat x = W_2 h + b_2 = b_2 + \sum_{j=1}^{m} h_j\, w_j, $$
#
# where $s$ is an activation function, here ReLU.
# Column $w_j$ of $W_2$ is the **atom** of unit $j$: a small picture that is added to the reconstruction, scaled by $h_j$.
# The layer is **overcomplete** when $m > n$.
# The loss is the squared error plus a penalty on the activations of a batch of $B$ images:
#
# $$ J = \frac1B \sum_{b=1}^{B} \tfrac12 \lVert \hat x_b - x_b \rVert^2 + \text{penalty}(h_1, \dots, h_B). $$
#
# This lesson is about that last term.
# Here is the network, and its loss:


# %%
class SparseAutoencoder(nn.Module):
    def __init__(self, inputs, hidden, activation=torch.relu, output=lambda a: a):
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)  # W1 (m, n), b1 (m,)
        self.decoder = nn.Linear(hidden, inputs)  # W2 (n, m), b2 (n,)
        self.activation, self.output = activation, output
        bound = math.sqrt(6 / (inputs + hidden + 1))  # the initialization of the lecture notes
        for layer in (self.encoder, self.decoder):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def encode(self, x):
        return self.activation(self.encoder(x))  # (B, m)

    def decode(self, h):
        return self.output(self.decoder(h))  # (B, n)

    def forward(self, x):
        h = self.encode(x)
        return self.decode(h), h


# %%
def sparse_loss(model, x, penalty=None):
    x_hat, h = model(x)
    error = squared_error(x_hat, x).mean()
    return error if penalty is None else error + penalty(h)


def squared_error(x_hat, x):
    return 0.5 * (x_hat - x).square().sum(-1)  # (B,)


# %% [markdown]
# ### The data

# %%
mnist = labkit.data.load("mnist", profile=profile)
print(mnist.source)


def pixels(split, side=config.side):
    """The images of a split, averaged over squares of pixels, (N, side * side) grey values in [0, 1]."""
    return F.avg_pool2d(split.flat.reshape(-1, 1, 28, 28), 28 // side).flatten(1).to(lab.device)


x_train, x_test = pixels(mnist.train), pixels(mnist.test)
y_train, y_test = mnist.train.labels.numpy(), mnist.test.labels.numpy()
first = [int((y_test == digit).argmax()) for digit in range(10)]  # one test digit of each class
n = x_train.shape[1]  # pixels of a digit
print(len(x_train), "digits for training and", len(x_test), "for the test, of", n, "pixels;", config.hidden, "units")

# %% [markdown]
# A perfect copy can be written down by hand: $n$ of the hidden units pass on one pixel each, the others rest.

# %% tags=["nbval-check-output"]
copier = SparseAutoencoder(n, config.hidden).to(lab.device)
with torch.no_grad():
    for parameter in copier.parameters():
        parameter.zero_()
    copier.encoder.weight[:n] = copier.decoder.weight[:, :n] = torch.eye(n, device=lab.device)
    h_copier = copier.encode(x_test)
    print("largest error of the copy:", (copier.decode(h_copier) - x_test).abs().max().item())

# %% [markdown]
# Perfect, and nothing was learned.
# An autoencoder is of interest only for what it *cannot* do.
#
# How much of its hidden layer does a network use?
# The review's answer: a unit whose activation is close to zero means nothing, so count the others.
# The number of units that are active *for one image* is its **effective dimension**, in the literature also called $L_0$.
#
# ### Exercise 1 · The effective dimension
#
# A unit is active for an image when its activation, positive or negative, is further from zero than the threshold.
# Count for each image.


# %% tags=["exercise"]
def effective_dimension(activations, threshold=1e-3):
    """The number of active units of each image, a whole number: (B, m) -> (B,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
effective_dimension = lab.check(effective_dimension)

# %%
lab.predict("ink", "What is the mean effective dimension of the copy by hand?", number="units")

# %%
lab.record("copy by hand/active", effective_dimension(h_copier).float().mean(), unit="units")
lab.reveal("ink", lab.metrics["copy by hand/active"])

# %% [markdown]
# It is the number of pixels with ink.
# Remember it: digits are sparse already, and a network that uses fewer units than this has done more than leave out the empty background.
#
# ### Now let a network learn
#
# All networks on digits start from the same random weights and are trained alike.
# What differs is said in the call: the penalty, the activation function, the start of $b_1$, the length of the atoms.


# %%
def build(images, hidden=config.hidden, activation=torch.relu, start=None):
    """A new network; sigmoid units may start at the mean activation `start`."""
    with lab.seeded("weights"):
        model = SparseAutoencoder(images.shape[1], hidden, activation).to(lab.device)
    model.decoder.bias.data = images.mean(0)  # what is left to explain is how an image differs from the mean
    if start is not None:
        model.encoder.bias.data.fill_(math.log(start / (1 - start)))
    return model


def train(name, model, images, penalty=None, unit_norm=False, optimizer=None, after_epoch=None, **settings):
    """Train on `sparse_loss`; with `unit_norm` each atom is brought back to length 1 after every step (section 2)."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    if unit_norm:
        normalize_decoder_(model.decoder.weight)
        optimizer.register_step_post_hook(lambda *_: normalize_decoder_(model.decoder.weight))
    evaluate = None if after_epoch is None else lambda: after_epoch(model, optimizer)
    loss = lambda model, x, generator: sparse_loss(model, x, penalty)  # noqa: E731
    defaults = {"epochs": config.epochs, "batch_size": config.batch_size, "checkpoint": lab.checkpoint(name)}
    settings = {"generator": lab.generator("batches"), "label": name, **defaults, **settings}
    fit(model, loss, images, optimizer=optimizer, evaluate=evaluate, **settings)
    return model


# %%
@torch.no_grad()
def silent(model, images):
    """Which units are active for none of the images, (m,) of bool."""
    return torch.stack([paper.dead_units(model.encode(part)) for part in images.split(5000)]).all(0)


@torch.no_grad()
def measure(name, model, train=x_train, test=x_test):
    """Record what a network makes of unseen images; returns their activations (N, m)."""
    h = model.encode(test)
    lab.record(f"{name}/error", squared_error(model.decode(h), test).mean())
    lab.record(f"{name}/active", effective_dimension(h).float().mean(), unit="units")
    lab.record(f"{name}/dead", silent(model, train).sum(), unit="units, silent for every training image")
    return h


# %%
plain = train("plain", build(x_train), x_train)
h_plain = measure("plain", plain)
lab.record("average digit/error", squared_error(x_train.mean(0), x_test).mean())
lab.tell(
    "A digit uses {plain/active:.0f} units; it has {copy by hand/active:.0f} pixels with ink. Its error of "
    "{plain/error:.2f} compares with {average digit/error:.1f} for answering everything with the average digit."
)

# %% [markdown]
# ### What has it learned: digits, or to copy?
#
# Show it what it has never seen.
# Digits turned by 90 degrees and digits shifted by a seventh of the image are strokes at other places.
# Shuffled pixels have the same ink and no strokes.
# Each set is moved so that its mean is the mean digit, from which $b_2$ started: otherwise $b_2$ alone would be wrong for it.
# Then ask for the share of the set's variance that comes back: 1 minus the error, divided by the error of answering with the set's own mean.

# %%
places = ["digits only", "turned and shifted digits too, shuffled pixels not", "all of them"]
lab.predict("copies", "Of which does more than half of the variance come back?", choices=places)

# %%
square = x_test.reshape(-1, config.side, config.side)
shuffle = torch.randperm(n, generator=lab.generator("shuffled pixels"))
others = {
    "digits": x_test,
    "turned": torch.rot90(square, 1, (1, 2)).flatten(1),
    "shifted": square.roll(config.side // 7, 2).flatten(1),
    "shuffled": x_test[:, shuffle],
}
others = {name: x_train.mean(0) + x - x.mean(0) for name, x in others.items()}


@torch.no_grad()
def explained(model, x):
    """The share of the variance of images x (N, n) that a network rebuilds."""
    return 1 - squared_error(model.decode(model.encode(x)), x).mean() / squared_error(x.mean(0), x).mean()


for name, images in others.items():
    lab.record(f"plain/explained, {name}", explained(plain, images))

# %%
shares = {name: lab.metrics[f"plain/explained, {name}"] for name in others}
moved, noise = min(shares["turned"], shares["shifted"]) > 0.5, shares["shuffled"] > 0.5
lab.reveal("copies", places[2 if moved and noise else 1 if moved else 0])
with torch.no_grad():
    rows = {}
    for name, images in others.items():
        rows |= {name: images[first], f"{name}, copied": plain.decode(plain.encode(images[first]))}
lab.show(
    image_rows({name: images.clamp(0, 1) for name, images in rows.items()}, size=0.6),
    alt="Ten digits, then the same turned, shifted and with their pixels shuffled, and below each row what the network "
    "without a penalty makes of it: digits and strokes elsewhere come back nearly unchanged, shuffled pixels less so.",
)

# %%
lab.tell(
    "Of digits {plain/explained, digits:.0%} of the variance comes back, of turned ones {plain/explained, turned:.0%}, "
    "of shifted ones {plain/explained, shifted:.0%}, of shuffled pixels {plain/explained, shuffled:.0%}."
)
lab.claim("plain-copies")
lab.claim("plain-is-identity")

# %% [markdown]
# **What we saw.** The network copies turned and shifted strokes, too, although it has never seen them there.
# Of pixels without strokes it copies less: gradient descent changes the encoder only along the images that it sees, and strokes at many places do not span all images.
#
# ## 2 · A price on activations: L1
#
# (L1 comes first; KL and top-k follow in sections 3 and 5.)
#
# ![One table of activations, images by units, three times: L1 sums each row and averages the sums, KL averages each column and compares the means with ρ, top-k keeps the two largest of each row without a penalty.](figures/02_sparse_autoencoders/penalties.svg)
#
# **Intuition.** Let every unit charge for its activity.
# An image then "buys" the few units that help most, and units that serve no image well go out of business.
#
# **Mathematics.** The penalty is $\lambda$ times the mean over the batch of $\sum_{j=1}^{m} |h_{bj}|$.
# Why the absolute value and not the square?
# The slope of $|h|$ is 1 however small $h$ is, so a nearly useless activation is still pushed, all the way to zero.
# The slope of $h^2$ vanishes there.
# Note the reductions: a **sum** over units, a **mean** over images, so that $\lambda$ means the same for every width of the layer.
#
# ### Exercise 2 · The L1 penalty
#
# What $\lambda$ multiplies, averaged over the batch: one number.


# %% tags=["exercise"]
def l1_penalty(activations):
    """The mean over the batch of sum_j |h_j|: (B, m) -> ()."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
l1_penalty = lab.check(l1_penalty)

# %%
cheats = ["both stay", "only the penalty changes", "only the reconstruction changes", "both change"]
lab.predict("cheat", "Divide W1 and b1 of a ReLU network by 10, multiply W2 by 10. What changes?", choices=cheats)

# %% tags=["nbval-check-output"]
with torch.no_grad():
    h_cheat = torch.relu(copier.encoder(x_test) / 10)
    rebuilt = 10 * h_cheat @ copier.decoder.weight.T
print("penalty, relative to before:", round((l1_penalty(h_cheat) / l1_penalty(h_copier)).item(), 4))
print("largest change of the reconstruction:", round((rebuilt - x_test).abs().max().item(), 4))
lab.reveal("cheat", cheats[1])

# %% [markdown]
# A ReLU does not mind: $\mathrm{relu}(a/10) = \mathrm{relu}(a)/10$.
# So the price can be cut to nothing without a single unit going silent: weak activations, huge atoms.
# Olshausen and Field (1996) knew it, and adapted the length of each atom until its activations had a fixed variance.
# The simpler cure of today: bring the atoms back to **length 1 after every step**.
#
# ### Exercise 3 · Unit-norm atoms
#
# Scale each column of the decoder's weight to length 1, **in place** (the optimizer holds on to this very tensor), and return it.
# A column of zeros stays zero.
# Gradients must not flow through it: `with torch.no_grad():`.


# %% tags=["exercise"]
def normalize_decoder_(weight):
    """Scale each column of weight (n, m) to length 1, in place; returns the same tensor."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
normalize_decoder_ = lab.check(normalize_decoder_)

# %% [markdown]
# Now the experiment: the same network at six prices $\lambda$.
# One thing at a time: `unit norm` has atoms of length 1 and no price, `free atoms`, below, has a price and no unit norm.

# %%
ranges = [(0, 20), (20, 60), (60, 150), (150, config.hidden + 1)]
said = [f"{low} to {high - 1}" for low, high in ranges]
lab.predict("dimension", "How many units will a digit use at λ = 0.1?", choices=said)

# %%
unit = train("unit norm", build(x_train), x_train, unit_norm=True)
h_unit = measure("unit norm", unit)
l1_models, l1_codes = {}, {}
for price in config.lambdas:
    penalty = lambda h, price=price: price * l1_penalty(h)  # noqa: E731
    l1_models[price] = train(f"L1 {price}", build(x_train), x_train, penalty, unit_norm=True)
    l1_codes[price] = measure(f"L1 {price}", l1_models[price])
l1, h_l1 = l1_models[0.1], l1_codes[0.1]

# %%
active = lab.metrics["L1 0.1/active"]
lab.reveal("dimension", next(words for words, (low, high) in zip(said, ranges, strict=True) if low <= active < high))
figure, axes = panels(1, 3, width=3.7, height=3.2)
names = {"active": "active units per digit", "dead": "dead units", "error": "reconstruction error"}
for ax, (what, label) in zip(axes, names.items(), strict=True):
    ax.plot(config.lambdas, [lab.metrics[f"L1 {price}/{what}"] for price in config.lambdas], marker="o")
    ax.axhline(lab.metrics[f"unit norm/{what}"], color="gray", linewidth=1, linestyle=":", label="λ = 0")
    ax.set(xscale="log", xlabel="λ", title=label)
axes[0].legend(frameon=False)
lab.show(figure, alt="Over six prices λ: active units per digit fall, dead units and error grow; dotted: no price.")

# %%
lab.claim("l1-dimension")
lab.tell(
    "At λ = 0.1 a digit uses {L1 0.1/active:.0f} units, at an error of {L1 0.1/error:.2f}. At λ = 0.5 it is "
    "{L1 0.5/active:.1f} at {L1 0.5/error:.2f}, and {L1 0.5/dead:.0f} units are silent for every training digit."
)


# %%
@torch.no_grad()
def strongest(model, h, count=20):
    """The atoms (count, n) of the units that are most active over all images."""
    return model.decoder.weight.T[h.mean(0).topk(count).indices]


figure = atom_rows(
    {
        "no penalty": strongest(plain, h_plain),
        "unit norm": strongest(unit, h_unit),
        "L1, λ = 0.1": strongest(l1, h_l1),
        "L1, λ = 0.3": strongest(l1_models[0.3], l1_codes[0.3]),
    }
)
lab.show(
    figure,
    alt="Four rows of twenty atoms. Without a price, with unit norm or not: noise with traces of strokes. With L1: pieces of "
    "strokes and whole digits on a calm ground, and a few of noise at the larger λ.",
    headline="atoms-of-digits",
)

# %%
lab.at_full("atoms-of-digits")

# %% [markdown]
# Without a price the atoms mean hardly anything to the eye.
# With so many random weights, small changes to each are enough for a good copy, so the noise they started from stays.
# With a price, a unit must be worth it to some images, and its atom begins to look like what is in them.
# The review says that the loss *forces feature extraction*.
# A feature should say what an image is; so look at the five nearest neighbors of a test digit in the code, and let them vote on its class.
# The pixels themselves are the rival: "better than a copy" is not yet "better than nothing".


# %%
@torch.no_grad()
def code_accuracy(name, encode, some=10_000):
    """Record the share of test digits whose five nearest training digits vote for the right class."""
    codes = encode(x_train[:some]).cpu(), y_train[:some], encode(x_test[:2000]).cpu(), y_test[:2000]
    lab.record(f"{name}/neighbors", knn_accuracy(*codes, neighbors=5), unit="accuracy")


for name, encode in {"pixels": lambda x: x, "unit norm": unit.encode, "L1 0.1": l1.encode}.items():
    code_accuracy(name, encode)
lab.tell(
    "Right in {L1 0.1/neighbors:.1%} of the cases by the L1 code, in {unit norm/neighbors:.1%} by the code without a price, "
    "in {pixels/neighbors:.1%} by pixels."
)
lab.claim("l1-features")

# %% [markdown]
# ### The loophole, found by a network
#
# The same price, but the atoms are free.

# %%
loose = train("L1 0.1, free atoms", build(x_train), x_train, lambda h: 0.1 * l1_penalty(h))
h_loose = measure("L1 0.1, free atoms", loose)
lab.record_all({"L1 0.1/penalty": l1_penalty(h_l1), "L1 0.1, free atoms/penalty": l1_penalty(h_loose)})
lab.record("L1 0.1, free atoms/length of an atom", loose.decoder.weight.detach().norm(dim=0).mean())
lab.claim("l1-cheated")
lab.tell(
    "Free atoms: length {L1 0.1, free atoms/length of an atom:.2f} on average, penalty "
    "{L1 0.1, free atoms/penalty:.1f} instead of {L1 0.1/penalty:.1f}, {L1 0.1, free atoms/active:.0f} active units "
    "instead of {L1 0.1/active:.0f}. Whoever watches the penalty alone would prefer it. Its error of "
    "{L1 0.1, free atoms/error:.2f} instead of {L1 0.1/error:.2f} is no merit: long atoms make activity cheap, as a smaller λ does."
)

# %% [markdown]
# ## 3 · A reference for the activity: KL
#
# **Intuition.** Instead of "less is cheaper", say how active a unit should be.
# A sigmoid unit, $h = 1/(1+e^{-a})$, lies between 0 and 1, so it may be seen as a coin that shows 1 in the share $\rho$ of all images, 5 % say.
# Its actual share is its mean activation $\hat\rho_j$, and the penalty says how far apart the two coins are.
#
# **Mathematics.** The Kullback-Leibler divergence between two coins has a term for each side:
#
# $$ \mathrm{KL}(\rho \,\Vert\, \hat\rho_j) = \rho \log \frac{\rho}{\hat\rho_j} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j}, \qquad \hat\rho_j = \frac1B \sum_{b=1}^{B} h_{bj}, $$
#
# and the penalty is $\beta \sum_j \mathrm{KL}(\rho \,\Vert\, \hat\rho_j)$ (CS294A notes; in nats).
# It is zero where $\hat\rho_j = \rho$ and positive elsewhere.
# Its slope $-\rho/\hat\rho_j + (1-\rho)/(1-\hat\rho_j)$ reaches all images of the batch equally, since $\hat\rho_j$ is their mean: **first the mean, then the divergence**.
#
# ### Exercise 4 · The KL penalty
#
# From activations `(B, m)`, or from their means `(m,)`: the sum over the units.
# Keep $\hat\rho$ within $[10^{-6}, 1 - 10^{-6}]$, so that the cost of a unit that is always off, or always on, is finite: 0.5 or 13 nats at $\rho = 0.05$.


# %% tags=["exercise"]
def kl_sparsity(activations_or_mean, rho):
    """sum_j KL(rho || rho_hat_j) in nats, rho_hat the mean over the batch: (B, m) or (m,) -> ()."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
kl_sparsity = lab.check(kl_sparsity)

# %% tags=["nbval-check-output"]
for rho_hat in (0.01, 0.05, 0.1, 0.4, 0.5):
    value = kl_sparsity(torch.tensor([rho_hat], dtype=torch.float64), 0.05)
    print(f"KL(0.05 || {rho_hat:.2f}) = {value.abs():.6f}")

# %% tags=["nbval-check-output"]
h = torch.tensor([[0.9, 0.1], [0.1, 0.1], [0.2, 0.1]], requires_grad=True)  # three images, two units
kl_sparsity(h, 0.05).backward()
print("gradient, a row for each image:", [[round(number, 3) for number in row] for row in h.grad.tolist()])

# %% [markdown]
# A unit's activation gets the same push for each image of the batch, the one that it answers to most and the one that it hardly sees.
# Only the reconstruction tells them apart.

# %%
counts = ["about 5 % of them", "about half", "nearly all"]
lab.predict("sigmoid", "At ρ = 0.05, how many units will be further than 0.001 from zero?", choices=counts)

# %%
kl_models, kl_codes = {}, {}
for rho in config.rhos:
    penalty = lambda h, rho=rho: config.beta * kl_sparsity(h, rho)  # noqa: E731
    start = build(x_train, activation=torch.sigmoid, start=rho)
    kl_models[rho] = train(f"KL {rho}", start, x_train, penalty)
    h = kl_codes[rho] = measure(f"KL {rho}", kl_models[rho])
    lab.record(f"KL {rho}/mean activation", h.mean())
    lab.record(f"KL {rho}/units off by", (h.mean(0) / rho - 1).abs().mean(), unit="share of ρ")
    lab.record(f"KL {rho}/share above 0.1", (h > 0.1).float().mean(), unit="share of units")
    lab.record(f"KL {rho}/share above 0.001", (h > 0.001).float().mean(), unit="share of units")

# %%
share = lab.metrics["KL 0.05/share above 0.001"]
lab.reveal("sigmoid", counts[0 if share < 0.25 else 1 if share < 0.75 else 2])
figure, (left, right) = panels(1, 2, width=5, height=3.2)
for rho, h in kl_codes.items():
    share, edges = np.histogram(h[:1000].cpu().numpy(), bins=np.linspace(0, 1, 41))
    left.plot(edges[:-1] + 0.0125, share / h[:1000].numel(), label=f"ρ = {rho}")
left.set(yscale="log", xlabel="activation", title="share of all activations")
thresholds = np.logspace(-4, 0, 17)
for label, h in {"L1, λ = 0.1, ReLU": h_l1, "KL, ρ = 0.05, sigmoid": kl_codes[0.05]}.items():
    right.plot(thresholds, [effective_dimension(h[:500], t).float().mean().item() for t in thresholds], label=label)
right.set(xscale="log", xlabel="threshold", title="active units per digit")
left.legend(frameon=False, fontsize=10), right.legend(frameon=False, fontsize=10)
lab.show(
    figure,
    alt="Left: most activations of a KL network lie near ρ, with a tail above it and no gap to zero. Right: active units "
    "against the threshold; the L1 curve is flat up to about 0.01, the KL curve falls from all units to few without a step.",
)
lab.claim("kl-dimension")

# %% [markdown]
# **What we saw.** L1 makes zeros, KL makes means. (How well it holds them, the next section shows, from other starts as well.)
# A sigmoid is never zero, so for the KL network "close to zero" needs a number, and the number decides the answer.
#
# ### Play with it
#
# $\hat x = b_2 + \sum_j h_j w_j$, literally.
# From the left: a digit, its reconstruction, $b_2$, and the eight largest parts of the sum.
# Mid-grey is zero, darker adds ink, lighter removes it; each row has its own scale.


# %%
def l1_view(λ, digit):
    return paper.explained_image(l1_models[λ], x_test[first[digit]])


def kl_view(ρ, digit):
    return paper.explained_image(kl_models[ρ], x_test[first[digit]])


# %% tags=["widget"]
image_choices(l1_view, {"λ": config.lambdas, "digit": range(10)}, width=640, scale=5)

# %% tags=["widget"]
image_choices(kl_view, {"ρ": config.rhos, "digit": range(10)}, width=640, scale=5)

# %%
views = {f"λ = {p}": l1_view(p, 3) for p in config.lambdas} | {f"ρ = {rho}": kl_view(rho, 3) for rho in config.rhos}
figure, ax = panels(width=8, height=0.62 * len(views))
stacked = tiled([np.asarray(view)[None] for view in views.values()], gap=2)
ax.imshow(stacked, vmin=0, vmax=1, cmap="gray_r", interpolation="nearest")
ax.set_yticks([(config.side + 2) * i + config.side / 2 for i in range(len(views))], list(views))
middle = [(config.side + 1) * (i + 0.5) for i in (0, 1, 2, 6.5)]
ax.set_xticks(middle, ["digit", "rebuilt", "b₂", "the eight largest parts"])
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
lab.show(
    figure,
    alt="A three, taken apart by each network, one row for each λ and each ρ: the digit, its reconstruction, the bias b2 and "
    "the eight largest parts. With a larger λ fewer parts are left, each more like a digit; with a larger ρ they turn to noise.",
)

# %% [markdown]
# ## 4 · The misprint
#
# The review prints the penalty **without the logarithm in the second term**:
#
# $$ \rho \log \frac{\rho}{\hat\rho} + (1 - \rho) \, \frac{1 - \rho}{1 - \hat\rho}. $$
#
# It is an easy slip, and whoever copies the formula gets code that runs.
# Is it still a divergence?
# Would you notice in training?

# %%
values = ["0", "0.05", "0.95", "1.9"]
lab.predict("at rho", "What is its value at a mean activation of ρ = 0.05, where a divergence is zero?", choices=values)


# %% tags=["nbval-check-output"]
def derivatives(formula, at, rho=0.05):
    """Value, first and second derivative with respect to rho_hat."""
    rho_hat = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    value = formula(rho_hat, rho)
    (slope,) = torch.autograd.grad(value, rho_hat, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), rho_hat)
    return [round(number.item(), 4) + 0.0 for number in (value, slope, curvature)]  # + 0.0: no minus before a zero


formulas = {"KL": kl_sparsity, "printed": paper.kl_sparsity_as_printed}
for at in (0.01, 0.05, 0.2, 0.5):
    for name, formula in formulas.items():
        print(f"rho_hat = {at}: {name:8}", "value {}, slope {}, curvature {}".format(*derivatives(formula, at)))

# %%
lab.record("misprint/value at rho", derivatives(formulas["printed"], 0.05)[0], unit="nats")
lab.reveal("at rho", f"{lab.metrics['misprint/value at rho']:.2g}")
lab.claim("misprint-divergence")

# %% [markdown]
# The value is wrong everywhere, by $1 - \rho$ at the minimum; yet the **minimum is at the right place**.
# The slope $-\rho/\hat\rho + (1-\rho)^2/(1-\hat\rho)^2$ vanishes at $\hat\rho = \rho$ as well.
# Only the curvature there is $1/\rho + 2/(1-\rho)$ instead of $1/\rho + 1/(1-\rho)$, 5 % more at $\rho = 0.05$.
# Below $\rho$ the two slopes are nearly the same; far above, the printed one is steeper: 3.5 instead of 1.8 at $\hat\rho = 0.5$.

# %%
figure, (left, right) = panels(1, 2, width=4.4)
at = np.linspace(0.005, 0.6, 120)
for name, formula in formulas.items():
    value, slope, _ = zip(*(derivatives(formula, r) for r in at), strict=True)
    left.plot(at, value, label=name)
    right.plot(at, slope, label=name)
for ax, title in ((left, "penalty of one unit (nats)"), (right, "its slope")):
    ax.axvline(0.05, color="gray", linewidth=1, linestyle=":")
    ax.set(xlabel="mean activation", title=title)
right.axhline(0, color="gray", linewidth=1, linestyle=":")
right.set_ylim(-2, 6)
left.legend(frameon=False)
lab.show(figure, alt="The KL is 0 at mean activation 0.05, the printed formula 0.95; both slopes are 0 there.")

# %% [markdown]
# ### Does it give another network?
#
# That depends on where the units come from, so try it: three $\rho$, three starts, two optimizers, both formulas, 36 networks.
# A layer of sigmoid units whose biases are zero starts at mean activations near 0.5, so "zero bias" and "a start at 0.5" are one start; the others set $b_1$ so that units begin at $\rho$, or far below, at $\rho/5$.
# (The 36 networks learn from digits of 14 x 14 pixels at every profile. Each optimizer has one step size.)

# %%
faster = ["the printed formula", "the KL", "neither: within a twentieth"]
lab.predict("steeper", "From zero bias, under Adam: which is nearer to ρ = 0.01 after 100 steps?", choices=faster)

# %%
starts = {"zero bias": lambda rho: 0.5, "ρ": lambda rho: rho, "ρ/5": lambda rho: rho / 5}


optimizers = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.02),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=1e-3, fused=True),  # betas = (0.9, 0.999)
    "forgetful Adam": lambda weights: torch.optim.Adam(weights, lr=1e-3, betas=(0.9, 0.9), fused=True),
}


def on_the_way(optimizer, rho, start, formula, epochs=config.grid_epochs):
    """Train one network; returns the mean activation of each minibatch, and records that of unseen digits."""
    means = []

    def penalty(h):
        means.append(h.mean().item())
        return config.beta * formulas[formula](h, rho)

    model = build(small, 256, torch.sigmoid, starts[start](rho))
    settings = {"epochs": epochs, "batch_size": 64, "checkpoint": None}
    train(f"{optimizer} {rho}", model, small, penalty, optimizer=optimizers[optimizer](model.parameters()), **settings)
    longer = ", three times as long" if epochs > config.grid_epochs else ""
    with torch.no_grad():
        lab.record(f"{optimizer} {rho} from {start}{longer}/{formula}", model.encode(small_test).mean())
    return means


# %%
small, small_test = pixels(mnist.train, 14)[:20_000], pixels(mnist.test, 14)
grid = [(optimizer, rho, start) for optimizer in ("SGD", "Adam") for rho in (0.01, 0.05, 0.3) for start in starts]
ways = {(*how, formula): on_the_way(*how, formula) for how in grid for formula in formulas}
for formula in formulas:
    on_the_way("Adam", 0.01, "zero bias", formula, 3 * config.grid_epochs)
    ways["forgetful Adam", 0.01, "zero bias", formula] = on_the_way("forgetful Adam", 0.01, "zero bias", formula)

# %%
figure, axes = panels(1, 3, width=4, height=3.6)
for ax, optimizer in zip(axes, ("SGD", "Adam"), strict=False):
    for formula in formulas:
        ax.plot(ways[optimizer, 0.01, "zero bias", formula], label=formula)
    ax.set(xlabel="step", yscale="log", title=f"{optimizer}: mean activation", ylim=(0.008, 0.6))
    ax.axhline(0.01, color="gray", linewidth=1, linestyle=":")
    ax.legend(frameon=False)
for optimizer, marker, color in (("SGD", "s", PALETTE[1]), ("Adam", "o", PALETTE[0])):
    names = [f"{optimizer} {rho} from {start}" for _, rho, start in grid[:9]]
    change = [100 * (lab.metrics[f"{name}/printed"] / lab.metrics[f"{name}/KL"] - 1) for name in names]
    axes[2].plot(change, range(9), marker, color=color, label=optimizer, markersize=8, alpha=0.8)
axes[2].set_yticks(range(9), [f"{rho} from {start}" for _, rho, start in grid[:9]])
axes[2].invert_yaxis()
axes[2].axvspan(-10, 10, color="gray", alpha=0.2, linewidth=0)
axes[2].set(title="printed against KL, after the last step (%)")
axes[2].legend(frameon=False, fontsize=10)
lab.show(
    figure,
    alt="Mean activation over training steps from zero bias at rho = 0.01: under SGD the printed formula falls faster, under "
    "Adam slower. Then its difference from the KL after the last step: within ten percent from a start at rho or below.",
    headline="misprint-grid",
)

# %%
lab.at_full("misprint-grid")
for optimizer in ("SGD", "Adam", "forgetful Adam"):
    for formula in formulas:
        around = np.mean(ways[optimizer, 0.01, "zero bias", formula][90:110])  # of twenty minibatches
        lab.record(f"{optimizer} 0.01 from zero bias/{formula}, after 100 steps", around)
ratio = lab.metrics["Adam 0.01 from zero bias/printed, after 100 steps"]
ratio /= lab.metrics["Adam 0.01 from zero bias/KL, after 100 steps"]
lab.reveal("steeper", faster[0 if ratio < 0.95 else 1 if ratio > 1.05 else 2])
lab.claim("kl-mean")
lab.claim("misprint-network")
lab.claim("misprint-steeper")

# %% [markdown]
# **What we saw.** From $\rho$ or below it makes no difference: SGD and Adam follow the slope, not the value, and there the slopes agree.
# From zero bias, with a small $\rho$, the two arrive at different times, and not in the order that the slopes suggest.
# SGD's step is the slope times a constant: steeper is faster.
# Adam divides each step by the root of a running mean of *squared* slopes, with a memory of about a thousand steps ($\beta_2 = 0.999$).
# Both formulas begin with steps of the same size; then the printed slope falls more quickly on the way down, while Adam still divides by the large slopes of the start, so its steps shrink sooner.
# **Under Adam steeper is not faster.**
# (If the memory is the reason, the difference must vanish for an Adam with $\beta_2 = 0.9$, whose memory is ten steps: the third part of the claim.)
#
# A rule to take along: check a divergence where it must be zero.
#
# ## 5 · Sparsity without a penalty: top-k
#
# **Intuition.** If what you want is $k$ active units, say so: keep the $k$ largest activations of each image and set the rest to zero (Makhzani and Frey, 2013; ours applies a ReLU first).
# The dial now says what it means, and nothing charges the activations that survive.
#
# ### Exercise 5 · The k largest
#
# Each image keeps its own $k$ largest activations, in their places; all others become 0.
# Return a new tensor, through which gradients flow to the activations that were kept.
# `activations.topk(k, dim=-1)` returns the largest values and their places.


# %% tags=["exercise"]
def top_k(activations, k):
    """The k largest activations of each image, all others set to 0: (B, m) -> (B, m)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
top_k = lab.check(top_k)

# %%
contest = ["L1", "KL, cut", "top-k"]
lab.predict("frontier", "With 16 active units for a digit, which rebuilds it best?", choices=contest)


# %%
def keep(k):
    return lambda a: top_k(torch.relu(a), k)


k_models, k_codes = {}, {}
for k in config.ks:
    k_models[k] = train(f"top-k {k}", build(x_train, activation=keep(k)), x_train, unit_norm=True)
    k_codes[k] = measure(f"top-k {k}", k_models[k])

# %% [markdown]
# ### The frontier: error at equal sparsity
#
# Two sparse codes can be compared only where they are equally sparse.
# So draw the error against the number of active units, one point for each $\lambda$ and each $k$: the **frontier**, the figure in which such codes are usually compared.
# A KL network has no inactive units, so cut its code: for each digit the $k$ units that contribute most keep their activation, and all others rest at their mean, which $b_2$ could hold for them.
# (It was not trained for that.)
# `L1, refitted` keeps the units that L1 chose and solves for their best activations, so that nothing is shrunk.


# %%
@torch.no_grad()
def cut_error(model, k):
    """The error of a network on test digits when all but the k units that contribute most rest at their mean."""
    rest = model.encode(x_train[:10_000]).mean(0)  # (m,)
    h = model.encode(x_test)
    contribution = (h - rest).abs() * model.decoder.weight.norm(dim=0)
    return squared_error(model.decode(torch.where(top_k(contribution, k) > 0, h, rest)), x_test).mean().item()


@torch.no_grad()
def refitted_error(model, h, some=200):
    """The error when each of some digits gets the best activations for the units that are active in its code h."""
    errors = []
    for x, code in zip(x_test[:some] - model.decoder.bias, h[:some], strict=True):
        x, atoms = x.cpu(), model.decoder.weight[:, code > 1e-3].cpu()  # (n,) and (n, active)
        fitted = torch.linalg.lstsq(atoms, x[:, None], driver="gelsd").solution  # (active, 1)
        errors.append(squared_error(atoms @ fitted[:, 0], x))
    return torch.stack(errors).mean().item()


# %%
active = [lab.metrics[f"L1 {price}/active"] for price in config.lambdas]
frontiers = {
    "L1": list(zip(active, [lab.metrics[f"L1 {price}/error"] for price in config.lambdas], strict=True)),
    "L1, refitted": [
        (a, refitted_error(l1_models[p], l1_codes[p])) for a, p in zip(active, config.lambdas, strict=True)
    ],
    "KL, cut": [(k, min(cut_error(model, k) for model in kl_models.values())) for k in config.ks],
    "top-k": [(k, lab.metrics[f"top-k {k}/error"]) for k in config.ks],
}
for name, points in frontiers.items():
    active, error = np.array(sorted(points)).T
    if not active[0] <= 16 <= active[-1]:
        raise ValueError(f"the frontier of {name} does not reach 16 active units: {active}")
    lab.record(f"{name}/error at 16 active units", np.interp(math.log(16), np.log(active), error))

# %%
errors = {name: lab.metrics[f"{name}/error at 16 active units"] for name in contest}
lab.reveal("frontier", min(errors, key=errors.get))
figure, (left, right) = panels(1, 2, width=4.8, height=3.6)
for (name, points), marker in zip(frontiers.items(), "oxs^", strict=True):
    left.plot(*zip(*points, strict=True), marker=marker, label=name)
left.set(xscale="log", xlabel="active units per digit", ylabel="reconstruction error", title="the frontier")
left.axhline(lab.metrics["average digit/error"], color="gray", linewidth=1, linestyle=":", label="average digit")
for name, dials, marker in (("L1", config.lambdas, "o"), ("top-k", config.ks, "^")):
    dead = [lab.metrics[f"{name} {dial}/dead"] for dial in dials]
    right.plot([lab.metrics[f"{name} {dial}/active"] for dial in dials], dead, marker=marker, label=name)
right.set(xscale="log", xlabel="active units per digit", title=f"dead units of {config.hidden}")
left.legend(frameon=False), right.legend(frameon=False)
lab.show(
    figure,
    alt="Left: reconstruction error against active units per digit for L1, L1 refitted, KL and top-k; all fall, KL lies "
    "highest. Right: dead units against active units for L1 and top-k; with few active units more than half are dead.",
    headline="frontier",
)

# %%
lab.at_full("frontier")
lab.claim("topk-frontier")

# %% [markdown]
# **What we saw.** A price that silences units also shrinks those that speak, and the reconstruction pays for it; how much, the refitted curve shows.
# But look at the right panel: a unit that is never chosen gets no gradient, and stays dead.
# (Of the KL's units none is dead: silence costs.)
#
# ### Reviving the dead
#
# Bricken et al. (2023) *resample* dead units: now and then each of them is pointed at an input that the network rebuilds badly.
# They draw these inputs at random, the badly rebuilt ones more often; we take the worst residuals, after every epoch but the last two.
# A revived unit starts quietly, its encoder at a fifth of the living units' mean length, and what Adam remembers of it is cleared.
#
# ### Exercise 6 · New atoms
#
# From the residuals $x_b - \hat x_b$ of some images, return the `count` longest, longest first, each scaled to length 1.


# %% tags=["exercise"]
def replacement_atoms(residuals, count):
    """The `count` longest residuals, longest first, each scaled to length 1: (B, n) -> (count, n)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
replacement_atoms = lab.check(replacement_atoms)


# %%
def reviver(images, times, choose=None):
    """What to do after each of the first `times` epochs: point dead units at what is rebuilt worst."""
    left, choose = times, choose or replacement_atoms

    def revive(model, optimizer):
        nonlocal left
        if left == 0:
            return {}
        left -= 1
        dead, some = silent(model, images), images[:5000]
        atoms = choose(some - model(some)[0], int(dead.sum()))  # (dead, n)
        model.decoder.weight[:, dead] = atoms.T
        model.encoder.weight[dead] = 0.2 * atoms * model.encoder.weight[~dead].norm(dim=1).mean()
        model.encoder.bias[dead] = 0
        for moment in ("exp_avg", "exp_avg_sq"):
            optimizer.state[model.encoder.weight][moment][dead] = 0
            optimizer.state[model.encoder.bias][moment][dead] = 0
            optimizer.state[model.decoder.weight][moment][:, dead] = 0
        return {"dead": int(dead.sum())}

    return revive


# %%
def anywhere(residuals, count):
    """The control: random directions (count, n) of length 1."""
    drawn = torch.randn(count, residuals.shape[1], generator=lab.generator("anywhere"))
    return F.normalize(drawn, dim=1).to(residuals.device)


for name, choose in {"revived": None, "revived anywhere": anywhere}.items():
    settings = {"unit_norm": True, "after_epoch": reviver(x_train, config.epochs - 2, choose)}
    model = train(f"top-k 16, {name}", build(x_train, activation=keep(16)), x_train, **settings)
    measure(f"top-k 16, {name}", model)
lab.tell(
    "Of {top-k 16/dead:.0f} dead units {top-k 16, revived/dead:.0f} are left, and the error goes from "
    "{top-k 16/error:.2f} to {top-k 16, revived/error:.2f}. Pointed anywhere: {top-k 16, revived anywhere/dead:.0f} and "
    "{top-k 16, revived anywhere/error:.2f}."
)
lab.claim("revived")

# %% [markdown]
# ### Narrow or sparse: the same thing?
#
# The review says that a narrow hidden layer and a sparse one *constrain the same thing*.
# Give both 16 numbers for a digit.
# For the narrow layer take the best there is: the first 16 principal components.
# As long as the decoder is $\hat x = W_2 h + b_2$, no encoder into 16 units, linear or not, has a smaller error on the training digits.

# %%
for numbers in (16, 32):
    pca = PCA(numbers, random_state=0).fit(x_train.cpu().numpy())
    narrow = torch.from_numpy(pca.inverse_transform(pca.transform(x_test.cpu().numpy()))).float().to(lab.device)
    lab.record(f"narrow {numbers}/error", squared_error(narrow, x_test).mean())
with torch.no_grad():
    rows = {"digit": x_test, "16 of many": k_models[16](x_test)[0], "32 in all": narrow}
    rows |= {"L1, λ = 0.2": l1_models[0.2](x_test)[0]}
figure = image_rows({name: images[first].clamp(0, 1) for name, images in rows.items()})
lab.show(
    figure,
    alt="Ten digits and three rows of reconstructions: from the 16 largest of many units, from 32 principal components, which "
    "leave grey shadows around the strokes, and from the L1 network at λ = 0.2, whose strokes are paler.",
)
lab.claim("narrow-and-sparse")

# %% [markdown]
# **What we saw.** A narrow layer has the same 16 directions for every digit, a sparse one chooses 16 of many anew for each.
# *Which* units are active is information, too; count 16 more numbers for it, and the narrow layer gets 32.
#
# ## 6 · Does it find what is there?
#
# On digits nobody knows the true features, so a feature can only look right.
# Make data whose features are known: $x = \sum_j c_j f_j$ with directions $f_j$ of length 1, twice as many as there are dimensions.
# Each is present in a few of the examples, with a strength between 0.5 and 1.5.
# More features than dimensions is called **superposition** (Elhage et al., 2022, ask whether networks store features so; Sharkey et al., 2022, take such data apart as we do here).
# Now recovery can be measured: for each true feature, the largest cosine with any atom.
# Above 0.9 we call it **recovered**.

# %%
features, inputs, present, examples = config.features
made = paper.sparse_features(examples, features, inputs, present, lab.generator("features"))
x_made, rate = made.x.to(lab.device), present / features
print(features, "features in", inputs, "dimensions,", present, "of them present in an example on average")
found = ["L1 alone", "L1 and top-k", "L1, top-k and KL", "these and the network without a penalty", "others"]
lab.predict("recovered", "With twice as many units: which networks recover more than half?", choices=found)


# %%
def learn_features(name, ratio, penalty=None, activation=torch.relu, start=None, revive=False, unit_norm=True):
    """Train `ratio` units for each feature; returns the network and the best cosine of each true feature."""
    model = build(x_made, int(ratio * features), activation, start)
    settings = {"epochs": 5, "batch_size": 128, "after_epoch": reviver(x_made, 4) if revive else None}
    settings["optimizer"] = torch.optim.Adam(model.parameters(), lr=4e-3, fused=True)
    train(f"features, {name} {ratio:g}x", model, x_made, penalty, unit_norm, **settings)
    living = F.normalize(model.decoder.weight.detach().T[~silent(model, x_made)], dim=1)  # (living, inputs)
    cosines = paper.recovery(made.directions.to(lab.device), living).cpu()
    of_atoms = paper.recovery(living, made.directions.to(lab.device))
    lab.record(f"features, {name} {ratio:g}x/recovered", (cosines > 0.9).float().mean(), unit="share of features")
    lab.record(f"features, {name} {ratio:g}x/true", (of_atoms > 0.9).float().mean(), unit="share of living atoms")
    with torch.no_grad():
        lab.record(f"features, {name} {ratio:g}x/error", squared_error(model(x_made)[0], x_made).mean())
    return model, cosines


# %%
sigmoid = {"activation": torch.sigmoid, "unit_norm": False}
kinds = {
    "L1": {"penalty": lambda h: 0.2 * l1_penalty(h)},
    "top-k": {"activation": keep(present)},
    "top-k, revived": {"activation": keep(present), "revive": True},
    "KL": {"penalty": lambda h: 0.1 * kl_sparsity(h, rate), "start": rate} | sigmoid,
    "no penalty": {},
}
ratios = (0.5, 1, 2)
learned = {(name, ratio): learn_features(name, ratio, **how) for name, how in kinds.items() for ratio in ratios}
strict = {"penalty": lambda h: kl_sparsity(h, 0.01), "start": 0.01} | sigmoid
learned["KL, ρ = 0.01", 2] = learn_features("KL, ρ = 0.01", 2, **strict)

# %%
half = [lab.metrics[f"features, {name} 2x/recovered"] > 0.5 for name in ("L1", "top-k", "KL", "no penalty")]
nested = [[True] * i + [False] * (4 - i) for i in range(1, 5)]
lab.reveal("recovered", found[nested.index(half) if half in nested else 4])
figure, (left, right) = panels(1, 2, width=4.8, height=3.6)
for name, marker in zip(kinds, "o^vsx", strict=True):
    shares = [lab.metrics[f"features, {name} {ratio:g}x/recovered"] for ratio in ratios]
    left.plot(ratios, shares, marker=marker, label=name)
    right.plot(np.linspace(0, 100, features), learned[name, 2][1].sort().values, label=name)
left.set(xlabel="units for each feature", xticks=ratios, ylabel="share of features recovered", ylim=(-0.04, 1.04))
right.axhline(0.9, color="gray", linewidth=1, linestyle=":")
right.set(xlabel="features, sorted (%)", ylabel="best cosine", title="two units for each")
left.legend(frameon=False, fontsize=9)
lab.show(
    figure,
    alt="Left: share of the true features recovered by half as many, as many and twice as many units. L1 and top-k grow with the width, L1 to nearly "
    "all; no penalty and KL stay at none. Right: the best cosine of each feature, sorted, with two units for each.",
    headline="recovery",
)

# %%
lab.at_full("recovery")
lab.tell(
    "With twice as many units as features: the network without a penalty has the error "
    "{features, no penalty 2x/error:.3f} and recovers {features, no penalty 2x/recovered:.0%}; L1 has "
    "{features, L1 2x/error:.3f} and recovers {features, L1 2x/recovered:.0%}, and {features, L1 2x/true:.0%} of its "
    "living atoms are features."
)
lab.claim("features-recovered")
lab.claim("features-revived")
lab.claim("features-kl")

# %% [markdown]
# **What we saw.** A good copy is not an explanation.
# A sparse code finds the features, by a price or by a count, and the more units it has, the more it finds.
# (Top-k allows the same number of units for every example, although the number of features that are present varies.)
# The KL penalty asks for small means and not for zeros, and at neither of two settings does it find them.
#
# ## 7 · Photographs: edges
#
# ### The experiment of the lecture notes
#
# The notes end with an exercise on small patches of photographs: 8 x 8 pixels, 25 sigmoid units, $\rho = 0.01$, $\beta = 3$, weight decay $\tfrac{10^{-4}}{2} (\lVert W_1 \rVert^2 + \lVert W_2 \rVert^2)$, and L-BFGS on 10,000 patches at once.
# So the best-known "sparse autoencoder" is *not* overcomplete.
# It is small enough to be run at its size, with your `kl_sparsity`. The photographs are others, not whitened, and how they are scaled is our choice.

# %%
photos = labkit.data.load("photos", profile=profile)
print(photos.source)
cut = photos.patches(8, 10_000, lab.generator("small patches"))  # (10000, 64)
x_notes = image_patches.to_unit_interval(
    cut - cut.mean(1, keepdim=True)
)  # within [0.1, 0.9], as the output is a sigmoid's


def as_in_the_notes(formula):
    with lab.seeded("notes"):
        model = SparseAutoencoder(64, 25, torch.sigmoid, output=torch.sigmoid)
    lbfgs = torch.optim.LBFGS(model.parameters(), max_iter=400, history_size=100, line_search_fn="strong_wolfe")

    calls = 0

    def cost():
        nonlocal calls
        calls += 1
        lbfgs.zero_grad()
        value = paper.objective(model, x_notes, beta=3, rho=0.01, weight_decay=1e-4, divergence=formula)
        value.backward()
        return value

    lbfgs.step(cost)
    return model, calls


# %%
misprints = {"printed less 1 - ρ": lambda h, rho: paper.kl_sparsity_as_printed(h, rho) - (1 - rho) * h.shape[1]}
notes = {}
with torch.no_grad():
    lab.record("notes/average patch, error", squared_error(x_notes.mean(0), x_notes).mean())
for name, formula in {**formulas, **misprints}.items():
    notes[name], calls = as_in_the_notes(formula)
    with torch.no_grad():
        lab.record(f"notes/{name}, error", squared_error(notes[name](x_notes)[0], x_notes).mean())
    lab.record(f"notes/{name}, evaluations", calls, unit="evaluations of the cost")
figure = atom_rows({name: model.encoder.weight.detach() for name, model in notes.items()}, columns=25)
lab.show(
    figure,
    alt="The input weights of 25 units, 8 by 8 pixels each, for three penalties. The KL and the printed formula less its "
    "constant give bars and edges in many directions; the printed formula gives such units, too, or noise.",
)

# %%
lab.tell(
    "Error {notes/KL, error:.3f} after {notes/KL, evaluations:.0f} evaluations with the KL, {notes/printed, error:.3f} "
    "after {notes/printed, evaluations:.0f} as printed; less its constant, {notes/printed less 1 - ρ, error:.3f} after "
    "{notes/printed less 1 - ρ, evaluations:.0f}. The average patch as an answer to all: {notes/average patch, error:.3f}."
)
lab.claim("misprint-notes")

# %% [markdown]
# Here the misprint bites, and where nobody would look.
# Where a training stops early, its error is still that of the average patch: the penalty has done its work, the reconstruction has not begun, and what a step gains is small.
# L-BFGS, unlike SGD and Adam, also looks at the **value**: its line search, and its rule for stopping, ask whether the cost has fallen.
# As printed, 25 units add $3 \cdot 25 \cdot 0.99 = 74$ to a cost below one, and float32 cannot tell 74.25 from 74.25 less a millionth.
# Subtract the constant, which changes no slope, and the training goes on.
# So the value of a loss is not idle after all: whoever compares values needs them right.
#
# ### Are they edges?
#
# The eye says yes too easily, so measure.
# A **Gabor function**, a plane wave under a Gaussian window, is the textbook description of an edge detector.
# `image_patches.gabor_fit` finds, for each atom, the Gabor out of a grid that explains it best, and the share $R^2$ of the atom's energy that it explains.
# We call an atom **edge-like** when $R^2 > \tfrac12$.
# A measure must fail where it should, and rivals must not pass as well: so we also give it noise, principal components and the patches themselves. (Many a patch of a photograph *is* an edge.)


# %%
def edge_like(name, atoms, side):
    """Fit Gabors to atoms (M, side²), and record the share that is edge-like."""
    found = image_patches.gabor_fit(atoms.detach().cpu(), side)
    lab.record(f"{name}/edge-like", (found.explained > 0.5).float().mean(), unit="share of atoms")
    return found


components = torch.linalg.svd(cut[:5000] - cut[:5000].mean(1, keepdim=True), full_matrices=False)[2][:25]
edge_like("notes, KL", notes["KL"].encoder.weight, 8)
edge_like("notes, noise", torch.randn(500, 64, generator=lab.generator("noise")), 8)
edge_like("notes, components", components, 8)
edge_like("notes, patches", cut[torch.randperm(len(cut), generator=lab.generator("some"))[:500]], 8)
lab.claim("notes-edges")

# %% [markdown]
# ### Overcomplete, with L1
#
# Olshausen and Field asked for a code of patches in which few of *many* units are active.
# Their photographs were **whitened** first: neighboring pixels are nearly equal, and a code would spend itself on that.
# Whitening turns and scales the pixels so that they are nearly uncorrelated, with more equal variances; *ZCA* does it with the least change to the picture (an exercise in Further).
# The encoder starts as the transpose of the decoder.

# %%
cut = photos.patches(config.patch_side, config.patches + 2000, lab.generator("patches"))  # (N, side²)
cut = cut[torch.randperm(len(cut), generator=lab.generator("order"))]
cut = cut - cut.mean(1, keepdim=True)  # how bright a patch is, is not its structure
white = image_patches.zca_whitening(cut[: config.patches], epsilon=0.3)(cut)
white = (white / white[: config.patches].std()).to(lab.device)
p_train, p_test = white[: config.patches], white[config.patches :]
figure = atom_rows({"patches": cut[:20], "whitened": white[:20]})
lab.show(
    figure, alt="Twenty patches of photographs, mostly soft shades; whitened, their contours and texture stand out."
)


# %%
def train_on_patches(name, price):
    model = build(p_train, config.atoms)
    normalize_decoder_(model.decoder.weight)
    model.encoder.weight.data = model.decoder.weight.data.T.clone()
    settings = {"epochs": config.patch_epochs, "batch_size": 128}
    settings["optimizer"] = torch.optim.Adam(model.parameters(), lr=5e-3, fused=True)
    train(name, model, p_train, lambda h: price * l1_penalty(h), unit_norm=True, **settings)
    h = measure(name, model, p_train, p_test)
    living = int((~silent(model, p_train)).sum())
    used = (h > 1e-3).float().mean(0).topk(min(256, living)).indices  # the busiest
    return model, edge_like(name, model.decoder.weight.T[used], config.patch_side), used


lab.predict("edges", "What share of the L1 network's atoms will be edge-like, in percent?", number="%")

# %%
priced, gabors, used = train_on_patches("patches, L1", 1.5)
copying, _, _ = train_on_patches("patches, no penalty", 0.0)
components = torch.linalg.svd(cut[:5000], full_matrices=False)[2][: config.patch_side**2 - 1]
edge_like("patches, components", components, config.patch_side)
edge_like("patches, whitened", white[:500], config.patch_side)
lab.reveal("edges", 100 * lab.metrics["patches, L1/edge-like"])

# %%
atoms = priced.decoder.weight.T.detach()[used].cpu()
figure = atom_rows(
    {
        "L1": atoms[:60],
        "their Gabors": gabors.image[:60],
        "no penalty": copying.decoder.weight.T[:20],
        "components": components[:20],
    }
)
lab.show(
    figure,
    alt="Sixty atoms learned with L1 from photographs, many of them short bars and edges at different places and orientations; "
    "the Gabor fitted to each; atoms without a penalty, noise; principal components, waves over the whole patch.",
    headline="atoms-of-photographs",
)

# %%
lab.at_full("atoms-of-photographs")
lab.claim("edges")

# %% [markdown]
# ### What makes a unit speak?
#
# An atom is what a unit *adds*.
# What it *answers to* is shown by the patches that activate it most (of the same photographs, and not of the training).

# %%
chosen = gabors.explained.topk(8).indices
with torch.no_grad():
    h = priced.encode(p_test)[:, used[chosen.to(used.device)]].cpu()  # (2000, 8)
best = h.topk(9, dim=0).indices  # (9, 8)
atoms_and_patches = torch.cat([atoms[chosen][None], cut[config.patches :][best]])  # (10, 8, side²)
figure = atom_rows({"its atom": atoms_and_patches[0], "patches": atoms_and_patches[1:].flatten(0, 1)}, columns=8)
lab.show(
    figure,
    alt="Eight columns, one for each of eight edge-like units: its atom, and below it nine unseen patches, as cut, that "
    "activate it most; many of them show a contour of the atom's direction at its place.",
)

# %% [markdown]
# **What we saw.** Nothing in the cost mentions edges.
# Yet many of the units that a price leaves answer to a contour at one place and in one direction.
#
# ## 8 · Where the paper, the review and the code disagree
#
# ### First the mean, then the divergence
#
# A bug reported in issue 1 of `wblgers/tensorflow_stacked_denoising_autoencoder`: take the KL of *each activation* and average afterwards.
# Now a unit may not be silent for most images and active for a few; every single activation is drawn to $\rho$.


# %%
def kl_per_example(h):
    return config.beta * kl_sparsity(h.flatten(), 0.05) / len(h)  # each activation is treated as a mean


start = build(x_train, activation=torch.sigmoid, start=0.05)
per_example = train("KL per example", start, x_train, kl_per_example)
h_each = measure("KL per example", per_example)
for name, h in {"KL per example": h_each, "KL 0.05": kl_codes[0.05]}.items():
    lab.record(f"{name}/spread", h.std(0).mean(), unit="std of a unit over images")
lab.tell(
    "A unit varies from image to image by {KL per example/spread:.3f} instead of {KL 0.05/spread:.3f}, and the error is "
    "{KL per example/error:.2f} instead of {KL 0.05/error:.2f}."
)
lab.claim("kl-per-example")

# %% [markdown]
# ### `nn.KLDivLoss` is not this KL
#
# PyTorch's KL loss expects the logarithm of a *whole* distribution.
# Given $\log \hat\rho$ and $\rho$ alone, it computes the first of the two terms, which is negative above $\rho$ and *rewards* activity, up to always on.
# (Why both are needed is asked in issue 561 of `ageron/handson-ml2`.)

# %% tags=["nbval-check-output"]
rho_hat, rho = torch.tensor([0.4], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
print("both terms:   ", round(paper.kl_sparsity(rho_hat, 0.1).item(), 9))
print("nn.KLDivLoss: ", round(nn.KLDivLoss(reduction="sum")(rho_hat.log(), rho).item(), 9))

# %% [markdown]
# ### KL and ReLU
#
# Activations above 1 make the second logarithm undefined.
# The formula gives NaN in silence; the library refuses.

# %% tags=["nbval-check-output"]
too_large = torch.tensor([0.3, 1.7])
kl = 0.05 * torch.log(0.05 / too_large) + 0.95 * torch.log(0.95 / (1 - too_large))
print([round(value, 4) for value in kl.tolist()])
try:
    paper.kl_sparsity(too_large, 0.05)
except ValueError as error:
    print(error)

# %% [markdown]
# ### Smaller things
#
# - **The notes** take $\hat\rho$ over the whole training set. With small batches it is noisy; take a large batch, or a running mean.
# - **The code** (`syorami/Autoencoders-Variants`, issue 4): penalizing the decoder's output as well is a misreading. The penalty is on the hidden layer.
# - **The review** lets cross-entropy stand in for the squared error. Then $\hat x$ needs a sigmoid, and λ, β another value: the error is in other units.
# - **How to choose β**: large enough that $\hat\rho$ stays near $\rho$, and no larger; the error tells when it is too much.
#
# ## 9 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. An overcomplete autoencoder without a price copies what it sees; with a price on activations it has to choose, and its atoms begin to look like what is in the images.
# 2. L1 makes zeros, KL makes means, top-k makes counts. Compare them at equal sparsity, or not at all.
# 3. A penalty on scale needs a fixed scale: unit-norm atoms, or it will be cheated.
# 4. Check a divergence where it must be zero. SGD follows the slope, Adam its size relative to the recent past, and L-BFGS the value as well.
# 5. Where the features are known, recovery can be measured; a small error does not show it.

# %%
lab.progress()

# %% [markdown]
# ## Further
#
# Another 40 minutes: penalties on weights, what today's sparse autoencoders do, whitening, dictionary learning.
#
# ### Weights or activations?
#
# The review introduces its penalty by what it is *not*: the weight decay that keeps a model from overfitting, as a lecture (Stanford CS231n) shows it.
# A polynomial of degree $p - 1$ is linear in its $p$ coefficients $w$: the rows of the matrix $\Phi$ are $(1, t, \dots, t^{p-1})$.
# Weight decay of strength $\alpha$ asks for $\min_w \lVert \Phi w - y \rVert^2 + \alpha \lVert w \rVert^2$.
# Set the gradient $2\Phi^\top(\Phi w - y) + 2 \alpha w$ to zero, and you have a system of linear equations for $w$ (*ridge regression*).
#
# ### Exercise 7 · Ridge regression
#
# Solve that system. `torch.linalg.solve(A, b)` solves $A w = b$.


# %% tags=["exercise"]
def ridge(features, targets, weight_decay):
    """The w (p,) that minimizes |features w - targets|^2 + weight_decay |w|^2: (N, p), (N,) -> (p,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
ridge = lab.check(ridge)

# %%
t, grid_t = torch.linspace(-1, 1, 12, dtype=torch.float64), torch.linspace(-1, 1, 400, dtype=torch.float64)
y = torch.sin(3 * t) + 0.3 * torch.randn(12, dtype=torch.float64, generator=lab.generator("noise on the curve"))
powers, powers_of_grid = (torch.vander(points, 10, increasing=True) for points in (t, grid_t))  # (N, 10)
figure, ax = panels(width=6.5, height=3.4)
for decay in (0.0, 1e-3, 10.0):
    w = ridge(powers, y, decay)
    lab.record(f"polynomial {decay:g}/error unseen", (powers_of_grid @ w - torch.sin(3 * grid_t)).square().mean())
    ax.plot(grid_t, powers_of_grid @ w, label=f"weight decay {decay:g}")
ax.plot(grid_t, torch.sin(3 * grid_t), color="black", linewidth=0.8, linestyle="-", label="truth")
ax.plot(t, y, "o", color="black", markersize=5)
ax.set(xlabel="t", ylabel="y", ylim=(-2, 2))
ax.legend(frameon=False, fontsize=10)
lab.show(
    figure, alt="A curve through noise without weight decay, a calmer one with a little, a flat one with too much."
)
lab.claim("weight-decay-polynomial")

# %% [markdown]
# Weight decay makes a *function* calm.
# What does it do to a code?
# The same overcomplete network, $\tfrac{\alpha}{2} (\lVert W_1 \rVert^2 + \lVert W_2 \rVert^2)$ in place of L1:

# %%
decayed = build(x_train)
weights = (decayed.encoder.weight, decayed.decoder.weight)
weight_penalty = lambda h: 0.005 * sum(weight.square().sum() for weight in weights)  # noqa: E731
measure("weight decay", train("weight decay", decayed, x_train, weight_penalty))
for name, model in {"plain": plain, "L1 0.1": l1, "weight decay": decayed}.items():
    lab.record(f"{name}/weights", model.encoder.weight.detach().norm(), unit="norm of W1")
lab.tell(
    "Norm of W1: {plain/weights:.1f} without a penalty, {weight decay/weights:.1f} with weight decay, {L1 0.1/weights:.1f} "
    "with L1. Active units: {plain/active:.0f}, {weight decay/active:.0f}, {L1 0.1/active:.0f}."
)
lab.claim("weights-not-sparse")

# %% [markdown]
# Shared out among $k$ equal weights, a contribution has a sum of squares that is $k$ times smaller.
# So weight decay tends to *spread* an image over units, and L1 concentrates it.
# The review is right to keep the two apart.
#
# ### What became of it: sparse autoencoders of language models
#
# If activations of a language model hold more features than dimensions, sparse autoencoders are a tool to take them apart: overcomplete, ReLU with L1 (Bricken et al., 2023; Cunningham et al., 2023), and many of their units answer to something that a reader can name.
# L1 has a fault that section 5 named: it **shrinks** what it keeps.
# Three cures share one idea, to decide *whether* a unit speaks apart from *how loudly*.
#
# Top-k decides by rank (Gao et al., 2024).
# A **gated** autoencoder decides by a second set of encoder biases and scales (Rajamanoharan et al., 2024a).
# **JumpReLU** decides by a threshold $\theta_j$ for each unit, which is learned: an activation above it passes *unchanged*, all others are 0 (Rajamanoharan et al., 2024b).
#
# ### Exercise 8 · JumpReLU
#
# What is above the threshold stays as it is, the rest becomes 0.


# %% tags=["exercise"]
def jump_relu(activations, threshold):
    """activations where they are above the threshold, else 0: (B, m), a number or (m,) -> (B, m)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
jump_relu = lab.check(jump_relu)

# %% [markdown]
# See the shrinking where the truth is known, in section 6.
# A feature may have several units, so add up the activations of all whose atoms point its way, and where they speak, compare with the feature's true strength.


# %%
@torch.no_grad()
def strength_said(name):
    """True strengths of recovered features, and what their units say of them."""
    model, cosines = learned[name, 2]
    h, strength = model.encode(x_made[:2000]).cpu(), made.code[:2000]  # (2000, m) and (2000, features)
    same = made.directions @ F.normalize(model.decoder.weight.T, dim=1).T.cpu() > 0.9  # (features, m)
    said = h @ same.T.float()
    there = (strength > 0) & (said > 0) & (cosines > 0.9)
    strength, said, away = strength[there], said[there], x_made - model.decoder.bias
    whole = ((model(x_made)[0] - model.decoder.bias) * away).sum() / away.square().sum()
    lab.record(f"features, {name} 2x/whole said", whole, unit="of the true one")
    lab.record(f"features, {name} 2x/strength said", (said / strength).mean(), unit="of the true one")
    return strength[:1000], said[:1000]


figure, axes = panels(1, 2, width=4, height=3.4, sharey=True)
for ax, name in zip(axes, ("L1", "top-k, revived"), strict=True):
    ax.plot(*strength_said(name), ".", markersize=3, alpha=0.5)
    ax.plot([0.5, 1.5], [0.5, 1.5], color="black", linewidth=1, linestyle="--")
    ax.set(xlabel="true strength", ylabel="activation of its units", title=name, ylim=(0, 2))
lab.show(
    figure,
    alt="Activation of a recovered feature's units against its true strength. With L1 nearly all points lie below the dashed "
    "diagonal, by about the same amount; with top-k mostly closer to it.",
)

# %%
lab.claim("l1-shrinks")

# %% [markdown]
# A jump can be put into a trained network, too: here it removes small activations from the L1 network, at a price in error.

# %%
model, _ = learned["L1", 2]
lab.record("made/present", (made.code[:2000] > 0).float().sum(1).mean(), unit="features in an example")
with torch.no_grad():
    h = model.encode(x_made[:2000])
    for threshold in (0.0, 0.1, 0.2):
        kept = jump_relu(h, threshold)
        lab.record(f"jump {threshold}/error", squared_error(model.decode(kept), x_made[:2000]).mean())
        lab.record(f"jump {threshold}/active", effective_dimension(kept).float().mean(), unit="units")
lab.tell(
    "Without it {jump 0.0/active:.1f} units are active for an example, at an error of {jump 0.0/error:.2f}; with the "
    "threshold 0.1 {jump 0.1/active:.1f} at {jump 0.1/error:.2f}; with 0.2 {jump 0.2/active:.1f} at {jump 0.2/error:.2f}. "
    "The features that are there: {made/present:.1f}."
)

# %% [markdown]
# ### Exercise 9 · Whitening
#
# Section 7 took whitening from the library.
# With the mean $\mu$ and the covariance $C = V \operatorname{diag}(s) V^\top$ of the training patches, white patches are
#
# $$ (x - \mu)\, V \operatorname{diag}\big(s + \epsilon \bar s\big)^{-1/2}\, V^\top, $$
#
# a turn to the axes, a division, the turn back; $\bar s$ is the mean of the variances $s$, so that $\epsilon$ keeps directions that are mostly noise small.
# The covariance divides by $N - 1$; `torch.linalg.eigh` gives $s$ and $V$.


# %% tags=["exercise"]
def whiten(train, x, epsilon=0.01):
    """The rows of x (M, n), whitened by the ZCA of the rows of train (N, n), -> (M, n)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
whiten = lab.check(whiten)

# %%
before, after = (torch.corrcoef(x.T) for x in (cut[:5000], whiten(cut[:5000], cut[:5000], 0.3)))
neighbors = {"as cut": before.diagonal(1).abs().mean(), "whitened": after.diagonal(1).abs().mean()}
print("mean absolute correlation of pixels side by side:", {name: f"{value:.2f}" for name, value in neighbors.items()})

# %% [markdown]
# ### Against dictionary learning
#
# The classical method for the cost of L1 has no encoder: **dictionary learning** minimizes $\tfrac12 \lVert x - D h \rVert^2 + \lambda \lVert h \rVert_1$ over atoms $D$ of length at most 1 *and over the code $h$ of each patch*, the solution of an optimization problem (the *lasso*).
# An autoencoder replaces that by a single matrix product.
# Are its atoms as good, and are its codes?
# (Dictionary learning gets one pass over half of the patches, which takes it about as long; more might help it.)

# %%
import warnings

from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

warnings.simplefilter("ignore", ConvergenceWarning)  # single codes that stop a little early do no harm here
some = p_train[: config.patches // 2].cpu().numpy()
settings = {"alpha": 1.5, "max_iter": 1, "batch_size": 256, "fit_algorithm": "cd", "positive_code": True}
dictionary = MiniBatchDictionaryLearning(config.atoms, random_state=seed, **settings).fit(some)
_ = edge_like("dictionary learning", torch.from_numpy(dictionary.components_), config.patch_side)


# %%
def best_code_cost(atoms, patches=p_test[:1000]):
    """The mean cost of patches whose code is the best one for these atoms."""
    x = patches.cpu().numpy()
    code = sparse_encode(x, atoms, algorithm="lasso_cd", alpha=1.5, positive=True)
    return 0.5 * ((code @ atoms - x) ** 2).sum(1).mean() + 1.5 * np.abs(code).sum(1).mean()


with torch.no_grad():
    own = sparse_loss(priced, p_test[:1000], lambda h: 1.5 * l1_penalty(h))
lab.record("patches, L1/cost, own code", own)
lab.record("patches, L1/cost, best code", best_code_cost(priced.decoder.weight.T.detach().cpu().numpy()))
lab.record("dictionary learning/cost, best code", best_code_cost(dictionary.components_))
lab.claim("dictionary")
lab.tell(
    "With its own encoder the autoencoder pays {patches, L1/cost, own code:.1f}, with the best codes for the same atoms "
    "{patches, L1/cost, best code:.1f}: that is the price of coding in one step."
)

# %% [markdown]
# ### Going further
#
# - Add $\beta \in \{0.1, 3\}$ to section 3. Which of error, mean activation and neighbors notices?
# - The gradient of an atom along itself is undone by the normalization. Remove that part before the step. Does training get better?
# - Learn the thresholds of JumpReLU, with a pseudo-derivative for the jump. Does it reach the frontier of top-k?
# - Train a top-k autoencoder on the hidden layer of a classifier of digits. Do single units stand for something that you can name?
#
# ### References
#
# - A. Ng: *Sparse autoencoder*, CS294A lecture notes, Stanford, 2011.
# - B. Olshausen, D. Field: *Emergence of simple-cell receptive field properties by learning a sparse code for natural images*, Nature 381, 1996.
# - A blog post in Korean on sparse autoencoders, 2021 (the review).
# - A. Makhzani, B. Frey: *k-Sparse Autoencoders*, 2013. [arXiv:1312.5663](https://arxiv.org/abs/1312.5663)
# - N. Elhage et al.: *Toy Models of Superposition*, 2022. [arXiv:2209.10652](https://arxiv.org/abs/2209.10652)
# - L. Sharkey, D. Braun, B. Millidge: *Taking features out of superposition with sparse autoencoders*, interim research report, 2022.
# - T. Bricken et al.: *Towards Monosemanticity: Decomposing Language Models With Dictionary Learning*, Transformer Circuits, 2023.
# - H. Cunningham, A. Ewart, L. Riggs, R. Huben, L. Sharkey: *Sparse Autoencoders Find Highly Interpretable Features in Language Models*, 2023. [arXiv:2309.08600](https://arxiv.org/abs/2309.08600)
# - S. Rajamanoharan et al.: *Improving Dictionary Learning with Gated Sparse Autoencoders*, 2024a. [arXiv:2404.16014](https://arxiv.org/abs/2404.16014)
# - S. Rajamanoharan et al.: *Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders*, 2024b. [arXiv:2407.14435](https://arxiv.org/abs/2407.14435)
# - L. Gao et al.: *Scaling and evaluating sparse autoencoders*, 2024. [arXiv:2406.04093](https://arxiv.org/abs/2406.04093)
# - J. Mairal, F. Bach, J. Ponce, G. Sapiro: *Online dictionary learning for sparse coding*, ICML 2009: the method of scikit-learn's `MiniBatchDictionaryLearning`.
# - Data: MNIST (LeCun, Bottou, Bengio, Haffner, 1998); photographs that come with scikit-image and scikit-learn, named with their licenses by `photos.licence`.
