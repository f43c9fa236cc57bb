"""The exercises of lesson 08: plain answers, what they are tried with, and the mistakes that are called by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import gradient, normal
from labkit.papers import kegnet as paper


def _twice(*batches: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.repeat_interleave(2, 0) for x in batches)


# ---- what leaves the generator --------------------------------------------------------------------------------------


def standardize_images(x: Tensor) -> Tensor:
    """Images (B, C, H, W), each channel of each brought to mean 0 and standard deviation 1; a constant one is 0."""
    centered = x - x.mean((2, 3), keepdim=True)
    deviation = x.std((2, 3), keepdim=True)  # (B, C, 1, 1)
    return centered / torch.where(deviation > 0, deviation, 1)


def _one_constant() -> Tensor:
    """Two images of two channels, one of which is 0.5 everywhere: a number without rounding."""
    x = normal(2, 2, 4, 4)
    x[1, 0] = 0.5
    return x


def _gradient_beside_a_constant(f: Callable) -> tuple[Tensor, str]:
    """Of the constant channel itself right answers need not agree on a gradient, but it must not be NaN."""
    found = gradient(f, _one_constant())
    return torch.cat([found[0], found[1, 1:]]), "finite" if found.isfinite().all() else "NaN or infinite"


# As many images as channels, rows and columns: a wrong axis is no error anyway, but then not even a wrong shape.
STANDARDIZE = Exercise(
    name="standardize_images",
    reference=paper.standardize_images,
    answer=standardize_images,
    minutes=6,
    probes=(
        Probe("one channel of 2 x 2, 1 ... 4", lambda f: f(torch.arange(1.0, 5.0).view(1, 1, 2, 2))),
        Probe("3 images, 3 channels of 3 x 3", lambda f: f(normal(3, 3, 3, 3))),
        Probe("2 images, 3 channels of 4 rows and 5 columns", lambda f: f(normal(2, 3, 4, 5, seed=1))),
        Probe("2 images, 7 times as strong and 3 brighter: no change", lambda f: f(7 * normal(2, 3, 4, 5, seed=1) + 3)),
        Probe("images of little contrast, +- 0.001", lambda f: f(1e-3 * normal(2, 2, 4, 4))),
        Probe("a channel that is 0.5 everywhere", lambda f: f(_one_constant())),
        Probe("an image that is 0 everywhere", lambda f: f(torch.zeros(1, 1, 4, 4))),
        Probe("the gradient where a channel is 0.5 everywhere", _gradient_beside_a_constant, rtol=1e-3),
        Probe("the gradient of 3 images", lambda f: gradient(f, normal(3, 3, 3, 3)), rtol=1e-3),
    ),
    hints=(
        "Over which axes of (B, C, H, W) is the mean taken, if each channel of each image is to have mean 0 by itself?",
        "Subtract x.mean((2, 3), keepdim=True), then divide by x.std((2, 3), keepdim=True). Where that is 0, 0 / 0 is"
        " NaN: divide by something else there, before any NaN comes up, since its gradient would stay NaN.",
        skeleton(standardize_images, "x - x.mean((2, 3), keepdim=True)", "torch.where(deviation > 0, deviation, 1)"),
    ),
    mistakes=mistakes(
        standardize_images,
        """
        mean-not-subtracted: centered / torch => x * (deviation > 0) / torch
            The mean is not subtracted, so that it is not 0: do so before you divide.

        only-centered: centered / torch.where(deviation > 0, deviation, 1) => centered
            The images have mean 0 but still their own contrast: divide by the standard deviation, too.

        divided-by-the-variance: x.std( => x.var(
            This divides by the variance: divide by its root, the standard deviation.

        multiplied: / torch.where(deviation > 0, deviation, 1) => * deviation
            This multiplies by the standard deviation, which makes differences of contrast larger: divide by it.

        divided-by-n: x.std((2, 3), => x.std((2, 3), correction=0,
            The squares are divided by H W: the unbiased deviation that is asked for divides by H W - 1, as std does.

        number-in-the-variance: x.std((2, 3), keepdim=True) => (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
            1e-5 is added to the variance, so that images of little contrast do not get deviation 1: deal with constant
            ones by themselves, or add much less.

        number-in-the-deviation: x.std((2, 3), keepdim=True) => x.std((2, 3), keepdim=True) + 1e-5
            1e-5 is added to the deviation, so that images of little contrast do not get deviation 1: deal with constant
            ones by themselves, or add much less.

        instance-norm: centered / torch.where(deviation > 0, deviation, 1) => F.instance_norm(x)
            F.instance_norm adds 1e-5 to the variance, and divides by H W: x.std((2, 3), keepdim=True) does neither.

        mean-absolute-deviation: x.std((2, 3), keepdim=True) => centered.abs().mean((2, 3), keepdim=True)
            This divides by the mean absolute deviation: the standard deviation is the root of the mean square.

        length-1: x.std((2, 3), keepdim=True) => centered.norm(dim=(2, 3), keepdim=True)
            Each channel has length 1 now, so that its pixels shrink as it grows: divide by the root of the mean square.

        over-the-batch: x.mean((2, 3), => x.mean((0, 2, 3),
        + x.std((2, 3), => x.std((0, 2, 3),
            Mean and deviation are those of the batch, as in batch normalization: each image has its own, (2, 3).

        over-the-channels: x.mean((2, 3), => x.mean((1, 2, 3),
        + x.std((2, 3), => x.std((1, 2, 3),
            All channels of an image share one mean and deviation: each has its own, (2, 3).

        over-everything: x.mean((2, 3), => x.mean((0, 1, 2, 3),
        + x.std((2, 3), => x.std((0, 1, 2, 3),
            One mean and one deviation serve the whole batch: each channel of each image has its own, (2, 3).

        pixel-by-pixel: x.mean((2, 3), => x.mean(1,
        + x.std((2, 3), => x.std(1, correction=min(1, x.shape[1] - 1),
            Mean and deviation are taken across the channels at each pixel: take them over the pixels, (2, 3).

        row-by-row: x.mean((2, 3), => x.mean(3,
        + x.std((2, 3), => x.std(3,
            Each row of pixels has its own mean and deviation: take them over rows and columns, (2, 3).

        minus-1-to-1: x.mean((2, 3), keepdim=True) => x.amin((2, 3), keepdim=True)
        + x.std((2, 3), keepdim=True) => centered.amax((2, 3), keepdim=True) / 2
        + return centered => return -1.0 * (deviation > 0) + centered
            The values are stretched from -1 to 1, by the darkest and the brightest pixel: use mean and deviation.

        constant-kept: return centered => return torch.where(deviation > 0, centered, x)
            A constant channel keeps its value: its mean is to be 0 as well, so return 0 there.

        nan-of-a-constant: torch.where(deviation > 0, deviation, 1) => deviation
            A constant channel has deviation 0, and 0 / 0 gives NaN: divide by something else there.

        nan-gradient-of-a-constant: centered / torch.where => torch.where
        + deviation, 1) => centered / deviation, 0)
            The values are right, but the NaN of a constant channel, though replaced, comes back in its gradient:
            replace the deviation before you divide by it.

        statistics-held-constant: x - x.mean( => x - x.detach().mean(
        + x.std( => x.detach().std(
            The values are right, but mean and deviation are cut off from the graph, so that the generator is pushed to
            change what is taken away again: leave out detach or no_grad.
        """,
    ),
)


# ---- classifier loss ------------------------------------------------------------------------------------------------


def classifier_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Logits (B, classes) of the teacher, labels (B, classes) that were asked for -> a scalar, in nats."""
    wanted = (1 - smoothing) * labels + smoothing / labels.shape[1]
    return -(wanted * logits.log_softmax(1)).sum(1).mean()


def _labeled() -> tuple[Tensor, Tensor]:
    """As many images as classes, for which a softmax along the wrong axis is no error but a wrong answer."""
    return 2 * normal(4, 4), F.one_hot(torch.tensor([0, 2, 1, 1]), 4).float()


def _five_of_three() -> tuple[Tensor, Tensor]:
    return 2 * normal(5, 3, seed=2), F.one_hot(torch.tensor([2, 0, 1, 0, 2]), 3).float()


CLASSIFIER = Exercise(
    name="classifier_loss",
    reference=paper.classifier_loss,
    answer=classifier_loss,
    minutes=8,
    importance=3,
    probes=(
        Probe("logits (2, 0, 0), asked for class 0", lambda f: f(torch.tensor([[2.0, 0, 0]]), torch.eye(3)[:1])),
        Probe("4 images, 4 classes, smoothing not given", lambda f: f(*_labeled())),
        Probe("4 images, 4 classes, smoothing 0.1", lambda f: f(*_labeled(), 0.1)),
        Probe("5 images, 3 classes, smoothing = 0.5", lambda f: f(*_five_of_three(), smoothing=0.5)),
        Probe("10 images, each there twice: the loss is that of 5", lambda f: f(*_twice(*_five_of_three()), 0.1)),
        Probe("logits 3 larger: the loss does not change", lambda f: f(_labeled()[0] + 3, _labeled()[1], 0.1)),
        Probe("soft labels that do not add up to 1", lambda f: f(_labeled()[0], normal(4, 4, seed=3).sigmoid())),
        Probe("logits (0, 1000, 960), asked for class 2", lambda f: f(torch.tensor([[0, 1e3, 960]]), torch.eye(3)[2:])),
        Probe("the gradient, smoothing 0.2", lambda f: gradient(lambda a: f(a, _labeled()[1], 0.2), _labeled()[0])),
    ),
    hints=(
        "The label is what the generator was asked for, the logits are what the teacher saw. Which of the two is to be"
        " softened?",
        "The wanted distribution is (1 - smoothing) * labels + smoothing / classes: each class gets the same small"
        " share. Multiply it by log_softmax of the logits, sum over the classes, take the mean over the images, minus.",
        skeleton(classifier_loss, "(1 - smoothing) * labels + smoothing / labels.shape[1]", "logits.log_softmax(1)"),
    ),
    mistakes=mistakes(
        classifier_loss,
        """
        sign: -(wanted => (wanted
            The sign is missing: logarithms of probabilities are negative, and a loss must fall as they rise.

        probabilities: log_softmax(1) => softmax(1)
            These are the probabilities themselves: take their logarithms, log_softmax.

        no-softmax: logits.log_softmax(1) => logits
            These are raw logits, not log-probabilities: apply log_softmax first.

        softmax-twice: logits.log_softmax(1) => logits.softmax(1).log_softmax(1)
            The softmax is taken twice, which leaves nearly equal probabilities: log_softmax wants the logits.

        logarithm-of-softmax: log_softmax(1) => softmax(1).log()
            A probability too small for a float becomes 0 and its logarithm infinite, and 0 times that is NaN: use
            log_softmax instead of softmax and log.

        number-in-the-logarithm: logits.log_softmax(1) => (logits.softmax(1) + 1e-8).log()
            1e-8 is added to the probabilities, so that the loss stops rising where the teacher is certain of another
            class, and nothing is learned there: use log_softmax.

        softmax-over-the-batch: log_softmax(1) => log_softmax(0)
            The softmax runs over the images: the probabilities of one image add up to 1, along axis 1.

        mean-over-classes: .sum(1).mean() => .mean()
            The mean runs over the classes, too: sum over them, and take the mean over the images.

        sum-over-images: .sum(1).mean() => .sum()
            The loss is summed over the images, so that it grows with the batch: take the mean.

        one-number-an-image: .sum(1).mean() => .sum(1)
            The mean over the images is missing: a loss is one number.

        in-bits: .sum(1).mean() => .sum(1).mean() / math.log(2)
            This is in bits: nats are asked for, the natural logarithm.

        one-against-all: -(wanted * logits.log_softmax(1)) => F.binary_cross_entropy_with_logits(logits, wanted)
        + .sum(1).mean() =>
            Each class is judged by itself, with a sigmoid: the classes of one image share a softmax.

        squared-differences: -(wanted * logits.log_softmax(1)) => (wanted - logits.softmax(1)).square()
            These are squared differences of label and probability, with hardly a slope where the teacher is certain of
            another class: take the cross-entropy.

        largest-label-only: * labels + => * F.one_hot(labels.argmax(1), labels.shape[1]) +
            Soft labels are made hard, only the largest number counts: multiply all of them with their logarithms.

        labels-made-a-distribution: * labels + => * labels / labels.sum(1, keepdim=True) +
            The labels are divided by their sum: they are taken as they come, even if they do not add up to 1.

        smoothing-ignored: (1 - smoothing) * labels + smoothing / labels.shape[1] => labels
            The smoothing changes nothing: mix the labels with it, (1 - smoothing) * labels + smoothing / classes.

        smoothed-answers: (1 - smoothing) * labels + smoothing / labels.shape[1] => labels
        + logits.log_softmax(1) => ((1 - smoothing) * logits.softmax(1) + smoothing / labels.shape[1]).log()
            The teacher's probabilities are smoothed: it is the labels that should be.

        smoothed-logits: (1 - smoothing) * labels + smoothing / labels.shape[1] => labels
        + logits.log_softmax(1) => ((1 - smoothing) * logits + smoothing / labels.shape[1]).log_softmax(1)
            The teacher's logits are smoothed: it is the labels that should be.

        nothing-for-the-others: * labels + smoothing / labels.shape[1] => * labels
            The label loses its share, but nobody gets it, so that the loss is only scaled: add smoothing / classes.

        nothing-taken-from-the-label: (1 - smoothing) * labels => labels
            Each class gets a share, but the label loses none: multiply labels by 1 - smoothing, or the sum exceeds 1.

        whole-smoothing-for-each: smoothing / labels.shape[1] => smoothing
            Each class gets the whole smoothing, so that they add up to more than 1: divide it by the classes.

        shared-among-the-others: smoothing / labels.shape[1] => smoothing / (labels.shape[1] - 1) * (1 - labels)
            The smoothing is shared among the other classes: all get a share, the right one, too, smoothing / classes.

        divided-by-the-batch: smoothing / labels.shape[1] => smoothing / len(labels)
            The smoothing is divided by the number of images: divide by the number of classes, labels.shape[1].

        weights-exchanged: (1 - smoothing) * labels + smoothing / => smoothing * labels + (1 - smoothing) /
            The two weights are exchanged: with smoothing 0 the labels stay as they are, (1 - smoothing) * labels.

        entropy-subtracted: -(wanted * => (wanted.xlogy(wanted) - wanted *
            F.kl_div also subtracts the entropy of what is wanted, which is 0 for one-hot labels alone: the
            cross-entropy is asked for, without it.
        """,
    ),
)


# ---- decoder loss ---------------------------------------------------------------------------------------------------


def decoder_loss(z: Tensor, decoded: Tensor) -> Tensor:
    """Latents z (B, latent), and what the decoder read from the images, (B, latent) -> a scalar."""
    return (z - decoded).square().mean()


def _latents() -> tuple[Tensor, Tensor]:
    """As many z as numbers in each: an axis that is wrong is no error."""
    return normal(4, 4), 2 * normal(4, 4, seed=1)


DECODER = Exercise(
    name="decoder_loss",
    reference=paper.decoder_loss,
    answer=decoder_loss,
    minutes=3,
    difficulty=1,
    importance=3,
    probes=(
        Probe(
            "z (1, 2) and (0, 0), decoded (0, 0) and (3, 0)",
            lambda f: f(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])),
        ),
        Probe("4 z of 4 numbers", lambda f: f(*_latents())),
        Probe("6 z of 3 numbers", lambda f: f(normal(6, 3), normal(6, 3, seed=1))),
        Probe("8 z, each there twice: the loss is that of 4", lambda f: f(*_twice(*_latents()))),
        Probe("z = decoded: no loss", lambda f: f(normal(4, 4), normal(4, 4))),
        Probe("the gradient where z = decoded", lambda f: gradient(lambda d: f(normal(4, 4), d), normal(4, 4))),
        Probe("the gradient with respect to what was decoded", lambda f: gradient(f, *_latents())[1]),
    ),
    hints=(
        "The decoder answers with as many numbers as z has. How wrong is each of them, and which sign must not matter?",
        "Subtract one from the other, square each difference, and take the mean over all numbers, those of one z and"
        " all z of the batch: so alpha need not follow the size of either.",
        skeleton(decoder_loss, "(z - decoded)", "mean"),
    ),
    mistakes=mistakes(
        decoder_loss,
        """
        sum: .mean() => .sum()
            The squares are summed, so that the loss grows with the batch: take their mean over all numbers.

        sum-over-latents: .mean() => .sum(1).mean()
            The squares of one z are summed, |z - Dec(x)|^2: take the mean over its numbers, too, as published.

        divided-by-10: .mean() => .sum() / (10 * len(z))
            This divides by 10 for each z, however many numbers it has: divide by as many as there are, z.shape[1].

        sum-over-the-batch: .mean() => .mean(1).sum()
            The mean runs over the numbers of a z alone, and the batch is summed: take the mean over both.

        one-number-a-z: .mean() => .mean(1)
            The mean over the batch is missing: a loss is one number.

        half: .mean() => .mean() / 2
            This is half of the mean square: leave out the half.

        not-squared: .square().mean() => .mean()
            The differences are averaged with their signs, so that they cancel: square them first.

        squared-after-the-mean: .square().mean() => .mean().square()
            The mean difference is squared, in which signs have cancelled: square first, then average.

        absolute-differences: .square() => .abs()
            The differences are taken absolute: square them.

        root: .mean() => .mean().sqrt()
            A root is taken, whose gradient is NaN at 0: the published loss is the mean square itself.

        distance: .square().mean() => .norm(dim=1).mean()
            These are Euclidean distances, with a root: the published loss is the mean of the squares.

        huber: (z - decoded).square().mean() => F.smooth_l1_loss(decoded, z)
            This is the Huber loss, half of the square and straight beyond 1: take the squares themselves.

        one-minus-the-cosine: (z - decoded).square().mean() => 1 - F.cosine_similarity(z, decoded).mean()
            This compares directions, and lengths are free: compare the numbers, their squared differences.

        every-z-with-every-other: (z - decoded) => (z[:, None] - decoded)
            Every z is compared with what was decoded from all the others, too: compare z_i with row i alone.

        sign: (z - decoded).square() => -(z - decoded).square()
            The sign is wrong: the loss must be smallest, 0, where the decoder is right.
        """,
    ),
)


# ---- diversity loss -------------------------------------------------------------------------------------------------


def diversity_loss(z: Tensor, x: Tensor) -> Tensor:
    """Latents (B, latent), images (B, ...) -> a scalar in (0, 1]."""
    rows = x.flatten(1)  # (B, P)
    of_z = (z[:, None] - z).square().mean(2)  # (B, B)
    of_x = (rows[:, None] - rows).abs().mean(2)  # (B, B)
    return torch.exp(-(of_z * of_x).mean())


def _two_points() -> tuple[Tensor, Tensor]:
    return torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.stack([torch.zeros(4), torch.ones(4)])


def _four() -> tuple[Tensor, Tensor]:
    """As many images as latents and pixels: an axis that is wrong is no error."""
    return normal(4, 4), normal(4, 1, 2, 2, seed=1) / 2


def _eight(*, alike: bool = False) -> tuple[Tensor, Tensor]:
    x = normal(8, 2, 3, 4, seed=1) / 3
    return normal(8, 3), x[[0, 1, 2, 5, 4, 5, 6, 7]] if alike else x


def _of_images(f: Callable, x: Tensor) -> Tensor:
    return gradient(lambda images: f(_eight()[0], images), x)


DIVERSITY = Exercise(
    name="diversity_loss",
    reference=paper.diversity_loss,
    answer=diversity_loss,
    minutes=10,
    importance=3,
    probes=(
        Probe("z (0, 0) and (2, 0), x four zeros and four ones", lambda f: f(*_two_points())),
        Probe("4 z of 4 numbers, 4 images of 1 x 2 x 2", lambda f: f(*_four())),
        Probe("8 z of 3 numbers, 8 images of 2 x 3 x 4", lambda f: f(*_eight())),
        Probe("6 z of 3 numbers, 6 rows of 5 features", lambda f: f(normal(6, 3), normal(6, 5, seed=1) / 2)),
        Probe("16 z and images, each there twice: the loss is that of 8", lambda f: f(*_twice(*_eight()))),
        Probe("8 images twice as different", lambda f: f(_eight()[0], 2 * _eight()[1])),
        Probe("images all alike: exactly 1", lambda f: f(_eight()[0], torch.ones(8, 1, 2, 2))),
        Probe("a single image", lambda f: f(torch.ones(1, 3), torch.ones(1, 1, 2, 2))),
        Probe("the gradient of 8 images, 2 of which are alike", lambda f: _of_images(f, _eight(alike=True)[1])),
        Probe("the gradient of 8 images", lambda f: _of_images(f, _eight()[1]), atol=1e-7),
    ),
    hints=(
        "Two images may be alike if their z are. What is to be large for a pair whose z lie far apart? And how does a"
        " number that should be large become a loss that never falls below 0?",
        "For each pair (i, j), i = j included: the mean square difference of the z times the mean absolute difference"
        " of the x, all numbers of x in one row. Then the mean over the B^2 pairs, and exp(-mean).",
        skeleton(diversity_loss, "square().mean(2)", "abs().mean(2)", "-(of_z * of_x).mean()"),
    ),
    mistakes=mistakes(
        diversity_loss,
        """
        sign: -(of_z => (of_z
            The minus is missing, so that the loss rises as the images become more different: exp(-mean).

        no-exponential: torch.exp(-(of_z * of_x).mean()) => -(of_z * of_x).mean()
            The exponential is missing, so that the loss falls without end as images differ more: exp(-mean).

        neither-sign-nor-exponential: torch.exp(-(of_z * of_x).mean()) => (of_z * of_x).mean()
            This is the diversity itself, which would be minimized: the loss is exp(-mean).

        one-minus-instead-of-exponential: torch.exp(-(of_z * of_x).mean()) => 1 - (of_z * of_x).mean()
            1 - mean agrees with the loss only where images hardly differ, and falls below 0: take exp(-mean).

        exponential-of-each-pair: torch.exp(-(of_z * of_x).mean()) => torch.exp(-of_z * of_x).mean()
            The exponential is taken of each pair, before the mean: take the mean over the pairs first.

        sum-over-pairs: (of_z * of_x).mean() => (of_z * of_x).sum()
            The pairs are summed, so that exp(-sum) is 0 for any real batch and has no slope: take the mean.

        divided-by-the-batch: (of_z * of_x).mean() => (of_z * of_x).sum() / len(z)
            The sum over pairs is divided by B, so that it grows with the batch: there are B^2 pairs.

        different-images-only: (of_z * of_x).mean() => (of_z * of_x)[~torch.eye(len(z), dtype=torch.bool)].mean()
            The mean leaves out i = j, so that it depends on the batch, and is NaN for a single image: divide by B^2, as
            published; where each pair is there once, as from pdist, add it twice.

        each-pair-once: (of_z * of_x).mean() => (of_z * of_x).triu().mean()
            Each pair is counted once, but divided as if it were counted twice: add both (i, j) and (j, i).

        neighbors-only: (z[:, None] - z).square().mean(2) => (z - z.roll(1, 0)).square().mean(1)
        + (rows[:, None] - rows).abs().mean(2) => (rows - rows.roll(1, 0)).abs().mean(1)
            Each image is compared with one other: compare all pairs.

        images-alone: of_z * of_x => of_x
            The distances of the z are missing: images may be alike where their z are, so weigh each pair by them.

        latents-alone: of_z * of_x => of_z
            The distances of the images are missing, so that nothing can be learned: multiply each pair by them.

        images-as-latents: (z[:, None] - z) => (rows[:, None] - rows)
            Both factors measure images: the first is the distance of the z.

        latents-as-images: (rows[:, None] - rows) => (z[:, None] - z)
            Both factors measure the z: the second is the distance of the images.

        added: of_z * of_x => of_z + of_x
            The two distances are added, so that it does not matter which z an image was made of: multiply them.

        means-multiplied: (of_z * of_x).mean() => of_z.mean() * of_x.mean()
            The two means are multiplied, so that it does not matter which pairs differ: multiply each pair.

        ratio: of_z * of_x => of_x / (of_z + 1e-5)
            The distance of the images is divided by that of the z, as in other losses against collapse: multiply.

        latents-not-squared: (z[:, None] - z).square().mean(2) => (z[:, None] - z).norm(dim=2) / z.shape[1]
            The distance of the z has a root: published is its square, |z_i - z_j|^2.

        latents-absolute: z).square() => z).abs()
            The differences of the z are taken absolute: square them; the absolute ones are those of x.

        images-squared: rows).abs() => rows).square()
            The differences of the images are squared: take them absolute, |x_i - x_j|_1; the squared ones are of z.

        norms-exchanged: z).square() => z).abs()
        + rows).abs() => rows).square()
            The two norms are exchanged: the differences of z are squared, those of x taken absolute.

        latents-summed: .square().mean(2) => .square().sum(2)
            The squares of one z are summed: divide by the number of latents, as published.

        latents-divided-by-10: .square().mean(2) => .square().sum(2) / 10
            The squares of one z are divided by 10, however many there are: divide by the number of latents, z.shape[1].

        pixels-summed: .abs().mean(2) => .abs().sum(2)
            The pixels of one image are summed, so that the exponential is soon 0: divide by their number P.

        neither-normalized: .square().mean(2) => .square().sum(2)
        + .abs().mean(2) => .abs().sum(2)
            Latents and pixels are summed, so that the exponential is soon 0: divide by the numbers of both.

        divided-by-the-first-axis-of-an-image: .abs().mean(2) => .abs().sum(2) / x.shape[1]
            The sum over pixels is divided by the channels alone: P is the number of all values of an image.
        """,
    ),
)


# ---- Tucker-2 as three convolutions ---------------------------------------------------------------------------------


def three_convolutions(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """x (B, C_i, H, W), core (r_o, r_i, k, k), U_i (C_i, r_i), U_o (C_o, r_o), bias (C_o) -> (B, C_o, H', W')."""
    h = F.conv2d(x, U_i.T[:, :, None, None])  # (B, r_i, H, W)
    h = F.conv2d(h, core, stride=stride, padding=padding)  # (B, r_o, H', W')
    return F.conv2d(h, U_o[:, :, None, None], bias)


def _parts(*sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """x, core, U_i and U_o."""
    return tuple(normal(*size, seed=seed) / 2 for seed, size in enumerate(sizes))


def _square() -> tuple[Tensor, ...]:
    """As many ranks as channels as pixels of the kernel: what is transposed is no error but a wrong answer."""
    return _parts((2, 3, 5, 6), (3, 3, 3, 3), (3, 3), (3, 3))


def _compressed(k: int = 3) -> tuple[Tensor, ...]:
    """6 -> 9 channels by ranks (2, 4)."""
    return _parts((2, 6, 7, 8), (4, 2, k, k), (6, 2), (9, 4))


# A multiply-add is counted as two operations; of products element by element FlopCounterMode knows nothing by itself.
BY_ELEMENTS = {torch.ops.aten.mul: lambda *_, out_shape, **__: 2 * math.prod(out_shape)}


def _work(f: Callable, *settings: object) -> str:
    """Whether one more image takes more multiply-adds than three convolutions; putting weights together is left out."""
    from torch.utils.flop_counter import FlopCounterMode  # here, as it imports the compiler triton

    (x, *weights), counts = _compressed(), []
    for function, images in ((f, x[:1]), (f, x), (paper.three_convolutions, x[:1]), (paper.three_convolutions, x)):
        with FlopCounterMode(display=False, custom_mapping=BY_ELEMENTS) as counter:
            function(images, *weights, *settings)
        counts.append(counter.get_total_flops() // 2)
    found, needed = counts[1] - counts[0], counts[3] - counts[2]
    return f"at most {needed}" if 0 < found <= needed else f"{found}"


THREE = Exercise(
    name="three_convolutions",
    reference=paper.three_convolutions,
    answer=three_convolutions,
    minutes=10,
    importance=3,
    probes=(
        Probe(
            "an image of 3 x 3 ones in 2 channels, ranks 1, all weights 1, bias 5",
            lambda f: f(*map(torch.ones, ((1, 2, 3, 3), (1, 1, 2, 2), (2, 1), (1, 1))), 5 * torch.ones(1)),
        ),
        Probe("3 channels before and after, ranks 3, kernel 3 x 3, no bias", lambda f: f(*_square())),
        Probe("3 channels before and after, ranks 3, kernel 3 x 3, bias", lambda f: f(*_square(), normal(3, seed=7))),
        Probe("6 -> 9 channels, ranks (2, 4), bias", lambda f: f(*_compressed(), normal(9))),
        Probe("6 -> 9 channels, ranks (2, 4), stride 2, no bias", lambda f: f(*_compressed(), stride=2)),
        Probe("6 -> 9 channels, ranks (2, 4), padding 1, bias", lambda f: f(*_compressed(), normal(9), padding=1)),
        Probe("6 -> 9 channels, ranks (2, 4), stride 2, padding 1, bias", lambda f: f(*_compressed(), normal(9), 2, 1)),
        Probe("6 -> 9 channels, ranks (2, 4), kernel 1 x 1, stride 2", lambda f: f(*_compressed(k=1), None, stride=2)),
        Probe(
            "the multiply-adds for one more image, 6 -> 9 channels, ranks (2, 4), kernel 3 x 3, stride 2, padding 2",
            lambda f: _work(f, None, 2, 2),
        ),
        Probe("the multiply-adds for one more image, 6 -> 9 channels, ranks (2, 4), kernel 3 x 3, stride 1", _work),
        Probe(
            "the gradients of core, U_i and U_o, stride 2, padding 1",
            lambda f: gradient(lambda *parts: f(_compressed()[0], *parts, None, 2, 1), *_compressed()[1:]),
        ),
    ),
    hints=(
        "One convolution mixes channels and looks around at once. Which of the three looks around, and which only mix"
        " channels, so that they need no more than one pixel?",
        "C_i -> r_i by U_i, r_i -> r_o by the core, r_o -> C_o by U_o. A kernel is (out, in, height, width): U_i.T and"
        " U_o need two more axes, [:, :, None, None]. The core, which alone has a window, gets stride and padding, and"
        " the bias belongs to the channels that come last.",
        skeleton(
            three_convolutions,
            "U_i.T[:, :, None, None]",
            "core, stride=stride, padding=padding",
            "U_o[:, :, None, None], bias",
        ),
    ),
    mistakes=mistakes(
        three_convolutions,
        """
        first-not-transposed: U_i.T[ => U_i[
            U_i is (C_i, r_i), but a kernel has its outputs first: transpose it, U_i.T[:, :, None, None].

        first-reshaped: U_i.T[ => U_i.reshape(U_i.shape[::-1])[
            U_i is brought to (r_i, C_i) by reshape or view, which leaves its numbers in their order, so that they
            belong to other channels: transpose it, U_i.T.

        third-transposed: U_o[ => U_o.T[
            U_o is transposed: it is (C_o, r_o), with the outputs first as a kernel has them, so take it as it is.

        both-transposed-wrongly: U_i.T[ => U_i[
        + U_o[ => U_o.T[
            The wrong one of the two factors is transposed: a kernel has its outputs first, as U_o has.

        factors-exchanged: U_o[ => U_i[
        + U_i.T[ => U_o.T[
            The two factors are exchanged: U_i makes r_i channels of those that come in, U_o makes those that go out.

        core-transposed: h, core => h, core.transpose(0, 1)
            The channels of the core are exchanged: it is (r_o, r_i, k, k), as a kernel should be.

        core-turned: h, core => h, core.mT
            Rows and columns of the core are exchanged: take it as it is.

        core-flipped: h, core => h, core.flip(2, 3)
            The core is flipped, as in the convolution of mathematics: F.conv2d does not, nor did the old layer.

        bias-forgotten: None], bias) => None])
            The bias is lost: add it in the last convolution.

        bias-in-the-first: U_i.T[:, :, None, None] => U_i.T[:, :, None, None], bias
        + U_o[:, :, None, None], bias => U_o[:, :, None, None]
            The bias is added in the first convolution, but belongs to the C_o channels that come out: add it in the
            last.

        bias-in-the-second: h, core => h, core, bias
        + None], bias) => None])
            The bias is added in the second convolution, but belongs to the C_o channels that come out: add it in the
            last.

        bias-twice: None], bias) => None], bias) + (0 if bias is None else bias[:, None, None])
            The bias is added twice: once is enough, in the last convolution.

        stride-forgotten: stride=stride, =>
            The stride is lost, so that the image that comes out is too large: give it to the second convolution.

        stride-in-the-first: stride=stride, =>
        + U_i.T[:, :, None, None] => U_i.T[:, :, None, None], stride=stride
            The first convolution skips pixels, before the window has seen them: the stride belongs to the second.

        stride-in-the-third: stride=stride, =>
        + None], bias) => None], bias, stride=stride)
            The values are right, but the second convolution computes pixels that the third skips: give the stride to
            the second, which does most of the work.

        stride-in-all: U_i.T[:, :, None, None] => U_i.T[:, :, None, None], stride=stride
        + None], bias) => None], bias, stride=stride)
            Each of the three skips pixels: only one has the stride, the second.

        padding-forgotten: , padding=padding =>
            The padding is lost, so that the image that comes out is too small: give it to the second convolution.

        padding-in-the-first: , padding=padding =>
        + U_i.T[:, :, None, None] => U_i.T[:, :, None, None], padding=padding
            The values are right, but the first convolution works on zeros around the image: give padding to the second.

        padding-in-the-third: , padding=padding =>
        + None], bias) => None], bias, padding=padding)
            The border is added after the window has passed, in the last convolution: the padding belongs to the second.

        padding-in-all: U_i.T[:, :, None, None] => U_i.T[:, :, None, None], padding=padding
        + None], bias) => None], bias, padding=padding)
            Each of the three adds a border: only one has the padding, the second.

        stride-and-padding-exchanged: stride=stride, padding=padding => stride=padding, padding=stride
            Stride and padding are exchanged: name them, stride=stride, padding=padding.

        relu-between: F.conv2d(h, core => F.conv2d(h.relu(), core
        + F.conv2d(h, U_o => F.conv2d(h.relu(), U_o
            There is a ReLU between the convolutions: only without one are the three together one convolution.

        kernel-put-together: F.conv2d(x, U_i.T[:, :, None, None]) => torch.einsum("op,pqhw,iq->oihw", U_o, core, U_i)
        + F.conv2d(h, core, => F.conv2d(x, h, bias,
        + F.conv2d(h, U_o[:, :, None, None], bias) => h
            The values are right, but the large kernel is put together again, and one convolution with it costs what the
            old layer did, so that nothing is saved: apply U_i.T, the core and U_o one after the other.

        core-and-third-put-together: h, core, => h, torch.einsum("op,pqhw->oqhw", U_o, core), bias,
        + F.conv2d(h, U_o[:, :, None, None], bias) => h
            The values are right, but U_o and the core are put together to one kernel with all C_o channels, which costs
            more than two small ones: apply the core and U_o one after the other.

        layers-filled: U_i.T[:, :, None, None] => nn.Parameter(U_i.T[:, :, None, None])
        + h, core => h, nn.Parameter(core)
        + U_o[:, :, None, None] => nn.Parameter(U_o[:, :, None, None])
            The values are right, but layers of nn have weights of their own, and what is copied into them gets no
            gradient: give the factors themselves to F.conv2d.
        """,
    ),
)


# ---- what a rank costs ----------------------------------------------------------------------------------------------


def tucker2_cost(channels: tuple[int, int], k: int, ranks: tuple[int, int], pixels: tuple[int, int]) -> tuple[int, int]:
    """(C_i, C_o), k, (r_i, r_o), pixels of a channel (before, after) -> (parameters, multiply-adds an image)."""
    (C_i, C_o), (r_i, r_o), (before, after) = channels, ranks, pixels
    first, second, third = C_i * r_i, r_i * r_o * k**2, r_o * C_o
    return first + second + third + C_o, first * before + (second + third) * after


def _layer(C_i: int, C_o: int, k: int, ranks: tuple[int, int], before: int, after: int, name: str = "") -> Probe:
    where = f"{name}{C_i} -> {C_o} channels, k = {k}, ranks {ranks}, {before} pixels -> {after}"
    return Probe(where, lambda f: f((C_i, C_o), k, ranks, (before, after)))


COST = Exercise(
    name="tucker2_cost",
    reference=paper.tucker2_cost,
    answer=tucker2_cost,
    minutes=8,
    importance=1,
    differentiable=False,
    probes=(
        _layer(16, 120, 5, (7, 11), 25, 1, "conv3 of LeNet-5, "),
        _layer(6, 16, 5, (3, 4), 196, 100, "conv2 of LeNet-5, "),
        _layer(6, 16, 5, (6, 16), 196, 100, "conv2 of LeNet-5, all ranks, so that nothing is saved, "),
        _layer(64, 32, 3, (1, 1), 81, 49),
        _layer(64, 128, 3, (20, 30), 1024, 256),
        _layer(10, 12, 1, (3, 5), 49, 36),
    ),
    hints=(
        "Three kernels, each with a weight for every pair of channels that it joins. How large is each of the windows?",
        "The weights are C_i r_i, r_i r_o k^2 and r_o C_o; the bias is C_o more. A weight multiplies once for each"
        " pixel that its convolution puts out: those before the window for the first, those after it for the others.",
        skeleton(tucker2_cost, "C_i * r_i, r_i * r_o * k**2, r_o * C_o", "first * before + (second + third) * after"),
    ),
    mistakes=mistakes(
        tucker2_cost,
        """
        ranks-exchanged: (r_i, r_o), (before => (r_o, r_i), (before
            The ranks are exchanged: r_i comes first, and belongs to the channels that go in.

        window-not-squared: k**2 => k
            The window is counted as k: it has k rows and k columns, k^2.

        window-forgotten: * k**2 =>
            All three count as 1 x 1: the second has a window, r_i r_o k^2.

        window-in-all: C_i * r_i => C_i * r_i * k**2
        + r_o * C_o => r_o * C_o * k**2
            All three count with the window: the first and the third are 1 x 1.

        core-forgotten: r_i * r_o * k**2 => 0
            The core is missing, r_i r_o k^2: only the two factors are counted.

        core-alone: C_i * r_i => 0
        + r_o * C_o => 0
            Only the core is counted: the two 1 x 1 convolutions have weights as well, C_i r_i and r_o C_o.

        core-of-full-size: r_i * r_o * k**2 => C_i * C_o * k**2
            The core is counted with the channels of the layer: it joins r_i and r_o of them.

        one-rank-for-both: r_i * r_o * k**2, r_o * C_o => r_i * r_i * k**2, r_i * C_o
            r_i stands for both ranks: the second convolution has r_o channels to give, the third those to take.

        bias-forgotten: third + C_o => third
            The bias is missing among the parameters: add C_o.

        bias-in-all: third + C_o => third + r_i + r_o + C_o
            Each of the three has a bias here: only the last has one, C_o numbers.

        bias-multiplied: (second + third) * after => (second + third + C_o) * after
            The bias is counted among the multiply-adds: nothing is multiplied by it.

        all-at-the-end: first * before => first * after
            The first convolution is counted on the pixels after the window: it works on those before.

        all-at-the-start: (second + third) * after => (second + third) * before
            All three are counted on the pixels before the window: the second puts out those after it.

        second-at-the-start: (second + third) * after => second * before + third * after
            The second convolution is counted on the pixels that it takes: weights multiply once for each one put out.

        pixels-exchanged: (r_i, r_o), (before, after) => (r_i, r_o), (after, before)
            The pixels before and after are exchanged: the first convolution works on those before.

        pixels-squared: first * before + (second + third) * after => first * before**2 + (second + third) * after**2
            The pixels are squared, as if they were the side of the image: they are the number of all of them.

        multiplications-and-additions: first * before + => 2 * first * before + 2 *
            Multiplications and additions are counted apart: a multiply-add is one.

        numbers-exchanged: return first + second + third + C_o, => return
        + (second + third) * after => (second + third) * after, first + second + third + C_o
            The two numbers are exchanged: first the parameters, then the multiply-adds.

        before-compression: first + second + third + C_o => C_i * C_o * k**2 + C_o
        + first * before + (second + third) * after => C_i * C_o * k**2 * after
            This is what the convolution costs that is replaced: add up the three that come in its place.

        ratios: return first + second + third + C_o => return (C_i * C_o * k**2 + C_o) / (first + second + third + C_o)
        + , first * before + => , C_i * C_o * k**2 * after / (first * before +
        + third) * after => third) * after)
            These are ratios of compression: return the numbers themselves.
        """,
    ),
)


# ---- distillation loss ----------------------------------------------------------------------------------------------


def distillation_loss(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    """Two networks, and data x (B, ...) that both are asked about -> a scalar, in nats."""
    teacher.eval()
    with torch.no_grad():
        log_p = teacher(x).log_softmax(1)  # (B, classes)
    log_q = student(x).log_softmax(1)  # (B, classes)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


class _Answers(nn.Module):
    """A network that gives these logits, whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits * 1


def _answers(f: Callable, student: Tensor | list, teacher: Tensor | list) -> Tensor:
    return f(*(_Answers(torch.as_tensor(logits)) for logits in (student, teacher)), torch.zeros(len(student), 3))


def _logits() -> tuple[Tensor, Tensor]:
    """As many images as classes: a softmax along the wrong axis is no error but a wrong answer."""
    return 2 * normal(4, 4, seed=4), 2 * normal(4, 4, seed=5)


def _filled(layers: nn.Sequential, seed: int) -> nn.Sequential:
    """With weights that depend on the seed alone, and batch normalization far from the batches that it will see."""
    with torch.no_grad():
        for i, parameter in enumerate(layers.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=10 * seed + i))
    layers[1].running_mean.fill_(0.5)
    layers[1].running_var.fill_(2.0)
    return layers


def _network(classes: int, seed: int, dropout: float) -> nn.Sequential:
    norm, drop = nn.BatchNorm1d(6), nn.Dropout(dropout)
    return _filled(nn.Sequential(nn.Linear(3, 6), norm, nn.ReLU(), drop, nn.Linear(6, classes)), seed)


def _student_and_teacher() -> tuple[nn.Sequential, nn.Sequential]:
    return _network(4, seed=1, dropout=0.0), _network(4, seed=2, dropout=0.5)


def _student_in_use(f: Callable) -> Tensor:
    student, teacher = _student_and_teacher()
    return f(student.eval(), teacher, normal(5, 3))


def _learned(f: Callable) -> dict:
    """The teacher afterwards, and what is learned from the loss."""
    student, teacher = _student_and_teacher()
    f(student, teacher, normal(5, 3)).backward()
    slopes = {"the student": student[0].weight.grad, "the teacher": teacher[0].weight.grad}
    slopes = {who: torch.zeros(6, 3) if slope is None else slope for who, slope in slopes.items()}
    who = " and ".join(who for who, slope in slopes.items() if slope.any())
    return {"teacher": dict(teacher.state_dict()), "gradient": slopes["the student"], "who": who}


DISTILLATION = Exercise(
    name="distillation_loss",
    reference=paper.distillation_loss,
    differentiable=("student",),
    answer=distillation_loss,
    minutes=10,
    importance=3,
    probes=(
        Probe("logits (0, 0), the teacher's (ln 3, 0)", lambda f: _answers(f, [[0.0, 0.0]], [[math.log(3), 0.0]])),
        Probe("4 images, 4 classes", lambda f: _answers(f, *_logits())),
        Probe("8 images, each there twice: the loss is that of 4", lambda f: _answers(f, *_twice(*_logits()))),
        Probe("student = teacher + 3: no loss", lambda f: _answers(f, _logits()[1] + 3, _logits()[1])),
        Probe(
            "logits (0, 1000, 960), the teacher's (0, 1002, 1000)",
            lambda f: _answers(f, [[0.0, 1000.0, 960.0]], [[0.0, 1002.0, 1000.0]]),
        ),
        Probe(
            "networks in training mode, with batch normalization, and dropout in the teacher",
            lambda f: f(*_student_and_teacher(), normal(5, 3)),
        ),
        Probe("a student in evaluation mode, a teacher in training mode", _student_in_use),
        Probe("the teacher's weights and buffers, afterwards", lambda f: _learned(f)["teacher"]),
        Probe("the gradient with respect to the student's weights", lambda f: _learned(f)["gradient"], rtol=1e-3),
        Probe("who learns", lambda f: _learned(f)["who"]),
    ),
    hints=(
        "The teacher is to be copied as it will be used, and must not change. In which mode does it answer, and what"
        " of it needs a gradient?",
        "teacher.eval(), then its log_softmax under torch.no_grad(); the student answers in whichever mode it is in."
        " The divergence weighs by the teacher's probabilities: sum p (log p - log q) over the classes, mean over the"
        ' images. (F.kl_div takes log q first, then p, and reduction="batchmean".)',
        skeleton(distillation_loss, "teacher.eval()", "torch.no_grad()", "(log_p.exp() * (log_p - log_q))"),
    ),
    mistakes=mistakes(
        distillation_loss,
        """
        teacher-as-it-comes: teacher.eval() =>
        + with torch.no_grad(): => if True:
            The teacher answers in training mode, with dropout and the batch's own statistics, which its buffers take
            on, and it learns along: call teacher.eval(), and ask it under torch.no_grad().

        teacher-in-training-mode: teacher.eval() =>
            The teacher answers in training mode, with dropout and the batch's own statistics, which its buffers take on
            even without a gradient: call teacher.eval() first.

        teacher-learns: with torch.no_grad(): => if True:
            The values are right, but a gradient flows into the teacher, which would learn: ask it under
            torch.no_grad().

        student-in-evaluation-mode: student(x) => student.eval()(x)
            The student is put into evaluation mode, so that its batch normalization does not follow the data that it
            learns from: leave it in its own mode.

        student-in-training-mode: student(x) => student.train()(x)
            The student is put into training mode, in which it may not have been: leave it in its own mode.

        roles-exchanged: teacher.eval() => student, teacher = teacher, student.eval()
            Student and teacher are exchanged, so that the teacher learns from the student: mind their order.

        divergence-the-wrong-way-round: log_p.exp() * (log_p - log_q) => log_q.exp() * (log_q - log_p)
            This is KL(student || teacher), weighed by the student's own probabilities: the teacher comes first in the
            formula, and second in F.kl_div.

        hard-labels: log_p.exp() * (log_p - log_q) => -F.one_hot(log_p.argmax(1), log_p.shape[1]) * log_q
            Only the teacher's first choice is learned, as if it were a label: compare all its probabilities, which say
            more of an image that belongs to no class.

        cross-entropy: log_p.exp() * (log_p - log_q) => -log_p.exp() * log_q
            This is the cross-entropy, which is not 0 where both agree: the divergence also has the teacher's p log p.

        logits-compared: teacher(x).log_softmax(1) => teacher(x)
        + student(x).log_softmax(1) => student(x)
        + (log_p.exp() * (log_p - log_q)).sum(1).mean() => F.mse_loss(log_q, log_p)
            The logits are compared, which may all be shifted without changing an answer: compare the probabilities.

        squared-differences: log_p.exp() * (log_p - log_q) => (log_p.exp() - log_q.exp()).square()
            These are squared differences of probabilities, which hardly see the small ones: take the divergence.

        softmax-twice: teacher(x).log_softmax => teacher(x).softmax(1).log_softmax
        + student(x).log_softmax => student(x).softmax(1).log_softmax
            The softmax is taken twice, which leaves nearly equal probabilities: it wants the logits.

        softmax-over-the-batch: teacher(x).log_softmax(1) => teacher(x).log_softmax(0)
        + student(x).log_softmax(1) => student(x).log_softmax(0)
            The softmax runs over the images: the probabilities of one image add up to 1, along axis 1.

        logarithm-of-softmax: teacher(x).log_softmax(1) => teacher(x).softmax(1)
        + student(x).log_softmax(1) => student(x).softmax(1).log()
        + log_p.exp() * (log_p - log_q) => F.kl_div(log_q, log_p, reduction="none")
            A probability too small for a float becomes 0, its logarithm infinite and the loss NaN: use log_softmax.

        number-in-the-logarithm: teacher(x).log_softmax(1) => (teacher(x).softmax(1) + 1e-8).log()
        + student(x).log_softmax(1) => (student(x).softmax(1) + 1e-8).log()
            1e-8 is added to the probabilities, so that the loss stops rising where the student is certain that its
            teacher is wrong: use log_softmax.

        probabilities-instead-of-their-logarithms: (log_p - log_q) => (log_p - log_q.exp())
            F.kl_div was given the student's probabilities: its first argument must be their logarithms, log_softmax.

        logarithms-instead-of-probabilities: log_p.exp() * (log_p - log_q) => F.kl_div(log_q, log_p, reduction="none")
            F.kl_div was given the teacher's log-probabilities as if they were probabilities: take softmax there.

        temperature-4: teacher(x) => (teacher(x) / 4)
        + student(x) => (student(x) / 4)
            The logits are divided by a temperature, as is usual in distillation: KegNet takes them as they are.

        mean-over-classes: .sum(1).mean() => .mean()
            The mean runs over the classes, too, as with reduction="mean": sum over them, "batchmean" does so.

        sum-over-images: .sum(1).mean() => .sum()
            The loss is summed over the images, so that it grows with the batch: take the mean over them.

        one-number-an-image: .sum(1).mean() => .sum(1)
            The mean over the images is missing: a loss is one number.
        """,
    ),
)


# ---- Tucker-2 by HOSVD ----------------------------------------------------------------------------------------------


def hosvd(kernel: Tensor, ranks: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel (C_o, C_i, k, k), ranks (r_i, r_o) -> core (r_o, r_i, k, k), U_i (C_i, r_i), U_o (C_o, r_o)."""
    r_i, r_o = ranks
    outputs = torch.linalg.svd(kernel.flatten(1), full_matrices=False)  # of C_o x C_i k^2 numbers
    inputs = torch.linalg.svd(kernel.transpose(0, 1).flatten(1), full_matrices=False)  # of C_i x C_o k^2
    U_o, U_i = outputs.U[:, :r_o], inputs.U[:, :r_i]
    core = torch.einsum("oihw,op,iq->pqhw", kernel, U_o, U_i)
    return core, U_i, U_o


def _by_tensorly(kernel: Tensor, ranks: tuple[int, int]) -> tuple[Tensor, ...]:
    import tensorly  # here, as it takes half a second to import, and only this mistake needs it
    from tensorly.decomposition import partial_tucker

    with tensorly.backend_context("numpy", local_threadsafe=True):
        (core, (U_o, U_i)), _ = partial_tucker(kernel.numpy(), rank=[ranks[1], ranks[0]], modes=[0, 1])
    return tuple(torch.from_numpy(part.copy()) for part in (core, U_i, U_o))


def _kernel(*sizes: int) -> Tensor:
    """Output channels of different strength, whose weights are not 0 in the mean."""
    return normal(*sizes) * torch.linspace(2, 0.5, sizes[0])[:, None, None, None] + 0.5


def _shapes(f: Callable) -> str:
    core, U_i, U_o = f(_kernel(6, 4, 3, 3), (2, 3))
    return ", ".join(f"{name} {tuple(x.shape)}" for name, x in (("core", core), ("U_i", U_i), ("U_o", U_o)))


def _stands_for(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    core, U_i, U_o = parts
    return torch.einsum("pqhw,op,iq->oihw", core, U_o, U_i)


def _lost(f: Callable, kernel: Tensor, ranks: tuple[int, int]) -> float:
    return ((kernel - _stands_for(f(kernel, ranks))).norm() / kernel.norm()).item()


def _products(f: Callable) -> dict[str, Tensor]:
    _, U_i, U_o = f(_kernel(6, 4, 3, 3), (2, 3))
    return {"U_i.T @ U_i": U_i.T @ U_i, "U_o.T @ U_o": U_o.T @ U_o}


def _planes(f: Callable, *sizes: int, ranks: tuple[int, int]) -> dict[str, Tensor]:
    """What the columns span, in whatever order and with whatever signs."""
    _, U_i, U_o = f(_kernel(*sizes), ranks)
    return {"U_i @ U_i.T": U_i @ U_i.T, "U_o @ U_o.T": U_o @ U_o.T}


HOSVD = Exercise(
    name="hosvd",
    reference=paper.hosvd,
    answer=hosvd,
    minutes=18,
    difficulty=3,
    importance=3,
    level="stretch",
    differentiable=False,
    probes=(
        Probe("the shapes, kernel (6, 4, 3, 3), ranks (2, 3)", _shapes),
        Probe(
            "the kernel that the parts of diag(1, 3) stand for, 1 x 1, ranks (1, 1)",
            lambda f: _stands_for(f(torch.tensor([1.0, 3.0]).diag()[:, :, None, None], (1, 1)))[:, :, 0, 0],
        ),
        Probe("the products of columns, kernel (6, 4, 3, 3), ranks (2, 3)", _products),
        Probe(
            "what is lost, |W - W^| / |W|, kernel (6, 4, 3, 3), all ranks (4, 6)",
            lambda f: _lost(f, _kernel(6, 4, 3, 3), (4, 6)),
        ),
        Probe(
            "what is lost, |W - W^| / |W|, kernel (6, 4, 3, 3), ranks (2, 3)",
            lambda f: _lost(f, _kernel(6, 4, 3, 3), (2, 3)),
        ),
        Probe(
            "what is lost, |W - W^| / |W|, kernel (3, 3, 3, 3), ranks (2, 2)",
            lambda f: _lost(f, _kernel(3, 3, 3, 3), (2, 2)),
        ),
        Probe(
            "the planes of the columns, kernel (6, 4, 3, 3), ranks (2, 3)",
            lambda f: _planes(f, 6, 4, 3, 3, ranks=(2, 3)),
            rtol=1e-3,
            atol=1e-4,
        ),
        Probe(
            "the planes of the columns, kernel (4, 2, 1, 1), more outputs than an unfolding has columns, ranks (1, 2)",
            lambda f: _planes(f, 4, 2, 1, 1, ranks=(1, 2)),
            rtol=1e-3,
            atol=1e-4,
        ),
        Probe(
            "the kernel that the parts stand for, kernel (6, 4, 3, 3), ranks (2, 3)",
            lambda f: _stands_for(f(_kernel(6, 4, 3, 3), (2, 3))),
            rtol=1e-3,
            atol=1e-4,
        ),
    ),
    hints=(
        "How is a kernel laid out as a matrix whose rows are its output channels, how as one whose rows are its input"
        " channels? What of a singular value decomposition says which mixtures of rows hold most?",
        "kernel.flatten(1) has a row for each output channel; kernel.transpose(0, 1).flatten(1) one for each input"
        " channel. Of each take U of torch.linalg.svd, its first r_o or r_i columns. The core is the kernel seen along"
        " these columns: for each pair (p, q), the sum over o and i of U_o[o, p] U_i[i, q] kernel[o, i].",
        skeleton(
            hosvd,
            "kernel.flatten(1)",
            "kernel.transpose(0, 1).flatten(1)",
            "outputs.U[:, :r_o], inputs.U[:, :r_i]",
            "oihw,op,iq->pqhw",
        ),
    ),
    mistakes=mistakes(
        hosvd,
        """
        reshaped-without-transposing: kernel.transpose(0, 1).flatten(1) => kernel.reshape(kernel.shape[1], -1)
            reshape or view only cuts the numbers in the order in which they lie, so that a row holds parts of several
            input channels: bring their axis to the front first, kernel.transpose(0, 1).flatten(1).

        ranks-exchanged: r_i, r_o = ranks => r_o, r_i = ranks
            The ranks are exchanged: r_i comes first, and belongs to the channels that go in.

        unfoldings-exchanged: outputs.U[:, :r_o], inputs.U[:, :r_i] => inputs.U[:, :r_o], outputs.U[:, :r_i]
            The two unfoldings are exchanged: U_o comes from the one with a row for each output channel.

        factors-returned-in-the-wrong-order: return core, U_i, U_o => return core, U_o, U_i
            U_i and U_o are returned in the wrong order: the core, then the factor of the inputs, then of the outputs.

        right-singular-vectors: outputs.U[:, :r_o], inputs.U[:, :r_i] => outputs.Vh[:r_o].T, inputs.Vh[:r_i].T
            These are the right singular vectors, which mix the columns of an unfolding: its rows are channels, take U.

        rows-of-u: outputs.U[:, :r_o], inputs.U[:, :r_i] => outputs.U[:r_o].T, inputs.U[:r_i].T
            The first rows of U are taken: the singular vectors are its columns, U[:, :r].

        smallest-singular-values: [:, :r_o], inputs.U[:, :r_i] => [:, -r_o:], inputs.U[:, -r_i:]
        + svd(kernel.flatten(1), full_matrices=False) => svd(kernel.flatten(1))
            These columns belong to the smallest singular values: svd gives the largest first (eigh gives them last).

        first-channels-kept: outputs.U => torch.eye(len(kernel))
        + inputs.U => torch.eye(kernel.shape[1])
            The first channels are kept as they are: keep the mixtures that hold most, the leading columns of U.

        scaled-by-the-singular-values: outputs.U[:, => (outputs.U * outputs.S)[:,
        + inputs.U[:, => (inputs.U * inputs.S)[:,
            The columns are multiplied by their singular values, so that they are not of length 1 and the core is too
            large: take U alone, the core holds the sizes.

        centered: svd(kernel.flatten(1), => svd(kernel.flatten(1) - kernel.flatten(1).mean(1, keepdim=True),
            The mean is subtracted before the decomposition, as in a principal component analysis: then the mean part of
            the kernel need not be among what is kept. Decompose the unfolding as it is.

        mean-over-the-window: svd(kernel.flatten(1), => svd(kernel.mean((2, 3)),
        + svd(kernel.transpose(0, 1).flatten(1), => svd(kernel.mean((2, 3)).T,
            The kernel is averaged over its window, where weights cancel: the window belongs to the columns, flatten(1).

        one-after-the-other: kernel.transpose(0, 1) => torch.einsum("oihw,op->iphw", kernel, outputs.U[:, :r_o])
            U_i is taken from the kernel as U_o has left it, one after the other: a good way, too (it is called
            sequentially truncated), but HOSVD takes both factors from the kernel itself.

        core-cut-out: torch.einsum("oihw,op,iq->pqhw", kernel, U_o, U_i) => kernel[:r_o, :r_i]
            The core is the first channels of the kernel: it is the kernel seen along both factors, a sum over all.

        core-from-the-wrong-side: "oihw,op,iq->pqhw", kernel, U_o, U_i => "oihw,po,qi->pqhw", kernel, U_o, U_i
            The core is made with the rows of the factors instead of their columns, which fits only where all ranks are
            kept: sum over the channels, the first axis of U_o and of U_i.

        improved-by-iteration: =
            Less is lost than by HOSVD: the factors were improved in turn, as tensorly's partial_tucker does. That is
            the next step; here take the leading singular vectors of both unfoldings as they are.
        """,
        improved_by_iteration=_by_tensorly,
    ),
)


# ---- one training step ----------------------------------------------------------------------------------------------


def kegnet_step(
    generator: nn.Module,
    decoder: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    y: Tensor,
    z: Tensor,
    *,
    classifier: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> float:
    """One step of generator and decoder, from y (B, classes) and z (B, latent) -> the loss before it, a number."""
    teacher.eval()
    x = generator(y, z)  # (B, ...)
    l_cls = classifier_loss(teacher(x), y)
    l_dec = decoder_loss(z, decoder(x))
    l_div = diversity_loss(z, x)
    loss = classifier * l_cls + alpha * l_dec + beta * l_div
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class _Joined(nn.Sequential):
    """A generator: layers that see y and z side by side."""

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        return super().forward(torch.cat([y, z], 1))


def _after(f: Callable, steps: int = 1, **weights: float) -> dict:
    """What there is to see after some steps from the same weights, with as many classes as latents as features."""
    generator = _filled(_Joined(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), seed=1)
    decoder = _filled(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ELU(), nn.Linear(5, 3)), seed=2)
    teacher = _network(3, seed=3, dropout=0.5)
    optimizer = torch.optim.SGD([*generator.parameters(), *decoder.parameters()], lr=0.2, momentum=0.5)
    y, z = torch.eye(3)[[0, 2, 1, 1]], normal(4, 3)
    for _ in range(steps):
        returned = f(generator, decoder, teacher, optimizer, y, z, **weights)
    networks = {"generator": generator, "decoder": decoder, "teacher": teacher}
    modes = {name: "training" if network.training else "evaluation" for name, network in networks.items()}
    states = {name: dict(network.state_dict()) for name, network in networks.items()}
    return states | {"returned": returned, "modes": modes}


WEIGHTS = {"classifier": 0.5, "alpha": 2.0, "beta": 3.0}
STEP = Exercise(
    name="kegnet_step",
    reference=paper.kegnet_step,
    answer=kegnet_step,
    minutes=15,
    difficulty=3,
    importance=3,
    differentiable=False,
    changes=("generator", "decoder", "optimizer"),
    probes=(
        Probe("what it returns, weights 0.5, 2 and 3", lambda f: _after(f, **WEIGHTS)["returned"]),
        Probe("what it returns, weights not given", lambda f: _after(f)["returned"]),
        Probe(
            "whether what it returns has a gradient", lambda f: getattr(_after(f)["returned"], "requires_grad", False)
        ),
        Probe("the teacher's weights and buffers after a step", lambda f: _after(f)["teacher"]),
        Probe("the modes after a step, all three networks in training mode before", lambda f: _after(f)["modes"]),
        Probe("the decoder after a step, weights 0.5, 2 and 3", lambda f: _after(f, **WEIGHTS)["decoder"]),
        Probe(
            "the generator after a step with the classifier loss alone",
            lambda f: _after(f, alpha=0.0)["generator"],
        ),
        Probe(
            "the generator after a step with the decoder loss alone",
            lambda f: _after(f, classifier=0.0)["generator"],
        ),
        Probe(
            "the generator after a step with the diversity loss alone",
            lambda f: _after(f, classifier=0.0, alpha=0.0, beta=1.0)["generator"],
        ),
        Probe("the generator after a step, weights 0.5, 2 and 3", lambda f: _after(f, **WEIGHTS)["generator"]),
        Probe("the generator after two steps, weights 0.5, 2 and 3", lambda f: _after(f, 2, **WEIGHTS)["generator"]),
    ),
    hints=(
        "Three networks work here, and two of them learn. Through which must a gradient pass all the same, and what of"
        " it must not change?",
        "teacher.eval() first. Make x once, and hand the same x to teacher, decoder and diversity loss, without detach"
        " or no_grad. Weigh the three losses and add them, then zero_grad, backward, step. (The teacher's weights get"
        " gradients, too, but nobody uses them: the optimizer does not know these weights.)",
        skeleton(kegnet_step, "teacher.eval()", "teacher(x), y", "z, decoder(x)", "optimizer.zero_grad()", "backward"),
    ),
    mistakes=mistakes(
        kegnet_step,
        """
        teacher-in-training-mode: teacher.eval() =>
            The teacher answers in training mode, with dropout and the statistics of the generated batch, which its
            buffers take on, so that it is not the one that will be asked later: call teacher.eval() first.

        teacher-without-a-gradient: teacher(x) => teacher(x).detach()
            No gradient passes through the teacher, so that the generator cannot learn what it is asked for: leave out
            detach and no_grad. What must stay is the teacher's weights, and these are not in the optimizer.

        decoder-learns-alone: decoder(x) => decoder(x.detach())
            The decoder is given x without its graph, so that the generator does not learn to make z readable.

        decoder-without-a-gradient: decoder(x) => decoder(x).detach()
            Nobody learns from the decoder loss: leave out detach and no_grad, for the decoder and for x.

        gradients-added-up: optimizer.zero_grad() =>
            From the second step on the gradients of earlier steps are added: call optimizer.zero_grad() in each step.

        nothing-moves: optimizer.step() =>
            Neither generator nor decoder moves: call optimizer.step() after loss.backward(), with no zero_grad()
            between.

        generator-in-evaluation-mode: x = generator(y, z) => x = generator.eval()(y, z)
            The generator is put into evaluation mode, so that its batch normalization stands still: leave it in its
            own.

        generator-asked-twice: decoder(x) => decoder(generator(y, z))
            The generator makes its images twice, and counts the batch twice in its buffers: make x once.

        labels-and-latents-exchanged: generator(y, z) => generator(z, y)
            The generator takes the labels first, then the latents.

        the-teachers-own-choice: (teacher(x), y) => (teacher(x), F.one_hot(teacher(x).argmax(1), y.shape[1]))
            The loss asks for what the teacher takes x for anyway, so that nobody hears of y: compare with y.

        alpha-and-beta-exchanged: alpha * l_dec + beta * l_div => beta * l_dec + alpha * l_div
            The weights are exchanged: alpha belongs to the decoder loss, beta to the diversity loss.

        first-weight-forgotten: classifier * l_cls => l_cls
            The classifier loss has a weight as well, which is 1 if it is not given: multiply by classifier.

        diversity-forgotten: + beta * l_div =>
            The diversity loss is left out, which is right for beta = 0 alone: add beta times it.

        diversity-subtracted: + beta => - beta
            The diversity loss is subtracted, so that images are made alike: it is small where they differ, add it.

        loss-with-its-graph: loss.item() => loss
            The loss is returned with all that it was computed from, which fills the memory when losses are collected:
            return its number, loss.item().
        """,
    ),
)

EXERCISES = (STANDARDIZE, CLASSIFIER, DECODER, DIVERSITY, THREE, COST, DISTILLATION)
MORE = (HOSVD, STEP)  # known to the checks, not in the lesson yet
