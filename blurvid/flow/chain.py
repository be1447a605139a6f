"""Which way time runs in each of many sequences that follow one another.

A sequence made of one blurry frame of a video may run either way. Where its content is before and
after it, the neighbors tell: with the right order it leaves one sequence the way it came, and
comes to the next one the way it goes on. A joint of two sequences has four costs, one for each pair
of orders: how hard content must be accelerated on its way from the middle of the one to that of the
next, if it has these places and speeds at both. The orders of a whole shot are chosen so that the
sum over its joints is least (Viterbi 1967).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.pyramid import estimate
from blurvid.flow.sampling import inside, limited, pixel_grid, sample
from blurvid.flow.seam import flip

ORDER_SIDE = 160
"""Ways are measured on frames of this long side [px]: enough to tell forth from back."""
HORIZON = 64
"""Most sequences that wait for a decision. They are decided as soon as every best chain agrees
on them, mostly at once; where nothing tells, the best one so far is taken after so many."""
EXPOSED = 6 / 7
"""Share of the time between two frames of a video that lies between the first and the last of a
frame's seven, with an open shutter. Orders hardly depend on it."""
RELATED = 0.9
"""Two pictures belong to one shot where they correlate so well once the flow has brought one
in the place of the other..."""
ALIKE = 0.5
"""...or so well as they are. On 24 real clips the first held for all neighbors (0.93 and more) and
for no two frames of different clips (0.88 and less); neither did the second."""

PART_RADIUS = 8
"""Of the surroundings that are asked with each pixel [px of the small size]."""
AS_STILL = 0.1
"""Product of two motions [px² of the small size] that is as good as none."""
OPPOSED = 0.3
"""Share of its motion that has to speak against the order of a part, net."""
LEAST_PART = 0.005
"""Share of the image below which nothing is turned."""

Costs: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""Of a joint: [order before][order after], 0 as it is, 1 turned around."""


@dataclass(frozen=True, eq=False)
class Ways:
    """Where content goes in a sequence, seen from its middle frame, at a small size."""

    middle: Tensor
    """The middle frame, (1, 3, h, w)."""
    motion: Tensor
    """From the first frame to the last [px], (1, 2, h, w)."""


def ways(frames: Tensor) -> Ways:
    """Measure where content goes in a sequence.

    Args:
        frames: (T, 3, H, W), RGB, in [0, 1]; T is odd. Only the first, the middle and the last are
            looked at.

    Returns:
        The motion at `ORDER_SIDE`.
    """
    small = limited(frames[[0, len(frames) // 2, -1]], ORDER_SIDE)
    flows = estimate(small[[1, 1]], small[[0, 2]])
    return Ways(small[1:2], flows[1:] - flows[:1])


@dataclass(frozen=True, eq=False)
class Joint:
    """What two sequences that follow one another tell about their orders."""

    costs: Costs
    """How hard it is to go from one to the other, in each pair of orders [px² of the small
    size]."""
    forth: Tensor
    """Flow from the middle of the first to that of the second [px], (1, 2, h, w)."""
    back: Tensor
    """Flow from the middle of the second to that of the first, likewise."""


def joint(before: Ways, after: Ways) -> Joint | None:
    """Tell how well two sequences follow one another, in each pair of orders.

    Content is at one place in the middle of the one sequence, a way V further in the middle of the
    next, and has the speeds u and v there, which turn around with the orders. Of all ways between,
    the cubic is the one with the least integral of the squared acceleration,
    4 (u² + uv + v²) - 12 V (u + v) + 12 V², with the time between as unit. Its mean over the
    image is the cost. No threshold is in it; content that stands still has no say.

    Args:
        before: a sequence.
        after: the next one, of the same size.

    Returns:
        Costs and flows; None where there is a cut.
    """
    pair = torch.cat([before.middle, after.middle])
    flows = estimate(pair, pair.flip(0))
    between = flows[:1]
    height, width = between.shape[-2:]
    at = pixel_grid(height, width, between.device) + between
    known = inside(at, height, width)
    if continued(before.middle, after.middle, between) < RELATED and (
        correlation(before.middle, after.middle, torch.ones_like(known)) < ALIKE
    ):
        return None
    count = float(known.sum()) or 1.0
    leaving, coming = before.motion / EXPOSED, sample(after.motion, at) / EXPOSED

    def cost(u: Tensor, v: Tensor) -> float:
        energy = 4 * (u * u + u * v + v * v) - 12 * between * (u + v) + 12 * between * between
        return float((energy.sum(dim=1, keepdim=True) * known).sum() / count)

    costs = (
        (cost(leaving, coming), cost(leaving, -coming)),
        (cost(-leaving, coming), cost(-leaving, -coming)),
    )
    return Joint(costs, between, flows[1:])


def continued(before: Tensor, after: Tensor, between: Tensor) -> float:
    """Correlation of two pictures once the flow has brought one in the place of the other.

    Args:
        before: (1, C, H, W).
        after: the same.
        between: flow from the one to the other [px], (1, 2, H, W).
    """
    height, width = between.shape[-2:]
    at = pixel_grid(height, width, between.device) + between
    return correlation(before, sample(after, at), inside(at, height, width))


def correlation(a: Tensor, b: Tensor, known: Tensor) -> float:
    """Correlation of two images (1, C, H, W) where (1, 1, H, W) says so; 1 where both are flat."""
    x, y = a.mean(dim=1)[known[:, 0]], b.mean(dim=1)[known[:, 0]]
    if not len(x):
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    most = max(float(x.square().mean()), float(y.square().mean()))
    if most < (1 / 255) ** 2:
        return 1.0
    return float((x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-9))


Item = TypeVar("Item")


@dataclass
class Placed(Generic[Item]):
    """The sequence of one frame of a video, and how it runs."""

    item: Item
    """Whatever stands for it."""
    cut: bool
    """Whether a shot begins with it."""
    seen: Ways | None
    course: Tensor | None = None
    """Motion of the video from frame to frame [px of the small size], (1, 2, h, w), the sum over
    both sides where there are two."""
    turned: bool = False
    """Whether it runs against the model's own order."""

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


