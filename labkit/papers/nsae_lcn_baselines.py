"""What NSAE-LCN is compared with: a small convolutional network, classical features for a random forest, the spectrum.

Papers: W. Zhang, G. Peng, C. Li, Y. Chen and Z. Zhang, "A new deep learning model for fault diagnosis with good
anti-noise and domain adaptation ability on raw vibration signals", Sensors 17 (2017) 425 (WDCNN). Statistics of
vibration signals: R. B. Randall, "Vibration-based condition monitoring" (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from labkit.papers.nsae_lcn import standardize

WIDE_KERNEL, WIDE_STRIDE, WIDE_PADDING = 64, 16, 24
STATISTICS = ("rms", "peak to peak", "crest factor", "shape factor", "impulse factor", "skewness", "kurtosis")
SILENCE = 1e-8  # of the mean power of a signal: a band that holds nothing has the log of this, not of a rounding error


class WDCNN(nn.Module):
    """A 1-D CNN with a wide first kernel, (B, N) -> (B, classes) logits.

    64 points wide, every 16: a filter bank that noise of single points does not reach. Kernels of 3 points follow, each
    convolution with batch normalisation, ReLU and max pooling by 2, then one hidden layer. The paper has five
    convolutions, `channels=(16, 32, 64, 64, 64)`, for N = 2048, the last without padding; three are enough for a CPU
    (our choice). Weights are drawn from `generator` (He initialisation, our choice). Raises ValueError for fewer than
    two classes, no channels, or signals too short for so many layers.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 100,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if classes < 2 or not channels:
            raise ValueError(f"two classes and one layer are the least, got {classes} and channels={tuple(channels)}")
        length = ((inputs + 2 * WIDE_PADDING - WIDE_KERNEL) // WIDE_STRIDE + 1) // 2 ** len(channels)
        if length < 1:
            raise ValueError(f"{inputs} points are too few for {len(channels)} layers: give longer signals")
        layers = _block(nn.Conv1d(1, channels[0], WIDE_KERNEL, WIDE_STRIDE, WIDE_PADDING, bias=False))
        for before, after in pairwise(channels):
            layers += _block(nn.Conv1d(before, after, 3, padding=1, bias=False))
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(channels[-1] * length, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
        for weight in self.parameters():
            if weight.dim() > 1:  # those of batch normalisation start at 1 and 0
                nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolutions(x[:, None])  # (B, C, L)
        return self.head(maps.flatten(1))  # (B, classes) logits


def _block(convolution: nn.Conv1d) -> list[nn.Module]:
    """A convolution without bias, since batch normalisation has one, and what follows it."""
    return [convolution, nn.BatchNorm1d(convolution.out_channels), nn.ReLU(), nn.MaxPool1d(2)]


def signal_statistics(signals: Tensor, bands: int = 8) -> Tensor:
    """Classical features of vibration signals, (B, N) -> (B, 7 + bands), in the order of `statistic_names`.

    Of each signal with its mean removed: root mean square (RMS) and peak to peak, in the unit of the signal; peak / RMS
    (crest), RMS / mean magnitude (shape), peak / mean magnitude (impulse); skewness and kurtosis, 3 for a Gaussian; and
    the shares of the power in equal bands from 0 to half the sampling rate. A constant signal has 0 throughout. Raises
    ValueError unless signals are a finite matrix of floating-point numbers with at least 2 * bands columns, bands >= 1.
    """
    _require_signals(signals)
    _require_bands(bands, signals.shape[1])
    x = signals - signals.mean(1, keepdim=True)  # (B, N)
    # The rounding error of the mean of a constant signal has a crest factor, too.
    x = x * (x.abs() > 8 * torch.finfo(x.dtype).eps * signals.abs().amax(1, keepdim=True))
    rms, peak, magnitude = x.square().mean(1).sqrt(), x.abs().amax(1), x.abs().mean(1)  # (B,) each
    z = x * _inverse(rms)[:, None]
    power = torch.fft.rfft(x).abs().square()[:, 1:]  # (B, N // 2), without the mean's own bin
    in_band = torch.stack([band.sum(1) for band in power.tensor_split(bands, dim=1)], dim=1)  # (B, bands)
    time_domain = [
        rms,
        x.amax(1) - x.amin(1),
        peak * _inverse(rms),
        rms * _inverse(magnitude),
        peak * _inverse(magnitude),
        z.pow(3).mean(1),
        z.pow(4).mean(1),
    ]
    return torch.cat([torch.stack(time_domain, dim=1), in_band * _inverse(in_band.sum(1))[:, None]], dim=1)


def statistic_names(bands: int = 8) -> tuple[str, ...]:
    """The names of the columns of `signal_statistics`."""
    return (*STATISTICS, *(f"band {band + 1} of {bands}" for band in range(bands)))


def spectrum(signals: Tensor) -> Tensor:
    """|FFT| of each signal, standardized: the trivial rival, (B, N) -> (B, N // 2 + 1).

    Bin k is k / N cycles a sample. A circular shift turns the phases alone, and standardizing takes out scale (of
    either sign) and offset, so that all three leave the features as they are, without anything being learned. Bin 0 is
    the mean, hence 0; by Parseval the squares of all N bins, k and N - k, add up to N^2. A constant signal has 0
    throughout. Raises ValueError unless signals are a finite matrix of floating-point numbers.
    """
    _require_signals(signals)
    return torch.fft.rfft(standardize(signals)).abs()


def band_spectrum(signals: Tensor, bands: int) -> Tensor:
    """log of the mean power of each standardized signal in equal bands, a coarser rival, (B, N) -> (B, bands).

    The bands go from 0, without the mean, to half the sampling rate, as in `signal_statistics`. Power is |FFT|^2 / N,
    so that white noise has about 0 in each band whatever the length N, and windows of any length give features that can
    be compared, each for its own share of the sampling rate. What is below 1e-8 of the mean power counts as 1e-8. As
    `spectrum`, it does not change with circular shifts, scale and offset.
    Raises ValueError as `signal_statistics` does.
    """
    _require_signals(signals)
    _require_bands(bands, signals.shape[1])
    power = spectrum(signals)[:, 1:].square() / signals.shape[1]  # (B, N // 2)
    mean = torch.stack([band.mean(1) for band in power.tensor_split(bands, dim=1)], dim=1)  # (B, bands)
    return mean.clamp(min=SILENCE).log()


def _require_signals(signals: Tensor) -> None:
    if signals.dim() != 2 or not signals.is_floating_point() or not len(signals) or not signals.isfinite().all():
        raise ValueError(f"signals must be a finite float matrix (B, N), got {signals.dtype} {tuple(signals.shape)}")


def _require_bands(bands: int, points: int) -> None:
    if not 1 <= bands <= points // 2:
        raise ValueError(f"{points} points give 1 to {points // 2} bands, got {bands}")


def _inverse(x: Tensor) -> Tensor:
    """1 / x, and 0 where x is 0: a signal that is nowhere has no shape."""
    return torch.where(x == 0, 0.0, 1 / x.masked_fill(x == 0, 1.0))
