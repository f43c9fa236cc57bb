"""How what was recorded, and where a claim of a paper holds, is put into words and into a table."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

import labkit
from labkit import baselines


class _Names(string.Formatter):
    """Fills {name} by the whole name: a metric like "mask=0.5/error" is no attribute of "mask=0"."""

    def get_field(self, field_name: str, args: Any, kwargs: Mapping[str, float]) -> tuple[float, str]:
        return kwargs[field_name], field_name


def fill(text: str, metrics: Mapping[str, float]) -> str:
    """ "the KL is {vae/kl:.1f} nats" with the metric's value. Raises KeyError for a number that was not recorded."""
    formatter = _Names()
    missing = {name for _, name, _, _ in formatter.parse(text) if name is not None} - set(metrics)
    if missing:
        raise KeyError(f"not recorded in this lesson so far: {', '.join(sorted(missing))}")
    return formatter.vformat(text, (), metrics)


def verdict(holds: bool) -> str:
    return "✔ holds" if holds else "✘ does not hold"


def evidence(facts: Mapping[str, float | str]) -> str:
    """ "AE 102.8, VAE 102.9": the numbers behind a verdict, four significant digits each."""
    shown = (f"{key} {value if isinstance(value, str) else format(value, '.4g')}" for key, value in facts.items())
    return ", ".join(shown)


def count(recorded: Mapping[str, int] | None) -> str:
    """ "✔ holds (5 of 5 seeds)", "varies: 2 of 5 seeds" or "not run"."""
    if recorded is None:
        return "not run"
    held, runs = recorded["holds"], recorded["runs"]
    return f"{verdict(bool(held))} ({held} of {runs} seeds)" if held in (0, runs) else f"varies: {held} of {runs} seeds"


def table(claims: Iterable[Mapping[str, Any]], lesson: str, profile: str) -> str:
    """A Markdown table: every claim of this run, its evidence, and how often it held over the seeds of each profile.

    Claims that were only tested at other profiles follow, so that no verdict is missing because this run was small.
    """
    claims = list(claims)
    elsewhere, problems = _recorded(lesson)
    head = ["claim", "source", f"here (`{profile}`)", "evidence here", *(f"at `{other}`" for other in labkit.PROFILES)]
    rows = [head, ["---"] * len(head)]
    for claim in claims:
        counts = [count(recorded.get(claim["text"])) for recorded in elsewhere]
        here = f"**{verdict(claim['holds'])}**"
        why = f"<br>{claim['reason']}" if claim["reason"] else ""
        rows.append([claim["text"], claim["source"], here, evidence(claim["evidence"]) + why, *counts])
    tested = {claim["text"] for claim in claims}
    for text in dict.fromkeys(text for recorded in elsewhere for text in recorded if text not in tested):
        rows.append([text, "-", "not tested", "-", *(count(recorded.get(text)) for recorded in elsewhere)])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, *(f"\n{problem}" for problem in problems)])


def _recorded(lesson: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The claims of a lesson at each profile, and a sentence for each baseline that cannot be read: the lab goes on."""
    found, problems = [], []
    for profile in labkit.PROFILES:
        try:
            found.append(baselines.of_lesson(profile, lesson).get("claims", {}))
        except ValueError as problem:
            found.append({})
            problems.append(str(problem))
    return found, problems
