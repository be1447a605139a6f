"""The sevens of a video's frames in one order of time, as they come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor

from blurvid.flow import Chain, Costs, Ways, against, joint
from blurvid.flow.seam import flip

Item = TypeVar("Item")


@dataclass
class Placed(Generic[Item]):
    """The seven of one frame, and how they run."""

    item: Item
    """Whatever stands for them."""
    cut: bool
    """Whether a shot begins with them."""
    seen: Ways | None
    course: Tensor | None = None
    """Motion of the video from frame to frame [px of the small size], (1, 2, h, w), the sum over
    both sides where there are two."""
    turned: bool = False
    """Whether they run against the model's own order."""

    def arranged(self, frames: Tensor) -> Tensor:
        """Frames in the order of time, parts that move against it turned on their own.

        Args:
            frames: (7, 3, H, W), RGB, in [0, 1], in the model's own order.

        Returns:
            The frames; memory of its own.
        """
        frames = frames.flip(0) if self.turned else frames.clone()
        if self.seen is None or self.course is None:
            return frames
        motion = -self.seen.motion if self.turned else self.seen.motion
        region = against(motion, self.course)
        if region is not None:
            size = frames.shape[-2:]
            full = F.interpolate(region[None, None].float(), size=size, mode="bilinear")
            flip(frames, full[0, 0] > 0.5)
        return frames


class Weaver(Generic[Item]):
    """Decides on the orders of sevens as soon as that can be done."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.waiting: deque[Placed[Item]] = deque()
        self.costs: Costs | None = None
        """Of the last joint; None at a cut, and at the beginning."""

    def push(self, item: Item, seen: Ways) -> list[Placed[Item]]:
        """Take the next seven.

        Args:
            item: stands for them.
            seen: where they lead.

        Returns:
            Those that are decided on now, in order.
        """
        before = self.waiting[-1] if self.waiting else None
        met = None if before is None or before.seen is None else joint(before.seen, seen)
        after = Placed(item, met is None, seen)
        if met is not None and before is not None:
            before.course = met.forth if before.course is None else before.course + met.forth
            after.course = -met.back
        return self._push(after, met.costs if met is not None else None)

    def repeat(self, item: Item, costs: Costs | None, seen: Ways | None) -> list[Placed[Item]]:
        """Take the next seven, whose joint with those before is known from an earlier run.

        Args:
            item: stands for them.
            costs: of the joint; None where there was a cut.
            seen: where they lead, if the next ones are not known.

        Returns:
            As `push`.
        """
        return self._push(Placed(item, costs is None, seen), costs)

    def finish(self) -> list[Placed[Item]]:
        """End the video; all that are left."""
        return self._leave(self.chain.finish())

    def _push(self, placed: Placed[Item], costs: Costs | None) -> list[Placed[Item]]:
        self.costs = costs
        decided = self._leave(self.chain.push(costs))
        self.waiting.append(placed)
        return decided

    def _leave(self, decided: list[bool]) -> list[Placed[Item]]:
        left = []
        for turned in decided:
            placed = self.waiting.popleft()
            placed.turned = turned
            left.append(placed)
        return left
