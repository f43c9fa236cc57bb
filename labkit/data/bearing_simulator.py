"""A SIMULATOR of rolling-bearing vibration, made from kinematics. Nothing that comes out of it was measured.

What is modelled: the geometry of the SKF 6205 bearing and a shaft speed give the rate at which a defect is struck; each
strike is a step into the defect and a blow out of it, apart by the time that a ball needs to roll over its width, which
draws a comb into the spectrum by which widths differ; each excites four resonances that ring and die away, in shares
that scatter as no ball runs over a defect quite like the last; the time between strikes scatters (slip); a defect that
moves through the load zone strikes harder there, and one on a ball comes and goes as its spin turns it off the track;
the shaft's harmonics and coloured noise lie over everything, and the recorder's low-pass filter over all of it. A
second sensor, at the other end of the motor, hears the same strikes, weaker and duller. As at CWRU each fault is a
bearing of its own, with resonances and paths of its own, which runs at all loads: a load stiffens the contacts, and so
raises all resonances a little, and shifts weight between the paths, the further the greater the load.

What is not: the resonances, paths, amplitudes, the noise and what a load does to them are invented, near in size to
CWRU's but fitted to no machine, and chosen so that methods rank about as they do there (not for a fault size or a
sensor that training had not: here the envelope and, for a size, classical statistics do far better); a bearing's
resonances and paths are drawn, not computed, so that faults differ by more than their physics, which nobody can tell
apart here or there; a wider defect strikes no harder (CWRU's often do not either, but some do by far); real ball faults
and some outer-race faults show no clear defect frequency, here all do; there is no second bearing, motor, or sensor
fault, and no change of speed within a recording. So an accuracy reached here says how a method works, not what it
reaches in a plant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.data.bearing_kinematics import SKF_6205, defect_frequencies
from labkit.data.recordings import CONDITIONS, FAULTS, LOADS, SENSORS, Recording

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator

NOMINAL_RPM = (1797, 1772, 1750, 1730)  # at loads 0 to 3, as CWRU states them
MODES = (  # Hz and damping ratio: below 6 kHz, so that 12 kHz sampling hears all
    (1_400.0, 0.03),
    (2_700.0, 0.02),
    (3_350.0, 0.02),
    (4_100.0, 0.015),
)
PATHS = {  # how strongly each mode is excited
    "inner_race": (0.3, 1.0, 0.7, 0.4),
    "ball": (0.3, 0.5, 1.0, 0.4),
    "outer_race": (0.2, 0.7, 0.7, 0.7),
}
BLOW = 1.2  # g, whatever the width of the defect
STEP = -0.4  # of the blow: the ball is unloaded as it drops in
TO_FAN_END = (
    0.9,
    0.15,
    0.4,
    0.05,
)  # what is left of each mode at the other end of the motor: the housing passes them unevenly
ZONE = 0.45  # Stribeck's load distribution factor: below 0.5, less than half of the ring carries
OUTSIDE = 0.1  # of the full load, left outside of the zone
# Next, standard deviations of logarithms:
SCATTER = (0.1, 0.4)  # from strike to strike, of its strength and of how it excites each mode
WANDER = 0.4  # of the strength of a ball's strikes, as its spin turns the defect off the track and back
BEARING = (0.08, 0.3)  # from bearing to bearing, of a resonance and of a path
LOADED = 0.12  # from bearing to bearing, of what each horsepower makes of a path
HELD = 0.2  # s, how long a ball keeps its spin
STIFFER = 0.005  # what a horsepower adds to every resonance, as a share
BACKGROUND = 0.06  # g rms between 0 and 6 kHz
CUT = 0.44  # of the sampling rate: above it the recorder lets nothing pass, or it would come back as a lower frequency
SHAFT, HARMONICS = 0.02, 30  # g, amplitude of the shaft's first harmonic; how many there are


def simulate_bearing(
    condition: str,
    load: int = 0,
    *,
    sampling_rate: int = 12_000,
    seconds: float = 4.0,
    seed: int | Generator = 0,
    noise: float = 1.0,
    slip: float = 0.0025,
    sensor: str = "drive end",
) -> Recording:
    """A simulated recording of `seconds` x `sampling_rate` (Hz) samples in g; see the module for what it is worth.

    `load` is in horsepower (0 to 3) and sets the speed, within 3 rpm. `noise` scales the background; `slip` is the
    standard deviation of the time between strikes, in parts of its mean; at the "fan end" the `sensor` hears the same
    strikes, through the motor, and noise of its own. The same arguments give the same signal; a torch.Generator as
    `seed` is advanced by one draw. Raises ValueError for an unknown condition, load or sensor, a sampling rate that
    cannot carry the resonances, and quantities below zero.
    """
    import numpy as np
    import torch

    _check(condition, load, sampling_rate, seconds, noise, slip, sensor)
    seed = drawn(seed)
    random = np.random.default_rng((seed, CONDITIONS.index(condition), load, sampling_rate))
    rpm = NOMINAL_RPM[load] + random.uniform(-3, 3)
    samples = round(seconds * sampling_rate)
    background, shaft = _background(random, samples, sampling_rate), _shaft(random, samples, sampling_rate, rpm)
    if sensor == "fan end":
        own = np.random.default_rng((seed, CONDITIONS.index(condition), load, sampling_rate, 1))
        background = _background(own, samples, sampling_rate)
    signal = noise * background + shaft
    if condition != "Normal":
        times, blows = _strikes(random, condition, load, rpm, seconds, slip)
        excited = blows * _shares(random, len(times))
        if sensor == "fan end":
            excited = excited * np.array(TO_FAN_END)[:, None]
        signal += _ringing(times, excited, _bearing(seed, condition, load), samples, sampling_rate)
    return Recording(
        signal=torch.tensor(_recorded(signal), dtype=torch.float32),
        condition=condition,
        load=load,
        rpm=rpm,
        sampling_rate=sampling_rate,
        file=f"simulated: {condition}, load {load}, {sampling_rate} Hz, seed {seed}",
        sensor=sensor,
    )


def drawn(seed: int | Generator) -> int:
    """The seed itself, or one drawn from a torch.Generator, which is advanced."""
    import torch

    return int(torch.randint(2**62, (), generator=seed)) if isinstance(seed, torch.Generator) else seed


def _strikes(
    random: np.random.Generator, condition: str, load: int, rpm: float, seconds: float, slip: float
) -> tuple[np.ndarray, np.ndarray]:
    """The times in seconds (K,) at which the bearing is struck, from shortly before 0, and how hard in g (K,)."""
    import numpy as np
    from scipy.signal import lfilter

    element, inch = FAULTS[condition]
    frequencies = defect_frequencies(rpm)
    rate = getattr(frequencies, element)
    count = int((seconds + 0.1) * rate * (1 + 5 * slip)) + 10
    gaps = np.clip(1 + slip * random.standard_normal(count), 0.1, None) / rate
    times = np.cumsum(gaps) - 0.05 - random.uniform() / rate
    turning = {"inner_race": rpm / 60, "ball": frequencies.cage, "outer_race": 0.0}[element]  # of the defect, in Hz
    angle = 2 * np.pi * (turning * times + (random.uniform() if turning else 0.0))  # an outer one sits at the bottom
    zone = np.clip(1 - (1 - np.cos(angle)) / (2 * ZONE), 0, None) ** 1.5
    blows = BLOW * (1 + 0.05 * load) * (OUTSIDE + (1 - OUTSIDE) * zone)
    blows *= np.exp(SCATTER[0] * random.standard_normal(count))
    if element == "ball":
        blows[::2] *= 0.7  # it strikes the inner and the outer race in turn
        kept, before = np.exp(-1 / (HELD * rate)), 5 * round(HELD * rate)  # of the spin at the next strike
        turns = random.standard_normal(before + count)
        blows *= np.exp(WANDER * lfilter([np.sqrt(1 - kept**2)], [1, -kept], turns)[before:])
    # Rolling without slip, the contact moves over either race and over the ball at the same speed, in inch per second.
    speed = np.pi * rpm / 60 * SKF_6205.pitch_diameter * (1 - SKF_6205.ratio**2) / 2
    times, blows = np.concatenate([times, times + inch / speed]), np.concatenate([STEP * blows, blows])
    within = times < seconds
    return times[within], blows[within]


def _shares(random: np.random.Generator, strikes: int) -> np.ndarray:
    """How a strike divides itself among the modes, (modes, strikes), about 1 each: a step and its blow do so alike."""
    import numpy as np

    steps = (strikes + 1) // 2
    shares = np.exp(SCATTER[1] * random.standard_normal((len(MODES), steps)))
    return np.concatenate([shares, shares[:, : strikes - steps]], axis=1)


def _bearing(seed: int, condition: str, load: int) -> list[tuple[complex, float]]:
    """The resonances of the bearing with this fault at a load, each as its pole in 1/s and how strongly it is excited.

    A seed has one bearing for each fault, whichever the load and the sampling rate.
    """
    import numpy as np

    random = np.random.default_rng((seed, CONDITIONS.index(condition)))
    spread = np.array([*BEARING, LOADED])[:, None]
    tunes, owns, changes = np.exp(spread * random.standard_normal((3, len(MODES))))
    common = PATHS[FAULTS[condition].element]
    return [
        (2 * np.pi * frequency * tune * (1 + STIFFER * load) * complex(-damping, 1), path * own * change**load)
        for (frequency, damping), path, tune, own, change in zip(MODES, common, tunes, owns, changes, strict=True)
    ]


def _ringing(
    times: np.ndarray, blows: np.ndarray, modes: list[tuple[complex, float]], samples: int, sampling_rate: int
) -> np.ndarray:
    """What the strikes sound like in g through the resonances, (samples,): each a decaying sine from its time on.

    `blows` in g are the same for all modes, (K,), or each mode's own, (modes, K).

    A strike between two samples enters at the next one, as the complex wave that it has become by then; from there a
    one-pole filter lets it ring. This is exact, however the times fall.
    """
    import numpy as np
    from scipy.signal import lfilter

    lead = round(0.05 * sampling_rate)
    entry = np.ceil(times * sampling_rate).astype(int)
    late = entry / sampling_rate - times
    entry, kept = entry + lead, (entry >= -lead) & (entry < samples)
    heard = np.zeros(lead + samples)
    for (pole, strength), blow in zip(modes, np.broadcast_to(blows, (len(modes), len(times))), strict=True):
        wave = np.zeros(lead + samples, dtype=complex)
        np.add.at(wave, entry[kept], strength * blow[kept] * np.exp(pole * late[kept]))
        heard += lfilter([1], [1, -np.exp(pole / sampling_rate)], wave).imag
    return heard[lead:]


def _background(random: np.random.Generator, samples: int, sampling_rate: int) -> np.ndarray:
    """Coloured noise (samples,) in g, whose density in g^2/Hz does not depend on the sampling rate."""
    import numpy as np
    from scipy import fft

    def density(hertz: np.ndarray) -> np.ndarray:
        bumps = sum(1 / ((1 - (hertz / mode) ** 2) ** 2 + (0.3 * hertz / mode) ** 2) for mode, _ in MODES)
        return (1 + 0.3 * bumps) / (1 + (hertz / 5_500) ** 6)

    length = fft.next_fast_len(samples + sampling_rate // 20, real=True)  # longer, as such noise ends where it began
    frequencies = fft.rfftfreq(length, 1 / sampling_rate)
    scale = BACKGROUND**2 / density(np.arange(6_000)).sum()  # the sum is over steps of 1 Hz
    waves = random.standard_normal((2, len(frequencies))) / np.sqrt(2)
    spectrum = (waves[0] + 1j * waves[1]) * np.sqrt(scale * density(frequencies) * sampling_rate * length / 2)
    return fft.irfft(spectrum, length)[:samples]


def _recorded(signal: np.ndarray) -> np.ndarray:
    """The signal (samples,) behind the recorder's low-pass filter, 40 dB down from shortly above its cut on."""
    from scipy.signal import ellip, sosfilt

    return sosfilt(ellip(8, 0.2, 40, 2 * CUT, output="sos"), signal)


