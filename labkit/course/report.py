"""report.html: everything a run found, in one file that needs nothing else to be read."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.course.files import write_text
from labkit.course.records import RecordError, read_records, runs_of
from labkit.course.summary import problems, rows


def write_report(results: Mapping[str, Any], out: Path, baseline: Mapping[str, Any] | None) -> Path:
    """Write ``out``/report.html from ``results`` and the executed notebooks beside it; returns its path.

    ``baseline`` gives the bands, None where the profile has none. Raises CourseError when ``out`` cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labkit.course", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    lessons = [
        {"name": name, "runs": [_run(run, out, baseline["lessons"].get(name) if baseline else None) for run in runs]}
        for name, runs in ((name, runs_of(entry)) for name, entry in results["lessons"].items())
    ]
    html = environment.get_template("report.html").render(
        profile=results["profile"],
        rows=rows(results, baseline),
        problems=problems(results, baseline),
        has_baseline=baseline is not None,
        lessons=lessons,
        made_with=f"labkit {__version__}, Python {platform.python_version()}",
    )
    path = out / "report.html"
    write_text(path, html)
    return path


def _run(run: Mapping[str, Any], out: Path, expected: Mapping[str, Any] | None) -> dict[str, Any]:
    """One run as the template shows it: with its figures, and the band of each metric."""
    try:
        figures = [figure for figure in read_records(out / run["notebook"])["figures"] if figure["png"]]
    except RecordError:
        figures = []  # the run failed so early or so badly that there are none; its error is shown instead
    bands = expected["metrics"] if expected else {}
    metrics = [_metric(name, metric, bands.get(name)) for name, metric in run["metrics"].items()]
    return {"error": None, **run, "metrics": metrics, "images": figures}


def _metric(name: str, metric: Mapping[str, Any], band: Mapping[str, Any] | None) -> dict[str, Any]:
    shown = {"name": name, "value": f"{metric['value']:.6g}", "unit": metric["unit"], "band": "", "verdict": "no band"}
    if band is not None:
        inside = band["low"] <= metric["value"] <= band["high"]
        shown["band"] = f"{band['low']:.6g} to {band['high']:.6g}"
        shown["verdict"] = "in band" if inside else "out of band"
    return shown
