"""What a learner is shown of a function can be pasted into a notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from labkit.checks.source import source_of, untyped
from labkit.exercises import self_routing_capsules


def weighted(x: Tensor, *more: Tensor, ü: dict | None = None, scale: float = 2.0, **rest: int) -> list:
    def times(one: Tensor) -> Tensor:  # shape: (N,) -> (N,)
        return scale * one

    return [times(each) for each in (x, *more)]


def test_types_are_left_out_and_all_else_stays() -> None:
    assert untyped(weighted).splitlines() == [
        "def weighted(x, *more, ü=None, scale=2.0, **rest):",
        "    def times(one):  # shape: (N,) -> (N,)",
        "        return scale * one",
        "",
        "    return [times(each) for each in (x, *more)]",
    ]


def plain(x, y=1):
    return x + y


def split(
    layers: list[Callable],
    x: Tensor,  # (N, 3)
) -> Tensor:
    return layers[0](x)


@pytest.mark.parametrize(
    ("function", "shown"), [(plain, None), (split, "def split(\n    layers,\n    x,  # (N, 3)\n):")]
)
def test_a_signature_without_types_or_over_several_lines(function: Callable, shown: str | None) -> None:
    assert untyped(function).startswith(shown or source_of(function))


@pytest.mark.parametrize("exercise", self_routing_capsules.EXERCISES, ids=lambda exercise: exercise.name)
def test_what_is_shown_does_what_the_answer_does(exercise) -> None:
    """Under the names that a lesson has: no type is among them."""
    scope = {name: value for name, value in vars(self_routing_capsules).items() if name != "Tensor"}
    exec(untyped(exercise.answer), scope)
    for probe in exercise.probes:
        assert str(probe.observe(scope[exercise.name])) == str(probe.observe(exercise.answer))
