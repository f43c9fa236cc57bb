"""Images turned, enlarged, sheared and shifted, for lessons that ask what a network makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def affine(
    images: Tensor,
    *,
    rotation: float | Tensor = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    shift: float = 0.0,
    outside: float | Tensor = 0.0,
) -> Tensor:
    """Images (N, C, H, W) turned by degrees, counter-clockwise, enlarged, sheared by degrees, shifted right by pixels.

    The rotation may be one number for each image, (N,). The middle stays where it is, but for the shift; pixels are
    interpolated bilinearly, and what comes in from outside has the value `outside`, which may be (C, 1, 1).
    Images must be square, or a turn would also stretch them. Raises ValueError for others, and for a scale that is not
    above 0.
    """
    import torch
    from torch.nn import functional as F

    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"affine takes square images (N, C, H, H), got {tuple(images.shape)}")
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    angle = torch.as_tensor(rotation, dtype=torch.float32, device=images.device).expand(len(images)).deg2rad()
    lean = torch.tensor(float(shear), device=images.device).deg2rad().tan()
    cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros_like(angle)
    source = torch.stack([cos, lean - sin, zero - 2 * shift / images.shape[3], sin, cos, zero], 1)  # where from
    grid = F.affine_grid(source.view(-1, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images - outside, grid, align_corners=False)  # 0 comes in: a plain rim where it is `outside`
    return moved + outside
