"""The exercises of lesson 07, in its order: the plain answer to each, what is tried, hints, and common mistakes.

An edit of the answer is a real wrong answer; the tests prove that each is caught by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import gradient, normal
from labkit.papers import relational_distillation as paper
from labkit.papers.relational_distillation import hint_loss


def _finite(x: Tensor) -> str:
    """For what right answers need not agree on, but must not make NaN of."""
    return "finite numbers" if torch.isfinite(x).all() else "NaN or infinite numbers"


def _twice(*batches: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.repeat_interleave(2, 0) for x in batches)


# ---- distillation at a temperature ----------------------------------------------------------------------------------


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    s, t = student_logits / temperature, teacher_logits / temperature
    log_q, log_p = s.log_softmax(1), t.log_softmax(1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(1).mean()


def _logits() -> tuple[Tensor, Tensor]:
    """As many images as classes: a softmax along the wrong axis is no error but a wrong answer."""
    return 2 * normal(5, 5), 2 * normal(5, 5, seed=1)


KD = Exercise(
    name="kd_loss",
    reference=paper.kd_loss,
    probes=(
        Probe(
            "student (0, 0), teacher (ln 3, 0), temperature 1",
            lambda f: f(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), 1.0),
        ),
        Probe("5 images, 5 classes, temperature 1", lambda f: f(*_logits(), 1.0)),
        Probe("5 images, 5 classes, temperature 4", lambda f: f(*_logits(), 4.0)),
        Probe("5 images, 5 classes, temperature 0.5", lambda f: f(*_logits(), 0.5)),
        Probe("each image twice, temperature 4: the loss does not change", lambda f: f(*_twice(*_logits()), 4.0)),
        Probe("student = teacher + 3, temperature 4: no loss", lambda f: f(_logits()[1] + 3, _logits()[1], 4.0)),
        Probe(
            "student (0, 50), teacher (50, 0), temperature 1: each is certain, of another class",
            lambda f: f(torch.tensor([[0.0, 50.0]]), torch.tensor([[50.0, 0.0]]), 1.0),
        ),
        Probe(
            "logits of 1000, which both take for certain",
            lambda f: f(torch.tensor([[0.0, 1000.0, 1001.0]]), torch.tensor([[0.0, 1002.0, 1000.0]]), 1.0),
        ),
        Probe(
            "the gradient with respect to the student's logits, temperature 4",
            lambda f: gradient(lambda z: f(z, _logits()[1], 4.0), _logits()[0]),
        ),
    ),
    hints=(
        "Both answers are softened alike, then compared. Which of the two is the truth that weighs the differences?",
        "F.kl_div wants the student's log-probabilities first, F.log_softmax(student_logits / temperature, 1), then the"
        ' teacher\'s probabilities; reduction="batchmean" divides by the images alone. What makes up for a gradient'
        " that shrinks as 1 / temperature^2?",
        skeleton(kd_loss, "temperature**2", "log_p.exp() * (log_p - log_q)", ".sum(1).mean()"),
    ),
    mistakes=mistakes(
        kd_loss,
        """
        factor-forgotten: temperature**2 * =>
            The factor temperature^2 is missing, so that the gradient vanishes at high temperatures: multiply by it.

        factor-not-squared: temperature**2 => temperature
            The factor is the temperature itself: square it, for the gradient shrinks as 1 / temperature^2.

        only-the-student-softened: teacher_logits / temperature => teacher_logits
            Only the student's logits are divided by the temperature: divide the teacher's as well.

        only-the-teacher-softened: student_logits / temperature => student_logits
            Only the teacher's logits are divided by the temperature: divide the student's as well.

        temperature-only-as-factor: student_logits / temperature => student_logits
          + teacher_logits / temperature => teacher_logits
            The temperature softens nothing, it is only a factor: divide both logits by it, before the softmax.

        multiplied-by-the-temperature: student_logits / temperature => student_logits * temperature
          + teacher_logits / temperature => teacher_logits * temperature
            The logits are multiplied by the temperature, which makes both answers harder: divide them by it.

        temperature-after-the-softmax: s.log_softmax(1) => (student_logits.softmax(1) / temperature).log()
          + t.log_softmax(1) => (teacher_logits.softmax(1) / temperature).log()
            The probabilities are divided by the temperature, after the softmax: divide the logits, before it.

        softmax-twice: s.log_softmax(1), t.log_softmax(1) => s.softmax(1).log_softmax(1), t.softmax(1).log_softmax(1)
            The softmax is taken twice, which leaves nearly equal probabilities: log_softmax wants the logits.

        divergence-the-wrong-way-round: log_p.exp() * (log_p - log_q) => log_q.exp() * (log_q - log_p)
            This is KL(student || teacher), weighed by the student's own probabilities: the teacher comes first in the
            formula, and second in F.kl_div.

        probabilities-instead-of-their-logarithms: log_p - log_q => log_p - log_q.exp()
            F.kl_div was given the student's probabilities: its first argument must be their logarithms, log_softmax.

        logarithms-instead-of-probabilities: (log_p.exp() * (log_p - log_q)) => F.kl_div(log_q, log_p, reduction="none")
            F.kl_div was given the teacher's log-probabilities as if they were probabilities: take softmax there, or
            say log_target=True.

        cross-entropy: log_p - log_q => -log_q
            This is the cross-entropy, which is not 0 where both agree: the divergence also has the teacher's p log p.

        hard-labels: log_p.exp() * (log_p - log_q) => -F.one_hot(log_p.argmax(1), log_p.shape[1]) * log_q
            Only the teacher's first choice is learned, as if it were a label: compare all its probabilities.

        probabilities-squared-difference: (log_p.exp() * (log_p - log_q)) => (log_p.exp() - log_q.exp()).square()
            These are squared differences of probabilities, which hardly see the small ones: take the divergence.

        softmax-over-the-batch: s.log_softmax(1), t.log_softmax(1) => s.log_softmax(0), t.log_softmax(0)
            The softmax runs over the images: the probabilities of one image add up to 1, along the last axis.

        mean-over-classes: .sum(1).mean() => .mean()
            The mean runs over the classes, too, as with reduction="mean": sum over them, "batchmean" does so.

        sum-over-images: .sum(1).mean() => .sum()
            The loss is summed over the images, so that it grows with the batch: take the mean, as "batchmean" does.

        one-number-an-image: .sum(1).mean() => .sum(1)
            The mean over the images is missing: a loss is one number.

        logarithm-of-softmax: s.log_softmax(1), t.log_softmax(1) => s.softmax(1).log(), t.softmax(1).log()
            A probability too small for a float becomes 0, its logarithm infinite and the loss NaN: use log_softmax
            instead of softmax and log.

        floor-under-the-probabilities: log_p - log_q => log_p - (log_q.exp() + 1e-8).log()
            A floor lies under the student's probabilities before their logarithm, so that one who is certain of the
            wrong class pays too little: log_softmax needs no floor.
        """,
    ),
    answer=kd_loss,
    minutes=8,
    difficulty=2,
    importance=3,
)


# ---- where a layer is active ----------------------------------------------------------------------------------------


def attention_map(features: Tensor) -> Tensor:
    return features.square().mean(1).flatten(1)


# As many images as channels, rows and columns: a wrong axis is no error then but a wrong answer.
ATTENTION = Exercise(
    name="attention_map",
    reference=paper.attention_map,
    probes=(
        Probe("2 channels of 2 x 2, 0 ... 3 and 4 ... 7", lambda f: f(torch.arange(8.0).view(1, 2, 2, 2))),
        Probe("one pixel with the values (3, -4)", lambda f: f(torch.tensor([3.0, -4.0]).view(1, 2, 1, 1))),
        Probe("3 images, 3 channels of 3 x 3", lambda f: f(normal(3, 3, 3, 3))),
        Probe("2 images, 4 channels of 2 rows and 5 columns", lambda f: f(normal(2, 4, 2, 5))),
        Probe("each channel twice: the map does not change", lambda f: f(normal(3, 3, 3, 3).repeat(1, 2, 1, 1))),
        Probe("features 10 times as strong", lambda f: f(10 * normal(3, 3, 3, 3))),
        Probe("a layer that is silent", lambda f: f(torch.zeros(2, 3, 2, 2))),
        Probe("the gradient of a layer that is silent", lambda f: gradient(f, torch.zeros(2, 3, 2, 2))),
        Probe("the gradient with respect to the features", lambda f: gradient(f, normal(3, 3, 3, 3))),
    ),
    hints=(
        "How much happens at a place, whichever channel it happens in, and whether it is positive or negative?",
        "Square the features, then take the mean over the channels, axis 1. One row of pixels for each image is left"
        " to be made, (N, H * W).",
        skeleton(attention_map, ".square().mean(1)", "flatten(1)"),
    ),
    mistakes=mistakes(
        attention_map,
        """
        not-squared: .square() =>
            The features are averaged as they are, so that positive and negative ones cancel: square them first.

        absolute-values: .square() => .abs()
            These are absolute values: this map takes squares, which let the strong features stand out.

        squared-after-the-mean: .square().mean(1) => .mean(1).square()
            The mean is squared, so that positive and negative features cancel before: square first, then average.

        sum-over-channels: .mean(1) => .sum(1)
            The squares are summed, so that the map grows with the number of channels: take their mean.

        strongest-channel: .mean(1) => .amax(1)
            Only the strongest channel is seen: average the squares over all of them.

        length-of-the-features: .mean(1) => .mean(1).sqrt()
            A root is taken, which is not in the formula and makes the gradient of a silent layer NaN: leave it out.

        positive-features-only: .square() => .relu().square()
            Negative features are dropped: their squares count as well.

        over-space-instead-of-channels: .mean(1) => .mean(2)
            The mean runs over the rows: the channels are axis 1, and all places stay.

        over-all-places: .mean(1).flatten(1) => .mean((2, 3))
            The mean runs over the places, so that it says which channel is active, not where: average over axis 1.

        over-the-batch: .mean(1) => .mean(0)
            The mean runs over the images: each has its own map, the channels are axis 1.

        not-flattened: .flatten(1) =>
            The map is still (N, H, W): make one row of pixels for each image, as flatten(1) does.

        batch-flattened: .flatten(1) => .flatten()
            The images are flattened into one another: keep the first axis, flatten(1).

        rows-and-columns-exchanged: .flatten(1) => .mT.flatten(1)
            The pixels are in another order, column by column: flatten the map without turning it.

        normalized-already: features.square().mean(1).flatten(1) => F.normalize(features.square().mean(1).flatten(1))
            The map is divided by its length: that is a step of the loss, the map itself still says how strong it is.

        softmax-over-places: .flatten(1) => .flatten(1).softmax(1)
            A softmax is put on the map, as in another kind of attention: here it is the mean of the squares alone.
        """,
    ),
    answer=attention_map,
    minutes=3,
    difficulty=1,
    importance=1,
)


# ---- attention transfer ---------------------------------------------------------------------------------------------


def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    found, wanted = (attention_map(features) for features in (student, teacher))
    found, wanted = (F.normalize(Q) for Q in (found, wanted))  # rows of length 1
    return (found - wanted).square().mean()


def _maps() -> tuple[Tensor, Tensor]:
    """As many images as places: an axis of the normalization that is wrong is no error but a wrong answer."""
    return normal(4, 3, 2, 2), 2 * normal(4, 5, 2, 2, seed=1)


def _silent_map() -> tuple[Tensor, Tensor]:
    """Nothing is active in the student's second image."""
    student, teacher = _maps()
    student[1] = 0.0
    return student, teacher


