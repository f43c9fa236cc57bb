"""The claims that a lesson tests, as `notebooks/claims/LESSON.toml` declares them, and their verdicts."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit
from labkit import baselines
from labkit.evidence import expression
from labkit.evidence.expression import Decision
from labkit.evidence.verdict import VERDICTS, Judged, combined, judge

FOLDER = Path(labkit.__file__).parent.parent / "notebooks" / "claims"


@dataclass(frozen=True)
class Criterion:
    """A comparison of metrics, and by how much it must hold."""

    text: str  # what is claimed, or what a rival asks
    decides: Decision
    margin: float  # in `unit`; less than that nobody would care about
    unit: str


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, of its review or of our own, with the comparisons that decide whether it holds."""

    id: str
    criterion: Criterion
    rivals: tuple[Criterion, ...]  # other explanations of the same numbers, other yardsticks, other starts
    source: str  # who says so, and where
    published: str  # the published figure, if there is one
    reasons: Mapping[str, str]  # why, for each verdict that may come out
    erratum: str = ""  # what the source prints and what it should be, if there is a slip in it

    @property
    def text(self) -> str:
        return self.criterion.text

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The claim's own comparison, then its rivals."""
        return (self.criterion, *self.rivals)


@dataclass(frozen=True)
class Finding:
    """What the seeds of one profile say of a claim."""

    verdict: str
    own: Judged
    rivals: tuple[Judged, ...]


def read_claims(lesson: str, folder: Path | None = None) -> dict[str, Claim]:
    """The declared claims of a lesson by their ids, in the order of the file; none where there is no file.

    Raises ValueError, in one sentence that names file and claim, for what cannot be read or is not complete.
    """
    path = (folder or FOLDER) / f"{lesson}.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(_tables(path, entries), 1):
        where = f"{path}, claim {entry.get('id', f'number {number}')}"
        claim = _claim(entry, where)
        if claim.id in claims:
            raise ValueError(f"{where}: there are two of this id.")
        claims[claim.id] = claim
    return claims


def unknown_metrics(claims: Iterable[Claim], metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each metric that a claim reads and that is not among those recorded."""
    return [
        f"claim {claim.id} compares “{name}”, which is not recorded{_perhaps(name, metrics)}."
        for claim in claims
        for each in claim.criteria
        for name in expression.missing(each.decides, metrics)
    ]


def find(claim: Claim, runs: Sequence[Mapping[str, float]]) -> Finding:
    """The verdict on a claim by the metrics of runs that differ in their seed alone; unknown without any."""
    known = [] if unknown_metrics([claim], runs[0] if runs else {}) else runs
    own, *rivals = (judge(each.decides, each.margin, known) for each in claim.criteria)
    return Finding(combined(own, rivals), own, tuple(rivals))


def stored_runs(lesson: str, profile: str, folder: Path | None = None) -> list[dict[str, float]]:
    """The metrics that the baseline of `profile` has of a lesson, a mapping for each seed; none where only their
    spread was kept. Raises ValueError for a baseline that cannot be read."""
    stored = baselines.of_lesson(profile, lesson, folder)
    metrics = {name: metric["values"] for name, metric in stored.get("metrics", {}).items() if "values" in metric}
    return [
        {name: values[i] for name, values in metrics.items()} for i in range(len(stored.get("seeds", []))) if metrics
    ]


def findings(claim: Claim, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Finding]:
    """The verdict on a claim at each profile, from the `stored_runs` of each."""
    return {profile: find(claim, runs[profile]) for profile in runs}


def _tables(path: Path, entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = entries.get("claim", [])
    if set(entries) - {"claim"} or not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ValueError(f"{path} may hold [[claim]] tables and nothing else.")
    return tables


def _claim(entry: Mapping[str, Any], where: str) -> Claim:
    _known(
        entry, {"id", "text", "source", "published", "decides", "margin", "unit", "reasons", "rivals", "erratum"}, where
    )
    rivals = entry.get("rivals", [])
    if not isinstance(rivals, list) or not all(isinstance(rival, dict) for rival in rivals):
        raise ValueError(f"{where}: write each rival as a table, [[claim.rivals]].")
    for rival in rivals:
        _known(rival, {"text", "decides", "margin", "unit"}, f"{where}, a rival")
    reasons = entry.get("reasons", {})
    if not isinstance(reasons, dict):
        raise ValueError(f"{where}: write the reasons as a table, [claim.reasons].")
    by_verdict = {verdict.replace(" ", "-"): verdict for verdict in VERDICTS}
    _known(reasons, set(by_verdict), f"{where}, its reasons")
    return Claim(
        id=_text(entry, "id", where),
        criterion=_criterion(entry, where),
        rivals=tuple(_criterion(rival, f"{where}, a rival") for rival in rivals),
        source=_text(entry, "source", where),
        published=_text(entry, "published", where, default=""),
        reasons={by_verdict[key]: _text(reasons, key, where) for key in reasons},
        erratum=_text(entry, "erratum", where, default=""),
    )


def _criterion(entry: Mapping[str, Any], where: str) -> Criterion:
    margin, unit = entry.get("margin", 0), _text(entry, "unit", where, default="")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < math.inf:
        raise ValueError(f"{where}: the margin must be a number from 0, got {margin!r}.")
    if margin and "unit" not in entry:
        raise ValueError(f'{where}: a margin needs its unit, `unit = ""` if it is a pure number.')
    try:
        decides = expression.parse(_text(entry, "decides", where))
    except ValueError as error:
        sentence = str(error)
        raise ValueError(sentence if sentence.startswith(where) else f"{where}: {sentence}.") from None
    return Criterion(_text(entry, "text", where), decides, float(margin), unit)


def _text(entry: Mapping[str, Any], key: str, where: str, *, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        problem = "is missing" if value is None else f"must be a text, got {value!r}"
        raise ValueError(f"{where}: `{key}` {problem}.")
    return value


def _known(entry: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(entry) - keys):
        raise ValueError(f"{where}: `{unknown[0]}` is unknown{_perhaps(unknown[0], keys)}.")


def _perhaps(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean “{close[0]}”?)" if close else ""
