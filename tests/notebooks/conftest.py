"""Every test here runs once for each lesson in notebooks/lessons.toml: a new lesson is held to it without new tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from labkit.course.baselines import load_baseline
from labkit.course.lessons import Lesson, load_lessons, notebook_path
from labkit.course.minutes import Size, measure
from labkit.course.source import read_source

LESSONS = load_lessons()


@pytest.fixture(params=LESSONS, ids=[lesson.name for lesson in LESSONS])
def lesson(request: pytest.FixtureRequest) -> Lesson:
    return request.param


read_once = cache(read_source)  # a tenth of a second for each of a hundred tests


measure_once = cache(measure)


@pytest.fixture
def counted(lesson: Lesson) -> Size:
    """The lesson by the measure of the course."""
    return measure_once(lesson)


@pytest.fixture
def source(lesson: Lesson) -> NotebookNode:
    """The lesson as its author wrote it, the same object for all tests: not to be changed."""
    return read_once(lesson)


@pytest.fixture
def notebook(lesson: Lesson) -> NotebookNode:
    """The lesson as a learner opens it, with the outputs that are stored."""
    return nbformat.read(notebook_path(lesson), as_version=4)


@pytest.fixture
def baseline() -> dict[str, Any]:
    """What was measured at `quick`."""
    stored = load_baseline("quick")
    assert stored is not None, "notebooks/baselines/quick.json is missing: run `make baseline`"
    return stored
