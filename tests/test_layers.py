"""The wings of labkit import downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labkit"
ALLOWED = {
    "papers": ("labkit.papers",),
    "data": ("labkit.data",),
    "envs": ("labkit.envs", "labkit.data"),
    "checks": ("labkit.checks",),
    "evidence": ("labkit.evidence",),
    "exercises": ("labkit.papers", "labkit.exercises", "labkit.checks"),
    "lab": (
        *("labkit.lab", "labkit.exercises", "labkit.data", "labkit.envs"),
        *("labkit.checks", "labkit.papers", "labkit.evidence"),
    ),
    "course": ("labkit.course", "labkit.evidence"),
}


def imported(path: Path) -> set[str]:
    """What a file imports from a wing of labkit, at its top or inside a function: "labkit.checks.exercise.check"."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[:2] in [["labkit", wing] for wing in ALLOWED]}


@pytest.mark.parametrize("wing", ALLOWED)
def test_a_wing_imports_nothing_above_it(wing: str) -> None:
    files = sorted((PACKAGE / wing).glob("*.py"))
    assert files
    above = {(path.name, name) for path in files for name in imported(path) if not name.startswith(ALLOWED[wing])}
    assert not above
