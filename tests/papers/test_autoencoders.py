"""The method against values worked out by hand, against torch.distributions and scikit-learn, and against numerical
integration. Which fact of the paper a test checks stands in its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import sklearn.decomposition
import torch
from tensors import normal, seeded
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from labkit.lab.training import fit
from labkit.papers.autoencoders import (
    CORRUPTIONS,
    Autoencoder,
    VariationalAutoencoder,
    corrupt,
    decoded_image,
    elbo,
    iwae_bound,
    kl_to_standard_normal,
    log_importance_weights,
    log_weights,
    mask_pixels,
    mlp,
    pca_fit,
    pca_project,
    reconstruction_nats,
    reparameterize,
    traverse,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def binary(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.rand(shape, generator=seeded(seed)) < 0.4).to(dtype)


def build(kind: Callable, *sizes: object, seed: int = 0) -> Autoencoder | VariationalAutoencoder:
    """A model in float64 whose weights come from a generator of its own, so that no global seed is needed."""
    model, generator = kind(*sizes).double(), seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 1 / math.sqrt(weight.shape[-1]), generator=generator)
    return model


def standard_error(draws: Tensor) -> Tensor:
    return draws.std(0) / math.sqrt(len(draws))


# ---- the KL term ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latent", [1, 2, 4, 50])
def test_the_kl_of_the_prior_to_itself_is_zero_in_any_number_of_dimensions(latent: int) -> None:
    assert torch.equal(kl_to_standard_normal(torch.zeros(3, latent), torch.zeros(3, latent)), torch.zeros(3))


@pytest.mark.parametrize(
    ("mu", "logvar", "nats"),
    [
        ([1.0] * 4, [0.0] * 4, 2.0),
        ([0.0], [math.log(4)], 0.8068528194),
        ([0.5, -1.0], [0.2, -0.3], 0.656110489),
    ],
)
def test_the_kl_has_the_values_worked_out_by_hand(mu: list, logvar: list, nats: float) -> None:
    kl = kl_to_standard_normal(torch.tensor([mu], dtype=torch.float64), torch.tensor([logvar], dtype=torch.float64))
    assert kl.tolist() == pytest.approx([nats], abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kl_is_that_of_torch_distributions(dtype: torch.dtype) -> None:
    mu, logvar = normal(100, 4, seed=1, dtype=dtype), normal(100, 4, seed=2, dtype=dtype)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mu, logvar), expected, rtol=1e-6, atol=1e-6)


def test_the_clamp_keeps_the_kl_finite_on_unscaled_pixels() -> None:
    x = torch.rand(16, 784, generator=seeded()) * 255_000
    with torch.random.fork_rng():
        model = VariationalAutoencoder()
    _, unclamped = model.encoder(x).chunk(2, dim=-1)
    assert unclamped.exp().isinf().any(), "the pixels are too small to show what the clamp is for"
    _, mu, logvar = model(x, seeded())
    assert logvar.abs().max() == 10
    assert kl_to_standard_normal(mu, logvar).isfinite().all()


# ---- the reconstruction term and the bound --------------------------------------------------------------------------


def test_a_decoder_that_knows_nothing_needs_log_2_nats_a_pixel() -> None:
    nats = reconstruction_nats(torch.zeros(3, 784), binary(3, 784, dtype=torch.float32))
    torch.testing.assert_close(nats, torch.full((3,), 784 * math.log(2)))


def test_the_reconstruction_term_is_minus_the_log_probability_of_independent_coins() -> None:
    logits, x = 3 * normal(5, 9), binary(5, 9)
    torch.testing.assert_close(reconstruction_nats(logits, x), -Bernoulli(logits=logits).log_prob(x).sum(-1))


def test_a_confident_decoder_that_errs_pays_a_finite_price() -> None:
    nats = reconstruction_nats(torch.tensor([[-200.0, 200.0, 200.0]]), torch.tensor([[1.0, 0.0, 1.0]]))
    assert nats.tolist() == [400.0]


def test_several_samples_of_the_same_images_are_each_compared_with_them() -> None:
    logits, x = normal(7, 5, 9), binary(5, 9)
    nats = reconstruction_nats(logits, x)  # (K, B)
    assert nats.shape == (7, 5)
    torch.testing.assert_close(nats, torch.stack([reconstruction_nats(sample, x) for sample in logits]))


def test_the_elbo_is_the_log_likelihood_minus_the_kl_by_torch_distributions() -> None:
    logits, x, mu, logvar = normal(5, 9), binary(5, 9), normal(5, 4, seed=1), normal(5, 4, seed=2)
    log_likelihood = Bernoulli(logits=logits).log_prob(x).sum(-1)
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(elbo(logits, x, mu, logvar), log_likelihood - kl)


# ---- the reparameterisation -----------------------------------------------------------------------------------------


def test_samples_have_the_mean_and_the_spread_of_q() -> None:
    mu, logvar = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([0.0, math.log(9), -4.0])
    z = reparameterize(mu.expand(100_000, 3), logvar.expand(100_000, 3), seeded())
    assert ((z.mean(0) - mu).abs() < 3 * standard_error(z)).all()
    torch.testing.assert_close(z.var(0), logvar.exp(), rtol=3 * math.sqrt(2 / 100_000), atol=0)


@pytest.mark.parametrize("mu", [-1.5, 0.0, 1.0])
def test_the_reparameterised_gradient_of_the_mean_of_z_squared_is_2_mu(mu: float) -> None:
    mean = torch.full((100_000, 1), mu, dtype=torch.float64, requires_grad=True)
    reparameterize(mean, torch.zeros_like(mean), seeded()).square().sum().backward()
    assert abs(mean.grad.mean() - 2 * mu) < 3 * standard_error(mean.grad)


def test_the_score_function_gradient_is_the_same_on_average_with_a_larger_variance() -> None:
    mu = torch.full((100_000, 1), 1.0, dtype=torch.float64, requires_grad=True)
    z = reparameterize(mu, torch.zeros_like(mu), seeded())
    (pathwise,) = torch.autograd.grad(z.square().sum(), mu)
    z = z.detach()
    (score,) = torch.autograd.grad(Normal(mu, 1.0).log_prob(z).sum(), mu)
    score = z.square() * score
    assert abs(score.mean() - 2) < 3 * standard_error(score)
    assert score.var() > 5 * pathwise.var()  # 30 against 4 in theory


def test_the_gradient_with_respect_to_logvar_is_the_variance() -> None:
    logvar = torch.full((100_000, 1), 0.5, dtype=torch.float64, requires_grad=True)
    reparameterize(torch.zeros_like(logvar), logvar, seeded()).square().sum().backward()
    assert abs(logvar.grad.mean() - math.exp(0.5)) < 3 * standard_error(logvar.grad)


def test_a_sample_depends_on_the_generator_alone() -> None:
    mu = torch.zeros(5, 4)
    first, again, other = (reparameterize(mu, mu, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (kl_to_standard_normal, (normal(3, 2), normal(3, 2, seed=1))),
        (lambda logits: reconstruction_nats(logits, binary(3, 4)), (normal(2, 3, 4),)),
        (lambda logits, mu, logvar: elbo(logits, binary(3, 4), mu, logvar), (normal(3, 4), normal(3, 2), normal(3, 2))),
        (iwae_bound, (normal(5, 3),)),
        (lambda mu, logvar: reparameterize(mu, logvar, seeded()), (normal(3, 2), normal(3, 2, seed=1))),
    ],
    ids=["kl", "reconstruction", "elbo", "iwae", "reparameterize"],
)
def test_the_gradient_is_that_of_finite_differences(function: Callable, inputs: tuple[Tensor, ...]) -> None:
    assert torch.autograd.gradcheck(function, [tensor.clone().requires_grad_() for tensor in inputs])


# ---- importance weights ---------------------------------------------------------------------------------------------


def small_vae() -> VariationalAutoencoder:
    """Six pixels and one latent dimension: log p(x) can be integrated numerically."""
    return build(VariationalAutoencoder, 6, (8,), 1, seed=5)


def log_evidence(model: VariationalAutoencoder, x: Tensor) -> Tensor:
    """log p(x) = log of the integral of p(x|z) p(z) over z, by the trapezoidal rule, (B, D) -> (B,)."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)[:, None, None]  # (G, 1, 1)
    log_joint = -reconstruction_nats(model.decode(z).expand(-1, *x.shape), x) + Normal(0.0, 1.0).log_prob(z)[..., 0]
    return torch.logsumexp(log_joint, dim=0) + math.log(20 / 20_000)


