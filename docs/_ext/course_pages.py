"""What the site takes from the course itself: the notebooks, the table of lessons, the results, the paper modules.

Four directives write Markdown that no hand has typed: `lessons-table`, `lesson-results PROFILE`, `lesson-methods`,
`errata`.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import labkit.papers
from labkit import PROFILES
from labkit.baselines import spread
from labkit.course.baselines import baseline_path, load_baseline
from labkit.course.beside import put_beside, shown_by
from labkit.course.evidence import evidence
from labkit.course.lessons import Lesson, course_root, load_lessons, notebook_path, readme_table
from labkit.evidence.claims import Claim, Finding
from labkit.evidence.verdict import UNKNOWN
from labkit.evidence.words import judged_in_words, marked
from labkit.lab.claims import count

logger = logging.getLogger(__name__)


def place_notebooks(lessons: Sequence[Lesson], folder: Path) -> list[Lesson]:
    """Copy the stored notebooks into `folder`, with what they show from beside themselves; nothing else stays there.

    Returns the lessons that have no notebook yet; their place is taken by a page that says so. Sphinx reads only what
    lies below its own folder.
    """
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.ipynb"):
        if path.stem not in {lesson.name for lesson in lessons}:
            path.unlink()
    for lesson in lessons:
        stored, copy = notebook_path(lesson), folder / f"{lesson.name}.ipynb"
        content = stored.read_bytes() if stored.exists() else _stand_in(lesson)
        if not copy.exists() or copy.read_bytes() != content:  # an unchanged page is not read again
            copy.write_bytes(content)
    shown = shown_by(lessons)
    for path in folder.glob("figures/**/*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in shown:
            path.unlink()
    put_beside(shown, folder)
    return [lesson for lesson in lessons if not notebook_path(lesson).exists()]


def _stand_in(lesson: Lesson) -> bytes:
    text = f"# Lesson {lesson.number} · {lesson.title}\n\nThis notebook is not built yet: `labkit build {lesson.name}`."
    cell = {"cell_type": "markdown", "metadata": {}, "source": text}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}).encode()


def lessons_table(lessons: Sequence[Lesson]) -> str:
    """The table of README.md, with links to the pages of this site."""
    return readme_table(lessons, link="lessons/{name}.ipynb")


def methods() -> str:
    """The documentation of every module of labkit.papers: those of the lessons and those that these stand on."""
    modules = [module.name for module in pkgutil.iter_modules(labkit.papers.__path__, "labkit.papers.")]
    return "\n\n".join(f"### {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```" for module in modules)


def errata(lessons: Sequence[Lesson]) -> str:
    """What claims say of slips in their sources, and what the seeds made of each, lesson by lesson."""
    parts = []
    for lesson in lessons:
        slips = [(claim, finding) for claim, finding in evidence(lesson.name, "quick", lesson.root) if claim.erratum]
        if slips:
            parts.append(f"## {lesson.number} · [{lesson.title}](lessons/{lesson.name}.ipynb)")
        for claim, finding in slips:
            source = claim.source[0].upper() + claim.source[1:]
            parts.append(f"**{source}.** {claim.erratum}\n\nTested: {claim.text} {marked(finding.verdict)}")
    return "\n\n".join(parts)


def results(lessons: Sequence[Lesson], baseline: Mapping[str, Any] | None) -> str:
    """What was measured in each lesson, from a baseline; `baseline` is None where the profile has none."""
    recorded = baseline["lessons"] if baseline else {}
    return "\n\n".join(
        f"### {lesson.number} · {lesson.title}\n\n"
        + _of_one_lesson(
            recorded.get(lesson.name), evidence(lesson.name, baseline["profile"], lesson.root) if baseline else []
        )
        for lesson in lessons
    )


def _of_one_lesson(recorded: Mapping[str, Any] | None, declared: Sequence[tuple[Claim, Finding]]) -> str:
    if recorded is None:
        return "Not recorded yet."
    seeds, versions = recorded["seeds"], recorded["versions"]
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    claims = [[text, count(claim)] for text, claim in recorded["claims"].items()]
    for claim, finding in declared:
        known = finding.verdict != UNKNOWN
        seeds = f"<br>{judged_in_words(claim.criterion, finding.own)}" if known else ""
        claims.append([f"{claim.text} *({claim.source})*", marked(finding.verdict) + seeds])
    spreads = {name: spread(metric) for name, metric in recorded["metrics"].items()}
    metrics = [
        [f"`{name}`", *(f"{number:.4g}" for number in (s.mean, s.sd, s.low, s.high)), s.unit]
        for name, s in spreads.items()
    ]
    return "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))} on {recorded['device']}{_processor(recorded)}, with {made_with}.",
            _table(["claim", "verdict"], claims),
            _table(["metric", "mean", "standard deviation", "from", "to", "unit"], metrics),
        ]
    )


def _processor(recorded: Mapping[str, Any]) -> str:
    return f" ({recorded['instruction_set']})" if recorded["instruction_set"] else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


class _Generated(SphinxDirective):
    """A directive whose content is Markdown from one of the functions above."""

    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list:
        self.env.note_dependency(course_root() / "notebooks" / "lessons.toml")
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)


class LessonsTable(_Generated):
    def markdown(self) -> str:
        return lessons_table(load_lessons())


class LessonMethods(_Generated):
    def markdown(self) -> str:
        return methods()


class Errata(_Generated):
    def markdown(self) -> str:
        for path in sorted((course_root() / "notebooks" / "claims").glob("*.toml")):
            self.env.note_dependency(path)
        return errata(load_lessons())


class LessonResults(_Generated):
    required_arguments = 1  # the profile

    def markdown(self) -> str:
        (profile,) = self.arguments
        if profile not in PROFILES:
            raise self.error(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
        self.env.note_dependency(baseline_path(profile))
        return results(load_lessons(), load_baseline(profile))


def _place(app: Sphinx) -> None:
    for lesson in place_notebooks(load_lessons(), Path(app.srcdir) / "lessons"):
        logger.info("%s has no notebook yet: its page says so until `labkit build %s`", lesson.name, lesson.name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _place)
    app.add_directive("lessons-table", LessonsTable)
    app.add_directive("lesson-methods", LessonMethods)
    app.add_directive("lesson-results", LessonResults)
    app.add_directive("errata", Errata)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
