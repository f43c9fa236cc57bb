"""The exercises of lesson 03. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import nsae_lcn as paper


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- segments -------------------------------------------------------------------------------------------------------


def _segment_by_stacking(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    step = stride or length
    starts = range(0, signal.shape[-1] - length + 1, step)
    return torch.stack([signal[..., start : start + length] for start in starts], dim=-2)


def _segment_by_index(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    count = (signal.shape[-1] - length) // (stride or length) + 1
    starts = torch.arange(count) * (stride or length)
    return signal[..., starts[:, None] + torch.arange(length)]


def _segment_one_short(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    step = stride or length
    starts = range(0, signal.shape[-1] - length, step)
    return torch.stack([signal[..., start : start + length] for start in starts], dim=-2)


def _segment_padded(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    step = stride or length
    missing = -(signal.shape[-1] - length) % step
    return F.pad(signal, (0, missing)).unfold(-1, length, step)


SEGMENT = Exercise(
    name="segment",
    reference=paper.segment,
    probes=(
        Probe("the points 0 ... 11, length = 4", lambda f: f(torch.arange(12.0), 4)),
        Probe("the points 0 ... 9, length = 4, where two are left over", lambda f: f(torch.arange(10.0), 4)),
        Probe("the points 0 ... 9, length = 4, stride = 1", lambda f: f(torch.arange(10.0), 4, 1)),
        Probe("length = 4, stride = 3", lambda f: f(torch.arange(14.0), 4, 3)),
        Probe("a batch of 2 signals of 9 points, length = 3", lambda f: f(_normal(2, 9), 3)),
        Probe("a single segment, as long as the signal", lambda f: f(torch.arange(5.0), 5)),
    ),
    hints=(
        "Segment j begins at the point j * stride. Which is the last one that still fits into the signal?",
        "There are (N - length) // stride + 1 of them; without a stride, they lie end to end. Tensor.unfold cuts them.",
        "return signal.unfold(-1, length, length if stride is None else stride)",
    ),
    mistakes=(
        Mistake(
            "last-segment-missing",
            _segment_one_short,
            "The last segment is missing where it ends exactly at the end: its start N - length counts, too.",
        ),
        Mistake(
            "rest-padded-with-zeros",
            _segment_padded,
            "The points left over are filled up with zeros to one more segment: they are dropped, "
            "or the network sees a silence that the machine never made.",
        ),
        Mistake(
            "stride-ignored",
            lambda signal, length, stride=None: signal.unfold(-1, length, length),
            "The stride is ignored: segment j begins at j * stride, and only by default at j * length.",
        ),
        Mistake(
            "stride-1-by-default",
            lambda signal, length, stride=None: signal.unfold(-1, length, stride or 1),
            "Without a stride the segments overlap here: by default each begins where the one before it ends.",
        ),
        Mistake(
            "axes-swapped",
            lambda signal, length, stride=None: signal.unfold(-1, length, stride or length).transpose(-1, -2),
            "The last two axes are swapped: a segment is a row, (..., J, length).",
        ),
        Mistake(
            "interleaved",
            lambda signal, length, stride=None: (
                signal.unfold(-1, length, stride or length).transpose(-1, -2).reshape(*signal.shape[:-1], -1, length)
            ),
            "The shape is right, but the points of a segment are not neighbours in the signal: reshape mixed them up.",
        ),
        Mistake(
            "one-signal-only",
            lambda signal, length, stride=None: signal.flatten().unfold(0, length, stride or length),
            "The signals of a batch are joined end to end: cut along the last axis and keep those before it.",
        ),
    ),
    alternatives=(_segment_by_stacking, _segment_by_index),
)


# ---- the orthonormality penalty -------------------------------------------------------------------------------------


def _penalty_by_pairs(W: Tensor) -> Tensor:
    total = torch.zeros((), dtype=W.dtype)
    for i in range(len(W)):
        for k in range(len(W)):
            total = total + ((W[i] * W[k]).sum() - float(i == k)) ** 2
    return total


def _penalty_by_traces(W: Tensor) -> Tensor:
    gram = torch.einsum("ij,kj->ik", W, W)
    return (gram**2).sum() - 2 * gram.trace() + len(W)


PENALTY = Exercise(
    name="orthonormality_penalty",
    reference=paper.orthonormality_penalty,
    probes=(
        Probe("the identity, 2 x 2", lambda f: f(torch.eye(2))),
        Probe("W = [[1, 1], [0, 2]]", lambda f: f(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))),
        Probe("2 orthonormal rows of 4 points", lambda f: f(torch.eye(4)[:2])),
        Probe("random W, 3 x 5", lambda f: f(_normal(3, 5))),
        Probe("random W, 6 x 3: more rows than points", lambda f: f(_normal(6, 3))),
        Probe("two equal rows of norm 1", lambda f: f(torch.tensor([[0.6, 0.8], [0.6, 0.8]]))),
    ),
    hints=(
        "Which products do you need so that every row meets every other row, and itself? What should they all be?",
        "W @ W.T holds the products of all rows, (N_1, N_1); it should be the identity of that size.",
        "(W @ W.T - torch.eye(len(W))).square().sum(): the squared Frobenius norm sums all squared entries.",
    ),
    mistakes=(
        Mistake(
            "columns-instead-of-rows",
            lambda W: (W.T @ W - torch.eye(W.shape[1])).square().sum(),
            "W.T @ W compares the columns: the basis vectors are the rows, so the product is W @ W.T.",
        ),
        Mistake(
            "norm-not-squared",
            lambda W: (W @ W.T - torch.eye(len(W))).norm(),
            "This is the Frobenius norm itself: the penalty is its square.",
        ),
        Mistake(
            "averaged",
            lambda W: (W @ W.T - torch.eye(len(W))).square().mean(),
            "This is the mean over the entries: the Frobenius norm sums them.",
        ),
        Mistake(
            "identity-missing",
            lambda W: (W @ W.T).square().sum(),
            "The identity is not subtracted, so W = 0 would be best: the rows should have norm 1.",
        ),
        Mistake(
            "diagonal-left-out",
            lambda W: (W @ W.T - torch.diag((W @ W.T).diagonal())).square().sum(),
            "The diagonal is left out: orthogonal rows of any norm, even 0, would cost nothing.",
        ),
        Mistake(
            "diagonal-only",
            lambda W: (W.square().sum(1) - 1).square().sum(),
            "Only the norms of the rows are looked at: equal rows would cost nothing.",
        ),
        Mistake(
            "not-squared-entries",
            lambda W: (W @ W.T - torch.eye(len(W))).abs().sum(),
            "These are absolute values: the Frobenius norm squares the entries.",
        ),
        Mistake(
            "each-pair-once",
            lambda W: (W @ W.T - torch.eye(len(W))).triu().square().sum(),
            "Each pair of rows counts once here: the Frobenius norm has both (i, k) and (k, i).",
        ),
    ),
    alternatives=(_penalty_by_pairs, _penalty_by_traces),
)


# ---- the projection -------------------------------------------------------------------------------------------------


def _inverse_root(gram: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    return (vectors / values.clamp(min=1e-12).sqrt()) @ vectors.T


def _orthonormalize_by_the_shorter_side(W: Tensor) -> Tensor:
    """(W W^T)^(-1/2) W, or from the other side W (W^T W)^(-1/2), in float64: what the SVD does at once."""
    wide = W.double()
    if W.shape[0] > W.shape[1]:
        return (wide @ _inverse_root(wide.T @ wide)).to(W.dtype)
    return (_inverse_root(wide @ wide.T) @ wide).to(W.dtype)


def _orthonormalize_by_iteration(W: Tensor) -> Tensor:
    """Newton and Schulz: pushes every singular value in (0, sqrt(3)) to 1 and leaves the singular vectors alone."""
    X = W / W.norm()
    for _ in range(40):
        X = 1.5 * X - 0.5 * X @ X.T @ X
    return X


def _right_factor_transposed_again(W: Tensor) -> Tensor:
    U, _, V = torch.linalg.svd(W, full_matrices=False)
    return U @ V.T


def _rebuilt(W: Tensor) -> Tensor:
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return U @ torch.diag(S) @ Vh


ORTHONORMALIZE = Exercise(
    name="orthonormalize",
    reference=paper.orthonormalize,
    probes=(
        Probe("3 random rows of 5 points", lambda f: f(_normal(3, 5)), atol=1e-4),
        Probe("a square matrix, W = [[2, 0], [1, 1]]", lambda f: f(torch.tensor([[2.0, 0.0], [1.0, 1.0]])), atol=1e-4),
        Probe("rows that are orthonormal already", lambda f: f(torch.eye(4)[[2, 0]]), atol=1e-4),
        Probe("orthogonal rows of norm 3", lambda f: f(3 * torch.eye(3)), atol=1e-4),
        Probe("6 rows of 3 points, where only columns can be orthonormal", lambda f: f(_normal(6, 3)), atol=1e-4),
    ),
    hints=(
        "The SVD writes W as a rotation, a stretch along axes and another rotation. Which of them makes it skew?",
        "W = U S V^T. With every singular value replaced by 1, the nearest orthonormal matrix is left.",
        "U, _, Vh = torch.linalg.svd(W, full_matrices=False); return U @ Vh",
    ),
    mistakes=(
        Mistake(
            "rows-normalized-only",
            lambda W: W / W.norm(dim=1, keepdim=True),
            "Each row has norm 1 now, but the rows are not orthogonal: equal rows would remain equal.",
        ),
        Mistake(
            "gram-schmidt",
            lambda W: torch.linalg.qr(W.T).Q.T,
            "This is Gram-Schmidt (QR): orthonormal, but it favours the first row; the nearest matrix favours none.",
        ),
        Mistake(
            "v-transposed-twice",
            _right_factor_transposed_again,
            "V is transposed once too often: torch.linalg.svd returns V^T already.",
        ),
        Mistake(
            "right-factor-only",
            lambda W: torch.linalg.svd(W, full_matrices=False).Vh,
            "These are the right singular vectors, orthonormal but turned away from W: U turns them back.",
        ),
        Mistake(
            "left-factor-only",
            lambda W: torch.linalg.svd(W, full_matrices=False).U,
            "These are the left singular vectors alone: multiply them by V^T.",
        ),
        Mistake(
            "rebuilt",
            _rebuilt,
            "With the singular values multiplied in again this is W itself: leave them out.",
        ),
        Mistake(
            "scaled-to-norm-1",
            lambda W: W / torch.linalg.matrix_norm(W, 2),
            "All singular values are divided by the largest: each of them has to become 1.",
        ),
        Mistake(
            "inverse-not-its-root",
            lambda W: torch.linalg.pinv(W @ W.T) @ W,
            "This is (W W^T)^(-1) W: the symmetric decorrelation takes the power -1/2.",
        ),
    ),
    alternatives=(_orthonormalize_by_the_shorter_side, _orthonormalize_by_iteration),
)


# ---- the cost -------------------------------------------------------------------------------------------------------


def _terms(W: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error and L1 norm of each segment, and the penalty."""
    h = torch.relu(x @ W.T)
    return (h @ W - x).square().sum(1), h.sum(1), paper.orthonormality_penalty(W)


