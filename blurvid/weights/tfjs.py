"""Graphs of tf.js whose parameters have lost their names: read, and named by where they are used.

Nothing of a graph is run.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurvid.errors import WeightsError
from blurvid.weights.sets import read_file

MODEL_FILE = "model.json"
MAX_JSON_BYTES = 2**26
MAX_BYTES = 2**30
MAX_SHARDS = 4096
SIZES = {"float32": 4, "int32": 4, "bool": 1, "uint8": 1}
"""Bytes of a number, by the names of formats."""
SCOPE = "StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone/"
"""What the names of a graph that jax2tf made of a flax module begin with."""
USES = {
    "/jit_fn_/AddV2_1": "bias",
    "/jit_fn_/AddV2": "bias",
    "/jit_fn_/Mul_4": "scale",
    "/jit_fn_/Mul_2": "scale",
    "/einsum/Einsum": "kernel",
    "/Conv2D": "kernel",
    "/conv2d_transpose": "kernel",
}
"""Ends of the names of nodes, and what a parameter is that goes in there."""


def read_tfjs(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Read the parameters of a graph that jax2tf and tf.js made of a flax module.

    Args:
        path: the folder, or the `model.json` in it.

    Returns:
        The parameters by flax's names with dots between their parts, biases and scales flat; and
        the SHA-256 of `model.json`.

    Raises:
        WeightsError: a file is missing, damaged, quantised, or more than is believed.
    """
    path = path / MODEL_FILE if path.is_dir() else path
    content = read_file(path, MAX_JSON_BYTES, f"{path} does not exist")
    if len(content) > MAX_JSON_BYTES:
        raise WeightsError(f"{path} is larger than any graph that can be imported")
    try:
        model = json.loads(content)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is not valid JSON") from None
    try:
        groups = model["weightsManifest"]
        shards = [str(name) for group in groups for name in group["paths"]]
        entries = [entry for group in groups for entry in group["weights"]]
        nodes = {
            str(source).partition(":")[0]: str(node["name"])
            for node in model["modelTopology"]["node"]
            for source in node.get("input", [])
        }
        found: dict[str, NDArray[Any]] = {}
        data, begin = _joined(path, shards), 0
        for entry in entries:
            kind, shape = entry["dtype"], entry["shape"]
            if "quantization" in entry or kind not in SIZES:
                raise WeightsError(f"{path} is quantised or holds {kind!s:.20}; get it in full")
            if any(type(side) is not int or not 0 <= side < 2**31 for side in shape):
                raise ValueError
            size = math.prod(shape) * SIZES[kind]
            part, begin = data[begin : begin + size], begin + size
            name = _name(nodes.get(str(entry["name"]), ""))
            if kind == "float32" and name is not None and math.prod(shape) > 1:
                array = np.frombuffer(part, "<f4").reshape(shape)
                found[name] = array if name.endswith("kernel") else array.reshape(-1)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise WeightsError(f"{path} is not a graph of tf.js, or is damaged") from None
    if begin != len(data):
        raise WeightsError(f"{path} tells of {begin} bytes of weights, its shards have {len(data)}")
    return found, hashlib.sha256(content).hexdigest()


def _joined(path: Path, shards: list[str]) -> bytes:
    """What stands in the shards, one after the other."""
    parts: list[bytes] = []
    left = MAX_BYTES
    if len(shards) > MAX_SHARDS:
        raise ValueError
    for name in shards:
        shard = path.parent / name
        if Path(name).name != name:
            raise WeightsError(f"{path}: {name[:60]!r} is not the plain name of a shard")
        parts.append(read_file(shard, left, f"{shard} cannot be read: no such file"))
        left -= len(parts[-1])
        if left < 0:
            raise WeightsError(f"{path}: its shards are larger than can be imported")
    return b"".join(parts)


def _name(node: str) -> str | None:
    """Name of the parameter that goes into a node."""
    path = node.removeprefix(SCOPE)
    for end, leaf in USES.items():
        if path.endswith(end):
            return f"{path.removesuffix(end).replace('/', '.')}.{leaf}"
    return None
