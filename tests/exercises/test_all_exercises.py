"""Every exercise there is: stub, common mistakes, reference, differently written answers, broken functions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import labkit.exercises
from labkit.checks.edits import BLANK
from labkit.checks.exercise import Exercise, check, solution
from labkit.checks.sandbox import observe, random_states_kept

EXERCISES = [
    pytest.param(exercise, id=f"{topic}-{exercise.name}")
    for _, topic, _ in pkgutil.iter_modules(labkit.exercises.__path__)
    if not topic.startswith("_")
    for module in [importlib.import_module(f"labkit.exercises.{topic}")]
    for exercise in [*module.EXERCISES, *getattr(module, "MORE", ())]
]
OTHER_ANSWERS: dict[str, tuple[Callable, ...]] = {
    name: answers
    for path in sorted(Path(__file__).with_name("answers").glob("*.py"))
    for name, answers in importlib.import_module(f"answers.{path.stem}").ANSWERS.items()
}
over_exercises = pytest.mark.parametrize("exercise", EXERCISES)


@pytest.mark.parametrize("exercise", [param for param in EXERCISES if param.values[0].answer])
def test_the_plain_answer_is_correct_has_the_exercises_name_and_is_shown_with_blanks(exercise: Exercise) -> None:
    assert check(exercise, exercise.answer).outcome == "correct"
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
    return found


@over_exercises
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    assert check(exercise, stub).outcome == "not attempted"


@over_exercises
def test_the_reference_is_correct_and_is_the_papers_own_function(exercise: Exercise) -> None:
    result = check(exercise, exercise.reference)
    assert (result.outcome, result.passed) == ("correct", len(exercise.probes))
    assert exercise.reference.__module__.startswith("labkit.papers.")
    assert exercise.reference.__name__ == exercise.name
    assert solution(exercise).startswith(f"def {exercise.name}(")


@over_exercises
def test_differently_written_right_answers_are_correct(exercise: Exercise) -> None:
    others = (*exercise.alternatives, *OTHER_ANSWERS.get(exercise.name, ()))
    assert others
    for answer in others:
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
        broken_edit = type(error) is NameError or (isinstance(error, ValueError) and "not once" in str(error))
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
