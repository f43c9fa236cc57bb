"""Something to hear: players, each with the words that say what it plays, for whoever does not hear it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from IPython.display import HTML, Audio
from scipy.signal import resample_poly
from torch import Tensor


class Players(HTML):
    """Players as HTML; as plain text, where no sound can be shown, their words alone."""

    def __init__(self, page: str, words: str) -> None:
        super().__init__(page)
        self._words = words

    def __repr__(self) -> str:
        return self._words


def players(sounds: Mapping[str, tuple[Tensor, str]], rate: int) -> Players:
    """A player for each sound {name: (signal (N,), what one hears)}, taken at `rate` points a second.

    All are equally loud on average (root mean square), as far as the loudest peak of all allows, so that loudness
    gives nothing away. Raises ValueError for a signal that is empty, constant or not finite, or that has no words.
    """
    heard = {}
    for name, (signal, said) in sounds.items():
        wave = np.asarray(signal, dtype=float)
        if wave.ndim != 1 or not wave.size or not np.isfinite(wave).all() or wave.std() == 0:
            raise ValueError(f"{name!r} cannot be heard: a signal (N,) of finite values that change is needed")
        if not said.strip():
            raise ValueError(f"{name!r} needs words beside its player: say what one hears")
        heard[name] = (wave - wave.mean()) / wave.std()
    peak = max(np.abs(wave).max() for wave in heard.values())
    parts = []
    for name, wave in heard.items():
        source = Audio(wave / peak, rate=rate, normalize=False).src_attr()
        title, said = html.escape(name), html.escape(sounds[name][1])
        parts.append(
            f'<figure style="margin: 0.5em 0"><figcaption><b>{title}</b>: {said}</figcaption>'
            f'<audio controls preload="none" aria-label="{title}" src="{source}"></audio></figure>'
        )
    return Players("\n".join(parts), "\n".join(f"{name} (sound): {said}" for name, (_, said) in sounds.items()))


def slowed(signal: Any, factor: int) -> np.ndarray:
    """The signal (N,) `factor` times slower and deeper when played at the same rate, (N * factor,).

    Raises ValueError for a factor below 1.
    """
    if factor < 1:
        raise ValueError(f"a sound is slowed by a whole factor of at least 1, got {factor}")
    return resample_poly(np.asarray(signal, dtype=float), factor, 1)
