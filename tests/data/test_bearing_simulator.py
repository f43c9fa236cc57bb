"""The simulated bearing says that it is simulated, obeys its geometry, and is the same every time."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

import labkit.data
from labkit.data import (
    CONDITIONS,
    FAULTS,
    SKF_6205,
    BallBearing,
    Recording,
    bearing_simulator,
    defect_frequencies,
    envelope_spectrum,
    simulate_bearing,
    simulated_bearings,
)


@pytest.fixture(scope="module")
def quick() -> labkit.data.Bearings:
    return labkit.data.load("bearings")


def test_the_defect_frequencies_are_those_that_cwru_prints() -> None:
    of_one_turn_per_second = defect_frequencies(60)
    assert of_one_turn_per_second == pytest.approx((5.4152, 3.5848, 4.7135, 0.39828), rel=1e-4)
    assert of_one_turn_per_second._fields == ("inner_race", "outer_race", "ball", "cage")


def test_the_defect_frequencies_are_those_of_balls_that_roll_without_slip() -> None:
    """Followed by speeds at the contacts: a ball's centre moves half as fast as the inner race that drives it."""
    shaft, ball, pitch, angle = 20.0, 2.0, 10.0, 0.3
    inner, outer = pitch - ball * math.cos(angle), pitch + ball * math.cos(angle)  # diameters where the balls touch
    cage = shaft * inner / 2 / pitch
    spin = cage * outer / ball  # seen from the cage, the outer race rolls past the ball
    got = defect_frequencies(60 * shaft, BallBearing(7, ball, pitch, angle))
    assert got == pytest.approx((7 * (shaft - cage), 7 * cage, 2 * spin, cage))


def test_inner_and_outer_race_together_see_every_ball_once_per_turn_and_double_speed_doubles_all() -> None:
    one, two = defect_frequencies(1797), defect_frequencies(3594)
    assert one.inner_race + one.outer_race == pytest.approx(9 * 1797 / 60)
    assert two == pytest.approx([2 * each for each in one])


