"""What a lesson shows from beside itself, such as ``figures/LESSON/NAME.svg``, and goes wherever the lesson goes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.course.files import write_bytes, writing
from labkit.course.lessons import Lesson, notebook_path
from labkit.course.records import read_cells

# Where a Markdown cell refers to a file beside the lesson: not to a place within it, above it, or on the network.
_BESIDE = re.compile(r"""(?:\]\(|\b(?:src|href)=["'])(?![a-z]+:|[/#]|\.\.)([^)"'#?\s]+)""")


def files_beside(folder: Path, cells: Iterable[Mapping[str, Any]]) -> dict[str, Path]:
    """{path relative to the notebook: file} of what its Markdown refers to below its `folder`, notebooks left out."""
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = {target: folder / target for target in sorted(set(_BESIDE.findall(text)))}
    return {
        target: file
        for target, file in found.items()
        if not target.endswith(".ipynb") and ".." not in file.parts and file.is_file()
    }


def shown_by(lessons: Sequence[Lesson]) -> dict[str, Path]:
    """`files_beside` of stored notebooks, all together. Raises RecordError for one that cannot be read."""
    found: dict[str, Path] = {}
    for lesson in lessons:
        path = notebook_path(lesson)
        found |= files_beside(path.parent, read_cells(path)) if path.exists() else {}
    return found


def put_beside(files: Mapping[str, Path], folder: Path) -> None:
    """Copy the files to the same places below `folder`; what is the same already stays untouched."""
    for target, file in files.items():
        copy = folder / target
        with writing(copy.parent):
            content = file.read_bytes()
            if not copy.is_file() or copy.read_bytes() != content:
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(copy, content)
