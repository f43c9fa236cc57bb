"""Windows keep to their recording, and a split that is called free of leaks is free of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import signal as scipy_signal
from tensors import seeded

from labkit.data import (
    CONDITIONS,
    FAULTS,
    Bearings,
    Recording,
    Windows,
    cut_windows,
    decimated,
    read_as,
    shared_samples,
    split_at_random,
    split_by_load,
    split_by_time,
    ten_classes,
)


def recording(condition: str, load: int = 0, samples: int = 1_000, rate: int = 12_000, first: int = 0) -> Recording:
    """One whose samples are first, first + 1, ...: each is told apart from any other by its value."""
    values = torch.arange(first, first + samples, dtype=torch.float32)
    return Recording(values, condition, load, 1797.0, rate, f"{condition}, {load}, {rate}")


def bearings(*recordings: Recording) -> Bearings:
    return Bearings(recordings, CONDITIONS, True, "bearings", "a test", "none", "")


@pytest.fixture
def three() -> Bearings:
    """Three recordings of different lengths at loads 0, 1 and 2 with 3,500 different samples."""
    return bearings(
        recording("B007", 0, 1_000),
        recording("Normal", 1, 1_500, first=1_000),
        recording("B007", 2, 1_000, first=2_500),
    )


def laid_out() -> Bearings:
    """As CWRU's: Normal at 48 kHz, at load 0 only; faults at 12 kHz at all loads, and at 48 kHz at load 0."""
    low = [recording(fault, load) for fault in FAULTS for load in range(4)]
    high = [recording(condition, samples=4_000, rate=48_000) for condition in CONDITIONS]
    return bearings(*low, *high)


def values(windows: Windows) -> set[float]:
    return set(windows.signals.flatten().tolist())


@pytest.mark.parametrize(("length", "stride"), [(100, None), (100, 30), (64, 1), (7, 100), (1_000, None)])
def test_a_window_is_a_stretch_of_its_own_recording(three, length: int, stride: int | None) -> None:
    windows = cut_windows(three, length, stride=stride)
    assert windows.length == length
    assert windows.signals.dtype == torch.float32
    assert windows.labels.dtype == torch.int64
    for row, label, place, start in zip(windows.signals, windows.labels, windows.recording, windows.start, strict=True):
        of = three.recordings[place]
        assert torch.equal(row, of.signal[start : start + length])
        assert CONDITIONS[label] == of.condition
    step = stride or length
    assert len(windows) == sum((len(each) - length) // step + 1 for each in three.recordings)
    assert windows.loads.tolist() == [three.recordings[place].load for place in windows.recording]


def test_windows_can_be_limited_for_each_recording(three) -> None:
    windows = cut_windows(three, 100, stride=50, per_recording=4)
    assert windows.recording.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert windows.start.tolist() == [0, 50, 100, 150] * 3


def test_windows_are_copies_so_that_changing_one_leaves_the_recording_alone(three) -> None:
    cut_windows(three, 100, stride=50).signals.zero_()
    assert three.recordings[0].signal[5] == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"length": 0}, "must be at least 1"),
        ({"length": 10, "stride": 0}, "must be at least 1"),
        ({"length": 10, "per_recording": 0}, "must be at least 1"),
        ({"length": 1_001}, "B007, 0, 12000 has 1000 samples, fewer than a window of 1001"),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(three, arguments, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        cut_windows(three, **arguments)


def test_recordings_at_different_sampling_rates_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"different sampling rates, \[12000, 48000\] Hz"):
        cut_windows(laid_out(), 100)


def test_one_measurement_is_not_there_twice() -> None:
    normal = recording("Normal", rate=48_000)
    with pytest.raises(ValueError, match="Normal, 0, 48000 is there more than once"):
        cut_windows(bearings(decimated(normal), read_as(normal, 12_000)), 100)


@pytest.mark.parametrize("stride", [100, 37, 1])
def test_a_split_by_time_has_no_sample_in_both_parts_however_the_windows_overlap(three, stride: int) -> None:
    windows = cut_windows(three, 100, stride=stride)
    train, test = split_by_time(windows)
    assert values(train).isdisjoint(values(test))
    assert shared_samples(train, test) == 0
    for place in range(3):
        own = int((windows.recording == place).sum())
        assert int((train.recording == place).sum()) == round(0.25 * own)
        assert train.start[train.recording == place].max() < test.start[test.recording == place].min()


