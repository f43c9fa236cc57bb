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
# # Lesson 08 · KegNet: distilling a network without its data
#
# | | |
# |---|---|
# | **For** | whoever has to make a trained network smaller and cannot have the data that it was trained on |
# | **Afterwards you can** | make data from a network alone, say what each of the three losses of KegNet is good for, compress convolutions and linear layers by Tucker-2 and count what that saves, train the compressed network again without data, and tell whether a method that claims to need no data kept to it |
# | **You need** | convolution, cross-entropy, the Kullback-Leibler divergence, the singular value decomposition; how PyTorch trains a network |
# | **Time** | 155 minutes with the exercises; at `quick` the notebook itself runs in about a minute |
# | **Level** | intermediate |
# | **Paper** | J. Yoo, M. Cho, T. Kim, U. Kang, *Knowledge Extraction with No Observable Data*, NeurIPS 2019 |
# | **Also** | a review of the paper, in Korean; the authors' code ([snudatalab/KegNet](https://github.com/snudatalab/KegNet)); Kim et al. (2016) on Tucker-2, Nakajima et al. (2013) on the ranks |
#
# **Claims that you will test.**
#
# | claim | source | section |
# |---|---|---|
# | The network takes generated images for what was asked for | paper, review | 3 |
# | Without the classifier loss images do not follow their labels; without the decoder loss they carry less of their latents; without the diversity loss, images of one class differ less (three claims) | paper | 2 |
# | Images of one class differ more between generators than within one; data of several generators train a better student than as many of one (two claims) | paper | 3, 5 |
# | EVBMF finds in our network the ranks that it found in the published one | reproduction | 4 |
# | Compression saves computing as it saves parameters | this lesson | 4 |
# | Fine-tuned with KegNet data, a student is better than with uniform and with Gaussian noise (three claims, one for each student) | paper | 5 |
# | KegNet data bring back at least half of the accuracy that was lost | review | 5 |
# | KegNet leads by more where more was lost | this lesson | 5 |
# | Real images are the ceiling | paper, review | 5 |
# | Choosing the best step with real labels does not change who is best | this lesson, on the code | 5 |
# | A tenth of KegNet's step size, as published for noise on MNIST, holds noise back | this lesson, on the code | 5 |
# | Generated images show what was asked for: another network sees it, too | review | 6 |
# | Trained as in the code, the generator makes images that are not what was asked for; and the student suffers (two claims) | this lesson, on the code | 6 |
# | On tables, too, KegNet data are better than both kinds of noise | paper | 7 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# The long experiments take the library's functions, which do the same as yours, with checks.
#
# `profile` chooses the scale. `quick`: 4,000 digits, and a small table. `full`: all of MNIST, three tables, five repetitions. `paper`: the published networks, step sizes and numbers of steps, also on Fashion-MNIST and SVHN. Even there we differ on purpose: the teacher is in evaluation mode, noise gets as many data and steps as KegNet and its step size, data of several generators are mixed, a student goes on to its last step, the networks for tables make 50 passes (the code stops early), and section 6 takes the settings for SVHN to digits. For this profile you want a GPU: run it by `labkit run 08 --profile paper`, which keeps checkpoints and goes on where it was stopped.

# %% tags=["parameters"]
profile = "quick"  # "quick" (4,000 digits), "full" (all of MNIST, three tables) or "paper" (a GPU)
seed = 0  # another seed: other weights, another order of the images, other noise

# %%
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data.dataset import Rows, Table
from labkit.lab.evaluate import accuracy, macs, milliseconds, parameter_count, predict
from labkit.lab.figures import bars, image_rows, panels
from labkit.lab.speed import channels_last
from labkit.lab.training import fit, in_stretches
from labkit.lab.widgets import image_choices
from labkit.papers import kegnet as paper
from labkit.papers.kegnet import LENET5_STUDENTS, Decoder, DenseGenerator, ImageGenerator, LeNet5, compress, draw_data
from labkit.papers.relational_distillation import kd_loss

lab = labkit.start("08_kegnet", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Recipe:
    """How a network is trained, data are made from it, and its students are trained again."""

    epochs: int  # passes of the network over its training data
    batch_size: int  # data points in one of its steps
    lr: float  # its step size for Adam, which falls to 0 unless `constant_lr`
    held_out: int  # training data kept for validation
    generators: int  # how many are trained
    steps: int  # of each of them
    synthetic_size: int  # data points for a student, from all generators together
    finetune_epochs: int  # of a student over these
    finetune_lr: float  # a student's step size for Adam
    generator_batch_size: int = 64  # data points in a step of a generator
    generator_lr: float = 1e-3  # its step size for Adam
    beta: float = 0.0  # weight of the diversity loss
    depth: int = 1  # blocks of the decoder behind its first
    constant_lr: bool = False  # whether the network's step size stays, as published


# %%
@dataclass(frozen=True)
class Config:
    digits: Recipe  # for LeNet-5 on handwritten digits
    repetitions: int  # how often generators, noise and students are drawn anew
    alone: int  # steps of a single generator, as many as all of section 3 take together; 0: no such generator
    trials: int  # steps of each generator of section 2
    further: tuple[tuple[int, int], ...]  # ranks of the third convolution beyond those of student 1
    rates: tuple[float, ...]  # factors of a student's step size to compare
    second: int  # passes of a second teacher over the training data
    mode: Recipe  # for the network with batch normalization
    mode_images: int  # images that it is trained on
    residual: bool  # whether that network is ResNet-14, or a small one
    tables: dict[str, tuple[int, int]]  # tables: the rank of the student, and passes of the network
    table: Recipe  # for networks on tables, but for these passes
    photographs: dict[str, Recipe]  # for ResNet-14 on the data sets of section 8, where they are used


# %%
for_tables = {"finetune_epochs": 1, "finetune_lr": 1e-3, "generator_lr": 3e-3, "depth": 2}
quick = Config(
    digits=Recipe(8, 64, 3e-3, 300, generators=5, steps=30, synthetic_size=1600, finetune_epochs=1, finetune_lr=2e-3),
    repetitions=1,
    alone=0,
    trials=15,
    further=((3, 5),),
    rates=(0.1, 1.0, 3.0),
    second=4,
    mode=Recipe(2, 64, 3e-3, 300, generators=1, steps=25, synthetic_size=1280, finetune_epochs=1, finetune_lr=1e-3),
    mode_images=1500,
    residual=False,
    tables={"small digits": (5, 12)},
    table=Recipe(1, 64, 4e-3, 150, 3, 40, synthetic_size=1920, **for_tables),
    photographs={},
)

# %%
full = Config(
    digits=Recipe(
        10, 128, 2e-3, 2000, generators=5, steps=200, synthetic_size=12_800, finetune_epochs=1, finetune_lr=1e-3
    ),
    repetitions=5,
    alone=1000,
    trials=100,
    further=((5, 8), (3, 5)),
    rates=(0.1, 0.3, 1.0, 3.0),
    second=10,
    mode=Recipe(3, 64, 3e-3, 1000, generators=1, steps=100, synthetic_size=3840, finetune_epochs=1, finetune_lr=1e-3),
    mode_images=4000,
    residual=True,
    tables={"shuttle": (5, 6), "pendigits": (5, 40), "letter": (10, 50)},
    table=Recipe(1, 128, 2e-3, 1000, 5, 300, synthetic_size=25_600, **for_tables),
    photographs={},
)

# %%
published = {"held_out": 5000, "generators": 5, "steps": 20_000, "generator_batch_size": 256, "constant_lr": True}
tuned_as_published = {"synthetic_size": 32_000, "finetune_epochs": 400} | published
long = Config(
    digits=Recipe(200, 64, 1e-5, finetune_lr=1e-5, **tuned_as_published),
    repetitions=5,
    alone=100_000,
    trials=2000,
    further=((5, 8), (3, 5)),
    rates=(0.1, 1.0, 3.0),
    second=200,
    mode=Recipe(50, 64, 1e-4, finetune_lr=1e-4, generator_lr=1e-2, beta=1.0, depth=3, **tuned_as_published),
    mode_images=60_000,
    residual=True,
    tables={"shuttle": (5, 50), "pendigits": (5, 50), "letter": (10, 50)},
    table=Recipe(1, 64, 1e-3, finetune_lr=1e-4, generator_lr=1e-4, depth=2, **tuned_as_published | {"held_out": 1000}),
    photographs={
        "fashion_mnist": Recipe(100, 64, 1e-2, 5000, 5, 20_000, 32_000, 400, 1e-4, 256, 1e-2, 10.0, 3, True),
        "svhn": Recipe(50, 64, 1e-4, 5000, 5, 20_000, 32_000, 400, 1e-4, 256, 1e-2, 1.0, 3, True),
    },
)

# %%
config = lab.choose(quick=quick, full=full, paper=long)

# %% [markdown]
# ## 1 · A network, and no data
#
# **Intuition.** A hospital has trained a network and would like it on a telephone, where it must be smaller. The patients' images may not leave the hospital. A small network is usually trained by **distillation**: a large one, the *teacher*, answers to many data points, and a small one, the *student*, learns to answer alike. So what is left if there are no data points? The teacher itself. The review compares it with teaching without a textbook: the material must be made first, from what the teacher knows.
#
# Two questions follow. How can data be made from a network? And how can a student learn much from such data? KegNet (*knowledge extraction with generative networks*) answers the first with a generator that the teacher's own answers train (sections 2 and 3). For the second it makes the student *from* the teacher, by compressing its layers (section 4), so that little is left to learn (section 5).
#
# **Notation.** $M$ is the teacher, trained and fixed. For a data point $x$ it gives one number for each of $c$ classes, the **logits** $M(x)$; their softmax gives its probabilities.
#
# ### The teacher
#
# It is LeNet-5: three convolutions (6, 16 and 120 channels, windows of 5 x 5) and two linear layers, 61,706 parameters, for images of 32 x 32 pixels. We train it on handwritten digits. Then their images are locked away. They come back for comparison only, and the text says so each time: to *measure* what was reached, as a *ceiling*, to show what real data would have reached, and to show what a choice made with real labels is worth.


# %%
@dataclass(frozen=True)
class Task:
    name: str
    recipe: Recipe
    train: tuple  # data (N, ...), labels (N,)
    validation: tuple
    test: tuple
    classes: int


# %%
def split(name, recipe, train, test, classes=10):
    """A task whose validation data are drawn from the training data."""
    order = torch.randperm(len(train[0]), generator=lab.generator(f"{name}, held out"))
    kept, rest = order[: recipe.held_out], order[recipe.held_out :]
    parts = [[t[rest] for t in train], [t[kept] for t in train], test]
    return Task(name, recipe, *(tuple(t.to(lab.device) for t in part) for part in parts), classes)


# %%
def images_of(name, recipe, count=None):
    """Images of 32 x 32 pixels, the first `count` of each part, standardized by all training pixels, then enlarged."""
    data = labkit.data.load("mnist" if name == "digits" else name, profile=profile)
    print(data.source)
    data = data.standardized()
    train, test = (
        (F.interpolate(part.images[:count], (32, 32), mode="bilinear"), part.labels[:count])
        for part in (data.train, data.test)
    )
    return split(name, recipe, train, test)


# %%
def trained(model, task, name):
    """Train a network with labels, as usual."""
    recipe, labels = task.recipe, task.train[1]
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    steps = recipe.epochs * -(-len(labels) // recipe.batch_size)
    falling = None if recipe.constant_lr else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with lab.seeded(f"{name}, dropout"):
        fit(
            model,
            lambda model, x, y, _: F.cross_entropy(model(x), y),
            *task.train,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            generator=lab.generator(f"{name}, order"),
            optimizer=optimizer,
            schedule=falling,
            checkpoint=lab.checkpoint(name),
            label=name,
        )
    return model


# %%
digits = images_of("digits", config.digits)
with lab.seeded("teacher"):
    teacher = channels_last(LeNet5()).to(lab.device)
trained(teacher, digits, "teacher")
lab.record("teacher/accuracy", 100 * accuracy(teacher, *digits.test), unit="% of the test images")

# %% [markdown]
# ### Would noise not do?
#
# The simplest data without data are noise. The paper compares with two kinds: each pixel **uniform** between -1 and 1, or **Gaussian**, from $N(0, 1)$. Real images are standardized (mean 0, standard deviation 1), so at least the scale is about right.
#
# **Predict.** What does a classifier of digits say of noise? Will it name all ten classes equally often? Will it be sure?


# %%
def noise(kind, like, count, name):
    """As many data points of the shape of those in `like`, uniform in [-1, 1] or from N(0, 1)."""
    shape, g = (count, *like.shape[1:]), lab.generator(name)
    x = 2 * torch.rand(shape, generator=g) - 1 if kind == "uniform" else torch.randn(shape, generator=g)
    return x.to(lab.device)


# %%
looked_at = {kind: noise(kind, digits.test[0], 1000, f"{kind}, a look") for kind in ("uniform", "Gaussian")}
looked_at["real"] = digits.test[0][:1000]
named = {}  # source: share of each class in the answers
for source, x in looked_at.items():
    p = predict(teacher, x).softmax(1)
    named[source] = torch.bincount(p.argmax(1), minlength=10).double() / len(x)
    lab.record(f"answers/{source}/commonest class", 100 * named[source].max(), unit="% of 1,000 answers")
    lab.record(f"answers/{source}/confidence", p.amax(1).mean(), unit="mean of the largest probability")

# %%
figure, ax = panels(width=8, height=3)
bars(ax, range(10), {source: (100 * share).tolist() for source, share in named.items()}, numbers=False)
ax.set(xlabel="class that the teacher names", ylabel="% of 1,000 answers")
ax.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
lab.show(
    figure,
    alt="How often the teacher names each class when it sees uniform noise, Gaussian noise and real test images. The commonest class makes up "
    + ", ".join(f"{100 * share.max():.0f} % of its answers to {source}" for source, share in named.items())
    + ".",
)

# %%
lab.tell(
    "To uniform noise the teacher answers with one and the same class in {answers/uniform/commonest class:.0f} % of all cases, to Gaussian noise in {answers/Gaussian/commonest class:.0f} %, and it is sure by {answers/uniform/confidence:.2f} and {answers/Gaussian/confidence:.2f} in the mean (real images: {answers/real/confidence:.2f}). Where noise falls into few classes, a student hears little of the others. But it does hear something: with every answer come ten probabilities. Section 5 shows how far that goes."
)

# %% [markdown]
# ## 2 · Data from a network
#
# **Intuition.** Ask the teacher the other way round: not "what is this image?" but "which image is a 7?" There are many answers. So say which one, by some numbers $z$ that stand for everything else about the image, such as its slant. Then search for an image from which both can be read: the class, by the teacher, and $z$, by a second network.
#
# **Mathematics.** Let $y$ be a label, one-hot among $c$ classes, and $z \in \mathbb R^{10}$ a **latent** vector. We choose their distributions ourselves: each class equally likely, $z \sim \mathcal N(0, I)$. The data wanted are
#
# $$x = \arg\max_x\, \log p(y \mid x) + \log p(z \mid x).$$
#
# The teacher gives the first term, the logarithm of its probability for the class. The second needs a **decoder** $D$, which is learned: it guesses $z$ from $x$. And since a search for each single $x$ is slow, a **generator** $G$, a network as well, learns to give it at once, $x = G(y, z)$. The loss has a part for each of the two terms, and a third against images that are too much alike; $\alpha$ and $\beta$ weigh them:
#
# $$l = l_{cls} + \alpha\, l_{dec} + \beta\, l_{div}$$
#
# One term is missing. By Bayes' rule, with $y$ and $z$ independent given $x$, $\log p(x \mid y, z)$ has a third part, $\log p(x)$: how likely such an image is at all. It cannot be had without data, so it is left out, and nothing else in $l$ asks for images that look real.
#
# Only $G$ and $D$ learn. The teacher is a fixed function through which gradients pass.
#
# ### What leaves the generator
#
# The published generator takes $y$ and $z$ side by side, 20 numbers. Two linear layers follow, then transposed convolutions, which are convolutions that enlarge: from 1 x 1 pixel over 4 x 4, 8 x 8 and 16 x 16 to 32 x 32. A tanh comes last but one; the last step is Exercise 1. The decoder has linear layers only, with normalization and nonlinearities between.

# %% tags=["nbval-check-output"]
for name, net in {"generator": ImageGenerator(), "decoder": Decoder(32 * 32)}.items():
    print(f"{name}: {parameter_count(net):,} parameters")

# %% [markdown]
# ### Exercise 1 · Standardize
#
# How does a generator that never saw an image know which brightness and contrast are usual? It need not. Its last layer is not learned: it gives each channel of each image mean 0 and standard deviation 1, the one over its $H \times W$ pixels, with $HW - 1$ in the denominator (unbiased). Real data were standardized, too, over all images together. A constant channel has deviation 0, and 0 / 0 is NaN. Return 0 for it, and see that the gradient is free of NaN, too.


# %% tags=["exercise"]
def standardize_images(x):
    """Images (B, C, H, W), each channel of each brought to mean 0 and standard deviation 1; a constant one is 0."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
standardize_images = lab.check(standardize_images)

# %% [markdown]
# What leaves an untrained generator is standardized already, so your function leaves it as it is:

# %% tags=["nbval-check-output"]
y, z = paper.draw_inputs(64, 10, 10, torch.Generator().manual_seed(0))
with torch.no_grad():
    x = ImageGenerator().eval()(y, z)
print("images", tuple(x.shape), "with standard deviations", round(x.std((2, 3)).mean().item(), 4))
print("your function changes nothing:", bool((standardize_images(x) - x).abs().max() < 1e-4))

# %% [markdown]
# ### Exercise 2 · The classifier loss
#
# The teacher should see in $x$ what was asked for. With the logits $a_b = M(x_b)$ of the $b$-th image,
#
# $$l_{cls} = -\frac{1}{B} \sum_{b=1}^{B} \sum_{k=1}^{c} y_{bk} \log \operatorname{softmax}(a_b)_k$$
#
# in nats, the mean over a batch of $B$: the cross-entropy. A generator can always lower it by making the teacher *even more* sure. **Label smoothing** takes that incentive away: with smoothing $s$, it puts $(1 - s)\, y + s / c$ in the place of $y$. (Published is $s = 0$.)


# %% tags=["exercise"]
def classifier_loss(logits, labels, smoothing=0.0):
    """Logits (B, classes) of the teacher, labels (B, classes) that were asked for -> a scalar, in nats."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
classifier_loss = lab.check(classifier_loss)

# %% [markdown]
# A teacher with three classes gives the asked-for class the logit $t$, and the others 0. Where is the loss least?

# %% tags=["nbval-check-output"]
first_of_three = torch.tensor([[1.0, 0.0, 0.0]])
for t in (0.0, 2.0, 3.3, 8.0):
    found = [classifier_loss(t * first_of_three, first_of_three, s).item() for s in (0.0, 0.1)]
    print(f"t = {t}: {found[0]:.4f} without smoothing, {found[1]:.4f} with s = 0.1")

# %% [markdown]
# Without smoothing the loss falls on and on. With it, being too sure costs: of the four, 3.3 is best.
#
# ### Exercise 3 · The decoder loss
#
# The decoder's answer $\bar z = D(x)$ should be $z$. If we take its errors for Gaussian, $-\log p(z \mid x)$ is their square, up to a factor and a constant. So take the mean square over all $10 B$ numbers:
#
# $$l_{dec} = \frac{1}{10 B} \sum_{b=1}^{B} \|z_b - \bar z_b\|_2^2$$
#
# Since each number of $z$ has variance 1, a decoder that always answers 0 has a loss of about 1. What is below 1 was read from the image. (In your function divide by the number of latents, whatever it is, not always by 10.)


# %% tags=["exercise"]
def decoder_loss(z, decoded):
    """Latents z (B, latent), and what the decoder read from the images, (B, latent) -> a scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
decoder_loss = lab.check(decoder_loss)

# %% [markdown]
# ### Exercise 4 · The diversity loss
#
# The decoder asks that $z$ *can* be read from the image, be it in a corner that hardly differs. The diversity loss asks that whole images differ, and the more so, the farther apart their $z$ are. For all $B^2$ pairs $(i, j)$, those with $i = j$ included, with $P$ numbers in an image ($\|\cdot\|_2^2$ sums squares, $\|\cdot\|_1$ absolute values):
#
# $$l_{div} = \exp\Big(-\frac{1}{B^2} \sum_{i, j} \frac{\|z_i - z_j\|_2^2}{10} \cdot \frac{\|x_i - x_j\|_1}{P}\Big)$$
#
# It is 1 if all images are alike, and comes close to 0 if they differ. (Divide by the number of latents, whatever it is, not always by 10.)


# %% tags=["exercise"]
def diversity_loss(z, x):
    """Latents (B, latent), images (B, ...) -> a scalar in (0, 1]."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
diversity_loss = lab.check(diversity_loss)

# %% [markdown]
# Two latents, (0, 0) and (2, 0), and two images that differ by $d$ in each of their four pixels. The pairs $(1, 2)$ and $(2, 1)$ each count $2 d$, the two others nothing, so the mean is $d$:

# %% tags=["nbval-check-output"]
two_latents = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
for d in (0.0, 0.5, 1.0, 3.0):
    two_images = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), d)])
    print(f"d = {d}: {diversity_loss(two_latents, two_images).item():.4f}")

