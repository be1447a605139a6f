"""How far things move between frames: coarse-to-fine block flow, without parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError

SPACING = 8
"""Distance between block centres [px]; a block is a square of 2 * SPACING + 1 px."""
LONG_SIDE = 720
"""Larger images are measured at this long side [px], and the result is scaled back."""
COARSEST = 16
"""Shortest side of the coarsest pyramid level [px]."""
STEPS = 6
"""Gauss-Newton steps on each level."""
TEXTURE = 1e-4
"""Least eigenvalue of a block's mean structure tensor [1/px²] that counts as texture."""
MISMATCH = 0.5
"""Share of a block's variance left after matching above which the match is not believed."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Motion:
    """Displacement of an image's content [px], x to the right, y downwards."""

    dx: float
    """Dominant displacement to the right: the densest spot among the blocks' displacements."""
    dy: float
    """Dominant displacement downwards."""
    median: float
    """Median length of the textured blocks' displacements."""
    p95: float
    """95th percentile of those lengths."""


@dataclass(frozen=True)
class SequenceMotion:
    """Motion over a whole sequence, and its fastest step."""

    total: Motion
    """From the first frame to the last, followed from neighbour to neighbour."""
    per_frame: float
    """Largest 95th percentile of the blocks' displacements between two neighbours [px]."""


def estimate_motion(first: Tensor, last: Tensor) -> Motion:
    """Measure the motion from one image to another.

    Pyramidal block matching by Gauss-Newton steps (Lucas and Kanade 1981; Bouguet 2001), started
    from the phase correlation of the whole images (Kuglin and Hines 1975). Good to about 0.2 px.

    Args:
        first: image (3, H, W), RGB, in [0, 1].
        last: a later image, same shape, range and colour order.

    Returns:
        The displacement; all zero where no block has texture.

    Raises:
        InputError: the shapes differ, or the images are smaller than 16x16 px.
    """
    if first.shape != last.shape:
        raise InputError(f"images of different shapes: {tuple(first.shape)}, {tuple(last.shape)}")
    return estimate_sequence(torch.stack([first, last])).total


def estimate_sequence(frames: Tensor) -> SequenceMotion:
    """Measure the motion over a sequence by following its blocks from neighbour to neighbour.

    Args:
        frames: consecutive frames (T, 3, H, W), RGB, in [0, 1]; T is at least 2.

    Returns:
        Motion from the first frame to the last, and that of the fastest pair of neighbours.

    Raises:
        InputError: the shape is not that of a sequence, or H or W is below 16 px.
    """
    if frames.dim() != 4 or frames.shape[0] < 2 or frames.shape[1] != 3:
        raise InputError(f"motion needs at least two frames (T, 3, H, W): {tuple(frames.shape)}")
    height, width = frames.shape[-2:]
    if min(height, width) < COARSEST:
        raise InputError(f"motion needs at least {COARSEST}x{COARSEST} px, got {width}x{height}")
    with torch.no_grad():
        luma = torch.tensor(LUMA, dtype=torch.float32, device=frames.device)
        grey = torch.einsum("tchw,c->thw", frames.float(), luma).unsqueeze(1)
        scale = min(1.0, LONG_SIDE / max(height, width))
        if scale < 1.0:
            size = (max(COARSEST, round(height * scale)), max(COARSEST, round(width * scale)))
            grey = _resize(grey, size)
        flow, valid = _block_flow(grey[:-1], grey[1:])
        steps = [_lengths(f, v) for f, v in zip(flow, valid, strict=True)]
        fastest = max(float(_quantile(step, 0.95)) for step in steps)
        total, believed = _follow(flow, valid)
    return SequenceMotion(_summarise(total, believed, 1 / scale), fastest / scale)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def _block_mean(x: Tensor) -> Tensor:
    """Mean of each block: (B, C, H, W) -> (B, C, rows, columns), centres at SPACING * (j, i)."""
    return F.avg_pool2d(x, 2 * SPACING + 1, SPACING, padding=SPACING, count_include_pad=False)


