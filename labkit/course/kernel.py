"""The processes around a kernel: which kernel is started, and that none is left behind, nor a folder of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

FOLDERS = ("LABKIT_DATA", "LABKIT_CACHE")
MARK = ".labkit-scratch"  # the locked file in a scratch folder


def kernel_env() -> dict[str, str]:
    """The environment in which `python3` can only be the kernel of this Python, whatever else the user has installed.

    JUPYTER_PATH is searched before every other place that may hold a kernelspec, so this environment's comes first.
    Folders named relative to where we are become absolute, since a notebook runs in its own folder. What it records is
    read from the notebook itself, so LABKIT_RECORDS is not passed on. The user's matplotlibrc and Python start-up file
    must not decide how a lesson runs. The Makefile says the same to the notebooks that it starts itself.
    """
    ours = str(Path(sys.prefix) / "share" / "jupyter")
    theirs = os.environ.get("JUPYTER_PATH")
    folders = {name: os.path.abspath(Path(os.environ[name]).expanduser()) for name in FOLDERS if os.environ.get(name)}
    kept = {name: value for name, value in os.environ.items() if name not in ("LABKIT_RECORDS", "PYTHONSTARTUP")}
    own = {"JUPYTER_PATH": os.pathsep.join([ours, theirs] if theirs else [ours]), "MATPLOTLIBRC": os.devnull}
    return {**kept, **folders, **own}


def has_home() -> bool:
    """Whether the user has a home folder: not so in a container that has neither HOME nor an entry for the user."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """A block in which environment variables are set, for the processes that it starts."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that goes with the block; should this process be killed, remove_abandoned() removes it.

    The prefix begins with "labkit-".
    """
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
        open(Path(folder, MARK), "a") as mark,
    ):
        _lock(mark)
        yield Path(folder)


def remove_abandoned() -> None:
    """Remove this user's scratch folders that no process holds any more, as after a run that was killed.

    A lock goes with its process, however that ends, and is seen from another container, too, where a process id says
    nothing. A folder younger than a minute may be about to be locked.
    """
    marks: list[Path] = []
    with contextlib.suppress(OSError):  # no folder for temporary files: whoever needs one will say so
        marks += Path(tempfile.gettempdir()).glob(f"labkit-*/{MARK}")
    for mark in marks:
        with contextlib.suppress(OSError), open(mark, "r+") as file:
            old = time.time() - os.fstat(file.fileno()).st_mtime > 60
            if old and _lock(file) and mark.parent.lstat().st_uid == os.getuid():
                shutil.rmtree(mark.parent, ignore_errors=True)


def _lock(file: IO[str]) -> bool:
    """Lock the file until it is closed; False if another holds the lock, or the system has none."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows; a file system without locks
        return False
    return True


def kill_tree(pid: int) -> None:
    """Kill the process and all below it, kernels in sessions of their own included, and wait until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        top.suspend()  # it must not start others while those below it are killed
        kill_children(pid)
        top.kill()
        _wait_for([top])


def kill_children(pid: int) -> None:
    """Kill all below the process, also what is started meanwhile, and wait until they are gone, ten seconds at most."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        while family := [process for process in top.children(recursive=True) if not _has_ended(process)]:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            _wait_for(family)
            if time.monotonic() > deadline:
                return


def adopt_orphans() -> None:
    """Have this process become the parent of whatever is below it and loses its own: nothing escapes kill_children.

    A daemon does this on purpose. Only Linux knows of it; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _wait_for(family: Sequence[psutil.Process]) -> None:
    deadline = time.monotonic() + 10
    while not all(_has_ended(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.02)


def _has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more; its entry may stay for ever where nobody buries orphans, as in many containers."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