# %% [markdown]
# From line to line the loss falls less for each unit of $d$: where images differ already, it hardly pushes on.
#
# ### Your KegNet
#
# Here is the whole method, with your three losses. `alpha` and `beta` are the weights above, `classifier` is one for the first loss, so that we can leave it out as well.


# %%
def kegnet(teacher, *, classifier=1.0, alpha=1.0, beta=0.0):
    """A generator and a decoder for digits, trained by the answers of a frozen copy of the teacher."""
    frozen, g = deepcopy(teacher).eval().requires_grad_(False), lab.generator("your KegNet")
    with lab.seeded("your KegNet"):
        G, D = ImageGenerator().to(lab.device), Decoder(32 * 32).to(lab.device)
    optimizer = torch.optim.Adam([*G.parameters(), *D.parameters()], lr=1e-3, fused=True)
    for _ in range(config.trials):
        y, z = (t.to(lab.device) for t in paper.draw_inputs(64, 10, 10, g))
        x = G(y, z)
        loss = classifier * classifier_loss(frozen(x), y) + alpha * decoder_loss(z, D(x)) + beta * diversity_loss(z, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return G.eval(), D.eval()


# %% [markdown]
# An **ablation** takes a part away and looks at what is missing. Train five generators, from the same weights and with the same $y$ and $z$: with all three losses, without each, and with the classifier loss alone. We take $\alpha = 1$ and, where the diversity loss is on, $\beta = 10$, as published for Fashion-MNIST. (For MNIST $\beta = 0$ is published, so there "without diversity" is the published setting.)
#
# In the figure each column has its class; $z$ is the same everywhere. White is -2, black is 3, so that the ground of real digits is light grey.
#
# **Predict.** What will the images of each look like? Like digits? And without which loss will the teacher no longer name the class of the column?

# %%
weights = {
    "all three": {"beta": 10.0},
    "no classifier": {"classifier": 0.0, "beta": 10.0},
    "no decoder": {"alpha": 0.0, "beta": 10.0},
    "no diversity": {"beta": 0.0},
    "classifier alone": {"alpha": 0.0},
}
before = {name: t.clone() for name, t in teacher.state_dict().items()}
trials = {name: kegnet(teacher, **chosen) for name, chosen in weights.items()}

# %% tags=["nbval-check-output"]
print("the teacher is as before:", all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items()))

# %%
labels = torch.arange(10, device=lab.device)
one_each = (
    F.one_hot(labels, 10).float(),
    torch.randn(1, 10, generator=lab.generator("rows")).repeat(10, 1).to(lab.device),
)


def ink(x):
    """Images (n, 1, 32, 32) for a figure: from -2, white, to 3, black."""
    return (1 - (x.detach().cpu() + 2) / 5).clamp(0, 1).expand(-1, 3, -1, -1)


# %%
first = [int(torch.where(digits.test[1] == d)[0][0]) for d in range(10)]
rows = {name: ink(G(*one_each)) for name, (G, _) in trials.items()}
rows["real"] = ink(standardize_images(digits.test[0][first]))
lab.show(
    image_rows(rows, columns=[str(d) for d in range(10)]),
    alt="Six rows of ten images, one for each class. Five rows come from generators, with all losses, without the classifier, decoder and diversity loss, and with the classifier loss alone; grey textures fill them from edge to edge. The last row shows real digits on an even ground.",
)

# %% [markdown]
# What do you see: digits, or textures? Must it be digits at all? Two known kinds of networks help to answer. An *autoencoder* is an encoder that turns data into a code, and a decoder that gets the data back from it; both are trained together. A *GAN* is a generator that makes data from noise (the fakes), and a critic that learns to tell fakes from real data; they are trained against each other. KegNet can be read as either.
#
# | | as an **autoencoder** | as a **GAN** (generative adversarial network) |
# |---|---|---|
# | $y, z$ | what is to be coded | noise, and a condition |
# | $G$ | the encoder | the generator |
# | $x$ | the code | the fake |
# | teacher and $D$ | the decoder, half of it given | in the place of the critic |
# | loss | errors of $y$ and of $z$ | what the critic says |
#
# In an autoencoder the code is whatever the decoder can read; here, whatever the *teacher* can read. In a GAN the critic learns along, with real data beside the fakes, and that is what forces a generator to make images that look real. In KegNet the teacher is fixed and never learned from a fake, and the decoder learns from fakes alone. Nothing in the loss asks for a pen stroke: any pattern will do that the teacher takes for a 7.
#
# So measure, on 500 new images of each generator: does the teacher name the class that was asked for? How much of $z$ does the decoder read, $1 - l_{dec}$? And how different are images of one class: the mean absolute difference of their pixels, over all pairs within a class? (Real images are standardized one by one for this, as generated ones are.)


