"""Parts of a sequence that run against the video around it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

RADIUS = 8
"""Of the surroundings that are asked with each pixel [px of the small size]."""
NOISE = 0.1
"""Product of two motions [px² of the small size] that is as good as none."""
OPPOSED = 0.3
"""Share of its motion that has to speak against the order of a part, net."""
SMALLEST = 0.005
"""Share of the image below which nothing is turned."""


def against(motion: Tensor, course: Tensor) -> Tensor | None:
    """Find where a sequence moves against the course of the video.

    Args:
        motion: from the first frame of the sequence to the last [px], (1, 2, h, w).
        course: of the video around it, from frame to frame, on the same pixels.

    Returns:
        (h, w), bool; None where that is hardly anything.
    """
    along = _mean((motion * course).sum(dim=1, keepdim=True))
    most = _mean(motion.norm(dim=1, keepdim=True) * course.norm(dim=1, keepdim=True))
    region = (along < -OPPOSED * (most + NOISE))[0, 0]
    return region if float(region.float().mean()) > SMALLEST else None


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
