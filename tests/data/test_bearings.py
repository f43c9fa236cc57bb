"""CWRU's files are read as they are, what is missing is named, and what is damaged is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import labkit.data
from labkit.data import FAULTS, DataError, bearings, defect_frequencies, envelope_spectrum, read_as, ten_classes
from labkit.data.cwru_files import FILES, OPTIONAL, CwruFile, OptionalFile

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
needs_real_files = pytest.mark.skipif(
    not (REAL / "CWRU").is_dir(),
    reason="CWRU's files are not at hand: set LABKIT_DATA to a folder that holds CWRU/97.mat",
)
SIGNAL = np.random.default_rng(0).standard_normal(500)


@pytest.fixture(scope="module")
def real() -> labkit.data.Bearings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_DATA", str(REAL))
        patch.setenv("LABKIT_OFFLINE", "1")
        return labkit.data.load("bearings", profile="full")


def mat(path: Path, **variables: object) -> Path:
    """A small file as CWRU's are: columns of float64, the rpm as a 1 x 1 array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: np.reshape(value, (-1, 1)) for name, value in variables.items()})
    return path


def known(path: Path, number: int = 105, condition: str = "IR007", load: int = 0, rate: int = 12_000) -> CwruFile:
    content = path.read_bytes()
    return CwruFile(number, condition, load, rate, len(content), hashlib.sha256(content).hexdigest())


def read(path: Path, number: int = 105) -> labkit.data.Recording:
    return bearings.read_recording(path, number, "IR007", 1, 12_000)


def refusal(call, *arguments, **named) -> str:
    """What the DataError says: one sentence, with no other exception shown before it."""
    with pytest.raises(DataError) as caught:
        call(*arguments, **named)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return said


def test_a_recording_has_the_drive_end_signal_and_the_files_own_rpm(tmp_path) -> None:
    path = mat(tmp_path / "105.mat", X105_FE_time=-SIGNAL, X105_DE_time=SIGNAL, X105_BA_time=SIGNAL * 0, X105RPM=1771)
    recording = read(path)
    assert recording.signal.dtype == torch.float32
    assert torch.equal(recording.signal, torch.tensor(SIGNAL, dtype=torch.float32))
    assert (recording.condition, recording.load, recording.rpm, recording.sampling_rate) == ("IR007", 1, 1771, 12_000)
    assert (recording.file, recording.note) == ("CWRU 105.mat", "")


def test_the_sensor_at_the_fan_end_is_read_from_the_same_file(tmp_path) -> None:
    path = mat(tmp_path / "105.mat", X105_FE_time=-SIGNAL, X105_DE_time=SIGNAL, X105RPM=1771)
    recording = bearings.read_recording(path, 105, "IR007", 1, 12_000, "fan end")
    assert torch.equal(recording.signal, torch.tensor(-SIGNAL, dtype=torch.float32))
    assert (recording.sensor, recording.file, recording.rpm) == ("fan end", "CWRU 105.mat", 1771)
    only_near = mat(tmp_path / "106.mat", X106_DE_time=SIGNAL, X106RPM=1771)
    said = refusal(bearings.read_recording, only_near, 106, "IR007", 1, 12_000, "fan end")
    assert "has no fan-end signal X106_FE_time (X106_DE_time, X106RPM)" in said


def test_a_variable_is_found_by_its_ending_where_it_has_the_number_of_another_file(tmp_path) -> None:
    recording = read(mat(tmp_path / "174.mat", X173_DE_time=SIGNAL, X173_FE_time=-SIGNAL, X173RPM=1796), 174)
    assert recording.signal[0] == np.float32(SIGNAL[0])
    assert recording.rpm == 1796


def test_of_two_drive_end_signals_the_one_with_the_number_of_the_file_is_taken(tmp_path) -> None:
    path = mat(tmp_path / "99.mat", X098_DE_time=-SIGNAL, X099_DE_time=SIGNAL)
    assert read(path, 99).signal[0] == np.float32(SIGNAL[0])
    assert "has no drive-end signal X100_DE_time (X098_DE_time, X099_DE_time)" in refusal(read, path, 100)


def test_a_file_without_rpm_gets_the_nominal_one_and_a_note(tmp_path) -> None:
    recording = read(mat(tmp_path / "98.mat", X098_DE_time=SIGNAL), 98)
    assert recording.rpm == 1772
    assert recording.note == "nominal rpm, the file states none"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"X105_FE_time": SIGNAL}, r"has no drive-end signal X105_DE_time (X105_FE_time)"),
        ({"X105_DE_time": np.append(SIGNAL, np.nan)}, "is empty or has values that are no numbers"),
        ({"X105_DE_time": np.append(SIGNAL, np.inf)}, "is empty or has values that are no numbers"),
        ({"X105_DE_time": []}, "is empty or has values that are no numbers"),
        ({"X105_DE_time": SIGNAL, "X105RPM": 0}, "is no speed of a shaft"),
        ({"X105_DE_time": SIGNAL, "X105RPM": np.nan}, "is no speed of a shaft"),
        ({"X105_DE_time": SIGNAL, "X105RPM": [1796, 1797]}, "is no speed of a shaft"),
    ],
)
def test_a_file_with_unusable_contents_is_refused(tmp_path, variables, sentence) -> None:
    path = mat(tmp_path / "105.mat", **variables)
    said = refusal(read, path)
    assert str(path) in said
    assert sentence in said


