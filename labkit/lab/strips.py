"""What the seeds say of a claim as a small picture: a line a profile, a dot a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labkit.evidence.claims import Claim, Finding
from labkit.evidence.verdict import UNKNOWN
from labkit.evidence.words import judged_in_words, with_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def strip(claim: Claim, findings: Mapping[str, Finding], profile: str, here: float) -> tuple[Figure, str]:
    """One dot a stored seed on a line a profile, this run's as a diamond; and the same in words, for the alt text."""
    from labkit.lab.figures import PALETTE, panels  # matplotlib is imported when there is something to draw

    measured = {name: finding.own for name, finding in findings.items() if finding.verdict != UNKNOWN}
    rows = [*measured] if profile in measured else [*measured, profile]
    figure, ax = panels(width=6.0, height=0.85 + 0.28 * len(rows))
    ax.axvline(claim.criterion.margin, color="black", linewidth=1)
    for row, name in enumerate(rows):
        if name in measured:
            judged = measured[name]
            ax.plot([judged.low, judged.high], [row, row], "-", color="#94a4a2", linewidth=6, alpha=0.5)
            ax.plot(judged.differences, [row] * len(judged.differences), "o", color=PALETTE[0], markersize=6, alpha=0.7)
        if name == profile:
            ax.plot([here], [row], "D", color="none", markeredgecolor="black", markersize=10)
    ax.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=rows)
    unit = claim.criterion.unit
    ax.set_xlabel(f"{unit or 'difference'}; right of the line it holds, ◇ is this run", fontsize=10)
    ax.locator_params(axis="x", nbins=6)
    ax.tick_params(labelsize=10)
    ax.margins(x=0.08)
    figure.get_layout_engine().set(rect=(0, 0.12, 1, 0.88))  # below it the next claim begins
    told = [f"{name}: {judged_in_words(claim.criterion, judged)}" for name, judged in measured.items()]
    return figure, f"Dots, one a seed, on a line a profile. {'; '.join([*told, f'this run {with_unit(here, unit)}'])}."
