"""Other frames than the seven: more of the exposure, and some before and after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.flow import between, mutual_flow, onward
from blurvid.interrupts import stoppable
from blurvid.pipeline.memory import PIXELS_AT_ONCE
from blurvid.pipeline.scale import restore, shrink


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
def resample(frames: Tensor, count: int, out: Tensor | None = None) -> Tensor:
    """Spread another number of frames evenly over the exposure.

    Frames at the times of the seven are these, bit by bit; others are made of the two beside
    them, by the motion from each to the other.

    Args:
        frames: x[1..7], (7, 3, H, W), RGB, in [0, 1].
        count: how many there shall be, N.
        out: they go there, if it is given.

    Returns:
        (N, 3, H, W), in [0, 1].
    """
    if out is None:
        out = torch.empty(count, *frames.shape[1:])
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


def extend(
    out: Tensor,
    count: int,
    y: Tensor,
    scale: float = 1.0,
    predict: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Fill in frames before and after the exposure.

    Args:
        out: x[1 - count .. 7 + count], (7 + 2 count, 3, H, W), of which the seven are there.
        count: how many at each end.
        y: the blurry image, (3, H, W), RGB in [0, 1].
        scale: size at which the network saw it.
        predict: a network that gives the next frame, (1, 3, H, W), of the blurry image and the
            last two frames, (9, H, W); without one everything moves on as it did between these.
    """
    # At each end: where the last two frames are, and where those beyond go.
    ends = [
        (count + 1, count, range(count - 1, -1, -1)),
        (count + FRAMES - 2, count + FRAMES - 1, range(count + FRAMES, FRAMES + 2 * count)),
    ]
    small = y if scale == 1 else shrink(y, scale)
    for before, last, further in ends:
        if predict is None:
            _, back = mutual_flow(out[before], out[last])
            moments = [float(step) for step in range(1, count + 1)]
            onward(out[last], back, moments, [out[i] for i in further], PIXELS_AT_ONCE)
            continue
        pair = [out[i] if scale == 1 else shrink(out[i], scale) for i in (before, last)]
        for i in further:
            found = predict(torch.cat([small, *pair]))
            if scale == 1:
                out[i] = found[0]
            else:
                restore(found, small, y, out[i : i + 1])
            pair = [pair[1], found[0]]
