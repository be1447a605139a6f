"""Blur formation: instants add up in light (Jin et al. 2018, eq. 1)."""

from __future__ import annotations

from torch import Tensor

from blurvid.config import Gamma

SRGB_LINEAR_END = 0.04045
"""Encoded value below which the sRGB curve is a straight line (IEC 61966-2-1)."""


def to_light(image: Tensor, gamma: Gamma) -> Tensor:
    """Undo the camera response g.

    Args:
        image: encoded values in [0, 1], any shape; below 0 counts as 0.
        gamma: exponent, or `srgb` for the sRGB curve.

    Returns:
        Light in [0, 1], same shape.
    """
    if gamma == 1.0:
        return image
    image = image.clamp(min=0)
    if gamma == "srgb":
        curve = ((image + 0.055) / 1.055) ** 2.4
        return curve.where(image > SRGB_LINEAR_END, image / 12.92)
    return image**gamma


def to_image(light: Tensor, gamma: Gamma) -> Tensor:
    """Apply the camera response g; the inverse of `to_light`.

    Args:
        light: light in [0, 1], any shape; below 0 counts as 0.
        gamma: exponent, or `srgb` for the sRGB curve.

    Returns:
        Encoded values in [0, 1], same shape.
    """
    if gamma == 1.0:
        return light
    light = light.clamp(min=0)
    if gamma == "srgb":
        curve = 1.055 * light ** (1 / 2.4) - 0.055
        return curve.where(light > SRGB_LINEAR_END / 12.92, light * 12.92)
    return light ** (1 / gamma)


def average_frames(frames: Tensor, gamma: Gamma) -> Tensor:
    """Average frames into the blurry image that a long exposure would have given (eq. 1).

    Args:
        frames: (..., T, C, H, W), encoded values in [0, 1].
        gamma: camera response in which the light adds up.

    Returns:
        The blurry image y, (..., C, H, W).
    """
    return to_image(to_light(frames, gamma).mean(dim=-4), gamma)


def psnr_of(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [dB] of mean squared errors, data range 1; of none, infinite."""
    return -10.0 * error.log10()  # log10(0) = -inf
