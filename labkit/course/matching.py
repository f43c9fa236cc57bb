"""Which cell of one notebook is which of another: another edition of the lesson, or a learner's copy of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher

from nbformat import NotebookNode

ALIKE = 0.6  # share of words in common from which a cell is taken for a changed version of another
_DEFINED = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)", re.MULTILINE)  # learners' code need not parse

Pairs = dict[int, int]
"""{place of a cell in one notebook: its place in another}; each place at most once."""


def text_of(cell: NotebookNode) -> tuple[str, str]:
    """What two cells have in common if they say the same; editors differ in what they put at the ends of lines."""
    return cell.cell_type, "\n".join(line.rstrip() for line in cell.source.strip().splitlines())


def tags_of(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def defines(cell: NotebookNode, name: str) -> bool:
    """Whether the cell is code that defines ``name`` at its top level."""
    return cell.cell_type == "code" and name in _DEFINED.findall(cell.source)


def exercise_name(cell: NotebookNode) -> str | None:
    """The exercise of a cell tagged `exercise`: the first name that it defines. None for any other cell."""
    found = _DEFINED.search(cell.source) if "exercise" in tags_of(cell) and cell.cell_type == "code" else None
    return found[1] if found else None


def match(one: Sequence[NotebookNode], other: Sequence[NotebookNode]) -> Pairs:
    """The cells that ``one`` and ``other`` have in common, changed or not, moved or not.

    An exercise of ``other`` is found by the name that it defines. Any other cell is found by its text, then by its id,
    and at last by what it resembles among the cells between the same neighbors.
    """
    pairs: Pairs = {}
    _pair_equal(pairs, one, other, lambda cell: (cell.get("id"), text_of(cell)))
    _pair_exercises(pairs, one, other)
    _pair_equal(pairs, one, other, text_of)
    _pair_equal(pairs, one, other, lambda cell: cell.get("id"))
    _pair_alike(pairs, one, other)
    return pairs


def _pair_equal(
    pairs: Pairs,
    one: Sequence[NotebookNode],
    other: Sequence[NotebookNode],
    key: Callable[[NotebookNode], Hashable | None],
) -> None:
    """Pair, in their order, the cells that have the same key."""
    waiting = defaultdict(list)
    for i in _unpaired(one, pairs):
        waiting[key(one[i])].append(i)
    for j in _unpaired(other, pairs.values()):
        if (wanted := key(other[j])) is not None and waiting[wanted]:
            pairs[waiting[wanted].pop(0)] = j


def _pair_exercises(pairs: Pairs, one: Sequence[NotebookNode], other: Sequence[NotebookNode]) -> None:
    """Pair each exercise with the cell that defines it: rather the one with its id, or one that is tagged, too."""
    for j in _unpaired(other, pairs.values()):
        if name := exercise_name(other[j]):
            found = [i for i in _unpaired(one, pairs) if defines(one[i], name)]
            if found:
                rank = {i: (one[i].get("id") == other[j].get("id"), "exercise" in tags_of(one[i])) for i in found}
                pairs[max(found, key=rank.get)] = j


def _pair_alike(pairs: Pairs, one: Sequence[NotebookNode], other: Sequence[NotebookNode]) -> None:
    """Pair what is left where it lies between the same neighbors and has most of its words in common."""
    there = {j: i for i, j in pairs.items()}
    before = -1
    for j, cell in enumerate(other):
        if j not in there:
            after = next((there[k] for k in range(j + 1, len(other)) if k in there), len(one))
            free = [i for i in range(before + 1, after) if i not in pairs and one[i].cell_type == cell.cell_type]
            likeness = {i: _likeness(one[i], cell) for i in free}
            best = max(free, key=likeness.get, default=None)
            if best is not None and likeness[best] >= ALIKE:
                pairs[best], there[j] = j, best
        before = there.get(j, before)


def _likeness(one: NotebookNode, other: NotebookNode) -> float:
    a, b = (re.findall(r"\w+", cell.source) for cell in (one, other))
    return SequenceMatcher(None, a, b, autojunk=False).ratio() if a and b else 0.0


def _unpaired(cells: Sequence[NotebookNode], paired: object) -> Iterator[int]:
    taken = set(paired)
    return (i for i in range(len(cells)) if i not in taken)