# %%
def difference(x, labels):
    """Mean over pairs of images of one class: the mean absolute difference of their pixels, and over the classes."""
    rows = standardize_images(x).flatten(1)
    return torch.stack([F.pdist(rows[labels == k], p=1).mean() for k in labels.unique()]).mean() / rows.shape[1]


# %%
@torch.no_grad()
def readable(G):
    """The share of the variance of z that a ridge regression, fitted to 1,000 images, reads from 500 new ones."""
    y, z = (t.to(lab.device) for t in paper.draw_inputs(1500, 10, 10, lab.generator("to read z from")))
    x, z = G(y, z).flatten(1).double(), z.double()
    x, z = x - x[:1000].mean(0), z - z[:1000].mean(0)
    similar = x[:1000] @ x[:1000].T
    ridge = 0.01 * similar.diagonal().mean() * torch.eye(1000, device=x.device, dtype=x.dtype)
    found = x[1000:] @ x[:1000].T @ torch.linalg.solve(similar + ridge, z[:1000])
    return 1 - (found - z[1000:]).square().mean() / z[1000:].square().mean()


# %%
for name, (G, D) in trials.items():
    y, z = (t.to(lab.device) for t in paper.draw_inputs(500, 10, 10, lab.generator("new images")))
    with torch.no_grad():
        x = G(y, z)
        agrees = (predict(teacher, x).argmax(1) == y.argmax(1)).float().mean()
        lab.record(f"ablation/{name}/as asked", 100 * agrees, unit="% of 500 new images")
        lab.record(f"ablation/{name}/read back", 1 - decoder_loss(z, D(x)), unit="share of the variance of z")
        lab.record(f"ablation/{name}/readable", readable(G), unit="share of the variance of z, by a ridge regression")
        lab.record(f"ablation/{name}/difference", difference(x, y.argmax(1)), unit="mean within a class")
real_difference = difference(*(t[:500] for t in digits.test))
lab.record("ablation/real/difference", real_difference, unit="mean within a class")

# %%
lab.tell(
    "With all three losses {ablation/all three/as asked:.0f} % of the images are what was asked for; without the classifier loss {ablation/no classifier/as asked:.0f} %, where chance is 10 %. Of $z$ the decoder reads a share of {ablation/all three/read back:.2f}. Where it was not trained it reads nothing ({ablation/no decoder/read back:.2f}), which says nothing about the images. So a linear reader was fitted to each generator afterwards: it reads {ablation/all three/readable:.2f} with all three losses and {ablation/no decoder/readable:.2f} without the decoder's; with the diversity loss off as well these are {ablation/no diversity/readable:.2f} and {ablation/classifier alone/readable:.2f}. Images of one class differ by {ablation/all three/difference:.2f} with all losses, by {ablation/no decoder/difference:.2f} without the decoder's and by {ablation/no diversity/difference:.2f} without the diversity loss; without either of these two by {ablation/classifier alone/difference:.2f}. Real digits of one class differ by {ablation/real/difference:.2f}."
)

# %%
seen = {name: lab.metrics[f"ablation/{name}/difference"] for name in trials}
asked = {name: lab.metrics[f"ablation/{name}/as asked"] for name in trials}
because = (
    "One generator of each kind and one seed, after a short training. All start from the same weights, whose images "
    "differ from the start. What a loss adds in so few steps may be less than what it adds in 20,000, as published."
)
lab.claim(
    "Without the classifier loss images do not follow their labels: the teacher agrees with fewer than 20 %.",
    holds=asked["no classifier"] < 20,
    evidence=asked,
    source="paper (what the loss is there for)",
    reason="No other loss knows which class a label stands for. The label is still an input, so images of different labels may differ.",
)

# %%
can_be_read = {name: lab.metrics[f"ablation/{name}/readable"] for name in trials}
lab.claim(
    "Without the decoder loss less of z can be read from an image, by at least a tenth, with the diversity loss on or off.",
    holds=can_be_read["no decoder"] <= 0.9 * can_be_read["all three"]
    and can_be_read["classifier alone"] <= 0.9 * can_be_read["no diversity"],
    evidence=can_be_read,
    source="paper (what the loss is there for)",
    reason="An untrained generator is a smooth function of $z$, so its images show $z$ from the start. The loss keeps it there; it is needed only where the other losses would drive it out, which may take longer than this training. "
    + because,
)
lab.claim(
    "Without the diversity loss images of one class differ less, by at least a tenth.",
    holds=seen["no diversity"] <= 0.9 * seen["all three"],
    evidence=seen,
    source="paper (what the loss is there for)",
    reason=because,
)

# %% [markdown]
# ## 3 · Several generators
#
# **Intuition.** A generator finds *one* way to satisfy the teacher, and all its images have that in common. A student that learns from them learns what the teacher does there, and little of the rest. Another generator, from other weights, finds another way. So the paper trains five and mixes their data. (The code trains each for 20,000 steps of 256; at `quick` we train each for 30 steps of 64, at `full` for 200.)
#
# The library's `train_generator` does the same as your `kegnet`, and also checks what goes in: a teacher with NaN in its weights, or with another number of outputs than there are classes, is refused.


# %%
def made(task, teacher, name, steps=None, **how):
    """A generator for a task; at `paper`, kept when it is finished. Of the task's data it needs the shape alone."""
    recipe, shape = task.recipe, task.train[0].shape[1:]
    kept = lab.checkpoint(", ".join([name, *map(str, how.values())]))
    how = {"batch_size": recipe.generator_batch_size, "lr": recipe.generator_lr, "beta": recipe.beta} | how
    with lab.seeded(name):
        image = len(shape) == 3
        G = ImageGenerator(task.classes, shape[0]) if image else DenseGenerator(shape[0], task.classes)
        pair = nn.ModuleList([G, Decoder(shape.numel(), depth=recipe.depth)]).to(lab.device)

    def work(steps):
        paper.train_generator(teacher, *pair, steps=steps, rng=lab.generator(name), **how)

    in_stretches(work, pair, [steps or recipe.steps], kept)
    return G.eval()


# %%
def several(task, teacher, repetition):
    """All generators of one repetition."""
    names = [f"{task.name}, generator {k}, repetition {repetition}" for k in range(task.recipe.generators)]
    return [made(task, teacher, name) for name in names]


# %%
def drawn(generators, count, name):
    """Data (count, ...) from all generators in equal parts, mixed, and the classes that were asked for, (count,)."""
    g, each = lab.generator(name), count // len(generators)
    parts = [draw_data(G, each, g) for G in generators]
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    order = torch.randperm(len(x), generator=g).to(x.device)
    return x[order], y[order].argmax(1)


# %%
generators = [several(digits, teacher, repetition) for repetition in range(config.repetitions)]

# %%
x, asked_for = drawn(generators[0], 1000, "a look at generated images")
p = predict(teacher, x).softmax(1)
lab.record("generated/as asked", 100 * (p.argmax(1) == asked_for).float().mean(), unit="% of the new images")
lab.record("generated/confidence", p.amax(1).mean(), unit="mean of the largest probability")
lab.record("generated/commonest class", 100 * p.argmax(1).bincount().max() / len(x), unit="% of the answers")

# %%
lab.tell(
    "Of new images from all generators the teacher takes {generated/as asked:.1f} % for what was asked for, and is sure by {generated/confidence:.2f} in the mean. The commonest class makes up {generated/commonest class:.0f} % of its answers, where for uniform noise it was {answers/uniform/commonest class:.0f} %: the nearer to 10 %, the more evenly a student hears of all classes."
)
lab.claim(
    "The teacher takes generated images for what was asked for: at least 90 % of new ones.",
    holds=lab.metrics["generated/as asked"] >= 90,
    evidence={name: lab.metrics[f"generated/{name}"] for name in ("as asked", "confidence")},
    source="paper, review",
    reason="The classifier loss asks for just this. How close it comes depends on the steps. This says nothing about whether a person would agree, nor a network that was trained otherwise.",
)

# %%
rows = {f"generator {k + 1}": ink(G(*one_each)) for k, G in enumerate(generators[0][:5])}
lab.show(
    image_rows(rows, columns=[str(d) for d in range(10)]),
    alt=f"{len(rows)} rows of ten images, one row for each generator and one column for each class, all made from the same latent vector, to be compared along the rows and down the columns.",
)

# %% [markdown]
# Each column has its class; $z$ is the same everywhere. Look along the rows and down the columns.
#
# **Predict.** Which two images are more alike: two of one generator, or two of one class?
#
# Measure it: the mean difference of two images of one class and one generator; of one class, from two generators; and of two classes, from one generator. Here each has a $z$ of its own.

# %%
labels = torch.arange(10, device=lab.device).repeat(6)  # six images of each class
owner = torch.arange(len(generators[0]), device=lab.device).repeat_interleave(6)
latents = torch.randn(60, 10, generator=lab.generator("six of each")).to(lab.device)
with torch.no_grad():
    pictures = torch.stack([G(F.one_hot(labels, 10).float(), latents).flatten(1) for G in generators[0]])
within, between = [], []
for k in range(10):
    of_class = pictures[:, labels == k].flatten(0, 1)  # (generators * 6, 1024)
    distances = torch.cdist(of_class, of_class, p=1) / of_class.shape[1]
    one = (owner[:, None] == owner).triu(1)
    within.append(distances[one].mean())
    between.append(distances[owner[:, None] < owner].mean())
lab.record("generated/difference, one generator", torch.stack(within).mean(), unit="mean within a class")
lab.record("generated/difference, two generators", torch.stack(between).mean(), unit="mean within a class")
two_classes = labels[:, None] < labels
apart = torch.stack([torch.cdist(x, x, p=1)[two_classes].mean() for x in pictures]).mean() / pictures.shape[2]
lab.record("generated/difference, two classes", apart, unit="mean between classes, one generator")
lab.tell(
    "Two images of one class and one generator differ by {generated/difference, one generator:.2f}, of two classes and one generator by {generated/difference, two classes:.2f}, of one class and two generators by {generated/difference, two generators:.2f}."
)

# %%
pair_of = {n: lab.metrics[f"generated/difference, {n}"] for n in ("one generator", "two generators")}
lab.claim(
    "Images of one class differ more between two generators than within one.",
    holds=pair_of["two generators"] > pair_of["one generator"],
    evidence=pair_of | {"real digits": lab.metrics["ablation/real/difference"]},
    source="paper (its reason for several)",
    reason="Generators differ in their initial weights and in the $y$ and $z$ that they met. Whether more variety makes better data for a student is another question, asked in section 5.",
)

# %% [markdown]
# ### Ask for an image
#
# In Jupyter, choose a class, a generator, and the first two numbers of $z$ (the other eight are 0). What does $z$ change, and what does the class change? Below is a figure of the first generator with three values of $z_1$.


# %%
def view(digit, generator, z1, z2):
    """One image (32, 32) in [0, 1], ink dark on white."""
    z = torch.zeros(1, 10, device=lab.device)
    z[0, 0], z[0, 1] = z1, z2
    with torch.no_grad():
        x = generators[0][generator - 1](F.one_hot(torch.tensor([digit], device=lab.device), 10).float(), z)
    return ((x[0, 0].cpu() + 2) / 5).clamp(0, 1)


# %% tags=["widget"]
values = (-3, -2, -1, 0, 1, 2, 3)
which = range(1, len(generators[0]) + 1)
image_choices(view, {"digit": range(10), "generator": which, "z1": values, "z2": values}, scale=8, width=256)

# %%
rows = {
    f"$z_1 = {z1}$": torch.stack([1 - view(d, 1, z1, 0) for d in range(10)])[:, None].expand(-1, 3, -1, -1)
    for z1 in (-3, 0, 3)
}
moved = (rows["$z_1 = -3$"] - rows["$z_1 = 3$"]).abs().mean()
lab.record("generated/change by one number of z", moved, unit="of the range from white to black")
lab.show(
    image_rows(rows, columns=[str(d) for d in range(10)]),
    alt=f"Three rows of ten images of the first generator, one column for each class; from row to row the first number of z goes from -3 over 0 to 3. From the first row to the last grey values change by {moved:.2f} in the mean, where 1 is from white to black.",
)
lab.tell(
    "From $z_1 = -3$ to $z_1 = 3$ grey values change by {generated/change by one number of z:.2f} in the mean (1 is from white to black). A decoder sees even small changes, so the decoder loss alone does not ask for large ones."
)

