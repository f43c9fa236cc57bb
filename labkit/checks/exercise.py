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
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from labkit.checks.arguments import Call, name_of, rebuilt, same, shown
from labkit.checks.difference import comparable, difference
from labkit.checks.gradients import LARGEST, cuts, size, wrong_gradient
from labkit.checks.relations import Pair, relation, sizes_of
from labkit.checks.sandbox import Observation, call_quietly, error_text, is_stub, observe, random_states_kept
from labkit.checks.source import untyped
from labkit.checks.timelimit import TooSlow

Outcome = Literal["not attempted", "correct", "not yet", "reference"]
SECONDS = 10.0
"""What a learner's function may take for all probes, and a hundred times what the reference takes on this machine."""
REPEATED = 3
"""How many calls of one probe are looked at for gradients, and for how wrong results hang together with right ones."""


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
    answer: Callable  # what one would write on paper, without guards and fast tricks: `lab.solution`
    probes: tuple[Probe, ...]
    hints: tuple[str, str, str]  # from a nudge to nearly the answer
    mistakes: tuple[Mistake, ...]  # at least three
    minutes: int = 5  # what a learner needs for it
    difficulty: Literal[1, 2, 3] = 2  # one line of a formula, a few steps, a piece of algorithm
    importance: Literal[1, 2, 3] = 2  # 3: without it the paper cannot be rebuilt
    level: Literal["core", "stretch", "bonus"] = "core"
    differentiable: bool | tuple[str, ...] = True
    """False for targets, counts and records, through which nothing is trained; or through which arguments it is."""
    changes: tuple[str, ...] = ()  # arguments that it is meant to change

    def __post_init__(self) -> None:
        names = [mistake.name for mistake in self.mistakes]
        wrong = {
            "at least one probe": not self.probes,
            "exactly three hints": len(self.hints) != 3,
            "at least three mistakes": len(self.mistakes) < 3,
            "mistakes with different names": len(set(names)) != len(names),
        }
        if missing := [need for need, is_missing in wrong.items() if is_missing]:
            raise ValueError(f"exercise {self.name!r} needs {', '.join(missing)}.")

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Each probe's `where`, such that it stands for itself: what "the same" is, and where "there"."""
        found: list[str] = []
        for probe in self.probes:
            found.append(_with_referent(probe.where, found[-1]) if found else probe.where)
        return tuple(found)


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong: a sentence for the learner, and the values behind it."""

    probe: int
    kind: Literal["value", "argument", "setting", "gradient", "time"]
    sentence: str
    inputs: Mapping[str, Any]  # the arguments of the call in question, by name; empty where there was none
    expected: Any = None
    got: Any = None


@dataclass(frozen=True)
class Result:
    """What a check found. `message` is for the learner; for "not yet" it does not repeat the outcome."""

    name: str
    outcome: Outcome
    checks: int
    passed: int
    message: str
    mistake: str | None = None
    failure: Failure | None = field(default=None, compare=False, repr=False)  # the first one

    @property
    def text(self) -> str:
        """What the learner reads; "not yet" is followed by the news that the lesson goes on all the same."""
        if self.outcome != "not yet":
            return f"{self.name}: {self.message}"
        return f"{self.name}: not yet. {self.message} Until then the lab goes on with the reference."


@random_states_kept()
def check(exercise: Exercise, function: Any) -> Result:
    """Compare `function` with the exercise's reference under every probe; nothing it does escapes but its prints.

    Beside what the probes look at, for every exercise: it changes none of its arguments, sets nothing for the whole
    process, comes to an end, and its result has the reference's gradient.

    What it prints is let through up to the first probe that fails. KeyboardInterrupt passes. An exception of the
    reference itself does too: then the exercise is at fault, not the learner.
    """
    count = len(exercise.probes)
    if not callable(function):
        message = f"{exercise.name} is {_what(function)}, not a function: run the cell that defines it with `def`."
        return Result(exercise.name, "not yet", count, 0, message)
    if function is exercise.reference or function is exercise.answer:
        message = "this is the library's own function, not yours: run the cell with your `def` again, then this one."
        return Result(exercise.name, "reference", count, 0, message)
    look = _look(exercise, function, quiet=False)
    if look.is_stub:
        message = "not attempted yet: the lab goes on with the reference."
        return Result(exercise.name, "not attempted", count, 0, message)
    if not look.failures:
        return Result(exercise.name, "correct", count, count, f"correct ({count} check{'s' * (count > 1)})")
    first = look.failures[0]
    mistake = next((m for m in exercise.mistakes if _is_mistake(exercise, m, look)), None)
    said = [f"At {_place(exercise, first)}: {first.sentence}" + ("" if first.sentence.endswith("?") else ".")]
    if mistake:
        said.insert(0, mistake.message)
    else:
        said += [text for text in (_relation(exercise, function, look), *_besides(look.failures)) if text]
        if first.kind in ("value", "gradient") and first.inputs and not shown(first.inputs):
            said.append(f'lab.inputs("{exercise.name}") shows the inputs.')
        said.append(f'lab.hint("{exercise.name}") gives a hint.')
    passed = count - len({failure.probe for failure in look.failures}) - (count - len(look.seen))
    return Result(exercise.name, "not yet", count, passed, " ".join(said), mistake and mistake.name, first)


def solution(exercise: Exercise) -> str:
    """The source of the plain answer, as one would type it in a notebook."""
    return untyped(exercise.answer)


@dataclass
class _Look:
    """What came of looking at a function under every probe, up to one that did not come to an end."""

    expected: list[Observation] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)  # those of values first
    is_stub: bool = False


def _look(exercise: Exercise, function: Callable, *, quiet: bool) -> _Look:
    look = _Look()
    habits: list[Failure] = []  # what it does beside computing values
    for index, probe in enumerate(exercise.probes):
        expected = _expected(exercise, probe)
        look.expected.append(expected)
        got = observe(
            probe.observe,
            function,
            quiet=quiet or bool(look.failures),
            label=f"probe {index + 1} ({exercise.places[index]}):",
            limit=SECONDS + sum(100 * one.seconds for one in look.expected) - sum(one.seconds for one in look.seen),
        )
        if not look.seen and is_stub(got.raised, function):
            look.is_stub = True
            return look
        look.seen.append(got)
        if said := _failure(exercise, probe, function, expected, got):
            kind = "time" if isinstance(got.raised, TooSlow) else "value"
            look.failures.append(_failed(exercise, function, index, kind, said, expected, got))
            if kind == "time":
                break
        habits += _habits(exercise, function, index, expected, got)
    look.failures += habits
    if not look.failures and exercise.differentiable:
        look.failures += _gradient(exercise, function, look)
    return look


def _failed(
    exercise: Exercise, function: Callable, index: int, kind: str, said: str, expected: Observation, got: Observation
) -> Failure:
    """A failure with the arguments of the first call that returned something else, or raised."""
    probe, calls = exercise.probes[index], expected.calls
    wrong = 0
    while wrong < min(len(calls), len(got.calls)) - 1 and (
        difference(calls[wrong].returned, got.calls[wrong].returned, rtol=probe.rtol, atol=probe.atol) is None
    ):
        wrong += 1
    inputs = calls[wrong].named(function, exercise.reference) if calls else {}
    return Failure(index, kind, said, inputs, expected.value, got.value if got.error is None else got.error)


def _habits(
    exercise: Exercise, function: Callable, index: int, expected: Observation, got: Observation
) -> list[Failure]:
    """Arguments that are changed though the reference leaves them alone, and settings of the whole process."""
    found = []
    free = {key for call in expected.calls for key in call.changed}
    for call in got.calls:
        keys = [
            key for key in call.changed if key not in free and name_of(key, exercise.reference) not in exercise.changes
        ]
        if keys:
            name = name_of(keys[0], function, exercise.reference)
            sentence = f"it changes its argument `{name}`: work on a copy"
            found.append(Failure(index, "argument", sentence, call.named(function, exercise.reference)))
            break
    if settings := [name for name in got.settings if name not in expected.settings]:
        sentence = f"it sets {' and '.join(settings)} for everybody: leave that to the notebook"
        found.append(Failure(index, "setting", sentence, {}))
    return found


def _gradient(exercise: Exercise, function: Callable, look: _Look) -> list[Failure]:
    """The first call at which the gradient is wrong; a call that is repeated is looked at once."""
    wanted = None if exercise.differentiable is True else exercise.differentiable
    done: list[Call] = []
    for index, expected in enumerate(look.expected):
        for call in expected.calls[:REPEATED]:
            if size(call) > LARGEST or any(same(call.arguments(), other.arguments()) for other in done):
                continue
            done.append(call)
            if slope := wrong_gradient(exercise.reference, function, call, wanted):
                inputs = call.named(function, exercise.reference)
                return [Failure(index, "gradient", slope.sentence, inputs, slope.expected, slope.got)]
    return []


def _besides(failures: list[Failure]) -> list[str]:
    """What else there is to say: the first failure of each kind that the first sentence is not about."""
    others = {}
    for failure in failures[1:]:
        if failure.kind in ("argument", "setting") and failure.kind != failures[0].kind:
            others.setdefault(failure.kind, f"{failure.sentence[0].upper()}{failure.sentence[1:]}.")
    return list(others.values())


def _relation(exercise: Exercise, function: Callable, look: _Look) -> str | None:
    """How all wrong results hang together with the expected ones."""
    pairs = []
    for index in sorted({failure.probe for failure in look.failures if failure.kind == "value"}):
        if look.seen[index].raised is not None:
            return None
        calls = zip(look.expected[index].calls[:REPEATED], look.seen[index].calls, strict=False)
        for right, own in calls:
            if not same(right.arguments(), own.arguments()):  # computed from the call before
                continue
            sizes = sizes_of(right.named(function, exercise.reference))
            pairs.append(Pair(right.returned, own.returned, sizes, _transposed(exercise, right)))
    return relation(pairs)


def _transposed(exercise: Exercise, call: Call) -> Callable[[], Any]:
    """What calls the reference with the last two axes of all tensors exchanged; it gives None where that fails."""

    def turned(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.transpose(-1, -2).clone() if value.dim() > 1 else value
        return rebuilt(value, turned)

    def called() -> Any:
        try:
            return call_quietly(exercise.reference, *turned(call.positional), **turned(dict(call.keywords)))
        except Exception:
            return None

    return called


def _place(exercise: Exercise, failure: Failure) -> str:
    """Where a failure was seen, with the inputs if they are small."""
    where = exercise.places[failure.probe]
    inputs = shown(failure.inputs, unless_in=where) if failure.kind in ("value", "gradient") else ""
    return f"{where}, with {inputs}" if inputs else where


def _with_referent(where: str, before: str) -> str:
    """A `where` that points at the one before it, made to stand for itself."""
    if where.startswith("the same"):
        rest = where.removeprefix("the same")
        return before + (rest if rest.startswith((",", ":")) or not rest else f",{rest}")
    points_back = re.match(r"(these|those|its|their|there)\b", where) or re.search(r"\b(there|behind it)\b", where)
    return f"{where} ({before})" if points_back else where


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
    for one, other in zip(expected.calls, got.calls, strict=False):
        if said := difference(one.returned, other.returned, rtol=probe.rtol, atol=probe.atol):
            return said
        if one.carries_gradient and not other.carries_gradient:
            return f"what it returned carries no gradient: look for {cuts(function)}"
    return f"what it returned cannot be used, the check {error_text(got.error, function)}"


def _is_mistake(exercise: Exercise, mistake: Mistake, look: _Look) -> bool:
    """Whether the mistake, under every probe, is seen to do the same as what was seen."""
    if len(look.seen) < len(exercise.probes):
        return False
    pairs = zip(exercise.probes, look.seen, strict=True)
    if not all(_same(probe, observe(probe.observe, mistake.function), got) for probe, got in pairs):
        return False
    if any(failure.kind == "value" for failure in look.failures):
        return True
    found = _look(exercise, mistake.function, quiet=True).failures
    return {(one.probe, one.kind) for one in found} == {(one.probe, one.kind) for one in look.failures}


def _same(probe: Probe, one: Observation, other: Observation) -> bool:
    if one.error is not None or other.error is not None:
        # By its text as well: a RuntimeError alone may have any cause, and a wrong diagnosis is worse than none. But
        # without its numbers: of several bad indices torch names the one that a thread met last.
        texts = [re.sub(r"\d+", "", str(error)) for error in (one.error, other.error)]
        return type(one.error) is type(other.error) and texts[0] == texts[1]
    return difference(one.value, other.value, rtol=probe.rtol, atol=probe.atol) is None


def _bare_signature(function: Callable) -> inspect.Signature:
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)


def _what(value: Any) -> str:
    return repr(value) if value is None or value is ... else f"of the type {type(value).__name__}"
