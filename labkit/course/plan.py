"""What a run will do, checked before anything runs: one ``Job`` for each lesson at each seed."""

from __future__ import annotations

import ast
import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from labkit import PROFILES
from labkit.course.beside import shown_by
from labkit.course.lessons import CourseError, Lesson, notebook_path
from labkit.course.ours import check_output_folder
from labkit.course.records import RecordError, cell_name, first_lines, read_cells

MAX_SEED = 2**32 - 1  # the largest that NumPy and scikit-learn accept


@dataclass(frozen=True)
class Job:
    """One notebook to run at one seed."""

    lesson: str
    profile: str
    seed: int
    notebook: Path  # absolute
    executed: Path  # absolute; the folder beside it with the same name is the notebook's to write into
    parameters: Mapping[str, Any] = field(hash=False)
    timeout: float | None  # seconds


def plan(
    lessons: Sequence[Lesson],
    profile: str,
    seeds: Sequence[int],
    out: Path,
    timeout: float | None,
    parameters: Mapping[str, Any],
) -> list[Job]:
    """The jobs of a run, lesson by lesson; CourseError for anything that could not work or would lose something."""
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}: the profiles are {', '.join(PROFILES)}.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise CourseError(f"A run needs at least one seed, and each only once; got {list(seeds)}.")
    for seed in seeds:
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:  # `type`, since True is an int for isinstance
            raise CourseError(f"A seed must be a whole number from 0 to {MAX_SEED}, got {seed!r}.")
    if timeout is not None and not 0 < timeout < math.inf:
        raise CourseError(f"The time limit must be a positive number of seconds, got {timeout}.")
    if reserved := {"profile", "seed"} & set(parameters):
        option = {"profile": "--profile", "seed": "--seeds"}[min(reserved)]
        raise CourseError(f"The parameter {min(reserved)!r} is set by {option}.")
    for lesson in lessons:
        known = parameter_names(lesson)
        if unknown := [name for name in ("profile", "seed", *parameters) if name not in known]:
            raise CourseError(f"{lesson.name} has no parameter {unknown[0]!r}: it has {', '.join(known)}.")
        if profile != "quick" and (lacking := _not_installed(lesson.extras)):
            raise CourseError(
                f"{lesson.name} at {profile!r} needs {', '.join(lacking)}: install the extra with "
                f"`pip install -e .[{','.join(lesson.extras)}]`."
            )
    jobs = [
        Job(
            lesson.name,
            profile,
            seed,
            notebook_path(lesson).absolute(),
            out / (f"{lesson.name}.ipynb" if len(seeds) == 1 else f"{lesson.name}-seed{seed}.ipynb"),
            {"profile": profile, "seed": seed, **parameters},
            timeout,
        )
        for lesson in lessons
        for seed in seeds
    ]
    read = [notebook_path(lesson) for lesson in lessons]
    check_output_folder(out, [job.executed for job in jobs], read, shown_by(lessons))
    return jobs


def _not_installed(extras: Sequence[str]) -> list[str]:
    """The packages of labkit's `extras` that are not installed."""
    lacking = []
    for text in (metadata.requires("labkit") or []) if extras else ():
        package, _, condition = text.partition(";")
        name = re.match(r"[\w.-]+", package)[0]
        if any(f'extra == "{extra}"' in condition for extra in extras):
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                lacking.append(name)
    return lacking


def parameter_names(lesson: Lesson) -> list[str]:
    """The names that the lesson's cell tagged `parameters` sets.

    papermill would only warn of a name that is not among them, and run the lesson without it. Raises CourseError, which
    says what to do and risks nothing of what is in the notebook, when there is no such cell or it cannot be read.
    """
    notebook = notebook_path(lesson)
    if not notebook.is_file():
        raise CourseError(f"{lesson.name} has no notebook yet: make it with `labkit build {lesson.name}`.")
    try:
        cells = read_cells(notebook)
    except RecordError as error:
        raise CourseError(
            f"{lesson.name} cannot run, since {error}: mend it, or move it to a safe place before "
            f"`labkit build {lesson.name}` makes a new one."
        ) from error
    sources = ["".join(cell["source"]) for cell in cells]
    tagged = [i for i, cell in enumerate(cells) if "parameters" in (cell["metadata"].get("tags") or [])]
    if not tagged:
        raise CourseError(_without_tag(notebook, cells, sources))
    try:
        return _assigned(sources[tagged[0]])
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None) or 1
        line = [*sources[tagged[0]].splitlines(), ""][number - 1].strip()
        raise CourseError(
            f"Line {number} of the cell tagged `parameters` in {notebook}, {line!r}, is not plain Python: "
            "correct it, or move it to a cell of its own."
        ) from error


def _without_tag(notebook: Path, cells: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> str:
    """What to do about a notebook in which no cell is tagged, as after an editor that drops the tags."""
    for position, (cell, source) in enumerate(zip(cells, sources, strict=True)):
        with contextlib.suppress(SyntaxError, ValueError):
            if cell["cell_type"] == "code" and {"profile", "seed"} <= set(_assigned(source)):
                name = cell_name(position, first_lines(source))
                return f"No cell of {notebook} is tagged `parameters`: give {name} that tag."
    return (
        f"No cell of {notebook} sets profile and seed: "
        'add one that says `profile = "quick"` and `seed = 0`, and tag it `parameters`.'
    )


def _assigned(source: str) -> list[str]:
    """The names that Python code sets, in its order. Raises SyntaxError or ValueError for what is no Python."""
    statements = ast.parse(source).body
    targets = [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    targets += [s.target for s in statements if isinstance(s, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
