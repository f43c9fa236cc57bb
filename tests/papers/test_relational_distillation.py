"""Transfers against the published formulation, which builds all differences, and the cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers import relational_distillation as paper
from labkit.papers.relational_distillation import (
    angle_potential,
    attention_map,
    attention_transfer_loss,
    distance_potential,
    distill_step,
    draw_by_class,
    few_shot_accuracy,
    hint_loss,
    kd_loss,
    match_ranks,
    negative_probabilities,
    pairwise_distances,
    recall_at_k,
    rkd_angle_loss,
    rkd_distance_loss,
    triplet_loss,
)

pytestmark = pytest.mark.usefixtures("one_thread")

T = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # a triangle of 3, 4 and 5
S = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
RELATIONAL = [rkd_distance_loss, rkd_angle_loss]
relational = pytest.mark.parametrize("loss", RELATIONAL)


def huber(x: Tensor, y: Tensor) -> Tensor:
    distance = (x - y).abs()
    return torch.where(distance <= 1, distance.square() / 2, distance - 0.5)


def published_distances(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    distances = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    return distances * (1 - torch.eye(len(x), dtype=x.dtype))


def published_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    found, wanted = published_distances(student), published_distances(teacher)
    return huber(found / found[found > 0].mean(), wanted / wanted[wanted > 0].mean()).mean()


def published_angles(x: Tensor) -> Tensor:
    directions = F.normalize(x[None] - x[:, None], dim=2)  # (N, N, d)
    return directions @ directions.mT


def published_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    return huber(published_angles(student), published_angles(teacher)).mean()


PUBLISHED = {rkd_distance_loss: published_distance_loss, rkd_angle_loss: published_angle_loss}


def gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(x), x)
    return found


# ---- one output at a time -------------------------------------------------------------------------------------------


def test_distillation_at_temperature_4_has_the_value_of_the_reference() -> None:
    student, teacher = (
        torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]]),
    )
    assert kd_loss(student, teacher, 4).item() == pytest.approx(0.718136549, abs=1e-6)


def test_distillation_is_a_mean_divergence_from_teacher_to_student() -> None:
    """The mean is over images, and tau squared a factor."""
    student, teacher = normal(6, 5), normal(6, 5, seed=1)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    torch.testing.assert_close(kd_loss(student, teacher, 3), 9 * (p * (p / q).log()).sum(1).mean())


def test_distillation_depends_on_logits_only_up_to_a_constant_of_each_image() -> None:
    student, teacher = normal(6, 5), normal(6, 5, seed=1)
    moved = student + normal(6, 1, seed=2), teacher + normal(6, 1, seed=3)
    torch.testing.assert_close(kd_loss(*moved, 2.0), kd_loss(student, teacher, 2.0))
    assert kd_loss(teacher + 7, teacher, 2.0).item() == pytest.approx(0, abs=1e-12)


def test_the_factor_tau_squared_keeps_the_gradient_when_the_temperature_is_high() -> None:
    student, teacher = normal(6, 5), normal(6, 5, seed=1)
    at_100, at_200 = (gradient(lambda z, tau=tau: kd_loss(z, teacher, tau), student) for tau in (100, 200))
    torch.testing.assert_close(at_100, at_200, rtol=0.05, atol=0)


def test_a_hint_is_the_mean_squared_difference_behind_the_regressor_which_learns_along() -> None:
    student, teacher = normal(4, 3, 5, 5), normal(4, 2, 5, 5, seed=1)
    regressor = nn.Conv2d(3, 2, 1).double()
    loss = hint_loss(student, teacher, regressor)
    torch.testing.assert_close(loss, (regressor(student) - teacher).square().mean())
    loss.backward()
    assert regressor.weight.grad.abs().min() > 0


def test_hints_also_compare_vectors() -> None:
    assert hint_loss(normal(4, 3), normal(4, 5, seed=1), nn.Linear(3, 5).double()).ndim == 0


def test_an_attention_map_is_the_mean_over_channels_of_the_squares() -> None:
    assert attention_map(torch.arange(8.0).view(1, 2, 2, 2)).tolist() == [[8.0, 13.0, 20.0, 29.0]]


def test_attention_transfer_has_the_value_of_the_reference_whatever_the_numbers_of_channels() -> None:
    loss = attention_transfer_loss(torch.arange(8.0).view(1, 2, 2, 2), torch.ones(1, 3, 2, 2))
    assert loss.item() == pytest.approx(0.044184275, abs=1e-7)


def test_attention_transfer_does_not_see_how_strong_a_layer_is() -> None:
    student, teacher = normal(4, 3, 5, 5), normal(4, 2, 5, 5, seed=1)
    torch.testing.assert_close(attention_transfer_loss(7 * student, teacher), attention_transfer_loss(student, teacher))
    assert attention_transfer_loss(-3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_a_map_that_is_0_everywhere_has_a_finite_loss_and_no_gradient() -> None:
    found = gradient(lambda x: attention_transfer_loss(x, normal(2, 3, 4, 4)), torch.zeros(2, 5, 4, 4).double())
    assert found.eq(0).all()


# ---- relations: worked out by hand ----------------------------------------------------------------------------------


def test_the_distances_of_the_triangle_are_3_4_and_5_their_mean_4() -> None:
    assert pairwise_distances(T).tolist() == [[0, 3, 4], [3, 0, 5], [4, 5, 0]]
    assert distance_potential(T).tolist() == [[0, 0.75, 1], [0.75, 0, 1.25], [1, 1.25, 0]]


def test_the_cosines_at_the_vertices_of_the_triangle_are_0_6_tenths_and_8_tenths() -> None:
    cosines = angle_potential(T)
    assert [cosines[0, 1, 2].item(), cosines[1, 0, 2].item(), cosines[2, 0, 1].item()] == pytest.approx(
        [0, 0.6, 0.8], abs=1e-6
    )


def test_angles_are_those_of_the_unit_vectors_between_the_points() -> None:
    x = normal(7, 4)
    torch.testing.assert_close(angle_potential(x), published_angles(x))


@pytest.mark.parametrize(
    ("loss", "valid_only", "value"),
    [
        (rkd_distance_loss, False, 0.003481249),
        (rkd_distance_loss, True, 0.005221873),
        (rkd_angle_loss, False, 0.000744482),
        (rkd_angle_loss, True, 0.003350168),
    ],
)
def test_the_losses_of_the_triangle_have_the_values_of_the_reference(loss, valid_only: bool, value: float) -> None:
    assert loss(S, T, valid_only=valid_only).item() == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize(("weights", "value"), [((25, 50), 0.124255307), ((1, 2), 0.004970212)])
def test_the_weighted_sums_have_the_values_of_the_reference(weights: tuple[int, int], value: float) -> None:
    both = weights[0] * rkd_distance_loss(S, T) + weights[1] * rkd_angle_loss(S, T)
    assert both.item() == pytest.approx(value, abs=2e-7)


def test_a_difference_of_cosines_above_1_counts_linearly() -> None:
    straight, folded = torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([[1.0], [0.0], [2.0]])
    # cosines at the three vertices, folded: -1, 1, 1; straight: 1, -1, 1, so twice a difference of 2
    assert rkd_angle_loss(folded, straight, valid_only=True).item() == pytest.approx(2 * 1.5 / 3)


# ---- relations: against the published formulation -------------------------------------------------------------------


@pytest.mark.parametrize("N", [3, 4, 17])
@relational
def test_value_and_gradient_are_those_of_the_published_formulation(loss, N: int) -> None:
    student, teacher = normal(N, 5), normal(N, 8, seed=1)
    textbook = PUBLISHED[loss]
    torch.testing.assert_close(loss(student, teacher), textbook(student, teacher))
    found, expected = (gradient(lambda x, f=f: f(x, teacher), student) for f in (loss, textbook))
    torch.testing.assert_close(found, expected)


@relational
def test_in_float32_they_agree_to_its_precision(loss) -> None:
    student, teacher = normal(40, 16, dtype=torch.float32), normal(40, 64, seed=1, dtype=torch.float32)
    exact = gradient(lambda x: PUBLISHED[loss](x, teacher.double()), student.double())
    found = gradient(lambda x: loss(x, teacher), student)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6 * exact.abs().max().item())


def test_the_angle_loss_and_its_gradient_are_those_of_the_huber_loss_between_the_potentials() -> None:
    student, teacher = normal(9, 5), normal(9, 4, seed=1)
    student[4], student[5], teacher[2] = student[1], student[1], teacher[0]

    def by_definition(x: Tensor) -> Tensor:
        return huber(angle_potential(x), angle_potential(teacher)).mean()

    torch.testing.assert_close(rkd_angle_loss(student, teacher), by_definition(student))
    found = gradient(lambda x: rkd_angle_loss(x, teacher), student)
    torch.testing.assert_close(found, gradient(by_definition, student))


def test_over_valid_triplets_the_angles_are_those_of_three_different_images() -> None:
    student, teacher = normal(6, 3), normal(6, 4, seed=1)
    student[5] = student[0]  # coinciding, but not the same image
    i, j, k = torch.cartesian_prod(*[torch.arange(6)] * 3).T
    valid = (i != j) & (j != k) & (i != k)
    found = rkd_angle_loss(student, teacher, valid_only=True)
    expected = huber(published_angles(student), published_angles(teacher))[j, i, k][valid].mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("N", [3, 8])
def test_published_means_are_means_over_valid_tuples_times_a_factor_that_depends_on_the_batch(N: int) -> None:
    student, teacher = normal(N, 3), normal(N, 4, seed=1)
    factors = {rkd_distance_loss: (N - 1) / N, rkd_angle_loss: (N - 1) * (N - 2) / N**2}
    for loss, factor in factors.items():
        valid = loss(student, teacher, valid_only=True)
        torch.testing.assert_close(loss(student, teacher), factor * valid)


def test_angles_do_not_depend_on_how_many_are_worked_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = normal(7, 3), normal(7, 4, seed=1)
    monkeypatch.setattr(paper, "ANGLES_AT_A_TIME", 10**6)
    at_once = rkd_angle_loss(student, teacher), gradient(lambda x: rkd_angle_loss(x, teacher), student)
    for count in (1, 100):  # one vertex, two vertices
        monkeypatch.setattr(paper, "ANGLES_AT_A_TIME", count)
        found = rkd_angle_loss(student, teacher), gradient(lambda x: rkd_angle_loss(x, teacher), student)
        torch.testing.assert_close(found, at_once)


@pytest.mark.parametrize("valid_only", [False, True])
@relational
def test_gradients_agree_with_finite_differences(loss, valid_only: bool) -> None:
    student, teacher = normal(5, 3).requires_grad_(), normal(5, 4, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, valid_only=valid_only), student)


def test_gradients_of_the_potentials_and_of_the_other_transfers_agree_with_finite_differences() -> None:
    x, maps = normal(4, 3).requires_grad_(), normal(2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(distance_potential, x)
    assert torch.autograd.gradcheck(angle_potential, x)
    assert torch.autograd.gradcheck(lambda x: kd_loss(x, normal(4, 3, seed=1), 4), x)
    assert torch.autograd.gradcheck(lambda x: attention_transfer_loss(x, normal(2, 5, 2, 2, seed=1)), maps)


# ---- relations: what they do not see --------------------------------------------------------------------------------


@relational
def test_turning_shifting_or_scaling_the_student_or_the_teacher_changes_nothing(loss) -> None:
    student, teacher = normal(9, 5), normal(9, 4, seed=1)
    turn = [torch.linalg.qr(normal(d, d, seed=2)).Q for d in (5, 4)]
    expected = loss(student, teacher)
    for moved in (
        (student @ turn[0], teacher @ turn[1]),
        (student + 3, teacher - normal(4, seed=3)),
        (7 * student, teacher / 90),
    ):
        torch.testing.assert_close(loss(*moved), expected)


@relational
def test_a_student_that_differs_from_its_teacher_by_a_motion_or_a_scale_has_no_loss(loss) -> None:
    teacher = normal(9, 4)
    turn = torch.linalg.qr(normal(4, 4, seed=1)).Q
    for student in (teacher, 7 * teacher, teacher + 5, teacher @ turn, F.pad(teacher, (0, 3))):
        assert loss(student, teacher).item() == pytest.approx(0, abs=1e-7)
        assert loss(student.float(), teacher.float()).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_angles_neither_vanish_nor_overflow_whatever_the_unit_of_the_embeddings(scale: float) -> None:
    student, teacher = normal(9, 5, dtype=torch.float32), normal(9, 4, seed=1, dtype=torch.float32)
    torch.testing.assert_close(rkd_angle_loss(scale * student, teacher), rkd_angle_loss(student, teacher))
    found, expected = (gradient(lambda x: rkd_angle_loss(x, teacher), x) for x in (scale * student, student))
    torch.testing.assert_close(scale * found, expected)
    torch.testing.assert_close(angle_potential(scale * student), angle_potential(student))


@relational
def test_the_order_of_the_batch_does_not_matter(loss) -> None:
    student, teacher = normal(9, 5), normal(9, 4, seed=1)
    order = torch.randperm(9, generator=seeded())
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))


@relational
def test_the_gradient_neither_shifts_nor_scales_so_it_also_flows_through_mu(loss) -> None:
    student, teacher = normal(9, 5), normal(9, 4, seed=1)
    found = gradient(lambda x: loss(x, teacher), student)
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found.sum(0), torch.zeros(5, dtype=found.dtype))
    assert (found * student).sum().item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "student", "teacher"),
    [
        (lambda s, t: kd_loss(s, t, 4), (4, 3), (4, 3)),
        (lambda s, t: hint_loss(s, t, nn.Linear(3, 5).double()), (4, 3), (4, 5)),
        (attention_transfer_loss, (4, 3, 2, 2), (4, 5, 2, 2)),
        (rkd_distance_loss, (4, 3), (4, 5)),
        (rkd_angle_loss, (4, 3), (4, 5)),
    ],
)
def test_no_gradient_flows_into_the_teacher(loss, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    student, teacher = normal(*student).requires_grad_(), normal(*teacher, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


# ---- relations: coinciding points and few digits --------------------------------------------------------------------


@pytest.mark.parametrize("point", [[0.0, 0.0], [0.1, -0.3], [1e4, 1.0]])
def test_a_collapsed_student_has_all_distances_alike_no_angle_and_no_gradient(point: list[float]) -> None:
    student = torch.tensor([point] * 3)
    assert rkd_distance_loss(student, T).item() == pytest.approx(4 / 9 * 0.25**2 / 2, abs=1e-8)
    assert rkd_distance_loss(student, T).item() == pytest.approx(published_distance_loss(0 * student, T).item())
    assert rkd_angle_loss(student, T).item() == pytest.approx((0.6**2 + 0.8**2 + 3) / 27)
    assert rkd_angle_loss(student, T).item() == pytest.approx(published_angle_loss(student, T).item())
    for loss in RELATIONAL:
        assert gradient(lambda x, loss=loss: loss(x, T), student).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@relational
def test_points_that_coincide_count_as_published_and_have_a_finite_gradient(loss, dtype: torch.dtype) -> None:
    student, teacher = normal(6, 5).to(dtype), normal(6, 5, seed=1).to(dtype)
    student[4], student[5], teacher[2] = student[1], student[1], teacher[0]
    torch.testing.assert_close(loss(student, teacher).double(), PUBLISHED[loss](student.double(), teacher.double()))
    found = gradient(lambda x: loss(x, teacher), student)
    assert found.isfinite().all()
    assert 0 < found.abs().max() < 1
    if loss is rkd_angle_loss:
        assert gradient(lambda x: published_angle_loss(x, teacher), student).abs().max() > 1e9


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@relational
def test_not_even_on_the_way_back_a_gradient_is_nan(loss) -> None:
    student = normal(6, 5).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        loss(student[[0, 0, 1, 2, 3, 4]], normal(6, 5, seed=1)).backward()
    assert student.grad.isfinite().all()


def test_a_teacher_that_collapsed_is_no_reason_to_fail() -> None:
    for loss in RELATIONAL:
        assert gradient(lambda x, loss=loss: loss(x, torch.ones(6, 3)), normal(6, 5)).isfinite().all()


def test_a_tiny_distance_far_from_the_origin_keeps_its_digits() -> None:
    x = normal(6, 32, dtype=torch.float32)
    x[1] = x[0] + 1e-4 * normal(32, seed=1, dtype=torch.float32)
    x = x + 100
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").float()
    torch.testing.assert_close(pairwise_distances(x), exact, rtol=1e-4, atol=0)
    assert (published_distances(x)[0, 1] - exact[0, 1]).abs() > 0.1 * exact[0, 1]
    expected = angle_potential(x.double()).float()
    torch.testing.assert_close(angle_potential(x), expected, rtol=0, atol=5e-3)


def test_two_embeddings_that_nearly_coincide_cost_the_angle_loss_digits_in_float32_alone() -> None:
    student, teacher = normal(20, 16), normal(20, 32, seed=1)
    student[1] = student[0] + 1e-4 * normal(16, seed=2)
    exact = gradient(lambda x: published_angle_loss(x, teacher), student)
    torch.testing.assert_close(gradient(lambda x: rkd_angle_loss(x, teacher), student), exact, rtol=1e-6, atol=1e-6)
    found = gradient(lambda x: rkd_angle_loss(x, teacher.float()), student.float())
    assert (found - exact).norm() < 0.01 * exact.norm()


def test_distances_below_the_published_floor_are_raised_to_it() -> None:
    x = torch.tensor([[0.0], [1e-8], [1.0]])
    assert pairwise_distances(x)[0].tolist() == pytest.approx([0, 1e-6, 1], rel=1e-4)
    assert pairwise_distances(torch.ones(2, 3))[0].tolist() == pytest.approx([0, 1e-6])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@relational
def test_half_precision_embeddings_are_computed_in_float32(loss, dtype: torch.dtype) -> None:
    student, teacher = normal(20, 64).to(dtype), normal(20, 64, seed=1).to(dtype)
    found = loss(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(student.float(), teacher.float()))
    assert gradient(lambda x: loss(x, teacher), student).dtype == dtype


@relational
def test_autocast_changes_neither_value_nor_gradient(loss) -> None:
    student, teacher = (normal(20, 64, seed=seed, dtype=torch.float32) for seed in (0, 1))
    expected = loss(student, teacher), gradient(lambda x: loss(x, teacher), student)
    with torch.autocast("cpu", torch.bfloat16):
        assert (student @ student.T).dtype == torch.bfloat16
        found = loss(student, teacher), gradient(lambda x: loss(x, teacher), student)
    assert [x.dtype for x in found] == [torch.float32] * 2
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("potential", [pairwise_distances, distance_potential, angle_potential])
def test_autocast_does_not_change_the_potentials(potential) -> None:
    x = normal(20, 64, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = potential(x)
    assert found.equal(potential(x))


def test_outputs_in_half_precision_neither_overflow_nor_lose_the_other_transfers_their_digits() -> None:
    maps = (300 * normal(2, 3, 4, 4)).half()  # squares beyond 65,504
    torch.testing.assert_close(
        attention_transfer_loss(maps, maps.flip(2)), attention_transfer_loss(maps.float(), maps.flip(2).float())
    )
    logits = normal(4, 3).half()
    torch.testing.assert_close(kd_loss(logits, logits.flip(1), 4), kd_loss(logits.float(), logits.flip(1).float(), 4))


# ---- relations: bad input -------------------------------------------------------------------------------------------

NAN = torch.tensor([[1.0, math.nan], [0.0, 1.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rkd_distance_loss(S[:1], T[:1]), r"a distance needs two embeddings, got a batch of 1: take larger"),
        (lambda: rkd_angle_loss(S[:1], T[:1]), "an angle needs three embeddings, got a batch of 1"),
        (lambda: rkd_angle_loss(S[:2], T[:2]), "an angle needs three embeddings, got a batch of 2"),
        (lambda: angle_potential(S[:2]), "an angle needs three embeddings"),
        (lambda: rkd_distance_loss(S[:2], T), "the same batch, got embeddings of 2 and 3 images"),
        (lambda: rkd_angle_loss(S, T[:2]), "the same batch, got embeddings of 3 and 2 images"),
        (lambda: rkd_distance_loss(NAN, T), "embeddings must be finite, but some are NaN or infinite"),
        (lambda: rkd_distance_loss(S, T - math.inf), "embeddings must be finite"),
        (lambda: rkd_angle_loss(S, NAN), "embeddings must be finite"),
        (lambda: rkd_angle_loss(S, T / 0), "embeddings must be finite"),
        (lambda: rkd_angle_loss(S[None], T[None]), r"a matrix with one row for each image, got the shape \(1, 3, 2\)"),
        (lambda: rkd_distance_loss(S.long(), T), r"floating-point, got torch.int64: convert them with \.float\(\)"),
        (lambda: pairwise_distances(S[:0]), r"embeddings must not be empty, got the shape \(0, 2\)"),
        (lambda: kd_loss(S, T, 0), "the temperature must be a positive number, got 0"),
        (lambda: kd_loss(S, T, -1.0), "the temperature must be a positive number, got -1"),
        (lambda: kd_loss(S, T, math.nan), "the temperature must be a positive number, got nan"),
        (lambda: kd_loss(S, T[:, :1], 4), r"logits must have the teacher's shape \(3, 1\), got \(3, 2\)"),
        (lambda: kd_loss(S, T[:2], 4), "the same batch, got logits of 3 and 2 images"),
        (lambda: kd_loss(NAN, T, 4), "logits must be finite"),
        (
            lambda: hint_loss(S, T[:, :1], nn.Identity()),
            r"after the regressor, must have the teacher's shape \(3, 1\), got \(3, 2\)",
        ),
        (lambda: hint_loss(S, T[:2], nn.Identity()), "the same batch, got features of 3 and 2 images"),
        (lambda: attention_map(S), r"features must be maps \(N, C, H, W\), got the shape \(3, 2\)"),
        (
            lambda: attention_transfer_loss(normal(2, 3, 4, 4), normal(2, 3, 8, 8)),
            r"maps of one size: the student's are \(4, 4\), the teacher's \(8, 8\); compare other layers",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_in_a_batch_of_two_the_one_distance_is_always_the_mean() -> None:
    assert rkd_distance_loss(S[:2], T[:2]).item() == 0


# ---- one step of training -------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    maps: tuple[Tensor, ...]
    embedding: Tensor
    logits: Tensor


class Net(nn.Module):
    """A convolution with batch normalization and dropout, an embedding, logits; it remembers how it was asked."""

    def __init__(self, channels: int, d: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.Dropout(0.5))
        self.embed, self.head = nn.Linear(channels * 4, d), nn.Linear(d, 3)
        self.asked: list[tuple[bool, bool]] = []  # whether in training mode, and with a graph

    def forward(self, x: Tensor) -> Answer:
        self.asked.append((self.training, torch.is_grad_enabled()))
        maps = self.first(x)
        embedding = self.embed(maps.flatten(1))
        return Answer((maps,), embedding, self.head(embedding))


def networks() -> tuple[Net, Net, nn.Module]:
    """A student, a larger teacher that was left in training mode, and a regressor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(2, 4).double().eval(), Net(3, 5).double(), nn.Conv2d(2, 3, 1).double()


