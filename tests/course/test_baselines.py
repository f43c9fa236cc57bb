"""Baselines keep every metric at every seed, come from five seeds or more, and are stored a metric a line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from tiny_course import FAILED, a_run, baseline_of, results_of

from labkit import baselines
from labkit.baselines import Spread, spread
from labkit.course import baselines as module
from labkit.course.baselines import baseline_path, derive, load_baseline, save_baseline
from labkit.course.lessons import CourseError
from labkit.course.results import Results

SCHEMA = json.loads(Path(module.__file__).with_name("baseline.schema.json").read_text())
ELSEWHERE = "x86_64 ATen DEFAULT, oneDNN SSE41, MKL COMPATIBLE"


def kl(value: float, unit: str = "nats") -> dict:
    return {"vae/kl": {"value": value, "unit": unit}}


def at_seeds(*values: float, **changes: object) -> Results:
    """Results of 01_one with these values of vae/kl, one a seed from 0."""
    return results_of(*(a_run(seed, metrics=kl(value), **changes) for seed, value in enumerate(values)))


FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)


# ---- deriving --------------------------------------------------------------------------------------------------------


def test_a_baseline_keeps_the_value_at_each_seed_and_what_it_was_computed_with() -> None:
    derived = derive(at_seeds(*FIVE))
    assert derived == baseline_of(*FIVE)
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(derived)


def test_a_claim_is_counted_over_the_seeds() -> None:
    claim = a_run()["claims"][0]
    runs = [a_run(seed, claims=[{**claim, "holds": seed != 3}]) for seed in range(5)]
    assert derive(results_of(*runs))["lessons"]["01_one"]["claims"] == {claim["text"]: {"holds": 4, "runs": 5}}


def test_what_another_machine_made_of_the_same_seeds_stands_beside_the_values() -> None:
    there = at_seeds(5.1, 4.1, 3.1, 2.1, 1.1, instruction_set=ELSEWHERE)
    metric = derive(at_seeds(*FIVE), there)["lessons"]["01_one"]["metrics"]["vae/kl"]
    assert metric == {"unit": "nats", "values": [*FIVE], "elsewhere": [5.1, 4.1, 3.1, 2.1, 1.1]}
    claims = derive(at_seeds(*FIVE), there)["lessons"]["01_one"]["claims"]
    assert claims["The KL is small"] == {"holds": 5, "runs": 5, "elsewhere": 5}


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (at_seeds(*FIVE), "both machines compute with x86_64 AVX2: one must be of another kind"),
        (at_seeds(*FIVE[:4], instruction_set=ELSEWHERE), "the other machine has no run at seed 4"),
        (results_of(a_run(0, **FAILED)), "the other machine has no run at seed 0"),
        (
            results_of(*(a_run(seed, metrics={}, instruction_set=ELSEWHERE) for seed in range(5))),
            "the other machine did not record the metric 'vae/kl' at every seed",
        ),
    ],
)
def test_runs_that_are_not_those_of_another_machine_are_refused(there: Results, sentence: str) -> None:
    with pytest.raises(CourseError, match=f"01_one: {sentence}"):
        derive(at_seeds(*FIVE), there)


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0, 3.0, 4.0)])
def test_fewer_than_five_seeds_are_too_few(values: tuple[float, ...]) -> None:
    with pytest.raises(CourseError, match=rf"01_one: a baseline needs at least 5 different seeds, got {len(values)}\."):
        derive(at_seeds(*values))


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (a_run(5, **FAILED), r"the run at seed 5 failed, so no baseline"),
        (a_run(5, metrics=kl(math.nan)), r"the metric vae/kl is nan at seed 5"),
        (a_run(5, metrics=kl(-math.inf)), r"the metric vae/kl is -inf at seed 5"),
        (a_run(5, metrics=kl(1.0, "bits")), r"the metric vae/kl has different units: 'bits', 'nats'"),
        (a_run(5, metrics={}), r"the metric 'vae/kl' is missing from 1 of 6 runs"),
        (a_run(5, claims=[]), r"the claim 'AE is compact' is missing from 1 of 6 runs"),
        (a_run(5, versions={"torch": "2.4.0"}), r"the runs differ in their versions"),
        (a_run(5, device="cuda"), r"the runs differ in their device"),
        (a_run(5, threads=2), r"the runs differ in their threads"),
        (a_run(5, instruction_set=ELSEWHERE), r"the runs differ in their instruction set"),
    ],
)
def test_runs_that_do_not_belong_together_make_no_baseline(last: dict, sentence: str) -> None:
    with pytest.raises(CourseError, match=f"01_one: {sentence}"):
        derive(results_of(*(a_run(seed) for seed in range(5)), last))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_a_spread_is_computed_from_the_values() -> None:
    assert spread({"unit": "nats", "values": [*FIVE]}) == Spread("nats", 5, 3.0, math.sqrt(2.5), 1.0, 5.0)


def test_a_spread_is_taken_as_stored_where_only_that_was_kept() -> None:
    kept = {"unit": "nats", "n": 5, "mean": 3.0, "sd": 1.5, "low": 1.0, "high": 5.0}
    assert spread(kept) == Spread(**kept)


def test_a_lesson_is_read_by_profile_and_is_empty_where_it_was_never_measured(tmp_path: Path) -> None:
    folder = save_baseline(baseline_of(*FIVE), tmp_path).parent
    assert baselines.of_lesson("quick", "01_one", folder)["seeds"] == [0, 1, 2, 3, 4]
    assert baselines.of_lesson("quick", "02_two", folder) == baselines.of_lesson("full", "01_one", folder) == {}


# ---- storing ---------------------------------------------------------------------------------------------------------


def test_a_stored_baseline_is_read_back_unchanged(tmp_path: Path) -> None:
    baseline = baseline_of(*FIVE)
    path = save_baseline(baseline, tmp_path)
    assert path == baseline_path("quick", tmp_path) == tmp_path / "notebooks" / "baselines" / "quick.json"
    assert load_baseline("quick", tmp_path) == baseline
    assert load_baseline("full", tmp_path) is None


def test_deriving_one_lesson_keeps_the_others_and_replaces_its_own(tmp_path: Path) -> None:
    other = baseline_of(*FIVE)
    save_baseline({**other, "lessons": {"00_zero": other["lessons"]["01_one"]}}, tmp_path)
    save_baseline(baseline_of(*FIVE), tmp_path)
    save_baseline(baseline_of(*([7.0] * 5)), tmp_path)
    lessons = load_baseline("quick", tmp_path)["lessons"]
    assert list(lessons) == ["00_zero", "01_one"]
    assert lessons["00_zero"]["metrics"]["vae/kl"]["values"] == [*FIVE]
    assert lessons["01_one"]["metrics"]["vae/kl"]["values"] == [7.0] * 5


def test_the_order_in_which_the_seeds_ran_does_not_change_the_file(tmp_path: Path) -> None:
    back = at_seeds(*FIVE)
    back["lessons"]["01_one"]["runs"].reverse()
    first = save_baseline(derive(at_seeds(*FIVE)), tmp_path).read_bytes()
    assert save_baseline(derive(back), tmp_path).read_bytes() == first


def test_each_metric_and_each_claim_is_a_line_of_the_file(tmp_path: Path) -> None:
    lines = save_baseline(baseline_of(*FIVE), tmp_path).read_text(encoding="utf-8").splitlines()
    assert '    "vae/kl": {"unit": "nats", "values": [1.0, 2.0, 3.0, 4.0, 5.0]}' in lines
    assert '    "The KL is small": {"holds": 5, "runs": 5},' in lines


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (json.dumps(baseline_of(*FIVE[:4], math.nan)), r"cannot be read \(ValueError: NaN is no number\)"),
        (json.dumps(baseline_of(*FIVE[:4], -math.inf)), r"cannot be read \(ValueError: -Infinity is no number\)"),
        ("[]", "is no baseline of version 2 for the profile 'quick'"),
        (
            '{"schema_version": 2, "profile": "full", "lessons": {}}',
            "is no baseline of version 2 for the profile 'quick'",
        ),
        ('{"schema_version": 1, "profile": "quick", "lessons": {}}', "is of version 1, which kept bands"),
        ('{"schema_version": 2, "profile": "quick", "lessons": []}', r"is damaged \(data.lessons must be object\)"),
        ('{"schema_version": 2, "profile": "quick", "lessons": {"01_one": {"seeds": [0]}}}', "is damaged"),
        (json.dumps(baseline_of(*FIVE, seeds=[0, 1])), r"is damaged \(01_one: vae/kl has 5 values for 2 seeds\)"),
    ],
    ids=lambda text: text[:50],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = baseline_path("quick", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(CourseError, match=rf"^{path} {reason}.*: derive it again with `labkit baseline`\.$"):
        load_baseline("quick", tmp_path)
