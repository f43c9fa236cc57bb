"""smallNORB is read from the six files as they are published, and split by where the camera stood."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import labkit.data
from labkit.data import DataError, Dataset, NorbSplit, smallnorb, viewpoint_split
from labkit.data.fetch import Known
from labkit.data.norb_files import TEST, TRAIN, NorbFiles, read_matrix

MAGIC = {"float32": 0x1E3D4C51, "float64": 0x1E3D4C53, "int32": 0x1E3D4C54, "uint8": 0x1E3D4C55, "int16": 0x1E3D4C56}
VIEWS = np.array(list(itertools.product(range(9), range(0, 36, 2))))  # all 162 of (elevation, azimuth)
EVERY_FILE = [file.path.removesuffix(".gz") for file in (*TRAIN, *TEST)]
DAT, CAT, INFO = EVERY_FILE[:3]

pytestmark = pytest.mark.usefixtures("one_thread")


def matrix(array: np.ndarray, *, magic: int | None = None, ndim: int | None = None) -> bytes:
    """`array` as such a file, with a header that may be another's."""
    sizes = [*array.shape, 1, 1, 1][: max(3, array.ndim)]
    header = (magic or MAGIC[array.dtype.name], array.ndim if ndim is None else ndim, *sizes)
    return struct.pack(f"<{len(header)}I", *header) + array.astype(array.dtype.newbyteorder("<")).tobytes()


def in_one_sentence(caught: pytest.ExceptionInfo) -> str:
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return said


def says(profile: str = "paper") -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(DataError) as caught:
        labkit.data.load("smallnorb", profile=profile)
    return in_one_sentence(caught)


