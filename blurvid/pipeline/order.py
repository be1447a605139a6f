"""Which way time runs: for the whole sequence, and for parts of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor

from blurvid.config import DIRECTIONS
from blurvid.errors import OptionError
from blurvid.flow import find_objects, measure
from blurvid.flow.field import STILL
from blurvid.flow.seam import flip
from blurvid.media import Region

_AXES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


def check_direction(direction: str) -> None:
    """Refuse a direction that is none.

    Raises:
        OptionError: it is not one of `config.DIRECTIONS`.
    """
    if direction not in DIRECTIONS:
        raise OptionError(f"no direction named {direction!r}; use {', '.join(DIRECTIONS)}")


def arrange(
    frames: Tensor, direction: str = "auto", flips: Sequence[Region] = ()
) -> tuple[str, ...]:
    """Turn the order of frames, in place: first of all of them, then in regions.

    Args:
        frames: (7, 3, H, W), RGB, in [0, 1].
        direction: where the dominant motion shall point; `auto` leaves the order.
        flips: where time is turned around, one after the other.

    Returns:
        What the user should know.

    Raises:
        OptionError: no such direction.
        InputError: a region lies outside of the frames.
    """
    check_direction(direction)
    height, width = frames.shape[-2:]
    warnings = () if direction == "auto" else _turn(frames, *_AXES[direction], direction)

    @functools.cache
    def objects() -> Tensor:
        return find_objects(measure(frames))

    # All regions are looked at before time is turned around in one.
    found = [region.of(height, width, objects) for region in flips]
    for mask, notes in found:
        flip(frames, mask)
        warnings += notes
    return warnings


def _turn(frames: Tensor, x: int, y: int, direction: str) -> tuple[str, ...]:
    """Let the dominant motion point along (x, y)."""
    motion = measure(frames).motion
    along = x * motion.dx + y * motion.dy
    if abs(along) <= STILL:  # up to here, noise would decide
        if not motion.dx and not motion.dy:
            return ()
        return (
            f"the dominant motion ({motion.dx:.1f}, {motion.dy:.1f} px) is neither {direction} "
            "nor against it; order of time left as it was",
        )
    if along < 0:
        last = len(frames) - 1
        for i in range(len(frames) // 2):
            first = frames[i].clone()
            frames[i].copy_(frames[last - i])
            frames[last - i].copy_(first)
    return ()
