"""A run beside its baseline: the same values on the same kind of machine, values within their bands on another one.

On the same kind of machine, with the same versions, a seed of the baseline must give the stored values: any change of
the code that moves a number is seen. Anywhere else a metric has a band (`labkit.course.bands`). One value outside its
band decides nothing: `settle` has the lesson run at two further seeds, and all of its runs must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.course.judging import Judged, flipped, judge, suspicions, value_of
from labkit.course.lessons import CourseError
from labkit.course.results import Results, Run, missing_runs

FURTHER_SEEDS = 2  # at which a lesson with a value outside its band is run again

Rerun = Callable[[str, Sequence[int]], Sequence[Run]]
"""Runs a lesson at further seeds: (lesson, seeds) -> runs."""


@dataclass(frozen=True)
class Comparison:
    """How results compare with a baseline."""

    runs: tuple[Judged, ...]
    missing: tuple[str, ...]  # sentences about runs that were planned and are not there
    settled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # lesson: what further seeds confirmed

    @property
    def problems(self) -> list[str]:
        """A sentence each, in the order of the lessons; empty when everything is as expected."""
        found: list[str] = []
        for name in dict.fromkeys(judged.lesson for judged in self.runs):
            runs = [judged for judged in self.runs if judged.lesson == name]
            found += [f"{judged.where}: {fault}" for judged in runs for fault in judged.faults]
            if name in self.settled:
                found += [f"{name}: {sentence}" for sentence in self.settled[name]]
            else:
                found += [f"{judged.where}: {sentence}" for judged in runs for sentence in suspicions(judged)]
        return found + list(self.missing)

    @property
    def suspects(self) -> list[str]:
        """Lessons that further seeds could clear: something is outside its band or contrary on another machine."""
        return list(dict.fromkeys(j.lesson for j in self.runs if not j.exact and (j.outside or j.contrary)))


def compare(results: Results, baseline: Mapping[str, Any]) -> Comparison:
    """Every run in `results` beside `baseline`. Raises CourseError when the two are of different profiles."""
    if results["profile"] != baseline["profile"]:
        raise CourseError(
            f"These results are of the profile {results['profile']!r} and the baseline is of {baseline['profile']!r}: "
            "compare runs of the same profile."
        )
    runs = tuple(
        judge(name, run, baseline["lessons"].get(name))
        for name, entry in results["lessons"].items()
        for run in entry["runs"]
    )
    missing = tuple(
        f"{name} (seed {seed}): the run was planned and is missing." for name, seed in missing_runs(results)
    )
    return Comparison(runs, missing)


def settle(comparison: Comparison, baseline: Mapping[str, Any], rerun: Rerun) -> Comparison:
    """Run every suspect lesson again at FURTHER_SEEDS more seeds, and judge it by all its runs together."""
    settled = {}
    for name in comparison.suspects:
        first = [judged for judged in comparison.runs if judged.lesson == name]
        expected = baseline["lessons"][name]
        seeds = _further_seeds({judged.run["seed"] for judged in first}, expected["seeds"])
        further = [judge(name, run, expected) for run in rerun(name, seeds)]
        settled[name] = tuple(_confirmed(first, further))
    return Comparison(comparison.runs, comparison.missing, settled)


def _further_seeds(used: set[int], stored: Sequence[int]) -> list[int]:
    """FURTHER_SEEDS seeds that have not run yet: of the baseline, as far as it has any left, then new ones."""
    fresh = [
        seed
        for seed in (*stored, *range(max(stored) + 1, max(stored) + 1 + len(used) + FURTHER_SEEDS))
        if seed not in used
    ]
    return fresh[:FURTHER_SEEDS]


def _confirmed(first: Sequence[Judged], further: Sequence[Judged]) -> list[str]:
    """Sentences about what is still outside or contrary when all runs of a lesson are taken together."""
    found = [f"at seed {judged.run['seed']}: {fault}" for judged in further for fault in judged.faults]
    runs = [judged for judged in (*first, *further) if judged.run["status"] == "passed"]
    seeds = ", ".join(str(judged.run["seed"]) for judged in runs)
    for metric in dict.fromkeys(metric for judged in first for metric in judged.outside):
        seen = [judged for judged in runs if judged.bands.get(metric) is not None]
        places = [judged.bands[metric].place(judged.run["metrics"][metric]["value"]) for judged in seen]
        if min(places) > 1 or max(places) < -1:
            values = ", ".join(value_of(judged.run, metric) for judged in seen)
            found.append(f"the metric {metric} is outside its band at all seeds, {seeds}: {values}.")
    for text in dict.fromkeys(text for judged in first for text in judged.contrary):
        if all(text in judged.contrary for judged in runs):
            found.append(f"{flipped(text, first[0])[:-1]}, also at seeds {seeds}.")
    return found
