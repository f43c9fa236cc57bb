"""The lab of a lesson: what it refuses, what it shows and what it stores in the notebook."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import threadpoolctl
import torch

import labkit
from labkit import headlines, provenance
from labkit.caps import instruction_set
from labkit.course.results import checker
from labkit.lab import session
from labkit.lab.session import Lab
from labkit.papers import autoencoders as paper

LESSON = "01_autoencoders"
KL = "kl_to_standard_normal"


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(monkeypatch, tmp_path) -> Iterator[None]:
    """No trace of the user's settings and progress, and after the test none of what `start` sets for the process."""
    for variable in ("LABKIT_BATCH", "LABKIT_OUT", "LABKIT_RECORDS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    ours, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), threadpoolctl.threadpool_limits():
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    random.setstate(ours)
    np.random.set_state(numpys)


@pytest.fixture(autouse=True)
def shown(monkeypatch) -> list[SimpleNamespace]:
    """What the lab displays, in order: `data` by MIME type, and `metadata`."""
    outputs = []

    def display(data: dict[str, Any], *, raw: bool = False, metadata: dict[str, Any] | None = None) -> None:
        assert raw, "IPython would show the repr of the dict"
        json.dumps(data, allow_nan=False)  # what is not JSON cannot be stored in a notebook
        outputs.append(SimpleNamespace(data=data, metadata=metadata or {}))

    monkeypatch.setattr(session, "display", display)
    return outputs


@pytest.fixture
def lab(shown) -> Lab:
    started = labkit.start(LESSON)
    shown.clear()
    return started


def record_of(output: SimpleNamespace) -> dict[str, Any]:
    return output.data[labkit.RECORD_MIME]


def run_cell(lab: Lab, source: str) -> dict[str, Any]:
    """The globals of a notebook after a cell."""
    notebook = {"lab": lab, "torch": torch}
    exec(source, notebook)
    return notebook


# ---- start ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["fast", "", "Quick", None])
def test_an_unknown_profile_is_refused_with_the_known_ones(profile: Any) -> None:
    with pytest.raises(ValueError, match=r"^unknown profile .*: choose one of quick, full, paper$"):
        labkit.start(LESSON, profile=profile)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", None])
def test_a_seed_that_is_no_natural_number_is_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match=rf"^the seed must be a non-negative integer, got {seed!r}$"):
        labkit.start(LESSON, seed=seed)


@pytest.mark.parametrize("lesson", ["99_nothing", "autoencoders", "01_", ""])
def test_an_unknown_lesson_is_refused_with_where_to_find_the_known_ones(lesson: str) -> None:
    with pytest.raises(ValueError, match=rf"^unknown lesson '{lesson}': `labkit list` shows the lessons$"):
        labkit.start(lesson)


def test_the_start_is_recorded_with_everything_that_a_rerun_needs_to_know(shown) -> None:
    labkit.start(LESSON, seed=3)
    (output,) = shown
    record = record_of(output)
    assert set(record.pop("versions")) == {"python", "labkit", "torch", "numpy", "scipy", "scikit-learn"}
    assert record.pop("instruction_set") == instruction_set()
    expected = {"kind": "session", "lesson": LESSON, "profile": "quick", "seed": 3, "device": "cpu", "threads": 1}
    assert record == expected
    assert output.data["text/plain"] == f"{LESSON} at profile 'quick', seed 3, on cpu with 1 thread(s)"


def test_caps_that_came_too_late_are_told(shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "too_late", lambda: "Restart the kernel.")
    labkit.start(LESSON)
    assert shown[-1].data["text/plain"] == "Restart the kernel."


