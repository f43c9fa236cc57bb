"""Sparse autoencoders: a hidden layer wider than the input, kept in check by a price on its activations.

Sources: A. Ng, "Sparse autoencoder", CS294A lecture notes (2011), for the KL penalty; B. Olshausen and D. Field, Nature
381 (1996), for L1-like penalties, atoms of controlled length and natural images; A. Makhzani and B. Frey, "k-Sparse
Autoencoders" (2013), arXiv:1312.5663; T. Bricken et al., "Towards Monosemanticity" (2023), for units that are revived;
S. Rajamanoharan et al., "Jumping Ahead" (2024), arXiv:2407.14435, for the JumpReLU; N. Elhage et al., "Toy Models of
Superposition" (2022), arXiv:2209.10652, and L. Sharkey, D. Braun, B. Millidge, "Taking features out of superposition
with sparse autoencoders" (2022), for data whose parts are known. Notation, used throughout the lesson:

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


def _identity(x: Tensor) -> Tensor:
    return x


class SparseAutoencoder(nn.Module):
    """h = activation(W1 x + b1), x_hat = output(W2 h + b2): one hidden layer, as wide as you like.

    `activation` is any function (B, m) -> (B, m): ReLU for L1, ``torch.sigmoid`` for the KL penalty, which needs values
    in (0, 1), ``lambda a: top_k(torch.relu(a), k)`` for a k-sparse autoencoder. `output` is one (B, n) -> (B, n), by
    default the identity; it is ``torch.sigmoid`` in the lecture notes' own network, for x in (0, 1). Weights start
    uniform in +-sqrt(6 / (n + m + 1)) and biases at zero, as in the lecture notes.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: int = 1024,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        output: Callable[[Tensor], Tensor] = _identity,
    ) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)  # W1 (m, n), b1 (m,)
        self.decoder = nn.Linear(hidden, inputs)  # W2 (n, m), b2 (n,)
        self.activation = activation
        self.output = output
        bound = math.sqrt(6 / (inputs + hidden + 1))
        for layer in (self.encoder, self.decoder):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor) -> Tensor:
        return self.activation(self.encoder(x))  # (B, m)

    def decode(self, h: Tensor) -> Tensor:
        return self.output(self.decoder(h))  # (B, n)

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


def jump_relu(activations: Tensor, threshold: float | Tensor) -> Tensor:
    """The activations that exceed the threshold as they are, all others set to 0, (..., m) -> (..., m).

    The threshold is one number, or a tensor (m,) of one a unit. What is kept keeps its size, unlike after subtracting
    the threshold, as relu(h - threshold) does: small activations are silenced and large ones are not shrunk. A gradient
    reaches the activations that are kept and not the threshold; to learn it, the paper estimates one.
    (Rajamanoharan et al., 2024, arXiv:2407.14435.) Raises ValueError for a negative threshold.
    """
    thresholds = torch.as_tensor(threshold)
    if not (thresholds >= 0).all():
        raise ValueError(f"a threshold must not be negative, got {thresholds.min():.4g}")
    return torch.where(activations <= threshold, 0, activations)  # so that NaN stays NaN


def replacement_atoms(residuals: Tensor, count: int) -> Tensor:
    """The `count` longest of the residuals x - x_hat (B, n), longest first, each scaled to length 1, -> (count, n).

    What dead units are pointed at so that they live again: what the others leave unexplained. A residual of zeros has
    no direction and stays zero. (Resampling, T. Bricken et al., Towards Monosemanticity, 2023. They draw inputs at
    random, with a probability proportional to the squared loss, and take the inputs themselves; ours takes what is
    left of the worst ones, which needs no chance.)
    Raises ValueError unless 0 <= count <= B.
    """
    if not 0 <= count <= len(residuals):
        raise ValueError(f"count must lie between 0 and the {len(residuals)} residuals, got {count}")
    longest = residuals.norm(dim=1).topk(count).indices
    return _unit_rows(residuals[longest])


def _unit_rows(rows: Tensor) -> Tensor:
    """Each row of (N, n) scaled to length 1, however short it is; one of zeros stays zero."""
    return nn.functional.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)


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


@torch.no_grad()
def parts(model: SparseAutoencoder, x: Tensor, count: int) -> Tensor:
    """What the `count` units that contribute most add to the reconstruction of one example x (n,), -> (count, n).

    A unit contributes h_j times its atom; the longest of these vectors come first. (To W2 h + b2, that is: they add up
    to the reconstruction only if the network's `output` is the identity.)
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


# ---- data whose parts are known -------------------------------------------------------------------------------------


class SparseFeatures(NamedTuple):
    """Examples together with what they are made of: x = code @ directions."""

    x: Tensor  # (N, n)
    directions: Tensor  # (F, n), each of length 1
    code: Tensor  # (N, F), mostly 0 and nowhere negative


def sparse_features(
    examples: int, features: int, inputs: int, active: float, generator: torch.Generator
) -> SparseFeatures:
    """Examples that are sums of a few of F features, of which there may be more than inputs -> `SparseFeatures`.

    With F > n their directions cannot all be at right angles: they lie "in superposition", and can be told apart only
    because few features are on at a time. Directions are random on the sphere; each feature is on with
    probability active / F, independently of the others, with a strength uniform in [0.5, 1.5]. The directions are drawn
    first: of one seed, they do not depend on the number of examples. (The idea: N. Elhage et al., Toy Models of
    Superposition, 2022, arXiv:2209.10652; L. Sharkey, D. Braun, B. Millidge, Taking features out of superposition with
    sparse autoencoders, 2022.)
    Raises ValueError for fewer than one example, feature or input, and unless 0 < active <= F.
    """
    if min(examples, features, inputs) < 1:
        raise ValueError(
            "at least one example, one feature and one input are needed, "
            f"got {examples} examples, {features} features, {inputs} inputs"
        )
    if not 0 < active <= features:
        raise ValueError(f"active must lie above 0 and be at most the {features} features, got {active}")
    options = {"generator": generator, "device": generator.device}
    directions = _unit_rows(torch.randn(features, inputs, **options))
    is_on = torch.rand(examples, features, **options) < active / features
    strength = 0.5 + torch.rand(examples, features, **options)
    code = torch.where(is_on, strength, 0)
    return SparseFeatures(code @ directions, directions, code)


def recovery(directions: Tensor, atoms: Tensor) -> Tensor:
    """For each true direction the largest cosine with any atom, (F, n), (M, n) -> (F,): 1 where it has been found.

    Atoms are rows here: ``model.decoder.weight.T``. One of zeros counts 0. Signs matter, as an activation is not
    negative: an atom that points the other way has not found the direction. The mean over the directions is called
    mean max cosine similarity. (Sharkey et al., 2022.)
    Raises ValueError for rows of different lengths, and if there are no atoms.
    """
    if len(atoms) == 0 or atoms.shape[-1] != directions.shape[-1]:
        shapes = f"{tuple(directions.shape)} and {tuple(atoms.shape)}"
        raise ValueError(f"directions (F, n) and at least one atom of the same n are needed, got the shapes {shapes}")
    return (_unit_rows(directions) @ _unit_rows(atoms).T).amax(1)
