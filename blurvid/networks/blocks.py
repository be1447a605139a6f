"""Building blocks of the cascade's networks (Jin et al. 2018, supplementary material)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
"""Added to variances, as torch does by default."""


class InstanceNorm(nn.GroupNorm):
    """Affine instance normalization with the statistics of the image at hand.

    One group per channel is instance normalization; torch's group-norm kernels accept
    half-precision inputs, keep their statistics in fp32, and never hold running statistics, which
    the paper's networks do not use.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, EPS)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize feature maps, (B, C, H, W) -> (B, C, H, W)."""
        if input.dtype == torch.float32 or torch.is_grad_enabled():
            return super().forward(input)
        # Autocast would have a copy of the map in float32 and the result, too. The kernels
        # compute in float32 all the same, and what follows takes half precision.
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return F.group_norm(input, self.num_groups, weight, bias, self.eps)


def activate(x: Tensor, *norms: InstanceNorm) -> Iterator[Tensor]:
    """What each norm and a ReLU after it make of x, one at a time."""
    return (F.relu(norm(x)) for norm in norms)


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
        activations = activate(x, self.norm1, self.norm2)
        short = self.conv1(next(activations))
        long = self.conv2(next(activations))
        long = self.conv3(next(activate(long, self.norm3)))
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
        activations = activate(x, self.norm1, self.norm2)
        short = self.conv1(next(activations))
        out: Tensor = short + self.conv2(next(activations))
        return out
