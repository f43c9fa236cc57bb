"""Looking into a network by the names of its layers: what they give out, what they see, which images they like.

B: images, C: colours, H x W: pixels; K: channels ("units") of a layer, h x w: places of its feature maps. No function
here changes the model that it is given: hooks are removed, training mode and `requires_grad` are put back. Images are
given as the model takes them, that is normalized if it was trained so. The methods of `cnn_visualization` stand on this
module, and it is long because it holds all that needs a hook.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

LARGEST_PIXEL = 20.0  # a normalized image stays below 3; above this it was not scaled at all

# ---- looking into a network -----------------------------------------------------------------------------------------


class FeatureMaps:
    """What layers of a network give out: ``FeatureMaps(model, ["conv1", "relu1"])(images)`` -> {"conv1": ..., ...}.

    Works with every nn.Module, by the names of its layers. Outputs are copies, so that an in-place ReLU behind a
    convolution does not change what was kept of it. The network runs in evaluation mode, without gradients.
    Raises ValueError for a name that does not exist (naming near ones), a layer that runs several times in one pass or
    whose output is no tensor, and images that the network cannot take.
    """

    def __init__(self, model: nn.Module, layers: str | Sequence[str]) -> None:
        self.model, self.layers = model, [layers] if isinstance(layers, str) else list(layers)
        for layer in self.layers:
            _module(model, layer)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) -> for each layer (B, K, h, w), or (B, K) where it has no places."""
        return run(self.model, self.layers, images)


def run(model: nn.Module, layers: Sequence[str], images: Tensor, *, stop: bool = False) -> dict[str, Tensor]:
    """The outputs of the layers, with gradients if they are on. With `stop` the pass ends when they all are there.

    Without `stop` it goes on, to see that no layer runs twice; what fails behind the layers was not asked for.
    """
    require_images(images.detach())
    outputs: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"layer {layer!r} gives out a {type(output).__name__}, not a tensor: name one inside it"
                )
            if layer in outputs:
                raise ValueError(f"layer {layer!r} runs more than once in a pass: name a layer that runs once")
            outputs[layer] = output.clone()
            if stop and len(outputs) == len(set(layers)):
                raise _Stop

        return hook

    with undisturbed(model), contextlib.ExitStack() as stack:
        for layer in dict.fromkeys(layers):
            stack.callback(_module(model, layer).register_forward_hook(keep(layer)).remove)
        try:
            with contextlib.suppress(_Stop):
                _call(model, images.clone())  # a network may begin with something in place
        except RuntimeError:
            if len(outputs) < len(set(layers)):
                raise
    if missing := [layer for layer in layers if layer not in outputs]:
        raise ValueError(f"layer {missing[0]!r} does not run when the network does: name another")
    return {layer: outputs[layer] for layer in layers}


class _Stop(Exception):
    """Ends a forward pass early."""


def _call(model: nn.Module, images: Tensor) -> None:
    try:
        model(images)
    except RuntimeError as error:
        first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
        if first and images.shape[1] != first.in_channels:
            expected = f"(B, {first.in_channels}, H, W)"
            raise ValueError(f"this network takes images of shape {expected}, got {tuple(images.shape)}") from error
        raise


def home(model: nn.Module) -> dict[str, torch.device | torch.dtype]:
    """Where images for a network belong: device and dtype of its weights."""
    weight = next(model.parameters(), torch.empty(0))
    return {"device": weight.device, "dtype": weight.dtype}


def tensors_in(values: object) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts: in the arguments of a function, or in what it returns."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for value in values for t in tensors_in(value)] if isinstance(values, (list, tuple)) else []


@contextlib.contextmanager
def undisturbed(model: object) -> Iterator[None]:
    """Evaluation mode and no gradients of weights, put back afterwards as they were; of no module, nothing."""
    if not isinstance(model, nn.Module):
        yield
        return
    training = [module for module in model.modules() if module.training]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for module in training:
        module.training = False  # model.eval() may do more, which could not be put back
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in learned:
            parameter.requires_grad_(True)


