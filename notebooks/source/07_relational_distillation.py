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
# # Lesson 07 · Relational knowledge distillation
#
# | | |
# |---|---|
# | **For** | whoever wants a small network that is nearly as good as a large one, or wonders what a network can learn from another |
# | **Afterwards you can** | soften answers with a temperature, hand over hidden layers and attention, write RKD's losses of distances and angles, say what they leave open, measure recall on classes that were never trained, find the price of the angle term, and compare transfers so that the comparison is worth something |
# | **You need** | cross-entropy, softmax, convolution, the cosine of an angle; how PyTorch trains a network |
# | **Time** | 160 minutes with the exercises; at `quick` the notebook itself runs in about a minute |
# | **Level** | intermediate |
# | **Paper** | W. Park, D. Kim, Y. Lu, M. Cho, *Relational Knowledge Distillation*, CVPR 2019, arXiv:1904.05068 |
# | **Also** | a review of the paper, in Korean; the authors' code ([lenscloth/RKD](https://github.com/lenscloth/RKD)); an independent reproduction ([HobbitLong/RepDistiller](https://github.com/HobbitLong/RepDistiller)); Hinton et al. (2015), Romero et al. (2015), Zagoruyko & Komodakis (2017) |
#
# **Claims that you will test.** (Words that are new to you are explained in the section named.)
#
# | claim | source | section |
# |---|---|---|
# | Temperature KD, hints, attention transfer and RKD each help a student to classify (four claims) | review, paper | 4 |
# | RKD adds something to KD | paper | 4 |
# | For classification, plain KD is better than RKD alone | independent reproduction | 4 |
# | The fewer images a student has, the more a teacher helps | this lesson | 4 |
# | A student of RKD, without labels in its loss, finds more of unseen classes than one trained by triplets | paper | 6 |
# | It even finds more than its teacher, and needs no l2 normalisation for it (two claims) | paper | 6 |
# | Angles teach more than distances, relations more than outputs one by one (two claims) | paper | 6 |
# | What is handed over is what the teacher learned, and its structure (two claims) | paper, this lesson | 6 |
# | RKD is better than triplets at every size of the embedding | paper | 6 |
# | A student as large as its teacher beats it, and goes on improving over generations (two claims) | review | 7 |
# | A larger batch teaches more, with equal images and with equal steps | this lesson | 8 |
# | RKD beats triplets on birds and cars (at `paper` only) | paper | 9 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the scale. `quick`: 5,000 digits; in sections 6 to 8 networks learn from five of the digits and are tested on the other five. `full`: a fifth of CIFAR-10 with a published ResNet-20 as the teacher, and all of Omniglot. `paper`: longer trainings of both, and birds and cars (CUB-200-2011, Cars 196) with ResNet-50 and ResNet-18 on a GPU; run it by `labkit run 07 --profile paper`, which keeps checkpoints and goes on where it was stopped.

# %% tags=["parameters"]
profile = "quick"  # "quick" (digits), "full" (CIFAR-10 subset, Omniglot) or "paper" (also birds and cars, a GPU)
seed = 0  # another seed: other initial weights, another order of the images

# %%
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import procrustes
from sklearn.decomposition import PCA
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data import pretrained, random_crops
from labkit.lab.evaluate import milliseconds, parameter_count, predict, saved_megabytes
from labkit.lab.figures import as_png, bars, image_rows, panels, scatter_classes
from labkit.lab.training import fit
from labkit.lab.widgets import image_sliders
from labkit.papers import relational_distillation as paper
from labkit.papers.relational_distillation import hint_loss, rkd_angle_loss, triplet_loss
from labkit.papers.self_routing_capsules import convnet_features, resnet20_capsules

