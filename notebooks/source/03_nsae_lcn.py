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
# # Lesson 03 · NSAE-LCN: diagnosing bearings from raw vibration
#
# | | |
# |---|---|
# | **For** | whoever has trained an autoencoder before (lessons 01 and 02 are enough); no prior knowledge of machines is needed |
# | **Afterwards you can** | make an autoencoder learn different features instead of copies of one, turn shift-variant features into shift-invariant ones, split recordings so that nothing leaks, and see through a data set that gives its answer away |
# | **You need** | matrices and norms, a first idea of the Fourier transform |
# | **Time** | 95 minutes with the exercises; at `quick` the notebook itself runs in about a minute |
# | **Level** | intermediate |
# | **Paper** | F. Jia, Y. Lei, L. Guo, J. Lin, S. Xing, *A neural network constructed by deep learning technique and its application to intelligent fault diagnosis of machines*, Neurocomputing 272 (2018) 619-628 |
# | **Also** | a review of it, in Korean. We had the paper's abstract and this review, not the equations: what neither settles is marked as **our choice**, and no number of the paper is quoted |
#
# **Claims that you will test.** Some hold. Some do not. Some hold for another reason than the one given.
#
# | claim | source | section |
# |---|---|---|
# | Usual autoencoders learn features that are alike; those of the NSAE differ | abstract | 2, 4 |
# | The features of usual autoencoders are shift-variant | abstract | 2 |
# | Of the four changes, orthonormality is the core | review | 3 |
# | Averaging over segments makes features shift-invariant | abstract | 5 |
# | From a quarter of the data, NSAE-LCN recognises the bearing's condition | review | 6 |
# | It is better than the same network with a usual autoencoder | implied by the abstract | 6 |
# | It matters what the autoencoder has learned | this lesson | 6 |
# | A diagnosis learned at one load holds at another | usual test | 7 |
# | The popular data set gives "Normal" away by its sampling rate | this lesson | 8 |
# | A random split of overlapping windows flatters | users of other projects | 8 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the data: at `quick` they are **simulated**, so accuracies there say how a method works and nothing about machines; at `full` and
# `paper` they are the real recordings of the Case Western Reserve University (CWRU) Bearing Data Center.

# %% tags=["parameters"]
profile = "quick"  # "quick" (simulated vibration), "full" or "paper" (real recordings)
seed = 0  # another seed: other initial weights, other segments

# %%
import functools
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

# %%
import labkit
import labkit.data
from labkit.data import (
    cut_windows,
    defect_frequencies,
    envelope_spectrum,
    split_at_random,
    split_by_load,
    split_by_time,
)
from labkit.lab.evaluate import accuracy, knn_accuracy, predict
from labkit.lab.figures import bars, panels
from labkit.lab.training import fit
from labkit.lab.widgets import image_choices
from labkit.papers import nsae_lcn as paper
from labkit.papers.nsae_lcn import LocalConnectionNetwork, NormalizedSparseAutoencoder, standardize
from labkit.papers.nsae_lcn_baselines import WDCNN, signal_statistics
from labkit.papers.image_patches import zca_whitening

lab = labkit.start("03_nsae_lcn", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    drawn: int  # N_s, segments drawn at random to train an autoencoder
    epochs: int  # passes over them
    units: int  # N_1, rows of W, when rows are compared: as many as a segment has points
    many: int  # N_1 of the network that diagnoses: more rows than points
    cnn_epochs: int  # passes of the convolutional network over the training windows
    length: int = 1200  # points of a window, 0.1 s at 12 kHz: three turns of the shaft
    segment: int = 100  # N_in, points of a segment
    stride: int = 5  # between the segments of a window, for the diagnosis
    cut: int = 300  # between training windows: they overlap, within the training part only
    train: float = 0.25  # share of each recording for training, as in the review
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5)  # for the curve over that share
    sparsity: float = 0.5  # lambda, weight of the L1 term (our choice)
    orthonormality: float = 1.0  # mu, weight of the orthonormality term (our choice)
    kl: float = 3.0  # weight of the KL term of the usual sparse autoencoder (our choice)
    lr: float = 2e-3  # Adam's step size, the same for every autoencoder
    window_batch: int = 256  # windows a step, where an autoencoder learns from whole windows; segments always 256
    forest: int = 200  # trees of the random forest


# %%
config = lab.choose(
    quick=Config(15_000, epochs=8, units=100, many=400, cnn_epochs=40, window_batch=64, forest=100),
    full=Config(drawn=20_000, epochs=20, units=100, many=400, cnn_epochs=100),
    paper=Config(drawn=20_000, epochs=60, units=100, many=400, cnn_epochs=300),
)

# %% [markdown]
# ## 1 · A bearing, and what it sounds like
#
# **Intuition.** In a ball bearing, balls roll between an inner ring on the shaft and an outer ring in the housing. If one surface has a pit, something strikes it in a fixed
# rhythm, and each strike makes the housing ring like a bell for some milliseconds. Diagnosis means: hear *that* there is a rhythm, and *which*.
#
# **Mathematics.** With $z$ balls of diameter $d$ on a circle of diameter $D$ and a shaft that turns $f$ times a second, and nothing slipping, a pit on the **outer race** is struck
# $\tfrac z2 f (1 - \tfrac dD)$ times a second, one on the **inner race** $\tfrac z2 f (1 + \tfrac dD)$ times, and one on a **ball** meets a race $f \tfrac Dd \big(1 - \tfrac{d^2}{D^2}\big)$ times.
# (The contact angle is 0 here.)

# %% tags=["nbval-check-output"]
print({part: round(hertz, 2) for part, hertz in defect_frequencies(rpm=1797)._asdict().items()})

# %% [markdown]
# The ten **conditions**: Normal, and a pit of 0.007, 0.014 or 0.021 inch on the inner race (IR), a ball (B) or the outer race (OR). The motor drives against four **loads**, 0 to 3 horsepower. A
# *recording* is some seconds of acceleration in one condition at one load.

# %%
bearings = labkit.data.load("bearings", profile=profile)
print(bearings.source)
print(*bearings.missing, sep="\n")
lab.record("data/recordings", len(bearings.recordings), unit="recordings")
lab.record("data/simulated", bearings.simulated, unit="1: simulated, 0: measured")

# %% [markdown]
# CWRU's Normal recordings are sampled at 48,000 points a second and the fault recordings that are mostly used at 12,000 (the simulation does the same). We filter Normal and keep every fourth point. What happens to those who
# do not is section 8.
#
# How does one see a rhythm in a vibration? The **envelope** is the outline of the ringing, here between 2 and 4 kHz: it rises at each strike and falls until the next. Its spectrum shows how often it rises.

# %%
ten = labkit.data.ten_classes(bearings, "decimated", loads=[0])
shown = {each.condition: each for each in ten.recordings}
figure, axes = panels(4, 2, width=4.8, height=1.5)
for (left, right), condition in zip(axes, ("Normal", "IR007", "B007", "OR007"), strict=True):
    left.plot(np.arange(1200) / 12, shown[condition].signal[:1200], linewidth=0.6)
    frequencies, amplitude = envelope_spectrum(shown[condition])
    kept = (frequencies > 1) & (frequencies <= 400)
    right.plot(frequencies[kept], amplitude[kept], linewidth=0.6)
    left.set_ylabel(condition)
    expected = defect_frequencies(shown[condition].rpm)
    for part, style in (("inner_race", "--"), ("outer_race", ":"), ("ball", "-.")):
        right.axvline(getattr(expected, part), color="gray", linewidth=1, linestyle=style, label=part.replace("_", " "))
    right.set_xlim(0, 400)
