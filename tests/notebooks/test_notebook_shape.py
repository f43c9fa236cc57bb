"""The shape that every lesson has, read from its source: order, title card, cell lengths, exercises, configuration."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import statistics

import pytest
from nbformat import NotebookNode

from labkit.checks.exercise import check
from labkit.course.lessons import Lesson, load_lessons
from labkit.course.minutes import LONGEST, TYPICAL, Part, Size, misstated, oversize
from labkit.course.reading import exercise_minutes

CARD = ("For", "Afterwards you can", "You need", "Time", "Level", "Paper")
SECOND = [lesson for lesson in load_lessons() if lesson.edition == 2]


def code(source: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in source.cells if cell.cell_type == "code"]


def tagged(source: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in source.cells if tag in cell.metadata.get("tags", [])]


def text(source: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")


def positions(source: NotebookNode, pattern: str) -> list[int]:
    return [i for i, cell in enumerate(source.cells) if re.search(pattern, cell.source, re.MULTILINE)]


def exercises(lesson: Lesson) -> dict:
    module = importlib.import_module(f"labkit.exercises.{lesson.topic}")
    return {exercise.name: exercise for exercise in module.EXERCISES}


def test_the_title_card_says_for_whom_what_for_how_long_and_which_claims(lesson: Lesson, source: NotebookNode) -> None:
    card = source.cells[0].source
    assert card.startswith(f"# Lesson {lesson.number} · ")
    assert lesson.title in card.splitlines()[0]
    for entry in CARD:
        assert re.search(rf"^\| \*\*{entry}\*\* \| .+ \|$", card, re.MULTILINE), f"the title card lacks {entry!r}"
    assert lesson.level in card
    assert re.search(r"^\| claim \| source \| section \|$", card, re.MULTILINE), "the title card lacks its claims table"


def test_the_title_card_states_the_minutes_of_the_list(lesson: Lesson, source: NotebookNode) -> None:
    if (lesson.number, lesson.edition) == ("01", 1):
        pytest.xfail("its card still says two hours, until it comes in the form of the second edition")
    (time,) = re.findall(r"^\| \*\*Time\*\* \| (.+) \|$", source.cells[0].source, re.MULTILINE)
    for minutes in filter(None, (lesson.minutes, lesson.further)):
        assert re.search(rf"\b{minutes} minutes\b", time), f"the title card does not say {minutes} minutes"


def test_the_stated_minutes_are_the_counted_ones(lesson: Lesson, counted: Size) -> None:
    assert misstated(lesson, counted) == []


def test_the_minutes_of_exercises_are_those_that_the_exercises_declare(lesson: Lesson) -> None:
    module = importlib.import_module(f"labkit.exercises.{lesson.topic}")
    declared = [*module.EXERCISES, *getattr(module, "MORE", ())]
    assert exercise_minutes(lesson) == {exercise.name: exercise.minutes for exercise in declared}


@pytest.mark.parametrize("lesson", SECOND, ids=[lesson.name for lesson in SECOND])
def test_a_lesson_of_the_second_edition_keeps_the_measures_of_the_course(lesson: Lesson, counted: Size) -> None:
    assert oversize(counted) == []


def test_only_the_second_edition_tells_the_core_from_what_follows(lesson: Lesson, counted: Size) -> None:
    assert (counted.further == Part(0, 0, 0, 0)) == (lesson.edition == 1)


def test_parameters_setup_config_and_closing_sections_come_in_the_house_order(source: NotebookNode) -> None:
    (parameters,) = [i for i, cell in enumerate(source.cells) if "parameters" in cell.metadata.get("tags", [])]
    (start,) = positions(source, r"^lab = labkit\.start\(")
    (choose,) = positions(source, r"lab\.choose\(")
    claims = positions(source, r"lab\.claim\(")
    (table,) = positions(source, r"lab\.claims_table\(\)")
    (take_aways,) = positions(source, r"^### Take-aways")
    further, *_ = positions(source, r"^(### Going further|## Further)")
    claims = [claim for claim in claims if claim < further]  # what follows has claims of its own
    (references,) = positions(source, r"^### References")
    assert parameters < start < choose < min(claims) <= max(claims) < table < take_aways <= further <= references
    (disagree,) = positions(source, r"^## \d+ · Where the paper, the review and the code disagree")
    assert disagree < table


def test_the_parameters_cell_sets_profile_and_seed_to_their_defaults(source: NotebookNode) -> None:
    (cell,) = tagged(source, "parameters")
    values: dict = {}
    exec(cell.source, values)
    assert (values["profile"], values["seed"]) == ("quick", 0)


def test_headings_descend_one_level_at_a_time(source: NotebookNode) -> None:
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text(source), re.MULTILINE)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_code_cells_hold_one_idea_each(source: NotebookNode) -> None:
    lengths = {cell.source.splitlines()[0]: len(cell.source.splitlines()) for cell in code(source)}
    longest = max(lengths, key=lengths.get)
    assert lengths[longest] <= LONGEST, f"the cell that begins {longest!r} has {lengths[longest]} lines"
    assert statistics.median(lengths.values()) <= TYPICAL


def test_every_field_of_the_configuration_has_its_reason_beside_it(source: NotebookNode) -> None:
    (cell,) = [cell for cell in code(source) if re.search(r"^class Config", cell.source, re.MULTILINE)]
    (definition,) = [node for node in ast.parse(cell.source).body if isinstance(node, ast.ClassDef)]
    fields = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
    assert fields
    for field in fields:
        line = cell.source.splitlines()[field.end_lineno - 1]
        assert len(line.partition("#")[2].split()) >= 3, f"{field.target.id} is not explained"


def test_the_reader_predicts_before_the_experiment(source: NotebookNode) -> None:
    asked = len(re.findall(r"\*\*Predict\.\*\*", text(source)))  # to be written down by the reader
    cells = "\n".join(cell.source for cell in code(source))
    kept = re.findall(r"lab\.predict\(\s*\"([^\"]+)\"", cells)
    revealed = re.findall(r"lab\.reveal\(\"([^\"]+)\"", cells)
    assert asked + len(kept) >= 4
    assert sorted(kept) == sorted(revealed), "what was predicted is measured, once"


def test_there_is_a_widget_and_a_static_figure_beside_it(source: NotebookNode) -> None:
    widgets = [i for i, cell in enumerate(source.cells) if "widget" in cell.metadata.get("tags", [])]
    figures = positions(source, r"lab\.show\(")
    assert widgets
    for widget in widgets:
        assert any(abs(figure - widget) <= 3 for figure in figures), "a widget without a static twin beside it"


def test_every_exercise_has_its_stub_then_its_check_and_no_stub_is_without_one(
    lesson: Lesson, source: NotebookNode
) -> None:
    stubs = [i for i, cell in enumerate(source.cells) if "exercise" in cell.metadata.get("tags", [])]
    names = [re.search(r"^def (\w+)\(", source.cells[i].source, re.MULTILINE)[1] for i in stubs]
    assert sorted(names) == sorted(exercises(lesson))
    assert len(names) >= 5
    for i, name in zip(stubs, names, strict=True):
        assert f"{name} = lab.check({name})" in source.cells[i + 1].source


def test_every_stub_has_a_docstring_the_references_parameters_and_counts_as_not_attempted(
    lesson: Lesson, source: NotebookNode
) -> None:
    for cell in tagged(source, "exercise"):
        names: dict = {}
        exec(cell.source, names)
        (stub,) = [value for value in names.values() if inspect.isfunction(value)]
        exercise = exercises(lesson)[stub.__name__]
        assert stub.__doc__
        assert list(inspect.signature(stub).parameters) == list(inspect.signature(exercise.reference).parameters)
        assert check(exercise, stub).outcome == "not attempted"


@pytest.mark.parametrize(
    "forbidden", [r"^[!%]", r"sys\.path", r"pip install", r"raises-exception", r"https?://\S+\.css"]
)
def test_cells_do_not_install_patch_paths_or_fetch_style(source: NotebookNode, forbidden: str) -> None:
    for cell in code(source):
        assert not re.search(forbidden, cell.source + str(cell.metadata), re.MULTILINE), cell.source
