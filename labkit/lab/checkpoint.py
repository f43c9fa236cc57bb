"""A training's state in one safetensors file: its tensors, and all else as JSON in the file's metadata.

Nothing is unpickled, so a file from elsewhere can run no code; a checksum tells a file that was damaged.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PLAIN = (bool, int, float, str, type(None))


def save(path: Path, state: Any) -> None:
    """Write `state`, a nest of dicts, lists, tuples, tensors, numbers, strings, booleans and None.

    Written beside and renamed, so that an interruption leaves what was there before; the folder is made if need be.
    Raises TypeError, saying where, for anything else, such as a sparse or complex tensor, or a dict's key of no plain
    type.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_described(state, "state", tensors))
    metadata = {"structure": structure, "checksum": _checksum(structure, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        file.write(safetensors.torch.save(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())  # or, after a power failure, the new name might stand for an empty file
    beside.replace(path)


def load(path: Path) -> Any:
    """What `save` was given. Tensors are on the CPU and share no memory; of a subclass of dict, say, a dict is left.

    Raises FileNotFoundError, and ValueError for a file that is damaged or was not written by `save`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
        structure = metadata["structure"]
        intact = metadata["checksum"] == _checksum(structure, tensors)
    except (SafetensorError, KeyError):
        intact = False
    if not intact:
        raise ValueError(f"{path} is damaged, or no checkpoint of a training: delete it to train from the beginning")
    return _rebuilt(json.loads(structure), tensors)


def _described(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` for JSON. Its tensors go into `tensors`, each named by its path, as in state['model']['0.weight']."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex():
        # A copy, since safetensors takes neither gaps nor memory that two tensors share.
        tensors[path] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, dict) and all(isinstance(key, PLAIN) for key in value):  # pairs: JSON has only strings as keys
        return {"dict": [[key, _described(item, f"{path}[{key!r}]", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_described(item, f"{path}[{index}]", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(
        f"{path} is a {type(value).__name__} that a checkpoint cannot hold: it takes dicts with plain keys, lists, "
        "tuples, dense real tensors, numbers, strings, booleans and None"
    )


def _rebuilt(described: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_described`."""
    if isinstance(described, list):
        return [_rebuilt(item, tensors) for item in described]
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_rebuilt(item, tensors) for item in content)
    return {key: _rebuilt(item, tensors) for key, item in content}


def _checksum(structure: str, tensors: dict[str, Tensor]) -> str:
    found = zlib.crc32(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"
