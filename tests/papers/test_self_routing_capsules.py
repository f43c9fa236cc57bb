"""Capsule layers against the textbook formulation, which makes every vote, and the cases worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers.self_routing_capsules import (
    SMALLNORB,
    VARIANCE_FLOOR,
    CapsuleNetwork,
    DynamicRouting2d,
    EMRouting2d,
    SelfRouting2d,
    WeightedVotes,
    attack_step,
    bim,
    convnet_features,
    dynamic_routing,
    em_routing,
    fgsm,
    margin_loss,
    pose_average,
    resnet20_capsules,
    routed_activations,
    routing_coefficients,
    self_routing,
    spread_loss,
    squash,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(layer: nn.Module, seed: int = 0) -> nn.Module:
    """The layer with all its parameters drawn at random, in float64."""
    for parameter in layer.double().parameters():
        nn.init.normal_(parameter, std=0.5, generator=seeded(seed))
    return layer


def capsules(A: int, C: int, height: int = 5, width: int = 5, N: int = 2) -> tuple[Tensor, Tensor]:
    """Activations (N, A, H, W) in (0, 1) and poses (N, A * C, H, W)."""
    return torch.sigmoid(normal(N, A, height, width)), normal(N, A * C, height, width, seed=1)


def heard(maps: Tensor, A: int, kernel: int, stride: int, padding: int) -> Tensor:
    """(N, A * size, H, W) -> (N, h, w, kernel, kernel, A, size), by plain slicing."""
    maps = F.pad(maps, [padding] * 4).unflatten(1, (A, -1))
    cut = maps.unfold(3, kernel, stride).unfold(4, kernel, stride)  # (N, A, size, h, w, k, k)
    return cut.permute(0, 3, 4, 5, 6, 1, 2)


def by_textbook(layer: SelfRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Self-routing with every vote: activations (N, B, h, w) and poses (N, B * D, h, w)."""
    window = (layer.kernel, layer.stride, layer.padding)
    poses = heard(u, layer.A, *window).flatten(3, 5)  # (N, h, w, I, C)
    active = heard(a, layer.A, *window).flatten(3, 5)  # (N, h, w, I, 1)
    c = (torch.einsum("nhwic,icb->nhwib", poses, layer.route) + layer.bias[:, 0]).softmax(-1)
    votes = torch.einsum("nhwic,icbd->nhwibd", poses, layer.weight)
    up = (c * active).sum(3) / active.sum(3)
    pose = (c[..., None] * active[..., None] * votes).sum(3) / (c * active).sum(3)[..., None]
    return up.permute(0, 3, 1, 2), pose.permute(0, 3, 4, 1, 2).flatten(1, 2)


# ---- votes ----------------------------------------------------------------------------------------------------------


def test_weighted_votes_are_the_sum_of_all_votes_and_so_are_their_gradients() -> None:
    u, r, W = (x.requires_grad_() for x in (normal(6, 7, 3), normal(6, 7, 4, seed=1), normal(6, 3, 4, 2, seed=2)))
    found = WeightedVotes.apply(u, r, W)
    expected = torch.einsum("imc,imb,icbd->mbd", u, r, W)
    torch.testing.assert_close(found, expected)
    weights = normal(7, 4, 2, seed=3)
    gradients = torch.autograd.grad((found * weights).sum(), (u, r, W))
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weights).sum(), (u, r, W)))


def test_weighted_votes_do_not_depend_on_how_many_places_fit_into_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = normal(6, 7, 3), normal(6, 7, 4, seed=1), normal(6, 3, 4, 2, seed=2)
    whole = WeightedVotes.apply(*inputs)
    monkeypatch.setattr(WeightedVotes, "CACHE", 40)  # two places at a time
    torch.testing.assert_close(WeightedVotes.apply(*inputs), whole)


def test_a_gpu_works_on_far_more_places_at_a_time_than_fit_into_a_processors_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    products, mm = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, out: products.append(out.device.type) or mm(*args, out=out))
    for device in ("cpu", "meta"):  # which like a GPU is no CPU
        with torch.device(device):
            WeightedVotes.apply(torch.ones(64, 1024, 16), torch.ones(64, 1024, 2), torch.ones(64, 16, 2, 3))
    assert (products.count("cpu"), products.count("meta")) == (8, 2)  # for two upper capsules


def test_the_gradient_of_weighted_votes_agrees_with_finite_differences() -> None:
    inputs = [x.requires_grad_() for x in (normal(3, 4, 2), normal(3, 4, 5, seed=1), normal(3, 2, 5, 3, seed=2))]
    assert torch.autograd.gradcheck(WeightedVotes.apply, inputs)


