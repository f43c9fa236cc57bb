"""How a wrong result hangs together with the expected one: a factor, a transposition, another axis, another order.

Cautious: one relation must explain all results that are looked at, and a single number explains nothing but a sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-3
FACTORS = {
    -1.0: "the negative of what is expected",
    2.0: "2 times what is expected",
    0.5: "half of what is expected",
    -2.0: "-2 times what is expected",
    -0.5: "-1/2 times what is expected",
    math.log(2): "ln 2 times what is expected: bits taken for nats?",
    1 / math.log(2): "1/ln 2 times what is expected: a logarithm of base 2?",
}


@dataclass(frozen=True)
class Pair:
    """What the reference and the learner's function returned at one call, and the sizes of its arguments."""

    expected: Any
    got: Any
    sizes: Mapping[str, int]  # such as {"the last dimension of `mu`": 4}
    transposed: Callable[[], Any] | None = None  # what the reference makes of transposed arguments


def relation(pairs: Sequence[Pair]) -> str | None:
    """`Its result is 2 times what is expected.`, or None where nothing of the kind explains all `pairs`."""
    for place in _places(pairs):
        parts = [_Part(_at(pair.expected, place), _at(pair.got, place), pair) for pair in pairs]
        if all(part.is_right() for part in parts):
            continue
        if not all(part.is_whole() for part in parts):
            return None
        for explain in (_factor, _transposition, _other_axis, _offset, _order, _reduced):
            if said := explain(parts):
                return f"{'Its result' if not place else _name(place, pairs[0].expected)} is {said}."
        return None
    return None


