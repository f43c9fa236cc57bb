"""Run lessons side by side, each notebook in a process of its own, and gather their records in results.json."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.course.beside import put_beside, shown_by
from labkit.course.files import writing
from labkit.course.job import Watch, as_run, failure, run_job
from labkit.course.kernel import remove_abandoned
from labkit.course.lessons import CourseError, Lesson
from labkit.course.plan import Job, plan
from labkit.course.results import Journal, Results, Run, gather


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
    finished: Callable[[Job, Run], None] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Results:
    """Run every lesson at every seed, ``jobs`` at a time; returns what is then in ``out``/results.json.

    A lesson that fails or takes over ``timeout`` seconds is recorded as failed and the others still run. What has
    finished can be read at any time, with `read_results`. ``finished`` is called with each. ``executor`` replaces the
    local processes; ``watch`` hears nothing of it. ``seconds``, how long lessons usually take, has the longest begin
    first, so that none is left for the end.

    Raises CourseError, before anything runs, for arguments that cannot work, and when ``out`` cannot be written;
    KeyboardInterrupt once every kernel is gone and results.json says what was interrupted.
    """
    out = Path(out).absolute()
    planned = plan(lessons, profile, seeds, out, timeout, parameters or {})
    if jobs < 1:
        raise CourseError(f"The number of jobs must be at least 1, got {jobs}.")
    done: dict[Job, Run] = {}
    seeds_of = {lesson.name: list(seeds) for lesson in lessons}

    def gathered() -> Results:
        return gather(profile, seeds_of, ((job.lesson, run) for job, run in done.items()), parameters)

    remove_abandoned()
    with _claimed(out):
        put_beside(shown_by(lessons), out)
        journal = Journal(out, gathered())
        pool = executor or ThreadPoolExecutor(jobs)
        stop = threading.Event()
        extra = () if executor else (stop, watch)  # neither can travel to another process
        longest_first = sorted(planned, key=lambda job: -(seconds or {}).get(job.lesson, 0))
        futures: dict[Future, Job] = {}
        try:
            for job in longest_first:
                futures[pool.submit(run_job, job, *extra)] = job
            for future in as_completed(futures):
                job = futures[future]
                done[job] = _outcome(job, future)
                journal.append(job.lesson, done[job])
                if finished is not None:
                    finished(job, done[job])
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures, timeout=0 if executor else None)
            submitted = {job: future for future, job in futures.items()}
            done |= {job: _outcome(job, submitted.get(job, Future())) for job in planned}
            raise
        finally:
            if executor is None:
                pool.shutdown()
            journal.end(gathered())
    return gathered()


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


def _outcome(job: Job, future: Future) -> Run:
    """The run of a future that has finished, was cancelled, or is left to its executor."""
    if future.cancelled() or not future.done():
        return as_run(job, failure("interrupted", "the run was interrupted before this lesson had finished"))
    if (problem := future.exception()) is not None:  # an executor's worker is gone, or no process can be started
        return as_run(job, failure("process", f"the notebook could not be run: {problem!r}"))
    return future.result()
