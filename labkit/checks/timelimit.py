"""A limit for how long a learner's function may take, where the system has a timer for it."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator


class TooSlow(BaseException):
    """The time is over. No Exception, so that `except Exception` in a loop that never ends cannot swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooSlow inside after so many seconds, again each second, until the block is left.

    Only in the main thread and where there is a timer (not on Windows); elsewhere, and in a loop in C, nothing happens.
    A timer that was running is running afterwards.
    """
    if (
        not math.isfinite(seconds)
        or not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def over(number: int, frame: object) -> None:
        raise TooSlow

    handler, began = signal.signal(signal.SIGALRM, over), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler if handler is not None else signal.SIG_DFL)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)
