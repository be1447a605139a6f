"""The cascade in the plain way, as published: what our networks are compared with.

Nothing is shared with `networks` but the weights and the paper: float32, contiguous, each colour
alone and one after the other, each frame alone, and convolution, instance normalization and ReLU
as separate modules of torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import MIDDLE
from blurvid.models import Cascade
from blurvid.networks import FrameSpec


def _conv(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (size // 2)
    return nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False)


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


class PlainResidual(nn.Module):
    """Residual block of 1x1 and 3x3 -> 3x3, `(B, C, H, W) -> (B, C, H, W)`."""

    def __init__(self, channels: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.norm1, self.conv1 = _norm(channels), _conv(channels, channels, 1)
        self.norm2, self.conv2 = _norm(channels), _conv(channels, channels, 3, dilations[0])
        self.norm3, self.conv3 = _norm(channels), _conv(channels, channels, 3, dilations[1])

    def forward(self, x: Tensor) -> Tensor:
        short = self.conv1(self.relu(self.norm1(x)))
        long = self.conv2(self.relu(self.norm2(x)))
        out: Tensor = x + short + self.conv3(self.relu(self.norm3(long)))
        return out


class PlainFusion(nn.Module):
    """1x1 and 3x3 side by side, `(B, inputs, H, W) -> (B, outputs, H, W)`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, outputs, 1)
        self.norm2, self.conv2 = _norm(inputs), _conv(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        short = self.conv1(self.relu(self.norm1(x)))
        out: Tensor = short + self.conv2(self.relu(self.norm2(x)))
        return out


class PlainNet(nn.Module):
    """One network of the cascade; its parameters are called as those of `FrameNet`."""

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.factor = spec.factor
        planes, channels, head = spec.factor**2, spec.channels, spec.head
        self.extract = nn.ModuleList(_conv(planes, width, 5) for width in spec.extract)
        self.refine = nn.ModuleList(
            nn.Sequential(*(PlainResidual(channels, dilations) for dilations in group))
            for group in spec.groups
        )
        self.fuse = nn.ModuleList(PlainFusion(channels, planes) for _ in spec.groups)
        block = PlainResidual(head) if spec.head_block == "residual" else PlainFusion(head, head)
        self.head = nn.Sequential(
            _conv(3, head, 3), block, _norm(head), nn.ReLU(), _conv(head, 3, 3)
        )

    def forward(self, *images: Tensor) -> Tensor:
        """Predict a frame from y and the frames to lean on, as `FrameNet` does."""
        colours = [self._colour([x[:, i : i + 1] for x in images]) for i in range(3)]
        out: Tensor = images[-1] + self.head(torch.cat(colours, dim=1))
        return out

    def _colour(self, images: list[Tensor]) -> Tensor:
        """One colour before the head, (B, 1, H, W) each -> (B, 1, H, W)."""
        planes = [F.pixel_unshuffle(x, self.factor) for x in images]
        pairs = zip(self.extract, planes, strict=True)
        features = torch.cat([layer(x) for layer, x in pairs], dim=1)
        detail = planes[-1]
        for refine, fuse in zip(self.refine, self.fuse, strict=True):
            features = refine(features)
            detail = detail + fuse(features)
        return F.pixel_shuffle(detail, self.factor)


class PlainCascade(nn.Module):
    """All seven frames, (B, 3, H, W) -> (B, 7, 3, H, W)."""

    def __init__(self, nets: dict[str, PlainNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(nets)

    def forward(self, y: Tensor) -> Tensor:
        nets = self.nets
        x = {MIDDLE: nets["middle"](y)}
        x[3] = nets["3"](y, x[4], x[4])
        x[5] = nets["5"](y, x[3], x[4])
        x[2] = nets["26"](y, x[4], x[3])
        x[6] = nets["26"](y, x[4], x[5])
        x[1] = nets["17"](y, x[3], x[2])
        x[7] = nets["17"](y, x[5], x[6])
        return torch.stack([x[i] for i in sorted(x)], dim=1)


def plain(model: Cascade) -> PlainCascade:
    """Copy a cascade into its plain form."""
    pair = model.stages["35"]
    nets = {stage: model.stages[stage] for stage in ("middle", "26", "17")} | dict(pair.items())
    copied = {name: PlainNet(net.spec) for name, net in nets.items()}
    for name, net in nets.items():
        copied[name].load_state_dict(net.state_dict())
    return PlainCascade(copied)
