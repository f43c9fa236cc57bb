"""The learner's own copies of the lessons, in ``work/``: made, brought up to the present edition, begun afresh.

The course never writes into a copy without keeping what was there in ``work/backups/``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nbformat import NotebookNode

from labkit.course.copies import Unreadable, bring_files, claimed, content_of, copy_path, keep, parsed, short, write
from labkit.course.editions import edition_of, fresh, is_of, with_ids, without_outputs
from labkit.course.lessons import CourseError, Lesson, notebook_path
from labkit.course.matching import exercise_name, match, text_of
from labkit.course.merge import Merged, merge

RELOAD = "A lesson that is open in JupyterLab is reloaded there by File > Reload Notebook from Disk."


@dataclass
class Update:
    """What update() has done."""

    new: list[Lesson] = field(default_factory=list)
    taken_over: dict[Lesson, Merged] = field(default_factory=dict)  # new copies of lessons worked on in notebooks/
    updated: dict[Lesson, Merged] = field(default_factory=dict)
    unchanged: list[Lesson] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # sentences; the copy is as it was

    def __str__(self) -> str:
        """A few lines for the learner."""
        return "\n".join(_lines(self))


def update(lessons: Sequence[Lesson]) -> Update:
    """Make the copies that are missing and bring the others up to the present edition; see labkit.course.merge.

    A copy that cannot be read stays as it is. Raises CourseError when ``work/`` cannot be written or a lesson is
    missing.
    """
    done = Update()
    with claimed(lessons):
        for lesson in lessons:
            edition = edition_of(lesson)
            bring_files(lesson, edition)
            try:
                _update(lesson, edition, done)
            except Unreadable as problem:
                done.problems.append(str(problem))
    return done


def reset_lesson(lesson: Lesson) -> str:
    """Replace the learner's copy by a fresh one; returns a sentence that names the backup."""
    with claimed([lesson]):
        path = copy_path(lesson)
        backup = keep(lesson, path.name, content_of(path)) if path.exists() else None
        write(path, fresh(edition_of(lesson)))
    return f"{short(path)} begins afresh." + (f" As it was: {short(backup)}\n{RELOAD}" if backup else "")


def reset_exercise(lesson: Lesson, name: str) -> str:
    """Give the copy the exercise's stub again; returns a sentence that names the backup of the cell.

    Raises CourseError, with a suggestion, for a name that is no exercise of the lesson, and for a copy that is missing
    or cannot be read. A stub whose cell is gone comes back behind the cell of the lesson that it follows.
    """
    edition, path = edition_of(lesson), copy_path(lesson)
    known = {exercise: place for place, cell in enumerate(edition.cells) if (exercise := exercise_name(cell))}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}."
        raise CourseError(f"{lesson.name} has no exercise {name!r}: {hint}")
    if not path.exists():
        raise CourseError(f"{short(path)} does not exist yet: make it with `labkit update`.")
    with claimed([lesson]):
        copy, stub = parsed(path, content_of(path)), without_outputs(edition).cells[known[name]]
        places = {there: here for here, there in match(copy.cells, edition.cells).items()}
        if known[name] not in places:
            before = [places[there] for there in places if there < known[name]]
            copy.cells.insert(max(before, default=-1) + 1, stub)
            said = f"The stub of {name} is back in {short(path)}."
        elif text_of(copy.cells[places[known[name]]]) == text_of(stub):
            return f"{name} in {short(path)} is an untouched stub already."
        else:
            backup = keep(lesson, f"{lesson.name}-{name}.py", copy.cells[places[known[name]]].source.encode())
            copy.cells[places[known[name]]] = stub
            said = f"{name} in {short(path)} is a stub again. Your cell as it was: {short(backup)}"
        with_ids(copy.cells)
        write(path, copy)
    return f"{said}\n{RELOAD}"


def _update(lesson: Lesson, edition: NotebookNode, done: Update) -> None:
    """Make or bring up to date one copy, and note it in ``done``."""
    path = copy_path(lesson)
    if not path.exists():
        merged = _worked_on(lesson, edition, done)
        write(path, merged.notebook)
        if merged.learner:
            done.taken_over[lesson] = merged
        else:
            done.new.append(lesson)
        return
    before = content_of(path)
    copy = parsed(path, before)
    if is_of(copy, edition):
        done.unchanged.append(lesson)
        return
    merged = merge(copy, edition)
    keep(lesson, path.name, before)
    write(path, merged.notebook)
    done.updated[lesson] = merged


def _worked_on(lesson: Lesson, edition: NotebookNode, done: Update) -> Merged:
    """A first copy, with what somebody wrote into notebooks/ before there were copies."""
    path = notebook_path(lesson)
    try:
        merged = merge(without_outputs(parsed(path, content_of(path))), edition) if path.exists() else None
    except Unreadable as problem:
        done.problems.append(
            f"{short(path)} {problem.reason}, so nothing was taken over from it: to have that, mend it, move "
            f"{short(copy_path(lesson))} away and call `labkit update`."
        )
        merged = None
    return merged if merged is not None and merged.learner else Merged(fresh(edition))


def _lines(done: Update) -> Iterator[str]:
    if done.new:
        yield f"{_count(len(done.new), 'new copy', 'new copies')} in work/: {_numbers(done.new)}."
    if done.unchanged:
        are = "is" if len(done.unchanged) == 1 else "are"
        yield f"{_count(len(done.unchanged), 'copy', 'copies')} in work/ {are} up to date: {_numbers(done.unchanged)}."
    for lesson, merged in done.taken_over.items():
        whence = f"taken over from {short(notebook_path(lesson))}, which stays as it is"
        yield f"{lesson.number} is a new copy: {_kept(merged)} {whence}{_moved(merged)}."
    for lesson, merged in done.updated.items():
        yield f"{lesson.number} brought up to date: {_kept(merged)} kept{_moved(merged)}."
    if done.updated:
        yield f"The copies as they were lie in work/backups/. {RELOAD}"


def _kept(merged: Merged) -> str:
    """What of the learner's stands where it stood, in words."""
    answers, own = _count(len(merged.answers), "answer", "answers"), _count(merged.own, "own cell", "own cells")
    if merged.edited:
        return f"{answers}, {own} and {_count(merged.edited, 'changed cell', 'changed cells')}"
    return f"{answers} and {own}"


def _moved(merged: Merged) -> str:
    """What of the learner's stands elsewhere, as the end of a sentence."""
    beside = f"; {_count(merged.beside, 'cell', 'cells')} that the lesson changes, too, below the new version"
    unplaced = f"; {_count(merged.unplaced, 'cell', 'cells')} that the lesson has no place for at the end"
    return beside * bool(merged.beside) + unplaced * bool(merged.unplaced)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _numbers(lessons: Sequence[Lesson]) -> str:
    return ", ".join(lesson.number for lesson in lessons)
