"""A run is held to the stored values on the baseline's machine, to bands elsewhere, and to further seeds in doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from tiny_course import FAILED, a_run, baseline_of, results_of

from labkit.course.comparison import compare, settle
from labkit.course.lessons import CourseError
from labkit.course.results import Results, gather

ARM = {"instruction_set": "arm64 DEFAULT"}
VALUES = (10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0)
STEADY = {"The KL is small": (8, 8), "AE is compact": (0, 8)}
DERIVE = "derive it again with `labkit baseline`"


def kl(value: float, unit: str = "nats") -> dict:
    return {"vae/kl": {"value": value, "unit": unit}}


def stored(**changes: object) -> dict:
    return baseline_of(*VALUES, claims=STEADY, **changes)


def stored_with_elsewhere(difference: float = 0.1) -> dict:
    """A baseline in which another machine moved each seed's value by `difference`, up and down in turn."""
    there = [value + difference * (-1) ** seed for seed, value in enumerate(VALUES)]
    return stored(metrics={"vae/kl": {"unit": "nats", "values": [*VALUES], "elsewhere": there}})


def run(value: float, seed: int = 0, **changes: object) -> dict:
    return a_run(seed, metrics=kl(value), **changes)


def problems(*runs: dict, baseline: dict | None = None) -> list[str]:
    return compare(results_of(*runs), baseline or stored()).problems


# ---- the same machine ------------------------------------------------------------------------------------------------


def test_on_the_baselines_machine_every_seed_gives_the_stored_value() -> None:
    assert problems(*(run(value, seed) for seed, value in enumerate(VALUES))) == []
    assert problems(run(10.0 * (1 + 1e-7))) == []


@pytest.mark.parametrize("value", [10.0001, 9.9999, 11.0, math.nan, math.inf])
def test_there_any_other_value_is_a_problem(value: float) -> None:
    comparison = compare(results_of(run(value)), stored())
    assert comparison.problems == [
        "01_one (seed 0): 1 of 1 values are not those stored for this seed on this kind of machine: "
        f"vae/kl = {value:.8g} nats (stored 10). If the change is meant, {DERIVE}."
    ]
    assert comparison.suspects == [], "further seeds would not clear it"


def test_of_many_values_that_moved_the_three_that_moved_most_are_named() -> None:
    names = "abcde"
    metrics = {name: {"unit": "", "values": [float(n + 1)] * 7 + [9.5]} for n, name in enumerate(names)}
    moved = {name: {"value": n + 1 + 0.1 * (n + 1) ** 2, "unit": ""} for n, name in enumerate(names)}
    (problem,) = problems(a_run(metrics=moved), baseline=stored(metrics=metrics))
    assert "5 of 5 values are not those stored" in problem
    assert "e = 7.5 (stored 5), d = 5.6 (stored 4), c = 3.9 (stored 3), …" in problem


@pytest.mark.parametrize(
    "change",
    [
        ARM,
        {"instruction_set": None},
        {"versions": {"python": "3.11", "torch": "2.16"}},
        {"device": "cuda"},
        {"threads": 2},
    ],
)
def test_another_machine_or_other_versions_may_give_other_values(change: dict) -> None:
    assert problems(run(10.5, **change)) == []


def test_another_python_or_labkit_must_give_the_same() -> None:
    assert problems(run(10.5, versions={"python": "3.13", "labkit": "9", "torch": "2.15"}))


# ---- another machine, another seed -----------------------------------------------------------------------------------


def test_another_seed_may_differ_as_seeds_do() -> None:
    comparison = compare(results_of(run(20.0, seed=99)), stored())
    assert comparison.problems == []
    assert comparison.runs[0].measure == "seed"
    (problem,) = problems(run(40.0, seed=99))
    assert problem.startswith("01_one (seed 99): the metric vae/kl = 40 nats is outside its band [")


def test_another_machine_may_differ_as_machines_do() -> None:
    comparison = compare(results_of(run(10.2, **ARM)), stored_with_elsewhere())
    assert comparison.problems == []
    assert comparison.runs[0].measure == "machine"
    assert comparison.runs[0].bands["vae/kl"].half == pytest.approx(0.15 * 13.5)  # no narrower than anybody cares


def test_a_band_for_machines_notices_what_a_band_for_seeds_does_not() -> None:
    assert compare(results_of(run(13.0, **ARM)), stored()).problems == []
    names = [f"m{n}" for n in range(8)]
    metrics = {name: stored_with_elsewhere()["lessons"]["01_one"]["metrics"]["vae/kl"] for name in names}
    seen = {name: {"value": 13.0 if name == "m3" else 10.1, "unit": "nats"} for name in names}
    (problem,) = problems(a_run(metrics=seen, **ARM), baseline=stored(metrics=metrics))
    assert "the metric m3 = 13 nats is outside its band" in problem


