"""A photo and its frames small in one picture, for a page that shows many photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.media.photo import Photo
from blurvid.media.pixels import flat_frames

_SIDE, _QUALITY = 480, 82
"""Longest side of a picture of a strip [px], and what WebP makes of it."""


def save_strip(frames: Tensor, path: Path, photo: Photo) -> None:
    """Write a photo and at most seven of its frames below one another, small, as WebP.

    One picture for all of them is one file to load, and a page plays it by moving it.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that is new.
        photo: what the frames came from, H x W as they are.
    """
    (blurry,) = flat_frames(photo.pixels[None], photo)
    picked = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    pictures = [Image.fromarray(blurry)]
    pictures += [Image.fromarray(frame) for frame in flat_frames(frames[picked.tolist()], photo)]
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    width, height = pictures[0].size
    strip = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * height))
    strip.save(path, "webp", quality=_QUALITY)
