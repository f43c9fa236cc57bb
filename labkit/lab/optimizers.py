"""torch.optim without the compiler behind torch.compile, whose import takes longer than many a training here."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

BOOKKEEPING = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")  # of every optimizer


def leave_out_compiler() -> None:
    """Let torch's optimizers do without importing torch._dynamo, about 2 s, as long as nothing else imports it.

    torch wraps these methods to keep them out of what torch.compile compiles, and each wrapper imports the compiler.
    Without one there is nothing to be kept out of, so the method is called directly; as soon as torch.compile, say, has
    imported it, the wrapper is called as ever. A wrapper that does not import it is left alone, so a second call, or
    another version of torch, does no harm.
    """
    for name in BOOKKEEPING:
        _replace(torch.optim.Optimizer, name, lambda method, *args, **options: method(*args, **options))
    for kind in vars(torch.optim).values():
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and "step" in vars(kind):
            _replace(kind, "step", _step)


def _step(method: Callable, optimizer: torch.optim.Optimizer, *args: Any, **options: Any) -> Any:
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):  # the other thing that the wrapper does
        return method(optimizer, *args, **options)


def _replace(kind: type, name: str, directly: Callable) -> None:
    wrapper = vars(kind).get(name)
    if not hasattr(wrapper, "__wrapped__") or "_dynamo" not in wrapper.__code__.co_names:
        return

    @functools.wraps(wrapper)
    def method(*args: Any, **options: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            return wrapper(*args, **options)
        return directly(wrapper.__wrapped__, *args, **options)

    setattr(kind, name, method)
