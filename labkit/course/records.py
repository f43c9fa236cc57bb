"""What an executed notebook recorded, and results.json, into which `labkit run` gathers it.

The format of both is ``results.schema.json`` beside this module.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labkit import RECORD_MIME
from labkit.course.files import write_json, write_text
from labkit.course.lessons import CourseError

__all__ = [
    "NOTHING",
    "SCHEMA_VERSION",
    "RecordError",
    "added_by_papermill",
    "cell_name",
    "first_lines",
    "read_cells",
    "read_records",
    "read_results",
    "runs_of",
    "where",
    "write_json",
    "write_results",
    "write_text",
]

SCHEMA_VERSION = 1

_FIELDS = {  # what is kept of each kind of record; the schema says what it must be
    "session": ("lesson", "profile", "seed", "device", "threads", "versions"),
    "config": ("values",),
    "metric": ("value", "unit"),
    "claim": ("text", "holds", "evidence", "source", "reason"),
    "exercise": ("outcome", "checks", "passed", "mistake"),
    "figure": ("alt",),
}


NOTHING: Mapping[str, Any] = MappingProxyType(
    {"session": None, "config": {}, "metrics": {}, "claims": [], "exercises": {}, "figures": [], "cell_seconds": 0.0}
)
"""What read_records returns for a notebook that recorded nothing."""


class RecordError(ValueError):
    """What a notebook recorded cannot be used; the message is one sentence, ``place`` the cell if it is a cell's."""

    def __init__(self, message: str, place: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.place = place  # {"cell": number, "source": first lines}


def read_records(notebook: Path) -> dict[str, Any]:
    """Everything recorded in an executed notebook.

    Returns {session: dict or None, config: dict, metrics: {name: {value, unit}}, claims: [dict], exercises:
    {name: dict}, figures: [{alt, png}], cell_seconds: float}; png is base64 text, or None.

    Raises RecordError when the notebook cannot be read or a record in it is malformed.
    """
    cells = read_cells(notebook)
    records = copy.deepcopy(dict(NOTHING))
    durations = [cell["metadata"].get("papermill", {}).get("duration") for cell in cells]
    records["cell_seconds"] = round(sum(filter(None, durations)), 3)
    for position, cell in enumerate(cell for cell in cells if not added_by_papermill(cell)):
        for output in cell.get("outputs", []):
            if RECORD_MIME in output.get("data", {}):
                try:
                    _add(records, output["data"][RECORD_MIME], output["data"])
                except ValueError as error:
                    source = first_lines("".join(cell["source"]))
                    message = f"recorded {where(position, source)}: {error}"
                    raise RecordError(message, {"cell": position, "source": source}) from error
    return records


def read_cells(notebook: Path) -> list[dict]:
    """The cells of a notebook on disk; RecordError when it is missing, cut off, or no notebook."""
    try:
        return json.loads(notebook.read_text(encoding="utf-8"), parse_constant=str)["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the notebook {notebook.name} cannot be read: {error}") from error


def _add(records: dict[str, Any], payload: Any, data: Mapping[str, Any]) -> None:
    """File one payload into ``records``; ValueError says what is wrong with it."""
    kind = payload.get("kind") if isinstance(payload, dict) else None
    if kind not in _FIELDS:
        raise ValueError(f"something of an unknown kind, {kind!r}; the kinds are {', '.join(_FIELDS)}")
    name = payload.get("name")
    if kind == "metric" and not _finite(payload.get("value")):
        raise ValueError(f"the metric {name!r} as {payload.get('value')!r}, which is not a finite number")
    try:
        _checker(f"record_{kind}")(payload)
    except ValueError as error:
        label = f"a {kind}" if name is None else f"the {kind} {name!r}"
        raise ValueError(f"{label} that is malformed: {str(error).removeprefix('data.')}") from error
    kept = {key: payload[key] for key in _FIELDS[kind]}
    match kind:
        case "session":
            records["session"] = kept
        case "config":
            records["config"] = kept["values"]
        case "metric" if name in records["metrics"]:
            raise ValueError(f"the metric {name!r} a second time: each needs a name of its own")
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
    return bool({"injected-parameters", "papermill-error-cell-tag"} & set(cell["metadata"].get("tags", [])))


def first_lines(source: str, count: int = 3) -> str:
    """The first lines of a cell that say something."""
    return "\n".join([line for line in source.splitlines() if line.strip()][:count])


def cell_name(position: int, source: str) -> str:
    """How a sentence names a cell: its number, from 0, and its first line."""
    return f"cell {position} ({source.partition(chr(10))[0][:80]})"


def where(position: int | None, source: str) -> str:
    """In which cell something happened; None is the time before the first cell."""
    return "while the kernel started" if position is None else f"in {cell_name(position, source)}"


def runs_of(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs of one lesson in results.json: a lesson that ran at one seed is its own run."""
    return entry.get("runs", [entry])


def read_results(path: Path) -> dict[str, Any]:
    """A results.json that `labkit run` wrote. Raises CourseError when there is none or it is none."""
    if not path.is_file():
        raise CourseError(f"There are no results at {path}: run `labkit run` first, or name another file.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        _checker()(results)
    except (OSError, ValueError) as error:
        message = f"{path} does not hold results of version {SCHEMA_VERSION} ({error}): run `labkit run` again."
        raise CourseError(message) from error
    return results


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Check ``results`` against the schema and write them. Raises ValueError, and CourseError as write_json does."""
    _checker()(results)
    write_json(path, results)


@cache
def _checker(definition: str | None = None) -> Any:
    """The compiled schema, or one of its definitions: a function that raises a ValueError naming what is wrong."""
    import fastjsonschema  # jsonschema itself takes over a second to import

    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))
    if definition is not None:
        schema = {"definitions": schema["definitions"], "$ref": f"#/definitions/{definition}"}
    return fastjsonschema.compile(schema)
