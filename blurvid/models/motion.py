"""The motion model, ours: a middle frame, the motion fitted to the photo, frames from both.

The order of work is the paper's, the middle frame first and the others from it and the photo (Jin
et al. 2018, section 5); what is new is that the others are rendered along an explicit motion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, MotionModelSpec
from blurvid.exposure import SPAN
from blurvid.models.ensemble import SelfEnsemble
from blurvid.networks.motion import MotionNet
from blurvid.networks.restore import RestoreNet
from blurvid.runtime import autocast, memory_kept
from blurvid.trajectory import (
    TIMES,
    Fit,
    Hints,
    Motion,
    Progress,
    Proposal,
    Restored,
    crisp,
    fit,
    reblur,
    resting,
    steepness,
)
from blurvid.trajectory.hints import NOTHING
from blurvid.trajectory.pyramid import WORK, silent

if TYPE_CHECKING:
    from blurvid.models import SequenceModel

WHOLE_PIXELS = 1 << 20
"""Pixels of a picture that is restored and rendered as a whole at most..."""
TILE_SIDE = 736
"""...and side of the tiles in which a larger one is [px], about."""
MARGIN = 64
"""Pixels beyond the reach of the motion that a tile is seen with, and that are thrown away."""
EVEN = 0.97
"""Share of the picture's sharpness that every frame has at least, so that a clip does not pulse."""
HELD_BYTES = 54
"""Of memory for each pixel of the photo: four images, features, and less of the next smaller..."""
TILE_BYTES = {4: 1300, 2: 1000}
"""...of each that is restored at a time, by bytes of a feature..."""
SOUGHT_BYTES = 1250
"""...of each that motion is worked on, where it is long..."""
FIXED_BYTES = 250 << 20
"""...and for what does not depend on the size."""
Place = tuple[slice, slice]
"""Rows and columns."""
SURE = 4.0
"""Largest logarithm of an expected error that is believed, and of its inverse."""


