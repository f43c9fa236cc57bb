"""The six files of smallNORB: how each is known to be the right one, and the format they are written in."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labkit.data.fetch import DataError, Known

if TYPE_CHECKING:
    import numpy as np

PAGE = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"  # of the files, too

ELEMENTS = {  # the type of the elements, by the first four bytes; "packed", 0x1E3D4C52, is named but nowhere explained
    0x1E3D4C51: "<f4",
    0x1E3D4C53: "<f8",
    0x1E3D4C54: "<i4",
    0x1E3D4C55: "u1",
    0x1E3D4C56: "<i2",
}


class NorbFiles(NamedTuple):
    """The three files of one of the two sets, packed as they are published."""

    dat: Known  # (24300, 2, 96, 96) bytes: the left and the right image of each pair
    cat: Known  # (24300,) integers: the category
    info: Known  # (24300, 4) integers: instance, elevation, azimuth, lighting


def _known(name: str, sha256: str, size: int) -> Known:
    return Known(f"smallnorb/smallnorb-{name}.mat.gz", sha256, size)


# The sums and sizes are those by which TensorFlow Datasets 4.9 knows the files. Neither they nor the addresses could be
# tried against the network when this was written.
TRAIN = NorbFiles(
    _known(
        "5x46789x9x18x6x2x96x96-training-dat",
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
        131_896_188,
    ),
    _known(
        "5x46789x9x18x6x2x96x96-training-cat",
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
        348,
    ),
    _known(
        "5x46789x9x18x6x2x96x96-training-info",
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
        71_052,
    ),
)
TEST = NorbFiles(
    _known(
        "5x01235x9x18x6x2x96x96-testing-dat",
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
        130_799_817,
    ),
    _known(
        "5x01235x9x18x6x2x96x96-testing-cat",
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
        347,
    ),
    _known(
        "5x01235x9x18x6x2x96x96-testing-info",
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
        10_428,
    ),
)
SIX = (
    "smallnorb-5x46789x9x18x6x2x96x96-training-{dat,cat,info}.mat.gz and "
    f"smallnorb-5x01235x9x18x6x2x96x96-testing-{{dat,cat,info}}.mat.gz of {PAGE}"
)


def read_matrix(path: Path) -> np.ndarray:
    """The array, of 1 to 4 dimensions and read-only, in a file of NORB's "binary matrix" format, packed (.gz) or not.

    A file is, little-endian: a number for the type of the elements; the number of dimensions; their sizes, at least
    three, of which the last count for nothing where there are fewer dimensions; and the elements, the last dimension
    changing fastest. Types are float32, float64, int32, uint8 and int16. Raises DataError if it is anything else.
    """
    import numpy as np

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise refusal(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    magic, ndim, *sizes = np.frombuffer(content[:24].ljust(24, b"\0"), dtype="<u4").tolist()
    start = 8 + 4 * max(3, ndim)
    if magic not in ELEMENTS:
        raise refusal(path, f"is not a matrix of a known type (it begins with {magic:#010x})")
    if not 1 <= ndim <= 4 or len(content) < start:
        raise refusal(path, f"is not a matrix of 1 to 4 dimensions with a whole header ({ndim} are announced)")
    shape, dtype = tuple(sizes[:ndim]), np.dtype(ELEMENTS[magic])
    if len(content) - start != math.prod(shape) * dtype.itemsize:
        raise refusal(path, f"does not hold the {shape} {dtype.name} that its header says")
    return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)


def refusal(path: Path, problem: str) -> DataError:
    """The error about a file in one sentence, with the page where the original is."""
    return DataError(f"{path} {problem}: put the original file there, from {PAGE}.")
