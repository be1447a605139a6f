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

from blurvid.exposure import TIMES, line_kernels, straight_lines, to_image, to_light
from blurvid.trajectory.sampling import blur

SIGMA = 3.0
"""The error of a place is the mean around it, by a Gaussian of this width [px]."""
VALUES_AT_ONCE = 2**23
"""Convolved values held at a time."""


candidates = functools.lru_cache(maxsize=8)(straight_lines)


@functools.lru_cache(maxsize=8)
def banks(radius: float) -> list[tuple[Tensor, Tensor]]:
    """Candidates' numbers (N,) and their kernels, grouped by size."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    lines = candidates(radius)
    for number, (x, y) in enumerate(lines.abs().ceil().int().tolist()):
        groups[-(-y // 3) * 3, -(-x // 3) * 3].append(number)
    return [
        (torch.tensor(group), line_kernels(lines[group], TIMES, reach))
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
