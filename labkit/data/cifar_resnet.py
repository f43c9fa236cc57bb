"""A ResNet-20 that was trained on CIFAR-10, as its author published it: 91.73 % right on the 10,000 test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.data.fetch import Known, fetch

if TYPE_CHECKING:
    from torch import Tensor

PAGE = "https://github.com/akamaster/pytorch_resnet_cifar10"
URL = f"{PAGE}/raw/master/pretrained_models/resnet20-12fca82f.th"  # could not be tried when this was written
FILE = Known(
    "weights/resnet20-12fca82f.th", "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 1_099_231
)
LICENCE = "BSD-2-Clause; trained on CIFAR-10, whose authors state none"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what it was trained with, though they are ImageNet's


@dataclass(frozen=True, eq=False)
class TrainedWeights:
    """What to load into a network, what that then expects, and what a reader must know to cite and judge it."""

    state: dict[str, Tensor]  # for load_state_dict
    mean: Tensor  # (3,) of red, green and blue in [0, 1]: to be subtracted from an image
    std: Tensor  # (3,): the image is then to be divided by it
    source: str  # one sentence
    licence: str
    url: str


def resnet20_weights() -> TrainedWeights:
    """The published weights of ResNet-20 (He et al., 2016) for CIFAR-10, 1 MB, under the names of this course.

    They fit `labkit.papers.self_routing_capsules.resnet20_capsules("average")`: `resnet20_features` first, then the
    linear layer at place 3. Images are (N, 3, 32, 32) in [0, 1], of which `mean` is to be subtracted before they are
    divided by `std`; labels are those of `load("cifar10")`.

    The file is looked for in LABKIT_DATA and the cache, or else downloaded; it is checked before it is read, and no
    code in it is run. Raises DataError, in one sentence, when it cannot be had or is not what it should be.
    """
    import torch

    path = fetch(FILE.path, sha256=FILE.sha256, bytes=FILE.bytes, urls=[URL])
    published = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return TrainedWeights(
        state={_our_name(name): value for name, value in published.items()},
        mean=torch.tensor(MEAN),
        std=torch.tensor(STD),
        source="ResNet-20 trained on the training images of CIFAR-10, published at the url, checked by its sha256 sum.",
        licence=LICENCE,
        url=PAGE,
    )


def _our_name(published: str) -> str:
    """ "module.layer2.0.conv1.weight" -> "0.6.conv1.weight": blocks are numbered through, after three other layers."""
    part, _, rest = published.removeprefix("module.").partition(".")
    if part.startswith("layer"):
        block, _, rest = rest.partition(".")
        return f"0.{3 * int(part[-1]) + int(block)}.{rest}"
    return f"{ {'conv1': '0.0', 'bn1': '0.1', 'linear': '3'}[part] }.{rest}"
