"""Scenes: a pattern (a digit, a face) of any size, angle and place on a piece of a colour photograph.

What is to be recognised is known, and so is all that must not matter. Pure functions of tensors; whatever is random
comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.data.dataset import Split
from labkit.data.photos import Photographs, backgrounds

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue, as in the grey photographs
CONTRAST = 0.35  # between the luminance of a digit's ink and that of what it covers
OUTSIDE = (
    0.1  # the share of a pattern's side that may lie outside the scene: less than the empty rim of a digit of MNIST
)
FADE = 0.3  # the share of a soft disc's radius over which it fades


@dataclass(frozen=True, eq=False)
class Scenes:
    """Digits on photographs, and what they are made of."""

    images: Tensor  # (N, 3, side, side) float32 in [0, 1]
    labels: Tensor  # (N,) int64, the digit
    backgrounds: Tensor  # (N,) int64, the photograph: an index into tuple(photographs.colour)


def place(
    patterns: Tensor,
    backgrounds: Tensor,
    *,
    size: float | Tensor,
    angle: float | Tensor = 0.0,
    brightness: float | Tensor = 1.0,
    shift: Sequence[float] | Tensor = (0.0, 0.0),
    alpha: Tensor | None = None,
    colour: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Put pattern i of (N, 1, h, h) on background i of (N, 3, S, S), all in [0, 1], -> (N, 3, S, S) in [0, 1].

    `size` is the side of the pattern in pixels of the scene, `angle` its turn in degrees counter-clockwise, `shift` how
    far (right, down) of the scene's middle its own middle lies, in pixels; `brightness` multiplies the whole finished
    scene, which is clipped to [0, 1]. Each is one for all patterns or one for each, a tensor (N,), or (N, 2) for shift.

    Without `alpha` the pattern is the opacity of ink, painted in `colour`, (3,) or (N, 3), by default white. With
    `alpha`, an opacity (N, 1, h, h) or one for all (h, h), the pattern is shown in its own grey. Where nothing covers
    it the background stays the same to the last bit, apart from brightness.

    A pattern that is to shrink is first resized with antialiasing to the next whole number of pixels; the turn, the
    shift and the rest of the shrinking are bilinear. Raises ValueError for shapes or numbers that do not fit.
    """
    import torch

    _check_images("patterns", patterns, 1)
    _check_images("backgrounds", backgrounds, 3)
    if len(patterns) != len(backgrounds):
        raise ValueError(
            f"each pattern needs a background, got {len(patterns)} patterns, {len(backgrounds)} backgrounds"
        )
    size, angle = _each("size", size, patterns), _each("angle", angle, patterns)
    brightness, shift = _each("brightness", brightness, patterns), _each("shift", shift, patterns, 2)
    if not (size > 0).all():
        raise ValueError(f"every size must be above 0 pixels, got {size.min():g}")
    if not (brightness >= 0).all():
        raise ValueError(f"no brightness may be below 0, got {brightness.min():g}")
    if alpha is None:
        opacity = _cast(patterns, backgrounds.shape[-1], size, angle, shift)  # (N, 1, S, S)
        paint = opacity * _each("colour", (1.0, 1.0, 1.0) if colour is None else colour, patterns, 3)[:, :, None, None]
    else:
        if colour is not None:
            raise ValueError("a pattern with an alpha is shown in its own grey: give alpha or colour, not both")
        if alpha.shape not in (patterns.shape, patterns.shape[2:]) or not _is_share(alpha):
            raise ValueError(
                f"alpha must lie in [0, 1] and have the shape of the patterns, {tuple(patterns.shape)}, or of one of "
                f"them, {tuple(patterns.shape[2:])}, got {tuple(alpha.shape)}"
            )
        layers = torch.cat([patterns * alpha, alpha.expand_as(patterns)], dim=1)  # grey counts as far as it covers
        paint, opacity = _cast(layers, backgrounds.shape[-1], size, angle, shift).split(1, dim=1)
    return _finish(backgrounds, opacity, paint, brightness)


def soft_disc(height: int, width: int) -> Tensor:
    """An opacity (height, width) for `place`: 1 inside an ellipse that touches the border, fading to 0 towards it."""
    import torch

    down, right = (torch.arange(1 - n, n, 2) / n for n in (height, width))  # pixel centres, the borders at -1 and 1
    inside = ((1 - torch.hypot(down[:, None], right)) / FADE).clamp(0, 1)
    return inside**2 * (3 - 2 * inside)  # smooth at both ends


