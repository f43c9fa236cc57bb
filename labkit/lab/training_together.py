"""Several tiny models trained in one pass, where what a step costs is Python and not arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from labkit.lab import bar
from labkit.lab.training import History, Loss


def fit_together(
    models: Sequence[nn.Module],
    loss: Loss,
    *data: Tensor | Sequence[Tensor],
    epochs: int,
    batch_size: int,
    generators: Sequence[torch.Generator],
    each: Sequence[Sequence[float]] = (),
    draw: Callable[..., Tensor] | None = None,
    lr: float = 1e-3,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None,
    label: str = "",
) -> list[History]:
    """Train M models of one architecture at once; each ends, to rounding, as `fit` would leave it. Returns M histories.

    It pays where a step is many small operations: eight MLPs 16-32-32-16 on minibatches of 32 take 0.29 of the time
    that they take one after the other. It does not pay once matrix products dominate: four MLPs 784-256-128-4 and back,
    on minibatches of 64, take 1.2 times as long as with `fit`. (One thread, fused Adam for both.)

    loss(model, *batch, *drawn, *numbers) returns a scalar, a mean over its batch. It is traced once for all models
    (`torch.vmap`), so it may neither branch on values, nor take them out of tensors, nor draw random numbers:
    `draw(*batch, generator)`, called for each model, draws a tensor beforehand, with what `fit`'s loss would draw.
    Each of `data` is one tensor (N, ...) that all models learn from, or M of them, all of one length N; each of `each`
    holds M numbers, such as the weights of a penalty. Model k's minibatches and draws come from generators[k] alone.
    The optimizer, Adam with `lr` unless `optimizer` makes one of the stacked parameters (M, ...), must treat each
    number by itself, as Adam, Adagrad and SGD do; norms over a whole tensor would mix the models.

    Raises ValueError for models that differ in architecture or have buffers, such as running means; for empty or
    unequal data, counts below one, or a number of generators, data or numbers other than M; for a loss that cannot be
    traced, or is not finite, naming the model.
    """
    size = _common_length(models, data, [generators, *each])
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    per_model = [not isinstance(tensors, Tensor) for tensors in data]
    stacked = [torch.stack(list(x)) if own else x for x, own in zip(data, per_model, strict=True)]

    parameters, _ = stack_module_state(list(models))  # {name: (M, ...)}
    parameters = {f"model.{name}": tensor.detach().requires_grad_() for name, tensor in parameters.items()}
    steps = (optimizer or (lambda stacks: torch.optim.Adam(stacks, lr=lr, fused=True)))(list(parameters.values()))
    losses_of = _losses(models[0], loss, parameters)
    device = next(iter(parameters.values())).device
    numbers = [torch.as_tensor(values, dtype=torch.float32, device=device) for values in each]  # (M,) each
    place, histories = torch.arange(len(models), device=device)[:, None], [{"loss": []} for _ in models]
    progress = bar(epochs, label)
    for epoch in range(epochs):
        order = torch.stack([torch.randperm(size, generator=g, device=g.device) for g in generators]).to(device)
        total = torch.zeros(len(models), device=device)
        for rows in order.split(batch_size, dim=1):  # (M, B)
            batch = [x[place, rows] if own else x[rows] for x, own in zip(stacked, per_model, strict=True)]
            drawn = [torch.stack([draw(*(x[k] for x in batch), g) for k, g in enumerate(generators)])] if draw else []
            values = losses_of(*batch, *drawn, *numbers)  # (M,)
            steps.zero_grad(set_to_none=True)
            values.sum().backward()
            steps.step()
            total += values.detach() * rows.shape[1]
        for k, mean in enumerate((total / size).tolist()):
            if not torch.isfinite(total[k]):
                raise ValueError(f"the loss of model {k} is {mean} in epoch {epoch + 1}: lower the learning rate")
            histories[k]["loss"].append(mean)
        progress.update()
    progress.close()
    for k, model in enumerate(models):
        model.load_state_dict({name.removeprefix("model."): tensor[k] for name, tensor in parameters.items()})
        model.eval()
    return histories


def _common_length(models: Sequence[nn.Module], data: Sequence[Any], per_model: list[Sequence]) -> int:
    """N, after refusing what cannot be stacked."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in models]
    if not models or any(shape != shapes[0] for shape in shapes) or any(True for _ in models[0].buffers()):
        raise ValueError("fit_together needs models of one architecture, without buffers: train others with `fit`")
    own = [tensors for tensors in data if not isinstance(tensors, Tensor)]
    if any(len(values) != len(models) for values in [*per_model, *own]):
        raise ValueError(f"each of {len(models)} models needs a generator, and of own data and numbers its part")
    lengths = {len(x) for tensors in data for x in ([tensors] if isinstance(tensors, Tensor) else tensors)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"fit_together needs data of one common, non-zero length, got {sorted(lengths)}")
    return lengths.pop()


class _WithLoss(nn.Module):
    """A model and its loss as one module, so that `functional_call` replaces the weights in all that the loss calls."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.loss(self.model, *arguments)


def _losses(model: nn.Module, loss: Loss, parameters: dict[str, Tensor]) -> Callable[..., Tensor]:
    """The losses (M,) of all models, from arguments with a first dimension M."""
    module = _WithLoss(copy.deepcopy(model), loss).train()
    traced = torch.vmap(lambda state, *arguments: functional_call(module, state, arguments), randomness="error")

    def losses(*arguments: Any) -> Tensor:
        try:
            return traced(parameters, *arguments)
        except RuntimeError as problem:
            if "vmap" not in str(problem):
                raise
            raise ValueError("this loss cannot be traced for all models at once: train them with `fit`") from problem

    return losses
