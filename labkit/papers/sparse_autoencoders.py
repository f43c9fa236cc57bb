"""Sparse autoencoders: a hidden layer wider than the input, kept in check by a price on its activations.

Sources: A. Ng, "Sparse autoencoder", CS294A lecture notes (2011), for the KL penalty; B. Olshausen and D. Field, Nature
381 (1996), for L1-like penalties, atoms of controlled length and natural images; A. Makhzani and B. Frey, "k-Sparse
Autoencoders" (2013), arXiv:1312.5663. Notation, used throughout the lesson:

    x       an example, n numbers                                (B, n)
    h       its activations, m > n of them: "overcomplete"       (B, m)
    x_hat   its reconstruction, W2 h + b2                        (B, n)
    W1, W2  encoder (m, n) and decoder (n, m); a column of W2 is an atom: what one unit adds to the reconstruction
    rho     the mean activation that a unit should have; rho_hat (m,) the one that it has in this batch

Penalties are summed over units and averaged over examples, errors are sums over the n inputs: then neither lambda nor
beta changes its meaning with the width of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

CLAMP = 1e-6  # how close rho_hat may come to 0 or 1 before its logarithm is taken


class SparseAutoencoder(nn.Module):
    """h = activation(W1 x + b1), x_hat = W2 h + b2: one hidden layer, as wide as you like.

    `activation` is any function (B, m) -> (B, m): ReLU for L1, ``torch.sigmoid`` for the KL penalty, which needs values
    in (0, 1), ``lambda a: top_k(torch.relu(a), k)`` for a k-sparse autoencoder. Weights start uniform in
    +-sqrt(6 / (n + m + 1)) and biases at zero, as in the lecture notes.
    """

    def __init__(
        self, inputs: int = 784, hidden: int = 1024, activation: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)  # W1 (m, n), b1 (m,)
        self.decoder = nn.Linear(hidden, inputs)  # W2 (n, m), b2 (n,)
        self.activation = activation
        bound = math.sqrt(6 / (inputs + hidden + 1))
        for layer in (self.encoder, self.decoder):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor) -> Tensor:
        return self.activation(self.encoder(x))  # (B, m)

    def decode(self, h: Tensor) -> Tensor:
        return self.decoder(h)  # (B, n)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction (B, n) and the activations (B, m) it was made from."""
        h = self.encode(x)
        return self.decode(h), h


# ---- penalties ------------------------------------------------------------------------------------------------------


def l1_penalty(activations: Tensor) -> Tensor:
    """The mean over the batch of sum_j |h_j|, (B, m) -> ()."""
    return activations.abs().sum(-1).mean()