WEIGHTS = {"kd": 0.9, "hint": 100.0, "distance": 25.0, "angle": 50.0}


@pytest.mark.parametrize("weights", [{}, *({name: WEIGHTS[name]} for name in WEIGHTS), WEIGHTS], ids=str)
def test_the_loss_of_a_step_is_the_weighted_sum_of_its_losses(weights: dict[str, float]) -> None:
    student, teacher, regressor = networks()
    x, y = normal(6, 1, 4, 4), torch.tensor([0, 2, 1, 1, 0, 2])
    with torch.random.fork_rng():
        torch.manual_seed(1)  # for the student's dropout
        loss = distill_step(student, teacher, x, y, regressor=regressor, temperature=2.0, **weights)
        torch.manual_seed(1)
        s, t = student(x), teacher.eval()(x)
    w = dict.fromkeys(WEIGHTS, 0.0) | weights
    p, log_q = (t.logits / 2).softmax(1), (s.logits / 2).log_softmax(1)
    expected = (1 - w["kd"]) * -s.logits.log_softmax(1)[range(6), y].mean()
    expected = expected + w["kd"] * 4 * (p * (p.log() - log_q)).sum(1).mean()
    expected = expected + w["hint"] * (regressor(s.maps[0]) - t.maps[0]).square().mean()
    expected = expected + w["distance"] * published_distance_loss(s.embedding, t.embedding)
    expected = expected + w["angle"] * published_angle_loss(s.embedding, t.embedding)
    torch.testing.assert_close(loss, expected)


