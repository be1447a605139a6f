"""The restoration network, ours: the picture solved for along a known motion, and its frames.

It replaces an iterative deconvolution. What lies along the path of a place is laid out in
channels, so that undoing the blur is a one-dimensional affair wherever the path points. Not from
the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import RestoreSpec
from blurvid.exposure import displacement, reblur, sample
from blurvid.networks.direct import BRANCH_GAIN, UNet

PLACES = (-1.0, -0.5, 0.5, 1.0)
"""Times at which the photo, the middle frame and the residual are sampled along the path."""
PIXELS = 10.0
"""Pixels of displacement for a unit of the network's input."""


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


class RestoreNet(UNet):
    """Photo, middle frame and motion to the solved picture and its frames at any time.

    `net.solve(y, m, motion)` -> the picture and features; `net.frame(...)` -> the frame of one
    time. All images (B, 3, H, W), RGB, nominally in [0, 1]; `size_multiple` divides H and W. An
    untrained network returns m and its plain warps.
    """

    name = "restore"
    spec: RestoreSpec

    def __init__(self, spec: RestoreSpec | None = None) -> None:
        spec = spec or RestoreSpec()
        rr, width = spec.factor**2, spec.channels[0]
        inputs = 3 * (2 + 1 + 3 * len(PLACES)) * rr + 4
        super().__init__(spec, inputs, partial(NafBlock, kernel=spec.kernel), kernel=1)
        self.picture = nn.Conv2d(width, 3 * rr, 3, padding=1)
        self.carry = nn.Conv2d(width, spec.carried, 1)
        self.enter = nn.Conv2d(3 * rr + 2 * spec.carried + 4, 64, 1)
        self.mix = NafBlock(64, spec.kernel)
        self.leave = nn.Conv2d(64, 3 * rr, 3, padding=1)
        for layer in (self.picture, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def inputs(self, y: Tensor, m: Tensor, motion: Tensor, blurred: Tensor) -> Tensor:
        """What the trunk sees, (B, C, H/r, W/r)."""
        residual = y - blurred
        stack = torch.cat([y, m, residual], 1)
        around = [sample(stack, displacement(motion, t)) for t in PLACES]
        planes = torch.cat([y - 0.5, m - 0.5, residual * 4], 1)
        unit = torch.tensor([1.0, 1, 4], device=y.device).repeat_interleave(3)[None, :, None, None]
        offset = torch.tensor([0.5, 0.5, 0], device=y.device).repeat_interleave(3)
        around = [(part - offset[None, :, None, None]) * unit for part in around]
        seen = F.pixel_unshuffle(torch.cat([planes, *around], 1), self.spec.factor)
        small = F.avg_pool2d(motion[:, :4], self.spec.factor) / PIXELS
        return torch.cat([seen, small], 1)

    def solve(
        self, y: Tensor, m: Tensor, motion: Tensor, blurred: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Solve for the picture that moved.

        Args:
            y: blurry images.
            m: their deblurred middle frames.
            motion: a and b of each pixel, (B, 4, H, W) [px].
            blurred: m, blurred along the motion; None finds it.

        Returns:
            The picture, (B, 3, H, W), not clamped, and features for `frame`, (B, C, H/r, W/r).
        """
        if blurred is None:
            blurred = reblur(m, motion[:, :2], motion[:, 2:4])
        features = self.trunk(self.inputs(y, m, motion, blurred))[0]
        change = F.pixel_shuffle(self.picture(features), self.spec.factor)
        return m + change.float(), self.carry(features)

    def frame(self, picture: Tensor, features: Tensor, motion: Tensor, t: float) -> Tensor:
        """Render the frame of one time, and mend what the motion alone does not tell.

        Args:
            picture: as `solve` gives it, likewise `features`.
            features: see there.
            motion: as given to `solve`.
            t: time, from -1, the beginning of the exposure, to 1, its end.

        Returns:
            (B, 3, H, W), not clamped.
        """
        r = self.spec.factor
        shift = displacement(motion, t)
        plain = sample(picture, shift, "bicubic")
        small = F.avg_pool2d(shift, r)
        along = sample(features, small / r)
        told = torch.cat([small / PIXELS, small.abs().sum(1, keepdim=True) / PIXELS], 1)
        times = torch.ones_like(told[:, :1]) * t
        seen = torch.cat([F.pixel_unshuffle(plain - 0.5, r), along, features, told, times], 1)
        change = self.leave(self.mix(self.enter(seen)))
        return plain + F.pixel_shuffle(change, r).float()

    def forward(
        self, y: Tensor, m: Tensor, motion: Tensor, times: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Solve and render: the picture, and the frames of some times (B, T, 3, H, W)."""
        picture, features = self.solve(y, m, motion)
        frames = [self.frame(picture, features, motion, t) for t in times]
        return picture, torch.stack(frames, 1)
