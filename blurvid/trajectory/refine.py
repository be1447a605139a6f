"""Motion refined until the re-blurred picture is the photo, without leaving its signs."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.exposure import Sampling, exposed, to_image, to_light
from blurvid.trajectory.choose import sharpened
from blurvid.trajectory.descent import Descent
from blurvid.trajectory.paths import Motion

ROBUST = 1e-4
"""Squared error from which errors count linearly."""
EVEN = 1e-2
"""Squared difference of neighbours from which differences count linearly [px²]."""
BENT = 0.05
"""Price on b², in prices of smoothness."""
SIGN = 0.02
"""Price on motion against the first answer [1/px]."""
LOYALTY = 2e-3
"""Price on a departure from the first answer, in its expected errors."""
PACE = 0.08
"""First step, in median lengths of the motion; between the slowest and the fastest..."""
SLOWEST = 0.03
"""...[px]: small motion flips through zero with larger steps."""
FASTEST = 0.2
CLIPPED = 0.97
"""Value from which a channel is taken for clipped: how bright it was the photo does not tell."""
DAMPING = 1e-5
"""Slopes far below this move a node less than a step."""


@dataclass(frozen=True)
class Effort:
    """How a motion is refined."""

    cell: int
    """Pixels between the nodes at which it is free."""
    steps: int
    """Of Adam."""
    smoothness: float
    """Price on differences of neighbouring nodes."""
    stride: int = 1
    """Every how many pixels, along each side, the re-blur error is taken."""


HALF_SIZE = Effort(cell=8, steps=40, smoothness=6e-3, stride=2)
FULL_SIZE = Effort(cell=16, steps=12, smoothness=3e-3, stride=2)


@torch.inference_mode(False)  # the slope is needed, whatever the caller is doing
@torch.enable_grad()
def refine(
    middle: Tensor,
    y: Tensor,
    motion: Motion,
    effort: Effort,
    error: Tensor | None = None,
    mode: Sampling = "bilinear",
) -> Motion:
    """Move the paths until the re-blurred picture is the photo.

    Robust re-blur error, smoothness of how `a` departs from the first answer, and a price on
    turning against that (the photo does not tell a sign from its opposite, but the way from one
    to the other leads through wrong motion).

    Args:
        middle: sharp picture, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        motion: first answer, of the same size.
        effort: grid, steps and smoothness.
        error: expected of the first answer [px], (1, 1, H, W): the smaller, the dearer is a
            departure from it; None lets it go wherever the photo leads.
        mode: how to look between pixels; bilinear is enough to find the motion, and faster.

    Returns:
        The refined motion.
    """
    height, width = motion.size
    nodes = (_nodes(height, effort.cell), _nodes(width, effort.cell))
    rows, columns = _spread(nodes[0], height).to(y), _spread(nodes[1], width).to(y)
    first, bend = (_at_nodes(x, nodes) for x in (motion.a, motion.b))
    lengths = first.norm(dim=1, keepdim=True)
    ahead = first / (lengths + 0.05)
    faith = None if error is None else LOYALTY / (_at_nodes(error, nodes) + 0.1)
    field = torch.cat([first, bend], dim=1).requires_grad_()
    pace = min(FASTEST, max(SLOWEST, PACE * float(lengths.median())))
    # the loss counts per node, so that the step does not depend on the size of the picture
    descent = Descent(field.detach(), effort.steps, pace, DAMPING)
    light, looks, stride = to_light(middle), motion.looks, effort.stride
    some_rows, some_columns, seen = rows[::stride], columns[::stride], y[..., ::stride, ::stride]
    count = nodes[0] * nodes[1]
    with torch.no_grad():
        trusted = sharpened(middle, y, motion)[..., ::stride, ::stride]
        trusted *= seen.amax(dim=1, keepdim=True) < CLIPPED
    for _ in range(effort.steps):
        a, b = field[:, :2], field[:, 2:]
        paths = some_rows @ field @ some_columns.t()
        blurry = to_image(exposed(light, paths[:, :2], paths[:, 2:], looks, mode, stride))
        distance = (trusted * torch.sqrt((blurry - seen) ** 2 + ROBUST)).mean()
        rough = _roughness(a - first) + _roughness(b) + BENT * b.square().mean()
        against = F.relu(-(a * ahead).sum(dim=1)).mean()
        loss = count * (distance + effort.smoothness * rough + SIGN * against)
        if faith is not None:
            away = _length(a - first) + 0.5 * _length(b - bend)
            loss = loss + count * (faith * away).mean()
        (slope,) = torch.autograd.grad(loss, field)
        descent.step(slope)
    with torch.no_grad():
        paths = rows @ field @ columns.t()
    return Motion(paths[:, :2], paths[:, 2:])


def _at_nodes(field: Tensor, nodes: tuple[int, int]) -> Tensor:
    return F.interpolate(field, nodes, mode="bilinear", align_corners=True)


def _length(field: Tensor) -> Tensor:
    """Length of vectors, differentiable at rest, (1, 1, h, w)."""
    return torch.sqrt(field.square().sum(dim=1, keepdim=True) + 1e-4)


def _nodes(length: int, cell: int) -> int:
    return max(2, -(-length // cell) + 1)


@functools.lru_cache(maxsize=16)
def _spread(nodes: int, length: int) -> Tensor:
    """Bicubic interpolation along one side as a matrix, (length, nodes)."""
    unit = torch.eye(nodes).view(1, 1, nodes, nodes)
    return F.interpolate(unit, (length, nodes), mode="bicubic", align_corners=True)[0, 0]


def _roughness(field: Tensor) -> Tensor:
    """Mean length of the differences between neighbours, along both sides."""
    across, down = field.diff(dim=3), field.diff(dim=2)
    return sum(
        (torch.sqrt(d.square().sum(dim=1) + EVEN).mean() for d in (across, down)),
        start=field.new_zeros(()),
    )
