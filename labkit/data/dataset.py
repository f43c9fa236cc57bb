"""What a loader gives back: images or rows of features, and labels, with where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """The training or the test part of a data set of images."""

    images: Tensor  # (N, C, H, W) float32 in [0, 1], unless standardized
    labels: Tensor  # (N,) int64

    @property
    def flat(self) -> Tensor:
        """The images as rows of pixels, (N, C * H * W): a view, not a copy."""
        return self.images.flatten(start_dim=1)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Rows:
    """The training or the test part of a table."""

    features: Tensor  # (N, F) float32
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class _Described:
    """Both parts, and what a reader must know to cite and judge them."""

    train: Split | Rows
    test: Split | Rows
    name: str
    source: str  # one sentence: what these data are and how they came here
    licence: str
    url: str
    classes: tuple[str, ...] = ()  # what label 0, 1, ... stands for, where the set names it


@dataclass(frozen=True, eq=False)
class Dataset(_Described):
    """Images with labels: both parts, and what a reader must know to cite and judge them."""

    train: Split
    test: Split

    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all pixels of the training images, (C, 1, 1) each."""
        pixels = self.train.images
        return pixels.mean((0, 2, 3))[:, None, None], pixels.std((0, 2, 3))[:, None, None]

    def standardized(
        self, mean: Tensor | Sequence[float] | None = None, std: Tensor | Sequence[float] | None = None
    ) -> Self:
        """Each channel with mean 0 and standard deviation 1 over the training images; a constant one becomes 0.

        `mean` and `std`, one number a channel, replace `channel_statistics`: those with which a network was trained,
        say. Raises ValueError if only one of them is given.
        """
        import torch

        if (mean is None) != (std is None):
            raise ValueError("standardized takes both mean and std, or neither")
        given = self.channel_statistics() if mean is None else (mean, std)
        mean, std = (torch.as_tensor(values).view(-1, 1, 1) for values in given)
        std = std.masked_fill(std == 0, 1)
        train, test = (replace(part, images=(part.images - mean) / std) for part in (self.train, self.test))
        return replace(self, train=train, test=test)


@dataclass(frozen=True, eq=False)
class Table(_Described):
    """As a `Dataset`, of rows of features instead of images."""

    train: Rows
    test: Rows

    def standardized(self) -> Table:
        """Each feature with mean 0 and standard deviation 1 over the training rows; a constant one becomes 0."""
        mean, deviation = self.train.features.mean(0), self.train.features.std(0, correction=0)  # (F,)
        deviation = deviation.masked_fill(deviation == 0, 1)
        train, test = (Rows((part.features - mean) / deviation, part.labels) for part in (self.train, self.test))
        return replace(self, train=train, test=test)
