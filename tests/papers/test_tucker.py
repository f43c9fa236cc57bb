"""Ranks by EVBMF against its free energy written out, and Tucker-2 against the convolution that it replaces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import tensorly
import torch
from tensorly.decomposition import partial_tucker
from tensors import normal
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.papers.tucker import (
    compress,
    evbmf_rank,
    evbmf_ranks,
    hosvd,
    three_convolutions,
    tucker2_conv,
    tucker2_cost,
    tucker2_linear,
)

pytestmark = pytest.mark.usefixtures("one_thread")

NAN = torch.full((4, 4), math.nan)


def low_rank(L: int, M: int, rank: int, noise: float, seed: int = 0) -> Tensor:
    signal = normal(L, rank, seed=seed) @ normal(rank, M, seed=seed + 100)
    return signal + noise * normal(L, M, seed=seed + 200)


def conv(C_i: int = 6, C_o: int = 16, k: int = 5, seed: int = 0, **settings: object) -> nn.Conv2d:
    layer = nn.Conv2d(C_i, C_o, k, **settings)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(*parameter.shape, seed=seed) / math.sqrt(C_i * k * k))
    return layer


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def kernel(layers: nn.Sequential) -> Tensor:
    """The kernel (C_o, C_i, k, k) that three convolutions amount to."""
    U_i, G, U_o = (layer.weight.detach().double() for layer in layers)
    return torch.einsum("op,pqhw,qi->oihw", U_o[:, :, 0, 0], G, U_i[:, :, 0, 0])


def error(layer: nn.Conv2d, ranks: tuple[int, int]) -> float:
    """Squared, in parts of the kernel's."""
    W = layer.weight.detach().double()
    return ((kernel(tucker2_conv(layer, ranks)) - W).square().sum() / W.square().sum()).item()


def discarded(layer: nn.Conv2d, ranks: tuple[int, int]) -> list[float]:
    """The squared singular values that are left out, of the two unfoldings, in parts of all."""
    W = layer.weight.detach().double()
    squares = [torch.linalg.svdvals(W.transpose(0, mode).flatten(1)).square() for mode in (1, 0)]
    return [(s[rank:].sum() / s.sum()).item() for s, rank in zip(squares, ranks, strict=True)]


# ---- EVBMF ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_three_cases_of_the_reference_have_rank_3_and_5_and_0(seed: int) -> None:
    assert evbmf_rank(low_rank(20, 50, 3, 0.1, seed)) == 3
    assert evbmf_rank(low_rank(64, 576, 5, 0.1, seed)) == 5
    assert evbmf_rank(normal(64, 288, seed=seed)) == 0


def rank_written_out(matrix: np.ndarray) -> int:
    """The same free energy, term by term, and the least of 20,000 values of the noise variance."""
    L, M = matrix.shape
    alpha, gammas = L / M, np.linalg.svd(matrix, compute_uv=False)
    tau_0 = 2.5129 * math.sqrt(alpha)
    x_0 = (1 + tau_0) * (1 + alpha / tau_0)

    def psi(x: float) -> float:
        if x <= x_0:
            return x - math.log(x)
        tau = (x - 1 - alpha + math.sqrt((x - 1 - alpha) ** 2 - 4 * alpha)) / 2
        return x - math.log(x) + math.log(tau + 1) + alpha * math.log(tau / alpha + 1) - tau

    most = math.ceil(L / (1 + alpha)) - 1
    low = max(gammas[most] ** 2 / (M * x_0), (gammas[most:] ** 2).mean() / M)
    high = (gammas**2).sum() / (L * M)
    _, variance = min((sum(psi(g**2 / (M * v)) for g in gammas), v) for v in np.geomspace(low, high, 20_000))
    return int((gammas > math.sqrt(M * variance * x_0)).sum())


