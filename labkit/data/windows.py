"""Windows cut from recordings, and three ways to split them: one that leaks, and two that do not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labkit.data.recordings import Bearings, Recording

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of equal length; each lies within one recording."""

    signals: Tensor  # (M, L) float32
    labels: Tensor  # (M,) int64, place of the condition in `conditions`
    recording: Tensor  # (M,) int64, place of the recording in `recordings`
    start: Tensor  # (M,) int64, its first sample in that recording
    recordings: tuple[Recording, ...]
    conditions: tuple[str, ...]

    @property
    def length(self) -> int:
        """Samples in a window, L."""
        return self.signals.shape[1]

    @property
    def loads(self) -> Tensor:
        """The motor load of each window in horsepower, (M,) int64."""
        import torch

        return torch.tensor([each.load for each in self.recordings])[self.recording]

    def take(self, which: Tensor) -> Windows:
        """Those that `which` chooses, by place or by a mask."""
        parts = {name: getattr(self, name)[which] for name in ("signals", "labels", "recording", "start")}
        return replace(self, **parts)

    def __len__(self) -> int:
        return len(self.labels)


def cut_windows(
    bearings: Bearings, length: int, *, stride: int | None = None, per_recording: int | None = None
) -> Windows:
    """Every window of `length` samples at multiples of `stride` (default: `length`, no overlap) in each recording.

    `per_recording` keeps the first so many of each, which makes the classes equal in number. What is left over at the
    end of a recording is not used. Raises ValueError for lengths below 1, a recording that is shorter than a window,
    recordings at different sampling rates, and one measurement that is there twice.
    """
    import torch

    stride = length if stride is None else stride
    if length < 1 or stride < 1 or (per_recording is not None and per_recording < 1):
        raise ValueError(f"length {length}, stride {stride} and per_recording {per_recording} must be at least 1.")
    _check(bearings.recordings, length)
    cut = [each.signal.unfold(0, length, stride)[:per_recording] for each in bearings.recordings]
    counts = torch.tensor([len(each) for each in cut])
    labels = torch.tensor([bearings.conditions.index(each.condition) for each in bearings.recordings])
    return Windows(
        signals=torch.cat(cut),
        labels=labels.repeat_interleave(counts),
        recording=torch.arange(len(cut)).repeat_interleave(counts),
        start=torch.cat([torch.arange(len(each)) * stride for each in cut]),
        recordings=bearings.recordings,
        conditions=bearings.conditions,
    )


def split_at_random(windows: Windows, train: float = 0.25, *, generator: Generator) -> tuple[Windows, Windows]:
    """A share `train` of the windows of each recording, drawn at random, and the rest: the usual split, WHICH LEAKS.

    Windows of one recording are in both parts, so a model may know a recording instead of a condition; and where
    windows overlap, the very same samples are in both (`shared_samples` counts them). Raises ValueError if a recording
    has too few windows.
    """
    import torch

    chosen = torch.zeros(len(windows), dtype=torch.bool)
    for place, own, count in _by_recording(windows, train):
        chosen[own[torch.randperm(len(own), generator=generator)[:count]]] = True
        _need(windows, place, len(own) - count)
    return windows.take(chosen), windows.take(~chosen)


def split_by_time(windows: Windows, train: float = 0.25) -> tuple[Windows, Windows]:
    """The first share `train` of the windows of each recording, and those of its later part: no sample is in both.

    Windows that reach back into the training part, also through the filter of a decimated recording, are in neither.
    Both parts still come from the same recordings. Raises ValueError if a recording has too few windows.
    """
    import torch

    first, later = (torch.zeros(len(windows), dtype=torch.bool) for _ in range(2))
    for place, own, count in _by_recording(windows, train):
        own = own[windows.start[own].argsort()]
        end = windows.start[own[count - 1]] + windows.length + 2 * windows.recordings[place].reach
        first[own[:count]] = True
        later[own] = windows.start[own] >= end
        _need(windows, place, int(later[own].sum()))
    return windows.take(first), windows.take(later)


def split_by_load(windows: Windows, train_loads: Collection[int]) -> tuple[Windows, Windows]:
    """The windows at `train_loads` (horsepower), and those at the other loads: no recording is in both.

    A condition that was recorded at one load only is in one part only. Raises ValueError if a part is empty.
    """
    import torch

    chosen = torch.isin(windows.loads, torch.tensor(sorted(train_loads), dtype=torch.int64))
    if chosen.all() or not chosen.any():
        there = sorted(set(windows.loads.tolist()))
        raise ValueError(f"loads {sorted(train_loads)} of {there} leave one part empty: choose some, not all, of them.")
    return windows.take(chosen), windows.take(~chosen)


def shared_samples(one: Windows, other: Windows) -> int:
    """How many samples of the recordings are in a window of `one` and in a window of `other`: 0 if nothing leaks.

    Both must come from the same `cut_windows`. A sample counts as in a window, too, if a filter let it reach there.
    """
    import torch

    if one.recordings is not other.recordings:
        raise ValueError("the two parts come from different recordings: compare parts of one split.")
    shared = 0
    for place, recording in enumerate(one.recordings):
        covered = []
        for part in (one, other):
            begin = (part.start[part.recording == place] - recording.reach).clamp(min=0)
            end = (part.start[part.recording == place] + part.length + recording.reach).clamp(max=len(recording))
            steps = torch.zeros(len(recording) + 1, dtype=torch.int64)
            steps.index_add_(0, begin, torch.ones_like(begin)).index_add_(0, end, -torch.ones_like(end))
            covered.append(steps.cumsum(0) > 0)
        shared += int((covered[0] & covered[1]).sum())
    return shared


def _check(recordings: tuple[Recording, ...], length: int) -> None:
    rates = sorted({each.sampling_rate for each in recordings})
    if len(rates) != 1:
        raise ValueError(f"these recordings have different sampling rates, {rates} Hz: use `select` or `ten_classes`.")
    files = [each.file for each in recordings]
    if twice := {file for file in files if files.count(file) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))} is there more than once: a split of its windows would leak.")
    for each in recordings:
        if len(each) < length:
            raise ValueError(f"{each.file} has {len(each)} samples, fewer than a window of {length}.")


def _by_recording(windows: Windows, train: float) -> list[tuple[int, Tensor, int]]:
    """For each recording its place, the places of its windows, and how many of them are for training."""
    if not 0 < train < 1:
        raise ValueError(f"the share for training must be between 0 and 1, not {train}.")
    parts = []
    for place in windows.recording.unique().tolist():
        own = (windows.recording == place).nonzero().flatten()
        parts.append((place, own, count := round(train * len(own))))
        _need(windows, place, count)
    return parts


def _need(windows: Windows, place: int, count: int) -> None:
    if count < 1:
        raise ValueError(f"{windows.recordings[place].file} has too few windows to be in both parts: cut shorter ones.")
