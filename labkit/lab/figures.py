"""Figures in one style: legible at half width, colours that the colour-blind can tell apart, never colour alone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from PIL import Image

# Ten colours chosen for colour-vision deficiencies: M. A. Petroff (2021), arXiv:2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
STYLE = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE[:5]) + plt.cycler(linestyle=["-", "--", "-.", ":", (0, (5, 1))]),
    "image.cmap": "gray_r",
    "figure.constrained_layout.use": True,
}


def panels(rows: int = 1, columns: int = 1, *, width: float = 4.0, height: float = 3.4, **options: Any):
    """A figure and its axes in the course's style, like plt.subplots; width and height of one panel in inches."""
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width * columns, height * rows), **options)


def as_png(figure: plt.Figure, *, crop: bool = True) -> bytes:
    """The figure as a PNG file, and the figure closed; the same figure gives the same bytes.

    `crop` follows what sticks out or leaves room at the edges, for which the figure is drawn twice.
    """
    buffer, smaller = io.BytesIO(), io.BytesIO()
    box = "tight" if crop else None
    figure.savefig(buffer, format="png", dpi=90, bbox_inches=box, metadata={"Software": None})  # no version in it
    plt.close(figure)
    red, green, blue, _ = Image.open(buffer).split()  # opaque: the fourth channel says nothing
    grey = red.tobytes() == green.tobytes() == blue.tobytes()
    (red if grey else Image.merge("RGB", (red, green, blue))).save(smaller, format="png", optimize=True)
    return smaller.getvalue()  # the same pixels in two thirds of the bytes


def image_rows(rows: dict[str, Any], *, size: float = 0.75, columns: Sequence[str] = ()) -> plt.Figure:
    """One labelled row of images an entry, all in [0, 1]: {"label": images}.

    Images are grey, (n, H, W) or square ones (n, H * H), ink dark on white, or in colour, (n, 3, H, W). Shorter rows
    leave white space at the right; `size` is the side of an image in inches, `columns` label the columns.
    """
    grids = [_images(images) for images in rows.values()]
    count, (height, width) = max(len(images) for images in grids), grids[0].shape[1:3]
    gap = 2
    mosaic = tiled(grids, gap=gap, fill=1.0 if grids[0].ndim == 4 else 0.0)  # white
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(size * count + 1, size * len(grids)))
    ax.imshow(mosaic, vmin=0, vmax=1, cmap="gray_r", interpolation="nearest")
    ax.set_yticks([i * (height + gap) + height / 2 for i in range(len(grids))], list(rows))
    ax.set_xticks([j * (width + gap) + width / 2 for j in range(len(columns))], columns)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def tiled(rows: Sequence[np.ndarray], *, gap: int = 1, fill: float = 0.0) -> np.ndarray:
    """One image made of rows of images (n, H, W) or (n, H, W, 3), with `gap` pixels of `fill` between them."""
    count, (height, width, *colours) = max(len(images) for images in rows), rows[0].shape[1:]
    mosaic = np.full((len(rows) * (height + gap) - gap, count * (width + gap) - gap, *colours), fill)
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            mosaic[i * (height + gap) :, j * (width + gap) :][:height, :width] = image
    return mosaic


def beside(*images: Any, gap: int = 2) -> np.ndarray:
    """Pictures next to each other as one (H, W, 3) in [0, 1], for a widget: in colour (3, H, W), or grey maps (h, w).

    The first gives the height; the others are enlarged to it, pixels keep sharp edges. A map is scaled by its largest
    value, black is 0. Raises ValueError for other shapes.
    """
    arrays = [np.asarray(image.detach().cpu() if hasattr(image, "detach") else image, dtype=float) for image in images]
    if wrong := [array.shape for array in arrays if array.ndim != 2 and array.shape[:-2] != (3,)]:
        raise ValueError(f"pictures must be (3, H, W) or (h, w), got shape {wrong[0]}")
    height, shown = arrays[0].shape[-2], []
    for array in arrays:
        if array.ndim == 2:
            array = np.broadcast_to(np.maximum(array, 0) / max(array.max(), 1e-12), (3, *array.shape))
        rows = np.arange(height) * array.shape[1] // height
        columns = np.arange(round(height * array.shape[2] / array.shape[1])) * array.shape[1] // height
        shown += [np.moveaxis(array[:, rows][:, :, columns], 0, -1), np.ones((height, gap, 3))]
    return np.concatenate(shown[:-1], axis=1).clip(0, 1)


