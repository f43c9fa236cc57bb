"""KegNet's losses against their published forms, its networks to the parameter, and a teacher that is never touched."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from networks import state
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers import kegnet, tucker
from labkit.papers.kegnet import (
    LENET5_STUDENTS,
    MLP,
    RESNET14_STUDENTS,
    Decoder,
    DenseGenerator,
    ImageGenerator,
    LeNet5,
    ResNet14,
    classifier_loss,
    compress,
    decoder_loss,
    distillation_loss,
    diversity_loss,
    draw_data,
    draw_inputs,
    kegnet_step,
    mlp_student,
    standardize_images,
    train_generator,
)
from labkit.papers.relational_distillation import kd_loss

pytestmark = pytest.mark.usefixtures("one_thread")


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def made(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """With weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


# ---- losses ---------------------------------------------------------------------------------------------------------


def published_diversity_loss(z: Tensor, x: Tensor) -> Tensor:
    """All differences written out: (B, B, latent) and (B, B, P)."""
    of_z = (z[:, None] - z[None]).square().mean(2)
    of_x = (x.flatten(1)[:, None] - x.flatten(1)[None]).abs().mean(2)
    return torch.exp(-(of_z * of_x).mean())


def test_the_classifier_loss_has_the_value_of_the_reference() -> None:
    loss = classifier_loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert loss.item() == pytest.approx(0.239545, abs=1e-6)


def test_for_one_hot_labels_the_classifier_loss_is_cross_entropy_and_the_published_divergence() -> None:
    logits, labels = normal(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    y = F.one_hot(labels, 4).double()
    torch.testing.assert_close(classifier_loss(logits, y), F.cross_entropy(logits, labels))
    torch.testing.assert_close(
        classifier_loss(logits, y), F.kl_div(logits.log_softmax(1), y, reduction="batchmean"), check_dtype=False
    )


def test_soft_labels_need_not_add_up_to_1() -> None:
    logits, y = normal(6, 4), normal(6, 4, seed=1).sigmoid()
    torch.testing.assert_close(classifier_loss(logits, y), -(y * logits.log_softmax(1)).sum() / 6)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_that_of_cross_entropy(smoothing: float) -> None:
    logits, labels = normal(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    found = classifier_loss(logits, F.one_hot(labels, 4).double(), smoothing)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, label_smoothing=smoothing))
    assert found > classifier_loss(20 * F.one_hot(labels, 4).double(), F.one_hot(labels, 4).double())


def test_with_smoothing_a_teacher_that_is_too_sure_costs_more() -> None:
    y = torch.eye(3)
    assert classifier_loss(20 * y, y, 0.1) > classifier_loss(3 * y, y, 0.1)
    assert classifier_loss(20 * y, y) < classifier_loss(3 * y, y)


def test_the_decoder_loss_is_the_mean_square_over_all_numbers() -> None:
    assert decoder_loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])).item() == 3.5


def test_the_diversity_loss_of_two_points_is_worked_out_by_hand() -> None:
    z, x = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.stack([torch.zeros(4), torch.ones(4)])
    assert diversity_loss(z, x).item() == pytest.approx(math.exp(-1), abs=1e-6)
    assert diversity_loss(z, x.view(2, 1, 2, 2)).item() == pytest.approx(0.367879, abs=1e-6)


def test_the_diversity_loss_and_its_gradient_are_those_of_the_published_form() -> None:
    z, x = normal(32, 10), normal(32, 3, 8, 8, seed=1).div(3).requires_grad_()
    losses = [loss(z, x) for loss in (diversity_loss, published_diversity_loss)]
    torch.testing.assert_close(*losses)
    assert 0.1 < losses[0] < 0.9
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in losses))


def test_alike_images_have_exactly_the_diversity_loss_1_and_a_finite_gradient() -> None:
    x = torch.ones(5, 1, 4, 4, requires_grad=True)
    loss = diversity_loss(normal(5, 3).float(), x)
    loss.backward()
    assert loss.item() == 1
    assert x.grad.isfinite().all()
    assert diversity_loss(normal(1, 3), normal(1, 4)).item() == 1


def test_the_diversity_loss_falls_when_different_z_make_more_different_images() -> None:
    z, x = normal(8, 3), normal(8, 12, seed=1)
    assert diversity_loss(z, 2 * x) < diversity_loss(z, x) < diversity_loss(0.1 * z, x)


