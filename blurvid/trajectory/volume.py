"""How well each straight motion explains each place of a photo: the cost volume.

A picture that moves evenly along a line is a picture convolved with that line. All candidates
are a few convolutions with banks of line kernels, each bank cut to the longest of its lines.
"""

from __future__ import annotations

import functools
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.exposure import TIMES, straight_lines
from blurvid.trajectory.light import to_image, to_light
from blurvid.trajectory.sampling import blur

SIGMA = 3.0
"""The error of a place is the mean around it, by a Gaussian of this width [px]."""
VALUES_AT_ONCE = 2**23
"""Convolved values held at a time."""


candidates = functools.lru_cache(maxsize=8)(straight_lines)


def line_kernels(lines: Tensor, reach: tuple[int, int]) -> Tensor:
    """Kernels that average a picture at seven places along lines.

    Args:
        lines: half displacements [px], (N, 2).
        reach: the kernels' half height and half width [px]; no line is longer.

    Returns:
        (N, 1, 2 * reach[0] + 1, 2 * reach[1] + 1); each sums to 1.
    """
    height, width = 2 * reach[0] + 1, 2 * reach[1] + 1
    at = lines[:, None] * torch.tensor(TIMES)[:, None]  # (N, 7, 2)
    # bilinear weights of a point are hat functions of the distance to each pixel
    across = (1 - (torch.arange(width) - reach[1] - at[..., :1]).abs()).clamp(min=0)
    down = (1 - (torch.arange(height) - reach[0] - at[..., 1:]).abs()).clamp(min=0)
    return torch.einsum("nth,ntw->nhw", down, across)[:, None] / FRAMES


@functools.lru_cache(maxsize=8)
def banks(radius: float) -> list[tuple[Tensor, Tensor]]:
    """Candidates' numbers (N,) and their kernels, grouped by size."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    lines = candidates(radius)
    for number, (x, y) in enumerate(lines.abs().ceil().int().tolist()):
        groups[-(-y // 3) * 3, -(-x // 3) * 3].append(number)
    return [
        (torch.tensor(group), line_kernels(lines[group], reach))
        for reach, group in sorted(groups.items())
    ]


def cost_volume(middle: Tensor, y: Tensor, radius: float, stride: int) -> Tensor:
    """Squared error of the photo re-blurred along each candidate, smoothed.

    Args:
        middle: sharp picture, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        radius: longest half displacement [px].
        stride: every how many pixels the error is taken.

    Returns:
        (N, ceil(H / stride), ceil(W / stride)), in the order of `candidates`.
    """
    light = to_light(middle).transpose(0, 1)  # (3, 1, H, W)
    seen = y[0, :, None, ::stride, ::stride]  # (3, 1, h, w)
    volume = y.new_empty(len(candidates(radius)), *seen.shape[-2:])
    chunk = max(1, VALUES_AT_ONCE // seen.numel())
    for numbers, kernels in banks(radius):
        down, across = kernels.shape[-2] // 2, kernels.shape[-1] // 2
        padded = F.pad(light, (across, across, down, down), mode="replicate")
        for first in range(0, len(numbers), chunk):
            some, bank = numbers[first : first + chunk], kernels[first : first + chunk]
            blurry = to_image(F.conv2d(padded, bank.to(y), stride=stride))
            error = (blurry - seen).square_().mean(dim=0)
            volume[some.to(y.device)] = blur(error[None], SIGMA / stride)[0]
    return volume
