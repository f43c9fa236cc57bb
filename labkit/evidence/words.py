"""A declared claim in words: what it says, who says it, what the seeds of each profile and this run have to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labkit.evidence.claims import Claim, Criterion, Finding
from labkit.evidence.verdict import DEPENDS, FAILS, HOLDS, UNDECIDED, UNKNOWN, Judged

MARKS = {HOLDS: "✔", FAILS: "✘", UNDECIDED: "?", DEPENDS: "◐", UNKNOWN: "–"}


def marked(verdict: str) -> str:
    """ "✔ holds": a verdict that can be told from the others without reading it, and without color."""
    return f"{MARKS[verdict]} {verdict}"


def in_words(claim: Claim, findings: Mapping[str, Finding], profile: str, here: float) -> str:
    """The claim as Markdown: sentence, source, published figure, verdict and interval at each profile, rivals, reason.

    `here` is by how much its comparison holds in this run, at `profile`.
    """
    measured = {name: finding for name, finding in findings.items() if finding.verdict != UNKNOWN}
    lines = [f"**{claim.text}** *({claim.source})*"]
    lines += [f"Published: {claim.published}"] if claim.published else []
    for name, finding in measured.items():
        lines.append(f"At `{name}`: **{marked(finding.verdict)}** · {judged_in_words(claim.criterion, finding.own)}")
        lines += [
            f"&emsp;{rival.text} {marked(judged.verdict)} · {judged_in_words(rival, judged)}"
            for rival, judged in zip(claim.rivals, finding.rivals, strict=True)
        ]
    lines.append(f"This run, at `{profile}`: {with_unit(here, claim.criterion.unit)}")
    if not measured:
        lines.append("No seeds are stored yet, and one run decides nothing: `labkit baseline` runs several.")
    return "<br>\n".join([*lines, *reasons(claim, measured)])


def reasons(claim: Claim, measured: Mapping[str, Finding]) -> list[str]:
    """Why the verdicts are what they are: one sentence, or one a verdict where the profiles differ."""
    by_verdict: dict[str, list[str]] = {}
    for profile, finding in measured.items():
        by_verdict.setdefault(finding.verdict, []).append(f"`{profile}`")
    said = {verdict: claim.reasons[verdict] for verdict in by_verdict if verdict in claim.reasons}
    if len(by_verdict) == 1:
        return list(said.values())
    return [f"At {' and '.join(by_verdict[verdict])}: {reason}" for verdict, reason in said.items()]


def table(claims: Iterable[tuple[Claim, Mapping[str, Finding]]]) -> str:
    """A short Markdown table: a claim, who says it, and the verdict at each profile that was measured."""
    claims = list(claims)
    profiles = [name for name in claims[0][1] if any(found[name].verdict != UNKNOWN for _, found in claims)]
    rows = [["claim", "source", *(f"`{name}`" for name in profiles)]]
    rows.append(["---"] * len(rows[0]))
    rows += [
        [claim.text, claim.source, *(_in_one_line(marked(found[name].verdict)) for name in profiles)]
        for claim, found in claims
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _in_one_line(mark: str) -> str:
    """The sign and the first word behind it not to be parted."""
    return mark.replace(" ", "\N{NO-BREAK SPACE}", 1)


def judged_in_words(criterion: Criterion, judged: Judged) -> str:
    """ "+24.1 nats (22.0 to 26.2 over 8 seeds; the margin is 1)": the mean difference and its interval."""
    margin = f"; the margin is {criterion.margin:g}" if criterion.margin else ""
    over = f"{judged.low:.3g} to {judged.high:.3g} over {len(judged.differences)} seeds{margin}"
    return f"{with_unit(judged.mean, criterion.unit)} ({over})"


def with_unit(value: float, unit: str) -> str:
    return f"{value:+.3g} {unit}".rstrip()
