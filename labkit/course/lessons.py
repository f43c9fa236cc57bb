"""The lessons of the course, read from ``notebooks/lessons.toml``: the one list that everything else follows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import click

from labkit.course.text import plain

LEVELS = ("introductory", "intermediate", "advanced")
_LIST = Path("notebooks") / "lessons.toml"
_NAME = re.compile(r"(\d\d)_([a-z][a-z0-9_]*)")


class CourseError(click.ClickException):
    """Something the user can put right, told in one sentence; the command line prints it and exits with code 2."""

    exit_code = 2

    def format_message(self) -> str:
        return plain(self.message)


@dataclass(frozen=True)
class Lesson:
    """One entry of ``lessons.toml``; the same name is used for its notebook, method, exercises, tests and page."""

    name: str  # "01_autoencoders"
    title: str
    paper: str  # authors (year), title, identifier
    minutes: int  # a learner's time for the core of the lesson, as `labkit list --minutes` counts it, rounded up to 5
    level: str  # one of LEVELS
    data: str  # the data set(s) as a learner would call them
    teaches: str  # one line for tables and cards
    extras: tuple[str, ...] = ()  # extras of pyproject.toml that the lesson needs at `full` and `paper`
    further: int = 0  # like minutes, for what stands under "## Further"
    edition: int = 2  # 1: its form is the first edition's, without a core; tests of the new form leave it out
    root: Path | None = field(
        default=None, repr=False, compare=False
    )  # the course it was read from; None = course_root()

    @property
    def number(self) -> str:
        """The two leading digits, as in "01"."""
        return self.name[:2]

    @property
    def topic(self) -> str:
        """The name without its number, as in "autoencoders": the module in labkit.papers and labkit.exercises."""
        return self.name[3:]


# What each field of an entry must be; a list in TOML becomes a tuple in Lesson.
_TYPES: dict[str, type] = {f.name: str for f in fields(Lesson) if f.name != "root"}
_TYPES |= {"minutes": int, "extras": list, "further": int, "edition": int}


def course_root() -> Path:
    """The folder that holds ``notebooks/lessons.toml``: the package's parent, else the working folder or one above it.

    Raises CourseError when there is none.
    """
    package_parent = Path(__file__).resolve().parents[2]
    here = Path.cwd()
    for folder in (package_parent, here, *here.parents):
        if (folder / _LIST).is_file():
            return folder
    raise CourseError(f"No course found from {here} upward: go into the folder that holds {_LIST.as_posix()}.")


def load_lessons(root: Path | None = None) -> list[Lesson]:
    """All lessons of the course under ``root`` (default: course_root()), in the order of the list.

    Raises CourseError for a list that is missing, is not TOML, or has a missing, unknown, wrong or repeated entry.
    """
    root = course_root() if root is None else Path(root)
    path = root / _LIST
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"Cannot read the list of lessons {path}: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path} is not valid TOML: {error}.") from error
    entries = table.get("lesson")
    if not isinstance(entries, list) or not entries or table.keys() != {"lesson"}:
        raise CourseError(f"{path} must hold [[lesson]] tables, at least one, and nothing else.")
    lessons = [_lesson(entry, f"{path}, lesson {position}", root) for position, entry in enumerate(entries, start=1)]
    for key in ("name", "number", "topic"):
        values = [getattr(lesson, key) for lesson in lessons]
        if repeated := sorted({value for value in values if values.count(value) > 1}):
            raise CourseError(f"{path} has the {key} {repeated[0]} twice: each lesson needs its own.")
    return lessons


def select(names: Sequence[str], root: Path | None = None) -> list[Lesson]:
    """The lessons called ``names``, in the course's order, each once; no names means all of them.

    A name is "01_autoencoders", "01" or "autoencoders". Raises CourseError, with the known names, for any other.
    """
    lessons = load_lessons(root)
    known = {alias: lesson for lesson in lessons for alias in (lesson.name, lesson.number, lesson.topic)}
    if unknown := [name for name in names if name not in known]:
        everyone = ", ".join(lesson.name for lesson in lessons)
        raise CourseError(f"Unknown lesson {unknown[0]!r}: the lessons are {everyone}.")
    chosen = {known[name].name for name in names}
    return [lesson for lesson in lessons if not names or lesson.name in chosen]


def notebook_path(lesson: Lesson) -> Path:
    """The notebook that a learner opens, executed, with its outputs."""
    return _notebooks(lesson) / f"{lesson.name}.ipynb"


def source_path(lesson: Lesson) -> Path:
    """The py:percent text that an author edits; the notebook is built from it."""
    return _notebooks(lesson) / "source" / f"{lesson.name}.py"


def exercises_path(lesson: Lesson) -> Path:
    """The module with the lesson's exercises."""
    return (lesson.root or course_root()) / "labkit" / "exercises" / f"{lesson.topic}.py"


