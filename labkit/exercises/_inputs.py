"""What the probes of several modules are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradient(function: Callable, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The gradient of what the function returns, if that is no scalar weighed by fixed numbers; one for each input."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    returned = function(*(leaf * 1 for leaf in leaves))
    weights = normal(*returned.shape, seed=9) if returned.ndim else torch.ones(())
    found = torch.autograd.grad((returned * weights).sum(), leaves, allow_unused=True, materialize_grads=True)
    return found if len(found) > 1 else found[0]
