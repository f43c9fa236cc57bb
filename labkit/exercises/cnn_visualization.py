"""The exercises of lesson 04. Each mistake below is a real wrong answer; the tests prove that it is caught by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import normal
from labkit.papers import cnn_step_by_step
from labkit.papers import cnn_visualization as paper


def extend_field(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    span = (kernel - 1) * dilation  # from the first tap to the last, in units of the layer below
    return size + span * jump, jump * stride, start - padding * jump


def _through_two_layers(f: Callable) -> tuple:
    first = f(1, 1, 0, kernel=11, stride=4, padding=2)
    return first, f(*first, kernel=3, stride=2)


FIELD = Exercise(
    name="extend_field",
    reference=paper.extend_field,
    probes=(
        Probe("a 3 x 3 convolution on the image", lambda f: f(1, 1, 0, kernel=3)),
        Probe("size 3, jump 1, start 0 and a pooling, kernel 2, stride 2", lambda f: f(3, 1, 0, kernel=2, stride=2)),
        Probe("size 4, jump 2, start 0 and kernel 5, padding 2", lambda f: f(4, 2, 0, kernel=5, padding=2)),
        Probe(
            "size 12, jump 2, start -4 and kernel 3, dilation 2, padding 2, stride 2",
            lambda f: f(12, 2, -4, kernel=3, stride=2, padding=2, dilation=2),
        ),
        Probe(
            "size 7, jump 4, start -2 and a 1 x 1 convolution with stride 3", lambda f: f(7, 4, -2, kernel=1, stride=3)
        ),
        Probe("AlexNet's first convolution, and then its first pooling", _through_two_layers),
    ),
    hints=(
        "Draw one row: which units below does the new unit 0 look at, and how many pixels lie between two of them?",
        "A kernel of k taps spans (k - 1) * dilation steps of the layer below, and each of its steps is `jump` pixels"
        " long, the old jump. Padding moves the first tap `padding` such steps to the left.",
        skeleton(extend_field, "(kernel - 1) * dilation", "span * jump", "jump * stride", "padding * jump"),
    ),
    mistakes=mistakes(
        extend_field,
        """
        jump-forgotten: span * jump => span
            The size grows by taps instead of pixels: two neighboring taps lie `jump` pixels apart, multiply by it.

        new-jump: span * jump => span * jump * stride
            The size grows by the new jump: the taps lie on the layer below, take the jump from before this stride.

        stride-instead-of-jump: span * jump => span * stride
            The size grows by this layer's stride: multiply by `jump`, which holds the strides of all layers below.

        kernel-instead-of-kernel-minus-1: (kernel - 1) => kernel
            The size grows by `kernel` steps: between k taps there are k - 1, so that a 1 x 1 kernel adds nothing.

        dilation-ignored: (kernel - 1) * dilation => kernel - 1
            The dilation is ignored: it pulls the taps apart, so multiply (kernel - 1) by it.

        dilation-times-kernel: (kernel - 1) * dilation => kernel * dilation - 1
            The dilation multiplies the kernel itself: it stretches the gaps, so the span is (kernel - 1) * dilation.

        jump-added: jump * stride => jump + stride
            The stride is added to the jump: s units of `jump` pixels each are jump * stride pixels.

        jump-replaced: jump * stride => stride
            The new jump is only this layer's stride: multiply it by the jump of the layers below.

        padding-without-jump: padding * jump => padding
            The padding is taken for pixels of the image: it counts units below, each `jump` pixels from the next.

        padding-by-the-new-jump: padding * jump => padding * jump * stride
            The start moves by the new jump: padding counts units below, so take the jump from before this stride.

        padding-added: start - padding => start + padding
            The start moves to the right: padding lies before the first unit, so subtract it.

        padding-ignored: start - padding * jump => start
            The padding is ignored: it moves the field of unit 0 over the image's edge, by padding * jump pixels.
        """,
    ),
    answer=extend_field,
    minutes=10,
    differentiable=False,  # counts of pixels
)


def selectivity(responses: Tensor, labels: Tensor) -> Tensor:
    means = torch.stack([responses[labels == c].mean(0) for c in labels.unique()])  # (classes, K)
    most = means.max(0).values  # (K,)
    rest = (means.sum(0) - most) / (len(means) - 1)
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
            "one unit and an image each of three classes, responses 3e-7, 1e-7 and 1e-7",
            lambda f: f(torch.tensor([[3e-7], [1e-7], [1e-7]]), torch.arange(3)),
        ),
        Probe(
            "30 images of the classes 2, 5, 7 and 8, 6 units",
            lambda f: f(normal(30, 6).clamp(min=0), torch.tensor([2, 5, 7, 8, 8] * 6)),
        ),
    ),
    hints=(
        "A unit has a mean response to each class. Which one is m, and how do the others become the one number r?",
        "For each class c, responses[labels == c].mean(0) is (K,): stack them to (classes, K). m is the largest of a"
        " column, r the mean of the others, so (sum - m) / (classes - 1). A unit that is always 0 gets 0.",
        skeleton(selectivity, "responses[labels == c].mean(0)", "(means.sum(0) - most) / (len(means) - 1)", "most > 0"),
    ),
    mistakes=mistakes(
        selectivity,
        """
        favourite-counted-among-the-rest: (means.sum(0) - most) / (len(means) - 1) => means.mean(0)
            The favorite class is part of the rest as well: leave it out, r is the mean over the other classes.

        largest-response-of-a-class: .mean(0) for => .amax(0) for
            Each class is judged by its strongest image: take the mean response, one outlier is no preference.

        sum-over-the-images: .mean(0) for => .sum(0) for
            The responses of a class are summed: take their mean, or the class with most images wins.

        mean-over-images-instead-of-classes: rest = (means.sum(0) - most) / (len(means) - 1) =>
            + most = means => others = labels[:, None] != labels.unique()[means.argmax(0)]; most = means
            + return => rest = (responses * others).sum(0) / others.sum(0); return
            The rest is averaged over images: average over classes, so that large and small ones count alike.

        favourite-by-the-best-image: most = => best = labels[responses.argmax(0)]; most =
            + means.max(0).values => (means * (labels.unique()[:, None] == best)).sum(0)
            The favorite is the class of the strongest image: it is the class with the largest mean response.

        difference-not-divided: (most - rest) / (most + rest) => most - rest
            The difference is not divided by m + r: without that, a unit with larger responses seems more selective.

        divided-by-m: (most + rest) => most
            The difference is divided by m alone: divide by the sum m + r.

        ratio: (most - rest) / (most + rest) => most / (most + rest)
            This is m / (m + r), which is 1/2 for a unit without preference: the numerator is m - r.

        smallest-instead-of-mean: (means.sum(0) - most) / (len(means) - 1) => means.min(0).values
            The favorite is compared with the class that is liked least: take the mean over all other classes.

        second-best-instead-of-mean: (means.sum(0) - most) / (len(means) - 1) => means.sort(dim=0).values[-2]
            The favorite is compared with the second best class only: take the mean over all other classes.

        classes-without-images: labels.unique() => range(int(labels.max()) + 1)
            Classes are counted from 0, so that one without images has no mean, NaN: take those of labels.unique().

        nan-for-silent-units: torch.where(most > 0, (most - rest) / (most + rest), 0) => (most - rest) / (most + rest)
            A unit that never responds gives 0 / 0, NaN: it prefers nothing, so return 0 for it.

        weak-units-silenced: most > 0 => most > 1e-6
            A unit that responds weakly counts as silent: it may be as choosy as any, only one that is always 0 gets 0.

        number-in-the-division: (most + rest) => (most + rest + 1e-8)
            A small number is added to m + r, which makes weak units less selective: ask for m > 0 instead.
        """,
    ),
    answer=selectivity,
    minutes=12,
    differentiable=False,  # a measure, taken after training
)


def step_length(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    eta = torch.full((len(gradient), 1, 1, 1), lr)
    if desired is None:
        return eta
    squares = gradient.square().sum((1, 2, 3), keepdim=True)  # |g|^2 of each image
    return torch.minimum(eta, desired / squares)


STEP = Exercise(
    name="step_length",
    reference=paper.step_length,
    probes=(
        Probe("three images, lr = 0.5, no desired gain", lambda f: f(normal(3, 2, 4, 4), 0.5)),
        Probe("4 pixels of gradient 3, lr = 10, desired = 2", lambda f: f(torch.full((1, 1, 2, 2), 3.0), 10.0, 2.0)),
        Probe("4 pixels of gradient 3, lr = 0.01, desired = 2", lambda f: f(torch.full((1, 1, 2, 2), 3.0), 0.01, 2.0)),
        Probe("one pixel of gradient 0.5, lr = 10, desired = 1", lambda f: f(torch.full((1, 1, 1, 1), 0.5), 10.0, 1.0)),
        Probe(
            "a steep and a flat image, lr = 0.2, desired = 1",
            lambda f: f(normal(2, 3, 4, 4) * torch.tensor([1.0, 0.1])[:, None, None, None], 0.2, 1.0),
        ),
        Probe("4 pixels of gradient 0, lr = 0.5, desired = 2", lambda f: f(torch.zeros(1, 1, 2, 2), 0.5, 2.0)),
    ),
    hints=(
        "A step eta g changes a linear activation by <g, eta g>. For which eta is that `desired`?",
        "<g, eta g> = eta |g|^2, so eta = desired / |g|^2, with the squares of one image summed over colors and pixels"
        " (dimensions 1, 2 and 3). Where the gradient is tiny, that is huge: lr is the limit.",
        skeleton(step_length, "gradient.square().sum((1, 2, 3), keepdim=True)", "torch.minimum", "desired / squares"),
    ),
    mistakes=mistakes(
        step_length,
        """
        desired-ignored: torch.minimum(eta, desired / squares) => eta
            The step is always lr: with `desired` it is desired / |g|^2 wherever that is smaller.

        norm-not-squared: desired / squares => desired / squares.sqrt()
            desired is divided by |g|: a step eta g gains eta |g|^2, so divide by the square of the norm.

        multiplied-by-the-squares: desired / squares => desired * squares
            desired is multiplied by |g|^2: a step eta g gains eta |g|^2, so eta is desired divided by that.

        one-step-for-the-batch: .sum((1, 2, 3), keepdim=True) => .sum()
            The squares are summed over the batch, too: each image has a step of its own, sum over (1, 2, 3).

        mean-of-squares: .sum( => .mean(
            The squares are averaged over the pixels: |g|^2 is their sum.

        sum-of-absolute-values: .square() => .abs()
            desired is divided by the sum of the absolute values: |g|^2 is the sum of the squares.

        larger-of-the-two: torch.minimum => torch.maximum
            This takes the larger of the two steps: lr is the limit, so take the smaller.

        no-limit: torch.minimum(eta, desired / squares) => desired / squares
            lr does not limit the step: where the gradient is tiny, desired / |g|^2 is huge, where it is 0, infinite.

        lr-multiplied: torch.minimum(eta, desired / squares) => eta * desired / squares
            lr multiplies the step: with `desired` it is only its upper limit.

        nan-without-gradient: eta, desired => eta * squares, squares * 0 + desired
            + / squares) => ) / squares
            An image without gradient gives 0 / 0, NaN: limit desired / |g|^2, infinite there, by lr.

        zero-without-gradient: desired / squares) => desired / squares) * (squares > 0)
            Where the gradient is 0 the step is 0: it should be lr, which moves nothing there.

        axes-lost: , 1, 1, 1) => ,)
            + , keepdim=True =>
            The steps have the shape (B,): keep the summed axes, (B, 1, 1, 1), so that they multiply (B, C, H, W).
        """,
    ),
    answer=step_length,
    minutes=8,
    differentiable=False,  # the length of a step: the image's own gradient is all that ascent asks for
)


def clip_small(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    threshold = size.flatten(1).quantile(percentile / 100, dim=1)  # (B,)
    return torch.where(size < threshold[:, None, None, None], 0, x)


def _sizes() -> Tensor:
    return torch.tensor([[[[4.0, 1.0, 3.0], [2.0, 6.0, 5.0]]]])


def _clip_two_images(f: Callable) -> Tensor:
    x = normal(2, 3, 5, 5) * torch.tensor([1.0, 10.0])[:, None, None, None]
    return f(x, x.norm(dim=1, keepdim=True), 40.0)


CLIP = Exercise(
    name="clip_small",
    reference=paper.clip_small,
    probes=(
        Probe("an image of ones, sizes 1 ... 6, percentile 50", lambda f: f(torch.ones(1, 3, 2, 3), _sizes(), 50.0)),
        Probe("an image of ones, sizes 1 ... 6, percentile 0", lambda f: f(torch.ones(1, 3, 2, 3), _sizes(), 0.0)),
        Probe("pixels all of size 1, percentile 50", lambda f: f(normal(1, 3, 4, 4), torch.ones(1, 1, 4, 4), 50.0)),
        Probe(
            "two of three pixels of size 0, percentile 60, which is 0 as well",
            lambda f: f(normal(1, 3, 3, 3), torch.tensor([0.0, 0, 1, 0, 2, 0, 0, 3, 0]).reshape(1, 1, 3, 3), 60.0),
        ),
        Probe("a dark and a bright image, sizes their norms, percentile 40", _clip_two_images),
        Probe(
            "10 x 10 pixels, sizes that have nothing to do with the image, percentile 90",
            lambda f: f(normal(1, 3, 10, 10), normal(1, 1, 10, 10, seed=1).exp(), 90.0),
        ),
    ),
    hints=(
        "How large is the pixel below which that many percent of an image's pixels lie? Does each image have its own?",
        "size.flatten(1) is (B, H * W), and quantile(share, dim=1) gives a threshold for each image; a percentile is"
        " 100 times a share. A pixel as large as the threshold stays, and a pixel goes with all its colors.",
        skeleton(clip_small, "size.flatten(1)", "percentile / 100", "size < threshold[:, None, None, None], 0, x"),
    ),
    mistakes=mistakes(
        clip_small,
        """
        threshold-of-the-batch: size.flatten(1) => size.flatten()[None]
            The batch has one threshold: each image needs its own, or a dark image loses all its pixels.

        large-ones-clipped: None], 0, x => None], x, 0
            The small pixels stay and the large ones go: it is the small ones that become 0.

        equal-ones-clipped: size < => size <=
            Pixels at the threshold are clipped, too: only those strictly below it go, or an even image vanishes.

        percentile-taken-for-a-share: percentile / 100 => percentile
            The percentile goes to quantile as it is, which asks for a share from 0 to 1: divide it by 100.

        percentile-of-the-largest-ones: percentile / 100 => 1 - percentile / 100
            So many percent of the pixels are kept: so many lie below the threshold and go.

        percent-of-the-largest: size.flatten(1).quantile( => size.amax((1, 2, 3)) * (
            + , dim=1) => )
            The threshold is a share of the largest size: a percentile is the size that so many percent lie below.

        percent-of-the-mean: size.flatten(1).quantile( => 2 * size.mean((1, 2, 3)) * (
            + , dim=1) => )
            The threshold is a multiple of the mean size: a percentile is the size that so many percent lie below.

        values-instead-of-pixels: threshold = => size = x.abs(); threshold =
            Single values of x are clipped: compare `size`, so that a pixel stays or goes with all its colors.

        each-colour-by-itself: threshold = size.flatten(1) => size = x.abs(); threshold = size.flatten(2)
            + dim=1 => dim=2
            + [:, None, None, None] => [..., None, None]
            Each color is clipped by itself: compare `size`, so that a pixel stays or goes with all its colors.

        threshold-for-each-row: size.flatten(1) => size.squeeze(1)
            + dim=1 => dim=2
            + [:, None, None, None] => [:, None, :, None]
            Each row of pixels has its own threshold: flatten an image, all of its pixels share one.

        threshold-subtracted: torch.where(size < => (size -
            + , 0, x) => ).clamp(min=0) / size * x
            The large pixels shrink as well: they stay as they are, only those below the threshold become 0.
        """,
    ),
    answer=clip_small,
    minutes=8,
    differentiable=False,  # put in place of an image between two steps: no gradient is sent through it
)


def unpool(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    (B, K), (H, W) = pooled.shape[:2], size
    maps = torch.zeros(B, K, H * W)
    maps = maps.scatter(2, switches.flatten(2), pooled.flatten(2))
    return maps.reshape(B, K, H, W)


def _unpool_top_left(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    maps = pooled.new_zeros(*pooled.shape[:2], *size)
    down, right = size[0] // pooled.shape[2], size[1] // pooled.shape[3]
    maps[..., : pooled.shape[2] * down : down, : pooled.shape[3] * right : right] = pooled
    return maps


def _pool(*shape: int, **window: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Maxima of random maps, their switches, and the size of the maps."""
    pooled, switches = F.max_pool2d(normal(*shape), **window, return_indices=True)
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
        Probe("maps of 6 x 9, windows of 3", lambda f: f(*_pool(1, 2, 6, 9, kernel_size=3))),
        Probe("a peak seen by four windows of 3 with stride 2", lambda f: f(*_one_peak())),
        Probe("7 x 9, windows of 3 with stride 2", lambda f: f(*_pool(2, 3, 7, 9, kernel_size=3, stride=2))),
    ),
    hints=(
        "The switches remember where each maximum stood. What belongs in all other places?",
        "A switch is the place in the flattened map, row * W + column, of the same image and channel. So flatten the"
        " maps of zeros to (B, K, H * W) and put the values there; two at one place do not add up, one of them stays.",
        skeleton(unpool, "B, K, H * W", "maps.scatter(2, switches.flatten(2), pooled.flatten(2))"),
    ),
    mistakes=mistakes(
        unpool,
        """
        values-added: maps.scatter( => maps.scatter_add(
            A maximum that several windows share is added up, as in a gradient: write it once, with scatter.

        values-repeated: maps.reshape(B, K, H, W) => F.interpolate(pooled, (H, W), mode="nearest")
            Each value fills its whole window: it belongs to the place of its switch alone, all others are 0.

        switches-ignored: =
            Each value stands at the top left of its window: put it where its switch says that the maximum was.

        twice-as-large: maps.reshape(B, K, H, W) => F.max_unpool2d(pooled, switches, 2)
            The maps become twice as large as what was pooled: their size is (H, W), from `size`.

        windows-of-2-only: maps.reshape(B, K, H, W) => F.max_unpool2d(pooled, switches, 2, output_size=(H, W))
            max_unpool2d with a kernel of 2 refuses what larger windows have pooled: the switches alone say where.

        all-in-the-first-map: maps = maps.scatter(2, switches => maps.view(-1)[switches
            + .flatten(2), pooled.flatten(2)) => .flatten()] = pooled.flatten()
            All values land in the first map: a switch counts within its own image and channel, keep these two axes.

        switches-of-the-first-map: maps.scatter(2, switches.flatten(2) => maps.index_copy(2, switches[0, 0].flatten()
            The switches of one map are used for all: every image and channel has its own.

        height-and-width-swapped: K, H, W) => K, W, H)
            Height and width are swapped: size is (H, W), and the maps are (B, K, H, W).

        ones-instead-of-values: pooled.flatten(2)) => torch.ones_like(pooled).flatten(2))
            The places of the maxima are marked with 1: put the values of `pooled` there.

        negative-values-lost: K, H, W) => K, H, W).clamp(min=0)
            Negative values are lost: unpooling moves all values, the ReLU is another step.
        """,
        switches_ignored=_unpool_top_left,
    ),
    answer=unpool,
    minutes=10,
    importance=3,
    differentiable=False,  # itself a part of a backward pass
)


