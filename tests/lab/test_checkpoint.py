"""Checkpoints: what is saved comes back bit for bit, and what is no whole checkpoint is refused."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.lab import checkpoint
from labkit.lab.checkpoint import load, save

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "vae.safetensors"


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(found: Any, expected: Any) -> None:
    """Equal in structure, in the order of keys, in types, and in each bit."""
    if isinstance(expected, Tensor):
        assert (found.dtype, found.shape, found.layout) == (expected.dtype, expected.shape, expected.layout)
        assert bits(found) == bits(expected)
        return
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert [(type(key), key) for key in found] == [(type(key), key) for key in expected]
        assert_same([*found.values()], [*expected.values()])
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert repr(found) == repr(expected)  # unlike ==, tells -0.0 from 0.0, and has NaN equal itself


def round_trip(state: Any, path: Path) -> Any:
    save(path, state)
    return load(path)


# ---- what comes back ------------------------------------------------------------------------------------------------

NUMBERS = [0, -7, 2**80, True, False, None, 0.1, 1.0, -0.0, 5e-324, 1.7976931348623157e308]


@pytest.mark.parametrize(
    "state",
    [
        None,
        3,
        "KL of the VAE: 5 nats, \"mean\" \u2264 6 'ß' \\ \n \ud800",
        [*NUMBERS, float("inf"), -float("inf"), float("nan")],
        {},
        [[], (), {}, ((),), [{}]],
        {"betas": (0.9, 0.999), "params": [0, 1], "nested": {"a": [({"b": (1,)},)]}},
        {0: "int", "0": "str", 1.5: "float", None: "none", True: "bool", "": "empty"},
        {"tensor": "state", "tuple": [1], "dict": [["a", 1]]},  # the words by which the file tells kinds apart
        [{"tensor": "state"}, {"tuple": ()}, {"dict": {}}],
    ],
    ids=str,
)
def test_a_nest_of_plain_values_comes_back_with_its_types_keys_and_order(path, state: Any) -> None:
    assert_same(round_trip(state, path), state)


TENSORS = {
    "zero-dimensional": torch.tensor(0.1),
    "empty": torch.zeros(0, 3),
    "bool": torch.tensor([[True, False], [False, True]]),
    "state of a generator": seeded(3).get_state(),
    "int64": torch.tensor([-(2**63), 2**63 - 1]),
    "special floats": torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-45]),
    "a NaN of another kind": torch.tensor([0x7FC00001], dtype=torch.int32).view(torch.float32),
    "float64": normal(3, 2),
    "float16": normal(5, dtype=torch.float32).half(),
    "bfloat16": normal(5, dtype=torch.float32).bfloat16(),
    "transposed": normal(3, 4).T,
    "every other column": normal(3, 6)[:, ::2],
    "the end of another": normal(10)[7:],
    "expanded": normal(1, 3).expand(4, 3),
    "channels last": normal(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "a parameter": nn.Parameter(normal(2, 2)),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_a_tensor_comes_back_bit_for_bit_whatever_its_type_and_however_it_lies_in_memory(path, tensor: Tensor) -> None:
    assert_same(round_trip(tensor, path), tensor)
    state = {"model": [tensor, {"again": (tensor,)}]}
    assert_same(round_trip(state, path), state)


def test_tensors_that_share_memory_come_back_each_with_its_own(path) -> None:
    weight = normal(4, 3)
    state = {"encoder": weight, "decoder": weight, "transposed": weight.T, "row": weight[1]}
    found = round_trip(state, path)
    assert_same(found, state)
    found["encoder"].zero_()
    assert_same([found["decoder"], found["row"]], [weight, weight[1]])


def test_keys_that_look_alike_are_not_mixed_up(path) -> None:
    a, b, c, d = normal(4, 2)
    state = {0: a, "0": b, "x": {"y": c}, "x']['y": d, "__metadata__": a, 'quote"': b, "layer/0.weight": c}
    assert_same(round_trip(state, path), state)


def test_of_a_subclass_of_dict_or_tuple_or_float_the_plain_value_is_left(path) -> None:
    state = [OrderedDict(a=1), Counter({80: 2}), torch.Size([2, 3]), np.float64(0.1)]
    assert_same(round_trip(state, path), [{"a": 1}, {80: 2}, (2, 3), 0.1])


@pytest.mark.parametrize(
    "make", [torch.optim.Adam, lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9), torch.optim.Adagrad]
)
def test_the_state_of_an_optimizer_comes_back_with_its_integer_keys(path, make) -> None:
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert [*state["state"]] == [0, 1]
    assert_same(round_trip(state, path), state)


def test_what_is_loaded_is_free_of_the_file(path) -> None:
    save(path, [normal(3)])
    (first,) = load(path)
    first.zero_()
    assert_same(load(path), [normal(3)])
    save(path, [normal(3, seed=1)])
    assert torch.equal(first, torch.zeros(3, dtype=torch.float64))


def test_any_program_that_knows_safetensors_can_read_the_tensors_by_their_paths(path) -> None:
    save(path, {"model": {"0.weight": normal(2, 2)}, "state": [{7: normal(3)}]})
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"state['model']['0.weight']", "state['state'][0][7]"}
        assert torch.equal(file.get_tensor("state['model']['0.weight']"), normal(2, 2))


# ---- writing --------------------------------------------------------------------------------------------------------


def test_the_folder_is_made_and_only_the_checkpoint_is_left_in_it(tmp_path) -> None:
    path = tmp_path / "a" / "b" / "vae.safetensors"
    for state in ([normal(3)], [normal(2)]):
        assert_same(round_trip(state, path), state)
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(("owner", "step"), [(checkpoint.os, "fsync"), (Path, "replace")])
def test_a_write_that_fails_at_its_end_leaves_the_file_before_it(path, monkeypatch, owner: Any, step: str) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save(path, [1, normal(3)])
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, fails)
        with pytest.raises(OSError, match="No space left"):
            save(path, [2, normal(3, seed=1)])
    assert_same(load(path), [1, normal(3)])
    save(path, [3])
    assert load(path) == [3]
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [1, {2}]}, r"^state\['a'\]\[1\] is a set that a checkpoint cannot hold: it takes dicts"),
        ({"schedule": {"lambdas": [len]}}, r"^state\['schedule'\]\['lambdas'\]\[0\] is a builtin_function"),
        (np.ones(3), "^state is a ndarray that"),
        ({"loss": [np.float32(1)]}, r"^state\['loss'\]\[0\] is a float32 that"),
        ({"state": {torch.ones(2): 1}}, r"^state\['state'\] is a dict that a checkpoint cannot hold: .* plain keys"),
        ({(1, 2): 1}, "^state is a dict that .* plain keys"),
        (torch.eye(2).to_sparse(), "^state is a Tensor that .* dense real tensors"),
        (torch.ones(2, dtype=torch.complex64), "^state is a Tensor that .* dense real tensors"),
    ],
    ids=str,
)
def test_what_a_checkpoint_cannot_hold_is_refused_by_name_before_anything_is_written(
    path, state: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        save(path, state)
    assert not any(path.parent.iterdir())


# ---- reading what is no checkpoint ----------------------------------------------------------------------------------


def assert_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"is damaged, or no checkpoint of a training: delete it") as raised:
        load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def whole(path) -> bytes:
    save(path, {"model": {"weight": normal(2, dtype=torch.float32)}, "history": {"loss": [0.5, 0.25]}, "step": 3})
    return path.read_bytes()


def test_a_file_that_was_cut_short_anywhere_or_goes_on_is_refused(path, whole: bytes) -> None:
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert_refused(path)
    path.write_bytes(whole + b"\0")
    assert_refused(path)


def test_a_file_with_any_bit_flipped_is_refused(path, whole: bytes) -> None:
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert_refused(path)


def test_a_file_with_zeros_at_its_end_as_after_a_power_failure_is_refused(path, whole: bytes) -> None:
    for length in range(8, len(whole)):
        path.write_bytes(whole[:length] + bytes(len(whole) - length))
        if path.read_bytes() != whole:
            assert_refused(path)


def write_with_torch(path: Path) -> None:
    torch.save({"model": torch.ones(3)}, path)


def write_safetensors(path: Path) -> None:
    save_file({"weight": torch.ones(3)}, path)


def write_safetensors_with_metadata(path: Path) -> None:
    save_file({"weight": torch.ones(3)}, path, {"format": "pt", "structure": json.dumps({"tensor": "weight"})})


@pytest.mark.parametrize(
    "write",
    [
        write_with_torch,
        write_safetensors,
        write_safetensors_with_metadata,
        lambda path: path.write_text("a text\n"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["pickle", "safetensors", "safetensors with metadata", "text", "empty"],
)
def test_a_file_that_something_else_has_written_is_refused(path, write) -> None:
    write(path)
    assert_refused(path)


def test_a_file_that_is_not_there_is_called_so(path) -> None:
    with pytest.raises(FileNotFoundError):
        load(path)