# %% [markdown]
# ## 4 · A student made from the teacher
#
# **Intuition.** LeNet-5 has most of its parameters in one layer: 48,120 of 61,706 are in its third convolution. Its kernel has 120 x 16 pairs of channels with 25 weights each. Are they all needed? The singular value decomposition finds a small number of directions that hold most of a matrix. A kernel has two axes of channels, so it can be done for both.
#
# **Mathematics.** A kernel $W \in \mathbb R^{C_o \times C_i \times k \times k}$ maps $C_i$ channels to $C_o$. **Tucker-2** writes it with a small **core** $K \in \mathbb R^{r_o \times r_i \times k \times k}$ and two matrices with orthonormal columns, $U_o \in \mathbb R^{C_o \times r_o}$ and $U_i \in \mathbb R^{C_i \times r_i}$. For output channel $a$ and input channel $b$, with $W_{ab}$ and $K_{pq}$ windows of $k \times k$ numbers:
#
# $$W_{ab} \approx \sum_{p=1}^{r_o} \sum_{q=1}^{r_i} (U_o)_{ap}\, (U_i)_{bq}\, K_{pq}$$
#
# The pair $(r_i, r_o)$ are the **ranks**. For the matrices take the leading singular vectors of the two *unfoldings* of $W$, which lay it out as a matrix of $C_o \times C_i k^2$ and of $C_i \times C_o k^2$ numbers (this is called HOSVD, higher-order singular value decomposition). Call the kernel that the parts make up $\hat W$. What is lost is bounded by what was cut off. With singular values $\sigma^{(o)}$ and $\sigma^{(i)}$ of the two, the largest first, and the sum of all squares as $\|\cdot\|^2$,
#
# $$\|W - \hat W\|^2 \le \sum_{p > r_o} \big(\sigma^{(o)}_p\big)^2 + \sum_{q > r_i} \big(\sigma^{(i)}_q\big)^2.$$
#
# The library starts there and improves on it in a few rounds, with tensorly, a library for such decompositions.
#
# ### Exercise 5 · Three convolutions for one
#
# The kernel need not be put together again. Its parts *are* convolutions: 1 x 1 with $U_i^\top$ from $C_i$ to $r_i$ channels, $k \times k$ with the core to $r_o$, 1 x 1 with $U_o$ to $C_o$. Which of them gets stride and padding, which the bias?


# %% tags=["exercise"]
def three_convolutions(x, core, U_i, U_o, bias=None, stride=1, padding=0):
    """x (B, C_i, H, W), core (r_o, r_i, k, k), U_i (C_i, r_i), U_o (C_o, r_o), bias (C_o) -> (B, C_o, H', W')."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
three_convolutions = lab.check(three_convolutions)

# %% [markdown]
# `tucker2_conv` makes three layers of one. With full ranks nothing is lost. With your function and the weights of these layers:

# %% tags=["nbval-check-output"]
conv, maps = deepcopy(teacher.conv2).cpu(), torch.rand(2, 6, 14, 14, generator=torch.Generator().manual_seed(0))
for ranks in ((6, 16), (3, 4)):
    layers = paper.tucker2_conv(conv, ranks)
    (U_i, core, U_o), bias = (layer.weight for layer in layers), layers[2].bias
    with torch.no_grad():
        whole, made_of_three = conv(maps), layers(maps)
        yours = three_convolutions(maps, core, U_i[:, :, 0, 0].T, U_o[:, :, 0, 0], bias)
    lost, gap = (((found - made_of_three).abs().max() / whole.abs().max()).item() for found in (whole, yours))
    print(f"ranks {ranks}: exact {lost < 1e-5}; your function does what the layers do: {gap < 1e-5}")


# %% [markdown]
# ### Exercise 6 · What ranks cost
#
# Count the parameters of the three convolutions (the last has the bias), and their multiply-adds (**MACs**) for one image. The first works on the pixels *before* the $k \times k$ convolution, the two others on those *after* it. Adding the bias is no multiply-add.


# %% tags=["exercise"]
def tucker2_cost(channels, k, ranks, pixels):
    """(C_i, C_o), k, (r_i, r_o), pixels of a channel (before, after) -> (parameters, multiply-adds an image)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
tucker2_cost = lab.check(tucker2_cost)

# %% [markdown]
# Compress the third convolution, and only it, with growing ranks $(r, r)$. On the left of the figure: the error of its kernel, and the bound on it (which may be above 1, and then says nothing). On the right: the accuracy of the whole network, measured on real test images, and parameters and MACs of this layer, in percent of what they were.
#
# **Predict.** Down to which $r$ will the accuracy hardly change?


# %%
def kernel_of(layers):
    """The kernel (C_o, C_i, k, k) that three convolutions stand for."""
    U_i, core, U_o = (layer.weight.detach().cpu() for layer in layers)
    return torch.einsum("op,pqhw,qi->oihw", U_o[:, :, 0, 0], core, U_i[:, :, 0, 0])


# %%
W = teacher.conv3.weight.detach().cpu()  # (120, 16, 5, 5)
tails = [torch.linalg.svdvals(W.transpose(0, mode).flatten(1)).square().flip(0).cumsum(0).flip(0) for mode in (0, 1)]
ranks_shown = (1, 2, 3, 4, 6, 8, 12, 15)
curve = {"error": [], "bound": [], "parameters": [], "MACs": [], "accuracy": []}
for r in ranks_shown:
    student = compress(teacher, {"conv3": (r, r)})
    curve["error"].append(((W - kernel_of(student.conv3)).norm() / W.norm()).item())
    curve["bound"].append(((tails[0][r] + tails[1][r]).sqrt() / W.norm()).item())
    cost = tucker2_cost((16, 120), 5, (r, r), (25, 1))
    curve["parameters"].append(100 * cost[0] / 48_120)  # of the whole layer: 16 * 120 * 25 weights, and 120 biases
    curve["MACs"].append(100 * cost[1] / 48_000)  # each weight is used at a single place
    curve["accuracy"].append(100 * accuracy(student, *digits.test))

# %%
for r, error, hits in zip(ranks_shown, curve["error"], curve["accuracy"], strict=True):
    lab.record(f"rank {r}/error", error, unit="of the norm of the kernel")
    lab.record(f"rank {r}/accuracy", hits, unit="% of the test images")

# %%
figure, (left, right) = panels(1, 2, width=4.6, height=3.3)
left.plot(ranks_shown, curve["error"], marker="o", label="error")
left.plot(ranks_shown, curve["bound"], marker="s", label="its bound")
left.set(xlabel="rank $r$", ylabel="part of the norm of $W$", ylim=(0, None))
for name in ("accuracy", "parameters", "MACs"):
    right.plot(ranks_shown, curve[name], marker="o", label=name)
right.set(xlabel="rank $r$", ylabel="accuracy, and cost of the layer, in %", ylim=(0, 103))
for ax in (left, right):
    ax.legend(frameon=False, ncols=3, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1))
lab.show(
    figure,
    alt="The third convolution compressed with ranks r, r from 1 to 15. Left, the relative error of its kernel falls from "
    f"{curve['error'][0]:.2f} to {curve['error'][-1]:.2f}, below the bound throughout. Right, in percent: its parameters grow from {curve['parameters'][0]:.1f} to {curve['parameters'][-1]:.0f}, its multiply-adds likewise, and the accuracy of the network goes from {curve['accuracy'][0]:.0f} to {curve['accuracy'][-1]:.0f}.",
)

# %%
lab.tell(
    "With $r = 8$ the kernel has a relative error of {rank 8/error:.2f}, and the network still an accuracy of {rank 8/accuracy:.1f} % (the teacher: {teacher/accuracy:.1f} %); with $r = 2$ these are {rank 2/error:.2f} and {rank 2/accuracy:.1f} %. Error of the kernel and errors of the network are different things: compare how much of the norm is gone with how much of the accuracy."
)

# %% [markdown]
# ### How many components does a kernel have?
#
# Someone must choose the ranks. The paper takes **EVBMF** (empirical variational Bayesian matrix factorization, Nakajima et al., 2013). It assumes that a matrix is a low-rank one plus Gaussian noise, searches for the strength of the noise, one number, under which the matrix is most likely (by a variational approximation), and counts the singular values that stand out from it. It needs no data. On matrices whose rank we know:

# %% tags=["nbval-check-output"]
g = torch.Generator().manual_seed(0)
for rank, size in ((3, (20, 50)), (5, (64, 576)), (0, (64, 288))):
    low_rank = torch.randn(size[0], rank, generator=g) @ torch.randn(rank, size[1], generator=g)
    print(
        f"rank {rank}, {size}, with noise: EVBMF says {paper.evbmf_rank(low_rank + 0.1 * torch.randn(size, generator=g))}"
    )

# %% [markdown]
# A kernel has two ranks, so `evbmf_ranks` asks EVBMF about its two unfoldings. Of pure noise nothing is left, and a convolution with no channels is none: the function takes at least 1. Ranks are written $(r_i, r_o)$.

# %%
for layer in ("conv2", "conv3"):
    r_i, r_o = paper.evbmf_ranks(getattr(teacher, layer).weight)
    lab.record(f"EVBMF/{layer}/in", r_i, unit="rank")
    lab.record(f"EVBMF/{layer}/out", r_o, unit="rank")
found = {
    f"{layer}, {side}": lab.metrics[f"EVBMF/{layer}/{side}"] for layer in ("conv2", "conv3") for side in ("in", "out")
}
lab.claim(
    "EVBMF finds in our teacher the ranks that it found in the published one: (3, 4) in conv2 and (7, 11) in conv3.",
    holds=tuple(found.values()) == (3, 4, 7, 11),
    evidence=found,
    source="reproduction (ranks of the authors' own teacher)",
    reason="The ranks belong to the trained weights, not to the architecture: another training, with other steps or for longer, leaves other kernels. For students of the published sizes we take the published ranks, whatever is found here.",
)

# %% [markdown]
# ### Three students
#
# Student 1 has `conv3` compressed with ranks (7, 11); student 2 also `conv2` with (3, 4); student 3 as well, but `conv3` with (5, 8), ranks that the authors fixed by hand. Their sizes must be those of the paper: 3.62, 4.10 and 4.49 times smaller.


# %% tags=["nbval-check-output"]
students = {n: compress(teacher, ranks) for n, ranks in enumerate(LENET5_STUDENTS, 1)}
shapes = {"conv2": ((6, 16), (196, 100)), "conv3": ((16, 120), (25, 1))}  # channels, pixels
ratios = {}  # student: how many times fewer parameters, and fewer MACs
for n, student in students.items():
    saved = sum(
        channels[0] * channels[1] * 25
        + channels[1]
        - tucker2_cost(channels, 5, LENET5_STUDENTS[n - 1][layer], pixels)[0]
        for layer, (channels, pixels) in shapes.items()
        if layer in LENET5_STUDENTS[n - 1]
    )
    count, work = parameter_count(student), macs(student, digits.test[0])
    ratios[n] = parameter_count(teacher) / count, macs(teacher, digits.test[0]) / work
    print(
        f"student {n}: {count:,} parameters ({parameter_count(teacher) - saved:,} by your count), {ratios[n][0]:.2f}x smaller;"
    )
    print(f"           {work:,} MACs, {ratios[n][1]:.2f}x fewer")

# %%
lab.claim(
    "Compression saves computing as it saves parameters: for each student MACs fall by at least half the factor by which parameters fall.",
    holds=all(by_macs >= by_parameters / 2 for by_parameters, by_macs in ratios.values()),
    evidence={
        f"student {n}, {what}": r
        for n, pair in ratios.items()
        for what, r in zip(("parameters", "MACs"), pair, strict=True)
    },
    source="this lesson, on the paper's ratios",
    reason="Parameters and MACs sit in different layers. The third convolution has 78 % of LeNet-5's parameters and is used at a single place, for 12 % of its MACs; the second has 4 % of the parameters and 58 % of the MACs.",
)

# %% [markdown]
# And time? Three small convolutions in the place of one mean three times as many calls. Times are printed, not recorded: they depend on your machine.

# %%
for name, model in [("teacher", teacher), *((f"student {n}", s) for n, s in students.items())]:
    fastest = milliseconds(predict, model, digits.test[0][:256], repeats=5)
    print(f"{name}: {fastest:.1f} ms for 256 images (this machine, this time)")

# %% [markdown]
# Compare these times with the MACs above. A layer of few channels keeps a processor less busy, and each call has a price whatever its size. So a student that computes less need not answer sooner: measure where it will run.
#
# What did the compression cost in accuracy, before any fine-tuning?

# %%
for n, student in students.items():
    lab.record(f"student {n}/nothing", 100 * accuracy(student, *digits.test), unit="% of the test images")
for layer, ranks in (("conv2", (3, 4)), ("conv3", (7, 11)), ("conv3", (5, 8))):
    kernel = getattr(teacher, layer).weight.detach().cpu()
    lost = kernel - kernel_of(paper.tucker2_conv(getattr(teacher, layer), ranks))
    lab.record(f"kernel/{layer} {ranks}", lost.norm() / kernel.norm(), unit="relative error")

