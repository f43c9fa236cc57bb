"""Say in words how a learner's result differs from the expected one, or None where it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHOWN_WHOLE = 8
"""A tensor of at most so many elements is shown whole; of a larger one only the worst element."""


FAMILIES = {
    "tensor": Tensor,
    "mapping": Mapping,
    "sequence": (tuple, list),
    "number": (Real, np.bool_),
    "string": str,
}


def difference(expected: Any, got: Any, *, rtol: float, atol: float) -> str | None:
    """What differs between `expected` and `got`, in the order a reader wants it: type, shape, dtype, NaN, value.

    Both are a tensor, a number, a string, None, or tuples, lists and dicts of these. A list is as good as a tuple,
    an int as good as an equal float, any integer dtype as good as another, and a tensor without axes as good as a
    number; where a tensor is expected, only a tensor will do. Tensors are compared on the CPU:
    |got - expected| <= atol + rtol * |expected| for floating point, exactly for integers and booleans.
    """
    if got is None and expected is not None:
        return "returned None: is the `return` missing?"
    if type(got).__module__ == "torch.return_types" and not isinstance(expected, (tuple, list)):
        found = type(got).__name__
        return f"expected {_kind(expected)}, got all that torch.{found} returns, values and indices: take its `.values`"
    if _family(expected) == "number" and _family(got) == "tensor" and got.dim() == 0:
        got = got.item()
    if _family(expected) != _family(got) or _family(expected) == "other":
        return f"expected {_kind(expected)}, got {_kind(got)}"
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, got, rtol, atol)
    if isinstance(expected, Mapping):
        return _mapping_difference(expected, got, rtol, atol)
    if isinstance(expected, (tuple, list)):
        return _sequence_difference(expected, got, rtol, atol)
    if isinstance(expected, (Real, np.bool_)):
        return _number_difference(expected, got, rtol, atol)
    return None if expected == got else f"expected {as_text(expected)}, got {as_text(got)}"


def comparable(value: Any) -> bool:
    """Whether `value` is made only of what `difference` can compare."""
    if isinstance(value, Mapping):
        return all(comparable(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return all(comparable(item) for item in value)
    return _family(value) != "other"


def snapshot(value: Any) -> Any:
    """A copy that later in-place changes cannot reach: tensors detached, cloned and on the CPU."""
    if isinstance(value, Tensor):
        return value.detach() if value.is_meta else value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        copies = [snapshot(item) for item in value]
        if type(value).__module__ == "torch.return_types":  # to be told from a tuple
            return type(value)(copies)
        return copies if isinstance(value, list) else tuple(copies)  # a named tuple needs no name here
    return value


def _family(value: Any) -> str:
    """Values of one family can be compared with each other."""
    if value is None:
        return "none"
    if isinstance(value, Tensor) and value.is_meta:  # nothing in it to compare
        return "other"
    return next((family for family, types in FAMILIES.items() if isinstance(value, types)), "other")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a torch tensor of shape {_shape(value)}" + (" that holds no numbers (meta)" if value.is_meta else "")
    if isinstance(value, np.ndarray):
        return "a numpy array"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _tensor_difference(expected: Tensor, got: Tensor, rtol: float, atol: float) -> str | None:
    if got.layout is not expected.layout:
        return f"expected a tensor of layout {expected.layout}, got {got.layout}"
    if got.shape != expected.shape:
        return f"expected shape {_shape(expected)}, got {_shape(got)}"
    expected, got = expected.cpu(), got.cpu()
    if got.dtype != expected.dtype:
        if not (_is_integer(got) and _is_integer(expected)):
            said = f"expected dtype {_dtype(expected)}, got {_dtype(got)}"
            wide = torch.complex128 if expected.is_complex() or got.is_complex() else torch.float64
            close = torch.isclose(got.to(wide), expected.to(wide), rtol=rtol, atol=atol, equal_nan=True)
            return said if close.all() else f"{said}, and the values differ"
        got = got.to(expected.dtype)
    exact = not (expected.is_floating_point() or expected.is_complex())
    wrong = expected != got if exact else ~torch.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        return None
    for name, found in (("NaN", torch.isnan), ("inf", torch.isinf)):
        bad = found(got) & wrong & torch.isfinite(expected)
        if bad.any():
            where = f" in {int(bad.sum())} of {bad.numel()} elements" if bad.numel() > 1 else ""
            return f"expected finite values, got {name}{where}"
    return _value_difference(expected, got, wrong)


def _value_difference(expected: Tensor, got: Tensor, wrong: Tensor) -> str:
    """The sentence for two tensors of equal shape and dtype that differ at `wrong` (a mask of that shape)."""
    wide = torch.complex128 if expected.is_complex() else torch.float64
    gap = (got.to(wide) - expected.to(wide)).abs().nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(~wrong, -1.0)
    worst = int(gap.argmax())  # position in the flattened tensor
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    at_worst = (expected.flatten()[worst].item(), got.flatten()[worst].item())
    if expected.dim() == 0:
        return _expected_got(*at_worst)
    where = f"largest difference {_number(gap.flatten()[worst].item())} at index {list(index)}"
    if expected.numel() <= SHOWN_WHOLE:
        return f"{_expected_got(expected.tolist(), got.tolist())} ({where})"
    share = f"{int(wrong.sum())} of {wrong.numel()} elements differ"
    return f"{share}; {where}: {_expected_got(*at_worst)}"


def _number_difference(expected: Any, got: Any, rtol: float, atol: float) -> str | None:
    expected, got = float(expected), float(got)
    if expected == got or (math.isnan(expected) and math.isnan(got)):
        return None
    if abs(got - expected) <= atol + rtol * abs(expected) < math.inf:
        return None
    return _expected_got(expected, got)


def _sequence_difference(expected: Any, got: Any, rtol: float, atol: float) -> str | None:
    if len(got) != len(expected):
        return f"expected {len(expected)} values, got {len(got)}"
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        if said := difference(one, other, rtol=rtol, atol=atol):
            return f"in value {index + 1} of {len(expected)}: {said}"
    return None


def _mapping_difference(expected: Any, got: Any, rtol: float, atol: float) -> str | None:
    if set(expected) != set(got):
        return f"expected the keys {sorted(map(str, expected))}, got {sorted(map(str, got))}"
    for key, one in expected.items():
        if said := difference(one, got[key], rtol=rtol, atol=atol):
            return f"in {key}: {said}"
    return None


def _expected_got(expected: Any, got: Any) -> str:
    """Both with four significant digits, or with more where four would show two different values alike."""
    for digits in (4, 8, 17):
        shown = as_text(expected, digits), as_text(got, digits)
        if shown[0] != shown[1]:
            break
    return f"expected {shown[0]}, got {shown[1]}"


def as_text(value: Any, digits: int = 4) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(as_text(item, digits) for item in value) + "]"
    if isinstance(value, str):
        return repr(shorten(value, 80))
    return str(value) if value is None or isinstance(value, (bool, int)) else _number(value, digits)


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}g}"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
