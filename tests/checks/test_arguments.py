"""Copies of arguments see every change, and are what they were copied from."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from labkit.checks.arguments import Call, copied, name_of, same, shown, twin

Pair = namedtuple("Pair", "mean axes")


@dataclass(frozen=True)
class Episode:
    rewards: torch.Tensor
    steps: list


def arguments() -> dict:
    """One of each kind, each time anew."""
    return {
        "tensor": torch.tensor([1.0, float("nan")]),
        "view": torch.arange(6.0).view(2, 3)[:, 1],
        "array": np.arange(3.0),
        "list": [torch.ones(2), 3],
        "dict": {"a": {"b": torch.ones(2)}},
        "named tuple": Pair(torch.ones(2), [1]),
        "dataclass": Episode(torch.ones(2), [1, 2]),
        "set": {1, 2},
        "module": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
    }


def zero(tensor: torch.Tensor) -> None:
    tensor.data.zero_()


CHANGES = {
    "tensor": zero,
    "view": lambda view: view.data.add_(1),
    "array": lambda array: array.fill(7),
    "list": lambda given: given.append(1),
    "dict": lambda given: zero(given["a"]["b"]),
    "named tuple": lambda pair: pair.axes.append(2),
    "dataclass": lambda episode: zero(episode.rewards),
    "set": lambda given: given.add(3),
    "module": lambda module: module.eval(),
}


@pytest.mark.parametrize("kind", arguments())
def test_a_copy_is_the_same_until_the_argument_is_changed(kind: str) -> None:
    value = arguments()[kind]
    copy = copied(value)
    assert same(copy, value)
    CHANGES[kind](value)
    assert not same(copy, value)


@pytest.mark.parametrize("kind", [kind for kind in arguments() if kind != "module"])
def test_a_copy_is_of_the_same_kind(kind: str) -> None:
    value = arguments()[kind]
    assert type(copied(value)) is type(value)
    assert same(copied(copied(value)), value)


def test_what_changes_shape_or_dtype_is_another() -> None:
    value = torch.zeros(2, 1)
    copy = copied(value)
    value.squeeze_()
    assert not same(copy, value)
    assert not same(copied(torch.ones(1)), torch.ones(1, dtype=torch.int64))


def test_a_random_generator_may_be_used_and_its_copy_draws_what_it_would_have_drawn() -> None:
    generator = torch.Generator().manual_seed(3)
    copy = copied(generator)
    drawn = torch.rand(2, generator=generator)
    assert same(copy, generator)
    assert torch.equal(torch.rand(2, generator=copy), drawn)


def test_a_module_can_be_had_as_it_was() -> None:
    module = nn.BatchNorm1d(2)
    state = copied(module)
    module(torch.randn(5, 2))
    module.eval()
    before = twin(state)
    assert before is not module
    assert before.training
    assert before.running_mean.tolist() == [0, 0]


def test_arguments_have_the_names_of_the_first_signature_that_names_them() -> None:
    def mine(x, *rest):
        return x

    def reference(a, b, *, c=0):
        return a

    assert [name_of(key, mine, reference) for key in (0, 1, "c", 5)] == ["x", "b", "c", "argument 6"]
    call = Call((1, 2), {"c": 3}, None, False, ())
    assert call.named(mine, reference) == {"x": 1, "b": 2, "c": 3}


def test_small_inputs_are_shown_but_for_what_was_said_already_and_for_generators() -> None:
    small = {"mu": torch.tensor([[0.5, -1]]), "k": 2, "box": (0, 1), "generator": torch.Generator()}
    assert shown(small) == "mu = [[0.5, -1]], k = 2, box = [0, 1]"
    assert shown(small, unless_in="two units, k = 2") == "mu = [[0.5, -1]], box = [0, 1]"
    assert shown(small | {"x": torch.zeros(9)}) == ""
    assert shown({"x": [torch.zeros(5), torch.zeros(5)]}) == ""
    assert shown({"net": nn.Linear(1, 1)}) == ""
