"""Digits and faces lie on photographs where they were put, and only there."""

from __future__ import annotations

import math

import pytest
import torch
from tensors import seeded
from torch import Tensor

import labkit.data
from labkit.data import Photographs, Split, digit_scenes, place, scenes, soft_disc

pytestmark = pytest.mark.usefixtures("one_thread")

GREY = (0.2125, 0.7154, 0.0721)


@pytest.fixture(scope="module")
def photos() -> Photographs:
    return labkit.data.load("photos")


@pytest.fixture(scope="module")
def digits() -> Split:
    return labkit.data.load("mnist").test


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed))


def black(count: int, side: int) -> Tensor:
    return torch.zeros(count, 3, side, side)


def middle_of(scene: Tensor) -> tuple[float, float]:
    """(right, down) of the middle of a scene (3, S, S): the centre of mass of what shines there, in pixels."""
    light, side = scene.sum(0), scene.shape[-1]
    place = torch.arange(side) - (side - 1) / 2
    return tuple(((light.sum(axis) @ place) / light.sum()).item() for axis in (0, 1))


def test_ink_at_its_own_size_covers_as_much_as_the_pattern_says() -> None:
    pattern, behind, ink = random(2, 1, 6, 6), random(2, 3, 10, 10, seed=1), torch.tensor([0.9, 0.5, 0.1])
    scene = place(pattern, behind, size=6, colour=ink)
    covered = (1 - pattern) * behind[:, :, 2:8, 2:8] + pattern * ink[:, None, None]
    torch.testing.assert_close(scene[:, :, 2:8, 2:8], covered)


def test_outside_the_pattern_the_background_is_the_same_to_the_last_bit() -> None:
    pattern, behind = random(3, 1, 6, 6), random(3, 3, 20, 20, seed=1)
    scene = place(pattern, behind, size=8, angle=30, shift=(2, -1))
    far = torch.ones(20, 20, dtype=torch.bool)
    far[2:17, 5:19] = False  # more than the square's diagonal around its middle
    assert torch.equal(scene[..., far], behind[..., far])
    assert not torch.equal(scene, behind)
    bright = place(pattern, behind, size=8, angle=30, shift=(2, -1), brightness=0.7)
    assert torch.equal(bright[..., far], behind[..., far] * 0.7)


def test_a_pattern_without_ink_changes_nothing() -> None:
    behind = random(2, 3, 9, 9)
    assert torch.equal(place(torch.zeros(2, 1, 5, 5), behind, size=7, angle=12), behind)


def test_ink_is_white_when_no_colour_is_given_and_each_pattern_may_have_its_own() -> None:
    solid = torch.ones(2, 1, 4, 4)
    assert (place(solid, black(2, 4), size=4) == 1).all()
    colours = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.25]])
    assert torch.equal(place(solid, black(2, 4), size=4, colour=colours)[:, :, 1, 1], colours)


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_a_positive_angle_turns_counter_clockwise(quarters: int) -> None:
    pattern = random(1, 1, 8, 8)
    turned = place(pattern, black(1, 8), size=8, angle=90.0 * quarters)
    torch.testing.assert_close(turned[:, :1], torch.rot90(pattern, quarters, dims=(2, 3)), atol=1e-5, rtol=0)


def test_a_turned_shifted_pattern_is_turned_about_its_own_middle() -> None:
    scene = place(torch.ones(1, 1, 5, 5), black(1, 31), size=5, angle=37, shift=(6, -4))
    assert middle_of(scene[0]) == pytest.approx((6, -4), abs=1e-3)


@pytest.mark.parametrize("size", [5, 9.5, 14, 20, 33])
def test_size_is_the_side_of_the_pattern_in_pixels_of_the_scene(size: float) -> None:
    scene = place(torch.ones(1, 1, 14, 14), black(1, 40), size=size)
    assert scene[0, 0].sum().sqrt().item() == pytest.approx(size, rel=0.02)  # its area


def test_a_large_pattern_shows_its_middle_only() -> None:
    pattern = torch.zeros(1, 1, 10, 10)
    pattern[:, :, 4:6, 4:6] = 1
    torch.testing.assert_close(place(pattern, black(1, 8), size=100), torch.ones(1, 3, 8, 8))


