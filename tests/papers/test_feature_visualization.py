"""Modules before and behind a network: what they do to an image, to its gradient, and to an ascent."""

from __future__ import annotations

import pytest
import torch
from networks import initialized, state
from tensors import normal, seeded
from torch import nn

from labkit.papers.cnn_feature_maps import FeatureMaps
from labkit.papers.cnn_pictures import fine_detail
from labkit.papers.cnn_step_by_step import ascend
from labkit.papers.cnn_visualization import Regularizers, activation_maximization
from labkit.papers.feature_visualization import (
    Diverse,
    FrequencyPreconditioner,
    Jitter,
    OwnUnit,
    Readout,
    precondition,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Sequential:
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    return initialized(nn.Sequential(*layers))


# ---- transformation robustness --------------------------------------------------------------------------------------


def test_jitter_moves_the_whole_image_by_so_many_pixels_at_most() -> None:
    image, jitter = normal(2, 3, 9, 8), Jitter(2, seeded())
    moved = {(down, right): image.roll((down, right), (-2, -1)) for down in range(-2, 3) for right in range(-2, 3)}
    met = set()
    for _ in range(200):
        seen = jitter(image)
        met |= {by for by, expected in moved.items() if torch.equal(seen, expected)}
    assert met == set(moved)


def test_no_jitter_leaves_the_image_and_a_negative_one_is_refused() -> None:
    image = normal(1, 3, 4, 4)
    assert torch.equal(Jitter(0)(image), image)
    with pytest.raises(ValueError, match="0 pixels or more"):
        Jitter(-1)


def test_the_gradient_comes_back_to_where_the_pixel_was() -> None:
    x = torch.zeros(1, 1, 5, 5, requires_grad=True)
    jitter = Jitter(2, seeded(3))
    down, right = torch.randint(-2, 3, (2,), generator=seeded(3)).tolist()
    (gradient,) = torch.autograd.grad(jitter(x)[0, 0, 2, 2], x)
    assert gradient[0, 0, (2 - down) % 5, (2 - right) % 5] == 1
    assert gradient.sum() == 1


# ---- frequency preconditioning --------------------------------------------------------------------------------------


def test_the_image_passes_and_the_gradient_is_preconditioned() -> None:
    x, signal = normal(2, 3, 8, 6).requires_grad_(), normal(2, 3, 8, 6, seed=1)
    seen = FrequencyPreconditioner()(x)
    assert torch.equal(seen, x)
    torch.testing.assert_close(torch.autograd.grad(seen, x, signal)[0], precondition(signal))


def test_twice_the_frequency_gets_a_quarter() -> None:
    columns = torch.arange(16.0).double()
    waves = {cycles: torch.cos(2 * torch.pi * cycles * columns / 16).expand(1, 1, 16, 16) for cycles in (2, 4)}
    mixed = precondition(waves[2] + waves[4])
    strength = {cycles: (mixed * wave).sum().item() for cycles, wave in waves.items()}
    assert strength[2] == pytest.approx(4 * strength[4])


def test_a_step_gains_what_its_length_promises() -> None:
    gradient = normal(3, 3, 7, 10)
    coarse = precondition(gradient)
    torch.testing.assert_close((coarse * gradient).sum((1, 2, 3)), coarse.square().sum((1, 2, 3)))
    torch.testing.assert_close(precondition(2.5 * gradient), 2.5 * coarse)
    assert (precondition(torch.zeros(1, 3, 4, 4)) == 0).all()


def test_each_image_has_a_gradient_of_its_own() -> None:
    gradient = normal(2, 3, 8, 8)
    torch.testing.assert_close(precondition(gradient)[1:], precondition(gradient[1:]))


def test_under_jitter_patterns_as_fine_as_a_pixel_cancel_out_and_coarse_ones_grow() -> None:
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    checkerboard, wave = 1 - 2 * ((row + column) % 2), (2 * torch.pi * column / 16).cos()
    unit = nn.Sequential(Jitter(2, seeded()), nn.Flatten(), nn.Linear(256, 1, bias=False))
    unit[-1].weight.data = (checkerboard + wave).reshape(1, 256) / 256
    found, _ = ascend(unit, 0, torch.zeros(1, 1, 16, 16), steps=200, lr=0.1)
    grown = {
        name: (found[0, 0] * pattern).mean().item() for name, pattern in (("fine", checkerboard), ("coarse", wave))
    }
    assert grown["coarse"] > 4 * abs(grown["fine"]), grown


def test_preconditioned_an_ascent_is_less_fine() -> None:
    model, start = network(), 1e-3 * normal(1, 3, 16, 16).float()
    detail = {}
    for name, first in (("plain", nn.Identity()), ("preconditioned", FrequencyPreconditioner())):
        seen = nn.Sequential(first, Readout(model, "3", torch.eye(8)))
        found, way = ascend(seen, 2, start, steps=40, lr=1.0, desired=0.05)
        assert way[-1] > way[0]
        detail[name] = fine_detail(found - start).item()
    assert detail["preconditioned"] < 0.2 * detail["plain"], detail


def test_a_module_in_front_serves_activation_maximization_as_well() -> None:
    options = {"shape": (3, 16, 16), "steps": 3, "lr": 0.1}
    same = activation_maximization(nn.Sequential(Jitter(0), network()), "1.3", 2, generator=seeded(), **options)
    torch.testing.assert_close(
        same.images, activation_maximization(network(), "3", 2, generator=seeded(), **options).images
    )


# ---- what to climb --------------------------------------------------------------------------------------------------


def test_a_readout_is_a_unit_in_the_middle_a_group_or_a_direction() -> None:
    model, images = network(), normal(4, 3, 12, 10).float()
    maps = FeatureMaps(model, "3")(images)["3"]  # (4, 8, 6, 5)
    directions = torch.stack([torch.eye(8)[5], torch.eye(8)[[1, 2]].sum(0), normal(8).float()])
    middle = Readout(model, "3", directions)(images)
    torch.testing.assert_close(middle[:, 0], maps[:, 5, 3, 2])
    torch.testing.assert_close(middle[:, 1], maps[:, 1, 3, 2] + maps[:, 2, 3, 2])
    torch.testing.assert_close(middle[:, 2], maps[:, :, 3, 2] @ directions[2])
    channel = Readout(model, "3", directions, channel=True)(images)
    torch.testing.assert_close(channel, maps.mean((2, 3)) @ directions.T)


def test_a_readout_of_a_layer_without_places() -> None:
    model = initialized(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)))
    images = normal(2, 3, 2, 2).float()
    torch.testing.assert_close(Readout(model, "1", torch.eye(5))(images), model(images))