def kl_sparsity(activations_or_mean: Tensor, rho: float) -> Tensor:
    """sum_j KL(rho || rho_hat_j) in nats between coins that show 1 with probability rho and rho_hat_j, -> ().

    Takes the activations (B, m), whose mean over the batch is rho_hat, or rho_hat (m,) itself: rho_hat must be averaged
    *before* the divergence is taken. It is clamped to [1e-6, 1 - 1e-6], so a layer that is dead, or always on, costs
    much but not infinitely much. (CS294A notes, section 3.)
    Raises ValueError for rho outside (0, 1), and for activations that are NaN or outside [0, 1], as a ReLU's may be.
    """
    rho_hat = _mean_activation(activations_or_mean, rho)  # (m,)
    on = rho * torch.log(rho / rho_hat)
    off = (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
    return (on + off).sum()


def kl_sparsity_as_printed(activations_or_mean: Tensor, rho: float) -> Tensor:
    """The formula of the review, without the logarithm of its second term; arguments and errors of `kl_sparsity`.

    Not a divergence: at rho_hat = rho it is 1 - rho for each unit instead of 0.
    """
    rho_hat = _mean_activation(activations_or_mean, rho)  # (m,)
    return (rho * torch.log(rho / rho_hat) + (1 - rho) * (1 - rho) / (1 - rho_hat)).sum()


def _mean_activation(activations_or_mean: Tensor, rho: float) -> Tensor:
    if not 0 < rho < 1:
        raise ValueError(f"rho is a share of the time and must lie strictly between 0 and 1, got {rho}")
    if activations_or_mean.ndim not in (1, 2) or activations_or_mean.numel() == 0:
        shape = tuple(activations_or_mean.shape)
        raise ValueError(f"activations (B, m) or their means (m,) are needed, got the shape {shape}")
    low, high = activations_or_mean.detach().aminmax()
    if not (low >= 0 and high <= 1):  # a NaN, too
        raise ValueError(
            f"the KL penalty needs activations in [0, 1], got [{low:.4g}, {high:.4g}]: "
            "use sigmoid units, not ReLU or tanh"
        )
    rho_hat = activations_or_mean if activations_or_mean.ndim == 1 else activations_or_mean.mean(0)
    return rho_hat.clamp(CLAMP, 1 - CLAMP)


def objective(
    model: SparseAutoencoder,
    x: Tensor,
    *,
    l1: float = 0.0,
    beta: float = 0.0,
    rho: float = 0.05,
    weight_decay: float = 0.0,
    divergence: Callable[[Tensor, float], Tensor] = kl_sparsity,
) -> Tensor:
    """The whole cost of a batch x (B, n), -> ():

        mean_b 1/2 |x_hat_b - x_b|^2  +  l1 mean_b |h_b|_1  +  beta sum_j KL(rho || rho_hat_j)
        + weight_decay/2 (|W1|^2 + |W2|^2)

    A term whose weight is 0 is left out, so without any this is the plain autoencoder's cost to the last bit. The
    penalty is on the hidden layer alone, and weight decay leaves the biases alone. (CS294A notes, sections 2 and 3.)
    Raises ValueError for a negative weight, and whatever `divergence` raises.
    """
    weights = {"l1": l1, "beta": beta, "weight_decay": weight_decay}
    for name, value in weights.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} weighs a penalty and must be a number that is not negative, got {value}")
    x_hat, h = model(x)
    cost = squared_error(x_hat, x).mean()
    if l1:
        cost = cost + l1 * l1_penalty(h)
    if beta:
        cost = cost + beta * divergence(h, rho)
    if weight_decay:
        cost = cost + weight_decay / 2 * (model.encoder.weight.square().sum() + model.decoder.weight.square().sum())
    return cost


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """1/2 |x_hat - x|^2 of each example, (B, n), (B, n) -> (B,)."""
    return 0.5 * (x_hat - x).square().sum(-1)


def normalize_decoder_(weight: Tensor) -> Tensor:
    """Scale each atom, a column of the decoder's weight (n, m), to length 1, in place; returns the same tensor.

    Called after every step, it stops a network from paying less L1 by small activations and large atoms. An atom of
    zeros has no direction and stays zero. (Olshausen and Field, 1996, adapted lengths instead, to a fixed variance.)
    """
    with torch.no_grad():
        norms = weight.square().sum(0, keepdim=True).sqrt()  # (1, m); several times faster than norm(dim=0)
        return weight.div_(torch.where(norms > 0, norms, 1))


def top_k(activations: Tensor, k: int) -> Tensor:
    """The k largest activations of each example, all others set to 0, (B, m) -> (B, m).

    Sparsity without a penalty, and with a dial that says what it means. (Makhzani and Frey, arXiv:1312.5663.)
    Raises ValueError unless 1 <= k <= m.
    """
    if not 1 <= k <= activations.shape[-1]:
        raise ValueError(f"k must lie between 1 and the {activations.shape[-1]} units, got {k}")
    largest, places = activations.topk(k, dim=-1)  # (B, k) each
    return torch.zeros_like(activations).scatter(-1, places, largest)


