"""Right answers to the exercises of lesson 04, written differently from the plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def field_by_its_ends(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    first = start - padding * jump
    end = first + dilation * (kernel - 1) * jump + size  # where the field of the last tap ends
    return end - first, stride * jump, first


def field_by_its_pixels(
    size: int, jump: int, start: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[int, int, int]:
    def pixels(unit: int) -> list[int]:
        seen = [unit * stride - padding + tap * dilation for tap in range(kernel)]  # units of the layer below
        return [start + below * jump + pixel for below in seen for pixel in range(size)]

    return max(pixels(0)) - min(pixels(0)) + 1, min(pixels(1)) - min(pixels(0)), min(pixels(0))


def selectivity_by_one_hot(responses: Tensor, labels: Tensor) -> Tensor:
    member = (labels.unique()[:, None] == labels).to(responses)  # (classes, N)
    means = (member @ responses / member.sum(1, keepdim=True)).sort(dim=0).values
    most, rest = means[-1], means[:-1].mean(0)
    return ((most - rest) / (most + rest)).nan_to_num(nan=0.0)


def selectivity_by_loop(responses: Tensor, labels: Tensor) -> Tensor:
    found = []
    for unit in responses.T:
        means = sorted(unit[labels == c].mean() for c in labels.unique())
        rest = sum(means[:-1]) / (len(means) - 1)
        found.append((means[-1] - rest) / (means[-1] + rest) if means[-1] > 0 else torch.zeros_like(rest))
    return torch.stack(found)


def step_by_norm(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    steepness = torch.linalg.vector_norm(gradient.flatten(1), dim=1).reshape(-1, 1, 1, 1) ** 2
    return torch.full_like(steepness, lr) if desired is None else (desired / steepness).clamp(max=lr)


def step_image_by_image(gradient: Tensor, lr: float, desired: float | None = None) -> Tensor:
    steps = []
    for g in gradient:
        gain = float((g * g).sum())  # of a step of length 1
        steps.append(lr if desired is None or gain == 0 else min(lr, desired / gain))
    return torch.tensor(steps).reshape(-1, 1, 1, 1)


def clip_by_numpy(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    threshold = np.percentile(size.numpy(), percentile, axis=(1, 2, 3), keepdims=True).astype("float32")
    return x * (size >= torch.from_numpy(threshold))


def clip_image_by_image(x: Tensor, size: Tensor, percentile: float) -> Tensor:
    return torch.stack([one.masked_fill(s < s.quantile(percentile / 100), 0) for one, s in zip(x, size, strict=True)])


def unpool_by_index(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    B, K = pooled.shape[:2]
    maps = pooled.new_zeros(B, K, *size)
    image, channel = torch.arange(B)[:, None, None, None], torch.arange(K)[:, None, None]
    maps[image, channel, switches // size[1], switches % size[1]] = pooled
    return maps


def unpool_by_loop(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    maps = torch.zeros(*pooled.shape[:2], size[0] * size[1])
    for b, k in torch.cartesian_prod(torch.arange(len(pooled)), torch.arange(pooled.shape[1])):
        for value, place in zip(pooled[b, k].flatten(), switches[b, k].flatten(), strict=True):
            maps[b, k, place] = value
    return maps.unflatten(2, tuple(size))


def unpool_by_torch(pooled: Tensor, switches: Tensor, size: Sequence[int]) -> Tensor:
    """With a kernel that fits the two sizes, which is all that max_unpool2d asks of it."""
    kernel = [whole // part for whole, part in zip(size, pooled.shape[2:], strict=True)]
    return F.max_unpool2d(pooled, switches, kernel, output_size=tuple(size))


def relu_by_where(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    zero = torch.zeros_like(signal)
    if rule != "gradient":
        signal = torch.where(signal > 0, signal, zero)
    return signal if rule == "deconvnet" else torch.where(z > 0, signal, zero)


def relu_by_branches(signal: Tensor, z: Tensor, rule: str = "gradient") -> Tensor:
    if rule == "gradient":
        return signal * (z > 0)
    if rule == "deconvnet":
        return signal.relu()
    return signal.relu() * (z > 0)


def ascend_by_backward(
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
    def boxed(x: Tensor) -> Tensor:
        return torch.clamp(x + mean, 0.0, 1.0) - mean

    x, way = boxed(x), []
    for step in range(steps):
        x = x.clone().requires_grad_(True)
        activation = model(x)[:, unit]
        way += [activation.detach()]
        (-activation).sum().backward()
        with torch.no_grad():
            g = -x.grad
            x = x + step_length_at_once(g, lr, desired) * g
            x = boxed(regularize(x, g, step) if regularize is not None else x)
    with torch.no_grad():
        way += [model(x)[:, unit]]
    return x, torch.stack(way)


def step_length_at_once(g: Tensor, lr: float, desired: float | None) -> Tensor | float:
    return lr if desired is None else (desired / (g**2).sum(dim=(1, 2, 3), keepdim=True)).clamp(max=lr)


def ascend_image_by_image(
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
    images, ways = [], []
    for one in x:
        one, way = one[None], []
        for step in range(steps + 1):
            one = one.detach() + mean
            one = (one.clip(0, 1) - mean).requires_grad_()
            (activation,) = model(one)[:, unit]
            way.append(activation.detach())
            if step == steps:
                break
            g = torch.autograd.grad(activation, one)[0]
            one = one + step_length_at_once(g, lr, desired) * g
            one = regularize(one.detach(), g, step) if regularize else one
        images.append(one.detach())
        ways.append(torch.stack(way))
    return torch.cat(images), torch.stack(ways, dim=1)


def back_project_by_hooks(layers: Sequence[nn.Module], image: Tensor, unit: int, rule: str = "deconvnet") -> Tensor:
    """Autograd's way back, with another rule at each ReLU, as libraries do; where windows do not overlap."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z: Tensor) -> Tensor:
            ctx.save_for_backward(z)
            return z.clamp(min=0)

        @staticmethod
        def backward(ctx, signal: Tensor) -> Tensor:
            return relu_by_where(signal, *ctx.saved_tensors, rule)

    x = start = image.clone().requires_grad_()
    for layer in layers:
        x = Rule.apply(x) if isinstance(layer, nn.ReLU) else layer(x)
    activation = x[0, unit].max()
    return torch.autograd.grad(activation, start, activation.detach())[0]