def put(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def arrays(seed: int, instance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dat, cat and info of 162 pairs, one toy from every viewpoint, in a mixed order."""
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, 256, size=(162, 2, 96, 96), dtype=np.uint8)
    views, lighting = generator.permutation(VIEWS), generator.integers(0, 6, size=162)
    info = np.column_stack([np.full(162, instance), views, lighting]).astype(np.int32)
    return pairs, (np.arange(162) % 5).astype(np.int32), info


SMALL = (*arrays(0, instance=4), *arrays(1, instance=0))
PACKED = gzip.compress(matrix(SMALL[2]))


@pytest.fixture(scope="module")
def unpacked() -> dict[str, bytes]:
    """The six files of a small set, by their places."""
    return {name: matrix(array) for name, array in zip(EVERY_FILE, SMALL, strict=True)}


@pytest.fixture(scope="module")
def packed(unpacked) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content, 1, mtime=0) for name, content in unpacked.items()}


@pytest.fixture
def _small(monkeypatch, packed) -> None:
    """Let the small set be the known one."""
    known = [Known(path, hashlib.sha256(content).hexdigest(), len(content)) for path, content in packed.items()]
    monkeypatch.setattr(smallnorb, "TRAIN", NorbFiles(*known[:3]))
    monkeypatch.setattr(smallnorb, "TEST", NorbFiles(*known[3:]))
    monkeypatch.setattr(smallnorb, "PAIRS", 162)


def assert_is_the_small_one(loaded: Dataset) -> None:
    for split, (pairs, category, info) in ((loaded.train, SMALL[:3]), (loaded.test, SMALL[3:])):
        assert isinstance(split, NorbSplit)
        assert split.images.shape == (324, 1, 48, 48)
        assert split.images.dtype == torch.float32
        for i in (0, 100, 161):
            for camera in (0, 1):
                by_pil = np.asarray(Image.fromarray(pairs[i, camera]).resize((48, 48), Image.Resampling.BILINEAR))
                assert torch.equal(split.images[2 * i + camera, 0], torch.tensor(by_pil) / 255)
        found = (split.labels, split.instance, split.elevation, split.azimuth, split.lighting)
        for codes, column in zip(found, [category, *info.T], strict=True):
            assert codes.dtype == torch.int64
            assert codes.tolist() == column.repeat(2).tolist()


# ---- the format of the files ----


@pytest.mark.parametrize("kind", MAGIC)
@pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 3, 4), (2, 3, 4, 5)], ids=len)
@pytest.mark.parametrize("suffix", [".mat", ".mat.gz"])
def test_every_type_and_number_of_dimensions_is_read_packed_or_not(tmp_path, kind, shape, suffix) -> None:
    array = (np.random.default_rng(0).standard_normal(shape) * 50).astype(kind)
    content = matrix(array)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    found = read_matrix(path)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert found.shape == shape


def test_a_file_written_by_hand_is_read_as_the_page_describes_it(tmp_path) -> None:
    content = "544c3d1e 01000000 02000000 01000000 01000000 04030201 ffffffff"  # int32, 1 dimension, sizes 2, 1, 1
    (tmp_path / "cat.mat").write_bytes(bytes.fromhex(content))
    assert read_matrix(tmp_path / "cat.mat").tolist() == [0x01020304, -1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a matrix of a known type (it begins with 0x00000000)"),
        (b"MATLAB 5.0 MAT-file", "is not a matrix of a known type (it begins with 0x4c54414d)"),
        (matrix(SMALL[1], magic=0x1E3D4C52), "known type (it begins with 0x1e3d4c52)"),  # packed
        (matrix(SMALL[1], magic=0x544C3D1E), "known type (it begins with 0x544c3d1e)"),  # big-endian
        (matrix(SMALL[1], ndim=0), "is not a matrix of 1 to 4 dimensions with a whole header (0 are announced)"),
        (matrix(np.zeros((1, 1, 1, 1, 1), np.uint8)), "dimensions with a whole header (5 are announced)"),
        (matrix(SMALL[1])[:4], "dimensions with a whole header (0 are announced)"),
        (matrix(SMALL[1])[:16], "dimensions with a whole header (1 are announced)"),
        (matrix(SMALL[0])[:23], "dimensions with a whole header (4 are announced)"),
        (matrix(SMALL[1])[:-1], "does not hold the (162,) int32 that its header says"),
        (matrix(SMALL[1]) + b"!", "does not hold the (162,) int32 that its header says"),
        (matrix(SMALL[1])[:20], "does not hold the (162,) int32 that its header says"),
    ],
)
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path, content: bytes, sentence: str) -> None:
    (path := tmp_path / "file.mat").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_matrix(path)
    said = in_one_sentence(caught)
    assert said.startswith(f"{path} ")
    assert sentence in said


@pytest.mark.parametrize(
    "content",
    [b"not packed", PACKED[:-20], PACKED[:-8] + bytes(8), PACKED[:10] + b"\xff" * 50],
    ids=["not packed", "truncated", "another checksum", "garbled"],
)
def test_a_packed_file_that_cannot_be_unpacked_is_refused(tmp_path, content: bytes) -> None:
    (path := tmp_path / "file.mat.gz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_matrix(path)
    assert in_one_sentence(caught).startswith(f"{path} cannot be read (")


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.mat cannot be read \(No such file or directory\): put the original"):
        read_matrix(tmp_path / "nowhere.mat")


# ---- the data set ----


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("profile", ["full", "paper"])
@pytest.mark.parametrize("form", ["packed", "unpacked"])
def test_the_six_files_are_read_packed_or_unpacked_and_their_place_is_left_as_it_was(
    data, cache, packed, unpacked, form: str, profile: str
) -> None:
    put(data, packed if form == "packed" else unpacked)
    before = sorted(data.rglob("*"))
    loaded = labkit.data.load("smallnorb", profile=profile)
    assert_is_the_small_one(loaded)
    assert ("checked by their sha256 sums" in loaded.source) == (form == "packed")
    assert loaded.classes == ("animal", "human", "plane", "truck", "car")
    assert sorted(data.rglob("*")) == before
    assert not cache.exists()


@pytest.mark.usefixtures("_small")
def test_files_in_the_cache_serve_at_full_too(cache, packed, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    put(cache, packed)
    assert_is_the_small_one(labkit.data.load("smallnorb", profile="full"))


@pytest.mark.usefixtures("_small")
def test_where_a_file_lies_packed_and_unpacked_the_one_with_a_known_sum_is_taken(data, packed, unpacked) -> None:
    put(data, packed | unpacked | {DAT: b"altered"})
    assert_is_the_small_one(labkit.data.load("smallnorb", profile="full"))


def test_quick_has_none_and_says_what_to_do() -> None:
    assert says("quick").endswith('use profile "paper".')


@pytest.mark.usefixtures("_small")
def test_paper_downloads_what_is_missing_and_full_says_which_six_files_it_needs(
    monkeypatch, data, cache, server, packed
) -> None:
    monkeypatch.setattr(smallnorb, "PAGE", f"{server.url}/good/")
    put(data, {name: content for name, content in packed.items() if name != f"{INFO}.gz"})
    said = says("full")
    assert said.startswith(f'{INFO}.gz is not at hand, and profile "full" does not download it: put ')
    assert "training-{dat,cat,info}.mat.gz and smallnorb-5x01235x9x18x6x2x96x96-testing-{dat,cat,info}.mat.gz" in said
    assert server.requests == []
    server.content = packed[f"{INFO}.gz"]
    assert_is_the_small_one(labkit.data.load("smallnorb", profile="paper"))
    assert server.requests == [f"/good/{Path(INFO).name}.gz"]
    assert [path.name for path in cache.rglob("*.gz")] == [f"{Path(INFO).name}.gz"]


def test_offline_the_six_files_and_their_page_are_named(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    said = says()
    assert said.startswith(f"{DAT}.gz is neither in LABKIT_DATA (not set) nor in the cache ")
    assert "one of the six files that are needed, smallnorb-5x46789" in said
    assert "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/" in said


@pytest.mark.usefixtures("_small")
def test_an_altered_packed_file_is_named_and_not_used(data, packed) -> None:
    name = f"{CAT}.gz"
    put(data, packed | {name: packed[name][:-1] + b"?"})
    assert says().startswith(f"{data / name} is altered (")


def with_codes(row: int, column: int, code: int) -> np.ndarray:
    info = SMALL[2].copy()
    info[row, column] = code
    return info


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        (DAT, SMALL[0][:, :, :48], "holds (162, 2, 48, 96) uint8 instead of (162, 2, 96, 96) uint8"),
        (DAT, SMALL[0][1:], "holds (161, 2, 96, 96) uint8 instead of (162, 2, 96, 96) uint8"),
        (DAT, SMALL[0].astype(np.int16), "holds (162, 2, 96, 96) int16 instead of (162, 2, 96, 96) uint8"),
        (CAT, SMALL[1][:, None], "holds (162, 1) int32 instead of (162,) integer"),
        (CAT, SMALL[1].astype(np.float32), "holds (162,) float32 instead of (162,) integer"),
        (INFO, SMALL[2][:, :3], "holds (162, 3) int32 instead of (162, 4) integer"),
    ],
)
def test_an_unpacked_file_of_another_shape_or_type_is_refused(data, unpacked, name, array, sentence) -> None:
    put(data, unpacked | {name: matrix(array)})
    assert says().startswith(f"{data / name} {sentence}: put the original file there")


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("name", "array"),
    [
        (CAT, SMALL[1] + 1),
        (INFO, with_codes(5, 0, 10)),
        (INFO, with_codes(5, 1, 9)),
        (INFO, with_codes(5, 2, 7)),  # azimuths are even
        (INFO, with_codes(5, 3, -1)),
        (INFO, np.vstack([SMALL[2][5:], SMALL[2][:5]]) * 0 + SMALL[2][0]),
    ],
    ids=["category", "instance", "elevation", "azimuth", "lighting", "one view for all"],
)
def test_unpacked_codes_that_are_not_those_of_smallnorb_are_refused(data, unpacked, name, array) -> None:
    put(data, unpacked | {name: matrix(array.astype(np.int32))})
    said = says()
    assert said.startswith(f"{data / INFO} does not, with {Path(CAT).name}, tell of 162 different views")


# ---- the split by viewpoint ----


@pytest.fixture(scope="module")
def whole() -> Dataset:
    """All views of the real sets, in a mixed order, where the only pixel of an image is its number."""

    def split(instances: tuple[int, ...], seed: int) -> NorbSplit:
        views = itertools.product(range(5), instances, range(9), range(0, 36, 2), range(6), range(2))
        codes = torch.tensor(list(views))[torch.randperm(48_600, generator=torch.Generator().manual_seed(seed))]
        return NorbSplit(torch.arange(48_600.0).view(-1, 1, 1, 1), *codes.T[:5])

    return Dataset(split((4, 6, 7, 8, 9), 0), split((0, 1, 2, 3, 5), 1), "smallnorb", "", "", "")


@pytest.mark.parametrize(
    ("by", "familiar"), [("azimuth", [0, 2, 4, 30, 32, 34]), ("elevation", [0, 1, 2])], ids=["azimuth", "elevation"]
)
def test_a_third_of_the_viewpoints_are_familiar_and_two_thirds_of_the_test_set_is_novel(whole, by, familiar) -> None:
    train, known, novel = split = viewpoint_split(whole, by)
    assert [len(each) for each in split] == [16_200, 16_200, 32_400]
    assert getattr(train, by).unique().tolist() == familiar
    assert getattr(known, by).unique().tolist() == familiar
    assert getattr(novel, by).unique().tolist() == sorted(set(getattr(whole.test, by).tolist()) - set(familiar))
    assert train.instance.unique().tolist() == [4, 6, 7, 8, 9]
    assert known.instance.unique().tolist() == novel.instance.unique().tolist() == [0, 1, 2, 3, 5]
    assert [each.labels.bincount().unique().tolist() for each in split] == [[3240], [3240], [6480]]


@pytest.mark.parametrize("by", ["azimuth", "elevation"])
def test_every_image_keeps_its_codes_and_every_test_image_is_in_one_part(whole, by) -> None:
    train, familiar, novel = viewpoint_split(whole, by)
    for part, of in ((train, whole.train), (familiar, whole.test), (novel, whole.test)):
        numbers = part.images.flatten().long()
        for column in ("labels", "instance", "elevation", "azimuth", "lighting"):
            assert torch.equal(getattr(part, column), getattr(of, column)[numbers])
    numbers = torch.cat([familiar.images, novel.images]).flatten()
    assert torch.equal(numbers.sort().values, torch.arange(48_600.0))


@pytest.mark.usefixtures("_small")
def test_what_was_loaded_can_be_split(data, packed) -> None:
    put(data, packed)
    loaded = labkit.data.load("smallnorb", profile="paper")
    assert [len(each) for each in viewpoint_split(loaded, "azimuth")] == [108, 108, 216]
    assert [len(each) for each in viewpoint_split(loaded, "elevation")] == [108, 108, 216]


def test_another_word_or_another_data_set_is_refused(whole) -> None:
    with pytest.raises(ValueError, match=r'by "azimuth" or by "elevation", not by \'lighting\'\.'):
        viewpoint_split(whole, "lighting")
    with pytest.raises(
        TypeError, match=r"the viewpoints of 'faces' are not known: give what load\('smallnorb'\) gives\."
    ):
        viewpoint_split(labkit.data.load("faces"), "azimuth")
