"""Every data set of the course behind one call: `labkit.data.load("mnist", profile="quick")`.

Importing this is cheap; torch, numpy and the download tools are imported when data are loaded. To add a data set, write
one module with a `load(profile)` and give it a name in LOADERS. Images with labels come as a `Dataset`, rows of
features as a `Table`, both already split; photographs as `Photographs`, from which a lesson cuts patches and
`backgrounds`, on which `place` and `digit_scenes` put what is to be recognised; vibration as `Bearings`, recordings
from which it cuts windows and splits them.
`pretrained` is no data set but a network that was trained on one, ImageNet; `resnet20_weights` are those of another.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit import PROFILES
from labkit.data import (
    bearings,
    cifar,
    faces,
    fashion_mnist,
    image_folders,
    mnist,
    omniglot,
    photos,
    smallnorb,
    svhn,
    uci,
)
from labkit.data.bearing_kinematics import (
    SKF_6205,
    BallBearing,
    DefectFrequencies,
    defect_frequencies,
    envelope_spectrum,
)
from labkit.data.bearing_simulator import simulate_bearing
from labkit.data.bearings import simulated_bearings
from labkit.data.cifar_resnet import TrainedWeights, resnet20_weights
from labkit.data.dataset import Dataset, Rows, Split, Table
from labkit.data.fetch import DataError, fetch
from labkit.data.image_folders import ImageFolders, random_crops
from labkit.data.imagenet import ImageNetModel, pretrained
from labkit.data.omniglot import Omniglot
from labkit.data.patterns import Patterns, digit_patterns, face_patterns
from labkit.data.photos import Photographs, backgrounds
from labkit.data.recordings import CONDITIONS, FAULTS, Bearings, Recording, decimated, read_as, ten_classes
from labkit.data.scenes import Scenes, digit_scenes, place, soft_disc
from labkit.data.smallnorb import NorbSplit, ViewpointSplit, viewpoint_split
from labkit.data.windows import Windows, cut_windows, shared_samples, split_at_random, split_by_load, split_by_time
from labkit.provenance import note_data

__all__ = [
    "CONDITIONS",
    "FAULTS",
    "LOADERS",
    "SKF_6205",
    "BallBearing",
    "Bearings",
    "DataError",
    "Dataset",
    "DefectFrequencies",
    "ImageFolders",
    "ImageNetModel",
    "NorbSplit",
    "Omniglot",
    "Patterns",
    "Photographs",
    "Recording",
    "Rows",
    "Scenes",
    "Split",
    "Table",
    "TrainedWeights",
    "ViewpointSplit",
    "Windows",
    "backgrounds",
    "cut_windows",
    "decimated",
    "defect_frequencies",
    "digit_patterns",
    "digit_scenes",
    "envelope_spectrum",
    "face_patterns",
    "fetch",
    "load",
    "place",
    "pretrained",
    "random_crops",
    "read_as",
    "resnet20_weights",
    "shared_samples",
    "simulate_bearing",
    "simulated_bearings",
    "soft_disc",
    "split_at_random",
    "split_by_load",
    "split_by_time",
    "ten_classes",
    "viewpoint_split",
]

LOADERS: dict[str, Callable[[str], Dataset | Table | Photographs | Bearings | ImageFolders]] = {
    "bearings": bearings.load,
    "bearings_fan_end": bearings.load_fan_end,
    "cars196": image_folders.load_cars,
    "cifar10": cifar.load,
    "cub200": image_folders.load_cub,
    "faces": faces.load,
    "fashion_mnist": fashion_mnist.load,
    "letter": uci.load_letter,
    "mnist": mnist.load,
    "omniglot": omniglot.load,
    "pendigits": uci.load_pendigits,
    "photos": photos.load,
    "shuttle": uci.load_shuttle,
    "smallnorb": smallnorb.load,
    "svhn": svhn.load,
}


def load(name: str, *, profile: str = "quick") -> Dataset | Table | Photographs | Bearings | ImageFolders:
    """The data set `name` at the scale of `profile`: "quick" needs no network, "full" and "paper" are the real thing.

    "mnist", "faces" and, not at "quick", "cifar10", "fashion_mnist", "smallnorb" and "svhn" are a `Dataset` of images;
    "omniglot" (not at "quick") is an `Omniglot`, a `Dataset` that knows alphabets; "cub200" and "cars196" (at "paper"
    only) are `ImageFolders`; "letter", "pendigits" and "shuttle" (not at "quick") are a `Table` of features; "photos"
    is `Photographs`; "bearings" is a `Bearings` of recordings, at "quick" simulated ones, "bearings_fan_end" the same
    from the sensor at the other end of the motor.

    Raises ValueError for an unknown name or profile, and DataError, in one sentence, when a file cannot be had or is
    not what it should be.
    """
    if name not in LOADERS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(sorted(LOADERS))}.")
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}.")
    found = LOADERS[name](profile)
    note_data(name, found.source)
    return found