def test_a_log_importance_weight_is_log_p_of_x_and_z_minus_log_q() -> None:
    model, x = build(VariationalAutoencoder, 6, (8,), 3), binary(4, 6)
    mu, logvar = model.encode(x)
    z = reparameterize(mu.expand(2, 4, 3), logvar.expand(2, 4, 3), seeded(5))  # the draws that the weights are made of
    expected = (
        Bernoulli(logits=model.decode(z)).log_prob(x).sum(-1)
        + Normal(0.0, 1.0).log_prob(z).sum(-1)
        - Normal(mu, (logvar / 2).exp()).log_prob(z).sum(-1)
    )
    torch.testing.assert_close(log_importance_weights(model, x, 2, seeded(5)), expected)  # (K, B)


def test_log_weights_of_given_noise_are_those_of_torch_distributions() -> None:
    mu, logvar, eps, x = normal(4, 3, seed=1), normal(4, 3, seed=2), normal(5, 4, 3), binary(4, 6)
    q = Independent(Normal(mu, (logvar / 2).exp()), 1)
    z = mu + q.base_dist.scale * eps
    expected = Independent(Bernoulli(logits=z @ normal(3, 6)), 1).log_prob(x) - q.log_prob(z)
    expected += Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(z)
    torch.testing.assert_close(log_weights(lambda z: z @ normal(3, 6), x, mu, logvar, eps), expected)


