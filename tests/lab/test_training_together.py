"""Models trained together end as `fit` would leave each of them, and what cannot be trained together is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labkit.lab.training import fit
from labkit.lab.training_together import fit_together
from labkit.papers.autoencoders import VariationalAutoencoder, elbo

pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = (0.0, 0.3, 2.0)  # of a penalty, one a model


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(count: int = 3) -> list[nn.Module]:
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6)))
    return models


def images(seed: int = 0, size: int = 20) -> Tensor:
    return torch.rand(size, 6, generator=seeded(seed))


def denoising(model: nn.Module, x: Tensor, noise: Tensor, weight: Tensor | float) -> Tensor:
    """An error on noisy inputs, and a penalty that differs between the models."""
    return (model(x + 0.1 * noise) - x).square().sum(1).mean() + weight * model[0].weight.square().sum()


def noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator)


def one_after_the_other(models: list[nn.Module], data: list[Tensor], **options: Any) -> list[dict[str, list[float]]]:
    histories = []
    for k, (model, own) in enumerate(zip(models, data, strict=True)):
        loss = lambda model, x, g, w=WEIGHTS[k]: denoising(model, x, noise(x, g), w)  # noqa: E731
        optimizer = options.get("optimizer", lambda parameters: torch.optim.Adam(parameters, lr=0.01))
        histories.append(
            fit(
                model,
                loss,
                own,
                epochs=4,
                batch_size=8,
                generator=seeded(10 + k),
                optimizer=optimizer(list(model.parameters())),
            )
        )
    return histories


def together(models: list[nn.Module], *data: Any, **options: Any) -> list[dict[str, list[float]]]:
    count = len(models)
    options = {"each": [WEIGHTS[:count]], "draw": noise, "lr": 0.01} | options
    generators = [seeded(10 + k) for k in range(count)]
    return fit_together(models, denoising, *data, epochs=4, batch_size=8, generators=generators, **options)


def assert_same(models: list[nn.Module], others: list[nn.Module], histories: Any, expected: Any) -> None:
    for model, other, history, true in zip(models, others, histories, expected, strict=True):
        assert history["loss"] == pytest.approx(true["loss"], rel=1e-5)
        for weight, right in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(weight, right, rtol=1e-4, atol=1e-6)
        assert model.training == other.training is False
        assert all(weight.is_leaf and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_model_ends_as_if_it_had_been_trained_alone_with_its_own_order_noise_and_penalty(count: int) -> None:
    models, alone = networks(count), networks(count)
    histories = together(models, images())
    assert_same(models, alone, histories, one_after_the_other(alone, [images()] * count))
    assert len({history["loss"][-1] for history in histories}) == count


def test_models_may_learn_from_data_of_their_own() -> None:
    models, alone = networks(), networks()
    own = [images(seed) for seed in range(3)]
    assert_same(models, alone, together(models, own), one_after_the_other(alone, own))


def test_another_optimizer_sees_the_stacked_weights() -> None:
    def momentum(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)

    models, alone = networks(), networks()
    expected = one_after_the_other(alone, [images()] * 3, optimizer=momentum)
    assert_same(models, alone, together(models, images(), optimizer=momentum), expected)


def test_the_loss_may_use_any_method_of_the_model_and_vaes_see_the_noise_that_fit_would_draw() -> None:
    def sampled(model: VariationalAutoencoder, x: Tensor, noise: Tensor) -> Tensor:
        mu, logvar = model.encode(x)
        return -elbo(model.decode(mu + torch.exp(0.5 * logvar) * noise), x, mu, logvar).mean()

    def draw(x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(len(x), 2, generator=generator)

    def vaes() -> list[VariationalAutoencoder]:
        torch.manual_seed(0)
        return [VariationalAutoencoder(6, (5,), 2) for _ in range(3)]

    models, alone = vaes(), vaes()
    x = images().round()
    generators = [seeded(k) for k in range(3)]
    histories = fit_together(
        models, sampled, x, epochs=4, batch_size=8, generators=generators, draw=draw, optimizer=torch.optim.Adam
    )
    expected = [
        fit(model, lambda model, x, g: sampled(model, x, draw(x, g)), x, epochs=4, batch_size=8, generator=seeded(k))
        for k, model in enumerate(alone)
    ]
    assert_same(models, alone, histories, expected)


def test_training_together_draws_nothing_from_the_global_generator() -> None:
    models, state = networks(), torch.get_rng_state()
    together(models, images())
    assert torch.equal(torch.get_rng_state(), state)


def with_buffers() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)) for _ in range(3)]


@pytest.mark.parametrize(
    ("models", "data", "options", "message"),
    [
        ([], [images()], {}, "models of one architecture"),
        ([*networks(2), nn.Linear(6, 6)], [images()], {}, "models of one architecture"),
        (with_buffers(), [images()], {}, "without buffers"),
        (networks(), [[images()] * 2], {}, "each of 3 models needs"),
        (networks(), [images()], {"each": [(1.0, 2.0)]}, "each of 3 models needs"),
        (networks(), [[images(), images(), images(size=19)]], {}, r"one common, non-zero length, got \[19, 20\]"),
        (networks(), [images(size=0)], {}, r"got \[0\]"),
        (networks(), [], {}, r"got \[\]"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(models: Any, data: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        together(models, *data, **options)


@pytest.mark.parametrize("counts", [(0, 8), (4, 0)])
def test_so_are_counts_below_one(counts: tuple[int, int]) -> None:
    epochs, batch_size = counts
    with pytest.raises(ValueError, match="at least 1"):
        fit_together(networks(1), denoising, images(), epochs=epochs, batch_size=batch_size, generators=[seeded(0)])


def branching(model: nn.Module, x: Tensor) -> Tensor:
    error = (model(x) - x).square().mean()
    return error if error > 0 else -error


def drawing(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x + torch.randn(x.shape)) - x).square().mean()


def reading(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x) - x).square().mean() * x.max().item()


@pytest.mark.parametrize("loss", [branching, drawing, reading])
def test_a_loss_that_cannot_be_traced_is_refused_and_leaves_the_models_alone(loss: Any) -> None:
    models = networks()
    with pytest.raises(ValueError, match="cannot be traced for all models at once: train them with `fit`"):
        fit_together(models, loss, images(), epochs=1, batch_size=8, generators=[seeded(k) for k in range(3)])
    for model, untouched in zip(models, networks(), strict=True):
        assert torch.equal(model[0].weight, untouched[0].weight)


def test_a_mistake_in_the_loss_is_shown_as_it_is() -> None:
    def wrong(model: nn.Module, x: Tensor) -> Tensor:
        return model(x[:, :5]).sum()

    with pytest.raises(RuntimeError, match=r"shape|size"):
        fit_together(networks(), wrong, images(), epochs=1, batch_size=8, generators=[seeded(k) for k in range(3)])


def test_a_loss_that_is_not_finite_names_the_model() -> None:
    with pytest.raises(ValueError, match="the loss of model 1 is nan in epoch 1"):
        together(networks(), images(), each=[(0.0, math.nan, 1.0)])
