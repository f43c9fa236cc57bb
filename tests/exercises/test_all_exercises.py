"""Every exercise there is: stub, common mistakes, reference, differently written answers, broken functions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import labkit.exercises
from labkit.checks.arguments import name_of
from labkit.checks.edits import BLANK, edited
from labkit.checks.exercise import Exercise, check, solution
from labkit.checks.sandbox import Observation, observe, random_states_kept
from labkit.lab.optimizers import leave_out_compiler

MODULES = [
    importlib.import_module(f"labkit.exercises.{topic}")
    for _, topic, _ in pkgutil.iter_modules(labkit.exercises.__path__)
    if not topic.startswith("_")
]


def more(module: ModuleType) -> tuple[Exercise, ...]:
    """The exercises of a module that no lesson holds yet."""
    return getattr(module, "MORE", ())


EXERCISES = [
    pytest.param(exercise, id=f"{module.__name__.rpartition('.')[2]}-{exercise.name}")
    for module in MODULES
    for exercise in [*module.EXERCISES, *more(module)]
]
OTHER_ANSWERS: dict[str, tuple[Callable, ...]] = {
    name: answers
    for path in sorted(Path(__file__).with_name("answers").glob("*.py"))
    for name, answers in importlib.import_module(f"answers.{path.stem}").ANSWERS.items()
}
over_exercises = pytest.mark.parametrize("exercise", EXERCISES)


@pytest.fixture(scope="module", autouse=True)
def as_in_a_lesson() -> None:
    """An answer with an optimizer of torch's does not import the compiler within its time limit."""
    leave_out_compiler()


@over_exercises
def test_the_plain_answer_is_correct_has_the_exercises_name_and_is_shown_with_blanks(exercise: Exercise) -> None:
    assert check(exercise, edited(exercise.answer)).outcome == "correct"
    assert exercise.answer.__name__ == exercise.name
    assert BLANK in exercise.hints[2]
    assert exercise.hints[2].startswith(f"def {exercise.name}(")
    assert list(inspect.signature(exercise.answer).parameters) == list(inspect.signature(exercise.reference).parameters)


def stub(*args, **kwargs):
    raise NotImplementedError


