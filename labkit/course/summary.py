"""What a run came to: one row a run, one line that says whether all is well, one sentence per problem."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.course.comparison import Comparison, Judged
from labkit.course.evidence import evidence
from labkit.course.results import Results, Run
from labkit.course.text import text_table
from labkit.evidence.verdict import FAILS, HOLDS


@dataclass(frozen=True)
class Row:
    """One run in the closing table and at the top of the report."""

    lesson: str
    seed: int
    result: str  # passed or failed
    seconds: float
    in_band: str  # "34/34", or why there is no such number
    holds: int  # claims, by the stored seeds of the profile; in a lesson of the first edition, by this run
    does_not_hold: int


def rows(results: Results, comparison: Comparison | None) -> list[Row]:
    """A row for each run, in the order of the results; `comparison` is None where the profile has no baseline."""
    judged = {(j.lesson, j.run["seed"]): j for j in comparison.runs} if comparison else {}
    return [
        Row(
            name,
            run["seed"],
            run["status"],
            run["seconds"],
            _in_band(run, judged.get((name, run["seed"]))),
            said.count(HOLDS),
            said.count(FAILS),
        )
        for name, entry in results["lessons"].items()
        for run in entry["runs"]
        for said in [_verdicts(name, results["profile"], run)]
    ]


def failures(results: Results) -> list[str]:
    """A sentence for each run that failed."""
    return [
        f"{name} (seed {run['seed']}): the run failed: {run['error']['message']}."
        for name, entry in results["lessons"].items()
        for run in entry["runs"]
        if run["status"] == "failed"
    ]


def verdict(results: Results, comparison: Comparison | None) -> str:
    """One line: whether all is well, and if not, what kind of thing is not."""
    count = sum(len(entry["runs"]) for entry in results["lessons"].values())
    runs = _plural(count, "run")
    if failed := len(failures(results)):
        return f"{failed} of {runs} failed:"
    if comparison is None:
        return f"All is well: {runs} passed; there is no baseline of this profile to compare with."
    if not comparison.problems:
        return f"All is well: {runs} passed, {counts(comparison)}."
    return f"{counts(comparison)}; not as it should be ({_plural(len(comparison.problems), 'problem')}):"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def counts(comparison: Comparison) -> str:
    """How many metrics are as in the baseline, and by which measure."""
    in_band, total = (sum(getattr(judged, key) for judged in comparison.runs) for key in ("in_band", "total"))
    exact = all(judged.exact for judged in comparison.runs)
    return f"{in_band} of {total} metrics {'equal those' if exact else 'lie within the bands'} of the baseline"


def machine(comparison: Comparison) -> str:
    """One sentence on whether the runs are held to the stored values or to bands, and why."""
    runs = [judged for judged in comparison.runs if judged.run["status"] == "passed"]
    here = ", ".join(dict.fromkeys(judged.run["instruction_set"] or "" for judged in runs))
    if all(judged.exact for judged in runs):
        return f"The machine ({here}), the versions and the seeds are the baseline's: every value must be equal."
    if any(judged.run["instruction_set"] is None for judged in runs):
        return (
            "These results do not say which instruction set they were computed with, as those of an older version: "
            "they are judged as another machine's, by bands."
        )
    return f"The machine ({here}), the versions or the seeds are not the baseline's: values must lie in bands."


def table(results: Results, comparison: Comparison | None) -> str:
    """The closing table, as text; the seed has a column if a lesson ran at several."""
    head = ["lesson", "seed", "result", "seconds", "in band", "claims hold", "do not hold"]
    body = [
        [
            row.lesson,
            str(row.seed),
            row.result,
            f"{row.seconds:.1f}",
            row.in_band,
            str(row.holds),
            str(row.does_not_hold),
        ]
        for row in rows(results, comparison)
    ]
    if all(len(seeds) == 1 for seeds in results["plan"].values()):
        head, *body = [[*line[:1], *line[2:]] for line in [head, *body]]
    return text_table(head, body)


def measured_table(results: Results) -> str:
    """What each run took: its time, the slowest cell, and the most memory that its kernel held."""
    head = ["lesson", "seed", "minutes", "in cells", "slowest cell", "peak memory"]
    body = []
    for name, entry in results["lessons"].items():
        for run in entry["runs"]:
            seconds = {i: s for i, s in enumerate(run["cell_seconds"]) if s is not None}
            slowest = max(seconds, key=seconds.get, default=None)
            memory = "unknown" if run["peak_memory"] is None else f"{run['peak_memory']:.0f} MB"
            cell = "-" if slowest is None else f"{slowest} ({seconds[slowest]:.1f} s)"
            minutes, inside = run["seconds"] / 60, sum(seconds.values()) / 60
            body.append([name, str(run["seed"]), f"{minutes:.2f}", f"{inside:.2f}", cell, memory])
    return text_table(head, body)


def _verdicts(lesson: str, profile: str, run: Run) -> list[str]:
    declared = [finding.verdict for _, finding in evidence(lesson, profile)]
    return declared or [HOLDS if claim["holds"] else FAILS for claim in run["claims"]]


def _in_band(run: Run, judged: Judged | None) -> str:
    if run["status"] == "failed":
        return "-"
    if judged is None or not any(band is not None for band in judged.bands.values()):
        return "no baseline"
    return f"{judged.in_band}/{judged.total}"
