"""The method against values worked out by hand, against SciPy, and against what the paper's idea promises: which fact a
test checks stands in its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from tensors import normal, seeded
from torch import Tensor

from labkit.lab.training import fit
from labkit.papers.image_patches import zca_whitening
from labkit.papers.nsae_lcn import (
    LocalConnectionNetwork,
    NormalizedSparseAutoencoder,
    code_strips,
    convolution_features,
    draw_segments,
    lcn_features,
    lcn_step,
    local_features,
    nearest_similarity,
    normalize_rows,
    nsae_cost,
    orthonormality_penalty,
    orthonormalize,
    penalty_floor,
    row_similarity,
    segment,
    shift_sensitivity,
    shifted_similarity,
    spectral_diversity,
    spectral_peaks,
    standardize,
    wrap,
)

SAE = {"activation": "sigmoid", "bias": True, "sparsity": "kl", "orthonormality": "none"}
EXAMPLE = torch.tensor([[1.0, -2.0], [3.0, 4.0]])


pytestmark = pytest.mark.usefixtures("one_thread")


def autoencoder(inputs: int, units: int, seed: int = 0, **options: object) -> NormalizedSparseAutoencoder:
    return NormalizedSparseAutoencoder(inputs, units, generator=seeded(seed), **options).double()


# ---- segments -------------------------------------------------------------------------------------------------------


def test_segments_follow_each_other_and_points_left_over_are_dropped() -> None:
    assert segment(torch.arange(7.0), 3).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("points", "length", "stride"), [(10, 4, 1), (10, 4, 3), (10, 3, 5), (4, 4, 1), (5, 1, 1)])
def test_there_are_n_minus_length_over_stride_plus_1_segments_each_where_it_should_be(
    points: int, length: int, stride: int
) -> None:
    signal = normal(2, points)
    expected = [signal[:, start : start + length] for start in range(0, points - length + 1, stride)]
    assert torch.equal(segment(signal, length, stride), torch.stack(expected, dim=1))
    assert len(expected) == (points - length) // stride + 1


def test_a_circular_signal_has_one_segment_for_each_point() -> None:
    signal = torch.arange(4.0)
    assert segment(wrap(signal, 3), 3, 1).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
    assert torch.equal(wrap(signal, 1), signal)


def test_drawn_segments_are_different_segments_of_the_signals() -> None:
    signals = torch.arange(24.0).reshape(2, 12)
    drawn = draw_segments(signals, 3, 8, seeded())
    assert sorted(drawn.tolist()) == segment(signals, 3).reshape(-1, 3).tolist()
    starts = draw_segments(signals, 3, 20, seeded(), stride=1)[:, 0]
    assert sorted(starts.tolist()) == [*range(10), *range(12, 22)]


def test_a_draw_depends_on_the_generator_alone() -> None:
    signals = normal(5, 100)
    first, again, other = (draw_segments(signals, 10, 20, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_standardized_signals_have_mean_0_and_deviation_1_each() -> None:
    signals = standardize(normal(3, 500) * torch.tensor([[1e-6], [1.0], [1e6]]) + 5)
    torch.testing.assert_close(signals.mean(1), torch.zeros(3).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(signals.std(1, correction=0), torch.ones(3).double())


@pytest.mark.parametrize("level", [0.0, 0.1, -1e-6, 12345.678])
def test_a_constant_signal_becomes_zero_also_where_its_mean_is_rounded(level: float) -> None:
    assert torch.equal(standardize(torch.full((2, 1201), level)), torch.zeros(2, 1201))


# ---- the orthonormality penalty and its floor -----------------------------------------------------------------------


def test_the_penalty_is_0_for_the_identity_and_18_for_the_worked_example() -> None:
    assert orthonormality_penalty(torch.eye(2)) == 0
    assert orthonormality_penalty(torch.tensor([[1.0, 1.0], [0.0, 2.0]])) == 18


def test_the_penalty_is_about_rows_not_about_columns() -> None:
    rows = torch.eye(4)[:2]  # orthonormal rows, columns that are not
    assert orthonormality_penalty(rows) == 0
    assert orthonormality_penalty(rows.T) == 2


def test_the_gradient_of_the_penalty_is_4_times_w_w_transposed_minus_i_times_w() -> None:
    W = normal(3, 5).requires_grad_()
    orthonormality_penalty(W).backward()
    torch.testing.assert_close(W.grad, 4 * (W @ W.T - torch.eye(3).double()) @ W.detach())


@pytest.mark.parametrize(("units", "inputs", "floor"), [(3, 5, 0), (5, 5, 0), (6, 5, 1), (10, 5, 5), (400, 100, 300)])
def test_the_floor_is_the_number_of_rows_beyond_the_inputs(units: int, inputs: int, floor: int) -> None:
    assert penalty_floor(units, inputs) == floor


@pytest.mark.parametrize(("units", "inputs"), [(10, 5), (7, 5), (5, 5), (3, 5)])
def test_descent_on_the_penalty_stops_at_the_floor_from_any_start(units: int, inputs: int) -> None:
    for seed in range(3):
        W = (0.3 * normal(units, inputs, seed=seed)).requires_grad_()
        optimizer = torch.optim.SGD([W], lr=0.02)
        for _ in range(400):
            optimizer.zero_grad()
            orthonormality_penalty(W).backward()
            optimizer.step()
        assert orthonormality_penalty(W).item() == pytest.approx(penalty_floor(units, inputs), abs=1e-6)


@pytest.mark.parametrize(("units", "inputs"), [(10, 5), (15, 5), (6, 3)])
def test_the_floor_is_reached_with_orthonormal_columns_whose_rows_are_shorter_than_1(units: int, inputs: int) -> None:
    W = orthonormalize(normal(units, inputs))
    torch.testing.assert_close(W.T @ W, torch.eye(inputs).double())
    assert orthonormality_penalty(W).item() == pytest.approx(units - inputs)
    assert W.square().sum(1).mean().item() == pytest.approx(inputs / units)


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_a_tight_frame_of_unit_rows_does_not_reach_the_floor(copies: int) -> None:
    inputs = 5
    units = copies * inputs
    W = torch.cat([orthonormalize(normal(inputs, inputs, seed=seed)) for seed in range(copies)])
    torch.testing.assert_close(W.T @ W, copies * torch.eye(inputs).double())  # tight
    torch.testing.assert_close(W.norm(dim=1), torch.ones(units).double())  # unit rows
    penalty = orthonormality_penalty(W).item()
    assert penalty == pytest.approx(inputs * (units / inputs - 1) ** 2 + units - inputs)
    assert penalty > penalty_floor(units, inputs) + 1


# ---- projection and row normalisation -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (5, 5), (1, 4), (10, 5)], ids=str)
def test_orthonormalize_is_the_polar_factor_of_scipy(shape: tuple[int, int]) -> None:
    W = normal(*shape)
    polar, _ = scipy.linalg.polar(W.numpy())
    torch.testing.assert_close(orthonormalize(W), torch.from_numpy(polar))


def test_orthonormalize_is_the_symmetric_decorrelation_of_ica() -> None:
    W = normal(3, 5)
    inverse_root = torch.from_numpy(scipy.linalg.sqrtm((W @ W.T).numpy())).inverse()
    torch.testing.assert_close(orthonormalize(W), inverse_root @ W)


def test_no_other_matrix_with_orthonormal_rows_is_nearer() -> None:
    W = normal(3, 5)
    nearest = orthonormalize(W)
    distance = (W - nearest).norm()
    by_gram_schmidt = torch.linalg.qr(W.T).Q.T
    others = [orthonormalize(normal(3, 5, seed=seed)) for seed in range(1, 200)]
    others += [orthonormalize(nearest + 0.01 * normal(3, 5, seed=seed)) for seed in range(1, 200)]  # close by
    for other in [*others, by_gram_schmidt]:
        torch.testing.assert_close(other @ other.T, torch.eye(3).double())
        assert (W - other).norm() > distance


def test_orthonormal_rows_are_left_as_they_are() -> None:
    W = orthonormalize(normal(4, 6))
    torch.testing.assert_close(orthonormalize(W), W)
    torch.testing.assert_close(orthonormalize(3 * W), W)


@pytest.mark.parametrize(
    "W",
    [
        torch.zeros(3, 5),
        torch.ones(3, 5),
        torch.cat([torch.zeros(1, 5), torch.eye(5)[:2]]),
        torch.tensor([[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]]),
        1e-20 * torch.eye(3),
    ],
    ids=["all zero", "all equal", "a zero row", "duplicates", "tiny"],
)
def test_zero_and_equal_rows_are_orthonormalized_too(W: Tensor) -> None:
    result = orthonormalize(W)
    torch.testing.assert_close(result @ result.T, torch.eye(len(W)), rtol=0, atol=1e-5)


def test_normalized_rows_have_norm_1_and_equal_rows_stay_equal() -> None:
    W = normalize_rows(torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(W, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))


# ---- the cost -------------------------------------------------------------------------------------------------------


def test_the_worked_example_has_squared_errors_4_and_0_an_l1_of_1_and_7_and_no_penalty() -> None:
    model = NormalizedSparseAutoencoder(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    assert (model(EXAMPLE) - EXAMPLE).square().sum(1).tolist() == [4, 0]
    assert model.encode(EXAMPLE).abs().sum(1).tolist() == [1, 7]
    assert nsae_cost(torch.eye(2), EXAMPLE, 0.0, 1.0) == 1  # (4 + 0) / 2 segments / 2
    assert nsae_cost(torch.eye(2), EXAMPLE, 0.5, 1.0) == 3  # and 0.5 (1 + 7) / 2 segments


def test_the_cost_adds_mu_times_the_penalty_once_whatever_the_number_of_segments() -> None:
    W = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    for count in (1, 7):
        x = normal(count, 2, dtype=torch.float32)
        assert (nsae_cost(W, x, 0.1, 0.5) - nsae_cost(W, x, 0.1, 0.0)).item() == pytest.approx(9)


def test_the_same_segments_twice_cost_the_same() -> None:
    W, x = normal(4, 6), normal(5, 6, seed=1)
    torch.testing.assert_close(nsae_cost(W, x, 0.3, 0.2), nsae_cost(W, torch.cat([x, x]), 0.3, 0.2))


def test_the_cost_of_the_nsae_is_nsae_cost() -> None:
    model, x = autoencoder(6, 4, sparsity_weight=0.3, orthonormality_weight=0.7), normal(9, 6, seed=1)
    torch.testing.assert_close(model.cost(x), nsae_cost(model.weight, x, 0.3, 0.7))


def test_without_sparsity_and_penalty_the_cost_is_half_the_squared_error() -> None:
    x = normal(9, 6, seed=1)
    for options in ({"sparsity": "none", "orthonormality": "none"}, {"sparsity_weight": 0, "orthonormality_weight": 0}):
        model = autoencoder(6, 4, **options)
        torch.testing.assert_close(model.cost(x), 0.5 * (model(x) - x).square().sum(1).mean())


@pytest.mark.parametrize(
    ("mean_activation", "nats"), [(0.05, 0.0), (0.5, 0.494632), (0.1, 0.016707), (0.4, 0.332584), (0.01, 0.041291)]
)
def test_the_kl_term_of_the_usual_sparse_autoencoder_has_its_known_values(mean_activation: float, nats: float) -> None:
    options = {"activation": "sigmoid", "bias": True, "orthonormality": "none"}
    plain, sparse = (autoencoder(3, 2, sparsity=kind, sparsity_weight=2.0, **options) for kind in ("none", "kl"))
    x = normal(5, 3)
    for model in (plain, sparse):
        with torch.no_grad():
            model.weight.zero_()
            model.bias.fill_(math.log(mean_activation / (1 - mean_activation)))
    assert (sparse.cost(x) - plain.cost(x)).item() == pytest.approx(2 * 2 * nats, abs=4e-6)  # weight 2, two units


def test_the_kl_term_compares_the_mean_over_segments_not_each_activation() -> None:
    model, x = autoencoder(1, 1, rho=0.5, sparsity_weight=1.0, **SAE), torch.tensor([[3.0], [-3.0]]).double()
    plain = autoencoder(1, 1, **{**SAE, "sparsity": "none"})
    assert (model.cost(x) - plain.cost(x)).item() == pytest.approx(0, abs=1e-12)  # s(z) and s(-z) have the mean 1/2


def test_a_saturated_sigmoid_costs_a_finite_kl() -> None:
    model = NormalizedSparseAutoencoder(2, 2, generator=seeded(), **SAE)
    for level in (-1e4, 1e4):
        with torch.no_grad():
            model.bias.fill_(level)
        cost = model.cost(EXAMPLE)
        cost.backward()
        assert cost.isfinite()
        assert model.bias.grad.isfinite().all()


# ---- the autoencoder ------------------------------------------------------------------------------------------------


def test_orthonormal_rows_reconstruct_exactly_without_the_relu() -> None:
    W, x = orthonormalize(normal(6, 6)), normal(9, 6, seed=1)
    torch.testing.assert_close((x @ W.T) @ W, x)


def test_rows_and_their_negatives_reconstruct_exactly_with_the_relu() -> None:
    model, x = autoencoder(6, 12), normal(9, 6, seed=1)
    W = orthonormalize(normal(6, 6))
    with torch.no_grad():
        model.weight.copy_(torch.cat([W, -W]))
    torch.testing.assert_close(model(x), x)
    assert orthonormality_penalty(model.weight).item() == pytest.approx(2 * 6)  # the floor is 6


def test_orthonormal_rows_with_the_relu_lose_what_lies_on_the_negative_side_of_each_row() -> None:
    model, x = autoencoder(6, 6, orthonormality="projection"), normal(4000, 6, seed=1)
    model.constrain_()  # once more, in float64
    lost = (model(x) - x).square().sum(1)
    torch.testing.assert_close(lost, torch.relu(-x @ model.weight.T).square().sum(1))
    assert (lost.mean() / x.square().sum(1).mean()).item() == pytest.approx(0.5, abs=0.02)


def test_the_code_is_positively_homogeneous_without_a_bias_and_not_with_one() -> None:
    x = normal(9, 6, seed=1)
    for bias, homogeneous in ((False, True), (True, False)):
        model = autoencoder(6, 4, bias=bias)
        if bias:
            with torch.no_grad():
                model.bias.fill_(-0.5)
        assert torch.allclose(model.encode(3 * x), 3 * model.encode(x)) is homogeneous


def test_a_tied_decoder_is_the_weights_themselves_and_an_untied_one_its_own() -> None:
    tied, untied = autoencoder(6, 4), autoencoder(6, 4, tied=False)
    assert [name for name, _ in tied.named_parameters()] == ["weight"]
    assert [name for name, _ in untied.named_parameters()] == ["weight", "decoder"]
    x = normal(9, 6, seed=1)
    torch.testing.assert_close(tied(x), torch.relu(x @ tied.weight.T) @ tied.weight)
    with torch.no_grad():
        untied.decoder.zero_()
    assert torch.equal(untied(x), torch.zeros_like(x))
    assert untied.encode(x).any()


def test_each_layer_has_its_own_bias_or_none() -> None:
    model, x = autoencoder(6, 4, bias=True), normal(9, 6, seed=1)
    with torch.no_grad():
        model.bias.copy_(normal(4, seed=2))
        model.decoder_bias.copy_(normal(6, seed=3))
    h = torch.relu(x @ model.weight.T + model.bias)
    torch.testing.assert_close(model(x), h @ model.weight + model.decoder_bias)
    assert [name for name, _ in model.named_parameters()] == ["weight", "bias", "decoder_bias"]


def test_all_variants_start_from_the_same_weights_which_the_generator_decides() -> None:
    start = autoencoder(100, 50).weight
    assert torch.equal(autoencoder(100, 50, **SAE).weight, start)
    assert not torch.equal(autoencoder(100, 50, seed=1).weight, start)
    assert start.square().sum(1).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("orthonormality", "holds"),
    [
        ("projection", lambda W: torch.allclose(W @ W.T, torch.eye(4), atol=1e-5)),
        ("row norm", lambda W: torch.allclose(W.norm(dim=1), torch.ones(4))),
    ],
)
def test_a_constraint_holds_at_the_start_and_after_each_step(orthonormality: str, holds: Callable) -> None:
    model = NormalizedSparseAutoencoder(6, 4, orthonormality=orthonormality, generator=seeded())
    assert holds(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x = normal(32, 6, dtype=torch.float32)
    for _ in range(3):
        model.cost(x).backward()
        optimizer.step()
    assert not holds(model.weight)  # three steps without it lead away
    optimizer.register_step_post_hook(lambda *_: model.constrain_())
    model.cost(x).backward()
    optimizer.step()
    assert holds(model.weight)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_rows_of_the_usual_sparse_autoencoder_are_alike_and_those_of_the_nsae_differ(seed: int) -> None:
    wave = torch.sin(torch.arange(600.0) * 0.7) + 0.1 * normal(40, 600, dtype=torch.float32)
    x = draw_segments(standardize(wave), 20, 1000, seeded(), stride=1)

    def trained(**options: object) -> Tensor:
        model = NormalizedSparseAutoencoder(20, 10, generator=seeded(seed), **options)
        fit(model, lambda model, x, _: model.cost(x), x, epochs=10, batch_size=100, lr=1e-2, generator=seeded(2))
        return model.weight.detach()

    sae, without_penalty, nsae = trained(**SAE), trained(orthonormality="none"), trained()
    assert row_similarity(sae) > 0.3 > row_similarity(without_penalty) > 0.1 > row_similarity(nsae)
    assert spectral_diversity(sae) < 0.3 < 0.6 < spectral_diversity(nsae)


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (orthonormality_penalty, (normal(3, 4),)),
        (lambda W, x: nsae_cost(W, x, 0.3, 0.7), (normal(3, 4), normal(5, 4, seed=1))),
        (lambda x, W: local_features(x, W, 2), (normal(2, 11), normal(3, 4, seed=1))),
        (lambda x, W: convolution_features(x, W, 2), (normal(2, 11), normal(3, 4, seed=1))),
        (lambda x, W: lcn_features(x, W, *zca_whitening(normal(20, 4, seed=2)), 3), (normal(2, 11), normal(3, 4))),
        (row_similarity, (normal(4, 5),)),
        (normalize_rows, (normal(4, 5),)),
        (standardize, (normal(2, 7),)),
    ],
    ids=["penalty", "cost", "local", "convolution", "lcn", "similarity", "row norm", "standardize"],
)
def test_the_gradient_is_that_of_finite_differences(function: Callable, inputs: tuple[Tensor, ...]) -> None:
    assert torch.autograd.gradcheck(function, [tensor.clone().requires_grad_() for tensor in inputs])


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"bias": True}, SAE, {**SAE, "sparsity": "l1"}], ids=str)
def test_the_gradient_of_each_variants_cost_is_that_of_finite_differences(options: dict) -> None:
    model, x = autoencoder(4, 3, **options), normal(6, 4, seed=1)
    names, parameters = zip(*model.named_parameters(), strict=True)

    class Cost(torch.nn.Module):  # functional_call goes through forward
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return self.model.cost(x)

    def cost(*values: Tensor) -> Tensor:
        named = {f"model.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Cost(), named, ())

    assert torch.autograd.gradcheck(cost, [parameter.detach().clone().requires_grad_() for parameter in parameters])


# ---- local features and the network ---------------------------------------------------------------------------------


def test_local_features_have_the_values_worked_out_by_hand() -> None:
    signal = torch.tensor([1.0, -2.0, 3.0, 4.0, 9.0])  # the 9 is left over
    assert local_features(signal, torch.eye(2)).tolist() == [2.0, 2.0]  # (1 + 3) / 2, (0 + 4) / 2


@pytest.mark.parametrize("stride", [None, 1, 3, 8, 11])
@pytest.mark.parametrize("shape", [(50,), (4, 50), (2, 3, 50)], ids=str)
def test_the_local_layer_is_a_strided_convolution_with_global_average_pooling(
    stride: int | None, shape: tuple[int, ...]
) -> None:
    signal, W = normal(*shape), normal(5, 8, seed=1)
    expected = local_features(signal, W, stride)
    assert expected.shape == (*shape[:-1], 5)
    torch.testing.assert_close(convolution_features(signal, W, stride), expected)


def test_stride_1_features_of_a_circular_signal_are_the_same_under_any_shift() -> None:
    signal, W = normal(2, 64, dtype=torch.float32), normal(12, 8, seed=1, dtype=torch.float32)
    expected = local_features(wrap(signal, 8), W, 1)
    for shift in range(64):
        shifted = local_features(wrap(signal.roll(shift, dims=1), 8), W, 1)
        assert (shifted - expected).abs().max() < 1e-5


def test_features_of_segments_that_do_not_overlap_are_the_same_only_under_multiples_of_their_length() -> None:
    signal, W = normal(2, 64), normal(12, 8, seed=1)
    expected = local_features(signal, W)
    for shift in range(1, 64):
        same = torch.allclose(local_features(signal.roll(shift, dims=1), W), expected)
        assert same == (shift % 8 == 0)


def test_averaging_over_more_segments_makes_features_less_sensitive_to_a_shift() -> None:
    signal, W = normal(10, 400), normal(12, 8, seed=1)
    whole = shift_sensitivity(lambda x: torch.relu(x[:, :8] @ W.T), signal, 3).mean()
    sparse, dense = (shift_sensitivity(lambda x, s=s: local_features(x, W, s), signal, 3).mean() for s in (8, 1))
    assert whole > 2 * sparse > 4 * dense > 0


def test_the_sensitivity_to_a_shift_is_the_relative_change_of_the_features() -> None:
    x = torch.tensor([[3.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    sensitivity = shift_sensitivity(lambda x: x, x, 1)
    torch.testing.assert_close(sensitivity, torch.tensor([math.sqrt(2) / 5, 0.0, 0.0]))
    assert shift_sensitivity(lambda x: x.square().sum(1, keepdim=True), x, 1).tolist() == [0, 0, 0]


def test_features_grow_with_the_signal_but_not_once_it_is_standardized() -> None:
    signal, W = normal(2, 64), normal(12, 8, seed=1)
    for scale in (0.1, 7.0):
        torch.testing.assert_close(local_features(scale * signal, W), scale * local_features(signal, W))
        same = local_features(standardize(scale * signal), W), local_features(standardize(signal), W)
        torch.testing.assert_close(*same)


@pytest.mark.parametrize("stride", [None, 1, 5])
def test_the_networks_features_are_the_local_features_of_its_autoencoders_weights(stride: int | None) -> None:
    model, x = autoencoder(8, 12), normal(3, 64)
    network = LocalConnectionNetwork(model, 4, stride)
    torch.testing.assert_close(network.features(x), local_features(x, model.weight, stride))
    torch.testing.assert_close(network.features(x), convolution_features(x, model.weight, stride))


def test_the_network_says_v_f_plus_c_and_starts_undecided() -> None:
    network, x = LocalConnectionNetwork(autoencoder(8, 12), 4), normal(3, 64)
    assert torch.equal(network(x), torch.zeros(3, 4).double())
    with torch.no_grad():
        network.output.weight.copy_(normal(4, 12, seed=2))
        network.output.bias.copy_(normal(4, seed=3))
    f = network.features(x)
    torch.testing.assert_close(network(x), f @ network.output.weight.T + network.output.bias)


def test_the_network_whitens_each_segment_as_it_was_told_and_takes_the_fit_along_when_saved() -> None:
    model, x = autoencoder(8, 12, **SAE), normal(3, 64) + 1
    whitening = zca_whitening(normal(100, 8, seed=4) + 2)
    network = LocalConnectionNetwork(model, 4, whitening=whitening)
    expected = model.encode(whitening(segment(x, 8))).mean(1)
    torch.testing.assert_close(network.features(x), expected)
    again = LocalConnectionNetwork(autoencoder(8, 12, seed=9, **SAE), 4, whitening=zca_whitening(normal(100, 8)))
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again.features(x), expected)


def test_training_the_output_layer_alone_tells_two_waves_apart_and_leaves_w_as_it_is() -> None:
    y = torch.arange(40) % 2
    phase = 6.3 * torch.rand(40, 1, generator=seeded())
    x = standardize(torch.sin(torch.arange(200.0) * (0.5 + 0.7 * y[:, None]) + phase))
    model = NormalizedSparseAutoencoder(20, 20, generator=seeded(1))
    network, W = LocalConnectionNetwork(model, 2), model.weight.detach().clone()
    optimizer = torch.optim.Adam(network.output.parameters(), lr=0.1)

    def cross_entropy(network: LocalConnectionNetwork, x: Tensor, y: Tensor, _: torch.Generator) -> Tensor:
        return torch.nn.functional.cross_entropy(network(x), y)

    fit(network, cross_entropy, x[:20], y[:20], epochs=50, batch_size=20, optimizer=optimizer, generator=seeded(2))
    assert (network(x[20:]).argmax(1) == y[20:]).all()
    assert torch.equal(model.weight, W)


def test_lcn_features_are_the_mean_over_whitened_segments_of_the_standardized_signal_taken_one_by_one() -> None:
    signals, W = 5 + 3 * normal(2, 13), normal(3, 4, seed=1)
    mean, matrix = zca_whitening(normal(50, 4, seed=2))
    for signal, found in zip(signals, lcn_features(signals, W, mean, matrix, 3), strict=True):
        z = (signal.numpy() - signal.numpy().mean()) / signal.numpy().std()
        codes = [W.numpy() @ ((z[a : a + 4] - mean.numpy()) @ matrix.numpy()) for a in (0, 3, 6, 9)]
        torch.testing.assert_close(found, torch.from_numpy(sum(code.clip(min=0) for code in codes) / 4))


def test_lcn_features_are_those_of_the_network_on_standardized_signals() -> None:
    model, whitening, signals = autoencoder(4, 6), zca_whitening(normal(50, 4)), 7 + normal(3, 20, seed=1)
    network = LocalConnectionNetwork(model, 2, stride=2, whitening=whitening)
    found = lcn_features(signals, model.weight, *whitening, 2)
    torch.testing.assert_close(found, network.features(standardize(signals)))
    torch.testing.assert_close(lcn_features(100 * signals - 3, model.weight, *whitening, 2), found)


def test_the_first_step_from_0_has_the_value_worked_out_by_hand() -> None:
    # Both classes have probability 1/2: the true one is raised by lr / 2 times the features, the other lowered.
    V, c = lcn_step(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.zeros(2, 2), torch.zeros(2), lr=0.1)
    torch.testing.assert_close(V, torch.tensor([[-0.05, -0.10], [0.05, 0.10]]))
    torch.testing.assert_close(c, torch.tensor([-0.05, 0.05]))


def test_a_step_of_the_output_layer_is_that_of_torchs_gradient_descent_on_the_cross_entropy() -> None:
    features, labels = normal(7, 5), torch.tensor([2, 0, 1, 1, 2, 2, 0])
    layer = torch.nn.Linear(5, 3).double()
    V, c = lcn_step(features, labels, layer.weight.detach().clone(), layer.bias.detach().clone(), lr=0.3)
    torch.nn.functional.cross_entropy(layer(features), labels).backward()
    torch.optim.SGD(layer.parameters(), lr=0.3).step()
    torch.testing.assert_close(V, layer.weight.detach())
    torch.testing.assert_close(c, layer.bias.detach())


# ---- how different the rows are -------------------------------------------------------------------------------------

MEASURES = (
    row_similarity,
    shifted_similarity,
    lambda W: nearest_similarity(W, shifted=False),
    lambda W: nearest_similarity(W, shifted=True),
)


def test_orthogonal_rows_have_similarity_0_and_copies_1_also_with_the_sign_reversed() -> None:
    assert row_similarity(torch.diag(torch.tensor([1.0, 2.0, 3.0]))) == 0
    row = torch.tensor([1.0, 2.0, 3.0])
    assert row_similarity(torch.stack([row, 5 * row, -row])).item() == pytest.approx(1)


def test_the_similarity_is_the_mean_over_all_pairs() -> None:
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    assert row_similarity(W).item() == pytest.approx((0 + 0.6 + 0.8) / 3)


def test_zero_rows_do_not_pass_for_different_ones() -> None:
    W = normal(5, 4)
    padded = torch.cat([W, torch.zeros(7, 4)])
    for measure in MEASURES:
        torch.testing.assert_close(measure(padded), measure(W))
    torch.testing.assert_close(spectral_diversity(padded), spectral_diversity(W))


def test_independent_gaussian_rows_have_the_similarity_that_the_dimension_gives() -> None:
    assert row_similarity(normal(400, 100)).item() == pytest.approx(math.sqrt(2 / (math.pi * 100)), rel=0.02)


def test_the_length_of_rows_does_not_count_even_where_squares_underflow() -> None:
    W = normal(4, 8, dtype=torch.float32)
    scaled = W * torch.tensor([[1e-30], [1e-10], [1.0], [1e18]])
    for measure in (row_similarity, shifted_similarity):
        torch.testing.assert_close(measure(scaled), measure(W))


def waves(*bins: int, points: int = 64) -> Tensor:
    angle = 2 * math.pi * torch.arange(points) / points
    return torch.stack([torch.cos(k * angle) for k in bins])


def test_a_wave_has_its_peak_in_the_bin_of_its_frequency() -> None:
    assert spectral_peaks(waves(0, 1, 5, 32)).tolist() == [0, 1, 5, 32]


def test_rows_of_one_frequency_have_diversity_0_and_rows_of_all_different_ones_1() -> None:
    assert str(spectral_diversity(waves(5, 5, 5)).item()) == "0.0"  # a lesson must not print -0.0
    assert spectral_diversity(waves(1, 2, 3, 4)).item() == pytest.approx(1)
    assert spectral_diversity(waves(*range(33))).item() == pytest.approx(1)
    assert spectral_diversity(waves(1, 1, 2, 2)).item() == pytest.approx(math.log(2) / math.log(4))


def test_shifted_copies_of_a_wave_are_orthogonal_and_yet_of_one_frequency() -> None:
    W = torch.stack([waves(5)[0], waves(5)[0].roll(16)])  # a quarter period of bin 5, five quarters of bin 1
    assert row_similarity(W).item() == pytest.approx(0, abs=1e-6)
    assert spectral_diversity(W).item() == 0


# ---- how alike they are where one may be shifted --------------------------------------------------------------------


def burst(place: int, points: int = 100) -> Tensor:
    """A decaying strike, 30 points long, that begins at `place`."""
    t = torch.arange(30, dtype=torch.float64)
    row = torch.zeros(points, dtype=torch.float64)
    row[place : place + 30] = torch.exp(-t / 8) * torch.sin(1.3 * t + 0.5)
    return row


def test_the_shifted_similarity_has_the_values_worked_out_by_hand() -> None:
    # (1, 0) and (0, 1) are one impulse at two places; either meets (3, 4) best at the 4, which is 4/5.
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    assert shifted_similarity(W).item() == pytest.approx((1 + 0.8 + 0.8) / 3)
    assert nearest_similarity(W, shifted=True).item() == pytest.approx((1 + 1 + 0.8) / 3)
    assert nearest_similarity(W, shifted=False).item() == pytest.approx((0.6 + 0.8 + 0.8) / 3)


def test_a_strike_and_the_same_one_later_are_copies_only_for_the_shifted_similarity() -> None:
    W = torch.stack([burst(5), burst(36), -2 * burst(69)])
    assert row_similarity(W) < 0.01
    assert shifted_similarity(W).item() == pytest.approx(1)


@pytest.mark.parametrize("points", [1, 2, 5, 30])
def test_impulses_are_copies_of_each_other_up_to_the_largest_lag(points: int) -> None:
    assert shifted_similarity(torch.eye(points)[[0, -1]]).item() == pytest.approx(1)


def test_beyond_the_ends_of_a_row_there_are_zeros_so_that_nothing_comes_in_again() -> None:
    W = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])  # shifted circularly they would be copies
    assert shifted_similarity(W).item() == pytest.approx(0.5)


def test_a_wave_of_another_phase_counts_as_a_copy_up_to_what_the_shift_moves_out() -> None:
    W = torch.stack([waves(5)[0], waves(5)[0].roll(16)])
    assert row_similarity(W).item() == pytest.approx(0, abs=1e-6)
    assert shifted_similarity(W).item() == pytest.approx(1 - 3 / 64, abs=0.02)  # a quarter of a period is 3.2 points


@pytest.mark.parametrize("apart", [1, 3, 9])
def test_orthogonal_waves_that_are_k_whole_periods_apart_have_at_most_about_1_over_k_pi(apart: int) -> None:
    # At lag s the overlap of 400 - s points holds k (1 - s / 400) beats, whose sum is at most 1 / (k pi) of the energy.
    W = waves(60, 60 + apart, points=400)
    assert row_similarity(W).item() == pytest.approx(0, abs=1e-5)
    assert shifted_similarity(W).item() == pytest.approx(1 / (math.pi * apart), rel=0.1)


def test_independent_gaussian_rows_of_100_points_are_alike_by_chance_at_some_lag() -> None:
    assert shifted_similarity(normal(400, 100)).item() == pytest.approx(0.24, abs=0.005)
    assert shifted_similarity(normal(100, 100, seed=1)).item() == pytest.approx(0.24, abs=0.005)


@pytest.mark.parametrize("shape", [(2, 1), (7, 2), (6, 9), (12, 16)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shifted_similarities_are_those_of_a_loop_over_pairs_and_lags(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    W = normal(*shape, dtype=dtype)
    rows = [row / np.linalg.norm(row) for row in W.double().numpy()]
    alike = np.array([[np.abs(np.correlate(one, other, "full")).max() for other in rows] for one in rows])
    different = ~np.eye(len(rows), dtype=bool)
    found, nearest = shifted_similarity(W), nearest_similarity(W, shifted=True)
    assert (found.shape, found.dtype, nearest.dtype) == ((), dtype, dtype)
    assert found.item() == pytest.approx(alike[different].mean(), rel=1e-5)
    assert nearest.item() == pytest.approx(np.where(different, alike, 0).max(1).mean(), rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_neither_sign_nor_length_nor_order_of_the_rows_nor_the_direction_of_time_matters(measure: Callable) -> None:
    W = normal(6, 9)
    factors = torch.tensor([[-1.0], [2.0], [-30.0], [1.0], [0.1], [-5.0]], dtype=torch.float64)
    for same in (W * factors, W.flip(0), W.flip(1)):
        torch.testing.assert_close(measure(same), measure(W))


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_can_only_make_rows_more_alike_and_no_row_is_more_alike_than_its_copy(seed: int) -> None:
    W = normal(6, 9, seed=seed, dtype=torch.float32)
    assert row_similarity(W) < shifted_similarity(W) < nearest_similarity(W, shifted=True) < 1
    assert row_similarity(W) < nearest_similarity(W, shifted=False) < nearest_similarity(W, shifted=True)
    copies = W[:1] * torch.linspace(0.1, 7, 9)[:, None]
    assert 1 - 1e-6 < shifted_similarity(copies) <= 1
    assert 1 - 1e-6 < nearest_similarity(copies, shifted=False) <= nearest_similarity(copies, shifted=True) <= 1


def test_the_nearest_row_shows_one_copy_among_many_shapes_where_the_mean_hardly_does() -> None:
    W = normal(50, 100)
    twice = torch.cat([W, W.roll(1, dims=1)])
    assert shifted_similarity(twice) - shifted_similarity(W) < 0.02
    assert nearest_similarity(twice, shifted=True) > 0.95 > 0.4 > nearest_similarity(W, shifted=True)
    assert nearest_similarity(twice, shifted=False) < 0.4


def test_the_similarities_of_weights_that_are_trained_carry_no_gradient_and_leave_the_weights_alone() -> None:
    W = normal(6, 9).requires_grad_()
    before = W.detach().clone()
    for shifted in (False, True):
        assert not nearest_similarity(W, shifted=shifted).requires_grad
    assert not shifted_similarity(W).requires_grad
    assert torch.equal(W, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_impulses_have_a_flat_spectrum_and_rounding_does_not_make_them_diverse(dtype: torch.dtype) -> None:
    assert spectral_peaks(torch.eye(50, dtype=dtype)).tolist() == [0] * 50
    assert spectral_diversity(torch.eye(50, dtype=dtype)) == 0


# ---- degenerate and wrong input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, SAE, {"orthonormality": "projection"}, {"orthonormality": "row norm"}], ids=str
)
def test_a_silent_signal_and_dead_or_equal_rows_give_finite_features_costs_and_gradients(options: dict) -> None:
    model, x = NormalizedSparseAutoencoder(4, 3, generator=seeded(), **options), torch.zeros(2, 12)
    for W in (torch.zeros(3, 4), torch.ones(3, 4)):
        with torch.no_grad():
            model.weight.copy_(W)
        cost = model.cost(segment(standardize(x), 4).reshape(-1, 4))
        cost.backward()
        assert cost.isfinite()
        assert model.weight.grad.isfinite().all()
        assert LocalConnectionNetwork(model, 2)(x).isfinite().all()
        model.constrain_()
        assert model.weight.isfinite().all()
    assert shift_sensitivity(lambda x: local_features(x, W), x, 3).tolist() == [0, 0]


NAN = torch.tensor([[1.0, math.nan], [0.0, 1.0]])


def test_values_whose_sum_is_too_large_are_finite_and_infinite_ones_that_cancel_are_not() -> None:
    large = torch.full((4,), 3e38)
    assert torch.equal(segment(large, 2), large.reshape(2, 2))
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        segment(torch.tensor([torch.inf, -torch.inf, 0.0, 0.0]), 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: segment(torch.zeros(5), 6), "segments of 6 points cannot be cut from 5: choose"),
        (lambda: segment(torch.zeros(5), 0), "segments of 0 points cannot be cut from 5: choose"),
        (lambda: segment(torch.zeros(5), 2, 0), "the stride must be at least 1 point, got 0"),
        (lambda: segment(torch.zeros(2, 0), 1), r"the signal of shape \(2, 0\) is empty"),
        (lambda: segment(torch.tensor(1.0), 1), r"the signal of shape \(\) is empty or a single number"),
        (lambda: segment(NAN, 1), "the signal holds NaN or infinite values: clean the data"),
        (lambda: segment(torch.arange(5), 2), r"must hold floating-point numbers, got torch.int64: convert"),
        (lambda: wrap(torch.zeros(5), 6), "segments of 6 points cannot be cut from 5"),
        (lambda: standardize(NAN / 0), "the signal holds NaN or infinite values"),
        (lambda: draw_segments(torch.zeros(2, 9), 3, 7, seeded()), "7 segments cannot be drawn from 6"),
        (lambda: draw_segments(torch.zeros(2, 9), 3, 0, seeded()), "0 segments cannot be drawn from 6"),
        (lambda: draw_segments(torch.zeros(9), 3, 2, seeded()), r"of signals of shape \(9,\)"),
        (lambda: orthonormality_penalty(torch.ones(3)), r"W must be a matrix, got shape \(3,\)"),
        (lambda: orthonormality_penalty(NAN), "W holds NaN or infinite values: .* lower the learning rate"),
        (lambda: orthonormalize(torch.ones(2, 2, 2)), r"W must be a matrix, got shape \(2, 2, 2\)"),
        (lambda: orthonormalize(torch.zeros(0, 4)), r"W of shape \(0, 4\) is empty"),
        (lambda: orthonormalize(NAN), "W holds NaN"),
        (lambda: normalize_rows(torch.ones(3)), "W must be a matrix"),
        (lambda: penalty_floor(0, 5), "at least 1 row and 1 column, got 0 and 5"),
        (lambda: nsae_cost(torch.eye(2), EXAMPLE, -0.1, 1.0), "sparsity_weight must be .* at least 0, got -0.1"),
        (lambda: nsae_cost(torch.eye(2), EXAMPLE, 0.1, math.nan), "orthonormality_weight must be .*, got nan"),
        (lambda: nsae_cost(torch.eye(3), EXAMPLE, 0.1, 1.0), r"of 2 points do not fit W of shape \(3, 3\)"),
        (lambda: nsae_cost(torch.eye(2), NAN, 0.1, 1.0), "x holds NaN"),
        (lambda: nsae_cost(torch.eye(2), EXAMPLE[0], 0.1, 1.0), r"x must be a matrix, got shape \(2,\)"),
        (lambda: autoencoder(2, 2).cost(NAN.double()), "x holds NaN"),
        (lambda: autoencoder(0, 2), "at least 1 row and 1 column, got 2 and 0"),
        (lambda: autoencoder(2, 2, activation="tanh"), "unknown activation 'tanh': choose one of relu, sigmoid"),
        (lambda: autoencoder(2, 2, sparsity="l2"), "unknown sparsity 'l2': choose one of l1, kl, none"),
        (lambda: autoencoder(2, 2, orthonormality="hard"), "unknown orthonormality 'hard': choose one of penalty, p"),
        (lambda: autoencoder(2, 2, sparsity_weight=-1), "sparsity_weight must be .* got -1"),
        (lambda: autoencoder(2, 2, orthonormality_weight=-1), "orthonormality_weight must be .* got -1"),
        (lambda: autoencoder(2, 2, sparsity="kl"), r"KL needs a sigmoid and rho in \(0, 1\), got 'relu' and 0.05"),
        (lambda: autoencoder(2, 2, rho=1.0, **SAE), r"KL needs a sigmoid and rho in \(0, 1\), got 'sigmoid' and 1.0"),
        (lambda: local_features(torch.zeros(5), torch.zeros(3, 6)), "segments of 6 points cannot be cut from 5"),
        (lambda: local_features(torch.zeros(5), torch.zeros(3)), r"W must be a matrix, got shape \(3,\)"),
        (lambda: convolution_features(torch.zeros(5), torch.zeros(3, 6)), "segments of 6 points cannot be cut from 5"),
        (lambda: convolution_features(torch.zeros(5), torch.zeros(3, 2), 0), "the stride must be at least 1 point"),
        (lambda: lcn_features(torch.ones(5), torch.eye(2), torch.zeros(3), torch.eye(3)), "does not fit W"),
        (lambda: lcn_features(torch.ones(5), torch.ones(3, 6), torch.zeros(6), torch.eye(6)), "cannot be cut from 5"),
        (lambda: lcn_step(NAN, torch.zeros(2, dtype=int), torch.eye(2), torch.zeros(2), 0.1), "features holds NaN"),
        (lambda: lcn_step(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), 0.1), "whole numbers"),
        (lambda: lcn_step(torch.eye(2), torch.tensor([0, 2]), torch.eye(2), torch.zeros(2), 0.1), "from 0 to 1"),
        (lambda: lcn_step(torch.eye(2), torch.tensor([0]), torch.eye(2), torch.zeros(2), 0.1), "expected features"),
        (lambda: lcn_step(torch.eye(2), torch.tensor([0, 1]), torch.eye(3), torch.zeros(3), 0.1), "expected features"),
        (lambda: lcn_step(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), torch.zeros(3), 0.1), "expected features"),
        (lambda: LocalConnectionNetwork(autoencoder(2, 2), 1), "at least two classes are needed to tell apart, got 1"),
        (lambda: LocalConnectionNetwork(autoencoder(6, 2), 3)(torch.zeros(2, 5)), "segments of 6 points cannot be cut"),
        (lambda: row_similarity(torch.ones(1, 4)), "two rows or more that are not zero are needed to compare, got 1"),
        (lambda: row_similarity(torch.zeros(5, 4)), "two rows or more that are not zero are needed to compare, got 0"),
        (lambda: row_similarity(NAN), "W holds NaN"),
        (lambda: shifted_similarity(torch.ones(1, 4)), "two rows or more that are not zero are needed .* got 1"),
        (lambda: shifted_similarity(torch.ones(4)), r"W must be a matrix, got shape \(4,\)"),
        (lambda: shifted_similarity(torch.eye(2).int()), "W must hold floating-point numbers, got torch.int32"),
        (lambda: shifted_similarity(NAN), "W holds NaN"),
        (lambda: nearest_similarity(torch.zeros(5, 4), shifted=True), "two rows or more .* are needed .* got 0"),
        (lambda: nearest_similarity(NAN, shifted=False), "W holds NaN"),
        (lambda: spectral_peaks(torch.ones(4)), "W must be a matrix"),
        (lambda: spectral_diversity(torch.ones(4, 1)), "rows of a single point have no spectrum"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence_that_says_why(call: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---- the strips of the widget ---------------------------------------------------------------------------------------


def test_strips_show_codes_before_and_after_a_shift_on_one_scale_for_each_pair() -> None:
    x = torch.arange(12.0)
    strips = code_strips(lambda part: 2 * part, lambda window: window[:4], x, 3, 4)
    assert strips.shape == (43, 4)
    code, shifted, pooled, pooled_shifted = (strips[11 * i] for i in range(4))
    torch.testing.assert_close(code, torch.tensor([3.0, 4, 5, 6]) / 6)  # points 4 to 7 of the window, then 1 to 4
    torch.testing.assert_close(shifted, torch.tensor([0.0, 1, 2, 3]) / 6)
    torch.testing.assert_close(pooled, torch.tensor([0.0, 1, 2, 3]) / 11)
    torch.testing.assert_close(pooled_shifted, torch.tensor([9.0, 10, 11, 0]) / 11)
    assert (strips[:10] == code).all()
    assert (strips[10] == 0).all(), "a white line between the strips"


def test_strips_are_equal_in_pairs_without_a_shift_and_finite_where_nothing_is_active() -> None:
    strips = code_strips(lambda part: part, torch.zeros_like, torch.linspace(0, 1, 12), 0, 12)
    assert torch.equal(strips[0], strips[11])
    assert not strips[22:].any()


def test_strips_refuse_a_segment_that_is_longer_than_the_window() -> None:
    with pytest.raises(ValueError, match="13 points cannot be cut from 12"):
        code_strips(lambda part: part, lambda window: window, torch.ones(12), 0, 13)