def test_a_step_asks_the_student_in_training_mode_and_the_teacher_in_evaluation_mode_without_a_graph() -> None:
    student, teacher, regressor = networks()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss = distill_step(student, teacher, normal(6, 1, 4, 4), torch.arange(6) % 3, regressor=regressor, **WEIGHTS)
    assert (student.asked, teacher.asked) == ([(True, True)], [(False, False)])
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad.any() for parameter in [*student.head.parameters(), *regressor.parameters()])


def test_losses_of_weight_0_are_left_out_so_that_they_ask_for_nothing() -> None:
    student, teacher, _ = networks()
    assert distill_step(student, teacher, normal(2, 1, 4, 4), torch.tensor([0, 1]), kd=0.5, distance=1.0).isfinite()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kd": 1.5}, "kd must lie in 0 to 1"),
        ({"angle": -1.0}, r"other weights be at least 0, got 0.0 and \(0.0, 0.0, -1.0\)"),
        ({"hint": 1.0}, "a hint needs a regressor"),
    ],
)
def test_weights_that_make_no_sense_are_refused_in_one_sentence(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distill_step(*networks()[:2], normal(6, 1, 4, 4), torch.arange(6) % 3, **weights)


# ---- recall ---------------------------------------------------------------------------------------------------------


def clusters(N: int = 120, d: int = 6, classes: int = 8) -> tuple[Tensor, Tensor]:
    """Classes that overlap, of different sizes."""
    labels = (classes * torch.rand(N, generator=seeded(), dtype=torch.float64).square()).long()
    return normal(classes, d, seed=1)[labels] + normal(N, d, seed=2), labels


def test_ranks_on_a_line_are_those_counted_by_hand() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [3.5], [10.0]])
    labels = torch.tensor([0, 1, 0, 1, 2])
    # 0: 1 is nearer than 3; 1: 0 and 3 are nearer than 3.5; 3: 3.5 and 1 before 0; 3.5: 3 before 1; 10 is alone
    assert match_ranks(x, labels).tolist() == [2, 3, 3, 2, 5]
    assert [recall_at_k(x, labels, k) for k in (1, 2, 3, 4)] == [0, 0.4, 0.8, 0.8]


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_recall_is_what_a_search_for_the_k_nearest_neighbours_gives(k: int) -> None:
    x, labels = clusters()
    found = NearestNeighbors(n_neighbors=k).fit(x.numpy()).kneighbors(return_distance=False)  # without the point itself
    expected = (labels[found] == labels[:, None]).any(1).double().mean().item()
    assert 0.2 < expected < 1
    assert recall_at_k(x, labels, k) == pytest.approx(expected)
    assert recall_at_k(x.float(), labels, k) == pytest.approx(expected)


