"""The exercises of lesson 05. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import self_routing_capsules as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _gradient(f: Callable, at: Tensor) -> Tensor:
    """The gradient of what `f(at)` returns, weighed by fixed numbers."""
    leaf = at.clone().requires_grad_()
    returned = f(leaf * 1)
    return torch.autograd.grad((returned * _normal(*returned.shape, seed=9)).sum(), leaf)[0]


# ---- squash ---------------------------------------------------------------------------------------------------------


def _squash_by_direction(s: Tensor, dim: int = -1) -> Tensor:
    square = torch.linalg.vector_norm(s, dim=dim, keepdim=True) ** 2
    return square / (1 + square) * F.normalize(s, dim=dim)


def _squash_one_by_one(s: Tensor, dim: int = -1) -> Tensor:
    vectors = s.movedim(dim, -1)
    short = [vector * vector.norm() / (1 + vector @ vector) for vector in vectors.reshape(-1, vectors.shape[-1])]
    return torch.stack(short).reshape(vectors.shape).movedim(-1, dim)


def _squash_of(short: Callable, square: Callable = lambda s, dim: s.square().sum(dim, keepdim=True)) -> Callable:
    """A wrong squash: short(s, |s|, |s|^2) with the given squared length."""

    def squash(s: Tensor, dim: int = -1) -> Tensor:
        found = square(s, dim)
        return short(s, found.sqrt(), found)

    return squash


def _as_printed(s: Tensor, n: Tensor, square: Tensor) -> Tensor:
    return square / (1 + square) * s / n


def _with_a_zero_vector() -> Tensor:
    return torch.tensor([[0.0, 0.0], [1.0, 2.0]])


# As many vectors as they have numbers: a lost axis then is no error but a wrong answer, whichever way it is written.
SQUASH = Exercise(
    name="squash",
    reference=paper.squash,
    probes=(
        Probe("s = (3, 4)", lambda f: f(torch.tensor([3.0, 4.0]))),
        Probe("a short vector, s = (0.03, 0.04)", lambda f: f(torch.tensor([0.03, 0.04]))),
        Probe("a long vector, s = (30, -40)", lambda f: f(torch.tensor([30.0, -40.0]))),
        Probe("4 vectors of 4 numbers", lambda f: f(_normal(4, 4))),
        Probe("maps of shape (3, 3, 3), dim = 1", lambda f: f(_normal(3, 3, 3), dim=1)),
        Probe("a vector of zeros beside (1, 2)", lambda f: f(_with_a_zero_vector())),
        Probe("the gradient there", lambda f: _gradient(f, _with_a_zero_vector())),
    ),
    hints=(
        "Which way does v point, and how long is it where s is very short, and where it is very long?",
        "|s|^2 is the sum of squares along `dim`, with keepdim=True. In |s|^2 / (1 + |s|^2) * s / |s| one |s| cancels,"
        " and with it the division by 0. What is left has a root, whose slope is infinite at 0: clamp |s|^2 first.",
        "square = s.square().sum(dim, keepdim=True); return s * square.clamp(min=1e-24).sqrt() / (1 + square)",
    ),
    mistakes=(
        Mistake(
            "length-1",
            _squash_of(lambda s, n, square: s / n),
            "Every vector has the length 1 now: multiply by |s|^2 / (1 + |s|^2), so that short ones become shorter.",
        ),
        Mistake(
            "direction-not-divided",
            _squash_of(lambda s, n, square: square / (1 + square) * s),
            "s is not divided by its length, so that long vectors stay long: the direction is s / |s|.",
        ),
        Mistake(
            "divided-twice",
            _squash_of(lambda s, n, square: square / (1 + square) * s / square),
            "s is divided by |s|^2, which makes long vectors short: the direction is s / |s|, divided only once.",
        ),
        Mistake(
            "length-not-squared",
            _squash_of(lambda s, n, square: n / (1 + n) * s / n),
            "The new length is |s| / (1 + |s|): square both, |s|^2 / (1 + |s|^2), so that short vectors nearly vanish.",
        ),
        Mistake(
            "denominator-not-squared",
            _squash_of(lambda s, n, square: square / (1 + n) * s / n),
            "The new length is |s|^2 / (1 + |s|), which grows beyond 1: square the |s| below as well.",
        ),
        Mistake(
            "numerator-missing",
            _squash_of(lambda s, n, square: 1 / (1 + square) * s / n),
            "The new length is 1 / (1 + |s|^2), so that the shortest vectors become the longest: put |s|^2 on top.",
        ),
        Mistake(
            "nan-at-zero",
            _squash_of(_as_printed),
            "A vector of zeros gives 0 / 0, NaN: cancel one |s|, s * |s| / (1 + |s|^2) is the same without a division.",
        ),
        Mistake(
            "nan-gradient-at-zero",
            _squash_of(lambda s, n, square: s * n / (1 + square)),
            "The values are right, but at a vector of zeros the gradient is NaN, for a root has an infinite slope at 0:"
            " clamp the squared length before you take its root.",
        ),
        Mistake(
            "dim-ignored",
            lambda s, dim=-1: paper.squash(s),
            "The length is always taken along the last axis: pass `dim` on to the sum.",
        ),
        Mistake(
            "along-the-first-axis",
            lambda s, dim=-1: paper.squash(s, 0),
            "The length is taken along the first axis, across different vectors: a vector lies along `dim`.",
        ),
        Mistake(
            "one-length-for-all",
            _squash_of(lambda s, n, square: s * n / (1 + square), lambda s, dim: s.square().sum()),
            "All vectors share one length: give each its own, with the sum along `dim` alone.",
        ),
        Mistake(
            "axis-lost",
            _squash_of(_as_printed, lambda s, dim: s.square().sum(dim)),
            "The lengths have lost their axis, so that vectors get those of their neighbours: sum with keepdim=True.",
        ),
        Mistake(
            "mean-of-squares",
            _squash_of(_as_printed, lambda s, dim: s.square().mean(dim, keepdim=True)),
            "The squares are averaged, so that the length depends on how many numbers a pose has: sum them.",
        ),
        Mistake(
            "number-by-number",
            _squash_of(lambda s, n, square: s * s.abs() / (1 + s.square())),
            "Each number is squashed by itself, which turns the vector: all its numbers shrink by the same factor.",
        ),
    ),
    alternatives=(_squash_by_direction, _squash_one_by_one),
)


# ---- routing coefficients -------------------------------------------------------------------------------------------


def _coefficients_by_categorical(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=torch.einsum("imc,icb->imb", u, route) + bias).probs


def _coefficients_one_by_one(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    shares = []
    for pose, weight, offset in zip(u, route, bias, strict=True):  # (M, C), (C, B), (1, B)
        logits = F.linear(pose, weight.T, offset[0])
        powers = (logits - logits.amax(1, keepdim=True)).exp()
        shares.append(powers / powers.sum(1, keepdim=True))
    return torch.stack(shares)


def _coefficients_of(share: Callable) -> Callable:
    """A wrong answer that makes coefficients of the right logits (I, M, B)."""
    return lambda u, route, bias: share(torch.bmm(u, route) + bias)


def _three_capsules() -> tuple[Tensor, Tensor, Tensor]:
    """Poses of 2 numbers at 5 windows, for 4 upper capsules."""
    return _normal(3, 5, 2), _normal(3, 2, 4, seed=1), _normal(3, 1, 4, seed=2)


def _gradient_of_route(f: Callable) -> Tensor:
    u, route, bias = _three_capsules()
    return _gradient(lambda route: f(u, route, bias), route)


COEFFICIENTS = Exercise(
    name="routing_coefficients",
    reference=paper.routing_coefficients,
    probes=(
        Probe(
            "one lower capsule with the pose 1, W = (0, ln 3), b = 0",
            lambda f: f(torch.ones(1, 1, 1), torch.tensor([[[0.0, math.log(3)]]]), torch.zeros(1, 1, 2)),
        ),
        Probe(
            "W = 0 and b = 0, as in a new layer, 4 upper capsules",
            lambda f: f(_normal(3, 5, 2), torch.zeros(3, 2, 4), torch.zeros(3, 1, 4)),
        ),
        Probe("3 lower capsules, 5 windows, 4 upper capsules", lambda f: f(*_three_capsules())),
        Probe("the same with poses of zeros", lambda f: f(torch.zeros(3, 5, 2), *_three_capsules()[1:])),
        Probe(
            "logits of 1000 and 1001",
            lambda f: f(torch.ones(1, 1, 1), torch.tensor([[[1000.0, 1001.0]]]), torch.zeros(1, 1, 2)),
        ),
        Probe("the gradient with respect to W", _gradient_of_route),
    ),
    hints=(
        "A lower capsule shares what it has among the upper ones. Which numbers therefore add up to 1?",
        "Each lower capsule has a linear layer of its own: torch.bmm(u, route) is (I, M, B), one matrix product for"
        " each i. Add the bias; the upper capsules j lie along the last axis.",
        "return (torch.bmm(u, route) + bias).softmax(2)",
    ),
    mistakes=(
        Mistake(
            "softmax-over-lower-capsules",
            _coefficients_of(lambda logits: logits.softmax(0)),
            "The softmax runs over the lower capsules i, as in some published ports: each of them shares itself among"
            " the upper ones j, so take it over the last axis.",
        ),
        Mistake(
            "softmax-over-windows",
            _coefficients_of(lambda logits: logits.softmax(1)),
            "The softmax runs over the windows, which have nothing to share: take it over the upper capsules, the last"
            " axis.",
        ),
        Mistake(
            "no-softmax",
            _coefficients_of(lambda logits: logits),
            "These are the logits: a softmax over the upper capsules makes shares of them that add up to 1.",
        ),
        Mistake(
            "sigmoid",
            _coefficients_of(torch.sigmoid),
            "With a sigmoid a capsule can belong to all upper ones or to none: a softmax lets them compete for it.",
        ),
        Mistake(
            "log-softmax",
            _coefficients_of(lambda logits: logits.log_softmax(2)),
            "These are the logarithms of the coefficients: take softmax instead of log_softmax.",
        ),
        Mistake(
            "divided-by-the-sum",
            _coefficients_of(lambda logits: logits / logits.sum(2, keepdim=True)),
            "The logits are divided by their sum, which may be 0 or negative: a softmax takes exponentials first.",
        ),
        Mistake(
            "exponentials-overflow",
            _coefficients_of(lambda logits: logits.exp() / logits.exp().sum(2, keepdim=True)),
            "The exponential of a large logit is infinite, and inf / inf is NaN: use softmax, or subtract the largest"
            " logit first.",
        ),
        Mistake(
            "winner-takes-all",
            _coefficients_of(lambda logits: F.one_hot(logits.argmax(2), logits.shape[2]).float()),
            "Each capsule goes wholly to the upper one with the largest logit, a choice that has no gradient: use a"
            " softmax.",
        ),
        Mistake(
            "bias-forgotten",
            lambda u, route, bias: torch.bmm(u, route).softmax(2),
            "The bias is missing: add it to the logits, before the softmax.",
        ),
        Mistake(
            "bias-after-the-softmax",
            lambda u, route, bias: torch.bmm(u, route).softmax(2) + bias,
            "The bias is added after the softmax, so that the shares do not add up to 1: add it to the logits.",
        ),
        Mistake(
            "one-network-for-all",
            lambda u, route, bias: (u @ route[0] + bias).softmax(2),
            "All lower capsules use the matrix of the first: each has its own, torch.bmm pairs u[i] with route[i].",
        ),
        Mistake(
            "scaled-as-in-attention",
            lambda u, route, bias: (torch.bmm(u, route) / math.sqrt(u.shape[2]) + bias).softmax(2),
            "The logits are divided by sqrt(C), as in attention: self-routing takes them as they are.",
        ),
        Mistake(
            "no-gradient",
            _coefficients_of(lambda logits: logits.softmax(2).detach()),
            "The values are right but carry no gradient, so that the routing would never learn: leave out detach and"
            " torch.no_grad.",
        ),
    ),
    alternatives=(_coefficients_by_categorical, _coefficients_one_by_one),
)


# ---- activations of the upper capsules ------------------------------------------------------------------------------


def _activations_by_shares(c: Tensor, a: Tensor) -> Tensor:
    """The weights of all upper capsules together are the activations, for those of a lower one add up to a_i."""
    weights = torch.einsum("imb,imo->mb", c, a)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def _activations_by_loop(c: Tensor, a: Tensor) -> Tensor:
    found = torch.zeros_like(c[0])
    for m, j in torch.cartesian_prod(torch.arange(c.shape[1]), torch.arange(c.shape[2])):
        total = a[:, m, 0].sum()
        if total > 0:
            found[m, j] = c[:, m, j] @ a[:, m, 0] / total
    return found


def _shares(*shape: int) -> Tensor:
    """Coefficients (I, M, B) that add up to 1 over the upper capsules."""
    return (2 * _normal(*shape)).softmax(2)


def _active_but_for_one_window() -> Tensor:
    return _uniform(4, 3, 1) * torch.tensor([1.0, 0.0, 1.0])[:, None]


ACTIVATIONS = Exercise(
    name="routed_activations",
    reference=paper.routed_activations,
    probes=(
        Probe(
            "a = 1 and 0.5, the first sends all to j = 0, the second half to each",
            lambda f: f(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]), torch.tensor([[[1.0]], [[0.5]]])),
        ),
        Probe("uniform coefficients, 4 upper capsules", lambda f: f(torch.full((3, 2, 4), 0.25), _uniform(3, 2, 1))),
        Probe("6 lower capsules, 5 windows, 3 upper capsules", lambda f: f(_shares(6, 5, 3), _uniform(6, 5, 1))),
        Probe("the same with all activations divided by 100", lambda f: f(_shares(6, 5, 3), _uniform(6, 5, 1) / 100)),
        Probe("a single lower capsule", lambda f: f(_shares(1, 2, 3), _uniform(1, 2, 1))),
        Probe(
            "three windows, in one of which nothing is active",
            lambda f: f(_shares(4, 3, 2), _active_but_for_one_window()),
        ),
        Probe(
            "the gradient with respect to the logits of the coefficients",
            lambda f: _gradient(lambda logits: f(logits.softmax(2), _uniform(6, 5, 1)), _normal(6, 5, 3)),
        ),
    ),
    hints=(
        "Each lower capsule gives away its activation in shares. Which part of all that is given does capsule j get?",
        "c * a is (I, M, B), for a has one number in place of B. Sum it over the lower capsules, the first axis, and"
        " divide by the sum of a over the same axis, (M, 1). Where that is 0, the answer is 0.",
        "return (c * a).sum(0) / a.sum(0).clamp(min=1e-12)",
    ),
    mistakes=(
        Mistake(
            "not-divided",
            lambda c, a: (c * a).sum(0),
            "The sum is not divided, so that it grows with the number of capsules: divide by the sum of a_i over i.",
        ),
        Mistake(
            "divided-by-the-number",
            lambda c, a: (c * a).mean(0),
            "The sum is divided by the number of lower capsules, so that silent ones count: divide by the sum of a_i.",
        ),
        Mistake(
            "divided-by-the-coefficients",
            lambda c, a: (c * a).sum(0) / c.sum(0),
            "The sum is divided by that of the c_ij, which gives a mean of the a_i: a_i is the weight here, divide by"
            " its sum.",
        ),
        Mistake(
            "divided-by-itself",
            lambda c, a: (c * a).sum(0) / (c * a).sum(0),
            "The sum is divided by itself, so that every activation becomes 1: divide by the sum of a_i alone.",
        ),
        Mistake(
            "activations-ignored",
            lambda c, a: c.mean(0),
            "Every lower capsule counts alike, also a silent one: weigh c_ij by a_i.",
        ),
        Mistake(
            "largest-instead-of-sum",
            lambda c, a: (c * a).amax(0),
            "Only the strongest lower capsule is heard, as in max pooling: sum over all of them and divide.",
        ),
        Mistake(
            "softmax-of-the-sums",
            lambda c, a: (c * a).sum(0).softmax(1),
            "A softmax is put on the sums: divided by the sum of a_i they add up to 1 already.",
        ),
        Mistake(
            "one-sum-for-all-windows",
            lambda c, a: (c * a).sum(0) / a.sum(),
            "All windows are divided by the same number: each has its own sum of a_i, over the first axis alone.",
        ),
        Mistake(
            "summed-over-windows",
            lambda c, a: (c * a).sum(1) / a.sum(1).clamp(min=1e-12),
            "The sums run over the windows: sum over the lower capsules, the first axis.",
        ),
        Mistake(
            "nan-where-nothing-is-active",
            lambda c, a: (c * a).sum(0) / a.sum(0),
            "A window without any activity gives 0 / 0, NaN: keep the sum of a_i off 0, as with clamp(min=1e-12).",
        ),
    ),
    alternatives=(_activations_by_shares, _activations_by_loop),
)


# ---- poses of the upper capsules ------------------------------------------------------------------------------------


def _average_by_einsum(votes: Tensor, weights: Tensor) -> Tensor:
    share = weights / weights.sum(0).clamp(min=1e-12)  # of each lower capsule in one upper one, (I, M, B)
    return torch.einsum("imb,imbd->mbd", share, votes)


def _average_by_running_mean(votes: Tensor, weights: Tensor) -> Tensor:
    mean, total = torch.zeros_like(votes[0]), torch.zeros_like(weights[0])
    for vote, weight in zip(votes, weights, strict=True):
        total = total + weight
        mean = mean + torch.where(total > 0, weight / total, 0)[..., None] * (vote - mean)
    return mean


def _average_with(share: Callable) -> Callable:
    """The sum of the votes, weighed by share(weights)."""
    return lambda votes, weights: (share(weights)[..., None] * votes).sum(0)


def _average_without_axis(votes: Tensor, weights: Tensor) -> Tensor:
    return (weights * votes).sum(0) / weights.sum(0)


def _heaviest_vote(votes: Tensor, weights: Tensor) -> Tensor:
    heaviest = weights.argmax(0)[None, ..., None].expand(1, -1, -1, votes.shape[3])
    return votes.gather(0, heaviest)[0]


def _weighed() -> tuple[Tensor, Tensor]:
    return _normal(3, 3, 3, 3), _uniform(3, 3, 3, seed=1)


def _silent() -> tuple[Tensor, Tensor]:
    """Nothing is active in window 1, and nobody is assigned to upper capsule 2 of window 0."""
    votes, weights = _weighed()
    weights[:, 1], weights[:, 0, 2] = 0.0, 0.0
    return votes, weights


# All sizes alike: an axis in the wrong place then is no error but a wrong answer, whichever way it is written.
AVERAGE = Exercise(
    name="pose_average",
    reference=paper.pose_average,
    probes=(
        Probe(
            "votes (4, 0) and (0, 8) with the weights 3 and 1",
            lambda f: f(torch.tensor([[[[4.0, 0.0]]], [[[0.0, 8.0]]]]), torch.tensor([[[3.0]], [[1.0]]])),
        ),
        Probe("3 lower and 3 upper capsules, 3 windows, poses of 3 numbers", lambda f: f(*_weighed())),
        Probe("the same with all weights divided by 100", lambda f: f(_weighed()[0], _weighed()[1] / 100)),
        Probe("equal weights", lambda f: f(_weighed()[0], torch.full((3, 3, 3), 0.2))),
        Probe(
            "a window in which nothing is active, and an upper capsule that nobody belongs to", lambda f: f(*_silent())
        ),
        Probe(
            "the gradient with respect to the votes",
            lambda f: _gradient(lambda votes: f(votes, _weighed()[1]), _weighed()[0]),
        ),
    ),
    hints=(
        "Where is the centre of gravity of the votes that an upper capsule hears? What do you divide by?",
        "weights[..., None] gives the weights an axis for the D numbers of a vote. Sum weight times vote over the lower"
        " capsules, the first axis, and divide by the sum of the weights over the same axis; where that is 0, say 0.",
        "return (weights[..., None] * votes).sum(0) / weights.sum(0).clamp(min=1e-12)[..., None]",
    ),
    mistakes=(
        Mistake(
            "not-divided",
            _average_with(lambda weights: weights),
            "This is the weighted sum, which grows with the weights: divide it by the sum of the weights over i.",
        ),
        Mistake(
            "divided-by-the-number",
            _average_with(lambda weights: weights / len(weights)),
            "The sum is divided by the number of votes: a weighted mean is divided by the sum of its weights.",
        ),
        Mistake(
            "weights-ignored",
            lambda votes, weights: votes.mean(0),
            "This is the plain mean of the votes: weigh each by how much its capsule is active and belongs here.",
        ),
        Mistake(
            "weights-normalized-over-upper-capsules",
            _average_with(lambda weights: weights / weights.sum(2, keepdim=True)),
            "The weights add up to 1 over the upper capsules j: a mean of votes needs those of the lower ones i, the"
            " first axis.",
        ),
        Mistake(
            "divided-by-the-weights-of-all-upper-capsules",
            _average_with(lambda weights: weights / weights.sum((0, 2))[:, None]),
            "The sum is divided by the weights of all upper capsules, the sum of a_i: each is divided by its own, over"
            " i alone.",
        ),
        Mistake(
            "divided-by-all-weights",
            _average_with(lambda weights: weights / weights.sum()),
            "The sum is divided by all weights there are: each window and upper capsule has its own, summed over i.",
        ),
        Mistake(
            "softmax-of-the-weights",
            _average_with(lambda weights: weights.softmax(0)),
            "A softmax is put on the weights, so that those of 0 count as well: divide by their sum instead.",
        ),
        Mistake(
            "heaviest-vote-only",
            _heaviest_vote,
            "Only the vote with the largest weight is taken: average all of them.",
        ),
        Mistake(
            "averaged-over-upper-capsules",
            lambda votes, weights: (
                (weights[..., None] * votes).sum(2) / weights.sum(2).clamp(min=paper.EPSILON)[..., None]
            ),
            "The average runs over the upper capsules: average over the lower ones, the first axis.",
        ),
        Mistake(
            "weights-on-the-wrong-axes",
            _average_without_axis,
            "The weights lie along the last axes of the votes, one for each number of a pose: weights[..., None] gives"
            " them an axis for the pose.",
        ),
        Mistake(
            "squashed",
            lambda votes, weights: paper.squash(paper.pose_average(votes, weights)),
            "The mean is squashed, as in dynamic routing: here the activation is a number of its own, leave poses be.",
        ),
        Mistake(
            "nan-where-no-weight-is",
            lambda votes, weights: (weights[..., None] * votes).sum(0) / weights.sum(0)[..., None],
            "Where all weights are 0 this gives 0 / 0, NaN: keep their sum off 0, as with clamp(min=1e-12).",
        ),
    ),
    alternatives=(_average_by_einsum, _average_by_running_mean),
)


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def _routing_by_einsum(votes: Tensor, iterations: int = 3) -> Tensor:
    b = torch.zeros_like(votes[..., 0])
    for _ in range(iterations):
        v = paper.squash(torch.einsum("mbi,mbid->mbd", b.softmax(dim=1), votes))
        b = b + torch.einsum("mbid,mbd->mbi", votes, v)
    return v


def _routing_by_the_sum_of_poses(votes: Tensor, iterations: int = 3) -> Tensor:
    """Window by window; the logits are the agreement with all poses so far, (v_1 + v_2 + ...) . vote."""
    found = []
    for window in votes:  # (B, I, D)
        v = so_far = torch.zeros_like(window[:, 0])
        for _ in range(iterations):
            powers = (window * so_far[:, None]).sum(2).exp()
            v = _squash_by_direction(((powers / powers.sum(0))[..., None] * window).sum(1))
            so_far = so_far + v
        found.append(v)
    return torch.stack(found)


def _agreement(votes: Tensor, v: Tensor) -> Tensor:
    return (votes * v[:, :, None]).sum(3)


def _routing_with(
    *,
    share: Callable = lambda b: b.softmax(1),
    gather: Callable = lambda c, votes: (c[..., None] * votes).sum(2),
    short: Callable = paper.squash,
    update: Callable = lambda b, votes, v, s: b + _agreement(votes, v),
    rounds: Callable = lambda iterations: iterations,
) -> Callable:
    """A wrong dynamic_routing: the steps that are left out are right."""

    def dynamic_routing(votes: Tensor, iterations: int = 3) -> Tensor:
        b = votes.new_zeros(votes.shape[:3])
        for _ in range(rounds(iterations)):
            s = gather(share(b), votes)
            v = short(s)
            b = update(b, votes, v, s)
        return v

    return dynamic_routing


def _votes() -> Tensor:
    return _normal(2, 3, 6, 4)


DYNAMIC = Exercise(
    name="dynamic_routing",
    reference=paper.dynamic_routing,
    probes=(
        Probe(
            "votes (3, 0) and (3, 8) for one upper capsule, (2, 0) and (0, 2) for the other, 1 iteration",
            lambda f: f(torch.tensor([[[[3.0, 0.0], [3.0, 8.0]], [[2.0, 0.0], [0.0, 2.0]]]]), 1),
        ),
        Probe("1 iteration, 2 windows, 3 upper and 6 lower capsules", lambda f: f(_votes(), 1)),
        Probe("2 iterations", lambda f: f(_votes(), 2)),
        Probe("3 iterations, the default", lambda f: f(_votes())),
        Probe("iterations = 5", lambda f: f(_votes(), iterations=5)),
        Probe(
            "two windows, in one of which all votes are 0",
            lambda f: f(_votes() * torch.tensor([1.0, 0.0])[:, None, None, None]),
        ),
        Probe(
            "the gradient with respect to the votes, 1 iteration",
            lambda f: _gradient(lambda votes: f(votes, 1), _votes()),
        ),
    ),
    hints=(
        "Who agrees with the crowd gets a louder voice in the next round. What measures how well a vote agrees?",
        "b starts with zeros, (M, B, I). Each round: c is the softmax of b over the upper capsules (axis 1), s the sum"
        " of c times votes over the lower ones (axis 2), v is squash(s), and the product v . vote is added to b.",
        "In the loop: v = squash((b.softmax(1)[..., None] * votes).sum(2)); b = b + (votes * v[:, :, None]).sum(3)",
    ),
    mistakes=(
        Mistake(
            "softmax-over-lower-capsules",
            _routing_with(share=lambda b: b.softmax(2)),
            "The softmax runs over the lower capsules i, as in some published ports: each of them shares itself among"
            " the upper ones j, so take it over axis 1.",
        ),
        Mistake(
            "softmax-over-windows",
            _routing_with(share=lambda b: b.softmax(0)),
            "The softmax runs over the windows, each of which routes by itself: take it over the upper capsules, axis"
            " 1.",
        ),
        Mistake(
            "logits-overwritten",
            _routing_with(update=lambda b, votes, v, s: _agreement(votes, v)),
            "The agreement replaces the logits, so that earlier rounds are forgotten: add it to them.",
        ),
        Mistake(
            "softmax-outside-the-loop",
            _routing_with(rounds=lambda iterations: 1),
            "Nothing changes after the first round: take the softmax of the new logits inside the loop.",
        ),
        Mistake(
            "no-squash",
            _routing_with(short=lambda s: s),
            "The sums are not squashed, so that poses are longer than 1 and the agreement explodes: v = squash(s).",
        ),
        Mistake(
            "agreement-with-the-sum",
            _routing_with(update=lambda b, votes, v, s: b + _agreement(votes, s)),
            "The votes are compared with the sum s: compare them with the squashed pose v.",
        ),
        Mistake(
            "agreement-as-cosine",
            _routing_with(update=lambda b, votes, v, s: b + F.cosine_similarity(votes, v[:, :, None], dim=3)),
            "The agreement is a cosine, which ignores how long votes and pose are: take their plain product, v . vote.",
        ),
        Mistake(
            "agreement-subtracted",
            _routing_with(update=lambda b, votes, v, s: b - _agreement(votes, v)),
            "The agreement is subtracted, so that those who disagree become louder: add it.",
        ),
        Mistake(
            "agreement-shared-by-the-windows",
            _routing_with(update=lambda b, votes, v, s: b + _agreement(votes, v).mean(0)),
            "The agreement is averaged over the windows, so that an image's routing depends on the others in its batch:"
            " each window keeps its own logits.",
        ),
        Mistake(
            "mean-over-lower-capsules",
            _routing_with(gather=lambda c, votes: (c[..., None] * votes).mean(2)),
            "The weighted votes are averaged over the lower capsules: sum them, the softmax is their only scale.",
        ),
        Mistake(
            "squashed-across-upper-capsules",
            _routing_with(short=lambda s: paper.squash(s, 1)),
            "squash works across the upper capsules: a pose lies along the last axis.",
        ),
        Mistake(
            "iterations-ignored",
            _routing_with(rounds=lambda iterations: 3),
            "There are always three rounds: take `iterations`, 3 is only its default.",
        ),
        Mistake(
            "one-iteration-too-few",
            _routing_with(rounds=lambda iterations: iterations - 1),
            "There is one round too few, and with 1 iteration none at all: the loop runs `iterations` times.",
        ),
        Mistake(
            "last-update-forgotten",
            _routing_with(rounds=lambda iterations: max(iterations - 1, 1)),
            "The last round does not know the agreement of the one before and repeats it: only the update after the"
            " last round may be left out.",
        ),
        Mistake(
            "one-iteration-too-many",
            _routing_with(rounds=lambda iterations: iterations + 1),
            "This is one round too many: with 1 iteration, the coefficients are still uniform.",
        ),
        Mistake(
            "nan-where-all-votes-are-zero",
            _routing_with(short=_squash_of(_as_printed)),
            "Where all votes are 0 the poses are NaN, for squash divides 0 by 0: use the squash of the exercise above.",
        ),
    ),
    alternatives=(_routing_by_einsum, _routing_by_the_sum_of_poses),
)


# ---- one step of an attack ------------------------------------------------------------------------------------------


def _attack_by_limits(
    x: Tensor, attacked: Tensor, gradient: Tensor, *, step: float, eps: float, targeted: bool, box: paper.Box
) -> Tensor:
    """Ball and box are two pairs of limits for each pixel: the narrower ones hold."""
    low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in box)
    moved = attacked + (1 - 2 * targeted) * step * gradient.sign()
    return torch.minimum(torch.maximum(moved, torch.maximum(x - eps, low)), torch.minimum(x + eps, high))


def _attack_by_numpy(
    x: Tensor, attacked: Tensor, gradient: Tensor, *, step: float, eps: float, targeted: bool, box: paper.Box
) -> Tensor:
    import numpy as np

    x, attacked, gradient = (given.numpy() for given in (x, attacked, gradient))
    moved = attacked - step * np.sign(gradient) if targeted else attacked + step * np.sign(gradient)
    return torch.from_numpy(np.clip(np.clip(moved, x - eps, x + eps), *(np.asarray(end, x.dtype) for end in box)))


def _up_or_down(direction: Tensor, targeted: bool) -> Tensor:
    return -direction if targeted else direction


def _attack_with(
    *,
    direction: Callable = lambda gradient, targeted: _up_or_down(gradient.sign(), targeted),
    move: Callable = lambda x, attacked, direction, step, eps: attacked + step * direction,
    ball: Callable = lambda moved, x, eps: x + (moved - x).clamp(-eps, eps),
    cut: Callable = lambda near, box: near.clamp(*box),
) -> Callable:
    """A wrong attack_step: the parts that are left out are right."""

    def attack_step(x: Tensor, attacked: Tensor, gradient: Tensor, *, step, eps, targeted, box) -> Tensor:
        return cut(ball(move(x, attacked, direction(gradient, targeted), step, eps), x, eps), box)

    return attack_step


def _attack_in_place(x: Tensor, attacked: Tensor, gradient: Tensor, *, step, eps, targeted, box) -> Tensor:
    attacked += step * _up_or_down(gradient.sign(), targeted)
    return (x + (attacked - x).clamp(-eps, eps)).clamp(*box)


def _row(*values: float) -> Tensor:
    """An image of one row of pixels."""
    return torch.tensor(values)[None, None, None]


def _attack(
    f: Callable,
    x: Tensor,
    gradient: Tensor,
    moved: float | Tensor = 0.0,
    *,
    step: float = 0.1,
    eps: float = 0.1,
    targeted: bool = False,
    box: paper.Box = (0.0, 1.0),
) -> Tensor:
    """A step from x + moved."""
    return f(x.clone(), x + moved, gradient, step=step, eps=eps, targeted=targeted, box=box)


def _box_of_colours() -> paper.Box:
    return torch.tensor([-1.4, -1.3, -1.2])[:, None, None], torch.tensor([1.2, 1.3, 1.4])[:, None, None]


def _x_afterwards(f: Callable) -> Tensor:
    x = _row(0.5, 0.3)
    f(x, x.detach(), _row(1.0, -2.0), step=0.1, eps=0.1, targeted=False, box=(0.0, 1.0))
    return x


ATTACK = Exercise(
    name="attack_step",
    reference=paper.attack_step,
    probes=(
        Probe(
            "two pixels of 0.5 with the gradient (3, -0.2), step = eps = 0.1",
            lambda f: _attack(f, _row(0.5, 0.5), _row(3.0, -0.2)),
        ),
        Probe("the same, targeted", lambda f: _attack(f, _row(0.5, 0.5), _row(3.0, -0.2), targeted=True)),
        Probe("step = 0.02, eps = 0.1", lambda f: _attack(f, _row(0.5, 0.5), _row(3.0, -0.2), step=0.02)),
        Probe(
            "attacked = x + 0.09, step = 0.04, eps = 0.1",
            lambda f: _attack(f, _row(0.5, 0.4), _row(3.0, -0.2), 0.09, step=0.04),
        ),
        Probe(
            "attacked = x + 0.05 and a step of 0.3, longer than eps = 0.1",
            lambda f: _attack(f, _row(0.5, 0.4), _row(3.0, -0.2), 0.05, step=0.3),
        ),
        Probe("x = 0.97 and 0.02 in the box (0, 1)", lambda f: _attack(f, _row(0.97, 0.02), _row(3.0, -0.2))),
        Probe(
            "x = 1.95, -1.5 and -1.95 in the box (-2, 2)",
            lambda f: _attack(f, _row(1.95, -1.5, -1.95), _row(3.0, 0.5, -0.2), box=(-2.0, 2.0)),
        ),
        Probe("a pixel without gradient", lambda f: _attack(f, _row(0.5, 0.5, 0.5), _row(0.0, -2.0, 1.0))),
        Probe(
            "a random image of 3 colours, each with its own box, targeted, after some steps",
            lambda f: _attack(
                f,
                (3 * _uniform(1, 3, 4, 4) - 1.5).clamp(*_box_of_colours()),
                _normal(1, 3, 4, 4),
                0.1 * _uniform(1, 3, 4, 4, seed=1) - 0.05,
                step=0.03,
                eps=0.06,
                targeted=True,
                box=_box_of_colours(),
            ),
        ),
        Probe("x, afterwards", _x_afterwards),
    ),
    hints=(
        "Which of two small changes of a pixel, up or down, raises the loss? And how far may all steps together go?",
        "Move `attacked` by step * gradient.sign(), or by its negative if targeted. Then compare with x: clamp the"
        " difference to (-eps, eps), add it to x, and clamp the image to the box.",
        "moved = attacked + step * gradient.sign() (minus if targeted);"
        " return (x + (moved - x).clamp(-eps, eps)).clamp(*box)",
    ),
    mistakes=(
        Mistake(
            "gradient-instead-of-its-sign",
            _attack_with(direction=_up_or_down),
            "The step follows the gradient itself, which is tiny for most pixels: take its sign, so that each pixel"
            " moves by `step`.",
        ),
        Mistake(
            "gradient-of-length-1",
            _attack_with(direction=lambda gradient, targeted: _up_or_down(gradient / gradient.norm(), targeted)),
            "The gradient is divided by its length, the step of an L2 attack: eps limits each pixel, so take the sign.",
        ),
        Mistake(
            "wrong-way",
            _attack_with(direction=lambda gradient, targeted: _up_or_down(-gradient.sign(), targeted)),
            "The step goes the wrong way: the loss of the true label is to grow, and only that of a target to shrink.",
        ),
        Mistake(
            "targeted-ignored",
            _attack_with(direction=lambda gradient, targeted: gradient.sign()),
            "With targeted=True the step leads away from the target: go against the gradient there, minus the sign.",
        ),
        Mistake(
            "always-downhill",
            _attack_with(direction=lambda gradient, targeted: -gradient.sign()),
            "The loss always shrinks, as in training: without a target, go along the gradient, plus the sign.",
        ),
        Mistake(
            "sign-by-division",
            _attack_with(direction=lambda gradient, targeted: _up_or_down(gradient / gradient.abs(), targeted)),
            "A pixel without gradient gives 0 / 0, NaN: gradient.sign() is 0 there.",
        ),
        Mistake(
            "no-gradient-counts-as-negative",
            _attack_with(direction=lambda gradient, targeted: _up_or_down(2.0 * (gradient > 0) - 1, targeted)),
            "A pixel without gradient moves as well: gradient.sign() is 0 there, neither 1 nor -1.",
        ),
        Mistake(
            "no-ball",
            _attack_with(ball=lambda moved, x, eps: moved),
            "Several steps lead farther than eps from x: clamp the difference from x to (-eps, eps).",
        ),
        Mistake(
            "ball-around-attacked",
            _attack_with(
                move=lambda x, attacked, direction, step, eps: attacked + (step * direction).clamp(-eps, eps),
                ball=lambda moved, x, eps: moved,
            ),
            "The single step is limited to eps, so that all together lead farther: limit the difference from x.",
        ),
        Mistake(
            "starts-from-x",
            _attack_with(move=lambda x, attacked, direction, step, eps: x + step * direction),
            "Each step starts from x again, so that earlier ones are lost: start from `attacked`.",
        ),
        Mistake(
            "eps-as-step",
            _attack_with(move=lambda x, attacked, direction, step, eps: attacked + eps * direction),
            "The step is eps long: `step` is its length, eps the limit of all steps together.",
        ),
        Mistake(
            "step-of-1",
            _attack_with(move=lambda x, attacked, direction, step, eps: attacked + direction),
            "The step is 1 long, and only eps stops it: multiply the sign by `step`.",
        ),
        Mistake(
            "no-box",
            _attack_with(cut=lambda near, box: near),
            "The result leaves the box, with pixels that no image has: clamp it to the box in the end.",
        ),
        Mistake(
            "box-0-to-1",
            _attack_with(cut=lambda near, box: near.clamp(0, 1)),
            "The box is fixed to [0, 1], which moves the pixels of a normalized image by far more than eps: use `box`.",
        ),
        Mistake(
            "changed-in-place",
            _attack_in_place,
            "`attacked` is changed in place, and at the first step that is x itself: write attacked + ..., not +=.",
        ),
    ),
    alternatives=(_attack_by_limits, _attack_by_numpy),
)


# ---- the margin loss ------------------------------------------------------------------------------------------------


def _margin_by_where(
    lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5
) -> Tensor:
    present = labels[:, None] == torch.arange(lengths.shape[1], device=labels.device)
    cost = torch.where(present, F.relu(upper - lengths) ** 2, weight * F.relu(lengths - lower) ** 2)
    return cost.sum() / len(lengths)


def _margin_by_loop(
    lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5
) -> Tensor:
    total = torch.zeros(())
    for row, label in zip(lengths, labels.tolist(), strict=True):
        for k, length in enumerate(row):
            total = total + (max(0, upper - length) ** 2 if k == label else weight * max(0, length - lower) ** 2)
    return total / len(lengths)


def _margin_with(
    *,
    cost: Callable = lambda gap: gap.clamp(min=0).square(),
    add: Callable = lambda present, absent, weight: present + weight * absent,
    reduce: Callable = lambda costs: costs.sum(1).mean(),
) -> Callable:
    """A wrong margin_loss: the parts that are left out are right."""

    def margin_loss(lengths: Tensor, labels: Tensor, upper=0.9, lower=0.1, weight=0.5) -> Tensor:
        present = F.one_hot(labels, lengths.shape[1])  # T_k, (N, K)
        return reduce(add(present * cost(upper - lengths), (1 - present) * cost(lengths - lower), weight))

    return margin_loss


def _lengths() -> tuple[Tensor, Tensor]:
    return _uniform(4, 5), torch.tensor([2, 0, 4, 2])


MARGIN = Exercise(
    name="margin_loss",
    reference=paper.margin_loss,
    probes=(
        Probe(
            "lengths (0.8, 0.3, 0.05) and the label 0", lambda f: f(torch.tensor([[0.8, 0.3, 0.05]]), torch.tensor([0]))
        ),
        Probe(
            "lengths (0.05, 0.95) and the label 1: all is well",
            lambda f: f(torch.tensor([[0.05, 0.95]]), torch.tensor([1])),
        ),
        Probe("4 images, 5 classes", lambda f: f(*_lengths())),
        Probe(
            "the same images twice: the loss does not change",
            lambda f: f(*(x.repeat_interleave(2, 0) for x in _lengths())),
        ),
        Probe("upper = 0.8, lower = 0.2, weight = 0.25", lambda f: f(*_lengths(), upper=0.8, lower=0.2, weight=0.25)),
        Probe("nothing is active: all lengths are 0", lambda f: f(torch.zeros(2, 3), torch.tensor([1, 2]))),
        Probe(
            "the gradient with respect to the lengths",
            lambda f: _gradient(lambda lengths: f(lengths, _lengths()[1]), _lengths()[0]),
        ),
    ),
    hints=(
        "Two wishes: the capsule of the true class should be long enough, the others short enough. When is it enough?",
        "F.one_hot(labels, K) is T. The true class costs max(0, upper - length)^2, any other weight *"
        " max(0, length - lower)^2. Sum over the classes, mean over the images.",
        "(T * (upper - lengths).clamp(min=0) ** 2 + weight * (1 - T) * (lengths - lower).clamp(min=0) ** 2), summed"
        " over the classes and averaged over the images.",
    ),
    mistakes=(
        Mistake(
            "not-squared",
            _margin_with(cost=lambda gap: gap.clamp(min=0)),
            "The distances from the margins are not squared: square each, so that large ones count for more.",
        ),
        Mistake(
            "no-margin",
            _margin_with(cost=lambda gap: gap.square()),
            "A capsule beyond its margin costs as well: clamp the distance at 0 before you square it.",
        ),
        Mistake(
            "differences-reversed",
            _margin_with(cost=lambda gap: (-gap).clamp(min=0).square()),
            "The differences are the wrong way round, so that the right answers cost: take upper - length for the true"
            " class and length - lower for the others.",
        ),
        Mistake(
            "margins-exchanged",
            lambda lengths, labels, upper=0.9, lower=0.1, weight=0.5: paper.margin_loss(
                lengths, labels, lower, upper, weight
            ),
            "The margins are exchanged: the true class should be longer than upper, the others shorter than lower.",
        ),
        Mistake(
            "weight-forgotten",
            _margin_with(add=lambda present, absent, weight: present + absent),
            "The weight of the other classes is missing: they are many, and without it all capsules shrink at first.",
        ),
        Mistake(
            "weight-on-the-true-class",
            _margin_with(add=lambda present, absent, weight: weight * present + absent),
            "The weight is on the true class: it belongs to the others.",
        ),
        Mistake(
            "weight-on-everything",
            _margin_with(add=lambda present, absent, weight: weight * (present + absent)),
            "The weight is on both terms: the true class has none.",
        ),
        Mistake(
            "true-class-only",
            _margin_with(add=lambda present, absent, weight: present),
            "Only the true class counts, so that all capsules may be long: add the term of the other classes.",
        ),
        Mistake(
            "mean-over-classes",
            _margin_with(reduce=lambda costs: costs.mean()),
            "The mean runs over the classes, too: sum over them, and take the mean over the images only.",
        ),
        Mistake(
            "sum-over-images",
            _margin_with(reduce=lambda costs: costs.sum()),
            "The loss is summed over the images, so that it grows with the batch: take their mean.",
        ),
        Mistake(
            "one-number-an-image",
            _margin_with(reduce=lambda costs: costs.sum(1)),
            "The mean over the images is missing: a loss is one number.",
        ),
        Mistake(
            "numbers-written-in",
            lambda lengths, labels, upper=0.9, lower=0.1, weight=0.5: paper.margin_loss(lengths, labels),
            "The numbers 0.9, 0.1 and 0.5 are written in: use the arguments upper, lower and weight.",
        ),
    ),
    alternatives=(_margin_by_where, _margin_by_loop),
)

EXERCISES = (SQUASH, COEFFICIENTS, ACTIVATIONS, AVERAGE, DYNAMIC, ATTACK, MARGIN)