def test_what_is_recorded_is_appended_to_the_file_that_the_session_is_told_of(shown, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LABKIT_RECORDS", str(tmp_path / "a" / "b"))
    for _ in range(2):  # the second session begins anew
        lab = labkit.start(LESSON, seed=3)
        lab.record("vae/kl", 1.5, unit="nats")
        lab.claim("It is größer.", holds=True, evidence={"AE": 1}, source="review")
        lab.show(plt.figure(), alt="A cat")
    (file,) = (tmp_path / "a" / "b").iterdir()
    assert file.name == f"{LESSON}-quick-3.jsonl"
    written = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert written == [record_of(output) for output in shown if labkit.RECORD_MIME in output.data][-4:]
    assert [record["kind"] for record in written] == ["session", "metric", "claim", "figure"]


@pytest.mark.parametrize("profile", labkit.PROFILES)
def test_the_recorded_number_of_threads_is_the_one_that_is_used(shown, profile: str) -> None:
    labkit.start(LESSON, profile=profile)
    assert torch.get_num_threads() == record_of(shown[0])["threads"]


def test_the_seed_decides_what_the_global_generators_draw() -> None:
    def draws(seed: int) -> tuple[float, ...]:
        labkit.start(LESSON, seed=seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_only_the_profile_paper_looks_for_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = {profile: session._device(profile).type for profile in labkit.PROFILES}
    assert devices == {"quick": "cpu", "full": "cpu", "paper": "cuda"}


# ---- profile and randomness -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    epochs: int
    hidden: tuple[int, ...] = (8, 4)


@pytest.mark.parametrize(("profile", "epochs"), [("quick", 1), ("full", 2), ("paper", 3)])
def test_the_profile_chooses_the_configuration_and_records_its_values(shown, profile: str, epochs: int) -> None:
    config = labkit.start(LESSON, profile=profile).choose(quick=Config(1), full=Config(2), paper=Config(3))
    assert config == Config(epochs)
    assert record_of(shown[-1]) == {"kind": "config", "values": {"epochs": epochs, "hidden": [8, 4]}}


def test_a_configuration_may_be_a_single_value(lab, shown) -> None:
    assert lab.choose(quick=10, full=20, paper=30) == 10
    assert record_of(shown[-1]) == {"kind": "config", "values": {"value": 10}}


def test_a_generator_depends_on_seed_and_name_and_on_nothing_that_ran_before() -> None:
    def draw(seed: int, name: str) -> float:
        return torch.rand(1, generator=labkit.start(LESSON, seed=seed).generator(name)).item()

    lab = labkit.start(LESSON, seed=1)
    torch.rand(10), torch.rand(10, generator=lab.generator("vae"))
    assert torch.rand(1, generator=lab.generator("vae")).item() == draw(1, "vae")
    assert len({draw(1, "vae"), draw(1, "ae"), draw(2, "vae")}) == 3


def test_a_generator_draws_on_the_cpu_unless_it_is_told_a_device(lab, monkeypatch) -> None:
    monkeypatch.setattr(lab, "device", torch.device("cuda"))
    assert lab.generator("vae").device == torch.device("cpu")
    assert lab.generator("vae", "cpu").initial_seed() == lab.generator("vae").initial_seed()
    asked, made = [], torch.Generator()
    monkeypatch.setattr(session.torch, "Generator", lambda device: asked.append(device) or made)
    lab.generator("vae", lab.device)
    assert asked == [torch.device("cuda")]


def test_a_seeded_block_draws_the_same_each_time_and_leaves_the_global_generator_as_it_was(lab) -> None:
    def inside(name: str) -> float:
        with lab.seeded(name):
            return torch.rand(1).item()

    state = torch.get_rng_state()
    assert inside("weights") == inside("weights") != inside("judge")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seeded_block_that_fails_leaves_the_global_generator_as_it_was_too(lab) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), lab.seeded("weights"):
        torch.rand(1).div_(1 // 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("profile", labkit.PROFILES)
def test_training_is_checkpointed_in_the_output_folder_and_only_for_the_profile_paper(
    monkeypatch, tmp_path, profile: str
) -> None:
    lab = labkit.start(LESSON, profile=profile, seed=4)
    assert lab.checkpoint("vae") is None
    monkeypatch.setenv("LABKIT_OUT", str(tmp_path))
    if profile != "paper":
        assert lab.checkpoint("vae") is None
        return
    lab.choose(quick=None, full=None, paper="one configuration")
    first, other = lab.checkpoint("vae"), lab.checkpoint("ae")
    assert (first.parent, first.suffix) == (tmp_path / "checkpoints", ".safetensors")
    lab.choose(quick=None, full=None, paper="another configuration")
    assert len({first, other, lab.checkpoint("vae")}) == 3


# ---- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"), [(161_800, "161,800"), (9_999, "9999"), (1e12, "1e+12"), (12_345.6, "1.235e+04")]
)
def test_of_a_count_all_digits_are_shown(lab, shown, count: float, text: str) -> None:
    lab.record("shared", count)
    assert shown[0].data["text/plain"] == f"shared = {text}"


@pytest.mark.parametrize("value", [2.5, np.float32(2.5), torch.tensor(2.5)])
def test_a_metric_is_shown_as_text_beside_its_record(lab, shown, value: Any) -> None:
    lab.record("vae/kl", value, unit="nats")
    (output,) = shown
    assert output.data == {
        "text/plain": "vae/kl = 2.5 nats",
        "application/vnd.labkit.record+json": {"kind": "metric", "name": "vae/kl", "value": 2.5, "unit": "nats"},
    }
    assert lab.metrics == {"vae/kl": 2.5}


def test_several_metrics_of_one_unit_are_recorded_one_by_one(lab, shown) -> None:
    lab.record_all({"a": 1, "b": 2}, unit="nats")
    assert [(record_of(output)["name"], record_of(output)["unit"]) for output in shown] == [
        ("a", "nats"),
        ("b", "nats"),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(-torch.inf)])
