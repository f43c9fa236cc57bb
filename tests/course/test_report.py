"""The report shows everything a run found, to everybody, with nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from tiny_course import BASELINE, FAILED, a_run, results_of

from labkit.course import report
from labkit.course.comparison import compare
from labkit.course.lessons import CourseError
from labkit.course.report import write_report

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Page(HTMLParser):
    """The start tags of a page, and its text by kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.said.append((self.tags[-1][0], " ".join(data.split())))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(text for tag, text in self.said if tag != "style")


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Page]:
    """The report of the given runs, read back."""

    def make(*runs: dict, baseline: dict | None = BASELINE) -> Page:
        results = results_of(*runs)
        comparison = None if baseline is None else compare(results, baseline)
        return Page(write_report(results, tmp_path, comparison).read_text(encoding="utf-8"))

    return make


def test_claims_metrics_and_exercises_are_shown_with_their_verdict_in_words(page: Callable[..., Page]) -> None:
    text = page(a_run()).text
    assert "✓ holds The KL is small" in text
    assert "✗ does not hold AE is compact it spreads paper AE: 0.5" in text
    assert "vae/kl 12 nats 12 ✓ equal" in text
    assert "kl not yet (missing_half) 3 of 5" in text
    assert "01_one 0 ✓ passed 3.2 1/1 1 1" in text
    assert "All is well: 1 run passed, 1 of 1 metrics equal those of the baseline." in text
    assert "1.5 s in the cells, at most 321 MB, on cpu (x86_64 AVX2)" in text
    assert "Not as it should be" not in text


def test_a_metric_out_of_its_band_is_marked_and_named_and_nothing_is_called_failed(page: Callable[..., Page]) -> None:
    text = page(a_run(7, metrics={"vae/kl": {"value": 99.0, "unit": "nats"}})).text
    assert re.search(r"vae/kl 99 nats 1[\d.]+ to 1[\d.]+ ✗ out of band", text)
    assert "Not as it should be 01_one (seed 7): the metric vae/kl = 99 nats is outside its band" in text
    assert "failed" not in text.lower()


def test_without_a_baseline_the_report_says_so(page: Callable[..., Page]) -> None:
    text = page(a_run(), baseline=None).text
    assert "There is no baseline for this profile yet" in text
    assert "vae/kl 12 nats no band" in text


def test_a_failed_run_shows_its_cell_and_its_traceback(page: Callable[..., Page]) -> None:
    text = page(a_run(0), a_run(1, **FAILED)).text
    assert "✗ failed (exception): ValueError: no luck in cell 7 (raise ValueError())." in text
    assert "Cell 7 begins: raise ValueError()" in text
    assert "Traceback <module> ValueError: no luck" in text
    assert "Seed 0: passed" in text


def test_what_a_lesson_says_is_shown_and_never_run(page: Callable[..., Page]) -> None:
    evil = "<script>alert(1)</script>\"'&"
    claim = {"text": evil, "holds": True, "evidence": {evil: evil}, "source": evil, "reason": evil}
    shown = page(a_run(claims=[claim], metrics={evil: {"value": 1.0, "unit": evil}}))
    assert not shown.all("script")
    assert shown.text.count("alert(1)") >= 6


def test_what_a_terminal_would_obey_is_left_out(page: Callable[..., Page], tmp_path: Path) -> None:
    evil = "\x1b]8;;http://evil\x07here\x1b[2J\x9b31m"
    claim = {"text": evil, "holds": True, "evidence": {evil: evil}, "source": evil, "reason": evil}
    page(a_run(claims=[claim], metrics={evil: {"value": 1.0, "unit": evil}}))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("here") > 5
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|evil", text)


def test_every_figure_is_in_the_page_and_has_its_alt_text(
    page: Callable[..., Page], executed: Callable, tmp_path: Path
) -> None:
    figures = [{"kind": "figure", "alt": 'A "cat"'}, {"kind": "figure", "alt": "A dog"}]
    executed(*figures, path=tmp_path / "01_one-seed0.ipynb", extra={"image/png": PNG})
    images = page(a_run(figures=2)).all("img")
    assert [image["alt"] for image in images] == ['A "cat"', "A dog"]
    assert all(image["src"] == f"data:image/png;base64,{PNG}" for image in images)


def test_the_figures_are_those_of_the_first_seed_and_the_others_are_in_their_notebooks(
    page: Callable[..., Page], executed: Callable, tmp_path: Path
) -> None:
    for seed in (0, 1):
        alt = {"kind": "figure", "alt": f"Seed {seed}"}
        executed(alt, path=tmp_path / f"01_one-seed{seed}.ipynb", extra={"image/png": PNG})
    shown = page(a_run(0, figures=1), a_run(1, figures=1))
    assert [image["alt"] for image in shown.all("img")] == ["Seed 0"]
    assert "01_one-seed1.ipynb , with 1 figure(s) that are not shown here" in shown.text


def test_a_report_leaves_figures_out_when_they_come_to_too_much(
    page: Callable[..., Page], executed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed({"kind": "figure", "alt": "A cat"}, path=tmp_path / "01_one-seed0.ipynb", extra={"image/png": PNG})
    monkeypatch.setattr(report, "FIGURES", len(PNG) - 1)
    assert not page(a_run(figures=1)).all("img")
    monkeypatch.setattr(report, "FIGURES", len(PNG))
    assert page(a_run(figures=1)).all("img")


def test_the_page_needs_nothing_from_anywhere(page: Callable[..., Page], executed: Callable, tmp_path: Path) -> None:
    executed({"kind": "figure", "alt": "A cat"}, path=tmp_path / "01_one-seed0.ipynb", extra={"image/png": PNG})
    tags = page(a_run(figures=1), a_run(1, **FAILED)).tags
    loaded = [value for _, attributes in tags for key, value in attributes.items() if key in ("src", "srcset", "data")]
    assert loaded
    assert all(value.startswith("data:") for value in loaded)
    assert not [tag for tag, _ in tags if tag in ("link", "script", "iframe", "object")]
    assert "url(" not in (tmp_path / "report.html").read_text()


def test_the_page_can_be_read_by_a_screen_reader(page: Callable[..., Page]) -> None:
    shown = page(a_run(0), a_run(1, **FAILED))
    assert shown.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in shown.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(shown.all("caption")) == len(shown.all("table")) > 0
    assert all(head.get("scope") in ("col", "row") for head in shown.all("th"))
    assert [text for tag, text in shown.said if tag == "title"]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"cannot write into .*gone"):
        write_report(results_of(a_run()), tmp_path / "gone", None)
