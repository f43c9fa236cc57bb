"""Derive baselines from runs, and store them; nobody writes one by hand.

`notebooks/baselines/PROFILE.json` keeps the value of every metric at every seed and, where it was measured, what
another kind of machine makes of the same seeds. `labkit verify` judges a run by it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from labkit import baselines
from labkit.baselines import SCHEMA_VERSION
from labkit.course.files import write_text
from labkit.course.lessons import CourseError, course_root
from labkit.course.results import Results, Run, missing_runs

MIN_SEEDS = 5  # fewer say too little about the spread: the t quantile is 64 for two seeds and 4.6 for five


def derive(results: Results, elsewhere: Results | None = None) -> dict[str, Any]:
    """A baseline from results with at least MIN_SEEDS seeds a lesson.

    `elsewhere` are results of the same lessons and seeds on another kind of machine. Raises CourseError when seeds are
    too few, a run failed, or the runs do not all record the same things in the same environment.
    """
    lessons = {name: _derive_lesson(name, results, elsewhere) for name in results["lessons"]}
    return {"schema_version": SCHEMA_VERSION, "profile": results["profile"], "lessons": lessons}


def derive_complete(
    results: Results, elsewhere: Results | None, known: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Like derive, but of those lessons alone that can be derived; and a sentence on each that is left out.

    Left out is also a lesson that lacks a planned run, as after a run that was killed, or is not among `known`, the
    lessons of the course.
    """
    lessons, left_out = {}, []
    missing = dict(reversed(missing_runs(results)))  # of several seeds the first
    for name in results["plan"]:
        try:
            if name not in known:
                raise CourseError(f"{name}: the course has no such lesson, so no baseline of it is kept.")
            if name in missing:
                raise CourseError(f"{name}: the run at seed {missing[name]} is missing, so no baseline: run it again.")
            lessons[name] = _derive_lesson(name, results, elsewhere)
        except CourseError as error:
            left_out.append(error.message)
    return {"schema_version": SCHEMA_VERSION, "profile": results["profile"], "lessons": lessons}, left_out


def baseline_path(profile: str, root: Path | None = None) -> Path:
    """Where the baseline of `profile` is stored in the course under `root` (default: course_root())."""
    return (root or course_root()) / "notebooks" / "baselines" / f"{profile}.json"


def load_baseline(profile: str, root: Path | None = None) -> dict[str, Any] | None:
    """The stored baseline, or None when the profile has none. Raises CourseError for a file that is not a baseline."""
    path = baseline_path(profile, root)
    try:
        baseline = baselines.load(profile, path.parent)
        if baseline is not None:
            _check(baseline)
    except (ValueError, RecursionError) as error:
        sentence = str(error)
        if not sentence.startswith(str(path)):
            sentence = f"{path} is damaged ({sentence}): derive it again with `labkit baseline`."
        raise CourseError(sentence) from error
    return baseline


def save_baseline(baseline: Mapping[str, Any], root: Path | None = None) -> Path:
    """Store a derived baseline and return its path; lessons that it does not name keep what was stored before."""
    stored = load_baseline(baseline["profile"], root) or {"lessons": {}}
    lessons = stored["lessons"] | baseline["lessons"]
    path = baseline_path(baseline["profile"], root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_text({**baseline, "lessons": {name: lessons[name] for name in sorted(lessons)}}))
    return path


