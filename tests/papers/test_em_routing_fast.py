"""EM routing as the layer runs it, against `em_routing`: values, gradients, and the memory that it takes."""

from __future__ import annotations

import pytest
import torch
from tensors import normal
from torch import Tensor

from labkit.lab.evaluate import macs
from labkit.papers.em_routing_fast import FittedGaussians, fitted_gaussians
from labkit.papers.self_routing_capsules import CapsuleNetwork, EMRouting2d, em_routing

pytestmark = pytest.mark.usefixtures("one_thread")

LOWER, WINDOWS, UPPER, SIDE = 18, 7, 4, 3
NAMES = ("activations", "means", "to poses", "to a", "to weight", "to beta_u", "to beta_a")


def drawn(M: int = WINDOWS, dtype: torch.dtype = torch.float64, *, active: float = 1.0) -> list[Tensor]:
    """Poses (I, M, n * n), activations (M, I), matrices (I, n, B, n), beta_u and beta_a (B,)."""
    shapes = [(LOWER, M, SIDE**2), (M, LOWER), (LOWER, SIDE, UPPER, SIDE), (UPPER,), (UPPER,)]
    inputs = [normal(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes)]
    inputs[1] = active * inputs[1].sigmoid()
    return [x.requires_grad_() for x in inputs]


def plain(poses: Tensor, a: Tensor, weight: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3):
    n = weight.shape[1]
    votes = torch.einsum("imxy,iybz->mbixz", poses.unflatten(2, (n, n)), weight).flatten(3)  # (M, B, I, n * n)
    return em_routing(votes, a, beta_u, beta_a, rounds)


