"""What importing the exercises brings along."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import labkit.exercises

HEAVY = {
    "matplotlib",
    "PIL",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "tensorly",
    "torch._dynamo",
    "torchvision",
    "triton",
}


def test_all_exercises_are_imported_without_heavy_packages_that_torch_does_not_need() -> None:
    topics = [topic for _, topic, _ in pkgutil.iter_modules(labkit.exercises.__path__)]
    assert len(topics) > 8
    imports = "\n".join(f"import labkit.exercises.{topic}" for topic in topics)
    code = f"""
import json, sys, torch
of_torch = set(sys.modules)
{imports}
print(json.dumps(sorted(set(sys.modules) - of_torch)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "labkit.exercises.kegnet" in loaded
    assert loaded & HEAVY == set()