def test_where_q_is_the_posterior_every_draw_has_the_weight_p_of_x() -> None:
    """A decoder that ignores its code: the posterior is the prior, and log p(x) is -D log 2."""
    weights = log_weights(lambda z: torch.zeros(len(z), 6), binary(4, 6), *torch.zeros(2, 4, 3), normal(5, 4, 3))
    torch.testing.assert_close(weights, torch.full((5, 4), -6 * math.log(2), dtype=weights.dtype))


@pytest.mark.parametrize(
    "shapes",
    [[(4, 6), (4, 3), (4, 3), (4, 3)], [(4, 6), (4, 3), (4, 2), (5, 4, 3)], [(1, 6), (4, 3), (4, 3), (5, 4, 3)]],
    ids=["noise without samples", "another logvar", "another number of images"],
)
def test_log_weights_need_shapes_that_fit(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"eps \(K, B, Z\) are needed, got \(\d, 6\), \(4, 3\), \(4, [23]\), "):
        log_weights(lambda z: z, *(torch.zeros(shape) for shape in shapes))


@torch.no_grad()
def test_the_importance_weights_are_p_of_x_on_average() -> None:
    model, x = small_vae(), binary(4, 6)
    assert model.encode(x)[1].exp().min() > 0.5, "for a narrower q the variance of the weights may be infinite"
    ratios = (log_importance_weights(model, x, 200_000, seeded()) - log_evidence(model, x)).exp()
    assert ((ratios.mean(0) - 1).abs() < 3 * standard_error(ratios)).all()


@torch.no_grad()
def test_the_bounds_rise_from_the_elbo_over_10_to_100_samples_towards_the_log_likelihood() -> None:
    model, x = small_vae(), binary(1, 6)
    repeats = 2000
    mu, logvar = (half.expand(repeats, 1) for half in model.encode(x))
    bounds = [elbo(model.decode(reparameterize(mu, logvar, seeded(1))), x, mu, logvar)]
    for samples in (10, 100):
        weights = log_importance_weights(model, x.expand(repeats, 6), samples, seeded(samples))
        bounds.append(iwae_bound(weights))
    bounds.append(log_evidence(model, x).expand(repeats))
    for lower, higher in pairwise(bounds):  # independent draws: the errors add up in squares
        error = math.hypot(standard_error(lower), standard_error(higher))
        assert higher.mean() - lower.mean() > 3 * error


@torch.no_grad()
def test_estimators_a_and_b_have_the_same_mean() -> None:
    model, x = small_vae(), binary(1, 6)
    a = log_importance_weights(model, x, 100_000, seeded(1))[:, 0]
    mu, logvar = (half.expand(100_000, 1) for half in model.encode(x))
    b = elbo(model.decode(reparameterize(mu, logvar, seeded(2))), x, mu, logvar)
    assert abs(a.mean() - b.mean()) < 3 * math.hypot(standard_error(a), standard_error(b))


