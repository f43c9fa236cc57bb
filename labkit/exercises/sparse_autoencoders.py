"""The exercises of lesson 02. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import sparse_autoencoders as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _gradient(f: Callable, at: Tensor, *arguments: float) -> Tensor:
    """The gradient of what `f` returns, weighed by fixed numbers, with respect to `at`."""
    leaf = at.clone().requires_grad_()
    returned = f(leaf * 1, *arguments)
    weights = _normal(*returned.shape, seed=9) if returned.ndim else torch.ones(())
    return torch.autograd.grad((returned * weights).sum(), leaf)[0]


def _afterwards(f: Callable, given: Tensor, *arguments: float) -> Tensor:
    """`given`, after `f` has seen it."""
    f(given, *arguments)
    return given


# ---- weight decay on a polynomial -----------------------------------------------------------------------------------


def _eye(features: Tensor) -> Tensor:
    return torch.eye(features.shape[1], dtype=features.dtype)


def _ridge_by_longer_data(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    """The penalty as p more examples: sqrt(weight_decay) times each unit vector, with the target 0."""
    longer = torch.cat([features, math.sqrt(weight_decay) * _eye(features)])
    return torch.linalg.lstsq(longer, torch.cat([targets, targets.new_zeros(features.shape[1])])[:, None]).solution[
        :, 0
    ]


def _ridge_by_singular_values(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    u, s, v = torch.linalg.svd(features, full_matrices=False)
    return v.T @ (s / (s**2 + weight_decay) * (u.T @ targets))


def _powers(points: int, degree: int) -> Tensor:
    return torch.linspace(-1, 1, points, dtype=torch.float64)[:, None] ** torch.arange(degree + 1)


RIDGE = Exercise(
    name="ridge",
    reference=paper.ridge,
    probes=(
        Probe(
            "3 examples (1, 0), (0, 2), (0, 0) with targets (1, 2, 3), weight_decay = 1",
            lambda f: f(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.tensor([1.0, 2.0, 3.0]), 1.0),
        ),
        Probe("8 examples, 3 features, weight_decay = 0", lambda f: f(_normal(8, 3), _normal(8, seed=1), 0.0)),
        Probe("8 examples, 3 features, weight_decay = 2", lambda f: f(_normal(8, 3), _normal(8, seed=1), 2.0)),
        Probe(
            "powers up to 4 of 9 points in float64, weight_decay = 0.01",
            lambda f: f(_powers(9, 4), _normal(9, seed=1).double(), 0.01),
        ),
    ),
    hints=(
        "Set the gradient of |X w - y|^2 + weight_decay |w|^2 with respect to w to zero: a linear system remains.",
        "(X^T X + weight_decay I) w = X^T y, with the identity of size p by p. Which line builds it?",
        "torch.linalg.solve(features.T @ features + weight_decay * torch.eye(p, dtype=features.dtype), ...) with"
        " p = features.shape[1]",
    ),
    mistakes=(
        Mistake(
            "penalty-missing",
            lambda features, targets, weight_decay: torch.linalg.solve(features.T @ features, features.T @ targets),
            "The penalty is missing, so this is plain least squares: add weight_decay times the identity.",
        ),
        Mistake(
            "penalty-times-n",
            lambda features, targets, weight_decay: paper.ridge(features, targets, len(features) * weight_decay),
            "The penalty is N times too large: the squared errors are summed over the examples, not averaged.",
        ),
        Mistake(
            "penalty-subtracted",
            lambda features, targets, weight_decay: torch.linalg.solve(
                features.T @ features - weight_decay * _eye(features), features.T @ targets
            ),
            "The penalty is subtracted, so weights become larger instead of smaller: add it.",
        ),
        Mistake(
            "penalty-halved",
            lambda features, targets, weight_decay: paper.ridge(features, targets, weight_decay / 2),
            "The penalty is halved: both terms are squares here, so the factor 2 of their gradients cancels.",
        ),
        Mistake(
            "added-to-every-entry",
            lambda features, targets, weight_decay: torch.linalg.lstsq(
                features.T @ features + weight_decay, (features.T @ targets)[:, None]
            ).solution[:, 0],
            "weight_decay is added to every entry of the matrix: it belongs on the diagonal, times the identity.",
        ),
        Mistake(
            "transposed",
            lambda features, targets, weight_decay: torch.linalg.solve(
                features @ features.T + weight_decay * _eye(features), features.T @ targets
            ),
            "features @ features.T is (N, N), and the identity cannot be added to it: write features.T @ features.",
        ),
        Mistake(
            "weights-of-the-examples",
            lambda features, targets, weight_decay: torch.linalg.solve(
                features @ features.T + weight_decay * torch.eye(len(features), dtype=features.dtype), targets
            ),
            "This gives a weight to each of the N examples: the p weights need features.T @ features, (p, p).",
        ),
        Mistake(
            "predictions-returned",
            lambda features, targets, weight_decay: features @ paper.ridge(features, targets, weight_decay),
            "These are the predictions for the N examples: return the p weights themselves.",
        ),
    ),
    alternatives=(_ridge_by_longer_data, _ridge_by_singular_values),
)


# ---- how many units does an image use? ------------------------------------------------------------------------------


def _dimension_by_count_nonzero(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return torch.count_nonzero(activations.abs() > threshold, dim=1)


def _dimension_by_loop(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    return torch.tensor([sum(abs(h) > threshold for h in row) for row in activations.tolist()])


def _near_zero() -> Tensor:
    """Three examples of five units: some exactly 0, some within 1e-3 of it, some negative."""
    return torch.tensor(
        [[0.0, 0.5, 5e-4, -2.0, 0.2], [0.0, -1.0, -0.2, -5e-4, 0.0], [3.0, 0.01, 0.2, 0.7, -0.01]],
    )


EFFECTIVE_DIMENSION = Exercise(
    name="effective_dimension",
    reference=paper.effective_dimension,
    probes=(
        Probe("3 examples of 5 units, the default threshold", lambda f: f(_near_zero())),
        Probe("the same with threshold = 0.1", lambda f: f(_near_zero(), 0.1)),
        Probe(
            "the same with threshold = 0, where an activation of exactly 0 does not count", lambda f: f(_near_zero(), 0)
        ),
        Probe("a dead layer", lambda f: f(torch.zeros(2, 6))),
        Probe("random activations of shape (4, 50), threshold = 0.5", lambda f: f(_normal(4, 50), threshold=0.5)),
    ),
    hints=(
        "First ask of every activation whether it is far enough from zero, then count the answers. Along which axis?",
        "activations.abs() > threshold is a tensor of True and False, and True counts as 1 in a sum.",
        "(activations.abs() > threshold), summed over the last axis: one whole number for each example.",
    ),
    mistakes=(
        Mistake(
            "no-absolute-value",
            lambda activations, threshold=1e-3: (activations > threshold).sum(-1),
            "Strongly negative activations are not counted: compare their absolute value with the threshold.",
        ),
        Mistake(
            "counted-over-the-batch",
            lambda activations, threshold=1e-3: (activations.abs() > threshold).sum(0),
            "This counts, for each unit, the examples that use it: sum over the last axis, one number an example.",
        ),
        Mistake(
            "threshold-ignored",
            lambda activations, threshold=1e-3: (activations != 0).sum(-1),
            "Everything that is not exactly 0 is counted: an activation below the threshold should not be.",
        ),
        Mistake(
            "threshold-written-in",
            lambda activations, threshold=1e-3: (activations.abs() > 1e-3).sum(-1),
            "The threshold is fixed at 1e-3: use the argument `threshold`.",
        ),
        Mistake(
            "share-instead-of-count",
            lambda activations, threshold=1e-3: (activations.abs() > threshold).float().mean(-1),
            "This is the share of the units that are active: their number is asked for, so sum instead of averaging.",
        ),
        Mistake(
            "whole-batch-counted",
            lambda activations, threshold=1e-3: (activations.abs() > threshold).sum(),
            "This is one number for the whole batch: sum over the last axis only, one number an example.",
        ),
        Mistake(
            "at-least-the-threshold",
            lambda activations, threshold=1e-3: (activations.abs() >= threshold).sum(-1),
            "With >= a dead unit counts as active at the threshold 0: the comparison is a strict >.",
        ),
        Mistake(
            "count-as-float",
            lambda activations, threshold=1e-3: (activations.abs() > threshold).float().sum(-1),
            "The count is right, but not a whole number: sum True and False themselves, without float().",
        ),
        Mistake(
            "active-ones-added-up",
            lambda activations, threshold=1e-3: (activations.abs() * (activations.abs() > threshold)).sum(-1),
            "This adds up the active activations themselves, an L1 norm: count how many there are.",
        ),
    ),
    alternatives=(_dimension_by_count_nonzero, _dimension_by_loop),
)


# ---- the L1 penalty -------------------------------------------------------------------------------------------------


def _l1_by_vector_norm(activations: Tensor) -> Tensor:
    return torch.linalg.vector_norm(activations, ord=1, dim=1).mean()


def _l1_by_two_relus(activations: Tensor) -> Tensor:
    return (torch.relu(activations) + torch.relu(-activations)).sum() / len(activations)


L1 = Exercise(
    name="l1_penalty",
    reference=paper.l1_penalty,
    probes=(
        Probe("one example (1, 2, 3)", lambda f: f(torch.tensor([[1.0, 2.0, 3.0]]))),
        Probe("two examples, (0.5, -1, 0) and (2, 0, -4)", lambda f: f(torch.tensor([[0.5, -1, 0], [2, 0, -4]]))),
        Probe("random activations of shape (5, 8)", lambda f: f(_normal(5, 8))),
        Probe("the same units twice, side by side, (5, 16)", lambda f: f(_normal(5, 8).repeat(1, 2))),
        Probe("a dead layer", lambda f: f(torch.zeros(4, 6))),
        Probe("the gradient with respect to activations of shape (5, 8)", lambda f: _gradient(f, _normal(5, 8))),
    ),
    hints=(
        "Two axes, two different things: what happens to the units of one example, and what to the examples?",
        "Sum the absolute values over the units, the last axis; then average over the batch.",
        "activations.abs().sum(-1) has one number an example; one mean is missing.",
    ),
    mistakes=(
        Mistake(
            "mean-over-everything",
            lambda activations: activations.abs().mean(),
            "This averages over the units as well, so lambda would depend on the width of the layer: sum over them.",
        ),
        Mistake(
            "summed-over-the-batch",
            lambda activations: activations.abs().sum(),
            "This adds up the whole batch, so lambda would depend on its size: average over the examples.",
        ),
        Mistake(
            "axes-exchanged",
            lambda activations: activations.abs().sum(0).mean(),
            "This averages over the units and sums over the batch: it is the other way round.",
        ),
        Mistake(
            "no-absolute-value",
            lambda activations: activations.sum(-1).mean(),
            "The absolute value is missing: a negative activation would be rewarded.",
        ),
        Mistake(
            "squared",
            lambda activations: activations.square().sum(-1).mean(),
            "These are squares, an L2 penalty: it makes activations small, but hardly any of them zero.",
        ),
        Mistake(
            "euclidean-length",
            lambda activations: activations.norm(dim=-1).mean(),
            "This is the Euclidean length of the code, norm's default: L1 adds up absolute values.",
        ),
        Mistake(
            "one-number-an-example",
            lambda activations: activations.abs().sum(-1),
            "The mean over the batch is missing: a cost is one number.",
        ),
        Mistake(
            "no-gradient",
            lambda activations: activations.detach().abs().sum(-1).mean(),
            "The value is right but carries no gradient, so training would not notice it: leave out detach and item.",
        ),
    ),
    alternatives=(_l1_by_vector_norm, _l1_by_two_relus),
)


# ---- atoms of length 1 ----------------------------------------------------------------------------------------------


@torch.no_grad()
def _normalize_by_copy(weight: Tensor) -> Tensor:
    return weight.copy_(F.normalize(weight, dim=0))


def _normalize_atom_by_atom(weight: Tensor) -> Tensor:
    for j in range(weight.shape[1]):
        length = weight.data[:, j].square().sum().sqrt()
        if length > 0:
            weight.data[:, j] /= length
    return weight


@torch.no_grad()
def _divide_(weight: Tensor, lengths: Tensor) -> Tensor:
    return weight.div_(torch.where(lengths > 0, lengths, 1))


def _of_a_layer(f: Callable) -> Tensor:
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(_normal(4, 3))
    f(layer.weight)
    return layer.weight


def _with_a_zero_atom() -> Tensor:
    return torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, -1.0]])


NORMALIZE = Exercise(
    name="normalize_decoder_",
    reference=paper.normalize_decoder_,
    probes=(
        Probe("a random weight of shape (4, 3): what is returned", lambda f: f(_normal(4, 3))),
        Probe("the weight that was given, afterwards", lambda f: _afterwards(f, _normal(4, 3))),
        Probe("an atom of zeros beside two others, afterwards", lambda f: _afterwards(f, _with_a_zero_atom())),
        Probe("atoms that are short already", lambda f: f(0.1 * _normal(4, 3, seed=1))),
        Probe("the weight of an nn.Linear, a parameter, afterwards", _of_a_layer),
    ),
    hints=(
        "An atom is a column of the weight (n, m): m lengths are needed, each a sum of squares over n numbers.",
        "weight.norm(dim=0) are the m lengths. Divide in place, under torch.no_grad(), and mind an atom of zeros.",
        "weight.div_(weight.norm(dim=0, keepdim=True).clamp(min=1e-12)) under torch.no_grad(); then return weight",
    ),
    mistakes=(
        Mistake(
            "rows-normalised",
            lambda weight: _divide_(weight, weight.norm(dim=1, keepdim=True)),
            "The rows have length 1 now: an atom is a column of the decoder's weight, so take the norm over dim=0.",
        ),
        Mistake(
            "norm-of-the-matrix",
            lambda weight: _divide_(weight, weight.norm()),
            "The whole matrix has length 1 now: each atom is to be divided by its own norm, over dim=0.",
        ),
        Mistake(
            "squared-norm",
            lambda weight: _divide_(weight, weight.square().sum(0, keepdim=True)),
            "This divides by the squared length: take its square root.",
        ),
        Mistake(
            "sum-of-absolute-values",
            lambda weight: _divide_(weight, weight.abs().sum(0, keepdim=True)),
            "The absolute values of each atom add up to 1 now: what should be 1 is the root of its sum of squares.",
        ),
        Mistake(
            "new-tensor",
            lambda weight: F.normalize(weight, dim=0),
            "The weight that was given is unchanged and a new tensor returned: divide in place, as with div_ or copy_.",
        ),
        Mistake(
            "zero-atom-becomes-nan",
            lambda weight: weight.data.div_(weight.data.norm(dim=0)),
            "An atom of zeros is divided by 0 and becomes NaN: leave it as it is.",
        ),
        Mistake(
            "only-long-atoms-shortened",
            lambda weight: _divide_(weight, weight.norm(dim=0, keepdim=True).clamp(min=1)),
            "Atoms shorter than 1 are left short: every atom but a zero one gets the length 1.",
        ),
        Mistake(
            "part-of-the-graph",
            lambda weight: weight.div_(weight.norm(dim=0).clamp(min=1e-12)),
            "The change is recorded for the gradient, which a parameter refuses: put it under torch.no_grad().",
        ),
    ),
    alternatives=(_normalize_by_copy, _normalize_atom_by_atom),
)


# ---- the KL penalty -------------------------------------------------------------------------------------------------


def _mean_activation(activations_or_mean: Tensor, low: float = 1e-6, high: float = 1 - 1e-6) -> Tensor:
    mean = activations_or_mean if activations_or_mean.ndim == 1 else activations_or_mean.mean(0)
    return mean.clamp(low, high)


def _kl(rho_hat: Tensor, rho: float) -> Tensor:
    """Unit by unit."""
    return rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))


def _kl_as_printed(rho_hat: Tensor, rho: float) -> Tensor:
    return (rho * torch.log(rho / rho_hat) + (1 - rho) * (1 - rho) / (1 - rho_hat)).sum()


def _kl_swapped(activations_or_mean: Tensor, rho: float) -> Tensor:
    rho_hat = _mean_activation(activations_or_mean)
    return (rho_hat * torch.log(rho_hat / rho) + (1 - rho_hat) * torch.log((1 - rho_hat) / (1 - rho))).sum()


def _kl_by_distributions(activations_or_mean: Tensor, rho: float) -> Tensor:
    rho_hat = _mean_activation(activations_or_mean)
    wanted, found = (torch.distributions.Bernoulli(probs) for probs in (torch.full_like(rho_hat, rho), rho_hat))
    return torch.distributions.kl_divergence(wanted, found).sum()


def _kl_by_cross_entropy(activations_or_mean: Tensor, rho: float) -> Tensor:
    """Cross-entropy minus entropy; binary_cross_entropy cuts the logarithm of 0 by itself."""
    rho_hat = activations_or_mean.reshape(-1, activations_or_mean.shape[-1]).mean(0)
    entropy = -(rho * math.log(rho) + (1 - rho) * math.log(1 - rho))
    return F.binary_cross_entropy(rho_hat, torch.full_like(rho_hat, rho), reduction="sum") - len(rho_hat) * entropy


def _activations() -> Tensor:
    return torch.sigmoid(2 * _normal(6, 4) - 1)


def _cost_in_words(f: Callable, activation: float) -> str:
    """Of a layer in which one unit always has this activation: how high the price is depends on the clamp."""
    h = torch.full((6, 3), 0.1)
    h[:, 1] = activation
    cost = float(f(h, 0.1))
    if math.isnan(cost):
        return "the cost is NaN"
    if math.isinf(cost):
        return "the cost is infinite"
    return "the cost is positive and finite" if cost > 0 else "the cost is not positive"


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
            lambda f: _gradient(f, torch.tensor([0.2]), 0.05),
        ),
        Probe("a unit whose activation is always 0", lambda f: _cost_in_words(f, 0.0)),
        Probe("a unit whose activation is always 1", lambda f: _cost_in_words(f, 1.0)),
    ),
    hints=(
        "A unit is a coin with rho_hat for heads. Which two outcomes does it have, and what is the mean taken over?",
        "First rho_hat: (B, m) is averaged over its first axis, (m,) is a mean already; clamp it to [1e-6, 1 - 1e-6]."
        " Then two terms, each with its logarithm, summed over the units.",
        "rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat)), summed over the units.",
    ),
    mistakes=(
        Mistake(
            "second-logarithm-missing",
            lambda activations_or_mean, rho: _kl_as_printed(_mean_activation(activations_or_mean), rho),
            "The second term has no logarithm, the review's misprint: at rho_hat = rho it must be 0, not 1 - rho.",
        ),
        Mistake(
            "second-logarithm-missing-and-not-clamped",
            lambda activations_or_mean, rho: _kl_as_printed(_mean_activation(activations_or_mean, 0, 1), rho),
            "The second term has no logarithm, the review's misprint, and rho_hat is not kept away from 0 and 1.",
        ),
        Mistake(
            "first-term-only",
            lambda activations_or_mean, rho: (rho * torch.log(rho / _mean_activation(activations_or_mean))).sum(),
            "The second term is missing, as in F.kl_div: a unit is also off, with probability 1 - rho.",
        ),
        Mistake(
            "divergence-of-each-example",
            lambda activations_or_mean, rho: _kl(activations_or_mean.clamp(1e-6, 1 - 1e-6), rho).sum(-1).mean(),
            "The divergence is taken of each example and then averaged, which drives every activation to rho: average"
            " the activations over the batch first.",
        ),
        Mistake(
            "swapped",
            _kl_swapped,
            "rho and rho_hat are swapped, and a KL divergence is not symmetric: rho stands in front of each logarithm.",
        ),
        Mistake(
            "mean-over-units",
            lambda activations_or_mean, rho: _kl(_mean_activation(activations_or_mean), rho).mean(),
            "This is the mean over the units, so beta would depend on the width of the layer: sum over them.",
        ),
        Mistake(
            "not-clamped",
            lambda activations_or_mean, rho: _kl(_mean_activation(activations_or_mean, 0, 1), rho).sum(),
            "A unit that is dead, or always on, costs an infinite amount: clamp rho_hat to [1e-6, 1 - 1e-6].",
        ),
        Mistake(
            "clamped-at-0-only",
            lambda activations_or_mean, rho: _kl(_mean_activation(activations_or_mean, 1e-6, 1), rho).sum(),
            "rho_hat is kept away from 0 but not from 1 (1 - 1e-8 is 1 in float32): clamp it to [1e-6, 1 - 1e-6].",
        ),
        Mistake(
            "means-averaged-again",
            lambda activations_or_mean, rho: _kl(activations_or_mean.mean(0).clamp(1e-6, 1 - 1e-6), rho).sum(),
            "Means (m,) are averaged once more, over the units: take the mean over the first axis of (B, m) only.",
        ),
    ),
    alternatives=(_kl_by_distributions, _kl_by_cross_entropy),
)


# ---- k units, no penalty --------------------------------------------------------------------------------------------


def _top_k_by_threshold(activations: Tensor, k: int) -> Tensor:
    smallest_kept = activations.sort(dim=-1, descending=True).values[:, k - 1 : k]  # (B, 1)
    return torch.where(activations >= smallest_kept, activations, 0.0)


def _top_k_by_mask(activations: Tensor, k: int) -> Tensor:
    mask = torch.zeros_like(activations)
    for row, places in zip(mask, activations.argsort(dim=-1)[:, -k:], strict=True):
        row[places] = 1
    return activations * mask


def _kept(activations: Tensor, k: int, dim: int = -1, largest: bool = True) -> Tensor:
    """1 where an activation is among the k largest along `dim`, else 0."""
    places = activations.topk(k, dim=dim, largest=largest).indices
    return torch.zeros_like(activations).scatter(dim, places, 1.0)


def _others_set_to_zero_(activations: Tensor, k: int) -> Tensor:
    activations[_kept(activations.detach(), k) == 0] = 0
    return activations


def _kept_of_the_magnitude(activations: Tensor, k: int) -> Tensor:
    return activations * _kept(activations.detach().abs(), k)


def _above_kth_of_the_batch(activations: Tensor, k: int) -> Tensor:
    return activations * (activations >= activations.flatten().topk(k).values[-1])


def _packed_to_the_left(activations: Tensor, k: int) -> Tensor:
    return F.pad(activations.topk(k).values, (0, activations.shape[-1] - k))


TOP_K = Exercise(
    name="top_k",
    reference=paper.top_k,
    probes=(
        Probe("one example (3, 1, 2, 5), k = 2", lambda f: f(torch.tensor([[3.0, 1.0, 2.0, 5.0]]), 2)),
        Probe("one example (-3, 1, 2, -5), k = 3", lambda f: f(torch.tensor([[-3.0, 1.0, 2.0, -5.0]]), 3)),
        Probe("random activations of shape (5, 7), k = 3", lambda f: f(_normal(5, 7), 3)),
        Probe("the same with k = 1", lambda f: f(_normal(5, 7), 1)),
        Probe("activations of shape (8, 4), k = 4, all of them", lambda f: f(_normal(8, 4), 4)),
        Probe("the activations that were given, afterwards", lambda f: _afterwards(f, _normal(5, 7), 3)),
        Probe("the gradient with respect to the activations, k = 3", lambda f: _gradient(f, _normal(5, 7), 3)),
    ),
    hints=(
        "Each example chooses its own k units. Which axis holds the units, and what becomes of the others?",
        "activations.topk(k, dim=-1) gives the values and their places; put them back into a tensor of zeros.",
        "values, places = activations.topk(k, dim=-1), then torch.zeros_like(activations).scatter(-1, places, values)",
    ),
    mistakes=(
        Mistake(
            "over-the-batch",
            lambda activations, k: activations * _kept(activations.detach(), k, dim=0),
            "For each unit the k examples with its largest activations are kept: choose along the last axis, dim=-1.",
        ),
        Mistake(
            "mask-instead-of-values",
            lambda activations, k: _kept(activations, k),
            "This is 1 where a unit is kept: the activations themselves are asked for, so multiply them by it.",
        ),
        Mistake(
            "smallest-kept",
            lambda activations, k: activations * _kept(activations.detach(), k, largest=False),
            "The k smallest are kept: sort the other way round.",
        ),
        Mistake(
            "largest-set-to-zero",
            lambda activations, k: activations * (1 - _kept(activations.detach(), k)),
            "The k largest are set to 0 and the others kept: it is the other way round.",
        ),
        Mistake(
            "threshold-of-the-batch",
            _above_kth_of_the_batch,
            "One threshold serves the whole batch, so some examples keep more than k units and others none: choose"
            " within each example.",
        ),
        Mistake(
            "packed-to-the-left",
            _packed_to_the_left,
            "The values are sorted and have lost their places: each must stay with its unit, as with scatter.",
        ),
        Mistake(
            "only-the-k-values",
            lambda activations, k: activations.topk(k).values,
            "These are k numbers without their places: return all m units, with zeros where a unit was not chosen.",
        ),
        Mistake(
            "largest-magnitude",
            _kept_of_the_magnitude,
            "Large negative activations are kept: the k largest values are asked for, not the largest magnitudes.",
        ),
        Mistake(
            "changed-in-place",
            _others_set_to_zero_,
            "The activations that were given are changed: write into a new tensor, such as torch.zeros_like.",
        ),
        Mistake(
            "no-gradient",
            lambda activations, k: activations.detach() * _kept(activations.detach(), k),
            "The values are right but carry no gradient, so the encoder would not learn: leave out detach and .data.",
        ),
    ),
    alternatives=(_top_k_by_threshold, _top_k_by_mask),
)

EXERCISES = (RIDGE, EFFECTIVE_DIMENSION, L1, NORMALIZE, KL, TOP_K)
