"""Claims as TOML: what is read, what is refused, and which verdict the stored seeds give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit import PROFILES
from labkit.evidence import words
from labkit.evidence.claims import find, findings, read_claims, stored_runs, unknown_metrics
from labkit.evidence.verdict import DEPENDS, FAILS, HOLDS, UNDECIDED, UNKNOWN

LESSON = "01_one"
CLAIM = """
[[claim]]
id = "repairs"
text = "A DAE repairs masked digits better than an AE."
source = "Vincent et al. (2008), section 4"
published = "Figure 2"
decides = '"dae" < "ae"'
margin = 1
unit = "nats"

[claim.reasons]
holds = "It was trained for it."
does-not-hold = "The noise is too strong."
depends = "The average digit does as well."

[[claim.rivals]]
text = "Is it more than the average digit?"
decides = '"dae" < "average"'
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.joinpath(f"{LESSON}.toml").write_text(CLAIM, encoding="utf-8")
    return tmp_path


def test_a_claim_is_read_whole(folder: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    assert (claim.id, claim.source, claim.published) == ("repairs", "Vincent et al. (2008), section 4", "Figure 2")
    assert (claim.criterion.margin, claim.criterion.unit, claim.text) == (1, "nats", claim.criterion.text)
    assert [rival.text for rival in claim.rivals] == ["Is it more than the average digit?"]
    assert claim.reasons[FAILS] == "The noise is too strong."


def test_a_lesson_without_a_file_declares_nothing(tmp_path: Path) -> None:
    assert read_claims(LESSON, tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('source = "Vincent et al. (2008), section 4"\n', "", "claim repairs: `source` is missing"),
        ('id = "repairs"\n', "", "claim number 1: `id` is missing"),
        ('unit = "nats"\n', "", "claim repairs: a margin needs its unit"),
        ("margin = 1", "margin = -1", "the margin must be a number from 0"),
        ("margin = 1", "margin = true", "the margin must be a number from 0"),
        ("margin = 1", "margin = inf", "the margin must be a number from 0"),
        ("margin = 1", "margins = 1", "`margins` is unknown .did you mean “margin”"),
        ("does-not-hold", "fails", "its reasons: `fails` is unknown"),
        ('"dae" < "ae"', '"dae" - "ae"', "claim repairs: .* compares nothing"),
        ('"dae" < "average"', "dae < 3", "a rival: .* metrics stand in double quotes"),
        ("[[claim.rivals]]", "[claim.rivals]", "write each rival as a table"),
        ("[[claim]]", "[claim]", "may hold .*claim.* tables and nothing else"),
        ("[[claim]]", "[[claims]]", "cannot be read|may hold"),
        ("[[claim]]", "[[claim", "cannot be read"),
        ('text = "A DAE repairs masked digits better than an AE."', "text = 3", "`text` must be a text"),
    ],
)
def test_what_is_not_complete_is_refused_in_a_sentence(folder: Path, old: str, new: str, problem: str) -> None:
    assert CLAIM.count(old) == 1
    folder.joinpath(f"{LESSON}.toml").write_text(CLAIM.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=problem) as caught:
        read_claims(LESSON, folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_two_claims_of_one_id_are_refused(folder: Path) -> None:
    folder.joinpath(f"{LESSON}.toml").write_text(CLAIM + CLAIM, encoding="utf-8")
    with pytest.raises(ValueError, match="two of this id"):
        read_claims(LESSON, folder)


def test_a_metric_that_a_claim_reads_and_the_lesson_does_not_record_is_named(folder: Path) -> None:
    claims = read_claims(LESSON, folder).values()
    assert unknown_metrics(claims, {"dae": 1, "ae": 2, "average": 3}) == []
    assert unknown_metrics(claims, {"dae": 1, "ae": 2, "averages": 3}) == [
        "claim repairs compares “average”, which is not recorded (did you mean “averages”?)."
    ]


def seeds(dae: float, average: float, spread: float = 0.1) -> list[dict[str, float]]:
    return [{"dae": dae + spread * (-1) ** s, "ae": 100.0, "average": average + spread * s} for s in range(8)]


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (seeds(90, 200), HOLDS),
        (seeds(99.5, 200), DEPENDS),  # less than the margin better than the AE, and better than the average digit
        (seeds(110, 105), FAILS),
        (seeds(90, 80), DEPENDS),
        (seeds(99, 200, spread=3), UNDECIDED),
        ([], UNKNOWN),
        ([{"dae": 1.0}], UNKNOWN),  # an older edition recorded less
    ],
)
def test_the_seeds_decide(folder: Path, runs: list[dict[str, float]], verdict: str) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    assert find(claim, runs).verdict == verdict


