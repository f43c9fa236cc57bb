"""What a CNN has learned: filters, feature maps, activation maximization, deconvnet, guided backpropagation.

Papers: M. D. Zeiler, R. Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014 (deconvnet, top-9);
J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson, *Understanding Neural Networks Through Deep Visualization*, ICML
Deep Learning Workshop 2015 (regularized activation maximization); J. T. Springenberg, A. Dosovitskiy, T. Brox,
M. Riedmiller, *Striving for Simplicity*, ICLR Workshop 2015 (guided backpropagation).

Names as in `cnn_feature_maps`, which finds layers and runs networks: B images of C colours and H x W pixels, layers by
name with K units and h x w places. No function changes the model that it is given.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from labkit.papers.cnn_feature_maps import (
    FeatureMaps,
    ReceptiveField,
    TopActivations,
    ablated,
    crops,
    extend_field,
    home,
    randomized,
    receptive_field,
    require_finite,
    require_images,
    require_unit,
    run,
    selectivity,
    tensors_in,
    top_activations,
)

__all__ = [
    "YOSINSKI_SETS",
    "Ascent",
    "Deconvnet",
    "FeatureMaps",
    "ReceptiveField",
    "Regularizers",
    "TopActivations",
    "ablated",
    "activation_maximization",
    "back_project",
    "backward_relu",
    "blur",
    "clip_small",
    "contribution",
    "crops",
    "extend_field",
    "filter_grid",
    "guided_backprop",
    "randomized",
    "receptive_field",
    "selectivity",
    "step_length",
    "top_activations",
    "unpool",
]

# ---- filters --------------------------------------------------------------------------------------------------------


def filter_grid(weight: Tensor, columns: int = 8, *, scale: str = "each", gap: int = 1) -> Tensor:
    """The filters of a convolution as one picture, (K, C, h, w) with C 1 or 3 -> (3, H, W) in [0, 1].

    A filter has no unit, so it is stretched to [0, 1]: with scale "each" from its own smallest to its own largest
    weight, which shows the pattern of weak filters too; with "common" all in the same way, which shows which are weak.
    Raises ValueError for another number of colours, another `scale`, or weights that are not finite.
    """
    if weight.ndim != 4 or weight.shape[1] not in (1, 3):
        shape = tuple(weight.shape)
        raise ValueError(
            f"filters of 1 or 3 colours can be shown, (K, C, h, w); got shape {shape}: show its feature maps"
        )
    if scale not in ("each", "common"):
        raise ValueError(f"scale must be 'each' or 'common', got {scale!r}")
    require_finite(weight, "the filters")
    from torchvision.utils import make_grid  # here, as torchvision takes a second to import

    return make_grid(weight.detach(), columns, padding=gap, normalize=True, scale_each=scale == "each", pad_value=1.0)


# ---- activation maximization ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Regularizers:
    """r_theta of Yosinski et al. (2015), section 3: what is done to an image after each step of gradient ascent.

    The image is mean-subtracted, so 0 is the mean colour. The default does nothing.
    """

    decay: float = 0.0  # theta_decay: x becomes (1 - decay) x
    blur_width: float = 0.0  # theta_b_width: standard deviation of a Gaussian blur, in pixels
    blur_every: int = 1  # theta_b_every: steps between two blurs
    small_norm: float = 0.0  # theta_n_pct: percentile of the pixels' norms below which they become 0
    small_contribution: float = 0.0  # theta_c_pct: the same for what they contribute to the activation

    def __post_init__(self) -> None:
        percentiles = (self.small_norm, self.small_contribution)
        if not 0 <= self.decay < 1 or not self.blur_width >= 0 or self.blur_every < 1:
            raise ValueError("decay must lie in [0, 1), blur_width be at least 0 and blur_every at least 1")
        if not all(0 <= percentile < 100 for percentile in percentiles):
            raise ValueError(f"percentiles must lie in [0, 100), got {percentiles}")

    def __call__(self, x: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The image (B, C, H, W) after a step, the `gradient` that it was made with, the step's number from 0."""
        x = (1 - self.decay) * x
        if self.blur_width and step % self.blur_every == 0:
            x = blur(x, self.blur_width)
        if self.small_norm:
            x = clip_small(x, x.norm(dim=1, keepdim=True), self.small_norm)
        if self.small_contribution:
            x = clip_small(x, contribution(x, gradient), self.small_contribution)
        return x


