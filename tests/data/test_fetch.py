"""A data file is found, or downloaded, whole and unaltered, or one sentence says why it is not."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest

from labkit import provenance
from labkit.data import DataError, fetch
from labkit.data.fetch import Known, at_hand

fetch_module = importlib.import_module("labkit.data.fetch")  # labkit.data.fetch is the function

CONTENT = bytes(range(256)) * 400
PACKED = gzip.compress(CONTENT, mtime=0)
NAME = "SET/raw/file"


def known(content: bytes, path: str = NAME) -> Known:
    return Known(path, hashlib.sha256(content).hexdigest(), len(content))


def get(*urls: str, content: bytes = CONTENT, also: tuple[Known, ...] = ()) -> Path:
    wanted = known(content)
    return fetch(wanted.path, sha256=wanted.sha256, bytes=wanted.bytes, urls=urls, also=also)


def refusal(*urls: str, also: tuple[Known, ...] = ()) -> str:
    """What the DataError says: one sentence, with no other exception shown before it."""
    with pytest.raises(DataError) as caught:
        get(*urls, also=also)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    assert "\n" not in said
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return said


def put(folder: Path, content: bytes, name: str = NAME) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file under `folder` with its bytes and the time it was last changed."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file"


def test_a_file_that_was_asked_for_is_noted_with_the_sum_that_it_was_checked_by(data, cache, monkeypatch) -> None:
    noted: dict[str, str] = {}
    monkeypatch.setattr(provenance, "FILES", noted)
    put(data, CONTENT)
    get()
    assert noted == {NAME: hashlib.sha256(CONTENT).hexdigest()}


def test_a_file_in_labkit_data_is_used_where_it_lies(data, cache) -> None:
    path = put(data, CONTENT)
    put(cache, b"never looked at")
    assert get() == path


def test_a_file_in_the_cache_serves_where_labkit_data_has_none(data, cache) -> None:
    path = put(cache, CONTENT)
    assert get() == path


def test_a_file_in_another_form_serves_where_it_lies(data) -> None:
    unpacked = put(data, PACKED, f"{NAME}.packed")
    assert get(also=(known(PACKED, f"{NAME}.packed"),)) == unpacked


def test_a_file_in_another_form_may_lie_at_the_same_path(data) -> None:
    path = put(data, PACKED)
    assert get(also=(known(PACKED),)) == path
    put(data, b"half")
    assert refusal(also=(known(PACKED),)).startswith(f"{path} is incomplete or altered (4 bytes instead of 102,400)")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:1000], "is incomplete or altered (1,000 bytes instead of 102,400)"),
        (b"", "is incomplete or altered (0 bytes instead of 102,400)"),
        (CONTENT + b"!", "is incomplete or altered (102,401 bytes instead of 102,400)"),
        (CONTENT[::-1], "is altered (102,400 bytes as expected, but another sha256 checksum)"),
    ],
)
def test_a_damaged_file_in_labkit_data_is_named_and_nothing_else_is_tried(
    data, cache, server, content, problem
) -> None:
    path = put(data, content)
    put(cache, CONTENT)
    server.content = CONTENT
    said = refusal(f"{server.url}/good/file", also=(known(CONTENT, "SET/copy"),))
    assert said == f"{path} {problem}: put the original file there, or unset LABKIT_DATA to have it downloaded."
    assert server.requests == []


def test_a_damaged_other_form_in_labkit_data_is_named_too(data) -> None:
    path = put(data, b"half", f"{NAME}.packed")
    assert refusal(also=(known(PACKED, f"{NAME}.packed"),)).startswith(f"{path} is incomplete or altered (4 bytes")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["folder", "dangling link"])
def test_what_cannot_be_read_as_a_file_in_labkit_data_is_a_problem(data, cache, make) -> None:
    put(cache, CONTENT)
    path = data / NAME
    path.parent.mkdir(parents=True)
    make(path)
    assert refusal().startswith(f"{path} ")


def test_labkit_data_is_only_read(data, cache, server) -> None:
    put(data, CONTENT, "SET/raw/another")
    before = files(data)
    for folder in (data, data / "SET", data / "SET" / "raw"):
        folder.chmod(0o555)
    server.content = CONTENT
    assert get(f"{server.url}/good/file") == cache / NAME
    assert files(data) == before


def test_files_are_at_hand_where_each_lies_in_labkit_data_or_the_cache(data, cache, monkeypatch) -> None:
    assert not at_hand(NAME)
    put(data, CONTENT)
    assert not at_hand(NAME, "SET/another")
    put(cache, CONTENT, "SET/another")
    assert at_hand(NAME, "SET/another")
    monkeypatch.delenv("LABKIT_DATA")
    assert not at_hand(NAME)
    assert not at_hand("SET")  # a folder


def test_labkit_data_that_is_no_folder_is_said_to_be_none(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "nowhere"))
    assert "but there is no folder" in refusal()
    put(tmp_path, b"a file", "nowhere")
    assert "but there is no folder" in refusal()


def test_a_download_is_checked_and_kept_in_the_cache(cache, server) -> None:
    server.content = CONTENT
    url = f"{server.url}/good/file"
    assert get(url).read_bytes() == CONTENT
    assert get(url) == cache / NAME
    assert server.requests == ["/good/file"]
    assert list(files(cache)) == [NAME]


def test_a_packed_file_is_stored_as_it_was_sent(cache, server) -> None:
    server.content = PACKED
    assert get(f"{server.url}/good/file.gz", content=PACKED).read_bytes() == PACKED


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("dies", "the transfer broke off"),
        ("short", "what it sent has another checksum"),
        ("altered", "what it sent has another checksum"),
        ("missing", "it answered 404"),
    ],
)
def test_a_download_that_fails_leaves_nothing_behind(cache, server, manner, reason) -> None:
    server.content = CONTENT
    host = server.url.removeprefix("http://")
    assert refusal(f"{server.url}/{manner}/file") == (
        f"{NAME} could not be downloaded ({host}: {reason}): "
        f"check the network and try again, or put the original file at {cache / NAME}."
    )
    assert files(cache) == {}


def test_a_file_that_has_moved_is_found(cache, server) -> None:
    server.content = CONTENT
    assert get(f"{server.url}/moved/file").read_bytes() == CONTENT


def test_a_download_comes_in_whole_pieces_however_it_arrives(monkeypatch) -> None:
    """pooch counts each as a whole one in its bar."""
    arriving = iter([b"a", b"bc", b"d" * 9, b""])
    raw = SimpleNamespace(read1=lambda *_, **__: next(arriving))
    assert list(fetch_module._pieces(SimpleNamespace(raw=raw), 4, None)) == [b"abcd", b"dddd", b"dddd", b""]


def test_a_server_that_drips_is_given_up(cache, server, monkeypatch) -> None:
    monkeypatch.setattr(fetch_module, "PATIENCE", 0.2)
    server.content = CONTENT
    assert "it sent less than 60,000 bytes in 0.2 s)" in refusal(f"{server.url}/drips/file")
    assert files(cache) == {}


def test_a_server_that_sends_more_than_the_file_is_stopped_there(cache, server, monkeypatch) -> None:
    server.content = CONTENT
    written = []
    monkeypatch.setattr(fetch_module, "_pieces", counted(fetch_module._pieces, written))
    assert "it sent more than the 102,400 bytes of the file)" in refusal(f"{server.url}/floods/file")
    assert sum(written) <= len(CONTENT)
    assert files(cache) == {}


def counted(pieces, written: list[int]):
    def count(*arguments):
        for piece in pieces(*arguments):
            written.append(len(piece))
            yield piece

    return count


def test_what_a_killed_download_left_goes_with_the_next_one(cache, server) -> None:
    server.content = CONTENT
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = (cache / NAME).parent
    dead, alive = (folder / f"{fetch_module._part_prefix(pid)}abc" for pid in (ended.pid, os.getpid()))
    elsewhere = folder / ".labkit-part-another.host-1-abc"
    for part in (dead, alive, elsewhere):
        part.mkdir(parents=True)
        (part / "file").write_bytes(b"half")
    get(f"{server.url}/good/file")
    assert [part.exists() for part in (dead, alive, elsewhere)] == [False, True, True]


def test_without_a_network_and_with_an_empty_cache_one_sentence_says_so(cache, nobody) -> None:
    said = refusal(nobody, "http://no-such-host.invalid/file")
    assert said.count("no connection") == 2
    assert files(cache) == {}


def test_the_start_of_a_checksum_is_enough_where_no_more_is_known(data, cache, server) -> None:
    def get_by_start() -> Path:
        start = hashlib.sha256(CONTENT).hexdigest()[:8]
        return fetch(NAME, sha256=start, bytes=None, urls=[f"{server.url}/{manner}/file"])

    server.content, manner = CONTENT, "altered"
    with pytest.raises(DataError, match="what it sent has another checksum"):
        get_by_start()
    assert files(cache) == {}
    manner = "good"
    assert get_by_start().read_bytes() == CONTENT
    put(cache, CONTENT[::-1])
    assert get_by_start().read_bytes() == CONTENT
    path = put(data, CONTENT[:500])
    with pytest.raises(DataError, match=r"is incomplete or altered \(another sha256 checksum\): put the original"):
        get_by_start()
    put(data, CONTENT)
    assert get_by_start() == path


def test_the_next_mirror_is_tried_when_one_fails(cache, server, nobody) -> None:
    server.content = CONTENT
    assert get(nobody, f"{server.url}/dies/file", f"{server.url}/good/file").read_bytes() == CONTENT
    assert list(files(cache)) == [NAME]


def test_a_file_that_no_address_is_known_for_is_asked_of_the_user(cache) -> None:
    assert f"(no address is known): check the network and try again, or put the original file at {cache}" in refusal()


def test_a_download_broken_by_ctrl_c_leaves_nothing_behind(cache, monkeypatch) -> None:
    def half(self, url, output_file, pooch) -> None:
        Path(output_file).write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", half)
    with pytest.raises(KeyboardInterrupt):
        get("http://127.0.0.1/file")
    assert files(cache) == {}


@pytest.mark.parametrize("damaged", [CONTENT[:500], CONTENT[::-1]], ids=["truncated", "altered"])
def test_a_damaged_file_in_the_cache_is_fetched_again(cache, server, damaged) -> None:
    put(cache, damaged)
    server.content = CONTENT
    assert get(f"{server.url}/good/file").read_bytes() == CONTENT
    assert list(files(cache)) == [NAME]


def test_a_damaged_file_in_the_cache_is_never_used_where_the_network_is_away(cache, nobody) -> None:
    put(cache, CONTENT[:500])
    assert f"{NAME} could not be downloaded" in refusal(nobody)


def test_a_cache_that_cannot_be_written_is_named(cache, server) -> None:
    server.content = CONTENT
    cache.write_text("a file where the folder should be")
    said = refusal(f"{server.url}/good/file")
    assert said.startswith(f"{NAME} cannot be stored in the cache {cache} (")
    assert said.endswith("make room there, or set LABKIT_CACHE to a folder that can be written.")


def test_offline_says_what_is_missing_and_where_it_was_looked_for(data, cache, server, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    server.content = CONTENT
    assert refusal(f"{server.url}/good/file") == (
        f"{NAME} is neither in LABKIT_DATA ({data}) nor in the cache {cache}, and LABKIT_OFFLINE forbids a download: "
        "put the original file there, or unset LABKIT_OFFLINE."
    )
    monkeypatch.delenv("LABKIT_DATA")
    assert "neither in LABKIT_DATA (not set) nor" in refusal(f"{server.url}/good/file")
    assert server.requests == []
    assert not cache.exists()


def test_offline_a_damaged_file_in_the_cache_is_an_error(cache, server, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    path = put(cache, CONTENT[:500])
    said = refusal(f"{server.url}/good/file")
    assert said.startswith(
        f"{path} is incomplete or altered (500 bytes instead of 102,400), and LABKIT_OFFLINE forbids"
    )
    assert server.requests == []
    assert path.read_bytes() == CONTENT[:500]


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF", " "])
def test_offline_is_off_by_any_word_for_it(cache, server, monkeypatch, word) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", word)
    server.content = CONTENT
    assert get(f"{server.url}/good/file").read_bytes() == CONTENT


def test_offline_what_lies_there_is_used(cache, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    path = put(cache, CONTENT)
    assert get() == path


def test_a_bar_shows_the_download_only_where_somebody_watches(cache, server, monkeypatch, capsys, caplog) -> None:
    pooch.get_logger().addHandler(caplog.handler)
    server.content = CONTENT
    get(f"{server.url}/good/file")
    assert capsys.readouterr() == ("", "")
    os.unlink(cache / NAME)
    monkeypatch.delenv("LABKIT_BATCH")
    get(f"{server.url}/good/file")
    assert "file: 100%" in capsys.readouterr().out
    os.unlink(cache / NAME)
    wanted = known(CONTENT)
    fetch(NAME, sha256=wanted.sha256, bytes=wanted.bytes, urls=[f"{server.url}/good/file"], label="file (1 of 46)")
    assert "file (1 of 46): 100%" in capsys.readouterr().out
    assert caplog.records == []  # pooch would announce the download, with all its paths
    pooch.get_logger().removeHandler(caplog.handler)


def test_without_labkit_cache_the_users_own_cache_is_used(monkeypatch) -> None:
    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    assert f"nor in the cache {pooch.os_cache('labkit')}," in refusal()