# ---- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (lambda: ImageGenerator(channels=1), 187_752),
        (lambda: ImageGenerator(channels=3), 187_880),
        (lambda: Decoder(32 * 32), 139_210),
        (LeNet5, 61_706),
        (lambda: ResNet14(channels=1), 172_682),
        (ResNet14, 172_970),
    ],
)
def test_networks_have_the_published_parameters_to_the_unit(model: Callable[[], nn.Module], parameters: int) -> None:
    assert count(model()) == parameters


@pytest.mark.parametrize(
    ("student", "parameters", "ratio"),
    [
        (LENET5_STUDENTS[0], 17_063, 3.6164),
        (LENET5_STUDENTS[1], 15_045, 4.1014),
        (LENET5_STUDENTS[2], 13_728, 4.4949),
    ],
)
def test_the_students_of_lenet5_have_the_published_parameters_to_the_unit(student, parameters, ratio) -> None:
    teacher = LeNet5()
    found = compress(teacher, student)
    assert count(found) == parameters
    assert count(teacher) / parameters == pytest.approx(ratio, abs=5e-5)
    assert found(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("features", "classes", "ratios"), [(9, 7, (4.21, 8.17)), (16, 10, (4.19, 8.07)), (16, 26, (4.13, 7.79))]
)
def test_the_students_of_the_mlp_have_the_published_ratios(features: int, classes: int, ratios: tuple) -> None:
    teacher = MLP(features, classes)
    students = [compress(teacher, mlp_student(teacher, rank)) for rank in (10, 5)]
    assert tuple(round(count(teacher) / count(student), 2) for student in students) == ratios
    assert students[0](torch.zeros(2, features)).shape == (2, classes)


