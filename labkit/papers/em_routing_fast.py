"""EM routing as `EMRouting2d` runs it, forward and backward; `em_routing` finds the same, and is the one to read.

Paper: G. E. Hinton, S. Sabour, N. Frosst, *Matrix Capsules with EM Routing*, ICLR 2018, procedure 1. Its arithmetic
takes far less time than fresh memory for each step, or than turning all votes around at once. So a few of the M windows
at a time go through all rounds, in memory that the next ones use again, and the backward pass is written by hand.

I lower capsules (index i) vote for B upper ones (j); a pose has D = n * n numbers (h). Of M windows m are in work.
Votes V are (m, B, D, I), i last, since sums run over i. `to_x` is the gradient of the loss with respect to x.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from labkit.papers.self_routing_capsules import EPSILON, VARIANCE_FLOOR


def fitted_gaussians(
    poses: Tensor, a: Tensor, weight: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """`em_routing` of votes P_i W_ij, in the dtype of what it is given -> activations (M, B) and means (M, B, D).

    Poses (I, M, D), lower activations (M, I), matrices (I, n, B, n), beta_u and beta_a (B,). It can be differentiated
    once. Raises ValueError without a round.
    """
    if rounds < 1:
        raise ValueError(f"routing takes at least one round, got {rounds}")
    return FittedGaussians.apply(poses, a, weight, beta_u, beta_a, rounds, torch.is_grad_enabled())


class FittedGaussians(torch.autograd.Function):
    """Kept for the backward pass: votes, r, and the Gaussians of each round; differences from the means are not."""

    PART = 2**20  # numbers of votes at a time, 4 MiB

    @staticmethod
    def forward(ctx, poses, a, weight, beta_u, beta_a, rounds: int, keep: bool) -> tuple[Tensor, Tensor]:
        (lower, M, D), B = poses.shape, weight.shape[2]
        parts = _parts(M, weight)
        spare = poses.new_empty(parts[0].stop, B, D, lower)
        votes = poses.new_empty(M, B, D, lower) if keep else torch.empty_like(spare)
        r = poses.new_empty(rounds - 1, M, B, lower)  # of the second round, and on; in the first it is 1
        means, variances, ups = *poses.new_empty(2, rounds, M, B, D), poses.new_empty(rounds, M, B)
        for part in parts:
            size = part.stop - part.start
            V, squares = votes[part] if keep else votes[:size], spare[:size]
            _vote(poses[:, part], weight, squares, out=V)
            w = a[part, None].expand(-1, B, -1)
            for t in range(rounds):
                total, _, share = _shares(w)
                means[t, part] = mean = _over_i(share, V)
                torch.sub(V, mean[..., None], out=squares).square_()
                variances[t, part] = variance = _over_i(share, squares) + VARIANCE_FLOOR
                score = beta_a - _cost(beta_u, variance) * total
                ups[t, part] = up = torch.sigmoid(_inverse_temperature(t) * score)
                if t + 1 < rounds:
                    log_density = -_over_h(0.5 / variance, squares) - 0.5 * variance.log().sum(2)[..., None]
                    logits = up.clamp(min=EPSILON).log()[..., None] + log_density  # but for a constant
                    w = torch.softmax(logits, 1, out=r[t, part]) * a[part, None]
        if keep:
            ctx.save_for_backward(poses, a, weight, beta_u, votes, r, means, variances, ups)
        return ups[-1].clone(), means[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, to_ups: Tensor, to_means: Tensor) -> tuple[Tensor | None, ...]:
        poses, a, weight, beta_u, votes, r, means, variances, ups = ctx.saved_tensors
        to_poses, to_a, to_beta_u, to_beta_a = map(torch.zeros_like, (poses, a, beta_u, beta_u))
        to_weight = weight.new_zeros(weight.shape)  # also of matrices that lie in memory in another order
        parts = _parts(len(votes), weight)
        spare = votes.new_empty(2, parts[0].stop, *votes.shape[1:])
        for part in parts:
            V, (differences, squares) = votes[part], spare[:, : part.stop - part.start]
            # to_V is a sum of by_i (slope (V - last mean) + level), by_i (m, B, I), slope and level (m, B, D); the last
            # mean, since there the Gaussians are narrowest, and a rounded difference weighs most
            to_r, terms = None, []
            for t in reversed(range(len(ups))):
                mean, variance, up = means[t, part], variances[t, part], ups[t, part]
                precision, offset = 0.5 / variance, means[-1, part] - mean
                torch.square(torch.sub(V, mean[..., None], out=differences), out=squares)
                if to_r is None:  # the last round
                    to_up, to_mean, to_variance = to_ups[part], to_means[part], 0
                else:  # through the softmax of log up - sum_h (precision squares + log(variance) / 2)
                    shared = r[t, part] * to_r
                    to_logits = shared - r[t, part] * shared.sum(1, keepdim=True)
                    to_logit = to_logits.sum(2)
                    to_up = to_logit / up.clamp(min=EPSILON) * (up >= EPSILON)
                    to_mean = 2 * precision * _over_i(to_logits, differences)
                    to_variance = 2 * precision**2 * _over_i(to_logits, squares) - precision * to_logit[..., None]
                    terms.append((to_logits, -2 * precision, -2 * precision * offset))
                before = r[t - 1, part] if t else torch.ones_like(V[:, :, 0])
                total, heard, share = _shares(before * a[part, None])
                to_score = _inverse_temperature(t) * to_up * up * (1 - up)
                to_beta_a += to_score.sum(0)
                to_beta_u -= mean.shape[2] * (to_score * total).sum(0)
                to_variance = to_variance - precision * (to_score * total)[..., None]
                # where shares add up to 1 their mean difference is 0, and squares say nothing of the mean
                to_mean = to_mean - 2 * to_variance * mean * (1 - total / heard)[..., None]
                terms.append((share, 2 * to_variance, 2 * to_variance * offset + to_mean))
                to_share = _over_h(to_variance, squares) + _over_h(to_mean, differences)
                to_share += (to_mean * mean).sum(2)[..., None]
                to_heard = -(share * to_share).sum(2) * (total >= EPSILON)
                to_w = (to_share + to_heard[..., None]) / heard[..., None]
                to_w -= (to_score * _cost(beta_u, variance))[..., None]
                to_a[part] += (to_w * before).sum(1)
                to_r = to_w * a[part, None]
            by_i, slopes, levels = map(torch.stack, zip(*terms, strict=True), (2, 3, 3))
            by_i, slopes, levels, to_V = (x.flatten(0, 1) for x in (by_i, slopes, levels, squares))
            torch.sub(V, means[-1, part, ..., None], out=differences)
            torch.bmm(slopes, by_i, out=to_V).mul_(differences.flatten(0, 1)).baddbmm_(levels, by_i)
            to_poses[:, part] = _vote_backward(squares, poses[:, part], weight, differences, to_weight)
        return to_poses, to_a, to_weight, to_beta_u, to_beta_a, None, None


def _parts(M: int, weight: Tensor) -> list[slice]:
    """Windows that are in work together: votes at one, B * D * I, are as many numbers as the matrices have."""
    size = FittedGaussians.PART if weight.device.type == "cpu" else 2**26  # small steps leave a GPU idle
    step = max(1, size // weight.numel())
    return [slice(first, min(first + step, M)) for first in range(0, M, step)]


def _inverse_temperature(t: int) -> float:
    return 0.01 * (1 - 0.95 ** (t + 1))  # rounds are counted from 0


def _shares(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of w (m, B, I): its sum over i (m, B), that sum where it is not 0, and the share of each i."""
    total = w.sum(2)
    heard = total.clamp(min=EPSILON)
    return total, heard, w / heard[..., None]