def test_text_where_the_signal_should_be_is_no_signal(tmp_path) -> None:
    savemat(tmp_path / "105.mat", {"X105_DE_time": "text", "X105RPM": 1796})
    assert "has no drive-end signal" in refusal(read, tmp_path / "105.mat")


@pytest.mark.parametrize("keep", [0, 60, 200, -1000], ids=["nothing", "half a header", "a header", "most"])
def test_a_file_that_breaks_off_cannot_be_read(tmp_path, keep: int) -> None:
    path = mat(tmp_path / "105.mat", X105_DE_time=SIGNAL, X105RPM=1796)
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(read, path).startswith(f"{path} ")


def test_files_in_labkit_data_are_read_and_sorted(data) -> None:
    fault = known(mat(data / "CWRU/105.mat", X105_DE_time=SIGNAL, X105RPM=1797))
    normal = known(mat(data / "CWRU/97.mat", X097_DE_time=SIGNAL * 2, X097RPM=1796), 97, "Normal", 0, 48_000)
    loaded = bearings.load_cwru([normal, fault], optional=())
    assert [each.condition for each in loaded.recordings] == ["IR007", "Normal"]
    assert [each.sampling_rate for each in loaded.recordings] == [12_000, 48_000]
    assert loaded.missing == ()
    assert not loaded.simulated


def test_a_file_is_downloaded_with_a_bar_that_counts_them(tmp_path, server, monkeypatch, capsys, cache) -> None:
    path = mat(tmp_path / "105.mat", X105_DE_time=SIGNAL, X105RPM=1797)
    server.content = path.read_bytes()
    monkeypatch.delenv("LABKIT_BATCH")
    loaded = bearings.load_cwru([known(path)], optional=(), mirrors=[f"{server.url}/good/"])
    assert server.requests == ["/good/105.mat"]
    assert "105.mat (1 of 1): 100%" in capsys.readouterr().out
    assert torch.equal(loaded.recordings[0].signal, read(cache / "CWRU/105.mat").signal)


def test_an_altered_file_is_named_and_not_used(data) -> None:
    file = known(mat(data / "CWRU/105.mat", X105_DE_time=SIGNAL, X105RPM=1797))
    path = data / "CWRU/105.mat"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said = refusal(bearings.load_cwru, [file], optional=())
    assert said.startswith(f"{path} is altered")
    assert said.endswith("(one of the 1 CWRU files that are needed).")


def test_a_missing_file_that_cannot_be_downloaded_is_named(data, server, tmp_path) -> None:
    file = known(mat(tmp_path / "105.mat", X105_DE_time=SIGNAL, X105RPM=1797))
    said = refusal(bearings.load_cwru, [file], optional=(), mirrors=[f"{server.url}/missing/"])
    assert said.startswith("CWRU/105.mat could not be downloaded (127.0.0.1:")


