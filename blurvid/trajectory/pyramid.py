"""From a photo to the picture and its motion, coarse to fine where the blur is long.

The deblurring network knows blurs of up to about 15 px. Where a photo's are longer, it is
made smaller until they are short, and every answer is the start of the next size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.choose import Answer, choose, deblurred, steady
from blurvid.trajectory.consensus import oriented
from blurvid.trajectory.deconvolution import Prior, solve
from blurvid.trajectory.paths import Motion
from blurvid.trajectory.refine import FULL_SIZE, HALF_SIZE, Effort, refine
from blurvid.trajectory.sampling import blur, resize
from blurvid.trajectory.search import find_motion

Sharpen = Callable[[Tensor], Tensor]
"""Takes and gives (1, 3, H, W), RGB in [0, 1]: a blurry picture, its middle frame."""
Progress = Callable[[str, float], None]
"""Told what begins, and the share of the whole that is done."""

SHORT = 7.0
"""Half displacement [px] up to which the network deblurs: its training blurs were 15 px long."""
START = 5.0
"""Half displacement [px] at the size at which the pyramid begins."""
LOOK = 96
"""Shorter side [px] of the smallest look."""
SMALLEST = 64
"""No side of a level is shorter [px]."""
WHOLE = 300
"""Levels whose shorter side is below this are searched at their own size [px], not at half."""
CLEARED = Prior(steps=40, middle=0.01)
"""The coarser picture is only carried on to the next size."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A picture and a motion that make a photo."""

    picture: Tensor
    """L, the middle frame solved for, (1, 3, H, W), RGB, nominally in [0, 1]."""
    middle: Tensor
    """m, what the network makes of the middle frame, the same."""
    motion: Motion
    levels: int
    """Sizes that it took."""


def fit(y: Tensor, sharpen: Sharpen, progress: Progress | None = None) -> Fit:
    """Find the sharp picture and the motion that a photo was made of.

    Args:
        y: photo, (1, 3, H, W), RGB in [0, 1].
        sharpen: the deblurring network, for any size.
        progress: told what begins.

    Returns:
        Picture, middle frame and motion at the photo's size.
    """
    tell = progress or _silent
    tell("look", 0.0)
    levels = count_levels(y, sharpen)
    if levels == 1:
        tell("middle", 0.02)
        middle = sharpen(y)
        tell("motion", 0.2)
        motion = fit_motion(middle, y)
        tell("picture", 0.6)
        return Fit(solve(middle, y, motion), middle, motion, levels)
    return descend(y, sharpen, levels, tell)


def fit_motion(middle: Tensor, y: Tensor) -> Motion:
    """Find the motion that makes the photo of a sharp picture, at half size, then at full.

    Args:
        middle: sharp picture, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
    """
    size = (y.shape[-2], y.shape[-1])
    small_middle, small_y = F.avg_pool2d(middle, 2), F.avg_pool2d(y, 2)
    half = (small_y.shape[-2], small_y.shape[-1])
    motion = find_motion(middle, y, shrink=2).motion
    motion = refine(small_middle, small_y, motion.resized(half), HALF_SIZE)
    return refine(middle, y, motion.resized(size), FULL_SIZE)


def count_levels(y: Tensor, sharpen: Sharpen) -> int:
    """How many sizes a photo needs, from the motion seen where it is so small as to be short."""
    height, width = y.shape[-2:]
    halvings = max(0, math.floor(math.log2(min(height, width) / LOOK)))
    if halvings == 0:
        return 1
    small = resize(y, _size(height, width, halvings))
    motion = find_motion(sharpen(small), small, shrink=1).motion
    longest = float(motion.a.norm(dim=1).flatten().quantile(0.95)) * 2**halvings
    if longest <= SHORT:
        return 1
    return 1 + min(halvings, math.ceil(math.log2(longest / START)))


def descend(y: Tensor, sharpen: Sharpen, levels: int, tell: Progress) -> Fit:
    """Find picture and motion at the smallest of several sizes, then at each larger one.

    Args:
        y: photo, (1, 3, H, W), RGB in [0, 1].
        sharpen: the deblurring network.
        levels: sizes, each half the next.
        tell: told what begins.
    """
    height, width = y.shape[-2:]
    sizes = [_size(height, width, k) for k in range(levels - 1, -1, -1)]
    work = [size[0] * size[1] for size in sizes]
    found: Fit | None = None
    for number, size in enumerate(sizes):
        tell(f"level {number + 1} of {levels}", sum(work[:number]) / sum(work))
        seen = resize(y, size)
        found = _first(seen, sharpen) if found is None else _next(seen, sharpen, found)
    assert found is not None
    return Fit(found.picture, found.middle, found.motion, levels)


def _first(y: Tensor, sharpen: Sharpen) -> Fit:
    """The answer at the smallest size."""
    middle = sharpen(y)
    fresh = find_motion(middle, y, _shrink(y)).motion
    rest = torch.zeros_like(fresh.a)
    chosen = choose(
        middle,
        y,
        [Answer(rest, rest), Answer(fresh.consensus, rest), Answer(fresh.a, rest)],
    )
    return _finish(middle, y, chosen, fresh.consensus)


def _next(y: Tensor, sharpen: Sharpen, coarser: Fit) -> Fit:
    """The answer at the next size."""
    size = (y.shape[-2], y.shape[-1])
    known = coarser.motion.resized(size)
    carried = solve(resize(coarser.picture, size), y, known, CLEARED)
    moving = deblurred(carried, y, known)
    share = blur(moving, 3.0)
    middle = sharpen(carried.clamp(0, 1)) * share + sharpen(y) * (1 - share)
    fresh = find_motion(middle, y, _shrink(y)).motion
    rest = torch.zeros_like(fresh.a)
    # one sign for the whole picture, then one for each place
    turn = 1.0 if float((fresh.consensus * known.a).sum()) >= 0 else -1.0
    consensus = fresh.consensus * turn
    own = oriented(fresh.a * turn, blur(known.a, 6.0))
    answers = [
        Answer(rest, rest),
        Answer(known.a, known.b),
        Answer(consensus, rest),
        Answer(own, rest),
    ]
    chosen = choose(middle, y, answers, still=share <= 0.3)
    return _finish(middle, y, chosen, consensus)


def _finish(middle: Tensor, y: Tensor, chosen: Answer, consensus: Tensor) -> Fit:
    motion = Motion(steady(chosen.a), chosen.b, torch.zeros_like(consensus))
    effort = Effort(cell=8 if _shrink(y) == 1 else 16, steps=50, smoothness=4e-3)
    motion = refine(middle, y, motion, effort)
    motion = Motion(motion.a, motion.b, consensus)
    return Fit(solve(middle, y, motion), middle, motion, 1)


def _shrink(y: Tensor) -> int:
    return 1 if min(y.shape[-2:]) < WHOLE else 2


def _size(height: int, width: int, halvings: int) -> tuple[int, int]:
    if halvings == 0:
        return height, width
    scale = 2**halvings
    return max(SMALLEST, round(height / scale)), max(SMALLEST, round(width / scale))


def _silent(stage: str, share: float) -> None:
    """Progress that nobody asked for."""
