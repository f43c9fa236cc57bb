"""The text that an author edits as a notebook without outputs, and whether the stored notebook still says the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from labkit.course.lessons import CourseError, Lesson, notebook_path, source_path
from labkit.course.records import cell_name, first_lines

# The same for every lesson, whatever the author's environment is: no versions, nothing that changes by itself.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}


def read_source(lesson: Lesson) -> NotebookNode:
    """The lesson's py:percent source as a notebook without outputs; the same text gives the same notebook.

    A cell's id is a hash of its type, its text and how often the same has come before, so an edit changes one id only.
    Raises CourseError when the source is missing or holds no cells.
    """
    path = source_path(lesson)
    notebook = jupytext.reads(_read_text(path), fmt="py:percent")
    if not notebook.cells:
        raise CourseError(f"{path} holds no cells: begin each one with `# %%` or `# %% [markdown]`.")
    seen: Counter[tuple[str, str]] = Counter()
    for cell in notebook.cells:
        seen[cell.cell_type, cell.source] += 1
        cell.id = cell_id(cell, seen[cell.cell_type, cell.source])
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on blank lines in the text
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def cell_id(cell: NotebookNode, time: int) -> str:
    """The id of a cell whose type and text come for the ``time``-th time in a lesson, from 1."""
    return hashlib.sha256(f"{cell.cell_type}\n{cell.source}\n{time}".encode()).hexdigest()[:12]


def drift(lesson: Lesson) -> list[str]:
    """What the stored notebook says otherwise than its source: one sentence a cell (type, text, tags, order).

    Empty when the two agree. Raises CourseError when one of the two cannot be read.
    """
    path = notebook_path(lesson)
    source = read_source(lesson).cells
    if not path.exists():
        return [f"{path.name} is missing: build it with `labkit build {lesson.name}`."]
    return list(_differences(source, read_notebook(path).cells))


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at ``path``. Raises CourseError when it cannot be read or is no notebook."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(f"{path} is not a readable notebook ({reason}): build it with `labkit build`.") from error
    return notebook


def _differences(source: Sequence[NotebookNode], stored: Sequence[NotebookNode]) -> Iterator[str]:
    """One sentence for each cell that differs, in the order of the notebook."""
    blocks = SequenceMatcher(a=[*map(_key, source)], b=[*map(_key, stored)], autojunk=False).get_opcodes()
    moved = _moved(source, stored, blocks)
    for kind, a0, a1, b0, b1 in blocks:
        for i in sorted(moved.keys() & set(range(a0, a1))):
            yield f"{_name(source[i], i)} is cell {moved[i]} of the notebook: the order differs."
        here = [i for i in range(a0, a1) if i not in moved]
        there = [j for j in range(b0, b1) if j not in moved.values()]
        for i, j in zip_longest(here, there):
            if j is None:
                yield f"{_name(source[i], i)} is missing from the notebook."
            elif i is None:
                yield f"{_name(stored[j], j)} of the notebook is not in the source."
            elif kind != "equal" or _tags(source[i]) != _tags(stored[j]):
                yield f"{_name(source[i], i)} {_difference(source[i], stored[j])}."


def _moved(source: Sequence[NotebookNode], stored: Sequence[NotebookNode], blocks: Sequence[tuple]) -> dict[int, int]:
    """{place in the source: place in the notebook} of the cells that are in both, but not in the same order."""
    elsewhere: dict[tuple[str, str], list[int]] = {}
    for kind, _, _, b0, b1 in blocks:
        for j in range(b0, b1) if kind != "equal" else ():
            elsewhere.setdefault(_key(stored[j]), []).append(j)
    changed = [i for kind, a0, a1, _, _ in blocks if kind != "equal" for i in range(a0, a1)]
    return {i: elsewhere[_key(source[i])].pop(0) for i in changed if elsewhere.get(_key(source[i]))}


def _difference(expected: NotebookNode, stored: NotebookNode) -> str:
    """How two cells differ, as the end of a sentence about ``expected``."""
    if expected.cell_type != stored.cell_type:
        return f"is a {stored.cell_type} cell in the notebook"
    if expected.source == stored.source:
        return f"has the tags {_tags(expected)}, and {_tags(stored)} in the notebook"
    pairs = zip_longest(expected.source.split("\n"), stored.source.split("\n"))
    line, (ours, theirs) = next((n, pair) for n, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
    return f"differs in line {line}: {_quoted(ours)} in the source, {_quoted(theirs)} in the notebook"


def _key(cell: NotebookNode) -> tuple[str, str]:
    return cell.cell_type, cell.source


def _tags(cell: NotebookNode) -> list[str]:
    return sorted(cell.metadata.get("tags", []))


def _name(cell: NotebookNode, index: int) -> str:
    return f"{cell.cell_type} {cell_name(index, first_lines(cell.source))}"


def _quoted(line: str | None) -> str:
    return "nothing" if line is None else repr(line)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(f"Cannot read the lesson's source {path}: {error.strerror}.") from error
