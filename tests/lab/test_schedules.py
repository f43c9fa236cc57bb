"""Step sizes as the schedules promise them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labkit.lab.schedules import in_steps, one_cycle


def rates(optimizer, schedule, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_rises_to_its_rate_and_ends_near_nothing() -> None:
    found = rates(*one_cycle(nn.Linear(2, 1), 0.1, 20), 20)
    top = found.index(max(found))
    assert max(found) == pytest.approx(0.1, rel=0.02)
    assert 5 <= top <= 7
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < 0.02 * max(found)


def test_in_steps_divides_by_ten_at_each_milestone() -> None:
    optimizer, schedule = in_steps(nn.Linear(2, 1), 0.1, (2, 4), weight_decay=0.5)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    assert rates(optimizer, schedule, 6) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