class MotionModel(nn.Module):
    """Photo to a picture that moved, its motion, and frames of any time.

    Args:
        middle: gives the middle frame.
        motion: finds the motion.
        restore: solves for the picture, and renders.
        dtype: of the networks' features; images and geometry stay in float32.
    """

    name = "motion"
    count = FRAMES
    size_multiple = 1

    def __init__(
        self,
        middle: SequenceModel,
        motion: MotionNet,
        restore: RestoreNet,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.middle = middle
        self.motion = motion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.restoration = restore.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype = dtype
        self.passes = 1
        """Answers of `middle` that are averaged, see `SelfEnsemble`."""

    @property
    def spec(self) -> MotionModelSpec:
        """Shapes of the networks."""
        return MotionModelSpec(self.motion.spec, self.restoration.spec)

    @torch.no_grad()
    def fit(self, y: Tensor, progress: Progress = silent, hints: Hints = NOTHING) -> Fit:
        """Find the picture and the motion that a photo was made of.

        Args:
            y: photo, (1, 3, H, W), RGB in [0, 1].
            progress: told what begins, and the share of the whole that is done.
            hints: what is known of the motion.

        Returns:
            What `render` renders.

        Raises:
            OverflowError: a network gives values that are not finite.
        """
        return fit(y, self, progress, hints)

    @torch.no_grad()
    def render(self, found: Fit, times: Sequence[float], out: Tensor) -> None:
        """Render the frames of some times.

        Args:
            found: what `fit` found.
            times: from -1, the first frame, to 1, the last; beyond is extrapolated.
            out: the frames go there, (T, 3, H, W) float32, on any device, in [0, 1].
        """
        picture = found.restored.picture
        rest = resting(found.motion)
        goal = EVEN * steepness(picture)
        frame = torch.empty_like(picture)
        for i, t in enumerate(times):
            with autocast(picture.device, self.dtype), memory_kept():
                for seen, kept, target in self._tiles(found.motion, abs(t)):
                    paths = _fields(found.motion.part(seen))
                    part = self.restoration.frame(
                        _padded(picture[..., *seen], self.restoration.size_multiple),
                        found.restored.features[..., *self._cells(seen)],
                        _padded(paths, self.restoration.size_multiple),
                        t,
                    )
                    frame[..., *target] = part[..., *kept]
            out[i] = crisp(frame.lerp_(picture, rest).clamp_(0, 1), goal)[0]

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Extract the frames of one image, see `SequenceModel`."""
        self._fill(out, y, TIMES)

    def middle_frame(self, y: Tensor) -> Tensor:
        """Extract the middle frame alone, (B, 3, H, W) -> (B, 3, H, W)."""
        out = torch.empty_like(y)
        for frame, image in zip(out, y, strict=True):
            self._fill(frame.unsqueeze(0), image.unsqueeze(0), (0.0,))
        return out

    def _fill(self, out: Tensor, y: Tensor, times: Sequence[float]) -> None:
        # Geometry stays in float32, whatever the caller's networks do.
        with torch.autocast(y.device.type, enabled=False):
            self.render(self.fit(y), times, out)

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes], as measured.

        Args:
            height: H.
            width: W.
            feature_size: bytes of one value of the features.
        """
        pixels = height * width
        seen = pixels if pixels <= WHOLE_PIXELS else (TILE_SIDE + 4 * MARGIN) ** 2
        sharpened = self.middle.memory(height, width, feature_size)
        sought = min(pixels, WORK) * SOUGHT_BYTES
        most = max(seen * TILE_BYTES[feature_size], sharpened, sought)
        return FIXED_BYTES + HELD_BYTES * pixels + most

    middle_memory = memory

    def sharpen(self, y: Tensor) -> Tensor:
        """Find the middle frame, (1, 3, H, W) in [0, 1] -> the same."""
        height, width = y.shape[-2:]
        whole = _padded(y, self.middle.size_multiple)
        out = torch.empty_like(whole)
        with autocast(y.device, self.dtype):
            SelfEnsemble(self.middle, self.passes).fill(out, whole)
        return _finite(out)[..., :height, :width].clamp(0, 1)

    def propose(self, middle: Tensor, y: Tensor) -> Proposal:
        """Find the motion that made the blurry image of its middle frame."""
        height, width = y.shape[-2:]
        multiple = self.motion.size_multiple
        whole = _padded(middle, multiple), _padded(y, multiple)
        with autocast(y.device, self.dtype):
            told = _finite(self.motion(*whole))
        size = whole[0].shape[-2:]
        told = F.interpolate(told, size, mode="bilinear", align_corners=False)
        told = told[..., :height, :width]
        a, b = told[:, :2].contiguous(), told[:, 2:4].contiguous()
        expected = told[:, 4:].clamp(-SURE, SURE).exp() * (1 + 0.1 * a.norm(dim=1, keepdim=True))
        return Proposal(Motion(a, b), expected)

    @memory_kept()
    def restore(self, y: Tensor, middle: Tensor, motion: Motion) -> Restored:
        """Solve for the picture along a motion."""
        multiple = self.restoration.size_multiple
        picture, features = torch.empty_like(y), y.new_empty(0)
        for seen, kept, target in self._tiles(motion, SPAN):
            part, shown, paths = middle[..., *seen], y[..., *seen], motion.part(seen)
            blurred = reblur(part, paths, "bilinear", motion.looks)
            whole = [_padded(x, multiple) for x in (shown, part, _fields(paths), blurred)]
            with autocast(y.device, self.dtype):
                some, carried = self.restoration.solve(*whole)
            picture[..., *target] = some[..., *kept]
            if not features.numel():
                down, across = self._cells((slice(0, y.shape[-2]), slice(0, y.shape[-1])))
                features = carried.new_empty((1, carried.shape[1], down.stop, across.stop))
            features[..., *self._cells(target)] = carried[..., *self._cells(kept)]
        return Restored(picture.clamp_(0, 1), features)

    def _cells(self, place: Place) -> Place:
        """Features that belong to a place of the picture, and to its padding."""
        r, multiple = self.restoration.spec.factor, self.restoration.size_multiple
        rows, columns = (
            slice(side.start // r, -(-side.stop // multiple) * multiple // r) for side in place
        )
        return rows, columns

    def _tiles(self, motion: Motion, until: float) -> Iterator[tuple[Place, Place, Place]]:
        """Cut a picture that moves until some time: what is seen, what of that is kept, where."""
        multiple, pixels = self.restoration.size_multiple, math.prod(motion.size)
        sides: list[list[tuple[slice, slice, slice]]] = []
        for field, length in zip((1, 0), motion.size, strict=True):
            most = length if pixels <= WHOLE_PIXELS else TILE_SIDE
            step = -(-length // -(-length // most) // multiple) * multiple
            reach = motion.farthest(field, until) + MARGIN
            margin = math.ceil(reach / multiple) * multiple
            sides.append([])
            for begin in range(0, length, step):
                end = min(length, begin + step)
                first, last = max(0, begin - margin), min(length, end + margin)
                inner = slice(begin - first, end - first)
                sides[-1].append((slice(first, last), inner, slice(begin, end)))
        for down, across in itertools.product(*sides):
            yield (down[0], across[0]), (down[1], across[1]), (down[2], across[2])


def _finite(x: Tensor) -> Tensor:
    """What a network gave, for geometry that needs numbers."""
    if not x.isfinite().all():
        raise OverflowError("a network gave values that are not finite")
    return x


def _fields(motion: Motion) -> Tensor:
    """Both a and b, (1, 4, H, W)."""
    return torch.cat([motion.a, motion.b], dim=1)


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Continue an image to the right and below until `multiple` divides both sides."""
    right, below = -x.shape[-1] % multiple, -x.shape[-2] % multiple
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x
