"""A task: which images, in which units, and pieces of them where something fires."""

from __future__ import annotations

import pytest
import torch
from tensors import seeded

from labkit.data import Dataset, Split
from labkit.lab.image_tasks import image_task, strongest_pieces

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def colored() -> Dataset:
    """Twelve training and six test images whose label is in their first pixel."""
    parts = []
    for count in (12, 6):
        images = torch.rand(count, 3, 4, 4, generator=seeded(count))
        images[:, 0, 0, 0] = torch.arange(count) / 20
        parts.append(Split(images, torch.arange(count)))
    about = {"name": "made up", "source": "made up", "licence": "none", "url": "none"}
    return Dataset(train=parts[0], test=parts[1], **about)


def test_images_are_drawn_with_their_labels_and_another_seed_draws_others(colored: Dataset) -> None:
    task, other = (image_task("colored", colored, (8, 6), seeded(k)) for k in (0, 1))
    assert len(task.train) == 8
    assert len(set(task.train_labels.tolist())) == 8
    assert not torch.equal(task.train_labels, other.train_labels)
    assert torch.allclose(task.pixels(task.train)[:, 0, 0, 0], task.train_labels / 20, atol=1e-5)


def test_more_than_there_are_is_all_of_them(colored: Dataset) -> None:
    task = image_task("colored", colored, (100, 100), seeded())
    assert sorted(task.train_labels.tolist()) == list(range(12))
    assert len(task.test) == 6


def test_pixels_are_standardized_and_the_box_holds_black_and_white(colored: Dataset) -> None:
    task = image_task("colored", colored, (12, 6), seeded())
    assert torch.allclose(task.train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(task.train.std((0, 2, 3)), torch.ones(3), atol=1e-5)
    given = image_task("colored", colored, (12, 6), seeded(), statistics=((0.5,) * 3, (0.25,) * 3))
    assert torch.equal(given.box[0].flatten(), torch.full((3,), -2.0))
    assert torch.equal(given.box[1].flatten(), torch.full((3,), 2.0))


def test_pieces_lie_where_the_map_fires_and_come_from_different_images() -> None:
    images, outside = torch.zeros(3, 1, 16, 16), torch.tensor(-1.0).view(1, 1, 1)
    images[0, 0, 0, 0], images[1, 0, 4, 12], images[2, 0, 12, 12] = 1.0, 2.0, 3.0  # where places of a stride of 4 look
    a = torch.zeros(3, 4, 4)
    a[0, 0, 0], a[1, 1, 3], a[2, 3, 3], a[2, 3, 2] = 0.5, 0.9, 0.7, 0.6
    pieces = strongest_pieces(images, a, 2, 4, 4, outside)
    assert pieces.shape == (2, 1, 4, 4)
    assert pieces[:, 0, 2, 2].tolist() == [2.0, 3.0]
    third = strongest_pieces(images, a, 3, 8, 4, outside)[2, 0]
    assert third[4, 4] == 1.0
    assert (third[:4] == -1).all()  # beyond the rim


def test_more_pieces_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot come from 2 images"):
        strongest_pieces(torch.zeros(2, 1, 8, 8), torch.zeros(2, 4, 4), 3, 4, 2)