axes[0, 0].set_title("acceleration (g) over time (ms)", fontsize=11)
axes[0, 1].set_title("spectrum of the envelope over frequency (Hz)", fontsize=11)
axes[0, 1].legend(frameon=False, fontsize=8)
lab.show(
    figure,
    alt="Four recordings at load 0: a normal bearing, and pits on the inner race, a ball and the outer race. Left, 0.1 s of vibration: the faults shake more than Normal, in "
    "bursts for the races. Right, spectra of the envelope with lines at the three defect frequencies: the race faults have a peak at their own line.",
)

# %% [markdown]
# An engineer would read the diagnosis off the right column, at least for the races (mind that each panel has its own scale). There are peaks beside the lines, too: a pit that turns is struck harder on the loaded side, once per turn of the shaft (30 Hz, inner race) or of the
# cage (12 Hz, ball), and this adds peaks at multiples of those frequencies, and on both sides of the line. The paper's question is another one: can a network find out from **raw** vibration, without knowing that there are such things as frequencies?
#
# We cut recordings into **windows** of 1,200 points. The first quarter of each recording is for training, the later part for testing, and no point is in both. Windows are standardised: mean 0, standard deviation 1.


# %%
def windows(recordings, share=config.train):
    """Training windows from the first `share` of each recording, which overlap, and test windows, which do not."""
    train, test = split_by_time(cut_windows(recordings, config.length, stride=config.cut), share)
    return train, test.take(test.start % config.length == 0)


train, test = windows(ten)
x_train, x_test = standardize(train.signals), standardize(test.signals)  # (B, 1200)
y_train, y_test = train.labels.numpy(), test.labels.numpy()
lab.record_all({"data/train": len(train), "data/test": len(test)}, unit="windows")
lab.record("data/shared", labkit.data.shared_samples(train, test), unit="points in both parts")

# %% [markdown]
# ## 2 · Two faults of a usual autoencoder
#
# **Intuition.** An autoencoder learns, from short pieces of signal, a set of building blocks: the rows of its weight matrix $W$. The abstract names two faults of usual ones. Their rows are **alike**: many units see the same
# thing. And they are **shift-variant**: let the same strike come a little later, and the code is another.
#
# ![Two signals with the same impact, T2 apart, and their codes: under a usual autoencoder another of eight units is active, not alike; under the LCN, averaged over overlapping segments, the eight bars are nearly the same, alike.](figures/03_nsae_lcn/two_signals.svg)
#
# **Mathematics.** A window of $N$ points, $x \in \mathbb R^N$, is cut into **segments** $x_j \in \mathbb R^{N_{in}}$, $j = 1, \dots, J$. An autoencoder maps a segment to a **code** $h = s(W x_j + b) \in \mathbb R^{N_1}$, with an activation $s$ such as the sigmoid, and back by
# $\hat x_j = W^\top h + c$. So $W$ has $N_1$ rows of $N_{in}$ points, and each row is a piece of signal that its unit listens for.

# %% [markdown]
# ### Exercise 1 · Cut segments
#
# Segments of `length` points, one every `stride` points (by default without overlap); what is left over at the end is dropped. Any number of leading axes.


# %% tags=["exercise"]
def segment(signal, length, stride=None):
    """The segments of a signal, in order: (..., N) -> (..., J, length)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
segment = lab.check(segment)

# %% tags=["nbval-check-output"]
print("four windows:", tuple(x_test[:4].shape), " their segments:", tuple(segment(x_test[:4], config.segment).shape))

# %% [markdown]
# How alike are the rows? The cosine of the angle between two rows is 1 when they point the same way and 0 when they have nothing in common; $-w$ is as good a copy of $w$ as $w$ itself, so take the absolute value.

# %% [markdown]
# ### Exercise 2 · How alike are the rows?
#
# The mean of $|\cos(w_i, w_k)|$ over all pairs of *different* rows. Rows that are zero point nowhere and are left out.


# %% tags=["exercise"]
def row_similarity(W):
    """Mean absolute cosine between different rows, zero rows left out: (N_1, N_in) -> scalar in [0, 1]."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
row_similarity = lab.check(row_similarity)


# %% [markdown]
# Autoencoders that are compared start from the same random rows and see the same segments, drawn from the training part without labels.


# %%
def draw(signals):
    count = min(config.drawn, 90 * len(signals))
    return paper.draw_segments(signals, config.segment, count, lab.generator("segments"), stride=7)


