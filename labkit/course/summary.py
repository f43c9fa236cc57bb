"""What a run came to: one row a run, and a sentence for everything that is not as it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.course.comparison import compare
from labkit.course.records import runs_of


@dataclass(frozen=True)
class Row:
    """One run in the closing table and at the top of the report."""

    lesson: str
    seed: int
    result: str  # passed or failed
    seconds: float
    in_band: str  # "34/34", or why there is no such number
    holds: int  # claims
    does_not_hold: int


def rows(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[Row]:
    """A row for each run, in the order of the results; ``baseline`` is None where the profile has none."""
    return [
        Row(
            name,
            run["seed"],
            run["status"],
            run["seconds"],
            _in_band(results["profile"], name, run, baseline),
            sum(claim["holds"] for claim in run["claims"]),
            sum(not claim["holds"] for claim in run["claims"]),
        )
        for name, entry in results["lessons"].items()
        for run in runs_of(entry)
    ]


def problems(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[str]:
    """A sentence for each run that failed and, beside a baseline, for each metric or claim that is not as in it."""
    if baseline is not None:
        return compare(results, baseline).problems
    return [
        f"{name} (seed {run['seed']}): the run failed: {run['error']['message']}."
        for name, entry in results["lessons"].items()
        for run in runs_of(entry)
        if run["status"] == "failed"
    ]


def table(results: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> str:
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
        for row in rows(results, baseline)
    ]
    if not any("runs" in entry for entry in results["lessons"].values()):
        head, *body = [[*line[:1], *line[2:]] for line in [head, *body]]
    return text_table(head, body)


def text_table(head: list[str], body: list[list[str]]) -> str:
    """Columns under a ruled head; those that hold only numbers are flush right."""
    columns = list(zip(head, *body, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(re.fullmatch(r"[\d./-]+", cell) for cell in column[1:]) for column in columns]

    def line(cells: list[str]) -> str:
        aligned = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, body)])


def _in_band(profile: str, name: str, run: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> str:
    if run["status"] == "failed":
        return "-"
    if baseline is None or name not in baseline["lessons"]:
        return "no baseline"
    found = compare({"profile": profile, "lessons": {name: run}}, baseline).lessons[name]
    return f"{found.in_band}/{found.total}"
