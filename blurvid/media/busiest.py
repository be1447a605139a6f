"""Where a clip moves most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def busiest(first: Pixels, last: Pixels, height: int, width: int) -> tuple[int, int]:
    """Find the region in which two frames differ most, on average over the region.

    Args:
        first: (H, W, 3) uint8.
        last: likewise.
        height: of the region, at most H [px].
        width: of the region, at most W [px].

    Returns:
        Row and column of its upper left corner; that of the middle where nothing moves.
    """
    difference = np.abs(first.astype(np.int16) - last).sum(-1, dtype=np.int64)
    # Sums over all boxes at once, from the sums over all rectangles that start at the corner.
    sums = np.pad(difference, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[height:, width:] - sums[:-height, width:]
    boxes -= sums[height:, :-width] - sums[:-height, :-width]
    if boxes.max() == 0:
        return (boxes.shape[0] - 1) // 2, (boxes.shape[1] - 1) // 2
    row, column = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(row), int(column)
