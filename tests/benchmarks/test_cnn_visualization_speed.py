"""Pictures of units in one batch beside one unit at a time: 64 images by gradient ascent, nine by the deconvnet.

Random weights serve as well as trained ones, since time does not depend on them. A textbook loop is what tutorials
show: one unit, the whole network forwards, gradients for its weights as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torchvision
from torch import Tensor, nn

from labkit.papers.cnn_visualization import Deconvnet, activation_maximization

UNITS, STEPS, LR = 64, 8, 0.1
pytestmark = pytest.mark.usefixtures("two_threads")
seconds: dict[str, float] = {}  # what was done: the fastest round


class Case(NamedTuple):
    name: str
    model: nn.Module
    layer: str
    shape: tuple[int, int, int]

    @property
    def settings(self) -> dict[str, object]:
        return {"steps": STEPS, "lr": LR, "shape": self.shape, "generator": torch.Generator().manual_seed(0)}


def squeezenet() -> Case:
    return Case("SqueezeNet", torchvision.models.squeezenet1_1(weights=None).eval(), "features.7", (3, 64, 64))


def digits_network() -> Case:
    blocks = [
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 49, 10)),
    ]
    return Case("a CNN for digits", nn.Sequential(*blocks).eval(), "6", (1, 28, 28))


@pytest.fixture(scope="module", params=[squeezenet, digits_network], ids=lambda case: case.__name__)
def case(request) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return request.param()


def in_one_batch(case: Case) -> Tensor:
    return activation_maximization(case.model, case.layer, range(UNITS), **case.settings).images


def one_at_a_time(case: Case) -> Tensor:
    settings = case.settings
    found = [activation_maximization(case.model, case.layer, unit, **settings) for unit in range(UNITS)]
    return torch.cat([one.images for one in found])


def textbook_loop(case: Case) -> Tensor:
    generator, found, maps = torch.Generator().manual_seed(0), [], {}
    layer = case.model.get_submodule(case.layer)
    handle = layer.register_forward_hook(lambda module, inputs, output: maps.update(found=output))
    for unit in range(UNITS):
        x = (10 / 255 * torch.randn(1, *case.shape, generator=generator)).clamp(-0.5, 0.5).requires_grad_()
        for _ in range(STEPS):
            case.model(x)
            one = maps["found"][0, unit]
            one[one.shape[0] // 2, one.shape[1] // 2].backward()
            with torch.no_grad():
                x += LR * x.grad
                x.clamp_(-0.5, 0.5)
                x.grad = None
        found.append(x.detach() + 0.5)
    handle.remove()
    case.model.zero_grad()
    return torch.cat(found)


def timed(benchmark, name: str, function: Callable, *arguments: object) -> Tensor:
    result = benchmark.pedantic(function, arguments, rounds=3, warmup_rounds=1)
    seconds[name] = benchmark.stats.stats.min
    return result


def compare(benchmark, capsys, slow: str, fast: str) -> None:
    assert fast in seconds, "nothing to compare with: run this file as a whole"
    ratio = seconds[slow] / seconds[fast]
    benchmark.extra_info[f"times as long as {fast}"] = ratio
    with capsys.disabled():
        print(f"\n{slow}: {seconds[slow]:.2f} s, {ratio:.1f} times as long as {fast}, {seconds[fast]:.2f} s")


def assert_alike(images: Tensor, others: Tensor) -> None:
    """Nearly everywhere: where a ReLU is about to close, the last digit decides, and the ways part."""
    assert (images - others).abs().median() < 1e-4


# The batch comes first: the others are compared with it.
def test_64_units_in_one_batch(benchmark, case) -> None:
    assert timed(benchmark, f"{case.name} in one batch", in_one_batch, case).shape == (UNITS, *case.shape)


def test_64_units_one_at_a_time(benchmark, capsys, case) -> None:
    assert_alike(timed(benchmark, f"{case.name} one at a time", one_at_a_time, case), in_one_batch(case))
    compare(benchmark, capsys, f"{case.name} one at a time", f"{case.name} in one batch")


def test_64_units_by_a_textbook_loop(benchmark, capsys, case) -> None:
    assert_alike(timed(benchmark, f"{case.name} by a textbook loop", textbook_loop, case), in_one_batch(case))
    compare(benchmark, capsys, f"{case.name} by a textbook loop", f"{case.name} in one batch")


@pytest.mark.filterwarnings("ignore")
def test_64_units_by_lucent(benchmark, capsys, case) -> None:
    """One unit at a time, as its tutorials do; its optimizer is Adam, so that only the time can be compared."""
    render, objectives, param = (
        pytest.importorskip(f"lucent.optvis.{part}") for part in ("render", "objectives", "param")
    )
    colours, height, width = case.shape
    if colours != 3:
        pytest.skip("lucent makes images of three colours only by default")
    settings = {"transforms": [], "thresholds": (STEPS,), "preprocess": False, "progress": False}

    def by_lucent() -> list:
        found = []
        for unit in range(UNITS):
            objective = objectives.neuron(case.layer.replace(".", "_"), unit)
            found += render.render_vis(
                case.model,
                objective,
                lambda: param.image(width, height, fft=False, decorrelate=False),
                fixed_image_size=(height, width),
                show_image=False,
                **settings,
            )
            for module in case.model.modules():
                module._forward_hooks.clear()  # it leaves its own behind, and grows slower with each image
        return found

    assert len(timed(benchmark, f"{case.name} by lucent", by_lucent)) == UNITS
    compare(benchmark, capsys, f"{case.name} by lucent", f"{case.name} in one batch")


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return torch.rand(9, 3, 224, 224, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture(scope="module")
def deconvnet() -> Deconvnet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Deconvnet(squeezenet().model)


def test_nine_activations_in_one_pass(benchmark, deconvnet, photos) -> None:
    pictures = timed(benchmark, "nine activations in one pass", deconvnet, photos, "features.7", range(9))
    assert pictures.shape == photos.shape


def test_nine_activations_in_nine_passes(benchmark, capsys, deconvnet, photos) -> None:
    def nine_passes() -> Tensor:
        return torch.cat([deconvnet(photo[None], "features.7", unit) for unit, photo in enumerate(photos)])

    pictures = timed(benchmark, "nine activations in nine passes", nine_passes)
    assert_alike(pictures, deconvnet(photos, "features.7", range(9)))
    compare(benchmark, capsys, "nine activations in nine passes", "nine activations in one pass")


@pytest.mark.filterwarnings("ignore")
def test_nine_activations_by_captum(benchmark, capsys, deconvnet, photos) -> None:
    """One unit in nine images, which is the most that it does in one pass; its poolings are those of a gradient."""
    captum = pytest.importorskip("captum.attr")
    by_captum = captum.NeuronDeconvolution(deconvnet.model, deconvnet.model.features[7])
    pictures = timed(benchmark, "nine activations by captum", by_captum.attribute, photos, (0, 6, 6))
    assert pictures.shape == photos.shape
    compare(benchmark, capsys, "nine activations by captum", "nine activations in one pass")