# %%
lab.tell(
    "The teacher has {teacher/accuracy:.2f} %, the students {student 1/nothing:.2f}, {student 2/nothing:.2f} and {student 3/nothing:.2f} %. The authors' trained teacher, compressed in the same way, goes from 98.91 to 85.18, 67.35 and 50.01 %. Same architecture, same ranks, another training: here the ranks leave relative errors of {kernel/conv2 (3, 4):.2f} in `conv2`, and of {kernel/conv3 (7, 11):.2f} or {kernel/conv3 (5, 8):.2f} in `conv3`. So *how much there is to recover* is a property of the teacher. Keep it in mind when you compare our table with the paper's: where little was lost, no data can bring back much."
)

# %% [markdown]
# ## 5 · Fine-tuning without data
#
# ### Exercise 7 · The distillation loss
#
# A student $S$ learns to give the teacher's probabilities. How far is $\operatorname{softmax} S(x_b)$ from the teacher's $p_b = \operatorname{softmax} M(x_b)$? Take the Kullback-Leibler divergence, in nats, mean over the batch:
#
# $$\frac{1}{B} \sum_{b=1}^{B} \sum_{k=1}^{c} p_{bk} \big(\log p_{bk} - \log \operatorname{softmax}(S(x_b))_k\big)$$
#
# The teacher answers in evaluation mode, and learns nothing: no gradient flows into it. The student stays in the mode it is in. (Distillation often divides the logits by a temperature; KegNet does not.)


# %% tags=["exercise"]
def distillation_loss(student, teacher, x):
    """Two networks, and data x (B, ...) that both are asked about -> a scalar, in nats."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
distillation_loss = lab.check(distillation_loss)

# %% [markdown]
# Where the same $x$ come many times, the teacher need answer only once. With its answers kept, `kd_loss` of lesson 07 at temperature 1 is the same:

# %% tags=["nbval-check-output"]
few = noise("Gaussian", digits.test[0], 64, "a few")
with torch.no_grad():
    yours = distillation_loss(students[3], teacher, few)
    kept_answers = kd_loss(predict(students[3], few), predict(teacher, few), 1.0)
print("the same:", bool((yours - kept_answers).abs() < 1e-4), " a teacher beside itself:", end=" ")
print(round(abs(distillation_loss(teacher, teacher, few).item()), 4))

# %% [markdown]
# ### Five ways to go on from a compressed network
#
# Do *nothing*. Or train all its weights on uniform noise, on Gaussian noise, on KegNet's data, or, as the ceiling, on the teacher's own training images (without their labels: the teacher answers to these, too). Everything else is equal: as many data points, as many steps of Adam, the same step size. (Half a point of accuracy is the least lead that the claims count. At `quick` there are 1,000 test images, so that it is five images. Of an accuracy of 90 % counted on 1,000 images one standard deviation is $\sqrt{0.9 \cdot 0.1 / 1000}$, 0.9 points: a lead of a point or two may be chance. On the 10,000 images of `full` it is 0.3 points.)
#
# **When to stop?** The code keeps the state with the best accuracy on *real validation images with labels*, of which the student before any step is one. That is not "no observable data". So we report two numbers: at the **last step**, for which nothing real is needed, and at the **best step** by real validation data, looked at four times in each pass. All claims below are about the last step. (One thing did need real data: step size, number of steps and number of generators were chosen while this lesson was written, with real accuracies in view. All sources share step size and number of steps. The number of generators and their steps concern KegNet alone, so that choice was in its favour.)


# %%
class Tuning:
    """A student on its way, and the state that did best on real validation data."""

    def __init__(self, student, x, wanted, validation, lr, name):
        self.x, self.wanted, self.validation = x, wanted, validation
        self.student, self.rng = channels_last(deepcopy(student).requires_grad_(True)), lab.generator(name)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=lr)
        self.best, self.chosen = accuracy(self.student, *self.validation), deepcopy(self.student.state_dict())

    def one_pass(self, _):
        """In four parts, with a look at the validation data after each."""
        for x, wanted in zip(self.x.chunk(4), self.wanted.chunk(4), strict=True):
            self.student.train()
            for batch in torch.randperm(len(x), generator=self.rng).split(64):
                self.optimizer.zero_grad()
                kd_loss(self.student(x[batch]), wanted[batch], 1.0).backward()
                self.optimizer.step()
            if (now := accuracy(self.student, *self.validation)) > self.best:
                self.best, self.chosen = now, deepcopy(self.student.state_dict())


# %% [markdown]
# (The next cell lets a long training be stopped and gone on with.)


# %%
class Resumable(Tuning):
    """With what `in_stretches` needs for a checkpoint."""

    def state_dict(self):
        parts = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        return parts | {"rng": self.rng.get_state(), "best": self.best, "chosen": dict(self.chosen)}

    def load_state_dict(self, state):
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])
        self.best, self.chosen = state["best"], state["chosen"]


# %%
@dataclass(frozen=True)
class Tuned:
    last: float  # test accuracy at the last step
    best: float  # test accuracy at the best step by validation
    student: nn.Module  # as it is at the last step


# %%
def tuned(task, student, x, wanted, name, rate=1.0):
    """Fine-tune a student on x and the teacher's answers."""
    tuning = Resumable(student, x, wanted, task.validation, rate * task.recipe.finetune_lr, name)
    with lab.seeded(f"{name}, dropout"):
        in_stretches(tuning.one_pass, tuning, range(1, task.recipe.finetune_epochs + 1), lab.checkpoint(name))
    chosen = deepcopy(tuning.student)
    chosen.load_state_dict(tuning.chosen)
    return Tuned(100 * accuracy(tuning.student, *task.test), 100 * accuracy(chosen, *task.test), tuning.student)


# %%
sources = ("uniform", "Gaussian", "KegNet", "real")


def data_from(source, task, generators, name):
    """Data for a student, (synthetic_size, ...)."""
    x, count = task.train[0], task.recipe.synthetic_size
    if source == "KegNet":
        return drawn(generators, count, name)[0]
    if source == "real":
        return x[torch.randint(len(x), (count,), generator=lab.generator(name)).to(x.device)]
    return noise(source, x, count, name)


# %%
def compare(task, teacher, students, generators, repetition=0, data=sources):
    """{(student, source): Tuned}"""
    found = {}
    for source in data:
        where = f"{task.name}, {source}, repetition {repetition}"
        x = data_from(source, task, generators, where)
        wanted = predict(teacher, x)
        for n, student in students.items():
            found[n, source] = tuned(task, student, x, wanted, f"{where}, student {n}")
    return found


# %% [markdown]
# **Predict.** Order the four sources, for each student. How many points will noise win, and how many KegNet?

# %%
runs = [compare(digits, teacher, students, generators[r], r) for r in range(config.repetitions)]

# %%
for n in students:
    for source in sources:
        last, best = (np.array([getattr(run[n, source], when) for run in runs]) for when in ("last", "best"))
        lab.record(f"student {n}/{source}/last step", last.mean(), unit="% of the test images")
        lab.record(f"student {n}/{source}/best step", best.mean(), unit="% of the test images")
        if len(runs) > 1:
            lab.record(f"student {n}/{source}/spread", last.std(ddof=1), unit="standard deviation of the last step")


# %%
def cell(n, source):
    """Test accuracy at the last and at the best step, for a table; names in braces are filled in by `lab.tell`."""
    spread = f" ± {{student {n}/{source}/spread:.2f}}" if len(runs) > 1 else ""
    return f"{{student {n}/{source}/last step:.2f}}{spread} ({{student {n}/{source}/best step:.2f}})"


# %%
lines = [
    "| fine-tuned with | " + " | ".join(f"student {n}, {ratios[n][0]:.2f}x" for n in students) + " |",
    "|---" * 4 + "|",
]
lines += ["| nothing | " + " | ".join(f"{{student {n}/nothing:.2f}}" for n in students) + " |"]
lines += [f"| {source} | " + " | ".join(cell(n, source) for n in students) + " |" for source in sources]
lines += ["| *nothing, published teacher of 98.91* | *85.18* | *67.35* | *50.01* |"]
lab.tell("\n".join(lines))

# %% [markdown]
# Test accuracy in %, at the last step and in parentheses at the best step by validation; ± is the standard deviation over repetitions, where there are several: other generators, other noise, another order, but one teacher. Another teacher may change more than that. “3.62x” means that many times fewer parameters. (The figure shows the last step; its axis need not start at 0.) The last row was computed from the authors' code and checkpoint. (The paper's own numbers for the other rows could not be checked when this was written, and are left out.)

# %%
figure, ax = panels(width=8.5, height=3.6)
shown = {"nothing": [lab.metrics[f"student {n}/nothing"] for n in students]}
shown |= {source: [lab.metrics[f"student {n}/{source}/last step"] for n in students] for source in sources}
ceiling = shown.pop("real")
bars(ax, [f"student {n}, {ratios[n][0]:.2f}x" for n in students], shown, numbers=False)
for place, height in enumerate(ceiling):
    ax.hlines(height, place - 0.45, place + 0.45, color="black", label="real" if place == 0 else None)
ax.axhline(lab.metrics["teacher/accuracy"], color="black", linestyle=":", label="teacher")
ax.set(ylabel="test accuracy in %", ylim=(max(0, min(min(row) for row in shown.values()) - 8), 100.5))
ax.legend(frameon=False, ncols=6, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1))
lab.show(
    figure,
    alt="Test accuracy of three students, four bars each: with nothing, uniform noise, Gaussian noise and KegNet data; lines mark real images and the teacher. "
    + "; ".join(
        f"student {n}: " + ", ".join(f"{s} {shown[s][n - 1]:.1f}" for s in shown) + f", real {ceiling[n - 1]:.1f}"
        for n in students
    )
    + ".",
)

# %%
missing = {n: lab.metrics["teacher/accuracy"] - lab.metrics[f"student {n}/nothing"] for n in students}
for source in sources:
    won = {n: lab.metrics[f"student {n}/{source}/last step"] - lab.metrics[f"student {n}/nothing"] for n in students}
    lab.record(
        f"recovered/{source}, all students", 100 * sum(won.values()) / sum(missing.values()), unit="% of the loss"
    )
    lab.record(f"recovered/{source}, student 3", 100 * won[3] / max(missing[3], 1), unit="% of the loss")

# %%
lab.tell(
    "Of all the accuracy that compression took from the three students, uniform noise brings back {recovered/uniform, all students:.0f} %, Gaussian noise {recovered/Gaussian, all students:.0f} %, KegNet {recovered/KegNet, all students:.0f} % and real images {recovered/real, all students:.0f} %. For student 3 alone these are {recovered/uniform, student 3:.0f}, {recovered/Gaussian, student 3:.0f}, {recovered/KegNet, student 3:.0f} and {recovered/real, student 3:.0f} %. (Below 0 means that training did harm.)"
)
if len(runs) > 1:
    lab.tell(
        "How much does it depend on chance? From repetition to repetition student 3 has a standard deviation of {student 3/KegNet/spread:.1f} points with KegNet, {student 3/uniform/spread:.1f} with uniform and {student 3/Gaussian/spread:.1f} with Gaussian noise: that much depends on which generators one happens to get. A lead of one repetition that is smaller than that says nothing."
    )

# %%
for n in students:
    reached = {source: lab.metrics[f"student {n}/{source}/last step"] for source in sources[:3]}
    spreads = {f"{s}, spread": lab.metrics[f"student {n}/{s}/spread"] for s in sources[:3] if len(runs) > 1}
    leads = [run[n, "KegNet"].last - max(run[n, "uniform"].last, run[n, "Gaussian"].last) for run in runs]
    lab.record(f"student {n}/least lead", min(leads), unit="points over the better noise, of all repetitions")
    lab.claim(
        f"Fine-tuned with KegNet data, student {n} is better than with uniform and with Gaussian noise: by at least half a point in the mean, and in each repetition.",
        holds=reached["KegNet"] >= max(reached["uniform"], reached["Gaussian"]) + 0.5 and min(leads) > 0,
        evidence=reached | {"nothing": lab.metrics[f"student {n}/nothing"], "least lead": min(leads)} | spreads,
        source="paper",
        reason="At the last step, mean over repetitions, one teacher a run. Where compression cost a point or two, no data can win much. And noise is no straw man: the teacher's ten probabilities say something about its function at any point, and a student made from the teacher needs only to be set right, not taught anew. How much noise is worth changes from teacher to teacher.",
    )

