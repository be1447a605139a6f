"""Frames to an animated WebP: all colours, a fraction of the size of a GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.media.gif import SHORTEST

QUALITY = 90
"""Of libwebp, 0 to 100."""


def save_webp(
    frames: Sequence[NDArray[np.uint8]], order: Sequence[int], path: Path, fps: float
) -> None:
    """Write an animation that loops for ever.

    Args:
        frames: (H, W, 3) uint8 RGB (sRGB) each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file that must be new.
        fps: frames shown per second, rounded to whole milliseconds.

    Raises:
        OSError: the file cannot be written.
    """
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
            quality=QUALITY,
        )
