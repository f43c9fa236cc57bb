"""The command line: exit codes, one sentence for every mistake, and no noise."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_course import FAILED, SESSION, Course, a_run, baseline_of, code, markdown, results_of

from labkit import __version__
from labkit.course.baselines import baseline_path, derive, save_baseline
from labkit.course.cli import main
from labkit.course.files import write_json
from labkit.course.options import parameter_value
from labkit.course.results import Journal, gather, read_results


def labkit(*arguments: object) -> Result:
    """`labkit ...` in this process; an exception that a user would see as a traceback is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def seeds(count: int, **changes: object) -> dict:
    """results.json of ``count`` seeds."""
    return results_of(*(a_run(seed, **changes) for seed in range(count)))


# ---- run -------------------------------------------------------------------------------------------------------------


def test_a_run_ends_with_a_table_the_problems_and_what_to_do_next(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.add("one", "tell(kind='metric', name='a', value=1.0, unit='')")
    course.add("two", "raise ValueError('no luck')")
    monkeypatch.chdir(tmp_path)
    save_baseline(baseline_of(1.0, 2.0, metrics={}, claims={}), course.root)
    result = labkit("run", "--jobs", 2)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()[2:4]] == ["01_one", "02_two"]
    assert "1 of 2 runs failed:" in result.stdout
    assert "- 01_one (seed 0): the metric a has no baseline" in result.stdout
    assert "- 02_two (seed 0): the run failed: ValueError: no luck in cell 2 (raise ValueError(" in result.stdout
    assert result.stdout.endswith("\nReport: course/build/course/report.html\nOpen the lab: make lab\n")
    assert (course.root / "build" / "course" / "report.html").is_file()
    said = sorted(line.split(": ")[1].split(" in ")[0] for line in result.stderr.splitlines())
    assert said == ["01_one seed 0 passed", "02_two seed 0 failed"], "where no bar is shown, each run has its line"


@pytest.mark.parametrize("command", ["run", "baseline"])
def test_a_damaged_baseline_is_found_before_anything_runs(course: Course, command: str) -> None:
    course.add("one")
    path = baseline_path("quick", course.root)
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 2, "profile": "quick", "lessons": []}')
    result = labkit(command)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "is damaged" in result.stderr
    assert not (course.root / "build").exists()


def test_one_failed_seed_of_several_fails_the_lesson(course: Course, tmp_path: Path) -> None:
    course.add("one", "assert seed != 1, 'no luck'")
    result = labkit("run", "--seeds", "0-2", "--jobs", 2, "--out", tmp_path / "out")
    assert result.exit_code == 1
    entry = read_results(tmp_path / "out" / "results.json")["lessons"]["01_one"]
    assert (entry["status"], [run["status"] for run in entry["runs"]]) == ("failed", ["passed", "failed", "passed"])


