"""The files in ``work/``: a learner's copies are read, kept and written so that none is damaged or lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labkit.course.beside import files_beside
from labkit.course.editions import with_ids
from labkit.course.files import write_text, writing
from labkit.course.lessons import CourseError, Lesson, course_root, notebook_path


class Unreadable(CourseError):
    """A notebook of the learner's that must be left as it is; ``reason`` is a verb and what follows."""

    def __init__(self, path: Path, reason: str) -> None:
        advice = "mend it, or move it away and call `labkit update` for a new copy."
        super().__init__(f"{short(path)} {reason} and is left as it is: {advice}")
        self.reason = reason


def work_folder(root: Path | None = None) -> Path:
    """Where the copies lie, beside ``notebooks/``."""
    return (root or course_root()) / "work"


def copy_path(lesson: Lesson) -> Path:
    """The learner's copy of the lesson."""
    return work_folder(lesson.root) / f"{lesson.name}.ipynb"


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(path, f"cannot be read ({error.strerror})") from error


def parsed(path: Path, content: bytes) -> NotebookNode:
    """The notebook, each cell with an id. Raises Unreadable for what an update could damage."""
    newest = nbformat.v4.nbformat_minor
    try:
        raw = json.loads(content.decode("utf-8-sig"))
        if raw["nbformat"] != 4 or raw["nbformat_minor"] > newest:
            version = f"{raw['nbformat']}.{raw['nbformat_minor']}"
            raise Unreadable(path, f"is in notebook format {version} instead of 4.{newest}")
        raw["nbformat_minor"] = newest
        for part in (raw, *raw["cells"]):
            part.setdefault("metadata", {})  # editors leave out what they need not
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
        notebook = nbformat.v4.to_notebook_json(raw)
        with_ids(notebook.cells)
        nbformat.validate(notebook)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError) as error:
        if re.search(rb"^<{7} ", content, re.MULTILINE):
            raise Unreadable(path, "holds a merge conflict") from error
        raise Unreadable(path, "is not a readable notebook") from error
    return notebook


def keep(lesson: Lesson, name: str, content: bytes) -> Path:
    """Write what is about to be replaced into a new file in ``work/backups/``, and return its path."""
    folder, (stem, ending) = work_folder(lesson.root) / "backups", os.path.splitext(name)
    stamp = f"{stem}-{datetime.now():%Y-%m-%d-%H%M%S}"
    with writing(folder, ""):
        folder.mkdir(exist_ok=True)
        names = (f"{stamp}{number}{ending}" for number in ("", *(f"-{n}" for n in range(2, 1000))))
        backup = next(folder / name for name in names if not os.path.lexists(folder / name))
        backup.write_bytes(content)
    return backup


def write(path: Path, notebook: NotebookNode) -> None:
    write_text(path.resolve(), nbformat.writes(notebook) + "\n", otherwise="")  # resolved: a link stays a link


@contextlib.contextmanager
def claimed(lessons: Sequence[Lesson]) -> Iterator[None]:
    """Make ``work/`` and keep other updates waiting; the lock goes when this process does, however it ends."""
    from filelock import FileLock

    folder = work_folder(lessons[0].root)
    with writing(folder, ""):
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def bring_files(lesson: Lesson, edition: NotebookNode) -> None:
    """Put beside the copy what the lesson shows from beside itself, such as ``figures/NAME.svg``.

    Not links: JupyterLab serves no file outside of the folder that it was opened on.
    """
    for target, theirs in files_beside(notebook_path(lesson).parent, edition.cells).items():
        mine = work_folder(lesson.root) / target
        with writing(mine.parent, ""):
            content = theirs.read_bytes()
            if mine.exists() and mine.read_bytes() != content:
                keep(lesson, mine.name, mine.read_bytes())
                mine.unlink()
            if not mine.exists():
                mine.parent.mkdir(parents=True, exist_ok=True)
                mine.write_bytes(content)


def short(path: Path) -> str:
    """The path as seen from the course, below which all that is told of lies."""
    return "/".join(path.parts[-3 if path.parent.name == "backups" else -2 :])
