"""The training loop: what it refuses, what it promises to a loss, and that an interruption leaves no trace."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
import torch
from tensors import normal, seeded
from torch import Tensor, nn
from torch.optim import lr_scheduler

from labkit.lab import checkpoint as checkpoints
from labkit.lab.checkpoint import load, save
from labkit.lab.training import History, fit, fit_drawn, in_stretches, settled

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


def test_the_schedule_of_another_optimizer_is_refused() -> None:
    model = network()
    schedule = lr_scheduler.StepLR(momentum(model), 1)
    for optimizer in (None, momentum(model)):
        with pytest.raises(ValueError, match="the schedule belongs to another optimizer: pass the one"):
            train(model, optimizer=optimizer, schedule=schedule)


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


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def test_a_schedule_is_stepped_after_every_batch_also_over_several_calls() -> None:
    model, rates = network(), []
    optimizer = momentum(model)

    def loss(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        return noisy_error(model, x, generator)

    schedule = lr_scheduler.MultiStepLR(optimizer, [2, 4, 10])
    for epochs in (1, 1, 2):  # of three batches
        train(model, loss=loss, epochs=epochs, optimizer=optimizer, schedule=schedule)
    assert rates == pytest.approx([1e-2] * 2 + [1e-3] * 2 + [1e-4] * 6 + [1e-5] * 2)


def test_a_schedule_does_what_a_hook_of_the_optimizer_would_do() -> None:
    models = network(), network()
    for model, by_hook in zip(models, (True, False), strict=True):
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.5)
        schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3 * 3 + 1)
        if by_hook:
            optimizer.register_step_post_hook(lambda *_, schedule=schedule: schedule.step())
        for seed in range(3):
            train(model, epochs=1, seed=seed, optimizer=optimizer, schedule=None if by_hook else schedule)
    assert torch.equal(*map(weights, models))


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


def test_a_training_stops_where_it_is_told_to_and_is_until_there_the_same() -> None:
    asked = []

    def stop(history: History) -> bool:
        asked.append(list(history["loss"]))
        return len(history["loss"]) == 3

    model, whole = network(), network()
    history = train(model, stop=stop)
    assert history == {"loss": train(whole, epochs=3)["loss"]}
    assert torch.equal(weights(model), weights(whole))
    assert [len(losses) for losses in asked] == [1, 2, 3]
    assert not model.training


def test_a_stopped_training_that_is_called_again_does_not_go_on(checkpoint) -> None:
    def settled_at_once(history: History) -> bool:
        return len(history["loss"]) == 2

    model, again = network(), network(seed=5)
    history = train(model, stop=settled_at_once, checkpoint=checkpoint)
    assert train(again, stop=settled_at_once, checkpoint=checkpoint) == history
    assert torch.equal(weights(again), weights(model))


@pytest.mark.parametrize(
    ("losses", "over", "expected"),
    [
        ([8.0], 1, False),
        ([8.0, 4.0], 1, False),
        ([8.0, 7.0], 1, False),
        ([8.0, 7.5], 1, True),
        ([8.0, 9.0], 1, True),
        ([-8.0, -8.5], 1, True),
        ([-8.0, -12.0], 1, False),
        ([8.0, 7.5], 2, False),
        ([8.0, 7.5, 7.3], 2, True),
        ([8.0, 7.5, 6.9], 2, False),
    ],
)
def test_a_training_has_settled_when_the_loss_falls_by_less_than_a_share(losses, over: int, expected: bool) -> None:
    assert settled(0.1, over)({"loss": losses}) is expected


@pytest.mark.parametrize(("share", "over"), [(0, 1), (-0.1, 1), (math.nan, 1), (0.1, 0)])
def test_settling_asks_for_a_share_and_an_epoch(share: float, over: int) -> None:
    with pytest.raises(ValueError, match="share above 0 and at least 1 epoch"):
        settled(share, over)


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
    bar, error = capsys.readouterr()
    assert ("training the VAE: 100%" in bar and "6/6" in bar) if watched else bar == ""
    assert error == "", "what is said there stands on red in JupyterLab"


# ---- data that are drawn anew ---------------------------------------------------------------------------------------


def train_drawn(model: nn.Module, draw: Callable[[int], tuple[Tensor, ...]], **options) -> History:
    given = {"loss": noisy_error, "epochs": 3, "batch_size": 8, "generator": seeded(1), "lr": 0.05} | options
    return fit_drawn(model, given.pop("loss"), draw, **given)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_of_the_same_data_each_epoch_it_makes_what_fit_makes_in_one_cycle(decay: float) -> None:
    drawn, fitted = network(), network()
    history = train_drawn(drawn, lambda _: (data(),), weight_decay=decay)
    optimizer = torch.optim.AdamW(fitted.parameters(), lr=0.05, weight_decay=decay, fused=True)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=3 * 3 + 1)
    assert history == train(fitted, epochs=3, optimizer=optimizer, schedule=schedule)
    assert torch.equal(weights(drawn), weights(fitted))


def test_each_epoch_draws_once_and_sees_what_it_drew_and_no_more() -> None:
    drawn, seen = [], []

    def draw(epoch: int) -> tuple[Tensor, Tensor]:
        drawn.append(epoch)
        return torch.arange(10.0)[:, None] + 100 * epoch, torch.arange(10) + 100 * epoch

    def loss(model: nn.Module, x: Tensor, labels: Tensor, _: torch.Generator) -> Tensor:
        assert torch.equal(x[:, 0].long(), labels)
        seen.append(labels.tolist())
        return model(x).mean()

    train_drawn(nn.Linear(1, 1), draw, loss=loss, batch_size=4)
    assert drawn == [0, 1, 2]
    assert [len(batch) for batch in seen] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(chain(*seen[3 * epoch : 3 * epoch + 3])) == [100 * epoch + i for i in range(10)]


def test_after_each_epoch_it_hands_over_the_model_in_evaluation_mode_and_goes_on_in_training_mode() -> None:
    model, order = network(), []

    def draw(epoch: int) -> tuple[Tensor]:
        order.append(f"draw {epoch}")
        return (data(),)

    def loss(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        assert model.training
        order.append("loss")
        return noisy_error(model, x, generator)

    def after(given: nn.Module) -> None:
        assert given is model
        assert not given.training
        order.append("after")

    history = train_drawn(model, draw, loss=loss, after=after, epochs=2)
    assert order == ["draw 0", *["loss"] * 3, "after", "draw 1", *["loss"] * 3, "after"]
    assert list(history) == ["loss"]
    assert len(history["loss"]) == 2


def test_what_only_looks_at_the_model_after_each_epoch_changes_nothing() -> None:
    looked, alone, kept = network(), network(), []
    train_drawn(looked, lambda _: (data(),), after=lambda model: kept.append(weights(model)))
    train_drawn(alone, lambda _: (data(),))
    assert torch.equal(weights(looked), weights(alone))
    assert len(kept) == 3
    assert torch.equal(kept[-1], weights(looked))
    assert not torch.equal(kept[0], kept[1])


def test_step_sizes_rise_for_three_tenths_of_the_steps_and_end_near_0(monkeypatch) -> None:
    rates, made = [], torch.optim.AdamW

    def watched(*args: Any, **options: Any) -> torch.optim.Optimizer:
        optimizer = made(*args, **options)
        optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr(torch.optim, "AdamW", watched)
    train_drawn(network(), lambda _: (data(),), epochs=10)
    assert len(rates) == 10 * 3
    largest = rates.index(max(rates))
    assert largest in (8, 9)
    assert rates[largest] == pytest.approx(0.05, rel=0.01)
    assert rates[: largest + 1] == sorted(rates[: largest + 1])
    assert rates[largest:] == sorted(rates[largest:], reverse=True)
    assert rates[-1] < 0.01 * 0.05


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 1), (-1, 1), (1, 0), (1, -4)])
def test_nothing_is_drawn_for_no_epochs_or_batches(epochs: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, got {epochs} and {batch_size}"):
        train_drawn(network(), pytest.fail, epochs=epochs, batch_size=batch_size)


@pytest.mark.parametrize("tensors", [(torch.zeros(0, 3),), (torch.zeros(4, 3), torch.zeros(5))])
def test_what_is_drawn_is_refused_as_by_fit(tensors: tuple[Tensor, ...]) -> None:
    with pytest.raises(ValueError, match="tensors of one common, non-zero length"):
        train_drawn(network(), lambda _: tensors)


# ---- checkpoints ----------------------------------------------------------------------------------------------------

EPOCHS, BATCHES = 6, 18
STEPS = 4 * EPOCHS  # of an epoch: three batches and an evaluation


def normalized(seed: int = 0) -> nn.Module:
    """With buffers: running means and variances, and a count of batches."""
    start = network(seed)
    return nn.Sequential(start[0], nn.BatchNorm1d(4), *start[1:])


def in_bfloat16(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x + 0.1 * torch.randn(x.shape, generator=generator))
    assert y.dtype == torch.bfloat16
    return (y.float() - x).square().sum(1).mean()


def scheduled(optimizer: torch.optim.Optimizer, make: Callable, *args: Any, **options: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "schedule": make(optimizer, *args, **options)}


def warm_up_and_decay(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    parts = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(optimizer, BATCHES)
    return lr_scheduler.SequentialLR(optimizer, [*parts], milestones=[4])


WAYS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {  # from a model to options of `fit`
    "Adam": lambda _: {},  # what `fit` takes by itself
    "momentum": lambda model: {"optimizer": momentum(model)},
    "Adagrad": lambda model: {"optimizer": torch.optim.Adagrad(model.parameters(), lr=0.1)},
    "AMSGrad": lambda model: {"optimizer": torch.optim.AdamW(model.parameters(), amsgrad=True)},
    "one cycle": lambda model: scheduled(
        torch.optim.Adam(model.parameters()), lr_scheduler.OneCycleLR, 0.1, total_steps=BATCHES + 1
    ),
    "steps": lambda model: scheduled(momentum(model), lr_scheduler.MultiStepLR, [4, 4, 11]),
    "warm-up": lambda model: scheduled(momentum(model), warm_up_and_decay),
    "bfloat16": lambda model: {"loss": in_bfloat16, "optimizer": momentum(model)},
}
all_ways = pytest.mark.parametrize("way", WAYS)


class Stopped(Exception):
    """Stands for a lost machine."""


def stop() -> None:
    raise Stopped


def train_on(
    checkpoint: Path | None, way: str = "Adam", *, until: int = STEPS, stop: Callable[[], None] = stop
) -> tuple[History, dict[str, Tensor]]:
    """Train as a new process would, until step `until`, counted from 0; there, `stop`.

    Where there is a checkpoint, initial weights and the seed are others than at first: it must replace both.
    """
    resumes = checkpoint is not None and checkpoint.exists()
    model, seed, steps = normalized(5 if resumes else 0), 99 if resumes else 1, count()
    options = WAYS[way](model)
    loss = options.pop("loss", noisy_error)

    def step() -> None:
        if next(steps) == until:
            stop()

    def stoppable(*args: Any) -> Tensor:
        step()
        return loss(*args)

    def evaluate() -> dict[str, float]:
        step()
        return {"error": (model(data()) - data()).square().mean().item()}

    history = train(model, loss=stoppable, seed=seed, evaluate=evaluate, checkpoint=checkpoint, **options)
    return history, model.state_dict()


def assert_ends_as_if_nothing_had_happened(checkpoint: Path, way: str = "Adam") -> None:
    history, state = train_on(checkpoint, way)
    expected_history, expected = train_on(None, way)
    assert history == expected_history
    assert len(set(history["loss"])) == len(set(history["error"])) == EPOCHS
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return tmp_path / "checkpoints" / "vae.safetensors"


@all_ways
@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 10, 15, STEPS - 2, STEPS - 1])
def test_a_training_that_was_stopped_anywhere_ends_bit_for_bit_as_if_it_had_not_been(
    checkpoint, way: str, step: int
) -> None:
    with pytest.raises(Stopped):
        train_on(checkpoint, way, until=step)
    assert checkpoint.exists() == (step >= 4)
    assert_ends_as_if_nothing_had_happened(checkpoint, way)


@all_ways
def test_so_does_one_that_is_stopped_again_and_again(checkpoint, way: str) -> None:
    for epoch in range(1, EPOCHS):  # each time one epoch is done, and a batch of the next
        with pytest.raises(Stopped):
            train_on(checkpoint, way, until=5)
        assert len(load(checkpoint)["history"]["loss"]) == epoch
    assert_ends_as_if_nothing_had_happened(checkpoint, way)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(checkpoint: Path) -> None:
    torch.set_num_threads(1)
    train_on(checkpoint, "one cycle", until=13, stop=kill)


def test_so_does_one_whose_process_is_killed(checkpoint) -> None:
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed, args=(checkpoint,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert len(load(checkpoint)["history"]["loss"]) == 3
    assert_ends_as_if_nothing_had_happened(checkpoint, "one cycle")


def write_half(file: int) -> None:
    os.truncate(file, os.fstat(file).st_size // 2)
    raise Stopped


def rename_nothing(*_: object) -> None:
    raise Stopped


@pytest.mark.parametrize(
    ("owner", "step", "fails"), [(checkpoints.os, "fsync", write_half), (Path, "replace", rename_nothing)]
)
@pytest.mark.parametrize("saved", [0, 2, EPOCHS - 1])
def test_so_does_one_that_is_stopped_while_it_saves_a_checkpoint(
    checkpoint, monkeypatch, owner: Any, step: str, fails: Callable, saved: int
) -> None:
    """While it writes the file, or before the new one has its name."""
    calls, real = count(), getattr(owner, step)
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, lambda *args: (fails if next(calls) == saved else real)(*args))
        with pytest.raises(Stopped):
            train_on(checkpoint)
    if saved:
        assert len(load(checkpoint)["history"]["loss"]) == saved
    assert_ends_as_if_nothing_had_happened(checkpoint)
    assert [*checkpoint.parent.iterdir()] == [checkpoint]


def test_a_network_whose_channels_lie_last_goes_on_as_if_it_had_not_been_stopped(checkpoint) -> None:
    """The file keeps no strides, and a fused step needs those of the weights."""

    images = normal(16, 3, 8, 8, dtype=torch.float32)

    def kernels(epochs: int, checkpoint: Path | None) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 1))
        model.to(memory_format=torch.channels_last)
        settings = {"epochs": epochs, "batch_size": 8, "generator": seeded(0), "checkpoint": checkpoint}
        fit(model, lambda net, x, _: net(x).square().mean(), images, **settings)
        return model[0].weight.detach()

    kernels(1, checkpoint)
    assert torch.equal(kernels(2, checkpoint), kernels(2, None))


def test_more_epochs_can_be_asked_for_later(checkpoint) -> None:
    model, more = network(), network(seed=5)
    train(model, epochs=4, checkpoint=checkpoint)
    history = train(more, seed=99, checkpoint=checkpoint)
    assert train(expected := network()) == history
    assert torch.equal(weights(more), weights(expected))


def test_a_training_that_is_finished_is_only_loaded(checkpoint) -> None:
    model = network()
    history = train(model, checkpoint=checkpoint)
    again = network(seed=5)

    def never(*_: object) -> Tensor:
        raise AssertionError("there is nothing left to train")

    assert train(again, loss=never, checkpoint=checkpoint) == history
    assert torch.equal(weights(again), weights(model))
    assert not again.training


@all_ways
def test_a_checkpoint_changes_nothing_in_the_training_and_leaves_one_file(checkpoint, way: str) -> None:
    assert_ends_as_if_nothing_had_happened(checkpoint, way)
    assert [*checkpoint.parent.iterdir()] == [checkpoint]


def test_an_epoch_that_failed_is_not_kept(checkpoint) -> None:
    calls = []

    def explodes(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(None)
        last = len(calls) == 9  # batch of the third epoch: no later one is there to turn it into NaN
        return noisy_error(model, x, generator) * (math.inf if last else 1)

    with pytest.raises(ValueError, match="in epoch 3"):
        train(network(), loss=explodes, checkpoint=checkpoint)
    state = load(checkpoint)
    assert len(state["history"]["loss"]) == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


@pytest.mark.parametrize(("first", "then"), [("momentum", "steps"), ("steps", "momentum")])
def test_a_checkpoint_with_a_schedule_does_not_pass_for_one_without(checkpoint, first: str, then: str) -> None:
    train_on(checkpoint, first)
    with pytest.raises(ValueError, match=r"vae\.safetensors is of another training, not of one with model and"):
        train_on(checkpoint, then)


@pytest.mark.parametrize("state", [{"model": {}}, [1, 2], None], ids=str)
def test_a_file_that_holds_something_else_is_refused(checkpoint, state: Any) -> None:
    save(checkpoint, state)
    with pytest.raises(ValueError, match="is of another training"):
        train_on(checkpoint)


def test_a_damaged_checkpoint_is_refused(checkpoint) -> None:
    train_on(checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged, or no checkpoint"):
        train_on(checkpoint)


# ---- what is trained in stretches -----------------------------------------------------------------------------------


class Counter:
    """Adds up what it is told, and keeps the sum in a tensor."""

    def __init__(self) -> None:
        self.sum = torch.zeros(1)

    def add(self, stop: int) -> None:
        self.sum += stop

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sum = state["sum"]


def test_stretches_follow_one_another_and_need_no_checkpoint() -> None:
    counter, seen = Counter(), []
    in_stretches(seen.append, counter, [10, 20, 30])
    assert seen == [10, 20, 30]


def test_a_second_call_goes_on_behind_the_last_stretch_that_was_kept(tmp_path: Path) -> None:
    def interrupted(stop: int) -> None:
        if stop == 100:
            raise KeyboardInterrupt
        first.add(stop)

    first, second, seen = Counter(), Counter(), []
    with pytest.raises(KeyboardInterrupt):
        in_stretches(interrupted, first, [1, 10, 100, 1000], tmp_path / "kept")

    def work(stop: int) -> None:
        seen.append(stop)
        second.add(stop)

    in_stretches(work, second, [1, 10, 100, 1000], tmp_path / "kept")
    assert seen == [100, 1000]
    assert second.sum.item() == 1111
    in_stretches(pytest.fail, Counter(), [1, 10, 100, 1000], tmp_path / "kept")  # nothing is left to do


def test_stretches_refuse_the_checkpoint_of_another_training(tmp_path: Path) -> None:
    in_stretches(Counter().add, Counter(), [1, 2], tmp_path / "kept")
    with pytest.raises(ValueError, match="the checkpoint of another training"):
        in_stretches(Counter().add, Counter(), [1, 3], tmp_path / "kept")
    save(tmp_path / "other", {"weights": torch.zeros(2)})
    with pytest.raises(ValueError, match="the checkpoint of another training"):
        in_stretches(Counter().add, Counter(), [1, 3], tmp_path / "other")


@pytest.mark.parametrize("lengths", [(8, 16), (16, 8)])
def test_data_that_are_drawn_must_be_equally_many_in_each_epoch(lengths: tuple[int, int]) -> None:
    model = nn.Linear(2, 1)
    options = {"epochs": 2, "batch_size": 4, "generator": torch.Generator(), "lr": 0.1}
    with pytest.raises(ValueError, match="equally many"):
        fit_drawn(model, lambda m, x, _: m(x).mean(), lambda epoch: (torch.ones(lengths[epoch], 2),), **options)


def test_drawing_nothing_is_refused() -> None:
    options = {"epochs": 1, "batch_size": 4, "generator": torch.Generator(), "lr": 0.1}
    with pytest.raises(ValueError, match="tensors of one common, non-zero length"):
        fit_drawn(nn.Linear(2, 1), lambda m, x, _: m(x).mean(), lambda epoch: (), **options)


def test_a_loss_that_is_not_finite_is_reported_with_the_epoch_in_which_it_was() -> None:
    options = {"epochs": 4, "batch_size": 4, "generator": torch.Generator(), "lr": 0.1}
    bad = lambda epoch: (torch.full((8, 2), math.nan if epoch == 2 else 1.0),)  # noqa: E731
    with pytest.raises(ValueError, match="nan in epoch 3"):
        fit_drawn(nn.Linear(2, 1), lambda m, x, _: m(x).mean(), bad, **options)