@pytest.mark.parametrize("rpm", [0, -1797, math.nan, math.inf])
def test_a_speed_that_is_none_is_refused(rpm: float) -> None:
    with pytest.raises(ValueError, match=r"^the shaft speed must be a positive number of turns per minute, not .*\.$"):
        defect_frequencies(rpm)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((9, 1.6, 1.537), "does not run on a pitch circle"),
        ((9, 1.537, 1.537), "does not run on a pitch circle"),
        ((9, 0, 1.537), "does not run on a pitch circle"),
        ((9, math.nan, 1.537), "does not run on a pitch circle"),
        ((9, 0.3, math.inf), "does not run on a pitch circle"),
        ((0, 0.3126, 1.537), "at least one ball"),
        ((9, 0.3126, 1.537, math.pi / 2), "contact angle"),
        ((9, 0.3126, 1.537, -0.1), "contact angle"),
    ],
)
def test_a_bearing_that_cannot_be_built_is_refused(arguments, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        BallBearing(*arguments)


def tone(hertz: float, samples: int = 24_000, rate: int = 12_000, carrier: float = 3_000) -> Recording:
    """A carrier whose strength swings at `hertz`, by half of its mean."""
    seconds = torch.arange(samples, dtype=torch.float64) / rate
    swing = 1 + 0.5 * torch.cos(2 * math.pi * hertz * seconds)
    signal = (swing * torch.sin(2 * math.pi * carrier * seconds)).float()
    return Recording(signal, "Normal", 0, 1797.0, rate, "a tone")


def test_the_envelope_spectrum_shows_how_fast_and_how_far_the_strength_swings() -> None:
    frequencies, spectrum = envelope_spectrum(tone(100))
    beyond = frequencies > 5
    assert frequencies[beyond][spectrum[beyond].argmax()] == pytest.approx(100)
    assert spectrum.max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("band", [(0, 4_000), (4_000, 2_000), (2_000, 6_000)])
def test_a_band_that_the_sampling_rate_does_not_hold_is_refused(band) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and half the sampling rate"):
        envelope_spectrum(tone(100), band)


def scores(recording: Recording) -> dict[str, float]:
    """For each part, how far its defect frequency and the next two multiples rise in the envelope spectrum."""
    frequencies, spectrum = envelope_spectrum(recording)
    usual = spectrum[(frequencies > 20) & (frequencies < 700)].median()
    rates = defect_frequencies(recording.rpm)._asdict()
    del rates["cage"]
    return {
        part: float(sum(spectrum[(frequencies / (h * rate) - 1).abs() < 0.015].max() for h in (1, 2, 3)) / 3 / usual)
        for part, rate in rates.items()
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_envelope_spectrum_finds_each_defect_frequency_and_none_in_normal(quick, seed: int) -> None:
    recordings = quick.recordings if seed == 0 else simulated_bearings(seed=seed, seconds=2).recordings
    for recording in recordings:
        found = scores(recording)
        if recording.condition == "Normal":
            assert max(found.values()) < 5, (recording.file, found)
            continue
        own = found.pop(FAULTS[recording.condition].element)
        assert own > 6, (recording.file, own)
        assert own > 2 * max(found.values()), (recording.file, own, found)


def test_the_highest_peak_lies_at_the_defect_frequency_itself() -> None:
    for condition, fault in FAULTS.items():
        recording = simulate_bearing(condition, noise=0.1)
        frequencies, spectrum = envelope_spectrum(recording)
        rate = getattr(defect_frequencies(recording.rpm), fault.element)
        near = (frequencies - rate).abs() < 5
        assert frequencies[near][spectrum[near].argmax()] == pytest.approx(rate, rel=0.003), condition


@pytest.mark.parametrize(("condition", "moves"), [("IR007", "shaft"), ("B007", "cage"), ("OR007", "not at all")])
def test_a_defect_that_moves_through_the_load_zone_has_side_bands_at_the_rate_of_its_turns(condition, moves) -> None:
    recording = simulate_bearing(condition, noise=0.1, slip=0.001, seconds=8)
    frequencies, spectrum = envelope_spectrum(recording)
    rates = defect_frequencies(recording.rpm)
    centre = getattr(rates, FAULTS[condition].element)

    def side_band(turns: float) -> float:
        heights = [spectrum[(frequencies - centre - sign * turns).abs() < 0.5].max() for sign in (-1, 1)]
        return float(sum(heights) / 2 / spectrum[(frequencies - centre).abs() < 0.5].max())

    high = {"shaft": side_band(recording.rpm / 60) > 0.3, "cage": side_band(rates.cage) > 0.3}
    assert high == {turning: turning == moves for turning in high}


def test_slip_blurs_the_higher_multiples_of_the_defect_frequency() -> None:
    def fifth(slip: float) -> float:
        recording = simulate_bearing("OR007", slip=slip, noise=0.1)
        frequencies, spectrum = envelope_spectrum(recording)
        rate = defect_frequencies(recording.rpm).outer_race
        return float(spectrum[(frequencies / (5 * rate) - 1).abs() < 0.002].max() / spectrum.max())

    assert fifth(0.05) < fifth(0.01) / 2 < fifth(0) / 2


def test_a_strike_is_a_step_in_and_a_blow_out_as_far_apart_as_a_ball_rolls_over_the_defect() -> None:
    cage = defect_frequencies(1797).cage
    speed = math.pi * cage * (SKF_6205.pitch_diameter + SKF_6205.ball_diameter)  # of the contact on the outer race
    for condition, fault in FAULTS.items():
        times, blows = bearing_simulator._strikes(np.random.default_rng(0), condition, 0, 1797, 1.0, 0.01)
        half = (len(times) + 1) // 2
        steps_in, out = times[:half], times[half:]
        assert out == pytest.approx(steps_in[: len(out)] + fault.inch / speed)
        assert blows[half:] == pytest.approx(-2.5 * blows[: len(out)])


def test_a_strike_rings_as_the_formula_says_wherever_between_two_samples_it_falls() -> None:
    pole, rate = complex(-500, 2 * math.pi * 2_800), 12_000
    for strike in (0.0102, 0.01, 0.0100001, -0.003):
        heard = bearing_simulator._ringing(np.array([strike]), np.array([0.7]), [(pole, 2.0)], 600, rate)
        since = np.arange(600) / rate - strike
        assert heard == pytest.approx(np.where(since >= 0, 1.4 * np.exp(pole * since.clip(0)).imag, 0), abs=1e-12)


def test_defects_of_all_widths_strike_equally_hard() -> None:
    for part in ("IR", "B", "OR"):
        widths = [
            np.mean(np.abs(bearing_simulator._strikes(np.random.default_rng(0), f"{part}{width}", 0, 1797, 1, 0)[1]))
            for width in ("007", "014", "021")
        ]
        assert widths == pytest.approx([widths[0]] * 3, rel=0.01)


def test_the_time_between_step_and_blow_draws_a_comb_into_the_spectrum() -> None:
    """Whatever the resonance: beside a lone blow, step and blow are heard as |1 + STEP exp(2 pi i f apart)|."""
    rate, apart = 48_000, 3e-4

    def spectrum(times: list[float], blows: list[float]) -> np.ndarray:
        heard = bearing_simulator._ringing(
            np.array(times), np.array(blows), [(complex(-400, 15_000), 1.0)], 4_800, rate
        )
        return np.abs(np.fft.rfft(heard))

    step = bearing_simulator.STEP
    hertz = np.fft.rfftfreq(4_800, 1 / rate)
    heard = hertz < 6_000
    comb = np.abs(1 + step * np.exp(2j * np.pi * hertz * apart))
    both, lone = spectrum([0.01, 0.01 + apart], [step, 1.0]), spectrum([0.01 + apart], [1.0])
    assert both[heard] == pytest.approx((comb * lone)[heard], rel=0.05)
    assert comb[heard].max() > 2 * comb[heard].min()


def test_each_fault_has_a_bearing_of_its_own_which_a_load_stiffens_alike_at_all_resonances() -> None:
    def poles(seed: int, condition: str, load: int) -> np.ndarray:
        return np.array([pole for pole, _ in bearing_simulator._bearing(seed, condition, load)])

    bearings = [poles(seed, condition, 0) for condition in FAULTS for seed in (0, 1)]
    assert len({bearing.tobytes() for bearing in bearings}) == 18
    for condition in FAULTS:
        for load in range(4):
            stiffer = 1 + bearing_simulator.STIFFER * load
            assert poles(0, condition, load) == pytest.approx(stiffer * poles(0, condition, 0))


def test_the_further_apart_two_loads_the_more_the_paths_of_a_bearing_differ() -> None:
    def paths(load: int) -> np.ndarray:
        return np.log([[path for _, path in bearing_simulator._bearing(0, fault, load)] for fault in FAULTS])

    apart = [np.abs(paths(load) - paths(0)).mean() for load in range(4)]
    assert apart == pytest.approx([0, apart[1], 2 * apart[1], 3 * apart[1]])
    assert apart[1] > 0


def test_no_strike_excites_the_modes_quite_like_the_last_but_a_step_does_so_like_its_blow() -> None:
    for strikes in (10, 11):
        shares = bearing_simulator._shares(np.random.default_rng(0), strikes)
        steps = (strikes + 1) // 2
        assert np.array_equal(shares[:, : strikes - steps], shares[:, steps:])
        assert len(np.unique(shares)) == len(bearing_simulator.MODES) * steps


def test_a_defect_on_a_ball_comes_and_goes_and_one_on_a_race_stays() -> None:
    def unsteadiness(condition: str) -> float:
        """How far the mean strike of three turns of the cage strays from that of others."""
        times, blows = bearing_simulator._strikes(np.random.default_rng(0), condition, 0, 1797, 30.0, 0.01)
        turn = np.floor(times * defect_frequencies(1797).cage / 3).astype(int) + 1
        counts = np.bincount(turn)
        means = (np.bincount(turn, np.abs(blows)) / counts.clip(1))[2:-2]
        return means.std() / means.mean()

    for width in ("007", "014", "021"):
        assert unsteadiness(f"IR{width}") < 0.1
        assert unsteadiness(f"OR{width}") < 0.1
        assert unsteadiness(f"B{width}") > 0.2


def test_the_background_is_as_dense_at_either_sampling_rate_and_as_strong_as_stated() -> None:
    def power(rate: int, low: float, high: float) -> float:
        noise = bearing_simulator._background(np.random.default_rng(1), 8 * rate, rate)
        spectrum = np.abs(np.fft.rfft(noise)) ** 2 * 2 / len(noise) ** 2
        frequencies = np.fft.rfftfreq(len(noise), 1 / rate)
        return spectrum[(frequencies >= low) & (frequencies < high)].sum()

    for band in ((0, 1_000), (2_000, 4_000), (5_000, 6_000)):
        assert power(12_000, *band) == pytest.approx(power(48_000, *band), rel=0.05)
    assert math.sqrt(power(48_000, 0, 6_000)) == pytest.approx(bearing_simulator.BACKGROUND, rel=0.02)


def test_the_recorder_passes_what_is_well_below_half_its_rate_and_nothing_near_it() -> None:
    def gain(hertz: float, rate: int) -> float:
        wave = np.sin(2 * np.pi * hertz / rate * np.arange(rate))
        return bearing_simulator._recorded(wave)[rate // 2 :].std() / wave.std()

    for rate in (12_000, 48_000):
        for share in (0.01, 0.2, 0.4, 0.43):
            assert gain(share * rate, rate) == pytest.approx(1, abs=0.03)
        for share in (0.46, 0.47, 0.49):
            assert gain(share * rate, rate) < 0.011


def test_the_far_sensor_hears_the_same_strikes_weaker_and_duller_in_noise_of_its_own() -> None:
    near, far = (simulate_bearing("OR007", noise=0, sensor=sensor).signal for sensor in ("drive end", "fan end"))
    assert far.std() < 0.7 * near.std()
    bands = [torch.fft.rfft(signal).abs().square()[4_000:22_000].tensor_split(2) for signal in (near, far)]
    duller = [float(high.sum() / low.sum()) for low, high in bands]  # power above 3.25 kHz over that below
    assert duller[1] < 0.7 * duller[0]
    envelopes = [signal.abs().unfold(0, 12, 12).mean(1) for signal in (near, far)]
    assert float(torch.corrcoef(torch.stack(envelopes))[0, 1]) > 0.8, "they strike at the same times"
    ends = [{"sensor": sensor, "sampling_rate": 48_000} for sensor in ("drive end", "fan end")]
    hisses, quiet = ([simulate_bearing("Normal", noise=noise, **end).signal for end in ends] for noise in (1, 0))
    assert torch.equal(*quiet), "the shaft is heard at both ends"
    noise = torch.stack([hiss - shaft for hiss, shaft in zip(hisses, quiet, strict=True)])
    assert abs(float(torch.corrcoef(noise)[0, 1])) < 0.02


def test_the_set_of_the_far_sensor_is_the_same_recordings_heard_elsewhere(quick) -> None:
    far = labkit.data.load("bearings_fan_end")
    assert [each.file for each in far.recordings] == [each.file for each in quick.recordings]
    assert [each.rpm for each in far.recordings] == [each.rpm for each in quick.recordings]
    assert {each.sensor for each in far.recordings} == {"fan end"}
    assert {each.sensor for each in quick.recordings} == {"drive end"}


def test_normal_shows_its_shaft_where_it_belongs_only_after_decimation(quick) -> None:
    def strongest(recording: Recording) -> float:
        spectrum = torch.fft.rfft(recording.signal * torch.hann_window(len(recording))).abs()
        frequencies = torch.fft.rfftfreq(len(recording), 1 / recording.sampling_rate)
        low = frequencies < 40
        return float(frequencies[low][spectrum[low].argmax()])

    for load in range(4):
        (popular,) = labkit.data.ten_classes(quick, "popular", loads=[load]).select(conditions=["Normal"]).recordings
        (repaired,) = labkit.data.ten_classes(quick, "decimated", loads=[load]).select(conditions=["Normal"]).recordings
        shaft = repaired.rpm / 60
        assert strongest(repaired) == pytest.approx(shaft, abs=0.3)
        assert strongest(popular) == pytest.approx(shaft / 4, abs=0.3)


def test_quick_says_that_it_is_simulated_and_is_laid_out_as_cwrus_files(quick) -> None:
    assert quick.simulated
    assert "SIMULATED" in quick.source
    assert "SIMULATOR" in bearing_simulator.__doc__
    assert all(recording.file.startswith("simulated: ") for recording in quick.recordings)
    layout = {(each.sampling_rate, each.condition, each.load) for each in quick.recordings}
    assert layout == (
        {(48_000, "Normal", load) for load in range(4)}
        | {(12_000, fault, load) for fault in FAULTS for load in range(4)}
        | {(48_000, fault, 0) for fault in FAULTS}
    )
    assert len(quick.recordings) == 49
    assert quick.missing == ()
    assert quick.conditions == CONDITIONS


def test_quick_has_the_lengths_types_and_speeds_that_it_promises(quick) -> None:
    for recording in quick.recordings:
        assert recording.signal.shape == (4 * recording.sampling_rate,)
        assert recording.signal.dtype == torch.float32
        assert recording.signal.isfinite().all()
        assert abs(recording.rpm - (1797, 1772, 1750, 1730)[recording.load]) <= 3


def test_quick_is_always_the_same_within_two_seconds_and_touches_nothing_else(quick, monkeypatch, cache) -> None:
    """No network, no cache and no global random numbers; the seconds are of processor time."""
    torch.manual_seed(123)
    np.random.seed(123)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    begin = time.process_time()
    again = labkit.data.load("bearings", profile="quick")
    assert time.process_time() - begin < 2
    assert all(
        torch.equal(one.signal, other.signal) for one, other in zip(quick.recordings, again.recordings, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert not cache.exists()


def test_a_recording_depends_on_its_seed_condition_and_load_and_not_on_what_was_made_before(quick) -> None:
    def signal(condition: str = "IR007", load: int = 0, seed: int = 0) -> torch.Tensor:
        return simulate_bearing(condition, load, seed=seed).signal

    made = [signal(), signal(seed=1), signal("IR014"), signal(load=1)]
    assert all(not torch.equal(one, other) for i, one in enumerate(made) for other in made[:i])
    (first,) = quick.select(conditions=["IR007"], loads=[0], sampling_rate=12_000).recordings
    assert torch.equal(first.signal, made[0])


def test_a_generator_gives_the_same_recording_from_the_same_state_and_another_next_time() -> None:
    one, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    first = simulate_bearing("B014", seed=one)
    assert torch.equal(first.signal, simulate_bearing("B014", seed=other).signal)
    assert not torch.equal(first.signal, simulate_bearing("B014", seed=one).signal)


def test_a_generator_gives_a_whole_set_one_seed_so_that_bearings_stay_the_same_from_load_to_load() -> None:
    generator = torch.Generator().manual_seed(5)
    seeds = [{each.file.split("seed ")[1] for each in simulated_bearings(seed=generator, seconds=0.1).recordings}]
    seeds += [{each.file.split("seed ")[1] for each in simulated_bearings(seed=generator, seconds=0.1).recordings}]
    assert [len(each) for each in seeds] == [1, 1]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"condition": "IR008"}, "unknown condition 'IR008': choose one of Normal, IR007"),
        ({"load": 4}, "unknown load 4"),
        ({"sensor": "base"}, "unknown sensor 'base': choose one of drive end, fan end"),
        ({"sampling_rate": 8_000}, "too low for the resonances"),
        ({"seconds": 0}, "out of range"),
        ({"seconds": math.nan}, "out of range"),
        ({"noise": -1}, "out of range"),
        ({"slip": -0.1}, "out of range"),
        ({"slip": 0.5}, "out of range"),
    ],
)
def test_what_cannot_be_simulated_is_refused(arguments, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        simulate_bearing(**({"condition": "IR007"} | arguments))
