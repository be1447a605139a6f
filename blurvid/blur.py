"""Blur formation: instants add up in light (Jin et al. 2018, eq. 1), and what y then demands."""

from __future__ import annotations

import torch
from torch import Tensor

from blurvid.config import Gamma

SRGB_LINEAR_END = 0.04045
"""Encoded value below which the sRGB curve is a straight line (IEC 61966-2-1)."""
HALF_LEVEL = 0.5 / 255
"""An 8-bit photo tells its value to within half a level."""
STEPS = 3
"""Newton steps; in float32 two of them leave the average within a few levels of y, three within
about one, wherever it can be reached."""


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


def constrain(frames: Tensor, y: Tensor, gamma: Gamma, *, tolerance: float = HALF_LEVEL) -> Tensor:
    """Change frames as little as possible so that they average to the blurry image.

    Least in the frames' own values, where errors are seen and measured, by Newton steps on the
    average in light: frames that are dark at a pixel barely move, for there a trace of light is
    many levels. The same shift in light for every frame, which is the projection in light, costs
    quality (measured).

    Where y is white the average may be brighter, for the sensor was saturated; where it is black
    there is nothing below. Noise of y beyond the tolerance goes into the frames.

    Args:
        frames: x[1..T], (..., T, C, H, W), RGB; clamped to [0, 1].
        y: blurry image, (..., C, H, W), RGB in [0, 1].
        gamma: the camera response, in which light adds up. In a wrong one the frames get worse.
        tolerance: how far y may be from the average, in its own values.

    Returns:
        The frames in [0, 1], same shape.
    """
    frames = frames.clamp(0, 1)
    # At white and at black one bound lies outside [0, 1], where no average gets: it is no bound.
    low, high = to_light(y - tolerance, gamma), to_light(y + tolerance, gamma)
    # Slopes are taken no nearer to black than this: from black, where the curve of light is
    # flat, a step of Newton's would go astray.
    darkest = (y / 2).clamp(min=1e-3).unsqueeze(-4)
    for _ in range(STEPS):
        average = to_light(frames, gamma).mean(dim=-4)
        missing = (average.clamp(low, high) - average).unsqueeze(-4)
        slope = _slope(frames.maximum(darkest), gamma)
        stuck = ((frames <= 0) & (missing < 0)) | ((frames >= 1) & (missing > 0))
        slope = slope.masked_fill(stuck, 0)
        step = missing / slope.square().mean(dim=-4, keepdim=True).clamp(min=1e-9)
        frames = torch.addcmul(frames, slope, step).clamp(0, 1)
    return frames


def _slope(image: Tensor, gamma: Gamma) -> Tensor:
    """Derivative of `to_light`, for values above 0."""
    if gamma == 1.0:
        return torch.ones_like(image)
    if gamma == "srgb":
        curve = 2.4 / 1.055 * ((image + 0.055) / 1.055) ** 1.4
        return curve.where(image > SRGB_LINEAR_END, 1 / 12.92)
    return gamma * image ** (gamma - 1)
