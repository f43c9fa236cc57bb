"""Every data set of the course behind one call: `labkit.data.load("mnist", profile="quick")`.

Importing this is cheap; torch, numpy and the download tools are imported when data are loaded. To add a data set, write
one module with a `load(profile)` that returns a Dataset, or its like, and give it a name in LOADERS.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit import PROFILES
from labkit.data import mnist, photos
from labkit.data.dataset import Dataset, Split
from labkit.data.fetch import DataError, fetch
from labkit.data.photos import Photographs

__all__ = ["LOADERS", "DataError", "Dataset", "Photographs", "Split", "fetch", "load"]

LOADERS: dict[str, Callable[[str], Dataset | Photographs]] = {"mnist": mnist.load, "photos": photos.load}


def load(name: str, *, profile: str = "quick") -> Dataset | Photographs:
    """The data set `name` at the scale of `profile`: "quick" needs no network, "full" and "paper" are the real thing.

    Raises ValueError for an unknown name or profile, and DataError, in one sentence, when a file cannot be had or is
    not what it should be.
    """
    if name not in LOADERS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(sorted(LOADERS))}.")
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}.")
    return LOADERS[name](profile)
