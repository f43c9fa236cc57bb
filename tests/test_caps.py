"""The instruction set is capped before torch computes, the caps act, and what is in force is recorded."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import cache

import pytest

from labkit.caps import CAPS, ELSEWHERE, instruction_set

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="there is nothing to cap here")

TRAIN = """
def weights():
    import hashlib, torch
    from torch import nn
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randn(32, 1, 12, 12), torch.randint(4, (32,))
    cnn = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(1024, 4))
    for _ in range(5):
        cnn.zero_grad()
        nn.functional.cross_entropy(cnn(x), y).backward()
        with torch.no_grad():
            for p in cnn.parameters():
                p -= 0.1 * p.grad
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in cnn.parameters())).hexdigest()
"""
REPORT = "import json; from labkit.caps import instruction_set, too_late; "
REPORT += "print(json.dumps([weights(), instruction_set(), too_late()]))"


@cache
def train(*lines: str, elsewhere: bool = False) -> tuple[str, str, str | None]:
    """(hash of the weights, instruction set, complaint) of a small CNN trained in a process that runs `lines` first."""
    environment = {name: value for name, value in os.environ.items() if name not in CAPS}
    environment |= ELSEWHERE if elsewhere else {}
    command = [sys.executable, "-c", "\n".join([TRAIN, *lines, REPORT])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


CAPPED, TOO_LATE = "import labkit", "weights(); import labkit"


def test_importing_labkit_caps_whatever_computes_afterwards_also_after_torch() -> None:
    assert train(CAPPED) == train("import torch, labkit")
    _, found, complaint = train(CAPPED)
    assert found.startswith("x86_64 AVX2 (NumPy ")
    assert complaint is None


def test_a_lower_cap_gives_other_weights_and_stays_as_the_user_set_it() -> None:
    weights, found, complaint = train(CAPPED, elsewhere=True)
    assert weights != train(CAPPED)[0]
    assert found.startswith("x86_64 ATen DEFAULT, oneDNN SSE41, MKL COMPATIBLE (NumPy ")
    assert complaint is None


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "MKL_CBWR"])
def test_one_lower_cap_alone_is_another_machine(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each, value in CAPS.items():
        monkeypatch.setenv(each, value)
    before = instruction_set()
    monkeypatch.setenv(name, ELSEWHERE[name])
    assert instruction_set() != before


def test_caps_that_come_too_late_do_not_act_and_that_is_told_with_what_to_do() -> None:
    weights, found, complaint = train(TOO_LATE)
    if "ATen AVX512" not in found:
        pytest.skip("this processor has nothing wider than AVX2")
    assert weights != train(CAPPED)[0]
    assert "torch had computed something before labkit was imported, so it goes on with AVX512" in complaint
    assert "restart the kernel and run the lesson from its first cell" in complaint
