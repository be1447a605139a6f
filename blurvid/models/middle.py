"""Deblurrers of the middle frame, and the cascade around one that is not its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

from blurvid.config import FRAMES
from blurvid.models.cascade import Cascade
from blurvid.models.ensemble import filled
from blurvid.models.motion import MotionModel
from blurvid.networks import BDIRNet, DirectNet, Maxim
from blurvid.networks.one_frame import OneFrame
from blurvid.trajectory.sampling import resize

if TYPE_CHECKING:
    from blurvid.models import SequenceModel


class MiddleOf(OneFrame):
    """The middle frame of a model of all frames alone, (B, 3, H, W) -> (B, 1, 3, H, W)."""

    def __init__(self, model: Cascade | DirectNet | MotionModel) -> None:
        super().__init__()
        self.model, self.name = model, model.name
        self.size_multiple = model.size_multiple

    def forward(self, y: Tensor) -> Tensor:
        """Deblur images."""
        return self.model.middle_frame(y).unsqueeze(1)

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""
        return self.model.middle_memory(height, width, feature_size)


class GivenPicture(OneFrame):
    """A middle frame of the user's at whatever size it is asked for, for the motion model.

    Args:
        frame: (3, H, W), in [0, 1].
    """

    name = "given"
    frame: Tensor

    def __init__(self, frame: Tensor) -> None:
        super().__init__()
        self.register_buffer("frame", frame[None], persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """The frame, whatever the image."""
        return resize(self.frame, (y.shape[-2], y.shape[-1])).unsqueeze(1).expand_as(y[:, None])


def middle_of(model: Cascade | DirectNet | BDIRNet | Maxim | MotionModel) -> SequenceModel:
    """The part of a model that gives the middle frame alone."""
    return MiddleOf(model) if isinstance(model, Cascade | DirectNet | MotionModel) else model


class GuidedCascade(nn.Module):
    """The cascade with another deblurrer in the place of its middle network.

    Its other networks learned on true middle frames (teacher forcing), so that a better middle
    frame is better for all of them: "the accuracy of the middle frame prediction has a
    dramatic impact" (Jin et al. 2018, on Fig. 5).

    `model(y)`, (B, 3, H, W) -> (B, 7, 3, H, W).
    """

    count = FRAMES

    def __init__(self, cascade: Cascade, middle: SequenceModel) -> None:
        super().__init__()
        self.cascade, self.middle = cascade, middle
        self.name = cascade.name
        self.size_multiple = math.lcm(cascade.size_multiple, middle.size_multiple)

    def forward(self, y: Tensor) -> Tensor:
        """Extract the seven frames of y."""
        return self.cascade(y, middle=lambda y: filled(self.middle, y)[:, 0])  # type: ignore[no-any-return]

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Extract the frames of one image, see `SequenceModel`."""
        out.copy_(self(y)[0])

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""
        size = (height, width, feature_size)
        return max(self.cascade.memory(*size), self.middle.memory(*size))
