"""Frames to an animated WebP: all colours, a fraction of the size of a GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.errors import OutputError
from blurvid.media.gif import SHORTEST

LONGEST_SIDE = 16_383
"""Largest width and height [px] that the format can hold."""
_QUALITY = 90
"""Of libwebp, 0 to 100."""


def save_webp(
    frames: Sequence[NDArray[np.uint8]], order: Sequence[int], path: Path, fps: float, name: Path
) -> None:
    """Write an animation that loops for ever.

    Args:
        frames: (H, W, 3) uint8 RGB (sRGB) each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file that must be new.
        fps: frames shown per second, rounded to whole milliseconds.
        name: the file to name in messages.

    Raises:
        OutputError: a side is longer than the format allows.
        OSError: the file cannot be written.
    """
    height, width = frames[0].shape[:2]
    if max(height, width) > LONGEST_SIDE:
        raise OutputError(
            f"{name}: not written: {width} x {height} pixels, but WebP holds {LONGEST_SIDE} a "
            "side; use .mp4 or PNG files"
        )
    images = [Image.fromarray(frame) for frame in frames]
    shown = [images[index] for index in order]
    with path.open("xb") as file:
        shown[0].save(
            file,
            format="WEBP",
            save_all=True,
            append_images=shown[1:],
            duration=max(SHORTEST, round(1000 / fps)),
            loop=0,
            quality=_QUALITY,
        )