TRANSFER = Exercise(
    name="attention_transfer_loss",
    reference=paper.attention_transfer_loss,
    probes=(
        Probe(
            "student 0 ... 7 in 2 channels of 2 x 2, teacher all 1 in 3 channels",
            lambda f: f(torch.arange(8.0).view(1, 2, 2, 2), torch.ones(1, 3, 2, 2)),
        ),
        Probe("4 images, 3 and 5 channels of 2 x 2", lambda f: f(*_maps())),
        Probe("4 images, 3 and 5 channels of 2 x 3", lambda f: f(normal(4, 3, 2, 3), normal(4, 5, 2, 3, seed=1))),
        Probe("the student's features 7 times as strong: no change", lambda f: f(7 * _maps()[0], _maps()[1])),
        Probe(
            "one image's features 7 times as strong: no change",
            lambda f: f(_maps()[0] * torch.tensor([1.0, 7.0, 1.0, 1.0]).view(4, 1, 1, 1), _maps()[1]),
        ),
        Probe("4 images, each twice: no change", lambda f: f(*_twice(*_maps()))),
        Probe("student = -3 * teacher: no loss", lambda f: f(-3 * _maps()[1], _maps()[1])),
        Probe("an image in which the student sees nothing", lambda f: f(*_silent_map())),
        Probe(
            "the gradient where the student sees nothing in an image",
            lambda f: gradient(lambda x: f(x, _maps()[1]), _silent_map()[0]),
            rtol=1e-3,
            atol=1e-6,
        ),
    ),
    hints=(
        "How strong a layer is, and how many channels it has, must not matter, only where it looks. What remains of a"
        " map if you take its strength away?",
        "Divide each image's map, a row of attention_map, by its own length: F.normalize does so, and leaves a map of"
        " zeros alone. Then take the mean of the squared differences over images and pixels.",
        skeleton(attention_transfer_loss, "F.normalize(Q)", ".square().mean()"),
    ),
    mistakes=mistakes(
        attention_transfer_loss,
        """
        not-normalized: F.normalize(Q) => Q
            The maps are compared with their strength: divide each by its length first, F.normalize.

        only-the-student-normalized: found - wanted => found - attention_map(teacher)
            Only the student's map is divided by its length: do the same with the teacher's.

        normalized-over-the-batch: F.normalize(Q) => F.normalize(Q, dim=0)
            Each pixel is divided by its length over the images, so that an image depends on the others in its batch:
            divide each map, a row, by its own length.

        one-length-for-all-images: F.normalize(Q) => Q / Q.norm()
            All maps are divided by one length, that of the whole batch: each image has its own, along axis 1.

        divided-by-the-sum: F.normalize(Q) => F.normalize(Q, p=1)
            The maps are divided by their sum: the length |Q| is the root of the sum of squares.

        divided-by-the-maximum: F.normalize(Q) => F.normalize(Q, p=math.inf)
            The maps are divided by their largest value: divide by their length, the root of the sum of squares.

        softmax-of-the-maps: F.normalize(Q) => Q.softmax(1)
            A softmax is put on the maps, which still depends on how strong they are: divide them by their length.

        absolute-values: attention_map(features) => features.abs().mean(1).flatten(1)
            The maps are made of absolute values: they take squares, use attention_map of the exercise above.

        features-not-squared: attention_map(features) => features.mean(1).flatten(1)
            The maps average features as they are, so that these cancel: use attention_map of the exercise above.

        norm-of-the-difference: .square().mean() => .norm(dim=1).mean()
            This is the length of the difference, as the paper prints it: the published code takes the mean of its
            squares, to which the usual weight of 1000 belongs.

        sum-over-pixels: .square().mean() => .square().sum(1).mean()
            The squares are summed over the pixels: take their mean, over images and pixels.

        sum-over-everything: .square().mean() => .square().sum()
            The squares are summed: take their mean, over images and pixels, or the loss grows with the batch.

        absolute-differences: .square().mean() => .abs().mean()
            The differences are taken absolute: square them.

        half-of-the-squares: (found - wanted).square().mean() => F.smooth_l1_loss(found, wanted)
            This is half of the squares, the Huber loss: attention transfer takes the squares themselves.

        one-minus-the-cosine: (found - wanted).square().mean() => (1 - (found * wanted).sum(1)).mean()
            This is 1 minus the cosine, half the sum of the squares: take the mean of the squared differences.

        nan-where-nothing-is-active: F.normalize(Q) => Q / Q.norm(dim=1, keepdim=True)
            A map of zeros gives 0 / 0, NaN: F.normalize keeps the length off 0.

        nan-gradient-where-nothing-is-active: F.normalize(Q) => Q / (Q.square().sum(1, keepdim=True).sqrt() + 1e-12)
            The values are right, but a map of zeros has the gradient NaN, for a root has an infinite slope at 0: use
            F.normalize, or clamp the sum of squares before you take its root.
        """,
    ),
    answer=attention_transfer_loss,
    minutes=6,
    difficulty=2,
    importance=2,
)


