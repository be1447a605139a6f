"""What a weight set says about itself, and whether its files are what it says."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from blurvid.config import PARTS, TRAINED
from blurvid.errors import WeightsError

FORMAT = 1
"""Version of the layout of a weight set that this code reads and writes."""
SET_FILE = "set.json"
SCORE = "seven_frame_psnr"
"""The score [dB] by which `auto` compares models."""
MIDDLE_SCORE = "middle_gain"
"""The score [dB] by which `auto` compares what gives the middle frame: what it gains over the
blurry photo, on average over kinds of blur."""
MAX_SCORE = 1e6
"""Scores [dB] beyond, NaN and infinity are no scores."""
MAX_SET_BYTES = 2**20
MAX_FILE_BYTES = 2**30
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names under which a set can be kept in the cache."""

LFS_POINTER = b"version https://git-lfs"

Origin = Literal["path", "env", "cache", "released"]


@dataclass(frozen=True)
class WeightSet:
    """A weight set whose `set.json` has been read; its files have not."""

    name: str
    model: str
    """One of `config.TRAINED`."""
    path: Path
    """The directory."""
    info: dict[str, Any] = field(hash=False, repr=False)
    """What `set.json` says, unknown keys included."""
    score: float | None
    """PSNR of the seven frames [dB] in the released evaluation; None when not known."""
    middle_score: float | None
    """Gain of the middle frame [dB], mean over kinds of blur; None when not known."""
    origin: Origin
    """How it was found."""

    @property
    def middle(self) -> str | None:
        """Name of the set whose network gives the model its middle frame, where one has to."""
        middle = self.info.get("middle")
        return middle if isinstance(middle, str) and NAME.fullmatch(middle) else None

    def file(self, part: str) -> Path:
        """Path of the file that holds a part."""
        return self.path / str(self.info["files"][part]["file"])


def read_set(directory: Path, origin: Origin) -> WeightSet:
    """Read and check a `set.json`.

    Raises:
        WeightsError: it is missing, unreadable, or does not describe a weight set.
    """
    path = directory / SET_FILE
    lacking = f"{directory} is not a weight set: it has no {SET_FILE}"
    data = read_file(path, MAX_SET_BYTES, lacking)
    return WeightSet(path=directory, origin=origin, **described(path, data))


def verify(weight_set: WeightSet) -> None:
    """Compare every file of a set with the size and SHA-256 in its `set.json`.

    Raises:
        WeightsError: a file is missing, is a Git LFS pointer, or differs.
    """
    for part in weight_set.info["files"]:
        read_part(weight_set, part)


def described(path: Path | str, data: bytes) -> dict[str, Any]:
    """Fields of the `WeightSet` that a `set.json` describes; `path` is for messages.

    Raises:
        WeightsError: it does not describe one.
    """
    if len(data) > MAX_SET_BYTES:
        raise WeightsError(f"{path} is too large to be the description of a weight set")
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is not valid JSON; get the weight set again") from None
    problem = _problem(info)
    if problem is not None:
        raise WeightsError(f"{path} does not describe a weight set: {problem}")
    return {
        "name": info["name"],
        "model": info["model"],
        "info": info,
        "score": _score(info, SCORE),
        "middle_score": _score(info, MIDDLE_SCORE),
    }


def _score(info: dict[str, Any], name: str) -> float | None:
    """A score of a set, where it is a number."""
    scores = info.get("scores")
    score = scores.get(name) if isinstance(scores, dict) else None
    # whole numbers in JSON may be too large for a float; comparing them is safe
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return float(score) if -MAX_SCORE < score < MAX_SCORE else None


def _problem(info: object) -> str | None:
    """First thing that is wrong with the contents of a `set.json`."""
    if not isinstance(info, dict):
        return "it is not an object"
    version = info.get("format")
    if isinstance(version, int) and version > FORMAT:
        return f"format {version!s:.80} is newer than this blurvid knows; upgrade blurvid"
    if version != FORMAT:
        return "it has no known format"
    name, model, files = info.get("name"), info.get("model"), info.get("files")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        return "it has no name"
    if not isinstance(model, str) or model not in TRAINED:
        return f"its model is {model!r:.80}; there are {', '.join(TRAINED)}"
    parts = PARTS.get(model, (model,))
    if not isinstance(files, dict) or set(files) != set(parts):
        return f"the {model} model has the files {', '.join(parts)}"
    for part, entry in files.items():
        problem = _entry_problem(entry)
        if problem is not None:
            return f"{part}: {problem}"
    return None


def _entry_problem(entry: object) -> str | None:
    """First thing that is wrong with the entry of a file."""
    if not isinstance(entry, dict):
        return "the entry is not an object"
    file, digest, size = entry.get("file"), entry.get("sha256"), entry.get("bytes")
    # no separator, drive or leading dot: the name can only mean a file of this directory
    if not isinstance(file, str) or not re.fullmatch(r"\w[\w.-]*\.safetensors", file):
        return f"{file!r:.80} is not the plain name of a safetensors file"
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        return "sha256 is missing or malformed"
    if type(size) is not int or not 0 < size <= MAX_FILE_BYTES:
        return "bytes is missing or out of range"
    return None


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raise WeightsError when the file that begins with `head` is a Git LFS pointer."""
    if head.startswith(LFS_POINTER):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the file itself; run 'git lfs pull' in its "
            "repository"
        )


def read_file(path: Path, most: int, lacking: str) -> bytes:
    """Contents of a file, or one byte more than are believed.

    Args:
        path: the file.
        most: bytes that are believed.
        lacking: what is said where there is none.

    Raises:
        WeightsError: it is missing, cannot be read, or is a Git LFS pointer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise WeightsError(lacking) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    refuse_pointer(path, data)
    return data


def read_part(weight_set: WeightSet, part: str) -> bytes:
    """Contents of the file that holds a part, whose size and digest are right.

    Raises:
        WeightsError: they are not, or it cannot be read.
    """
    path, entry = weight_set.file(part), weight_set.info["files"][part]
    data = read_file(path, entry["bytes"], f"{path} is missing; get the weight set again")
    if len(data) != entry["bytes"]:
        actual = len(data) if len(data) < entry["bytes"] else "more"
        raise WeightsError(
            f"{path} has {actual} bytes instead of {entry['bytes']}; it is incomplete or was "
            "changed, get the weight set again"
        )
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise WeightsError(
            f"{path} does not have the SHA-256 in {SET_FILE}; it is damaged or was changed, "
            "get the weight set again"
        )
    return data
