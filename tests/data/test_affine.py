"""Images turned, enlarged, sheared and shifted: each change on its own, against what one would do by hand."""

from __future__ import annotations

import pytest
import torch
from tensors import seeded

from labkit.data.affine import affine

pytestmark = pytest.mark.usefixtures("one_thread")


def spot(row: int, column: int, side: int = 9) -> torch.Tensor:
    """One image of side x side with a single bright pixel."""
    image = torch.zeros(1, 1, side, side)
    image[0, 0, row, column] = 1.0
    return image


def brightest(image: torch.Tensor) -> tuple[int, int]:
    return divmod(int(image[0, 0].flatten().argmax()), image.shape[3])


def test_without_a_change_an_image_stays_what_it_is() -> None:
    x = torch.rand(2, 3, 7, 7, generator=seeded())
    assert torch.allclose(affine(x), x, atol=1e-6)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    assert torch.allclose(affine(spot(1, 4), rotation=90), spot(4, 1), atol=1e-5)
    x = torch.rand(2, 1, 8, 8, generator=seeded())
    assert torch.allclose(affine(x, rotation=90), x.rot90(1, (2, 3)), atol=1e-5)


def test_a_shift_moves_to_the_right_by_pixels_and_lets_the_outside_in() -> None:
    x = torch.rand(1, 2, 6, 6, generator=seeded())
    moved = affine(x, shift=2, outside=torch.tensor([0.3, -1.0]).view(2, 1, 1))
    assert torch.allclose(moved[..., 2:], x[..., :-2], atol=1e-5)
    assert torch.allclose(moved[0, :, :, 0], torch.tensor([0.3, -1.0])[:, None].expand(2, 6), atol=1e-5)


def test_a_larger_scale_moves_things_away_from_the_middle() -> None:
    assert brightest(affine(spot(4, 6), scale=2.0)) == (4, 8)
    assert brightest(affine(spot(4, 8), scale=0.5)) == (4, 6)


def test_a_shear_moves_rows_against_each_other_and_leaves_the_middle_one() -> None:
    above, below = brightest(affine(spot(1, 4), shear=45)), brightest(affine(spot(7, 4), shear=45))
    assert brightest(affine(spot(4, 4), shear=45)) == (4, 4)
    assert above[0] == 1
    assert below[0] == 7
    assert above[1] - 4 == 4 - below[1] == 3


def test_each_image_may_have_a_turn_of_its_own() -> None:
    x = torch.rand(2, 1, 8, 8, generator=seeded())
    turned = affine(x, rotation=torch.tensor([0.0, 180.0]))
    assert torch.allclose(turned[0], x[0], atol=1e-5)
    assert torch.allclose(turned[1], x[1].flip(1, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [((1, 1, 4, 5), {}, "square"), ((4, 4), {}, "square"), ((1, 1, 4, 4), {"scale": 0.0}, "above 0")],
)
def test_what_cannot_be_changed_is_refused_in_one_sentence(shape: tuple, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        affine(torch.zeros(shape), **options)