def test_offline_a_missing_file_is_named_with_how_many_are_needed(data, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    said = refusal(labkit.data.load, "bearings", profile="full")
    assert "CWRU/97.mat is neither in LABKIT_DATA" in said
    assert said.endswith("(one of the 46 CWRU files that are needed).")


@pytest.mark.parametrize("where", ["data", "cache"])
def test_an_optional_file_is_read_where_it_lies_and_its_md5_is_right(data, cache, where: str) -> None:
    folder = data if where == "data" else cache
    path = mat(folder / "CWRU/98.mat", X098_DE_time=SIGNAL, X098RPM=1773)
    file = OptionalFile(98, 1, hashlib.md5(path.read_bytes()).hexdigest())
    loaded = bearings.load_cwru([], [file])
    (recording,) = loaded.recordings
    assert (recording.condition, recording.load, recording.rpm, recording.sampling_rate) == ("Normal", 1, 1773, 48_000)
    assert loaded.missing == ()


def test_an_optional_file_that_is_away_or_another_is_missing_and_is_no_error(data) -> None:
    mat(data / "CWRU/98.mat", X098_DE_time=SIGNAL, X098RPM=1773)
    loaded = bearings.load_cwru([], OPTIONAL)
    assert loaded.recordings == ()
    assert [sentence.split(" is ")[0] for sentence in loaded.missing] == [
        "98.mat (Normal, load 1)",
        "99.mat (Normal, load 2)",
        "100.mat (Normal, load 3)",
    ]
    assert "is not used, since the copy at hand has another md5 sum than 3983dcdd" in loaded.missing[0]
    assert "is missing: put the copy with md5 sum edc080a0" in loaded.missing[1]


def test_an_optional_file_that_may_not_be_read_is_missing_and_is_no_error(data, monkeypatch) -> None:
    path = data / OPTIONAL[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine alone")

    def refuse(*_, **__) -> str:  # for root, too, who may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pooch.file_hash", refuse)
    loaded = bearings.load_cwru([], OPTIONAL)
    assert loaded.missing[0].endswith(f"is not used, since {path} cannot be read (Permission denied).")


def test_the_table_is_the_nine_faults_at_four_loads_and_all_ten_conditions_at_48_khz() -> None:
    at_12k = {(file.condition, file.load) for file in FILES if file.sampling_rate == 12_000}
    at_48k = {(file.condition, file.load) for file in FILES if file.sampling_rate == 48_000}
    assert at_12k == {(fault, load) for fault in FAULTS for load in range(4)}
    assert at_48k == {(condition, 0) for condition in ("Normal", *FAULTS)}
    assert len(FILES) == 46
    assert len({file.sha256 for file in FILES}) == len({file.number for file in FILES}) == 46


@needs_real_files
def test_full_is_36_faults_at_12_khz_and_ten_conditions_at_48_khz(real) -> None:
    there = {(each.sampling_rate, each.condition, each.load) for each in real.recordings}
    assert there >= {(file.sampling_rate, file.condition, file.load) for file in FILES}
    assert len(real.recordings) + len(real.missing) == 49
    assert {each.signal.dtype for each in real.recordings} == {torch.float32}
    assert all(abs(each.rpm - bearings.NOMINAL_RPM[each.load]) <= 10 for each in real.recordings)
    seconds = {each.file: len(each) / each.sampling_rate for each in real.recordings}
    assert min(seconds, key=seconds.get) == "CWRU 174.mat"
    assert sorted(seconds.values())[1] > 5


@needs_real_files
def test_full_has_both_sensors_of_every_recording(real) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_DATA", str(REAL))
        far = labkit.data.load("bearings_fan_end", profile="full")
    assert [(each.file, len(each)) for each in far.recordings] == [(each.file, len(each)) for each in real.recordings]
    assert "Fan-end acceleration" in far.source
    assert not any(torch.equal(a.signal, b.signal) for a, b in zip(far.recordings, real.recordings, strict=True))


def stands_out(recording: labkit.data.Recording) -> str:
    """The part of the bearing whose defect frequency and next two multiples are highest in the envelope spectrum."""
    frequencies, spectrum = envelope_spectrum(recording)
    near = [
        sum(spectrum[(frequencies / (h * rate) - 1).abs() < 0.015].max() for h in (1, 2, 3))
        for rate in defect_frequencies(recording.rpm)[:3]
    ]
    return ("inner_race", "outer_race", "ball")[int(torch.stack(near).argmax())]


@needs_real_files
@pytest.mark.parametrize("condition", ["IR007", "IR014", "IR021", "OR007", "OR021"])
def test_the_geometry_finds_the_defect_of_the_real_bearing(real, condition: str) -> None:
    for recording in real.select(conditions=[condition], sampling_rate=12_000).recordings:
        assert stands_out(recording) == FAULTS[condition].element, recording.file


def harmonics(recording: labkit.data.Recording) -> int:
    """How many of the first 30 harmonics of the shaft stand out from the spectrum around them."""
    spectrum = torch.fft.rfft(recording.signal * torch.hann_window(len(recording))).abs()
    per_hertz = len(recording) / recording.sampling_rate
    count = 0
    for h in range(1, 31):
        place = h * recording.rpm / 60 * per_hertz
        around = spectrum[max(int(place - 8 * per_hertz), 1) : int(place + 8 * per_hertz)]
        count += int(spectrum[int(place * 0.998) - 1 : int(place * 1.002) + 3].max() > 6 * around.median())
    return count


@needs_real_files
def test_normal_is_sampled_at_48_khz_as_its_shaft_harmonics_show(real) -> None:
    (normal,) = real.select(conditions=["Normal"], loads=[0]).recordings
    assert harmonics(normal) >= 28
    others = real.select(conditions=tuple(FAULTS), loads=[0])
    for recording in others.select(sampling_rate=12_000).recordings:
        assert harmonics(recording) >= 28, recording.file
        assert harmonics(read_as(recording, 48_000)) <= 12, recording.file
    for recording in others.select(sampling_rate=48_000).recordings:
        if recording.file != "CWRU 174.mat":  # see labkit.data.cwru_files
            assert harmonics(recording) >= 28, recording.file


@needs_real_files
def test_all_three_ten_class_sets_can_be_made_of_the_real_files_at_load_0(real) -> None:
    for variant, rate in (("popular", 12_000), ("decimated", 12_000), ("48k", 48_000)):
        made = ten_classes(real, variant, loads=[0])
        assert [each.condition for each in made.recordings] == ["Normal", *FAULTS]
        assert {each.sampling_rate for each in made.recordings} == {rate}
