"""results.json: what a run planned and what came of it. `labkit run` writes it, `labkit verify` reads it.

While a run is under way, what has finished stands in runs.jsonl beside it, a line a run, so that nothing is written
twice; `read_results` reads both. The format is `results.schema.json` beside this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from labkit.course.files import write_json, writing
from labkit.course.lessons import CourseError

SCHEMA_VERSION = 2
JOURNAL = "runs.jsonl"


class Metric(TypedDict):
    value: float
    unit: str


class Claim(TypedDict):
    text: str
    holds: bool
    evidence: dict[str, float | str | bool]
    source: str
    reason: str


class Exercise(TypedDict):
    outcome: str
    checks: int
    passed: int
    mistake: str | None


class Failure(TypedDict):
    kind: str
    cell: int | None
    source: str
    message: str
    traceback: str


class _Run(TypedDict):
    status: str  # passed or failed
    seconds: float
    cell_seconds: list[float | None]  # None: not a code cell, or not reached
    peak_memory: float | None  # MB
    profile: str
    seed: int
    device: str | None
    threads: int | None
    instruction_set: str | None
    versions: dict[str, str]
    config: dict[str, Any]
    metrics: dict[str, Metric]
    claims: list[Claim]
    exercises: dict[str, Exercise]
    figures: int
    notebook: str | None


class Run(_Run, total=False):
    """One lesson at one seed."""

    error: Failure  # if and only if it failed


class LessonRuns(TypedDict):
    """One lesson at all its seeds."""

    status: str
    seconds: float
    runs: list[Run]


class Results(TypedDict):
    """A whole results.json."""

    schema_version: int
    profile: str
    parameters: dict[str, Any]
    plan: dict[str, list[int]]
    lessons: dict[str, LessonRuns]


def gather(
    profile: str,
    plan: Mapping[str, Sequence[int]],
    runs: Iterable[tuple[str, Run]],
    parameters: Mapping[str, Any] | None = None,
) -> Results:
    """Results of the (lesson, run) pairs, in the order of `plan`, {lesson: seeds}; a lesson without a run has no entry.

    A lesson has passed if it ran at every planned seed and every run passed.
    """
    by_place = {(name, run["seed"]): run for name, run in runs}
    lessons: dict[str, LessonRuns] = {}
    for name, seeds in plan.items():
        done = [by_place[name, seed] for seed in seeds if (name, seed) in by_place]
        passed = len(done) == len(seeds) and all(run["status"] == "passed" for run in done)
        seconds = round(sum(run["seconds"] for run in done), 2)
        if done:
            lessons[name] = {"status": "passed" if passed else "failed", "seconds": seconds, "runs": done}
    return {
        "schema_version": SCHEMA_VERSION,
        "profile": profile,
        "parameters": dict(parameters or {}),
        "plan": {name: list(seeds) for name, seeds in plan.items()},
        "lessons": lessons,
    }


def missing_runs(results: Results) -> list[tuple[str, int]]:
    """(lesson, seed) of every run that was planned and is not there."""
    return [
        (name, seed)
        for name, seeds in results["plan"].items()
        for seed in seeds
        if seed not in {run["seed"] for run in results["lessons"].get(name, {"runs": []})["runs"]}
    ]


class Journal:
    """runs.jsonl of a run under way: a line for each run that has finished, on disk before the next one begins."""

    def __init__(self, out: Path, empty: Results) -> None:
        """Begin a run in the folder `out`: `empty`, its plan, replaces the results of an earlier one."""
        self.path = out / JOURNAL
        with writing(out):
            self.path.unlink(missing_ok=True)
        write_results(out / "results.json", empty)

    def append(self, name: str, run: Run) -> None:
        """Add a run of the lesson `name`. Raises ValueError for one that breaks the schema."""
        checker("run")(run)
        line = json.dumps([name, run], ensure_ascii=False, allow_nan=False) + "\n"
        with writing(self.path.parent), open(self.path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def end(self, results: Results) -> None:
        """Write the whole results.json and drop the journal, which says nothing more."""
        write_results(self.path.parent / "results.json", results)
        self.path.unlink(missing_ok=True)


def read_results(path: Path) -> Results:
    """A results.json that `labkit run` wrote, with what its journal adds if the run is under way or was killed.

    Results of version 1 are read as well: they plan what they hold. Raises CourseError when there are none, or the file
    holds something else.
    """
    if not path.is_file():
        raise CourseError(f"There are no results at {path}: run `labkit run` first, or name another file.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(results, dict) and results.get("schema_version") == 1:
            results = _from_version_1(results)
        checker()(results)
        journal = _read_journal(path.with_name(JOURNAL))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        message = f"{path} does not hold results of version {SCHEMA_VERSION} ({reason}): run `labkit run` again."
        raise CourseError(message) from error
    runs = [(name, run) for name, entry in results["lessons"].items() for run in entry["runs"]]
    # A lesson that somebody put in from another results.json, but not into the plan, plans what it holds.
    plan = {name: [run["seed"] for run in entry["runs"]] for name, entry in results["lessons"].items()}
    plan = results["plan"] | {name: seeds for name, seeds in plan.items() if name not in results["plan"]}
    return gather(results["profile"], plan, [*runs, *journal], results["parameters"])


def write_results(path: Path, results: Results) -> None:
    """Check `results` against the schema and write them. Raises ValueError, and CourseError as write_json does."""
    checker()(results)
    write_json(path, results)


@cache
def checker(definition: str | None = None) -> Any:
    """The compiled schema, or one of its definitions: a function that raises a ValueError naming what is wrong."""
    import fastjsonschema  # jsonschema itself takes over a second to import

    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))
    if definition is not None:
        schema = {"definitions": schema["definitions"], "$ref": f"#/definitions/{definition}"}
    return fastjsonschema.compile(schema)


def _read_journal(path: Path) -> list[tuple[str, Run]]:
    """What the journal holds; a last line that was cut off when the run was killed is not there yet."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    runs = [json.loads(line) for line in whole]
    for _, run in runs:
        checker("run")(run)
    return [(name, run) for name, run in runs]


def _from_version_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """Results of version 1 in the present form: it kept no plan, and not what the machine computed with."""

    def run(found: Mapping[str, Any]) -> dict[str, Any]:
        return {**found, "cell_seconds": [found["cell_seconds"]], "peak_memory": None, "instruction_set": None}

    lessons = {
        name: {**{key: entry[key] for key in ("status", "seconds")}, "runs": [*map(run, entry.get("runs", [entry]))]}
        for name, entry in old["lessons"].items()
    }
    plan = {name: [found["seed"] for found in entry["runs"]] for name, entry in lessons.items()}
    return {**old, "schema_version": SCHEMA_VERSION, "parameters": {}, "plan": plan, "lessons": lessons}