def test_recall_at_1_is_the_default() -> None:
    x, labels = clusters()
    assert recall_at_k(x, labels) == recall_at_k(x, labels, 1)


def test_ranks_do_not_depend_on_how_many_rows_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters()
    whole = match_ranks(x, labels)
    for count in (1, 1000):  # one row at a time, eight rows
        monkeypatch.setattr(paper, "DISTANCES_AT_A_TIME", count)
        assert match_ranks(x, labels).equal(whole)


def test_a_collapsed_network_finds_nothing_since_ties_count_as_misses() -> None:
    assert recall_at_k(torch.full((6, 3), 0.1), torch.tensor([0, 0, 0, 1, 1, 1]), 3) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_twin_of_the_own_class_is_a_miss_where_one_of_another_class_is_as_near(dtype: torch.dtype) -> None:
    x, classes = normal(33, 16).to(dtype), torch.arange(33)
    assert recall_at_k(torch.cat([x, x, x]), torch.cat([classes, classes, classes + 33])) == 0


def test_classes_that_collapsed_to_a_point_each_are_all_found() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert recall_at_k(normal(2, 3)[labels], labels) == 1


def test_normalisation_can_only_matter_where_lengths_differ() -> None:
    x, labels = clusters()
    unit = F.normalize(x)
    assert recall_at_k(7 * unit, labels) == recall_at_k(unit, labels) != recall_at_k(x, labels)


