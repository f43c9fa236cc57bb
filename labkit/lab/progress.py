"""A learner's progress through the exercises: one small JSON file, which never stands in the way of a lesson.

    {"version": 1, "lessons": {"01_autoencoders": {"mask_pixels": {"latest": "not yet", "solved": true}}}}

`latest` is the outcome of the last check; `solved` stays true once a check was "correct". With LABKIT_BATCH=1 (nobody
watches) the file is neither read nor written.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labkit.lab import nobody_watches

VERSION = 1


def default_path() -> Path:
    """LABKIT_PROGRESS, or progress.json in the user's data folder."""
    if given := os.environ.get("LABKIT_PROGRESS"):
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_data_path("labkit") / "progress.json"


@dataclass(frozen=True)
class Row:
    """Where a learner stands with one exercise."""

    exercise: str
    latest: str  # outcome of the last check, "not attempted" before the first
    solved: bool  # it was correct at least once


class Progress:
    """The progress file at `path`. No method raises for what is wrong with the file; `problem` then says it."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or default_path())
        self.problem: str | None = None
        """One sentence about the last read or write, or None when all was well."""

    def note(self, lesson: str, exercise: str, outcome: str) -> str | None:
        """Store the outcome of a check; returns one sentence for the learner if something was in the way."""
        if nobody_watches():
            return None
        lessons = self._read()
        if lessons is None:
            return self.problem
        entry = lessons.setdefault(lesson, {}).setdefault(exercise, {"solved": False})
        entry.update(latest=outcome, solved=entry["solved"] or outcome == "correct")
        try:
            _write(self.path, {"version": VERSION, "lessons": lessons})
        except OSError as error:
            self.problem = (
                f"Your progress could not be written to {self.path} ({error.strerror}): the lesson goes on; "
                "set LABKIT_PROGRESS to a file that can be written."
            )
        return self.problem

    def table(self, lesson: str, exercises: Iterable[str]) -> list[Row]:
        """One row for each of `exercises`, in their order."""
        entries = {} if nobody_watches() else (self._read() or {}).get(lesson, {})
        blank = {"latest": "not attempted", "solved": False}
        return [Row(name, **(entries.get(name) or blank)) for name in exercises]

    def _read(self) -> dict[str, dict[str, dict]] | None:
        """The stored lessons: empty without a file, or after a damaged one was set aside; None if it must be left."""
        self.problem = None
        try:
            return _lessons(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.problem = f"Your progress in {self.path} cannot be read ({error.strerror}): the lesson goes on."
            return None
        except ValueError:
            return self._set_aside()

    def _set_aside(self) -> dict | None:
        aside = _free_name(self.path)
        try:
            self.path.rename(aside)
        except OSError as error:
            self.problem = (
                f"Your progress in {self.path} is damaged and cannot be moved aside ({error.strerror}): "
                "the lesson goes on."
            )
            return None
        self.problem = f"Your progress in {self.path} was damaged: it now lies in {aside.name}, and a new one begins."
        return {}


def _lessons(text: str) -> dict[str, dict[str, dict]]:
    """The lessons in the file's text. Raises ValueError unless it is what `_write` writes."""
    stored = json.loads(text)
    if not isinstance(stored, dict) or stored.get("version") != VERSION or not isinstance(stored.get("lessons"), dict):
        raise ValueError("not a progress file")
    for exercises in stored["lessons"].values():
        if not isinstance(exercises, dict):
            raise ValueError("not a progress file")
        for entry in exercises.values():
            if not isinstance(entry, dict) or set(entry) != {"latest", "solved"}:
                raise ValueError("not a progress file")
    return stored["lessons"]


def _free_name(path: Path) -> Path:
    """A name beside `path` that ends in .bad and is not taken: an earlier damaged file is kept as well."""
    number, aside = 1, path.with_name(path.name + ".bad")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{number}.bad")
    return aside


def _write(path: Path, content: dict) -> None:
    """Beside, then renamed: who reads meanwhile sees the old file or the new one, never half of it."""
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
