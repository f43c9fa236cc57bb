"""A lesson's notebook is built from its source alone: the same bytes each time, or not at all."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from labkit import RECORD_MIME
from labkit.course import build as build_module
from labkit.course.build import BuildError, build
from labkit.course.lessons import CourseError, Lesson, notebook_path, source_path
from labkit.course.records import read_records
from labkit.course.source import drift, read_source

PARAMETERS = '# %% tags=["parameters"]\nprofile = "quick"\nseed = 0\n'
SESSION = f"""# %%
from IPython.display import display

def record(kind, **fields):
    display({{"text/plain": kind, "{RECORD_MIME}": {{"kind": kind, **fields}}}}, raw=True)

session = dict(device="cpu", threads=1, instruction_set="x86_64 AVX2", versions=dict(python="3"))
record("session", lesson="01_tiny", profile=profile, seed=seed, **session)
"""
TINY = f"""# %% [markdown]
# # A tiny lesson

{PARAMETERS}
{SESSION}
# %% tags=["nbval-check-output"]
print(1 + 1)


# %%
record("figure", alt="A grey dot")

# %%
open("scribble.txt", "w").write("into the working folder")

# %%
print(1 + 1)
"""


def lesson_in(root: Path, source: str = TINY) -> Lesson:
    """A lesson of its own course under ``root``, with the given source."""
    lesson = Lesson("01_tiny", "Tiny", "Somebody (2013)", 1, "introductory", "none", "Nothing", (), root=root)
    source_path(lesson).parent.mkdir(parents=True, exist_ok=True)
    source_path(lesson).write_text(source, encoding="utf-8")
    return lesson


def cell_with(notebook, text):
    return next(cell for cell in notebook.cells if text in cell.source)


# --- executed for real ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Lesson:
    lesson = lesson_in(tmp_path_factory.mktemp("course"))
    build(lesson)
    return lesson


@pytest.fixture
def notebook(built):
    return nbformat.read(notebook_path(built), as_version=4)


def test_a_built_notebook_holds_its_outputs_and_passes_its_own_drift_check(built, notebook):
    nbformat.validate(notebook)
    assert cell_with(notebook, "print").outputs == [new_output("stream", name="stdout", text="2\n")]
    assert read_records(notebook_path(built))["session"]["lesson"] == "01_tiny"
    assert drift(built) == []


def test_it_runs_at_its_own_parameters_with_no_cell_added(notebook):
    assert [cell.metadata.get("tags", []) for cell in notebook.cells] == [
        [],
        ["parameters"],
        [],
        ["nbval-check-output"],
        [],
        [],
        [],
    ]


def test_building_again_gives_the_same_bytes(built):
    before = notebook_path(built).read_bytes()
    build(built)
    assert notebook_path(built).read_bytes() == before


def test_nothing_in_it_tells_when_or_where_it_was_built(notebook):
    assert notebook.metadata.kernelspec == {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags", "mystnb"}


def test_the_alt_text_of_a_figure_stands_where_the_site_looks_for_it(notebook):
    assert cell_with(notebook, "grey dot").metadata["mystnb"] == {"image": {"alt": "A grey dot"}}


def test_equal_cells_have_ids_of_their_own(notebook):
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_only_the_notebook_is_written_beside_the_source(built):
    notebooks = notebook_path(built).parent
    assert sorted(path.name for path in notebooks.rglob("*")) == ["01_tiny.ipynb", "01_tiny.py", "source"]


def test_a_cell_that_raises_is_named_and_the_old_notebook_stays(built, tmp_path):
    lesson = lesson_in(tmp_path, f"{PARAMETERS}{SESSION}# %%\n1 / 0\n")
    shutil.copy(notebook_path(built), notebook_path(lesson))
    old = notebook_path(lesson).read_bytes()
    with pytest.raises(BuildError) as caught:
        build(lesson)
    assert str(caught.value).startswith("01_tiny was not built, and its notebook is as before: ")
    assert "cell 2 (1 / 0)" in str(caught.value)
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert caught.value.exit_code == 1
    assert notebook_path(lesson).read_bytes() == old


# --- with outputs given -----------------------------------------------------------------------------------------------


@pytest.fixture
def showing(tmp_path, monkeypatch):
    """Build a lesson of one code cell that shows the given outputs; returns that cell as stored."""

    def build_showing(*outputs):
        lesson = lesson_in(tmp_path, "# %%\nshow()\n")
        executed = read_source(lesson)
        executed.cells[0].outputs = list(outputs)
        monkeypatch.setattr(build_module, "_executed", lambda *_: executed)
        return nbformat.read(build(lesson), as_version=4).cells[0]

    return build_showing


def display_of(**data):
    return new_output("display_data", data=data)


@pytest.mark.parametrize(
    "place", [f"{Path.home()}/data", "{course}/notebooks", f"{tempfile.gettempdir()}/1.py", f"{sys.prefix}/lib"]
)
def test_an_output_that_names_a_folder_of_this_machine_is_refused(showing, tmp_path, place):
    place = place.format(course=tmp_path)
    for output in (
        new_output("stream", name="stderr", text=f"warning\n{place}:1: slow"),
        display_of(**{"text/html": f"<a href='file://{place}'>"}),
        display_of(**{"text/plain": "x", RECORD_MIME: {"kind": "config", "values": {"data": [place]}}}),
    ):
        with pytest.raises(BuildError, match=r"cell 0 \(show\(\)\) shows .*, which is true on this machine only"):
            showing(output)
    assert not (tmp_path / "notebooks" / "01_tiny.ipynb").exists()


def test_an_address_in_memory_is_refused(showing):
    with pytest.raises(BuildError, match="shows 'at 0x7f3a9c0d>'"):
        showing(display_of(**{"text/plain": "<Line2D at 0x7f3a9c0d>"}))


def test_a_word_that_only_begins_like_such_a_folder_is_kept(showing):
    text = f"{Path.home()}ed ~/.cache 0x7f3a9c0d"
    assert showing(new_output("stream", name="stdout", text=text)).outputs[0].text == text


def test_the_bytes_of_an_image_are_not_searched_for_folders(showing, tmp_path):
    assert showing(display_of(**{"image/png": str(tmp_path)})).outputs


def test_a_metric_that_is_recorded_twice_is_refused(showing):
    metric = display_of(**{RECORD_MIME: {"kind": "metric", "name": "kl", "value": 1.0, "unit": ""}})
    with pytest.raises(BuildError, match=r"cell 0 \(show\(\)\) records the metric 'kl' a second time"):
        showing(metric, metric)


def test_text_that_arrived_in_pieces_is_stored_as_one(showing):
    pieces = [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]
    cell = showing(*(new_output("stream", name=name, text=text) for name, text in pieces))
    assert [(output.name, output.text) for output in cell.outputs] == [
        ("stdout", "ab"),
        ("stderr", "c"),
        ("stdout", "d"),
    ]


def test_a_live_widget_is_not_stored_since_nothing_is_behind_it(showing):
    widget = display_of(
        **{"text/plain": "interactive(...)", "application/vnd.jupyter.widget-view+json": {"model_id": "5"}}
    )
    cell = showing(widget, display_of(**{"text/plain": "static"}))
    assert [output.data["text/plain"] for output in cell.outputs] == ["static"]


def test_two_figures_of_a_cell_share_its_one_alt_text(showing):
    cell = showing(*(display_of(**{RECORD_MIME: {"kind": "figure", "alt": alt}}) for alt in ("A dot.", "A line.")))
    assert cell.metadata["mystnb"]["image"]["alt"] == "A dot. A line."


def test_a_stored_figure_has_its_alt_text_there_as_well(showing):
    stored = display_of(**{"image/png": "iVBORw0KGgo="})
    stored["metadata"] = {"image/png": {"alt": "A curve."}}
    assert showing(stored).metadata["mystnb"]["image"]["alt"] == "A curve."


# --- without executing ------------------------------------------------------------------------------------------------


def test_without_execution_new_prose_keeps_the_outputs(built, tmp_path):
    lesson = lesson_in(tmp_path, TINY.replace("A tiny lesson", "A small lesson"))
    shutil.copy(notebook_path(built), notebook_path(lesson))
    notebook = nbformat.read(build(lesson, execute=False), as_version=4)
    assert notebook.cells[0].source == "# A small lesson"
    assert cell_with(notebook, "print").outputs[0].text == "2\n"
    assert cell_with(notebook, "grey dot").metadata["mystnb"]["image"]["alt"] == "A grey dot"


def test_without_execution_new_code_drops_every_output_since_any_may_be_stale(built, tmp_path):
    lesson = lesson_in(tmp_path, TINY.replace("1 + 1", "1 + 2", 1))
    shutil.copy(notebook_path(built), notebook_path(lesson))
    notebook = nbformat.read(build(lesson, execute=False), as_version=4)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []


def test_without_execution_and_without_a_notebook_there_are_no_outputs(tmp_path):
    notebook = nbformat.read(build(lesson_in(tmp_path), execute=False), as_version=4)
    assert len(notebook.cells) == 7
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nbformat": 4}'])
def test_a_stored_notebook_that_is_none_is_named(tmp_path, text):
    lesson = lesson_in(tmp_path)
    notebook_path(lesson).write_text(text)
    with pytest.raises(
        CourseError, match=r"01_tiny.ipynb is not a readable notebook .*: mend it, or move it to a safe"
    ):
        drift(lesson)
    with pytest.raises(CourseError, match=r"is not a readable notebook .*: keep what is yours in work/, .* --force, "):
        build(lesson, execute=False)
    assert notebook_path(lesson).read_text() == text
    build(lesson, execute=False, force=True)
    assert notebook_path(lesson).with_name("01_tiny.ipynb.bak").read_text() == text
    assert drift(lesson) == []


# --- what somebody wrote in the notebook ------------------------------------------------------------------------------

STUB = f"{PARAMETERS}{SESSION}# %%\ndef answer(x):\n    raise NotImplementedError\n"


def write_in(lesson, change):
    """The lesson's notebook after somebody has changed it in an editor."""
    path = build(lesson_in(lesson.root, STUB), execute=False)
    notebook = nbformat.read(path, as_version=4)
    change(notebook.cells)
    nbformat.write(notebook, path)
    return path.read_bytes()


