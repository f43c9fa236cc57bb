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
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.course.files import cannot_write, replace, unfinished
from labkit.course.kernel import adopt_orphans, kill_children
from labkit.course.ours import FINGERPRINT, fingerprint
from labkit.course.records import added_by_papermill, first_lines, read_json, where
from labkit.course.text import plain

# What writing into a folder can fail with; anything else is not the output folder's fault.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
OUTPUT = 20_000_000  # characters of output that a notebook may hold; no lesson comes to a tenth of that
PATIENCE = 600  # seconds after the end of a cell in which its output must be stored; papermill's 4 are few for a flood
# By default a thousand messages may wait and the next are dropped: a record, or the one that ends a cell. This has the
# kernel keep them all, as Manager.client below does on our side; only the kernel's own thread may touch its socket.
NOTHING_DROPPED = (
    "from ipykernel.kernelapp import IPKernelApp as app; thread = app.instance().iopub_thread; "
    "thread.schedule(lambda socket=thread.socket: setattr(socket, 'sndhwm', 0)); del app, thread"
)


class _Stopped(Exception):
    """A notebook that must not go on, though no cell raised; why has been noted."""


@dataclass
class _Follower:
    """What papermill's callbacks tell about the run so far."""

    cells: int
    tell: Callable[[dict], None]
    added: int = 0
    cell: int | None = None
    source: str = ""
    said: int = 0  # characters of output so far
    error: dict | None = None

    def on_cell_start(self, cell: Any, cell_index: int) -> None:
        if added_by_papermill(cell):
            self.added += 1
            return
        self.cell, self.source = cell_index - self.added, plain(first_lines(cell.source))
        self.tell({"cell": self.cell, "cells": self.cells, "source": self.source})

    def on_cell_error(self, cell: Any, cell_index: int, execute_reply: dict) -> None:
        raised = execute_reply["content"]
        what = plain(f"{raised['ename']}: {raised['evalue']}").strip().splitlines()[0][:300]
        self.fail("exception", f"{what} {where(self.cell, self.source)}", plain("\n".join(raised["traceback"])))

    def on_cell_executed(self, cell: Any, cell_index: int, execute_reply: dict) -> None:
        """quit() ends the kernel soon after its cell, which passes; what would fail is some cell behind it."""
        if any(asked.get("source") == "ask_exit" for asked in execute_reply["content"].get("payload", [])):
            self.fail("exception", f"quit() ended the lesson {where(self.cell, self.source)}: take it out")
            raise _Stopped

    def on_output(self, content: dict) -> bool:
        """Whether there is room for it; printed text is cut to that. If not, the kernel is ended at once."""
        room = max(0, OUTPUT - self.said)
        self.said += _length(content)
        if self.said <= OUTPUT:
            return True
        if self.error is None:
            limit = f"more than {OUTPUT / 1e6:g} MB of output"
            self.fail("output", f"{limit} {where(self.cell, self.source)}: print less")
            kill_children(os.getpid())
        content["text"] = content.get("text", "")[:room]
        return content["text"] != ""

    def fail(self, kind: str, message: str, traceback: str = "") -> None:
        """Note why the notebook fails; only the first reason counts, as others follow from it."""
        shown = traceback[-10_000:]
        error = {"kind": kind, "cell": self.cell, "source": self.source, "message": message, "traceback": shown}
        self.error = self.error or error


def _length(value: Any) -> int:
    """How many characters of text are in it, at any depth."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_length, parts))


def execute(notebook: Path, output: Path, parameters: dict, tell: Callable[[dict], None]) -> dict | None:
    """Run ``notebook`` in its own folder and save it as ``output`` as it goes; returns the error, None if all ran.

    Changes the working folder while it runs, so it belongs in a process of its own.
    """
    import papermill  # a second or more to import
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    notebook, output = notebook.absolute(), output.absolute()
    follower = _Follower(len(read_json(notebook)["cells"]), tell)
    papermill.iorw.papermill_io.register(notebook.anchor, _Files)
    _save_quickly()
    _listen(follower)
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
            on_cell_executed=follower.on_cell_executed,
        )
    except (papermill.exceptions.PapermillExecutionError, _Stopped):
        pass  # on_cell_error has noted it, and sys.exit(), which papermill takes for success, as well
    except DeadKernelError:
        follower.fail("dead kernel", f"the kernel died {where(follower.cell, follower.source)}")
    except CellTimeoutError:
        follower.fail("output", f"more output than could be stored {where(follower.cell, follower.source)}: print less")
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        follower.fail("write", cannot_write(output.parent, error))
    except Exception:
        if (cause := _flaw(notebook)) is None:
            raise
        message = f"{notebook.name} is not a valid notebook ({cause}): mend it"
        follower.fail("process", message, plain(traceback.format_exc()))
    return follower.error


class _Files:
    """What papermill reads and writes files with: it takes a byte order mark, and never leaves half a file."""

    @staticmethod
    def read(path: str) -> str:
        return json.dumps(read_json(Path(path)))

    @staticmethod
    def write(text: str, path: str) -> None:
        replace(Path(path), text.encode(), unfinished(Path(path)), sync=False)

    @staticmethod
    def pretty_path(path: str) -> str:
        return path


def _flaw(notebook: Path) -> str | None:
    """What is not as nbformat has it, in one line; None if all is."""
    import nbformat

    stored = read_json(notebook)
    if stored.get("nbformat") != 4:
        return f"its nbformat is {stored.get('nbformat')!r}, and 4 is needed"
    try:
        nbformat.validate(stored)
    except (nbformat.ValidationError, LookupError, TypeError, ValueError, AttributeError) as error:
        return plain(str(error)).strip().splitlines()[0][:300]
    return None


def _listen(follower: _Follower) -> None:
    """Have the follower hear of all output before it is kept, and leave out what it has no room for."""
    from papermill.clientwrap import PapermillNotebookClient as Client

    kept = Client.process_message

    def process_message(client: Any, message: dict, *place: Any) -> Any:
        said = message["msg_type"] in ("stream", "display_data", "update_display_data", "execute_result", "error")
        return None if said and not follower.on_output(message["content"]) else kept(client, message, *place)

    Client.process_message = process_message


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
            manager.nb.metadata[FINGERPRINT] = fingerprint(manager.nb.cells)
            _Files.write(json.dumps(manager.nb, ensure_ascii=False), manager.output_path)
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
        kill_children(os.getpid())
        os._exit(1)

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
    adopt_orphans()
    _end_with_parent()
    # Optional for jsonschema, of use to nobody here, and half of the time that papermill takes to import.
    sys.modules["rfc3987_syntax"] = None
    notebook, output, parameters = arguments
    # The kernel inherits file descriptor 1: give it stderr, so that nothing but our lines is ever on stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)

        def tell(message: dict) -> None:
            print(json.dumps(message), file=stdout, flush=True)

        try:
            error = execute(Path(notebook), Path(output), json.loads(parameters), tell)
        finally:
            kill_children(os.getpid())  # what the notebook started, and left running
        tell({"peak_memory": _peak_memory_of_children()})
        if error is not None:
            tell({"error": error})
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
