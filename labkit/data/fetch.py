"""Find a data file whose contents are known, or download it: never half of it, never an altered one.

Places, in order: the folder LABKIT_DATA (only ever read), the user's cache (LABKIT_CACHE replaces it), the network.
With LABKIT_OFFLINE=1 the network is never touched. With LABKIT_BATCH=1 no progress bar is shown. A server that sends
less than LEAST bytes in PATIENCE seconds, or more bytes than the file has, is given up.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from labkit.flags import is_on
from labkit.provenance import note_file

TIMEOUT = (10, 30)  # seconds to connect, seconds between two pieces
PATIENCE, LEAST = 60, 60_000  # 1 kB/s: a modem of 1995 was faster
_PART = ".labkit-part-"  # begins the name of a folder in which a download lies until it is whole


class DataError(RuntimeError):
    """A data file is missing, damaged or out of reach; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Known:
    """A file whose contents are known beforehand."""

    path: str  # relative to LABKIT_DATA and to the cache
    sha256: str  # the whole sum, or its start where no more is known
    bytes: int | None  # None where that is not known


def fetch(
    relative_path: str,
    *,
    sha256: str,
    bytes: int | None,
    urls: Sequence[str],
    also: Sequence[Known] = (),
    label: str | None = None,
) -> Path:
    """The path of a file with exactly these contents, checked now; downloaded into the cache where there is none.

    Where not all is known of it, `sha256` may be the start of its sum, 8 digits or more, and `bytes` None.
    `urls` are mirrors of the file itself, tried in turn. `also` are other forms of it (say, unpacked) that serve as
    well where they already lie, at a path of their own or at the same. The first path found in LABKIT_DATA decides: if
    the file there is damaged that is an error, not a reason to look further. A damaged file in the cache is downloaded
    again. `label` stands beside the progress bar, in place of the file's name. Raises DataError.
    """
    note_file(relative_path, sha256)
    wanted = (Known(relative_path, sha256, bytes), *also)
    data, cache = data_folder(), cache_folder()
    if data and (found := _first(data, wanted)):
        if found.problem:
            remedy = "put the original file there, or unset LABKIT_DATA to have it downloaded"
            raise DataError(f"{found.path} {found.problem}: {remedy}.")
        return found.path
    found = _first(cache, wanted)
    if found and not found.problem:
        return found.path
    if is_on("LABKIT_OFFLINE"):
        places = f"LABKIT_DATA ({data or 'not set'}) nor in the cache {cache}"
        lack = f"{found.path} {found.problem}" if found else f"{relative_path} is neither in {places}"
        remedy = "put the original file there, or unset LABKIT_OFFLINE"
        raise DataError(f"{lack}, and LABKIT_OFFLINE forbids a download: {remedy}.")
    return _download(wanted[0], urls, cache, label)


def at_hand(*relative_paths: str) -> bool:
    """Whether a file lies at each of these places in LABKIT_DATA or in the cache, whatever is in it."""
    folders = [folder for folder in (data_folder(), cache_folder()) if folder]
    return all(any((folder / path).is_file() for folder in folders) for path in relative_paths)


def data_folder() -> Path | None:
    """LABKIT_DATA, or None where it is not set. Raises DataError if it is no folder."""
    given = os.environ.get("LABKIT_DATA")
    if not given:
        return None
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"LABKIT_DATA is set to {given}, but there is no folder {folder}: correct it or unset it.")
    return folder


def cache_folder() -> Path:
    """LABKIT_CACHE, or the user's cache folder for labkit. It need not exist yet."""
    if given := os.environ.get("LABKIT_CACHE"):
        return Path(given).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("labkit"))


class _Found(NamedTuple):
    path: Path
    problem: str | None  # the rest of a sentence about the path; None if it is what it should be


def _first(folder: Path, wanted: Sequence[Known]) -> _Found | None:
    """The first of the wanted files that lies in `folder`; None if there is none.

    Where several forms may lie at one path, a file there is right if it is one of them.
    """
    for known in wanted:
        path = folder / known.path
        try:
            path.lstat()  # a dangling link lies there too, and is a problem
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return _Found(path, f"cannot be read ({error.strerror})")
        problems = [_problem(path, form) for form in wanted if form.path == known.path]
        return _Found(path, None if None in problems else problems[0])
    return None


