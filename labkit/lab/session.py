"""The lab of one lesson: profile and seed, records, claims, figures with alt text, exercises.

Whatever a lesson says with a number goes through here, so that the executed notebook holds it in machine-readable form
beside what the reader sees (MIME type `labkit.RECORD_MIME`, described in docs/records.md).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import importlib
import importlib.util
import json
import math
import os
import platform
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import threadpoolctl
import torch
from IPython.display import Code, display

import labkit
from labkit.caps import instruction_set, too_late
from labkit.checks import preview
from labkit.checks.exercise import Exercise, Failure, check, solution
from labkit.checks.names import guess, meant
from labkit.lab import claims, nobody_watches
from labkit.lab.optimizers import leave_out_compiler
from labkit.lab.predictions import Question, answer_box, measured
from labkit.lab.speed import keep_freed_memory
from labkit.progress import Guess, Progress

THREADS = {"quick": 1, "full": 2, "paper": 2}  # fixed, since the order of a parallel sum changes its last bits
Config = TypeVar("Config")


def start(lesson: str, *, profile: str = "quick", seed: int = 0) -> Lab:
    """Check profile and seed, fix threads and seeds, and return the lesson's `Lab`; see `labkit.start`."""
    if profile not in labkit.PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(labkit.PROFILES)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"the seed must be a non-negative integer, got {seed!r}")
    return Lab(lesson, profile, seed)


