"""Measures of filters and pictures against closed forms, NumPy and SciPy: a test's name says what it checks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from tensors import normal
from torch import Tensor

from labkit.papers.cnn_pictures import (
    edge_share,
    fine_detail,
    flat_share,
    likeness,
    nearest,
    outlines,
    rank_correlation,
    signed,
)
from labkit.papers.image_patches import gabor_fit

pytestmark = pytest.mark.usefixtures("one_thread")


def even(*colors: float, side: int = 5) -> Tensor:
    """One filter or image of even color, (1, C, side, side)."""
    return torch.tensor(colors, dtype=torch.float64)[None, :, None, None].expand(1, -1, side, side).clone()


def without_even_color(filters: Tensor) -> Tensor:
    return filters - filters.mean((2, 3), keepdim=True)


# ---- filters: an even color -----------------------------------------------------------------------------------------


def test_all_of_an_even_color_is_even() -> None:
    assert flat_share(torch.cat([even(0.2, -0.7, 1.0), even(3.0, 0.0, 0.0)])).tolist() == pytest.approx([1, 1])


def test_nothing_of_a_filter_is_even_where_each_color_has_the_mean_0() -> None:
    assert flat_share(without_even_color(normal(4, 3, 5, 5))).tolist() == pytest.approx([0] * 4, abs=1e-12)


def test_two_colors_that_cancel_out_in_gray_are_an_even_color_all_the_same() -> None:
    assert flat_share(even(1.0, -1.0)).item() == pytest.approx(1)


def test_a_filter_that_is_1_in_a_quarter_of_its_pixels_is_even_by_a_quarter() -> None:
    """Its mean is 1/4: 16 pixels of (1/4)^2 have the energy 1, of the 4 that the filter has."""
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., :2, :2] = 1
    assert flat_share(corner).item() == pytest.approx(0.25)


def test_the_energy_is_that_of_the_even_color_and_that_of_what_varies() -> None:
    filters = (normal(6, 3, 5, 5) + normal(6, 3, 1, 1, seed=1)).numpy()
    mean = filters.mean((2, 3), keepdims=True)
    energy = [(25 * mean**2).sum((1, 2, 3)), ((filters - mean) ** 2).sum((1, 2, 3))]
    torch.testing.assert_close(flat_share(torch.from_numpy(filters)), torch.from_numpy(energy[0] / sum(energy)))


@pytest.mark.parametrize("share", [flat_share, edge_share])
def test_shares_do_not_depend_on_scale_and_sign_or_on_the_other_filters(share: Callable[[Tensor], Tensor]) -> None:
    filters = normal(6, 3, 5, 5)
    expected = share(filters)
    for factor in (-1.0, 1e-3, 1e3):
        torch.testing.assert_close(share(factor * filters), expected)
    torch.testing.assert_close(share(filters[4:5]), expected[4:5])
    assert ((expected >= 0) & (expected <= 1)).all()


@pytest.mark.parametrize("share", [flat_share, edge_share])
def test_a_filter_of_zeros_has_no_share_of_anything(share: Callable[[Tensor], Tensor]) -> None:
    assert share(torch.zeros(2, 3, 5, 5)).tolist() == [0, 0]


# ---- filters: an edge -----------------------------------------------------------------------------------------------

SIDE = 11


def gabor(theta: float, phase: float, cycles: float = 1 / SIDE) -> Tensor:
    """A wave along `theta` under a round Gaussian window in the middle, without its mean, (SIDE, SIDE)."""
    y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64) - SIDE // 2] * 2, indexing="ij")
    wave = torch.cos(2 * math.pi * cycles * (x * math.cos(theta) + y * math.sin(theta)) - phase)
    picture = wave * torch.exp(-(x**2 + y**2) / (2 * (SIDE / 6) ** 2))
    return picture - picture.mean()


def colored(picture: Tensor, *color: float) -> Tensor:
    return torch.tensor(color, dtype=torch.float64)[:, None, None] * picture


def test_a_gabor_in_one_color_is_an_edge_whatever_the_color() -> None:
    gabors = [
        colored(gabor(math.pi * step / 12, 0.7 * step, 0.35), *color)
        for step, color in enumerate([(1, 1, 1), (1, 0, 0), (0.2, -0.5, 1), (1, -1, 0)])
    ]
    assert edge_share(torch.stack(gabors)).tolist() == pytest.approx([1] * 4, abs=1e-6)


def test_a_gabor_between_those_that_are_tried_is_an_edge_for_the_most_part() -> None:
    gabors = [colored(gabor(theta, 1.0, cycles), 1, 0.5, 0.2) for theta in (0.13, 0.9, 2.0) for cycles in (0.12, 0.2)]
    assert edge_share(torch.stack(gabors)).min() > 0.9


def test_a_step_from_dark_to_bright_is_an_edge_and_the_checkerboard_is_not() -> None:
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    step, checkerboard = torch.where(column < 4, -1.0, 1.0), 1 - 2 * ((row + column) % 2)
    edge, board = edge_share(torch.stack([step, checkerboard])[:, None])
    assert edge > 0.6
    assert board < 0.2


def test_of_two_gabors_in_two_colors_the_stronger_one_counts() -> None:
    """Odd in one direction each, they are orthogonal: of the energies 4 and 1 the first has 4 fifths."""
    lying, standing = gabor(0, math.pi / 2), gabor(math.pi / 2, math.pi / 2)
    assert (lying * standing).sum().abs() < 1e-9
    both = colored(lying, 2, 0, 0) + colored(standing, 0, 0, 1)
    assert edge_share(both[None]).item() == pytest.approx(4 / 5, abs=1e-6)


def test_random_filters_are_hardly_edges() -> None:
    assert edge_share(normal(200, 3, 5, 5)).median() < 0.3


def test_an_even_color_does_not_change_how_much_of_an_edge_the_rest_is() -> None:
    filters = normal(5, 3, 5, 5)
    torch.testing.assert_close(edge_share(filters + 4 * normal(5, 3, 1, 1, seed=1)), edge_share(filters))


def test_turning_the_space_of_colors_changes_no_edge() -> None:
    turn = torch.linalg.qr(normal(3, 3, seed=1)).Q
    filters = normal(5, 3, 5, 5)
    torch.testing.assert_close(edge_share(torch.einsum("dc,kchw->kdhw", turn, filters)), edge_share(filters))


def test_an_edge_in_one_color_is_what_the_gabor_explains() -> None:
    filters = normal(20, 1, 6, 6)
    torch.testing.assert_close(edge_share(filters), gabor_fit(filters.flatten(1), 6).explained)


def test_the_share_is_that_of_the_first_singular_vector_times_that_of_its_gabor() -> None:
    filters = normal(6, 3, 5, 5)
    expected = []
    for matrix in without_even_color(filters).flatten(2).numpy():
        _, strength, pictures = np.linalg.svd(matrix, full_matrices=False)
        explained = gabor_fit(torch.from_numpy(pictures[:1]), 5).explained.item()
        expected.append(strength[0] ** 2 / (matrix**2).sum() * explained)
    assert edge_share(filters).tolist() == pytest.approx(expected)


# ---- fine detail ----------------------------------------------------------------------------------------------------


def wave(cycles: float, height: int = 16, width: int = 16) -> Tensor:
    """So many cycles along the rows of an image, (1, 1, height, width)."""
    return torch.cos(2 * math.pi * cycles * torch.arange(width).double() / width).expand(1, 1, height, width)


def checkerboard(side: int = 16) -> Tensor:
    return wave(side / 2, side, side) * wave(side / 2, side, side).mT


def test_of_white_noise_all_is_fine_but_a_circle_in_the_square_of_frequencies() -> None:
    assert fine_detail(normal(8, 3, 64, 64)).tolist() == pytest.approx([1 - math.pi / 16] * 8, abs=0.02)


def test_a_slow_wave_has_no_fine_detail_and_a_checkerboard_nothing_else() -> None:
    assert fine_detail(torch.cat([wave(2), checkerboard()])).tolist() == pytest.approx([0, 1], abs=1e-12)


def test_detail_is_fine_beyond_a_quarter_of_a_cycle_a_pixel_and_not_at_it() -> None:
    assert fine_detail(torch.cat([wave(4), wave(5)])).tolist() == pytest.approx([0, 1], abs=1e-12)
    both_ways = wave(3) * wave(3).mT  # sqrt(2) * 3 / 16 > 1 / 4
    assert fine_detail(both_ways).item() == pytest.approx(1)


def test_a_slow_wave_of_twice_the_height_has_four_times_the_power() -> None:
    assert fine_detail(2 * wave(2) + wave(6)).item() == pytest.approx(1 / 5)
    colors = torch.cat([2 * wave(2), wave(6)], dim=1)  # one in one color, one in another
    assert fine_detail(colors).item() == pytest.approx(1 / 5)


def test_contrast_and_the_brightness_of_each_color_do_not_count() -> None:
    images = normal(3, 3, 12, 12)
    for contrast in (-2.0, 1e-3, 1e3):
        torch.testing.assert_close(fine_detail(contrast * images + normal(3, 3, 1, 1, seed=1)), fine_detail(images))


@pytest.mark.parametrize("size", [(9, 14), (14, 9), (1, 8)])
def test_fine_detail_is_what_numpy_finds_also_where_images_are_not_square(size: tuple[int, int]) -> None:
    images = normal(4, 3, *size)
    expected = []
    for image in images.numpy():
        power = sum(abs(np.fft.fft2(color - color.mean())) ** 2 for color in image)
        rows, columns = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1]), indexing="ij")
        expected.append(power[rows**2 + columns**2 > 1 / 16].sum() / power.sum())
    assert fine_detail(images).tolist() == pytest.approx(expected)


def test_an_even_image_has_no_fine_detail() -> None:
    assert fine_detail(even(0.5, 0.25, 1.0, side=8)).tolist() == [0]


# ---- how alike pictures are -----------------------------------------------------------------------------------------


def test_an_exact_copy_is_found_whatever_its_brightness_and_contrast() -> None:
    others = normal(7, 3, 6, 5)
    images = torch.stack([others[3], 0.1 * others[5] + 4, 20 * others[0] - 1])
    assert nearest(images, others).tolist() == pytest.approx([1, 1, 1])


def test_a_negative_is_no_copy_and_neither_is_what_has_moved() -> None:
    image = normal(1, 3, 16, 16)
    assert nearest(-image, image).item() == pytest.approx(-1)
    assert nearest(image.roll(3, -1), image).abs() < 0.2


def test_the_nearest_one_is_that_of_the_highest_correlation_of_numpy() -> None:
    images, others = normal(4, 3, 5, 6), normal(9, 3, 5, 6, seed=1)
    both = np.corrcoef(images.flatten(1), others.flatten(1))[:4, 4:]
    torch.testing.assert_close(nearest(images, others), torch.from_numpy(both.max(1)))


def test_brightness_is_that_of_all_colors_together_so_that_hue_counts() -> None:
    image = normal(1, 3, 6, 6)
    assert nearest(image + torch.tensor([2.0, 0, -2])[:, None, None], image).item() < 0.9


def test_an_even_gray_image_is_like_none() -> None:
    assert nearest(even(0.5, 0.5, 0.5), normal(4, 3, 5, 5)).tolist() == [0]


def test_images_of_two_sizes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"one size, got \(3, 4, 4\) and \(3, 4, 5\)"):
        nearest(normal(2, 3, 4, 4), normal(2, 3, 4, 5))
    with pytest.raises(ValueError, match="one size"):
        nearest(normal(2, 3, 4, 4), normal(2, 1, 4, 4))


def test_copies_are_alike_and_a_picture_and_its_negative_the_opposite() -> None:
    picture = normal(1, 3, 6, 6)
    assert likeness(torch.cat([picture, 3 * picture + 1, 0.2 * picture])) == pytest.approx(1)
    assert likeness(torch.cat([picture, -picture])) == pytest.approx(-1)


def test_likeness_is_the_mean_of_numpys_correlations_of_two_different_ones() -> None:
    pictures = normal(5, 3, 4, 6) + normal(1, 3, 4, 6, seed=1)  # something in common
    correlations = np.corrcoef(pictures.flatten(1))
    expected = correlations[np.triu_indices(5, k=1)].mean()
    assert expected > 0.2
    assert likeness(pictures) == pytest.approx(expected)


def test_constant_pictures_are_left_out() -> None:
    pictures = normal(3, 3, 5, 5)
    constant = torch.cat([even(0.0, 0.0, 0.0), even(0.1, 0.1, 0.1)])  # 0.1 is rounded
    assert likeness(torch.cat([constant, pictures])) == pytest.approx(likeness(pictures))


@pytest.mark.parametrize(
    "pictures",
    [normal(1, 3, 5, 5), torch.zeros(4, 3, 5, 5), torch.cat([normal(1, 3, 5, 5), even(0.5, 0.5, 0.5)])],
    ids=["one", "constant ones", "one that varies"],
)
def test_fewer_than_two_pictures_that_vary_are_not_alike(pictures: Tensor) -> None:
    with pytest.raises(ValueError, match="at least two pictures that are not constant"):
        likeness(pictures)


# ---- ranks ----------------------------------------------------------------------------------------------------------


def test_the_same_order_of_pixels_is_1_and_the_reverse_minus_1() -> None:
    pictures = normal(3, 3, 5, 5)
    for monotone in (lambda x: x, torch.exp, lambda x: x**3, lambda x: 0.1 * x - 7):
        assert rank_correlation(pictures, monotone(pictures)) == pytest.approx(1)
        assert rank_correlation(pictures, -monotone(pictures)) == pytest.approx(-1)


def test_pixels_that_neither_picture_reaches_do_not_count() -> None:
    one, other = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=1)
    framed = [torch.nn.functional.pad(pictures, (3, 2, 5, 1)) for pictures in (one, other)]
    assert rank_correlation(*framed) == pytest.approx(rank_correlation(one, other))


def test_pixels_that_only_one_picture_reaches_do_count() -> None:
    one = torch.tensor([1.0, 2, 3, 0, 0, 0]).reshape(1, 1, 2, 3)
    other = torch.tensor([1.0, 2, 3, 4, 0, 0]).reshape(1, 1, 2, 3)
    expected = scipy.stats.spearmanr([1, 2, 3, 0], [1, 2, 3, 4]).statistic
    assert expected == pytest.approx(-0.2)
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_it_is_the_mean_of_scipys_spearman_correlations_with_equal_pixels_too() -> None:
    one, other = normal(5, 3, 4, 4), normal(5, 3, 4, 4) + normal(5, 3, 4, 4, seed=1)
    one, other = one.round() + 10, other.round() + 10  # many equal ones, and none 0
    pairs = zip(one.flatten(1).numpy(), other.flatten(1).numpy(), strict=True)
    expected = [scipy.stats.spearmanr(a, b).statistic for a, b in pairs]
    assert rank_correlation(one, other) == pytest.approx(np.mean(expected))
    assert rank_correlation(other, one) == pytest.approx(np.mean(expected))


def test_an_empty_picture_is_like_none_and_counts_in_the_mean() -> None:
    picture, empty = normal(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    for pair in ((picture, empty), (empty, picture), (empty, empty)):
        assert rank_correlation(*pair) == 0
    assert rank_correlation(torch.cat([picture, picture]), torch.cat([picture, empty])) == pytest.approx(0.5)


def test_without_the_sign_two_pictures_that_are_strong_in_the_middle_are_alike() -> None:
    y, x = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / 18)
    one, other = normal(20, 1, 16, 16) * window, normal(20, 1, 16, 16, seed=1) * window
    assert abs(rank_correlation(one, other)) < 0.05
    assert rank_correlation(one.abs(), other.abs()) > 0.3


def test_stacks_of_unequal_shapes_have_no_rank_correlation() -> None:
    with pytest.raises(ValueError, match=r"one shape are needed, got \(2, 3, 4, 4\) and \(1, 3, 4, 4\)"):
        rank_correlation(normal(2, 3, 4, 4), normal(1, 3, 4, 4))


# ---- outlines and signs ---------------------------------------------------------------------------------------------


def test_a_step_has_its_outline_in_the_pixel_before_it() -> None:
    right, down = torch.zeros(2, 1, 5, 6)
    right[..., 2:], down[:, 3:, :] = 0.7, -0.3
    expected = torch.zeros(2, 1, 5, 6)
    expected[0, 0, :, 1], expected[1, 0, 2] = 0.7, 0.3
    torch.testing.assert_close(outlines(torch.stack([right, down])), expected)


def test_where_a_corner_differs_both_ways_the_outline_is_the_hypotenuse() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[..., 1, 2], image[..., 2, 1] = 3, 4
    assert outlines(image)[0, 0, 1, 1] == 5


def test_each_color_has_outlines_of_its_own_which_brightness_does_not_change() -> None:
    images = normal(2, 3, 5, 7)
    torch.testing.assert_close(outlines(images)[:, 1:2], outlines(images[:, 1:2]))
    torch.testing.assert_close(outlines(2 * images + 5), 2 * outlines(images))
    assert not outlines(even(0.2, 0.7, 1.0)).any()


def test_outlines_are_differences_of_numpy_with_the_last_row_and_column_repeated() -> None:
    images = normal(2, 3, 5, 7)
    repeated = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
    down, right = np.diff(repeated, axis=2)[..., :-1], np.diff(repeated, axis=3)[:, :, :-1]
    torch.testing.assert_close(outlines(images), torch.from_numpy(np.sqrt(down**2 + right**2)))


def test_0_becomes_mid_gray_and_every_pixel_stays_on_its_side_of_it() -> None:
    pictures = normal(3, 3, 8, 8)
    pictures[:, :, 2] = 0
    shown = signed(pictures)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert torch.equal((shown - 0.5).sign(), pictures.sign())
    torch.testing.assert_close(signed(-pictures), 1 - shown)


def test_each_picture_is_stretched_by_itself_to_the_quantile_of_numpy() -> None:
    pictures = normal(3, 3, 16, 16) * torch.tensor([1e-3, 1.0, 50.0])[:, None, None, None]
    for picture, shown in zip(pictures.numpy(), signed(pictures).numpy(), strict=True):
        largest = np.quantile(abs(picture), 0.995)
        np.testing.assert_allclose(shown, 0.5 + 0.5 * np.clip(picture / largest, -1, 1), atol=1e-12)
        assert ((shown == 0) | (shown == 1)).sum() == 4, "half a percent of 768 is cut off"


def test_an_empty_picture_is_gray() -> None:
    assert (signed(torch.zeros(2, 3, 4, 4)) == 0.5).all()


# ---- refusals -------------------------------------------------------------------------------------------------------

MEASURES = {
    "flat_share": (flat_share, "filters"),
    "edge_share": (edge_share, "filters"),
    "fine_detail": (fine_detail, "images"),
    "nearest": (lambda x: nearest(x, normal(2, 3, 4, 4)), "images"),
    "nearest of others": (lambda x: nearest(normal(2, 3, 4, 4), x), "the others"),
    "likeness": (likeness, "pictures"),
    "rank_correlation": (lambda x: rank_correlation(x, normal(2, 3, 4, 4)), "pictures"),
    "rank_correlation of others": (lambda x: rank_correlation(normal(2, 3, 4, 4), x), "pictures"),
    "outlines": (outlines, "images"),
    "signed": (signed, "pictures"),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 4, 1), (0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)], ids=str)
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    measure, what = MEASURES[name]
    with pytest.raises(ValueError, match=rf"^{what} must have the shape \(B, C, H, W\), none of it 0; got"):
        measure(torch.zeros(shape))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    measure, what = MEASURES[name]
    pictures = normal(2, 3, 4, 4)
    pictures[1, 2, 3, 0] = value
    with pytest.raises(ValueError, match=f"^{what} hold NaN or infinite values"):
        measure(pictures)


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_measured_stays_as_it_is(name: str) -> None:
    pictures = normal(2, 3, 4, 4, seed=5)
    MEASURES[name][0](pictures)
    assert torch.equal(pictures, normal(2, 3, 4, 4, seed=5))


# ---- what rounding must not decide ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_even_color_that_is_not_exact_in_binary_has_no_edge(dtype):
    color = torch.tensor([0.1, 0.37, -0.7], dtype=dtype)
    filters = color[None, :, None, None].expand(1, 3, 11, 11).clone()
    assert edge_share(filters).item() == 0
    assert flat_share(filters).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("side", [5, 17, 28])
def test_an_even_image_is_like_nothing(side):
    images = torch.full((1, 3, side, side), 0.1)
    assert nearest(images, torch.full((1, 3, side, side), 0.3)).item() == 0
    assert nearest(images, torch.rand(4, 3, side, side)).item() == 0


def test_the_contrast_of_faint_noise_does_not_count():
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fine_detail(1e-9 * noise), fine_detail(noise))


def test_the_few_pixels_of_a_sparse_picture_keep_their_order_for_the_eye():
    picture = torch.zeros(1, 1, 100, 100)
    picture[0, 0, 50, 50:55] = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
    seen = signed(picture)[0, 0, 50, 50:55]
    assert (seen.diff() > 0).all()
    assert seen[0] < 0.65


@pytest.mark.parametrize("measure", [flat_share, edge_share, fine_detail, likeness, outlines, signed])
def test_pictures_of_whole_numbers_are_refused(measure):
    with pytest.raises(ValueError, match="must be floats"):
        measure(torch.ones(2, 3, 5, 5, dtype=torch.uint8))