@pytest.mark.parametrize(
    ("L", "M", "rank", "noise", "seed"),
    [
        (6, 50, 3, 1.0, 0),
        (8, 30, 4, 1.5, 0),
        (5, 200, 2, 3.0, 0),
        (10, 10, 4, 0.7, 0),
        (10, 10, 4, 0.7, 3),  # here, and below, there are two valleys, and a search from one end takes the wrong one
        (10, 10, 4, 0.7, 23),
        (6, 50, 3, 1.0, 24),
    ],
)
def test_ranks_are_those_at_the_minimum_of_the_free_energy_written_out(
    L: int, M: int, rank: int, noise: float, seed: int
) -> None:
    matrix = low_rank(L, M, rank, noise, seed)
    assert evbmf_rank(matrix) == rank_written_out(matrix.numpy())


def test_as_noise_grows_first_some_and_then_all_components_are_lost() -> None:
    ranks = [evbmf_rank(low_rank(20, 50, 6, noise)) for noise in (0.1, 1, 1.4, 1.7, 2, 2.5, 30)]
    assert ranks == sorted(ranks, reverse=True)
    assert (ranks[0], ranks[-1]) == (6, 0)
    assert 0 < ranks[-2] < 6


@pytest.mark.parametrize("unit", [1e-8, 1e-3, 1e8])
def test_neither_the_unit_nor_the_orientation_of_a_matrix_matters(unit: float) -> None:
    matrix = low_rank(20, 50, 6, 2)
    assert evbmf_rank(unit * matrix) == evbmf_rank(matrix.T) == evbmf_rank(matrix) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_the_rank_is_that_of_linear_algebra(dtype: torch.dtype) -> None:
    assert evbmf_rank(low_rank(20, 50, 3, 0).to(dtype)) == 3
    assert evbmf_rank(torch.ones(6, 6, dtype=dtype)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_to_fewer_digits_is_noise_above_which_components_still_rise(dtype: torch.dtype) -> None:
    assert evbmf_rank(low_rank(20, 50, 3, 0.1).to(dtype)) == 3


def test_nothing_has_no_rank_and_one_row_looks_like_noise() -> None:
    assert evbmf_rank(torch.zeros(3, 4)) == 0
    assert evbmf_rank(normal(1, 5)) == 0


def test_a_kernel_has_a_rank_for_its_input_and_one_for_its_output_channels_at_least_1() -> None:
    W = torch.einsum("op,pqhw,qi->oihw", normal(40, 4), normal(4, 3, 5, 5, seed=1), normal(3, 20, seed=2))
    assert evbmf_ranks(W + 0.1 * normal(40, 20, 5, 5, seed=3)) == (3, 4)
    assert evbmf_ranks(normal(40, 20, 5, 5)) == (1, 1)


# ---- convolutions ---------------------------------------------------------------------------------------------------

SETTINGS = [
    {},
    {"stride": 2, "padding": 2},
    {"stride": (1, 2), "padding": (0, 3), "dilation": (2, 1)},
    {"padding": "same", "padding_mode": "reflect"},
    {"bias": False},
    {"k": 1},
    {"C_i": 2, "C_o": 6, "k": 1},  # of rank 2, in whatever way
    {"C_i": 40, "C_o": 1, "k": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_with_all_ranks_nothing_is_lost(settings: dict) -> None:
    layer = conv(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers = tucker2_conv(layer, (layer.in_channels, layer.out_channels))
    x = normal(2, layer.in_channels, 17, 19).float()
    torch.testing.assert_close(layers(x), layer(x), rtol=0, atol=1e-5)


def test_three_convolutions_1x1_kxk_1x1_have_the_parameters_of_the_formula() -> None:
    layer = conv(C_i=16, C_o=120, k=5, stride=2, padding=1)
    first, core, last = tucker2_conv(layer, (7, 11))
    assert [tuple(part.weight.shape) for part in (first, core, last)] == [(7, 16, 1, 1), (11, 7, 5, 5), (120, 11, 1, 1)]
    assert [part.bias is None for part in (first, core, last)] == [True, True, False]
    assert (core.stride, core.padding, last.bias.tolist()) == ((2, 2), (1, 1), layer.bias.tolist())
    assert count(nn.Sequential(first, core, last)) == 16 * 7 + 7 * 11 * 25 + 11 * 120 + 120


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2, "padding": 1}, {"stride": 3, "padding": 2, "bias": False}, {"k": 1}], ids=str
)
def test_three_convolutions_compute_what_the_layers_do_and_what_one_convolution_does(settings: dict) -> None:
    layer = conv(**settings)
    layers = tucker2_conv(layer, (3, 5))
    first, core, last = (part.weight for part in layers)
    x, window = normal(2, 6, 9, 11).float(), (layer.stride[0], layer.padding[0])
    found = three_convolutions(x, core, first[:, :, 0, 0].T, last[:, :, 0, 0], layer.bias, *window)
    torch.testing.assert_close(found, layers(x))
    torch.testing.assert_close(found, nn.functional.conv2d(x, kernel(layers).float(), layer.bias, *window))


@pytest.mark.parametrize(
    ("settings", "ranks"), [({}, (4, 7)), ({"stride": 2, "padding": 1}, (1, 3)), ({"k": 1}, (6, 16))]
)
def test_the_cost_is_that_of_the_layers(settings: dict, ranks: tuple[int, int]) -> None:
    layer = conv(**settings)
    layers = tucker2_conv(layer, ranks)
    with FlopCounterMode(display=False) as counter:
        out = layers(torch.zeros(1, 6, 9, 11))
    found = tucker2_cost((6, 16), layer.kernel_size[0], ranks, (9 * 11, out[0, 0].numel()))
    assert found == (count(layers), counter.get_total_flops() / 2)


def test_the_factors_are_orthonormal() -> None:
    first, _, last = tucker2_conv(conv(), (4, 7))
    U_i, U_o = first.weight[:, :, 0, 0].T, last.weight[:, :, 0, 0]
    torch.testing.assert_close(U_i.T @ U_i, torch.eye(4))
    torch.testing.assert_close(U_o.T @ U_o, torch.eye(7))


def test_the_error_falls_with_every_rank_down_to_0() -> None:
    layer = conv()
    errors = [error(layer, (rank, min(16, 3 * rank))) for rank in range(1, 7)]
    assert all(smaller < larger for larger, smaller in pairwise(errors))
    assert errors[-1] < 1e-10
    by_outputs = [error(layer, (4, rank)) for rank in range(1, 17, 3)]
    assert all(smaller < larger for larger, smaller in pairwise(by_outputs))


@pytest.mark.parametrize("ranks", [(1, 1), (3, 4), (6, 5), (2, 16), (5, 15)])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_lies_between_the_larger_and_the_sum_of_what_the_unfoldings_lose(ranks, seed: int) -> None:
    layer = conv(seed=seed)
    left_out = discarded(layer, ranks)
    assert max(left_out) - 1e-9 <= error(layer, ranks) <= sum(left_out) + 1e-9


def test_the_error_is_that_of_tensorly_from_its_own_start() -> None:
    layer, ranks = conv(C_i=12, C_o=20, k=3), (4, 6)
    W = layer.weight.detach().double()
    (core, factors), _ = partial_tucker(W.numpy(), rank=[6, 4], modes=[0, 1])
    found = torch.from_numpy(tensorly.tenalg.multi_mode_dot(core, factors, modes=[0, 1]))
    assert error(layer, ranks) == pytest.approx(((found - W).square().sum() / W.square().sum()).item(), rel=1e-3)


def test_by_default_ranks_are_those_of_evbmf_and_at_least_1_for_a_kernel_of_noise() -> None:
    layer = conv(C_i=20, C_o=40)
    assert [part.out_channels for part in tucker2_conv(layer)] == [1, 1, 40]
    with torch.no_grad():
        low = torch.einsum("op,pqhw,qi->oihw", normal(40, 4), normal(4, 3, 5, 5, seed=1), normal(3, 20, seed=2))
        layer.weight.add_(low)
    assert [part.out_channels for part in tucker2_conv(layer)] == [3, 4, 40]


def test_the_convolution_its_type_and_the_state_of_the_program_are_kept() -> None:
    layer = conv().double()
    before = layer.weight.clone()
    torch.manual_seed(0)
    np.random.seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), tensorly.get_backend()
    layers = tucker2_conv(layer, (6, 16))
    x = normal(1, 6, 9, 9)
    torch.testing.assert_close(layers(x), layer(x), rtol=0, atol=1e-12)
    assert layer.weight.equal(before)
    assert np.random.get_state()[1].tolist() == states[1]
    assert tensorly.get_backend() == states[2]


