"""The closing table says in one line a run what came of it."""

from __future__ import annotations

from tiny_course import BASELINE, FAILED, a_run, results_of

from labkit.course.summary import problems, table, text_table


def test_one_line_a_lesson() -> None:
    assert table(results_of(a_run()), BASELINE).splitlines() == [
        "lesson  result  seconds  in band  claims hold  do not hold",
        "------  ------  -------  -------  -----------  -----------",
        "01_one  passed      3.2      1/1            1            1",
    ]


def test_one_line_a_seed_where_there_are_several() -> None:
    out = a_run(1, metrics={"vae/kl": {"value": 99.0, "unit": "nats"}})
    lines = table(results_of(a_run(0), out, a_run(2, **FAILED)), BASELINE).splitlines()
    assert [line.split()[:5] for line in lines[2:]] == [
        ["01_one", "0", "passed", "3.2", "1/1"],
        ["01_one", "1", "passed", "3.2", "0/1"],
        ["01_one", "2", "failed", "3.2", "-"],
    ]


def test_a_lesson_or_profile_without_baseline_says_so() -> None:
    for baseline in (None, {**BASELINE, "lessons": {}}):
        assert "no baseline" in table(results_of(a_run()), baseline).splitlines()[2]


def test_a_failed_run_is_a_problem_with_and_without_baseline() -> None:
    for baseline in (None, BASELINE):
        (problem,) = problems(results_of(a_run(0), a_run(1, **FAILED)), baseline)
        assert problem.startswith("01_one (seed 1): the run failed: ValueError: no luck in cell 7")


def test_columns_of_numbers_are_flush_right() -> None:
    assert text_table(["name", "n"], [["1_a", "5"], ["b", "10"]]).splitlines()[2:] == ["1_a    5", "b     10"]