def test_autocast_does_not_change_ranks() -> None:
    x, labels = clusters()
    with torch.autocast("cpu", torch.bfloat16):
        assert match_ranks(x.float(), labels).equal(match_ranks(x, labels))


# ---- triplets -------------------------------------------------------------------------------------------------------


def on_the_sphere(N: int, d: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    return F.normalize(normal(N, d)), torch.arange(N) % classes


def test_negatives_are_drawn_by_the_inverse_density_of_their_distance_on_the_sphere() -> None:
    (x, labels), d = on_the_sphere(60, 5), 5
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    other, near = labels[:, None] != labels, distances.clamp(min=0.5)
    assert 0.1 < distances[other].min() < 0.5
    weights = other * (distances < 1.4) / (near ** (d - 2) * (1 - near.square() / 4).abs() ** ((d - 3) / 2))
    torch.testing.assert_close(negative_probabilities(x, labels), weights / weights.sum(1, keepdim=True))


def test_distances_of_random_points_on_the_sphere_have_the_density_that_the_weights_undo() -> None:
    x, d = F.normalize(normal(2000, 6)), 6
    distances = pairwise_distances(x)[torch.triu(torch.ones(2000, 2000, dtype=torch.bool), 1)]
    edges = torch.linspace(0.6, 1.4, 9, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    counted = torch.histogram(distances, edges).hist
    density = middle ** (d - 2) * (1 - middle.square() / 4) ** ((d - 3) / 2)
    torch.testing.assert_close(counted / counted.sum(), density / density.sum(), rtol=0.05, atol=0)


@pytest.mark.parametrize("d", [2, 3, 512])
def test_probabilities_of_negatives_are_0_within_a_class_and_add_up_to_1(d: int) -> None:
    x, labels = on_the_sphere(12, d)
    found = negative_probabilities(x.float(), labels)
    assert found[labels[:, None] == labels].eq(0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(12))


def test_an_image_with_all_other_classes_far_away_takes_any_of_them() -> None:
    x, labels = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1, 1])
    torch.testing.assert_close(negative_probabilities(x, labels)[0], torch.tensor([0.0, 0.5, 0.5]))


