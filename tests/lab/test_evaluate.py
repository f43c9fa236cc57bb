"""What is measured of networks, against counts by hand, definitions and scikit-learn."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from sklearn.metrics import roc_auc_score
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.lab import evaluate
from labkit.lab.evaluate import (
    accuracy,
    auc_by_class,
    knn_accuracy,
    knn_predict,
    macs,
    milliseconds,
    parameter_count,
    predict,
    roc_auc,
    saved_megabytes,
)


def inputs(count: int = 7) -> Tensor:
    return normal(count, 3, dtype=torch.float32)


class Both(NamedTuple):
    doubled: Tensor
    pair: tuple[Tensor, Tensor]


# ---- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_predictions_are_those_of_one_batch_in_the_order_of_the_inputs(batch_size: int) -> None:
    sizes = []

    def model(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return 2 * x

    assert torch.equal(predict(model, inputs(), batch_size), 2 * inputs())
    assert sum(sizes) == 7
    assert max(sizes) == min(batch_size, 7)


def test_several_outputs_are_joined_one_by_one_and_keep_their_names() -> None:
    x = inputs()
    found = predict(lambda x: Both(2 * x, (x[:, :1], x.sum(1))), x, batch_size=3)
    assert isinstance(found, Both)
    assert torch.equal(found.doubled, 2 * x)
    assert torch.equal(found.pair[0], x[:, :1])
    assert torch.equal(found.pair[1], x.sum(1))


def test_no_gradient_is_kept() -> None:
    assert not predict(nn.Linear(3, 2), inputs()).requires_grad


@pytest.mark.parametrize("as_method", [False, True])
def test_a_network_is_in_evaluation_mode_and_then_as_it_was_each_part_of_it(as_method: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = model[0].running_mean.clone()
    found = predict(model.forward if as_method else model, inputs(), batch_size=3)
    assert [module.training for module in model.modules()] == modes == [True, True, False, True]
    assert torch.equal(model[0].running_mean, before)
    assert torch.equal(found, model.eval()(inputs()))


def test_a_network_that_fails_is_as_it_was_too() -> None:
    model = nn.Linear(4, 2)
    with pytest.raises(RuntimeError, match="shapes"):
        predict(model, inputs())
    assert model.training


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_needs_an_input(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {batch_size}"):
        predict(nn.Identity(), inputs(), batch_size)


def test_accuracy_is_the_share_of_inputs_with_the_largest_output_at_their_label() -> None:
    scores = torch.tensor([[1.0, 0], [0, 1], [3, 2], [0, 5]])
    assert accuracy(nn.Identity(), scores, torch.tensor([0, 1, 1, 1]), batch_size=3) == 0.75


# ---- codes and scores -----------------------------------------------------------------------------------------------

KNOWN, CLASSES = torch.tensor([[0.0], [1], [2], [10], [11]]), torch.tensor([0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    "given", [lambda t: t, lambda t: t.numpy(), lambda t: t.clone().requires_grad_(t.is_floating_point())]
)
def test_the_nearest_codes_vote(given: Callable) -> None:
    new = torch.tensor([[0.4], [2.4], [9.0]])
    assert knn_predict(given(KNOWN), given(CLASSES), given(new), neighbors=1).tolist() == [0, 1, 1]
    assert knn_predict(given(KNOWN), given(CLASSES), given(new), neighbors=3).tolist() == [0, 0, 1]
    labels = torch.tensor([0, 1, 1])
    assert knn_accuracy(given(KNOWN), given(CLASSES), given(new), given(labels), neighbors=3) == pytest.approx(2 / 3)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() -> None:
    scores, positive = torch.tensor([1.0, 2, 2, 3, 0]), torch.tensor([False, True, False, True, False])
    pairs = list(itertools.product(scores[positive].tolist(), scores[~positive].tolist()))
    expected = sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)
    assert roc_auc(scores, positive).item() == pytest.approx(expected)
    assert roc_auc(scores.numpy(), positive.numpy()).item() == pytest.approx(roc_auc_score(positive, scores))


def test_each_column_of_scores_has_its_own_auc() -> None:
    positive = torch.arange(20) % 3 == 0
    scores = torch.stack([positive.float(), -positive.float(), torch.zeros(20)], 1)
    assert roc_auc(scores, positive).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(("positive", "count"), [([False, False], 0), ([True, True], 2)])
def test_roc_auc_needs_both_kinds(positive: list[bool], count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} of 2 are positive"):
        roc_auc(torch.zeros(2), torch.tensor(positive))


def test_each_class_is_separated_from_all_others_by_its_column_or_by_one_score() -> None:
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    scores = normal(6, 3)
    expected = {k: roc_auc_score(labels == k, scores[:, k]) for k in (0, 1, 2)}
    assert auc_by_class(scores, labels) == pytest.approx(expected)
    assert auc_by_class(scores[:, 0].numpy(), labels.numpy()) == pytest.approx(
        {k: roc_auc_score(labels == k, scores[:, 0]) for k in (0, 1, 2)}
    )
    assert list(auc_by_class(scores, labels, classes=(2, 0))) == [2, 0]
    with pytest.raises(ValueError, match="0 of 6 are positive"):
        auc_by_class(scores[:, 0], labels, classes=[5])


# ---- cost -----------------------------------------------------------------------------------------------------------


def test_a_parameter_that_is_used_twice_counts_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    assert parameter_count(model) == 12 + 6 + 12
    model[2].weight = model[0].weight
    assert parameter_count(model) == 12 + 6 + 3


class Routed(nn.Module):
    """A matrix product without a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nd,df->nf", x, torch.ones(3, 5))


