"""Photographs in one folder a class, for metric learning on classes not seen before: CUB-200-2011 and Cars 196.

Both are for `paper` only and too large to be held in memory or to be downloaded unasked: the user puts them into
LABKIT_DATA. As usual with them, the first half of the classes, in the order of their folders' names, is for training,
and the other half for testing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.data.fetch import DataError, data_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torchvision.datasets import ImageFolder

SIDE = 256  # pixels: what crops of 224 are taken from


@dataclass(frozen=True)
class Kept:
    """A data set of folders: where it is kept in LABKIT_DATA, and what must be there."""

    name: str
    folder: str
    classes: int
    images: int
    remedy: str  # the end of a sentence: how it comes there
    licence: str
    url: str


CUB = Kept(
    name="CUB-200-2011",
    folder="CUB_200_2011/images",
    classes=200,
    images=11_788,
    remedy="unpack CUB_200_2011.tgz there",
    licence="images from Flickr, for non-commercial research and education only; cite Wah et al. (2011)",
    url="https://www.vision.caltech.edu/datasets/cub_200_2011/",
)
CARS = Kept(
    name="Cars 196",
    folder="cars196",
    classes=196,
    images=16_185,
    remedy="put its images there, in one folder a class, named so that they sort in the order of the classes",
    licence="for non-commercial research only; cite Krause, Stark, Deng and Fei-Fei (2013)",
    url="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
)


@dataclass(frozen=True, eq=False)
class ImageFolders:
    """Images of seen and of unseen classes, for a DataLoader; and what a reader must know to cite and judge them."""

    train: ImageFolder  # each item an image (3, 256, 256) float32 in [0, 1] and its label, which indexes `classes`
    test: ImageFolder  # of other classes
    classes: tuple[str, ...]  # the names of the folders
    name: str
    source: str
    licence: str
    url: str


def load_cub(profile: str) -> ImageFolders:
    """CUB-200-2011, Caltech-UCSD Birds: its folder `images`, as it is unpacked. Raises DataError unless at "paper"."""
    return _load(CUB, profile)


def load_cars(profile: str) -> ImageFolders:
    """Cars 196 of Stanford, training and test images together in one folder a class. Raises DataError as `load_cub`."""
    return _load(CARS, profile)


def _load(kept: Kept, profile: str) -> ImageFolders:
    if profile != "paper":
        raise DataError(f'{kept.name} is for profile "paper" only: at profile "{profile}" take another data set.')
    data = data_folder()
    if data is None or not (data / kept.folder).is_dir():
        place = data / kept.folder if data else f"{kept.folder} in the folder LABKIT_DATA, which is not set"
        raise DataError(f"{kept.name} must lie at {place}: get it from {kept.url} and {kept.remedy}.")
    return read_folders(data / kept.folder, kept)


def read_folders(path: Path, kept: Kept) -> ImageFolders:
    """The images below `path`, opened when they are asked for. Raises DataError if there are more or fewer than known.

    Images are squeezed to 256 x 256 with antialiasing, so that they fit into one batch; grey ones become RGB.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Resize, ToTensor

    try:
        whole = ImageFolder(path, transform=Compose([Resize((SIDE, SIDE)), ToTensor()]))
    except FileNotFoundError:
        raise DataError(f"{path} holds no folders with images in each: {kept.remedy}.") from None
    if (len(whole.classes), len(whole)) != (kept.classes, kept.images):
        raise DataError(
            f"{path} holds {len(whole):,} images in {len(whole.classes)} folders, not {kept.images:,} in "
            f"{kept.classes}: {kept.remedy}."
        )
    seen = kept.classes // 2
    return ImageFolders(
        train=_part(whole, range(seen)),
        test=_part(whole, range(seen, kept.classes)),
        classes=tuple(whole.classes),
        name=kept.name,
        source=f"{kept.images:,} photographs of {kept.classes} classes; they are counted, but no sums are known.",
        licence=kept.licence,
        url=kept.url,
    )


def _part(whole: ImageFolder, labels: range) -> ImageFolder:
    """The images of some classes; labels, and what they index, stay as they are."""
    part = copy.copy(whole)
    part.samples = part.imgs = [sample for sample in whole.samples if sample[1] in labels]
    part.targets = [label for _, label in part.samples]
    return part


def random_crops(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """From each image a square at a random place, mirrored or not, (N, C, H, W) -> (N, C, side, side).

    What torchvision's RandomCrop and RandomHorizontalFlip do, but drawn from a generator and for each image anew.
    Raises ValueError for a side that does not fit.
    """
    import torch

    N, _, height, width = images.shape
    if not 1 <= side <= min(height, width):
        raise ValueError(f"the side of a crop must lie between 1 and {min(height, width)} pixels, got {side}")

    def drawn(below: int) -> Tensor:
        return torch.randint(below, (N, 1), generator=generator, device=generator.device).to(images.device)

    steps = torch.arange(side, device=images.device)
    rows, columns = drawn(height - side + 1) + steps, drawn(width - side + 1) + steps  # (N, side)
    columns = torch.where(drawn(2) == 1, columns.flip(1), columns)
    each = torch.arange(N, device=images.device)[:, None, None]
    return images.movedim(1, 3)[each, rows[:, :, None], columns[:, None]].movedim(3, 1)
