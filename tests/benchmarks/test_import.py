"""What `import labkit` adds to the start of a bare interpreter: at most 50 ms is what the course promises itself."""

import subprocess
import sys

import pytest

ROUNDS = 20
fastest: dict[
    str, float
] = {}  # seconds; the fastest start is the one least disturbed by whatever else the machine does


@pytest.mark.benchmark(group="start of an interpreter")
@pytest.mark.parametrize("code", ["pass", "import labkit"])
def test_start_of_an_interpreter(benchmark, capsys, code):
    command = [sys.executable, "-c", code]
    benchmark.pedantic(subprocess.run, (command,), {"check": True}, rounds=ROUNDS, warmup_rounds=2)
    if benchmark.disabled:
        return
    fastest[code] = benchmark.stats.stats.min
    if code != "pass" and "pass" in fastest:
        benchmark.extra_info["import_ms"] = round(1000 * (fastest[code] - fastest["pass"]), 1)
        benchmark.extra_info["ratio"] = round(fastest[code] / fastest["pass"], 2)
        with capsys.disabled():
            print("\nimport labkit: {import_ms} ms, {ratio} times a bare start".format(**benchmark.extra_info))
