"""A training loop that a lesson can show in one line: minibatches, progress bar, history, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from labkit.lab import bar
from labkit.lab.checkpoint import load, save

Loss = Callable[..., Tensor]
History = dict[str, list[float]]


def fit(
    model: nn.Module,
    loss: Loss,
    *data: Tensor,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    stop: Callable[[History], bool] | None = None,
    checkpoint: Path | None = None,
    label: str = "",
) -> History:
    """Minimise loss(model, *batch, generator) over shuffled minibatches of `data`, tensors of one first dimension N.

    `loss` returns a scalar, a mean over its batch; the optimizer is Adam with `lr` unless one is given; a `schedule`,
    made with that optimizer, is stepped after every batch. Returns the history: "loss" per epoch, averaged over images,
    and whatever `evaluate()` returned after each epoch. All randomness, of the shuffling and of a loss that samples,
    comes from `generator`. `stop`, asked between two epochs with the history so far, ends the training before `epochs`
    when it says True: `settled` makes such a function.
    With `checkpoint`, a safetensors file, the state is written there after each epoch: model, optimizer, schedule,
    generator, history. A second call goes on from there and ends bit for bit as if the first had not been stopped.
    Raises ValueError for empty or unequal data, a batch or epoch count below one, the schedule of another optimizer, a
    loss that is not finite, or a checkpoint that is damaged or another training's.
    """
    size = _length(data)
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("the schedule belongs to another optimizer: pass the one that it was made with as `optimizer`")
    # Fused: one pass over the memory in place of a dozen, a fifth of the time of a step of a small MLP on one thread.
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    parts = {"model": model, "optimizer": optimizer} | ({} if schedule is None else {"schedule": schedule})
    history: History = {"loss": []}
    if checkpoint is not None and checkpoint.exists():
        history = _restore(checkpoint, parts, generator)

    model.train()
    with bar(epochs, label, initial=min(epochs, len(history["loss"]))) as progress:
        for epoch in range(len(history["loss"]), epochs):
            if stop is not None and epoch > 0 and stop(history):
                break
            history["loss"].append(_epoch(model, loss, data, size, batch_size, generator, optimizer, schedule, epoch))
            if evaluate is not None:
                model.eval()
                with torch.no_grad():
                    measured = evaluate()
                model.train()
                for name, value in measured.items():
                    history.setdefault(name, []).append(value)
            if checkpoint is not None:
                _save(checkpoint, parts, generator, history)
            progress.set_postfix(loss=f"{history['loss'][-1]:.4g}", refresh=False)
            progress.update()
    model.eval()
    return history


def fit_drawn(
    model: nn.Module,
    loss: Loss,
    draw: Callable[[int], tuple[Tensor, ...]],
    *,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    lr: float,
    weight_decay: float = 0.0,
    after: Callable[[nn.Module], object] | None = None,
    label: str = "",
) -> History:
    """`fit`, on data that draw(epoch), from 0, gives for each epoch, all of one length; `after(model)` follows each.

    The optimizer is AdamW, in one cycle of step sizes: up to `lr` in three tenths of all steps, then down to nearly 0.
    Raises ValueError as `fit` does, and for data of another length in a later epoch.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    data, history = draw(0), {"loss": []}
    size = _length(data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    steps = epochs * -(-size // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
    with bar(epochs, label) as progress:
        for epoch in range(epochs):
            data = draw(epoch) if epoch else data
            if _length(data) != size:
                raise ValueError(
                    f"draw gave {size} rows for epoch 0 and {len(data[0])} for epoch {epoch}: give equally many"
                )
            model.train()
            history["loss"].append(_epoch(model, loss, data, size, batch_size, generator, optimizer, schedule, epoch))
            model.eval()
            if after is not None:
                after(model)
            progress.set_postfix(loss=f"{history['loss'][-1]:.4g}", refresh=False)
            progress.update()
    return history


def settled(share: float, over: int = 1) -> Callable[[History], bool]:
    """For `fit`'s `stop`: whether the last `over` epochs have lowered the loss by less than this share of it.

    Raises ValueError unless share > 0 and over >= 1: the loss of a minibatch training never stands quite still.
    """
    if not share > 0 or over < 1:
        raise ValueError(f"settled needs a share above 0 and at least 1 epoch to look back, got {share} and {over}")

    def stop(history: History) -> bool:
        losses = history["loss"]
        return len(losses) > over and losses[-1 - over] - losses[-1] < share * abs(losses[-1 - over])

    return stop


def _length(data: Sequence[Tensor]) -> int:
    """The common length of the tensors."""
    size = len(data[0]) if data else 0
    if size == 0 or any(len(tensor) != size for tensor in data):
        raise ValueError(f"fit needs tensors of one common, non-zero length, got {[len(t) for t in data]}")
    return size


def _epoch(model, loss, data, size, batch_size, generator, optimizer, schedule, epoch) -> float:
    """One pass over the shuffled data; the mean loss over all its images."""
    device = data[0].device
    total = torch.zeros((), device=device)
    order = torch.randperm(size, generator=generator, device=generator.device).to(device)
    for batch in order.split(batch_size):
        value = loss(model, *(tensor[batch] for tensor in data), generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        total += value.detach() * len(batch)
    mean = total.item() / size
    if not torch.isfinite(total):
        raise ValueError(f"the loss is {mean} in epoch {epoch + 1}: lower the learning rate or check the loss function")
    return mean


def _save(path: Path, parts, generator, history) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    save(path, states | {"generator": generator.get_state(), "history": history})


def _restore(path: Path, parts, generator) -> History:
    state = load(path)
    if not isinstance(state, dict) or state.keys() != {*parts, "generator", "history"}:
        raise ValueError(
            f"{path} is of another training, not of one with {' and '.join(parts)}: delete it, or name another file"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    _lay_out_as_parameters(parts["optimizer"])
    generator.set_state(state["generator"])
    return state["history"]


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Lay out the optimizer's tensors as the weights that they belong to, which a file does not keep.

    A fused step walks through the memory of both at once: other strides, and it mixes up the numbers without a word.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> object: ...


def in_stretches(
    work: Callable[[int], object], trained: Stateful, stops: Sequence[int], checkpoint: Path | None = None
) -> None:
    """Call work(stop) for each stop in turn, and keep the state of what it trains: for what `fit` does not train.

    With `checkpoint`, a safetensors file, the state is written there after each stop, and a second call goes on behind
    the last one. Raises ValueError for a checkpoint that is damaged, or was made with other stops.
    """
    stops, done = list(stops), 0
    if checkpoint is not None and checkpoint.exists():
        kept = load(checkpoint)
        if set(kept) != {"stops", "done", "state"} or kept["stops"] != stops:
            raise ValueError(
                f"{checkpoint} is the checkpoint of another training: delete it to train from the beginning"
            )
        trained.load_state_dict(kept["state"])
        done = kept["done"]
    for count, stop in enumerate(stops[done:], done + 1):
        work(stop)
        if checkpoint is not None:
            save(checkpoint, {"stops": stops, "done": count, "state": trained.state_dict()})
