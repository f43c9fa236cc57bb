"""What the exercises of lesson 06 tell about mistakes that look alike."""

from __future__ import annotations

from labkit.checks.edits import edited
from labkit.checks.exercise import check
from labkit.exercises.episodic_backward_update import BACKWARD, backward_targets


def test_an_entry_written_one_row_too_late_is_told_in_which_row_it_belongs() -> None:
    """Its numbers are those of one-step targets, but it does change the table, and before the maximum."""
    too_late = edited(
        backward_targets,
        "table[k, a] = beta => table[k + 1, a] = beta",
        "(1 - beta) * table[k, a] => (1 - beta) * table[k + 1, a]",
    )
    assert "put it into row k of the table, not k + 1" in check(BACKWARD, too_late).message
