"""Every test here runs once for each lesson in notebooks/lessons.toml: a new lesson is held to it without new tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import nbformat
import pytest
from nbformat import NotebookNode

from labkit.course.baselines import load_baseline
from labkit.course.comparison import compare
from labkit.course.lessons import Lesson, load_lessons, notebook_path
from labkit.course.source import read_source

LESSONS = load_lessons()


@pytest.fixture(params=LESSONS, ids=[lesson.name for lesson in LESSONS])
def lesson(request: pytest.FixtureRequest) -> Lesson:
    return request.param


read_once = cache(read_source)  # a tenth of a second for each of a hundred tests


@pytest.fixture
def source(lesson: Lesson) -> NotebookNode:
    """The lesson as its author wrote it, the same object for all tests: not to be changed."""
    return read_once(lesson)


@pytest.fixture
def notebook(lesson: Lesson) -> NotebookNode:
    """The lesson as a learner opens it, with the outputs that are stored."""
    return nbformat.read(notebook_path(lesson), as_version=4)


@pytest.fixture
def out_of_band(lesson: Lesson) -> Callable[[Mapping], list[str]]:
    """Tells what is wrong with a run of the lesson at `quick`, compared with its baseline."""
    baseline = load_baseline("quick")
    assert baseline is not None, "tests/baselines/quick.json is missing: run `make baseline`"
    mine = {**baseline, "lessons": {lesson.name: baseline["lessons"][lesson.name]}}
    return lambda run: compare({"schema_version": 1, "profile": "quick", "lessons": {lesson.name: run}}, mine).problems
