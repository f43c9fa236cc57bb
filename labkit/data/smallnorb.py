"""smallNORB: grey stereo pairs of 50 toys of five kinds, each from 162 viewpoints in 6 lights (LeCun et al., 2004).

No package brings it along, so `quick` has none; `full` reads it where the files lie, `paper` downloads them as well.
From where each image was taken is known: this is the set to ask whether what a network has learned from some viewpoints
holds for others (`viewpoint_split`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, Known, at_hand, data_folder, fetch
from labkit.data.norb_files import PAGE, SIX, TEST, TRAIN, read_matrix, refusal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LICENCE = (
    "provided for research purposes, must not be sold; cite LeCun, Huang and Bottou (2004), Learning Methods for "
    "Generic Object Recognition with Invariance to Pose and Lighting"
)
CLASSES = ("animal", "human", "plane", "truck", "car")
PAIRS = 24_300  # in each of the two sets: 5 categories x 5 toys x 9 elevations x 18 azimuths x 6 lights
SIDE = 48  # pixels of an image as it is loaded; in the files it has 96
CODES = (range(5), range(10), range(9), range(0, 36, 2), range(6))  # category, instance, elevation, azimuth, lighting
FAMILIAR = {"azimuth": (0, 2, 4, 30, 32, 34), "elevation": (0, 1, 2)}  # the codes that Hahn et al. (2019) train on


@dataclass(frozen=True, eq=False)
class NorbSplit(Split):
    """Images of toys with codes, each (N,) int64, that say which toy it is and how it was seen."""

    instance: Tensor  # 0 ... 9: which toy of its category
    elevation: Tensor  # 0 ... 8: the camera looks down at 30 + 5 * code degrees from the horizontal
    azimuth: Tensor  # 0, 2 ... 34: it is seen from 10 * code degrees around
    lighting: Tensor  # 0 ... 5


class ViewpointSplit(NamedTuple):
    """Some viewpoints to learn from; then, of other toys, the same viewpoints and all the others."""

    train: NorbSplit
    familiar: NorbSplit
    novel: NorbSplit


def load(profile: str) -> Dataset:
    """smallNORB for "full" or "paper": 48,600 + 48,600 images (N, 1, 48, 48), each part a `NorbSplit` of 450 MB.

    The left and the right image of pair i are two samples, 2i and 2i + 1. Images are shrunk from 96 x 96 pixels as by
    Hahn et al. (2019), by antialiased bilinear interpolation of bytes, which gives what PIL gives.

    The six packed files are checked by their sums. In LABKIT_DATA they may also lie unpacked; their sums are then not
    known, but their shapes are, and that no view comes twice. "full" takes them only where they lie already. Raises
    DataError for "quick", and when a file cannot be had or is not what it should be.
    """
    if profile == "quick":
        raise DataError('smallNORB comes with no package, so there is none at profile "quick": use profile "paper".')
    train, test = ([_path(file, profile) for file in files] for files in (TRAIN, TEST))
    packed = all(path.suffix == ".gz" for path in (*train, *test))
    return Dataset(
        train=_split(train),
        test=_split(test),
        name="smallnorb",
        source=f"The official smallNORB files, {'checked by their sha256 sums' if packed else 'unpacked by hand'}, "
        f"with images resized from 96 x 96 to {SIDE} x {SIDE} pixels.",
        licence=LICENCE,
        url=PAGE,
        classes=CLASSES,
    )


def viewpoint_split(data: Dataset, by: str) -> ViewpointSplit:
    """smallNORB by "azimuth" or "elevation", as in Hahn et al. (2019): are toys recognised from unseen viewpoints?

    `train` is what the training set has of azimuth codes 0, 2, 4, 30, 32, 34 or of elevation codes 0, 1, 2: 16,200
    images; `familiar` is what the test set has of them, 16,200; `novel` is the rest of the test set, 32,400. The images
    are copies. Choose nothing by `novel`: the authors' code picks its checkpoint by it, which flatters the result.

    Raises ValueError for another word than those two, TypeError for another data set.
    """
    import torch

    if by not in FAMILIAR:
        raise ValueError(f'viewpoints are split by "azimuth" or by "elevation", not by {by!r}.')
    if not (isinstance(data.train, NorbSplit) and isinstance(data.test, NorbSplit)):
        raise TypeError(f"the viewpoints of {data.name!r} are not known: give what load('smallnorb') gives.")
    codes = torch.tensor(FAMILIAR[by])
    in_train, in_test = (torch.isin(getattr(split, by), codes) for split in (data.train, data.test))
    return ViewpointSplit(_where(data.train, in_train), _where(data.test, in_test), _where(data.test, ~in_test))


def _where(split: NorbSplit, chosen: Tensor) -> NorbSplit:
    return NorbSplit(**{field.name: getattr(split, field.name)[chosen] for field in fields(split)})


def _path(file: Known, profile: str) -> Path:
    """Where the file lies: packed, or unpacked in LABKIT_DATA."""
    data, unpacked = data_folder(), file.path.removesuffix(".gz")
    if data and (data / unpacked).is_file() and not (data / file.path).exists():
        return data / unpacked
    if profile == "full" and not at_hand(file.path):
        remedy = f'put {SIX} into the folder smallnorb of LABKIT_DATA, or use profile "paper"'
        raise DataError(f'{file.path} is not at hand, and profile "full" does not download it: {remedy}.')
    url = PAGE + Path(file.path).name
    try:
        return fetch(file.path, sha256=file.sha256, bytes=file.bytes, urls=[url])
    except DataError as error:
        raise DataError(f"{str(error).removesuffix('.')} (one of the six files that are needed, {SIX}).") from None


def _split(paths: Sequence[Path]) -> NorbSplit:
    """From where dat, cat and info lie."""
    import numpy as np
    import torch

    pairs, category, info = arrays = [read_matrix(path) for path in paths]
    shapes = ((PAIRS, 2, 96, 96), (PAIRS,), (PAIRS, 4))
    for path, array, shape, kind in zip(paths, arrays, shapes, (np.uint8, np.integer, np.integer), strict=True):
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise refusal(path, f"holds {array.shape} {array.dtype.name} instead of {shape} {kind.__name__}")
    views = np.column_stack([category, info]).astype(np.int64)  # (P, 5)
    known = all(np.isin(codes, allowed).all() for codes, allowed in zip(views.T, CODES, strict=True))
    if not known or len(np.unique(views, axis=0)) != PAIRS:
        raise refusal(paths[2], f"does not, with {paths[1].name}, tell of {PAIRS:,} different views of the toys")
    labels, *codes = torch.tensor(views.T).repeat_interleave(2, dim=1)  # the left and the right image
    return NorbSplit(_resized(pairs), labels, *codes)


def _resized(pairs: np.ndarray) -> Tensor:
    """Bytes (P, 2, 96, 96) as images (2P, 1, 48, 48) in [0, 1]."""
    import torch
    from torch.nn import functional as F

    images = torch.empty(len(pairs), 2, SIDE, SIDE)
    for first in range(0, len(pairs), 1000):  # not all at once, which would need another copy of all pairs
        part = torch.tensor(pairs[first : first + 1000])
        images[first : first + 1000] = F.interpolate(part, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return images.div_(255).view(-1, 1, SIDE, SIDE)