@torch.no_grad()
def back_project_by_recursion(layers: Sequence[nn.Module], image: Tensor, unit: int, rule: str = "deconvnet") -> Tensor:
    def back(layers: list[nn.Module], z: Tensor) -> Tensor:
        if not layers:
            peak = F.one_hot(z[0, unit].argmax(), z[0, unit].numel()).reshape(z[0, unit].shape)
            signal = torch.zeros_like(z)
            signal[0, unit] = z[0, unit] * peak
            return signal
        layer, *others = layers
        if isinstance(layer, nn.Conv2d):
            signal = back(others, layer(z))
            window = (layer.stride, layer.padding)
            return torch.nn.grad.conv2d_input(z.shape, layer.weight, signal, *window)
        if isinstance(layer, nn.MaxPool2d):
            pooled, switches = F.max_pool2d_with_indices(z, layer.kernel_size)
            return unpool_by_index(back(others, pooled), switches, z.shape[-2:])
        return relu_by_branches(back(others, F.relu(z)), z, rule)

    return back(list(layers), image)


ANSWERS = {
    "extend_field": (field_by_its_ends, field_by_its_pixels),
    "selectivity": (selectivity_by_one_hot, selectivity_by_loop),
    "step_length": (step_by_norm, step_image_by_image),
    "clip_small": (clip_by_numpy, clip_image_by_image),
    "unpool": (unpool_by_index, unpool_by_loop, unpool_by_torch),
    "backward_relu": (relu_by_where, relu_by_branches),
    "ascend": (ascend_by_backward, ascend_image_by_image),
    "back_project": (back_project_by_hooks, back_project_by_recursion),
}