def test_a_readout_leaves_the_model_as_it_is() -> None:
    model = network()
    before = state(model)
    x = normal(1, 3, 8, 8).float().requires_grad_()
    torch.autograd.grad(Readout(model, "3", torch.eye(8))(x).sum(), x)
    assert state(model) == before


def test_what_cannot_be_read_out_is_said() -> None:
    with pytest.raises(ValueError, match="no layer '9'"):
        Readout(network(), "9", torch.eye(8))
    with pytest.raises(ValueError, match="rows of a matrix"):
        Readout(network(), "3", torch.ones(8))
    with pytest.raises(ValueError, match="8 units, so directions of 7"):
        Readout(network(), "3", torch.eye(7))(normal(1, 3, 8, 8).float())


# ---- a unit for each image ------------------------------------------------------------------------------------------


def test_of_each_image_its_own_unit_is_read() -> None:
    model, images = Readout(network(), "3", torch.eye(8)), normal(4, 3, 8, 8).float()
    said = OwnUnit(model, [5, 0, 5, 7])(images)
    assert torch.equal(said[:, 0], model(images)[range(4), [5, 0, 5, 7]])
    assert said.shape == (4, 1)


def test_any_function_will_do_as_the_network() -> None:
    said = OwnUnit(lambda x: x.mean((2, 3)), torch.tensor([2, 0]))(normal(2, 3, 8, 8))
    torch.testing.assert_close(said[:, 0], normal(2, 3, 8, 8).mean((2, 3))[[0, 1], [2, 0]])


