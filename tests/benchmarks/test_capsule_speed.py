"""Capsule layers, forward and backward, beside the textbook formulation, which broadcasts every vote.

The textbook multiplies a matrix with a pose for each image, place, lower and upper capsule, in one broadcast product;
that copies all matrices for every place. Time is also told as a multiple of the floor: the matrix products alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from memory import peak
from torch import Tensor

from labkit.papers.self_routing_capsules import (
    CapsuleLayer,
    DynamicRouting2d,
    EMRouting2d,
    SelfRouting2d,
    em_routing,
    pose_average,
    routed_activations,
    routing_coefficients,
    squash,
)

BATCH = 64
pytestmark = pytest.mark.usefixtures("two_threads")
seconds: dict[str, float] = {}  # what was done: the fastest round


def hidden() -> tuple[SelfRouting2d, Tensor, Tensor]:
    """32 to 32 capsules of 16 numbers, 3 x 3, stride 2, on 8 x 8."""
    return SelfRouting2d(32, 32, 16, 16, kernel=3, stride=2, padding=1), *lower(8)


def lower(side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(BATCH, 32, side, side, generator=generator, requires_grad=True)
    return a, torch.randn(BATCH, 32 * 16, side, side, generator=generator, requires_grad=True)


def broadcast(layer: CapsuleLayer, u: Tensor) -> tuple[Tensor, Tensor]:
    """Poses (M, I, C) of all windows, and votes (M, I, B, D) by one product that broadcasts the matrices over M."""
    poses = layer.windows(u, layer.C).transpose(0, 1)
    matrices = layer.weight.permute(0, 2, 3, 1).flatten(1, 2)  # (I, B * D, C)
    votes = torch.matmul(matrices, poses[..., None])  # (M, I, B * D, 1)
    return poses, votes.reshape(*poses.shape[:2], layer.B, layer.D)


def self_routing_by_textbook(layer: SelfRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    poses, votes = broadcast(layer, u)
    logits = torch.matmul(layer.route.transpose(1, 2), poses[..., None]).squeeze(-1) + layer.bias[:, 0]
    weights = logits.softmax(2) * layer.windows(a, 1).transpose(0, 1)  # (M, I, B)
    heard = weights.sum(1)
    pose = (weights[..., None] * votes).sum(1) / heard[..., None]
    return layer.maps(heard / layer.windows(a, 1).sum(0), a), layer.maps(pose, a)


def self_routing_with_stored_votes(layer: SelfRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A better textbook: the votes by one batched product, then their weighted sum."""
    poses, active = layer.windows(u, layer.C), layer.windows(a, 1)
    c = routing_coefficients(poses, layer.route, layer.bias)
    votes = torch.bmm(poses, layer.weight.flatten(2)).unflatten(2, (layer.B, layer.D))
    return layer.maps(routed_activations(c, active), a), layer.maps(pose_average(votes, c * active), a)


def dynamic_routing_by_textbook(layer: DynamicRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor]:
    _, votes = broadcast(layer, u)  # (M, I, B, D)
    b = torch.zeros_like(votes[..., 0])
    for _ in range(layer.iterations):
        v = squash((b.softmax(2)[..., None] * votes).sum(1))
        b = b + (votes * v[:, None]).sum(3)
    return (layer.maps(v, u),)