# %%
lab.claim(
    "KegNet data bring back at least half of the accuracy that compression took from the three students together.",
    holds=lab.metrics["recovered/KegNet, all students"] >= 50,
    evidence={source: lab.metrics[f"recovered/{source}, all students"] for source in sources},
    source="review (“to a considerable degree”)",
    reason="No real image or label was used between the teacher and the last step; settings were chosen before, as section 5 says. The student is the teacher with fewer directions in some layers, so most of it is there already. How much comes back depends on the teacher, on how much was lost, and on how far the generators came.",
)
lab.claim(
    "Real images are the ceiling: for no student are KegNet data half a point or more above them.",
    holds=all(shown["KegNet"][n - 1] < ceiling[n - 1] + 0.5 for n in students),
    evidence={f"student {n}, {s}": lab.metrics[f"student {n}/{s}/last step"] for n in students for s in sources[2:]},
    source="paper, review",
    reason="Test images are more like real ones than like patterns. What separates the two is what data without data still lack.",
)

# %% [markdown]
# ### How much was there to win?
#
# Where compression takes little, little can be won back, by whatever data. Is that why KegNet leads by so little with student 1, if at all? Compress `conv3` alone, as in student 1, but further than (7, 11), so that more is lost (`config.further`; once each). Of every student the figure shows what compression took, and by how much KegNet then leads the better of the two kinds of noise.
#
# **Predict.** Does KegNet lead by more where more was lost?

# %%
further = {ranks: compress(teacher, {"conv3": ranks}) for ranks in config.further}
found = compare(digits, teacher, further, generators[0], data=sources[:3])
lost_and_lead = {}  # student: points that compression took, points by which KegNet leads
for n, student in (students | further).items():
    run = found if n in further else runs[0]
    lost = lab.metrics["teacher/accuracy"] - 100 * accuracy(student, *digits.test)
    lead = run[n, "KegNet"].last - max(run[n, "uniform"].last, run[n, "Gaussian"].last)
    name = f"conv3 {n}" if n in further else f"student {n}"
    lost_and_lead[name] = lost, lead
    lab.record_all({f"to win/{name}/lost": lost, f"to win/{name}/lead": lead}, unit="points, one repetition")

# %%
figure, ax = panels(width=8, height=3.2)
names = sorted(lost_and_lead, key=lambda name: lost_and_lead[name][0])
what = ("points that compression took", "points by which KegNet leads")
bars(ax, names, {label: [round(lost_and_lead[name][i], 1) for name in names] for i, label in enumerate(what)})
ax.axhline(0, color="black", linewidth=0.8)
ax.set(ylabel="points of accuracy")
ax.margins(y=0.12)  # room for numbers below 0
ax.legend(frameon=False, loc="upper left")
lab.show(
    figure,
    alt="For each student, two bars: the points of accuracy that compression took, and the points by which KegNet leads the better kind of noise. "
    + "; ".join(f"{name}: lost {lost_and_lead[name][0]:.1f}, lead {lost_and_lead[name][1]:.1f}" for name in names)
    + ".",
)

# %%
lab.tell(
    "; ".join(
        f"{name} lost {{to win/{name}/lost:.1f}} points, KegNet leads by {{to win/{name}/lead:.1f}}"
        for name in lost_and_lead
    )
    + ". (Below 0 the better noise leads.) A lead that is larger than what was lost comes from noise that did harm, or from chance."
)
of_conv3 = {name: pair for name, pair in lost_and_lead.items() if name not in ("student 2", "student 3")}
most = max(of_conv3, key=lambda name: of_conv3[name][0])
lab.claim(
    "KegNet leads by more where more was lost: of the students with conv3 alone compressed, the one that lost most has the largest lead, of at least half a point.",
    holds=of_conv3[most][1] >= max(0.5, *(lead for _, lead in of_conv3.values())),
    evidence={
        f"{name}, {what}": value
        for name, pair in of_conv3.items()
        for what, value in zip(("lost", "lead"), pair, strict=True)
    },
    source="this lesson",
    reason="One training each. Where much is lost there is room for a lead; but noise has that room, too, and may use it.",
)

# %% [markdown]
# ### What did they learn?
#
# A student that was trained on noise should answer to noise as the teacher does. Does that carry over to real images? Take student 3 with nothing and after each fine-tuning (rows). Show it 500 new data of each source and 500 real test images (columns). On how many does it name the same class as the teacher?
#
# **Predict.** Where will the largest numbers stand?

# %%
shown_to = {source: data_from(source, digits, generators[0], f"{source}, to compare")[:500] for source in sources[:3]}
shown_to["real"] = digits.test[0][:500]
after = {"nothing": students[3]} | {source: runs[0][3, source].student for source in sources}
agreement = np.zeros((len(after), len(shown_to)))
for j, (where, x) in enumerate(shown_to.items()):
    named_by_teacher = predict(teacher, x).argmax(1)
    for i, (source, student) in enumerate(after.items()):
        agreement[i, j] = 100 * (predict(student, x).argmax(1) == named_by_teacher).float().mean()
        lab.record(f"agreement/{source}, shown {where}", agreement[i, j], unit="% of 500, student 3")

# %%
figure, ax = panels(width=5.5, height=3.8)
ax.imshow(agreement, cmap="viridis", vmin=0, vmax=100, aspect="auto")
for i, j in np.ndindex(agreement.shape):
    value = agreement[i, j]
    ax.text(j, i, f"{value:.0f}", ha="center", va="center", color="white" if value < 60 else "black")
ax.set_xticks(range(len(shown_to)), list(shown_to))
ax.set_yticks(range(len(after)), list(after))
ax.set(xlabel="shown", ylabel="fine-tuned with")
lab.show(
    figure,
    alt="A table of numbers: on how many of 500 data of each source (columns) student 3, after each fine-tuning (rows), names the same class as the teacher, in percent. On real images: "
    + ", ".join(f"{source} {agreement[i, -1]:.0f}" for i, source in enumerate(after))
    + ".",
)

# %%
lab.tell(
    "Trained on uniform noise, student 3 agrees with the teacher on {agreement/uniform, shown uniform:.0f} % of new uniform noise (before: {agreement/nothing, shown uniform:.0f} %) and on {agreement/uniform, shown real:.0f} % of real images (before: {agreement/nothing, shown real:.0f} %). Trained on KegNet data, it agrees on {agreement/KegNet, shown KegNet:.0f} % of these (before: {agreement/nothing, shown KegNet:.0f} %) and on {agreement/KegNet, shown real:.0f} % of real images. What a student learns on one kind of data is worth something only as far as it shows on real images. Where it agrees on nearly all data of its own kind and on far fewer real images, more steps on such data will not help: they do not cover what real images need."
)

# %% [markdown]
# ### With real labels, or without
#
# Look again at the table above, at the numbers in parentheses. Does the order of the three sources without real data change if the step is chosen with real labels?


# %%
def order(n, when):
    return sorted(sources[:3], key=lambda source: -lab.metrics[f"student {n}/{source}/{when} step"])


orders = {(n, when): ", ".join(order(n, when)) for n in students for when in ("last", "best")}
gains = [
    lab.metrics[f"student {n}/{s}/best step"] - lab.metrics[f"student {n}/{s}/last step"]
    for n in students
    for s in sources[:3]
]
lab.record("best step/largest gain", max(gains), unit="points over the last step, without real data")
lab.record("best step/mean gain", np.mean(gains), unit="points over the last step, without real data")
lab.claim(
    "Choosing the best step with real labels does not change who is best: for each student the same source leads as at the last step.",
    holds=all(order(n, "last")[0] == order(n, "best")[0] for n in students),
    evidence={f"student {n}, {when}": names for (n, when), names in orders.items()},
    source="this lesson, on the authors' code",
    reason="The step before any training may be chosen, so that data which do harm look harmless. Where sources lie within the errors of so many test images, the lead may change for no reason at all.",
)

# %%
lab.tell(
    "On test images the best step by validation is {best step/mean gain:.2f} points better than the last one in the mean over students and sources, and at most {best step/largest gain:.2f}; it need not be better at all. Whoever reports only the best step has used real labels to find it."
)

# %% [markdown]
# ### Is it the number of generators?
#
# Train student 3 on equally many images from a single generator as from all of one repetition. (At `full` and `paper` also from a single one that was trained for as many steps as all together.)
#
# **Predict.** Does it pay to have more than one?

# %%
x = drawn(generators[0][:1], digits.recipe.synthetic_size, "from one generator")[0]
by_one = tuned(digits, students[3], x, predict(teacher, x), "student 3, from one generator")
few_or_many = {"1": by_one.last, "all": runs[0][3, "KegNet"].last}
if config.alone:
    lone = made(digits, teacher, "one generator, trained for long", steps=config.alone)
    x = drawn([lone], digits.recipe.synthetic_size, "from one, trained for long")[0]
    by_lone = tuned(digits, students[3], x, predict(teacher, x), "student 3, from one for long")
    few_or_many["1, trained for long"] = by_lone.last
lab.record_all({f"generators/{count}": reached for count, reached in few_or_many.items()}, unit="% of the test images")

# %%
lab.claim(
    "Images of several generators train student 3 better than as many of one, by at least half a point, however long that one was trained here.",
    holds=few_or_many["all"] >= max(reached for count, reached in few_or_many.items() if count != "all") + 0.5,
    evidence=few_or_many,
    source="paper",
    reason="One student each, and which generator is the single one is chance. More generators also took more training in all; where there is a single one that was trained as long as all together, compare with that.",
)

# %% [markdown]
# ### Is it the step size?
#
# For MNIST the code fine-tunes on KegNet's data with a step size of $10^{-5}$, for up to 400 passes. On noise it takes a tenth of that, $10^{-6}$, for up to 1,000 passes, but over a fifth as many data points: half as many steps, if both run to the end. But what a method is compared with should get the settings that suit it. So vary the step size for uniform noise on student 3, from a tenth of KegNet's upwards.
#
# **Predict.** Which step size suits noise better?

# %%
rated = {}
x = data_from("uniform", digits, generators[0], "digits, uniform, repetition 0")
wanted = predict(teacher, x)
for rate in config.rates:
    name = f"digits, uniform, step size times {rate}"
    rated[rate] = runs[0][3, "uniform"] if rate == 1 else tuned(digits, students[3], x, wanted, name, rate)
    lab.record(f"rate/times {rate}", rated[rate].last, unit="% of the test images, student 3, uniform noise")
lab.record("one run/student 3, KegNet", runs[0][3, "KegNet"].last, unit="% of the test images")

# %%
best_rate = max(rated, key=lambda rate: rated[rate].last)
lab.record("rate/best", best_rate, unit="times KegNet's step size, chosen by test accuracy")
lab.record("rate/at best", rated[best_rate].last, unit="% of the test images, student 3, uniform noise")
from_nothing = {rate: run.last - lab.metrics["student 3/nothing"] for rate, run in rated.items()}
lab.claim(
    "A tenth of KegNet's step size, the ratio published for noise on MNIST, holds noise back: it wins less than half of the points that it wins with KegNet's.",
    holds=from_nothing[1.0] > 0 and from_nothing[0.1] < from_nothing[1.0] / 2,
    evidence={f"times {rate}": run.last for rate, run in rated.items()}
    | {"nothing": lab.metrics["student 3/nothing"], "KegNet": runs[0][3, "KegNet"].last},
    source="this lesson, on the authors' code",
    reason="With equally many steps for all. In the code noise has half as many as KegNet, if both run to the end; and at `quick` and `full` numbers of steps and step sizes are far from the published ones (hundreds of passes at $10^{-5}$ and $10^{-6}$). So this tests the ratio, not the published training. With a smaller step as many steps move a student less, whatever the data. Where noise does harm, there is nothing to hold back, and the sentence does not hold.",
)

# %%
lab.tell(
    "With KegNet's step size uniform noise brings student 3 from {student 3/nothing:.1f} to {rate/times 1.0:.1f} %, with a tenth of it to {rate/times 0.1:.1f} %. Of all those tried {rate/best:.1f} times KegNet's suits it best, chosen with the test images in its favour: {rate/at best:.1f} %, where KegNet, at the one step size, reached {one run/student 3, KegNet:.1f} %. Whoever gives a baseline another step size has to say how it was chosen."
)

# %% [markdown]
# ## 6 · In which mode does the teacher look?
#
# **Batch normalization** has two modes. In *training* mode a network normalizes by mean and variance of the batch before it; in *evaluation* mode, in which it is used, by running averages from its own training. In training mode a forward pass also moves these averages. The authors' code never calls `teacher.eval()` while the generator learns. The labels for the student then come from a teacher that was loaded afresh, in evaluation mode. LeNet-5 has no such layers:

# %% tags=["nbval-check-output"]
some = noise("Gaussian", digits.test[0], 64, "modes")
with torch.no_grad():
    same = torch.equal(deepcopy(teacher).train()(some), deepcopy(teacher).eval()(some))
print("LeNet-5 answers alike in both modes:", same)

# %% [markdown]
# So take a network that has them: at `quick` a LeNet-5 with batch normalization behind each convolution, at `full` and `paper` ResNet-14, the paper's teacher for Fashion-MNIST and SVHN: a convolution, three stages of two residual blocks with two convolutions each, and a linear layer. (To save time it is trained on fewer images at `quick` and `full`, and at `full` also tested on fewer, 4,000: of an accuracy of 90 % one standard deviation is half a point.)


