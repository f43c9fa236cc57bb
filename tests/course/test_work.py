"""The learner's copies in work/: made once, brought up to new editions, and nothing that is written in them is lost."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner, Result
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from tiny_course import Course

from labkit.course.build import build
from labkit.course.cli import main
from labkit.course.copies import copy_path, work_folder
from labkit.course.lessons import CourseError, Lesson, load_lessons, notebook_path, source_path
from labkit.course.matching import exercise_name
from labkit.course.merge import KEPT
from labkit.course.source import read_source
from labkit.course.work import reset_exercise, update

pytestmark = pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId")  # what a test has broken is read
ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''\
# %% [markdown]
# # Lesson

# %% tags=["parameters"]
profile = "quick"
seed = 0

# %%
config = {"epochs": 8, "hidden": 256}

# %% [markdown]
# ### Exercise 1 · Squash
# Make it short.


# %% tags=["exercise"]
def squash(s):
    """Shorter: (N,) -> (N,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
squash = lab.check(squash)


# %% [markdown]
# ### Exercise 2 · Stretch
# Make it long.


# %% tags=["exercise"]
def stretch(s):
    """Longer: (N,) -> (N,)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
stretch = lab.check(stretch)

# %%
print("the experiment", squash(config["hidden"]), stretch(config["epochs"]))

# %% [markdown]
# **Predict.** What do you expect?
'''
ANSWER = 'import math\n\n\ndef helper(s):\n    return s / 2\n\n\ndef squash(s):\n    """Mine."""\n    return helper(s)'


@pytest.fixture
def lesson(course: Course) -> Lesson:
    """The one lesson of a course, built; `edit` makes a new edition of it."""
    lesson = course.add("one")
    (course.root / "notebooks" / "source").mkdir()
    write_source(lesson, SOURCE)
    return lesson


def write_source(lesson: Lesson, text: str) -> None:
    (lesson.root / "notebooks" / "source" / f"{lesson.name}.py").write_text(text)
    notebook_path(lesson).unlink(missing_ok=True)  # in a new checkout nobody has written into it
    build(lesson, execute=False)


def edit(lesson: Lesson, *changes: tuple[str, str]) -> None:
    """A new edition of the lesson, in which each `old` is `new`."""
    path = lesson.root / "notebooks" / "source" / f"{lesson.name}.py"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    write_source(lesson, text)


def read(lesson: Lesson) -> NotebookNode:
    return nbformat.read(copy_path(lesson), as_version=4)


def write(lesson: Lesson, notebook: NotebookNode) -> None:
    copy_path(lesson).write_text(json.dumps(notebook))  # nbformat.writes would mend what a test has broken


def sources(lesson: Lesson) -> list[str]:
    return [cell.source for cell in read(lesson).cells]


def cell(notebook: NotebookNode, text: str) -> NotebookNode:
    """The first cell that holds the text."""
    return next(cell for cell in notebook.cells if text in cell.source)


def place(lesson: Lesson, text: str) -> int:
    return next(i for i, source in enumerate(sources(lesson)) if text in source)


def work(lesson: Lesson, *changes: tuple[str, str]) -> None:
    """The learner's text in place of each cell that holds the first of a pair, made by an update if need be."""
    if not copy_path(lesson).exists():
        update([lesson])
    notebook = read(lesson)
    for old, new in changes:
        cell(notebook, old).source = new
    write(lesson, notebook)


def add(lesson: Lesson, after: str, *cells: NotebookNode) -> None:
    """Own cells of the learner's behind the cell that holds the text."""
    notebook = read(lesson)
    position = notebook.cells.index(cell(notebook, after)) + 1
    notebook.cells[position:position] = cells
    write(lesson, notebook)


def backups(lesson: Lesson) -> list[Path]:
    return sorted((work_folder(lesson.root) / "backups").glob("*"))


def changed_nothing(lesson: Lesson) -> bool:
    """Whether another update leaves the copy and its backups as they are."""
    before, kept = copy_path(lesson).read_bytes(), backups(lesson)
    done = update([lesson])
    return (done.unchanged, copy_path(lesson).read_bytes(), backups(lesson)) == ([lesson], before, kept)


def labkit(*arguments: object, answer: str = "") -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# ---- a copy ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_the_lesson_as_nobody_has_run_it(lesson: Lesson) -> None:
    built = lesson.root / "notebooks" / "01_one.ipynb"
    notebook = nbformat.read(built, as_version=4)
    cell(notebook, "the experiment").outputs = [new_output("stream", text="42")]
    built.write_text(nbformat.writes(notebook))
    before = built.read_bytes()
    assert str(update([lesson])) == "1 new copy in work/: 01."
    copy = read(lesson)
    nbformat.validate(copy)
    assert [(c.id, c.cell_type, c.source, c.metadata) for c in copy.cells] == [
        (c.id, c.cell_type, c.source, c.metadata) for c in read_source(lesson).cells
    ]
    assert all(c.outputs == [] and c.execution_count is None for c in copy.cells if c.cell_type == "code")
    assert built.read_bytes() == before
    assert changed_nothing(lesson)


def test_without_a_source_the_built_lesson_is_what_is_copied(course: Course) -> None:
    lesson = course.add("one", "x = 1")
    path = course.root / "notebooks" / "01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].update(execution_count=3, outputs=[new_output("stream", text="1")])
    path.write_text(nbformat.writes(notebook))
    update([lesson])
    assert (read(lesson).cells[-1].source, read(lesson).cells[-1].outputs) == ("x = 1", [])
    assert changed_nothing(lesson)


def test_a_copy_that_is_there_is_left_alone_as_long_as_the_edition_is_the_same(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER), ("# Lesson", "# My lesson"))
    notebook = read(lesson)
    notebook.cells.insert(0, notebook.cells.pop(3))  # the order, too, is the learner's
    write(lesson, notebook)
    assert changed_nothing(lesson)
    assert backups(lesson) == []


