"""The network and the features that NSAE-LCN is compared with, against SciPy and signals known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import scipy.stats
import torch
from tensors import seeded
from torch import Tensor

from labkit.papers.nsae_lcn_baselines import WDCNN, band_spectrum, signal_statistics, spectrum, statistic_names


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def named(signal: Tensor, bands: int = 8) -> dict[str, float]:
    return dict(zip(statistic_names(bands), signal_statistics(signal[None], bands)[0].tolist(), strict=True))


def wave(cycles: int = 10, points: int = 400) -> Tensor:
    return torch.sin(2 * math.pi * cycles * torch.arange(points, dtype=torch.float64) / points)


# ---- statistics -----------------------------------------------------------------------------------------------------


def test_a_sine_has_the_statistics_of_the_textbook() -> None:
    of = named(3 * wave() + 7)
    assert of["rms"] == pytest.approx(3 / math.sqrt(2))
    assert of["peak to peak"] == pytest.approx(6)
    assert of["crest factor"] == pytest.approx(math.sqrt(2))
    assert of["shape factor"] == pytest.approx(math.pi / (2 * math.sqrt(2)), rel=1e-2)  # the mean of 400 points
    assert of["impulse factor"] == pytest.approx(math.pi / 2, rel=1e-2)
    assert of["skewness"] == pytest.approx(0, abs=1e-9)
    assert of["kurtosis"] == pytest.approx(1.5)


def test_skewness_and_kurtosis_are_those_of_scipy() -> None:
    signals = normal(5, 200).exp()
    table = dict(zip(statistic_names(), signal_statistics(signals).T, strict=True))
    for name, expected in (
        ("skewness", scipy.stats.skew(signals, axis=1)),
        ("kurtosis", scipy.stats.kurtosis(signals, axis=1, fisher=False)),
    ):
        torch.testing.assert_close(table[name], torch.as_tensor(expected))


def test_impacts_raise_kurtosis_and_crest_factor() -> None:
    smooth, hit = normal(1, 1000)[0], normal(1, 1000)[0]
    hit[::100] += 10
    assert named(hit)["kurtosis"] > 3 * named(smooth)["kurtosis"]
    assert named(hit)["crest factor"] > 1.5 * named(smooth)["crest factor"]


@pytest.mark.parametrize(("cycles", "band"), [(10, 1), (60, 3), (190, 8)])  # of 200 frequencies, 25 in each band
def test_the_power_of_a_wave_is_in_the_band_of_its_frequency(cycles: int, band: int) -> None:
    shares = [share for name, share in named(wave(cycles)).items() if name.startswith("band")]
    assert shares == pytest.approx([float(number == band) for number in range(1, 9)])


def test_the_shares_of_the_bands_add_up_to_1_and_do_not_change_with_the_level() -> None:
    signals = normal(3, 301)
    torch.testing.assert_close(signal_statistics(signals, 6)[:, 7:].sum(1), torch.ones(3).double())
    torch.testing.assert_close(signal_statistics(5 * signals + 2)[:, 2:], signal_statistics(signals)[:, 2:])
    torch.testing.assert_close(signal_statistics(5 * signals)[:, :2], 5 * signal_statistics(signals)[:, :2])


def test_the_statistics_do_not_change_when_the_signal_is_shifted_circularly() -> None:
    signals = normal(3, 300)
    torch.testing.assert_close(signal_statistics(signals.roll(37, dims=1)), signal_statistics(signals))


def test_each_signal_has_one_row_of_as_many_numbers_as_there_are_names() -> None:
    for bands in (1, 8, 50):
        assert signal_statistics(normal(4, 100), bands).shape == (4, len(statistic_names(bands)))


@pytest.mark.parametrize("level", [0.0, 0.1, -12345.678])
def test_a_constant_signal_has_statistics_of_0(level: float) -> None:
    assert torch.equal(signal_statistics(torch.full((2, 1201), level)), torch.zeros(2, 15))


# ---- the spectrum ---------------------------------------------------------------------------------------------------


def test_a_wave_has_one_line_in_its_spectrum_at_its_frequency() -> None:
    lines = spectrum(3 * wave(10)[None] + 7)[0]  # standardized it is sqrt(2) sin, and N / 2 of it is in bin 10
    expected = torch.zeros(201, dtype=torch.float64)
    expected[10] = 400 / math.sqrt(2)
    torch.testing.assert_close(lines, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("points", [1, 2, 7, 300, 301])
def test_the_spectrum_has_half_as_many_bins_as_points_and_one_more(points: int) -> None:
    assert spectrum(normal(3, points)).shape == (3, points // 2 + 1)


@pytest.mark.parametrize("points", [300, 301])
def test_the_squares_of_all_bins_add_up_to_the_squared_number_of_points(points: int) -> None:
    power = spectrum(normal(3, points)).square()
    both_sides = 2 * power[:, 1:].sum(1) - (power[:, -1] if points % 2 == 0 else 0)
    torch.testing.assert_close(both_sides, torch.full((3,), float(points**2), dtype=torch.float64))


@pytest.mark.parametrize("features", [spectrum, lambda x: band_spectrum(x, 8)], ids=["spectrum", "bands"])
def test_the_spectrum_does_not_change_with_circular_shifts_scale_sign_offset_and_time_reversed(
    features: Callable,
) -> None:
    x = normal(3, 301)
    expected = features(x)
    for shift in (1, 37, 300):
        torch.testing.assert_close(features(x.roll(shift, dims=1)), expected, rtol=1e-7, atol=1e-9)
    for same in (1e-3 * x, -4 * x, x + 20, x.flip(1)):
        torch.testing.assert_close(features(same), expected, rtol=1e-7, atol=1e-9)


def test_the_spectrum_changes_where_a_window_is_moved_along_a_signal_that_is_not_periodic() -> None:
    signal = normal(1, 340)
    assert (spectrum(signal[:, 40:]) - spectrum(signal[:, :300])).norm() > 0.1 * spectrum(signal[:, :300]).norm()


@pytest.mark.parametrize("points", [100, 1200, 4801])
def test_white_noise_has_about_0_in_each_band_at_any_length_of_the_window(points: int) -> None:
    bands = band_spectrum(normal(4000 // (points // 100), points), 5)
    torch.testing.assert_close(bands.exp().mean(0), torch.ones(5).double(), rtol=0, atol=0.05)


@pytest.mark.parametrize(("cycles", "band"), [(10, 1), (60, 3), (190, 8)])  # of 200 frequencies, 25 in each band
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_band_has_the_log_of_its_mean_power_and_one_without_a_wave_the_log_of_silence(
    cycles: int, band: int, dtype: torch.dtype
) -> None:
    expected = torch.full((1, 8), math.log(1e-8), dtype=dtype)
    expected[0, band - 1] = math.log(400 / 2 / 25)  # |X|^2 / N = N / 2, over 25 bins
    torch.testing.assert_close(band_spectrum(wave(cycles)[None].to(dtype), 8), expected)


def test_windows_of_different_lengths_of_one_wave_have_their_power_in_the_same_band() -> None:
    signal = normal(1, 2000) + 3 * wave(340, 2000)  # 0.17 of the sampling rate
    at = [band_spectrum(signal[:, :points], 10).argmax(1).item() for points in (100, 333, 1200, 2000)]
    assert at == [3, 3, 3, 3]


@pytest.mark.parametrize("level", [0.0, 0.1, -12345.678])
def test_the_spectrum_of_a_constant_signal_is_0_and_its_bands_are_silent(level: float) -> None:
    signals = torch.full((2, 1201), level)
    assert torch.equal(spectrum(signals), torch.zeros(2, 601))
    torch.testing.assert_close(band_spectrum(signals, 4), torch.full((2, 4), math.log(1e-8)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: signal_statistics(torch.ones(5)), r"signals must be a finite float matrix \(B, N\), got .*\(5,\)"),
        (lambda: signal_statistics(torch.ones(2, 50) * math.nan), "signals must be a finite float matrix"),
        (lambda: signal_statistics(torch.ones(2, 50, dtype=torch.int64)), "finite float matrix .* got torch.int64"),
        (lambda: signal_statistics(torch.ones(0, 50)), "signals must be a finite float matrix"),
        (lambda: signal_statistics(torch.ones(2, 0)), "0 points give 1 to 0 bands, got 8"),
        (lambda: signal_statistics(torch.ones(2, 15)), "15 points give 1 to 7 bands, got 8"),
        (lambda: signal_statistics(torch.ones(2, 50), 0), "50 points give 1 to 25 bands, got 0"),
        (lambda: spectrum(torch.ones(5)), r"signals must be a finite float matrix \(B, N\), got .*\(5,\)"),
        (lambda: spectrum(torch.ones(2, 50) * math.inf), "signals must be a finite float matrix"),
        (lambda: spectrum(torch.ones(2, 50, dtype=torch.int16)), "finite float matrix .* got torch.int16"),
        (lambda: spectrum(torch.ones(2, 0)), r"the signal of shape \(2, 0\) is empty"),
        (lambda: band_spectrum(torch.ones(2, 50) * math.nan, 4), "signals must be a finite float matrix"),
        (lambda: band_spectrum(torch.ones(2, 15), 8), "15 points give 1 to 7 bands, got 8"),
        (lambda: band_spectrum(torch.ones(2, 50), 0), "50 points give 1 to 25 bands, got 0"),
        (lambda: WDCNN(1200, 1), "two classes and one layer are the least, got 1"),
        (lambda: WDCNN(1200, 4, channels=()), r"two classes and one layer are the least, got 4 and channels=\(\)"),
        (lambda: WDCNN(100, 4), "100 points are too few for 3 layers: give longer signals"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence_that_says_why(call: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [128, 400, 1200, 2048])
@pytest.mark.parametrize("channels", [(16, 32, 64), (4,)])
def test_the_network_gives_each_signal_one_logit_a_class(points: int, channels: tuple[int, ...]) -> None:
    assert WDCNN(points, 10, channels)(torch.zeros(3, points)).shape == (3, 10)


def test_the_papers_five_layers_fit_its_signals() -> None:
    assert WDCNN(2048, 10, (16, 32, 64, 64, 64))(torch.zeros(2, 2048)).shape == (2, 10)


def test_the_weights_depend_on_the_generator_alone() -> None:
    def weights(seed: int) -> Tensor:
        return torch.nn.utils.parameters_to_vector(WDCNN(400, 4, generator=seeded(seed)).parameters())

    torch.manual_seed(1)
    first = weights(1)
    torch.manual_seed(2)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


def test_a_few_steps_tell_two_waves_apart() -> None:
    y = torch.arange(80) % 2
    phase = 6.3 * torch.rand(80, 1, generator=seeded())
    x = torch.sin(torch.arange(400.0) * (0.5 + 0.7 * y[:, None]) + phase)
    model = WDCNN(400, 2, (8, 8), generator=seeded(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(x[:40]), y[:40])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert (model(x[40:]).argmax(1) == y[40:]).double().mean() > 0.95
