"""How far a metric may lie from what its baseline holds, by what is known about the machine and the seed.

Three measures, from sharp to wide. The same machine must give the stored *value*. Another *machine* given the same seed
gives another number, since rounding grows in training; how far it moves was measured, on a machine made to compute as
another one would. Another *seed* draws other data, weights and batches, and moves a metric further.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from labkit.baselines import spread

Measure = Literal["value", "machine", "seed"]

ROUNDING = 1e-6  # relative: the same number but for its last digits
NOBODY_CARES = 0.15  # of the mean: a change of a fifth is to be noticed, so no band need be narrower than this
MACHINES = 2.75  # spreads; of 900 normal metrics one is out at three seeds, on one side, in 1 course of 200
SEEDS = 5.0  # spreads between seeds; `make bench` counts how often an unchanged course fails, and what is noticed
LESSONS_SAY = 3  # for how many seeds' worth of evidence counts what the other metrics of the lesson do


@dataclass(frozen=True)
class Band:
    """The values from `low` to `high`."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    def holds(self, value: float) -> bool:
        """Whether the value is inside; NaN is outside every band."""
        return self.low <= value <= self.high

    def place(self, value: float) -> float:
        """Where in the band a value lies: -1 and 1 are its ends, 0 its middle."""
        if value == self.middle:
            return 0.0
        return (value - self.middle) / self.half if self.half else math.copysign(math.inf, value - self.middle)


def measures(lesson: Mapping[str, Any], seed: int, same_machine: bool) -> list[Measure]:
    """What a run at `seed` can be held to, the sharpest first; `lesson` is its entry in the baseline."""
    if seed not in lesson["seeds"]:
        return ["seed"]
    kept = [key for metric in lesson["metrics"].values() for key in metric]
    found: list[Measure] = ["value"] if same_machine and "values" in kept else []
    return [*found, *(["machine"] if "elsewhere" in kept else []), "seed"]


def bands(lesson: Mapping[str, Any], seed: int, measure: Measure) -> dict[str, Band]:
    """The band of every metric of a lesson's baseline for a run at `seed`, by one measure."""
    halves = half_widths(lesson, measure)
    found = {}
    for name, metric in lesson["metrics"].items():
        middle = spread(metric).mean if measure == "seed" else metric["values"][lesson["seeds"].index(seed)]
        found[name] = Band(middle - halves[name], middle + halves[name])
    return found


def half_widths(lesson: Mapping[str, Any], measure: Measure) -> dict[str, float]:
    """How far each metric may lie from the middle of its band.

    A count, the same whole number at every seed and on every machine, has to be met exactly.
    """
    typical = _typical_share(lesson) if measure == "machine" else 0.0
    halves = {}
    for name, metric in lesson["metrics"].items():
        s = spread(metric)
        if is_count(metric):
            halves[name] = 0.0
        elif measure == "value":
            halves[name] = ROUNDING * max(abs(s.low), abs(s.high))
        elif measure == "machine":
            halves[name] = max(MACHINES * _between_machines(metric, typical), NOBODY_CARES * abs(s.mean))
        else:
            halves[name] = max(SEEDS * s.sd * math.sqrt(1 + 1 / s.n), NOBODY_CARES * abs(s.mean))
    return halves


def is_count(metric: Mapping[str, Any]) -> bool:
    """Whether a metric is the same whole number wherever it was measured."""
    s = spread(metric)
    seen = {*metric.get("values", (s.low, s.high)), *metric.get("elsewhere", ())}
    return len(seen) == 1 and float(s.low).is_integer()


def _differences(metric: Mapping[str, Any]) -> list[float]:
    """By how much a metric differs between two machines, seed by seed."""
    return [there - here for here, there in zip(metric["values"], metric["elsewhere"], strict=True)]


def _between_machines(metric: Mapping[str, Any], typical: float) -> float:
    """By how much a metric usually differs between two machines at the same seed (root mean square).

    A few differences say little, so what is usual in the lesson, `typical` of the spread between seeds, is mixed in;
    but what came out the same at every seed does not hang on rounding.
    """
    differences = _differences(metric)
    if not any(differences):
        return 0.0
    usual = typical * spread(metric).sd
    evidence = sum(difference**2 for difference in differences) + LESSONS_SAY * usual**2
    return math.sqrt(evidence / (len(differences) + LESSONS_SAY))


def _typical_share(lesson: Mapping[str, Any]) -> float:
    """What share of its spread between seeds a metric of this lesson usually moves between machines, if it moves."""
    shares = [
        math.sqrt(statistics.fmean(d**2 for d in _differences(metric))) / spread(metric).sd
        for metric in lesson["metrics"].values()
        if "elsewhere" in metric and any(_differences(metric)) and spread(metric).sd
    ]
    return statistics.median(shares) if shares else 0.0
