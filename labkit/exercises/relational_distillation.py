"""The exercises of lesson 07. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import relational_distillation as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _gradient(f: Callable, at: Tensor) -> Tensor:
    """The gradient of what `f(at)` returns, weighed by fixed numbers."""
    leaf = at.clone().requires_grad_()
    returned = f(leaf * 1)
    return torch.autograd.grad((returned * _normal(*returned.shape, seed=9)).sum(), leaf)[0]


def _finite(x: Tensor) -> str:
    """For what right answers need not agree on, but must not make NaN of."""
    return "finite numbers" if torch.isfinite(x).all() else "NaN or infinite numbers"


def _twice(*batches: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.repeat_interleave(2, 0) for x in batches)


# ---- distillation at a temperature ----------------------------------------------------------------------------------


def _kd_by_distributions(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    student, teacher = (
        torch.distributions.Categorical(logits=logits / temperature) for logits in (student_logits, teacher_logits)
    )
    return temperature**2 * torch.distributions.kl_divergence(teacher, student).mean()


def _kd_by_cross_entropies(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The divergence is the cross-entropy less what the teacher's own answer costs."""
    wanted = (teacher_logits / temperature).softmax(1)
    costs = [F.cross_entropy(logits / temperature, wanted) for logits in (student_logits, teacher_logits)]
    return temperature * temperature * (costs[0] - costs[1])


def _kd_with(
    *,
    student: Callable = lambda z, tau: z / tau,
    teacher: Callable = lambda z, tau: z / tau,
    dim: int = 1,
    cost: Callable = lambda log_q, log_p: log_p.exp() * (log_p - log_q),
    reduce: Callable = lambda costs: costs.sum(1).mean(),
    factor: Callable = lambda tau: tau**2,
) -> Callable:
    """A wrong kd_loss: the parts that are left out are right. q is the student's answer, p the teacher's."""

    def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
        log_q, log_p = student(student_logits, temperature), teacher(teacher_logits, temperature)
        return factor(temperature) * reduce(cost(log_q.log_softmax(dim), log_p.log_softmax(dim)))

    return kd_loss


def _kd_of_divided_answers(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    q, p = (logits.softmax(1) / temperature for logits in (student_logits, teacher_logits))
    return temperature**2 * F.kl_div(q.log(), p, reduction="batchmean")


def _kd_by_logarithm_of_softmax(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    q, p = ((logits / temperature).softmax(1) for logits in (student_logits, teacher_logits))
    return temperature**2 * F.kl_div(q.log(), p, reduction="batchmean")


def _logits() -> tuple[Tensor, Tensor]:
    """As many images as classes: a softmax along the wrong axis is no error but a wrong answer."""
    return 2 * _normal(5, 5), 2 * _normal(5, 5, seed=1)


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
            lambda f: _gradient(lambda z: f(z, _logits()[1], 4.0), _logits()[0]),
        ),
    ),
    hints=(
        "Both answers are softened alike, then compared. Which of the two is the truth that weighs the differences?",
        "F.kl_div wants the student's log-probabilities first, F.log_softmax(student_logits / temperature, 1), then the"
        ' teacher\'s probabilities; reduction="batchmean" divides by the images alone. What makes up for a gradient'
        " that shrinks as 1 / temperature^2?",
        "return temperature**2 * F.kl_div((student_logits / temperature).log_softmax(1),"
        ' (teacher_logits / temperature).softmax(1), reduction="batchmean")',
    ),
    mistakes=(
        Mistake(
            "factor-forgotten",
            _kd_with(factor=lambda tau: 1),
            "The factor temperature^2 is missing, so that the gradient vanishes at high temperatures: multiply by it.",
        ),
        Mistake(
            "factor-not-squared",
            _kd_with(factor=lambda tau: tau),
            "The factor is the temperature itself: square it, for the gradient shrinks as 1 / temperature^2.",
        ),
        Mistake(
            "only-the-student-softened",
            _kd_with(teacher=lambda z, tau: z),
            "Only the student's logits are divided by the temperature: divide the teacher's as well.",
        ),
        Mistake(
            "only-the-teacher-softened",
            _kd_with(student=lambda z, tau: z),
            "Only the teacher's logits are divided by the temperature: divide the student's as well.",
        ),
        Mistake(
            "temperature-only-as-factor",
            _kd_with(student=lambda z, tau: z, teacher=lambda z, tau: z),
            "The temperature softens nothing, it is only a factor: divide both logits by it, before the softmax.",
        ),
        Mistake(
            "multiplied-by-the-temperature",
            _kd_with(student=lambda z, tau: z * tau, teacher=lambda z, tau: z * tau),
            "The logits are multiplied by the temperature, which makes both answers harder: divide them by it.",
        ),
        Mistake(
            "temperature-after-the-softmax",
            _kd_of_divided_answers,
            "The probabilities are divided by the temperature, after the softmax: divide the logits, before it.",
        ),
        Mistake(
            "softmax-twice",
            _kd_with(student=lambda z, tau: (z / tau).softmax(1), teacher=lambda z, tau: (z / tau).softmax(1)),
            "The softmax is taken twice, which leaves nearly equal probabilities: log_softmax wants the logits.",
        ),
        Mistake(
            "divergence-the-wrong-way-round",
            _kd_with(cost=lambda log_q, log_p: log_q.exp() * (log_q - log_p)),
            "This is KL(student || teacher), weighed by the student's own probabilities: the teacher comes first in the"
            " formula, and second in F.kl_div.",
        ),
        Mistake(
            "probabilities-instead-of-their-logarithms",
            _kd_with(cost=lambda log_q, log_p: log_p.exp() * (log_p - log_q.exp())),
            "F.kl_div was given the student's probabilities: its first argument must be their logarithms, log_softmax.",
        ),
        Mistake(
            "logarithms-instead-of-probabilities",
            _kd_with(cost=lambda log_q, log_p: F.kl_div(log_q, log_p, reduction="none")),
            "F.kl_div was given the teacher's log-probabilities as if they were probabilities: take softmax there, or"
            " say log_target=True.",
        ),
        Mistake(
            "cross-entropy",
            _kd_with(cost=lambda log_q, log_p: -log_p.exp() * log_q),
            "This is the cross-entropy, which is not 0 where both agree: the divergence also has the teacher's"
            " p log p.",
        ),
        Mistake(
            "hard-labels",
            _kd_with(cost=lambda log_q, log_p: -F.one_hot(log_p.argmax(1), log_p.shape[1]) * log_q),
            "Only the teacher's first choice is learned, as if it were a label: compare all its probabilities.",
        ),
        Mistake(
            "probabilities-squared-difference",
            _kd_with(cost=lambda log_q, log_p: (log_p.exp() - log_q.exp()).square()),
            "These are squared differences of probabilities, which hardly see the small ones: take the divergence.",
        ),
        Mistake(
            "softmax-over-the-batch",
            _kd_with(dim=0),
            "The softmax runs over the images: the probabilities of one image add up to 1, along the last axis.",
        ),
        Mistake(
            "mean-over-classes",
            _kd_with(reduce=lambda costs: costs.mean()),
            'The mean runs over the classes, too, as with reduction="mean": sum over them, "batchmean" does so.',
        ),
        Mistake(
            "sum-over-images",
            _kd_with(reduce=lambda costs: costs.sum()),
            'The loss is summed over the images, so that it grows with the batch: take the mean, as "batchmean" does.',
        ),
        Mistake(
            "one-number-an-image",
            _kd_with(reduce=lambda costs: costs.sum(1)),
            "The mean over the images is missing: a loss is one number.",
        ),
        Mistake(
            "logarithm-of-softmax",
            _kd_by_logarithm_of_softmax,
            "A probability too small for a float becomes 0, its logarithm infinite and the loss NaN: use log_softmax"
            " instead of softmax and log.",
        ),
        Mistake(
            "floor-under-the-probabilities",
            _kd_with(cost=lambda log_q, log_p: log_p.exp() * (log_p - (log_q.exp() + 1e-8).log())),
            "A floor lies under the student's probabilities before their logarithm, so that one who is certain of the"
            " wrong class pays too little: log_softmax needs no floor.",
        ),
    ),
    alternatives=(_kd_by_cross_entropies, _kd_by_distributions),
)


