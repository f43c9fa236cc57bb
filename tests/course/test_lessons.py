"""lessons.toml is read whole or refused with one sentence, and lessons are found by any of their names."""

from pathlib import Path

import pytest

from labkit.course import lessons
from labkit.course.lessons import (
    CourseError,
    Lesson,
    course_root,
    exercises_path,
    load_lessons,
    notebook_path,
    readme_table,
    select,
    source_path,
)

ENTRY = {
    "name": '"01_first"',
    "title": '"First"',
    "paper": '"Somebody (2013)"',
    "minutes": "10",
    "level": '"introductory"',
    "data": '"MNIST"',
    "teaches": '"Something"',
    "extras": '["atari"]',
    "further": "0",
    "edition": "2",
}


def course(root: Path, *entries: dict[str, str]) -> Path:
    """A course folder whose list holds ``entries``: each ENTRY with the given fields changed (None = left out)."""
    text = ""
    for changes in entries:
        pairs = {**ENTRY, **changes}
        text += "[[lesson]]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items() if value is not None)
    (root / "notebooks").mkdir()
    (root / "notebooks" / "lessons.toml").write_text(text, encoding="utf-8")
    return root


SECOND = {"name": '"02_second_one"', "title": '"Second"'}


def test_the_course_lists_lesson_01_first():
    first = load_lessons()[0]
    assert (first.name, first.data, first.level) == ("01_autoencoders", "MNIST", "introductory")
    assert first.title == "Autoencoders: AE, DAE and VAE"
    assert "arXiv:1312.6114" in first.paper


def test_an_entry_becomes_a_frozen_lesson_with_its_paths(tmp_path):
    root = course(tmp_path, {})
    (lesson,) = load_lessons(root)
    made = Lesson("01_first", "First", "Somebody (2013)", 10, "introductory", "MNIST", "Something", ("atari",))
    assert lesson == made
    assert (lesson.number, lesson.topic) == ("01", "first")
    assert notebook_path(lesson) == root / "notebooks" / "01_first.ipynb"
    assert source_path(lesson) == root / "notebooks" / "source" / "01_first.py"
    assert exercises_path(lesson) == root / "labkit" / "exercises" / "first.py"


def test_the_table_shows_the_core_and_what_follows_it_apart(tmp_path):
    lessons = load_lessons(course(tmp_path, {"minutes": "115", "further": "40"}, SECOND))
    assert [row.split(" | ")[3] for row in readme_table(lessons).splitlines()[2:]] == ["115 + 40", "10"]


def test_a_lesson_made_without_a_root_belongs_to_the_course_itself():
    lesson = Lesson("01_first", "First", "Somebody (2013)", 10, "introductory", "MNIST", "Something")
    assert notebook_path(lesson) == course_root() / "notebooks" / "01_first.ipynb"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"title": None}, "the field 'title' is missing"),
        ({"colour": '"red"'}, "unknown field 'colour'; the fields are name, title"),
        ({"minutes": '"10"'}, "the field 'minutes' must be a whole number, got '10'"),
        ({"minutes": "true"}, "the field 'minutes' must be a whole number, got True"),
        ({"minutes": "0"}, "the field 'minutes' must be positive, got 0"),
        ({"further": None}, "the field 'further' is missing"),
        ({"further": "-5"}, "the field 'further' must not be negative, got -5"),
        ({"edition": None}, "the field 'edition' is missing"),
        ({"edition": "3"}, "the field 'edition' must be 1 or 2, got 3"),
        ({"paper": '""'}, "the field 'paper' must be text, got ''"),
        ({"extras": '"atari"'}, "the field 'extras' must be a list, got 'atari'"),
        ({"extras": "[1]"}, r"the field 'extras' must be a list of names, got \[1\]"),
        ({"level": '"hard"'}, "the level 'hard' must be one of introductory, intermediate, advanced"),
        ({"name": '"first"'}, "the name 'first' must look like '01_autoencoders'"),
        ({"name": '"01_../x"'}, "the name '01_../x' must look like"),
        ({"title": "not toml"}, "is not valid TOML"),
    ],
)
def test_a_wrong_entry_is_refused_with_one_sentence_that_names_it(tmp_path, changes, sentence):
    with pytest.raises(CourseError, match=sentence):
        load_lessons(course(tmp_path, changes))


def test_the_second_entry_is_named_when_it_is_the_wrong_one(tmp_path):
    with pytest.raises(CourseError, match=r"lesson 2: the field 'data' is missing"):
        load_lessons(course(tmp_path, {}, {**SECOND, "data": None}))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("01_first", "the name 01_first twice"),
        ("01_other", "the number 01 twice"),
        ("02_first", "the topic first twice"),
    ],
)
def test_two_lessons_never_answer_to_the_same_name(tmp_path, name, sentence):
    with pytest.raises(CourseError, match=sentence):
        load_lessons(course(tmp_path, {}, {"name": f'"{name}"'}))


@pytest.mark.parametrize("text", ["", "lesson = 3\n", "lesson = []\n", "title = 'a course'\n[[lesson]]\n"])
def test_a_list_without_lessons_is_refused(tmp_path, text):
    root = course(tmp_path)
    (root / "notebooks" / "lessons.toml").write_text(text)
    with pytest.raises(CourseError, match=r"must hold \[\[lesson\]\] tables"):
        load_lessons(root)


def test_an_entry_that_is_no_table_is_refused(tmp_path):
    root = course(tmp_path)
    (root / "notebooks" / "lessons.toml").write_text("lesson = [3]\n")
    with pytest.raises(CourseError, match=r"expected a \[\[lesson\]\] table, got 3"):
        load_lessons(root)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(CourseError, match=r"Cannot read the list of lessons .*lessons.toml: No such file"):
        load_lessons(tmp_path)


@pytest.mark.parametrize("name", ["02_second_one", "02", "second_one"])
def test_a_lesson_is_found_by_its_name_its_number_or_its_topic(tmp_path, name):
    assert [lesson.name for lesson in select([name], course(tmp_path, {}, SECOND))] == ["02_second_one"]


def test_no_names_select_every_lesson_and_repeats_select_it_once_in_the_courses_order(tmp_path):
    root = course(tmp_path, {}, SECOND)
    both = ["01_first", "02_second_one"]
    assert [lesson.name for lesson in select((), root)] == both
    assert [lesson.name for lesson in select(["02", "first", "second_one"], root)] == both


def test_an_unknown_lesson_is_refused_with_the_known_names(tmp_path):
    with pytest.raises(CourseError, match=r"Unknown lesson '07': the lessons are 01_first, 02_second_one\.") as caught:
        select(["01", "07"], course(tmp_path, {}, SECOND))
    assert caught.value.exit_code == 2


def test_the_course_is_found_from_a_folder_inside_it_when_the_package_is_installed_elsewhere(tmp_path, monkeypatch):
    inside = course(tmp_path, {}) / "notebooks"
    monkeypatch.setattr(lessons, "__file__", str(tmp_path / "site" / "packages" / "labkit" / "course" / "lessons.py"))
    monkeypatch.chdir(inside)
    assert course_root() == tmp_path


def test_outside_any_course_the_error_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "__file__", str(tmp_path / "a" / "b" / "labkit" / "course" / "lessons.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=r"go into the folder that holds notebooks/lessons.toml"):
        course_root()
