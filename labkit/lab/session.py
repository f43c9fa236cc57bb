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
from IPython.display import Code, DisplayHandle, display

import labkit
from labkit import headlines, provenance
from labkit.caps import instruction_set, too_late
from labkit.checks import preview
from labkit.checks.exercise import Exercise, Failure, check, solution
from labkit.checks.names import guess, meant
from labkit.evidence import words
from labkit.evidence.claims import findings, read_claims, stored_runs, unknown_metrics
from labkit.lab import claims, nobody_watches
from labkit.lab.optimizers import leave_out_compiler
from labkit.lab.predictions import Question, answer_box, kept, measured, settled
from labkit.lab.prose import prose
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
        self._headlines: set[str] = set()
        self._shown_hints: dict[str, int] = {}
        self._questions: dict[str, Question] = {}
        self._boxes: dict[str, DisplayHandle] = {}  # of the questions that can be answered now
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
            "metric",
            {"name": name, "value": number, "unit": unit},
            text=f"{name} = {_readable(number)} {unit}".rstrip(),
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
        self,
        claim: str,
        *,
        holds: bool | None = None,
        evidence: Mapping[str, float | str] | None = None,
        source: str = "",
        reason: str = "",
    ) -> None:
        """Show a claim that `notebooks/claims/` declares, by its id: what the stored seeds and this run say of it.

        What the claim compares must have been recorded. Raises KeyError for an id that is not declared, or a metric
        that is not there yet.

        In a lesson of the first edition: record whether the sentence `claim` `holds` in this run, with the numbers
        that say so. Raises ValueError for evidence that is not a finite number (or a string).
        """
        if holds is None:
            self._show_declared(claim)
            return
        facts = {key: val if isinstance(val, str) else _finite(key, val) for key, val in (evidence or {}).items()}
        record = {"text": claim, "holds": bool(holds), "evidence": facts, "source": source, "reason": reason}
        self.claims[claim] = record
        verdict, numbers = claims.verdict(record["holds"]), claims.evidence(facts)
        plain = f"{verdict}: {claim} ({numbers}) [{source}] {reason}".rstrip()
        markdown = f"**{verdict}** · {claim} *({source})*<br>{numbers}" + (f"<br>{reason}" if reason else "")
        self._display("claim", record, text=plain, markdown=markdown)

    def _show_declared(self, name: str) -> None:
        from labkit.lab.figures import as_png  # matplotlib is imported when there is a figure
        from labkit.lab.strips import strip

        declared = read_claims(self.lesson)
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise KeyError(f"{name!r} is no claim that notebooks/claims/{self.lesson}.toml declares: those are {known}")
        if unknown := unknown_metrics([declared[name]], self.metrics):
            raise KeyError(" ".join(unknown))
        claim, found = declared[name], findings(declared[name], self._stored_runs())
        here = claim.criterion.decides.difference(self.metrics)
        said = words.in_words(claim, found, self.profile, here)
        display({"text/markdown": said, "text/plain": said}, raw=True)
        figure, alt = strip(claim, found, self.profile, here)
        png = base64.b64encode(as_png(figure, crop=False)).decode()
        display({"image/png": png, "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}})

    def _stored_runs(self) -> dict[str, list[dict[str, float]]]:
        """The metrics of the stored seeds at each profile; without those that cannot be read, which is said."""
        runs = {}
        for profile in labkit.PROFILES:
            try:
                runs[profile] = stored_runs(self.lesson, profile)
            except ValueError as problem:
                _say(str(problem))
        return runs

    def claims_table(self) -> None:
        """All claims of the lesson and their verdict at each profile that was measured."""
        declared = read_claims(self.lesson).values()
        if declared:
            runs = self._stored_runs()
            table = words.table([(claim, findings(claim, runs)) for claim in declared])
        else:
            table = claims.table(self.claims.values(), self.lesson, self.profile)
        display({"text/markdown": table, "text/plain": table}, raw=True)

    def show(self, figure: Any, *, alt: str, headline: str | None = None) -> None:
        """Display a matplotlib figure with its alternative text, and close it.

        A `headline`, a name such as "roc-by-digit", marks one of the few figures of a lesson that are stored from a run
        at `full`, for `at_full`. Raises ValueError for an empty alt, for a name with other characters, and, in a batch
        run, where no cell is run again, for a name that a figure of this lesson has already.
        """
        from labkit.lab.figures import as_png  # matplotlib is imported when there is a figure

        if not alt.strip():
            raise ValueError("a figure needs alt text: say in a sentence or two what it shows")
        fields: dict[str, Any] = {"alt": alt}
        if headline is not None:
            headlines.check_name(headline)
            if headline in self._headlines and nobody_watches():
                raise ValueError(f"two figures of this lesson have the headline {headline!r}: each needs its own")
            self._headlines.add(headline)
            fields |= {"headline": headline, "data": dict(provenance.SOURCES), "files": dict(provenance.FILES)}
        png = base64.b64encode(as_png(figure)).decode()
        self._display("figure", fields, text=f"Figure: {alt}", png=png)
        _in_words(alt)

    def at_full(self, headline: str) -> None:
        """At `quick`: show the figure of that name as it came out at `full`, with its alt text and what it shows.

        One sentence says so where none is stored, and at the other profiles, where the figure above is the large one.
        """
        if self.profile != "quick":
            _say(f"This run is at {self.profile!r}: the figure above is the large one.")
            return
        try:
            stored = headlines.load(self.lesson, headline)
        except ValueError as problem:
            _say(str(problem))
            return
        if stored is None:
            run = f"`labkit run {self.lesson[:2]} --profile full --out build/full`"
            then = f"`labkit figures {self.lesson[:2]} --from build/full/results.json`"
            _say(f"No figure {headline!r} of a run at `full` is stored: make it with {run} and {then}.")
            return
        alt, png = stored.about["alt"], base64.b64encode(stored.png).decode()
        # No record: what it shows was not measured in this run.
        data, metadata = {"text/plain": f"Figure at full: {alt}", "image/png": png}, {"image/png": {"alt": alt}}
        display(data, raw=True, metadata=metadata)
        _in_words(alt, stored.caption)

    # ---- predictions ------------------------------------------------------------------------------------------------

    def predict(
        self, name: str, question: str, *, choices: Sequence[str] | None = None, number: str | None = None
    ) -> None:
        """Ask for a guess before an experiment: one of `choices`, or a number of the unit `number` ("" for none).

        It is kept across sessions, and shown again by `reveal`. Once that has shown what came out, a first guess is
        kept as one that comes too late. In a batch run the question alone is shown.
        """
        asked = Question(question, None if choices is None else tuple(choices), number)
        self._questions[name] = asked
        shown = asked.markdown if nobody_watches() else asked.headline  # the box below has the choices
        display({"text/markdown": shown, "text/plain": shown}, raw=True)
        if nobody_watches():
            return
        stored = self._guess(name)
        if stored.guess is not None and stored.value is not None:
            _say(settled(asked, stored.guess, late=stored.late))
            return

        def keep(guess: str | float) -> str:
            before = self._guess(name)
            problem = self._progress.note_guess(self.lesson, name, guess, anew=before == Guess(None))
            after = self._guess(name)
            return problem or kept(asked, after.guess, late=after.late)

        note = kept(asked, stored.guess, late=stored.value is not None)
        handle = display(answer_box(asked, stored.guess, note, keep), display_id=True)
        if handle is not None:  # there is a kernel
            self._boxes[name] = handle

    def reveal(self, name: str, value: str | float, *, within: float = 0.25) -> None:
        """Put what was measured beside the learner's guess; a number at most `within` of it off counts as right.

        Raises KeyError for what was not asked, ValueError for a value that is no possible answer.
        """
        if name not in self._questions:
            raise KeyError(f"{name!r} was not asked: run the cell with lab.predict({name!r}, ...) first")
        asked = self._questions[name]
        value = asked.checked(value)
        guess = self._guess(name).guess
        right = None if guess is None else asked.is_right(guess, value, within)
        self._progress.note_measured(self.lesson, name, value, right)
        late = self._guess(name).late
        if name in self._boxes:  # a widget would be an error message in the saved notebook, once its kernel is gone
            self._boxes.pop(name).update(prose(settled(asked, guess, late=late)), raw=True)
        said = measured(asked, guess, value, within, late=late)
        display({"text/markdown": said, "text/plain": said}, raw=True)

    def _guess(self, name: str) -> Guess:
        """What the learner said and what came out, if that can still be an answer to the question."""
        stored = self._progress.standing(self.lesson, []).guesses.get(name, Guess(None))
        answer = stored.value if stored.guess is None else stored.guess
        choices = self._questions[name].choices
        fits = isinstance(answer, float | int) if choices is None else answer in choices
        return stored if fits else Guess(None)

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
        self._display("exercise", fields, text=result.text, bold=result.outcome)
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
            plain = f"{head}\n\n{hint}\n\n({more})"
            code = f"{head}\n\n```python\n{hint}\n```\n\n({more.replace('lab.', '`lab.').replace(')', ')`')})"
            display({"text/markdown": code, "text/plain": plain}, raw=True)
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
        table = "\n\n".join(filter(None, [*said, standing.predicted, self._progress.problem]))
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
        self,
        kind: str,
        fields: dict[str, Any],
        *,
        text: str,
        markdown: str | None = None,
        png: str | None = None,
        bold: str | None = None,
    ) -> None:
        """Show a record in words (or as a picture), and keep it where a program finds it."""
        record = {"kind": kind} | fields
        data: dict[str, Any] = {"text/plain": text, labkit.RECORD_MIME: record}
        if bold is not None:
            data |= prose(text, bold)
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


def _readable(number: float) -> str:
    """Four digits, but of a count, say 161,800, all."""
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e9 and number.is_integer() else f"{number:.4g}"


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


def _in_words(alt: str, caption: str = "") -> None:
    """What a figure shows, for JupyterLab, which drops an image's alt text; above it the caption."""
    words = f"<details><summary>The figure in words</summary>{html.escape(alt)}</details>"
    said = {"text/markdown": f"{caption}\n\n{words}", "text/plain": f"{caption}\n{alt}"}
    display({mime: text.strip() for mime, text in said.items()}, raw=True)


def _say(text: str) -> None:
    display(prose(text), raw=True)
