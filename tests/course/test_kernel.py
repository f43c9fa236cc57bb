"""The right kernel is started, and none outlives its run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from tiny_course import Course

from labkit.course.kernel import MARK, kernel_env, kill_tree, remove_abandoned, scratch_folder
from labkit.course.run import run_lessons


def plant_hostile_kernel(share: Path) -> None:
    """A kernelspec called python3 that can run nothing."""
    folder = share / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/nonexistent/python", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))


def test_a_users_own_python3_kernelspec_is_never_used(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_hostile_kernel(tmp_path / "home" / ".local" / "share" / "jupyter")
    plant_hostile_kernel(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "elsewhere"))
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/nonexistent/python"  # Jupyter would take it
    lesson = course.add("which", "import sys\ntell(kind='config', values={'python': sys.executable})")

    before = set((tmp_path / "home").rglob("*"))

    run = run_lessons([lesson], out=tmp_path / "out")["lessons"][lesson.name]["runs"][0]

    assert run["config"] == {"python": sys.executable}
    assert set((tmp_path / "home").rglob("*")) == before, "a run writes into its output folder only"


def test_without_a_home_folder_a_lesson_is_listed_and_run_and_built(course: Course, tmp_path: Path) -> None:
    """As in a container whose user has no entry in passwd, and no HOME."""
    course.add("one", "import matplotlib.pyplot as plt\nplt.figure()")
    source = course.root / "notebooks" / "source" / "01_one.py"
    source.parent.mkdir()
    start = (course.root / "notebooks" / "01_one.ipynb").read_text()
    cells = ["".join(cell["source"]) for cell in json.loads(start)["cells"][:2]]
    source.write_text(f'# %% tags=["parameters"]\n{cells[0]}\n\n# %%\n{cells[1]}\n')
    nobody = tmp_path / "site"
    nobody.mkdir()
    (nobody / "sitecustomize.py").write_text(
        "import pwd\ndef getpwuid(uid):\n    raise KeyError(uid)\npwd.getpwuid = getpwuid\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment["PYTHONPATH"] = os.pathsep.join([str(nobody), *sys.path])
    for command in (["list"], ["run", "--out", str(tmp_path / "out")], ["build", "--force"]):
        done = subprocess.run(
            [*course.command, *command], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "~").exists()


def test_what_the_user_has_set_up_for_plots_and_shells_does_not_reach_a_lesson(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    (tmp_path / "startup.py").write_text("raise SystemExit\n")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("LABKIT_DATA", "data")
    monkeypatch.chdir(tmp_path)
    ask = "import os, matplotlib\ntell(kind='config', values={'tex': matplotlib.rcParams['text.usetex'], **{name: "
    lesson = course.add("asks", ask + "os.environ.get(name) for name in ('PYTHONSTARTUP', 'LABKIT_DATA')}})")
    run = run_lessons([lesson], out=tmp_path / "out")["lessons"][lesson.name]["runs"][0]
    assert run["config"] == {"tex": False, "PYTHONSTARTUP": None, "LABKIT_DATA": str(tmp_path / "data")}


def test_what_was_on_the_jupyter_path_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", os.pathsep.join(["/one", "/two"]))
    assert kernel_env()["JUPYTER_PATH"].split(os.pathsep)[1:] == ["/one", "/two"]
    monkeypatch.delenv("JUPYTER_PATH")
    assert kernel_env()["JUPYTER_PATH"] == str(Path(sys.prefix, "share", "jupyter"))


def test_killing_a_process_ends_what_it_started_in_another_session() -> None:
    code = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60'], start_new_session=True); print(p.pid)"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.stdout.flush(); time.sleep(60)"], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    kill_tree(parent.pid)

    parent.wait(5)
    parent.stdout.close()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # for a while, until it is buried


def test_killing_a_process_that_has_ended_is_no_error() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    kill_tree(ended.pid)


# ---- folders of runs that were killed --------------------------------------------------------------------------------

HOLD = """
import sys
from labkit.course.kernel import scratch_folder
with scratch_folder("labkit-"):
    print("held", flush=True)
    sys.stdin.read()
"""


def aged(folder: Path) -> Path:
    """The scratch folder as if it had been made long ago; its lock stays as it is."""
    (folder / MARK).touch()
    os.utime(folder / MARK, (0, 0))
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the system's temporary one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_scratch_folder_stays_while_its_process_lives_and_goes_when_that_was_killed(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD], env=environment, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        (folder,) = map(aged, temporary.iterdir())
        (folder / "sub").mkdir()
        remove_abandoned()
        assert folder.exists()
        process.kill()
        process.wait()
    remove_abandoned()
    assert not folder.exists()


def test_what_is_not_known_to_be_abandoned_stays(temporary: Path) -> None:
    with scratch_folder("labkit-") as held:
        aged(held)
        (temporary / "labkit-notes").mkdir()  # of somebody else's making: it has no mark
        (temporary / "labkit-new").mkdir()
        (temporary / "labkit-new" / MARK).touch()  # about to be locked
        aged(Path(shutil.copytree(held, temporary / "other")))  # not by our name
        (temporary / "labkit-link").symlink_to(temporary / "other")
        before = sorted(temporary.rglob("*"))
        remove_abandoned()
        assert sorted(temporary.rglob("*")) == before
    assert not held.exists()


def test_another_users_scratch_folder_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = temporary / "labkit-theirs"
    theirs.mkdir()
    aged(theirs)
    mine = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: mine + 1)
    remove_abandoned()
    assert theirs.exists()
    monkeypatch.setattr("os.getuid", lambda: mine)
    remove_abandoned()
    assert not theirs.exists()
