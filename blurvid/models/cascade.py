"""The cascade: which network sees what, in which order (Jin et al. 2018, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

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

    The pairwise schemes of the paper's ablation (`contexts` other than `sequential`) have the
    same networks, so that schemes differ in nothing but what a network is shown. A frame that
    a scheme does not give is replaced by y.
    """

    name = "cascade"
    count = FRAMES
    can_strip = True
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
        *,
        coupled: bool = True,
        step: int | None = None,
    ) -> dict[int, Tensor]:
        """Run one stage on the frames before it.

        Args:
            stage: `middle`, `35`, `26` or `17`.
            y: blurry images, (B, 3, H, W), RGB in [0, 1].
            frames: the frames found so far, or the true ones (teacher forcing).
            coupled: let the gradient of the second frame of a pair reach the first one, where
                the second sees it.
            step: take less memory, without gradients, see `FrameNet`.

        Returns:
            The stage's frames by number, each (B, 3, H, W), not clamped.
        """
        net = self.stages[stage]
        if stage == "middle":
            return {MIDDLE: net(y, step=step)}
        if stage == "35":
            assert isinstance(net, nn.ModuleDict)
            return self._pair(3, net["3"], net["5"], y, frames, coupled, step)
        if self.spec.contexts != "sequential":
            return self._pair(int(stage[0]), net, net, y, frames, coupled, step)
        seen = {2: (4, 3), 6: (4, 5)} if stage == "26" else {1: (3, 2), 7: (5, 6)}
        return {
            i: net(y, frames[context], frames[anchor], step=step)
            for i, (context, anchor) in seen.items()
        }

    def _pair(
        self,
        i: int,
        first: nn.Module,
        second: nn.Module,
        y: Tensor,
        frames: Frames,
        coupled: bool,
        step: int | None,
    ) -> dict[int, Tensor]:
        """The frames i and 8 - i, found without those between them and the middle (eq. 5).

        phi_{8-i} must know which of the two phi_i chose, so it sees that choice. Where one
        network stands for both, this also tells it that it is asked for the other frame.
        """
        anchor = y if self.spec.contexts == "none" else frames[MIDDLE]
        chosen = first(y, anchor, anchor, step=step)
        seen = chosen if coupled else chosen.detach()
        return {i: chosen, FRAMES + 1 - i: second(y, seen, anchor, step=step)}

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
        if self.spec.contexts != "sequential":
            frames = align_pairs(frames)
        return torch.stack([frames[i] for i in sorted(frames)], dim=1)

    def maker(self, frames: Collection[int]) -> str:
        """Name the stage that makes the first of some frames.

        Args:
            frames: their numbers, 1..7.
        """
        first = next(stage for stage in STAGES if made_by(stage) & set(frames))
        return f"the stage {first} of the cascade model"

    def fill(self, out: Tensor, y: Tensor, step: int | None, *, has_middle: bool = False) -> None:
        """Extract as `forward` does, with less memory: a stage at a time, the frames in `out`.

        Args:
            out: the frames go there, (7, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
            step: take less memory, see `FrameNet`.
            has_middle: the middle frame is in `out` already.
        """
        frames: dict[int, Tensor] = {}
        if has_middle:
            frames[MIDDLE] = out[MIDDLE - 1 : MIDDLE]
        for stage in STAGES[has_middle:]:
            for i, frame in self.predict(stage, y, _Near(frames, y.device), step=step).items():
                out[i - 1] = frame[0]
                frames[i] = out[i - 1].unsqueeze(0)
        if self.spec.contexts != "sequential":
            out.copy_(torch.cat([frame for _, frame in sorted(align_pairs(frames).items())]))

    def memory(self, height: int, width: int, feature_size: int, step: int | None) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes].

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
            step: as for `fill`.
        """
        size = (height, width, feature_size)
        return max(self.stage_memory(stage, *size, step) for stage in STAGES)

    def stage_memory(
        self, stage: str, height: int, width: int, feature_size: int, step: int | None
    ) -> int:
        """Predict the most that a stage takes besides its arguments [bytes], see `memory`."""
        waits = 0 if stage == "middle" else 4 * 3 * height * width  # of a pair, the first
        nets = (net for net in self.stages[stage].modules() if isinstance(net, FrameNet))
        return max(net.memory(height, width, feature_size, step) for net in nets) + waits


def made_by(stage: str) -> set[int]:
    """Numbers of the frames that a stage makes."""
    return {MIDDLE} if stage == "middle" else {int(number) for number in stage}


class _Near(Mapping[int, Tensor]):
    """Frames that are brought to a device when they are looked at."""

    def __init__(self, frames: Frames, device: torch.device) -> None:
        self.frames, self.device = frames, device

    def __getitem__(self, i: int) -> Tensor:
        return self.frames[i].to(self.device)

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)


def align_pairs(frames: Frames) -> dict[int, Tensor]:
    """Turn pairs around so that time runs smoothly from frame 1 to 7.

    Pairs that were found apart from each other do not agree on a direction of time, and "one
    needs to find a smooth temporal ordering [...] for each new input" (section 5.3). The paper
    does that by hand; here a frame goes to the side of the pair within that it resembles more,
    by squared distance over the whole image.

    Args:
        frames: all seven by number.

    Returns:
        The same, where of each image the pairs (2, 6) and (1, 7) may have changed places.
    """
    aligned = dict(frames)
    for i in (2, 1):
        first, last = aligned[i], aligned[FRAMES + 1 - i]
        before, after = aligned[i + 1], aligned[FRAMES - i]
        # |a - c|² + |b - d|² against |b - c|² + |a - d|²: all but the mixed terms are equal
        agreement = ((first - last) * (before - after)).sum(dim=(1, 2, 3), keepdim=True)
        aligned[i] = torch.where(agreement < 0, last, first)
        aligned[FRAMES + 1 - i] = torch.where(agreement < 0, first, last)
    return aligned