def test_only_the_lessons_named_run_and_a_terminal_sees_their_progress(course: Course, tmp_path: Path) -> None:
    course.add("one"), course.add("two")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [*course.command, "run", "one", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    seen = b""
    while chunk := read_terminal(ours):
        seen += chunk
    os.close(ours)
    assert done.returncode == 0
    assert "there is no baseline of this profile to compare with" in done.stdout
    assert list(read_results(tmp_path / "out" / "results.json")["lessons"]) == ["01_one"]
    assert b"01_one seed 0: cell 1/2" in seen
    assert b"0/1" in seen
    assert b"WARNING" not in seen


def test_what_the_terminal_cannot_show_is_replaced(course: Course, path: Path) -> None:
    claims = [{**claim, "holds": not claim["holds"]} for claim in a_run()["claims"]]
    write_json(path, seeds(1, claims=claims))
    for encoding in ("latin-1", "iso-8859-15"):  # click writes UTF-8 where it is told ASCII
        done = subprocess.run(
            [*course.command, "verify", "--results", str(path)],
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            capture_output=True,
        )
        assert (done.returncode, b"the claim ?The KL is small?" in done.stdout, done.stderr) == (1, True, b"")


def test_what_a_terminal_would_obey_never_reaches_it(course: Course, path: Path) -> None:
    evil = "\x1b]8;;http://evil\x07here\x1b[2J\x9b31m"
    error = {**FAILED["error"], "message": evil}
    write_json(path, seeds(1, metrics={evil: {"value": 1.0, "unit": evil}}))
    told = labkit("verify", "--results", path).stdout
    write_json(path, seeds(1, status="failed", error=error))
    told += labkit("verify", "--results", path).stdout + labkit("list", "--measured", "--results", path).stdout
    told += labkit("run", evil).stderr
    assert "here" in told
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "labkit.course.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, __version__ in done.stdout) == (0, True)


def read_terminal(descriptor: int) -> bytes:
    """What a terminal still holds; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["thre"], "Unknown lesson 'thre': the lessons are 01_one."),
        (["--profile", "fast"], "'fast' is not one of 'quick', 'full', 'paper'."),
        (["--seeds", "-1"], "'-1' is not a list of non-negative whole numbers such as 0, 0,2,5 or 0-4."),
        (["--seeds", "1.5"], "'1.5' is not a list of non-negative whole numbers"),
        (["--seeds", "4-0"], "'4-0' is not a list of non-negative whole numbers"),
        (["--seeds", "0,,1"], "'0,,1' is not a list of non-negative whole numbers"),
        (["--seeds", "0-99999999"], "is not a list of non-negative whole numbers"),
        (["--seeds", "9999999999"], "A seed must be a whole number from 0 to 4294967295, got 9999999999."),
        (["--jobs", "0"], "0 is not in the range x>=1."),
        (["--timeout", "0"], "The time limit must be a positive number of seconds, got 0.0."),
        (["--timeout", "soon"], "'soon' is not a valid float."),
        (["-p", "ratte", "1"], "01_one has no parameter 'ratte': it has profile, seed, rate."),
        (["-p", "seed", "1"], "The parameter 'seed' is set by --seeds."),
        (["--out", __file__], "is a file: --out must be a folder."),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(course: Course, arguments: list[str], message: str) -> None:
    course.add("one")
    result = labkit("run", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert not (course.root / "build").exists()


def test_a_lesson_that_was_not_built_says_how(course: Course) -> None:
    course.add("one")
    (course.root / "notebooks" / "01_one.ipynb").unlink()
    assert "make it with `labkit build 01_one`" in labkit("run").stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("2", 2), ("True", True), ("None", None), ("fast", "fast"), ("[1]", "[1]"), ("a b", "a b")],
)
def test_a_parameter_is_read_as_python_would(text: str, value: object) -> None:
    read = parameter_value(text)
    assert read == value
    assert type(read) is type(value)


# ---- baseline and verify ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(course: Course, tmp_path: Path) -> Path:
    """Where a test puts results of a course whose 01_one has the baseline of `seeds(5)`."""
    course.add("one")
    save_baseline(derive(seeds(5)), course.root)
    return tmp_path / "results.json"


FAR = {"vae/kl": {"value": 99.0, "unit": "nats"}}


def test_results_like_their_baseline_verify(path: Path) -> None:
    write_json(path, seeds(5))
    result = labkit("verify", "--results", path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "The machine (x86_64 AVX2), the versions and the seeds are the baseline's: every value must be equal.",
            "All is well: 5 runs passed, 5 of 5 metrics equal those of the baseline.",
        ],
    )


def test_results_unlike_their_baseline_are_named_line_by_line(path: Path) -> None:
    claims = [{**claim, "holds": not claim["holds"]} for claim in a_run()["claims"]]
    write_json(path, seeds(1, metrics=FAR, claims=claims))
    result = labkit("verify", "--results", path)
    assert result.exit_code == 1
    _, total, metric, *flipped = result.stdout.splitlines()
    assert total == "0 of 1 metrics equal those of the baseline; not as it should be (3 problems):"
    assert metric.startswith("- 01_one (seed 0): 1 of 1 values are not those stored for this seed")
    assert [line.split("”")[0] for line in sorted(flipped)] == [
        "- 01_one (seed 0): the claim “AE is compact",
        "- 01_one (seed 0): the claim “The KL is small",
    ]


def test_a_claim_that_flipped_is_enough_to_fail(path: Path) -> None:
    claims = [{**claim, "holds": False} for claim in a_run()["claims"]]
    write_json(path, seeds(1, claims=claims))
    result = labkit("verify", "--results", path)
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 3)


@pytest.mark.parametrize("plan", [{"01_one": [0, 1, 2]}, {"01_one": [0], "02_two": [0]}])
def test_a_run_that_was_killed_before_its_end_does_not_verify(path: Path, plan: dict) -> None:
    Journal(path.parent, gather("quick", plan, [])).append("01_one", a_run())  # and no more
    result = labkit("verify", "--results", path)
    assert result.exit_code == 1
    assert "the run was planned and is missing" in result.stdout


def test_results_without_any_run_do_not_verify(path: Path) -> None:
    write_json(path, gather("quick", {"01_one": [0]}, []))
    assert labkit("verify", "--results", path).exit_code == 1


def test_another_machine_out_of_its_bands_is_given_two_more_seeds(course: Course, path: Path) -> None:
    value = "100.0 * (seed == 0) + seed % 3 + 0.25"  # far out at seed 0 alone
    lesson = course.add("again", f"tell(kind='metric', name='a', value={value}, unit='')").name
    metrics = {"a": {"unit": "", "values": [0.25, 1.25, 2.25, 0.25, 1.25]}}
    one = baseline_of(*range(5), metrics=metrics, claims={}, instruction_set="arm64 DEFAULT")["lessons"]["01_one"]
    save_baseline({"schema_version": 2, "profile": "quick", "lessons": {lesson: {**one, "claims": {}}}}, course.root)
    out = path.parent / "out"
    assert labkit("run", "again", "--out", out).exit_code == 0
    told = labkit("verify", "--results", out / "results.json")
    assert told.exit_code == 0, told.stdout
    assert f"{lesson} is run again at seeds 1, 2, to tell chance from change." in told.stderr
    assert read_results(out / "confirm" / lesson / "results.json")["plan"] == {lesson: [1, 2]}
    strict = labkit("verify", "--no-confirm", "--results", out / "results.json")
    assert strict.exit_code == 1
    assert "the metric a = 100.25 is outside its band" in strict.stdout


def test_records_of_notebooks_that_somebody_else_executed_verify(path: Path, course: Course) -> None:
    folder = path.parent / "records"
    assert "execute the notebooks with LABKIT_RECORDS=" in labkit("verify", "--records", folder).stderr
    folder.mkdir()
    missing = labkit("verify", "--records", folder)
    assert (missing.exit_code, "01_one (seed 0): the run was planned and is missing" in missing.stdout) == (1, True)
    run = a_run()
    session = {**SESSION, "lesson": "01_one", "profile": "quick", "seed": 0, "versions": run["versions"]}
    metrics = [{"kind": "metric", "name": name, **metric} for name, metric in run["metrics"].items()]
    records = [session, *metrics, *({"kind": "claim", **claim} for claim in run["claims"])]
    file = folder / "01_one-quick-0.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert labkit("verify", "--records", folder).exit_code == 0
    file.write_text("{")
    broken = labkit("verify", "--records", folder)
    assert (broken.exit_code, "line 1 of 01_one-quick-0.jsonl holds" in broken.stdout) == (1, True)
    assert "give one" in labkit("verify", "--records", folder, "--results", path).stderr


def test_results_of_an_older_version_are_judged_as_another_machines(path: Path) -> None:
    old = {key: value for key, value in a_run().items() if key not in ("peak_memory", "instruction_set")}
    entry = {**old, "cell_seconds": 1.5}
    write_json(path, {"schema_version": 1, "profile": "quick", "lessons": {"01_one": entry}})
    result = labkit("verify", "--results", path)
    assert result.exit_code == 0
    assert "do not say which instruction set they were computed with" in result.stdout


def test_a_baseline_of_version_1_is_named(course: Course, path: Path) -> None:
    baseline_path("quick", course.root).write_text('{"schema_version": 1, "profile": "quick", "lessons": {}}')
    write_json(path, seeds(1))
    result = labkit("verify", "--results", path)
    assert result.exit_code == 2
    assert "is of version 1, which kept bands instead of the value at each seed: derive it again" in result.stderr


def test_verify_without_results_says_what_to_run(course: Course) -> None:
    course.add("one")
    result = labkit("verify")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: There are no results at ")
    assert "run `labkit run` first" in result.stderr


def test_verify_without_a_baseline_says_what_to_run(course: Course, tmp_path: Path) -> None:
    course.add("one")
    write_json(tmp_path / "results.json", seeds(1))
    result = labkit("verify", "--results", tmp_path / "results.json")
    assert result.exit_code == 2
    assert "derive it with `labkit baseline --profile quick`" in result.stderr


def test_a_baseline_needs_results_and_enough_seeds(course: Course, tmp_path: Path) -> None:
    course.add("one")
    path = tmp_path / "results.json"
    missing = labkit("baseline", "--from", path)
    assert (missing.exit_code, "run `labkit run` first" in missing.stderr) == (2, True)
    write_json(path, seeds(4))
    few = labkit("baseline", "--from", path)
    assert (few.exit_code, "at least 5 different seeds" in few.stderr) == (2, True)
    named = labkit("baseline", "one", "--from", path)
    assert (named.exit_code, "name none" in named.stderr) == (2, True)
    assert not baseline_path("quick", course.root).exists()


def test_a_baseline_takes_from_results_what_is_complete_and_names_the_rest(course: Course, tmp_path: Path) -> None:
    for topic in ("one", "two", "three", "four", "five", "six"):
        course.add(topic)
    save_baseline(baseline_of(*range(5)), course.root)
    complete = [a_run(seed) for seed in range(5)]
    runs = {
        "02_two": complete,
        "03_three": [*complete, a_run(5, **FAILED)],
        "04_four": complete,  # and seed 5 was never run
        "05_five": complete[:4],
        "99_gone": complete,
    }
    planned = {name: [run["seed"] for run in lesson] for name, lesson in runs.items()} | {"04_four": [*range(6)]}
    results = gather("quick", planned, [(name, run) for name, lesson in runs.items() for run in lesson])
    results["lessons"]["06_six"] = results["lessons"]["02_two"]  # from another file, and the plan is as it was
    write_json(tmp_path / "results.json", results)
    told = labkit("baseline", "--from", tmp_path / "results.json")
    assert told.exit_code == 1
    assert told.stdout.splitlines()[1:] == [
        "Derived: 02_two, 06_six",
        "- left out: 03_three: the run at seed 5 failed, so no baseline: mend it and run again.",
        "- left out: 04_four: the run at seed 5 is missing, so no baseline: run it again.",
        "- left out: 05_five: a baseline needs at least 5 different seeds, got 4.",
        "- left out: 99_gone: the course has no such lesson, so no baseline of it is kept.",
    ]
    lessons = json.loads(baseline_path("quick", course.root).read_text())["lessons"]
    assert list(lessons) == ["01_one", "02_two", "06_six"]
    assert lessons["01_one"]["metrics"]["vae/kl"]["values"] == [*range(5)], "what is not in the results stays"


def test_a_baseline_of_results_that_another_machine_has_in_part_leaves_the_rest_out(
    course: Course, tmp_path: Path
) -> None:
    for topic in ("one", "two"):
        course.add(topic)
    runs = [(name, a_run(seed)) for name in ("01_one", "02_two") for seed in range(5)]
    here = gather("quick", {name: [*range(5)] for name, _ in runs}, runs)
    write_json(tmp_path / "here.json", here)
    write_json(tmp_path / "there.json", seeds(5, instruction_set="x86_64 DEFAULT"))
    told = labkit("baseline", "--from", tmp_path / "here.json", "--elsewhere", tmp_path / "there.json")
    assert told.exit_code == 1
    left_out = "- left out: 02_two: the other machine has no run at seed 0: run it again there."
    assert told.stdout.splitlines()[1:] == ["Derived: 01_one", left_out]


def test_results_without_any_run_make_no_baseline(course: Course, tmp_path: Path) -> None:
    course.add("one")
    write_json(tmp_path / "results.json", gather("quick", {}, []))
    told = labkit("baseline", "--from", tmp_path / "results.json")
    assert (told.exit_code, "holds no runs" in told.stderr) == (2, True)
    assert not baseline_path("quick", course.root).exists()


def test_a_baseline_is_not_derived_from_a_lesson_that_fails(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    course.add("one")
    monkeypatch.setattr("labkit.course.telling.run_lessons", lambda *_, **__: results_of(a_run(**FAILED)))
    result = labkit("baseline", "--seeds", "0")
    assert result.exit_code == 1
    assert "- 01_one (seed 0): the run failed: ValueError: no luck" in result.stdout
    assert not baseline_path("quick", course.root).exists()


def test_where_no_caps_act_a_baseline_says_so_first_and_runs_everything_once(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.add("one")
    monkeypatch.setattr("labkit.caps.platform.machine", lambda: "arm64")
    ran = []
    monkeypatch.setattr("labkit.course.telling.run_lessons", lambda *_, **options: ran.append(options) or seeds(5))
    result = labkit("baseline", "--seeds", "0-4")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("No caps act on this machine, so the lessons run once: ")
    assert len(ran) == 1
    assert "elsewhere" not in baseline_path("quick", course.root).read_text()


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_list_shows_every_lesson(course: Course) -> None:
    course.add("one"), course.add("two")
    lines = labkit("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["01_one", "02_two"]


def test_list_counts_minutes_and_tells_what_is_stated_wrongly_or_too_much(course: Course) -> None:
    lesson = course.add("one")
    course.write(lesson, markdown("word " * 220 * 7), code("lab.record('a', 1)", "one"))
    told = labkit("list", "--minutes").stdout.splitlines()
    assert told[2].split() == ["01_one", "7", "0", "7", "0", "0", "0", "2", "100"]
    assert told[3:] == [
        "- 01_one says minutes = 5 in lessons.toml; 7.1 are counted, so say 10.",
        "- 01_one: Bookkeeping is 100.0% of the code lines: at most 25%.",
    ]
    listed = course.root / "notebooks" / "lessons.toml"
    listed.write_text(listed.read_text().replace("minutes = 5", "minutes = 10").replace("edition = 2", "edition = 1"))
    assert labkit("list", "--minutes").stdout.splitlines() == told[:3], "measures of the second bind no first edition"
    assert labkit("list", "--minutes", "--measured").exit_code == 2


@pytest.mark.parametrize(
    "command", [(), ("run",), ("verify",), ("baseline",), ("evidence",), ("figures",), ("build",), ("list",)]
)
def test_every_help_has_an_example_that_can_be_typed(command: tuple[str, ...]) -> None:
    text = labkit(*command, "--help").stdout
    (example,) = [line for line in text.splitlines() if line.strip().startswith("Example: labkit ")]
    name, *arguments = example.split("labkit ")[1].split()
    main.commands[name].make_context(name, arguments, resilient_parsing=False).close()


def test_the_version_is_the_packages() -> None:
    assert labkit("--version").stdout.strip().endswith(__version__)


def test_the_command_line_starts_without_what_only_a_run_needs() -> None:
    code = "import sys, labkit.course.cli; print(sorted({'torch', 'papermill', 'jinja2', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_of_the_course_imports_torch() -> None:
    names = [path.stem for path in Path(main.callback.__code__.co_filename).parent.glob("*.py")]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module('labkit.course.' + name)\n"
    code += "assert 'torch' not in sys.modules"
    assert len(names) > 8
    subprocess.run([sys.executable, "-c", code, *names], check=True)
