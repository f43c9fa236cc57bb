"""The processes around a kernel: which kernel is started, and that none is left behind."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

FOLDERS = ("LABKIT_DATA", "LABKIT_CACHE")


def kernel_env() -> dict[str, str]:
    """The environment in which `python3` can only be the kernel of this Python, whatever else the user has installed.

    JUPYTER_PATH is searched before every other place that may hold a kernelspec, so this environment's comes first.
    Folders named relative to where we are become absolute, since a notebook runs in its own folder. What it records is
    read from the notebook itself, so LABKIT_RECORDS is not passed on.
    """
    ours = str(Path(sys.prefix) / "share" / "jupyter")
    theirs = os.environ.get("JUPYTER_PATH")
    folders = {name: os.path.abspath(Path(os.environ[name]).expanduser()) for name in FOLDERS if os.environ.get(name)}
    ours_alone = {name: value for name, value in os.environ.items() if name != "LABKIT_RECORDS"}
    return {**ours_alone, **folders, "JUPYTER_PATH": os.pathsep.join([ours, theirs] if theirs else [ours])}


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


def kill_tree(pid: int) -> None:
    """Kill the process and all below it, kernels in sessions of their own included, and wait until they are gone."""
    try:
        top = psutil.Process(pid)
        family = [*top.children(recursive=True), top]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended by itself meanwhile
    deadline = time.monotonic() + 10
    while not all(_has_ended(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.02)


def _has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more; its entry may stay for ever where nobody buries orphans, as in many containers."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