def backward_relu(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    on = z > 0
    positive = signal > 0
    passes = {"gradient": on, "deconvnet": positive, "guided": on & positive}[rule]
    return signal * passes


def _signs(f: Callable, *rule: str) -> Tensor:
    """Signals 2, -3 and 5 against units that were on, exactly 0 and off."""
    return f(torch.tensor([[2.0, -3.0, 5.0]]).expand(3, 3), torch.tensor([[4.0], [0.0], [-1.0]]).expand(3, 3), *rule)


RELU = Exercise(
    name="backward_relu",
    reference=paper.backward_relu,
    differentiable=False,
    probes=(
        Probe("signals 2, -3 and 5, z = 4, 0 and -1 for each, no rule named", _signs),
        *(
            Probe(f'signals 2, -3 and 5, z = 4, 0 and -1 for each, "{rule}"', lambda f, rule=rule: _signs(f, rule))
            for rule in ("deconvnet", "guided")
        ),
        *(
            Probe(
                f'random maps with rule = "{rule}"',
                lambda f, rule=rule: f(normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1), rule=rule),
            )
            for rule in ("gradient", "deconvnet", "guided")
        ),
    ),
    hints=(
        "Two questions can be asked at a ReLU on the way back: was the unit on, and is the signal positive? Which does"
        " each rule ask?",
        '"gradient" asks the first only, z > 0, and "deconvnet" the second only: it is a ReLU, put on the signal.'
        ' "guided" asks both.',
        skeleton(
            backward_relu, "z > 0", "signal > 0", '"gradient": on, "deconvnet": positive, "guided": on & positive'
        ),
    ),
    mistakes=mistakes(
        backward_relu,
        """
        deconvnet-uses-z: "deconvnet": positive => "deconvnet": on
            With "deconvnet" the signal passes where the unit was on: that is the gradient; the deconvnet forgets z and
            rectifies the signal.

        deconvnet-asks-both: "deconvnet": positive => "deconvnet": on & positive
            With "deconvnet" z is asked as well: that is guided backpropagation, the deconvnet only asks whether the
            signal is positive.

        gradient-rectifies: "gradient": on => "gradient": on & positive
            With "gradient" negative signals are lost: a gradient may be negative, only z decides what passes.

        gradient-and-deconvnet-exchanged: "gradient": on, "deconvnet": positive => "gradient": positive, "deconvnet": on
            "gradient" and "deconvnet" are exchanged: the gradient asks z, the deconvnet asks the signal.

        guided-without-z: on & positive => positive
            With "guided" z plays no part: that is the deconvnet, also ask whether the unit was on, z > 0.

        guided-without-the-sign: on & positive => on
            With "guided" negative signals pass: that is the gradient, also ask whether the signal is positive.

        guided-asks-either: on & positive => on | positive
            With "guided" it is enough that one of the two is positive: both must be, the unit and the signal.

        deconvnet-and-guided-exchanged: "deconvnet": positive, "guided" => "guided": positive, "deconvnet"
            "deconvnet" and "guided" are exchanged: it is guided backpropagation that asks both questions.

        rule-ignored: [rule] => ["gradient"]
            Every rule gives the gradient: look at `rule`.

        no-branch-for-the-deconvnet: signal * passes => None if rule == "deconvnet" else signal * passes
            No branch is taken with rule = "deconvnet": compare with the rule's name just as it is spelled here.

        no-branch-for-the-gradient: signal * passes => None if rule == "gradient" else signal * passes
            No branch is taken with rule = "gradient": compare with the rule's name just as it is spelled here.

        no-branch-for-guided: signal * passes => None if rule == "guided" else signal * passes
            No branch is taken with rule = "guided": compare with the rule's name just as it is spelled here.

        no-branch-but-the-gradients: signal * passes => signal * passes if rule == "gradient" else None
            No branch is taken with rule = "deconvnet", nor with "guided": compare with these names, just as they are
            spelled here.

        zero-counts-as-on: z > 0 => z >= 0
            A unit with z = 0 counts as on: it gave out 0, ask for z > 0.

        multiplied-by-the-activation: on = z > 0 => on = z.clamp(min=0)
            + on & positive => on * positive
            The signal is multiplied by the activation: the slope of a ReLU is 1 or 0, multiply by (z > 0).

        forward-again: signal * passes => z.clamp(min=0)
            This is the forward pass, the ReLU of z: what is sent back is the signal, or 0.

        absolute-values: signal > 0 => signal.sign()
            + on & positive => on * positive
            Negative signals pass with their sign changed: a ReLU sets them to 0.
        """,
    ),
    answer=backward_relu,
    minutes=8,
    importance=3,
)


