"""Patterns to look for a detector with: handwritten digits of ten kinds, or faces, and photographs to lay them on.

A detector is looked for on some patterns and tested on others, so both come in two parts, "find" and "test". Pure
functions of tensors; whatever is random comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labkit.data.dataset import Dataset, Split
from labkit.data.photos import Photographs, backgrounds
from labkit.data.scenes import place, soft_disc

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLACK = 0.02  # the share of black pixels of a patch from which on it counts as one with a black border


@dataclass(frozen=True, eq=False)
class Patterns:
    """What a detector is looked for with, and photographs that hold nothing of the kind."""

    parts: dict[str, Split]  # "find" and "test"
    kinds: dict[int, str]  # the labels that can be looked for, and what they are called
    photographs: Photographs
    opacity: Tensor | None = None  # (h, w) of a pattern that is shown in its own gray; None for ink

    def on_photographs(
        self,
        part: str,
        kind: int,
        count: int,
        side: int,
        generator: torch.Generator,
        *,
        size: float = 0.8,
        angle: float = 0.0,
        light: float = 1.0,
        behind: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Up to `count` patterns of a kind and up to `count` others -> images (N, 3, side, side), which is which (N,).

        Each lies in the middle of a piece of photograph, for finding and for testing on other halves of them, or on
        `behind` (N, 3, side, side). `size` is a share of the side, `angle` in degrees counter-clockwise, and `light`
        multiplies the whole scene. Raises ValueError for an unknown part or kind, and as `place` does.
        """
        import torch

        if part not in self.parts or kind not in self.kinds:
            known = f"{', '.join(self.parts)} and the kinds {', '.join(map(str, self.kinds))}"
            raise ValueError(f"there are {known}; got {part!r} and {kind!r}")
        images, labels = self.parts[part].images, self.parts[part].labels
        chosen = [torch.where(mask)[0][:count] for mask in (labels == kind, labels != kind)]
        patterns, positive = images[torch.cat(chosen)], torch.arange(sum(map(len, chosen))) < len(chosen[0])
        if behind is None:
            half = "train" if part == "find" else "test"
            behind, _ = backgrounds(self.photographs, side, len(patterns), generator, part=half)
        shown = place(patterns, behind, size=size * side, angle=angle, brightness=light, alpha=self.opacity)
        return shown, positive


def digit_patterns(digits: Dataset, photographs: Photographs) -> Patterns:
    """Each digit against the other nine, in white ink."""
    kinds = {digit: f"digit {digit}" for digit in range(10)}
    return Patterns({"find": digits.train, "test": digits.test}, kinds, photographs)


def face_patterns(faces: Dataset, photographs: Photographs) -> Patterns:
    """Faces (label 1) against patches without a face, in a disc, on faceless photographs.

    All are brought to one mean and contrast, and then cut off at black and white. Patches with a black border are left
    out, as no face has one, and so are the photographs of a person and of a cat.
    """
    faceless = {name: image for name, image in photographs.colour.items() if name not in ("astronaut", "chelsea")}
    parts = {"find": _even(faces.train), "test": _even(faces.test)}
    return Patterns(parts, {1: "a face"}, replace(photographs, colour=faceless), soft_disc(25, 25))


def _even(split: Split) -> Split:
    """All patches with mean 0.5 and standard deviation 0.2, without those that are partly black."""
    images = split.images
    whole = (images == 0).float().mean((1, 2, 3)) < BLACK
    images = images[whole]
    images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True)
    return Split((0.5 + 0.2 * images).clamp(0, 1), split.labels[whole])
