"""Making frames of clips smaller: one filter, for decoded images and inside ffmpeg."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

FILTER = "bicubic, antialiased"
"""Cubic convolution with a = -1/2 (Keys 1981), as wide as the smaller image's pixels."""
FILTER_VIDEO = f"{FILTER}, by ffmpeg before the conversion to RGB"
"""The same for videos; the result is rounded to 8 bits."""
EXACT = "bicubic+accurate_rnd+full_chroma_int"
"""Flags of ffmpeg's scaler; its quick conversion makes every frame a level darker (measured)."""


def scaled_side(side: int, scale: float) -> int:
    """Side of a scaled image [px], at least one."""
    return max(1, math.floor(side * scale + 0.5))


def scaled(image: Tensor, scale: float) -> Tensor:
    """Scale an image (3, H, W) in [0, 1], by `FILTER`."""
    if scale == 1:
        return image
    size = [scaled_side(side, scale) for side in image.shape[-2:]]
    out = F.interpolate(image[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return out[0].clamp(0, 1)  # bicubic overshoots at edges


def video_filter(scale: float) -> str:
    """Arguments that make FFmpeg's scaler work by `FILTER`, exactly; `scale` may be 1."""
    width, height = (f"'max(1,floor({side}*{scale!r}+0.5))'" for side in ("iw", "ih"))
    return f"w={width}:h={height}:param0=0:param1=0.5:flags={EXACT}"