def as_text(baseline: Mapping[str, Any]) -> str:
    """The file: JSON with one metric or claim a line, so that a reviewer sees what moved."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def block(entries: Mapping[str, Any], indent: str) -> str:
        lines = ",\n".join(f"{indent} {line(name)}: {line(entry)}" for name, entry in entries.items())
        return f"{{\n{lines}\n{indent}}}" if entries else "{}"

    lessons = []
    for name, lesson in baseline["lessons"].items():
        fields = [
            f"   {line(key)}: {block(value, '   ') if key in ('metrics', 'claims') else line(value)}"
            for key, value in lesson.items()
        ]
        lessons.append(f"  {line(name)}: {{\n" + ",\n".join(fields) + "\n  }")
    head = f'{{\n "schema_version": {SCHEMA_VERSION},\n "profile": {line(baseline["profile"])},\n "lessons": {{\n'
    return head + ",\n".join(lessons) + "\n }\n}\n"


@cache
def _checker() -> Any:
    import fastjsonschema

    return fastjsonschema.compile(json.loads(Path(__file__).with_name("baseline.schema.json").read_text("utf-8")))


def _check(baseline: Mapping[str, Any]) -> None:
    """Raise ValueError unless `baseline` has the form of baseline.schema.json, with a value for each seed."""
    _checker()(baseline)
    for name, lesson in baseline["lessons"].items():
        for metric, entry in lesson["metrics"].items():
            for key in {"values", "elsewhere"} & entry.keys():
                if len(entry[key]) != len(lesson["seeds"]):
                    raise ValueError(f"{name}: {metric} has {len(entry[key])} {key} for {len(lesson['seeds'])} seeds")


def _derive_lesson(name: str, results: Results, elsewhere: Results | None) -> dict[str, Any]:
    lesson = _derive_here(name, results["lessons"][name]["runs"])
    if elsewhere is not None:
        _add_elsewhere(name, lesson, elsewhere["lessons"].get(name, {"runs": []})["runs"])
    return lesson


def _derive_here(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    if failed := [run["seed"] for run in runs if run["status"] != "passed"]:
        raise CourseError(f"{name}: the run at seed {failed[0]} failed, so no baseline: mend it and run again.")
    runs = sorted(runs, key=lambda run: run["seed"])
    seeds = [run["seed"] for run in runs]
    if len(seeds) < MIN_SEEDS:
        raise CourseError(f"{name}: a baseline needs at least {MIN_SEEDS} different seeds, got {len(seeds)}.")
    for what in ("versions", "device", "threads", "instruction_set"):
        if any(run[what] != runs[0][what] for run in runs):
            raise CourseError(
                f"{name}: the runs differ in their {what.replace('_', ' ')}: derive a baseline from one environment."
            )
    claims = [{claim["text"]: claim["holds"] for claim in run["claims"]} for run in runs]
    return {
        "seeds": seeds,
        "versions": dict(sorted(runs[0]["versions"].items())),
        **{key: runs[0][key] for key in ("device", "threads", "instruction_set")},
        "seconds": round(statistics.fmean(run["seconds"] for run in runs), 1),
        "metrics": {m: _derive_metric(name, m, runs) for m in _shared(name, "metric", [r["metrics"] for r in runs])},
        "claims": {
            text: {"holds": sum(claim[text] for claim in claims), "runs": len(runs)}
            for text in _shared(name, "claim", claims)
        },
    }


def _derive_metric(name: str, metric: str, runs: Sequence[Run]) -> dict[str, Any]:
    units = {run["metrics"][metric]["unit"] for run in runs}
    if len(units) > 1:
        raise CourseError(f"{name}: the metric {metric} has different units: {', '.join(sorted(map(repr, units)))}.")
    values = [run["metrics"][metric]["value"] for run in runs]
    for value, run in zip(values, runs, strict=True):
        if not math.isfinite(value):
            raise CourseError(f"{name}: the metric {metric} is {value} at seed {run['seed']}, which is not finite.")
    return {"unit": units.pop(), "values": values}


def _add_elsewhere(name: str, lesson: dict[str, Any], runs: Sequence[Run]) -> None:
    """Put what another machine made of the same seeds beside each metric of `lesson`."""
    by_seed = {run["seed"]: run for run in runs}
    for seed in lesson["seeds"]:
        if seed not in by_seed or by_seed[seed]["status"] != "passed":
            raise CourseError(f"{name}: the other machine has no run at seed {seed}: run it again there.")
    if by_seed[lesson["seeds"][0]]["instruction_set"] == lesson["instruction_set"]:
        raise CourseError(
            f"{name}: both machines compute with {lesson['instruction_set']}: one must be of another kind."
        )
    for metric, entry in lesson["metrics"].items():
        found = [by_seed[seed]["metrics"].get(metric) for seed in lesson["seeds"]]
        if any(one is None or one["unit"] != entry["unit"] for one in found):
            raise CourseError(f"{name}: the other machine did not record the metric {metric!r} at every seed.")
        entry["elsewhere"] = [one["value"] for one in found]
    for text, claim in lesson["claims"].items():
        held = [one["holds"] for seed in lesson["seeds"] for one in by_seed[seed]["claims"] if one["text"] == text]
        if len(held) < len(lesson["seeds"]):
            raise CourseError(f"{name}: the other machine did not record the claim {text!r} at every seed.")
        claim["elsewhere"] = sum(held)


def _shared(name: str, kind: str, per_run: Sequence[Mapping]) -> list[str]:
    """The sorted keys of `per_run`. Raises CourseError unless every run has every one of them."""
    keys = sorted(set().union(*per_run))
    for key in keys:
        if without := sum(key not in recorded for recorded in per_run):
            lacking = f"{without} of {len(per_run)} runs"
            raise CourseError(f"{name}: the {kind} {key!r} is missing from {lacking}: record it at every seed.")
    return keys
