"""What there is to read in a text or a code cell, and what an exercise takes: the parts of `labkit.course.minutes`."""

from __future__ import annotations

import ast
import re

from labkit.course.lessons import CourseError, Lesson, exercises_path

INLINE, DISPLAYED = 1, 10  # words that a formula counts as
KEPT = {"record", "record_all", "claim", "tell", "show", "reveal"}  # methods of the lab that are bookkeeping

_FORMULAS = ((re.compile(r"\$\$.*?\$\$", re.DOTALL), DISPLAYED), (re.compile(r"(?<!\\)\$[^$]+?\$"), INLINE))
_MARKUP = (
    (re.compile(r"!\[.*?\]\(.*?\)", re.DOTALL), " "),  # an image, with its alt text
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),  # of a link its text
    (re.compile(r"<!--.*?-->|</?[a-zA-Z][^>]*>", re.DOTALL), " "),
)


def words(text: str) -> int:
    """The words of a Markdown text as one reads it: what holds a letter or a digit, between blanks.

    An inline formula counts as one word, a displayed one as ten; addresses, tags and alt texts count as none.
    """
    for pattern, count in _FORMULAS:
        text = pattern.sub(" ".join(["formula"] * count), text)
    for pattern, shown in _MARKUP:
        text = pattern.sub(shown, text)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def code_lines(source: str) -> set[int]:
    """The numbers, from 1, of the lines that hold more than blanks or a comment."""
    lines = enumerate(map(str.strip, source.splitlines()), start=1)
    return {number for number, line in lines if line and not line.startswith("#")}


def bookkeeping_lines(source: str) -> set[int]:
    """The numbers of the lines that statements such as `lab.record(...)` span; SyntaxError for what is not Python."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_bookkeeping(node.value.func)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def exercise_minutes(lesson: Lesson) -> dict[str, int]:
    """The minutes that each exercise of labkit/exercises/TOPIC.py declares, by the exercise's name.

    They are read from the text of the module, because to import it would import torch. Raises CourseError when it
    cannot be read or an exercise does not give both as plain values.
    """
    path = exercises_path(lesson)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"Cannot read the exercises in {path}: {error.strerror}.") from error
    except SyntaxError as error:
        raise CourseError(f"Cannot read the exercises in {path}: {error.msg}.") from error
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Exercise":
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if not {"name", "minutes"} <= given.keys():
                raise CourseError(f"{path.name}, line {node.lineno}: an exercise must say its name and its minutes.")
            found[given["name"]] = given["minutes"]
    return found


def _is_bookkeeping(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr in KEPT
        and isinstance(called.value, ast.Name)
        and called.value.id == "lab"
    )
