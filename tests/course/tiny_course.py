"""A course of tiny notebooks, and results as a run of one would leave them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from labkit import RECORD_MIME
from labkit.course.lessons import Lesson, exercises_path, notebook_path, source_path
from labkit.course.results import Results, gather

AVX2 = "x86_64 AVX2"
SESSION = {"kind": "session", "device": "cpu", "threads": 1, "instruction_set": AVX2, "versions": {"python": "3"}}
START = f"""\
from IPython.display import display
def tell(**record):
    display({{"text/plain": str(record), {RECORD_MIME!r}: record}}, raw=True)
tell(lesson=LESSON, profile=profile, seed=seed, **{SESSION!r})"""


@dataclass
class Course:
    """A course under ``root`` with the notebooks that a test puts into it."""

    root: Path
    lessons: list[Lesson] = field(default_factory=list)

    def add(self, topic: str, *cells: str, start: str = START) -> Lesson:
        """A lesson whose notebook has the parameters, a session record, and then ``cells``."""
        fields = {"title": topic.title(), "paper": "Nobody (2020)", "minutes": 5, "data": "none"}
        name = f"{len(self.lessons) + 1:02d}_{topic}"
        lesson = Lesson(name, level="introductory", teaches="nothing", **fields, root=self.root)
        self.lessons.append(lesson)
        folder = self.root / "notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        entries = [f'name = "{one.name}"\ntitle = "{one.title}"\n' for one in self.lessons]
        rest = "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items() if key != "title")
        rest += '\nlevel = "introductory"\nteaches = "nothing"\nextras = []\nfurther = 0\nedition = 2\n'
        (folder / "lessons.toml").write_text("\n".join(f"[[lesson]]\n{entry}{rest}" for entry in entries))
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        sources = ['profile = "quick"\nseed = 0\nrate: float = 0.1', f"LESSON = {name!r}\n{start}", *cells]
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, folder / f"{name}.ipynb")
        return lesson

    def write(self, lesson: Lesson, *cells: NotebookNode, **minutes: int) -> None:
        """Make these cells its stored notebook, without outputs also its source; its exercises take these minutes."""
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        nbformat.write(notebook, notebook_path(lesson))
        for path in (source_path(lesson), exercises_path(lesson)):
            path.parent.mkdir(parents=True, exist_ok=True)
        source_path(lesson).write_text(jupytext.writes(notebook, fmt="py:percent"))
        declared = [f"{name.upper()} = Exercise(name={name!r}, minutes={value})\n" for name, value in minutes.items()]
        exercises_path(lesson).write_text("from labkit.checks.exercise import Exercise\n" + "".join(declared))

    @property
    def command(self) -> list[str]:
        """`labkit` for this course, in a process of its own."""
        code = (
            "import signal, labkit.course.lessons as lessons; from labkit.course.cli import main;"
            "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a test run in the background ignores it
            "signal.signal(signal.SIGHUP, signal.SIG_DFL);"  # and one under nohup this
            f"lessons.__file__ = {str(self.root / 'labkit' / 'course' / 'lessons.py')!r}; main()"
        )
        return [sys.executable, "-c", code]


def markdown(source: str) -> NotebookNode:
    """A text cell."""
    return nbformat.v4.new_markdown_cell(source)


def code(source: str, *said: str, tag: str | None = None, **other: Any) -> NotebookNode:
    """A code cell that said these texts in Markdown, and `other`, an output as nbformat.v4.new_output takes it."""
    outputs = [nbformat.v4.new_output("display_data", data={"text/markdown": text}) for text in said]
    outputs += [nbformat.v4.new_output(**other)] if other else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": [tag]} if tag else {})


def a_run(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A run that passed, as results.json has it."""
    run = {
        "status": "passed",
        "seconds": 3.25,
        "cell_seconds": [None, 1.5],
        "peak_memory": 321.0,
        "profile": "quick",
        "seed": seed,
        "device": "cpu",
        "threads": 1,
        "instruction_set": AVX2,
        "versions": {"python": "3.11", "torch": "2.15"},
        "config": {"epochs": 2},
        "metrics": {"vae/kl": {"value": 12.0 + seed / 10, "unit": "nats"}},
        "claims": [
            {"text": "The KL is small", "holds": True, "evidence": {"VAE": 2.0}, "source": "review", "reason": ""},
            {
                "text": "AE is compact",
                "holds": False,
                "evidence": {"AE": 0.5},
                "source": "paper",
                "reason": "it spreads",
            },
        ],
        "exercises": {"kl": {"outcome": "not yet", "checks": 5, "passed": 3, "mistake": "missing_half"}},
        "figures": 0,
        "notebook": f"01_one-seed{seed}.ipynb",
    }
    return {**run, **changes}


def results_of(*runs: dict[str, Any], plan: dict[str, list[int]] | None = None) -> Results:
    """results.json of one lesson, 01_one."""
    plan = plan or {"01_one": [run["seed"] for run in runs]}
    return gather("quick", plan, [("01_one", run) for run in runs])


def baseline_of(*values: float, claims: dict[str, tuple[int, int]] | None = None, **changes: Any) -> dict[str, Any]:
    """A baseline of 01_one in which the metric vae/kl has these values, one a seed from 0."""
    claims = claims or {"The KL is small": (5, 5), "AE is compact": (0, 5)}
    lesson = {
        "seeds": list(range(len(values))),
        "versions": {"python": "3.11", "torch": "2.15"},
        "device": "cpu",
        "threads": 1,
        "instruction_set": AVX2,
        "seconds": 3.2,
        "metrics": {"vae/kl": {"unit": "nats", "values": list(values)}},
        "claims": {text: {"holds": holds, "runs": runs} for text, (holds, runs) in claims.items()},
    }
    return {"schema_version": 2, "profile": "quick", "lessons": {"01_one": lesson | changes}}


BASELINE = baseline_of(12.0, 12.1, 12.2, 12.3, 12.4)
FAILED = {
    "status": "failed",
    "error": {
        "kind": "exception",
        "cell": 7,
        "source": "raise ValueError()",
        "message": "ValueError: no luck in cell 7 (raise ValueError())",
        "traceback": "Traceback\n<module>\nValueError: no luck",
    },
}
