"""MAXIM, a deblurrer without attention between places (Tu et al., CVPR 2022).

"MAXIM: Multi-Axis MLP for Image Processing", after its authors' code (google-research/maxim,
Apache-2.0), whose weights fit (`weights.maxim`). Features are channels last, see `axes`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blurvid.config import MaximSpec
from blurvid.errors import OptionError
from blurvid.networks.axes import (
    REDUCTION,
    ChannelBlock,
    ConvBlock,
    CrossGate,
    Enter,
    MultiAxis,
    conv,
    resize,
)
from blurvid.runtime import cast, memory_kept

BLOCKS = (16, 16, 8)
"""Side of the blocks, and cells along a side of the grid, at the three scales."""
BOTTOM_BLOCK = 8
"""The same in the bottleneck."""
SCALES = len(BLOCKS)
TILES = (384, 448)
"""Sides of the tiles that `fill` sees [px], multiples of 64: near the 256 px of the training, where
the grid and the channel attention, which see all there is, do what they learned."""
OVERLAP = 32
"""Least width over which two tiles are blended [px]."""
HELD = {4: 38, 2: 50}
"""Maps of the finest scale that are in memory at a time, by bytes of a value, as measured; what the
matrix products need in between is float32 in both."""


class Level(nn.Module):
    """What an encoder and a decoder do at one scale, maps (B, H, W, c) -> (B, H, W, C)."""

    def __init__(self, inputs: int, channels: int, side: int, *, crossed: bool = False) -> None:
        super().__init__()
        self.enter = Enter(inputs, channels)
        self.mlps = nn.ModuleList(MultiAxis(channels, side) for _ in range(2))
        self.convs = nn.ModuleList(ConvBlock(channels) for _ in range(2))
        self.cross = CrossGate((channels, channels), channels, side) if crossed else None

    def forward(self, maps: list[Tensor], before: Tensor | None = None) -> Tensor:
        """Refine features; `before` are those of the stage before, where there is one."""
        start = x = self.enter(maps)
        for mlp, convs in zip(self.mlps, self.convs, strict=True):
            x = convs(mlp(x))
        x = x + start
        if self.cross is not None:
            assert before is not None
            x = self.cross([x], before)[0]
        out: Tensor = x
        return out


class Bottom(nn.Module):
    """What the bottleneck does, twice, `(B, H, W, C) -> (B, H, W, C)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, channels)
        self.mlps = nn.ModuleList(MultiAxis(channels, BOTTOM_BLOCK) for _ in range(2))
        self.channels = nn.ModuleList(ChannelBlock(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        start = x = self.enter(x)
        for mlp, channels in zip(self.mlps, self.channels, strict=True):
            x = channels(mlp(x))
        out: Tensor = x + start
        return out


class Supervised(nn.Module):
    """The image as it stands after a stage, and features for the next one that know it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 3, padding=1)
        self.image = nn.Conv2d(channels, 3, 3, padding=1)
        self.mask = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        found = conv(self.image, x) + image
        return conv(self.features, x) * torch.sigmoid(conv(self.mask, found)) + x


class Gather(nn.ModuleList):
    """Maps of all scales brought to one of them, each with that scale's channels."""

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__(nn.Linear(c, channels) for c in inputs)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Bring `maps`, each (B, h, w, c), to (B, *size, C)."""
        found: list[Tensor] = []
        for layer, x in zip(self, maps, strict=True):
            # A linear layer and a resize commute: the layer sees the smaller map.
            grows = x.shape[1] < size[0]
            found.append(resize(layer(x), size) if grows else layer(resize(x, size)))
        return found


@dataclass(frozen=True)
class Handed:
    """What a stage hands to the next one, for each scale from fine to coarse."""

    features: list[Tensor]
    """Those of `Supervised`."""
    coded: list[Tensor]
    """Sums of what the encoder and the decoder gave."""


class Stage(nn.Module):
    """A U-Net at three scales, whose skips and decoder see all scales, and its bottleneck.

    Args:
        channels: of the three scales, from fine to coarse.
        first: whether no stage comes before.
        last: whether none comes after.
    """

    def __init__(self, channels: tuple[int, ...], *, first: bool, last: bool) -> None:
        super().__init__()
        places = list(zip(channels, BLOCKS, strict=True))
        finer = (channels[0], *channels[:-1])
        coarser = (*channels[1:], channels[-1])
        self.inputs = nn.ModuleList(nn.Conv2d(3, c, 3, padding=1) for c in channels)
        self.fuse = nn.ModuleList(() if first else (CrossGate((c, c), c, s) for c, s in places))
        self.encoder = nn.ModuleList(
            Level(before + c, c, s, crossed=not first)
            for before, (c, s) in zip(finer, places, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(c, c, 4, stride=2, padding=1) for c in channels)
        self.bottom = nn.Sequential(*(Bottom(channels[-1]) for _ in range(2)))
        self.to_skips = nn.ModuleList(Gather(channels, c) for c in channels)
        self.skips = nn.ModuleList(
            CrossGate((SCALES * c, above), c, s, grows=True)
            for above, (c, s) in zip(coarser, places, strict=True)
        )
        self.to_decoder = nn.ModuleList(Gather(channels[::-1], c) for c in channels)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(above, c, 2, stride=2)
            for above, c in zip(coarser, channels, strict=True)
        )
        self.decoder = nn.ModuleList(Level((SCALES + 1) * c, c, s) for c, s in places)
        self.supervised = nn.ModuleList(() if last else (Supervised(c) for c in channels))
        self.output = nn.Conv2d(channels[0], 3, 3, padding=1) if last else None

    def forward(self, images: Sequence[Tensor], before: Handed | None) -> Tensor | Handed:
        """Run the stage.

        Args:
            images: the blurry image at the three scales, (B, h, w, 3).
            before: what the stage before handed on.

        Returns:
            The residual on the image, (B, H, W, 3), of the last stage; else what comes next.
        """
        sizes = [(x.shape[1], x.shape[2]) for x in images]
        shown = [conv(layer, x) for layer, x in zip(self.inputs, images, strict=True)]
        if before is not None:
            pairs = zip(self.fuse, shown, before.features, strict=True)
            shown = [fuse([x], y)[0] for fuse, x, y in pairs]
        encoded: list[Tensor] = []
        x = shown[0]
        for i, (level, down) in enumerate(zip(self.encoder, self.down, strict=True)):
            x = level([x, shown[i]], before.coded[i] if before else None)
            encoded.append(x)
            x = conv(down, x)
        x = y = self.bottom(x)
        skips: list[Tensor] = []
        for i in reversed(range(SCALES)):
            skip, y = self.skips[i](self.to_skips[i](encoded, sizes[i]), y)
            skips.insert(0, skip)
        if self.output is not None:
            encoded.clear()  # their memory
        decoded: list[Tensor] = []
        for i in reversed(range(SCALES)):
            x = self.decoder[i]([conv(self.up[i], x), *self.to_decoder[i](skips[::-1], sizes[i])])
            decoded.insert(0, x)
        if self.output is not None:
            return conv(self.output, x)
        pairs = zip(self.supervised, decoded, images, strict=True)
        features = [supervised(d, image) for supervised, d, image in pairs]
        return Handed(features, [e + d for e, d in zip(encoded, decoded, strict=True)])


class Maxim(nn.Module):
    """Blurry image to its middle frame, (B, 3, H, W) -> (B, 1, 3, H, W), not clamped.

    `size_multiple` divides H and W. The grid and the channel attention see the whole image, so
    what it does to a place depends on the size of the image; `fill` cuts it into tiles.
    """

    name = "maxim"
    count = 1
    size_multiple = 64  # the bottleneck is at 1/8, in blocks of 8

    def __init__(self, spec: MaximSpec | None = None) -> None:
        super().__init__()
        self.spec = spec = spec or MaximSpec()
        if not 1 <= spec.stages <= 3 or spec.features < REDUCTION:
            raise OptionError(f"MAXIM has 1 to 3 stages, and {REDUCTION} channels or more")
        channels = tuple(spec.features << i for i in range(SCALES))
        self.stages = nn.ModuleList(
            Stage(channels, first=i == 0, last=i == spec.stages - 1) for i in range(spec.stages)
        )
        output = self.stages[-1].output
        assert isinstance(output, nn.Conv2d) and output.bias is not None
        nn.init.zeros_(output.weight)  # an untrained network returns its input
        nn.init.zeros_(output.bias)

    def forward(self, y: Tensor) -> Tensor:
        """Deblur images.

        Args:
            y: (B, 3, H, W), RGB, nominally in [0, 1].

        Returns:
            The frame x[4], (B, 1, 3, H, W), not clamped.
        """
        image = y.permute(0, 2, 3, 1).contiguous().to(next(self.parameters()).dtype)
        # Nearest neighbours of the centres of larger pixels
        images = [image, image[:, 1::2, 1::2], image[:, 2::4, 2::4]]
        state: Tensor | Handed | None = None
        for stage in self.stages:
            state = stage(images, state)
        assert isinstance(state, Tensor)
        return (y + state.permute(0, 3, 1, 2)).unsqueeze(1)

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Deblur as `forward` does, in overlapping tiles where the image is larger than one.

        Args:
            out: the frame goes there, (1, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
        """
        rows, columns = (spans(length) for length in y.shape[-2:])
        run = cast(self, y.device)
        out.zero_()
        with memory_kept():
            for (top, down), (left, across) in itertools.product(rows, columns):
                place = (..., slice(top, top + len(down)), slice(left, left + len(across)))
                out[place] += (down[:, None] * across).to(out) * run(y[place])[0].to(out)

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes], as measured."""
        seen = min(height, TILES[-1]) * min(width, TILES[-1])
        return seen * self.spec.features * feature_size * HELD[feature_size]


def spans(length: int) -> list[tuple[int, Tensor]]:
    """Cut an axis into tiles, all of one side.

    Args:
        length: of the axis [px].

    Returns:
        Where each begins, and its weights, which add up to 1 everywhere.
    """
    if length <= TILES[0]:
        return [(0, torch.ones(length))]
    counts = {side: math.ceil((length - OVERLAP) / (side - OVERLAP)) for side in TILES}
    side, count = min(counts.items(), key=math.prod)  # the least work
    if count == 1:
        return [(0, torch.ones(length))]
    begins = [round(i * (length - side) / (count - 1)) for i in range(count)]
    weights = [torch.ones(side) for _ in begins]
    for i in range(1, count):
        shared = begins[i - 1] + side - begins[i]
        ramp = (torch.arange(shared) + 0.5) / shared
        weights[i][:shared] *= ramp
        weights[i - 1][side - shared :] *= 1 - ramp
    return list(zip(begins, weights, strict=True))