def test_the_students_of_resnet14_have_the_named_layers_of_stage_3_compressed() -> None:
    teacher = ResNet14(channels=1).eval()
    for names in RESNET14_STUDENTS:
        student = compress(teacher, dict.fromkeys(names, (8, 8)))
        assert {name for name, layer in student.named_modules() if isinstance(layer, nn.Sequential)} >= set(names)
        assert sum(isinstance(layer, nn.Conv2d) for layer in student.modules()) == 13 + 2 * len(names)
        assert student(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert len({len(names) for names in RESNET14_STUDENTS}) == 2


def test_a_residual_block_hands_its_input_on() -> None:
    block = kegnet.ResidualBlock(3, 6, stride=2).eval()
    with torch.no_grad():
        block.bn2.weight.zero_()
    x = normal(2, 3, 8, 8).abs().float()
    expected = torch.cat([torch.zeros(2, 1, 4, 4), x[..., ::2, ::2], torch.zeros(2, 2, 4, 4)], 1)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_channel_of_a_generated_image_has_mean_0_and_deviation_1(channels: int) -> None:
    generator = made(0, lambda: ImageGenerator(channels=channels))
    for mode in (True, False):
        x = generator.train(mode)(*draw_inputs(16, 10, 10, seeded()))
        assert x.shape == (16, channels, 32, 32)
        torch.testing.assert_close(x.mean((2, 3)), torch.zeros(16, channels), rtol=0, atol=1e-5)
        torch.testing.assert_close(x.std((2, 3)), torch.ones(16, channels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_a_constant_channel_becomes_0_without_nan_in_value_or_gradient(value: float) -> None:
    x = torch.full((2, 2, 8, 8), value)
    x[:, 1] = normal(8, 8).float()
    x.requires_grad_()
    found = standardize_images(x)
    found.square().sum().backward()
    assert found[:, 0].eq(0).all()
    torch.testing.assert_close(found[:, 1].std((1, 2)), torch.ones(2))
    assert x.grad.isfinite().all()


def test_a_generator_that_makes_constant_images_can_still_be_trained() -> None:
    generator = ImageGenerator()
    with torch.no_grad():
        generator.layers[-2].weight.zero_()
    x = generator(*draw_inputs(8, 10, 10, seeded()))
    x.sum().backward()
    assert x.eq(0).all()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())


def test_images_of_little_contrast_are_standardized_too() -> None:
    x = 0.5 + 1e-3 * normal(4, 1, 32, 32).float()
    torch.testing.assert_close(standardize_images(x).std((2, 3)), torch.ones(4, 1), rtol=0, atol=1e-5)


def test_features_of_the_dense_generator_have_mean_0_and_variance_1_over_a_batch() -> None:
    x = made(0, lambda: DenseGenerator(9, 7))(*draw_inputs(64, 7, 10, seeded()))
    assert x.shape == (64, 9)
    torch.testing.assert_close(x.mean(0), torch.zeros(9), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.var(0, correction=0), torch.ones(9), rtol=0, atol=1e-3)  # batch norm adds 1e-5 to it


def test_both_labels_and_latents_matter_for_what_is_generated() -> None:
    for generator in (made(0, ImageGenerator).eval(), made(0, lambda: DenseGenerator(9, 10)).eval()):
        y, z = torch.eye(10)[:2], normal(2, 10).float()
        x = generator(y, z)
        assert (generator(y.flip(0), z) - x).abs().max() > 1e-3
        assert (generator(y, z.flip(0)) - x).abs().max() > 1e-3


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_decoder_takes_images_and_rows_and_has_one_layer_more_than_its_depth(depth: int) -> None:
    decoder = Decoder(12, latent=5, depth=depth)
    assert decoder(normal(4, 3, 2, 2).float()).shape == decoder(normal(4, 12).float()).shape == (4, 5)
    assert sum(isinstance(layer, nn.ELU) for layer in decoder.modules()) == 1 + depth


# ---- data without data ----------------------------------------------------------------------------------------------


def test_labels_are_uniform_and_latents_normal() -> None:
    y, z = draw_inputs(20_000, 5, 3, seeded())
    assert y.unique().tolist() == [0, 1]
    assert y.sum(1).eq(1).all()
    torch.testing.assert_close(y.mean(0), torch.full((5,), 0.2), rtol=0, atol=0.02)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=0.03)
    torch.testing.assert_close(z.std(0), torch.ones(3), rtol=0, atol=0.03)


def test_soft_labels_fill_the_cube() -> None:
    y, _ = draw_inputs(2_000, 5, 3, seeded(), soft=True)
    assert 0 <= y.min() < 0.01 < 0.99 < y.max() <= 1
    assert y.sum(1).std() > 0.5


def test_data_depend_on_the_rng_alone_and_leave_the_generator_as_it_was() -> None:
    generator = made(0, ImageGenerator).train()
    before = state(generator)
    torch.manual_seed(0)
    untouched = torch.get_rng_state()
    (x, y), (again, _), (other, _) = (draw_data(generator, 20, seeded(seed)) for seed in (0, 0, 1))
    assert x.equal(again)
    assert not x.equal(other)
    assert not x.requires_grad
    assert y.equal(draw_inputs(20, 10, 10, seeded())[0])
    assert state(generator) == before
    assert torch.get_rng_state().equal(untouched)


def test_many_data_are_those_of_one_pass_in_evaluation_mode() -> None:
    generator = made(0, lambda: DenseGenerator(9, 7)).eval()
    x, y = draw_data(generator, 2_500, seeded())
    assert (x.shape, y.shape) == ((2_500, 9), (2_500, 7))
    torch.testing.assert_close(x, generator(*draw_inputs(2_500, 7, 10, seeded())).detach())


# ---- training -------------------------------------------------------------------------------------------------------


class Noisy(nn.Sequential):
    """A teacher with all that differs between the two modes: batch normalization, far from its batches, and dropout."""

    def __init__(self, features: int = 6, classes: int = 3) -> None:
        norm = nn.BatchNorm1d(8)
        norm.running_mean += 0.5
        super().__init__(nn.Linear(features, 8), norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, classes))
        with torch.no_grad():
            self[-1].weight.mul_(5)  # an untrained teacher is unsure whatever it sees


def small() -> tuple[Noisy, DenseGenerator, Decoder]:
    return made(3, lambda: (Noisy(), DenseGenerator(6, 3, latent=4), Decoder(6, latent=4)))


