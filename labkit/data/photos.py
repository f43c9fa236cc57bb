"""Seven real photographs that come with scikit-image and scikit-learn: the same at every profile, never downloaded."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Photographs:
    """Grey photographs of different sizes, and what a reader must know to cite and judge them."""

    images: dict[str, Tensor]  # name -> (H, W) float32 in [0, 1]
    name: str
    source: str
    licence: str
    url: str

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


def load(profile: str) -> Photographs:
    """The photographs, as grey images, whatever the profile. Raises DataError when a package lacks its own file."""
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
    images = {}
    for name, picture in pictures.items():
        grey = skimage.color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
        images[name] = torch.from_numpy(np.ascontiguousarray(grey, dtype=np.float32))
    return Photographs(
        images=images,
        name="photos",
        source="Seven photographs that come with scikit-image and scikit-learn, turned to grey.",
        licence=LICENCE,
        url="https://scikit-image.org/docs/stable/api/skimage.data.html",
    )
