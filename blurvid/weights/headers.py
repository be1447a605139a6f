"""Headers of safetensors files: what a file claims to hold, checked before memory is taken."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurvid.errors import WeightsError

MAX_HEADER_BYTES = 2**20
MAX_AXES = 8
"""Axes of a tensor that are believed."""
MAX_SHOWN = 60
"""Most letters of what a header says that an error repeats."""
SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}
"""Bytes of a number, by the names of formats in safetensors."""


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself; sizes and places of the tensors agree."""

    shapes: dict[str, tuple[int, ...]]
    formats: dict[str, str]
    """Formats of numbers, of the keys of `SIZES`."""
    metadata: dict[str, Any]


def read_header(path: Path, start: bytes, size: int) -> Header:
    """Read and check a header.

    Args:
        path: for messages.
        start: the file from its beginning on, at least `8 + MAX_HEADER_BYTES` of it, or all.
        size: of the whole file [bytes].

    Raises:
        WeightsError: it is longer than is believed or the file, is damaged, names a tensor
            twice, or tells shapes that do not agree with the places of the tensors in the file.
    """
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise WeightsError(f"{path} is not a safetensors file: its header is out of range")
    try:
        entries = json.loads(start[8 : 8 + length], object_pairs_hook=_once)
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise TypeError
        known = {name: _entry(entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise WeightsError(f"{path} is not a safetensors file: its header is damaged") from None
    for name, (kind, shape, begin, end) in known.items():
        if kind not in SIZES:
            raise WeightsError(f"{path} holds numbers of the unknown type {kind[:MAX_SHOWN]!r}")
        if not begin <= end <= size - 8 - length:
            raise WeightsError(f"{path}: {name[:MAX_SHOWN]!r} does not lie within the file")
        if math.prod(shape) * SIZES[kind] != end - begin:
            raise WeightsError(
                f"{path}: {name[:MAX_SHOWN]!r} has {end - begin} bytes, which is not what its "
                f"shape {shape} takes"
            )
    return Header(
        {name: shape for name, (_, shape, *_) in known.items()},
        {name: kind for name, (kind, *_) in known.items()},
        metadata,
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Format, shape, beginning and end of a tensor."""
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or not isinstance(shape, list) or len(shape) > MAX_AXES:
        raise TypeError
    if any(type(number) is not int or not 0 <= number < 2**63 for number in (*shape, begin, end)):
        raise ValueError
    return kind, tuple(shape), begin, end
