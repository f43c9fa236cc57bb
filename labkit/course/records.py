"""What a lesson recorded, read from its executed notebook or from the file that its session was told to write.

The format is `results.schema.json` beside this module.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labkit import RECORD_MIME
from labkit.course.results import checker

_FIELDS = {  # what is kept of each kind of record; the schema says what it must be
    "session": ("lesson", "profile", "seed", "device", "threads", "instruction_set", "versions"),
    "config": ("values",),
    "metric": ("value", "unit"),
    "claim": ("text", "holds", "evidence", "source", "reason"),
    "exercise": ("outcome", "checks", "passed", "mistake"),
    "figure": ("alt", "headline", "data", "files"),
}


NOTHING: Mapping[str, Any] = MappingProxyType(
    {"session": None, "config": {}, "metrics": {}, "claims": [], "exercises": {}, "figures": [], "cell_seconds": []}
)
"""What read_records returns for a notebook that recorded nothing."""


class RecordError(ValueError):
    """What a notebook recorded cannot be used; the message is one sentence, ``place`` the cell if it is a cell's."""

    def __init__(self, message: str, place: Mapping[str, Any] | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.place = place  # {"cell": number, "source": first lines}
        self.reason = reason  # why a file cannot be read


def read_records(notebook: Path) -> dict[str, Any]:
    """Everything recorded in an executed notebook.

    Returns {session: dict or None, config: dict, metrics: {name: {value, unit}}, claims: [dict], exercises:
    {name: dict}, figures: [{alt, png}], cell_seconds: [float or None]}; png is base64 text, or None, and a headline
    figure has headline, data and files as well. A cell without seconds holds no code, or was not reached.

    Raises RecordError when the notebook cannot be read or a record in it is malformed.
    """
    cells = read_cells(notebook)
    records = copy.deepcopy(dict(NOTHING))
    for position, cell in enumerate(cell for cell in cells if not added_by_papermill(cell)):
        seconds = cell["metadata"].get("papermill", {}).get("duration") if cell["cell_type"] == "code" else None
        records["cell_seconds"].append(None if seconds is None else round(seconds, 3))
        for output in cell.get("outputs", []):
            if RECORD_MIME in output.get("data", {}):
                try:
                    _add(records, output["data"][RECORD_MIME], output["data"])
                except ValueError as error:
                    source = first_lines("".join(cell["source"]))
                    message = f"recorded {where(position, source)}: {error}"
                    raise RecordError(message, {"cell": position, "source": source}) from error
    return records


def read_recorded(path: Path) -> dict[str, Any]:
    """Like read_records, of the file that a session wrote because LABKIT_RECORDS asked for it: one record a line."""
    records = copy.deepcopy(dict(NOTHING))
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                _add(records, json.loads(line, parse_constant=str), {})
            except ValueError as error:
                raise RecordError(f"line {number} of {path.name} holds {error}") from error
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read: {error}") from error
    return records


def read_cells(notebook: Path) -> list[dict]:
    """The cells of a notebook on disk; RecordError when it is missing, cut off, or no notebook."""
    return read_json(notebook)["cells"]


def read_json(notebook: Path) -> dict[str, Any]:
    """A notebook on disk, with or without a byte order mark, each cell with its metadata, be they empty.

    Raises RecordError, which tells of a merge conflict by its line, when it is missing, cut off, or no notebook.
    """
    text = ""
    try:
        text = notebook.read_text(encoding="utf-8-sig")
        stored = json.loads(text, parse_constant=str)
        for cell in stored["cells"]:
            cell["metadata"] = cell.get("metadata") or {}
            "".join(cell["source"]), cell["cell_type"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = _reason(text, error)
        raise RecordError(f"the notebook {notebook.name} cannot be read ({reason})", reason=reason) from error
    return stored


def _reason(text: str, error: Exception) -> str:
    """Why a notebook with this text cannot be read."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    conflict = [n for n, line in enumerate(text.splitlines(), start=1) if line.startswith(("<<<<<<< ", ">>>>>>> "))]
    if conflict:
        return f"line {conflict[0]} is the mark of a merge conflict"
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}; nbformat 4 or later is needed"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _add(records: dict[str, Any], payload: Any, data: Mapping[str, Any]) -> None:
    """File one payload into ``records``; ValueError says what is wrong with it."""
    kind = payload.get("kind") if isinstance(payload, dict) else None
    if kind not in _FIELDS:
        raise ValueError(f"something of an unknown kind, {kind!r}; the kinds are {', '.join(_FIELDS)}")
    name = payload.get("name")
    if kind == "metric" and not _finite(payload.get("value")):
        raise ValueError(f"the metric {name!r} as {payload.get('value')!r}, which is not a finite number")
    try:
        checker(f"record_{kind}")(payload)
    except ValueError as error:
        label = f"a {kind}" if name is None else f"the {kind} {name!r}"
        raise ValueError(f"{label} that is malformed: {str(error).removeprefix('data.')}") from error
    kept = {key: payload[key] for key in _FIELDS[kind] if key in payload}
    match kind:
        case "session":
            records["session"] = kept
        case "config":
            records["config"] = kept["values"]
        case "metric":
            records["metrics"][name] = kept
        case "claim":
            records["claims"] = [claim for claim in records["claims"] if claim["text"] != kept["text"]] + [kept]
        case "exercise":
            records["exercises"][name] = kept
        case "figure":
            png = data.get("image/png")
            records["figures"].append({**kept, "png": "".join(png) if png else None})


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def added_by_papermill(cell: Mapping[str, Any]) -> bool:
    """Whether papermill put this cell into the lesson: the parameters of the run, or a note about an error."""
    return bool({"injected-parameters", "papermill-error-cell-tag"} & set(cell["metadata"].get("tags") or []))


def first_lines(source: str, count: int = 3) -> str:
    """The first lines of a cell that say something."""
    return "\n".join([line for line in source.splitlines() if line.strip()][:count])


def cell_name(position: int, source: str) -> str:
    """How a sentence names a cell: its number, from 0, and its first line."""
    return f"cell {position} ({source.partition(chr(10))[0][:80]})"


def where(position: int | None, source: str) -> str:
    """In which cell something happened; None is the time before the first cell."""
    return "while the kernel started" if position is None else f"in {cell_name(position, source)}"