# ---- where a layer is active ----------------------------------------------------------------------------------------


def _attention_by_einsum(features: Tensor) -> Tensor:
    return torch.einsum("nchw,nchw->nhw", features, features).flatten(1) / features.shape[1]


def _attention_by_loop(features: Tensor) -> Tensor:
    total = torch.zeros_like(features[:, 0])
    for channel in features.unbind(1):
        total = total + channel**2
    return total.reshape(len(features), -1) / features.shape[1]


def _attention_of(reduce: Callable) -> Callable:
    """A wrong attention_map: reduce(features) -> (N, H, W)."""
    return lambda features: reduce(features).flatten(1)


# As many images as channels, rows and columns: a wrong axis is no error then but a wrong answer.
ATTENTION = Exercise(
    name="attention_map",
    reference=paper.attention_map,
    probes=(
        Probe("2 channels of 2 x 2, 0 ... 3 and 4 ... 7", lambda f: f(torch.arange(8.0).view(1, 2, 2, 2))),
        Probe("one pixel with the values (3, -4)", lambda f: f(torch.tensor([3.0, -4.0]).view(1, 2, 1, 1))),
        Probe("3 images, 3 channels of 3 x 3", lambda f: f(_normal(3, 3, 3, 3))),
        Probe("2 images, 4 channels of 2 rows and 5 columns", lambda f: f(_normal(2, 4, 2, 5))),
        Probe("each channel twice: the map does not change", lambda f: f(_normal(3, 3, 3, 3).repeat(1, 2, 1, 1))),
        Probe("features 10 times as strong", lambda f: f(10 * _normal(3, 3, 3, 3))),
        Probe("a layer that is silent", lambda f: f(torch.zeros(2, 3, 2, 2))),
        Probe("the gradient of a layer that is silent", lambda f: _gradient(f, torch.zeros(2, 3, 2, 2))),
        Probe("the gradient with respect to the features", lambda f: _gradient(f, _normal(3, 3, 3, 3))),
    ),
    hints=(
        "How much happens at a place, whichever channel it happens in, and whether it is positive or negative?",
        "Square the features, then take the mean over the channels, axis 1. One row of pixels for each image is left"
        " to be made, (N, H * W).",
        "return features.square().mean(1).flatten(1)",
    ),
    mistakes=(
        Mistake(
            "not-squared",
            _attention_of(lambda x: x.mean(1)),
            "The features are averaged as they are, so that positive and negative ones cancel: square them first.",
        ),
        Mistake(
            "absolute-values",
            _attention_of(lambda x: x.abs().mean(1)),
            "These are absolute values: this map takes squares, which let the strong features stand out.",
        ),
        Mistake(
            "squared-after-the-mean",
            _attention_of(lambda x: x.mean(1).square()),
            "The mean is squared, so that positive and negative features cancel before: square first, then average.",
        ),
        Mistake(
            "sum-over-channels",
            _attention_of(lambda x: x.square().sum(1)),
            "The squares are summed, so that the map grows with the number of channels: take their mean.",
        ),
        Mistake(
            "strongest-channel",
            _attention_of(lambda x: x.square().amax(1)),
            "Only the strongest channel is seen: average the squares over all of them.",
        ),
        Mistake(
            "length-of-the-features",
            _attention_of(lambda x: x.square().mean(1).sqrt()),
            "A root is taken, which is not in the formula and makes the gradient of a silent layer NaN: leave it out.",
        ),
        Mistake(
            "positive-features-only",
            _attention_of(lambda x: x.relu().square().mean(1)),
            "Negative features are dropped: their squares count as well.",
        ),
        Mistake(
            "over-space-instead-of-channels",
            _attention_of(lambda x: x.square().mean(2)),
            "The mean runs over the rows: the channels are axis 1, and all places stay.",
        ),
        Mistake(
            "over-all-places",
            lambda features: features.square().mean((2, 3)),
            "The mean runs over the places, so that it says which channel is active, not where: average over axis 1.",
        ),
        Mistake(
            "over-the-batch",
            _attention_of(lambda x: x.square().mean(0)),
            "The mean runs over the images: each has its own map, the channels are axis 1.",
        ),
        Mistake(
            "not-flattened",
            lambda features: features.square().mean(1),
            "The map is still (N, H, W): make one row of pixels for each image, as flatten(1) does.",
        ),
        Mistake(
            "batch-flattened",
            lambda features: features.square().mean(1).flatten(),
            "The images are flattened into one another: keep the first axis, flatten(1).",
        ),
        Mistake(
            "rows-and-columns-exchanged",
            _attention_of(lambda x: x.square().mean(1).mT),
            "The pixels are in another order, column by column: flatten the map without turning it.",
        ),
        Mistake(
            "normalized-already",
            lambda features: F.normalize(paper.attention_map(features)),
            "The map is divided by its length: that is a step of the loss, the map itself still says how strong it is.",
        ),
        Mistake(
            "softmax-over-places",
            lambda features: paper.attention_map(features).softmax(1),
            "A softmax is put on the map, as in another kind of attention: here it is the mean of the squares alone.",
        ),
    ),
    alternatives=(_attention_by_einsum, _attention_by_loop),
)


