"""Verdicts over seeds: when they are given, and how often they are wrong."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from labkit.evidence.expression import parse
from labkit.evidence.verdict import DEPENDS, ERROR, FAILS, HOLDS, UNDECIDED, UNKNOWN, Judged, combined, interval, judge

LESS = parse('"a" < "b"')
TRIALS = 2000


def runs(*differences: float) -> list[dict[str, float]]:
    return [{"a": 10.0 * seed, "b": 10.0 * seed + difference} for seed, difference in enumerate(differences)]


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ((2.0, 2.5, 3.0, 2.2, 2.8), 0, HOLDS),
        ((2.0, 2.5, 3.0, 2.2, 2.8), 2.0, HOLDS),
        ((2.0, 2.5, 3.0, 2.2, 2.8), 2.4, UNDECIDED),
        ((2.0, 2.5, 3.0, 2.2, 2.8), 4.0, FAILS),
        ((-2.0, -2.5, -3.0, -2.2, -2.8), 0, FAILS),
        ((9.0, -1.0, 2.0, -3.0, 4.0), 0, UNDECIDED),
        ((1.0, 1.0, 1.0), 0.5, HOLDS),  # without any spread, the value itself decides
        ((1.0, 1.0, 1.0), 1.0, FAILS),
        ((5.0,), 0, UNDECIDED),  # one run decides nothing
        ((), 0, UNKNOWN),
    ],
)
def test_the_interval_of_the_paired_differences_decides(differences, margin, verdict: str) -> None:
    assert judge(LESS, margin, runs(*differences)).verdict == verdict


def test_the_interval_is_students_for_the_mean_of_paired_differences() -> None:
    differences = (2.0, 2.5, 3.0, 2.2, 2.8)
    expected = stats.t.interval(1 - 2 * ERROR, 4, np.mean(differences), stats.sem(differences))
    judged = judge(LESS, 0, runs(*differences))
    assert (judged.low, judged.high) == pytest.approx(expected)
    assert judged.differences == pytest.approx(differences)
    assert interval([1.0], ERROR) == (-math.inf, math.inf)


def test_what_all_seeds_share_does_not_count() -> None:
    """The values vary by tens from seed to seed, their difference hardly: pairing sees it."""
    assert judge(LESS, 0, runs(0.1, 0.11, 0.09, 0.1, 0.12)).verdict == HOLDS


ALL, ANY = parse('all("a" > 0, "b" > 0)'), parse('any("a" > 0, "b" > 0)')
UP, DOWN, UNSURE = (1.0, 1.1, 0.9), (-1.0, -1.1, -0.9), (3.0, -3.0, 0.1)


@pytest.mark.parametrize(
    ("a", "b", "of_all", "of_any"),
    [
        (UP, UP, HOLDS, HOLDS),
        (UP, DOWN, FAILS, HOLDS),
        (DOWN, DOWN, FAILS, FAILS),
        (UP, UNSURE, UNDECIDED, HOLDS),
        (DOWN, UNSURE, FAILS, UNDECIDED),
    ],
)
def test_all_and_any_join_the_verdicts_of_their_parts(a, b, of_all: str, of_any: str) -> None:
    both = [{"a": x, "b": y} for x, y in zip(a, b, strict=True)]
    assert (judge(ALL, 0, both).verdict, judge(ANY, 0, both).verdict) == (of_all, of_any)


@pytest.mark.parametrize(
    ("own", "rival", "verdict"),
    [
        (HOLDS, HOLDS, HOLDS),
        (FAILS, FAILS, FAILS),
        (HOLDS, FAILS, DEPENDS),
        (FAILS, HOLDS, DEPENDS),
        (HOLDS, UNDECIDED, UNDECIDED),
        (UNDECIDED, HOLDS, UNDECIDED),
        (HOLDS, UNKNOWN, UNKNOWN),
    ],
)
def test_a_claim_holds_only_if_its_rivals_do(own: str, rival: str, verdict: str) -> None:
    assert combined(Judged(own), [Judged(own), Judged(rival)]) == verdict
    assert combined(Judged(own), []) == own


def share(of: str, draw: Callable[[np.random.Generator], np.ndarray], decision=LESS) -> float:
    """How often a verdict is given to runs (seeds, 2) of "a" and "b" that are drawn again and again."""
    random = np.random.default_rng(0)
    drawn = ([{"a": a, "b": b} for a, b in draw(random).tolist()] for _ in range(TRIALS))
    return sum(judge(decision, 0, each).verdict == of for each in drawn) / TRIALS


NOISE: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda random, n: random.normal(size=(n, 2)),
    "heavy tails": lambda random, n: random.standard_t(3, size=(n, 2)),
    "skewed": lambda random, n: random.lognormal(size=(n, 2)),
}
BY_CHANCE = 3 * (ERROR * (1 - ERROR) / TRIALS) ** 0.5  # three standard errors of a share of ERROR


@pytest.mark.parametrize(("noise", "seeds", "verdict"), list(itertools.product(NOISE, (5, 8), (HOLDS, FAILS))))
def test_without_a_true_difference_at_most_one_verdict_in_twenty_is_given(noise, seeds, verdict) -> None:
    assert share(verdict, lambda random: NOISE[noise](random, seeds)) <= ERROR + BY_CHANCE


def nothing_in_either(random: np.random.Generator) -> np.ndarray:
    return random.normal(size=(8, 2))


@pytest.mark.parametrize(("decision", "verdict"), list(itertools.product((ALL, ANY), (HOLDS, FAILS))))
def test_several_comparisons_err_no_more_often_than_one(decision, verdict: str) -> None:
    assert share(verdict, nothing_in_either, decision) <= ERROR + BY_CHANCE


def power(seeds: int, effect: float) -> float:
    """How often a true difference of so many of its standard deviations over seeds is found: exact, noncentral t."""
    return float(stats.nct.sf(stats.t.isf(ERROR, seeds - 1), seeds - 1, effect * seeds**0.5))


def test_the_power_that_the_docs_state_is_the_power() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "records.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| (\d+) % \| (\d+) % \|$", text, re.MULTILINE)
    assert len(rows) >= 3
    for effect, *shares in rows:
        assert [int(each) for each in shares] == [round(100 * power(n, float(effect))) for n in (5, 8)]


def test_the_power_is_what_the_verdicts_have() -> None:
    found = share(HOLDS, lambda random: random.normal([0, 1], [0, 1], size=(8, 2)))
    assert found == pytest.approx(power(8, 1.0), abs=0.03)
