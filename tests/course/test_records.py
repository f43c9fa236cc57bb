"""Records are read from executed notebooks as the schema says, and what is malformed is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_course import SESSION

from labkit.course.files import write_json
from labkit.course.lessons import CourseError
from labkit.course.records import RecordError, read_recorded, read_records

METRIC = {"kind": "metric", "name": "vae/kl", "value": 12.5, "unit": "nats"}
CLAIM = {"kind": "claim", "text": "It holds", "holds": True, "evidence": {"AE": 1}, "source": "paper", "reason": ""}
EXERCISE = {"kind": "exercise", "name": "kl", "outcome": "not yet", "checks": 5, "passed": 3, "mistake": "sign"}

Write = Callable[..., Path]


def test_every_kind_of_record_is_read(executed: Write) -> None:
    session = {**SESSION, "lesson": "01_one", "profile": "quick", "seed": 1}
    config = {"kind": "config", "values": {"epochs": 2}}
    figure = {"kind": "figure", "alt": "A cat"}
    path = executed(session, config, METRIC, CLAIM, EXERCISE, figure, extra={"image/png": "aGk="})
    found = read_records(path)
    assert found == {
        "session": {key: value for key, value in session.items() if key != "kind"},
        "config": {"epochs": 2},
        "metrics": {"vae/kl": {"value": 12.5, "unit": "nats"}},
        "claims": [{key: value for key, value in CLAIM.items() if key != "kind"}],
        "exercises": {"kl": {"outcome": "not yet", "checks": 5, "passed": 3, "mistake": "sign"}},
        "figures": [{"alt": "A cat", "png": "aGk="}],
        "cell_seconds": [0.5, 0.5],
    }


def test_a_notebook_without_records_has_none(executed: Write) -> None:
    assert read_records(executed())["session"] is None


def test_the_last_word_on_a_claim_counts(executed: Write) -> None:
    found = read_records(executed(CLAIM, {**CLAIM, "text": "Another"}, {**CLAIM, "holds": False}))
    assert [(claim["text"], claim["holds"]) for claim in found["claims"]] == [("Another", True), ("It holds", False)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", None, True])
def test_a_metric_that_is_no_finite_number_is_named(executed: Write, value: object) -> None:
    with pytest.raises(RecordError, match=r"^recorded in cell 1 \(x = 1\): the metric 'vae/kl' .* not a finite"):
        read_records(executed({**METRIC, "value": value}))


@pytest.mark.parametrize(
    ("malformed", "complaint"),
    [
        ("not an object", "unknown kind, None"),
        ({"kind": "opinion"}, "unknown kind, 'opinion'"),
        ({"kind": "metric", "name": "a", "value": 1.0}, "metric 'a' that is malformed: .*'unit'"),
        ({"kind": "metric", "value": 1.0, "unit": ""}, "a metric that is malformed: .*'name'"),
        ({**CLAIM, "holds": "yes"}, "a claim that is malformed: holds must be boolean"),
        ({**EXERCISE, "outcome": "good"}, "exercise 'kl' that is malformed: outcome must be one of"),
        ({"kind": "figure", "alt": ""}, "a figure that is malformed: alt must be longer"),
        ({"kind": "session"}, "a session that is malformed"),
    ],
)
def test_a_malformed_record_is_named_with_its_cell(executed: Write, malformed: object, complaint: str) -> None:
    with pytest.raises(RecordError, match=rf"^recorded in cell 1 \(x = 1\): .*{complaint}"):
        read_records(executed(malformed))


def test_the_last_value_of_a_metric_counts_as_it_does_in_the_lab(executed: Write) -> None:
    found = read_records(executed(METRIC, {**METRIC, "name": "other"}, {**METRIC, "value": 1.5}))
    assert found["metrics"]["vae/kl"] == {"value": 1.5, "unit": "nats"}


@pytest.mark.parametrize("content", [None, "", '{"cells": [{"cell_type": "co', "[]", "{}"])
def test_a_notebook_that_is_missing_or_cut_off_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "lost.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=r"lost\.ipynb cannot be read"):
        read_records(path)


def test_a_file_of_records_says_what_the_notebook_would(tmp_path: Path, executed: Write) -> None:
    session = {**SESSION, "lesson": "01_one", "profile": "quick", "seed": 1}
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in (session, METRIC, CLAIM, EXERCISE)))
    assert read_recorded(file) == {**read_records(executed(session, METRIC, CLAIM, EXERCISE)), "cell_seconds": []}


def test_a_file_of_records_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(METRIC) + "\n" + json.dumps(METRIC)[:-5])
    with pytest.raises(RecordError, match=r"line 2 of records\.jsonl holds"):
        read_recorded(file)
    with pytest.raises(RecordError, match=r"gone\.jsonl cannot be read"):
        read_recorded(tmp_path / "gone.jsonl")


def test_writing_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"cannot write into .*gone.* --out"):
        write_json(tmp_path / "gone" / "results.json", {})