def _shaft(random: np.random.Generator, samples: int, sampling_rate: int, rpm: float) -> np.ndarray:
    """The harmonics of the shaft speed (samples,) in g, the h-th with 1/sqrt(h) of the first's amplitude."""
    import numpy as np

    turn = np.exp(2j * np.pi * rpm / 60 / sampling_rate * np.arange(samples))
    phases = np.exp(2j * np.pi * random.uniform(size=HARMONICS))
    weights = phases / np.sqrt(np.arange(1, HARMONICS + 1))
    return SHAFT * (np.polyval(weights[::-1], turn) * turn).real


def _check(
    condition: str, load: int, sampling_rate: int, seconds: float, noise: float, slip: float, sensor: str
) -> None:
    if condition not in CONDITIONS:
        raise ValueError(f"unknown condition {condition!r}: choose one of {', '.join(CONDITIONS)}.")
    if load not in LOADS:
        raise ValueError(f"unknown load {load!r}: choose one of {LOADS} horsepower.")
    if sensor not in SENSORS:
        raise ValueError(f"unknown sensor {sensor!r}: choose one of {', '.join(SENSORS)}.")
    if sampling_rate < 12_000:
        raise ValueError(f"a sampling rate of {sampling_rate} Hz is too low for the resonances: take 12000 or more.")
    if not (seconds * sampling_rate >= 1 and noise >= 0 and 0 <= slip <= 0.2):
        raise ValueError(f"seconds {seconds}, noise {noise} or slip {slip} is out of range: see simulate_bearing.")
