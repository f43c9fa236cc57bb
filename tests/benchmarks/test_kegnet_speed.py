"""KegNet: the diversity loss beside all differences written out, Tucker-2 beside tensorly's default, and whether
students are faster than their teachers.

All in one thread: it is what a small network is left with where other programs run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from memory import peak
from tensorly.decomposition import partial_tucker
from tensors import normal
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.papers.kegnet import (
    LENET5_STUDENTS,
    MLP,
    RESNET14_STUDENTS,
    LeNet5,
    ResNet14,
    compress,
    diversity_loss,
    mlp_student,
)
from labkit.papers.tucker import evbmf_ranks, tucker2_conv

pytestmark = pytest.mark.usefixtures("one_thread")
seconds: dict[str, float] = {}  # what was done: the fastest round


def told(benchmark, capsys, name: str, beside: str = "", note: str = "") -> float:
    """How many times as long as `beside`, which came first, this took."""
    seconds[name] = benchmark.stats.stats.min
    ratio, text = 1.0, ""
    if beside:
        assert beside in seconds, "nothing to compare with: run this file as a whole"
        ratio = benchmark.extra_info[f"times as long as {beside}"] = seconds[name] / seconds[beside]
        text = f", {ratio:.2f} times as long as {beside}"
    with capsys.disabled():
        print(f"\n{name}: {1000 * seconds[name]:.1f} ms{text}{note}")
    return ratio


# ---- diversity ------------------------------------------------------------------------------------------------------


def batch(B: int = 256) -> tuple[Tensor, Tensor]:
    return normal(B, 10, dtype=torch.float32), normal(B, 3, 32, 32, seed=1, dtype=torch.float32).requires_grad_()


def broadcast_diversity_loss(z: Tensor, x: Tensor) -> Tensor:
    x = x.flatten(1)
    of_x = (x[:, None] - x[None]).abs().mean(2)  # from (B, B, P)
    return torch.exp(-((z[:, None] - z[None]).square().mean(2) * of_x).mean())


def forward_and_backward(loss: Callable[[Tensor, Tensor], Tensor], z: Tensor, x: Tensor) -> None:
    loss(z, x).backward()


def test_the_two_formulations_of_the_diversity_loss_agree() -> None:
    z, x = batch(64)
    losses = diversity_loss(z, x), broadcast_diversity_loss(z, x)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in losses))


# Ours comes first: the other one is compared with it.
def test_the_diversity_loss_of_256_images(benchmark, capsys) -> None:
    benchmark.pedantic(forward_and_backward, (diversity_loss, *batch()), rounds=5, warmup_rounds=1)
    told(benchmark, capsys, "diversity loss")


def test_the_diversity_loss_by_broadcasting_takes_at_least_8_times_as_long(benchmark, capsys) -> None:
    benchmark.pedantic(forward_and_backward, (broadcast_diversity_loss, *batch()), rounds=2, warmup_rounds=1)
    assert told(benchmark, capsys, "by broadcasting", "diversity loss") >= 8


def diversity(inputs: tuple[Tensor, Tensor]) -> None:
    forward_and_backward(diversity_loss, *inputs)


def test_the_diversity_loss_of_256_images_makes_no_tensor_of_all_differences(capsys) -> None:
    found, differences = peak(batch, diversity, threads=1), 4 * 256**2 * 3072 / 2**20
    with capsys.disabled():
        print(f"\npeak memory of the diversity loss: {found:.0f} MB; all differences would be {differences:.0f} MB")
    assert found < 0.1 * differences


# ---- Tucker-2 -------------------------------------------------------------------------------------------------------


def wide_convolution() -> nn.Conv2d:
    """512 x 512 x 3 x 3, with singular values that fall as those of a trained one do."""
    layer = nn.Conv2d(512, 512, 3, bias=False)
    outputs, inputs = (torch.linalg.qr(normal(512, 512, seed=seed)).Q for seed in (1, 2))
    falling = torch.arange(1, 513).double().pow(-0.5)
    with torch.no_grad():
        core = normal(512, 512, 3, 3) * falling[:, None, None, None] * falling[None, :, None, None]
        layer.weight.copy_(torch.einsum("op,pqhw,iq->oihw", outputs, core, inputs))
    return layer


RANKS = (128, 128)


def error(W: Tensor, core: Tensor, U_o: Tensor, U_i: Tensor) -> float:
    found = torch.einsum("op,pqhw,iq->oihw", U_o, core, U_i)
    return ((found - W).norm() / W.norm()).item()


def test_tucker_2_of_512_x_512_x_3_x_3(benchmark, capsys) -> None:
    layer = wide_convolution()
    first, core, last = benchmark.pedantic(tucker2_conv, (layer, RANKS), rounds=2)
    weights = layer.weight.detach(), core.weight.detach(), last.weight[:, :, 0, 0], first.weight[:, :, 0, 0].T
    seconds["its error"] = error(*(weight.detach() for weight in weights))
    told(benchmark, capsys, "Tucker-2", note=f", relative error {seconds['its error']:.6f}")


def test_tucker_2_by_the_default_of_tensorly_is_not_more_exact(benchmark, capsys) -> None:
    W = wide_convolution().weight.detach()
    settings = {"rank": [RANKS[1], RANKS[0]], "modes": [0, 1]}
    (core, factors), _ = benchmark.pedantic(partial_tucker, (W.numpy(),), settings, rounds=2)
    found = error(W, *map(torch.from_numpy, (core, *factors)))
    told(benchmark, capsys, "tensorly's default", "Tucker-2", f", relative error {found:.6f}")
    assert seconds["its error"] < 1.001 * found


def test_the_ranks_of_512_x_512_x_3_x_3_by_evbmf(benchmark, capsys) -> None:
    ranks = benchmark.pedantic(evbmf_ranks, (wide_convolution().weight,), rounds=2)
    told(benchmark, capsys, "EVBMF ranks", note=f": {ranks}")


# ---- students -------------------------------------------------------------------------------------------------------

# EVBMF finds nothing in untrained weights: for ResNet14 a quarter of the wider side of each convolution, 16.
NETWORKS = {
    "LeNet5": (LeNet5, (256, 1, 32, 32), LENET5_STUDENTS),
    "ResNet14": (ResNet14, (64, 3, 32, 32), [dict.fromkeys(names, (16, 16)) for names in RESNET14_STUDENTS]),
    "MLP": (lambda: MLP(16, 26), (1024, 16), [mlp_student(MLP(16, 26), rank) for rank in (10, 5)]),
}


@pytest.mark.parametrize(
    ("network", "student"),
    [
        pytest.param(name, number, id=f"{name}-{f'student {number}' if number else 'teacher'}")
        for name, (_, _, students) in NETWORKS.items()
        for number in range(len(students) + 1)
    ],
)
def test_inference(benchmark, capsys, network: str, student: int) -> None:
    build, shape, students = NETWORKS[network]
    teacher, x = build().eval(), normal(*shape, dtype=torch.float32)
    model = compress(teacher, students[student - 1]) if student else teacher
    with torch.inference_mode():
        benchmark.pedantic(model, (x,), rounds=15, warmup_rounds=3)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    macs = counter.get_total_flops() / 2 / len(x)
    benchmark.extra_info |= {"parameters": parameters, "MACs": macs}
    name = f"{network}, student {student}" if student else network
    note = f"; {parameters:,} parameters, {macs / 1e6:.2f} M MACs an image"
    told(benchmark, capsys, name, network if student else "", note)
