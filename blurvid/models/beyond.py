"""The cascade's outermost network applied once more, to frames of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from blurvid.models.cascade import Cascade
from blurvid.models.middle import GuidedCascade
from blurvid.networks import FrameNet
from blurvid.networks.one_frame import OneFrame

if TYPE_CHECKING:
    from blurvid.models import SequenceModel

IMAGES = 3
"""The blurry image and two frames."""


class Onward(OneFrame):
    """One frame further out, (B, 9, H, W) -> (B, 1, 3, H, W).

    Input are the blurry image and, behind it, the last two frames on a side, the outermost at the
    end. That non-core networks can share weights "opens up the possibility of designing a
    recurrent network", and "could make predicting more than 7 frames feasible" (Jin et al. 2018,
    sections 5.3 and 7). None was trained on frames outside of the exposure.
    """

    def __init__(self, cascade: Cascade) -> None:
        super().__init__()
        net = cascade.stages["17"]
        assert isinstance(net, FrameNet)
        self.net = net
        self.name, self.size_multiple = cascade.name, cascade.size_multiple

    def forward(self, y: Tensor) -> Tensor:
        """Predict the next frame of images."""
        found: Tensor = self.net(*y.chunk(IMAGES, dim=1))
        return found.unsqueeze(1)

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Predict the next frame of one image, see `SequenceModel`."""
        out.copy_(self.net(*y.chunk(IMAGES, dim=1)))

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes].

        The two frames count here: what asks knows of one image.
        """
        frames = 2 * 4 * 3 * height * width
        return frames + self.net.memory(height, width, feature_size)


def onward_of(model: SequenceModel) -> SequenceModel | None:
    """The part of a model that can be applied to its own frames; None where it has none."""
    cascade = model.cascade if isinstance(model, GuidedCascade) else model
    return Onward(cascade) if isinstance(cascade, Cascade) else None
