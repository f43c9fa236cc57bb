"""What `difference` says about two results, and when it says nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labkit.checks.difference import comparable, difference, snapshot

ONE = torch.ones(())
NAN, INF = math.nan, math.inf


def said(expected: object, got: object) -> str | None:
    return difference(expected, got, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0001])),
        (torch.tensor([NAN, INF]), torch.tensor([NAN, INF])),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (ONE.expand(3), torch.ones(3, requires_grad=True)),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (torch.tensor([True]), torch.tensor([True])),
        (torch.tensor([1, 2]), torch.tensor([1, 2], dtype=torch.uint8)),
        (2.0, 2),
        (2.0, torch.tensor(2.0)),
        (True, torch.tensor(True)),
        (True, 1),
        (0.5, np.float32(0.5)),
        (True, np.bool_(True)),
        (NAN, NAN),
        (INF, INF),
        ("left", "left"),
        (None, None),
        ((1.0, "a"), [1.0, "a"]),
        ({"mean": 1.0, "shape": (2, 3)}, {"shape": [2, 3], "mean": 1.0}),
    ],
)
def test_says_nothing_about_results_that_are_as_good(expected: object, got: object) -> None:
    assert said(expected, got) is None


@pytest.mark.parametrize(
    ("expected", "got", "sentence"),
    [
        (ONE, None, "returned None: is the `return` missing?"),
        (None, 1.0, "expected None, got a float"),
        (torch.zeros(3), 0.5, "expected a torch tensor of shape (3,), got a float"),
        (torch.zeros(3), np.zeros(3), "expected a torch tensor of shape (3,), got a numpy array"),
        (ONE, (ONE, ONE), "expected a torch tensor of shape (), got a tuple of 2"),
        (0.5, torch.ones(1), "expected a float, got a torch tensor of shape (1,)"),
        (0.5, ONE, "expected 0.5, got 1"),
        (torch.eye(2), torch.eye(2).to_sparse(), "expected a tensor of layout torch.strided, got torch.sparse_coo"),
        (torch.eye(2), torch.eye(2, device="meta"), "expected a torch tensor of shape (2, 2), got a torch tensor of"),
        (torch.zeros(3), ONE, "expected shape (3,), got ()"),
        (
            ONE,
            torch.ones(2, 3).max(1),
            "expected a torch tensor of shape (), got all that torch.max returns, values and",
        ),
        (0.5, torch.ones(2, 3).sort(1), "expected a float, got all that torch.sort returns, values and indices: take"),
        (ONE, torch.tensor(NAN), "expected finite values, got NaN"),
        (torch.ones(4), torch.tensor([1, INF, -INF, 1]), "expected finite values, got inf in 2 of 4 elements"),
        (ONE, ONE * 3, "expected 1, got 3"),
        (1.0, 1.5, "expected 1, got 1.5"),
        (1.0, NAN, "expected 1, got nan"),
        (INF, 1.0, "expected inf, got 1"),
        (
            torch.tensor([INF, 1.0]),
            torch.ones(2),
            "expected [inf, 1], got [1, 1] (largest difference inf at index [0])",
        ),
        (torch.tensor([7, 100_000]), torch.tensor([7, 100_001]), "expected [7, 100000], got [7, 100001] (largest"),
        (torch.tensor([True, True]), torch.tensor([True, False]), "expected [True, True], got [True, False]"),
        ("left", "right", "expected 'left', got 'right'"),
        ((1, 2), (1, 2, 3), "expected 2 values, got 3"),
        ((1.0, 2.0), (1.0, 5.0), "in value 2 of 2: expected 2, got 5"),
        ({"mu": 1.0}, {"mean": 1.0}, "expected the keys ['mu'], got ['mean']"),
        ({"mu": 1.0}, {"mu": None}, "in mu: returned None: is the `return` missing?"),
    ],
)
def test_says_first_what_a_reader_must_mend_first(expected: object, got: object, sentence: str) -> None:
    assert said(expected, got).startswith(sentence)


@pytest.mark.parametrize(
    ("expected", "got", "sentence"),
    [
        (ONE, ONE.double(), "expected dtype float32, got float64"),
        (ONE, ONE.double() + 1, "expected dtype float32, got float64, and the values differ"),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), "expected dtype int64, got float32"),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.5]), "expected dtype int64, got float32, and the values differ"),
        (torch.tensor([1, 0]), torch.tensor([True, False]), "expected dtype int64, got bool"),
        (ONE, ONE + 1j, "expected dtype float32, got complex64, and the values differ"),
    ],
)
def test_tells_of_another_dtype_whether_the_values_differ_as_well(expected, got, sentence: str) -> None:
    assert said(expected, got) == sentence


def test_shows_a_small_tensor_whole_and_where_the_worst_element_is() -> None:
    sentence = said(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.5, 14.12345]]))
    assert (
        sentence == "expected [[1, 2], [3, 4]], got [[1, 2], [3.5, 14.12]] (largest difference 10.12 at index [1, 1])"
    )


def test_sums_up_a_large_tensor() -> None:
    got = torch.zeros(10, 20)
    got[3, 7], got[0, 0] = 0.5, 0.1
    sentence = said(torch.zeros(10, 20), got)
    assert sentence == "2 of 200 elements differ; largest difference 0.5 at index [3, 7]: expected 0, got 0.5"


def test_shows_more_digits_where_four_would_look_alike() -> None:
    assert difference(1.0, 1.00001, rtol=0, atol=0) == "expected 1, got 1.00001"


def test_cannot_call_an_unknown_kind_of_value_equal() -> None:
    thing = object()
    assert said(thing, thing) == "expected an object, got an object"
    assert not comparable((1.0, {"thing": thing}))
    assert comparable((1.0, {"shape": (2, 3), "value": ONE, "note": None}))


def test_snapshot_is_out_of_reach_of_later_changes() -> None:
    tensor = torch.ones(2, requires_grad=True)
    copy = snapshot({"pair": (tensor, 1)})
    with torch.no_grad():
        tensor.mul_(5)
    assert copy["pair"][0].tolist() == [1, 1]
    assert not copy["pair"][0].requires_grad
