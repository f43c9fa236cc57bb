"""`labkit progress` shows where the learner stands in every lesson, in the order of the notebooks."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from labkit.course.cli import main
from labkit.course.lessons import load_lessons
from labkit.course.standing import exercises_of
from labkit.progress import Progress

KEGNET = "08_kegnet"


@pytest.fixture(autouse=True)
def book(monkeypatch, tmp_path) -> Progress:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.json"))
    book = Progress()
    book.note(KEGNET, "decoder_loss", "correct")
    book.note(KEGNET, "decoder_loss", "not yet")
    book.note(KEGNET, "diversity_loss", "correct", "stretch")
    book.note_hint(KEGNET, "diversity_loss", 2)
    book.note_guess(KEGNET, "who", "noise")
    book.note_measured(KEGNET, "who", "KegNet", False)
    return book


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["progress", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_course_has_a_row_for_each_lesson(book: Progress) -> None:
    lines = shown().splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == [lesson.name for lesson in load_lessons()]
    count = len(exercises_of(load_lessons()[-1]))
    assert lines[-3].split() == [KEGNET, f"1/{count - 1}", "1/1", "3", "2", "0", "1", "0/1", "0"]
    assert lines[-1] == f"Kept in {book.path}."


def test_a_lesson_has_a_row_for_each_exercise_in_the_order_of_its_notebook() -> None:
    lines = shown("08").splitlines()[2:]
    assert [line.split()[0] for line in lines[:-4]] == exercises_of(load_lessons()[-1])
    assert "broken again" in next(line for line in lines if line.startswith("decoder_loss"))
    assert lines[-4:-1] == ["", "Predictions: 0 of 1 right.", ""]


def test_the_tables_fit_into_a_terminal_of_100_columns() -> None:
    assert max(len(line) for line in [*shown().splitlines()[:-1], *shown("08").splitlines()[:-1]]) <= 100


def test_a_program_reads_the_same_as_json() -> None:
    lesson = json.loads(shown("08", "--json"))[KEGNET]
    assert lesson["exercises"]["decoder_loss"] == {
        "latest": "not yet",
        "solved": True,
        "broken": True,
        "attempts": 2,
        "hints": 0,
        "solution": False,
        "level": "core",
    }
    assert lesson["predictions"] == {"who": {"guess": "noise", "value": "KegNet", "right": False}}
    assert set(json.loads(shown("--json"))) == {lesson.name for lesson in load_lessons()}


def test_a_damaged_file_is_told_beside_the_table(book: Progress) -> None:
    book.path.write_text("{")
    result = CliRunner().invoke(main, ["progress"])
    assert result.exit_code == 0
    assert "was damaged: it now lies in progress.json.bad" in result.stderr
