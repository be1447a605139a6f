"""Pictures smoothed, sharpened, and at other sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_CRISP = 1.2
"""Most of an image's own detail that is added to it again."""
BAND = 256
"""Rows of an image that are worked on at a time, where all would take memory of its own."""


def by_bands(do: Callable[[slice], Tensor], height: int, near: int) -> Tensor:
    """Do what looks `near` pixels around each place for some rows of an image at a time.

    Args:
        do: gives (B, C, rows, W) of some rows.
        height: H.
        near: so many rows more are asked for on both sides, and left out.

    Returns:
        (B, C, H, W).
    """
    out: Tensor | None = None
    for top in range(0, height, BAND):
        end, first = min(height, top + BAND), max(0, top - near)
        done = do(slice(first, min(height, end + near)))
        if out is None:
            out = done.new_empty(*done.shape[:2], height, done.shape[3])
        out[..., top:end, :] = done[..., top - first : end - first, :]
    assert out is not None
    return out


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


def steepness(image: Tensor, other: Tensor | None = None) -> float:
    """Mean squared difference of neighbouring pixels, or its product with that of another image.

    Images are (1, C, H, W); a channel at a time, as the differences take memory of their own.
    """
    pairs = zip(image[0], image[0] if other is None else other[0], strict=True)
    ways = [k for k in (0, 1) if image.shape[2 + k] > 1]
    means = [float((x.diff(dim=k) * y.diff(dim=k)).mean()) for x, y in pairs for k in ways]
    return sum(means) / image.shape[1]


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
    some = by_bands(lambda rows: blur(image[..., rows, :], 0.8), image.shape[-2], 2)
    detail = some.neg_().add_(image)
    # (d + s e)² = d² + 2 s d e + s² e², d and e the slopes of the image and of its detail
    both, own = steepness(image, detail), steepness(detail)
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
    smaller = size[0] < image.shape[-2] or size[1] < image.shape[-1]
    scaled = F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=smaller)
    return scaled.clamp_(0, 1)