def em_routing_by_textbook(layer: EMRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    poses = layer.windows(u, layer.C).transpose(0, 1).unflatten(2, (1, 4, 4))  # (M, I, 1, 4, 4)
    votes = torch.matmul(poses, layer.weight.permute(0, 2, 1, 3)).flatten(3)  # (M, I, B, 16)
    active = layer.windows(a, 1).transpose(0, 1)  # (M, I, 1)
    r = torch.ones_like(votes[..., 0])
    for t in range(1, layer.iterations + 1):
        r = r * active
        share = (r / r.sum(1, keepdim=True))[..., None]
        mean = (share * votes).sum(1, keepdim=True)
        variance = (share * (votes - mean).square()).sum(1, keepdim=True) + 1e-8
        cost = ((layer.beta_u[:, None] + 0.5 * variance[:, 0].log()) * r.sum(1)[..., None]).sum(2)
        up = torch.sigmoid(0.01 * (1 - 0.95**t) * (layer.beta_a - cost))
        density = -((votes - mean).square() / (2 * variance)).sum(3) - 0.5 * variance.log().sum(3)
        r = (up.log()[:, None] + density).softmax(2)
    return layer.maps(up, a), layer.maps(mean, a)


def em_routing_with_stored_votes(layer: EMRouting2d, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A better textbook: all votes by one batched product, and autograd through `em_routing`."""
    poses = layer.windows(u, layer.C).unflatten(2, (layer.n, layer.n))  # (I, M, n, n)
    votes = torch.einsum("imxy,iybz->mbixz", poses, layer.weight).flatten(3)  # (M, B, I, D)
    active = layer.windows(a, 1).squeeze(2).T
    up, mean = em_routing(votes, active, layer.beta_u, layer.beta_a, layer.iterations)
    return layer.maps(up, a), layer.maps(mean, a)


def forward_and_backward(run: Callable, *inputs: Tensor) -> None:
    sum(output.square().sum() for output in run(*inputs)).backward()


def products_alone(layer: SelfRouting2d, a: Tensor, u: Tensor) -> None:
    """The floor: votes as one batched product, and the two products of its backward pass."""
    poses, matrices = layer.windows(u, layer.C).detach(), layer.weight.detach().flatten(2)
    votes = torch.bmm(poses, matrices)
    torch.bmm(votes, matrices.transpose(1, 2))
    torch.bmm(poses.transpose(1, 2), votes)


def measure(benchmark, name: str, run: Callable, *inputs) -> None:
    benchmark.pedantic(run, inputs, rounds=3, warmup_rounds=1)
    seconds[name] = benchmark.stats.stats.min


# ---- the hidden layer -----------------------------------------------------------------------------------------------


def test_the_two_formulations_of_self_routing_agree() -> None:
    layer, a, u = hidden()
    torch.nn.init.normal_(layer.route, std=0.1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(layer(a, u), self_routing_by_textbook(layer, a, u), rtol=1e-4, atol=1e-5)


def test_the_products_alone(benchmark) -> None:
    measure(benchmark, "products", products_alone, *hidden())


def test_self_routing(benchmark) -> None:
    layer, a, u = hidden()
    measure(benchmark, "self", forward_and_backward, layer, a, u)


def test_self_routing_with_stored_votes(benchmark, capsys) -> None:
    layer, a, u = hidden()
    run = lambda a, u: self_routing_with_stored_votes(layer, a, u)  # noqa: E731
    benchmark.pedantic(forward_and_backward, (run, a, u), rounds=2, warmup_rounds=1)
    assert "self" in seconds, "nothing to compare with: run this file as a whole"
    with capsys.disabled():
        print(f"\nself-routing with stored votes: {benchmark.stats.stats.min / seconds['self']:.1f} times as long")


def test_self_routing_by_textbook(benchmark, capsys) -> None:
    layer, a, u = hidden()
    run = lambda a, u: self_routing_by_textbook(layer, a, u)  # noqa: E731
    benchmark.pedantic(forward_and_backward, (run, a, u), rounds=1)
    assert {"self", "products"} <= seconds.keys(), "nothing to compare with: run this file as a whole"
    ours, floor = seconds["self"], seconds["products"]
    with capsys.disabled():
        print(
            f"\nself-routing, 32 to 32 capsules: {ours:.2f} s, textbook {benchmark.stats.stats.min / ours:.1f} times "
            f"that; the products alone {floor:.2f} s, so {ours / floor:.1f} times the floor"
        )


def by_layer(prepared: tuple) -> None:
    forward_and_backward(*prepared)


def by_textbook(prepared: tuple) -> None:
    layer, a, u = prepared
    forward_and_backward(lambda a, u: self_routing_by_textbook(layer, a, u), a, u)


def test_self_routing_needs_less_than_a_third_of_the_memory(capsys) -> None:
    ours, textbook = peak(hidden, by_layer), peak(hidden, by_textbook)
    with capsys.disabled():
        print(f"\npeak memory of forward and backward: {ours:.0f} MB, textbook {textbook / ours:.1f} times that")
    assert textbook > 3 * ours


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def dynamic_head() -> tuple[DynamicRouting2d, Tensor, Tensor]:
    """2,048 to 10 capsules of 16 numbers."""
    return DynamicRouting2d(32, 10, 16, 16, kernel=8), *lower(8)


def test_a_head_with_dynamic_routing(benchmark) -> None:
    layer, a, u = dynamic_head()
    measure(benchmark, "dynamic", forward_and_backward, lambda a, u: (layer(u),), a, u)


def test_a_head_with_dynamic_routing_by_textbook(benchmark, capsys) -> None:
    layer, a, u = dynamic_head()
    run = lambda a, u: dynamic_routing_by_textbook(layer, a, u)  # noqa: E731
    benchmark.pedantic(forward_and_backward, (run, a, u), rounds=1, warmup_rounds=1)
    assert "dynamic" in seconds, "nothing to compare with: run this file as a whole"
    ratio = benchmark.stats.stats.min / seconds["dynamic"]
    with capsys.disabled():
        print(f"\ndynamic head, 2,048 to 10: {seconds['dynamic']:.2f} s, textbook {ratio:.1f} times that")


# ---- EM routing -----------------------------------------------------------------------------------------------------

EM = {  # a layer and a number of images: all of them would take the textbook 10 GB in a hidden layer
    "head, 2,048 to 10": (lambda: EMRouting2d(32, 10, 16, kernel=8), BATCH),
    "hidden, 288 to 32": (lambda: EMRouting2d(32, 32, 16, kernel=3, stride=2, padding=1), BATCH // 4),
}


def em(size: str) -> tuple[EMRouting2d, Tensor, Tensor]:
    make, images = EM[size]
    return make(), *(x[:images].detach().requires_grad_() for x in lower(8))


@pytest.mark.parametrize("size", EM)
def test_the_three_formulations_of_em_routing_agree(size: str) -> None:
    layer, a, u = em(size)
    with torch.no_grad():
        found = layer(a[:2], u[:2])
        for formulation in (em_routing_by_textbook, em_routing_with_stored_votes):
            torch.testing.assert_close(found, formulation(layer, a[:2], u[:2]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", EM)
def test_em_routing(benchmark, size: str) -> None:
    measure(benchmark, f"em, {size}", forward_and_backward, *em(size))


@pytest.mark.parametrize(
    "formulation", [em_routing_with_stored_votes, em_routing_by_textbook], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("size", EM)
def test_em_routing_in_another_formulation(benchmark, capsys, size: str, formulation: Callable) -> None:
    layer, a, u = em(size)
    run = lambda a, u: formulation(layer, a, u)  # noqa: E731
    benchmark.pedantic(forward_and_backward, (run, a, u), rounds=2, warmup_rounds=1)
    assert f"em, {size}" in seconds, "nothing to compare with: run this file as a whole"
    ours = seconds[f"em, {size}"]
    ratio = benchmark.stats.stats.min / ours
    with capsys.disabled():
        print(f"\nem {size}, {len(a)} images: {ours:.2f} s, {formulation.__name__} {ratio:.1f} times that")
    assert ratio > 1


# ---- growth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", [8, 16, 32])
@pytest.mark.parametrize("routing", ["self", "dynamic", "em"])
def test_time_as_the_number_of_capsules_grows(benchmark, capsys, routing: str, types: int) -> None:
    window = {"kernel": 3, "stride": 2, "padding": 1}
    if routing == "self":
        layer = SelfRouting2d(types, types, 16, 16, **window)
    else:
        layer = (
            DynamicRouting2d(types, types, 16, 16, **window)
            if routing == "dynamic"
            else EMRouting2d(types, types, **window)
        )
    a, u = (x[:, : types * (x.shape[1] // 32)].detach().requires_grad_() for x in lower(8))
    run = (lambda a, u: (layer(u),)) if routing == "dynamic" else layer
    benchmark.pedantic(forward_and_backward, (run, a, u), rounds=2, warmup_rounds=1)
    with capsys.disabled():
        print(f"\n{routing}, {types} to {types} capsules: {1000 * benchmark.stats.stats.min:.0f} ms")
