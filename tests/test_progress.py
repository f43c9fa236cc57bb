"""The progress file keeps what a learner did, and never stands in the way of a lesson."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from labkit import progress
from labkit.progress import Guess, Progress, Row, default_path


@pytest.fixture(autouse=True)
def _somebody_watches(monkeypatch) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    monkeypatch.delenv("LABKIT_PROGRESS", raising=False)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "labkit" / "progress.json"


def rows(path: Path, *exercises: str) -> list[Row]:
    return Progress(path).standing("01", exercises).rows


def test_outcomes_are_kept_for_the_next_session(path) -> None:
    assert Progress(path).note("01", "kl", "not yet") is None
    Progress(path).note("01", "pca", "correct")
    Progress(path).note("02", "kl", "not attempted")
    assert rows(path, "pca", "kl", "elbo") == [
        Row("pca", "correct", True, attempts=1),
        Row("kl", "not yet", False, attempts=1),
        Row("elbo"),
    ]


def test_solved_stays_solved_and_is_broken_when_a_later_check_fails(path) -> None:
    for outcome in ("not attempted", "not yet", "correct", "not yet"):
        Progress(path).note("01", "kl", outcome, "stretch")
    (row,) = rows(path, "kl")
    assert row == Row("kl", "not yet", True, attempts=3, level="stretch")
    assert (row.broken, row.state) == (True, "broken again")
    Progress(path).note("01", "kl", "not attempted", "stretch")  # a stub again, as after `labkit reset`
    (row,) = rows(path, "kl")
    assert (row.broken, row.state) == (False, "solved before")


def test_hints_and_a_look_at_the_solution_are_kept(path) -> None:
    for number in (1, 2, 1):
        Progress(path).note_hint("01", "kl", number)
    Progress(path).note_solution("01", "kl")
    assert rows(path, "kl") == [Row("kl", hints=2, solution=True)]


def test_a_guess_can_change_until_it_was_measured(path) -> None:
    book = Progress(path)
    for guess in ("AE", "VAE"):
        book.note_guess("01", "who", guess)
    assert book.standing("01", []).guesses == {"who": Guess("VAE")}
    book.note_measured("01", "who", "AE", False)
    book.note_guess("01", "who", "AE")
    assert book.standing("01", []).guesses == {"who": Guess("VAE", "AE", False)}
    assert not book.standing("01", []).guesses["who"].late


def test_a_guess_at_what_was_measured_first_never_counts(path) -> None:
    book = Progress(path)
    book.note_measured("01", "who", "VAE", None)
    book.note_guess("01", "who", "VAE")
    book.note_measured("01", "who", "VAE", True)
    assert book.standing("01", []).guesses == {"who": Guess("VAE", "VAE", None)}
    assert book.standing("01", []).guesses["who"].late


def test_another_question_begins_anew(path) -> None:
    book = Progress(path)
    book.note_guess("01", "who", "AE")
    book.note_measured("01", "who", "AE", True)
    book.note_guess("01", "who", "DAE", anew=True)
    assert book.standing("01", []).guesses == {"who": Guess("DAE")}


def test_a_right_answer_checked_again_is_no_attempt(path) -> None:
    for outcome in ("not yet", "correct", "correct", "not yet", "correct"):
        Progress(path).note("01", "kl", outcome)
    assert rows(path, "kl") == [Row("kl", "correct", True, attempts=4)]


def test_time_between_two_events_counts_unless_the_learner_was_away(path) -> None:
    times = iter([0.0, 120.0, 120.0 + progress.IDLE + 1, 900.0, 800.0])
    book = Progress(path, clock=lambda: next(times))
    for _ in range(5):
        book.note("01", "kl", "not yet")
    assert book.standing("01", []).minutes == pytest.approx((120 + 900 - 721) / 60)


def test_a_file_of_version_1_is_read_and_written_as_version_2(path) -> None:
    path.parent.mkdir()
    old = {"kl": {"latest": "not yet", "solved": True}, "pca": {"latest": "not attempted", "solved": False}}
    path.write_text(json.dumps({"version": 1, "lessons": {"01": old}}))
    assert rows(path, "kl", "pca") == [Row("kl", "not yet", True, attempts=1), Row("pca")]
    Progress(path).note("01", "pca", "correct")
    assert json.loads(path.read_text())["version"] == 2
    assert rows(path, "kl") == [Row("kl", "not yet", True, attempts=1)]


def test_a_file_of_a_newer_edition_is_left_alone(path) -> None:
    path.parent.mkdir()
    path.write_text('{"version": 3, "lessons": []}')
    said = Progress(path).note("01", "kl", "correct")
    assert said == f"Your progress in {path} was written by a newer edition (version 3): nothing is noted."
    assert path.read_text() == '{"version": 3, "lessons": []}'


def test_a_pipe_in_its_place_is_one_sentence(path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    said = f"Your progress in {path} cannot be read (it is no file): the lesson goes on."
    assert Progress(path).note("01", "kl", "correct") == said


def test_two_kernels_at_once_lose_no_note(path) -> None:
    code = """if True:
        import sys
        from labkit.progress import Progress
        for number in range(25):
            Progress(sys.argv[1]).note("01", sys.argv[2] + str(number), "correct")
    """
    kernels = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abcd"]
    assert [kernel.wait() for kernel in kernels] == [0] * 4
    assert all(row.solved for row in rows(path, *(f"{name}{i}" for name in "abcd" for i in range(25))))


def test_a_kernel_that_never_lets_go_is_one_sentence(path, monkeypatch) -> None:
    path.parent.mkdir()
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    with filelock.FileLock(f"{path}.lock"):
        said = Progress(path).note("01", "kl", "correct")
    assert said == f"Your progress in {path} is being written by another kernel: this was not noted."


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b'{"version": 1, "less',
        b"\xff\xfe\x00",
        b"[]",
        b'{"version": 0, "lessons": {}}',
        b'{"version": 1}',
        b'{"version": 2, "lessons": {"01": {}}}',
        b'{"version": 2, "lessons": {"01": {"seconds": NaN, "last": null, "exercises": {}, "predictions": {}}}}',
        b"[" * 100_000,
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
    assert rows(path, "kl") == [Row("kl", "correct", True, attempts=1)]


def test_a_second_damaged_file_does_not_replace_the_first(path) -> None:
    path.parent.mkdir()
    for text in ("first", "second"):
        path.write_text(text)
        assert rows(path, "kl") == [Row("kl")]
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
    book = Progress(path)
    assert book.note("01", "kl", "correct").startswith(f"Your progress could not be written to {path} (File exists)")
    said = f"Your progress in {path} cannot be read (Not a directory): the lesson goes on."
    assert book.standing("01", ["kl"]).rows == [Row("kl")]
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
    assert sorted(os.listdir(path.parent)) == ["progress.json", "progress.json.lock"]


def test_a_link_to_the_file_stays_a_link(path, tmp_path) -> None:
    link = tmp_path / "link.json"
    path.parent.mkdir()
    link.symlink_to(path)
    Progress(link).note("01", "kl", "correct")
    assert link.is_symlink()
    assert json.loads(path.read_text())["lessons"]["01"]["exercises"]["kl"]["solved"] is True


def test_a_batch_run_neither_reads_nor_writes(path, monkeypatch) -> None:
    Progress(path).note("01", "kl", "correct")
    before = path.read_bytes()
    monkeypatch.setenv("LABKIT_BATCH", "1")
    assert Progress(path).note("01", "pca", "correct") is None
    assert rows(path, "kl") == [Row("kl")]
    assert path.read_bytes() == before


def test_the_file_lies_where_labkit_progress_says_or_in_the_users_data_folder(monkeypatch, tmp_path) -> None:
    assert default_path().parts[-2:] == ("labkit", "progress.json")
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "mine.json"))
    assert Progress().path == tmp_path / "mine.json"
