"""Lessons run each in their own process: whatever one of them does, the others still run and nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_course import SESSION, Course

from labkit.course import job as job_module
from labkit.course.execute import OUTPUT
from labkit.course.job import as_run, run_job
from labkit.course.kernel import MARK, kill_tree
from labkit.course.lessons import CourseError, Lesson
from labkit.course.plan import Job, plan
from labkit.course.results import Results, Run, read_results
from labkit.course.run import run_lessons

NOTE_PID = "import os, pathlib\npathlib.Path(os.environ['LABKIT_OUT'], 'pid').write_text(str(os.getpid()))"
LINK = "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x07 \x9b31m"  # what shows "here" and leads elsewhere
HANG = "import time\ntime.sleep(600)"
WHERE = "tell(kind='config', values={'cwd': os.getcwd(), 'batch': os.environ['LABKIT_BATCH'], 'rate': rate})"


def wait_until(condition: Callable[[], bool], patience: float = 60) -> None:
    """Return when the condition holds; fail after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def pid_in(folder: Path) -> int:
    """The process id that a notebook noted, once it has."""
    note = folder / "pid"
    wait_until(lambda: note.exists() and note.read_text() != "")
    return int(note.read_text())


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody buried does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# ---- lessons that go wrong in every way, run together ---------------------------------------------------------------


def only_runs(results: Results) -> dict[str, Run]:
    """The run of each lesson of a run at one seed."""
    assert all(len(entry["runs"]) == 1 for entry in results["lessons"].values())
    return {name: entry["runs"][0] for name, entry in results["lessons"].items()}


@dataclass(frozen=True)
class Wreck:
    """One run of good and bad lessons, with another one beside it, of a notebook that says a lot."""

    out: Path
    limit: float  # seconds for a lesson
    runs: dict[str, dict[str, Any]]  # by topic
    seen: list[tuple[Job, dict | None]]  # what was watched
    flood: Path  # the folder of the run beside it
    refused: str  # what was said to a third run, into that folder


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """Every lesson may take five times as long as the flood needs to begin, here and now (12 s or more)."""
    root = tmp_path_factory.mktemp("wreck")
    course = Course(root / "course")
    good = course.add("good", "import os", WHERE, "tell(kind='metric', name='one', value=1.0, unit='')")
    course.add("hangs", NOTE_PID, HANG)
    course.add("raises", "x = 1", "\n# the culprit\nraise ValueError('no luck\\nat all')")
    course.add("dies", "import os\nos.kill(os.getpid(), 9)")
    course.add("exits", "import sys\nsys.exit()", "x = 1")
    course.add("quits", "quit()", *["x = 1"] * 5)
    course.add("quits_last", "x = 1", "quit()")
    course.add("links", f"x = 1\n# \x1b[31mred\nraise ValueError({LINK!r})")
    course.add("talks", "x = 1", "while True:\n    print('x' * 99_999, flush=True)")  # or a busy machine sends nothing
    lessons = [*course.lessons]
    out, beside, over, seen = root / "out {x} {}", root / "beside", root / "over", []
    wait = f"import time\nwhile not pathlib.Path({str(over)!r}).exists():\n    time.sleep(0.05)"
    flood = course.add("floods", NOTE_PID, "for i in range(4000):\n    print('x' * 99, flush=True)", wait)

    other, started = threading.Thread(target=run_lessons, args=([flood],), kwargs={"out": beside}), time.monotonic()
    other.start()
    try:
        pid_in(beside / flood.name)
        limit = max(12, round(5 * (time.monotonic() - started)))
        with pytest.raises(CourseError) as refused:
            run_lessons([good], out=beside)
        options = {"timeout": limit, "parameters": {"rate": 0.5}, "watch": lambda *event: seen.append(event)}
        runs = only_runs(run_lessons(lessons, out=out, jobs=2, **options))
    finally:
        over.touch()
        other.join()
    return Wreck(out, limit, {name[3:]: run for name, run in runs.items()}, seen, beside, str(refused.value))


def test_the_good_lesson_still_runs(wreck: Wreck) -> None:
    assert {topic for topic, run in wreck.runs.items() if run["status"] == "passed"} == {"good"}
    stored = only_runs(read_results(wreck.out / "results.json"))
    assert {name[3:]: run for name, run in stored.items()} == wreck.runs


