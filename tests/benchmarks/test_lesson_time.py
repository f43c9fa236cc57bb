"""Lesson 01 at `quick`: its time (60 s promised), the time outside its cells (10 s), and equal records each time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.course.lessons import notebook_path, select
from labkit.course.run import run_lessons

(LESSON,) = select(["01"])
pytestmark = pytest.mark.skipif(
    not notebook_path(LESSON).exists(), reason=f"{notebook_path(LESSON).name} is not built yet: run `make build`"
)


def run(out: Path) -> dict:
    """Lesson 01 at profile quick and seed 0, as it stands in results.json."""
    recorded = run_lessons([LESSON], profile="quick", seeds=(0,), out=out)["lessons"][LESSON.name]
    assert recorded["status"] == "passed", recorded.get("error")
    return recorded


def records(recorded: dict) -> dict:
    """All that a run recorded, without how long it took and where."""
    return {key: recorded[key] for key in ("config", "metrics", "claims", "exercises", "figures")}


@pytest.fixture(scope="module")
def alone() -> list[dict]:
    """The run that was measured, for the test that compares others with it."""
    return []


def test_time_of_lesson_01_at_quick(benchmark, capsys, tmp_path, alone):
    recorded = benchmark.pedantic(run, (tmp_path,), rounds=1)
    alone.append(recorded)
    outside = recorded["seconds"] - recorded["cell_seconds"]
    benchmark.extra_info |= {"seconds": recorded["seconds"], "seconds_outside_cells": round(outside, 2)}
    with capsys.disabled():
        print(f"\n{LESSON.name}: {recorded['seconds']:.1f} s, of which {outside:.1f} s outside its cells")


def test_two_runs_side_by_side_record_what_a_run_alone_records(tmp_path, alone):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, [tmp_path / "first", tmp_path / "second"])
    assert first["metrics"]
    assert alone, "nothing to compare with: run this file as a whole"
    assert records(first) == records(second)
    assert [records(first)] * len(alone) == [records(recorded) for recorded in alone]
