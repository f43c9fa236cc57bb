"""A lesson that docs/contributing.md knows how to make: put its five files in their places, and run its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labkit.caps import CAPS

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "ninth_lesson"
NAME = "09_least_squares"
PLACES = {
    "paper.py": "labkit/papers/least_squares.py",
    "exercises.py": "labkit/exercises/least_squares.py",
    "lesson.py": f"notebooks/source/{NAME}.py",
    "claims.toml": f"notebooks/claims/{NAME}.toml",
}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A copy of the package, with a list of this one lesson and its files."""
    shutil.copytree(ROOT / "labkit", tmp_path / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    for name, place in PLACES.items():
        tmp_path.joinpath(place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILES / name, tmp_path / place)
    shutil.copyfile(FILES / "lesson.toml", tmp_path / "notebooks" / "lessons.toml")
    return tmp_path


def commands() -> list[str]:
    """The commands of the steps that make and check a lesson, in their order."""
    steps = (
        (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8").partition("### 5. ")[2].partition("### 6. ")[0]
    )
    return re.findall(r"^labkit .*$", steps, re.MULTILINE)


def run(command: str, course: Path) -> str:
    """What a command of the guide says, in the course; five seeds stand for eight, and `full` has nothing new here."""
    words = command.replace("NAME", NAME).replace("0-7", "0-4").split()[1:]
    own = {name: value for name, value in os.environ.items() if name not in CAPS}  # the two machines are of two kinds
    environment = {**own, "PYTHONPATH": str(course), "LABKIT_PROGRESS": str(course / "progress.json")}
    done = subprocess.run(
        [sys.executable, "-m", "labkit.course.cli", *words], cwd=course, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_a_ninth_lesson_is_made_by_the_steps_of_the_guide(course: Path) -> None:
    steps = commands()
    assert [step.split()[1] for step in steps] == [
        "build",
        "baseline",
        "baseline",
        "evidence",
        "build",
        "run",
        "verify",
    ]
    said = {step: run(step, course) for step in steps if "full" not in step}
    assert re.search("beats-single-points +✔ holds +– not measured", said["labkit evidence NAME"])
    assert said["labkit verify"].splitlines()[-1].startswith("All is well: 1 run passed")
    notebook = nbformat.read(course / "notebooks" / f"{NAME}.ipynb", as_version=4)
    shown = [
        output.get("data", {}).get("text/markdown", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    assert any("At `quick`: **✔ holds**" in text for text in shown), "the stored notebook tells what the seeds say"
