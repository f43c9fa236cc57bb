"""Headline figures: what a run at `full` showed, stored for those who run the lesson at `quick`.

`notebooks/figures/LESSON/NAME.png` is the figure and `NAME.json` beside it says what it shows and what it was made
from; docs/records.md has the fields. `labkit baseline --profile full` and `labkit figures` store them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit

FOLDER = Path(labkit.__file__).parent.parent / "notebooks" / "figures"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Headline:
    """A stored figure."""

    png: bytes
    about: dict[str, Any]

    @property
    def caption(self) -> str:
        """One line: at which profile and seed it was made, and from which data."""
        data = " ".join(self.about["data"].values())
        return f"The same at `{self.about['profile']}`, seed {self.about['seed']}." + (f" Data: {data}" if data else "")


def check_name(name: object) -> None:
    """Raise ValueError unless it is a name such as "roc-by-digit"."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a headline is named by lower-case letters, digits and single hyphens, not {name!r}")


def load(lesson: str, name: str, folder: Path | None = None) -> Headline | None:
    """The figure of that name, None where none is stored. Raises ValueError, in one sentence, for a damaged one."""
    check_name(name)
    png = (folder or FOLDER) / lesson / f"{name}.png"
    about = png.with_suffix(".json")
    if not png.exists() and not about.exists():
        return None
    try:
        headline = Headline(png.read_bytes(), json.loads(about.read_text(encoding="utf-8")))
        if not (isinstance(headline.about["alt"], str) and headline.png.startswith(b"\x89PNG")):
            raise ValueError("no figure with alt text")
        headline.caption  # noqa: B018  what it says must be there
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise ValueError(
            f"The stored figure {png} is damaged ({reason}): store it again with `labkit figures`."
        ) from error
    return headline
