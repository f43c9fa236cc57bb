"""100 small grey faces and 100 pieces of background, from Labeled Faces in the Wild, which come with scikit-image."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError

SHA256 = "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c"  # of scikit-image's lfw_subset.npy
LICENCE = "none stated by scikit-image nor by the authors; cite Huang, Mattar, Lee and Learned-Miller (2012)"


def load(profile: str) -> Dataset:
    """Faces (label 1) and what is none (label 0), 25 x 25 pixels, the same at every profile; nothing is downloaded.

    Each split has 50 of both, in turn: those at even places of scikit-image's file are for training, the others for
    testing. Two traps: about half of the pieces of background show the black border of a turned photograph, which no
    face does, and they are darker (their mean brightness alone tells 4 of 5 from the faces); and a few of them show a
    part of a face.

    Raises DataError when scikit-image lacks its file or has another one.
    """
    import numpy as np
    import skimage
    import torch

    path = Path(skimage.__file__).parent / "data" / "lfw_subset.npy"
    try:
        content = path.read_bytes()  # skimage.data.lfw_subset() would go and download what it lacks
    except OSError as error:
        raise DataError(f"the faces that come with scikit-image are missing ({error}): reinstall it.") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"{path} does not hold the 200 images that this course knows: reinstall scikit-image.")
    images = torch.from_numpy(np.load(io.BytesIO(content))).float()[:, None]  # (200, 1, 25, 25), the faces first
    labels = torch.tensor([1] * 100 + [0] * 100)
    in_turn = torch.arange(200).view(2, 100).T  # (100, 2): a face and a piece of background
    return Dataset(
        train=Split(images[in_turn[0::2].flatten()], labels[in_turn[0::2].flatten()]),
        test=Split(images[in_turn[1::2].flatten()], labels[in_turn[1::2].flatten()]),
        name="faces",
        source="100 faces picked at random from Labeled Faces in the Wild and 100 pieces of its backgrounds, as they "
        "come with scikit-image, resized to 25 x 25 pixels.",
        licence=LICENCE,
        url="http://vis-www.cs.umass.edu/lfw/",
    )
