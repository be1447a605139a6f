"""Keeping a picture to what its photo shows: no detail, hues or rims without a reason in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.sampling import blur, by_bands

STEEPER = 2.0
"""Slopes of the picture, in those of the photo, above which there is no support for them."""
FAINT = 0.006
"""Slopes that noise has [per px]."""
AROUND = 4.0
"""Width of the Gaussian over which slopes are averaged [px]."""
NEAR = 5
"""Side of the square [px] whose values bound what is deblurred a second time."""
COLOURS = 15
"""Side of the square [px] whose colours in the photo bound those of the picture."""
LOOKED = round(4 * AROUND) + COLOURS // 2
"""So far is looked by both, one after the other [px]."""


def supported(picture: Tensor, y: Tensor) -> Tensor:
    """Draw a picture towards the photo where it has detail of which the photo shows nothing.

    Blurring lowers slopes, so that a sharp picture has steeper ones, but not many times as steep:
    what appears in flat places is noise made larger, or an answer to wrong motion.

    Args:
        picture: (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
    """
    found, seen = (blur(_slopes(image), AROUND) + FAINT for image in (picture, y))
    return y + (STEEPER * seen / found).clamp(max=1) * (picture - y)


def _slopes(image: Tensor) -> Tensor:
    """Steepness of each place, the channels' root mean square, (1, 1, H, W)."""
    across = F.pad(image.diff(dim=3), (0, 1, 0, 0))
    down = F.pad(image.diff(dim=2), (0, 0, 0, 1))
    return (across.square() + down.square()).mean(dim=1, keepdim=True).sqrt()


def within(image: Tensor, before: Tensor) -> Tensor:
    """Keep an image within the values that are near: what is deblurred twice gets dark rims."""
    return by_bands(
        lambda rows: _bounded(image[..., rows, :], before[..., rows, :], NEAR),
        *(image.shape[-2], NEAR),
    )


def tied(picture: Tensor, y: Tensor) -> Tensor:
    """Keep colours within those that the photo has nearby: what is undone is blur, not hue.

    Args:
        picture: (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
    """
    light = picture.mean(dim=1, keepdim=True)
    hues = _bounded(picture - light, y - y.mean(dim=1, keepdim=True), COLOURS)
    return (light + hues).clamp_(0, 1)


def _bounded(x: Tensor, of: Tensor, side: int) -> Tensor:
    """Bring values within those of another image in the square around each."""
    return torch.minimum(torch.maximum(x, -_highest(-of, side)), _highest(of, side))


def _highest(x: Tensor, side: int) -> Tensor:
    """Maximum in the square around each place, by rows and columns: a fraction of the time."""
    across = F.max_pool2d(x, (1, side), 1, (0, side // 2))
    return F.max_pool2d(across, (side, 1), 1, (side // 2, 0))
