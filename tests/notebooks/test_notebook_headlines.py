"""Stored headline figures are those that a lesson shows, from the run that the baseline of `full` has, and small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from headline_rules import FIELDS, asked, problems
from nbformat import NotebookNode

from labkit.baselines import of_lesson
from labkit.course.headlines import BYTES, metrics_sum
from labkit.course.lessons import Lesson, course_root, figures_folder
from labkit.headlines import load

RUN = {"versions": {"torch": "2"}, "device": "cpu", "threads": 2, "instruction_set": "x86_64 AVX2"}
RECORDED = {"seeds": [3, 4], "metrics": {"vae/kl": {"unit": "nats", "values": [12.0, 13.0]}}} | RUN
PICTURE = b"\x89PNG a curve"
ABOUT = {"alt": "A curve.", "profile": "full", "seed": 3, "data": {}, "files": {}} | RUN
ABOUT |= {"metrics": metrics_sum({"vae/kl": 12.0}), "png": hashlib.sha256(PICTURE).hexdigest()}
GOOD = 'lab.show(figure, alt="A curve.", headline="roc")', 'lab.at_full("roc")'


def test_stored_figures_lesson_and_baseline_fit_together(lesson: Lesson, source: NotebookNode) -> None:
    assert problems(source, figures_folder(lesson), of_lesson("full", lesson.name)) == []


def test_the_stored_notebook_shows_the_figures_that_are_stored(lesson: Lesson, notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for name in asked(nbformat.v4.new_notebook(cells=[cell]))[1]:
            stored = load(lesson.name, name)
            shown = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            wanted = [base64.b64encode(stored.png).decode()] if stored else []
            assert set(wanted) <= {"".join(picture).strip() for picture in shown}, (
                f"{name}: run `labkit build {lesson.name}`"
            )


def test_the_page_on_records_has_every_field_of_a_stored_figure() -> None:
    page = (course_root() / "docs" / "records.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`.*?) \|", page.partition("## Headline figures")[2], re.MULTILINE)
    assert {field for row in table for field in re.findall(r"`(\w+)`", row)} == FIELDS


def lesson_of(*cells: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "roc", picture: bytes = PICTURE, **changes: Any) -> Path:
        (tmp_path / f"{name}.png").write_bytes(picture)
        (tmp_path / f"{name}.json").write_text(json.dumps(ABOUT | changes))
        return tmp_path

    return write


def test_what_fits_together_has_no_problem(stored: Callable, tmp_path: Path) -> None:
    (tmp_path / "way.svg").touch()
    assert problems(lesson_of(*GOOD), stored(), RECORDED) == []
    assert problems(lesson_of(*GOOD), tmp_path / "none", {}) == [], "a lesson may wait for its run at full"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ((GOOD[1],), "at_full('roc') is no headline"),
        ((GOOD[1],), "roc: the lesson does not show it"),
        ((*GOOD, GOOD[0]), "'roc' is shown twice"),
        ((*GOOD, "lab.show(f, alt='', headline=name)"), "a headline is no literal name"),
        ((*GOOD, "lab.at_full(headline=f'{name}')"), "a headline is no literal name"),
        ((*GOOD, *(f"lab.show(f, alt='', headline='f{n}')" for n in range(5))), "6 headlines"),
    ],
)
def test_a_lesson_that_does_not_fit_is_found(stored: Callable, cells: tuple[str, ...], problem: str) -> None:
    assert problem in problems(lesson_of(*cells), stored(), RECORDED)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"picture": PICTURE + b"."}, "roc: another picture than its provenance tells of"),
        ({"picture": bytes(BYTES + 1)}, f"roc: {BYTES + 1} bytes"),
        ({"profile": "quick"}, "roc: made at quick"),
        ({"seed": 4}, "roc: seed 4, and the baseline begins with 3"),
        ({"versions": {"torch": "3"}}, "roc: another versions than the baseline"),
        ({"instruction_set": None}, "roc: another instruction_set than the baseline"),
        ({"metrics": metrics_sum({"vae/kl": 13.0})}, "roc: from another run than the baseline"),
        ({"more": 1}, f"roc: its fields are {sorted(FIELDS | {'more'})}"),
    ],
)
def test_a_stored_figure_that_does_not_fit_is_found(stored: Callable, changes: dict, problem: str) -> None:
    assert problem in problems(lesson_of(*GOOD), stored(**changes), RECORDED)


def test_half_of_a_stored_figure_and_one_without_a_baseline_are_found(stored: Callable) -> None:
    folder = stored()
    assert problems(lesson_of(*GOOD), folder, {}) == ["roc: there is no baseline of its lesson"]
    (folder / "roc.json").unlink()
    assert problems(lesson_of(*GOOD), folder, RECORDED) == ["roc: picture and provenance are not both there"]
