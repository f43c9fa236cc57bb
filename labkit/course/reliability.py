"""How often `labkit verify` cries wolf, and how small a change it notices, computed from a stored baseline.

Both are about another machine than the baseline's, or another seed; on the same machine a seed of the baseline must
give the stored values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from labkit.baselines import spread
from labkit.course.bands import Measure, half_widths, is_count
from labkit.course.comparison import FURTHER_SEEDS

CHANGE = 0.2  # of a metric's value, which ought to be noticed


@dataclass(frozen=True)
class Reliability:
    """What a lesson's metrics are good for on another machine."""

    false_alarms: float  # share of the verdicts on an unchanged lesson that find a problem
    noticed: tuple[str, ...]  # metrics that leave their band when their value changes by CHANGE
    unnoticed: tuple[str, ...]


def reliability(lesson: Mapping[str, Any]) -> Reliability:
    """Of one lesson of a baseline, by what another machine made of its seeds or, where that is not known, by the seeds.

    Any three seeds in turn stand for a new run and the two further ones that must confirm what it shows; the bands are
    derived from the seeds that are left, so with fewer than `verify` has.
    """
    known = all("elsewhere" in metric for metric in lesson["metrics"].values())
    measure: Measure = "machine" if known else "seed"
    verdicts = combinations(range(len(lesson["seeds"])), 1 + FURTHER_SEEDS)
    alarms = [_is_alarm(lesson, set(out), measure) for out in verdicts]
    halves = half_widths(lesson, measure)
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


def _is_alarm(lesson: Mapping[str, Any], out: set[int], measure: Measure) -> bool:
    left = {**lesson, "metrics": {name: _without(metric, out) for name, metric in lesson["metrics"].items()}}
    halves = half_widths(left, measure)
    for name, metric in lesson["metrics"].items():
        if measure == "machine":
            moved = [there - here for here, there in zip(metric["values"], metric["elsewhere"], strict=True)]
        else:
            middle = fmean(left["metrics"][name]["values"])
            moved = [value - middle for value in metric["values"]]
        seen = [moved[place] for place in out]
        if min(seen) > halves[name] or max(seen) < -halves[name]:
            return True
    return False


def _without(metric: Mapping[str, Any], out: set[int]) -> dict[str, Any]:
    """The metric as it would be stored without the seeds at these places."""
    kept = {key: [v for place, v in enumerate(metric[key]) if place not in out] for key in metric if key != "unit"}
    return {"unit": metric["unit"], **kept}


def _notices(metric: Mapping[str, Any], half: float) -> bool:
    """Whether a change of a metric by CHANGE of its value leads out of its band."""
    s = spread(metric)
    return is_count(metric) or half < CHANGE * abs(s.mean)
