"""Windows, and their records: the lines of a manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from blurvid import media
from blurvid.config import Gamma
from blurvid.errors import InputError

MANIFEST = "manifest.jsonl"
UNFINISHED = "manifest.jsonl.partial"
BLURRY = "blurry.png"
LISTING_GAMMA = 2.2
LONGEST_LINE = 2**20
"""Bytes of a line of a manifest that are believed."""
MOST_FRAMES = 10_000
"""Frames of a window that are believed."""
MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What JSON raises that is damaged, or holds something else than expected."""

Record = dict[str, Any]
"""One line of a manifest."""


@dataclass(frozen=True)
class Window:
    """Consecutive frames and the blurry image that they make."""

    record: Record
    """How it was made; at least `window`, `clip`, `frames` and `gamma`."""
    blurry: Callable[[], Tensor]
    """Give y, (3, H, W), RGB, float32 in [0, 1]."""
    frames: Callable[[], Tensor]
    """Give the sharp frames, (count, 3, H, W), in order of time: uint8 or as `blurry`."""

    @property
    def name(self) -> str:
        """Path below its folder, `CLIP/000001`."""
        return str(self.record["window"])

    @property
    def clip(self) -> str:
        """Name of its clip."""
        return str(self.record["clip"])

    @property
    def gamma(self) -> Gamma:
        """Camera response in which it was averaged."""
        gamma: Gamma = self.record.get("gamma", LISTING_GAMMA)
        return gamma

    @property
    def count(self) -> int:
        """Number of sharp frames."""
        return len(self.record["frames"])

    def sharp(self) -> Tensor:
        """Give the sharp frames, (count, 3, H, W), float32 in [0, 1]."""
        return as_floats(self.frames())


def as_floats(image: Tensor) -> Tensor:
    """Give uint8 as float32 in [0, 1]."""
    return image.float().div_(255) if image.dtype == torch.uint8 else image


def in_windows(path: Path, top: Path) -> bool:
    """Whether a file below a folder belongs to windows that were written there."""
    folders = [folder for folder in path.parents if folder == top or top in folder.parents]
    return any((folder / name).is_file() for folder in folders for name in (MANIFEST, UNFINISHED))


def read_records(path: Path) -> tuple[list[Record], int]:
    """Records of a manifest, and the length in bytes of its whole lines.

    Raises:
        InputError: unreadable, or a line that is not the record of a window inside the folder.
    """
    records: list[Record] = []
    whole = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST_LINE:
                        raise InputError(f"{path}: line {len(records) + 1} is too long")
                    break
                records.append(_record(line, path, len(records) + 1))
                whole += len(line)
    except OSError as error:
        raise InputError(f"{path}: {media.reason(error)}") from error
    return records, whole


def _record(line: bytes, path: Path, number: int) -> Record:
    """Read one line; what other code relies on is there, and of the right kind."""
    try:
        record = json.loads(line)
        if not isinstance(record["frames"], list) or len(record["frames"]) > MOST_FRAMES:
            raise TypeError
        for key in ("window", "clip"):
            if not isinstance(record[key], str):
                raise TypeError
            inside(record[key], path)
        int(PurePosixPath(record["window"]).name)
        check_gamma(record.get("gamma", 1.0))
        if record.get("motion") is not None:
            for axis in ("dx", "dy"):
                if not abs(_number(record["motion"][axis])) < math.inf:
                    raise ValueError
        return dict(record)
    except MALFORMED as error:
        raise InputError(f"{path}: line {number} is not the record of a window") from error


def check_gamma(gamma: object) -> Gamma:
    """A camera response that a listing names.

    Raises:
        ValueError, TypeError: it is none.
    """
    if gamma == "srgb":
        return "srgb"
    number = _number(gamma)
    if not 0.01 <= number <= 100:
        raise ValueError(f"{gamma!r} is not a camera response")
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def inside(name: Any, listing: Path) -> PurePosixPath:
    """A path inside the folder of a listing; anything leading out of it is refused."""
    text = str(name)
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in text:
        raise InputError(f"{listing}: {text[:80]!r} leads out of the folder")
    if "\0" in text or PureWindowsPath(text).drive:
        raise InputError(f"{listing}: {text[:80]!r} is not the name of a window")
    return path