def _cost_segment_by_segment(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    total = torch.zeros(())
    for segment in x:
        h = F.linear(segment, W).clamp(min=0)
        total = total + 0.5 * torch.dist(W.T @ h, segment) ** 2 + sparsity_weight * h.norm(p=1)
    gram = W @ W.T
    return total / len(x) + orthonormality_weight * F.mse_loss(gram, torch.eye(len(W)), reduction="sum")


def _cost_by_losses(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    h = F.relu(F.linear(x, W))
    cost = F.mse_loss(F.linear(h, W.T), x, reduction="sum") / 2 + sparsity_weight * F.l1_loss(
        h, torch.zeros_like(h), reduction="sum"
    )
    return cost / x.shape[0] + orthonormality_weight * paper.orthonormality_penalty(W)


def _cost_of(combine: Callable) -> Callable:
    """A cost put together by combine(error, l1, penalty, lambda, mu) from the terms above."""
    return lambda W, x, sparsity_weight, orthonormality_weight: combine(
        *_terms(W, x), sparsity_weight, orthonormality_weight
    )


def _cost_with_mean_over_points(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    error, l1, penalty = _terms(W, x)
    return 0.5 * error.mean() / x.shape[1] + sparsity_weight * l1.mean() + orthonormality_weight * penalty


def _cost_with_mean_over_units(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    error, l1, penalty = _terms(W, x)
    return 0.5 * error.mean() + sparsity_weight * l1.mean() / len(W) + orthonormality_weight * penalty


def _cost_without_relu(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    h = x @ W.T
    cost = 0.5 * (h @ W - x).square().sum(1) + sparsity_weight * h.abs().sum(1)
    return cost.mean() + orthonormality_weight * paper.orthonormality_penalty(W)


def _cost_with_sigmoid(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    h = torch.sigmoid(x @ W.T)
    cost = 0.5 * (h @ W - x).square().sum(1) + sparsity_weight * h.sum(1)
    return cost.mean() + orthonormality_weight * paper.orthonormality_penalty(W)


def _cost_of_weights(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    error, _, penalty = _terms(W, x)
    return 0.5 * error.mean() + sparsity_weight * W.abs().sum() + orthonormality_weight * penalty


def _example() -> Tensor:
    return torch.tensor([[1.0, -2.0], [3.0, 4.0]])


COST = Exercise(
    name="nsae_cost",
    reference=paper.nsae_cost,
    probes=(
        Probe("W = I, x = (1, -2) and (3, 4), both weights 0", lambda f: f(torch.eye(2), _example(), 0.0, 0.0)),
        Probe("the same with lambda = 0.5: the L1 norms are 1 and 7", lambda f: f(torch.eye(2), _example(), 0.5, 0.0)),
        Probe(
            "W = [[1, 1], [0, 2]], lambda = 0 and mu = 1",
            lambda f: f(torch.tensor([[1.0, 1.0], [0.0, 2.0]]), _example(), 0.0, 1.0),
        ),
        Probe(
            "9 segments of 5 points, 3 rows, lambda = 0.25, mu = 0.5",
            lambda f: f(_normal(3, 5), _normal(9, 5, seed=1), 0.25, 0.5),
        ),
        Probe(
            "the same segments twice: the cost does not change",
            lambda f: f(_normal(3, 5), _normal(9, 5, seed=1).repeat(2, 1), 0.25, 0.5),
        ),
    ),
    hints=(
        "Three terms: how badly a segment is rebuilt, how much of its code is active, how far the rows are from"
        " orthonormal. Which of them is there once for each segment?",
        "h = torch.relu(x @ W.T) is (M, N_1) and h @ W the reconstruction. Sum over points and over units; take the"
        " mean over segments. orthonormality_penalty(W) is added once.",
        "(0.5 * (h @ W - x).square().sum(1) + sparsity_weight * h.sum(1)).mean()"
        " + orthonormality_weight * orthonormality_penalty(W)",
    ),
    mistakes=(
        Mistake(
            "half-missing",
            _cost_of(lambda error, l1, penalty, lam, mu: (error + lam * l1).mean() + mu * penalty),
            "The factor 1/2 of the squared error is missing.",
        ),
        Mistake(
            "mean-over-points",
            _cost_with_mean_over_points,
            "The squared error is a mean over the points while the L1 norm is a sum: sum over the points of a segment.",
        ),
        Mistake(
            "mean-over-units",
            _cost_with_mean_over_units,
            "The L1 term is a mean over the units: the norm is a sum, or lambda would depend on how many there are.",
        ),
        Mistake(
            "l1-summed-over-the-batch",
            _cost_of(lambda error, l1, penalty, lam, mu: 0.5 * error.mean() + lam * l1.sum() + mu * penalty),
            "The L1 term is summed over the segments while the error is averaged: lambda would depend on the batch.",
        ),
        Mistake(
            "everything-summed-over-the-batch",
            _cost_of(lambda error, l1, penalty, lam, mu: (0.5 * error + lam * l1).sum() + mu * penalty),
            "Error and L1 norm are summed over the segments: take the mean, or mu would depend on the batch.",
        ),
        Mistake("no-relu", _cost_without_relu, "The ReLU is missing: h = max(0, W x)."),
        Mistake(
            "sigmoid",
            _cost_with_sigmoid,
            "This is the sigmoid of the usual sparse autoencoder: the NSAE has a ReLU in its place.",
        ),
        Mistake(
            "weights-instead-of-activations",
            _cost_of_weights,
            "The L1 norm of the weights is penalised: sparsity is asked of the activations h.",
        ),
        Mistake(
            "penalty-forgotten",
            _cost_of(lambda error, l1, penalty, lam, mu: (0.5 * error + lam * l1).mean()),
            "The orthonormality penalty is not there: this is a sparse autoencoder, nothing makes its rows differ.",
        ),
        Mistake(
            "weights-exchanged",
            _cost_of(lambda error, l1, penalty, lam, mu: (0.5 * error + mu * l1).mean() + lam * penalty),
            "The two weights are exchanged: sparsity_weight belongs to the L1 norm, orthonormality_weight to W W^T.",
        ),
    ),
    alternatives=(_cost_segment_by_segment, _cost_by_losses),
)


# ---- local features -------------------------------------------------------------------------------------------------


def _cut(signal: Tensor, W: Tensor, stride: int | None) -> Tensor:
    return signal.unfold(-1, W.shape[1], stride or W.shape[1])  # (..., J, N_in)


def _features_by_convolution(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    maps = F.conv1d(signal.unsqueeze(-2), W.unsqueeze(1), stride=stride or W.shape[1])
    return F.adaptive_avg_pool1d(F.relu(maps), 1).squeeze(-1)


def _features_by_loop(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    length = W.shape[1]
    starts = range(0, signal.shape[-1] - length + 1, stride or length)
    return sum((signal[..., a : a + length] @ W.T).clamp(min=0) for a in starts) / len(starts)


LOCAL = Exercise(
    name="local_features",
    reference=paper.local_features,
    probes=(
        Probe(
            "the signal (1, -2, 3, 4) and W = I, 2 x 2",
            lambda f: f(torch.tensor([[1.0, -2.0, 3.0, 4.0]]), torch.eye(2)),
        ),
        Probe("2 signals of 24 points, 6 rows of 8", lambda f: f(_normal(2, 24), _normal(6, 8, seed=1))),
        Probe("the same with stride = 1", lambda f: f(_normal(2, 24), _normal(6, 8, seed=1), 1)),
        Probe("3 signals of 29 points, where 5 are left over", lambda f: f(_normal(3, 29), _normal(4, 8, seed=1))),
        Probe("a single signal without a batch axis", lambda f: f(_normal(16), _normal(4, 8, seed=1))),
    ),
    hints=(
        "Every segment meets the same W. In which order do ReLU and average come, so that a hit here and its echo"
        " there do not cancel?",
        "segment(signal, W.shape[1], stride) is (..., J, N_in): multiply by W.T, rectify, then average over J.",
        "return torch.relu(segment(signal, W.shape[1], stride) @ W.T).mean(-2)",
    ),
    mistakes=(
        Mistake(
            "averaged-before-the-relu",
            lambda signal, W, stride=None: torch.relu((_cut(signal, W, stride) @ W.T).mean(-2)),
            "The average comes before the ReLU: a wave whose phase differs from segment to segment then cancels out.",
        ),
        Mistake(
            "relu-forgotten",
            lambda signal, W, stride=None: (_cut(signal, W, stride) @ W.T).mean(-2),
            "The ReLU is missing: without it the mean over segments is W times the mean segment, nearly nothing.",
        ),
        Mistake(
            "summed",
            lambda signal, W, stride=None: torch.relu(_cut(signal, W, stride) @ W.T).sum(-2),
            "The features are summed over the segments: take the mean, or a longer signal looks like a stronger one.",
        ),
        Mistake(
            "largest-instead-of-mean",
            lambda signal, W, stride=None: torch.relu(_cut(signal, W, stride) @ W.T).amax(-2),
            "This is the largest value over the segments (max pooling): the feature layer averages.",
        ),
        Mistake(
            "averaged-over-units",
            lambda signal, W, stride=None: torch.relu(_cut(signal, W, stride) @ W.T).mean(-1),
            "The average runs over the rows of W: average over the segments, one feature a row is kept.",
        ),
        Mistake(
            "first-segment-only",
            lambda signal, W, stride=None: torch.relu(signal[..., : W.shape[1]] @ W.T),
            "Only the first segment is looked at: that is the shift-variant feature that the network is to cure.",
        ),
        Mistake(
            "stride-ignored",
            lambda signal, W, stride=None: torch.relu(_cut(signal, W, None) @ W.T).mean(-2),
            "The stride is ignored: pass it on to segment.",
        ),
    ),
    alternatives=(_features_by_convolution, _features_by_loop),
)


# ---- how alike rows are ---------------------------------------------------------------------------------------------


def _similarity_by_pairs(W: Tensor) -> Tensor:
    rows = [row / row.norm() for row in W if row.any()]
    pairs = [(one * other).sum().abs() for i, one in enumerate(rows) for other in rows[:i]]
    return torch.stack(pairs).mean()


def _similarity_by_mask(W: Tensor) -> Tensor:
    W = F.normalize(W[W.norm(dim=1) > 0], dim=1)
    different = ~torch.eye(len(W), dtype=torch.bool)
    return (W @ W.T)[different].abs().mean()


def _cosines(W: Tensor) -> Tensor:
    W = F.normalize(W[W.norm(dim=1) > 0], dim=1)
    return W @ W.T


def _mean_off_diagonal(products: Tensor) -> Tensor:
    n = len(products)
    return (products.sum() - products.trace()) / (n * (n - 1))


SIMILARITY = Exercise(
    name="row_similarity",
    reference=paper.row_similarity,
    probes=(
        Probe("orthogonal rows of different norm", lambda f: f(torch.diag(torch.tensor([1.0, 2.0, 3.0])))),
        Probe("a row, 5 times it, and its negative", lambda f: f(_normal(1, 6) * torch.tensor([[1.0], [5.0], [-1.0]]))),
        Probe("the rows (1, 0), (0, 1) and (3, 4)", lambda f: f(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]))),
        Probe("12 random rows of 8 points", lambda f: f(_normal(12, 8))),
        Probe("the same with 4 rows of zeros, which are left out", lambda f: f(F.pad(_normal(12, 8), (0, 0, 0, 4)))),
    ),
    hints=(
        "How alike are two rows, whatever their lengths and signs? And is a row to be compared with itself?",
        "Divide each row that is not zero by its norm; the products of all rows are their cosines, n * (n - 1) of which"
        " belong to two different rows.",
        "With cosines = (W @ W.T).abs() of the normalised rows: (cosines.sum() - cosines.trace()) / (n * (n - 1)).",
    ),
    mistakes=(
        Mistake(
            "diagonal-counted",
            lambda W: _cosines(W).abs().mean(),
            "Each row is compared with itself as well, which adds ones: leave the diagonal out.",
        ),
        Mistake(
            "divided-by-all-entries",
            lambda W: (_cosines(W).abs().sum() - _cosines(W).trace()) / _cosines(W).numel(),
            "The diagonal is left out of the sum but counted in the division: there are n * (n - 1) pairs.",
        ),
        Mistake(
            "signs-cancel",
            lambda W: _mean_off_diagonal(_cosines(W)),
            "Positive and negative cosines cancel out: a row and its negative are alike, take the absolute value.",
        ),
        Mistake(
            "squared",
            lambda W: _mean_off_diagonal(_cosines(W).square()),
            "These are squared cosines: the mean is taken over absolute values.",
        ),
        Mistake(
            "not-normalized",
            lambda W: _mean_off_diagonal((W[W.norm(dim=1) > 0] @ W[W.norm(dim=1) > 0].T).abs()),
            "The rows are not divided by their norms: these are products, and longer rows would look more alike.",
        ),
        Mistake(
            "columns-compared",
            lambda W: _mean_off_diagonal(_cosines(W.T).abs()),
            "The columns are compared: a basis vector is a row of W.",
        ),
        Mistake(
            "zero-rows-counted",
            lambda W: _mean_off_diagonal((F.normalize(W, dim=1) @ F.normalize(W, dim=1).T).abs()),
            "Zero rows count as unlike all others, so dead units would pass for diversity: leave them out.",
        ),
        Mistake(
            "zero-rows-divided-by-zero",
            lambda W: _mean_off_diagonal((W / W.norm(dim=1, keepdim=True) @ (W / W.norm(dim=1, keepdim=True)).T).abs()),
            "A zero row is divided by its norm, which gives NaN: leave zero rows out.",
        ),
    ),
    alternatives=(_similarity_by_pairs, _similarity_by_mask),
)

EXERCISES = (SEGMENT, PENALTY, ORTHONORMALIZE, COST, LOCAL, SIMILARITY)