def _problem(path: Path, known: Known) -> str | None:
    """What is wrong with the file at `path`, see _Found."""
    import pooch

    try:
        size = path.stat().st_size
        if known.bytes is not None and size != known.bytes:
            return f"is incomplete or altered ({size:,} bytes instead of {known.bytes:,})"
        if not pooch.file_hash(path, alg="sha256").startswith(known.sha256):
            if known.bytes is None:
                return "is incomplete or altered (another sha256 checksum)"
            return f"is altered ({size:,} bytes as expected, but another sha256 checksum)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _download(known: Known, urls: Sequence[str], cache: Path, label: str | None) -> Path:
    """Fetch the file from the first mirror that gives it whole: written beside, checked, then renamed."""
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    target, failures = cache / known.path, []
    for url in urls:
        try:
            _retrieve(url, known, target, label or target.name)
        except (RequestException, HTTPError, ValueError, _GivenUp) as error:
            failures.append(f"{urlsplit(url).netloc}: {_reason(error)}")
        except OSError as error:
            why = error.strerror or "it cannot be written"
            raise DataError(
                f"{known.path} cannot be stored in the cache {cache} ({why}): "
                "make room there, or set LABKIT_CACHE to a folder that can be written."
            ) from None
        else:
            return target
    raise DataError(
        f"{known.path} could not be downloaded ({'; '.join(failures) or 'no address is known'}): "
        f"check the network and try again, or put the original file at {target}."
    )


def _retrieve(url: str, known: Known, target: Path, label: str) -> None:
    """pooch.retrieve() would do, if it took the start of a checksum. Raises ValueError for a wrong file."""
    import pooch
    from tqdm import tqdm

    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target.parent)
    total = known.bytes or 1  # pooch takes a bar without a total for no bar, and puts the right one in
    bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, disable=is_on("LABKIT_BATCH"), file=sys.stdout)

    def watch(response: Any, *_: Any, **__: Any) -> None:
        if not response.is_redirect:  # it has a body as well, which nobody asked for
            response.iter_content = lambda chunk_size: _pieces(response, chunk_size, known.bytes)

    with bar, tempfile.TemporaryDirectory(dir=target.parent, prefix=_part_prefix(os.getpid())) as folder:
        part = Path(folder) / target.name
        download = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT, hooks={"response": watch})
        download(url, str(part), None)
        if problem := _problem(part, known):
            raise ValueError(problem)
        part.replace(target)


class _GivenUp(Exception):
    """A server is not waited for any longer; the message is the reason."""


def _pieces(response: Any, chunk_size: int, size: int | None) -> Iterator[bytes]:
    """The body of a response in pieces of that size, watched as it arrives; _GivenUp for too slow or too long a one."""
    got, got_then, since, waiting = 0, 0, time.monotonic(), bytearray()
    while piece := response.raw.read1(chunk_size, decode_content=True):
        got, now = got + len(piece), time.monotonic()
        if size is not None and got > size:
            raise _GivenUp(f"it sent more than the {size:,} bytes of the file")
        if now - since > PATIENCE:
            if got - got_then < LEAST:
                raise _GivenUp(f"it sent less than {LEAST:,} bytes in {PATIENCE} s")
            got_then, since = got, now
        waiting += piece
        while len(waiting) >= chunk_size:
            yield bytes(waiting[:chunk_size])
            del waiting[:chunk_size]
    yield bytes(waiting)


def _part_prefix(pid: int) -> str:
    """How the folder of an unfinished download of a process is named: by machine and process, to know if it lives."""
    return f"{_PART}{socket.gethostname()}-{pid}-"


def _remove_abandoned(folder: Path) -> None:
    """Remove what downloads of this machine left in `folder` whose process is no more."""
    import psutil

    for part in folder.glob(f"{_PART}{socket.gethostname()}-*"):
        pid = part.name.split("-")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(part, ignore_errors=True)


def _reason(error: Exception) -> str:
    from requests import ConnectionError, HTTPError, RequestException, Timeout
    from urllib3.exceptions import HTTPError as TransferError

    if isinstance(error, _GivenUp):
        return str(error)
    if isinstance(error, HTTPError):
        return f"it answered {error.response.status_code}"
    if isinstance(error, (ConnectionError, Timeout)):
        return "no connection"
    broke_off = isinstance(error, (RequestException, TransferError))
    return "the transfer broke off" if broke_off else "what it sent has another checksum"