def test_the_length_of_an_embedding_does_not_matter_for_its_negatives() -> None:
    x, labels = on_the_sphere(12, 5)
    lengths = normal(12, 1, seed=1).abs()
    torch.testing.assert_close(negative_probabilities(lengths * x, labels), negative_probabilities(x, labels))


def test_with_one_negative_the_triplet_loss_is_worked_out_by_hand() -> None:
    x, labels = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.5]]), torch.tensor([0, 0, 1])
    # anchors 0 and 1: 1 - 2.25 + margin, and 1 - 3.25 + margin
    assert triplet_loss(x, labels, seeded(), margin=0.2).item() == 0
    assert triplet_loss(x, labels, seeded(), margin=1.5).item() == pytest.approx(0.25 / 2)
    assert triplet_loss(x, labels, seeded(), margin=3.0).item() == pytest.approx((1.75 + 0.75) / 2)


def test_the_mean_over_many_draws_is_the_expectation_under_the_probabilities() -> None:
    x, labels = on_the_sphere(9, 3)
    squares = torch.cdist(x, x).square()
    own = (labels[:, None] == labels).fill_diagonal_(False)
    terms = (squares[:, :, None] - squares[:, None] + 0.2).clamp(min=0)  # (a, p, n)
    expected = (terms * negative_probabilities(x, labels)[:, None]).sum(2)[own].mean()
    generator = seeded()
    drawn = torch.stack([triplet_loss(x, labels, generator) for _ in range(2000)])
    assert drawn.std() > 0
    assert (drawn.mean() - expected).abs() < 4 * drawn.std() / math.sqrt(2000)