def _module(model: nn.Module, layer: str) -> nn.Module:
    names = {name: module for name, module in model.named_modules() if name}
    if layer not in names:
        near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4) or list(names)[:3]
        raise ValueError(f"there is no layer {layer!r}: near names are {', '.join(map(repr, near))}")
    return names[layer]


def require_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (B, C, H, W), got {tuple(images.shape)}")
    require_finite(images, "the images")
    if not images.is_floating_point() or (images.numel() and images.abs().max() > LARGEST_PIXEL):
        raise ValueError("images must be floats, scaled as for training (to [0, 1], then normalized), not 0 to 255")


def require_finite(values: Tensor, what: str) -> None:
    if not values.isfinite().all():
        raise ValueError(f"{what} hold NaN or infinite values")


def require_unit(output: Tensor, layer: str, unit: Tensor) -> None:
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"layer {layer!r} gives out {given}, not (B, K) or (B, K, h, w): it has no units")
    count = output.shape[1]
    if bool(((unit < 0) | (unit >= count)).any()):
        raise ValueError(f"layer {layer!r} has the units 0 to {count - 1}, got {unit.flatten().tolist()}")


# ---- receptive fields -----------------------------------------------------------------------------------------------


def extend_field(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    """The receptive field behind one more convolution or pooling, along one axis, in pixels of the image.

    `size`: pixels that a unit sees; `jump`: pixels between the fields of neighbouring units; `start`: the first pixel
    of the field of unit 0, negative where padding is seen. An image's own pixels have (1, 1, 0).
    """
    return size + (kernel - 1) * dilation * jump, jump * stride, start - padding * jump


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a unit sees: `size`, `jump` and `start` (see `extend_field`), each as (down, right)."""

    size: tuple[int, int] = (1, 1)
    jump: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) of the unit at a place, bottom and right excluded; it may reach over the edge."""
        top, left = self.start[0] + row * self.jump[0], self.start[1] + column * self.jump[1]
        return top, top + self.size[0], left, left + self.size[1]

    def crop(self, image: Tensor, row: int, column: int, fill: float = 0.5) -> Tensor:
        """What the unit at a place sees of an image (C, H, W) -> (C, *size); beyond the edge it is `fill`."""
        top, bottom, left, right = self.box(row, column)
        height, width = image.shape[-2:]
        padded = F.pad(
            image,
            (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height)),
            value=fill,
        )
        top, left = max(0, top), max(0, left)
        return padded[..., top : top + self.size[0], left : left + self.size[1]]


def crops(field: ReceptiveField, images: Tensor, rows: Tensor, columns: Tensor, fill: float = 0.5) -> Tensor:
    """What the unit at a place of each image sees of it, (B, C, H, W), (B,), (B,) -> (B, C, *size)."""
    places = zip(images, rows.tolist(), columns.tolist(), strict=True)
    return torch.stack([field.crop(image, row, column, fill) for image, row, column in places])


def receptive_field(model: nn.Module, layer: str, shape: tuple[int, int, int] = (3, 224, 224)) -> ReceptiveField:
    """The receptive field of a layer's units, found by following one image of `shape` (C, H, W) through the network.

    Branches that are joined (SqueezeNet's Fire modules) give the field that covers all of theirs. A unit behind a
    linear layer or an adaptive pooling sees the whole image. Raises ValueError as `FeatureMaps` does, for branches with
    unequal jumps, and for functions through which no field can be followed.
    """
    image = torch.zeros(1, *shape, **home(model))
    found: list[ReceptiveField] = []
    with torch.no_grad(), _Fields(image) as fields:

        def note(module: nn.Module, inputs: object, output: object) -> None:
            found.extend(fields.of(tensor) for tensor in tensors_in(output))
            fields.stopped = True

        handle = _module(model, layer).register_forward_hook(note)
        try:
            run(model, [layer], image)  # to the end, to find out whether the layer runs again
        finally:
            handle.remove()
    return found[0]