def test_another_backend_of_tensorly_does_not_matter() -> None:
    with tensorly.backend_context("pytorch"):
        found = tucker2_conv(conv(), (3, 4))
    assert kernel(found).equal(kernel(tucker2_conv(conv(), (3, 4))))


@pytest.mark.parametrize("settings", [{}, {"C_i": 2, "C_o": 6, "k": 1}], ids=["usual", "too few directions"])
def test_the_same_convolution_always_gives_the_same_factors(settings: dict) -> None:
    layer = conv(**settings)
    ranks = (2, 6)
    found = [[part.weight.tolist() for part in tucker2_conv(layer, ranks)] for _ in range(2)]
    assert found[0] == found[1]


# ---- HOSVD ----------------------------------------------------------------------------------------------------------


def put_together(core: Tensor, U_i: Tensor, U_o: Tensor) -> Tensor:
    return torch.einsum("pqhw,op,iq->oihw", core, U_o, U_i)


@pytest.mark.parametrize("ranks", [(1, 1), (3, 4), (6, 2), (2, 16)])
def test_the_hosvd_is_the_projection_on_the_leading_singular_vectors_that_numpy_finds(ranks: tuple[int, int]) -> None:
    W = normal(16, 6, 3, 3).numpy()
    U_o = np.linalg.svd(W.reshape(16, -1), full_matrices=False)[0][:, : ranks[1]]
    U_i = np.linalg.svd(W.swapaxes(0, 1).reshape(6, -1), full_matrices=False)[0][:, : ranks[0]]
    by_outputs = np.tensordot(U_o @ U_o.T, W, axes=(1, 0))
    expected = np.tensordot(U_i @ U_i.T, by_outputs, axes=(1, 1)).swapaxes(0, 1)
    core, found_i, found_o = hosvd(torch.from_numpy(W), ranks)
    assert (core.shape, found_i.shape, found_o.shape) == ((ranks[1], ranks[0], 3, 3), (6, ranks[0]), (16, ranks[1]))
    np.testing.assert_allclose(put_together(core, found_i, found_o), expected, atol=1e-10)
    np.testing.assert_allclose(np.abs((found_o.numpy() * U_o).sum(0)), 1, atol=1e-8)  # alike but for the sign, in order
    np.testing.assert_allclose(np.abs((found_i.numpy() * U_i).sum(0)), 1, atol=1e-8)


