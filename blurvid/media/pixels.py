"""Float images to whole numbers: what a file holds of a frame, and what a screen shows of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid.atomic import stoppable
from blurvid.media.photo import Photo
from blurvid.media.profile import srgb_converter

Pixels = NDArray[np.uint8]

FILTER = "bicubic, antialiased"
"""Cubic convolution with a = -1/2 (Keys 1981), as wide as the smaller image's pixels."""
FILTER_VIDEO = f"{FILTER}, by ffmpeg before the conversion to RGB"
"""The same for videos; the result is rounded to 8 bits."""
LARGEST: dict[str, tuple[int, float]] = {
    "mp4": (16_384, 139_264 * 16**2),
    "webp": (16_383, math.inf),
    "webp-frames": (16_383, math.inf),
    "gif": (65_535, math.inf),
    "jpg": (65_500, math.inf),  # as libjpeg writes it
}
"""Longest side of a frame [px], and most pixels: for an MP4 what x264 takes, and the macroblocks of
the highest level of H.264, beyond which hardly anything plays."""


def to_uint8(frames: Tensor) -> NDArray[np.uint8]:
    """Turn float images into 8-bit ones: clamp, times 255, rounded once.

    Args:
        frames: (..., 3, H, W) float RGB, nominally in [0, 1], on any device.

    Returns:
        (..., H, W, 3) uint8 RGB, contiguous, sharing no memory with `frames`.

    Raises:
        ValueError: another shape, not floats, or NaN values.
    """
    if frames.ndim < 3 or frames.shape[-3] != 3:
        raise ValueError(f"frames of shape {tuple(frames.shape)}; (..., 3, H, W) is needed")
    levels = _levels(frames, 255)
    return np.ascontiguousarray(np.moveaxis(levels, -3, -1).astype(np.uint8))


def frame_pixels(image: Tensor, photo: Photo | None, depth: int | None = None) -> NDArray[Any]:
    """Round an image to what a file with all that its photo has would hold.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        photo: gives alpha, depth, and whether it is greyscale.
        depth: 8 or 16 bits per channel, whatever the photo has.

    Returns:
        uint8, or uint16 for 16 bits: (H, W) for grey, (H, W, 2) for grey and
        alpha, (H, W, 3) for colour, (H, W, 4) for colour and alpha.

    Raises:
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image of shape {tuple(image.shape)}; (3, H, W) is needed")
    depth = depth or (photo.depth if photo is not None else 8)
    limit, dtype = (65535, np.uint16) if depth == 16 else (255, np.uint8)
    grey = photo is not None and photo.greyscale
    planes = [_levels(image.float().mean(0, keepdim=True) if grey else image, limit)]
    if photo is not None and photo.alpha is not None:
        if photo.alpha.shape[-2:] != image.shape[-2:]:
            sides = f"{tuple(image.shape[-2:])} and {tuple(photo.alpha.shape[-2:])}"
            raise ValueError(f"image and alpha differ in size: {sides}")
        planes.append(_levels(photo.alpha, limit))
    # (C, H, W) -> (H, W, C)
    pixels = np.moveaxis(np.concatenate(planes).astype(dtype), 0, -1)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def flat_frames(frames: Tensor, photo: Photo | None, kind: str = "") -> list[Pixels]:
    """Make uint8 sRGB frames without transparency, of frames (T, 3, H, W).

    Args:
        frames: RGB in [0, 1].
        photo: what they came from.
        kind: of file, in which they have to fit; any by default.

    Returns:
        (H, W, 3) each, smaller where they do not fit.
    """
    icc, alpha = (photo.icc, photo.alpha) if photo is not None else (None, None)
    convert = None if icc is None else srgb_converter(icc)
    if alpha is not None and alpha.shape[-2:] != frames.shape[-2:]:
        sides = f"{tuple(frames.shape[-2:])} and {tuple(alpha.shape[-2:])}"
        raise ValueError(f"frames and alpha differ in size: {sides}")
    flat = []
    for frame in stoppable(frames):
        if alpha is not None:
            solid = alpha.to(frame)
            frame = frame.clamp(0, 1) * solid + (1 - solid)
        pixels = to_uint8(frame)
        flat.append(fitted(pixels if convert is None else convert(pixels), kind))
    return flat


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


def fitting(kind: str, height: int, width: int) -> tuple[int, int]:
    """The size, in the same shape, in which a kind of file holds a frame: its own where it can."""
    side, pixels = LARGEST.get(kind, (math.inf, math.inf))
    scale = min(1.0, side / max(height, width), math.sqrt(pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def fitted(frame: Pixels, kind: str) -> Pixels:
    """A frame (H, W, 3) in the size that `fitting` gives."""
    size = fitting(kind, *frame.shape[:2])
    if size == frame.shape[:2]:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))


def on_white(pixels: Pixels) -> Pixels:
    """Put pixels (H, W, C) whose last channel is alpha on white: (H, W, C - 1)."""
    solid = pixels[..., -1:] / np.float32(255)
    return np.round(pixels[..., :-1] * solid + 255 * (1 - solid)).astype(np.uint8)


def _levels(values: Tensor, limit: int) -> NDArray[np.float32]:
    """Scale [0, 1] to whole numbers in [0, limit], as floats."""
    if not values.is_floating_point():
        raise ValueError(f"values of {values.dtype}; floats in [0, 1] are needed")
    scaled = values.detach().to("cpu").float().clamp(0, 1).mul_(limit).round_()
    if scaled.isnan().any():
        raise ValueError("values that are not a number (NaN)")
    levels: NDArray[np.float32] = scaled.numpy()
    return levels
