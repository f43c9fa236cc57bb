"""Where the learner stands in the whole course, for `labkit progress`; lessons are read, never run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from labkit.course.lessons import Lesson, notebook_path
from labkit.course.records import read_cells
from labkit.course.text import text_table
from labkit.progress import Progress, Standing


def standings(lessons: Sequence[Lesson], progress: Progress) -> tuple[dict[str, Standing], list[str]]:
    """For each lesson its exercises in the order of the notebook, predictions and active minutes; and what was wrong
    with the file, in sentences."""
    course, problems = {}, []
    for lesson in lessons:
        course[lesson.name] = progress.standing(lesson.name, exercises_of(lesson))
        problems += [progress.problem] if progress.problem else []
    return course, list(dict.fromkeys(problems))


def exercises_of(lesson: Lesson) -> list[str]:
    """The names of a lesson's exercises, in the order of its notebook. Raises RecordError if that cannot be read."""
    cells = [cell for cell in read_cells(notebook_path(lesson)) if "exercise" in cell["metadata"].get("tags", [])]
    found = [re.search(r"^def (\w+)\(", "".join(cell["source"]), re.MULTILINE) for cell in cells]
    return [match[1] for match in found if match]


def course_table(course: dict[str, Standing]) -> str:
    """A row for each lesson."""
    head = ["lesson", "solved", "others", "attempts", "hints", "solutions", "broken", "predicted", "minutes"]
    body = []
    for name, standing in course.items():
        core = [row for row in standing.rows if row.level == "core"]
        others = [row for row in standing.rows if row.level != "core"]
        right = [guess.right for guess in standing.guesses.values() if guess.right is not None]
        numbers = [sum(row.attempts for row in standing.rows), sum(row.hints for row in standing.rows)]
        numbers += [sum(row.solution for row in standing.rows), sum(row.broken for row in standing.rows)]
        body.append(
            [name, _of(core), _of(others), *map(str, numbers), f"{sum(right)}/{len(right)}", f"{standing.minutes:.0f}"]
        )
    return text_table(head, body)


def lesson_table(standing: Standing) -> str:
    """A row for each exercise of one lesson, and a sentence about its predictions."""
    body = [
        [row.exercise, row.state, str(row.attempts), str(row.hints), "yes" if row.solution else "", row.level]
        for row in standing.rows
    ]
    table = text_table(["exercise", "state", "attempts", "hints", "solution seen", "level"], body)
    return "\n\n".join(filter(None, [table, standing.predicted]))


def as_json(course: dict[str, Standing]) -> dict[str, Any]:
    """The same for a program; the fields are those of `labkit.progress`."""
    return {
        name: {
            "active_minutes": round(standing.minutes, 1),
            "exercises": {
                row.exercise: {
                    "latest": row.latest,
                    "solved": row.solved,
                    "broken": row.broken,
                    "attempts": row.attempts,
                    "hints": row.hints,
                    "solution": row.solution,
                    "level": row.level,
                }
                for row in standing.rows
            },
            "predictions": {
                key: {"guess": guess.guess, "value": guess.value, "right": guess.right}
                for key, guess in standing.guesses.items()
            },
        }
        for name, standing in course.items()
    }


def _of(rows: Sequence[Any]) -> str:
    return f"{sum(row.solved for row in rows)}/{len(rows)}" if rows else ""
