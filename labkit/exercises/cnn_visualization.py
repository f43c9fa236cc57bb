"""The exercises of lesson 04. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import cnn_visualization as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- receptive fields -----------------------------------------------------------------------------------------------


def _field_by_its_ends(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    first = start - padding * jump
    end = first + dilation * (kernel - 1) * jump + size  # where the field of the last tap ends
    return end - first, stride * jump, first


def _field_by_its_pixels(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    def pixels(unit: int) -> list[int]:
        seen = [unit * stride - padding + tap * dilation for tap in range(kernel)]  # units of the layer below
        return [start + below * jump + pixel for below in seen for pixel in range(size)]

    return max(pixels(0)) - min(pixels(0)) + 1, min(pixels(1)) - min(pixels(0)), min(pixels(0))


def _field_of(size: Callable, jump: Callable | None = None, start: Callable | None = None) -> Callable:
    """A wrong extend_field: each part from (size, jump, start, k, s, p, d), those left out are right."""

    def extend_field(r: int, j: int, a: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1):
        given = (r, j, a, kernel, stride, padding, dilation)
        right = paper.extend_field(r, j, a, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        parts = zip((size, jump, start), right, strict=True)
        return tuple(part(*given) if part else value for part, value in parts)

    return extend_field


_DILATED = {"kernel": 3, "stride": 2, "padding": 2, "dilation": 2}


def _through_two_layers(f: Callable) -> tuple:
    first = f(1, 1, 0, kernel=11, stride=4, padding=2)
    return first, f(*first, kernel=3, stride=2)


FIELD = Exercise(
    name="extend_field",
    reference=paper.extend_field,
    probes=(
        Probe("a 3 x 3 convolution on the image", lambda f: f(1, 1, 0, kernel=3)),
        Probe("a pooling behind it, kernel 2 and stride 2", lambda f: f(3, 1, 0, kernel=2, stride=2)),
        Probe("a 5 x 5 convolution with padding 2 behind the pooling", lambda f: f(4, 2, 0, kernel=5, padding=2)),
        Probe("kernel 3, dilation 2, padding 2, stride 2, behind it", lambda f: f(12, 2, -4, **_DILATED)),
        Probe("a 1 x 1 convolution with stride 3", lambda f: f(7, 4, -2, kernel=1, stride=3)),
        Probe("AlexNet's first convolution and pooling", _through_two_layers),
    ),
    hints=(
        "Draw one row: which units below does the new unit 0 look at, and how many pixels lie between two of them?",
        "A kernel of k taps spans (k - 1) * dilation steps of the layer below, and each of its steps is `jump` pixels"
        " long, the old jump. Padding moves the first tap `padding` such steps to the left.",
        "return size + (kernel - 1) * dilation * jump, jump * stride, start - padding * jump",
    ),
    mistakes=(
        Mistake(
            "jump-forgotten",
            _field_of(lambda r, j, a, k, s, p, d: r + (k - 1) * d),
            "The size grows by taps instead of pixels: two neighbouring taps lie `jump` pixels apart, multiply by it.",
        ),
        Mistake(
            "new-jump",
            _field_of(lambda r, j, a, k, s, p, d: r + (k - 1) * d * j * s),
            "The size grows by the new jump: the taps lie on the layer below, take the jump from before this stride.",
        ),
        Mistake(
            "stride-instead-of-jump",
            _field_of(lambda r, j, a, k, s, p, d: r + (k - 1) * d * s),
            "The size grows by this layer's stride: multiply by `jump`, which holds the strides of all layers below.",
        ),
        Mistake(
            "kernel-instead-of-kernel-minus-1",
            _field_of(lambda r, j, a, k, s, p, d: r + k * d * j),
            "The size grows by `kernel` steps: between k taps there are k - 1, so that a 1 x 1 kernel adds nothing.",
        ),
        Mistake(
            "dilation-ignored",
            _field_of(lambda r, j, a, k, s, p, d: r + (k - 1) * j),
            "The dilation is ignored: it pulls the taps apart, so multiply (kernel - 1) by it.",
        ),
        Mistake(
            "dilation-times-kernel",
            _field_of(lambda r, j, a, k, s, p, d: r + (k * d - 1) * j),
            "The dilation multiplies the kernel itself: it stretches the gaps, so the span is (kernel - 1) * dilation.",
        ),
        Mistake(
            "jump-added",
            _field_of(None, lambda r, j, a, k, s, p, d: j + s),
            "The stride is added to the jump: s units of `jump` pixels each are jump * stride pixels.",
        ),
        Mistake(
            "jump-replaced",
            _field_of(None, lambda r, j, a, k, s, p, d: s),
            "The new jump is only this layer's stride: multiply it by the jump of the layers below.",
        ),
        Mistake(
            "padding-without-jump",
            _field_of(None, None, lambda r, j, a, k, s, p, d: a - p),
            "The padding is taken for pixels of the image: it counts units below, each `jump` pixels from the next.",
        ),
        Mistake(
            "padding-added",
            _field_of(None, None, lambda r, j, a, k, s, p, d: a + p * j),
            "The start moves to the right: padding lies before the first unit, so subtract it.",
        ),
        Mistake(
            "padding-ignored",
            _field_of(None, None, lambda r, j, a, k, s, p, d: a),
            "The padding is ignored: it moves the field of unit 0 over the image's edge, by padding * jump pixels.",
        ),
    ),
    alternatives=(_field_by_its_ends, _field_by_its_pixels),
)

# ---- selectivity ----------------------------------------------------------------------------------------------------


def _selectivity_by_loop(responses: Tensor, labels: Tensor) -> Tensor:
    found = []
    for unit in responses.T:
        means = sorted(unit[labels == c].mean() for c in labels.unique())
        rest = sum(means[:-1]) / (len(means) - 1)
        found.append((means[-1] - rest) / (means[-1] + rest) if means[-1] > 0 else torch.zeros_like(rest))
    return torch.stack(found)


def _selectivity_by_one_hot(responses: Tensor, labels: Tensor) -> Tensor:
    member = (labels.unique()[:, None] == labels).to(responses)  # (classes, N)
    means = (member @ responses / member.sum(1, keepdim=True)).sort(dim=0).values
    most, rest = means[-1], means[:-1].mean(0)
    return ((most - rest) / (most + rest)).nan_to_num(nan=0.0)


def _by_class(responses: Tensor, labels: Tensor, summary: Callable = lambda one: one.mean(0)) -> Tensor:
    return torch.stack([summary(responses[labels == c]) for c in labels.unique()])


def _index_of(rest: Callable, index: Callable | None = None, summary: Callable = lambda one: one.mean(0)) -> Callable:
    """A selectivity with index(m, r) for the largest class mean and rest(class means) for the others."""
    index = index or (lambda m, r: (m - r) / (m + r))

    def selectivity(responses: Tensor, labels: Tensor) -> Tensor:
        means = _by_class(responses, labels, summary)
        most = means.max(0).values
        return torch.where(most > 0, index(most, rest(means)), 0)

    return selectivity


def _mean_of_the_rest(means: Tensor) -> Tensor:
    return means.sort(dim=0).values[:-1].mean(0)


def _selectivity_over_images(responses: Tensor, labels: Tensor) -> Tensor:
    means = _by_class(responses, labels)
    favourite = labels.unique()[means.argmax(0)]  # (K,)
    other = labels[:, None] != favourite
    rest = (responses * other).sum(0) / other.sum(0)
    most = means.max(0).values
    return torch.where(most > 0, (most - rest) / (most + rest), 0)


def _selectivity_of_the_best_image(responses: Tensor, labels: Tensor) -> Tensor:
    means, classes = _by_class(responses, labels), labels.unique()
    favourite = (classes[:, None] == labels[responses.argmax(0)]).to(means)  # (classes, K)
    most = (means * favourite).sum(0)
    rest = (means * (1 - favourite)).sum(0) / (len(classes) - 1)
    return torch.where(most > 0, (most - rest) / (most + rest), 0)


def _one_class_is_larger(f: Callable) -> Tensor:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    return f(torch.tensor([[1.0, 5, 0], [1, 5, 2], [1, 5, 2], [1, 5, 4], [4, 3, 2], [2, 1, 1], [2, 0, 1]]), labels)


SELECTIVITY = Exercise(
    name="selectivity",
    reference=paper.selectivity,
    probes=(
        Probe(
            "one unit and an image each of three classes, responses 3, 1 and 1",
            lambda f: f(torch.tensor([[3.0], [1.0], [1.0]]), torch.arange(3)),
        ),
        Probe(
            "two classes; a unit that responds to one only, and one that responds to both alike",
            lambda f: f(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1])),
        ),
        Probe(
            "responses 6, 0, 0 to one class and 3, 3, 3 to the other",
            lambda f: f(torch.tensor([[6.0], [0.0], [0.0], [3.0], [3.0], [3.0]]), torch.tensor([0, 0, 0, 1, 1, 1])),
        ),
        Probe("classes of 4, 1 and 2 images", _one_class_is_larger),
        Probe("a unit that never responds", lambda f: f(torch.zeros(4, 2), torch.tensor([0, 0, 1, 2]))),
        Probe(
            "30 images of the classes 2, 5, 7 and 8, 6 units",
            lambda f: f(_normal(30, 6).clamp(min=0), torch.tensor([2, 5, 7, 8, 8] * 6)),
        ),
    ),
    hints=(
        "A unit has a mean response to each class. Which one is m, and how do the others become the one number r?",
        "For each class c, responses[labels == c].mean(0) is (K,): stack them to (classes, K). m is the largest of a"
        " column, r the mean of the others, so (sum - m) / (classes - 1). A unit that is always 0 gets 0.",
        "With m and r, both (K,): return torch.where(m > 0, (m - r) / (m + r), 0)",
    ),
    mistakes=(
        Mistake(
            "favourite-counted-among-the-rest",
            _index_of(lambda means: means.mean(0)),
            "The favourite class is part of the rest as well: leave it out, r is the mean over the other classes.",
        ),
        Mistake(
            "largest-response-of-a-class",
            _index_of(_mean_of_the_rest, summary=lambda one: one.amax(0)),
            "Each class is judged by its strongest image: take the mean response, one outlier is no preference.",
        ),
        Mistake(
            "sum-over-the-images",
            _index_of(_mean_of_the_rest, summary=lambda one: one.sum(0)),
            "The responses of a class are summed: take their mean, or the class with most images wins.",
        ),
        Mistake(
            "mean-over-images-instead-of-classes",
            _selectivity_over_images,
            "The rest is averaged over images: average over classes, so that large and small ones count alike.",
        ),
        Mistake(
            "favourite-by-the-best-image",
            _selectivity_of_the_best_image,
            "The favourite is the class of the strongest image: it is the class with the largest mean response.",
        ),
        Mistake(
            "difference-not-divided",
            _index_of(_mean_of_the_rest, lambda m, r: m - r),
            "The difference is not divided by m + r: without that, a unit with larger responses seems more selective.",
        ),
        Mistake(
            "divided-by-m",
            _index_of(_mean_of_the_rest, lambda m, r: (m - r) / m),
            "The difference is divided by m alone: divide by the sum m + r.",
        ),
        Mistake(
            "ratio",
            _index_of(_mean_of_the_rest, lambda m, r: m / (m + r)),
            "This is m / (m + r), which is 1/2 for a unit without preference: the numerator is m - r.",
        ),
        Mistake(
            "smallest-instead-of-mean",
            _index_of(lambda means: means.min(0).values),
            "The favourite is compared with the class that is liked least: take the mean over all other classes.",
        ),
        Mistake(
            "second-best-instead-of-mean",
            _index_of(lambda means: means.sort(dim=0).values[-2]),
            "The favourite is compared with the second best class only: take the mean over all other classes.",
        ),
        Mistake(
            "nan-for-silent-units",
            lambda responses, labels: (
                (2 * (means := _by_class(responses, labels)).max(0).values)
                / (means.max(0).values + _mean_of_the_rest(means))
                - 1
            ),
            "A unit that never responds gives 0 / 0, NaN: it prefers nothing, so return 0 for it.",
        ),
    ),
    alternatives=(_selectivity_by_one_hot, _selectivity_by_loop),
)


# ---- the step of gradient ascent ------------------------------------------------------------------------------------


def _step_by_norm(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    steepness = torch.linalg.vector_norm(gradient.flatten(1), dim=1).reshape(-1, 1, 1, 1) ** 2
    return torch.full_like(steepness, lr) if desired is None else (desired / steepness).clamp(max=lr)


def _step_image_by_image(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    steps = []
    for g in gradient:
        gain = float((g * g).sum())  # of a step of length 1
        steps.append(lr if desired is None or gain == 0 else min(lr, desired / gain))
    return torch.tensor(steps).reshape(-1, 1, 1, 1)


def _step_of(choose: Callable) -> Callable:
    """A step_length where choose(gradient, lr, desired) answers in place of min(lr, desired / |g|^2)."""

    def step_length(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
        constant = torch.full((len(gradient), 1, 1, 1), lr)
        return constant if desired is None else choose(gradient, constant, desired)

    return step_length


def _squares(gradient: Tensor) -> Tensor:
    return gradient.square().sum((1, 2, 3), keepdim=True)


def _step_without_gradient(f: Callable) -> Tensor:
    gradient = _normal(2, 1, 3, 3) * torch.tensor([0.0, 1.0])[:, None, None, None]
    return f(gradient, 0.5, 2.0) * gradient


STEP = Exercise(
    name="step_length",
    reference=paper.step_length,
    probes=(
        Probe("three images, lr = 0.5, no desired gain", lambda f: f(_normal(3, 2, 4, 4), 0.5)),
        Probe("4 pixels of gradient 3, lr = 10, desired = 2", lambda f: f(torch.full((1, 1, 2, 2), 3.0), 10.0, 2.0)),
        Probe("the same with lr = 0.01", lambda f: f(torch.full((1, 1, 2, 2), 3.0), 0.01, 2.0)),
        Probe(
            "a steep and a flat image, lr = 0.2, desired = 1",
            lambda f: f(_normal(2, 3, 4, 4) * torch.tensor([1.0, 0.1])[:, None, None, None], 0.2, 1.0),
        ),
        Probe("the step eta g, where one image has no gradient", _step_without_gradient),
    ),
    hints=(
        "A step eta g changes a linear activation by <g, eta g>. For which eta is that `desired`?",
        "<g, eta g> = eta |g|^2, so eta = desired / |g|^2, with the squares of one image summed over colours and pixels"
        " (dimensions 1, 2 and 3). Where the gradient is tiny, that is huge: lr is the limit.",
        "torch.minimum(torch.full((len(gradient), 1, 1, 1), lr), desired / gradient.square().sum((1, 2, 3),"
        " keepdim=True)), or only the first of the two if desired is None.",
    ),
    mistakes=(
        Mistake(
            "desired-ignored",
            _step_of(lambda g, lr, desired: lr),
            "The step is always lr: with `desired` it is desired / |g|^2 wherever that is smaller.",
        ),
        Mistake(
            "norm-not-squared",
            _step_of(lambda g, lr, desired: torch.minimum(lr, desired / _squares(g).sqrt())),
            "desired is divided by |g|: a step eta g gains eta |g|^2, so divide by the square of the norm.",
        ),
        Mistake(
            "one-step-for-the-batch",
            _step_of(lambda g, lr, desired: torch.minimum(lr, desired / g.square().sum())),
            "The squares are summed over the batch, too: each image has a step of its own, sum over (1, 2, 3).",
        ),
        Mistake(
            "mean-of-squares",
            _step_of(lambda g, lr, desired: torch.minimum(lr, desired / g.square().mean((1, 2, 3), keepdim=True))),
            "The squares are averaged over the pixels: |g|^2 is their sum.",
        ),
        Mistake(
            "sum-of-absolute-values",
            _step_of(lambda g, lr, desired: torch.minimum(lr, desired / g.abs().sum((1, 2, 3), keepdim=True))),
            "desired is divided by the sum of the absolute values: |g|^2 is the sum of the squares.",
        ),
        Mistake(
            "larger-of-the-two",
            _step_of(lambda g, lr, desired: torch.maximum(lr, desired / _squares(g))),
            "This takes the larger of the two steps: lr is the limit, so take the smaller.",
        ),
        Mistake(
            "no-limit",
            _step_of(lambda g, lr, desired: desired / _squares(g)),
            "lr does not limit the step: where the gradient is tiny, desired / |g|^2 is huge, where it is 0, infinite.",
        ),
        Mistake(
            "lr-multiplied",
            _step_of(lambda g, lr, desired: lr * desired / _squares(g)),
            "lr multiplies the step: with `desired` it is only its upper limit.",
        ),
        Mistake(
            "nan-without-gradient",
            _step_of(lambda g, lr, desired: torch.minimum(lr * _squares(g), torch.tensor(desired)) / _squares(g)),
            "An image without gradient gives 0 / 0, NaN: limit desired / |g|^2, infinite there, by lr.",
        ),
        Mistake(
            "axes-lost",
            lambda gradient, lr, desired=None: torch.minimum(
                torch.full((len(gradient),), lr), (desired or torch.inf) / gradient.square().sum((1, 2, 3))
            ),
            "The steps have the shape (B,): keep the summed axes, (B, 1, 1, 1), so that they multiply (B, C, H, W).",
        ),
    ),
    alternatives=(_step_by_norm, _step_image_by_image),
)


# ---- clipping by a percentile ---------------------------------------------------------------------------------------


def _clip_by_numpy(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    import numpy as np

    threshold = np.percentile(size.numpy(), percentile, axis=(1, 2, 3), keepdims=True).astype("float32")
    return x * (size >= torch.from_numpy(threshold))


def _clip_image_by_image(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    return torch.stack([one.masked_fill(s < s.quantile(percentile / 100), 0) for one, s in zip(x, size, strict=True)])


def _thresholds(size: Tensor, percentile: float) -> Tensor:
    return size.flatten(1).quantile(percentile / 100, dim=1)[:, None, None, None]


def _clip_values(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    return torch.where(x.abs() < _thresholds(x.abs(), percentile), 0, x)


def _clip_channels(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    value = x.abs()
    return torch.where(value < value.flatten(2).quantile(percentile / 100, dim=2)[..., None, None], 0, x)


def _sizes() -> Tensor:
    return torch.tensor([[[[4.0, 1.0, 3.0], [2.0, 6.0, 5.0]]]])


def _clip_two_images(f: Callable) -> Tensor:
    x = _normal(2, 3, 5, 5) * torch.tensor([1.0, 10.0])[:, None, None, None]
    return f(x, x.norm(dim=1, keepdim=True), 40.0)


CLIP = Exercise(
    name="clip_small",
    reference=paper.clip_small,
    probes=(
        Probe("an image of ones, sizes 1 ... 6, percentile 50", lambda f: f(torch.ones(1, 3, 2, 3), _sizes(), 50.0)),
        Probe("the same with percentile 0", lambda f: f(torch.ones(1, 3, 2, 3), _sizes(), 0.0)),
        Probe("pixels all of size 1, percentile 50", lambda f: f(_normal(1, 3, 4, 4), torch.ones(1, 1, 4, 4), 50.0)),
        Probe(
            "two of three pixels of size 0, percentile 60, which is 0 as well",
            lambda f: f(_normal(1, 3, 3, 3), torch.tensor([0.0, 0, 1, 0, 2, 0, 0, 3, 0]).reshape(1, 1, 3, 3), 60.0),
        ),
        Probe("a dark and a bright image, sizes their norms, percentile 40", _clip_two_images),
        Probe(
            "10 x 10 pixels, sizes that have nothing to do with the image, percentile 90",
            lambda f: f(_normal(1, 3, 10, 10), _normal(1, 1, 10, 10, seed=1).exp(), 90.0),
        ),
    ),
    hints=(
        "How large is the pixel below which that many percent of an image's pixels lie? Does each image have its own?",
        "size.flatten(1) is (B, H * W), and quantile(share, dim=1) gives a threshold for each image; a percentile is"
        " 100 times a share. A pixel as large as the threshold stays, and a pixel goes with all its colours.",
        "With threshold of shape (B, 1, 1, 1): return torch.where(size < threshold, 0, x)",
    ),
    mistakes=(
        Mistake(
            "threshold-of-the-batch",
            lambda x, size, percentile: torch.where(size < size.quantile(percentile / 100), 0, x),
            "The batch has one threshold: each image needs its own, or a dark image loses all its pixels.",
        ),
        Mistake(
            "large-ones-clipped",
            lambda x, size, percentile: torch.where(size < _thresholds(size, percentile), x, 0),
            "The small pixels stay and the large ones go: it is the small ones that become 0.",
        ),
        Mistake(
            "equal-ones-clipped",
            lambda x, size, percentile: torch.where(size <= _thresholds(size, percentile), 0, x),
            "Pixels at the threshold are clipped, too: only those strictly below it go, or an even image vanishes.",
        ),
        Mistake(
            "percentile-taken-for-a-share",
            lambda x, size, percentile: torch.where(size < _thresholds(size, 100 * percentile), 0, x),
            "The percentile goes to quantile as it is, which asks for a share from 0 to 1: divide it by 100.",
        ),
        Mistake(
            "percent-of-the-largest",
            lambda x, size, percentile: torch.where(size < percentile / 100 * size.amax((1, 2, 3), keepdim=True), 0, x),
            "The threshold is a share of the largest size: a percentile is the size that so many percent lie below.",
        ),
        Mistake(
            "percent-of-the-mean",
            lambda x, size, percentile: torch.where(size < percentile / 50 * size.mean((1, 2, 3), keepdim=True), 0, x),
            "The threshold is a multiple of the mean size: a percentile is the size that so many percent lie below.",
        ),
        Mistake(
            "values-instead-of-pixels",
            _clip_values,
            "Single values of x are clipped: compare `size`, so that a pixel stays or goes with all its colours.",
        ),
        Mistake(
            "each-colour-by-itself",
            _clip_channels,
            "Each colour is clipped by itself: compare `size`, so that a pixel stays or goes with all its colours.",
        ),
        Mistake(
            "threshold-for-each-row",
            lambda x, size, percentile: torch.where(size < size.quantile(percentile / 100, dim=3, keepdim=True), 0, x),
            "Each row of pixels has its own threshold: flatten an image, all of its pixels share one.",
        ),
        Mistake(
            "threshold-subtracted",
            lambda x, size, percentile: (size - _thresholds(size, percentile)).clamp(min=0) / size * x,
            "The large pixels shrink as well: they stay as they are, only those below the threshold become 0.",
        ),
    ),
    alternatives=(_clip_image_by_image, _clip_by_numpy),
)


# ---- unpooling ------------------------------------------------------------------------------------------------------


def _unpool_by_index(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    B, K = pooled.shape[:2]
    maps = pooled.new_zeros(B, K, *size)
    image, channel = torch.arange(B)[:, None, None, None], torch.arange(K)[:, None, None]
    maps[image, channel, switches // size[1], switches % size[1]] = pooled
    return maps


def _unpool_by_loop(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    maps = torch.zeros(*pooled.shape[:2], size[0] * size[1])
    for b, k in torch.cartesian_prod(torch.arange(len(pooled)), torch.arange(pooled.shape[1])):
        for value, place in zip(pooled[b, k].flatten(), switches[b, k].flatten(), strict=True):
            maps[b, k, place] = value
    return maps.unflatten(2, tuple(size))


def _unpool_top_left(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    maps = pooled.new_zeros(*pooled.shape[:2], *size)
    down, right = size[0] // pooled.shape[2], size[1] // pooled.shape[3]
    maps[..., : pooled.shape[2] * down : down, : pooled.shape[3] * right : right] = pooled
    return maps


def _unpool_all_into_the_first(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    maps = pooled.new_zeros(*pooled.shape[:2], *size)
    maps.view(-1)[switches.flatten()] = pooled.flatten()
    return maps


def _pool(*shape: int, **window: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Maxima of random maps, their switches, and the size of the maps."""
    pooled, switches = F.max_pool2d(_normal(*shape), **window, return_indices=True)
    return pooled, switches, shape[-2:]


