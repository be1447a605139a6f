"""Flow from coarse to fine, between two images and along a sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blurvid.errors import InputError
from blurvid.flow.sampling import inside, limited, pixel_grid, rescale, sample, shrink
from blurvid.flow.variational import LEVELS, refine

FLOW_SIDE = 1280
"""Larger images are measured at this long side [px], and the flow is scaled up."""
COARSEST = 16
"""Shortest side of the coarsest level of the pyramid [px], where the images have that."""
FOLLOWED = 2
"""Level on which a sequence is followed: a quarter of the size measured at, or a larger one..."""
FOLLOWED_PIXELS = 160 * 120
"""...if that has no more pixels than this."""
LUMA = (0.299, 0.587, 0.114)

# What each level does, the largest first, the last for all that are smaller: how often it looks at
# the images anew, and steps after each look. Most is done on small levels, where it costs little;
# at full size only what they could not see.
_ENDS = ((1, 15), (5, 20), (10, 20))
_NEIGHBORS = ((3, 15),)
_QUICK = ((1, 8), (2, 10))

Pyramid = Sequence[Tensor]
"""Brightness (T, 1, H, W), the largest first."""


def estimate(first: Tensor, last: Tensor) -> Tensor:
    """Measure where every pixel of one image is in another.

    TV-L1 flow (Zach, Pock, Bischof 2007) on a pyramid; for motion of a few percent of the
    image. On simulated photos with paths up to 20 px, most pixels are within 0.3 px. Images
    beyond 1280 px are measured at that size, and the flow is scaled up.

    Args:
        first: images (B, 3, H, W), RGB, in [0, 1].
        last: later images of the same shape, range and colour order.

    Returns:
        Displacements [px], (B, 2, H, W) float32, x to the right, y downwards: what is at p in
        `first` is at p + flow(p) in `last`. What is hidden in `last`, or has left it, moves
        as what is beside it.

    Raises:
        InputError: shapes that differ, or are not those of images.
    """
    if first.shape != last.shape:
        raise InputError(f"images of different shapes: {tuple(first.shape)}, {tuple(last.shape)}")
    _check(first)
    with torch.no_grad():
        found = _solve(_pyramid(first), _pyramid(last))
        return rescale(found, (first.shape[-2], first.shape[-1]))


def along(frames: Tensor) -> Tensor:
    """Measure where every pixel of the first frame of a sequence is in its last.

    Small images of neighbours are matched and their flows followed, which finds also what is
    small and fast; from there on the first and the last frame are matched as by `estimate`,
    so that no errors add up on the way.

    Args:
        frames: consecutive frames (T, 3, H, W), RGB, in [0, 1]; T is at least 2.

    Returns:
        Displacements from the first frame to the last [px], (2, H, W) float32, x to the right,
        y downwards.

    Raises:
        InputError: the shape is not that of a sequence.
    """
    if len(frames) < 2:
        raise InputError(f"flow needs at least two frames (T, 3, H, W): {tuple(frames.shape)}")
    _check(frames)
    with torch.no_grad():
        levels = _pyramid(frames)
        ends = [x[:1] for x in levels], [x[-1:] for x in levels]
        start = None
        if len(frames) > 2:
            few = [x.shape[-2] * x.shape[-1] <= FOLLOWED_PIXELS for x in levels[:FOLLOWED]]
            small = levels[min((*few, True).index(True), len(levels) - 1) :]
            start = followed(_solve([x[:-1] for x in small], [x[1:] for x in small], _NEIGHBORS))
        found = _solve(*ends, start=start)
        return rescale(found, (frames.shape[-2], frames.shape[-1]))[0]


@torch.no_grad()
def neighboring(first: Tensor, last: Tensor, *, quick: bool = False) -> Tensor:
    """Measure the flow between neighbours of a sequence, with less effort than `estimate`.

    Args:
        first: images (B, 3, H, W), RGB, in [0, 1].
        last: the images that follow each, same shape, range and colour order.
        quick: in a third of the time; errors of what moves a few pixels are a third larger.

    Returns:
        Displacements [px], (B, 2, H, W) float32, x to the right, y downwards.
    """
    found = _solve(_pyramid(first), _pyramid(last), _QUICK if quick else _NEIGHBORS)
    return rescale(found, (first.shape[-2], first.shape[-1]))


def _check(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel():
        raise InputError(f"flow needs images (B, 3, H, W): {tuple(images.shape)}")


def _pyramid(images: Tensor) -> list[Tensor]:
    """Brightness of (T, 3, H, W) in halved sizes, the largest first."""
    luma = torch.tensor(LUMA, dtype=torch.float32, device=images.device)
    grey = []
    for image in images:  # one after the other: a large photo's frames may lie on disk
        brightness = torch.einsum("chw,c->hw", image.float(), luma)[None, None] * LEVELS
        grey.append(limited(brightness, FLOW_SIDE))
    levels = [torch.cat(grey)]
    while min(levels[-1].shape[-2:]) >= 2 * COARSEST:
        height, width = levels[-1].shape[-2:]
        levels.append(shrink(levels[-1], (math.ceil(height / 2), math.ceil(width / 2))))
    return levels


def _solve(
    first: Pyramid,
    last: Pyramid,
    effort: Sequence[tuple[int, int]] = _ENDS,
    start: Tensor | None = None,
) -> Tensor:
    """Flow between the images of two pyramids, (B, 2, H, W).

    Args:
        first: brightness of the first images.
        last: of the last ones.
        effort: what each level does, looks and steps.
        start: flow known at the size of some level, from which this goes on; None: a shift of
            the whole image, or no motion.
    """
    flow = _shift(first[-1], last[-1]) if start is None else start
    for level in reversed(range(len(first))):
        height, width = first[level].shape[-2:]
        if start is not None and height * width < start.shape[-2] * start.shape[-1]:
            continue
        warps, steps = effort[min(level, len(effort) - 1)]
        flow = refine(first[level], last[level], rescale(flow, (height, width)), warps, steps)
    return flow


def _shift(first: Tensor, last: Tensor) -> Tensor:
    """Shift of whole images (B, 1, H, W), or none where that fits better, (B, 2, H, W).

    By phase correlation (Kuglin and Hines 1975), in whole pixels.
    """
    height, width = first.shape[-2:]
    window = torch.outer(
        torch.hann_window(height, periodic=False, device=first.device),
        torch.hann_window(width, periodic=False, device=first.device),
    )
    spectra = [
        torch.fft.rfft2((x - x.mean(dim=(-2, -1), keepdim=True)) * window) for x in (first, last)
    ]
    cross = spectra[1] * spectra[0].conj()
    peak = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), s=(height, width))
    best = peak.flatten(1).argmax(dim=1)
    y, x = best // width, best % width
    y = torch.where(y > height // 2, y - height, y)
    x = torch.where(x > width // 2, x - width, x)
    shift = torch.stack([x, y], dim=1)[..., None, None].float().expand(-1, -1, height, width)
    at = pixel_grid(height, width, first.device) + shift
    known = inside(at, height, width).float()
    moved = ((sample(last, at) - first).square() * known).sum(dim=(1, 2, 3))
    still = ((last - first).square() * known).sum(dim=(1, 2, 3))
    # A shift that leaves little of the image in view is not to be believed.
    better = (moved < still) & (known.mean(dim=(1, 2, 3)) > 0.25)
    return shift * better.view(-1, 1, 1, 1)


def followed(steps: Tensor) -> Tensor:
    """Add up flows from neighbour to neighbour, (T-1, 2, H, W) -> (1, 2, H, W)."""
    height, width = steps.shape[-2:]
    pixels = pixel_grid(height, width, steps.device)
    moved = torch.zeros_like(steps[:1])
    for step in steps:
        moved = moved + sample(step[None], pixels + moved)
    return moved