# ---- distances ------------------------------------------------------------------------------------------------------


def pairwise_distances(x: Tensor) -> Tensor:
    squares = (x[:, None] - x).square().sum(2)  # (N, N)
    distances = squares.clamp(min=1e-12).sqrt()  # the slope of a root is infinite at 0
    return distances * (1 - torch.eye(len(x)).to(x))  # 0 on the diagonal


def _triangle() -> Tensor:
    """Sides of 3, 4 and 5."""
    return torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def _coinciding() -> Tensor:
    """The second and the third of four embeddings are alike; in numbers that have no rounding error."""
    return torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 2.0], [2.0, 1.0, 2.0], [-1.0, 3.0, 0.0]])


def _far_from_the_origin() -> Tensor:
    """Distances 1, 3 and 2; the squares and products of these numbers are rounded alike, in whichever order."""
    return torch.tensor([[4096.0, 0.0], [4097.0, 0.0], [4099.0, 0.0]])


DISTANCES = Exercise(
    name="pairwise_distances",
    reference=paper.pairwise_distances,
    probes=(
        Probe("(0, 0), (3, 0) and (0, 4)", lambda f: f(_triangle())),
        Probe("4 embeddings of 4 numbers", lambda f: f(normal(4, 4))),
        Probe("6 embeddings of 3 numbers", lambda f: f(normal(6, 3))),
        Probe("6 embeddings of 3 numbers, shifted by 5: no change", lambda f: f(normal(6, 3) + 5), atol=1e-4),
        Probe("6 embeddings of 3 numbers, 10 times as long", lambda f: f(10 * normal(6, 3))),
        Probe("(4096, 0), (4097, 0) and (4099, 0), close together, far away", lambda f: f(_far_from_the_origin())),
        Probe("4 embeddings, 2 of which coincide", lambda f: f(_coinciding())),
        Probe("the gradient of 4 embeddings, 2 of which coincide", lambda f: gradient(f, _coinciding())),
        Probe("the gradient of 6 embeddings of 3 numbers", lambda f: gradient(f, normal(6, 3)), rtol=1e-3, atol=1e-4),
    ),
    hints=(
        "A distance is the root of a sum of squares. What is the slope of a root at 0, where each embedding is compared"
        " with itself?",
        "Either from the differences x[:, None] - x, (N, N, d); or without them, from |x_i|^2 + |x_j|^2 - 2 x_i . x_j"
        " with x - x.mean(0) for x, which loses fewer digits. Clamp the squares at 1e-12 before the root, put zeros on"
        " the diagonal after it.",
        skeleton(pairwise_distances, "x[:, None] - x", "squares.clamp(min=1e-12)", "(1 - torch.eye(len(x)).to(x))"),
    ),
    mistakes=mistakes(
        pairwise_distances,
        """
        squared: squares.clamp(min=1e-12).sqrt() => squares
            These are squared distances: take the root.

        sum-of-absolute-differences: .square().sum(2) => .abs().sum(2)
          + squares.clamp(min=1e-12).sqrt() => squares
            These are sums of absolute differences: |x_i - x_j| is the root of the sum of squares.

        mean-of-squares: .sum(2) => .mean(2)
            The squares are averaged, so that the distance depends on how many numbers an embedding has: sum them.

        product-once: (x[:, None] - x).square().sum(2) => x.square().sum(1)[:, None] + x.square().sum(1) - x @ x.T
            The product x_i . x_j is subtracted once: |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 x_i . x_j.

        product-added: (x[:, None] - x).square().sum(2) => x.square().sum(1)[:, None] + x.square().sum(1) + 2 * x @ x.T
            The product is added, which gives the lengths of sums: subtract 2 x_i . x_j.

        products: return distances * (1 - torch.eye(len(x)).to(x)) => return x @ x.T
            These are the products x_i . x_j, which grow with likeness: a distance is 0 between an image and itself.

        one-minus-the-cosine: distances * (1 - torch.eye(len(x)).to(x)) => 1 - F.normalize(x) @ F.normalize(x).T
            This is 1 minus the cosine of two embeddings, which a shift changes: take the length of their difference.

        normalized-first: x[:, None] - x => F.normalize(x)[:, None] - F.normalize(x)
            The embeddings are brought to length 1 first, which moves them: take their distances as they are.

        between-numbers: x[:, None] - x => x.T[:, None] - x.T
          + len(x) => x.shape[1]
            These are distances between the columns: the images of the batch are the rows of x.

        each-pair-once: return distances => return distances.triu()
            Each pair stands above the diagonal only: the matrix is symmetric, both halves are needed.

        list-of-pairs: distances * (1 - torch.eye(len(x)).to(x)) => F.pdist(x)
            This is the list of N (N - 1) / 2 pairs, as from pdist: return the matrix, (N, N).

        nan-gradient-on-the-diagonal: .clamp(min=1e-12) =>
            The values are right, but all gradients are NaN, for the root has an infinite slope at 0, on the diagonal
            too, whatever you write there afterwards: clamp the squares before the root.

        nan-gradient-where-two-coincide: squares.clamp(min=1e-12).sqrt() => (squares + torch.eye(len(x))).sqrt()
            The diagonal is taken care of, but where two different images coincide the gradient is still NaN: clamp
            all squares before the root.

        diagonal-in-place: distances * (1 - torch.eye(len(x)).to(x)) => distances.fill_diagonal_(0)
            The values are right, but the zeros are written into the root's own result, which autograd still needs:
            make a new matrix with masked_fill, or multiply by 1 - torch.eye(len(x)).

        digits-cancel: (x[:, None] - x).square().sum(2) => x.square().sum(1)[:, None] + x.square().sum(1) - 2 * x @ x.T
            Far from the origin the large squares cancel, and few digits of the distance are left: subtract the mean,
            x - x.mean(0), before you multiply.
        """,
    ),
    answer=pairwise_distances,
    minutes=12,
    difficulty=2,
    importance=3,
)


