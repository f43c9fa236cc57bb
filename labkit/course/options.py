"""What the commands that run lessons take from the command line, and how it is read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from labkit import PROFILES

TIMEOUTS = {"quick": 600.0, "full": 3600.0, "paper": None}  # seconds; a lesson that takes so long hangs


class Seeds(click.ParamType):
    """Seeds written as 0, 0,2,5 or 0-4, read as a tuple of ints."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        seeds: list[int] = []
        for part in value.split(","):
            match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip(), re.ASCII)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not first <= last < first + 1000:
                self.fail(f"{value!r} is not a list of non-negative whole numbers such as 0, 0,2,5 or 0-4.", param, ctx)
            seeds += range(first, last + 1)
        return tuple(dict.fromkeys(seeds))


class _Folder(click.Path):
    """A folder; an empty name, as of a variable that is not set, would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of the folder is empty.", param, ctx)
        return super().convert(value, param, ctx)


def running(seeds: str, out: str) -> Callable:
    """The options of a command that runs lessons."""
    options = [
        click.argument("lesson", nargs=-1),
        click.option(
            "--profile",
            type=click.Choice(PROFILES),
            default="quick",
            show_default=True,
            help="Scale of the run: quick, full or paper.",
        ),
        click.option("--seeds", type=Seeds(), default=seeds, show_default=True, help="0, 0,2,5 or 0-4."),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Notebooks at a time."),
        click.option("--out", type=_Folder(path_type=Path), help=f"Output folder.  [default: {out} in the course]"),
        click.option("--timeout", type=float, help="Seconds for a lesson.  [default: 600 at quick, 3600 at full]"),
    ]

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def parameter_value(text: str) -> Any:
    """A parameter as Python reads it (0.1, 1e-3, True, None), else as the text it is."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