def test_a_metric_that_is_not_finite_is_refused_and_not_recorded(lab, shown, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^vae/kl is (nan|inf|-inf): a recorded value must be finite"):
        lab.record("vae/kl", value)
    assert (lab.metrics, shown) == ({}, [])


def test_the_text_is_filled_with_recorded_values(lab, shown) -> None:
    lab.record_all({"vae/kl": 12.345, "mask=0.5/error of AE": 99.96})
    lab.tell("The KL is **{vae/kl:.1f}** nats, the error {mask=0.5/error of AE:.0f}; {{braces}} stay.")
    said = "The KL is **12.3** nats, the error 100; {braces} stay."
    assert shown[-1].data == {"text/markdown": said, "text/plain": said}


def test_the_text_cannot_hold_a_value_that_was_not_recorded(lab, shown) -> None:
    lab.record("vae/kl", 1)
    shown.clear()
    with pytest.raises(KeyError, match="not recorded in this lesson so far: ae/error, vae/rate"):
        lab.tell("{vae/kl:.1f} {vae/rate:.1f} {ae/error}")
    assert shown == []


# ---- claims ---------------------------------------------------------------------------------------------------------


def test_a_claim_is_recorded_with_its_evidence_and_shown_with_the_verdict(lab, shown) -> None:
    evidence = {"AE": torch.tensor(1.5), "VAE": np.float64(2.25), "kind": "median"}
    lab.claim("VAE is better.", holds=np.False_, evidence=evidence, source="review, (b)", reason="It pays for the KL.")
    (output,) = shown
    assert record_of(output) == {
        "kind": "claim",
        "text": "VAE is better.",
        "holds": False,
        "evidence": {"AE": 1.5, "VAE": 2.25, "kind": "median"},
        "source": "review, (b)",
        "reason": "It pays for the KL.",
    }
    for mime in ("text/plain", "text/markdown"):
        for part in ("✘ does not hold", "VAE is better.", "AE 1.5, VAE 2.25, kind median", "It pays for the KL."):
            assert part in output.data[mime]


def test_a_claim_whose_evidence_is_not_finite_is_refused(lab, shown) -> None:
    with pytest.raises(ValueError, match=r"^AE is nan: a recorded value must be finite"):
        lab.claim("It holds.", holds=True, evidence={"AE": float("nan")}, source="review")
    assert (lab.claims, shown) == ({}, [])


@pytest.fixture
def baselines(monkeypatch, tmp_path) -> Path:
    """Where the test puts baselines, and claims that are declared: at first there are none."""
    monkeypatch.setattr("labkit.baselines.FOLDER", tmp_path)
    monkeypatch.setattr("labkit.evidence.claims.FOLDER", tmp_path)
    return tmp_path


def store(folder: Path, profile: str, counts: dict[str, dict[str, int]]) -> None:
    """A baseline of LESSON that holds nothing but how often claims held."""
    lessons = {LESSON: {"claims": counts}}
    (folder / f"{profile}.json").write_text(json.dumps({"schema_version": 2, "profile": profile, "lessons": lessons}))


def rows(output: SimpleNamespace) -> list[list[str]]:
    """The cells of a Markdown table, below its two head lines."""
    assert output.data["text/markdown"] == output.data["text/plain"]
    lines = output.data["text/markdown"].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_table_says_where_else_each_claim_was_seen_to_hold(lab, shown, baselines: Path) -> None:
    seen = {"steady": (5, 5), "never": (0, 5), "unsteady": (2, 5)}
    counts = {text: {"holds": holds, "runs": runs} for text, (holds, runs) in seen.items()}
    store(baselines, "full", counts)
    for text in (*seen, "new"):
        lab.claim(text, holds=True, evidence={"AE": 1}, source="review")
    lab.claims_table()
    assert rows(shown[-1]) == [
        ["steady", "review", "**✔ holds**", "AE 1", "not run", "✔ holds (5 of 5 seeds)", "not run"],
        ["never", "review", "**✔ holds**", "AE 1", "not run", "✘ does not hold (0 of 5 seeds)", "not run"],
        ["unsteady", "review", "**✔ holds**", "AE 1", "not run", "varies: 2 of 5 seeds", "not run"],
        ["new", "review", "**✔ holds**", "AE 1", "not run", "not run", "not run"],
    ]


def test_claims_that_were_tested_at_other_profiles_alone_follow_in_the_table(lab, shown, baselines: Path) -> None:
    counts = {"also here": {"holds": 5, "runs": 5}, "only there": {"holds": 4, "runs": 5}}
    store(baselines, "full", counts)
    lab.claim("also here", holds=False, evidence={"AE": 1}, source="review")
    lab.claims_table()
    assert rows(shown[-1]) == [
        ["also here", "review", "**✘ does not hold**", "AE 1", "not run", "✔ holds (5 of 5 seeds)", "not run"],
        ["only there", "-", "not tested", "-", "not run", "varies: 4 of 5 seeds", "not run"],
    ]


def test_a_baseline_that_cannot_be_read_is_named_below_the_table(lab, shown, baselines: Path) -> None:
    (baselines / "full.json").write_text('{"schema_version": 1, "profile": "full", "lessons": {}}')
    lab.claim("It holds.", holds=True, evidence={"AE": 1}, source="review")
    lab.claims_table()
    table, problem = shown[-1].data["text/markdown"].split("\n\n")
    assert "**✔ holds**" in table
    assert "full.json is of version 1, which kept bands instead of the value at each seed: derive it again" in problem


def test_the_last_record_of_a_claim_stands_in_the_table(lab, shown, baselines: Path) -> None:
    lab.claim("It holds.", holds=True, evidence={"AE": 1}, source="review")
    lab.claim("It holds.", holds=False, evidence={"AE": 2}, source="review")
    lab.claims_table()
    assert [row[2:4] for row in rows(shown[-1])] == [["**✘ does not hold**", "AE 2"]]


def test_a_bar_within_a_claim_does_not_end_its_cell(lab, shown, baselines: Path) -> None:
    lab.claim("log p(x|z) rises.", holds=True, evidence={"K": 1}, source="paper")
    lab.claims_table()
    assert "| log p(x\\|z) rises. | paper |" in shown[-1].data["text/markdown"]


# ---- claims that are declared ---------------------------------------------------------------------------------------

DECLARED = """
[[claim]]
id = "compact"
text = "The VAE is more compact."
source = "review, (a)"
decides = '"vae" < "ae"'
unit = "nats"
"""


@pytest.fixture
def declared(baselines: Path) -> None:
    """One claim of LESSON, and a baseline of `quick` in which it holds at each of five seeds."""
    baselines.joinpath(f"{LESSON}.toml").write_text(DECLARED, encoding="utf-8")
    metrics = {"vae": {"unit": "nats", "values": [1, 2, 3, 4, 5]}, "ae": {"unit": "nats", "values": [3, 4, 6, 6, 7]}}
    lessons = {LESSON: {"seeds": [*range(5)], "metrics": metrics, "claims": {}}}
    text = json.dumps({"schema_version": 2, "profile": "quick", "lessons": lessons})
    baselines.joinpath("quick.json").write_text(text, encoding="utf-8")


def test_a_declared_claim_shows_the_verdict_of_the_seeds_and_this_run(lab, shown, declared) -> None:
    lab.record_all({"vae": 5.0, "ae": 3.5})  # at this seed it is the other way round
    shown.clear()
    lab.claim("compact")
    words, picture = shown
    assert "At `quick`: **✔ holds** · +2.2 nats" in words.data["text/markdown"]
    assert "This run, at `quick`: -1.5 nats" in words.data["text/markdown"]
    assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
    told = "quick: +2.2 nats (1.77 to 2.63 over 5 seeds); this run -1.5 nats."
    alt = f"Dots, one a seed, on a line a profile. {told}"
    assert picture.metadata == {"image/png": {"alt": alt}}


def test_a_claim_that_is_not_declared_or_not_measured_is_named(lab, shown, declared) -> None:
    with pytest.raises(KeyError, match=r"'compct' is no claim .*those are compact"):
        lab.claim("compct")
    with pytest.raises(KeyError, match="claim compact compares “vae”, which is not recorded"):
        lab.claim("compact")


def test_the_table_of_a_lesson_that_declares_its_claims_is_that_of_the_seeds(lab, shown, declared) -> None:
    lab.claims_table()
    assert (
        shown[-1].data["text/markdown"].splitlines()[-1]
        == "| The VAE is more compact. | review, (a) | ✔\N{NO-BREAK SPACE}holds |"
    )


def test_a_damaged_baseline_is_said_once_above_the_table(lab, shown, declared, baselines: Path) -> None:
    path = baselines / f"{LESSON}.toml"
    path.write_text(DECLARED + DECLARED.replace('"compact"', '"again"'), encoding="utf-8")
    baselines.joinpath("full.json").write_text("{", encoding="utf-8")
    lab.claims_table()
    said, table = shown
    assert "full.json cannot be read" in said.data["text/plain"]
    assert table.data["text/markdown"].count("✔\N{NO-BREAK SPACE}holds") == 2


def test_a_damaged_baseline_is_said_and_the_lab_goes_on(lab, shown, declared, baselines: Path) -> None:
    baselines.joinpath("full.json").write_text("{", encoding="utf-8")
    lab.record_all({"vae": 5.0, "ae": 3.5})
    shown.clear()
    lab.claim("compact")
    assert "full.json cannot be read" in shown[0].data["text/plain"]
    assert "✔ holds" in shown[1].data["text/markdown"]


# ---- figures --------------------------------------------------------------------------------------------------------


def drawing() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([1, 3, 2])
    return figure


def test_a_figure_is_stored_with_its_alt_text_and_closed(lab, shown) -> None:
    figure = drawing()
    lab.show(figure, alt="A line that rises, then falls.")
    output = shown[0]
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    assert output.metadata == {"image/png": {"alt": "A line that rises, then falls."}}
    assert record_of(output) == {"kind": "figure", "alt": "A line that rises, then falls."}
    assert "A line that rises, then falls." in output.data["text/plain"]
    assert not plt.fignum_exists(figure.number)


def test_a_reader_who_is_not_given_the_alt_text_finds_it_below_the_figure(lab, shown) -> None:
    lab.show(drawing(), alt="AE < VAE & more.")
    assert "AE &lt; VAE &amp; more." in shown[-1].data["text/markdown"]


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_alt_text_is_refused(lab, shown, alt: str) -> None:
    with pytest.raises(ValueError, match=r"^a figure needs alt text: say in a sentence or two what it shows$"):
        lab.show(drawing(), alt=alt)
    assert shown == []
    plt.close("all")


def test_the_alt_text_has_no_default(lab) -> None:
    with pytest.raises(TypeError, match="alt"):
        lab.show(None)


def test_a_headline_figure_is_recorded_with_its_name_and_the_data_that_were_loaded_before(
    lab, shown, monkeypatch
) -> None:
    monkeypatch.setattr(provenance, "SOURCES", {"mnist": "Official files."})
    monkeypatch.setattr(provenance, "FILES", {"MNIST/raw/images.gz": "440f"})
    lab.show(drawing(), alt="A line.", headline="roc-by-digit")
    noted = {"headline": "roc-by-digit", "data": {"mnist": "Official files."}, "files": {"MNIST/raw/images.gz": "440f"}}
    assert record_of(shown[0]) == {"kind": "figure", "alt": "A line."} | noted
    checker("record_figure")(record_of(shown[0]))


@pytest.mark.parametrize("name", ["", "ROC", "roc by digit", "roc_2", "-roc", "../roc", "roc\n", 3])
def test_a_headline_is_a_plain_name(lab, shown, name: Any) -> None:
    with pytest.raises(ValueError, match=r"^a headline is named by lower-case letters, digits and single hyphens, not"):
        lab.show(drawing(), alt="A line.", headline=name)
    assert shown == []
    plt.close("all")


def test_two_figures_with_one_headline_are_refused_but_a_cell_may_run_again(lab, shown, monkeypatch) -> None:
    for _ in range(2):
        lab.show(drawing(), alt="A line.", headline="roc")
    monkeypatch.setenv("LABKIT_BATCH", "1")
    lab.show(drawing(), alt="A line.", headline="another")
    with pytest.raises(ValueError, match="two figures of this lesson have the headline 'roc': each needs its own"):
        lab.show(drawing(), alt="A line.", headline="roc")
    plt.close("all")


STORED = {"alt": "A < B.", "profile": "full", "seed": 0, "data": {"mnist": "All of MNIST.", "photos": "Seven."}}
NO_FIGURE = b"\x89PNG no more"


@pytest.fixture
def figures(monkeypatch, tmp_path) -> Path:
    """The folder of the stored figures of LESSON: one, "roc"."""
    monkeypatch.setattr(headlines, "FOLDER", tmp_path)
    folder = tmp_path / LESSON
    folder.mkdir()
    (folder / "roc.png").write_bytes(NO_FIGURE)
    (folder / "roc.json").write_text(json.dumps(STORED), encoding="utf-8")
    return folder


def test_the_figure_of_full_is_shown_at_quick_in_words_too_and_is_no_record(lab, shown, figures: Path) -> None:
    lab.at_full("roc")
    figure, words = shown
    assert base64.b64decode(figure.data["image/png"]) == NO_FIGURE
    assert figure.metadata == {"image/png": {"alt": "A < B."}}
    assert labkit.RECORD_MIME not in figure.data | words.data
    said = words.data["text/markdown"]
    assert said.startswith("The same at `full`, seed 0. Data: All of MNIST. Seven.\n")
    assert "The figure in words" in said
    assert "A &lt; B." in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "codes",
            "No figure 'codes' of a run at `full` is stored: make it with `labkit run 01 --profile full --out "
            "build/full` and `labkit figures 01 --from build/full/results.json`.",
        ),
        ("../roc", "a headline is named by lower-case letters, digits and single hyphens, not '../roc'"),
    ],
)
def test_a_figure_that_is_not_stored_is_a_sentence_and_stops_nothing(lab, shown, figures: Path, name, says) -> None:
    lab.at_full(name)
    assert [output.data["text/plain"] for output in shown] == [says]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "roc.png").unlink(),
        lambda folder: (folder / "roc.json").unlink(),
        lambda folder: (folder / "roc.png").write_bytes(b"<<<<<<< HEAD"),
        lambda folder: (folder / "roc.json").write_text("{"),
        lambda folder: (folder / "roc.json").write_text("[]"),
        lambda folder: (folder / "roc.json").write_text('{"alt": "A", "profile": "full", "seed": 0}'),
    ],
)
def test_a_damaged_figure_is_a_sentence_and_stops_nothing(lab, shown, figures: Path, damage) -> None:
    damage(figures)
    lab.at_full("roc")
    (output,) = shown
    assert re.fullmatch(
        r"The stored figure \S+roc\.png is damaged \(.+\): .* `labkit figures`\.", output.data["text/plain"]
    )


