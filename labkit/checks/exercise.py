"""The exercise engine: probe a learner's function beside the reference, and say in words what differs and why.

It displays nothing; `labkit.lab.session` shows what comes back. An exercise is written in `labkit.exercises`:

    Exercise(
        name="kl_to_standard_normal",
        reference=kl_to_standard_normal,
        probes=(Probe("mu = 1, logvar = 0, d = 4", lambda kl: kl(torch.ones(3, 4), torch.zeros(3, 4))), ...),
        hints=("...", "...", skeleton(answer, "0.5", ".sum(-1)")),
        mistakes=mistakes(answer, "mean-over-latents: .sum(-1) => .mean(-1) ..."),  # see labkit.checks.edits
        answer=answer,
        minutes=4,
    )
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Literal

from labkit.checks.difference import comparable, difference
from labkit.checks.sandbox import Observation, error_text, is_stub, observe, random_states_kept

Outcome = Literal["not attempted", "correct", "not yet"]


@dataclass(frozen=True)
class Mistake:
    """A common wrong answer, as code. `message` names the cause and what to change, in one sentence."""

    name: str  # short, kebab-case
    function: Callable
    message: str


@dataclass(frozen=True)
class Probe:
    """One look at a function: `observe` calls it on fresh inputs and returns what is to be compared.

    That is a tensor, a number, a string, None, or tuples, lists and dicts of these (a gradient, a statistic, a
    shape). The inputs must be made inside `observe`: a function that changes them in place then harms nobody.
    `where` says in the learner's words what was tried, e.g. "mu = 1, logvar = 0, d = 4".
    """

    where: str
    observe: Callable[[Callable], Any]
    rtol: float = 1e-4
    atol: float = 1e-5


@dataclass(frozen=True)
class Exercise:
    """What a learner is to write, how it is checked and helped. Raises ValueError where a part is missing."""

    name: str
    reference: Callable
    probes: tuple[Probe, ...]
    hints: tuple[str, str, str]  # from a nudge to nearly the answer
    mistakes: tuple[Mistake, ...]  # at least three
    alternatives: tuple[Callable, ...] = ()  # right answers written differently
    answer: Callable | None = None  # what one would write on paper, without guards and fast tricks: `lab.solution`
    minutes: int = 5  # what a learner needs for it
    difficulty: Literal[1, 2, 3] = 2  # one line of a formula, a few steps, a piece of algorithm
    importance: Literal[1, 2, 3] = 2  # 3: without it the paper cannot be rebuilt
    level: Literal["core", "stretch", "bonus"] = "core"
    differentiable: bool = True  # False for targets, counts and records: nothing is trained through them
    changes: tuple[str, ...] = ()  # arguments that it is meant to change

    def __post_init__(self) -> None:
        names = [mistake.name for mistake in self.mistakes]
        wrong = {
            "at least one probe": not self.probes,
            "exactly three hints": len(self.hints) != 3,
            "at least three mistakes": len(self.mistakes) < 3,
            "mistakes with different names": len(set(names)) != len(names),
            "a plain answer": not (self.answer or self.alternatives),
        }
        if missing := [need for need, is_missing in wrong.items() if is_missing]:
            raise ValueError(f"exercise {self.name!r} needs {', '.join(missing)}.")


@dataclass(frozen=True)
class Result:
    """What a check found. `message` is for the learner; for "not yet" it does not repeat the outcome."""

    name: str
    outcome: Outcome
    checks: int
    passed: int
    message: str
    mistake: str | None = None

    @property
    def text(self) -> str:
        """What the learner reads; "not yet" is followed by the news that the lesson goes on all the same."""
        if self.outcome != "not yet":
            return f"{self.name}: {self.message}"
        return f"{self.name}: not yet. {self.message} Until then the lab goes on with the reference."


@random_states_kept()
def check(exercise: Exercise, function: Any) -> Result:
    """Compare `function` with the exercise's reference under every probe; nothing it does escapes but its prints.

    What it prints is let through up to the first probe that fails. KeyboardInterrupt passes. An exception of the
    reference itself does too: then the exercise is at fault, not the learner.
    """
    count = len(exercise.probes)
    if not callable(function):
        message = f"{exercise.name} is {_what(function)}, not a function: run the cell that defines it with `def`."
        return Result(exercise.name, "not yet", count, 0, message)
    seen: list[Observation] = []
    failures: list[str] = []  # one sentence for each failing probe, in order
    for probe in exercise.probes:
        expected = _expected(exercise, probe)
        got = observe(probe.observe, function, quiet=bool(failures))
        if not seen and is_stub(got.raised, function):
            message = "not attempted yet: the lab goes on with the reference."
            return Result(exercise.name, "not attempted", count, 0, message)
        if said := _failure(exercise, probe, function, expected, got):
            failures.append(f"At {probe.where}: {said}" + ("" if said.endswith("?") else "."))
        seen.append(got)
    if not failures:
        return Result(exercise.name, "correct", count, count, f"correct ({count} check{'s' * (count > 1)})")
    mistake = next((m for m in exercise.mistakes if _is_mistake(exercise, m, seen)), None)
    parts = (mistake.message, failures[0]) if mistake else (failures[0], f'lab.hint("{exercise.name}") gives a hint.')
    return Result(exercise.name, "not yet", count, count - len(failures), " ".join(parts), mistake and mistake.name)


def solution(exercise: Exercise) -> str:
    """The source of the plain answer."""
    return dedent(inspect.getsource(exercise.answer or exercise.reference))


def _expected(exercise: Exercise, probe: Probe) -> Observation:
    """What the reference gives under the probe. Raises its exception, or TypeError for what cannot be compared."""
    seen = observe(probe.observe, exercise.reference)
    if seen.error is not None:
        raise seen.error
    if not comparable(seen.value):
        kind = type(seen.value).__name__
        raise TypeError(
            f"exercise {exercise.name!r}, probe {probe.where!r}: what it observes, of type {kind}, cannot be compared."
        )
    return seen


def _failure(
    exercise: Exercise, probe: Probe, function: Callable, expected: Observation, got: Observation
) -> str | None:
    """In words, how `got` falls short of `expected` under `probe`; None where it does not."""
    if got.uncallable:
        signature = f"{exercise.reference.__name__}{_bare_signature(exercise.reference)}"
        return f"it cannot be called as it should be ({got.raised}); its first line should read `def {signature}:`"
    if got.error is None:
        return difference(expected.value, got.value, rtol=probe.rtol, atol=probe.atol)
    if got.error is got.raised:
        return error_text(got.error, function)
    # The probe stumbled over what the function returned (say None): describe that, not the stumbling.
    for one, other in zip(expected.returns, got.returns, strict=False):
        if said := difference(one, other, rtol=probe.rtol, atol=probe.atol):
            return said
        if getattr(one, "requires_grad", False) and not other.requires_grad:
            cuts = "`.detach()`, `.data`, `.item()`, `.sample()` or `torch.no_grad()`"
            return f"what it returned carries no gradient: look for {cuts}"
    return f"what it returned cannot be used, the check {error_text(got.error, function)}"


def _is_mistake(exercise: Exercise, mistake: Mistake, seen: list[Observation]) -> bool:
    """Whether the mistake, under every probe, is seen to do the same as what was `seen`."""
    pairs = zip(exercise.probes, seen, strict=True)
    return all(_same(probe, observe(probe.observe, mistake.function), got) for probe, got in pairs)


def _same(probe: Probe, one: Observation, other: Observation) -> bool:
    if one.error is not None or other.error is not None:
        # By its text as well: a RuntimeError alone may have any cause, and a wrong diagnosis is worse than none.
        return type(one.error) is type(other.error) and str(one.error) == str(other.error)
    return difference(one.value, other.value, rtol=probe.rtol, atol=probe.atol) is None


def _bare_signature(function: Callable) -> inspect.Signature:
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)


def _what(value: Any) -> str:
    return repr(value) if value is None or value is ... else f"of the type {type(value).__name__}"
