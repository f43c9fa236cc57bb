"""An optimizer with its schedule, as papers give them, for `labkit.lab.training.fit`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR


def one_cycle(model: nn.Module, lr: float, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """Adam whose step size rises to `lr` in the first three tenths of `steps`, then falls to nearly 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    # One step more than batches, since `fit` moves the schedule after the last one, too.
    return optimizer, OneCycleLR(optimizer, lr, total_steps=steps + 1)


def in_steps(
    model: nn.Module, lr: float, milestones: Sequence[int], *, momentum: float = 0.9, weight_decay: float = 1e-4
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """SGD with momentum, whose step size is divided by 10 after each of the `milestones`, counted in steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    return optimizer, MultiStepLR(optimizer, list(milestones))
