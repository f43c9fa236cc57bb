"""Faces and what is none, as they come with scikit-image: the same everywhere, and never fetched."""

from __future__ import annotations

import numpy as np
import pytest
import skimage
import skimage.data
import torch

import labkit.data
from labkit import PROFILES
from labkit.data import DataError, Dataset


@pytest.fixture(scope="module")
def faces() -> Dataset:
    return labkit.data.load("faces")


def test_both_splits_have_the_shapes_and_types_that_are_promised(faces) -> None:
    for split in (faces.train, faces.test):
        assert split.images.shape == (100, 1, 25, 25)
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert split.images.is_contiguous()
        assert split.images.min() == 0
        assert 0.99 < split.images.max() <= 1


def test_faces_and_others_come_in_turn_so_that_every_stretch_is_balanced(faces) -> None:
    assert faces.train.labels.tolist() == [1, 0] * 50
    assert faces.test.labels.tolist() == [1, 0] * 50


def test_the_first_hundred_of_scikit_image_are_faces_and_every_second_one_is_for_testing(faces) -> None:
    original = torch.from_numpy(skimage.data.lfw_subset()).float()
    assert torch.equal(faces.train.images[faces.train.labels == 1, 0], original[:100:2])
    assert torch.equal(faces.test.images[faces.test.labels == 1, 0], original[1:100:2])
    assert torch.equal(faces.train.images[faces.train.labels == 0, 0], original[100::2])
    assert torch.equal(faces.test.images[faces.test.labels == 0, 0], original[101::2])


def test_200_different_images_hence_none_in_both_splits(faces) -> None:
    images = torch.cat([faces.train.flat, faces.test.flat])
    assert len(images.unique(dim=0)) == 200
    assert images.mean().item() == pytest.approx(0.3771, abs=1e-4)


def test_what_is_labelled_a_face_looks_like_one(faces) -> None:
    images = torch.cat([faces.train.images, faces.test.images])[:, 0]
    labels = torch.cat([faces.train.labels, faces.test.labels])
    face, other = images[labels == 1].mean(0), images[labels == 0].mean(0)
    assert max(face[8, 4:8].mean(), face[8, 13:17].mean()) < 0.4  # the eyes, in the mean face
    assert face[11, 4:17].mean() > 0.55  # and the cheeks beneath
    assert correlation(face[:, :21], face[:, :21].flip(1)) > 0.8  # it is nearly its own mirror image
    assert correlation(face, other) < 0


def test_the_traps_that_its_docstring_tells_of_are_there(faces) -> None:
    images = torch.cat([faces.train.flat, faces.test.flat])
    is_face = torch.cat([faces.train.labels, faces.test.labels]) == 1
    bordered = (images == 0).float().mean(1) > 0.02
    assert bordered[is_face].sum() == 0
    assert bordered[~is_face].sum() == 48
    assert ((images.mean(1) > 0.34) == is_face).float().mean() == pytest.approx(0.8, abs=0.02)


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_the_same_faces_and_touches_neither_cache_nor_seed(faces, profile, cache) -> None:
    before = torch.get_rng_state()
    again = labkit.data.load("faces", profile=profile)
    assert torch.equal(again.train.images, faces.train.images)
    assert torch.equal(again.test.images, faces.test.images)
    assert torch.equal(torch.get_rng_state(), before)
    assert not cache.exists()


def test_it_says_what_the_images_are_and_whom_to_cite(faces) -> None:
    assert faces.name == "faces"
    assert "Labeled Faces in the Wild" in faces.source
    assert faces.source.endswith(".")
    assert "Huang" in faces.licence
    assert faces.url.startswith("http")


def test_an_installation_without_the_faces_is_told_in_one_sentence_and_nothing_is_downloaded(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(DataError) as caught:
        labkit.data.load("faces")
    said = str(caught.value)
    assert said.startswith("the faces that come with scikit-image are missing (")
    assert said.endswith("): reinstall it.")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_other_images_than_the_known_ones_are_refused(monkeypatch, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "lfw_subset.npy", np.zeros((200, 25, 25)))
    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(DataError, match="does not hold the 200 images that this course knows: reinstall scikit-image"):
        labkit.data.load("faces")
