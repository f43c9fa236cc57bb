"""Gradient ascent as it is done today: other things to climb, and two ways to keep the image from being noise.

Source: C. Olah, A. Mordvintsev, L. Schubert, *Feature Visualization*, Distill 2017, doi:10.23915/distill.00007.

Each is a module to put before or behind a network, so that any ascent can use it, also one that knows nothing of it:
``ascend(nn.Sequential(Jitter(4, generator), network), unit, x, ...)``. B images of C colors and H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.cnn_feature_maps import FeatureMaps, require_finite, require_images, require_unit, run


class Jitter(nn.Module):
    """Transformation robustness, its simplest case: the network sees the image moved, each time by other pixels.

    Up to `pixels` along each axis, the same for a whole batch; what leaves at one edge comes back at the other. A unit
    then has to like the image wherever it lies, so that patterns as fine as a pixel cancel out. (B, C, H, W) -> same.
    Raises ValueError for a negative number.
    """

    def __init__(self, pixels: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if pixels < 0:
            raise ValueError(f"an image is moved by 0 pixels or more, got {pixels}")
        self.pixels, self.generator = pixels, generator

    def forward(self, x: Tensor) -> Tensor:
        down, right = torch.randint(-self.pixels, self.pixels + 1, (2,), generator=self.generator).tolist()
        return x.roll((down, right), (-2, -1))


class FrequencyPreconditioner(nn.Module):
    """The image passes as it is; a gradient that comes back is divided by the square of each frequency.

    That is gradient ascent on Fourier coefficients which were scaled to equal strength, as photographs have amplitudes
    of about 1 / frequency: coarse patterns grow first. See `precondition`. (B, C, H, W) -> same.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _Preconditioned.apply(x)


class _Preconditioned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return precondition(gradient)


def precondition(gradient: Tensor) -> Tensor:
    """The part of a gradient (B, C, H, W) along its coarse version: each frequency f, in cycles a pixel, over f^2.

    A part, so that a step eta g still gains eta |g|^2 to first order, as a rule for step lengths will assume.
    Frequencies below one cycle an image, so the mean color, are divided as that one is.
    """
    height, width = gradient.shape[-2:]
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = torch.hypot(rows[:, None], columns).clamp(min=1 / max(height, width)).to(gradient.device)
    coarse = torch.fft.irfft2(torch.fft.rfft2(gradient) / frequency.square(), s=(height, width))
    along = (coarse * gradient).sum((1, 2, 3), keepdim=True)
    return coarse * along / coarse.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-30)


class Readout(nn.Module):
    """What a layer says along directions in the space of its K units, (B, C, H, W) -> (B, M).

    `directions` (M, K): a row with a single 1 is one unit, one with several a group of them, any other a direction.
    Of a map (K, h, w) it takes the middle, or with `channel` the mean over all places, so that a texture counts and
    not one thing in the middle. Raises ValueError as `FeatureMaps` does, and for directions of another width.
    """

    def __init__(self, model: nn.Module, layer: str, directions: Tensor, *, channel: bool = False) -> None:
        super().__init__()
        if directions.ndim != 2:
            raise ValueError(f"directions are the rows of a matrix (M, K), got shape {tuple(directions.shape)}")
        require_finite(directions, "the directions")
        FeatureMaps(model, layer)  # says what is wrong with the layer
        self.model, self.layer, self.directions, self.channel = model, layer, directions, channel

    def forward(self, x: Tensor) -> Tensor:
        maps = run(self.model, [self.layer], x, stop=True)[self.layer]  # (B, K, h, w) or (B, K)
        if maps.ndim == 4:
            maps = maps.mean((2, 3)) if self.channel else maps[..., maps.shape[2] // 2, maps.shape[3] // 2]
        if maps.shape[1] != self.directions.shape[1]:
            wide = self.directions.shape[1]
            raise ValueError(f"layer {self.layer!r} has {maps.shape[1]} units, so directions of {wide} do not fit it")
        return maps @ self.directions.T.to(maps)


class OwnUnit(nn.Module):
    """Each image of a batch has a unit of its own: what `network` says (B, K) -> (B, 1), of image i its units[i].

    So one ascent draws several units at once. Raises ValueError for a batch of another length than `units`, for a unit
    that does not exist, and for a network that gives maps.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], units: Sequence[int]) -> None:
        super().__init__()
        self.network, self.units = network, torch.as_tensor(units)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != len(self.units):
            raise ValueError(f"{len(self.units)} images are needed, one for each unit; got {len(x)}")
        said = self.network(x)
        if said.ndim != 2:
            raise ValueError(f"one number for each unit is needed, (B, K); the network gives {tuple(said.shape)}")
        require_unit(said, "the output", self.units)
        return said[torch.arange(len(x)), self.units][:, None]


class Diverse(nn.Module):
    """The images of a batch pushed apart: what `network` says (B, K), less `weight` times their likeness in a layer.

    Likeness of two images is the cosine of their Gram matrices, the sums over all places of products of two units, in
    `layer` of `model`: which units fire together, wherever. Each image loses its mean likeness to the others. Raises
    ValueError as `FeatureMaps` does, for a layer whose units have no places, and for fewer than two images.
    """

    def __init__(self, network: nn.Module, model: nn.Module, layer: str, weight: float) -> None:
        super().__init__()
        FeatureMaps(model, layer)
        self.network, self.model, self.layer, self.weight = network, model, layer, weight

    def forward(self, x: Tensor) -> Tensor:
        require_images(x)
        if len(x) < 2:
            raise ValueError("one image has no others to differ from: give at least two")
        maps = run(self.model, [self.layer], x, stop=True)[self.layer]  # (B, K, h, w)
        if maps.ndim != 4:
            raise ValueError(
                f"layer {self.layer!r} gives out {tuple(maps.shape)}, not (B, K, h, w): name a convolution"
            )
        maps = maps.flatten(2)  # (B, K, places)
        gram = F.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)  # (B, K * K)
        alike = (gram @ gram.T).fill_diagonal_(0).sum(1) / (len(x) - 1)  # (B,)
        return self.network(x) - self.weight * alike[:, None]
