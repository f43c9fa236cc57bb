"""How many multiplications with an addition a network takes, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PRODUCTS = {torch.matmul, torch.bmm, torch.mm, torch.mv, Tensor.matmul, Tensor.bmm, Tensor.mm, Tensor.mv}
PRODUCTS |= {Tensor.__matmul__}
OTHERS = {torch.addmm, torch.baddbmm, torch.addbmm, torch.addmv, torch.einsum, torch.tensordot, torch.inner, torch.dot}
OTHERS |= {torch.vdot, torch.linalg.vecdot, torch.linalg.multi_dot, torch.chain_matmul, F.bilinear}
OTHERS |= {F.scaled_dot_product_attention, F.multi_head_attention_forward}
CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}
TRANSPOSED = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}


class _Count(TorchFunctionMode):
    """Counts; PyTorch's FlopCounterMode counts the same and imports torch.compile, which takes a second."""

    total = 0

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if function in PRODUCTS:
            self.total += found.numel() * args[0].shape[-1]
        elif function in CONVOLUTIONS or function is F.linear:
            self.total += found.numel() * args[1][0].numel()  # a weight for each input of an output
        elif function in TRANSPOSED:
            self.total += args[0].numel() * args[1][0].numel()
        elif function in OTHERS:
            raise ValueError(f"{function.__name__} is not counted: write it as a matrix product")
        return found


def multiply_adds(work: Callable[[], object]) -> int:
    """MACs of the matrix products and convolutions in `work()`; adding a bias, say, is none.

    Raises ValueError for products of another kind, such as `torch.einsum`.
    """
    with torch.no_grad(), _Count() as count:
        work()
    return count.total


def multiply_adds_of(network: nn.Module, x: Tensor) -> int:
    """`multiply_adds` of the network's answer to x (N, ...), in evaluation mode."""
    network.eval()
    return multiply_adds(lambda: network(x))