def test_what_a_lesson_shows_from_beside_itself_lies_beside_the_copy(lesson: Lesson) -> None:
    figures, copied = (lesson.root / folder / "figures" / "way.svg" for folder in ("notebooks", "work"))
    figures.parent.mkdir()
    figures.write_text("<svg/>")
    links = "![a](figures/way.svg) [b](https://x.org/y) [c](../docs/z.md) [d](01_one.ipynb) [e](#top) [f](no.png)"
    edit(lesson, ("# # Lesson", f'# # Lesson\n# {links} <img src="figures/../lessons.toml">'))
    update([lesson])
    assert not copied.is_symlink(), "JupyterLab serves nothing from outside the folder that it was opened on"
    assert sorted(path.name for path in work_folder(lesson.root).iterdir()) == [".lock", "01_one.ipynb", "figures"]
    figures.write_text("<svg>new</svg>")
    for _ in range(2):
        update([lesson])
        assert copied.read_text() == "<svg>new</svg>"
        assert [path.read_text() for path in backups(lesson)] == ["<svg/>"]


def test_every_file_that_a_lesson_refers_to_is_found_from_work() -> None:
    link = re.compile(r"""\]\((?!https?:|#)([^)\s]+)\)|src=["'](?!https?:)([^"']+)""")
    for one in load_lessons():
        text = source_path(one).read_text(encoding="utf-8")
        prose = "\n".join(line for line in text.splitlines() if line.startswith("# "))
        for target in (a or b for a, b in link.findall(prose)):
            assert not target.startswith(("/", "..")), "what is linked lies beside the copies, too"
            assert (ROOT / "notebooks" / target).exists()


# ---- a new edition --------------------------------------------------------------------------------------------------

STUB = ("Shorter: (N,) -> (N,).", "Shorter, in nats: (N,) -> (N,).")


