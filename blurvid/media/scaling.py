"""Making frames smaller: by one filter for decoded images and inside FFmpeg; or to fit."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

FILTER = "bicubic, antialiased"
"""Cubic convolution with a = -1/2 (Keys 1981), as wide as the smaller image's pixels."""
FILTER_VIDEO = f"{FILTER}, by ffmpeg before the conversion to RGB"
"""The same for videos; the result is rounded to 8 bits."""
EXACT = "bicubic+accurate_rnd+full_chroma_int"
"""Flags of ffmpeg's scaler; its quick conversion makes every frame a level darker (measured)."""

LARGEST: dict[str, tuple[int, float]] = {
    "mp4": (16_384, 139_264 * 16**2),
    "webp": (16_383, math.inf),
    "webp-frames": (16_383, math.inf),
    "gif": (65_535, math.inf),
    "jpg": (65_500, math.inf),  # as libjpeg writes it
}
"""Longest side of a frame [px], and most pixels: for an MP4 what x264 takes, and the macroblocks of
the highest level of H.264, beyond which hardly anything plays."""


def fitting(kind: str, height: int, width: int) -> tuple[int, int]:
    """The size, in the same shape, in which a kind of file holds a frame: its own where it can."""
    side, pixels = LARGEST.get(kind, (math.inf, math.inf))
    scale = min(1.0, side / max(height, width), math.sqrt(pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def fitted(frame: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """A frame (H, W, 3) in the size that `fitting` gives."""
    size = fitting(kind, *frame.shape[:2])
    if size == frame.shape[:2]:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))


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
