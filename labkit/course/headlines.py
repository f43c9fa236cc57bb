"""Store the headline figures of a run at `full`, small, each with what it was made from; see `labkit.headlines`."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.course.files import write_bytes, write_json, writing
from labkit.course.lessons import CourseError, Lesson, figures_folder
from labkit.course.records import RecordError, read_records
from labkit.course.results import Results, Run

PROFILE = "full"
MOST = 5  # headline figures of a lesson
BYTES, WIDTH = 110_000, 1120  # of one of them, at most; pixels, as wide as three panels, which are not resampled
# Shares of the size and colors, tried in turn: rows of colored noise are worse in 16 colors than a little smaller.
STEPS = [(share, colors) for share in (1, 0.8, 0.64) for colors in (256, 128, 64)] + [(0.64, 32), (0.64, 16)]


def store_headlines(results: Results, folder: Path, lessons: Sequence[Lesson]) -> list[Path]:
    """Store the headline figures of each lesson at its first seed, and return the pictures that are there now.

    `folder` holds the executed notebooks that `results` name. A lesson without results is left out; a figure that was
    stored before and is none of the lesson's any more goes. Raises CourseError, before anything is written, for results
    of another profile, a run that failed or whose notebook is not there, and figures that are too many or too large.
    """
    if results["profile"] != PROFILE:
        raise CourseError(
            f"Headline figures are those of a run at `{PROFILE}`, and these results are at "
            f"`{results['profile']}`: run `labkit run --profile {PROFILE}`."
        )
    made = {}
    for lesson in lessons:
        if entry := results["lessons"].get(lesson.name):
            made[lesson] = _headlines(lesson, min(entry["runs"], key=lambda run: run["seed"]), folder)
    return [path for lesson, figures in made.items() for path in _write(figures_folder(lesson), figures)]


def small_png(png: bytes) -> bytes:
    """The picture as a palette PNG of at most BYTES bytes and WIDTH pixels across, on white; always the same bytes.

    Raises CourseError if it is larger even after the last of STEPS.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for share, colors in STEPS:
        buffer, size = io.BytesIO(), (round(share * image.width), round(share * image.height))
        shrunk = image if share == 1 else image.resize(size, Image.Resampling.LANCZOS)
        shrunk.quantize(colors, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
        if len(buffer.getvalue()) <= BYTES:
            return buffer.getvalue()
    kilobytes, limit = len(buffer.getvalue()) / 1000, BYTES / 1000
    raise CourseError(
        f"it has {kilobytes:.0f} kB even at {share} of its size in {colors} colors, and {limit:.0f} are the limit: "
        "show less"
    )


def metrics_sum(values: Mapping[str, float]) -> str:
    """The sha256 sum of what a run recorded, {metric: value}: it says from which run of a baseline a figure is."""
    return hashlib.sha256(json.dumps(dict(sorted(values.items()))).encode()).hexdigest()


def _headlines(lesson: Lesson, run: Run, folder: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """{name: picture and what it was made from} of one run."""
    where = f"{lesson.name} (seed {run['seed']})"
    if run["status"] != "passed" or run["notebook"] is None:
        raise CourseError(f"{where} has no figures to store: its run failed or kept no notebook; run it again.")
    try:
        figures = [figure for figure in read_records(folder / run["notebook"])["figures"] if "headline" in figure]
    except RecordError as error:
        raise CourseError(f"{where} has no figures to store: {error}.") from error
    names = [figure["headline"] for figure in figures]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise CourseError(f"{where} has the headline {repeated[0]!r} twice: each figure needs its own.")
    if len(names) > MOST:
        raise CourseError(f"{where} has {len(names)} headline figures, and {MOST} are the limit: choose the best.")
    made = {}
    for figure in figures:
        try:
            png = small_png(base64.b64decode(figure["png"] or ""))
        except (CourseError, OSError) as error:
            reason = error.message if isinstance(error, CourseError) else "the notebook holds no picture of it"
            raise CourseError(f"{where}: the figure {figure['headline']!r} is not stored: {reason}.") from error
        made[figure["headline"]] = png, _about(figure, run, png)
    return made


def _about(figure: Mapping[str, Any], run: Run, png: bytes) -> dict[str, Any]:
    return {
        "alt": figure["alt"],
        **{key: run[key] for key in ("profile", "seed", "device", "threads", "instruction_set")},
        "versions": dict(sorted(run["versions"].items())),
        "data": figure["data"],
        "files": figure["files"],
        "metrics": metrics_sum({name: metric["value"] for name, metric in run["metrics"].items()}),
        "png": hashlib.sha256(png).hexdigest(),
    }


def _write(folder: Path, figures: Mapping[str, tuple[bytes, dict[str, Any]]]) -> list[Path]:
    with writing(folder, ""):
        for old in folder.glob("*.json"):
            if old.stem not in figures:
                old.with_suffix(".png").unlink(missing_ok=True)
                old.unlink()
        if figures:
            folder.mkdir(parents=True, exist_ok=True)
    for name, (png, about) in figures.items():
        write_bytes(folder / f"{name}.png", png, otherwise="")
        write_json(folder / f"{name}.json", about)
    return [folder / f"{name}.png" for name in figures]
