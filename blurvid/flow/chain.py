"""Which way time runs in each of many sequences that follow one another.

A sequence made of one blurry frame of a video may run either way. Where its content is before and
after it, the neighbors tell: with the right order it leaves one sequence the way it came, and
comes to the next one the way it goes on. A joint of two sequences has four costs, one for each pair
of orders: how hard content must be accelerated on its way from the middle of the one to that of the
next, if it has these places and speeds at both. The orders of a whole shot are chosen so that the
sum over its joints is least (Viterbi 1967).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.pyramid import estimate
from blurvid.flow.sampling import inside, limited, pixel_grid, sample

ORDER_SIDE = 160
"""Ways are measured on frames of this long side [px]: enough to tell forth from back."""
HORIZON = 64
"""Most sequences that wait for a decision. They are decided as soon as every best chain agrees
on them, mostly at once; where nothing tells, the best one so far is taken after so many."""
EXPOSED = 6 / 7
"""Share of the time between two frames of a video that lies between the first and the last of a
frame's seven, with an open shutter. Orders hardly depend on it."""
RELATED = 0.9
"""Two middle frames belong to one shot where they correlate so well once the flow has brought one
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
    compensated = correlation(before.middle, sample(after.middle, at), known)
    if compensated < RELATED and (
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


class Chain:
    """Chooses the orders of sequences, as they come, at constant memory.

    Args:
        horizon: most sequences that wait for a decision.
    """

    def __init__(self, horizon: int = HORIZON) -> None:
        self.horizon = horizon
        self.costs = (0.0, 0.0)
        """Of the best chains that end with the last sequence as it is, and turned around."""
        self.paths: tuple[deque[bool], deque[bool]] | None = None
        """Their orders, from the first that is not decided."""

    def push(self, costs: Costs | None) -> list[bool]:
        """Take the next sequence.

        Args:
            costs: of its joint with the one before; None for the first one of a shot.

        Returns:
            Orders that are now decided, of the oldest sequences that were not: whether
            they are turned around.
        """
        if costs is None:
            decided = self.finish()
            self.costs = (0.0, 0.0)
            self.paths = deque([False]), deque([True])
            return decided
        if self.paths is None:
            raise ValueError("the first sequence has no joint with one before")
        best, sums, paths = self.paths, [], []
        for after in (0, 1):
            total = [self.costs[before] + costs[before][after] for before in (0, 1)]
            before = int(total[1] < total[0])
            sums.append(total[before])
            paths.append(deque([*best[before], bool(after)]))
        least = min(sums)
        self.costs = sums[0] - least, sums[1] - least
        self.paths = paths[0], paths[1]
        decided = []
        while len(paths[0]) > 1 and paths[0][0] == paths[1][0]:
            decided.append(paths[0].popleft())
            paths[1].popleft()
        while len(paths[0]) > self.horizon:
            winner = paths[int(self.costs[1] < self.costs[0])]
            decided.append(winner[0])
            keep = [path[0] == winner[0] for path in paths]
            for path in paths:
                path.popleft()
            # A chain that began otherwise is out.
            self.costs = (
                self.costs[0] if keep[0] else float("inf"),
                self.costs[1] if keep[1] else float("inf"),
            )
        return decided

    def finish(self) -> list[bool]:
        """End the shot.

        Returns:
            The orders of all that were not decided.
        """
        if self.paths is None:
            return []
        decided = list(self.paths[int(self.costs[1] < self.costs[0])])
        self.paths = None
        return decided


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
