"""The training loop: what it refuses, what it promises to a loss, and that an interruption leaves no trace."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
from tensors import seeded
from torch import Tensor, nn

from labkit.lab import training
from labkit.lab.training import fit

History = dict[str, list[float]]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _without_progress_bars(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")


def data(size: int = 20) -> Tensor:
    return torch.randn(size, 3, generator=seeded(7))


def network(seed: int = 0) -> nn.Module:
    """With weights from a generator of its own."""
    model, generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=generator)
    return model


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def noisy_error(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """A loss that draws from the generator, as a VAE's does."""
    return (model(x + 0.1 * torch.randn(x.shape, generator=generator)) - x).square().sum(1).mean()


def train(model: nn.Module, *, loss: Callable = noisy_error, seed: int = 1, epochs: int = 6, **options) -> History:
    return fit(model, loss, data(), epochs=epochs, batch_size=8, generator=seeded(seed), **options)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "lengths"),
    [((), []), ((torch.zeros(0, 3),), [0]), ((torch.zeros(4, 3), torch.zeros(5)), [4, 5])],
    ids=["nothing", "no images", "unequal lengths"],
)
def test_data_that_are_empty_or_do_not_belong_together_are_refused(tensors: tuple, lengths: list) -> None:
    with pytest.raises(ValueError, match=re.escape(f"tensors of one common, non-zero length, got {lengths}")):
        fit(network(), noisy_error, *tensors, epochs=1, batch_size=1, generator=seeded())


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 1), (-1, 1), (1, 0), (1, -4)])
def test_epochs_and_batch_size_must_be_at_least_one(epochs: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, got {epochs} and {batch_size}"):
        fit(network(), noisy_error, data(), epochs=epochs, batch_size=batch_size, generator=seeded())


def test_a_loss_that_is_not_finite_stops_the_training_and_says_when_and_what_to_do() -> None:
    calls = []

    def explodes(model: nn.Module, x: Tensor, _: torch.Generator) -> Tensor:
        calls.append(len(x))
        return (model(x) * (math.nan if len(calls) == 5 else 1)).mean()  # in the second epoch of three batches

    with pytest.raises(ValueError, match=r"^the loss is nan in epoch 2: lower the learning rate or check the loss"):
        train(network(), loss=explodes)


# ---- what a loss can rely on ----------------------------------------------------------------------------------------


def test_every_epoch_sees_every_image_once_in_another_order_and_tensors_stay_together() -> None:
    x, labels, seen = torch.arange(10.0)[:, None], torch.arange(10), []

    def loss(model: nn.Module, x: Tensor, labels: Tensor, _: torch.Generator) -> Tensor:
        assert torch.equal(x[:, 0].long(), labels)
        seen.append(labels.tolist())
        return model(x).mean()

    fit(nn.Linear(1, 1), loss, x, labels, epochs=2, batch_size=4, generator=seeded())
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = [*chain(*seen[:3])], [*chain(*seen[3:])]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_recorded_loss_is_the_mean_over_images_though_the_last_batch_is_smaller() -> None:
    model, x = network(), data(10)
    mean = model(x).square().sum(1).mean().item()
    history = fit(
        model,
        lambda model, x, _: model(x).square().sum(1).mean(),
        x,
        epochs=2,
        batch_size=4,
        generator=seeded(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
    )
    assert history == {"loss": pytest.approx([mean, mean])}


def test_the_loss_is_minimised() -> None:
    model, target = nn.Linear(3, 1), torch.tensor([1.0, -2.0, 0.5])
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()
    x = data(64)
    history = fit(
        model,
        lambda model, x, y, _: (model(x)[:, 0] - y).square().mean(),
        x,
        x @ target + 3,
        epochs=80,
        batch_size=16,
        lr=0.05,
        generator=seeded(),
    )
    assert history["loss"][-1] < 1e-4 < history["loss"][0]
    torch.testing.assert_close(model.weight[0], target, atol=0.01, rtol=0)


def test_training_is_in_training_mode_and_evaluation_is_not() -> None:
    model, modes = network(), []

    def loss(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        modes.append(("loss", model.training, torch.is_grad_enabled()))
        return noisy_error(model, x, generator)

    def evaluate() -> dict[str, float]:
        modes.append(("evaluate", model.training, torch.is_grad_enabled()))
        return {}

    model.eval()
    train(model, loss=loss, evaluate=evaluate, epochs=2)
    assert modes == ([("loss", True, True)] * 3 + [("evaluate", False, False)]) * 2
    assert not model.training


def test_what_evaluate_returns_after_each_epoch_is_the_history() -> None:
    model, after = network(), []

    def evaluate() -> dict[str, float]:
        after.append(weights(model))
        return {"norm": weights(model).norm().item(), "epoch": float(len(after))}

    history = train(model, evaluate=evaluate, epochs=3)
    assert set(history) == {"loss", "norm", "epoch"}
    assert history["epoch"] == [1.0, 2.0, 3.0]
    assert history["norm"] == [one.norm().item() for one in after]
    assert len(set(history["norm"])) == len(set(history["loss"])) == 3


def test_the_same_seed_gives_the_same_history_and_weights_and_another_seed_others() -> None:
    models = [network() for _ in range(3)]
    first, again, other = (train(model, seed=seed) for model, seed in zip(models, (1, 1, 2), strict=True))
    assert first == again != other
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_training_draws_nothing_from_the_global_generator() -> None:
    model, state = network(), torch.get_rng_state()
    train(model)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("value", "watched"), [(None, True), ("", True), ("0", True), ("1", False), ("yes", False)])
def test_a_progress_bar_is_shown_unless_nobody_watches(monkeypatch, capsys, value: str | None, watched: bool) -> None:
    monkeypatch.delenv("LABKIT_BATCH")
    if value is not None:
        monkeypatch.setenv("LABKIT_BATCH", value)
    train(network(), label="training the VAE")
    out, bar = capsys.readouterr()
    assert ("training the VAE: 100%" in bar and "6/6" in bar) if watched else bar == ""
    assert out == ""


# ---- checkpoints ----------------------------------------------------------------------------------------------------


def adam(_: nn.Module) -> None:
    return None  # what `fit` takes by itself


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def adagrad(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(model.parameters(), lr=0.1)


class Stopped(Exception):
    """Stands for a lost machine."""


def measured(model: nn.Module, *, stop_after: int = 100) -> Callable[[], dict[str, float]]:
    """An `evaluate` for `fit` that fails in the given epoch."""
    calls = []

    def evaluate() -> dict[str, float]:
        calls.append(None)
        if len(calls) == stop_after:
            raise Stopped
        return {"error": (model(data()) - data()).square().mean().item()}

    return evaluate


def uninterrupted(make_optimizer: Callable = adam) -> tuple[History, Tensor]:
    model = network()
    history = train(model, optimizer=make_optimizer(model), evaluate=measured(model))
    return history, weights(model)


def resumed(checkpoint: Path, make_optimizer: Callable = adam) -> tuple[History, Tensor]:
    """As a new process would go on: other initial weights and another seed, until the checkpoint replaces both."""
    model = network(seed=5)
    optimizer = make_optimizer(model)
    history = train(model, seed=99, optimizer=optimizer, evaluate=measured(model), checkpoint=checkpoint)
    return history, weights(model)


@pytest.mark.parametrize("make_optimizer", [adam, momentum, adagrad])
@pytest.mark.parametrize("epoch", [2, 4])
def test_a_training_that_was_interrupted_ends_bit_for_bit_as_if_it_had_not_been(
    tmp_path, make_optimizer: Callable, epoch: int
) -> None:
    checkpoint, model = tmp_path / "checkpoints" / "vae.pt", network()
    interrupted = measured(model, stop_after=epoch)
    with pytest.raises(Stopped):
        train(model, optimizer=make_optimizer(model), evaluate=interrupted, checkpoint=checkpoint)
    history, after = resumed(checkpoint, make_optimizer)
    expected_history, expected = uninterrupted(make_optimizer)
    assert history == expected_history
    assert torch.equal(after, expected)


def test_more_epochs_can_be_asked_for_later(tmp_path) -> None:
    model = network()
    train(model, epochs=4, evaluate=measured(model), checkpoint=tmp_path / "vae.pt")
    history, after = resumed(tmp_path / "vae.pt")
    expected_history, expected = uninterrupted()
    assert history == expected_history
    assert torch.equal(after, expected)


def test_a_training_that_is_finished_is_only_loaded(tmp_path) -> None:
    model = network()
    history = train(model, checkpoint=tmp_path / "vae.pt")
    again = network(seed=5)

    def never(*_: object) -> Tensor:
        raise AssertionError("there is nothing left to train")

    assert train(again, loss=never, checkpoint=tmp_path / "vae.pt") == history
    assert torch.equal(weights(again), weights(model))
    assert not again.training


def test_a_checkpoint_changes_nothing_in_the_training_and_leaves_one_file(tmp_path) -> None:
    plain, kept = network(), network()
    assert train(plain) == train(kept, checkpoint=tmp_path / "vae.pt")
    assert torch.equal(weights(plain), weights(kept))
    assert [path.name for path in tmp_path.iterdir()] == ["vae.pt"]


def test_a_write_that_is_interrupted_leaves_the_checkpoint_before_it_whole(tmp_path, monkeypatch) -> None:
    checkpoint, written = tmp_path / "vae.pt", []

    def dies_the_third_time(state: dict, path: Path) -> None:
        written.append(path)
        if len(written) == 3:
            Path(path).write_bytes(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(state, path)

    save = torch.save
    monkeypatch.setattr(training.torch, "save", dies_the_third_time)
    model = network()
    with pytest.raises(OSError, match="No space left on device"):
        train(model, evaluate=measured(model), checkpoint=checkpoint)
    assert len(torch.load(checkpoint, weights_only=True)["history"]["loss"]) == 2
    monkeypatch.setattr(training.torch, "save", save)
    history, after = resumed(checkpoint)
    expected_history, expected = uninterrupted()
    assert history == expected_history
    assert torch.equal(after, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["vae.pt"]


def test_an_epoch_that_failed_is_not_kept(tmp_path) -> None:
    calls = []

    def explodes(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(None)
        last = len(calls) == 9  # batch of the third epoch: no later one is there to turn it into NaN
        return noisy_error(model, x, generator) * (math.inf if last else 1)

    with pytest.raises(ValueError, match="in epoch 3"):
        train(network(), loss=explodes, checkpoint=tmp_path / "vae.pt")
    state = torch.load(tmp_path / "vae.pt", weights_only=True)
    assert len(state["history"]["loss"]) == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
