"""Sounds are players with words beside them, equally loud, and whoever cannot hear them reads the words."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from labkit.lab.sound import players, slowed

TIME = torch.arange(4_000) / 4_000
TONES = {
    "low": (0.1 * torch.sin(2 * torch.pi * 200 * TIME), "a low tone"),
    "<loud> & high": (5 + 30 * torch.sin(2 * torch.pi * 800 * TIME), "a high tone, as loud as the low one"),
}


def heard(page: str) -> list[tuple[int, np.ndarray]]:
    """The rate and the wave of each player of a page."""
    sources = re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)
    return [wavfile.read(io.BytesIO(base64.b64decode(source))) for source in sources]


def test_each_sound_is_a_labeled_player_with_its_words_above_it() -> None:
    page = players(TONES, 4_000).data
    assert re.findall(r'<audio controls preload="none" aria-label="([^"]+)"', page) == [
        "low",
        "&lt;loud&gt; &amp; high",
    ]
    assert re.findall(r"<figcaption><b>(.+?)</b>: (.+?)</figcaption>", page) == [
        ("low", "a low tone"),
        ("&lt;loud&gt; &amp; high", "a high tone, as loud as the low one"),
    ]


def test_where_no_sound_can_be_shown_the_words_are_left() -> None:
    assert repr(players(TONES, 4_000)).splitlines() == [
        "low (sound): a low tone",
        "<loud> & high (sound): a high tone, as loud as the low one",
    ]


def test_what_is_played_is_the_signal_at_its_rate_and_all_are_equally_loud() -> None:
    waves = heard(players(TONES, 4_000).data)
    assert [rate for rate, _ in waves] == [4_000, 4_000]
    for (_, wave), (signal, _) in zip(waves, TONES.values(), strict=True):
        assert np.corrcoef(wave, signal)[0, 1] > 0.999
        assert abs(wave.mean()) < 2  # the offset is not played
    loudness = [wave.astype(float).std() for _, wave in waves]
    assert loudness[0] == pytest.approx(loudness[1], rel=0.01)
    assert max(np.abs(wave).max() for _, wave in waves) == 32_767


def test_slowed_by_eight_a_tone_lasts_eight_times_as_long_and_is_three_octaves_lower() -> None:
    slow = slowed(TONES["<loud> & high"][0] - 5, 8)
    assert slow.shape == (32_000,)
    frequencies = np.fft.rfftfreq(len(slow), 1 / 4_000)
    assert frequencies[np.abs(np.fft.rfft(slow)).argmax()] == pytest.approx(100, abs=0.2)
    with pytest.raises(ValueError, match="whole factor of at least 1, got 0"):
        slowed(slow, 0)


@pytest.mark.parametrize(
    "signal",
    [torch.zeros(0), torch.ones(5), torch.tensor([0.0, torch.nan]), torch.eye(3)],
    ids=["empty", "constant", "not finite", "a matrix"],
)
def test_what_cannot_be_heard_is_refused(signal: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'noise' cannot be heard"):
        players({"noise": (signal, "nothing")}, 4_000)


def test_a_player_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="'low' needs words beside its player"):
        players({"low": (TIME, " ")}, 4_000)
