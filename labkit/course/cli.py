"""The command line: ``labkit run``, ``verify``, ``baseline``, ``build``, ``update``, ``reset`` and ``list``.

What a command needs is imported by the command, so that ``labkit --help`` is quick.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labkit import __version__
from labkit.course.lessons import CourseError, course_root, load_lessons, select
from labkit.course.options import TIMEOUTS, parameter_value, running

if TYPE_CHECKING:
    from labkit.course.results import Results


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
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="Extra notebook parameter."
)
def run(parameters: tuple[tuple[str, str], ...], out: Path | None, profile: str, **options: Any) -> None:
    """Run lessons (all, if none is named) and write results.json, report.html and the executed notebooks.

    A LESSON is 01_autoencoders, 01 or autoencoders. The exit code is 0 only if every lesson ran to its end.

    \b
    Example: labkit run 01 --profile quick --seeds 0-2 --jobs 2 --out build/three
    """
    from labkit.course.baselines import load_baseline
    from labkit.course.comparison import compare
    from labkit.course.report import write_report
    from labkit.course.summary import failures, table, verdict
    from labkit.course.telling import run_and_tell

    baseline = load_baseline(profile)  # a damaged one is found before anything runs
    out = out or course_root() / "build" / "course"
    results = run_and_tell(
        out, profile, parameters={name: parameter_value(text) for name, text in parameters}, **options
    )
    comparison = None if baseline is None else compare(results, baseline)
    report = write_report(results, out, comparison)
    click.echo(f"{table(results, comparison)}\n\n{verdict(results, comparison)}")
    _echo_all(failures(results) if comparison is None else comparison.problems)
    if baseline is None:
        click.echo(f"`labkit baseline --profile {profile}` derives a baseline.")
    click.echo(f"\nReport: {_short(report)}\nOpen the lab: make lab")
    _exit_if(any(entry["status"] == "failed" for entry in results["lessons"].values()))


@main.command()
@click.option("--results", type=click.Path(path_type=Path), help="[default: build/course/results.json in the course]")
@click.option(
    "--records", type=click.Path(path_type=Path), help="Folder that LABKIT_RECORDS named, in place of results."
)
@click.option("--confirm/--no-confirm", default=True, help="Judge what is out of band by two further seeds as well.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Notebooks at a time.")
def verify(results: Path | None, records: Path | None, confirm: bool, jobs: int) -> None:
    """Compare results with the baseline of their profile; name everything that is not as it should be.

    On the baseline's kind of machine values must be equal; on another one they must lie in bands.

    \b
    Example: labkit verify --results build/three/results.json
    """
    from labkit.course.baselines import load_baseline
    from labkit.course.collect import collect
    from labkit.course.comparison import compare, settle
    from labkit.course.results import read_results
    from labkit.course.summary import machine, verdict
    from labkit.course.telling import again

    if results is not None and records is not None:
        raise click.UsageError("--results and --records are two places to read from: give one.")
    path = records or results or course_root() / "build" / "course" / "results.json"
    found = read_results(path) if records is None else collect(records, load_lessons())
    profile = found["profile"]
    baseline = load_baseline(profile)
    if baseline is None:
        raise CourseError(
            f"The profile {profile!r} has no baseline: derive it with `labkit baseline --profile {profile}`."
        )
    comparison = compare(found, baseline)
    click.echo(machine(comparison))
    if confirm and comparison.suspects:
        rerun = again(path.parent / "confirm", profile, jobs, found["parameters"])
        comparison = settle(comparison, baseline, rerun)
    click.echo(verdict(found, comparison))
    _echo_all(comparison.problems)
    _exit_if(bool(comparison.problems))


@main.command()
@running(seeds="0-7", out="build/baseline")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Derive from this results.json; run nothing.")
@click.option("--elsewhere", type=click.Path(path_type=Path), help="With --from: results of another kind of machine.")
def baseline(source: Path | None, elsewhere: Path | None, out: Path | None, profile: str, **options: Any) -> None:
    """Run lessons at several seeds and store what they recorded, for `labkit verify` to compare with.

    At `quick` they run a second time under lower caps of the instruction set, as another kind of machine would compute
    them. Lessons that are not named keep what was stored.

    \b
    Example: labkit baseline 01 --profile quick --seeds 0-7 --jobs 2
    """
    from labkit.caps import ELSEWHERE
    from labkit.course.baselines import derive, load_baseline, save_baseline
    from labkit.course.kernel import environment
    from labkit.course.results import read_results
    from labkit.course.telling import run_and_tell

    if source is not None and options["lesson"]:
        raise click.UsageError("--from derives from all lessons in its file: name none.")
    if elsewhere is not None and source is None:
        raise click.UsageError("--elsewhere goes with --from: without it, both are run.")
    if source is not None:
        here, there = read_results(source), None if elsewhere is None else read_results(elsewhere)
    else:
        load_baseline(profile)  # a damaged one is found before anything runs
        out = out or course_root() / "build" / "baseline"
        here, there = _whole(run_and_tell(out, profile, **options)), None
        if profile == "quick":
            with environment(ELSEWHERE):
                there = _whole(run_and_tell(out / "elsewhere", profile, **options))
    click.echo(f"Baseline: {_short(save_baseline(derive(here, there)))}")


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


@main.command()
@click.argument("lesson", nargs=-1)
def update(lesson: tuple[str, ...]) -> None:
    """Make your copies of the lessons in work/, or bring them up to the present edition; all, if none is named.

    Answers, notes and cells of your own stay. Before a copy changes, it is kept in work/backups/.

    \b
    Example: labkit update 05
    """
    from labkit.course.work import update as update_copies

    done = update_copies(select(lesson))
    click.echo(str(done))
    _echo_all(done.problems)
    _exit_if(bool(done.problems))


@main.command()
@click.argument("lesson")
@click.option("--exercise", metavar="NAME", help="Only this exercise: its cell becomes the stub again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(lesson: str, exercise: str | None, yes: bool) -> None:
    """Begin a lesson, or one exercise of it, afresh in work/; what you had is kept in work/backups/.

    \b
    Example: labkit reset 05 --exercise squash
    """
    from labkit.course.work import reset_exercise, reset_lesson

    (one,) = select([lesson])
    if exercise is not None:
        click.echo(reset_exercise(one, exercise))
        return
    if not yes:
        click.confirm(f"Begin {one.name} afresh? Your copy is kept in work/backups/.", abort=True)
    click.echo(reset_lesson(one))


@main.command("list")
@click.option("--measured", is_flag=True, help="Show minutes and memory of the last run in place of what is promised.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: build/course/results.json in the course]")
def list_lessons(measured: bool, results: Path | None) -> None:
    """List the lessons.

    \b
    Example: labkit list --measured
    """
    from labkit.course.results import read_results
    from labkit.course.summary import measured_table, text_table

    if measured:
        click.echo(measured_table(read_results(results or course_root() / "build" / "course" / "results.json")))
        return
    body = [[lesson.name, lesson.title, str(lesson.minutes), lesson.level, lesson.data] for lesson in load_lessons()]
    click.echo(text_table(["lesson", "title", "minutes", "level", "data"], body))


def _whole(results: Results) -> Results:
    """The results, if every run passed; otherwise the command ends here, having said what failed."""
    from labkit.course.summary import failures, table

    click.echo(table(results, None))
    failed = failures(results)
    _echo_all(failed)
    _exit_if(bool(failed))
    return results


def _echo_all(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        click.echo(f"- {sentence}")


def _short(path: Path) -> str:
    """The path as seen from the working folder, if it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).absolute().is_relative_to(here) else str(path)


def _exit_if(problem: bool) -> None:
    if problem:
        click.get_current_context().exit(1)
