"""The closing table says in one line a run what came of it, and one line says whether all is well."""

from __future__ import annotations

from tiny_course import BASELINE, FAILED, a_run, results_of

from labkit.course.comparison import compare
from labkit.course.results import Results
from labkit.course.summary import failures, machine, measured_table, table, text_table, verdict

FAR = {"vae/kl": {"value": 99.0, "unit": "nats"}}
ELSEWHERE = {"instruction_set": "arm64 DEFAULT"}


def compared(*runs: dict, baseline: dict | None = BASELINE) -> tuple:
    results: Results = results_of(*runs)
    return results, None if baseline is None else compare(results, baseline)


def test_one_line_a_lesson() -> None:
    assert table(*compared(a_run())).splitlines() == [
        "lesson  result  seconds  in band  claims hold  do not hold",
        "------  ------  -------  -------  -----------  -----------",
        "01_one  passed      3.2      1/1            1            1",
    ]


def test_one_line_a_seed_where_there_are_several() -> None:
    lines = table(*compared(a_run(0), a_run(1, metrics=FAR), a_run(2, **FAILED))).splitlines()
    assert [line.split()[:5] for line in lines[2:]] == [
        ["01_one", "0", "passed", "3.2", "1/1"],
        ["01_one", "1", "passed", "3.2", "0/1"],
        ["01_one", "2", "failed", "3.2", "-"],
    ]


def test_a_lesson_or_profile_without_baseline_says_so() -> None:
    for baseline in (None, {**BASELINE, "lessons": {}}):
        assert "no baseline" in table(*compared(a_run(), baseline=baseline)).splitlines()[2]


def test_one_line_says_whether_all_is_well() -> None:
    assert verdict(*compared(a_run(0), a_run(1))) == (
        "All is well: 2 runs passed, 2 of 2 metrics equal those of the baseline."
    )
    assert verdict(*compared(a_run(**ELSEWHERE))) == (
        "All is well: 1 run passed, 1 of 1 metrics lie within the bands of the baseline."
    )
    assert verdict(*compared(a_run(), baseline=None)) == (
        "All is well: 1 run passed; there is no baseline of this profile to compare with."
    )
    assert verdict(*compared(a_run(metrics=FAR))) == (
        "0 of 1 metrics equal those of the baseline; not as it should be (1 problem):"
    )
    assert verdict(*compared(a_run(0), a_run(1, **FAILED))) == "1 of 2 runs failed:"


def test_a_failed_run_is_a_problem_with_and_without_baseline() -> None:
    results, comparison = compared(a_run(0), a_run(1, **FAILED))
    for (problem,) in (failures(results), comparison.problems):
        assert problem.startswith("01_one (seed 1): the run failed: ValueError: no luck in cell 7")


def test_the_machine_is_said_to_be_the_baselines_another_or_unknown() -> None:
    said = [machine(compared(a_run(**changes))[1]) for changes in ({}, ELSEWHERE, {"instruction_set": None})]
    assert "(x86_64 AVX2), the versions and the seeds are the baseline's: every value must be equal" in said[0]
    assert "(arm64 DEFAULT), the versions or the seeds are not the baseline's: values must lie in bands" in said[1]
    assert "do not say which instruction set they were computed with" in said[2]


def test_what_a_run_took_is_shown_with_its_slowest_cell() -> None:
    run = a_run(seconds=90.0, cell_seconds=[None, 12.0, 30.0, None], peak_memory=812.4)
    lines = measured_table(results_of(run, a_run(1, cell_seconds=[], peak_memory=None))).splitlines()
    assert lines[2].split(maxsplit=4) == ["01_one", "0", "1.50", "0.70", "2 (30.0 s)    812 MB"]
    assert lines[3].split() == ["01_one", "1", "0.05", "0.00", "-", "unknown"]


def test_columns_of_numbers_are_flush_right() -> None:
    assert text_table(["name", "n"], [["1_a", "5"], ["b", "10"]]).splitlines()[2:] == ["1_a    5", "b     10"]
