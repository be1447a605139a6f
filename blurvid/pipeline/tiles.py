"""A photo seen in tiles, where it does not fit into memory otherwise.

Tiles overlap and are blended, and all run the same way in time. Where a model normalizes, each
tile does by its own statistics: the result is close to that for the whole photo, not equal.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from blurvid.models import SequenceModel, order_agreement

MARGIN = 64
"""Least distance [px] of a pixel that is used from a border that cuts through the photo."""
RAMP = 32
"""Width of the blend between two tiles [px]."""


def fill_in_tiles(
    model: SequenceModel,
    out: Tensor,
    y: Tensor,
    side: int,
    device: torch.device,
) -> int:
    """Extract frames tile by tile.

    The order of time of a tile is turned where its reverse is nearer to those before it, over
    all that they share.

    Args:
        model: the model.
        out: the frames go there, (T, 3, H, W) float32; `model.size_multiple` divides H and W.
        y: the blurry image, (1, 3, H, W).
        side: of the tiles [px], a multiple too, and larger than 2 `MARGIN` + `RAMP`.
        device: where the model is.

    Returns:
        How many tiles there were.
    """
    for frame in out:
        frame.zero_()
    rows, columns = (spans(length, side, model.size_multiple) for length in y.shape[-2:])
    for top, bottom, down in rows:
        for left, right, across in columns:
            seen = y[..., top:bottom, left:right].to(device)
            tile = out.new_empty((len(out), 3, *seen.shape[-2:]))
            model.fill(tile, seen)
            there = out[..., top:bottom, left:right]
            # Where nothing is yet, zeros say nothing about the order.
            turned = order_agreement(tile, there) < 0
            weight = (down[:, None] * across).to(out)
            for i, frame in enumerate(there):
                frame += weight * tile[-1 - i if turned else i]
    return len(rows) * len(columns)


def spans(length: int, side: int, multiple: int) -> list[tuple[int, int, Tensor]]:
    """Cut an axis into overlapping pieces.

    Args:
        length: of the axis [px], a multiple of `multiple`.
        side: of the pieces; that of the only one is `length` where it is shorter.
        multiple: divides where pieces begin, so that the model sees them as it sees the whole.

    Returns:
        Begin and end of each, and its weights (end - begin,), which add up to 1 everywhere.
    """
    if length <= side:
        return [(0, length, torch.ones(length))]
    count = math.ceil((length - side) / (side - 2 * MARGIN - RAMP - multiple)) + 1
    begins = [round(i * (length - side) / (count - 1) / multiple) * multiple for i in range(count)]
    seams = [(begin + side + following) / 2 for begin, following in pairwise(begins)]
    pieces = []
    for i, begin in enumerate(begins):
        at = torch.arange(begin, begin + side) + 0.5
        weight = torch.ones(side)
        if i > 0:
            weight *= ((at - seams[i - 1]) / RAMP + 0.5).clamp(0, 1)
        if i < len(seams):
            weight *= (0.5 - (at - seams[i]) / RAMP).clamp(0, 1)
        pieces.append((begin, begin + side, weight))
    return pieces
