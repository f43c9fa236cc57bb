"""The progress file keeps what a learner did, and never stands in the way of a lesson."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labkit.lab import progress
from labkit.lab.progress import Progress, Row, default_path


@pytest.fixture(autouse=True)
def _somebody_watches(monkeypatch) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    monkeypatch.delenv("LABKIT_PROGRESS", raising=False)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "labkit" / "progress.json"


def test_outcomes_are_kept_for_the_next_session(path) -> None:
    assert Progress(path).note("01", "kl", "not yet") is None
    Progress(path).note("01", "pca", "correct")
    Progress(path).note("02", "kl", "not attempted")
    assert Progress(path).table("01", ["pca", "kl", "elbo"]) == [
        Row("pca", "correct", True),
        Row("kl", "not yet", False),
        Row("elbo", "not attempted", False),
    ]


def test_solved_stays_solved_when_a_later_check_fails(path) -> None:
    for outcome in ("not yet", "correct", "not yet"):
        Progress(path).note("01", "kl", outcome)
    assert Progress(path).table("01", ["kl"]) == [Row("kl", "not yet", True)]


def test_the_same_outcomes_give_the_same_file(path, tmp_path) -> None:
    Progress(path).note("01", "a", "correct")
    Progress(path).note("01", "b", "not yet")
    other = tmp_path / "other.json"
    Progress(other).note("01", "b", "not yet")
    Progress(other).note("01", "a", "correct")
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b'{"version": 1, "less',
        b"\xff\xfe\x00",
        b"[]",
        b'{"version": 2, "lessons": {}}',
        b'{"version": 1}',
        b'{"version": 1, "lessons": {"01": 3}}',
        b'{"version": 1, "lessons": {"01": {"kl": {"latest": "correct"}}}}',
    ],
)
def test_a_damaged_file_is_set_aside_and_said_so(path, damaged: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damaged)
    book = Progress(path)
    said = book.note("01", "kl", "correct")
    assert said == f"Your progress in {path} was damaged: it now lies in progress.json.bad, and a new one begins."
    assert path.with_name("progress.json.bad").read_bytes() == damaged
    assert book.note("01", "pca", "not yet") is None
    assert book.table("01", ["kl"]) == [Row("kl", "correct", True)]


def test_a_second_damaged_file_does_not_replace_the_first(path) -> None:
    path.parent.mkdir()
    for text in ("first", "second"):
        path.write_text(text)
        assert Progress(path).table("01", ["kl"]) == [Row("kl", "not attempted", False)]
    assert path.with_name("progress.json.bad").read_text() == "first"
    assert path.with_name("progress.json.2.bad").read_text() == "second"


def test_a_damaged_file_that_cannot_be_moved_is_left_as_it_is(path, monkeypatch) -> None:
    path.parent.mkdir()
    path.write_text("damaged")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    said = Progress(path).note("01", "kl", "correct")
    assert (
        said == f"Your progress in {path} is damaged and cannot be moved aside (Permission denied): the lesson goes on."
    )
    assert path.read_text() == "damaged"


def test_a_folder_that_cannot_be_written_is_one_sentence_and_no_exception(path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(progress.tempfile, "mkstemp", refuse)
    assert Progress(path).note("01", "kl", "correct") == (
        f"Your progress could not be written to {path} (Permission denied): the lesson goes on; "
        "set LABKIT_PROGRESS to a file that can be written."
    )


def test_a_path_that_leads_through_a_file_is_one_sentence_and_no_exception(tmp_path) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "progress.json"
    said = f"Your progress in {path} cannot be read (Not a directory): the lesson goes on."
    book = Progress(path)
    assert book.note("01", "kl", "correct") == said
    assert book.table("01", ["kl"]) == [Row("kl", "not attempted", False)]
    assert book.problem == said


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file_whole(path, monkeypatch) -> None:
    Progress(path).note("01", "kl", "correct")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress.json, "dump", full)
    said = Progress(path).note("01", "pca", "correct")
    assert said.startswith(
        f"Your progress could not be written to {path} (No space left on device): the lesson goes on;"
    )
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["progress.json"]


def test_a_link_to_the_file_stays_a_link(path, tmp_path) -> None:
    link = tmp_path / "link.json"
    path.parent.mkdir()
    link.symlink_to(path)
    Progress(link).note("01", "kl", "correct")
    assert link.is_symlink()
    assert json.loads(path.read_text())["lessons"]["01"]["kl"]["solved"] is True


def test_a_batch_run_neither_reads_nor_writes(path, monkeypatch) -> None:
    Progress(path).note("01", "kl", "correct")
    before = path.read_bytes()
    monkeypatch.setenv("LABKIT_BATCH", "1")
    assert Progress(path).note("01", "pca", "correct") is None
    assert Progress(path).table("01", ["kl"]) == [Row("kl", "not attempted", False)]
    assert path.read_bytes() == before


def test_the_file_lies_where_labkit_progress_says_or_in_the_users_data_folder(monkeypatch, tmp_path) -> None:
    assert default_path().parts[-2:] == ("labkit", "progress.json")
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "mine.json"))
    assert Progress().path == tmp_path / "mine.json"
