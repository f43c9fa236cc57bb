"""CUB-200-2011 and Cars 196 are read from folders, the first half of the classes to train, the other to test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tensors import seeded
from torch.utils.data import DataLoader

import labkit.data
from labkit.data import DataError, image_folders, random_crops

CLASSES = ("001.Albatross", "002.Auklet", "003.Blackbird", "004.Bunting")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


@pytest.fixture
def kept(data, monkeypatch) -> image_folders.Kept:
    """Four classes of two images in the layout of CUB-200-2011, which now are all there are."""
    small = replace(image_folders.CUB, classes=4, images=8)
    monkeypatch.setattr(image_folders, "CUB", small)
    for name, colour in zip(CLASSES, COLOURS, strict=True):
        folder = data / small.folder / name
        folder.mkdir(parents=True)
        for number, size in enumerate([(40, 30), (20, 50)]):
            Image.new("RGB", size, colour).save(folder / f"{number}.png")
    (data / "CUB_200_2011" / "images.txt").write_text("another file of the archive")
    return small


def says(name: str = "cub200", profile: str = "paper") -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(DataError) as caught:
        labkit.data.load(name, profile=profile)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_the_first_half_of_the_classes_is_for_training_and_labels_stay_as_they_are(kept) -> None:
    loaded = labkit.data.load("cub200", profile="paper")
    assert loaded.train.targets == [0, 0, 1, 1]
    assert loaded.test.targets == [2, 2, 3, 3]
    assert loaded.classes == CLASSES
    for part in (loaded.train, loaded.test):
        assert [label for _, label in part] == part.targets
        for image, label in part:
            torch.testing.assert_close(image[:, 100, 100], torch.tensor(COLOURS[label]) / 255)


def test_images_of_any_size_are_squeezed_so_that_they_fit_into_one_batch(kept) -> None:
    images, labels = next(iter(DataLoader(labkit.data.load("cub200", profile="paper").train, batch_size=4)))
    assert images.shape == (4, 3, 256, 256)
    assert (images.dtype, images.min(), images.max()) == (torch.float32, 0, 1)
    assert labels.tolist() == [0, 0, 1, 1]


def test_a_grey_photograph_becomes_one_in_three_equal_colours(data, kept) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    Image.fromarray(grey).save(data / kept.folder / CLASSES[0] / "0.png")
    image, _ = labkit.data.load("cub200", profile="paper").train[0]
    assert image[0].equal(image[1])
    assert image[0].equal(image[2])
    assert image.std() > 0.1


def test_cars_are_read_from_folders_of_their_own(data, monkeypatch) -> None:
    monkeypatch.setattr(image_folders, "CARS", replace(image_folders.CARS, classes=2, images=2))
    for name in ("AM General Hummer SUV 2000", "Acura RL Sedan 2012"):
        (data / "cars196" / name).mkdir(parents=True)
        Image.new("RGB", (30, 30)).save(data / "cars196" / name / "1.jpg")
    loaded = labkit.data.load("cars196", profile="paper")
    assert (loaded.name, len(loaded.train), len(loaded.test)) == ("Cars 196", 1, 1)
    assert loaded.classes[0] == "AM General Hummer SUV 2000"


@pytest.mark.parametrize("profile", ["quick", "full"])
@pytest.mark.parametrize("name", ["cub200", "cars196"])
def test_they_are_for_paper_only(kept, name: str, profile: str) -> None:
    assert f'is for profile "paper" only: at profile "{profile}" take another data set' in says(name, profile)


def test_without_labkit_data_one_sentence_says_what_to_put_where() -> None:
    assert says() == (
        "CUB-200-2011 must lie at CUB_200_2011/images in the folder LABKIT_DATA, which is not set: get it from "
        "https://www.vision.caltech.edu/datasets/cub_200_2011/ and unpack CUB_200_2011.tgz there."
    )


def test_a_missing_folder_is_named(data) -> None:
    assert says("cars196").startswith(f"Cars 196 must lie at {data / 'cars196'}: get it from https://ai.stanford.edu/")


def test_more_or_fewer_images_or_classes_than_known_are_refused(data, kept) -> None:
    folder = data / kept.folder
    (folder / CLASSES[0] / "0.png").unlink()
    assert f"{folder} holds 7 images in 4 folders, not 8 in 4: unpack CUB_200_2011.tgz there." == says()
    (folder / CLASSES[0] / "1.png").unlink()
    assert says().startswith(f"{folder} holds no folders with images in each: unpack")
    (folder / CLASSES[0]).rmdir()
    assert f"{folder} holds 6 images in 3 folders, not 8 in 4" in says()


def test_an_empty_folder_is_refused(data) -> None:
    (data / "cars196").mkdir()
    assert says("cars196").startswith(f"{data / 'cars196'} holds no folders with images in each")


def test_the_counts_are_those_that_are_published() -> None:
    assert (image_folders.CUB.classes, image_folders.CUB.images) == (200, 11_788)
    assert (image_folders.CARS.classes, image_folders.CARS.images) == (196, 16_185)


# ---- crops ----------------------------------------------------------------------------------------------------------


def test_a_crop_is_a_square_of_the_image_mirrored_or_not() -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    squares = [images[:, :, top : top + 3, left : left + 3] for top in range(2) for left in range(3)]
    squares += [square.flip(3) for square in squares]
    found = set()
    for seed in range(100):
        crops = random_crops(images, 3, seeded(seed))
        for i, crop in enumerate(crops):
            (which,) = [number for number, square in enumerate(squares) if crop.equal(square[i])]
            found.add((i, which))
    assert len(found) == 2 * 12  # every place, mirrored and not, for either image


def test_crops_depend_on_their_generator_alone_and_differ_from_image_to_image() -> None:
    images = torch.rand(1, 3, 32, 32, generator=seeded()).expand(8, -1, -1, -1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    crops = random_crops(images, 24, seeded())
    assert crops.equal(random_crops(images, 24, seeded()))
    assert len(crops.flatten(1).unique(dim=0)) > 4
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("side", [0, 33])
def test_a_crop_that_does_not_fit_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"must lie between 1 and 32 pixels, got {side}"):
        random_crops(torch.rand(2, 3, 32, 40), side, seeded())
