"""Freed memory is used again without page faults; a network that is laid out otherwise computes the same."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from labkit.lab.speed import channels_last, keep_freed_memory

FAULTS = """
import resource
import torch
from labkit.lab.speed import keep_freed_memory

if {keep}:
    keep_freed_memory()
def work():
    several = [torch.ones(10 * 2**20) for _ in range(3)]  # 40 MiB each: glibc by default never keeps so large a block
for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    found = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is done but with glibc")
def test_tensors_as_large_as_those_just_freed_cost_few_page_faults() -> None:
    assert faults(keep=True) < 500 < faults(keep=False)


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


def test_a_network_with_channels_last_computes_the_same_and_its_maps_have_them_last_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3))
    x = torch.randn(5, 1, 12, 12)
    expected = network(x)
    found = channels_last(network)(x)
    torch.testing.assert_close(found, expected)
    assert expected.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_convolution_stays_as_it_is() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 3, 4, 5))

    layer = Layer()
    assert channels_last(layer) is layer
    assert layer.weight.is_contiguous()
