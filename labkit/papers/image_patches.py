"""Patches of photographs: whitening and scaling, and a measure of how much an atom looks like an edge.

What sparse codes of natural images are made from and judged by; patches are rows of side * side numbers. (A. Bell and
T. Sejnowski, "The 'independent components' of natural scenes are edge filters", Vision Research 37, 1997.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Whitening(NamedTuple):
    """A fitted ZCA whitening: white = (x - mean) @ matrix."""

    mean: Tensor  # (n,)
    matrix: Tensor  # (n, n), symmetric

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.matrix


def zca_whitening(x: Tensor, epsilon: float = 0.01) -> Whitening:
    """The rotation-free linear map after which the rows of x (N, n) are uncorrelated with variance 1.

    Directions with less variance than about `epsilon` times the average are left small rather than blown up to noise.
    Raises ValueError for fewer than two rows, a negative epsilon, or rows that are all equal or not finite.
    """
    if len(x) < 2 or not epsilon >= 0:
        raise ValueError(f"whitening needs at least 2 rows and epsilon >= 0, got {len(x)} and {epsilon}")
    if not x.isfinite().all():
        raise ValueError("the rows hold numbers that are not finite: they have no variance to whiten")
    mean = x.mean(0)
    variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / (len(x) - 1))
    if (x == x[0]).all() or not variances.sum() > 0:  # the mean of equal rows may be rounded
        raise ValueError("all rows are equal: they have no variance to whiten")
    scale = (variances.clamp(min=0) + epsilon * variances.mean()).rsqrt()
    return Whitening(mean, (axes * scale) @ axes.T)


def whiten(train: Tensor, x: Tensor, epsilon: float = 0.01) -> Tensor:
    """The rows of x (M, n), whitened by the ZCA that is fitted to the rows of train (N, n), -> (M, n).

    white = (x - mean) C^(-1/2), C = V diag(s) V^T the covariance of train, with epsilon times its mean variance on
    the diagonal: a turn to the axes V, a division by sqrt(s), the turn back. (Bell and Sejnowski, Vision Research 37,
    1997.) Raises ValueError for rows of another length, and whatever `zca_whitening` raises.
    """
    if x.shape[-1] != train.shape[-1]:
        raise ValueError(f"whitening fitted to rows of {train.shape[-1]} numbers, got rows of {x.shape[-1]}")
    return zca_whitening(train, epsilon)(x)


def to_unit_interval(x: Tensor) -> Tensor:
    """Patches mapped linearly to [0.1, 0.9], with outliers cut off, (N, n) -> (N, n): what a sigmoid output can reach.

    Numbers more than 3 standard deviations from the mean, both taken of all numbers together, are truncated to that;
    the mean becomes 0.5. Done as exercises that follow the CS294A notes do, where the mean is 0 already since that of
    each patch has been subtracted.
    Raises ValueError for numbers that are all equal or not finite.
    """
    if not x.isfinite().all():
        raise ValueError("the patches hold numbers that are not finite: they have no standard deviation")
    if x.numel() == 0 or (x == x.flatten()[0]).all():
        raise ValueError("all numbers of the patches are equal: they have no standard deviation to scale by")
    centered = x - x.mean()
    return 0.5 + 0.4 * (centered / (3 * centered.std())).clamp(-1, 1)


class GaborFit(NamedTuple):
    """The best Gabor of each atom."""

    explained: Tensor  # (M,) share of the atom's energy that it explains, R^2
    orientation: Tensor  # (M,) angle of the wave vector in [0, pi): 0 for a vertical bar
    frequency: Tensor  # (M,) cycles per pixel
    image: Tensor  # (M, side * side) the Gabor itself, in the atom's units


def gabor_fit(atoms: Tensor, side: int) -> GaborFit:
    """The Gabor function that explains each square atom best, (M, side * side) -> `GaborFit`.

    A Gabor is a plane wave under a Gaussian window, the textbook model of an edge-like receptive field. Tried are all
    those of a fixed grid: windows centred on each pixel, of 3 widths and 2 aspect ratios, 12 orientations, 5 wave
    lengths of at most a whole patch; phase and amplitude are fitted exactly. Search, not descent: no local optimum.
    Raises ValueError unless atoms are rows of side * side finite numbers.
    """
    if atoms.ndim != 2 or atoms.shape[1] != side * side or not atoms.isfinite().all():
        raise ValueError(f"atoms must be finite rows of {side} x {side} pixels, got the shape {tuple(atoms.shape)}")
    centred = atoms - atoms.mean(1, keepdim=True)
    energy = centred.square().sum(1)  # (M,)
    best = torch.zeros_like(energy)
    orientation, frequency, image = torch.zeros_like(energy), torch.zeros_like(energy), torch.zeros_like(atoms)
    for k in range(12):
        theta = math.pi * k / 12
        for cycles in torch.linspace(1 / side, 0.35, 5).tolist():
            even, odd = _quadrature_pairs(side, theta, cycles, atoms)  # (G, n) each, orthonormal
            a, b = centred @ even.T, centred @ odd.T  # (M, G)
            explained, place = (a.square() + b.square()).max(1)
            better = explained > best
            fitted = a.gather(1, place[:, None]) * even[place] + b.gather(1, place[:, None]) * odd[place]
            best = torch.where(better, explained, best)
            orientation = torch.where(better, theta, orientation)
            frequency = torch.where(better, cycles, frequency)
            image = torch.where(better[:, None], fitted, image)
    share = torch.where(energy > 0, best / energy.clamp(min=torch.finfo(energy.dtype).tiny), 0)
    return GaborFit(share, orientation, frequency, image)


def _quadrature_pairs(side: int, theta: float, cycles: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd Gabors of one orientation and frequency, at all places and widths, orthonormal in pairs, (G, n)."""
    pixel = torch.arange(side, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=1)  # (n, 2)
    dy, dx = (places[None] - places[:, None]).unbind(-1)  # (n places, n pixels) each
    across = dx * math.cos(theta) + dy * math.sin(theta)  # along the wave
    along = dy * math.cos(theta) - dx * math.sin(theta)  # along the bar
    windows = [
        torch.exp(-0.5 * ((across / width) ** 2 + (along / (aspect * width)) ** 2))
        for width in (side / 8, side / 6, side / 4)
        for aspect in (1, 2)
    ]
    even = torch.cat([window * torch.cos(2 * math.pi * cycles * across) for window in windows])
    odd = torch.cat([window * torch.sin(2 * math.pi * cycles * across) for window in windows])
    even = nn.functional.normalize(even - even.mean(1, keepdim=True), dim=1)
    odd = odd - odd.mean(1, keepdim=True)
    return even, nn.functional.normalize(odd - (odd * even).sum(1, keepdim=True) * even, dim=1)