def sizes_of(arguments: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of tensors, by what they are called."""
    found: dict[str, int] = {}
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            for axis, size in enumerate(value.shape):
                which = "the first" if axis == 0 else "the last" if axis == value.dim() - 1 else f"axis {axis} as a"
                found.setdefault(f"{which} dimension of `{name}`", size)
            found.setdefault(f"the number of elements of `{name}`", value.numel())
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.setdefault(f"`{name}`", value)
    return found


class _Part:
    """A tensor or number of an expected result, and what stands at its place in the learner's."""

    def __init__(self, expected: Any, got: Any, pair: Pair) -> None:
        self.expected, self.got, self.pair = _numbers(expected), _numbers(got), pair
        self.of_one_kind = isinstance(expected, Tensor) == isinstance(got, Tensor)

    def is_whole(self) -> bool:
        return (
            self.of_one_kind
            and self.expected is not None
            and self.got is not None
            and bool(torch.isfinite(self.got).all())
        )

    def is_right(self) -> bool:
        return self.is_whole() and _close(self.got, self.expected)

    def alike(self) -> bool:
        return self.got.shape == self.expected.shape


def _factor(parts: list[_Part]) -> str | None:
    if not all(part.alike() for part in parts):
        return None
    factors, telling = [], set()
    for part in parts:
        square = (part.expected**2).sum()
        if square == 0:
            if part.got.any():
                return None
            continue
        factor = ((part.got * part.expected).sum() / square).item()
        if factor == 0 or not _close(part.got, factor * part.expected):
            return None
        factors.append((factor, part.pair.sizes))
        telling |= {float(f"{number:.3g}") for number in part.expected.flatten().tolist() if number}
    if not factors:
        return None
    first = factors[0][0]
    constant = all(_near(factor, first) for factor, _ in factors)
    if constant and _near(first, -1):
        return FACTORS[-1.0] + ("" if len(telling) > 1 else " at this probe")
    if len(telling) < 2:
        return None
    for known, said in FACTORS.items():
        if constant and _near(first, known):
            return said
    for name in factors[0][1]:
        if all(name in sizes and sizes[name] > 1 for _, sizes in factors):
            if all(_near(factor, sizes[name]) for factor, sizes in factors):
                return f"the expected one times {name}" + (f", {first:.4g}" if constant else "")
            if all(_near(factor * sizes[name], 1) for factor, sizes in factors):
                return f"the expected one divided by {name}" + (f", {1 / first:.4g}" if constant else "")
    return f"{first:.4g} times what is expected" if constant else None


def _transposition(parts: list[_Part]) -> str | None:
    if any(part.expected.dim() < 2 for part in parts):
        return None
    turned = [part.expected.transpose(-1, -2) for part in parts]
    if all(_close(part.got, other) for part, other in zip(parts, turned, strict=True)):
        return "the expected one transposed"
    return None


def _other_axis(parts: list[_Part]) -> str | None:
    """Whether the reference gives the same for transposed arguments."""
    telling = False
    for part in parts:
        other = _numbers(part.pair.transposed()) if part.pair.transposed else None
        if other is None or not _close(part.got, other):
            return None
        telling = telling or part.got.numel() > 1
    return "what is expected of transposed arguments: it runs over the other axis" if telling else None


def _offset(parts: list[_Part]) -> str | None:
    if not all(part.alike() and part.expected.numel() for part in parts):
        return None
    gaps = torch.cat([(part.got - part.expected).flatten() for part in parts])
    numbers = torch.cat([part.expected.flatten() for part in parts])
    offset = gaps.mean().item()
    if len(numbers.unique()) < 2 or abs(offset) < CLOSE or not _close(gaps, torch.full_like(gaps, offset)):
        return None
    return f"everywhere {abs(offset):.4g} {'more' if offset > 0 else 'less'} than what is expected"


def _order(parts: list[_Part]) -> str | None:
    if not all(part.alike() and part.expected.dim() for part in parts):
        return None
    for axis in range(min(part.expected.dim() for part in parts)):
        if all(_close(part.got, part.expected.flip(axis)) for part in parts):
            return f"the expected one in the reverse order along axis {axis}"
    alike = all(_close(part.got.flatten().sort().values, part.expected.flatten().sort().values) for part in parts)
    if alike and any(len(part.expected.unique()) > 2 for part in parts):
        return "made of the expected values, in another order"
    return None


def _reduced(parts: list[_Part]) -> str | None:
    """Whether an axis too many was summed or averaged over."""
    for word, reduce in (("sum", torch.sum), ("mean", torch.mean)):
        if all(part.expected.numel() > 1 and _close(part.got, reduce(part.expected)) for part in parts):
            return f"the {word} of all that is expected"
        for axis in range(min(part.expected.dim() for part in parts)):
            if all(part.expected.shape[axis] > 1 for part in parts) and all(
                _close(part.got, reduce(part.expected, dim=axis)) for part in parts
            ):
                return f"the {word} of what is expected over axis {axis}"
    return None


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = other.abs().nan_to_num(0, 0, 0).max().item() if other.numel() else 0.0
    return torch.allclose(one, other, rtol=CLOSE, atol=1e-5 * scale + 1e-9, equal_nan=True)


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=CLOSE)


def _numbers(value: Any) -> Tensor | None:
    """A tensor or number in double precision; None for what is neither."""
    if isinstance(value, Tensor):
        return None if value.is_complex() or value.layout is not torch.strided or value.is_meta else value.double()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=torch.float64)
    return None


def _places(pairs: Sequence[Pair]) -> Iterator[tuple]:
    """Where tensors and numbers stand in the expected results."""

    def walk(value: Any, place: tuple) -> Iterator[tuple]:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (tuple, list)) else ()
        )
        if isinstance(value, (dict, tuple, list)):
            for key, item in items:
                yield from walk(item, (*place, key))
        else:
            yield place

    return walk(pairs[0].expected, ()) if pairs else iter(())


def _at(value: Any, place: tuple) -> Any:
    for key in place:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


def _name(place: tuple, whole: Any) -> str:
    if len(place) == 1 and isinstance(place[0], int):
        return f"Value {place[0] + 1} of {len(whole)}"
    return f"Its {'/'.join(map(str, place))}"