def test_a_split_by_time_drops_only_what_reaches_back(three) -> None:
    windows = cut_windows(three, 100, stride=25)
    train, test = split_by_time(windows)
    ends = [int(train.start[train.recording == place].max()) + 100 for place in range(3)]
    assert [int(test.start[test.recording == place].min()) for place in range(3)] == ends
    assert len(windows) - len(train) - len(test) == 3 * 3


def test_a_split_by_time_does_not_depend_on_the_order_of_the_windows(three) -> None:
    windows = cut_windows(three, 100, stride=30)
    mixed = windows.take(torch.randperm(len(windows), generator=seeded()))
    for one, other in zip(split_by_time(windows), split_by_time(mixed), strict=True):
        assert sorted(one.signals[:, 0].tolist()) == sorted(other.signals[:, 0].tolist())


def test_a_split_by_time_of_a_decimated_recording_has_no_raw_sample_in_both_parts() -> None:
    """Each raw sample is changed in turn: never does it show in both parts."""
    raw = recording("Normal", samples=4_000, rate=48_000)
    base = Recording(torch.zeros(4_000), "Normal", 0, 1797.0, 48_000, "raw")

    def parts(of: Recording) -> tuple[Windows, Windows]:
        return split_by_time(cut_windows(bearings(decimated(of)), 50, stride=1))

    train, test = parts(raw)
    between = range(4 * int(train.start.max()), 4 * (int(test.start.min()) + 50))
    seen = [0, 0]
    for place in between:
        struck = base.signal.clone()
        struck[place] = 1.0
        shown = [bool(part.signals.any()) for part in parts(replace(base, signal=struck))]
        assert shown != [True, True], place
        seen = [count + one for count, one in zip(seen, shown, strict=True)]
    assert min(seen) > 100  # both sides of the border were looked at
    assert shared_samples(train, test) == 0
    assert test.start.min() - (train.start.max() + 50) == 20  # and no more was dropped than had to be


def test_a_split_by_load_has_no_recording_in_both_parts(three) -> None:
    train, test = split_by_load(cut_windows(three, 100, stride=10), [0, 1])
    assert set(train.loads.tolist()) == {0, 1}
    assert set(test.loads.tolist()) == {2}
    assert values(train).isdisjoint(values(test))
    assert shared_samples(train, test) == 0


@pytest.mark.parametrize("loads", [[], [3], [0, 1, 2]])
def test_a_split_by_load_that_leaves_a_part_empty_is_refused(three, loads) -> None:
    with pytest.raises(ValueError, match=r"of \[0, 1, 2\] leave one part empty"):
        split_by_load(cut_windows(three, 100), loads)


def test_a_random_split_takes_its_share_of_each_recording_and_all_windows_once(three) -> None:
    windows = cut_windows(three, 10)
    train, test = split_at_random(windows, 0.25, generator=seeded())
    assert train.recording.bincount().tolist() == [25, 38, 25]  # of 100, 150 and 100
    assert len(train) + len(test) == len(windows)
    assert values(train) | values(test) == values(windows)
    assert values(train).isdisjoint(values(test))


