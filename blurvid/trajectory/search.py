"""The first answer: which straight motion explains each place of a photo, signs by consensus."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.consensus import Lines, average, find_consensus, oriented
from blurvid.trajectory.paths import Motion
from blurvid.trajectory.volume import candidates, cost_volume

RADIUS = 15.0
"""Longest half displacement sought [px of the size at which is searched]."""
STRIDE = 2
"""The error is taken at every second pixel: it is smoothed over more."""
CELL = 4
"""Pixels that become one line, along each side."""
SPREAD = 4.0
"""Width of the Gaussian over which lines are averaged [px]."""
PRICE = 0.05
"""Of the distance from ±G in the second pass, in mean gains per mean length of G."""
NEAR = 0.3
"""Distance from the consensus, in its lengths (and pixels), below which a place follows it."""
CERTAIN = 0.15
"""How much G counts in every place, in mean weights."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found."""

    motion: Motion
    """Straight, with signs."""
    agreement: float
    """Share of the picture that follows the consensus, 0 to 1."""


def find_motion(middle: Tensor, y: Tensor, shrink: int, radius: float = RADIUS) -> Found:
    """Find the motion that re-blurs a sharp picture to the photo.

    Args:
        middle: sharp picture, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        shrink: how many pixels become one along each side before the search.
        radius: longest half displacement sought, in pixels after that.

    Returns:
        Motion at full size, and how much of it follows the consensus.
    """
    size = (y.shape[-2], y.shape[-1])
    if shrink > 1:
        middle, y = F.avg_pool2d(middle, shrink), F.avg_pool2d(y, shrink)
    volume = cost_volume(middle, y, radius, STRIDE)
    tried = candidates(radius).to(y)
    # A line is told apart by how much worse rest explains the place. A second look takes, among
    # lines that explain a place about as well, what most of the picture does: along long edges
    # and in flat parts the photo says nothing else (aperture problem).
    first = find_consensus(_lines(volume, tried), seed=0)
    field = F.interpolate(first.field[None], volume.shape[-2:], mode="bilinear")[0]
    gain = float((volume[0] - volume.amin(dim=0)).mean())
    price = PRICE * gain / max(0.5, float(field.norm(dim=0).mean()))
    squared = tried.square().sum(dim=1)[:, None, None] + field.square().sum(dim=0)
    along = torch.einsum("nc,chw->nhw", tried, field).abs()
    volume += price * (squared - 2 * along).clamp(min=0).sqrt()  # from the nearer of ±G
    lines = _lines(volume, tried)
    second = find_consensus(lines, seed=1)
    known = float(lines.weight.mean()) * CERTAIN
    a = oriented(lines.vectors, second.field) * lines.weight + second.field * known
    a = a / (lines.weight + known)
    motion = Motion.straight(_at_size(a, shrink, size), _at_size(second.field, shrink, size))
    away = (motion.a - motion.consensus).norm(dim=1)
    near = away < NEAR * (motion.consensus.norm(dim=1) + 1)
    return Found(motion, float(near.float().mean()))


def _lines(volume: Tensor, tried: Tensor) -> Lines:
    """The best candidate of each place, averaged over a neighbourhood."""
    cost, best = volume.min(dim=0)
    return average(
        tried[best].permute(2, 0, 1), volume[0] - cost + 1e-8, SPREAD / STRIDE, CELL // STRIDE
    )


def _at_size(field: Tensor, shrink: int, size: tuple[int, int]) -> Tensor:
    """A field (2, h, w) [px of a smaller picture] for the picture itself, (1, 2, *size)."""
    return F.interpolate(field[None] * shrink, size, mode="bilinear", align_corners=False)
