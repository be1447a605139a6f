"""The direct network, ours: all seven frames from one pass over the blurry image.

Not from the paper. Its U-Net, which BDIRNet has too: residual blocks on the pixel-unshuffled image,
without normalization over the image, so that nothing depends on the statistics of the image at hand
and tiles, crops and whole photos see the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE, DirectSpec, UNetSpec
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


class UNet(nn.Module):
    """Image to features of the finest and the coarsest level; `size_multiple` divides H and W.

    Args:
        spec: its shape.
        inputs: channels of what the stem sees; None: an image.
        block: makes a block of so many channels.
        kernel: side of the stem.
    """

    def __init__(
        self,
        spec: UNetSpec,
        inputs: int | None = None,
        block: Callable[[int], nn.Module] = PlainBlock,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        r, widths, blocks = spec.factor, spec.channels, spec.blocks
        if len(widths) != len(blocks) or not widths:
            raise OptionError(f"{len(widths)} levels of channels, but {len(blocks)} of blocks")
        self.spec = spec
        self.size_multiple = r * 2 ** (len(widths) - 1)
        self.stem = nn.Conv2d(inputs or 3 * r * r, widths[0], kernel, padding=kernel // 2)

        def level(place: int) -> nn.Sequential:
            return nn.Sequential(*(block(widths[place]) for _ in range(blocks[place])))

        last = len(widths) - 1
        self.encoder = nn.ModuleList(map(level, range(last)))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bottom = level(last)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for b, a in pairwise(widths[::-1]))
        self.decoder = nn.ModuleList(map(level, reversed(range(last))))

    def features(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Find the features of an image.

        Args:
            y: (B, 3, H, W), RGB, nominally in [0, 1].

        Returns:
            What the decoder gives at last, (B, C, H/r, W/r), and what it began with,
            (B, C', H/s, W/s); C and C' the channels of the first and last level, s the
            `size_multiple`.
        """
        return self.trunk(F.pixel_unshuffle(y, self.spec.factor) - 0.5)

    def trunk(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`features` of what the stem sees, (B, inputs, H/r, W/r)."""
        features = self.stem(seen)
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


class DirectNet(UNet):
    """All seven frames in one pass, in the canonical direction of time.

    `net(y)`, (B, 3, H, W) -> (B, 7, 3, H, W); `size_multiple` divides H and W. The frames are
    residuals on y, so an untrained network returns y seven times.
    """

    name = "direct"
    count = FRAMES
    spec: DirectSpec

    def __init__(self, spec: DirectSpec | None = None) -> None:
        super().__init__(spec or DirectSpec())
        outputs = FRAMES * 3 * self.spec.factor**2
        self.head = nn.Conv2d(self.spec.channels[0], outputs, 3, padding=1)
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
        residual = F.pixel_shuffle(self.head(self.features(y)[0]), self.spec.factor)
        out: Tensor = y.unsqueeze(1) + residual.reshape(y.shape[0], FRAMES, *y.shape[1:])
        return out

    def middle_frame(self, y: Tensor) -> Tensor:
        """Extract the middle frame of y alone, (B, 3, H, W) -> (B, 3, H, W), not clamped."""
        return self._frame(y, self.features(y)[0], MIDDLE)

    def _frame(self, y: Tensor, features: Tensor, number: int) -> Tensor:
        """Frame 1 to 7 of y, from its features."""
        each = 3 * self.spec.factor**2
        mine = slice((number - 1) * each, number * each)
        assert self.head.bias is not None
        found = F.conv2d(features, self.head.weight[mine], self.head.bias[mine], padding=1)
        return y + F.pixel_shuffle(found, self.spec.factor)

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Extract as `forward` does, with less memory: frame by frame.

        Args:
            out: the frames go there, (7, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
        """
        features = self.features(y)[0]
        for number, frame in enumerate(out, 1):
            frame.copy_(self._frame(y, features, number)[0])

    def middle_memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that the middle frame takes [bytes]."""
        return self.trunk_memory(height, width, feature_size)

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]; see `FrameNet`."""
        # What the head gives of a frame, shuffled, and added to the image
        head = self.maps(height, width, feature_size)[0]
        head += 3 * height * width * (2 * feature_size + 4)
        return max(self.trunk_memory(height, width, feature_size), int(head))
