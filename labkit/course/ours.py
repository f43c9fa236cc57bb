"""What a run may write over: only what a run has written, and nobody has changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labkit.course.lessons import CourseError
from labkit.course.records import added_by_papermill
from labkit.course.results import JOURNAL

REPORT_MARKS = ('<meta name="generator" content="labkit', "<title>Paper Lab: report at profile")
"""A report.html of ours has one of them in its head; the second alone stands in those of older versions."""


FINGERPRINT = "labkit_cells"
"""Where the metadata of an executed notebook keep its fingerprint."""


def check_output_folder(
    out: Path, executed: Iterable[Path], read: Sequence[Path], beside: Mapping[str, Path] = MappingProxyType({})
) -> None:
    """Raise CourseError if a run into `out` would write over anything but what a run has left there.

    `executed` are the notebooks that the run is to write, `read` those that it reads, `beside` the files that it copies
    to places in `out`. Nothing is touched.
    """
    if os.path.lexists(out / "lessons.toml"):
        raise CourseError(f"{out} holds the lessons that are to run: choose another folder with --out.")
    results = out / "results.json"
    ours = {results: _is_results, out / JOURNAL: _is_journal, out / "report.html": _is_report, out / ".lock": _is_lock}
    for path in executed:
        if any(_same(path, lesson) for lesson in read):
            raise CourseError(f"{path} is the lesson that is to run: choose another folder with --out.")
        ours[path] = _is_executed
        ours[path.with_suffix("")] = lambda folder: _is_own_folder(folder) or _is(results, _is_results)
    for target, file in beside.items():
        ours[out / target] = lambda copy, file=file: _same_content(copy, file) or _is(results, _is_results)
    for path, test in ours.items():
        if os.path.lexists(path) and not _is(path, test):
            raise CourseError(
                f"{path} is not as a run of labkit left it, so it is not written over: "
                "move it away, or choose another folder with --out."
            )


def fingerprint(cells: Sequence[Mapping[str, Any]]) -> str:
    """A sum over what the cells say, outputs and what papermill added left out: it tells whether somebody edited."""
    said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells if not added_by_papermill(cell)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _same_content(path: Path, other: Path) -> bool:
    return path.read_bytes() == other.read_bytes()


def _is(path: Path, test: Any) -> bool:
    """Whether the file passes the test; what cannot be read, or is something else altogether, does not."""
    try:
        return test(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _is_executed(path: Path) -> bool:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if FINGERPRINT in notebook["metadata"]:
        return notebook["metadata"][FINGERPRINT] == fingerprint(notebook["cells"])
    # One of a version that left no fingerprint: where it was written to must still be where it lies.
    return Path(notebook["metadata"]["papermill"]["output_path"]).resolve() == path.resolve()


def _is_own_folder(path: Path) -> bool:
    """What a notebook writes into its folder may be anything, so the folder must be new to it."""
    return path.is_dir() and not any(path.iterdir())


def _is_results(path: Path) -> bool:
    return {"schema_version", "profile", "lessons"} <= json.loads(path.read_text(encoding="utf-8")).keys()


def _is_journal(path: Path) -> bool:
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return all({"status", "seed"} <= run.keys() for _, run in map(json.loads, whole))


def _is_report(path: Path) -> bool:
    with open(path, encoding="utf-8") as file:
        head = file.read(2000)
    return any(mark in head for mark in REPORT_MARKS)


def _is_lock(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0
