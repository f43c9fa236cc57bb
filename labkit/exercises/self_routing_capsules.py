"""The exercises of lesson 05, in its order: the plain answer to each, what is tried, hints, and common mistakes.

An edit of the answer is a real wrong answer; the tests prove that each is caught by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import gradient, normal
from labkit.papers import self_routing_capsules as paper


def _uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# ---- squash ---------------------------------------------------------------------------------------------------------


def squash(s: Tensor, dim: int = -1) -> Tensor:
    square = s.square().sum(dim, keepdim=True)  # |s|^2
    length = square.clamp(min=1e-24).sqrt()  # the slope of a root is infinite at 0
    return s * length / (1 + square)


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
        Probe("4 vectors of 4 numbers", lambda f: f(normal(4, 4))),
        Probe("maps of shape (3, 3, 3), dim = 1", lambda f: f(normal(3, 3, 3), dim=1)),
        Probe("a vector of zeros beside (1, 2)", lambda f: f(_with_a_zero_vector())),
        Probe("the gradient of a vector of zeros beside (1, 2)", lambda f: gradient(f, _with_a_zero_vector())),
    ),
    hints=(
        "Which way does v point, and how long is it where s is very short, and where it is very long?",
        "|s|^2 is the sum of squares along `dim`, with keepdim=True. In |s|^2 / (1 + |s|^2) * s / |s| one |s| cancels,"
        " and with it the division by 0. What is left has a root, whose slope is infinite at 0: clamp |s|^2 first.",
        skeleton(squash, "s.square().sum(dim, keepdim=True)", "square.clamp(min=1e-24)", "length / (1 + square)"),
    ),
    mistakes=mistakes(
        squash,
        """
        length-1: s * length / (1 + square) => s / square.sqrt()
            Every vector has the length 1 now: multiply by |s|^2 / (1 + |s|^2), so that short ones become shorter.

        direction-not-divided: s * length / (1 + square) => square / (1 + square) * s
            s is not divided by its length, so that long vectors stay long: the direction is s / |s|.

        divided-twice: s * length / (1 + square) => square / (1 + square) * s / square
            s is divided by |s|^2, which makes long vectors short: the direction is s / |s|, divided only once.

        length-not-squared: s * length / (1 + square) => length / (1 + length) * s / square.sqrt()
            The new length is |s| / (1 + |s|): square both, |s|^2 / (1 + |s|^2), so that short vectors nearly vanish.

        denominator-not-squared: s * length / (1 + square) => square / (1 + length) * s / square.sqrt()
            The new length is |s|^2 / (1 + |s|), which grows beyond 1: square the |s| below as well.

        numerator-missing: s * length / (1 + square) => 1 / (1 + square) * s / square.sqrt()
            The new length is 1 / (1 + |s|^2), so that the shortest vectors become the longest: put |s|^2 on top.

        nan-at-zero: s * length / (1 + square) => square / (1 + square) * s / square.sqrt()
            A vector of zeros gives 0 / 0, NaN: cancel one |s|, s * |s| / (1 + |s|^2) is the same without a division.

        nan-gradient-at-zero: square.clamp(min=1e-24).sqrt() => square.sqrt()
            The values are right, but at a vector of zeros the gradient is NaN, for a root has an infinite slope at 0:
            clamp the squared length before you take its root.

        dim-ignored: .sum(dim, => .sum(-1,
            The length is always taken along the last axis: pass `dim` on to the sum.

        along-the-first-axis: .sum(dim, => .sum(0,
            The length is taken along the first axis, across different vectors: a vector lies along `dim`.

        one-length-for-all: .sum(dim, keepdim=True) => .sum()
            All vectors share one length: give each its own, with the sum along `dim` alone.

        axis-lost: .sum(dim, keepdim=True) => .sum(dim)
          + s * length / (1 + square) => square / (1 + square) * s / square.sqrt()
            The lengths have lost their axis, so that vectors get those of their neighbours: sum with keepdim=True.

        mean-of-squares: .sum(dim, => .mean(dim,
          + s * length / (1 + square) => square / (1 + square) * s / square.sqrt()
            The squares are averaged, so that the length depends on how many numbers a pose has: sum them.

        number-by-number: s * length / (1 + square) => s * s.abs() / (1 + s.square())
            Each number is squashed by itself, which turns the vector: all its numbers shrink by the same factor.
        """,
    ),
    answer=squash,
    minutes=7,
    difficulty=2,
    importance=2,
)


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def dynamic_routing(votes: Tensor, iterations: int = 3) -> Tensor:
    b = torch.zeros_like(votes[..., 0])  # scores, (M, B, I)
    for _ in range(iterations):
        c = b.softmax(1)  # what each lower capsule gives to each upper one
        s = (c[..., None] * votes).sum(2)  # (M, B, D)
        v = squash(s)
        b = b + (votes * v[:, :, None]).sum(3)  # agreement, v_j . vote_ij
    return v


def _votes() -> Tensor:
    return normal(2, 3, 6, 4)


DYNAMIC = Exercise(
    name="dynamic_routing",
    reference=paper.dynamic_routing,
    probes=(
        Probe(
            "votes (3, 0) and (3, 8) for one upper capsule, (2, 0) and (0, 2) for the other, 1 iteration",
            lambda f: f(torch.tensor([[[[3.0, 0.0], [3.0, 8.0]], [[2.0, 0.0], [0.0, 2.0]]]]), 1),
        ),
        Probe("1 iteration, 2 windows, 3 upper and 6 lower capsules", lambda f: f(_votes(), 1)),
        Probe("2 iterations, 2 windows, 3 upper and 6 lower capsules", lambda f: f(_votes(), 2)),
        Probe("3 iterations, the default, 2 windows, 3 upper and 6 lower capsules", lambda f: f(_votes())),
        Probe("iterations = 5, 2 windows, 3 upper and 6 lower capsules", lambda f: f(_votes(), iterations=5)),
        Probe(
            "two windows, in one of which all votes are 0",
            lambda f: f(_votes() * torch.tensor([1.0, 0.0])[:, None, None, None]),
        ),
        Probe(
            "the gradient with respect to the votes, 1 iteration",
            lambda f: gradient(lambda votes: f(votes, 1), _votes()),
        ),
        Probe("the gradient with respect to the votes, 3 iterations", lambda f: gradient(f, _votes())),
    ),
    hints=(
        "Who agrees with the crowd gets a louder voice in the next round. What measures how well a vote agrees?",
        "b starts with zeros, (M, B, I). Each round: c is the softmax of b over the upper capsules (axis 1), s the sum"
        " of c times votes over the lower ones (axis 2), v is squash(s), and the product v . vote is added to b.",
        skeleton(dynamic_routing, "b.softmax(1)", "(c[..., None] * votes).sum(2)", "(votes * v[:, :, None]).sum(3)"),
    ),
    mistakes=mistakes(
        dynamic_routing,
        """
        softmax-over-lower-capsules: b.softmax(1) => b.softmax(2)
            The softmax runs over the lower capsules i, as in some published ports: each of them shares itself among
            the upper ones j, so take it over axis 1.

        softmax-over-windows: b.softmax(1) => b.softmax(0)
            The softmax runs over the windows, each of which routes by itself: take it over the upper capsules, axis 1.

        logits-overwritten: b = b + (votes => b = (votes
            The agreement replaces the logits, so that earlier rounds are forgotten: add it to them.

        softmax-outside-the-loop: c = b.softmax(1) =>
          + b = torch.zeros_like(votes[..., 0]) => b = torch.zeros_like(votes[..., 0]); c = b.softmax(1)
            Nothing changes after the first round: take the softmax of the new logits inside the loop.

        coefficients-detached: b.softmax(1) => b.detach().softmax(1)
            The values are right, but the coefficients are cut off from the graph, as if routing did not depend on the
            votes: leave out detach.

        no-squash: v = squash(s) => v = s
            The sums are not squashed, so that poses are longer than 1 and the agreement explodes: v = squash(s).

        agreement-with-the-sum: v[:, :, None] => s[:, :, None]
            The votes are compared with the sum s: compare them with the squashed pose v.

        agreement-as-cosine: (votes * v[:, :, None]).sum(3) => F.cosine_similarity(votes, v[:, :, None], dim=3)
            The agreement is a cosine, which ignores how long votes and pose are: take their plain product, v . vote.

        agreement-subtracted: b = b + => b = b -
            The agreement is subtracted, so that those who disagree become louder: add it.

        agreement-shared-by-the-windows: .sum(3) => .sum(3).mean(0)
            The agreement is averaged over the windows, so that an image's routing depends on the others in its batch:
            each window keeps its own logits.

        mean-over-lower-capsules: .sum(2) => .mean(2)
            The weighted votes are averaged over the lower capsules: sum them, the softmax is their only scale.

        squashed-across-upper-capsules: squash(s) => squash(s, 1)
            squash works across the upper capsules: a pose lies along the last axis.

        iterations-ignored: range(iterations) => range(3)
            There are always three rounds: take `iterations`, 3 is only its default.

        one-iteration-too-few: range(iterations) => range(iterations - 1)
            There is one round too few, and with 1 iteration none at all: the loop runs `iterations` times.

        last-update-forgotten: range(iterations) => range(max(iterations - 1, 1))
            The last round does not know the agreement of the one before and repeats it: only the update after the
            last round may be left out.

        one-iteration-too-many: range(iterations) => range(iterations + 1)
            This is one round too many: with 1 iteration, the coefficients are still uniform.

        nan-where-all-votes-are-zero: v = squash(s) => n = s.norm(dim=2, keepdim=True); v = n**2 / (1 + n**2) * s / n
            Where all votes are 0 the poses are NaN, for squash divides 0 by 0: use the squash of the exercise above.
        """,
    ),
    answer=dynamic_routing,
    minutes=12,
    difficulty=3,
    importance=3,
)


# ---- the margin loss ------------------------------------------------------------------------------------------------


def margin_loss(lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5) -> Tensor:
    present = F.one_hot(labels, lengths.shape[1])  # T_k, (N, K)
    missing = (upper - lengths).clamp(min=0).square()
    surplus = (lengths - lower).clamp(min=0).square()
    return (present * missing + weight * (1 - present) * surplus).sum(1).mean()


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
            "4 images, each twice: the loss does not change",
            lambda f: f(*(x.repeat_interleave(2, 0) for x in _lengths())),
        ),
        Probe("upper = 0.8, lower = 0.2, weight = 0.25", lambda f: f(*_lengths(), upper=0.8, lower=0.2, weight=0.25)),
        Probe("nothing is active: all lengths are 0", lambda f: f(torch.zeros(2, 3), torch.tensor([1, 2]))),
        Probe(
            "the gradient with respect to the lengths",
            lambda f: gradient(lambda lengths: f(lengths, _lengths()[1]), _lengths()[0]),
        ),
    ),
    hints=(
        "Two wishes: the capsule of the true class should be long enough, the others short enough. When is it enough?",
        "F.one_hot(labels, K) is T. The true class costs max(0, upper - length)^2, any other weight *"
        " max(0, length - lower)^2. Sum over the classes, mean over the images.",
        skeleton(
            margin_loss,
            "(upper - lengths).clamp(min=0).square()",
            "(lengths - lower).clamp(min=0).square()",
            "present * missing + weight * (1 - present) * surplus",
        ),
    ),
    mistakes=mistakes(
        margin_loss,
        """
        not-squared: (upper - lengths).clamp(min=0).square() => (upper - lengths).clamp(min=0)
          + (lengths - lower).clamp(min=0).square() => (lengths - lower).clamp(min=0)
            The distances from the margins are not squared: square each, so that large ones count for more.

        no-margin: (upper - lengths).clamp(min=0) => (upper - lengths)
          + (lengths - lower).clamp(min=0) => (lengths - lower)
            A capsule beyond its margin costs as well: clamp the distance at 0 before you square it.

        differences-reversed: upper - lengths => lengths - upper
          + lengths - lower => lower - lengths
            The differences are the wrong way round, so that the right answers cost: take upper - length for the true
            class and length - lower for the others.

        margins-exchanged: upper - lengths => lower - lengths
          + lengths - lower => lengths - upper
            The margins are exchanged: the true class should be longer than upper, the others shorter than lower.

        weight-forgotten: weight * (1 - present) => (1 - present)
            The weight of the other classes is missing: they are many, and without it all capsules shrink at first.

        weight-on-the-true-class: weight * (1 - present) => (1 - present)
          + present * missing => weight * present * missing
            The weight is on the true class: it belongs to the others.

        weight-on-everything: present * missing + weight => weight * present * missing + weight
            The weight is on both terms: the true class has none.

        true-class-only: + weight * (1 - present) * surplus =>
            Only the true class counts, so that all capsules may be long: add the term of the other classes.

        mean-over-classes: .sum(1).mean() => .mean()
            The mean runs over the classes, too: sum over them, and take the mean over the images only.

        sum-over-images: .sum(1).mean() => .sum()
            The loss is summed over the images, so that it grows with the batch: take their mean.

        one-number-an-image: .sum(1).mean() => .sum(1)
            The mean over the images is missing: a loss is one number.

        numbers-written-in: upper - lengths => 0.9 - lengths
          + lengths - lower => lengths - 0.1
          + weight * (1 - present) => 0.5 * (1 - present)
            The numbers 0.9, 0.1 and 0.5 are written in: use the arguments upper, lower and weight.

        classes-counted-from-the-labels: F.one_hot(labels, lengths.shape[1]) => F.one_hot(labels)
            F.one_hot counts the classes from the labels of the batch, in which the last ones may be missing: tell it
            how many there are, lengths.shape[1].
        """,
    ),
    answer=margin_loss,
    minutes=8,
    difficulty=2,
    importance=1,
    level="stretch",
)


# ---- routing coefficients -------------------------------------------------------------------------------------------


def routing_coefficients(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    logits = torch.bmm(u, route) + bias  # each lower capsule has a linear layer of its own, (I, M, B)
    return logits.softmax(2)


def _three_capsules() -> tuple[Tensor, Tensor, Tensor]:
    """Poses of 2 numbers at 5 windows, for 4 upper capsules."""
    return normal(3, 5, 2), normal(3, 2, 4, seed=1), normal(3, 1, 4, seed=2)


def _gradient_of_route(f: Callable) -> Tensor:
    u, route, bias = _three_capsules()
    return gradient(lambda route: f(u, route, bias), route)


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
            lambda f: f(normal(3, 5, 2), torch.zeros(3, 2, 4), torch.zeros(3, 1, 4)),
        ),
        Probe("3 lower capsules, 5 windows, 4 upper capsules", lambda f: f(*_three_capsules())),
        Probe("poses of zeros, so that the bias decides", lambda f: f(torch.zeros(3, 5, 2), *_three_capsules()[1:])),
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
        skeleton(routing_coefficients, "torch.bmm(u, route) + bias", ".softmax(2)"),
    ),
    mistakes=mistakes(
        routing_coefficients,
        """
        softmax-over-lower-capsules: .softmax(2) => .softmax(0)
            The softmax runs over the lower capsules i, as in some published ports: each of them shares itself among
            the upper ones j, so take it over the last axis.

        softmax-over-windows: .softmax(2) => .softmax(1)
            The softmax runs over the windows, which have nothing to share: take it over the upper capsules, the last
            axis.

        no-softmax: .softmax(2) =>
            These are the logits: a softmax over the upper capsules makes shares of them that add up to 1.

        sigmoid: .softmax(2) => .sigmoid()
            With a sigmoid a capsule can belong to all upper ones or to none: a softmax lets them compete for it.

        log-softmax: .softmax(2) => .log_softmax(2)
            These are the logarithms of the coefficients: take softmax instead of log_softmax.

        divided-by-the-sum: logits.softmax(2) => logits / logits.sum(2, keepdim=True)
            The logits are divided by their sum, which may be 0 or negative: a softmax takes exponentials first.

        exponentials-overflow: logits.softmax(2) => logits.exp() / logits.exp().sum(2, keepdim=True)
            The exponential of a large logit is infinite, and inf / inf is NaN: use softmax, or subtract the largest
            logit first.

        winner-takes-all: logits.softmax(2) => F.one_hot(logits.argmax(2), logits.shape[2]).float()
            Each capsule goes wholly to the upper one with the largest logit, a choice that has no gradient: use a
            softmax.

        bias-forgotten: + bias =>
            The bias is missing: add it to the logits, before the softmax.

        bias-after-the-softmax: + bias =>
          + .softmax(2) => .softmax(2) + bias
            The bias is added after the softmax, so that the shares do not add up to 1: add it to the logits.

        one-network-for-all: torch.bmm(u, route) => u @ route[0]
            All lower capsules use the matrix of the first: each has its own, torch.bmm pairs u[i] with route[i].

        scaled-as-in-attention: torch.bmm(u, route) => torch.bmm(u, route) / math.sqrt(u.shape[2])
            The logits are divided by sqrt(C), as in attention: self-routing takes them as they are.

        no-gradient: .softmax(2) => .softmax(2).detach()
            The values are right but carry no gradient, so that the routing would never learn: leave out detach and
            torch.no_grad.
        """,
    ),
    answer=routing_coefficients,
    minutes=6,
    difficulty=1,
    importance=3,
)


# ---- activations of the upper capsules ------------------------------------------------------------------------------


def routed_activations(c: Tensor, a: Tensor) -> Tensor:
    total = a.sum(0)  # over the lower capsules, (M, 1)
    return (c * a).sum(0) / total.clamp(min=1e-12)


def _shares(*shape: int) -> Tensor:
    """Coefficients (I, M, B) that add up to 1 over the upper capsules."""
    return (2 * normal(*shape)).softmax(2)


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
        Probe("6 lower capsules, of activations below 0.01", lambda f: f(_shares(6, 5, 3), _uniform(6, 5, 1) / 100)),
        Probe("a single lower capsule", lambda f: f(_shares(1, 2, 3), _uniform(1, 2, 1))),
        Probe(
            "three windows, in one of which nothing is active",
            lambda f: f(_shares(4, 3, 2), _active_but_for_one_window()),
        ),
        Probe(
            "the gradient with respect to the logits of the coefficients",
            lambda f: gradient(lambda logits: f(logits.softmax(2), _uniform(6, 5, 1)), normal(6, 5, 3)),
        ),
        Probe(
            "the gradient with respect to the logits of the coefficients, in one of three windows nothing is active",
            lambda f: gradient(lambda logits: f(logits.softmax(2), _active_but_for_one_window()), normal(4, 3, 2)),
        ),
    ),
    hints=(
        "Each lower capsule gives away its activation in shares. Which part of all that is given does capsule j get?",
        "c * a is (I, M, B), for a has one number in place of B. Sum it over the lower capsules, the first axis, and"
        " divide by the sum of a over the same axis, (M, 1). Keep that sum off 0 before you divide.",
        skeleton(routed_activations, "a.sum(0)", "(c * a).sum(0)", "total.clamp(min=1e-12)"),
    ),
    mistakes=mistakes(
        routed_activations,
        """
        not-divided: / total.clamp(min=1e-12) =>
            The sum is not divided, so that it grows with the number of capsules: divide by the sum of a_i over i.

        divided-by-the-number: (c * a).sum(0) / total.clamp(min=1e-12) => (c * a).mean(0)
            The sum is divided by the number of lower capsules, so that silent ones count: divide by the sum of a_i.

        divided-by-the-coefficients: total.clamp(min=1e-12) => c.sum(0)
            The sum is divided by that of the c_ij, which gives a mean of the a_i: a_i is the weight here, divide by
            its sum.

        divided-by-itself: total.clamp(min=1e-12) => (c * a).sum(0)
            The sum is divided by itself, so that every activation becomes 1: divide by the sum of a_i alone.

        activations-ignored: (c * a).sum(0) / total.clamp(min=1e-12) => c.mean(0)
            Every lower capsule counts alike, also a silent one: weigh c_ij by a_i.

        largest-instead-of-sum: (c * a).sum(0) / total.clamp(min=1e-12) => (c * a).amax(0)
            Only the strongest lower capsule is heard, as in max pooling: sum over all of them and divide.

        softmax-of-the-sums: / total.clamp(min=1e-12) => .softmax(1)
            A softmax is put on the sums: divided by the sum of a_i they add up to 1 already.

        one-sum-for-all-windows: total.clamp(min=1e-12) => a.sum()
            All windows are divided by the same number: each has its own sum of a_i, over the first axis alone.

        summed-over-windows: a.sum(0) => a.sum(1)
          + (c * a).sum(0) => (c * a).sum(1)
            The sums run over the windows: sum over the lower capsules, the first axis.

        nan-where-nothing-is-active: total.clamp(min=1e-12) => total
            A window without any activity gives 0 / 0, NaN: keep the sum of a_i off 0, as with clamp(min=1e-12).

        nan-gradient-where-nothing-is-active: / total.clamp(min=1e-12) => .div(total).nan_to_num()
            The values are right, but a window without any activity has the gradient NaN: nan_to_num and where hide the
            0 / 0 on the way forward alone. Keep the sum of a_i off 0 before you divide.
        """,
    ),
    answer=routed_activations,
    minutes=5,
    difficulty=1,
    importance=3,
)


# ---- poses of the upper capsules ------------------------------------------------------------------------------------


def pose_average(votes: Tensor, weights: Tensor) -> Tensor:
    weighted = weights[..., None] * votes  # (I, M, B, D)
    total = weights.sum(0).clamp(min=1e-12)  # over the lower capsules, (M, B)
    return weighted.sum(0) / total[..., None]


def _weighed() -> tuple[Tensor, Tensor]:
    return normal(3, 3, 3, 3), _uniform(3, 3, 3, seed=1)


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
        Probe("weights below 0.01, which changes nothing", lambda f: f(_weighed()[0], _weighed()[1] / 100)),
        Probe("equal weights", lambda f: f(_weighed()[0], torch.full((3, 3, 3), 0.2))),
        Probe(
            "a window in which nothing is active, and an upper capsule that nobody belongs to", lambda f: f(*_silent())
        ),
        Probe(
            "the gradient with respect to the votes",
            lambda f: gradient(lambda votes: f(votes, _weighed()[1]), _weighed()[0]),
        ),
        Probe(
            "the gradient with respect to the votes, in one window nothing is active",
            lambda f: gradient(lambda votes: f(votes, _silent()[1]), _silent()[0]),
        ),
    ),
    hints=(
        "Where is the centre of gravity of the votes that an upper capsule hears? What do you divide by?",
        "weights[..., None] gives the weights an axis for the D numbers of a vote. Sum weight times vote over the lower"
        " capsules, the first axis, and divide by the sum of the weights over the same axis; keep that off 0 first.",
        skeleton(pose_average, "weights[..., None] * votes", "weights.sum(0).clamp(min=1e-12)", "total[..., None]"),
    ),
    mistakes=mistakes(
        pose_average,
        """
        not-divided: / total[..., None] =>
            This is the weighted sum, which grows with the weights: divide it by the sum of the weights over i.

        divided-by-the-number: weighted.sum(0) / total[..., None] => weighted.mean(0)
            The sum is divided by the number of votes: a weighted mean is divided by the sum of its weights.

        weights-ignored: weighted.sum(0) / total[..., None] => votes.mean(0)
            This is the plain mean of the votes: weigh each by how much its capsule is active and belongs here.

        weights-normalized-over-upper-capsules: weights[..., None] => weights.div(weights.sum(2)[..., None])[..., None]
          + / total[..., None] =>
            The weights add up to 1 over the upper capsules j: a mean of votes needs those of the lower ones i, the
            first axis.

        divided-by-the-weights-of-all-upper-capsules: weights.sum(0).clamp(min=1e-12) => weights.sum((0, 2))[:, None]
            The sum is divided by the weights of all upper capsules, the sum of a_i: each is divided by its own, over
            i alone.

        divided-by-all-weights: weights.sum(0) => weights.sum()
            The sum is divided by all weights there are: each window and upper capsule has its own, summed over i.

        softmax-of-the-weights: weights[..., None] => weights.softmax(0)[..., None]
          + / total[..., None] =>
            A softmax is put on the weights, so that those of 0 count as well: divide by their sum instead.

        heaviest-vote-only: total = weights.sum(0).clamp(min=1e-12) => heaviest = weights.argmax(0)[None, ..., None]
          + weighted.sum(0) / total[..., None] => votes.take_along_dim(heaviest, 0)[0]
            Only the vote with the largest weight is taken: average all of them.

        averaged-over-upper-capsules: weights.sum(0) => weights.sum(2)
          + weighted.sum(0) => weighted.sum(2)
            The average runs over the upper capsules: average over the lower ones, the first axis.

        weights-on-the-wrong-axes: weights[..., None] => weights
          + weighted.sum(0) / total[..., None] => weighted.sum(0) / weights.sum(0)
            The weights lie along the last axes of the votes, one for each number of a pose: weights[..., None] gives
            them an axis for the pose.

        squashed: weighted.sum(0) / total[..., None] => squash(weighted.sum(0) / total[..., None])
            The mean is squashed, as in dynamic routing: here the activation is a number of its own, leave poses be.

        nan-where-no-weight-is: .clamp(min=1e-12) =>
            Where all weights are 0 this gives 0 / 0, NaN: keep their sum off 0, as with clamp(min=1e-12).

        nan-gradient-where-no-weight-is: .clamp(min=1e-12) =>
          + / total[..., None] => .div(total[..., None]).nan_to_num()
            The values are right, but where all weights are 0 the gradient is NaN: nan_to_num and where hide the 0 / 0
            on the way forward alone. Keep the sum of the weights off 0 before you divide.
        """,
    ),
    answer=pose_average,
    minutes=6,
    difficulty=2,
    importance=3,
)


# ---- one step of an attack ------------------------------------------------------------------------------------------


def attack_step(
    x: Tensor, attacked: Tensor, gradient: Tensor, *, step: float, eps: float, targeted: bool, box: tuple
) -> Tensor:
    """From `attacked`, one step; no pixel ends farther than eps from x, or outside of the box. All (N, C, H, W).

    The two ends of the box are numbers, or tensors (3, 1, 1) with one for each color.
    """
    direction = gradient.sign() * (-1 if targeted else 1)
    moved = attacked + step * direction
    near = x + (moved - x).clamp(-eps, eps)  # no pixel farther than eps from the image
    return near.clamp(*box)


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
    box: tuple = (0.0, 1.0),
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
        Probe(
            "two pixels of 0.5 with the gradient (3, -0.2), step = eps = 0.1, targeted",
            lambda f: _attack(f, _row(0.5, 0.5), _row(3.0, -0.2), targeted=True),
        ),
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
            "an image of 3 colours, after some steps, targeted, in a box whose ends are tensors (3, 1, 1)",
            lambda f: _attack(
                f,
                (3 * _uniform(1, 3, 4, 4) - 1.5).clamp(*_box_of_colours()),
                normal(1, 3, 4, 4),
                0.1 * _uniform(1, 3, 4, 4, seed=1) - 0.05,
                step=0.03,
                eps=0.06,
                targeted=True,
                box=_box_of_colours(),
            ),
        ),
        Probe("x after the call, in which it is also the attacked image", _x_afterwards),
    ),
    hints=(
        "Which of two small changes of a pixel, up or down, raises the loss? And how far may all steps together go?",
        "Move `attacked` by step * gradient.sign(), or by its negative if targeted. Then compare with x: clamp the"
        " difference to (-eps, eps), add it to x, and clamp the image to the box. An end of the box is a number, or a"
        " tensor (3, 1, 1) with one for each colour: clamp takes both.",
        skeleton(attack_step, "gradient.sign() * (-1 if targeted else 1)", "(moved - x).clamp(-eps, eps)", "*box"),
    ),
    mistakes=mistakes(
        attack_step,
        """
        gradient-instead-of-its-sign: gradient.sign() => gradient
            The step follows the gradient itself, which is tiny for most pixels: take its sign, so that each pixel
            moves by `step`.

        gradient-of-length-1: gradient.sign() => gradient / gradient.norm()
            The gradient is divided by its length, the step of an L2 attack: eps limits each pixel, so take the sign.

        wrong-way: -1 if targeted else 1 => 1 if targeted else -1
            The step goes the wrong way: the loss of the true label is to grow, and only that of a target to shrink.

        targeted-ignored: (-1 if targeted else 1) => 1
            With targeted=True the step leads away from the target: go against the gradient there, minus the sign.

        always-downhill: (-1 if targeted else 1) => -1
            The loss always shrinks, as in training: without a target, go along the gradient, plus the sign.

        sign-by-division: gradient.sign() => gradient / gradient.abs()
            A pixel without gradient gives 0 / 0, NaN: gradient.sign() is 0 there.

        no-gradient-counts-as-negative: gradient.sign() => (2.0 * (gradient > 0) - 1)
            A pixel without gradient moves as well: gradient.sign() is 0 there, neither 1 nor -1.

        no-ball: x + (moved - x).clamp(-eps, eps) => moved
            Several steps lead farther than eps from x: clamp the difference from x to (-eps, eps).

        ball-around-attacked: step * direction => (step * direction).clamp(-eps, eps)
          + x + (moved - x).clamp(-eps, eps) => moved
            The single step is limited to eps, so that all together lead farther: limit the difference from x.

        starts-from-x: attacked + step => x + step
            Each step starts from x again, so that earlier ones are lost: start from `attacked`.

        eps-as-step: step * direction => eps * direction
            The step is eps long: `step` is its length, eps the limit of all steps together.

        step-of-1: step * direction => direction
            The step is 1 long, and only eps stops it: multiply the sign by `step`.

        no-box: near.clamp(*box) => near
            The result leaves the box, with pixels that no image has: clamp it to the box in the end.

        box-0-to-1: near.clamp(*box) => near.clamp(0, 1)
            The box is fixed to [0, 1], which moves the pixels of a normalized image by far more than eps: use `box`.

        box-ends-made-numbers: near.clamp(*box) => near.clamp(float(box[0]), float(box[1]))
            The ends of the box are made numbers, but they may be tensors, with one number for each colour: clamp takes
            them as they are.

        changed-in-place: attacked + step => attacked.add_(step
          + * direction => * direction)
            `attacked` is changed in place, and at the first step that is x itself: write attacked + ..., not +=.
        """,
    ),
    answer=attack_step,
    minutes=7,
    difficulty=2,
    importance=2,
    differentiable=False,
)

# ---- EM routing -----------------------------------------------------------------------------------------------------


def em_routing(votes: Tensor, a: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3) -> tuple[Tensor, Tensor]:
    """Votes (M, B, I, D), a (M, I), beta_u and beta_a (B,) -> activations (M, B) and poses (M, B, D).

    r starts at 1; in round t, from 1, lambda = 0.01 (1 - 0.95^t); 1e-8 is added to each variance. Where nothing is
    active poses are 0.
    """
    r = torch.ones_like(votes[..., 0])  # how much of lower capsule i belongs to upper capsule j, (M, B, I)
    for t in range(1, rounds + 1):
        w = r * a[:, None]  # M-step
        total = w.sum(2)  # (M, B)
        share = (w / total.clamp(min=1e-12)[..., None])[..., None]  # (M, B, I, 1)
        mean = (share * votes).sum(2, keepdim=True)  # (M, B, 1, D)
        squares = (votes - mean).square()
        variance = (share * squares).sum(2, keepdim=True) + 1e-8
        log_sigma = 0.5 * variance.squeeze(2).log()  # (M, B, D)
        cost = (beta_u[:, None] + log_sigma).sum(2) * total
        up = torch.sigmoid(0.01 * (1 - 0.95**t) * (beta_a - cost))
        log_density = -0.5 * (squares / variance + (2 * math.pi * variance).log()).sum(3)  # E-step, (M, B, I)
        r = (up.log()[..., None] + log_density).softmax(1)
    return up, mean.squeeze(2)


def _heard() -> tuple[Tensor, ...]:
    """Votes of 6 lower capsules for 3 upper ones at 2 windows, with large betas: the inverse temperature is small."""
    return 2 * normal(2, 3, 6, 4), _uniform(2, 6, seed=1), 20 * normal(3, seed=2), 500 * normal(3, seed=3)


def _one_number(*votes: float) -> Tensor:
    return torch.tensor(votes)[None, None, :, None]


def _far_from_all() -> Tensor:
    """A vote of a capsule that is hardly active, which no Gaussian can explain."""
    votes = normal(1, 2, 5, 4)
    votes[:, :, 0] += 300
    return votes


EM = Exercise(
    name="em_routing",
    reference=paper.em_routing,
    probes=(
        Probe(
            "votes 1 and 4 for one upper capsule, a = (2, 1), beta_u = 1, beta_a = 1000, 1 round",
            lambda f: f(_one_number(1.0, 4.0), torch.tensor([[2.0, 1.0]]), torch.ones(1), 1000 * torch.ones(1), 1),
        ),
        Probe("1 round, 2 windows, 3 upper and 6 lower capsules", lambda f: f(*_heard(), 1)),
        Probe("2 rounds, 2 windows, 3 upper and 6 lower capsules", lambda f: f(*_heard(), 2)),
        Probe("3 rounds, the default, 2 windows, 3 upper and 6 lower capsules", lambda f: f(*_heard())),
        Probe("rounds = 5, 2 windows, 3 upper and 6 lower capsules", lambda f: f(*_heard(), rounds=5)),
        Probe(
            "two windows, in one of which nothing is active",
            lambda f: f(_heard()[0], _heard()[1] * torch.tensor([[1.0], [0.0]]), *_heard()[2:]),
        ),
        Probe(
            "all votes for an upper capsule alike, so that their variance is the 1e-8 that is added",
            lambda f: f(_one_number(2.0, 2.0, 2.0, 2.0), torch.ones(1, 4), torch.ones(1), torch.ones(1)),
        ),
        Probe(
            "a vote 300 away from all others, of a capsule with a = 1e-6",
            lambda f: f(_far_from_all(), torch.tensor([[1e-6, 1.0, 1.0, 1.0, 1.0]]), torch.zeros(2), torch.zeros(2)),
        ),
        Probe(
            "the gradient of the poses with respect to the votes and of the activations with respect to the betas",
            lambda f: (
                gradient(lambda votes: f(votes, *_heard()[1:])[1], _heard()[0]),
                *gradient(lambda *betas: f(*_heard()[:2], *betas)[0], *_heard()[2:]),
            ),
            rtol=1e-3,
        ),
    ),
    hints=(
        "Each upper capsule is a Gaussian. Whose votes is it fitted to, and who decides afterwards which votes are its"
        " own?",
        "Each round: w = r * a[:, None]; the mean and the variance of the votes over i, weighted by w / w.sum(2), with"
        " 1e-8 added; cost = sum over h of (beta_u + log sigma), times w.sum(2); up = sigmoid(0.01 (1 - 0.95^t)"
        " (beta_a - cost)). Then r is the softmax over j, axis 1, of log up + the log-density of each vote: sum over"
        " h of -(vote - mean)^2 / (2 sigma^2) - log(2 pi sigma^2) / 2.",
        skeleton(
            em_routing,
            "r * a[:, None]",
            "(share * squares).sum(2, keepdim=True) + 1e-8",
            "(beta_u[:, None] + log_sigma).sum(2)",
            "beta_a - cost",
            "squares / variance + (2 * math.pi * variance).log()",
            "up.log()[..., None] + log_density",
        ),
    ),
    mistakes=mistakes(
        em_routing,
        """
        softmax-over-lower-capsules: .softmax(1) => .softmax(2)
            The assignments of one upper capsule add up to 1: those of each lower capsule should, over the upper ones j
            that compete for it, axis 1.

        first-assignments-are-shares: torch.ones_like(votes[..., 0]) => torch.zeros_like(votes[..., 0]).softmax(1)
            Assignments begin at 1 / B, as the paper prints it: here they begin at 1, as in the authors' code, which
            makes the cost of the first round B times as large.

        activations-forgotten: r * a[:, None] => r
            A capsule that is not active counts as much as one that is: weigh each assignment by a_i.

        weights-not-normalized: (w / total.clamp(min=1e-12)[..., None])[..., None] => w[..., None]
            Mean and variance are sums: divide the weights by their own sum over i first.

        plain-variance: (share * squares).sum(2, keepdim=True) => squares.mean(2, keepdim=True)
            The variance counts all votes alike: weigh the squared differences as you weigh the votes for the mean.

        variance-instead-of-deviation: 0.5 * variance.squeeze(2).log() => variance.squeeze(2).log()
            The cost has log sigma^2, which is twice as much: log sigma is half of the logarithm of the variance.

        beta-u-once: (beta_u[:, None] + log_sigma).sum(2) => (beta_u + log_sigma.sum(2))
            beta_u is counted once, but it belongs to each dimension of the pose: add it before the sum over h.

        cost-of-a-mean-vote: .sum(2) * total => .sum(2)
            The cost does not grow with the votes: multiply by the sum of the weights.

        cost-counts-for-the-capsule: beta_a - cost => beta_a + cost
            The cost makes a capsule more active: votes that lie far apart must make it less so, beta_a - cost.

        temperature-of-the-round-before: range(1, rounds + 1) => range(rounds)
            Rounds are counted from 0, so that the inverse temperature lags behind: t is 1 in the first.

        temperature-fixed: 0.01 * (1 - 0.95**t) => 0.01
            The inverse temperature is the same in all rounds: it grows as 0.01 (1 - 0.95^t).

        density-without-its-factor: squares / variance + (2 * math.pi * variance).log() => squares / variance
            The density lacks its factor 1 / sqrt(2 pi sigma^2), so that wide Gaussians explain every vote best:
            subtract log(2 pi sigma^2) / 2.

        divided-by-the-deviation: squares / variance + => squares / variance.sqrt() +
            The squared distances are divided by sigma: a Gaussian has sigma^2 there, the variance.

        activations-above-ignored: up.log()[..., None] + log_density => log_density
            A vote goes where its density is largest, whether that capsule is active or not: multiply by its
            activation, which adds log a_j here.

        activation-without-logarithm: up.log() => up
            The activation is added to a logarithm of densities: add its own logarithm.

        densities-underflow: (up.log()[..., None] + log_density).softmax(1) => up[..., None] * log_density.exp()
          + w = r * a[:, None] => w = r / (r.sum(1, keepdim=True) if t > 1 else 1) * a[:, None]
            The density of a vote far from all means is too small for a float, and becomes 0 under every Gaussian: stay
            with logarithms, softmax of log a_j + the log-density.

        one-round-too-few: range(1, rounds + 1) => range(1, rounds)
            There is one round too few, and with 1 round none at all: t runs from 1 to `rounds`.

        nan-where-nothing-is-active: .clamp(min=1e-12) =>
            A window without any activity gives 0 / 0, NaN: keep the sum of the weights off 0, as with clamp(min=1e-12).
        """,
    ),
    answer=em_routing,
    minutes=20,
    difficulty=3,
    importance=2,
    level="stretch",
)


# ---- a whole layer --------------------------------------------------------------------------------------------------


def self_routing(
    a: Tensor,
    u: Tensor,
    route: Tensor,
    bias: Tensor,
    weight: Tensor,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
) -> tuple[Tensor, Tensor]:
    """A layer: activations (N, A, H, W), poses (N, A * C, H, W) -> those above, (N, B, h, w), (N, B * D, h, w).

    The I = k*k*A lower capsules of a window lie place by place, i = place * A + type, and the numbers of one capsule
    side by side. All windows share route (I, C, B), the gates' bias (I, 1, B), and the matrices, weight (I, C, B, D).
    """
    N, A, H, _ = a.shape

    def windows(maps: Tensor) -> Tensor:  # what each lower capsule says at each place: (k*k*A, N * L, size)
        cut = F.unfold(maps, kernel, padding=padding, stride=stride)  # (N, A * size * k*k, L)
        cut = cut.view(N, A, -1, kernel**2, cut.shape[2])  # (N, A, size, k*k, L)
        return cut.permute(3, 1, 0, 4, 2).flatten(2, 3).flatten(0, 1)

    active, poses = windows(a), windows(u)  # (I, M, 1), (I, M, C)
    c = routing_coefficients(poses, route, bias)  # (I, M, B)
    votes = torch.einsum("imc,icbd->imbd", poses, weight)
    up, pose = routed_activations(c, active), pose_average(votes, c * active)  # (M, B), (M, B, D)
    h = (H + 2 * padding - kernel) // stride + 1  # rows of the upper maps
    up, pose = (rows.unflatten(0, (N, h, -1)) for rows in (up, pose.flatten(1)))  # (N, h, w, channels)
    return up.permute(0, 3, 1, 2), pose.permute(0, 3, 1, 2)


def _layer(A: int, B: int, C: int, D: int, H: int, W: int, kernel: int = 1) -> tuple[Tensor, ...]:
    """Two images' activations and poses, route, bias, weight."""
    lower = kernel**2 * A
    maps = _uniform(2, A, H, W), normal(2, A * C, H, W, seed=1)
    return *maps, normal(lower, C, B, seed=2), normal(lower, 1, B, seed=3), normal(lower, C, B, D, seed=4)


def _silent_corner() -> tuple[Tensor, ...]:
    """Nothing is active in the first of four windows."""
    a, *others = _layer(2, 3, 2, 2, 4, 4, kernel=2)
    a[:, :, :2, :2] = 0.0
    return a, *others


def _gradient_of_parameters(f: Callable) -> tuple[Tensor, ...]:
    a, u, route, bias, weight = _layer(2, 3, 2, 2, 4, 4, 2)
    return gradient(lambda route, weight: f(a, u, route, bias, weight, 2, 2)[1], route, weight)


SELF_ROUTING = Exercise(
    name="self_routing",
    reference=paper.self_routing,
    probes=(
        Probe(
            "one place, one type of capsule with a = 1 and the pose 1, route (0, ln 3), matrices 2 and 5, kernel 1",
            lambda f: f(
                torch.ones(1, 1, 1, 1),
                torch.ones(1, 1, 1, 1),
                torch.tensor([[[0.0, math.log(3)]]]),
                torch.zeros(1, 1, 2),
                torch.tensor([[[[2.0], [5.0]]]]),
                1,
            ),
        ),
        Probe("2 images of 3 x 3, kernel 1, A = B = C = D = 2", lambda f: f(*_layer(2, 2, 2, 2, 3, 3), 1)),
        Probe("2 images of 3 x 3, kernel 3: a single window", lambda f: f(*_layer(2, 2, 2, 2, 3, 3, 3), 3)),
        Probe("kernel 2, stride not given, maps of 4 x 4", lambda f: f(*_layer(2, 3, 4, 5, 4, 4, 2), 2)),
        Probe("kernel 2, stride 2, maps of 8 x 4, not square", lambda f: f(*_layer(3, 2, 2, 4, 8, 4, 2), 2, 2)),
        Probe(
            "kernel 3, stride 2, padding 1, maps of 5 x 5", lambda f: f(*_layer(2, 3, 2, 2, 5, 5, 3), 3, 2, padding=1)
        ),
        Probe("kernel 2, stride 2, nothing is active in one of the windows", lambda f: f(*_silent_corner(), 2, 2)),
        Probe("the gradient of the poses above with respect to route and weight", _gradient_of_parameters),
    ),
    hints=(
        "Which lower capsules does one upper capsule hear, and in which order do their matrices lie? From there on you"
        " have written everything already.",
        "F.unfold(maps, kernel, padding=padding, stride=stride) gives (N, A * size * k*k, L): view it as (N, A, size,"
        " k*k, L) and permute to (k*k, A, N, L, size), so that (k*k*A, N * L, size) is left to flatten. The votes are"
        ' torch.einsum("imc,icbd->imbd", poses, weight), their weights c * a. What comes out has N * L rows, which'
        " become (N, h, w) again, then the channels go to axis 1.",
        skeleton(
            self_routing,
            "cut.view(N, A, -1, kernel**2, cut.shape[2])",
            "permute(3, 1, 0, 4, 2)",
            'torch.einsum("imc,icbd->imbd", poses, weight)',
            "routed_activations(c, active), pose_average(votes, c * active)",
            "(H + 2 * padding - kernel) // stride + 1",
        ),
    ),
    mistakes=mistakes(
        self_routing,
        """
        types-before-places: permute(3, 1, 0, 4, 2) => permute(1, 3, 0, 4, 2)
            The capsules of a window are counted type by type: their parameters lie place by place, i = place * A +
            type.

        numbers-before-types: cut.view(N, A, -1, => cut.view(N, -1, A,
          + permute(3, 1, 0, 4, 2) => permute(3, 2, 0, 4, 1)
            The channels are read as if the first numbers of all capsules came first: the C numbers of one capsule lie
            one behind the other.

        images-mixed-up: permute(3, 1, 0, 4, 2) => permute(3, 1, 4, 0, 2)
            Windows are counted before images, so that the rows go to other images in the end: M runs over the images
            first, and over the windows of each.

        one-matrix-for-the-window: poses, weight) => poses, weight[:A].repeat(kernel**2, 1, 1, 1))
            All places of a window use the matrices of its first place: each place has its own, only windows share.

        upper-and-pose-exchanged: pose.flatten(1) => pose.transpose(1, 2).flatten(1)
            The channels above have the first numbers of all capsules first: put the D numbers of a capsule one behind
            the other.

        routing-without-activity: c * active) => c)
            The votes are weighed by the coefficients alone, so that a silent capsule is heard: the weights are
            c_ij a_i.

        activity-without-routing: c * active) => active.expand_as(c))
            The votes are weighed by the activations alone, so that nothing is routed: the weights are c_ij a_i.

        sum-instead-of-average: pose_average(votes, c * active) => ((c * active)[..., None] * votes).sum(0)
            The weighted votes are summed: divide by the sum of their weights, as pose_average does.

        activity-not-divided: routed_activations(c, active) => (c * active).sum(0)
            The activations above are sums, which may be larger than 1: divide by the sum of the a_i of the window.

        bias-forgotten: route, bias) => route, torch.zeros_like(bias))
            The bias of the gates is not passed on.

        stride-ignored: stride=stride => stride=1
          + // stride + 1 => + 1
            The windows lie one place apart whatever the stride: pass it on to F.unfold.

        padding-ignored: padding=padding, =>
          + H + 2 * padding - kernel => H - kernel
            The maps are not padded: pass `padding` on to F.unfold.

        square-maps-only: (H + 2 * padding - kernel) // stride + 1 => math.isqrt(up.shape[0] // N)
            The number of rows is the root of the number of windows, as in the authors' code: that is so in square maps
            alone, count the rows from H.

        rows-and-columns-exchanged: up.permute(0, 3, 1, 2) => up.permute(0, 3, 2, 1)
          + pose.permute(0, 3, 1, 2) => pose.permute(0, 3, 2, 1)
            The maps above are turned, columns for rows: only the channels move, from the last axis to axis 1.
        """,
    ),
    answer=self_routing,
    minutes=15,
    difficulty=3,
    importance=3,
)

EXERCISES = (COEFFICIENTS, ACTIVATIONS, AVERAGE, SELF_ROUTING, SQUASH, DYNAMIC, ATTACK, MARGIN, EM)
