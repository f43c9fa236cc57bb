"""Vibration of a ball bearing in ten conditions: Normal, and inner-race, ball and outer-race faults of three sizes.

`quick` is SIMULATED (labkit.data.bearing_simulator); `full` and `paper` are the recordings of the Case Western Reserve
University (CWRU) Bearing Data Center. The faults are in the drive-end bearing; it is heard by the sensor on its own
housing, or by the one at the other end of the motor, the fan end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.data.bearing_simulator import NOMINAL_RPM, drawn, simulate_bearing
from labkit.data.cwru_files import FILES, OPTIONAL, CwruFile, OptionalFile
from labkit.data.fetch import DataError, cache_folder, data_folder, fetch
from labkit.data.recordings import CONDITIONS, FAULTS, LOADS, SENSORS, Bearings, Recording

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator

URL = "https://engineering.case.edu/bearingdatacenter"
MIRRORS = ("https://engineering.case.edu/sites/default/files/",)
LICENCE = "no explicit licence; a public download: cite the Case Western Reserve University Bearing Data Center"


def load(profile: str, sensor: str = "drive end") -> Bearings:
    """49 simulated recordings of 4 s for "quick", always the same; else CWRU's. Raises DataError."""
    return simulated_bearings(sensor=sensor) if profile == "quick" else load_cwru(sensor=sensor)


def load_fan_end(profile: str) -> Bearings:
    """The same recordings as `load` has, as the sensor at the fan end heard them at the same time. Raises DataError."""
    return load(profile, "fan end")


def simulated_bearings(
    *, seconds: float = 4.0, seed: int | Generator = 0, noise: float = 1.0, sensor: str = "drive end"
) -> Bearings:
    """Simulated recordings laid out as CWRU's, with its trap: faults at 12 kHz and all loads, Normal at 48 kHz.

    The nine faults are there again at 48 kHz and load 0; 49 recordings in all. Arguments as in `simulate_bearing`; a
    torch.Generator as `seed` is advanced by one draw for all of them.
    """
    seed = drawn(seed)  # once, so that a bearing stays the same from load to load
    layout = [("Normal", load, 48_000) for load in LOADS]
    layout += [(fault, load, 12_000) for fault in FAULTS for load in LOADS]
    layout += [(fault, 0, 48_000) for fault in FAULTS]
    return Bearings(
        recordings=tuple(
            simulate_bearing(
                condition, load, sampling_rate=rate, seconds=seconds, seed=seed, noise=noise, sensor=sensor
            )
            for condition, load, rate in layout
        ),
        conditions=CONDITIONS,
        simulated=True,
        name="bearings",
        source="SIMULATED vibration of an SKF 6205 bearing, by labkit.data.bearing_simulator; nothing was measured.",
        licence="MIT, as the code that makes it",
        url="",
    )


def load_cwru(
    files: Sequence[CwruFile] = FILES,
    optional: Sequence[OptionalFile] = OPTIONAL,
    mirrors: Sequence[str] = MIRRORS,
    sensor: str = "drive end",
) -> Bearings:
    """CWRU's recordings: nine faults at 12 kHz and loads 0 to 3, and at 48 kHz and load 0; Normal at 48 kHz and load 0.

    `sensor` is the one that is read from each file. The 46 files, 140 MB, come from LABKIT_DATA, the cache or CWRU, and
    each is checked before it is read. Normal at loads 1 to 3 (98, 99 and 100.mat) is read only where the file lies and
    its md5 is the one known; otherwise `missing` says what is lacking. Raises DataError.
    """
    recordings, missing = [], []
    for file in optional:
        found = _find(file)
        if isinstance(found, Path):
            recordings.append(read_recording(found, file.number, "Normal", file.load, file.sampling_rate, sensor))
        else:
            missing.append(found)
    for place, file in enumerate(files, start=1):
        path = _fetch(file, mirrors, f"{file.number}.mat ({place} of {len(files)})", len(files))
        recordings.append(read_recording(path, file.number, file.condition, file.load, file.sampling_rate, sensor))
    recordings.sort(key=lambda each: (each.sampling_rate, CONDITIONS.index(each.condition), each.load))
    return Bearings(
        recordings=tuple(recordings),
        conditions=CONDITIONS,
        simulated=False,
        name="bearings",
        source=f"{sensor.capitalize().replace(' ', '-')} acceleration from the original files of the CWRU Bearing Data "
        "Center, checked by their sums.",
        licence=LICENCE,
        url=URL,
        missing=tuple(missing),
    )


