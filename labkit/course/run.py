"""Run lessons side by side, each notebook in a process of its own, and gather their records in results.json."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.course.files import writing
from labkit.course.job import Watch, as_run, failure, run_job
from labkit.course.lessons import CourseError, Lesson
from labkit.course.plan import Job, plan
from labkit.course.records import SCHEMA_VERSION, write_results


def run_lessons(
    lessons: Sequence[Lesson],
    *,
    profile: str = "quick",
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    out: Path,
    timeout: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run every lesson at every seed, ``jobs`` at a time; returns what is then in ``out``/results.json.

    A lesson that fails or takes over ``timeout`` seconds is recorded as failed and the others still run. results.json
    is whole at any time and holds what has finished. ``executor`` replaces the local processes; ``watch`` hears nothing
    of it.

    Raises CourseError, before anything runs, for arguments that cannot work, and when ``out`` cannot be written;
    KeyboardInterrupt once every kernel is gone and results.json says what was interrupted.
    """
    out = Path(out).absolute()
    planned = plan(lessons, profile, seeds, out, timeout, parameters or {})
    if jobs < 1:
        raise CourseError(f"The number of jobs must be at least 1, got {jobs}.")
    done: dict[Job, dict] = {}

    def save() -> dict[str, Any]:
        results = _gather(profile, planned, done)
        write_results(out / "results.json", results)
        return results

    with _claimed(out):
        save()
        pool = executor or ThreadPoolExecutor(jobs)
        stop = threading.Event()
        extra = () if executor else (stop, watch)  # neither can travel to another process
        futures = {pool.submit(run_job, job, *extra): job for job in planned}
        try:
            for future in as_completed(futures):
                done[futures[future]] = _outcome(futures[future], future)
                save()
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures, timeout=0 if executor else None)
            done |= {job: _outcome(job, future) for future, job in futures.items()}
            save()
            raise
        finally:
            if executor is None:
                pool.shutdown()
    return _gather(profile, planned, done)


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Make ``out`` and keep other runs away from it; the lock goes when this process does, however it ends."""
    from filelock import FileLock, Timeout

    if out.exists() and not out.is_dir():
        raise CourseError(f"{out} is a file: --out must be a folder.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise CourseError(f"Another run is writing into {out}: wait for it or choose another --out.") from error
    try:
        (out / "report.html").unlink(missing_ok=True)  # of an earlier run
        yield
    finally:
        lock.release()


def _outcome(job: Job, future: Future) -> dict[str, Any]:
    """The run of a future that has finished, was cancelled, or is left to its executor."""
    if future.cancelled() or not future.done():
        return as_run(job, failure("interrupted", "the run was interrupted before this lesson had finished"))
    if (problem := future.exception()) is not None:  # an executor's worker is gone, or no process can be started
        return as_run(job, failure("process", f"the notebook could not be run: {problem!r}"))
    return future.result()


def _gather(profile: str, planned: Sequence[Job], done: Mapping[Job, dict]) -> dict[str, Any]:
    """results.json of the jobs done so far, in the order of the plan."""
    lessons: dict[str, Any] = {}
    for name in dict.fromkeys(job.lesson for job in planned):
        jobs = [job for job in planned if job.lesson == name]
        runs = [done[job] for job in jobs if job in done]
        if len(jobs) == 1 and runs:
            lessons[name] = runs[0]
        elif runs:
            passed = len(runs) == len(jobs) and all(run["status"] == "passed" for run in runs)
            seconds = round(sum(run["seconds"] for run in runs), 2)
            lessons[name] = {"status": "passed" if passed else "failed", "seconds": seconds, "runs": runs}
    return {"schema_version": SCHEMA_VERSION, "profile": profile, "lessons": lessons}
