"""Autoencoders, denoising autoencoders and the variational autoencoder.

Paper: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes" (2013), arXiv:1312.6114.
Notation of the paper, used throughout the lesson:

    x       an image, its pixels in [0, 1]                       (B, D)
    z       its latent code                                      (B, Z)
    mu, logvar   mean and log-variance of q(z|x) = N(mu, diag exp(logvar))   (B, Z) each
    logits  the decoder's output before the sigmoid              (B, D)

All log-likelihoods, KL divergences and bounds are in nats per image: sums over pixels or latent dimensions, one
number an image. A mean over pixels beside a sum over latent dimensions is the mistake that makes a VAE collapse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CORRUPTIONS = ("masking", "gaussian", "salt-and-pepper")
LOGVAR_LIMIT = 10.0  # exp(±10): far outside what a trained encoder says, far inside what float32 can hold


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Fully connected layers sizes[0] -> ... -> sizes[-1] with `activation` between them, none after the last."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """z = f(x), logits = g(z): the code of an image is a point.

    With ``hidden=()`` both halves are affine: trained on squared error it spans the PCA subspace. Trained on corrupted
    images with the clean ones as the target it is a denoising autoencoder (DAE); the network is the same.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (512, 256),
        latent: int = 4,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.encoder = mlp([inputs, *hidden, latent], activation)
        self.decoder = mlp([latent, *reversed(hidden), inputs], activation)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)  # (B, Z)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)  # (..., D) logits

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))  # (B, D) logits


class VariationalAutoencoder(nn.Module):
    """q(z|x) = N(mu(x), diag exp(logvar(x))), p(x|z) Bernoulli with these logits: the code of an image is a Gaussian.

    The same two halves as `Autoencoder`; the encoder's last layer is twice as wide, its halves are mu and logvar.
    logvar is held in [-10, 10]: an untrained encoder on unscaled input would otherwise overflow in exp(logvar).
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (512, 256),
        latent: int = 4,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.encoder = mlp([inputs, *hidden, 2 * latent], activation)
        self.decoder = mlp([latent, *reversed(hidden), inputs], activation)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=-1)  # (B, Z) each
        return mu, logvar.clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)  # (..., D) logits

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, D) of one sample z ~ q(z|x), with the mu and logvar (B, Z) that it came from."""
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, generator)), mu, logvar


def reconstruction_nats(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) of a Bernoulli decoder: the cross-entropy summed over the pixels, (..., D), (B, D) -> (..., B).

    Taken from the logits, since log(sigmoid(.)) of a confident decoder underflows. (Paper, appendix C.1.)
    """
    return F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


def mask_pixels(x: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """A copy of x, any shape, in which each pixel is set to 0 with this probability, independently of all others.

    Raises ValueError when probability is outside [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"the masking probability must lie in [0, 1], got {probability}")
    keep = torch.rand(x.shape, generator=generator, device=x.device) >= probability
    return x * keep


def corrupt(x: Tensor, amount: float, kind: str = "masking", generator: torch.Generator | None = None) -> Tensor:
    """The corrupted image x~ ~ q(x~|x) of a denoising autoencoder, same shape as x; x itself is left alone.

    kind "masking": each pixel is 0 with probability `amount`; "salt-and-pepper": each pixel is replaced with this
    probability by 0 or 1, equally often; "gaussian": N(0, amount^2) is added (the result is not clipped).
    Raises ValueError for another kind, a probability outside [0, 1], or a negative standard deviation.
    """
    if kind == "masking":
        return mask_pixels(x, amount, generator)
    if kind == "gaussian":
        if not amount >= 0:  # a NaN, too
            raise ValueError(f"the standard deviation of the noise must not be negative, got {amount}")
        return x + amount * torch.randn(x.shape, generator=generator, device=x.device)
    if kind == "salt-and-pepper":
        if not 0 <= amount <= 1:
            raise ValueError(f"the salt-and-pepper probability must lie in [0, 1], got {amount}")
        hit = torch.rand(x.shape, generator=generator, device=x.device) < amount
        salt = torch.rand(x.shape, generator=generator, device=x.device) < 0.5
        return torch.where(hit, salt.to(x.dtype), x)
    raise ValueError(f"unknown corruption {kind!r}: choose one of {', '.join(CORRUPTIONS)}")


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL( N(mu, diag exp(logvar)) || N(0, I) ) in nats, (B, Z), (B, Z) -> (B,). (Paper, appendix B.)"""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1)


def reparameterize(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + sigma * eps with eps ~ N(0, I): a sample of q(z|x) through which gradients flow, (B, Z) -> (B, Z).

    (Paper, section 2.4.) The generator makes the noise repeatable; without one torch's global one is used.
    """
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + torch.exp(0.5 * logvar) * noise


