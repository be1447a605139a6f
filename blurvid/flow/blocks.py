"""How far things move between frames: coarse-to-fine block flow, without parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid.errors import InputError

Values = NDArray[np.float32]

SPACING = 8
"""Side of a cell [px]. A block is a cell and, with half the weight each, its neighbors."""
BLOCKS_SIDE = 360
"""Larger images are measured at a whole fraction of their size, at most this long [px]."""
COARSEST = 16
"""Shortest side of the coarsest pyramid level [px]."""
CORRELATED = 64
"""Shortest side of the level at which the images are correlated as wholes [px]."""
STEPS = 4
"""Most Gauss-Newton steps on each level; the first half of them are smoothed."""
SETTLED = 0.05
"""Mean length of the textured blocks' step [px] after which there is no other."""
TEXTURE = 1e-4
"""Least eigenvalue of a block's mean structure tensor [1/px²] that counts as texture."""
MISMATCH = 0.5
"""Share of a block's variance left after matching above which the match is not believed."""
CANDIDATES = 128
"""About how many blocks are tried as the dominant one."""
MEDIAN_OF_9 = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip
"""Exchanges after which the fifth of nine values is their median (Smith 1996); on small grids ten
times as fast as a sort."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Displacement:
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
class SequenceDisplacement:
    """Motion over a whole sequence, and its fastest step."""

    total: Displacement
    """From the first frame to the last, followed from neighbour to neighbour."""
    per_frame: float
    """Largest 95th percentile of the blocks' displacements between two neighbours [px]."""


def estimate_motion(first: Tensor, last: Tensor) -> Displacement:
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


