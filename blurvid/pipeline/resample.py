"""Other numbers of frames than seven, over the same exposure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from blurvid.config import FRAMES, LEAST_FRAMES, MOST_FRAMES
from blurvid.errors import OptionError
from blurvid.flow import between, mutual_flow
from blurvid.interrupts import stoppable
from blurvid.pipeline.memory import PIXELS_AT_ONCE

Allocate = Callable[[int, int, int], Tensor]
"""Makes room for so many frames of a height and width, (N, 3, H, W) float32 on the CPU."""


def check_frames(count: int) -> None:
    """Refuse a number of frames that cannot be made.

    Raises:
        OptionError: it is not from `LEAST_FRAMES` to `MOST_FRAMES`.
    """
    if not LEAST_FRAMES <= count <= MOST_FRAMES:
        raise OptionError(f"{count} frames; {LEAST_FRAMES} to {MOST_FRAMES} are possible")


def places(count: int) -> list[tuple[int, float]]:
    """Say where frames that are spread evenly lie among the seven.

    The first and the last are those of the seven, whatever their number.

    Args:
        count: how many.

    Returns:
        For each the index of the one of the seven before it, or at it, and the part of the way to
        the next, from 0 to before 1.
    """
    steps = [(FRAMES - 1) * i for i in range(count)]
    return [(step // (count - 1), step % (count - 1) / (count - 1)) for step in steps]


@torch.no_grad()
def resample(frames: Tensor, count: int, allocate: Allocate | None = None) -> Tensor:
    """Spread another number of frames evenly over the exposure.

    Frames at the times of the seven are these, bit by bit; others are made of the two beside
    them, by the motion from each to the other.

    Args:
        frames: x[1..7], (7, 3, H, W), RGB, in [0, 1].
        count: how many there shall be.
        allocate: where they are put; ordinary memory by default.

    Returns:
        (count, 3, H, W), in [0, 1].

    Raises:
        OptionError: no such number.
    """
    check_frames(count)
    height, width = frames.shape[-2:]
    out = (allocate or _plain)(count, height, width)
    found = places(count)
    for index in stoppable(range(FRAMES)):
        here = [(i, part) for i, (before, part) in enumerate(found) if before == index]
        for i, part in here:
            if part == 0:
                out[i] = frames[index]
        inner = [(i, part) for i, part in here if part > 0]
        if inner:
            first, last = frames[index], frames[index + 1]
            images = [out[i] for i, _ in inner]
            moments = [part for _, part in inner]
            between(first, last, mutual_flow(first, last), moments, images, PIXELS_AT_ONCE)
    return out


def _plain(count: int, height: int, width: int) -> Tensor:
    return torch.empty(count, 3, height, width)