def digit_scenes(
    digits: Split,
    photographs: Photographs,
    *,
    side: int,
    part: str,
    generator: torch.Generator,
    sizes: tuple[float, float],
    count: int | None = None,
    angles: tuple[float, float] = (-15.0, 15.0),
    brightness: tuple[float, float] = (0.75, 1.25),
) -> Scenes:
    """Digits (M, 1, h, h) on `part` of the photographs, as `count` scenes of side x side pixels; by default M.

    The digits come in their order, again from the first when there are fewer than scenes. Each has a background of its
    own and, evenly between the two ends given, a size in pixels, an angle in degrees and a brightness, see `place`. It
    lies anywhere, before its turn with at most a tenth of its side outside. The colour of its ink is random, with a
    luminance at least 0.35 from the mean of what it covers. Raises ValueError as `place` and `backgrounds` do, and for
    ends in the wrong order.
    """
    import torch

    count = len(digits) if count is None else count
    behind, photograph = backgrounds(photographs, side, count, generator, part=part)
    turn = torch.arange(count) % len(digits)
    patterns = digits.images[turn]
    _check_images("digits", patterns, 1)
    size = _between("sizes", sizes, count, generator)
    angle = _between("angles", angles, count, generator)
    bright = _between("brightness", brightness, count, generator)
    if sizes[0] <= 0 or brightness[0] < 0:
        raise ValueError(f"sizes must be above 0 and brightness not below 0, got {sizes} and {brightness}")
    free = ((side - (1 - 2 * OUTSIDE) * size) / 2).clamp_min(0)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * free[:, None]

    opacity = _cast(patterns, side, size, angle, shift)  # (N, 1, S, S)
    covered = _luminance(behind).unsqueeze(1)
    mean = (opacity * covered).sum((1, 2, 3)) / opacity.sum((1, 2, 3)).clamp_min(1e-6)
    paint = opacity * _contrasting(mean, generator)[:, :, None, None]
    return Scenes(_finish(behind, opacity, paint, bright), digits.labels[turn], photograph)


def _cast(layers: Tensor, side: int, size: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Layers (N, C, h, h) as they fall on the scene, (N, C, side, side); 0 outside. size, angle (N,), shift (N, 2)."""
    import torch
    from torch.nn import functional as F

    sine, cosine = angle.deg2rad().sin(), angle.deg2rad().cos()
    back = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)  # from the scene, y down, to the pattern
    theta = torch.cat([side * back, -2 * back @ shift[:, :, None]], dim=2) / size[:, None, None]  # (N, 2, 3)
    cast = layers.new_empty(*layers.shape[:2], side, side)
    pixels = size.ceil().clamp(max=layers.shape[-1]).int()
    for n in pixels.unique().tolist():  # one antialiasing for all patterns of nearly the same size
        chosen = pixels == n
        small = F.interpolate(layers[chosen], size=(n, n), mode="bilinear", antialias=True)
        grid = F.affine_grid(theta[chosen], [len(small), 1, side, side], align_corners=False)
        cast[chosen] = F.grid_sample(small, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return cast


def _finish(behind: Tensor, opacity: Tensor, paint: Tensor, brightness: Tensor) -> Tensor:
    """The paint, which is multiplied by its opacity already, over what lies behind."""
    return (behind * (1 - opacity)).add_(paint).mul_(brightness[:, None, None, None]).clamp_(0, 1)


def _contrasting(luminance: Tensor, generator: torch.Generator) -> Tensor:
    """Random colours (N, 3) whose luminance differs from the given one, (N,), by CONTRAST or more."""
    import torch

    darker, lighter = (luminance - CONTRAST).clamp_min(0), (1 - CONTRAST - luminance).clamp_min(0)  # what room there is
    pick = torch.rand(len(luminance), generator=generator) * (darker + lighter)
    wanted = torch.where(pick < darker, pick, luminance + CONTRAST + pick - darker)[:, None]
    colour = torch.rand(len(luminance), 3, generator=generator)
    has = _luminance(colour)[:, None]
    darkened, lightened = colour * wanted / has, 1 - (1 - colour) * (1 - wanted) / (1 - has)
    return torch.where(wanted < has, darkened, lightened)


def _luminance(colour: Tensor) -> Tensor:
    """Of (N, 3, ...) -> (N, ...)."""
    return sum(share * channel for share, channel in zip(LUMINANCE, colour.unbind(1), strict=True))


def _between(what: str, ends: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    import torch

    low, high = ends
    if not -float("inf") < low <= high < float("inf"):
        raise ValueError(f"the {what} must be two numbers, the lower first, got {low} and {high}")
    return low + (high - low) * torch.rand(count, generator=generator)


def _each(what: str, value: float | Sequence[float] | Tensor, patterns: Tensor, *columns: int) -> Tensor:
    """One value for each of the N patterns, (N, *columns), from that or from one for all, (*columns)."""
    import torch

    given = torch.as_tensor(value, dtype=patterns.dtype, device=patterns.device)
    every = (len(patterns), *columns)
    if given.shape not in (columns, every):
        raise ValueError(f"{what} must have the shape {columns} or {every}, got {tuple(given.shape)}")
    if not given.isfinite().all():
        raise ValueError(f"{what} has values that are no finite numbers")
    return given.expand(every)


def _check_images(what: str, images: Tensor, channels: int) -> None:
    if images.ndim != 4 or images.shape[1] != channels or images.shape[2] != images.shape[3]:
        raise ValueError(f"{what} must be square images (N, {channels}, side, side), got shape {tuple(images.shape)}")
    if not _is_share(images):
        raise ValueError(f"{what} must have values in [0, 1]")


def _is_share(values: Tensor) -> bool:
    """Whether all lie in [0, 1]; NaN does not."""
    return bool(((values >= 0) & (values <= 1)).all())
