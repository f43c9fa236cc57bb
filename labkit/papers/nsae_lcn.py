"""Normalized sparse autoencoder (NSAE) and local connection network (LCN) for bearing fault diagnosis.

Paper: F. Jia, Y. Lei, L. Guo, J. Lin and S. Xing, "A neural network constructed by deep learning technique and its
application to intelligent fault diagnosis of machines", Neurocomputing 272 (2018) 619-628. We had the abstract and a
review of it, not the equations: what follows is rebuilt from those two, and a docstring says "our choice" where they
do not settle a detail. There are hence no equation numbers. Notation of the lesson:

    x       a vibration signal, standardized                            (B, N)
    x_j     its j-th segment, j = 1 ... J                               (B, J, N_in)
    W       the weights; each row is a basis vector for a segment       (N_1, N_in)
    h_j     local features max(0, W x_j)                                (B, J, N_1)
    f       shift-invariant features, the mean of h_j over j            (B, N_1)

The autoencoder learns W from segments alone, without labels; the network uses W on every segment of a signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.image_patches import Whitening
from labkit.papers.sparse_autoencoders import kl_sparsity

# The choices that NormalizedSparseAutoencoder takes.
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}
SPARSITIES = ("l1", "kl", "none")
ORTHONORMALITIES = ("penalty", "projection", "row norm", "none")


# ---- segments -------------------------------------------------------------------------------------------------------


def standardize(signal: Tensor) -> Tensor:
    """Each signal with mean 0 and standard deviation 1 along its last axis, any unit -> none, (..., N) -> (..., N).

    Without a bias the features grow with the signal, and a heavier load would look like another fault (our choice). A
    constant signal becomes 0. Raises ValueError for a signal that is empty, not finite or not floating point.
    """
    _require_finite(signal, "the signal")
    centred = signal - signal.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    # The rounding error of the mean of a constant signal is no signal, and must not be blown up to one.
    is_constant = deviation <= 8 * torch.finfo(signal.dtype).eps * signal.abs().amax(-1, keepdim=True)
    return torch.where(is_constant, torch.zeros_like(centred), centred / deviation.masked_fill(is_constant, 1.0))


def segment(signal: Tensor, length: int, stride: int | None = None) -> Tensor:
    """The segments x_j of a signal, in order, (..., N) -> (..., J, length) with J = (N - length) // stride + 1.

    By default they do not overlap, stride = length; points left over at the end are dropped. The result is a view of
    the signal. Raises ValueError for a length that is not in 1 ... N, a stride below 1, or a signal that is empty, not
    finite or not floating point. (Paper: input layer to local layer.)
    """
    stride = length if stride is None else stride
    _require_finite(signal, "the signal")
    if not 1 <= length <= signal.shape[-1]:
        raise ValueError(f"segments of {length} points cannot be cut from {signal.shape[-1]}: choose 1 to that many")
    if stride < 1:
        raise ValueError(f"the stride must be at least 1 point, got {stride}")
    return signal.unfold(-1, length, stride)  # (..., J, length)


def wrap(signal: Tensor, length: int) -> Tensor:
    """A circular signal written out: its first length - 1 points appended, (..., N) -> (..., N + length - 1).

    ``segment(wrap(x, length), length, 1)`` has one segment for each point of x. Raises ValueError as `segment` does.
    """
    segment(signal, length)  # refuses what cannot be cut
    return torch.cat([signal, signal[..., : length - 1]], dim=-1)


def draw_segments(
    signals: Tensor, length: int, count: int, generator: torch.Generator, stride: int | None = None
) -> Tensor:
    """N_s = count different segments, drawn at random from all those of all signals, (B, N) -> (count, length).

    A stride below the length lets the drawn segments begin anywhere, not only where the network cuts. Raises ValueError
    as `segment` does, and for a count below 1 or above the number of segments there are.
    """
    candidates = segment(signals, length, stride)  # (B, J, length), a view: nothing is copied before the draw
    available = candidates.shape[0] * candidates.shape[1]
    if signals.dim() != 2 or not 1 <= count <= available:
        raise ValueError(f"{count} segments cannot be drawn from {available} of signals of shape {_shape(signals)}")
    drawn = torch.randperm(available, generator=generator)[:count]
    return candidates[drawn // candidates.shape[1], drawn % candidates.shape[1]]


# ---- soft orthonormality --------------------------------------------------------------------------------------------


def orthonormality_penalty(W: Tensor) -> Tensor:
    """||W W^T - I||_F^2, how far the rows are from orthonormal, (N_1, N_in) -> scalar.

    The review writes W^T W = I and means that different rows carry different information, which is W W^T = I; as a
    penalty it is our choice. For N_1 > N_in it cannot reach 0: see `penalty_floor`. Raises ValueError unless W is a
    finite matrix.
    """
    _require_matrix(W, "W")
    identity = torch.eye(len(W), dtype=W.dtype, device=W.device)
    return (W @ W.T - identity).square().sum()


def penalty_floor(units: int, inputs: int) -> int:
    """The least `orthonormality_penalty` of any W (units, inputs): max(0, N_1 - N_in).

    W W^T has at most N_in eigenvalues that are not 0, and each of the other N_1 - N_in costs (0 - 1)^2. Just the W with
    W^T W = I cost no more: their rows have the mean squared norm N_in / N_1, so unit norm and the floor exclude each
    other. A tight frame of unit rows costs N_in (N_1 / N_in - 1)^2 + N_1 - N_in.
    Raises ValueError for a size below 1.
    """
    if units < 1 or inputs < 1:
        raise ValueError(f"a weight matrix has at least 1 row and 1 column, got {units} and {inputs}")
    return max(0, units - inputs)


def orthonormalize(W: Tensor) -> Tensor:
    """The matrix with orthonormal rows that is nearest to W in the Frobenius norm, (N_1, N_in) -> (N_1, N_in).

    It is the factor U V^T of the polar decomposition, with W = U S V^T. Where W W^T can be inverted it is also the
    symmetric decorrelation (W W^T)^(-1/2) W, but it needs no inverse: zero or equal rows do no harm, though the
    nearest matrix is then one of many. For N_1 > N_in the rows cannot be orthonormal; the columns of the result are,
    W^T W = I, and its penalty is the floor N_1 - N_in. Raises ValueError unless W is a finite matrix.
    """
    _require_matrix(W, "W")
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)  # (N_1, K), (K,), (K, N_in) with K = min(N_1, N_in)
    return U @ Vh


def normalize_rows(W: Tensor) -> Tensor:
    """Each row divided by its norm, the weakest reading of "normalized"; zero rows stay, (N_1, N_in) -> (N_1, N_in).

    Equal rows remain equal: this alone does not make features differ. Raises ValueError unless W is a finite matrix.
    """
    _require_matrix(W, "W")
    norm = W.norm(dim=1, keepdim=True)
    return W / norm.masked_fill(norm == 0, 1.0)


# ---- the autoencoder ------------------------------------------------------------------------------------------------


def nsae_cost(W: Tensor, x: Tensor, sparsity_weight: float, orthonormality_weight: float) -> Tensor:
    """mean_m( 1/2 ||W^T h_m - x_m||^2 + lambda ||h_m||_1 ) + mu ||W W^T - I||_F^2, with h = max(0, W x), -> scalar.

    W is (N_1, N_in), x holds M segments (M, N_in); lambda is sparsity_weight, mu is orthonormality_weight. The tied
    decoder W^T, the penalty, and the mean over segments in both terms, so that lambda does not depend on M, are our
    choices. Raises ValueError for a negative weight, or unless W and x are finite matrices of equal width.
    """
    _require_matrix(x, "x")
    _require_weight(sparsity_weight, "sparsity_weight")
    _require_weight(orthonormality_weight, "orthonormality_weight")
    penalty = orthonormality_penalty(W)
    if x.shape[1] != W.shape[1]:
        raise ValueError(f"segments of {x.shape[1]} points do not fit W of shape {_shape(W)}: the widths must be equal")
    h = torch.relu(x @ W.T)  # (M, N_1), so its L1 norm is its sum
    error = (h @ W - x).square().sum(-1)  # (M,)
    return (0.5 * error + sparsity_weight * h.sum(-1)).mean() + orthonormality_weight * penalty


class NormalizedSparseAutoencoder(nn.Module):
    """h = max(0, W x), x^ = W^T h, trained on `cost`: the NSAE, and each step on the way to it.

    The defaults are the NSAE. The four changes from the usual sparse autoencoder (SAE) can be made one at a time:

        1  activation "sigmoid" -> "relu"    3  sparsity "kl" -> "l1"
        2  bias True -> False                4  orthonormality "none" -> "penalty" (or "projection", "row norm")

    Change 3 comes before change 1: a KL penalty compares activations with a probability, and those of a ReLU are none.
    The decoder is linear, with a bias of its own where bias is True. Untied (tied=False), L1 can be cheated by a small
    W and a large decoder, so bound one of them. W starts as N(0, 1/N_in), rows of norm about 1, so that all variants
    start alike. With orthonormality "projection" or "row norm", W has to be put back after each step:

        optimizer.register_step_post_hook(lambda *_: model.constrain_())

    With W W^T = I and N_1 = N_in, ReLU loses max(0, -W x), half the energy of symmetric segments: W and -W cannot both
    be rows. Sizes, weights and `rho` are our choices. Raises ValueError for an unknown option, a size below 1, a
    negative weight, rho outside (0, 1), or KL with ReLU.
    """

    def __init__(
        self,
        inputs: int = 100,
        units: int = 100,
        *,
        activation: str = "relu",
        bias: bool = False,
        tied: bool = True,
        sparsity: str = "l1",
        sparsity_weight: float = 0.5,
        rho: float = 0.05,
        orthonormality: str = "penalty",
        orthonormality_weight: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _require_option(activation, "activation", ACTIVATIONS)
        _require_option(sparsity, "sparsity", SPARSITIES)
        _require_option(orthonormality, "orthonormality", ORTHONORMALITIES)
        _require_weight(sparsity_weight, "sparsity_weight")
        _require_weight(orthonormality_weight, "orthonormality_weight")
        penalty_floor(units, inputs)  # refuses sizes that no matrix has
        if sparsity == "kl" and (activation != "sigmoid" or not 0 < rho < 1):
            raise ValueError(f"KL needs a sigmoid and rho in (0, 1), got {activation!r} and {rho}: use those or 'l1'")
        self.activation, self.sparsity, self.sparsity_weight, self.rho = activation, sparsity, sparsity_weight, rho
        self.orthonormality, self.orthonormality_weight = orthonormality, orthonormality_weight
        start = torch.randn(units, inputs, generator=generator) / math.sqrt(inputs)
        self.weight = nn.Parameter(start)  # W (N_1, N_in)
        self.decoder = None if tied else nn.Parameter(start.clone())  # (N_1, N_in); None means W itself
        self.bias = nn.Parameter(torch.zeros(units)) if bias else None  # (N_1,)
        self.decoder_bias = nn.Parameter(torch.zeros(inputs)) if bias else None  # (N_in,)
        self.constrain_()

    def encode(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))  # (..., N_1)

    def decode(self, h: Tensor) -> Tensor:
        decoder = self.weight if self.decoder is None else self.decoder
        return F.linear(h, decoder.T, self.decoder_bias)  # (..., N_in)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))  # (..., N_in)

    def cost(self, x: Tensor) -> Tensor:
        """The training cost of segments (M, N_in), -> scalar: `nsae_cost`, with the terms that were asked for.

        KL compares the mean activation of a unit over the M segments with rho, so M should not be small.
        Raises ValueError unless x is a finite matrix.
        """
        _require_matrix(x, "x")
        h = self.encode(x)  # (M, N_1), never negative
        cost = 0.5 * (self.decode(h) - x).square().sum(-1).mean()
        if self.sparsity == "l1":
            cost = cost + self.sparsity_weight * h.sum(-1).mean()
        elif self.sparsity == "kl":
            cost = cost + self.sparsity_weight * kl_sparsity(h, self.rho)
        if self.orthonormality == "penalty":
            cost = cost + self.orthonormality_weight * orthonormality_penalty(self.weight)
        return cost

    @torch.no_grad()
    def constrain_(self) -> None:
        """Put W back, in place, on what "projection" or "row norm" asks for; nothing for the other two options."""
        if self.orthonormality == "projection":
            self.weight.copy_(orthonormalize(self.weight))
        elif self.orthonormality == "row norm":
            self.weight.copy_(normalize_rows(self.weight))


# ---- the local connection network -----------------------------------------------------------------------------------


def local_features(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    """f = 1/J sum_j max(0, W x_j), over the segments x_j as long as W is wide, (..., N), (N_1, N_in) -> (..., N_1).

    With segments that do not overlap, the default, a circular shift of the signal by a multiple of N_in leaves f as it
    is (N being one as well), any other shift only nearly so. At stride 1 on a circular signal, see `wrap`, every shift
    does. f(c x) = c f(x) for c > 0. Raises ValueError as `segment` does, and unless W is a finite matrix.
    (Paper: local layer and feature layer.)
    """
    _require_matrix(W, "W")
    h = segment(signal, W.shape[1], stride) @ W.T  # (..., J, N_1), by far the largest tensor here
    return h.relu_().mean(-2)


def convolution_features(signal: Tensor, W: Tensor, stride: int | None = None) -> Tensor:
    """What `local_features` gives, by a network of today: Conv1d without bias, ReLU, global average pooling.

    (..., N), (N_1, N_in) -> (..., N_1). Each row of W is a kernel; the stride is N_in by default. It never holds the
    segments, which at a stride of 1 are N_in times as large as the signal. Raises ValueError as `local_features` does.
    """
    _require_matrix(W, "W")
    segment(signal, W.shape[1], stride)  # refuses what cannot be cut
    channel = signal.reshape(-1, 1, signal.shape[-1])  # (B, 1, N)
    h = torch.relu(F.conv1d(channel, W[:, None], stride=stride or W.shape[1]))  # (B, N_1, J)
    return h.mean(-1).reshape(*signal.shape[:-1], len(W))


def lcn_features(signal: Tensor, W: Tensor, mean: Tensor, matrix: Tensor, stride: int | None = None) -> Tensor:
    """The whole way from a raw signal to its features, (..., N), (N_1, N_in) -> (..., N_1).

    The signal is standardized as a whole, cut into segments x_j, each of them whitened with the fitted mean (N_in,) and
    matrix (N_in, N_in), and then f = 1/J sum_j max(0, W white_j), see `local_features`. So any unit and offset of the
    signal give the same f. Raises ValueError as `standardize` and `local_features` do, and for a whitening of another
    width than W. (Standardizing and whitening are our choices; the rest is the paper's local and feature layer.)
    """
    _require_matrix(W, "W")
    width = W.shape[1]
    if mean.shape != (width,) or matrix.shape != (width, width):
        raise ValueError(f"a whitening of shapes {_shape(mean)} and {_shape(matrix)} does not fit W {_shape(W)}")
    segments = segment(standardize(signal), width, stride)  # (..., J, N_in)
    return (Whitening(mean, matrix)(segments) @ W.T).relu_().mean(-2)


def lcn_step(features: Tensor, labels: Tensor, V: Tensor, c: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """V and c after one step of gradient descent on the mean cross-entropy of softmax(V f + c); W stays as it is.

    features f (B, N_1), labels (B,) whole numbers, V (classes, N_1), c (classes,) -> the same two shapes. With the
    probabilities p (B, classes), the gradient with respect to the logits of signal b is (p_b - onehot_b) / B, and hence
    (p - onehot)^T f / B with respect to V. (Paper: output layer. Plain gradient descent is our choice.) Raises
    ValueError for shapes that do not fit, labels that are no classes, or features that are not finite.
    """
    _require_matrix(features, "features")
    if V.dim() != 2 or features.shape[1] != V.shape[1] or c.shape != V.shape[:1] or labels.shape != features.shape[:1]:
        shapes = ", ".join(map(_shape, (features, labels, V, c)))
        raise ValueError(f"expected features (B, N_1), labels (B,), V (classes, N_1) and c (classes,), got {shapes}")
    if labels.is_floating_point() or not ((labels >= 0) & (labels < len(V))).all():
        raise ValueError(f"labels must be whole numbers from 0 to {len(V) - 1}, got {labels.tolist()[:5]} ...")
    excess = torch.softmax(features @ V.T + c, dim=-1) - F.one_hot(labels.long(), len(V))  # (B, classes)
    return V - lr * excess.T @ features / len(features), c - lr * excess.mean(0)


class LocalConnectionNetwork(nn.Module):
    """logits = V f + c, with f the mean over all segments of what a trained autoencoder's encoder says to each.

    With the NSAE, f is `local_features`; any other variant takes its place with its own activation and bias. With a
    `whitening`, fitted to training segments only, segments are whitened first, as they were for the autoencoder;
    whether the paper does so is unconfirmed (its sibling does: Lei et al., 2016). The paper learns W without labels;
    that W then stays as it is, our choice, means that an optimizer is given ``network.output.parameters()``. V and c
    start at 0, since softmax regression has one minimum. Raises ValueError for fewer than two classes.
    """

    def __init__(
        self,
        autoencoder: NormalizedSparseAutoencoder,
        classes: int,
        stride: int | None = None,
        whitening: Whitening | None = None,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"at least two classes are needed to tell apart, got {classes}")
        units, self.length = autoencoder.weight.shape
        self.autoencoder, self.stride = autoencoder, stride
        self.register_buffer("mean", whitening.mean if whitening else None)  # buffers, to follow the weights to a GPU
        self.register_buffer("matrix", whitening.matrix if whitening else None)
        self.output = nn.Linear(units, classes, dtype=autoencoder.weight.dtype, device=autoencoder.weight.device)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def features(self, x: Tensor) -> Tensor:
        segments = segment(x, self.length, self.stride)  # (B, J, N_in)
        if self.matrix is not None:
            segments = Whitening(self.mean, self.matrix)(segments)
        return self.autoencoder.encode(segments).mean(-2)  # (B, N_1)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.features(x))  # (B, classes) logits


# ---- are the features different, and do they stay where the signal moves? -------------------------------------------


def row_similarity(W: Tensor) -> Tensor:
    """Mean of |cos(w_i, w_k)| over all pairs of different rows, (N_1, N_in) -> scalar in [0, 1].

    0: orthogonal rows; 1: copies of one row or of its negative; independent Gaussian rows have about
    sqrt(2 / (pi N_in)). Zero rows point nowhere and are left out: counted as 0 they would pass for diversity.
    Raises ValueError unless W is a finite matrix with two rows or more that are not zero.
    """
    directions = _nonzero_rows(W)
    return _mean_over_pairs((directions @ directions.T).abs())


@torch.no_grad()
def shifted_similarity(W: Tensor) -> Tensor:
    """How alike different rows are where one may be shifted against the other, (N_1, N_in) -> scalar in [0, 1].

    For each pair of different rows the largest |sum_t w_i[t] w_k[t + s]| / (|w_i| |w_k|) over the 2 N_in - 1 lags
    s = -(N_in - 1) ... N_in - 1, with zeros beyond the ends of a row; then the mean over all pairs. It is never less
    than `row_similarity`, the lag 0, which takes a copy at another phase for something new. 1: one shape at several
    places; a wave that fills its row counts as a copy up to what the shift moves out of it. Independent Gaussian rows
    are alike by chance at one lag or another: at 100 points they have about 0.24.

    The abstract says that usual autoencoders learn similar (duplicated) features and shift-variant ones, but not how
    that is measured: this yardstick is ours. Zero rows are left out. The result carries no gradient: it is for looking
    at rows, not for training them. Raises ValueError as `row_similarity` does.
    """
    return _mean_over_pairs(_largest_correlations(_nonzero_rows(W)))


@torch.no_grad()
def nearest_similarity(W: Tensor, *, shifted: bool) -> Tensor:
    """How alike a row is to the other row that is most like it, averaged over rows, (N_1, N_in) -> scalar in [0, 1].

    Alike is |cos(w_i, w_k)|, or with `shifted` its largest value over all lags, as in `shifted_similarity`. 1: each row
    has a copy somewhere, where the mean over all pairs is small as soon as there are many shapes. It grows with the
    number of rows, also by chance, so compare only matrices of one shape. Raises ValueError as `row_similarity` does.
    """
    directions = _nonzero_rows(W)
    alike = _largest_correlations(directions) if shifted else (directions @ directions.T).abs().clamp(max=1)
    return alike.fill_diagonal_(0).amax(1).mean()


def spectral_peaks(W: Tensor) -> Tensor:
    """The bin of the discrete Fourier transform where each row has its largest power, (N_1, N_in) -> (N_1,) integers.

    Bin k is k / N_in cycles a sample, k = 0 ... N_in // 2: times the sampling rate in Hz, the frequency in Hz. The
    lowest bin counts where powers are equal (within 1e-4), so a zero or an impulse, whose spectrum is flat, has bin 0.
    Raises ValueError unless W is a finite matrix.
    """
    _require_matrix(W, "W")
    power = torch.fft.rfft(W).abs().square()  # (N_1, N_in // 2 + 1)
    # Without a tolerance rounding would pick a peak out of a flat spectrum, and spread equal rows over frequency.
    is_peak = power >= (1 - 1e-4) * power.amax(1, keepdim=True)
    return is_peak.int().argmax(1)


def spectral_diversity(W: Tensor) -> Tensor:
    """How evenly the spectral peaks of the rows are spread over frequency, (N_1, N_in) -> scalar in [0, 1].

    The Shannon entropy of the histogram of `spectral_peaks`, divided by the log of the number of bins or of rows,
    whichever is smaller (Pielou's evenness, over all bins). 0: all rows peak at one frequency; 1: the peaks are as
    different as can be. It sees what `row_similarity` does not: shifted copies of a wave can be orthogonal, and yet
    share their frequency. Zero rows are left out.
    Raises ValueError as `row_similarity` does, and for rows of a single point.
    """
    rows = _nonzero_rows(W)
    if W.shape[1] < 2:
        raise ValueError("rows of a single point have no spectrum: give W at least two columns")
    counts = torch.bincount(spectral_peaks(rows)).to(W.dtype)
    share = counts[counts > 0] / len(rows)
    return -(share * share.log()).sum() / math.log(min(len(rows), W.shape[1] // 2 + 1)) + 0.0  # + 0.0: never -0


def shift_sensitivity(features: Callable[[Tensor], Tensor], x: Tensor, shift: int) -> Tensor:
    """||f(shifted x) - f(x)|| / ||f(x)|| for each signal, shifted circularly by so many points, (B, N) -> (B,).

    0: invariant; sqrt(2): orthogonal features of equal norm. Features that are all 0 and stay so have 0.
    """
    before, after = features(x), features(x.roll(shift, dims=-1))  # (B, F) each
    change = (after - before).norm(dim=-1)
    return change / before.norm(dim=-1).clamp(min=torch.finfo(before.dtype).tiny)


@torch.no_grad()
def code_strips(
    encode: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor], x: Tensor, shift: int, length: int
) -> Tensor:
    """Four grey strips of one window x (N,): a segment's code and the window's features, before and after a shift.

    encode maps a segment (length,) from the middle of the window, pool the whole window (N,), each to (N_1,). The
    window is shifted circularly. Within a pair both strips share one scale. -> (43, N_1) in [0, 1]: strips of 10 lines
    with one white line between them. Raises ValueError as `segment` does.
    """
    segment(x, length)  # refuses what cannot be cut
    begin = (len(x) - length) // 2
    rows = []
    for function, part in ((encode, slice(begin, begin + length)), (pool, slice(None))):
        pair = torch.stack([function(signal[part]) for signal in (x, x.roll(shift))])  # (2, N_1)
        low, high = pair.min(), pair.max()
        rows += list((pair - low) / (high - low).clamp(min=torch.finfo(pair.dtype).tiny))
    strips = torch.stack(rows).repeat_interleave(10, dim=0).reshape(4, 10, -1)  # (4, 10, N_1)
    return F.pad(strips, (0, 0, 0, 1)).flatten(0, 1)[:-1]  # (43, N_1)


# ---- what is refused ------------------------------------------------------------------------------------------------


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _require_finite(tensor: Tensor, name: str) -> None:
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {tensor.dtype}: convert with .float()")
    if tensor.dim() == 0 or tensor.numel() == 0:
        raise ValueError(f"{name} of shape {_shape(tensor)} is empty or a single number: give it values along an axis")
    # A sum is quick, and finite only where all values are; that of large ones may overflow, so ask those one by one.
    if not (tensor.sum().isfinite() or tensor.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values: clean the data, or lower the learning rate")


def _require_matrix(W: Tensor, name: str) -> None:
    _require_finite(W, name)
    if W.dim() != 2:
        raise ValueError(f"{name} must be a matrix, got shape {_shape(W)}: one row for each basis vector or segment")


def _require_weight(weight: float, name: str) -> None:
    if not 0 <= weight < math.inf:  # a NaN, too
        raise ValueError(f"{name} must be a finite number of at least 0, got {weight}")


def _require_option(value: str, name: str, known: dict | tuple) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")


def _mean_over_pairs(alike: Tensor) -> Tensor:
    """The mean over what is not on the diagonal, (n, n) -> scalar."""
    n = len(alike)
    return (alike.sum() - alike.diagonal().sum()) / (n * (n - 1))


def _largest_correlations(directions: Tensor) -> Tensor:
    """The largest |correlation| of each row of norm 1 with each over all lags, (n, N_in) -> (n, n), symmetric.

    Row by row, since all lags of all pairs at once would need n * n * 2 N_in numbers.
    """
    lags = 2 * directions.shape[1]  # the one that is too much is 0 throughout; an even number is faster
    spectra = torch.fft.rfft(directions, lags)  # (n, N_in + 1)
    rows = [torch.fft.irfft(spectrum.conj() * spectra, lags).abs().amax(1) for spectrum in spectra]
    return torch.stack(rows).clamp(max=1)  # by rounding a copy may have more


def _nonzero_rows(W: Tensor) -> Tensor:
    """The rows that are not zero, each divided by its norm."""
    _require_matrix(W, "W")
    largest = W.abs().amax(1, keepdim=True)
    kept = largest[:, 0] > 0
    if kept.sum() < 2:
        raise ValueError(f"two rows or more that are not zero are needed to compare, got {int(kept.sum())}")
    W = W[kept] / largest[kept]  # so that the square of a tiny weight does not underflow
    return W / W.norm(dim=1, keepdim=True)
