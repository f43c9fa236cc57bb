"""NSAE-LCN: the features of 4,000 windows (under a second is promised), and the time to learn rows beside FastICA."""

from __future__ import annotations

import warnings

import pytest
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

import labkit.data
from labkit.lab.training import fit
from labkit.papers.nsae_lcn import (
    NormalizedSparseAutoencoder,
    convolution_features,
    draw_segments,
    local_features,
    nsae_cost,
    row_similarity,
    standardize,
)

WINDOWS, LENGTH, SEGMENT, UNITS, STRIDE = 4_000, 1_200, 100, 100, 10
pytestmark = pytest.mark.usefixtures("two_threads")
seconds: dict[str, float] = {}  # what was done: the fastest round


@pytest.fixture(scope="module")
def windows() -> Tensor:
    cut = labkit.data.cut_windows(labkit.data.load("bearings").select(sampling_rate=12_000), LENGTH, stride=300)
    return standardize(cut.signals[:WINDOWS])


@pytest.fixture(scope="module")
def segments(windows) -> Tensor:
    return draw_segments(windows, SEGMENT, 20_000, torch.Generator().manual_seed(0), stride=7)


def learn_rows(segments: Tensor, epochs: int = 8) -> NormalizedSparseAutoencoder:
    model = NormalizedSparseAutoencoder(SEGMENT, UNITS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    settings = {"epochs": epochs, "batch_size": 256, "generator": generator, "lr": 2e-3}
    fit(model, lambda model, x, generator: nsae_cost(model.weight, x, 0.5, 1.0), segments, **settings)
    return model


@pytest.mark.parametrize("features", [local_features, convolution_features], ids=lambda features: features.__name__)
def test_features_of_4000_windows(benchmark, capsys, windows, features) -> None:
    W = torch.randn(UNITS, SEGMENT, generator=torch.Generator().manual_seed(0))
    found = benchmark.pedantic(features, (windows, W, STRIDE), rounds=3, warmup_rounds=1)
    assert found.shape == (WINDOWS, UNITS)
    with capsys.disabled():
        print(f"\n{features.__name__}: {WINDOWS} windows in {benchmark.stats.stats.min:.2f} s")


def test_learning_rows_by_nsae(benchmark, segments) -> None:
    learn_rows(segments[:256], epochs=1)  # an optimizer's first step in a process imports for seconds
    model = benchmark.pedantic(learn_rows, (segments,), rounds=2)
    seconds["NSAE"] = benchmark.stats.stats.min
    benchmark.extra_info["row similarity"] = row_similarity(model.weight.detach()).item()


def test_learning_rows_by_fast_ica(benchmark, capsys, segments) -> None:
    def learn() -> FastICA:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return FastICA(UNITS, whiten="unit-variance", max_iter=200, random_state=0).fit(segments.numpy())

    ica = benchmark.pedantic(learn, rounds=1)
    rows = torch.from_numpy(ica.components_)
    benchmark.extra_info |= {"row similarity": row_similarity(rows).item(), "iterations": int(ica.n_iter_)}
    assert "NSAE" in seconds, "nothing to compare with: run this file as a whole"
    ratio = benchmark.stats.stats.min / seconds["NSAE"]
    with capsys.disabled():
        print(f"\nrows from {len(segments)} segments: NSAE {seconds['NSAE']:.2f} s, FastICA {ratio:.2f} times that")