# ---- RKD of distances -----------------------------------------------------------------------------------------------


def rkd_distance_loss(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    pairs, entries = len(student) * (len(student) - 1), len(student) ** 2
    found, wanted = (pairwise_distances(x) for x in (student, teacher.detach()))
    found, wanted = (D / (D.sum() / pairs) for D in (found, wanted))  # each by its own mean
    return F.smooth_l1_loss(found, wanted, reduction="sum") / (pairs if valid_only else entries)


def _right_triangle() -> Tensor:
    """Sides of 1, 1 and the root of 2."""
    return torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def _embeddings() -> tuple[Tensor, Tensor]:
    return 2 * normal(6, 3), normal(6, 5, seed=1)


def _one_apart() -> tuple[Tensor, Tensor]:
    """Five of the teacher's embeddings lie close together, one far away: differences beyond 1."""
    return torch.arange(6.0)[:, None], torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0]])


def _loss_and_gradient_when_collapsed(f: Callable) -> str:
    student = torch.ones(3, 2, requires_grad=True)
    loss = f(student * 1, _triangle())
    return _finite(torch.cat([loss[None], torch.autograd.grad(loss, student)[0].flatten()]))


def _reaches_the_teacher(f: Callable) -> str:
    student, teacher = (x.requires_grad_() for x in _embeddings())
    ends = {"the student": student, "the teacher": teacher}
    found = torch.autograd.grad(f(student, teacher), list(ends.values()), allow_unused=True, materialize_grads=True)
    return " and ".join(end for end, gradient in zip(ends, found, strict=True) if gradient.any())


# What the losses on distances and on angles are both asked.
OF_RELATIONS = (
    Probe(
        "triangles, student (0, 0), (1, 0), (0, 1), teacher (0, 0), (3, 0), (0, 4)",
        lambda f: f(_right_triangle(), _triangle()),
        atol=1e-7,
    ),
    Probe(
        "student (0, 0), (1, 0), (0, 1), teacher (0, 0), (3, 0), (0, 4), valid_only=True",
        lambda f: f(_right_triangle(), _triangle(), valid_only=True),
        atol=1e-7,
    ),
    Probe("6 images, embeddings of 3 and of 5 numbers", lambda f: f(*_embeddings()), atol=1e-7),
    Probe(
        "6 images, embeddings of 3 and of 5 numbers, valid_only=True",
        lambda f: f(*_embeddings(), valid_only=True),
        atol=1e-7,
    ),
    Probe("student = 7 * teacher + 3: no loss", lambda f: f(7 * _embeddings()[1] + 3, _embeddings()[1])),
    Probe(
        "the gradient with respect to the student",
        lambda f: gradient(lambda x: f(x, _embeddings()[1]), _embeddings()[0]),
        rtol=1e-3,
        atol=1e-6,
    ),
    Probe("a student that has collapsed, all embeddings alike, loss and gradient", _loss_and_gradient_when_collapsed),
    Probe("who learns", _reaches_the_teacher),
)

