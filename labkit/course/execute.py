"""One notebook in one process: ``python -m labkit.course.execute INPUT OUTPUT PARAMETERS_AS_JSON``.

A process of its own, because papermill changes the working folder of the whole process. It exits with 0 when every cell
ran, else with 1. On stdout it says, as one JSON object a line, which cell it begins ``{"cell": 3, "cells": 40,
"source": "x = 1"}`` and what went wrong ``{"error": {"kind", "cell", "source", "message", "traceback"}}``; a cell's
number is its place in the lesson's notebook, from 0, cells that papermill adds not counted. At the end it says how much
memory the kernel held at most, in MB: ``{"peak_memory": 812.5}``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.course.files import cannot_write
from labkit.course.kernel import kill_tree
from labkit.course.records import added_by_papermill, first_lines, where

# What writing into a folder can fail with; anything else is not the output folder's fault.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
PATIENCE = 600  # seconds after the end of a cell in which its output must be stored; papermill's 4 are few for a flood
# By default a thousand messages may wait and the next are dropped: a record, or the one that ends a cell. This has the
# kernel keep them all, as Manager.client below does on our side; only the kernel's own thread may touch its socket.
NOTHING_DROPPED = (
    "from ipykernel.kernelapp import IPKernelApp as app; thread = app.instance().iopub_thread; "
    "thread.schedule(lambda socket=thread.socket: setattr(socket, 'sndhwm', 0)); del app, thread"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass
class _Follower:
    """What papermill's callbacks tell about the run so far."""

    cells: int
    tell: Callable[[dict], None]
    added: int = 0
    cell: int | None = None
    source: str = ""
    error: dict | None = None

    def on_cell_start(self, cell: Any, cell_index: int) -> None:
        if added_by_papermill(cell):
            self.added += 1
            return
        self.cell, self.source = cell_index - self.added, first_lines(cell.source)
        self.tell({"cell": self.cell, "cells": self.cells, "source": self.source})

    def on_cell_error(self, cell: Any, cell_index: int, execute_reply: dict) -> None:
        raised = execute_reply["content"]
        what = f"{raised['ename']}: {raised['evalue']}".strip().splitlines()[0][:300]
        traceback = _ANSI.sub("", "\n".join(raised["traceback"]))
        self.fail("exception", f"{what} {where(self.cell, self.source)}", traceback)

    def fail(self, kind: str, message: str, traceback: str = "") -> None:
        shown = traceback[-10_000:]
        self.error = {"kind": kind, "cell": self.cell, "source": self.source, "message": message, "traceback": shown}


def execute(notebook: Path, output: Path, parameters: dict, tell: Callable[[dict], None]) -> dict | None:
    """Run ``notebook`` in its own folder and save it as ``output`` after each cell; returns the error, None if all ran.

    Changes the working folder while it runs, so it belongs in a process of its own.
    """
    import papermill  # a second or more to import
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    _save_quickly()
    notebook, output = notebook.resolve(), output.resolve()
    follower = _Follower(len(json.loads(notebook.read_text(encoding="utf-8"))["cells"]), tell)
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(output),
            parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=notebook.parent,
            kernel_manager_class=_kernel_manager(),
            extra_arguments=[f"--IPKernelApp.exec_lines={NOTHING_DROPPED}"],
            iopub_timeout=PATIENCE,
            on_cell_start=follower.on_cell_start,
            on_cell_error=follower.on_cell_error,
        )
    except papermill.exceptions.PapermillExecutionError:
        pass  # on_cell_error has noted it, and sys.exit(), which papermill takes for success, as well
    except DeadKernelError:
        follower.fail("dead kernel", f"the kernel died {where(follower.cell, follower.source)}")
    except CellTimeoutError:
        follower.fail("output", f"more output than could be stored {where(follower.cell, follower.source)}: print less")
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        follower.fail("write", cannot_write(output.parent, error))
    return follower.error


def _save_quickly() -> None:
    """Have papermill save when a code cell begins, and at the end, and take a tenth of the time for it.

    It saves before and after every cell, those without code included, indented and validated: four hundred times in a
    lesson, a sixth of its time. When a cell begins, the file has all that the cells before it have said; the last save,
    at the end, is as papermill has it.
    """
    from papermill.engines import NotebookExecutionManager

    def save(manager: Any, **_: Any) -> None:
        running = (cell for cell in manager.nb.cells if cell.metadata.papermill["status"] == manager.RUNNING)
        begins = any(cell.cell_type == "code" for cell in running)
        over = manager.nb.metadata.papermill["end_time"] is not None
        if manager.output_path and (begins or over):
            whole = json.dumps(manager.nb, ensure_ascii=False)
            Path(manager.output_path).write_text(whole, encoding="utf-8")
        manager.last_save_time = manager.now()

    NotebookExecutionManager.save = save


def _literal(path: Path) -> str:
    """The path as papermill must get it, since it takes braces for the fields of a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_manager() -> type:
    """The class of a manager that starts the kernel on sockets of its own and loses nothing that it says."""
    import zmq.asyncio
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.paths import jupyter_runtime_dir
    from traitlets import default

    file = Path(jupyter_runtime_dir()) / f"{uuid.uuid4().hex[:8]}.json"

    class Manager(AsyncKernelManager):
        def client(self, **options: Any) -> Any:
            context = zmq.asyncio.Context()
            context.rcvhwm = 0
            return super().client(context=context, **options)

        if os.name == "posix" and len(str(file)) < 90:  # a socket's path holds about 100 bytes

            @default("transport")
            def _by_file(self) -> str:
                # TCP ports are found first and bound later, so two kernels that start together can choose the same one.
                return "ipc"

            @default("connection_file")
            def _own_file(self) -> str:
                file.parent.mkdir(parents=True, exist_ok=True)
                return str(file)

    return Manager


def _end_with_parent() -> None:
    """Should the caller be killed, take the kernel along: nobody else would end it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        kill_tree(os.getpid())

    threading.Thread(target=watch, daemon=True).start()


def _peak_memory_of_children() -> float | None:
    """MB of the largest child that has ended, which is the kernel; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def main(arguments: list[str]) -> int:
    """Run as a command; see the module."""
    _end_with_parent()
    # Optional for jsonschema, of use to nobody here, and half of the time that papermill takes to import.
    sys.modules["rfc3987_syntax"] = None
    notebook, output, parameters = arguments
    # The kernel inherits file descriptor 1: give it stderr, so that nothing but our lines is ever on stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)

        def tell(message: dict) -> None:
            print(json.dumps(message), file=stdout, flush=True)

        error = execute(Path(notebook), Path(output), json.loads(parameters), tell)
        tell({"peak_memory": _peak_memory_of_children()})
        if error is not None:
            tell({"error": error})
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