class Lab:
    """One lesson's session: `choose`, `record`, `claim`, `tell`, `show`, `predict`, `reveal`, `check`, `hint`, ..."""

    def __init__(self, lesson: str, profile: str, seed: int) -> None:
        self.lesson, self.profile, self.seed = lesson, profile, seed
        self.device = _device(profile)
        self.metrics: dict[str, float] = {}
        self.claims: dict[str, dict[str, Any]] = {}
        self.exercises = _exercises(lesson)
        self._shown_hints: dict[str, int] = {}
        self._questions: dict[str, Question] = {}
        self._failures: dict[str, Failure | None] = {}  # what the last check of each exercise found first
        self._config = ""
        self._progress = Progress()
        self._records = _records_file(f"{lesson}-{profile}-{seed}.jsonl")
        keep_freed_memory()
        torch.set_num_threads(THREADS[profile])
        threadpoolctl.threadpool_limits(THREADS[profile])  # of scikit-learn and NumPy
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products need on a GPU
        leave_out_compiler()
        torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms does the same and takes 3 s to import
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed % 2**64)
        versions = {"python": platform.python_version(), "labkit": labkit.__version__, "torch": torch.__version__}
        versions |= {name: metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")}
        say = f"{lesson} at profile {profile!r}, seed {seed}, on {self.device} with {THREADS[profile]} thread(s)"
        fields = {"lesson": lesson, "profile": profile, "seed": seed, "device": str(self.device)}
        fields |= {"threads": THREADS[profile], "instruction_set": instruction_set(), "versions": versions}
        self._display("session", fields, text=say)
        if problem := too_late():
            _say(problem)

    # ---- profile and randomness -------------------------------------------------------------------------------------

    def choose(self, *, quick: Config, full: Config, paper: Config) -> Config:
        """The configuration of this run's profile; what it holds is recorded."""
        config = {"quick": quick, "full": full, "paper": paper}[self.profile]
        values = asdict(config) if is_dataclass(config) else {"value": config}
        self._config = repr(config)
        self._display("config", {"values": json.loads(json.dumps(values, default=str))}, text=repr(config))
        return config

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh random generator that depends on the lab's seed and on `name` alone, not on what ran before.

        It draws on the CPU, and so the same numbers whatever computes with them, unless `device` says otherwise: a GPU
        draws other numbers, and wants its own generator for tensors that are to be drawn there.
        """
        return torch.Generator(device).manual_seed(self._derived_seed(name))

    @contextlib.contextmanager
    def seeded(self, name: str) -> Iterator[None]:
        """A block in which torch's global generator has a seed of its own: for the initial weights of a model."""
        with torch.random.fork_rng():
            torch.manual_seed(self._derived_seed(name))
            yield

    def _derived_seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:6], "big")

    def checkpoint(self, name: str) -> Path | None:
        """Where `fit` keeps a long training's state, at profile `paper` and within a run's output folder; else None."""
        out = os.environ.get("LABKIT_OUT")
        if not out or self.profile != "paper":
            return None
        version = hashlib.sha256(self._config.encode()).hexdigest()[:8]  # another configuration, another training
        return Path(out, "checkpoints", f"{self.lesson}-{self.seed}-{name}-{version}.safetensors")

    # ---- records ----------------------------------------------------------------------------------------------------

    def record(self, name: str, value: float, unit: str = "") -> None:
        """Record a number under a name like "vae/kl" and show it; from then on it stands in `metrics`.

        Raises ValueError when it is not a finite number: a lesson must not go on with a NaN.
        """
        number = _finite(name, value)
        self.metrics[name] = number
        self._display(
            "metric", {"name": name, "value": number, "unit": unit}, text=f"{name} = {number:.4g} {unit}".rstrip()
        )

    def record_all(self, values: Mapping[str, float], unit: str = "") -> None:
        """`record` each of several values of the same unit."""
        for name, value in values.items():
            self.record(name, value, unit)

    def tell(self, text: str) -> None:
        """Show Markdown whose numbers are recorded values: "the KL is {vae/kl:.1f} nats".

        Raises KeyError, naming it, for a number that was not recorded.
        """
        said = claims.fill(text, self.metrics)
        display({"text/markdown": said, "text/plain": said}, raw=True)

    def claim(
        self, text: str, *, holds: bool, evidence: Mapping[str, float | str], source: str, reason: str = ""
    ) -> None:
        """Record whether a sentence of the paper or its review holds in this run, with the numbers that say so.

        Raises ValueError for evidence that is not a finite number (or a string).
        """
        facts = {key: value if isinstance(value, str) else _finite(key, value) for key, value in evidence.items()}
        claim = {"text": text, "holds": bool(holds), "evidence": facts, "source": source, "reason": reason}
        self.claims[text] = claim
        verdict, numbers = claims.verdict(claim["holds"]), claims.evidence(facts)
        plain = f"{verdict}: {text} ({numbers}) [{source}] {reason}".rstrip()
        markdown = f"**{verdict}** · {text} *({source})*<br>{numbers}" + (f"<br>{reason}" if reason else "")
        self._display("claim", claim, text=plain, markdown=markdown)

    def claims_table(self) -> None:
        """All claims of this run beside how often each held at each profile, where that was recorded."""
        table = claims.table(self.claims.values(), self.lesson, self.profile)
        display({"text/markdown": table, "text/plain": table}, raw=True)

    def show(self, figure: Any, *, alt: str) -> None:
        """Display a matplotlib figure with its alternative text, and close it. Raises ValueError for an empty alt."""
        from labkit.lab.figures import as_png  # matplotlib is imported when there is a figure

        if not alt.strip():
            raise ValueError("a figure needs alt text: say in a sentence or two what it shows")
        png = base64.b64encode(as_png(figure)).decode()
        self._display("figure", {"alt": alt}, text=f"Figure: {alt}", png=png)
        # JupyterLab drops an image's alt text: there, its reader finds it below the figure.
        words = f"<details><summary>The figure in words</summary>{html.escape(alt)}</details>"
        display({"text/markdown": words, "text/plain": alt}, raw=True)

    # ---- predictions ------------------------------------------------------------------------------------------------

    def predict(
        self, name: str, question: str, *, choices: Sequence[str] | None = None, number: str | None = None
    ) -> None:
        """Ask for a guess before an experiment: one of `choices`, or a number of the unit `number` ("" for none).

        It is kept across sessions, and shown again by `reveal`. In a batch run the question alone is shown.
        """
        asked = Question(question, None if choices is None else tuple(choices), number)
        self._questions[name] = asked
        shown = asked.markdown if nobody_watches() else asked.headline  # the box below has the choices
        display({"text/markdown": shown, "text/plain": shown}, raw=True)
        if nobody_watches():
            return
        stored = self._guess(name)
        if stored is not None and stored.value is not None:
            _say(f"You said {asked.shown(stored.guess)}, before it was measured.")
            return

        def keep(guess: str | float) -> str | None:
            return self._progress.note_guess(self.lesson, name, guess)

        display(answer_box(asked, None if stored is None else stored.guess, keep))

    def reveal(self, name: str, value: str | float, *, within: float = 0.25) -> None:
        """Put what was measured beside the learner's guess; a number at most `within` of it off counts as right.

        Raises KeyError for what was not asked, ValueError for a value that is no possible answer.
        """
        if name not in self._questions:
            raise KeyError(f"{name!r} was not asked: run the cell with lab.predict({name!r}, ...) first")
        asked = self._questions[name]
        value = asked.checked(value)
        stored = self._guess(name)
        guess = None if stored is None else stored.guess
        if guess is not None:
            self._progress.note_measured(self.lesson, name, value, asked.is_right(guess, value, within))
        said = measured(asked, guess, value, within)
        display({"text/markdown": said, "text/plain": said}, raw=True)

    def _guess(self, name: str) -> Guess | None:
        """What the learner said, if it can still be an answer to the question."""
        stored = self._progress.standing(self.lesson, []).guesses.get(name)
        if stored is None:
            return None
        choices = self._questions[name].choices
        fits = isinstance(stored.guess, float | int) if choices is None else stored.guess in choices
        return stored if fits else None

    # ---- exercises --------------------------------------------------------------------------------------------------

    def check(self, function: Callable, name: str | None = None) -> Callable:
        """Test the learner's function; return it when it is right, else the reference, saying plainly which.

        The exercise is found by `name`, by the function's own name, or by the name it has in the notebook (a lambda,
        say). What is no exercise of this lesson comes back as it is, with a sentence that says which is probably meant.
        """
        name = meant(function if name is None else name, self.exercises, sys._getframe(1).f_globals)
        if name not in self.exercises:
            _say(self._not_checked(function, name))
            return function
        exercise = self.exercises[name]
        result = check(exercise, function)
        unchanged = result.outcome == "reference"  # nothing of the learner's was checked, and nothing is noted
        problem = None
        if not unchanged:
            problem = self._progress.note(self.lesson, exercise.name, result.outcome, exercise.level)
        fields = {"name": result.name, "outcome": "not attempted" if unchanged else result.outcome}
        fields |= {"checks": result.checks, "passed": result.passed, "mistake": result.mistake}
        self._display("exercise", fields, text=result.text)
        if problem:
            _say(problem)
        if not unchanged:
            self._failures[name] = result.failure
        return function if result.outcome == "correct" else exercise.reference

    def inputs(self, name: str | Callable) -> dict[str, Any]:
        """Show what the last check of an exercise gave to the function where it first failed, and both results.

        Returns the same, whole: the arguments by their names, "expected" and "yours"; nothing if nothing failed.
        Raises KeyError for what is no exercise of this lesson.
        """
        exercise = self._exercise(name, sys._getframe(1).f_globals)
        failure = self._failures.get(exercise.name)
        if failure is None:
            found = "found nothing wrong" if exercise.name in self._failures else "has not been run yet"
            _say(f"The check of {exercise.name} {found}: there are no inputs to show.")
            return {}
        shown = preview.table(failure, exercise.places[failure.probe])
        display({"text/markdown": shown, "text/plain": shown}, raw=True)
        return preview.values(failure)

    def hint(self, name: str | Callable) -> None:
        """Show the next of an exercise's three hints, each more explicit than the one before.

        Raises KeyError for what is no exercise of this lesson.
        """
        exercise = self._exercise(name, sys._getframe(1).f_globals)
        count, known = len(exercise.hints), exercise.name
        given = min(self._hints_given(known), count - 1)
        self._shown_hints[known] = given + 1
        self._progress.note_hint(self.lesson, known, given + 1)
        hint, head = exercise.hints[given].strip("\n"), f"Hint {given + 1} of {count}:"
        more = f'lab.hint("{known}") again for more' if given + 1 < count else f'then: lab.solution("{known}")'
        if "\n" in hint:  # a skeleton of the answer
            code = f"{head}\n\n```python\n{hint}\n```\n\n({more})"
            display({"text/markdown": code, "text/plain": f"{head}\n\n{hint}\n\n({more})"}, raw=True)
        else:
            _say(f"{head} {hint} ({more})")

    def solution(self, name: str | Callable) -> None:
        """Show the plain answer, and where the function is that the checks compare with.

        Raises KeyError for what is no exercise of this lesson.
        """
        exercise = self._exercise(name, sys._getframe(1).f_globals)
        where = f"{exercise.reference.__module__}.{exercise.reference.__qualname__}"
        code = f"# The checks compare with {where}, and the lab goes on with it.\n{solution(exercise)}"
        self._progress.note_solution(self.lesson, exercise.name)
        coloured = Code(code, language="python")._repr_html_()
        display({"text/html": coloured, "text/plain": code}, raw=True)

    def progress(self) -> None:
        """Show where you stand in this lesson; kept in one local file across sessions."""
        standing = self._progress.standing(self.lesson, self.exercises)
        solved = sum(row.solved for row in standing.rows)
        lines = [f"| {row.exercise} | {row.state} | {row.attempts} | {row.hints} |" for row in standing.rows]
        head = f"| exercise | {solved} of {len(lines)} solved | attempts | hints |"
        said = ["\n".join([head, "|---|---|---|---|", *lines])]
        if standing.guesses:
            right = [guess.right for guess in standing.guesses.values() if guess.right is not None]
            said.append(f"Predictions: {sum(right)} of {len(right)} measured ones right.")
        said += [self._progress.problem] if self._progress.problem else []
        table = "\n\n".join(said)
        display({"text/markdown": table, "text/plain": table}, raw=True)

    def _hints_given(self, name: str) -> int:
        """How many hints were shown, in this session or an earlier one."""
        (row,) = self._progress.standing(self.lesson, [name]).rows
        return max(row.hints, self._shown_hints.get(name, 0))

    def _exercise(self, given: str | Callable, notebook: Mapping[str, Any]) -> Exercise:
        name = meant(given, self.exercises, notebook)
        if name not in self.exercises:
            raise KeyError(self._unknown(name or repr(given), given))
        return self.exercises[name]

    def _unknown(self, name: str, function: Any = None) -> str:
        """That `name` is no exercise, and which one is probably meant."""
        probable = guess(name, self.exercises, function)
        known = ", ".join(self.exercises) or "none"
        meant_is = f"did you mean {probable!r}? " if probable else ""
        return f"{name!r} is no exercise of lesson {self.lesson}: {meant_is}Its exercises are {known}"

    def _not_checked(self, function: Any, name: str) -> str:
        if not callable(function):
            what = repr(function) if function is None else f"of the type {type(function).__name__}"
            return f"What is to be checked is {what}, not a function: run the cell that defines it with `def`."
        probable = guess(name, self.exercises, function) or "NAME"
        own = name if name.isidentifier() else "function"
        call = f'{probable} = lab.check({own}, "{probable}")'
        return f"Not checked: {self._unknown(name or type(function).__name__, function)}. Say which it is: {call}"

    def _display(
        self, kind: str, fields: dict[str, Any], *, text: str, markdown: str | None = None, png: str | None = None
    ) -> None:
        """Show a record in words (or as a picture), and keep it where a program finds it."""
        record = {"kind": kind} | fields
        data: dict[str, Any] = {"text/plain": text, labkit.RECORD_MIME: record}
        if markdown is not None:
            data["text/markdown"] = markdown
        if png is not None:
            data["image/png"] = png
        display(data, raw=True, metadata={} if png is None else {"image/png": {"alt": fields["alt"]}})
        if self._records is not None:
            with open(self._records, "a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _records_file(name: str) -> Path | None:
    """An empty file of that name in the folder LABKIT_RECORDS, for what is recorded; None if there is no such folder.

    So that whoever executes a notebook without keeping it, as nbval does, has the records all the same.
    """
    folder = os.environ.get("LABKIT_RECORDS")
    if not folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder, name)
    file.write_text("", encoding="utf-8")
    return file


def _finite(name: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}: a recorded value must be finite; look at the cell that computed it")
    return number


def _device(profile: str) -> torch.device:
    """The CPU, but for `paper`: there a GPU when torch sees one."""
    return torch.device("cuda" if profile == "paper" and torch.cuda.is_available() else "cpu")


def _exercises(lesson: str) -> dict[str, Exercise]:
    """The exercises of lesson "NN_paper": EXERCISES of labkit.exercises.paper."""
    paper = lesson.partition("_")[2]
    module = f"labkit.exercises.{paper}"
    if not paper or importlib.util.find_spec(module) is None:
        raise ValueError(f"unknown lesson {lesson!r}: `labkit list` shows the lessons")
    return {exercise.name: exercise for exercise in importlib.import_module(module).EXERCISES}


def _say(text: str) -> None:
    display({"text/plain": text}, raw=True)
