"""SVHN is read from its two files, whole and unaltered, and a nine is a nine and a zero a zero."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import SVHN

import labkit.data
from labkit.data import DataError, Dataset, svhn
from labkit.data.fetch import Known

PIXELS = np.random.default_rng(0).integers(
    0, 256, size=(32, 32, 3, 12), dtype=np.uint8
)  # as in the files, (H, W, C, N)
LABELS = np.array([*range(1, 11), 10, 9])  # the files call the zero 10
EXPECTED = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 9]
SIZES = {"train": 12, "test": 5}


def says(profile: str = "paper") -> str:
    """The one sentence with which loading is refused."""
    with pytest.raises(DataError) as caught:
        labkit.data.load("svhn", profile=profile)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    return said


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    (folder / "svhn").mkdir(parents=True, exist_ok=True)
    for part, content in contents.items():
        (folder / "svhn" / f"{part}_32x32.mat").write_bytes(content)
    return folder / "svhn"


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """Both files, small and packed as MATLAB packs them."""
    path, made = tmp_path_factory.mktemp("svhn") / "file.mat", {}
    for part, size in SIZES.items():
        savemat(path, {"X": PIXELS[..., :size], "y": LABELS[:size, None].astype(np.uint8)}, do_compression=True)
        made[part] = path.read_bytes()
    return made


@pytest.fixture
def _small(monkeypatch, contents, server) -> None:
    """Let these be the known files, also to torchvision, and let the server have them."""
    for part, content in contents.items():
        name = f"{part}_32x32.mat"
        known = Known(f"svhn/{name}", hashlib.sha256(content).hexdigest(), len(content))
        monkeypatch.setitem(svhn.FILES, part, known)
        listed = [f"{server.url}/good/{name}", name, hashlib.md5(content).hexdigest()]
        monkeypatch.setitem(SVHN.split_list, part, listed)


def assert_is_the_small_one(loaded: Dataset) -> None:
    for split, size in ((loaded.train, SIZES["train"]), (loaded.test, SIZES["test"])):
        assert torch.equal(split.images, torch.tensor(PIXELS[..., :size].transpose(3, 2, 0, 1)) / 255)
        assert split.images.is_contiguous()
        assert split.labels.tolist() == EXPECTED[:size]
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("profile", ["full", "paper"])
def test_files_in_labkit_data_are_read_and_their_place_is_left_as_it_was(
    data, cache, server, contents, profile: str
) -> None:
    folder = put(data, contents)
    folder.chmod(0o555)
    assert_is_the_small_one(labkit.data.load("svhn", profile=profile))
    assert sorted(path.name for path in folder.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    assert not cache.exists()
    assert server.requests == []


@pytest.mark.usefixtures("_small")
def test_one_file_may_lie_in_labkit_data_and_the_other_in_the_cache(data, cache, contents, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    put(data, {"train": contents["train"]})
    put(cache, {"test": contents["test"]})
    assert_is_the_small_one(labkit.data.load("svhn", profile="full"))


@pytest.mark.usefixtures("_small")
def test_paper_downloads_what_is_missing_and_full_does_not(data, cache, server, contents) -> None:
    put(data, {"train": contents["train"]})
    server.content = contents["test"]
    said = says("full")
    assert 'SVHN is not at hand, and profile "full" does not download it' in said
    assert "put train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers/ into" in said
    assert server.requests == []
    for profile in ("paper", "full"):  # once it is in the cache it serves at "full", too
        assert_is_the_small_one(labkit.data.load("svhn", profile=profile))
    assert server.requests == ["/good/test_32x32.mat"]
    assert [path.name for path in cache.rglob("*.mat")] == ["test_32x32.mat"]


def test_quick_has_none_and_says_what_to_do() -> None:
    assert says("quick").endswith('use profile "paper".')


def test_offline_the_missing_file_is_named(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    said = says()
    assert said.startswith("svhn/train_32x32.mat is neither in LABKIT_DATA (not set) nor in the cache ")
    assert said.endswith("put the original file there, or unset LABKIT_OFFLINE.")


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("part", SIZES)
def test_an_altered_file_is_named_and_not_used(data, contents, part: str) -> None:
    content = contents[part]
    folder = put(data, contents | {part: content[:-1] + bytes([content[-1] ^ 1])})
    assert says().startswith(f"{folder / f'{part}_32x32.mat'} is altered (")


@pytest.mark.usefixtures("_small")
def test_torchvision_checks_its_own_sum_as_well(data, contents, monkeypatch) -> None:
    put(data, contents)
    monkeypatch.setitem(SVHN.split_list, "test", [*SVHN.split_list["test"][:2], "0" * 32])
    with pytest.raises(RuntimeError, match="corrupted"):
        labkit.data.load("svhn", profile="paper")


def test_the_names_are_those_of_torchvision() -> None:
    for part, file in svhn.FILES.items():
        url, name, _ = SVHN.split_list[part]
        assert file.path == f"svhn/{name}"
        assert url == svhn.PAGE + name