def ridge(features: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    """The weights w that minimise |features w - targets|^2 + weight_decay |w|^2, (N, p), (N,) -> (p,).

    Raises ValueError for negative weight decay.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
    penalty = weight_decay * torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)


# ---- how many units does an image use? ------------------------------------------------------------------------------


def effective_dimension(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    """L0, the number of units that are active, |h_j| > threshold, for each example, (B, m) -> (B,) integers.

    A dead layer gives 0. Raises ValueError for a negative threshold or activations that are NaN.
    """
    if not threshold >= 0:
        raise ValueError(f"the threshold must not be negative, got {threshold}")
    if activations.isnan().any():
        raise ValueError("the activations are NaN: there is nothing to count")
    return (activations.abs() > threshold).sum(-1)


def dead_units(activations: Tensor, threshold: float = 1e-3) -> Tensor:
    """Which units are active for none of the examples, (B, m) -> (m,) of bool."""
    return (activations.abs() <= threshold).all(0)


def participation_ratio(activations: Tensor) -> Tensor:
    """(sum_j |h_j|)^2 / sum_j h_j^2 of each example, (B, m) -> (B,): an effective dimension without a threshold.

    k equal activations and m - k zeros give k; a dead layer gives 0. (Treves and Rolls, 1991, times m.)
    """
    # Divided by the largest, the squares neither underflow nor overflow: they add up to 1 at least, or to 0.
    largest = activations.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(activations.dtype).tiny)
    scaled = activations.abs() / largest
    return scaled.sum(-1).square() / scaled.square().sum(-1).clamp(min=1)


@torch.no_grad()
def parts(model: SparseAutoencoder, x: Tensor, count: int) -> Tensor:
    """What the `count` units that contribute most add to the reconstruction of one example x (n,), -> (count, n).

    A unit contributes h_j times its atom; the longest of these vectors come first.
    """
    h = model.encode(x[None])[0]  # (m,)
    contributions = h * model.decoder.weight  # (n, m)
    return contributions[:, contributions.norm(dim=0).topk(count).indices].T


@torch.no_grad()
def explained_image(model: SparseAutoencoder, x: Tensor, count: int = 8) -> Tensor:
    """One row of square pictures for one image x (n,): x_hat = b2 + sum_j h_j atom_j, in grey values in [0, 1].

    From the left: x, x_hat, b2, and the `count` largest parts h_j atom_j. Parts have signs: mid-grey is zero, all
    share one scale. -> (side, (3 + count) * (side + 1) - 1), with one white column between the pictures.
    """
    x_hat, _ = model(x[None])
    largest = parts(model, x, count)  # (count, n)
    signed = 0.5 + 0.5 * largest / largest.abs().max().clamp(min=torch.finfo(largest.dtype).tiny)
    pictures = torch.cat([x[None], x_hat, model.decoder.bias[None], signed]).clamp(0, 1)
    side = math.isqrt(x.numel())
    padded = nn.functional.pad(pictures.reshape(-1, side, side), (0, 1))  # (3 + count, side, side + 1)
    return padded.permute(1, 0, 2).flatten(1)[:, :-1].cpu()


# ---- natural images -------------------------------------------------------------------------------------------------


class Whitening(NamedTuple):
    """A fitted ZCA whitening: white = (x - mean) @ matrix."""

    mean: Tensor  # (n,)
    matrix: Tensor  # (n, n), symmetric

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.matrix


def zca_whitening(x: Tensor, epsilon: float = 0.01) -> Whitening:
    """The rotation-free linear map after which the rows of x (N, n) are uncorrelated with variance 1.

    Directions with less variance than about `epsilon` times the average are left small rather than blown up to noise.
    Raises ValueError for fewer than two rows, a negative epsilon, or rows that are all equal or not finite.
    """
    if len(x) < 2 or not epsilon >= 0:
        raise ValueError(f"whitening needs at least 2 rows and epsilon >= 0, got {len(x)} and {epsilon}")
    if not x.isfinite().all():
        raise ValueError("the rows hold numbers that are not finite: they have no variance to whiten")
    mean = x.mean(0)
    variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / (len(x) - 1))
    if (x == x[0]).all() or not variances.sum() > 0:  # the mean of equal rows may be rounded
        raise ValueError("all rows are equal: they have no variance to whiten")
    scale = (variances.clamp(min=0) + epsilon * variances.mean()).rsqrt()
    return Whitening(mean, (axes * scale) @ axes.T)


def whiten(train: Tensor, x: Tensor, epsilon: float = 0.01) -> Tensor:
    """The rows of x (M, n), whitened by the ZCA that is fitted to the rows of train (N, n), -> (M, n).

    white = (x - mean) C^(-1/2), C = V diag(s) V^T the covariance of train, with epsilon times its mean variance on
    the diagonal: a turn to the axes V, a division by sqrt(s), the turn back. (Bell and Sejnowski, Vision Research 37,
    1997.) Raises ValueError for rows of another length, and whatever `zca_whitening` raises.
    """
    if x.shape[-1] != train.shape[-1]:
        raise ValueError(f"whitening fitted to rows of {train.shape[-1]} numbers, got rows of {x.shape[-1]}")
    return zca_whitening(train, epsilon)(x)


class GaborFit(NamedTuple):
    """The best Gabor of each atom."""

    explained: Tensor  # (M,) share of the atom's energy that it explains, R^2
    orientation: Tensor  # (M,) angle of the wave vector in [0, pi): 0 for a vertical bar
    frequency: Tensor  # (M,) cycles per pixel
    image: Tensor  # (M, side * side) the Gabor itself, in the atom's units


def gabor_fit(atoms: Tensor, side: int) -> GaborFit:
    """The Gabor function that explains each square atom best, (M, side * side) -> `GaborFit`.

    A Gabor is a plane wave under a Gaussian window, the textbook model of an edge-like receptive field. Tried are all
    those of a fixed grid: windows centred on each pixel, of 3 widths and 2 aspect ratios, 12 orientations, 5 wave
    lengths of at most a whole patch; phase and amplitude are fitted exactly. Search, not descent: no local optimum.
    Raises ValueError unless atoms are rows of side * side finite numbers.
    """
    if atoms.ndim != 2 or atoms.shape[1] != side * side or not atoms.isfinite().all():
        raise ValueError(f"atoms must be finite rows of {side} x {side} pixels, got the shape {tuple(atoms.shape)}")
    centred = atoms - atoms.mean(1, keepdim=True)
    energy = centred.square().sum(1)  # (M,)
    best = torch.zeros_like(energy)
    orientation, frequency, image = torch.zeros_like(energy), torch.zeros_like(energy), torch.zeros_like(atoms)
    for k in range(12):
        theta = math.pi * k / 12
        for cycles in torch.linspace(1 / side, 0.35, 5).tolist():
            even, odd = _quadrature_pairs(side, theta, cycles, atoms)  # (G, n) each, orthonormal
            a, b = centred @ even.T, centred @ odd.T  # (M, G)
            explained, place = (a.square() + b.square()).max(1)
            better = explained > best
            fitted = a.gather(1, place[:, None]) * even[place] + b.gather(1, place[:, None]) * odd[place]
            best = torch.where(better, explained, best)
            orientation = torch.where(better, theta, orientation)
            frequency = torch.where(better, cycles, frequency)
            image = torch.where(better[:, None], fitted, image)
    share = torch.where(energy > 0, best / energy.clamp(min=torch.finfo(energy.dtype).tiny), 0)
    return GaborFit(share, orientation, frequency, image)


def _quadrature_pairs(side: int, theta: float, cycles: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd Gabors of one orientation and frequency, at all places and widths, orthonormal in pairs, (G, n)."""
    pixel = torch.arange(side, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=1)  # (n, 2)
    dy, dx = (places[None] - places[:, None]).unbind(-1)  # (n places, n pixels) each
    across = dx * math.cos(theta) + dy * math.sin(theta)  # along the wave
    along = dy * math.cos(theta) - dx * math.sin(theta)  # along the bar
    windows = [
        torch.exp(-0.5 * ((across / width) ** 2 + (along / (aspect * width)) ** 2))
        for width in (side / 8, side / 6, side / 4)
        for aspect in (1, 2)
    ]
    even = torch.cat([window * torch.cos(2 * math.pi * cycles * across) for window in windows])
    odd = torch.cat([window * torch.sin(2 * math.pi * cycles * across) for window in windows])
    even = nn.functional.normalize(even - even.mean(1, keepdim=True), dim=1)
    odd = odd - odd.mean(1, keepdim=True)
    return even, nn.functional.normalize(odd - (odd * even).sum(1, keepdim=True) * even, dim=1)