def estimate_sequence(frames: Tensor) -> SequenceDisplacement:
    """Measure the motion over a sequence by following its blocks from neighbour to neighbour.

    Args:
        frames: consecutive frames (T, 3, H, W), RGB, floats in [0, 1] or uint8; T is at least 2.

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
    factor = math.ceil(max(height, width) / BLOCKS_SIDE)
    factor = min(factor, min(height, width) // COARSEST)
    # On grids this small numpy takes a fraction of torch's time for a call, and no threads.
    flow, valid = _block_flow(_gray(frames.detach().cpu().numpy(), factor))
    fastest = max(_quantile(_lengths(f, v), 0.95) for f, v in zip(flow, valid, strict=True))
    total, believed = _follow(flow, valid)
    return SequenceDisplacement(_summarize(total, believed, factor), fastest * factor)


def _gray(frames: NDArray[Any], factor: int) -> Values:
    """Brightness of frames (T, 3, H, W), mean over squares: (T, H // factor, W // factor)."""
    count, (height, width) = len(frames), (side // factor for side in frames.shape[-2:])
    pixels = np.moveaxis(frames[..., : height * factor, : width * factor], 1, -1)
    kind: type[Any] = np.uint16 if frames.dtype == np.uint8 else np.float32
    top = 255.0 if frames.dtype == np.uint8 else 1.0
    rows: NDArray[Any] = pixels[:, ::factor].astype(kind)  # (T, rows, W, 3), as decoders give it
    for row in range(1, factor):
        rows += pixels[:, row::factor]
    # One product adds columns and weighs colors.
    weights = np.tile(np.asarray(LUMA, np.float32), factor) / np.float32(top * factor**2)
    added = np.ascontiguousarray(rows, np.float32).reshape(-1, 3 * factor)
    return (added @ weights).reshape(count, height, width)


def _rimmed(x: Values, rim: int, fill: float | None = None) -> Values:
    """Pad the last two axes with a value, or with the edge's; `np.pad` takes its time."""
    height, width = x.shape[-2:]
    wide = np.empty((*x.shape[:-2], height + 2 * rim, width + 2 * rim), np.float32)
    if fill is not None:
        wide.fill(fill)
    wide[..., rim:-rim, rim:-rim] = x
    if fill is None:
        wide[..., :rim, rim:-rim], wide[..., -rim:, rim:-rim] = x[..., :1, :], x[..., -1:, :]
        wide[..., :rim], wide[..., -rim:] = wide[..., rim, None], wide[..., -rim - 1, None]
    return wide


def _halved(x: Values) -> Values:
    """Mean over squares of two pixels; an odd side gets its last row or column twice."""
    if x.shape[-2] % 2:
        x = np.concatenate([x, x[..., -1:, :]], axis=-2)
    rows = x[..., ::2, :] + x[..., 1::2, :]
    if x.shape[-1] % 2:
        rows = np.concatenate([rows, rows[..., -1:]], axis=-1)
    halved: Values = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
    return halved


def _grid(height: int, width: int) -> Values:
    """Coordinates (x, y) of the pixels, (2, H, W)."""
    y, x = np.indices((height, width), np.float32)
    return np.stack([x, y])


def _sample(images: Values, at: Values) -> Values:
    """Values of (B, C, H, W) at pixel coordinates (B, 2, h, w); beyond the edge, the edge's."""
    height, width = images.shape[-2:]
    x, y = np.clip(at[:, 0], 0, width - 1), np.clip(at[:, 1], 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    b = np.arange(len(images))[:, None, None]
    values = np.moveaxis(images, 1, -1)
    x, y = (x - left)[..., None], (y - top)[..., None]
    upper = values[b, top, left] * (1 - x) + values[b, top, right] * x
    lower = values[b, bottom, left] * (1 - x) + values[b, bottom, right] * x
    return np.moveaxis(upper * (1 - y) + lower * y, -1, 1)


def _inside(at: Values, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel coordinates (..., 2, h, w) lie in the image, (..., h, w)."""
    x, y = at[..., 0, :, :], at[..., 1, :, :]
    return (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)


def _global_shift(images: Values) -> NDArray[np.intp]:
    """Whole-pixel shift between neighbors of (T, H, W) by phase correlation, (T - 1, 2)."""
    height, width = images.shape[-2:]
    window = np.outer(np.hanning(height), np.hanning(width))
    spectra = np.fft.rfft2((images - images.mean(axis=(-2, -1), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=(height, width))
    y, x = np.divmod(peak.reshape(len(peak), -1).argmax(axis=1), width)
    y, x = np.where(y > height // 2, y - height, y), np.where(x > width // 2, x - width, x)
    return np.stack([x, y], axis=1)


def _start(images: Values) -> Values:
    """The better of no motion and the global shift as a first guess, (T - 1, 2)."""
    height, width = images.shape[-2:]
    shifts = _global_shift(images)
    for shift, first, last in zip(shifts, images[:-1], images[1:], strict=True):
        x, y = shift
        rows = slice(max(0, -y), height - max(0, y)), slice(max(0, y), height - max(0, -y))
        columns = slice(max(0, -x), width - max(0, x)), slice(max(0, x), width - max(0, -x))
        before, after = first[rows[0], columns[0]], last[rows[1], columns[1]]
        stayed = last[rows[0], columns[0]]
        moved, still = np.square(after - before).sum(), np.square(stayed - before).sum()
        # A shift that leaves little of the image in view is not to be believed.
        if moved >= still or before.size <= 0.25 * first.size:
            shift[:] = 0
    return shifts.astype(np.float32)


def _block_flow(images: Values) -> tuple[Values, NDArray[np.bool_]]:
    """Displacement of the blocks of (T, H, W), (T - 1, 2, rows, columns), and which to believe."""
    levels = [images]
    while min(levels[-1].shape[-2:]) >= 2 * COARSEST:
        levels.append(_halved(levels[-1]))
    known = max(i for i, x in enumerate(levels) if i == 0 or min(x.shape[-2:]) >= CORRELATED)
    start = _start(levels[known]) * np.float32(2.0 ** (known - len(levels) + 1))
    flow, valid = start[..., None, None], np.zeros(0, np.bool_)
    for level in reversed(levels):
        rows, columns = (math.ceil(side / SPACING) for side in level.shape[-2:])
        if level is levels[-1]:
            flow = np.broadcast_to(flow, (*flow.shape[:2], rows, columns))
        else:
            # Centers of the cells, in cells of the coarser level.
            at = (_grid(rows, columns) + 0.5) / 2 - 0.5
            flow = 2 * _sample(flow, np.broadcast_to(at, (len(flow), *at.shape)))
        flow, valid = _refine(level, flow)
    return flow, valid


def _cells(x: Values, fill: float) -> Values:
    """Pixels of each cell, (B, H, W) -> (SPACING, SPACING, B * rows * columns)."""
    b, height, width = x.shape
    rows, columns = math.ceil(height / SPACING), math.ceil(width / SPACING)
    wide = np.full((b, rows * SPACING, columns * SPACING), fill, np.float32)
    wide[:, :height, :width] = x
    cells = wide.reshape(b, rows, SPACING, columns, SPACING).transpose(2, 4, 0, 1, 3)
    return cells.reshape(SPACING, SPACING, -1)


def _blocks(cells: Values) -> Values:
    """Sums over blocks: each cell with half, at corners a quarter, of its neighbors."""
    x = _rimmed(cells, 1, 0.0) * np.float32(0.5)
    x = x[..., :-2] + x[..., 2:] + 2 * x[..., 1:-1]
    blocks: Values = (x[..., :-2, :] + x[..., 2:, :]) * np.float32(0.5) + x[..., 1:-1, :]
    return blocks


class _Moved:
    """The later images, from which cells are cut at any place; outside there is NaN."""

    def __init__(self, images: Values) -> None:
        # One more pixel around, so that a cell that stays is whole; then nothing, for as far as
        # a cell goes.
        self.size, self.rim = images.shape[-2:], SPACING + 2
        wide = _rimmed(_rimmed(images, 1), self.rim - 1, math.nan)
        self.pixels, self.width = wide.ravel(), wide.shape[-1]
        self.starts = (np.arange(len(images)) * wide[0].size)[:, None, None]
        reach = np.arange(SPACING + 1)
        self.offsets = (reach[:, None] * self.width + reach)[..., None]

    def cut(self, x: Values, y: Values) -> Values:
        """Cells whose first pixel is at (x, y), (B, rows, columns) each; as `_cells`."""
        height, width = self.size
        x, y = np.clip(x, -self.rim, width + 1), np.clip(y, -self.rim, height + 1)
        left, top = np.floor(x), np.floor(y)
        corner = ((top + self.rim) * self.width + left + self.rim).astype(np.intp) + self.starts
        values = self.pixels.take(corner.ravel() + self.offsets)
        across: Values = values[:, 1:] - values[:, :-1]
        across *= (x - left).ravel()
        across += values[:, :-1]
        cells: Values = across[1:] - across[:-1]
        cells *= (y - top).ravel()
        cells += across[:-1]
        return cells


def _refine(images: Values, flow: Values) -> tuple[Values, NDArray[np.bool_]]:
    """Gauss-Newton steps on one level, the first half followed by a median over blocks.

    All pixels of a cell move alike; what a block asks for is gathered from its cells.
    """
    first = images[:-1]
    height, width = images.shape[-2:]
    b, _, rows, columns = flow.shape
    grid = (b, rows, columns)
    wide = _rimmed(first * np.float32(0.5), 1)
    slope_x = _cells(wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2], 0.0)
    slope_y = _cells(wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1], 0.0)
    pixels = _cells(first, math.nan)
    later = _Moved(images[1:])
    corners = SPACING * _grid(rows, columns)
    seen = np.isfinite(pixels).sum(axis=(0, 1), dtype=np.float32)
    tensor = [_dot(slope_x, slope_x), _dot(slope_y, slope_y), _dot(slope_x, slope_y), seen]
    fixed = np.stack(tensor).reshape(4, *grid)
    for step in range(STEPS):
        x, y = corners[0] + flow[:, 0], corners[1] + flow[:, 1]
        difference = later.cut(x, y)
        np.subtract(pixels, difference, out=difference)
        np.copyto(difference, 0, where=np.isnan(difference))
        asked = np.stack([_dot(slope_x, difference), _dot(slope_y, difference)])
        share = _overlap(x, width) * _overlap(y, height)
        sums = _blocks(np.concatenate([fixed * share, asked.reshape(2, *grid)]))
        xx, yy, xy, count, bx, by = sums
        damping = np.float32(0.1 * TEXTURE) * count + np.float32(1e-12)
        damped_xx, damped_yy = xx + damping, yy + damping
        determinant = damped_xx * damped_yy - xy * xy
        moved = np.stack([damped_yy * bx - xy * by, damped_xx * by - xy * bx], axis=1)
        moved /= determinant[:, None]
        np.clip(moved, -2, 2, out=moved)
        flow = flow + moved
        if step < STEPS // 2:
            flow = _median3(flow)
        weakest = (xx + yy) / 2 - np.sqrt(np.square(xx - yy) / 4 + xy * xy)
        textured = weakest > TEXTURE * count
        if (np.abs(moved).max(axis=1) * textured).sum() <= SETTLED * textured.sum():
            break
    np.copyto(pixels, 0, where=np.isnan(pixels))
    values = [_dot(difference, difference), _dot(pixels, pixels), pixels.sum(axis=(0, 1)), seen]
    left, square, mean, whole = _blocks(np.stack(values).reshape(4, *grid))
    variance = square / whole - np.square(mean / whole)
    centers = corners + np.float32((SPACING - 1) / 2) + flow
    valid = textured & (left < MISMATCH * variance * count)
    return flow, valid & _inside(centers, (height, width))


def _dot(a: Values, b: Values) -> Values:
    """Sum of products over the pixels of each cell."""
    product: Values = np.einsum("ijn,ijn->n", a, b)
    return product


def _overlap(start: Values, side: int) -> Values:
    """Share of a cell that lies between 0 and `side`."""
    length = np.minimum(start + SPACING, side) - np.maximum(start, 0)
    share: Values = np.clip(length, 0, SPACING) * np.float32(1 / SPACING)
    return share


def _median3(flow: Values) -> Values:
    """Median of each component over 3x3 blocks."""
    rows, columns = flow.shape[-2:]
    wide = _rimmed(flow, 1)
    at = [wide[..., y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    for low, high in MEDIAN_OF_9:
        at[low], at[high] = np.minimum(at[low], at[high]), np.maximum(at[low], at[high])
    return at[4]


def _follow(flow: Values, valid: NDArray[np.bool_]) -> tuple[Values, NDArray[np.bool_]]:
    """Follow the blocks of the first frame through all steps: (T-1, 2, rows, columns) -> one."""
    rows, columns = flow.shape[-2:]
    start = _grid(rows, columns)
    moved, believed = np.zeros_like(start), valid[0].copy()
    for step, trust in zip(flow, valid, strict=True):
        at: Values = start + moved * np.float32(1 / SPACING)
        here = np.concatenate([step, trust[None].astype(np.float32)])
        found = _sample(here[None], at[None])[0]
        believed &= (found[2] >= 0.5) & _inside(at, (rows, columns))
        moved = moved + found[:2]
    return moved, believed


def _lengths(flow: Values, valid: NDArray[np.bool_]) -> Values:
    """Lengths of the displacements (2, rows, columns) that are believed."""
    lengths: Values = np.hypot(*flow[:, valid])
    return lengths


def _quantile(values: Values, q: float) -> float:
    return float(np.quantile(values, q)) if values.size else 0.0


def _summarize(flow: Values, valid: NDArray[np.bool_], scale: float) -> Displacement:
    """Dominant displacement and spread of (2, rows, columns)."""
    vectors = flow[:, valid].T * scale
    if not len(vectors):
        return Displacement(0.0, 0.0, 0.0, 0.0)
    lengths = np.hypot(*vectors.T)
    # The densest spot: Gaussian votes, wider where motion is long and varies more.
    width = 0.5 + 0.1 * float(np.median(lengths))
    x, y = vectors.T / np.float32(width)
    tried = slice(None, None, math.ceil(len(vectors) / CANDIDATES))
    apart = np.square(x[tried, None] - x) + np.square(y[tried, None] - y)
    votes = np.exp(np.float32(-0.5) * apart)
    weight = votes[votes.sum(axis=1).argmax()]
    dx, dy = ((weight[:, None] * vectors).sum(axis=0) / weight.sum()).tolist()
    return Displacement(dx, dy, _quantile(lengths, 0.5), _quantile(lengths, 0.95))
