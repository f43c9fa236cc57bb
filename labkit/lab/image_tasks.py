"""A classification task as a lesson trains on it: standardized images of a data set, or of some drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.data import Dataset


@dataclass(frozen=True)
class ImageTask:
    """Images (N, C, H, W) in standardized units, with labels (N,)."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    box: tuple[Tensor, Tensor]  # the darkest and the brightest value that a pixel can have, (C, 1, 1) each

    def pixels(self, images: Tensor) -> Tensor:
        """Images of this task with brightness in [0, 1], on the CPU: (N, C, H, W), or (N, H, W) where they are gray."""
        low, high = self.box
        images = ((images - low) / (high - low)).clamp(0, 1).cpu()
        return images[:, 0] if images.shape[1] == 1 else images


def image_task(
    name: str,
    data: Dataset,
    counts: tuple[int, int],
    generator: torch.Generator,
    *,
    statistics: tuple[Sequence[float], Sequence[float]] | None = None,
    device: torch.device | str = "cpu",
) -> ImageTask:
    """So many training and test images, drawn at random (all, where there are no more), standardized.

    `statistics`, mean and standard deviation of each channel, replace those of the training images.
    """
    mean, std = (torch.as_tensor(values).view(-1, 1, 1) for values in statistics or data.channel_statistics())
    data, parts = data.standardized(mean, std), []
    for part, count in zip((data.train, data.test), counts, strict=True):
        some = torch.randperm(len(part.labels), generator=generator)[:count]
        parts += [part.images[some].to(device), part.labels[some].to(device)]
    return ImageTask(name, *parts, ((-mean / std).to(device), ((1 - mean) / std).to(device)))


def strongest_pieces(
    images: Tensor, a: Tensor, count: int, size: int, stride: int, outside: Tensor | float = 0.0
) -> Tensor:
    """Of square images (N, C, S, S) the pieces at which activations (N, h, h) are largest: (count, C, size, size).

    Each comes from another image and is centered at the pixel `stride` * place, where padded convolutions of that total
    stride look; `outside`, (C, 1, 1), fills what lies beyond the rim. Raises ValueError if there are fewer images than
    pieces.
    """
    if len(images) < count:
        raise ValueError(f"{count} pieces, each of another image, cannot come from {len(images)} images")
    strongest, places = a.flatten(1).max(1)
    padded = torch.nn.functional.pad(images - outside, (size // 2, size) * 2) + outside
    pieces = []
    for image in strongest.topk(count).indices.tolist():
        top, left = (stride * at for at in divmod(int(places[image]), a.shape[2]))
        pieces.append(padded[image, :, top : top + size, left : left + size])
    return torch.stack(pieces)