@pytest.mark.parametrize("samples", [0, -1])
def test_importance_weights_need_at_least_one_sample(samples: int) -> None:
    with pytest.raises(ValueError, match=f"at least one sample is needed, got {samples}"):
        log_importance_weights(small_vae(), binary(1, 6), samples)


def test_with_one_sample_the_importance_weighted_bound_is_the_weight_itself() -> None:
    assert torch.equal(iwae_bound(normal(1, 5)), normal(1, 5)[0])


def test_the_importance_weighted_bound_averages_the_weights_not_their_logarithms() -> None:
    weights = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    torch.testing.assert_close(iwae_bound(weights.log()), torch.tensor([2.0, 4.0]).log())


def test_the_importance_weighted_bound_is_stable_where_exp_underflows() -> None:
    assert iwae_bound(torch.full((8, 2), -1000.0)).tolist() == pytest.approx([-1000.0] * 2)
    assert iwae_bound(torch.tensor([[-1000.0], [-5000.0]])).item() == pytest.approx(-1000 - math.log(2))


# ---- corruption -----------------------------------------------------------------------------------------------------


def test_masking_sets_this_share_of_the_pixels_to_zero_and_keeps_the_others() -> None:
    x = 1 + torch.rand(100, 784, generator=seeded(1))
    masked = mask_pixels(x, 0.3, seeded())
    gone = masked == 0
    assert abs(gone.double().mean() - 0.3) < 3 * math.sqrt(0.3 * 0.7 / x.numel())
    assert torch.equal(masked[~gone], x[~gone])


def test_pixels_are_masked_independently_within_an_image_and_between_images() -> None:
    gone = (mask_pixels(torch.ones(2, 100_000), 0.5, seeded()) == 0).double()
    for one, other in [(gone[0], gone[1]), (gone[0, :-1], gone[0, 1:])]:
        assert abs((one == other).double().mean() - 0.5) < 3 * math.sqrt(0.25 / len(one))


@pytest.mark.parametrize(("probability", "kept"), [(0, 1.0), (1, 0.0)])
def test_nothing_or_everything_is_masked_at_the_ends(probability: float, kept: float) -> None:
    assert torch.equal(mask_pixels(torch.ones(50, 784), probability, seeded()), torch.full((50, 784), kept))


def test_masking_is_the_corruption_that_is_meant_by_default() -> None:
    x = torch.ones(5, 50)
    assert torch.equal(corrupt(x, 0.3, generator=seeded()), mask_pixels(x, 0.3, seeded()))


def test_gaussian_noise_has_this_standard_deviation_and_is_not_clipped() -> None:
    noise = corrupt(torch.ones(100, 784), 0.5, "gaussian", seeded()).double() - 1
    assert abs(noise.mean()) < 3 * 0.5 / math.sqrt(noise.numel())
    assert noise.std().item() == pytest.approx(0.5, rel=3 / math.sqrt(2 * noise.numel()))
    assert noise.max() > 0 > -1 > noise.min()


