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


# ---- EM routing -----------------------------------------------------------------------------------------------------


def em_by_distributions(
    votes: Tensor, a: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """With torch's own densities."""
    r = torch.ones(votes.shape[:3])
    for t in range(rounds):
        w = torch.einsum("mbi,mi->mbi", r, a)
        share = w / w.sum(2, keepdim=True).clamp(min=1e-12)
        mean = torch.einsum("mbi,mbid->mbd", share, votes)
        sigma = (torch.einsum("mbi,mbid->mbd", share, (votes - mean[:, :, None]) ** 2) + 1e-8).sqrt()
        cost = w.sum(2) * (sigma.shape[2] * beta_u + sigma.log().sum(2))
        log_up = F.logsigmoid(0.01 * (1 - 0.95 ** (t + 1)) * (beta_a - cost))
        log_density = torch.distributions.Normal(mean[:, :, None], sigma[:, :, None]).log_prob(votes).sum(3)
        joint = log_up[..., None] + log_density
        r = (joint - joint.logsumexp(1, keepdim=True)).exp()
    return log_up.exp(), mean


def em_window_by_window(
    votes: Tensor, a: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """One window and one upper capsule at a time; the last round stops before its E-step."""
    ups, means = [], []
    for window, active in zip(votes, a, strict=True):  # (B, I, D), (I,)
        r = torch.ones_like(window[..., 0])
        for t in range(1, rounds + 1):
            up, mean, log_density = [], [], []
            for j, mine in enumerate(window):  # (I, D)
                w = r[j] * active
                share = w / max(w.sum(), torch.tensor(1e-12))
                mu = share @ mine
                variance = share @ (mine - mu).square() + 1e-8
                cost = sum(beta_u[j] + variance.sqrt().log()) * w.sum()
                up.append(1 / (1 + (-0.01 * (1 - 0.95**t) * (beta_a[j] - cost)).exp()))
                mean.append(mu)
                log_density.append(-((mine - mu) ** 2 / 2 / variance + (2 * torch.pi * variance).sqrt().log()).sum(1))
            if t < rounds:
                r = (torch.stack(up).log()[:, None] + torch.stack(log_density)).softmax(0)
        ups.append(torch.stack(up))
        means.append(torch.stack(mean))
    return torch.stack(ups), torch.stack(means)


# ---- a whole layer --------------------------------------------------------------------------------------------------


def layer_by_slices(a, u, route, bias, weight, kernel, stride=1, padding=0):
    """Tensor.unfold cuts the windows; images, rows and columns stay axes of their own."""
    A = a.shape[1]
    cut = []
    for maps in (a, u):
        maps = F.pad(maps, [padding] * 4).unflatten(1, (A, -1))
        places = maps.unfold(3, kernel, stride).unfold(4, kernel, stride)  # (N, A, size, h, w, k, k)
        cut.append(places.permute(0, 3, 4, 5, 6, 1, 2).flatten(3, 5))  # (N, h, w, I, size)
    active, poses = cut
    c = (torch.einsum("nhwic,icb->nhwib", poses, route) + bias[:, 0]).softmax(4)
    w = c * active
    up = w.sum(3) / active.sum(3).clamp(min=1e-12)
    pose = torch.einsum("nhwib,nhwic,icbd->nhwbd", w, poses, weight) / w.sum(3).clamp(min=1e-12)[..., None]
    return up.permute(0, 3, 1, 2), pose.flatten(3).permute(0, 3, 1, 2)


def layer_window_by_window(a, u, route, bias, weight, kernel, stride=1, padding=0):
    """Loops over rows and columns, for all images at once."""
    A, C, B, D = a.shape[1], *weight.shape[1:]
    a, u = (F.pad(maps, [padding] * 4) for maps in (a, u))
    ups, means = [], []
    for top in range(0, a.shape[2] - kernel + 1, stride):
        for left in range(0, a.shape[3] - kernel + 1, stride):
            window = (..., slice(top, top + kernel), slice(left, left + kernel))
            active = a[window].permute(2, 3, 1, 0).reshape(-1, len(a), 1)  # (I, N, 1)
            poses = u[window].reshape(len(u), A, C, kernel, kernel).permute(3, 4, 1, 0, 2).reshape(-1, len(u), C)
            c = (poses @ route + bias).softmax(2)
            votes = (poses @ weight.flatten(2)).unflatten(2, (B, D))
            ups.append((c * active).sum(0) / active.sum(0).clamp(min=1e-12))
            w = c * active
            means.append((w[..., None] * votes).sum(0) / w.sum(0).clamp(min=1e-12)[..., None])
    rows = len(range(0, a.shape[2] - kernel + 1, stride))
    up, mean = torch.stack(ups, 2), torch.stack(means, 3)  # (N, B, L), (N, B, D, L)
    return up.unflatten(2, (rows, -1)), mean.flatten(1, 2).unflatten(2, (rows, -1))


ANSWERS = {
    "squash": (squash_by_direction, squash_one_by_one),
    "dynamic_routing": (routing_by_einsum, routing_by_the_sum_of_poses),
    "margin_loss": (margin_by_where, margin_by_loop),
    "routing_coefficients": (coefficients_by_categorical, coefficients_one_by_one),
    "routed_activations": (activations_by_shares, activations_by_loop),
    "pose_average": (average_by_einsum, average_by_running_mean),
    "attack_step": (attack_by_limits, attack_by_numpy),
    "em_routing": (em_by_distributions, em_window_by_window),
    "self_routing": (layer_by_slices, layer_window_by_window),
}
