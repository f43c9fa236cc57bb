"""`make` installs what is pinned, notices a broken environment, and starts kernels as `labkit run` does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(folder: Path, *arguments: str, **variables: str) -> str:
    """What `make` says in the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A folder in which `make` has installed, as far as it can see: nothing is in the environment but a Python."""
    folder = tmp_path / "a course"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / ".venv" / ".installed").write_text(str(folder))
    return folder


def test_an_environment_that_is_whole_is_left_alone(course: Path) -> None:
    assert "Nothing to be done" in make(course, "-n", "install")


@pytest.mark.parametrize("program", ["gone", "/bin/false"])
def test_an_environment_whose_python_no_longer_runs_is_made_anew(course: Path, program: str) -> None:
    python = course / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(program)
    assert f'if [ "" = "{course}" ]; then rm .venv/.installed; else python3 -m venv --clear .venv' in make(
        course, "-n", "install"
    )


def test_uv_is_installed_as_the_lock_has_it(course: Path) -> None:
    (course / ".venv" / ".installed").unlink()
    recipe = make(course, "-n", "install")
    (command,) = set(re.findall(r"pip install --quiet --require-hashes -r <\((.*?)\)", recipe))
    assert not re.search(r"pip install[^<]* uv\b", recipe)
    said = subprocess.run(["bash", "-c", command], cwd=course, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"uv==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+    # via .*\n", said)


@pytest.mark.parametrize("prefix", ["KERNELS", "TESTED"])
def test_a_kernel_finds_the_same_as_in_a_run(course: Path, prefix: str) -> None:
    (course / "show.mk").write_text(f"include Makefile\nshow:\n\t@$({prefix}) env\n")
    given = {"MATPLOTLIBRC": "mine", "LABKIT_DATA": "da ta", "LABKIT_CACHE": "~/cache", "PYTHONSTARTUP": "mine.py"}
    given |= {"IPYTHONDIR": "mine", "JUPYTER_PATH": "/one"}
    said = dict(
        line.split("=", 1) for line in make(course, "-f", "show.mk", "show", **given).splitlines() if "=" in line
    )
    assert (said["MATPLOTLIBRC"], said["JUPYTER_PATH"]) == ("/dev/null", f"{course}/.venv/share/jupyter:/one")
    assert (said["LABKIT_DATA"], said["LABKIT_CACHE"]) == (f"{course}/da ta", "~/cache")
    if prefix == "TESTED":
        assert "PYTHONSTARTUP" not in said
        assert said["IPYTHONDIR"] == f"{course}/build/test/ipython"
    else:
        assert (said["PYTHONSTARTUP"], said["IPYTHONDIR"]) == ("mine.py", "mine")
    bare = make(course, "-f", "show.mk", "show", LABKIT_DATA="", LABKIT_CACHE="/abs")
    assert re.search(r"^LABKIT_DATA=$", bare, re.MULTILINE)
    assert "LABKIT_CACHE=/abs" in bare


def test_jupyterlab_is_opened_with_defaults_of_the_course_behind_those_of_the_user(course: Path) -> None:
    """JUPYTER_CONFIG_PATH is where JupyterLab looks for labconfig/default_setting_overrides.json."""
    (recipe,) = [line for line in make(course, "-n", "lab").splitlines() if "jupyterlab" in line]
    (setting,) = re.findall(r'JUPYTER_CONFIG_PATH="(.*?)"', recipe)
    folder, _, users = setting.partition("$")
    assert (folder, users) == (f"{course}/labkit/lab/jupyter", "{JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}")
    defaults = json.loads(
        (ROOT / "labkit" / "lab" / "jupyter" / "labconfig" / "default_setting_overrides.json").read_text()
    )
    assert defaults["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"] == {"lineWrap": True}
