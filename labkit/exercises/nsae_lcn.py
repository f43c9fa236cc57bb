"""The exercises of lesson 03. Each mistake below is a real wrong answer; the tests prove that it is caught by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import gradient, normal
from labkit.papers import nsae_lcn as paper
from labkit.papers.nsae_lcn import standardize


def segment(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    step = length if stride is None else stride
    starts = range(0, signal.shape[-1] - length + 1, step)  # J of them
    return torch.stack([signal[..., start : start + length] for start in starts], dim=-2)  # (..., J, length)


SEGMENT = Exercise(
    name="segment",
    reference=paper.segment,
    differentiable=False,
    probes=(
        Probe("the points 0 ... 11, length = 4", lambda f: f(torch.arange(12.0), 4)),
        Probe("the points 0 ... 9, length = 4, where two are left over", lambda f: f(torch.arange(10.0), 4)),
        Probe("the points 0 ... 9, length = 4, stride = 1", lambda f: f(torch.arange(10.0), 4, 1)),
        Probe("the points 0 ... 13, length = 4, stride = 3", lambda f: f(torch.arange(14.0), 4, 3)),
        Probe("the points 0 ... 11, length = 2, stride = 5", lambda f: f(torch.arange(12.0), 2, 5)),
        Probe("a batch of 2 signals of 9 points, length = 3", lambda f: f(normal(2, 9), 3)),
        Probe("the points 0 ... 4, length = 5: a single segment", lambda f: f(torch.arange(5.0), 5)),
    ),
    hints=(
        "Segment j begins at the point j * stride. Which is the last one that still fits into the signal?",
        "There are (N - length) // stride + 1 of them; without a stride, they lie end to end. Stack them as rows, or"
        " let Tensor.unfold cut them.",
        skeleton(segment, "signal.shape[-1] - length + 1", "start : start + length", "-2"),
    ),
    mistakes=mistakes(
        segment,
        """
        last-segment-missing: - length + 1 => - length
            The last segment is missing where it ends exactly at the end: its start N - length counts, too.

        rest-padded-with-zeros: starts = => signal = F.pad(signal, (0, -(signal.shape[-1] - length) % step)); starts =
            The points left over are filled up with zeros to one more segment: they are dropped, or the network sees a
            silence that the machine never made.

        stride-ignored: length if stride is None else stride => length
            The stride is ignored: segment j begins at j * stride, and only by default at j * length.

        stride-1-by-default: length if stride is None => 1 if stride is None
            Without a stride the segments overlap here: by default each begins where the one before it ends.

        stride-at-most-the-length: length if stride is None else stride => min(length, stride or length)
            A stride beyond the length is cut down to it: then the points between two segments are left out.

        axes-swapped: dim=-2 => dim=-1
            The last two axes are swapped: a segment is a row, (..., J, length).

        interleaved: dim=-2) => dim=-1).reshape(*signal.shape[:-1], -1, length)
            The shape is right, but the points of a segment are not neighbors in the signal: reshape mixed them up.

        one-signal-only: starts = => signal = signal.flatten(); starts =
            The signals of a batch are joined end to end: cut along the last axis and keep those before it.
        """,
    ),
    answer=segment,
    minutes=6,
    difficulty=1,
    importance=3,
)


_ROWS_AND_PAIRS = """
not-normalized: W / W.norm(dim=1, keepdim=True) => W
    The rows are not divided by their norms: these are products, and longer rows would look more alike.

divided-by-all-entries: (n * (n - 1)) => n**2
    The diagonal is left out of the sum but counted in the division: there are n * (n - 1) pairs.

zero-rows-counted: W[W.norm(dim=1) > 0] => W
    + W / W.norm(dim=1, keepdim=True) => F.normalize(W, dim=1)
    Zero rows count as unlike all others, so dead units would pass for diversity: leave them out.

zero-rows-divided-by-zero: W[W.norm(dim=1) > 0] => W
    A zero row is divided by its norm, which gives NaN: leave zero rows out.

weak-rows-left-out: > 0] => > 1e-6]
    Rows below some small norm are left out as well: a weak row points somewhere, only zeros do not.
