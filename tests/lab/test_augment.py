"""Images changed while a network trains: where crops come from, what comes in, and who draws."""

from __future__ import annotations

import pytest
import torch
from tensors import seeded

from labkit.lab.augment import augmented, cropped, flipped, lit, shifted

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_crop_is_a_piece_of_its_own_image_and_all_places_occur() -> None:
    x = torch.arange(200 * 36.0).view(200, 1, 6, 6)
    pieces = cropped(x, 4, seeded())
    corners = pieces[:, 0, 0, 0] - x[:, 0, 0, 0]
    assert pieces.shape == (200, 1, 4, 4)
    assert torch.equal(pieces[:, 0] - pieces[:, 0, :1, :1], x[:, 0, :4, :4] - x[:, 0, :1, :1])
    assert set(corners.int().tolist()) == {6 * row + column for row in range(3) for column in range(3)}


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cropped(torch.zeros(1, 1, 4, 4), 5, seeded())


def test_a_shifted_image_keeps_its_size_and_the_outside_comes_in() -> None:
    outside = torch.tensor([-1.0, 2.0]).view(2, 1, 1)
    moved = shifted(outside.expand(50, 2, 5, 5), 2, outside, seeded())
    assert torch.allclose(moved, outside.expand(50, 2, 5, 5))
    x = torch.rand(50, 2, 5, 5, generator=seeded())
    moved = shifted(x, 2, outside, seeded(1))
    same = [torch.allclose(image, original, atol=1e-6) for image, original in zip(moved, x, strict=True)]
    assert moved.shape == x.shape
    assert 0 < sum(same) < 20


def test_half_of_the_images_are_mirrored() -> None:
    x = torch.rand(400, 1, 3, 3, generator=seeded())
    seen = flipped(x, seeded(1))
    mirrored = torch.tensor([torch.equal(image, original.flip(2)) for image, original in zip(seen, x, strict=True)])
    assert torch.equal(seen[~mirrored], x[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_light_changes_within_its_bounds_and_stays_in_the_range_of_brightness() -> None:
    x = torch.full((500, 1, 2, 2), 0.5)
    bright = lit(x, 0.2, 0.0, seeded())
    assert 0.4 <= bright.min() < 0.41
    assert 0.59 < bright.max() <= 0.6
    x = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(500, 1, 1, 2)
    sharp = lit(x, 0.0, 0.3, seeded())
    spread = sharp[..., 1] - sharp[..., 0]
    assert torch.allclose(sharp.mean((1, 2, 3)), torch.tensor(0.5))
    assert 0.14 <= spread.min() < spread.max() <= 0.26
    assert lit(torch.ones(100, 1, 2, 2), 0.5, 0.5, seeded()).max() <= 1


def test_the_loss_sees_the_changed_images_and_the_generator() -> None:
    def loss(model, x, y, generator):
        return model(x).sum() + y.sum() + torch.rand((), generator=generator)

    changed = augmented(loss, lambda x, g: x + torch.rand((), generator=g))
    drawn = torch.rand(2, generator=seeded())
    found = changed(lambda x: 2 * x, torch.ones(1), torch.zeros(1), seeded())
    assert torch.allclose(found, 2 * (1 + drawn[0]) + drawn[1])
