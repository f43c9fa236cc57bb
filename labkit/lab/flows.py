"""What flows from layer to layer, drawn as lines between columns of dots: the thicker, the more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from labkit.lab.figures import PALETTE


def flows(
    ax: plt.Axes, columns: Sequence[Any], amounts: Sequence[Any], *, goal: int, share: float = 0.8, width: float = 7.0
) -> None:
    """Dots at `columns`, points (n, 2) each; between columns i and i + 1 a line for each of amounts[i], (n_i, n_i+1).

    Of each step only the largest amounts are drawn, which together make up `share` of it. A line is as wide as its
    amount against the largest of its step, up to `width` points; those that end at dot `goal` of the last column are
    red and solid, and lines before that are colored by how much of what arrives at their end goes on to the goal.
    """
    columns, amounts = [_array(points) for points in columns], [_array(amount) for amount in amounts]
    to_goal = np.eye(len(columns[-1]))[goal]  # of what arrives at a dot, the share that goes on to the goal
    red, blue = np.array(to_rgb(PALETTE[2])), np.array(to_rgb(PALETTE[0]))
    for points, ends, amount in reversed(list(zip(columns, columns[1:], amounts, strict=False))):
        drawn = _largest(amount, share)
        part = to_goal[drawn[:, 1], None]
        lines = np.stack([points[drawn[:, 0]], ends[drawn[:, 1]]], 1)  # (lines, 2, 2)
        size = amount[tuple(drawn.T)] / amount.max()
        colors = np.column_stack([part * red + (1 - part) * blue, 0.25 + 0.6 * part[:, 0]])
        ax.add_collection(LineCollection(lines, linewidths=width * size, colors=colors, capstyle="round", zorder=1))
        to_goal = amount @ to_goal / np.maximum(amount.sum(1), 1e-12)
    for points, size in zip(columns, _arriving(columns, amounts), strict=True):
        ax.scatter(*points.T, s=10 + 190 * size / size.max(), color="#444444", edgecolor="white", zorder=2)
    ax.set_axis_off()


def _largest(amount: np.ndarray, share: float) -> np.ndarray:
    """Places (lines, 2) of the largest numbers that together make up a share of all; the smallest first."""
    order = np.argsort(amount, axis=None)[::-1]
    count = 1 + np.searchsorted(np.cumsum(amount.flat[order]), share * amount.sum())
    return np.stack(np.unravel_index(order[:count][::-1], amount.shape), 1)


def _arriving(columns: Sequence[np.ndarray], amounts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each dot what leaves it, in the last column what arrives."""
    return [amount.sum(1) for amount in amounts] + [amounts[-1].sum(0)]


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
