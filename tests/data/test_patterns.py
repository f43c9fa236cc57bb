"""Patterns to look for a detector with: what is shown, on what it lies, and what finding and testing do not share."""

from __future__ import annotations

import pytest
import torch
from tensors import seeded
from torch import Tensor

import labkit.data
from labkit.data import Dataset, Patterns, Photographs, Split, digit_patterns, face_patterns, place, soft_disc

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = torch.tensor([3, 7, 3, 8, 7, 3])  # of the made-up patterns


@pytest.fixture(scope="module")
def photos() -> Photographs:
    return labkit.data.load("photos")


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return labkit.data.load("mnist")


@pytest.fixture(scope="module")
def digits(mnist, photos) -> Patterns:
    return digit_patterns(mnist, photos)


@pytest.fixture(scope="module")
def original() -> Dataset:
    return labkit.data.load("faces")


@pytest.fixture(scope="module")
def faces(original, photos) -> Patterns:
    return face_patterns(original, photos)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed))


def black(count: int, side: int = 6) -> Tensor:
    return torch.zeros(count, 3, side, side)


def half_white() -> Photographs:
    """One photograph, black on its left half and white on the right."""
    picture = torch.zeros(3, 20, 40)
    picture[..., 20:] = 1
    return Photographs({}, name="half", source="made up", licence="none", url="none", colour={"half": picture})


def made_up(opacity: Tensor | None = None) -> Patterns:
    """Six patterns of 6 x 6 pixels for finding, another six for testing."""
    parts = {part: Split(random(6, 1, 6, 6, seed=seed), LABELS) for seed, part in enumerate(("find", "test"))}
    return Patterns(parts, {3: "a three"}, half_white(), opacity)


# ---- which patterns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_others_are_shown_as_of_the_kind(count: int) -> None:
    images, positive = made_up().on_photographs("find", 3, count, 8, seeded())
    assert images.shape == (2 * count, 3, 8, 8)
    assert positive.dtype == torch.bool
    assert positive.tolist() == [True] * count + [False] * count


def test_a_part_that_has_fewer_shows_all_that_it_has() -> None:
    patterns = made_up()
    one_other = Split(patterns.parts["find"].images[:3], LABELS[:3])
    images, positive = Patterns({"find": one_other}, patterns.kinds, patterns.photographs).on_photographs(
        "find", 3, 10, 8, seeded()
    )
    assert len(images) == 3
    assert positive.tolist() == [True, True, False]


@pytest.mark.parametrize("part", ["find", "test"])
def test_the_first_of_a_part_are_shown_in_white_ink_those_of_the_kind_before_the_others(part: str) -> None:
    patterns = made_up()
    images, _ = patterns.on_photographs(part, 3, 2, 6, seeded(), size=1.0, behind=black(4))
    expected = patterns.parts[part].images[[0, 2, 1, 3]]
    torch.testing.assert_close(images, expected.expand(-1, 3, -1, -1))


def test_digits_are_for_finding_from_the_training_part_and_for_testing_from_the_other(digits, mnist) -> None:
    assert list(digits.kinds) == list(range(10))
    assert digits.kinds[4] == "digit 4"
    for part, split in (("find", mnist.train), ("test", mnist.test)):
        images, positive = digits.on_photographs(part, 4, 5, 28, seeded(), size=1.0, behind=black(10, 28))
        torch.testing.assert_close(images[positive][:, :1], split.images[split.labels == 4][:5])
        torch.testing.assert_close(images[~positive][:, :1], split.images[split.labels != 4][:5])


def test_no_pattern_is_for_finding_and_for_testing(digits, faces) -> None:
    for patterns in (digits, faces):
        both = torch.cat([patterns.parts["find"].flat, patterns.parts["test"].flat])
        assert len(both.unique(dim=0)) == len(both)


# ---- on what they lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "gray"), [("find", 0.0), ("test", 1.0)])
def test_finding_has_the_left_half_of_the_photographs_and_testing_the_right(part: str, gray: float) -> None:
    images, _ = made_up().on_photographs(part, 3, 3, 12, seeded(), size=0.5)
    rim = torch.ones(12, 12, dtype=torch.bool)
    rim[2:10, 2:10] = False
    torch.testing.assert_close(images[..., rim], torch.full_like(images[..., rim], gray))