# %%
def small_network():
    """LeNet-5 with batch normalization behind each convolution."""
    layers, channels = OrderedDict(), 1
    for n, out in enumerate((6, 16, 120), 1):
        layers[f"conv{n}"], layers[f"bn{n}"] = nn.Conv2d(channels, out, 5), nn.BatchNorm2d(out)
        if n < 3:
            layers[f"pool{n}"] = nn.MaxPool2d(2)
        layers[f"relu{n}"] = nn.ReLU()
        channels = out
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(120, 84), "relu4": nn.ReLU(), "fc2": nn.Linear(84, 10)}
    return nn.Sequential(layers)


# %%
mode_task = images_of("digits", config.mode, config.mode_images)
with lab.seeded("normalized"):
    normalized = channels_last(paper.ResNet14(channels=1) if config.residual else small_network()).to(lab.device)
trained(normalized, mode_task, "normalized")
lab.record("mode/teacher", 100 * accuracy(normalized, *mode_task.test), unit="% of the test images")

# %% [markdown]
# ### Does another network agree?
#
# The generators of section 3 learned from the answers of one teacher. What do other networks say of their images? If they showed digits, any network that knows digits should name them. Ask two that never met these generators: a second LeNet-5, trained as the teacher was (at `quick` for half as many passes) but from other weights and in another order, and the network above, which differs in more: its layers, its running averages, its training.
#
# **Predict.** In how many of a hundred images will the second LeNet-5 see the class that was asked for? And the other network?

# %%
x, asked_for = drawn(generators[0], 1000, "images for another network")
with lab.seeded("second teacher"):
    second = channels_last(LeNet5()).to(lab.device)
trained(second, replace(digits, recipe=replace(digits.recipe, epochs=config.second)), "second teacher")
lab.record("another network/accuracy", 100 * accuracy(second, *digits.test), unit="% of the test images")
agrees, other = (100 * accuracy(net, x, asked_for) for net in (second, normalized))
lab.record("another network/as asked", agrees, unit="% of 1,000 new images, a second LeNet-5")
lab.record("another network/as asked, normalized", other, unit="% of 1,000 new images")
lab.tell(
    "The second LeNet-5, right on {another network/accuracy:.1f} % of real test images, sees what was asked for in {another network/as asked:.0f} % of the generated ones; the network with batch normalization in {another network/as asked, normalized:.0f} %. The teacher itself: {generated/as asked:.0f} % of others like them. What lies between these numbers is what the images owe to one teacher's weights."
)
lab.claim(
    "Generated images show what was asked for: a second LeNet-5, trained likewise, sees it in at least 90 % of those in which the teacher does.",
    holds=agrees >= 0.9 * lab.metrics["generated/as asked"],
    evidence={"second LeNet-5": agrees, "normalized": other, "the teacher": lab.metrics["generated/as asked"]},
    source="review (“the images look as intended”)",
    reason="What is compared are shares of images as asked: its own, of these images, and the teacher's, of others. The generators had to please one teacher. What a network trained likewise sees as well is more than that teacher's habit; what it does not see is no picture of a digit, though it may be all the better for copying the teacher. A network with batch normalization in evaluation mode also meets inputs far from its running averages, which tells more about it than about the images. Chance is 10 %.",
)

# %% [markdown]
# ### One pass in training mode
#
# Make one forward pass in training mode, on images of a generator that has not learned yet: how far do the running averages move, and on how many images do the two modes name the same class?

# %%
with lab.seeded("not trained"):
    x, _ = draw_data(ImageGenerator().to(lab.device), 256, lab.generator("not trained"))
moving = deepcopy(normalized).train()
with torch.no_grad():
    in_training = moving(x).argmax(1)
steps = [
    (now - was).abs().max().item() for now, was in zip(moving.buffers(), normalized.buffers(), strict=True) if was.ndim
]
lab.record("mode/largest change of a running average", max(steps), unit="in one forward pass")
alike = (in_training == predict(normalized, x).argmax(1)).float().mean()
lab.record("mode/same class, before learning", 100 * alike, unit="% of 256 images")

# %% [markdown]
# Now train a generator against each mode, from the same weights, with the same $y$ and $z$. (`train_generator` works on a frozen copy, so here the running averages of the teacher itself stay.) Then ask the teacher for the classes of new images, in both modes.
#
# **Predict.** A generator that was trained against training mode: for how many of its images does the teacher in use name the class that was asked for?

# %%
modes = {"train": "training", "eval": "evaluation"}  # PyTorch's word: ours
made_for = {}  # mode: images
for mode, word in modes.items():
    G = made(mode_task, normalized, "generator for a mode", teacher_mode=mode)
    x, asked_for = drawn([G], 1000, "images for a mode")
    made_for[mode] = drawn([G], config.mode.synthetic_size, "data for a mode")[0]
    with torch.no_grad():
        judged = {"training": torch.cat([deepcopy(normalized).train()(part) for part in x.split(250)])}
    judged["evaluation"] = predict(normalized, x)
    for judge, found in judged.items():
        agrees = 100 * (found.argmax(1) == asked_for).float().mean()
        lab.record(f"mode/made for {word}, seen in {judge}", agrees, unit="% as asked, of 1,000 new images")

# %%
figure, ax = panels(width=7, height=3)
seen_in = {
    f"seen in {judge} mode": [lab.metrics[f"mode/made for {word}, seen in {judge}"] for word in modes.values()]
    for judge in modes.values()
}
bars(ax, [f"made for {word} mode" for word in modes.values()], seen_in)
ax.set(ylabel="% as asked", ylim=(0, 112))
ax.legend(frameon=False, ncols=2, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1))
lab.show(
    figure,
    alt="Share of new images that the teacher takes for what was asked for, by the mode for which they were made and the mode in which the teacher sees them. "
    + "; ".join(
        f"made for {word} mode: {seen_in['seen in training mode'][i]:.0f} % in training, {seen_in['seen in evaluation mode'][i]:.0f} % in evaluation mode"
        for i, word in enumerate(modes.values())
    )
    + ".",
)

# %%
lab.tell(
    "Made for training mode, as published, {mode/made for training, seen in training:.0f} % of the images are as asked in that mode, but {mode/made for training, seen in evaluation:.0f} % for the teacher in use. Made for evaluation mode, it is {mode/made for evaluation, seen in evaluation:.0f} %. (Chance is 10 %. One forward pass moved a running average by up to {mode/largest change of a running average:.2f}, and before any learning both modes agreed on {mode/same class, before learning:.0f} % of the images.)"
)
lab.claim(
    "Trained against the teacher in training mode, as in the code, the generator makes images that are not what was asked for: the teacher in use agrees with at least 20 points fewer than if trained against evaluation mode.",
    holds=lab.metrics["mode/made for training, seen in evaluation"]
    <= lab.metrics["mode/made for evaluation, seen in evaluation"] - 20,
    evidence={
        f"{a}, {b}": lab.metrics[f"mode/made for {a}, seen in {b}"] for a in modes.values() for b in modes.values()
    },
    source="this lesson, on the authors' code",
    reason="In training mode the batch normalizes itself: whatever its mean and contrast inside the network, they are taken out before the next layer. In use they are not. How far the two are apart depends on the network and on how long the generator learns.",
)

# %% [markdown]
# Does it matter for the *student*? Its targets are the teacher's answers in evaluation mode to whatever image comes, so nothing is labelled wrongly. But what if nearly all of those answers name the same few classes, as they do for noise? Compress the network (at `quick` with the ranks of student 3, else the four convolutions of its last stage with EVBMF's ranks), and fine-tune with either data.

# %%
layers = paper.RESNET14_STUDENTS[2] if config.residual else LENET5_STUDENTS[2]
compressed = compress(normalized, layers)
lab.record("mode/student, nothing", 100 * accuracy(compressed, *mode_task.test), unit="% of the test images")
for mode, word in modes.items():
    wanted = predict(normalized, made_for[mode])
    common = wanted.argmax(1).bincount().max() / len(wanted)
    lab.record(f"mode/commonest class, made for {word}", 100 * common, unit="% of the answers in use")
    run = tuned(mode_task, compressed, made_for[mode], wanted, f"student of a mode, {word}")
    lab.record(f"mode/student, made for {word}", run.last, unit="% of the test images")

# %%
lab.tell(
    "The student has {mode/student, nothing:.1f} % before fine-tuning, {mode/student, made for training:.1f} % with images made for training mode and {mode/student, made for evaluation:.1f} % with those made for evaluation mode; the teacher has {mode/teacher:.1f} %. To the first the teacher answers with its commonest class in {mode/commonest class, made for training:.0f} % of all cases, to the second in {mode/commonest class, made for evaluation:.0f} %."
)
lab.claim(
    "The student suffers from it: with images made for training mode it is at least half a point worse than with those made for evaluation mode.",
    holds=lab.metrics["mode/student, made for training"] <= lab.metrics["mode/student, made for evaluation"] - 0.5,
    evidence={word: lab.metrics[f"mode/student, made for {word}"] for word in modes.values()}
    | {"nothing": lab.metrics["mode/student, nothing"]},
    source="this lesson, on the authors' code",
    reason="One generator for each mode and one student each. The teacher's answers fit the images in either case; what differs is which classes they name. A student in training also normalizes by its own batches, and ends with their running averages, which are those of artificial images.",
)

# %% [markdown]
# ## 7 · Tables
#
# KegNet needs gradients of a classifier, not images. The paper also takes tables, whose rows are a few features each. The teacher is a deep **MLP** (multilayer perceptron): eleven hidden layers of 100 units with ELU and dropout, then one linear layer to the classes. The generator has linear layers only, and standardizes each feature over the *batch*, as the features of the table are standardized. For the student every linear layer is compressed to rank $r$, 10 or 5: a linear layer is a 1 x 1 convolution on a single pixel, so three linear layers take its place, as in section 4, with $r$ units in between. (The first layer keeps all its inputs as $r_i$, the last all its outputs as $r_o$.)
#
# At `quick` no table of the paper is at hand, so we take 1,797 small digits of 8 x 8 pixels from scikit-learn, as rows of 64 features that could stand in any order. At `full` and `paper` we take the paper's tables: shuttle (sensors of a space shuttle) and pen digits (coordinates of pen strokes) at rank 5, letters (measures of printed letters) at rank 10, to which the published ratios belong: 8.17, 8.07 and 4.13.


# %%
def table(name):
    """A table, its features standardized over the training rows."""
    if name != "small digits":
        return labkit.data.load(name, profile=profile).standardized()
    found = load_digits()
    rows = Rows(torch.tensor(found.data, dtype=torch.float32), torch.tensor(found.target))
    to_test = torch.arange(len(rows)) % 4 == 3  # every fourth, so that all writers are in both parts
    parts = [Rows(rows.features[part], rows.labels[part]) for part in (~to_test, to_test)]
    about = "1,797 handwritten digits of 8 x 8 pixels, as they come with scikit-learn."
    return Table(*parts, name=name, source=about, licence="CC BY 4.0", url="").standardized()


# %%
tables = {}
for name, (_, passes) in config.tables.items():
    data = table(name)
    print(data.source)
    classes = int(data.train.labels.max()) + 1
    parts = [(part.features, part.labels) for part in (data.train, data.test)]
    tables[name] = split(name, replace(config.table, epochs=passes), *parts, classes)

# %% [markdown]
# Rank 5 leaves less than a sixth of the parameters, rank 10 about a quarter.
#
# **Predict.** What will the accuracy be right after compression? Twelve layers, one behind the other, are cut to 5 or 10 of 100 directions.


# %%
def look_at_rows(task, net, generators):
    """How sure the teacher is, how often as asked, and over how many directions rows spread."""
    for source in sources:
        x = data_from(source, task, generators, f"{task.name}, {source}, a look")[:2000]
        variances = torch.linalg.svdvals(x - x.mean(0)).square()
        spread = variances.sum() ** 2 / variances.square().sum()  # all equal: their number; one alone: 1
        sure = predict(net, x).softmax(1).amax(1).mean()
        lab.record(f"table/{task.name}/{source}/directions", spread, unit="effective number of directions")
        lab.record(f"table/{task.name}/{source}/confidence", sure, unit="mean of the largest probability")
    x, asked_for = drawn(generators, 1000, f"{task.name}, as asked")
    agrees = (predict(net, x).argmax(1) == asked_for).float().mean()
    lab.record(f"table/{task.name}/as asked", 100 * agrees, unit="% of the new rows")