def trained(seed: int = 0, **settings: object) -> tuple[dict[str, list[float]], tuple[nn.Module, ...]]:
    models = small()
    return train_generator(*models, **{"steps": 5, "batch_size": 16, "rng": seeded(seed)} | settings), models


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("own_mode", [True, False])
def test_nothing_of_the_teacher_changes_while_the_generator_trains(mode: str, own_mode: bool) -> None:
    teacher, generator, decoder = small()
    teacher.train(own_mode)
    before, at_first = state(teacher), copy.deepcopy(generator.state_dict())
    train_generator(teacher, generator, decoder, steps=5, batch_size=16, rng=seeded(), beta=1.0, teacher_mode=mode)
    assert state(teacher) == before
    assert not generator.layers[0].weight.equal(at_first["layers.0.weight"])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_labels_and_latents_are_learned() -> None:
    history, _ = trained(steps=300, batch_size=64, lr=1e-2)
    assert {len(values) for values in history.values()} == {300}
    assert mean(history["accuracy"][:10]) < 0.7
    assert mean(history["accuracy"][-10:]) > 0.95
    assert mean(history["classifier"][-10:]) < 0.6 * mean(history["classifier"][:10])
    assert mean(history["decoder"][-10:]) < 0.2 * mean(history["decoder"][:10])


def test_the_more_weight_diversity_has_the_more_the_data_differ() -> None:
    found = [trained(steps=150, batch_size=64, lr=1e-2, beta=beta)[0]["diversity"][-10:] for beta in (1e-3, 100.0)]
    assert mean(found[1]) < 0.8 * mean(found[0])


def test_images_for_a_convolutional_teacher_are_learned_too() -> None:
    teacher, generator, decoder = made(1, lambda: (LeNet5(4), ImageGenerator(4), Decoder(32 * 32)))
    with torch.no_grad():
        teacher.fc2.weight.mul_(30)  # an untrained one is unsure whatever it sees
    history = train_generator(teacher, generator, decoder, steps=50, batch_size=32, rng=seeded(), lr=1e-2)
    assert mean(history["accuracy"][-5:]) > 0.7 > 2 * mean(history["accuracy"][:5])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_what_is_logged_first_is_what_the_teacher_in_its_mode_says_of_the_first_batch(mode: str) -> None:
    teacher, generator, decoder = made(3, lambda: (ResNet14(3, 1), ImageGenerator(3), Decoder(32 * 32)))
    frozen = copy.deepcopy(teacher).train(mode == "train")
    rng = seeded()
    torch.randint(2**31, (1,), generator=rng)  # the seed of dropout is drawn first
    y, z = draw_inputs(8, 3, 10, rng)
    x = copy.deepcopy(generator).train()(y, z)
    logits, decoded = frozen(x), copy.deepcopy(decoder).train()(x)
    history = train_generator(
        teacher, generator, decoder, steps=1, batch_size=8, rng=seeded(), beta=1.0, teacher_mode=mode
    )
    assert history["classifier"][0] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert history["decoder"][0] == pytest.approx(F.mse_loss(decoded, z).item(), rel=1e-5)
    assert history["diversity"][0] == pytest.approx(published_diversity_loss(z, x).item(), rel=1e-5)
    assert history["accuracy"][0] == (logits.argmax(1) == y.argmax(1)).float().mean().item()


def test_the_two_modes_see_the_same_images_differently() -> None:
    teacher, generator, decoder = small()
    found = []
    for mode in ("eval", "train"):
        models = copy.deepcopy((generator, decoder))
        found.append(train_generator(teacher, *models, steps=1, batch_size=64, rng=seeded(), teacher_mode=mode))
    assert found[0]["decoder"] == found[1]["decoder"]
    assert abs(found[0]["classifier"][0] - found[1]["classifier"][0]) > 0.01


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_training_depends_on_the_rng_alone_dropout_included(mode: str) -> None:
    torch.manual_seed(0)
    first, models = trained(teacher_mode=mode)
    torch.manual_seed(1)
    untouched = torch.get_rng_state()
    again, others = trained(teacher_mode=mode)
    assert torch.get_rng_state().equal(untouched)
    assert first == again
    assert [state(model) for model in models] == [state(model) for model in others]
    assert trained(1, teacher_mode=mode)[0] != first


def test_generator_and_decoder_end_in_evaluation_mode() -> None:
    _, (_, generator, decoder) = trained()
    assert not generator.training
    assert not decoder.training


