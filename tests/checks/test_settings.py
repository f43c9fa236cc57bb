"""What a function sets for everybody is named, and undone."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from labkit.checks.settings import SETTINGS, settings_kept

CHANGES: dict[str, Callable] = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "the number of torch's threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "whether torch computes gradients": lambda: torch.set_grad_enabled(False),
    "torch's anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "torch's deterministic mode": lambda: torch.set_deterministic_debug_mode(
        0 if torch.get_deterministic_debug_mode() else 1
    ),
    "NumPy's handling of floating-point errors": lambda: np.seterr(all="raise"),
    "the working folder": lambda: os.chdir(os.path.dirname(os.getcwd())),
    "the filters of warnings": lambda: warnings.simplefilter("ignore"),
    "environment variables": lambda: os.environ.update(LABKIT_TEST="1", PATH=""),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_changed_is_named_and_undone(name: str) -> None:
    get, _ = SETTINGS[name]
    before = get()
    with settings_kept() as changed:
        CHANGES[name]()
        assert get() != before
    assert changed == [name]
    assert get() == before


def test_nothing_is_said_of_what_was_not_changed_or_was_put_back() -> None:
    with settings_kept() as changed:
        with torch.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
        torch.rand(1)
    assert changed == []


def test_settings_are_undone_after_an_exception_as_well() -> None:
    def fails() -> None:
        with settings_kept():
            torch.set_default_dtype(torch.float64)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.get_default_dtype() is torch.float32


def test_what_the_first_import_of_a_library_sets_is_nobodys_fault(tmp_path, monkeypatch) -> None:
    (tmp_path / "a_library_of_the_test.py").write_text("import warnings\nwarnings.simplefilter('ignore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(), settings_kept() as changed:
        importlib.import_module("a_library_of_the_test")
    assert changed == []
