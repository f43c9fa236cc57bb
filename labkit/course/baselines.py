"""Baselines: how far each metric moves from seed to seed, derived from runs and never written by hand.

``tests/baselines/<profile>.json`` is what ``labkit baseline`` stores and ``labkit verify`` compares a run with.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context
from pathlib import Path

from labkit.course.comparison import Comparison, LessonComparison, claims_of, compare
from labkit.course.files import write_json
from labkit.course.lessons import CourseError, course_root
from labkit.course.records import runs_of

__all__ = [
    "Comparison",
    "LessonComparison",
    "band",
    "baseline_path",
    "compare",
    "derive",
    "load_baseline",
    "save_baseline",
]

SCHEMA_VERSION = 1
MIN_SEEDS = 5  # fewer say too little about the spread: the t quantile is 64 for two seeds and 4.6 for five
COVERAGE = 0.99  # of one further run of the same code at another seed, if the metric is normal over seeds
ROUNDING = 1e-6  # relative; another machine may add float32 numbers in another order
DIGITS = 8  # significant digits kept of a derived number


def derive(results: Mapping) -> dict:
    """A baseline from results.json with at least MIN_SEEDS seeds a lesson.

    Raises CourseError when seeds are too few or repeated, a run failed, or the runs do not all record the same things
    in the same environment.
    """
    lessons = {name: _derive_lesson(name, runs_of(entry)) for name, entry in results["lessons"].items()}
    return {"schema_version": SCHEMA_VERSION, "profile": results["profile"], "lessons": lessons}


def baseline_path(profile: str, root: Path | None = None) -> Path:
    """Where the baseline of ``profile`` is stored in the course under ``root`` (default: course_root())."""
    return (root or course_root()) / "tests" / "baselines" / f"{profile}.json"


def load_baseline(profile: str, root: Path | None = None) -> dict | None:
    """The stored baseline, or None when the profile has none. Raises CourseError for a file that is not a baseline."""
    path = baseline_path(profile, root)
    try:
        baseline = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CourseError(f"Cannot read {path} ({error}): derive it again with `labkit baseline`.") from error
    known = isinstance(baseline, dict) and baseline.get("schema_version") == SCHEMA_VERSION
    if not known or baseline.get("profile") != profile:
        raise CourseError(
            f"{path} is not a baseline of version {SCHEMA_VERSION} for the profile {profile!r}: "
            "derive it again with `labkit baseline`."
        )
    return baseline


def save_baseline(baseline: Mapping, root: Path | None = None) -> Path:
    """Store a derived baseline and return its path; lessons that it does not name keep the bands stored before."""
    stored = load_baseline(baseline["profile"], root) or {"lessons": {}}
    lessons = stored["lessons"] | baseline["lessons"]
    path = baseline_path(baseline["profile"], root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**baseline, "lessons": {name: lessons[name] for name in sorted(lessons)}})
    return path


def band(values: Sequence[float]) -> tuple[float, float]:
    """(low, high) for one further run: the prediction interval of COVERAGE, widened to hold all values and ROUNDING.

    One whole number at every seed is a count, which has to be met exactly.
    """
    from scipy import stats  # about a second to import, which commands that derive nothing need not wait for

    n = len(values)
    if len(set(values)) == 1 and float(values[0]).is_integer():
        return float(values[0]), float(values[0])
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf((1 + COVERAGE) / 2, n - 1)) * sd * math.sqrt(1 + 1 / n)
    low, high = min(mean - half, *values), max(mean + half, *values)
    margin = ROUNDING * max(abs(low), abs(high))
    return _rounded(low - margin, ROUND_FLOOR), _rounded(high + margin, ROUND_CEILING)


def _rounded(value: float, rounding: str = ROUND_HALF_EVEN) -> float:
    """``value`` to DIGITS significant digits; a band is rounded outwards, so that it never loses a value seen."""
    return float(Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(value))


def _derive_lesson(name: str, runs: Sequence[Mapping]) -> dict:
    if failed := [run["seed"] for run in runs if run["status"] != "passed"]:
        raise CourseError(f"{name}: the run at seed {failed[0]} failed, so no baseline: mend it and run again.")
    seeds = sorted(run["seed"] for run in runs)
    if len(set(seeds)) < MIN_SEEDS:
        raise CourseError(f"{name}: a baseline needs at least {MIN_SEEDS} different seeds, got {len(set(seeds))}.")
    if len(set(seeds)) < len(seeds):
        raise CourseError(f"{name}: the seeds {seeds} hold one twice, which would make the spread look smaller.")
    for what in ("versions", "device"):
        if any(run[what] != runs[0][what] for run in runs):
            raise CourseError(f"{name}: the runs differ in their {what}: derive a baseline from one environment.")
    claims = [claims_of(run) for run in runs]
    return {
        "seeds": seeds,
        "versions": dict(sorted(runs[0]["versions"].items())),
        "device": runs[0]["device"],
        "metrics": {m: _derive_metric(name, m, runs) for m in _shared(name, "metric", [r["metrics"] for r in runs])},
        "claims": {
            text: {"holds": sum(claim[text] for claim in claims), "runs": len(runs)}
            for text in _shared(name, "claim", claims)
        },
    }


def _derive_metric(name: str, metric: str, runs: Sequence[Mapping]) -> dict:
    units = {run["metrics"][metric]["unit"] for run in runs}
    if len(units) > 1:
        raise CourseError(f"{name}: the metric {metric} has different units: {', '.join(sorted(map(repr, units)))}.")
    values = [run["metrics"][metric]["value"] for run in runs]
    for value, run in zip(values, runs, strict=True):
        if not math.isfinite(value):
            raise CourseError(f"{name}: the metric {metric} is {value} at seed {run['seed']}, which makes no band.")
    low, high = band(values)
    return {
        "unit": units.pop(),
        "n": len(values),
        "mean": _rounded(statistics.fmean(values)),
        "sd": _rounded(statistics.stdev(values)),
        "min": min(values),
        "max": max(values),
        "low": low,
        "high": high,
    }


def _shared(name: str, kind: str, per_run: Sequence[Mapping]) -> list[str]:
    """The sorted keys of ``per_run``. Raises CourseError unless every run has every one of them."""
    keys = sorted(set().union(*per_run))
    for key in keys:
        if without := sum(key not in recorded for recorded in per_run):
            lacking = f"{without} of {len(per_run)} runs"
            raise CourseError(f"{name}: the {kind} {key!r} is missing from {lacking}: record it at every seed.")
    return keys
