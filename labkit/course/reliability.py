"""How often `labkit verify` cries wolf, and how small a change it notices, computed from a stored baseline.

Both are about another machine than the baseline's; on the same machine every value must be the stored one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from labkit.baselines import spread
from labkit.course.bands import half_widths, is_count
from labkit.course.comparison import FURTHER_SEEDS

CHANGE = 0.2  # of a metric's value, which ought to be noticed


@dataclass(frozen=True)
class Reliability:
    """What a lesson's metrics are good for on another machine."""

    false_alarms: float  # share of the verdicts on an unchanged lesson that find a problem
    noticed: tuple[str, ...]  # metrics that leave their band when their value changes by CHANGE
    unnoticed: tuple[str, ...]


def reliability(lesson: Mapping[str, Any]) -> Reliability:
    """Of one lesson of a baseline that knows another machine.

    Each seed in turn stands for a new run on that machine, with any further seeds to confirm what it shows; the bands
    are derived from the seeds that are left.
    """
    alarms = [_is_alarm(lesson, run, further) for run, further in _verdicts(len(lesson["seeds"]))]
    halves = half_widths(lesson, "machine")
    noticed = {name: _notices(metric, halves[name]) for name, metric in lesson["metrics"].items()}
    return Reliability(
        sum(alarms) / len(alarms),
        tuple(name for name, seen in noticed.items() if seen),
        tuple(name for name, seen in noticed.items() if not seen),
    )


def of_course(lessons: Mapping[str, Reliability]) -> tuple[float, float]:
    """(false alarms of a verdict on all lessons together, share of all metrics that notice a change)."""
    quiet = 1.0
    for one in lessons.values():
        quiet *= 1 - one.false_alarms
    noticed = sum(len(one.noticed) for one in lessons.values())
    return 1 - quiet, noticed / sum(len(one.noticed) + len(one.unnoticed) for one in lessons.values())


def _verdicts(seeds: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(place of the run, places of the further seeds) of every verdict that a baseline of so many seeds allows."""
    for run in range(seeds):
        for further in combinations([place for place in range(seeds) if place != run], FURTHER_SEEDS):
            yield run, further


def _is_alarm(lesson: Mapping[str, Any], run: int, further: tuple[int, ...]) -> bool:
    out = {run, *further}
    left = {**lesson, "metrics": {name: _without(metric, out) for name, metric in lesson["metrics"].items()}}
    halves = half_widths(left, "machine")
    for name, metric in lesson["metrics"].items():
        moved = [there - here for here, there in zip(metric["values"], metric["elsewhere"], strict=True)]
        if abs(moved[run]) > halves[name] and abs(median(moved[place] for place in out)) > halves[name]:
            return True
    return False


def _without(metric: Mapping[str, Any], out: set[int]) -> dict[str, Any]:
    """The metric as it would be stored without the seeds at these places."""
    kept = {key: [v for place, v in enumerate(metric[key]) if place not in out] for key in ("values", "elsewhere")}
    return {"unit": metric["unit"], **kept}


def _notices(metric: Mapping[str, Any], half: float) -> bool:
    """Whether a change of a metric by CHANGE of its value leads out of its band."""
    s = spread(metric)
    return is_count(metric) or half < CHANGE * abs(s.mean)
