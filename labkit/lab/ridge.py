"""Ridge regression, for reading a quantity from a representation; importing scikit-learn takes longer than using it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def ridge(
    x: Tensor, y: Tensor, penalties: Iterable[float], components: int | None = None
) -> Callable[[Tensor], Tensor]:
    """Fit y (N, K) linearly to x (N, D), with an intercept and a penalty on squared weights; x' (M, D) -> y' (M, K).

    Of `penalties` the one with the least squared error is taken, where each row is predicted from all others: in closed
    form, for the whole of y. With `components`, x is first reduced to so many principal components. In float64.
    Raises ValueError for fewer than two rows, rows that do not match, and penalties that are not positive, or none.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x must be (N, D) and y (N, K) with N >= 2, got {tuple(x.shape)} and {tuple(y.shape)}")
    penalties = [float(penalty) for penalty in penalties]
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"penalties must be positive, and at least one, got {penalties}")
    x, y = x.double(), y.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    values, vectors = torch.linalg.eigh(x @ x.T)  # ascending; x = vectors * values^1/2 * directions
    kept = len(x) if components is None else min(components, len(x))
    values, vectors = values[-kept:].clamp(min=0), vectors[:, -kept:]
    aligned = vectors.T @ y

    def left_out(penalty: float) -> float:
        shrunk = values / (values + penalty)
        leverage = 1 / len(x) + vectors.square() @ shrunk
        residuals = (y - vectors @ (shrunk[:, None] * aligned)) / (1 - leverage)[:, None]
        return residuals.square().mean().item()

    best = min(penalties, key=left_out)
    weights = x.T @ (vectors @ (aligned / (values + best)[:, None]))  # (D, K)
    return lambda new: y_mean + (new.double() - x_mean) @ weights
