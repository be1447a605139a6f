"""Where one sequence ends and the next begins: no jump that is not motion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.pyramid import estimate
from blurvid.flow.sampling import limited, visible, warp

JOINT_SIDE = 160
"""What is larger than a pixel at this long side is brought together [px]."""
SHARES = (1 / 2, 1 / 3, 1 / 6)
"""Of the difference that the last frame, the one before it and so on take over. Halfway from
both sides the difference is gone."""
_BOX = 3
"""Side of a mean, taken twice, of the difference at the small size [px]: flows are not that
good."""


def meet(before: Tensor, after: Tensor) -> None:
    """Let the end of a sequence and the beginning of the next agree in what is coarse, in place.

    Two networks' answers, or two of one, differ a little in brightness and shape; at every joint
    that is a pulse. Along the motion from the last frame to the first, their difference is
    taken over by both sides, fading away from the joint. Fine detail stays as it is, so that no
    frame gets less sharp; what is seen on one side only stays, too.

    Args:
        before: frames of a sequence (T, 3, H, W), RGB, in [0, 1]; T is at least 3.
        after: of the next one.
    """
    height, width = before.shape[-2:]
    small = limited(torch.stack([before[-1], after[0]]), JOINT_SIDE)
    flows = estimate(small, small.flip(0))
    seen = visible(flows, flows.flip(0)).float()
    apart = (warp(small.flip(0), flows) - small) * seen
    for _ in range(2):
        apart = F.avg_pool2d(apart, _BOX, 1, _BOX // 2, count_include_pad=False)
    whole = F.interpolate(apart, size=(height, width), mode="bilinear", align_corners=False)
    for index, share in enumerate(SHARES):
        before[-1 - index].add_(whole[0], alpha=share).clamp_(0, 1)
        after[index].add_(whole[1], alpha=share).clamp_(0, 1)
