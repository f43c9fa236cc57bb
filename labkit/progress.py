"""A learner's progress through the course: one small JSON file, which never stands in the way of a lesson.

    {"version": 2, "lessons": {"01_autoencoders": {"seconds": 1260.0, "last": 1764384000.0,
        "exercises": {"mask_pixels": {"latest": "not yet", "solved": true, "attempts": 4, "hints": 1,
            "solution": false, "level": "core"}},
        "predictions": {"who-wins": {"guess": "the AE", "value": "the VAE", "right": false}}}}}

`latest` is the outcome of the last check; `solved` stays true once one was "correct". A prediction whose `guess` is
null was measured before there was one, and a guess with a `value` whose `right` is null came too late to count.
`seconds` adds up the time between two events, checks or hints or guesses, that are at most IDLE apart. With
LABKIT_BATCH (nobody watches) the file is neither read nor written. Lessons and `labkit progress` read it here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from labkit.lab import nobody_watches

VERSION = 2
IDLE = 600.0  # seconds after which the learner is taken to have done something else
PATIENCE = 5.0  # seconds to wait for another kernel that writes
BLANK = {"latest": "not attempted", "solved": False, "attempts": 0, "hints": 0, "solution": False, "level": "core"}

Lessons = dict[str, dict[str, Any]]


def default_path() -> Path:
    """LABKIT_PROGRESS, or progress.json in the user's data folder; in the folder for temporary files without a home."""
    if given := os.environ.get("LABKIT_PROGRESS"):
        return Path(given).expanduser()
    import platformdirs

    try:
        return platformdirs.user_data_path("labkit") / "progress.json"
    except RuntimeError:  # neither HOME nor an entry for the user
        return Path(tempfile.gettempdir()) / "labkit" / "progress.json"


@dataclass(frozen=True)
class Row:
    """Where a learner stands with one exercise."""

    exercise: str
    latest: str = "not attempted"  # outcome of the last check
    solved: bool = False  # it was correct at least once
    attempts: int = 0  # checks of something other than the stub, or than an answer that was right at the last check
    hints: int = 0  # the most explicit hint that was asked for, 0 to 3
    solution: bool = False  # it was looked at
    level: str = "core"

    @property
    def broken(self) -> bool:
        """It was solved, and what was checked last is not right; a stub, as after a reset, is nothing broken."""
        return self.solved and self.latest == "not yet"

    @property
    def state(self) -> str:
        """In words, for a table."""
        if self.solved:
            return {"correct": "solved", "not yet": "broken again"}.get(self.latest, "solved before")
        return self.latest


@dataclass(frozen=True)
class Guess:
    """A prediction: what the learner said and, once it was measured, what came out."""

    guess: str | float | None  # None: it was measured first
    value: str | float | None = None
    right: bool | None = None  # None: not measured yet, or too late to count

    @property
    def late(self) -> bool:
        """Whether what came out was on the screen before the guess."""
        return self.guess is not None and self.value is not None and self.right is None


@dataclass(frozen=True)
class Standing:
    """Where a learner stands in one lesson."""

    rows: list[Row]
    guesses: dict[str, Guess] = field(default_factory=dict)
    minutes: float = 0.0  # active ones

    @property
    def predicted(self) -> str:
        """How the predictions came out, in a sentence; empty if there are none."""
        made = [guess for guess in self.guesses.values() if guess.guess is not None]
        right = [guess.right for guess in made if guess.right is not None]
        late, waiting = sum(guess.late for guess in made), sum(guess.value is None for guess in made)
        more = f"; {waiting} not measured yet" * bool(waiting) + f"; {late} too late to count" * bool(late)
        return f"Predictions: {sum(right)} of {len(right)} right{more}." if made else ""


