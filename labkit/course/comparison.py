"""A run beside its baseline: which metrics left their band, which claims flipped, what is missing or new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.course.lessons import CourseError
from labkit.course.records import runs_of

_DERIVE_AGAIN = "derive it again with `labkit baseline`"


@dataclass(frozen=True)
class LessonComparison:
    """How the runs of one lesson compare with its baseline."""

    in_band: int  # metrics inside their band, summed over the runs
    total: int  # metrics that the baseline or the run has, summed over the runs
    problems: tuple[str, ...]  # one sentence each, beginning with lesson and seed


@dataclass(frozen=True)
class Comparison:
    """How results compare with a baseline, lesson by lesson."""

    profile: str
    lessons: dict[str, LessonComparison]

    @property
    def problems(self) -> list[str]:
        """All problems, in the order of the lessons; empty when everything is as expected."""
        return [problem for lesson in self.lessons.values() for problem in lesson.problems]


def compare(results: Mapping, baseline: Mapping) -> Comparison:
    """Every run in ``results`` beside the bands and claims of ``baseline``; lessons that did not run are left out.

    Raises CourseError when the two are of different profiles.
    """
    if results["profile"] != baseline["profile"]:
        raise CourseError(
            f"These results are of the profile {results['profile']!r} and the baseline is of {baseline['profile']!r}: "
            "compare runs of the same profile."
        )
    lessons = {
        name: _compare_lesson(name, runs_of(entry), baseline["lessons"].get(name))
        for name, entry in results["lessons"].items()
    }
    return Comparison(results["profile"], lessons)


def claims_of(run: Mapping) -> dict[str, bool]:
    """{text: holds} of one run."""
    return {claim["text"]: claim["holds"] for claim in run["claims"]}


def _compare_lesson(name: str, runs: Sequence[Mapping], expected: Mapping | None) -> LessonComparison:
    in_band = total = 0
    problems: list[str] = []
    for run in runs:
        where = f"{name} (seed {run['seed']})"
        if run["status"] != "passed":
            total += len(expected["metrics"]) if expected else 0
            problems.append(f"{where}: the run failed: {run['error']['message']}.")
            continue
        if expected is None:
            total += len(run["metrics"])
            problems.append(f"{where}: the lesson has no baseline; derive one with `labkit baseline {name}`.")
            continue
        names = list(dict.fromkeys([*run["metrics"], *expected["metrics"]]))  # the order of the notebook
        found = [_compare_metric(m, run["metrics"].get(m), expected["metrics"].get(m)) for m in names]
        total += len(names)
        in_band += found.count(None)
        problems += [f"{where}: {problem}" for problem in found if problem]
        problems += [f"{where}: {problem}" for problem in _compare_claims(claims_of(run), expected["claims"])]
    return LessonComparison(in_band, total, tuple(problems))


def _compare_metric(metric: str, seen: Mapping | None, expected: Mapping | None) -> str | None:
    """What is wrong with one metric, or None."""
    if expected is None:
        return f"the metric {metric} has no baseline; {_DERIVE_AGAIN}."
    if seen is None:
        return f"the metric {metric} is missing from the run, and the baseline has it."
    if seen["unit"] != expected["unit"]:
        return f"the metric {metric} has the unit {seen['unit']!r}, and {expected['unit']!r} in the baseline."
    low, high = expected["low"], expected["high"]
    if not low <= seen["value"] <= high:  # NaN is outside every band
        value = f"{seen['value']:.8g} {seen['unit']}".rstrip()
        return f"the metric {metric} = {value} is outside its band [{low:.8g}, {high:.8g}] from {expected['n']} seeds."
    return None


def _compare_claims(seen: Mapping[str, bool], expected: Mapping[str, Mapping]) -> list[str]:
    """What is wrong with the claims; one that only some seeds of the baseline confirm varies, and cannot flip."""
    problems = [f"the claim “{text}” has no baseline; {_DERIVE_AGAIN}." for text in seen if text not in expected]
    for text, baseline in expected.items():
        held, runs = baseline["holds"], baseline["runs"]
        if text not in seen:
            problems.append(f"the claim “{text}” is missing from the run, and the baseline has it.")
        elif held in (0, runs) and seen[text] != bool(held):
            now = "holds" if seen[text] else "does not hold"
            problems.append(f"the claim “{text}” flipped: it {now} now, and held in {held} of {runs} baseline runs.")
    return problems
