"""How a wrong result hangs together with the expected one, and when nothing is said."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from labkit.checks.relations import Pair, relation, sizes_of

GENERATOR = torch.Generator().manual_seed(2)
FIVE, SEVEN = torch.randn(5, 3, generator=GENERATOR), torch.randn(7, 4, generator=GENERATOR)


def said(change: Callable, *results: object) -> str | None:
    """Of a function that makes this of the expected results."""
    return relation([Pair(result, change(result), {}) for result in results or (FIVE, SEVEN)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: -y, "the negative of what is expected"),
        (lambda y: 2 * y, "2 times what is expected"),
        (lambda y: y / 2, "half of what is expected"),
        (lambda y: y / math.log(2), "1/ln 2 times what is expected: a logarithm of base 2?"),
        (lambda y: y * math.log(2), "ln 2 times what is expected: bits taken for nats?"),
        (lambda y: 3.7 * y, "3.7 times what is expected"),
        (lambda y: y.T, "the expected one transposed"),
        (lambda y: y + 1, "everywhere 1 more than what is expected"),
        (lambda y: y - 0.5, "everywhere 0.5 less than what is expected"),
        (lambda y: y.flip(0), "the expected one in the reverse order along axis 0"),
        (lambda y: y.sort(1).values, "made of the expected values, in another order"),
        (lambda y: y.sum(), "the sum of all that is expected"),
        (lambda y: y.mean(0), "the mean of what is expected over axis 0"),
    ],
)
def test_one_relation_that_explains_all_results_is_named(change: Callable, words: str) -> None:
    assert said(change) == f"Its result is {words}."


@pytest.mark.parametrize("change", [lambda y: y**2, lambda y: y + torch.arange(y.shape[1]), lambda y: y * 0])
def test_where_nothing_of_the_kind_explains_it_nothing_is_said(change: Callable) -> None:
    assert said(change) is None


def test_a_relation_that_does_not_explain_every_result_is_not_named() -> None:
    assert relation([Pair(FIVE, 2 * FIVE, {}), Pair(SEVEN, 3 * SEVEN, {})]) is None
    assert relation([Pair(FIVE, 2 * FIVE, {}), Pair(torch.zeros(2), torch.ones(2), {})]) is None


def test_nothing_fits_where_all_that_is_expected_is_zero_or_one_number() -> None:
    assert said(lambda y: y + 1, torch.zeros(4)) is None
    assert said(lambda y: 2 * y, torch.ones(4)) is None
    assert said(lambda y: 2 * y, 3.0) is None
    assert said(lambda y: y + 1, 3.0, 3.0) is None
    assert said(lambda y: y.T, torch.eye(3)) is None


def test_a_single_number_tells_of_nothing_but_a_sign_and_of_a_factor_at_two_probes() -> None:
    assert said(lambda y: -y, 3.0) == "Its result is the negative of what is expected at this probe."
    assert said(lambda y: 2 * y, 3.0, 4.0) == "Its result is 2 times what is expected."
    assert said(lambda y: y + 2, torch.tensor(3.0), torch.tensor(4.0)).endswith("2 more than what is expected.")


def test_a_factor_that_is_a_size_of_the_arguments_is_called_so() -> None:
    def pair(x: torch.Tensor, change: Callable) -> Pair:
        return Pair(x.square().sum(1), change(x), sizes_of({"x": x, "k": 2}))

    def of(change: Callable) -> str | None:
        return relation([pair(FIVE, change), pair(SEVEN, change)])

    assert of(lambda x: x.square().mean(1)) == ("Its result is the expected one divided by the last dimension of `x`.")
    assert of(lambda x: x.square().sum(1) * len(x)) == (
        "Its result is the expected one times the first dimension of `x`."
    )
    alone = relation([pair(FIVE, lambda x: x.square().mean(1))])
    assert alone == "Its result is the expected one divided by the last dimension of `x`, 3."


def test_a_sum_over_the_other_axis_is_seen_by_what_the_reference_makes_of_transposed_arguments() -> None:
    pairs = [Pair(x.sum(1), x.sum(0), {}, lambda x=x: x.T.sum(1)) for x in (FIVE, SEVEN)]
    assert relation(pairs) == "Its result is what is expected of transposed arguments: it runs over the other axis."


def test_the_part_of_a_result_that_is_wrong_is_named() -> None:
    assert said(lambda y: (y[0], 2 * y[1]), (FIVE, SEVEN)) == "Value 2 of 2 is 2 times what is expected."
    assert said(lambda y: {"loss": -y["loss"]}, {"loss": FIVE}) == "Its loss is the negative of what is expected."


def test_results_of_another_kind_are_not_explained() -> None:
    assert said(lambda y: 2 * y.numpy(), FIVE) is None
    assert said(lambda y: y.sum().item(), FIVE) is None
    assert said(lambda y: y * math.nan, FIVE) is None
    assert relation([]) is None
