"""Windows: their records, the lines of a manifest, and how they are read back from a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from blurvid import media
from blurvid.config import Gamma
from blurvid.errors import InputError
from blurvid.exposure import average_frames

MANIFEST = "manifest.jsonl"
UNFINISHED = "manifest.jsonl.partial"
BLURRY = "blurry.png"
LISTING = "samples.json"
LISTING_GAMMA = 2.2
LONGEST_LISTING = 2**26
"""Bytes of a listing that are believed."""
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


def load_photo(path: Path) -> Tensor:
    """Load an image as (3, H, W), RGB, float32 in [0, 1]; an InputError if it is not readable."""
    pixels: Tensor = media.read_photo(path).pixels
    return pixels


def is_window_folder(folder: Path) -> bool:
    """Whether a folder lists windows, so that `read_windows` is to read it."""
    return any((folder / name).is_file() for name in (MANIFEST, LISTING, UNFINISHED))


def read_windows(folder: Path) -> list[Window]:
    """Read a folder of windows back; images are loaded when asked for.

    The folder holds either what `write_windows` wrote, or a listing `samples.json` over frames
    kept elsewhere in it, for windows of your own::

        {"gamma": 2.2,
         "samples": [{"clip": "street_1",
                      "frames": [0, 2, 4, 6, 8, 10, 12],
                      "average_frames": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                      "blurry": "blur.png"}]}

    The frames of a clip are the images in `clips/CLIP/frames` in natural order, counted from 0.
    `frames` are the sharp targets, in order of time; `average_frames` (default: `frames`) are
    averaged in `gamma` (default: 2.2) into the blurry image, in steps of 1/255 as a photo has them.
    `blurry`, a path inside `clips/CLIP`, names a stored image to be taken instead.

    Args:
        folder: the folder.

    Returns:
        The windows in the order of the manifest or the listing.

    Raises:
        InputError: there is no manifest and no listing, or it is damaged or unfinished.
    """
    if (folder / MANIFEST).is_file():
        return list(_from_manifest(folder))
    if (folder / LISTING).is_file():
        return list(_from_listing(folder))
    if (folder / UNFINISHED).is_file():
        raise InputError(f"{folder}: writing these windows was interrupted; resume it first")
    raise InputError(f"{folder}: no {MANIFEST} and no {LISTING} in here")


def _from_manifest(folder: Path) -> Iterator[Window]:
    records, whole = read_records(folder / MANIFEST)
    if whole < (folder / MANIFEST).stat().st_size:
        raise InputError(f"{folder / MANIFEST}: ends in the middle of a line")
    for record in records:
        home, count = folder / record["window"], len(record["frames"])
        sharp = [home / f"sharp_{number}.png" for number in range(1, count + 1)]
        yield Window(record, partial(load_photo, home / BLURRY), partial(_stack, sharp))


def _from_listing(folder: Path) -> Iterator[Window]:
    path = folder / LISTING
    photos: dict[str, list[Path]] = {}
    numbers: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_LISTING + 1)
        if len(data) > LONGEST_LISTING:
            raise InputError(f"{path}: too large for a listing of windows")
        listing = json.loads(data)
        gamma = check_gamma(listing.get("gamma", LISTING_GAMMA))
        for sample in listing["samples"]:
            clip = str(sample["clip"])
            home = folder / "clips" / inside(clip, path)
            if clip not in photos:
                photos[clip] = media.list_photos(home / "frames")
            numbers[clip] = numbers.get(clip, 0) + 1
            targets = _pick(photos[clip], sample["frames"])
            averaged = _pick(photos[clip], sample.get("average_frames", sample["frames"]))
            stored = sample.get("blurry")
            window = {"window": f"{clip}/{numbers[clip]:06d}", "clip": clip, "gamma": gamma}
            yield Window(
                sample | window,
                partial(load_photo, home / inside(stored, path))
                if stored
                else partial(_average, averaged, gamma),
                partial(_stack, targets),
            )
    except OSError as error:
        raise InputError(f"{path}: {media.reason(error)}") from error
    except MALFORMED as error:
        raise InputError(f"{path}: not a listing of windows over the frames beside it") from error


def _pick(photos: list[Path], indices: Iterable[int]) -> list[Path]:
    numbers = list(indices)
    if not numbers or len(numbers) > MOST_FRAMES:
        raise IndexError
    if any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError
    return [photos[number] for number in numbers]


def _stack(paths: Sequence[Path]) -> Tensor:
    frames = [load_photo(path) for path in paths]
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"{paths[0].parent}: frames of different sizes")
    return torch.stack(frames)


def _average(paths: Sequence[Path], gamma: Gamma) -> Tensor:
    mean = average_frames(_stack(paths), gamma)
    return (mean * 255).round() / 255  # as the photo would have been stored


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