@pytest.mark.parametrize("desired", [None, 0.05])
def test_an_ascent_draws_several_units_at_once_exactly_as_one_at_a_time(desired: float | None) -> None:
    model, start, units = Readout(network().double(), "3", torch.eye(8)), 0.1 * normal(4, 3, 12, 12), [2, 6, 2, 0]
    settings = {"steps": 15, "lr": 0.1, "desired": desired, "regularize": Regularizers(0.01, 0.5, 4, 30, 20)}
    together, way = ascend(OwnUnit(model, units), 0, start, **settings)
    assert way.shape == (16, 4)
    for i, unit in enumerate(units):
        alone, its_way = ascend(model, unit, start[i : i + 1], **settings)
        torch.testing.assert_close(together[i : i + 1], alone)
        torch.testing.assert_close(way[:, i : i + 1], its_way)
    assert (way[-1] > way[0]).all()
    assert not torch.allclose(together[0], together[2]), "the same unit, from another start"


def test_no_image_has_a_gradient_from_the_unit_of_another() -> None:
    model, x = Readout(network().double(), "3", torch.eye(8)), normal(3, 3, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(OwnUnit(model, [1, 4, 6])(x)[1, 0], x)
    assert gradient[1].any()
    assert not gradient[[0, 2]].any()


def test_images_with_units_of_their_own_can_be_moved_and_pushed_apart() -> None:
    model, images = network(), normal(2, 3, 8, 8).float()
    own = OwnUnit(nn.Sequential(Jitter(0), Readout(model, "3", torch.eye(8))), [3, 6])
    alike = Diverse(own, model, "1", 1.0)(images)
    assert alike.shape == (2, 1)
    torch.testing.assert_close(own(images) - alike, (own(images) - alike)[[1, 0]])  # as alike as the other to it


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_another_length_than_the_units_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"2 images are needed, one for each unit; got {count}"):
        OwnUnit(Readout(network(), "3", torch.eye(8)), [0, 1])(normal(count, 3, 8, 8).float())


@pytest.mark.parametrize("unit", [-1, 8])
def test_a_unit_that_does_not_exist_is_no_images_own(unit: int) -> None:
    with pytest.raises(ValueError, match=rf"units 0 to 7, got \[0, {unit}\]"):
        OwnUnit(Readout(network(), "3", torch.eye(8)), [0, unit])(normal(2, 3, 8, 8).float())


# ---- diversity ------------------------------------------------------------------------------------------------------


def test_equal_images_are_as_alike_as_can_be_and_lose_the_whole_weight() -> None:
    model, image = network(), normal(1, 3, 8, 8).float()
    readout = Readout(model, "3", torch.eye(8))
    same = image.expand(3, -1, -1, -1)
    torch.testing.assert_close(Diverse(readout, model, "1", 2.5)(same), readout(same) - 2.5)


def test_images_that_are_pushed_apart_end_less_alike() -> None:
    model = network()
    readout = Readout(model, "3", torch.eye(8))
    start = 1e-2 * normal(4, 3, 16, 16).float()

    def likeness(weight: float) -> float:
        found, _ = ascend(Diverse(readout, model, "1", weight), 1, start, steps=30, lr=0.3)
        return (readout(found) - Diverse(readout, model, "1", 1.0)(found))[:, 0].mean().item()

    assert likeness(5.0) < likeness(0.0) - 0.02


def test_units_without_places_have_no_likeness() -> None:
    model = initialized(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)))
    with pytest.raises(ValueError, match="name a convolution"):
        Diverse(model, model, "1", 1.0)(normal(2, 3, 2, 2).float())


def test_one_image_has_no_others() -> None:
    model = network()
    with pytest.raises(ValueError, match="at least two"):
        Diverse(Readout(model, "3", torch.eye(8)), model, "1", 1.0)(normal(1, 3, 8, 8).float())
