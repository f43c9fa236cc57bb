"""Declared claims, seen from outside the notebook: the command, the table of a run, the report, the build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_course import Course, a_run, baseline_of, results_of

from labkit.course import build as build_module
from labkit.course.baselines import save_baseline
from labkit.course.build import BuildError, build
from labkit.course.cli import main
from labkit.course.evidence import problems
from labkit.course.lessons import Lesson, source_path
from labkit.course.report import write_report
from labkit.course.summary import rows

CLAIMS = """
[[claim]]
id = "small"
text = "The KL is small."
source = "paper, figure 2"
decides = '"vae/kl" < 13'
unit = "nats"

[[claim.rivals]]
text = "Is it smaller than nothing?"
decides = '"vae/kl" < 0'
"""


@pytest.fixture
def lesson(course: Course) -> Lesson:
    """A lesson that declares one claim, at five stored seeds."""
    one = course.add("one")
    folder = course.root / "notebooks" / "claims"
    folder.mkdir()
    folder.joinpath("01_one.toml").write_text(CLAIMS, encoding="utf-8")
    save_baseline(baseline_of(12.0, 12.1, 12.2, 12.3, 12.4, claims={}), course.root)
    return one


def evidence(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["evidence", *arguments])


def test_the_command_tells_the_verdicts_without_running_anything(lesson: Lesson, course: Course) -> None:
    course.add("two")
    said = evidence()
    assert said.exit_code == 0
    table, other = said.stdout.split("\n\n")
    assert re.split(" {2,}", table.splitlines()[-1]) == ["small", "◐ depends", "– not measured", "– not measured"]
    assert other == "02_two declares no claims yet: notebooks/claims/02_two.toml is missing.\n"


def test_for_one_lesson_the_command_tells_intervals_and_rivals_as_well(lesson: Lesson) -> None:
    assert evidence("01").stdout.splitlines()[-3:] == [
        "small: The KL is small. (paper, figure 2)",
        "  quick: ◐ depends, +0.8 nats (0.649 to 0.951 over 5 seeds)",
        "    Is it smaller than nothing? ✘ does not hold, -12.2 (-12.4 to -12 over 5 seeds)",
    ]


def test_claims_in_disorder_end_the_command_with_a_sentence(lesson: Lesson, course: Course) -> None:
    path = course.root / "notebooks" / "claims" / "01_one.toml"
    path.write_text(CLAIMS.replace("source", "sauce"), encoding="utf-8")
    said = evidence("01")
    assert (said.exit_code, len(said.stderr.splitlines())) == (2, 1)
    assert "`sauce` is unknown (did you mean “source”?)" in said.stderr


def test_the_table_of_a_run_counts_the_verdicts_of_the_seeds(lesson: Lesson, course: Course) -> None:
    (row,) = rows(results_of(a_run(claims=[])), None)
    assert (row.holds, row.does_not_hold) == (0, 0)  # it depends
    path = course.root / "notebooks" / "claims" / "01_one.toml"
    path.write_text(CLAIMS.partition("[[claim.rivals]]")[0], encoding="utf-8")
    (row,) = rows(results_of(a_run(claims=[])), None)
    assert (row.holds, row.does_not_hold) == (1, 0)


def test_the_report_shows_the_verdict_of_the_seeds_and_this_run(lesson: Lesson, tmp_path: Path) -> None:
    html = write_report(results_of(a_run(claims=[])), tmp_path, None).read_text(encoding="utf-8")
    for part in ("The KL is small.", "paper, figure 2", "◐ depends", "+0.8 nats (0.649", "<td>+1 nats</td>"):
        assert part in html
    html = write_report(results_of(a_run(claims=[], metrics={})), tmp_path, None).read_text(encoding="utf-8")
    assert "<td>not recorded</td>" in html


@pytest.fixture
def showing(lesson: Lesson):
    """Say which claims the source of the lesson shows."""

    def write(*names: str) -> None:
        path = source_path(lesson)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f'# %%\nlab.claim("{name}")\n' for name in names) or "# %%\n1\n", encoding="utf-8")

    return write


KL = {"vae/kl": {}}


@pytest.mark.parametrize(
    ("names", "metrics", "problem"),
    [
        (["small"], KL, None),
        (["small"], {"vae/k": {}}, "claim small compares “vae/kl”, which is not recorded (did you mean “vae/k”?)."),
        ([], KL, "claim small is declared and not shown: put lab.claim('small') where it belongs."),
        (["small", "large"], KL, "claim large is shown and not declared."),
    ],
)
def test_lesson_and_claims_must_fit(lesson: Lesson, showing, names, metrics, problem: str | None) -> None:
    showing(*names)
    assert problems(lesson, metrics)[:1] == ([] if problem is None else [problem])


def test_a_lesson_that_does_not_fit_its_claims_is_not_built(lesson: Lesson, showing, monkeypatch) -> None:
    showing("large")
    monkeypatch.setattr(build_module, "_executed", lambda lesson, notebook, timeout: notebook)
    with pytest.raises(BuildError, match=r"01_one was not built, and its notebook is as before: claim small compares"):
        build(lesson, force=True)