def ascend(
    model: Callable,
    unit: int,
    x: Tensor,
    *,
    steps: int,
    lr: float,
    desired: float | None = None,
    regularize: Callable | None = None,
    mean: float | Tensor = 0.5,
) -> tuple[Tensor, Tensor]:
    """Images x minus `mean` (B, C, H, W) climb the unit's activation -> the last ones, activations (steps + 1, B).

    The model gives (B, K) scores; `mean` is a number, or one for each color. Before each look at the activation,
    x + mean is put back into [0, 1]. How long a step is says step_length; it is followed by `regularize`, if given,
    which takes the image, the gradient that the step was made with, and the number of the step from 0.
    """
    way = []
    for step in range(steps + 1):
        x = ((x + mean).clamp(0, 1) - mean).detach().requires_grad_()  # inside the box of images
        activation = model(x)[:, unit]  # (B,)
        way.append(activation.detach())
        if step < steps:
            (gradient,) = torch.autograd.grad(activation.sum(), x)
            move = step_length(gradient, lr, desired) * gradient
            x = regularize(x + move, gradient, step) if regularize else x + move
    return x.detach(), torch.stack(way)  # (B, C, H, W), (steps + 1, B)


def _linear(x: Tensor) -> Tensor:
    """Two units on images of two pixels, with the weights (1, 2) and (-3, 0)."""
    return x.flatten(1) @ torch.tensor([[1.0, 2.0], [-3.0, 0.0]]).T


