"""Bring a learner's copy of a lesson up to a new edition: a merge of three notebooks, cell by cell.

The three are the edition that the copy was made from, the copy as the learner left it, and the new edition. Nothing of
the learner's is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_raw_cell

from labkit.course.editions import NOTE, as_built, base_of, fresh, with_ids
from labkit.course.matching import defines, exercise_name, match, tags_of, text_of

KEPT = "## Kept from your earlier copy"
_HEADING = (
    f"{KEPT}\n\nThe lesson no longer has a place for the cells below. Code is kept as raw text, which does not run: to "
    "run a cell all the same, select it and press `Y`."
)
_MARK = (
    "**Kept from your earlier copy.** You had changed the cell above, and the new edition changes it, too. The new one "
    "stands; yours follows, as raw text if it is code: it does not run unless you select it and press `Y`."
)


@dataclass
class Merged:
    """A copy at the new edition, and how much of it is the learner's."""

    notebook: NotebookNode
    answers: list[str] = field(default_factory=list)  # exercises whose cell is the learner's
    own: int = 0  # cells that no edition had
    edited: int = 0  # other cells of the lesson that stand as the learner changed them
    beside: int = 0  # the learner's versions of cells that the new edition changes, too
    unplaced: int = 0  # cells of the learner's at the end, the lesson having no place for them

    @property
    def learner(self) -> bool:
        """Whether anything in it is the learner's."""
        return bool(self.answers or self.own or self.edited or self.beside or self.unplaced)


def merge(copy: NotebookNode, edition: NotebookNode) -> Merged:
    """The learner's ``copy`` brought up to ``edition``; neither is changed.

    The order is the edition's. A cell of the lesson that the learner changed stays if the edition has not changed it,
    and an answer stays in any case. Where both have, the edition's stands and the learner's follows, marked. The
    learner's own cells stay behind the cell that they followed, or the nearest one before it that is still there. What
    has no place any more comes last, under a heading.
    """
    copy, new = deepcopy(copy), edition.cells
    was, place, gone = _trace(copy.cells, base_of(copy), new)
    merged, here = Merged(fresh(edition)), dict.fromkeys(gone)
    below: dict[int, list[NotebookNode]] = {n: [] for n in range(-1, len(new))}
    last: list[NotebookNode] = []  # the cells from the heading on
    unplaced: list[NotebookNode] = []
    above = -1
    for i, cell in enumerate(copy.cells):
        if i not in was:
            last += [cell] if last or cell.source.startswith(KEPT) else []
            below[above] += [] if last else [cell]
            merged.own += not _is_mark(cell)
        elif i in place:
            above = place[i]
            here[above], version = _settle(cell, was[i], new[above], merged)
            below[above] += version
        elif _changed(cell, was[i]):
            unplaced.append(cell)
    if unplaced:
        last = [*(last or [_marking(_HEADING)]), *map(_inert, unplaced)]
        merged.unplaced = len(unplaced)
    for n, cell in enumerate(new):
        here.setdefault(n, deepcopy(cell))
    with_ids([*chain(*below.values()), *last], taken=[cell.id for cell in new])
    lesson = chain.from_iterable([here[n], *below[n]] for n in range(len(new)))
    merged.notebook.cells = [*below[-1], *(cell for cell in lesson if cell is not None), *last]
    merged.notebook.metadata = NotebookNode({**copy.metadata, NOTE: merged.notebook.metadata[NOTE]})
    return merged


def _trace(
    mine: Sequence[NotebookNode], base: Sequence[NotebookNode] | None, new: Sequence[NotebookNode]
) -> tuple[dict[int, NotebookNode | None], dict[int, int], set[int]]:
    """Where the copy's cells come from and go to, the cells being named by their places.

    Returns {cell of the copy: the cell of the lesson that it was, None if only that it was one is known}, without the
    learner's own cells; {cell of the copy: cell of the edition}; and the cells of the edition that the learner removed.
    """
    if base is None:
        return *_guess(mine, new), set()
    source, goes = match(mine, base), match(base, new)
    goes = {b: n for b, n in goes.items() if exercise_name(base[b]) == exercise_name(new[n])}
    was = {i: base[b] for i, b in source.items()}
    place = {i: goes[b] for i, b in source.items() if b in goes}
    removed = goes.keys() - source.values()
    return was, place, {goes[b] for b in removed if not _changed(new[goes[b]], base[b])}


def _guess(
    mine: Sequence[NotebookNode], new: Sequence[NotebookNode]
) -> tuple[dict[int, NotebookNode | None], dict[int, int]]:
    """The first two of _trace for a copy that has lost the note of its edition."""
    place = match(mine, new)
    was: dict[int, NotebookNode | None] = {}
    for i, cell in enumerate(mine):
        there = new[place[i]] if i in place else None
        if there is not None and (not _changed(cell, there) or (cell.get("id") == there.id and as_built(there))):
            was[i] = there
        elif as_built(cell):
            was[i] = cell
        elif there is not None:
            was[i] = None
    return was, place


def _settle(
    cell: NotebookNode, was: NotebookNode | None, new: NotebookNode, merged: Merged
) -> tuple[NotebookNode, list[NotebookNode]]:
    """The cell that stands for ``new`` in the copy, and what of the learner's is kept below it."""
    name = exercise_name(new)
    standing, kept = deepcopy(new), []
    if not _changed(cell, new):
        standing = cell
    elif not _changed(cell, was):
        pass
    elif name is not None and defines(cell, name):
        standing = cell
        merged.answers.append(name)
    elif was is not None and not _changed(new, was):
        standing = cell
        merged.edited += 1
    else:
        kept = [_marking(_MARK), _inert(cell)]
        merged.beside += 1
    of_lesson = set(tags_of(was or new)) | set(tags_of(new))
    tags = tags_of(new) + [tag for tag in tags_of(cell) if tag not in of_lesson]
    standing.id = new.id
    if tags != tags_of(standing):
        standing.metadata["tags"] = tags
    return standing, kept


def _inert(cell: NotebookNode) -> NotebookNode:
    """The learner's cell as it was, but that it does not run: code from another edition could break this one."""
    if cell.cell_type == "code":
        cell = new_raw_cell(cell.source)
    cell.pop("id", None)
    return cell


def _marking(text: str) -> NotebookNode:
    cell = new_markdown_cell(text)
    del cell["id"]  # it gets one like every other cell
    return cell


def _is_mark(cell: NotebookNode) -> bool:
    return cell.source in (_HEADING, _MARK)


def _changed(cell: NotebookNode, was: NotebookNode | None) -> bool:
    return was is None or text_of(cell) != text_of(was)
