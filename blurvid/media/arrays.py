"""From images in memory to a `Photo`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid.errors import InputError
from blurvid.media.decode import photo_from_image, photo_from_values
from blurvid.media.metadata import Metadata
from blurvid.media.photo import Photo

_SLACK = 1e-3
"""How far float values may leave [0, 1], for rounding; they are clamped."""


def photo_from_array(value: Image.Image | NDArray[Any] | Tensor, name: str = "image") -> Photo:
    """Make a photo of an image in memory.

    Args:
        value: a Pillow image; a numpy array (H, W), (H, W, 3) or (H, W, 4), RGB, uint8,
            uint16, or float in [0, 1]; or a float tensor (3, H, W) or (1, 3, H, W), RGB in
            [0, 1], on any device.
        name: name for messages.

    Returns:
        The photo, on the CPU; it shares no memory with `value`.

    Raises:
        InputError: another type or shape, no pixels, values not finite or out of range.
    """
    if isinstance(value, Image.Image):
        if 0 in value.size:
            raise InputError(f"{name}: an image without pixels")
        try:
            return photo_from_image(value.copy(), name)
        except OSError as error:
            raise InputError(f"{name}: {error}") from error
    if isinstance(value, Tensor):
        value = _channels_last(value, name)
    if isinstance(value, np.ndarray):
        return _from_numpy(value, name)
    raise InputError(f"{name}: cannot make a photo of a {type(value).__name__}")


def _channels_last(value: Tensor, name: str) -> NDArray[np.float32]:
    """Check a tensor; return (H, W, 3)."""
    image = value[0] if value.ndim == 4 and value.shape[0] == 1 else value
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        shape = tuple(value.shape)
        raise InputError(f"{name}: a tensor of shape {shape}; (3, H, W) or (1, 3, H, W) is needed")
    if not image.is_floating_point():
        raise InputError(f"{name}: a tensor of {value.dtype}; floats in [0, 1] are needed")
    return np.asarray(image.detach().movedim(0, -1).to("cpu", torch.float32))


def _from_numpy(value: NDArray[Any], name: str) -> Photo:
    """Check an array and split colours from alpha."""
    if value.ndim not in (2, 3) or value.size == 0 or value.shape[2:] not in ((), (3,), (4,)):
        raise InputError(
            f"{name}: an array of shape {value.shape}; (H, W), (H, W, 3) or (H, W, 4) is needed"
        )
    if value.dtype == np.uint8:
        limit, depth = 255, 8
    elif value.dtype == np.uint16:
        limit, depth = 65535, 16
    elif np.issubdtype(value.dtype, np.floating):
        limit, depth = 1, 8
    else:
        raise InputError(
            f"{name}: an array of {value.dtype}; uint8, uint16 or float in [0, 1] is needed"
        )
    photo = photo_from_values(
        np.atleast_3d(value), limit, Metadata(), name, depth=depth, warnings=[]
    )
    pixels = _unit_range(photo.pixels, name)
    alpha = None if photo.alpha is None else _unit_range(photo.alpha, name)
    return dataclasses.replace(photo, pixels=pixels, alpha=alpha)


def _unit_range(image: Tensor, name: str) -> Tensor:
    """Clamp what rounding put outside [0, 1]; refuse more than that."""
    low, high = image.min().item(), image.max().item()
    if not image.isfinite().all():
        raise InputError(f"{name}: holds values that are not finite (NaN or infinity)")
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(f"{name}: floats from {low:g} to {high:g}; values in [0, 1] are needed")
    return image.clamp(0, 1)
