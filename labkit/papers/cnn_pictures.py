"""Measures of filters and of pictures: is this an edge, is it as smooth as a photograph, are two pictures alike?

The lesson on CNN visualization judges pictures by them. K filters of C colors and h x h pixels, B pictures of C colors
and H x W pixels; a picture may have any sign. The measures are this course's own where no source is named.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.papers.cnn_feature_maps import require_finite
from labkit.papers.image_patches import gabor_fit


def flat_share(filters: Tensor) -> Tensor:
    """The share of each filter's energy (the sum of its squared weights) that is one even color, (K, C, h, w) -> (K,).

    0 for a filter of zeros. Raises ValueError for filters that are not four-dimensional, floating and finite.
    """
    _require(filters, "filters")
    even = filters.mean((2, 3)).square().sum(1) * filters[0, 0].numel()
    return _share(even, filters.square().sum((1, 2, 3)))


def edge_share(filters: Tensor) -> Tensor:
    """The share of what varies in each filter that one color times one Gabor function explains, (K, C, h, h) -> (K,).

    The mean of each color goes first: an even color has no shape. Of the rest the direction in color space that holds
    most is taken (the first singular vector), and of the small picture along it the best Gabor function, `gabor_fit`:
    an edge, a line, or with hardly any wave a blob. 0 for a filter without shape. Raises ValueError as `flat_share`
    does, and for filters that are not square.
    """
    _require(filters, "filters")
    if filters.shape[2] != filters.shape[3]:
        raise ValueError(f"filters must be square, got {tuple(filters.shape[2:])}")
    varying = filters - filters.mean((2, 3), keepdim=True)
    _, strength, pictures = torch.linalg.svd(varying.flatten(2), full_matrices=False)  # (K, C, C), (K, C), (K, C, h*h)
    energy = strength.square().sum(1)
    rounding = energy <= 1e-10 * filters.square().sum((1, 2, 3))  # what is left of an even color
    first = _share(strength[:, 0] ** 2, energy).masked_fill(rounding, 0)
    return first * gabor_fit(pictures[:, 0], filters.shape[-1]).explained


def fine_detail(images: Tensor) -> Tensor:
    """The share of an image's power beyond 1/4 cycle a pixel, half of what a row can carry, (B, C, H, W) -> (B,).

    Of white noise it is 1 - pi / 16 = 0.80, the area of a square beyond the circle in it; of an even image 0.
    Raises ValueError for images that are not four-dimensional, floating and finite.
    """
    _require(images, "images")
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().sum(1)  # (B, H, W)
    rows, columns = (torch.fft.fftfreq(side, device=images.device) for side in images.shape[2:])
    high = torch.hypot(rows[:, None], columns) > 0.25
    return _share(power[:, high].sum(1), power.sum((1, 2)))


def nearest(images: Tensor, others: Tensor) -> Tensor:
    """How alike each image is to the one of `others` that is most like it, (B, C, H, W), (N, C, H, W) -> (B,).

    Likeness is the correlation, pixel by pixel, of all colors together: brightness and contrast do not count, the place
    does; an even image is like nothing, 0. Raises ValueError for images of other sizes, and as `fine_detail` does.
    """
    _require(images, "images"), _require(others, "the others")
    if images.shape[1:] != others.shape[1:]:
        raise ValueError(f"all images must be of one size, got {tuple(images.shape[1:])} and {tuple(others.shape[1:])}")
    one, other = (_centered(x.flatten(1)) for x in (images, others))
    return (one @ other.T).amax(1)


def likeness(pictures: Tensor) -> float:
    """The mean correlation, pixel by pixel, of two different ones of (B, C, H, W); constant ones are left out.

    Raises ValueError as `fine_detail` does, and for fewer than two pictures that vary.
    """
    _require(pictures, "pictures")
    flat = pictures.flatten(1)
    flat = flat[_centered(flat).any(1)]
    if len(flat) < 2:
        raise ValueError("at least two pictures that are not constant are needed")
    return torch.corrcoef(flat)[~torch.eye(len(flat), dtype=torch.bool)].mean().item()


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """The mean Spearman correlation of two stacks of pictures, (B, C, H, W) twice, over the pixels that either reaches.

    The sign counts: without it any two pictures are alike, as both are strong in the middle of what a unit sees. 1 for
    the same order of pixels, 0 where nothing of it is left, or where one of the two has no order, being of one value.
    (Adebayo et al., 2018, compare pictures in this way.) Raises ValueError for unequal shapes, and as `fine_detail`
    does.
    """
    from scipy.stats import spearmanr  # here, as SciPy's statistics take long to import

    _require(one, "pictures"), _require(other, "pictures")
    if one.shape != other.shape:
        raise ValueError(f"two stacks of one shape are needed, got {tuple(one.shape)} and {tuple(other.shape)}")
    found = []
    for a, b in zip(one.flatten(1), other.flatten(1), strict=True):
        reached = (a != 0) | (b != 0)
        varies = min(a[reached].unique().numel(), b[reached].unique().numel()) > 1
        found.append(float(spearmanr(a[reached].cpu(), b[reached].cpu()).statistic) if varies else 0.0)
    return sum(found) / len(found)


def outlines(images: Tensor) -> Tensor:
    """How much each pixel differs from its right and its lower neighbor, (B, C, H, W) -> (B, C, H, W).

    A picture of edges that knows no network: the rival of every picture that claims to show what a network sees.
    Raises ValueError as `fine_detail` does.
    """
    _require(images, "images")
    down = F.pad(images.diff(dim=2), (0, 0, 0, 1))
    right = F.pad(images.diff(dim=3), (0, 1))
    return torch.hypot(down, right)


def signed(pictures: Tensor) -> Tensor:
    """Pictures around 0 for the eye, (B, C, H, W) -> in [0, 1]: 0 is mid-gray, each stretched to its own 99.5 %.

    That is the size below which 99.5 % of the values that are not 0 lie. Raises ValueError as `fine_detail` does.
    """
    _require(pictures, "pictures")
    sizes = pictures.detach().abs().flatten(1)
    largest = sizes.where(sizes > 0, torch.nan).nanquantile(0.995, dim=1).nan_to_num(1.0)  # (B,), 1 for an empty one
    return (0.5 + 0.5 * pictures / largest[:, None, None, None]).clamp(0, 1)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, 0 where the whole is 0."""
    return torch.where(whole > 0, part / whole, 0)


def _centered(flat: Tensor) -> Tensor:
    """Rows (B, N) less their means, of length 1; 0 for a row that is constant to rounding."""
    centered = flat - flat.mean(1, keepdim=True)
    constant = centered.abs().amax(1) <= 1e-6 * flat.abs().amax(1)
    return F.normalize(centered, dim=1).masked_fill(constant[:, None], 0)


def _require(pictures: Tensor, what: str) -> None:
    if pictures.ndim != 4 or not pictures.numel():
        raise ValueError(f"{what} must have the shape (B, C, H, W), none of it 0; got {tuple(pictures.shape)}")
    if not pictures.is_floating_point():
        raise ValueError(f"{what} must be floats, got {pictures.dtype}")
    require_finite(pictures, what)
