"""The command line: `labkit run`, `verify`, `baseline`, `evidence`, `figures`, `build`, `update`, and more.

What a command needs is imported by the command, so that ``labkit --help`` is quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labkit import __version__
from labkit.course.lessons import CourseError, course_root, load_lessons, select, stated_minutes
from labkit.course.options import TIMEOUTS, parameter_value, running
from labkit.course.text import plain, text_table

if TYPE_CHECKING:
    from labkit.course.results import Results


class _Orderly(click.Group):
    """Ctrl-C, SIGTERM and a terminal that is closed end a command in order, with exit code 130; click would say 1.

    One of them is enough: all that come later are ignored, so that the clean-up is not interrupted itself. What the
    terminal cannot show is replaced; it must not end a command that has run for an hour.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        interrupted = False

        def interrupt(signum: int, frame: object) -> None:
            nonlocal interrupted
            interrupted = True
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt

        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup and a shell's & have it
                signal.signal(number, interrupt)
        try:
            return super().invoke(ctx)
        except BaseException:
            if not interrupted:  # whatever was raised on the way out; a progress bar may have lost its terminal
                raise
            with contextlib.suppress(OSError):
                click.echo("Interrupted.", err=True)
            ctx.exit(130)
        finally:
            if not interrupted:
                for number, handler in before.items():
                    signal.signal(number, handler)


@click.group(cls=_Orderly, context_settings={"help_option_names": ["-h", "--help"]})
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
    _echo(f"{table(results, comparison)}\n\n{verdict(results, comparison)}")
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
    _echo(machine(comparison))
    if confirm and comparison.suspects:
        rerun = again(path.parent / "confirm", profile, jobs, found["parameters"])
        comparison = settle(comparison, baseline, rerun)
    _echo(verdict(found, comparison))
    _echo_all(comparison.problems)
    _exit_if(bool(comparison.problems))


@main.command()
@running(seeds="0-7", out="build/baseline")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Derive from this results.json; run nothing.")
@click.option("--elsewhere", type=click.Path(path_type=Path), help="With --from: results of another kind of machine.")
def baseline(source: Path | None, elsewhere: Path | None, out: Path | None, profile: str, **options: Any) -> None:
    """Run lessons at several seeds and store what they recorded, for `labkit verify` to compare with.

    At `quick` they run a second time under lower caps of the instruction set, as another kind of machine would compute
    them; only x86-64 has such caps. Lessons that are not named keep what was stored, as do with --from those that its
    results do not hold completely; they are named, and the exit code is 1. At `full` the headline figures of the first
    seed are stored as well, as `labkit figures` does.

    \b
    Example: labkit baseline 01 --profile quick --seeds 0-7 --jobs 2
    """
    from labkit.caps import ELSEWHERE, caps_act
    from labkit.course.baselines import derive, load_baseline, save_baseline
    from labkit.course.kernel import environment
    from labkit.course.plan import plan
    from labkit.course.telling import run_and_tell

    if source is not None and options["lesson"]:
        raise click.UsageError("--from derives from all lessons in its file: name none.")
    if elsewhere is not None and source is None:
        raise click.UsageError("--elsewhere goes with --from: without it, both are run.")
    if source is not None:
        _baseline_from(source, elsewhere)
        return
    load_baseline(profile)  # a damaged one is found before anything runs
    out = (out or course_root() / "build" / "baseline").absolute()
    twice = profile == "quick" and caps_act()
    if twice:
        # What the second run would be refused for is found before the first.
        plan(select(options["lesson"]), profile, options["seeds"], out / "elsewhere", None, {})
    elif profile == "quick":
        lack = "No caps act on this machine, so the lessons run once"
        click.echo(f"{lack}: the baseline will not say what another kind of machine computes.", err=True)
    here, there = _whole(run_and_tell(out, profile, **options)), None
    if twice:
        with environment(ELSEWHERE):
            there = _whole(run_and_tell(out / "elsewhere", profile, **options))
    click.echo(f"Baseline: {_short(save_baseline(derive(here, there)))}")
    if here["profile"] == "full":
        _store_figures(here, out, ())


@main.command()
@click.argument("lesson", nargs=-1)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Take them from the run of this results.json.  [default: build/baseline/results.json in the course]",
)
def figures(lesson: tuple[str, ...], source: Path | None) -> None:
    """Store the headline figures of a run at `full` in notebooks/figures/, for `lab.at_full`.

    They are taken from the notebook that ran at the first seed. Figures that are stored and no longer shown go.

    \b
    Example: labkit figures 01 --from build/full/results.json
    """
    from labkit.course.results import read_results

    source = source or course_root() / "build" / "baseline" / "results.json"
    _store_figures(read_results(source), source.parent, lesson)


@main.command()
@click.argument("lesson", nargs=-1)
def evidence(lesson: tuple[str, ...]) -> None:
    """Show the claims that lessons test, and their verdict at each profile, from the stored seeds; nothing is run.

    With one LESSON, also the interval of each comparison and its rivals.

    \b
    Example: labkit evidence 01
    """
    from labkit.course.evidence import in_text

    chosen = select(lesson)
    _echo("\n\n".join(in_text(one, details=len(chosen) == 1) for one in chosen))


