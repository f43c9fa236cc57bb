"""The exercises of lesson 08. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import kegnet as paper
from labkit.papers.relational_distillation import kd_loss


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _gradient(f: Callable, at: Tensor) -> Tensor:
    """The gradient of what `f(at)` returns, weighed by fixed numbers."""
    leaf = at.clone().requires_grad_()
    returned = f(leaf * 1)
    weighed = (returned * _normal(*returned.shape, seed=9)).sum()
    return torch.autograd.grad(weighed, leaf, allow_unused=True, materialize_grads=True)[0]


def _finite(x: Tensor) -> str:
    """For what right answers need not agree on, but must not make NaN of."""
    return "finite numbers" if torch.isfinite(x).all() else "NaN or infinite numbers"


def _twice(*batches: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.repeat_interleave(2, 0) for x in batches)


# ---- what leaves the generator --------------------------------------------------------------------------------------


def _standardize_by_rows(x: Tensor) -> Tensor:
    """A row for each channel of each image. A constant one has deviation 0, and its centred values are 0 already."""
    rows = x.flatten(2)
    deviations, means = torch.std_mean(rows, dim=2, keepdim=True)
    return ((rows - means) / torch.where(deviations > 0, deviations, 1)).view_as(x)


def _standardize_by_loop(x: Tensor) -> Tensor:
    def standardized(channel: Tensor) -> Tensor:
        centred = channel - channel.mean()
        length = (centred**2).sum()
        return centred * ((channel.numel() - 1) / length).sqrt() if length > 0 else 0 * channel

    return torch.stack([torch.stack([standardized(channel) for channel in image]) for image in x])


def _standardize_with_a_small_number(x: Tensor) -> Tensor:
    """So small that it changes no digit that counts; but where a channel is constant the gradient becomes huge."""
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-10)


def _divided(centred: Tensor, deviation: Tensor) -> Tensor:
    return centred / torch.where(deviation > 0, deviation, 1)


def _standardize_with(
    *,
    over: tuple[int, ...] = (2, 3),
    centre: Callable = lambda x, mean: x - mean,
    deviation: Callable = lambda x, over: x.std(over, keepdim=True),
    divide: Callable = _divided,
) -> Callable:
    """A wrong standardize_images: the parts that are left out are right."""
    return lambda x: divide(centre(x, x.mean(over, keepdim=True)), deviation(x, over))


def _deviation_of_channels(x: Tensor, over: tuple[int, ...]) -> Tensor:
    return x.std(over, correction=min(1, x.shape[1] - 1), keepdim=True)  # of a single one, 0


def _between_minus_1_and_1(x: Tensor) -> Tensor:
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(most > least, 2 * (x - least) / torch.where(most > least, most - least, 1) - 1, 0)


def _standardize_without_learning_it(x: Tensor) -> Tensor:
    deviations, means = torch.std_mean(x.detach(), (2, 3), keepdim=True)
    return _divided(x - means, deviations)


def _constant_kept(x: Tensor) -> Tensor:
    deviation = x.std((2, 3), keepdim=True)
    return torch.where(deviation > 0, _divided(x - x.mean((2, 3), keepdim=True), deviation), x)


def _one_constant() -> Tensor:
    """Two images of two channels, one of which is 0.5 everywhere: a number without rounding."""
    x = _normal(2, 2, 4, 4)
    x[1, 0] = 0.5
    return x


def _gradient_beside_a_constant(f: Callable) -> tuple[Tensor, str]:
    gradient = _gradient(f, _one_constant())
    return torch.cat([gradient[0], gradient[1, 1:]]), _finite(gradient)


# As many images as channels, rows and columns: a wrong axis is no error anyway, but then not even a wrong shape.
STANDARDIZE = Exercise(
    name="standardize_images",
    reference=paper.standardize_images,
    probes=(
        Probe("one channel of 2 x 2, 1 ... 4", lambda f: f(torch.arange(1.0, 5.0).view(1, 1, 2, 2))),
        Probe("3 images, 3 channels of 3 x 3", lambda f: f(_normal(3, 3, 3, 3))),
        Probe("2 images, 3 channels of 4 rows and 5 columns", lambda f: f(_normal(2, 3, 4, 5, seed=1))),
        Probe(
            "the same, 7 times as strong and 3 brighter: no change", lambda f: f(7 * _normal(2, 3, 4, 5, seed=1) + 3)
        ),
        Probe("images of little contrast, +- 0.001", lambda f: f(1e-3 * _normal(2, 2, 4, 4))),
        Probe("a channel that is 0.5 everywhere", lambda f: f(_one_constant())),
        Probe("an image that is 0 everywhere", lambda f: f(torch.zeros(1, 1, 4, 4))),
        Probe("the gradient where a channel is 0.5 everywhere", _gradient_beside_a_constant, rtol=1e-3),
        Probe("the gradient with respect to the images", lambda f: _gradient(f, _normal(3, 3, 3, 3)), rtol=1e-3),
    ),
    hints=(
        "Over which axes of (B, C, H, W) is the mean taken, if each channel of each image is to have mean 0 by itself?",
        "Subtract x.mean((2, 3), keepdim=True), then divide by x.std((2, 3), keepdim=True). Where that is 0, 0 / 0 is"
        " NaN: divide by something else there, before any NaN comes up, since its gradient would stay NaN.",
        "centred = x - x.mean((2, 3), keepdim=True); std = x.std((2, 3), keepdim=True); return centred /"
        " torch.where(std > 0, std, 1)",
    ),
    mistakes=(
        Mistake(
            "mean-not-subtracted",
            _standardize_with(centre=lambda x, mean: x, divide=lambda x, std: _divided(x, std) * (std > 0)),
            "The mean is not subtracted, so that it is not 0: do so before you divide.",
        ),
        Mistake(
            "only-centred",
            _standardize_with(divide=lambda centred, deviation: centred),
            "The images have mean 0 but still their own contrast: divide by the standard deviation, too.",
        ),
        Mistake(
            "divided-by-the-variance",
            _standardize_with(deviation=lambda x, over: x.var(over, keepdim=True)),
            "This divides by the variance: divide by its root, the standard deviation.",
        ),
        Mistake(
            "multiplied",
            _standardize_with(divide=lambda centred, deviation: centred * deviation),
            "This multiplies by the standard deviation, which makes differences of contrast larger: divide by it.",
        ),
        Mistake(
            "divided-by-n",
            _standardize_with(deviation=lambda x, over: x.std(over, correction=0, keepdim=True)),
            "The squares are divided by H W: the unbiased deviation that is asked for divides by H W - 1, as std does.",
        ),
        Mistake(
            "number-in-the-variance",
            _standardize_with(
                deviation=lambda x, over: x.var(over, keepdim=True), divide=lambda c, v: c / (v + 1e-5).sqrt()
            ),
            "1e-5 is added to the variance, so that images of little contrast do not get deviation 1: deal with"
            " constant ones by themselves, or add much less.",
        ),
        Mistake(
            "number-in-the-deviation",
            _standardize_with(divide=lambda centred, deviation: centred / (deviation + 1e-5)),
            "1e-5 is added to the deviation, so that images of little contrast do not get deviation 1: deal with"
            " constant ones by themselves, or add much less.",
        ),
        Mistake(
            "instance-norm",
            F.instance_norm,
            "F.instance_norm adds 1e-5 to the variance, and divides the squares by H W: x.std((2, 3), keepdim=True)"
            " does neither.",
        ),
        Mistake(
            "mean-absolute-deviation",
            _standardize_with(
                deviation=lambda x, over: (x - x.mean(over, keepdim=True)).abs().mean(over, keepdim=True)
            ),
            "This divides by the mean absolute deviation: the standard deviation is the root of the mean square.",
        ),
        Mistake(
            "length-1",
            _standardize_with(deviation=lambda x, over: (x - x.mean(over, keepdim=True)).norm(dim=over, keepdim=True)),
            "Each channel has length 1 now, so that its pixels shrink as it grows: divide by the deviation, the root of"
            " the mean square.",
        ),
        Mistake(
            "over-the-batch",
            _standardize_with(over=(0, 2, 3)),
            "Mean and deviation are those of the batch, as in batch normalization: each image has its own, (2, 3).",
        ),
        Mistake(
            "over-the-channels",
            _standardize_with(over=(1, 2, 3)),
            "All channels of an image share one mean and deviation: each has its own, (2, 3).",
        ),
        Mistake(
            "over-everything",
            _standardize_with(over=(0, 1, 2, 3)),
            "One mean and one deviation serve the whole batch: each channel of each image has its own, (2, 3).",
        ),
        Mistake(
            "pixel-by-pixel",
            _standardize_with(over=(1,), deviation=_deviation_of_channels),
            "Mean and deviation are taken across the channels at each pixel: take them over the pixels, (2, 3).",
        ),
        Mistake(
            "row-by-row",
            _standardize_with(over=(3,)),
            "Each row of pixels has its own mean and deviation: take them over rows and columns, (2, 3).",
        ),
        Mistake(
            "minus-1-to-1",
            _between_minus_1_and_1,
            "The values are stretched from -1 to 1, by the darkest and the brightest pixel: use mean and deviation.",
        ),
        Mistake(
            "constant-kept",
            _constant_kept,
            "A constant channel keeps its value: its mean is to be 0 as well, so return 0 there.",
        ),
        Mistake(
            "nan-of-a-constant",
            _standardize_with(divide=lambda centred, deviation: centred / deviation),
            "A constant channel has deviation 0, and 0 / 0 gives NaN: divide by something else there.",
        ),
        Mistake(
            "nan-gradient-of-a-constant",
            _standardize_with(divide=lambda c, deviation: torch.where(deviation > 0, c / deviation, 0)),
            "The values are right, but the NaN of a constant channel, though replaced, comes back in its gradient:"
            " replace the deviation before you divide by it.",
        ),
        Mistake(
            "statistics-held-constant",
            _standardize_without_learning_it,
            "The values are right, but mean and deviation are cut off from the graph, so that the generator is pushed"
            " to change what is taken away again: leave out detach or no_grad.",
        ),
    ),
    alternatives=(_standardize_by_rows, _standardize_by_loop, _standardize_with_a_small_number),
)


# ---- classifier loss ------------------------------------------------------------------------------------------------


def _classifier_by_logsumexp(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """log softmax(a)_k = a_k - log sum exp(a)."""
    costs = logits.logsumexp(1, keepdim=True) - logits  # (B, classes)
    return torch.lerp((labels * costs).sum(1), costs.mean(1), smoothing).mean()


def _classifier_by_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _classifier_with(
    *,
    soften: Callable = lambda y, s, K: (1 - s) * y + s / K,
    log_p: Callable = lambda logits: logits.log_softmax(1),
    cost: Callable = lambda y, log_p: -y * log_p,
    reduce: Callable = lambda costs: costs.sum(1).mean(),
) -> Callable:
    """A wrong classifier_loss: the parts that are left out are right."""

    def classifier_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        return reduce(cost(soften(labels, smoothing, labels.shape[1]), log_p(logits)))

    return classifier_loss


def _smoothed_answers(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    answers = (1 - smoothing) * logits.softmax(1) + smoothing / labels.shape[1]
    return -(labels * answers.log()).sum(1).mean()


def _smoothed_logits(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    return paper.classifier_loss((1 - smoothing) * logits + smoothing / labels.shape[1], labels)


def _smoothed_by_the_batch(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    return -(((1 - smoothing) * labels + smoothing / len(labels)) * logits.log_softmax(1)).sum(1).mean()


def _divergence_of_smoothed(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    wanted = (1 - smoothing) * labels + smoothing / labels.shape[1]
    return F.kl_div(logits.log_softmax(1), wanted, reduction="batchmean")


def _both_ways(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """As for ten yes-or-no questions."""
    wanted = (1 - smoothing) * labels + smoothing / labels.shape[1]
    return F.binary_cross_entropy_with_logits(logits, wanted)


def _labelled() -> tuple[Tensor, Tensor]:
    """As many images as classes, for which a softmax along the wrong axis is no error but a wrong answer."""
    return 2 * _normal(4, 4), F.one_hot(torch.tensor([0, 2, 1, 1]), 4).float()


def _five_of_three() -> tuple[Tensor, Tensor]:
    return 2 * _normal(5, 3, seed=2), F.one_hot(torch.tensor([2, 0, 1, 0, 2]), 3).float()


def _soft() -> tuple[Tensor, Tensor]:
    return _labelled()[0], _normal(4, 4, seed=3).sigmoid()


CLASSIFIER = Exercise(
    name="classifier_loss",
    reference=paper.classifier_loss,
    probes=(
        Probe(
            "logits (2, 0, 0), asked for class 0",
            lambda f: f(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])),
        ),
        Probe("4 images, 4 classes, smoothing not given", lambda f: f(*_labelled())),
        Probe("4 images, 4 classes, smoothing 0.1", lambda f: f(*_labelled(), 0.1)),
        Probe("5 images, 3 classes, smoothing = 0.5", lambda f: f(*_five_of_three(), smoothing=0.5)),
        Probe("each image twice: the loss does not change", lambda f: f(*_twice(*_five_of_three()), 0.1)),
        Probe("logits + 3: the loss does not change", lambda f: f(_labelled()[0] + 3, _labelled()[1], 0.1)),
        Probe("soft labels that do not add up to 1", lambda f: f(*_soft())),
        Probe(
            "logits of 1000, of which the teacher is certain",
            lambda f: f(torch.tensor([[0.0, 1000.0, 960.0]]), torch.tensor([[0.0, 0.0, 1.0]])),
        ),
        Probe(
            "the gradient with respect to the logits, smoothing 0.2",
            lambda f: _gradient(lambda logits: f(logits, _labelled()[1], 0.2), _labelled()[0]),
        ),
    ),
    hints=(
        "The label is what the generator was asked for, the logits are what the teacher saw. Which of the two is to be"
        " softened?",
        "The wanted distribution is (1 - smoothing) * labels + smoothing / classes: each class gets the same small"
        " share. Multiply it by log_softmax of the logits, sum over the classes, take the mean over the images, minus.",
        "wanted = (1 - smoothing) * labels + smoothing / labels.shape[1]; return -(wanted *"
        " logits.log_softmax(1)).sum(1).mean()",
    ),
    mistakes=(
        Mistake(
            "sign",
            _classifier_with(cost=lambda y, log_p: y * log_p),
            "The sign is missing: logarithms of probabilities are negative, and a loss must fall as they rise.",
        ),
        Mistake(
            "probabilities",
            _classifier_with(cost=lambda y, log_p: -y * log_p.exp()),
            "These are the probabilities themselves: take their logarithms, log_softmax.",
        ),
        Mistake(
            "no-softmax",
            _classifier_with(log_p=lambda logits: logits),
            "The logits are taken for log-probabilities: log_softmax makes these of them.",
        ),
        Mistake(
            "softmax-twice",
            _classifier_with(log_p=lambda logits: logits.softmax(1).log_softmax(1)),
            "The softmax is taken twice, which leaves nearly equal probabilities: log_softmax wants the logits.",
        ),
        Mistake(
            "logarithm-of-softmax",
            _classifier_with(log_p=lambda logits: logits.softmax(1).log()),
            "A probability too small for a float becomes 0 and its logarithm infinite, and 0 times that is NaN: use"
            " log_softmax instead of softmax and log.",
        ),
        Mistake(
            "number-in-the-logarithm",
            _classifier_with(log_p=lambda logits: (logits.softmax(1) + 1e-8).log()),
            "1e-8 is added to the probabilities, so that the loss stops rising where the teacher is certain of another"
            " class, and nothing is learned there: use log_softmax.",
        ),
        Mistake(
            "softmax-over-the-batch",
            _classifier_with(log_p=lambda logits: logits.log_softmax(0)),
            "The softmax runs over the images: the probabilities of one image add up to 1, along axis 1.",
        ),
        Mistake(
            "mean-over-classes",
            _classifier_with(reduce=lambda costs: costs.mean()),
            "The mean runs over the classes, too: sum over them, and take the mean over the images.",
        ),
        Mistake(
            "sum-over-images",
            _classifier_with(reduce=lambda costs: costs.sum()),
            "The loss is summed over the images, so that it grows with the batch: take the mean.",
        ),
        Mistake(
            "one-number-an-image",
            _classifier_with(reduce=lambda costs: costs.sum(1)),
            "The mean over the images is missing: a loss is one number.",
        ),
        Mistake(
            "in-bits",
            _classifier_with(cost=lambda y, log_p: -y * log_p / math.log(2)),
            "This is in bits: nats are asked for, the natural logarithm.",
        ),
        Mistake(
            "one-against-all",
            _both_ways,
            "Each class is judged by itself, with a sigmoid: the classes of one image share a softmax.",
        ),
        Mistake(
            "squared-differences",
            _classifier_with(cost=lambda y, log_p: (y - log_p.exp()).square()),
            "These are squared differences of label and probability, with hardly a slope where the teacher is certain"
            " of another class: take the cross-entropy.",
        ),
        Mistake(
            "largest-label-only",
            _classifier_with(soften=lambda y, s, K: (1 - s) * F.one_hot(y.argmax(1), K) + s / K),
            "Soft labels are made hard, only the largest number counts: multiply all of them with their logarithms.",
        ),
        Mistake(
            "labels-made-a-distribution",
            _classifier_with(soften=lambda y, s, K: (1 - s) * y / y.sum(1, keepdim=True) + s / K),
            "The labels are divided by their sum: they are taken as they come, even if they do not add up to 1.",
        ),
        Mistake(
            "smoothing-ignored",
            _classifier_with(soften=lambda y, s, K: y),
            "The smoothing changes nothing: mix the labels with it, (1 - smoothing) * labels + smoothing / classes.",
        ),
        Mistake(
            "smoothed-answers",
            _smoothed_answers,
            "The teacher's probabilities are smoothed: it is the labels that should be.",
        ),
        Mistake(
            "smoothed-logits",
            _smoothed_logits,
            "The teacher's logits are smoothed: it is the labels that should be.",
        ),
        Mistake(
            "nothing-for-the-others",
            _classifier_with(soften=lambda y, s, K: (1 - s) * y),
            "The label loses its share, but nobody gets it, so that the loss is only scaled: add smoothing / classes.",
        ),
        Mistake(
            "nothing-taken-from-the-label",
            _classifier_with(soften=lambda y, s, K: y + s / K),
            "Each class gets a share, but the label loses none, so that they add up to more than 1: multiply the labels"
            " by 1 - smoothing.",
        ),
        Mistake(
            "whole-smoothing-for-each",
            _classifier_with(soften=lambda y, s, K: (1 - s) * y + s),
            "Each class gets the whole smoothing, so that they add up to more than 1: divide it by the classes.",
        ),
        Mistake(
            "shared-among-the-others",
            _classifier_with(soften=lambda y, s, K: (1 - s) * y + s / (K - 1) * (1 - y)),
            "The smoothing is shared among the other classes alone: here all of them get a share, the right one, too,"
            " smoothing / classes each.",
        ),
        Mistake(
            "divided-by-the-batch",
            _smoothed_by_the_batch,
            "The smoothing is divided by the number of images: divide by the number of classes, labels.shape[1].",
        ),
        Mistake(
            "weights-exchanged",
            _classifier_with(soften=lambda y, s, K: s * y + (1 - s) / K),
            "The two weights are exchanged: with smoothing 0 the labels stay as they are, (1 - smoothing) * labels.",
        ),
        Mistake(
            "entropy-subtracted",
            _divergence_of_smoothed,
            "F.kl_div also subtracts the entropy of what is wanted, which is 0 for one-hot labels alone: the"
            " cross-entropy is asked for, without it.",
        ),
    ),
    alternatives=(_classifier_by_logsumexp, _classifier_by_cross_entropy),
)


# ---- decoder loss ---------------------------------------------------------------------------------------------------


def _decoder_by_mse(z: Tensor, decoded: Tensor) -> Tensor:
    return F.mse_loss(decoded, z)


def _decoder_by_products(z: Tensor, decoded: Tensor) -> Tensor:
    gap = (decoded - z).flatten()
    return gap @ gap / len(gap)


def _decoder_by_loop(z: Tensor, decoded: Tensor) -> Tensor:
    total = sum(((a - b) ** 2).sum() for a, b in zip(z, decoded, strict=True))
    return total / (z.shape[0] * z.shape[1])


def _gaps(reduce: Callable) -> Callable:
    """A wrong decoder_loss: reduce(z - decoded), (B, latent) -> scalar."""
    return lambda z, decoded: reduce(z - decoded)


def _latents() -> tuple[Tensor, Tensor]:
    """As many z as numbers in each: an axis that is wrong is no error."""
    return _normal(4, 4), 2 * _normal(4, 4, seed=1)


DECODER = Exercise(
    name="decoder_loss",
    reference=paper.decoder_loss,
    probes=(
        Probe(
            "z (1, 2) and (0, 0), decoded (0, 0) and (3, 0)",
            lambda f: f(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])),
        ),
        Probe("4 z of 4 numbers", lambda f: f(*_latents())),
        Probe("6 z of 3 numbers", lambda f: f(_normal(6, 3), _normal(6, 3, seed=1))),
        Probe("each z twice: the loss does not change", lambda f: f(*_twice(*_latents()))),
        Probe("z = decoded: no loss", lambda f: f(_normal(4, 4), _normal(4, 4))),
        Probe("the gradient where z = decoded", lambda f: _gradient(lambda d: f(_normal(4, 4), d), _normal(4, 4))),
        Probe(
            "the gradient with respect to what was decoded",
            lambda f: _gradient(lambda decoded: f(_latents()[0], decoded), _latents()[1]),
        ),
    ),
    hints=(
        "The decoder answers with as many numbers as z has. How wrong is each of them, and which sign must not matter?",
        "Subtract one from the other, square each difference, and take the mean over all numbers, those of one z and"
        " all z of the batch: so alpha need not follow the size of either.",
        "return (z - decoded).square().mean()",
    ),
    mistakes=(
        Mistake(
            "sum",
            _gaps(lambda gaps: gaps.square().sum()),
            "The squares are summed, so that the loss grows with the batch: take their mean over all numbers.",
        ),
        Mistake(
            "sum-over-latents",
            _gaps(lambda gaps: gaps.square().sum(1).mean()),
            "The squares of one z are summed, |z - Dec(x)|^2: take the mean over its numbers, too, as published.",
        ),
        Mistake(
            "divided-by-10",
            _gaps(lambda gaps: gaps.square().sum() / (10 * len(gaps))),
            "This divides by 10 for each z, however many numbers it has: divide by as many as there are, z.shape[1].",
        ),
        Mistake(
            "sum-over-the-batch",
            _gaps(lambda gaps: gaps.square().mean(1).sum()),
            "The mean runs over the numbers of a z alone, and the batch is summed: take the mean over both.",
        ),
        Mistake(
            "one-number-a-z",
            _gaps(lambda gaps: gaps.square().mean(1)),
            "The mean over the batch is missing: a loss is one number.",
        ),
        Mistake(
            "half",
            _gaps(lambda gaps: gaps.square().mean() / 2),
            "This is half of the mean square: leave out the half.",
        ),
        Mistake(
            "not-squared",
            _gaps(lambda gaps: gaps.mean()),
            "The differences are averaged with their signs, so that they cancel: square them first.",
        ),
        Mistake(
            "squared-after-the-mean",
            _gaps(lambda gaps: gaps.mean().square()),
            "The mean difference is squared, in which signs have cancelled: square first, then average.",
        ),
        Mistake(
            "absolute-differences",
            _gaps(lambda gaps: gaps.abs().mean()),
            "The differences are taken absolute: square them.",
        ),
        Mistake(
            "root",
            _gaps(lambda gaps: gaps.square().mean().sqrt()),
            "A root is taken, whose gradient is NaN at 0: the published loss is the mean square itself.",
        ),
        Mistake(
            "distance",
            _gaps(lambda gaps: gaps.norm(dim=1).mean()),
            "These are Euclidean distances, with a root: the published loss is the mean of the squares.",
        ),
        Mistake(
            "huber",
            lambda z, decoded: F.smooth_l1_loss(decoded, z),
            "This is the Huber loss, half of the square and straight beyond 1: take the squares themselves.",
        ),
        Mistake(
            "one-minus-the-cosine",
            lambda z, decoded: 1 - F.cosine_similarity(z, decoded).mean(),
            "This compares directions, and lengths are free: compare the numbers, their squared differences.",
        ),
        Mistake(
            "every-z-with-every-other",
            lambda z, decoded: (z[:, None] - decoded).square().mean(),
            "Every z is compared with what was decoded from all the others, too: compare z_i with row i alone.",
        ),
        Mistake(
            "sign",
            _gaps(lambda gaps: -gaps.square().mean()),
            "The sign is wrong: the loss must be smallest, 0, where the decoder is right.",
        ),
    ),
    alternatives=(_decoder_by_mse, _decoder_by_products, _decoder_by_loop),
)


# ---- diversity loss -------------------------------------------------------------------------------------------------


def _squares_of(z: Tensor) -> Tensor:
    """|z_i - z_j|^2 / latent, (B, B)."""
    return (z[:, None] - z).square().mean(2)


def _distances_of(x: Tensor) -> Tensor:
    """|x_i - x_j|_1 / P, (B, B)."""
    return (x.flatten(1)[:, None] - x.flatten(1)).abs().mean(2)


def _diversity_written_out(z: Tensor, x: Tensor) -> Tensor:
    return torch.exp(-(_squares_of(z) * _distances_of(x)).mean())


def _diversity_by_cdist(z: Tensor, x: Tensor) -> Tensor:
    rows = x.flatten(1)
    pairs = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist") ** 2 * torch.cdist(rows, rows, p=1)
    return pairs.div(z.shape[1] * rows.shape[1]).mean().neg().exp()


def _diversity_by_loop(z: Tensor, x: Tensor) -> Tensor:
    total = torch.zeros(())
    for z_i, x_i in zip(z, x, strict=True):
        for z_j, x_j in zip(z, x, strict=True):
            total = total + F.mse_loss(z_i, z_j) * F.l1_loss(x_i, x_j)
    return 1 / torch.exp(total / len(z) ** 2)


def _diversity_with(
    *,
    of_z: Callable = _squares_of,
    of_x: Callable = _distances_of,
    join: Callable = lambda of_z, of_x: of_z * of_x,
    reduce: Callable = lambda pairs: pairs.mean(),
    last: Callable = lambda mean: torch.exp(-mean),
) -> Callable:
    """A wrong diversity_loss: the parts that are left out are right."""
    return lambda z, x: last(reduce(join(of_z(z), of_x(x))))


def _different(pairs: Tensor) -> Tensor:
    """The entries of different images, all of a matrix but its diagonal."""
    return pairs[~torch.eye(len(pairs), dtype=torch.bool)]


def _mean_before_the_product(z: Tensor, x: Tensor) -> Tensor:
    return torch.exp(-_squares_of(z).mean() * _distances_of(x).mean())


def _ratio(of_z: Tensor, of_x: Tensor) -> Tensor:
    return of_x / (of_z + 1e-5)


def _neighbours(z: Tensor, x: Tensor) -> Tensor:
    rows = x.flatten(1)
    of_z, of_x = (z - z.roll(1, 0)).square().mean(1), (rows - rows.roll(1, 0)).abs().mean(1)
    return torch.exp(-(of_z * of_x).mean())


def _two_points() -> tuple[Tensor, Tensor]:
    return torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.stack([torch.zeros(4), torch.ones(4)])


def _four() -> tuple[Tensor, Tensor]:
    """As many images as latents and pixels: an axis that is wrong is no error."""
    return _normal(4, 4), _normal(4, 1, 2, 2, seed=1) / 2


def _eight() -> tuple[Tensor, Tensor]:
    return _normal(8, 3), _normal(8, 2, 3, 4, seed=1) / 3


def _eight_of_which_two_alike() -> Tensor:
    x = _eight()[1]
    x[3] = x[5]
    return x


def _of_images(f: Callable, x: Tensor) -> Tensor:
    return _gradient(lambda images: f(_eight()[0], images), x)


DIVERSITY = Exercise(
    name="diversity_loss",
    reference=paper.diversity_loss,
    probes=(
        Probe("z (0, 0) and (2, 0), x four zeros and four ones", lambda f: f(*_two_points())),
        Probe("4 z of 4 numbers, 4 images of 1 x 2 x 2", lambda f: f(*_four())),
        Probe("8 z of 3 numbers, 8 images of 2 x 3 x 4", lambda f: f(*_eight())),
        Probe("rows of 5 features instead of images", lambda f: f(_normal(6, 3), _normal(6, 5, seed=1) / 2)),
        Probe("each z and image twice: the loss does not change", lambda f: f(*_twice(*_eight()))),
        Probe("images twice as different", lambda f: f(_eight()[0], 2 * _eight()[1])),
        Probe("images all alike: exactly 1", lambda f: f(_eight()[0], torch.ones(8, 1, 2, 2))),
        Probe("a single image", lambda f: f(torch.ones(1, 3), torch.ones(1, 1, 2, 2))),
        Probe("the gradient of 8 images, 2 of which are alike", lambda f: _of_images(f, _eight_of_which_two_alike())),
        Probe("the gradient of 8 images", lambda f: _of_images(f, _eight()[1]), atol=1e-7),
    ),
    hints=(
        "Two images may be alike if their z are. What is to be large for a pair whose z lie far apart? And how does a"
        " number that should be large become a loss that never falls below 0?",
        "For each pair (i, j), i = j included: the mean square difference of the z times the mean absolute difference"
        " of the x, all numbers of x in one row. Then the mean over the B^2 pairs, and exp(-mean).",
        "rows = x.flatten(1); return torch.exp(-((z[:, None] - z).square().mean(2) * (rows[:, None] -"
        " rows).abs().mean(2)).mean())",
    ),
    mistakes=(
        Mistake(
            "sign",
            _diversity_with(last=torch.exp),
            "The minus is missing, so that the loss rises as the images become more different: exp(-mean).",
        ),
        Mistake(
            "no-exponential",
            _diversity_with(last=lambda mean: -mean),
            "The exponential is missing, so that the loss falls without end as images differ more: exp(-mean).",
        ),
        Mistake(
            "neither-sign-nor-exponential",
            _diversity_with(last=lambda mean: mean),
            "This is the diversity itself, which would be minimized: the loss is exp(-mean).",
        ),
        Mistake(
            "one-minus-instead-of-exponential",
            _diversity_with(last=lambda mean: 1 - mean),
            "1 - mean agrees with the loss only where images hardly differ, and falls below 0: take exp(-mean).",
        ),
        Mistake(
            "exponential-of-each-pair",
            _diversity_with(join=lambda of_z, of_x: torch.exp(-of_z * of_x), last=lambda mean: mean),
            "The exponential is taken of each pair, before the mean: take the mean over the pairs first.",
        ),
        Mistake(
            "sum-over-pairs",
            _diversity_with(reduce=lambda pairs: pairs.sum()),
            "The pairs are summed, so that exp(-sum) is 0 for any real batch and has no slope: take the mean over the"
            " B^2 pairs, as published.",
        ),
        Mistake(
            "divided-by-the-batch",
            _diversity_with(reduce=lambda pairs: pairs.sum() / len(pairs)),
            "The sum over pairs is divided by B, so that it grows with the batch: there are B^2 pairs.",
        ),
        Mistake(
            "different-images-only",
            _diversity_with(reduce=lambda pairs: _different(pairs).mean()),
            "The mean leaves out i = j, so that it depends on the batch, and is NaN for a single image: divide by"
            " B^2, as published; where each pair is there once, as from pdist, add it twice.",
        ),
        Mistake(
            "each-pair-once",
            _diversity_with(reduce=lambda pairs: pairs.triu().mean()),
            "Each pair is counted once, but divided as if it were counted twice: add both (i, j) and (j, i).",
        ),
        Mistake(
            "neighbours-only",
            _neighbours,
            "Each image is compared with one other: compare all pairs.",
        ),
        Mistake(
            "images-alone",
            _diversity_with(join=lambda of_z, of_x: of_x),
            "The distances of the z are missing: images may be alike where their z are, so weigh each pair by them.",
        ),
        Mistake(
            "latents-alone",
            lambda z, x: torch.exp(-_squares_of(z).mean()) + 0 * x.sum(),
            "The distances of the images are missing, so that nothing can be learned: multiply each pair by them.",
        ),
        Mistake(
            "images-as-latents",
            lambda z, x: _diversity_with(of_z=_squares_of)(x.flatten(1), x),
            "Both factors measure images: the first is the distance of the z.",
        ),
        Mistake(
            "latents-as-images",
            lambda z, x: _diversity_with()(z, z) + 0 * x.sum(),
            "Both factors measure the z: the second is the distance of the images.",
        ),
        Mistake(
            "added",
            _diversity_with(join=torch.add),
            "The two distances are added, so that it does not matter which z an image was made of: multiply them, pair"
            " by pair.",
        ),
        Mistake(
            "means-multiplied",
            _mean_before_the_product,
            "The means of both distances are multiplied, so that it does not matter which pairs differ: multiply pair"
            " by pair, then take the mean.",
        ),
        Mistake(
            "ratio",
            _diversity_with(join=_ratio),
            "The distance of the images is divided by that of the z, as in other losses against collapse: multiply.",
        ),
        Mistake(
            "latents-not-squared",
            _diversity_with(of_z=lambda z: (z[:, None] - z).norm(dim=2) / z.shape[1]),
            "The distance of the z has a root: published is its square, |z_i - z_j|^2.",
        ),
        Mistake(
            "latents-absolute",
            _diversity_with(of_z=_distances_of),
            "The differences of the z are taken absolute: square them; the absolute ones are those of x.",
        ),
        Mistake(
            "images-squared",
            _diversity_with(of_x=lambda x: _squares_of(x.flatten(1))),
            "The differences of the images are squared: take them absolute, |x_i - x_j|_1; the squared ones are of z.",
        ),
        Mistake(
            "norms-exchanged",
            _diversity_with(of_z=_distances_of, of_x=lambda x: _squares_of(x.flatten(1))),
            "The two norms are exchanged: the differences of z are squared, those of x taken absolute.",
        ),
        Mistake(
            "latents-summed",
            _diversity_with(of_z=lambda z: (z[:, None] - z).square().sum(2)),
            "The squares of one z are summed: divide by the number of latents, as published.",
        ),
        Mistake(
            "latents-divided-by-10",
            _diversity_with(of_z=lambda z: (z[:, None] - z).square().sum(2) / 10),
            "The squares of one z are divided by 10, however many there are: divide by the number of latents,"
            " z.shape[1].",
        ),
        Mistake(
            "pixels-summed",
            _diversity_with(of_x=lambda x: (x.flatten(1)[:, None] - x.flatten(1)).abs().sum(2)),
            "The pixels of one image are summed, so that the exponential is soon 0: divide by their number P.",
        ),
        Mistake(
            "neither-normalized",
            _diversity_with(
                of_z=lambda z: (z[:, None] - z).square().sum(2),
                of_x=lambda x: (x.flatten(1)[:, None] - x.flatten(1)).abs().sum(2),
            ),
            "Latents and pixels are summed, so that the exponential is soon 0: divide by the numbers of both.",
        ),
        Mistake(
            "divided-by-the-first-axis-of-an-image",
            _diversity_with(of_x=lambda x: (x.flatten(1)[:, None] - x.flatten(1)).abs().sum(2) / x.shape[1]),
            "The sum over pixels is divided by the channels alone: P is the number of all values of an image.",
        ),
    ),
    alternatives=(_diversity_written_out, _diversity_by_cdist, _diversity_by_loop),
)


# ---- Tucker-2 as three convolutions ---------------------------------------------------------------------------------


def _three_by_einsum(
    x: Tensor,
    core: Tensor,
    U_i: Tensor,
    U_o: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """A 1 x 1 convolution is a product of matrices, pixel by pixel."""
    h = F.conv2d(torch.einsum("bihw,ir->brhw", x, U_i), core, None, stride, padding)
    out = torch.einsum("brhw,or->bohw", h, U_o)
    return out if bias is None else out + bias[:, None, None]


def _three_by_unfolding(
    x: Tensor,
    core: Tensor,
    U_i: Tensor,
    U_o: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """Channels last, as they would be for linear layers."""
    h = F.linear(x.movedim(1, 3), U_i.T).movedim(3, 1)  # (B, r_i, H, W)
    windows = F.pad(h, 4 * (padding,)).unfold(2, core.shape[2], stride).unfold(3, core.shape[3], stride)
    h = torch.einsum("bqhwyx,pqyx->bhwp", windows, core)  # (B, H', W', r_o)
    return F.linear(h, U_o, bias).movedim(3, 1)


def _three_with(
    *,
    weights: Callable = lambda core, U_i, U_o: (U_i.T, core, U_o),
    biases: Callable = lambda bias: (None, None, bias),
    strides: Callable = lambda stride: (1, stride, 1),
    paddings: Callable = lambda padding: (0, padding, 0),
    between: Callable = lambda h: h,
) -> Callable:
    """A wrong three_convolutions: the parts that are left out are right."""

    def three_convolutions(
        x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride=1, padding=0
    ) -> Tensor:
        first, second, third = weights(core, U_i, U_o)
        kernels = (first[:, :, None, None], second, third[:, :, None, None])
        h = x
        for i, settings in enumerate(zip(kernels, biases(bias), strides(stride), paddings(padding), strict=True)):
            h = F.conv2d(between(h) if i else h, *settings)
        return h

    return three_convolutions


def _one_convolution(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride=1, padding=0
) -> Tensor:
    return F.conv2d(x, torch.einsum("op,pqhw,iq->oihw", U_o, core, U_i), bias, stride, padding)


def _bias_twice(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride=1, padding=0
) -> Tensor:
    out = paper.three_convolutions(x, core, U_i, U_o, bias, stride, padding)
    return out if bias is None else out + bias[:, None, None]


def _layers_filled(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride=1, padding=0
) -> Tensor:
    kernels, h = (U_i.T[:, :, None, None], core, U_o[:, :, None, None]), x
    for kernel, settings in zip(kernels, ((1, 0), (stride, padding), (1, 0)), strict=True):
        layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:], *settings, bias=False)
        layer.weight.data = kernel
        h = layer(h)
    return h if bias is None else h + bias[:, None, None]


def _exchanged(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride=1, padding=0
) -> Tensor:
    return paper.three_convolutions(x, core, U_i, U_o, bias, max(padding, 1), stride if padding else 0)


def _square(seed: int = 0) -> tuple[Tensor, ...]:
    """As many ranks as channels as pixels of the kernel: what is transposed is no error but a wrong answer."""
    sizes = (2, 3, 5, 6), (3, 3, 3, 3), (3, 3), (3, 3)
    return tuple(_normal(*size, seed=seed + i) / 2 for i, size in enumerate(sizes))


def _compressed(C_i: int = 6, C_o: int = 5, ranks: tuple[int, int] = (2, 4), k: int = 3) -> tuple[Tensor, ...]:
    r_i, r_o = ranks
    sizes = (2, C_i, 7, 8), (r_o, r_i, k, k), (C_i, r_i), (C_o, r_o)
    return tuple(_normal(*size, seed=i) / 2 for i, size in enumerate(sizes))


def _work(f: Callable, *given: Tensor, **settings: object) -> str:
    """Whether it takes more multiply-adds than three convolutions do."""
    counts = []
    for function in (f, paper.three_convolutions):
        with FlopCounterMode(display=False) as counter:
            function(*given, **settings)
        counts.append(counter.get_total_flops() // 2)
    found, needed = counts
    return f"at most {needed}" if found <= needed else f"{found}"


THREE = Exercise(
    name="three_convolutions",
    reference=paper.three_convolutions,
    probes=(
        Probe(
            "an image of 3 x 3 ones in 2 channels, ranks 1, all weights 1, bias 5",
            lambda f: f(
                torch.ones(1, 2, 3, 3), torch.ones(1, 1, 2, 2), torch.ones(2, 1), torch.ones(1, 1), 5 * torch.ones(1)
            ),
        ),
        Probe("3 channels before and after, ranks 3, kernel 3 x 3, no bias", lambda f: f(*_square())),
        Probe("the same with a bias", lambda f: f(*_square(), _normal(3, seed=7))),
        Probe("6 -> 5 channels, ranks (2, 4), bias", lambda f: f(*_compressed(), _normal(5, seed=7))),
        Probe("the same, stride 2, no bias", lambda f: f(*_compressed(), stride=2)),
        Probe("the same, padding 1, bias", lambda f: f(*_compressed(), _normal(5, seed=7), padding=1)),
        Probe("the same, stride 2, padding 1, bias", lambda f: f(*_compressed(), _normal(5, seed=7), 2, 1)),
        Probe("a kernel of 1 x 1, stride 2", lambda f: f(*_compressed(k=1), None, stride=2)),
        Probe("the multiply-adds that it takes, stride 2, padding 2", lambda f: _work(f, *_compressed(), None, 2, 2)),
        Probe("the multiply-adds that it takes, stride 1, no padding", lambda f: _work(f, *_compressed())),
        Probe(
            "the gradient with respect to U_i, stride 2, padding 1",
            lambda f: _gradient(lambda U_i: f(*_compressed()[:2], U_i, _compressed()[3], None, 2, 1), _compressed()[2]),
        ),
    ),
    hints=(
        "One convolution mixes channels and looks around at once. Which of the three looks around, and which only mix"
        " channels, so that they need no more than one pixel?",
        "C_i -> r_i by U_i, r_i -> r_o by the core, r_o -> C_o by U_o. A kernel is (out, in, height, width): U_i.T and"
        " U_o need two more axes, [:, :, None, None]. The core, which alone has a window, gets stride and padding, and"
        " the bias belongs to the channels that come last.",
        "h = F.conv2d(x, U_i.T[:, :, None, None]); h = F.conv2d(h, core, stride=stride, padding=padding); return"
        " F.conv2d(h, U_o[:, :, None, None], bias)",
    ),
    mistakes=(
        Mistake(
            "first-not-transposed",
            _three_with(weights=lambda core, U_i, U_o: (U_i, core, U_o)),
            "U_i is (C_i, r_i), but a kernel has its outputs first: transpose it, U_i.T[:, :, None, None].",
        ),
        Mistake(
            "first-reshaped",
            _three_with(weights=lambda core, U_i, U_o: (U_i.reshape(U_i.shape[::-1]), core, U_o)),
            "U_i is brought to (r_i, C_i) by reshape or view, which leaves its numbers in their order, so that they"
            " belong to other channels: transpose it, U_i.T.",
        ),
        Mistake(
            "third-transposed",
            _three_with(weights=lambda core, U_i, U_o: (U_i.T, core, U_o.T)),
            "U_o is transposed: it is (C_o, r_o), with the outputs first as a kernel has them, so take it as it is.",
        ),
        Mistake(
            "both-transposed-wrongly",
            _three_with(weights=lambda core, U_i, U_o: (U_i, core, U_o.T)),
            "The wrong one of the two factors is transposed: a kernel has its outputs first, which U_o has and U_i has"
            " not.",
        ),
        Mistake(
            "factors-exchanged",
            _three_with(weights=lambda core, U_i, U_o: (U_o.T, core, U_i)),
            "The two factors are exchanged: U_i makes r_i channels of those that come in, U_o makes those that go out.",
        ),
        Mistake(
            "core-transposed",
            _three_with(weights=lambda core, U_i, U_o: (U_i.T, core.transpose(0, 1), U_o)),
            "The channels of the core are exchanged: it is (r_o, r_i, k, k), as a kernel should be.",
        ),
        Mistake(
            "core-turned",
            _three_with(weights=lambda core, U_i, U_o: (U_i.T, core.mT, U_o)),
            "Rows and columns of the core are exchanged: take it as it is.",
        ),
        Mistake(
            "core-flipped",
            _three_with(weights=lambda core, U_i, U_o: (U_i.T, core.flip(2, 3), U_o)),
            "The core is flipped, as in the convolution of mathematics: F.conv2d does not flip, and neither did the"
            " layer that is replaced.",
        ),
        Mistake(
            "bias-forgotten",
            _three_with(biases=lambda bias: (None, None, None)),
            "The bias is lost: add it in the last convolution.",
        ),
        Mistake(
            "bias-in-the-first",
            _three_with(biases=lambda bias: (bias, None, None)),
            "The bias is added in the first convolution, whose channels are not those that it belongs to: it has C_o"
            " numbers, add it in the last.",
        ),
        Mistake(
            "bias-in-the-second",
            _three_with(biases=lambda bias: (None, bias, None)),
            "The bias is added in the second convolution, before the channels are mixed again: it has C_o numbers, add"
            " it in the last.",
        ),
        Mistake(
            "bias-twice",
            _bias_twice,
            "The bias is added twice: once is enough, in the last convolution.",
        ),
        Mistake(
            "stride-forgotten",
            _three_with(strides=lambda stride: (1, 1, 1)),
            "The stride is lost, so that the image that comes out is too large: give it to the second convolution.",
        ),
        Mistake(
            "stride-in-the-first",
            _three_with(strides=lambda stride: (stride, 1, 1)),
            "The first convolution skips pixels, before the window has seen them: the stride belongs to the second.",
        ),
        Mistake(
            "stride-in-the-third",
            _three_with(strides=lambda stride: (1, 1, stride)),
            "The values are right, but the second convolution computes pixels that the third skips: give the stride to"
            " the second, which does most of the work.",
        ),
        Mistake(
            "stride-in-all",
            _three_with(strides=lambda stride: (stride, stride, stride)),
            "Each of the three skips pixels: only one has the stride, the second.",
        ),
        Mistake(
            "padding-forgotten",
            _three_with(paddings=lambda padding: (0, 0, 0)),
            "The padding is lost, so that the image that comes out is too small: give it to the second convolution.",
        ),
        Mistake(
            "padding-in-the-first",
            _three_with(paddings=lambda padding: (padding, 0, 0)),
            "The values are right, but the first convolution works on the zeros at the border as well: give the padding"
            " to the second.",
        ),
        Mistake(
            "padding-in-the-third",
            _three_with(paddings=lambda padding: (0, 0, padding)),
            "The border is added after the window has passed, in the last convolution: the padding belongs to the"
            " second.",
        ),
        Mistake(
            "padding-in-all",
            _three_with(paddings=lambda padding: (padding, padding, padding)),
            "Each of the three adds a border: only one has the padding, the second.",
        ),
        Mistake(
            "stride-and-padding-exchanged",
            _exchanged,
            "Stride and padding are exchanged: name them, stride=stride, padding=padding.",
        ),
        Mistake(
            "relu-between",
            _three_with(between=Tensor.relu),
            "There is a ReLU between the convolutions: only without one are the three together one convolution.",
        ),
        Mistake(
            "kernel-put-together",
            _one_convolution,
            "The values are right, but the large kernel is put together again, so that nothing is saved: apply U_i.T,"
            " the core and U_o one after the other.",
        ),
        Mistake(
            "layers-filled",
            _layers_filled,
            "The values are right, but layers of nn have weights of their own, and what is copied into them gets no"
            " gradient: give the factors themselves to F.conv2d.",
        ),
    ),
    alternatives=(_three_by_einsum, _three_by_unfolding),
)


# ---- what a rank costs ----------------------------------------------------------------------------------------------


def _cost_by_layers(
    channels: tuple[int, int], k: int, ranks: tuple[int, int], pixels: tuple[int, int]
) -> tuple[int, int]:
    sizes = [channels[0], *ranks, channels[1]]
    layers = [nn.Conv2d(sizes[i], sizes[i + 1], (1, k, 1)[i], bias=i == 2) for i in range(3)]
    work = sum(layer.weight.numel() * pixels[i > 0] for i, layer in enumerate(layers))
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters()), work


def _cost_factored(
    channels: tuple[int, int], k: int, ranks: tuple[int, int], pixels: tuple[int, int]
) -> tuple[int, int]:
    C_i, C_o = channels
    r_i, r_o = ranks
    behind = r_o * (r_i * k * k + C_o)
    return r_i * C_i + behind + C_o, r_i * C_i * pixels[0] + behind * pixels[1]


def _cost_with(
    *,
    weights: Callable = lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, r_i * r_o * k**2, r_o * C_o),
    biases: Callable = lambda C_o, r_i, r_o: C_o,
    pixels_of: Callable = lambda before, after: (before, after, after),
    last: Callable = lambda parameters, work: (parameters, work),
) -> Callable:
    """A wrong tucker2_cost: the parts that are left out are right."""

    def tucker2_cost(channels: tuple[int, int], k: int, ranks: tuple[int, int], pixels: tuple[int, int]) -> tuple:
        (C_i, C_o), (r_i, r_o) = channels, ranks
        counts = weights(C_i, C_o, r_i, r_o, k)
        work = sum(count * many for count, many in zip(counts, pixels_of(*pixels), strict=True))
        return last(sum(counts) + biases(C_o, r_i, r_o), work)

    return tucker2_cost


def _cost_of_one_convolution(channels: tuple[int, int], k: int, ranks: tuple, pixels: tuple[int, int]) -> tuple:
    weights = channels[0] * channels[1] * k**2
    return weights + channels[1], weights * pixels[1]


def _work_with_biases(channels: tuple[int, int], k: int, ranks: tuple, pixels: tuple[int, int]) -> tuple:
    parameters, work = paper.tucker2_cost(channels, k, ranks, pixels)
    return parameters, work + channels[1] * pixels[1]


def _saved(channels: tuple[int, int], k: int, ranks: tuple, pixels: tuple[int, int]) -> tuple:
    before = _cost_of_one_convolution(channels, k, ranks, pixels)
    return tuple(one / other for one, other in zip(before, paper.tucker2_cost(channels, k, ranks, pixels), strict=True))


COST = Exercise(
    name="tucker2_cost",
    reference=paper.tucker2_cost,
    probes=(
        Probe(
            "conv3 of LeNet-5, 16 -> 120 channels, k = 5, ranks (7, 11), 25 pixels -> 1",
            lambda f: f((16, 120), 5, (7, 11), (25, 1)),
        ),
        Probe("its conv2, 6 -> 16 channels, ranks (3, 4), 196 -> 100", lambda f: f((6, 16), 5, (3, 4), (196, 100))),
        Probe("all of its ranks, which saves nothing", lambda f: f((6, 16), 5, (6, 16), (196, 100))),
        Probe("one component, ranks (1, 1)", lambda f: f((64, 32), 3, (1, 1), (81, 49))),
        Probe("64 -> 128 channels, stride 2", lambda f: f((64, 128), 3, (20, 30), (1024, 256))),
        Probe("a kernel of 1 x 1", lambda f: f((10, 12), 1, (3, 5), (49, 36))),
    ),
    hints=(
        "Three kernels, each with a weight for every pair of channels that it joins. How large is each of the windows?",
        "The weights are C_i r_i, r_i r_o k^2 and r_o C_o; the bias is C_o more. A weight multiplies once for each"
        " pixel that its convolution puts out: those before the window for the first, those after it for the others.",
        "first, second, third = C_i * r_i, r_i * r_o * k**2, r_o * C_o; return first + second + third + C_o, first *"
        " before + (second + third) * after",
    ),
    mistakes=(
        Mistake(
            "ranks-exchanged",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_o, r_i * r_o * k**2, r_i * C_o)),
            "The ranks are exchanged: r_i comes first, and belongs to the channels that go in.",
        ),
        Mistake(
            "window-not-squared",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, r_i * r_o * k, r_o * C_o)),
            "The window is counted as k: it has k rows and k columns, k^2.",
        ),
        Mistake(
            "window-forgotten",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, r_i * r_o, r_o * C_o)),
            "All three count as 1 x 1: the second has a window, r_i r_o k^2.",
        ),
        Mistake(
            "window-in-all",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i * k**2, r_i * r_o * k**2, r_o * C_o * k**2)),
            "All three count with the window: the first and the third are 1 x 1.",
        ),
        Mistake(
            "core-forgotten",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, 0, r_o * C_o)),
            "The core is missing, r_i r_o k^2: only the two factors are counted.",
        ),
        Mistake(
            "core-alone",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (0, r_i * r_o * k**2, 0)),
            "Only the core is counted: the two 1 x 1 convolutions have weights as well, C_i r_i and r_o C_o.",
        ),
        Mistake(
            "core-of-full-size",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, C_i * C_o * k**2, r_o * C_o)),
            "The core is counted with the channels of the layer: it joins r_i and r_o of them.",
        ),
        Mistake(
            "one-rank-for-both",
            _cost_with(weights=lambda C_i, C_o, r_i, r_o, k: (C_i * r_i, r_i * r_i * k**2, r_i * C_o)),
            "r_i stands for both ranks: the second convolution has r_o channels to give, the third those to take.",
        ),
        Mistake(
            "bias-forgotten",
            _cost_with(biases=lambda C_o, r_i, r_o: 0),
            "The bias is missing among the parameters: add C_o.",
        ),
        Mistake(
            "bias-in-all",
            _cost_with(biases=lambda C_o, r_i, r_o: r_i + r_o + C_o),
            "Each of the three has a bias here: only the last has one, C_o numbers.",
        ),
        Mistake(
            "bias-multiplied",
            _work_with_biases,
            "The bias is counted among the multiply-adds: nothing is multiplied by it.",
        ),
        Mistake(
            "all-at-the-end",
            _cost_with(pixels_of=lambda before, after: (after, after, after)),
            "The first convolution is counted on the pixels after the window: it works on those before, where there are"
            " more.",
        ),
        Mistake(
            "all-at-the-start",
            _cost_with(pixels_of=lambda before, after: (before, before, before)),
            "All three are counted on the pixels before the window: the second puts out those after it, and the third"
            " works on these.",
        ),
        Mistake(
            "second-at-the-start",
            _cost_with(pixels_of=lambda before, after: (before, before, after)),
            "The second convolution is counted on the pixels that it takes: its weights multiply once for each pixel"
            " that it puts out.",
        ),
        Mistake(
            "pixels-exchanged",
            _cost_with(pixels_of=lambda before, after: (after, before, before)),
            "The pixels before and after are exchanged: the first convolution works on those before.",
        ),
        Mistake(
            "pixels-squared",
            _cost_with(pixels_of=lambda before, after: (before**2, after**2, after**2)),
            "The pixels are squared, as if they were the side of the image: they are the number of all of them.",
        ),
        Mistake(
            "multiplications-and-additions",
            _cost_with(last=lambda parameters, work: (parameters, 2 * work)),
            "Multiplications and additions are counted apart: a multiply-add is one.",
        ),
        Mistake(
            "numbers-exchanged",
            _cost_with(last=lambda parameters, work: (work, parameters)),
            "The two numbers are exchanged: first the parameters, then the multiply-adds.",
        ),
        Mistake(
            "before-compression",
            _cost_of_one_convolution,
            "This is what the convolution costs that is replaced: add up the three that come in its place.",
        ),
        Mistake(
            "ratios",
            _saved,
            "These are ratios of compression: return the numbers themselves.",
        ),
    ),
    alternatives=(_cost_by_layers, _cost_factored),
)


# ---- distillation loss ----------------------------------------------------------------------------------------------


def _distillation_by_kd_loss(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    return kd_loss(student(x), teacher.eval()(x).detach(), 1.0)


def _distillation_of_a_frozen_teacher(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    teacher.eval().requires_grad_(False)
    return F.kl_div(F.log_softmax(student(x), -1), F.softmax(teacher(x), -1), reduction="sum") / len(x)


def _distillation_by_distributions(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    found = torch.distributions.Categorical(logits=student(x))
    teacher.eval()
    with torch.no_grad():
        wanted = torch.distributions.Categorical(logits=teacher(x))
    return torch.distributions.kl_divergence(wanted, found).mean()


def _as_published(teacher: nn.Module, x: Tensor) -> Tensor:
    teacher.eval()
    with torch.no_grad():
        return teacher(x)


def _distillation_with(
    *,
    ask: Callable = _as_published,
    answer: Callable = lambda student, x: student(x),
    log_softmax: Callable = lambda logits: logits.log_softmax(1),
    cost: Callable = lambda log_q, log_p: log_p.exp() * (log_p - log_q),
    reduce: Callable = lambda costs: costs.sum(1).mean(),
) -> Callable:
    """A wrong distillation_loss: the parts that are left out are right. q is the student's answer, p the teacher's."""

    def distillation_loss(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
        log_p = log_softmax(ask(teacher, x))
        return reduce(cost(log_softmax(answer(student, x)), log_p))

    return distillation_loss


def _without_a_gradient(teacher: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher(x)


def _logits_compared(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    return F.mse_loss(student(x), _as_published(teacher, x))


def _roles_exchanged(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    return paper.distillation_loss(teacher, student, x)


class _Answers(nn.Module):
    """A network that gives these logits, whatever it sees."""

    def __init__(self, *logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits * 1


def _network(classes: int, seed: int, dropout: float) -> nn.Sequential:
    """In training mode, with batch normalization far from the batches that it will see."""
    layers = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, classes))
    with torch.no_grad():
        for i, parameter in enumerate(layers.parameters()):
            parameter.copy_(_normal(*parameter.shape, seed=10 * seed + i))
        layers[1].running_mean.fill_(0.5)
        layers[1].running_var.fill_(2.0)
    return layers


def _student_in_use(f: Callable) -> Tensor:
    student, teacher = _student_and_teacher()
    return f(student.eval(), teacher, _normal(5, 3))


def _student_and_teacher(classes: int = 4) -> tuple[nn.Sequential, nn.Sequential]:
    return _network(classes, seed=1, dropout=0.0), _network(classes, seed=2, dropout=0.5)


def _fixed() -> tuple[nn.Module, nn.Module]:
    """As many images as classes: a softmax along the wrong axis is no error but a wrong answer."""
    return tuple(_Answers(*(2 * _normal(4, 4, seed=seed)).tolist()) for seed in (4, 5))


def _fixed_twice() -> tuple[nn.Module, nn.Module]:
    return tuple(_Answers(*network.logits.repeat_interleave(2, 0).tolist()) for network in _fixed())


def _above_the_teacher() -> tuple[nn.Module, nn.Module]:
    teacher = _fixed()[1]
    return _Answers(*(teacher.logits + 3).tolist()), teacher


def _teacher_afterwards(f: Callable) -> dict[str, Tensor]:
    student, teacher = _student_and_teacher()
    f(student, teacher, _normal(5, 3))
    return dict(teacher.state_dict())


def _gradient_of_student(f: Callable) -> Tensor:
    student, teacher = _student_and_teacher()
    return torch.autograd.grad(f(student, teacher, _normal(5, 3)), student[0].weight)[0]


def _who_learns(f: Callable) -> str:
    networks = dict(zip(("the student", "the teacher"), _student_and_teacher(), strict=True))
    weights = {who: network[-1].weight for who, network in networks.items()}
    loss = f(*networks.values(), _normal(5, 3))
    learning = {who: weight for who, weight in weights.items() if weight.requires_grad}  # a teacher may be frozen
    found = torch.autograd.grad(loss, list(learning.values()), allow_unused=True, materialize_grads=True)
    return " and ".join(who for who, gradient in zip(learning, found, strict=True) if gradient.any())


DISTILLATION = Exercise(
    name="distillation_loss",
    reference=paper.distillation_loss,
    probes=(
        Probe(
            "the student answers (0, 0), the teacher (ln 3, 0)",
            lambda f: f(_Answers([0.0, 0.0]), _Answers([math.log(3), 0.0]), torch.zeros(1, 3)),
        ),
        Probe("4 images, 4 classes", lambda f: f(*_fixed(), torch.zeros(4, 3))),
        Probe("each image twice: the loss does not change", lambda f: f(*_fixed_twice(), torch.zeros(8, 3))),
        Probe("student = teacher + 3: no loss", lambda f: f(*_above_the_teacher(), torch.zeros(4, 3))),
        Probe(
            "logits of 1000, and a class that the student alone takes for impossible",
            lambda f: f(_Answers([0.0, 1000.0, 960.0]), _Answers([0.0, 1002.0, 1000.0]), torch.zeros(1, 3)),
        ),
        Probe(
            "networks in training mode, with batch normalization, and dropout in the teacher",
            lambda f: f(*_student_and_teacher(), _normal(5, 3)),
        ),
        Probe("a student in evaluation mode", _student_in_use),
        Probe("the teacher's weights and buffers, afterwards", _teacher_afterwards),
        Probe("the gradient with respect to the student's weights", _gradient_of_student, rtol=1e-3),
        Probe("who learns", _who_learns),
    ),
    hints=(
        "The teacher is to be copied as it will be used, and must not change. In which mode does it answer, and what"
        " of it needs a gradient?",
        "teacher.eval(), then its softmax under torch.no_grad(); the student answers in whichever mode it is in. The"
        " divergence weighs by the teacher's probabilities: F.kl_div takes the student's log_softmax first, and"
        ' reduction="batchmean".',
        "teacher.eval(); with torch.no_grad(): wanted = teacher(x).softmax(1); return"
        ' F.kl_div(student(x).log_softmax(1), wanted, reduction="batchmean")',
    ),
    mistakes=(
        Mistake(
            "teacher-as-it-comes",
            _distillation_with(ask=lambda teacher, x: teacher(x)),
            "The teacher answers in training mode, with dropout and the batch's own statistics, which its buffers take"
            " on, and it learns along: call teacher.eval(), and ask it under torch.no_grad().",
        ),
        Mistake(
            "teacher-in-training-mode",
            _distillation_with(ask=_without_a_gradient),
            "The teacher answers in training mode, with dropout and the batch's own statistics, which its buffers take"
            " on even without a gradient: call teacher.eval() first.",
        ),
        Mistake(
            "teacher-learns",
            _distillation_with(ask=lambda teacher, x: teacher.eval()(x)),
            "The values are right, but a gradient flows into the teacher, which would learn from its student: ask it"
            " under torch.no_grad().",
        ),
        Mistake(
            "student-in-evaluation-mode",
            _distillation_with(answer=lambda student, x: student.eval()(x)),
            "The student is put into evaluation mode, so that its batch normalization does not follow the data that it"
            " learns from: leave it in its own mode.",
        ),
        Mistake(
            "student-in-training-mode",
            _distillation_with(answer=lambda student, x: student.train()(x)),
            "The student is put into training mode, in which it may not have been: leave it in its own mode.",
        ),
        Mistake(
            "roles-exchanged",
            _roles_exchanged,
            "Student and teacher are exchanged, so that the teacher learns from the student: mind their order.",
        ),
        Mistake(
            "divergence-the-wrong-way-round",
            _distillation_with(cost=lambda log_q, log_p: log_q.exp() * (log_q - log_p)),
            "This is KL(student || teacher), weighed by the student's own probabilities: the teacher comes first in the"
            " formula, and second in F.kl_div.",
        ),
        Mistake(
            "hard-labels",
            _distillation_with(cost=lambda log_q, log_p: -F.one_hot(log_p.argmax(1), log_p.shape[1]) * log_q),
            "Only the teacher's first choice is learned, as if it were a label: compare all its probabilities, which"
            " say more of an image that belongs to no class.",
        ),
        Mistake(
            "cross-entropy",
            _distillation_with(cost=lambda log_q, log_p: -log_p.exp() * log_q),
            "This is the cross-entropy, which is not 0 where both agree: the divergence also has the teacher's"
            " p log p.",
        ),
        Mistake(
            "logits-compared",
            _logits_compared,
            "The logits are compared, which may all be shifted without changing an answer: compare the probabilities,"
            " by their divergence.",
        ),
        Mistake(
            "squared-differences",
            _distillation_with(cost=lambda log_q, log_p: (log_p.exp() - log_q.exp()).square()),
            "These are squared differences of probabilities, which hardly see the small ones: take the divergence.",
        ),
        Mistake(
            "softmax-twice",
            _distillation_with(log_softmax=lambda logits: logits.softmax(1).log_softmax(1)),
            "The softmax is taken twice, which leaves nearly equal probabilities: it wants the logits.",
        ),
        Mistake(
            "softmax-over-the-batch",
            _distillation_with(log_softmax=lambda logits: logits.log_softmax(0)),
            "The softmax runs over the images: the probabilities of one image add up to 1, along axis 1.",
        ),
        Mistake(
            "logarithm-of-softmax",
            _distillation_with(
                log_softmax=lambda logits: logits.softmax(1).log(),
                cost=lambda log_q, log_p: F.kl_div(log_q, log_p.exp(), reduction="none"),
            ),
            "A probability too small for a float becomes 0, its logarithm infinite and the loss NaN: use log_softmax"
            " instead of softmax and log.",
        ),
        Mistake(
            "number-in-the-logarithm",
            _distillation_with(log_softmax=lambda logits: (logits.softmax(1) + 1e-8).log()),
            "1e-8 is added to the probabilities, so that the loss stops rising where the student is certain that its"
            " teacher is wrong: use log_softmax.",
        ),
        Mistake(
            "probabilities-instead-of-their-logarithms",
            _distillation_with(cost=lambda log_q, log_p: log_p.exp() * (log_p - log_q.exp())),
            "F.kl_div was given the student's probabilities: its first argument must be their logarithms, log_softmax.",
        ),
        Mistake(
            "logarithms-instead-of-probabilities",
            _distillation_with(cost=lambda log_q, log_p: F.kl_div(log_q, log_p, reduction="none")),
            "F.kl_div was given the teacher's log-probabilities as if they were probabilities: take softmax there, or"
            " say log_target=True.",
        ),
        Mistake(
            "temperature-4",
            _distillation_with(log_softmax=lambda logits: (logits / 4).log_softmax(1)),
            "The logits are divided by a temperature, as is usual in distillation: KegNet takes them as they are.",
        ),
        Mistake(
            "mean-over-classes",
            _distillation_with(reduce=lambda costs: costs.mean()),
            'The mean runs over the classes, too, as with reduction="mean": sum over them, "batchmean" does so.',
        ),
        Mistake(
            "sum-over-images",
            _distillation_with(reduce=lambda costs: costs.sum()),
            "The loss is summed over the images, so that it grows with the batch: take the mean over them.",
        ),
        Mistake(
            "one-number-an-image",
            _distillation_with(reduce=lambda costs: costs.sum(1)),
            "The mean over the images is missing: a loss is one number.",
        ),
    ),
    alternatives=(_distillation_by_kd_loss, _distillation_by_distributions, _distillation_of_a_frozen_teacher),
)

EXERCISES = (STANDARDIZE, CLASSIFIER, DECODER, DIVERSITY, THREE, COST, DISTILLATION)
