"""How often verify cries wolf, and what it notices, is counted over the stored seeds."""

from __future__ import annotations

import pytest

from labkit.course.baselines import load_baseline
from labkit.course.reliability import Reliability, of_course, reliability


def lesson(**metrics: tuple[list[float], list[float]]) -> dict:
    """A lesson of a baseline with these (values, values elsewhere)."""
    stored = {name: {"unit": "", "values": here, "elsewhere": there} for name, (here, there) in metrics.items()}
    return {"seeds": list(range(len(next(iter(metrics.values()))[0]))), "metrics": stored}


VALUES = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
NEAR = [value + 0.1 * (-1) ** n for n, value in enumerate(VALUES)]


def test_differences_of_one_size_are_no_alarm_and_a_fifth_is_noticed() -> None:
    assert reliability(lesson(a=(VALUES, NEAR))) == Reliability(0.0, ("a",), ())


def test_one_seed_that_jumps_is_cleared_by_the_further_ones() -> None:
    assert reliability(lesson(a=(VALUES, [110.0, *NEAR[1:]]))).false_alarms == 0


def test_three_seeds_that_jump_are_an_alarm_where_they_are_drawn_together() -> None:
    far = [value + 100 for value in VALUES[:3]] + NEAR[3:]
    assert reliability(lesson(a=(VALUES, far))).false_alarms == pytest.approx(1 / 56)


def test_a_change_below_its_band_and_one_of_a_metric_around_zero_are_not_noticed() -> None:
    wild = [value + 5.0 * (-1) ** n for n, value in enumerate(VALUES)]
    around = [0.5 * (-1) ** n for n in range(8)]
    found = reliability(lesson(wild=(VALUES, wild), around=(around, around[::-1]), count=([3.0] * 8, [3.0] * 8)))
    assert (found.noticed, found.unnoticed) == (("count",), ("wild", "around"))


def test_a_course_cries_wolf_when_any_of_its_lessons_does() -> None:
    lessons = {"a": Reliability(0.1, ("m",), ()), "b": Reliability(0.2, ("m", "n"), ("o",))}
    assert of_course(lessons) == (pytest.approx(1 - 0.9 * 0.8), 0.75)


def test_without_another_machine_the_seeds_themselves_are_the_measure() -> None:
    jump = [100.0, 101.0, 102.0, 10.0, 11.0, 10.0, 11.0, 10.0]
    steady = {"unit": "", "values": VALUES}
    found = reliability({"seeds": [*range(8)], "metrics": {"steady": steady, "jump": {"unit": "", "values": jump}}})
    assert found == Reliability(pytest.approx(1 / 56), (), ("steady", "jump"))


def test_four_of_five_metrics_of_the_course_notice_a_change_of_a_fifth() -> None:
    _, noticed = of_course({name: reliability(entry) for name, entry in load_baseline("quick")["lessons"].items()})
    assert noticed >= 0.8
