"""A result that must be differentiable has the reference's gradient; right ones in other words are not refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.arguments import copied
from labkit.checks.exercise import Exercise, Mistake, Probe, Result, check

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


class Terms(NamedTuple):
    loss: Tensor
    penalty: Tensor


def compare(reference: Callable, function: Callable, *inputs: object, **fields: object) -> Result:
    """What a check says of `function` at copies of `inputs`, if `reference` is what is wanted."""
    mistakes = tuple(Mistake(name, lambda *given: torch.zeros(()), f"{name}.") for name in "abc")
    probe = Probe("some inputs", lambda f: _plain(f(*map(copied, inputs))))
    wanted = Exercise("loss", reference, reference, (probe,), ("a", "b", "c"), mistakes, **fields)
    return check(wanted, function)


def _plain(value: object) -> object:
    return value._asdict() if isinstance(value, Terms) else value


def says(reference: Callable, function: Callable, *inputs: object, **fields: object) -> str:
    result = compare(reference, function, *inputs, **fields)
    assert (result.outcome, result.passed, result.failure.kind) == ("not yet", 0, "gradient")
    return result.message


def loss(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum() + x.abs().sum()


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda x, y: torch.tensor(loss(x, y).item()), "`.item()` or `torch.tensor`"),
        (lambda x, y: loss(x.detach(), y.detach()), "`.detach()`"),
        (lambda x, y: loss(x.data, y.data), "`.data`"),
        (torch.no_grad()(lambda x, y: loss(x, y)), "`no_grad`"),
        (lambda x, y: torch.from_numpy(loss(x, y).detach().numpy()), "`.detach()` or `.numpy()`"),
    ],
)
def test_a_result_that_is_cut_off_is_refused_with_the_word_to_look_for(function: Callable, word: str) -> None:
    assert f"it carries no gradient, so that nothing can be trained with it: look for {word}" in says(
        loss, function, X, X + 1
    )


def test_numpy_in_the_middle_is_the_exception_that_training_would_raise() -> None:
    function = lambda x, y: torch.tensor(((x - y).numpy() ** 2).sum()) + x.abs().sum()  # noqa: E731
    assert "with arguments that ask for gradients it raised RuntimeError: Can't call numpy()" in says(
        loss, function, X, X + 1
    )


def test_an_argument_that_gets_no_gradient_is_named_as_the_learner_calls_it() -> None:
    def mine(student, teacher):
        return loss(student, teacher.detach())

    assert "no gradient arrives at `teacher`: look for `.detach()`" in says(loss, mine, X, X + 1)


def test_one_term_of_several_that_is_cut_off_is_noticed() -> None:
    def mine(x, y):
        return (x - y).square().sum() + x.abs().sum().item()

    message = says(loss, mine, X, X + 1)
    assert "the gradient with respect to `x` is not (" in message
    assert "does a term go through `.item()`?" in message


def test_a_gradient_that_is_not_finite_is_refused_where_the_references_is() -> None:
    def lengths(x):
        return x.square().sum(1).clamp(min=1e-12).sqrt()

    at_zero = torch.cat([torch.zeros(1, 3), X])
    assert "the gradient with respect to `x` is NaN in 3 of 15 elements" in says(
        lengths, lambda x: x.square().sum(1).sqrt(), at_zero
    )
    assert "NaN in 3 of 15 elements: `nan_to_num`" in says(
        lambda x: x / lengths(x)[:, None], lambda x: (x / x.square().sum(1, keepdim=True).sqrt()).nan_to_num(), at_zero
    )


@pytest.mark.parametrize(
    ("reference", "function", "x"),
    [
        (lambda x: x.abs(), lambda x: torch.maximum(x, -x), torch.zeros(3)),
        (lambda x: x.relu(), lambda x: x.clamp(min=0), torch.tensor([0.0, 1.0, -1.0])),
        (lambda x: x.max(1).values, lambda x: x.amax(1), torch.ones(3, 2) * 2),
        (lambda x: x.clamp(-1, 1), lambda x: torch.where(x > 1, 1.0, torch.where(x < -1, -1.0, x)), torch.ones(3) * 1),
        (lambda x: x.sort().values, lambda x: x.topk(3).values.flip(0), torch.tensor([2.0, 2.0, 3.0])),
    ],
    ids=["|0|", "relu(0)", "ties", "clamp at its edge", "sort of ties"],
)
def test_where_there_is_a_corner_any_of_its_gradients_will_do(reference: Callable, function: Callable, x) -> None:
    assert compare(reference, function, x).outcome == "correct"


def test_functions_that_agree_only_where_a_condition_holds_may_have_other_gradients() -> None:
    shares = X.softmax(1)
    assert compare(lambda c: c**2, lambda c: c**2 / c.sum(1, keepdim=True), shares).outcome == "correct"


def test_elements_that_are_constant_have_no_gradient_to_compare() -> None:
    def guarded(x):
        edges = x - x[:, None]
        squares = edges.square().sum(2, keepdim=True)
        return edges * squares.masked_fill(squares == 0, torch.inf).rsqrt()

    assert compare(guarded, lambda x: F.normalize(x - x[:, None], dim=2), X).outcome == "correct"


def test_labels_and_masks_ask_for_no_gradient() -> None:
    x = torch.tensor([[1.0, 0, 1]])
    function = lambda logits, x: F.binary_cross_entropy_with_logits(logits, (x > 0.5).float())  # noqa: E731
    assert compare(F.binary_cross_entropy_with_logits, function, X[:1], x).outcome == "correct"


def test_random_numbers_drawn_in_another_way_are_only_asked_for_a_gradient() -> None:
    mean = Exercise(
        "noisy",
        lambda x, generator: x + torch.randn(x.shape, generator=generator),
        torch.add,
        (Probe("the mean", lambda f: f(torch.full((5000,), 2.0), torch.Generator()).mean().item(), atol=0.1),),
        ("a", "b", "c"),
        tuple(Mistake(name, lambda x, generator: x * 0, f"{name}.") for name in "abc"),
    )
    other = lambda x, generator: x + torch.randn(2, *x.shape, generator=generator)[1]  # noqa: E731
    assert check(mean, other).outcome == "correct"
    assert "carries no gradient" in check(mean, lambda x, generator: other(x, generator).detach()).message


def test_the_gradient_is_looked_for_in_tuples_and_dicts() -> None:
    def terms(x):
        return Terms(x.square().sum(), x.abs().sum())

    assert compare(terms, lambda x: Terms(x.pow(2).sum(), x.abs().sum()), X).outcome == "correct"
    assert "the gradient with respect to `x` is not" in says(
        terms, lambda x: Terms(x.square().sum(), x.abs().sum().detach()), X
    )
    as_dict = lambda x: terms(x)._asdict()  # noqa: E731
    assert "carries no gradient" in says(as_dict, lambda x: {k: v.detach() for k, v in as_dict(x).items()}, X)


class Distance(nn.Module):
    """A probe's own network, which is in training mode and counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_the_gradient_of_a_modules_parameters_is_asked_for_and_the_module_left_as_it_was() -> None:
    torch.manual_seed(0)
    module, state = Distance(), None

    def reference(net, x):
        return net(x).square().sum()

    def observed(f: Callable) -> float:
        nonlocal state
        state = copied(module)
        return f(module, X.clone()).item()

    exercise = Exercise(
        "loss",
        reference,
        reference,
        (Probe("a network", observed),),
        ("a", "b", "c"),
        tuple(Mistake(name, lambda net, x: x.sum(), f"{name}.") for name in "abc"),
    )

    def without(net, x):
        for weight in net.parameters():
            weight.requires_grad_(False)
        found = net(x).square().sum()
        for weight in net.parameters():
            weight.requires_grad_(True)
        return found

    assert check(exercise, lambda net, x: (net(x) ** 2).sum()).outcome == "correct"
    assert "no gradient arrives at `net.layers" in check(exercise, without).message
    assert all(weight.grad is None for weight in module.parameters())


def test_an_exercise_that_is_not_trained_through_may_be_detached() -> None:
    cut = lambda x, y: loss(x, y).detach()  # noqa: E731
    assert compare(loss, cut, X, X + 1, differentiable=False).outcome == "correct"
    half = lambda x, y: loss(x, y.detach())  # noqa: E731
    assert compare(loss, half, X, X + 1, differentiable=("x",)).outcome == "correct"
    assert "carries no gradient" in says(loss, cut, X, X + 1, differentiable=("x",))


def test_nothing_is_asked_where_the_reference_carries_no_gradient() -> None:
    cut = lambda x, y: loss(x, y).detach()  # noqa: E731
    assert compare(cut, lambda x, y: torch.tensor(loss(x, y).item()), X, X + 1).outcome == "correct"


def test_what_is_meant_to_change_its_argument_has_a_gradient_all_the_same() -> None:
    def halve_(x):
        return x.mul_(0.5).square()

    assert compare(halve_, lambda x: x.div_(2).pow(2), X, changes=("x",)).outcome == "correct"
    assert "carries no gradient" in says(halve_, lambda x: x.data.div_(2).pow(2), X, changes=("x",))
