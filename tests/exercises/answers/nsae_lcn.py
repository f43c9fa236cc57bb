"""Right answers to the exercises of lesson 03, written differently from the plain ones."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.nsae_lcn import orthonormality_penalty


def segment_by_unfold(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    return signal.unfold(-1, length, stride or length)


def segment_by_index(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    count = (signal.shape[-1] - length) // (stride or length) + 1
    starts = torch.arange(count) * (stride or length)
    return signal[..., starts[:, None] + torch.arange(length)]


def similarity_by_pairs(W: Tensor) -> Tensor:
    rows = [row / row.norm() for row in W if row.any()]
    pairs = [(one * other).sum().abs() for i, one in enumerate(rows) for other in rows[:i]]
    return torch.stack(pairs).mean()


def similarity_by_mask(W: Tensor) -> Tensor:
    W = F.normalize(W[W.norm(dim=1) > 0], dim=1)
    different = ~torch.eye(len(W), dtype=torch.bool)
    return (W @ W.T)[different].abs().mean()


def penalty_by_pairs(W: Tensor) -> Tensor:
    total = torch.zeros((), dtype=W.dtype)
    for i in range(len(W)):
        for k in range(len(W)):
            total = total + ((W[i] * W[k]).sum() - float(i == k)) ** 2
    return total


def penalty_by_traces(W: Tensor) -> Tensor:
    gram = torch.einsum("ij,kj->ik", W, W)
    return (gram**2).sum() - 2 * gram.trace() + len(W)


def penalty_by_the_frobenius_norm(W: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(W @ W.T - torch.eye(len(W))) ** 2


def cost_segment_by_segment(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    total = torch.zeros(())
    for segment in x:
        h = F.linear(segment, W).clamp(min=0)
        total = total + 0.5 * (W.T @ h - segment).pow(2).sum() + sparsity_weight * h.norm(p=1)
    gram = W @ W.T
    return total / len(x) + orthonormality_weight * F.mse_loss(gram, torch.eye(len(W)), reduction="sum")


def cost_by_losses(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    h = F.relu(F.linear(x, W))
    cost = F.mse_loss(F.linear(h, W.T), x, reduction="sum") / 2 + sparsity_weight * F.l1_loss(
        h, torch.zeros_like(h), reduction="sum"
    )
    return cost / x.shape[0] + orthonormality_weight * orthonormality_penalty(W)


def inverse_root(gram: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    return (vectors / values.clamp(min=1e-12).sqrt()) @ vectors.T


def orthonormalize_by_the_shorter_side(W: Tensor) -> Tensor:
    """(W W^T)^(-1/2) W, or from the other side W (W^T W)^(-1/2), in float64: what the SVD does at once."""
    wide = W.double()
    if W.shape[0] > W.shape[1]:
        return (wide @ inverse_root(wide.T @ wide)).to(W.dtype)
    return (inverse_root(wide @ wide.T) @ wide).to(W.dtype)


def orthonormalize_by_iteration(W: Tensor) -> Tensor:
    """Newton and Schulz: pushes every singular value in (0, sqrt(3)) to 1 and leaves the singular vectors alone."""
    X = W / W.norm()
    for _ in range(40):
        X = 1.5 * X - 0.5 * X @ X.T @ X
    return X


def features_by_convolution(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    maps = F.conv1d(signal.unsqueeze(-2), W.unsqueeze(1), stride=stride or W.shape[1])
    return F.adaptive_avg_pool1d(F.relu(maps), 1).squeeze(-1)


def features_by_loop(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    length = W.shape[1]
    starts = range(0, signal.shape[-1] - length + 1, stride or length)
    return sum((signal[..., a : a + length] @ W.T).clamp(min=0) for a in starts) / len(starts)


def lcn_features_by_hand(signal: Tensor, W: Tensor, mean: Tensor, matrix: Tensor, stride: int | None = None) -> Tensor:
    x = signal - signal.mean(-1, keepdim=True)
    x = x / x.square().mean(-1, keepdim=True).sqrt()
    white = (x.unfold(-1, W.shape[1], stride or W.shape[1]) - mean).matmul(matrix)
    return torch.einsum("...jn,un->...ju", white, W).clamp(min=0).mean(dim=-2)


def lcn_features_with_white_rows(
    signal: Tensor, W: Tensor, mean: Tensor, matrix: Tensor, stride: int | None = None
) -> Tensor:
    """The whitening moved into the rows: W ((x - mean) matrix) = (W matrix^T) x - (W matrix^T) mean."""
    rows = W @ matrix.T
    x = (signal - signal.mean(-1, keepdim=True)) / signal.std(-1, correction=0, keepdim=True)
    step = W.shape[1] if stride is None else stride
    starts = range(0, signal.shape[-1] - W.shape[1] + 1, step)
    return sum(F.relu(F.linear(x[..., a : a + W.shape[1]], rows, -rows @ mean)) for a in starts) / len(starts)


def step_by_autograd(features: Tensor, labels: Tensor, V: Tensor, c: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    V, c = V.clone().requires_grad_(), c.clone().requires_grad_()
    gradients = torch.autograd.grad(F.cross_entropy(features @ V.T + c, labels), (V, c))
    return tuple((part - lr * gradient).detach() for part, gradient in zip((V, c), gradients, strict=True))


def step_by_an_optimizer(features: Tensor, labels: Tensor, V: Tensor, c: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    V, c = nn.Parameter(V.clone()), nn.Parameter(c.clone())
    F.cross_entropy(F.linear(features, V, c), labels).backward()
    torch.optim.SGD([V, c], lr=lr).step()
    return V, c


def step_signal_by_signal(features: Tensor, labels: Tensor, V: Tensor, c: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    new_V, new_c = V.clone(), c.clone()
    for f, y in zip(features, labels, strict=True):
        p = torch.softmax(V @ f + c, 0)
        p[y] -= 1
        new_V -= lr / len(labels) * torch.outer(p, f)
        new_c -= lr / len(labels) * p
    return new_V, new_c


def shifted_by_pairs_and_lags(W: Tensor) -> Tensor:
    rows = [row / row.norm() for row in W if row.any()]
    length, found = W.shape[1], []
    for i, one in enumerate(rows):
        for other in rows[:i]:
            early = [(one[s:] * other[: length - s]).sum().abs() for s in range(length)]
            late = [(other[s:] * one[: length - s]).sum().abs() for s in range(length)]
            found.append(max(early + late))
    return torch.stack(found).mean()


def shifted_by_the_fft(W: Tensor) -> Tensor:
    W = F.normalize(W[W.norm(dim=1) > 0], dim=1, eps=0)
    spectra = torch.fft.rfft(W, n=2 * W.shape[1] - 1)
    products = torch.fft.irfft(spectra[:, None] * spectra.conj(), n=2 * W.shape[1] - 1)
    different = ~torch.eye(len(W), dtype=torch.bool)
    return products.abs().amax(-1)[different].mean()


def shifted_by_lags_of_one_sign(W: Tensor) -> Tensor:
    """A lag of (i, k) is the opposite one of (k, i): lags of one sign do, if both orders of a pair count."""
    W = W[W.abs().sum(1) > 0]
    W = W / W.square().sum(1, keepdim=True).sqrt()
    length, best = W.shape[1], torch.zeros(len(W), len(W))
    for s in range(length):
        best = torch.maximum(best, (W[:, s:] @ W[:, : length - s].T).abs())
    return torch.maximum(best, best.T)[tuple(torch.triu_indices(len(W), len(W), offset=1))].mean()


def shifted_by_numpy(W: Tensor) -> Tensor:
    rows = [row / np.linalg.norm(row) for row in W.numpy() if row.any()]
    pairs = [(one, other) for i, one in enumerate(rows) for k, other in enumerate(rows) if i != k]
    return torch.tensor(np.mean([np.abs(np.correlate(one, other, mode="full")).max() for one, other in pairs]))


def shifted_by_dividing_at_the_end(W: Tensor) -> Tensor:
    W = W[W.norm(dim=1) > 0]
    norm, n = W.norm(dim=1), len(W)
    padded = F.pad(W, (W.shape[1] - 1, W.shape[1] - 1))
    best = (padded.unfold(1, W.shape[1], 1) @ W.T).abs().amax(1) / torch.outer(norm, norm)
    return best.fill_diagonal_(0.0).sum() / (n * n - n)


ANSWERS = {
    "segment": (segment_by_unfold, segment_by_index),
    "row_similarity": (similarity_by_pairs, similarity_by_mask),
    "orthonormality_penalty": (penalty_by_pairs, penalty_by_traces, penalty_by_the_frobenius_norm),
    "nsae_cost": (cost_segment_by_segment, cost_by_losses),
    "orthonormalize": (orthonormalize_by_the_shorter_side, orthonormalize_by_iteration),
    "local_features": (features_by_convolution, features_by_loop),
    "lcn_features": (lcn_features_by_hand, lcn_features_with_white_rows),
    "shifted_similarity": (
        shifted_by_pairs_and_lags,
        shifted_by_the_fft,
        shifted_by_lags_of_one_sign,
        shifted_by_numpy,
        shifted_by_dividing_at_the_end,
    ),
    "lcn_step": (step_by_autograd, step_by_an_optimizer, step_signal_by_signal),
}
