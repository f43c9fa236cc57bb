"""The method against values worked out by hand, against torch.distributions and scikit-learn, and against finite
differences. Which fact of the lesson a test checks stands in its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from tensors import normal, seeded
from torch import Tensor, nn
from torch.distributions import Bernoulli, kl_divergence

from labkit.papers.sparse_autoencoders import (
    SparseAutoencoder,
    dead_units,
    effective_dimension,
    explained_image,
    jump_relu,
    kl_sparsity,
    kl_sparsity_as_printed,
    l1_penalty,
    normalize_decoder_,
    objective,
    parts,
    recovery,
    replacement_atoms,
    ridge,
    sparse_features,
    squared_error,
    top_k,
)

RHO = 0.05
DIVERGENCES = pytest.mark.parametrize("divergence", [kl_sparsity, kl_sparsity_as_printed])


pytestmark = pytest.mark.usefixtures("one_thread")


def sigmoids(*shape: int, seed: int = 0) -> Tensor:
    return torch.sigmoid(2 * normal(*shape, seed=seed) - 1)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def build(
    inputs: int = 5,
    hidden: int = 7,
    activation: Callable[[Tensor], Tensor] = torch.relu,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> SparseAutoencoder:
    """A model whose weights and biases come from a generator of its own, so that no global seed is needed."""
    with torch.random.fork_rng():
        model = SparseAutoencoder(inputs, hidden, activation).to(dtype)
    generator = seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=generator)
    return model


def gradients(cost: Tensor, model: nn.Module) -> Tensor:
    """d cost / d every parameter, in one vector; 0 for a parameter that the cost does not contain."""
    found = torch.autograd.grad(cost, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return nn.utils.parameters_to_vector(found)


# ---- the KL penalty -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rho_hat", "correct", "printed"),
    [
        (0.01, 0.041291, 0.992088),
        (0.05, 0.0, 0.95),
        (0.10, 0.016707, 0.968120),
        (0.40, 0.332584, 1.400195),
        (0.50, 0.494632, 1.689871),
    ],
)
def test_both_formulas_have_the_values_of_the_table(rho_hat: float, correct: float, printed: float) -> None:
    assert kl_sparsity(numbers(rho_hat), RHO).item() == pytest.approx(correct, abs=5e-7)
    assert kl_sparsity_as_printed(numbers(rho_hat), RHO).item() == pytest.approx(printed, abs=5e-7)


def test_the_kl_from_a_tenth_to_four_tenths_is_the_value_quoted_by_a_textbook_author() -> None:
    assert kl_sparsity(numbers(0.4), 0.1).item() == pytest.approx(0.226289161, abs=5e-10)


def test_the_gradient_where_a_unit_should_be_on_5_percent_of_the_time_and_is_on_20_is_15_sixteenths() -> None:
    rho_hat = numbers(0.2).requires_grad_()
    (slope,) = torch.autograd.grad(kl_sparsity(rho_hat, RHO), rho_hat)
    assert slope.item() == pytest.approx(0.9375, abs=1e-12)


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.3, 0.5])
def test_the_kl_stays_when_on_and_off_change_their_names(rho: float) -> None:
    rho_hat = sigmoids(20)
    torch.testing.assert_close(kl_sparsity(rho_hat, rho), kl_sparsity(1 - rho_hat, 1 - rho))


def test_the_kl_is_not_symmetric_in_its_two_arguments() -> None:
    assert kl_sparsity(numbers(0.4), 0.1).item() != pytest.approx(kl_sparsity(numbers(0.1), 0.4).item(), rel=0.05)


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kl_is_the_sum_of_those_between_bernoullis(rho: float, dtype: torch.dtype) -> None:
    h = sigmoids(30, 8).to(dtype)
    expected = kl_divergence(Bernoulli(torch.full((8,), rho, dtype=dtype)), Bernoulli(h.mean(0))).sum()
    torch.testing.assert_close(kl_sparsity(h, rho), expected, rtol=1e-5, atol=1e-6)


def test_the_kl_is_zero_where_every_unit_has_the_wanted_mean_and_positive_elsewhere() -> None:
    assert kl_sparsity(torch.full((6,), RHO, dtype=torch.float64), RHO).item() == pytest.approx(0, abs=1e-14)
    elsewhere = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert all(kl_sparsity(rho_hat[None], RHO) > 0 for rho_hat in elsewhere if not math.isclose(rho_hat, RHO))


@DIVERGENCES
def test_activations_cost_what_their_mean_over_the_batch_costs(divergence: Callable) -> None:
    h = sigmoids(30, 8)
    assert torch.equal(divergence(h, RHO), divergence(h.mean(0), RHO))
    assert divergence(h, RHO).shape == ()


def test_units_that_are_on_for_the_wanted_share_of_the_examples_cost_nothing_however_far_on() -> None:
    h = torch.eye(4, dtype=torch.float64)  # each unit is fully on for a quarter of the examples
    assert kl_sparsity(h, 0.25).item() == pytest.approx(0, abs=1e-12)
    example_by_example = torch.stack([kl_sparsity(example, 0.25) for example in h]).mean()
    assert example_by_example > 4  # ... which drives every single activation to rho


def test_the_penalty_pulls_at_every_example_of_a_unit_with_the_same_force() -> None:
    h = sigmoids(30, 8).requires_grad_()
    (pull,) = torch.autograd.grad(kl_sparsity(h, RHO), h)
    rho_hat = h.detach().mean(0)
    torch.testing.assert_close(pull[0], (-RHO / rho_hat + (1 - RHO) / (1 - rho_hat)) / 30)
    assert torch.equal(pull, pull[:1].expand(30, 8))


def test_torchs_kl_div_of_the_means_is_the_first_term_alone() -> None:
    rho_hat = sigmoids(8)
    rho = torch.full_like(rho_hat, RHO)
    first = (rho * torch.log(rho / rho_hat)).sum()
    torch.testing.assert_close(F.kl_div(rho_hat.log(), rho, reduction="sum"), first)
    torch.testing.assert_close(nn.KLDivLoss(reduction="sum")(rho_hat.log(), rho), first)
    outcomes = torch.stack([rho_hat, 1 - rho_hat]), torch.stack([rho, 1 - rho])
    torch.testing.assert_close(F.kl_div(outcomes[0].log(), outcomes[1], reduction="sum"), kl_sparsity(rho_hat, RHO))
    assert F.kl_div(numbers(0.5).log(), numbers(RHO), reduction="sum") < 0  # no divergence is


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [0.0, 1.0])
@DIVERGENCES
def test_a_unit_that_is_always_off_or_always_on_costs_a_finite_amount(
    divergence: Callable, activation: float, dtype: torch.dtype
) -> None:
    h = torch.full((6, 3), activation, dtype=dtype, requires_grad=True)
    cost = divergence(h, RHO)
    cost.backward()
    assert cost.isfinite()
    assert cost > kl_sparsity(torch.full((3,), 1e-3 if activation == 0 else 0.999), RHO)
    assert h.grad.isfinite().all()


# ---- the misprint ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.2])
def test_the_misprint_is_1_minus_rho_where_a_divergence_is_0(rho: float) -> None:
    assert kl_sparsity_as_printed(numbers(rho), rho).item() == pytest.approx(1 - rho, abs=1e-12)


def derivatives(divergence: Callable, rho_hat: float, rho: float) -> tuple[float, float]:
    """The first and the second derivative for one unit."""
    at = numbers(rho_hat).requires_grad_()
    (first,) = torch.autograd.grad(divergence(at, rho), at, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), at)
    return first.item(), second.item()


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.2])
def test_the_misprint_hides_because_its_gradient_vanishes_at_the_same_place(rho: float) -> None:
    assert derivatives(kl_sparsity, rho, rho)[0] == pytest.approx(0, abs=1e-12)
    assert derivatives(kl_sparsity_as_printed, rho, rho)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.2])
def test_the_misprint_is_curved_too_much_by_one_part_in_1_minus_rho(rho: float) -> None:
    assert derivatives(kl_sparsity, rho, rho)[1] == pytest.approx(1 / rho + 1 / (1 - rho))
    assert derivatives(kl_sparsity_as_printed, rho, rho)[1] == pytest.approx(1 / rho + 2 / (1 - rho))


@pytest.mark.parametrize("rho_hat", [0.01, 0.2, 0.6])
def test_the_slope_of_the_misprint_has_its_second_term_squared(rho_hat: float) -> None:
    slope, _ = derivatives(kl_sparsity_as_printed, rho_hat, RHO)
    assert slope == pytest.approx(-RHO / rho_hat + ((1 - RHO) / (1 - rho_hat)) ** 2)


# ---- the L1 penalty -------------------------------------------------------------------------------------------------


def test_the_l1_penalty_sums_over_units_and_averages_over_examples() -> None:
    assert l1_penalty(torch.tensor([[0.5, -1, 0], [2, 0, -4]])).item() == 3.75
    h = normal(6, 8)
    torch.testing.assert_close(l1_penalty(torch.cat([h, h])), l1_penalty(h))  # twice the examples
    torch.testing.assert_close(l1_penalty(torch.cat([h, h], dim=1)), 2 * l1_penalty(h))  # twice the units


def split_in_two(model: SparseAutoencoder) -> SparseAutoencoder:
    """Every unit becomes two of half its activation, each with its atom: twice as wide, and the same function."""
    outputs, inputs = model.decoder.weight.shape[0], model.encoder.weight.shape[1]
    wide = build(inputs, 2 * model.encoder.weight.shape[0])
    assert outputs == inputs
    with torch.no_grad():
        wide.encoder.weight.copy_(torch.cat([model.encoder.weight] * 2) / 2)
        wide.encoder.bias.copy_(torch.cat([model.encoder.bias] * 2) / 2)
        wide.decoder.weight.copy_(torch.cat([model.decoder.weight] * 2, dim=1))
        wide.decoder.bias.copy_(model.decoder.bias)
    return wide


def test_lambda_means_the_same_after_every_unit_is_split_in_two_but_not_with_a_mean_over_units() -> None:
    model, x = build(), normal(9, 5)
    wide = split_in_two(model)
    torch.testing.assert_close(wide(x)[0], model(x)[0])
    torch.testing.assert_close(objective(wide, x, l1=0.7), objective(model, x, l1=0.7))
    torch.testing.assert_close(wide(x)[1].abs().mean(), model(x)[1].abs().mean() / 2)


@pytest.mark.parametrize("c", [2.0, 100.0])
def test_small_activations_and_large_atoms_pay_less_l1_for_the_same_reconstruction(c: float) -> None:
    model, x = build(), normal(9, 5)
    x_hat, h = model(x)
    with torch.no_grad():
        model.encoder.weight /= c
        model.encoder.bias /= c
        model.decoder.weight *= c
    cheated, small = model(x)
    torch.testing.assert_close(cheated, x_hat)
    torch.testing.assert_close(l1_penalty(small), l1_penalty(h) / c)


# ---- atoms of length 1 ----------------------------------------------------------------------------------------------


def test_every_atom_gets_length_1_and_keeps_its_direction() -> None:
    weight = normal(5, 7) * torch.logspace(-3, 3, 7, dtype=torch.float64)
    before = weight.clone()
    normalize_decoder_(weight)
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close((weight * before).sum(0), before.norm(dim=0))


def test_the_weight_of_a_layer_is_changed_in_place_and_stays_a_parameter() -> None:
    weight = build().decoder.weight
    assert normalize_decoder_(weight) is weight
    assert weight.requires_grad
    assert weight.is_leaf
    torch.testing.assert_close(weight.detach().norm(dim=0), torch.ones(7, dtype=torch.float64))


def test_an_atom_of_zeros_stays_zero() -> None:
    weight = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    assert torch.equal(normalize_decoder_(weight), torch.tensor([[0.6, 0.0], [0.8, 0.0]]))


def test_after_normalising_no_scale_of_the_atoms_is_left_to_cheat_with() -> None:
    weight = normal(5, 7)
    torch.testing.assert_close(normalize_decoder_(1000 * weight), normalize_decoder_(weight.clone()))


# ---- the whole cost -------------------------------------------------------------------------------------------------


def test_without_penalties_the_cost_is_the_plain_autoencoders_to_the_last_bit() -> None:
    model, x = build(dtype=torch.float32), normal(9, 5, dtype=torch.float32)
    plain = squared_error(model(x)[0], x).mean()
    assert torch.equal(objective(model, x), plain)
    assert torch.equal(objective(model, x, l1=0, beta=0, weight_decay=0), plain)
    assert torch.equal(gradients(objective(model, x), model), gradients(plain, model))


def test_the_squared_error_is_half_of_the_sum_over_the_inputs_of_each_example() -> None:
    error = squared_error(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [0, 0, 4]]))
    assert error.tolist() == [6.5, 8.0]


def test_the_cost_is_the_sum_of_its_four_terms() -> None:
    model, x = build(activation=torch.sigmoid), normal(9, 5)
    x_hat, h = model(x)
    w1, w2 = model.encoder.weight, model.decoder.weight
    expected = (
        0.5 * (x_hat - x).norm(dim=1).square().mean()
        + 0.3 * h.sum() / 9
        + 2.0 * kl_divergence(Bernoulli(numbers(0.1).expand(7)), Bernoulli(h.mean(0))).sum()
        + 0.01 / 2 * (w1.norm().square() + w2.norm().square())
    )
    torch.testing.assert_close(objective(model, x, l1=0.3, beta=2.0, rho=0.1, weight_decay=0.01), expected)


def test_the_divergence_can_be_exchanged_for_the_printed_one() -> None:
    model, x = build(activation=torch.sigmoid), normal(9, 5)
    h = model.encode(x)
    printed = objective(model, x, beta=3, divergence=kl_sparsity_as_printed)
    torch.testing.assert_close(printed - objective(model, x), 3 * kl_sparsity_as_printed(h, RHO))


def test_the_penalties_on_activations_leave_the_decoder_alone_and_weight_decay_the_biases() -> None:
    model, x = build(activation=torch.sigmoid), normal(9, 5)
    h = model.encode(x)
    w1, b1, w2, b2 = model.parameters()
    for penalty in (l1_penalty(h), kl_sparsity(h, RHO)):
        found = torch.autograd.grad(penalty, [w1, b1, w2, b2], allow_unused=True, retain_graph=True)
        assert [gradient is None for gradient in found] == [False, False, True, True]
    decay = objective(model, x, weight_decay=0.3) - objective(model, x)
    of_w1, of_b1, of_w2, of_b2 = torch.autograd.grad(decay, [w1, b1, w2, b2])
    torch.testing.assert_close((of_w1, of_w2), (0.3 * w1.detach(), 0.3 * w2.detach()))
    torch.testing.assert_close((of_b1, of_b2), (torch.zeros_like(b1), torch.zeros_like(b2)))


COSTS = {
    "KL and weight decay, as in the lecture notes": (torch.sigmoid, {"beta": 3, "rho": 0.01, "weight_decay": 1e-4}),
    "all penalties": (torch.sigmoid, {"l1": 0.2, "beta": 0.5, "rho": 0.05, "weight_decay": 0.1}),
    "the misprint": (torch.sigmoid, {"beta": 3, "divergence": kl_sparsity_as_printed}),
    "L1 on a ReLU": (torch.relu, {"l1": 0.2}),
}


@pytest.mark.parametrize(("activation", "penalties"), COSTS.values(), ids=COSTS)
def test_the_gradient_of_the_whole_cost_is_that_of_central_differences_to_1e_8(
    activation: Callable, penalties: dict
) -> None:
    model, x = build(activation=activation), normal(9, 5)
    assert model.encoder(x).abs().min() > 1e-3, "a ReLU has a kink where differences are taken"
    exact = gradients(objective(model, x, **penalties), model)
    at = nn.utils.parameters_to_vector(model.parameters()).detach()
    numerical, step = torch.empty_like(at), 1e-5
    with torch.no_grad():
        for i, direction in enumerate(torch.eye(len(at), dtype=at.dtype)):
            costs = []
            for moved in (at + step * direction, at - step * direction):
                nn.utils.vector_to_parameters(moved, model.parameters())
                costs.append(objective(model, x, **penalties))
            numerical[i] = (costs[0] - costs[1]) / (2 * step)
    assert (numerical - exact).norm() < 1e-8 * exact.norm()


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (l1_penalty, normal(4, 3)),
        (lambda h: kl_sparsity(h, RHO), sigmoids(4, 3)),
        (lambda h: kl_sparsity_as_printed(h, RHO), sigmoids(4, 3)),
        (lambda h: top_k(h, 2), normal(4, 5)),
        (lambda h: jump_relu(h, 0.3), normal(4, 5)),
        (lambda x_hat: squared_error(x_hat, normal(4, 5, seed=1)), normal(4, 5)),
    ],
    ids=["l1", "kl", "misprint", "top_k", "jump_relu", "squared_error"],
)
def test_each_gradient_passes_torchs_own_check(function: Callable, at: Tensor) -> None:
    assert torch.autograd.gradcheck(function, at.clone().requires_grad_())


class Costed(nn.Module):
    """The whole cost of a model as a module, whose parameters torch can exchange."""

    def __init__(self, model: SparseAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return objective(self.model, x, l1=0.2, beta=0.5, weight_decay=0.1)


def test_the_whole_cost_passes_torchs_own_check_of_gradients() -> None:
    costed, x = Costed(build(activation=torch.sigmoid)), normal(9, 5)
    names, weights = zip(*costed.named_parameters(), strict=True)

    def cost(*weights: Tensor) -> Tensor:
        return torch.func.functional_call(costed, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(cost, weights)
    costed.model.output = torch.sigmoid
    assert torch.autograd.gradcheck(cost, weights)


def silent(activation: Callable, bias: float) -> SparseAutoencoder:
    """A float32 model of which every unit is always off, or for a sigmoid and a positive bias always on."""
    model = build(activation=activation, dtype=torch.float32)
    nn.init.constant_(model.encoder.bias, bias)
    return model


def test_a_dead_relu_layer_has_a_finite_cost_and_no_gradient_in_its_encoder() -> None:
    model, x = silent(torch.relu, -1000.0), normal(9, 5, dtype=torch.float32)
    x_hat, h = model(x)
    assert not h.any()
    assert torch.equal(x_hat, model.decoder.bias.expand(9, 5))
    cost = objective(model, x, l1=1.0, beta=3.0, weight_decay=1e-4)  # all zeros is in [0, 1], so the KL is defined
    assert cost.isfinite()
    assert gradients(cost, model).isfinite().all()
    assert gradients(objective(model, x, l1=1.0), model)[: model.encoder.weight.numel()].eq(0).all()


@pytest.mark.parametrize("bias", [-1000.0, -30.0, 30.0, 1000.0])
@DIVERGENCES
def test_a_saturated_sigmoid_layer_has_a_finite_cost_and_finite_gradients(divergence: Callable, bias: float) -> None:
    model, x = silent(torch.sigmoid, bias), normal(9, 5, dtype=torch.float32)
    cost = objective(model, x, l1=1.0, beta=3.0, weight_decay=1e-4, divergence=divergence)
    assert cost.isfinite()
    assert gradients(cost, model).isfinite().all()


@pytest.mark.parametrize("name", ["l1", "beta", "weight_decay"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_penalty_with_a_weight_that_is_no_price_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} weighs a penalty and must be a number that is not negative, got"):
        objective(build(activation=torch.sigmoid), normal(9, 5), **{name: value})


@pytest.mark.parametrize("rho", [0.0, 1.0, -0.1, 1.1, math.nan])
@DIVERGENCES
def test_a_share_of_the_time_outside_0_and_1_is_refused(divergence: Callable, rho: float) -> None:
    said = f"rho is a share of the time and must lie strictly between 0 and 1, got {rho}"
    with pytest.raises(ValueError, match=said):
        divergence(sigmoids(9, 4), rho)
    with pytest.raises(ValueError, match=said):
        objective(build(activation=torch.sigmoid), normal(9, 5), beta=1.0, rho=rho, divergence=divergence)


@pytest.mark.parametrize(
    "h",
    [torch.relu(3 * normal(9, 4)), torch.tanh(normal(9, 4)), torch.full((9, 4), math.nan), numbers(0.5, math.nan)],
    ids=["ReLU", "tanh", "NaN", "one NaN"],
)
@DIVERGENCES
def test_activations_that_are_no_shares_are_refused_and_sigmoids_recommended(divergence: Callable, h: Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs activations in \[0, 1\], got \[.*\]: use sigmoid units, not ReLU or"):
        divergence(h, RHO)


def test_one_nan_among_many_activations_is_found() -> None:
    h = sigmoids(9, 4)
    h[3, 2] = math.nan
    with pytest.raises(ValueError, match=r"needs activations in \[0, 1\], got \[nan, nan\]"):
        kl_sparsity(h, RHO)


def test_a_relu_layer_under_the_kl_penalty_is_refused_by_the_objective() -> None:
    with pytest.raises(ValueError, match="use sigmoid units, not ReLU or tanh"):
        objective(build(), 9 * normal(9, 5), beta=1.0)


@pytest.mark.parametrize("shape", [(), (0, 4), (0,), (2, 3, 4)])
@DIVERGENCES
def test_activations_of_another_shape_are_refused(divergence: Callable, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"activations \(B, m\) or their means \(m,\) are needed, got the shape \("):
        divergence(torch.full(shape, 0.5), RHO)


# ---- k units, no penalty --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k_keeps_the_k_largest_of_each_example_where_they_were(k: int) -> None:
    h = normal(20, 7)
    kept = top_k(h, k)
    assert ((kept != 0).sum(-1) == k).all()
    assert torch.equal(kept[kept != 0], h[kept != 0])
    torch.testing.assert_close(kept.sum(-1), h.sort(dim=-1, descending=True).values[:, :k].sum(-1))


def test_of_equal_activations_exactly_k_are_kept() -> None:
    for h in (torch.ones(4, 6), torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.5]])):
        assert ((top_k(h, 3) != 0).sum(-1) == 3).all()
    assert top_k(torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.5]]), 3)[0, [0, 4]].tolist() == [2.0, 0.0]


def test_behind_a_relu_fewer_than_k_units_are_active_where_fewer_are_positive() -> None:
    h = torch.relu(torch.tensor([[-1.0, 2.0, -3.0, 0.0], [1.0, 2.0, 3.0, 4.0]]))
    assert effective_dimension(top_k(h, 3)).tolist() == [1, 3]


def test_the_gradient_passes_through_the_kept_units_alone() -> None:
    h = normal(9, 6).requires_grad_()
    kept = top_k(h, 2)
    (gradient,) = torch.autograd.grad(kept.sum(), h)
    assert torch.equal(gradient, (kept != 0).double())


def test_top_k_leaves_the_activations_that_it_is_given_alone() -> None:
    h = normal(9, 6)
    top_k(h, 2)
    assert torch.equal(h, normal(9, 6))


def test_a_k_sparse_autoencoder_uses_at_most_k_units_for_each_example() -> None:
    model = build(activation=lambda a: top_k(torch.relu(a), 2))
    used = effective_dimension(model.encode(normal(50, 5)), threshold=0)
    assert used.max() == 2


@pytest.mark.parametrize("k", [0, 6, -1])
def test_a_number_of_units_that_the_layer_does_not_have_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must lie between 1 and the 5 units, got {k}"):
        top_k(normal(4, 5), k)


# ---- a threshold that does not shrink -------------------------------------------------------------------------------


def test_a_jump_relu_keeps_what_exceeds_the_threshold_at_its_size_and_silences_the_rest() -> None:
    h = torch.tensor([[0.2, 0.5, 0.75, -0.9], [3.0, 0.0, -0.5, 0.625]])
    assert jump_relu(h, 0.5).tolist() == [[0.0, 0.0, 0.75, 0.0], [3.0, 0.0, 0.0, 0.625]]  # 0.5 does not exceed 0.5


def test_a_jump_relu_at_0_is_a_relu() -> None:
    for h in (normal(4, 9), normal(9), normal(2, 3, 4), torch.zeros(3, 2)):
        assert torch.equal(jump_relu(h, 0), torch.relu(h))


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_a_jump_relu_jumps_by_the_threshold_that_a_shifted_relu_takes_off(threshold: float) -> None:
    h = normal(20, 7)
    shifted, kept = torch.relu(h - threshold), jump_relu(h, threshold)
    assert torch.equal(kept > 0, shifted > 0)
    torch.testing.assert_close(kept - shifted, threshold * (kept > 0).double())


def test_nothing_exceeds_an_infinite_threshold() -> None:
    assert not jump_relu(normal(4, 5), math.inf).any()


def test_each_unit_can_have_a_threshold_of_its_own() -> None:
    h, thresholds = normal(2, 9, 4), numbers(0.0, 0.5, 1.0, math.inf)
    expected = torch.stack([jump_relu(h[..., j], thresholds[j].item()) for j in range(4)], dim=-1)
    assert torch.equal(jump_relu(h, thresholds), expected)
    assert torch.equal(jump_relu(h, torch.full((4,), 0.5)), jump_relu(h, 0.5))


def test_the_gradient_passes_through_what_exceeds_the_threshold_unchanged_and_not_to_the_threshold() -> None:
    h, threshold = normal(9, 6).requires_grad_(), torch.full((6,), 0.3, dtype=torch.float64, requires_grad=True)
    of_h, of_threshold = torch.autograd.grad(
        jump_relu(h, threshold).sum(), [h, threshold], allow_unused=True, materialize_grads=True
    )
    assert torch.equal(of_h, (h > 0.3).double())
    assert not of_threshold.any()


def test_a_jump_relu_leaves_the_activations_that_it_is_given_alone_and_keeps_their_dtype() -> None:
    h = normal(9, 6, dtype=torch.float32)
    assert jump_relu(h, numbers(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)).dtype == torch.float32
    assert torch.equal(h, normal(9, 6, dtype=torch.float32))


def test_an_activation_that_is_nan_is_not_taken_for_a_silent_one() -> None:
    assert jump_relu(numbers(math.nan, 1.0, -1.0), 0.5).isnan().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("threshold", "said"),
    [(-0.5, "-0.5"), (math.nan, "nan"), (torch.tensor([0.1, -0.2, 0.3]), "-0.2"), (numbers(0.1, math.nan, 1), "nan")],
)
def test_a_negative_threshold_of_a_jump_relu_is_refused(threshold: float | Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=rf"a threshold must not be negative, got {said}$"):
        jump_relu(normal(4, 3), threshold)


# ---- units that live again ------------------------------------------------------------------------------------------


def test_dead_units_are_pointed_at_the_longest_residuals_scaled_to_length_1_longest_first() -> None:
    residuals = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [-6.0, 8.0]])
    expected = torch.tensor([[-0.6, 0.8], [0.6, 0.8], [0.0, 1.0], [0.0, 0.0]])
    for count in range(5):
        torch.testing.assert_close(replacement_atoms(residuals, count), expected[:count])


@pytest.mark.parametrize("count", [1, 4, 20])
def test_the_atoms_are_those_of_the_largest_squared_errors(count: int) -> None:
    x, x_hat = normal(20, 6), normal(20, 6, seed=1)
    atoms, worst = replacement_atoms(x - x_hat, count), squared_error(x_hat, x).argsort(descending=True)[:count]
    torch.testing.assert_close(atoms, F.normalize((x - x_hat)[worst], dim=1))
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(count, dtype=torch.float64))


def test_of_no_dead_units_nothing_is_asked() -> None:
    assert replacement_atoms(normal(5, 3), 0).shape == (0, 3)
    assert replacement_atoms(normal(0, 3), 0).shape == (0, 3)


def test_a_residual_of_zeros_stays_zero_and_the_scale_of_the_others_does_not_matter() -> None:
    assert torch.equal(replacement_atoms(torch.zeros(3, 4), 2), torch.zeros(2, 4))
    torch.testing.assert_close(replacement_atoms(1e-9 * normal(5, 3), 5), replacement_atoms(normal(5, 3), 5))


def test_the_residuals_that_are_given_stay_as_they_are() -> None:
    residuals = normal(5, 3)
    replacement_atoms(residuals, 5)
    assert torch.equal(residuals, normal(5, 3))


def test_a_replacement_atom_takes_away_the_whole_residual_that_it_was_made_of() -> None:
    residuals = normal(5, 3)
    (atom,) = replacement_atoms(residuals, 1)
    left = residuals - torch.relu(residuals @ atom)[:, None] * atom  # a unit that looks along its atom
    worst = residuals.norm(dim=1).argmax()
    assert left[worst].norm().item() == pytest.approx(0, abs=1e-12)
    assert (left.norm(dim=1) <= residuals.norm(dim=1) + 1e-12).all()


@pytest.mark.parametrize("count", [-1, 6])
def test_more_atoms_than_residuals_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"count must lie between 0 and the 5 residuals, got {count}"):
        replacement_atoms(normal(5, 3), count)


# ---- weight decay on a polynomial -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [1e-3, 0.1, 1.0, 100.0])
def test_ridge_is_that_of_scikit_learn_without_an_intercept(weight_decay: float) -> None:
    x, y = normal(20, 6), normal(20, seed=1)
    theirs = Ridge(alpha=weight_decay, fit_intercept=False, solver="cholesky").fit(x.numpy(), y.numpy())
    torch.testing.assert_close(ridge(x, y, weight_decay), torch.from_numpy(theirs.coef_))


def test_without_weight_decay_ridge_is_least_squares() -> None:
    x, y = normal(20, 6), normal(20, seed=1)
    torch.testing.assert_close(ridge(x, y, 0), torch.linalg.lstsq(x, y[:, None]).solution[:, 0])


def test_at_the_ridge_solution_the_penalised_error_is_flat() -> None:
    x, y = normal(20, 6), normal(20, seed=1)
    w = ridge(x, y, 0.7).requires_grad_()
    (slope,) = torch.autograd.grad((x @ w - y).square().sum() + 0.7 * w.square().sum(), w)
    torch.testing.assert_close(slope, torch.zeros(6, dtype=torch.float64))


def test_more_weight_decay_makes_the_weights_of_a_polynomial_smaller() -> None:
    x = torch.linspace(-1, 1, 10, dtype=torch.float64)[:, None] ** torch.arange(10)
    lengths = [ridge(x, normal(10), weight_decay).norm().item() for weight_decay in (1e-8, 1e-4, 1e-2, 1, 100)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 100 * lengths[-1]


@pytest.mark.parametrize("weight_decay", [-1e-9, math.nan])
def test_negative_weight_decay_is_refused(weight_decay: float) -> None:
    with pytest.raises(ValueError, match=f"weight_decay must not be negative, got {weight_decay}"):
        ridge(normal(5, 2), normal(5), weight_decay)


# ---- how many units does an image use? ------------------------------------------------------------------------------


def test_the_effective_dimension_counts_the_units_beyond_the_threshold_in_both_directions() -> None:
    h = torch.tensor([[0.0, 0.5, 5e-4, -2.0], [0.0, 0.0, 0.0, 0.0], [1e-3, -1e-3, 2e-3, 1.0]])
    assert effective_dimension(h).tolist() == [2, 0, 2]
    assert effective_dimension(h, threshold=0).tolist() == [3, 0, 4]
    assert effective_dimension(h, threshold=1).tolist() == [1, 0, 0]
    assert effective_dimension(h).dtype == torch.int64


def test_a_unit_is_dead_if_no_example_uses_it() -> None:
    h = torch.tensor([[0.0, 0.5, 5e-4, 0.0], [0.0, 0.0, -5e-4, -2.0]])
    assert dead_units(h).tolist() == [True, False, True, False]
    assert dead_units(h, threshold=0).tolist() == [True, False, False, False]
    assert torch.equal(dead_units(h), dead_units(torch.cat([h, h])))


def test_a_dead_layer_has_no_dimension() -> None:
    h = torch.zeros(3, 6)
    assert effective_dimension(h).tolist() == [0, 0, 0]
    assert dead_units(h).all()


def test_a_layer_that_diverged_is_not_taken_for_a_dead_one() -> None:
    h = torch.tensor([[1.0, math.nan]])
    with pytest.raises(ValueError, match="the activations are NaN: there is nothing to count"):
        effective_dimension(h)


@pytest.mark.parametrize("threshold", [-1e-3, math.nan])
def test_a_negative_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"the threshold must not be negative, got {threshold}"):
        effective_dimension(normal(3, 4), threshold)


# ---- the network ----------------------------------------------------------------------------------------------------


def test_the_network_is_two_layers_and_its_forward_pass_gives_reconstruction_and_activations() -> None:
    model, x = build(5, 12), normal(9, 5)
    x_hat, h = model(x)
    w1, b1, w2, b2 = model.parameters()
    assert (w1.shape, b1.shape, w2.shape, b2.shape) == ((12, 5), (12,), (5, 12), (5,))
    torch.testing.assert_close(h, torch.relu(x @ w1.T + b1))
    torch.testing.assert_close(x_hat, h @ w2.T + b2)


def test_the_output_is_the_identity_unless_another_function_is_given() -> None:
    x = torch.sigmoid(normal(9, 5, dtype=torch.float32))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = SparseAutoencoder(5, 7, torch.sigmoid)
        torch.manual_seed(0)
        notes = SparseAutoencoder(5, 7, torch.sigmoid, output=torch.sigmoid)
    assert torch.equal(plain.decode(plain.encode(x)), plain.decoder(plain.encode(x)))
    x_hat, h = notes(x)
    assert torch.equal(h, plain(x)[1])
    assert torch.equal(x_hat, torch.sigmoid(plain(x)[0]))
    assert torch.equal(notes.decode(h), x_hat)
    assert objective(notes, x).item() == pytest.approx(0.5 * (x_hat - x).square().sum().item() / 9, rel=1e-6)
    assert list(notes.state_dict()) == list(plain.state_dict())


def test_weights_start_uniform_within_the_bound_of_the_lecture_notes_and_biases_at_zero() -> None:
    with torch.random.fork_rng():
        model = SparseAutoencoder(64, 25)
    bound = math.sqrt(6) / math.sqrt(64 + 25 + 1)
    for layer in (model.encoder, model.decoder):
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert not layer.bias.any()


def test_a_model_comes_back_from_its_state_dict_to_the_last_bit(tmp_path) -> None:
    model, copy, x = build(seed=1), build(seed=2), normal(9, 5)
    assert not torch.equal(copy(x)[0], model(x)[0])
    torch.save(model.state_dict(), tmp_path / "model.pt")
    copy.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for one, other in zip(copy(x), model(x), strict=True):
        assert torch.equal(one, other)


def trained(x: Tensor, **penalties: float) -> tuple[float, float]:
    """Units used by an example, and the error, after a short training that differs in the penalties alone."""
    model = build(x.shape[1], 2 * x.shape[1], dtype=torch.float32)
    normalize_decoder_(model.decoder.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        objective(model, x, **penalties).backward()
        optimizer.step()
        normalize_decoder_(model.decoder.weight)
    with torch.no_grad():
        x_hat, h = model(x)
        return effective_dimension(h).double().mean().item(), squared_error(x_hat, x).mean().item()


def test_a_price_on_activations_lowers_the_effective_dimension_and_is_paid_in_error() -> None:
    x = torch.relu(normal(100, 8, seed=3, dtype=torch.float32)) @ normal(8, 12, seed=4, dtype=torch.float32)
    free, error_free = trained(x)
    priced, error_priced = trained(x, l1=0.3)
    assert priced < 0.8 * free
    assert error_priced > error_free
    dear, _ = trained(x, l1=1e4)
    assert dear < 0.1  # nothing is worth that price


# ---- what an image is made of ---------------------------------------------------------------------------------------


def test_all_parts_add_up_to_the_reconstruction_without_its_bias_and_the_longest_come_first() -> None:
    model, x = build(), normal(5)
    found = parts(model, x, 7)
    x_hat, h = model(x[None])
    assert found.shape == (7, 5)
    torch.testing.assert_close(found.sum(0), (x_hat[0] - model.decoder.bias).detach())
    lengths = found.norm(dim=1)
    assert torch.equal(lengths, lengths.sort(descending=True).values)
    torch.testing.assert_close(parts(model, x, 3), found[:3])
    assert h.gt(0).sum() == lengths.gt(0).sum()


def test_the_picture_of_an_image_begins_with_the_image_and_ends_with_its_parts() -> None:
    model, x = build(9, 20), torch.rand(9, generator=seeded(), dtype=torch.float64)
    picture = explained_image(model, x, count=4)
    assert picture.shape == (3, 7 * 4 - 1)
    assert not picture[:, 3::4].any()  # the gaps
    assert torch.equal(picture[:, :3], x.reshape(3, 3))
    torch.testing.assert_close(picture[:, 4:7], model(x[None])[0].detach().clamp(0, 1).reshape(3, 3))
    torch.testing.assert_close(picture[:, 8:11], model.decoder.bias.detach().clamp(0, 1).reshape(3, 3))
    largest = parts(model, x, 4)
    torch.testing.assert_close(picture[:, 12:15], 0.5 + 0.5 * largest[0].reshape(3, 3) / largest.abs().max())


def test_an_image_that_no_unit_answers_to_has_grey_parts() -> None:
    model = silent(torch.relu, -1000.0)
    model.decoder = nn.Linear(7, 4)
    model.encoder.weight = nn.Parameter(torch.zeros(7, 4))
    picture = explained_image(model, torch.ones(4), count=2)
    assert picture.isfinite().all()
    assert (picture[:, 9:11] == 0.5).all()


# ---- data whose parts are known -------------------------------------------------------------------------------------


def test_each_example_is_the_sum_of_its_features_times_their_strengths() -> None:
    data = sparse_features(200, 30, 10, 2.0, seeded())
    assert [part.shape for part in data] == [(200, 10), (30, 10), (200, 30)]
    example = sum(data.code[3, j] * data.directions[j] for j in range(30))
    torch.testing.assert_close(data.x[3], example)
    torch.testing.assert_close(data.directions.norm(dim=1), torch.ones(30))


def test_as_many_features_as_asked_for_are_on_in_the_mean_and_independently() -> None:
    on = (sparse_features(20_000, 8, 4, 2.0, seeded()).code > 0).double()
    assert on.sum(1).mean().item() == pytest.approx(2, abs=0.04)
    torch.testing.assert_close(on.mean(0), torch.full((8,), 0.25, dtype=torch.float64), atol=0.015, rtol=0)
    correlation = torch.corrcoef(on.T) - torch.eye(8)
    assert correlation.abs().max() < 0.04
    assert on.sum(1).var().item() == pytest.approx(8 * 0.25 * 0.75, abs=0.1)  # a binomial


def test_the_strength_of_what_is_on_is_uniform_between_a_half_and_three_halves() -> None:
    code = sparse_features(5_000, 10, 4, 5.0, seeded()).code
    strength = code[code != 0]
    assert strength.min() >= 0.5
    assert strength.max() <= 1.5
    quantiles = strength.double().quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([0.6, 0.75, 1.0, 1.25, 1.4], abs=0.02)


def test_all_features_are_on_where_as_many_are_active_as_there_are() -> None:
    assert (sparse_features(50, 6, 3, 6, seeded()).code > 0).all()


def test_directions_are_random_on_the_sphere() -> None:
    directions = sparse_features(1, 20_000, 3, 1.0, seeded()).directions.double()
    assert directions.mean(0).abs().max() < 0.02
    torch.testing.assert_close(directions.T @ directions / 20_000, torch.eye(3).double() / 3, atol=0.02, rtol=0)
    for axis in directions.T:  # Archimedes: each coordinate is uniform on a sphere in three dimensions
        assert axis.quantile(0.25).item() == pytest.approx(-0.5, abs=0.03)


def test_the_same_seed_gives_the_same_data_and_the_same_features_to_more_examples() -> None:
    one, same, more = (sparse_features(count, 6, 3, 2.0, seeded(1)) for count in (20, 20, 50))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert torch.equal(more.directions, one.directions)
    assert not torch.equal(sparse_features(20, 6, 3, 2.0, seeded(2)).directions, one.directions)


def test_the_global_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    sparse_features(20, 6, 3, 2.0, seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sizes", [(0, 6, 3), (20, 0, 3), (20, 6, 0), (-1, 6, 3)])
def test_data_without_examples_features_or_inputs_are_refused(sizes: tuple[int, int, int]) -> None:
    said = "at least one example, one feature and one input are needed, got {} examples, {} features, {} inputs"
    with pytest.raises(ValueError, match=said.format(*sizes)):
        sparse_features(*sizes, 1.0, seeded())


@pytest.mark.parametrize("active", [0, -1.0, 6.1, math.nan, math.inf])
def test_a_number_of_active_features_that_there_cannot_be_is_refused(active: float) -> None:
    with pytest.raises(ValueError, match=f"active must lie above 0 and be at most the 6 features, got {active}"):
        sparse_features(20, 6, 3, active, seeded())


def test_the_recovery_of_a_direction_is_its_largest_cosine_with_any_atom() -> None:
    directions, atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[30.0, 40.0], [5.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(recovery(directions, atoms), torch.tensor([1.0, 0.8]))


def test_the_recovery_is_1_for_the_directions_themselves_in_any_order_and_length() -> None:
    directions = normal(9, 4)
    scale = torch.logspace(-3, 3, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(recovery(directions, scale * directions.flip(0)), torch.ones(9, dtype=torch.float64))
    torch.testing.assert_close(recovery(scale * directions, normal(5, 4)), recovery(directions, normal(5, 4)))
    pairs = F.cosine_similarity(directions[:, None], normal(5, 4, seed=1)[None], dim=2)
    torch.testing.assert_close(recovery(directions, normal(5, 4, seed=1)), pairs.max(1).values)


def test_an_atom_that_points_the_other_way_has_not_found_the_direction() -> None:
    assert recovery(torch.eye(2)[:1], -torch.eye(2)[:1]).tolist() == [-1.0]
    assert recovery(torch.eye(2)[:1], torch.tensor([[-1.0, 0.0], [0.0, 3.0]])).tolist() == [0.0]


def test_an_atom_of_zeros_counts_0() -> None:
    assert recovery(torch.eye(3), torch.zeros(2, 3)).tolist() == [0.0, 0.0, 0.0]
    assert recovery(torch.eye(2), torch.tensor([[0.0, 0.0], [2.0, 0.0]])).tolist() == [1.0, 0.0]


def test_further_atoms_never_lower_the_recovery() -> None:
    directions, atoms = normal(9, 4), normal(20, 4, seed=1)
    found = torch.stack([recovery(directions, atoms[:count]) for count in range(1, 21)])
    assert found.diff(dim=0).min() > -1e-12
    assert (found[-1] > found[0]).any()


@pytest.mark.parametrize("shape", [(0, 3), (5, 4)])
def test_atoms_that_cannot_be_compared_with_the_directions_are_refused(shape: tuple[int, int]) -> None:
    said = rf"at least one atom of the same n are needed, got the shapes \(6, 3\) and \({shape[0]}, {shape[1]}\)"
    with pytest.raises(ValueError, match=said):
        recovery(normal(6, 3), normal(*shape))
