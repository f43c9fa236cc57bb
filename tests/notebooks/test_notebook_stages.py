"""A lesson runs at any stage of the learner's work: with every exercise wrong, and with every exercise solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from labkit.course.lessons import Lesson, notebook_path
from labkit.course.run import run_lessons
from labkit.course.source import read_source

ANSWER = """\
from labkit.exercises.{topic} import EXERCISES
({name},) = [{answer} for exercise in EXERCISES if exercise.name == {name!r}]"""


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("exercise.mistakes[0].function", "not yet"), ("exercise.alternatives[0]", "correct")],
    ids=["with a common mistake in every exercise", "with every exercise solved in another way"],
)
def test_the_lesson_runs_and_its_numbers_stay_in_their_bands(
    lesson: Lesson, tmp_path: Path, answer: str, outcome: str, out_of_band: Callable[[Mapping], list[str]]
) -> None:
    notebook = read_source(lesson)
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "exercise" in cell.metadata.get("tags", []):
            name = following.source.partition(" = ")[0]
            cell.source = ANSWER.format(topic=lesson.topic, name=name, answer=answer)
    attempted = replace(lesson, root=tmp_path)
    notebook_path(attempted).parent.mkdir()
    nbformat.write(notebook, notebook_path(attempted))

    results = run_lessons([attempted], out=tmp_path / "out", timeout=300)

    run = results["lessons"][lesson.name]
    assert run["status"] == "passed", run.get("error")
    assert {exercise["outcome"] for exercise in run["exercises"].values()} == {outcome}
    if outcome == "not yet":
        assert all(exercise["mistake"] for exercise in run["exercises"].values()), "a mistake was not called by name"
    assert not out_of_band(run)
