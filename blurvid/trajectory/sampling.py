"""Pictures smoothed, sharpened, and at other sizes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_CRISP = 1.2
"""Most of an image's own detail that is added to it again."""


def blur(x: Tensor, sigma: float) -> Tensor:
    """Smooth with a Gaussian; edges are continued.

    Args:
        x: (B, C, H, W).
        sigma: standard deviation [px].

    Returns:
        The same shape.
    """
    radius = int(3 * sigma + 0.5)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    weights = (kernel / kernel.sum()).tolist()
    for dim, sides in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        size = x.shape[dim]
        padded = F.pad(x, sides, mode="replicate")
        x = torch.zeros_like(x)
        # A convolution of single channels would hold every look at once
        for place, weight in enumerate(weights):
            x.add_(padded.narrow(dim, place, size), alpha=weight)
    return x


def steepness(image: Tensor) -> float:
    """Mean squared difference of neighbouring pixels, of (1, C, H, W)."""
    return sum(float(d.square_().mean()) for d in (image.diff(dim=k) for k in (2, 3)))


def crisp(image: Tensor, goal: float) -> Tensor:
    """Sharpen an image a little, where looks between pixels have softened it.

    Args:
        image: (1, C, H, W), in [0, 1].
        goal: `steepness` to reach, as far as `MOST_CRISP` goes; an image that has it stays.

    Returns:
        The same shape, in [0, 1].
    """
    had = steepness(image)
    if had >= goal:
        return image
    detail = blur(image, 0.8).neg_().add_(image)
    # (d + s e)² = d² + 2 s d e + s² e², d and e the slopes of the image and of its detail
    both = sum(float(image.diff(dim=k).mul_(detail.diff(dim=k)).mean()) for k in (2, 3))
    own = steepness(detail)
    if own <= 0:
        return image
    amount = (math.sqrt(both**2 + own * (goal - had)) - both) / own
    return detail.mul_(min(amount, MOST_CRISP)).add_(image).clamp_(0, 1)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image at another size, bicubic, antialiased downwards.

    Args:
        image: (B, C, H, W), in [0, 1].
        size: height and width [px].

    Returns:
        (B, C, *size), clamped to [0, 1].
    """
    if image.shape[-2:] == size:
        return image
    smaller = size[0] < image.shape[-2]
    scaled = F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=smaller)
    return scaled.clamp(0, 1)
