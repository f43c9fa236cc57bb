"""Networks trained on ImageNet, with the names of its 1,000 categories.

The architectures and the names come with torchvision. The weights are its own files, known by the start of their
sha256 sum, which stands in their names; for SqueezeNet a file with the weights of its authors does as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labkit.data.fetch import Known, fetch

if TYPE_CHECKING:
    from torch import Tensor, nn

NAMES = ("alexnet", "resnet18", "resnet50", "squeezenet1_0", "vgg16")
SOURCE = "{} as it comes with torchvision, trained there on ImageNet (ILSVRC 2012)."
LICENCE = (
    "code: BSD-3-Clause (torchvision); weights: torchvision states no licence for them, and ImageNet grants its images "
    "for non-commercial research and education only"
)
BY_AUTHORS = Known(
    "weights/squeezenet1_0_deepcomp_tv.pth",
    "f4e3eaedf056223f3479a37416f3e665424f436d7af8dada4eb976b5acb02c25",
    5_011_163,
)
SOURCE_BY_AUTHORS = (
    "squeezenet1_0 as its authors published it with Deep Compression (two thirds of its weights are 0, the others of "
    "a layer share 255 values), trained on ImageNet (ILSVRC 2012) and brought into torchvision's form."
)
LICENCE_BY_AUTHORS = (
    "code: BSD-3-Clause (torchvision); weights: derived from a file under a licence in the style of BSD-2-Clause, and "
    "ImageNet grants its images for non-commercial research and education only"
)


@dataclass(frozen=True, eq=False)
class ImageNetModel:
    """A trained network, what it expects and what it answers, and what a reader must know to cite and judge it."""

    model: nn.Module  # in eval mode, no gradient for its weights: (N, 3, size, size) normalised -> logits (N, 1000)
    name: str
    categories: tuple[str, ...]  # what each of the 1,000 logits stands for
    mean: Tensor  # (3,) of red, green and blue in [0, 1]: to be subtracted from an image
    std: Tensor  # (3,): the image is then to be divided by it
    size: int  # pixels
    source: str  # one sentence
    licence: str


def pretrained(name: str = "squeezenet1_0") -> ImageNetModel:
    """The trained "alexnet", "resnet18", "resnet50", "squeezenet1_0" or "vgg16": 233, 45, 98, 5 and 528 MB.

    The file, weights/ and torchvision's name for it, is looked for in LABKIT_DATA and the cache, or else downloaded; it
    is checked before it is read, and no code in it is run. For SqueezeNet the authors' file serves where it lies.
    `size` is 224 as in torchvision; AlexNet and SqueezeNet as published see 227 pixels, which these take as well.

    Raises ValueError for an unknown name, and DataError, in one sentence, when there is no such file to be had or it is
    not what it should be.
    """
    import torch
    from torchvision.models import get_model, get_model_weights

    if name not in NAMES:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NAMES)}.")
    weights = get_model_weights(name).IMAGENET1K_V1
    file = PurePosixPath(urlsplit(weights.url).path)  # squeezenet1_0-b66bff10.pth: with the start of its sum
    also = [BY_AUTHORS] if name == "squeezenet1_0" else []
    path = fetch(f"weights/{file.name}", sha256=file.stem.split("-")[-1], bytes=None, urls=[weights.url], also=also)
    with torch.device("meta"):  # without drawing weights at random, which takes time and moves on the global seed
        model = get_model(name, weights=None)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=True)
    preprocessing = weights.transforms()
    by_authors = path.name == PurePosixPath(BY_AUTHORS.path).name
    return ImageNetModel(
        model=model.eval().requires_grad_(False),
        name=name,
        categories=tuple(weights.meta["categories"]),
        mean=torch.tensor(preprocessing.mean),
        std=torch.tensor(preprocessing.std),
        size=preprocessing.crop_size[0],
        source=SOURCE_BY_AUTHORS if by_authors else SOURCE.format(name),
        licence=LICENCE_BY_AUTHORS if by_authors else LICENCE,
    )