# ---- attention transfer ---------------------------------------------------------------------------------------------


def _transfer_by_lengths(student: Tensor, teacher: Tensor) -> Tensor:
    """The number of channels does not matter: it cancels with the length."""
    found, wanted = (x.square().sum(1).flatten(1) for x in (student, teacher))
    found, wanted = (q / torch.linalg.vector_norm(q, dim=1, keepdim=True).clamp(min=1e-12) for q in (found, wanted))
    return (found - wanted).square().mean()


def _transfer_by_loop(student: Tensor, teacher: Tensor) -> Tensor:
    costs = []
    for pair in zip(student, teacher, strict=True):
        maps = [(x**2).mean(0).flatten() for x in pair]
        found, wanted = (q / q.norm() if q.any() else q for q in maps)
        costs.append(((found - wanted) ** 2).mean())
    return torch.stack(costs).mean()


def _transfer_with(
    *,
    look: Callable = paper.attention_map,
    unit: Callable = F.normalize,
    wanted_unit: Callable | None = None,
    compare: Callable = F.mse_loss,
) -> Callable:
    """A wrong attention_transfer_loss: the parts that are left out are right."""

    def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
        return compare(unit(look(student)), (wanted_unit or unit)(look(teacher)))

    return attention_transfer_loss


def _maps() -> tuple[Tensor, Tensor]:
    """As many images as places: an axis of the normalization that is wrong is no error but a wrong answer."""
    return _normal(4, 3, 2, 2), 2 * _normal(4, 5, 2, 2, seed=1)


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
        Probe("4 images, 3 and 5 channels of 2 x 3", lambda f: f(_normal(4, 3, 2, 3), _normal(4, 5, 2, 3, seed=1))),
        Probe("the student's features 7 times as strong: no change", lambda f: f(7 * _maps()[0], _maps()[1])),
        Probe(
            "one image's features 7 times as strong: no change",
            lambda f: f(_maps()[0] * torch.tensor([1.0, 7.0, 1.0, 1.0]).view(4, 1, 1, 1), _maps()[1]),
        ),
        Probe("each image twice: no change", lambda f: f(*_twice(*_maps()))),
        Probe("student = -3 * teacher: no loss", lambda f: f(-3 * _maps()[1], _maps()[1])),
        Probe("an image in which the student sees nothing", lambda f: f(*_silent_map())),
        Probe(
            "the gradient where the student sees nothing in an image",
            lambda f: _gradient(lambda x: f(x, _maps()[1]), _silent_map()[0]),
            rtol=1e-3,
            atol=1e-6,
        ),
    ),
    hints=(
        "How strong a layer is, and how many channels it has, must not matter, only where it looks. What remains of a"
        " map if you take its strength away?",
        "Divide each image's map, a row of attention_map, by its own length: F.normalize does so, and leaves a map of"
        " zeros alone. Then take the mean of the squared differences over images and pixels.",
        "return F.mse_loss(F.normalize(attention_map(student)), F.normalize(attention_map(teacher)))",
    ),
    mistakes=(
        Mistake(
            "not-normalized",
            _transfer_with(unit=lambda q: q),
            "The maps are compared with their strength: divide each by its length first, F.normalize.",
        ),
        Mistake(
            "only-the-student-normalized",
            _transfer_with(wanted_unit=lambda q: q),
            "Only the student's map is divided by its length: do the same with the teacher's.",
        ),
        Mistake(
            "normalized-over-the-batch",
            _transfer_with(unit=lambda q: F.normalize(q, dim=0)),
            "Each pixel is divided by its length over the images, so that an image depends on the others in its batch:"
            " divide each map, a row, by its own length.",
        ),
        Mistake(
            "one-length-for-all-images",
            _transfer_with(unit=lambda q: q / q.norm()),
            "All maps are divided by one length, that of the whole batch: each image has its own, along axis 1.",
        ),
        Mistake(
            "divided-by-the-sum",
            _transfer_with(unit=lambda q: F.normalize(q, p=1)),
            "The maps are divided by their sum: the length |Q| is the root of the sum of squares.",
        ),
        Mistake(
            "divided-by-the-maximum",
            _transfer_with(unit=lambda q: F.normalize(q, p=math.inf)),
            "The maps are divided by their largest value: divide by their length, the root of the sum of squares.",
        ),
        Mistake(
            "softmax-of-the-maps",
            _transfer_with(unit=lambda q: q.softmax(1)),
            "A softmax is put on the maps, which still depends on how strong they are: divide them by their length.",
        ),
        Mistake(
            "absolute-values",
            _transfer_with(look=lambda x: x.abs().mean(1).flatten(1)),
            "The maps are made of absolute values: they take squares, use attention_map of the exercise above.",
        ),
        Mistake(
            "features-not-squared",
            _transfer_with(look=lambda x: x.mean(1).flatten(1)),
            "The maps average features as they are, so that these cancel: use attention_map of the exercise above.",
        ),
        Mistake(
            "norm-of-the-difference",
            _transfer_with(compare=lambda q, p: (q - p).norm(dim=1).mean()),
            "This is the length of the difference, as the paper prints it: the published code takes the mean of its"
            " squares, to which the usual weight of 1000 belongs.",
        ),
        Mistake(
            "sum-over-pixels",
            _transfer_with(compare=lambda q, p: (q - p).square().sum(1).mean()),
            "The squares are summed over the pixels: take their mean, over images and pixels.",
        ),
        Mistake(
            "sum-over-everything",
            _transfer_with(compare=lambda q, p: (q - p).square().sum()),
            "The squares are summed: take their mean, over images and pixels, or the loss grows with the batch.",
        ),
        Mistake(
            "absolute-differences",
            _transfer_with(compare=F.l1_loss),
            "The differences are taken absolute: square them.",
        ),
        Mistake(
            "half-of-the-squares",
            _transfer_with(compare=F.smooth_l1_loss),
            "This is half of the squares, the Huber loss: attention transfer takes the squares themselves.",
        ),
        Mistake(
            "one-minus-the-cosine",
            _transfer_with(compare=lambda q, p: (1 - (q * p).sum(1)).mean()),
            "This is 1 minus the cosine, half the sum of the squares: take the mean of the squared differences.",
        ),
        Mistake(
            "nan-where-nothing-is-active",
            _transfer_with(unit=lambda q: q / q.norm(dim=1, keepdim=True)),
            "A map of zeros gives 0 / 0, NaN: F.normalize keeps the length off 0.",
        ),
        Mistake(
            "nan-gradient-where-nothing-is-active",
            _transfer_with(unit=lambda q: q / (q.square().sum(1, keepdim=True).sqrt() + 1e-12)),
            "The values are right, but a map of zeros has the gradient NaN, for a root has an infinite slope at 0: use"
            " F.normalize, or clamp the sum of squares before you take its root.",
        ),
    ),
    alternatives=(_transfer_by_lengths, _transfer_by_loop),
)


