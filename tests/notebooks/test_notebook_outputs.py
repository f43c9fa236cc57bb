"""What the stored notebooks show: outputs, alt text, records, and no drift from their source."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image

from labkit import RECORD_MIME
from labkit.course.baselines import load_baseline
from labkit.course.evidence import evidence
from labkit.course.job import as_run
from labkit.course.judging import judge
from labkit.course.lessons import Lesson, load_lessons, notebook_path
from labkit.course.plan import Job
from labkit.course.records import read_records
from labkit.course.source import drift
from labkit.evidence.verdict import UNKNOWN
from labkit.evidence.words import judged_in_words, marked
from labkit.lab.claims import count

FIRST, SECOND = ([lesson for lesson in load_lessons() if lesson.edition == edition] for edition in (1, 2))
COMPARED = 10  # cells that nbval holds to their stored text
NBVAL = ["--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def figures(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    return [
        (cell, output) for cell in code(notebook) for output in cell.outputs if "image/png" in output.get("data", {})
    ]


def test_the_stored_notebook_is_its_source_with_outputs(lesson: Lesson) -> None:
    assert drift(lesson) == []


def test_every_code_cell_ran_once_in_order_and_without_error(notebook: NotebookNode) -> None:
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert not [cell.source for cell in code(notebook) for output in cell.outputs if output.output_type == "error"]


def test_nothing_was_said_on_stderr(notebook: NotebookNode) -> None:
    assert not [output.text for cell in code(notebook) for output in cell.outputs if output.get("name") == "stderr"]


def test_enough_cells_are_compared_with_what_they_said(notebook: NotebookNode) -> None:
    compared = [cell for cell in code(notebook) if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert all(cell.outputs for cell in compared), "a cell that is to be compared says nothing"
    assert len(compared) >= COMPARED


def test_nbval_fails_on_a_cell_that_says_something_else_than_stored(tmp_path: Path) -> None:
    cells = []
    for stored in ("2", "3"):
        cell = nbformat.v4.new_code_cell("print(1 + 1)", execution_count=1, metadata={"tags": ["nbval-check-output"]})
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{stored}\n")]
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "P"}})
    nbformat.write(notebook, tmp_path / "told.ipynb")
    command = [sys.executable, "-m", "pytest", *NBVAL, "told.ipynb"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert re.findall(r"^FAILED told.ipynb::(Cell \d)", ran.stdout, re.MULTILINE) == ["Cell 1"], ran.stdout
    assert "1 failed, 1 passed" in ran.stdout


def test_every_figure_has_alt_text_where_each_reader_looks_for_it(notebook: NotebookNode) -> None:
    assert figures(notebook)
    for cell, output in figures(notebook):
        alt = output.metadata["image/png"]["alt"]  # Jupyter's display metadata
        assert len(alt.split()) >= 10, f"too short to replace the figure: {alt!r}"
        assert output.data.get(RECORD_MIME, {"alt": alt})["alt"] == alt  # a stored figure is none of this run's records
        assert alt in cell.metadata["mystnb"]["image"]["alt"]  # the site


def test_no_figure_is_cut_off_at_an_edge(notebook: NotebookNode) -> None:
    """Pictures of claims are saved as they are, without a search for what sticks out."""
    for _, output in figures(notebook):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("L"))
        rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (rim == 255).all(), output.metadata["image/png"]["alt"]


def test_images_in_the_text_have_alt_text_and_no_address(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert "<img" not in cell.source
            for alt, target in re.findall(r"!\[(.*?)\]\((.*?)\)", cell.source):
                assert alt.strip()
                assert "://" not in target


@pytest.mark.parametrize("lesson", SECOND, ids=[lesson.name for lesson in SECOND])
def test_what_is_said_of_a_declared_claim_is_what_the_stored_seeds_say(lesson: Lesson, notebook: NotebookNode) -> None:
    said = [
        output.data.get("text/markdown", "") for cell in code(notebook) for output in cell.outputs if "data" in output
    ]
    found = {profile: evidence(lesson.name, profile) for profile in ("quick", "full")}
    assert len(found["quick"]) >= 5
    for profile, claims in found.items():
        for claim, finding in claims:
            assert finding.verdict != UNKNOWN, f"{claim.id} has no seeds at {profile}"
            (shown,) = [text for text in said if text.startswith(f"**{claim.text}**")]
            words = f"At `{profile}`: **{marked(finding.verdict)}** · {judged_in_words(claim.criterion, finding.own)}"
            assert words in shown, f"run `labkit build {lesson.name}`"
            (row,) = [line for text in said for line in text.splitlines() if line.startswith(f"| {claim.text} |")]
            assert marked(finding.verdict) in row.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("lesson", FIRST, ids=[lesson.name for lesson in FIRST])
def test_the_claims_table_lists_every_claim_of_the_run(lesson: Lesson, notebook: NotebookNode) -> None:
    claims = read_records(notebook_path(lesson))["claims"]
    assert len(claims) >= 5
    assert all(claim["source"] and claim["evidence"] for claim in claims)
    (cell,) = [cell for cell in code(notebook) if cell.source.strip() == "lab.claims_table()"]
    table = cell.outputs[0].data["text/markdown"]
    recorded = {profile: load_baseline(profile)["lessons"][lesson.name]["claims"] for profile in ("quick", "full")}
    texts = {claim["text"] for claim in claims}
    assert texts == set(recorded["quick"]), "the claims at quick are not those of the lesson"
    assert texts <= set(recorded["full"]), "a claim of the lesson was not tested at full"
    for text in set(recorded["full"]) - texts:  # left out at quick: the lesson still makes it, and the table says so
        assert any(f'"{text}"' in cell.source for cell in code(notebook)), f"no cell of the lesson claims {text!r}"
        assert text in table
    for claim in claims:
        verdict = "✔ holds" if claim["holds"] else "✘ does not hold"
        (row,) = [row for row in table.splitlines() if claim["text"] in row]
        assert verdict in row.split("|")[3]
        shown = dict(zip(("quick", "full"), row.split("|")[5:7], strict=True))
        assert {p: cell.strip() for p, cell in shown.items()} == {
            p: count(recorded[p][claim["text"]]) for p in recorded
        }


def test_a_claim_that_does_not_hold_says_why(lesson: Lesson) -> None:
    claims = read_records(notebook_path(lesson))["claims"]
    assert all(claim["reason"] for claim in claims if not claim["holds"])


def test_the_stored_numbers_are_those_of_the_baseline(lesson: Lesson, baseline: dict[str, Any]) -> None:
    records = read_records(notebook_path(lesson))
    run = as_run(Job(lesson.name, "quick", 0, notebook_path(lesson), notebook_path(lesson), {}, None), None, records)
    judged = judge(lesson.name, run, baseline["lessons"][lesson.name])
    assert (judged.outside, judged.contrary, judged.faults) == ((), (), ())


def test_a_stored_notebook_stays_small(lesson: Lesson) -> None:
    assert notebook_path(lesson).stat().st_size < 1_900_000  # of which figures of photographs may take a third