def stated_minutes(lesson: Lesson) -> str:
    """The lesson's minutes in a table: "115", or "115 + 40" where something follows the core."""
    return f"{lesson.minutes} + {lesson.further}" if lesson.further else str(lesson.minutes)


def figures_folder(lesson: Lesson) -> Path:
    """Where its diagrams lie, and the headline figures of its run at `full`."""
    return _notebooks(lesson) / "figures" / lesson.name


def readme_table(lessons: Sequence[Lesson], link: str = "notebooks/{name}.ipynb") -> str:
    """The Markdown table of the lessons in README.md; ``link`` is where a lesson's title leads, from that page."""
    head = ["lesson", "you learn", "paper", "minutes", "level", "data"]
    rows = [
        [
            f"[{lesson.number} · {lesson.title}]({link.format(name=lesson.name)})",
            lesson.teaches,
            lesson.paper,
            stated_minutes(lesson),
            lesson.level,
            lesson.data,
        ]
        for lesson in lessons
    ]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _notebooks(lesson: Lesson) -> Path:
    return (lesson.root or course_root()) / "notebooks"


def _lesson(entry: object, where: str, root: Path) -> Lesson:
    """One checked entry; ``where`` begins the sentence of an error."""
    if not isinstance(entry, dict):
        raise CourseError(f"{where}: expected a [[lesson]] table, got {entry!r}.")
    if missing := [name for name in _TYPES if name not in entry]:
        raise CourseError(f"{where}: the field {missing[0]!r} is missing.")
    if unknown := [name for name in entry if name not in _TYPES]:
        raise CourseError(f"{where}: unknown field {unknown[0]!r}; the fields are {', '.join(_TYPES)}.")
    for name, kind in _TYPES.items():
        if type(entry[name]) is not kind or entry[name] == "":  # `type is`, since True is an int for isinstance
            wanted = {str: "text", int: "a whole number", list: "a list"}[kind]
            raise CourseError(f"{where}: the field {name!r} must be {wanted}, got {entry[name]!r}.")
    if not _NAME.fullmatch(entry["name"]):
        raise CourseError(f"{where}: the name {entry['name']!r} must look like '01_autoencoders'.")
    if entry["minutes"] <= 0:
        raise CourseError(f"{where}: the field 'minutes' must be positive, got {entry['minutes']}.")
    if entry["further"] < 0:
        raise CourseError(f"{where}: the field 'further' must not be negative, got {entry['further']}.")
    if entry["edition"] not in (1, 2):
        raise CourseError(f"{where}: the field 'edition' must be 1 or 2, got {entry['edition']}.")
    if entry["level"] not in LEVELS:
        raise CourseError(f"{where}: the level {entry['level']!r} must be one of {', '.join(LEVELS)}.")
    if not all(isinstance(extra, str) for extra in entry["extras"]):
        raise CourseError(f"{where}: the field 'extras' must be a list of names, got {entry['extras']!r}.")
    return Lesson(**{**entry, "extras": tuple(entry["extras"])}, root=root)