def test_a_random_split_depends_on_its_generator_alone(three) -> None:
    windows = cut_windows(three, 10)
    one, again, other = (split_at_random(windows, generator=seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one.signals, again.signals)
    assert not torch.equal(one.start, other.start)


def test_a_random_split_of_overlapping_windows_leaks_and_the_leak_is_counted(three) -> None:
    train, test = split_at_random(cut_windows(three, 100, stride=20), generator=seeded())
    assert shared_samples(train, test) == len(values(train) & values(test)) > 500


def test_parts_of_different_recordings_are_not_compared(three) -> None:
    with pytest.raises(ValueError, match="come from different recordings"):
        shared_samples(cut_windows(three, 100), cut_windows(bearings(recording("Normal")), 100))


@pytest.mark.parametrize("split", [split_by_time, lambda *given: split_at_random(*given, generator=seeded())])
@pytest.mark.parametrize(
    ("length", "train", "sentence"),
    [
        (1_000, 0.25, "B007, 0, 12000 has too few windows to be in both parts"),
        (500, 0.9, "B007, 0, 12000 has too few windows to be in both parts"),
        (100, 0, "must be between 0 and 1, not 0"),
        (100, 1, "must be between 0 and 1, not 1"),
        (100, float("nan"), "must be between 0 and 1, not nan"),
    ],
)
def test_a_share_that_leaves_a_part_empty_is_refused(three, split, length: int, train: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        split(cut_windows(three, length), train)


def test_the_popular_set_reads_normal_at_the_wrong_rate_and_says_so() -> None:
    made = ten_classes(laid_out(), "popular", loads=[0])
    normal = made.recordings[0]
    assert (normal.condition, normal.sampling_rate, len(normal)) == ("Normal", 12_000, 4_000)
    assert normal.note == "taken at 48000 Hz, read as if at 12000 Hz"
    assert [each.condition for each in made.recordings] == list(CONDITIONS)


def test_the_decimated_set_has_normal_at_its_true_rate_without_delay() -> None:
    made = ten_classes(laid_out(), "decimated", loads=[0])
    normal = made.recordings[0]
    assert (normal.condition, normal.sampling_rate, len(normal)) == ("Normal", 12_000, 1_000)
    assert normal.note == "decimated by 4 from 48000 Hz"
    assert normal.signal[100:900] == pytest.approx(4 * torch.arange(100, 900), rel=1e-3)  # a ramp keeps its place


def test_the_decimated_normal_has_no_aliases() -> None:
    """It keeps what lies below the new Nyquist frequency, and loses what lies above."""

    def left(hertz: float) -> float:
        wave = torch.sin(2 * torch.pi * hertz * torch.arange(48_000) / 48_000)
        return (
            float(decimated(replace(recording("Normal", rate=48_000), signal=wave)).signal.square().mean() * 2) ** 0.5
        )

    assert [left(hertz) for hertz in (100, 1_000, 4_000)] == pytest.approx([1, 1, 1], abs=0.02)
    assert max(left(hertz) for hertz in (8_010, 11_000, 20_000)) < 0.02


def test_decimating_is_scipys_zero_phase_decimate_and_leaves_the_raw_recording_alone() -> None:
    raw = replace(recording("Normal", rate=48_000), signal=torch.randn(1_000, generator=seeded()))
    expected = scipy_signal.decimate(raw.signal.double().numpy(), 4, ftype="fir", zero_phase=True)
    assert decimated(raw).signal.numpy() == pytest.approx(expected, abs=1e-6)
    assert raw.sampling_rate == 48_000
    assert decimated(raw, 1) is raw
    with pytest.raises(ValueError, match="48000 Hz cannot be decimated by 7"):
        decimated(raw, 7)


def test_the_48_khz_set_has_all_ten_conditions_at_load_0() -> None:
    made = ten_classes(laid_out(), "48k")
    assert [(each.condition, each.load, each.sampling_rate) for each in made.recordings] == [
        (condition, 0, 48_000) for condition in CONDITIONS
    ]


def test_where_normal_is_missing_the_set_has_the_faults_alone_and_the_note_stays() -> None:
    made = ten_classes(replace(laid_out(), missing=("98.mat is missing.",)), "decimated", loads=[1])
    assert [each.condition for each in made.recordings] == list(FAULTS)
    assert made.conditions == CONDITIONS
    assert made.missing == ("98.mat is missing.",)
    assert len(ten_classes(laid_out(), "decimated").recordings) == 37


def test_an_unknown_variant_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown variant 'flawed': choose one of popular, decimated, 48k\."):
        ten_classes(laid_out(), "flawed")


def test_a_selection_keeps_what_is_asked_for_and_numbers_the_labels_anew() -> None:
    chosen = laid_out().select(conditions=["OR007", "B007"], loads=[0, 2], sampling_rate=12_000)
    assert {(each.condition, each.load) for each in chosen.recordings} == {
        (condition, load) for condition in ("OR007", "B007") for load in (0, 2)
    }
    windows = cut_windows(chosen, 500)
    of_recording = [chosen.conditions.index(each.condition) for each in chosen.recordings]
    assert chosen.conditions == ("OR007", "B007")
    assert windows.labels.tolist() == [of_recording[place] for place in windows.recording]
    with pytest.raises(ValueError, match=r"unknown conditions \['IR0014'\]: choose among Normal, IR007"):
        laid_out().select(conditions=["IR007", "IR0014"])
    with pytest.raises(ValueError, match="no recording of"):
        laid_out().select(loads=[7])
