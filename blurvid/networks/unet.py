"""The U-Net that the direct network and BDIRNet share, ours.

Residual blocks on the pixel-unshuffled image, without normalization over the image, so that
nothing depends on the statistics of the image at hand and tiles, crops and whole photos see the
same function.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import UNetSpec
from blurvid.errors import OptionError

BRANCH_GAIN = 0.2
"""Scale of a residual branch at the start: near identity, which deep nets without norms need."""


class PlainBlock(nn.Module):
    """`x + conv(relu(conv(x)))`, `(B, C, H, W) -> (B, C, H, W)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="linear")
        with torch.no_grad():
            self.conv2.weight.mul_(BRANCH_GAIN)
        nn.init.zeros_(self.conv1.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(relu_(self.conv1(x)))
        change += x  # in place: the maps are what the memory goes to
        return change


def relu_(x: Tensor) -> Tensor:
    """ReLU in place that makes NaN, not 0, of minus infinity.

    Minus infinity is what is left of a number that overflowed, in half precision above 65504. As
    a 0 it would be lost, and the frames would be wrong and finite; as NaN it stays in all that is
    computed from it.
    """
    return F.leaky_relu_(x, 0.0)


class PixelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel alone; no statistics of the image.

    `(B, C, H, W) -> (B, C, H, W)`.
    """

    def forward(self, input: Tensor) -> Tensor:
        # A view of what is stored channels-last, as it is where this runs fast
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NafBlock(nn.Module):
    """Gated depthwise convolution, then a gated mix of channels, each added to its input.

    The block of NAFNet (Chen et al. 2022) without its channel attention, whose weights are
    means over the whole image; a larger depthwise kernel looks around instead.
    `(B, C, H, W) -> (B, C, H, W)`.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        double = 2 * channels
        self.norm1 = PixelNorm(channels)
        self.expand = nn.Conv2d(channels, double, 1)
        self.depthwise = nn.Conv2d(double, double, kernel, padding=kernel // 2, groups=double)
        self.project = nn.Conv2d(channels, channels, 1)
        self.norm2 = PixelNorm(channels)
        self.mix1 = nn.Conv2d(channels, double, 1)
        self.mix2 = nn.Conv2d(channels, channels, 1)
        for layer in (self.expand, self.depthwise, self.project, self.mix1, self.mix2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for layer in (self.project, self.mix2):
                layer.weight.mul_(BRANCH_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project(_gate(self.depthwise(self.expand(self.norm1(x)))))
        out: Tensor = x + self.mix2(_gate(self.mix1(self.norm2(x))))
        return out


def _gate(x: Tensor) -> Tensor:
    """Multiply one half of the channels with the other, (B, 2C, H, W) -> (B, C, H, W)."""
    first, second = x.chunk(2, dim=1)
    return first * second


def _level(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))


class UNet(nn.Module):
    """Image to features of the finest and the coarsest level; `size_multiple` divides H and W."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        r, widths, blocks = spec.factor, spec.channels, spec.blocks
        if len(widths) != len(blocks) or not widths:
            raise OptionError(f"{len(widths)} levels of channels, but {len(blocks)} of blocks")
        self.spec = spec
        self.size_multiple = r * 2 ** (len(widths) - 1)
        self.stem = nn.Conv2d(3 * r * r, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            _level(c, n) for c, n in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = _level(widths[-1], blocks[-1])
        reverse = list(zip(widths, blocks, strict=True))[-2::-1]
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for b, a in _descending(widths))
        self.decoder = nn.ModuleList(_level(c, n) for c, n in reverse)

    def features(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Find the features of an image.

        Args:
            y: (B, 3, H, W), RGB, nominally in [0, 1].

        Returns:
            What the decoder gives at last, (B, C, H/r, W/r), and what it began with,
            (B, C', H/s, W/s); C and C' the channels of the first and last level, s the
            `size_multiple`.
        """
        features = self.stem(F.pixel_unshuffle(y, self.spec.factor) - 0.5)
        skips = []
        for place, (level, down) in enumerate(zip(self.encoder, self.down, strict=True)):
            features = self.settle(place, level(features))
            skips.append(features)
            features = down(features)
        features = coarse = self.settle(len(skips), self.bottom(features))
        for up, level in zip(self.up, self.decoder, strict=True):
            features = level(F.pixel_shuffle(up(features), 2).add_(skips.pop()))
        return features, coarse

    def settle(self, place: int, features: Tensor) -> Tensor:
        """What becomes of the features at the end of an encoder level, the bottom last; nothing."""
        return features

    def trunk_memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `features` take besides the image [bytes].

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
        """
        maps = self.maps(height, width, feature_size)
        # A block holds its input and what its two convolutions give.
        trunk = max(
            sum(maps[:level]) + 3 * maps[level] + sum(maps[level + 1 : level + 2])
            for level in range(len(maps))
        )
        return int(trunk + 2 * 4 * 3 * height * width)

    def maps(self, height: int, width: int, feature_size: int) -> list[float]:
        """Memory of a map of each level [bytes]."""
        return [
            height * width / (self.spec.factor * 2**level) ** 2 * channels * feature_size
            for level, channels in enumerate(self.spec.channels)
        ]


def _descending(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (wide, narrow) from the bottom of the U up."""
    return list(pairwise(reversed(widths)))
