"""Run one notebook in a child process, end it when it must end, and say in one record what came of it."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from labkit.course.files import cannot_write, unfinished
from labkit.course.kernel import has_home, kernel_env, kill_tree, scratch_folder
from labkit.course.plan import Job
from labkit.course.records import NOTHING, RecordError, read_records, where
from labkit.course.results import Failure, Run
from labkit.course.text import plain

TICK = 0.05  # seconds between two looks at a running child

Watch = Callable[[Job, dict | None], None]
"""Called with the cell that a job begins, {"cell", "cells", "source"}, and with None when the job is over."""


def run_job(job: Job, stop: threading.Event | None = None, watch: Watch | None = None) -> Run:
    """Run one notebook and read what it recorded, in the form of results.json; nothing the notebook does raises here.

    ``stop``, once set, ends the job. A plain function of a plain value, so that any Executor can run it.
    """
    started = time.monotonic()
    own_folder = job.executed.with_suffix("")
    try:
        # Of an earlier run: it must not be taken for this one's. That it is one, plan() has seen to.
        job.executed.unlink(missing_ok=True)
        own_folder.mkdir(exist_ok=True)
    except OSError as problem:
        return as_run(job, failure("write", cannot_write(job.executed.parent, problem)))
    error, peak_memory = _run_child(job, own_folder, stop or threading.Event(), watch)
    with contextlib.suppress(OSError):
        unfinished(job.executed).unlink(missing_ok=True)
        own_folder.rmdir()  # if nothing is in it
    run = _read(job, error)
    if watch is not None:
        watch(job, None)
    return {**run, "seconds": round(time.monotonic() - started, 2), "peak_memory": peak_memory}


def failure(kind: str, message: str, said: Mapping[str, Any] | None = None, traceback: str = "") -> Failure:
    """The `error` of a failed run; ``said`` is what the child last said about the cell it was in."""
    said = said or {"cell": None, "source": ""}
    return {"kind": kind, "cell": said["cell"], "source": said["source"], "message": message, "traceback": traceback}


def as_run(job: Job, error: Failure | None, records: Mapping[str, Any] = NOTHING) -> Run:
    """A run in the form of results.json, its seconds still 0."""
    session = records["session"] or {"device": None, "threads": None, "instruction_set": None, "versions": {}}
    return {
        "status": "failed" if error else "passed",
        "seconds": 0.0,
        "cell_seconds": records["cell_seconds"],
        "peak_memory": None,
        "profile": job.profile,
        "seed": job.seed,
        **{key: session[key] for key in ("device", "threads", "instruction_set", "versions")},
        **{key: records[key] for key in ("config", "metrics", "claims", "exercises")},
        "figures": len(records["figures"]),
        "notebook": job.executed.name,
        **({"error": error} if error else {}),
    }


def _run_child(
    job: Job, own_folder: Path, stop: threading.Event, watch: Watch | None
) -> tuple[Failure | None, float | None]:
    """Run the notebook; returns the error, None if all cells ran, and the kernel's peak memory in MB, if known.

    No process of it is left afterwards.
    """
    with scratch_folder("labkit-") as scratch:
        # The user's start-up files must not change what a lesson does, and a run writes into its own folder only.
        own = {"IPYTHONDIR": str(scratch), "JUPYTER_RUNTIME_DIR": str(scratch)}
        if not has_home():
            own["HOME"] = str(scratch)  # Jupyter does not start without one
        env = {**kernel_env(), **own, "LABKIT_BATCH": "1", "LABKIT_OUT": str(own_folder)}
        paths = [str(job.notebook), str(job.executed)]
        # -P: a random.py in the working folder is not the standard library's
        command = [sys.executable, "-P", "-m", "labkit.course.execute", *paths, json.dumps(dict(job.parameters))]
        with open(scratch / "stderr.txt", "w+", encoding="utf-8", errors="replace") as stderr:
            child = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone, and we end the child
            )
            said: dict[str, Any] = {"cell": None, "source": ""}
            reader = threading.Thread(target=_follow, args=(job, child.stdout, said, watch), daemon=True)
            reader.start()
            try:
                ended = _wait(child, job.timeout, stop)
            finally:
                kill_tree(child.pid)
                child.wait()
                reader.join()
            stderr.seek(0)
            error = _diagnose(job, ended, child.returncode, said, plain(stderr.read())[-10_000:])
            return error, said.get("peak_memory")


def _follow(job: Job, stdout: IO[str], said: dict[str, Any], watch: Watch | None) -> None:
    """Keep in ``said`` what the child last said, until its stdout is closed."""
    with stdout:
        for line in stdout:
            message = json.loads(line)
            said.update(message)
            if watch is not None and "cell" in message:
                watch(job, message)


def _wait(child: subprocess.Popen, timeout: float | None, stop: threading.Event) -> str:
    """Wait for the child; returns "done", or "timeout" or "interrupted" while it still runs."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while child.poll() is None:
        if time.monotonic() > deadline:
            return "timeout"
        if stop.wait(TICK):
            return "interrupted"
    return "done"


def _diagnose(job: Job, ended: str, code: int, said: Mapping[str, Any], stderr: str) -> Failure | None:
    """The error of a child that has ended, None if all cells ran."""
    place = where(said["cell"], said["source"])
    if ended == "timeout":
        message = f"the time limit of {job.timeout:g} s ran out {place}: mend it or raise --timeout"
        return failure("timeout", message, said)
    if ended == "interrupted":
        return failure("interrupted", f"the run was interrupted {place}", said)
    if "error" in said:
        error = said["error"]
        return {**error, "traceback": stderr} if error["kind"] == "dead kernel" else error  # its last words, if any
    if code != 0:
        return failure("process", f"the process that ran the notebook ended with code {code} {place}", said, stderr)
    return None


def _read(job: Job, error: Failure | None) -> Run:
    """The run with what its notebook recorded, as far as it came."""
    records = NOTHING
    try:
        records = read_records(job.executed)
        if error is None:
            _check_session(job, records["session"])
    except RecordError as problem:
        # A run that failed may have left its notebook half written, and already has its reason.
        error = error or failure("records", str(problem), problem.place)
    return as_run(job, error, records)


def _check_session(job: Job, session: Mapping[str, Any] | None) -> None:
    """RecordError unless the lesson ran as what it was asked to be."""
    if session is None:
        raise RecordError("the lesson ran but recorded no session: does it call labkit.start?")
    for key in ("lesson", "profile", "seed"):
        if session[key] != getattr(job, key):
            asked = getattr(job, key)
            raise RecordError(f"the lesson recorded the {key} {session[key]!r} though {asked!r} was asked for")
