"""A thousand runs: what keeping each costs at the beginning and at the end, and the size of their report."""

import base64
import json
import os
import sys
import time
from pathlib import Path

import pytest

from labkit import RECORD_MIME
from labkit.course.report import write_report
from labkit.course.results import Journal, gather, read_results

sys.path.insert(0, str(Path(__file__).parents[1] / "course"))
from tiny_course import a_run

LESSONS, SEEDS, FIGURES = 50, 20, 15
METRICS = {f"metric {n}": {"value": 1.5 * n, "unit": "nats"} for n in range(34)}


def notebook(path: Path) -> None:
    """An executed notebook with FIGURES figures of 80 kB."""
    png = base64.b64encode(os.urandom(60_000)).decode()
    outputs = [
        {"output_type": "display_data", "data": {"image/png": png, RECORD_MIME: {"kind": "figure", "alt": "noise"}}}
        for _ in range(FIGURES)
    ]
    cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": outputs}
    path.write_text(json.dumps({"cells": [cell]}))


@pytest.mark.benchmark(group="a thousand runs")
def test_a_thousand_runs(benchmark, capsys, tmp_path):
    plan = {f"{n:02d}_lesson": list(range(SEEDS)) for n in range(1, LESSONS + 1)}
    claims = [{**claim, "text": f"{claim['text']} {n}"} for n in range(5) for claim in a_run()["claims"]]
    runs = [
        (name, a_run(seed, metrics=METRICS, claims=claims, figures=FIGURES, notebook=f"{name}.ipynb"))
        for name, seeds in plan.items()
        for seed in seeds
    ]
    for name in plan:
        notebook(tmp_path / f"{name}.ipynb")
    journal, seconds = Journal(tmp_path, gather("quick", plan, [])), []
    for name, run in runs:
        start = time.perf_counter()
        journal.append(name, run)
        seconds.append(time.perf_counter() - start)
    journal.end(gather("quick", plan, runs))
    results = read_results(tmp_path / "results.json")
    report = benchmark.pedantic(write_report, (results, tmp_path, None), rounds=1)
    size = report.stat().st_size / 1e6
    first, last = (1000 * sorted(part)[len(part) // 2] for part in (seconds[:100], seconds[-100:]))
    with capsys.disabled():
        print(
            f"\nkeeping a run: {first:.1f} ms among the first 100, {last:.1f} ms among the last; report {size:.1f} MB"
        )
    assert size < 30