class Chain(Generic[Item]):
    """Chooses the orders of sequences, as they come, at constant memory.

    Args:
        horizon: most sequences that wait for a decision.
    """

    def __init__(self, horizon: int = HORIZON) -> None:
        self.horizon = horizon
        self.waiting: deque[Placed[Item]] = deque()
        self.costs: Costs | None = None
        """Of the last joint; None at a cut, and at the beginning."""
        self.totals = [0.0, 0.0]
        """Of the best chains that end with the last sequence as it is, and turned around."""
        self.orders: list[list[bool]] = [[], []]
        """The orders of these for all that are waiting."""

    def push(self, item: Item, seen: Ways) -> list[Placed[Item]]:
        """Take the next sequence.

        Args:
            item: stands for it.
            seen: where it leads.

        Returns:
            Those that are decided on now, in order.
        """
        before = self.waiting[-1] if self.waiting else None
        met = None if before is None or before.seen is None else joint(before.seen, seen)
        after = Placed(item, met is None, seen)
        if met is None or before is None:
            return self._push(after, None)
        before.course = met.forth if before.course is None else before.course + met.forth
        after.course = -met.back
        return self._push(after, met.costs)

    def repeat(self, item: Item, costs: Costs | None, seen: Ways | None) -> list[Placed[Item]]:
        """Take the next sequence, whose joint with the one before is known from an earlier run.

        Args:
            item: stands for it.
            costs: of the joint; None where there was a cut.
            seen: where it leads, if the next joint is not known.

        Returns:
            As `push`.
        """
        return self._push(Placed(item, costs is None, seen), costs)

    def finish(self) -> list[Placed[Item]]:
        """End the shot; all that are left."""
        best = self.orders[int(self.totals[1] < self.totals[0])]
        self.orders = [[], []]
        return [self._leave(turned) for turned in best]

    def _push(self, placed: Placed[Item], costs: Costs | None) -> list[Placed[Item]]:
        decided = [] if costs else self.finish()
        self.costs = costs
        self.waiting.append(placed)
        if costs is None:
            self.totals, self.orders = [0.0, 0.0], [[False], [True]]
            return decided
        totals, orders = [], []
        for after in (False, True):
            sums = [self.totals[before] + costs[before][after] for before in (0, 1)]
            before = int(sums[1] < sums[0])
            totals.append(sums[before])
            orders.append([*self.orders[before], after])
        while len(orders[0]) > 1 and (
            orders[0][0] == orders[1][0] or len(orders[0]) > self.horizon
        ):
            first = orders[int(totals[1] < totals[0])][0]
            for i in (0, 1):
                if orders[i].pop(0) != first:
                    totals[i] = math.inf  # a chain that began otherwise is out
            decided.append(self._leave(first))
        self.totals, self.orders = [total - min(totals) for total in totals], orders
        return decided

    def _leave(self, turned: bool) -> Placed[Item]:
        placed = self.waiting.popleft()
        placed.turned = turned
        return placed


def against(motion: Tensor, course: Tensor) -> Tensor | None:
    """Find where a sequence moves against the course of the video.

    Args:
        motion: from the first frame of the sequence to the last [px], (1, 2, h, w).
        course: of the video around it, from frame to frame, on the same pixels.

    Returns:
        (h, w), bool; None where that is hardly anything.
    """
    along = _mean((motion * course).sum(dim=1, keepdim=True))
    most = _mean(motion.norm(dim=1, keepdim=True) * course.norm(dim=1, keepdim=True))
    region = (along < -OPPOSED * (most + AS_STILL))[0, 0]
    return region if float(region.float().mean()) > LEAST_PART else None


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2 * PART_RADIUS + 1, 1, PART_RADIUS, count_include_pad=False)