def test_where_a_seed_draws_other_numbers_runs_are_judged_as_other_seeds() -> None:
    metrics = {name: stored_with_elsewhere()["lessons"]["01_one"]["metrics"]["vae/kl"] for name in "abcd"}
    seen = {
        name: {"value": value, "unit": "nats"} for name, value in zip("abcd", (13.0, 14.0, 10.0, 10.0), strict=True)
    }
    comparison = compare(results_of(a_run(metrics=seen, **ARM)), stored(metrics=metrics))
    assert comparison.runs[0].measure == "seed"
    assert comparison.problems == []


@pytest.mark.parametrize("count", [0, 1000, 101770, 25_000_000])
@pytest.mark.parametrize("changes", [{}, ARM])
def test_a_count_must_be_met_exactly_everywhere(count: int, changes: dict) -> None:
    metrics = {"vae/kl": {"unit": "nats", "values": [float(count)] * 8}}
    assert problems(run(count, **changes), baseline=stored(metrics=metrics)) == []
    assert problems(run(count + 1, **changes), baseline=stored(metrics=metrics))


# ---- what no seed can mend -------------------------------------------------------------------------------------------


def test_missing_and_new_metrics_claims_and_units_are_all_named() -> None:
    assert problems(a_run(metrics={}, claims=[])) == [
        "01_one (seed 0): the metric vae/kl is missing from the run, and the baseline has it.",
        "01_one (seed 0): the claim “The KL is small” is missing from the run, and the baseline has it.",
        "01_one (seed 0): the claim “AE is compact” is missing from the run, and the baseline has it.",
    ]
    more = run(10.0)
    more["metrics"]["ae/mse"] = {"value": 1.0, "unit": ""}
    more["claims"].append({**more["claims"][0], "text": "Another"})
    comparison = compare(results_of(more), stored())
    assert comparison.problems == [
        f"01_one (seed 0): the metric ae/mse has no baseline; {DERIVE}.",
        f"01_one (seed 0): the claim “Another” has no baseline; {DERIVE}.",
    ]
    assert (comparison.runs[0].in_band, comparison.runs[0].total) == (1, 2)
    (unit,) = problems(a_run(metrics=kl(10.0, "bits")))
    assert unit == "01_one (seed 0): the metric vae/kl has the unit 'bits', and 'nats' in the baseline."


def test_a_failed_run_is_a_problem_and_has_none_of_its_metrics_in_band() -> None:
    comparison = compare(results_of(a_run(3, **FAILED), run(14.0, 4)), stored())
    assert comparison.problems == [
        "01_one (seed 3): the run failed: ValueError: no luck in cell 7 (raise ValueError())."
    ]
    assert [(judged.in_band, judged.total) for judged in comparison.runs] == [(0, 1), (1, 1)]


def test_a_run_that_was_planned_and_is_missing_is_a_problem() -> None:
    results: Results = gather("quick", {"01_one": [0, 1], "02_two": [0]}, [("01_one", run(10.0))])
    assert compare(results, stored()).problems == [
        "01_one (seed 1): the run was planned and is missing.",
        "02_two (seed 0): the run was planned and is missing.",
    ]


def test_a_lesson_without_a_baseline_says_how_to_derive_one() -> None:
    (problem,) = problems(run(10.0), baseline={**stored(), "lessons": {}})
    assert problem == "01_one (seed 0): the lesson has no baseline; derive one with `labkit baseline 01_one`."


def test_runs_of_another_profile_are_not_compared() -> None:
    with pytest.raises(CourseError, match="results are of the profile 'full' and the baseline is of 'quick'"):
        compare({**results_of(run(10.0)), "profile": "full"}, stored())


# ---- claims ----------------------------------------------------------------------------------------------------------


def flipped(seed: int = 0, value: float = 10.0, **changes: object) -> dict:
    claims = [{**claim, "holds": not claim["holds"]} for claim in a_run()["claims"]]
    return run(value, seed, claims=claims, **changes)


@pytest.mark.parametrize("changes", [{}, ARM])
def test_a_claim_that_all_seeds_agree_on_and_this_run_does_not_is_named(changes: dict) -> None:
    assert problems(flipped(**changes)) == [
        "01_one (seed 0): the claim “The KL is small” flipped: it does not hold now, "
        "and held at every seed of the baseline.",
        "01_one (seed 0): the claim “AE is compact” flipped: it holds now, and held at no seed of the baseline.",
    ]