def test_the_triplet_loss_depends_on_its_generator_alone() -> None:
    x, labels = on_the_sphere(12, 5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert triplet_loss(x, labels, seeded()).equal(triplet_loss(x, labels, seeded()))
    assert not triplet_loss(x, labels, seeded()).equal(triplet_loss(x, labels, seeded(1)))
    assert torch.get_rng_state().equal(before)


def test_training_by_the_triplet_loss_brings_classes_together() -> None:
    x, labels = normal(30, 4, dtype=torch.float32).requires_grad_(), torch.arange(30) % 3
    optimizer, generator = torch.optim.Adam([x], lr=0.05), seeded()
    assert recall_at_k(F.normalize(x), labels) < 0.6
    for _ in range(60):
        optimizer.zero_grad()
        triplet_loss(F.normalize(x), labels, generator).backward()
        optimizer.step()
    assert recall_at_k(F.normalize(x), labels) > 0.95


# ---- batches and episodes -------------------------------------------------------------------------------------------


def test_a_batch_has_equally_many_images_of_its_classes_none_twice() -> None:
    labels = torch.arange(200) % 10
    drawn = draw_by_class(labels, 6, 5, seeded())
    assert drawn.shape == (6, 5)
    assert (labels[drawn] == labels[drawn][:, :1]).all()
    assert len(labels[drawn][:, 0].unique()) == 6
    assert len(drawn.unique()) == 30
    assert drawn.equal(draw_by_class(labels, 6, 5, seeded()))
    assert not drawn.equal(draw_by_class(labels, 6, 5, seeded(1)))


def test_each_class_and_image_is_drawn_equally_often() -> None:
    labels, generator = torch.arange(20) % 5, seeded()
    counts = torch.stack([draw_by_class(labels, 2, 2, generator) for _ in range(1500)]).flatten().bincount()
    torch.testing.assert_close(counts.double(), torch.full((20,), 300.0).double(), rtol=0.2, atol=0)


def test_classes_with_too_few_images_are_left_out() -> None:
    labels = torch.tensor([7, 7, 7, 2, 2, 9])
    assert {labels[draw_by_class(labels, 1, 3, seeded(seed))][0, 0].item() for seed in range(20)} == {7}
    assert {labels[draw_by_class(labels, 1, 2, seeded(seed))][0, 0].item() for seed in range(20)} == {2, 7}


def test_episodes_are_solved_by_the_nearest_mean_of_the_shots() -> None:
    x, labels = clusters()
    found = few_shot_accuracy(x, labels, seeded(), way=3, shot=2, queries=4, episodes=50)
    generator, expected = seeded(), []
    for _ in range(50):
        drawn, right = draw_by_class(labels, 3, 6, generator), 0
        for c, images in enumerate(drawn):
            for query in images[2:]:
                distances = [(x[query] - x[shots[:2]].mean(0)).norm() for shots in drawn]
                right += min(range(3), key=distances.__getitem__) == c
        expected.append(right / 12)
    assert found.tolist() == pytest.approx(expected)
    assert 1 / 3 < found.mean() < 1


def test_episodes_of_classes_apart_are_solved_and_those_of_a_collapsed_network_are_guessed() -> None:
    labels = torch.arange(120) % 6
    apart = 9 * torch.eye(6)[labels] + normal(120, 6, dtype=torch.float32) / 9
    assert few_shot_accuracy(apart, labels, seeded(), episodes=20).tolist() == [1] * 20
    guessed = few_shot_accuracy(torch.ones(120, 6), labels, seeded(), episodes=20)
    assert guessed.tolist() == pytest.approx([0.2] * 20)


PAIRS = torch.tensor([0, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall_at_k(S, PAIRS, 0), "k must lie between 1 and 2, the number of other images, got 0"),
        (lambda: recall_at_k(S, PAIRS, 3), "k must lie between 1 and 2, the number of other images, got 3"),
        (lambda: recall_at_k(S[:1], PAIRS[:1]), "a neighbour needs two embeddings, got a batch of 1"),
        (
            lambda: recall_at_k(S, PAIRS[:2]),
            r"one integer for each of 3 embeddings, got torch.int64 of the shape \(2,\)",
        ),
        (lambda: recall_at_k(S, PAIRS.float()), r"one integer for each of 3 embeddings, got torch.float32"),
        (lambda: recall_at_k(S, PAIRS > 0), r"one integer for each of 3 embeddings, got torch.bool"),
        (lambda: recall_at_k(NAN, PAIRS), "embeddings must be finite"),
        (lambda: match_ranks(NAN, PAIRS), "embeddings must be finite"),
        (lambda: triplet_loss(NAN, PAIRS, seeded()), "embeddings must be finite"),
        (lambda: triplet_loss(S, PAIRS, seeded(), margin=-1), "the margin must not be negative, got -1"),
        (lambda: triplet_loss(S, torch.tensor([0, 1, 2]), seeded()), "two images of one class in the batch"),
        (lambda: triplet_loss(S, torch.zeros(3).long(), seeded()), "2 dimensions and 2 classes, got 2 and 1"),
        (lambda: negative_probabilities(S[:, :1], PAIRS), "2 dimensions and 2 classes, got 1 and 2"),
        (lambda: draw_by_class(PAIRS, 2, 2, seeded()), "2 classes with 2 images each cannot be drawn: there are 1"),
        (lambda: draw_by_class(PAIRS[None], 1, 2, seeded()), r"labels must be \(N,\), .* got the shape \(1, 3\)"),
        (lambda: draw_by_class(PAIRS, 0, 2, seeded()), "at least one class and one image of each, got 0 and 2"),
        (lambda: few_shot_accuracy(S, PAIRS, seeded()), "5 classes with 16 images each cannot be drawn: there are 0"),
        (lambda: few_shot_accuracy(S, PAIRS, seeded(), episodes=0), r"must be at least 1, got \(5, 1, 15, 0\)"),
    ],
)
def test_bad_batches_and_labels_are_refused_in_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
