"""The published ResNet-20 is what it is said to be, and fits into the network of the course."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from tensors import seeded

import labkit.data
from labkit.data import DataError, cifar, cifar_resnet, resnet20_weights
from labkit.data.fetch import Known
from labkit.papers.self_routing_capsules import resnet20_capsules

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
needs_weights = pytest.mark.skipif(
    not (REAL / cifar_resnet.FILE.path).is_file(),
    reason=f"the weights are not at hand: set LABKIT_DATA to a folder that holds {cifar_resnet.FILE.path}",
)
needs_subset = pytest.mark.skipif(
    not (REAL / cifar.SUBSET_FOLDER).is_dir(), reason=f"LABKIT_DATA does not hold {cifar.SUBSET_FOLDER}"
)
pytestmark = pytest.mark.usefixtures("one_thread")


def published_name(ours: str) -> str:
    """What a weight of our network is called in the published file: "0.6.conv1.weight" is in module.layer2.0."""
    layer, _, rest = ours.partition(".")
    if layer == "3":
        return f"module.linear.{rest}"
    place, _, rest = rest.partition(".")
    if int(place) < 2:
        return f"module.{('conv1', 'bn1')[int(place)]}.{rest}"
    return f"module.layer{int(place) // 3}.{int(place) % 3}.{rest}"


@pytest.fixture
def made_up(monkeypatch) -> dict[str, torch.Tensor]:
    """A file of random weights in the published form, which now is the known one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = resnet20_capsules("average").state_dict()
    state = {published_name(name): value for name, value in ours.items() if "num_batches" not in name}
    for value in state.values():
        value.copy_(torch.rand(value.shape, generator=seeded(1)))
    return state


def put(folder: Path, state: object, monkeypatch) -> Path:
    path = folder / cifar_resnet.FILE.path
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    know(path.read_bytes(), monkeypatch)
    return path


def know(content: bytes, monkeypatch) -> None:
    known = Known(cifar_resnet.FILE.path, hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setattr(cifar_resnet, "FILE", known)


def test_every_weight_finds_its_place_in_our_network(data, made_up, monkeypatch) -> None:
    put(data, {"state_dict": made_up, "best_prec1": 91.78}, monkeypatch)
    model = resnet20_capsules("average")
    model.load_state_dict(resnet20_weights().state)
    loaded = {published_name(name): value for name, value in model.state_dict().items() if "num_batches" not in name}
    assert len(loaded) == len(made_up) == 19 + 4 * 19 + 2
    assert all(torch.equal(value, made_up[name]) for name, value in loaded.items())


def test_the_file_is_downloaded_once_into_the_cache(tmp_path, cache, server, made_up, monkeypatch) -> None:
    server.content = put(tmp_path, {"state_dict": made_up}, monkeypatch).read_bytes()
    monkeypatch.setattr(cifar_resnet, "URL", f"{server.url}/good/file")
    for _ in range(2):
        assert resnet20_weights().mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert server.requests == ["/good/file"]
    assert [path.relative_to(cache) for path in cache.rglob("*.th")] == [Path(cifar_resnet.FILE.path)]


def test_an_altered_file_is_refused(data) -> None:
    path = data / cifar_resnet.FILE.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * cifar_resnet.FILE.bytes)
    with pytest.raises(DataError, match="is altered") as caught:
        resnet20_weights()
    assert str(caught.value).startswith(f"{path} ")


def test_code_hidden_in_a_file_is_never_run(data, tmp_path, monkeypatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    path = put(data, {}, monkeypatch)
    path.write_bytes(pickle.dumps({"state_dict": Trap()}, protocol=2))
    know(path.read_bytes(), monkeypatch)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights"):
        resnet20_weights()
    assert not (tmp_path / "sprung").exists()


@needs_weights
@needs_subset
def test_the_real_weights_name_nine_of_ten_test_images_of_cifar_10(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(REAL))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    found, test = resnet20_weights(), labkit.data.load("cifar10", profile="full").test
    model = resnet20_capsules("average").eval()
    model.load_state_dict(found.state)
    images = (test.images - found.mean[:, None, None]) / found.std[:, None, None]
    with torch.no_grad():
        answers = torch.cat([model(some).argmax(1) for some in images.split(250)])
    # 91.73 % of all 10,000 is published; the standard error for these 2,000 is 0.6 %
    assert (answers == test.labels).double().mean().item() == pytest.approx(0.9173, abs=0.02)