def _one_peak() -> tuple[Tensor, Tensor, tuple[int, int]]:
    """A peak in the middle of 5 x 5 that all four windows of a 3 x 3 pooling with stride 2 see."""
    return torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 12), (5, 5)


UNPOOL = Exercise(
    name="unpool",
    reference=paper.unpool,
    probes=(
        Probe(
            "a 2 x 2 map, the four values 1 ... 4 at the places 0, 3, 13 and 10",
            lambda f: f(
                torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[[[0, 3], [13, 10]]]]), torch.Size([4, 4])
            ),
        ),
        Probe("maps of 4 x 6, windows of 2", lambda f: f(*_pool(1, 1, 4, 6, kernel_size=2))),
        Probe("2 images of 3 maps, 6 x 6, windows of 2", lambda f: f(*_pool(2, 3, 6, 6, kernel_size=2))),
        Probe(
            "5 x 7, windows of 2: the last row and column are left over", lambda f: f(*_pool(2, 2, 5, 7, kernel_size=2))
        ),
        Probe("a peak seen by four windows of 3 with stride 2", lambda f: f(*_one_peak())),
        Probe("7 x 9, windows of 3 with stride 2", lambda f: f(*_pool(2, 3, 7, 9, kernel_size=3, stride=2))),
    ),
    hints=(
        "The switches remember where each maximum stood. What belongs in all other places?",
        "A switch is the place in the flattened map, row * W + column, of the same image and channel. So flatten the"
        " maps of zeros to (B, K, H * W) and put the values there; two at one place do not add up, one of them stays.",
        "pooled.new_zeros(B, K, H * W).scatter(2, switches.flatten(2), pooled.flatten(2)).reshape(B, K, H, W)",
    ),
    mistakes=(
        Mistake(
            "values-added",
            lambda pooled, switches, size: (
                pooled.new_zeros(*pooled.shape[:2], size[0] * size[1])
                .scatter_add(2, switches.flatten(2), pooled.flatten(2))
                .unflatten(2, tuple(size))
            ),
            "A maximum that several windows share is added up, as in a gradient: write it once, with scatter.",
        ),
        Mistake(
            "values-repeated",
            lambda pooled, switches, size: F.interpolate(pooled, tuple(size), mode="nearest"),
            "Each value fills its whole window: it belongs to the place of its switch alone, all others are 0.",
        ),
        Mistake(
            "switches-ignored",
            _unpool_top_left,
            "Each value stands at the top left of its window: put it where its switch says that the maximum was.",
        ),
        Mistake(
            "all-in-the-first-map",
            _unpool_all_into_the_first,
            "All values land in the first map: a switch counts within its own image and channel, keep these two axes.",
        ),
        Mistake(
            "switches-of-the-first-map",
            lambda pooled, switches, size: (
                pooled.new_zeros(*pooled.shape[:2], size[0] * size[1])
                .index_copy(2, switches[0, 0].flatten(), pooled.flatten(2))
                .unflatten(2, tuple(size))
            ),
            "The switches of one map are used for all: every image and channel has its own.",
        ),
        Mistake(
            "height-and-width-swapped",
            lambda pooled, switches, size: paper.unpool(pooled, switches, size).reshape(
                *pooled.shape[:2], size[1], size[0]
            ),
            "Height and width are swapped: size is (H, W), and the maps are (B, K, H, W).",
        ),
        Mistake(
            "ones-instead-of-values",
            lambda pooled, switches, size: paper.unpool(torch.ones_like(pooled), switches, size),
            "The places of the maxima are marked with 1: put the values of `pooled` there.",
        ),
        Mistake(
            "negative-values-lost",
            lambda pooled, switches, size: paper.unpool(pooled, switches, size).clamp(min=0),
            "Negative values are lost: unpooling moves all values, the ReLU is another step.",
        ),
    ),
    alternatives=(_unpool_by_index, _unpool_by_loop),
)


