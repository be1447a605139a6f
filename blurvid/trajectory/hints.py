"""What is known of the motion before a photo is asked: by the user, or from a video around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.sampling import enlarged
from blurvid.trajectory.choose import oriented
from blurvid.trajectory.paths import Motion

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

    def over(self, other: Proposal) -> Proposal:
        """This motion where it is told, another of the same picture elsewhere."""
        below = other.resized((self.error.shape[-2], self.error.shape[-1]))
        told = self.error < UNKNOWN
        a = torch.where(told, self.motion.a, below.motion.a)
        b = torch.where(told, self.motion.b, below.motion.b)
        return Proposal(Motion(a, b), torch.where(told, self.error, below.error))

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

    def joined(self, told: Proposal) -> Proposal:
        """What a network tells together with what is known, in the order of time of the latter.

        It is their mean by inverse squared errors, in which a network that sees no motion has
        next to no say: rest explains a photo best that nobody has sharpened.

        Args:
            told: by a network.
        """
        if self.motion is None:
            return told
        known = self.motion.resized((told.error.shape[-2], told.error.shape[-1]))
        known = Proposal(known.motion.each(lambda x: x.to(told.error)), known.error.to(told.error))
        # All of it is turned first: what nothing is known of keeps its order beside the rest.
        against = float((told.motion.a * known.motion.a).sum()) < 0
        a = oriented(-told.motion.a if against else told.motion.a, known.motion.a)
        sure = (a.norm(dim=1, keepdim=True) / told.error - UNSURE).clamp(UNHEARD, 1)
        precise = sure * told.error.pow(-2), known.error.pow(-2)
        share = precise[1] / (precise[0] + precise[1])
        both = Motion(a.lerp(known.motion.a, share), told.motion.b.lerp(known.motion.b, share))
        error = torch.where(share < UNHEARD, told.error, (precise[0] + precise[1]).rsqrt())
        return Proposal(both, error)

    def calm(self, motion: Motion) -> Motion:
        """The motion without that of what stays at rest."""
        if self.still is None:
            return motion
        scale = min(1.0, math.sqrt(MARKED / math.prod(motion.size)))
        size = max(1, round(motion.size[0] * scale)), max(1, round(motion.size[1] * scale))
        fine = replace(motion, whole=None).resized(size)
        still = F.interpolate(self.still, size, mode="bilinear", antialias=True)
        moves = 1 - still.to(fine.a)
        return replace(fine.each(lambda field: field * moves), whole=motion.size)


NOTHING = Hints()
"""What is known where nothing is told."""
