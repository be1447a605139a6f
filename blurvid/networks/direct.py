"""The direct network, ours: all seven frames from one pass over the blurry image.

Not from the paper.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE, DirectSpec
from blurvid.networks.rows import Convolved, Stored
from blurvid.networks.unet import UNet

HEAD_VALUES = 2 << 20
"""Values in a strip of the head's maps, which are the largest: more leave the cache of a CPU."""


class DirectNet(UNet):
    """All seven frames in one pass, in the canonical direction of time.

    `net(y)`, (B, 3, H, W) -> (B, 7, 3, H, W); `size_multiple` divides H and W. The frames are
    residuals on y, so an untrained network returns y seven times.
    """

    name = "direct"
    count = FRAMES
    can_strip = True
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

    def middle(self, y: Tensor) -> Tensor:
        """Extract the middle frame of y alone, (B, 3, H, W) -> (B, 3, H, W), not clamped."""
        features, _ = self.features(y)
        found = F.conv2d(features, *self.middle_head(), padding=1)
        return y + F.pixel_shuffle(found, self.spec.factor)

    def middle_head(self) -> tuple[Tensor, Tensor]:
        """Weights and biases of the head for the middle frame."""
        each = 3 * self.spec.factor**2
        mine = slice((MIDDLE - 1) * each, MIDDLE * each)
        assert self.head.bias is not None
        return self.head.weight[mine], self.head.bias[mine]

    def maker(self, frames: Collection[int]) -> str:
        """Name what makes some frames: the model, all at once."""
        return "the direct model"

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
        head = Convolved(self.head, Stored(self.features(y)[0]))
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
        rows = max(1, HEAD_VALUES // (FRAMES * 3 * r * width))
        return rows if step is None else min(step, rows)

    def memory(self, height: int, width: int, feature_size: int, step: int | None) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]; see `FrameNet`."""
        pixels, r = height * width, self.spec.factor
        maps = self.maps(height, width, feature_size)
        on_cpu = next(self.parameters()).device.type == "cpu"
        if step is None and not on_cpu:
            head = maps[0] + FRAMES * 3 * pixels * (feature_size + 4)
        else:
            strip = min(pixels, (self._head_strip(width, step) + 2) * r * width)
            # What the head gave, the residual made of it, and that of the strip before
            head = maps[0] + FRAMES * 3 * strip * (feature_size + 2 * 4)
        return max(self.trunk_memory(height, width, feature_size), int(head))
