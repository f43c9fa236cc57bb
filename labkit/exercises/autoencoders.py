"""The exercises of lesson 01. Each mistake below is a real wrong answer; the tests prove that it is caught by name.

The module is long because an exercise is mostly data: probes, three hints, mistakes with their explanation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe
from labkit.papers import autoencoders as paper
from labkit.papers.autoencoders import PCA


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=_seeded(seed))


def _digits(*shape: int) -> Tensor:
    """Stand-ins for binarised images."""
    return (torch.rand(shape, generator=_seeded(1)) < 0.3).float()


# ---- the reconstruction term ----------------------------------------------------------------------------------------


def _cross_entropy_in_full(logits: Tensor, x: Tensor) -> Tensor:
    return -(x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(dim=-1)


def _distribution_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    return -torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)


def _pixelwise(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


RECONSTRUCTION = Exercise(
    name="reconstruction_nats",
    reference=paper.reconstruction_nats,
    probes=(
        Probe("logits = 0, 784 pixels", lambda f: f(torch.zeros(2, 784), _digits(2, 784))),
        Probe("random logits of shape (5, 784)", lambda f: f(_normal(5, 784), _digits(5, 784))),
        Probe("logits = -200 where x = 1 (sigmoid underflows)", lambda f: f(-200 * torch.ones(1, 4), torch.ones(1, 4))),
    ),
    hints=(
        "Each pixel is a coin: -log p is the binary cross-entropy. Which axis holds the pixels of one image?",
        "Sum over the last axis only; the batch axis stays. Work on the logits: log(sigmoid(-200)) is -inf in float32.",
        "F.binary_cross_entropy_with_logits(logits, x, reduction='none') has one number a pixel; one sum is missing.",
    ),
    mistakes=(
        Mistake(
            "mean-over-pixels",
            lambda logits, x: _pixelwise(logits, x).mean(-1),
            "This is the mean over the pixels: the log-probability of an image is the sum over its pixels.",
        ),
        Mistake(
            "averaged-over-everything",
            lambda logits, x: F.binary_cross_entropy_with_logits(logits, x),
            "This averages over pixels and images, the function's default: use reduction='none' and sum over pixels.",
        ),
        Mistake(
            "probabilities-clamped",
            lambda logits, x: F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="none").sum(-1),
            "Probabilities hide how wrong a confident decoder is (torch cuts log p at -100): start from the logits.",
        ),
        Mistake(
            "summed-over-the-batch",
            lambda logits, x: _pixelwise(logits, x).sum(),
            "This adds up the whole batch: keep one number an image by summing over the last axis only.",
        ),
        Mistake(
            "sigmoid-twice",
            lambda logits, x: _pixelwise(torch.sigmoid(logits), x).sum(-1),
            "A sigmoid is applied twice: binary_cross_entropy_with_logits takes the logits themselves.",
        ),
        Mistake(
            "sigmoid-then-log",
            lambda logits, x: -(x * torch.sigmoid(logits).log() + (1 - x) * (1 - torch.sigmoid(logits)).log()).sum(-1),
            "log(sigmoid(.)) underflows for confident decoders: compute the cross-entropy from the logits directly.",
        ),
        Mistake(
            "log-likelihood-without-minus",
            lambda logits, x: -_pixelwise(logits, x).sum(-1),
            "The sign is missing: this is log p(x|z), and the reconstruction error is its negative.",
        ),
        Mistake(
            "squared-error",
            lambda logits, x: (torch.sigmoid(logits) - x).square().sum(-1),
            "This is the squared error, the likelihood of a Gaussian: binarised pixels ask for the Bernoulli one.",
        ),
    ),
    alternatives=(_cross_entropy_in_full, _distribution_log_prob),
)


# ---- corruption -----------------------------------------------------------------------------------------------------


def _mask_by_bernoulli(x: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    dropped = torch.bernoulli(torch.full_like(x, float(probability)), generator=generator).bool()
    return x.masked_fill(dropped, 0.0)


def _mask_by_where(x: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    uniform = torch.empty_like(x).uniform_(generator=generator)
    return torch.where(uniform < probability, torch.zeros_like(x), x)


def _mask_in_place(x: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    x[torch.rand(x.shape, generator=generator) < probability] = 0
    return x


def _left_alone(f: Callable) -> str:
    images = torch.ones(4, 9)
    f(images, 0.5, _seeded())
    return "unchanged" if (images == 1).all() else "changed"


def _follows_seed(f: Callable, *inputs: Any) -> str:
    first, again, other = (f(*inputs, _seeded(seed)) for seed in (7, 7, 8))
    if not torch.equal(first, again):
        return "the same seed gives different results"
    return "another seed gives the same result" if torch.equal(first, other) else "the seed decides"


def _same_mask(f: Callable) -> float:
    first, second = f(torch.ones(2, 4000), 0.5, _seeded())
    return (first == second).float().mean().item()


def _values(f: Callable) -> list[float]:
    return sorted(f(_digits(20, 784), 0.5, _seeded()).unique().tolist())


def _share(f: Callable, probability: float) -> float:
    return (f(torch.ones(100, 784), probability, _seeded()) == 0).float().mean().item()


def _share_spread(f: Callable) -> float:
    return (f(torch.ones(100, 784), 0.5, _seeded()) == 0).float().mean(1).std().item()


MASKING = Exercise(
    name="mask_pixels",
    reference=paper.mask_pixels,
    probes=(
        Probe("probability = 0.3, share of pixels set to 0", lambda f: _share(f, 0.3), atol=0.02),
        Probe("probability = 0.3, the pixels that are kept", lambda f: f(torch.ones(50, 784), 0.3, _seeded()).max()),
        Probe("black and white pixels, probability = 0.5: the values that occur", _values),
        Probe("probability = 0", lambda f: f(_normal(3, 7), 0.0, _seeded())),
        Probe("probability = 1", lambda f: f(torch.ones(3, 7), 1.0, _seeded())),
        Probe("two images, share of pixels masked in both or in none", _same_mask, atol=0.05),
        Probe("spread of the masked share from image to image", _share_spread, atol=0.006),
        Probe("the images that were given, afterwards", _left_alone),
        Probe("generators with the seeds 7, 7 and 8", lambda f: _follows_seed(f, torch.ones(3, 50), 0.5)),
    ),
    hints=(
        "Draw one uniform number for each pixel; which pixels does the probability select?",
        "torch.rand(x.shape, generator=generator, device=x.device) is a uniform number for each pixel.",
        "keep = torch.rand(x.shape, generator=generator, device=x.device) >= probability; return x * keep",
    ),
    mistakes=(
        Mistake(
            "keeps-instead-of-masks",
            lambda x, probability, generator=None: x * (torch.rand(x.shape, generator=generator) < probability),
            "The comparison is the wrong way round: pixels are kept with this probability, not masked with it.",
        ),
        Mistake(
            "rescaled-like-dropout",
            lambda x, probability, generator=None: (
                x * (torch.rand(x.shape, generator=generator) >= probability) / max(1 - probability, 1e-9)
            ),
            "The kept pixels are scaled up as in dropout: a corrupted image keeps their values.",
        ),
        Mistake(
            "subtracted",
            lambda x, probability, generator=None: x - (torch.rand(x.shape, generator=generator) < probability).float(),
            "The mask is subtracted, so pixels without ink become -1: multiply by what is kept.",
        ),
        Mistake(
            "whole-images-masked",
            lambda x, probability, generator=None: x * (torch.rand(len(x), 1, generator=generator) >= probability),
            "One number is drawn for each image, so whole images vanish: draw one for each pixel.",
        ),
        Mistake(
            "one-mask-for-the-batch",
            lambda x, probability, generator=None: x * (torch.rand(x.shape[1:], generator=generator) >= probability),
            "All images share one mask: draw numbers of the shape of the whole batch.",
        ),
        Mistake(
            "changed-in-place",
            _mask_in_place,
            "The images that were given are changed: the clean ones are still needed as the target, so mask a copy.",
        ),
        Mistake(
            "ignores-the-generator",
            lambda x, probability, generator=None: x * (torch.rand(x.shape) >= probability),
            "The generator is not used, so the mask cannot be repeated: pass generator=generator to torch.rand.",
        ),
    ),
    alternatives=(_mask_by_bernoulli, _mask_by_where),
)


# ---- the KL term ----------------------------------------------------------------------------------------------------


def _kl_by_distributions(mu: Tensor, logvar: Tensor) -> Tensor:
    q = torch.distributions.Normal(mu, (logvar / 2).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)


def _kl_dimension_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    total = torch.zeros(mu.shape[0])
    for j in range(mu.shape[1]):
        total = total - 0.5 * (1 + logvar[:, j] - mu[:, j] ** 2 - logvar[:, j].exp())
    return total


KL = Exercise(
    name="kl_to_standard_normal",
    reference=paper.kl_to_standard_normal,
    probes=(
        Probe("mu = 0, logvar = 0", lambda f: f(torch.zeros(2, 4), torch.zeros(2, 4))),
        Probe("mu = 1, logvar = 0, d = 4", lambda f: f(torch.ones(1, 4), torch.zeros(1, 4))),
        Probe("mu = 0, logvar = log 4, d = 1", lambda f: f(torch.zeros(1, 1), torch.full((1, 1), math.log(4)))),
        Probe(
            "mu = (0.5, -1), logvar = (0.2, -0.3)", lambda f: f(torch.tensor([[0.5, -1]]), torch.tensor([[0.2, -0.3]]))
        ),
        Probe("random mu and logvar of shape (5, 3)", lambda f: f(_normal(5, 3), _normal(5, 3, seed=1))),
    ),
    hints=(
        "Appendix B of the paper gives it in closed form; sigma^2 is exp(logvar), and log sigma^2 is logvar itself.",
        "For one dimension: 1/2 (mu^2 + sigma^2 - log sigma^2 - 1). At mu = 0 and sigma = 1 it is 0, else positive.",
        "0.5 * (mu**2 + logvar.exp() - logvar - 1), summed over the last axis: one number an image.",
    ),
    mistakes=(
        Mistake(
            "mean-over-latents",
            lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean(-1),
            "This is the mean over the latent dimensions: the KL of independent dimensions is their sum.",
        ),
        Mistake(
            "averaged-over-everything",
            lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean(),
            "This averages over latent dimensions and images: sum over the last axis only, one number an image.",
        ),
        Mistake(
            "half-missing",
            lambda mu, logvar: (mu.square() + logvar.exp() - logvar - 1).sum(-1),
            "The factor 1/2 is missing.",
        ),
        Mistake(
            "wrong-sign",
            lambda mu, logvar: -0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1),
            "The sign is reversed: this is -KL, and a KL divergence is never negative.",
        ),
        Mistake(
            "logvar-read-as-sigma",
            lambda mu, logvar: 0.5 * (mu.square() + logvar.square() - torch.log(logvar.square() + 1e-12) - 1).sum(-1),
            "logvar is used as if it were sigma: the variance is exp(logvar).",
        ),
        Mistake(
            "logvar-read-as-log-sigma",
            lambda mu, logvar: 0.5 * (mu.square() + (2 * logvar).exp() - 2 * logvar - 1).sum(-1),
            "logvar is used as if it were log sigma: it is log sigma^2, so the variance is exp(logvar).",
        ),
        Mistake(
            "mu-not-squared",
            lambda mu, logvar: 0.5 * (mu + logvar.exp() - logvar - 1).sum(-1),
            "The mean is not squared.",
        ),
        Mistake(
            "summed-over-the-batch",
            lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(),
            "This adds up the whole batch: sum over the last axis only, one number an image.",
        ),
    ),
    alternatives=(_kl_by_distributions, _kl_dimension_by_dimension),
)


# ---- the reparameterisation -----------------------------------------------------------------------------------------


def _reparameterize_by_normal_(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    sigma = logvar.exp().sqrt()
    return torch.addcmul(mu, sigma, torch.empty_like(sigma).normal_(generator=generator))


def _reparameterize_by_torch_normal(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    eps = torch.normal(0.0, 1.0, mu.shape, generator=generator, device=mu.device)
    return eps * (logvar / 2).exp() + mu


def _drawn(f: Callable, mu: float, logvar: float, rows: int = 4000) -> Tensor:
    return f(torch.full((rows, 5), mu), torch.full((rows, 5), logvar), _seeded())  # (rows, 5)


def _spread(f: Callable, logvar: float) -> Tensor:
    z = _drawn(f, 0.0, logvar)
    return (z - z.mean(0)).square().mean(0).sqrt()  # (5,)


def _correlation(f: Callable) -> float:
    z = _drawn(f, 0.0, 0.0)
    return torch.corrcoef(z.T)[0, 1].item()


def _gradients(f: Callable) -> dict[str, float]:
    mu, logvar = torch.zeros(4000, 5, requires_grad=True), torch.zeros(4000, 5, requires_grad=True)
    f(mu, logvar, _seeded()).sum().backward()
    spread = 0.0 if logvar.grad is None else logvar.grad.std().item()
    return {"dz/dmu": 0.0 if mu.grad is None else mu.grad.mean().item(), "spread of dz/dlogvar": spread}


REPARAMETERIZATION = Exercise(
    name="reparameterize",
    reference=paper.reparameterize,
    probes=(
        Probe("mu = 2, logvar = 0, the mean of many z", lambda f: _drawn(f, 2.0, 0.0).mean().item(), atol=0.05),
        Probe("logvar = log 9, the spread of many z", lambda f: _spread(f, math.log(9)), atol=0.25),
        Probe("logvar = -80, where z = mu", lambda f: _drawn(f, 1.5, -80.0, rows=3)),
        Probe("the gradients of the sum of z", _gradients, atol=0.03),
        Probe("the correlation of two latent dimensions", _correlation, atol=0.1),
        Probe("generators with the seeds 7, 7 and 8", lambda f: _follows_seed(f, torch.zeros(3, 5), torch.zeros(3, 5))),
    ),
    hints=(
        "Draw the noise without any parameter in it, then move and stretch it: z = mu + sigma * eps.",
        "sigma is exp(logvar / 2). Gradients must reach mu and logvar, so only eps comes from a random function.",
        "eps = torch.randn(mu.shape, generator=generator, device=mu.device); return mu + torch.exp(0.5 * logvar) * eps",
    ),
    mistakes=(
        Mistake(
            "sigma-is-exp-logvar",
            lambda mu, logvar, generator=None: mu + logvar.exp() * torch.randn(mu.shape, generator=generator),
            "exp(logvar) is the variance: the standard deviation that stretches the noise is exp(logvar / 2).",
        ),
        Mistake(
            "noise-not-stretched",
            lambda mu, logvar, generator=None: mu + torch.randn(mu.shape, generator=generator),
            "The noise is not multiplied by sigma, so logvar has no effect.",
        ),
        Mistake(
            "sampled-without-gradient",
            lambda mu, logvar, generator=None: torch.normal(mu, torch.exp(0.5 * logvar), generator=generator),
            "No gradient comes through torch.normal(mu, sigma): sample eps alone, and compute z from it.",
        ),
        Mistake(
            "distribution-sampled",
            lambda mu, logvar, generator=None: torch.distributions.Normal(mu, torch.exp(0.5 * logvar)).sample(),
            "sample() cuts the gradient (and takes no generator): draw eps yourself and compute z from it.",
        ),
        Mistake(
            "one-noise-for-the-batch",
            lambda mu, logvar, generator=None: (
                mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1:], generator=generator)
            ),
            "All images get the same noise: draw eps of the shape of mu.",
        ),
        Mistake(
            "one-noise-for-all-dimensions",
            lambda mu, logvar, generator=None: (
                mu + torch.exp(0.5 * logvar) * torch.randn(len(mu), 1, generator=generator)
            ),
            "All latent dimensions of an image get the same noise: draw eps of the shape of mu.",
        ),
        Mistake(
            "ignores-the-generator",
            lambda mu, logvar, generator=None: mu + torch.exp(0.5 * logvar) * torch.randn_like(mu),
            "The generator is not used, so the sample cannot be repeated: torch.randn(mu.shape, generator=generator).",
        ),
        Mistake(
            "the-mean-returned",
            lambda mu, logvar, generator=None: mu + 0 * logvar,
            "This returns the mean, not a sample: add sigma * eps.",
        ),
    ),
    alternatives=(_reparameterize_by_normal_, _reparameterize_by_torch_normal),
)


# ---- the bound ------------------------------------------------------------------------------------------------------


def _elbo_from_scratch(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    log_likelihood = torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(1)
    return log_likelihood + 0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1)


def _bound(f: Callable, size: int, seed: int) -> Tensor:
    return f(_normal(size, 784, seed=seed), _digits(size, 784), _normal(size, 4, seed=2), _normal(size, 4, seed=3))


def _terms(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    return paper.reconstruction_nats(logits, x), paper.kl_to_standard_normal(mu, logvar)


ELBO = Exercise(
    name="elbo",
    reference=paper.elbo,
    probes=(
        Probe("mu = 0, logvar = 0 (no KL)", lambda f: f(_normal(3, 784), _digits(3, 784), *torch.zeros(2, 3, 4))),
        Probe("a batch of 5", lambda f: _bound(f, 5, 0)),
        Probe("a batch of 1", lambda f: _bound(f, 1, 4)),
    ),
    hints=(
        "Two terms: how well the sample explains the image, and what the code costs.",
        "reconstruction_nats and kl_to_standard_normal are there already; which sign has each in a *lower bound*?",
        "return -reconstruction_nats(logits, x) - kl_to_standard_normal(mu, logvar)",
    ),
    mistakes=(
        Mistake(
            "kl-added",
            lambda *given: _terms(*given)[1] - _terms(*given)[0],
            "The KL is added: the bound is the log-likelihood minus the KL.",
        ),
        Mistake(
            "loss-instead-of-bound",
            lambda *given: _terms(*given)[0] + _terms(*given)[1],
            "This is the negative ELBO, the loss: the bound itself has the opposite sign.",
        ),
        Mistake(
            "mean-over-pixels",
            lambda *given: -_terms(*given)[0] / given[1].shape[-1] - _terms(*given)[1],
            "The reconstruction term is a mean over pixels while the KL is a sum: the KL weighs 784 times too much.",
        ),
        Mistake(
            "averaged-over-the-batch",
            lambda *given: (-_terms(*given)[0] - _terms(*given)[1]).mean(),
            "This is the mean over the batch: return one bound an image.",
        ),
    ),
    alternatives=(_elbo_from_scratch,),
)


# ---- PCA ------------------------------------------------------------------------------------------------------------


def _project_by_einsum(codes: Tensor, pca: PCA) -> Tensor:
    mean, components, _ = pca
    return torch.einsum("nz,zk->nk", codes - mean[None, :], components)


def _fitted(n: int, dimensions: int) -> PCA:
    return paper.pca_fit(_normal(40, dimensions, seed=5) * torch.arange(1, dimensions + 1) + 3, n)


def _projected(f: Callable, rows: int, n: int, dimensions: int) -> Tensor:
    return f(_normal(rows, dimensions, seed=6) + 1, _fitted(n, dimensions))


PROJECTION = Exercise(
    name="pca_project",
    reference=paper.pca_project,
    probes=(
        Probe("6 codes of 4 dimensions, 2 axes", lambda f: _projected(f, 6, 2, 4)),
        Probe("3 codes of 3 dimensions, 3 axes", lambda f: _projected(f, 3, 3, 3)),
        Probe("a single code", lambda f: _projected(f, 1, 2, 4)),
        Probe("the mean of the training codes, which lands on 0", lambda f: f(_fitted(2, 4).mean[None], _fitted(2, 4))),
    ),
    hints=(
        "Everything that was learnt from the training codes is in `pca`: nothing is to be estimated from these codes.",
        "Subtract the mean of the training codes, then take the coordinates along each axis, a column of components.",
        "return (codes - pca.mean) @ pca.components",
    ),
    mistakes=(
        Mistake(
            "centred-on-its-own-mean",
            lambda codes, pca: (codes - codes.mean(0)) @ pca.components,
            "These codes are centred on their own mean: subtract pca.mean, or training and test codes share no axes.",
        ),
        Mistake("not-centred", lambda codes, pca: codes @ pca.components, "pca.mean is not subtracted."),
        Mistake(
            "components-transposed",
            lambda codes, pca: (codes - pca.mean) @ pca.components.T,
            "The components are transposed: each column of pca.components, not each row, is an axis.",
        ),
        Mistake(
            "scaled-by-explained",
            lambda codes, pca: (codes - pca.mean) @ pca.components * pca.explained,
            "The coordinates are scaled by the explained variance: projecting only turns the axes, lengths stay.",
        ),
        Mistake(
            "refitted",
            lambda codes, pca: paper.pca_project(codes, paper.pca_fit(codes, pca.components.shape[1])),
            "PCA is fitted again on these codes: use the axes that were fitted on the training codes.",
        ),
    ),
    alternatives=(_project_by_einsum, lambda codes, pca: codes @ pca.components - pca.mean @ pca.components),
)


# ---- the importance-weighted bound ----------------------------------------------------------------------------------


def _bound_by_hand(log_weights: Tensor) -> Tensor:
    largest = log_weights.max(dim=0).values
    return largest + (log_weights - largest).exp().mean(dim=0).log()


IWAE = Exercise(
    name="iwae_bound",
    reference=paper.iwae_bound,
    probes=(
        Probe("K = 1, where it is the ELBO", lambda f: f(_normal(1, 5))),
        Probe("K = 10, B = 5", lambda f: f(_normal(10, 5))),
        Probe("K = 4, B = 4", lambda f: f(_normal(4, 4, seed=3))),
        Probe("equal log-weights of -1000 (exp underflows)", lambda f: f(torch.full((8, 2), -1000.0))),
    ),
    hints=(
        "The average is taken over the weights, not over their logarithms; then comes one logarithm.",
        "exp(-1000) is 0 in float32: look for a function that computes log(sum(exp(.))) in one stable step.",
        "torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))",
    ),
    mistakes=(
        Mistake(
            "mean-of-logarithms",
            lambda log_weights: log_weights.mean(0),
            "This averages the log-weights, which is the ELBO: average the weights, then take the logarithm.",
        ),
        Mistake(
            "not-divided-by-k",
            lambda log_weights: torch.logsumexp(log_weights, 0),
            "The sum is not divided by K: subtract log K.",
        ),
        Mistake(
            "exp-underflows",
            lambda log_weights: torch.log(torch.exp(log_weights).mean(0)),
            "exp of a log-weight of -1000 is 0 and its logarithm -inf: use torch.logsumexp.",
        ),
        Mistake(
            "over-the-batch",
            lambda log_weights: torch.logsumexp(log_weights, 1) - math.log(log_weights.shape[1]),
            "This runs over the batch: the samples k lie along the first axis.",
        ),
        Mistake(
            "largest-weight",
            lambda log_weights: log_weights.max(0).values,
            "This is the largest log-weight: the bound averages all K weights.",
        ),
    ),
    alternatives=(_bound_by_hand,),
)

EXERCISES = (RECONSTRUCTION, MASKING, KL, REPARAMETERIZATION, ELBO, PROJECTION, IWAE)
