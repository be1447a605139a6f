"""To and from linear light, as a camera of gamma 2.2 has it."""

from __future__ import annotations

from torch import Tensor

from blurvid.exposure import GAMMA

DARKEST = 1e-4
"""Darkest value of an image; below, light has no gradient to follow."""
FAINTEST = 1e-6
"""Least light; the slope of the camera's response is bounded by it."""


def to_light(image: Tensor) -> Tensor:
    """Linear light of an image.

    Args:
        image: any shape, nominally in [0, 1]; clamped to [1e-4, 1].

    Returns:
        The same shape, in (0, 1]; differentiable.
    """
    return image.clamp(DARKEST, 1) ** GAMMA


def to_image(light: Tensor) -> Tensor:
    """Image values of linear light.

    Args:
        light: any shape, nominally in [0, 1]; clamped to [1e-6, 1].

    Returns:
        The same shape, in (0, 1]; differentiable.
    """
    return light.clamp(FAINTEST, 1) ** (1 / GAMMA)
