"""Networks trained on ImageNet: their weights are found or downloaded, and checked; torchvision has the rest."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import skimage.data
import torch
import torchvision
from tensors import seeded
from torchvision.models import WeightsEnum, get_model, get_model_weights

import labkit.data
from labkit.data import DataError, imagenet, pretrained

REAL = Path(os.environ.get("LABKIT_DATA") or "no such folder")
FILES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "squeezenet1_0": "squeezenet1_0-b66bff10.pth",
    "vgg16": "vgg16-397923af.pth",
}


def weights_at_hand(name: str) -> bool:
    names = [FILES[name], *(["squeezenet1_0_deepcomp_tv.pth"] if name == "squeezenet1_0" else [])]
    return any((REAL / "weights" / each).is_file() for each in names)


def needs_weights(name: str) -> pytest.MarkDecorator:
    reason = f"the weights of {name} are not at hand: set LABKIT_DATA to a folder that holds weights/{FILES[name]}"
    return pytest.mark.skipif(not weights_at_hand(name), reason=reason)


@pytest.fixture
def real(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(REAL))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """A file of random weights for SqueezeNet, named as torchvision names its own: with the start of its sum."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = get_model("squeezenet1_0", weights=None).state_dict()
    path = tmp_path_factory.mktemp("made up") / "weights.pth"
    torch.save(state, path)
    return path.rename(path.with_name(f"squeezenet1_0-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))


@pytest.fixture
def serve(server, made_up, monkeypatch):
    """serve("good"): torchvision's address is that of a server which sends the made-up weights in this manner."""
    server.content = made_up.read_bytes()

    def at(manner: str) -> list[str]:
        monkeypatch.setattr(WeightsEnum, "url", property(lambda _: f"{server.url}/{manner}/{made_up.name}"))
        return server.requests

    return at


def put(folder: Path, content: bytes, name: str) -> Path:
    path = folder / "weights" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(name: str = "squeezenet1_0") -> str:
    """What the DataError says: one sentence."""
    with pytest.raises(DataError) as caught:
        pretrained(name)
    said = str(caught.value)
    assert said.endswith(".")
    assert ". " not in said
    return said


def test_a_download_is_checked_kept_in_the_cache_and_not_repeated(cache, serve, made_up) -> None:
    requests = serve("good")
    first, again = pretrained(), pretrained()
    assert requests == [f"/good/{made_up.name}"]
    assert [path.relative_to(cache) for path in cache.rglob("*.pth")] == [Path("weights") / made_up.name]
    assert torch.equal(first.model.classifier[1].weight, again.model.classifier[1].weight)
    assert "comes with torchvision" in first.source
    assert "BSD-3-Clause" in first.licence
    assert "non-commercial" in first.licence


def test_torchvisions_file_in_labkit_data_is_used_where_it_lies(data, cache, serve, made_up) -> None:
    requests = serve("good")
    put(data, made_up.read_bytes(), made_up.name)
    state = torch.load(made_up, weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in pretrained().model.state_dict().items())
    assert requests == []
    assert not cache.exists()


def test_the_model_is_fixed_and_says_what_it_expects_and_answers(serve) -> None:
    serve("good")
    found = pretrained()
    assert found.name == "squeezenet1_0"
    assert not any(module.training for module in found.model.modules())
    assert not any(weight.requires_grad for weight in found.model.parameters())
    assert all(weight.device.type == "cpu" for weight in found.model.parameters())
    assert found.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert found.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert found.size == 224
    assert len(found.categories) == 1000
    assert (found.categories[0], found.categories[281], found.categories[999]) == ("tench", "tabby", "toilet tissue")
    for size in (224, 227):
        assert found.model(torch.rand(2, 3, size, size, generator=seeded())).shape == (2, 1000)


def test_what_a_residual_networks_batch_normalizations_know_is_loaded_too(data, monkeypatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = get_model("resnet18", weights=None).state_dict()
    state["bn1.running_mean"] += 3
    torch.save(state, data / "weights.pth")
    content = (data / "weights.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(WeightsEnum, "url", property(lambda _: f"https://nowhere.test/{name}"))
    put(data, content, name)
    found = pretrained("resnet18")
    assert found.model.bn1.running_mean.tolist() == [3.0] * 64
    assert found.model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_neither_the_seed_nor_the_default_device_is_changed(serve) -> None:
    serve("good")
    before = torch.get_rng_state()
    pretrained()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.empty(1).device.type == "cpu"


@pytest.mark.parametrize("name", imagenet.NAMES)
def test_the_names_of_the_files_are_torchvisions_and_hold_the_start_of_their_sum(name, monkeypatch) -> None:
    asked = {}

    def fetch(path: str, **given: object) -> None:
        asked.update(given, path=path)
        raise DataError("enough seen.")

    monkeypatch.setattr(imagenet, "fetch", fetch)
    with pytest.raises(DataError):
        pretrained(name)
    assert asked["path"] == f"weights/{FILES[name]}"
    assert asked["sha256"] == FILES[name].removesuffix(".pth").split("-")[-1]
    assert asked["urls"] == [get_model_weights(name).IMAGENET1K_V1.url]
    assert bool(asked["also"]) == (name == "squeezenet1_0")


@pytest.mark.parametrize("name", imagenet.NAMES)
def test_offline_without_the_file_one_sentence_says_which_is_missing_and_where(name, data, cache, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    assert refusal(name) == (
        f"weights/{FILES[name]} is neither in LABKIT_DATA ({data}) nor in the cache {cache}, and LABKIT_OFFLINE "
        "forbids a download: put the original file there, or unset LABKIT_OFFLINE."
    )


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("altered", "what it sent has another checksum"), ("short", "another checksum"), ("missing", "it answered 404")],
)
def test_a_download_that_fails_is_told_in_one_sentence_and_leaves_nothing(cache, serve, manner, reason) -> None:
    serve(manner)
    said = refusal()
    assert reason in said
    assert "check the network and try again, or put the original file at" in said
    assert not list(cache.rglob("*.*"))


def test_an_altered_file_in_labkit_data_is_refused(data, serve, made_up) -> None:
    requests = serve("good")
    path = put(data, made_up.read_bytes()[:-1], made_up.name)
    assert refusal().startswith(f"{path} is incomplete or altered (another sha256 checksum): put the original file")
    path.unlink()
    path = put(data, b"not the authors' weights", "squeezenet1_0_deepcomp_tv.pth")
    assert refusal().startswith(f"{path} is incomplete or altered (24 bytes instead of 5,011,163)")
    assert requests == []


def test_code_hidden_in_a_file_is_never_run(data, tmp_path, monkeypatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    content = pickle.dumps({"weight": Trap()}, protocol=2)
    name = f"trap-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(WeightsEnum, "url", property(lambda _: f"http://127.0.0.1/{name}"))
    put(data, content, name)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights"):
        pretrained()
    assert not (tmp_path / "sprung").exists()


def test_an_unknown_network_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown network 'resnet': choose one of alexnet, resnet18, resnet50, squeezenet1_0, vgg16\."
    ):
        pretrained("resnet")


def test_a_network_is_no_data_set() -> None:
    assert "imagenet" not in labkit.data.LOADERS
    assert "pretrained" in labkit.data.__all__


@pytest.mark.usefixtures("real", "one_thread")
@pytest.mark.parametrize(
    ("picture", "category"),
    [("coffee", "espresso"), ("chelsea", "Egyptian cat")],
)
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_weights(name)) for name in FILES])
def test_the_real_weights_know_a_cup_and_a_cat(name, picture, category) -> None:
    found = pretrained(name)
    image = torch.tensor(getattr(skimage.data, picture)()).permute(2, 0, 1) / 255  # (3, H, W)
    resize = torchvision.transforms.Resize(256, antialias=True)
    image = torchvision.transforms.CenterCrop(found.size)(resize(image))
    logits = found.model(((image - found.mean[:, None, None]) / found.std[:, None, None])[None])
    best = [found.categories[i] for i in logits[0].topk(5).indices]
    assert category in best


@needs_weights("squeezenet1_0")
@pytest.mark.skipif(
    not (REAL / imagenet.BY_AUTHORS.path).is_file(), reason=f"LABKIT_DATA does not hold {imagenet.BY_AUTHORS.path}"
)
def test_the_authors_squeezenet_is_said_to_be_theirs_and_is_compressed_as_told(real) -> None:
    if (REAL / "weights" / FILES["squeezenet1_0"]).is_file():
        pytest.skip("torchvision's own file comes first")
    found = pretrained()
    assert "Deep Compression" in found.source
    assert "BSD-2-Clause" in found.licence
    weights = [weight for name, weight in found.model.named_parameters() if name.endswith("weight")]
    zeros = sum((weight == 0).sum() for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros.item() == pytest.approx(2 / 3, abs=0.01)
    assert all(len(weight.unique()) <= 256 for weight in weights[1:])  # the first has our normalisation in it
