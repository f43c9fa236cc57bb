"""Multiply-adds beside PyTorch's own counter, and worked examples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.lab.macs import multiply_adds, multiply_adds_of
from labkit.papers.kegnet import LENET5_STUDENTS, LeNet5, ResNet14, compress
from labkit.papers.self_routing_capsules import classifier, convnet_features, resnet20_capsules


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 7))
    assert multiply_adds_of(network, torch.zeros(2, 3, 8, 8)) == 2 * (4 * 16 * 3 * 25 + 64 * 7)
    assert multiply_adds_of(nn.Conv2d(6, 4, 3, groups=2), torch.zeros(1, 6, 3, 3)) == 4 * 3 * 9


class Products(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, x.mT).matmul(x) @ x.mT + torch.matmul(x, x[0].T)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (Products(), (2, 3, 4)),
        (nn.ConvTranspose2d(3, 5, 4, stride=2), (2, 3, 6, 6)),
        (LeNet5(), (1, 1, 32, 32)),
        (compress(LeNet5(), LENET5_STUDENTS[2]), (1, 1, 32, 32)),
        (ResNet14(channels=1), (1, 1, 32, 32)),
        *(
            (classifier(convnet_features(1, (8, 2), (8, 4)), 8, 4, r, types=3, pose=4), (2, 1, 28, 28))
            for r in ("average", "convolution", "dynamic", "em", "self")
        ),
        (resnet20_capsules("self", depth=2), (1, 3, 32, 32)),
    ],
)
def test_it_counts_half_the_flops_of_pytorch(network: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(x)
    assert multiply_adds_of(network, x) == counter.get_total_flops() // 2


def test_shapes_without_numbers_are_enough() -> None:
    with torch.device("meta"):
        network, x = resnet20_capsules("em"), torch.zeros(1, 3, 32, 32)
    assert multiply_adds_of(network, x) == multiply_adds_of(resnet20_capsules("em"), torch.zeros(1, 3, 32, 32))


def test_a_product_that_it_does_not_know_is_refused() -> None:
    class Summed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("ij,kj->ik", x, x)

    with pytest.raises(ValueError, match="einsum is not counted"):
        multiply_adds_of(Summed(), torch.zeros(2, 3))


def test_any_work_is_counted() -> None:
    a, b = torch.zeros(2, 3), torch.zeros(3, 4)
    assert multiply_adds(lambda: a @ b + torch.mm(a, b)) == 2 * 2 * 3 * 4
