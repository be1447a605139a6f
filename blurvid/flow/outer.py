"""Images after the last one, by the motion that led to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blurvid.flow.inner import ASTRAY, at
from blurvid.flow.sampling import inside, pixel_grid, sample

ROUNDS = 4
"""Corrections of where a pixel came from; motion changes little over ways so short."""


@torch.no_grad()
def onward(
    last: Tensor, back: Tensor, moments: Sequence[float], out: Sequence[Tensor], at_once: int
) -> None:
    """Make the images after the last one, as if all of it moved on as it did.

    What comes to a place is the content q with q - s back(q) = p, found by fixed-point iteration.
    Where there is none, or it lay outside of the image, something becomes visible that the motion
    does not tell; the last image stays there.

    Args:
        last: image (3, H, W), RGB, in [0, 1].
        back: the flow from it to the one before, as `mutual_flow` gives it.
        moments: how far after it, in times of that flow.
        out: an image for each moment, (3, H, W), which is filled.
        at_once: pixels made in one piece, so that large images take little memory besides.
    """
    height, width = last.shape[-2:]
    step = max(1, at_once // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        here = pixel_grid(bottom - top, width, last.device)
        here[:, 1] += top
        for image, s in zip(out, moments, strict=True):
            source = here
            for _ in range(ROUNDS):
                source = here + s * at(back, source, (height, width))
            astray = here + s * at(back, source, (height, width)) - source
            weight = astray.square().sum(dim=1, keepdim=True).div_(-2 * ASTRAY**2).exp_()
            weight = weight * inside(source, height, width)
            moved = sample(last[None], source)[0]
            image[:, top:bottom] = torch.lerp(last[:, top:bottom], moved, weight[0])
