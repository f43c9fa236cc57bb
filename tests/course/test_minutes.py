"""A lesson's minutes are counted from its text, what it tells, its code and its exercises; so is its bookkeeping."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_course import Course, code, markdown

from labkit import RECORD_MIME
from labkit.course.lessons import CourseError
from labkit.course.minutes import Part, Size, measure, minutes_table, misstated, oversize, size, stated
from labkit.course.reading import bookkeeping_lines, code_lines, words

STUB = 'def kl(mu, logvar):\n    """One number an image."""\n    raise NotImplementedError'


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A code costs nats.", 4),
        ("- one · two -- three", 3),
        ("## 4 · The bound", 3),
        ("| model | error |\n|---|--:|\n| **AE** | 81.5 |", 4),
        (r"Let $x \in \mathbb R^n$ be the input, $k$-sparse.", 6),
        ("$$ a +\n b $$", 10),
        ("Cost: $$a$$ and $b$ nats", 14),
        (r"It costs \$5 or \$6 here", 6),
        ("[the paper](https://arxiv.org/abs/1312.6114) says", 3),
        ("seen<br>here <span class='a b'>so</span>", 3),
        ("![An encoder and a decoder](figures/01/method.svg)", 0),
        ("if a < b and c > d", 6),
    ],
)
def test_words_are_counted_as_they_are_read(text: str, count: int) -> None:
    assert words(text) == count


def test_lines_of_code_are_those_without_blanks_and_comments() -> None:
    assert code_lines("# why\nx = 1  # this\n\nfor i in x:\n    # not\n    print(i)") == {2, 4, 6}


def test_bookkeeping_is_every_line_of_a_statement_that_keeps_or_shows() -> None:
    kept = ["lab.record('a', 1)", "lab.record_all(\n    {},\n    'nats',\n)", "for x in y:\n    lab.tell(x)"]
    kept += ["lab.claim('kl')", "lab.show(figure, alt='...')", "lab.reveal('a', 1)"]
    assert bookkeeping_lines("\n".join(kept)) == {1, 2, 3, 4, 5, 7, 8, 9, 10}
    assert bookkeeping_lines("kl = lab.check(kl)\nother.record(1)\nshow(2)\nx = lab.claim") == set()


def test_each_part_of_a_lesson_counts_what_stands_in_it() -> None:
    cells = [
        markdown("one two three"),
        code("x = 1\n\nlab.tell('...')", "The code costs **12.0 nats**."),
        code(STUB, tag="exercise"),
        markdown("four\n\n## Further\n\nsix"),
        code(STUB.replace("kl", "iwae"), tag="exercise"),
        code("y = 1\nz = 2", "seven eight", "nine"),
    ]
    counted = size(cells, {"kl": 6, "iwae": 15})
    assert counted.core == Part(text=4, told=5, lines=2, exercises=6)
    assert counted.further == Part(text=2, told=3, lines=2, exercises=15)
    assert counted.core.minutes == pytest.approx(9 / 220 + 2 / 20 + 6)
    assert (counted.cells, counted.typical, counted.longest) == (6, 3, 3)
    assert counted.bookkeeping == pytest.approx(1 / 10)


@pytest.mark.parametrize("heading", ["### Further", "## Going further", "Further", "## Furthermore"])
def test_further_begins_at_its_own_heading_only(heading: str) -> None:
    counted = size([markdown(f"one\n\n{heading}"), markdown("two")], {})
    assert counted.further == Part(0, 0, 0, 0)


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "stream", "text": "12 lines were printed"},
        {"output_type": "error", "ename": "E", "evalue": "no luck", "traceback": ["a long way"]},
        {"output_type": "display_data", "data": {"text/plain": "vae/kl = 12 nats", RECORD_MIME: {"kind": "metric"}}},
        {"output_type": "display_data", "data": {"text/markdown": "<details>a figure\nin words</details>"}},
    ],
)
def test_what_is_printed_recorded_raised_or_folded_is_not_told(output: dict) -> None:
    assert size([code("x = 1", "one", **output)], {}).core.told == 1


def test_a_lesson_is_counted_as_stored_and_from_its_source_where_it_did_not_run(course: Course) -> None:
    lesson = course.add("one")
    course.write(lesson, markdown("one two"), code(STUB, tag="exercise"), code("x = 1"), kl=6)
    assert measure(lesson).core == Part(text=2, told=0, lines=1, exercises=6)
    assert not measure(lesson).executed
    course.write(lesson, code("x = 1", "three words said"))
    assert measure(lesson).core == Part(text=0, told=3, lines=1, exercises=0)
    assert measure(lesson).executed


@pytest.mark.parametrize(
    ("source", "exercises", "sentence"),
    [
        (STUB, "", r"01_one cannot be counted: the stub 'def kl\(mu, logvar\):' is none of its exercises"),
        (STUB, "Exercise(name='kl')", r"one.py, line 1: an exercise must say its name and its minutes\.$"),
        (STUB, "Exercise(", r"^Cannot read the exercises in .*one.py: '\(' was never closed\.$"),
        ("x = (", "", r"01_one cannot be counted: cell 0 \(x = \(\) is not Python: "),
    ],
)
def test_what_cannot_be_counted_is_told_in_one_sentence(
    course: Course, source: str, exercises: str, sentence: str
) -> None:
    lesson = course.add("one")
    course.write(lesson, code(source, tag="exercise"))
    (course.root / "labkit" / "exercises" / "one.py").write_text(exercises)
    with pytest.raises(CourseError, match=sentence):
        measure(lesson)


def test_minutes_are_stated_rounded_up_to_five() -> None:
    assert [stated(minutes) for minutes in (0, 0.1, 5, 5.001, 119.9, 120)] == [0, 5, 5, 10, 120, 120]
    assert stated(0.1 + 0.2 + 4.7) == 5, "what is five but for a rounding error is five"


def test_a_number_that_is_not_the_counted_one_is_told_with_the_right_one(course: Course) -> None:
    lesson = course.add("one")  # it says 5 minutes, and none further
    counted = size([markdown("word " * 1000), markdown("## Further"), markdown("word " * 1300)], {})
    assert misstated(replace(lesson, minutes=5, further=10), counted) == []
    assert misstated(lesson, counted) == ["01_one says further = 0 in lessons.toml; 5.9 are counted, so say 10."]
    assert misstated(replace(lesson, minutes=10, further=10), counted) == [
        "01_one says minutes = 10 in lessons.toml; 4.5 are counted, so say 5."
    ]


# ---- the measures of the second edition ------------------------------------------------------------------------------

FITS = [markdown("word " * 220 * 100), code(STUB, tag="exercise"), *[code("x = 1")] * 7, code("lab.record('a', x)")]


def test_a_lesson_that_fits_has_nothing_to_mend() -> None:
    assert oversize(size(FITS, {"kl": 19})) == []


@pytest.mark.parametrize(
    ("cells", "minutes", "sentence"),
    [
        (FITS, 20, "The core takes 120.4 minutes: at most 120."),
        ([*FITS, *[markdown("")] * 131], 1, "There are 141 cells: at most 140."),
        ([*FITS, *[code("\n".join(["x = 1"] * 9))] * 10], 1, "The median of the code cells is 9 lines: at most 8."),
        ([*FITS, code("\n".join(["x = 1"] * 26))], 1, "The longest code cell has 26 lines: at most 25."),
        ([*FITS, code("lab.tell(\n'a'\n)")], 1, "Bookkeeping is 28.6% of the code lines: at most 25%."),
    ],
)
def test_a_lesson_that_exceeds_a_measure_is_told_which(cells: list, minutes: int, sentence: str) -> None:
    assert oversize(size(cells, {"kl": minutes})) == [sentence]


def test_what_stands_under_further_is_not_bound_to_the_minutes_of_the_core() -> None:
    assert oversize(size([markdown("## Further"), *FITS], {"kl": 60})) == []


def test_the_table_says_what_the_minutes_are_made_of() -> None:
    part = Part(text=2200, told=440, lines=100, exercises=30)
    counted = Size(part, Part(220, 0, 0, 0), executed=True, cells=99, typical=5, longest=20, bookkeeping=0.123)
    rows = minutes_table({"01_one": counted, "02_two": replace(counted, executed=False)}).splitlines()
    assert rows[0].split() == [
        "lesson", "core", "further", "text", "output", "code", "exercises", "cells", "bookkeeping", "%"
    ]  # fmt: skip
    assert rows[2].split() == ["01_one", "47", "1", "11", "2", "5", "30", "99", "12"]
    assert rows[3].split() == ["02_two", "47", "1", "11", "-", "5", "30", "99", "12"]
