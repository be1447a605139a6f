"""The direct network, ours: all seven frames from one pass over the blurry image.

Not from the paper. A U-Net of residual blocks on the pixel-unshuffled image, without
normalization over the image, so that nothing depends on the statistics of the image at hand
and tiles, crops and whole photos see the same function.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, DirectSpec
from blurvid.errors import OptionError
from blurvid.networks import winograd
from blurvid.networks.rows import Convolved, Stored
from blurvid.networks.winograd import convolve

BRANCH_GAIN = 0.2
"""Scale of a residual branch at the start: near identity, which deep nets without norms need."""


HEAD_VALUES = 2 << 20
"""Values in a strip of the head's maps, which are the largest: more leave the cache of a CPU."""


class PlainBlock(nn.Module):
    """`x + conv(relu(conv(x)))`, `(B, C, H, W) -> (B, C, H, W)`."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="linear")
        with torch.no_grad():
            self.conv2.weight.mul_(BRANCH_GAIN)
        nn.init.zeros_(self.conv1.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        change = convolve(self.conv2, F.relu(convolve(self.conv1, x), inplace=True))
        change += x  # in place: the maps are what the memory goes to
        return change


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


BLOCKS: dict[str, type[PlainBlock] | type[NafBlock]] = {"plain": PlainBlock, "naf": NafBlock}
"""Residual blocks by their names in `DirectSpec`."""


def _level(spec: DirectSpec, channels: int, blocks: int) -> nn.Sequential:
    block = BLOCKS[spec.block]
    return nn.Sequential(*(block(channels, spec.kernel) for _ in range(blocks)))


class DirectNet(nn.Module):
    """All seven frames in one pass, in the canonical direction of time.

    `net(y)`, (B, 3, H, W) -> (B, 7, 3, H, W); `size_multiple` divides H and W. The frames are
    residuals on y, so an untrained network returns y seven times.
    """

    name = "direct"
    can_strip = True

    def __init__(self, spec: DirectSpec | None = None) -> None:
        super().__init__()
        self.spec = spec = spec or DirectSpec()
        r, widths, blocks = spec.factor, spec.channels, spec.blocks
        if len(widths) != len(blocks) or not widths:
            raise OptionError(f"{len(widths)} levels of channels, but {len(blocks)} of blocks")
        if spec.block not in BLOCKS or spec.kernel < 1 or spec.kernel % 2 == 0:
            raise OptionError(
                f"no block named {spec.block!r} with a kernel of {spec.kernel}; there are "
                f"{', '.join(BLOCKS)}, with odd kernels"
            )
        self.size_multiple = r * 2 ** (len(widths) - 1)
        self.stem = nn.Conv2d(3 * r * r, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            _level(spec, c, n) for c, n in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = _level(spec, widths[-1], blocks[-1])
        reverse = list(zip(widths, blocks, strict=True))[-2::-1]
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for b, a in _descending(widths))
        self.decoder = nn.ModuleList(_level(spec, c, n) for c, n in reverse)
        self.head = nn.Conv2d(widths[0], FRAMES * 3 * r * r, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor) -> Tensor:
        """Extract the seven frames of y.

        Args:
            y: blurry images, (B, 3, H, W), RGB, nominally in [0, 1].

        Returns:
            The frames x[1..7], (B, 7, 3, H, W), not clamped.
        """
        # (B, 7·3·r², H/r, W/r) -> (B, 7, 3, H, W)
        residual = F.pixel_shuffle(convolve(self.head, self._features(y)), self.spec.factor)
        out: Tensor = y.unsqueeze(1) + residual.reshape(y.shape[0], FRAMES, *y.shape[1:])
        return out

    def _features(self, y: Tensor) -> Tensor:
        """All but the head, (B, 3, H, W) -> (B, C, H/r, W/r)."""
        features = self.stem(F.pixel_unshuffle(y, self.spec.factor) - 0.5)
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            features = level(features)
            skips.append(features)
            features = down(features)
        features = self.bottom(features)
        for up, level in zip(self.up, self.decoder, strict=True):
            features = level(F.pixel_shuffle(up(features), 2).add_(skips.pop()))
        found: Tensor = features
        return found

    def fill(self, out: Tensor, y: Tensor, step: int | None) -> None:
        """Extract as `forward` does, with less memory: the head in strips of rows.

        Args:
            out: the frames go there, (7, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
            step: rows of features at a time; None takes what is fast.
        """
        if step is None and y.device.type != "cpu":
            out.copy_(self(y)[0])
            return
        step = self._head_strip(y.shape[-1], step)
        r = self.spec.factor
        head = Convolved(self.head, Stored(self._features(y)))
        for top, bottom in head.strips(step):
            residual = F.pixel_shuffle(head(top, bottom), r)
            residual = residual.reshape(FRAMES, 3, -1, y.shape[-1])
            rows = slice(top * r, bottom * r)
            if out.device == y.device:
                torch.add(y[..., rows, :], residual, out=out[..., rows, :])
            else:
                out[..., rows, :] = y[..., rows, :] + residual

    def _head_strip(self, width: int, step: int | None) -> int:
        """Rows of features in a strip of the head, at most `step`."""
        r = self.spec.factor
        rows = HEAD_VALUES // (FRAMES * 3 * r * width)
        # Tiles of fast convolutions are so high.
        fast = max(winograd.OUT, rows - rows % winograd.OUT)
        return fast if step is None else min(step, fast)

    def memory(self, height: int, width: int, feature_size: int, step: int | None) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes].

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
            step: as for `fill`.
        """
        pixels, r = height * width, self.spec.factor
        maps: list[float] = [
            pixels / (r * 2**level) ** 2 * channels * feature_size
            for level, channels in enumerate(self.spec.channels)
        ]
        # A block holds its input and what its two convolutions give; gates double the channels.
        held = 3 if self.spec.block == "plain" else 6
        trunk = max(
            sum(maps[:level]) + held * maps[level] + sum(maps[level + 1 : level + 2])
            for level in range(len(maps))
        )
        on_cpu = next(self.parameters()).device.type == "cpu"
        if step is None and not on_cpu:
            head = maps[0] + FRAMES * 3 * pixels * (feature_size + 4)
        else:
            strip = min(pixels, (self._head_strip(width, step) + 2) * r * width)
            # What the head gave, the residual made of it, and that of the strip before
            head = maps[0] + FRAMES * 3 * strip * (feature_size + 2 * 4)
        fast = 0
        if on_cpu and feature_size == 4:
            layers = [(c, c, r * 2**level) for level, c in enumerate(self.spec.channels)]
            layers.append((self.spec.channels[0], FRAMES * 3 * r * r, r))
            fast = max(sum(winograd.memory(a, b, (height // f, width // f))) for a, b, f in layers)
        return int(max(trunk + 2 * 4 * 3 * pixels, head) + fast)


def _descending(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (wide, narrow) from the bottom of the U up."""
    return list(pairwise(reversed(widths)))