def fill_in(cells):
    cells[-1].source = "def answer(x):\n    return x"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (fill_in, r"code cell 2 \(def answer\(x\):\)"),
        (lambda cells: cells.append(nbformat.v4.new_code_cell("print('mine')")), r"code cell 3 \(print\('mine'\)\)"),
        (lambda cells: cells.insert(0, nbformat.v4.new_markdown_cell("A note")), r"markdown cell 0 \(A note\)"),
        (lambda cells: (fill_in(cells), cells.append(nbformat.v4.new_code_cell("x"))), r"answer\(x\):\), and 1 more"),
    ],
)
def test_what_somebody_wrote_in_a_notebook_is_not_built_over(tmp_path, change, named):
    lesson = lesson_in(tmp_path, STUB)
    before = write_in(lesson, change)
    advice = "keep what is yours in work/, where `labkit update 01` makes your own copy, or replace it with --force"
    with pytest.raises(CourseError, match=rf"not from the lesson's source \(.*{named}\): {advice}"):
        build(lesson)
    assert notebook_path(lesson).read_bytes() == before


def test_with_force_a_copy_is_kept_each_time(tmp_path):
    lesson, copies = lesson_in(tmp_path, STUB), []
    for _ in range(2):
        copies.append(write_in(lesson, fill_in))
        build(lesson, execute=False, force=True)
        assert drift(lesson) == []
    kept = [notebook_path(lesson).with_name(f"01_tiny.ipynb{end}").read_bytes() for end in (".bak", ".2.bak")]
    assert kept == copies
    build(lesson, execute=False, force=True)  # nobody wrote anything now
    assert len(list(notebook_path(lesson).parent.glob("*.bak"))) == 2


