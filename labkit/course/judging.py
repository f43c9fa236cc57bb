"""One run beside what its lesson's baseline holds: by what measure it is judged, and what is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.course.bands import Band, Measure, bands, measures
from labkit.course.results import Run

OTHER_NUMBERS = 0.25  # share of metrics outside the bands for machines, above which the random numbers must be others
DERIVE_AGAIN = "derive it again with `labkit baseline`"


@dataclass(frozen=True)
class Judged:
    """One run beside the baseline of its lesson."""

    lesson: str
    run: Run
    measure: Measure  # what its metrics are held to
    bands: dict[str, Band | None] = field(
        default_factory=dict
    )  # None: a metric that is missing, new or in another unit
    outside: tuple[str, ...] = ()  # metrics outside their band
    contrary: tuple[str, ...] = ()  # claims on which all seeds of the baseline agree, and this run does not
    faults: tuple[str, ...] = ()  # sentences about what no further seed can mend

    @property
    def exact(self) -> bool:
        """Whether it is held to the stored values themselves."""
        return self.measure == "value"

    @property
    def where(self) -> str:
        return f"{self.lesson} (seed {self.run['seed']})"

    @property
    def total(self) -> int:
        """Metrics that the baseline or the run has."""
        return len(self.bands)

    @property
    def in_band(self) -> int:
        """How many of them are inside their band."""
        return sum(band is not None for band in self.bands.values()) - len(self.outside)


def judge(name: str, run: Run, expected: Mapping[str, Any] | None) -> Judged:
    """One run of the lesson `name` beside what its baseline holds."""
    if run["status"] != "passed":
        metrics = expected["metrics"] if expected else ()
        return Judged(
            name, run, "seed", dict.fromkeys(metrics), faults=(f"the run failed: {run['error']['message']}.",)
        )
    if expected is None:
        fault = f"the lesson has no baseline; derive one with `labkit baseline {name}`."
        return Judged(name, run, "seed", dict.fromkeys(run["metrics"]), faults=(fault,))
    names = dict.fromkeys([*run["metrics"], *expected["metrics"]])  # the order of the notebook
    found = {name: _fault(name, run["metrics"].get(name), expected["metrics"].get(name)) for name in names}
    faults = [fault for fault in found.values() if fault]
    measure, held_to, outside = _hold(run, expected, [name for name, fault in found.items() if not fault])
    holds = {claim["text"]: claim["holds"] for claim in run["claims"]}
    faults += [
        f"the claim “{text}” has no baseline; {DERIVE_AGAIN}." for text in holds if text not in expected["claims"]
    ]
    faults += [
        f"the claim “{text}” is missing from the run, and the baseline has it."
        for text in expected["claims"]
        if text not in holds
    ]
    contrary = [
        text for text, stored in expected["claims"].items() if text in holds and _agreed(stored) is (not holds[text])
    ]
    shown = {metric: held_to.get(metric) for metric in names}
    return Judged(name, run, measure, shown, tuple(outside), tuple(contrary), tuple(faults))


def _hold(run: Run, expected: Mapping[str, Any], metrics: Sequence[str]) -> tuple[Measure, dict[str, Band], list[str]]:
    """By what measure a run is judged, the bands of its `metrics`, and which of these are outside.

    Where most metrics are near what the same seed gives elsewhere, all must be; where many are not, this machine or
    these versions draw other random numbers from the seed, which then is no longer the same seed.
    """
    for measure in measures(expected, run["seed"], is_same_machine(run, expected)):
        all_bands = bands(expected, run["seed"], measure)
        held_to = {metric: all_bands[metric] for metric in metrics}
        outside = [metric for metric, band in held_to.items() if not band.holds(run["metrics"][metric]["value"])]
        if measure != "machine" or len(outside) <= OTHER_NUMBERS * len(metrics):
            break
    return measure, held_to, outside


def is_same_machine(run: Run, expected: Mapping[str, Any]) -> bool:
    """Whether the run computed with what the lesson's baseline was computed with, so that its numbers must be equal."""

    def libraries(versions: Mapping[str, str]) -> dict[str, str]:
        return {name: version for name, version in versions.items() if name not in ("python", "labkit")}

    same = all(run[key] == expected[key] for key in ("device", "threads", "instruction_set"))
    return same and run["instruction_set"] is not None and libraries(run["versions"]) == libraries(expected["versions"])


def _agreed(claim: Mapping[str, int]) -> bool | None:
    """Whether a claim held at every seed of the baseline, also on the other machine, or at none; None: it varies."""
    counts = {claim["holds"], claim.get("elsewhere", claim["holds"])}
    return {(claim["runs"],): True, (0,): False}.get(tuple(counts))


def _fault(metric: str, seen: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> str | None:
    """What is wrong with a metric whatever its value, or None."""
    if expected is None:
        return f"the metric {metric} has no baseline; {DERIVE_AGAIN}."
    if seen is None:
        return f"the metric {metric} is missing from the run, and the baseline has it."
    if seen["unit"] != expected["unit"]:
        return f"the metric {metric} has the unit {seen['unit']!r}, and {expected['unit']!r} in the baseline."
    return None


def suspicions(judged: Judged) -> list[str]:
    """Sentences about what is outside its band or contrary in one run."""
    found = _moved(judged) if judged.exact else [_outside(judged, metric) for metric in judged.outside]
    return found + [flipped(text, judged) for text in judged.contrary]


def _moved(judged: Judged) -> list[str]:
    """One sentence for all values that are not the stored ones, with the three that moved most."""
    if not judged.outside:
        return []

    def moved(metric: str) -> float:
        stored, value = judged.bands[metric].middle, judged.run["metrics"][metric]["value"]
        return abs(value - stored) / max(abs(value), abs(stored))

    most = sorted(judged.outside, key=moved, reverse=True)[:3]
    shown = ", ".join(f"{m} = {value_of(judged.run, m)} (stored {judged.bands[m].middle:.8g})" for m in most)
    return [
        f"{len(judged.outside)} of {judged.total} values are not those stored for this seed on this kind of machine: "
        f"{shown}{', …' if len(judged.outside) > 3 else ''}. If the change is meant, {DERIVE_AGAIN}."
    ]


def _outside(judged: Judged, metric: str) -> str:
    b = judged.bands[metric]
    return f"the metric {metric} = {value_of(judged.run, metric)} is outside its band [{b.low:.8g}, {b.high:.8g}]."


def flipped(text: str, judged: Judged) -> str:
    now = next(claim["holds"] for claim in judged.run["claims"] if claim["text"] == text)
    before = "at no seed" if now else "at every seed"
    return (
        f"the claim “{text}” flipped: it {'holds' if now else 'does not hold'} now, and held {before} of the baseline."
    )


def value_of(run: Run, metric: str) -> str:
    seen = run["metrics"][metric]
    return f"{seen['value']:.8g} {seen['unit']}".rstrip()
