"""The motion network, ours: how far and along which path each place of a photo moved.

It sees the photo, its deblurred middle frame, and how well the middle frame, blurred along each of
a bank of straight lines, explains the photo. Not from the paper.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import MotionSpec
from blurvid.exposure import GAMMA, SPAN, instants, line_kernels, straight_lines, to_light

INSTANTS = 35
"""Instants of the exposure that a line kernel averages."""
FLOOR = 2e-5
"""Added to squared errors before their logarithm: noise of about one level."""
KERNELS_AT_ONCE = 32
"""Lines along which an image is blurred at a time."""
PIXELS = 10.0
"""Pixels of displacement for a unit of the network's output."""


class _Residual(nn.Module):
    """`x + g conv(gelu(conv(gelu(x))))`, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.full((1, channels, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.gain * self.conv2(F.gelu(self.conv1(F.gelu(x))))
        return out


def _several(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels) for _ in range(count)))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class MotionNet(nn.Module):
    """Photo and middle frame to the path of each place, frame_t(x) = m(x + a t + b t²).

    `net(m, y)`, each (B, 3, H, W), RGB in [0, 1] -> (B, 5, H/4, W/4) in pixels of the photo:
    a and b as (x, y), and the logarithm of the error of a to be expected; 32 divides H and W.
    """

    name = "motion"
    size_multiple = 32
    kernels: Tensor

    def __init__(self, spec: MotionSpec | None = None) -> None:
        super().__init__()
        self.spec = spec = spec or MotionSpec()
        c2, c4, c8, c16, c32 = spec.channels
        n4, n8, n16, n32 = spec.blocks
        with torch.device("cpu"):  # values that no weight set holds, in a skeleton too
            lines = straight_lines(spec.reach)
            radius = math.ceil(SPAN * float(lines.abs().max())) + 1
            kernels = line_kernels(lines, instants(INSTANTS), (radius, radius))
        self.register_buffer("kernels", kernels, persistent=False)
        self.stem = nn.Conv2d(6, c2, 3, padding=1)
        self.down4 = nn.Conv2d(c2, c4, 4, 2, 1)
        self.enter4 = _several(c4, n4)
        self.down8 = nn.Conv2d(c4, c8, 4, 2, 1)
        self.costs = nn.Conv2d(len(kernels) + 2, c8, 1)
        self.enter8 = _several(c8, n8)
        self.down16 = nn.Conv2d(c8, c16, 4, 2, 1)
        self.enter16 = _several(c16, n16)
        self.down32 = nn.Conv2d(c16, c32, 4, 2, 1)
        self.bottom = _several(c32, n32)
        # The sign of a line is a matter of the whole picture.
        self.whole = nn.Sequential(nn.Linear(c32, c32), nn.GELU(), nn.Linear(c32, c32))
        self.up16 = nn.Conv2d(c32, c16, 1)
        self.leave16 = _several(c16, n16)
        self.up8 = nn.Conv2d(c16, c8, 1)
        self.leave8 = _several(c8, n8)
        self.up4 = nn.Conv2d(c8, c4, 1)
        self.leave4 = _several(c4, n4)
        self.head = nn.Conv2d(c4, 5, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def cost(self, m: Tensor, y: Tensor) -> Tensor:
        """How badly each straight line explains the photo, around each place.

        Args:
            m: middle frames at half size, (B, 3, h, w).
            y: photos at half size, likewise.

        Returns:
            Mean squared errors of m, blurred along each line, against y, (B, K, h/4, w/4).
        """
        b, c, h, w = m.shape
        light = to_light(m).reshape(b * c, 1, h, w)
        pad = self.kernels.shape[-1] // 2
        light = F.pad(light, (pad,) * 4, mode="replicate")
        seen, errors = y[:, :, None, ::2, ::2], []
        for kernels in torch.split(self.kernels.to(light.dtype), KERNELS_AT_ONCE):  # saves memory
            blurred = F.conv2d(light, kernels, stride=2).clamp_(min=1e-6).pow_(1 / GAMMA)
            blurred = blurred.view(b, c, len(kernels), *blurred.shape[-2:])
            errors.append((blurred - seen).square_().mean(1))
        error = torch.cat(errors, 1)
        bump = torch.tensor([1.0, 2, 3, 2, 1], device=m.device)
        bump = (bump[:, None] * bump / 81).view(1, 1, 5, 5).to(error.dtype)
        flat = F.pad(error.flatten(0, 1)[:, None], (2,) * 4, mode="replicate")
        smooth = F.conv2d(flat, bump, stride=2)
        return smooth.view(b, len(self.kernels), *smooth.shape[-2:])

    def forward(self, m: Tensor, y: Tensor) -> Tensor:
        """Find the motion of photos, see the class."""
        m2, y2 = F.avg_pool2d(m, 2), F.avg_pool2d(y, 2)
        with torch.no_grad():
            logs = (self.cost(m2.float(), y2.float()) + FLOOR).log()
            mean = logs.mean(1, keepdim=True)
            least = logs.amin(1, keepdim=True)
            costs = torch.cat([logs - mean, mean + 7, least - logs[:, :1]], 1)
        at4 = self.enter4(self.down4(F.gelu(self.stem(torch.cat([m2, y2], 1) * 2 - 1))))
        at8 = self.enter8(self.down8(at4) + self.costs(costs))
        at16 = self.enter16(self.down16(at8))
        at32 = self.bottom(self.down32(at16))
        at32 = at32 + self.whole(at32.mean((-2, -1)))[:, :, None, None]
        at16 = self.leave16(at16 + self.up16(_resized(at32, at16)))
        at8 = self.leave8(at8 + self.up8(_resized(at16, at8)))
        at4 = self.leave4(at4 + self.up4(_resized(at8, at4)))
        out = self.head(F.gelu(at4)).float()
        return torch.cat([out[:, :4] * PIXELS, out[:, 4:]], 1)
