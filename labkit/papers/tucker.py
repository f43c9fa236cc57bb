"""Tucker-2 compression of convolutions and linear layers, with ranks found by empirical variational Bayes (EVBMF).

Papers: Y.-D. Kim, E. Park, S. Yoo, T. Choi, L. Yang, D. Shin, *Compression of Deep Convolutional Neural Networks for
Fast and Low Power Mobile Applications*, ICLR 2016, arXiv:1511.06530 (Tucker-2 and its ranks); S. Nakajima, M. Sugiyama,
S. D. Babacan, R. Tomioka, *Global Analytic Solution of Fully-observed Variational Bayesian Matrix Factorization*, JMLR
14 (2013) (EVBMF). KegNet makes its students in this way. The decomposition itself is tensorly's.

A kernel W (C_o, C_i, k, k) becomes a core G (r_o, r_i, k, k) and two matrices with orthonormal columns, U_o (C_o, r_o)
and U_i (C_i, r_i). Ranks are written in the order in which data flow: (r_i, r_o).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Ranks = tuple[int, int]  # (r_i, r_o)

# ---- how many components a matrix has -------------------------------------------------------------------------------

THRESHOLD = 2.5129  # z with log(1 + z) / z = 1/2; tau_0 is exactly z for a square matrix
GRID = 1000  # values of the noise at which the free energy is looked at before the best is refined


def evbmf_rank(matrix: Tensor) -> int:
    """How many singular values of a matrix (L, M) rise above its noise; 0 if all of it looks like noise.

    The matrix is taken for low-rank + Gaussian noise of an unknown variance sigma^2. With L <= M (or else transposed),
    alpha = L / M and x_h = gamma_h^2 / (M sigma^2), the free energy of empirical variational Bayes is

        sum_h psi(x_h),  psi(x) = x - log x + [x > x_0] (log(tau + 1) + alpha log(tau / alpha + 1) - tau),
        tau(x) = (x - 1 - alpha + sqrt((x - 1 - alpha)^2 - 4 alpha)) / 2,

    up to a constant. It is minimised over sigma^2, on a logarithmic scale, so that the matrix's unit does not matter;
    kept are components with x_h > x_0 = (1 + tau_0) (1 + alpha / tau_0), where tau_0 = 2.5129 sqrt(alpha) to a good
    approximation. Singular values so small that they may come from rounding count as noise. Raises ValueError
    unless the matrix is finite, floating-point and not empty.
    """
    if matrix.ndim != 2 or not matrix.numel() or not matrix.is_floating_point():
        raise ValueError(f"a rank needs a floating-point matrix, got {matrix.dtype} of the shape {_shape(matrix)}")
    _require_finite(matrix, "the matrix")
    L, M = sorted(matrix.shape)
    alpha = L / M
    wide = (matrix if len(matrix) == L else matrix.T).detach().double()
    squares = torch.linalg.eigvalsh(wide @ wide.T).flip(0).cpu()  # gamma_h^2, (L,), the largest first
    if not squares[0] > 0:
        return 0
    kept_digits = torch.promote_types(matrix.dtype, torch.float32)  # of fewer, rounding is as noise that can be seen
    rounding = max((M * torch.finfo(kept_digits).eps) ** 2, 8 * L * torch.finfo(wide.dtype).eps)
    squares = squares.clamp(min=rounding * squares[0])
    squares = squares / squares.mean()
    # v is sigma^2 in parts of the most that it can be, which is that mean / M: so x = squares / v.
    tau_0 = THRESHOLD * math.sqrt(alpha)
    x_0 = (1 + tau_0) * (1 + alpha / tau_0)

    def free_energy(log_v: Tensor) -> Tensor:  # (n,) -> (n,)
        x = squares / log_v.exp()[:, None]  # (n, L)
        tau = (x - 1 - alpha + ((x - 1 - alpha).square() - 4 * alpha).clamp(min=0).sqrt()) / 2
        signal = (tau + 1).log() + alpha * (tau / alpha + 1).log() - tau
        return (x - x.log() + torch.where(x > x_0, signal, 0)).sum(1)

    at_most = math.ceil(L / (1 + alpha)) - 1  # no more components can be told from noise
    least = max(squares[at_most] / x_0, squares[at_most:].mean()).clamp(max=1)
    grid = torch.linspace(least.log().item(), 0, GRID, dtype=torch.float64)
    best = int(free_energy(grid).argmin())  # there may be several valleys
    ends = grid[max(best - 1, 0)].item(), grid[min(best + 1, GRID - 1)].item()
    from scipy.optimize import minimize_scalar  # here, as most of this module does without SciPy

    refined = minimize_scalar(
        lambda log_v: free_energy(torch.tensor([log_v], dtype=torch.float64)).item(), bounds=ends, method="bounded"
    )
    return int((squares > x_0 * math.exp(refined.x)).sum())


def evbmf_ranks(weight: Tensor) -> Ranks:
    """(r_i, r_o) for a kernel (C_o, C_i, ...): `evbmf_rank` of its two unfoldings, at least 1. Kim et al., section 3.2.

    For a linear layer's weight (C_o, C_i), which has one rank, both are equal.
    """
    r_i, r_o = (evbmf_rank(weight.transpose(0, mode).flatten(1)) for mode in (1, 0))
    return max(r_i, 1), max(r_o, 1)


# ---- layers ---------------------------------------------------------------------------------------------------------


def three_convolutions(
    x: Tensor,
    core: Tensor,
    U_i: Tensor,
    U_o: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """A convolution of x with the kernel that core and factors stand for, without making it. Kim et al., section 3.1.

    Images (B, C_i, H, W) become (B, C_o, H', W'), as by one convolution with the kernel (C_o, C_i, k, k), the bias
    (C_o), stride and padding, through a core (r_o, r_i, k, k), U_i (C_i, r_i) and U_o (C_o, r_o). `tucker2_conv`
    computes this, in layers.
    """
    h = F.conv2d(x, U_i.T[:, :, None, None])  # (B, r_i, H, W)
    h = F.conv2d(h, core, stride=stride, padding=padding)  # (B, r_o, H', W')
    return F.conv2d(h, U_o[:, :, None, None], bias)  # (B, C_o, H', W')


def tucker2_cost(channels: tuple[int, int], k: int, ranks: Ranks, pixels: tuple[int, int]) -> tuple[int, int]:
    """Parameters of the three convolutions in place of one with k x k weights and a bias, and multiply-adds an image.

    `channels` are (C_i, C_o), `ranks` (r_i, r_o), and `pixels` those of one channel before and after the convolution.
    The first of the three works on the pixels before it, the others on those after. Adding the bias is no multiply-add.
    Raises ValueError for ranks outside of 1 ... C_i and 1 ... C_o. Kim et al., section 3.1.
    """
    _require_ranks(ranks, *channels)
    (C_i, C_o), (r_i, r_o), (before, after) = channels, ranks, pixels
    first, second, third = C_i * r_i, r_i * r_o * k**2, r_o * C_o
    return first + second + third + C_o, first * before + (second + third) * after


def tucker2_conv(conv: nn.Conv2d, ranks: Ranks | None = None) -> nn.Sequential:
    """Three convolutions in place of one: 1 x 1 to r_i channels, k x k to r_o, 1 x 1 to C_o. Kim et al., section 3.1.

    Their weights are U_i^T, G and U_o; the second has the stride, padding and dilation of `conv`, the third its bias.
    That makes C_i r_i + r_i r_o k^2 + r_o C_o + C_o parameters. `ranks` are (r_i, r_o), by default `evbmf_ranks`; with
    all of (C_i, C_o) nothing is lost. `conv` stays as it is. Raises TypeError for another layer, ValueError for a
    grouped convolution, ranks outside of 1 ... C_i and 1 ... C_o, and weights that are not finite.
    """
    if type(conv) is not nn.Conv2d:
        raise TypeError(f"Tucker-2 takes an nn.Conv2d, got {type(conv).__name__}: leave that layer as it is")
    if conv.groups != 1:
        raise ValueError(
            f"a grouped convolution is not supported, got groups={conv.groups}: its kernel sees {conv.weight.shape[1]} "
            f"of {conv.in_channels} channels; leave that layer as it is"
        )
    core, U_i, U_o = _tucker2(conv.weight, ranks)
    (r_o, r_i), bias = core.shape[:2], conv.bias
    window = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "padding_mode")}
    like = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    layers = nn.Sequential(
        nn.Conv2d(conv.in_channels, r_i, 1, bias=False, **like),
        nn.Conv2d(r_i, r_o, conv.kernel_size, bias=False, **window, **like),
        nn.Conv2d(r_o, conv.out_channels, 1, bias=bias is not None, **like),
    )
    return _filled(layers, [U_i.T[:, :, None, None], core, U_o[:, :, None, None]], bias)


def tucker2_linear(linear: nn.Linear, ranks: Ranks | None = None) -> nn.Sequential:
    """As `tucker2_conv`, of a linear layer: C_i -> r_i -> r_o -> C_o, with the bias of `linear` at the end.

    A matrix has one rank, so that the smaller of the two decides how well it is kept: a truncated SVD, U_o G U_i^T.
    """
    if type(linear) is not nn.Linear:
        raise TypeError(f"a linear layer is asked for, got {type(linear).__name__}: leave that layer as it is")
    core, U_i, U_o = _tucker2(linear.weight, ranks)
    (r_o, r_i), bias = core.shape, linear.bias
    like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
    layers = nn.Sequential(
        nn.Linear(linear.in_features, r_i, bias=False, **like),
        nn.Linear(r_i, r_o, bias=False, **like),
        nn.Linear(r_o, linear.out_features, bias=bias is not None, **like),
    )
    return _filled(layers, [U_i.T, core, U_o], bias)


def compress(model: nn.Module, layers: Mapping[str, Ranks | None] | Iterable[str]) -> nn.Module:
    """A copy of the model in which some convolutions and linear layers are replaced by their Tucker-2.

    `layers` names them, as `named_modules` does, with their ranks (r_i, r_o); a rank of None, or a bare list of names,
    means `evbmf_ranks`. Raises ValueError for a name that the model does not have, and, with the name, whatever
    `tucker2_conv` raises.
    """
    if isinstance(layers, str):
        raise TypeError(f"layers must be a list or a mapping of names, got the text {layers!r}: write [{layers!r}]")
    chosen = layers if isinstance(layers, Mapping) else dict.fromkeys(layers)
    student = copy.deepcopy(model)
    named = dict(student.named_modules())
    for name, ranks in chosen.items():
        if name not in named or not name:
            known = [name for name, layer in named.items() if isinstance(layer, (nn.Conv2d, nn.Linear)) and name]
            raise ValueError(f"the model has no layer {name!r}: choose of {', '.join(known) or 'none'}")
        replace = tucker2_linear if isinstance(named[name], nn.Linear) else tucker2_conv
        try:
            replacement = replace(named[name], ranks).train(named[name].training)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {name!r}: {error}") from None
        parent, _, leaf = name.rpartition(".")
        setattr(student.get_submodule(parent), leaf, replacement)
    return student


# ---- the decomposition ----------------------------------------------------------------------------------------------


def hosvd(kernel: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Tucker-2 in closed form: core (r_o, r_i, k, k), U_i (C_i, r_i), U_o (C_o, r_o) of a kernel (C_o, C_i, k, k).

    Columns of U_o and U_i are the leading left singular vectors of the unfoldings C_o x C_i k^2 and C_i x C_o k^2, the
    largest singular value first, each up to its sign. The core is W projected on them, and W^ is what they stand for:

        core_pq = sum_ab (U_o)_ap (U_i)_bq W_ab,  W^_ab = sum_pq (U_o)_ap (U_i)_bq core_pq,  W_ab of k x k numbers.

    |W - W^|^2 is at most the sum of the discarded squared singular values of both unfoldings, and at most twice that of
    the best Tucker-2 of these ranks. `tucker2_conv` starts here and improves on it. A linear layer's weight (C_o, C_i)
    will do, too. Nothing is differentiated. Raises ValueError unless the kernel is finite, floating-point and has two
    axes at least, and for ranks outside of 1 ... C_i and 1 ... C_o. Kim et al., section 3.1; De Lathauwer et al., 2000.
    """
    if kernel.ndim < 2 or not kernel.is_floating_point():
        raise ValueError(f"a floating-point kernel (C_o, C_i, ...) is asked for, got {kernel.dtype} {_shape(kernel)}")
    _require_finite(kernel, "the weights")
    _require_ranks(ranks, kernel.shape[1], kernel.shape[0])
    W = kernel.detach().double()
    U_i, U_o = (_leading_vectors(W, mode, rank).flip(1) for mode, rank in zip((1, 0), ranks, strict=True))
    core = torch.einsum("oi...,op,iq->pq...", W, U_o, U_i)  # (r_o, r_i, k, k)
    return core.to(kernel.dtype), U_i.to(kernel.dtype), U_o.to(kernel.dtype)