@main.command()
@click.argument("lesson", nargs=-1)
@click.option("--execute/--no-execute", default=True, help="Run the notebook and store its outputs.")
@click.option("--check", is_flag=True, help="Write nothing; tell where source and notebook differ.")
@click.option("--force", is_flag=True, help="Replace a notebook with cells of your own in it; NAME.ipynb.bak keeps it.")
@click.option("--timeout", type=float, default=TIMEOUTS["quick"], show_default=True, help="Seconds for a lesson.")
def build(lesson: tuple[str, ...], execute: bool, check: bool, force: bool, timeout: float) -> None:
    """Make notebooks/NAME.ipynb from notebooks/source/NAME.py and store its outputs.

    A notebook in which you have written, an answer to an exercise, say, is not replaced without --force.

    \b
    Example: labkit build autoencoders
    """
    from labkit.course.build import build as build_notebook
    from labkit.course.source import drift

    chosen = select(lesson)
    if check:
        differences = [difference for one in chosen for difference in drift(one)]
        for difference in differences:
            _echo(difference)
        _exit_if(bool(differences))
        return
    for one in chosen:
        click.echo(_short(build_notebook(one, execute=execute, timeout=timeout, force=force)))


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
@click.option("--minutes", is_flag=True, help="Count a learner's minutes, and what they are made of.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: build/course/results.json in the course]")
def list_lessons(measured: bool, minutes: bool, results: Path | None) -> None:
    """List the lessons.

    \b
    Example: labkit list --minutes
    """
    from labkit.course.results import read_results
    from labkit.course.summary import measured_table

    if minutes:
        if measured or results is not None:
            raise click.UsageError("--minutes counts what is to be read, --measured what a run took: give one.")
        _list_minutes()
        return
    if measured:
        _echo(measured_table(read_results(results or course_root() / "build" / "course" / "results.json")))
        return
    body = [[lesson.name, lesson.title, stated_minutes(lesson), lesson.level, lesson.data] for lesson in load_lessons()]
    click.echo(text_table(["lesson", "title", "minutes", "level", "data"], body))


def _list_minutes() -> None:
    """The table of minutes, and what of it a lesson says wrongly or should not reach."""
    from labkit.course.minutes import measure, minutes_table, misstated, oversize

    sizes = {lesson: measure(lesson) for lesson in load_lessons()}
    _echo(minutes_table({lesson.name: size for lesson, size in sizes.items()}))
    for lesson, size in sizes.items():
        _echo_all(misstated(lesson, size))
        _echo_all([f"{lesson.name}: {fault}" for fault in oversize(size) if lesson.edition > 1])


@main.command()
@click.argument("lesson", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="For a program: the same as JSON.")
def progress(lesson: tuple[str, ...], as_json: bool) -> None:
    """Show where you stand: exercises, hints, predictions, time. With one LESSON, each of its exercises.

    \b
    Example: labkit progress 05
    """
    import json

    from labkit.course import standing
    from labkit.progress import Progress

    book = Progress()
    course, problems = standing.standings(select(lesson), book)
    if as_json:
        click.echo(json.dumps(standing.as_json(course), indent=1, ensure_ascii=False))
    else:
        one = next(iter(course.values())) if len(course) == 1 else None
        click.echo(standing.course_table(course) if one is None else standing.lesson_table(one))
        click.echo(f"\nKept in {book.path}.")
    for problem in problems:
        click.echo(problem, err=True)


def _baseline_from(source: Path, elsewhere: Path | None) -> None:
    """Store the baselines of the lessons that a results.json holds completely, and name the others."""
    from labkit.course.baselines import derive_complete, save_baseline
    from labkit.course.results import read_results

    here, there = read_results(source), None if elsewhere is None else read_results(elsewhere)
    derived, left_out = derive_complete(here, there, {lesson.name for lesson in load_lessons()})
    if not derived["lessons"]:
        raise CourseError(" ".join(left_out) or f"{source} holds no runs: run `labkit run` again.")
    click.echo(f"Baseline: {_short(save_baseline(derived))}\nDerived: {', '.join(derived['lessons'])}")
    if here["profile"] == "full":
        _store_figures(here, source.parent, tuple(derived["lessons"]))
    _echo_all([f"left out: {sentence}" for sentence in left_out])
    _exit_if(bool(left_out))


def _whole(results: Results) -> Results:
    """The results, if every run passed; otherwise the command ends here, having said what failed."""
    from labkit.course.summary import failures, table

    _echo(table(results, None))
    failed = failures(results)
    _echo_all(failed)
    _exit_if(bool(failed))
    return results


def _store_figures(results: Results, folder: Path, lesson: Sequence[str]) -> None:
    from labkit.course.headlines import store_headlines

    stored = store_headlines(results, folder, select(lesson))
    for path in stored:
        click.echo(f"Figure: {_short(path)}")
    if not stored:
        click.echo("No lesson of this run shows a headline figure.")


def _echo(text: str) -> None:
    """Say what may hold somebody else's words, such as a metric's name or an exception's."""
    click.echo(plain(text))


def _echo_all(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        _echo(f"- {sentence}")


def _short(path: Path) -> str:
    """The path as seen from the working folder, if it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).absolute().is_relative_to(here) else str(path)


def _exit_if(problem: bool) -> None:
    if problem:
        click.get_current_context().exit(1)


if __name__ == "__main__":
    main()