def test_the_same_seed_gives_the_same_images_and_another_seed_others(digits) -> None:
    first, again, other = (digits.on_photographs("find", 2, 4, 32, seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_drawn_from_the_global_generator(digits) -> None:
    before = torch.get_rng_state()
    digits.on_photographs("find", 2, 4, 32, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_change_of_the_pattern_leaves_the_photographs_as_they_are(digits) -> None:
    plain, turned = (digits.on_photographs("find", 2, 4, 32, seeded(), size=0.5, angle=angle)[0] for angle in (0, 30))
    assert torch.equal(plain[..., :4, :], turned[..., :4, :])
    assert not torch.equal(plain, turned)


def test_on_a_background_that_is_given_nothing_is_drawn() -> None:
    generator = seeded(5)
    made_up().on_photographs("find", 3, 2, 6, generator, behind=black(4))
    assert torch.equal(generator.get_state(), seeded(5).get_state())


@pytest.mark.parametrize("opacity", [None, soft_disc(6, 6)], ids=["ink", "gray"])
@pytest.mark.parametrize(
    ("given", "placed"),
    [
        ({}, {"size": 0.8 * 16}),
        ({"size": 0.5}, {"size": 8.0}),
        ({"angle": 25.0}, {"size": 0.8 * 16, "angle": 25.0}),
        ({"light": 0.6}, {"size": 0.8 * 16, "brightness": 0.6}),
        ({"size": 1.0, "angle": -90.0, "light": 1.5}, {"size": 16.0, "angle": -90.0, "brightness": 1.5}),
    ],
)
def test_size_angle_and_light_are_those_of_place(opacity: Tensor | None, given: dict, placed: dict) -> None:
    patterns, behind = made_up(opacity), random(4, 3, 16, 16, seed=2)
    images, _ = patterns.on_photographs("test", 3, 2, 16, seeded(), behind=behind, **given)
    expected = place(patterns.parts["test"].images[[0, 2, 1, 3]], behind, alpha=opacity, **placed)
    assert torch.equal(images, expected)


# ---- faces ----------------------------------------------------------------------------------------------------------


def test_no_patch_with_a_black_border_is_left_and_no_face_is_missing(faces, original) -> None:
    others = 0
    for part, split in (("find", original.train), ("test", original.test)):
        kept = faces.parts[part].labels
        whole = (split.flat == 0).float().mean(1) < 0.02
        assert kept.tolist() == split.labels[whole].tolist()
        assert kept.sum() == 50
        others += (kept == 0).sum().item()
    assert others == 100 - 48


@pytest.mark.parametrize("part", ["find", "test"])
def test_faces_and_patches_have_one_mean_and_one_contrast(faces, part: str) -> None:
    images = faces.parts[part].flat
    assert images.min() >= 0
    assert images.max() <= 1
    whole = images[(images.min(1).values > 0) & (images.max(1).values < 1)]  # of these nothing was cut off
    assert len(whole) > 10
    torch.testing.assert_close(whole.mean(1), torch.full((len(whole),), 0.5))
    torch.testing.assert_close(whole.std(1), torch.full((len(whole),), 0.2))


def test_only_mean_and_contrast_of_a_face_are_changed(faces, original) -> None:
    for part, split in (("find", original.train), ("test", original.test)):
        shown = faces.parts[part].images[faces.parts[part].labels == 1]
        for face, changed in zip(split.images[split.labels == 1], shown, strict=True):
            torch.testing.assert_close(changed, (0.5 + 0.2 * (face - face.mean()) / face.std()).clamp(0, 1))


def test_neither_the_person_nor_the_cat_is_among_the_scenery_and_the_photographs_keep_them(faces, photos) -> None:
    assert tuple(faces.photographs.colour) == ("coffee", "rocket", "china", "flower")
    assert {"astronaut", "chelsea"} < photos.colour.keys()


def test_a_face_is_shown_in_a_disc_in_its_own_gray(faces) -> None:
    behind = random(1, 3, 25, 25).expand(20, -1, -1, -1)
    images, positive = faces.on_photographs("find", 1, 10, 25, seeded(), size=1.0, behind=behind)
    assert positive.sum() == 10
    torch.testing.assert_close(images[..., 0, 0], behind[..., 0, 0])
    middle = faces.parts["find"].images[faces.parts["find"].labels == 1][:10, :, 8:17, 8:17]
    torch.testing.assert_close(images[positive][..., 8:17, 8:17], middle.expand(-1, 3, -1, -1))


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "kind", "got"), [("train", 3, "'train' and 3"), ("find", 7, "'find' and 7")])
def test_an_unknown_part_or_kind_is_answered_with_the_known_ones(part: str, kind: int, got: str) -> None:
    with pytest.raises(ValueError, match=rf"^there are find, test and the kinds 3; got {got}$"):
        made_up().on_photographs(part, kind, 2, 8, seeded())


def test_what_is_no_face_cannot_be_looked_for(faces) -> None:
    with pytest.raises(ValueError, match="the kinds 1; got 'find' and 0"):
        faces.on_photographs("find", 0, 2, 32, seeded())


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ("size must be above 0", {"size": 0.0}),
        ("no brightness may be below 0", {"light": -1.0}),
        ("each pattern needs a background", {"behind": black(3)}),
    ],
)
def test_what_cannot_be_placed_is_refused(problem: str, options: dict) -> None:
    with pytest.raises(ValueError, match=problem):
        made_up().on_photographs("find", 3, 2, 8, seeded(), **options)
