"""Float images to 8-bit pixels, and to PNG files that keep what the photo came with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid.errors import OutputError
from blurvid.media.atomic import replacing
from blurvid.media.photo import Photo


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


def write_png(
    image: Tensor, path: Path, photo: Photo | None = None, *, overwrite: bool = False
) -> None:
    """Write one image as a PNG file, with what its photo came with.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        path: the file; its folder is made if missing.
        photo: gives ICC profile, EXIF and alpha. A greyscale photo gives a greyscale file
            (mean of the channels), with 16 bits where the photo has them and has no alpha;
            16-bit colour becomes 8-bit colour, since Pillow writes no other.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path}: exists already")
    with replacing([path]) as temporaries:
        save_png(image, temporaries[0], photo)


def save_png(image: Tensor, path: Path, photo: Photo | None) -> None:
    """Write one image as `write_png` does, but straight to a path that must be new."""
    if image.ndim != 3:
        raise ValueError(f"an image of shape {tuple(image.shape)}; (3, H, W) is needed")
    pixels = _png_pixels(image, photo)
    options: dict[str, Any] = {}
    if photo is not None and photo.icc is not None:
        options["icc_profile"] = photo.icc
    if photo is not None and photo.exif is not None:
        options["exif"] = photo.exif
    with path.open("xb") as file:
        Image.fromarray(pixels).save(file, format="PNG", **options)


def _png_pixels(image: Tensor, photo: Photo | None) -> NDArray[Any]:
    """(H, W) for grey, (H, W, 2) for grey and alpha, (H, W, 3) or (H, W, 4) for colour."""
    alpha: NDArray[np.uint8] | None = None
    if photo is not None and photo.alpha is not None:
        if photo.alpha.shape[-2:] != image.shape[-2:]:
            sides = f"{tuple(image.shape[-2:])} and {tuple(photo.alpha.shape[-2:])}"
            raise ValueError(f"image and alpha differ in size: {sides}")
        alpha = _levels(photo.alpha, 255)[0].astype(np.uint8)
    if photo is None or not photo.greyscale:
        pixels = to_uint8(image)
        return pixels if alpha is None else np.dstack([pixels, alpha])
    grey = image.detach().float().mean(0)
    if alpha is not None:
        return np.dstack([_levels(grey, 255).astype(np.uint8), alpha])
    if photo.depth == 16:
        return _levels(grey, 65535).astype(np.uint16)
    return _levels(grey, 255).astype(np.uint8)


def _levels(values: Tensor, limit: int) -> NDArray[np.float32]:
    """Scale [0, 1] to whole numbers in [0, limit], as floats."""
    if not values.is_floating_point():
        raise ValueError(f"values of {values.dtype}; floats in [0, 1] are needed")
    scaled = values.detach().to("cpu").float().clamp(0, 1).mul_(limit).round_()
    if scaled.isnan().any():
        raise ValueError("values that are not a number (NaN)")
    levels: NDArray[np.float32] = scaled.numpy()
    return levels