def test_shrinking_averages_instead_of_leaving_pixels_out() -> None:
    stripes = (torch.arange(28) % 2).float().expand(1, 1, 28, 28)
    for size in (7, 10.5):  # without antialiasing the stripes would be black, white or moiré
        inner = place(stripes, black(1, 28), size=size)[0, 0, 12:16, 12:16]
        torch.testing.assert_close(inner, torch.full((4, 4), 0.5), atol=0.07, rtol=0)


def test_brightness_is_of_the_whole_scene_and_clipped() -> None:
    pattern, behind = random(4, 1, 6, 6), random(4, 3, 8, 8, seed=1)
    scene = place(pattern, behind, size=6)
    for factor in (0.0, 0.5, 1.7):
        torch.testing.assert_close(place(pattern, behind, size=6, brightness=factor), (scene * factor).clamp(0, 1))


def test_one_value_for_all_is_the_same_as_that_value_for_each() -> None:
    pattern, behind = random(3, 1, 12, 12), random(3, 3, 16, 16, seed=1)
    once = place(pattern, behind, size=9, angle=20, brightness=0.8, shift=(1, 2), colour=(1, 0, 0))
    each = place(
        pattern,
        behind,
        size=torch.full((3,), 9),
        angle=torch.full((3,), 20),
        brightness=torch.full((3,), 0.8),
        shift=torch.tensor([[1, 2]] * 3),
        colour=torch.tensor([[1, 0, 0]] * 3),
    )
    assert torch.equal(once, each)


def test_each_scene_of_a_batch_is_the_one_it_would_be_alone() -> None:
    pattern, behind = random(5, 1, 12, 12), random(5, 3, 16, 16, seed=1)
    size, angle = torch.tensor([3.2, 7, 12, 15, 6.5]), torch.tensor([0.0, 90, -30, 10, 200])
    together = place(pattern, behind, size=size, angle=angle)
    for i in range(5):
        alone = place(pattern[i : i + 1], behind[i : i + 1], size=size[i].item(), angle=angle[i].item())
        torch.testing.assert_close(together[i : i + 1], alone)


def test_a_pattern_with_an_alpha_is_shown_in_grey_where_alpha_says() -> None:
    face, behind, alpha = random(2, 1, 6, 6), random(2, 3, 6, 6, seed=1), random(2, 1, 6, 6, seed=2)
    scene = place(face, behind, size=6, alpha=alpha)
    torch.testing.assert_close(scene, alpha * face + (1 - alpha) * behind)
    one_for_all = place(face, behind, size=6, alpha=alpha[0, 0])
    assert torch.equal(one_for_all, place(face, behind, size=6, alpha=alpha[:1].expand(2, -1, -1, -1)))


def test_what_alpha_hides_does_not_shine_through_a_resized_pattern() -> None:
    hidden = torch.ones(1, 1, 25, 25)
    hidden[:, :, 5:20, 5:20] = 0.3
    alpha = (hidden == hidden.min()).float()[0, 0]
    scene = place(hidden, torch.full((1, 3, 32, 32), 0.3), size=17.3, angle=33, alpha=alpha)
    torch.testing.assert_close(scene, torch.full((1, 3, 32, 32), 0.3))


