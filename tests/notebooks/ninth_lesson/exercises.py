"""The exercise of the lesson on least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.papers import least_squares as paper


def slope(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum() / (x * x).sum()


SLOPE = Exercise(
    name="slope",
    reference=paper.slope,
    answer=slope,
    probes=(
        Probe("x = (1, 2), y = (3, 6)", lambda f: f(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0]))),
        Probe("x = (1, 2), y = (1, 0)", lambda f: f(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))),
        Probe("x = (-2, 1), y = (1, 1)", lambda f: f(torch.tensor([-2.0, 1.0]), torch.tensor([1.0, 1.0]))),
    ),
    hints=(
        "Where is the derivative of the sum of squares by the slope zero?",
        "The sum of x (y - a x) is zero.",
        skeleton(slope, "x * y", "x * x"),
    ),
    mistakes=mistakes(
        slope,
        """
        upside-down: (x * y).sum() / (x * x).sum() => (x * x).sum() / (x * y).sum()
            This is the inverse of the slope.

        mean-of-slopes: (x * y).sum() / (x * x).sum() => (y / x).mean()
            This is the mean of the slopes of single points, to which small x add most.

        not-squared: (x * x).sum() => x.abs().sum()
            The denominator is the sum of x squared.
        """,
    ),
    minutes=3,
    difficulty=1,
    importance=3,
)

EXERCISES = (SLOPE,)
