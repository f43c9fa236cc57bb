"""Write files so that there is the old one or the whole new one, never half of one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.course.lessons import CourseError

ELSEWHERE = ", or choose another folder with --out"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` beside ``path`` and rename: there is the old file or the whole new one, never half of one.

    Raises CourseError when the folder cannot be written or is full, ValueError for NaN and infinities.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str, otherwise: str = ELSEWHERE) -> None:
    """Like write_json, for text."""
    write_bytes(path, text.encode(), otherwise)


def write_bytes(path: Path, content: bytes, otherwise: str = ELSEWHERE) -> None:
    """Like write_json, for anything."""
    with writing(path.parent, otherwise):
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        os.chmod(beside, 0o644)  # mkstemp makes it the user's alone
        replace(path, content, Path(beside))


def unfinished(path: Path) -> Path:
    """Where a notebook is written before it replaces the one at `path`."""
    return path.with_name(f".{path.name}.part")


def replace(path: Path, content: bytes, beside: Path, sync: bool = True) -> None:
    """Write the content to `beside`, of which nothing is left, and rename that. Raises OSError.

    `sync` has it on the disk before, for what must outlive a power cut.
    """
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)  # gone already if an interrupt came just after the renaming
        raise


@contextlib.contextmanager
def writing(folder: Path, otherwise: str = ELSEWHERE) -> Iterator[None]:
    """Turn a failure to write into ``folder`` into a CourseError that says what to do."""
    try:
        yield
    except OSError as error:
        raise CourseError(f"{cannot_write(folder, error, otherwise)}.") from error


def cannot_write(folder: Path, error: OSError, otherwise: str = ELSEWHERE) -> str:
    """The sentence for a folder that cannot be written, without a full stop."""
    reason = error.strerror or error
    return f"cannot write into {folder} ({reason}): make room or unlock it{otherwise}"
