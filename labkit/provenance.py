"""What data this process has loaded: noted by `labkit.data`, recorded beside a headline figure.

A lesson runs in a process of its own, so what is noted is what that run could have used.
"""

from __future__ import annotations

SOURCES: dict[str, str] = {}
"""The name of each data set that was loaded, and the sentence that says what it is and where it is from."""

FILES: dict[str, str] = {}
"""Each data file that was asked for, and the sha256 sum that it was checked by, or the start of it."""


def note_data(name: str, source: str) -> None:
    SOURCES[name] = source


def note_file(path: str, sha256: str) -> None:
    FILES[path] = sha256
