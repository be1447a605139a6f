"""The motion of a picture during the exposure, and what a camera sees of it.

At time t, from -1 to 1, the scene is L(x + a(x) t + b(x) t²), L the middle frame: backward
displacements, fixed at the pixel. Every path passes through its pixel at t = 0, so that L stays
the middle frame whatever a and b are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blurvid import exposure
from blurvid.config import FRAMES
from blurvid.exposure import SPAN, Sampling
from blurvid.flow.sampling import enlarged, rescale

GAP = 3.0
"""Longest way between two instants of an exposure [px]: longer ones leave ghosts of edges."""
LONG = 0.98
"""Share of the places whose ways are no longer than that."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Paths of all pixels, quadratic in time. Fields [px], (B, 2, H, W), x right, y down.

    Motion is smooth: that of a large picture is kept small, in pixels of a smaller one.
    """

    a: Tensor
    """Half the way from the first frame to the last."""
    b: Tensor
    """How far both ends bend to the same side."""
    whole: tuple[int, int] | None = None
    """Height and width of the picture [px], where it is larger than the fields."""

    @classmethod
    def straight(cls, a: Tensor) -> Motion:
        """Motion along straight lines at even speed."""
        return cls(a, torch.zeros_like(a))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.whole or (self.a.shape[-2], self.a.shape[-1])

    @property
    def reach(self) -> float:
        """Half the way [px of the picture] that is longer in hardly any place."""
        length = self.a.norm(dim=1).flatten()
        step = max(1, len(length) // 2**18)
        return float(length[::step].quantile(LONG)) * self.size[1] / self.a.shape[-1]

    def farthest(self, side: int, t: float = SPAN) -> float:
        """No way along a side, 0 across and 1 down, is longer until a time [px of the picture]."""
        most = self.a[:, side].abs().max() * t + self.b[:, side].abs().max() * t**2
        return float(most) * self.size[1 - side] / self.a.shape[3 - side]

    @property
    def looks(self) -> int:
        """Instants that make an exposure without gaps, an odd multiple of seven."""
        return FRAMES * (2 * round(SPAN * self.reach / (GAP * FRAMES)) + 1)

    def displacement(self, t: float) -> Tensor:
        """Where to look in the middle frame for what is seen at time t [px], (B, 2, H, W)."""
        return self.a * t + self.b * t**2

    def resized(self, size: tuple[int, int]) -> Motion:
        """The same motion of the picture at another size, lengths with it."""
        return self.each(lambda field: rescale(field, size))

    def part(self, place: tuple[slice, slice]) -> Motion:
        """The motion of some rows and columns of the picture, with fields of their size."""
        height, width = self.a.shape[-2:]
        if self.size == (height, width):
            return self.each(lambda field: field[..., *place])
        ratio = self.a.new_tensor([self.size[1] / width, self.size[0] / height]).view(1, 2, 1, 1)
        return self.each(lambda field: enlarged(field, self.size, place) * ratio)

    def each(self, change: Callable[[Tensor], Tensor]) -> Motion:
        """Motion of changed fields, all of their picture."""
        return Motion(change(self.a), change(self.b))


def reblur(
    picture: Tensor, motion: Motion, mode: Sampling = "bicubic", looks: int | None = None
) -> Tensor:
    """The photo that a camera would take of a moving picture.

    Args:
        picture: the middle frame, (B, 3, H, W), RGB in [0, 1].
        motion: of the same size.
        mode: how to look between pixels.
        looks: instants that are averaged; as many as the motion needs by default.

    Returns:
        (B, 3, H, W), in [0, 1].
    """
    return exposure.reblur(picture, motion.a, motion.b, looks or motion.looks, mode)