def _tucker2(weight: Tensor, ranks: Ranks | None) -> tuple[Tensor, Tensor, Tensor]:
    """Core (r_o, r_i, ...), U_i (C_i, r_i), U_o (C_o, r_o) of a weight (C_o, C_i, ...), by higher-order iteration.

    It starts from the HOSVD and only improves on it, so the squared error is at most the sum of the discarded squared
    singular values of both unfoldings.
    """
    import tensorly  # here, as it takes half a second to import, and most of the module does without
    from tensorly.decomposition import partial_tucker

    _require_finite(weight, "the weights")
    ranks = evbmf_ranks(weight) if ranks is None else ranks
    _require_ranks(ranks, weight.shape[1], weight.shape[0])
    r_i, r_o = ranks
    W = weight.detach().double().cpu()
    start = [_leading_vectors(W, mode, rank).numpy() for mode, rank in ((0, r_o), (1, r_i))]
    with tensorly.backend_context("numpy", local_threadsafe=True), warnings.catch_warnings():
        # With r_o > r_i k^2, or the other way round, there are too few directions: it warns, and fills up with others.
        warnings.filterwarnings("ignore", message="Trying to compute SVD with n_eigenvecs")
        (core, (U_o, U_i)), _ = partial_tucker(W.numpy(), rank=[r_o, r_i], modes=[0, 1], init=start, random_state=0)
    return torch.from_numpy(core), torch.from_numpy(U_i), torch.from_numpy(U_o)