def elbo(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """The evidence lower bound of each image, in nats: log p(x|z) - KL(q(z|x) || p(z)), -> (B,).

    logits (B, D) come from one sample z ~ q(z|x): estimator B of the paper with L = 1 (equation 7). The bound holds in
    expectation over z. Binarised images make it a bound on a probability; with grey pixels it is only a loss.
    """
    return -reconstruction_nats(logits, x) - kl_to_standard_normal(mu, logvar)


def log_weights(decode: Callable[[Tensor], Tensor], x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """log p(x|z_k) + log p(z_k) - log q(z_k|x) at the codes z_k = mu + sigma * eps_k, (K, B, Z) of noise -> (K, B).

    `decode` gives the logits (..., D) of codes (..., Z), x is (B, D), mu and logvar are (B, Z). The mean over k is
    estimator A of the ELBO (paper, equation 6); their exponentials are the importance weights of Burda et al. (ICLR
    2016, arXiv:1509.00519, section 3). Raises ValueError where the shapes do not fit.
    """
    if eps.ndim != 3 or not eps.shape[1:] == mu.shape == logvar.shape or len(x) != len(mu):
        shapes = ", ".join(str(tuple(given.shape)) for given in (x, mu, logvar, eps))
        raise ValueError(f"x (B, D), mu (B, Z), logvar (B, Z) and eps (K, B, Z) are needed, got {shapes}")
    mu, logvar = mu.expand_as(eps), logvar.expand_as(eps)
    z = mu + torch.exp(0.5 * logvar) * eps  # (K, B, Z)
    log_p = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    log_q = -0.5 * ((z - mu).square() / logvar.exp() + logvar + math.log(2 * math.pi)).sum(-1)
    # One draw at a time: the logits of all K do not fit into a processor's cache, which takes twice as long.
    log_likelihood = -torch.stack([reconstruction_nats(decode(draw), x) for draw in z])  # (K, B)
    return log_likelihood + log_p - log_q


def log_importance_weights(
    model: VariationalAutoencoder, x: Tensor, samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """`log_weights` of `samples` draws z_k ~ q(z|x) of a model, (B, D) -> (K, B).

    Raises ValueError for fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"at least one sample is needed, got {samples}")
    mu, logvar = model.encode(x)
    eps = torch.randn((samples, *mu.shape), generator=generator, device=mu.device, dtype=mu.dtype)
    return log_weights(model.decode, x, mu, logvar, eps)


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log( 1/K sum_k w_k ), the importance-weighted bound on log p(x), from log-weights, (K, B) -> (B,).

    K = 1 gives the ELBO; in expectation the bound never falls when K grows. (Burda et al., arXiv:1509.00519.)
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(log_weights.shape[0])


class PCA(NamedTuple):
    """A fitted principal component analysis: codes are projected as (codes - mean) @ components."""

    mean: Tensor  # (Z,)
    components: Tensor  # (Z, n), orthonormal columns, largest variance first
    explained: Tensor  # (n,) share of the total variance along each


def pca_fit(codes: Tensor, n: int = 2) -> PCA:
    """The first n principal axes of codes (N, Z), by the SVD of the centred matrix.

    Raises ValueError unless 1 <= n <= min(N, Z), N >= 2 and the codes differ from each other.
    """
    rows, columns = codes.shape
    if not 1 <= n <= min(rows, columns) or rows < 2:
        raise ValueError(f"{n} components cannot be fitted to {rows} codes of {columns} dimensions")
    if (codes == codes[0]).all():
        raise ValueError("all codes are equal: they have no principal axes")
    mean = codes.mean(0)
    _, singular_values, vt = torch.linalg.svd(codes - mean, full_matrices=False)
    variance = singular_values.square()
    return PCA(mean, vt[:n].T, (variance / variance.sum())[:n])


def pca_project(codes: Tensor, pca: PCA) -> Tensor:
    """Coordinates of codes (N, Z) on the axes of a PCA that was fitted elsewhere, -> (N, n)."""
    return (codes - pca.mean) @ pca.components


def traverse(model: Autoencoder | VariationalAutoencoder, z: Tensor, dimension: int, values: Tensor) -> Tensor:
    """Decoded pixel probabilities (V, D) of one code z (Z,) whose one dimension takes each of `values` (V,)."""
    codes = z.repeat(len(values), 1)  # (V, Z)
    codes[:, dimension] = values
    return torch.sigmoid(model.decode(codes))


@torch.no_grad()
def decoded_image(model: Autoencoder | VariationalAutoencoder, z: Sequence[float]) -> Tensor:
    """The square image (side, side) of pixel probabilities that one code z, Z numbers, stands for."""
    parameter = next(model.parameters())
    code = torch.tensor(list(z), dtype=parameter.dtype, device=parameter.device)
    pixels = torch.sigmoid(model.decode(code[None]))[0]  # (D,)
    side = math.isqrt(len(pixels))
    return pixels.reshape(side, side).cpu()
