"""The right kernel is started, and none outlives its run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from tiny_course import Course

from labkit.course.kernel import kernel_env, kill_tree
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
