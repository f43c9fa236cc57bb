"""Omniglot is Omniglot, whichever way it is packed, and its alphabets can be kept apart."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import labkit.data
from labkit.data import DataError, omniglot
from labkit.data.fetch import Known

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
needs_real_files = pytest.mark.skipif(
    not (REAL / "omniglot").is_dir(), reason="Omniglot is not at hand: set LABKIT_DATA to a folder that holds omniglot/"
)

NAMES = (  # of two drawings each
    (
        "images_background/Greek/character01",
        "images_background/Greek/character02",
        "images_background/Latin/character01",
    ),
    ("images_evaluation/Angelic/character01",),
)
PICTURES = np.random.default_rng(0).random((8, 105, 105)) < 0.9  # paper is 1, ink 0


def png(picture: np.ndarray) -> bytes:
    Image.fromarray(picture).save(written := io.BytesIO(), format="png")
    return written.getvalue()


def packed(characters: Iterable[str], pictures: np.ndarray, compression: int) -> bytes:
    """An archive with two drawings a character in an order of its own, with folders and a shadow that macOS leaves."""
    names = [f"{character}/000{number}_0{number}.png" for character in characters for number in (1, 2)]
    with zipfile.ZipFile(written := io.BytesIO(), "w", compression) as archive:
        archive.mkdir(names[0].split("/")[0])
        for name, picture in reversed(list(zip(names, pictures, strict=True))):
            archive.writestr(name, png(picture))
            archive.writestr(f"__MACOSX/{name}", b"a shadow")
    return written.getvalue()


@pytest.fixture
def archives(monkeypatch) -> dict[str, tuple[bytes, bytes]]:
    """Two small archives, each packed in two ways, which now are the known ones."""
    made, parts = {}, []
    for name, characters, pictures in zip(
        ("images_background", "images_evaluation"), NAMES, (PICTURES[:6], PICTURES[6:]), strict=True
    ):
        forms = tuple(packed(characters, pictures, how) for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
        path = f"omniglot/{name}.zip"
        parts.append(omniglot.Part(*(Known(path, hashlib.sha256(form).hexdigest(), len(form)) for form in forms)))
        made[path] = forms
    monkeypatch.setattr(omniglot, "PARTS", tuple(parts))
    return made


def put(folder: Path, contents: dict[str, bytes]) -> None:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def small(data, archives) -> labkit.data.Omniglot:
    put(data, {path: forms[0] for path, forms in archives.items()})
    return labkit.data.load("omniglot", profile="full")


def test_quick_has_none_and_says_what_to_do() -> None:
    with pytest.raises(DataError, match='no package, so there is none at profile "quick": use profile "full"'):
        labkit.data.load("omniglot")


def test_labels_are_characters_numbered_through_both_parts(small) -> None:
    assert small.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert small.test.labels.tolist() == [3, 3]
    assert small.classes == ("Greek/character01", "Greek/character02", "Latin/character01", "Angelic/character01")
    assert small.alphabets == ("Greek", "Greek", "Latin", "Angelic")
    assert small.train.labels.dtype == torch.int64


def test_images_are_the_share_of_ink_around_each_of_28_x_28_places(small) -> None:
    assert small.train.images.shape == (6, 1, 28, 28)
    assert small.train.images.dtype == torch.float32
    for part, pictures in ((small.train, PICTURES[:6]), (small.test, PICTURES[6:])):
        for image, picture in zip(part.images, pictures, strict=True):
            ink = Image.fromarray((~picture).astype(np.float32))
            expected = np.asarray(ink.resize((28, 28), Image.Resampling.BILINEAR))  # Pillow's resizing is antialiased
            np.testing.assert_allclose(image[0], expected, atol=1e-5)


def test_a_stroke_of_one_pixel_is_not_lost_between_the_places() -> None:
    picture = np.ones((105, 105), dtype=bool)
    picture[:, 41] = False
    image = omniglot._shrunk([png(picture)])
    assert image.sum(3).min() * 105 / 28 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("profile", ["full", "paper"])
@pytest.mark.parametrize("form", [0, 1], ids=["as published", "packed anew"])
def test_either_archive_is_read_where_it_lies_and_its_place_is_left_as_it_was(
    data, cache, archives, form: int, profile: str
) -> None:
    put(data, {path: forms[form] for path, forms in archives.items()})
    before = sorted(data.rglob("*"))
    assert len(labkit.data.load("omniglot", profile=profile).train) == 6
    assert sorted(data.rglob("*")) == before
    assert not cache.exists()


def test_the_published_archives_are_downloaded_into_the_cache(cache, server, archives, monkeypatch) -> None:
    path, (published, _) = next(iter(archives.items()))
    server.content = published
    monkeypatch.setattr(omniglot, "URL", f"{server.url}/good/")
    with pytest.raises(DataError, match=r"images_evaluation\.zip could not be downloaded"):
        labkit.data.load("omniglot", profile="full")
    assert server.requests == ["/good/images_background.zip", "/good/images_evaluation.zip"]
    assert [file.relative_to(cache) for file in cache.rglob("*.zip")] == [Path(path)]


def test_an_altered_archive_is_named_and_never_opened(data, archives) -> None:
    put(data, {path: forms[0] for path, forms in archives.items()})
    damaged = data / "omniglot" / "images_evaluation.zip"
    damaged.write_bytes(b"half")
    with pytest.raises(DataError, match="is incomplete or altered") as caught:
        labkit.data.load("omniglot", profile="full")
    assert str(caught.value).startswith(f"{damaged} ")


def test_alphabets_can_be_taken_apart(small) -> None:
    both = small.of("Latin", "Angelic")
    assert both.labels.tolist() == [2, 2, 3, 3]
    assert both.images.equal(torch.cat([small.train.images[4:], small.test.images]))
    assert small.of("Greek").labels.tolist() == [0, 0, 1, 1]


def test_an_unknown_alphabet_is_answered_with_the_known_ones(small) -> None:
    with pytest.raises(ValueError, match=r"unknown alphabets Gothic: choose among Angelic, Greek, Latin\."):
        small.of("Greek", "Gothic")
    with pytest.raises(ValueError, match="none given"):
        small.of()


@pytest.fixture(scope="module")
def real() -> labkit.data.Omniglot:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_DATA", str(REAL))
        patch.setenv("LABKIT_OFFLINE", "1")
        return labkit.data.load("omniglot", profile="full")


@needs_real_files
def test_the_real_set_is_whole_and_no_alphabet_is_in_both_parts(real) -> None:
    assert real.train.images.shape == (19_280, 1, 28, 28)
    assert real.test.images.shape == (13_180, 1, 28, 28)
    counts = torch.cat([real.train.labels, real.test.labels]).bincount()
    assert counts.tolist() == [20] * 1623 == [20] * len(real.classes)
    seen, unseen = ({real.alphabets[label] for label in part.labels.tolist()} for part in (real.train, real.test))
    assert (len(seen), len(unseen)) == (30, 20)
    assert not seen & unseen
    assert len(set(real.classes)) == 1623


@needs_real_files
def test_the_real_images_are_thin_bright_strokes_on_black(real) -> None:
    for part in (real.train, real.test):
        assert (part.images.min(), part.images.max()) == (0, 1)
        assert 0.07 < part.images.mean() < 0.09
    assert len(real.train.flat.unique(dim=0)) > 19_000


@needs_real_files
def test_a_character_looks_more_like_itself_than_like_others(real) -> None:
    some = real.of("Greek", "Tengwar")
    means = torch.stack([some.flat[some.labels == label].mean(0) for label in some.labels.unique()])
    nearest = some.labels.unique()[torch.cdist(some.flat, means).argmin(1)]
    assert (nearest == some.labels).double().mean() > 0.5  # by chance 1 in 49
