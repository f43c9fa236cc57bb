"""What the cap of the instruction set costs: a small CNN trained on one thread with it and without."""

import os
import subprocess
import sys

import pytest

from labkit.caps import CAPS

TRAIN = """
import time, torch
from torch import nn
torch.set_num_threads(1)
x, y = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))
layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(64 * 256, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
step()
seconds = []
for _ in range(12):
    start = time.perf_counter(); step(); seconds.append(time.perf_counter() - start)
print(sorted(seconds)[6])
"""


def median_step(environment: dict[str, str]) -> float:
    """Median seconds of a training step in a process of its own."""
    bare = {name: value for name, value in os.environ.items() if name not in CAPS}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], env=bare | environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.benchmark(group="cap of the instruction set")
def test_cost_of_the_caps(benchmark, capsys):
    uncapped = median_step({})
    capped = benchmark.pedantic(median_step, (CAPS,), rounds=1)
    benchmark.extra_info["ratio"] = round(capped / uncapped, 2)
    with capsys.disabled():
        print(f"\na training step capped to AVX2 takes {capped / uncapped:.2f} of its time without the cap")
