"""The exposure of a moving picture as a sparse matrix: bicubic looks in one product.

With the motion fixed, the mean of its warps is linear in the picture. As a matrix it is
several times faster than the warps, and its transpose, which the gradient needs, as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.exposure import instants
from blurvid.flow.sampling import pixel_grid
from blurvid.trajectory.paths import Motion

TAPS = 4
"""Pixels that a bicubic look leans on, along each side."""
STEEPNESS = -0.75
"""Slope of the cubic kernel at its first zero, as `grid_sample` has it."""
PIXELS_AT_ONCE = 2**13
"""Rows of the matrix built at a time: what they touch stays in the processor's cache."""


@dataclass(frozen=True, eq=False)
class _Product:
    """Some rows of a sparse matrix."""

    columns: Tensor
    """Of all entries, (E,), int32."""
    values: Tensor
    """Of all entries, (E,)."""
    starts: Tensor
    """Where each row begins, (rows,), int32."""

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply with (N, C)."""
        return F.embedding_bag(
            self.columns, x, self.starts, mode="sum", per_sample_weights=self.values
        )


@dataclass(frozen=True, eq=False)
class _Band:
    """Neighbouring rows of the matrix, and the same transposed."""

    product: _Product
    transposed: _Product
    first: int
    """First column that these rows touch."""


class Exposure:
    """Mean light of all looks along the motion, linear in the picture.

    Tensors are (H * W, C), the pixels of (H, W) row by row.
    """

    def __init__(self, motion: Motion, count: int = FRAMES) -> None:
        """Build the matrix.

        Args:
            motion: of one picture, (1, 2, H, W).
            count: instants that are averaged, odd.
        """
        height, width = motion.size
        rows = max(1, PIXELS_AT_ONCE // width)
        at = pixel_grid(height, width, motion.a.device)
        self._bands: list[_Band] = []
        for top in range(0, height, rows):
            some = motion.part((slice(top, top + rows), slice(None)))
            looks = [at[..., top : top + rows, :] + some.displacement(t) for t in instants(count)]
            self._bands.append(_band(torch.cat(looks), height, width))

    def forward(self, x: Tensor) -> Tensor:
        """The exposure of a picture x, (H * W, C)."""
        return torch.cat([band.product(x) for band in self._bands])

    def adjoint(self, x: Tensor) -> Tensor:
        """The transposed matrix times x, (H * W, C)."""
        total = torch.zeros_like(x)
        top = 0
        for band in self._bands:
            rows = len(band.product.starts)
            part = band.transposed(x[top : top + rows])
            total[band.first : band.first + len(part)] += part
            top += rows
        return total


def _band(looks: Tensor, height: int, width: int) -> _Band:
    """Rows of the matrix for pixels that look to (T, 2, rows, W) [px] of a picture (H, W)."""
    at = looks.flatten(2).permute(1, 2, 0).contiguous()  # (2, N, T)
    whole = at.floor()
    weights = _cubic(at - whole)  # (2, N, T, 4)
    taps = whole.int()[..., None] + torch.arange(-1, TAPS - 1, dtype=torch.int32, device=at.device)
    across, down = taps[0].clamp(0, width - 1), taps[1].clamp(0, height - 1) * width
    count = at.shape[1]
    columns = (down[..., :, None] + across[..., None, :]).view(count, -1)
    values = (weights[1][..., :, None] * weights[0][..., None, :]).view(count, -1)

    # looks along a path lean on the same pixels: one entry for each
    columns, order = columns.sort(dim=1)
    new = torch.ones_like(columns, dtype=torch.bool)
    new[:, 1:] = columns[:, 1:] != columns[:, :-1]
    per_row = new.sum(dim=1)
    columns = columns[new]
    order += torch.arange(count, device=at.device)[:, None] * order.shape[1]
    values = F.embedding_bag(
        order.flatten(), values.view(-1, 1), new.flatten().nonzero()[:, 0], mode="sum"
    )
    values = values[:, 0] / len(looks)
    product = _Product(columns, values, _starts(per_row))

    first = int(columns.min())
    turned, order = (columns - first).sort(stable=True)
    row_of = torch.arange(count, dtype=torch.int32, device=at.device).repeat_interleave(per_row)
    transposed = _Product(row_of[order], values[order], _starts(turned.bincount()))
    return _Band(product, transposed, first)


def _starts(counts: Tensor) -> Tensor:
    return (counts.cumsum(dim=0) - counts).int()


def _cubic(fraction: Tensor) -> Tensor:
    """Weights of the four pixels around a place past the second of them, (..., 4)."""
    s, f = STEEPNESS, fraction
    g = 1 - f
    outer = (s * f * g * g, s * g * f * f)
    inner = (((s + 2) * f - (s + 3)) * f * f + 1, ((s + 2) * g - (s + 3)) * g * g + 1)
    return torch.stack([outer[0], inner[0], inner[1], outer[1]], dim=-1)
