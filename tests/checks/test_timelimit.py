"""What never ends is stopped; what ends in time never notices."""

from __future__ import annotations

import signal
import threading

import pytest

from labkit.checks.timelimit import TooSlow, time_limit

with_a_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer")


def forever() -> None:
    while True:
        pass


@with_a_timer
def test_a_loop_that_never_ends_is_stopped() -> None:
    with pytest.raises(TooSlow), time_limit(0.01):
        forever()


@with_a_timer
def test_a_loop_that_swallows_every_exception_is_stopped_as_well() -> None:
    def stubborn() -> None:
        while True:
            try:
                forever()
            except Exception:
                continue

    with pytest.raises(TooSlow), time_limit(0.01):
        stubborn()


@with_a_timer
def test_timer_and_handler_are_afterwards_as_they_were() -> None:
    handler = lambda number, frame: None  # noqa: E731
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1000.0)
    try:
        with time_limit(500.0):
            assert signal.getsignal(signal.SIGALRM) is not handler
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 500 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seconds", [10.0, float("inf")])
def test_without_a_main_thread_or_without_a_limit_nothing_happens(seconds: float) -> None:
    done = []

    def limited() -> None:
        with time_limit(seconds):
            done.append(True)

    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    assert done == [True]