@pytest.mark.parametrize(("height", "width"), [(25, 25), (8, 20), (1, 1)])
def test_a_soft_disc_is_opaque_inside_and_fades_to_nothing_at_the_border(height: int, width: int) -> None:
    disc = soft_disc(height, width)
    assert disc.shape == (height, width)
    assert disc[height // 2, width // 2] == 1
    assert 0 <= disc.min() <= disc.max() <= 1
    torch.testing.assert_close(disc, disc.flip(0))
    torch.testing.assert_close(disc, disc.flip(1))
    if height > 1:
        assert disc[0, 0] == 0
        assert disc[height // 2, 0] < 0.1
        assert (disc[height // 2, : width // 2].diff() >= 0).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"patterns": torch.zeros(2, 3, 6, 6)},
            r"patterns must be square images \(N, 1, side, side\), got shape \(2, 3",
        ),
        ({"patterns": torch.zeros(2, 1, 6, 7)}, r"patterns must be square images .* got shape \(2, 1, 6, 7\)"),
        ({"backgrounds": torch.zeros(2, 1, 9, 9)}, r"backgrounds must be square images \(N, 3, side, side\)"),
        ({"backgrounds": torch.zeros(3, 3, 9, 9)}, "each pattern needs a background, got 2 patterns, 3 backgrounds"),
        ({"patterns": torch.full((2, 1, 6, 6), 255.0)}, r"patterns must have values in \[0, 1\]"),
        ({"backgrounds": torch.full((2, 3, 9, 9), math.nan)}, r"backgrounds must have values in \[0, 1\]"),
        ({"size": 0}, "every size must be above 0 pixels, got 0"),
        ({"size": torch.tensor([5.0, -1.5])}, "every size must be above 0 pixels, got -1.5"),
        ({"size": math.nan}, "size has values that are no finite numbers"),
        ({"size": torch.ones(3)}, r"size must have the shape \(\) or \(2,\), got \(3,\)"),
        ({"angle": math.inf}, "angle has values that are no finite numbers"),
        ({"brightness": -0.1}, "no brightness may be below 0, got -0.1"),
        ({"shift": (1.0, math.nan)}, "shift has values that are no finite numbers"),
        ({"shift": 3.0}, r"shift must have the shape \(2,\) or \(2, 2\), got \(\)"),
        ({"colour": (1, 1)}, r"colour must have the shape \(3,\) or \(2, 3\), got \(2,\)"),
        ({"alpha": torch.ones(6, 5)}, r"the shape of the patterns, \(2, 1, 6, 6\), or of one .* got \(6, 5\)"),
        ({"alpha": torch.full((6, 6), 1.5)}, r"alpha must lie in \[0, 1\]"),
        ({"alpha": torch.ones(6, 6), "colour": (1, 1, 1)}, "give alpha or colour, not both"),
    ],
)
def test_what_cannot_be_placed_is_refused_in_one_sentence(change: dict, sentence: str) -> None:
    given = {"patterns": torch.zeros(2, 1, 6, 6), "backgrounds": torch.zeros(2, 3, 9, 9), "size": 6} | change
    with pytest.raises(ValueError, match=sentence):
        place(**given)


def made(digits: Split, photos: Photographs, seed: int = 0, **given: object) -> labkit.data.Scenes:
    options = {"side": 32, "part": "train", "sizes": (18, 28), "count": 200} | given
    return digit_scenes(digits, photos, generator=seeded(seed), **options)


def test_digit_scenes_have_pictures_digits_and_photographs(digits, photos) -> None:
    scenes = made(digits, photos, count=None)
    assert scenes.images.shape == (1000, 3, 32, 32)
    assert scenes.images.dtype == torch.float32
    assert 0 <= scenes.images.min() < scenes.images.max() <= 1
    assert torch.equal(scenes.labels, digits.labels)
    assert scenes.backgrounds.unique().tolist() == list(range(6))


def test_digits_come_in_turn_and_again_from_the_first(digits, photos) -> None:
    few = Split(digits.images[:7], digits.labels[:7])
    assert made(few, photos, count=16).labels.tolist() == [*range(7), *range(7), 0, 1]


def test_a_digit_says_nothing_about_the_photograph_behind_it(digits, photos) -> None:
    scenes = made(digits, photos, count=6000)
    together = torch.zeros(10, 6).index_put_((scenes.labels, scenes.backgrounds), torch.ones(6000), accumulate=True)
    assert (together - 100).abs().max() < 40  # four standard deviations of a count of 100


def test_digit_scenes_depend_on_the_generator_alone(digits, photos) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (made(digits, photos, seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def spied(monkeypatch) -> dict[str, Tensor]:
    """What digit_scenes hands on: its opacity, background, paint and brightness, once it has been called."""
    seen: dict[str, Tensor] = {}
    cast, finish = scenes._cast, scenes._finish

    def watched_cast(layers, side, size, angle, shift):
        seen.update(size=size, angle=angle, shift=shift)
        return cast(layers, side, size, angle, shift)

    def watched_finish(behind, opacity, paint, brightness):
        seen.update(behind=behind.clone(), opacity=opacity, paint=paint, brightness=brightness)
        return finish(behind, opacity, paint, brightness)

    monkeypatch.setattr(scenes, "_cast", watched_cast)
    monkeypatch.setattr(scenes, "_finish", watched_finish)
    return seen


def test_size_angle_and_brightness_fill_what_they_may_lie_between(digits, photos, monkeypatch) -> None:
    seen = spied(monkeypatch)
    made(digits, photos, count=1000, sizes=(10, 20), angles=(-40, 40), brightness=(0.5, 1.5))
    for name, low, high in (("size", 10, 20), ("angle", -40, 40), ("brightness", 0.5, 1.5)):
        values = (seen[name] - low) / (high - low)
        assert 0 <= values.min() < 0.01
        assert 0.99 < values.max() <= 1
        assert values.mean().item() == pytest.approx(0.5, abs=0.04)


def test_a_digit_stays_inside(digits, photos, monkeypatch) -> None:
    seen = spied(monkeypatch)
    made(digits, photos, count=1000, sizes=(14, 40), angles=(0, 0))
    reach = (seen["shift"].abs() + seen["size"][:, None] / 2 - 16) / seen["size"][:, None]
    assert reach[seen["size"] < 32].max() <= 0.1 + 1e-6
    assert (seen["shift"][seen["size"] >= 40] == 0).all()
    assert seen["shift"].min() < -8  # it does not stay in the middle
    assert seen["shift"].max() > 8


def test_the_ink_contrasts_with_what_it_covers(digits, photos, monkeypatch) -> None:
    seen = spied(monkeypatch)
    made(digits, photos, count=1000)
    weight = seen["opacity"] / seen["opacity"].sum((1, 2, 3), keepdim=True)
    grey = torch.tensor(GREY).view(1, 3, 1, 1)
    covered = (weight * seen["behind"] * grey).sum((1, 2, 3))
    colour = seen["paint"].amax((2, 3)) / seen["opacity"].amax((1, 2, 3))[:, None]
    ink = (colour * grey[..., 0, 0]).sum(1)
    assert (ink - covered).abs().min() > 0.35 - 1e-4
    assert -1e-5 < colour.min() < colour.max() < 1 + 1e-5
    assert (ink > covered).float().mean().item() == pytest.approx(0.6, abs=0.2)  # light and dark, as there is room


def test_ink_on_middle_grey_is_almost_black_or_almost_white() -> None:
    ink = scenes._contrasting(torch.full((1000,), 0.5), seeded())
    brightness = ink @ torch.tensor(GREY)
    assert ((brightness <= 0.15 + 1e-5) | (brightness >= 0.85 - 1e-5)).all()
    assert (brightness < 0.5).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert ink.min() >= 0
    assert ink.max() <= 1


def test_test_scenes_have_nothing_of_the_training_photographs(digits, photos, monkeypatch) -> None:
    halves = {name: torch.zeros_like(image) for name, image in photos.colour.items()}
    for image in halves.values():
        image[:, :, image.shape[2] - image.shape[2] // 2 :] = 1  # black on the left, white on the right
    seen = spied(monkeypatch)
    half = Photographs({}, name="", source="", licence="", url="", colour=halves)
    made(digits, half, part="train")
    assert (seen["behind"] == 0).all()  # at every scale
    made(digits, half, part="test")
    assert seen["behind"].min() > 0.999


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"part": "validation"}, "unknown part 'validation'"),
        ({"side": 300}, "side of a background must lie between 1 and 225 pixels, got 300"),
        ({"count": 0}, "at least one background is needed, got 0"),
        ({"sizes": (20, 10)}, "sizes must be two numbers, the lower first, got 20 and 10"),
        ({"sizes": (0, 10)}, r"sizes must be above 0 and brightness not below 0, got \(0, 10\)"),
        ({"angles": (math.nan, 1)}, "angles must be two numbers, the lower first, got nan and 1"),
        ({"brightness": (-1, 1)}, "brightness not below 0"),
        ({"brightness": (1, math.inf)}, "brightness must be two numbers"),
    ],
)
def test_digit_scenes_that_cannot_be_are_refused_in_one_sentence(digits, photos, given: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        made(digits, photos, **given)


def test_scenes_are_made_of_colour_images_only_of_one_channel_digits(photos) -> None:
    coloured = Split(torch.zeros(4, 3, 28, 28), torch.arange(4))
    with pytest.raises(ValueError, match="digits must be square images"):
        made(coloured, photos)
