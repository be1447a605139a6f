"""Images between two images and after the last one, by the flow from each to the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blurvid.flow.pyramid import neighboring
from blurvid.flow.sampling import inside, limited, pixel_grid, sample

BETWEEN_SIDE = 640
"""Larger images are matched at this long side [px]. Between neighbours of a sequence ways are
short; at half the size, images in between are 0.05 dB worse (real clips of 256x144 px)."""
ASTRAY = 1.0
"""How far a pixel may end from where it was looked for [px]; beyond, it hardly counts."""
ROUNDS = 4
"""Corrections of where a pixel came from; motion changes little over ways so short."""


def mutual_flow(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the flow between neighbours of a sequence, both ways.

    Args:
        first: image (3, H, W), RGB, in [0, 1].
        last: the next one, same shape, range and colour order.

    Returns:
        Displacements from `first` to `last` and back, in pixels of the full size, (2, h, w) each,
        at most `BETWEEN_SIDE` px wide and high.
    """
    height, width = first.shape[-2:]
    pair = [limited(image[None].float(), BETWEEN_SIDE) for image in (first, last)]
    found = neighboring(torch.cat(pair), torch.cat(pair[::-1]))
    ratio = found.new_tensor([width / found.shape[-1], height / found.shape[-2]])
    forth, back = found * ratio.view(2, 1, 1)
    return forth, back


@torch.no_grad()
def between(
    first: Tensor,
    last: Tensor,
    flows: tuple[Tensor, Tensor],
    moments: Sequence[float],
    out: Sequence[Tensor],
    at_once: int = 1 << 18,
) -> None:
    """Make the images at moments between two images.

    What is at a place at a moment is looked for in both images, by flows carried to that moment
    (Jiang et al., "Super SloMo", CVPR 2018, eq. 4). What is found there is carried back; where it
    ends elsewhere, it was hidden, and the other image counts.

    Args:
        first: image (3, H, W), RGB, in [0, 1].
        last: a later image, same shape, range and colour order.
        flows: as `mutual_flow` gives them.
        moments: 0 is that of `first`, 1 that of `last`.
        out: an image for each moment, (3, H, W), which is filled.
        at_once: pixels made in one piece, so that large images take little memory besides.
    """
    height, width = first.shape[-2:]
    step = max(1, at_once // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        for image, s in zip(out, moments, strict=True):
            image[:, top:bottom] = _rows(first, last, flows, s, top, bottom)


def _rows(
    first: Tensor, last: Tensor, flows: tuple[Tensor, Tensor], s: float, top: int, bottom: int
) -> Tensor:
    """Rows from `top` to before `bottom` of the image at the moment `s`, (3, rows, W)."""
    size = (first.shape[-2], first.shape[-1])
    here = pixel_grid(bottom - top, size[1], first.device)
    here[:, 1] += top
    forth, back = (at(flow, here, size) for flow in flows)
    total = torch.zeros(())
    image = torch.zeros(())
    for source, flow, way, part, near in (
        (first, flows[0], s * s * back - (1 - s) * s * forth, s, 1 - s),
        (last, flows[1], (1 - s) * (1 - s) * forth - s * (1 - s) * back, 1 - s, s),
    ):
        there = here + way
        astray = there + part * at(flow, there, size) - here
        weight = astray.square().sum(dim=1, keepdim=True).div_(-2 * ASTRAY**2).exp_()
        weight = near * (weight + 1e-3)  # where neither fits, both count
        total = total + weight
        image = image + weight * sample(source[None], there)
    return (image / total)[0]


def at(flow: Tensor, where: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow (2, h, w) at pixel coordinates (1, 2, rows, W) of an image of a size."""
    low, narrow = flow.shape[-2:]
    ratio = where.new_tensor([narrow / size[1], low / size[0]]).view(1, 2, 1, 1)
    return sample(flow[None], (where + 0.5) * ratio - 0.5)


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
