"""What it costs to check a learner's answers, and to import the exercises."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import time

import torch

import labkit.exercises
from labkit.checks.edits import edited
from labkit.checks.exercise import Exercise, check
from labkit.checks.sandbox import observe, random_states_kept

TOPICS = [topic for _, topic, _ in pkgutil.iter_modules(labkit.exercises.__path__) if topic[0] != "_"]


def cpu_seconds(task) -> float:
    began = time.process_time()
    task()
    return time.process_time() - began


def probed_twice(exercise: Exercise) -> None:
    """What a check cannot do without: every probe, of the reference and of an answer."""
    with random_states_kept():
        for probe in exercise.probes:
            observe(probe.observe, exercise.reference)
            observe(probe.observe, exercise.reference)


def test_a_right_and_a_wrong_answer_to_every_exercise() -> None:
    """Printed in CPU seconds on one core; the aim is at most 10 for all of them together."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {"right": 0.0, "wrong": 0.0, "probes alone": 0.0}
        for topic in TOPICS:
            module = importlib.import_module(f"labkit.exercises.{topic}")
            for exercise in (*module.EXERCISES, *getattr(module, "MORE", ())):
                right = edited(exercise.answer)
                wrong = exercise.mistakes[0].function
                seconds["probes alone"] += cpu_seconds(lambda e=exercise: probed_twice(e))
                seconds["right"] += cpu_seconds(lambda e=exercise, f=right: check(e, f))
                seconds["wrong"] += cpu_seconds(lambda e=exercise, f=wrong: check(e, f))
    finally:
        torch.set_num_threads(threads)
    print({what: round(value, 2) for what, value in seconds.items()})
    assert seconds["wrong"] < 10 * seconds["probes alone"]
    assert seconds["right"] < 20 * seconds["probes alone"]


def test_importing_all_exercises_over_importing_torch() -> None:
    """Printed in CPU seconds, module by module in the order of import; the aim is at most 0.3 for all of them."""
    script = f"""
import importlib, json, time
began = time.process_time()
import numpy, torch
seconds = {{"torch": time.process_time() - began}}
for topic in {TOPICS}:
    began = time.process_time()
    importlib.import_module("labkit.exercises." + topic)
    seconds[topic] = time.process_time() - began
print(json.dumps(seconds))
"""
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(5)
    ]
    # The quickest of five is the one least disturbed by whatever else the machine does.
    seconds = min((json.loads(run.stdout) for run in runs), key=lambda one: sum(one.values()))
    over_torch = sum(seconds.values()) - seconds["torch"]
    print({topic: round(value, 3) for topic, value in seconds.items()})
    print(f"all exercises, over torch: {over_torch:.2f} s, {over_torch / seconds['torch']:.2f} of what torch takes")
