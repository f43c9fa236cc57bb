"""Seven photographs that come with installed packages: the same everywhere, and never fetched."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import torch
from tensors import seeded
from torch import Tensor

import labkit.data
from labkit import PROFILES
from labkit.data import DataError, Photographs, backgrounds

SHAPES = {
    "astronaut": (512, 512),
    "camera": (512, 512),
    "chelsea": (300, 451),
    "coffee": (400, 600),
    "rocket": (427, 640),
    "china": (427, 640),
    "flower": (427, 640),
}
COLOURED = ("astronaut", "chelsea", "coffee", "rocket", "china", "flower")


@pytest.fixture(scope="module")
def photos() -> Photographs:
    return labkit.data.load("photos")


@pytest.fixture
def no_network(monkeypatch) -> Iterator[list]:
    """Any attempt to reach another machine fails, and is noted."""
    attempts = []

    def refuse(*target: object, **_: object) -> None:
        attempts.append(target)
        raise OSError("there is no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    return attempts


def tiny(**sizes: tuple[int, int]) -> Photographs:
    """Made-up photographs in which every pixel has a value of its own."""
    images, first = {}, 0
    for name, (height, width) in sizes.items():
        images[name] = torch.arange(first, first + height * width, dtype=torch.float32).reshape(height, width)
        first += height * width
    return Photographs(images, name="tiny", source="made up", licence="none", url="none")


def test_the_photographs_are_grey_and_between_black_and_white(photos) -> None:
    assert {name: tuple(image.shape) for name, image in photos.images.items()} == SHAPES
    for image in photos.images.values():
        assert image.dtype == torch.float32
        assert image.is_contiguous()
        assert 0 <= image.min() < 0.05
        assert 0.7 < image.max() <= 1


def test_grey_is_the_brightness_of_the_coloured_original(photos) -> None:
    red, green, blue = torch.from_numpy(skimage.data.chelsea() / 255.0).unbind(-1)
    brightness = 0.2125 * red + 0.7154 * green + 0.0721 * blue
    torch.testing.assert_close(photos.images["chelsea"], brightness.float())
    torch.testing.assert_close(photos.images["camera"], torch.from_numpy(skimage.data.camera() / np.float32(255)))


def test_the_grey_photographs_are_the_same_to_the_last_bit_as_ever(photos) -> None:
    pixels = b"".join(image.numpy().tobytes() for image in photos.images.values())  # a lesson's records rest on them
    assert list(photos.images) == list(SHAPES)
    assert hashlib.sha256(pixels).hexdigest() == "ffa814c91017f8c4449e63354d182db1cdb67dfcc67a53527224d9be2203af83"


def test_six_of_the_photographs_are_in_colour_as_well(photos) -> None:
    assert tuple(photos.colour) == COLOURED
    for name, image in photos.colour.items():
        assert image.shape == (3, *SHAPES[name])
        assert image.dtype == torch.float32
        assert image.is_contiguous()
        assert 0 <= image.min() < 0.05
        assert 0.8 < image.max() <= 1
    first = torch.tensor(skimage.data.chelsea()[0, 0]) / 255
    assert torch.equal(photos.colour["chelsea"][:, 0, 0], first)


def test_colour_and_grey_are_the_same_picture(photos) -> None:
    for name, image in photos.colour.items():
        brightness = torch.tensor([0.2125, 0.7154, 0.0721]) @ image.flatten(1)
        torch.testing.assert_close(brightness.view(SHAPES[name]), photos.images[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_the_same_photographs_and_none_needs_the_network(photos, profile, no_network) -> None:
    again = labkit.data.load("photos", profile=profile)
    assert list(again.images) == list(photos.images)
    for one, other in zip(again.images.values(), photos.images.values(), strict=True):
        assert torch.equal(one, other)
    assert no_network == []


def test_the_licence_names_every_photograph_and_whoever_made_it(photos) -> None:
    for name in photos.images:
        assert name in photos.licence
    for licence in ("public domain", "CC0", "CC BY 2.0"):
        assert licence in photos.licence
    for author in ("NASA", "SpaceX", "danielbuechele", "vultilion"):  # a CC BY licence asks for it
        assert author in photos.licence
    assert photos.name == "photos"
    assert photos.source.endswith(".")
    assert photos.url.startswith("https://")


@pytest.mark.parametrize("side", [1, 8, 12])
def test_patches_are_rows_of_pixels_in_the_range_of_the_photographs(photos, side: int) -> None:
    patches = photos.patches(side, 700, seeded())
    assert patches.shape == (700, side * side)
    assert patches.dtype == torch.float32
    assert 0 <= patches.min() < patches.max() <= 1


def test_patches_depend_on_the_generator_alone(photos) -> None:
    first, again, other = (photos.patches(12, 100, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_two_draws_from_one_generator_differ(photos) -> None:
    generator = seeded()
    assert not torch.equal(photos.patches(12, 100, generator), photos.patches(12, 100, generator))


def windows(image: Tensor, side: int) -> set[tuple[float, ...]]:
    """Every window of a photograph, cut out by hand."""
    height, width = image.shape
    return {
        tuple(image[y : y + side, x : x + side].flatten().tolist())
        for y in range(height - side + 1)
        for x in range(width - side + 1)
    }


def test_every_patch_is_a_window_of_the_photograph_whose_turn_it_is() -> None:
    photos = tiny(wide=(5, 9), high=(8, 4))
    patches = photos.patches(3, 400, seeded())
    for image, drawn in zip(photos.images.values(), patches.split(200), strict=True):
        seen = {tuple(patch) for patch in drawn.tolist()}
        assert seen == windows(image, 3)  # of so many draws from so few places none is left out, nor the last row


def test_a_patch_of_a_real_photograph_is_found_in_it(photos) -> None:
    patch = photos.patches(12, 7, seeded())[0].reshape(12, 12)
    image = photos.images["astronaut"]
    corners = (image[:-11, :-11] == patch[0, 0]).nonzero().tolist()
    assert any(torch.equal(image[y : y + 12, x : x + 12], patch) for y, x in corners)


@pytest.mark.parametrize(("count", "shares"), [(3, [1, 1, 1]), (300, [100, 100, 100]), (11, [3, 4, 4])])
def test_every_photograph_contributes_its_share_whatever_its_size(count: int, shares: list[int]) -> None:
    photos = tiny(small=(4, 4), large=(40, 40), wide=(4, 90))
    patches = photos.patches(4, count, seeded())
    assert len(patches) == count
    found = [sum(image.min() <= patch[0] <= image.max() for patch in patches) for image in photos.images.values()]
    assert found == shares


def test_changing_a_patch_leaves_the_photographs_alone() -> None:
    photos = tiny(only=(6, 6))
    before = photos.images["only"].clone()
    photos.patches(2, 50, seeded()).zero_()
    assert torch.equal(photos.images["only"], before)


def test_a_patch_may_be_as_large_as_the_smallest_photograph() -> None:
    photos = tiny(small=(4, 6), large=(9, 9))
    assert photos.patches(4, 2, seeded()).shape == (2, 16)


@pytest.mark.parametrize("side", [0, -1, 301])
def test_a_patch_that_does_not_fit_into_every_photograph_is_refused(photos, side: int) -> None:
    with pytest.raises(ValueError, match=f"the side of a patch must lie between 1 and 300 pixels, got {side}"):
        photos.patches(side, 100, seeded())


@pytest.mark.parametrize("count", [0, 6, -7])
def test_fewer_patches_than_photographs_are_refused(photos, count: int) -> None:
    with pytest.raises(ValueError, match=f"at least one patch from each of the 7 photographs is needed, got {count}"):
        photos.patches(12, count, seeded())


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no such file"), ModuleNotFoundError("no pooch"), ConnectionError("no way out")]
)
@pytest.mark.parametrize(("package", "name"), [(skimage.data, "coffee"), (sklearn.datasets, "load_sample_image")])
def test_a_package_without_its_photograph_is_told_in_one_sentence(monkeypatch, package, name, error) -> None:
    def missing(*_: object) -> None:
        raise error

    monkeypatch.setattr(package, name, missing, raising=False)
    with pytest.raises(DataError) as caught:
        labkit.data.load("photos")
    said = str(caught.value)
    assert said == f"a photograph that comes with scikit-image or scikit-learn is missing ({error}): reinstall them."
    assert caught.value.__cause__ is error


def test_a_photograph_that_a_package_no_longer_has_is_told_as_well(monkeypatch) -> None:
    monkeypatch.setattr("labkit.data.photos.FROM_SCIKIT_IMAGE", ("astronaut", "lena"))
    with pytest.raises(DataError, match=r"is missing \(.*lena.*\): reinstall them\."):
        labkit.data.load("photos")


def painted(**widths: int) -> Photographs:
    """Made-up photographs, 40 pixels high, whose red is their index, green 0 left and 1 right, blue the place."""
    colour = {}
    for i, (name, width) in enumerate(widths.items()):
        right = (torch.arange(width) >= width // 2).float().expand(40, width)
        place = torch.linspace(0, 1, 40 * width).view(40, width)
        colour[name] = torch.stack([torch.full((40, width), i / len(widths)), right, place])
    return Photographs({}, name="painted", source="made up", licence="none", url="none", colour=colour)


@pytest.mark.parametrize("side", [1, 7, 32])
def test_backgrounds_are_small_pictures_in_colour_with_the_index_of_their_photograph(photos, side: int) -> None:
    images, labels = backgrounds(photos, side, 60, seeded())
    assert images.shape == (60, 3, side, side)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert 0 <= images.min() < images.max() <= 1
    assert labels.bincount().tolist() == [10] * 6


@pytest.mark.parametrize(("part", "green"), [("train", 0), ("test", 1)])
def test_training_backgrounds_come_from_the_left_and_test_backgrounds_from_the_right(part: str, green: int) -> None:
    images, labels = backgrounds(painted(one=80, other=120), 8, 200, seeded(), part=part)
    torch.testing.assert_close(
        images[:, 1], torch.full((200, 8, 8), float(green))
    )  # at every scale: not a pixel of the other half shines through
    torch.testing.assert_close(images[:, 0], (labels / 2.0)[:, None, None].expand(-1, 8, 8))


def test_backgrounds_show_one_to_four_pixels_of_the_photograph_in_each_of_theirs() -> None:
    images, _ = backgrounds(painted(one=80), 8, 500, seeded())
    down = (images[:, 2, -1, 0] - images[:, 2, 0, 0]) / 7 * 40  # rows of the photograph for each row of the crop
    scale = down.log2().mul(2).round()
    assert scale.unique().tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(down, 2 ** (scale / 2), rtol=0.02, atol=0)


def test_backgrounds_are_cut_from_all_over_their_half() -> None:
    images, _ = backgrounds(painted(one=80), 8, 2000, seeded())
    assert images[:, 2].min() < 0.01
    assert images[:, 2].max() > 0.98


@pytest.mark.parametrize(("count", "shares"), [(2, [0, 1, 1]), (9, [3, 3, 3]), (301, [100, 100, 101])])
def test_every_photograph_has_its_share_of_the_backgrounds_in_random_order(count: int, shares: list[int]) -> None:
    _, labels = backgrounds(painted(a=90, b=200, c=80), 8, count, seeded())
    assert sorted(labels.bincount(minlength=3).tolist()) == shares
    assert count < 9 or labels.tolist() != sorted(labels.tolist())


def test_backgrounds_depend_on_the_generator_alone(photos) -> None:
    (first, whose), (again, same), (other, _) = (backgrounds(photos, 16, 50, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(whose, same)
    assert not torch.equal(first, other)


def test_a_background_may_be_as_large_as_the_smallest_half(photos) -> None:
    assert backgrounds(photos, 225, 6, seeded())[0].shape == (6, 3, 225, 225)  # half of chelsea's 451


@pytest.mark.parametrize("side", [0, -3, 226])
def test_a_background_that_does_not_fit_into_every_half_is_refused(photos, side: int) -> None:
    with pytest.raises(ValueError, match=f"side of a background must lie between 1 and 225 pixels, got {side}"):
        backgrounds(photos, side, 10, seeded())


def test_other_backgrounds_that_cannot_be_are_refused(photos) -> None:
    with pytest.raises(ValueError, match="unknown part 'left' of the photographs: choose one of train, test"):
        backgrounds(photos, 32, 10, seeded(), part="left")
    with pytest.raises(ValueError, match="at least one background is needed, got 0"):
        backgrounds(photos, 32, 0, seeded())
    with pytest.raises(ValueError, match="cut from photographs in colour, and there is none"):
        backgrounds(tiny(grey=(40, 40)), 8, 10, seeded())