def train_autoencoder(name, segments, loss=None, epochs=config.epochs, batch_size=256, **options):
    """An autoencoder trained on its own cost, or on loss(model, x, generator)."""
    options = {"sparsity_weight": config.sparsity, "orthonormality_weight": config.orthonormality} | options
    sizes = (segments.shape[1], options.pop("units", config.units))
    model = NormalizedSparseAutoencoder(*sizes, generator=lab.generator("weights"), **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    optimizer.register_step_post_hook(lambda *_: model.constrain_())  # a projection, where the option asks for one
    loss = loss or (lambda model, x, generator: model.cost(x))
    settings = {"epochs": epochs, "batch_size": batch_size, "generator": lab.generator("batches"), "label": name}
    fit(model, loss, segments, optimizer=optimizer, **settings)
    return model


# %%
segments = draw(x_train)  # (N_s, 100)
usual = {"activation": "sigmoid", "bias": True, "orthonormality": "none"}
sparse = {"sparsity": "kl", "sparsity_weight": config.kl}
models = {
    "AE": train_autoencoder("AE", segments, sparsity="none", **usual),
    "SAE": train_autoencoder("SAE", segments, **(usual | sparse)),
}

# %% [markdown]
# `AE` has sigmoid units and biases; `SAE` has the KL penalty of lesson 02 on top. Rows can be orthogonal and still say the same: a wave and the same wave, a quarter of a period later. So look at the spectrum of each row as well: where does it
# have its peak? **Spectral diversity** is the entropy of these peaks over frequency, divided by the largest entropy that there could be: 0 when all rows have their peak at one frequency, 1 when the peaks are as different as can be.


# %%
@torch.no_grad()
def describe(name, model, segments=segments):
    """Record how alike the rows of W are, and what is lost of a segment."""
    error = (model(segments) - segments).square().sum() / segments.square().sum()
    lab.record(f"{name}/similarity", round(paper.row_similarity(model.weight).item(), 5))  # below: rounding errors
    lab.record(f"{name}/spectral diversity", paper.spectral_diversity(model.weight))
    lab.record(f"{name}/lost", error, unit="share of the energy")


for name, model in models.items():
    describe(name, model)
lab.tell(
    "A yardstick: rows of 100 points drawn at random have a similarity of about $\\sqrt{{2 / (100 \\pi)}} \\approx 0.08$. The rows of the AE have {AE/similarity:.3f}, those of the SAE "
    "{SAE/similarity:.3f}. So this number alone does not prove that usual rows are copies of each other; what it can do is to compare autoencoders."
)

# %% [markdown]
# **Predict.** A strike moves by 1, 5, 20 points within a segment. By how much does the code change, relative to its length? ($\sqrt 2 \approx 1.41$ is what two codes of equal length without anything in common would have. More means that the
# code turns to its opposite: half a period later, the peaks of a wave are troughs.) We shift each segment as a circle, and subtract the mean code, since a sigmoid's code has an offset that says nothing.

# %%
shifts = (1, 2, 5, 10, 20, 37, 50)
some = segment(x_test, config.segment).flatten(0, 1)[:1000]  # (1000, 100) segments


@torch.no_grad()
def centred_code(model, x):
    return model.encode(x) - model.encode(some).mean(0)  # a sigmoid's code has an offset that says nothing


curves = {
    name: [paper.shift_sensitivity(lambda x, m=model: centred_code(m, x), some, s).mean().item() for s in shifts]
    for name, model in models.items()
}
lab.record_all({f"{name}/sensitivity of a code, shift 5": curve[2] for name, curve in curves.items()})
lab.claim(
    "The codes of a usual autoencoder are shift-variant: five points later, a code has changed by more than half of its length.",
    holds=min(curve[2] for curve in curves.values()) > 0.5,
    evidence={name: curve[2] for name, curve in curves.items()},
    source="abstract",
)
# %% [markdown]
# And are the rows alike? The claim of the abstract against the yardstick:

# %%
chance = paper.row_similarity(torch.randn(config.units, config.segment, generator=lab.generator("random rows"))).item()
lab.claim(
    "The rows of usual autoencoders are alike: more alike than rows drawn at random.",
    holds=min(lab.metrics[f"{name}/similarity"] for name in models) > chance,
    evidence={name: lab.metrics[f"{name}/similarity"] for name in models} | {"random": chance},
    source="abstract, with random rows as our yardstick",
    reason="Reconstruction lets rows share the work; the data pull them towards the frequencies that are loud. Rows may also repeat a frequency at another phase, which cosines do not see.",
)

# %% [markdown]
# ## 3 · Four changes
#
# The normalised sparse autoencoder (**NSAE**) differs from the usual sparse one in four ways (review): (1) ReLU instead of sigmoid, (2) no bias, (3) L1 instead of KL, (4) **soft orthonormality** of the rows. The review calls the fourth the core.
#
# **Mathematics.** Rows $w_i$ are orthonormal when $W W^\top = I$: each has length 1, each pair is orthogonal. (The review writes $W^\top W = I$; what it describes, different rows with different information, is $W W^\top$.) Soft means: as a penalty,
#
# $$ \lVert W W^\top - I \rVert_F^2 = \sum_{i,k} \big( w_i \cdot w_k - [i = k] \big)^2 , $$
#
# where $[i = k]$ is 1 if $i = k$ and 0 otherwise, and $\lVert A \rVert_F^2$, the squared Frobenius norm, is the sum of all squared entries of $A$.

# %% [markdown]
# ### Exercise 3 · The orthonormality penalty
#
# The sum above, over all pairs $(i, k)$ and $(k, i)$, with $i = k$ among them; as a number that can be differentiated, for any $N_1$ and $N_{in}$.


# %% tags=["exercise"]
def orthonormality_penalty(W):
    """||W W^T - I||_F^2: (N_1, N_in) -> scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
orthonormality_penalty = lab.check(orthonormality_penalty)

# %% [markdown]
# The whole cost, with the decoder tied to the encoder, $\hat x = W^\top h$ (our choice), on a batch of $M$ segments:
#
# $$ C(W) = \frac1M \sum_{m=1}^{M} \Big( \tfrac12 \lVert W^\top h_m - x_m \rVert^2 + \lambda \lVert h_m \rVert_1 \Big) + \mu \lVert W W^\top - I \rVert_F^2, \qquad h_m = \max(0, W x_m). $$

# %% [markdown]
# ### Exercise 4 · The cost of the NSAE
#
# `x` holds $M$ segments in its rows; `sparsity_weight` is $\lambda$, `orthonormality_weight` is $\mu$. The hidden activations cannot be negative, so their L1 norm is their sum. You have `orthonormality_penalty`.


# %% tags=["exercise"]
def nsae_cost(W, x, sparsity_weight, orthonormality_weight):
    """The cost C(W) of segments x: (N_1, N_in), (M, N_in) -> scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
nsae_cost = lab.check(nsae_cost)

# %% [markdown]
# **Predict.** Four changes, made one after the other: which of them makes the rows differ?


# %%
def nsae_loss(model, x, generator):
    return nsae_cost(model.weight, x, config.sparsity, config.orthonormality)


steps = {
    "L1": {"activation": "sigmoid", "bias": True, "orthonormality": "none"},  # change 3 first: KL needs a sigmoid
    "+ ReLU": {"bias": True, "orthonormality": "none"},
    "+ no bias": {"orthonormality": "none"},
}
for name, options in steps.items():
    models[name] = train_autoencoder(name, segments, **options)
models["NSAE"] = train_autoencoder("NSAE", segments, loss=nsae_loss)
for name in (*steps, "NSAE"):
    describe(name, models[name])

# %%
path = ["SAE", *steps, "NSAE"]
figure, axes = panels(1, 3, width=3.9, height=3.2)
for ax, what in zip(axes, ("similarity", "spectral diversity", "lost"), strict=True):
    bars(ax, path, {what: [lab.metrics[f"{name}/{what}"] for name in path]}, numbers=False)
    ax.set_title({"similarity": "similarity of rows", "lost": "share of energy lost"}.get(what, what), fontsize=11)
    ax.tick_params(axis="x", labelrotation=35, labelsize=9)
similar = [lab.metrics[f"{name}/similarity"] for name in path]
lab.show(
    figure,
    alt="Bars along the path from the SAE over L1, ReLU and no bias to the NSAE: similarity of rows, spectral diversity, and share of energy lost. "
    f"The similarity goes from {similar[0]:.3f} to {similar[-1]:.3f}; it is smallest for the NSAE.",
)

# %%
drops = {after: a / b for after, a, b in zip(path[1:], similar, similar[1:], strict=False)}
lab.claim(
    "Of the four changes, orthonormality is the core: made one after the other in our order, no other divides the similarity of rows by as much.",
    holds=max(drops, key=drops.get) == "NSAE",
    evidence={f"factor of {name.replace('NSAE', '+ orthonormality')}": factor for name, factor in drops.items()},
    source="review",
    reason="Only this change asks for it: its penalty is made of the very products that are measured. The others act on the rows all the same, and another order of the four may give other factors.",
)
lab.tell(
    "What the path costs: of the energy of a segment the SAE loses {SAE/lost:.0%}, the network before the last change {+ no bias/lost:.0%}, the NSAE {NSAE/lost:.0%}. "
    "With as many orthonormal rows as points, $W x$ keeps everything, but the ReLU drops its negative half. Rows that differ are one aim, a good reconstruction is another."
)

# %% [markdown]
# ### Penalty, projection, or just unit rows
#
# Instead of a penalty one can put $W$ back onto the orthonormal matrices after each step, onto the nearest one. The singular value decomposition writes $W = U S V^\top$, where $U$ and $V$ have orthonormal columns and the diagonal matrix $S$ holds the singular values, by which $W$ stretches. The nearest orthonormal matrix is $U V^\top$: all singular values become 1.

# %% [markdown]
# ### Exercise 5 · The nearest orthonormal rows
#
# $U V^\top$ for a matrix of any shape; `torch.linalg.svd` finds the factors (read what its third result is, and what `full_matrices` does). With more rows than points it is the columns that become orthonormal.


# %% tags=["exercise"]
def orthonormalize(W):
    """The matrix with orthonormal rows that is nearest to W: (N_1, N_in) -> (N_1, N_in)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
orthonormalize = lab.check(orthonormalize)

# %%
for name, kind in {"projection": "projection", "unit rows only": "row norm"}.items():
    models[name] = train_autoencoder(name, segments, orthonormality=kind)
    describe(name, models[name])
lab.tell(
    "Similarity: {NSAE/similarity:.4f} with the penalty, {projection/similarity:.4f} with the projection (0 by construction), {unit rows only/similarity:.4f} with unit rows alone, which do not forbid copies. "
    "Lost of the energy: {NSAE/lost:.0%}, {projection/lost:.0%} and {unit rows only/lost:.0%}. We go on with the penalty; which of the three the paper used could not be confirmed."
)

# %% [markdown]
# **Predict.** With 400 rows for segments of 100 points: how small can the penalty become?
#
# For a symmetric matrix the squared Frobenius norm is the sum of the squared eigenvalues, and each eigenvalue of $W W^\top - I$ is one of $W W^\top$, less 1. Now
# $W W^\top$ is $400 \times 400$ and has rank 100 at most; at least 300 of its eigenvalues are 0, and each costs $(0 - 1)^2$. So $\lVert W W^\top - I \rVert_F^2 \ge N_1 - N_{in} = 300$. Rows *cannot* be orthonormal when there are more of
# them than points; the best is $W^\top W = I$, the very formula of the review.

# %%
wide = train_autoencoder("NSAE, 400 rows", segments, loss=nsae_loss, units=config.many)
describe("NSAE, 400 rows", wide)
lab.record("NSAE, 400 rows/penalty", orthonormality_penalty(wide.weight.detach()))
lab.record("NSAE, 400 rows/floor", paper.penalty_floor(config.many, config.segment))
lab.record("NSAE, 400 rows/length of a row", wide.weight.detach().norm(dim=1).mean())
lab.tell(
    "The trained penalty is {NSAE, 400 rows/penalty:.2f}, the floor {NSAE, 400 rows/floor:.0f}; the rows have the length {NSAE, 400 rows/length of a row:.2f}, not 1, since "
    "their squared lengths add up to 100 when $W^\\top W = I$. Their similarity is {NSAE, 400 rows/similarity:.3f}, beside {NSAE/similarity:.3f} for the 100 rows of the NSAE and {SAE/similarity:.3f} for those of the SAE. "
    "Remember it in section 6, where these 400 rows diagnose: whatever they reach, they do not owe it to being orthonormal."
)

# %% [markdown]
# ## 4 · The four panels
#
# The review shows rows of $W$ in time and in frequency, for the NSAE and for a usual sparse autoencoder. Here is our version; the claims below it give the numbers.

# %%
figure, axes = panels(2, 2, width=4.8, height=3)
hertz = np.fft.rfftfreq(config.segment, 1 / 12_000) / 1000
for (left, right), name in zip(axes, ("NSAE", "SAE"), strict=True):
    W = models[name].weight.detach()
    W = W / W.norm(dim=1, keepdim=True)
    for i, row in enumerate(W[:6]):
        left.plot(row - i, color="black", linewidth=0.7, linestyle="-")
    spectra = torch.fft.rfft(W).abs()
    order = paper.spectral_peaks(W).argsort()
    right.imshow(spectra[order].T, aspect="auto", origin="lower", cmap="gray_r", extent=(0, len(W), 0, hertz[-1]))
    left.set(title=f"{name}: six rows in time", yticks=[], xlabel="point")
    right.set(title=f"{name}: spectra of all rows", xlabel="row, by its peak", ylabel="kHz")
lab.show(
    figure,
    alt="Four panels. NSAE and SAE: six rows of W as irregular curves in time, and the spectra of all rows as a picture, sorted by their peaks, which form a rising line; where it is flat, rows share a peak. "
    f"The spectral diversity is {lab.metrics['NSAE/spectral diversity']:.2f} for the NSAE and {lab.metrics['SAE/spectral diversity']:.2f} for the SAE.",
)

# %%
ratio = lab.metrics["SAE/similarity"] / lab.metrics["NSAE/similarity"]
lab.claim(
    "On segments that are not whitened, the rows of the SAE are at least three times as alike as those of the NSAE.",
    holds=ratio >= 3,
    evidence={name: lab.metrics[f"{name}/similarity"] for name in ("AE", "SAE", "NSAE")} | {"SAE / NSAE": ratio},
    source="abstract",
    reason="Only the NSAE pays for rows that are alike.",
)
lab.claim(
    "The rows of the NSAE are also spread over more frequencies: their spectral diversity is larger than that of the SAE.",
    holds=lab.metrics["NSAE/spectral diversity"] > lab.metrics["SAE/spectral diversity"],
    evidence={name: lab.metrics[f"{name}/spectral diversity"] for name in ("AE", "SAE", "NSAE")},
    source="review, figure of W",
    reason="Orthonormal rows fill the space of segments, also where the vibration has little energy.",
)

# %% [markdown]
# By eye the curves in time tell little; the spectra tell more: where the line of peaks is flat, many rows listen to one frequency. But diversity is no merit by itself. Rows of pure noise are diverse, too; whether the rows are *useful* is section 6.
#
# Part of the SAE's similarity may come from the data: vibration has its energy in a few bands, and units follow the energy. **Whitening** the segments first takes that away (lesson 02 did it to photographs).
#
# **Predict.** What remains of the difference?

# %%
whitening = zca_whitening(segments)  # lesson 02's, fitted on training segments only
white = whitening(segments)
for name, options in {"SAE, whitened": usual | sparse, "NSAE, whitened": {}}.items():
    models[name] = train_autoencoder(name, white, **options)
    describe(name, models[name], white)
lab.record("whitened/ratio", lab.metrics["SAE, whitened/similarity"] / lab.metrics["NSAE, whitened/similarity"])
lab.tell(
    "Whitened, the SAE's rows are {whitened/ratio:.1f} times as alike as the NSAE's, and the spectral diversities are {SAE, whitened/spectral diversity:.2f} and "
    "{NSAE, whitened/spectral diversity:.2f}; without whitening the similarities were {SAE/similarity:.3f} and {NSAE/similarity:.3f}. What whitening took away was the spectrum of the vibration; what is left is the autoencoder's own."
)

# %% [markdown]
# ## 5 · The local connection network
#
# ![The local connection network: a window of 1,200 points is cut into segments, the same W turns each into h, their mean f goes to a softmax over ten conditions; W comes from the normalized sparse autoencoder, without labels.](figures/03_nsae_lcn/network.svg)
#
# **Intuition.** A segment's code changes when the signal moves. But a window has many segments; what one no longer sees, its neighbour does. So apply the same $W$ to *every* segment, and **average**.
#
# **Mathematics.** Local layer $h_j = \max(0, W x_j)$, feature layer
#
# $$ f = \frac1J \sum_{j=1}^{J} h_j \in \mathbb R^{N_1}, $$
#
# and a softmax layer on $f$ names the condition. That is the **local connection network** (LCN).

# %% [markdown]
# ### Exercise 6 · Local features
#
# Segments as long as a row of `W`; by default without overlap. You have `segment`.


# %% tags=["exercise"]
def local_features(signal, W, stride=None):
    """The mean over segments of max(0, W x_j): (..., N), (N_1, N_in) -> (..., N_1)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
local_features = lab.check(local_features)

# %% [markdown]
# You may know this network under another name: a **strided convolution** without bias, ReLU, global average pooling. Each row of $W$ is a kernel.

# %% tags=["nbval-check-output"]
W = models["NSAE"].weight.detach()
ours, convolution = (f(x_test[:50], W, 10) for f in (local_features, paper.convolution_features))
print("features:", tuple(ours.shape), " equal to a convolution's:", torch.allclose(ours, convolution, atol=1e-5))

# %% [markdown]
# **Predict.** For which shifts are the features *exactly* the same, when segments do not overlap, and when there is one at every point of a circular signal?

# %% tags=["nbval-check-output"]
around = paper.wrap(x_test[:5], config.segment)  # the signal as a circle: its beginning is appended to its end
for shift in (100, 37):
    no_overlap = local_features(x_test[:5].roll(shift, 1), W) - local_features(x_test[:5], W)
    rolled = paper.wrap(x_test[:5].roll(shift, 1), config.segment)
    everywhere = local_features(rolled, W, 1) - local_features(around, W, 1)
    same = [bool(change.abs().max() < 1e-4) for change in (no_overlap, everywhere)]
    print(f"shift {shift}: same without overlap: {same[0]}, same with a segment at every point: {same[1]}")

# %% [markdown]
# Twelve segments fill the circle of 1,200 points. A shift by 100 only renumbers them, and a mean does not care for the order. After a shift by 37 every segment is a new one. With a segment at every point, each shift merely renumbers.

# %%
strides = {"no overlap": None, "every 25 points": 25, "every 5 points": 5}
pooled = {
    label: [
        paper.shift_sensitivity(lambda x, s=s: paper.convolution_features(x, W, s), x_test[:200], shift).mean().item()
        for shift in shifts
    ]
    for label, s in strides.items()
}
figure, ax = panels(width=6.5, height=3.4)
ax.plot(shifts, curves["SAE"], marker="o", label="SAE, code of a segment")
for label, curve in pooled.items():
    ax.plot(shifts, curve, marker="o", label=f"LCN, {label}")
ax.set(xlabel="shift in points", ylabel="relative change")
ax.legend(frameon=False, fontsize=9)
lab.show(
    figure,
    alt=f"Relative change of the code or the features against the shift of the signal, 1 to 50 points. The code of one segment changes by {min(curves['SAE']):.1f} to {max(curves['SAE']):.1f} of its length; the averaged features "
    "change less, and the less the more their segments overlap. Where the shift is a multiple of the distance between segments, their curve is near zero.",
)

# %%
at_37 = {label: curve[shifts.index(37)] for label, curve in pooled.items()}
lab.record_all({f"LCN/sensitivity at 37, {label}": value for label, value in at_37.items()})
f = paper.convolution_features(x_test[:201], W)  # a yardstick: the next window of the same recording
same = torch.from_numpy(y_test[1:201] == y_test[:200])
change = ((f[1:] - f[:-1]).norm(dim=1) / f[:-1].norm(dim=1))[same].mean()
lab.record("LCN/another window, no overlap", change)
lab.tell(
    "Without overlap, a shift by 37 points changes the features by {LCN/sensitivity at 37, no overlap:.2f} of their length; from one window to the next of the same recording they change by {LCN/another window, no overlap:.2f}."
)
lab.claim(
    "Averaging over segments that do not overlap makes features shift-invariant: a shift by 37 points changes them by less than a tenth.",
    holds=at_37["no overlap"] < 0.1,
    evidence=at_37,
    source="abstract; that segments do not overlap is our reading",
    reason="They are exactly invariant only to shifts by whole segments, of a circular signal. For other shifts every segment is a new one, and all depends on how many there are to average. Overlap helps.",
)

# %% [markdown]
# Two things to read off the curves. Where a shift is a multiple of the distance between segments, nearly all segments are the old ones under new numbers, and the curve dips: at 50 for "every 25 points", at 5, 10, 20 and 50 for "every 5 points". Therefore the claim asks for
# 37, which neither 5 nor 25 divides. And the heights of the SAE and of the LCN do not compare exactly: features behind a ReLU are never negative and so have a part in common, which makes any change of them look smaller; from the SAE's code we subtracted that part.
#
# ### Play with it
#
# Four strips, one column for each of 100 units, the darker the more active. Above: the SAE's code of one segment, before and after the shift. Below: the features of the whole window, from the NSAE's rows and a segment every 5 points, before and after. Try shifts that 5
# divides, and others.


# %%
@torch.no_grad()
def strips(shift, window=x_test[y_test == 1][0]):
    """Both codes before and after the shift: (4 strips of 10 lines, 100) in [0, 1]."""
    return paper.code_strips(
        models["SAE"].encode, lambda x: local_features(x, W, config.stride), window, shift, config.segment
    )


# %% tags=["widget"]
image_choices(strips, {"shift": range(101)}, width=600, scale=6)

# %%
figure, axes = panels(3, 1, width=8, height=1.5)
for ax, shift in zip(axes, (0, 5, 37), strict=True):
    ax.imshow(strips(shift), cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.set_yticks([5, 16, 27, 38], ["code", "code, shifted", "features", "features, shifted"], fontsize=9)
    ax.set(title=f"shift {shift}", xticks=[])
lab.show(
    figure,
    alt="Three blocks of four strips for shifts of 0, 5 and 37 points. At 0 the strips are equal in pairs. At 5 and 37 the code of the segment after the shift is a different pattern; the features of the window keep theirs, with small changes.",
)

# %% [markdown]
# ## 6 · Diagnosis
#
# A softmax layer on the features, trained on the first quarter of each recording, tested on the later part. (Here only load 0; the review has all four loads.) AE, SAE, NSAE and the random rows serve in the same network: only the encoder differs.
#
# There are three rivals. First, the SAE applied to whole windows, without the LCN. Second, a small convolutional network with a wide first kernel, after WDCNN (Zhang et al., 2017), once as it is and once with training windows that are shifted at random.
# Third, no learned features at all: RMS (root mean square), kurtosis (how spiky a signal is), the shares of power in eight bands and other classical statistics in a random forest.
#
# Not everything is equal. The forest sees the signal before it is standardised, so it knows the **amplitude**, which the networks do not. The SAE on whole windows has a few hundred windows to learn from, the
# others thousands of segments; it takes about as many steps. Each method has one setting and one seed, and there is no validation part: look at large differences, not at the third digit.


# %%
@functools.cache  # some models meet the same windows in two sections
def features(model, x, stride=config.stride, whitening=None):
    network = LocalConnectionNetwork(model, 10, stride=stride, whitening=whitening)
    # A few windows at a time: the segments of more do not fit into a processor's cache, which takes twice as long.
    return predict(network.features, x, batch_size=20).numpy()  # (B, N_1)


def softmax(f_train, y_train):
    """Softmax regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=2000)).fit(f_train, y_train)


def lcn_accuracy(model, stride=config.stride, whitening=None):
    return softmax(features(model, x_train, stride, whitening), y_train).score(
        features(model, x_test, stride, whitening), y_test
    )


# %% [markdown]
# And one **control**: rows that have learned nothing, random and then made orthonormal.
#
# **Predict.** How far behind will the random rows be?

# %%
with torch.no_grad():
    random_rows = NormalizedSparseAutoencoder(config.segment, config.units, generator=lab.generator("random rows"))
    random_rows.weight.copy_(orthonormalize(random_rows.weight))
    many_random = NormalizedSparseAutoencoder(config.segment, config.many, generator=lab.generator("random rows"))
    many_random.weight.copy_(orthonormalize(many_random.weight))
lab.record("random rows, 400/accuracy", lcn_accuracy(many_random))
diagnosing = {"AE": models["AE"], "SAE": models["SAE"], "NSAE": models["NSAE"], "random rows": random_rows}
describe("random rows", random_rows)
for name, model in (diagnosing | {step: models[step] for step in steps} | {"NSAE, 400 rows": wide}).items():
    lab.record(f"{name}/accuracy", lcn_accuracy(model))
lab.tell(
    "Accuracy along the path of section 3: SAE {SAE/accuracy:.3f}, L1 {L1/accuracy:.3f}, ReLU {+ ReLU/accuracy:.3f}, no bias {+ no bias/accuracy:.3f}, orthonormality {NSAE/accuracy:.3f}."
)
lab.record("NSAE/accuracy, no overlap", lcn_accuracy(models["NSAE"], stride=None))
lab.record("NSAE, whitened/accuracy", lcn_accuracy(models["NSAE, whitened"], whitening=whitening))

# %%
batches = {"batch_size": config.window_batch}
batches["epochs"] = config.epochs * len(segments) // 256 * config.window_batch // len(x_train)  # about as many steps
whole = train_autoencoder("SAE, whole windows", x_train, **batches, units=200, **(usual | sparse))
with torch.no_grad():
    codes = [whole.encode(x).numpy() for x in (x_train, x_test)]
lab.record("SAE on whole windows/accuracy", softmax(codes[0], y_train).score(codes[1], y_test))

statistics = [signal_statistics(part.signals).numpy() for part in (train, test)]  # not standardised: RMS is a feature
forest = RandomForestClassifier(config.forest, random_state=seed, n_jobs=1).fit(statistics[0], y_train)
lab.record("random forest/accuracy", forest.score(statistics[1], y_test))


# %%
def cnn_loss(model, x, y, generator):
    return cross_entropy(model(x), y)


def shifted_cnn_loss(model, x, y, generator):
    start = torch.randint(x.shape[1], (len(x), 1), generator=generator)  # each window begins somewhere else
    return cross_entropy(model(x.gather(1, (start + torch.arange(x.shape[1])) % x.shape[1])), y)


for name, loss in {"CNN": cnn_loss, "CNN, random shifts": shifted_cnn_loss}.items():
    cnn = WDCNN(config.length, 10, generator=lab.generator("cnn weights"))
    settings = {"epochs": config.cnn_epochs, "batch_size": 64, "generator": lab.generator("cnn batches"), "label": name}
    fit(cnn, loss, x_train, train.labels, **settings)
    lab.record(f"{name}/accuracy", accuracy(cnn, x_test, test.labels))

# %%
names = [
    "AE",
    "SAE",
    "NSAE",
    "NSAE, 400 rows",
    "random rows",
    "SAE on whole windows",
    "CNN",
    "CNN, random shifts",
    "random forest",
]
figure, ax = panels(width=8, height=3.4)
scores = [lab.metrics[f"{name}/accuracy"] for name in names]
ax.barh(range(len(names)), scores)
ax.set_yticks(range(len(names)), names)
ax.invert_yaxis()
ax.set(xlabel="accuracy on the later part of each recording", xlim=(0, 1.1))
for i, score in enumerate(scores):
    ax.text(score + 0.01, i, f"{score:.3f}", va="center", fontsize=10)
lab.show(
    figure,
    alt="Bars of test accuracy for nine methods: "
    + ", ".join(f"{n} {s:.3f}" for n, s in zip(names, scores, strict=True))
    + ".",
)

# %%
lab.claim(
    "From a quarter of each recording, NSAE-LCN names at least 99.5 % of the unseen windows rightly (400 rows, segments every 5 points).",
    holds=lab.metrics["NSAE, 400 rows/accuracy"] >= 0.995,
    evidence={name: lab.metrics[f"{name}/accuracy"] for name in ("NSAE, 400 rows", "NSAE", "NSAE, whitened")}
    | {"NSAE, no overlap": lab.metrics["NSAE/accuracy, no overlap"]},
    source="review, without its figure",
    reason="The threshold is ours. At CWRU, and in the simulation, each fault is a bearing of its own, with a sound of its own beside its rhythm.",
)
lab.claim(
    "The NSAE diagnoses better than a usual sparse autoencoder in the same network, with as many rows: by more than a percentage point.",
    holds=lab.metrics["NSAE/accuracy"] > lab.metrics["SAE/accuracy"] + 0.01,
    evidence={name: lab.metrics[f"{name}/accuracy"] for name in ("AE", "SAE", "NSAE")},
    source="implied by the abstract",
    reason="The two differ in all four changes, not in similarity alone, and this is one seed: a difference of a few windows says little. A softmax layer sees all rows at once, so copies need not harm it.",
)
lab.claim(
    "It matters what the autoencoder has learned: trained rows are better by more than a percentage point than random orthonormal ones.",
    holds=lab.metrics["NSAE/accuracy"] > lab.metrics["random rows/accuracy"] + 0.01,
    evidence={"trained": lab.metrics["NSAE/accuracy"], "random": lab.metrics["random rows/accuracy"]},
    source="this lesson",
    reason="Before the ReLU, 100 orthonormal rows keep all of a segment whichever they are. Cutting, averaging and the softmax layer are the same for both, so only the difference is what learning adds.",
)

# %% [markdown]
# The control is the most instructive bar of the figure. A method has parts: cutting, rectifying, averaging, overlap, number of rows, and the learned $W$. An accuracy is the work of all of them, and only a control tells which.
#
# One part is easily overlooked: the **bend** of the activation. If a code were linear, its mean over segments would be $W$ times the mean segment, up to a constant, and that is close to zero, for a vibration swings both ways. What survives the average is what the activation bends. A ReLU bends
# at zero, where the signal is; a sigmoid near its middle is almost straight, until a KL penalty pushes it to its bent end. Keep that in mind when you compare the bars of AE, SAE and NSAE: they differ in more than the likeness of their rows.

# %%
lab.tell(
    "Without overlap the NSAE's accuracy goes from {NSAE/accuracy:.3f} to {NSAE/accuracy, no overlap:.3f}; with random rows to {random rows/accuracy:.3f}. The CNN reaches {CNN/accuracy:.3f} and, with windows that begin "
    "anywhere, {CNN, random shifts/accuracy:.3f}: invariance to shifts has to come from somewhere, the architecture or the data. And statistics that engineers have used for decades, in a random forest which also knows the amplitude: {random forest/accuracy:.3f}."
)

# %%
best = softmax(features(wide, x_train), y_train)
table = confusion_matrix(y_test, best.predict(features(wide, x_test)), normalize="true")
figure, ax = panels(width=5.4, height=4.6)
ax.imshow(table, cmap="gray_r", vmin=0, vmax=1)
for i, j in zip(*np.nonzero(table), strict=True):
    ax.text(
        j,
        i,
        f"{table[i, j]:.2f}",
        ha="center",
        va="center",
        fontsize=8,
        color="white" if table[i, j] > 0.5 else "black",
    )
ax.set_xticks(range(10), ten.conditions, rotation=60, fontsize=9)
ax.set_yticks(range(10), ten.conditions, fontsize=9)
ax.set(xlabel="named", ylabel="true condition")
worst = ten.conditions[int(table.diagonal().argmin())]
lab.record("NSAE, 400 rows/worst recall", table.diagonal().min())
lab.show(
    figure,
    alt=f"Confusion matrix of the NSAE with 400 rows over the ten conditions, rows add up to 1. On the diagonal lies {table.diagonal().mean():.1%} of a row on average; the lowest recall, that of {worst}, is {table.diagonal().min():.2f}.",
)

# %% [markdown]
# ## 7 · Less data, another load
#
# ### How much data does it take?
#
# **Predict.** 1 % of a recording is a few windows. Which will suffer more, learned features or the classical ones?
#
# The comparison is not quite even: a smaller share also means fewer segments and fewer steps for the autoencoder, the forest alone knows the amplitude, and each share is tested on what it leaves over.

# %%
for share in config.shares:
    few, later = windows(ten, share)[0], windows(ten, max(config.shares))[1]  # the same test windows for all shares
    few_signals, later_signals = standardize(few.signals), standardize(later.signals)
    same = share == config.train  # the segments of section 3, so the same training once more
    model = models["NSAE"] if same else train_autoencoder(f"NSAE, {share:g}", draw(few_signals))  # from it alone
    learned = softmax(features(model, few_signals), few.labels.numpy())
    lab.record(
        f"share {share:g}/NSAE", learned.score(features(model, later_signals), later.labels.numpy()), unit="accuracy"
    )
    forest = RandomForestClassifier(config.forest, random_state=seed, n_jobs=1)
    forest.fit(signal_statistics(few.signals).numpy(), few.labels.numpy())
    lab.record(
        f"share {share:g}/forest",
        forest.score(signal_statistics(later.signals).numpy(), later.labels.numpy()),
        unit="accuracy",
    )

# %%
figure, ax = panels(width=6, height=3.2)
for method, label in {"NSAE": "NSAE, 100 rows", "forest": "random forest"}.items():
    ax.plot(
        [100 * s for s in config.shares],
        [lab.metrics[f"share {s:g}/{method}"] for s in config.shares],
        marker="o",
        label=label,
    )
ax.set(xscale="log", xlabel="share of each recording for training (%)", ylabel="accuracy", ylim=(0, 1.03))
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Accuracy against the share of each recording that is used for training, on a logarithmic axis: "
    + "; ".join(
        f"{label} from {lab.metrics[f'share {config.shares[0]:g}/{method}']:.2f} at {config.shares[0]:.0%} to {lab.metrics[f'share {config.shares[-1]:g}/{method}']:.2f} at {config.shares[-1]:.0%}"
        for method, label in {
            "NSAE": "the NSAE with 100 rows",
            "forest": "the random forest on classical statistics",
        }.items()
    )
    + ".",
)

# %% [markdown]
# Look at the left end of both curves. How many windows a method needs is as much a part of it as its best accuracy; seven statistics and eight shares of power leave a classifier less to learn than 100 features do.
#
# ### Another load
#
# All windows of a recording share its machine, its mounting, its day. A harder and more honest test: train at load 0, diagnose at loads 1, 2 and 3, other recordings altogether. (The nine faults only, since not every copy of the CWRU data has Normal
# at loads 1 to 3.) It is still not the hardest: at CWRU each fault is *one* bearing, which ran at all four loads. No split of these data asks for a second bearing with the same fault.

# %%
faults = bearings.select(conditions=ten.conditions[1:], sampling_rate=12_000)
at_zero, elsewhere = split_by_load(cut_windows(faults, config.length), [0])
signals = [standardize(part.signals) for part in (at_zero, elsewhere)]
one_load = train_autoencoder("NSAE, load 0", draw(signals[0]), units=config.many)
by_load = softmax(features(one_load, signals[0]), at_zero.labels.numpy())
forest = RandomForestClassifier(config.forest, random_state=seed, n_jobs=1)
forest.fit(signal_statistics(at_zero.signals).numpy(), at_zero.labels.numpy())
for load in (1, 2, 3):
    there = elsewhere.loads == load
    named = by_load.score(features(one_load, signals[1][there]), elsewhere.labels[there].numpy())
    lab.record(f"load 0 to {load}/NSAE", named, unit="accuracy")
    named = forest.score(signal_statistics(elsewhere.signals[there]).numpy(), elsewhere.labels[there].numpy())
    lab.record(f"load 0 to {load}/forest", named, unit="accuracy")

# %%
abroad = {f"load {load}": lab.metrics[f"load 0 to {load}/NSAE"] for load in (1, 2, 3)}
lab.claim(
    "A diagnosis learned at load 0 holds at loads 1, 2 and 3: at least 95 % of their windows are named rightly.",
    holds=min(abroad.values()) >= 0.95,
    evidence=abroad | {f"forest, load {load}": lab.metrics[f"load 0 to {load}/forest"] for load in (1, 2, 3)},
    source="usual test of transfer",
    reason="Another load is another speed and another recording. At CWRU, and in the simulation, the same faulty bearing ran at all loads.",
)

# %% [markdown]
# ## 8 · Where the paper, the review and the code disagree
#
# ### The sampling rate gives Normal away
#
# The most popular ten-class set takes CWRU's Normal recording as it lies, at 48,000 points a second, beside faults at 12,000. To a network everything is points: at four times the rate, a point resembles its predecessor more, whatever the bearing
# does. High accuracy does not show what was learned, so ask the network itself. Train one on the popular set to tell Normal from faulty. Then show it
#
# - the *same Normal recording, repaired*: filtered and decimated to 12,000 points a second;
# - *faulty bearings, taken at 48,000* points a second like Normal (both data sets have them).
#
# **Predict.** What will a network say that has learned to hear faults? And one that has learned to hear the rate?


# %%
def normal_or_not(recordings, model=None):
    """An NSAE (a new one unless given) and a softmax layer that tell Normal from faulty: windows -> True for Normal."""
    part, held_out = windows(recordings)
    signals = standardize(part.signals)
    model = model or train_autoencoder("NSAE, normal or not", draw(signals))
    classifier = softmax(features(model, signals), part.labels.numpy() == 0)
    return held_out, lambda signals: classifier.predict(features(model, standardize(signals)))


at_48k = labkit.data.ten_classes(bearings, "48k", loads=[0]).select(conditions=ten.conditions[1:])
shown = {
    "repaired Normal": test.signals[test.labels == 0],
    "faults taken at 48 kHz": cut_windows(at_48k, config.length).signals,
}

# %%
for variant, model in {"popular": None, "decimated": models["NSAE"]}.items():  # decimated: as in section 3
    held_out, is_normal = normal_or_not(labkit.data.ten_classes(bearings, variant, loads=[0]), model)
    right = is_normal(held_out.signals) == (held_out.labels.numpy() == 0)
    lab.record(f"{variant}/accuracy", right.mean(), unit="accuracy of Normal or not")
    for what, signals in shown.items():
        lab.record(f"{variant}/{what}", is_normal(signals).mean(), unit="share named Normal")

# %%
lab.claim(
    "Trained on the popular set, a network tells Normal by its sampling rate: nearly perfect on that set, it misses most of the same Normal recording repaired.",
    holds=lab.metrics["popular/accuracy"] >= 0.95 and lab.metrics["popular/repaired Normal"] < 0.5,
    evidence={
        f"{variant}, {what}": lab.metrics[f"{variant}/{what}"]
        for variant in ("popular", "decimated")
        for what in ("accuracy", *shown)
    },
    source="this lesson",
    reason="In that set rate and condition always go together: nothing in it tells a network which of the two to learn.",
)

# %% [markdown]
# The accuracy on the set's own test part says nothing about it: there, rate and condition always go together. The stronger evidence is the repaired Normal, for it is the very same recording. The faults at 48,000 are weaker evidence: a network trained on
# the repaired set never heard that rate, and whatever it calls them, it guesses. So compare the two networks before you blame the first.
#
# Is the repaired set clean? Not quite. Our low-pass filter weakens Normal above about 5 kHz, the fault recordings had another filter, and a network may hear that. A set at one true rate, `ten_classes(bearings, "48k")`, needs no such filter.
#
# ### Windows that overlap, split at random
#
# Many projects cut overlapping windows and *then* split them at random. Points of a test window are then in the training part. To see what that does, take a method that can do nothing but remember: the nearest training window, point by point.

# %%
overlapping = cut_windows(ten, config.length, stride=config.cut)
splits = {
    "at random": split_at_random(overlapping, config.train, generator=lab.generator("random split")),
    "by time": split_by_time(overlapping, config.train),
}
for name, (one, other) in splits.items():
    lab.record(f"{name}/shared", labkit.data.shared_samples(one, other), unit="points in both parts")
    known, asked = ((standardize(part.signals), part.labels) for part in (one, other))
    lab.record(f"{name}/memory", knn_accuracy(*known, *asked, neighbors=1), unit="accuracy")
    learned = softmax(features(models["NSAE"], standardize(one.signals)), one.labels.numpy())
    lab.record(
        f"{name}/NSAE",
        learned.score(features(models["NSAE"], standardize(other.signals)), other.labels.numpy()),
        unit="accuracy",
    )

# %%
lab.claim(
    "A random split of overlapping windows flatters: the nearest training window names at least 5 percentage points more than under a split by time.",
    holds=lab.metrics["at random/memory"] >= lab.metrics["by time/memory"] + 0.05,
    evidence={f"{name}, {what}": lab.metrics[f"{name}/{what}"] for name in splits for what in ("memory", "NSAE")},
    source="users of transfer-learning-fault-diagnosis-pytorch, issue 11",
    reason="Two things flatter, and this test does not separate them: points in both parts, and training windows from all along the recording. A window that starts elsewhere has other values at each place, so that point by point most of the shared points go unnoticed.",
)

# %% [markdown]
# ### Smaller things
#
# - **The review** writes $W^\top W = I$ and means $W W^\top = I$. With more rows than points only the first can hold (section 3).
# - **The review and the abstract** speak of shift-invariant features; what averaging without overlap gives is invariance to shifts by whole segments, exact for a circular signal.
# - **Code**: we found no official one. Sizes, $\lambda$ and $\mu$ are our choices, listed in `Config`; so are the tied decoder, the penalty instead of the projection, and 0.05 as the KL term's target.
# - **The sampling rate** of CWRU's Normal recordings stands in no file, and users dispute it. In 97.mat the harmonics of the shaft settle it: they fit 48,000 points a second.
# - **The data**: 174.mat calls its signal `X173_DE_time`; find variables by their ending. Speeds in the files differ from the nominal ones. Normal at loads 1 to 3 is not in every collection; `bearings.missing` says what is lacking.
# - **No bias, ReLU**: $f(cx) = c f(x)$ for $c > 0$. Without standardised windows a louder recording has larger features, and the load may pass for a fault.
#
# ## 9 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. If features must differ, make them pay for being alike. Then check whether the task is better for it.
# 2. Pooling makes features invariant to what it pools over, and only to that. Measure it against the shift.
# 3. Run the control with random weights before you praise what was learned.
# 4. Split before you cut, by time or by recording. Then ask for another load.
# 5. Look at how your data were taken. A class that was recorded differently needs no diagnosis.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Put $\mu$ at 0.01, 0.1 and 10. Where does similarity stop falling, and what does the reconstruction pay?
# - **Core.** Use the maximum over segments instead of the mean. What happens to the sensitivity, and to the accuracy?
# - **Stretch.** Use `ten_classes(bearings, "48k")`, all at one true rate. Windows of 1,200 points are 25 ms there; how long must they be?
# - **Stretch.** Train at loads 0 and 1, test at 3. Is a second load worth more than four times the data of the first?
# - **Bonus.** Feed the LCN the envelope of the signal instead of the signal. Does it need as many rows?
#
# ### References
#
# - F. Jia, Y. Lei, L. Guo, J. Lin, S. Xing: *A neural network constructed by deep learning technique and its application to intelligent fault diagnosis of machines*, Neurocomputing 272, 2018.
# - W. Zhang, G. Peng, C. Li, Y. Chen, Z. Zhang: *A new deep learning model for fault diagnosis with good anti-noise and domain adaptation ability on raw vibration signals*, Sensors 17, 2017.
# - Y. Lei, F. Jia, J. Lin, S. Xing, S. X. Ding: *An intelligent fault diagnosis method using unsupervised feature learning towards mechanical big data*, IEEE Transactions on Industrial Electronics 63, 2016.
# - W. A. Smith, R. B. Randall: *Rolling element bearing diagnostics using the Case Western Reserve University data: a benchmark study*, Mechanical Systems and Signal Processing 64-65, 2015. Read it before you trust a fault label of these data.
# - Data: Case Western Reserve University Bearing Data Center, [engineering.case.edu/bearingdatacenter](https://engineering.case.edu/bearingdatacenter).
