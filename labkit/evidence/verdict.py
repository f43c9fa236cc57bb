"""A verdict over seeds: paired differences, their interval, and what it says of a margin."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.evidence.expression import Comparison, Decision

ERROR = 0.05
"""How often "holds" may be said, at most, where the true difference equals the margin; the same for "does not hold"."""

HOLDS, FAILS, UNDECIDED, DEPENDS, UNKNOWN = "holds", "does not hold", "undecided", "depends", "not measured"
VERDICTS = (HOLDS, FAILS, UNDECIDED, DEPENDS)


@dataclass(frozen=True)
class Judged:
    """One comparison over the seeds of a profile."""

    verdict: str  # HOLDS, FAILS or UNDECIDED; UNKNOWN where no seeds are stored
    differences: tuple[float, ...] = ()  # of each seed, in the comparison's favor where positive
    low: float = math.nan  # ends of the interval of the mean difference, at the confidence 1 - 2 ERROR
    high: float = math.nan

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)


def judge(decision: Decision, margin: float, runs: Sequence[Mapping[str, float]]) -> Judged:
    """Whether a comparison holds by more than `margin`, judged by the metrics of runs that differ in their seed alone.

    A single comparison holds if the t interval of the mean paired difference lies above the margin, does not hold if
    it lies below, and is undecided otherwise. all(...) holds if every part does; any(...) if one part does, each then
    tested at ERROR divided by the number of parts, since one of many errs more easily than one alone. "Does not hold"
    is the mirror image.
    """
    if not runs:
        return Judged(UNKNOWN)
    differences = tuple(decision.difference(metrics) for metrics in runs)
    low, high = interval(differences, ERROR)
    return Judged(_verdict(decision, margin, runs, ERROR, ERROR), differences, low, high)


def interval(differences: Sequence[float], error: float) -> tuple[float, float]:
    """The two ends between which the mean difference lies, each missed with probability `error` (Student's t)."""
    from scipy.special import stdtrit  # half a second, and only whoever judges needs it

    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return -math.inf, math.inf
    half = stdtrit(len(differences) - 1, 1 - error) * statistics.stdev(differences) / len(differences) ** 0.5
    return mean - half, mean + half


def combined(own: Judged, rivals: Sequence[Judged]) -> str:
    """The verdict on a claim: that of its comparison, if those of its rivals agree.

    "depends" if two of them are decided and say the contrary; "undecided" if one of them is, and no two disagree.
    """
    said = {own.verdict} | {rival.verdict for rival in rivals}
    if UNKNOWN in said:
        return UNKNOWN
    if {HOLDS, FAILS} <= said:
        return DEPENDS
    return UNDECIDED if UNDECIDED in said else own.verdict


def _verdict(decision: Decision, margin: float, runs: Sequence[Mapping[str, float]], holds: float, fails: float) -> str:
    """The verdict with separate error rates for wrongly saying "holds" and wrongly saying "does not hold"."""
    if isinstance(decision, Comparison):
        differences = [decision.difference(metrics) for metrics in runs]
        if interval(differences, holds)[0] > margin:
            return HOLDS
        # Without any spread the interval is a point, and a point on the margin is not beyond it.
        certain = len(differences) > 1 and len(set(differences)) == 1
        return FAILS if interval(differences, fails)[1] < margin or certain else UNDECIDED
    count = len(decision.parts)
    errors = (holds, fails / count) if decision.every else (holds / count, fails)
    parts = {_verdict(part, margin, runs, *errors) for part in decision.parts}
    decisive, other = (FAILS, HOLDS) if decision.every else (HOLDS, FAILS)
    return decisive if decisive in parts else other if parts == {other} else UNDECIDED