def atom_rows(rows: dict[str, Any], *, columns: int = 20, size: float = 0.55) -> plt.Figure:
    """Square atoms with positive and negative pixels, {"label": (n, side * side)}, `columns` of them to a line.

    Each atom is scaled by its own largest pixel: white is negative, mid-grey zero, black positive.
    """
    lines, labels = [], {}
    for label, atoms in rows.items():
        pixels = np.asarray(atoms.detach().cpu() if hasattr(atoms, "detach") else atoms, dtype=float)
        side = math.isqrt(pixels.shape[1])
        scaled = pixels / np.maximum(np.abs(pixels).max(axis=1, keepdims=True), 1e-12)
        images = scaled.reshape(-1, side, side)
        labels[len(lines)] = label
        lines += [images[start : start + columns] for start in range(0, len(images), columns)]
    mosaic = tiled(lines, gap=1)
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(size * columns + 1, size * len(lines)))
    ax.imshow(mosaic, vmin=-1, vmax=1, cmap="gray_r", interpolation="nearest")
    ax.set_yticks([line * (side + 1) + side / 2 for line in labels], list(labels.values()))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


def scatter_classes(ax: plt.Axes, points: Any, labels: Any, *, title: str = "") -> None:
    """Points (N, 2) coloured by class 0-9; each class's number stands at its median, so colour is not needed."""
    points, labels = np.asarray(points), np.asarray(labels)
    for label in np.unique(labels):
        mine = points[labels == label]
        ax.scatter(*mine.T, s=9, alpha=0.7, linewidths=0, color=PALETTE[label % len(PALETTE)])
    for label in np.unique(labels):
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}
        ax.text(
            *np.median(points[labels == label], axis=0), str(label), ha="center", va="center", bbox=box, fontsize=11
        )
    ax.set_title(title)
    ax.set_aspect("equal", adjustable="datalim")


def ellipse(ax: plt.Axes, centre: Any, covariance: Any, *, deviations: float = 2.0) -> None:
    """The outline of a two-dimensional Gaussian at so many standard deviations: centre (2,), covariance (2, 2)."""
    variances, axes = np.linalg.eigh(np.asarray(covariance))
    angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    width, height = 2 * deviations * np.sqrt(variances)
    ax.add_patch(Ellipse(np.asarray(centre), width, height, angle=angle, fill=False, linewidth=1.2, zorder=3))


def bars(ax: plt.Axes, groups: Sequence[str], series: dict[str, Sequence[float]], *, numbers: bool = True) -> None:
    """Grouped bars with a legend, a hatch for each series beside its colour, and `numbers` on top."""
    width = 0.8 / len(series)
    for i, (label, heights) in enumerate(series.items()):
        place = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        look = {"color": PALETTE[i], "hatch": ["", "//", "..", "xx"][i % 4], "edgecolor": "white"}
        drawn = ax.bar(place, heights, width, label=label, **look)
        if numbers:
            ax.bar_label(drawn, fmt="{:.4g}", padding=2, fontsize=10)
    ax.set_xticks(range(len(groups)), groups)
    if len(series) > 1:
        ax.legend(frameon=False)


def rates(ax: plt.Axes, names: Sequence[str], successes: Sequence[int], count: int, **look: Any) -> None:
    """Horizontal bars of successes / count in percent, each with its 95 % interval (Wilson's) and its number."""
    from scipy.stats import binomtest

    percent = 100 * np.asarray(successes) / count
    intervals = [binomtest(int(k), count).proportion_ci(method="wilson") for k in successes]
    ax.barh(names, percent, **look)
    ax.hlines(range(len(names)), [100 * i.low for i in intervals], [100 * i.high for i in intervals], color="black")
    for place, (value, interval) in enumerate(zip(percent, intervals, strict=True)):
        ax.text(100 * interval.high + 2, place, f"{value:.0f}", va="center", fontsize=10)
    ax.set(xlim=(0, 119), ylim=(len(names) - 0.5, -0.5))


def number_table(ax: plt.Axes, rows: Sequence[str], columns: Sequence[str], values: Any, *, low: float = 0.0) -> None:
    """A table of numbers (rows, columns) in [0, 1] on grey: the darker the larger, white at `low` and below.

    The largest of each row stands in bold, with all that round to the same two digits; a number that is nan is left
    empty.
    """
    values = np.asarray(values, dtype=float)
    ax.imshow(values, vmin=low, vmax=1, aspect="auto", cmap="gray_r", alpha=0.75)
    best = np.nanmax(np.round(values, 2), axis=1)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = (value - low) / (1 - low) > 0.72  # from there on white has the higher contrast
            weight = "bold" if round(value, 2) == best[i] else "normal"
            look = {"ha": "center", "va": "center", "fontsize": 11, "weight": weight}
            ax.text(j, i, f"{value:.2f}", color="white" if dark else "black", **look)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)


def in_numbers(values: Mapping[str, Any], places: int = 2) -> str:
    """For alt text: {"a": 0.123, "b": [1, 0.5]} -> "a 0.12; b 1.00, 0.50"; `places` behind the point."""
    told = {name: ", ".join(f"{each:.{places}f}" for each in np.ravel(value)) for name, value in values.items()}
    return "; ".join(f"{name} {numbers}" for name, numbers in told.items())


def _images(images: Any) -> np.ndarray:
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images, dtype=float)
    if array.ndim == 4 and array.shape[1] == 3:
        return np.moveaxis(array, 1, -1)
    if array.ndim == 3:
        return array
    side = math.isqrt(array[0].size)
    return array.reshape(len(array), side, side)
