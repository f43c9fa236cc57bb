"""The command line: ``labkit run``, ``verify``, ``baseline``, ``build`` and ``list``.

What a command needs is imported by the command, so that ``labkit --help`` is quick.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import click

from labkit import __version__
from labkit.course.lessons import CourseError, course_root, load_lessons, select
from labkit.course.options import TIMEOUTS, parameter_value, running


class _Interruptible(click.Group):
    """Ctrl-C and SIGTERM end a command in order, with exit code 130; click alone would say 1."""

    def invoke(self, ctx: click.Context) -> Any:
        def interrupt(signum: int, frame: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        finally:
            signal.signal(signal.SIGTERM, before)


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="labkit")
def main() -> None:
    """Paper Lab: run, check and build the lessons of the course.

    \b
    Example: labkit run autoencoders --seeds 0-4 --jobs 2
    """


@main.command()
@running(seeds="0", out="build/course")
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter more.")
def run(parameters: tuple[tuple[str, str], ...], out: Path | None, profile: str, **options: Any) -> None:
    """Run lessons (all, if none is named) and write results.json, report.html and the executed notebooks.

    A LESSON is 01_autoencoders, 01 or autoencoders. The exit code is 0 only if every lesson ran to its end.

    \b
    Example: labkit run 01 --profile quick --seeds 0-2 --jobs 2 --out build/three
    """
    from labkit.course.baselines import load_baseline
    from labkit.course.report import write_report
    from labkit.course.summary import problems, table

    out = out or course_root() / "build" / "course"
    results = _run(out, profile, parameters={name: parameter_value(text) for name, text in parameters}, **options)
    baseline = load_baseline(profile)
    report = write_report(results, out, baseline)
    click.echo(table(results, baseline))
    found = problems(results, baseline)
    if found:
        click.echo("\nFailed, or other than the baseline:\n" + "\n".join(f"- {problem}" for problem in found))
    if baseline is None:
        click.echo(f"\nThe profile {profile!r} has no baseline yet: `labkit baseline --profile {profile}` derives one.")
    click.echo(f"\nReport: {_short(report)}\nOpen the lab: make lab")
    _exit_if(any(entry["status"] == "failed" for entry in results["lessons"].values()))


@main.command()
@click.option("--results", type=click.Path(path_type=Path), help="[default: build/course/results.json in the course]")
def verify(results: Path | None) -> None:
    """Compare results with the baseline of their profile; name each metric out of its band and each claim that flipped.

    \b
    Example: labkit verify --results build/three/results.json
    """
    from labkit.course.baselines import compare, load_baseline
    from labkit.course.records import read_results

    path = results or course_root() / "build" / "course" / "results.json"
    found = read_results(path)
    profile = found["profile"]
    if not found["lessons"]:
        raise CourseError(f"No lesson has finished in {path}: run `labkit run` again.")
    baseline = load_baseline(profile)
    if baseline is None:
        raise CourseError(
            f"The profile {profile!r} has no baseline: derive it with `labkit baseline --profile {profile}`."
        )
    comparison = compare(found, baseline)
    for problem in comparison.problems:
        click.echo(problem)
    in_band, total = (sum(getattr(c, key) for c in comparison.lessons.values()) for key in ("in_band", "total"))
    click.echo(f"{in_band} of {total} metrics in band, {len(comparison.problems)} problem(s).")
    _exit_if(bool(comparison.problems))


@main.command()
@running(seeds="0-7", out="build/baseline")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Derive from this results.json; run nothing.")
def baseline(source: Path | None, out: Path | None, lesson: tuple[str, ...], **options: Any) -> None:
    """Run lessons at several seeds and derive from them the bands that `labkit verify` checks.

    Lessons that are not named keep their bands.

    \b
    Example: labkit baseline 01 --profile quick --seeds 0-7 --jobs 2
    """
    from labkit.course.baselines import derive, save_baseline
    from labkit.course.records import read_results
    from labkit.course.summary import problems, table

    if source is not None and lesson:
        raise click.UsageError("--from derives from all lessons in its file: name none.")
    if source is None:
        results = _run(out or course_root() / "build" / "baseline", lesson=lesson, **options)
        click.echo(table(results, None))
        failed = problems(results, None)
        click.echo("".join(f"- {problem}\n" for problem in failed), nl=False)
        _exit_if(bool(failed))
    else:
        results = read_results(source)
    click.echo(f"Baseline: {_short(save_baseline(derive(results)))}")


@main.command()
@click.argument("lesson", nargs=-1)
@click.option("--execute/--no-execute", default=True, help="Run the notebook and store its outputs.")
@click.option("--check", is_flag=True, help="Write nothing; tell where source and notebook differ.")
@click.option("--timeout", type=float, default=TIMEOUTS["quick"], show_default=True, help="Seconds for a lesson.")
def build(lesson: tuple[str, ...], execute: bool, check: bool, timeout: float) -> None:
    """Make notebooks/NAME.ipynb from notebooks/source/NAME.py and store its outputs.

    \b
    Example: labkit build autoencoders
    """
    from labkit.course.build import build as build_notebook
    from labkit.course.source import drift

    chosen = select(lesson)
    if check:
        differences = [difference for one in chosen for difference in drift(one)]
        for difference in differences:
            click.echo(difference)
        _exit_if(bool(differences))
        return
    for one in chosen:
        click.echo(_short(build_notebook(one, execute=execute, timeout=timeout)))


@main.command("list")
def list_lessons() -> None:
    """List the lessons.

    \b
    Example: labkit list
    """
    from labkit.course.summary import text_table

    body = [[lesson.name, lesson.title, str(lesson.minutes), lesson.level, lesson.data] for lesson in load_lessons()]
    click.echo(text_table(["lesson", "title", "minutes", "level", "data"], body))


def _run(out: Path, profile: str, lesson: tuple[str, ...], seeds: tuple[int, ...], **options: Any) -> dict[str, Any]:
    """run_lessons with a progress bar, if somebody watches, and the profile's time limit, if none was given."""
    from tqdm import tqdm

    from labkit.course.job import Job
    from labkit.course.run import run_lessons

    lessons = select(lesson)
    if options["timeout"] is None:
        options["timeout"] = TIMEOUTS[profile]
    running: dict[Job, str] = {}
    with tqdm(total=len(lessons) * len(seeds), unit="run", disable=None, leave=False) as bar:

        def watch(job: Job, said: dict | None) -> None:
            with bar.get_lock():
                if said is None:
                    running.pop(job, None)
                    bar.update()
                else:
                    running[job] = f"{job.lesson} seed {job.seed}: cell {said['cell']}/{said['cells']}"
                bar.set_postfix_str(", ".join(running.values()))

        return run_lessons(lessons, profile=profile, seeds=seeds, out=out, watch=watch, **options)


def _short(path: Path) -> str:
    """The path as seen from the working folder, if it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).absolute().is_relative_to(here) else str(path)


def _exit_if(problem: bool) -> None:
    if problem:
        click.get_current_context().exit(1)
