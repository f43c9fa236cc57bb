"""Results of lessons that somebody else executed, from the files that their sessions wrote into LABKIT_RECORDS.

nbval runs every stored notebook anyway; what it recorded need not be computed a second time to be verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labkit.course.job import as_run, failure
from labkit.course.lessons import CourseError, Lesson, notebook_path
from labkit.course.plan import Job
from labkit.course.records import RecordError, read_recorded
from labkit.course.results import Results, Run, gather


def collect(folder: Path, lessons: Sequence[Lesson], profile: str = "quick", seed: int = 0) -> Results:
    """The results of `lessons` at one seed; a lesson without a file in `folder` is planned and missing.

    Raises CourseError when there is no such folder.
    """
    if not folder.is_dir():
        raise CourseError(
            f"There are no records at {folder}: execute the notebooks with LABKIT_RECORDS={folder} first."
        )
    runs: list[tuple[str, Run]] = []
    for lesson in lessons:
        file = folder / f"{lesson.name}-{profile}-{seed}.jsonl"
        if file.exists():
            runs.append((lesson.name, _run(file, _job(lesson, profile, seed))))
    return gather(profile, {lesson.name: [seed] for lesson in lessons}, runs)


def _run(file: Path, job: Job) -> Run:
    try:
        records = read_recorded(file)
    except RecordError as problem:
        return {**as_run(job, failure("records", str(problem))), "notebook": None}
    return {**as_run(job, None, records), "notebook": None}


def _job(lesson: Lesson, profile: str, seed: int) -> Job:
    """The job that the session was, as far as `as_run` asks."""
    notebook = notebook_path(lesson)
    return Job(lesson.name, profile, seed, notebook, notebook, {}, None)
