"""Averages of 8-bit frames, by a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from blurvid.blur import to_image, to_light
from blurvid.config import Gamma


@torch.no_grad()
def average_levels(frames: Sequence[NDArray[np.uint8]], gamma: Gamma) -> NDArray[np.float32]:
    """Average 8-bit frames as `average_frames` does, in a fraction of its time.

    Args:
        frames: encoded values in 0..255, all of one shape.
        gamma: camera response in which the light adds up.

    Returns:
        The blurry image in [0, 1], of that shape.
    """
    light: NDArray[np.float32] = to_light(torch.arange(256) / 255, gamma).numpy()
    total = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        total += light.take(frame)
    blurry: NDArray[np.float32] = to_image(torch.from_numpy(total).div_(len(frames)), gamma).numpy()
    return blurry
