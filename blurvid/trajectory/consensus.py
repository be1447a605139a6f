"""What most of a picture does: an affine field fitted to lines whose direction is unknown.

A blur tells the line along which a place moved, not the way along it. A camera moves the whole
picture by nearly an affine field (shift, zoom, turn, shear), and that decides the signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.sampling import blur

HYPOTHESES = 3000
"""Of each kind: translations, similarities, affine fields."""
VOTERS = 1200
BONUS = {"affine": 0.0, "similar": 0.02, "shift": 0.04}
"""What a simpler kind of field is given in advance, as a share of the votes."""
ROUNDS = 8
"""Of reweighted least squares."""
STIFFNESS = 1e-3
"""Price on the linear part in least squares, as a share of the weights."""
AT_ONCE = 500
"""Hypotheses judged at a time."""


@dataclass(frozen=True, eq=False)
class Lines:
    """Along which line, and how far, each place moved."""

    vectors: Tensor
    """Half displacements [px], (2, h, w); their sign means nothing."""
    weight: Tensor
    """How much the photo says about it, (h, w), >= 0."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """The affine field that most lines follow, up to one sign for all."""

    field: Tensor
    """G [px], (2, h, w)."""
    share: float
    """Of the votes it has, 0 to 1 (and the bonus of its kind)."""


def average(vectors: Tensor, weight: Tensor, sigma: float, cell: int) -> Lines:
    """Smooth lines as double angles, so that opposite directions add up.

    Args:
        vectors: half displacements of any sign, (2, H, W).
        weight: (H, W).
        sigma: width of the Gaussian [px].
        cell: how many places become one along each side.

    Returns:
        One line a cell, (2, H // cell, W // cell); its weight is the root of the mean one.
    """
    x, y = vectors
    length = vectors.norm(dim=0)
    # twice the angle: (cos 2φ, sin 2φ) r = ((x² - y²) / r, 2 x y / r)
    safe = length.clamp(min=1e-12)
    doubled = torch.stack([(x * x - y * y) / safe, 2 * x * y / safe, length])
    moments = blur(torch.cat([doubled * weight, weight[None]])[None], sigma)
    moments = F.avg_pool2d(moments, cell)[0]
    total = moments[3].clamp(min=1e-30)
    angle = torch.atan2(moments[1], moments[0]) / 2
    smooth = moments[2] / total * torch.stack([angle.cos(), angle.sin()])
    return Lines(smooth, total.sqrt())


def oriented(vectors: Tensor, reference: Tensor) -> Tensor:
    """The vectors, each turned by half a turn where it points against the reference.

    Args:
        vectors: (..., 2, H, W).
        reference: the same shape.
    """
    return torch.where((vectors * reference).sum(dim=-3, keepdim=True) >= 0, vectors, -vectors)


def find_consensus(lines: Lines, seed: int) -> Consensus:
    """Fit the affine field that most lines follow: random samples, then reweighted squares.

    Args:
        lines: (2, h, w) and weights.
        seed: of the random samples.

    Returns:
        The field, (2, h, w), and its share; always the same for the same input.
    """
    height, width = lines.weight.shape
    generator = torch.Generator().manual_seed(seed)
    at = _places(height, width).to(lines.weight.device)  # (N, 3)
    vectors = lines.vectors.reshape(2, -1).t()  # (N, 2)
    weight = lines.weight.flatten().clamp(min=0)
    known = int((weight > 0).sum())
    # Drawn on the CPU, so that it is the same everywhere
    shares = (weight + 1e-12).cpu()
    keep = torch.multinomial(shares, min(VOTERS, max(known, 1)), generator=generator).to(at.device)
    votes = vectors[keep]
    tolerance = max(0.25, 0.2 * float(votes.norm(dim=1).median()))  # [px]

    picked = (weight * vectors.norm(dim=1) + 1e-12).cpu()
    index = torch.multinomial(picked, 3 * HYPOTHESES, replacement=True, generator=generator)
    index = index.view(HYPOTHESES, 3).to(at.device)
    signs = torch.randint(0, 2, (HYPOTHESES, 3), generator=generator) * 2.0 - 1
    signs[:, 0] = 1
    points, ways = at[index], vectors[index] * signs[..., None].to(at.device)

    best, share = at.new_zeros(3, 2), -1.0
    for kind, fields in _hypotheses(points, ways).items():
        for first in range(0, len(fields), AT_ONCE):
            some = fields[first : first + AT_ONCE]
            scores = _support(at[keep], votes, some, tolerance) + BONUS[kind]
            top = int(scores.argmax())
            if float(scores[top]) > share:
                best, share = some[top], float(scores[top])

    stiffness = STIFFNESS * torch.diag(at.new_tensor([1.0, 1.0, 0.0]))
    for _ in range(ROUNDS):
        field = at @ best
        turned = torch.where((field * vectors).sum(1, keepdim=True) >= 0, vectors, -vectors)
        distance = (turned - field).norm(dim=1) / tolerance
        q = (weight / (1 + distance**2) ** 2)[:, None]
        normal = at.t() @ (q * at) + q.sum() * stiffness
        best = torch.linalg.solve(
            normal + 1e-12 * torch.eye(3, device=at.device), at.t() @ (q * turned)
        )
    return Consensus((at @ best).t().reshape(2, height, width), share)


def _places(height: int, width: int) -> Tensor:
    """(x, y, 1) of every place, y from -1 to 1, x in the same unit, (N, 3)."""
    y = torch.linspace(-1, 1, height)
    x = torch.linspace(-width / height, width / height, width)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten(), torch.ones(height * width)], dim=1)


def _hypotheses(points: Tensor, ways: Tensor) -> dict[str, Tensor]:
    """Fields through three, two and one of the sampled lines, as matrices (K, 3, 2).

    Args:
        points: (K, 3, 3), see `_places`.
        ways: signed vectors there, (K, 3, 2).
    """
    apart = torch.linalg.det(points).abs() > 0.05
    affine = torch.linalg.solve(points[apart], ways[apart])

    between = points[:, 0, :2] - points[:, 1, :2]
    change = ways[:, 0] - ways[:, 1]
    squared = between.square().sum(dim=1)
    zoom = (between * change).sum(dim=1) / (squared + 1e-6)
    turn = (between[:, 0] * change[:, 1] - between[:, 1] * change[:, 0]) / (squared + 1e-6)
    rows = torch.stack([torch.stack([zoom, turn], 1), torch.stack([-turn, zoom], 1)], dim=1)
    shift = ways[:, 0] - torch.einsum("ki,kij->kj", points[:, 0, :2], rows)
    similar = torch.cat([rows, shift[:, None]], dim=1)[squared > 0.05]

    still = torch.zeros_like(rows)
    return {
        "affine": affine,
        "similar": similar,
        "shift": torch.cat([still, ways[:, :1]], dim=1),
    }


def _support(at: Tensor, votes: Tensor, fields: Tensor, tolerance: float) -> Tensor:
    """Share of votes for each field, whatever their signs, (K,)."""
    across, down = (fields[..., i] @ at.t() for i in (0, 1))  # (K, N)
    along = (across * votes[:, 0]).add_(down * votes[:, 1]).abs_()
    # the nearer of |G - v|² and |G + v|²
    squared = across.square_().add_(down.square_()).add_(votes.square().sum(dim=1))
    squared.sub_(along, alpha=2)
    return (1 - squared.div_(tolerance**2)).clamp_(min=0).mean(dim=1)
