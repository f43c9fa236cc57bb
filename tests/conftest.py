"""What tests of several folders share; helpers that are no fixtures are in tests/tensors.py."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

WHOLE_LESSONS = "tests/notebooks/test_notebook_stages.py"  # each of its tests takes as long as many files
LONGEST_FIRST = [  # if one were left for the end, the other workers would wait for it
    WHOLE_LESSONS,
    "tests/course/test_run.py",
    "tests/papers/test_episodic_backward_update.py",
    "tests/exercises/test_all_exercises.py",
    "tests/lab/test_training.py",
    "tests/course/test_cli.py",
    "tests/papers/test_cnn_visualization.py",
    "tests/papers/test_kegnet.py",
    "tests/notebooks/test_notebook_outputs.py",
]

# Optional for jsonschema, of use to nobody here, and a second to import in each process.
sys.modules.setdefault("rfc3987_syntax", None)

if "PYTEST_XDIST_WORKER" in os.environ:  # read when torch and NumPy are loaded, also by what a test starts
    # The workers share the cores: with a thread for each core they take three times as much of them.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Several workers share the tests by file, for the sake of the modules' fixtures, and whole lessons one by one.

    The mark `xdist_group` would say the same, but xdist 3.8 loses it with pytest 9.2, without a word.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(WHOLE_LESSONS) else super()._split_scope(nodeid)

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with the longest files."""
    if hasattr(config, "workerinput"):
        rank = {file: place for place, file in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_collection_finish() -> None:
    """All that is imported by now stays: searching it for garbage again and again took 4 % of the tests' time."""
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # what is left at the end of the process would be told as leaked


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors as small as a test's are only slowed down by a second one."""
    yield from _threads(1)


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """What the benchmarks promise is for two cores."""
    yield from _threads(2)


def _threads(count: int) -> Iterator[None]:
    import torch  # many tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)
