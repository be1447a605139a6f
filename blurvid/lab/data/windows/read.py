"""Reading windows back, from a manifest or from a listing of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from blurvid import media
from blurvid.config import Gamma
from blurvid.errors import InputError
from blurvid.exposure import average_frames
from blurvid.lab.data.windows.clips import load_photo
from blurvid.lab.data.windows.records import (
    BLURRY,
    LISTING_GAMMA,
    MALFORMED,
    MANIFEST,
    MOST_FRAMES,
    UNFINISHED,
    Window,
    check_gamma,
    inside,
    read_records,
)

LISTING = "samples.json"
LONGEST_LISTING = 2**26
"""Bytes of a listing that are believed."""


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
