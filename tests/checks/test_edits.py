"""A mistake is an edit of the plain answer; a skeleton is the answer with blanks."""

from __future__ import annotations

import pytest

from labkit.checks.edits import edited, mistakes, skeleton


def scaled(x, factor=2):
    y = factor * x
    return y + 1


def other(x, factor=2):
    return x


def test_an_edit_changes_the_place_that_it_names() -> None:
    assert edited(scaled, "factor * x => factor + x", "+ 1 => - 1")(5) == 6


def test_mistakes_have_the_name_edits_and_message_that_are_written_down() -> None:
    first, second, third = mistakes(
        scaled,
        """
        no-one: y + 1 => y
            One is missing:
            add it.

        both: y + 1 => y
          + factor * x => x
            Two faults.

        other-way: =
            A function.
        """,
        other_way=other,
    )
    assert (first.name, first.function(3), first.message) == ("no-one", 6, "One is missing: add it.")
    assert (second.name, second.function(3)) == ("both", 3)
    assert third.function is other


@pytest.mark.parametrize(
    ("edit", "complaint"), [("z => y", "0 times"), ("y => z", "2 times"), ("y + 1", "write `old => new`")]
)
def test_an_edit_that_does_not_fit_is_named_when_it_is_called(edit: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        edited(scaled, edit)(1)


@pytest.mark.parametrize(
    ("text", "complaint"), [("no-one: y + 1 => y", "no message"), ("gone: =\n    Why.", "function 'gone'")]
)
def test_a_block_that_lacks_something_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mistakes(scaled, text)


def test_a_skeleton_is_the_answer_with_blanks() -> None:
    assert skeleton(scaled, "factor * x", "+ 1") == "def scaled(x, factor=2):\n    y = ___\n    return y ___\n"
    with pytest.raises(ValueError, match="0 times"):
        skeleton(scaled, "sum")


def test_a_blank_leaves_no_bracket_alone() -> None:
    with pytest.raises(ValueError, match="leaves a bracket of plus_one alone"):
        skeleton(plus_one, "abs(x")


def plus_one(x):
    return abs(x) + 1