"""  # mistakes of every measure that is a mean over pairs of rows


def row_similarity(W: Tensor) -> Tensor:
    W = W[W.norm(dim=1) > 0]  # (n, N_in): rows of zeros point nowhere
    W = W / W.norm(dim=1, keepdim=True)
    cosines = (W @ W.T).abs()  # (n, n), ones on the diagonal
    n = len(W)
    return (cosines.sum() - cosines.trace()) / (n * (n - 1))


def _two_weak_rows() -> Tensor:
    """Two strong rows at a right angle, and two weak ones that are copies of the first."""
    return torch.tensor([[1.0, 0.0], [0.0, 1.0], [1e-10, 0.0], [-1e-10, 0.0]])


SIMILARITY = Exercise(
    name="row_similarity",
    reference=paper.row_similarity,
    probes=(
        Probe("orthogonal rows of different norm", lambda f: f(torch.diag(torch.tensor([1.0, 2.0, 3.0])))),
        Probe("a row, 5 times it, and its negative", lambda f: f(normal(1, 6) * torch.tensor([[1.0], [5.0], [-1.0]]))),
        Probe("the rows (1, 0), (0, 1) and (3, 4)", lambda f: f(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]))),
        Probe("12 random rows of 8 points", lambda f: f(normal(12, 8))),
        Probe("12 random rows of 8 points and 4 rows of zeros", lambda f: f(F.pad(normal(12, 8), (0, 0, 0, 4)))),
        Probe("the rows (1, 0), (0, 1), (1e-10, 0) and (-1e-10, 0)", lambda f: f(_two_weak_rows())),
    ),
    hints=(
        "How alike are two rows, whatever their lengths and signs? And is a row to be compared with itself?",
        "Divide each row that is not zero by its norm; the products of all rows are their cosines, n * (n - 1) of which"
        " belong to two different rows.",
        skeleton(row_similarity, "W[W.norm(dim=1) > 0]", "W.norm(dim=1, keepdim=True)", ".abs()", "cosines.trace()"),
    ),
    mistakes=mistakes(row_similarity, _ROWS_AND_PAIRS)
    + mistakes(
        row_similarity,
        """
        diagonal-counted: (cosines.sum() - cosines.trace()) / (n * (n - 1)) => cosines.mean()
            Each row is compared with itself as well, which adds ones: leave the diagonal out.

        half-of-the-pairs: cosines.sum() - cosines.trace() => cosines.triu(1).sum()
            Each pair is added once, but divided by n * (n - 1), which counts it twice.

        signs-cancel: (W @ W.T).abs() => W @ W.T
            Positive and negative cosines cancel out: a row and its negative are alike, take the absolute value.

        squared: .abs() => .square()
            These are squared cosines: the mean is taken over absolute values.

        columns-compared: W = W[ => W = W.T; W = W[
            The columns are compared: a basis vector is a row of W.
        """,
    ),
    answer=row_similarity,
    minutes=8,
    differentiable=False,  # a measure, taken after training
)


def orthonormality_penalty(W: Tensor) -> Tensor:
    products = W @ W.T  # (N_1, N_1), each row with each
    return (products - torch.eye(len(W))).square().sum()


def _skew() -> Tensor:
    return torch.tensor([[1.0, 1.0], [0.0, 2.0]])


PENALTY = Exercise(
    name="orthonormality_penalty",
    reference=paper.orthonormality_penalty,
    probes=(
        Probe("the identity, 2 x 2", lambda f: f(torch.eye(2))),
        Probe("W = [[1, 1], [0, 2]]", lambda f: f(_skew())),
        Probe("2 orthonormal rows of 4 points", lambda f: f(torch.eye(4)[:2])),
        Probe("random W, 3 x 5", lambda f: f(normal(3, 5))),
        Probe("random W, 6 x 3: more rows than points", lambda f: f(normal(6, 3))),
        Probe("two equal rows of norm 1", lambda f: f(torch.tensor([[0.6, 0.8], [0.6, 0.8]]))),
        Probe("the gradient with respect to W = [[1, 1], [0, 2]]", lambda f: gradient(f, _skew())),
    ),
    hints=(
        "Which products do you need so that every row meets every other row, and itself? What should they all be?",
        "W @ W.T holds the products of all rows, (N_1, N_1); it should be the identity of that size. The squared"
        " Frobenius norm sums all squared entries.",
        skeleton(orthonormality_penalty, "W @ W.T", "torch.eye(len(W))", ".square()"),
    ),
    mistakes=mistakes(
        orthonormality_penalty,
        """
        columns-instead-of-rows: W @ W.T => W.T @ W
            + len(W) => W.shape[1]
            W.T @ W compares the columns: the basis vectors are the rows, so the product is W @ W.T.

        norm-not-squared: .square().sum() => .norm()
            This is the Frobenius norm itself: the penalty is its square.

        averaged: .sum() => .mean()
            This is the mean over the entries: the Frobenius norm sums them.

        identity-missing: products - torch.eye(len(W)) => products
            The identity is not subtracted, so W = 0 would be best: the rows should have norm 1.

        diagonal-left-out: torch.eye(len(W)) => products.diag().diag()
            The diagonal is left out: orthogonal rows of any norm, even 0, would cost nothing.

        diagonal-only: products - torch.eye(len(W)) => products.diag() - 1
            Only the norms of the rows are looked at: equal rows would cost nothing.

        not-squared-entries: .square() => .abs()
            These are absolute values: the Frobenius norm squares the entries.

        each-pair-once: .square() => .triu().square()
            Each pair of rows counts once here: the Frobenius norm has both (i, k) and (k, i).

        one-factor-detached: W @ W.T => W @ W.detach().T
            The value is right, but half of the gradient is missing: W stands twice in W @ W.T, detach neither.
        """,
    ),
    answer=orthonormality_penalty,
    minutes=5,
    difficulty=1,
    importance=3,
)


def nsae_cost(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    h = torch.relu(x @ W.T)  # (M, N_1)
    error = (h @ W - x).square().sum(1)  # (M,)
    l1 = h.sum(1)  # (M,)
    return (0.5 * error + sparsity_weight * l1).mean() + orthonormality_weight * orthonormality_penalty(W)


def _example() -> Tensor:
    return torch.tensor([[1.0, -2.0], [3.0, 4.0]])


COST = Exercise(
    name="nsae_cost",
    reference=paper.nsae_cost,
    probes=(
        Probe("W = I, x = (1, -2) and (3, 4), lambda = mu = 0", lambda f: f(torch.eye(2), _example(), 0.0, 0.0)),
        Probe(
            "W = I, x = (1, -2) and (3, 4), whose L1 norms are 1 and 7, lambda = 0.5, mu = 0",
            lambda f: f(torch.eye(2), _example(), 0.5, 0.0),
        ),
        Probe(
            "W = [[1, 1], [0, 2]], x = (1, -2) and (3, 4), lambda = 0, mu = 1",
            lambda f: f(_skew(), _example(), 0.0, 1.0),
        ),
        Probe(
            "9 segments of 5 points, 3 rows, lambda = 0.25, mu = 0.5",
            lambda f: f(normal(3, 5), normal(9, 5, seed=1), 0.25, 0.5),
        ),
        Probe(
            "9 segments of 5 points, each twice, which changes nothing, 3 rows, lambda = 0.25, mu = 0.5",
            lambda f: f(normal(3, 5), normal(9, 5, seed=1).repeat(2, 1), 0.25, 0.5),
        ),
        Probe(
            "the gradient with respect to W = [[1, 1], [0, 2]], x = (1, -2) and (3, 4), lambda = 0.25, mu = 0.5",
            lambda f: gradient(lambda W: f(W, _example(), 0.25, 0.5), _skew()),
        ),
    ),
    hints=(
        "Three terms: how badly a segment is rebuilt, how much of its code is active, how far the rows are from"
        " orthonormal. Which of them is there once for each segment?",
        "h = max(0, x W^T) is (M, N_1) and h W the reconstruction. Sum over points and over units; take the mean over"
        " segments. orthonormality_penalty(W) is added once.",
        skeleton(nsae_cost, "torch.relu(x @ W.T)", "h @ W - x", "h.sum(1)", "0.5 * error + sparsity_weight * l1"),
    ),
    mistakes=mistakes(
        nsae_cost,
        """
        half-missing: 0.5 * error => error
            The factor 1/2 of the squared error is missing.

        mean-over-points: .square().sum(1) => .square().mean(1)
            The squared error is a mean over the points while the L1 norm is a sum: sum over the points of a segment.

        mean-over-units: h.sum(1) => h.mean(1)
            The L1 term is a mean over the units: the norm is a sum, or lambda would depend on how many there are.

        l1-summed-over-the-batch: (0.5 * error + sparsity_weight * l1).mean() => (0.5 * error + 0 * l1).mean()
            + + orthonormality_weight => + sparsity_weight * l1.sum() + orthonormality_weight
            The L1 term is summed over the segments while the error is averaged: lambda would depend on the batch.

        everything-summed-over-the-batch: l1).mean() => l1).sum()
            Error and L1 norm are summed over the segments: take the mean, or mu would depend on the batch.

        no-relu: torch.relu(x @ W.T) => x @ W.T
            + h.sum(1) => h.abs().sum(1)
            The ReLU is missing: h = max(0, W x).

        sigmoid: torch.relu => torch.sigmoid
            This is the sigmoid of the usual sparse autoencoder: the NSAE has a ReLU in its place.

        decoder-not-transposed: h @ W - x => h @ W.T - x
            The decoder is W as it stands: it is tied, x^ = W^T h, which is h @ W for codes in rows.

        weights-instead-of-activations: h.sum(1) => W.abs().sum()
            The L1 norm of the weights is penalized: sparsity is asked of the activations h.

        penalty-forgotten: + orthonormality_weight * orthonormality_penalty(W) =>
            The orthonormality penalty is not there: this is a sparse autoencoder, nothing makes its rows differ.

        weights-exchanged: sparsity_weight * l1 => orthonormality_weight * l1
            + orthonormality_weight * orthonormality_penalty => sparsity_weight * orthonormality_penalty
            The two weights are exchanged: sparsity_weight belongs to the L1 norm, orthonormality_weight to W W^T.

        decoder-detached: h @ W - x => h @ W.detach() - x
            The value is right, but the decoder does not learn: it is tied, so the gradient runs through both W.

        code-detached: (h @ W - x) => (h.detach() @ W - x)
            The value is right, but the encoder does not learn to rebuild: the error's gradient runs through h as well.
        """,
    ),
    answer=nsae_cost,
    minutes=10,
    importance=3,
)


def orthonormalize(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)  # (N_1, K), (K,), (K, N_in) with K = min(N_1, N_in)
    return U @ Vh


ORTHONORMALIZE = Exercise(
    name="orthonormalize",
    reference=paper.orthonormalize,
    probes=(
        Probe("3 random rows of 5 points", lambda f: f(normal(3, 5)), atol=1e-4),
        Probe("a square matrix, W = [[2, 0], [1, 1]]", lambda f: f(torch.tensor([[2.0, 0.0], [1.0, 1.0]])), atol=1e-4),
        Probe("rows that are orthonormal already", lambda f: f(torch.eye(4)[[2, 0]]), atol=1e-4),
        Probe("orthogonal rows of norm 3", lambda f: f(3 * torch.eye(3)), atol=1e-4),
        Probe("6 rows of 3 points, where only columns can be orthonormal", lambda f: f(normal(6, 3)), atol=1e-4),
    ),
    hints=(
        "The SVD writes W as a rotation, a stretch along axes and another rotation. Which of them makes it skew?",
        "W = U S V^T. With every singular value replaced by 1, the nearest orthonormal matrix is left. Mind what the"
        " third result of torch.linalg.svd is.",
        skeleton(orthonormalize, "W, full_matrices=False", "U @ Vh"),
    ),
    mistakes=mistakes(
        orthonormalize,
        """
        rows-normalized-only: U @ Vh => W / W.norm(dim=1, keepdim=True)
            Each row has norm 1 now, but the rows are not orthogonal: equal rows would remain equal.

        gram-schmidt: U @ Vh => torch.linalg.qr(W.T).Q.T
            This is Gram-Schmidt (QR): orthonormal, but it favors the first row; the nearest matrix favors none.

        v-transposed-twice: U @ Vh => U @ Vh.T
            V is transposed once too often: torch.linalg.svd returns V^T already.

        whole-matrices: W, full_matrices=False => W
            U and V^T do not fit together where W is not square: full_matrices=False keeps the part that belongs to W.

        right-factor-only: U @ Vh => Vh
            These are the right singular vectors, orthonormal but turned away from W: U turns them back.

        left-factor-only: U @ Vh => U
            These are the left singular vectors alone: multiply them by V^T.

        rebuilt: U, _, Vh => U, S, Vh
            + U @ Vh => U @ torch.diag(S) @ Vh
            With the singular values multiplied in again this is W itself: leave them out.

        scaled-to-norm-1: U @ Vh => W / torch.linalg.matrix_norm(W, 2)
            All singular values are divided by the largest: each of them has to become 1.

        inverse-not-its-root: U @ Vh => torch.linalg.pinv(W @ W.T) @ W
            This is (W W^T)^(-1) W: the symmetric decorrelation takes the power -1/2.
        """,
    ),
    answer=orthonormalize,
    minutes=6,
    difficulty=1,
    differentiable=False,  # put in place of W after a step; where singular values are equal, its SVD has no gradient
)


def local_features(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    segments = segment(signal, W.shape[1], stride)  # (..., J, N_in)
    h = torch.relu(segments @ W.T)  # (..., J, N_1)
    return h.mean(-2)


LOCAL = Exercise(
    name="local_features",
    reference=paper.local_features,
    differentiable=False,
    probes=(
        Probe(
            "the signal (1, -2, 3, 4) and W = I, 2 x 2",
            lambda f: f(torch.tensor([[1.0, -2.0, 3.0, 4.0]]), torch.eye(2)),
        ),
        Probe("2 signals of 24 points, 6 rows of 8", lambda f: f(normal(2, 24), normal(6, 8, seed=1))),
        Probe("2 signals of 24 points, 6 rows of 8, stride = 1", lambda f: f(normal(2, 24), normal(6, 8, seed=1), 1)),
        Probe(
            "3 signals of 29 points, 4 rows of 8, so that 5 points are left over",
            lambda f: f(normal(3, 29), normal(4, 8, seed=1)),
        ),
        Probe("a single signal without a batch axis", lambda f: f(normal(16), normal(4, 8, seed=1))),
    ),
    hints=(
        "Every segment meets the same W. In which order do ReLU and average come, so that a hit here and its echo"
        " there do not cancel?",
        "segment(signal, W.shape[1], stride) is (..., J, N_in): multiply by W.T, rectify, then average over J.",
        skeleton(local_features, "W.shape[1]", "torch.relu(segments @ W.T)", "h.mean(-2)"),
    ),
    mistakes=mistakes(
        local_features,
        """
        averaged-before-the-relu: torch.relu(segments @ W.T) => segments @ W.T
            + h.mean(-2) => torch.relu(h.mean(-2))
            The average comes before the ReLU: a wave whose phase differs from segment to segment then cancels out.

        relu-forgotten: torch.relu(segments @ W.T) => segments @ W.T
            The ReLU is missing: without it the mean over segments is W times the mean segment, nearly nothing.

        summed: .mean(-2) => .sum(-2)
            The features are summed over the segments: take the mean, or a longer signal looks like a stronger one.

        largest-instead-of-mean: .mean(-2) => .amax(-2)
            This is the largest value over the segments (max pooling): the feature layer averages.

        averaged-over-units: .mean(-2) => .mean(-1)
            The average runs over the rows of W: average over the segments, one feature a row is kept.

        axis-counted-from-the-front: .mean(-2) => .mean(1)
            Axis 1 holds the segments of a batch only: counted from the end they are always axis -2.

        first-segment-only: h.mean(-2) => h[..., 0, :]
            Only the first segment is looked at: that is the shift-variant feature that the network is to cure.

        segments-as-long-as-there-are-rows: W.shape[1] => len(W)
            The segments have as many points as W has rows: they are as long as one row, W.shape[1].

        stride-ignored: W.shape[1], stride => W.shape[1]
            The stride is ignored: pass it on to segment.
        """,
    ),
    answer=local_features,
    minutes=6,
    difficulty=1,
    importance=3,
)


def lcn_features(signal: Tensor, W: Tensor, mean: Tensor, matrix: Tensor, stride: int | None = None) -> Tensor:
    """A raw signal (..., N) and W (N_1, N_in) -> its features, (..., N_1); segments are N_in long.

    mean (N_in,) and matrix (N_in, N_in) are what zca_whitening has fitted to the standardized segments of training.
    """
    segments = segment(standardize(signal), W.shape[1], stride)  # (..., J, N_in)
    white = (segments - mean) @ matrix
    h = torch.relu(white @ W.T)  # (..., J, N_1)
    return h.mean(-2)


def _fitted() -> tuple[Tensor, Tensor, Tensor]:
    """W of 3 rows of 4 points, and the mean and the (symmetric) matrix of a whitening."""
    root = normal(4, 4, seed=2)
    return normal(3, 4, seed=1), normal(4, seed=3), root @ root.T / 4


def _without_whitening() -> tuple[Tensor, Tensor, Tensor]:
    return torch.eye(2), torch.zeros(2), torch.eye(2)


FEATURES = Exercise(
    name="lcn_features",
    reference=paper.lcn_features,
    probes=(
        Probe(
            "the signal (1, 1, 3, 3), W = I, mean = 0, matrix = I",
            lambda f: f(torch.tensor([[1.0, 1.0, 3.0, 3.0]]), *_without_whitening()),
        ),
        Probe(
            "the signals (1, 2, 5, 4) and (10, -10, 10, -10), W = I, mean = 0, matrix = I",
            lambda f: f(torch.tensor([[1.0, 2.0, 5.0, 4.0], [10.0, -10.0, 10.0, -10.0]]), *_without_whitening()),
        ),
        Probe(
            "the signal (1, -1, -1, 1), W = I, mean = (0.25, 0), matrix = [[2, 1], [1, 2]]",
            lambda f: f(
                torch.tensor([[1.0, -1.0, -1.0, 1.0]]),
                torch.eye(2),
                torch.tensor([0.25, 0.0]),
                torch.tensor([[2.0, 1.0], [1.0, 2.0]]),
            ),
        ),
        Probe("2 signals of 16 points around 5, 3 rows of 4, whitened", lambda f: f(5 + normal(2, 16), *_fitted())),
        Probe(
            "2 signals of 16 points around 5, 3 rows of 4, whitened, stride = 1",
            lambda f: f(5 + normal(2, 16), *_fitted(), 1),
        ),
        Probe("one signal of 11 points without a batch axis, whitened", lambda f: f(normal(11), *_fitted())),
    ),
    hints=(
        "What is done once with a whole signal, what with each of its segments, and what comes last?",
        "Standardize the signal, then cut it. White is (x_j - mean) @ matrix, with the mean and the matrix that were"
        " fitted in training. Then come W, the ReLU and the average over the segments.",
        skeleton(lcn_features, "standardize(signal)", "(segments - mean) @ matrix", "white @ W.T", "h.mean(-2)"),
    ),
    mistakes=mistakes(
        lcn_features,
        """
        not-standardized: standardize(signal) => signal
            The signal is taken as it comes: standardize it, or a heavier load would look like another fault.

        one-point-less: standardize(signal) => (signal - signal.mean(-1, keepdim=True)) / signal.std(-1, keepdim=True)
            torch's std divides by N - 1, as for a sample of something larger: correction=0 divides by the N points.

        each-segment-standardized: standardize(signal) => signal
            + segments - mean => standardize(segments) - mean
            Each segment is standardized by itself, so that a quiet one counts as much as a strike: standardize the
            whole signal, then cut it.

        all-signals-by-one-scale: standardize(signal) => standardize(signal.flatten()).reshape(signal.shape)
            The batch is standardized as one, so that a signal's features depend on its neighbors: each has a mean and
            a standard deviation of its own, along the last axis.

        mean-not-subtracted: (segments - mean) @ matrix => segments @ matrix
            The mean of the whitening is not subtracted: white is (x - mean) @ matrix.

        mean-behind-the-matrix: (segments - mean) @ matrix => segments @ matrix - mean
            The mean is subtracted behind the matrix: it is that of segments as they were before it.

        own-mean: segments - mean => segments - segments.mean(-2, keepdim=True)
            The signal's own mean segment is subtracted: the whitening was fitted in training, and stays as it is.

        not-whitened: (segments - mean) @ matrix => segments
            The segments are not whitened, but W was learned on white ones.

        only-scaled: @ matrix => * matrix.diag()
            Each point is scaled by itself: whitening mixes the points of a segment, multiply by the whole matrix.

        relu-forgotten: torch.relu(white @ W.T) => white @ W.T
            The ReLU is missing: without it the mean over segments is W times the mean segment.

        averaged-before-the-relu: torch.relu(white @ W.T) => white @ W.T
            + h.mean(-2) => torch.relu(h.mean(-2))
            The average comes before the ReLU: a wave whose phase differs from segment to segment then cancels out.

        largest-instead-of-mean: .mean(-2) => .amax(-2)
            This is the largest value over the segments (max pooling): the feature layer averages.

        summed: .mean(-2) => .sum(-2)
            The features are summed over the segments: take the mean, or a longer signal looks like a stronger one.

        stride-ignored: W.shape[1], stride => W.shape[1]
            The stride is ignored: pass it on to segment.
        """,
    ),
    answer=lcn_features,
    minutes=8,
    importance=3,
)


def lcn_step(features: Tensor, labels: Tensor, V: Tensor, c: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """One step down the mean cross-entropy of softmax(V f + c) -> the new V (classes, N_1) and c (classes,).

    features (B, N_1), labels (B,); V and c themselves are not changed.
    """
    p = (features @ V.T + c).softmax(1)  # (B, classes)
    excess = p - F.one_hot(labels, len(V))  # (B, classes), B times the gradient with respect to the logits
    return V - lr * excess.T @ features / len(labels), c - lr * excess.mean(0)


def _five_signals() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return normal(5, 3).abs(), torch.tensor([2, 0, 1, 3, 2]), normal(4, 3, seed=1), normal(4, seed=2)


def _large_logits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.tensor([[100.0], [200.0]]), torch.tensor([0, 1]), torch.tensor([[1.0], [0.0]]), torch.zeros(2)


STEP = Exercise(
    name="lcn_step",
    reference=paper.lcn_step,
    probes=(
        Probe(
            "f = (1, 2) of class 1, V = 0 and c = 0 for two classes, lr = 0.1",
            lambda f: f(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.zeros(2, 2), torch.zeros(2), 0.1),
        ),
        Probe("5 signals of 3 features, 4 classes, lr = 0.5", lambda f: f(*_five_signals(), 0.5)),
        Probe(
            "5 signals of 3 features, each three times, which changes nothing, 4 classes, lr = 0.5",
            lambda f: f(*(part.repeat_interleave(3, 0) for part in _five_signals()[:2]), *_five_signals()[2:], 0.5),
        ),
        Probe("5 signals of 3 features, 4 classes, lr = 0", lambda f: f(*_five_signals(), 0.0)),
        Probe("f = 100 and 200, V = (1, 0): logits up to 200, lr = 0.1", lambda f: f(*_large_logits(), 0.1)),
    ),
    hints=(
        "The output layer says V f + c, and softmax makes probabilities of that. In which direction should the logit of"
        " the true class go, in which those of the others, and by how much each?",
        "The gradient of -log p_y with respect to the logits is p - onehot(y). A logit is a row of V times f, plus its"
        " c: so multiply by f for V, by 1 for c, take the mean over the signals, and go against it. W does not move."
        " (Autograd on F.cross_entropy finds the same.)",
        skeleton(lcn_step, "features @ V.T + c", "p - F.one_hot(labels, len(V))", "excess.T @ features / len(labels)"),
    ),
    mistakes=mistakes(
        lcn_step,
        """
        uphill: p - F.one_hot(labels, len(V)) => F.one_hot(labels, len(V)) - p
            The step goes up the cross-entropy: subtract lr times its gradient, which is p - onehot at the logits.

        summed-over-the-signals: / len(labels), c => , c
            + excess.mean(0) => excess.sum(0)
            The gradients are summed over the signals: take the mean, or the step would grow with the batch.

        c-summed-over-the-signals: excess.mean(0) => excess.sum(0)
            c moves by the sum over the signals while V moves by the mean: both belong to the mean cross-entropy.

        mean-over-classes: / len(labels), c => / excess.numel(), c
            + excess.mean(0) => excess.sum(0) / excess.numel()
            The mean runs over the classes, too: there is one cross-entropy a signal, divide by their number alone.

        softmax-over-the-signals: softmax(1) => softmax(0)
            The softmax runs over the signals: the probabilities of one signal add up to 1, along axis 1.

        sigmoid: .softmax(1) => .sigmoid()
            Each class is judged by itself, with a sigmoid: the classes of one signal share a softmax.

        no-softmax: .softmax(1) =>
            The logits are taken for probabilities, as for squared errors: softmax makes probabilities of them.

        softmax-twice: excess = p - F => q = p.softmax(1) - F
            + len(V))  # => len(V)); excess = p * (q - (p * q).sum(1, keepdim=True))  #
            The softmax is taken twice, as when F.cross_entropy is given probabilities: it wants the logits.

        softmax-overflows: (features @ V.T + c).softmax(1) => (features @ V.T + c).exp()
            + excess = => p = p / p.sum(1, keepdim=True); excess =
            exp overflows at large logits and gives NaN: subtract the largest logit first, as torch.softmax does.

        c-left-out: features @ V.T + c => features @ V.T
            c is left out of the logits: they are V f + c.

        c-not-learned: c - lr * excess.mean(0) => c
            c stays as it is: it is learned like V, as if by a feature that is always 1.

        c-behind-v: return V => V = V
            + / len(labels), c => / len(labels); p = (features @ V.T + c).softmax(1); return V, c
            + excess.mean(0) => (p - F.one_hot(labels, len(V))).mean(0)
            c moves by the gradient at the new V: both gradients are taken before either moves.

        only-the-true-class: p - F.one_hot(labels, len(V)) => (p - 1) * F.one_hot(labels, len(V))
            Only the row of the true class moves: the others must go down by their probabilities.

        perceptron: excess = p => excess = F.one_hot(p.argmax(1), len(V)).float()
            Only signals that are called wrongly move anything, as in a perceptron: subtract the probabilities, not the
            decision.

        slope-of-the-softmax-twice: p - F.one_hot(labels, len(V)) => p * (1 - p) * (p - F.one_hot(labels, len(V)))
            p (1 - p) is the slope of a sigmoid, as needed for squared errors: for the cross-entropy it has cancelled
            out, and p - onehot is all.

        steps-instead-of-parameters: V - lr * excess.T => -lr * excess.T
            + c - lr * excess.mean(0) => -lr * excess.mean(0)
            These are the steps: add them to V and c, and return the new ones.
        """,
    ),
    answer=lcn_step,
    minutes=12,
    importance=3,
    level="stretch",
    differentiable=False,  # new parameters, through which nothing is trained
)


def shifted_similarity(W: Tensor) -> Tensor:
    """How alike two different rows are at the lag that suits them best, (N_1, N_in) -> scalar: a mean over all pairs.

    Alike is |sum_t w_i[t] w_k[t + s]| / (|w_i| |w_k|) at a lag s from -(N_in - 1) to N_in - 1, with zeros beyond the
    ends of a row. Rows of zeros are left out.
    """
    W = W[W.norm(dim=1) > 0]  # (n, N_in)
    W = W / W.norm(dim=1, keepdim=True)
    products = F.conv1d(W[:, None], W[:, None], padding=W.shape[1] - 1)  # (n, n, 2 N_in - 1), one for each lag
    alike = products.abs().amax(-1)  # (n, n), ones on the diagonal
    n = len(W)
    return (alike.sum() - alike.trace()) / (n * (n - 1))


def _two_places() -> Tensor:
    """One shape at two places, once with the sign reversed."""
    return torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, -3.0, -6.0]])


def _phases() -> Tensor:
    """A wave of three periods in 24 points, and the same a quarter of a period later."""
    angle = torch.arange(24) * (torch.pi / 4)
    return torch.stack([angle.sin(), angle.cos()])


def _two_shapes_once_weak() -> Tensor:
    rows = torch.tensor([[1.0, 2.0], [2.0, -1.0]])
    return torch.cat([rows, 1e-10 * rows])


SHIFTED = Exercise(
    name="shifted_similarity",
    reference=paper.shifted_similarity,
    probes=(
        Probe("the rows (1, 2, 0, 0, 0) and (0, 0, 0, -3, -6)", lambda f: f(_two_places())),
        Probe("the rows (1, 0), (0, 1) and (3, 4)", lambda f: f(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]))),
        Probe("the rows (1, 2, 3) and (-1, -2, -3)", lambda f: f(torch.tensor([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]]))),
        Probe(
            "the rows (1, 1, 0, 0) and (1, 0, 0, 1)",
            lambda f: f(torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])),
        ),
        Probe("a sine and a cosine of three periods in 24 points", lambda f: f(_phases())),
        Probe("12 random rows of 8 points", lambda f: f(normal(12, 8))),
        Probe("12 random rows of 8 points and 4 rows of zeros", lambda f: f(F.pad(normal(12, 8), (0, 0, 0, 4)))),
        Probe("the rows (1, 2), (2, -1) and 1e-10 times both", lambda f: f(_two_shapes_once_weak())),
    ),
    hints=(
        "Two strikes that are alike, one a little later: at which lag do their rows look most alike? How many lags are"
        " there at which they overlap at all?",
        "Divide each row that is not zero by its norm. F.conv1d slides each row over each other: with padding ="
        " N_in - 1 it gives all 2 N_in - 1 lags. Take the largest absolute value over the lags, then the mean over the"
        " n * (n - 1) pairs of two different rows, as in row_similarity.",
        skeleton(
            shifted_similarity,
            "W.norm(dim=1, keepdim=True)",
            "padding=W.shape[1] - 1",
            "products.abs().amax(-1)",
            "alike.sum() - alike.trace()",
        ),
    ),
    mistakes=mistakes(shifted_similarity, _ROWS_AND_PAIRS)
    + mistakes(
        shifted_similarity,
        """
        lag-0-only: padding=W.shape[1] - 1 => padding=0
            Only the lag 0 is looked at, so this is row_similarity: pad with N_in - 1 zeros on both sides.

        half-of-the-lags: padding=W.shape[1] - 1 => padding=W.shape[1] // 2
            The lags end at half the row: two rows overlap up to a lag of N_in - 1.

        lags-of-one-sign: products.abs() => products[..., W.shape[1] - 1 :].abs()
            One row is only ever shifted the same way: which of two copies comes first is not known, so look at the
            negative lags as well.

        circular: F.conv1d(W[:, None], W => F.conv1d(torch.cat([W, W], dim=1)[:, None], W
            + , padding=W.shape[1] - 1 =>
            What leaves a row at its end comes in again at its start, as with an FFT that is not padded: beyond a row
            there are zeros.

        one-row-reversed: F.conv1d(W[:, None], W[:, None] => F.conv1d(W[:, None], W[:, None].flip(-1)
            One row is turned around in time, as in a convolution: a correlation only shifts it. (F.conv1d does not
            turn its kernel around; with an FFT, take the complex conjugate of one factor.)

        divided-by-the-points: W / W.norm(dim=1, keepdim=True) => W
            + products.abs() => (products / W.shape[1]).abs()
            The sums are divided by the number of points: divide by the norms of both rows.

        mean-subtracted: W = W / => W = W - W.mean(1, keepdim=True); W = W /
            The mean of each row is subtracted first, as in a correlation coefficient: take the rows as they are.

        divided-by-the-overlap: products = => row = torch.ones(1, 1, W.shape[1]); products = W.shape[1] *
            + products.abs() => (products / F.conv1d(row, row, padding=W.shape[1] - 1)).abs()
            Each lag is divided by how many points overlap there, so that a single pair of points at the ends can
            outweigh two whole rows: divide by the norms of the whole rows alone.

        signs-ignored: products.abs() => products
            The largest value is taken with its sign: a row and its negative are alike, take the absolute value first.

        absolute-value-too-late: products.abs().amax(-1) => products.amax(-1).abs()
            The absolute value comes after the maximum, which has lost the large negative values by then: take it first.

        squared: .abs() => .square()
            These are squared correlations: the mean is taken over absolute values.

        mean-over-lags: .amax(-1) => .mean(-1)
            This is the mean over the lags: two copies are alike if there is one lag at which they fit, take the
            largest value.

        summed-over-lags: .amax(-1) => .sum(-1)
            The lags are added up: take the largest value over them.

        largest-pair: (alike.sum() - alike.trace()) / (n * (n - 1)) => (alike - alike.diag().diag()).max()
            This is the pair that is most alike: take the mean over all pairs.

        nearest-row: (alike.sum() - alike.trace()) / (n * (n - 1)) => (alike - alike.diag().diag()).amax(1).mean()
            For each row only the one most like it counts: take the mean over all pairs.

        diagonal-counted: (alike.sum() - alike.trace()) / (n * (n - 1)) => alike.mean()
            Each row is compared with itself as well, which adds ones: leave the diagonal out.

        half-of-the-pairs: alike.sum() - alike.trace() => alike.triu(1).sum()
            Each pair is added once, but divided by n * (n - 1), which counts it twice.
        """,
    ),
    answer=shifted_similarity,
    minutes=10,
    level="stretch",
    differentiable=False,  # a measure, taken after training
)

# As in the notebook: the core, then what follows it.
EXERCISES = (SEGMENT, SIMILARITY, SHIFTED, PENALTY, COST, LOCAL, ORTHONORMALIZE, FEATURES, STEP)