# ---- self-routing ---------------------------------------------------------------------------------------------------

WINDOWS = [
    {"kernel": 1},
    {"kernel": 3, "stride": 2},
    {"kernel": 3, "stride": 2, "padding": 1},
    {"kernel": 2, "stride": 1},
    {"kernel": 5},
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("shape", [(5, 5), (6, 9)], ids=["square", "wide"])
def test_self_routing_is_what_the_textbook_formulation_gives(window: dict[str, int], shape: tuple[int, int]) -> None:
    layer, (a, u) = drawn(SelfRouting2d(3, 4, 6, 2, **window)), capsules(3, 6, *shape)
    expected = by_textbook(layer, a, u)
    torch.testing.assert_close(layer(a, u), expected)
    torch.testing.assert_close(self_routing(a, u, layer.route, layer.bias, layer.weight, **window), expected)


def test_upper_activations_of_a_place_add_up_to_1_for_any_weights() -> None:
    up, _ = drawn(SelfRouting2d(3, 4, 6, 2, kernel=3))(*capsules(3, 6))
    torch.testing.assert_close(up.sum(1), torch.ones_like(up[:, 0]))


def test_a_new_layer_routes_uniformly_and_its_poses_are_means_of_the_votes_by_activation() -> None:
    layer, (a, u) = SelfRouting2d(3, 4, 6, 2, kernel=5).double(), capsules(3, 6)
    up, pose = layer(a, u)
    torch.testing.assert_close(up, torch.full_like(up, 1 / 4))
    active, poses = heard(a, 3, 5, 1, 0).flatten(1, 5), heard(u, 3, 5, 1, 0).flatten(1, 5)  # (N, I, 1), (N, I, C)
    votes = torch.einsum("nic,icbd->nibd", poses, layer.weight)
    mean = (active[..., None] * votes).sum(1) / active.sum(1)[..., None]
    torch.testing.assert_close(pose.flatten(1), mean.flatten(1))


def test_a_new_layers_matrices_have_the_bound_of_the_authors_code() -> None:
    largest = SelfRouting2d(32, 32, 16, 16, kernel=3).weight.abs().max().item()
    assert math.sqrt(6 / (512 * 16)) == pytest.approx(0.02706, abs=1e-5)
    assert 0.027 < largest <= 0.02707


def test_activations_that_are_all_scaled_change_nothing() -> None:
    layer, (a, u) = drawn(SelfRouting2d(3, 4, 6, 2, kernel=3)), capsules(3, 6)
    torch.testing.assert_close(layer(0.01 * a, u), layer(a, u))


def test_a_capsule_that_is_heard_by_one_alone_passes_on_its_own_vote() -> None:
    layer, (a, u) = drawn(SelfRouting2d(2, 2, 3, 3)), capsules(2, 3, 1, 1)
    nn.init.zeros_(layer.route)
    layer.bias.data = torch.tensor([[[400.0, -400.0]], [[-400.0, 400.0]]], dtype=torch.float64)  # 0 to 0, 1 to 1
    layer.weight.data = torch.eye(3, dtype=torch.float64)[None, :, None].expand(2, 3, 2, 3).clone()
    up, pose = layer(a, u)
    torch.testing.assert_close(pose, u)
    torch.testing.assert_close(up, a / a.sum(1, keepdim=True))


def test_lower_capsules_that_change_places_together_with_their_weights_change_nothing() -> None:
    layer, (a, u) = drawn(SelfRouting2d(3, 4, 6, 2)), capsules(3, 6, 1, 1)
    before = layer(a, u)
    order = torch.tensor([2, 0, 1])
    for parameter in (layer.route, layer.bias, layer.weight):
        parameter.data = parameter.data[order]
    torch.testing.assert_close(layer(a[:, order], u.unflatten(1, (3, 6))[:, order].flatten(1, 2)), before)


def test_log_activations_are_the_logarithm_also_where_routing_is_saturated() -> None:
    layer, (a, u) = drawn(SelfRouting2d(3, 4, 6, 0, kernel=5)), capsules(3, 6)
    torch.testing.assert_close(layer.log_activations(a, u), layer(a, u)[0].log())
    layer.bias.data[..., 0] += 5000.0
    logs = layer.log_activations(a, u)
    assert logs.isfinite().all()
    assert logs[:, 1].max() < -1000  # its activation itself is 0 in any float


def test_coefficients_say_where_each_lower_capsule_sends_what_it_sees() -> None:
    layer, (_, u) = drawn(SelfRouting2d(3, 4, 6, 2, kernel=3, stride=2)), capsules(3, 6)
    c = layer.coefficients(u)
    assert c.shape == (27, 2, 2, 2, 4)
    torch.testing.assert_close(c.sum(-1), torch.ones_like(c[..., 0]))


def test_routing_coefficients_are_shares_among_the_upper_capsules_and_uniform_without_weights() -> None:
    route = torch.tensor([[[0.0, math.log(3)]]])
    c = routing_coefficients(torch.ones(1, 1, 1), route, torch.zeros(1, 1, 2))
    torch.testing.assert_close(c, torch.tensor([[[0.25, 0.75]]]))
    c = routing_coefficients(normal(3, 5, 2), normal(3, 2, 4, seed=1), normal(3, 1, 4, seed=2))
    torch.testing.assert_close(c.sum(2), torch.ones_like(c[..., 0]))
    c = routing_coefficients(torch.zeros(3, 5, 2), normal(3, 2, 4, dtype=torch.float32), torch.zeros(3, 1, 4))
    assert torch.equal(c, torch.full((3, 5, 4), 0.25))


def test_each_lower_capsule_has_a_routing_network_of_its_own() -> None:
    u, route, bias = normal(3, 5, 2), normal(3, 2, 4, seed=1), normal(3, 1, 4, seed=2)
    c = routing_coefficients(u, route, bias)
    for i in range(3):
        torch.testing.assert_close(c[i], (u[i] @ route[i] + bias[i]).softmax(1))


def test_routing_coefficients_stay_finite_for_large_logits() -> None:
    c = routing_coefficients(torch.ones(1, 1, 1), torch.tensor([[[0.0, 1e4]]]), torch.zeros(1, 1, 2))
    assert torch.equal(c, torch.tensor([[[0.0, 1.0]]]))


def test_routed_activations_of_a_worked_example() -> None:
    c, a = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]), torch.tensor([[[1.0]], [[0.5]]])
    torch.testing.assert_close(routed_activations(c, a), torch.tensor([[1.25 / 1.5, 0.25 / 1.5]]))


