"""A run writes over what a run has written, and over nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_course import Course, a_run, results_of

from labkit.course import ours
from labkit.course.cli import main
from labkit.course.files import write_json
from labkit.course.lessons import CourseError
from labkit.course.plan import plan
from labkit.course.report import write_report
from labkit.course.results import Journal, gather
from labkit.course.run import run_lessons

NAME = "01_one"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planned(course: Course, out: Path) -> None:
    plan(course.lessons, "quick", (0,), out, None, {})


# ---- the lessons themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "baseline"])
@pytest.mark.parametrize("out", [".", "../notebooks", "../link", ""])
def test_a_run_into_the_folder_of_the_lessons_is_refused_and_touches_nothing(
    course: Course, monkeypatch: pytest.MonkeyPatch, command: str, out: str
) -> None:
    course.add("one")
    notebooks = course.root / "notebooks"
    (course.root / "link").symlink_to(notebooks)
    monkeypatch.chdir(notebooks)
    before = contents(course.root)
    result = CliRunner().invoke(main, [command, "one", "--out", out])
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "choose another folder with --out." in last or "the name of the folder is empty" in last
    assert contents(course.root) == before


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_lesson_is_recognized_under_another_name(course: Course, tmp_path: Path, link: Callable) -> None:
    course.add("one")
    lesson, out = course.root / "notebooks" / f"{NAME}.ipynb", tmp_path / "out"
    out.mkdir()
    link(out / f"{NAME}.ipynb", lesson)
    with pytest.raises(CourseError, match=r"is the lesson that is to run: choose another folder with --out\.$"):
        planned(course, out)
    assert lesson.is_file()


def test_what_the_second_run_of_a_baseline_would_be_refused_for_is_found_before_the_first(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.add("one")
    monkeypatch.setattr("labkit.caps.platform.machine", lambda: "x86_64")
    out = tmp_path / "out"
    (out / "elsewhere").mkdir(parents=True)
    (out / "elsewhere" / "results.json").write_text("mine")
    result = CliRunner().invoke(main, ["baseline", "--out", str(out)])
    assert (result.exit_code, "results.json is not as a run of labkit left it" in result.stderr) == (2, True)
    assert contents(out) == {"elsewhere/results.json": b"mine"}


# ---- what somebody else put there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.json", '{"mine": 1}'),
        ("results.json", "[]"),
        ("results.json", "mine"),
        ("runs.jsonl", '{"mine": 1}\n'),
        ("report.html", "<!doctype html><title>My thesis</title>"),
        (".lock", "4711"),
        (f"{NAME}.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'),
        (f"{NAME}.ipynb", "no notebook"),
        (f"{NAME}", "a file where the notebook's folder would be"),
        (f"{NAME}/data.csv", "1,2"),
        ("results.json/mine", "in a folder"),
    ],
)
def test_what_no_run_has_written_is_named_and_stays(course: Course, tmp_path: Path, name: str, text: str) -> None:
    lesson = course.add("one")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    before = contents(tmp_path / "out")
    place = tmp_path / "out" / name.partition("/")[0]
    with pytest.raises(CourseError) as caught:
        run_lessons([lesson], out=tmp_path / "out")
    assert str(caught.value) == (
        f"{place} is not as a run of labkit left it, so it is not written over: "
        "move it away, or choose another folder with --out."
    )
    assert contents(tmp_path / "out") == before


def test_a_copy_of_the_lesson_with_answers_in_it_stays(course: Course, tmp_path: Path) -> None:
    course.add("one")
    mine = tmp_path / f"{NAME}.ipynb"
    mine.write_text((course.root / "notebooks" / mine.name).read_text().replace("seed = 0", "seed = 0  # answer"))
    with pytest.raises(CourseError, match=rf"{mine} is not as a run of labkit left it"):
        planned(course, tmp_path)


# ---- what a run has left ---------------------------------------------------------------------------------------------


def test_a_run_writes_over_an_earlier_one_until_somebody_edits_a_notebook_of_it(course: Course, tmp_path: Path) -> None:
    course.add("one", "import os, pathlib\npathlib.Path(os.environ['LABKIT_OUT'], 'kept').write_text('')")
    course.add("two", "1 / 0")
    results = run_lessons(course.lessons, out=tmp_path, parameters={"rate": 0.5}, jobs=2)
    assert [entry["status"] for entry in results["lessons"].values()] == ["passed", "failed"]
    write_report(results, tmp_path, None)
    planned(course, tmp_path)

    executed = tmp_path / "02_two.ipynb"
    notebook = json.loads(executed.read_text())
    notebook["cells"][0]["outputs"] = []  # whoever runs it again changes nothing that is theirs
    executed.write_text(json.dumps(notebook))
    planned(course, tmp_path)
    cell = next(cell for cell in notebook["cells"] if "".join(cell["source"]) == "1 / 0")
    cell["source"] = ["1 / 2  # my answer"]
    executed.write_text(json.dumps(notebook))
    with pytest.raises(CourseError, match=rf"{executed} is not as a run of labkit left it"):
        planned(course, tmp_path)


def test_what_a_killed_run_leaves_is_known_as_a_runs(course: Course, tmp_path: Path) -> None:
    course.add("one")
    Journal(tmp_path, gather("quick", {NAME: [0, 1]}, [])).append(NAME, a_run())
    with open(tmp_path / "runs.jsonl", "a") as journal:
        journal.write('["01_one", {"sta')  # cut off
    (tmp_path / ".lock").touch()
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "checkpoint").touch()
    planned(course, tmp_path)


def test_what_an_older_version_left_is_known_as_a_runs(course: Course, tmp_path: Path) -> None:
    course.add("one")
    executed = tmp_path / f"{NAME}.ipynb"
    write_json(executed, {"cells": [], "metadata": {"papermill": {"output_path": str(executed)}}})
    write_json(tmp_path / "results.json", {"schema_version": 1, "profile": "quick", "lessons": {}})
    (tmp_path / "report.html").write_text("<!doctype html>\n<title>Paper Lab: report at profile quick</title>")
    planned(course, tmp_path)
    executed.rename(tmp_path / "02_two.ipynb")
    course.add("two")
    with pytest.raises(CourseError, match=r"02_two\.ipynb is not as a run"):
        planned(course, tmp_path)


def test_a_report_says_that_labkit_made_it(tmp_path: Path) -> None:
    text = write_report(results_of(a_run()), tmp_path, None).read_text()
    assert ours.REPORT_MARKS[0] in text[:300]
