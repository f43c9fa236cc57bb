"""What the stored seeds say of the claims of a lesson, without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from labkit import PROFILES
from labkit.course.lessons import CourseError, Lesson, course_root, source_path
from labkit.course.text import text_table
from labkit.evidence.claims import Claim, Finding, find, findings, read_claims, stored_runs, unknown_metrics
from labkit.evidence.verdict import UNKNOWN
from labkit.evidence.words import judged_in_words, marked

_SHOWN = re.compile(r"""lab\.claim\(\s*["']([^"']+)["']\s*\)""")


def declared(lesson: str, root: Path | None = None) -> dict[str, Claim]:
    """The claims that a lesson declares, by id. Raises CourseError for a file that is not in order."""
    try:
        return read_claims(lesson, _notebooks(root) / "claims")
    except ValueError as error:
        raise CourseError(str(error)) from error


def evidence(lesson: str, profile: str, root: Path | None = None) -> list[tuple[Claim, Finding]]:
    """Each declared claim with what the stored seeds of a profile say of it.

    Raises CourseError for claims or a baseline that are not in order.
    """
    claims = declared(lesson, root).values()
    runs = _runs(lesson, profile, root) if claims else []
    return [(claim, find(claim, runs)) for claim in claims]


def in_text(lesson: Lesson, *, details: bool) -> str:
    """A table of claims and verdicts; with `details` also the interval and the rivals of each."""
    claims = declared(lesson.name, lesson.root).values()
    if not claims:
        return f"{lesson.name} declares no claims yet: notebooks/claims/{lesson.name}.toml is missing."
    runs = {profile: _runs(lesson.name, profile, lesson.root) for profile in PROFILES}
    found = [(claim, findings(claim, runs)) for claim in claims]
    rows = [[claim.id, *(marked(finding.verdict) for finding in by_profile.values())] for claim, by_profile in found]
    parts = [text_table([lesson.name, *PROFILES], rows)]
    return "\n\n".join(parts + [_details(*one) for one in found] if details else parts)


def problems(lesson: Lesson, metrics: Mapping[str, object]) -> list[str]:
    """What is wrong between a lesson and its declared claims: metrics it does not record, claims it does not show."""
    claims = declared(lesson.name, lesson.root)
    shown = _SHOWN.findall(source_path(lesson).read_text(encoding="utf-8"))
    return [
        *unknown_metrics(claims.values(), metrics),
        *(
            f"claim {name} is declared and not shown: put lab.claim({name!r}) where it belongs."
            for name in _lacking(claims, shown)
        ),
        *(f"claim {name} is shown and not declared." for name in _lacking(shown, claims)),
    ]


def _runs(lesson: str, profile: str, root: Path | None) -> list[dict[str, float]]:
    try:
        return stored_runs(lesson, profile, _notebooks(root) / "baselines")
    except ValueError as error:
        raise CourseError(str(error)) from error


def _details(claim: Claim, by_profile: Mapping[str, Finding]) -> str:
    lines = [f"{claim.id}: {claim.text} ({claim.source})"]
    for profile, finding in by_profile.items():
        if finding.verdict != UNKNOWN:
            lines.append(f"  {profile}: {marked(finding.verdict)}, {judged_in_words(claim.criterion, finding.own)}")
            for rival, judged in zip(claim.rivals, finding.rivals, strict=True):
                lines.append(f"    {rival.text} {marked(judged.verdict)}, {judged_in_words(rival, judged)}")
    return "\n".join(lines)


def _lacking(names: Iterable[str], others: Iterable[str]) -> list[str]:
    known = set(others)
    return [name for name in dict.fromkeys(names) if name not in known]


def _notebooks(root: Path | None) -> Path:
    return (root or course_root()) / "notebooks"
