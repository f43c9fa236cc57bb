"""Fashion-MNIST is read from its four files, whole and unaltered, as MNIST is."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import labkit.data
from labkit.data import DataError, fashion_mnist
from labkit.data.fetch import Known
from labkit.data.mnist import IdxFile

IMAGES = np.random.default_rng(0).integers(0, 256, size=(3, 28, 28), dtype=np.uint8)
LABELS = np.array([9, 0, 4], dtype=np.uint8)


@pytest.fixture
def contents(monkeypatch) -> dict[str, bytes]:
    """Four small files, which now are the known ones."""
    made = {}
    for file, array in zip(fashion_mnist.FILES, (IMAGES, LABELS, IMAGES[:1], LABELS[:1]), strict=True):
        sizes = np.array(array.shape, dtype=">u4").tobytes()
        made[file.gz.path] = gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), mtime=0)
    known = [IdxFile(Known(path, hashlib.sha256(file).hexdigest(), len(file))) for path, file in made.items()]
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(known))
    return made


def put(folder: Path, contents: dict[str, bytes]) -> None:
    (folder / "FashionMNIST" / "raw").mkdir(parents=True)
    for path, content in contents.items():
        (folder / path).write_bytes(content)


@pytest.mark.parametrize("profile", ["full", "paper"])
def test_the_files_are_read_where_torchvision_keeps_them(data, contents, profile: str) -> None:
    put(data, contents)
    loaded = labkit.data.load("fashion_mnist", profile=profile)
    assert torch.equal(loaded.train.images[:, 0], torch.tensor(IMAGES) / 255)
    assert torch.equal(loaded.test.images, loaded.train.images[:1])
    assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == ([9, 0, 4], [9])
    assert loaded.classes[9] == "Ankle boot"


def test_quick_has_none_and_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r'there is none at profile "quick": use profile "full"\.'):
        labkit.data.load("fashion_mnist")


def test_an_altered_file_is_named(data, contents) -> None:
    path = next(iter(contents))
    put(data, contents | {path: contents[path][::-1]})
    with pytest.raises(DataError, match="is altered") as caught:
        labkit.data.load("fashion_mnist", profile="paper")
    assert str(caught.value).startswith(str(data / path))


def test_a_missing_file_is_downloaded_into_the_cache(monkeypatch, cache, contents, server) -> None:
    monkeypatch.setattr(fashion_mnist, "URL", f"{server.url}/good/")
    server.content = next(iter(contents.values()))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz could not be downloaded"):
        labkit.data.load("fashion_mnist", profile="full")  # the server has the images only
    assert server.requests[0] == "/good/train-images-idx3-ubyte.gz"
    assert [path.name for path in cache.rglob("*.gz")] == ["train-images-idx3-ubyte.gz"]


def test_names_address_and_classes_are_those_of_torchvision() -> None:
    names = [Path(file.gz.path).name for file in fashion_mnist.FILES]
    assert names == [name for name, _ in torchvision.datasets.FashionMNIST.resources]
    assert fashion_mnist.URL in torchvision.datasets.FashionMNIST.mirrors
    assert list(fashion_mnist.CLASSES) == torchvision.datasets.FashionMNIST.classes
