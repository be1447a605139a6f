"""3x3 convolutions with a quarter of the multiplications, for float32 on the CPU.

Winograd's minimal filtering F(4x4, 3x3) after Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks" (CVPR 2016): tiles of 6x6 inputs and the filters are transformed, multiplied
position by position, which is one matrix product over the channels for each of the 36, and the
products transformed back to 4x4 outputs. The result differs from the plain sum by rounding,
about 1e-5 of its size. For use, not training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from blurvid.networks.scratch import scratch

OUT, TAPS = 4, 3
"""Side of a tile of outputs, and of the filters [px]."""
IN = OUT + TAPS - 1
"""Side of a tile of inputs [px]."""
LEAST_CHANNELS = 96
"""Harmonic mean of the channels in and out from which on the transforms are worth their time."""
LEAST_TILES = 64
"""Tiles from which on the products are large enough to be fast."""
MOST_COVERED = 1.5
"""Area of the tiles [areas of the map] up to which the plain way takes longer."""
AT_ONCE = 1 << 20
"""Values of transformed tiles held at a time, so that they stay in the processor's cache."""


def suits(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether `Filters` do the layer's work on x, faster than the layer itself."""
    return (
        x.device.type == "cpu"
        and x.dtype == layer.weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and layer.kernel_size == (TAPS, TAPS)
        and layer.stride == (1, 1)
        and layer.padding == layer.dilation
        and layer.groups == 1
        and _pays(layer.in_channels, layer.out_channels)
        and _fits(x.shape[-2:], layer.dilation[0])
    )


def _pays(inputs: int, outputs: int) -> bool:
    return statistics.harmonic_mean((inputs, outputs)) >= LEAST_CHANNELS


def _fits(size: torch.Size, dilation: int) -> bool:
    """Whether there are enough tiles, and not too much of them lies outside the map."""
    covered = math.prod(-(-length // (OUT * dilation)) * OUT * dilation for length in size)
    return LEAST_TILES * OUT**2 <= covered <= MOST_COVERED * math.prod(size)


def memory(inputs: int, outputs: int, size: tuple[int, int], dilation: int = 1) -> tuple[int, int]:
    """Predict what a map takes [bytes].

    Args:
        inputs: C.
        outputs: C'.
        size: H and W.
        dilation: the largest.

    Returns:
        What `Filters` take as long as they are there, and what all of a thread share for their
        work, which stays taken.
    """
    if not _pays(inputs, outputs):
        return 0, 0
    height, width = size
    row = IN**2 * max(inputs, outputs) * (width / OUT + 1)
    values = min(max(AT_ONCE, row), row * (height / OUT + 1) * MOST_COVERED)
    # The pixels with their margins; then gathered, transformed, multiplied, transformed back
    least = (OUT + 2) * dilation * (width + (OUT + 2) * dilation) * inputs
    padded = max((OUT / IN) ** 2 * values, min(least, MOST_COVERED * row * (height / OUT + 1)))
    work = padded + values * (3 + (OUT / IN) ** 2)
    return 4 * IN**2 * inputs * outputs, round(4 * work)


class Filters:
    """The filters of a 3x3 convolution that keeps the width, transformed."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.layer, self.dilation = layer, layer.dilation[0]
        weight = layer.weight.detach().permute(2, 3, 1, 0).reshape(TAPS**2, -1)
        # (36, C, C'), four times as large as the weights, so it is not kept for long
        self.transformed = (_filter_transform() @ weight).view(
            IN**2, layer.in_channels, layer.out_channels
        )

    def __call__(self, x: Tensor, above: int, below: int) -> Tensor:
        """Do the layer's work on a strip of rows.

        Args:
            x: rows of maps, (B, C, H, W) float32.
            above: rows of zeros over the first [px], at most the dilation.
            below: the same under the last.

        Returns:
            All rows whose inputs are there, (B, C', H + above + below - 2 · dilation, W),
            channels-last.
        """
        d, (batch, _, rows, columns) = self.dilation, x.shape
        height, outputs = rows + above + below - 2 * d, self.layer.out_channels
        # Dilation by d: each of d x d grids of pixels is convolved by itself.
        down, across = (-(-length // (OUT * d)) for length in (height, columns))
        out = x.new_empty(batch, down * OUT * d, across * OUT * d, outputs)
        for image, found in zip(x.permute(0, 2, 3, 1), out, strict=True):
            self._fill(found.view(down, OUT, d, across, OUT, d, outputs), image, above)
        if self.layer.bias is not None:
            out += self.layer.bias
        return out[:, :height, :columns].permute(0, 3, 1, 2)

    def _fill(self, out: Tensor, x: Tensor, above: int) -> None:
        """Convolve one image, (H, W, C), into (tile, row, grid, tile, column, grid, C')."""
        rows, columns, inputs = x.shape
        down, _, d, across, _, _, outputs = out.shape
        out = out.permute(0, 2, 3, 5, 1, 4, 6)
        most = max(1, AT_ONCE // (across * d * IN**2 * max(inputs, outputs)))  # rows of tiles
        deep, grids = -(-down // -(-down // max(1, most // d))), min(d, most)
        padded = scratch("padded", (deep * OUT + 2) * d, (across * OUT + 2) * d, inputs)
        windows = padded.view(deep * OUT + 2, d, across * OUT + 2, d, inputs)
        windows = windows.unfold(0, IN, OUT).unfold(2, IN, OUT).permute(0, 1, 2, 3, 5, 6, 4)
        padded.zero_()
        inside = padded[:, d : d + columns]
        for tile in range(0, down, deep):
            top = tile * OUT * d - above
            first, last = max(0, top), min(rows, top + len(padded))
            inside[: first - top].zero_()
            inside[first - top : last - top] = x[first:last]
            inside[last - top :].zero_()
            count = min(deep, down - tile)
            for grid in range(0, d, grids):
                some = slice(grid, grid + grids)
                self._tiles(out[tile : tile + count, some], windows[:count, some])

    def _tiles(self, out: Tensor, windows: Tensor) -> None:
        """Convolve tiles, (..., 6, 6, C), into (..., 4, 4, C')."""
        n, (inputs, outputs) = windows[..., 0, 0, 0].numel(), self.transformed.shape[1:]
        gathered = scratch("gathered", n, IN**2, inputs)
        gathered.view(windows.shape).copy_(windows)
        # A matrix product for each tile, one for each of the positions, one for each tile again
        of_input, of_output = (matrix.expand(n, -1, -1) for matrix in _transforms())
        tiles = torch.bmm(of_input, gathered, out=scratch("tiles", n, IN**2, inputs))
        products = scratch("products", IN**2, n, outputs)
        torch.bmm(tiles.transpose(0, 1), self.transformed, out=products)
        back = scratch("back", n, OUT**2, outputs)
        torch.bmm(of_output, products.transpose(0, 1), out=back)
        out.copy_(back.view(out.shape))


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`layer(x)`, the fast way where that suits."""
    if not suits(layer, x):
        found: Tensor = layer(x)
        return found
    return Filters(layer)(x, layer.dilation[0], layer.dilation[0])


@cache
def _transforms() -> tuple[Tensor, Tensor]:
    """B^T and A^T of the paper for both axes at once, (36, 36) and (16, 36)."""
    of_input = [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
    of_output = [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
    return _both_axes(of_input), _both_axes(of_output)


@cache
def _filter_transform() -> Tensor:
    """G of the paper for both axes at once, (36, 9)."""
    return _both_axes(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    )


def _both_axes(one: Sequence[Sequence[float]]) -> Tensor:
    matrix = torch.tensor(one, dtype=torch.float64)
    return torch.kron(matrix, matrix).float()
