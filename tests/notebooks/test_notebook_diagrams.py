"""The diagrams in notebooks/figures: sound, legible on white and on dark, and each shown by its lesson in words too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from diagram_rules import BYTES, flaws
from nbformat import NotebookNode

from labkit.course.lessons import Lesson, course_root, figures_folder, load_lessons

STORED = sorted((course_root() / "notebooks" / "figures").rglob("*.svg"))
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
GOOD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 90" role="img" aria-labelledby="t d">
<title id="t">A way</title><desc id="d">From here to there.</desc>
<rect x="1" y="1" width="718" height="88" fill="#ffffff"/>
<g fill="#3f90da"><path d="M0 0h9"/></g>
<text x="9" y="9" font-size="12" fill="#222222">here <tspan font-size="11">there</tspan></text>
</svg>"""


def images(source: NotebookNode) -> list[tuple[str, str]]:
    """(alt text, file) of every image in the text of a lesson."""
    return [found for cell in source.cells if cell.cell_type == "markdown" for found in IMAGE.findall(cell.source)]


def wrong_images(found: list[tuple[str, str]], folder: Path) -> list[str]:
    return [target for alt, target in found if len(alt.split()) < 5 or not (folder / target).is_file()]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_diagram_keeps_the_rules(path: Path) -> None:
    assert flaws(path) == []


def test_each_diagram_lies_with_a_lesson_and_a_lesson_of_the_second_edition_has_two_or_more() -> None:
    lessons = load_lessons()
    assert {path.parent for path in STORED} <= {figures_folder(lesson) for lesson in lessons}
    folders = [path.parent for path in STORED]
    assert [one.name for one in lessons if one.edition == 2 and folders.count(figures_folder(one)) < 2] == []


def test_a_lesson_shows_its_diagrams_and_no_image_without_words_or_file(lesson: Lesson, source: NotebookNode) -> None:
    folder = figures_folder(lesson).parents[1]
    assert wrong_images(images(source), folder) == []
    shown = {folder / target for _, target in images(source)}
    assert set(figures_folder(lesson).glob("*.svg")) <= shown


def test_an_image_without_words_or_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "way.svg").touch()
    good = ("From here to there, slowly", "way.svg")
    assert wrong_images([good, ("", "way.svg"), ("From here to there, slowly", "no.svg")], tmp_path) == [
        "way.svg",
        "no.svg",
    ]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "way.svg"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_diagram_has_no_flaw(tmp_path: Path) -> None:
    assert flaws(written(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "flaw"),
    [
        ("</svg>", "", "not well-formed XML: "),
        ("<svg ", "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg ", "a declaration before its root"),
        ("<svg ", '<?xml-stylesheet href="https://x.org/a.css"?><svg ', "a declaration before its root"),
        ("</svg>", f"<!--{'x' * BYTES}--></svg>", "40"),
        ('<title id="t">A way</title>', "", "no <title>"),
        (">From here to there.<", "> <", "no <desc>"),
        ('role="img" ', "", "not role=img"),
        ('aria-labelledby="t d"', 'aria-labelledby="t"', "not role=img"),
        (' viewBox="0 0 720 90"', "", "no viewBox"),
        ('<rect x="1" y="1" width="718" height="88" fill="#ffffff"/>', "", "no light card"),
        ('height="88"', 'height="40"', "no light card"),
        ('fill="#ffffff"', 'fill="#222222"', "no light card"),
        ('fill="#ffffff"', "", "no light card"),
        ("</svg>", "<script>alert(1)</script></svg>", "an element script"),
        ("</svg>", "<style>@import 'a.css';</style></svg>", "an element style"),
        ("</svg>", "<foreignObject/></svg>", "an element foreignObject"),
        ("</svg>", '<image href="a.png"/></svg>', "an element image"),
        ("</svg>", '<a xmlns:x="http://www.w3.org/1999/xlink" x:href="https://x.org"/></svg>', "an element a"),
        ("<g ", '<g onclick="f()" ', "an attribute onclick"),
        ("<g ", '<g style="fill: red" ', "an attribute style"),
        ("<g ", '<g xmlns:x="http://www.w3.org/1999/xlink" x:href="https://x.org/a.svg" ', "an attribute href"),
        ("<g ", '<g mask="url(https://x.org/a.svg)" ', "an attribute mask"),
        ('fill="#3f90da"', 'fill="#ff0000"', "the color #ff0000"),
        ("<path ", '<path stroke="red" ', "the color red"),
        ('font-size="11"', 'font-size="10"', "text of 10.0 pixels: there"),
        ('viewBox="0 0 720 90"', 'viewBox="0 0 800 90"', "text of 10.8 pixels: here"),
        ("<text ", '<text transform="scale(0.5)" ', "text of 6.0 pixels: here"),
        ('fill="#222222"', 'fill="#ffa90e"', "text too pale: here"),
    ],
)
def test_a_bad_diagram_is_told_what_is_wrong(tmp_path: Path, old: str, new: str, flaw: str) -> None:
    assert old in GOOD
    assert any(found.startswith(flaw) for found in flaws(written(tmp_path, GOOD.replace(old, new))))