# %%
for name, task in tables.items():
    with lab.seeded(f"teacher for {name}"):
        net = paper.MLP(task.train[0].shape[1], task.classes).to(lab.device)
    trained(net, task, f"teacher for {name}")
    student = compress(net, paper.mlp_student(net, config.tables[name][0]))
    for_table = several(task, net, 0)
    look_at_rows(task, net, for_table)
    found = compare(task, net, {"MLP": student}, for_table)
    lab.record(f"table/{name}/ratio", parameter_count(net) / parameter_count(student), unit="times fewer parameters")
    commonest = task.test[1].bincount().max() / len(task.test[1])
    reached = {
        "commonest class": 100 * commonest,
        "teacher": 100 * accuracy(net, *task.test),
        "nothing": 100 * accuracy(student, *task.test),
    }
    reached |= {source: found["MLP", source].last for source in sources}
    lab.record_all({f"table/{name}/{what}": percent for what, percent in reached.items()}, unit="% of the test rows")

# %%
figure, ax = panels(width=max(4.5, 3.2 * len(tables)), height=3.2)
kinds = ("nothing", *sources[:3])
bars(
    ax, list(tables), {kind: [lab.metrics[f"table/{name}/{kind}"] for name in tables] for kind in kinds}, numbers=False
)
for place, name in enumerate(tables):
    for kind, style in (("real", "-"), ("teacher", ":")):
        height, label = lab.metrics[f"table/{name}/{kind}"], kind if place == 0 else None
        ax.hlines(height, place - 0.45, place + 0.45, color="black", linestyle=style, label=label)
ax.set(
    ylabel="test accuracy in %",
    ylim=(max(0, min(lab.metrics[f"table/{name}/{kind}"] for name in tables for kind in kinds) - 8), 101),
)
ax.legend(frameon=False, ncols=3, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1))
lab.show(
    figure,
    alt="Test accuracy of compressed networks on tables, four bars each: with nothing, uniform noise, Gaussian noise and KegNet data; lines mark real rows and the teacher. "
    + "; ".join(
        f"{name}: " + ", ".join(f"{k} {lab.metrics[f'table/{name}/{k}']:.1f}" for k in (*kinds, "real", "teacher"))
        for name in tables
    )
    + ".",
)

# %%
for name in tables:
    keys = {k: f"{{table/{name}/{k}:.1f}}" for k in ("commonest class", "teacher", "nothing", *sources)}
    lab.tell(
        f"**{name}**, {{table/{name}/ratio:.2f}}x: the teacher has {keys['teacher']} %, the student {keys['nothing']} % before fine-tuning, {keys['uniform']} % after it with uniform noise, {keys['Gaussian']} % with Gaussian noise, {keys['KegNet']} % with KegNet data and {keys['real']} % with real rows. (Whoever always names the commonest class gets {keys['commonest class']} %.) Of the generated rows the teacher takes {{table/{name}/as asked:.0f}} % for what was asked for. They spread over about {{table/{name}/KegNet/directions:.0f}} directions, real rows over {{table/{name}/real/directions:.0f}}, Gaussian noise over {{table/{name}/Gaussian/directions:.0f}}; the teacher is sure by {{table/{name}/KegNet/confidence:.2f}}, {{table/{name}/real/confidence:.2f}} and {{table/{name}/Gaussian/confidence:.2f}}."
    )

# %%
lab.claim(
    "On tables, too, KegNet data are better than both kinds of noise: by at least half a point on each.",
    holds=all(
        lab.metrics[f"table/{name}/KegNet"] >= max(lab.metrics[f"table/{name}/{kind}"] for kind in sources[:2]) + 0.5
        for name in tables
    ),
    evidence={f"{name}, {kind}": lab.metrics[f"table/{name}/{kind}"] for name in tables for kind in sources[:3]},
    source="paper",
    reason="Standardized features of a table are not far from Gaussian noise of the same mean and variance, with the ties between features left out: noise may lie nearer to real rows than it does to real images. Generated rows of a few generators may lie in few directions, and far inside their classes: such rows say little of the teacher elsewhere. One teacher and one training for each table.",
)

# %% [markdown]
# ## 8 · Harder images (at `paper` only)
#
# Fashion-MNIST (clothes) and SVHN (house numbers in colour) with ResNet-14 and the published settings, for which you want a GPU. In the last stage, which has two blocks of two convolutions, student 1 has the first convolution of each block compressed, student 2 the second one of each, student 3 all four, each with EVBMF's ranks. At `quick` and `full` these cells do nothing.

# %%
if not config.photographs:
    print("at profile 'paper' only")
for name, recipe in config.photographs.items():
    task = images_of(name, recipe)
    with lab.seeded(f"teacher for {name}"):
        net = channels_last(paper.ResNet14(channels=task.train[0].shape[1])).to(lab.device)
    trained(net, task, f"teacher for {name}")
    lab.record(f"{name}/teacher", 100 * accuracy(net, *task.test), unit="% of the test images")
    three = {n: compress(net, layers) for n, layers in enumerate(paper.RESNET14_STUDENTS, 1)}
    for n, student in three.items():
        lab.record(
            f"{name}/student {n}/ratio", parameter_count(net) / parameter_count(student), unit="times fewer parameters"
        )
        lab.record(f"{name}/student {n}/nothing", 100 * accuracy(student, *task.test), unit="% of the test images")
    found = compare(task, net, three, several(task, net, 0))
    for (n, source), run in found.items():
        lab.record(f"{name}/student {n}/{source}/last step", run.last, unit="% of the test images")
        lab.record(f"{name}/student {n}/{source}/best step", run.best, unit="% of the test images")

# %% [markdown]
# Published for SVHN, on the authors' poster (test accuracy in %, the teacher has 93.23; the poster has students 1 and 2):
#
# | | student 1, 1.44x | student 2, 1.65x |
# |---|---|---|
# | nothing | 19.31 | 11.02 |
# | uniform | 33.08 ± 1.47 | 63.08 ± 1.77 |
# | Gaussian | 26.58 ± 1.61 | 60.22 ± 4.17 |
# | KegNet | 69.89 ± 1.24 | 87.26 ± 0.46 |
#
# There compression took nearly everything, and KegNet leads noise by 24 to 37 points. If the published code made these numbers, they are best steps by real validation data, of generators that met the teacher in training mode, with 32,000 data points from KegNet and 6,400 of noise. (Step sizes differ between sources for MNIST only.)
#
# ## 9 · Where the paper, the review and the code disagree
#
# ### A constant image
#
# The code divides by the standard deviation and adds nothing to it. One constant image makes NaN of a whole batch's loss. `tanh` at the end of the generator can saturate, so it is no idle worry:

# %% tags=["nbval-check-output"]
constant = torch.full((1, 1, 4, 4), 0.5)
as_in_code = (constant - constant.mean((2, 3), keepdim=True)) / constant.std((2, 3), keepdim=True)
print("code:", as_in_code.flatten()[0].item(), " here:", paper.standardize_images(constant).flatten()[0].item())

# %% [markdown]
# ### A sum or a mean
#
# The diversity loss of the code takes the mean over all pairs, of distances that are divided by the numbers in $z$ and in $x$. (Which of the two forms the paper prints could not be checked when this was written.) As a sum over pairs, of distances that are not divided by anything, it would be 0 for any batch of any use, and so would its gradient. Try 64 random latents with as many random images:

# %% tags=["nbval-check-output"]
g = torch.Generator().manual_seed(0)
z, x = torch.randn(64, 10, generator=g), torch.randn(64, 1, 32, 32, generator=g)
sums = torch.exp(-(torch.cdist(z, z) * torch.cdist(x.flatten(1), x.flatten(1), p=1)).sum())
print(f"mean: {paper.diversity_loss(z, x).item():.4f}, sum: {sums.item():.4f}")

# %% [markdown]
# ### Ten layers, or eleven
#
# The paper speaks of an MLP with ten layers; the code builds eleven hidden ones and a last. Which of them belong to the compression ratios, 8.17 for shuttle at rank 5?

# %% tags=["nbval-check-output"]
for hidden in (10, 11):
    net = paper.MLP(9, 7, layers=hidden)  # features and classes of shuttle
    student = compress(net, paper.mlp_student(net, 5))
    print(f"{hidden} hidden layers: {parameter_count(net) / parameter_count(student):.2f}x")

# %% [markdown]
# ### One-hot labels, or soft ones
#
# The data for the student are made from soft labels in the paper's account (each $y_k$ drawn from $[0, 1]$), from one-hot ones in the code. Try soft ones on student 3, with generators that have only ever met one-hot ones.
#
# **Predict.** Will the teacher be as sure of such images? Will the student learn more from them, or less?

# %%
g = lab.generator("soft labels")
parts = [draw_data(G, digits.recipe.synthetic_size // len(generators[0]), g, soft=True)[0] for G in generators[0]]
x = torch.cat(parts)[torch.randperm(sum(map(len, parts)), generator=g)]
wanted = predict(teacher, x)
softly = [tuned(digits, students[3], x, wanted, f"soft labels, order {k}").last for k in range(2)]
lab.record("soft labels/confidence", wanted.softmax(1).amax(1).mean(), unit="mean of the largest probability")
lab.record("soft labels/student 3", np.mean(softly), unit="% of the test images")
lab.record("one-hot labels/student 3", runs[0][3, "KegNet"].last, unit="% of the test images")

# %%
lab.tell(
    "With soft labels student 3 reaches {soft labels/student 3:.1f} %, with one-hot labels {one-hot labels/student 3:.1f} % (the mean of two trainings, and one training). The teacher is sure by {soft labels/confidence:.2f} of the first images in the mean, and by {generated/confidence:.2f} of the second. An image of which it is not sure might say more about the borders between classes; the accuracies tell whether it does."
)

# %% [markdown]
# ### Smaller things
#
# - **Published $\beta$ is 0** for MNIST and for tables: there the diversity loss is computed and then multiplied by 0. It is 10 for Fashion-MNIST and 1 for SVHN. Section 2 shows what it does to images.
# - **Order.** The code does not shuffle the student's data: first all of generator 0, last all of generator 4, in each pass. Here they are mixed.
# - **More is trained than was compressed.** Adam moves all weights of the student, the layers that were left alone as well. So do we.
# - **Dropout** is on in training mode, too: the code's generators for tables learn from a teacher of which 15 % of the units are missing, others at each step. Section 7 takes evaluation mode.
# - **KL or cross-entropy.** The code's classifier loss is a Kullback-Leibler divergence. For one-hot labels it is the cross-entropy.
# - **EVBMF** wants a matrix with no more rows than columns; else transpose it. And scale must not matter: a matrix times 0.001 has the same rank. So ours searches for the strength of the noise on a logarithmic scale, in double precision.
# - **tensorly** has changed the order of `partial_tucker`'s arguments and what it returns. The published code does not run with version 0.10.
# - **The review** remarks that the data sets are small. They are: of those at hand, nothing is larger than 32 x 32 pixels.
#
# ## 10 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. A trained network can be asked for its own data: search for inputs that it takes for what you want. They need not look like anything.
# 2. What a loss does is seen best by leaving it out. Measure what you see.
# 3. A student made from its teacher has little to learn, so even noise may help. Always compare with noise, at a step size that suits it.
# 4. Parameters, operations and time are three things. Say which one you made smaller.
# 5. A network is used in evaluation mode. Whatever is trained against it should meet it in that mode.
# 6. "Without data" is a claim about *all* of a method: also about the step at which it stops, and about how its settings were found.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Train the generators of section 3 with $\beta = 10$. Do their images differ more, and does student 3 get better?
# - **Core.** Train the teacher with a step size three times smaller. How much does compression take then, and what is left for KegNet to win?
# - **Stretch.** Choose the step without labels: by agreement with the teacher on generated images that were not trained with. How close does it come to the best step?
# - **Stretch.** Fine-tune the student of section 6 with its batch normalization kept in evaluation mode. How much of what you saw lay in the running averages?
# - **Stretch.** Mix noise and KegNet data. Is the mixture better than either?
# - **Bonus.** Ask for the running averages of batch normalization as well: let the mean and variance of generated images, layer by layer, be those that the teacher remembers (DeepInversion, Yin et al., 2020). Do images begin to look like digits?
#
# ### References
#
# - J. Yoo, M. Cho, T. Kim, U. Kang: *Knowledge Extraction with No Observable Data*, NeurIPS 2019; code and poster: [github.com/snudatalab/KegNet](https://github.com/snudatalab/KegNet).
# - Y.-D. Kim, E. Park, S. Yoo, T. Choi, L. Yang, D. Shin: *Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications*, ICLR 2016, arXiv:1511.06530.
# - S. Nakajima, M. Sugiyama, S. D. Babacan, R. Tomioka: *Global Analytic Solution of Fully-observed Variational Bayesian Matrix Factorization*, JMLR 14, 2013.
# - G. Hinton, O. Vinyals, J. Dean: *Distilling the Knowledge in a Neural Network*, 2015, arXiv:1503.02531.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-Based Learning Applied to Document Recognition*, Proceedings of the IEEE 86, 1998.
# - H. Yin et al.: *Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion*, CVPR 2020, arXiv:1912.08795.
