"""Layers of MAXIM: gated MLPs that mix over blocks and over a grid (Tu et al., CVPR 2022).

Features are channels last, (B, H, W, C), since nearly every layer works on the channels of one
place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTION = 4
"""Channels per hidden unit of channel attention."""
SLOPE = 0.2
"""Of the leaky ReLU."""
EPS = 1e-6
"""Of the layer norms."""


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh approximation, as the authors' framework has it.

    In bfloat16 on a CPU, exact GELU is four times as fast, and differs by less than is rounded.
    """
    quick = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    return F.gelu(x, approximate="none" if quick else "tanh")


def norm(channels: int) -> nn.LayerNorm:
    """Layer norm over the channels of each place."""
    return nn.LayerNorm(channels, eps=EPS)


def conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a convolution on features, (B, H, W, C) -> (B, H', W', C'); views, not copies."""
    out: Tensor = layer(x.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize features bilinearly, downwards antialiased, (B, H, W, C) -> (B, *size, C).

    Downwards, the sides of `size` are even parts of H and W.
    """
    if x.shape[1:3] == size:
        return x
    planes = x.permute(0, 3, 1, 2)
    if size[0] > x.shape[1]:
        out = F.interpolate(planes, size, mode="bilinear", align_corners=False)
        return out.permute(0, 2, 3, 1)
    # As a convolution, many times faster than torch's antialiasing
    step = x.shape[1] // size[0]
    hat = torch.arange(1, 2 * step, 2, dtype=x.dtype, device=x.device) / (2 * step**2)
    hat = torch.cat([hat, hat.flip(0)])
    kernel = (hat[:, None] * hat).expand(x.shape[3], 1, -1, -1)
    out = F.conv2d(planes, kernel, stride=step, padding=step // 2, groups=x.shape[3])
    out = out.permute(0, 2, 3, 1)
    # At an edge, an eighth of the weights is beyond.
    down, across = (F.pad(x.new_ones(n - 2), (1, 1), value=8 / 7) for n in size)
    return out * (down[:, None] * across)[..., None]


class Enter(nn.Linear):
    """A linear layer on several maps side by side, (B, H, W, c) each -> (B, H, W, C).

    Their channels are taken one map after the other, so that they need not be copied together.
    """

    def forward(self, input: list[Tensor]) -> Tensor:  # type: ignore[override]
        """Join the maps; the list is emptied, so that each is freed as soon as it can be."""
        weights = list(torch.split(self.weight, [x.shape[-1] for x in input], dim=1))
        out = F.linear(input.pop(), weights.pop(), self.bias)
        while input:
            out += F.linear(input.pop(), weights.pop())
        return out


class Mix(nn.Linear):
    """Mix places of a map with each other, the same in every channel, on its `cells`.

    The map is cut into a grid of cells. With `far`, the grid has `side` cells along each side, and
    the places that have the same position in their cells are mixed; otherwise the cells are blocks
    with the side `side`, and the places of a block are mixed.
    """

    def __init__(self, side: int, far: bool) -> None:
        super().__init__(side * side, side * side)
        self.side, self.far = side, far

    def cells(self, x: Tensor) -> Tensor:
        """Bring what is mixed with each other to the front, (B, H, W, C) -> (side², N, C)."""
        b, h, w, c = x.shape
        s = self.side
        if self.far:
            x = x.view(b, s, h // s, s, w // s, c).permute(1, 3, 0, 2, 4, 5)
        else:
            x = x.view(b, h // s, s, w // s, s, c).permute(2, 4, 0, 1, 3, 5)
        return x.reshape(s * s, -1, c)

    def places(self, cells: Tensor, shape: torch.Size) -> Tensor:
        """Bring `cells` of a map back to their places, (side², N, C) -> (B, H, W, C)."""
        b, h, w, _ = shape
        s = self.side
        x = cells.view(s, s, b, h // s, w // s, -1)
        x = x.permute(2, 0, 3, 1, 4, 5) if self.far else x.permute(2, 3, 0, 4, 1, 5)
        return x.reshape(b, h, w, -1)

    def forward(self, input: Tensor) -> Tensor:
        flat = input.view(len(input), -1)
        return torch.addmm(self.bias[:, None], self.weight, flat).view(input.shape)


def halves(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run a linear layer, either half of its outputs for itself, so that none is a view."""
    first, second = (
        F.linear(x, weight, bias)
        for weight, bias in zip(layer.weight.chunk(2), layer.bias.chunk(2), strict=True)
    )
    return first, second


class GatedMLP(nn.Module):
    """gMLP: one half of the channels, mixed over places, scales the other half.

    `(B, H, W, C) -> (B, H, W, C)`.
    """

    def __init__(self, channels: int, side: int, far: bool) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.gate_norm = norm(channels)
        self.mix = Mix(side, far)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.mix.cells(x)
        value, gate = halves(self.expand, self.norm(cells))
        value = gelu(value)
        gate = self.mix(self.gate_norm(gelu(gate)))
        out: Tensor = self.project(torch.addcmul(value, value, gate))
        out += cells
        return self.mix.places(out, x.shape)


class MultiAxis(nn.Module):
    """Half of the channels through a `GatedMLP` over the grid, half over blocks, as a residual."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.grid = GatedMLP(channels, side, far=True)
        self.block = GatedMLP(channels, side, far=False)
        self.project = Enter(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        far, near = halves(self.expand, self.norm(x))
        out: Tensor = self.project([self.grid(gelu(far)), self.block(gelu(near))])
        out += x
        return out


class ChannelAttention(nn.Module):
    """Scale channels by what their means over the whole map say, `(B, H, W, C)` -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION)
        self.excite = nn.Linear(channels // REDUCTION, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(1, 2), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class ConvBlock(nn.Module):
    """Two convolutions and channel attention, as a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        change = conv(self.conv2, F.leaky_relu(conv(self.conv1, self.norm(x)), SLOPE))
        out: Tensor = x + self.attention(change)
        return out


class ChannelBlock(nn.Module):
    """An MLP over the channels of each place and channel attention, as a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.expand = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        change = self.project(gelu(self.expand(self.norm(x))))
        out: Tensor = x + self.attention(change)
        return out


class MultiAxisGate(nn.Module):
    """A map of gates, mixed over the grid and over blocks."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.grid = Mix(side, far=True)
        self.block = Mix(side, far=False)
        self.project = Enter(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        far, near = halves(self.expand, self.norm(x))
        mixed = [
            mix.places(mix(mix.cells(gelu(part))), x.shape)
            for mix, part in ((self.grid, far), (self.block, near))
        ]
        out: Tensor = self.project(mixed)
        return out


class CrossSide(nn.Module):
    """What each side of a `CrossGate` has of its own."""

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        super().__init__()
        self.enter = Enter(inputs, channels)
        self.norm = norm(channels)
        self.expand = nn.Linear(channels, channels)
        self.gate = MultiAxisGate(channels, side)
        self.project = nn.Linear(channels, channels)


class CrossGate(nn.Module):
    """Two maps, each scaled by the gates of the other, `([maps that make x], y) -> (x, y)`.

    Args:
        inputs: channels of x and of y.
        channels: C of both that come out.
        side: see `Mix`.
        grows: whether y has half the height and width, and is enlarged first.
    """

    def __init__(
        self, inputs: tuple[int, int], channels: int, side: int, *, grows: bool = False
    ) -> None:
        super().__init__()
        self.grow = nn.ConvTranspose2d(inputs[1], channels, 2, stride=2) if grows else None
        self.x = CrossSide(inputs[0], channels, side)
        self.y = CrossSide(channels if grows else inputs[1], channels, side)

    def forward(self, maps: list[Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        if self.grow is not None:
            y = conv(self.grow, y)
        old_x, old_y = self.x.enter(maps), self.y.enter([y])
        x = gelu(self.x.expand(self.x.norm(old_x)))
        y = gelu(self.y.expand(self.y.norm(old_y)))
        new_y = old_y + self.y.project(y * self.x.gate(x))
        new_x = old_x + new_y + self.x.project(x * self.y.gate(y))
        return new_x, new_y