@pytest.mark.parametrize("profile", ["full", "paper"])
def test_at_the_other_profiles_the_figure_above_is_the_large_one(shown, figures: Path, profile: str) -> None:
    lab = labkit.start(LESSON, profile=profile)
    shown.clear()
    lab.at_full("roc")
    said = f"This run is at {profile!r}: the figure above is the large one."
    assert [output.data["text/plain"] for output in shown] == [said]


def test_the_same_figure_is_the_same_bytes_and_names_no_software_version(lab, shown) -> None:
    lab.show(drawing(), alt="A line.")
    lab.show(drawing(), alt="A line.")
    one, two = (output.data["image/png"] for output in shown if "image/png" in output.data)
    assert one == two
    assert b"atplotlib" not in base64.b64decode(one)


# ---- exercises ------------------------------------------------------------------------------------------------------


def own_kl(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=-1)


def half_missing(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    return 2 * own_kl(mu, logvar)


def stub(*given: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError


def test_the_learners_function_is_used_when_it_is_right(lab, shown) -> None:
    assert lab.check(own_kl, KL) is own_kl
    record = {"kind": "exercise", "name": KL, "outcome": "correct", "checks": 6, "passed": 6, "mistake": None}
    assert record_of(shown[-1]) == record
    assert shown[-1].data["text/plain"] == f"{KL}: correct (6 checks)"


def test_the_reference_is_used_where_nothing_was_written_yet(lab, shown) -> None:
    assert lab.check(stub, KL) is paper.kl_to_standard_normal
    record = {"kind": "exercise", "name": KL, "outcome": "not attempted", "checks": 6, "passed": 0, "mistake": None}
    assert record_of(shown[-1]) == record
    assert shown[-1].data["text/plain"] == f"{KL}: not attempted yet: the lab goes on with the reference."


def test_the_reference_is_used_where_the_answer_is_wrong_and_the_cause_is_named(lab, shown) -> None:
    assert lab.check(half_missing, KL) is paper.kl_to_standard_normal
    record = record_of(shown[-1])
    assert (record["outcome"], record["mistake"], record["passed"]) == ("not yet", "half-missing", 1)
    said = shown[-1].data["text/plain"]
    assert said.startswith(f"{KL}: not yet. The factor 1/2 is missing. At ")
    assert said.endswith("Until then the lab goes on with the reference.")


@pytest.mark.parametrize("first", ["raise NotImplementedError", "return mu.sum()"])
def test_the_check_cell_run_again_says_that_the_function_is_the_librarys_and_notes_nothing(
    lab, shown, tmp_path, first: str
) -> None:
    notebook = run_cell(lab, f"def {KL}(mu, logvar): {first}\n{KL} = lab.check({KL})")
    noted = (tmp_path / "progress.json").read_bytes()
    for _ in range(2):
        exec(f"{KL} = lab.check({KL})", notebook)
        assert notebook[KL] is paper.kl_to_standard_normal
        assert shown[-1].data["text/plain"].startswith(f"{KL}: this is the library's own function, not yours: run the")
        assert (record_of(shown[-1])["outcome"], record_of(shown[-1])["passed"]) == ("not attempted", 0)
    assert (tmp_path / "progress.json").read_bytes() == noted


def test_the_librarys_function_is_not_noted_as_an_attempt_at_all(lab, tmp_path) -> None:
    run_cell(lab, f"from labkit.papers import autoencoders as paper\n{KL} = lab.check(paper.{KL})")
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.parametrize(
    "right",
    [
        f"def {KL}(mu, logvar): return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(-1)",
        f"{KL} = lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(-1)",
        f"def mine(mu, logvar): return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(-1)\n{KL} = mine",
        f"import functools\n{KL} = functools.partial(lambda half, mu, logvar: "
        "half * (mu**2 + logvar.exp() - logvar - 1).sum(-1), 0.5)",
    ],
    ids=["def", "lambda", "another name", "partial"],
)
def test_an_answer_is_known_by_the_name_that_it_has_in_the_notebook(lab, shown, right: str) -> None:
    notebook = run_cell(lab, f"{right}\nanswer = {KL}\n{KL} = lab.check({KL})")
    assert notebook[KL] is notebook["answer"]
    assert (record_of(shown[-1])["name"], record_of(shown[-1])["outcome"]) == (KL, "correct")


def test_a_name_bound_to_none_is_no_function_and_the_lab_goes_on(lab, shown) -> None:
    notebook = run_cell(lab, f"{KL} = None\n{KL} = lab.check({KL})")
    assert notebook[KL] is paper.kl_to_standard_normal
    assert f"{KL} is None, not a function" in shown[-1].data["text/plain"]


@pytest.mark.parametrize(
    ("source", "probable"),
    [
        ("def kl_to_standard_norml(mu, logvar): ...", KL),
        ("def own_kl(mu, logvar): ...", KL),
        ("def something(log_weights): ...", "iwae_bound"),
        ("import functools\nsomething = functools.partial(lambda half, log_weights: 0, 0.5)", "iwae_bound"),
        ("something = torch.nn.Linear(1, 1)", "NAME"),
    ],
    ids=["misspelt", "a word of it", "signature", "partial", "module"],
)
def test_a_function_of_another_name_comes_back_with_the_exercise_that_it_probably_is(
    lab, shown, source: str, probable: str
) -> None:
    name = "something" if "something" in source else source.split()[1].partition("(")[0]
    notebook = run_cell(lab, f"{source}\nanswer = {name}\n{name} = lab.check({name})")
    assert notebook[name] is notebook["answer"]
    (output,) = shown
    said = output.data["text/plain"]
    assert labkit.RECORD_MIME not in output.data
    assert f"is no exercise of lesson {LESSON}: " in said
    assert f"{KL}, " in said
    assert said.endswith(f', "{probable}")')


def test_what_a_check_says_is_shown_as_prose(lab, shown) -> None:
    lab.check(half_missing, KL)
    assert shown[-1].data["text/html"].startswith(f"{KL}: <b>not yet</b>. ")
    assert shown[-1].data["text/plain"].startswith(f"{KL}: not yet. ")


def test_the_check_of_none_says_which_cell_to_run(lab, shown) -> None:
    assert lab.check(None) is None
    assert shown[-1].data["text/plain"] == (
        "What is to be checked is None, not a function: run the cell that defines it with `def`."
    )


def test_the_inputs_of_the_failing_probe_are_shown_and_returned_with_both_results(lab, shown) -> None:
    lab.check(half_missing, KL)
    values = lab.inputs(KL)
    assert list(values) == ["mu", "logvar", "expected", "yours"]
    assert torch.equal(values["yours"], half_missing(values["mu"], values["logvar"]))
    assert torch.equal(values["expected"], own_kl(values["mu"], values["logvar"]))
    table = shown[-1].data["text/markdown"].splitlines()
    assert [line.split(" | ")[0] for line in table] == ["|", "|---|---|", "| mu", "| logvar", "| expected", "| yours"]


def test_without_a_failing_check_there_are_no_inputs(lab, shown) -> None:
    assert lab.inputs(KL) == {}
    assert shown[-1].data["text/plain"] == f"The check of {KL} has not been run yet: there are no inputs to show."
    lab.check(half_missing, KL)
    lab.check(own_kl, KL)
    assert lab.inputs(KL) == {}
    assert "found nothing wrong" in shown[-1].data["text/plain"]


def test_hints_come_one_after_the_other_and_the_last_one_stays(lab, shown) -> None:
    hints = ("Which axis?", "One number for each image.", "return ...")
    lab.exercises[KL] = replace(lab.exercises[KL], hints=hints)
    for _ in range(5):
        lab.hint(KL)
    said = [output.data["text/plain"] for output in shown]
    assert said == [
        f'Hint 1 of 3: {hints[0]} (lab.hint("{KL}") again for more)',
        f'Hint 2 of 3: {hints[1]} (lab.hint("{KL}") again for more)',
        *[f'Hint 3 of 3: {hints[2]} (then: lab.solution("{KL}"))'] * 3,
    ]


def test_a_hint_of_several_lines_is_shown_as_code(lab, shown) -> None:
    skeleton = "def kl(mu):\n    return ___\n"
    lab.exercises[KL] = replace(lab.exercises[KL], hints=(skeleton, "Two.", "Three."))
    lab.hint(KL)
    assert shown[-1].data == {
        "text/markdown": f'Hint 1 of 3:\n\n```python\n{skeleton}```\n\n(`lab.hint("{KL}")` again for more)',
        "text/plain": f'Hint 1 of 3:\n\n{skeleton}\n(lab.hint("{KL}") again for more)',
    }


@pytest.mark.parametrize("method", ["hint", "solution", "inputs"])
@pytest.mark.parametrize("given", ["lab.exercises[{name!r}].reference", "{name}", "'{name}'"])
def test_help_is_given_for_a_function_as_for_its_name(lab, shown, method: str, given: str) -> None:
    run_cell(lab, f"{KL} = lambda mu, logvar: None\nlab.{method}({given.format(name=KL)})")
    (output,) = shown
    assert {"hint": "Hint 1 of 3", "solution": f"def {KL}(", "inputs": KL}[method] in output.data["text/plain"]


def test_each_exercise_has_hints_of_its_own(lab, shown) -> None:
    lab.hint(KL)
    lab.hint("elbo")
    assert shown[-1].data["text/plain"].startswith(f"Hint 1 of 3: {lab.exercises['elbo'].hints[0]}")


def test_the_solution_is_the_plain_answer_in_color_and_in_plain_text_with_the_name_of_the_reference(lab, shown) -> None:
    lab.exercises[KL] = replace(lab.exercises[KL], answer=own_kl)
    lab.solution(KL)
    data = shown[-1].data
    assert data["text/plain"].startswith(
        f"# The checks compare with labkit.papers.autoencoders.{KL}, and the lab goes on with it.\ndef own_kl(mu, "
    )
    assert "return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=-1)" in data["text/plain"]
    assert "highlight" in data["text/html"]


@pytest.mark.parametrize("method", ["hint", "solution", "inputs"])
def test_help_with_what_is_no_exercise_names_the_exercises(lab, method: str) -> None:
    with pytest.raises(KeyError, match=f"'kl' is no exercise of lesson {LESSON}: did you mean '{KL}'. Its exercises"):
        getattr(lab, method)("kl")


# ---- progress -------------------------------------------------------------------------------------------------------


def test_progress_lists_every_exercise_with_its_latest_outcome_across_sessions(lab, shown) -> None:
    lab.check(own_kl, KL)
    lab.check(stub, "elbo")
    lab.check(half_missing, KL)  # once solved stays solved
    lab.check(half_missing, "iwae_bound")
    labkit.start(LESSON).progress()
    table = shown[-1].data["text/markdown"]
    assert table.splitlines()[0] == f"| exercise | 1 of {len(lab.exercises)} solved | attempts | hints |"
    states = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in table.splitlines()[2:])}
    untouched = {exercise: ["not attempted", "0", "0"] for exercise in lab.exercises}
    assert states == untouched | {KL: ["broken again", "2", "0"], "iwae_bound": ["not yet", "1", "0"]}


def test_hints_go_on_where_an_earlier_session_ended(lab, shown) -> None:
    lab.hint(KL)
    labkit.start(LESSON).hint(KL)
    assert shown[-1].data["text/plain"].startswith("Hint 2 of 3")


def test_a_batch_run_neither_reads_nor_writes_the_learners_progress(monkeypatch, tmp_path, shown) -> None:
    file = tmp_path / "progress.json"
    labkit.start(LESSON).check(own_kl, KL)
    before = file.read_bytes()
    monkeypatch.setenv("LABKIT_BATCH", "1")
    lab = labkit.start(LESSON)
    lab.check(own_kl, KL)
    lab.progress()
    assert f"0 of {len(lab.exercises)} solved" in shown[-1].data["text/markdown"]
    assert file.read_bytes() == before
    file.unlink()
    lab.check(own_kl, KL)
    assert not file.exists()


def test_a_progress_file_that_cannot_be_written_is_told_after_the_result(monkeypatch, tmp_path, shown) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert labkit.start(LESSON).check(own_kl, KL) is own_kl
    result, problem = shown[-2:]
    assert record_of(result)["outcome"] == "correct"
    assert problem.data["text/plain"].startswith("Your progress could not be written")