def blur(x: Tensor, width: float) -> Tensor:
    """Each channel under a Gaussian of standard deviation `width` pixels, cut off at 4 of them. (B, C, H, W)."""
    from torchvision.transforms.v2.functional import gaussian_blur  # here, as torchvision takes a second to import

    radius = min(int(4 * width + 0.5), *(side - 1 for side in x.shape[-2:]))  # rounded as by SciPy
    return gaussian_blur(x, [2 * radius + 1] * 2, [width] * 2)


def contribution(x: Tensor, gradient: Tensor) -> Tensor:
    """|sum over colours of x g|: to first order, what the activation loses when a pixel becomes 0. -> (B, 1, H, W)."""
    return (x * gradient).sum(1, keepdim=True).abs()


def clip_small(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    """The pixels whose `size` (B, 1, H, W) lies strictly below that percentile of their image's become 0."""
    threshold = size.flatten(1).quantile(percentile / 100, dim=1)  # (B,)
    return torch.where(size < threshold[:, None, None, None], 0, x)


def step_length(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    """eta of x + eta g, one for each image: (B, C, H, W) -> (B, 1, 1, 1).

    Constant, `lr`; with `desired` such that the activation would gain that much, were it linear: desired / |g|^2, but
    never more than `lr` (Yosinski's toolbox calls it "progress"). Images without gradient get `lr`: it moves nothing.
    """
    eta = torch.full((len(gradient), 1, 1, 1), lr, dtype=gradient.dtype, device=gradient.device)
    if desired is None:
        return eta
    return torch.minimum(eta, desired / gradient.square().sum((1, 2, 3), keepdim=True))


# The four recommended sets, Yosinski et al. (2015), table 1, with the steps of their toolbox. There a pixel runs from 0
# to 255, here from 0 to 1: the gradient is 255 times as large, the step must be 255 times as small, so eta / 255^2.
YOSINSKI_SETS = {
    1: {
        "regularizers": Regularizers(blur_width=0.5, blur_every=4, small_norm=50),
        "steps": 500,
        "lr": 100 / 255**2,
        "desired": 2.0,
    },
    2: {"regularizers": Regularizers(decay=0.3, small_norm=20), "steps": 750, "lr": 100 / 255**2},
    3: {"regularizers": Regularizers(decay=1e-4, blur_width=1.0, blur_every=4), "steps": 1000, "lr": 100 / 255**2},
    4: {
        "regularizers": Regularizers(blur_width=0.5, blur_every=4, small_contribution=90),
        "steps": 1000,
        "lr": 1e8 / 255**2,
        "desired": 2.0,
    },
}


class Ascent(NamedTuple):
    """Images found by gradient ascent, with pixels in [0, 1], and the way there."""

    images: Tensor  # (B, C, H, W) after the last step
    best: Tensor  # (B, C, H, W) where each activation was largest
    activations: Tensor  # (steps + 1, B), the first before any step
    frames: Tensor  # (F, B, C, H, W) every `keep_every` steps, the first before any step; F = 0 without keep_every


def activation_maximization(
    model: nn.Module,
    layer: str,
    unit: int | Sequence[int],
    *,
    regularizers: Regularizers = Regularizers(),
    steps: int = 200,
    lr: float = 100 / 255**2,
    desired: float | None = None,
    shape: tuple[int, int, int] = (3, 224, 224),
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 1.0,
    place: tuple[int, int] | None = None,
    generator: torch.Generator | None = None,
    keep_every: int = 0,
) -> Ascent:
    """Images that make units of a layer fire: x <- r_theta(x + eta da/dx), Yosinski et al. (2015), equation 2.

    `unit`: a channel, or several, each of which gets an image of its own, all in one batch. A convolution's unit is the
    one in the middle of its map, unless `place` (row, column) says otherwise. x is an image in [0, 1] of `shape` minus
    `mean`; the network is given x / std, as it was trained. x starts as noise of 10/255, from `generator`.
    Behind a ReLU that is closed there is no gradient: ask for the convolution before it.
    Raises ValueError as `FeatureMaps` does, for a unit or place that does not exist, and if the activation overflows.
    """
    device, dtype = home(model).values()
    mean, std = (torch.as_tensor(value, dtype=torch.float32, device=device).reshape(-1, 1, 1) for value in (mean, std))
    units = torch.as_tensor(unit, device=device).reshape(-1)
    if units.is_floating_point():
        raise ValueError(f"units are whole numbers, at least one; got {unit!r}")
    noise = torch.randn(len(units), *shape, generator=generator, device=generator.device if generator else device)
    x = (10 / 255 * noise).to(device)
    output = FeatureMaps(model, layer)((x[:1] / std).to(dtype))[layer]  # says what is wrong before the first step
    require_unit(output, layer, units)
    if output.ndim == 4:
        place = place or (output.shape[2] // 2, output.shape[3] // 2)
        if not (0 <= place[0] < output.shape[2] and 0 <= place[1] < output.shape[3]):
            raise ValueError(f"layer {layer!r} has {tuple(output.shape[2:])} places, so none at {tuple(place)}")

    def climb(x: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (B,) and their gradients (B, C, H, W); images of a batch do not see one another."""
        with torch.enable_grad():
            x = x.requires_grad_()
            maps = run(model, [layer], (x / std).to(dtype), stop=True)[layer]
            found = maps[torch.arange(len(units)), units, *(place if maps.ndim == 4 else ())]
            return found.detach().float(), torch.autograd.grad(found.sum(), x)[0]

    activations, frames = [], []
    best, highest = x, torch.full((len(units),), -math.inf, device=device)
    for step in range(steps + 1):
        x = torch.minimum(torch.maximum(x.detach(), -mean), 1 - mean)  # inside the box of images
        activation, gradient = climb(x)
        if not activation.isfinite().all():
            raise ValueError(f"the activation is no longer finite after {step} steps: lower lr")
        activations.append(activation)
        best = torch.where((activation > highest)[:, None, None, None], x.detach(), best)
        highest = torch.maximum(activation, highest)
        if keep_every and step % keep_every == 0:
            frames.append(x.detach() + mean)
        if step < steps:
            x = regularizers((x + step_length(gradient, lr, desired) * gradient).detach(), gradient, step)
    frames = torch.stack(frames) if frames else x.new_zeros(0, *x.shape)
    return Ascent((x + mean).detach(), best + mean, torch.stack(activations), frames)


# ---- back to the image: gradient, deconvnet, guided backpropagation -------------------------------------------------


def backward_relu(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    """What a ReLU sends back of a `signal` from above, where its input was z: three rules for the same layer.

    "gradient" lets pass where the unit was on, z > 0; "deconvnet" (Zeiler & Fergus) what is positive itself, whatever z
    was; "guided" (Springenberg et al.) what is both. Same shapes. Raises ValueError for another rule.
    """
    if rule == "gradient":
        return signal * (z > 0)
    if rule == "deconvnet":
        return signal.clamp(min=0)
    if rule == "guided":
        return signal.clamp(min=0) * (z > 0)
    raise ValueError(f"rule must be 'gradient', 'deconvnet' or 'guided', got {rule!r}")


def unpool(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    """Each value back at the place where its maximum was, all else 0: (B, K, h, w) twice -> (B, K, H, W).

    `switches` are the indices of ``max_pool2d(..., return_indices=True)``, into a map of `size` (H, W). Where windows
    overlap and share a maximum, the strongest of their values stays, while a gradient would be their sum. (Were it the
    last, as in F.max_unpool2d, a signal in one window would be wiped out by the 0 of the next.)
    """
    places, values = switches.flatten(2), pooled.flatten(2)
    whole = values.new_zeros(*pooled.shape[:2], size[0] * size[1])
    highest = whole.scatter_reduce_(2, places, values, "amax").gather(2, places)  # of those that share a place
    lowest = whole.zero_().scatter_reduce_(2, places, values, "amin").gather(2, places)
    strongest = torch.where(highest > -lowest, highest, lowest)
    return whole.zero_().scatter_(2, places, strongest).reshape(*pooled.shape[:2], *size)  # all write the same


def back_project(
    model: nn.Module,
    images: Tensor,
    layer: str,
    unit: int | Sequence[int] | Tensor,
    *,
    rule: str = "gradient",
    place: tuple[Tensor, Tensor] | None = None,
    start: float | None = None,
) -> Tensor:
    """From a unit back to the pixels, each image of (B, C, H, W) on its own -> (B, C, H, W).

    `unit` is one channel, or one for each image; its strongest place counts, unless `place` gives rows and columns,
    (B,) each. With "gradient" and "guided" the signal starts as 1, so that "gradient" is da/dx. With "deconvnet" it
    starts as the activation, maxima go back to their switches (`unpool`), and contrast normalization lets the signal
    pass as it is; convolutions and linear layers are transposed and lose their bias. A negative activation turns every
    sign, so that the deconvnet's ReLUs let the opposite half pass; `start` puts another number in its place, say 1.
    ReLUs are found as modules, in place or not, and as functions.
    Raises ValueError as `FeatureMaps` does, for units and places out of range, and for functions that have no rule.
    """
    backward_relu(torch.zeros(()), torch.zeros(()), rule)
    if opaque := [type(module).__name__ for module in model.modules() if _compiled(module)]:
        raise ValueError(f"{opaque[0]} is compiled, so that its ReLUs cannot be found: pass the original model")
    require_images(images)
    FeatureMaps(model, layer)(images[:1])  # says what is wrong with the layer
    with torch.enable_grad():
        x = images.detach().clone(memory_format=torch.channels_last).requires_grad_()  # in which pooling is faster
        with _Rules(rule) if rule != "gradient" else contextlib.nullcontext():
            maps = run(model, [layer], x, stop=True)[layer]
        each = torch.arange(len(maps), device=maps.device)
        units = _units(unit, len(maps), maps.device)
        require_unit(maps, layer, units)
        found = maps[each, units]  # (B, h, w) or (B,)
        if maps.ndim == 4:
            rows, columns = _strongest(found) if place is None else _places(place, found)
            found = found[each, rows, columns]
        if start is None:
            signal = found.detach() if rule == "deconvnet" else torch.ones_like(found)
        else:
            signal = torch.full_like(found, start)
        return torch.autograd.grad(found, x, signal)[0]


def guided_backprop(model: nn.Module, images: Tensor, layer: str, unit: int | Sequence[int] | Tensor) -> Tensor:
    """Guided backpropagation from the strongest place of a unit, Springenberg et al. (2015): see `back_project`."""
    return back_project(model, images, layer, unit, rule="guided")


class Deconvnet:
    """The deconvnet of Zeiler & Fergus (2014), section 2.1, for any network made of convolutions, ReLUs and poolings.

    ``Deconvnet(model)(images, layer, unit)`` shows, in the space of the images, what made one activation of a unit
    large: all others of its layer count as 0. See `back_project` for the arguments; nine images need one pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(
        self,
        images: Tensor,
        layer: str,
        unit: int | Sequence[int] | Tensor,
        *,
        place: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        return back_project(self.model, images, layer, unit, rule="deconvnet", place=place)


def _units(unit: int | Sequence[int] | Tensor, count: int, device: torch.device) -> Tensor:
    """One unit for each of `count` images, (count,)."""
    units = torch.as_tensor(unit, device=device)
    if units.is_floating_point() or units.ndim > 1 or (units.ndim == 1 and len(units) != count):
        raise ValueError(f"give one unit, or one for each of {count} images; got {unit!r}")
    return units.expand(count)


def _places(place: tuple[Tensor, Tensor], maps: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of places in (B, h, w)."""
    rows, columns = (torch.as_tensor(part, device=maps.device) for part in place)
    if not all(((part >= 0) & (part < side)).all() for part, side in zip((rows, columns), maps.shape[1:], strict=True)):
        raise ValueError(f"the maps have {tuple(maps.shape[1:])} places, so not all of {place} exist")
    return rows, columns


def _strongest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the maximum of each of (B, h, w), (B,) each; the first of equal ones."""
    place = maps.flatten(1).argmax(1)
    return place // maps.shape[2], place % maps.shape[2]


def _compiled(module: nn.Module) -> bool:
    return (
        isinstance(module, torch.jit.ScriptModule)
        or hasattr(module, "_orig_mod")  # torch.compile(module)
        or getattr(module, "_compiled_call_impl", None) is not None  # module.compile()
    )


class _Rules(TorchFunctionMode):
    """While a forward pass runs, gives the functions that it calls other backward passes, and refuses unknown ones.

    Catching functions, and not modules, finds ReLUs that are in place or written as functions, which hooks miss.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "").partition(".")[0]
        kind = name.strip("_")  # "add" is also add_ and __add__
        signals = [t for t in tensors_in([args, kwargs]) if t.requires_grad]
        if not signals:
            return func(*args, **kwargs)
        if kind == "relu":
            rectified = _ReLU.apply(signals[0], self.rule)
            inplace = name == "relu_" or kwargs.get("inplace", False) or args[1:2] == (True,)
            return signals[0].copy_(rectified) if inplace else rectified
        if self.rule == "deconvnet":
            if kind == "batch_norm" or (kind in _SUMS and len(signals) > 1):
                what = "batch normalization" if kind == "batch_norm" else "skip connections"
                raise ValueError(f"{name}: the deconvnet has no rule for {what}; try guided_backprop")
            if kind in _POOLINGS:
                settings = {key: value for key, value in kwargs.items() if key != "input"}
                pooled, switches = _MaxPool.apply(signals[0], lambda x: _POOLINGS[kind](x, *args[1:], **settings))
                return (pooled, switches) if kind.endswith("_with_indices") else pooled
            if kind == "local_response_norm":
                return signals[0] + (func(*args, **kwargs) - signals[0]).detach()
        output = func(*args, **kwargs)
        known = kind in _KNOWN or (kind in _PRODUCTS and len(signals) == 1)
        if not known and any(t.requires_grad or t.dtype == torch.bool for t in tensors_in(output)):
            raise ValueError(
                f"{name} has no rule in {self.rule} backpropagation: only ReLU networks can be projected back"
            )
        return output


# What may stand between the ReLUs: all that is linear in the image, and max pooling. A list of what may not would have
# holes, through which a ReLU in disguise, say x * (x > 0), kept its gradient and no one would know.
_POOLINGS = {
    "max_pool2d": F.max_pool2d_with_indices,
    "max_pool2d_with_indices": F.max_pool2d_with_indices,
    "adaptive_max_pool2d": F.adaptive_max_pool2d_with_indices,
    "adaptive_max_pool2d_with_indices": F.adaptive_max_pool2d_with_indices,
}
_SUMS = {"add", "radd", "iadd", "sub", "rsub", "isub"}
_PRODUCTS = {"mul", "rmul", "imul", "div", "truediv", "matmul", "conv2d", "conv_transpose2d", "linear"}  # by constants
_KNOWN = {
    *_POOLINGS,
    *_SUMS,
    *("avg_pool2d", "adaptive_avg_pool2d", "max_unpool2d", "interpolate", "mean", "sum", "neg"),
    *("batch_norm", "local_response_norm", "dropout", "dropout2d", "feature_dropout", "alpha_dropout"),
    *("cat", "concat", "stack", "chunk", "split", "unbind", "select", "narrow", "index_select", "getitem", "get"),
    *("flatten", "unflatten", "view", "view_as", "reshape", "permute", "transpose", "movedim", "squeeze", "unsqueeze"),
    *("expand", "expand_as", "pad", "flip", "roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("clone", "contiguous", "to", "float", "double", "half", "bfloat16", "type_as", "requires_grad"),
}


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z: Tensor, rule: str) -> Tensor:
        ctx.save_for_backward(z > 0)  # all that a rule asks of z, which itself may be changed in place
        ctx.rule = rule
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx, signal: Tensor) -> tuple[Tensor, None]:
        return backward_relu(signal, ctx.saved_tensors[0], ctx.rule), None


class _MaxPool(torch.autograd.Function):
    """Max pooling by a function that gives (maxima, switches), which sends back along its switches."""

    @staticmethod
    def forward(ctx, x: Tensor, pool: Callable) -> tuple[Tensor, Tensor]:
        pooled, switches = pool(x)
        ctx.mark_non_differentiable(switches)
        ctx.save_for_backward(switches)
        ctx.size = x.shape[-2:]
        return pooled, switches

    @staticmethod
    def backward(ctx, signal: Tensor, _: Tensor) -> tuple[Tensor, None]:
        return unpool(signal, ctx.saved_tensors[0], ctx.size), None