RKD_DISTANCE = Exercise(
    name="rkd_distance_loss",
    reference=paper.rkd_distance_loss,
    probes=(
        *OF_RELATIONS,
        Probe(
            "the student's embeddings 10 times as long: no change", lambda f: f(10 * _embeddings()[0], _embeddings()[1])
        ),
        Probe("a teacher with one embedding far from all others", lambda f: f(*_one_apart())),
        Probe(
            "the gradient of a student two of whose embeddings coincide",
            lambda f: gradient(lambda x: f(x, normal(4, 5)), _coinciding()),
            rtol=1e-3,
            atol=1e-6,
        ),
    ),
    hints=(
        "A student whose distances are all twice the teacher's has learned everything. What do you divide by, on each"
        " side?",
        "psi is the matrix of pairwise_distances divided by mu, the mean over the N (N - 1) pairs, not over the N zeros"
        " of the diagonal; student and teacher have each their own. Sum F.smooth_l1_loss over all entries, divide by"
        " N^2, or by N (N - 1) if valid_only. The teacher is a constant.",
        skeleton(rkd_distance_loss, "teacher.detach()", "D.sum() / pairs", "pairs if valid_only else entries"),
    ),
    mistakes=mistakes(
        rkd_distance_loss,
        """
        mu-over-all-entries: D.sum() / pairs => D.mean()
            mu also counts the zeros of the diagonal: take the mean over the N (N - 1) pairs of different images.

        mu-over-positive-distances: D.sum() / pairs => D[D > 0].mean()
          + pairwise_distances(x) => torch.cdist(x, x)
            mu leaves out different images that coincide, and is NaN when all do: divide the sum of all distances by
            N (N - 1), and keep them off 0 as pairwise_distances does, with clamp(min=1e-6).

        no-mu: D / (D.sum() / pairs) => D
            The distances are compared as they are, so that the student must copy the teacher's scale: divide each by
            its own mean mu.

        the-teachers-mu-for-both: D.sum() => wanted.sum()
            Both are divided by the teacher's mu: the student's distances have a mean of their own.

        the-students-mu-for-both: D.sum() => found.sum()
            Both are divided by the student's mu: the teacher's distances have a mean of their own.

        largest-distance-as-unit: D.sum() / pairs => D.max()
            The distances are divided by the largest one: mu is their mean.

        a-mu-for-each-image: D.sum() / pairs => D.sum(1, keepdim=True) / (len(D) - 1)
            Each row is divided by its own mean: there is one mu for the whole batch.

        mu-detached: D.sum() => D.detach().sum()
            The values are right, but the student's mu is cut off from the graph, so that the gradient also shrinks or
            stretches all distances: leave out detach there.

        squared-distances: pairwise_distances(x) => (x[:, None] - x).square().sum(2)
            The squared distances are compared: take those of pairwise_distances, with the root.

        normalized-embeddings: pairwise_distances(x) => pairwise_distances(F.normalize(x))
            The embeddings are brought to length 1 first, which changes their relations: divide by mu alone.

        squares-instead-of-huber: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).square().sum()
            The differences are squared: the Huber loss takes half the square up to 1, and |difference| - 1/2 beyond.

        half-squares-everywhere: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).square().sum() / 2
            Half the square is right up to a difference of 1: beyond, the Huber loss goes on straight, |difference| -
            1/2.

        absolute-differences: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).abs().sum()
            The differences are taken absolute: the Huber loss takes half their square up to 1, F.smooth_l1_loss.

        sum: / (pairs if valid_only else entries) =>
            The loss is summed, so that it grows with the square of the batch: divide by the number of entries.

        mean-over-images: (pairs if valid_only else entries) => len(student)
            The sum is divided by N, so that it grows with the batch: there are N^2 entries, N (N - 1) of them pairs.

        each-pair-once: F.smooth_l1_loss(found, wanted, => F.smooth_l1_loss(found.triu(), wanted.triu(),
            Each pair is counted once, but divided as if it were counted twice: add both (i, j) and (j, i).

        valid-only-ignored: pairs if valid_only else entries => entries
            valid_only changes nothing: with it, divide by the N (N - 1) pairs of different images.

        always-valid-only: pairs if valid_only else entries => pairs
            The mean is always over the N (N - 1) pairs: published is the one over all N^2 entries, zeros included,
            unless valid_only.

        valid-only-reversed: pairs if valid_only else entries => entries if valid_only else pairs
            The two means are exchanged: divide by N (N - 1) if valid_only, and by N^2 otherwise.

        nan-when-collapsed: pairwise_distances(x) => torch.cdist(x, x)
            When all embeddings are alike mu is 0, and 0 / 0 gives NaN: keep the distances of different images off 0,
            with clamp(min=1e-6).

        teacher-learns: teacher.detach() => teacher
            The values are right, but a gradient flows into the teacher, which would learn from its student: use
            teacher.detach().
        """,
    ),
    answer=rkd_distance_loss,
    minutes=12,
    difficulty=2,
    importance=3,
)


# ---- angles ---------------------------------------------------------------------------------------------------------


def angle_potential(x: Tensor) -> Tensor:
    edges = x - x[:, None]  # [j, i] leads from x_j to x_i, (N, N, d)
    arrows = F.normalize(edges, dim=2)  # of length 1, or 0 where there is no way to go
    return arrows @ arrows.mT


def _of_three_images(x: Tensor) -> Tensor:
    """1 where three different images meet, 0 elsewhere, (N, N, N): the other entries do not change with x."""
    different = 1 - torch.eye(len(x))
    return different[:, :, None] * different[:, None] * different


# As many numbers as embeddings in one probe: a wrong axis is no error then but a wrong answer.
ANGLES = Exercise(
    name="angle_potential",
    reference=paper.angle_potential,
    probes=(
        Probe(
            "(0, 0), (3, 0) and (0, 4), the cosines at the three vertices",
            lambda f: torch.stack([f(_triangle())[0, 1, 2], f(_triangle())[1, 0, 2], f(_triangle())[2, 0, 1]]),
        ),
        Probe("(0, 0), (3, 0) and (0, 4), all 27 entries", lambda f: f(_triangle())),
        Probe("4 embeddings of 4 numbers", lambda f: f(normal(4, 4))),
        Probe("5 embeddings of 2 numbers", lambda f: f(normal(5, 2))),
        Probe("5 embeddings of 2 numbers, 10 times as long and shifted: no change", lambda f: f(10 * normal(5, 2) + 1)),
        Probe("0, 1 and 3 on a line", lambda f: f(torch.tensor([[0.0], [1.0], [3.0]]))),
        Probe("4 embeddings, 2 of which coincide", lambda f: f(_coinciding())),
        Probe("the gradient of 4 embeddings, 2 of which coincide", lambda f: _finite(gradient(f, _coinciding()))),
        Probe(
            "the gradient of 4 embeddings of 4 numbers, of angles between three different ones",
            lambda f: gradient(lambda x: f(x) * _of_three_images(x), normal(4, 4)),
            rtol=1e-3,
            atol=1e-4,
        ),
    ),
    hints=(
        "Stand on one embedding and look at two others. Which two arrows make the angle, and how does a product of"
        " arrows become a cosine?",
        "x - x[:, None] holds the arrows [j, i] from x_j to x_i, (N, N, d). Bring each to length 1 along its last axis,"
        " with F.normalize since those of length 0 are among them. Then multiply all pairs that start from the same j.",
        skeleton(angle_potential, "x - x[:, None]", "F.normalize(edges, dim=2)", "@ arrows.mT"),
    ),
    mistakes=mistakes(
        angle_potential,
        """
        vertex-second: arrows @ arrows.mT => (arrows @ arrows.mT).transpose(0, 1)
            The vertex is the second axis here: [j, i, k] is the angle at x_j, so the vertex comes first.

        vertex-last: arrows @ arrows.mT => (arrows @ arrows.mT).permute(1, 2, 0)
            The vertex is the last axis here: [j, i, k] is the angle at x_j, so the vertex comes first.

        not-normalized: F.normalize(edges, dim=2) => edges
            The arrows are multiplied with their lengths: bring each to length 1 first.

        one-arrow-not-normalized: arrows.mT => edges.mT
            Only one of the two arrows is brought to length 1: do so with both.

        radians: arrows @ arrows.mT => (arrows @ arrows.mT).clamp(-1, 1).acos()
            These are angles, in radians: RKD compares their cosines, leave out acos.

        degrees: arrows @ arrows.mT => (arrows @ arrows.mT).clamp(-1, 1).acos().rad2deg()
            These are angles, in degrees: RKD compares their cosines, leave out acos.

        one-arrow-reversed: return arrows => return -arrows
            One arrow leads to the vertex, the other away from it, so that the sign is wrong: both start from x_j.

        seen-from-the-origin: arrows @ arrows.mT => F.normalize(x) @ F.normalize(x).T
            These are the angles between two embeddings as seen from the origin, (N, N): an angle has three, and the
            arrows are their differences, (N, N, d).

        normalized-embeddings: x - x[:, None] => F.normalize(x) - F.normalize(x)[:, None]
            The embeddings are brought to length 1, which moves them: normalize their differences alone.

        divided-by-the-square: F.normalize(edges, dim=2) => edges / edges.square().sum(2, keepdim=True).clamp(min=1e-12)
            The arrows are divided by their squared length: divide by the length.

        normalized-across-images: dim=2 => dim=1
            The lengths are taken across images, which is what F.normalize does by default: an arrow lies along the
            last axis, dim=2.

        unsigned: arrows @ arrows.mT => (arrows @ arrows.mT).abs()
            The cosine has lost its sign, so that blunt angles look like sharp ones: leave out abs.

        squared: arrows @ arrows.mT => (arrows @ arrows.mT).square()
            The cosines are squared, so that blunt angles look like sharp ones: leave them as they are.

        nan-without-an-arrow: F.normalize(edges, dim=2) => edges / edges.norm(dim=2, keepdim=True)
            From x_j to itself the arrow is 0 and so is its length, 0 / 0 gives NaN: F.normalize leaves it at 0.

        nan-gradient-without-an-arrow: F.normalize(edges, dim=2) => edges / (edges.square().sum(2, True).sqrt() + 1e-12)
            The values are right, but all gradients are NaN, for a root has an infinite slope at 0, where x_j meets
            itself: use F.normalize, or clamp the sum of squares before you take its root.
        """,
    ),
    answer=angle_potential,
    minutes=8,
    difficulty=2,
    importance=3,
)


