"""How long a lesson takes to work through, counted from its notebook, and how much of its code is bookkeeping.

`docs/contributing.md` explains the measure to authors. Nothing is run.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.course.lessons import CourseError, Lesson, notebook_path
from labkit.course.reading import bookkeeping_lines, code_lines, exercise_minutes, words
from labkit.course.records import cell_name, first_lines
from labkit.course.source import read_notebook, read_source
from labkit.course.summary import text_table

WORDS, LINES = 220, 20  # that are read in a minute
CORE = 120  # minutes of the core at most
CELLS = 140  # of a lesson at most
TYPICAL, LONGEST = 8, 25  # lines of a code cell: their median and the longest, at most
BOOKKEEPING = 0.25  # of the code lines at most

_FURTHER = re.compile(r"^## Further\b", re.MULTILINE)
_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)  # a figure in words, for whoever does not see it


@dataclass(frozen=True)
class Part:
    """What there is to read and to do in the core of a lesson, or in what follows it."""

    text: int  # words of its Markdown cells
    told: int  # words that its code cells say in Markdown
    lines: int  # of code to be read, the exercises' stubs left out
    exercises: int  # minutes that its exercises declare

    @property
    def minutes(self) -> float:
        return (self.text + self.told) / WORDS + self.lines / LINES + self.exercises


@dataclass(frozen=True)
class Size:
    """A lesson by the measure of the course."""

    core: Part
    further: Part
    executed: bool  # False: its notebook has no outputs, so nothing is told
    cells: int
    typical: float  # lines of a code cell, the median
    longest: int
    bookkeeping: float  # share of the code lines, from 0 to 1


def measure(lesson: Lesson) -> Size:
    """The size of a lesson: of its stored notebook, or of its source if that has no outputs.

    Raises CourseError when neither can be read, a code cell is not Python, or an exercise declares no minutes.
    """
    path = notebook_path(lesson)
    cells = read_notebook(path).cells if path.exists() else []
    executed = any(cell.get("outputs") for cell in cells)
    cells, minutes = cells if executed else read_source(lesson).cells, exercise_minutes(lesson)
    try:
        return size(cells, minutes)
    except CourseError as error:
        raise CourseError(f"{lesson.name} cannot be counted: {error.message}") from error


def size(cells: Sequence[Mapping[str, Any]], minutes: Mapping[str, int]) -> Size:
    """The size of a notebook with these cells, whose exercises take these minutes; raises CourseError as `measure`."""
    code = [(i, cell["source"]) for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    written = {i: code_lines(source) for i, source in code}
    kept = sum(len(written[i] & _bookkeeping(source, i)) for i, source in code)
    lengths = [len(source.splitlines()) for _, source in code] or [0]
    core, further = _parts(cells)
    return Size(
        core=_part(core, minutes),
        further=_part(further, minutes),
        executed=any(cell.get("outputs") for cell in cells),
        cells=len(cells),
        typical=statistics.median(lengths),
        longest=max(lengths),
        bookkeeping=kept / max(sum(map(len, written.values())), 1),
    )


def stated(minutes: float) -> int:
    """Minutes as a lesson states them: rounded up to five."""
    return 5 * math.ceil(round(minutes / 5, 6))


def misstated(lesson: Lesson, counted: Size) -> list[str]:
    """A sentence for each number of lessons.toml that is not the counted one."""
    pairs = (("minutes", lesson.minutes, counted.core), ("further", lesson.further, counted.further))
    return [
        f"{lesson.name} says {name} = {said} in lessons.toml; {part.minutes:.1f} are counted, so say {right}."
        for name, said, part in pairs
        if said != (right := stated(part.minutes))
    ]


def oversize(counted: Size) -> list[str]:
    """A sentence for each measure that a lesson of the second edition would exceed."""
    limits = (
        ("The core takes {:.1f} minutes", counted.core.minutes, CORE),
        ("There are {} cells", counted.cells, CELLS),
        ("The median of the code cells is {:g} lines", counted.typical, TYPICAL),
        ("The longest code cell has {} lines", counted.longest, LONGEST),
        ("Bookkeeping is {:.1%} of the code lines", counted.bookkeeping, BOOKKEEPING),
    )
    return [
        f"{text.format(value)}: at most {f'{limit:.0%}' if limit < 1 else limit}."
        for text, value, limit in limits
        if value > limit
    ]


def minutes_table(sizes: Mapping[str, Size]) -> str:
    """A row for each lesson: its minutes, what they are made of, and its shape."""
    head = ["lesson", "core", "further", "text", "output", "code", "exercises", "cells", "bookkeeping %"]
    body = []
    for name, counted in sizes.items():
        parts = (counted.core, counted.further)
        told = f"{sum(part.told for part in parts) / WORDS:.0f}" if counted.executed else "-"
        sums = [sum(part.text for part in parts) / WORDS, sum(part.lines for part in parts) / LINES]
        text, code = (f"{number:.0f}" for number in sums)
        rest = [str(sum(part.exercises for part in parts)), str(counted.cells), f"{100 * counted.bookkeeping:.0f}"]
        body.append([name, *(f"{part.minutes:.0f}" for part in parts), text, told, code, *rest])
    return text_table(head, body)


def _parts(cells: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The cells before the heading "## Further", and those from it on; a text cell that it stands in is divided."""
    for i, cell in enumerate(cells):
        heading = _FURTHER.search(cell["source"]) if cell["cell_type"] == "markdown" else None
        if heading:
            before, after = cell["source"][: heading.start()], cell["source"][heading.start() :]
            return [*cells[:i], {**cell, "source": before}], [{**cell, "source": after}, *cells[i + 1 :]]
    return list(cells), []


def _part(cells: Sequence[Mapping[str, Any]], minutes: Mapping[str, int]) -> Part:
    text = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    stubs = [cell["source"] for cell in code if _is_stub(cell)]
    return Part(
        text=sum(map(words, text)),
        told=sum(words(_FOLDED.sub("", said)) for cell in code for said in _told(cell)),
        lines=sum(len(code_lines(cell["source"])) for cell in code if not _is_stub(cell)),
        exercises=sum(_declared(stub, minutes) for stub in stubs),
    )


def _told(cell: Mapping[str, Any]) -> Iterator[str]:
    """What a code cell says in Markdown: sentences, claims, tables; not printed text, metrics or errors."""
    for output in cell.get("outputs", []):
        said = output.get("data", {}).get("text/markdown", "")
        yield said if isinstance(said, str) else "".join(said)


def _is_stub(cell: Mapping[str, Any]) -> bool:
    return "exercise" in cell["metadata"].get("tags", [])


def _bookkeeping(source: str, position: int) -> set[int]:
    try:
        return bookkeeping_lines(source)
    except SyntaxError as error:
        raise CourseError(f"{cell_name(position, first_lines(source))} is not Python: {error.msg}.") from error


def _declared(stub: str, minutes: Mapping[str, int]) -> int:
    names = re.findall(r"^(?:def|class) (\w+)", stub, re.MULTILINE)
    known = [name for name in names if name in minutes]
    if not known:
        raise CourseError(f"the stub {first_lines(stub, 1)!r} is none of its exercises ({', '.join(minutes)}).")
    return minutes[known[0]]