def each_tensor(value: Any, change: Callable) -> Any:
    """What a reference returns, whatever it is made of, with every tensor (and number) in it changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (int, float)):
        return change(torch.tensor(float(value))).tolist()
    if isinstance(value, (tuple, list)):
        return tuple(each_tensor(item, change) for item in value)
    if isinstance(value, dict):
        return {key: each_tensor(item, change) for key, item in value.items()}
    return value


def broken(exercise: Exercise) -> dict[str, tuple[Callable | None, str]]:
    """Functions that are wrong in ways that any exercise must survive, each with a word of what is said about it."""

    def crash(*args, **kwargs):
        raise ZeroDivisionError("inside the learner's function")

    def changed(change: Callable) -> Callable:
        return lambda *args, **kwargs: each_tensor(exercise.reference(*args, **kwargs), change)

    with random_states_kept():
        answer = observe(exercise.probes[0].observe, exercise.reference).returns[0]
    several = isinstance(answer, (tuple, list))
    of_numbers = not any(isinstance(part, torch.Tensor) for part in (answer if several else (answer,)))
    found = {
        "raises": (crash, "ZeroDivisionError"),
        "returns None": (lambda *args, **kwargs: None, "None"),
        "returns a list": (lambda *args, **kwargs: [1.0], "got 1" if several else "list"),
        "returns NaN": (changed(lambda tensor: torch.full_like(tensor, float("nan"))), ""),
        "returns float64": (changed(torch.Tensor.double), "float64"),
        "returns another shape": (changed(lambda tensor: tensor[None, None]), ""),
        "takes no arguments": (lambda: None, "called"),
        "is no function": (None, "None"),
        "exits": (lambda *args, **kwargs: exit(1), "SystemExit"),
    }
    if of_numbers:
        del found["returns float64"]  # a number has no dtype
    if answer is None:  # what it returns is of no account, but to do nothing is wrong
        del found["returns NaN"], found["returns another shape"]
        found |= {what: (found[what][0], "") for what in ("returns None", "returns a list")}
    return found


@over_exercises
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    assert check(exercise, stub).outcome == "not attempted"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_an_exercise_whose_stub_no_lesson_holds_says_in_its_docstring_what_is_asked_for(module: ModuleType) -> None:
    for exercise in more(module):
        summary = inspect.getdoc(exercise.answer).splitlines()[0]
        assert summary.endswith((".", ";", ":"))
        assert summary in solution(exercise)
        assert summary in exercise.hints[2]


# What the checks demand and neither the formula nor the signature tells.
DEMANDED = {
    "attack_step": ("numbers, or tensors (3, 1, 1)",),
    "kl_sparsity": ("clamped to [1e-6, 1 - 1e-6]",),
    "whiten": ("N - 1", "epsilon times the mean"),
    "em_routing": ("r starts at 1", "lambda = 0.01 (1 - 0.95^t)", "1e-8 is added to each variance"),
    "self_routing": ("i = place * A + type",),
    "distill_step": ("the student is put into training mode, the teacher into evaluation mode", "maps[0]"),
    "lcn_features": ("zca_whitening",),
    "shifted_similarity": ("from -(N_in - 1) to N_in - 1", "zeros beyond the ends", "rows of zeros are left out"),
    "ascend": ("(steps + 1, B)", "from 0"),
    "back_project": ("(1, C, H, W) -> (1, C, H, W)", "nn.Conv2d, nn.ReLU and nn.MaxPool2d"),
}


@pytest.mark.parametrize("name", DEMANDED)
def test_the_docstring_names_what_the_checks_demand(name: str) -> None:
    (exercise,) = (e for module in MODULES for e in [*module.EXERCISES, *more(module)] if e.name == name)
    told = " ".join(inspect.getdoc(exercise.answer).split()).lower()
    assert [words for words in DEMANDED[name] if words.lower() not in told] == []


@over_exercises
def test_the_reference_is_correct_and_is_the_papers_own_function(exercise: Exercise) -> None:
    result = check(exercise, lambda *args, **kwargs: exercise.reference(*args, **kwargs))
    assert (result.outcome, result.passed) == ("correct", len(exercise.probes))
    assert [check(exercise, exercise.reference).outcome for _ in range(2)] == ["reference"] * 2
    assert exercise.reference.__module__.startswith("labkit.papers.")
    assert exercise.reference.__name__ == exercise.name
    assert solution(exercise).startswith(f"def {exercise.name}(")


@over_exercises
def test_differently_written_right_answers_are_correct(exercise: Exercise) -> None:
    assert OTHER_ANSWERS[exercise.name]
    for answer in OTHER_ANSWERS[exercise.name]:
        assert inspect.getsource(answer) != inspect.getsource(exercise.reference)
        assert check(exercise, answer).outcome == "correct"


@over_exercises
def test_common_mistakes_are_called_by_their_names_and_leave_the_random_numbers_alone(exercise: Exercise) -> None:
    wrong = []
    for mistake in exercise.mistakes:
        random_numbers = torch.get_rng_state()
        result = check(exercise, mistake.function)
        if (result.outcome, result.mistake) != ("not yet", mistake.name):
            wrong.append(f"{mistake.name} is taken for {result.mistake}: {result.outcome}, {result.message}")
        elif not result.message.startswith(mistake.message):
            wrong.append(f"{mistake.name} is explained by {result.message}")
        if not torch.equal(torch.get_rng_state(), random_numbers):
            wrong.append(f"{mistake.name} changes the random numbers of the lesson")
    assert not wrong, "\n".join(wrong)


@over_exercises
def test_each_mistake_can_be_made_from_the_answer(exercise: Exercise) -> None:
    """An edit that does not fit, or names what is not there, raises the same at each probe, as if recognized."""
    for mistake in exercise.mistakes:
        error = observe(exercise.probes[0].observe, mistake.function).error
        broken_edit = type(error) is NameError or (
            isinstance(error, ValueError) and any(words in str(error) for words in ("not once", "is no edit of"))
        )
        assert not broken_edit, f"{mistake.name}: {error}"


@over_exercises
def test_the_messages_and_hints_of_an_exercise_differ(exercise: Exercise) -> None:
    said = [*exercise.hints, *(mistake.message for mistake in exercise.mistakes)]
    assert len(set(said)) == len(said)
    assert all(sentence.endswith((".", "?", ")", "]")) or "return" in sentence or "=" in sentence for sentence in said)


@over_exercises
def test_broken_functions_are_not_yet_right_and_the_lab_says_what_is_wrong(exercise: Exercise) -> None:
    for what, (function, word) in broken(exercise).items():
        result = check(exercise, function)
        assert result.outcome == "not yet", f"{exercise.name}: a function that {what}"
        assert word in result.message, f"{exercise.name}: a function that {what}: {result.message}"
        assert len(result.message) > 20


def seen(exercise: Exercise) -> list[Observation]:
    """What the reference does under every probe."""
    with random_states_kept():
        return [observe(probe.observe, exercise.reference) for probe in exercise.probes]


def is_differentiable(exercise: Exercise) -> bool:
    """Whether some result carries a gradient when floating-point arguments, or the modules among them, ask for one."""

    def asking(value: Any) -> Any:
        return value.requires_grad_() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    carried = []

    def recorded(*args, **kwargs):
        asked = [each_tensor_of(given, asking) for given in (args, kwargs)]
        carries_gradient(exercise.reference(*asked[0], **asked[1]), carried)
        return exercise.reference(*args, **kwargs)

    with random_states_kept():
        for probe in exercise.probes:
            observe(probe.observe, recorded)
    return any(carried)


def each_tensor_of(value: Any, change: Callable) -> Any:
    """Arguments with copies of their tensors changed; what else they hold as it is."""
    if isinstance(value, torch.Tensor):
        return change(value.detach().clone())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(each_tensor_of(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(each_tensor_of(item, change) for item in value)
    return {key: each_tensor_of(item, change) for key, item in value.items()} if isinstance(value, dict) else value


def carries_gradient(value: Any, found: list[bool]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value.requires_grad)
    elif isinstance(value, (tuple, list)):
        for item in value:
            carries_gradient(item, found)


@over_exercises
def test_an_answer_without_a_gradient_is_refused_where_the_reference_has_one(exercise: Exercise) -> None:
    def without(*args, **kwargs):
        return each_tensor(exercise.reference(*args, **kwargs), torch.Tensor.detach)

    def only_values(*args, **kwargs):
        with torch.no_grad():
            return exercise.reference(*args, **kwargs)

    wanted = exercise.differentiable and is_differentiable(exercise)
    for twin in (without, only_values):
        result = check(exercise, twin)
        if wanted:
            assert result.outcome == "not yet", result.message
            assert "gradient" in result.message
        else:  # only a probe of its own may still ask for one
            assert result.failure is None or result.failure.kind == "value", result.message


@over_exercises
def test_an_answer_that_changes_an_argument_is_refused_by_the_arguments_name(exercise: Exercise) -> None:
    parameters = {
        key for one in seen(exercise) for call in one.calls for key, value in call.arguments().items()
        if isinstance(value, torch.Tensor) and value.numel() and key not in call.changed
    }  # fmt: skip
    for key in parameters - {key for key in parameters if name_of(key, exercise.reference) in exercise.changes}:

        def changes(*args, _key=key, **kwargs):
            given = {**dict(enumerate(args)), **kwargs}
            result = exercise.reference(*args, **kwargs)
            if isinstance(given.get(_key), torch.Tensor):
                result = copied_results(result)
                given[_key].data.copy_(~given[_key] if given[_key].dtype == torch.bool else given[_key] + 1)
            return result

        result = check(exercise, changes)
        name = name_of(key, exercise.reference)
        assert result.outcome == "not yet", f"a change of {name}"
        assert f"changes its argument `{name}`: work on a copy" in result.message or result.mistake, result.message


def copied_results(value: Any) -> Any:
    """A result that shares no memory with an argument, and still carries its gradient."""
    return each_tensor(value, torch.Tensor.clone) if isinstance(value, (torch.Tensor, tuple)) else value


def tensors(exercise: Exercise) -> list[torch.Tensor]:
    """What the reference returns at the probes, also within tuples and the like."""
    found: list[torch.Tensor] = []
    for one in seen(exercise):
        each_tensor(one.returns, lambda tensor: found.append(tensor) or tensor)
    return found


@over_exercises
def test_a_constant_factor_is_named_unless_it_is_a_common_mistake(exercise: Exercise) -> None:
    factors = {2.0: "2 times what is expected", -1.0: "the negative of what is expected", 0.5: "half of what is"}
    for factor, words in factors.items():
        twin = lambda *args, **kwargs: each_tensor(exercise.reference(*args, **kwargs), lambda y: factor * y)  # noqa: B023, E731
        result = check(exercise, twin)
        if result.outcome == "correct":  # there is nothing to multiply
            assert all(one.returns[0] is None for one in seen(exercise))
            continue
        assert result.outcome == "not yet"
        assert words in result.message or result.mistake, result.message


@over_exercises
def test_a_transposed_result_is_named_unless_it_is_a_common_mistake(exercise: Exercise) -> None:
    def transposed(*args, **kwargs):
        return each_tensor(exercise.reference(*args, **kwargs), lambda y: y.transpose(-1, -2) if y.dim() > 1 else y)

    result = check(exercise, transposed)
    if all(y.dim() < 2 or torch.equal(y, y.transpose(-1, -2)) for y in tensors(exercise)):
        assert result.outcome == "correct"  # nothing to transpose
    else:
        assert result.outcome == "not yet"
        assert "transposed" in result.message or result.mistake, result.message