lab = labkit.start("07_relational_distillation", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Size:
    layers: tuple[tuple[int, int], ...]  # channels and stride of each convolution
    embedding: int  # numbers in an embedding
    pool: int = 1  # side of the squares of the last map that are averaged before the embedding


# %%
@dataclass(frozen=True)
class Config:
    classified: str  # the data set for classification
    metric: str  # that for metric learning: "digits", or "omniglot"
    teacher: Size | None  # for classification; None: the published ResNet-20
    student: Size  # the student in classification
    metric_teacher: Size  # the teacher in metric learning
    metric_student: Size  # its student, of another embedding size
    images: int  # from which a student learns to classify
    counts: tuple[int, ...]  # other numbers of images to learn from
    steps: int  # batches in the training of a classifier
    batch_size: int  # images in such a batch
    students: int  # trainings of each kind in classification, whose errors are averaged
    rounds: int  # parts of a training in metric learning, each evaluated for section 10
    iterations: int  # batches in each of these parts
    drawn: tuple[int, int]  # classes in a batch for metric learning, and images of each
    batches: tuple[tuple[int, int], ...]  # other such batches, for section 8
    embeddings: tuple[int, ...]  # other embedding sizes of the student
    generations: int  # of students as large as the teacher
    episodes: int  # few-shot tasks to average over
    timed: tuple[int, ...]  # batch sizes for which the price of the angle term is measured
    milestones: tuple[int, ...] = ()  # steps after which a published schedule divides the step size by 10
    photographs: tuple[str, ...] = ()  # data sets for section 9, where there are any


# %%
quick = Config(
    classified="mnist",
    metric="digits",
    teacher=Size(((16, 2), (32, 2)), 64),
    student=Size(((4, 2), (8, 2)), 16),
    metric_teacher=Size(((16, 2), (32, 2)), 64),
    metric_student=Size(((4, 2), (8, 2)), 16),
    images=300,
    counts=(100, 2400),
    steps=80,
    batch_size=60,
    students=2,
    rounds=6,
    iterations=14,
    drawn=(5, 8),
    batches=((5, 4), (5, 16)),
    embeddings=(4, 64),
    generations=2,
    episodes=200,
    timed=(16, 32, 64, 128),
)

# %%
full = Config(
    classified="cifar10",
    metric="omniglot",
    teacher=None,
    student=Size(((32, 2), (64, 2)), 64, pool=2),
    metric_teacher=Size(((32, 2), (64, 2), (64, 2)), 64),
    metric_student=Size(((8, 2), (16, 2), (16, 2)), 32),
    images=4000,
    counts=(1000, 10000),
    steps=940,
    batch_size=64,
    students=1,
    rounds=6,
    iterations=100,
    drawn=(24, 5),
    batches=((6, 5), (12, 5)),
    embeddings=(8, 64),
    generations=2,
    episodes=1000,
    timed=(16, 32, 64, 128, 256),
)

# %%
as_published = replace(
    full,
    student=Size(((32, 1), (64, 2), (128, 2)), 128, pool=8),
    metric_teacher=Size(((64, 2),) * 4, 64),
    metric_student=Size(((16, 2),) * 4, 32),
    images=50_000,
    counts=(1000, 10_000),
    steps=240 * 782,  # RepDistiller: 240 passes with batches of 64
    milestones=tuple(782 * passes for passes in (150, 180, 210)),
    students=3,
    rounds=80,
    embeddings=(16, 64, 128),
    generations=3,
    photographs=("cub200", "cars196"),
)
config = lab.choose(quick=quick, full=full, paper=as_published)

# %% [markdown]
# ## 1 · A map of knowledge transfer
#
# **Intuition.** A network that was trained on one thing is used for another. The review draws a map of that:
#
# | | from | to |
# |---|---|---|
# | **transfer learning** | a model of one domain (photographs of everything) | a model of another, simpler domain (birds) |
# | **knowledge distillation** | a **teacher** that generalizes well | a **student**, for the *same* domain |
#
# This lesson is about the second row. The student may be smaller, so that it runs on a telephone. It may also be as large as its teacher, and the hope is then that it becomes *better*. What can a teacher hand over? For an image $x$ let it have a hidden map of features $F_T$, an embedding $t$ (the last layer before the classes) and logits $z_T$; $F_S$, $s$ and $z_S$ are those of the student.
#
# | transfer | what the student must copy | what it may choose | year |
# |---|---|---|---|
# | **KD** with a temperature | the probabilities of all classes | its features | 2015 |
# | **hints** (FitNets) | the features of a hidden layer, up to a learned linear map | the rest | 2015 |
# | **attention transfer** | *where* a layer is active | what is active there | 2017 |
# | born-again networks, label refinery | as in KD, but the student is as large as the teacher | its features | 2018 |
# | **RKD-D** | the *ratios of distances* among the images of a batch | where its embeddings lie, their unit, their number of dimensions | 2019 |
# | **RKD-A** | the *angles* among them | the same | 2019 |
#
# All but the last two are **individual**: they compare what the two networks make of one image, $\sum_i l(f_T(x_i), f_S(x_i))$, where $f$ is what is handed over and the loss $l$ is 0 if both agree. **Relational** distillation (RKD) takes tuples of images: pairs, or triples. It computes one number for each tuple in both networks, the **potential** $\psi$, and compares these:
#
# $$L_{\text{RKD}} = \sum_{(x_1, \dots, x_n)} l\big(\psi(t_1, \dots, t_n),\ \psi(s_1, \dots, s_n)\big)$$
#
# ![Left, individual distillation: three arrows compare the teacher's outputs t1, t2, t3 one by one with the student's s1, s2, s3, each of which must go where the teacher has it. Right, relational distillation: one arrow compares the triangle of the t, in 64 dimensions, with the triangle of the s, in 16, which has the same shape but is turned, shifted and smaller.](figures/07_relational_distillation/relations.svg)
#
# The idea behind it: what a point means is told by its neighbours, not by its coordinates.
#
# ## 2 · One output at a time
#
# ### Answers softened by a temperature
#
# **Intuition.** A teacher that sees a 7 says "7, surely". But it may also say that a 1 is a hundred times more likely than a 6. This is knowledge about digits, and a label has none of it. In the probabilities it is too small to matter. So Hinton et al. divide all logits by a **temperature** $\tau > 1$ before the softmax, in both networks:
#
# $$L_{\text{KD}} = \tau^2\, \mathrm{KL}\big(\operatorname{softmax}(z_T / \tau)\, \|\, \operatorname{softmax}(z_S / \tau)\big), \qquad L = (1 - \alpha)\, L_{\text{labels}} + \alpha\, L_{\text{KD}}$$
#
# The sum in $\mathrm{KL}(p \| q) = \sum_k p_k \log (p_k / q_k)$ is over the classes; it is 0 if both agree. $L_{\text{labels}}$ is the cross-entropy with the labels, at temperature 1, and $\alpha$ shares out the weight. Usual are $\tau = 4$ and $\alpha = 0.9$.
#
# ![An image of a 7 goes to a frozen teacher and to a student. A softmax at temperature 4 makes soft labels of the teacher's logits: mostly 7, a little 1 and 9. The student's logits are compared with them at temperature 4, and with the hard label at temperature 1. Both losses are added with weights, and the gradient leads into the student only.](figures/07_relational_distillation/kd.svg)
#
# ### Exercise 1 · Distillation at a temperature
#
# Write $L_{\text{KD}}$, with the mean over the images. (In shapes, here and below, $N$ is the number of images in a batch, $K$ that of classes, $d$ that of the numbers in an embedding.) Mind `F.kl_div`, if you use it: its arguments come in an unexpected order, and not both are probabilities.


# %% tags=["exercise"]
def kd_loss(student_logits, teacher_logits, temperature):
    """Logits (N, K) of both, a temperature -> tau^2 KL(teacher || student), the mean over the images, a scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
kd_loss = lab.check(kd_loss)

# %% [markdown]
# Two images, three classes, $\tau = 4$, first with a teacher that disagrees, then with one that agrees up to a constant:

# %% tags=["nbval-check-output"]
student_says = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
teacher_says = torch.tensor([[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
print(f"{kd_loss(student_says, teacher_says, 4.0):.6f}  {kd_loss(student_says, student_says + 5, 4.0):.6f}")

# %% [markdown]
# Take one image and a student that knows nothing: its logits are all 0. The gradient of KL with respect to them is $\frac1\tau \big(\operatorname{softmax}(z_S / \tau) - \operatorname{softmax}(z_T / \tau)\big)$.
#
# **Predict.** How does its length change with the temperature, without the factor $\tau^2$ and with it?

# %%
logits = torch.tensor([[6.0, 4.0, 1.0, -2.0]])
temperatures = (0.5, 1, 2, 4, 8, 16, 32)
pulls = {"without": [], "with": []}
for tau in temperatures:
    z = torch.zeros(1, 4, requires_grad=True)  # a student that knows nothing
    (gradient,) = torch.autograd.grad(kd_loss(z, logits, tau), z)
    pulls["with"].append(gradient.norm().item())
    pulls["without"].append(gradient.norm().item() / tau**2)

# %%
figure, axes = panels(1, 2, width=4.8, height=3.2)
soft = {f"temperature {tau}": (logits[0] / tau).softmax(0).tolist() for tau in (1, 4, 16)}
bars(axes[0], [f"{z:.0f}" for z in logits[0]], soft, numbers=False)
axes[0].set(xlabel="logit", ylabel="probability")
for label, pull in pulls.items():
    axes[1].plot(temperatures, pull, marker="o", label=rf"{label} $\tau^2$")
axes[1].set(xlabel=r"temperature $\tau$", ylabel="length of the gradient", xscale="log", yscale="log")
axes[1].set_xticks(temperatures, [str(tau) for tau in temperatures])
axes[1].minorticks_off()
axes[1].legend(frameon=False)
lab.show(
    figure,
    alt="Left, the probabilities that four logits of 6, 4, 1 and -2 give at temperatures 1, 4 and 16: from nearly all on the first to nearly even. Right, the length of the gradient against the temperature, both axes logarithmic: "
    f"without the factor it falls by a factor of {pulls['without'][1] / pulls['without'][-1]:.0f} from temperature 1 to 32, with it it changes by a factor of {pulls['with'][-1] / pulls['with'][1]:.1f}.",
)

# %% [markdown]
# Left: at $\tau = 1$ the third class hardly counts; at 4 one sees that it comes before the fourth. Right: the softer the answers, the smaller the gradient. One $1 / \tau$ stands before it, and at high temperatures the difference of the two answers falls as $1 / \tau$, too. The factor $\tau^2$ makes up for both, and the line with it becomes level. Without it KD would be silent beside the labels. (Why the difference falls so: for large $\tau$, $\operatorname{softmax}(z / \tau)_k \approx (1 + (z_k - \bar z) / \tau) / K$, with $\bar z$ the mean of the $K$ logits. So at very high temperatures $\tau^2 \mathrm{KL}$ is, up to a factor, the squared difference of the logits less their means.)
#
# ### Hints
#
# ![Left, a hint: a regressor, a 1 by 1 convolution, makes five maps of the student's three, and these are compared with the teacher's five. Right, attention transfer: channels are squared and averaged into one map for each network, each map is divided by its length, and the two are compared. Only the hint needs extra parameters; the number of channels may differ in both, height and width may not.](figures/07_relational_distillation/hints.svg)
#
# Romero et al. (FitNets) hand over a hidden layer: $\|F_T - r(F_S)\|^2$. (They train up to that layer first and go on with KD. In section 4, as in RepDistiller, the hint is added to the loss of the labels all along.) The student has fewer channels, so a **regressor** $r$, a 1 x 1 convolution, brings them to the teacher's number. It is trained together with the student and thrown away afterwards. The library's `hint_loss(student, teacher, regressor)` takes the mean of the squared differences over images, channels and places in place of their sum:

# %% tags=["nbval-check-output"]
regressor = nn.Conv2d(2, 3, 1)
with torch.no_grad():
    regressor.weight.fill_(0.5)
    regressor.bias.zero_()
    maps_s, maps_t = torch.ones(1, 2, 4, 4), torch.full((1, 3, 4, 4), 3.0)
    print("regressed:", regressor(maps_s)[0, 0, 0, 0].item(), " loss:", hint_loss(maps_s, maps_t, regressor).item())

# %% [markdown]
# (The regressor makes 0.5 + 0.5 = 1 where the teacher has 3: a squared difference of 4.)
#
# ### Attention
#
# To copy every feature is much to ask of a small network. Zagoruyko & Komodakis ask only *where* a layer is active. A map $F \in \mathbb R^{C \times H \times W}$ becomes one number for each of its $H W$ places, whatever the number of channels $C$ (vec writes the places in one row, line by line):
#
# $$Q(F) = \operatorname{vec}\Big(\frac1C \sum_c F_c^2\Big) \in \mathbb R^{HW}$$
#
# ### Exercise 2 · Attention maps


# %% tags=["exercise"]
def attention_map(features):
    """Features (N, C, H, W) -> the mean of their squares over the channels, one row for each image, (N, H * W)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
attention_map = lab.check(attention_map)

# %% [markdown]
# ### Exercise 3 · Attention transfer
#
# How *strongly* a layer answers must not matter. So divide each map by its own length, $Q / \|Q\|_2$, then compare. Zagoruyko & Komodakis print the length of the difference. Their code takes the mean of its squares over images and places, and we follow the code, because the usual weight of this loss, 1000, belongs to it. A map that is 0 everywhere has no length to divide by: let it stay 0, with a finite gradient.


# %% tags=["exercise"]
def attention_transfer_loss(student, teacher):
    """Features (N, C_S, H, W) and (N, C_T, H, W) -> the mean squared difference of their normalised maps, a scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
attention_transfer_loss = lab.check(attention_transfer_loss)

# %% tags=["nbval-check-output"]
ramp = torch.arange(8.0).view(1, 2, 2, 2)
print("map:", attention_map(ramp).tolist())
print(f"against an even map: {attention_transfer_loss(ramp, torch.ones(1, 3, 2, 2)):.9f}")
print(f"against itself, ten times as strong: {attention_transfer_loss(ramp, 10 * ramp):.9f}")

# %% [markdown]
# ## 3 · Relations
#
# ### Distances
#
# **Intuition.** Lay the images of a batch out as points, once as the teacher embeds them, once as the student does. The teacher's points may lie in 64 dimensions and the student's in 16: one cannot subtract them. But one can ask in both: is A farther from B than from C, and how many times?
#
# **Mathematics.** The **distance potential** is the distance, divided by the mean distance $\mu$ of the batch. Teacher and student have each their own $\mu$:
#
# $$\psi_D(t_i, t_j) = \frac1\mu \|t_i - t_j\|_2, \qquad \mu = \text{mean of } \|t_i - t_j\|_2 \text{ over the pairs}$$
#
# They are compared by the **Huber loss** (`F.smooth_l1_loss`): for a difference $u$ it is $u^2 / 2$ if $|u| \le 1$, else $|u| - 1/2$. So a few pairs that are far off do not dominate the loss.
#
# ### Exercise 4 · All distances of a batch
#
# There is a trap in it: the root has an infinite slope at 0, and each image is at distance 0 from itself. The published code has a floor: it raises all squared distances to at least $10^{-12}$ before the root, and sets the diagonal to 0 after it. So two different images that coincide have the distance $10^{-6}$. (Do not set the diagonal in place: autograd still needs the root. And if you multiply out $\|x_i - x_j\|^2$, subtract the mean of all points first: far from the origin few digits would be left.)


# %% tags=["exercise"]
def pairwise_distances(x):
    """Embeddings (N, d) -> |x_i - x_j|, (N, N), with zeros on the diagonal and finite gradients everywhere."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
pairwise_distances = lab.check(pairwise_distances)

# %% [markdown]
# ### Exercise 5 · RKD of distances
#
# The published loss is the mean over all $N^2$ entries of the matrix, zeros of the diagonal included. With `valid_only` it is the mean over the $N (N - 1)$ pairs of different images, where $(i, j)$ and $(j, i)$ count as two; section 5 is about the difference. $\mu$ is the mean over the $N (N - 1)$ pairs in both cases. No gradient may flow into the teacher; but through the student's $\mu$ it must flow.


# %% tags=["exercise"]
def rkd_distance_loss(student, teacher, *, valid_only=False):
    """Embeddings (N, d_S) and (N, d_T) -> Huber loss between their distance potentials, a scalar."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
rkd_distance_loss = lab.check(rkd_distance_loss)

# %% [markdown]
# ### Angles
#
# **Intuition.** Distances say how far, angles say in which direction. Three images make a triangle with three angles. Do angles say anything new? By the law of cosines the ratios of *all* distances give all angles, and (as long as no points coincide or lie on a line) the angles give all ratios. So both losses ask for the same shape. But a small student cannot get everything right, and the two differ in how much each error costs: a shift of a near neighbour changes a distance by little and an angle by much.
#
# **Mathematics.** The **angle potential** of three images is the cosine of the angle at the second of them, $x_j$, the *vertex*:
#
# $$\psi_A(t_i, t_j, t_k) = \cos \angle t_i t_j t_k = \langle e^{ij}, e^{kj} \rangle, \qquad e^{ij} = \frac{t_i - t_j}{\|t_i - t_j\|_2}$$
#
# ![The teacher's triangle has sides of 3, 4 and 5 with mean 4, the student's sides of 1, 1 and 1.414 with mean 1.138. Divided by their own mean they are 0.75, 1, 1.25 and 0.879, 0.879, 1.243; the cosines at corners 1, 2 and 3 are 0, 0.6, 0.8 and 0, 0.707, 0.707. A table gives the differences and their Huber losses, which are all that the loss sees.](figures/07_relational_distillation/potentials.svg)
#
# ### Exercise 6 · All angles of a batch
#
# The vertex is the *first* axis of the result. Where $x_j$ coincides with $x_i$ or $x_k$ (always where $i = j$ or $k = j$) there is no angle: let the entry be 0, and let neither it nor a gradient become NaN.


# %% tags=["exercise"]
def angle_potential(x):
    """Embeddings (N, d) -> cosines (N, N, N), where [j, i, k] is that of the angle at x_j between x_i and x_k."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
angle_potential = lab.check(angle_potential)

# %% [markdown]
# The loss of angles is again the Huber loss, as published over all $N^3$ entries. The library's `rkd_angle_loss` finds it without ever making all differences of embeddings (section 8 tells how, and what that saves). On the triangle with sides 3, 4 and 5, beside a student with sides 1, 1 and $\sqrt 2$:

# %% tags=["nbval-check-output"]
T = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # the teacher's triangle
S = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # the student's
cosines = angle_potential(T)
print("distances:", [round(d, 4) for d in pairwise_distances(T)[[0, 0, 1], [1, 2, 2]].tolist()])
print("cosines at the corners:", [round(cosines[c].tolist(), 4) for c in ((0, 1, 2), (1, 0, 2), (2, 0, 1))])
print(f"RKD-D {rkd_distance_loss(S, T):.7f}   RKD-A {rkd_angle_loss(S, T):.7f}")
print(f"your angles, the same loss: {F.smooth_l1_loss(angle_potential(S), angle_potential(T)):.7f}")

# %% [markdown]
# ### What the student may choose
#
# Change the teacher's triangle and call the result a student: turn it, make it 7 times as large, shift it, mirror it, give each point a third coordinate of 0, or flatten it to half its height.
#
# **Predict.** Which of these six changes does RKD-D see, which RKD-A, and which would an individual transfer see, the mean squared difference of the embeddings?

# %% tags=["nbval-check-output"]
turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
changes = {
    "turned": T @ turn.T,
    "7 times as large": 7 * T,
    "shifted": T + 5,
    "mirrored": T * torch.tensor([-1.0, 1.0]),
    "in 3 dimensions": F.pad(T, (0, 1)),
    "flattened": T * torch.tensor([1.0, 0.5]),
}
for name, points in changes.items():
    individual = f"{F.mse_loss(points, T):.3f}" if points.shape == T.shape else "not defined"
    losses = [abs(loss(points, T).item()) for loss in (rkd_distance_loss, rkd_angle_loss)]
    print(f"{name:17} RKD-D {losses[0]:.4f}  RKD-A {losses[1]:.4f}  individual {individual}")

# %% [markdown]
# Turning, shifting, scaling, mirroring, another number of dimensions: RKD sees none of it. The student places its outputs on its own; only the *shape* is asked for. RKD does see the flattened triangle. The individual transfer sees every change, and with 3 dimensions beside 2 it cannot even be computed.
#
# ### Move the points
#
# In Jupyter, move the student's corners A, B and C. They are moved by sliders, not by the mouse: each slider is one coordinate, so that a corner can be put exactly onto another. Left you see both triangles; in the middle $\psi_D$ of the three sides, on the right $\psi_A$ at the three corners, and above them the two losses. Try: make both losses 0 with a triangle that is smaller than the teacher's, or turned, or its mirror image. Put two corners onto each other. Put all three onto a line. For readers without a kernel, the same picture stands below, where the sliders start.


# %%
def potentials(points):
    """Of a triangle (3, 2): psi_D of the sides AB, AC, BC and psi_A at the corners A, B, C."""
    distances, cosines = paper.distance_potential(points), paper.angle_potential(points)
    return distances[[0, 0, 1], [1, 2, 2]], cosines[[0, 1, 2], [1, 0, 0], [2, 2, 1]]


# %%
def triangles(student):
    figure, axes = panels(1, 3, width=3.4, height=3.2)
    for points, color, marker, style in ((T, "#3f90da", "s", "--"), (student, "#ffa90e", "o", "-")):
        axes[0].plot(*points[[0, 1, 2, 0]].T, color=color, marker=marker, linestyle=style)
    for corner, point in zip("ABC", student, strict=True):
        axes[0].annotate(corner, point, xytext=(5, 5), textcoords="offset points")
    axes[0].set(xlim=(-2.5, 5), ylim=(-2.5, 5), aspect="equal", title="dashed: the teacher's")
    for ax, names, wanted, found in zip(
        axes[1:], (("AB", "AC", "BC"), tuple("ABC")), potentials(T), potentials(student), strict=True
    ):
        bars(ax, names, {"teacher": wanted.tolist(), "student": found.tolist()}, numbers=False)
        ax.get_legend().remove()
        ax.axhline(0, color="black", linewidth=0.8)
    axes[1].set(ylim=(0, 2.2), title=f"$\\psi_D$, RKD-D {paper.rkd_distance_loss(student, T):.4f}")
    axes[2].set(ylim=(-1.1, 1.1), title=f"$\\psi_A$, RKD-A {rkd_angle_loss(student, T):.4f}")
    axes[1].legend(frameon=False, fontsize=10)
    return figure


# %%
def view(Ax, Ay, Bx, By, Cx, Cy):
    """The picture for these corners, as PNG bytes."""
    return as_png(triangles(torch.tensor([[Ax, Ay], [Bx, By], [Cx, Cy]])))


# %%
names = ("Ax", "Ay", "Bx", "By", "Cx", "Cy")
start = dict(zip(names, (0.0, 0.0, 1.0, 0.0, 0.0, 1.0), strict=True))

# %% tags=["widget"]
image_sliders(view, dict.fromkeys(names, (-2.0, 4.0)), start, width=900)

# %%
lab.show(
    triangles(S),
    alt="Left, the teacher's triangle, dashed, with sides 3, 4 and 5, and inside it the student's, with sides 1, 1 and the root of 2. Middle, distance potentials of three sides: 0.75, 1 and 1.25 for the teacher, 0.88, 0.88 and 1.24 for the student. Right, cosines at three corners: 0, 0.6 and 0.8 for the teacher, 0, 0.71 and 0.71 for the student.",
)

# %% [markdown]
# The student's $\psi_D$ and $\psi_A$ are those of a triangle with two equal sides. At A both have a right angle, so that the cosines there agree, 0 and 0.
#
# Where would each loss like C to be? Keep A and B where they are, and put C at every place of a grid. In the maps dark is a small loss; each has a scale of its own, in powers of ten.
#
# **Predict.** At how many places is the loss 0?

# %%
places = torch.linspace(-1.95, 3.05, 26)
landscape = {"RKD-D": np.zeros((26, 26)), "RKD-A": np.zeros((26, 26))}
for row, y in enumerate(places):
    for column, x in enumerate(places):
        moved = torch.stack([S[0], S[1], torch.stack([x, y])])
        landscape["RKD-D"][row, column] = paper.rkd_distance_loss(moved, T)
        landscape["RKD-A"][row, column] = rkd_angle_loss(moved, T)

# %%
figure, axes = panels(1, 2, width=4.2, height=3.6)
for ax, (name, values) in zip(axes, landscape.items(), strict=True):
    drawn = ax.contourf(places, places, np.log10(values + 1e-5), levels=12, cmap="viridis")
    ax.plot([0, 1], [0, 0], "o", color="white", markeredgecolor="black")
    ax.plot([0, 0], [4 / 3, -4 / 3], "*", color="#bd1f01", markeredgecolor="white", markersize=14)
    for corner, x in zip("AB", (0.08, 1.08), strict=True):
        ax.text(x, 0.12, corner)
    ax.set(title=name, aspect="equal", xlabel="C, first coordinate", ylabel="C, second coordinate")
    figure.colorbar(drawn, ax=ax, label="$\\log_{10}$ of the loss", shrink=0.8)
lab.show(
    figure,
    alt="Two maps of the loss by the place of the third corner C, with A and B as two dots and dark where the loss is small. In both the loss has two wells, marked by stars, straight above and straight below A at 4/3 of the length AB, mirror images of each other. The wells of RKD-D are rounded, those of RKD-A long and narrow, along the line through both stars; around A and B RKD-A changes abruptly.",
)

# %% [markdown]
# Both losses have the same two wells, marked by stars: the teacher's shape, and its mirror image. The map of distances has rounded contours, that of angles has rays: where C lies far away, its distance hardly changes an angle. The loss of angles changes fast where C comes near A or B, since a small step then turns an edge by much.
#
# ## 4 · One teacher, one student
#
# Now compare. One teacher for all; students of one architecture that start from the same weights and see the same batches. Only the loss differs. At `quick` the teacher is a small convolutional network that has learned from all 4,000 digits. At `full` and `paper` it is the ResNet-20 that somebody else trained on the 50,000 images of CIFAR-10 and published. (So every teacher here has seen its students' images in its own training.) The students get few images (at `quick` 300, at `full` 4,000; at `paper` all), and all the labels of these.


# %%
class Answer(NamedTuple):
    maps: tuple[torch.Tensor, ...]  # of a middle layer and of the last convolution, (N, C, H, W) each
    embedding: torch.Tensor  # (N, d)
    logits: torch.Tensor  # (N, classes)


# %%
class Net(nn.Module):
    """Convolutions in stages, an embedding made of their last map, and a linear layer that classifies by it."""

    def __init__(self, stages, embed, head):
        super().__init__()
        self.stages, self.embed, self.head = nn.ModuleList(stages), embed, head

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        embedding = self.embed(x)
        return Answer(tuple(maps[-2:]), embedding, self.head(embedding))


# %%
def build(size, images, classes=None):
    """The network of a `Size` for images like these; without classes it is for embeddings alone."""
    colours, side = images.shape[1:3]
    stages = []
    for out, stride in size.layers:
        stages.append(convnet_features(colours, (out, stride)))
        colours, side = out, -(-side // stride)
    side //= size.pool
    embed = nn.Sequential(nn.AvgPool2d(size.pool), nn.Flatten(), nn.Linear(colours * side**2, size.embedding))
    return Net(stages, embed, nn.Linear(size.embedding, classes) if classes else nn.Identity())


# %%
def published_teacher(state):
    """The ResNet-20 of a published state; its embedding is the mean of its last map over all places."""
    features, pool, flatten, head, _softmax = whole = resnet20_capsules("average")
    whole.load_state_dict(state)
    return Net((features[:6], features[6:9], features[9:]), nn.Sequential(pool, flatten), head).eval()


# %%
data = labkit.data.load(config.classified, profile=profile)
print(data.source)
weights = None if config.teacher else labkit.data.resnet20_weights()
statistics = data.channel_statistics() if weights is None else (weights.mean, weights.std)
mean, std = (values.view(-1, 1, 1) for values in statistics)
data = data.standardized(mean, std)
x_train, x_test = data.train.images.to(lab.device), data.test.images.to(lab.device)
y_train, y_test = data.train.labels.to(lab.device), data.test.labels.to(lab.device)


# %%
def optimizer_of(model, steps):
    """Adam with a step size that rises and falls; with milestones, the published SGD."""
    if not config.milestones:
        adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
        # one step more than batches: `fit` also moves the schedule after the last one
        return adam, torch.optim.lr_scheduler.OneCycleLR(adam, 0.01, total_steps=steps + 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return sgd, torch.optim.lr_scheduler.MultiStepLR(sgd, list(config.milestones))


# %%
def trained(name, model, loss, images, steps, order):
    """`fit` for about so many steps; `images` holds the indices of those that the model may see."""
    in_a_pass = -(-len(images) // config.batch_size)  # batches; the last may be smaller
    passes = max(1, round(steps / in_a_pass))
    optimizer, schedule = optimizer_of(model, passes * in_a_pass)
    fit(
        model,
        loss,
        images,
        epochs=passes,
        batch_size=config.batch_size,
        generator=lab.generator(order),
        optimizer=optimizer,
        schedule=schedule,
        checkpoint=lab.checkpoint(name),
        label=name,
    )
    return model


# %%
def error(net):
    """Test errors in %."""
    classes = predict(lambda x: net(x).logits.argmax(1), x_test)  # not the maps, which are large
    return 100 * (classes != y_test).float().mean().item()


# %%
def by_labels(net, i, _):
    return F.cross_entropy(net(x_train[i]).logits, y_train[i])


# %%
if weights is not None:
    print(weights.source)
    teacher = published_teacher(weights.state).to(lab.device)
else:
    with lab.seeded("teacher"):
        teacher = build(config.teacher, x_train, 10).to(lab.device)
    everything = torch.arange(len(x_train), device=lab.device)
    trained("teacher", teacher, by_labels, everything, 3 * len(x_train) // config.batch_size, "teacher")

# %%
lab.record("teacher/error", error(teacher), unit="% of the test images")
both = {"teacher": teacher, "student": build(config.student, x_train, 10)}
lab.record_all({f"{who}/parameters": parameter_count(net) for who, net in both.items()})
lab.tell("The teacher has {teacher/parameters:.0f} parameters, the student {student/parameters:.0f}.")

# %% [markdown]
# KD shares the weight between labels and teacher as in section 2. All others add to the labels: $L = L_{\text{labels}} + \lambda L_{\text{transfer}}$. RKD-DA has both of its terms, $\lambda_D L_D + \lambda_A L_A$, for distances and angles; KD + RKD-DA adds them to the loss of KD. There is one step size for all. The weights $\lambda$ are those of others, none is tuned here: KD with $\tau = 4$, $\alpha = 0.9$; hints 100, attention 1000 (for each of two layers), $\lambda_D = 25$ and $\lambda_A = 50$, all as in RepDistiller. The hint is given at the middle layer, attention at this and the last convolution, where the maps of teacher and student have the same size. The embeddings are the last layer before the logits.


# %%
def task(s, y):
    return F.cross_entropy(s.logits, y)


# %%
def softened(s, t, y):
    return 0.1 * task(s, y) + 0.9 * kd_loss(s.logits, t.logits, 4.0)


# %%
def attention(s, t):
    return 1000 * sum(attention_transfer_loss(*pair) for pair in zip(s.maps, t.maps, strict=True))


# %%
def distances(s, t):
    return 25 * rkd_distance_loss(s.embedding, t.embedding)


# %%
def angles(s, t):
    return 50 * rkd_angle_loss(s.embedding, t.embedding)


# %%
transfers = {  # what the student s is told by the teacher t, the labels y, and a regressor r
    "labels alone": lambda s, t, y, r: task(s, y),
    "KD": lambda s, t, y, r: softened(s, t, y),
    "hints": lambda s, t, y, r: task(s, y) + 100 * hint_loss(s.maps[0], t.maps[0], r),
    "attention": lambda s, t, y, r: task(s, y) + attention(s, t),
    "RKD-D": lambda s, t, y, r: task(s, y) + distances(s, t),
    "RKD-A": lambda s, t, y, r: task(s, y) + angles(s, t),
    "RKD-DA": lambda s, t, y, r: task(s, y) + distances(s, t) + angles(s, t),
    "KD + RKD-DA": lambda s, t, y, r: softened(s, t, y) + distances(s, t) + angles(s, t),
}

# %% [markdown]
# Without augmentation the teacher's answers never change, so they are found once and kept. (At `paper` images are cropped and mirrored at random, and the teacher answers anew each time.)

# %%
order = torch.randperm(len(x_train), generator=lab.generator("images")).to(lab.device)
chosen = order[: max(config.images, *config.counts)]  # all that any student may see
cached = None  # what the teacher makes of them
if not config.milestones:
    maps = predict(teacher, x_train[chosen[: config.images]]).maps  # large: hints and attention have no other images
    cached = Answer(maps, *predict(lambda x: teacher(x)[1:], x_train[chosen]))
middle = predict(teacher, x_train[:1]).maps[0].shape[1]  # channels of the teacher's middle layer


# %%
def seen(i, g):
    """Some of the chosen images, and what the teacher says to them."""
    x = x_train[chosen[i]]
    if cached is not None:
        maps = tuple(part[i[i < config.images]] for part in cached.maps)
        return x, Answer(maps, cached.embedding[i], cached.logits[i])
    x = random_crops(F.pad(x, (4,) * 4), x.shape[-1], g)
    with torch.no_grad():
        return x, teacher(x)


# %%
def learn(method, k=0, count=config.images):
    """Student number k, after it has learned by `method` from the first `count` of the chosen images."""
    with lab.seeded(f"student {k}"):
        student = build(config.student, x_train, 10)
        student.regressor = nn.Conv2d(config.student.layers[-2][0], middle, 1)  # for hints
    student.to(lab.device)

    def loss(student, i, g):
        x, t = seen(i, g)
        return transfers[method](student(x), t, y_train[chosen[i]], student.regressor)

    images = torch.arange(count, device=lab.device)
    return trained(f"{method}, {count} images, {k}", student, loss, images, config.steps, f"order {k}")


# %% [markdown]
# Errors are means over `config.students` students of each kind, which start from different weights.
#
# **Predict.** Order the eight by their errors. Which are worse than labels alone?

# %%
students = {(method, k): learn(method, k) for method in transfers for k in range(config.students)}
errors = {
    method: np.mean([error(students[method, k]) for k in range(config.students)]) for method in transfers
}  # %, in the mean over students
lab.record_all({f"classified/{method}": found for method, found in errors.items()}, unit="% test error")

# %%
figure, ax = panels(width=9, height=3.2)
bars(ax, [name.replace(" ", "\n", 1) for name in transfers], {"error": [round(e, 1) for e in errors.values()]})
ax.axhline(lab.metrics["teacher/error"], color="black", linewidth=1, linestyle="--")
ax.text(7.55, lab.metrics["teacher/error"], "teacher", ha="left", va="bottom")
ax.set(ylabel="test error in %", xlim=(-0.6, 8.5), ylim=(0, 1.15 * max(errors.values())))
lab.show(
    figure,
    alt=f"Test errors of eight students that differ in their losses only, as bars, and of the teacher as a dashed line at {lab.metrics['teacher/error']:.1f} %: "
    + ", ".join(f"{method} {found:.1f} %" for method, found in errors.items())
    + ".",
)

# %%
worse = [method for method, found_here in errors.items() if found_here > errors["labels alone"]]
lab.tell(
    "With labels alone the student makes {classified/labels alone:.1f} % errors, its teacher {teacher/error:.1f} %. KD: {classified/KD:.1f} %, hints: {classified/hints:.1f} %, attention: {classified/attention:.1f} %. RKD: {classified/RKD-D:.1f} % by distances, {classified/RKD-A:.1f} % by angles, {classified/RKD-DA:.1f} % by both; KD and RKD together: {classified/KD + RKD-DA:.1f} %. "
    f"Worse than labels alone: {', '.join(worse) or 'none'}."
)

# %%
share = errors["KD"] / 100
lab.record("classified/uncertainty", 100 * (share * (1 - share) / len(x_test)) ** 0.5, unit="points")
lab.tell(
    f"Such an error is counted on {len(x_test):,} test images. With as many others it would differ by about {{classified/uncertainty:.1f}} points (one standard deviation), even for the same network. All students meet the same images, so that part of this is common to them; but a difference smaller than that decides nothing."
)

# %%
helpers = {
    "Temperature KD": ("KD", "Hinton et al. (2015), review"),
    "A hint at the middle layer": ("hints", "Romero et al. (2015), review"),
    "Attention transfer": ("attention", "Zagoruyko & Komodakis (2017), review"),
    "RKD of distances and angles": ("RKD-DA", "paper"),
}
for what, (method, source) in helpers.items():
    lab.claim(
        f"{what} helps the student to classify: in the mean it makes fewer errors than with labels alone.",
        holds=errors[method] < errors["labels alone"],
        evidence={name: errors[name] for name in ("labels alone", method)},
        source=source,
        reason="The weights of the losses are those of others, for larger networks and longer trainings. A weight that is too high can make any transfer harmful; a claim that fails here fails for these weights.",
    )

# %%
lab.claim(
    "RKD adds something to KD: with both, the student makes fewer errors than with KD.",
    holds=errors["KD + RKD-DA"] < errors["KD"],
    evidence={name: errors[name] for name in ("KD", "KD + RKD-DA")},
    source="paper",
    reason="Both come from the same teacher, and what one tells the other may have told already. With few students of each kind a difference below a point may be chance: look at how often it held.",
)
lab.claim(
    "For classification plain KD is better than RKD alone: its student makes fewer errors than those of RKD-D, RKD-A and RKD-DA.",
    holds=all(errors["KD"] < errors[name] for name in ("RKD-D", "RKD-A", "RKD-DA")),
    evidence={name: errors[name] for name in ("KD", "RKD-D", "RKD-A", "RKD-DA")},
    source="independent reproduction (RepDistiller)",
    reason="There it is so in every pair of networks (table below), with CIFAR-100 and all the images that the teacher had. With other data, fewer images or other weights the order may change: one setting decides nothing.",
)

# %% [markdown]
# ### An independent reproduction
#
# Papers compare their method with others that they have run themselves. So look at somebody who invented none of the methods compared. The authors of RepDistiller trained many transfers in one and the same way. (They have a method of their own, CRD, which is in none of these columns.) These are the accuracies on CIFAR-100 that they print, in percent. T is the teacher, S the student with labels alone, FitNet stands for hints and AT for attention transfer; a dash means not taken over here. A row is a pair of networks, from teacher to student. The last column is the accuracy of RKD less that of KD.

# %%
reproduced = {  # T, S, KD, FitNet, AT, RKD: HobbitLong/RepDistiller, README
    "wrn40-2 to wrn16-2": (75.61, 73.26, 74.92, 73.58, 74.08, 73.35),
    "resnet56 to resnet20": (72.34, 69.06, 70.66, 69.21, 70.55, 69.61),
    "resnet110 to resnet32": (None, None, 73.08, None, None, 71.82),
    "resnet32x4 to resnet8x4": (79.42, 72.50, 73.33, 73.50, 73.44, 71.90),
    "vgg13 to vgg8": (None, None, 72.98, 71.02, 71.43, 71.48),
}

# %% tags=["nbval-check-output"]
print(f"{'':24}", *(f"{name:>7}" for name in ("T", "S", "KD", "FitNet", "AT", "RKD", "RKD-KD")))
for pair, row in reproduced.items():
    shown = (f"{value:7.2f}" if value else f"{'-':>7}" for value in row)
    print(f"{pair:24}", *shown, f"{row[-1] - row[2]:7.2f}")

# %% [markdown]
# In every row RKD alone is below KD. For resnet8x4 it is below the student with labels alone. So do not take RKD for the better KD when you classify. (A user who repeated the second row found 71.54 % for KD, 0.9 points more than printed: differences of a few tenths mean little.) The task for which its authors claim most, metric learning, comes in section 6.
#
# ### What attention transfer transfers
#
# Where does the last layer look? Below are test images, the attention of the teacher, of the student with labels alone, and of the one that was taught attention. Each map is scaled by its largest value, dark is high.

# %%
some = [int(torch.where(y_test == c)[0][0]) for c in range(8)]
watching = {
    "teacher": teacher,
    "labels alone": students["labels alone", 0],
    "attention": students["attention", 0],
}
looks = {name: paper.attention_map(predict(net, x_test[some]).maps[1]) for name, net in watching.items()}

# %%
pictures = (x_test[some].cpu() * std + mean).clamp(0, 1)
side = pictures.shape[-1]
rows = {"image": pictures if pictures.shape[1] == 3 else pictures.expand(-1, 3, -1, -1)}
for name, look in looks.items():
    scaled = (look / look.amax(1, keepdim=True).clamp(min=1e-12)).cpu()
    grid = scaled.unflatten(1, (round(look.shape[1] ** 0.5), -1))[:, None]
    rows[name] = 1 - F.interpolate(grid, size=side).expand(-1, 3, -1, -1)

# %%
whole = {name: predict(net, x_test[:500]).maps[1] for name, net in watching.items()}
for name in ("labels alone", "attention"):
    gap = paper.attention_transfer_loss(whole[name], whole["teacher"])
    lab.record(f"attention/{name}", 1000 * gap, unit="1000 x loss against the teacher, last layer, test images")
lab.show(
    image_rows(rows, size=0.9),
    alt="Eight test images and below each where the last layer of three networks is active, as coarse grey maps: the teacher, the student with labels alone, the student that was taught attention. "
    f"1000 times the loss against the teacher is {lab.metrics['attention/labels alone']:.2f} without and {lab.metrics['attention/attention']:.2f} with attention transfer.",
)

# %%
lab.tell(
    "On test images, 1000 times the loss of attention is {attention/labels alone:.2f} for the student with labels alone, and {attention/attention:.2f} for the one that was taught attention. Whether it looks where its teacher looks is one thing, and whether this helps it to classify another: its error is {classified/attention:.1f} %, with labels alone {classified/labels alone:.1f} %."
)

# %% [markdown]
# ### When does a teacher help?
#
# At `quick` and `full` the students above have far fewer images than their teacher had. That may be why a teacher helps, where it does. Give them other numbers of images, and as many steps (to within a percent: passes are whole). Three losses are compared: labels alone, KD, and RKD-DA.
#
# **Predict.** How does the error of each change with the number of images? Do the three curves come closer to each other, or drift apart?

# %%
compared = ("labels alone", "KD", "RKD-DA")
for count in config.counts:
    for method in compared:
        lab.record(f"{count} images/{method}", error(learn(method, count=count)), unit="% test error")

# %%
counts = sorted({config.images, *config.counts})
curves = {
    method: [errors[method] if n == config.images else lab.metrics[f"{n} images/{method}"] for n in counts]
    for method in compared
}
figure, ax = panels(width=5.5, height=3.2)
for method, curve in curves.items():
    ax.plot(counts, curve, marker="o", label=method)
ax.axhline(lab.metrics["teacher/error"], color="black", linewidth=1, label="teacher")
ax.set(xlabel="images", ylabel="test error in %", xscale="log", ylim=(0, None))
ax.set_xticks(counts, [f"{n:,}" for n in counts])
ax.minorticks_off()
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Test errors of three kinds of students against the number of images they learn from; a thin line is the teacher. "
    + "; ".join(
        f"{method}: " + ", ".join(f"{found:.1f} % with {n}" for n, found in zip(counts, curve, strict=True))
        for method, curve in curves.items()
    )
    + ".",
)

# %%
recorded_as = {n: "classified" if n == config.images else f"{n} images" for n in counts}
told = "; ".join(
    f"with {n:,} images {{{key}/labels alone:.1f}} % by labels alone, {{{key}/KD:.1f}} % by KD, {{{key}/RKD-DA:.1f}} % by RKD-DA"
    for n, key in recorded_as.items()
)
lab.tell(
    f"Errors {told}. (Students with {config.images:,} images: {config.students} of each kind, with other numbers: one.)"
)

# %%
gains = [alone - taught for alone, taught in zip(curves["labels alone"], curves["KD"], strict=True)]
lab.claim(
    "The fewer images a student has, the more a teacher helps: by KD it gains more points with the fewest images than with the most.",
    holds=gains[0] > gains[-1],
    evidence={f"gain with {n} images": gain for n, gain in zip(counts, gains, strict=True)},
    source="this lesson",
    reason="With many images there is less to gain. With very few the teacher is asked about few, too, and what it says about them need not tell what it knows about others. At other numbers of images than above, each is a single training.",
)

# %% [markdown]
# So a comparison of transfers must say how many images the student was given. In published ones, such as the table above, it usually has all of its teacher's.
#
# ## 5 · What $\mu$, the diagonal and $\lambda$ have to do with each other
#
# ### The diagonal
#
# The published loss is a mean over *all* entries. But the $N$ entries of the diagonal of $\psi_D$ are 0 in both networks, always. And of the $N^3$ entries of $\psi_A$ only $N (N-1) (N-2)$ belong to three different images; the others are equal in both networks, too (0 without an angle, 1 between an edge and itself). They add nothing to the sum, but they count in the mean. Compared with the mean over the **valid** tuples, those of different images, the loss is smaller, by the factors
#
# $$\text{RKD-D: } \frac{N - 1}{N}, \qquad \text{RKD-A: } \frac{(N - 1)(N - 2)}{N^2}$$

# %% tags=["nbval-check-output"]
g = torch.Generator().manual_seed(0)
print("   N   RKD-D: measured  formula   RKD-A: measured  formula")
for N in (3, 5, 12, 60, 120):
    s, t = (torch.randn(N, 8, generator=g, dtype=torch.float64) for _ in range(2))
    ratios = [loss(s, t) / loss(s, t, valid_only=True) for loss in (paper.rkd_distance_loss, rkd_angle_loss)]
    formulas = (N - 1) / N, (N - 1) * (N - 2) / N**2
    print(f"{N:4} {ratios[0]:17.4f} {formulas[0]:8.4f} {ratios[1]:17.4f} {formulas[1]:8.4f}")

# %% [markdown]
# The weights $\lambda_D$ and $\lambda_A$ are multiplied with these means. So whoever uses published weights with means over valid tuples, or with a smaller batch, has changed them without noticing. In a batch of 5 RKD-A has less than half of its weight. And as it loses more than RKD-D, the ratio of the two depends on the batch, too. The factors for all batch sizes:

# %%
sizes = np.arange(3, 129)
shrunk = {"RKD-D": (sizes - 1) / sizes, "RKD-A": (sizes - 1) * (sizes - 2) / sizes**2}
figure, ax = panels(width=5.5, height=3)
for name, ratio in shrunk.items():
    ax.plot(sizes, ratio, label=name)
ax.set(xlabel="images in a batch", ylabel="effective weight", xscale="log", ylim=(0, 1.05))
ax.set_xticks((3, 5, 10, 20, 40, 80, 128), ("3", "5", "10", "20", "40", "80", "128"))
ax.minorticks_off()
ax.legend(frameon=False)
lab.show(
    figure,
    alt="How much of its weight is left to a loss that is averaged over all entries, against the batch size. RKD-D rises from 0.67 in a batch of 3 to 0.99 in one of 128, RKD-A from 0.22 to 0.98.",
)

# %% [markdown]
# In the published batches of about 120 images the effect is below three percent. It matters where people adapt the method to small batches, or compare implementations.
#
# ### $\mu$
#
# Why divide by $\mu$ at all? Without it the student would have to copy the teacher's *unit*. And why must the gradient flow through it? The loss does not change when all of the student's embeddings are scaled: $L(c\,s) = L(s)$ for every $c > 0$. Differentiate by $c$ at $c = 1$: $\langle s, \nabla_s L \rangle = 0$. So the gradient has no component that scales the embeddings. With a $\mu$ that is held constant this is lost: the loss has the same value, but its gradient also shrinks or stretches everything.


# %%
def with_constant_mu(student, teacher):
    found, wanted = (paper.pairwise_distances(x) for x in (student, teacher))
    pairs = len(found) * (len(found) - 1)
    return F.smooth_l1_loss(found / (found.sum() / pairs).detach(), wanted / (wanted.sum() / pairs))


# %% tags=["nbval-check-output"]
for name, loss in {"mu with its gradient": paper.rkd_distance_loss, "mu held constant": with_constant_mu}.items():
    points = S.clone().requires_grad_()
    value = loss(points, T)
    (gradient,) = torch.autograd.grad(value, points)
    print(f"{name:21} loss {value:.6f}, scaling component {(points * gradient).sum().abs():.6f}")

# %% [markdown]
# It also matters *over what* the mean $\mu$ runs. Published code averages the distances that are greater than 0. As it keeps all squared distances above $10^{-12}$, these are the $N (N - 1)$ off the diagonal. Over all $N^2$ entries $\mu$ would be smaller by $(N - 1) / N$ in both networks alike, all potentials larger by $N / (N - 1)$, and the loss by the square of that, as long as all differences are below 1, where the Huber loss is quadratic. This is a second hidden change of $\lambda$:

# %% tags=["nbval-check-output"]
g = torch.Generator().manual_seed(1)
for N in (3, 12, 120):
    s, t = (torch.randn(N, 8, generator=g, dtype=torch.float64) for _ in range(2))
    over_all = [paper.pairwise_distances(x) / paper.pairwise_distances(x).mean() for x in (s, t)]
    ratio = F.smooth_l1_loss(*over_all) / paper.rkd_distance_loss(s, t)
    print(f"N = {N:3}: {ratio:.4f} times the loss, (N / (N - 1))^2 = {(N / (N - 1)) ** 2:.4f}")

# %% [markdown]
# ## 6 · Classes that nobody has seen
#
# **Intuition.** RKD's authors claim most for **metric learning**: an embedding in which images of one class lie near each other, also for classes that were *never trained*. A shop adds a product, a zoo a bird: nobody wants to train anew. There are no logits for such classes. But there are embeddings of their images, with distances and angles among them.
#
# The measure is **recall@K** (R@K): the share of images with at least one of their own class among their K nearest others, by the distance of the embeddings. Below, a network *finds more* if its recall@1 is higher. At `quick` digits 0 to 4 are seen and 5 to 9 are not. At `full` and `paper` the 964 characters of 30 alphabets are seen, and the 659 of 20 other alphabets are not (Omniglot).
#
# ![A network is trained on images of the digits 0 to 4 and embeds images of the digits 5 to 9, which it has never seen. An arrow leads from each of 15 test images to its nearest other one, solid for the same class, dashed for another. Twelve are solid, so Recall@1 is 0.80.](figures/07_relational_distillation/retrieval.svg)
#
# ### Exercise 7 · Recall@K
#
# An image is no neighbour of itself, not even where another image has the same embedding. An image that is alone in its class counts as not found. And when several are equally far, let those of *other* classes come first: otherwise a network that maps all images to one point could seem to find everything.


# %% tags=["exercise"]
def recall_at_k(embeddings, labels, k=1):
    """Embeddings (N, d), labels (N,) -> the share of images with one of their class among the k nearest, a float."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
recall_at_k = lab.check(recall_at_k)

# %% tags=["nbval-check-output"]
line, owners = torch.tensor([[0.0], [1.0], [3.0], [3.5], [10.0], [10.0]]), torch.tensor([0, 1, 0, 1, 2, 3])
print("recall@1, 2 and 4:", [round(recall_at_k(line, owners, k), 3) for k in (1, 2, 4)])
print("all in one point:", recall_at_k(torch.zeros(6, 2), owners))

# %% [markdown]
# (The last two are alone in their classes and never found, so that recall cannot be more than 4 of 6 here.)
#
# The second measure is that of few-shot learning: draw five unseen classes and *one* image of each; 15 other images of each class must then be classified, each as the nearest of the five (**5-way 1-shot**). The accuracy is averaged over many such draws, the same for all networks. By chance one in five is right.


# %%
class Unseen(NamedTuple):
    train: torch.Tensor  # images of seen classes, (N, C, H, W), standardized
    train_labels: torch.Tensor
    test: torch.Tensor  # images of unseen classes
    test_labels: torch.Tensor


# %%
def digits_split():
    """Digits 0 to 4 to learn from; 5 to 9, from both parts of the data, to be tested on."""
    digits = labkit.data.load("mnist", profile=profile)
    seen_ones = digits.train.labels < 5
    unseen = [(part, part.labels >= 5) for part in (digits.train, digits.test)]
    test = [torch.cat([getattr(part, what)[mask] for part, mask in unseen]) for what in ("images", "labels")]
    return digits.source, (digits.train.images[seen_ones], digits.train.labels[seen_ones], *test)


# %%
if config.metric == "digits":
    source, parts = digits_split()
else:
    omniglot = labkit.data.load("omniglot", profile=profile)
    source = omniglot.source
    parts = (omniglot.train.images, omniglot.train.labels, omniglot.test.images, omniglot.test.labels)
print(source)
middle_grey, deviation = parts[0].mean(), parts[0].std()
split = Unseen(*(((p - middle_grey) / deviation if p.is_floating_point() else p).to(lab.device) for p in parts))

# %% [markdown]
# ### Teacher and students
#
# The **teacher** learns by **triplets**: an image $a$ should be nearer to another one of its class, $p$, than to one of another class, $n$, by a margin of 0.2: $\max(0, \|a - p\|^2 - \|a - n\|^2 + 0.2)$. Its embeddings are divided by their length (**l2-normalised**). Which $n$ is taken? In many dimensions nearly all points of a sphere of radius 1 lie at about the same distance from each other, $\sqrt 2$. Drawn evenly, nearly all $n$ would soon be too far away to teach anything: once $a$ and $p$ are near each other, the maximum is 0. *Distance-weighted sampling* (Wu et al., 2017) gives an $n$ a weight of one over the density of its distance, the share of random points of the sphere that lie so far apart. Rare distances, the small ones, are then drawn as often as common ones; those beyond 1.4 are not drawn. On 300 random points in 16 dimensions, each a class of its own:

# %% tags=["nbval-check-output"]
sphere = F.normalize(torch.randn(300, 16, generator=torch.Generator().manual_seed(0)))
drawn = paper.negative_probabilities(sphere, torch.arange(300))
apart = paper.pairwise_distances(sphere)
print(
    f"mean distance of n: drawn evenly {apart.sum() / (300 * 299):.2f}, by distance {(drawn * apart).sum(1).mean():.2f}"
)

# %% [markdown]
# The **students** of RKD have a loss *without labels*. (Only the batches are drawn by class, as published.) They see the teacher's embeddings of each batch, and $L = \lambda_D L_D + \lambda_A L_A$ with $\lambda_D = 1$ and $\lambda_A = 2$. As published, their own embeddings are *not* l2-normalised. For comparison there are students trained by triplets, with and without l2 (without it a margin of 0.2 has no fixed meaning, as the unit is free), and one of RKD-DA with l2. All begin with the same weights and see the same batches: several classes, and equally many images of each (`config.drawn`). There is one step size for all; none is tuned for a loss.


# %%
class Embedder(nn.Module):
    """The embeddings of a network, with `l2` divided by their length."""

    def __init__(self, net, l2):
        super().__init__()
        self.net, self.l2 = net, l2

    def forward(self, x):
        embedding = self.net(x).embedding
        return F.normalize(embedding) if self.l2 else embedding


# %%
def embedder(
    name, size, loss, *, l2=False, begin="start", shape=config.drawn, rounds=config.rounds, evaluate=None, along=None
):
    """A network for embeddings after it has learned by loss(embeddings, indices of the images, generator).

    `begin` names the first weights and the order of the batches: equal names, equal start.
    """
    with lab.seeded(f"{begin}, {size.embedding}"):
        made = Embedder(build(size, split.train).to(lab.device), l2)
    made.net.along = along  # a regressor, if one is learned along
    lr = 0.003 if size == config.metric_teacher else 0.01  # wider networks learn with smaller steps
    adam = torch.optim.Adam(made.net.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=rounds * config.iterations + 1)

    def step(_net, _, g):  # `fit` only counts the batches, each is drawn here
        i = paper.draw_by_class(split.train_labels, *shape, g).flatten()
        own = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=g)))  # batches stay the same
        return loss(made(split.train[i]), i, own)

    how = {"epochs": rounds, "batch_size": 1, "generator": lab.generator(f"{begin}, batches"), "label": name}
    how |= {"optimizer": adam, "schedule": schedule, "checkpoint": lab.checkpoint(name)}
    history = fit(made.net, step, torch.arange(config.iterations), evaluate=evaluate and evaluate(made), **how)
    return (made, history) if evaluate else made


# %%
def by_triplets(e, i, g):
    return triplet_loss(e, split.train_labels[i], g)


# %%
def by_relations(taught, distance=1, angle=2):
    """RKD by what a teacher made of the seen images, (N, d_T); a weight of 0 leaves a term out."""

    def loss(e, i, g):
        by_distance = distance * rkd_distance_loss(e, taught[i]) if distance else 0
        return by_distance + (angle * rkd_angle_loss(e, taught[i]) if angle else 0)

    return loss


# %% [markdown]
# Are relations needed for that at all? A **hint** on the embedding is the individual transfer of the same teacher: a linear map, learned along, must make the teacher's embedding of the student's, image by image. It has no labels either.
#
# Four controls stand beside them. **Pixels**: no network at all, neighbours by the distance of the images themselves. **Untrained student**: the weights with which all students begin. **Untrained teacher**: the architecture of the teacher, with random weights. **By untrained**: a *student* of RKD-DA that this network has taught. Whatever such a student finds, its teacher never learned it.


# %%
def never_trained(begin, size, l2):
    """Random weights; only the batch normalizations know the mean and the spread of the seen images."""
    with lab.seeded(begin):
        made = Embedder(build(size, split.train).to(lab.device), l2)
    for layer in made.net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, without the initial values
    with torch.no_grad():  # in training mode, which `predict` would leave
        for part in split.train.split(500):
            made(part)
    return made.eval()


# %%
metric_teacher = embedder("metric teacher", config.metric_teacher, by_triplets, l2=True, begin="teacher")
taught = predict(metric_teacher, split.train)
untrained = never_trained("untrained teacher", config.metric_teacher, l2=True)

# %%
RKD = by_relations(taught)  # the loss of RKD-DA
found = {}  # students and untrained networks by their names
with lab.seeded("regressor"):
    linear = nn.Linear(config.metric_student.embedding, config.metric_teacher.embedding).to(lab.device)


# %%
def by_hint(e, i, _):
    """Individual: what a linear map, learned along, makes of an embedding must be the teacher's."""
    return hint_loss(e, taught[i], linear)


# %%
def watch(made):
    """For `fit`: recall@1 on the unseen classes after each round. (Rank 1: the nearest image is of the own class.)"""
    return lambda: {
        "recall": (paper.match_ranks(predict(made, split.test), split.test_labels) == 1).double().mean().item()
    }


# %%
small = config.metric_student
found["triplets, l2"] = embedder("triplets, l2", small, by_triplets, l2=True)
found["triplets"] = embedder("triplets", small, by_triplets)
found["hint"] = embedder("hint", small, by_hint, along=linear)
found["RKD-D"] = embedder("RKD-D", small, by_relations(taught, angle=0))
found["RKD-A"] = embedder("RKD-A", small, by_relations(taught, distance=0))
found["RKD-DA"], history = embedder("RKD-DA", small, RKD, evaluate=watch)
found["RKD-DA, l2"] = embedder("RKD-DA, l2", small, RKD, l2=True)
found["by untrained"] = embedder("by untrained", small, by_relations(predict(untrained, split.train)))
found["untrained teacher"] = untrained
found["untrained student"] = never_trained(f"start, {small.embedding}", small, l2=False)

# %% [markdown]
# **Predict.** Order teacher, students and controls by recall@1. Can a student find more than its teacher? And how good are the pixels?


# %%
def scores(e):
    """Recall@1 and recall@4 in %, and accuracy in 5-way 1-shot tasks in %."""
    ranks = paper.match_ranks(e, split.test_labels)
    shots = paper.few_shot_accuracy(e, split.test_labels, lab.generator("episodes"), episodes=config.episodes)
    return {
        "R@1": 100 * (ranks <= 1).double().mean().item(),
        "R@4": 100 * (ranks <= 4).double().mean().item(),
        "1-shot": 100 * shots.mean().item(),
    }


# %%
table = {"pixels": scores(split.test.flatten(1)), "teacher": scores(predict(metric_teacher, split.test))}
table |= {name: scores(predict(made, split.test)) for name, made in found.items()}
for name, row in table.items():
    lab.record_all({f"unseen/{name}/{what}": value for what, value in row.items()}, unit="%")
e, labels = predict(metric_teacher, split.test)[:1000], split.test_labels[:1000]  # does your function agree?
lab.record("your recall/against the library's", round(abs(recall_at_k(e, labels) - paper.recall_at_k(e, labels)), 4))

# %%
figure, axes = panels(2, 1, width=11, height=3)
bars(axes[0], list(table), {k: [round(row[k], 1) for row in table.values()] for k in ("R@1", "R@4")})
axes[0].set(ylabel="recall in %", ylim=(0, 135))
axes[0].legend(frameon=False, ncols=2, loc="upper left")
bars(axes[1], list(table), {"1-shot": [round(row["1-shot"], 1) for row in table.values()]})
axes[1].axhline(20, color="black", linewidth=1, linestyle="--")
axes[1].set(ylabel="5-way 1-shot in %", ylim=(0, 110))
for ax in axes:
    ax.set_xticks(range(len(table)), [name.replace(" ", "\n") for name in table], fontsize=9.5)
lab.show(
    figure,
    alt="Recall at 1 and at 4 on unseen classes (above) and 5-way 1-shot accuracy (below, chance as a dashed line at 20 %). Recall at 1 and 1-shot: "
    + "; ".join(f"{name} {row['R@1']:.1f} and {row['1-shot']:.1f} %" for name, row in table.items())
    + ".",
)

# %%
lab.tell(
    "Recall@1: the pixels {unseen/pixels/R@1:.1f} %, the teacher {unseen/teacher/R@1:.1f} %. Its students by RKD-D {unseen/RKD-D/R@1:.1f} %, by RKD-A {unseen/RKD-A/R@1:.1f} %, by RKD-DA {unseen/RKD-DA/R@1:.1f} %, with l2 {unseen/RKD-DA, l2/R@1:.1f} %; by triplets {unseen/triplets/R@1:.1f} %, with l2 {unseen/triplets, l2/R@1:.1f} %. By a hint on the embedding {unseen/hint/R@1:.1f} %. The untrained teacher itself finds {unseen/untrained teacher/R@1:.1f} %, the student that it taught {unseen/by untrained/R@1:.1f} %, the untrained student {unseen/untrained student/R@1:.1f} %. In 1-shot tasks the pixels reach {unseen/pixels/1-shot:.1f} %, the teacher {unseen/teacher/1-shot:.1f} %, RKD-DA {unseen/RKD-DA/1-shot:.1f} %, RKD-DA with l2 {unseen/RKD-DA, l2/1-shot:.1f} %, triplets with l2 {unseen/triplets, l2/1-shot:.1f} %."
)

# %% [markdown]
# Look at the pixels before you praise any network. Recall@1 asks for one near twin and no more. A digit of `quick` has hundreds of others of its class, among which there may well be one, and pixels are enough to find it. In a 1-shot task there is one example, which is seldom such a twin. A character of Omniglot has 19 others, drawn by 19 other people: there the twin may be missing for recall@1, too.


# %%
def first(name):
    return table[name]["R@1"]


def evidence(*names):
    return {name: first(name) for name in names}


# %%
lab.claim(
    "A student of RKD, without labels in its loss, finds more of unseen classes than the same network trained by triplets.",
    holds=max(first("RKD-DA"), first("RKD-DA, l2")) > max(first("triplets"), first("triplets, l2")),
    evidence=evidence("RKD-DA", "RKD-DA, l2", "triplets", "triplets, l2"),
    source="paper",
    reason="Compared is the better of the two students of each kind, with and without l2. Published on birds, cars and products, with networks that were trained on ImageNet before. From scratch, and with many classes, labels may tell a small student more than the shape of a cloud that it cannot copy.",
)
lab.claim(
    "A student of RKD-DA finds more of unseen classes than its own, larger teacher.",
    holds=first("RKD-DA") > first("teacher"),
    evidence=evidence("RKD-DA", "teacher"),
    source="paper",
    reason="The published students are smaller networks than their teacher as well. Where it holds, mind the pixels and the untrained teacher: a student that keeps more of the images' own geometry may do well for that alone.",
)

# %%
lab.claim(
    "A student of RKD does better without l2 normalisation than with it.",
    holds=first("RKD-DA") > first("RKD-DA, l2"),
    evidence=evidence("RKD-DA", "RKD-DA, l2")
    | {f"{name}, 1-shot": table[name]["1-shot"] for name in ("RKD-DA", "RKD-DA, l2")},
    source="paper",
    reason="Without l2 the student has one dimension more to place its points in, and a length that can say something. But the teacher lies on a sphere, and l2 gives the student the same. Recall and 1-shot need not agree.",
)
lab.claim(
    "Angles teach more than distances: the student of RKD-A finds more of unseen classes than that of RKD-D.",
    holds=first("RKD-A") > first("RKD-D"),
    evidence=evidence("RKD-D", "RKD-A", "RKD-DA"),
    source="paper",
    reason="Both losses are 0 for the same shapes; what differs is how much each deviation counts. An angle says in which direction, and there are N times as many of them. Distances say how far; for neighbours that may be what counts.",
)
lab.claim(
    "Relations teach more than outputs one by one: the student of RKD-DA finds more of unseen classes than one taught by a hint on the embedding.",
    holds=first("RKD-DA") > first("hint"),
    evidence=evidence("RKD-DA", "hint", "teacher")
    | {"RKD-DA, 1-shot": table["RKD-DA"]["1-shot"], "hint, 1-shot": table["hint"]["1-shot"]},
    source="paper, review",
    reason="The hint must give the student's place a meaning in the teacher's coordinates, but by any linear map, which may stretch a direction: it says less about distances among the student's own points. With one training of each, look at how often it held.",
)

# %%
lab.claim(
    "What is handed over is what the teacher learned: with an untrained teacher the student's recall@1 is at least two points lower.",
    holds=first("by untrained") <= first("RKD-DA") - 2,
    evidence=evidence("RKD-DA", "by untrained", "teacher", "untrained teacher", "pixels"),
    source="this lesson",
    reason="Random convolutions keep much of how alike images are pixel by pixel. Where pixels alone find nearly everything, a teacher has little to add, and a student of RKD can do well with a teacher that knows nothing.",
)

# %% [markdown]
# ### Two maps, side by side
#
# Does the student's cloud have the shape of the teacher's? Take some unseen classes. RKD leaves turning, mirroring, shifting and scaling to the student, so undo them: **Procrustes analysis** lays one cloud of points onto the other as closely as just these allow. What remains is the *disparity*: the sum of squared differences, when the teacher's cloud is centred and has a sum of squares of 1, and the other has the size that fits it best. It is 0 for the same shape, 1 at worst. (The student's missing dimensions are filled with zeros.) All clouds are then drawn in the two directions in which the teacher's points spread most (PCA). Each dot is an image, coloured by its class; the number of a class stands at the median of its dots, and the number above a panel is the disparity.

# %%
unseen_classes = split.test_labels.unique()[:8]
picked = torch.cat([torch.where(split.test_labels == c)[0][:40] for c in unseen_classes])
which = (
    split.test_labels[picked] if config.metric == "digits" else split.test_labels[picked] - unseen_classes[0]
).cpu()
cloud = predict(metric_teacher, split.test[picked]).cpu().double().numpy()


# %%
def laid_onto_the_teacher(made):
    """The teacher's cloud, centred and of size 1, the other one laid onto it, and the disparity."""
    other = predict(made, split.test[picked]).cpu().double().numpy()
    return procrustes(cloud, np.pad(other, ((0, 0), (0, cloud.shape[1] - other.shape[1]))))


# %%
figure, axes = panels(1, 4, width=3.3, height=3.3)
laid = {name: laid_onto_the_teacher(found[name]) for name in ("RKD-DA", "triplets, l2", "by untrained")}
axis_of = PCA(2).fit(laid["RKD-DA"][0])
scatter_classes(axes[0], axis_of.transform(laid["RKD-DA"][0]), which, title="teacher")
for ax, (name, (_, other, disparity)) in zip(axes[1:], laid.items(), strict=True):
    lab.record(f"disparity/{name}", disparity)
    scatter_classes(ax, axis_of.transform(other), which, title=f"{name.replace('by', 'student of')}: {disparity:.2f}")
for ax in axes:
    ax.set(xticks=[], yticks=[])
lab.show(
    figure,
    alt="Embeddings of images of some unseen classes, each marked by its number, in four panels: the teacher, and laid onto it by turning, shifting and scaling the students of RKD, of triplets, and of an untrained teacher. Disparities: "
    + ", ".join(f"{name} {disparity:.2f}" for name, (_, _, disparity) in laid.items())
    + ".",
)

# %%
lab.tell(
    "Laid onto the teacher's cloud, that of its student by RKD-DA leaves a disparity of {disparity/RKD-DA:.2f}, that of a student by triplets {disparity/triplets, l2:.2f}, that of a student with an untrained teacher {disparity/by untrained:.2f}. The figure shows two directions only; disparities count all dimensions."
)

# %%
lab.claim(
    "A student of RKD has its teacher's structure, on unseen classes too: once turned, shifted and scaled, less is left of the difference than for a student trained by triplets with the same labels as the teacher, and than for one with an untrained teacher.",
    holds=laid["RKD-DA"][2] < min(laid["triplets, l2"][2], laid["by untrained"][2]),
    evidence={name: disparity for name, (_, _, disparity) in laid.items()},
    source="paper",
    reason="This is what RKD optimises, there on seen classes. Networks that learn the same task from the same images come to similar shapes without a teacher, too.",
)

# %% [markdown]
# ### Another embedding size
#
# Here the student's embedding has fewer numbers than its teacher's; an individual transfer would need a regressor to compare them at all. How small may it be? Vary its size, with everything else equal, for RKD-DA (without l2) and for triplets (with l2, as the teacher).
#
# **Predict.** Which of the two loses more when the embedding becomes very small?

# %%
dimensions = sorted({small.embedding, *config.embeddings})
for d in dimensions:
    for name, loss, l2 in (("RKD-DA", RKD, False), ("triplets, l2", by_triplets, True)):
        base = d == small.embedding
        made = found[name] if base else embedder(f"{name}, {d}", replace(small, embedding=d), loss, l2=l2)
        lab.record(f"size {d}/{name}", scores(predict(made, split.test))["R@1"], unit="% R@1")

# %%
figure, ax = panels(width=5.5, height=3.2)
for name in ("RKD-DA", "triplets, l2"):
    ax.plot(dimensions, [lab.metrics[f"size {d}/{name}"] for d in dimensions], marker="o", label=name)
ax.axhline(first("teacher"), color="black", linewidth=1)
ax.annotate("teacher", (dimensions[0], first("teacher")), xytext=(0, 3), textcoords="offset points")
ax.set(xlabel="numbers in the student's embedding", ylabel="recall@1 in %", xscale="log")
ax.set_xticks(dimensions, [str(d) for d in dimensions])
ax.minorticks_off()
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Recall at 1 on unseen classes against the size of the student's embedding, for RKD and for triplets; a thin line is the teacher. "
    + "; ".join(
        f"{d} numbers: RKD-DA {lab.metrics[f'size {d}/RKD-DA']:.1f} %, triplets {lab.metrics[f'size {d}/triplets, l2']:.1f} %"
        for d in dimensions
    )
    + ".",
)

# %%
sizes_told = {name: ", ".join(f"{{size {d}/{name}:.1f}}" for d in dimensions) for name in ("RKD-DA", "triplets, l2")}
lab.tell(
    f"With {', '.join(map(str, dimensions))} numbers RKD-DA finds {sizes_told['RKD-DA']} %, triplets {sizes_told['triplets, l2']} %."
    " (The teacher's embedding has 64 numbers.)"
)

# %%
lab.claim(
    "At every size of the embedding the student of RKD-DA finds more of unseen classes than the one trained by triplets with l2.",
    holds=all(lab.metrics[f"size {d}/RKD-DA"] > lab.metrics[f"size {d}/triplets, l2"] for d in dimensions),
    evidence={
        f"{name}, {d}": lab.metrics[f"size {d}/{name}"] for d in dimensions for name in ("RKD-DA", "triplets, l2")
    },
    source="paper (16, 32, 64 and 128 numbers)",
    reason="Where it fails, see whether it fails at all sizes or only at some. In very few dimensions no cloud can have the distances of one that really uses 64.",
)

# %% [markdown]
# ## 7 · A student as large as its teacher
#
# The review's second use of distillation: not a smaller network but a better one. A **born-again** network has its teacher's architecture and learns from it; then it becomes the teacher of the next **generation**. The original ones learned by KD; here each generation learns by RKD-DA from the one before, without labels and without l2. Two controls have the same architecture. A *second try* is trained by triplets from other weights, as the teacher was: it shows how much that alone can bring. The other is the first generation *with l2*. (The paper's few-shot experiment is of this kind: a student as large as its teacher, measured in 1-shot tasks.)
#
# **Predict.** Will the first generation beat the teacher? And the next ones?

# %%
generations = [first("teacher")]
knows = taught
for n in range(1, config.generations + 1):
    born = embedder(f"generation {n}", config.metric_teacher, by_relations(knows), begin=f"generation {n}")
    knows = predict(born, split.train)
    row = scores(predict(born, split.test))
    generations.append(row["R@1"])
    lab.record_all({f"generation {n}/{what}": row[what] for what in ("R@1", "1-shot")}, unit="%")

# %%
controls = {
    "second try": embedder("second try", config.metric_teacher, by_triplets, l2=True, begin="second try"),
    "with l2": embedder("generation 1, l2", config.metric_teacher, RKD, l2=True, begin="generation 1"),
}
for name, made in controls.items():
    row = scores(predict(made, split.test))
    lab.record_all({f"{name}/{what}": row[what] for what in ("R@1", "1-shot")}, unit="%")

# %%
figure, ax = panels(width=8, height=3)
ax.plot(range(len(generations)), generations, marker="o", label="generations")
ax.axhline(lab.metrics["second try/R@1"], color="#bd1f01", linestyle="--", label="second try by triplets")
ax.plot(1, lab.metrics["with l2/R@1"], "s", color="black", label="first generation with l2")
ax.set_xticks(range(len(generations)), ["teacher", *range(1, len(generations))])
ax.set(xlabel="generation", ylabel="recall@1 in %")
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
lab.show(
    figure,
    alt="Recall at 1 on unseen classes of the teacher and of the generations after it, as a line: "
    + ", ".join(f"{value:.1f} %" for value in generations)
    + f"; a dashed line is a second network trained as the teacher was, {lab.metrics['second try/R@1']:.1f} %; a square is the first generation with l2, {lab.metrics['with l2/R@1']:.1f} %.",
)

# %%
lab.tell(
    "The teacher finds {unseen/teacher/R@1:.1f} %, the first generation {generation 1/R@1:.1f} %, the second {generation 2/R@1:.1f} %; a second try by triplets {second try/R@1:.1f} %, the first generation with l2 {with l2/R@1:.1f} %. In 1-shot tasks: teacher {unseen/teacher/1-shot:.1f} %, first generation {generation 1/1-shot:.1f} %, second try {second try/1-shot:.1f} %, with l2 {with l2/1-shot:.1f} %. The distance between the teacher and the second try is a measure of chance: what is not larger than that need not mean anything."
)

# %%
lab.claim(
    "A student as large as its teacher beats it: the first generation finds more than the teacher, and more than a second try by triplets.",
    holds=generations[1] > max(generations[0], lab.metrics["second try/R@1"]),
    evidence={"teacher": generations[0], "generation 1": generations[1]}
    | {name: lab.metrics[f"{name}/R@1"] for name in controls},
    source="review, paper",
    reason="The student differs from its teacher in two ways: it learns relations instead of labels, and it has no l2. The first generation with l2 tells the two apart. And mind the untrained teacher of section 6: part of what such a student finds it need not have from its teacher.",
)
lab.claim(
    "It goes on improving over generations: each finds more than the one before.",
    holds=all(after > before for before, after in pairwise(generations)),
    evidence={("teacher" if n == 0 else f"generation {n}"): value for n, value in enumerate(generations)},
    source="this lesson, on the review's born-again networks",
    reason="From the second generation on nothing new comes in: neither labels nor another loss. Each copy has errors of its own.",
)

# %% [markdown]
# ## 8 · The price of angles
#
# A batch of $N$ images has $N^2$ distances and $N^3$ angles. The published code builds all differences, $N \times N \times d$ numbers, and then all cosines, $N \times N \times N$, once for the teacher and once for the student. The library's `rkd_angle_loss` needs neither. It takes the $N \times N$ distances (the lengths of the edges) and gets each cosine from them by the law of cosines. It does so for some vertices at a time, and adds up loss and gradient at once. So nothing of the size $N^3$ has to be kept. Three losses are measured below, with $d = 512$: that of distances, that of angles, and that of angles in the published way, which is written out here. Two prices are taken: the memory that autograd keeps from the forward to the backward pass, and the time of both passes.
#
# **Predict.** If the batch doubles, how many times as much memory does each of the three keep?


# %%
def angle_loss_as_published(student, teacher):
    cosines = []
    for x in (student, teacher.detach()):
        directions = F.normalize(x - x[:, None], dim=2)  # (N, N, d)
        cosines.append(directions @ directions.mT)  # (N, N, N)
    return F.smooth_l1_loss(*cosines)


# %%
def both_passes(loss, *x):
    loss(*x).backward()


# %%
ways = {"distances": paper.rkd_distance_loss, "angles": rkd_angle_loss, "angles, as published": angle_loss_as_published}
price = {way: {"MB": [], "ms": []} for way in ways}
for N in config.timed:
    s = torch.randn(N, 512, generator=lab.generator("s")).requires_grad_()
    t = torch.randn(N, 512, generator=lab.generator("t"))
    for way, loss in ways.items():
        price[way]["MB"].append(saved_megabytes(loss, s, t))
        price[way]["ms"].append(milliseconds(both_passes, loss, s, t))
        lab.record(f"price/{N} images/{way}", price[way]["MB"][-1], unit="MB kept")

# %% [markdown]
# The figure of these prices comes together with that of the next topic: what does a large batch bring? Two questions. Let students of RKD-DA see *equally many images* in batches of different sizes: the smaller the batches, the more steps. Then let them take *equally many steps*: the smaller the batches, the fewer images.
#
# **Predict.** Which student finds most in each case: the one with the largest batches, or the one with the smallest?

# %%
usual = config.drawn[0] * config.drawn[1]
by_batch = {same: {usual: first("RKD-DA")} for same in ("images", "steps")}
for shape in config.batches:
    N = shape[0] * shape[1]
    for same, rounds in (("images", round(config.rounds * usual / N)), ("steps", config.rounds)):
        made = embedder(f"batches of {N}, as many {same}", small, RKD, shape=shape, rounds=rounds)
        by_batch[same][N] = scores(predict(made, split.test))["R@1"]
by_batch = {same: dict(sorted(curve.items())) for same, curve in by_batch.items()}
for same, curve in by_batch.items():
    lab.record_all({f"batches of {N}, as many {same}/R@1": value for N, value in curve.items()}, unit="%")

# %%
figure, axes = panels(1, 3, width=3.6, height=3.2)
for ax, what, label in zip(axes, ("MB", "ms"), ("MB kept", "ms, this machine"), strict=False):
    for way in ways:
        ax.plot(config.timed, price[way][what], marker="o", label=way)
    ax.set(xlabel="images in a batch", ylabel=label, xscale="log", yscale="log")
    ax.set_xticks(config.timed, [str(N) for N in config.timed])
axes[0].legend(frameon=False, fontsize=9)
for same, curve in by_batch.items():
    axes[2].plot(list(curve), list(curve.values()), marker="o", label=f"equally many {same}")
axes[2].set(xlabel="images in a batch", ylabel="recall@1 in %", xscale="log")
axes[2].set_xticks(list(curve), [str(N) for N in curve])
axes[2].legend(frameon=False, fontsize=9)
for ax in axes:
    ax.minorticks_off()
last = config.timed[-1]
lab.show(
    figure,
    alt=f"Against the batch size: what the losses keep for the backward pass (left) and how long forward and backward take (middle, different on each machine), both axes logarithmic. With {last} images distances keep {lab.metrics[f'price/{last} images/distances']:.1f} MB, angles {lab.metrics[f'price/{last} images/angles']:.1f}, angles as published {lab.metrics[f'price/{last} images/angles, as published']:.1f}. "
    + "Right, recall at 1 of students that "
    + "; ".join(
        f"had equally many {same}: " + ", ".join(f"{value:.1f} % in batches of {N}" for N, value in curve.items())
        for same, curve in by_batch.items()
    )
    + ".",
)

# %%
lab.tell(
    "For a batch of 128 the published formulation keeps {price/128 images/angles, as published:.0f} MB, the library's {price/128 images/angles:.1f} MB, and the loss of distances {price/128 images/distances:.1f} MB. (What is kept is not the peak: while it computes, each way needs more.) On two logarithmic axes a power of the batch size is a straight line. As long as a batch has fewer images than an embedding has numbers, the published way is dominated by its $N^2 d$ differences: a doubled batch keeps about four times as much. Beyond that the $N^3$ cosines rule, and it is eight times. The other two keep the $N d$ numbers of the embeddings and some matrices of $N^2$: a doubled batch keeps at least twice and at most four times as much. The middle panel has the times of the same three; their heights belong to this machine, so compare the slopes."
)
for same, curve in by_batch.items():
    told = ", ".join(f"{{batches of {N}, as many {same}/R@1:.1f}} % in batches of {N}" for N in curve)
    lab.tell(f"Students of RKD-DA that had equally many {same} find {told}.")

# %%
in_order = [list(curve.values()) for curve in by_batch.values()]  # the largest batches last
lab.claim(
    "A larger batch teaches more: of students that see equally many images the one with the largest batches finds the most, and so it is for students that take equally many steps.",
    holds=all(values[-1] > max(values[:-1]) for values in in_order),
    evidence={f"{N}, equal {same}": value for same, curve in by_batch.items() for N, value in curve.items()},
    source="this lesson",
    reason="Larger batches have more tuples an image. (At `quick` they are larger by more images of each class, at `full` by more classes: not quite the same question.) With equal images they have fewer steps, with equal steps they see more images: where it holds for one of the two only, it was the steps or the images that counted. The author tells users to take distances alone when the batch is large: presumably for the memory that angles take, not because they would teach less there.",
)

# %% [markdown]
# ## 9 · Birds and cars, at `paper`
#
# The published experiment: CUB-200-2011 and Cars 196, the first half of the classes seen, the other half not. The teacher is a ResNet-50 with 512 numbers, the students are ResNet-18 with 16 to 128, both trained on ImageNet before. Batches, step sizes and passes are those of the authors' code; networks compute in bfloat16 here. It takes a GPU and the data (`labkit.data.load("cub200", profile="paper")` says where to put them). At `quick` and `full` this part is skipped.


# %%
def loaded(part):
    """All images of a part as bytes, (N, 3, 256, 256), and their labels: they fit into memory so."""
    loader = torch.utils.data.DataLoader(part, batch_size=64, num_workers=8)
    return torch.cat([(255 * x).round().byte() for x, _ in loader]), torch.tensor(part.targets)


# %%
def resnet(name, embedding):
    """A ResNet trained on ImageNet, with a new last layer of so many numbers."""
    net = pretrained(name).model.requires_grad_(True)
    net.fc = nn.Linear(net.fc.in_features, embedding)
    return net.to(lab.device)


# %%
imagenet_mean, imagenet_std = (
    torch.tensor(values, device=lab.device).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


# %%
def embedded(net, images, l2):
    """Bytes of images (N, 3, 224, 224) -> embeddings (N, d)."""
    x = (images.to(lab.device) / 255 - imagenet_mean) / imagenet_std
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        e = net(x)
    return F.normalize(e.float()) if l2 else e.float()


# %%
def photo_learn(name, net, loss, images, labels, *, lr, passes, milestones, factor):
    """100 batches a pass, as published: 25 classes with 5 images each, cropped and mirrored at random."""
    adam = torch.optim.Adam(net.parameters(), lr=lr, weight_decay=1e-5)
    at = [100 * milestone for milestone in milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, at, factor)

    def step(net, _, g):
        i = paper.draw_by_class(labels, 25, 5, g).flatten()
        return loss(net, random_crops(images[i], 224, g), labels[i].to(lab.device), g)

    how = {"epochs": passes, "batch_size": 1, "generator": lab.generator(name), "label": name}
    fit(net, step, torch.arange(100), optimizer=adam, schedule=schedule, checkpoint=lab.checkpoint(name), **how)
    return net


# %%
def photo_recall(net, images, labels, l2):
    """Recall@1 in % on crops from the middle."""
    e = predict(lambda x: embedded(net, x[..., 16:240, 16:240], l2), images, batch_size=100)
    return 100 * paper.recall_at_k(e.cpu(), labels)


# %%
def by_photo_triplets(net, crops, labels, g):
    return triplet_loss(embedded(net, crops, l2=True), labels, g)


# %%
def by_photo_relations(teacher):
    def loss(net, crops, labels, g):
        with torch.no_grad():
            t = embedded(teacher, crops, l2=True)
        s = embedded(net, crops, l2=False)
        return paper.rkd_distance_loss(s, t) + 2 * rkd_angle_loss(s, t)

    return loss


# %%
students_as_published = {"lr": 1e-4, "passes": 80, "milestones": (40, 60), "factor": 0.1}
for name in config.photographs:
    photographs = labkit.data.load(name, profile=profile)
    seen_half, unseen_half = loaded(photographs.train), loaded(photographs.test)
    how = {"lr": 1e-5, "passes": 40, "milestones": (25, 30, 35), "factor": 0.5}
    tutor = photo_learn(f"{name}, teacher", resnet("resnet50", 512), by_photo_triplets, *seen_half, **how)
    lab.record(f"{name}/teacher", photo_recall(tutor, *unseen_half, l2=True), unit="% R@1")
    for d in (16, 32, 64, 128):
        for kind, loss, l2 in (("RKD-DA", by_photo_relations(tutor), False), ("triplets", by_photo_triplets, True)):
            net = resnet("resnet18", d)
            pupil = photo_learn(f"{name}, {kind}, {d}", net, loss, *seen_half, **students_as_published)
            lab.record(f"{name}/{kind}, {d}", photo_recall(pupil, *unseen_half, l2), unit="% R@1")

# %%
if config.photographs:
    on_photos = {key: lab.metrics[key] for key in lab.metrics if key.startswith(config.photographs)}
    lab.claim(
        "On birds and cars, at every size of the embedding, a student of RKD-DA finds more than one trained by triplets.",
        holds=all(
            value > on_photos[key.replace("RKD-DA", "triplets")] for key, value in on_photos.items() if "RKD" in key
        ),
        evidence=on_photos,
        source="paper, table of metric learning",
        reason="The published runs keep the best state by recall on these very test classes; here the last state is tested. The published triplets have their own step sizes; here both kinds of students have one schedule.",
    )

# %% [markdown]
# ## 10 · Where the paper, the review and the code disagree
#
# ### A divergence that is too small
#
# `F.kl_div(..., reduction="mean")` divides by the number of images *and of classes*. Several public repositories used it. With 10 classes KD then has a tenth of its weight, with 1000 a thousandth. Mind the arguments, too: the *student's log*-probabilities come first, then the *teacher's* probabilities. The other way round it is another divergence. On the two images of section 2, right in the first line and wrong in the others:

# %% tags=["nbval-check-output"]
log_s, p_t = (student_says / 4).log_softmax(1), (teacher_says / 4).softmax(1)
print(f"batchmean      {16 * F.kl_div(log_s, p_t, reduction='batchmean'):.6f}")
print(f"mean           {16 * F.kl_div(log_s, p_t, reduction='none').mean():.6f}")  # 'mean' itself warns of this
print(f"KL(S || T)     {16 * F.kl_div(p_t.log(), log_s.exp(), reduction='batchmean'):.6f}")
print(f"probabilities  {16 * F.kl_div(log_s.exp(), p_t, reduction='batchmean'):.6f}, if the logarithm is forgotten")

# %% [markdown]
# ### What $\beta$ means
#
# Attention transfer is a norm in the paper and a mean of squares in the code. The weight $\beta = 1000$ belongs to the second. For small differences the two are far apart: a tenth of the difference gives a tenth of the norm, but a hundredth of the mean of squares.

# %% tags=["nbval-check-output"]
for noise in (1.0, 0.1, 0.01):
    other = ramp + noise * torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1]).view(1, 2, 2, 2)
    q_s, q_t = (F.normalize(paper.attention_map(x)) for x in (other, ramp))
    print(f"noise {noise}: norm {(q_s - q_t).norm():.6f}, mean of squares {F.mse_loss(q_s, q_t):.9f}")

# %% [markdown]
# ### Points that coincide
#
# Published code takes $\mu$ over the distances greater than 0. What saves it when all embeddings are equal, as in a network that has collapsed, is the floor of $10^{-12}$ under the squares:

# %% tags=["nbval-check-output"]
collapsed = torch.ones(3, 2, requires_grad=True)
bare = torch.linalg.vector_norm(collapsed[:, None] - collapsed, dim=2)
print("mean of the distances above 0, without a floor:", bare[bare > 0].mean().item())
value = paper.rkd_distance_loss(collapsed, T)
(gradient,) = torch.autograd.grad(value, collapsed)
print(f"with the floor: loss {value:.4f}, largest gradient {gradient.abs().max():.1f}")

# %% [markdown]
# The gradient is finite, and it is 0: no step of RKD-D leads out of a complete collapse.
#
# ### The diagonal, in place
#
# Zeros must come onto the diagonal *after* the root, and not in place: autograd needs the root's own result for its backward pass. A public implementation had to be repaired for that.

# %% tags=["nbval-check-output"]
points = S.clone().requires_grad_()
roots = (points[:, None] - points).square().sum(2).clamp(min=1e-12).sqrt()
roots.fill_diagonal_(0)
try:
    roots.sum().backward()
except RuntimeError as error_of_autograd:
    print("RuntimeError:", "modified by an inplace operation" in str(error_of_autograd))

# %% [markdown]
# ### Half precision
#
# $\|x_i\|^2 + \|x_j\|^2 - 2 x_i \cdot x_j$ is a small difference of large numbers. In half precision nothing may be left of it. Three points at distances 1, 3 and 2, far from the origin; the library goes to a higher precision by itself, under autocast, too:

# %% tags=["nbval-check-output"]
far = torch.tensor([[64.0, 0.0], [65.0, 0.0], [67.0, 0.0]])
for kind in (torch.float32, torch.float16, torch.bfloat16):
    x = far.to(kind)
    squares = (x * x).sum(1)
    naive = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    shown = [
        [round(d, 3) for d in D[[0, 0, 1], [1, 2, 2]].float().tolist()] for D in (naive, paper.pairwise_distances(x))
    ]
    print(f"{kind!s:14} from the products {shown[0]}  library {shown[1]}")

# %% [markdown]
# All these coordinates are exact in both half formats. What is lost is lost in their squares and products. These lie above 4,000, where float16 has only multiples of 4 and bfloat16 only multiples of 32.
#
# ### The best of many looks
#
# The published code tests after each pass *on the test classes*, and reports the best. The student of RKD-DA above was looked at after each round, though it was not chosen by it:

# %%
looks_at = [100 * value for value in history["recall"]]
lab.record("selection/last", looks_at[-1], unit="% R@1")
lab.record("selection/best", max(looks_at), unit="% R@1")
lab.tell(
    "The last state of this student finds {selection/last:.1f} %, the best of its states {selection/best:.1f} %. The difference is what looking at the test classes is worth for this one. (Its step size falls to zero, which keeps the last states alike; where it stays large they differ more.) All figures of this lesson are of last states."
)

# %% [markdown]
# ### Smaller things
#
# - **Repository**: the authors' code has metric learning only; what the paper says on classification and few-shot learning has no published code. Weights of 25 and 50 for classification come from RepDistiller; the paper's author has advised 25 to 100, found by a grid search.
# - **Scheduler**: the code steps its schedule before the optimizer, in the old style, which shifts it by one pass in today's PyTorch.
# - **Sampler**: the code's sampler may give fewer images than a batch should have, where a class is small. Here such classes are not drawn.
# - **Batches of one or two** have no angles, and in a batch of two RKD-D is always 0. The library refuses angles there with a sentence that says so, and returns 0 for the distances of two. It drops no batch by itself: leave out a last one of fewer than three images.
#
# ## 11 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. Describe a transfer by what the student must copy and what it may choose. Answers leave the features open, attention what is active. RKD leaves open where the embeddings lie, their unit and their number of dimensions, and asks for their shape alone.
# 2. For classification begin with plain KD. Whoever offers more must beat it, with the same images and in repeated trainings.
# 3. A mean hides a weight. Ask over how many entries it runs, and how many of them can differ from 0.
# 4. Before you say what a student learned from its teacher, try a teacher that knows nothing, and no network at all.
# 5. Test on classes that were not trained, in the last state, with ties counted as misses.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Change the weight of attention transfer to 100 and 10, in `attention`. When does it help?
# - **Core.** Train a student with KD at $\tau = 1, 2, 8, 16$, in `softened`. Is 4 a good choice here?
# - **Stretch.** Let the *pixels* teach: `by_relations(split.train.flatten(1))`. Compare with the student of the untrained teacher, at both measures.
# - **Stretch.** Leave one digit out of the students' images in section 4 and let KD tell them about it, as Hinton et al. do. How many of its test images are recognised? And with RKD?
# - **Bonus.** Sample triplets of images at random for RKD-A in place of all $N^3$. How few suffice?
#
# ### References
#
# - W. Park, D. Kim, Y. Lu, M. Cho: *Relational Knowledge Distillation*, CVPR 2019, arXiv:1904.05068; code: [github.com/lenscloth/RKD](https://github.com/lenscloth/RKD).
# - Y. Tian, D. Krishnan, P. Isola: *RepDistiller*, the code of *Contrastive Representation Distillation*, ICLR 2020, arXiv:1910.10699: [github.com/HobbitLong/RepDistiller](https://github.com/HobbitLong/RepDistiller).
# - G. Hinton, O. Vinyals, J. Dean: *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531, 2015.
# - A. Romero et al.: *FitNets: Hints for Thin Deep Nets*, ICLR 2015, arXiv:1412.6550.
# - S. Zagoruyko, N. Komodakis: *Paying More Attention to Attention*, ICLR 2017, arXiv:1612.03928.
# - T. Furlanello et al.: *Born Again Neural Networks*, ICML 2018, arXiv:1805.04770.
# - C.-Y. Wu, R. Manmatha, A. J. Smola, P. Krähenbühl: *Sampling Matters in Deep Embedding Learning*, ICCV 2017, arXiv:1706.07567.
# - J. Snell, K. Swersky, R. Zemel: *Prototypical Networks for Few-shot Learning*, NeurIPS 2017, arXiv:1703.05175.
# - B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum: *Human-level Concept Learning through Probabilistic Program Induction*, Science 350, 2015.