def test_routed_activations_add_up_to_1_and_do_not_change_with_the_scale_of_the_lower_ones() -> None:
    c, a = normal(6, 5, 3).softmax(2), torch.sigmoid(normal(6, 5, 1, seed=1))
    up = routed_activations(c, a)
    torch.testing.assert_close(up.sum(1), torch.ones_like(up[:, 0]))
    torch.testing.assert_close(routed_activations(c, 0.01 * a), up)


def test_a_pose_average_of_a_worked_example() -> None:
    votes, weights = torch.tensor([[[[4.0, 0.0]]], [[[0.0, 8.0]]]]), torch.tensor([[[3.0]], [[1.0]]])
    torch.testing.assert_close(pose_average(votes, weights), torch.tensor([[[3.0, 2.0]]]))


def test_the_average_of_all_votes_is_the_pose_that_the_layer_finds_without_them() -> None:
    layer, (a, u) = drawn(SelfRouting2d(3, 4, 6, 2, kernel=3)), capsules(3, 6)
    active, poses = layer.windows(a, 1), layer.windows(u, 6)
    weights = routing_coefficients(poses, layer.route, layer.bias) * active
    votes = torch.einsum("imc,icbd->imbd", poses, layer.weight)
    torch.testing.assert_close(layer.maps(pose_average(votes, weights), a), layer(a, u)[1])


def test_a_place_without_activity_and_a_capsule_without_followers_have_no_activation_and_no_pose() -> None:
    c = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]).expand(2, 2, 2)  # nobody belongs to upper capsule 1
    a = torch.tensor([1.0, 0.0])[None, :, None].expand(2, 2, 1)  # nothing is active at the second place
    expected = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert torch.equal(routed_activations(c, a), expected)
    assert torch.equal(pose_average(torch.ones(2, 2, 2, 3), c * a), expected[..., None].expand(2, 2, 3))


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def test_squash_of_3_and_4_has_the_norm_25_26ths() -> None:
    torch.testing.assert_close(squash(torch.tensor([3.0, 4.0])), torch.tensor([0.576923, 0.769231]))


def test_one_iteration_is_the_squashed_sum_of_votes_over_the_number_of_upper_capsules() -> None:
    layer, u = drawn(DynamicRouting2d(3, 4, 6, 2, kernel=5, iterations=1)), capsules(3, 6)[1]
    votes = torch.einsum("nic,icbd->nibd", heard(u, 3, 5, 1, 0).flatten(1, 5), layer.weight)
    torch.testing.assert_close(layer(u).flatten(1), squash(votes.sum(1) / 4).flatten(1))