def values_and_gradients(routing, inputs: list[Tensor], rounds: int = 3) -> dict[str, Tensor]:
    outputs = routing(*inputs, rounds)
    weighted = sum((x * normal(*x.shape, seed=9).to(x.dtype)).sum() for x in outputs)
    found = (*outputs, *torch.autograd.grad(weighted, inputs))
    return {name: x.detach() for name, x in zip(NAMES, found, strict=True)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Each within `tolerance` of the largest number of its kind."""
    for name, x in expected.items():
        off = (found[name] - x).abs().max() / x.abs().max().clamp(min=1e-30)
        assert off <= tolerance, f"{name} is off by {off:.1e} of its largest number"


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
@pytest.mark.parametrize("at_a_time", [1, 3, 7, 100])
def test_values_and_gradients_are_those_of_em_routing(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float, rounds: int, at_a_time: int
) -> None:
    inputs = drawn(dtype=dtype)
    monkeypatch.setattr(FittedGaussians, "PART", at_a_time * inputs[2].numel())
    found = values_and_gradients(fitted_gaussians, inputs, rounds)
    assert {x.dtype for x in found.values()} == {dtype}
    assert_same(found, values_and_gradients(plain, inputs, rounds), tolerance)


def test_so_they_are_where_windows_do_not_fit_into_one_part_as_it_is() -> None:
    inputs = drawn(M=2 * FittedGaussians.PART // (LOWER * UPPER * SIDE**2) + 1, dtype=torch.float32)
    assert_same(values_and_gradients(fitted_gaussians, inputs), values_and_gradients(plain, inputs), 1e-4)


def test_votes_far_from_0_that_lie_close_together_cost_no_more_digits_than_in_em_routing() -> None:
    """Means of 100, deviations of 0.1: float32 would get variances wrong by a tenth as E[V^2] - mu^2."""
    poses, a, weight, *betas = (x.detach().float() for x in drawn())
    single = [x.requires_grad_() for x in (torch.ones_like(poses), a, 100 / SIDE + 0.1 * weight, *betas)]
    expected = values_and_gradients(plain, [x.detach().double().requires_grad_() for x in single])
    for routing in (fitted_gaussians, plain):
        assert_same(values_and_gradients(routing, single), expected, 5e-3)


def test_nor_do_gaussians_that_close_in_on_a_few_votes_far_from_where_they_began() -> None:
    """After five rounds some variances are near their floor, so a rounded difference weighs 10^8 times as much."""
    poses, a, weight, *betas = (x.detach().float() for x in drawn())
    poses[:12], weight[:12] = poses[:1].clone(), weight[:1] + 0.1 * weight[:12]  # twelve that nearly agree
    single = [x.requires_grad_() for x in (poses, a, weight, *betas)]
    expected = values_and_gradients(plain, [x.detach().double().requires_grad_() for x in single], 5)
    for routing in (fitted_gaussians, plain):
        assert_same(values_and_gradients(routing, single, 5), expected, 1e-4)


@pytest.mark.parametrize("active", [0.0, 1e-15, 5e-14], ids=["none", "far below EPSILON", "below EPSILON"])
def test_where_nothing_is_active_gradients_are_finite_and_those_of_em_routing(active: float) -> None:
    inputs = drawn(active=active)
    found = values_and_gradients(fitted_gaussians, inputs)
    assert active or not found["means"].any()
    assert all(x.isfinite().all() for x in found.values())
    assert_same(found, values_and_gradients(plain, inputs), 1e-9)


def test_upper_capsules_that_are_not_active_get_the_gradients_of_em_routing() -> None:
    """sigmoid(-500) is below EPSILON, where the logarithm's gradient ends."""
    inputs = drawn()
    with torch.no_grad():
        inputs[4][0] = -1e6
    found = values_and_gradients(fitted_gaussians, inputs)
    assert found["activations"][:, 0].max() < 1e-12
    assert_same(found, values_and_gradients(plain, inputs), 1e-9)


def test_a_window_in_which_nothing_is_active_leaves_the_others_alone() -> None:
    inputs = drawn()
    with torch.no_grad():
        inputs[1][2] = 0
    assert_same(values_and_gradients(fitted_gaussians, inputs), values_and_gradients(plain, inputs), 1e-9)


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_gradient_agrees_with_finite_differences(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    inputs = [normal(3, 3, 4), normal(3, 3, seed=1).sigmoid(), normal(3, 2, 2, 2, seed=2), normal(2), normal(2, seed=3)]
    monkeypatch.setattr(FittedGaussians, "PART", 2 * inputs[2].numel())  # two windows, and one
    inputs = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(lambda *inputs: fitted_gaussians(*inputs, rounds), inputs)


def test_matrices_in_another_order_in_memory_get_the_same_gradient() -> None:
    inputs = drawn()
    expected = values_and_gradients(fitted_gaussians, inputs)
    inputs[2] = inputs[2].detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
    assert not inputs[2].is_contiguous()
    assert_same(values_and_gradients(fitted_gaussians, inputs), expected, 1e-12)


def test_without_gradients_the_values_are_the_same_and_only_a_part_of_the_votes_is_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = drawn()
    monkeypatch.setattr(FittedGaussians, "PART", inputs[2].numel())
    expected = fitted_gaussians(*inputs)
    sizes, new_empty = [], Tensor.new_empty
    monkeypatch.setattr(Tensor, "new_empty", lambda x, *shape: sizes.append(shape) or new_empty(x, *shape))
    with torch.no_grad():
        found = fitted_gaussians(*inputs)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
    assert (1, UPPER, SIDE**2, LOWER) in sizes
    assert (WINDOWS, UPPER, SIDE**2, LOWER) not in sizes


def test_a_layer_counts_the_products_of_the_votes_and_two_of_each_m_step_and_one_of_each_e_step() -> None:
    """Votes: n products for each number. On a device that computes nothing the count is the same."""
    numbers = 9 * 3 * 4 * 16  # of the votes of one place: I, B, D
    for device in ("cpu", "meta"):
        with torch.device(device):
            layer, lower = EMRouting2d(3, 4, 16, kernel=3), (torch.ones(2, 3, 5, 5), torch.ones(2, 48, 5, 5))
            network = CapsuleNetwork(torch.nn.Identity(), 1, 3, "em", classes=4, types=3, pose=16)
            counted = macs(network, torch.ones(2, 1, 3, 3)) - 9 * 9 * 3 * (16 + 1)  # the primary capsules
            assert counted == numbers * (4 + 3 * 2 + 2)
            assert [x.shape for x in layer(*lower)] == [(2, 4, 3, 3), (2, 64, 3, 3)]


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one round, got 0"):
        fitted_gaussians(*drawn(), rounds=0)
