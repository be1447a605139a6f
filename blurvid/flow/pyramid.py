"""Flow from coarse to fine, between two images and along a sequence, by TV-L1 on every level.

Of all flows u, the one with the least sum of |∇u| and ATTACHMENT * |I1(p + u) - I0(p)| is
sought (Zach, Pock, Bischof 2007; Sánchez Pérez et al. 2013): brightness stays along the way, and
the flow is smooth but for edges, which cost no more when they are steep. The two terms are taken
in turns, tied together by TIGHTNESS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError
from blurvid.flow.sampling import inside, limited, luma, pixel_grid, rescale, sample, shrink

FLOW_SIDE = 1280
"""Larger images are measured at this long side [px], and the flow is scaled up."""
COARSEST = 16
"""Shortest side of the coarsest level of the pyramid [px], where the images have that."""
FOLLOWED = 2
"""Level on which a sequence is followed: a quarter of the size measured at, or a larger one..."""
FOLLOWED_PIXELS = 160 * 120
"""...if that has no more pixels than this."""

# What each level does, the largest first, the last for all that are smaller: how often it looks at
# the images anew, and steps after each look. Most is done on small levels, where it costs little;
# at full size only what they could not see.
_ENDS = ((1, 15), (5, 20), (10, 20))
_NEIGHBORS = ((3, 15),)
_QUICK = ((1, 8), (2, 10))

LEVELS = 255.0
"""Brightness is counted in levels of 255, as in the papers."""
ATTACHMENT = 0.2
"""Weight lambda of the brightness. The papers take 0.15, which smooths over a bit more of what is
small; 0.3 follows more of the noise of extracted frames (both measured)."""
TIGHTNESS = 0.3
"""Theta: how far the two flows may part from each other."""
TIME_STEP = 0.25
"""Tau of the dual steps."""

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
    grey = []
    for image in images:  # one after the other: a large photo's frames may lie on disk
        grey.append(limited(luma(image)[None, None] * LEVELS, FLOW_SIDE))
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


def refine(first: Tensor, last: Tensor, flow: Tensor, warps: int, steps: int) -> Tensor:
    """Improve a flow between two images.

    Args:
        first: (B, 1, H, W), brightness in [0, LEVELS].
        last: a later image, likewise.
        flow: what is known about the flow from the first to the last [px], (B, 2, H, W).
        warps: how often brightness is linearised anew.
        steps: steps after each of these.

    Returns:
        The flow, (B, 2, H, W). Where it leaves the image it is continued smoothly.
    """
    height, width = first.shape[-2:]
    pixels = pixel_grid(height, width, first.device)
    slope = _gradient(first)
    later = torch.cat([last, _gradient(last)], dim=1)
    dual = first.new_zeros(len(first), 2, 2, height, width)  # (B, component, direction, H, W)
    for _ in range(warps):
        at = pixels + flow
        seen = sample(later, at)
        known = inside(at, height, width)
        # The mean slope of both images meets the truth to second order.
        gradient = 0.5 * (seen[:, 1:] + slope) * known
        # The median keeps edges, but no single pixels that went astray (Wedel et al. 2009).
        flow = _median3(_steps((seen[:, :1] - first) * known, gradient, flow, dual, steps))
    return flow


def _steps(change: Tensor, gradient: Tensor, flow: Tensor, dual: Tensor, steps: int) -> Tensor:
    """Minimize with brightness as a linear function of the flow; `dual` is kept up to date."""
    gx, gy = gradient[:, :1], gradient[:, 1:]
    scale = -1 / (gradient.square().sum(dim=1, keepdim=True) + 1e-3)
    offset = change - (gradient * flow).sum(dim=1, keepdim=True)
    most = ATTACHMENT * TIGHTNESS
    ascent = TIME_STEP / TIGHTNESS
    difference = torch.zeros_like(dual)
    for _ in range(steps):
        # Zach et al., eq. 9: the three cases are one step along the gradient, cut at both ends.
        residual = torch.addcmul(offset, gx, flow[:, :1]).addcmul_(gy, flow[:, 1:])
        flow = torch.addcmul(flow, residual.mul_(scale).clamp_(-most, most), gradient)
        divergence = dual[:, :, 0] + dual[:, :, 1]
        divergence[..., 1:] -= dual[:, :, 0, :, :-1]
        divergence[..., 1:, :] -= dual[:, :, 1, :-1, :]
        flow = flow.add_(divergence, alpha=TIGHTNESS)
        # eq. 11; the last column and row of the differences stay zero
        torch.sub(flow[..., 1:], flow[..., :-1], out=difference[:, :, 0, :, :-1])
        torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=difference[:, :, 1, :-1, :])
        length = torch.hypot(difference[:, :, :1], difference[:, :, 1:])
        dual.add_(difference, alpha=ascent).div_(length.mul_(ascent).add_(1))
    return flow


def _gradient(x: Tensor) -> Tensor:
    """Central differences along x and y, (B, 1, H, W) -> (B, 2, H, W)."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    along_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    along_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip
"""Network that brings the median of nine to the middle (Smith 1996); ten times as fast as
sorting."""


def _median3(x: Tensor) -> Tensor:
    """Median of each channel over 3x3 pixels."""
    height, width = x.shape[-2:]
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    nine = [wide[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    for low, high in _EXCHANGES:
        nine[low], nine[high] = (
            torch.minimum(nine[low], nine[high]),
            torch.maximum(nine[low], nine[high]),
        )
    return nine[4]