def by_procedure_1(weight: Tensor, u: Tensor, A: int, kernel: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Dynamic routing with every vote: poses (N, A * C, H, W), weight (I, C, B, D) -> (N, B * D, h, w)."""
    votes = torch.einsum("nhwic,icbd->nhwibd", heard(u, A, kernel, stride, padding).flatten(3, 5), weight)
    b = torch.zeros_like(votes[..., 0])
    for _ in range(3):
        v = squash((b.softmax(-1)[..., None] * votes).sum(3))
        b = b + torch.einsum("nhwbd,nhwibd->nhwib", v, votes)
    return v.permute(0, 3, 4, 1, 2).flatten(1, 2)


def test_three_iterations_are_procedure_1() -> None:
    layer, u = drawn(DynamicRouting2d(3, 4, 6, 2, kernel=3, stride=2)), capsules(3, 6)[1]
    torch.testing.assert_close(layer(u), by_procedure_1(layer.weight, u, 3, kernel=3, stride=2))


def test_one_iteration_of_a_worked_example() -> None:
    votes = torch.tensor([[[[3.0, 0.0], [3.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]])  # halves add up to (3, 4) and (0, 0)
    torch.testing.assert_close(dynamic_routing(votes, 1), torch.tensor([[[0.576923, 0.769231], [0.0, 0.0]]]))


def test_capsules_whose_votes_agree_draw_each_other_to_the_upper_capsule_they_agree_about() -> None:
    votes = torch.tensor([[[[2.0, 0.0], [2.0, 0.0]], [[2.0, 0.0], [-1.0, 0.0]]]])  # agree about 0, not about 1
    lengths = torch.stack([dynamic_routing(votes, iterations).norm(dim=2)[0] for iterations in (1, 2, 3)])
    assert (lengths.diff(dim=0)[:, 0] > 0).all()
    assert lengths[2, 1] < lengths[0, 1]


def test_dynamic_routing_has_three_iterations_by_default_and_poses_shorter_than_1() -> None:
    votes = normal(2, 3, 6, 4)
    poses = dynamic_routing(votes)
    assert torch.equal(poses, dynamic_routing(votes, 3))
    assert not torch.allclose(poses, dynamic_routing(votes, 2))
    assert poses.norm(dim=2).max() < 1


def test_each_window_is_routed_by_itself_and_its_lower_capsules_in_any_order() -> None:
    votes = normal(2, 3, 6, 4)
    poses = dynamic_routing(votes)
    torch.testing.assert_close(dynamic_routing(votes[:1]), poses[:1])
    torch.testing.assert_close(dynamic_routing(votes[:, :, [3, 1, 5, 0, 2, 4]]), poses)


# ---- EM routing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_em_routing_is_procedure_1_with_the_densities_of_torch(rounds: int) -> None:
    layer, (a, u) = drawn(EMRouting2d(3, 4, 9, kernel=3, stride=2, iterations=rounds)), capsules(3, 9)
    poses = heard(u, 3, 3, 2, 0).flatten(3, 5).unflatten(-1, (3, 3))  # (N, h, w, I, 3, 3)
    votes = torch.einsum("nhwixy,iybz->nhwibxz", poses, layer.weight).flatten(-2)  # (N, h, w, I, B, 9)
    active = heard(a, 3, 3, 2, 0).flatten(3, 5)  # (N, h, w, I, 1)
    r = torch.ones_like(votes[..., 0])
    for t in range(1, rounds + 1):
        r = r * active
        share = (r / r.sum(3, keepdim=True))[..., None]
        mean = (share * votes).sum(3, keepdim=True)
        variance = (share * (votes - mean).square()).sum(3, keepdim=True) + 1e-8
        cost = ((layer.beta_u[:, None] + variance.sqrt().log()[..., 0, :, :]) * r.sum(3)[..., None]).sum(-1)
        up = torch.sigmoid(0.01 * (1 - 0.95**t) * (layer.beta_a - cost))
        density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(votes).sum(-1)  # (N, h, w, I, B)
        r = (up.log()[..., None, :] + density).softmax(-1)
    found_up, found_pose = layer(a, u)
    torch.testing.assert_close(found_up, up.permute(0, 3, 1, 2))
    torch.testing.assert_close(found_pose, mean[..., 0, :, :].permute(0, 3, 4, 1, 2).flatten(1, 2))
    windows = votes.flatten(0, 2).transpose(1, 2), active.flatten(0, 2).squeeze(2)  # (M, B, I, 9), (M, I)
    found_up, found_pose = em_routing(*windows, layer.beta_u, layer.beta_a, rounds)
    torch.testing.assert_close(found_up, up.flatten(0, 2))
    torch.testing.assert_close(found_pose, mean.flatten(0, 2).squeeze(1))


def test_one_round_of_em_routing_worked_out_by_hand() -> None:
    """Votes 1 and 4 with the weights 2 and 1: the mean is 2, the variance 2, and they weigh 3."""
    up, pose = em_routing(torch.tensor([[[[1.0], [4.0]]]]), torch.tensor([[2.0, 1.0]]), torch.ones(1), torch.ones(1), 1)
    assert pose.flatten().tolist() == [2.0]
    cost = 3 * (1 + math.log(2) / 2)
    assert up.item() == pytest.approx(1 / (1 + math.exp(-0.01 * 0.05 * (1 - cost))))


def test_the_variance_of_a_single_vote_is_the_floor_of_the_authors_code() -> None:
    """So a_j = sigmoid(-lambda log sigma), where sigma is 1e-4."""
    assert VARIANCE_FLOOR == 1e-8
    one, none = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    expected = 1 / (1 + math.exp(0.01 * (1 - 0.95**3) * math.log(1e-4)))
    assert em_routing(3 * one, one[0, 0], none, none)[0].item() == pytest.approx(expected, rel=1e-9)
    assert EMRouting2d(1, 1, 1).double()(one, 3 * one)[0].item() == pytest.approx(expected, rel=1e-9)


def test_em_routing_draws_the_mean_to_the_votes_that_agree() -> None:
    votes = torch.tensor([[1.0, 1.1, 0.9, 1.0, 2.5, -2.0], [-2.0, 2.0, 0.0, 1.0, -1.0, 0.5]])[None, ..., None]
    first, last = (em_routing(votes, torch.ones(1, 6), torch.zeros(2), torch.zeros(2), rounds) for rounds in (1, 5))
    assert abs(last[1][0, 0, 0] - 1) < 0.01 < abs(first[1][0, 0, 0] - 1)
    assert last[0][0, 0] > last[0][0, 1]


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "inputs"),
    [
        (routing_coefficients, (normal(3, 2, 4), normal(3, 4, 2, seed=1), normal(3, 1, 2, seed=2))),
        (routed_activations, (normal(3, 2, 4).softmax(2), normal(3, 2, 1, seed=1).sigmoid())),
        (pose_average, (normal(3, 2, 4, 2), normal(3, 2, 4, seed=1).sigmoid())),
        (dynamic_routing, (normal(2, 3, 4, 2),)),
        (em_routing, (normal(2, 3, 4, 2), normal(2, 4, seed=1).sigmoid(), normal(3, seed=2), normal(3, seed=3))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_gradient_of_each_step_agrees_with_finite_differences(step: Callable, inputs: tuple[Tensor, ...]) -> None:
    assert torch.autograd.gradcheck(step, [x.clone().requires_grad_() for x in inputs])


# ---- mixed precision ------------------------------------------------------------------------------------------------

ROUTINGS = {
    "self": (lambda: SelfRouting2d(3, 4, 4, 2, kernel=3), lambda layer, a, u: layer(a, u)),
    "self, logarithm": (lambda: SelfRouting2d(3, 4, 4, 0, kernel=3), lambda layer, a, u: layer.log_activations(a, u)),
    "self, coefficients": (lambda: SelfRouting2d(3, 4, 4, 0, kernel=3), lambda layer, _, u: layer.coefficients(u)),
    "dynamic": (lambda: DynamicRouting2d(3, 4, 4, 2, kernel=3), lambda layer, _, u: layer(u)),
    "em": (lambda: EMRouting2d(3, 4, 4, kernel=3), lambda layer, a, u: layer(a, u)),
}


@pytest.mark.parametrize("routing", ROUTINGS)
def test_routing_stays_in_float32_within_autocast_and_so_do_its_gradients(routing: str) -> None:
    make, run = ROUTINGS[routing]
    layer = drawn(make()).float()
    a, u = (x.bfloat16().requires_grad_() for x in capsules(3, 4))
    found = []
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            outputs = run(layer, *((a, u) if autocast else (a.float(), u.float())))
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(x for x in outputs if x is not None)
        assert {output.dtype for output in outputs} == {torch.float32}
        loss = sum(output.square().sum() for output in outputs)
        gradients = torch.autograd.grad(loss, [u, a, *layer.parameters()], materialize_grads=True)
        found.append((*outputs, *gradients))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert all(x.isfinite().all() for x in found[0])
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("routing", ["self", "dynamic", "em"])
def test_within_autocast_a_network_is_in_bfloat16_up_to_its_primary_capsules(routing: str) -> None:
    """It gives nearly the same as in float32."""
    network = drawn(CapsuleNetwork(nn.Conv2d(1, 4, 3, padding=1), 4, 8, routing, depth=2, types=8, pose=16)).float()
    below: list[torch.dtype] = []
    network.pose.register_forward_hook(lambda _, inputs, output: below.extend([inputs[0].dtype, output.dtype]))
    images, labels = torch.rand(16, 1, 8, 8, generator=seeded()), torch.arange(16) % 10
    found = []
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            log_probabilities = network(images)
        assert log_probabilities.dtype == torch.float32
        found.append(log_probabilities)
    assert below == [torch.float32] * 2 + [torch.bfloat16] * 2
    assert 0 < (found[1] - found[0]).norm() < 0.1 * (found[0] - found[0].mean()).norm()
    F.nll_loss(found[1], labels).backward()
    used = [x for name, x in network.named_parameters() if routing != "dynamic" or not name.startswith("norms.")]
    assert all(parameter.grad.isfinite().all() for parameter in used)
    assert network.features.weight.grad.abs().max() > 0


# ---- nothing active, nothing there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        lambda a, u: SelfRouting2d(2, 3, 4, 4, kernel=3)(a, u),
        lambda a, u: (SelfRouting2d(2, 3, 4, 0, kernel=3).log_activations(a, u),),
        lambda a, u: (DynamicRouting2d(2, 3, 4, 4, kernel=3)(u),),
        lambda a, u: EMRouting2d(2, 3, 4, kernel=3)(a, u),
        lambda a, u: (squash(u, dim=1),),
    ],
    ids=["self", "self, logarithm", "dynamic", "em", "squash"],
)
@pytest.mark.parametrize(("active", "poses"), [(0, 1), (1, 0), (0, 0)])
def test_silent_capsules_and_poses_of_zero_give_finite_values_and_gradients(
    run: Callable, active: float, poses: float
) -> None:
    a = torch.full((1, 2, 3, 3), float(active), requires_grad=True)
    u = (poses * torch.randn(1, 8, 3, 3, generator=seeded())).requires_grad_()
    outputs = run(a, u)
    assert all(output.isfinite().all() for output in outputs)
    sum(output.sum() for output in outputs).backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in (a, u))


# ---- losses ---------------------------------------------------------------------------------------------------------


def test_the_margin_loss_of_a_worked_example() -> None:
    lengths = torch.tensor([[0.8, 0.3, 0.05]])  # (0.9 - 0.8)^2 + 0.5 (0.3 - 0.1)^2
    assert margin_loss(lengths, torch.tensor([0])).item() == pytest.approx(0.01 + 0.02)


def test_the_spread_loss_of_a_worked_example_leaves_the_target_out() -> None:
    a = torch.tensor([[0.5, 0.4, 0.1]])  # (0.2 - 0.1)^2 + max(0, 0.2 - 0.4)^2
    assert spread_loss(a, torch.tensor([0]), margin=0.2).item() == pytest.approx(0.01)


# ---- networks -------------------------------------------------------------------------------------------------------

PARAMETERS = {
    ("average", 1): 269_722,
    ("convolution", 1): 893_210,
    ("dynamic", 1): 5_807_888,
    ("dynamic", 2): 4_236_048,
    ("em", 1): 911_204,
    ("em", 2): 813_988,
    ("self", 1): 931_664,
    ("self", 2): 3_187_536,
}


@pytest.mark.parametrize(("routing", "depth"), PARAMETERS)
def test_a_network_has_as_many_parameters_as_the_authors_and_gives_log_probabilities(routing: str, depth: int) -> None:
    network = resnet20_capsules(routing, depth)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[routing, depth]
    log_probabilities = network(torch.rand(2, 3, 32, 32, generator=seeded()))
    assert log_probabilities.shape == (2, 10)
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(2))
    log_probabilities[:, 0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


def test_dynamic_routing_in_two_layers_is_the_authors_path_without_a_norm_or_a_second_squash_between_them() -> None:
    network = drawn(CapsuleNetwork(nn.Conv2d(1, 4, 3, padding=1), 4, 6, "dynamic", depth=2, types=3, pose=4)).eval()
    images = normal(5, 1, 6, 6)
    poses = network.pose(network.features(images)).unflatten(1, (3, 4))
    hidden = by_procedure_1(network.hidden[0].weight, squash(poses, 2).flatten(1, 2), 3, kernel=3, stride=2, padding=1)
    lengths = by_procedure_1(network.last.weight, hidden, 3, kernel=3).unflatten(1, (10, 4)).norm(dim=2).flatten(1)
    expected = (lengths / lengths.sum(1, keepdim=True)).log()
    torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-12)


def test_norms_that_dynamic_routing_does_not_use_get_no_gradient_while_the_other_routings_train_theirs() -> None:
    for routing in ("self", "dynamic", "em"):
        network = CapsuleNetwork(nn.Identity(), 1, 6, routing, depth=2, types=3, pose=4)
        network(torch.rand(5, 1, 6, 6, generator=seeded()))[:, 0].sum().backward()
        assert (network.norms[0].weight.grad is None) == (routing == "dynamic")


@pytest.mark.parametrize("routing", ["self", "dynamic", "em"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_first_hidden_layer_halves_the_map_and_later_ones_keep_its_size(routing: str, depth: int) -> None:
    network, sides = CapsuleNetwork(nn.Identity(), 1, 7, routing, depth=depth, types=2, pose=4), []
    for layer in network.hidden:
        layer.register_forward_hook(lambda _, inputs, output: sides.append((*inputs, *output)[-1].shape[-2:]))
    assert network(torch.rand(3, 1, 7, 7, generator=seeded())).shape == (3, 10)
    assert sides == [(4, 4)] * (depth - 1)


@pytest.mark.parametrize("routing", ["self", "dynamic", "em"])
def test_log_probabilities_are_class_activations_made_to_add_up_to_1(routing: str) -> None:
    network = drawn(CapsuleNetwork(nn.Conv2d(1, 4, 3, padding=1), 4, 6, routing, depth=2, types=3, pose=4)).eval()
    images = torch.rand(5, 1, 6, 6, generator=seeded(), dtype=torch.float64)
    activations = network.class_activations(images)
    torch.testing.assert_close(network(images).exp(), activations / activations.sum(1, keepdim=True))


@pytest.mark.parametrize("routing", ["dynamic", "em"])
def test_class_poses_are_those_whose_lengths_or_densities_are_the_class_activations(routing: str) -> None:
    network = drawn(CapsuleNetwork(nn.Conv2d(1, 4, 3, padding=1), 4, 6, routing, types=3, pose=4)).eval()
    images = torch.rand(5, 1, 6, 6, generator=seeded(), dtype=torch.float64)
    poses = network.class_poses(images)
    assert poses.shape == (5, 10, 4)
    a, u = network.below(images)
    expected = network.last(u) if routing == "dynamic" else network.last(a, u)[1]
    torch.testing.assert_close(poses.flatten(1), expected.flatten(1))
    if routing == "dynamic":
        torch.testing.assert_close(poses.norm(dim=2), network.class_activations(images))


def test_the_convolutions_for_smallnorb_shrink_32_pixels_to_4_and_end_in_128_channels() -> None:
    assert convnet_features(1, *SMALLNORB)(torch.zeros(2, 1, 32, 32)).shape == (2, 128, 4, 4)


# ---- attacks --------------------------------------------------------------------------------------------------------


class Identity(nn.Module):
    """A linear network of two classes whose logits are its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(1)


@pytest.mark.parametrize("attack", [fgsm, bim])
@pytest.mark.parametrize(("label", "targeted"), [(0, False), (1, True)])
def test_an_attack_on_a_linear_network_moves_each_input_by_eps(attack, label: int, targeted: bool) -> None:
    x = torch.tensor([[0.5, 0.2]])
    attacked = attack(Identity(), x, torch.tensor([label]), 0.1, targeted=targeted)
    torch.testing.assert_close(attacked, torch.tensor([[0.4, 0.3]]))


def test_an_attack_stays_within_eps_and_within_the_box_and_leaves_the_image_alone() -> None:
    network = resnet20_capsules("average").eval()
    x = torch.rand(2, 3, 32, 32, generator=seeded())
    before, labels = x.clone(), torch.tensor([3, 4])
    attacked = bim(network, x, labels, 0.1, steps=5)
    assert (attacked - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert torch.equal(x, before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert F.nll_loss(network(attacked), labels) > F.nll_loss(network(x), labels)


def stepped(x: Tensor, attacked: Tensor, gradient: Tensor, **changed) -> Tensor:
    return attack_step(
        x, attacked, gradient, **({"step": 0.1, "eps": 0.1, "targeted": False, "box": (0.0, 1.0)} | changed)
    )


@pytest.mark.parametrize(("targeted", "expected"), [(False, [0.53, 0.47, 0.5]), (True, [0.47, 0.53, 0.5])])
def test_a_step_moves_each_pixel_by_its_length_whatever_the_size_of_the_gradient(
    targeted: bool, expected: list[float]
) -> None:
    x, gradient = torch.full((1, 3), 0.5), torch.tensor([[40.0, -1e-6, 0.0]])
    found = stepped(x, x, gradient, step=0.03, targeted=targeted)
    torch.testing.assert_close(found, torch.tensor([expected]))
    assert torch.equal(x, torch.full((1, 3), 0.5))


def test_a_step_starts_from_the_attacked_image_and_ends_within_eps_of_the_first() -> None:
    x, attacked, gradient = torch.tensor([[0.5, 0.4]]), torch.tensor([[0.59, 0.49]]), torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(stepped(x, attacked, gradient, step=0.04), torch.tensor([[0.6, 0.45]]))
    torch.testing.assert_close(stepped(x, attacked, gradient, step=5.0), torch.tensor([[0.6, 0.3]]))


def test_a_step_ends_in_the_box_whose_ends_may_be_a_number_and_a_tensor() -> None:
    x, gradient = torch.tensor([[1.95, -0.95, -1.5]]), torch.tensor([[1.0, -1.0, -1.0]])
    found = stepped(x, x, gradient, box=(torch.tensor([-2.0, -1.0, -2.0]), 2.0))
    torch.testing.assert_close(found, torch.tensor([[2.0, -1.0, -1.6]]))


def test_the_box_may_differ_between_colours() -> None:
    low, high = torch.tensor([-2.0, -1.0]), torch.tensor([2.0, 1.0])
    attacked = fgsm(Identity(), torch.tensor([[1.95, -0.95]]), torch.tensor([1]), 0.1, box=(low, high))
    torch.testing.assert_close(attacked, torch.tensor([[2.0, -1.0]]))


def test_eps_of_0_changes_nothing() -> None:
    x = torch.tensor([[0.5, 0.2]])
    assert torch.equal(fgsm(Identity(), x, torch.tensor([0]), 0.0), x)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: SelfRouting2d(2, 3, 4, 4, kernel=3)(*(x.float() for x in capsules(3, 4))),
            r"\(N, 2 \* 1, H, W\), got",
        ),
        (
            lambda: SelfRouting2d(2, 3, 4, 4, kernel=7)(*(x.float() for x in capsules(2, 4))),
            "7 x 7 does not fit .* 5 x 5",
        ),
        (lambda: SelfRouting2d(0, 3, 4, 4), "must be at least 1"),
        (lambda: DynamicRouting2d(2, 3, 4, 4, iterations=0), "at least one iteration, got 0"),
        (
            lambda: em_routing(torch.ones(1, 1, 1, 1), torch.ones(1, 1), torch.ones(1), torch.ones(1), 0),
            "at least one round, got 0",
        ),
        (
            lambda: self_routing(
                *capsules(2, 4), torch.ones(18, 4, 3), torch.ones(18, 1, 3), torch.ones(8, 4, 3, 5), kernel=3
            ),
            r"2 capsules at 3 x 3 places need parameters for 18, .* got .* weight \(8, 4, 3, 5\)",
        ),
        (
            lambda: self_routing(
                *capsules(2, 4), torch.ones(2, 4, 3), torch.ones(2, 3), torch.ones(2, 4, 3, 5), kernel=1
            ),
            r"of one size: got .* bias \(2, 3\)",
        ),
        (lambda: EMRouting2d(2, 3, 5), "square poses and at least one iteration, got 5"),
        (lambda: margin_loss(torch.rand(2, 3), torch.tensor([0, 3])), "labels must lie in 0 to 2, got 0 to 3"),
        (lambda: spread_loss(torch.rand(2, 3), torch.tensor([-1, 0])), "labels must lie in 0 to 2, got -1 to 0"),
        (lambda: fgsm(Identity(), torch.rand(1, 2), torch.tensor([0]), -0.1), "eps must be at least 0"),
        (lambda: fgsm(Identity(), torch.rand(1, 2), torch.tensor([2]), 0.1), "labels must lie in 0 to 1"),
        (
            lambda: CapsuleNetwork(nn.Identity(), 1, 4, "self").class_poses(torch.zeros(1, 1, 4, 4)),
            "class capsules of self-routing have no poses",
        ),
        (lambda: resnet20_capsules("none"), "routing must be 'self', 'dynamic' or 'em', got 'none'"),
        (lambda: resnet20_capsules("average", depth=2), "'average' has no capsule layers: its depth is 1, got 2"),
    ],
)
def test_bad_input_is_answered_with_one_sentence(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_dynamic_routing_layer_may_route_in_another_way() -> None:
    layer, u = DynamicRouting2d(A=2, B=3, C=4, D=5, kernel=2), torch.randn(2, 8, 3, 3, generator=seeded())
    votes = layer.cast(u)
    assert votes.shape == (2 * 4, 3, 8, 5)
    assert torch.allclose(layer(u), layer.maps(dynamic_routing(votes), u))
    layer.route = lambda votes, iterations: iterations * votes.mean(2)
    assert torch.allclose(layer(u), layer.maps(3 * votes.mean(2), u))
    assert DynamicRouting2d.route is dynamic_routing  # other layers route as before
