"""Bands come from five seeds or more by one formula, and a run is compared metric by metric, claim by claim."""

import json
import math

import pytest

from labkit.course.baselines import (
    band,
    baseline_path,
    compare,
    derive,
    load_baseline,
    save_baseline,
)
from labkit.course.lessons import CourseError

VERSIONS = {"torch": "2.15.0", "numpy": "2.4.6", "python": "3.11.7"}
CLAIM = "The code is compact"


def run(seed, kl, *, holds=True, unit="nats", **changes):
    """One run that recorded the metric vae/kl and the claim CLAIM."""
    made = {
        "status": "passed",
        "seed": seed,
        "device": "cpu",
        "versions": VERSIONS,
        "metrics": {"vae/kl": {"value": kl, "unit": unit}},
        "claims": [{"text": CLAIM, "holds": holds, "evidence": {}, "source": "review", "reason": ""}],
    }
    return made | changes


def failed(seed):
    return {"status": "failed", "seed": seed, "error": {"message": "ValueError in cell 4 (x = y)"}}


def results(*runs, lesson="01_first", profile="quick"):
    """results.json of one lesson: one run stands for itself, several stand under "runs"."""
    entry = runs[0] if len(runs) == 1 else {"status": "passed", "seconds": 1.0, "runs": list(runs)}
    return {"schema_version": 1, "profile": profile, "lessons": {lesson: entry}}


def five(values=(1.0, 2.0, 3.0, 4.0, 5.0), **changes):
    return results(*(run(seed, value, **changes) for seed, value in enumerate(values)))


@pytest.fixture
def baseline():
    return derive(five())


# --- deriving ---------------------------------------------------------------------------------------------------------


def test_the_band_of_one_to_five_is_the_prediction_interval_worked_out_by_hand():
    # mean 3, sd sqrt(5/2), t(0.995; 4) = 4.60409487 from a table, so half = 4.60409487 * sqrt(5/2 * 6/5) = 7.97452624
    low, high = band([1, 2, 3, 4, 5])
    assert low == pytest.approx(3 - 7.97452624 - 1.1e-5, abs=3e-7)
    assert high == pytest.approx(3 + 7.97452624 + 1.1e-5, abs=8e-7)


def test_a_seed_far_from_the_others_widens_the_band_just_so_far_that_it_is_inside():
    # 14 zeros and a one: the interval alone ends at 1/15 + 2.97684 * sqrt(1/15) * sqrt(16/15) = 0.8605
    low, high = band([0.0] * 14 + [1.0])
    assert high == pytest.approx(1.000001, abs=1e-7)
    assert low == pytest.approx(1 / 15 - 0.79383, abs=1e-5)


@pytest.mark.parametrize("value", [1000.5, 12345678.9, -0.1, 1e-30])
def test_a_metric_without_spread_has_a_band_of_one_millionth_around_it(value):
    low, high = band([value] * 5)
    assert low <= value <= high
    assert high - low == pytest.approx(2e-6 * abs(value), rel=0.2)


def test_rounding_the_band_never_loses_a_value_that_was_seen():
    values = [1 + k * 1e-12 for k in (1, 3, 5, 7, 9)]
    low, high = band(values)
    assert low < values[0] < values[-1] < high


def test_a_baseline_says_what_its_bands_were_derived_from(baseline):
    assert (baseline["schema_version"], baseline["profile"]) == (1, "quick")
    lesson = baseline["lessons"]["01_first"]
    assert lesson["seeds"] == [0, 1, 2, 3, 4]
    assert lesson["versions"] == VERSIONS
    assert lesson["device"] == "cpu"
    metric = lesson["metrics"]["vae/kl"]
    assert (metric["unit"], metric["n"], metric["mean"], metric["min"], metric["max"]) == ("nats", 5, 3.0, 1.0, 5.0)
    assert metric["sd"] == pytest.approx(math.sqrt(2.5), rel=1e-7)
    assert (metric["low"], metric["high"]) == band([1, 2, 3, 4, 5])
    assert lesson["claims"] == {CLAIM: {"holds": 5, "runs": 5}}


