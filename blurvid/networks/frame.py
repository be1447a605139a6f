"""The networks of the cascade: one class, five specifications (Jin et al. 2018, supplement)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.networks.blocks import FusionBlock, InstanceNorm, ResidualBlock, activate, conv

PLAIN = (1, 1)


@dataclass(frozen=True)
class FrameSpec:
    """Shape of a frame network."""

    factor: int
    """Unshuffle factor r."""
    extract: tuple[int, ...]
    """Channels extracted from each input, by a 5x5 convolution of its own."""
    groups: tuple[tuple[tuple[int, int], ...], ...]
    """Dilations of the two 3x3 convolutions of each residual block, group by group."""
    head: int
    """Channels of the head, which works on the joined colours."""
    head_block: Literal["residual", "fusion"]

    @property
    def channels(self) -> int:
        """Feature channels C."""
        return sum(self.extract)

    def scaled(self, width: float) -> FrameSpec:
        """The same network with `width` times the channels, in steps of 4; itself at 1."""
        if width == 1:
            return self

        def times(channels: int) -> int:
            return max(4, 4 * round(channels * width / 4))

        return replace(self, extract=tuple(times(c) for c in self.extract), head=times(self.head))


MIDDLE_SPEC = FrameSpec(
    factor=4,
    extract=(144,),
    groups=(
        (PLAIN, PLAIN, PLAIN),
        ((1, 2), (2, 4), (4, 8)),
        ((8, 4), (4, 2), (2, 1)),
        (PLAIN, PLAIN, PLAIN),
    ),
    head=64,
    head_block="residual",
)
"""phi_4, 4,972,032 parameters."""

CORE_SPEC = FrameSpec(
    factor=5,
    extract=(64, 32, 32),
    groups=((PLAIN,) * 4, ((1, 2), (4, 8), (8, 4), (2, 1)), (PLAIN,) * 4),
    head=32,
    head_block="fusion",
)
"""phi_3 and phi_5, 7,868,928 parameters together."""

OUTER_SPEC = FrameSpec(
    factor=5,
    extract=(64, 32, 32),
    groups=((PLAIN,) * 2, ((1, 2), (4, 8), (8, 4), (2, 1)), (PLAIN,) * 2),
    head=32,
    head_block="fusion",
)
"""phi_2 = phi_6, and phi_1 = phi_7, 2,686,208 parameters each."""


class _Head(nn.Sequential):
    """Convolution, block, norm, ReLU and convolution."""

    def forward(self, input: Tensor) -> Tensor:
        first, block, norm, _, last = self
        assert isinstance(norm, InstanceNorm)
        out: Tensor = last(next(activate(block(first(input)), norm)))
        return out


class FrameNet(nn.Module):
    """Predict one frame as a residual on its last input, the anchor.

    `net(y)` for the middle frame, `net(y, context, anchor)` for the others.
    """

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.spec = spec
        planes, channels = spec.factor**2, spec.channels
        self.extract = nn.ModuleList(conv(planes, width, 5) for width in spec.extract)
        self.refine = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(channels, dilations) for dilations in group))
            for group in spec.groups
        )
        self.fuse = nn.ModuleList(FusionBlock(channels, planes) for _ in spec.groups)
        block = (
            ResidualBlock(spec.head)
            if spec.head_block == "residual"
            else FusionBlock(spec.head, spec.head)
        )
        last = conv(spec.head, 3, 3)
        # Departure from the paper, which does not say: an untrained network returns its anchor.
        nn.init.zeros_(last.weight)
        self.head = _Head(
            conv(3, spec.head, 3),
            block,
            InstanceNorm(spec.head),
            nn.ReLU(),
            last,
        )

    def forward(self, *images: Tensor) -> Tensor:
        """Predict the frame next to the last image.

        Args:
            images: the blurry image y, then the frames to lean on; the last is the anchor.
                Each (B, 3, H, W), RGB, nominally in [0, 1]; r divides H and W.

        Returns:
            The frame, (B, 3, H, W), not clamped.
        """
        b, c, h, w = images[-1].shape
        r = self.spec.factor
        # (B, 3, H, W) -> (3B, r², H/r, W/r): each colour is handled alone by the same weights
        planes = [F.pixel_unshuffle(x.reshape(b * c, 1, h, w), r) for x in images]
        features = torch.cat(
            [layer(x) for layer, x in zip(self.extract, planes, strict=True)], dim=1
        )
        detail = planes[-1]
        for refine, fuse in zip(self.refine, self.fuse, strict=True):
            features = refine(features)
            detail = detail + fuse(features)
        rgb = F.pixel_shuffle(detail, r).reshape(b, c, h, w)
        out: Tensor = images[-1] + self.head(rgb)
        return out

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `forward` takes for one image, its frame included [bytes].

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
        """
        pixels = height * width
        image = 4 * 3 * pixels
        copies = 3 * len(self.spec.extract) * 4 * pixels
        # Normalized maps are float32 whatever the features are.
        held = 4 * feature_size + 4
        body = 3 * self.spec.channels * pixels / self.spec.factor**2 * held + copies + 2 * image
        return round(max(body, self.spec.head * pixels * held + 4 * image))
