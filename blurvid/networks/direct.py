"""The direct network, ours: all seven frames from one pass over the blurry image.

Not from the paper.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE, DirectSpec
from blurvid.networks.unet import UNet


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

    def middle(self, y: Tensor) -> Tensor:
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

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]; see `FrameNet`."""
        # What the head gives of a frame, shuffled, and added to the image
        head = self.maps(height, width, feature_size)[0]
        head += 3 * height * width * (2 * feature_size + 4)
        return max(self.trunk_memory(height, width, feature_size), int(head))