@pytest.mark.parametrize("shape", [(16, 6, 5, 5), (6, 2, 1, 1), (1, 40, 3, 3)], ids=str)
def test_the_hosvd_of_all_ranks_is_exact_and_the_slices_of_its_core_are_as_long_as_the_singular_values(shape) -> None:
    W = normal(*shape)
    core, U_i, U_o = hosvd(W, (shape[1], shape[0]))
    torch.testing.assert_close(put_together(core, U_i, U_o), W)
    for mode in (0, 1):
        gram = core.transpose(0, mode).flatten(1) @ core.transpose(0, mode).flatten(1).T
        squares = torch.linalg.svdvals(W.transpose(0, mode).flatten(1)).square()
        expected = torch.cat([squares, torch.zeros(shape[mode] - len(squares))])
        torch.testing.assert_close(gram, torch.diag(expected.double()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ranks", [(1, 1), (3, 4), (2, 16), (5, 15)])
def test_the_hosvd_loses_no_less_than_the_iteration_and_no_more_than_twice_that_nor_than_the_bound(ranks) -> None:
    layer = conv()
    W = layer.weight.detach().double()
    lost = ((put_together(*hosvd(W, ranks)) - W).square().sum() / W.square().sum()).item()
    assert error(layer, ranks) - 1e-9 <= lost <= min(2 * error(layer, ranks), sum(discarded(layer, ranks))) + 1e-9


def test_what_the_hosvd_gives_is_what_three_convolutions_take() -> None:
    layer = conv(stride=2, padding=1)
    parts = hosvd(layer.weight, (3, 5))
    x = normal(2, 6, 9, 11).float()
    assert not any(part.requires_grad for part in parts)
    assert {part.dtype for part in parts} == {torch.float32}
    expected = nn.functional.conv2d(x, put_together(*parts), layer.bias, 2, 1)
    torch.testing.assert_close(three_convolutions(x, *parts, layer.bias, 2, 1), expected)


def test_the_hosvd_of_a_linear_layer_is_its_truncated_svd() -> None:
    W = normal(9, 12)
    core, U_i, U_o = hosvd(W, (5, 5))
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    torch.testing.assert_close(U_o @ core @ U_i.T, U[:, :5] * s[:5] @ Vh[:5])


# ---- linear layers and whole models ---------------------------------------------------------------------------------


def test_a_linear_layer_becomes_its_truncated_svd() -> None:
    layer = nn.Linear(12, 9).double()
    layers = tucker2_linear(layer, (5, 5))
    W = layers[2].weight @ layers[1].weight @ layers[0].weight
    U, s, Vh = torch.linalg.svd(layer.weight, full_matrices=False)
    torch.testing.assert_close(W, U[:, :5] * s[:5] @ Vh[:5])
    assert layers(torch.zeros(1, 12).double())[0].tolist() == layer.bias.tolist()
    assert count(layers) == 12 * 5 + 5 * 5 + 5 * 9 + 9


def test_with_all_ranks_a_linear_layer_loses_nothing() -> None:
    layer, x = nn.Linear(12, 9, bias=False), normal(3, 12).float()
    torch.testing.assert_close(tucker2_linear(layer, (12, 9))(x), layer(x), rtol=0, atol=1e-5)


def model() -> nn.Sequential:
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 4, 10))
    return nn.Sequential(conv(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, 3, padding=1), head)