def test_four_seeds_are_too_few():
    with pytest.raises(CourseError, match=r"01_first: a baseline needs at least 5 different seeds, got 4\."):
        derive(five((1, 2, 3, 4)))


def test_one_run_alone_is_too_few():
    with pytest.raises(CourseError, match=r"at least 5 different seeds, got 1\."):
        derive(results(run(0, 1.0)))


def test_a_seed_that_ran_twice_does_not_count_twice():
    with pytest.raises(CourseError, match=r"the seeds \[0, 1, 2, 3, 4, 4\] hold one twice"):
        derive(results(*(run(seed, 1.0) for seed in (0, 1, 2, 3, 4, 4))))


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (failed(5), r"the run at seed 5 failed, so no baseline"),
        (run(5, math.nan), r"the metric vae/kl is nan at seed 5"),
        (run(5, -math.inf), r"the metric vae/kl is -inf at seed 5"),
        (run(5, 1.0, unit="bits"), r"the metric vae/kl has different units: 'bits', 'nats'"),
        (run(5, 1.0, metrics={}), r"the metric 'vae/kl' is missing from 1 of 6 runs"),
        (run(5, 1.0, claims=[]), rf"the claim '{CLAIM}' is missing from 1 of 6 runs"),
        (run(5, 1.0, versions={"torch": "2.4.0"}), r"the runs differ in their versions"),
        (run(5, 1.0, device="cuda"), r"the runs differ in their device"),
    ],
)
def test_runs_that_do_not_belong_together_make_no_baseline(last, sentence):
    with pytest.raises(CourseError, match=f"01_first: {sentence}"):
        derive(results(*(run(seed, float(seed)) for seed in range(5)), last))


# --- comparing --------------------------------------------------------------------------------------------------------


def test_every_run_that_a_baseline_was_derived_from_is_inside_it(baseline):
    comparison = compare(five(), baseline)
    assert comparison.problems == []
    assert (comparison.lessons["01_first"].in_band, comparison.lessons["01_first"].total) == (5, 5)


@pytest.mark.parametrize("value", [10.9746, -4.9746, math.nan, math.inf])
def test_a_metric_outside_its_band_is_named_with_value_and_band(baseline, value):
    comparison = compare(results(run(7, value)), baseline)
    sentence = f"the metric vae/kl = {value:.8g} nats is outside its band [-4.9745373, 10.974538] from 5 seeds."
    assert comparison.problems == [f"01_first (seed 7): {sentence}"]
    assert (comparison.lessons["01_first"].in_band, comparison.lessons["01_first"].total) == (0, 1)


@pytest.mark.parametrize("value", [10.9745, -4.9745])
def test_a_metric_at_the_end_of_its_band_is_inside(baseline, value):
    assert compare(results(run(7, value)), baseline).problems == []


@pytest.mark.parametrize("count", [0, 1000, 101770, 25_000_000])
def test_a_count_must_be_met_exactly(count):
    baseline = derive(five([count] * 5))
    assert compare(results(run(0, count)), baseline).problems == []
    (problem,) = compare(results(run(0, count + 1)), baseline).problems
    assert f"vae/kl = {count + 1} nats is outside its band" in problem


@pytest.mark.parametrize(("before", "now", "counts"), [(True, "does not hold", "5 of 5"), (False, "holds", "0 of 5")])
def test_a_claim_that_flipped_is_found_in_either_direction(before, now, counts):
    baseline = derive(five(holds=before))
    (problem,) = compare(results(run(0, 3.0, holds=not before)), baseline).problems
    assert problem == (
        f"01_first (seed 0): the claim “{CLAIM}” flipped: it {now} now, and held in {counts} baseline runs."
    )


@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_on_which_the_seeds_disagree_never_flips(holds):
    baseline = derive(results(*(run(seed, 3.0, holds=seed == 2) for seed in range(5))))
    assert baseline["lessons"]["01_first"]["claims"] == {CLAIM: {"holds": 1, "runs": 5}}
    assert compare(results(run(0, 3.0, holds=holds)), baseline).problems == []


