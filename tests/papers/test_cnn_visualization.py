"""The method against pictures worked out by hand, against linear algebra, SciPy and captum: which fact a test checks
stands in its name.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
import torchvision
from captum import attr as captum
from networks import initialized, pretrained_looking, state
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers.cnn_visualization import (
    YOSINSKI_SETS,
    Deconvnet,
    FeatureMaps,
    Regularizers,
    activation_maximization,
    back_project,
    backward_relu,
    blur,
    clip_small,
    contribution,
    filter_grid,
    guided_backprop,
    step_length,
    unpool,
)

pytestmark = pytest.mark.usefixtures("one_thread")

RULES = ("gradient", "deconvnet", "guided")


def images(count: int = 2, colours: int = 3, side: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, colours, side, side, generator=seeded(seed))


def stack(colours: int = 3, pool: nn.Module | None = None) -> nn.Sequential:
    """conv3x3, ReLU, max pooling, conv3x3, ReLU, without biases."""
    pool = pool or nn.MaxPool2d(2)
    first, second = nn.Conv2d(colours, 4, 3, bias=False), nn.Conv2d(4, 5, 3, bias=False)
    return initialized(nn.Sequential(first, nn.ReLU(), pool, second, nn.ReLU()))


class Between(nn.Module):
    """conv, any function, conv."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3)
        self.function = function
        initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.function(self.conv1(x)))


