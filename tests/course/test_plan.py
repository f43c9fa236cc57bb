"""A notebook that cannot take parameters is told how to mend it, in a way that loses nothing of what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_course import Course

from labkit.course.lessons import CourseError
from labkit.course.plan import parameter_names


def put_first(line: str) -> Callable[[dict], None]:
    def change(notebook: dict) -> None:
        notebook["cells"][0]["source"] = [f"{line}\n", *notebook["cells"][0]["source"]]

    return change


def rename_seed(notebook: dict) -> None:
    notebook["cells"][0]["source"] = ["profile = 'quick'"]


def lose_tags(notebook: dict) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def lose_everything(notebook: dict) -> None:
    lose_tags(notebook)
    rename_seed(notebook)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            put_first("%%time"),
            "Line 1 of the cell tagged `parameters` in PATH, '%%time', is not plain Python: "
            "correct it, or move it to a cell of its own.",
        ),
        (
            put_first("# mine\n!pip install fastai"),
            "Line 2 of the cell tagged `parameters` in PATH, '!pip install fastai', is not plain Python: "
            "correct it, or move it to a cell of its own.",
        ),
        (put_first("<<<<<<< local"), "Line 1 of the cell tagged `parameters` in PATH, '<<<<<<< local', is not plain"),
        (lose_tags, 'No cell of PATH is tagged `parameters`: give cell 0 (profile = "quick") that tag.'),
        (
            lose_everything,
            'No cell of PATH sets profile and seed: add one that says `profile = "quick"` and `seed = 0`, '
            "and tag it `parameters`.",
        ),
    ],
)
def test_a_parameters_cell_that_cannot_be_used_is_named_with_what_to_do(
    course: Course, change: Callable[[dict], None], sentence: str
) -> None:
    lesson = course.add("one")
    path = course.root / "notebooks" / "01_one.ipynb"
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook))
    with pytest.raises(CourseError) as caught:
        parameter_names(lesson)
    assert str(caught.value).startswith(sentence.replace("PATH", str(path)))
    assert "labkit build" not in str(caught.value)


def conflicting(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([*lines[:4], "<<<<<<< HEAD", lines[4], "=======", lines[4], ">>>>>>> theirs", *lines[5:]])


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (conflicting, "line 5 is the mark of a merge conflict"),
        (lambda text: text[:50], "Unterminated string"),
        (lambda text: "", "Expecting value"),
        (lambda text: '{"worksheets": []}', "it has no 'cells'; nbformat 4 or later is needed"),
        (lambda text: "[" * 100_000, "it is nested too deeply"),
        (lambda text: '{"cells": [{"cell_type": "code", "source": null}]}', "can only join an iterable"),
    ],
)
def test_a_notebook_that_cannot_be_read_is_never_to_be_replaced_without_a_word(
    course: Course, spoil: Callable[[str], str], cause: str
) -> None:
    lesson = course.add("one")
    path = course.root / "notebooks" / "01_one.ipynb"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(CourseError) as caught:
        parameter_names(lesson)
    said = str(caught.value)
    assert said.startswith(f"01_one cannot run, since the notebook 01_one.ipynb cannot be read ({cause}")
    assert said.endswith("): mend it, or move it to a safe place before `labkit build 01_one` makes a new one.")


def test_a_byte_order_mark_and_cells_without_metadata_do_no_harm(course: Course, tmp_path: Path) -> None:
    lesson = course.add("one")
    path = course.root / "notebooks" / "01_one.ipynb"
    notebook = json.loads(path.read_text())
    del notebook["cells"][1]["metadata"]
    path.write_text(json.dumps(notebook), encoding="utf-8-sig")
    assert parameter_names(lesson) == ["profile", "seed", "rate"]
