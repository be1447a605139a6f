"""Which way time runs: for the whole sequence, and for parts of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from blurvid.flow import Field, find_objects, measure, middle_of, region_of
from blurvid.flow.field import STILL
from blurvid.flow.sampling import limited
from blurvid.flow.seam import SEAM_SIDE, flip, weights
from blurvid.media import Movable, Region

_WHOLE = 0.95
"""An object that is more of the photo than this is the photo."""
_AXES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True, eq=False)
class Turned:
    """How the order of frames was turned."""

    whole: bool
    """All of them."""
    masks: tuple[Tensor, ...]
    """After that, the regions (H, W), bool."""
    notes: tuple[str, ...]
    """What the user should know."""


def arrange(
    frames: Tensor,
    direction: str = "auto",
    flips: Sequence[Region] = (),
    field: Callable[[], Field] | None = None,
) -> Turned:
    """Turn the order of frames, in place: first of all of them, then in regions.

    Args:
        frames: (7, 3, H, W), RGB, in [0, 1].
        direction: where the dominant motion shall point; `auto` leaves the order.
        flips: where time is turned around, one after the other.
        field: gives the motion of the frames in the order that they have, where it is known; it
            is measured otherwise.

    Returns:
        What was turned.

    Raises:
        InputError: a region lies outside of the frames.
    """
    height, width = frames.shape[-2:]
    found = field or functools.partial(measure, frames)
    turned = False
    notes: tuple[str, ...] = ()
    if direction != "auto":
        turned, notes = _against(found(), *_AXES[direction], direction)

    @functools.cache
    def objects() -> Tensor:
        return find_objects(found())

    # All regions are looked at before time is turned around in one.
    regions = [region.of(height, width, objects) for region in flips]
    if turned:
        _reverse(frames)
    for mask, _ in regions:
        flip(frames, mask)
    notes += tuple(note for _, some in regions for note in some)
    return Turned(turned, tuple(mask for mask, _ in regions), notes)


def _against(field: Field, x: int, y: int, direction: str) -> tuple[bool, tuple[str, ...]]:
    """Whether the dominant motion points against (x, y), and what the user should know."""
    motion = field.motion
    along = x * motion.dx + y * motion.dy
    if abs(along) <= STILL:  # up to here, noise would decide
        if not motion.dx and not motion.dy:
            return False, ()
        return False, (
            f"the dominant motion ({motion.dx:.1f}, {motion.dy:.1f} px) is neither {direction} "
            "nor against it; order of time left as it was",
        )
    return along < 0, ()


def _reverse(frames: Tensor) -> None:
    """Turn the order of frames around, in place."""
    last = len(frames) - 1
    for i in range(len(frames) // 2):
        first = frames[i].clone()
        frames[i].copy_(frames[last - i])
        frames[last - i].copy_(first)


def movables(frames: Tensor, field: Field) -> list[Movable]:
    """Find what can be turned around in a player.

    Args:
        frames: (7, 3, H, W), RGB, in [0, 1].
        field: their motion.
    """
    height, width = frames.shape[-2:]
    labels = find_objects(field)
    found = []
    for number in range(1, int(labels.max()) + 1):
        share = float((labels == number).float().mean())
        if not 0 < share <= _WHOLE:
            continue
        mask = weights(frames, region_of(labels, number, height, width))
        mask = limited(mask[None, None], SEAM_SIDE)[0, 0]
        x, y = middle_of(labels, number)
        levels = mask.mul(255).round().byte().numpy()
        found.append(Movable(levels, f"{100 * x:.1f}%,{100 * y:.1f}%"))
    return found
