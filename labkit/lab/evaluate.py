"""What lessons measure of a network: what it says, how often it is right, how well a score separates, what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# ---- predictions ----------------------------------------------------------------------------------------------------


def predict(model: Callable[[Tensor], Any], x: Tensor, batch_size: int = 500) -> Any:
    """model(x) for any number of inputs x (N, ...), a batch at a time and without gradients, joined along N.

    A module, or the one whose method is given, is in evaluation mode meanwhile and has its former mode afterwards. It
    returns a tensor, or a tuple (a named one, too) of tensors and tuples. Raises ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    with torch.no_grad(), _evaluating(getattr(model, "__self__", model)):
        return _joined([model(part) for part in x.split(batch_size)])


def accuracy(model: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of inputs x (N, ...) to which `predict` gives the largest of its outputs (N, K) at their label (N,)."""
    return (predict(model, x, batch_size).argmax(1) == labels).float().mean().item()


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    joined = [_joined(list(same)) for same in zip(*parts, strict=True)]
    return type(parts[0])(*joined) if hasattr(parts[0], "_fields") else tuple(joined)


# ---- codes and scores -----------------------------------------------------------------------------------------------


def knn_predict(
    codes: Tensor | np.ndarray, labels: Tensor | np.ndarray, new_codes: Tensor | np.ndarray, neighbors: int = 5
) -> np.ndarray:
    """The class for which most of the nearest known codes vote: codes (N, d), labels (N,), new codes (M, d) -> (M,).

    Distances are Euclidean; of classes with equally many votes the smallest wins.
    """
    from sklearn.neighbors import KNeighborsClassifier  # imported when asked for: not every lesson has it

    return KNeighborsClassifier(neighbors).fit(_array(codes), _array(labels)).predict(_array(new_codes))


def knn_accuracy(
    codes: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    test_codes: Tensor | np.ndarray,
    test_labels: Tensor | np.ndarray,
    neighbors: int = 5,
) -> float:
    """The share of test codes (M, d) for which `knn_predict` names the label (M,)."""
    return float(np.mean(knn_predict(codes, labels, test_codes, neighbors) == _array(test_labels)))


def roc_auc(scores: Tensor | np.ndarray, positive: Tensor | np.ndarray) -> Tensor:
    """How well scores separate: (N,) or a column for each score (N, K), positive (N,) bool -> () or (K,) in [0, 1].

    It is the probability that a positive has a higher score than a negative; ties count half. float32, on the CPU.
    Raises ValueError if there is no positive or no negative.
    """
    from scipy.stats import rankdata

    positive = torch.as_tensor(positive).cpu()
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise ValueError(f"ROC-AUC needs positives and negatives, and {count} of {len(positive)} are positive")
    ranks = torch.from_numpy(rankdata(_array(scores), axis=0))  # 1 for the lowest score
    return ((ranks[positive].sum(0) - count * (count + 1) / 2) / (count * (len(positive) - count))).float()


def auc_by_class(
    scores: Tensor | np.ndarray, labels: Tensor | np.ndarray, classes: Sequence[int] | None = None
) -> dict[int, float]:
    """`roc_auc` of each class against all others: labels (N,); scores (N, K), column k for class k, or (N,) for all.

    `classes` are those that occur, unless given. Raises ValueError for a class that has no example, or all of them.
    """
    scores, labels = torch.as_tensor(scores), torch.as_tensor(labels).cpu()
    classes = labels.unique().tolist() if classes is None else classes
    return {k: roc_auc(scores if scores.ndim == 1 else scores[:, k], labels == k).item() for k in classes}


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy()


# ---- cost -----------------------------------------------------------------------------------------------------------


def parameter_count(model: nn.Module) -> int:
    """How many numbers a network learns; one that is used at several places counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of all convolutions and matrix products for one input, the first of x (N, ...).

    Layers without weights of their own count, too: those of a routing between capsules, say. Additions of a bias, means
    and activation functions do not. On the device "meta" it counts without computing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), _evaluating(model), FlopCounterMode(display=False) as counter:
        model(x[:1])
    return counter.get_total_flops() // 2  # a multiplication and an addition each


def saved_megabytes(function: Callable[..., Any], *inputs: Tensor) -> float:
    """MB (10^6 bytes) that autograd saves in function(*inputs) for the backward pass, without a module's weights.

    What belongs to a part of the result that is dropped on the way counts, too. Of a module a copy is run, in training
    mode: the module itself stays as it is.
    """
    weights: set[int] = set()
    if isinstance(function, nn.Module):
        function = deepcopy(function).train()
        weights = {parameter.untyped_storage().data_ptr() for parameter in function.parameters()}
    saved = {}  # the storages themselves: as long as they are here, no two of them share an address

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(*inputs)
    return sum(storage.nbytes() for address, storage in saved.items() if address not in weights) / 1e6


def milliseconds(function: Callable[..., object], *inputs: Any, repeats: int = 3) -> float:
    """The fastest of several calls of function(*inputs), in milliseconds; a GPU has finished what it was told to do."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    times = []
    for _ in range(repeats):
        finish()
        begin = time.perf_counter()
        function(*inputs)
        finish()
        times.append(1000 * (time.perf_counter() - begin))
    return min(times)
