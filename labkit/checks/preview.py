"""A failing probe's inputs beside the expected and the own value, small enough to be read."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import numpy as np
from torch import Tensor

from labkit.checks.arguments import ModuleState
from labkit.checks.difference import SHOWN_WHOLE, as_text
from labkit.checks.exercise import Failure

WIDTH = 100


def values(failure: Failure) -> dict[str, Any]:
    """The inputs by name, then `expected` and `yours`, whole; a module is the module itself."""
    inputs = {name: value.module if isinstance(value, ModuleState) else value for name, value in failure.inputs.items()}
    if failure.kind in ("argument", "setting"):
        return inputs
    return {**inputs, "expected": failure.expected, "yours": failure.got}


def table(failure: Failure, where: str) -> str:
    """A Markdown table of a preview of each of `values`."""
    rows = [f"| {name} | {preview(value)} |" for name, value in values(failure).items()]
    return "\n".join(["| | " + where.replace("|", r"\|") + " |", "|---|---|", *rows])


def preview(value: Any) -> str:
    """`[[0.5, -1]]`, `float32 (5, 3): 0.215, -1.1, ...`, or what else fits into a line."""
    if isinstance(value, Tensor) and value.is_meta:
        text = f"a tensor of shape {tuple(value.shape)} without numbers"
    elif isinstance(value, (Tensor, np.ndarray)):
        numbers = value.reshape(-1)[:SHOWN_WHOLE].tolist()
        dtype, whole = str(value.dtype).removeprefix("torch."), np.prod(value.shape) <= SHOWN_WHOLE
        first = ", ".join(as_text(number) for number in numbers)
        text = as_text(value.tolist()) if whole else f"{dtype} {tuple(value.shape)}: {first}, ..."
    elif isinstance(value, (tuple, list)):
        text = "(" + ", ".join(preview(item) for item in value[:SHOWN_WHOLE]) + ")"
    elif isinstance(value, dict):
        text = ", ".join(f"{name}: {preview(item)}" for name, item in value.items())
    elif isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}"
    elif value is None or isinstance(value, (str, int, float)):
        text = as_text(value)
    else:
        text = f"a {type(value).__name__}"
    return shorten(text, WIDTH).replace("|", r"\|")