# ---- three ways back through a ReLU ---------------------------------------------------------------------------------


def _relu_by_where(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    zero = torch.zeros_like(signal)
    if rule != "gradient":
        signal = torch.where(signal > 0, signal, zero)
    return signal if rule == "deconvnet" else torch.where(z > 0, signal, zero)


def _relu_by_masks(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    on, positive = z > 0, signal > 0
    return signal * {"gradient": on, "deconvnet": positive, "guided": on & positive}[rule]


def _rules(**wrong: Callable) -> Callable:
    """A backward_relu with wrong(signal, z) for some rules, and the paper's for the others."""

    def backward_relu(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
        return wrong[rule](signal, z) if rule in wrong else paper.backward_relu(signal, z, rule)

    return backward_relu


def _positive(signal: Tensor, z: Tensor) -> Tensor:
    return signal.clamp(min=0)


def _on(signal: Tensor, z: Tensor) -> Tensor:
    return signal * (z > 0)


def _both(signal: Tensor, z: Tensor) -> Tensor:
    return signal.clamp(min=0) * (z > 0)


def _signs(f: Callable, *rule: str) -> Tensor:
    """Signals 2, -3 and 5 against units that were on, exactly 0 and off."""
    return f(torch.tensor([[2.0, -3.0, 5.0]]).expand(3, 3), torch.tensor([[4.0], [0.0], [-1.0]]).expand(3, 3), *rule)


RELU = Exercise(
    name="backward_relu",
    reference=paper.backward_relu,
    probes=(
        Probe("signals 2, -3 and 5, z = 4, 0 and -1 for each, no rule named", _signs),
        Probe('the same with rule = "deconvnet"', lambda f: _signs(f, "deconvnet")),
        Probe('the same with rule = "guided"', lambda f: _signs(f, "guided")),
        *(
            Probe(
                f'random maps with rule = "{rule}"',
                lambda f, rule=rule: f(_normal(2, 3, 4, 4), _normal(2, 3, 4, 4, seed=1), rule=rule),
            )
            for rule in ("gradient", "deconvnet", "guided")
        ),
    ),
    hints=(
        "Two questions can be asked at a ReLU on the way back: was the unit on, and is the signal positive? Which does"
        " each rule ask?",
        '"gradient" asks the first only, z > 0, and "deconvnet" the second only: it is a ReLU, put on the signal.'
        ' "guided" asks both.',
        'With passed = signal if rule == "gradient" else signal.clamp(min=0): return passed if rule == "deconvnet" else'
        " passed * (z > 0)",
    ),
    mistakes=(
        Mistake(
            "deconvnet-uses-z",
            _rules(deconvnet=_on),
            'With "deconvnet" the signal passes where the unit was on: that is the gradient; the deconvnet forgets'
            " z and rectifies the signal.",
        ),
        Mistake(
            "deconvnet-asks-both",
            _rules(deconvnet=_both),
            'With "deconvnet" z is asked as well: that is guided backpropagation, the deconvnet only asks whether the'
            " signal is positive.",
        ),
        Mistake(
            "gradient-rectifies",
            _rules(gradient=_both),
            'With "gradient" negative signals are lost: a gradient may be negative, only z decides what passes.',
        ),
        Mistake(
            "gradient-and-deconvnet-exchanged",
            _rules(gradient=_positive, deconvnet=_on),
            '"gradient" and "deconvnet" are exchanged: the gradient asks z, the deconvnet asks the signal.',
        ),
        Mistake(
            "guided-without-z",
            _rules(guided=_positive),
            'With "guided" z plays no part: that is the deconvnet, also ask whether the unit was on, z > 0.',
        ),
        Mistake(
            "guided-without-the-sign",
            _rules(guided=_on),
            'With "guided" negative signals pass: that is the gradient, also ask whether the signal is positive.',
        ),
        Mistake(
            "guided-asks-either",
            _rules(guided=lambda signal, z: signal * ((signal > 0) | (z > 0))),
            'With "guided" it is enough that one of the two is positive: both must be, the unit and the signal.',
        ),
        Mistake(
            "deconvnet-and-guided-exchanged",
            _rules(deconvnet=_both, guided=_positive),
            '"deconvnet" and "guided" are exchanged: it is guided backpropagation that asks both questions.',
        ),
        Mistake(
            "rule-ignored",
            _rules(deconvnet=_on, guided=_on),
            "Every rule gives the gradient: look at `rule`.",
        ),
        Mistake(
            "zero-counts-as-on",
            _rules(
                gradient=lambda signal, z: signal * (z >= 0), guided=lambda signal, z: signal.clamp(min=0) * (z >= 0)
            ),
            "A unit with z = 0 counts as on: it gave out 0, ask for z > 0.",
        ),
        Mistake(
            "multiplied-by-the-activation",
            _rules(
                gradient=lambda signal, z: signal * z.clamp(min=0),
                guided=lambda signal, z: signal.clamp(min=0) * z.clamp(min=0),
            ),
            "The signal is multiplied by the activation: the slope of a ReLU is 1 or 0, multiply by (z > 0).",
        ),
        Mistake(
            "forward-again",
            lambda signal, z, rule="gradient": z.clamp(min=0),
            "This is the forward pass, the ReLU of z: what is sent back is the signal, or 0.",
        ),
        Mistake(
            "absolute-values",
            _rules(
                deconvnet=lambda signal, z: signal.abs(),
                guided=lambda signal, z: signal.abs() * (z > 0),
            ),
            "Negative signals pass with their sign changed: a ReLU sets them to 0.",
        ),
    ),
    alternatives=(_relu_by_where, _relu_by_masks),
)

EXERCISES = (FIELD, SELECTIVITY, STEP, CLIP, UNPOOL, RELU)
