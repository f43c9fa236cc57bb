"""Copies of what a function is called with: to see whether it changed something, to show it, and to call it again."""

from __future__ import annotations

import copy
import inspect
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.checks.difference import SHOWN_WHOLE, as_text

Key = int | str
"""Which argument of a call: its position, or its keyword."""


@dataclass(frozen=True)
class Call:
    """One call of an observed function; arguments and result are copies that nothing can change any more."""

    positional: tuple[Any, ...]  # as they were before the call
    keywords: Mapping[str, Any]
    returned: Any  # before the probe made something of it
    carries_gradient: bool  # whether what it returned is a tensor with a gradient
    changed: tuple[Key, ...]  # the arguments that are not what they were

    def arguments(self) -> dict[Key, Any]:
        """The arguments, the positional ones first."""
        return {**dict(enumerate(self.positional)), **self.keywords}

    def named(self, *functions: Callable) -> dict[str, Any]:
        """The arguments under the names that the first of `functions` which has one gives them."""
        return {name_of(key, *functions): value for key, value in self.arguments().items()}


@dataclass(frozen=True)
class ModuleState:
    """A module in a copy of arguments: the module itself, and what its parameters, buffers and modes were."""

    module: nn.Module
    tensors: dict[str, Tensor]
    training: dict[str, bool]


def copied(value: Any) -> Any:
    """A copy of an argument out of reach of in-place changes; what is of no known kind is kept as it is."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (np.ndarray, np.random.Generator, np.random.RandomState, random.Random)):
        return copy.deepcopy(value)
    if isinstance(value, torch.Generator):
        return torch.Generator(value.device).set_state(value.get_state())
    if isinstance(value, (nn.Module, ModuleState)):
        return _module_state(value)
    return rebuilt(value, copied)


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """A list, tuple, dict or dataclass of the same kind with `change` made to its items; anything else as it is."""
    if isinstance(value, tuple):
        items = [change(item) for item in value]
        if isinstance(value, torch.Size):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, (list, deque)):
        fresh = copy.copy(value)
        fresh.clear()
        fresh.extend([change(item) for item in value])
        return fresh
    if isinstance(value, dict):
        fresh = copy.copy(value)
        fresh.update({key: change(item) for key, item in value.items()})
        return fresh
    if isinstance(value, set):
        return set(value)
    if is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__"):
        fresh = copy.copy(value)
        for name, item in vars(value).items():
            object.__setattr__(fresh, name, change(item))  # a frozen dataclass as well
        return fresh
    return value


def same(before: Any, now: Any) -> bool:
    """Whether an argument still is what its copy says."""
    if isinstance(before, Tensor):
        return isinstance(now, Tensor) and _equal(before, now.detach())
    if isinstance(before, np.ndarray):
        if not (isinstance(now, np.ndarray) and before.shape == now.shape and before.dtype == now.dtype):
            return False
        return before.tobytes() == now.tobytes() if before.dtype != object else same(list(before.flat), list(now.flat))
    if isinstance(before, ModuleState):
        state = _module_state(now)
        if type(before.module) is not type(state.module):
            return False
        return before.training == state.training and same(before.tensors, state.tensors)
    if isinstance(before, (list, tuple, deque)):
        return len(before) == len(now) and all(same(one, other) for one, other in zip(before, now, strict=True))
    if isinstance(before, dict):
        return list(before) == list(now) and all(same(item, now[key]) for key, item in before.items())
    if isinstance(before, (set, str, int, float, complex, bool)):
        return before == now or before != before
    if is_dataclass(before) and hasattr(before, "__dict__"):
        return same(vars(before), vars(now))
    return True


def twin(state: ModuleState) -> nn.Module:
    """A module of its own that is as the state says."""
    module = copy.deepcopy(state.module)
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            tensor.copy_(state.tensors.get(name, tensor))
    for name, part in module.named_modules():
        part.training = state.training.get(name, part.training)
    return module


def name_of(key: Key, *functions: Callable) -> str:
    """What an argument is called by the first of `functions` that has a name for its position."""
    if isinstance(key, str):
        return key
    for function in functions:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            continue
        if key < len(parameters) and parameters[key].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            return parameters[key].name
    return f"argument {key + 1}"


def shown(arguments: Mapping[str, Any], unless_in: str = "") -> str:
    """`mu = [[0.5, -1]], k = 2`, or nothing if one of them is too large to be read.

    What stands in `unless_in` in the same words is left out, and so are random generators and functions.
    """
    said = []
    for name, value in arguments.items():
        if (callable(value) and not isinstance(value, nn.Module)) or isinstance(value, torch.Generator):
            continue
        plain = _plain(value)
        if plain is ... or _count(plain) > SHOWN_WHOLE:
            return ""
        text = f"{name} = {as_text(plain)}"
        if text not in unless_in:
            said.append(text)
    return ", ".join(said)


def _plain(value: Any) -> Any:
    """An argument as numbers, texts and lists of these; `...` for what is something else, or large."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.tolist() if np.prod(value.shape) <= SHOWN_WHOLE else ...
    if isinstance(value, (tuple, list)):
        items = [_plain(item) for item in value[: SHOWN_WHOLE + 1]]
        return ... if ... in items else items
    return value if value is None or isinstance(value, (str, int, float)) else ...


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _module_state(value: nn.Module | ModuleState) -> ModuleState:
    if isinstance(value, ModuleState):
        return ModuleState(value.module, {name: t.clone() for name, t in value.tensors.items()}, dict(value.training))
    tensors = {name: tensor.detach().clone() for name, tensor in _tensors(value).items()}
    return ModuleState(value, tensors, {name: module.training for name, module in value.named_modules()})


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal in shape, dtype and values, a NaN being equal to a NaN."""
    if one.shape != other.shape or one.dtype != other.dtype or one.layout != other.layout or one.is_meta:
        return one.is_meta and other.is_meta and one.shape == other.shape
    if one.layout is not torch.strided:
        one, other = one.to_dense(), other.to_dense()
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())