@pytest.mark.parametrize(
    ("weights", "noted"),
    [
        ({}, {"classifier", "decoder", "accuracy"}),
        ({"alpha": 0.0}, {"classifier", "accuracy"}),
        ({"classifier": 0.0}, {"classifier", "decoder", "accuracy"}),
        ({"beta": 2.0}, {"classifier", "decoder", "diversity", "accuracy"}),
    ],
)
def test_a_loss_without_weight_is_left_out(weights: dict, noted: set[str]) -> None:
    history, (_, _, decoder) = trained(**weights)
    assert set(history) == noted
    learned = not decoder.layers[1].weight.equal(small()[2].layers[1].weight)
    assert learned == weights.get("alpha", True)


def test_without_the_classifier_loss_the_labels_are_not_learned() -> None:
    history, _ = trained(steps=200, batch_size=64, classifier=0.0, lr=1e-2)
    assert mean(history["accuracy"][-20:]) < 0.6


def test_each_weight_scales_the_gradient_of_its_loss() -> None:
    steps = []
    for alpha in (1.0, 3.0):
        teacher, generator, decoder = small()
        before = decoder.layers[-1].weight.clone()
        optimizer = torch.optim.SGD([*generator.parameters(), *decoder.parameters()], lr=0.1)
        settings = {"steps": 1, "batch_size": 16, "rng": seeded(), "alpha": alpha, "optimizer": optimizer}
        train_generator(teacher, generator, decoder, **settings)
        steps.append(decoder.layers[-1].weight - before)
    torch.testing.assert_close(3 * steps[0], steps[1])


def test_with_an_optimizer_training_goes_on_where_it_was() -> None:
    teacher, generator, decoder = small()
    optimizer = torch.optim.Adam([*generator.parameters(), *decoder.parameters()], lr=1e-2)
    for seed in (0, 1):
        train_generator(
            teacher, generator, decoder, steps=100, batch_size=64, rng=seeded(seed), optimizer=optimizer, lr=0.0
        )
    assert {values["step"].item() for values in optimizer.state.values()} == {200}


# ---- one step -------------------------------------------------------------------------------------------------------

WEIGHTS = {"classifier": 0.5, "alpha": 2.0, "beta": 3.0}


