"""How a video moves around each of its pictures, and how much of that is in the picture's blur.

What passes between two pictures is seen in both, however blurred they are, by optical flow. The
blur of one has the share of it that the shutter was open; this is one number for the camera, and is
learned from where the networks see motion in single pictures for sure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.chain import continued
from blurvid.flow.pyramid import estimate
from blurvid.flow.sampling import limited
from blurvid.trajectory.hints import Proposal
from blurvid.trajectory.paths import Motion

SIDE = 320
"""Longer side [px] at which a video is looked at."""
CONTINUED = 0.95
"""Correlation of two pictures, one brought in the place of the other, above which no cut is between
them: 0.98 and more between blurred pictures of a clip, 0.92 and less between those of two."""
SOONEST = 0.5
"""Time between two pictures, in usual ones, at least: no camera is much faster than it usually is,
but clocks err, and what is divided by next to nothing is endless."""
FLOOR = 0.15
"""Error of half the way that is expected anyway [px of that size]..."""
LOOSE = 0.07
"""...of its length..."""
UNEVEN = 0.5
"""...and of what the ways before and after a picture differ by..."""
ALONE = (1.0, 0.5)
"""...which is so many px, and a share of the way, where one of them alone is known."""
SURE = 1.0
"""Lengths are compared where a network's is so many expected errors long, at least..."""
SEEN = 0.7
"""...both halves of the way are longer than this [px of that size]..."""
ALIGNED = 0.9
"""...this is the cosine between them, or more..."""
WILD = 1.5
"""...and the network's is not so many times as long."""
ENOUGH = 0.005
"""Share of all places below which nothing is told; in sharp videos there are none."""
REMEMBERED = 32
"""Pictures of which the share of time is the median."""
LEAST = 0.02
"""Shares below this leave no blur."""


@dataclass(frozen=True, eq=False)
class Course:
    """Where things are going in one picture of a video."""

    picture: Tensor
    """At the small size, (1, 3, h, w), RGB in [0, 1]."""
    velocity: Tensor
    """Way from picture to picture [px], (1, 2, h, w)."""
    uneven: Tensor
    """By how much the ways before and after differ [px], (1, 1, h, w)."""

    def during(self, share: float) -> Proposal:
        """The motion during an exposure that takes a share of the time from picture to picture."""
        a = self.velocity * (-share / 2)  # content moves by -2 a
        doubt = UNEVEN * share / 2 * self.uneven
        return Proposal(Motion.straight(a), FLOOR + LOOSE * a.norm(dim=1, keepdim=True) + doubt)


class Courses:
    """Goes through a video, picture by picture."""

    def __init__(self) -> None:
        self._way: Tensor | None = None
        """Per picture, from the present one to the one before."""
        self._now: Tensor | None = None

    @torch.no_grad()
    def push(self, now: Tensor, after: Tensor | None, apart: float = 1.0) -> Course | None:
        """Look at the next picture.

        Args:
            now: that picture, (3, H, W), RGB in [0, 1].
            after: the one that follows; None for the last.
            apart: time between them, in usual ones.

        Returns:
            Where things go in it; None where it stands alone between two cuts.
        """
        here = limited(now[None], SIDE) if self._now is None else self._now
        back, self._way, self._now = self._way, None, None
        forth: Tensor | None = None
        if after is not None:
            self._now = limited(after[None], SIDE)
            pair = torch.cat([here, self._now])
            flows = estimate(pair, pair.flip(0))
            if continued(here, self._now, flows[:1]) > CONTINUED:
                flows = flows / max(apart, SOONEST)
                forth, self._way = flows[:1], flows[1:]
        ways = [way for way in (forth, None if back is None else -back) if way is not None]
        if not ways:
            return None
        velocity = (ways[0] + ways[-1]) / 2
        uneven = (ways[0] - ways[-1]).norm(dim=1, keepdim=True)
        if len(ways) < 2:
            uneven = ALONE[0] + ALONE[1] * velocity.norm(dim=1, keepdim=True)
        return Course(here, velocity, uneven)


Sighting = tuple[float, float]
"""How long a network's motion is, as a share of the way from picture to picture, and in which share
of the places that could be told."""


@torch.no_grad()
def sighted(course: Course, see: Callable[[Tensor], Proposal]) -> Sighting:
    """Compare what a network sees in the blur of one picture with the way to the next.

    Args:
        course: of the picture.
        see: from a picture at the small size to the motion that blurred it.
    """
    told = see(course.picture)
    a, half = told.motion.a, course.velocity / -2
    length, way = a.norm(dim=1), half.norm(dim=1)
    cosine = F.cosine_similarity(a, half, dim=1).abs()
    there = (length > SURE * told.error[:, 0]) & (length > SEEN) & (way > SEEN)
    there &= (cosine > ALIGNED) & (length < WILD * way)
    if not there.any():
        return 0.0, 0.0
    return float((length / way)[there].median()), float(there.float().mean())


class Shutter:
    """Learns which share of the time from picture to picture is exposed."""

    def __init__(self) -> None:
        self._seen: deque[Sighting] = deque(maxlen=REMEMBERED)

    def learn(self, sightings: Iterable[Sighting]) -> None:
        """Take what was seen in further pictures."""
        self._seen.extend(sightings)

    @property
    def share(self) -> float | None:
        """The share, at most 1; None where nothing tells it, or hardly anything is blurred."""
        total = sum(weight for _, weight in self._seen)
        if total < ENOUGH * len(self._seen) or not total:
            return None
        passed, share = 0.0, 0.0
        for length, weight in sorted(self._seen):
            if passed < total / 2:
                share = length
            passed += weight
        return min(share, 1.0) if share >= LEAST else None
