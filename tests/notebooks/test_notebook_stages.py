"""A lesson runs at any stage of the learner's work: half of its exercises wrong, the others solved in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nbformat

from labkit.course.comparison import compare, settle
from labkit.course.lessons import Lesson, notebook_path
from labkit.course.results import Run
from labkit.course.run import run_lessons
from labkit.course.source import read_source

WRONG, SOLVED = "exercise.mistakes[0].function", "edited(exercise.answer)"  # an edited copy, since it is the learner's
ANSWER = """\
from labkit.checks.edits import edited
from labkit.exercises.{topic} import EXERCISES
({name},) = [{answer} for exercise in EXERCISES if exercise.name == {name!r}]"""


def test_the_lesson_runs_and_its_numbers_stay_in_their_bands(lesson: Lesson, tmp_path: Path, baseline: dict) -> None:
    """Every second exercise is wrong: in lessons of an odd number the first, third, ..., in the others the rest."""
    notebook = read_source(lesson)
    attempts = {}
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "exercise" in cell.metadata.get("tags", []):
            name = following.source.partition(" = ")[0]
            attempts[name] = WRONG if (int(lesson.number) + len(attempts)) % 2 else SOLVED
            cell.source = ANSWER.format(topic=lesson.topic, name=name, answer=attempts[name])
    attempted = replace(lesson, root=tmp_path)
    notebook_path(attempted).parent.mkdir()
    nbformat.write(notebook, notebook_path(attempted))

    def run_at(seeds: Sequence[int], out: Path) -> dict:
        results = run_lessons([attempted], seeds=seeds, out=out)
        for run in results["lessons"][lesson.name]["runs"]:
            # Another answer rounds otherwise, as another machine does: its numbers are held to bands.
            run["instruction_set"] = None
        return results

    def again(_: str, seeds: Sequence[int]) -> list[Run]:
        return run_at(seeds, tmp_path / "again")["lessons"][lesson.name]["runs"]

    results = run_at((0,), tmp_path / "out")
    (run,) = results["lessons"][lesson.name]["runs"]
    assert run["status"] == "passed", run.get("error")
    assert set(run["exercises"]) == set(attempts)
    for name, exercise in run["exercises"].items():
        assert exercise["outcome"] == ("not yet" if attempts[name] == WRONG else "correct")
        assert attempts[name] == SOLVED or exercise["mistake"], f"the mistake in {name} was not called by name"
    assert not settle(compare(results, baseline), baseline, again).problems