def descent(*models: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD([parameter for model in models for parameter in model.parameters()], lr=lr)


def first_inputs() -> tuple[Tensor, Tensor]:
    """The y and z with which `train_generator` begins, after a seed for dropout."""
    rng = seeded()
    torch.randint(2**31, (1,), generator=rng)
    return draw_inputs(16, 3, 4, rng)


def one_step(**settings: object) -> tuple[float, tuple[nn.Module, ...]]:
    teacher, generator, decoder = small()
    loss = kegnet_step(generator, decoder, teacher, descent(generator, decoder), *first_inputs(), **settings)
    return loss, (teacher, generator, decoder)


@pytest.mark.parametrize("settings", [{}, WEIGHTS, {"classifier": 0.0}], ids=str)
def test_a_step_is_the_first_one_of_training(settings: dict) -> None:
    _, (_, generator, decoder) = one_step(**settings)
    other = small()
    train_generator(*other, steps=1, batch_size=16, rng=seeded(), optimizer=descent(*other[1:]), **settings)
    for model, expected in ((generator, other[1]), (decoder, other[2])):
        torch.testing.assert_close(model.state_dict(), expected.state_dict())


def test_a_step_goes_down_the_slope_of_the_three_weighed_losses() -> None:
    found, (_, generator, decoder) = one_step(**WEIGHTS)
    teacher, *models = small()
    teacher.eval()
    y, z = first_inputs()
    x = models[0](y, z)
    expected = (
        0.5 * F.cross_entropy(teacher(x), y) + 2 * F.mse_loss(models[1](x), z) + 3 * published_diversity_loss(z, x)
    )
    assert found == pytest.approx(expected.item())
    for model, old in ((generator, models[0]), (decoder, models[1])):
        slopes = torch.autograd.grad(expected, list(old.parameters()), retain_graph=True)
        for new, parameter, slope in zip(model.parameters(), old.parameters(), slopes, strict=True):
            torch.testing.assert_close(new, parameter - 0.1 * slope)


def test_after_a_step_the_teacher_is_as_before_but_in_evaluation_mode() -> None:
    _, (teacher, *models) = one_step()
    assert state(teacher) == state(small()[0].eval())
    assert all(model.training for model in models)


def test_steps_do_not_add_up_gradients() -> None:
    teacher, generator, decoder = small()
    optimizer, gradients = descent(generator, decoder, lr=0.0), []
    for _ in range(2):
        kegnet_step(generator, decoder, teacher, optimizer, *first_inputs())
        gradients.append([parameter.grad.clone() for parameter in generator.parameters()])
    torch.testing.assert_close(*gradients)


def test_a_step_whose_loss_is_not_finite_moves_nothing() -> None:
    teacher, generator, _ = small()
    before = copy.deepcopy([*generator.parameters()])
    with pytest.raises(ValueError, match="the loss must be finite, but some are NaN or infinite"):
        kegnet_step(generator, NoDecoder(), teacher, descent(generator), *first_inputs())
    torch.testing.assert_close([*generator.parameters()], before)


# ---- data of a trained generator ------------------------------------------------------------------------------------


def test_data_of_a_trained_generator_teach_a_compressed_student_to_answer_as_its_teacher() -> None:
    teacher = made(5, lambda: MLP(6, 3, hidden=32, layers=3, dropout=0.0))
    with torch.no_grad():
        for layer in teacher.layers[::3]:
            layer.weight.mul_(2.5)  # so that its answers differ
    teacher.eval()
    generator, decoder = made(6, lambda: (DenseGenerator(6, 3), Decoder(6)))
    train_generator(teacher, generator, decoder, steps=150, batch_size=64, rng=seeded(), lr=1e-2)
    x, _ = draw_data(generator, 512, seeded(1))
    student = compress(teacher, mlp_student(teacher, 3))
    unseen, _ = draw_data(generator, 512, seeded(2))
    wanted = teacher(unseen).detach()
    before = kd_loss(student(unseen), wanted, 1).item()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        kd_loss(student(x), teacher(x), 1).backward()
        optimizer.step()
    assert kd_loss(student(unseen), wanted, 1).item() < 0.2 * before


# ---- a student's loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
def test_the_distillation_loss_is_that_of_a_teacher_in_evaluation_mode_and_a_student_in_its_own(mode: bool) -> None:
    teacher, student = made(3, lambda: (Noisy(), Noisy()))
    teacher.train()
    student.train(mode)
    student[3].p = 0.0
    before, x = state(teacher.eval()), normal(7, 6).float()
    wanted = kd_loss(copy.deepcopy(student)(x), teacher(x), 1)
    torch.testing.assert_close(distillation_loss(student, teacher.train(), x), wanted)
    assert state(teacher) == before
    assert student.training == mode


def test_only_the_student_learns_from_the_distillation_loss() -> None:
    teacher, student = made(3, lambda: (Noisy(), Noisy()))
    distillation_loss(student, teacher, normal(7, 6).float()).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_student_that_answers_as_its_teacher_has_no_distillation_loss_however_certain_both_are() -> None:
    teacher = nn.Linear(6, 3)
    with torch.no_grad():
        teacher.weight.mul_(1e4)
    assert distillation_loss(copy.deepcopy(teacher), teacher, normal(7, 6).float()).item() == 0


# ---- bad input ------------------------------------------------------------------------------------------------------

Y = torch.eye(3)
NAN = torch.full((3, 3), math.nan)


def with_nan(buffer: bool = False) -> Noisy:
    teacher = Noisy()
    with torch.no_grad():
        (teacher[1].running_var if buffer else teacher[4].weight)[0] = math.nan
    return teacher


class NoDecoder(Decoder):
    def __init__(self) -> None:
        super().__init__(6, latent=4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * math.inf


def train(teacher: nn.Module, decoder: Decoder | None = None, **settings: object) -> object:
    _, generator, usual = small()
    settings = {"steps": 1, "batch_size": 4, "rng": seeded()} | settings
    return train_generator(teacher, generator, decoder or usual, **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(Noisy(classes=5)), r"outputs \(4, 5\) must have the shape of the labels \(4, 3\): make the gen"),
        (lambda: train(with_nan()), r"the teacher's 4\.weight must be finite, but some are NaN or infinite"),
        (lambda: train(with_nan(buffer=True)), r"the teacher's 1\.running_var must be finite"),
        (lambda: train(Noisy(), teacher_mode="test"), "teacher_mode must be 'eval' or 'train', got 'test'"),
        (lambda: train(Noisy(), steps=0), "at least 1 step and batches of at least 2, got 0 and 4"),
        (lambda: train(Noisy(), batch_size=1), "at least 1 step and batches of at least 2, got 1 and 1"),
        (lambda: train(Noisy(), beta=-1.0), r"must not be negative, nor all 0, got 1\.0, 1\.0 and -1\.0"),
        (lambda: train(Noisy(), classifier=0, alpha=0), "must not be negative, nor all 0, got 0, 0 and 0"),
        (lambda: one_step(beta=-1.0), r"must not be negative, nor all 0, got 1\.0, 1\.0 and -1\.0"),
        (lambda: train(Noisy(), smoothing=1.0), r"smoothing must lie in \[0, 1\), got 1\.0"),
        (lambda: train(Noisy(), lr=1e30, steps=20), "must be finite, but some are NaN or infinite: check teacher and"),
        (lambda: train(Noisy(), decoder=NoDecoder()), "the decoder loss must be finite"),
        (lambda: classifier_loss(Y, torch.tensor([0, 1, 2])), r"the shape of the labels \(3,\)"),
        (lambda: classifier_loss(NAN, Y), "the teacher's outputs must be finite"),
        (lambda: distillation_loss(nn.Linear(3, 2), nn.Linear(3, 1), Y), r"answer alike, got \(3, 2\) and \(3, 1\)"),
        (lambda: distillation_loss(Noisy(), with_nan(), normal(4, 6).float()), "the teacher's answers must be finite"),
        (lambda: decoder_loss(Y, Y[:, :2]), r"must give the shape of z \(3, 3\), got \(3, 2\)"),
        (lambda: diversity_loss(Y, Y[:2]), r"of one batch that is not empty, got \(3, 3\) and \(2, 3\)"),
        (lambda: diversity_loss(Y[0], Y), r"z must be \(B, latent\) .* got \(3,\) and \(3, 3\)"),
        (lambda: diversity_loss(Y[:0], Y[:0]), "of one batch that is not empty"),
        (lambda: diversity_loss(Y, NAN), "x must be finite"),
        (lambda: diversity_loss(NAN, Y), "z must be finite"),
        (lambda: diversity_loss(Y, Y.long()), r"x must be floating-point, got torch.int64: convert .* \.float\(\)"),
        (lambda: ImageGenerator()(Y, normal(3, 10)), r"labels \(B, 10\) and latents \(B, 10\), got \(3, 3\) and"),
        (lambda: DenseGenerator(4, 3)(Y, normal(2, 10)), r"got \(3, 3\) and \(2, 10\)"),
        (lambda: ImageGenerator(classes=0), "classes must be at least 1, got 0"),
        (lambda: ImageGenerator(channels=0), "channels must be at least 1, got 0"),
        (lambda: DenseGenerator(0, 3), "features must be at least 1, got 0"),
        (lambda: Decoder(4, depth=-1), "depth must not be negative, got -1"),
        (lambda: Decoder(1024)(normal(2, 1, 28, 28)), r"takes x of 1024 numbers each, got the shape \(2, 1, 28, 28\)"),
        (lambda: MLP(4, 3, layers=0), "layers must be at least 1, got 0"),
        (lambda: mlp_student(MLP(4, 3), 101), "the rank must lie in 1 to 100, the number of hidden units, got 101"),
        (lambda: mlp_student(MLP(4, 3), 0), "the rank must lie in 1 to 100"),
        (lambda: draw_inputs(0, 3, 4, seeded()), "count must be at least 1, got 0"),
        (lambda: LeNet5()(torch.zeros(2, 1, 28, 28)), r"takes images \(B, 1, 32, 32\), got \(2, 1, 28, 28\): resize"),
        (lambda: LeNet5()(torch.zeros(2, 3, 32, 32)), r"takes images \(B, 1, 32, 32\), got \(2, 3, 32, 32\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "name",
    [
        "compress",
        "evbmf_rank",
        "evbmf_ranks",
        "hosvd",
        "three_convolutions",
        "tucker2_conv",
        "tucker2_cost",
        "tucker2_linear",
    ],
)
def test_what_compresses_a_teacher_can_be_imported_from_here_too(name: str) -> None:
    assert getattr(kegnet, name) is getattr(tucker, name)
