"""Each lesson at `quick`: its time (60 s promised), the time outside its cells (10 s), and equal records each time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.course.lessons import Lesson, load_lessons, notebook_path
from labkit.course.run import run_lessons

LESSONS = [lesson for lesson in load_lessons() if notebook_path(lesson).exists()]
pytestmark = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)


def run(lesson: Lesson, out: Path) -> dict:
    """The lesson at profile quick and seed 0, as it stands in results.json."""
    recorded = run_lessons([lesson], profile="quick", seeds=(0,), out=out)["lessons"][lesson.name]["runs"][0]
    assert recorded["status"] == "passed", recorded.get("error")
    return recorded


def records(recorded: dict) -> dict:
    """All that a run recorded, without how long it took and where."""
    return {key: recorded[key] for key in ("config", "metrics", "claims", "exercises", "figures")}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict]:
    """The runs that were measured, for the test that compares others with them."""
    return {}


def test_time_at_quick(benchmark, capsys, tmp_path, alone, lesson):
    recorded = alone[lesson.name] = benchmark.pedantic(run, (lesson, tmp_path), rounds=1)
    outside = recorded["seconds"] - sum(filter(None, recorded["cell_seconds"]))
    benchmark.extra_info |= {"seconds": recorded["seconds"], "seconds_outside_cells": round(outside, 2)}
    with capsys.disabled():
        print(f"\n{lesson.name}: {recorded['seconds']:.1f} s, of which {outside:.1f} s outside its cells")


def test_two_runs_side_by_side_record_what_a_run_alone_records(tmp_path, alone, lesson):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda out: run(lesson, out), [tmp_path / "first", tmp_path / "second"])
    assert first["metrics"]
    assert lesson.name in alone, "nothing to compare with: run this file as a whole"
    assert records(first) == records(second) == records(alone[lesson.name])
