"""BDIRNet: blur distilling and information reconstruction, a robust deblurrer.

Only the abstract of the paper (Neurocomputing 466, 2021, doi 10.1016/j.neucom.2021.09.019) is at
hand. From it: a network that distills blur from an image by comparing images of different
quality of the same scene, with statistical anti-interference distilling (SAID), and a network
that reconstructs the sharp image, with anti-interference reconstruction (SAIR). Everything
else, the inside of both modules included, is ours, after what is closest in the literature and
named beside each part. None of it reproduces the paper's networks or figures. For use with the
released weights: what it was trained by is no longer here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import BDIRSpec
from blurvid.networks.direct import PlainBlock, UNet
from blurvid.networks.one_frame import OneFrame

MOST_LOG = 6.0
"""Bound of the logarithm of a standard deviation, so that flat channels stay finite."""
SQUEEZE = 4
"""Channels per hidden unit of SAID's gates."""


def local_statistics(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel around each position.

    Over the whole map where it is no larger than the square, as in training; over a square of that
    side around each position elsewhere, so that photos of any size are treated as the crops of
    the training were (Chu et al., ECCV 2022).

    Args:
        x: (B, C, H, W).
        side: of the square [positions].

    Returns:
        Both (B, C, 1, 1) or (B, C, H, W), float32; the second above 0.
    """
    x = x.float()
    centre = x.mean(dim=(-2, -1), keepdim=True)
    x = x - centre  # else the variance is a small difference of large numbers
    if side >= max(x.shape[-2:]):
        variance = x.square().mean(dim=(-2, -1), keepdim=True)
        return centre, _deviation(variance)
    mean = window_mean(x, side)
    variance = window_mean(x.square(), side) - mean.square()
    size = (x.shape[-2], x.shape[-1])
    return spread(mean, size) + centre, spread(_deviation(variance), size)


def _deviation(variance: Tensor) -> Tensor:
    return (variance.clamp(min=0) + 1e-10).sqrt().clamp(min=torch.e**-MOST_LOG)


def window_mean(x: Tensor, side: int) -> Tensor:
    """Mean over every square that lies inside, (B, C, H, W) -> (B, C, H-side+1, W-side+1).

    Sums run along rows, then columns: float32 keeps its digits, unlike in sums over the image.
    An axis shorter than the square is taken whole.
    """
    for axis in (-1, -2):
        k = min(side, x.shape[axis])
        sums = x.cumsum(axis)
        rest = sums.narrow(axis, k, x.shape[axis] - k) - sums.narrow(axis, 0, x.shape[axis] - k)
        x = torch.cat([sums.narrow(axis, k - 1, 1), rest], axis) / k
    return x


def spread(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Give each position the square around it; near the border, the nearest one inside."""
    missing = (size[1] - x.shape[-1], size[0] - x.shape[-2])
    (left, right), (above, below) = ((n - n // 2, n // 2) for n in missing)
    return F.pad(x, (left, right, above, below), mode="replicate")


class SAID(nn.Module):
    """Statistical anti-interference distilling: replace statistics that blur has changed.

    Blur changes the mean and spread of features before it changes what they say. Each channel is
    normalized; gates, which see the statistics, decide how much of them comes back and how much
    gives way to learned "clean" ones. `(B, C, H, W) -> (B, C, H, W)`.

    The name is the paper's; the design is ours, after the restitution of SNR (Jin et al., CVPR
    2020) and the gates on mean and deviation of SRM (Lee et al., ICCV 2019).

    Args:
        channels: C.
        side: of the square whose statistics count [positions].
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        hidden = max(4, channels // SQUEEZE)
        self.squeeze = nn.Conv2d(2 * channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, 2 * channels, 1)
        self.log_deviation = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mean = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = local_statistics(x, self.side)
        log = deviation.log().clamp(max=MOST_LOG)
        gates = self.excite(F.relu(self.squeeze(torch.cat([mean, log], dim=1))))
        a, b = gates.float().sigmoid().chunk(2, dim=1)
        scale = torch.exp(torch.lerp(self.log_deviation.expand_as(log), log, a)) / deviation
        shift = torch.lerp(self.mean.expand_as(mean), mean, b) - mean * scale
        return (x * scale + shift).to(x.dtype)


class SAIR(nn.Module):
    """Anti-interference reconstruction: let the distilled content set the statistics.

    `(D, Zc) -> D`, (B, C, H, W) and (B, C', h, w). D is normalized and modulated by scales and
    shifts found from Zc, and a learned share of the result replaces D.

    The name is the paper's; the design is ours, after SPADE (Park et al., CVPR 2019).

    Args:
        channels: C.
        content: C'.
        side: of the square whose statistics count [positions of D].
    """

    def __init__(self, channels: int, content: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.mix = nn.Conv2d(content, channels, 1)
        self.modulate = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.share = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        mean, deviation = local_statistics(x, self.side)
        found = self.modulate(F.leaky_relu(self.mix(content), 0.1))
        found = F.interpolate(found, size=x.shape[-2:], mode="bilinear", align_corners=False)
        scale, shift = found.chunk(2, dim=1)
        changed = (x - mean) / deviation * (1 + scale) + shift
        return torch.lerp(x.float(), changed.float(), self.share.sigmoid()).to(x.dtype)


class DistillNet(UNet):
    """Image to features in which its blur should not be seen any more.

    `net(x)`, (B, 3, H, W) -> Z (B, C, H/r, W/r) and Zc (B, C', H/s, W/s), C and C' the channels
    of the first and last level, s the `size_multiple`, which divides H and W.
    """

    spec: BDIRSpec

    def __init__(self, spec: BDIRSpec) -> None:
        super().__init__(spec)
        # The encoder's levels from fine to coarse, then the features Z
        places = [(c, spec.factor * 2**level) for level, c in enumerate(spec.channels)]
        places.append((spec.channels[0], spec.factor))
        self.said = nn.ModuleList(SAID(c, max(1, spec.window // step)) for c, step in places)

    def settle(self, place: int, features: Tensor) -> Tensor:
        found: Tensor = self.said[place](features)
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, content = self.features(x)
        return self.said[-1](features), content


class RecNet(nn.Module):
    """Features to the residual of the sharp image, `(Z, Zc) -> (B, 3, H, W)`."""

    def __init__(self, spec: BDIRSpec) -> None:
        super().__init__()
        self.factor = spec.factor
        channels, content = spec.channels[0], spec.channels[-1]
        self.stem = nn.Conv2d(channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(PlainBlock(channels) for _ in range(spec.rec_blocks))
        side = max(1, spec.window // spec.factor)
        self.sair = nn.ModuleList(SAIR(channels, content, side) for _ in range(spec.rec_blocks))
        self.head = nn.Conv2d(channels, 3 * spec.factor**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, content: Tensor) -> Tensor:
        x = self.stem(features)
        for block, sair in zip(self.blocks, self.sair, strict=True):
            x = sair(block(x), content)
        return F.pixel_shuffle(self.head(x), self.factor)


class BDIRNet(OneFrame):
    """Blurry image to its middle frame, (B, 3, H, W) -> (B, 1, 3, H, W), not clamped.

    `size_multiple` divides H and W.
    """

    name = "bdirnet"

    def __init__(self, spec: BDIRSpec | None = None) -> None:
        super().__init__()
        self.spec = spec = spec or BDIRSpec()
        self.distill, self.reconstruct = DistillNet(spec), RecNet(spec)
        self.size_multiple = self.distill.size_multiple

    def forward(self, y: Tensor) -> Tensor:
        """Deblur images, (B, 3, H, W), RGB, nominally in [0, 1]."""
        detail: Tensor = self.reconstruct(*self.distill(y))
        return (y + detail.to(y.dtype)).unsqueeze(1)

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]; see `FrameNet`."""
        trunk = self.distill.trunk_memory(height, width, feature_size)
        # Statistics, gates and what they make of the features of a level at a time, in float32
        said = 12 * max(self.distill.maps(height, width, 4))
        return int(trunk + said + 3 * 4 * 3 * height * width)