def _bent(x: Tensor) -> Tensor:
    """Three units of two layers on images of 2 x 3 x 3."""
    return torch.tanh(x.flatten(1) @ normal(18, 5, seed=5) / 3) @ normal(5, 3, seed=6)


def _from_0(f: Callable, **options: object) -> tuple[Tensor, Tensor]:
    return f(_linear, 0, torch.zeros(1, 1, 1, 2), **options)


def _from_outside(f: Callable, **options: object) -> tuple[Tensor, Tensor]:
    return f(_linear, 0, torch.tensor([[[[-1.0, 1.0]]]]), **options)


def _two_images(f: Callable, **options: object) -> tuple[Tensor, Tensor]:
    return f(_bent, 1, 0.1 * normal(2, 2, 3, 3), steps=5, lr=0.02, **options)


def _halve_but_not_at_first(x: Tensor, gradient: Tensor, step: int) -> Tensor:
    return x / 2 if step > 0 else x


def _against_the_gradient(x: Tensor, gradient: Tensor, step: int) -> Tensor:
    return x.abs() - 0.05 * gradient


ASCEND = Exercise(
    name="ascend",
    reference=cnn_step_by_step.ascend,
    probes=(
        Probe(
            "a linear unit of weights (1, 2), 3 steps of lr = 0.05 from x = 0",
            lambda f: _from_0(f, steps=3, lr=0.05),
        ),
        Probe(
            "a linear unit of weights (1, 2), 2 steps of at most lr = 10, desired = 0.5, from x = 0",
            lambda f: _from_0(f, steps=2, lr=10.0, desired=0.5),
        ),
        Probe(
            "a linear unit of weights (1, 2), 2 steps of lr = 1 from x = (-1, 1), outside the box, mean = 0.3",
            lambda f: _from_outside(f, steps=2, lr=1.0, mean=0.3),
        ),
        Probe(
            "a linear unit of weights (1, 2), no step, from x = (-1, 1), outside the box, mean = 0.5",
            lambda f: _from_outside(f, steps=0, lr=1.0),
        ),
        Probe(
            "a linear unit of weights (1, 2), 3 steps of lr = 0.05 from x = 0, each but the first followed by x / 2",
            lambda f: _from_0(f, steps=3, lr=0.05, regularize=_halve_but_not_at_first),
        ),
        Probe("unit 1 of a network with tanh, two images of 2 x 3 x 3, 5 steps of lr = 0.02", _two_images),
        Probe(
            "unit 1 of a network with tanh, two images of 2 x 3 x 3, 5 steps with a regularizer that uses the gradient",
            lambda f: _two_images(f, regularize=_against_the_gradient),
        ),
    ),
    hints=(
        "It is training with the roles exchanged. What is the leaf that asks for a gradient, and what has to happen to"
        " it between two steps, so that each begins anew?",
        "A round: put x into the box, detach it and let it ask for a gradient; note the unit's activations; then, but"
        " for the last round, take the gradient of their sum with respect to x, add step_length(...) times it, and"
        " hand image, gradient and number of the step to `regularize`. There is one round more than there are steps.",
        skeleton(
            ascend,
            "((x + mean).clamp(0, 1) - mean).detach().requires_grad_()",
            "activation.sum(), x",
            "step_length(gradient, lr, desired) * gradient",
            "regularize(x + move, gradient, step)",
        ),
    ),
    mistakes=mistakes(
        ascend,
        """
        downhill: move = step_length => move = -step_length
            The step goes downhill, as a loss would want it: the activation is to grow, so add it.

        sign-of-the-gradient: desired) * gradient => desired) * gradient.sign()
            Only the gradient's sign is used, as in an attack: a step is eta times the gradient itself.

        gradient-of-length-1: desired) * gradient => desired) * F.normalize(gradient.flatten(1)).reshape(x.shape)
            The gradient is divided by its norm: how long a step is says step_length alone.

        all-units: activation.sum(), x => model(x).sum(), x
            The sum of all units ascends: take the gradient of this unit's activation.

        probability: model(x) => model(x).softmax(1)
            The probability ascends, which also grows as the other units fall: take the activation before the softmax.

        mean-over-the-images: activation.sum() => activation.mean()
            The activations are averaged over the images, so that each gradient is divided by their number: images do
            not see one another, take the sum.

        first-image-only: [:, unit] => [:1, unit]
            Only the first image ascends: take the unit's activation in each of them.

        gradients-added-up: (gradient,) = torch => gradient = (gradient if step else 0) + torch
            + activation.sum(), x) => activation.sum(), x)[0]
            The gradients of all steps so far are added up, as in x.grad that nobody clears: each step has its own.

        start-ignored: way = [] => way, x = [], torch.zeros_like(x)
            The ascent begins somewhere else: begin with the x that is given.

        desired-ignored: (gradient, lr, desired) => (gradient, lr)
            `desired` is ignored: pass it on to step_length.

        regularizer-ignored: if regularize else => if False else
            The regularizer is never called.

        regularized-before-the-step: regularize(x + move, gradient, step) => regularize(x, gradient, step) + move
            The regularizer comes before the step: r(x + eta g) has it behind.

        gradient-behind-the-step: move, gradient, => move, torch.autograd.grad(model(x + move)[:, unit].sum(), x)[0],
            The regularizer is given the gradient behind the step: it is to see the one that the step was made with.

        steps-counted-from-1: gradient, step) => gradient, step + 1)
            The regularizer is told the number of the step from 1: count from 0.

        no-box: ((x + mean).clamp(0, 1) - mean) => x
            The image leaves the box of possible pixels: x + mean has to lie in [0, 1] whenever the model sees it.

        box-without-the-mean: ((x + mean).clamp(0, 1) - mean) => x.clamp(0, 1)
            x itself is clamped to [0, 1], but it is an image minus the mean: the image is x + mean.

        mean-left-in: .clamp(0, 1) - mean => .clamp(0, 1)
            The mean is added in each round and never taken off again: x is an image minus the mean.

        last-image-outside-the-box: - mean) => - mean if step < steps else x)
            The image behind the last step is not put back into the box, the others are.

        last-activation-missing: torch.stack(way) => torch.stack(way[:-1] or way)
            The activation behind the last step is missing: there are steps + 1 of them, the first before any step.

        first-activation-missing: torch.stack(way) => torch.stack(way[1:] or way)
            The activation before the first step is missing: there are steps + 1 of them.
        """,
    ),
    answer=ascend,
    minutes=20,
    difficulty=3,
    importance=3,
    level="stretch",
    differentiable=False,  # a record of images and activations
)