def _dense(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow of the blocks at every pixel, between the centres linearly."""
    rows, columns = flow.shape[-2:]
    inner = ((rows - 1) * SPACING + 1, (columns - 1) * SPACING + 1)
    fine = F.interpolate(flow, size=inner, mode="bilinear", align_corners=True)
    rest = (0, size[1] - inner[1], 0, size[0] - inner[0])
    return F.pad(fine, rest, mode="replicate")


def _pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates (x, y) of the pixels, (1, 2, H, W)."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows]).unsqueeze(0)


def _sample(image: Tensor, at: Tensor) -> Tensor:
    """Values of (B, C, H, W) at pixel coordinates (B, 2, h, w); beyond the edge, the edge's."""
    height, width = image.shape[-2:]
    extent = at.new_tensor([max(width - 1, 1), max(height - 1, 1)]).view(1, 2, 1, 1)
    grid = (2 * at / extent - 1).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def _inside(at: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixel coordinates (B, 2, h, w) lie in the image, (B, 1, h, w)."""
    x, y = at[:, :1], at[:, 1:]
    return (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)


def _gradient(x: Tensor) -> Tensor:
    """Central differences along x and y, (B, 1, H, W) -> (B, 2, H, W)."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    along_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    along_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


def _global_shift(first: Tensor, last: Tensor) -> Tensor:
    """Whole-pixel shift of (B, 1, H, W) by phase correlation, (B, 2) as (x, y)."""
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
    return torch.stack([x, y], dim=1).float()


def _start(first: Tensor, last: Tensor) -> Tensor:
    """The better of no motion and the global shift as a first guess, (B, 2, 1, 1)."""
    shift = _global_shift(first, last)[..., None, None]
    size = (first.shape[-2], first.shape[-1])
    at = _pixel_grid(*size, first.device) + shift
    inside = _inside(at, size).float()
    moved = ((_sample(last, at) - first).square() * inside).sum(dim=(1, 2, 3))
    still = ((last - first).square() * inside).sum(dim=(1, 2, 3))
    # A shift that leaves little of the image in view is not to be believed.
    better = (moved < still) & (inside.mean(dim=(1, 2, 3)) > 0.25)
    return shift * better.view(-1, 1, 1, 1)


def _block_flow(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement of each block (B, 2, rows, columns) and which to believe (B, rows, columns)."""
    levels = [(first, last)]
    while min(levels[-1][0].shape[-2:]) >= 2 * COARSEST:
        height, width = levels[-1][0].shape[-2:]
        size = (math.ceil(height / 2), math.ceil(width / 2))
        levels.append((_resize(levels[-1][0], size), _resize(levels[-1][1], size)))
    dense = _start(first, last)
    valid = torch.zeros(0)
    for a, b in reversed(levels):
        size = (a.shape[-2], a.shape[-1])
        if dense.shape[-1] == 1:
            ratio = a.new_tensor([size[1] / first.shape[-1], size[0] / first.shape[-2]])
            dense = dense.expand(-1, -1, *size) * ratio.view(1, 2, 1, 1)
        else:
            ratio = a.new_tensor([size[1] / dense.shape[-1], size[0] / dense.shape[-2]])
            dense = F.interpolate(dense, size=size, mode="bilinear", align_corners=False)
            dense = dense * ratio.view(1, 2, 1, 1)
        flow, valid = _refine(a, b, dense[..., ::SPACING, ::SPACING])
        dense = _dense(flow, size)
    return flow, valid


def _refine(first: Tensor, last: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton steps on one level, each followed by a median over neighbouring blocks."""
    size = (first.shape[-2], first.shape[-1])
    pixels = _pixel_grid(*size, first.device)
    slope = _gradient(first)
    products = torch.cat([slope.square(), slope[:, :1] * slope[:, 1:]], dim=1)
    for step in range(STEPS + 1):
        at = pixels + _dense(flow, size)
        inside = _inside(at, size).float()
        difference = (first - _sample(last, at)) * inside
        xx, yy, xy = _block_mean(products * inside).unbind(1)
        if step == STEPS:
            break
        bx, by = _block_mean(slope * difference).unbind(1)
        damped_xx, damped_yy = xx + 0.1 * TEXTURE, yy + 0.1 * TEXTURE
        determinant = damped_xx * damped_yy - xy.square()
        moved = torch.stack(
            [
                (damped_yy * bx - xy * by) / determinant,
                (damped_xx * by - xy * bx) / determinant,
            ],
            dim=1,
        )
        flow = flow + moved.clamp(-2, 2)
        if step < STEPS // 2:
            flow = _median3(flow)
    weakest = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()
    variance = _block_mean(first.square()) - _block_mean(first).square()
    left = _block_mean(difference.square()).squeeze(1)
    centres = pixels[..., ::SPACING, ::SPACING] + flow
    valid = (weakest > TEXTURE) & (left < MISMATCH * variance.squeeze(1))
    return flow, valid & _inside(centres, size).squeeze(1)


def _median3(flow: Tensor) -> Tensor:
    """Median of each component over 3x3 blocks."""
    b, c, rows, columns = flow.shape
    patches = F.unfold(F.pad(flow, (1, 1, 1, 1), mode="replicate"), 3)
    return patches.view(b, c, 9, rows, columns).median(dim=2).values


def _follow(flow: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the blocks of the first frame through all steps: (T-1, 2, rows, columns) -> one."""
    rows, columns = flow.shape[-2:]
    start = _pixel_grid(rows, columns, flow.device)
    moved = torch.zeros_like(flow[:1])
    believed = valid[:1].clone()
    for step, trust in zip(flow, valid, strict=True):
        at = start + moved / SPACING
        believed &= _sample(trust[None, None].float(), at).squeeze(1) >= 0.5
        believed &= _inside(at, (rows, columns)).squeeze(1)
        moved = moved + _sample(step[None], at)
    return moved[0], believed[0]


def _lengths(flow: Tensor, valid: Tensor) -> Tensor:
    """Lengths of the displacements (2, rows, columns) that are believed."""
    return flow[:, valid].square().sum(dim=0).sqrt()


def _quantile(values: Tensor, q: float) -> Tensor:
    return torch.quantile(values, q) if values.numel() else values.new_zeros(())


def _summarise(flow: Tensor, valid: Tensor, scale: float) -> Motion:
    """Dominant displacement and spread of (2, rows, columns)."""
    vectors = flow[:, valid].T * scale
    if not len(vectors):
        return Motion(0.0, 0.0, 0.0, 0.0)
    lengths = vectors.square().sum(dim=1).sqrt()
    # The densest spot: Gaussian votes, wider where motion is long and varies more.
    width = 0.5 + 0.1 * float(lengths.median())
    votes = torch.exp(-0.5 * (torch.cdist(vectors, vectors) / width).square())
    weight = votes[votes.sum(dim=1).argmax()]
    dx, dy = ((weight[:, None] * vectors).sum(dim=0) / weight.sum()).tolist()
    return Motion(dx, dy, float(_quantile(lengths, 0.5)), float(_quantile(lengths, 0.95)))
