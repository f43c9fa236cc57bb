"""Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing, in the files' format of MNIST (Xiao et al., 2017).

No package brings it along, so `quick` has none; `full` and `paper` are the four official files, 31 MB.
"""

from __future__ import annotations

from labkit.data.dataset import Dataset
from labkit.data.fetch import DataError, Known
from labkit.data.mnist import IdxFile, read_official

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # the one that torchvision uses
PAGE = "https://github.com/zalandoresearch/fashion-mnist"
LICENCE = "MIT; cite Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


# torchvision knows the files by their md5 only; these sums and sizes are those of TensorFlow Datasets 4.9. Neither they
# nor the address could be tried against the network when this was written.
SUMS = {
    "train-images-idx3-ubyte": ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
    "train-labels-idx1-ubyte": ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    "t10k-images-idx3-ubyte": ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
    "t10k-labels-idx1-ubyte": ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
}
FILES = tuple(IdxFile(Known(f"FashionMNIST/raw/{name}.gz", *known)) for name, known in SUMS.items())
"""Training images and labels, then test images and labels, where torchvision keeps them, too."""


def load(profile: str) -> Dataset:
    """Fashion-MNIST for "full" or "paper": 60,000 + 10,000 images (N, 1, 28, 28).

    Raises DataError for "quick", and when a file cannot be had or is not what it should be.
    """
    if profile == "quick":
        raise DataError('Fashion-MNIST comes with no package, so there is none at profile "quick": use profile "full".')
    train, test = read_official(FILES, [URL])
    return Dataset(
        train=train,
        test=test,
        name="fashion_mnist",
        source="The official Fashion-MNIST files, checked by their sha256 sums.",
        licence=LICENCE,
        url=PAGE,
        classes=CLASSES,
    )
