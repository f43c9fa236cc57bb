"""A course in a temporary folder, and notebooks as a run leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_course import Course

from labkit import RECORD_MIME


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """An empty course that labkit takes for the one it belongs to."""
    root = tmp_path / "course"
    monkeypatch.setattr("labkit.course.lessons.__file__", str(root / "labkit" / "course" / "lessons.py"))
    return Course(root)


@pytest.fixture
def executed(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook as papermill leaves it, whose last cell, `x = 1`, holds the given records."""

    def write(*records: Any, path: Path = tmp_path / "executed.ipynb", extra: Mapping[str, Any] | None = None) -> Path:
        def cell(source: str, tags: list[str], outputs: list[dict]) -> dict:
            metadata = {"tags": tags, "papermill": {"duration": 0.5}}
            return {"cell_type": "code", "source": [source], "metadata": metadata, "outputs": outputs}

        outputs = [
            {"output_type": "display_data", "data": {"text/plain": "", RECORD_MIME: record, **(extra or {})}}
            for record in records
        ]
        cells = [cell("seed = 0", ["parameters"], []), cell("seed = 1", ["injected-parameters"], [])]
        cells.append(cell("x = 1", [], outputs))
        path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
        return path

    return write
