"""Right answers to the exercises of lesson 01 that are written differently."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from labkit.papers.autoencoders import PCA


def cross_entropy_in_full(logits: Tensor, x: Tensor) -> Tensor:
    return -(x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(dim=-1)


def bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    return -Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)


def mean_times_pixels(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(1) * 784


def softplus(logits: Tensor, x: Tensor) -> Tensor:
    return (F.softplus(logits) - x * logits).sum(1)


def mask_by_bernoulli(x: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    dropped = torch.bernoulli(torch.full_like(x, float(probability)), generator=generator).bool()
    return x.masked_fill(dropped, 0.0)


def mask_by_where(x: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    uniform = torch.empty_like(x).uniform_(generator=generator)
    return torch.where(uniform < probability, torch.zeros_like(x), x)


def mask_image_by_image(x: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    masked = x.clone()
    for image in masked:
        image[torch.rand(image.shape, generator=generator) < probability] = 0
    return masked


def kl_by_distributions(mu: Tensor, logvar: Tensor) -> Tensor:
    return kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(-1)


def kl_dimension_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    total = torch.zeros(mu.shape[0])
    for j in range(mu.shape[1]):
        total = total - 0.5 * (1 + logvar[:, j] - mu[:, j] ** 2 - logvar[:, j].exp())
    return total


def reparameterize_by_normal_(mu: Tensor, logvar: Tensor, generator: Generator | None = None) -> Tensor:
    sigma = logvar.exp().sqrt()
    return torch.addcmul(mu, sigma, torch.empty_like(sigma).normal_(generator=generator))


def reparameterize_by_torch_normal(mu: Tensor, logvar: Tensor, generator: Generator | None = None) -> Tensor:
    eps = torch.normal(0.0, 1.0, mu.shape, generator=generator, device=mu.device)
    return eps * (logvar / 2).exp() + mu


def elbo_from_scratch(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    log_likelihood = Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(1)
    return log_likelihood + 0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1)


def project_by_einsum(codes: Tensor, pca: PCA) -> Tensor:
    mean, components, _ = pca
    return torch.einsum("nz,zk->nk", codes - mean[None, :], components)


def project_then_subtract(codes: Tensor, pca: PCA) -> Tensor:
    return codes @ pca.components - pca.mean @ pca.components


def bound_by_hand(log_weights: Tensor) -> Tensor:
    largest = log_weights.max(dim=0).values
    return largest + (log_weights - largest).exp().mean(dim=0).log()


def bound_image_by_image(log_weights: Tensor) -> Tensor:
    return torch.stack([torch.logsumexp(column - math.log(len(column)), 0) for column in log_weights.T])


def weights_by_distributions(decode: Callable, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    q = Normal(mu, torch.exp(logvar / 2))
    z = q.mean + q.stddev * eps
    log_joint = Bernoulli(logits=decode(z)).log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)
    return log_joint - q.log_prob(z).sum(-1)


def weights_draw_by_draw(decode: Callable, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """Without log 2 pi, which cancels."""
    drawn = []
    for noise in eps:
        z = mu + logvar.exp().sqrt() * noise  # (B, Z)
        log_likelihood = -F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").sum(1)
        drawn.append(log_likelihood + 0.5 * (noise**2 + logvar - z**2).sum(1))
    return torch.stack(drawn)


def weights_of_a_long_batch(decode: Callable, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    K, B, _ = eps.shape
    z = (mu + (logvar / 2).exp() * eps).flatten(0, 1)  # (K * B, Z)
    fits = (x.repeat(K, 1) * decode(z) - F.softplus(decode(z))).sum(1)
    prices = 0.5 * (z**2 - ((z - mu.repeat(K, 1)) ** 2 / logvar.exp().repeat(K, 1)) - logvar.repeat(K, 1)).sum(1)
    return (fits - prices).reshape(K, B)


ANSWERS = {
    "reconstruction_nats": (cross_entropy_in_full, bernoulli, mean_times_pixels, softplus),
    "mask_pixels": (mask_by_bernoulli, mask_by_where, mask_image_by_image),
    "kl_to_standard_normal": (kl_by_distributions, kl_dimension_by_dimension),
    "reparameterize": (reparameterize_by_normal_, reparameterize_by_torch_normal),
    "elbo": (elbo_from_scratch,),
    "pca_project": (project_by_einsum, project_then_subtract),
    "iwae_bound": (bound_by_hand, bound_image_by_image),
    "log_weights": (weights_by_distributions, weights_draw_by_draw, weights_of_a_long_batch),
}