class OwnReLU(nn.Module):
    """A ReLU that sends the signal's positive part back, written down independently of the module tested here."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z: Tensor) -> Tensor:
            return z.clamp(min=0)

        @staticmethod
        def backward(ctx, signal: Tensor) -> Tensor:
            return torch.where(signal > 0, signal, torch.zeros_like(signal))

    def forward(self, z: Tensor) -> Tensor:
        return self.Function.apply(z)


def own_rule(model: nn.Sequential, x: Tensor, unit: int) -> Tensor:
    """What autograd gives of the activation with only the rule of the ReLUs overridden, seeded with the activation."""
    other = nn.Sequential(*(OwnReLU() if isinstance(layer, nn.ReLU) else layer for layer in model))
    x = x.clone().requires_grad_()
    strongest = other(x)[:, unit].flatten(1).max(1).values
    return torch.autograd.grad(strongest, x, strongest.detach())[0]


# ---- filters --------------------------------------------------------------------------------------------------------


def test_each_filter_is_stretched_by_itself_or_all_by_the_same_scale() -> None:
    weight = torch.stack([torch.linspace(-1, 1, 9), torch.linspace(0, 0.5, 9)]).reshape(2, 1, 3, 3)
    each, common = filter_grid(weight), filter_grid(weight, scale="common")
    assert each.shape == common.shape == (3, 5, 9)
    ramp = torch.linspace(0, 1, 9).reshape(3, 3)
    torch.testing.assert_close(each[0, 1:4, 1:4], ramp)
    torch.testing.assert_close(each[0, 1:4, 5:8], ramp)
    torch.testing.assert_close(common[0, 1:4, 1:4], ramp)
    torch.testing.assert_close(common[0, 1:4, 5:8], 0.5 + ramp / 4)
    assert (each[:, :, [0, 4, 8]] == 1).all(), "the gaps are white"


def test_filters_of_three_colours_keep_them_and_stand_in_rows_of_columns() -> None:
    weight = torch.rand(10, 3, 5, 5, generator=seeded())
    before = weight.clone()
    grid = filter_grid(weight, columns=4, gap=2)
    assert grid.shape == (3, 3 * 7 + 2, 4 * 7 + 2)
    assert 0 <= grid.min() <= grid.max() <= 1
    assert torch.equal(weight, before)
    one = (weight[5] - weight[5].min()) / (weight[5].max() - weight[5].min())
    torch.testing.assert_close(grid[:, 9:14, 9:14], one)


@pytest.mark.parametrize(
    ("weight", "scale", "message"),
    [
        (torch.ones(4, 2, 3, 3), "each", r"1 or 3 colours.*\(4, 2, 3, 3\)"),
        (torch.ones(4, 3), "each", "show its feature maps"),
        (torch.ones(4, 3, 3, 3), "both", "'each' or 'common', got 'both'"),
        (torch.full((4, 3, 3, 3), torch.nan), "each", "NaN or infinite"),
    ],
)
def test_filters_that_cannot_be_shown_are_refused(weight: Tensor, scale: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filter_grid(weight, scale=scale)


# ---- regularizers ---------------------------------------------------------------------------------------------------


def test_a_decay_of_3_tenths_leaves_7_of_ones() -> None:
    ones = torch.ones(1, 3, 4, 4)
    torch.testing.assert_close(Regularizers(decay=0.3)(ones, ones, 0), 0.7 * ones)


def test_the_50th_percentile_of_norms_zeroes_exactly_half_of_the_pixels_with_all_their_colours() -> None:
    x = normal(2, 3, 8, 8)
    clipped = Regularizers(small_norm=50)(x, x, 0)
    gone = (clipped == 0).all(1)
    assert gone.sum((1, 2)).tolist() == [32, 32]
    assert torch.equal(clipped, torch.where(gone[:, None], 0, x))
    for image, zeroed in zip(x.norm(dim=1), gone, strict=True):
        assert image[zeroed].max() < image[~zeroed].min()


def test_the_90th_percentile_of_contributions_keeps_a_tenth() -> None:
    x, gradient = normal(2, 3, 10, 10), normal(2, 3, 10, 10, seed=1)
    clipped = Regularizers(small_contribution=90)(x, gradient, 0)
    kept = (clipped != 0).any(1)
    assert kept.sum((1, 2)).tolist() == [10, 10]
    for image, held in zip((x * gradient).sum(1).abs(), kept, strict=True):
        assert image[held].min() > image[~held].max()


def test_of_many_equal_pixels_none_lies_below_the_percentile() -> None:
    x = torch.ones(1, 3, 4, 4)
    assert torch.equal(clip_small(x, x.norm(dim=1, keepdim=True), 50), x)
    size = torch.tensor([0.0, 0, 0, 1]).reshape(1, 1, 2, 2)
    assert torch.equal(clip_small(torch.ones(1, 3, 2, 2), size, 60), torch.ones(1, 3, 2, 2))


def test_a_contribution_is_what_a_linear_activation_loses_with_the_pixel() -> None:
    x, w = normal(1, 3, 4, 4), normal(1, 3, 4, 4, seed=1)
    without = x.clone()
    without[0, :, 1, 2] = 0
    lost = (w * x).sum() - (w * without).sum()
    torch.testing.assert_close(contribution(x, w)[0, 0, 1, 2], lost.abs())


@pytest.mark.parametrize("width", [0.3, 0.5, 0.6, 1.0, 1.7])
def test_a_blur_is_that_of_scipy_away_from_the_edges(width: float) -> None:
    x = normal(2, 3, 32, 32)
    expected = scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, width, width))
    inside = np.s_[..., 8:-8, 8:-8]
    np.testing.assert_allclose(blur(x, width).numpy()[inside], expected[inside], atol=1e-7)


def test_a_blur_leaves_an_even_image_alone_and_works_on_images_smaller_than_itself() -> None:
    torch.testing.assert_close(blur(torch.ones(1, 1, 3, 5), 4.0), torch.ones(1, 1, 3, 5))
    assert torch.equal(blur(torch.ones(1, 1, 1, 1), 1.0), torch.ones(1, 1, 1, 1))


def test_the_blur_comes_at_every_so_many_steps_from_the_first() -> None:
    x, regularizers = normal(1, 3, 8, 8), Regularizers(blur_width=1.0, blur_every=4)
    changed = [not torch.equal(regularizers(x, x, step), x) for step in range(9)]
    assert [step for step, blurred in enumerate(changed) if blurred] == [0, 4, 8]


def toolbox(x: np.ndarray, gradient: np.ndarray, p: Regularizers) -> np.ndarray:
    """A step's regularizers in the order of Yosinski's gradient_optimizer.py, for one image (C, H, W)."""
    x = x * (1 - p.decay)
    x = np.stack([blur(torch.from_numpy(channel)[None, None], p.blur_width).numpy()[0, 0] for channel in x])
    norms = np.sqrt((x**2).sum(0))
    x = x * (norms >= np.percentile(norms, p.small_norm))
    contributions = np.abs((x * -gradient).sum(0))
    return x * (contributions >= np.percentile(contributions, p.small_contribution))


def test_regularizers_come_in_the_order_of_the_toolbox() -> None:
    x, gradient = normal(2, 3, 12, 12), normal(2, 3, 12, 12, seed=1)
    regularizers = Regularizers(decay=0.2, blur_width=0.8, small_norm=30, small_contribution=60)
    expected = [toolbox(*pair, regularizers) for pair in zip(x.numpy(), gradient.numpy(), strict=True)]
    torch.testing.assert_close(regularizers(x, gradient, 0), torch.from_numpy(np.stack(expected)))


def test_by_default_nothing_is_regularized() -> None:
    x = normal(1, 3, 4, 4)
    assert torch.equal(Regularizers()(x, x, 0), x)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"decay": decay} for decay in (1.0, -0.1, float("nan"))),
        *({"blur_width": -1.0}, {"blur_every": 0}, {"small_norm": 100}, {"small_contribution": -1}),
    ],
)
def test_regularizers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Regularizers(**wrong)


def test_the_four_sets_are_those_of_table_1() -> None:
    rows = {  # decay, b_width, b_every, n_pct, c_pct, iterations, lr, desired
        1: (0, 0.5, 4, 50, 0, 500, 100, 2.0),
        2: (0.3, 0, 1, 20, 0, 750, 100, None),  # without a blur, b_every has no meaning
        3: (0.0001, 1.0, 4, 0, 0, 1000, 100, None),
        4: (0, 0.5, 4, 0, 90, 1000, 1e8, 2.0),
    }
    for number, (decay, width, every, norm, contributed, steps, lr, desired) in rows.items():
        expected = Regularizers(decay, width, every, norm, contributed)
        settings = dict(YOSINSKI_SETS[number])
        assert settings.pop("regularizers") == expected
        assert settings.pop("lr") == pytest.approx(lr / 255**2)
        assert settings.pop("desired", None) == desired
        assert settings == {"steps": steps}
    assert len(YOSINSKI_SETS) == 4


# ---- the step -------------------------------------------------------------------------------------------------------


def test_a_step_is_constant_or_what_gains_the_desired_activation_but_never_longer_than_lr() -> None:
    gradient = torch.tensor([1.0, 0.1, 0.0])[:, None, None, None].expand(3, 1, 2, 2)  # |g|^2 = 4, 0.04, 0
    torch.testing.assert_close(step_length(gradient, 0.5).flatten(), torch.full((3,), 0.5))
    torch.testing.assert_close(step_length(gradient, 5.0, 2.0).flatten(), torch.tensor([0.5, 5.0, 5.0]))


# ---- activation maximization ----------------------------------------------------------------------------------------

SHAPE = (3, 16, 16)


def linear_unit(size: float) -> nn.Sequential:
    """a = w.x for two units, with |w| about `size`."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2, bias=False))
    model[1].weight.data = size * F.normalize(torch.randn(2, 3 * 16 * 16, generator=seeded(5)), dim=1)
    return model


def test_a_linear_unit_moves_its_image_by_k_eta_w() -> None:
    model = linear_unit(0.1)
    found = activation_maximization(
        model, "1", [0, 1], steps=20, lr=0.05, shape=SHAPE, generator=seeded(), keep_every=1
    )
    for k in (1, 7, 20):  # 20 steps of 0.05 * 0.1: nothing reaches the box of images
        moved = k * 0.05 * model[1].weight.detach().reshape(2, *SHAPE)
        torch.testing.assert_close(found.frames[k] - found.frames[0], moved)
    assert found.frames[0].sub(0.5).std().item() == pytest.approx(10 / 255, rel=0.05)


def test_a_linear_unit_gains_exactly_what_is_desired_at_every_step() -> None:
    found = activation_maximization(
        linear_unit(3.0), "1", [0, 1], steps=5, lr=1e6, desired=0.2, shape=SHAPE, generator=seeded()
    )
    torch.testing.assert_close(found.activations.diff(dim=0), torch.full((5, 2), 0.2))


