"""report.html: everything a run found, in one file that needs nothing else to be read."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.course.comparison import Comparison, Judged
from labkit.course.evidence import evidence
from labkit.course.files import write_text
from labkit.course.records import RecordError, read_records
from labkit.course.results import Results, Run
from labkit.course.summary import failures, rows, verdict
from labkit.course.text import plain
from labkit.evidence.claims import Claim, Finding, unknown_metrics
from labkit.evidence.verdict import UNKNOWN
from labkit.evidence.words import judged_in_words, marked, with_unit

FIGURES = 20_000_000  # bytes of pictures in a report, at most; beyond that a browser no longer shows it at ease


def write_report(results: Results, out: Path, comparison: Comparison | None) -> Path:
    """Write ``out``/report.html from ``results`` and the executed notebooks beside it; returns its path.

    ``comparison`` is None where the profile has no baseline. The figures are those of each lesson's first run, as long
    as they do not come to more than FIGURES bytes; for all others the report leads to the notebook. Raises CourseError
    when ``out`` cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labkit.course", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str else value,  # a macro's result is Markup already
    )
    judged = {(j.lesson, j.run["seed"]): j for j in comparison.runs} if comparison else {}
    room = FIGURES
    lessons = []
    for name, entry in results["lessons"].items():
        runs = []
        for run in entry["runs"]:
            images = _figures(run, out, room) if run is entry["runs"][0] else []
            room -= sum(len(image["png"]) for image in images)
            runs.append(_run(run, judged.get((name, run["seed"])), images))
            runs[-1]["declared"] = [_declared(*one, run) for one in evidence(name, results["profile"])]
        lessons.append({"name": name, "runs": runs})
    html = environment.get_template("report.html").render(
        profile=results["profile"],
        verdict=verdict(results, comparison),
        rows=rows(results, comparison),
        problems=failures(results) if comparison is None else comparison.problems,
        has_baseline=comparison is not None,
        lessons=lessons,
        made_with=f"labkit {__version__}, Python {platform.python_version()}",
    )
    path = out / "report.html"
    write_text(path, html)
    return path


def _figures(run: Run, out: Path, room: int) -> list[dict[str, Any]]:
    """The figures in the notebook of a run, none if they are larger than `room` or there is no such notebook."""
    if run["notebook"] is None:
        return []
    try:
        figures = [figure for figure in read_records(out / run["notebook"])["figures"] if figure["png"]]
    except RecordError:
        return []  # the run failed so early or so badly that there are none; its error is shown instead
    return figures if sum(len(figure["png"]) for figure in figures) <= room else []


def _run(run: Run, judged: Judged | None, images: list[dict[str, Any]]) -> dict[str, Any]:
    """One run as the template shows it: with its figures, and what each metric is held to."""
    metrics = [_metric(name, metric, judged) for name, metric in run["metrics"].items()]
    seconds = sum(filter(None, run["cell_seconds"]))
    shown = {"metrics": metrics, "images": images, "inside": seconds, "left_out": run["figures"] - len(images)}
    return {"error": None, **run, **shown}


def _declared(claim: Claim, finding: Finding, run: Run) -> dict[str, Any]:
    """A declared claim as the template shows it: the verdict of the stored seeds, and this run beside them."""
    metrics = {name: metric["value"] for name, metric in run["metrics"].items()}
    here = "not recorded"
    if not unknown_metrics([claim], metrics):
        here = with_unit(claim.criterion.decides.difference(metrics), claim.criterion.unit)
    return {
        "text": claim.text,
        "source": claim.source,
        "verdict": marked(finding.verdict),
        "seeds": "" if finding.verdict == UNKNOWN else judged_in_words(claim.criterion, finding.own),
        "here": here,
    }


def _metric(name: str, metric: dict[str, Any], judged: Judged | None) -> dict[str, Any]:
    shown = {"name": name, "value": f"{metric['value']:.6g}", "unit": metric["unit"], "band": "", "verdict": "no band"}
    if judged is not None and (band := judged.bands.get(name)) is not None:
        shown["band"] = f"{band.middle:.6g}" if judged.exact else f"{band.low:.6g} to {band.high:.6g}"
        right, wrong = ("equal", "not equal") if judged.exact else ("in band", "out of band")
        shown["good"] = name not in judged.outside
        shown["verdict"] = right if shown["good"] else wrong
    return shown