# ---- recall ---------------------------------------------------------------------------------------------------------


def recall_at_k(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.fill_diagonal_(math.inf)  # nobody is a neighbour of himself
    own = labels[:, None] == labels  # (N, N)
    nearest = distances.masked_fill(~own, math.inf).amin(1, keepdim=True)  # of the own class
    before = (~own & (distances <= nearest)).sum(1)  # how many of other classes are not farther
    return (before < k).double().mean().item()


def _ties_as_they_come(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """What nearly everybody writes first; with their other mistakes, ties are in the order of the index, too."""
    distances = torch.cdist(embeddings, embeddings)
    distances.fill_diagonal_(math.inf)
    order = distances.argsort(dim=1, stable=True)
    hits = labels[order] == labels[:, None]  # (N, N), the image itself at the end
    return hits[:, :k].any(1).double().mean().item()


def _classified() -> tuple[Tensor, Tensor]:
    """Four classes that overlap, the last with a single image."""
    labels = torch.tensor([3, 3, 3, 3, 5, 5, 5, 5, 8, 8, 8, 1])
    return normal(9, 4, seed=2)[labels] + 1.5 * normal(12, 4), labels


# Ties come in an order that depends on how one sorts. The labels are such that most orders give the same wrong answer.
RECALL = Exercise(
    name="recall_at_k",
    reference=paper.recall_at_k,
    probes=(
        Probe(
            "0, 1, 3, 3.5 and 10 on a line with the labels 0, 1, 0, 1 and 2, k = 2",
            lambda f: f(torch.tensor([[0.0], [1.0], [3.0], [3.5], [10.0]]), torch.tensor([0, 1, 0, 1, 2]), 2),
        ),
        Probe("12 images of 4 classes, k not given", lambda f: f(*_classified())),
        Probe("12 images of 4 classes, k = 2", lambda f: f(*_classified(), 2)),
        Probe("12 images of 4 classes, k = 4", lambda f: f(*_classified(), k=4)),
        Probe(
            "12 images of 4 classes in the reverse order, k = 2", lambda f: f(*(x.flip(0) for x in _classified()), 2)
        ),
        Probe(
            "two classes, each collapsed to a point of its own",
            lambda f: f(torch.tensor([[2.0], [2.0], [-2.0], [-2.0]]), torch.tensor([0, 0, 1, 1])),
        ),
        Probe(
            "2, 2, -2 and -2 on a line with the labels 0, 1, 1 and 0: the nearest is always of the other class",
            lambda f: f(torch.tensor([[2.0], [2.0], [-2.0], [-2.0]]), torch.tensor([0, 1, 1, 0])),
        ),
        Probe(
            "a network that has collapsed: all embeddings alike, the labels 0, 0, 1, 0, 0 and 0; a tie is no hit",
            lambda f: f(torch.ones(6, 3), torch.tensor([0, 0, 1, 0, 0, 0])),
        ),
    ),
    hints=(
        "For each image, look at its k nearest others. When is that a hit? And who is nearest of all, and must not"
        " count?",
        "Nearest of all is the image itself: put infinity on the diagonal of the distances. How many of *other* classes"
        " are at most as far as the nearest of the own class? Fewer than k, and it is a hit. Return the share of hits"
        " as a float.",
        skeleton(
            recall_at_k, ".fill_diagonal_(math.inf)", "~own, math.inf", "~own & (distances <= nearest)", "before < k"
        ),
    ),
    mistakes=mistakes(
        _ties_as_they_come,
        """
        self-not-excluded: torch.cdist(embeddings, embeddings) => pairwise_distances(embeddings)
          + distances.fill_diagonal_(math.inf) =>
            Each image finds itself first, which is always a hit: put infinity on the diagonal of the distances.

        self-among-the-ties: distances.fill_diagonal_(math.inf) =>
            Each image finds itself, first or among those that coincide with it, which is always a hit: put infinity
            on the diagonal of the distances.

        first-one-dropped: distances.fill_diagonal_(math.inf) =>
          + hits[:, :k] => hits[:, 1 : k + 1]
            The first of the neighbours is dropped as if it were the image itself, but where another coincides with it
            that may be the other one: put infinity on the diagonal instead.

        k-ignored: hits[:, :k].any(1) => hits[:, 0]
            Only the nearest neighbour counts, whatever k is: look at the k nearest.

        kth-neighbour-only: hits[:, :k].any(1) => hits[:, k - 1]
            Only the k-th neighbour counts: one hit among the k nearest is enough.

        one-neighbour-too-many: hits[:, :k] => hits[:, : k + 1]
            This looks at k + 1 neighbours: the image itself is left out already, so take k.

        farthest-instead-of-nearest: distances.fill_diagonal_(math.inf) => distances.neg_().fill_diagonal_(math.inf)
            The farthest images are taken for the nearest: a small distance means alike, as with largest=False.

        precision: .any(1) =>
            This is the share of hits among the neighbours, a precision: an image counts as found with one hit among
            its k.

        all-must-hit: .any(1) => .all(1)
            All k neighbours must be of the class: one is enough, any instead of all.

        share-of-the-class-found: hits[:, :k].any(1) => (hits[:, :k].sum(1) / (hits.sum(1) - 1).clamp(min=1))
            This is the share of its class that an image finds, recall as in search engines: in metric learning one
            hit among the k nearest counts as 1.

        by-cosine: torch.cdist(embeddings, embeddings) => -F.normalize(embeddings) @ F.normalize(embeddings).T
            Neighbours are found by the cosine, which ignores lengths: take the distance |x_i - x_j|.

        by-product: torch.cdist(embeddings, embeddings) => -embeddings @ embeddings.T
            Neighbours are found by the product x_i . x_j, which prefers long embeddings: take the distance.

        lonely-images-left-out: hits[:, :k] => hits[hits.sum(1) > 1, :k]
            Images that are alone in their class are left out of the mean: they count as not found.

        percent: return hits => return 100 * hits
            This is in percent: return a share, between 0 and 1.

        hits-not-divided: .mean() => .sum()
            This is the number of hits: divide it by the number of images.

        ties-as-hits: =
            An image of the own class that is only as near as one of another class counts as found, so that a network
            which has collapsed finds nearly everything: let those of other classes come first.
        """,
        ties_as_hits=_ties_as_they_come,
    ),
    answer=recall_at_k,
    minutes=15,
    difficulty=3,
    importance=2,
    differentiable=False,
)

# ---- RKD of angles --------------------------------------------------------------------------------------------------


def rkd_angle_loss(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """The mean Huber loss between psi_A of student (N, d_S) and teacher (N, d_T), over all N^3 entries -> ().

    With valid_only it is the mean over the triplets of three different images. The teacher gets no gradient.
    """
    N = len(student)
    found, wanted = (angle_potential(x) for x in (student, teacher.detach()))
    if valid_only:  # without the cosine of an arrow with itself
        found, wanted = (psi * (1 - torch.eye(N).to(psi)) for psi in (found, wanted))
    triplets = N * (N - 1) * (N - 2) if valid_only else N**3
    return F.smooth_l1_loss(found, wanted, reduction="sum") / triplets


def _blunt_for_sharp() -> tuple[Tensor, Tensor]:
    """On a line: where the student's middle image stands between the others, the teacher's stands beside them."""
    return torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [2.0], [1.0]])


RKD_ANGLE = Exercise(
    name="rkd_angle_loss",
    reference=paper.rkd_angle_loss,
    probes=(
        *OF_RELATIONS,
        Probe("student 0, 1, 2 and teacher 0, 2, 1 on a line: cosines differ by 2", lambda f: f(*_blunt_for_sharp())),
        Probe(
            "a student two of whose embeddings coincide, valid_only=True",
            lambda f: f(_coinciding(), normal(4, 5), valid_only=True),
        ),
    ),
    hints=(
        "Angles need no unit: what is left to do after angle_potential, and how many triplets are there?",
        "psi is angle_potential of the student and of the teacher, who is a constant. Sum F.smooth_l1_loss over all"
        " entries, divide by N^3. With valid_only, entries in which an image stands twice must add nothing: those with"
        " the vertex are 0 in both already, those with i = k lie on the diagonal of the last two axes; then divide by"
        " N (N - 1) (N - 2).",
        skeleton(
            rkd_angle_loss,
            "teacher.detach()",
            "psi * (1 - torch.eye(N).to(psi))",
            "N * (N - 1) * (N - 2) if valid_only else N**3",
        ),
    ),
    mistakes=mistakes(
        rkd_angle_loss,
        """
        radians: angle_potential(x) => angle_potential(x).clamp(-1, 1).acos()
            The angles themselves are compared: RKD compares their cosines, leave out acos.

        distances-instead-of-angles: angle_potential(x) => pairwise_distances(x)
            The distances are compared, which is RKD-D: take angle_potential.

        seen-from-the-origin: angle_potential(x) => F.normalize(x) @ F.normalize(x).T
            The cosines between pairs of embeddings are compared, as seen from the origin: the angle of three images
            has its vertex at one of them, take angle_potential.

        normalized-embeddings: angle_potential(x) => angle_potential(F.normalize(x))
            The embeddings are brought to length 1 first, which changes their angles: take them as they are.

        one-vertex-alone: angle_potential(x) => angle_potential(x)[0]
            Only the angles at the first image are compared: each image is a vertex.

        squares-instead-of-huber: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).square().sum()
            The differences are squared: the Huber loss takes half the square up to 1, and |difference| - 1/2 beyond.

        half-squares-everywhere: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).square().sum() / 2
            Half the square is right up to a difference of 1: cosines may differ by 2, and beyond 1 the Huber loss goes
            on straight, |difference| - 1/2.

        absolute-differences: F.smooth_l1_loss(found, wanted, reduction="sum") => (found - wanted).abs().sum()
            The differences are taken absolute: the Huber loss takes half their square up to 1, F.smooth_l1_loss.

        sum: / triplets =>
            The loss is summed, so that it grows with the cube of the batch: divide by the number of triplets.

        mean-over-pairs: N * (N - 1) * (N - 2) if valid_only else N**3 => N * (N - 1) if valid_only else N**2
            The sum is divided by the number of pairs, as for distances: angles have three ends, so divide by N^3, or
            by N (N - 1) (N - 2).

        each-angle-once: found, wanted, reduction => found.triu(), wanted.triu(), reduction
            Each angle is counted once, but divided as if it were counted twice: add both (j, i, k) and (j, k, i).

        valid-only-ignored: N * (N - 1) * (N - 2) if valid_only else N**3 => N**3
            valid_only changes the mean, too: divide by the N (N - 1) (N - 2) triplets of different images.

        always-valid-only: N * (N - 1) * (N - 2) if valid_only else N**3 => N * (N - 1) * (N - 2)
            The mean is always over triplets of different images: published is the one over all N^3 entries, unless
            valid_only.

        arrow-with-itself-left-in: if valid_only: => if False:
            With valid_only the cosines of an arrow with itself are still compared. They are 1 on both sides but where
            two images of one side coincide: put 0 there, on the diagonal of the last two axes.

        teacher-learns: teacher.detach() => teacher
            The values are right, but a gradient flows into the teacher, which would learn from its student: use
            teacher.detach().
        """,
    ),
    answer=rkd_angle_loss,
    minutes=10,
    difficulty=2,
    importance=3,
    level="stretch",
)


# ---- one step of training -------------------------------------------------------------------------------------------


def distill_step(
    student: nn.Module,
    teacher: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    regressor: nn.Module | None = None,
    temperature: float = 4.0,
    kd: float = 0.0,
    hint: float = 0.0,
    distance: float = 0.0,
    angle: float = 0.0,
) -> Tensor:
    """(1 - kd) L_labels + kd L_KD + hint L_hint + distance L_RKD-D + angle L_RKD-A, images x, labels y (N,) -> ().

    Both networks answer with `logits` (N, K), an `embedding` (N, d), whose relations RKD compares, and `maps`, of which
    the hint compares the first, maps[0]. The student is put into training mode, the teacher into evaluation mode; it
    gets no gradient, and each is asked once. Only a hint needs the regressor.
    """
    student.train()
    teacher.eval()
    with torch.no_grad():
        t = teacher(x)
    s = student(x)
    loss = (1 - kd) * F.cross_entropy(s.logits, y) + kd * kd_loss(s.logits, t.logits, temperature)
    if hint:
        loss = loss + hint * hint_loss(s.maps[0], t.maps[0], regressor)
    loss = loss + distance * rkd_distance_loss(s.embedding, t.embedding)
    by_angles = rkd_angle_loss(s.embedding, t.embedding)
    return loss + angle * by_angles


class _Said(NamedTuple):
    maps: tuple[Tensor, Tensor]
    embedding: Tensor
    logits: Tensor


class _Net(nn.Module):
    """Two convolutions, batch normalization, an embedding, logits."""

    def __init__(self, channels: int, d: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
            for inputs in (1, channels)
        )
        self.embed, self.head = nn.Linear(channels, d), nn.Linear(d, 3)

    def forward(self, x: Tensor) -> _Said:
        first = self.first(x)
        second = self.second(first)
        embedding = self.embed(second.mean((2, 3)))
        return _Said((first, second), embedding, self.head(embedding))


class _Step:
    """A step of a student in evaluation mode and a larger teacher in training mode; `weights` are those of the losses.

    Each observation begins with the same random numbers, and so with the same networks.
    """

    def __init__(self, f: Callable, **weights: float) -> None:
        self.student, self.teacher, self.regressor = _Net(2, 4).eval(), _Net(3, 5), nn.Conv2d(2, 3, 1)
        y = torch.tensor([0, 2, 1, 1, 0, 2])
        self.loss = f(self.student, self.teacher, normal(6, 1, 4, 4), y, regressor=self.regressor, **weights)

    def learners(self) -> str:
        self.loss.backward()
        ends = {"the student": self.student, "the teacher": self.teacher, "the regressor": self.regressor}
        return ", ".join(end for end, net in ends.items() if any(p.grad is not None for p in net.parameters()))

    def gradients(self) -> list[Tensor]:
        return list(torch.autograd.grad(self.loss, [self.student.first[0].weight, self.student.embed.weight]))


def _asked(net: _Net) -> str:
    """How often its batch normalization has seen a batch to learn from."""
    return f"asked {int(net.first[1].num_batches_tracked)} times in training mode"


_ALL = {"temperature": 2.0, "kd": 0.9, "hint": 100.0, "distance": 25.0, "angle": 50.0}

STEP = Exercise(
    name="distill_step",
    reference=paper.distill_step,
    probes=(
        Probe("no weight given: labels alone", lambda f: _Step(f).loss),
        Probe("kd = 1, temperature not given: the teacher alone", lambda f: _Step(f, kd=1.0).loss),
        Probe("kd = 0.9, temperature 2", lambda f: _Step(f, kd=0.9, temperature=2.0).loss),
        Probe("labels and hint = 100", lambda f: _Step(f, hint=100.0).loss),
        Probe("labels and distance = 25", lambda f: _Step(f, distance=25.0).loss),
        Probe("labels and angle = 50", lambda f: _Step(f, angle=50.0).loss),
        Probe("kd = 0.9, temperature 2, hint = 100, distance = 25, angle = 50", lambda f: _Step(f, **_ALL).loss),
        Probe("the teacher after a step that found it in training mode", lambda f: _asked(_Step(f).teacher)),
        Probe("the student after a step that found it in evaluation mode", lambda f: _asked(_Step(f).student)),
        Probe("who learns, with all losses at once", lambda f: _Step(f, **_ALL).learners()),
        Probe("the student's gradients, with all losses at once", lambda f: _Step(f, **_ALL).gradients(), rtol=1e-3),
    ),
    hints=(
        "Two networks see the same batch. Which one learns from it, and in which mode does each of them have to be?",
        "student.train(), teacher.eval(); the teacher is asked under torch.no_grad(), each network once. Then the loss"
        " is (1 - kd) F.cross_entropy of the student's logits and y, plus kd kd_loss, plus hint hint_loss of the first"
        " maps if there is a hint, plus distance and angle times the RKD losses of the embeddings.",
        skeleton(
            distill_step,
            "student.train()",
            "teacher.eval()",
            "torch.no_grad()",
            "(1 - kd) * F.cross_entropy(s.logits, y) + kd * kd_loss(s.logits, t.logits, temperature)",
            "hint_loss(s.maps[0], t.maps[0], regressor)",
            "rkd_distance_loss(s.embedding, t.embedding)",
        ),
    ),
    mistakes=mistakes(
        distill_step,
        """
        teacher-in-training-mode: teacher.eval() => teacher.train()
            The teacher is in training mode: its batch normalization then depends on the batch, and changes for good.
            Call teacher.eval().

        teacher-learns: with torch.no_grad(): => if True:
            A gradient flows into the teacher, which would learn from its student: ask it under torch.no_grad().

        student-in-evaluation-mode: student.train() => student.eval()
            The student is in evaluation mode: its batch normalization then uses what it knows, and learns nothing of
            the batch. Call student.train(), say after its error was measured.

        student-asked-twice: F.cross_entropy(s.logits, y) => F.cross_entropy(student(x).logits, y)
            The student sees the batch twice, so that batch normalization counts it twice, and dropout would let the
            losses see different networks: ask it once and use what it said.

        loss-as-a-number: return loss + angle * by_angles => return (loss + angle * by_angles).detach()
            The loss carries no gradient, so that nobody learns: return it as it is, without detach or item.

        labels-at-full-weight: (1 - kd) * F => F
            The labels keep their full weight beside KD: the two share it, 1 - kd and kd.

        shares-exchanged: (1 - kd) * F => kd * F
          + kd * kd_loss => (1 - kd) * kd_loss
            The shares are exchanged: kd is that of the teacher, 1 - kd that of the labels.

        labels-dropped: (1 - kd) * F.cross_entropy(s.logits, y) + kd => kd
            The labels are not used: they have the share 1 - kd.

        teachers-choice-as-label: F.cross_entropy(s.logits, y) => F.cross_entropy(s.logits, t.logits.argmax(1))
            The teacher's choice takes the place of the labels: those are y, the teacher speaks through kd_loss.

        student-and-teacher-exchanged: kd_loss(s.logits, t.logits => kd_loss(t.logits, s.logits
            kd_loss was given the teacher's logits first: the student's come first.

        temperature-not-passed: t.logits, temperature) => t.logits, 4.0)
            The temperature is always 4: pass on the one that is given.

        hint-at-the-last-maps: s.maps[0], t.maps[0] => s.maps[-1], t.maps[-1]
            The hint compares the last maps: it is given at the first of `maps`.

        relations-of-logits: rkd_distance_loss(s.embedding, t.embedding) => rkd_distance_loss(s.logits, t.logits)
          + rkd_angle_loss(s.embedding, t.embedding) => rkd_angle_loss(s.logits, t.logits)
            The relations are those among logits: RKD compares the embeddings.

        weights-of-rkd-exchanged: distance * rkd_distance_loss => angle * rkd_distance_loss
          + angle * by_angles => distance * by_angles
            The weights of distances and angles are exchanged.
        """,
    ),
    answer=distill_step,
    minutes=15,
    difficulty=2,
    importance=3,
    level="stretch",
    changes=("student", "teacher"),
)

EXERCISES = (KD, ATTENTION, TRANSFER, DISTANCES, RKD_DISTANCE, ANGLES, RECALL)
MORE = (RKD_ANGLE, STEP)  # that the checks know and the lesson does not hold yet
