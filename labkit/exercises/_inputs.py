"""What the probes of several modules are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradient(function: Callable, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The gradient of what `function(*inputs)` returns, weighed by fixed numbers: one tensor for each input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    returned = function(*(leaf * 1 for leaf in leaves))
    weighed = (returned * normal(*returned.shape, seed=9)).sum()
    found = torch.autograd.grad(weighed, leaves, allow_unused=True, materialize_grads=True)
    return found if len(found) > 1 else found[0]
