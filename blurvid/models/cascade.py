"""The cascade: which network sees what, in which order (Jin et al. 2018, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE, STAGES, CascadeSpec
from blurvid.networks import CORE_SPEC, MIDDLE_SPEC, OUTER_SPEC, FrameNet

Frames = Mapping[int, Tensor]
"""Frames by their number 1..7, each (B, 3, H, W)."""


class Cascade(nn.Module):
    """The paper's model: middle frame, then the pairs (3, 5), (2, 6), (1, 7).

    `cascade(y)`, (B, 3, H, W) -> (B, 7, 3, H, W); 20 divides H and W. `stages` holds one
    module for each stage; that of 35 holds two networks, `3` and `5`.
    """

    name = "cascade"
    count = FRAMES
    size_multiple = 20  # lcm of the unshuffle factors 4 and 5

    def __init__(self, spec: CascadeSpec | None = None) -> None:
        super().__init__()
        self.spec = spec = spec or CascadeSpec()
        middle, core, outer = (
            shape.scaled(spec.width) for shape in (MIDDLE_SPEC, CORE_SPEC, OUTER_SPEC)
        )
        self.stages = nn.ModuleDict(
            {
                "middle": FrameNet(middle),
                "35": nn.ModuleDict({"3": FrameNet(core), "5": FrameNet(core)}),
                "26": FrameNet(outer),
                "17": FrameNet(outer),
            }
        )

    def predict(
        self,
        stage: str,
        y: Tensor,
        frames: Frames,
    ) -> dict[int, Tensor]:
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
            # phi_5 must know which of the two phi_3 chose (eq. 5), so it sees that choice.
            anchor = frames[MIDDLE]
            chosen = net["3"](y, anchor, anchor)
            return {3: chosen, 5: net["5"](y, chosen, anchor)}
        shown = {2: (4, 3), 6: (4, 5)} if stage == "26" else {1: (3, 2), 7: (5, 6)}
        return {
            i: net(y, frames[context], frames[anchor]) for i, (context, anchor) in shown.items()
        }

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

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Extract the frames of one image, see `SequenceModel`."""
        out.copy_(self(y)[0])

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes].

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
        """
        frames = 2 * FRAMES * 4 * 3 * height * width  # one by one, and together
        return frames + max(
            net.memory(height, width, feature_size)
            for net in self.stages.modules()
            if isinstance(net, FrameNet)
        )

    def middle_frame(self, y: Tensor) -> Tensor:
        """Extract the middle frame alone, (B, 3, H, W) -> (B, 3, H, W)."""
        return self.predict("middle", y, {})[MIDDLE]

    def middle_memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that the middle frame takes [bytes], see `memory`."""
        net = self.stages["middle"]
        assert isinstance(net, FrameNet)
        return net.memory(height, width, feature_size)
