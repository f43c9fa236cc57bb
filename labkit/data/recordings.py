"""Recordings of a vibration, and the ten-class sets that are made of them: the popular one and two without its flaw.

Recordings are what was measured (or simulated); windows are cut from them in `labkit.data.windows`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Fault(NamedTuple):
    """Where the defect is, by the name of its field in DefectFrequencies, and how wide it is."""

    element: str
    inch: float


FAULTS = {
    f"{short}{thousandths:03d}": Fault(element, thousandths / 1000)
    for short, element in (("IR", "inner_race"), ("B", "ball"), ("OR", "outer_race"))
    for thousandths in (7, 14, 21)
}
"""The nine defects under the names that the field uses: IR014 is one of 0.014 inch on the inner race."""

CONDITIONS = ("Normal", *FAULTS)
"""The ten conditions, in the order of their labels."""

LOADS = (0, 1, 2, 3)
"""The motor loads in horsepower."""

SENSORS = {"drive end": "DE_time", "fan end": "FE_time"}
"""The two ends of the motor where acceleration was taken, and how CWRU's names of their signals end."""

TEN_CLASSES = ("popular", "decimated", "48k")


@dataclass(frozen=True, eq=False)
class Recording:
    """One uninterrupted vibration signal of the drive-end bearing in one condition at one load."""

    signal: Tensor  # (N,) float32, acceleration in g
    condition: str  # one of CONDITIONS
    load: int  # motor load in horsepower
    rpm: float  # shaft speed in turns per minute
    sampling_rate: int  # in Hz
    file: str  # where it comes from; two recordings with the same are one measurement
    note: str = ""  # what was done to it since
    reach: int = 0  # samples on either side of its own place that one sample was computed from
    sensor: str = "drive end"  # or "fan end", at the other end of the motor: the same bearing from farther away

    def __len__(self) -> int:
        return len(self.signal)


@dataclass(frozen=True, eq=False)
class Bearings:
    """Recordings, and what a reader must know to cite and judge them."""

    recordings: tuple[Recording, ...]
    conditions: tuple[str, ...]  # label i is conditions[i]
    simulated: bool
    name: str
    source: str  # one sentence: what these data are and how they came here
    licence: str
    url: str
    missing: tuple[str, ...] = ()  # one sentence about each recording that ought to be here and is not

    def select(
        self,
        *,
        conditions: Sequence[str] | None = None,
        loads: Collection[int] | None = None,
        sampling_rate: int | None = None,
    ) -> Bearings:
        """The recordings that are all of this; `conditions` also sets the labels.

        Raises ValueError for an unknown condition, and if there are no such recordings.
        """
        conditions = self.conditions if conditions is None else tuple(conditions)
        if unknown := [each for each in conditions if each not in self.conditions]:
            raise ValueError(f"unknown conditions {unknown}: choose among {', '.join(self.conditions)}.")
        chosen = tuple(
            each
            for each in self.recordings
            if each.condition in conditions
            and (loads is None or each.load in loads)
            and (sampling_rate is None or each.sampling_rate == sampling_rate)
        )
        if not chosen:
            raise ValueError(f"no recording of {conditions} with loads {loads} and sampling rate {sampling_rate}.")
        return replace(self, recordings=chosen, conditions=conditions)


def ten_classes(bearings: Bearings, variant: str, *, loads: Collection[int] | None = None) -> Bearings:
    """The ten-class set in one of three variants, from recordings laid out as CWRU publishes them.

    CWRU's Normal recordings are sampled at 48 kHz (seen in 97.mat, assumed of 98 to 100), the drive-end faults at
    12 kHz, some again at 48 kHz.

    - "popular": faults at 12 kHz, and Normal read as if it were at 12 kHz, too. This is the flawed set that is often
      used: a model may tell Normal by its sampling rate alone.
    - "decimated": the same, with Normal filtered and decimated by 4 to 12 kHz.
    - "48k": everything at 48 kHz, where the faults have load 0 only.

    `loads` defaults to those that the faults have. Where a Normal recording is missing, its load has nine conditions
    (`missing` says so): then compare loads with care, or ask for load 0. Raises ValueError for an unknown variant.
    """
    if variant not in TEN_CLASSES:
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(TEN_CLASSES)}.")
    rate = 48_000 if variant == "48k" else 12_000
    faults = bearings.select(conditions=tuple(FAULTS), loads=loads, sampling_rate=rate).recordings
    at = {fault.load for fault in faults} if loads is None else set(loads)
    normal = [each for each in bearings.recordings if each.condition == "Normal" and each.load in at]
    if variant == "popular":
        normal = [read_as(each, rate) for each in normal]
    elif variant == "decimated":
        normal = [decimated(each, each.sampling_rate // rate) for each in normal]
    return replace(bearings, recordings=(*normal, *faults), conditions=CONDITIONS)


def read_as(recording: Recording, sampling_rate: int) -> Recording:
    """The same samples, said to be taken at another rate (Hz): a mistake, made on purpose where a lesson shows it."""
    note = f"taken at {recording.sampling_rate} Hz, read as if at {sampling_rate} Hz"
    return replace(recording, sampling_rate=sampling_rate, note=note)


def decimated(recording: Recording, factor: int = 4) -> Recording:
    """Every `factor`-th sample after a low-pass filter without delay (scipy.signal.decimate, zero phase).

    The filter is a finite one, 20 x factor + 1 samples long, so that it is known which raw samples each result was
    made of: `reach` is 10 samples. It is 6 dB down at the new Nyquist frequency; at 12 kHz the top of the band, above
    about 5 kHz, is the filter's. Raises ValueError for a factor that does not divide the sampling rate.
    """
    import torch
    from scipy.signal import decimate

    if factor < 1 or recording.sampling_rate % factor:
        raise ValueError(f"{recording.sampling_rate} Hz cannot be decimated by {factor}: take a divisor.")
    if factor == 1:
        return recording
    signal = decimate(recording.signal.double().numpy(), factor, ftype="fir", zero_phase=True)
    return replace(
        recording,
        signal=torch.tensor(signal, dtype=torch.float32),
        sampling_rate=recording.sampling_rate // factor,
        note=f"decimated by {factor} from {recording.sampling_rate} Hz",
        reach=10 + -(-recording.reach // factor),
    )