def test_what_is_written_while_the_lesson_is_built_is_kept_as_well(tmp_path, monkeypatch):
    lesson = lesson_in(tmp_path, STUB)
    build(lesson, execute=False)
    written = []

    def executed(*_):
        written.append(write_in(lesson, fill_in))
        return read_source(lesson)

    monkeypatch.setattr(build_module, "_executed", executed)
    build(lesson)
    assert notebook_path(lesson).with_name("01_tiny.ipynb.bak").read_bytes() == written[0]


def test_an_author_who_edits_the_source_needs_no_force(tmp_path):
    build(lesson_in(tmp_path, STUB), execute=False)
    path = build(lesson_in(tmp_path, STUB.replace("answer", "reply")), execute=False)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(""))  # as JupyterLab leaves one at the end
    nbformat.write(notebook, path)
    build(lesson_in(tmp_path, STUB), execute=False)


def test_a_missing_source_is_named(tmp_path):
    lesson = lesson_in(tmp_path)
    source_path(lesson).unlink()
    with pytest.raises(CourseError, match=r"Cannot read the lesson's source .*01_tiny.py: No such file"):
        build(lesson)


def test_a_source_without_cells_is_refused(tmp_path):
    with pytest.raises(CourseError, match="holds no cells"):
        build(lesson_in(tmp_path, ""))


