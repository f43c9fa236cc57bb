"""CIFAR-10 is CIFAR-10, and none of its pickles is opened before its sum has matched."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

import labkit.data
from labkit.data import DataError, cifar
from labkit.data.cifar import BatchFile
from labkit.data.fetch import Known

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
needs_real_subset = pytest.mark.skipif(
    not (REAL / cifar.SUBSET_FOLDER).is_dir(),
    reason=f"the CIFAR-10 subset is not at hand: set LABKIT_DATA to a folder that holds {cifar.SUBSET_FOLDER}",
)

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
PIXELS = np.random.default_rng(0).integers(0, 256, size=(6, 2, 3072), dtype=np.uint8)  # two images a batch
LABELS = [[6, 9], [9, 4], [1, 1], [2, 7], [8, 3], [5, 0]]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
GLOBALS = {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes text and bytes alike as Python 2 wrote its strings."""

    def save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}  # type: ignore[attr-defined]


def as_python_2(value: object) -> bytes:
    _Python2(written := io.BytesIO(), protocol=2).dump(value)
    return written.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # its place at that time


def globals_in(content: bytes) -> set[str]:
    return {argument for code, argument, _ in pickletools.genops(content) if code.name == "GLOBAL"}


def known(name: str, content: bytes, algorithm: str = "md5") -> BatchFile:
    return BatchFile(name, f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}", len(content))


def use(monkeypatch, contents: dict[str, bytes], packed: bytes = b"") -> None:
    """Let these be the known files and the known archive."""
    archive = Known(cifar.ARCHIVE.path, hashlib.sha256(packed).hexdigest(), len(packed))
    monkeypatch.setattr(cifar, "OFFICIAL", tuple(known(*each) for each in contents.items()))
    monkeypatch.setattr(cifar, "SUBSET", tuple(known(*each, "sha256") for each in contents.items()))
    monkeypatch.setattr(cifar, "ARCHIVE", archive)


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def says(message: str, profile: str = "full") -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(DataError, match=message) as caught:
        labkit.data.load("cifar10", profile=profile)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    return said


@pytest.fixture
def small() -> dict[str, bytes]:
    """The seven files of the official layout, two images a batch."""
    made = {"batches.meta": as_python_2({"label_names": list(CLASSES), "num_vis": 3072})}
    for name, pixels, labels in zip(BATCHES, PIXELS, LABELS, strict=True):
        made[name] = as_python_2({"batch_label": name, "labels": labels, "data": pixels, "filenames": ["a", "b"]})
    return made


@pytest.fixture
def packed(small) -> bytes:
    """They as an archive, in an order of its own and beside a page that is not read."""
    with tarfile.open(fileobj=(written := io.BytesIO()), mode="w:gz") as archive:
        for name, content in [*reversed(small.items()), ("readme.html", b"<html>")]:
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture
def evil(tmp_path) -> tuple[bytes, Path]:
    """A pickle that makes a folder when it is opened, and that folder."""

    class MakesAFolder:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "made by a pickle"),)

    return as_python_2({"label_names": MakesAFolder()}), tmp_path / "made by a pickle"


def assert_is_the_small_one(loaded: labkit.data.Dataset) -> None:
    assert torch.equal(loaded.train.images, torch.tensor(PIXELS[:5]).view(10, 3, 32, 32) / 255)
    assert torch.equal(loaded.test.images, torch.tensor(PIXELS[5]).view(2, 3, 32, 32) / 255)
    assert loaded.train.labels.tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert loaded.test.labels.tolist() == [5, 0]
    assert (loaded.train.images.dtype, loaded.train.labels.dtype) == (torch.float32, torch.int64)
    assert loaded.classes == CLASSES


def test_quick_has_none_and_says_what_to_do() -> None:
    assert says('use profile "full"', profile="quick")


def test_the_small_files_are_pickled_as_those_of_python_2(small) -> None:
    assert pickle.loads(small["test_batch"], encoding="bytes").keys() == {
        b"batch_label",
        b"labels",
        b"data",
        b"filenames",
    }
    assert globals_in(small["test_batch"]) == GLOBALS


@pytest.mark.parametrize("profile", ["full", "paper"])
@pytest.mark.parametrize("form", ["unpacked", "packed"])
def test_the_official_set_is_read_unpacked_or_packed_and_its_place_is_left_as_it_was(
    monkeypatch, data, cache, small, packed, form: str, profile: str
) -> None:
    use(monkeypatch, small, packed)
    if form == "packed":
        (data / "cifar-10-python.tar.gz").write_bytes(packed)
    else:
        put(data / "cifar-10-batches-py", small)
    before = sorted(data.rglob("*"))
    assert_is_the_small_one(labkit.data.load("cifar10", profile=profile))
    assert sorted(data.rglob("*")) == before
    assert not cache.exists()


def test_the_official_archive_is_downloaded_once_into_the_cache(monkeypatch, cache, server, small, packed) -> None:
    use(monkeypatch, small, packed)
    server.content = packed
    monkeypatch.setattr(cifar, "URL", f"{server.url}/good/cifar-10-python.tar.gz")
    for _ in range(2):
        assert_is_the_small_one(labkit.data.load("cifar10", profile="full"))
    assert server.requests == ["/good/cifar-10-python.tar.gz"]
    assert [path.name for path in cache.rglob("*")] == ["cifar-10-python.tar.gz"]