# ---- distances ------------------------------------------------------------------------------------------------------


def _distances_by_differences(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[:, None] - x, dim=2)


def _distances_by_cdist(x: Tensor) -> Tensor:
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def _distances_by_centred_gram_matrix(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    squares = x.square().sum(1)
    distances = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    return distances * (1 - torch.eye(len(x)).to(x))


def _squares(x: Tensor) -> Tensor:
    return (x[:, None] - x).square().sum(2)


def _none_on_the_diagonal(distances: Tensor) -> Tensor:
    return distances.masked_fill(torch.eye(len(distances), dtype=torch.bool), 0)


def _gram_with(squares: Callable) -> Callable:
    """A wrong pairwise_distances: the squares from |x_i|^2 + |x_j|^2 and the products."""

    def pairwise_distances(x: Tensor) -> Tensor:
        lengths = x.square().sum(1)
        return _none_on_the_diagonal(squares(lengths[:, None] + lengths, x @ x.T).clamp(min=1e-12).sqrt())

    return pairwise_distances


def _root_off_the_diagonal(x: Tensor) -> Tensor:
    return _none_on_the_diagonal((_squares(x) + torch.eye(len(x))).sqrt())


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
        Probe("4 embeddings of 4 numbers", lambda f: f(_normal(4, 4))),
        Probe("6 embeddings of 3 numbers", lambda f: f(_normal(6, 3))),
        Probe("all of them shifted by 5: no change", lambda f: f(_normal(6, 3) + 5), atol=1e-4),
        Probe("all of them 10 times as long", lambda f: f(10 * _normal(6, 3))),
        Probe("(4096, 0), (4097, 0) and (4099, 0), close together, far away", lambda f: f(_far_from_the_origin())),
        Probe("4 embeddings, 2 of which coincide", lambda f: f(_coinciding())),
        Probe("the gradient of 4 embeddings, 2 of which coincide", lambda f: _gradient(f, _coinciding())),
        Probe("the gradient of 6 embeddings of 3 numbers", lambda f: _gradient(f, _normal(6, 3)), rtol=1e-3, atol=1e-4),
    ),
    hints=(
        "A distance is the root of a sum of squares. What is the slope of a root at 0, where each embedding is compared"
        " with itself?",
        "Either from the differences x[:, None] - x, (N, N, d); or without them, from |x_i|^2 + |x_j|^2 - 2 x_i . x_j"
        " with x - x.mean(0) for x, which loses fewer digits. Clamp the squares at 1e-12 before the root, put zeros on"
        " the diagonal after it.",
        "x = x - x.mean(0); squares = x.square().sum(1); distances = (squares[:, None] + squares - 2 * x @"
        " x.T).clamp(min=1e-12).sqrt(); return distances.masked_fill(torch.eye(len(x), dtype=torch.bool), 0)",
    ),
    mistakes=(
        Mistake(
            "squared",
            _squares,
            "These are squared distances: take the root.",
        ),
        Mistake(
            "sum-of-absolute-differences",
            lambda x: (x[:, None] - x).abs().sum(2),
            "These are sums of absolute differences: |x_i - x_j| is the root of the sum of squares.",
        ),
        Mistake(
            "mean-of-squares",
            lambda x: _none_on_the_diagonal((_squares(x) / x.shape[1]).clamp(min=1e-12).sqrt()),
            "The squares are averaged, so that the distance depends on how many numbers an embedding has: sum them.",
        ),
        Mistake(
            "product-once",
            _gram_with(lambda sums, gram: sums - gram),
            "The product x_i . x_j is subtracted once: |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 x_i . x_j.",
        ),
        Mistake(
            "product-added",
            _gram_with(lambda sums, gram: sums + 2 * gram),
            "The product is added, which gives the lengths of sums: subtract 2 x_i . x_j.",
        ),
        Mistake(
            "products",
            lambda x: x @ x.T,
            "These are the products x_i . x_j, which grow with likeness: a distance is 0 between an image and itself.",
        ),
        Mistake(
            "one-minus-the-cosine",
            lambda x: 1 - F.normalize(x) @ F.normalize(x).T,
            "This is 1 minus the cosine of two embeddings, which a shift changes: take the length of their difference.",
        ),
        Mistake(
            "normalized-first",
            lambda x: paper.pairwise_distances(F.normalize(x)),
            "The embeddings are brought to length 1 first, which moves them: take their distances as they are.",
        ),
        Mistake(
            "between-numbers",
            lambda x: paper.pairwise_distances(x.T),
            "These are distances between the columns: the images of the batch are the rows of x.",
        ),
        Mistake(
            "each-pair-once",
            lambda x: paper.pairwise_distances(x).triu(),
            "Each pair stands above the diagonal only: the matrix is symmetric, both halves are needed.",
        ),
        Mistake(
            "list-of-pairs",
            F.pdist,
            "This is the list of N (N - 1) / 2 pairs, as from pdist: return the matrix, (N, N).",
        ),
        Mistake(
            "nan-gradient-on-the-diagonal",
            lambda x: _none_on_the_diagonal(_squares(x).sqrt()),
            "The values are right, but all gradients are NaN, for the root has an infinite slope at 0, on the diagonal"
            " too, whatever you write there afterwards: clamp the squares before the root.",
        ),
        Mistake(
            "nan-gradient-where-two-coincide",
            _root_off_the_diagonal,
            "The diagonal is taken care of, but where two different images coincide the gradient is still NaN: clamp"
            " all squares before the root.",
        ),
        Mistake(
            "diagonal-in-place",
            lambda x: _squares(x).clamp(min=1e-12).sqrt().fill_diagonal_(0),
            "The values are right, but the zeros are written into the root's own result, which autograd still needs:"
            " make a new matrix with masked_fill, or multiply by 1 - torch.eye(len(x)).",
        ),
        Mistake(
            "digits-cancel",
            _gram_with(lambda sums, gram: sums - 2 * gram),
            "Far from the origin the large squares cancel, and few digits of the distance are left: subtract the mean,"
            " x - x.mean(0), before you multiply.",
        ),
    ),
    alternatives=(_distances_by_centred_gram_matrix, _distances_by_cdist, _distances_by_differences),
)


