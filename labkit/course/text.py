"""Text for a terminal: tables, and what is somebody else's made fit to be shown, as some characters are commands."""

from __future__ import annotations

import re

# Commands with an end of their own (links, titles), those of a letter (colors, moves), those of a single character.
_ESCAPES = re.compile(r"\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]?")
# All other control characters but the tab and the newline, and those that turn the direction of reading.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text without what a terminal would obey; newlines and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def text_table(head: list[str], body: list[list[str]]) -> str:
    """Columns under a ruled head; those that hold only numbers are flush right."""
    columns = list(zip(head, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(re.fullmatch(r"[\d./-]+", cell) for cell in column[1:]) for column in columns]

    def line(cells: list[str]) -> str:
        aligned = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, body)])