def test_full_takes_the_subset_where_it_lies_and_paper_never_does(monkeypatch, data, small) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    use(monkeypatch, small)
    put(data / "CIFAR10_subset" / "cifar-10-batches-py", small)
    assert_is_the_small_one(loaded := labkit.data.load("cifar10", profile="full"))
    assert loaded.source.startswith("1,000 training and 200 test images of each class")
    assert says("cifar-10-python.tar.gz is neither in LABKIT_DATA", profile="paper")


def test_offline_without_any_file_the_archive_is_named(monkeypatch, cache) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    said = says("LABKIT_OFFLINE forbids a download: put the original file there, or unset LABKIT_OFFLINE")
    assert said.startswith(f"cifar-10-python.tar.gz is neither in LABKIT_DATA (not set) nor in the cache {cache}")


def test_the_evil_pickle_does_what_it_wants_when_it_is_simply_opened(evil) -> None:
    content, made = evil
    pickle.loads(content, encoding="bytes")
    assert made.is_dir()


@pytest.mark.parametrize("folder", [cifar.SUBSET_FOLDER, cifar.FOLDER], ids=["subset", "official"])
@pytest.mark.parametrize("name", ["batches.meta", "data_batch_3", "test_batch"])
@pytest.mark.parametrize("size_is_right", [True, False])
def test_an_altered_file_is_named_and_never_unpickled(
    monkeypatch, data, small, evil, folder: str, name: str, size_is_right: bool
) -> None:
    content, made = evil
    if size_is_right:
        small |= {name: small[name].ljust(len(content), b" ")}
        content = content.ljust(len(small[name]), b" ")  # whatever follows the end of a pickle is not looked at
    use(monkeypatch, small)
    path = put(data / folder, small | {name: content}) / name
    said = says(r"another (md5|sha256) checksum" if size_is_right else r"bytes instead of")
    assert said.startswith(f"{path} is incomplete or altered (")
    assert "unset LABKIT_DATA to have the whole set downloaded" in said
    assert not made.exists()


def test_an_altered_file_in_the_archive_is_named_and_never_unpickled(monkeypatch, data, small, packed, evil) -> None:
    content, made = evil
    use(monkeypatch, small | {"batches.meta": b"the known one"}, packed)
    (data / "cifar-10-python.tar.gz").write_bytes(packed)
    assert says(r"cifar-10-python\.tar\.gz/cifar-10-batches-py/batches\.meta is incomplete or altered")
    (data / "cifar-10-python.tar.gz").write_bytes(content)
    assert says(r"cifar-10-python\.tar\.gz is incomplete or altered")
    assert not made.exists()


def test_even_with_the_right_sum_a_pickle_rebuilds_arrays_and_nothing_else(monkeypatch, data, small, evil) -> None:
    content, made = evil
    use(monkeypatch, small | {"batches.meta": content})
    put(data / cifar.FOLDER, small | {"batches.meta": content})
    assert says(r"asks for (posix|nt)\.mkdir, which is no part of an array")
    assert not made.exists()


@pytest.mark.parametrize("folder", [cifar.SUBSET_FOLDER, cifar.FOLDER], ids=["subset", "official"])
def test_a_missing_file_is_named_and_nothing_else_is_tried(monkeypatch, data, server, small, folder: str) -> None:
    use(monkeypatch, small)
    monkeypatch.setattr(cifar, "URL", f"{server.url}/good/file")
    (path := put(data / folder, small) / "data_batch_5").unlink()
    assert says("cannot be read").startswith(f"{path} ")
    assert server.requests == []


def test_the_address_the_names_and_the_md5_sums_are_those_of_torchvision() -> None:
    listed = [(CIFAR10.meta["filename"], CIFAR10.meta["md5"]), *map(tuple, CIFAR10.train_list + CIFAR10.test_list)]
    assert [(file.name, file.sum.removeprefix("md5:")) for file in cifar.OFFICIAL] == listed
    assert [file.name for file in cifar.SUBSET] == [name for name, _ in listed]
    assert (cifar.URL, cifar.ARCHIVE.path, cifar.FOLDER) == (CIFAR10.url, CIFAR10.filename, CIFAR10.base_folder)


@needs_real_subset
def test_the_real_files_need_arrays_of_numpy_and_nothing_else() -> None:
    for file in cifar.SUBSET:
        content = (REAL / cifar.SUBSET_FOLDER / file.name).read_bytes()
        assert globals_in(content) == (set() if file.name == "batches.meta" else GLOBALS)


@needs_real_subset
def test_the_real_subset_is_balanced_and_looks_like_cifar_10(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(REAL))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    real = labkit.data.load("cifar10", profile="full")
    assert real.train.images.shape == (10_000, 3, 32, 32)
    assert real.test.images.shape == (2_000, 3, 32, 32)
    assert real.train.labels.bincount().tolist() == [1000] * 10
    assert real.test.labels.bincount().tolist() == [200] * 10
    assert (real.train.images.min(), real.train.images.max()) == (0, 1)
    assert real.train.images.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.005)
    assert real.classes == CLASSES
