"""Occlusion against networks whose answer is known, rankings by deletion, and correspondence by hand."""

from __future__ import annotations

import pytest
import torch
from networks import initialized, state
from tensors import normal
from torch import Tensor, nn

from labkit.papers.cnn_occlusion import cell_means, correspondence, deletion, occlusion, share_on_half

pytestmark = pytest.mark.usefixtures("one_thread")


def sums(images: Tensor) -> Tensor:
    """Two units: the sum of all pixels, and that of the upper left quarter of 8 x 8."""
    return torch.stack([images.sum((1, 2, 3)), images[..., :4, :4].sum((1, 2, 3))], dim=1)


def test_a_unit_that_adds_up_pixels_loses_what_the_square_covers() -> None:
    image = normal(1, 3, 8, 8)
    lost = occlusion(sums, image, 0, size=2, stride=2)
    by_cell = image.reshape(3, 4, 2, 4, 2).sum((0, 2, 4))
    torch.testing.assert_close(lost[0], by_cell)


def test_a_fill_is_what_remains_there() -> None:
    gray = torch.tensor([0.1, 0.2, 0.3]).double().reshape(3, 1, 1)
    lost = occlusion(sums, torch.ones(1, 3, 8, 8).double(), 0, size=4, stride=4, fill=gray)
    torch.testing.assert_close(lost, torch.full((1, 2, 2), 16 * (0.9 + 0.8 + 0.7)).double())


def test_what_a_unit_does_not_see_costs_it_nothing() -> None:
    lost = occlusion(sums, torch.ones(1, 3, 8, 8), 1, size=2, stride=2)[0]
    assert (lost[:2, :2] == 12).all()
    assert not lost[2:].any()
    assert not lost[:, 2:].any()


def test_squares_larger_than_a_cell_overlap_and_stick_out_over_the_edge() -> None:
    lost = occlusion(sums, torch.ones(1, 1, 8, 8), 0, size=4, stride=2)[0]
    assert (lost[:2, :2] == torch.tensor([[9, 12], [12, 16]])).all()  # 3 x 3, 3 x 4, 4 x 4 pixels


def test_each_image_has_a_unit_and_a_map_of_its_own() -> None:
    network = initialized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 6, 5))).double()
    images = normal(2, 3, 9, 8)
    both = occlusion(network, images, [4, 1], size=3, stride=2, batch_size=7)
    assert both.shape == (2, 5, 4)
    for each, unit in enumerate((4, 1)):
        torch.testing.assert_close(
            both[each : each + 1], occlusion(network, images[each : each + 1], unit, size=3, stride=2)
        )


def test_one_square_by_hand() -> None:
    network = initialized(nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 2))).double()
    image = normal(1, 3, 6, 6)
    covered = image.clone()
    covered[..., 2:4, 4:6] = -1.0
    expected = (network(image) - network(covered))[0, 1].detach()
    torch.testing.assert_close(occlusion(network, image, 1, size=2, stride=2, fill=-1.0)[0, 1, 2], expected)


def test_a_module_runs_in_evaluation_mode_and_is_left_as_it_was() -> None:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 5)
    network, images = initialized(nn.Sequential(*layers)), normal(2, 3, 8, 8).float()
    expected = occlusion(network.eval(), images, 1, size=4, stride=4)
    ranked = deletion(network, images, 1, expected, stride=4, shares=(0, 0.5))
    before = state(network.train())
    torch.testing.assert_close(occlusion(network, images, 1, size=4, stride=4), expected)
    torch.testing.assert_close(deletion(network, images, 1, expected, stride=4, shares=(0, 0.5)), ranked)
    assert state(network) == before


@pytest.mark.parametrize(
    ("problem", "arguments"),
    [
        ("at least 1", {"size": 0, "stride": 1}),
        ("at least 1", {"size": 1, "stride": 0}),
        ("the units 0 to 1", {"unit": 2, "size": 2, "stride": 2}),
        ("NaN", {"images": torch.full((1, 1, 8, 8), float("nan")), "size": 2, "stride": 2}),
    ],
)
def test_what_cannot_be_covered_is_said(problem: str, arguments: dict) -> None:
    given = {"images": torch.ones(1, 1, 8, 8), "unit": 0} | arguments
    with pytest.raises(ValueError, match=problem):
        occlusion(sums, **given)


def test_cells_are_means_of_sizes_also_of_those_cut_off_by_the_edge() -> None:
    picture = torch.ones(1, 2, 5, 4)
    picture[0, 0] = -3
    assert cell_means(picture, 2).tolist() == [[[4, 4], [4, 4], [4, 4]]]


def test_cells_are_means_of_values_of_any_size() -> None:
    assert cell_means(torch.full((1, 3, 4, 4), -1e6), 2).tolist() == [[[3e6, 3e6], [3e6, 3e6]]]


