"""What all models of a single frame have in common."""

from __future__ import annotations

from torch import Tensor, nn


class OneFrame(nn.Module):
    """A model of the middle frame, (B, 3, H, W) -> (B, 1, 3, H, W); see `models.SequenceModel`."""

    name: str
    count = 1
    size_multiple = 1

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Deblur one image."""
        out.copy_(self(y)[0])

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""
        return 0