# --- drift ------------------------------------------------------------------------------------------------------------

THREE = '# %% [markdown]\n# one\n\n# %% tags=["parameters"]\nx = 1\ny = 2\n\n# %%\nprint(x)\n'


@pytest.mark.parametrize(
    ("edited", "sentences"),
    [
        (THREE, []),
        (
            THREE.replace("y = 2", "y = 3"),
            ["code cell 1 (x = 1) differs in line 2: 'y = 3' in the source, 'y = 2' in the notebook."],
        ),
        (
            THREE.replace("y = 2", "y = 2\nz = 3"),
            ["code cell 1 (x = 1) differs in line 3: 'z = 3' in the source, nothing in the notebook."],
        ),
        (
            THREE.replace('tags=["parameters"]', 'tags=["remove"]'),
            ["code cell 1 (x = 1) has the tags ['remove'], and ['parameters'] in the notebook."],
        ),
        (
            THREE.replace("[markdown]\n# one", "\none"),
            ["code cell 0 (one) is a markdown cell in the notebook."],
        ),
        (THREE + "\n# %%\nnew()\n", ["code cell 3 (new()) is missing from the notebook."]),
        (
            THREE.replace("# %%\nprint(x)\n", ""),
            ["code cell 2 (print(x)) of the notebook is not in the source."],
        ),
        (
            "# %%\nprint(x)\n\n" + THREE.replace("# %%\nprint(x)\n", ""),
            ["code cell 0 (print(x)) is cell 2 of the notebook: the order differs."],
        ),
        (
            "# %%\nnew()\n\n" + THREE.replace("one", "two").replace("print(x)", "print(y)"),
            [
                "code cell 0 (new()) is a markdown cell in the notebook.",
                "markdown cell 1 (two) is missing from the notebook.",
                "code cell 3 (print(y)) differs in line 1: 'print(y)' in the source, 'print(x)' in the notebook.",
            ],
        ),
    ],
)
def test_drift_says_which_cell_differs_and_how(tmp_path, edited, sentences):
    lesson = lesson_in(tmp_path, THREE)
    build(lesson, execute=False)
    assert drift(lesson_in(tmp_path, edited)) == sentences


def test_drift_finds_an_edit_of_the_notebook_too(tmp_path):
    lesson = lesson_in(tmp_path, THREE)
    path = build(lesson, execute=False)
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["source"] = ["print(y)"]
    path.write_text(json.dumps(notebook))
    assert drift(lesson) == [
        "code cell 2 (print(x)) differs in line 1: 'print(x)' in the source, 'print(y)' in the notebook."
    ]


def test_a_missing_notebook_is_drift(tmp_path):
    assert drift(lesson_in(tmp_path)) == ["01_tiny.ipynb is missing: build it with `labkit build 01_tiny`."]


def test_an_edit_changes_the_id_of_its_own_cell_only(tmp_path):
    before = [cell.id for cell in read_source(lesson_in(tmp_path, THREE)).cells]
    after = [cell.id for cell in read_source(lesson_in(tmp_path, THREE.replace("y = 2", "y = 3"))).cells]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
