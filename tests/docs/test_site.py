"""What the site takes from the course: notebooks, results, and docstrings that reStructuredText cannot misread."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from labkit.course.lessons import Lesson, load_lessons, notebook_path

EXTENSIONS = Path(__file__).resolve().parents[2] / "docs" / "_ext"
STORED = json.dumps({"cells": [{"cell_type": "markdown", "source": ["![A way](figures/one/way.svg)"]}]})
METRIC = {"unit": "nats", "values": [11.5, 12.0, 12.25, 12.5, 13.0]}


def extension(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    monkeypatch.syspath_prepend(EXTENSIONS)
    return importlib.import_module(name)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return extension("course_pages", monkeypatch)


@pytest.fixture
def as_rst(monkeypatch: pytest.MonkeyPatch):
    return extension("docstrings", monkeypatch).as_rst


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    """The first lesson, as if it lay in a course of its own, without a notebook."""
    (tmp_path / "notebooks").mkdir()
    return replace(load_lessons()[0], root=tmp_path)


def test_a_profile_without_a_baseline_is_not_recorded_yet(pages: ModuleType, lesson: Lesson) -> None:
    for baseline in (None, {"profile": "full", "lessons": {}}):
        shown = pages.results([lesson], baseline)
        assert lesson.title in shown
        assert "Not recorded yet." in shown


def test_results_show_each_metric_with_its_band_and_how_often_each_claim_held(
    pages: ModuleType, lesson: Lesson
) -> None:
    claims = {"It holds.": {"holds": 5, "runs": 5}, "It does not.": {"holds": 0, "runs": 5}}
    claims["A | B"] = {"holds": 2, "runs": 5}
    recorded = {"seeds": [0, 1, 2, 3, 4], "versions": {"torch": "2.0"}, "device": "cpu", "claims": claims}
    recorded["instruction_set"] = "x86_64 AVX2"
    baseline = {"profile": "full", "lessons": {lesson.name: {**recorded, "metrics": {"vae/kl": METRIC}}}}
    shown = pages.results([lesson], baseline)
    assert "Seeds 0, 1, 2, 3, 4 on cpu (x86_64 AVX2), with torch 2.0." in shown
    assert "| `vae/kl` | 12.25 | 0.559 | 11.5 | 13 | nats |" in shown
    assert "| It holds. | ✔ holds (5 of 5 seeds) |" in shown
    assert "| It does not. | ✘ does not hold (0 of 5 seeds) |" in shown
    assert "| A \\| B | varies: 2 of 5 seeds |" in shown


def test_results_show_the_verdict_of_each_declared_claim(pages: ModuleType, lesson: Lesson) -> None:
    notebooks = lesson.root / "notebooks"
    claim = 'id = "low"\ntext = "It is low."\nsource = "paper"\ndecides = \'"kl" < 9\'\n'
    metrics = {"kl": {"unit": "nats", "values": [1, 2, 3, 2, 1]}}
    recorded = {"seeds": [*range(5)], "versions": {}, "device": "cpu", "instruction_set": None, "claims": {}}
    baseline = {"schema_version": 2, "profile": "full", "lessons": {lesson.name: {**recorded, "metrics": metrics}}}
    for path, text in {
        f"claims/{lesson.name}.toml": f"[[claim]]\n{claim}",
        "baselines/full.json": json.dumps(baseline),
    }.items():
        (notebooks / path).parent.mkdir()
        (notebooks / path).write_text(text)
    assert "| It is low. *(paper)* | ✔ holds<br>+7.2 (6.4 to 8 over 5 seeds) |" in pages.results([lesson], baseline)


def test_errata_are_the_slips_that_claims_state_and_what_came_of_them(pages: ModuleType, lesson: Lesson) -> None:
    path = lesson.root / "notebooks" / "claims" / f"{lesson.name}.toml"
    assert pages.errata([lesson]) == ""
    path.parent.mkdir()
    claim = '[[claim]]\nid = "{}"\ntext = "Runs."\nsource = "Nobody (1900)"\ndecides = \'"a" < 1\'\n'
    path.write_text(claim.format("quiet") + claim.format("slip") + 'erratum = "Printed as 2, it is 3."\n')
    page = pages.errata([lesson])
    assert page.startswith(f"## {lesson.number} · [{lesson.title}](lessons/{lesson.name}.ipynb)\n\n**Nobody (1900).**")
    assert page.count("Printed as 2, it is 3.\n\nTested: Runs. ") == page.count("Tested") == 1


def test_the_stored_notebooks_are_copied_and_nothing_else_stays(
    pages: ModuleType, lesson: Lesson, tmp_path: Path
) -> None:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "99_gone.ipynb").write_text("of a lesson that is no more")
    notebook_path(lesson).write_text(STORED)
    assert pages.place_notebooks([lesson], folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == {f"{lesson.name}.ipynb": STORED}


def test_what_a_notebook_shows_from_beside_itself_is_on_the_site_and_what_none_shows_goes(
    pages: ModuleType, lesson: Lesson, tmp_path: Path
) -> None:
    way, folder = tmp_path / "notebooks" / "figures" / "one" / "way.svg", tmp_path / "lessons"
    way.parent.mkdir(parents=True)
    notebook_path(lesson).write_text(STORED)
    for picture in ("<svg/>", "<svg>new</svg>"):
        way.write_text(picture)
        pages.place_notebooks([lesson], folder)
        assert (folder / "figures" / "one" / "way.svg").read_text() == picture
    notebook_path(lesson).write_text('{"cells": []}')
    pages.place_notebooks([lesson], folder)
    assert not (folder / "figures" / "one" / "way.svg").exists()


def test_a_lesson_without_a_notebook_has_a_page_that_says_how_to_build_it(
    pages: ModuleType, lesson: Lesson, tmp_path: Path
) -> None:
    assert pages.place_notebooks([lesson], tmp_path / "lessons") == [lesson]
    page = (tmp_path / "lessons" / f"{lesson.name}.ipynb").read_text()
    assert lesson.title in page
    assert f"labkit build {lesson.name}" in page
    notebook_path(lesson).write_text(STORED)
    assert pages.place_notebooks([lesson], tmp_path / "lessons") == []
    assert (tmp_path / "lessons" / f"{lesson.name}.ipynb").read_text() == STORED


def test_the_table_of_lessons_leads_to_the_pages_of_the_site(pages: ModuleType, lesson: Lesson) -> None:
    assert f"](lessons/{lesson.name}.ipynb)" in pages.lessons_table([lesson])


def test_every_module_of_a_method_is_documented_also_one_that_a_lesson_stands_on(pages: ModuleType) -> None:
    modules = re.findall(r"automodule:: (\S+)", pages.methods())
    assert {"labkit.papers.cnn_visualization", "labkit.papers.cnn_feature_maps"} <= set(modules)
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize(
    ("docstring", "rst"),
    [
        ("|x| <= a_b * c_", r"\|x\| <= a\_b \* c\_"),
        ("`a_b * c`s and ``d``", r"\ ``a_b * c``\ s and \ ``d``\ "),
        ("Such as:\n\n    x_  (B, *)\n    y", "Such as:\n\n::\n\n      x_  (B, *)\n      y"),
        ("one line\n  that goes on", "one line\nthat goes on"),
        ("- one\n  thing\n- another", "- one\n  thing\n- another"),
    ],
)
def test_a_docstring_means_the_same_in_rst(as_rst, docstring: str, rst: str) -> None:
    assert as_rst(docstring) == rst
