"""How the tests themselves run: none for ever, those of several workers on one core each, the longest files first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENDLESS = "def test_endless():\n    while True:\n        pass\n\n\ndef test_next():\n    pass\n"


def test_every_test_has_a_limit_and_one_that_never_ends_is_ended(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    assert float(pytestconfig.getini("timeout")) > 0
    (tmp_path / "test_it.py").write_text(ENDLESS)
    options = ["-c", ROOT / "pyproject.toml", "-o", "timeout=1", "-p", "no:cacheprovider", "-p", "no:nbval"]
    command = [sys.executable, "-m", "pytest", *map(str, options), "test_it.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Timeout (>1.0s)" in ran.stdout
    assert "1 failed, 1 passed" in ran.stdout, "the tests after it still run"


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="a test that runs alone may use every core")
def test_a_worker_computes_with_one_thread() -> None:
    import torch

    assert torch.get_num_threads() == 1


def test_the_long_files_that_run_first_exist(pytestconfig: pytest.Config) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert [file for file in conftest.LONGEST_FIRST if not (ROOT / file).is_file()] == []