def test_images_stay_in_the_box_of_images_whatever_the_step() -> None:
    found = activation_maximization(
        stack(), "3", [0, 1, 2], steps=6, lr=1e4, shape=SHAPE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2), keep_every=1
    )
    for pictures in (found.images, found.best, found.frames):
        assert pictures.min() >= -1e-6
        assert pictures.max() <= 1 + 1e-6
    assert ((found.images < 1e-6) | (found.images > 1 - 1e-6)).float().mean() > 0.2, "it was not even reached"


def test_the_network_is_given_images_as_it_was_trained() -> None:
    model, mean, std = stack(), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])
    found = activation_maximization(
        model, "3", 1, steps=3, lr=0.1, shape=SHAPE, mean=mean.tolist(), std=std.tolist(), place=(2, 3)
    )
    normalized = (found.images - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(FeatureMaps(model, "3")(normalized)["3"][0, 1, 2, 3], found.activations[-1, 0])


@pytest.mark.parametrize("number", YOSINSKI_SETS)
def test_every_set_makes_units_fire_and_the_best_image_is_at_least_as_good_as_the_last(number: int) -> None:
    model = stack()
    settings = {**YOSINSKI_SETS[number], "steps": 30, "lr": min(1.0, YOSINSKI_SETS[number]["lr"] * 100)}
    found = activation_maximization(model, "3", range(5), shape=SHAPE, generator=seeded(), **settings)
    assert found.activations.shape == (31, 5)
    assert (found.activations.max(0).values >= found.activations[-1]).all()
    assert (found.activations.max(0).values > found.activations[0]).all()
    maps = FeatureMaps(model, "3")(found.best - 0.5)["3"]
    at = maps[range(5), range(5), 2, 2]  # the middle of 5 x 5
    torch.testing.assert_close(at, found.activations.max(0).values)


def test_each_image_of_a_batch_ascends_as_if_it_were_alone() -> None:
    settings = {
        **YOSINSKI_SETS[1],
        "regularizers": Regularizers(0.01, 0.5, 2, 30, 20),
        "steps": 12,
        "shape": SHAPE,
        "lr": 0.1,
        "keep_every": 3,
    }
    together = activation_maximization(stack(), "3", [4, 0, 4], generator=seeded(), **settings)
    generator = seeded()
    for place, unit in enumerate([4, 0, 4]):
        alone = activation_maximization(stack(), "3", unit, generator=generator, **settings)
        torch.testing.assert_close(alone.images[0], together.images[place])
        torch.testing.assert_close(alone.best[0], together.best[place])
        torch.testing.assert_close(alone.activations[:, 0], together.activations[:, place])
        torch.testing.assert_close(alone.frames[:, 0], together.frames[:, place])
    assert not torch.allclose(together.images[0], together.images[2]), "the same unit, from other noise"


def test_the_same_seed_gives_the_same_images_and_the_global_one_is_left_alone() -> None:
    model, before = stack(), torch.get_rng_state()
    one, other, third = (
        activation_maximization(model, "3", [0, 1], steps=4, shape=SHAPE, generator=seeded(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.allclose(third.images, one.images)


def test_frames_are_kept_every_so_many_steps_and_the_last_is_the_image() -> None:
    settings = {"steps": 6, "shape": SHAPE, "lr": 0.1}
    kept, all_of_them, none = (
        activation_maximization(stack(), "3", [0, 1], generator=seeded(), keep_every=every, **settings).frames
        for every in (3, 1, 0)
    )
    images = activation_maximization(stack(), "3", [0, 1], generator=seeded(), **settings).images
    assert (kept.shape, all_of_them.shape, none.shape) == ((3, 2, *SHAPE), (7, 2, *SHAPE), (0, 2, *SHAPE))
    assert torch.equal(kept, all_of_them[::3])
    assert torch.equal(kept[-1], images)


def test_without_steps_the_image_is_the_noise() -> None:
    found = activation_maximization(stack(), "3", 0, steps=0, shape=SHAPE, generator=seeded())
    assert found.activations.shape == (1, 1)
    assert torch.equal(found.images, found.best)
    torch.testing.assert_close(found.images, (0.5 + 10 / 255 * torch.randn(1, *SHAPE, generator=seeded())).clamp(0, 1))


def test_a_unit_of_a_map_is_the_one_in_the_middle_or_at_its_place() -> None:
    model, settings = stack(), {"steps": 0, "shape": SHAPE}
    for place, (row, column) in {None: (2, 2), (0, 4): (0, 4), (4, 0): (4, 0)}.items():
        found = activation_maximization(model, "3", 1, place=place, generator=seeded(), **settings)
        maps = FeatureMaps(model, "3")(found.images - 0.5)["3"]
        torch.testing.assert_close(found.activations[0, 0], maps[0, 1, row, column])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_network_in_another_precision_is_maximized_too(dtype: torch.dtype) -> None:
    found = activation_maximization(stack().to(dtype), "3", [0, 1], steps=8, lr=0.1, shape=SHAPE, generator=seeded())
    same = activation_maximization(stack(), "3", [0, 1], steps=8, lr=0.1, shape=SHAPE, generator=seeded())
    assert found.images.dtype == found.activations.dtype == torch.float32
    torch.testing.assert_close(found.activations, same.activations, rtol=1e-2, atol=1e-2)


def test_maximizing_leaves_the_network_as_it_was_and_works_without_gradients_outside() -> None:
    model = initialized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout()))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = state(model)
    with torch.no_grad():
        found = activation_maximization(model, "1", [0, 3], steps=4, shape=SHAPE, lr=1.0)
    assert (found.activations[-1] > found.activations[0]).all()
    assert not any(tensor.requires_grad for tensor in found)
    assert state(model) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": 5}, "'3' has the units 0 to 4, got"),
        ({"unit": [0, -1]}, "units 0 to 4, got"),
        ({"unit": 1.5}, "whole numbers"),
        ({"unit": []}, "at least one"),
        ({"layer": "5"}, "no layer '5'"),
        ({"place": (5, 0)}, r"\(5, 5\) places, so none at \(5, 0\)"),
        ({"place": (0, -1)}, "so none at"),
        ({"shape": (1, 16, 16)}, r"images of shape \(B, 3, H, W\)"),
    ],
)
def test_what_cannot_be_maximized_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation_maximization(stack(), **({"layer": "3", "unit": 0, "shape": SHAPE, "steps": 1} | change))


