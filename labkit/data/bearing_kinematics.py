"""What the geometry of a ball bearing says about its defects, and how to look for that in a vibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from labkit.data.recordings import Recording


@dataclass(frozen=True)
class BallBearing:
    """A ball bearing whose outer ring stands still. Raises ValueError for what cannot be built."""

    balls: int
    ball_diameter: float  # inch; only its ratio to the pitch diameter matters for the frequencies
    pitch_diameter: float  # inch
    contact_angle: float = 0.0  # radian

    def __post_init__(self) -> None:
        if self.balls < 1:
            raise ValueError(f"a bearing needs at least one ball, not {self.balls}.")
        if not 0 < self.ball_diameter < self.pitch_diameter < math.inf:
            raise ValueError(
                f"a ball of diameter {self.ball_diameter} does not run on a pitch circle of diameter "
                f"{self.pitch_diameter}: both must be positive and the ball the smaller one."
            )
        if not 0 <= self.contact_angle < math.pi / 2:
            raise ValueError(f"the contact angle must be in [0, pi/2), not {self.contact_angle}.")

    @property
    def ratio(self) -> float:
        """Ball diameter over pitch diameter, times the cosine of the contact angle."""
        return self.ball_diameter / self.pitch_diameter * math.cos(self.contact_angle)


SKF_6205 = BallBearing(balls=9, ball_diameter=0.3126, pitch_diameter=1.537)
"""The drive-end bearing of the CWRU test rig, 6205-2RS JEM SKF, with the dimensions that CWRU states."""


class DefectFrequencies(NamedTuple):
    """How often per second (Hz) a defect of each part is struck when nothing slips."""

    inner_race: float  # a ball passes the defect on the inner race, BPFI
    outer_race: float  # a ball passes the defect on the outer race, BPFO
    ball: (
        float  # the defect strikes a race, twice per turn of the ball: 2 x BSF, which CWRU prints as "rolling element"
    )
    cage: float  # turns of the cage, FTF


def defect_frequencies(rpm: float, bearing: BallBearing = SKF_6205) -> DefectFrequencies:
    """The four defect frequencies in Hz at a shaft speed of `rpm` turns per minute. Raises ValueError for rpm <= 0.

    With z balls, r = ball / pitch diameter x cos(contact angle) and shaft frequency f: inner race z f (1 + r) / 2,
    outer race z f (1 - r) / 2, ball f (1 - r^2) x pitch / ball diameter, cage f (1 - r) / 2. Source: rolling without
    slip. For CWRU's bearing the multiples of f are those that CWRU prints, 5.4152, 3.5848, 4.7135 and 0.39828, within
    one part in ten thousand.
    """
    if not 0 < rpm < math.inf:
        raise ValueError(f"the shaft speed must be a positive number of turns per minute, not {rpm}.")
    shaft, ratio = rpm / 60, bearing.ratio
    return DefectFrequencies(
        inner_race=bearing.balls * shaft * (1 + ratio) / 2,
        outer_race=bearing.balls * shaft * (1 - ratio) / 2,
        ball=shaft * (1 - ratio**2) * bearing.pitch_diameter / bearing.ball_diameter,
        cage=shaft * (1 - ratio) / 2,
    )


def envelope_spectrum(recording: Recording, band: tuple[float, float] = (2_000, 4_000)) -> tuple[Tensor, Tensor]:
    """Frequencies in Hz (K,) and the amplitude spectrum (K,) of the envelope, in parts of the envelope's mean.

    A defect strikes at its low frequency but rings at a high one. So the signal is filtered to `band`, in Hz, where the
    structure rings; its envelope |analytic signal| rises at each strike, and the spectrum of the envelope has peaks at
    the defect frequency and its multiples. Raises ValueError for a band that the sampling rate does not hold.
    """
    import torch
    from scipy import fft, signal

    low, high = band
    if not 0 < low < high < recording.sampling_rate / 2:
        raise ValueError(f"the band {band} Hz must lie between 0 and half the sampling rate.")
    sections = signal.butter(4, band, btype="bandpass", fs=recording.sampling_rate, output="sos")
    filtered = signal.sosfiltfilt(sections, recording.signal.double().numpy())
    samples = len(filtered)
    envelope = abs(signal.hilbert(filtered, fft.next_fast_len(samples)))[:samples]
    window = signal.windows.hann(samples)
    spectrum = abs(fft.rfft((envelope / envelope.mean() - 1) * window)) * 2 / window.sum()
    frequencies = fft.rfftfreq(samples, 1 / recording.sampling_rate)
    return torch.from_numpy(frequencies).float(), torch.from_numpy(spectrum).float()
