"""SVHN: 32 x 32 colour photographs of digits on house numbers, cropped, in Google Street View (Netzer et al., 2011).

No package brings it along, so `quick` has none; `full` reads it where the files lie, `paper` downloads them as well.
The 531,131 easier "extra" images are left out.
"""

from __future__ import annotations

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, Known, at_hand, fetch

PAGE = "http://ufldl.stanford.edu/housenumbers/"
LICENCE = (
    "for non-commercial use only, as its catalogues state; cite Netzer, Wang, Coates, Bissacco, Wu and Ng (2011), "
    "Reading Digits in Natural Images with Unsupervised Feature Learning"
)

# torchvision knows the files by their md5 only; these sums and sizes are those of TensorFlow Datasets 4.9. Neither they
# nor the addresses could be tried against the network when this was written.
FILES = {
    "train": Known(
        "svhn/train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794
    ),
    "test": Known(
        "svhn/test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384
    ),
}


def load(profile: str) -> Dataset:
    """SVHN for "full" or "paper": 73,257 + 26,032 images (N, 3, 32, 32), 900 + 320 MB, labelled by the digit, 0 to 9.

    The two files are checked by their sha256 and md5 sums; "full" takes them only where they lie already. Raises
    DataError for "quick", and when a file cannot be had or is not what it should be.
    """
    if profile == "quick":
        raise DataError('SVHN comes with no package, so there is none at profile "quick": use profile "paper".')
    if profile == "full" and not at_hand(*(file.path for file in FILES.values())):
        raise DataError(
            f'SVHN is not at hand, and profile "full" does not download it: put train_32x32.mat and test_32x32.mat of '
            f'{PAGE} into the folder svhn of LABKIT_DATA, or use profile "paper".'
        )
    return Dataset(
        train=_split("train"),
        test=_split("test"),
        name="svhn",
        source="The official cropped digits of SVHN, without its extra set, checked by their sums.",
        licence=LICENCE,
        url=PAGE,
    )


def _split(part: str) -> Split:
    import torch
    from torchvision.datasets import SVHN

    file, (url, *_) = FILES[part], SVHN.split_list[part]
    path = fetch(file.path, sha256=file.sha256, bytes=file.bytes, urls=[url])  # torchvision would leave half a file
    digits = SVHN(path.parent, split=part)  # checks the md5, and turns label 10 into 0
    images = torch.from_numpy(digits.data).to(
        torch.float32, memory_format=torch.contiguous_format
    )  # columns came first
    return Split(images.div_(255), torch.from_numpy(digits.labels))
