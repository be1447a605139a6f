"""What happens to a picture that moves while the shutter is open, place by place.

Instants add up in light (Jin et al. 2018, eq. 1). Times run from -1, the first of the seven frames,
to 1, the last. The networks have learned on exactly this arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES, Gamma

GAMMA = 2.2
"""Camera response in which exposures are averaged."""
DARKEST = 1e-4
"""Darkest value of an image; below, light has no gradient to follow."""
FAINTEST = 1e-6
"""Least light; the slope of the camera's response is bounded by it."""
Sampling = Literal["bilinear", "bicubic"]
"""Between pixels: bilinear softens (0.71 of the contrast of 4 px waves halfway between pixels),
bicubic hardly (0.88)."""
TIMES: tuple[float, ...] = tuple((2 * i - FRAMES + 1) / (FRAMES - 1) for i in range(FRAMES))
"""When the seven frames are taken."""
SPAN = FRAMES / (FRAMES - 1)
"""The exposure is from -SPAN to SPAN: the frames stand at the middles of its sevenths."""
FINEST = 0.35
"""Step between half displacements near rest [px]: motion of 1 px at full size is common, and
matters."""


def instants(count: int) -> tuple[float, ...]:
    """Middles of `count` equal parts of the exposure; those of seven are the frames' times."""
    return tuple(SPAN * ((2 * i + 1) / count - 1) for i in range(count))


def straight_lines(reach: float) -> Tensor:
    """Half displacements of straight motion to try: rest, then half circles of growing radius.

    A line and its reverse give the same blur, so that half of the plane is enough.

    Args:
        reach: longest [px].

    Returns:
        (N, 2), x to the right, y down [px]; the first is rest.
    """
    tried = [(0.0, 0.0)]
    length = FINEST
    while length <= reach + 1e-6:
        around = max(6, round(math.pi * length / (1.2 * max(0.6, length / 6))))
        odd = 0.5 * (len(tried) % 2)  # circles are turned against each other
        angles = [math.pi * (i + odd) / around for i in range(around)]
        tried += [(length * math.cos(angle), length * math.sin(angle)) for angle in angles]
        length += max(FINEST, length / 6)
    return torch.tensor(tried)


def displacement(motion: Tensor, t: float) -> Tensor:
    """Where a frame is seen in the middle one, a t + b t², (B, 4, H, W) -> (B, 2, H, W) [px]."""
    a, b = motion[:, :2], motion[:, 2:4]
    return a * t + b * (t * t)


def line_kernels(lines: Tensor, times: Sequence[float], reach: tuple[int, int]) -> Tensor:
    """Kernels that average a picture along straight lines, with bilinear looks.

    Args:
        lines: half displacements [px], (N, 2).
        times: places on the lines that are averaged.
        reach: the kernels' half height and half width [px]; no line is longer.

    Returns:
        (N, 1, 2 * reach[0] + 1, 2 * reach[1] + 1); each sums to 1.
    """
    at = lines[:, None] * torch.tensor(times)[:, None]  # (N, T, 2)
    # bilinear weights of a point are hat functions of the distance to each pixel
    across, down = (
        (1 - (torch.arange(-r, r + 1) - at[..., i, None]).abs()).clamp(min=0)
        for i, r in ((0, reach[1]), (1, reach[0]))
    )
    return torch.einsum("nth,ntw->nhw", down, across)[:, None] / len(times)


def to_light(image: Tensor) -> Tensor:
    """Linear light of an image, any shape, clamped to [1e-4, 1]; differentiable."""
    return image.clamp(DARKEST, 1.0) ** GAMMA


def to_image(light: Tensor) -> Tensor:
    """Image values of linear light, any shape, clamped to [1e-6, 1]; differentiable."""
    return light.clamp(FAINTEST, 1.0) ** (1 / GAMMA)


def sample(image: Tensor, shift: Tensor, mode: Sampling = "bilinear") -> Tensor:
    """Take an image at displaced places, image(x + shift(x)); beyond its border, the border.

    Args:
        image: (B, C, H, W), any range.
        shift: (B, 2, H, W) as (x, y) [px].
        mode: how to look between pixels.

    Returns:
        (B, C, H, W) float32; bicubic values may leave the range of the image.
    """
    image = image.float()
    return _look(image, _places(image) + _grid(shift.float(), image), mode)


def exposed(
    light: Tensor,
    a: Tensor,
    b: Tensor,
    looks: int = FRAMES,
    mode: Sampling = "bilinear",
    stride: int = 1,
) -> Tensor:
    """Mean light of a moving picture.

    Args:
        light: of the middle frame, linear, (B, C, H, W).
        a: first-order displacements [px], (B, 2, h, w).
        b: second-order ones, the same.
        looks: instants that are averaged, odd; longer ways between them than two or three pixels
            leave gaps.
        mode: how to look between pixels.
        stride: every how many pixels, along each side, it is found.

    Returns:
        (B, C, h, w), linear; differentiable in all three.
    """
    places = _places(light)[:, ::stride, ::stride]
    a, b = _grid(a, light), _grid(b, light)
    total = light[..., ::stride, ::stride]  # t = 0 is the picture itself
    for t in instants(looks)[looks // 2 + 1 :]:
        middle, half = places + b * t**2, a * t
        total = total + _look(light, middle + half, mode) + _look(light, middle - half, mode)
    return total / looks


def reblur(
    picture: Tensor, a: Tensor, b: Tensor, looks: int = FRAMES, mode: Sampling = "bilinear"
) -> Tensor:
    """The photo that a camera would take of a moving picture, (B, 3, H, W) in [0, 1] -> the same.

    Args:
        picture: the middle frame.
        a: see `exposed`, like the others.
        b: second-order displacements.
        looks: instants that are averaged.
        mode: how to look between pixels.
    """
    return to_image(exposed(to_light(picture), a, b, looks, mode))


def _look(image: Tensor, grid: Tensor, mode: Sampling) -> Tensor:
    """Values of (B, C, H, W) at (B, h, w, 2), -1 to 1 from the first pixel to the last."""
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)


def _places(image: Tensor) -> Tensor:
    """Where the pixels of an image are, (1, H, W, 2), see `_look`."""
    height, width = image.shape[-2:]
    y, x = (torch.arange(n, device=image.device, dtype=torch.float32) for n in (height, width))
    at = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]
    return _grid(at, image) - 1


def _grid(shift: Tensor, image: Tensor) -> Tensor:
    """Displacements [px] in an image, (B, 2, h, w) -> (B, h, w, 2), see `_look`."""
    height, width = image.shape[-2:]
    x, y = shift[:, 0] * (2 / max(width - 1, 1)), shift[:, 1] * (2 / max(height - 1, 1))
    return torch.stack([x, y], dim=-1)


SRGB_LINEAR_END = 0.04045
"""Encoded value below which the sRGB curve is a straight line (IEC 61966-2-1)."""


def light_of(image: Tensor, gamma: Gamma) -> Tensor:
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


def image_of(light: Tensor, gamma: Gamma) -> Tensor:
    """Apply the camera response g; the inverse of `light_of`.

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
    return image_of(light_of(frames, gamma).mean(dim=-4), gamma)


def psnr_of(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [dB] of mean squared errors, data range 1; of none, infinite."""
    return -10.0 * error.log10()  # log10(0) = -inf
