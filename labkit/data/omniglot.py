"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people (Lake et al., 2015).

No package brings it along, so `quick` has none; `full` and `paper` are the whole set. Its authors split it by
alphabets, 30 to learn from ("background") and 20 to be tested on ("evaluation"), so no character is in both parts.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, Known, fetch

if TYPE_CHECKING:
    from torch import Tensor

PAGE = "https://github.com/brendenlake/omniglot"
URL = f"{PAGE}/raw/master/python/"  # neither it nor the published archives could be tried when this was written
LICENCE = "MIT; cite Lake, Salakhutdinov and Tenenbaum (2015), Human-level concept learning"
NAME = r"images_\w+/[^/]+/character\d+/\d+_\d+\.png"  # images_background/Greek/character01/0394_01.png
SIDE = 28  # pixels; the files have 105


class Part(NamedTuple):
    """One of the two archives: as published, and packed anew with the same images in it."""

    published: Known
    packed_anew: Known


def _part(path: str, published: tuple[str, int], packed_anew: tuple[str, int]) -> Part:
    return Part(Known(path, *published), Known(path, *packed_anew))


PARTS = (
    _part(
        "omniglot/images_background.zip",
        ("ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", 9_464_212),
        ("167411014ab79a1a447bb5d5e716278fff7ab48bcd2764c7d71d3c69c9ea5f6f", 8_394_302),
    ),
    _part(
        "omniglot/images_evaluation.zip",
        ("1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", 6_462_886),
        ("1f459d3bc1c79da86d681cafd7f6b4b16a7dec22b317c531e1a31441cbcf4f6d", 5_732_517),
    ),
)
"""Background, evaluation. The sums as published are those that TensorFlow Datasets states."""


@dataclass(frozen=True, eq=False)
class Omniglot(Dataset):
    """Omniglot, whose classes are characters, with the alphabet of each."""

    alphabets: tuple[str, ...] = ()  # alphabets[label] is the alphabet of a character

    def of(self, *alphabets: str) -> Split:
        """All images of some alphabets, from both parts, labels as they are. Raises ValueError for an unknown one."""
        import torch

        unknown = set(alphabets) - set(self.alphabets)
        if unknown or not alphabets:
            known = ", ".join(sorted(set(self.alphabets)))
            raise ValueError(f"unknown alphabets {', '.join(sorted(unknown)) or '(none given)'}: choose among {known}.")
        wanted = torch.tensor([alphabet in alphabets for alphabet in self.alphabets])
        chosen = [(part, wanted[part.labels]) for part in (self.train, self.test)]
        images = torch.cat([part.images[these] for part, these in chosen])
        return Split(images, torch.cat([part.labels[these] for part, these in chosen]))


def load(profile: str) -> Omniglot:
    """Omniglot for `profile`: 19,280 images of the background alphabets to train on, 13,180 of the evaluation ones.

    Images are (N, 1, 28, 28), shrunk from 105 x 105 with antialiasing (bilinear) and inverted, so that ink is 1 and
    paper 0, as in MNIST. A label is a character, 0 ... 963 in `train` and 964 ... 1622 in `test`; `classes` names it,
    such as "Greek/character01", and `alphabets` its alphabet. Raises DataError for "quick", and when a file cannot be
    had or is not what it should be.
    """
    if profile == "quick":
        raise DataError('Omniglot comes with no package, so there is none at profile "quick": use profile "full".')
    splits, classes = [], []
    for part in PARTS:
        file = part.published
        urls = [URL + PurePosixPath(file.path).name]
        path = fetch(file.path, sha256=file.sha256, bytes=file.bytes, urls=urls, also=[part.packed_anew])
        images, characters = read_archive(path)
        splits.append(_split(images, characters, first=len(classes)))
        classes += sorted(set(characters))
    return Omniglot(
        *splits,
        name="omniglot",
        source="The official images of Omniglot, in archives that are checked by their sha256 sums.",
        licence=LICENCE,
        url=PAGE,
        classes=tuple(classes),
        alphabets=tuple(name.partition("/")[0] for name in classes),
    )


def read_archive(path: Path) -> tuple[Tensor, list[str]]:
    """The images in an archive, (N, 1, 28, 28), in the order of their names, and each one's "alphabet/character".

    Nothing is unpacked to the disk, since LABKIT_DATA is only read.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if re.fullmatch(NAME, name))
        # Some at a time: all of the large pictures together would take a gigabyte.
        images = [_shrunk([archive.read(name) for name in names[i : i + 1000]]) for i in range(0, len(names), 1000)]
    return torch.cat(images), ["/".join(name.split("/")[1:3]) for name in names]


def _shrunk(pictures: Sequence[bytes]) -> Tensor:
    """PNG files with black ink -> (n, 1, 28, 28) in [0, 1], ink is 1."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image

    paper = np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures])  # (n, 105, 105), bool
    ink = torch.from_numpy(~paper).float()[:, None]
    return F.interpolate(ink, size=SIDE, mode="bilinear", antialias=True).clamp(0, 1)


def _split(images: Tensor, characters: Sequence[str], first: int) -> Split:
    """Labels by the order of the characters' names, from `first` on."""
    import torch

    place = {character: first + i for i, character in enumerate(sorted(set(characters)))}
    return Split(images, torch.tensor([place[character] for character in characters], dtype=torch.int64))