def test_layers_without_units_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2))
    for look in (
        lambda: activation_maximization(model, "1", 0, shape=SHAPE),
        lambda: Deconvnet(model)(images(), "1", 0),
    ):
        with pytest.raises(ValueError, match=r"'1' gives out \(\d, 4, 196\), not"):
            look()


def test_an_activation_that_overflows_is_reported() -> None:
    class Huge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1).sum(1, keepdim=True) * 50).exp()

    with pytest.raises(ValueError, match="no longer finite after 1 steps: lower lr"):
        activation_maximization(nn.Sequential(Huge()), "0", 0, steps=3, lr=1.0, shape=SHAPE, generator=seeded(2))


# ---- unpooling and the ReLU's rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_unpooling_is_that_of_torch_where_windows_do_not_overlap(size: tuple[int, int]) -> None:
    pooled, switches = F.max_pool2d(normal(2, 3, *size), 2, return_indices=True)
    assert torch.equal(unpool(pooled, switches, size), F.max_unpool2d(pooled, switches, 2, output_size=size))


def test_one_peak_seen_by_four_windows_gives_1_by_unpooling_and_4_by_autograd() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    x.requires_grad_()
    pooled, switches = F.max_pool2d(x, 3, 2, return_indices=True)
    assert (pooled == 1).all()
    assert unpool(pooled.detach(), switches, (5, 5))[0, 0, 2, 2] == 1
    assert torch.autograd.grad(pooled.sum(), x)[0][0, 0, 2, 2] == 4


def test_of_several_values_for_one_place_the_strongest_stays_and_no_zero_wipes_it_out() -> None:
    switches = torch.tensor([[[[3, 3, 3, 0]]]])
    for values, kept in (([1, 2, 0, 5], 2), ([0, -3, 2, 5], -3), ([4, 0, 0, 5], 4), ([-1, 0, 0, 5], -1)):
        found = unpool(torch.tensor([[[values]]], dtype=torch.float32), switches, (2, 2))
        assert found.flatten().tolist() == [5, 0, 0, kept]


def test_the_three_rules_ask_whether_the_unit_was_on_whether_the_signal_is_positive_or_both() -> None:
    signal, z = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0]), torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0])
    assert backward_relu(signal, z).tolist() == [2, -2, 0, 0, 0]
    assert backward_relu(signal, z, "deconvnet").tolist() == [2, 0, 2, 0, 2]
    assert backward_relu(signal, z, "guided").tolist() == [2, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="got 'deconv'"):
        backward_relu(signal, z, "deconv")


# ---- back to the image ----------------------------------------------------------------------------------------------


def explicit_deconvnet(model: nn.Sequential, x: Tensor, unit: int) -> Tensor:
    """The paper's deconvnet step by step: unpool, rectify, filter with the transposed filters."""
    first, _, pool, second, _ = model
    rectified = first(x).relu()
    pooled, switches = F.max_pool2d(rectified, pool.kernel_size, pool.stride, return_indices=True)
    maps = second(pooled).relu()
    signal = torch.zeros_like(maps)
    for image in range(len(x)):
        row, column = divmod(int(maps[image, unit].argmax()), maps.shape[-1])
        signal[image, unit, row, column] = maps[image, unit, row, column]
    signal = F.conv_transpose2d(signal.relu(), second.weight)
    signal = strongest_at_switches(signal, switches, rectified.shape[-2:])
    return F.conv_transpose2d(signal.relu(), first.weight)


