"""What is written out step by step against closed forms, and against the same by hooks and by autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import initialized, state
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers import cnn_visualization
from labkit.papers.cnn_step_by_step import ascend, back_project
from labkit.papers.cnn_visualization import Regularizers, activation_maximization

pytestmark = pytest.mark.usefixtures("one_thread")


def classifier() -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * 4, 5)
    return initialized(nn.Sequential(*layers))


def image(side: int = 16) -> Tensor:
    return torch.rand(1, 3, side, side, generator=seeded())


# ---- gradient ascent ------------------------------------------------------------------------------------------------


def test_a_linear_unit_moves_its_image_by_k_eta_w_and_gains_eta_w_squared_a_step() -> None:
    w = normal(5, 12) / 100
    found, way = ascend(lambda x: x.flatten(1) @ w.T, 2, torch.zeros(1, 3, 2, 2).double(), steps=4, lr=0.5)
    torch.testing.assert_close(found.flatten(), 4 * 0.5 * w[2])
    torch.testing.assert_close(way[:, 0], torch.arange(5).double() * 0.5 * w[2].square().sum())


@pytest.mark.parametrize("regularize", [None, Regularizers(decay=0.1, small_contribution=30)], ids=str)
@pytest.mark.parametrize("desired", [None, 0.2])
def test_the_ascent_is_that_of_activation_maximization(regularize: Regularizers | None, desired: float | None) -> None:
    model = classifier()
    start = 10 / 255 * torch.randn(1, 3, 10, 10, generator=seeded(4))
    options = {"steps": 6, "lr": 0.05, "desired": desired}
    found, way = ascend(model, 3, start, regularize=regularize, **options)
    expected = activation_maximization(
        model, "4", 3, regularizers=regularize or Regularizers(), shape=(3, 10, 10), generator=seeded(4), **options
    )
    torch.testing.assert_close(found + 0.5, expected.images)
    torch.testing.assert_close(way, expected.activations)
    assert way[-1] > way[0]


def test_each_image_ascends_by_itself_and_stays_in_the_box_of_images() -> None:
    model, start = classifier(), normal(2, 3, 10, 10).float()
    mean = torch.tensor([0.2, 0.5, 0.9]).reshape(3, 1, 1)
    both, ways = ascend(model, 1, start, steps=5, lr=10.0, mean=mean)
    for each in (0, 1):
        one, way = ascend(model, 1, start[each : each + 1], steps=5, lr=10.0, mean=mean)
        torch.testing.assert_close(both[each : each + 1], one)
        torch.testing.assert_close(ways[:, each], way[:, 0])
    assert -1e-6 <= (both + mean).min() < 1e-6
    assert 1 - 1e-6 < (both + mean).max() <= 1 + 1e-6


def test_a_regularizer_is_given_the_image_after_the_step_the_gradient_before_it_and_the_number_of_the_step() -> None:
    seen = []

    def watch(x: Tensor, gradient: Tensor, step: int) -> Tensor:
        seen.append((x.flatten().tolist(), gradient.flatten().tolist(), step))
        return 0.5 * x

    ascend(lambda x: x.flatten(1).square(), 0, torch.full((1, 1, 1, 1), 0.25), steps=2, lr=0.5, regularize=watch)
    assert seen == [([0.5], [0.5], 0), ([0.5], [0.5], 1)]


def test_an_ascent_leaves_network_and_start_as_they_were_and_works_without_gradients_outside() -> None:
    model, start = classifier(), normal(1, 3, 10, 10).float()
    before, copy = state(model), start.clone()
    with torch.no_grad():
        found, way = ascend(model, 0, start, steps=0, lr=1.0)
    assert state(model) == before
    assert torch.equal(start, copy)
    assert way.shape == (1, 1)
    torch.testing.assert_close(found, start.clamp(-0.5, 0.5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": -1}, "at least 0, got -1"),
        ({"unit": 5}, "has the units 0 to 4"),
        ({"x": torch.zeros(3, 10, 10)}, r"\(B, C, H, W\)"),
        ({"model": lambda x: x.flatten(1) * torch.inf}, "lower lr"),
        ({"model": lambda x: x.sum()}, "has no units"),
    ],
)
def test_what_cannot_ascend_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ascend(**({"model": classifier(), "unit": 0, "x": torch.ones(1, 3, 10, 10), "steps": 2, "lr": 0.1} | change))


# ---- back through the layers ----------------------------------------------------------------------------------------

NETWORKS = {
    "plain": (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()),
    "padded, ends with a convolution": (nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(4, 5, 3)),
    "strides that leave pixels over": (nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 5, (2, 3), (3, 2))),
    "overlapping windows": (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 5, 3), nn.ReLU()),
    "all that a convolution can": (nn.Conv2d(3, 4, 3, 2, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, groups=2)),
    "a window over the edge": (nn.Conv2d(3, 5, 4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True, padding=1)),
}


def network(name: str) -> nn.Sequential:
    model = initialized(nn.Sequential(*NETWORKS[name]))
    for layer in model:
        if isinstance(layer, nn.Conv2d):  # with biases, which the way back must not see
            nn.init.uniform_(layer.bias, 0.0, 0.1, generator=seeded(1))
    return model


# Autograd adds up at a maximum that several windows share, so without the deconvnet's unpooling it is another picture.
CASES = [
    (name, rule)
    for name in NETWORKS
    for rule in ("gradient", "deconvnet", "guided")
    if rule == "deconvnet" or name != "overlapping windows"
]


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_the_way_back_is_that_of_autograd_with_other_rules_times_the_activation(name: str, rule: str) -> None:
    model, last = network(name), str(len(NETWORKS[name]) - 1)
    activation, unit = model(image())[0].detach().amax((1, 2)).max(0)
    assert activation > 0.1
    expected = cnn_visualization.back_project(model, image(), last, unit, rule=rule)
    expected = expected if rule == "deconvnet" else activation * expected
    torch.testing.assert_close(back_project(list(model), image(), int(unit), rule), expected)


def test_the_picture_of_one_convolution_is_its_filter_times_the_activation_where_it_was() -> None:
    layer = nn.Conv2d(1, 2, 3, bias=False)
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 2:5, 1:4] = layer.weight[1, 0].detach()
    norm = layer.weight[1].square().sum().detach()
    torch.testing.assert_close(back_project([layer], x, 1), norm * F.pad(x[..., 2:5, 1:4], (1, 2, 2, 1)))


def test_the_way_back_leaves_layers_and_image_as_they_were() -> None:
    model, x = nn.Sequential(nn.ReLU(inplace=True), *network("plain")), image() - 0.5
    before, copy = state(model), x.clone()
    assert not back_project(model, x, 0).requires_grad
    assert state(model) == before
    assert torch.equal(x, copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": "deconv"}, "rule must be 'gradient', 'deconvnet' or 'guided'"),
        ({"unit": 4}, "has the units 0 to 3"),
        ({"layers": []}, "at least one layer"),
        ({"image": torch.ones(2, 3, 8, 8)}, "one image"),
        ({"layers": [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()]}, "no way back through BatchNorm2d"),
        ({"layers": [nn.Conv2d(3, 4, 3, padding="same")]}, "no way back through Conv2d"),
        ({"layers": [nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")]}, "no way back through Conv2d"),
    ],
)
def test_what_has_no_way_back_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        back_project(**({"layers": [nn.Conv2d(3, 4, 3)], "image": image(8), "unit": 0} | change))
