"""The exercises of lesson 02: plain answers, what they are tried on, hints, and mistakes as edits of the answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import gradient, normal
from labkit.papers import image_patches
from labkit.papers import sparse_autoencoders as paper


def _afterwards(f: Callable, given: Tensor, *arguments: float) -> Tensor:
    """`given`, after `f` has seen it."""
    f(given, *arguments)
    return given


# ---- weight decay on a polynomial -----------------------------------------------------------------------------------


def ridge(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    penalty = weight_decay * torch.eye(features.shape[1], dtype=features.dtype)  # (p, p)
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)


def _powers(points: int, degree: int) -> Tensor:
    return torch.linspace(-1, 1, points, dtype=torch.float64)[:, None] ** torch.arange(degree + 1)


RIDGE = Exercise(
    name="ridge",
    reference=paper.ridge,
    differentiable=False,
    probes=(
        Probe(
            "3 examples (1, 0), (0, 2), (0, 0) with targets (1, 2, 3), weight_decay = 1",
            lambda f: f(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.tensor([1.0, 2.0, 3.0]), 1.0),
        ),
        Probe("8 examples, 3 features, weight_decay = 0", lambda f: f(normal(8, 3), normal(8, seed=1), 0.0)),
        Probe("8 examples, 3 features, weight_decay = 2", lambda f: f(normal(8, 3), normal(8, seed=1), 2.0)),
        Probe(
            "powers up to 4 of 9 points in float64, weight_decay = 0.01",
            lambda f: f(_powers(9, 4), normal(9, seed=1).double(), 0.01),
        ),
    ),
    hints=(
        "Set the gradient of |X w - y|^2 + weight_decay |w|^2 with respect to w to zero: a linear system remains.",
        "(X^T X + weight_decay I) w = X^T y, with the identity of size p by p. Which line builds it?",
        skeleton(ridge, "features.shape[1]", "features.T @ features + penalty", "features.T @ targets"),
    ),
    mistakes=mistakes(
        ridge,
        """
        penalty-missing: + penalty =>
            The penalty is missing, so this is plain least squares: add weight_decay times the identity.

        penalty-times-n: = weight_decay => = len(features) * weight_decay
            The penalty is N times too large: the squared errors are summed over the examples, not averaged.

        penalty-subtracted: + penalty => - penalty
            The penalty is subtracted, so weights become larger instead of smaller: add it.

        penalty-halved: = weight_decay => = weight_decay / 2
            The penalty is halved: both terms are squares here, so the factor 2 of their gradients cancels.

        added-to-every-entry: + penalty => + weight_decay
            weight_decay is added to every entry of the matrix: it belongs on the diagonal, times the identity.

        transposed: features.T @ features => features @ features.T
            features @ features.T is (N, N), and the identity cannot be added to it: write features.T @ features.

        weights-of-the-examples: features.T @ features => features @ features.T
          + features.shape[1] => features.shape[0]
          + features.T @ targets => targets
            This gives a weight to each of the N examples: the p weights need features.T @ features, (p, p).

        predictions-returned: return torch => return features @ torch
            These are the predictions for the N examples: return the p weights themselves.
        """,
    ),
    answer=ridge,
    minutes=8,
    importance=1,
)


# ---- how many units does an image use? ------------------------------------------------------------------------------


def effective_dimension(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return (activations.abs() > threshold).sum(-1)  # (B, m) -> (B,)


def _near_zero() -> Tensor:
    """Three examples of five units: some exactly 0, some within 1e-3 of it, some negative."""
    return torch.tensor(
        [[0.0, 0.5, 5e-4, -2.0, 0.2], [0.0, -1.0, -0.2, -5e-4, 0.0], [3.0, 0.01, 0.2, 0.7, -0.01]],
    )


def _kind(count: Tensor) -> str:
    return f"not whole numbers but {count.dtype}" if count.is_floating_point() else "whole numbers"


EFFECTIVE_DIMENSION = Exercise(
    name="effective_dimension",
    reference=paper.effective_dimension,
    probes=(  # as numbers first: a wrong dtype must not hide a wrong count
        Probe("3 examples of 5 units, the default threshold", lambda f: f(_near_zero()).tolist()),
        Probe("3 examples of 5 units, threshold = 0.1", lambda f: f(_near_zero(), 0.1).tolist()),
        Probe(
            "3 examples of 5 units, threshold = 0, where an activation of exactly 0 does not count",
            lambda f: f(_near_zero(), 0).tolist(),
        ),
        Probe("a dead layer, 2 examples of 6 units", lambda f: f(torch.zeros(2, 6)).tolist()),
        Probe("random activations (4, 50), threshold = 0.5", lambda f: f(normal(4, 50), threshold=0.5).tolist()),
        Probe("the kind of numbers that is returned", lambda f: _kind(f(_near_zero()))),
    ),
    hints=(
        "First ask of every activation whether it is far enough from zero, then count the answers. Along which axis?",
        "activations.abs() > threshold is a tensor of True and False, and True counts as 1 in a sum.",
        skeleton(effective_dimension, "activations.abs() > threshold", "sum(-1)"),
    ),
    mistakes=mistakes(
        effective_dimension,
        """
        no-absolute-value: activations.abs() => activations
            Strongly negative activations are not counted: compare their absolute value with the threshold.

        counted-over-the-batch: .sum(-1) => .sum(0)
            This counts, for each unit, the examples that use it: sum over the last axis, one number an example.

        threshold-ignored: activations.abs() > threshold => activations != 0
            Everything that is not exactly 0 is counted: an activation below the threshold should not be.

        threshold-written-in: > threshold => > 1e-3
            The threshold is fixed at 1e-3: use the argument `threshold`.

        share-instead-of-count: .sum(-1) => .float().mean(-1)
            This is the share of the units that are active: their number is asked for, so sum instead of averaging.

        whole-batch-counted: .sum(-1) => .sum()
            This is one number for the whole batch: sum over the last axis only, one number an example.

        at-least-the-threshold: > threshold => >= threshold
            With >= a dead unit counts as active at the threshold 0: the comparison is a strict >.

        count-as-float: .sum(-1) => .float().sum(-1)
            The count is right, but not a whole number: sum True and False themselves, without float().

        active-ones-added-up: (activations.abs() > threshold) => (activations.abs() * (activations.abs() > threshold))
            This adds up the active activations themselves, an L1 norm: count how many there are.

        all-added-up: (activations.abs() > threshold) => activations.abs()
            This adds up the activations themselves, whatever the threshold: count those above it.
        """,
    ),
    answer=effective_dimension,
    minutes=4,
    difficulty=1,
    differentiable=False,
)


# ---- the L1 penalty -------------------------------------------------------------------------------------------------


def l1_penalty(activations: Tensor) -> Tensor:
    return activations.abs().sum(-1).mean()  # (B, m) -> (B,) -> ()


L1 = Exercise(
    name="l1_penalty",
    reference=paper.l1_penalty,
    probes=(
        Probe("one example (1, 2, 3)", lambda f: f(torch.tensor([[1.0, 2.0, 3.0]]))),
        Probe("two examples, (0.5, -1, 0) and (2, 0, -4)", lambda f: f(torch.tensor([[0.5, -1, 0], [2, 0, -4]]))),
        Probe("random activations of shape (5, 8)", lambda f: f(normal(5, 8))),
        Probe("units that are there twice, side by side, (5, 16)", lambda f: f(normal(5, 8).repeat(1, 2))),
        Probe("a dead layer, 4 examples of 6 units", lambda f: f(torch.zeros(4, 6))),
        Probe("the gradient with respect to activations of shape (5, 8)", lambda f: gradient(f, normal(5, 8))),
    ),
    hints=(
        "Two axes, two different things: what happens to the units of one example, and what to the examples?",
        "Sum the absolute values over the units, the last axis; then average over the batch.",
        skeleton(l1_penalty, "abs()", "sum(-1)", "mean()"),
    ),
    mistakes=mistakes(
        l1_penalty,
        """
        mean-over-everything: .sum(-1).mean() => .mean()
            This averages over the units as well, so lambda would depend on the width of the layer: sum over them.

        summed-over-the-batch: .sum(-1).mean() => .sum()
            This adds up the whole batch, so lambda would depend on its size: average over the examples.

        axes-exchanged: .sum(-1) => .sum(0)
            This averages over the units and sums over the batch: it is the other way round.

        no-absolute-value: .abs() =>
            The absolute value is missing: a negative activation would be rewarded.

        squared: .abs() => .square()
            These are squares, an L2 penalty: it makes activations small, but hardly any of them zero.

        euclidean-length: .abs().sum(-1) => .norm(dim=-1)
            This is the Euclidean length of the code, norm's default: L1 adds up absolute values.

        one-number-an-example: .sum(-1).mean() => .sum(-1)
            The mean over the batch is missing: a cost is one number.

        no-gradient: .abs() => .detach().abs()
            The value is right but carries no gradient, so training would not notice it: leave out detach and item.
        """,
    ),
    answer=l1_penalty,
    minutes=4,
    difficulty=1,
    importance=3,
)


# ---- atoms of length 1 ----------------------------------------------------------------------------------------------


def normalize_decoder_(weight: Tensor) -> Tensor:
    with torch.no_grad():
        lengths = weight.norm(dim=0, keepdim=True)  # (1, m)
        return weight.div_(torch.where(lengths > 0, lengths, 1))


def _of_a_layer(f: Callable) -> Tensor:
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(normal(4, 3))
    f(layer.weight)
    return layer.weight


def _with_a_zero_atom() -> Tensor:
    return torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, -1.0]])


def _returned(f: Callable) -> str:
    weight = normal(4, 3)
    return "the tensor that was given" if f(weight).data_ptr() == weight.data_ptr() else "another tensor"


NORMALIZE = Exercise(
    name="normalize_decoder_",
    reference=paper.normalize_decoder_,
    differentiable=False,
    probes=(
        Probe("a random weight of shape (4, 3): what is returned", lambda f: f(normal(4, 3))),
        Probe("a random weight of shape (4, 3), afterwards", lambda f: _afterwards(f, normal(4, 3))),
        Probe("an atom of zeros beside two others, afterwards", lambda f: _afterwards(f, _with_a_zero_atom())),
        Probe("atoms that are short already", lambda f: f(0.1 * normal(4, 3, seed=1))),
        Probe("atoms of lengths about 1/1000", lambda f: f(1e-3 * normal(4, 3, seed=1)), rtol=1e-3),
        Probe("the weight of an nn.Linear, a parameter, afterwards", _of_a_layer),
        Probe("which tensor is returned", _returned),
    ),
    hints=(
        "An atom is a column of the weight (n, m): m lengths are needed, each a sum of squares over n numbers.",
        "weight.norm(dim=0) are the m lengths. Divide in place, under torch.no_grad(), and mind an atom of zeros.",
        skeleton(normalize_decoder_, "torch.no_grad()", "dim=0", "div_", "lengths > 0"),
    ),
    mistakes=mistakes(
        normalize_decoder_,
        """
        rows-normalised: dim=0 => dim=1
            The rows have length 1 now: an atom is a column of the decoder's weight, so take the norm over dim=0.

        norm-of-the-matrix: norm(dim=0, keepdim=True) => norm()
            The whole matrix has length 1 now: each atom is to be divided by its own norm, over dim=0.

        squared-norm: norm(dim=0, => square().sum(0,
            This divides by the squared length: take its square root.

        sum-of-absolute-values: norm(dim=0, => abs().sum(0,
            The absolute values of each atom add up to 1 now: what should be 1 is the root of its sum of squares.

        new-tensor: weight.div_( => weight.div(
            The weight that was given is unchanged and a new tensor returned: divide in place, as with div_ or copy_.

        copy-returned: lengths, 1)) => lengths, 1)).clone()
            The weight is right, but a copy of it is returned: return the very tensor that was given.

        zero-atom-becomes-nan: torch.where(lengths > 0, lengths, 1) => lengths
            An atom of zeros is divided by 0 and becomes NaN: leave it as it is.

        only-long-atoms-shortened: torch.where(lengths > 0, lengths, 1) => lengths.clamp(min=1)
            Atoms shorter than 1 are left short: every atom but a zero one gets the length 1.

        number-added-to-the-length: torch.where(lengths > 0, lengths, 1) => (lengths + 1e-3)
            1e-3 is added to each length, so that short atoms stay shorter than 1: divide by the length itself.

        part-of-the-graph: with torch.no_grad(): => if True:
            The change is recorded for the gradient, which a parameter refuses: put it under torch.no_grad().
        """,
    ),
    answer=normalize_decoder_,
    minutes=7,
    importance=3,
    changes=("weight",),
)


# ---- the KL penalty -------------------------------------------------------------------------------------------------


def kl_sparsity(activations_or_mean: Tensor, rho: float) -> Tensor:
    """sum_j KL(rho || rho_hat_j) in nats: activations (B, m), or their mean (m,) -> ().

    rho_hat is the mean over the batch, clamped to [1e-6, 1 - 1e-6].
    """
    rho_hat = activations_or_mean
    if rho_hat.ndim == 2:
        rho_hat = rho_hat.mean(0)  # (B, m) -> (m,)
    rho_hat = rho_hat.clamp(1e-6, 1 - 1e-6)
    on = rho * torch.log(rho / rho_hat)
    off = (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
    return (on + off).sum()


def _activations() -> Tensor:
    return torch.sigmoid(2 * normal(6, 4) - 1)


def _one_always(activation: float) -> Tensor:
    """Activations (6, 3), 0.1 of all units but one."""
    h = torch.full((6, 3), 0.1)
    h[:, 1] = activation
    return h


KL = Exercise(
    name="kl_sparsity",
    reference=paper.kl_sparsity,
    probes=(
        Probe("rho = 0.05 and means rho_hat = (0.05, 0.05)", lambda f: f(torch.full((2,), 0.05), 0.05)),
        Probe("rho = 0.1 and a mean rho_hat = 0.4", lambda f: f(torch.tensor([0.4]), 0.1)),
        Probe("rho = 0.05 and means rho_hat = (0.01, 0.1, 0.5)", lambda f: f(torch.tensor([0.01, 0.1, 0.5]), 0.05)),
        Probe("rho = 0.05 and activations of shape (6, 4)", lambda f: f(_activations(), 0.05)),
        Probe("rho = 0.2 and activations that are 0 or 1, half of each", lambda f: f(torch.eye(2).repeat(3, 2), 0.2)),
        Probe(
            "the gradient with respect to the mean rho_hat = 0.2, rho = 0.05",
            lambda f: gradient(lambda mean: f(mean, 0.05), torch.tensor([0.2])),
        ),
        # 1 - 1e-6 is rounded in float32, by a percent of its distance from 1: where one clamps may differ
        Probe("rho = 0.1, a unit whose activation is always 0", lambda f: f(_one_always(0.0), 0.1), rtol=5e-3),
        Probe("rho = 0.1, a unit whose activation is always 1", lambda f: f(_one_always(1.0), 0.1), rtol=5e-3),
    ),
    hints=(
        "A unit is a coin with rho_hat for heads. Which two outcomes does it have, and what is the mean taken over?",
        "First rho_hat: (B, m) is averaged over its first axis, (m,) is a mean already; clamp it to [1e-6, 1 - 1e-6]."
        " Then two terms, each with its logarithm, summed over the units.",
        skeleton(kl_sparsity, "mean(0)", "rho / rho_hat", "(1 - rho) * torch.log((1 - rho) / (1 - rho_hat))", "sum()"),
    ),
    mistakes=mistakes(
        kl_sparsity,
        """
        second-logarithm-missing: torch.log((1 - rho) / (1 - rho_hat)) => (1 - rho) / (1 - rho_hat)
            The second term has no logarithm, the review's misprint: at rho_hat = rho it must be 0, not 1 - rho.

        second-logarithm-missing-and-not-clamped: torch.log((1 - rho) / (1 - rho_hat)) => (1 - rho) / (1 - rho_hat)
          + .clamp(1e-6, 1 - 1e-6) =>
            The second term has no logarithm, the review's misprint, and rho_hat is not kept away from 0 and 1.

        first-term-only: (on + off) => on
            The second term is missing, as in F.kl_div: a unit is also off, with probability 1 - rho.

        divergence-of-each-example: rho_hat.mean(0) => rho_hat
          + .sum() => .sum(-1).mean()
            The divergence is taken of each example and then averaged, which drives every activation to rho: average
            the activations over the batch first.

        swapped: rho * torch.log(rho / rho_hat) => rho_hat * torch.log(rho_hat / rho)
          + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat)) => (1 - rho_hat) * torch.log((1 - rho_hat) / (1 - rho))
            rho and rho_hat are swapped, and a KL divergence is not symmetric: rho stands in front of each logarithm.

        mean-over-units: .sum() => .mean()
            This is the mean over the units, so beta would depend on the width of the layer: sum over them.

        not-clamped: .clamp(1e-6, 1 - 1e-6) =>
            A unit that is dead, or always on, costs an infinite amount: clamp rho_hat to [1e-6, 1 - 1e-6].

        clamped-at-0-only: 1 - 1e-6) => 1)
            rho_hat is kept away from 0 but not from 1 (1 - 1e-8 is 1 in float32): clamp it to [1e-6, 1 - 1e-6].

        clamped-too-closely: (1e-6, 1 - 1e-6) => (1e-8, 1 - 1e-8)
            1 - 1e-8 is 1 in float32, so that a unit that is always on costs an infinite amount: clamp rho_hat to
            [1e-6, 1 - 1e-6].

        clamped-too-early: (1e-6, 1 - 1e-6) => (1e-3, 1 - 1e-3)
            The clamp is too coarse: a dead unit must go on paying down to 1e-6, so clamp rho_hat to [1e-6, 1 - 1e-6].

        means-averaged-again: if rho_hat.ndim == 2: => if True:
            Means (m,) are averaged once more, over the units: take the mean over the first axis of (B, m) only.
        """,
    ),
    answer=kl_sparsity,
    minutes=10,
    importance=3,
)


# ---- k units, no penalty --------------------------------------------------------------------------------------------


def top_k(activations: Tensor, k: int) -> Tensor:
    values, places = activations.topk(k, dim=-1)  # (B, k)
    others = torch.zeros_like(activations)
    return others.scatter(-1, places, values)


def _of_equals(f: Callable) -> Tensor:
    """Sorted, as nobody says which of the equal ones are to be kept."""
    return f(torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.5], [3.0, 3.0, 3.0, 3.0, 3.0]]), 2).sort(-1).values


TOP_K = Exercise(
    name="top_k",
    reference=paper.top_k,
    probes=(
        Probe("one example (3, 1, 2, 5), k = 2", lambda f: f(torch.tensor([[3.0, 1.0, 2.0, 5.0]]), 2)),
        Probe("one example (-3, 1, 2, -5), k = 3", lambda f: f(torch.tensor([[-3.0, 1.0, 2.0, -5.0]]), 3)),
        Probe("random activations of shape (5, 7), k = 3", lambda f: f(normal(5, 7), 3)),
        Probe("random activations of shape (5, 7), k = 1", lambda f: f(normal(5, 7), 1)),
        Probe("activations of shape (8, 4), k = 4, all of them", lambda f: f(normal(8, 4), 4)),
        Probe("examples (2, 1, 1, 1, 0.5) and (3, 3, 3, 3, 3), k = 2, what is kept of each, sorted", _of_equals),
        Probe("activations of shape (5, 7), afterwards, k = 3", lambda f: _afterwards(f, normal(5, 7), 3)),
        Probe(
            "the gradient with respect to activations of shape (5, 7), k = 3",
            lambda f: gradient(lambda h: f(h, 3), normal(5, 7)),
        ),
    ),
    hints=(
        "Each example chooses its own k units. Which axis holds the units, and what becomes of the others?",
        "activations.topk(k, dim=-1) gives the values and their places; put them back into a tensor of zeros.",
        skeleton(top_k, "topk(k, dim=-1)", "torch.zeros_like(activations)", "places, values"),
    ),
    mistakes=mistakes(
        top_k,
        """
        over-the-batch: dim=-1 => dim=0
          + scatter(-1 => scatter(0
            For each unit the k examples with its largest activations are kept: choose along the last axis, dim=-1.

        mask-instead-of-values: places, values) => places, 1.0)
            This is 1 where a unit is kept: the activations themselves are asked for, so multiply them by it.

        smallest-kept: dim=-1 => dim=-1, largest=False
            The k smallest are kept: sort the other way round.

        largest-set-to-zero: others.scatter(-1, places, values) => activations.scatter(-1, places, 0.0)
            The k largest are set to 0 and the others kept: it is the other way round.

        threshold-of-the-batch: activations.topk(k, dim=-1) => activations.flatten().topk(k)
          + others.scatter(-1, places, values) => activations * (activations >= values[-1])
            One threshold serves the whole batch, so some examples keep more than k units and others none: choose
            within each example.

        ties-kept: others.scatter(-1, places, values) => activations * (activations >= values[:, -1:])
            Where several activations equal the k-th largest, all of them are kept: only k may be, so go by places.

        packed-to-the-left: others.scatter(-1, places, values) => torch.cat([values, others[:, k:]], dim=-1)
            The values are sorted and have lost their places: each must stay with its unit, as with scatter.

        only-the-k-values: others.scatter(-1, places, values) => values
            These are k numbers without their places: return all m units, with zeros where a unit was not chosen.

        largest-magnitude: activations.topk => activations.abs().topk
          + places, values) => places, activations.gather(-1, places))
            Large negative activations are kept: the k largest values are asked for, not the largest magnitudes.

        changed-in-place: others.scatter(-1, places, values) => activations.mul_(others.scatter(-1, places, 1.0))
            The activations that were given are changed: write into a new tensor, such as torch.zeros_like.

        no-gradient: others.scatter(-1, places, values) => others.scatter(-1, places, values).detach()
            The values are right but carry no gradient, so the encoder would not learn: leave out detach and .data.
        """,
    ),
    answer=top_k,
    minutes=8,
)


# ---- whitening ------------------------------------------------------------------------------------------------------


def whiten(train: Tensor, x: Tensor, epsilon: float = 0.01) -> Tensor:
    """The rows of x (M, n), whitened by the ZCA of the rows of train (N, n), -> (M, n).

    The covariance is a sum over N - 1, and to each variance epsilon times the mean of all n is added.
    """
    mean = train.mean(0)  # (n,)
    centered = train - mean  # (N, n)
    covariance = centered.T @ centered / (len(train) - 1)  # (n, n)
    variances, axes = torch.linalg.eigh(covariance)  # (n,) and (n, n), each column an axis
    scale = (variances + epsilon * variances.mean()).rsqrt()  # (n,)
    turned = (x - mean) @ axes * scale  # (M, n)
    return turned @ axes.T


def _correlated(rows: int, seed: int = 0) -> Tensor:
    """Examples of four numbers that are far from 0 and go up and down together."""
    return normal(rows, 4, seed=seed) @ normal(4, 4, seed=9) + 3


def _cross() -> Tensor:
    """Four examples whose variances are 8/3 and 2/3."""
    return torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


WHITEN = Exercise(
    name="whiten",
    reference=image_patches.whiten,
    probes=(
        Probe(
            "train (2, 0), (-2, 0), (0, 1), (0, -1), whose variances are 8/3 and 2/3, x = (2, 1), epsilon = 0",
            lambda f: f(_cross(), torch.tensor([[2.0, 1.0]]), 0.0),
        ),
        Probe(
            "the covariance of 50 examples of 4 numbers after whitening, fitted to themselves, epsilon = 0",
            lambda f: torch.cov(f(_correlated(50), _correlated(50), 0.0).T),
            atol=1e-3,
        ),
        Probe(
            "50 training examples, 20 others, epsilon not given",
            lambda f: f(_correlated(50), _correlated(20, 1)),
            rtol=1e-3,
            atol=1e-3,
        ),
        Probe(
            "50 training examples, a single other one",
            lambda f: f(_correlated(50), _correlated(1, 1)),
            rtol=1e-3,
            atol=1e-3,
        ),
        Probe("50 training examples, 20 others, epsilon = 0.5", lambda f: f(_correlated(50), _correlated(20, 1), 0.5)),
        Probe(
            "50 training examples and 20 others, all numbers 255 times as large, epsilon = 0.5",
            lambda f: f(255 * _correlated(50), 255 * _correlated(20, 1), 0.5),
        ),
        Probe(
            "5 training examples of 8 numbers, which leave directions without variance, 6 others, epsilon = 0.1",
            lambda f: f(normal(5, 8), normal(6, 8, seed=1), epsilon=0.1),
            rtol=1e-3,
            atol=1e-3,
        ),
    ),
    hints=(
        "White numbers are uncorrelated and have the variance 1. What is known before the first test example is seen,"
        " and which turn of the axes makes the covariance diagonal?",
        "Mean and covariance (n, n) come from train, with N - 1. torch.linalg.eigh gives variances and axes, an axis a"
        " column. Turn x - mean to the axes, divide by sqrt(variance + epsilon * mean variance), and turn back.",
        skeleton(
            whiten,
            "centered.T @ centered / (len(train) - 1)",
            "(variances + epsilon * variances.mean()).rsqrt()",
            "(x - mean) @ axes * scale",
            "turned @ axes.T",
        ),
    ),
    mistakes=mistakes(
        whiten,
        """
        fitted-to-x: mean = train.mean(0) => train = x; mean = train.mean(0)
            Mean and covariance are those of x: take them from train, or every set is whitened in another way.

        fitted-to-both: mean = train.mean(0) => train = torch.cat([train, x]); mean = train.mean(0)
            Mean and covariance are those of train and x together: what is to be whitened must not be looked at.

        x-centered-on-its-own-mean: (x - mean) => (x - x.mean(0))
            x is centered on its own mean: subtract the mean of train.

        x-not-centered: (x - mean) => x
            The mean is not subtracted from x.

        train-not-centered: train - mean => train
            train is not centered before its covariance is taken, so that the mean counts as variance.

        root-forgotten: .rsqrt() => .reciprocal()
            Coordinates are divided by the variance: divide by its square root, the standard deviation.

        pca-instead-of-zca: turned @ axes.T => turned
            This is PCA whitening, and pictures no longer look like pictures: turn back, @ axes.T.

        axes-taken-from-rows: (x - mean) @ axes => (x - mean) @ axes.T
          + turned @ axes.T => turned @ axes
            Rows are taken for axes: an eigenvector is a column of what eigh returns, so turn with @ axes, back with .T.

        covariance-of-the-examples: centered.T @ centered => centered @ centered.T
            centered @ centered.T is (N, N), between examples: the covariance of the numbers is (n, n).

        not-divided-by-n: / (len(train) - 1) =>
            The products are summed over the examples: the covariance is their mean, divided by N - 1.

        divided-by-n: (len(train) - 1) => len(train)
            The covariance is divided by N: here it is by N - 1, as torch.cov and torch.var do.

        epsilon-ignored: + epsilon * variances.mean() =>
            epsilon has no effect, so that directions without variance are blown up to noise, infinity or NaN.

        epsilon-absolute: epsilon * variances.mean() => epsilon
            epsilon is added as it is, and what it does depends on the unit of x: multiply it by the mean variance.

        epsilon-as-a-floor: (variances + epsilon * variances.mean()) => variances.clamp(min=epsilon * variances.mean())
            Small variances are lifted to a floor: epsilon times the mean variance is added to all of them.

        standardized: turned @ axes.T => (x - mean) / train.std(0)
            Each number is divided by its own standard deviation, which leaves the correlations: use the axes.
        """,
    ),
    answer=whiten,
    minutes=15,
    difficulty=3,
    level="stretch",
    differentiable=False,  # a preparation of the data; and where two variances are equal, that of eigh is NaN
)


# ---- units that live again ------------------------------------------------------------------------------------------


def replacement_atoms(residuals: Tensor, count: int) -> Tensor:
    """The `count` longest of the residuals x - x_hat (B, n), each scaled to length 1, -> (count, n).

    The longest comes first. A residual of zeros has no direction and stays zero.
    """
    lengths = residuals.norm(dim=1)  # (B,)
    longest = lengths.topk(count).indices  # (count,)
    safe = torch.where(lengths > 0, lengths, 1)  # (B,)
    return residuals[longest] / safe[longest, None]


def _residuals() -> Tensor:
    """The last is the longest, of length 10, and the one of zeros the shortest."""
    return torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [-6.0, 8.0]])


def _long_in_many_ways() -> Tensor:
    """Of the lengths 6, 5, 3.2 and 7: by sums, largest numbers or sums of sizes they come in another order."""
    return torch.tensor([[3.0, 3.0, 3.0, -3.0], [0.0, 0.0, 5.0, 0.0], [1.6, 1.6, 1.6, 1.6], [-4.9, -4.9, 0.0, -1.0]])


ATOMS = Exercise(
    name="replacement_atoms",
    reference=paper.replacement_atoms,
    differentiable=False,  # a new start for a unit, through which nothing is trained
    probes=(
        Probe("residuals (3, 4), (0, 0), (0, 1), (-6, 8), count = 2", lambda f: f(_residuals(), 2)),
        Probe(
            "residuals (3, 3, 3, -3), (0, 0, 5, 0), (1.6, 1.6, 1.6, 1.6), (-4.9, -4.9, 0, -1), count = 3",
            lambda f: f(_long_in_many_ways(), 3),
        ),
        Probe("random residuals of shape (9, 5), count = 4", lambda f: f(normal(9, 5), 4)),
        Probe("random residuals of shape (9, 5), count = 1", lambda f: f(normal(9, 5), 1)),
        Probe("random residuals of shape (3, 6), count = 3, all of them", lambda f: f(normal(3, 6), 3)),
        Probe("random residuals of shape (9, 5), count = 0", lambda f: f(normal(9, 5), 0)),
        Probe("residuals (3, 4), (0, 0), (0, 1), (-6, 8), count = 4, all of them", lambda f: f(_residuals(), 4)),
        Probe("residuals of lengths about 1/1000, count = 4", lambda f: f(1e-3 * normal(9, 5), 4), rtol=1e-3),
        Probe("random residuals of shape (9, 5), afterwards, count = 4", lambda f: _afterwards(f, normal(9, 5), 4)),
    ),
    hints=(
        "What makes a residual a bad one, in one number an example? And what of it is of use as an atom?",
        "residuals.norm(dim=1) are the B lengths, and topk(count) of them has the places in .indices, the longest"
        " first. Divide each of these residuals by its own length, and mind one of zeros.",
        skeleton(replacement_atoms, "norm(dim=1)", "lengths.topk(count)", "lengths > 0", "safe[longest, None]"),
    ),
    mistakes=mistakes(
        replacement_atoms,
        """
        not-normalized: / safe[longest, None] =>
            These are the residuals as they are: scale each to length 1, as every atom is.

        largest-sum: lengths.topk => residuals.sum(1).topk
            The residuals with the largest sums are taken, where positive and negative numbers cancel: take the longest.

        largest-entry: lengths.topk => residuals.abs().amax(1).topk
            The residuals with the largest single number are taken: take the longest, by the norm of all n numbers.

        largest-sum-of-absolute-values: lengths.topk => residuals.abs().sum(1).topk
            The residuals are compared by the sum of their absolute values: take the longest, by the root of the sum of
            squares, as in the reconstruction error.

        sums-of-absolute-values: residuals.norm(dim=1) => residuals.abs().sum(1)
            The absolute values of each atom add up to 1: its length is the root of the sum of its squares.

        shortest: topk(count) => topk(count, largest=False)
            The best reconstructed inputs are taken, with the shortest residuals: take the longest.

        longest-last: topk(count).indices => topk(count).indices.flip(0)
            These are the right ones, the longest last: it should come first.

        sorted-by-place: topk(count).indices => topk(count).indices.sort().values
            These are the right ones in the order of the batch: the longest should come first.

        the-first-ones: lengths.topk(count).indices => torch.arange(count)
            The first residuals of the batch are taken: take the longest, wherever they are.

        over-the-batch: lengths.topk => residuals.norm(dim=1).topk
          + norm(dim=1)  # (B,) => norm(dim=0)
          + safe[longest, None] => safe
            Each input is divided by its norm over the batch: divide each residual by its own, over dim=1.

        norm-of-all-chosen: safe[longest, None] => residuals[longest].norm()
            All atoms together have length 1: divide each residual by its own length.

        norm-of-the-whole-batch: safe[longest, None] => residuals.norm()
            All residuals together have length 1: divide each by its own length.

        all-by-the-longest: safe[longest, None] => lengths.max()
            All are divided by the length of the longest, so that the others are shorter than 1: divide each by its own.

        squared-length: safe[longest, None] => safe[longest, None].square()
            This divides by the squared length: divide by the length.

        number-added-to-the-length: safe[longest, None] => (safe[longest, None] + 1e-3)
            1e-3 is added to each length, so that short atoms stay shorter than 1: divide by the length itself.

        zeros-become-nan: torch.where(lengths > 0, lengths, 1) => lengths
            A residual of zeros is divided by 0 and becomes NaN: leave it as it is.

        the-other-way: return residuals => return -residuals
            The atoms point the other way, as x_hat - x does: they are to add what is missing, x - x_hat.

        columns: safe[longest, None] => safe[longest, None]; return result.T
          + return residuals => result = residuals
            The atoms are columns here, as in a decoder's weight: return rows, (count, n).

        places-returned: return residuals[longest] / safe[longest, None] => return longest
            These are the places of the longest residuals: return the residuals at these places, scaled to length 1.

        residuals-scaled: return residuals => return residuals.div_(safe[:, None])[longest]; return residuals
            The atoms are right, but the residuals that were given are scaled as well: divide into a new tensor.
        """,
    ),
    answer=replacement_atoms,
    minutes=6,
    level="stretch",
)


# ---- a threshold that does not shrink -------------------------------------------------------------------------------


def jump_relu(activations: Tensor, threshold: float | Tensor) -> Tensor:
    """The activations that exceed the threshold as they are, all others set to 0, (..., m) -> (..., m).

    The threshold is one number, or a tensor (m,) of one a unit.
    """
    kept = activations > threshold
    return torch.where(kept, activations, 0)


def _around_a_half() -> Tensor:
    return torch.tensor([[0.2, 0.5, 0.7, -0.9], [3.0, 0.0, -0.5, 0.51]])


JUMP = Exercise(
    name="jump_relu",
    reference=paper.jump_relu,
    probes=(
        Probe("(0.2, 0.5, 0.7, -0.9) and (3, 0, -0.5, 0.51), threshold = 0.5", lambda f: f(_around_a_half(), 0.5)),
        Probe("random activations of shape (5, 7), threshold = 1", lambda f: f(normal(5, 7), 1.0)),
        Probe("random activations of shape (5, 7), threshold = 0, an ordinary ReLU", lambda f: f(normal(5, 7), 0.0)),
        Probe(
            "random activations of shape (5, 3), thresholds (0, 0.5, 1), one a unit",
            lambda f: f(normal(5, 3), torch.tensor([0.0, 0.5, 1.0])),
        ),
        Probe("random activations of shape (3, 3), threshold = 0.3, one for all", lambda f: f(normal(3, 3), 0.3)),
        Probe(
            "random activations of shape (3, 3), thresholds (0, 0.5, 1), one a unit",
            lambda f: f(normal(3, 3), torch.tensor([0.0, 0.5, 1.0])),
        ),
        Probe("random activations of shape (2, 3, 4), threshold = 0.5", lambda f: f(normal(2, 3, 4), 0.5)),
        Probe("random activations of shape (5, 7), threshold = 9, above all of them", lambda f: f(normal(5, 7), 9.0)),
        Probe("activations of shape (5, 7), afterwards, threshold = 1", lambda f: _afterwards(f, normal(5, 7), 1.0)),
        Probe(
            "the gradient with respect to activations of shape (5, 7), threshold = 0.5",
            lambda f: gradient(lambda h: f(h, 0.5), normal(5, 7)),
        ),
    ),
    hints=(
        "A ReLU compares with 0 and keeps what is above it. What changes when it compares with the threshold, and what"
        " must not change?",
        "activations > threshold says which are kept, also with one threshold a unit. Those keep their size, and the"
        " others become 0: torch.where does both.",
        skeleton(jump_relu, "activations > threshold", "kept, activations"),
    ),
    mistakes=mistakes(
        jump_relu,
        """
        threshold-subtracted: kept, activations => kept, activations - threshold
            The threshold is subtracted, so that what is kept shrinks: only compare with it, and keep the size.

        at-least-the-threshold: activations > threshold => activations >= threshold
            An activation that equals the threshold is kept: the comparison is a strict >.

        magnitudes: activations > threshold => activations.abs() > threshold
            Large negative activations are kept: compare the activations themselves, not their absolute values.

        lifted-to-the-threshold: kept, activations, 0 => kept, activations, threshold
            What is below the threshold is lifted to it, as clamp(min=threshold) does: it becomes 0.

        threshold-ignored: > threshold => > 0
            This is an ordinary ReLU, whatever the threshold: compare with `threshold`.

        everything-kept: activations > threshold => activations != 0
            Everything is kept: compare with `threshold`.

        smaller-kept: activations > threshold => activations < threshold
            What is below the threshold is kept and the rest set to 0: it is the other way round.

        capped: kept, activations, 0 => kept, threshold * torch.ones_like(activations), torch.relu(activations)
            Activations are cut off at the threshold, as clamp(max=threshold) does: they are kept above it, not below.

        mask-returned: torch.where(kept, activations, 0) => kept.to(activations.dtype)
            This is 1 where an activation is kept: the activations themselves are asked for, so multiply them by it.

        only-those-kept: torch.where(kept, activations, 0) => activations[kept]
            These are the kept activations in one row without their places: return all, with 0 where one is not kept.

        threshold-of-an-example: activations > threshold => activations > torch.as_tensor(threshold).reshape(-1, 1)
            The thresholds (m,) are compared with the examples, one a row: there is one a unit, along the last axis.

        one-threshold-for-all: activations > threshold => activations > torch.as_tensor(threshold).mean()
            One threshold serves all units: where there is one a unit, compare each with its own.

        changed-in-place: torch.where(kept, activations, 0) => activations.mul_(kept)
            The activations that were given are changed: write into a new tensor, such as torch.where returns.

        no-gradient: torch.where(kept, activations, 0) => torch.where(kept, activations, 0).detach()
            The values are right but carry no gradient, so the encoder would not learn: leave out detach and .data.
        """,
    ),
    answer=jump_relu,
    minutes=4,
    difficulty=1,
    level="bonus",
    differentiable=("activations",),  # a threshold gets none here
)

EXERCISES = (EFFECTIVE_DIMENSION, L1, NORMALIZE, KL, TOP_K, ATOMS, RIDGE, JUMP, WHITEN)