def test_missing_new_and_renamed_units_are_all_named(baseline):
    new = {"value": 1.0, "unit": ""}
    missing = compare(results(run(0, 3.0, metrics={}, claims=[])), baseline)
    assert missing.problems == [
        "01_first (seed 0): the metric vae/kl is missing from the run, and the baseline has it.",
        f"01_first (seed 0): the claim “{CLAIM}” is missing from the run, and the baseline has it.",
    ]
    added = run(0, 3.0)
    added["metrics"]["ae/mse"] = new
    added["claims"].append({"text": "Another", "holds": True})
    more = compare(results(added), baseline)
    assert more.problems == [
        "01_first (seed 0): the metric ae/mse has no baseline; derive it again with `labkit baseline`.",
        "01_first (seed 0): the claim “Another” has no baseline; derive it again with `labkit baseline`.",
    ]
    assert (more.lessons["01_first"].in_band, more.lessons["01_first"].total) == (1, 2)
    (unit,) = compare(results(run(0, 3.0, unit="bits")), baseline).problems
    assert unit == "01_first (seed 0): the metric vae/kl has the unit 'bits', and 'nats' in the baseline."


def test_a_failed_run_is_a_problem_and_has_none_of_its_metrics_in_band(baseline):
    comparison = compare(results(failed(3), run(4, 3.0)), baseline)
    assert comparison.problems == ["01_first (seed 3): the run failed: ValueError in cell 4 (x = y)."]
    assert (comparison.lessons["01_first"].in_band, comparison.lessons["01_first"].total) == (1, 2)


def test_a_lesson_without_a_baseline_says_how_to_derive_one(baseline):
    (problem,) = compare(results(run(0, 3.0), lesson="02_second"), baseline).problems
    assert problem == ("02_second (seed 0): the lesson has no baseline; derive one with `labkit baseline 02_second`.")


def test_runs_of_another_profile_are_not_compared(baseline):
    with pytest.raises(CourseError, match="results are of the profile 'full' and the baseline is of 'quick'"):
        compare(results(run(0, 3.0), profile="full"), baseline)


# --- storing ----------------------------------------------------------------------------------------------------------


def test_a_stored_baseline_is_read_back_unchanged(baseline, tmp_path):
    path = save_baseline(baseline, tmp_path)
    assert path == baseline_path("quick", tmp_path) == tmp_path / "tests" / "baselines" / "quick.json"
    assert load_baseline("quick", tmp_path) == baseline
    assert load_baseline("full", tmp_path) is None


def test_deriving_one_lesson_keeps_the_others_and_replaces_its_own(baseline, tmp_path):
    save_baseline(baseline, tmp_path)
    save_baseline(derive({**five(), "lessons": {"00_zeroth": five()["lessons"]["01_first"]}}), tmp_path)
    save_baseline(derive(five((7.0,) * 5)), tmp_path)
    lessons = load_baseline("quick", tmp_path)["lessons"]
    assert list(lessons) == ["00_zeroth", "01_first"]
    assert lessons["01_first"]["metrics"]["vae/kl"]["mean"] == 7.0


def test_the_order_in_which_the_seeds_ran_does_not_change_the_file(tmp_path):
    forth, back = five(), five()
    back["lessons"]["01_first"]["runs"].reverse()
    first = save_baseline(derive(forth), tmp_path).read_bytes()
    assert save_baseline(derive(back), tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"schema_version": 2, "profile": "quick"}', '{"schema_version": 1, "profile": "full"}']
)
def test_a_file_that_is_no_baseline_of_this_profile_is_refused(tmp_path, text):
    path = baseline_path("quick", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(CourseError, match=r"derive it again with `labkit baseline`\."):
        load_baseline("quick", tmp_path)


def test_the_stored_file_is_text_that_a_reviewer_can_read(baseline, tmp_path):
    text = save_baseline(baseline, tmp_path).read_text(encoding="utf-8")
    assert json.loads(text) == baseline
    assert len(text.splitlines()) > 20
