"""What a loader gives back: images and labels, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """The training or the test part of a data set of images."""

    images: Tensor  # (N, C, H, W) float32 in [0, 1]
    labels: Tensor  # (N,) int64

    @property
    def flat(self) -> Tensor:
        """The images as rows of pixels, (N, C * H * W): a view, not a copy."""
        return self.images.flatten(start_dim=1)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Both parts, and what a reader must know to cite and judge them."""

    train: Split
    test: Split
    name: str
    source: str  # one sentence: what these data are and how they came here
    licence: str
    url: str
    classes: tuple[str, ...] = ()  # what label 0, 1, ... stands for, where the set names it
