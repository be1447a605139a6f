"""Building blocks of the cascade's networks (Jin et al. 2018, supplementary material)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm(nn.GroupNorm):
    """Affine instance normalization with the statistics of the image at hand.

    One group per channel is instance normalization; torch's group-norm kernels accept
    channels-last and half-precision inputs, keep their statistics in fp32, and never hold
    running statistics, which the paper's networks do not use.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


def conv(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Conv2d:
    """Convolution that keeps height and width, without bias, as everywhere in the paper."""
    padding = dilation * (size // 2)
    layer = nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False)
    nn.init.orthogonal_(layer.weight)
    return layer


class ResidualBlock(nn.Module):
    """Pre-activated block of two branches, 1x1 and 3x3 -> 3x3, added to the input.

    `(B, C, H, W) -> (B, C, H, W)`; the 3x3 convolutions are dilated by `dilations`.
    """

    def __init__(self, channels: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        first, second = dilations
        self.norm1 = InstanceNorm(channels)
        self.conv1 = conv(channels, channels, 1)
        self.norm2 = InstanceNorm(channels)
        self.conv2 = conv(channels, channels, 3, first)
        self.norm3 = InstanceNorm(channels)
        self.conv3 = conv(channels, channels, 3, second)

    def forward(self, x: Tensor) -> Tensor:
        short = self.conv1(F.relu(self.norm1(x)))
        long = self.conv2(F.relu(self.norm2(x)))
        long = self.conv3(F.relu(self.norm3(long)))
        out: Tensor = x + short + long
        return out


class FusionBlock(nn.Module):
    """Pre-activated 1x1 and 3x3 convolutions side by side, added.

    `(B, inputs, H, W) -> (B, outputs, H, W)`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = InstanceNorm(inputs)
        self.conv1 = conv(inputs, outputs, 1)
        self.norm2 = InstanceNorm(inputs)
        self.conv2 = conv(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(F.relu(self.norm1(x))) + self.conv2(F.relu(self.norm2(x)))
        return out
