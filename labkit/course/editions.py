"""An edition of a lesson, and the note of it that a learner's copy keeps in its metadata.

The note lies in one file with what the learner wrote, so that the two cannot fall apart. Where it is gone, ids still
tell: in a built lesson they are hashes of the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from copy import deepcopy

from nbformat import NotebookNode

from labkit.course.lessons import CourseError, Lesson, notebook_path, source_path
from labkit.course.matching import tags_of, text_of
from labkit.course.source import cell_id, read_notebook, read_source

NOTE = "labkit"  # the key of the note in the metadata of a copy
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


def edition_of(lesson: Lesson) -> NotebookNode:
    """The lesson as it is now, without outputs: from its source, which nobody works in, else as built."""
    if source_path(lesson).exists():
        return read_source(lesson)
    if not notebook_path(lesson).exists():
        raise CourseError(f"{lesson.name} has no notebook yet: make it with `labkit build {lesson.name}`.")
    edition = without_outputs(read_notebook(notebook_path(lesson)))
    edition.nbformat_minor = max(5, edition.nbformat_minor)
    with_ids(edition.cells)
    return edition


def fresh(edition: NotebookNode) -> NotebookNode:
    """What a learner begins with: the lesson without outputs, and a note of what it was made from."""
    copy = without_outputs(edition)
    copy.metadata[NOTE] = {"edition": [_noted(cell) for cell in copy.cells]}
    return copy


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook as if nothing in it had ever run."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def is_of(copy: NotebookNode, edition: NotebookNode) -> bool:
    """Whether the copy was made from, or brought up to, this edition."""
    base = base_of(copy)
    return base is not None and [*map(_said, base)] == [*map(_said, edition.cells)]


def base_of(copy: NotebookNode) -> list[NotebookNode] | None:
    """The edition that the copy was made from, as its metadata note it; None if they do not, or no longer."""
    try:
        cells = [_noted(NotebookNode(cell)) for cell in copy.metadata[NOTE]["edition"]]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    well_formed = all(isinstance(cell.source, str) and isinstance(cell.cell_type, str) for cell in cells)
    return cells if cells and well_formed else None


def as_built(cell: NotebookNode) -> bool:
    """Whether the cell is as some edition had it: its id is the hash of its text."""
    return cell.get("id") in {cell_id(cell, time) for time in range(1, 10)}


def with_ids(cells: Iterable[NotebookNode], taken: Iterable[str] = ()) -> None:
    """Give an id to each cell that has none, an unusable one, one that is ``taken``, or that of a cell before it.

    The same cells get the same ids, and never those of a built lesson.
    """
    taken = set(taken)
    for cell in cells:
        number = 0
        while not _ID.fullmatch(cell.get("id") or "") or cell.id in taken:
            number += 1
            cell.id = hashlib.sha256(f"own\n{cell.cell_type}\n{cell.source}\n{number}".encode()).hexdigest()[:12]
        taken.add(cell.id)


def _noted(cell: NotebookNode) -> NotebookNode:
    """What a copy keeps of a cell of its edition."""
    metadata = NotebookNode(tags=tags_of(cell))
    return NotebookNode(id=cell.id, cell_type=cell.cell_type, metadata=metadata, source=cell.source)


def _said(cell: NotebookNode) -> tuple[tuple[str, str], list[str]]:
    return text_of(cell), tags_of(cell)
