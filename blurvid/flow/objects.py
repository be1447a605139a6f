"""Things that move on their own: connected parts of a flow that move alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.field import Field
from blurvid.flow.sampling import steady, within

OBJECT_SIDE = 160
"""Objects are sought at this long side [cells]."""
STILL = 0.75
"""What goes no further is no object [px of the photo]..."""
SLOW = 0.15
"""...nor what goes no further than this share of the long ways."""
APART = (0.5, 0.1)
"""Neighbours belong together whose motion differs by no more than so many pixels of the size at
which the flow was measured, and this share of their way."""
SMALLEST = 0.004
"""Least size of an object, as a share of the photo."""
MOST = 8
"""Most objects; smaller ones are left out."""


def find_objects(field: Field) -> Tensor:
    """Find what moves on its own.

    Args:
        field: the motion over a sequence.

    Returns:
        (h, w) int64, at most `OBJECT_SIDE` px wide and high: 0 where there is no object, else its
        number from 1 on, larger ones first. An object is everywhere where it has been over the
        sequence; where two have been, it is the smaller one.
    """
    low, narrow = field.vectors.shape[-2:]
    height, width = within(OBJECT_SIDE, low, narrow)
    vectors = F.interpolate(field.vectors[None], size=(height, width), mode="nearest-exact")[0]
    vectors = steady(vectors[None])[0]
    lengths = vectors.norm(dim=0)
    moves = lengths > max(STILL, SLOW * float(lengths.quantile(0.95)))
    pixel = field.size[1] / narrow  # of the photo, in one at which the flow was measured
    parts = _connected(vectors, moves, APART[0] * pixel, APART[1])
    found = torch.zeros(height, width, dtype=torch.int64)
    cell = vectors.new_tensor([width / field.size[1], height / field.size[0]])
    for number, part in enumerate(parts, start=1):
        found[_swept(part, vectors * cell.view(2, 1, 1))] = number
    return found


def region_of(labels: Tensor, number: int, height: int, width: int) -> Tensor:
    """One object at full size, (H, W) bool."""
    mask = (labels == number)[None, None].float()
    full = F.interpolate(mask, size=(height, width), mode="bilinear")[0, 0]
    return full >= 0.5


def middle_of(labels: Tensor, number: int) -> tuple[float, float]:
    """A point deep inside an object, as parts of width and height."""
    left = labels == number
    deep = left
    while left.any():
        deep = left
        around = F.pad((~left)[None, None].float(), (1, 1, 1, 1), value=1.0)
        left = F.max_pool2d(around, 3, 1)[0, 0] == 0
    rows, columns = deep.nonzero().unbind(1)
    row, column = int(rows[len(rows) // 2]), int(columns[len(rows) // 2])
    return (column + 0.5) / labels.shape[1], (row + 0.5) / labels.shape[0]


def _connected(vectors: Tensor, moves: Tensor, apart: float, share: float) -> list[Tensor]:
    """Masks of the connected parts that move alike, the largest first."""
    height, width = moves.shape
    numbers = torch.arange(height * width).view(height, width)
    parents = list(range(height * width))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    lengths = vectors.norm(dim=0)
    for a, b in (
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
    ):
        step = (vectors[:, *a] - vectors[:, *b]).norm(dim=0)
        near = step <= apart + share * torch.minimum(lengths[a], lengths[b])
        near &= moves[a] & moves[b]
        for i, j in zip(numbers[a][near].tolist(), numbers[b][near].tolist(), strict=True):
            parents[root(i)] = root(j)
    roots = torch.tensor([root(i) for i in range(height * width)]).view(height, width)
    roots[~moves] = -1
    values, counts = torch.unique(roots[moves], return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:MOST]
    least = SMALLEST * height * width
    return [roots == values[i] for i in order.tolist() if counts[i] >= least]


def _swept(part: Tensor, vectors: Tensor) -> Tensor:
    """All cells where a part (h, w) has been, which moves by vectors (2, h, w) [cells]."""
    height, width = part.shape
    rows, columns = part.nonzero().unbind(1)
    dx, dy = vectors[:, part]
    out = part.clone()
    steps = max(1, round(float(vectors[:, part].abs().max())))
    for step in range(1, steps + 1):
        y = (rows + dy * step / steps).round().long()
        x = (columns + dx * step / steps).round().long()
        seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        out[y[seen], x[seen]] = True
    # What is blended at its edge belongs to it as well, and holes are closed.
    return F.max_pool2d(out[None, None].float(), 3, 1, 1)[0, 0] > 0
