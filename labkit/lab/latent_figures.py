"""Latent spaces as maps in the plane: classes told apart, clouds that carry their class, one digit found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np

from labkit.lab.figures import ellipse, panels

# Ten colors that stay apart for the color-blind, after the scheme "muted" of Paul Tol's technical note (2021); its
# light ones are darker here, since numbers are written in them.
CLASS_COLORS = (
    "#332288",
    "#2f9bd6",
    "#2a9d84",
    "#117733",
    "#85851c",
    "#c29a1f",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#555555",
)


def spread_out(places: Any, gap: float, rounds: int = 200) -> np.ndarray:
    """Places (N, 2) moved as little as a few rounds allow, until any two are at least `gap` apart.

    Two that are too near are pushed away from each other along the line between them, each by half of what is missing;
    two at the same place along the first axis. Raises ValueError unless places are (N, 2) and gap is positive.
    """
    moved = np.array(places, dtype=float)
    if moved.ndim != 2 or moved.shape[1] != 2 or not gap > 0:
        raise ValueError(f"places (N, 2) and a positive gap are needed, got shape {moved.shape} and gap {gap}")
    for _ in range(rounds):
        crowded = False
        for i in range(len(moved)):
            for j in range(i):
                apart = moved[i] - moved[j]
                distance = np.linalg.norm(apart)
                if distance < gap * (1 - 1e-6):
                    push = apart / distance if distance > 0 else np.array([1.0, 0.0])
                    moved[i] += push * (gap - distance) / 2
                    moved[j] -= push * (gap - distance) / 2
                    crowded = True
        if not crowded:
            break
    return moved


def class_map(ax: plt.Axes, points: Any, labels: Any, *, title: str = "") -> None:
    """Points (N, 2) in the colors of their classes 0-9; each class's number stands near its median, apart from others.

    Numbers can be read without the colors: they have a white outline, and are moved until none covers another.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    ax.scatter(*points.T, s=7, alpha=0.6, linewidths=0, color=[CLASS_COLORS[label % 10] for label in labels])
    ax.set_title(title)
    ax.set_aspect("equal", adjustable="datalim")
    classes = np.unique(labels)
    medians = np.array([np.median(points[labels == label], axis=0) for label in classes])
    extent = np.ptp(points, axis=0).max()
    for label, place in zip(classes, spread_out(medians, 0.085 * extent), strict=True):
        _number(ax, place, label, 15)


def clouds(ax: plt.Axes, means: Any, covariances: Any, labels: Any, *, title: str = "") -> None:
    """Gaussians (N, 2), (N, 2, 2) as ellipses of two standard deviations, each with its class's number and color."""
    for mean, covariance, label in zip(means, covariances, labels, strict=True):
        ellipse(ax, mean, covariance)
        ax.patches[-1].set(edgecolor=CLASS_COLORS[label % 10], linewidth=2)
        _number(ax, np.asarray(mean), label, 13)
    ax.set_title(title)
    ax.set_aspect("equal", adjustable="datalim")
    ax.autoscale_view()


def digit_in_maps(maps: Mapping[str, Any], labels: Any, index: int, images: Mapping[str, Any]) -> plt.Figure:
    """Where one digit lies: {"AE": points (N, 2), ...} side by side, its point marked, and beside them its images.

    `images` are {"label": (784,) or (28, 28)} in [0, 1], such as the digit and its reconstructions. Raises IndexError
    for an index outside the maps.
    """
    count = len(np.asarray(labels))
    if not 0 <= index < count:
        raise IndexError(f"digit {index} is not on the map: it shows the digits 0 to {count - 1}")
    figure, axes = panels(1, len(maps) + 1, width=3.6, height=3.4)
    for ax, (name, points) in zip(axes, maps.items(), strict=False):
        class_map(ax, points, labels, title=name)
        ax.scatter(*np.asarray(points)[index], s=260, marker="*", color="black", edgecolors="white", zorder=5)
        ax.set(xticks=[], yticks=[])
    column = np.concatenate([np.asarray(image).reshape(28, 28) for image in images.values()])
    axes[-1].imshow(column, vmin=0, vmax=1, cmap="gray_r", interpolation="nearest")
    axes[-1].set_yticks([28 * row + 14 for row in range(len(images))], list(images))
    axes[-1].set(xticks=[], title=f"test digit {index}: a {np.asarray(labels)[index]}")
    axes[-1].tick_params(length=0)
    return figure


def _number(ax: plt.Axes, place: np.ndarray, label: int, size: float) -> None:
    outline = [effects.withStroke(linewidth=4, foreground="white")]
    look = {"ha": "center", "va": "center", "fontsize": size, "fontweight": "bold", "path_effects": outline}
    ax.text(*place, str(label), color=CLASS_COLORS[label % 10], zorder=4, **look)
