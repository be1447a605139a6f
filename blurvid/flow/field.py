"""The flow of a whole sequence, kept at the size at which it was measured."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError
from blurvid.flow.pyramid import COARSEST, FLOW_SIDE, along, followed, neighboring
from blurvid.flow.sampling import enlarged, limited

STILL = 0.5
"""Ways up to this length are no motion [px]..."""
SLOW = 0.25
"""...nor are those up to this share of the long ones, where the dominant motion is sought."""
ROUGH_SIDE = 200
"""Long side [px] at which `sequence_motion` measures: good to about 0.3 px of that size."""
CELL = 8
"""Side of a cell there [px]."""
_VOTES = 48
"""Vectors along each side that vote for the dominant motion."""


@dataclass(frozen=True)
class Motion:
    """What moves how far over a sequence [px], x to the right, y downwards."""

    dx: float
    """Dominant motion of what moves: the densest spot among its displacements. 0 if nothing
    does."""
    dy: float
    median: float
    """Median length of the displacements of all pixels."""
    p95: float
    """95th percentile of these lengths."""
    longest: float
    """The largest of them."""


@dataclass(frozen=True, eq=False)
class Field:
    """Where every pixel of the first frame of a sequence is in its last."""

    vectors: Tensor
    """Displacements in pixels of the full size, (2, h, w) float32, x to the right, y downwards;
    at most `pyramid.FLOW_SIDE` px wide and high."""
    size: tuple[int, int]
    """Full height and width [px]."""

    def rows(self, top: int, bottom: int) -> Tensor:
        """Displacements at full size of the rows from `top` to before `bottom`, (2, rows, W)."""
        return enlarged(self.vectors[None], self.size, (slice(top, bottom), slice(None)))[0]

    @functools.cached_property
    def motion(self) -> Motion:
        """The flow in a few numbers."""
        lengths = self.vectors.square().sum(dim=0).sqrt()
        low, narrow = lengths.shape
        few = self.vectors[:, :: -(-low // _VOTES), :: -(-narrow // _VOTES)].flatten(1).T
        some = few.norm(dim=1)
        p95 = float(some.quantile(0.95))
        dx, dy = _densest(few[some > max(STILL, SLOW * p95)])
        return Motion(dx, dy, float(lengths.median()), p95, float(lengths.max()))


def measure(frames: Tensor, reverse: bool = False) -> Field:
    """Measure the flow from the first to the last frame of a sequence, as `along` does.

    Takes little memory beside the frames, whatever their size: large ones are looked at
    one after the other, made smaller.

    Args:
        frames: consecutive frames (T, 3, H, W), RGB, in [0, 1]; T is at least 2.
        reverse: measure from the last to the first.

    Returns:
        The flow.

    Raises:
        InputError: the shape is not that of a sequence.
    """
    height, width = frames.shape[-2:]
    small = frames
    if max(height, width) > FLOW_SIDE and frames.dim() == 4:
        small = torch.cat([limited(frame[None].float(), FLOW_SIDE) for frame in frames])
    vectors = along(small.flip(0) if reverse else small)
    ratio = vectors.new_tensor([width / small.shape[-1], height / small.shape[-2]])
    return Field(vectors * ratio.view(2, 1, 1), (height, width))


@torch.no_grad()
def sequence_motion(frames: Tensor) -> tuple[Motion, float]:
    """Measure the motion over a sequence in a fraction of the time of `measure`.

    Args:
        frames: consecutive frames (T, 3, H, W), RGB, floats in [0, 1] or uint8; T is at least 2.

    Returns:
        Motion from the first frame to the last, followed from neighbour to neighbour; and the
        largest 95th percentile of the displacements between two neighbours [px].

    Raises:
        InputError: the shape is not that of a sequence, or H or W is below 16 px.
    """
    if frames.dim() != 4 or frames.shape[0] < 2 or frames.shape[1] != 3:
        raise InputError(f"motion needs at least two frames (T, 3, H, W): {tuple(frames.shape)}")
    height, width = frames.shape[-2:]
    if min(height, width) < COARSEST:
        raise InputError(f"motion needs at least {COARSEST}x{COARSEST} px, got {width}x{height}")
    top = 255 if frames.dtype == torch.uint8 else 1
    small = limited(frames, ROUGH_SIDE).float() / top  # bytes are made smaller in half the time
    steps = neighboring(small[:-1], small[1:], quick=len(frames) > 2)
    ratio = width / small.shape[-1]
    total, *each = (_cells(step[None])[0] * ratio for step in (followed(steps)[0], *steps))
    fastest = max(float(step.norm(dim=0).quantile(0.95)) for step in each)
    return Field(total, (height, width)).motion, fastest


def _cells(flow: Tensor) -> Tensor:
    """Means of a flow over cells, so that single pixels do not count as the fastest."""
    return F.avg_pool2d(flow, CELL, ceil_mode=True, count_include_pad=False)


def _densest(vectors: Tensor) -> tuple[float, float]:
    """The densest spot among vectors (N, 2)."""
    if not len(vectors):
        return 0.0, 0.0
    # Gaussian votes, wider where motion is long and varies more.
    width = 0.5 + 0.1 * float(vectors.norm(dim=1).median())
    votes = torch.exp(-0.5 * (torch.cdist(vectors, vectors) / width).square())
    weight = votes[votes.sum(dim=1).argmax()]
    dx, dy = ((weight[:, None] * vectors).sum(dim=0) / weight.sum()).tolist()
    return dx, dy
