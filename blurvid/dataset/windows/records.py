"""Records of windows: the lines of a manifest."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from blurvid.errors import InputError

MANIFEST = "manifest.jsonl"
UNFINISHED = "manifest.jsonl.partial"
BLURRY = "blurry.png"

Record = dict[str, Any]
"""One line of a manifest."""


def in_windows(path: Path, top: Path) -> bool:
    """Whether a file below a folder belongs to windows that were written there."""
    folders = [folder for folder in path.parents if folder == top or top in folder.parents]
    return any((folder / name).is_file() for folder in folders for name in (MANIFEST, UNFINISHED))


def read_records(path: Path) -> tuple[list[Record], int]:
    """Records of a manifest, and the length in bytes of its whole lines."""
    records, whole = [], 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            if not isinstance(record["frames"], list) or not isinstance(record["clip"], str):
                raise TypeError
            for key in ("window", "clip"):
                inside(record[key], path)
            int(PurePosixPath(record["window"]).name)
            records.append(record)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: line {number} is not the record of a window") from error
        whole += len(line)
    return records, whole


def inside(name: Any, listing: Path) -> PurePosixPath:
    """A path inside the folder of a listing; anything leading out of it is refused."""
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in str(name):
        raise InputError(f"{listing}: {name!r} leads out of the folder")
    return path