def _leading_vectors(W: Tensor, mode: int, rank: int) -> Tensor:
    """Left singular vectors of an unfolding, (C, rank), the largest last: from its Gram matrix, which is smaller."""
    unfolding = W.transpose(0, mode).flatten(1)
    return torch.linalg.eigh(unfolding @ unfolding.T).eigenvectors[:, -rank:]


def _filled(layers: nn.Sequential, weights: list[Tensor], bias: Tensor | None) -> nn.Sequential:
    with torch.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(weight)
        if bias is not None:
            layers[-1].bias.copy_(bias)
    return layers


# ---- what is asked of the arguments ---------------------------------------------------------------------------------


def _require_finite(x: Tensor, what: str) -> None:
    if not x.isfinite().all():
        raise ValueError(f"{what} must be finite, but some are NaN or infinite: train or load the model again")


def _require_ranks(ranks: Ranks, C_i: int, C_o: int) -> None:
    if not (isinstance(ranks, tuple | list) and [type(rank) for rank in ranks] == [int, int]):
        raise TypeError(f"ranks must be a pair of integers (in, out), got {ranks!r}")
    if not (1 <= ranks[0] <= C_i and 1 <= ranks[1] <= C_o):
        raise ValueError(
            f"the ranks (in, out) must lie in 1 to {C_i} and 1 to {C_o}, the numbers of channels, got {tuple(ranks)}"
        )


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)
