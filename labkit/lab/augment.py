"""Images changed at random while a network trains. All take images (N, C, H, W) and a generator on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.lab.training import Loss


def cropped(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Of each image a square of side x side pixels, at a place of its own. Raises ValueError for smaller images."""
    if min(x.shape[2:]) < side:
        raise ValueError(f"squares of {side} x {side} pixels do not fit into images of {tuple(x.shape[2:])}")
    windows = x.unfold(2, side, 1).unfold(3, side, 1)  # (N, C, rows, columns, side, side)
    i, j = (torch.randint(places, (len(x),), generator=generator).to(x.device) for places in windows.shape[2:4])
    return windows[torch.arange(len(x), device=x.device), :, i, j]


def shifted(x: Tensor, pixels: int, outside: Tensor | float, generator: torch.Generator) -> Tensor:
    """Square images, each moved by up to so many pixels in both directions; `outside`, (C, 1, 1), comes in."""
    return cropped(F.pad(x - outside, (pixels,) * 4), x.shape[-1], generator) + outside


def flipped(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images, each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(x.device), x.flip(3), x)


def lit(x: Tensor, brightness: float, contrast: float, generator: torch.Generator) -> Tensor:
    """Images in [0, 1], each with its brightness and its contrast changed by a factor of up to 1 ± so much."""
    bright, sharp = torch.rand(2, len(x), 1, 1, 1, generator=generator).to(x.device) * 2 - 1
    x = (x * (1 + brightness * bright)).clamp(0, 1)
    middle = x.mean((1, 2, 3), keepdim=True)
    return (middle + (x - middle) * (1 + contrast * sharp)).clamp(0, 1)


def augmented(loss: Loss, change: Callable[[Tensor, torch.Generator], Tensor]) -> Loss:
    """The loss (model, x, y, generator) of images that are changed first; on a GPU in mixed precision."""

    def of_changed(model, x, y, generator):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            return loss(model, change(x, generator), y, generator)

    return of_changed
