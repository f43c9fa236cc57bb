"""Right answers to the exercises of lesson 05, written differently."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.papers.self_routing_capsules import squash

# ---- squash ---------------------------------------------------------------------------------------------------------


def squash_by_direction(s: Tensor, dim: int = -1) -> Tensor:
    square = torch.linalg.vector_norm(s, dim=dim, keepdim=True) ** 2
    return square / (1 + square) * F.normalize(s, dim=dim)


def squash_one_by_one(s: Tensor, dim: int = -1) -> Tensor:
    vectors = s.movedim(dim, -1)
    short = [vector * vector.norm() / (1 + vector @ vector) for vector in vectors.reshape(-1, vectors.shape[-1])]
    return torch.stack(short).reshape(vectors.shape).movedim(-1, dim)


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def routing_by_einsum(votes: Tensor, iterations: int = 3) -> Tensor:
    b = torch.zeros_like(votes[..., 0])
    for _ in range(iterations):
        v = squash(torch.einsum("mbi,mbid->mbd", b.softmax(dim=1), votes))
        b = b + torch.einsum("mbid,mbd->mbi", votes, v)
    return v


def routing_by_the_sum_of_poses(votes: Tensor, iterations: int = 3) -> Tensor:
    """Window by window; the logits are the agreement with all poses so far, (v_1 + v_2 + ...) . vote."""
    found = []
    for window in votes:  # (B, I, D)
        v = so_far = torch.zeros_like(window[:, 0])
        for _ in range(iterations):
            powers = (window * so_far[:, None]).sum(2).exp()
            v = squash_by_direction(((powers / powers.sum(0))[..., None] * window).sum(1))
            so_far = so_far + v
        found.append(v)
    return torch.stack(found)


# ---- the margin loss ------------------------------------------------------------------------------------------------


def margin_by_where(
    lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5
) -> Tensor:
    present = labels[:, None] == torch.arange(lengths.shape[1], device=labels.device)
    cost = torch.where(present, F.relu(upper - lengths) ** 2, weight * F.relu(lengths - lower) ** 2)
    return cost.sum() / len(lengths)


def margin_by_loop(
    lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5
) -> Tensor:
    total = torch.zeros(())
    for row, label in zip(lengths, labels.tolist(), strict=True):
        for k, length in enumerate(row):
            total = total + (max(0, upper - length) ** 2 if k == label else weight * max(0, length - lower) ** 2)
    return total / len(lengths)


# ---- self-routing ---------------------------------------------------------------------------------------------------


def coefficients_by_categorical(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=torch.einsum("imc,icb->imb", u, route) + bias).probs


def coefficients_one_by_one(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    shares = []
    for pose, weight, offset in zip(u, route, bias, strict=True):  # (M, C), (C, B), (1, B)
        logits = F.linear(pose, weight.T, offset[0])
        powers = (logits - logits.amax(1, keepdim=True)).exp()
        shares.append(powers / powers.sum(1, keepdim=True))
    return torch.stack(shares)


def activations_by_shares(c: Tensor, a: Tensor) -> Tensor:
    """The weights of all upper capsules together are the activations, for those of a lower one add up to a_i."""
    weights = torch.einsum("imb,imo->mb", c, a)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def activations_by_loop(c: Tensor, a: Tensor) -> Tensor:
    found = torch.zeros_like(c[0])
    for m, j in torch.cartesian_prod(torch.arange(c.shape[1]), torch.arange(c.shape[2])):
        total = a[:, m, 0].sum()
        if total > 0:
            found[m, j] = c[:, m, j] @ a[:, m, 0] / total
    return found


def average_by_einsum(votes: Tensor, weights: Tensor) -> Tensor:
    share = weights / weights.sum(0).clamp(min=1e-12)  # of each lower capsule in one upper one, (I, M, B)
    return torch.einsum("imb,imbd->mbd", share, votes)


def average_by_running_mean(votes: Tensor, weights: Tensor) -> Tensor:
    mean, total = torch.zeros_like(votes[0]), torch.zeros_like(weights[0])
    for vote, weight in zip(votes, weights, strict=True):
        total = total + weight
        mean = mean + (weight / total.clamp(min=1e-12))[..., None] * (vote - mean)
    return mean


# ---- one step of an attack ------------------------------------------------------------------------------------------


def attack_by_limits(x, attacked, gradient, *, step, eps, targeted, box):
    """Ball and box are two pairs of limits for each pixel: the narrower ones hold."""
    low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in box)
    moved = attacked + (1 - 2 * targeted) * step * gradient.sign()
    return torch.minimum(torch.maximum(moved, torch.maximum(x - eps, low)), torch.minimum(x + eps, high))


def attack_by_numpy(x, attacked, gradient, *, step, eps, targeted, box):
    import numpy as np

    x, attacked, gradient = (given.numpy() for given in (x, attacked, gradient))
    moved = attacked - step * np.sign(gradient) if targeted else attacked + step * np.sign(gradient)
    return torch.from_numpy(np.clip(np.clip(moved, x - eps, x + eps), *(np.asarray(end, x.dtype) for end in box)))


ANSWERS = {
    "squash": (squash_by_direction, squash_one_by_one),
    "dynamic_routing": (routing_by_einsum, routing_by_the_sum_of_poses),
    "margin_loss": (margin_by_where, margin_by_loop),
    "routing_coefficients": (coefficients_by_categorical, coefficients_one_by_one),
    "routed_activations": (activations_by_shares, activations_by_loop),
    "pose_average": (average_by_einsum, average_by_running_mean),
    "attack_step": (attack_by_limits, attack_by_numpy),
}
