"""The cascade: which network sees what, in which order (Jin et al. 2018, section 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from blurvid.config import MIDDLE, STAGES
from blurvid.networks import CORE_SPEC, MIDDLE_SPEC, OUTER_SPEC, FrameNet

Frames = Mapping[int, Tensor]
"""Frames by their number 1..7, each (B, 3, H, W)."""


class Cascade(nn.Module):
    """The paper's model: middle frame, then the pairs (3, 5), (2, 6), (1, 7).

    `cascade(y)`, (B, 3, H, W) -> (B, 7, 3, H, W); 20 divides H and W. `stages` holds one
    module for each stage; that of 35 holds two networks, `3` and `5`.
    """

    name = "cascade"
    size_multiple = 20  # lcm of the unshuffle factors 4 and 5

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                "middle": FrameNet(MIDDLE_SPEC),
                "35": nn.ModuleDict({"3": FrameNet(CORE_SPEC), "5": FrameNet(CORE_SPEC)}),
                "26": FrameNet(OUTER_SPEC),
                "17": FrameNet(OUTER_SPEC),
            }
        )

    def predict(self, stage: str, y: Tensor, frames: Frames) -> dict[int, Tensor]:
        """Run one stage on the frames before it.

        Args:
            stage: `middle`, `35`, `26` or `17`.
            y: blurry images, (B, 3, H, W), RGB in [0, 1].
            frames: the frames found so far, or the true ones (teacher forcing).

        Returns:
            The stage's frames by number, each (B, 3, H, W), not clamped.
        """
        net = self.stages[stage]
        if stage == "middle":
            return {MIDDLE: net(y)}
        if stage == "35":
            assert isinstance(net, nn.ModuleDict)
            third = net["3"](y, frames[4], frames[4])
            # phi_5 must know which of the two phi_3 chose, so it sees that choice (eq. 5)
            return {3: third, 5: net["5"](y, third, frames[4])}
        if stage == "26":
            return {2: net(y, frames[4], frames[3]), 6: net(y, frames[4], frames[5])}
        return {1: net(y, frames[3], frames[2]), 7: net(y, frames[5], frames[6])}

    def forward(self, y: Tensor, middle: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Extract the seven frames of y.

        Args:
            y: blurry images, (B, 3, H, W), RGB, nominally in [0, 1].
            middle: another deblurrer in the place of the middle network.

        Returns:
            The frames x[1..7], (B, 7, 3, H, W), not clamped.
        """
        frames: dict[int, Tensor] = {}
        for stage in STAGES:
            if stage == "middle" and middle is not None:
                frames[MIDDLE] = middle(y)
            else:
                frames.update(self.predict(stage, y, frames))
        return torch.stack([frames[i] for i in sorted(frames)], dim=1)
