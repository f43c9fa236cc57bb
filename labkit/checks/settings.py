"""What a function may set for the whole process: noticed, named and undone."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # with a device every factory call is slower


def _set_filters(filters: list) -> None:
    warnings.filters[:] = filters
    with warnings.catch_warnings():  # its end tells the interpreter that the filters have changed
        pass


def _set_environment(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _set_folder(folder: str | None) -> None:
    with contextlib.suppress(OSError, TypeError):
        os.chdir(folder)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_device),
    "the number of torch's threads": (torch.get_num_threads, torch.set_num_threads),
    "whether torch computes gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's deterministic mode": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "NumPy's handling of floating-point errors": (np.geterr, lambda errors: np.seterr(**errors)),
    "the working folder": (_folder, _set_folder),
    "the filters of warnings": (lambda: list(warnings.filters), _set_filters),
    "environment variables": (lambda: dict(os.environ), _set_environment),
}
BY_IMPORTS = ("the filters of warnings", "environment variables")
"""What the first import of a library may set: then nobody is to blame."""


@contextlib.contextmanager
def settings_kept() -> Iterator[list[str]]:
    """Afterwards all settings are as they were; the list that it gives then holds the names of those that were not."""
    before = {name: get() for name, (get, _) in SETTINGS.items()}
    modules, changed = len(sys.modules), []
    try:
        yield changed
    finally:
        for name, (get, put) in SETTINGS.items():
            if get() != before[name] and not (name in BY_IMPORTS and len(sys.modules) > modules):
                put(before[name])
                changed.append(name)
