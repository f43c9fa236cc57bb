"""A sparse autoencoder beside scikit-learn's dictionary learning: time to learn, time to code, and the cost reached.

Both minimise 1/2 |x - D h|^2 + lambda |h|_1 over unit atoms and codes that are not negative, on the same whitened
patches of photographs. The autoencoder codes by one pass through its encoder, scikit-learn by a lasso for each patch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

import labkit.data
from labkit.papers.image_patches import zca_whitening
from labkit.papers.sparse_autoencoders import (
    SparseAutoencoder,
    l1_penalty,
    normalize_decoder_,
    objective,
    squared_error,
)

SIDE, ATOMS, PRICE = 12, 256, 1.5
TRAIN, HELD_OUT = 10_000, 1_000
STEPS, BATCH, LR = 2500, 128, 5e-3
KINDS = ("scikit-learn", "autoencoder")

learned: dict[str, SparseAutoencoder | np.ndarray] = {}  # what the first benchmark learned, for the second
seconds: dict[tuple[str, str], float] = {}  # (what was done, by which kind); the fastest round


@dataclass(frozen=True)
class Patches:
    train: Tensor  # (TRAIN, SIDE * SIDE), whitened
    held_out: Tensor  # (HELD_OUT, SIDE * SIDE), whitened by what was fitted to `train`


@pytest.fixture(scope="module")
def patches() -> Patches:
    generator = torch.Generator().manual_seed(0)
    raw = labkit.data.load("photos").patches(SIDE, TRAIN + HELD_OUT, generator)
    train, held_out = raw[torch.randperm(len(raw), generator=generator)].split([TRAIN, HELD_OUT])
    whiten = zca_whitening(train)
    return Patches(whiten(train), whiten(held_out))


@pytest.fixture(autouse=True, scope="module")
def _imports_are_not_measured(patches) -> None:
    """An optimizer's first step in a process imports for seconds; both kinds are called once on little data."""
    learn_by_autoencoder(patches.train[:BATCH], steps=1)
    code_by_lasso(patches.train[:1], np.eye(SIDE * SIDE, dtype=np.float32))


@pytest.fixture(autouse=True)
def _no_word_about_convergence() -> Iterator[None]:
    """Both stop before they have converged: the cost that they reached is recorded instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def learn_by_autoencoder(x: Tensor, steps: int = STEPS) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(1)
    model = SparseAutoencoder(x.shape[1], ATOMS)
    with torch.no_grad():
        normalize_decoder_(model.decoder.weight.normal_(generator=generator))
        model.encoder.weight.copy_(model.decoder.weight.T)  # a tied start
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    optimizer.register_step_post_hook(lambda *_: normalize_decoder_(model.decoder.weight))
    for _ in range(steps):
        batch = x[torch.randint(len(x), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        objective(model, batch, l1=PRICE).backward()
        optimizer.step()
    return model


def learn_by_scikit_learn(x: Tensor) -> np.ndarray:
    learner = MiniBatchDictionaryLearning(
        ATOMS, alpha=PRICE, batch_size=256, fit_algorithm="cd", positive_code=True, max_iter=1, random_state=1
    )
    return learner.fit(x.numpy()).components_  # (ATOMS, SIDE * SIDE)


def code_by_lasso(x: Tensor, atoms: np.ndarray) -> Tensor:
    found = sparse_encode(x.numpy(), atoms, algorithm="lasso_cd", alpha=PRICE, positive=True)
    return torch.from_numpy(found).to(x.dtype)


@torch.no_grad()
def code(x: Tensor, found: SparseAutoencoder | np.ndarray) -> Tensor:
    return found.encode(x) if isinstance(found, SparseAutoencoder) else code_by_lasso(x, found)


@torch.no_grad()
def cost(x: Tensor, h: Tensor, found: SparseAutoencoder | np.ndarray) -> float:
    """1/2 |x - D h|^2 + lambda |h|_1, averaged over patches."""
    x_hat = found.decode(h) if isinstance(found, SparseAutoencoder) else h @ torch.from_numpy(found).to(x.dtype)
    return (squared_error(x_hat, x).mean() + PRICE * l1_penalty(h)).item()


def learn(kind: str, x: Tensor) -> SparseAutoencoder | np.ndarray:
    learned[kind] = learn_by_autoencoder(x) if kind == "autoencoder" else learn_by_scikit_learn(x)
    return learned[kind]


def note(benchmark, capsys, what: str, kind: str, reached: dict[str, float]) -> None:
    """Record the cost reached, and once both kinds were measured how their times compare; print both."""
    benchmark.extra_info |= {name: round(value, 3) for name, value in reached.items()}
    said = f"{what} by {kind}: " + ", ".join(f"{name} {value:.2f}" for name, value in reached.items())
    if not benchmark.disabled:
        seconds[what, kind] = benchmark.stats.stats.min
        said += f", {seconds[what, kind]:.4g} s"
        if all((what, other) in seconds for other in KINDS):
            ratio = seconds[what, "scikit-learn"] / seconds[what, "autoencoder"]
            benchmark.extra_info["times_faster_than_scikit_learn"] = round(ratio, 2)
            said += f"; the autoencoder is {ratio:.3g} times as fast as scikit-learn"
    with capsys.disabled():
        print(f"\n{said}")


@pytest.mark.benchmark(group="learn a dictionary")
@pytest.mark.parametrize("kind", KINDS)
def test_time_to_learn_a_dictionary(benchmark, capsys, patches, kind):
    found = benchmark.pedantic(learn, (kind, patches.train), rounds=1)
    atoms = found.decoder.weight.detach().T if isinstance(found, SparseAutoencoder) else torch.from_numpy(found)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(ATOMS, dtype=atoms.dtype), atol=1e-3, rtol=0)
    h = code_by_lasso(patches.held_out, atoms.numpy())
    reached = cost(patches.held_out, h, atoms.numpy())
    note(benchmark, capsys, "a dictionary", kind, {"cost with the best codes": reached})


@pytest.mark.benchmark(group="code 1,000 patches")
@pytest.mark.parametrize("kind", KINDS)
def test_time_to_code_a_thousand_patches(benchmark, capsys, patches, kind):
    found = learned[kind] if kind in learned else learn(kind, patches.train)
    h = benchmark.pedantic(code, (patches.held_out, found), rounds=3, warmup_rounds=1)
    assert (h >= 0).all()
    note(benchmark, capsys, "codes", kind, {"cost": cost(patches.held_out, h, found)})