def strongest_at_switches(signal: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Unpooling by a loop, in the order of strength, so that the strongest is written last."""
    maps = torch.zeros(*signal.shape[:2], size[0] * size[1])
    for flat, values, places in zip(maps.flatten(0, 1), signal.flatten(0, 1), switches.flatten(0, 1), strict=True):
        for value, place in sorted(zip(values.flatten().tolist(), places.flatten().tolist(), strict=True), key=weakest):
            flat[place] = value
    return maps.unflatten(2, size)


def weakest(pair: tuple[float, int]) -> float:
    return abs(pair[0])


@torch.no_grad()
@pytest.mark.parametrize("unit", range(5))
def test_the_deconvnet_is_unpooling_rectifying_and_transposed_convolution(unit: int) -> None:
    model, x = stack(), images(4) - 0.5
    expected = explicit_deconvnet(model, x, unit)
    assert torch.equal(expected.flatten(1).any(1), FeatureMaps(model, "4")(x)["4"][:, unit].flatten(1).any(1))
    torch.testing.assert_close(Deconvnet(model)(x, "4", unit), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("unit", range(5))
def test_the_deconvnet_unpools_overlapping_windows_too(unit: int) -> None:
    model, x = stack(pool=nn.MaxPool2d(3, 2)), images(4) - 0.5
    expected = explicit_deconvnet(model, x, unit)
    torch.testing.assert_close(Deconvnet(model)(x, "4", unit), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "layer"), [("alexnet", "features.2"), ("squeezenet1_1", "features.5")])
def test_a_maximum_that_several_windows_share_leaves_a_picture(name: str, layer: str) -> None:
    model, x = pretrained_looking(name), images(16, side=64) - 0.5
    fires = FeatureMaps(model, layer)(x)[layer][range(16), range(16)].amax((1, 2)) > 0
    assert fires.sum() > 8
    assert torch.equal(Deconvnet(model)(x, layer, range(16)).flatten(1).any(1), fires)


def test_the_deconvnet_is_a_gradient_with_another_relu_where_windows_do_not_overlap_and_only_there() -> None:
    x = images(4) - 0.5
    apart, overlapping = stack(pool=nn.MaxPool2d(2)), stack(pool=nn.MaxPool2d(3, 1))
    torch.testing.assert_close(Deconvnet(apart)(x, "4", 0), own_rule(apart, x, 0))
    assert not torch.allclose(Deconvnet(overlapping)(x, "4", 0), own_rule(overlapping, x, 0), atol=1e-2)


def test_the_gradient_is_that_of_autograd() -> None:
    model, x = stack(), (images(3) - 0.5).requires_grad_()
    expected = torch.autograd.grad(model(x)[:, 2].amax((1, 2)).sum(), x)[0]
    torch.testing.assert_close(back_project(model, x, "4", 2), expected)


def test_the_deconvnet_starts_with_the_activation_so_that_its_picture_grows_with_it() -> None:
    model, x = stack(), images(3) - 0.5
    picture = Deconvnet(model)(x, "4", 0)
    assert picture.any()
    torch.testing.assert_close(Deconvnet(model)(2 * x, "4", 0), 2 * picture)  # twice the activation, the same way back


@pytest.mark.parametrize("rule", ["gradient", "guided"])
def test_gradient_and_guided_backpropagation_start_with_1_unless_told_otherwise(rule: str) -> None:
    model, x = stack(), images(3) - 0.5
    picture = back_project(model, x, "4", 2, rule=rule)
    assert picture.any()
    assert torch.equal(back_project(model, x, "4", 2, rule=rule, start=1.0), picture)
    torch.testing.assert_close(back_project(model, x, "4", 2, rule=rule, start=2.5), 2.5 * picture)


def test_started_with_1_the_deconvnets_picture_is_divided_by_an_activation_that_is_positive() -> None:
    model, x = stack(), images(3) - 0.5
    activation = FeatureMaps(model, "3")(x)["3"][:, 2].amax((1, 2))
    assert activation.min() > 0
    picture = back_project(model, x, "3", 2, rule="deconvnet")
    started = back_project(model, x, "3", 2, rule="deconvnet", start=1.0)
    torch.testing.assert_close(started, picture / activation[:, None, None, None])


def test_started_with_1_the_deconvnet_shows_of_a_negative_activation_what_would_raise_it() -> None:
    """By itself it starts with a negative number there, as if with -1, and its ReLUs let the opposite half pass."""
    model, x = stack(), images(3) - 0.5
    maps = FeatureMaps(model, "3")(x)["3"][:, 2]
    lowest = maps.flatten(1).argmin(1)
    activation, place = maps.amin((1, 2))[:, None, None, None], (lowest // 5, lowest % 5)
    assert activation.max() < 0
    by_itself, up, down = (
        back_project(model, x, "3", 2, rule="deconvnet", place=place, start=start) for start in (None, 1.0, -1.0)
    )
    torch.testing.assert_close(by_itself, -activation * down)
    assert up.any()
    assert not torch.allclose(up, by_itself / activation)


@pytest.mark.parametrize("rule", RULES)
def test_what_starts_with_0_leaves_no_picture(rule: str) -> None:
    assert not back_project(stack(), images() - 0.5, "4", 0, rule=rule, start=0.0).any()


def test_a_unit_of_a_linear_layer_starts_with_the_number_given_too() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), images(2, side=4)
    expected = 3 * model[1].weight[[0, 2]].detach().reshape(2, 3, 4, 4)
    for rule in RULES:
        torch.testing.assert_close(back_project(model, x, "1", [0, 2], rule=rule, start=3.0), expected)


def test_the_picture_of_a_first_convolution_is_its_filter_times_the_activation_where_it_was() -> None:
    model, x = stack(), images(3) - 0.5
    maps, pictures = FeatureMaps(model, "0")(x)["0"][:, 0], Deconvnet(model)(x, "0", 0)
    for one, picture in zip(maps, pictures, strict=True):
        row, column = divmod(int(one.argmax()), 14)
        patch = picture[:, row : row + 3, column : column + 3]
        torch.testing.assert_close(patch, one.max() * model[0].weight[0].detach())
        assert picture.count_nonzero() == 27


def test_gradient_times_image_is_the_activation_of_a_network_without_biases() -> None:
    x = images(2, side=64) - 0.5
    for name, layer in {"alexnet": "classifier.6", "vgg11": "features.18", "squeezenet1_1": "features.12"}.items():
        model = pretrained_looking(name)
        activation = FeatureMaps(model, layer)(x)[layer][:, 3].reshape(2, -1).max(1).values
        product = (back_project(model, x, layer, 3) * x).sum((1, 2, 3))
        torch.testing.assert_close(product, activation, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "output"),
    [(224, 11, 4, 2, 55), (224, 3, 2, 0, 111), (32, 3, 1, 1, 32), (17, 3, 2, 1, 9), (18, 5, 3, 1, 6)],
    ids=["AlexNet", "SqueezeNet", "VGG", "odd", "left over"],
)
def test_a_picture_is_the_transposed_convolution_whatever_the_stride_leaves_over(
    side: int, kernel: int, stride: int, padding: int, output: int
) -> None:
    convolution = initialized(nn.Conv2d(3, 4, kernel, stride=stride, padding=padding, bias=False))
    x, b = images(1, side=side) - 0.5, torch.zeros(1, 4, output, output)
    row, column = output - 1, output // 2
    b[0, 2, row, column] = 1
    left_over = side - ((output - 1) * stride - 2 * padding + kernel)
    expected = F.conv_transpose2d(b, convolution.weight, None, stride, padding, output_padding=left_over)
    place = (torch.tensor([row]), torch.tensor([column]))
    picture = back_project(nn.Sequential(convolution), x, "0", 2, place=place)
    torch.testing.assert_close(picture, expected)
    torch.testing.assert_close((convolution(x) * b).sum(), (x * picture).sum())  # <conv(a), b> = <a, conv^T(b)>


def test_convolution_and_its_transpose_are_adjoint() -> None:
    a, b, weight = normal(2, 3, 9, 9), normal(2, 4, 4, 4, seed=1), normal(4, 3, 3, 3, seed=2)
    back = F.conv_transpose2d(b, weight, stride=2)
    torch.testing.assert_close((F.conv2d(a, weight, stride=2) * b).sum(), (a * back).sum())


def test_guided_backpropagation_sees_no_more_than_either_of_the_two_that_it_joins() -> None:
    model, x = stack(colours=1), torch.randn(1, 1, 16, 16, generator=seeded())
    seen = {rule: back_project(model, x, "4", 1, rule=rule) != 0 for rule in RULES}
    counts = {rule: int(mask.sum()) for rule, mask in seen.items()}
    assert counts == {"gradient": 52, "deconvnet": 48, "guided": 44}  # of the 64 pixels that the unit sees
    assert not (seen["guided"] & ~seen["gradient"]).any()
    assert not (seen["guided"] & ~seen["deconvnet"]).any()


def test_behind_no_relu_all_three_agree_up_to_the_activation() -> None:
    model, x = stack(), images() - 0.5
    gradient, guided = back_project(model, x, "0", 1), guided_backprop(model, x, "0", 1)
    strongest = FeatureMaps(model, "0")(x)["0"][:, 1].amax((1, 2))
    assert torch.equal(gradient, guided)
    torch.testing.assert_close(Deconvnet(model)(x, "0", 1), strongest[:, None, None, None] * gradient)


# Overlapping, dilated, padded, ragged, adaptive: the signal goes back to the one place where the maximum was.
POOLS: dict[str, Callable] = {
    "module": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2),
    "padded": nn.MaxPool2d(3, 2, padding=1),
    "dilated": nn.MaxPool2d(2, 1, dilation=3),
    "ceil mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "with indices": lambda z: nn.MaxPool2d(3, 2, return_indices=True)(z)[0],
    "F.max_pool2d": lambda z: F.max_pool2d(z, 3, 2, 1),
    "F.max_pool2d by keywords": lambda z: F.max_pool2d(input=z, kernel_size=3, stride=2),
    "F.max_pool2d with indices": lambda z: F.max_pool2d(z, 3, return_indices=True)[0],
    "F.max_pool2d_with_indices": lambda z: F.max_pool2d_with_indices(z, 3, 2)[0],
    "torch.max_pool2d": lambda z: torch.max_pool2d(z, 3, 2),
    "torch.max_pool2d by keywords": lambda z: torch.max_pool2d(input=z, kernel_size=(3, 2)),
    "adaptive": nn.AdaptiveMaxPool2d(4),
    "adaptive, overlapping": lambda z: F.adaptive_max_pool2d(z, (5, 3)),
    "adaptive with indices": lambda z: F.adaptive_max_pool2d(z, 4, return_indices=True)[0],
}


@pytest.mark.parametrize("pool", POOLS)
def test_every_max_pooling_sends_the_deconvnets_signal_back_to_its_switch(pool: str) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.end = initialized(nn.Conv2d(3, 4, 3, bias=False)), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.end(POOLS[pool](self.conv(x).relu()))

    model, x = Pooled(), images(3) - 0.5
    maps, pooled = model.conv(x).relu().detach(), FeatureMaps(model, "end")(x)["end"]
    strongest = pooled[:, 2].amax((1, 2))
    switches = (maps[:, 2] == strongest[:, None, None]).float()  # of random values no two are equal
    assert (switches.sum((1, 2)) == 1).all()
    signal = torch.zeros_like(maps)
    signal[:, 2] = strongest[:, None, None] * switches
    expected = F.conv_transpose2d(signal, model.conv.weight)
    torch.testing.assert_close(Deconvnet(model)(x, "end", 2), expected)


@pytest.mark.parametrize(
    "pool", [lambda z: F.max_pool2d(z, 3, 1), lambda z: F.max_pool2d(z, 3, 1, return_indices=True)[0]]
)
def test_the_deconvnet_never_adds_at_a_switch_however_the_pooling_is_called(pool: Callable) -> None:
    model, x = Between(pool), images() - 0.5
    reference = Between(nn.MaxPool2d(3, 1))
    torch.testing.assert_close(Deconvnet(model)(x, "conv2", 0), Deconvnet(reference)(x, "conv2", 0))
    assert not torch.allclose(Deconvnet(model)(x, "conv2", 0), activation_times_gradient(model, x), atol=1e-3)


def activation_times_gradient(model: nn.Module, x: Tensor) -> Tensor:
    strongest = FeatureMaps(model, "conv2")(x)["conv2"][:, 0].amax((1, 2))
    return strongest[:, None, None, None] * back_project(model, x, "conv2", 0)


RELUS: dict[str, Callable] = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": lambda z: F.relu(z),
    "F.relu in place": lambda z: F.relu(z, inplace=True),
    "F.relu in place by position": lambda z: F.relu(z, True),
    "F.relu by keyword": lambda z: F.relu(input=z),
    "F.relu_": lambda z: F.relu_(z),
    "torch.relu": torch.relu,
    "torch.relu by keyword": lambda z: torch.relu(input=z),
    "torch.relu_": torch.relu_,
    "method": lambda z: z.relu(),
    "method in place": lambda z: z.relu_(),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("relu", RELUS)
def test_a_relu_is_found_however_it_is_written(relu: str, rule: str) -> None:
    x = images() - 0.5
    expected = back_project(Between(OwnReLU()), x, "conv2", 1, rule="gradient")
    found = back_project(Between(RELUS[relu]), x, "conv2", 1, rule=rule)
    if rule == "deconvnet":
        activation = FeatureMaps(Between(RELUS[relu]), "conv2")(x)["conv2"][:, 1].amax((1, 2))
        torch.testing.assert_close(found, activation[:, None, None, None] * expected)
    else:
        torch.testing.assert_close(found, back_project(Between(nn.ReLU()), x, "conv2", 1, rule=rule))
        assert not torch.allclose(found, expected)


def test_a_relu_whose_input_is_changed_afterwards_keeps_its_rule() -> None:
    def changed(z: Tensor) -> Tensor:
        rectified = z.relu()
        z += 1
        return rectified

    x = images() - 0.5
    for rule in RULES:
        expected = back_project(Between(nn.ReLU()), x, "conv2", 0, rule=rule)
        torch.testing.assert_close(back_project(Between(changed), x, "conv2", 0, rule=rule), expected)


def test_a_network_may_begin_with_an_in_place_relu() -> None:
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3)), images() - 0.5
    before = x.clone()
    for rule in RULES:
        assert back_project(model, x, "1", 0, rule=rule).shape == x.shape
    assert torch.equal(x, before)


def test_contrast_normalization_is_not_inverted_by_the_deconvnet() -> None:
    x = images() - 0.5
    normalized, plain = Between(nn.LocalResponseNorm(3, alpha=3.0)), Between(nn.Identity())
    activation = {name: FeatureMaps(m, "conv2")(x)["conv2"] for name, m in (("lrn", normalized), ("no", plain))}
    place = (torch.tensor([3, 4]), torch.tensor([5, 6]))
    ratio = (activation["lrn"] / activation["no"])[[0, 1], 1, *place]
    picture = Deconvnet(normalized)(x, "conv2", 1, place=place)
    torch.testing.assert_close(picture, ratio[:, None, None, None] * Deconvnet(plain)(x, "conv2", 1, place=place))
    gradient = back_project(normalized, x, "conv2", 1, place=place)
    assert not torch.allclose(gradient, back_project(plain, x, "conv2", 1, place=place), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("alexnet", "features.10"), ("vgg11", "features.18"), ("vgg16", "features.28"), ("squeezenet1_1", "features.9")],
)
def test_networks_of_torchvision_are_projected_back(name: str, layer: str) -> None:
    model, x = pretrained_looking(name), images(2, side=64) - 0.5
    pictures = {rule: back_project(model, x, layer, [1, 2], rule=rule) for rule in RULES}
    assert all(picture.shape == x.shape and picture.isfinite().all() and picture.any() for picture in pictures.values())
    torch.testing.assert_close(Deconvnet(model)(x, layer, [1, 2]), pictures["deconvnet"])
    torch.testing.assert_close(guided_backprop(model, x, layer, [1, 2]), pictures["guided"])


def test_nine_images_in_one_pass_are_nine_passes() -> None:
    model, x = stack(), images(9) - 0.5
    for rule in RULES:
        alone = [back_project(model, x[i : i + 1], "4", i % 5, rule=rule) for i in range(9)]
        together = back_project(model, x, "4", torch.arange(9) % 5, rule=rule)
        torch.testing.assert_close(together, torch.cat(alone))


def test_a_place_may_be_chosen_even_at_an_edge() -> None:
    model, x = stack(), images() - 0.5
    place = (torch.tensor([0, 4]), torch.tensor([4, 0]))
    picture = back_project(model, x, "3", 0, place=place)
    assert picture[0, :, :8, 8:].any()
    assert not picture[0, :, 8:].any()
    assert not picture[1, :, :, 8:].any()
    assert torch.equal(back_project(model, x, "3", 0, place=(0, 4))[0], picture[0])


def test_units_of_a_linear_layer_have_no_place() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(48, 3)), images(2, side=4)
    torch.testing.assert_close(
        back_project(model, x, "2", [0, 2]), model[2].weight[[0, 2]].detach().reshape(2, 3, 4, 4)
    )


def test_guided_backpropagation_works_on_a_resnet_and_leaves_it_as_it_was() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None)
    before = [tensor.clone() for tensor in model.state_dict().values()]
    guided = guided_backprop(model, images(side=64), "layer3.1.conv2", 5)
    assert guided.any()
    assert not torch.allclose(guided, back_project(model, images(side=64), "layer3.1.conv2", 5))
    assert all(torch.equal(one, other) for one, other in zip(before, model.state_dict().values(), strict=True))
    assert model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("rule", RULES)
def test_projecting_back_leaves_the_network_and_the_images_as_they_were(rule: str) -> None:
    model, x = stack().train(), images() - 0.5
    model[1].inplace = True
    model[3].weight.requires_grad_(False)
    before, pixels = state(model), x.clone()
    with torch.no_grad():
        picture = back_project(model, x, "4", 0, rule=rule)
    assert not picture.requires_grad
    assert state(model) == before
    assert torch.equal(x, pixels)
    assert x.grad is None


# ---- refusals -------------------------------------------------------------------------------------------------------

WITHOUT_RULE: dict[str, Callable] = {
    "gelu": nn.GELU(),
    "leaky_relu": nn.LeakyReLU(),
    "leaky_relu_": F.leaky_relu_,
    "hardtanh": nn.ReLU6(inplace=True),
    "elu_": F.elu_,
    "silu": F.silu,
    "hardswish": nn.Hardswish(),
    "sigmoid": torch.sigmoid,
    "tanh": nn.Tanh(),
    "glu": lambda z: F.glu(torch.cat([z, z], 1), 1),
    "clamp": lambda z: z.clamp(min=0),
    "clamp_": lambda z: z.clamp_(min=0),
    "clip": lambda z: z.clip(min=0),
    "maximum": lambda z: torch.maximum(z, torch.zeros(())),
    "gt": lambda z: z * (z > 0),
    "lt": lambda z: z.masked_fill(z < 0, 0),
    "abs": lambda z: (z + z.abs()) / 2,
    "threshold": lambda z: F.threshold(z, 0, 0),
    "mul": lambda z: z * z,
    "amax": lambda z: z.amax((2, 3), keepdim=True) - z,
    "fractional_max_pool2d": lambda z: F.fractional_max_pool2d(z, 2, output_size=8),
    "layer_norm": lambda z: F.layer_norm(z, z.shape[1:]),
    "group_norm": nn.GroupNorm(2, 4),
}


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_functions_without_a_rule_are_refused_by_name_and_have_a_gradient_all_the_same(name: str, rule: str) -> None:
    model = Between(WITHOUT_RULE[name])
    assert back_project(model, images(), "conv2", 0).shape == (2, 3, 16, 16)
    with pytest.raises(ValueError, match=rf"{name} has no rule in {rule} backpropagation"):
        back_project(model, images(), "conv2", 0, rule=rule)


def test_functions_without_a_rule_may_stand_behind_the_layer() -> None:
    model = nn.Sequential(*stack(), nn.Softmax(1))
    assert Deconvnet(model)(images(), "4", 0).any()


LINEAR: dict[str, Callable] = {
    "average": nn.AvgPool2d(2),
    "a constant added": lambda z: 1 + z - torch.ones(4, 1, 1),
    "a constant factor": lambda z: z * torch.full((4, 1, 1), 2.0) / 3,
    "channels": lambda z: torch.cat([z[:, 2:], z[:, :2]], 1),
    "a split": lambda z: torch.cat(z.chunk(2, dim=1)[::-1], 1),
    "a shuffle": lambda z: z.view(len(z), 2, 2, 16, 16).transpose(1, 2).contiguous().view_as(z),
    "padding": lambda z: F.pad(z, (1, 1, 1, 1), mode="reflect"),
    "upsampling": lambda z: F.interpolate(z, scale_factor=2, mode="bilinear"),
    "dropout": nn.Dropout2d(),
    "a shape": lambda z: z.reshape(z.shape[0], z.size(1), *z.shape[2:]).clone(),
    "a transposed convolution": lambda z: F.conv_transpose2d(z, torch.ones(4, 4, 2, 2), stride=2),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_passes_backwards_as_it_is(name: str) -> None:
    model, x = Between(LINEAR[name]), images() - 0.5
    gradient = back_project(model, x, "conv2", 0)
    torch.testing.assert_close(guided_backprop(model, x, "conv2", 0), gradient)
    torch.testing.assert_close(Deconvnet(model)(x, "conv2", 0), activation_times_gradient(model, x))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nn.BatchNorm2d(4), "batch_norm: the deconvnet has no rule for batch normalization; try guided_backprop"),
        (lambda z: z.relu() + z, "add: the deconvnet has no rule for skip connections"),
        (lambda z: z.relu().add_(z), "add_: .* skip connections"),
        (lambda z: z - z.relu(), "sub: .* skip connections"),
        (lambda z: sum([z, z, z]), "add: .* skip connections"),
        (torchvision.models.resnet.BasicBlock(4, 4), "batch normalization"),
    ],
)
def test_batch_normalization_and_skip_connections_are_refused_by_the_deconvnet_only(
    function: Callable, message: str
) -> None:
    model = Between(function)
    assert guided_backprop(model, images(), "conv2", 0).any()
    with pytest.raises(ValueError, match=message):
        Deconvnet(model)(images(), "conv2", 0)


def in_place_compiled(model: nn.Module) -> nn.Module:
    model.compile()
    return model


def traced(model: nn.Module) -> nn.Module:
    return torch.jit.trace(model, images())


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("compile", [torch.compile, in_place_compiled, traced], ids=["compile", "in place", "traced"])
def test_compiled_networks_are_refused(compile: Callable) -> None:
    with pytest.raises(ValueError, match="is compiled, so that its ReLUs cannot be found"):
        guided_backprop(compile(stack()), images(), "3", 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": 5}, "'4' has the units 0 to 4, got"),
        ({"unit": [0, -1]}, "units 0 to 4, got"),
        ({"unit": 0.5}, "one unit, or one for each of 2 images; got 0.5"),
        ({"unit": [0, 1, 2]}, r"got \[0, 1, 2\]"),
        ({"layer": "6"}, "no layer '6'"),
        ({"place": (5, 0)}, r"\(5, 5\) places, so not all of"),
        ({"place": (torch.tensor([0, -1]), torch.tensor([0, 0]))}, "places, so not all of"),
        ({"images": 255 * images()}, "not 0 to 255"),
        ({"images": (255 * images()).byte()}, "must be floats"),
        ({"images": images().mul(torch.tensor([1.0, torch.nan])[:, None, None, None])}, "NaN"),
        ({"images": images()[0]}, r"\(B, C, H, W\), got \(3, 16, 16\)"),
        ({"images": images(colours=1)}, r"images of shape \(B, 3, H, W\)"),
        ({"rule": "guide"}, "got 'guide'"),
    ],
)
def test_what_cannot_be_projected_back_is_refused(rule: str, change: dict[str, object], message: str) -> None:
    model = stack()
    before = state(model)
    with pytest.raises(ValueError, match=message):
        back_project(model, **({"images": images(), "layer": "4", "unit": 0, "rule": rule} | change))
    assert state(model) == before


def test_a_layer_that_runs_twice_cannot_be_projected_back() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu)
    with pytest.raises(ValueError, match="'1' runs more than once"):
        Deconvnet(model)(images(), "1", 0)
    with pytest.raises(ValueError, match="'1' runs more than once"):
        activation_maximization(model, "1", 0, shape=SHAPE)


def test_no_images_have_no_pictures() -> None:
    for rule in RULES:
        assert back_project(stack(), images(0), "4", 0, rule=rule).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_networks_in_another_precision_are_projected_back(dtype: torch.dtype) -> None:
    model, x = stack(), images() - 0.5
    for rule in RULES:
        place = (torch.tensor([2, 1]), torch.tensor([0, 3]))
        expected = back_project(model.float(), x, "3", 0, rule=rule, place=place)
        found = back_project(model.to(dtype), x.to(dtype), "3", 0, rule=rule, place=place)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)


# ---- captum ---------------------------------------------------------------------------------------------------------


def by_captum(method: str, model: nn.Module, x: Tensor, unit: int, place: tuple[int, int]) -> Tensor:
    attribution = getattr(captum, method)(model, model[4]) if "Neuron" in method else getattr(captum, method)(model)
    return attribution.attribute(x.clone().requires_grad_(), (unit, *place)).detach()


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (4, 4)])
def test_captum_agrees_where_windows_do_not_overlap_but_seeds_its_deconvnet_with_1(place: tuple[int, int]) -> None:
    model, x = stack(), images(3) - 0.5
    activation = FeatureMaps(model, "4")(x)["4"][:, 2, *place]
    deconvolved = by_captum("NeuronDeconvolution", model, x, 2, place)
    torch.testing.assert_close(Deconvnet(model)(x, "4", 2, place=place), activation[:, None, None, None] * deconvolved)
    started = back_project(model, x, "4", 2, rule="deconvnet", place=place, start=1.0)
    torch.testing.assert_close(started, deconvolved)
    guided = by_captum("NeuronGuidedBackprop", model, x, 2, place)
    torch.testing.assert_close(back_project(model, x, "4", 2, rule="guided", place=place), guided)
    output = by_captum("Deconvolution", model, x, 2, place)
    torch.testing.assert_close(output, deconvolved)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captum_adds_up_where_windows_overlap_and_the_papers_unpooling_does_not() -> None:
    model, x, place = stack(pool=nn.MaxPool2d(3, 1)), images(3) - 0.5, (2, 3)
    activation = FeatureMaps(model, "4")(x)["4"][:, 2, *place][:, None, None, None]
    deconvolved, picture = (
        by_captum("NeuronDeconvolution", model, x, 2, place),
        Deconvnet(model)(x, "4", 2, place=place),
    )
    assert activation.abs().max() > 0.1
    assert (picture - activation * deconvolved).abs().max() > 0.1 * picture.abs().max()
    guided = by_captum("NeuronGuidedBackprop", model, x, 2, place)  # a gradient on purpose: there the sum is right
    torch.testing.assert_close(back_project(model, x, "4", 2, rule="guided", place=place), guided)


def test_the_rules_differ_from_one_another() -> None:
    pictures = [back_project(stack(), images() - 0.5, "4", 0, rule=rule) for rule in RULES]
    assert not any(torch.allclose(one, other) for one, other in pairwise(pictures))
