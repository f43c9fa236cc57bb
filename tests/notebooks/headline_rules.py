"""What must hold between a lesson, its stored headline figures and the baseline of `full`."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from labkit.course.headlines import BYTES, MOST, metrics_sum

FIELDS = {
    "alt",
    "profile",
    "seed",
    "device",
    "threads",
    "instruction_set",
    "versions",
    "data",
    "files",
    "metrics",
    "png",
}


def asked(source: NotebookNode) -> tuple[list[str | None], list[str | None]]:
    """The headlines that a lesson shows, and those that it has shown at full; None for what is no literal name."""
    shown, at_full = [], []
    for cell in source.cells:
        for call in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                if call.func.attr == "show":
                    shown += [_literal(k.value) for k in call.keywords if k.arg == "headline"]
                elif call.func.attr == "at_full":
                    at_full += [_literal(argument) for argument in [*call.args, *(k.value for k in call.keywords)]]
    return shown, at_full


def problems(source: NotebookNode, folder: Path, recorded: Mapping[str, Any]) -> list[str]:
    """What does not fit together, one phrase each; `recorded` is what the baseline of full has of the lesson."""
    shown, at_full = asked(source)
    found = [f"{name!r} is shown twice" for name in sorted({n for n in shown if n and shown.count(n) > 1})]
    found += ["a headline is no literal name"] if None in shown + at_full else []
    found += [f"{len(shown)} headlines"] if len(shown) > MOST else []
    found += [f"at_full({name!r}) is no headline" for name in at_full if name not in shown]
    for name in sorted({path.stem for path in folder.glob("*.*") if path.suffix in (".png", ".json")}):
        found += [f"{name}: {what}" for what in _of_stored(name, shown, folder, recorded)]
    return found


def _of_stored(name: str, shown: list, folder: Path, recorded: Mapping[str, Any]) -> Iterator[str]:
    picture, about = folder / f"{name}.png", folder / f"{name}.json"
    if name not in shown:
        yield "the lesson does not show it"
    if not (picture.is_file() and about.is_file()):
        yield "picture and provenance are not both there"
        return
    content, said = picture.read_bytes(), json.loads(about.read_text(encoding="utf-8"))
    if said.keys() != FIELDS:
        yield f"its fields are {sorted(said)}"
        return
    if len(content) > BYTES:
        yield f"{len(content)} bytes"
    if hashlib.sha256(content).hexdigest() != said["png"]:
        yield "another picture than its provenance tells of"
    if said["profile"] != "full":
        yield f"made at {said['profile']}"
    if not recorded:
        yield "there is no baseline of its lesson"
        return
    yield from _against(said, recorded)


def _against(said: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[str]:
    if said["seed"] != recorded["seeds"][0]:
        yield f"seed {said['seed']}, and the baseline begins with {recorded['seeds'][0]}"
    for key in ("versions", "device", "threads", "instruction_set"):
        if said[key] != recorded[key]:
            yield f"another {key} than the baseline"
    metrics = recorded["metrics"]
    kept = all("values" in metric for metric in metrics.values())  # those of the first edition have only their spread
    if kept and said["metrics"] != metrics_sum({name: metric["values"][0] for name, metric in metrics.items()}):
        yield "from another run than the baseline"


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