class _Fields(TorchFunctionMode):
    """Follows the receptive field through whatever functions of torch a network calls."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.whole = ReceptiveField(size=tuple(image.shape[-2:]), jump=(0, 0))  # the same from every place
        self.fields = WeakIdKeyDictionary({image: ReceptiveField()})
        self.stopped = False

    def of(self, tensor: Tensor) -> ReceptiveField:
        return self.fields.get(tensor, self.whole)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        inputs = [t for t in tensors_in([args, kwargs]) if t in self.fields]
        if inputs and not self.stopped:
            for each in tensors_in(output):  # several, say, from a split into channels
                self.fields[each] = self._behind(inputs, getattr(func, "__name__", ""), args, kwargs or {}, each)
        return output

    def _behind(self, inputs: list[Tensor], name: str, args: tuple, kwargs: dict, output: Tensor) -> ReceptiveField:
        fields = [self.fields[t] for t in inputs]
        if self.whole in fields or (window := _window(name, args, kwargs, inputs[0], output)) is None:
            return self.whole
        jump = fields[0].jump
        if any(other.jump != jump for other in fields):
            raise ValueError("branches with unequal strides are joined: their units have no common receptive field")
        axes = []
        for axis in (0, 1):
            start = min(each.start[axis] for each in fields)
            size = max(each.start[axis] + each.size[axis] for each in fields) - start
            step = {name: values[axis] for name, values in window.items()}
            axes.append(extend_field(size, jump[axis], start, **step))
        return ReceptiveField(*zip(*axes, strict=True))


_POOLING = ("input", "kernel_size", "stride", "padding")
_ARGUMENTS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "max_pool2d": (*_POOLING, "dilation"),
    "max_pool2d_with_indices": (*_POOLING, "dilation"),
    "avg_pool2d": _POOLING,
    "pad": ("input", "pad"),
}
# These keep the size of a map, and yet a place of what they return has not seen that place of the map only.
_NOT_PLACE_BY_PLACE = {
    *("transpose", "permute", "flip", "roll", "matmul", "conv_transpose2d", "interpolate"),
    *("instance_norm", "group_norm", "layer_norm", "scaled_dot_product_attention"),
}


def _window(name: str, args: tuple, kwargs: dict, image: Tensor, output: Tensor) -> dict[str, tuple[int, int]] | None:
    """The arguments of `extend_field` for one call of a function, each (down, right); None where everything is seen."""
    given = dict(zip(_ARGUMENTS.get(name, ()), args, strict=False)) | kwargs
    if name == "pad":
        left, _, top = (*given["pad"], 0, 0)[:3]
        return {"kernel": (1, 1), "padding": (top, left)}
    if name not in _ARGUMENTS:
        if output.ndim < 3 or (name.startswith("adaptive") and output.shape != image.shape):
            return None
        if output.ndim != 4 or output.shape[-2:] != image.shape[-2:] or name in _NOT_PLACE_BY_PLACE:
            raise ValueError(f"the receptive field cannot be followed through {name}: ask for a layer before it")
        return {"kernel": (1, 1)}
    kernel = _pair(given["weight"].shape[-2:] if name == "conv2d" else given["kernel_size"])
    dilation, padding = _pair(given.get("dilation", 1)), given.get("padding", 0)
    if padding == "same":
        padding = tuple((k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True))
    stride = given.get("stride") or (1 if name == "conv2d" else kernel)  # a pooling's stride is its kernel by default
    padding = _pair(0 if padding == "valid" else padding)
    return {"kernel": kernel, "stride": _pair(stride), "padding": padding, "dilation": dilation}


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


# ---- which images make a unit fire ----------------------------------------------------------------------------------


class TopActivations(NamedTuple):
    """For every unit of a layer the images in which it fires most, and where in them; best first."""

    values: Tensor  # (K, k) activations
    images: Tensor  # (K, k) indices of images, none twice in a row
    rows: Tensor  # (K, k) places in the feature map; 0 for a layer without places
    columns: Tensor  # (K, k)


@torch.no_grad()
def top_activations(model: nn.Module, layer: str, images: Tensor, k: int = 9, *, batch: int = 64) -> TopActivations:
    """The `k` images (of (N, C, H, W)) that each unit of a layer likes best; of each image its strongest place counts.

    Zeiler & Fergus (2014), section 2 and figure 2 (k = 9). Keeps k values a unit, not all feature maps.
    Raises ValueError for fewer than k images, and as `FeatureMaps` does.
    """
    if not 1 <= k <= len(images):
        raise ValueError(
            f"the {k} best of {len(images)} images cannot be found: k must lie between 1 and {len(images)}"
        )
    best = index = place = None
    for first in range(0, len(images), batch):
        maps = run(model, [layer], images[first : first + batch], stop=first > 0)[layer]  # (B, K, h, w)
        width = maps.shape[-1] if maps.ndim == 4 else 1
        strongest, where = maps.reshape(*maps.shape[:2], -1).max(2)  # (B, K) each
        number = torch.arange(first, first + len(maps), device=maps.device)[:, None].expand_as(where)
        if best is not None:
            strongest, where, number = (
                torch.cat(pair) for pair in ((best, strongest), (place, where), (index, number))
            )
        best, order = strongest.sort(dim=0, descending=True, stable=True)
        best, order = best[:k], order[:k]
        index, place = number.gather(0, order), where.gather(0, order)
    return TopActivations(best.T, index.T, (place // width).T, (place % width).T)


# ---- local or distributed? ------------------------------------------------------------------------------------------


def selectivity(responses: Tensor, labels: Tensor) -> Tensor:
    """How much more a unit responds to its favourite class than to the others, (N, K) and (N,) -> (K,) in [0, 1].

    (m - r) / (m + r), with m the unit's mean response to the class that it likes best and r the mean of its means over
    the other classes; 0 for a unit that never responds. Responses are those behind a ReLU. Source of the index: Morcos
    et al. (2018), arXiv:1803.06959. Raises ValueError for negative responses or a single class.
    """
    if (responses < 0).any():
        raise ValueError("responses must not be negative: take them behind the ReLU")
    classes = labels.unique()
    if len(classes) < 2:
        raise ValueError("selectivity compares classes: at least two are needed")
    means = torch.stack([responses[labels == c].mean(0) for c in classes])  # (classes, K)
    most = means.max(0).values
    rest = (means.sum(0) - most) / (len(classes) - 1)
    return torch.where(most > 0, (most - rest) / (most + rest).clamp(min=torch.finfo(means.dtype).tiny), 0)


@contextlib.contextmanager
def ablated(model: nn.Module, layer: str, units: int | Sequence[int]) -> Iterator[None]:
    """While this lasts, the given units of a layer put out 0 everywhere. Raises ValueError for a unit out of range."""
    units = torch.as_tensor(units, dtype=torch.long).reshape(-1)

    def silence(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        require_unit(output, layer, units)
        return output.index_fill(1, units.to(output.device), 0)

    handle = _module(model, layer).register_forward_hook(silence)
    try:
        yield
    finally:
        handle.remove()


# ---- the control ----------------------------------------------------------------------------------------------------


def randomized(model: nn.Module, generator: torch.Generator, layers: Sequence[str] | None = None) -> nn.Module:
    """A copy of a network in which the weights of each of these layers (default: all) are shuffled among themselves.

    They keep their distribution and lose what was learned: the control of Adebayo et al. (2018), arXiv:1810.03292, who
    draw new weights. The name of a block stands for all layers inside it. Raises ValueError for a name that does not
    exist or holds no weights.
    """
    shuffled = copy.deepcopy(model)
    for top in [shuffled] if layers is None else [_module(shuffled, layer) for layer in layers]:
        weights = [module.weight for module in top.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
        if not weights:
            raise ValueError(f"a {type(top).__name__} holds no convolution or linear layer: nothing would be shuffled")
        with torch.no_grad():
            for weight in weights:
                order = torch.randperm(weight.numel(), generator=generator, device=generator.device).to(weight.device)
                weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return shuffled
