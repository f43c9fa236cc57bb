"""The headline figures of a run at `full` are stored small, with what they were made from, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tiny_course import FAILED, Course, a_run, results_of

from labkit.course.baselines import baseline_path
from labkit.course.cli import main
from labkit.course.files import write_json
from labkit.course.headlines import BYTES, MOST, WIDTH, metrics_sum, small_png
from labkit.course.lessons import CourseError
from labkit.headlines import load
from labkit.lab.figures import as_png, panels

ROC = {"kind": "figure", "alt": "A curve that rises.", "headline": "roc", "data": {"mnist": "Official."}, "files": {}}


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3))


PICTURE = png(noise(20, 30))


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def labkit(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def ran(course: Course, executed: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """results.json of five seeds at `full` of 01_one, whose first seed showed the given records."""

    def write(*records: dict, picture: bytes = PICTURE, profile: str = "full", first: dict | None = None) -> Path:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        runs = [a_run(seed, profile=profile) for seed in (3, 2, 4, 5, 6)]
        runs[1] |= first or {}
        executed(*records, path=out / "01_one-seed2.ipynb", extra={"image/png": base64.b64encode(picture).decode()})
        executed(ROC | {"headline": "other"}, path=out / "01_one-seed3.ipynb")
        write_json(out / "results.json", results_of(*runs) | {"profile": profile})
        return out / "results.json"

    course.add("one")
    return write


def folder(course: Course) -> Path:
    return course.root / "notebooks" / "figures" / "01_one"


# ---- what is stored --------------------------------------------------------------------------------------------------


def test_the_figures_of_the_first_seed_are_stored_with_what_they_were_made_from(course: Course, ran: Callable) -> None:
    result = labkit("figures", "01", "--from", ran(ROC, {"kind": "figure", "alt": "No headline."}))
    assert (result.exit_code, result.stdout.strip().rpartition("/")[2]) == (0, "roc.png")
    stored = load("01_one", "roc", folder(course).parent)
    assert opened(stored.png).size == (30, 20)
    assert stored.about == {
        "alt": "A curve that rises.",
        **{key: a_run()[key] for key in ("device", "threads", "instruction_set", "versions")},
        "profile": "full",
        "seed": 2,
        "data": {"mnist": "Official."},
        "files": {},
        "metrics": metrics_sum({"vae/kl": 12.2}),
        "png": hashlib.sha256(stored.png).hexdigest(),
    }
    assert sorted(path.name for path in folder(course).iterdir()) == ["roc.json", "roc.png"]


def test_a_baseline_of_full_stores_them_as_well_and_one_of_quick_does_not(course: Course, ran: Callable) -> None:
    assert labkit("baseline", "--from", ran(ROC, profile="quick")).exit_code == 0
    assert not folder(course).exists()
    result = labkit("baseline", "--from", ran(ROC))
    assert result.exit_code == 0, result.stderr
    assert (folder(course) / "roc.png").is_file()
    baseline = json.loads(baseline_path("full", course.root).read_text())["lessons"]["01_one"]
    about = json.loads((folder(course) / "roc.json").read_text())
    assert about["seed"] == baseline["seeds"][0]
    assert about["metrics"] == metrics_sum({name: m["values"][0] for name, m in baseline["metrics"].items()})


def test_a_figure_that_is_no_longer_shown_goes_and_a_diagram_stays(course: Course, ran: Callable) -> None:
    labkit("figures", "--from", ran(ROC, ROC | {"headline": "codes"}))
    (folder(course) / "way.svg").write_text("<svg/>")
    labkit("figures", "--from", ran(ROC | {"headline": "codes"}))
    assert sorted(path.name for path in folder(course).iterdir()) == ["codes.json", "codes.png", "way.svg"]


def test_a_lesson_without_headlines_leaves_no_folder_and_one_that_did_not_run_keeps_its_figures(
    course: Course, ran: Callable
) -> None:
    kept = folder(course).with_name("02_two") / "roc.png"
    course.add("two")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(PICTURE)
    result = labkit("figures", "--from", ran())
    assert (result.exit_code, result.stdout) == (0, "No lesson of this run shows a headline figure.\n")
    assert kept.is_file()
    assert not folder(course).exists()


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "options", "sentence"),
    [
        ([ROC], {"profile": "quick"}, "are those of a run at `full`, and these results are at `quick`"),
        ([ROC], {"first": FAILED}, "01_one (seed 2) has no figures to store: its run failed"),
        ([ROC], {"first": {"notebook": "gone.ipynb"}}, "no figures to store: the notebook gone.ipynb cannot be read"),
        ([ROC, ROC], {}, "01_one (seed 2) has the headline 'roc' twice"),
        (
            [ROC | {"headline": f"f{n}"} for n in range(MOST + 1)],
            {},
            f"has {MOST + 1} headline figures, and {MOST} are",
        ),
        ([ROC], {"picture": b"no picture"}, "the figure 'roc' is not stored: the notebook holds no picture of it"),
        ([ROC], {"picture": png(noise(900, 1100))}, "the figure 'roc' is not stored: it has"),
    ],
)
def test_what_cannot_be_stored_is_one_sentence_and_nothing_is_written(
    course: Course, ran: Callable, records: list, options: dict, sentence: str
) -> None:
    result = labkit("figures", "--from", ran(*records, **options))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert sentence in result.stderr
    assert not folder(course).exists()


# ---- how small -------------------------------------------------------------------------------------------------------


def test_a_picture_with_few_colors_keeps_every_one_of_them_and_its_size() -> None:
    pixels = np.repeat(np.repeat(noise(10, 20), 8, axis=0), 8, axis=1)
    small = opened(small_png(png(pixels)))
    assert small.mode == "P"
    assert np.array_equal(np.asarray(small.convert("RGB")), pixels)


def test_a_wide_picture_becomes_narrower_before_it_becomes_poorer() -> None:
    ramp = np.tile(np.linspace(0, 255, 2 * WIDTH).astype(np.uint8)[None, :, None], (50, 1, 3))
    small = opened(small_png(png(ramp)))
    assert small.size == (WIDTH, 25)
    assert len(small.convert("RGB").getcolors()) > 200


def test_a_picture_that_is_too_large_gets_fewer_colors_until_it_fits_and_the_same_bytes_each_time() -> None:
    picture = png(noise(250, 450))
    small = small_png(picture)
    assert len(small) <= BYTES
    assert len(opened(small).convert("RGB").getcolors()) < 256
    assert opened(small).size == (450, 250)
    assert small_png(picture) == small


def test_a_figure_of_three_panels_is_not_resampled() -> None:
    figure, axes = panels(1, 3, width=4)
    for ax in axes:
        ax.set(xlabel="step", ylabel="loss", title="a panel")
    drawn = as_png(figure)
    assert Image.open(io.BytesIO(small_png(drawn))).size == Image.open(io.BytesIO(drawn)).size


def test_what_is_transparent_becomes_white() -> None:
    assert opened(small_png(png(np.zeros((4, 4, 4))))).convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_a_picture_that_no_palette_makes_small_enough_is_refused() -> None:
    refusal = r"^it has \d+ kB even at 0.64 of its size in 16 colors, and 110 are the limit: show less$"
    with pytest.raises(CourseError, match=refusal):
        small_png(png(noise(900, 1100)))


def test_a_picture_becomes_smaller_before_it_has_fewer_than_64_colors() -> None:
    small = opened(small_png(png(noise(400, 500))))
    assert small.width < 500
    assert len(small.convert("RGB").getcolors()) > 32
