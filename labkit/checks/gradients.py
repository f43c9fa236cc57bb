"""Whether a result that must be differentiable has the reference's gradient.

The reference and the learner's function are called again with the arguments of a probe, which now ask for gradients,
and the gradients of one random projection of their results are compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from labkit.checks.arguments import Call, ModuleState, copied, name_of, rebuilt, twin
from labkit.checks.difference import difference
from labkit.checks.sandbox import call_quietly, error_text

LARGEST = 100_000
"""Calls with more numbers in their arguments than this are not repeated: a gradient is as wrong in a small one."""
CLOSE = 1e-3
"""Gradients that differ by less, as a share of the largest, are the same: float32, summed up in another order."""
STEP = 1e-2
"""How far beside a point it is looked at as well, relative to the numbers there."""
CUTS = (".detach()", ".data", ".item()", ".tolist()", ".numpy()", "torch.tensor(", ".sample()", "no_grad")


@dataclass(frozen=True)
class Slope:
    """What is wrong with a gradient: a sentence, and, where there is one, the expected and the own gradient."""

    sentence: str
    expected: Tensor | None = None
    got: Tensor | None = None


@dataclass
class _Replay:
    """One more call of a function: the arguments that ask for gradients, and what came out."""

    leaves: dict[str, Tensor] = field(default_factory=dict)  # by argument
    outputs: dict[str, Tensor] = field(
        default_factory=dict
    )  # floating-point tensors, by where they stand in the result
    error: Exception | None = None

    def gradients(self, moving: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
        """Of a random projection of the elements that are `moving`, by argument; None where nothing arrives."""
        terms = []
        for number, (place, mask) in enumerate(moving.items()):
            tensor = self.outputs.get(place)
            if tensor is not None and tensor.requires_grad and tensor.shape == mask.shape:
                generator = torch.Generator().manual_seed(number)
                weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor) * mask
                terms.append((weights * tensor).sum())
        if not terms or not self.leaves:
            return dict.fromkeys(self.leaves)
        found = torch.autograd.grad(sum(terms), list(self.leaves.values()), allow_unused=True)
        return dict(zip(self.leaves, found, strict=True))


def wrong_gradient(
    reference: Callable, function: Callable, call: Call, wanted: Collection[str] | None = None
) -> Slope | None:
    """What is wrong with the gradient of `function` at a call at which its values are right; None where nothing is.

    Nothing is asked where the reference's result carries no gradient, of arguments that hold only 0 and 1 (labels and
    masks), or, given `wanted`, of arguments with other names. Where the two gradients differ, both functions are
    looked at beside the point as well: a corner, such as that of |x| at 0, has many right gradients. Two functions
    that agree around a point have one gradient there, unless a way was cut.
    """

    def again(which: Callable, nudge: int = 0) -> _Replay:
        return _replay(which, call, reference, wanted, nudge)

    expected = again(reference)
    if not any(tensor.requires_grad for tensor in expected.outputs.values()):
        return None
    moving = _moving(expected, again(reference, 1))
    asked = {name: grad for name, grad in expected.gradients(moving).items() if _says_something(grad)}
    if not asked:
        return None
    got = again(function)
    try:
        if got.error:
            raise got.error
        own_gradients = got.gradients(moving)
    except Exception as error:
        return Slope(f"with arguments that ask for gradients it {error_text(error, function)}")
    if not any(got.outputs[place].requires_grad for place in moving if place in got.outputs):
        return Slope(
            f"the value is right, but it carries no gradient, so that nothing can be trained with it: look for "
            f"{cuts(function)}"
        )
    beside = [lambda seed=seed: (again(reference, seed), again(function, seed)) for seed in (1, 2)]
    for name, grad in asked.items():
        own = own_gradients[name]
        label = _own_name(name, function, reference)
        if own is None or not own.any():
            if _cut(name, moving, beside):
                return Slope(
                    f"the value is right, but no gradient arrives at `{label}`: look for {cuts(function)}", grad, own
                )
        elif (bad := ~torch.isfinite(own) & torch.isfinite(grad)).any():
            kind = "NaN" if torch.isnan(own[bad]).any() else "inf"
            return Slope(
                f"the value is right, but the gradient with respect to `{label}` is {kind} in {int(bad.sum())} of "
                f"{bad.numel()} elements: `nan_to_num`, `where` and `clamp` behind a division, logarithm or root hide "
                f"it in the value alone; keep the 0 away before",
                grad,
                own,
            )
        elif _gap(grad, own) > CLOSE and _differs(name, moving, [lambda: (expected, got), *beside]):
            said = difference(grad, own, rtol=0, atol=0)
            return Slope(
                f"the value is right, but the gradient with respect to `{label}` is not ({said}): does a term go "
                f"through {cuts(function)}?",
                grad,
                own,
            )
    return None


def size(call: Call) -> int:
    """How many numbers the arguments of a call hold."""
    found: list[Tensor] = []
    _tensors_in(call.arguments(), found)
    return sum(tensor.numel() for tensor in found)


def _moving(here: _Replay, beside: _Replay) -> dict[str, Tensor]:
    """Which elements of the reference's result depend on its arguments, by place.

    The others, say the distance of a point from itself, have no gradient in truth, though some ways to write it give
    them one of 1e12, which never meets anything but a 0 in training. They are not asked for, but 0 times inf is NaN.
    """
    moving = {}
    for place, tensor in here.outputs.items():
        other = beside.outputs.get(place)
        if tensor.requires_grad and other is not None and other.shape == tensor.shape:
            moving[place] = ~((other - tensor).detach().abs() <= 1e-6 * (1 + tensor.detach().abs()))
    return moving


def _cut(name: str, moving: Mapping[str, Tensor], beside: Sequence[Callable]) -> bool:
    """Whether also beside the point nothing arrives at the argument though it does in the reference."""
    for replays in beside:
        expected, got = replays()
        grad = expected.gradients(moving).get(name)
        if not got.error and _says_something(grad):
            own = got.gradients(moving)[name]
            return own is None or not own.any()
    return True


def _differs(name: str, moving: Mapping[str, Tensor], around: Sequence[Callable]) -> bool:
    """Whether the gradients differ at all points around the call at which the values are the same."""
    for number, replays in enumerate(around):
        expected, got = replays()
        if expected.error or got.error or not _agree(expected, got, 10 * CLOSE * STEP if number else CLOSE):
            return False
        grad, own = (replay.gradients(moving).get(name) for replay in (expected, got)) if number else (None, None)
        if number and (grad is None or own is None or not torch.isfinite(grad).all() or _gap(grad, own) <= 3 * CLOSE):
            return False
    return True


def _says_something(gradient: Tensor | None) -> bool:
    """Whether it is more than the rounding errors of a 0."""
    return gradient is not None and bool((gradient.abs() > 1e-6).any())


def _gap(one: Tensor, other: Tensor) -> float:
    """The largest difference of two gradients, as a share of the largest element."""
    finite = torch.isfinite(one)
    if not finite.any():
        return 0.0
    one, other = one[finite].double(), other[finite].double()
    return ((one - other).abs().max() / (one.abs().max() + 1e-3)).item()


def _agree(expected: _Replay, got: _Replay, rtol: float) -> bool:
    """Whether the values are the same: not so where each function draws random numbers in its own way."""
    for place, tensor in expected.outputs.items():
        other = got.outputs.get(place)
        if other is None or other.shape != tensor.shape:
            return False
        scale = tensor.detach().abs().nan_to_num(0, 0, 0).max().item() if tensor.numel() else 0.0
        if not torch.isclose(other.detach(), tensor.detach(), rtol=rtol, atol=rtol * scale, equal_nan=True).all():
            return False
    return True


@dataclass
class _Leaves:
    """Makes the arguments of a call anew, such that they ask for gradients."""

    wanted: Collection[str] | None
    nudge: int  # 0: the point itself; else the seed of a step beside it
    attached: bool  # arguments computed from the leaves, as a network's output is; else the leaves themselves
    found: dict[str, Tensor] = field(default_factory=dict)

    def arguments(self, call: Call, function: Callable) -> tuple[list[Any], dict[str, Any]]:
        given = {key: (name_of(key, function), value) for key, value in call.arguments().items()}
        made = {key: self._made(value, name, self._asks(name)) for key, (name, value) in given.items()}
        return [made[key] for key in made if isinstance(key, int)], {
            k: v for k, v in made.items() if isinstance(k, str)
        }

    def _asks(self, name: str) -> bool:
        return self.wanted is None or name in self.wanted

    def _made(self, value: Any, name: str, asks: bool) -> Any:
        if isinstance(value, ModuleState):
            module = twin(value)
            if asks:
                parameters = module.named_parameters()
                self.found |= {f"{name}.{key}": weight for key, weight in parameters if weight.requires_grad}
            return module
        if isinstance(value, Tensor):
            if not (asks and value.is_floating_point() and value.layout is torch.strided) or _is_mask(value):
                return value.clone()
            leaf = self._beside(value).requires_grad_()
            self.found[self._free(name)] = leaf
            return leaf.clone() if self.attached else leaf
        if isinstance(value, (tuple, list, dict)):
            return rebuilt(value, lambda item: self._made(item, name, asks))
        fresh = copied(value)
        return fresh if fresh is not value else rebuilt(value, lambda item: self._made(item, name, asks))

    def _free(self, name: str) -> str:
        """The name, with a number behind it if an argument holds several tensors."""
        return name if name not in self.found else f"{name}#{len(self.found)}"

    def _beside(self, value: Tensor) -> Tensor:
        """The tensor, or a point close by at which no two elements are equal and none is 0."""
        value = value.clone()
        if not self.nudge:
            return value
        generator = torch.Generator().manual_seed(10 * self.nudge + len(self.found))  # no two arguments stay equal
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value) * STEP
        scale = value.abs().nan_to_num(0, 0, 0).max().item() if value.numel() else 0.0
        return torch.where(value == 0, noise.abs() * (scale or 1.0), value * (1 + noise))


def _replay(function: Callable, call: Call, reference: Callable, wanted: Collection[str] | None, nudge: int) -> _Replay:
    """Call again with arguments that ask for gradients; they have the reference's names."""
    first = None
    for attached in (True, False):  # some functions want leaves: those that call backward() themselves
        leaves = _Leaves(wanted, nudge, attached)
        try:
            positional, keywords = leaves.arguments(call, reference)
            outputs: dict[str, Tensor] = {}
            _outputs_in(call_quietly(function, *positional, **keywords), "", outputs)
            return _Replay(leaves.found, outputs)
        except Exception as error:
            first = first or error
    return _Replay(error=first)


def _outputs_in(value: Any, place: str, found: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            found[place] = value
    elif isinstance(value, dict):
        for key, item in value.items():
            _outputs_in(item, f"{place}/{key}", found)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            _outputs_in(item, f"{place}/{index}", found)


def _tensors_in(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, ModuleState):
        found.extend(value.tensors.values())
    elif isinstance(value, dict):
        for item in value.values():
            _tensors_in(item, found)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _tensors_in(item, found)


def _is_mask(value: Tensor) -> bool:
    return bool(((value == 0) | (value == 1)).all())


def cuts(function: Callable) -> str:
    """What may cut a gradient: what of it stands in the function's source, else all of it."""
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = ""
    words = [f"`{cut.rstrip('(')}`" for cut in [cut for cut in CUTS if cut in source] or CUTS]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _own_name(name: str, function: Callable, reference: Callable) -> str:
    """What the learner calls the argument that the reference calls `name`."""
    base, dot, rest = name.partition("#")[0].partition(".")
    parameters = list(inspect.signature(reference).parameters)
    own = name_of(parameters.index(base), function, reference) if base in parameters else base
    return own + dot + rest
