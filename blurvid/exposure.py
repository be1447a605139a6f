"""What happens to a picture that moves while the shutter is open, place by place.

Times run from -1, the first of the seven frames, to 1, the last. The networks have learned on
exactly this arithmetic.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES

GAMMA = 2.2
"""Camera response in which exposures are averaged."""
TIMES: tuple[float, ...] = tuple((2 * i - FRAMES + 1) / (FRAMES - 1) for i in range(FRAMES))
"""When the seven frames are taken."""
SPAN = FRAMES / (FRAMES - 1)
"""The exposure is from -SPAN to SPAN: the frames stand at the middles of its sevenths."""
FINEST = 0.35
"""Step between half displacements near rest [px]: motion of 1 px at full size is common, and
matters."""


def instants(count: int) -> tuple[float, ...]:
    """Middles of `count` equal parts of the exposure; those of seven are the frames' times."""
    return tuple(SPAN * ((2 * i + 1) / count - 1) for i in range(count))


def straight_lines(reach: float) -> Tensor:
    """Half displacements of straight motion to try: rest, then half circles of growing radius.

    A line and its reverse give the same blur, so that half of the plane is enough.

    Args:
        reach: longest [px].

    Returns:
        (N, 2), x to the right, y down [px]; the first is rest.
    """
    tried = [(0.0, 0.0)]
    length = FINEST
    while length <= reach + 1e-6:
        around = max(6, round(math.pi * length / (1.2 * max(0.6, length / 6))))
        odd = 0.5 * (len(tried) % 2)  # circles are turned against each other
        angles = [math.pi * (i + odd) / around for i in range(around)]
        tried += [(length * math.cos(angle), length * math.sin(angle)) for angle in angles]
        length += max(FINEST, length / 6)
    return torch.tensor(tried)


def displacement(motion: Tensor, t: float) -> Tensor:
    """Where a frame is seen in the middle one, a t + b t², (B, 4, H, W) -> (B, 2, H, W) [px]."""
    a, b = motion[:, :2], motion[:, 2:4]
    return a * t + b * (t * t)


def sample(
    image: Tensor, shift: Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear"
) -> Tensor:
    """Take an image at displaced places, image(x + shift(x)); beyond its border, the border.

    Args:
        image: (B, C, H, W).
        shift: (B, 2, H, W) as (x, y) [px].
        mode: how to look between pixels.

    Returns:
        (B, C, H, W) float32.
    """
    h, w = image.shape[-2:]
    shift = shift.float()
    xs = torch.arange(w, device=image.device, dtype=shift.dtype)
    ys = torch.arange(h, device=image.device, dtype=shift.dtype)
    grid = torch.stack(
        [
            (shift[:, 0] + xs) * (2 / max(w - 1, 1)) - 1,
            (shift[:, 1] + ys[:, None]) * (2 / max(h - 1, 1)) - 1,
        ],
        dim=-1,
    )
    return F.grid_sample(image.float(), grid, mode=mode, padding_mode="border", align_corners=True)


def reblur(picture: Tensor, motion: Tensor, count: int = FRAMES) -> Tensor:
    """Average a picture in light along the motion, (B, 3, H, W) in [0, 1] -> the same.

    Args:
        picture: what moved.
        motion: a and b, (B, 4, H, W) [px].
        count: instants that are averaged; paths of more than two pixels between them leave gaps.
    """
    light = picture.clamp(1e-4, 1.0).pow(GAMMA)
    total = torch.zeros_like(light)
    for t in instants(count):
        total = total + sample(light, displacement(motion, t))
    return (total / count).clamp(min=1e-6).pow(1 / GAMMA)