def back_project(layers: Sequence[nn.Module], image: Tensor, unit: int, rule: str = "deconvnet") -> Tensor:
    """The unit's largest activation in the last layer, sent back to the pixels: (1, C, H, W) -> (1, C, H, W).

    The layers are nn.Conv2d, nn.ReLU and nn.MaxPool2d, in the order of the way forward; `rule` is that of
    backward_relu. A transposed convolution has no bias.
    """
    inputs, x = [], image
    for layer in layers:
        inputs.append(x)
        x = layer(x)
    signal = torch.zeros_like(x)  # all other activations count as 0
    place = x[0, unit].argmax()  # in the flattened map
    signal[0, unit].view(-1)[place] = x[0, unit].max()
    for layer, z in zip(reversed(layers), reversed(inputs), strict=True):
        if isinstance(layer, nn.ReLU):
            signal = backward_relu(signal, z, rule)
        elif isinstance(layer, nn.MaxPool2d):
            switches = F.max_pool2d(z, layer.kernel_size, layer.stride, return_indices=True)[1]
            signal = unpool(signal, switches, z.shape[2:])
        else:
            k, s, p = layer.kernel_size[0], layer.stride[0], layer.padding[0]
            rest = [(n + 2 * p - k) % s for n in z.shape[2:]]  # pixels that the stride left over
            signal = F.conv_transpose2d(signal, layer.weight, stride=s, padding=p, output_padding=rest)
    return signal.detach()  # (1, C, H, W)


