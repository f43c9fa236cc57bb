"""Docstrings here are text with `code` in backticks; autodoc wants reStructuredText, where x_ or |x| mean something."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)


def as_rst(text: str) -> str:
    """The docstring with its code as code, its indented blocks as they are, and nothing else that means something."""
    return "\n\n".join(_paragraphs(text))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith(" "):
            yield "::\n\n" + "\n".join(f"  {line}" for line in paragraph.splitlines())
        else:
            is_list = paragraph.startswith("- ")
            plain = paragraph if is_list else "\n".join(line.strip() for line in paragraph.splitlines())
            yield "".join(_code(part) if i % 2 else _escaped(part) for i, part in enumerate(_CODE.split(plain)))


def _code(span: str) -> str:
    return rf"\ ``{span.strip('`')}``\ ".replace("\n", " ")  # the escaped spaces let a letter follow


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|`_])", r"\\\1", text)


def _process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    if lines[:1] and lines[0].startswith("Alias for field number"):  # what Python says of a field of a NamedTuple
        lines.clear()
    lines[:] = [*as_rst("\n".join(lines)).splitlines(), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
