"""Images standardized channel by channel, by the training images or by given statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from labkit.data import Dataset, Omniglot, Split


def images(*channels: list[float]) -> torch.Tensor:
    """Images of one pixel a channel: the values of a channel over the images -> (N, C, 1, 1)."""
    return torch.tensor(channels).T[:, :, None, None]


@pytest.fixture
def data() -> Dataset:
    train = Split(images([0.25, 0.75], [0.5, 0.5]), torch.tensor([0, 1]))
    test = Split(images([1.0], [0.75]), torch.tensor([1]))
    return Dataset(train, test, "made up", "By hand.", "none", "none", classes=("a", "b"))


def test_channels_are_standardized_by_the_training_images(data: Dataset) -> None:
    """They have mean 0 and deviation 1 over these, and a constant channel has no deviation to be divided by."""
    scaled = data.standardized()
    assert torch.allclose(scaled.train.images, images([-(0.5**0.5), 0.5**0.5], [0.0, 0.0]))
    assert torch.allclose(scaled.test.images, images([2**0.5], [0.25]))


def test_the_statistics_count_each_pixel_of_a_channel_once() -> None:
    pixels = torch.randn(5, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    data = Dataset(
        Split(pixels, torch.zeros(5)), Split(pixels[:1], torch.zeros(1)), "made up", "By hand.", "none", "none"
    )
    mean, std = data.channel_statistics()
    assert mean.shape == std.shape == (3, 1, 1)
    for c in range(3):
        assert torch.allclose(mean[c, 0, 0], pixels[:, c].mean())
        assert torch.allclose(std[c, 0, 0], pixels[:, c].std())


@pytest.mark.parametrize("as_given", [list, torch.tensor, lambda values: torch.tensor(values).view(2, 1, 1)])
def test_given_statistics_take_the_place_of_those_of_the_training_images(data: Dataset, as_given) -> None:
    scaled = data.standardized(as_given([0.25, 0.5]), as_given([0.5, 0.25]))
    assert torch.equal(scaled.train.images, images([0.0, 1.0], [0.0, 0.0]))
    assert torch.equal(scaled.test.images, images([1.5], [1.0]))


def test_labels_and_what_describes_the_set_stay(data: Dataset) -> None:
    scaled = data.standardized()
    assert replace(scaled, train=data.train, test=data.test).__dict__ == data.__dict__
    assert torch.equal(scaled.train.labels, data.train.labels)
    assert torch.equal(data.test.images, images([1.0], [0.75])), "the set itself stays as it is"


def test_a_standardized_omniglot_still_knows_its_alphabets(data: Dataset) -> None:
    omniglot = Omniglot(**data.__dict__, alphabets=("Greek", "Latin"))
    assert omniglot.standardized().alphabets == ("Greek", "Latin")


def test_one_statistic_alone_is_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match="both mean and std"):
        data.standardized(mean=[0.0, 0.0])
