"""Whitening and Gabor fits against NumPy, scikit-learn and pictures whose answer is known."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch
from sklearn.decomposition import PCA
from tensors import normal, seeded
from torch import Tensor

from labkit.papers.image_patches import GaborFit, gabor_fit, to_unit_interval, whiten, zca_whitening

# ---- patches for a sigmoid ------------------------------------------------------------------------------------------


def test_patches_are_cut_off_at_3_standard_deviations_and_mapped_to_0_1_up_to_0_9() -> None:
    x = normal(200, 64)
    x[0, 0], x[1, 1] = 50.0, -50.0
    mapped, mean, deviation = to_unit_interval(x), x.mean(), x.std()
    assert (mapped.min().item(), mapped.max().item()) == (pytest.approx(0.1), pytest.approx(0.9))
    inside = (x - mean).abs() < 3 * deviation
    assert not inside.all()
    torch.testing.assert_close(mapped[inside], (0.5 + 0.4 * (x - mean) / (3 * deviation))[inside])
    torch.testing.assert_close(mapped[~inside], 0.5 + 0.4 * x[~inside].sign())


def test_two_numbers_lie_at_a_known_place() -> None:
    """(-1, 1) has the mean 0 and the standard deviation sqrt(2), so that 1 goes 1 / (3 sqrt(2)) of the way to 0.9."""
    part = 0.4 / (3 * math.sqrt(2))
    assert to_unit_interval(torch.tensor([[-1.0, 1.0]])).tolist() == [pytest.approx([0.5 - part, 0.5 + part])]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scale_and_brightness_of_all_patches_together_do_not_matter(scale: float) -> None:
    x = normal(50, 16, dtype=torch.float32)
    torch.testing.assert_close(to_unit_interval(scale * (x + 3)), to_unit_interval(x), atol=1e-5, rtol=1e-4)


def test_one_scale_serves_all_patches_so_that_faint_ones_stay_faint() -> None:
    x = torch.cat([normal(50, 16), 0.01 * normal(50, 16, seed=1)])
    bright, faint = (to_unit_interval(x) - 0.5).abs().split(50)
    assert faint.mean() < 0.05 * bright.mean()


def test_the_patches_that_are_given_stay_as_they_are() -> None:
    x = normal(50, 16)
    to_unit_interval(x)
    assert torch.equal(x, normal(50, 16))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.full((7, 3), 0.1), "all numbers of the patches are equal: they have no standard deviation to scale by"),
        (torch.zeros(1, 1), "all numbers of the patches are equal"),
        (torch.zeros(0, 3), "all numbers of the patches are equal"),
        (torch.tensor([[1.0, math.nan]]), "the patches hold numbers that are not finite"),
        (torch.tensor([[1.0, -math.inf]]), "the patches hold numbers that are not finite"),
    ],
    ids=["equal", "one number", "none", "NaN", "inf"],
)
def test_patches_that_cannot_be_scaled_are_refused(x: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_unit_interval(x)


# ---- whitening ------------------------------------------------------------------------------------------------------


def correlated(rows: int, seed: int = 0) -> Tensor:
    return normal(rows, 6, seed=seed) @ normal(6, 6, seed=9) + 3


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T)


def test_whitened_rows_are_uncorrelated_with_variance_1_and_mean_0() -> None:
    x = correlated(50)
    assert (covariance(x) - torch.eye(6)).abs().max() > 1
    white = zca_whitening(x, epsilon=0)(x)
    torch.testing.assert_close(covariance(white), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(white.mean(0), torch.zeros(6, dtype=torch.float64))


def test_the_whitening_matrix_is_the_inverse_root_of_the_regularized_covariance() -> None:
    """To the covariance, epsilon times the mean variance is added."""
    x = correlated(50)
    expected = scipy.linalg.sqrtm((covariance(x) + 0.1 * x.var(0).mean() * torch.eye(x.shape[1])).numpy())
    torch.testing.assert_close(zca_whitening(x, epsilon=0.1).matrix, torch.from_numpy(expected).inverse())


def test_the_whitening_is_free_of_rotation() -> None:
    matrix = zca_whitening(correlated(50)).matrix
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_epsilon_leaves_directions_of_little_variance_small() -> None:
    spread = torch.tensor([3.0, 1.0, 0.3, 0.01], dtype=torch.float64)
    x = (
        torch.linalg.qr(normal(80, 4) - normal(80, 4).mean(0)).Q * math.sqrt(79) * spread
    )  # uncorrelated by construction
    variances = zca_whitening(x, epsilon=0.1)(x).var(0)
    torch.testing.assert_close(variances, spread**2 / (spread**2 + 0.1 * (spread**2).mean()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_span_only_some_directions_are_whitened_to_finite_numbers(dtype: torch.dtype) -> None:
    x = (normal(50, 2) @ normal(2, 6, seed=1) + 3).to(dtype)
    whitening = zca_whitening(x, epsilon=0.01)
    assert whitening.matrix.isfinite().all()
    variances = torch.linalg.eigvalsh(covariance(whitening(x)))
    assert variances[:4].abs().max() < 1e-4
    assert variances[4:].min() > 0.5


def test_new_rows_are_whitened_with_the_mean_and_the_matrix_of_the_old_ones() -> None:
    whitening, new = zca_whitening(correlated(50)), correlated(20, seed=1)
    torch.testing.assert_close(whitening.mean, correlated(50).mean(0))
    torch.testing.assert_close(whitening(new), (new - correlated(50).mean(0)) @ whitening.matrix)
    torch.testing.assert_close(whitening(new[:1]), whitening(new)[:1])


def test_whitening_is_that_of_scikit_learns_pca_rotated_back() -> None:
    train, new = correlated(50).numpy(), correlated(20, seed=1).numpy()
    pca = PCA(whiten=True).fit(train)
    expected = torch.from_numpy(pca.transform(new) @ pca.components_)
    torch.testing.assert_close(whiten(correlated(50), correlated(20, seed=1), epsilon=0), expected)


def test_of_all_whitenings_zca_changes_the_rows_least() -> None:
    x = correlated(50)
    white = whiten(x, x, epsilon=0)
    rotation = torch.linalg.qr(normal(6, 6, seed=3)).Q
    assert (white - (x - x.mean(0))).norm() < (white @ rotation - (x - x.mean(0))).norm()


def test_rows_of_another_length_than_those_of_the_fit_are_not_whitened() -> None:
    with pytest.raises(ValueError, match="whitening fitted to rows of 4 numbers, got rows of 3"):
        whiten(normal(9, 4), normal(9, 3))


@pytest.mark.parametrize(
    ("x", "epsilon", "said"),
    [
        (normal(1, 4), 0.01, "whitening needs at least 2 rows and epsilon >= 0, got 1 and 0.01"),
        (normal(9, 4), -0.1, "whitening needs at least 2 rows and epsilon >= 0, got 9 and -0.1"),
        (normal(9, 4), math.nan, "whitening needs at least 2 rows and epsilon >= 0, got 9 and nan"),
        (torch.full((5, 3), 1.7), 0.01, "all rows are equal: they have no variance to whiten"),
        (torch.full((7, 3), 0.1), 0.01, "all rows are equal: they have no variance to whiten"),  # its mean is rounded
        (torch.full((5, 3), math.nan), 0.01, "the rows hold numbers that are not finite"),
        (torch.tensor([[1.0, math.inf], [0.0, 2.0]]), 0.01, "the rows hold numbers that are not finite"),
    ],
    ids=["one row", "negative epsilon", "NaN epsilon", "equal rows", "equal rows, rounded", "NaN", "inf"],
)
def test_rows_that_cannot_be_whitened_are_refused(x: Tensor, epsilon: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        zca_whitening(x, epsilon)


# ---- Gabors ---------------------------------------------------------------------------------------------------------

SIDE = 12


def gabor(
    theta: float,
    cycles: float,
    *,
    width: float = SIDE / 6,
    aspect: float = 1.0,
    centre: tuple[float, float] = (6.0, 5.0),
    phase: float = 0.4,
) -> Tensor:
    """A plane wave in the direction `theta` under a Gaussian window, as the textbook writes it, (SIDE * SIDE,)."""
    y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    dy, dx = y - centre[0], x - centre[1]
    across, along = dx * math.cos(theta) + dy * math.sin(theta), dy * math.cos(theta) - dx * math.sin(theta)
    window = torch.exp(-(across**2 + (along / aspect) ** 2) / (2 * width**2))
    return (window * torch.cos(2 * math.pi * cycles * across + phase)).flatten()


def angle_between(fit: GaborFit, theta: Tensor | float) -> Tensor:
    """In degrees; an orientation comes back after 180."""
    gap = (fit.orientation - theta).remainder(math.pi)
    return torch.rad2deg(torch.minimum(gap, math.pi - gap))


GRID = torch.linspace(1 / SIDE, 0.35, 5).tolist()


def test_a_gabor_on_the_grid_is_found_with_its_orientation_its_frequency_and_its_picture() -> None:
    thetas, cycles = [math.pi * step / 12 for step in range(12)], GRID[1:] * 3
    atoms = torch.stack([gabor(thetas[step], cycles[step], aspect=1 + step % 2) for step in range(12)])
    fit = gabor_fit(atoms, SIDE)
    assert fit.explained.tolist() == pytest.approx([1] * 12, abs=1e-6)
    assert fit.orientation.tolist() == pytest.approx(thetas)
    assert fit.frequency.tolist() == pytest.approx(cycles)
    torch.testing.assert_close(fit.image, atoms - atoms.mean(1, keepdim=True), atol=1e-6, rtol=1e-4)


def between_the_grid(count: int) -> tuple[Tensor, Tensor]:
    """Gabors of any orientation, frequency, place, width and phase, and their orientations."""
    draws = torch.rand(count, 7, generator=seeded(), dtype=torch.float64)
    thetas = math.pi * draws[:, 0]
    atoms = [
        gabor(
            theta,
            0.12 + 0.18 * cycles,
            width=SIDE / 8 + SIDE / 8 * width,
            aspect=1 + aspect,
            centre=(3.5 + 4 * y, 3.5 + 4 * x),
            phase=2 * math.pi * phase,
        )
        for theta, (cycles, width, aspect, y, x, phase) in zip(thetas.tolist(), draws[:, 1:].tolist(), strict=True)
    ]
    return torch.stack(atoms), thetas


def test_gabors_between_those_of_the_grid_are_fitted() -> None:
    """Their orientation is found to half a step, and most of them is explained."""
    atoms, thetas = between_the_grid(100)
    fit = gabor_fit(atoms, SIDE)
    assert angle_between(fit, thetas).max() < 7.5 + 1
    assert fit.explained.median() > 0.9
    assert fit.explained.min() > 0.6  # a wide one, half a step away in orientation and in frequency


def test_a_vertical_bar_has_the_orientation_0_and_a_horizontal_one_a_right_angle() -> None:
    vertical, horizontal = torch.zeros(2, SIDE, SIDE)
    vertical[2:-2, 5:7], horizontal[5:7, 2:-2] = 1, 1
    fit = gabor_fit(torch.stack([vertical, horizontal]).flatten(1), SIDE)
    assert fit.orientation.tolist() == pytest.approx([0, math.pi / 2])
    assert fit.explained.min() > 0.5


def test_sign_scale_and_brightness_of_an_atom_do_not_matter() -> None:
    atoms, _ = between_the_grid(10)
    fit = gabor_fit(atoms, SIDE)
    for factor in (-1.0, 1e-3, 1e3):
        other = gabor_fit(factor * (atoms + 0.5), SIDE)
        torch.testing.assert_close(other.explained, fit.explained)
        assert torch.equal(other.orientation, fit.orientation)
        assert torch.equal(other.frequency, fit.frequency)
        torch.testing.assert_close(other.image, factor * fit.image)


def test_what_is_explained_is_the_share_of_the_energy_that_the_picture_takes_away() -> None:
    atoms = normal(20, SIDE * SIDE)
    fit, centred = gabor_fit(atoms, SIDE), atoms - atoms.mean(1, keepdim=True)
    left = (centred - fit.image).square().sum(1) / centred.square().sum(1)
    torch.testing.assert_close(fit.explained, 1 - left)


def test_white_noise_is_hardly_explained_by_the_best_gabor() -> None:
    explained = gabor_fit(normal(500, SIDE * SIDE, dtype=torch.float32), SIDE).explained
    assert (explained < 0.3).double().mean() >= 0.99


def test_a_single_pixel_and_a_checkerboard_are_no_gabors() -> None:
    pixel, board = torch.zeros(SIDE, SIDE), torch.ones(SIDE, SIDE)
    pixel[5, 6] = 1
    board[::2, ::2], board[1::2, 1::2] = -1, -1
    assert gabor_fit(torch.stack([pixel, board]).flatten(1), SIDE).explained.max() < 0.5


def test_an_atom_without_any_contrast_is_not_explained_and_gives_no_nan() -> None:
    fit = gabor_fit(torch.stack([torch.zeros(SIDE * SIDE), gabor(0.5, 0.2).float()]), SIDE)
    assert fit.explained[0] == 0
    assert fit.explained[1] > 0.9
    assert all(field.isfinite().all() for field in fit)
    assert not fit.image[0].any()


@pytest.mark.parametrize(
    "atoms",
    [torch.zeros(144), torch.zeros(3, 143), torch.full((3, 144), math.nan), torch.zeros(3, 12, 12)],
    ids=["one atom without its axis", "another side", "NaN", "pictures"],
)
def test_what_is_no_row_of_square_atoms_is_refused(atoms: Tensor) -> None:
    with pytest.raises(ValueError, match=r"atoms must be finite rows of 12 x 12 pixels, got the shape \("):
        gabor_fit(atoms, SIDE)
