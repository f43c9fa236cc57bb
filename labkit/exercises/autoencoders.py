"""The exercises of lesson 01: plain answers, what they are tried on, hints, and mistakes as edits of the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from labkit.checks.edits import mistakes, skeleton
from labkit.checks.exercise import Exercise, Probe
from labkit.exercises._inputs import normal
from labkit.papers import autoencoders as paper
from labkit.papers.autoencoders import PCA


def _seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _digits(*shape: int) -> Tensor:
    """Stand-ins for binarized images."""
    return (torch.rand(shape, generator=_seeded(1)) < 0.3).float()


def _certain(*shape: int) -> Tensor:
    """Logits of +40 and -40, as often right as wrong about `_digits`."""
    return 80 * (normal(*shape) > 0).float() - 40


# ---- the reconstruction term ----------------------------------------------------------------------------------------


def reconstruction_nats(logits: Tensor, x: Tensor) -> Tensor:
    cost = F.binary_cross_entropy_with_logits(logits, x, reduction="none")  # (B, D)
    return cost.sum(-1)


RECONSTRUCTION = Exercise(
    name="reconstruction_nats",
    reference=paper.reconstruction_nats,
    probes=(
        Probe("logits = 0, x of shape (2, 784)", lambda f: f(torch.zeros(2, 784), _digits(2, 784))),
        Probe("random logits of shape (5, 784)", lambda f: f(normal(5, 784), _digits(5, 784))),
        Probe(
            "logits = -200 at 784 pixels where x = 1 (sigmoid underflows)",
            lambda f: f(-200 * torch.ones(1, 784), torch.ones(1, 784)),
        ),
        Probe("logits of 40 and -40, shape (3, 784)", lambda f: f(_certain(3, 784), _digits(3, 784))),
        Probe("grey pixels x, shape (3, 784)", lambda f: f(normal(3, 784), normal(3, 784, seed=2).sigmoid())),
    ),
    hints=(
        "Each pixel is a coin: -log p is the binary cross-entropy. Which axis holds the pixels of one image?",
        "Sum over the last axis only; the batch axis stays. Work on the logits: log(sigmoid(-200)) is -inf in float32.",
        skeleton(reconstruction_nats, "binary_cross_entropy_with_logits", '"none"', "cost.sum(-1)"),
    ),
    mistakes=mistakes(
        reconstruction_nats,
        """
        mean-over-pixels: .sum(-1) => .mean(-1)
            This is the mean over the pixels: the log-probability of an image is the sum over its pixels.

        averaged-over-everything: , reduction="none") => )
          + cost.sum(-1) => cost
            This averages over pixels and images, the function's default: use reduction='none' and sum over pixels.

        probabilities-clamped: cross_entropy_with_logits(logits => cross_entropy(logits.sigmoid()
            Probabilities hide how wrong a confident decoder is (torch cuts log p at -100): start from the logits.

        probabilities-clamped-by-hand: with_logits(logits => with_logits(logits.sigmoid().clamp(1e-7, 1 - 1e-7).logit()
            Cutting the probabilities at 1e-7 hides how wrong a confident decoder is: start from the logits.

        summed-over-the-batch: .sum(-1) => .sum()
            This adds up the whole batch: keep one number an image by summing over the last axis only.

        sigmoid-twice: with_logits(logits => with_logits(logits.sigmoid()
            A sigmoid is applied twice: binary_cross_entropy_with_logits takes the logits themselves.

        sigmoid-then-log: cost.sum(-1) => -_log_of_sigmoid(logits, x).sum(-1)
            log(sigmoid(.)) underflows for confident decoders: compute the cross-entropy from the logits directly.

        log-likelihood-without-minus: cost.sum(-1) => -cost.sum(-1)
            The sign is missing: this is log p(x|z), and the reconstruction error is its negative.

        squared-error: cost.sum(-1) => (logits.sigmoid() - x).square().sum(-1)
            This is the squared error, the likelihood of a Gaussian: binarized pixels ask for the Bernoulli one.

        grey-pixels-rounded: (logits, x, => (logits, x.round(),
            Grey pixels are rounded to 0 or 1: the formula takes every x between them as it is.
        """,
    ),
    answer=reconstruction_nats,
    minutes=6,
    difficulty=1,
    importance=3,
)


def _log_of_sigmoid(logits: Tensor, x: Tensor) -> Tensor:
    return x * logits.sigmoid().log() + (1 - x) * (1 - logits.sigmoid()).log()


# ---- corruption -----------------------------------------------------------------------------------------------------


def mask_pixels(x: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    keep = torch.rand(x.shape, generator=generator, device=x.device) >= probability
    return x * keep


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


def _masked(f: Callable, probability: float) -> Tensor:
    return (f(torch.ones(100, 784), probability, _seeded()) == 0).float()


MASKING = Exercise(
    name="mask_pixels",
    reference=paper.mask_pixels,
    probes=(
        Probe("probability = 0.3, share of pixels set to 0", lambda f: _masked(f, 0.3).mean().item(), atol=0.02),
        Probe("probability = 0.3, the pixels that are kept", lambda f: f(torch.ones(50, 784), 0.3, _seeded()).max()),
        Probe("black and white pixels, probability = 0.5: the values that occur", _values),
        Probe("probability = 0", lambda f: f(normal(3, 7), 0.0, _seeded())),
        Probe("probability = 1", lambda f: f(torch.ones(3, 7), 1.0, _seeded())),
        Probe("images of shape (2, 1, 3, 5), probability = 1", lambda f: f(torch.ones(2, 1, 3, 5), 1.0, _seeded())),
        Probe("two images, share of pixels masked in both or in none", _same_mask, atol=0.05),
        Probe(
            "spread of the masked share from image to image", lambda f: _masked(f, 0.5).mean(1).std().item(), atol=0.006
        ),
        Probe("the images that were given, afterwards", _left_alone),
        Probe("generators with the seeds 7, 7 and 8", lambda f: _follows_seed(f, torch.ones(3, 50), 0.5)),
    ),
    hints=(
        "Draw one uniform number for each pixel; which pixels does the probability select?",
        "torch.rand(x.shape, generator=generator, device=x.device) is a uniform number for each pixel.",
        skeleton(mask_pixels, "x.shape", "generator=generator", ">=", "x * keep"),
    ),
    mistakes=mistakes(
        mask_pixels,
        """
        keeps-instead-of-masks: >= => <
            The comparison is the wrong way round: pixels are kept with this probability, not masked with it.

        rescaled-like-dropout: x * keep => x * keep / max(1 - probability, 1e-9)
            The kept pixels are scaled up as in dropout: a corrupted image keeps their values.

        subtracted: x * keep => x - (~keep).float()
            The mask is subtracted, so pixels without ink become -1: multiply by what is kept.

        whole-images-masked: torch.rand(x.shape => torch.rand((len(x), 1)
            One number is drawn for each image, so whole images vanish: draw one for each pixel.

        one-mask-for-the-batch: torch.rand(x.shape => torch.rand(x.shape[1:]
            All images share one mask: draw numbers of the shape of the whole batch.

        same-number-of-pixels-in-each-image: torch.rand(x.shape, generator=generator, => _ranks(x, generator,
            Every image loses the same number of pixels: each pixel is to be masked or kept by itself.

        two-axes-only: keep = torch.rand(x.shape => B, D = x.shape; keep = torch.rand((B, D)
            Only an x of two axes can be masked like this: images may have any shape, so draw numbers of x.shape.

        changed-in-place: return x * keep => return x.mul_(keep)
            The images that were given are changed: the clean ones are still needed as the target, so mask a copy.

        ignores-the-generator: generator=generator, =>
            The generator is not used, so the mask cannot be repeated: pass generator=generator to torch.rand.
        """,
    ),
    answer=mask_pixels,
    minutes=6,
    difficulty=1,
    importance=2,
    differentiable=False,
)


def _ranks(x: Tensor, generator: Generator | None, device: torch.device) -> Tensor:
    """In each row the numbers 0, 1/n, ..., (n - 1)/n, in an order drawn at random."""
    return torch.rand(x.shape, generator=generator, device=device).argsort(-1) / x.shape[-1]


# ---- the KL term ----------------------------------------------------------------------------------------------------


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1)  # (B, Z) -> (B,)


KL = Exercise(
    name="kl_to_standard_normal",
    reference=paper.kl_to_standard_normal,
    probes=(
        Probe("mu = 0, logvar = 0", lambda f: f(torch.zeros(2, 4), torch.zeros(2, 4))),
        Probe("mu = 1, logvar = 0, d = 4", lambda f: f(torch.ones(1, 4), torch.zeros(1, 4))),
        Probe("mu = 0, logvar = log 4, d = 1", lambda f: f(torch.zeros(1, 1), torch.full((1, 1), math.log(4)))),
        Probe("mu = (0.5, -1), logvar = (0.2, -0.3)", lambda f: f(*torch.tensor([[[0.5, -1]], [[0.2, -0.3]]]))),
        Probe("random mu and logvar of shape (5, 3)", lambda f: f(normal(5, 3), normal(5, 3, seed=1))),
        Probe("mu = 0, logvar = (9, -9)", lambda f: f(torch.zeros(1, 2), torch.tensor([[9.0, -9.0]]))),
    ),
    hints=(
        "Appendix B of the paper gives it in closed form; sigma^2 is exp(logvar), and log sigma^2 is logvar itself.",
        "For one dimension: 1/2 (mu^2 + sigma^2 - log sigma^2 - 1). At mu = 0 and sigma = 1 it is 0, else positive.",
        skeleton(kl_to_standard_normal, "mu.square()", "logvar.exp() - logvar", "sum(-1)"),
    ),
    mistakes=mistakes(
        kl_to_standard_normal,
        """
        mean-over-latents: .sum(-1) => .mean(-1)
            This is the mean over the latent dimensions: the KL of independent dimensions is their sum.

        averaged-over-everything: .sum(-1) => .mean()
            This averages over latent dimensions and images: sum over the last axis only, one number an image.

        half-missing: 0.5 * => 1.0 *
            The factor 1/2 is missing.

        wrong-sign: 0.5 * => -0.5 *
            The sign is reversed: this is -KL, and a KL divergence is never negative.

        logvar-read-as-sigma: logvar.exp() - logvar => logvar.square() - torch.log(logvar.square() + 1e-12)
            logvar is used as if it were sigma: the variance is exp(logvar).

        logvar-read-as-log-sigma: logvar.exp() - logvar => (2 * logvar).exp() - 2 * logvar
            logvar is used as if it were log sigma: it is log sigma^2, so the variance is exp(logvar).

        sigma-not-squared: logvar.exp() => (0.5 * logvar).exp()
            exp(logvar / 2) is sigma: the formula has sigma^2, which is exp(logvar).

        mu-not-squared: mu.square() => mu
            The mean is not squared.

        one-not-subtracted: - logvar - 1 => - logvar
            The 1 is not subtracted, so that even the prior itself seems to cost something.

        logvar-cut: logvar.exp() - logvar => logvar.clamp(-3, 3).exp() - logvar.clamp(-3, 3)
            logvar is cut at 3 and -3: a code that is sharper, or wider, costs more than that.

        summed-over-the-batch: .sum(-1) => .sum()
            This adds up the whole batch: sum over the last axis only, one number an image.
        """,
    ),
    answer=kl_to_standard_normal,
    minutes=10,
    difficulty=1,
    importance=3,
)


# ---- the reparameterization -----------------------------------------------------------------------------------------


def reparameterize(mu: Tensor, logvar: Tensor, generator: Generator | None = None) -> Tensor:
    sigma = (0.5 * logvar).exp()
    eps = torch.randn(mu.shape, generator=generator, device=mu.device)  # (B, Z)
    return mu + sigma * eps


def _drawn(f: Callable, mu: float, logvar: float, rows: int = 4000) -> Tensor:
    return f(torch.full((rows, 5), mu), torch.full((rows, 5), logvar), _seeded())  # (rows, 5)


def _spread(f: Callable, logvar: float) -> Tensor:
    return _drawn(f, 0.0, logvar).std(0, correction=0)  # (5,)


def _correlation(f: Callable) -> float:
    return torch.corrcoef(_drawn(f, 0.0, 0.0).T)[0, 1].item()


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
        skeleton(reparameterize, "(0.5 * logvar).exp()", "mu.shape, generator=generator", "sigma * eps"),
    ),
    mistakes=mistakes(
        reparameterize,
        """
        sigma-is-exp-logvar: (0.5 * logvar).exp() => logvar.exp()
            exp(logvar) is the variance: the standard deviation that stretches the noise is exp(logvar / 2).

        logvar-read-as-sigma: (0.5 * logvar).exp() => logvar
            logvar itself stretches the noise: the standard deviation is exp(logvar / 2).

        noise-not-stretched: sigma * eps => eps
            The noise is not multiplied by sigma, so logvar has no effect.

        noise-not-normal: torch.randn => torch.rand
            torch.rand draws uniform numbers between 0 and 1: the noise is standard normal, torch.randn.

        sampled-without-gradient: mu + sigma * eps => torch.normal(mu, sigma, generator=generator)
          + eps = torch.randn(mu.shape, generator=generator, device=mu.device) => pass
            No gradient comes through torch.normal(mu, sigma): sample eps alone, and compute z from it.

        distribution-sampled: mu + sigma * eps => torch.distributions.Normal(mu, sigma).sample()
          + eps = torch.randn(mu.shape, generator=generator, device=mu.device) => pass
            sample() cuts the gradient (and takes no generator): draw eps yourself and compute z from it.

        one-noise-for-the-batch: mu.shape => mu.shape[1:]
            All images get the same noise: draw eps of the shape of mu.

        one-noise-for-all-dimensions: mu.shape => (len(mu), 1)
            All latent dimensions of an image get the same noise: draw eps of the shape of mu.

        ignores-the-generator: generator=generator, =>
            The generator is not used, so the sample cannot be repeated: torch.randn(mu.shape, generator=generator).

        the-mean-returned: sigma * eps => 0 * logvar
            This returns the mean, not a sample: add sigma * eps.
        """,
    ),
    answer=reparameterize,
    minutes=7,
    difficulty=2,
    importance=3,
)


# ---- the bound ------------------------------------------------------------------------------------------------------


def elbo(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return -reconstruction_nats(logits, x) - kl_to_standard_normal(mu, logvar)  # (B,)


def _bound(f: Callable, logits: Tensor) -> Tensor:
    size = len(logits)
    return f(logits, _digits(size, 784), normal(size, 4, seed=2), normal(size, 4, seed=3))


ELBO = Exercise(
    name="elbo",
    reference=paper.elbo,
    probes=(
        Probe("mu = 0, logvar = 0 (no KL)", lambda f: f(normal(3, 784), _digits(3, 784), *torch.zeros(2, 3, 4))),
        Probe("a batch of 5", lambda f: _bound(f, normal(5, 784))),
        Probe("a batch of 1", lambda f: _bound(f, normal(1, 784, seed=4))),
        Probe("a batch of 3, logits of 40 and -40", lambda f: _bound(f, _certain(3, 784))),
    ),
    hints=(
        "Two terms: how well the sample explains the image, and what the code costs.",
        "reconstruction_nats and kl_to_standard_normal are there already; which sign has each in a *lower bound*?",
        skeleton(elbo, "-reconstruction_nats(logits, x)", "- kl_to_standard_normal(mu, logvar)"),
    ),
    mistakes=mistakes(
        elbo,
        """
        kl-added: - kl => + kl
            The KL is added: the bound is the log-likelihood minus the KL.

        loss-instead-of-bound: -reconstruction_nats(logits, x) - => reconstruction_nats(logits, x) +
            This is the negative ELBO, the loss: the bound itself has the opposite sign.

        kl-left-out: - kl_to_standard_normal(mu, logvar) =>
            Only the log-likelihood is there: subtract what the code costs, the KL.

        mean-over-pixels: reconstruction_nats(logits, x) => reconstruction_nats(logits, x) / x.shape[-1]
            The reconstruction term is a mean over pixels while the KL is a sum: the KL weighs 784 times too much.

        mean-over-latents: kl_to_standard_normal(mu, logvar) => kl_to_standard_normal(mu, logvar) / mu.shape[-1]
            The KL is a mean over the latent dimensions while the reconstruction term is a sum: sum both.

        log-of-sigmoid: -reconstruction_nats(logits, x) => _log_of_sigmoid(logits, x).sum(-1)
            log(sigmoid(.)) underflows for confident decoders, and the bound becomes infinite or NaN: take the
            log-likelihood from the logits, as reconstruction_nats does.

        averaged-over-the-batch: -reconstruction_nats(logits, x) => (-reconstruction_nats(logits, x)
          + kl_to_standard_normal(mu, logvar) => kl_to_standard_normal(mu, logvar)).mean()
            This is the mean over the batch: return one bound an image.
        """,
    ),
    answer=elbo,
    minutes=3,
    difficulty=1,
    importance=3,
)


# ---- PCA ------------------------------------------------------------------------------------------------------------


def pca_project(codes: Tensor, pca: PCA) -> Tensor:
    return (codes - pca.mean) @ pca.components  # (N, Z) @ (Z, n) -> (N, n)


def _fitted(n: int, dimensions: int) -> PCA:
    return paper.pca_fit(normal(40, dimensions, seed=5) * torch.arange(1, dimensions + 1) + 3, n)


def _projected(f: Callable, rows: int, n: int, dimensions: int) -> Tensor:
    return f(normal(rows, dimensions, seed=6) + 1, _fitted(n, dimensions))


PROJECTION = Exercise(
    name="pca_project",
    reference=paper.pca_project,
    differentiable=False,
    probes=(
        Probe("6 codes of 4 dimensions, 2 axes", lambda f: _projected(f, 6, 2, 4)),
        Probe("3 codes of 3 dimensions, 3 axes", lambda f: _projected(f, 3, 3, 3)),
        Probe("a single code of 4 dimensions, 2 axes", lambda f: _projected(f, 1, 2, 4)),
        Probe("the mean of the training codes, which lands on 0", lambda f: f(_fitted(2, 4).mean[None], _fitted(2, 4))),
    ),
    hints=(
        "Everything that was learned from the training codes is in `pca`: nothing is to be estimated from these codes.",
        "Subtract the mean of the training codes, then take the coordinates along each axis, a column of components.",
        skeleton(pca_project, "codes - pca.mean", "pca.components"),
    ),
    mistakes=mistakes(
        pca_project,
        """
        centred-on-its-own-mean: pca.mean => codes.mean(0)
            These codes are centered on their own mean: subtract pca.mean, or training and test codes share no axes.

        not-centred: (codes - pca.mean) => codes
            pca.mean is not subtracted.

        mean-subtracted-afterwards: (codes - pca.mean) @ pca.components => codes @ pca.components - pca.mean
            pca.mean is subtracted from the coordinates: it is a code, so subtract it before the axes are turned.

        components-transposed: pca.components => pca.components.T
            The components are transposed: each column of pca.components, not each row, is an axis.

        scaled-by-explained: pca.components => pca.components * pca.explained
            The coordinates are scaled by the explained variance: projecting only turns the axes, lengths stay.

        refitted: return (codes => pca = paper.pca_fit(codes, pca.components.shape[1]); return (codes
            PCA is fitted again on these codes: use the axes that were fitted on the training codes.
        """,
    ),
    answer=pca_project,
    minutes=4,
    difficulty=1,
    importance=2,
)


# ---- the importance-weighted bound ----------------------------------------------------------------------------------


def iwae_bound(log_weights: Tensor) -> Tensor:
    log_sum = torch.logsumexp(log_weights, dim=0)  # (K, B) -> (B,)
    return log_sum - math.log(len(log_weights))


IWAE = Exercise(
    name="iwae_bound",
    reference=paper.iwae_bound,
    probes=(
        Probe("K = 1, where it is the ELBO", lambda f: f(normal(1, 5))),
        Probe("K = 10, B = 5", lambda f: f(normal(10, 5))),
        Probe("K = 4, B = 4", lambda f: f(normal(4, 4, seed=3))),
        Probe("equal log-weights of -1000, K = 8, B = 2 (exp underflows)", lambda f: f(torch.full((8, 2), -1000.0))),
        Probe(
            "K = 6, log-weights around -80 of one image and around -700 of another",
            lambda f: f(normal(6, 2, seed=1) + torch.tensor([-80.0, -700.0])),
        ),
    ),
    hints=(
        "The average is taken over the weights, not over their logarithms; then comes one logarithm.",
        "exp(-1000) is 0 in float32: look for a function that computes log(sum(exp(.))) in one stable step.",
        skeleton(iwae_bound, "torch.logsumexp(log_weights, dim=0)", "math.log(len(log_weights))"),
    ),
    mistakes=mistakes(
        iwae_bound,
        """
        mean-of-logarithms: log_sum - math.log(len(log_weights)) => log_weights.mean(0)
            This averages the log-weights, which is the ELBO: average the weights, then take the logarithm.

        not-divided-by-k: - math.log(len(log_weights)) =>
            The sum is not divided by K: subtract log K.

        logarithm-divided-by-k: - math.log(len(log_weights)) => / len(log_weights)
            The logarithm is divided by K: it is the sum inside it that should be, so subtract log K.

        log-of-the-batch-size: len(log_weights) => log_weights.shape[1]
            The logarithm of the number of images is subtracted: K is the number of samples, log_weights.shape[0].

        exp-underflows: log_sum - math.log(len(log_weights)) => log_weights.exp().mean(0).log()
            exp of a log-weight of -1000 is 0 and its logarithm -inf: use torch.logsumexp.

        one-maximum-for-all-images: torch.logsumexp(log_weights, dim=0) => _sum_beside(log_weights.max(), log_weights)
            One maximum is subtracted from all images, and where an image is far below it exp underflows all the same:
            each image needs its own, as torch.logsumexp takes it.

        over-the-batch: dim=0 => dim=1
          + len(log_weights) => log_weights.shape[1]
            This runs over the batch: the samples k lie along the first axis.

        largest-weight: log_sum - math.log(len(log_weights)) => log_weights.amax(0)
            This is the largest log-weight: the bound averages all K weights.
        """,
    ),
    answer=iwae_bound,
    minutes=5,
    difficulty=1,
    importance=2,
)


def _sum_beside(largest: Tensor, log_weights: Tensor) -> Tensor:
    return largest + (log_weights - largest).exp().sum(0).log()


# ---- the weights themselves -----------------------------------------------------------------------------------------


def log_weights(decode: Callable, x: Tensor, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """log p(x, z) - log q(z|x) at z = mu + sigma * eps, eps (K, B, Z): K for each of B images, -> (K, B).

    The decoder gives logits (K, B, D), x is (B, D), mu and logvar are (B, Z).
    """
    z = mu + (0.5 * logvar).exp() * eps  # (K, B, Z)
    logits = decode(z)  # (K, B, D)
    cost = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    log_likelihood = -cost.sum(-1)  # (K, B)
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)  # (K, B)
    log_q = -0.5 * (eps.square() + logvar + math.log(2 * math.pi)).sum(-1)  # (K, B)
    return log_likelihood + log_prior - log_q


def _weights_of(f: Callable, K: int, B: int, Z: int, D: int, scale: float = 1.0) -> Tensor:
    """At random codes, for a linear decoder."""
    atoms = scale * normal(Z, D, seed=4)
    return f(lambda z: z @ atoms, _digits(B, D), normal(B, Z, seed=2), normal(B, Z, seed=3), normal(K, B, Z))


def _blind(z: Tensor) -> Tensor:
    """The logits of a decoder that says 1/2 to each of four pixels, whatever the code."""
    return torch.zeros(*z.shape[:-1], 4)


LOG_WEIGHTS = Exercise(
    name="log_weights",
    reference=paper.log_weights,
    probes=(
        Probe(
            "mu = 0, logvar = 0: q is the prior, K = 3, and a decoder of 4 pixels gives logits of 0",
            lambda f: f(_blind, torch.ones(1, 4), *torch.zeros(2, 1, 2), normal(3, 1, 2)),
        ),
        Probe(
            "mu = 1, logvar = 0, eps = 0, where log p(z) - log q(z|x) is -1/2, 4 pixels with logits of 0",
            lambda f: f(_blind, torch.ones(1, 4), torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1, 1, 1)),
        ),
        Probe(
            "mu = 0, logvar = log 4, eps = 1, where log p(z) - log q(z|x) is log 2 - 3/2, 4 pixels with logits of 0",
            lambda f: f(
                _blind, torch.ones(1, 4), torch.zeros(1, 1), torch.full((1, 1), math.log(4)), torch.ones(1, 1, 1)
            ),
        ),
        Probe("K = 5 samples, B = 4 images, Z = 3, D = 6 pixels", lambda f: _weights_of(f, 5, 4, 3, 6)),
        Probe("K = 1 sample, B = 2 images, Z = 4, D = 6 pixels", lambda f: _weights_of(f, 1, 2, 4, 6)),
        Probe("K = B = Z = D = 3", lambda f: _weights_of(f, 3, 3, 3, 3)),
        Probe("K = 3, B = 2, Z = 4, D = 6, logits of up to some 100", lambda f: _weights_of(f, 3, 2, 4, 6, scale=40)),
    ),
    hints=(
        "Three log-densities at the same codes z. Two are of Gaussians: which has the mean 0 and the variance 1?",
        "z = mu + sigma * eps is (K, B, Z). log N(z; m, s^2) = -1/2 ((z - m)^2 / s^2 + log s^2 + log 2 pi), summed over"
        " Z dimensions; for q, (z - mu)^2 / sigma^2 is eps^2. log p(x|z) is minus the cross-entropy, summed over"
        " pixels; x (B, D) is the same for all K samples.",
        skeleton(
            log_weights,
            "(0.5 * logvar).exp() * eps",
            "-cost.sum(-1)",
            "z.square()",
            "eps.square() + logvar",
            "log_likelihood + log_prior - log_q",
        ),
    ),
    mistakes=mistakes(
        log_weights,
        """
        sigma-is-exp-logvar: (0.5 * logvar).exp() => logvar.exp()
            exp(logvar) is the variance: the standard deviation that stretches the noise is exp(logvar / 2).

        mean-decoded: decode(z) => decode(mu.expand_as(z))
            The decoder is given the mean, so that all samples explain the image equally well: give it z.

        mean-over-pixels: cost.sum(-1) => cost.mean(-1)
            log p(x|z) is a mean over the pixels while the other two are sums: sum over the pixels.

        cross-entropy-without-minus: -cost => cost
            The cross-entropy is -log p(x|z): the weight needs log p(x|z).

        log-of-sigmoid: -cost.sum(-1) => _log_of_sigmoid(logits, x).sum(-1)
            log(sigmoid(.)) underflows for confident decoders: take log p(x|z) from the logits.

        prior-left-out: + log_prior =>
            The prior log p(z) is missing: without it every code counts as equally likely.

        q-left-out: - log_q =>
            This is log p(x, z): subtract log q(z|x), how likely it was to draw this z.

        q-added: - log_q => + log_q
            log q(z|x) is added: a code that is drawn often must weigh less, so subtract it.

        prior-at-the-noise: z.square() => eps.square()
            Both Gaussians are evaluated at the same numbers: log p(z) has z^2, and log q has ((z - mu) / sigma)^2,
            which is eps^2.

        not-divided-by-sigma: eps.square() => (z - mu).square()
            In log q, z - mu is not divided by sigma: ((z - mu) / sigma)^2 is wanted, which is eps^2.

        q-without-its-width: + logvar + => +
            q has no logvar: a narrow Gaussian is high, so each dimension adds -1/2 logvar to log q.

        log-sigma-instead-of-logvar: + logvar + => + 0.5 * logvar +
            Half of logvar is missing: log q has -1/2 log sigma^2 for each dimension, and logvar is log sigma^2.

        two-pi-in-one-only: (eps.square() + logvar + math.log(2 * math.pi)) => (eps.square() + logvar)
            log 2 pi stands in one of the two Gaussians only: it belongs to both, where it cancels.

        closed-form-kl: + log_prior - log_q => - kl_to_standard_normal(mu, logvar)
            The closed-form KL is a mean over all z: a weight needs log p(z) - log q(z|x) at this very z.

        averaged-over-samples: log_likelihood + log_prior - log_q => (log_likelihood + log_prior - log_q).mean(0)
            The K samples are averaged, which makes it the ELBO: return one number for each sample and image, (K, B).
        """,
    ),
    answer=log_weights,
    minutes=15,
    difficulty=3,
    importance=2,
    level="stretch",
)

EXERCISES = (RECONSTRUCTION, MASKING, KL, REPARAMETERIZATION, ELBO, PROJECTION, LOG_WEIGHTS, IWAE)