# ---- RKD of distances -----------------------------------------------------------------------------------------------


def _rkd_distance_by_pairs(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """Each pair once, in a list."""
    found, wanted = (F.pdist(x).clamp(min=1e-6) for x in (student, teacher.detach()))
    mean = F.huber_loss(found / found.mean(), wanted / wanted.mean())
    return mean if valid_only else mean * (len(student) - 1) / len(student)


def _rkd_distance_by_loop(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    N = len(student)
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    potentials = []
    for x in (student, teacher.detach()):
        distances = torch.stack([(x[i] - x[j]).norm().clamp(min=1e-6) for i, j in pairs])
        potentials.append(distances / distances.mean())
    gaps = (potentials[0] - potentials[1]).abs()
    total = sum(gap**2 / 2 if gap <= 1 else gap - 0.5 for gap in gaps)
    return total / (len(pairs) if valid_only else N * N)


def _mean_of_pairs(distances: Tensor) -> Tensor:
    return distances.sum() / (len(distances) * (len(distances) - 1))


def _rkd_distance_with(
    *,
    distances: Callable = paper.pairwise_distances,
    units: Callable = lambda found, wanted: (_mean_of_pairs(found), _mean_of_pairs(wanted)),
    cost: Callable = lambda found, wanted: F.smooth_l1_loss(found, wanted, reduction="none"),
    count: Callable = lambda N, valid_only: N * (N - 1) if valid_only else N**2,
    hold: Callable = Tensor.detach,
) -> Callable:
    """A wrong rkd_distance_loss: the parts that are left out are right."""

    def rkd_distance_loss(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
        found, wanted = distances(student), distances(hold(teacher))
        mine, theirs = units(found, wanted)
        return cost(found / mine, wanted / theirs).sum() / count(len(student), valid_only)

    return rkd_distance_loss


def _right_triangle() -> Tensor:
    """Sides of 1, 1 and the root of 2."""
    return torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def _embeddings() -> tuple[Tensor, Tensor]:
    return 2 * _normal(6, 3), _normal(6, 5, seed=1)


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


RKD_DISTANCE = Exercise(
    name="rkd_distance_loss",
    reference=paper.rkd_distance_loss,
    probes=(
        Probe(
            "triangles, student (0, 0), (1, 0), (0, 1), teacher (0, 0), (3, 0), (0, 4)",
            lambda f: f(_right_triangle(), _triangle()),
            atol=1e-7,
        ),
        Probe(
            "these triangles, valid_only=True", lambda f: f(_right_triangle(), _triangle(), valid_only=True), atol=1e-7
        ),
        Probe("6 images, embeddings of 3 and of 5 numbers", lambda f: f(*_embeddings()), atol=1e-7),
        Probe(
            "6 images, embeddings of 3 and of 5 numbers, valid_only=True",
            lambda f: f(*_embeddings(), valid_only=True),
            atol=1e-7,
        ),
        Probe(
            "the student's embeddings 10 times as long: no change", lambda f: f(10 * _embeddings()[0], _embeddings()[1])
        ),
        Probe("student = 7 * teacher + 3: no loss", lambda f: f(7 * _embeddings()[1] + 3, _embeddings()[1])),
        Probe("a teacher with one embedding far from all others", lambda f: f(*_one_apart())),
        Probe(
            "the gradient with respect to the student",
            lambda f: _gradient(lambda x: f(x, _embeddings()[1]), _embeddings()[0]),
            rtol=1e-3,
            atol=1e-6,
        ),
        Probe(
            "the gradient of a student two of whose embeddings coincide",
            lambda f: _gradient(lambda x: f(x, _normal(4, 5)), _coinciding()),
            rtol=1e-3,
            atol=1e-6,
        ),
        Probe(
            "a student that has collapsed, all embeddings alike, loss and gradient", _loss_and_gradient_when_collapsed
        ),
        Probe("who learns", _reaches_the_teacher),
    ),
    hints=(
        "A student whose distances are all twice the teacher's has learned everything. What do you divide by, on each"
        " side?",
        "psi is the matrix of pairwise_distances divided by mu, the mean over the N (N - 1) pairs, not over the N zeros"
        " of the diagonal; student and teacher have each their own. Sum F.smooth_l1_loss over all entries, divide by"
        " N^2, or by N (N - 1) if valid_only. The teacher is a constant.",
        "N = len(student); found, wanted = (D / (D.sum() / (N * (N - 1))) for D in (pairwise_distances(student),"
        ' pairwise_distances(teacher.detach()))); return F.smooth_l1_loss(found, wanted, reduction="sum") /'
        " (N * (N - 1) if valid_only else N**2)",
    ),
    mistakes=(
        Mistake(
            "mu-over-all-entries",
            _rkd_distance_with(units=lambda found, wanted: (found.mean(), wanted.mean())),
            "mu also counts the zeros of the diagonal: take the mean over the N (N - 1) pairs of different images.",
        ),
        Mistake(
            "mu-over-positive-distances",
            _rkd_distance_with(
                distances=_distances_by_differences,
                units=lambda found, wanted: (found[found > 0].mean(), wanted[wanted > 0].mean()),
            ),
            "mu leaves out different images that coincide, and is NaN when all do: divide the sum of all distances by"
            " N (N - 1), and keep them off 0 as pairwise_distances does, with clamp(min=1e-6).",
        ),
        Mistake(
            "no-mu",
            _rkd_distance_with(units=lambda found, wanted: (1, 1)),
            "The distances are compared as they are, so that the student must copy the teacher's scale: divide each by"
            " its own mean mu.",
        ),
        Mistake(
            "the-teachers-mu-for-both",
            _rkd_distance_with(units=lambda found, wanted: (_mean_of_pairs(wanted), _mean_of_pairs(wanted))),
            "Both are divided by the teacher's mu: the student's distances have a mean of their own.",
        ),
        Mistake(
            "the-students-mu-for-both",
            _rkd_distance_with(units=lambda found, wanted: (_mean_of_pairs(found), _mean_of_pairs(found))),
            "Both are divided by the student's mu: the teacher's distances have a mean of their own.",
        ),
        Mistake(
            "largest-distance-as-unit",
            _rkd_distance_with(units=lambda found, wanted: (found.max(), wanted.max())),
            "The distances are divided by the largest one: mu is their mean.",
        ),
        Mistake(
            "a-mu-for-each-image",
            _rkd_distance_with(
                units=lambda found, wanted: [D.sum(1, keepdim=True) / (len(D) - 1) for D in (found, wanted)]
            ),
            "Each row is divided by its own mean: there is one mu for the whole batch.",
        ),
        Mistake(
            "mu-detached",
            _rkd_distance_with(units=lambda found, wanted: (_mean_of_pairs(found).detach(), _mean_of_pairs(wanted))),
            "The values are right, but the student's mu is cut off from the graph, so that the gradient also shrinks or"
            " stretches all distances: leave out detach there.",
        ),
        Mistake(
            "squared-distances",
            _rkd_distance_with(distances=_squares),
            "The squared distances are compared: take those of pairwise_distances, with the root.",
        ),
        Mistake(
            "normalized-embeddings",
            _rkd_distance_with(distances=lambda x: paper.pairwise_distances(F.normalize(x))),
            "The embeddings are brought to length 1 first, which changes their relations: divide by mu alone.",
        ),
        Mistake(
            "squares-instead-of-huber",
            _rkd_distance_with(cost=lambda found, wanted: (found - wanted).square()),
            "The differences are squared: the Huber loss takes half the square up to 1, and |difference| - 1/2 beyond.",
        ),
        Mistake(
            "half-squares-everywhere",
            _rkd_distance_with(cost=lambda found, wanted: (found - wanted).square() / 2),
            "Half the square is right up to a difference of 1: beyond, the Huber loss goes on straight, |difference| -"
            " 1/2.",
        ),
        Mistake(
            "absolute-differences",
            _rkd_distance_with(cost=lambda found, wanted: (found - wanted).abs()),
            "The differences are taken absolute: the Huber loss takes half their square up to 1, F.smooth_l1_loss.",
        ),
        Mistake(
            "sum",
            _rkd_distance_with(count=lambda N, valid_only: 1),
            "The loss is summed, so that it grows with the square of the batch: divide by the number of entries.",
        ),
        Mistake(
            "mean-over-images",
            _rkd_distance_with(count=lambda N, valid_only: N),
            "The sum is divided by N, so that it grows with the batch: there are N^2 entries, N (N - 1) of them pairs.",
        ),
        Mistake(
            "each-pair-once",
            _rkd_distance_with(cost=lambda found, wanted: F.smooth_l1_loss(found, wanted, reduction="none").triu()),
            "Each pair is counted once, but divided as if it were counted twice: add both (i, j) and (j, i).",
        ),
        Mistake(
            "valid-only-ignored",
            _rkd_distance_with(count=lambda N, valid_only: N**2),
            "valid_only changes nothing: with it, divide by the N (N - 1) pairs of different images.",
        ),
        Mistake(
            "always-valid-only",
            _rkd_distance_with(count=lambda N, valid_only: N * (N - 1)),
            "The mean is always over the N (N - 1) pairs: published is the one over all N^2 entries, zeros included,"
            " unless valid_only.",
        ),
        Mistake(
            "valid-only-reversed",
            _rkd_distance_with(count=lambda N, valid_only: N**2 if valid_only else N * (N - 1)),
            "The two means are exchanged: divide by N (N - 1) if valid_only, and by N^2 otherwise.",
        ),
        Mistake(
            "nan-when-collapsed",
            _rkd_distance_with(distances=_distances_by_differences),
            "When all embeddings are alike mu is 0, and 0 / 0 gives NaN: keep the distances of different images off 0,"
            " with clamp(min=1e-6).",
        ),
        Mistake(
            "teacher-learns",
            _rkd_distance_with(hold=lambda teacher: teacher),
            "The values are right, but a gradient flows into the teacher, which would learn from its student: use"
            " teacher.detach().",
        ),
    ),
    alternatives=(_rkd_distance_by_pairs, _rkd_distance_by_loop),
)


# ---- angles ---------------------------------------------------------------------------------------------------------


def _angles_by_einsum(x: Tensor) -> Tensor:
    """As published, with a gradient of 1e12 where two embeddings coincide."""
    directions = F.normalize(x - x[:, None], dim=2)
    return torch.einsum("jid,jkd->jik", directions, directions)


def _angles_at_each_vertex(x: Tensor) -> Tensor:
    found = []
    for vertex in x:
        edges = x - vertex
        found.append(F.cosine_similarity(edges[:, None], edges[None], dim=2))
    return torch.stack(found)


def _angles_with(
    *,
    edges: Callable = lambda x: x - x[:, None],
    unit: Callable = lambda edges: F.normalize(edges, dim=2),
    product: Callable = lambda e: e @ e.mT,
) -> Callable:
    """A wrong angle_potential: the parts that are left out are right."""
    return lambda x: product(unit(edges(x)))


def _of_three_images(x: Tensor) -> Tensor:
    """1 where three different images meet, 0 elsewhere, (N, N, N): the other entries do not change with x."""
    different = 1 - torch.eye(len(x))
    return different[:, :, None] * different[:, None] * different


def _degrees(cosines: Tensor) -> Tensor:
    return torch.rad2deg(cosines.clamp(-1, 1).acos())


def _one_side_normalized(x: Tensor) -> Tensor:
    edges = x - x[:, None]
    return F.normalize(edges, dim=2) @ edges.mT


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
        Probe("4 embeddings of 4 numbers", lambda f: f(_normal(4, 4))),
        Probe("5 embeddings of 2 numbers", lambda f: f(_normal(5, 2))),
        Probe("all of them 10 times as long and shifted by 1: no change", lambda f: f(10 * _normal(5, 2) + 1)),
        Probe("0, 1 and 3 on a line", lambda f: f(torch.tensor([[0.0], [1.0], [3.0]]))),
        Probe("4 embeddings, 2 of which coincide", lambda f: f(_coinciding())),
        Probe("the gradient of 4 embeddings, 2 of which coincide", lambda f: _finite(_gradient(f, _coinciding()))),
        Probe(
            "the gradient of 4 embeddings of 4 numbers",
            lambda f: _gradient(lambda x: f(x) * _of_three_images(x), _normal(4, 4)),
            rtol=1e-3,
            atol=1e-4,
        ),
    ),
    hints=(
        "Stand on one embedding and look at two others. Which two arrows make the angle, and how does a product of"
        " arrows become a cosine?",
        "x - x[:, None] holds the arrows [j, i] from x_j to x_i, (N, N, d). Bring each to length 1 along its last axis,"
        " with F.normalize since those of length 0 are among them. Then multiply all pairs that start from the same j.",
        "directions = F.normalize(x - x[:, None], dim=2); return directions @ directions.mT",
    ),
    mistakes=(
        Mistake(
            "vertex-second",
            _angles_with(product=lambda e: (e @ e.mT).transpose(0, 1)),
            "The vertex is the second axis here: [j, i, k] is the angle at x_j, so the vertex comes first.",
        ),
        Mistake(
            "vertex-last",
            _angles_with(product=lambda e: (e @ e.mT).permute(1, 2, 0)),
            "The vertex is the last axis here: [j, i, k] is the angle at x_j, so the vertex comes first.",
        ),
        Mistake(
            "not-normalized",
            _angles_with(unit=lambda edges: edges),
            "The arrows are multiplied with their lengths: bring each to length 1 first.",
        ),
        Mistake(
            "one-arrow-not-normalized",
            _one_side_normalized,
            "Only one of the two arrows is brought to length 1: do so with both.",
        ),
        Mistake(
            "radians",
            _angles_with(product=lambda e: (e @ e.mT).clamp(-1, 1).acos()),
            "These are angles, in radians: RKD compares their cosines, leave out acos.",
        ),
        Mistake(
            "degrees",
            _angles_with(product=lambda e: _degrees(e @ e.mT)),
            "These are angles, in degrees: RKD compares their cosines, leave out acos.",
        ),
        Mistake(
            "one-arrow-reversed",
            _angles_with(product=lambda e: -e @ e.mT),
            "One arrow leads to the vertex, the other away from it, so that the sign is wrong: both start from x_j.",
        ),
        Mistake(
            "seen-from-the-origin",
            lambda x: F.normalize(x) @ F.normalize(x).T,
            "These are the angles between two embeddings as seen from the origin, (N, N): an angle has three, and the"
            " arrows are their differences, (N, N, d).",
        ),
        Mistake(
            "normalized-embeddings",
            lambda x: paper.angle_potential(F.normalize(x)),
            "The embeddings are brought to length 1, which moves them: normalize their differences alone.",
        ),
        Mistake(
            "divided-by-the-square",
            _angles_with(unit=lambda edges: edges / edges.square().sum(2, keepdim=True).clamp(min=1e-12)),
            "The arrows are divided by their squared length: divide by the length.",
        ),
        Mistake(
            "normalized-across-images",
            _angles_with(unit=lambda edges: F.normalize(edges, dim=1)),
            "The lengths are taken across images, which is what F.normalize does by default: an arrow lies along the"
            " last axis, dim=2.",
        ),
        Mistake(
            "unsigned",
            _angles_with(product=lambda e: (e @ e.mT).abs()),
            "The cosine has lost its sign, so that blunt angles look like sharp ones: leave out abs.",
        ),
        Mistake(
            "squared",
            _angles_with(product=lambda e: (e @ e.mT).square()),
            "The cosines are squared, so that blunt angles look like sharp ones: leave them as they are.",
        ),
        Mistake(
            "nan-without-an-arrow",
            _angles_with(unit=lambda edges: edges / edges.norm(dim=2, keepdim=True)),
            "From x_j to itself the arrow is 0 and so is its length, 0 / 0 gives NaN: F.normalize leaves it at 0.",
        ),
        Mistake(
            "nan-gradient-without-an-arrow",
            _angles_with(unit=lambda edges: edges / (edges.square().sum(2, keepdim=True).sqrt() + 1e-12)),
            "The values are right, but all gradients are NaN, for a root has an infinite slope at 0, where x_j meets"
            " itself: use F.normalize, or clamp the sum of squares before you take its root.",
        ),
    ),
    alternatives=(_angles_by_einsum, _angles_at_each_vertex),
)


# ---- recall ---------------------------------------------------------------------------------------------------------

# Ties come in an order that depends on how one sorts. The labels are such that most orders give the same wrong answer.


def _recall_by_counting(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """How many of other classes are at most as far as the nearest of the own one?"""
    distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    own = labels[:, None] == labels
    nearest = distances.masked_fill(~own, math.inf).fill_diagonal_(math.inf).amin(1, keepdim=True)
    nearer = (~own & (distances <= nearest)).sum(1)
    return (nearer < k).double().mean().item()


def _recall_by_sorting(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """One image at a time; where two are equally far, False is sorted before True."""
    hits = 0
    for i, x in enumerate(embeddings):
        others = [((x - y).norm().item(), bool(labels[i] == labels[j])) for j, y in enumerate(embeddings) if j != i]
        hits += any(own for _, own in sorted(others)[:k])
    return hits / len(embeddings)


def _distances_to_others(x: Tensor) -> Tensor:
    return _distances_by_differences(x).fill_diagonal_(math.inf)


def _recall_with(
    *,
    distances: Callable = _distances_to_others,
    share: Callable = lambda matches, k: matches[:, :k].any(1).double().mean().item(),
) -> Callable:
    """A wrong recall_at_k: of the others by distance, in the order of their index where they are equally far."""

    def recall_at_k(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
        order = distances(embeddings).argsort(dim=1, stable=True)
        return share(labels[order] == labels[:, None], k)  # (N, N), the image itself at the end

    return recall_at_k


def _of_the_class_found(matches: Tensor, k: int) -> float:
    others = matches.sum(1) - 1
    return (matches[:, :k].sum(1) / others.clamp(min=1)).double().mean().item()


def _without_the_lonely(matches: Tensor, k: int) -> float:
    return matches[matches.sum(1) > 1, :k].any(1).double().mean().item()


def _classified() -> tuple[Tensor, Tensor]:
    """Four classes that overlap, the last with a single image."""
    labels = torch.tensor([3, 3, 3, 3, 5, 5, 5, 5, 8, 8, 8, 1])
    return _normal(9, 4, seed=2)[labels] + 1.5 * _normal(12, 4), labels


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
        Probe("these 12 images in the reverse order, k = 2", lambda f: f(*(x.flip(0) for x in _classified()), 2)),
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
        "own = labels[:, None] == labels; nearest = distances.masked_fill(~own, math.inf).amin(1, keepdim=True), with"
        " math.inf on the diagonal; hit = (~own & (distances <= nearest)).sum(1) < k; return"
        " hit.double().mean().item()",
    ),
    mistakes=(
        Mistake(
            "self-not-excluded",
            _recall_with(distances=paper.pairwise_distances),
            "Each image finds itself first, which is always a hit: put infinity on the diagonal of the distances.",
        ),
        Mistake(
            "self-among-the-ties",
            _recall_with(distances=_distances_by_differences),
            "Each image finds itself, first or among those that coincide with it, which is always a hit: put infinity"
            " on the diagonal of the distances.",
        ),
        Mistake(
            "first-one-dropped",
            _recall_with(
                distances=_distances_by_differences,
                share=lambda matches, k: matches[:, 1 : k + 1].any(1).double().mean().item(),
            ),
            "The first of the neighbours is dropped as if it were the image itself, but where another coincides with it"
            " that may be the other one: put infinity on the diagonal instead.",
        ),
        Mistake(
            "k-ignored",
            _recall_with(share=lambda matches, k: matches[:, 0].double().mean().item()),
            "Only the nearest neighbour counts, whatever k is: look at the k nearest.",
        ),
        Mistake(
            "kth-neighbour-only",
            _recall_with(share=lambda matches, k: matches[:, k - 1].double().mean().item()),
            "Only the k-th neighbour counts: one hit among the k nearest is enough.",
        ),
        Mistake(
            "one-neighbour-too-many",
            _recall_with(share=lambda matches, k: matches[:, : k + 1].any(1).double().mean().item()),
            "This looks at k + 1 neighbours: the image itself is left out already, so take k.",
        ),
        Mistake(
            "farthest-instead-of-nearest",
            _recall_with(distances=lambda x: (-_distances_by_differences(x)).fill_diagonal_(math.inf)),
            "The farthest images are taken for the nearest: a small distance means alike, as with largest=False.",
        ),
        Mistake(
            "precision",
            _recall_with(share=lambda matches, k: matches[:, :k].double().mean().item()),
            "This is the share of hits among the neighbours, a precision: an image counts as found with one hit among"
            " its k.",
        ),
        Mistake(
            "all-must-hit",
            _recall_with(share=lambda matches, k: matches[:, :k].all(1).double().mean().item()),
            "All k neighbours must be of the class: one is enough, any instead of all.",
        ),
        Mistake(
            "share-of-the-class-found",
            _recall_with(share=_of_the_class_found),
            "This is the share of its class that an image finds, recall as in search engines: in metric learning one"
            " hit among the k nearest counts as 1.",
        ),
        Mistake(
            "by-cosine",
            _recall_with(distances=lambda x: (-F.normalize(x) @ F.normalize(x).T).fill_diagonal_(math.inf)),
            "Neighbours are found by the cosine, which ignores lengths: take the distance |x_i - x_j|.",
        ),
        Mistake(
            "by-product",
            _recall_with(distances=lambda x: (-x @ x.T).fill_diagonal_(math.inf)),
            "Neighbours are found by the product x_i . x_j, which prefers long embeddings: take the distance.",
        ),
        Mistake(
            "lonely-images-left-out",
            _recall_with(share=_without_the_lonely),
            "Images that are alone in their class are left out of the mean: they count as not found.",
        ),
        Mistake(
            "percent",
            _recall_with(share=lambda matches, k: 100 * matches[:, :k].any(1).double().mean().item()),
            "This is in percent: return a share, between 0 and 1.",
        ),
        Mistake(
            "hits-not-divided",
            _recall_with(share=lambda matches, k: float(matches[:, :k].any(1).sum())),
            "This is the number of hits: divide it by the number of images.",
        ),
        Mistake(
            "tensor-instead-of-a-number",
            _recall_with(share=lambda matches, k: matches[:, :k].any(1).double().mean()),
            "This is a tensor: return a plain number, as .item() gives.",
        ),
        Mistake(
            "ties-as-hits",
            _recall_with(),
            "An image of the own class that is only as near as one of another class counts as found, so that a network"
            " which has collapsed finds nearly everything: let those of other classes come first.",
        ),
    ),
    alternatives=(_recall_by_counting, _recall_by_sorting),
)

EXERCISES = (KD, ATTENTION, TRANSFER, DISTANCES, RKD_DISTANCE, ANGLES, RECALL)