def test_compress_replaces_the_named_layers_of_a_copy_and_nothing_else() -> None:
    teacher = model().eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = compress(teacher, {"3": (4, 5), "4.1": (6, 6)})
    assert [type(layer).__name__ for layer in (student[0], student[3], student[4][1])] == [
        "Conv2d",
        "Sequential",
        "Sequential",
    ]
    assert student(normal(2, 3, 4, 4).float()).shape == (2, 10)
    assert not any(module.training for module in student.modules())
    assert count(student) == count(teacher) - 8 * 8 * 9 - 320 + 8 * 4 + 4 * 5 * 9 + 5 * 8 + 32 * 6 + 36 + 60
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(7)
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())


def test_with_all_ranks_the_student_answers_as_the_teacher() -> None:
    teacher, x = model().eval(), normal(2, 3, 4, 4).float()
    student = compress(teacher, {"0": (3, 8), "3": (8, 8), "4.1": (32, 10)})
    torch.testing.assert_close(student(x), teacher(x), rtol=0, atol=1e-5)


def test_a_list_of_names_or_a_rank_of_none_means_evbmf() -> None:
    for layers in (["3"], {"3": None}):
        student = compress(model(), layers)
        assert tuple(part.out_channels for part in student[3][:2]) == evbmf_ranks(model()[3].weight)


