"""Call a function under a probe so that nothing it does reaches the experiment: no random numbers, no exception.

What it does to its arguments and to settings of the whole process is seen, and how long it takes is limited.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import random
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, TextIO

import numpy as np
import torch

from labkit.checks.arguments import Call, copied, same
from labkit.checks.difference import snapshot
from labkit.checks.settings import settings_kept
from labkit.checks.timelimit import TooSlow, time_limit

SEED = 0
"""Every probe begins with this state of the random generators, whoever is being observed."""


@dataclass(frozen=True)
class Observation:
    """What one probe saw of one function: a value, or the exception that came instead."""

    value: Any  # None where an exception came
    error: BaseException | None  # what the probe ended in; the function's own, or about what it returned
    raised: BaseException | None  # the last exception that came out of the function, even if the probe handled it
    calls: tuple[Call, ...]  # the calls that returned something, in order
    uncallable: bool  # the function does not take the arguments that the probe gave
    settings: tuple[str, ...]  # what it set for the whole process; all of it is undone
    seconds: float  # in the function

    @property
    def returns(self) -> tuple[Any, ...]:
        """What the function returned, call by call, before the probe made something of it."""
        return tuple(call.returned for call in self.calls)


@dataclass
class _Recorder:
    """Wraps the observed function and records what it returns or raises, and what it does to its arguments."""

    function: Callable
    limit: float  # seconds, for all calls together
    calls: list[Call] = field(default_factory=list)
    raised: BaseException | None = None
    uncallable: bool = False
    seconds: float = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before_args, before_kwargs = copied(args), copied(kwargs)
        began = time.perf_counter()
        try:
            self._check_signature(args, kwargs)
            with time_limit(self.limit - self.seconds):
                result = self.function(*args, **kwargs)
        except (Exception, SystemExit, TooSlow) as error:
            self.raised = error
            raise
        finally:
            self.seconds += time.perf_counter() - began
        pairs = [*enumerate(zip(before_args, args, strict=True))]
        pairs += [(key, (before, kwargs[key])) for key, before in before_kwargs.items()]
        changed = tuple(key for key, (before, now) in pairs if not same(before, now))
        carries = getattr(result, "requires_grad", False) is True
        self.calls.append(Call(before_args, before_kwargs, snapshot(result), carries, changed))
        return result

    def _check_signature(self, args: tuple, kwargs: dict) -> None:
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # some builtins have none: then the call itself will tell
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            self.uncallable = True
            raise


def observe(
    probe: Callable[[Callable], Any],
    function: Callable,
    *,
    quiet: bool = True,
    label: str = "",
    limit: float = math.inf,
) -> Observation:
    """Let `probe` use `function`, with fixed random generators and gradients on; call it within `random_states_kept`.

    Any exception but KeyboardInterrupt becomes part of the observation. `quiet` drops what the function prints
    and warns of; otherwise what it prints comes below `label`. After `limit` seconds in the function, it is TooSlow.
    """
    recorder, value, error = _Recorder(function, limit), None, None
    out = _silence() if quiet else contextlib.redirect_stdout(_Labelled(sys.stdout, label))
    with _fixed_random_numbers(), torch.enable_grad(), out, settings_kept() as settings:
        try:
            value = snapshot(probe(recorder))
        except (Exception, SystemExit, TooSlow) as caught:
            error = caught
    calls, raised = tuple(recorder.calls), recorder.raised
    return Observation(value, error, raised, calls, recorder.uncallable, tuple(settings), recorder.seconds)


def call_quietly(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """What the function returns, as `observe` would call it. Raises what it raises."""
    with _fixed_random_numbers(), torch.enable_grad(), _silence(), settings_kept():
        return function(*args, **kwargs)


@dataclass
class _Labelled:
    """A stream with a label before the first thing that is written to it."""

    stream: TextIO
    label: str

    def write(self, text: str) -> int:
        if self.label:
            self.stream.write(f"{self.label}\n")
            self.label = ""
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """The generators of numpy and `random` are afterwards as they were; to save them takes longer than most probes."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextlib.contextmanager
def _fixed_random_numbers() -> Iterator[None]:
    """The generators of torch, numpy and `random` begin anew inside; torch's are afterwards as they were."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would also reseed a GPU not yet in use
        np.random.seed(SEED)
        random.seed(SEED)
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def error_text(error: BaseException, function: Callable) -> str:
    """`raised ValueError: why (line 3: ...)`: the line is the deepest one in the file where `function` is written."""
    frame = _own_frame(error, function)
    if isinstance(error, TooSlow):
        said = "it has not come to an end, and was stopped: is there a loop that never ends?"
    else:
        reason = shorten(str(error), 200)
        said = f"raised {type(error).__name__}" + (f": {reason}" if reason else "")
    if frame is None:
        return said
    said = f"{said} (line {frame.lineno}: `{frame.line}`)" if frame.line else f"{said} (line {frame.lineno})"
    if isinstance(error, (TypeError, AttributeError)) and _of_values_and_indices(error, frame):
        said += ": with an axis, `.max`, `.min`, `.sort` and `.topk` give values and indices, take `.values` (or [0])"
    return said


def _of_values_and_indices(error: BaseException, frame: traceback.FrameSummary) -> bool:
    """Whether an error comes from torch.max(x, 1) being taken for a tensor."""
    if "return_types" in str(error):
        return True
    takes = ".values" not in (frame.line or "") and re.search(
        r"\.(max|min|sort|topk|median|mode|kthvalue|cummax|cummin)\(", frame.line or ""
    )
    return bool(takes) and any(word in str(error) for word in ("sequence", "tuple"))


def is_stub(error: BaseException | None, function: Callable) -> bool:
    """Whether `error` is the stub's own `raise NotImplementedError`.

    torch raises that type as well, for an operation that a dtype does not have: not the stub's own statement.
    """
    if not isinstance(error, NotImplementedError):
        return False
    frame, last = _own_frame(error, function), traceback.extract_tb(error.__traceback__)[-1]
    return frame is None or not frame.line or (frame == last and "raise" in frame.line)


def _own_frame(error: BaseException, function: Callable) -> traceback.FrameSummary | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if code and frame.filename == code.co_filename), None)
