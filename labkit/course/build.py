"""From a lesson's source to the notebook that a learner opens: executed, with its outputs, the same bytes each time."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labkit import RECORD_MIME
from labkit.course.evidence import problems
from labkit.course.files import write_text, writing
from labkit.course.job import run_job
from labkit.course.kernel import has_home, scratch_folder
from labkit.course.lessons import CourseError, Lesson, course_root, notebook_path
from labkit.course.plan import Job
from labkit.course.records import cell_name, first_lines
from labkit.course.source import own_cells, read_notebook, read_source

_LIVE_WIDGET = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


class BuildError(CourseError):
    """The lesson itself is not fit to be stored; one sentence that names the cell."""

    exit_code = 1


def build(lesson: Lesson, execute: bool = True, timeout: float | None = None, force: bool = False) -> Path:
    """Build the lesson's notebook from its source, and return its path.

    It is executed at the defaults of its parameters cell, within ``timeout`` seconds; with ``execute=False`` the stored
    outputs stay if no code cell has changed, and go otherwise. The old notebook is replaced only by a whole new one. If
    somebody has written in the old one, that needs ``force``, and a copy of it is kept beside it.

    Raises BuildError, which leaves the old notebook as it was, when a cell fails, an output says something that is true
    on this machine only, or a metric is recorded twice; CourseError when the source cannot be read or the notebook
    cannot be written, or would be lost with what somebody has written in it.
    """
    notebook, path = read_source(lesson), notebook_path(lesson)
    lost = _what_is_lost(lesson, notebook)
    if lost and not force:
        raise CourseError(
            f"{lost}: keep what is yours in work/, where `labkit update {lesson.number}` makes your own copy, "
            "or replace it with --force, which leaves a copy beside it."
        )
    if execute:
        _take_outputs(notebook, _executed(lesson, notebook, timeout))
        _refuse_private(lesson, notebook)
        _refuse_repeated(lesson, notebook)
        _refuse_undecidable(lesson, notebook)
    elif path.exists() and not lost:
        stored = read_notebook(path)
        if [cell.source for cell in _code(stored)] == [cell.source for cell in _code(notebook)]:
            _take_outputs(notebook, stored)
    nbformat.validate(notebook)
    if _what_is_lost(lesson, notebook):  # asked again, as somebody may have written while the lesson ran
        _keep_copy(path)
    write_text(path, nbformat.writes(notebook) + "\n")
    return path


def _what_is_lost(lesson: Lesson, notebook: NotebookNode) -> str | None:
    """What would be lost if ``notebook`` replaced the stored one, as the beginning of a sentence; None if nothing."""
    path = notebook_path(lesson)
    try:
        cells = own_cells(lesson, notebook)
    except CourseError as error:
        return error.message.rpartition(": ")[0]
    if not cells:
        return None
    more = f", and {len(cells) - 1} more" if len(cells) > 1 else ""
    return f"{path} has something that is not from the lesson's source ({cells[0]}{more})"


def _keep_copy(path: Path) -> None:
    """Copy the notebook to NAME.ipynb.bak, or .2.bak and so on: an earlier copy is kept as well."""
    copy, number = path.with_name(f"{path.name}.bak"), 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.{number}.bak")
    with writing(path.parent):
        shutil.copyfile(path, copy)


def _executed(lesson: Lesson, notebook: NotebookNode, timeout: float | None) -> NotebookNode:
    """The notebook after a run in a process and a folder of its own, with nothing injected."""
    with scratch_folder("labkit-build-") as scratch:
        source, executed = scratch / f"{lesson.name}.ipynb", scratch / "executed" / f"{lesson.name}.ipynb"
        executed.parent.mkdir()
        nbformat.write(notebook, source)
        run = run_job(Job(lesson.name, "quick", 0, source, executed, {}, timeout))
        if run["status"] != "passed":
            raise BuildError(f"{lesson.name} was not built, and its notebook is as before: {run['error']['message']}.")
        return read_notebook(executed)


def _take_outputs(notebook: NotebookNode, executed: NotebookNode) -> None:
    """Give each code cell of ``notebook`` the outputs of the same cell in ``executed``, and nothing else of it."""
    for cell, ran in zip(_code(notebook), _code(executed), strict=True):
        cell.execution_count = ran.execution_count
        cell.outputs = _stable(ran.outputs)
        if alt := " ".join(filter(None, (_alt(output) for output in ran.outputs))):
            # The one place where myst-nb looks for it.
            mystnb = cell.metadata.get("mystnb", {})
            cell.metadata["mystnb"] = {**mystnb, "image": {**mystnb.get("image", {}), "alt": alt}}


def _stable(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs without what differs from run to run: how text was cut into pieces, and live widgets.

    A widget shows nothing once its kernel is gone; the lesson has a static figure beside it.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if _LIVE_WIDGET in output.get("data", {}):
            continue
        same_stream = output.output_type == "stream" and kept and kept[-1].get("name") == output.name
        if same_stream:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def _refuse_private(lesson: Lesson, notebook: NotebookNode) -> None:
    """Raise BuildError when an output names a folder of this machine or an address in its memory."""
    places = {lesson.root or course_root(), Path(sys.prefix), Path(tempfile.gettempdir())}
    if has_home():
        places.add(Path.home())
    paths = {str(form) for place in places for form in (place, place.resolve()) if form != Path(form.anchor)}
    private = re.compile(rf"(?<![\w.~-])(?:{'|'.join(map(re.escape, sorted(paths)))})(?![\w-])")
    for position, cell in enumerate(notebook.cells):
        for text in _texts(cell.get("outputs", [])):
            if found := private.search(text) or _ADDRESS.search(text):
                line = text[found.start() :].splitlines()[0]
                raise BuildError(
                    f"{lesson.name} was not built, and its notebook is as before: {_name(position, cell)} shows "
                    f"{line[:80]!r}, which is true on this machine only."
                )


def _refuse_repeated(lesson: Lesson, notebook: NotebookNode) -> None:
    """Raise BuildError when a metric is recorded twice: of the two values only the later one would be kept."""
    seen: set[str] = set()
    for position, cell in enumerate(notebook.cells):
        for record in _records(cell) if cell.cell_type == "code" else ():
            if record["kind"] == "metric" and record["name"] in seen:
                raise BuildError(
                    f"{lesson.name} was not built, and its notebook is as before: {_name(position, cell)} records the "
                    f"metric {record['name']!r} a second time, and each needs a name of its own."
                )
            if record["kind"] == "metric":
                seen.add(record["name"])


def _refuse_undecidable(lesson: Lesson, notebook: NotebookNode) -> None:
    """Raise BuildError when a claim is declared and not shown, or shown and not declared, or lacks a metric."""
    recorded = {r["name"]: r for cell in _code(notebook) for r in _records(cell) if r["kind"] == "metric"}
    if found := problems(lesson, recorded):
        raise BuildError(f"{lesson.name} was not built, and its notebook is as before: {found[0]}")


def _texts(value: Any) -> Iterator[str]:
    """Every text in the outputs, at any depth, but for the bytes of images."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not (key.startswith("image/") and isinstance(item, str) and key != "image/svg+xml"):
                yield from _texts(item)


def _records(cell: NotebookNode) -> list[NotebookNode]:
    return [output.data[RECORD_MIME] for output in cell.outputs if RECORD_MIME in output.get("data", {})]


def _alt(output: NotebookNode) -> str:
    """What is said in place of a picture, be it of this run or stored; "" for what is none."""
    of_this_run = output.get("data", {}).get(RECORD_MIME, {})
    stored = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    return of_this_run["alt"] if of_this_run.get("kind") == "figure" else stored


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _name(position: int, cell: NotebookNode) -> str:
    return cell_name(position, first_lines(cell.source))