@pytest.mark.parametrize(
    ("problem", "pictures"),
    [
        (r"shape \(B, C, H, W\), got \(3, 4, 4\)", torch.ones(3, 4, 4)),
        ("the pictures hold NaN or infinite values", torch.full((1, 3, 4, 4), float("nan"))),
        ("the pictures hold NaN or infinite values", torch.full((1, 3, 4, 4), -float("inf"))),
    ],
)
def test_pictures_of_another_shape_or_without_numbers_are_refused(problem: str, pictures: Tensor) -> None:
    with pytest.raises(ValueError, match=problem):
        cell_means(pictures, 2)


def test_each_picture_is_asked_for_its_own_half() -> None:
    strength = torch.tensor([[1.0, 2, 0, 1], [0, 3, 1, 0]]).expand(2, 2, 4)
    assert share_on_half(strength, torch.tensor([True, False])).tolist() == [6 / 8, 2 / 8]


def test_a_middle_column_counts_for_neither_half() -> None:
    strength = torch.tensor([[[1.0, 100, 3]], [[0, 100, 3]]])
    assert share_on_half(strength, torch.tensor([True, True])).tolist() == [0.25, 0]


@pytest.mark.parametrize("left", [True, False])
def test_where_nothing_is_marked_the_share_is_0(left: bool) -> None:
    strength = torch.zeros(2, 3, 5)
    strength[1, :, 2] = 1  # in the middle only
    assert share_on_half(strength, torch.tensor([left, left])).tolist() == [0, 0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_share_does_not_depend_on_the_scale_and_both_halves_make_a_whole(scale: float) -> None:
    strength, left = normal(3, 4, 6).abs(), torch.tensor([True, False, True])
    share = share_on_half(strength, left)
    torch.testing.assert_close(share_on_half(scale * strength, left), share)
    torch.testing.assert_close(share + share_on_half(strength, ~left), torch.ones(3).double())


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more: take the absolute value, or clamp it"):
        share_on_half(torch.tensor([[[1.0, -0.1]]]), torch.tensor([True]))


def test_deletion_covers_the_highest_ranked_cells_first() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    by_worth = cell_means(image, 2)
    said = deletion(sums, image, 0, by_worth, stride=2, shares=(0, 0.25, 0.5, 1))
    worth = image.reshape(2, 2, 2, 2).sum((1, 3)).flatten().sort(descending=True).values
    assert said[0].tolist() == [120, 120 - worth[0], 120 - worth[:2].sum(), 0]
    worst_first = deletion(sums, image, 0, -by_worth, stride=2, shares=(0, 0.25, 0.5, 1))
    assert (worst_first >= said).all()


def test_of_equal_cells_the_first_is_covered_first() -> None:
    said = deletion(sums, torch.ones(1, 1, 8, 8), 1, torch.zeros(1, 2, 2), stride=4, shares=(0, 0.25))
    assert said.tolist() == [[16, 0]]


@pytest.mark.parametrize(
    ("problem", "ranking", "shares"), [("2 x 2 cells", (3, 2), (0, 1)), ("between 0 and 1", (2, 2), (0, 1.5))]
)
def test_a_ranking_of_another_grid_is_refused(problem: str, ranking: tuple[int, int], shares: tuple) -> None:
    with pytest.raises(ValueError, match=problem):
        deletion(sums, torch.ones(1, 1, 8, 8), 0, torch.zeros(1, *ranking), stride=4, shares=shares)


def test_correspondence_is_the_share_of_signs_that_differ() -> None:
    before = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    after = before + torch.tensor([[-1.0, -1, -1, -1], [-2, -2, -2, 2], [-1, -1, 3, 3]])
    assert correspondence(before, after).item() == pytest.approx((1 / 4 + 2 / 4 + 1 / 4) / 3)


def test_images_that_change_alike_correspond_wholly() -> None:
    before, change = normal(4, 10), normal(1, 10, seed=1)
    assert correspondence(before, before - change) == 0


@pytest.mark.parametrize("shapes", [((1, 4), (1, 4)), ((3, 4), (3, 5)), ((3, 4, 2), (3, 4, 2))])
def test_correspondence_needs_two_images_and_one_shape(shapes: tuple) -> None:
    with pytest.raises(ValueError, match="at least two images"):
        correspondence(*(torch.zeros(shape) for shape in shapes))


def test_a_faint_picture_has_halves_like_a_strong_one() -> None:
    faint = torch.tensor([[[1e-14, 3e-14]]])
    assert share_on_half(faint, torch.tensor([False])).item() == pytest.approx(0.75)


def test_a_single_column_is_on_neither_half() -> None:
    assert share_on_half(torch.ones(1, 2, 1), torch.tensor([False])).item() == 0


def test_signed_means_let_colors_and_pixels_cancel_out() -> None:
    picture = torch.tensor([[[[1.0, -1.0], [2.0, 0.0]], [[-3.0, 1.0], [0.0, 4.0]]]])  # two colors, one cell
    assert cell_means(picture, 2, signed=True).item() == 1.0
    assert cell_means(picture, 2).item() == 3.0