def broken() -> nn.Sequential:
    found = model()
    with torch.no_grad():
        found[3].weight[0, 0, 0, 0] = math.nan
    return found


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tucker2_conv(conv(), (7, 4)), ValueError, r"in 1 to 6 and 1 to 16, .*, got \(7, 4\)"),
        (lambda: tucker2_conv(conv(), (3, 17)), ValueError, r"in 1 to 6 and 1 to 16, .*, got \(3, 17\)"),
        (lambda: tucker2_conv(conv(), (0, 4)), ValueError, r"in 1 to 6 and 1 to 16, .*, got \(0, 4\)"),
        (lambda: tucker2_conv(conv(), (3, -1)), ValueError, r"got \(3, -1\)"),
        (lambda: hosvd(normal(16, 6, 5, 5), (7, 4)), ValueError, r"in 1 to 6 and 1 to 16, .*, got \(7, 4\)"),
        (lambda: hosvd(torch.ones(4, 3).long(), (1, 1)), ValueError, r"floating-point kernel .* torch.int64 \(4, 3\)"),
        (lambda: hosvd(torch.ones(4), (1, 1)), ValueError, r"a floating-point kernel .* got torch.float32 \(4,\)"),
        (lambda: hosvd(NAN, (1, 1)), ValueError, "the weights must be finite, but some are NaN or infinite"),
        (lambda: tucker2_cost((6, 16), 5, (7, 4), (9, 4)), ValueError, r"in 1 to 6 and 1 to 16, .*, got \(7, 4\)"),
        (lambda: tucker2_conv(conv(), 3), TypeError, r"ranks must be a pair of integers \(in, out\), got 3"),
        (lambda: tucker2_conv(conv(), (3, 4.0)), TypeError, r"a pair of integers \(in, out\), got \(3, 4.0\)"),
        (lambda: tucker2_conv(nn.Conv2d(6, 6, 3, groups=3)), ValueError, "grouped .* not supported, got groups=3"),
        (lambda: tucker2_conv(nn.ConvTranspose2d(6, 6, 3)), TypeError, "takes an nn.Conv2d, got ConvTranspose2d"),
        (lambda: tucker2_conv(broken()[3]), ValueError, "the weights must be finite, but some are NaN or infinite"),
        (lambda: tucker2_linear(conv()), TypeError, "a linear layer is asked for, got Conv2d"),
        (lambda: tucker2_linear(nn.Linear(4, 3), (2, 5)), ValueError, r"in 1 to 4 and 1 to 3, .*, got \(2, 5\)"),
        (lambda: compress(model(), ["conv9"]), ValueError, "no layer 'conv9': choose of 0, 3, 4.1"),
        (lambda: compress(model(), "3"), TypeError, r"got the text '3': write \['3'\]"),
        (lambda: compress(conv(), [""]), ValueError, "no layer '': choose of none"),
        (lambda: compress(model(), ["1"]), TypeError, "layer '1': Tucker-2 takes an nn.Conv2d, got BatchNorm2d"),
        (lambda: compress(model(), {"3": (99, 1)}), ValueError, "layer '3': the ranks"),
        (lambda: compress(broken(), ["3"]), ValueError, "layer '3': the weights must be finite"),
        (lambda: evbmf_rank(NAN), ValueError, "the matrix must be finite"),
        (lambda: evbmf_rank(torch.ones(3)), ValueError, r"a floating-point matrix, got torch.float32 of .* \(3,\)"),
        (lambda: evbmf_rank(torch.ones(0, 3)), ValueError, r"of the shape \(0, 3\)"),
        (lambda: evbmf_rank(torch.ones(3, 3).long()), ValueError, "a floating-point matrix, got torch.int64"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Callable[[], object], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
