"""What a network says when part of the image is covered: occlusion, and correspondence between parts.

Paper: M. D. Zeiler, R. Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014, sections 4.2 and 4.3.

A grid of cells of `stride` x `stride` pixels lies over an image of H x W pixels: ceil(H / stride) rows and
ceil(W / stride) columns, the last ones cut off by the edge. A network is a function of images, (N, C, H, W) -> (N, K);
a module runs in evaluation mode and is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.papers.cnn_feature_maps import require_finite, require_images, require_unit, undisturbed


@torch.no_grad()
def occlusion(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    unit: int | Sequence[int] | Tensor,
    *,
    size: int,
    stride: int,
    fill: float | Tensor = 0.0,
    batch_size: int = 256,
) -> Tensor:
    """How much a unit loses when a square of `size` pixels covers the image around each cell, -> (B, rows, columns).

    Zeiler & Fergus (2014), section 4.2. `unit` is one output, or one for each image. `fill` covers, a number or one for
    each color in a shape that fits, (C, 1, 1). Squares stick out over the edge, so that the rim is covered as well.
    Positive: without what was there the unit fires less. Raises ValueError for squares or cells of no size, images that
    are not finite, and a unit that does not exist.
    """
    require_images(images)
    if size < 1 or stride < 1:
        raise ValueError(f"size and stride are pixels, at least 1; got {size} and {stride}")
    rows, columns = (-(-side // stride) for side in images.shape[2:])
    units = torch.as_tensor(unit, device=images.device).expand(len(images))
    centers = [(r * stride + stride / 2, c * stride + stride / 2) for r in range(rows) for c in range(columns)]
    covers = torch.stack([_square(images.shape[2:], *center, size) for center in centers]).to(images.device)
    lost = []
    with undisturbed(model):
        for image, own in zip(images, units, strict=True):
            whole = model(image[None])
            require_unit(whole, "the output", own)
            parts = (torch.where(part[:, None], fill, image).to(image.dtype) for part in covers.split(batch_size))
            lost.append((whole[0, own] - torch.cat([model(part)[:, own] for part in parts])).view(rows, columns))
    return torch.stack(lost)


def cell_means(pictures: Tensor, stride: int, *, signed: bool = False) -> Tensor:
    """How strong a picture is in each cell: the mean of its pixels' sizes, (B, C, H, W) -> (B, rows, columns).

    With `signed` the mean of the pixels themselves, colors added up: of gradient times image, what a cell contributes.
    Raises ValueError for another shape, and values that are not finite.
    """
    if pictures.ndim != 4:
        raise ValueError(f"pictures must have the shape (B, C, H, W), got {tuple(pictures.shape)}")
    require_finite(pictures, "the pictures")
    strength = (pictures if signed else pictures.abs()).sum(1, keepdim=True)
    return F.avg_pool2d(strength, stride, ceil_mode=True, count_include_pad=False)[:, 0]


def share_on_half(strength: Tensor, left: Tensor) -> Tensor:
    """The share of what is marked, (B, rows, columns) >= 0, on the left half where `left` (B,) says so, else the right.

    A middle column counts for neither. 0 where nothing is marked. Raises ValueError for a negative strength.
    """
    if not (strength >= 0).all():
        raise ValueError("a strength is a number of 0 or more: take the absolute value, or clamp it")
    columns = strength.shape[2]
    halves = strength[..., : columns // 2].sum((1, 2)), strength[..., -(-columns // 2) :].sum((1, 2))  # (B,) each
    whole = halves[0] + halves[1]
    return torch.where(whole > 0, torch.where(left, *halves) / whole, 0)


@torch.no_grad()
def deletion(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    unit: int | Sequence[int] | Tensor,
    ranking: Tensor,
    *,
    stride: int,
    shares: Sequence[float],
    fill: float | Tensor = 0.0,
) -> Tensor:
    """What a unit says with the cells covered that a `ranking` (B, rows, columns) puts first, -> (B, shares).

    For each of `shares` that part of the cells is covered, the highest ranked first (of equal ones, the first). Raises
    ValueError for a ranking of another grid and for shares outside of 0 ... 1. (A test of rankings, Petsiuk et al.,
    2018; whoever names what counts makes the unit fall soonest.)
    """
    require_images(images)
    rows, columns = (-(-side // stride) for side in images.shape[2:])
    if ranking.shape != (len(images), rows, columns):
        raise ValueError(f"a ranking of {len(images)} x {rows} x {columns} cells is needed, got {tuple(ranking.shape)}")
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares lie between 0 and 1, got {list(shares)}")
    units = torch.as_tensor(unit, device=images.device).expand(len(images))
    place = ranking.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # (B, cells), 0 is first
    place = place.view(-1, 1, rows, columns).repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    place = place[..., : images.shape[2], : images.shape[3]]
    said = []
    with undisturbed(model):
        for share in shares:
            output = model(torch.where(place < round(share * rows * columns), fill, images).to(images.dtype))
            require_unit(output, "the output", units)
            said.append(output[torch.arange(len(images)), units])
    return torch.stack(said, dim=1)


def correspondence(features: Tensor, covered: Tensor) -> Tensor:
    """Delta: how differently covering the same part of other images changes a layer, (N, D) twice -> scalar in [0, 1].

    Zeiler & Fergus (2014), section 4.3: eps_i = x_i - x~_i, and Delta the mean over pairs of images of the share of
    features in which sign(eps_i) and sign(eps_j) differ. The lower, the more the network takes the parts for the same
    thing. Raises ValueError for fewer than two images, other shapes, or values that are not finite.
    """
    if features.ndim != 2 or features.shape != covered.shape or len(features) < 2:
        shapes = f"{tuple(features.shape)} and {tuple(covered.shape)}"
        raise ValueError(f"features of at least two images are needed, (N, D) both; got {shapes}")
    require_finite(features, "the features")
    require_finite(covered, "the features of covered images")
    sign = (features - covered).sign()  # (N, D)
    differ = (sign[:, None] != sign[None]).float().mean(-1)  # (N, N), 0 on the diagonal
    return differ.sum() / (len(sign) * (len(sign) - 1))


def _square(sides: Sequence[int], row: float, column: float, size: int) -> Tensor:
    """Which pixels of (H, W) a square of `size` around a point covers."""
    near = [(torch.arange(side) + 0.5 - at).abs() <= size / 2 for side, at in zip(sides, (row, column), strict=True)]
    return near[0][:, None] & near[1]
