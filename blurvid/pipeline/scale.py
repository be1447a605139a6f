"""Long blur: see the photo so small that its blur is as long as in training, and come back.

A network shortens motion longer than what it was trained for. At a smaller scale the same motion
is shorter; the frames found there are brought back to full size by the photo itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow import sequence_motion

Run = Callable[[Tensor], Tensor]
"""Turns y (3, H, W), RGB in [0, 1], into frames (7, 3, H, W), both on the CPU."""

SCALES = (1.0, 0.71, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09)
"""Scales that are chosen from, a factor of about the square root of two apart."""
PROBES = (0.09, 0.18, 0.35)
"""Scales at which the motion is measured, as far as `LEAST_SIDE` lets them. They cost 16 % of a
full run; 0.5 besides, at 25 % more, gains 0.01 dB on blur of real clips."""
SMALL_PROBE = 0.5
"""Where it is measured on photos too small for these."""
TRAINED_MOTION = 13.0
"""Motion between the frames 1 and 7 [px] that is short enough; about what the released networks
find at most, however long it is. From 12 to 14 px the gain is the same within 0.02 dB (blur
simulated from photos held out from training, paths of 3 to 60 px)."""
LEAST_SIDE = 56
"""Shortest side [px] to which a photo is scaled down unless told to."""


def choose(y: Tensor, run: Run) -> float:
    """Choose the scale at which the motion is `TRAINED_MOTION` long, 1 where it is shorter.

    The motion is measured between the frames 1 and 7 that `run` extracts from small versions of
    the photo. Each measurement errs to the short side, where motion is lost between the pixels or
    too long for the network; so the longest counts.

    Args:
        y: blurry image, (3, H, W), RGB in [0, 1].
        run: extracts frames from an image.

    Returns:
        One of `SCALES`; 1 where the photo is too small to be scaled down.
    """
    short = min(y.shape[-2:])
    probes = [probe for probe in PROBES if short * probe >= LEAST_SIDE]
    if not probes and short * SMALL_PROBE >= LEAST_SIDE:
        probes = [SMALL_PROBE]
    longest = max((_motion(run(shrink(y, probe))) / probe for probe in probes), default=0.0)
    wanted = TRAINED_MOTION / max(longest, TRAINED_MOTION)
    scales = [scale for scale in SCALES if scale == 1 or short * scale >= LEAST_SIDE]
    return min(scales, key=lambda scale: abs(math.log(scale / wanted)))


def _motion(frames: Tensor) -> float:
    """Motion from the first to the last frame [px], of what moves most.

    What stands still is the same at every scale, so that the median would not do.
    """
    return sequence_motion(frames[[0, -1]])[0].p95


def shrink(y: Tensor, scale: float) -> Tensor:
    """Scale an image down, antialiased.

    Args:
        y: (3, H, W) in [0, 1].
        scale: at most 1.

    Returns:
        (3, H', W') in [0, 1], at least a pixel each way.
    """
    size = [max(1, round(side * scale)) for side in y.shape[-2:]]
    small = F.interpolate(y[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)  # bicubic overshoots at edges


@torch.no_grad()
def restore(frames: Tensor, small: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """Bring frames of a scaled-down photo to the size of the photo: x = y + up(frame - small).

    What the frames have in common with the small photo thus keeps the photo's detail: all of what
    stands still, and across the motion what moves, too. Along the motion the photo has none.

    Args:
        frames: (T, 3, H', W'), extracted from `small`.
        small: the photo scaled down, (3, H', W').
        y: the photo, (3, H, W), RGB in [0, 1].
        out: filled frame by frame, so that hardly any other memory is taken; (T, 3, H, W).

    Returns:
        `out`, in [0, 1].
    """
    size = (y.shape[-2], y.shape[-1])
    for frame, full in zip(frames, out, strict=True):
        change = (frame - small)[None]
        grown = F.interpolate(change, size=size, mode="bilinear", align_corners=False)[0]
        torch.add(y, grown, out=full).clamp_(0, 1)
    return out