def test_salt_and_pepper_replaces_this_share_of_the_pixels_by_0_or_1_equally_often() -> None:
    x = torch.full((100, 784), 0.25)
    noisy = corrupt(x, 0.4, "salt-and-pepper", seeded())
    assert set(noisy.unique().tolist()) == {0.0, 0.25, 1.0}
    for value in (0.0, 1.0):
        assert abs((noisy == value).double().mean() - 0.2) < 3 * math.sqrt(0.2 * 0.8 / x.numel())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_leaves_its_input_alone_and_depends_on_the_generator_alone(kind: str) -> None:
    x = torch.rand(5, 50, generator=seeded(1), dtype=torch.float64)
    before = x.clone()
    first, again, other = (corrupt(x, 0.5, kind, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(x, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize(
    ("kind", "amount", "said"),
    [
        ("masking", -0.1, r"the masking probability must lie in \[0, 1\], got -0.1"),
        ("masking", 1.1, r"the masking probability must lie in \[0, 1\], got 1.1"),
        ("masking", math.nan, r"the masking probability must lie in \[0, 1\], got nan"),
        ("salt-and-pepper", -0.1, r"the salt-and-pepper probability must lie in \[0, 1\], got -0.1"),
        ("salt-and-pepper", 1.1, r"the salt-and-pepper probability must lie in \[0, 1\], got 1.1"),
        ("gaussian", -0.1, "the standard deviation of the noise must not be negative, got -0.1"),
        ("blur", 0.1, "unknown corruption 'blur': choose one of masking, gaussian, salt-and-pepper"),
    ],
)
def test_what_is_no_corruption_is_refused(kind: str, amount: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        corrupt(torch.ones(2, 3), amount, kind)


# ---- networks -------------------------------------------------------------------------------------------------------


def test_layers_alternate_with_activations_and_end_without_one() -> None:
    layers = mlp([5, 4, 3], torch.nn.Tanh)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Tanh", "Linear"]
    assert [(layer.in_features, layer.out_features) for layer in layers[::2]] == [(5, 4), (4, 3)]


def test_shapes_of_the_autoencoder() -> None:
    model, x = build(Autoencoder, 9, (6, 5), 2), binary(7, 9)
    assert model.encode(x).shape == (7, 2)
    assert model.decode(normal(3, 7, 2)).shape == (3, 7, 9)
    assert torch.equal(model(x), model.decode(model.encode(x)))


def test_shapes_of_the_variational_autoencoder() -> None:
    model, x = build(VariationalAutoencoder, 9, (6, 5), 2), binary(7, 9)
    logits, mu, logvar = model(x, seeded(4))
    assert (logits.shape, mu.shape, logvar.shape) == ((7, 9), (7, 2), (7, 2))
    assert torch.equal(logits, model.decode(reparameterize(mu, logvar, seeded(4))))
    assert log_importance_weights(model, x, 5, seeded()).shape == (5, 7)


def test_the_two_autoencoders_of_the_lesson_differ_in_the_encoders_last_layer_alone() -> None:
    shapes = [[weight.shape for weight in kind().parameters()] for kind in (Autoencoder, VariationalAutoencoder)]
    differing = [pair for pair in zip(*shapes, strict=True) if pair[0] != pair[1]]
    assert differing == [((4, 256), (8, 256)), ((4,), (8,))]


# ---- what training leads to -----------------------------------------------------------------------------------------


def test_a_linear_autoencoder_with_squared_error_spans_the_pca_subspace() -> None:
    spread = torch.tensor([4.0, 3.0, 1.5, 1.0, 0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    x = normal(200, 8) * spread @ torch.linalg.qr(normal(8, 8, seed=1)).Q + 5
    axes = pca_fit(x, 2).components
    model = build(Autoencoder, 8, (), 2)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1000, line_search_fn="strong_wolfe")

    def distance() -> float:
        columns = torch.linalg.qr(model.decoder[0].weight.detach()).Q
        return torch.linalg.matrix_norm(columns @ columns.T - axes @ axes.T, ord=2).item()

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = (model(x) - x).square().sum(-1).mean()
        error.backward()
        return error

    assert distance() > 0.5
    optimizer.step(loss)
    assert distance() < 1e-2


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_denoising_autoencoder_without_noise_is_the_autoencoder(kind: str) -> None:
    x = binary(64, 20)

    def trained(amount: float) -> tuple[list[float], Tensor]:
        model, noise = build(Autoencoder, 20, (8,), 2), seeded(9)

        def loss(model: Autoencoder, x: Tensor, _shuffle: torch.Generator) -> Tensor:
            return reconstruction_nats(model(corrupt(x, amount, kind, noise)), x).mean()

        history = fit(model, loss, x, epochs=5, batch_size=10, generator=seeded(1))
        return history["loss"], torch.nn.utils.parameters_to_vector(model.parameters())

    plain = build(Autoencoder, 20, (8,), 2)
    history = fit(
        plain,
        lambda model, x, _: reconstruction_nats(model(x), x).mean(),
        x,
        epochs=5,
        batch_size=10,
        generator=seeded(1),
    )
    losses, weights = trained(0.0)
    assert losses == history["loss"]
    assert torch.equal(weights, torch.nn.utils.parameters_to_vector(plain.parameters()))
    assert trained(0.2)[0] != losses


def test_a_mean_over_pixels_beside_a_sum_over_latents_makes_the_posterior_collapse() -> None:
    prototypes = binary(4, 64, seed=2)  # four kinds of image, 5 % of their pixels flipped
    x = (prototypes.repeat(64, 1) != (torch.rand(256, 64, generator=seeded(3)) < 0.05)).double()

    def trained(pixels: int) -> tuple[float, float]:
        """KL in nats, and how much the reconstructions differ, when the reconstruction term is divided by `pixels`."""
        model = build(VariationalAutoencoder, 64, (32,), 2)

        def loss(model: VariationalAutoencoder, x: Tensor, generator: torch.Generator) -> Tensor:
            logits, mu, logvar = model(x, generator)
            return (reconstruction_nats(logits, x) / pixels + kl_to_standard_normal(mu, logvar)).mean()

        fit(model, loss, x, epochs=40, batch_size=64, lr=1e-2, generator=seeded(4))
        with torch.no_grad():
            mu, logvar = model.encode(x)
            variety = torch.sigmoid(model.decode(mu)).std(0).mean().item()
            return kl_to_standard_normal(mu, logvar).mean().item(), variety

    kl, variety = trained(pixels=1)
    assert kl > math.log(4)  # at least what tells four kinds of image apart
    assert variety > 0.2
    kl, variety = trained(pixels=64)
    assert kl < 0.01
    assert variety < 0.05


# ---- PCA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 4])
def test_pca_is_that_of_scikit_learn_up_to_the_sign_of_each_component(n: int) -> None:
    train, test = normal(50, 4) * torch.tensor([3.0, 1.0, 2.0, 0.5]) + 7, normal(20, 4, seed=1)
    ours, theirs = pca_fit(train, n), sklearn.decomposition.PCA(n).fit(train.numpy())
    components = torch.from_numpy(theirs.components_).T
    signs = (ours.components * components).sum(0).sign()
    torch.testing.assert_close(ours.components * signs, components)
    torch.testing.assert_close(ours.explained, torch.from_numpy(theirs.explained_variance_ratio_))
    # The test codes are put on the axes and around the mean of the training codes.
    torch.testing.assert_close(pca_project(test, ours) * signs, torch.from_numpy(theirs.transform(test.numpy())))


def test_all_components_together_explain_everything_and_keep_all_distances() -> None:
    codes = normal(30, 4) * torch.tensor([3.0, 1.0, 2.0, 0.5]) - 2
    pca = pca_fit(codes, 4)
    assert pca.explained.sum().item() == pytest.approx(1)
    torch.testing.assert_close(torch.pdist(pca_project(codes, pca)), torch.pdist(codes))


@pytest.mark.parametrize(
    ("codes", "n"),
    [(normal(5, 4), 0), (normal(5, 4), 5), (normal(1, 4), 1), (normal(2, 4), 3)],
    ids=["no axis", "more axes than dimensions", "a single code", "more axes than codes"],
)
def test_axes_that_the_codes_cannot_give_are_refused(codes: Tensor, n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} components cannot be fitted to {len(codes)} codes of 4 dimensions"):
        pca_fit(codes, n)


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_equal_codes_are_refused_also_where_their_mean_is_rounded(count: int) -> None:
    with pytest.raises(ValueError, match="all codes are equal: they have no principal axes"):
        pca_fit(torch.full((count, 3), 1.7))


# ---- looking at codes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Autoencoder, VariationalAutoencoder])
def test_a_traversal_changes_one_dimension_of_the_code_and_leaves_the_code_itself_alone(kind: Callable) -> None:
    model, z, values = build(kind, 9, (6,), 3), normal(3), torch.tensor([-2.0, 0.0, 2.0, 5.0], dtype=torch.float64)
    before = z.clone()
    pixels = traverse(model, z, 1, values)  # (V, D)
    assert torch.equal(z, before)
    for row, value in zip(pixels, values, strict=True):
        code = torch.stack([z[0], value, z[2]])
        torch.testing.assert_close(row, torch.sigmoid(model.decode(code)))


@pytest.mark.parametrize("kind", [Autoencoder, VariationalAutoencoder])
def test_a_decoded_image_is_square_and_holds_the_probability_of_ink(kind: Callable) -> None:
    model = build(kind, 9, (6,), 3)
    image = decoded_image(model, [0.5, -1, 2])
    assert image.shape == (3, 3)
    assert not image.requires_grad
    torch.testing.assert_close(image.flatten(), torch.sigmoid(model.decode(torch.tensor([0.5, -1, 2]).double())))