def test_a_claim_on_which_the_seeds_disagree_never_flips() -> None:
    varies = baseline_of(*VALUES, claims={"The KL is small": (7, 8), "AE is compact": (1, 8)})
    assert problems(flipped(), baseline=varies) == problems(run(10.0), baseline=varies) == []
    for text, elsewhere in {"The KL is small": 7, "AE is compact": 1}.items():
        steady = stored()
        steady["lessons"]["01_one"]["claims"][text]["elsewhere"] = elsewhere
        assert len(problems(flipped(), baseline=steady)) == 1


# ---- further seeds ---------------------------------------------------------------------------------------------------


class Rerun:
    """Gives runs at further seeds, and remembers what it was asked for."""

    def __init__(self, *runs: dict) -> None:
        self.runs, self.asked = runs, []

    def __call__(self, name: str, seeds: Sequence[int]) -> list[dict]:
        self.asked.append((name, list(seeds)))
        return [{**one, "seed": seed} for one, seed in zip(self.runs, seeds, strict=True)]


def settled(first: dict, *further: dict, baseline: dict | None = None) -> tuple[list[str], Rerun]:
    baseline, rerun = baseline or stored(), Rerun(*further)
    return settle(compare(results_of(first), baseline), baseline, rerun).problems, rerun


def test_one_value_outside_is_chance_if_the_further_seeds_are_inside() -> None:
    found, rerun = settled(run(40.0, **ARM), run(13.0, **ARM), run(14.0, **ARM))
    assert (found, rerun.asked) == ([], [("01_one", [1, 2])])


def test_a_value_that_stays_outside_is_a_problem_and_all_its_values_are_named() -> None:
    found, _ = settled(run(40.0, **ARM), run(41.0, **ARM), run(42.0, **ARM))
    assert found == ["01_one: the metric vae/kl is outside its band at all seeds, 0, 1, 2: 40 nats, 41 nats, 42 nats."]


def test_values_outside_on_both_sides_are_noise_and_not_a_change() -> None:
    assert settled(run(40.0, **ARM), run(-20.0, **ARM), run(41.0, **ARM))[0] == []


def test_each_run_is_placed_in_the_band_of_its_own_seed() -> None:
    metrics = {name: stored_with_elsewhere()["lessons"]["01_one"]["metrics"]["vae/kl"] for name in "abcde"}

    def seen(shift: float, seed: int) -> dict:
        values = {name: {"value": VALUES[seed] + shift * (name == "a"), "unit": "nats"} for name in "abcde"}
        return a_run(seed, metrics=values, **ARM)

    baseline = stored(metrics=metrics)
    assert len(settled(seen(3.0, 0), seen(3.0, 1), seen(3.0, 2), baseline=baseline)[0]) == 1
    assert settled(seen(3.0, 0), seen(0.1, 1), seen(3.0, 2), baseline=baseline)[0] == []


def test_a_claim_must_flip_at_every_further_seed() -> None:
    found, _ = settled(flipped(**ARM), flipped(value=11.0, **ARM), flipped(value=12.0, **ARM))
    assert found == [
        "01_one: the claim “The KL is small” flipped: it does not hold now, and held at every seed of the baseline, "
        "also at seeds 0, 1, 2.",
        "01_one: the claim “AE is compact” flipped: it holds now, and held at no seed of the baseline, "
        "also at seeds 0, 1, 2.",
    ]
    assert settled(flipped(**ARM), flipped(value=11.0, **ARM), run(12.0, **ARM))[0] == []


def test_a_further_run_that_fails_is_a_problem() -> None:
    (problem,), _ = settled(run(40.0, **ARM), a_run(**FAILED, **ARM), run(13.0, **ARM))
    assert problem.startswith("01_one: at seed 1: the run failed: ValueError")


def test_nothing_is_run_again_without_doubt_nor_on_the_baselines_machine() -> None:
    for first in (run(10.0), run(40.0), run(10.5, **ARM), a_run(**FAILED)):
        assert settled(first)[1].asked == []


def test_further_seeds_are_those_of_the_baseline_that_have_not_run_then_new_ones() -> None:
    rerun = Rerun(run(13.0, **ARM), run(13.0, **ARM))
    runs = [run(40.0, seed, **ARM) for seed in (0, 1, 2, 3, 4, 5, 7)]
    settle(compare(results_of(*runs), stored()), stored(), rerun)
    assert rerun.asked == [("01_one", [6, 8])]
