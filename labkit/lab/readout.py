"""Linear readouts: what can be read from a representation, a number by ridge, a yes or no by logistic regression.

They give what scikit-learn's give, which take longer to import than to use.
"""

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


def logistic(x: Tensor, positive: Tensor, penalty: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Logistic regression of `positive` (N,), bool, on x (N, D), standardized; x' (M, D) -> scores (M,), float64.

    Least is the sum of the log losses plus penalty / 2 times the squared weights, without that of the intercept; it is
    found by Newton's method. Raises ValueError for shapes that do not match, rows of one kind only, and a penalty that
    is not positive.
    """
    if x.ndim != 2 or positive.shape != x.shape[:1] or not positive.any() or positive.all():
        raise ValueError(f"x must be (N, D), with N labels of both kinds, got {tuple(x.shape)}, {positive.sum()} true")
    if not penalty > 0:
        raise ValueError(f"the penalty must be positive, got {penalty}")
    x = x.double()
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread[spread == 0] = 1

    def inputs(x: Tensor) -> Tensor:
        return torch.cat([(x.double() - mean) / spread, x.new_ones(len(x), 1)], 1)  # the last is the intercept's

    x = inputs(x)
    penalties = torch.full_like(x[0], penalty)
    penalties[-1] = 0
    weights = torch.zeros_like(x[0])
    for _ in range(100):
        p = (x @ weights).sigmoid()
        gradient = x.T @ (p - positive.double()) + penalties * weights
        step = torch.linalg.solve((x.T * (p * (1 - p))) @ x + penalties.diag(), gradient)
        weights = weights - step
        if step.abs().max() < 1e-8:
            break
    return lambda new: inputs(new) @ weights
