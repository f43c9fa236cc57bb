"""Right answers to the exercises of lesson 02 that are written differently."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence


def ridge_by_longer_data(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    """The penalty as p more examples: sqrt(weight_decay) times each unit vector, with the target 0."""
    p = features.shape[1]
    longer = torch.cat([features, math.sqrt(weight_decay) * torch.eye(p, dtype=features.dtype)])
    return torch.linalg.lstsq(longer, torch.cat([targets, targets.new_zeros(p)])[:, None]).solution[:, 0]


def ridge_by_singular_values(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    u, s, v = torch.linalg.svd(features, full_matrices=False)
    return v.T @ (s / (s**2 + weight_decay) * (u.T @ targets))


def dimension_by_count_nonzero(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return torch.count_nonzero(activations.abs() > threshold, dim=1)


def dimension_by_loop(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return torch.tensor([sum(abs(h) > threshold for h in row) for row in activations.tolist()])


def dimension_in_int32(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return ((activations > threshold) | (activations < -threshold)).sum(1).int()


def l1_by_vector_norm(activations: Tensor) -> Tensor:
    return torch.linalg.vector_norm(activations, ord=1, dim=1).mean()


def l1_by_two_relus(activations: Tensor) -> Tensor:
    return (torch.relu(activations) + torch.relu(-activations)).sum() / len(activations)


@torch.no_grad()
def normalize_by_copy(weight: Tensor) -> Tensor:
    return weight.copy_(F.normalize(weight, dim=0))


def normalize_atom_by_atom(weight: Tensor) -> Tensor:
    for j in range(weight.shape[1]):
        length = weight.data[:, j].square().sum().sqrt()
        if length > 0:
            weight.data[:, j] /= length
    return weight


def kl_by_distributions(activations_or_mean: Tensor, rho: float) -> Tensor:
    mean = activations_or_mean if activations_or_mean.ndim == 1 else activations_or_mean.mean(0)
    found = Bernoulli(mean.clamp(1e-6, 1 - 1e-6))
    return kl_divergence(Bernoulli(torch.full_like(mean, rho)), found).sum()


def kl_by_cross_entropy(activations_or_mean: Tensor, rho: float) -> Tensor:
    """Cross-entropy minus entropy."""
    rho_hat = activations_or_mean.reshape(-1, activations_or_mean.shape[-1]).mean(0).clamp(1e-6, 1 - 1e-6)
    entropy = -(rho * math.log(rho) + (1 - rho) * math.log(1 - rho))
    return F.binary_cross_entropy(rho_hat, torch.full_like(rho_hat, rho), reduction="sum") - len(rho_hat) * entropy


def top_k_by_mask(activations: Tensor, k: int) -> Tensor:
    mask = torch.zeros_like(activations)
    for row, places in zip(mask, activations.argsort(dim=-1)[:, -k:], strict=True):
        row[places] = 1
    return activations * mask


def top_k_by_rank(activations: Tensor, k: int) -> Tensor:
    rank = activations.argsort(dim=1, descending=True).argsort(dim=1)
    return torch.where(rank < k, activations, 0.0)


def whiten_by_singular_values(train: Tensor, x: Tensor, epsilon: float = 0.01) -> Tensor:
    axes, variances, _ = torch.linalg.svd(torch.cov(train.T))
    inverse_root = axes @ torch.diag(1 / torch.sqrt(variances + epsilon * variances.mean())) @ axes.T
    return (x - train.mean(dim=0)) @ inverse_root


def whiten_axis_by_axis(train: Tensor, x: Tensor, epsilon: float = 0.01) -> Tensor:
    """The whole covariance is regularized first: its mean variance is that of the n numbers."""
    covariance = torch.cov(train.T)
    covariance = covariance + epsilon * covariance.diagonal().mean() * torch.eye(len(covariance))
    white = torch.zeros_like(x)
    variances, axes = torch.linalg.eigh(covariance)
    for variance, axis in zip(variances, axes.T, strict=True):
        white = white + torch.outer((x - train.mean(0)) @ axis, axis) / variance.sqrt()
    return white


def atoms_by_sorting(residuals: Tensor, count: int) -> Tensor:
    return F.normalize(residuals[residuals.square().sum(1).argsort(descending=True)[:count]], dim=1)


def atoms_one_by_one(residuals: Tensor, count: int) -> Tensor:
    lengths = residuals.square().sum(1).sqrt()
    atoms = torch.zeros(count, residuals.shape[1])
    for place in range(count):
        worst = lengths.argmax()
        if lengths[worst] > 0:
            atoms[place] = residuals[worst] / lengths[worst]
        lengths[worst] = -1
    return atoms


def atoms_scaled_before_choosing(residuals: Tensor, count: int) -> Tensor:
    """By Python's own sort; the smallest number that float32 holds keeps zeros from being divided by zero."""
    lengths = torch.linalg.vector_norm(residuals, dim=-1, keepdim=True)
    worst = sorted(range(len(residuals)), key=lambda row: -lengths[row].item())[:count]
    return (residuals / lengths.clamp(min=torch.finfo(residuals.dtype).tiny))[worst]


def jump_by_mask(activations: Tensor, threshold: float | Tensor) -> Tensor:
    return activations * (activations > threshold)


def jump_on_a_copy(activations: Tensor, threshold: float | Tensor) -> Tensor:
    kept = activations.clone()
    kept[activations <= threshold] = 0
    return kept


def jump_by_relu(activations: Tensor, threshold: float | Tensor) -> Tensor:
    """What exceeds the threshold, and the threshold again where something does."""
    excess = torch.relu(activations - threshold)
    return excess + threshold * (excess > 0)


ANSWERS = {
    "ridge": (ridge_by_longer_data, ridge_by_singular_values),
    "effective_dimension": (dimension_by_count_nonzero, dimension_by_loop, dimension_in_int32),
    "l1_penalty": (l1_by_vector_norm, l1_by_two_relus),
    "normalize_decoder_": (normalize_by_copy, normalize_atom_by_atom),
    "kl_sparsity": (kl_by_distributions, kl_by_cross_entropy),
    "top_k": (top_k_by_mask, top_k_by_rank),
    "whiten": (whiten_by_singular_values, whiten_axis_by_axis),
    "replacement_atoms": (atoms_by_sorting, atoms_one_by_one, atoms_scaled_before_choosing),
    "jump_relu": (jump_by_mask, jump_on_a_copy, jump_by_relu),
}
