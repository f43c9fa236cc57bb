"""Running lessons for a command: with a progress bar where somebody watches, a line per run elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from labkit.course.baselines import load_baseline
from labkit.course.job import Job
from labkit.course.lessons import select
from labkit.course.options import TIMEOUTS
from labkit.course.results import Results, Run
from labkit.course.run import run_lessons


def run_and_tell(out: Path, profile: str, lesson: tuple[str, ...], seeds: tuple[int, ...], **options: Any) -> Results:
    """run_lessons with a progress bar where somebody watches, a line per run elsewhere, and the default time limit."""
    from tqdm import tqdm

    lessons = select(lesson)
    if options["timeout"] is None:
        options["timeout"] = TIMEOUTS[profile]
    running: dict[Job, str] = {}
    with tqdm(total=len(lessons) * len(seeds), unit="run", disable=None, leave=False) as bar:
        done = 0

        def watch(job: Job, said: dict | None) -> None:
            with bar.get_lock():
                if said is None:
                    running.pop(job, None)
                else:
                    running[job] = f"{job.lesson} seed {job.seed}: cell {said['cell']}/{said['cells']}"
                bar.set_postfix_str(", ".join(running.values()))

        def finished(job: Job, run: Run) -> None:
            nonlocal done
            done += 1
            bar.update()
            if bar.disable:
                place = f"{done} of {len(lessons) * len(seeds)}"
                click.echo(f"{place}: {job.lesson} seed {job.seed} {run['status']} in {run['seconds']:.0f} s", err=True)

        known = (load_baseline(profile) or {"lessons": {}})["lessons"]
        options["seconds"] = {name: lesson["seconds"] for name, lesson in known.items() if "seconds" in lesson}
        return run_lessons(lessons, profile=profile, seeds=seeds, out=out, watch=watch, finished=finished, **options)


def again(out: Path, profile: str, jobs: int, parameters: dict[str, Any]) -> Callable[[str, Sequence[int]], list[Run]]:
    """What runs one lesson at further seeds, into a folder of its own below `out`."""

    def rerun(name: str, seeds: Sequence[int]) -> list[Run]:
        click.echo(f"{name} is run again at seeds {', '.join(map(str, seeds))}, to tell chance from change.", err=True)
        options = {"jobs": jobs, "timeout": None, "parameters": parameters}
        return run_and_tell(out / name, profile, (name,), tuple(seeds), **options)["lessons"][name]["runs"]

    return rerun