@pytest.mark.parametrize(
    ("model", "shape", "by_hand"),
    [
        (nn.Linear(3, 4), (3,), 3 * 4),
        (nn.Linear(3, 4, bias=False), (5, 3), 5 * 3 * 4),
        (nn.Conv2d(2, 3, 3, padding=1), (2, 4, 6), 4 * 6 * 3 * 2 * 9),
        (nn.Conv2d(2, 3, 3, stride=2), (2, 7, 7), 3 * 3 * 3 * 2 * 9),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5), 3 * 3 * 6 * 2 * 9),
        (nn.Conv1d(1, 8, 5), (1, 10), 6 * 8 * 5),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 10)),
            (1, 5, 5),
            342,
        ),
        (Routed(), (3,), 15),
    ],
    ids=["linear", "linear on rows", "padded", "strided", "grouped", "1d", "network", "no layer"],
)
def test_multiply_accumulates_are_those_counted_by_hand_whatever_the_batch(
    model: nn.Module, shape: tuple[int, ...], by_hand: int
) -> None:
    for count in (1, 5):
        assert macs(model, torch.zeros(count, *shape)) == by_hand
    assert model.training


def test_counting_needs_no_numbers() -> None:
    with torch.device("meta"):
        assert macs(nn.Linear(10_000, 10_000), torch.zeros(1, 10_000)) == 10**8


def test_the_memory_kept_for_the_backward_pass_is_that_of_its_tensors() -> None:
    x = torch.randn(1000, 250, generator=seeded(), requires_grad=True)  # 1 MB
    assert saved_megabytes(lambda x: x + 1, x) == 0
    assert saved_megabytes(lambda x: x.exp(), x) == pytest.approx(1)
    assert saved_megabytes(lambda x: x.exp().exp().sum(), x) == pytest.approx(2)


def test_what_is_dropped_on_the_way_counts_each_time_wherever_it_lay() -> None:
    x = torch.rand(250, 1000, requires_grad=True)

    def drops(x: Tensor) -> Tensor:
        for _ in range(5):
            (2 * x).sin()  # the memory of 2 * x is free again, and may be that of the next one
        return (2 * x).sin()

    assert saved_megabytes(drops, x) == pytest.approx(6)


def test_weights_are_no_memory_of_the_forward_pass() -> None:
    x = torch.randn(1000, 250, generator=seeded(), requires_grad=True)
    assert saved_megabytes(nn.Linear(250, 250), x) == pytest.approx(1)  # its input, not the 0.25 MB of its weights


def test_memory_is_that_of_a_training_and_the_network_stays_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(250), nn.Dropout(0.5)).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(1000, 250, generator=seeded(), requires_grad=True)
    assert saved_megabytes(model, x) > 1, "the input of the one, and what the other has dropped"
    assert saved_megabytes(model[1], x) > 0, "in evaluation mode dropout keeps nothing"
    assert not model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_of_several_calls_the_fastest_counts(monkeypatch) -> None:
    clock = iter([0.0, 0.5, 1.0, 1.25, 2.0, 3.0])
    monkeypatch.setattr(evaluate, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: next(clock))}))
    calls: list[tuple] = []
    assert milliseconds(lambda *given: calls.append(given), 1, "two") == 250
    assert calls == [(1, "two")] * 3


def test_milliseconds_are_milliseconds() -> None:
    assert 10 <= milliseconds(time.sleep, 0.01, repeats=2) < 1000