def _cost(beta_u: Tensor, variance: Tensor) -> Tensor:
    return (beta_u[:, None] + 0.5 * variance.log()).sum(2)


def _over_i(weights: Tensor, values: Tensor) -> Tensor:
    """(m, B, I) and (m, B, D, I) -> (m, B, D)."""
    return (weights[:, :, None] @ values.transpose(2, 3)).squeeze(2)


def _over_h(weights: Tensor, values: Tensor) -> Tensor:
    """(m, B, D) and (m, B, D, I) -> (m, B, I)."""
    return (weights[:, :, None] @ values).squeeze(2)


def _vote(poses: Tensor, weight: Tensor, spare: Tensor, out: Tensor) -> None:
    """P_i W_ij, for poses (I, m, D), into `out`, (m, B, D, I)."""
    (lower, n, B, _), m = weight.shape, len(out)
    votes = spare.view(lower, m * n, B * n)
    torch.bmm(poses.reshape(lower, m * n, n), weight.flatten(2), out=votes)
    out.view(m, B, n, n, lower).copy_(votes.view(lower, m, n, B, n).permute(1, 3, 2, 4, 0))


def _vote_backward(to_votes: Tensor, poses: Tensor, weight: Tensor, spare: Tensor, to_weight: Tensor) -> Tensor:
    """From to_votes (m, B, D, I): to_poses (I, m, D); what belongs to the matrices is added to `to_weight`."""
    (lower, n, B, _), m = weight.shape, len(to_votes)
    spare.view(lower, m, n, B, n).copy_(to_votes.view(m, B, n, n, lower).permute(4, 0, 2, 1, 3))
    to_products = spare.view(lower, m * n, B * n)
    to_weight.flatten(2).baddbmm_(poses.reshape(lower, m * n, n).transpose(1, 2), to_products)
    return torch.bmm(to_products, weight.flatten(2).transpose(1, 2)).view_as(poses)
