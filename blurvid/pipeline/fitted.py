"""The picture and the motion that a photo was made of, from which frames of any time come."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import media
from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.exposure import sample
from blurvid.flow import Field
from blurvid.flow.pyramid import FLOW_SIDE
from blurvid.flow.sampling import within
from blurvid.flow.seam import flip
from blurvid.models import MotionModel
from blurvid.recipe import Way
from blurvid.trajectory import Fit, Hints, Motion, Proposal, Restored, resting

STILL = 0.5
"""Half the way [px] that is longer in hardly any place, below which nothing moves."""
DOWN = 0.4
"""What a way down counts, of a way to the right."""
ROUNDS = 6
"""Of the fixed point iteration that turns paths around."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What a photo was made of; its tensors are on the CPU."""

    model: MotionModel
    fit: Fit
    turned: bool = False
    """Whether time runs against the order of the fit."""
    masks: tuple[Tensor, ...] = ()
    """Regions in which time is turned around after that, (H, W), bool."""

    @classmethod
    def of(cls, model: MotionModel, fit: Fit, ordered: bool = False) -> Fitted:
        """Keep what `model` found in a photo.

        Args:
            model: that did.
            fit: what it found.
            ordered: whether the order of time is known; otherwise time runs so that most of what
                moves goes to the right, or down.
        """
        kept = _moved(fit, torch.device("cpu"))
        a = kept.motion.a
        # Content moves by -2 a.
        right = -float(((a[:, 0] + DOWN * a[:, 1]) * a.norm(dim=1)).sum())
        return cls(model, kept, turned=right < 0 and not ordered)

    @property
    def still(self) -> bool:
        """Whether nothing moves, so that the photo is what there is to be seen."""
        return self.fit.motion.reach < STILL

    def arranged(self, turned: bool, masks: Sequence[Tensor]) -> Fitted:
        """The same with time turned around, in all of it and then in regions."""
        return dataclasses.replace(self, turned=self.turned != turned, masks=(*self.masks, *masks))

    @torch.no_grad()
    def render(self, times: Sequence[float], out: Tensor) -> Tensor:
        """Make the frames of some times.

        Args:
            times: from -1, the first frame, to 1, the last, as many before 0 as after; what is
                beyond is extrapolated.
            out: the frames go there, (T, 3, H, W) float32, on any device.

        Returns:
            `out`.
        """
        if self.still:
            for i in range(len(times)):
                out[i] = self.fit.restored.picture[0]
            return out
        device = next(self.model.motion.parameters()).device
        order = [-t for t in times] if self.turned else times
        self.model.render(_moved(self.fit, device), order, out)
        for mask in self.masks:
            flip(out, mask)
        return out

    @torch.no_grad()
    def field(self, reverse: bool = False) -> Field:
        """Where every pixel of the first frame is in the last, or the other way round.

        Args:
            reverse: from the last frame to the first.
        """
        height, width = self.fit.motion.size
        size = within(FLOW_SIDE, height, width)
        motion, moves = self.fit.motion.resized(size), 1 - resting(self.fit.motion)
        # What is nearly at rest is shown as the photo has it
        moves = F.interpolate(moves, size, mode="area")
        motion = motion.each(lambda field: field * moves)
        ways = [_between(motion, -1.0, 1.0), _between(motion, 1.0, -1.0)]
        if reverse != self.turned:
            ways.reverse()
        for mask in self.masks:
            inside = F.interpolate(mask[None, None].float(), size, mode="nearest") > 0.5
            ways = [torch.where(inside, ways[1 - i], ways[i]) for i in (0, 1)]
        scale = motion.a.new_tensor([width / size[1], height / size[0]])
        return Field(ways[0][0] * scale.view(2, 1, 1), (height, width))


def hints_of(
    ways: Sequence[Way], still: Sequence[media.Region], height: int, width: int
) -> tuple[Hints, tuple[str, ...]]:
    """What the user knows of the motion, for a photo of H x W, and what the user should know.

    Args:
        ways: of the picture as a whole, and of rectangles and masks.
        still: what stays at rest, the same.
        height: H.
        width: W.

    Raises:
        OptionError: a point.
        InputError: a region outside of the photo, or a way that leads out of it from everywhere.
    """
    notes: dict[str, None] = {}

    def mask_of(region: media.Region) -> Tensor:
        if region.mask is None and len(region.edges) < 4:
            raise OptionError(f"a hint is of a rectangle or a mask, not of {region.name}")
        found, told = region.of(height, width)
        notes.update(dict.fromkeys(told))
        return found

    rest: Tensor | None = None
    for region in still:
        found = mask_of(region)
        rest = found if rest is None else rest | found
    for way in ways:
        if not (abs(way.x) < width and abs(way.y) < height):
            raise InputError(f"nothing moves by {way.x:g},{way.y:g} px in {width}x{height} px")
    # From the first frame to the last, everything moves by -2 a.
    shifts = [
        ((-way.x / 2, -way.y / 2), None if way.region is None else mask_of(way.region))
        for way in ways
    ]
    known = Proposal.told(shifts, height, width) if shifts else None
    return Hints(known, None if rest is None else rest[None, None].float()), tuple(notes)


def times_of(count: int = FRAMES, beyond: int = 0) -> list[float]:
    """Times of `count` frames over the exposure, and of `beyond` more at each end.

    Those beyond keep the spacing of the frames within; a single frame is the middle one.
    """
    if count == 1:
        return [0.0]
    step = 2 / (count - 1)
    return [i * step - 1 for i in range(-beyond, count + beyond)]


def _between(motion: Motion, start: float, end: float) -> Tensor:
    """Where the pixels of the frame at one time are at another, (1, 2, H, W) [px].

    Both frames look into the middle one: x of the first sees x + d(x), and the place z of the
    second that sees the same is where z + e(z) = x + d(x).
    """
    here, there = motion.displacement(start), motion.displacement(end)
    way = here - there
    for _ in range(ROUNDS):
        way = here - sample(there, way)
    return way


def _moved(fit: Fit, device: torch.device) -> Fit:
    a, b = fit.motion.a.to(device), fit.motion.b.to(device)
    restored = Restored(fit.restored.picture.to(device), fit.restored.features.to(device))
    return Fit(restored, Motion(a, b, fit.motion.whole), fit.levels)