@pytest.fixture
def measured(folder: Path) -> Path:
    """Baselines: `quick` with values of eight seeds, `full` of an older kind, `paper` not at all."""
    runs = seeds(90, 200)
    metrics = {name: {"unit": "nats", "values": [run[name] for run in runs]} for name in runs[0]}
    older = {name: {"unit": "nats", "n": 5, "mean": 1, "sd": 1, "low": 0, "high": 2} for name in metrics}
    for profile, lesson in {
        "quick": {"seeds": [*range(8)], "metrics": metrics},
        "full": {"seeds": [*range(5)], "metrics": older},
    }.items():
        baseline = {"schema_version": 2, "profile": profile, "lessons": {LESSON: lesson}}
        folder.joinpath(f"{profile}.json").write_text(json.dumps(baseline))
    return folder


def at_profiles(folder: Path) -> dict[str, list[dict[str, float]]]:
    return {profile: stored_runs(LESSON, profile, folder) for profile in PROFILES}


def test_the_verdict_at_each_profile_comes_from_its_stored_seeds(folder: Path, measured: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    found = findings(claim, at_profiles(measured))
    assert {profile: finding.verdict for profile, finding in found.items()} == {
        "quick": HOLDS,
        "full": UNKNOWN,
        "paper": UNKNOWN,
    }
    assert stored_runs(LESSON, "quick", measured) == seeds(90, 200)


def test_after_a_change_of_margin_the_same_seeds_decide_anew(folder: Path, measured: Path) -> None:
    folder.joinpath(f"{LESSON}.toml").write_text(CLAIM.replace("margin = 1", "margin = 20"), encoding="utf-8")
    (claim,) = read_claims(LESSON, folder).values()
    assert findings(claim, at_profiles(measured))["quick"].verdict == DEPENDS


def test_the_words_say_verdict_interval_rivals_this_run_and_a_reason_that_fits(folder: Path, measured: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    said = words.in_words(claim, findings(claim, at_profiles(measured)), "quick", 9.75)
    assert said.splitlines()[0].startswith(
        "**A DAE repairs masked digits better than an AE.** *(Vincent et al. (2008), section 4)*"
    )
    for part in (
        "Published: Figure 2",
        "At `quick`: **✔ holds** · +10 nats (9.93 to 10.1 over 8 seeds; the margin is 1)",
        "Is it more than the average digit? ✔ holds",
        "This run, at `quick`: +9.75 nats",
        "It was trained for it.",
    ):
        assert part in said
    assert "too strong" not in said
    assert "full" not in said


def test_where_the_profiles_differ_each_reason_names_its_own(folder: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    found = {"quick": find(claim, seeds(90, 200)), "full": find(claim, seeds(110, 105))}
    assert words.reasons(claim, found) == [
        "At `quick`: It was trained for it.",
        "At `full`: The noise is too strong.",
    ]


def test_without_seeds_no_verdict_is_given(folder: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    said = words.in_words(claim, {"quick": find(claim, [])}, "quick", 3.0)
    assert "one run decides nothing" in said
    assert "holds" not in said


def test_the_table_is_short_and_leaves_out_profiles_that_were_not_measured(folder: Path, measured: Path) -> None:
    (claim,) = read_claims(LESSON, folder).values()
    assert words.table([(claim, findings(claim, at_profiles(measured)))]).splitlines() == [
        "| claim | source | `quick` |",
        "| --- | --- | --- |",
        "| A DAE repairs masked digits better than an AE. | Vincent et al. (2008), section 4 | "
        "✔\N{NO-BREAK SPACE}holds |",
    ]
