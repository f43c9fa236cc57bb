"""Call a function under a probe so that nothing it does reaches the experiment: no random numbers, no exception."""

from __future__ import annotations

import contextlib
import inspect
import io
import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from labkit.checks.difference import snapshot

SEED = 0
"""Every probe begins with this state of the random generators, whoever is being observed."""


@dataclass(frozen=True)
class Observation:
    """What one probe saw of one function: a value, or the exception that came instead."""

    value: Any  # None where an exception came
    error: BaseException | None  # what the probe ended in; the function's own, or about what it returned
    raised: BaseException | None  # the last exception that came out of the function, even if the probe handled it
    returns: tuple[Any, ...]  # what the function returned, call by call, before the probe made something of it
    uncallable: bool  # the function does not take the arguments that the probe gave


@dataclass
class _Recorder:
    """Stands before the observed function, and remembers what came out of it."""

    function: Callable
    returns: list[Any] = field(default_factory=list)
    raised: BaseException | None = None
    uncallable: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self._check_signature(args, kwargs)
            result = self.function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            self.raised = error
            raise
        self.returns.append(result)
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


def observe(probe: Callable[[Callable], Any], function: Callable, *, quiet: bool = True) -> Observation:
    """Let `probe` use `function`, with fixed random generators and gradients on; call it within `random_states_kept`.

    Any exception but KeyboardInterrupt becomes part of the observation. `quiet` drops what the function prints
    and warns of.
    """
    recorder, value, error = _Recorder(function), None, None
    with _fixed_random_numbers(), torch.enable_grad(), _silence() if quiet else contextlib.nullcontext():
        try:
            value = snapshot(probe(recorder))
        except (Exception, SystemExit) as caught:
            error = caught
    return Observation(value, error, recorder.raised, tuple(recorder.returns), recorder.uncallable)


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
    reason = shorten(str(error), 200)
    said = f"raised {type(error).__name__}" + (f": {reason}" if reason else "")
    frame = _own_frame(error, function)
    if frame is None:
        return said
    return f"{said} (line {frame.lineno}: `{frame.line}`)" if frame.line else f"{said} (line {frame.lineno})"


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
