"""How much memory a function takes, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STATUS = Path("/proc/self/status")


def peak(prepare: Callable[..., Any], run: Callable[[Any], Any], *size: int, threads: int = 2) -> float:
    """How far memory rises above what was held before, in MB, while `run(prepare(*size))` runs.

    Both must be functions of a module, so that the new process finds them. Skips the test where Linux does not tell.
    """
    if not STATUS.exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measure, args=(results, prepare, run, size, threads))
    process.start()
    found = results.get(timeout=300)
    process.join()
    return found


def _measure(results: Any, prepare: Callable[..., Any], run: Callable[[Any], Any], size: tuple, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    prepared = prepare(*size)
    before = _highest()
    run(prepared)
    results.put(_highest() - before)


def _highest() -> float:
    """Of this process since its start; what `resource` tells would begin with its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]) / 1024