def read_recording(
    path: Path, number: int, condition: str, load: int, sampling_rate: int, sensor: str = "drive end"
) -> Recording:
    """The signal of a sensor in CWRU's file `number` at `path`, with the file's own rpm. Raises DataError.

    Variables are found by how their names end, since 174.mat calls its own X173_DE_time; if several end so, the one
    with the number of the file is taken. A file without rpm gets the nominal one of its load, and `note` says so.
    """
    import numpy as np
    import torch

    signal, rpm = _variables(path, number, sensor)
    if signal.size == 0 or not np.isfinite(signal).all():
        raise DataError(
            f"the signal in {path} is empty or has values that are no numbers: put the original file there."
        )
    if rpm is not None and not (rpm.size == 1 and 0 < rpm.item() < 100_000):
        raise DataError(f"the rpm in {path} is no speed of a shaft: put the original file there.")
    return Recording(
        signal=torch.tensor(signal.ravel(), dtype=torch.float32),
        condition=condition,
        load=load,
        rpm=float(NOMINAL_RPM[load] if rpm is None else rpm.item()),
        sampling_rate=sampling_rate,
        file=f"CWRU {number}.mat",
        note="nominal rpm, the file states none" if rpm is None else "",
        sensor=sensor,
    )


def _variables(path: Path, number: int, sensor: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The variables whose names end in the sensor's _time and in RPM; the second may be missing."""
    from scipy.io import loadmat, whosmat

    try:
        names = [name for name, _, kind in whosmat(path) if kind not in ("cell", "struct", "char")]
        chosen = [_ending(names, ending, number) for ending in (SENSORS[sensor], "RPM")]
        content = loadmat(path, variable_names=[name for name in chosen if name])
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}): put the original file there.") from None
    if chosen[0] is None:
        found = ", ".join(names) or "nothing"
        wanted = f"{sensor.replace(' ', '-')} signal X{number:03d}_{SENSORS[sensor]}"
        raise DataError(f"{path} has no {wanted} ({found}): put the original file there.")
    return content[chosen[0]], content.get(chosen[1])


def _ending(names: Sequence[str], ending: str, number: int) -> str | None:
    """The one name with this ending; of several, the one with the number of the file; else None."""
    found = [name for name in names if name.endswith(ending)]
    if len(found) > 1:
        found = [name for name in found if name.startswith(f"X{number:03d}")]
    return found[0] if len(found) == 1 else None


def _fetch(file: CwruFile, mirrors: Sequence[str], label: str, count: int) -> Path:
    urls = [f"{mirror}{file.number}.mat" for mirror in mirrors]
    try:
        return fetch(file.path, sha256=file.sha256, bytes=file.bytes, urls=urls, label=label)
    except DataError as error:
        raise DataError(f"{str(error).removesuffix('.')} (one of the {count} CWRU files that are needed).") from None


def _find(file: OptionalFile) -> Path | str:
    """Where the file lies, or the sentence that says why it is missing."""
    import pooch

    what = f"{file.number}.mat (Normal, load {file.load})"
    for folder in (data_folder(), cache_folder()):
        path = folder and folder / file.path
        try:
            if path and path.is_file():
                if pooch.file_hash(path, alg="md5") == file.md5:
                    return path
                return f"{what} is not used, since the copy at hand has another md5 sum than {file.md5}."
        except OSError as error:
            return f"{what} is not used, since {path} cannot be read ({error.strerror})."
    return f"{what} is missing: put the copy with md5 sum {file.md5} at {file.path} in LABKIT_DATA to have it."
