"""Expressions over recorded metrics: what they say, and what they may not."""

from __future__ import annotations

import pytest

from labkit.evidence.expression import missing, parse

METRICS = {"ae/error": 120.0, "vae/error": 125.0, "auc/0": 0.9, "auc/1": 0.3, "auc/[2]": 0.6, "nothing": 0.0}


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ('"ae/error" < "vae/error"', 5),
        ('"ae/error" > "vae/error"', -5),
        ('"ae/error" < 2 * "vae/error" - 120', 10),
        ('abs("ae/error" - "vae/error") < 6', 1),
        ('-"auc/0" < "vae/error" / 125', 1.9),
        ('min("auc/*") > 0.5', -0.2),
        ('max("auc/0", "auc/1", 1) < 2', 1),
        ('mean("auc/*") > 0', 0.6),
        ('max("auc/[2]") > 0', 0.6),
        ('all("auc/0" > 0.5, "auc/1" > 0.5)', -0.2),
        ('any("auc/0" > 0.5, "auc/1" > 0.5)', 0.4),
        ('all("auc/0" > 0.5, any("auc/1" > 0.5, "auc/1" > 0.2))', 0.1),
    ],
)
def test_a_comparison_holds_by_a_difference(text: str, difference: float) -> None:
    assert parse(text).difference(METRICS) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"ae/error"', "compares nothing"),
        ('"ae/error" <= 3', "by one < or >"),
        ('0 < "ae/error" < 3', "by one < or >"),
        ("error < 3", "metrics stand in double quotes"),
        ('"auc/*" > 0.5', r"put it into min\(\), max\(\) or mean\(\)"),
        ('abs("auc/*") > 0.5', r"put it into min\(\), max\(\) or mean\(\)"),
        ('open("ae/error") < 3', "is no value"),
        ('"ae/error" ** 2 < 3', "is no value"),
        ("True < 2", "is no value"),
        ('all("ae/error")', "compares nothing"),
        ("all()", "compares nothing"),
        ('"ae/error" <', "cannot be read"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(text)


def test_a_metric_that_is_not_recorded_is_named() -> None:
    decision = parse('all("ae/eror" < 1, min("roc/*", "auc/*") > 0)')
    assert missing(decision, METRICS) == ["ae/eror", "roc/*"]
    with pytest.raises(KeyError, match="roc"):
        parse('min("roc/*") > 0').difference(METRICS)


def test_a_division_by_zero_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="divides by 0"):
        parse('"ae/error" / "nothing" < 1').difference(METRICS)
