"""Which of several answers explains each place of a photo, where rest is one, and who can tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.paths import Motion, reblur
from blurvid.trajectory.sampling import blur

HANDICAP = 5e-6
"""Squared error by which each later answer has to be better than the one before it."""
AROUND = 4.0
"""Width of the Gaussian over which errors are averaged [px]."""
WIDELY = 6.0
"""The same where it is found how much sharper the middle frame is [px]."""
HARDLY = 1e-5
"""Mean squared difference that two images have anyway."""
MULTIPLIED = 1.8
"""Deblurring what is sharp multiplies its total variation by this and more."""
MOVING = 1.5
"""Half displacement [px] below which nothing is taken for deblurred."""
FLAT = 2e-3
"""Variation of a place without texture."""


@torch.no_grad()
def choose(
    middle: Tensor, y: Tensor, answers: Sequence[Motion], still: Tensor | None = None
) -> Motion:
    """Take, at each place, the answer whose re-blur is nearest to the photo.

    Args:
        middle: sharp picture, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        answers: the first is rest; each has to beat those before it by a little.
        still: where rest is offered, (1, 1, H, W), bool; everywhere if it is not given.

    Returns:
        One motion, put together of all.
    """
    errors = torch.cat([_error(middle, y, answer) for answer in answers], dim=1)
    errors += HANDICAP * torch.arange(len(answers), device=y.device).view(1, -1, 1, 1)
    if still is not None:
        errors[:, :1].masked_fill_(~still, torch.inf)
    best = errors.argmin(dim=1, keepdim=True)
    a, b = answers[0].a, answers[0].b
    for number, answer in enumerate(answers[1:], start=1):
        a = torch.where(best == number, answer.a, a)
        b = torch.where(best == number, answer.b, b)
    return Motion(a, b)


@torch.no_grad()
def deblurred(picture: Tensor, y: Tensor, motion: Motion) -> Tensor:
    """Where a picture solved for was blurred indeed.

    A middle frame that is as blurred as the photo re-blurs to it without error at rest: there,
    re-blur alone always prefers not to deblur. Total variation tells: deblurring what is
    blurred keeps that of edges about as it was, deblurring what is sharp multiplies it.

    Args:
        picture: solved for along the motion, (1, 3, H, W).
        y: photo, the same.
        motion: of the same size.

    Returns:
        1 where it was and moves, else 0, (1, 1, H, W).
    """
    ratio = _variation(picture) / (_variation(y) + FLAT)
    moves = motion.a.norm(dim=1, keepdim=True) > MOVING
    return torch.where(moves & (ratio < MULTIPLIED), 1.0, 0.0)


@torch.no_grad()
def sharpened(middle: Tensor, y: Tensor, motion: Motion) -> Tensor:
    """How much of the motion's blur the middle frame has lost around each place.

    Where it has kept all, rest explains the photo best, whatever the motion is.

    Args:
        middle: what a network makes of the photo, (1, 3, H, W), RGB in [0, 1].
        y: photo, the same.
        motion: of the same size.

    Returns:
        From 0, all is kept, to 1, all is lost or there is none, (1, 1, H, W).
    """
    blurry = reblur(middle, motion, "bilinear")
    lost, had = (
        blur((x - middle).square().mean(dim=1, keepdim=True), WIDELY) + HARDLY for x in (y, blurry)
    )
    return (lost / had).clamp(max=1).sqrt()


def oriented(vectors: Tensor, reference: Tensor) -> Tensor:
    """The vectors, each turned by half a turn where it points against the reference.

    Args:
        vectors: (..., 2, H, W).
        reference: the same shape.
    """
    return torch.where((vectors * reference).sum(dim=-3, keepdim=True) >= 0, vectors, -vectors)


def _error(middle: Tensor, y: Tensor, answer: Motion) -> Tensor:
    """Squared re-blur error around each place, (1, 1, H, W)."""
    blurry = reblur(middle, answer, "bilinear")
    return blur((blurry - y).square().mean(dim=1, keepdim=True), AROUND)


def _variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours around each place, (1, 1, H, W)."""
    across = F.pad(image.diff(dim=3).abs().mean(dim=1, keepdim=True), (0, 1, 0, 0))
    down = F.pad(image.diff(dim=2).abs().mean(dim=1, keepdim=True), (0, 0, 0, 1))
    return blur(across + down, 5.0)
