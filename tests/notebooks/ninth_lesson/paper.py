"""Least squares for a line through the origin: Legendre (1805)."""

from __future__ import annotations

from torch import Tensor


def slope(x: Tensor, y: Tensor) -> Tensor:
    """The slope a that makes the sum of (y - a x)^2 smallest: x (N,), y (N,) -> (). Source: the appendix."""
    return (x * y).sum() / (x * x).sum()
