"""Seven real photographs that come with scikit-image and scikit-learn: the same at every profile, never downloaded.

Six of them are in colour; `backgrounds` cuts what lies behind the digits and faces of labkit.data.scenes from those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.data.fetch import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LICENCE = (
    "astronaut: NASA, public domain; camera (Lav Varshney), chelsea (Stefan van der Walt), coffee (Rachel Michetti): "
    "CC0; rocket: SpaceX, public domain; china (danielbuechele), flower (vultilion): CC BY 2.0"
)
FROM_SCIKIT_IMAGE = ("astronaut", "camera", "chelsea", "coffee", "rocket")
FROM_SCIKIT_LEARN = ("china", "flower")
PARTS = ("train", "test")
SCALES = 5  # sizes of each photograph that backgrounds are cut from
WIDEST = 4  # a background shows at most this many times `side` pixels of the photograph


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs of different sizes, in grey and in colour, and what a reader must know to cite and judge them."""

    images: dict[str, Tensor]  # name -> (H, W) float32 in [0, 1]
    name: str
    source: str
    licence: str
    url: str
    colour: dict[str, Tensor] = field(default_factory=dict)  # name -> (3, H, W) float32 in [0, 1]; not all have one

    def patches(self, side: int, count: int, generator: torch.Generator) -> Tensor:
        """Square patches from random places, equally many from each photograph up to rounding, -> (count, side * side).

        Raises ValueError for a side that does not fit into every photograph, or fewer patches than photographs.
        """
        import torch

        smallest = min(min(image.shape) for image in self.images.values())
        if not 1 <= side <= smallest:
            raise ValueError(f"the side of a patch must lie between 1 and {smallest} pixels, got {side}")
        if count < len(self.images):
            raise ValueError(
                f"at least one patch from each of the {len(self.images)} photographs is needed, got {count}"
            )
        found = []
        for i, image in enumerate(self.images.values()):
            share = (i + 1) * count // len(self.images) - i * count // len(self.images)
            windows = image.unfold(0, side, 1).unfold(1, side, 1)  # (H', W', side, side), a view
            rows = torch.randint(windows.shape[0], (share,), generator=generator)
            columns = torch.randint(windows.shape[1], (share,), generator=generator)
            found.append(windows[rows, columns].flatten(1))
        return torch.cat(found)


def backgrounds(
    photographs: Photographs, side: int, count: int, generator: torch.Generator, *, part: str = "train"
) -> tuple[Tensor, Tensor]:
    """Square crops of the colour photographs, (count, 3, side, side) in [0, 1], and whose they are, (count,) int64.

    "train" crops come from the left half of each photograph and "test" crops from the right: they share no pixel. A
    crop shows between `side` and 4 * side pixels of the photograph (fewer where the half is smaller), at one of five
    scales, and is shrunk with antialiasing. They come in random order, equally many of each photograph up to rounding;
    the second result is an index into tuple(photographs.colour).

    Raises ValueError for an unknown part, no photograph in colour, a side that does not fit, or a count below 1.
    """
    import torch
    from torch.nn import functional as F

    if part not in PARTS:
        raise ValueError(f"unknown part {part!r} of the photographs: choose one of {', '.join(PARTS)}")
    if not photographs.colour:
        raise ValueError("backgrounds are cut from photographs in colour, and there is none")
    halves = [image.tensor_split(2, dim=2)[PARTS.index(part)] for image in photographs.colour.values()]
    largest = min(min(image.shape[1], image.shape[2] // 2) for image in photographs.colour.values())
    if not 1 <= side <= largest:
        raise ValueError(f"the side of a background must lie between 1 and {largest} pixels, got {side}")
    if count < 1:
        raise ValueError(f"at least one background is needed, got {count}")

    images = torch.empty(count, 3, side, side)
    labels = torch.randperm(count, generator=generator) * len(halves) // count
    scales = torch.randint(SCALES, (count,), generator=generator)
    for label, half in enumerate(halves):
        widest = min(WIDEST, min(half.shape[1:]) / side)
        for scale in range(SCALES):
            shrink = widest ** (scale / (SCALES - 1))
            size = [max(side, round(length / shrink)) for length in half.shape[1:]]
            small = F.interpolate(half[None], size=size, mode="bilinear", antialias=True)[0]
            windows = small.unfold(1, side, 1).unfold(2, side, 1)  # (3, H', W', side, side), a view
            chosen = ((labels == label) & (scales == scale)).nonzero()[:, 0]
            rows = torch.randint(windows.shape[1], chosen.shape, generator=generator)
            columns = torch.randint(windows.shape[2], chosen.shape, generator=generator)
            images[chosen] = windows[:, rows, columns].transpose(0, 1)
    return images.clamp_(0, 1), labels  # the rounding of a resized white may lie above 1


def load(profile: str) -> Photographs:
    """The photographs, whatever the profile. Raises DataError when a package lacks its own file."""
    import numpy as np
    import skimage.color
    import skimage.data
    import torch
    from sklearn.datasets import load_sample_image

    try:
        pictures = {name: getattr(skimage.data, name)() for name in FROM_SCIKIT_IMAGE}
        pictures |= {name: load_sample_image(f"{name}.jpg") for name in FROM_SCIKIT_LEARN}
    except (OSError, ImportError, AttributeError) as error:
        raise DataError(
            f"a photograph that comes with scikit-image or scikit-learn is missing ({error}): reinstall them."
        ) from error
    images, colour = {}, {}
    for name, picture in pictures.items():
        grey = skimage.color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
        images[name] = torch.from_numpy(np.ascontiguousarray(grey, dtype=np.float32))
        if picture.ndim == 3:
            colour[name] = torch.tensor(picture).permute(2, 0, 1).contiguous().float().div_(255)
    return Photographs(
        images=images,
        name="photos",
        source="Seven photographs that come with scikit-image and scikit-learn, in grey and (but camera) in colour.",
        licence=LICENCE,
        url="https://scikit-image.org/docs/stable/api/skimage.data.html",
        colour=colour,
    )
