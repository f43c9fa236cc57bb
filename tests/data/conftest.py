"""A machine of its own for each test: empty cache, no LABKIT_DATA, and a small server that can misbehave."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Server:
    """Serves `content` at /good/..., which /moved leads to; less of it at /dies, /short, /altered and /missing.

    At /drips and /floods it has no end.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.content = b""
        self.requests: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ours: Server = self.server.ours  # type: ignore[attr-defined]
        ours.requests.append(self.path)
        manner, content = self.path.split("/")[1], ours.content
        if manner == "missing":
            self.send_error(404)
            return
        if manner == "moved":  # with more to say about it than the file is long
            self.send_response(302)
            self.send_header("Location", "/good/file")
            self.send_header("Content-Length", str(2 * len(content)))
            self.end_headers()
            self.wfile.write(2 * content)
            return
        if manner in ("drips", "floods"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # until the other side goes away
                while True:
                    self.wfile.write(b"x" if manner == "drips" else content)
                    time.sleep(0.01)
        body = {"good": content, "altered": content[::-1]}.get(manner, content[: len(content) // 2])
        self.send_response(200)
        # One that dies promised more than it sends; one that is short believes it is whole.
        self.send_header("Content-Length", str(len(content) if manner == "dies" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.ours = Server(running.server_port)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running.ours
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    for variable in ("LABKIT_DATA", "LABKIT_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_BATCH", "1")
    return tmp_path / "cache"


@pytest.fixture
def data(monkeypatch, tmp_path) -> Path:
    """An empty folder that LABKIT_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("LABKIT_DATA", str(folder))
    return folder