class Progress:
    """The progress file at `path`. No method raises for what is wrong with the file; `problem` then says it."""

    def __init__(self, path: Path | str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path or default_path())
        self.problem: str | None = None
        """One sentence about the last read or write, or None when all was well."""
        self._clock = clock

    # ---- notes: each returns one sentence for the learner if something was in the way -------------------------------

    def note(self, lesson: str, exercise: str, outcome: str, level: str = "core") -> str | None:
        """Store the outcome of a check."""

        def change(entry: dict) -> None:
            still_right = outcome == entry["latest"] == "correct"  # as when the whole notebook is run again
            entry["attempts"] += outcome != "not attempted" and not still_right
            entry.update(latest=outcome, solved=entry["solved"] or outcome == "correct", level=level)

        return self._change_exercise(lesson, exercise, change)

    def note_hint(self, lesson: str, exercise: str, number: int) -> str | None:
        """Store that the hint of this number, from 1, was shown."""
        return self._change_exercise(lesson, exercise, lambda entry: entry.update(hints=max(entry["hints"], number)))

    def note_solution(self, lesson: str, exercise: str) -> str | None:
        """Store that the solution was shown."""
        return self._change_exercise(lesson, exercise, lambda entry: entry.update(solution=True))

    def note_guess(self, lesson: str, name: str, guess: str | float, *, anew: bool = False) -> str | None:
        """Store a prediction. One that has been set beside what came out stays; without one, this comes too late.

        `anew`: forget what is stored, for it belongs to another question.
        """

        def change(stored: dict) -> None:
            known = {} if anew else stored["predictions"].get(name, {})
            if known.get("right") is None:
                stored["predictions"][name] = {"guess": guess, "value": known.get("value"), "right": None}

        return self._change(lesson, change)

    def note_measured(self, lesson: str, name: str, value: str | float, right: bool | None) -> str | None:
        """Store what came out, and whether the stored guess was right: None if there is none for this question."""

        def change(stored: dict) -> None:
            known = stored["predictions"].get(name)
            if known is None or right is None:
                stored["predictions"][name] = {"guess": None, "value": value, "right": None}
            else:
                known.update(value=value, right=None if Guess(**known).late else right)

        return self._change(lesson, change)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def standing(self, lesson: str, exercises: Iterable[str]) -> Standing:
        """Where the learner stands in a lesson: one row for each of `exercises`, in their order."""
        stored = {} if nobody_watches() else (self._read() or {}).get(lesson, {})
        known = stored.get("exercises", {})
        guesses = {name: Guess(**entry) for name, entry in stored.get("predictions", {}).items()}
        return Standing(
            [Row(name, **known.get(name, {})) for name in exercises], guesses, stored.get("seconds", 0) / 60
        )

    # ---- the file ---------------------------------------------------------------------------------------------------

    def _change_exercise(self, lesson: str, exercise: str, change: Callable[[dict], object]) -> str | None:
        return self._change(lesson, lambda stored: change(stored["exercises"].setdefault(exercise, dict(BLANK))))

    def _change(self, lesson: str, change: Callable[[dict], object]) -> str | None:
        """Read, change, write, while no other kernel does."""
        if nobody_watches():
            return None
        try:
            path = self.path.resolve()  # a link stays a link
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{path}.lock", timeout=PATIENCE):
                lessons = self._read()
                if lessons is None:
                    return self.problem
                stored = lessons.setdefault(lesson, {"seconds": 0.0, "last": None, "exercises": {}, "predictions": {}})
                self._tick(stored)
                change(stored)
                _write(path, {"version": VERSION, "lessons": lessons})
        except filelock.Timeout:
            self.problem = f"Your progress in {self.path} is being written by another kernel: this was not noted."
        except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            reason = getattr(error, "strerror", None) or error
            self.problem = (
                f"Your progress could not be written to {self.path} ({reason}): the lesson goes on; "
                "set LABKIT_PROGRESS to a file that can be written."
            )
        return self.problem

    def _tick(self, stored: dict) -> None:
        """Count the time since the last event, if the learner has been at it."""
        now = self._clock()
        if stored["last"] is not None and 0 <= now - stored["last"] <= IDLE:
            stored["seconds"] = round(stored["seconds"] + now - stored["last"], 1)
        stored["last"] = round(now, 1)

    def _read(self) -> Lessons | None:
        """The stored lessons: empty without a file, or after a damaged one was set aside; None if it must be left."""
        self.problem = None
        try:
            if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
                self.problem = f"Your progress in {self.path} cannot be read (it is no file): the lesson goes on."
                return None
            return _lessons(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.problem = f"Your progress in {self.path} cannot be read ({error.strerror}): the lesson goes on."
            return None
        except _Newer as error:
            self.problem = f"Your progress in {self.path} was written by a newer edition ({error}): nothing is noted."
            return None
        except (ValueError, RecursionError):
            return self._set_aside()

    def _set_aside(self) -> Lessons | None:
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


class _Newer(Exception):
    """The file is of a version that only a newer edition knows."""


def _lessons(text: str) -> Lessons:
    """The lessons in the file's text. Raises _Newer, or ValueError unless it is what `_write` writes."""
    stored = json.loads(text)
    version = stored.get("version") if isinstance(stored, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise _Newer(f"version {version}")
    lessons = stored.get("lessons") if version in (1, VERSION) else None
    if not isinstance(lessons, dict) or not all(isinstance(lesson, dict) for lesson in lessons.values()):
        raise ValueError("not a progress file")
    if version == 1:
        lessons = {name: _of_version_1(exercises) for name, exercises in lessons.items()}
    for lesson in lessons.values():
        _check(lesson)
    return lessons


def _of_version_1(exercises: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept `latest` and `solved` of each exercise."""
    if not all(isinstance(entry, dict) and set(entry) == {"latest", "solved"} for entry in exercises.values()):
        raise ValueError("not a progress file")
    tried = {name: int(entry["latest"] != "not attempted") for name, entry in exercises.items()}
    return {
        "seconds": 0.0,
        "last": None,
        "exercises": {name: {**BLANK, **entry, "attempts": tried[name]} for name, entry in exercises.items()},
        "predictions": {},
    }


def _check(lesson: dict[str, Any]) -> None:
    """Raise ValueError unless a lesson holds what `_write` writes, of the right types."""
    said, exercises = lesson.get("predictions"), lesson.get("exercises")
    clocks = [lesson.get("seconds"), 0.0 if lesson.get("last") is None else lesson["last"]]
    sound = set(lesson) == {"seconds", "last", "exercises", "predictions"} and all(
        isinstance(number, (int, float)) and math.isfinite(number) for number in clocks
    )
    sound = sound and isinstance(exercises, dict) and isinstance(said, dict)
    sound = sound and all(
        isinstance(entry, dict)
        and set(entry) == set(BLANK)
        and all(isinstance(entry[key], type(blank)) for key, blank in BLANK.items())
        for entry in exercises.values()
    )
    sound = sound and all(isinstance(e, dict) and set(e) == {"guess", "value", "right"} for e in said.values())
    if not sound:
        raise ValueError("not a progress file")


def _free_name(path: Path) -> Path:
    """A name beside `path` that ends in .bad and is not taken: an earlier damaged file is kept as well."""
    number, aside = 1, path.with_name(path.name + ".bad")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{number}.bad")
    return aside


def _write(path: Path, content: dict) -> None:
    """Beside, then renamed: who reads meanwhile sees the old file or the new one, never half of it."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