def _conv(colors: int, units: int, kernel: int, *, seed: int = 0, **options: int) -> nn.Conv2d:
    layer = nn.Conv2d(colors, units, kernel, **options)
    layer.weight.data = normal(*layer.weight.shape, seed=seed) / 3
    layer.bias.data = 0.3 * normal(units, seed=seed + 1)
    return layer


def _two_convolutions() -> list[nn.Module]:
    """In the picture below unit 1 fires, unit 2 fires more, and the three rules differ."""
    return [_conv(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), _conv(4, 3, 3, seed=4), nn.ReLU()]


def _picture(f: Callable, layers: list[nn.Module], side: int, *rule: str) -> Tensor:
    return f(layers, normal(1, 2, side, side, seed=7), 1, *rule)


BACK = Exercise(
    name="back_project",
    reference=cnn_step_by_step.back_project,
    probes=(
        Probe(
            "unit 1 of one 3 x 3 convolution of 2 colors and 3 units, image of 5 x 5",
            lambda f: _picture(f, [_conv(2, 3, 3)], 5),
        ),
        Probe(
            "unit 1 of a 3 x 3 convolution and a pooling with windows of 3, image of 8 x 8",
            lambda f: _picture(f, [_conv(2, 3, 3), nn.MaxPool2d(3)], 8),
        ),
        Probe(
            "unit 1 of conv (padding 1), ReLU, pooling by 2, conv, ReLU, image of 9 x 9, no rule named",
            lambda f: _picture(f, _two_convolutions(), 9),
        ),
        *(
            Probe(
                f'unit 1 of conv (padding 1), ReLU, pooling by 2, conv, ReLU, image of 9 x 9, rule "{rule}"',
                lambda f, rule=rule: _picture(f, _two_convolutions(), 9, rule),
            )
            for rule in ("gradient", "guided")
        ),
        Probe(
            "unit 1 of conv (stride 2), ReLU, conv (stride 3), image of 12 x 12, last row and column left over",
            lambda f: _picture(f, [_conv(2, 3, 3, stride=2), nn.ReLU(), _conv(3, 2, 2, stride=3, seed=4)], 12),
        ),
    ),
    hints=(
        "Forward, from layer to layer, then back. What does each kind of layer need to remember of the way forward, and"
        " what is the signal at the very top?",
        "Keep each layer's input z. The signal is 0 but for the unit's largest activation, at its place. Going back:"
        " backward_relu(signal, z, rule); unpool with the switches of z; F.conv_transpose2d with the layer's weight,"
        " stride and padding, no bias. A stride leaves (n + 2 p - k) % s pixels over, which is its output_padding.",
        skeleton(
            back_project,
            "inputs.append(x)",
            "x[0, unit].argmax()",
            "x[0, unit].max()",
            "zip(reversed(layers), reversed(inputs), strict=True)",
            "backward_relu(signal, z, rule)",
            "unpool(signal, switches, z.shape[2:])",
            "F.conv_transpose2d(signal, layer.weight, stride=s, padding=p, output_padding=rest)",
        ),
    ),
    mistakes=mistakes(
        back_project,
        """
        all-activations: torch.zeros_like(x) => x.clone()
            All activations of the layer go back: set all but one of them to 0.

        whole-map: .view(-1)[place] = x[0, unit].max() => .copy_(x[0, unit])
            The unit's whole map goes back: start from its strongest place alone.

        starts-with-1: = x[0, unit].max() => = 1
            The signal starts as 1: start with the activation itself.

        strongest-of-all-units: place = x[0, unit].argmax() => unit, place = divmod(int(x[0].argmax()), x[0, 0].numel())
            The strongest place of all units is taken: take that of the unit that is asked for.

        middle-of-the-map: x[0, unit].argmax() => x[0, unit].numel() // 2
            + x[0, unit].max() => x[0, unit].flatten()[place]
            The middle of the map goes back: take the place where the unit fires most.

        from-the-first-layer: zip(reversed(layers), reversed(inputs) => zip(layers, inputs
            The layers are gone through from the first to the last: on the way back the last one comes first.

        outputs-instead-of-inputs: inputs.append(x) =>
            + x = layer(x) => x = layer(x); inputs.append(x)
            What the layers gave out is kept: z is what a layer was given, so note x before the layer.

        relu-left-out: backward_relu(signal, z, rule) => signal
            The signal passes the ReLUs as it is: backward_relu says what they send back.

        rule-not-passed-on: signal, z, rule) => signal, z)
            `rule` is not passed on to backward_relu, which then gives the gradient.

        rule-ignored: signal, z, rule) => signal, z, "deconvnet")
            Every rule gives the deconvnet: pass `rule` on to backward_relu.

        values-repeated: unpool(signal, switches, z.shape[2:]) => F.interpolate(signal, z.shape[2:])
            A pooled value fills its whole window: put it where the maximum was, by the switches.

        filters-not-turned: F.conv_transpose2d(signal, layer.weight, => F.conv2d(signal, layer.weight.transpose(0, 1),
            + stride=s, padding=p, output_padding=rest => padding=k - 1 - p
            The filters are put on as on the way forward: transposed, each is turned by 180 degrees (conv_transpose2d).

        bias-taken-off: (signal, layer.weight, => (signal - layer.bias[:, None, None], layer.weight,
            The bias is subtracted from the signal: a transposed convolution is not an inverse, it has no bias.

        stride-forgotten: stride=s, padding=p, output_padding=rest => padding=p
            The stride is forgotten: pass the layer's own to conv_transpose2d.

        padding-forgotten: padding=p, output => output
            The padding is forgotten, so that the picture has a rim: pass the layer's own to conv_transpose2d.

        left-over-pixels-missing: , output_padding=rest =>
            Pixels that the stride left over are missing, so that the picture is smaller than the image: output_padding
            brings them back.

        picture-rectified: signal.detach() => signal.detach().clamp(min=0)
            The picture's negative pixels are lost: behind the first convolution there is no ReLU.

        picture-times-image: signal.detach() => signal.detach() * image
            The picture is multiplied by the image: the signal itself is the picture.
        """,
    ),
    answer=back_project,
    minutes=20,
    difficulty=3,
    importance=3,
    level="stretch",
    differentiable=False,  # a picture
)

EXERCISES = (ASCEND, UNPOOL, RELU, BACK, STEP, FIELD, SELECTIVITY, CLIP)