def test_an_answer_takes_the_place_of_the_new_stub_with_all_that_it_needs(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    edit(lesson, STUB, ("# # Lesson", "# # Lesson, second edition"))
    done = update([lesson])
    assert done.updated[lesson].answers == ["squash"]
    copy = read(lesson)
    assert cell(copy, "def squash").source == ANSWER
    assert cell(copy, "def squash").metadata.tags == ["exercise"]
    assert "Shorter" not in str(sources(lesson))
    assert "second edition" in copy.cells[0].source
    assert str(done).splitlines() == [
        "01 brought up to date: 1 answer and 0 own cells kept.",
        "The copies as they were lie in work/backups/. A lesson that is open in JupyterLab is reloaded there by File > "
        "Reload Notebook from Disk.",
    ]
    assert changed_nothing(lesson)


def test_an_untouched_stub_becomes_the_new_one(lesson: Lesson) -> None:
    update([lesson])
    edit(lesson, STUB)
    assert update([lesson]).updated[lesson].answers == []
    assert "in nats" in cell(read(lesson), "def squash").source


def test_an_answer_that_was_withdrawn_is_a_stub_again(lesson: Lesson) -> None:
    update([lesson])
    stub = cell(read(lesson), "def squash").source
    work(lesson, ("def squash", ANSWER))
    work(lesson, ("def squash", stub + "  \n"))
    edit(lesson, STUB)
    assert update([lesson]).updated[lesson].answers == []
    assert "in nats" in cell(read(lesson), "def squash").source


def test_an_answer_is_found_though_its_tag_and_its_id_are_lost_and_it_does_not_parse(lesson: Lesson) -> None:
    work(lesson, ("def squash", "def squash(s):\n    return (s / 2"))
    notebook = read(lesson)
    for number, one in enumerate(notebook.cells):
        one.metadata, one.id = NotebookNode(), f"{number}"
    write(lesson, notebook)
    edit(lesson, STUB, ("# # Lesson", "# In front\n\n# %% [markdown]\n# # Lesson"))
    update([lesson])
    copy = read(lesson)
    assert cell(copy, "def squash").source == "def squash(s):\n    return (s / 2"
    assert cell(copy, "profile =").metadata.tags == ["parameters"]
    assert [c.source for c in copy.cells].count("# Lesson") == 1


def test_of_two_cells_that_define_an_exercise_the_lessons_own_is_the_answer(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    add(lesson, "Make it short", new_code_cell("def squash(s):\n    return 'first attempt'"))
    edit(lesson, STUB)
    update([lesson])
    assert place(lesson, "first attempt") + 1 == place(lesson, "helper")
    assert "Shorter" not in str(sources(lesson))


def test_own_cells_stay_behind_the_cell_that_they_followed(lesson: Lesson) -> None:
    update([lesson])
    add(lesson, "config =", new_markdown_cell("note 1"), new_code_cell("note_2 = 2", outputs=[]))
    add(lesson, "What do you expect", new_markdown_cell("note 3"))
    notebook = read(lesson)
    notebook.cells.insert(0, new_markdown_cell("note 0"))
    write(lesson, notebook)
    config = '# %%\nconfig = {"epochs": 8, "hidden": 256}\n\n'
    edit(lesson, (config, ""), ("# %% [markdown]\n# **Predict", f"{config}# %% [markdown]\n# **Predict"))
    assert update([lesson]).updated[lesson].own == 4
    found = sources(lesson)
    assert found[0] == "note 0"
    assert found[-2:] == ["**Predict.** What do you expect?", "note 3"]
    assert found[-5:-2] == ['config = {"epochs": 8, "hidden": 256}', "note 1", "note_2 = 2"]


def test_own_cells_behind_a_cell_that_is_gone_stay_behind_the_one_before_it(lesson: Lesson) -> None:
    update([lesson])
    add(lesson, "config =", new_markdown_cell("my note"))
    edit(lesson, ('# %%\nconfig = {"epochs": 8, "hidden": 256}\n\n', ""))
    update([lesson])
    assert place(lesson, "my note") == place(lesson, "profile =") + 1


def test_a_cell_that_only_the_learner_changed_stays_changed(lesson: Lesson) -> None:
    work(lesson, ("config =", 'config = {"epochs": 80}'), ("expect?", "**Predict.** I expect 3."))
    edit(lesson, ("# # Lesson", "# # Renamed"))
    assert update([lesson]).updated[lesson].edited == 2
    assert 'config = {"epochs": 80}' in sources(lesson)
    assert sources(lesson)[-1] == "**Predict.** I expect 3."
    assert sources(lesson)[0] == "# Renamed"


def test_where_both_changed_a_cell_the_new_one_stands_and_the_learners_follows_marked(lesson: Lesson) -> None:
    mine = 'config = {"epochs": 80, "hidden": 256}'
    work(lesson, ("config =", mine), ("expect?", "**Predict.** I expect 3."))
    edit(lesson, ('"epochs": 8,', '"epochs": 9,'), ("What do you expect?", "What will you see?"))
    assert update([lesson]).updated[lesson].beside == 2
    cells = read(lesson).cells
    at = place(lesson, '"epochs": 9')
    assert "Kept from your earlier copy" in cells[at + 1].source
    assert (cells[at + 2].source, cells[at + 2].cell_type) == (mine, "raw"), "two configs must not run"
    assert [c.source for c in cells[-3:]][::2] == ["**Predict.** What will you see?", "**Predict.** I expect 3."]
    assert changed_nothing(lesson)
    edit(lesson, ('"epochs": 9,', '"epochs": 10,'))
    update([lesson])
    assert sources(lesson).count(mine) == 1
    assert place(lesson, '"epochs": 10') + 2 == place(lesson, mine)


def test_a_change_that_both_made_is_no_conflict(lesson: Lesson) -> None:
    work(lesson, ("config =", 'config = {"epochs": 9, "hidden": 256}'))
    edit(lesson, ('"epochs": 8', '"epochs": 9'))
    assert not update([lesson]).updated[lesson].learner


def test_the_answer_to_one_exercise_does_not_become_that_to_another(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    edit(lesson, ("def squash", "def squeeze"), ("squash = lab.check(squash)", "squeeze = lab.check(squeeze)"))
    assert update([lesson]).updated[lesson].unplaced == 1
    assert "def squeeze" in str(sources(lesson))
    assert sources(lesson)[-1] == ANSWER


def test_a_cell_of_the_lesson_that_defines_the_same_name_is_not_the_answer(lesson: Lesson) -> None:
    edit(
        lesson, ("# %% [markdown]\n# **Predict", "# %%\ndef squash(s):\n    return 0\n\n\n# %% [markdown]\n# **Predict")
    )
    update([lesson])
    notebook = read(lesson)
    notebook.cells.remove(cell(notebook, "def squash"))
    write(lesson, notebook)
    edit(lesson, STUB)
    assert update([lesson]).updated[lesson].answers == []
    assert sources(lesson) == [one.source for one in read_source(lesson).cells]


def test_where_ids_say_nothing_of_the_text_a_lost_note_costs_the_order_of_two_versions_only(course: Course) -> None:
    lesson = course.add("one", "x = 1\ny = 2\nz = 3", "print(x)")
    update([lesson])
    copy = read(lesson)
    stripped(copy)
    write(lesson, copy)
    path = course.root / "notebooks" / "01_one.ipynb"
    built = nbformat.read(path, as_version=4)
    built.cells[-2].source = "x = 1\ny = 2\nz = 4"
    path.write_text(nbformat.writes(built))
    assert update([lesson]).updated[lesson].beside == 1
    assert sources(lesson)[-4::2] == ["x = 1\ny = 2\nz = 4", "x = 1\ny = 2\nz = 3"]


def test_no_two_cells_get_the_same_id(lesson: Lesson) -> None:
    update([lesson])
    edit(lesson, ("# **Predict.**", "# A new cell.\n\n# %% [markdown]\n# **Predict.**"))
    coming = cell(read_source(lesson), "A new cell").id
    add(lesson, "config", new_code_cell("my_code = 1", id=coming))
    update([lesson])
    ids = [one.id for one in read(lesson).cells]
    assert len(set(ids)) == len(ids)
    assert cell(read(lesson), "A new cell").id == coming


REMOVED = SOURCE[SOURCE.index("# %% [markdown]\n# ### Exercise 1") : SOURCE.index("# %% [markdown]\n# ### Exercise 2")]


def test_what_has_no_place_any_more_comes_last_under_a_heading(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER), ("the experiment", "print('mine')"))
    add(lesson, "Make it short", new_markdown_cell("my note"))
    edit(lesson, (REMOVED, ""))
    assert update([lesson]).updated[lesson].unplaced == 1
    cells = read(lesson).cells
    assert cells[-2].source.startswith(KEPT)
    assert (cells[-1].source, cells[-1].cell_type) == (ANSWER, "raw")
    assert "my note" in sources(lesson)
    assert changed_nothing(lesson)
    experiment = SOURCE[SOURCE.index("# %%\nprint(") : SOURCE.index("# %% [markdown]\n# **Predict")]
    edit(lesson, (experiment, ""), ("What do you expect?", "What do you expect?\n\n# %% [markdown]\n# The new end"))
    update([lesson])
    found = sources(lesson)
    assert [s for s in found if s.startswith(KEPT)] == [found[-3]], "one heading, and still at the end"
    assert found[-2:] == [ANSWER, "print('mine')"]


def test_a_cell_that_the_learner_removed_stays_away_until_the_lesson_changes_it(lesson: Lesson) -> None:
    update([lesson])
    notebook = read(lesson)
    notebook.cells = [one for one in notebook.cells if "expect?" not in one.source and "config" not in one.source]
    write(lesson, notebook)
    edit(lesson, ("# # Lesson", "# # Renamed"), ('"epochs": 8', '"epochs": 9'))
    update([lesson])
    assert "expect?" not in str(sources(lesson))
    assert '"epochs": 9' in str(sources(lesson))


def test_outputs_go_only_where_the_code_has_changed(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    add(lesson, "the experiment", new_code_cell("1 + 1"))
    notebook = read(lesson)
    for one in notebook.cells:
        if one.cell_type == "code":
            one.update(execution_count=7, outputs=[new_output("stream", text="mine")])
    write(lesson, notebook)
    edit(lesson, ('"epochs": 8', '"epochs": 9'), STUB)
    update([lesson])
    cleared = [c.source for c in read(lesson).cells if c.cell_type == "code" and not c.outputs]
    assert cleared == ['config = {"epochs": 9, "hidden": 256}', cell(read(lesson), "def stretch").source][:1]


def test_tags_metadata_and_pictures_of_the_learners_cells_stay(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    notebook = read(lesson)
    cell(notebook, "def squash").metadata = NotebookNode(tags=["exercise", "todo"], collapsed=True)
    cell(notebook, "config").metadata = NotebookNode(tags=["todo"])
    notebook.metadata.kernelspec.name = "mine"
    write(lesson, notebook)
    picture = new_markdown_cell("![](attachment:a.png)", attachments={"a.png": {"image/png": "AAAA"}})
    add(lesson, "config", picture)
    edit(lesson, STUB, ('"epochs": 8', '"epochs": 9'))
    update([lesson])
    copy = read(lesson)
    assert cell(copy, "def squash").metadata == {"tags": ["exercise", "todo"], "collapsed": True}
    assert cell(copy, "config").metadata.tags == ["todo"]
    assert cell(copy, "attachment").attachments == picture.attachments
    assert copy.metadata.kernelspec.name == "mine"


def stripped(notebook: NotebookNode) -> None:
    notebook.metadata.pop("labkit")


def renumbered(notebook: NotebookNode) -> None:
    for number, one in enumerate(notebook.cells):
        one.id = str(number)


def without_ids(notebook: NotebookNode) -> None:
    notebook.nbformat_minor = 4
    for one in notebook.cells:
        del one["id"]


def doubled_ids(notebook: NotebookNode) -> None:
    for one, other in zip(notebook.cells, notebook.cells[1:], strict=False):
        other.id = one.id


def nonsense_as_note(notebook: NotebookNode) -> None:
    notebook.metadata["labkit"] = {"edition": [1, {"id": 2}]}


LOSSES = [(stripped,), (renumbered,), (without_ids,), (doubled_ids,), (nonsense_as_note,), (stripped, without_ids)]


@pytest.mark.parametrize("losses", LOSSES, ids=lambda losses: "+".join(loss.__name__ for loss in losses))
def test_nothing_is_lost_though_the_note_of_the_edition_or_the_ids_are(lesson: Lesson, losses: tuple) -> None:
    work(lesson, ("def squash", ANSWER), ("config =", 'config = {"epochs": 80, "hidden": 256}'))
    add(lesson, "the experiment", new_markdown_cell("my note"), new_code_cell("my_code = 1"))
    notebook = read(lesson)
    for loss in losses:
        loss(notebook)
    write(lesson, notebook)
    edit(lesson, STUB, ("# # Lesson", "# # Lesson, renamed"), ("# Make it long.", "# Make it longer."))
    merged = update([lesson]).updated[lesson]
    assert merged.answers == ["squash"]
    found = sources(lesson)
    assert len(found) == len(read_source(lesson).cells) + 2 + 2 * merged.beside
    assert cell(read(lesson), "def squash").source == ANSWER
    assert found[place(lesson, "the experiment") :][1:3] == ["my note", "my_code = 1"]
    assert 'config = {"epochs": 80, "hidden": 256}' in found
    if losses != (stripped, without_ids):  # then nothing tells the learner's text from that of an old edition
        assert merged.beside == 0
        assert "# Lesson" not in found
    assert changed_nothing(lesson)


# ---- the bar --------------------------------------------------------------------------------------------------------


def second(notebook: NotebookNode, chance: random.Random) -> None:
    """Cells moved, headings renamed, every stub's docstring changed, a cell added in front."""
    for one in notebook.cells:
        one.source = re.sub(r"^(#+) ", r"\1 Renamed: ", one.source, flags=re.MULTILINE)
        if exercise_name(one):
            one.source = one.source.replace('"""', '"""Changed. ', 1)
    for _ in range(5):
        begin, end = (chance.randrange(5, len(notebook.cells) - 5) for _ in range(2))
        moved = [notebook.cells.pop(begin) for _ in range(3)]
        notebook.cells[end:end] = moved
    notebook.cells.insert(0, new_markdown_cell("In front."))


def third(notebook: NotebookNode, chance: random.Random) -> None:
    """All ids are new, and an exercise is gone with its check."""
    for one in notebook.cells:
        one.id = f"{chance.getrandbits(48):012x}"
    gone = next(i for i, one in enumerate(notebook.cells) if exercise_name(one))
    name = exercise_name(notebook.cells[gone])
    notebook.cells = [one for one in notebook.cells if f"lab.check({name})" not in one.source]
    notebook.cells = [one for one in notebook.cells if exercise_name(one) != name]


def fourth(notebook: NotebookNode, chance: random.Random) -> None:
    """A cell in three is changed, a cell in ten removed."""
    for one in [*notebook.cells]:
        if not exercise_name(one) and "parameters" not in one.metadata.get("tags", []):
            if chance.random() < 0.1:
                notebook.cells.remove(one)
            elif chance.random() < 0.33:
                one.source += "\n# changed" if one.cell_type == "code" else "\n\nAnd more."


def all_of_the_course(root: Path) -> dict[Lesson, NotebookNode]:
    """The lessons of the real course, in a course of their own at ``root`` that the test may edit."""
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "lessons.toml").write_text((ROOT / "notebooks" / "lessons.toml").read_text())
    return {lesson: read_source(real) for lesson, real in zip(load_lessons(root), load_lessons(ROOT), strict=True)}


def test_every_answer_and_every_cell_of_ones_own_survives_three_editions(tmp_path: Path) -> None:
    chance = random.Random(0)
    editions = all_of_the_course(tmp_path)
    lessons = [*editions]

    def publish(change: Callable[[NotebookNode, random.Random], None] | None = None) -> None:
        for lesson, notebook in editions.items():
            if change is not None:
                change(notebook, chance)
            (tmp_path / "notebooks" / f"{lesson.name}.ipynb").write_text(nbformat.writes(notebook))

    publish()
    update(lessons)
    answers, own = {}, {}
    for lesson in lessons:
        copy = read(lesson)
        for one in copy.cells:
            if name := exercise_name(one):
                one.source = answers[lesson, name] = (
                    f"def helper_of_{name}():\n    return 1\n\n\n"
                    + one.source.replace("raise NotImplementedError", f"return 'my {name}'")
                )
        for number in range(20):
            make = chance.choice([new_code_cell, new_markdown_cell])
            copy.cells.insert(chance.randrange(len(copy.cells)), make(f"note_{number} = 'mine'"))
        own[lesson] = sorted(one.source for one in copy.cells if one.source.startswith("note_"))
        write(lesson, copy)
    assert len(answers) == sum(1 for notebook in editions.values() for one in notebook.cells if exercise_name(one))
    assert len(answers) >= 53

    for change in (second, third, fourth):
        publish(change)
        done = update(lessons)
        assert done.problems == []
        assert len(done.updated) == len(lessons)
        for lesson, edition in editions.items():
            copy = read(lesson)
            mine = {name: answer for (where, name), answer in answers.items() if where == lesson}
            there = [(one.id, mine.pop(exercise_name(one), one.source)) for one in edition.cells]
            ids = {one.id for one in edition.cells}
            assert [(one.id, one.source) for one in copy.cells if one.id in ids] == there
            last = [one.source for one in copy.cells[place(lesson, KEPT) :]] if mine else []
            assert last[1:] == [*mine.values()]
            assert sorted(s for s in sources(lesson) if s.startswith("note_")) == own[lesson]
            assert len(copy.cells) == len(there) + len(own[lesson]) + len(last), "and nothing else"
            if change is second:  # and then the learner's editor loses the tags
                for one in copy.cells:
                    one.metadata.pop("tags", None)
                write(lesson, copy)
        before = {path: path.read_bytes() for path in tmp_path.glob("work/**/*.*")}
        assert update(lessons).unchanged == lessons
        assert {path: path.read_bytes() for path in tmp_path.glob("work/**/*.*")} == before
    assert len([*tmp_path.glob("work/backups/*.ipynb")]) == 3 * len(lessons)


@pytest.mark.parametrize("seed", range(24))
def test_whatever_learner_and_author_do_all_that_the_learner_wrote_is_there(lesson: Lesson, seed: int) -> None:
    chance = random.Random(seed)
    path = lesson.root / "notebooks" / "source" / f"{lesson.name}.py"
    path.unlink()
    edition, written = read_source_text(SOURCE), []
    for round_ in range(4):
        for number in range(chance.randrange(4)):
            disturb(edition, chance, f"author {round_} {number}")
        (lesson.root / "notebooks" / f"{lesson.name}.ipynb").write_text(nbformat.writes(edition))
        update([lesson])
        copy = read(lesson)
        for text in written:
            assert [one.source for one in copy.cells if text in one.source], text
        assert changed_nothing(lesson)
        for number in range(chance.randrange(6)):
            text = f"learner {round_} {number}"
            position = chance.randrange(len(copy.cells))
            if chance.random() < 0.5:
                copy.cells.insert(position, chance.choice([new_code_cell, new_markdown_cell])(text))
            elif chance.random() < 0.8:
                copy.cells[position].source += f"\n    # {text}"
            else:
                copy.cells.insert(position, copy.cells.pop())
                continue
            written.append(text)
        for loss in (stripped, renumbered, doubled_ids):
            if chance.random() < 0.1:
                loss(copy)
        write(lesson, copy)


def read_source_text(text: str) -> NotebookNode:
    import jupytext

    return nbformat.from_dict(json.loads(jupytext.writes(jupytext.reads(text, fmt="py:percent"), fmt="ipynb")))


def disturb(edition: NotebookNode, chance: random.Random, text: str) -> None:
    """One change by an author: a cell changed, added, moved or removed."""
    position = chance.randrange(len(edition.cells))
    match chance.randrange(4):
        case 0:
            edition.cells[position].source += f"\n    # {text}"
        case 1:
            edition.cells.insert(position, new_markdown_cell(text))
        case 2:
            edition.cells.insert(position, edition.cells.pop())
        case 3 if len(edition.cells) > 6:
            edition.cells.pop(position)


# ---- notebooks/ -----------------------------------------------------------------------------------------------------


def test_what_was_done_in_notebooks_is_taken_over_into_a_first_copy(lesson: Lesson) -> None:
    built = lesson.root / "notebooks" / "01_one.ipynb"
    notebook = nbformat.read(built, as_version=4)
    cell(notebook, "def squash").source = ANSWER
    cell(notebook, "the experiment").outputs = [new_output("stream", text="a stored figure")]
    notebook.cells.insert(3, new_markdown_cell("my note"))
    built.write_text(nbformat.writes(notebook))
    before = built.read_bytes()
    done = str(update([lesson]))
    assert done == (
        "01 is a new copy: 1 answer and 1 own cell taken over from notebooks/01_one.ipynb, which stays as it is."
    )
    assert built.read_bytes() == before
    assert cell(read(lesson), "def squash").source == ANSWER
    assert sources(lesson)[3] == "my note"
    assert "stored figure" not in copy_path(lesson).read_text()
    assert changed_nothing(lesson)


def test_a_lesson_that_its_author_has_not_built_yet_is_no_learners(lesson: Lesson) -> None:
    path = lesson.root / "notebooks" / "source" / "01_one.py"
    path.write_text(path.read_text().replace(*STUB).replace('"epochs": 8', '"epochs": 9'))
    assert update([lesson]).new == [lesson]
    assert sources(lesson) == [one.source for one in read_source(lesson).cells]


def test_a_notebook_with_a_merge_conflict_in_notebooks_does_not_keep_one_from_a_copy(lesson: Lesson) -> None:
    (lesson.root / "notebooks" / "01_one.ipynb").write_text("{\n<<<<<<< ours\n")
    done = update([lesson])
    assert done.new == [lesson]
    assert "notebooks/01_one.ipynb holds a merge conflict, so nothing was taken over from it" in done.problems[0]


def test_work_is_not_part_of_the_repository_and_make_lab_opens_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\nlab: ")[2].partition("\n\n")[0]
    assert recipe.index("labkit update") < recipe.index("jupyterlab work/")
    assert "notebooks" not in recipe
    assert "/work/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "work" not in makefile.partition("\nclean:")[2].partition("\n\n")[0]


# ---- what is in the way ---------------------------------------------------------------------------------------------

UNREADABLE = {
    '{\n<<<<<<< HEAD\n"cells": [],\n=======\n': "holds a merge conflict",
    '{"cells": [': "is not a readable notebook",
    "": "is not a readable notebook",
    "[]": "is not a readable notebook",
    '{"nbformat": 4, "nbformat_minor": 5, "cells": [3], "metadata": {}}': "is not a readable notebook",
    '{"nbformat": 4, "nbformat_minor": 5, "cells": [{"cell_type": "x"}], "metadata": {}}': "is not a readable notebook",
    '{"nbformat": 4, "nbformat_minor": 6, "cells": [], "metadata": {}}': "is in notebook format 4.6 instead of 4.5",
    '{"nbformat": 5, "nbformat_minor": 0, "cells": [], "metadata": {}}': "is in notebook format 5.0 instead of 4.5",
    '{"nbformat": 3, "nbformat_minor": 0, "worksheets": []}': "is in notebook format 3.0 instead of 4.5",
    '{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"a": "\\ud800"}}': "is not a readable notebook",
    "\xff": "is not a readable notebook",
    "[" * 100_000: "is not a readable notebook",
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: f"{text[:50]!a}")
def test_a_copy_that_cannot_be_read_is_left_as_it_is(course: Course, lesson: Lesson, text: str) -> None:
    other = course.add("two")
    update([lesson])
    copy_path(lesson).write_bytes(text.encode("latin-1"))
    result = labkit("update")
    assert result.exit_code == 1
    assert result.stdout == (
        "1 new copy in work/: 02.\n"
        f"- work/01_one.ipynb {UNREADABLE[text]} and is left as it is: mend it, or move it away and call "
        "`labkit update` for a new copy.\n"
    )
    assert copy_path(lesson).read_bytes() == text.encode("latin-1")
    assert copy_path(other).exists()
    assert backups(lesson) == []


def test_a_copy_is_read_as_editors_leave_it(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    notebook = json.loads(copy_path(lesson).read_text())
    for one in notebook["cells"]:
        del one["metadata"]
    copy_path(lesson).write_text("\ufeff" + json.dumps(notebook).replace("\\n", "\\r\\n"), encoding="utf-8")
    edit(lesson, STUB)
    assert update([lesson]).updated[lesson].answers == ["squash"]


def test_a_copy_in_place_of_which_there_is_a_folder_is_named(lesson: Lesson) -> None:
    copy_path(lesson).mkdir(parents=True)
    assert "work/01_one.ipynb cannot be read (Is a directory)" in update([lesson]).problems[0]


def test_a_link_stays_a_link(lesson: Lesson, tmp_path: Path) -> None:
    work(lesson, ("def squash", ANSWER))
    elsewhere = tmp_path / "elsewhere.ipynb"
    copy_path(lesson).rename(elsewhere)
    copy_path(lesson).symlink_to(elsewhere)
    edit(lesson, STUB)
    update([lesson])
    assert copy_path(lesson).is_symlink()
    assert cell(read(lesson), "def squash").source == ANSWER
    assert "in nats" not in elsewhere.read_text().partition('"labkit"')[0]


def test_before_a_copy_changes_it_is_kept_as_it_was_and_no_backup_is_replaced(lesson: Lesson) -> None:
    befores = []
    for number in range(3):  # within a second or two
        work(lesson, ("# Lesson", f"# Lesson {number}"))
        befores.append(copy_path(lesson).read_bytes())
        edit(lesson, ("Make it long", f"Make it long {number}"))
        update([lesson])
    assert sorted(path.read_bytes() for path in backups(lesson)) == sorted(befores)


def test_a_folder_that_cannot_be_written_is_one_sentence(lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    work(lesson, ("def squash", ANSWER))
    edit(lesson, STUB)
    before = copy_path(lesson).read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", refuse)
        result = labkit("update")
    assert result.exit_code == 2
    assert result.stderr.endswith("work (Permission denied): make room or unlock it.\n")
    assert copy_path(lesson).read_bytes() == before
    assert sorted(path.name for path in work_folder(lesson.root).iterdir()) == [".lock", "01_one.ipynb", "backups"]


def test_a_file_in_place_of_the_folder_is_one_sentence(lesson: Lesson) -> None:
    work_folder(lesson.root).write_text("")
    result = labkit("update")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "make room or unlock it." in result.stderr


def test_two_updates_at_once_do_what_one_does(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    edit(lesson, STUB)
    done = []
    threads = [threading.Thread(target=lambda: done.append(update([lesson]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(one.updated) for one in done) == [0] * 7 + [1]
    assert len(backups(lesson)) == 1
    assert sources(lesson).count(ANSWER) == 1


# ---- reset ----------------------------------------------------------------------------------------------------------


def test_an_exercise_is_a_stub_again_and_the_answer_is_in_a_file(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER))
    notebook = read(lesson)
    cell(notebook, "def squash").outputs = [new_output("stream", text="1")]
    write(lesson, notebook)
    result = labkit("reset", "01", "--exercise", "squash")
    assert result.exit_code == 0
    (backup,) = backups(lesson)
    assert backup.read_text() == ANSWER
    assert backup.name in result.stdout
    assert re.fullmatch(r"01_one-squash-[\d-]+\.py", backup.name)
    stub = cell(read_source(lesson), "def squash")
    assert cell(read(lesson), "def squash").source == stub.source
    assert cell(read(lesson), "def squash").outputs == []
    assert "untouched stub already" in labkit("reset", "01", "--exercise", "squash").stdout
    assert backups(lesson) == [backup]
    edit(lesson, STUB)
    assert update([lesson]).updated[lesson].answers == []


def test_only_the_exercise_that_is_named_is_reset(lesson: Lesson) -> None:
    work(lesson, ("def squash", ANSWER), ("def stretch", "def stretch(s):\n    return 2 * s"))
    add(lesson, "config", new_markdown_cell("my note"))
    before = sources(lesson)
    reset_exercise(lesson, "stretch")
    after = sources(lesson)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [place(lesson, "def stretch")]


def test_a_stub_whose_cell_is_gone_comes_back_before_its_check(lesson: Lesson) -> None:
    update([lesson])
    notebook = read(lesson)
    notebook.cells.remove(cell(notebook, "def stretch"))
    write(lesson, notebook)
    assert "is back in work/01_one.ipynb" in reset_exercise(lesson, "stretch")
    assert sources(lesson) == [one.source for one in read_source(lesson).cells]


def test_a_whole_lesson_begins_afresh_after_a_question(lesson: Lesson) -> None:
    update([lesson])
    fresh = copy_path(lesson).read_bytes()
    work(lesson, ("def squash", ANSWER))
    before = copy_path(lesson).read_bytes()
    refused = labkit("reset", "one", answer="n\n")
    assert (refused.exit_code, copy_path(lesson).read_bytes(), backups(lesson)) == (1, before, [])
    assert labkit("reset", "one").exit_code == 1, "without an answer nothing happens"
    assert labkit("reset", "one", answer="y\n").exit_code == 0
    assert copy_path(lesson).read_bytes() == fresh
    assert [path.read_bytes() for path in backups(lesson)] == [before]


@pytest.mark.parametrize("there", [True, False])
def test_a_broken_or_missing_copy_can_be_begun_afresh(lesson: Lesson, there: bool) -> None:
    if there:
        update([lesson])
        copy_path(lesson).write_text("{")
    assert labkit("reset", "01", "--yes").exit_code == 0
    assert [path.read_text() for path in backups(lesson)] == ["{"] * there
    assert changed_nothing(lesson)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("01", "--exercise", "sqush"), "01_one has no exercise 'sqush': did you mean 'squash'?"),
        (("01", "--exercise", "zzz"), "01_one has no exercise 'zzz': it has squash, stretch."),
        (("09",), "Unknown lesson '09'"),
        (("01", "--exercise", "squash"), "work/01_one.ipynb does not exist yet: make it with `labkit update`."),
    ],
)
def test_what_cannot_be_reset_is_one_sentence(lesson: Lesson, arguments: tuple[str, ...], message: str) -> None:
    result = labkit("reset", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr


def test_a_copy_that_cannot_be_read_is_not_reset_in_part(lesson: Lesson) -> None:
    update([lesson])
    copy_path(lesson).write_text("{")
    with pytest.raises(CourseError, match="not a readable notebook and is left as it is"):
        reset_exercise(lesson, "squash")
    assert copy_path(lesson).read_text() == "{"


@pytest.mark.parametrize("command", ["update", "reset"])
def test_every_help_has_an_example_that_can_be_typed(command: str) -> None:
    text = labkit(command, "--help").stdout
    (example,) = [line for line in text.splitlines() if line.strip().startswith("Example: labkit ")]
    name, *arguments = example.split("labkit ")[1].split()
    main.commands[name].make_context(name, arguments).close()
