"""CIFAR-10: 32 x 32 colour photographs of ten kinds of things (Krizhevsky, 2009).

No package brings it along, so `quick` has none. `full` takes the balanced subset of 10,000 + 2,000 images where
LABKIT_DATA holds it, else the whole set; `paper` is always the whole set.

The files are pickles of Python 2, and a pickle can run code. So each is unpickled only after its sum has matched, and
even then by a reader that can rebuild arrays of numpy and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, Known, data_folder, fetch

if TYPE_CHECKING:
    Batch = dict[bytes, Any]  # b"data": (N, 3072) bytes, red then green then blue; b"labels": N of 0 ... 9

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
LICENCE = "none stated by the authors; cite Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images"

FOLDER = "cifar-10-batches-py"  # in the archive, and where torchvision unpacks it
SUBSET_FOLDER = f"CIFAR10_subset/{FOLDER}"

# torchvision knows the archive by its md5 only; this sha256 and size are the widely published ones. Neither they nor
# the address could be tried against the network when this was written.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = Known(
    "cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071
)


class BatchFile(NamedTuple):
    """One of the seven files, and what must be true of its bytes before they are unpickled."""

    name: str
    sum: str  # "md5:..." or "sha256:..."
    bytes: int | None = None  # where it is known


OFFICIAL = (  # torchvision's sums
    BatchFile("batches.meta", "md5:5ff9c542aee3614f3951f8cda6e48888"),
    BatchFile("data_batch_1", "md5:c99cafc152244af753f735de768cd75f"),
    BatchFile("data_batch_2", "md5:d4bba439e000b95fd0a9bffe97cbabec"),
    BatchFile("data_batch_3", "md5:54ebc095f3ab1f0389bbae665268c751"),
    BatchFile("data_batch_4", "md5:634d18415352ddfa80567beed471001a"),
    BatchFile("data_batch_5", "md5:482c414d41f54cd18b22e5b47cb7c3cb"),
    BatchFile("test_batch", "md5:40351d587109b95175f43aff81a1287e"),
)
SUBSET = (
    BatchFile("batches.meta", "sha256:8a15c82dc6057820bd186b94c10d4cab1c54b1fb9ddb6d43794c0840362c924e", 128),
    BatchFile("data_batch_1", "sha256:3b5eb264a0e4db4d1a4835caed7ba3374ae8ffe656aaaaafe629b24855f14d3e", 6_182_209),
    BatchFile("data_batch_2", "sha256:dc78ae916d80b402819698d3e00a56029feb2679cce5db18892d455461c97e4c", 6_182_209),
    BatchFile("data_batch_3", "sha256:391d3be5955ee03b897145741c9a0c314e10366321c628de18e31cf69d2e7386", 6_182_209),
    BatchFile("data_batch_4", "sha256:908f6a46ab01d031499b79fd052fe1acc164e29e0c20d664f058429065db1662", 6_182_209),
    BatchFile("data_batch_5", "sha256:816cb4548bc7853986455e3ac710d429cedeb02544de7a2c03d263551e8dfb36", 6_182_209),
    BatchFile("test_batch", "sha256:38fdcebb2b19169ab5f5762eb5c9d1545ab5f71e3380950e8663034fa5d558b3", 6_180_208),
)


def load(profile: str) -> Dataset:
    """CIFAR-10 for `profile`, images (N, 3, 32, 32), with the names of its classes.

    "full" is 10,000 + 2,000 images where LABKIT_DATA has the subset; otherwise "full", and "paper" always, is all of
    50,000 + 10,000: unpacked in LABKIT_DATA as torchvision leaves it, or the official archive from LABKIT_DATA, the
    cache or the network. Raises DataError for "quick", and when a file cannot be had or is not what it should be.
    """
    if profile == "quick":
        raise DataError('CIFAR-10 comes with no package, so there is none at profile "quick": use profile "full".')
    data = data_folder()
    if profile == "full" and data and (data / SUBSET_FOLDER).is_dir():
        source = "1,000 training and 200 test images of each class of CIFAR-10, checked by their sha256 sums."
        return _dataset(read_folder(data / SUBSET_FOLDER, SUBSET), source)
    if data and (data / FOLDER).is_dir():
        batches = read_folder(data / FOLDER, OFFICIAL)
    else:
        archive = fetch(ARCHIVE.path, sha256=ARCHIVE.sha256, bytes=ARCHIVE.bytes, urls=[URL])
        batches = read_archive(archive, OFFICIAL)
    return _dataset(batches, "The official CIFAR-10 files, checked by their sums.")


def read_folder(folder: Path, files: Sequence[BatchFile]) -> dict[str, Batch]:
    """What the files in `folder` hold, by their names. Raises DataError if one is missing or altered."""
    batches = {}
    for file in files:
        path = folder / file.name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _refusal(path, f"cannot be read ({error.strerror})") from None
        batches[file.name] = read_batch(content, file, path)
    return batches


def read_archive(path: Path, files: Sequence[BatchFile]) -> dict[str, Batch]:
    """What the files in the packed archive hold, by their names; nothing is unpacked to the disk. Raises DataError.

    torchvision's own reader wants them unpacked beside the archive, which a read-only LABKIT_DATA forbids.
    """
    wanted = {f"{FOLDER}/{file.name}": file for file in files}
    batches = {}
    with tarfile.open(path, "r|gz") as archive:  # as a stream: to go back would be to unpack from the start again
        for member in archive:
            if file := wanted.get(member.name):
                batches[file.name] = read_batch(archive.extractfile(member).read(), file, path / member.name)
    return batches


def read_batch(content: bytes, file: BatchFile, path: Path) -> Batch:
    """Unpickle the bytes of one file, found at `path`, once they are known to be the right ones. Raises DataError."""
    if file.bytes not in (None, len(content)):
        raise _refusal(path, f"is incomplete or altered ({len(content):,} bytes instead of {file.bytes:,})")
    algorithm, _, expected = file.sum.partition(":")
    if hashlib.new(algorithm, content).hexdigest() != expected:
        raise _refusal(path, f"is incomplete or altered (another {algorithm} checksum)")
    return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds arrays of numpy; whatever else a pickle may ask for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        allowed = {
            # Its name when the files were written; numpy has moved it since, but an array still knows it.
            "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
        }
        asked = f"{module}.{name}"
        if asked not in allowed:
            raise DataError(f"a file of CIFAR-10 asks for {asked}, which is no part of an array: do not use that file.")
        return allowed[asked]


def _refusal(path: Path, problem: str) -> DataError:
    remedy = "put the original file there, or unset LABKIT_DATA to have the whole set downloaded"
    return DataError(f"{path} {problem}: {remedy}.")


def _dataset(batches: dict[str, Batch], source: str) -> Dataset:
    return Dataset(
        train=_split(batches[f"data_batch_{number}"] for number in range(1, 6)),
        test=_split([batches["test_batch"]]),
        name="cifar10",
        source=source,
        licence=LICENCE,
        url=PAGE,
        classes=tuple(name.decode() for name in batches["batches.meta"][b"label_names"]),
    )


def _split(batches: Iterable[Batch]) -> Split:
    import numpy as np
    import torch

    batches = list(batches)
    pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch[b"labels"]]
    return Split(torch.tensor(pixels, dtype=torch.float32).div_(255), torch.tensor(labels, dtype=torch.int64))