@pytest.mark.parametrize(
    ("topic", "kind", "cell", "message"),
    [
        ("hangs", "timeout", 3, "the time limit of LIMIT s ran out in cell 3 (import time): mend it"),
        ("raises", "exception", 3, "ValueError: no luck in cell 3 (# the culprit)"),
        ("dies", "dead kernel", 2, "the kernel died in cell 2 (import os)"),
        ("exits", "exception", 2, "SystemExit: in cell 2 (import sys)"),
        ("quits", "exception", 2, "quit() ended the lesson in cell 2 (quit()): take it out"),
        ("quits_last", "exception", 3, "quit() ended the lesson in cell 3 (quit()): take it out"),
        ("links", "exception", 2, "ValueError: here in cell 2 (x = 1)"),
        ("talks", "output", 3, "more than 20 MB of output in cell 3 (while True:): print less"),
    ],
)
def test_the_report_names_the_cell_that_failed(wreck: Wreck, topic: str, kind: str, cell: int, message: str) -> None:
    error = wreck.runs[topic]["error"]
    message = message.replace("LIMIT", str(wreck.limit))
    assert (error["kind"], error["cell"]) == (kind, cell)
    assert error["message"].startswith(message)


def test_a_traceback_is_kept_without_its_colours(wreck: Wreck) -> None:
    traceback = wreck.runs["raises"]["error"]["traceback"]
    assert "ValueError: no luck\nat all" in traceback
    assert "\x1b" not in traceback


def test_nothing_that_a_terminal_would_obey_is_kept_of_an_error(wreck: Wreck) -> None:
    error = wreck.runs["links"]["error"]
    assert error["source"] == f"x = 1\n# red\nraise ValueError({LINK!r})"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", error["message"] + error["traceback"])


def test_output_without_end_is_kept_up_to_the_limit(wreck: Wreck) -> None:
    cells = json.loads((wreck.out / wreck.runs["talks"]["notebook"]).read_text())["cells"]
    kept = sum(len("".join(output["text"])) for cell in cells for output in cell.get("outputs", []) if "text" in output)
    assert OUTPUT / 2 < kept < 1.1 * OUTPUT


def test_a_dead_kernel_is_noticed_before_the_time_limit(wreck: Wreck) -> None:
    assert wreck.runs["dies"]["seconds"] < wreck.limit


def test_no_kernel_outlives_its_time_limit(wreck: Wreck) -> None:
    assert not is_alive(pid_in(wreck.out / "02_hangs"))
    assert not [p for p in psutil.Process().children(recursive=True) if "ipykernel" in " ".join(p.cmdline())]


def test_a_flood_of_output_is_stored_to_its_end(wreck: Wreck) -> None:
    cells = json.loads((wreck.flood / "10_floods.ipynb").read_text())["cells"]
    text = "".join("".join(output["text"]) for output in cells[-2]["outputs"])
    assert text.count("x") == 4000 * 99


def test_two_runs_at_once_need_a_folder_each(wreck: Wreck) -> None:
    assert wreck.refused == f"Another run is writing into {wreck.flood}: wait for it or choose another --out."
    (flood,) = only_runs(read_results(wreck.flood / "results.json")).values()
    assert [flood["status"], wreck.runs["good"]["status"]] == ["passed", "passed"]


def test_a_notebook_runs_in_its_own_folder_with_its_parameters(wreck: Wreck) -> None:
    good = wreck.runs["good"]
    assert good["config"] == {"cwd": str(wreck.out.parent / "course" / "notebooks"), "batch": "1", "rate": 0.5}
    assert good["metrics"] == {"one": {"value": 1.0, "unit": ""}}
    assert not (wreck.out / "01_good").exists(), "a folder in which nothing was written is not left"


def test_who_watches_hears_of_every_cell_and_of_the_end(wreck: Wreck) -> None:
    heard = [said and said["cell"] for job, said in wreck.seen if job.lesson == "01_good"]
    assert heard == [0, 1, 2, 3, 4, None]


