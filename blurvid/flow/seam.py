"""No edge shows where time is turned around in a part, nor where one sequence follows another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError
from blurvid.exposure import sample
from blurvid.flow.pyramid import estimate
from blurvid.flow.sampling import limited, visible

SEAM_SIDE = 512
"""Seams are sought at this long side at most [px]."""
BAND = 0.03
"""How far a seam may go to each side of the region's edge, in long sides..."""
NARROW = 6
"""...but at least so many pixels of the size at which it is sought, if the region has room."""
NOISE = 0.5 / 255
"""Difference between frames that is as good as none."""
_STEPS = 300
_ROWS = 1 << 16
"""Pixels of frames that are handled in one piece."""
JOINT_SIDE = 160
"""What is larger than a pixel at this long side is brought together [px]."""
SHARES = (1 / 2, 1 / 3, 1 / 6)
"""Of the difference that the last frame, the one before it and so on take over. Halfway from
both sides the difference is gone."""
_BOX = 3
"""Side of a mean, taken twice, of the difference at the small size [px]: flows are not that
good."""


def flip(frames: Tensor, region: Tensor) -> None:
    """Swap symmetric frames (i, T + 1 - i) inside of a region, in place.

    Between inside and outside the frames of a pair are blended with weights from `weights`.
    Where they agree nothing changes, and the sum of a pair stays the same everywhere.

    Args:
        frames: (T, 3, H, W), RGB, in [0, 1].
        region: (H, W), true where time is turned around.

    Raises:
        InputError: the region does not fit the frames.
    """
    count, _, height, width = frames.shape
    if region.shape != (height, width):
        raise InputError(f"a region {tuple(region.shape)} of frames {tuple(frames.shape)}")
    share = weights(frames, region)
    step = max(1, _ROWS // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        some = share[rows]
        if not some.any():
            continue
        for i in range(count // 2):
            a, b = frames[i, :, rows], frames[count - 1 - i, :, rows]
            # `lerp` is exact at both ends: what is swapped is swapped bit by bit.
            mixed = torch.lerp(a, b, some), torch.lerp(b, a, some)
            a.copy_(mixed[0])
            b.copy_(mixed[1])


def weights(frames: Tensor, region: Tensor) -> Tensor:
    """Tell how much of each pixel is to be swapped: 1 in the region, 0 outside, in between a seam.

    Blending by w adds d * grad(w) to the gradients of a frame, where d is the difference between
    the frames of its pair. In a band along the region's edge, w makes the sum of the squares of
    that as small as it can be: it changes where nothing moves, and where everything does, slowly.

    Args:
        frames: (T, 3, H, W), RGB, in [0, 1].
        region: (H, W), true where time is turned around.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = region.shape
    factor = -(-max(height, width) // SEAM_SIDE)
    inside, difference = _reduced(frames, region, factor)
    known = _cores(inside)
    seam = _solve(difference.square() + NOISE**2, inside, known)
    full = F.interpolate(seam[None, None], scale_factor=factor, mode="bilinear")[0, 0]
    return full[:height, :width].clamp(0, 1)


def _reduced(frames: Tensor, region: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Region (h, w), bool, and the largest differences of pairs in blocks of `factor` px."""
    height, width = region.shape
    pad = (0, -width % factor, 0, -height % factor)
    share = F.pad(region[None, None].float(), pad, mode="replicate")
    inside = F.avg_pool2d(share, factor)[0, 0] >= 0.5
    difference = torch.zeros(inside.shape, device=frames.device)
    count = len(frames)
    step = factor * max(1, _ROWS // (width * factor))
    for top in range(0, height, step):
        rows = slice(top, top + step)
        most = torch.zeros(1, 1, min(step, height - top), width, device=frames.device)
        for i in range(count // 2):
            apart = (frames[i, :, rows] - frames[count - 1 - i, :, rows]).abs().amax(dim=0)
            most = torch.maximum(most, apart[None, None].float())
        most = F.pad(most, (0, -width % factor, 0, -most.shape[-2] % factor), mode="replicate")
        found = F.max_pool2d(most, factor)[0, 0]
        difference[top // factor : top // factor + len(found)] = found
    return inside, difference


def _cores(inside: Tensor) -> Tensor:
    """What is far enough from the region's edge to be as it is, (h, w), bool."""
    radius = max(NARROW, round(BAND * max(inside.shape)))
    # Of a small region, or small surroundings, half of what is there stays as it is.
    while radius and (_grown(inside, 2 * radius).all() or _grown(~inside, 2 * radius).all()):
        radius //= 2
    return ~(_grown(inside, radius) & _grown(~inside, radius)) if radius else inside | True


def _grown(mask: Tensor, radius: int) -> Tensor:
    """A mask with all that is within `radius` px of it, along rows and columns."""
    if not radius:
        return mask
    x = mask[None, None].float()
    x = F.max_pool2d(x, (1, 2 * radius + 1), 1, (0, radius))
    return F.max_pool2d(x, (2 * radius + 1, 1), 1, (radius, 0))[0, 0] > 0


def _solve(cost: Tensor, inside: Tensor, known: Tensor) -> Tensor:
    """Minimize the sum of cost * |grad(w)|² with w given where it is known.

    By conjugate gradients, scaled by the diagonal.
    """
    w = inside.float()
    if bool(known.all()):
        return w
    free = (~known).float()
    across = (cost[:, 1:] + cost[:, :-1]) / 2
    down = (cost[1:] + cost[:-1]) / 2

    def applied(x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        flux = across * (x[:, 1:] - x[:, :-1])
        out[:, 1:] += flux
        out[:, :-1] -= flux
        flux = down * (x[1:] - x[:-1])
        out[1:] += flux
        out[:-1] -= flux
        return out * free

    diagonal = torch.zeros_like(w)
    diagonal[:, 1:] += across
    diagonal[:, :-1] += across
    diagonal[1:] += down
    diagonal[:-1] += down
    residual = -applied(w)
    scaled = residual / diagonal
    way = scaled.clone()
    size = (residual * scaled).sum()
    enough = 1e-8 * size
    for _ in range(_STEPS):
        if size <= enough:
            break
        moved = applied(way)
        length = size / (way * moved).sum()
        w = w + length * way
        residual = residual - length * moved
        scaled = residual / diagonal
        size, before = (residual * scaled).sum(), size
        way = scaled + size / before * way
    return w.clamp(0, 1)


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
    apart = (sample(small.flip(0), flows) - small) * seen
    for _ in range(2):
        apart = F.avg_pool2d(apart, _BOX, 1, _BOX // 2, count_include_pad=False)
    whole = F.interpolate(apart, size=(height, width), mode="bilinear", align_corners=False)
    for index, share in enumerate(SHARES):
        before[-1 - index].add_(whole[0], alpha=share).clamp_(0, 1)
        after[index].add_(whole[1], alpha=share).clamp_(0, 1)
