"""What is known of the motion before a photo is asked: by the user, or from a video around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.exposure import to_light
from blurvid.flow.sampling import enlarged
from blurvid.trajectory.choose import oriented, reblurred, sharpened
from blurvid.trajectory.paths import Motion
from blurvid.trajectory.sampling import blur

MARKED = 2**20
"""Pixels of the size at which motion ends where the user says that things rest: edges show."""
GRID = 256
"""Width at most of the fields of motion that a user tells [px]."""
VAGUE = 1.0
"""Error of a motion that the user tells [px of the photo]..."""
LOOSE = 0.15
"""...and a share of its length..."""
UNKNOWN = 1e4
"""...and where nothing is told of it [px]."""
UNSURE = 0.5
"""Length of a network's motion, in its expected errors, up to which it is as good as none."""
UNHEARD = 1e-3
"""What it weighs all the same, so that it is heard where nothing else is known."""
CLEAR = 0.6
"""Share of the blur that a middle frame must have lost for its re-blur to tell motions apart..."""
BETTER = 0.35
"""...and share of the squared error of a known motion that another may have left."""
WIDELY = 6.0
"""Width of the Gaussian over which that is found [px]."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """Motion as something sees it, such as a network."""

    motion: Motion
    error: Tensor
    """Error of `a` to be expected [px], (1, 1, H, W)."""

    @classmethod
    def told(
        cls,
        shifts: Sequence[tuple[tuple[float, float], Tensor | None]],
        height: int,
        width: int,
    ) -> Proposal:
        """Motion of a photo of H x W as a user tells it.

        Args:
            shifts: each an `a` [px], and where that is: (H, W), bool, or everywhere. Later ones
                lie before earlier ones.
            height: H.
            width: W.
        """
        scale = min(1.0, GRID / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        ratio = torch.tensor([size[1] / width, size[0] / height])
        a, error = torch.zeros(1, 2, *size), torch.full((1, 1, *size), UNKNOWN)
        for shift, mask in shifts:
            there = torch.ones_like(error)
            if mask is not None:
                there = F.interpolate(mask[None, None].float(), size, mode="area")
            a = torch.where(there > 0.5, (torch.tensor(shift) * ratio).view(1, 2, 1, 1), a)
            expected = (VAGUE + LOOSE * math.hypot(*shift)) * scale
            error = error.masked_fill(there > 0.5, expected)
        return cls(Motion.straight(a), error)

    def resized(self, size: tuple[int, int]) -> Proposal:
        """The same of the picture at another size."""
        scale = size[1] / self.error.shape[-1]
        error = F.interpolate(self.error, size, mode="bilinear", align_corners=False) * scale
        return Proposal(self.motion.resized(size), error)

    def part(self, place: tuple[slice, slice], height: int, width: int) -> Proposal:
        """That of some rows and columns of a photo of H x W."""
        size = (height, width)
        error = enlarged(self.error, size, place) * (width / self.error.shape[-1])
        return Proposal(replace(self.motion, whole=size).part(place), error)


@dataclass(frozen=True, eq=False)
class Hints:
    """What is known of the motion."""

    motion: Proposal | None = None
    """Of the photo at any size, in the pixels of that; the order of time is this one's."""
    still: Tensor | None = None
    """1 where nothing moves, else 0, (1, 1, H, W)."""

    def joined(self, told: Proposal) -> tuple[Proposal, Proposal | None]:
        """What a network tells, in the order of time that is known, and both weighed together.

        Args:
            told: by a network.

        Returns:
            The first alone, and their mean by inverse squared errors, in which a network that sees
            no motion has no say; None where nothing is known.
        """
        if self.motion is None:
            return told, None
        known = self.motion.resized((told.error.shape[-2], told.error.shape[-1]))
        known = Proposal(known.motion.each(lambda x: x.to(told.error)), known.error.to(told.error))
        own = Motion(oriented(told.motion.a, known.motion.a), told.motion.b)
        sure = (own.a.norm(dim=1, keepdim=True) / told.error - UNSURE).clamp(0, 1)
        precise = sure.clamp(min=UNHEARD) * told.error.pow(-2), known.error.pow(-2)
        share = precise[1] / (precise[0] + precise[1])
        both = Motion(own.a.lerp(known.motion.a, share), own.b.lerp(known.motion.b, share))
        error = torch.where(share < UNHEARD, told.error, (precise[0] + precise[1]).rsqrt())
        return Proposal(own, told.error), Proposal(both, error)

    def calm(self, motion: Motion) -> Motion:
        """The motion without that of what stays at rest."""
        if self.still is None:
            return motion
        scale = min(1.0, math.sqrt(MARKED / math.prod(motion.size)))
        size = round(motion.size[0] * scale), round(motion.size[1] * scale)
        fine = replace(motion, whole=None).resized(size)
        still = F.interpolate(self.still, size, mode="bilinear", antialias=True)
        moves = 1 - still.to(fine.a)
        return replace(fine.each(lambda field: field * moves), whole=motion.size)


@torch.no_grad()
def clearer(middle: Tensor, y: Tensor, own: Motion, known: Motion) -> Motion:
    """Take a network's motion instead of a known one where the photo tells that it is better.

    That is where the middle frame has lost the blur; where it has not, re-blur favors whatever
    moves less.

    Args:
        middle: what a network makes of the photo, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        own: as the network sees it.
        known: from elsewhere, of the same size and order of time.
    """
    lost = torch.minimum(sharpened(middle, y, own), sharpened(middle, y, known))
    light = to_light(middle)
    errors = [blur(reblurred(light, y, motion), WIDELY) for motion in (own, known)]
    share = blur(((blur(lost, WIDELY) > CLEAR) & (errors[0] < BETTER * errors[1])).to(y), 2.0)
    return Motion(known.a.lerp(own.a, share), known.b.lerp(own.b, share))
