"""The middle frame solved for: deconvolution along the motion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.exposure import DARKEST, FAINTEST, GAMMA
from blurvid.trajectory.camera import Exposure
from blurvid.trajectory.descent import Descent
from blurvid.trajectory.paths import Motion

PACE = 0.01
"""First step of Adam, in image values."""
DAMPING = 3.5e-3
"""Slopes far below this move a pixel less than a step."""
SOFT = 1e-4
"""Squared difference of neighbours from which their variation counts linearly."""
BAND_PIXELS = 2**19
"""Pixels solved for at a time; a band takes about 1 kB for each."""
STEPS = 20
"""Few: iterations also bring back noise, as texture."""
MIDDLE = 0.2
"""Price on the squared departure from the picture at the start."""
VARIATION = 3e-4
"""Price on total variation, the three channels of a pixel tied together."""
MARGIN = 16
"""Rows beyond the reach of the motion that a band is solved with, and that are thrown away."""


@torch.no_grad()
def solve(start: Tensor, y: Tensor, motion: Motion) -> Tensor:
    """Find the picture whose exposure along the motion is the photo.

    Args:
        start: the middle frame as far as it is known, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        motion: of the same size.

    Returns:
        The picture, (1, 3, H, W), not clamped.
    """
    height, width = motion.size
    looks = motion.looks
    bands = math.ceil(height * width * looks / FRAMES / BAND_PIXELS)
    if bands == 1:
        return _solve(start, y, motion, looks)
    margin = math.ceil(motion.farthest(1)) + MARGIN
    rows = math.ceil(height / bands)
    parts = []
    for top in range(0, height, rows):
        first, last = max(0, top - margin), min(height, top + rows + margin)
        some = motion.part((slice(first, last), slice(None)))
        part = _solve(start[..., first:last, :], y[..., first:last, :], some, looks)
        parts.append(part[..., top - first : top - first + rows, :])
    return torch.cat(parts, dim=2)


def _solve(start: Tensor, y: Tensor, motion: Motion, looks: int) -> Tensor:
    """Adam on all pixels, with the slope of the error written out.

    Half of mean (R(L) - y)² + `MIDDLE` (L - start)² + `VARIATION` TV(L), times the pixels.
    """
    camera = Exposure(motion, looks)
    height, width = motion.size
    anchor, seen = _pixels(start), _pixels(y)
    picture = anchor.clone()
    descent = Descent(picture, STEPS, PACE, DAMPING)
    for _ in range(STEPS):
        slope = _photo_slope(camera, picture, seen)
        slope.add_(picture - anchor, alpha=MIDDLE)
        # 3 channels: the mean of the variation is over pixels, that of the error over values
        tv = _variation_slope(picture.view(height, width, 3)).view(-1, 3)
        slope.add_(tv, alpha=1.5 * VARIATION)
        descent.step(slope)
    return picture.view(height, width, 3).permute(2, 0, 1)[None].contiguous()


def _photo_slope(camera: Exposure, picture: Tensor, seen: Tensor) -> Tensor:
    """Slope of half the squared re-blur error of a picture, (N, 3)."""
    inside = picture.clamp(DARKEST, 1)
    light = inside**GAMMA
    exposed = camera.forward(light)
    lit = exposed.clamp(FAINTEST, 1)
    blurry = lit ** (1 / GAMMA)
    error = (blurry - seen).mul_(blurry).div_(lit)  # times the response's slope, up to 1 / γ
    error.mul_(exposed == lit)
    return camera.adjoint(error).mul_(light).div_(inside).mul_(picture == inside)


def _variation_slope(picture: Tensor) -> Tensor:
    """Slope of the sum of smoothed lengths of the differences of neighbours, (H, W, 3)."""
    slope = torch.zeros_like(picture)
    for dim in (0, 1):
        d = picture.diff(dim=dim)
        d.div_(d.square().sum(dim=2, keepdim=True).add_(SOFT).sqrt_())
        size = d.shape[dim]
        slope.narrow(dim, 1, size).add_(d)
        slope.narrow(dim, 0, size).sub_(d)
    return slope


def _pixels(image: Tensor) -> Tensor:
    """(1, 3, H, W) as (H * W, 3)."""
    return image[0].permute(1, 2, 0).reshape(-1, 3).contiguous()
