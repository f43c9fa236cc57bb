"""The losses of angles and distances, forward and backward, beside the published ones; and recall, a part at a time.

The published formulation builds the differences of all pairs, (N, N, d), and multiplies them for each vertex. Both run
in one thread: ours takes many small steps, so that a second one gains little, and waits where other programs run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from memory import peak
from torch import Tensor

from labkit.papers.relational_distillation import recall_at_k, rkd_angle_loss, rkd_distance_loss

d = 512
pytestmark = pytest.mark.usefixtures("one_thread")
seconds: dict[str, float] = {}  # what was done: the fastest round


def batch(N: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(N, d, generator=generator, requires_grad=True)
    return student, torch.randn(N, d, generator=generator)


def angles_as_published(x: Tensor) -> Tensor:
    directions = F.normalize(x[None] - x[:, None], dim=2)  # (N, N, d)
    return torch.bmm(directions, directions.mT)


def angle_loss_as_published(student: Tensor, teacher: Tensor) -> Tensor:
    with torch.no_grad():
        wanted = angles_as_published(teacher)
    return F.smooth_l1_loss(angles_as_published(student), wanted)


def forward_and_backward(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> None:
    loss(student, teacher).backward()


def measured(benchmark, loss: Callable, N: int, rounds: int = 5) -> float:
    benchmark.pedantic(forward_and_backward, (loss, *batch(N)), rounds=rounds, warmup_rounds=1)
    return benchmark.stats.stats.min


def compare(benchmark, capsys, name: str, fast: str) -> float:
    assert fast in seconds, "nothing to compare with: run this file as a whole"
    ratio = benchmark.stats.stats.min / seconds[fast]
    benchmark.extra_info[f"times as long as {fast}"] = ratio
    with capsys.disabled():
        print(f"\n{fast}: {1000 * seconds[fast]:.0f} ms, {name} {ratio:.1f} times that")
    return ratio


def distances_as_published(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    distances = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    return distances.masked_fill(torch.eye(len(x), dtype=torch.bool), 0)


def distance_loss_as_published(student: Tensor, teacher: Tensor) -> Tensor:
    def potential(x: Tensor) -> Tensor:
        distances = distances_as_published(x)
        return distances / distances[distances > 0].mean()

    with torch.no_grad():
        wanted = potential(teacher)
    return F.smooth_l1_loss(potential(student), wanted)


@pytest.mark.parametrize(
    ("loss", "published"),
    [(rkd_angle_loss, angle_loss_as_published), (rkd_distance_loss, distance_loss_as_published)],
)
def test_the_two_formulations_agree(loss: Callable, published: Callable) -> None:
    student, teacher = batch(128)
    found, expected = loss(student, teacher), published(student, teacher)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each, student)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4 * gradients[1].abs().max().item())


# ---- angles ---------------------------------------------------------------------------------------------------------


# Ours comes first: the published one is compared with it.
def test_the_angle_loss_of_128_images(benchmark) -> None:
    seconds["angle loss of 128"] = measured(benchmark, rkd_angle_loss, 128)


def test_the_angle_loss_of_128_images_as_published_takes_at_least_4_times_as_long(benchmark, capsys) -> None:
    measured(benchmark, angle_loss_as_published, 128, rounds=3)
    assert compare(benchmark, capsys, "as published", "angle loss of 128") >= 4


@pytest.mark.parametrize("N", [256, 512])
def test_the_angle_loss_of_larger_batches(benchmark, capsys, N: int) -> None:
    found = measured(benchmark, rkd_angle_loss, N, rounds=2)
    with capsys.disabled():
        print(f"\nangle loss of {N}: {1000 * found:.0f} ms")


# ---- distances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [128, 512])
def test_the_distance_loss(benchmark, N: int) -> None:
    seconds[f"distance loss of {N}"] = measured(benchmark, rkd_distance_loss, N, rounds=20)


@pytest.mark.parametrize("N", [128, 512])
def test_the_distance_loss_as_published_does_not_take_much_less(benchmark, capsys, N: int) -> None:
    measured(benchmark, distance_loss_as_published, N, rounds=20)
    assert compare(benchmark, capsys, "as published", f"distance loss of {N}") >= 0.7


# ---- recall ---------------------------------------------------------------------------------------------------------


def classified(N: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (N,), generator=generator)
    return torch.randn(10, 128, generator=generator)[labels] / 4 + torch.randn(N, 128, generator=generator), labels


def recall_as_published(embeddings: Tensor, labels: Tensor) -> float:
    """One image at a time: its distances to all, the nearest but the first, which is the image itself."""
    found = [(embeddings - x).square().sum(1).topk(2, largest=False)[1][1] for x in embeddings]
    return (labels[torch.stack(found)] == labels).double().mean().item()


def test_recall_at_1_of_6000_images(benchmark) -> None:
    benchmark.pedantic(recall_at_k, classified(6_000), rounds=3, warmup_rounds=1)
    seconds["recall of 6,000"] = benchmark.stats.stats.min


def test_recall_at_1_of_6000_images_as_published(benchmark, capsys) -> None:
    found = benchmark.pedantic(recall_as_published, classified(6_000), rounds=1)
    assert found == pytest.approx(recall_at_k(*classified(6_000)), abs=1e-3)
    compare(benchmark, capsys, "as published", "recall of 6,000")


# ---- memory ---------------------------------------------------------------------------------------------------------


def angle_loss(inputs: tuple[Tensor, Tensor]) -> None:
    forward_and_backward(rkd_angle_loss, *inputs)


def published_angle_loss(inputs: tuple[Tensor, Tensor]) -> None:
    forward_and_backward(angle_loss_as_published, *inputs)


def recall(inputs: tuple[Tensor, Tensor]) -> None:
    recall_at_k(*inputs)


def test_the_angle_loss_of_512_images_stays_within_2_gb(capsys) -> None:
    ours, small = peak(batch, angle_loss, 512, threads=1), peak(batch, angle_loss, 128, threads=1)
    published = peak(batch, published_angle_loss, 128, threads=1)
    with capsys.disabled():
        print(
            f"\npeak memory of the angle loss: {ours:.0f} MB for 512 images; {small:.0f} MB for 128, as published "
            f"{published:.0f} MB"
        )
    assert ours < 2000
    assert small < published / 4


def test_recall_of_60000_images_never_holds_all_their_distances(capsys) -> None:
    start = time.perf_counter()
    found, all_distances = peak(classified, recall, 60_000, threads=1), 4 * 60_000**2 / 2**20
    with capsys.disabled():
        print(
            f"\nrecall@1 of 60,000 x 128: {time.perf_counter() - start:.0f} s in all, peak memory {found:.0f} "
            f"MB; all distances would be {all_distances:.0f} MB"
        )
    assert found < 0.05 * all_distances
