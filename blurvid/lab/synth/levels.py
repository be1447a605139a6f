"""Averages of 8-bit frames, by tables."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blurvid.blur import to_image, to_light
from blurvid.config import Gamma


@torch.no_grad()
def average_levels(frames: Sequence[NDArray[np.uint8]], gamma: Gamma) -> NDArray[np.float32]:
    """Average 8-bit frames as `average_frames` does, in a tenth of its time.

    Args:
        frames: encoded values in 0..255, all of one shape.
        gamma: camera response in which the light adds up.

    Returns:
        The blurry image in [0, 1], of that shape.
    """
    shape, size = frames[0].shape, frames[0].size
    total = np.zeros(size, np.float32)
    even = size // 2 * 2
    for frame in frames:
        levels = np.ascontiguousarray(frame).ravel()
        pairs = _light_of_pairs(gamma).take(levels[:even].view(np.uint16))
        total[:even] += pairs.view(np.float32)
        total[even:] += _light_of_levels(gamma).take(levels[even:])
    light = torch.from_numpy(total).div_(len(frames))
    if isinstance(gamma, str) or gamma == 1.0:
        image = to_image(light, gamma)
    else:  # a third of the time of a power, to the same seven digits
        image = light.log_().div_(gamma).exp_()
    blurry: NDArray[np.float32] = image.numpy().reshape(shape)
    return blurry


@functools.lru_cache(8)
def _light_of_levels(gamma: Gamma) -> NDArray[np.float32]:
    """Light of each 8-bit level."""
    light: NDArray[np.float32] = to_light(torch.arange(256) / 255, gamma).numpy()
    return light


@functools.lru_cache(8)
def _light_of_pairs(gamma: Gamma) -> NDArray[Any]:
    """Light of each two levels that follow each other, as one number; half as many to look up."""
    pairs = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    return _light_of_levels(gamma)[pairs].view(np.complex64).ravel()
