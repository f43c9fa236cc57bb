"""results.json holds the plan and every run; what a killed run had finished is read from its journal."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from tiny_course import FAILED, a_run, results_of

from labkit.course import results as module
from labkit.course.lessons import CourseError
from labkit.course.results import JOURNAL, Journal, gather, missing_runs, read_results, write_results

SCHEMA = json.loads(Path(module.__file__).with_name("results.schema.json").read_text())
PLAN = {"01_one": [0, 1, 2]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.json"


def test_the_schema_is_one_and_accepts_results() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for results in (results_of(a_run()), results_of(a_run(0), a_run(1, **FAILED)), gather("quick", PLAN, [])):
        jsonschema.Draft7Validator(SCHEMA).validate(results)


def test_results_come_back_as_they_were_written(path: Path) -> None:
    results = results_of(a_run(0), a_run(1))
    write_results(path, results)
    assert read_results(path) == results


@pytest.mark.parametrize(
    "wrong", [{"status": "fine"}, {"status": "failed"}, {"seed": -1}, {"metrics": {"a": 1.0}}, {"surprise": 1}]
)
def test_results_that_break_the_schema_are_not_written(path: Path, wrong: dict) -> None:
    results = results_of(a_run(**wrong))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(results)
    with pytest.raises(ValueError, match="data"):
        write_results(path, results)
    assert not any(path.parent.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 100_000 + "]" * 100_000,
        '{"schema_version": 3, "profile": "quick", "lessons": {}}',
        '{"schema_version": 1, "profile": "quick", "lessons": []}',
        '{"schema_version": 1, "profile": "quick", "lessons": {"01_one": {"runs": [{}]}}}',
        '{"schema_version": 2, "profile": "quick", "lessons": {}}',
    ],
    ids=lambda content: content[:40],
)
def test_what_are_no_results_is_said_in_one_sentence(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(CourseError, match=r"does not hold results of version 2 .* run `labkit run` again"):
        read_results(path)


def version_1(*runs: dict) -> dict:
    """Results as the first edition wrote them: one seed is its own entry, several stand under `runs`."""
    new = ("peak_memory", "instruction_set")
    old = [{**{key: value for key, value in run.items() if key not in new}, "cell_seconds": 1.5} for run in runs]
    entry = old[0] if len(old) == 1 else {"status": "passed", "seconds": 9.0, "runs": old}
    return {"schema_version": 1, "profile": "quick", "lessons": {"01_one": entry}}


@pytest.mark.parametrize("count", [1, 2])
def test_results_of_version_1_are_still_read(path: Path, count: int) -> None:
    path.write_text(json.dumps(version_1(*(a_run(seed) for seed in range(count)))))
    results = read_results(path)
    assert results["plan"] == {"01_one": list(range(count))}
    runs = results["lessons"]["01_one"]["runs"]
    assert [run["metrics"] for run in runs] == [a_run(seed)["metrics"] for seed in range(count)]
    assert {run["instruction_set"] for run in runs} == {None}


# ---- a run under way -------------------------------------------------------------------------------------------------


def test_what_has_finished_can_be_read_while_the_rest_still_runs(path: Path) -> None:
    journal = Journal(path.parent, gather("quick", PLAN, []))
    assert missing_runs(read_results(path)) == [("01_one", 0), ("01_one", 1), ("01_one", 2)]
    journal.append("01_one", a_run(1))
    results = read_results(path)
    assert results == gather("quick", PLAN, [("01_one", a_run(1))])
    assert results["lessons"]["01_one"]["status"] == "failed", "not all of its seeds have run"
    assert missing_runs(results) == [("01_one", 0), ("01_one", 2)]


def test_at_the_end_one_whole_file_is_left(path: Path) -> None:
    journal = Journal(path.parent, gather("quick", PLAN, []))
    runs = [("01_one", a_run(seed)) for seed in range(3)]
    for name, run in runs:
        journal.append(name, run)
    journal.end(gather("quick", PLAN, runs))
    assert list(path.parent.iterdir()) == [path]
    assert read_results(path)["lessons"]["01_one"]["status"] == "passed"


def test_a_line_that_was_cut_off_is_a_run_that_had_not_finished(path: Path) -> None:
    journal = Journal(path.parent, gather("quick", PLAN, []))
    journal.append("01_one", a_run(0))
    journal.append("01_one", a_run(1))
    file = path.with_name(JOURNAL)
    file.write_text(file.read_text()[:-20])
    assert missing_runs(read_results(path)) == [("01_one", 1), ("01_one", 2)]


def test_a_new_run_in_the_same_folder_begins_with_nothing(path: Path) -> None:
    Journal(path.parent, gather("quick", PLAN, [])).append("01_one", a_run(0))  # and is killed
    Journal(path.parent, gather("quick", PLAN, []))
    assert read_results(path)["lessons"] == {}


def test_a_run_that_finishes_adds_to_the_file_and_does_not_write_the_others_again(path: Path) -> None:
    journal = Journal(path.parent, gather("quick", {"01_one": list(range(50))}, []))
    sizes = []
    for seed in range(50):
        journal.append("01_one", a_run(seed))
        sizes.append(path.with_name(JOURNAL).stat().st_size)
    assert max(after - before for before, after in pairwise(sizes)) < 1.1 * sizes[0]
    assert path.stat().st_size < 1000
