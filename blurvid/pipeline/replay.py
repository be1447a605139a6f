"""What moves on its own, for a player in which it can be turned around."""

from __future__ import annotations

from torch import Tensor

from blurvid import media
from blurvid.flow import Field, find_objects, middle_of, region_of
from blurvid.flow.sampling import limited
from blurvid.flow.seam import SEAM_SIDE, weights

_WHOLE = 0.95
"""An object that is more of the photo than this is the photo."""


def movables(frames: Tensor, field: Field) -> list[media.Movable]:
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
        found.append(media.Movable(levels, f"{100 * x:.1f}%,{100 * y:.1f}%"))
    return found
