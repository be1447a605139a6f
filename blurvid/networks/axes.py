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
    """GELU by its tanh approximation, as the authors' framework has it."""
    return F.gelu(x, approximate="tanh")


def norm(channels: int) -> nn.LayerNorm:
    """Layer norm over the channels of each place."""
    return nn.LayerNorm(channels, eps=EPS)


def conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a convolution on features, (B, H, W, C) -> (B, H', W', C'); views, not copies."""
    out: Tensor = layer(x.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize features bilinearly, downwards antialiased, (B, H, W, C) -> (B, *size, C)."""
    if x.shape[1:3] == size:
        return x
    shrinks = size[0] < x.shape[1]
    planes = x.permute(0, 3, 1, 2)
    # Antialiasing knows no half precision on a CPU.
    planes = planes.float() if shrinks else planes
    out = F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=shrinks)
    return out.permute(0, 2, 3, 1).to(x.dtype)


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
    """Mix places of a map with each other, the same in every channel, (B, H, W, C) -> the same.

    The map is cut into a grid of cells. With `far`, the grid has `side` cells along each side, and
    the places that have the same position in their cells are mixed; otherwise the cells are blocks
    with the side `side`, and the places of a block are mixed.
    """

    def __init__(self, side: int, far: bool) -> None:
        super().__init__(side * side, side * side)
        self.side, self.far = side, far

    def forward(self, input: Tensor) -> Tensor:
        b, h, w, c = input.shape
        s = self.side
        rows, columns = (s, s) if self.far else (h // s, w // s)
        # (B, rows, h, columns, w, C) -> (B, rows · columns, h · w, C), of cells with the sides h, w
        cells = input.reshape(b, rows, h // rows, columns, w // columns, c).transpose(2, 3)
        if self.far:
            mixed = self.weight @ cells.reshape(b, s * s, -1) + self.bias[:, None]
        else:
            mixed = self.weight @ cells.reshape(-1, s * s, c) + self.bias[:, None]
        mixed = mixed.view(cells.shape).transpose(2, 3)
        return mixed.reshape(b, h, w, c)


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
        value, gate = gelu(self.expand(self.norm(x))).chunk(2, dim=-1)
        gate = self.mix(self.gate_norm(gate))
        out: Tensor = x + self.project(torch.addcmul(value, value, gate))
        return out


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
        far, near = gelu(self.expand(self.norm(x))).chunk(2, dim=-1)
        out: Tensor = x + self.project([self.grid(far), self.block(near)])
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
        far, near = gelu(self.expand(self.norm(x))).chunk(2, dim=-1)
        out: Tensor = self.project([self.grid(far), self.block(near)])
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
