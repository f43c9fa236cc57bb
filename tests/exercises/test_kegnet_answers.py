"""Answers to the exercises of lesson 08 that are spelled otherwise than the mistakes, and judged as these are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.checks.exercise import Exercise, check
from labkit.exercises import kegnet

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def by_products(core: Tensor, U_i: Tensor, U_o: Tensor) -> Tensor:
    rows = (U_o @ core.flatten(1)).view(len(U_o), core.shape[1], -1)
    return (U_i @ rows).view(len(U_o), len(U_i), *core.shape[2:])


def by_loop(core: Tensor, U_i: Tensor, U_o: Tensor) -> Tensor:
    pairs = [(p, q) for p in range(core.shape[0]) for q in range(core.shape[1])]
    return sum(U_o[:, p, None, None, None] * U_i[None, :, q, None, None] * core[p, q] for p, q in pairs)


@pytest.mark.parametrize("kernel", [by_products, by_loop])
def test_a_kernel_put_together_in_whatever_way_is_called_by_name(kernel: Kernel) -> None:
    def one_convolution(x, core, U_i, U_o, bias=None, stride=1, padding=0):
        return F.conv2d(x, kernel(core, U_i, U_o), bias, stride, padding)

    assert check(kegnet.THREE, one_convolution).mistake == "kernel-put-together"


def test_products_element_by_element_are_counted_too() -> None:
    def by_elements(x, core, U_i, U_o, bias=None, stride=1, padding=0):
        k, kernel = core.shape[-1], by_products(core, U_i, U_o)
        windows = F.pad(x, 4 * (padding,)).unfold(2, k, stride).unfold(3, k, stride)  # (B, C_i, H', W', k, k)
        out = (windows[:, None] * kernel[:, :, None, None]).sum((2, 5, 6))
        return out if bias is None else out + bias[:, None, None]

    assert check(kegnet.THREE, by_elements).mistake == "kernel-put-together"


def step_with(
    ask: Callable[[nn.Module, Tensor], Tensor], backward: Callable[..., None] = lambda loss, *_: loss.backward()
) -> Callable:
    def step(generator, decoder, teacher, optimizer, y, z, *, classifier=1.0, alpha=1.0, beta=0.0):
        x = generator(y, z)
        loss = classifier * F.cross_entropy(ask(teacher, x), y) + alpha * F.mse_loss(decoder(x), z)
        loss = loss + beta * kegnet.diversity_loss(z, x)
        optimizer.zero_grad()
        backward(loss, generator, decoder)
        optimizer.step()
        return loss.item()

    return step


def without_gradient(teacher: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher.eval()(x)


def only_to_those_who_learn(loss: Tensor, *learning: nn.Module) -> None:
    loss.backward(inputs=[parameter for network in learning for parameter in network.parameters()])


@pytest.mark.parametrize(
    ("step", "mistake"),
    [
        (step_with(lambda teacher, x: teacher.eval()(x)), None),
        (step_with(lambda teacher, x: teacher.eval()(x), only_to_those_who_learn), None),
        (step_with(without_gradient), "teacher-without-a-gradient"),
        (step_with(without_gradient, only_to_those_who_learn), "teacher-without-a-gradient"),
        (step_with(lambda teacher, x: teacher(x)), "teacher-in-training-mode"),
        (step_with(lambda teacher, x: teacher(x), only_to_those_who_learn), "teacher-in-training-mode"),
    ],
)
def test_a_step_is_judged_by_what_moves_and_not_by_where_its_gradients_are_collected(step, mistake) -> None:
    result = check(kegnet.STEP, step)
    assert (result.outcome, result.mistake) == ("not yet" if mistake else "correct", mistake)


def test_eigenvectors_of_the_smallest_eigenvalues_are_called_by_name() -> None:
    def first_eigenvectors(kernel, ranks):
        unfoldings = kernel.transpose(0, 1).flatten(1), kernel.flatten(1)
        U_i, U_o = (torch.linalg.eigh(rows @ rows.T)[1][:, :rank] for rows, rank in zip(unfoldings, ranks, strict=True))
        return torch.einsum("oihw,op,iq->pqhw", kernel, U_o, U_i), U_i, U_o

    assert check(kegnet.HOSVD, first_eigenvectors).mistake == "smallest-singular-values"


@pytest.mark.parametrize("exercise", [*kegnet.EXERCISES, *kegnet.MORE], ids=lambda exercise: exercise.name)
def test_a_probe_says_in_itself_what_was_tried(exercise: Exercise) -> None:
    for probe in exercise.probes:
        assert not {"same", "these", "its"} & set(probe.where.split())