def test_the_longest_lessons_begin_first_and_the_results_keep_the_order_of_the_course(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = []

    def run(job: Job, *_: Any) -> Run:
        began.append(job.lesson)
        return as_run(job, None)

    monkeypatch.setattr("labkit.course.run.run_job", run)
    lessons = [course.add("short"), course.add("long"), course.add("unknown")]
    results = run_lessons(lessons, out=tmp_path / "out", seconds={"01_short": 1.0, "02_long": 9.0})
    assert began == ["02_long", "01_short", "03_unknown"]
    assert list(results["lessons"]) == ["01_short", "02_long", "03_unknown"]


def test_what_a_lesson_shows_from_beside_itself_lies_beside_the_executed_notebook_too(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.course.run.run_job", lambda job, *_: as_run(job, None))
    lesson = course.add("one")
    notebook, way = course.root / "notebooks" / "01_one.ipynb", Path("figures", "01_one", "way.svg")
    cells = json.loads(notebook.read_text())
    cells["cells"].append({"cell_type": "markdown", "metadata": {}, "source": f"![A way]({way}) ![No](no.svg)"})
    notebook.write_text(json.dumps(cells))
    (course.root / "notebooks" / way).parent.mkdir(parents=True)
    for picture in ("<svg/>", "<svg>new</svg>"):
        (course.root / "notebooks" / way).write_text(picture)
        run_lessons([lesson], out=tmp_path / "out")
        assert (tmp_path / "out" / way).read_text() == picture
    (tmp_path / "out" / "results.json").unlink()
    (tmp_path / "out" / way).write_text("somebody's own")
    with pytest.raises(CourseError, match=r"way\.svg is not as a run of labkit left it"):
        run_lessons([lesson], out=tmp_path / "out")
    assert (tmp_path / "out" / way).read_text() == "somebody's own"


# ---- several seeds ---------------------------------------------------------------------------------------------------


def test_several_seeds_run_through_any_executor_and_stand_side_by_side(course: Course, tmp_path: Path) -> None:
    lesson = course.add("seeded", "tell(kind='metric', name='seed', value=float(seed), unit='')")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        results = run_lessons([lesson], seeds=(3, 5), out=tmp_path / "out", executor=executor)
    entry = results["lessons"][lesson.name]
    assert entry["status"] == "passed"
    assert [(run["seed"], run["metrics"]["seed"]["value"]) for run in entry["runs"]] == [(3, 3.0), (5, 5.0)]
    assert all((tmp_path / "out" / run["notebook"]).is_file() for run in entry["runs"])


# ---- runs that are stopped -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "jobs"), [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGHUP, 1), (signal.SIGKILL, 1)]
)
def test_a_run_that_is_stopped_keeps_what_has_finished_and_no_kernel(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, jobs: int
) -> None:
    """As many lessons as there are jobs are running then, and one has not begun. The signal is sent again and again."""
    good = course.add("good")
    running = [course.add(f"hangs_{job}", f"{NOTE_PID}\n{HANG}") for job in range(jobs)]
    waits = course.add("waits")
    out = tmp_path / "out"
    command = [*course.command, "run", "--jobs", str(jobs), "--out", str(out)]
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        pids = [pid_in(out / hangs.name) for hangs in running]  # the last one begins when the good one has ended
        wait_until(lambda: good.name in read_results(out / "results.json")["lessons"])
        process.send_signal(number)
        for _ in range(20):
            time.sleep(0.02)
            process.send_signal(number)  # nothing happens if it has ended
        _, stderr = process.communicate(timeout=30)
    finally:
        kill_tree(process.pid)  # if it has not stopped

    lessons = only_runs(read_results(out / "results.json"))
    assert lessons[good.name]["status"] == "passed"
    if number == signal.SIGKILL:  # nobody could write any more, but what was written is whole
        assert list(lessons) == [good.name]
        wait_until(lambda: not any(map(is_alive, pids)), patience=10)
        (left,) = scratch.glob("labkit-*")
        os.utime(left / MARK, (0, 0))  # a minute is long for a test
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        run_lessons([], out=tmp_path / "next")
        assert not left.exists()
    else:
        assert process.returncode == 130
        assert "Traceback" not in stderr
        for hangs in running:
            message = "the run was interrupted in cell 2 (import os, pathlib)"
            assert lessons[hangs.name]["error"]["message"] == message
        assert lessons[waits.name]["error"]["kind"] == "interrupted"
        assert not list(scratch.glob("labkit-*"))
    assert not any(map(is_alive, pids))


def test_a_terminal_that_is_closed_ends_a_run_in_order(course: Course, tmp_path: Path) -> None:
    """The bar and the last words have nowhere to go then."""
    hangs, out = course.add("hangs", f"{NOTE_PID}\n{HANG}"), tmp_path / "out"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*course.command, "run", "--out", str(out)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        pid = pid_in(out / hangs.name)
        os.close(ours)
        assert process.wait(30) == 130
    finally:
        kill_tree(process.pid)
    assert only_runs(read_results(out / "results.json"))[hangs.name]["error"]["kind"] == "interrupted"
    assert not is_alive(pid)


def test_what_a_notebook_leaves_running_ends_with_it(course: Course, tmp_path: Path) -> None:
    """A child in a session of its own, and a daemon: the child of one that has ended."""
    note = tmp_path / "pids"
    start = "subprocess.Popen(['sleep', '600'], start_new_session=True)"
    lesson = course.add(
        "starts",
        f"import subprocess, sys, pathlib\nown = {start}",
        'code = \'import subprocess as s; print(s.Popen(["sleep", "600"], stdout=-3, start_new_session=True).pid)\'\n'
        "daemon = int(subprocess.run([sys.executable, '-c', code], stdout=-1, start_new_session=True).stdout)\n"
        f"pathlib.Path({str(note)!r}).write_text(f'{{own.pid}} {{daemon}}')",
    )
    assert run_lessons([lesson], out=tmp_path / "out")["lessons"][lesson.name]["status"] == "passed"
    own, daemon = map(int, note.read_text().split())
    assert not is_alive(own)
    assert not is_alive(daemon) or sys.platform != "linux"


# ---- folders that cannot be written ----------------------------------------------------------------------------------


def limited(size: int) -> Callable[[], None]:
    """What makes a process unable to write a file of more than ``size`` bytes: a disk that is full, for everybody."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_folder_that_fills_up_fails_the_lesson_and_leaves_whole_results(course: Course, tmp_path: Path) -> None:
    lesson = course.add("large", "x = 1", "print('x' * 100_000)", "x = 2")
    out = tmp_path / "out"
    done = subprocess.run(
        [*course.command, "run", "--out", str(out)], preexec_fn=limited(30_000), capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    error = only_runs(read_results(out / "results.json"))[lesson.name]["error"]
    assert (error["kind"], error["cell"]) == ("write", 3)
    assert error["message"].startswith(f"cannot write into {out} (File too large): make room")
    assert error["message"] in done.stdout


def test_a_folder_that_is_full_is_found_before_anything_runs(course: Course, tmp_path: Path) -> None:
    course.add("good")
    out = tmp_path / "out"
    done = subprocess.run(
        [*course.command, "run", "--out", str(out)], preexec_fn=limited(0), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: cannot write into {out} (File too large): make room")
    assert len(done.stderr.splitlines()) == 1
    assert not (out / "results.json").exists()


@pytest.mark.parametrize("out", ["a file", "a file/below"])
def test_an_output_folder_that_cannot_be_one_is_named(course: Course, tmp_path: Path, out: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(CourseError, match=r"(a file is a file: --out must be a folder|cannot write into .*below)"):
        run_lessons([course.add("good")], out=tmp_path / out)


def test_a_read_only_folder_is_named(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = course.add("good")

    def refuse(*_: Any, **__: Any) -> None:  # for root, too, who may write everywhere else
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CourseError, match=r"cannot write into .*out \(Read-only file system\)"):
        run_lessons([lesson], out=tmp_path / "out")


# ---- what cannot work is said before anything runs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "fast"}, "Unknown profile 'fast': the profiles are quick, full, paper"),
        ({"seeds": (-1,)}, "whole number from 0 to 4294967295, got -1"),
        ({"seeds": (1.5,)}, "whole number from 0 to 4294967295, got 1.5"),
        ({"seeds": (True,)}, "got True"),
        ({"seeds": (2**32,)}, "got 4294967296"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "each only once"),
        ({"jobs": 0}, "at least 1, got 0"),
        ({"timeout": 0}, "positive number of seconds, got 0"),
        ({"timeout": float("nan")}, "positive number of seconds"),
        ({"parameters": {"ratte": 1}}, "01_good has no parameter 'ratte': it has profile, seed, rate"),
        ({"parameters": {"seed": 1}}, "'seed' is set by --seeds"),
        ({"parameters": {"profile": "full"}}, "'profile' is set by --profile"),
    ],
)
def test_arguments_that_cannot_work_are_refused(course: Course, tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        run_lessons([course.add("good")], out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "has no notebook yet: make it with `labkit build 01_good`"),
        (lambda path: path.write_text('{"cells": ['), "the notebook 01_good.ipynb cannot be read"),
        (lambda path: path.write_text('{"cells": []}'), "No cell of .* sets profile and seed"),
        (lambda path: path.write_text(path.read_text().replace("seed = 0", "sed = 0")), "has no parameter 'seed'"),
        (lambda path: path.write_text(path.read_text().replace("seed = 0", "seed = (")), "Line 2 of the cell tagged"),
    ],
)
def test_a_notebook_that_cannot_take_parameters_is_refused(
    course: Course, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    lesson = course.add("good")
    spoil(course.root / "notebooks" / "01_good.ipynb")
    with pytest.raises(CourseError, match=message):
        run_lessons([lesson], out=tmp_path / "out")


def test_what_is_odd_in_a_notebook_does_no_harm_and_what_is_wrong_is_named(course: Course, tmp_path: Path) -> None:
    def spoil(topic: str, change: Callable[[dict], Any], encoding: str = "utf-8") -> None:
        path = course.root / "notebooks" / f"{course.add(topic).name}.ipynb"
        notebook = json.loads(path.read_text())
        change(notebook)
        path.write_text(json.dumps(notebook), encoding=encoding)

    spoil("mark", lambda notebook: None, "utf-8-sig")
    spoil("bare", lambda notebook: notebook["cells"][1].pop("metadata"))
    spoil("newer", lambda notebook: notebook.update(nbformat=9))
    spoil("empty", lambda notebook: notebook["cells"][1].update(outputs=None))
    runs = only_runs(run_lessons(course.lessons, out=tmp_path / "out", jobs=2))
    assert [run.get("error", {}).get("message") for run in runs.values()] == [
        None,
        None,
        "03_newer.ipynb is not a valid notebook (its nbformat is 9, and 4 is needed): mend it",
        "04_empty.ipynb is not a valid notebook (None is not of type 'array'): mend it",
    ]


# ---- what a lesson recorded is held to what was asked ----------------------------------------------------------------


def leaves(executed: Callable, *records: dict) -> Callable:
    """A child that runs nothing and leaves a notebook with these records: no error, no memory known."""

    def run_child(job: Job, *_: Any) -> tuple[None, None]:
        executed(*records, path=job.executed)
        return None, None

    return run_child


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "the lesson ran but recorded no session: does it call labkit.start?"),
        ([{"seed": 3}], "the lesson recorded the seed 3 though 0 was asked for"),
        ([{"profile": "full"}], "the lesson recorded the profile 'full' though 'quick' was asked for"),
        ([{"lesson": "02_two"}], "the lesson recorded the lesson '02_two' though '01_good' was asked for"),
    ],
)
def test_a_lesson_must_run_as_what_was_asked(
    course: Course, tmp_path: Path, executed: Callable, monkeypatch: pytest.MonkeyPatch, said: list, message: str
) -> None:
    (job,) = plan([course.add("good")], "quick", (0,), tmp_path, None, {})
    sessions = [{**SESSION, "lesson": "01_good", "profile": "quick", "seed": 0, **changes} for changes in said]
    monkeypatch.setattr(
        job_module, "_run_child", lambda job, *_: (None, executed(*sessions, path=job.executed) and None)
    )
    assert run_job(job)["error"]["message"] == message


def test_a_record_that_cannot_be_used_fails_the_lesson_and_names_the_cell(
    course: Course, tmp_path: Path, executed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan([course.add("good")], "quick", (0,), tmp_path, None, {})
    nan = {"kind": "metric", "name": "kl", "value": "nan", "unit": ""}
    monkeypatch.setattr(job_module, "_run_child", leaves(executed, nan))
    error = run_job(job)["error"]
    assert (error["kind"], error["cell"], error["source"]) == ("records", 1, "x = 1")
    assert error["message"] == "recorded in cell 1 (x = 1): the metric 'kl' as 'nan', which is not a finite number"


def test_a_child_that_cannot_start_is_a_failed_run_and_an_old_notebook_is_not_taken_for_its_own(
    course: Course, tmp_path: Path, executed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson: Lesson = course.add("good")
    (job,) = plan([lesson], "quick", (0,), tmp_path, None, {})
    executed({"kind": "metric", "name": "old", "value": 1.0, "unit": ""}, path=job.executed)
    monkeypatch.setattr(job_module.sys, "executable", "/bin/false")
    run = run_job(replace(job, timeout=30))
    assert run["metrics"] == {}
    assert run["error"]["message"] == "the process that ran the notebook ended with code 1 while the kernel started"
