"""How far the frames of a photo can be believed, from the frames and the photo alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import DEFAULT_GAMMA, Gamma
from blurvid.errors import InputError
from blurvid.exposure import average_frames
from blurvid.flow import Field, neighboring
from blurvid.flow.sampling import limited, luma, pixel_grid, sample
from blurvid.pipeline.sizes import LEAST_SIDE, PIXELS_AT_ONCE, SCALES, TRAINED_MOTION

CELL = 8
"""Least side of a cell, for which one error is expected [px]..."""
CELLS = 160
"""...and most cells along the longer side; the motion is measured at this size."""
SIGNS = {
    "change": (-0.21, 1e-6),
    "texture": (0.10, 1e-6),
    "mismatch": (0.59, 1e-6),
    "way": (0.44, 0.1),
}
"""What tells of the squared error of a cell: the variance of its pixels over the frames, the energy
of the photo's slopes, the squared difference between the first frame and the last brought back
along the motion, and the motion's length [px]. The error is a product of powers; here are the
exponent of each, and what is added to it first."""
FACTOR = 0.0786
"""The product's constant factor. It and the exponents fit the errors of `direct` on 80 windows
simulated from photos held out from training and on 42 windows of clips, none of which is
scored by `blurvid eval` for the README."""

LONGEST = TRAINED_MOTION
"""Motion that the network saw [px] above which its frames are not to be believed."""
FULL = 11.0
"""The same where the network could not be shown the photo any smaller: it may have shortened
longer motion to this."""
STILL = 0.1
"""Change between the frames, as a share of the photo's slopes, where each is largest, below which
nothing moves: 75 % of sharp photos are below, 2.5 % of simulated motion."""
_UNSEEN = 1 / 255
"""Change that nobody sees, root mean square; what moves in such frames is the network's noise."""
SOFT = 0.315
"""Sharpness below which a photo is blurred alike in all directions: 90 % of simulated defocus of
0.7 to 3 px are below, no windows of straight motion, 5 % of random walks and turning cameras."""
_SHARP_SIDE = 1280
"""Larger photos are judged at this long side [px]: what is soft in single pixels is no blur."""

LONG_TEXT = "motion of about {way:.0f} px or more is beyond what the network was trained for"
SOFT_TEXT = "blurred alike in all directions, as out of focus; that blur stays in the frames"
STILL_TEXT = "no motion found; the frames are the photo, as good as unchanged"


@dataclass(frozen=True, eq=False)
class Trust:
    """What to expect of the frames of a photo."""

    psnr: float
    """PSNR against the true frames to be expected [dB], in the better order of time."""
    error: Tensor
    """Expected error, root mean square over a cell's pixels, colours and frames, (h, w) float32;
    of the photo from top to bottom and left to right."""
    field: Field
    """Where everything goes, measured at `CELLS` px at most."""
    motion: float
    """95th percentile of the ways from the first frame to the last [px of the photo]."""
    sharpness: float
    """Of the photo, in the direction in which it is sharpest: energy of its slopes, as a share of
    that at half the size. About 0.25 is blurred, 1 is sharp."""
    reasons: tuple[str, ...]
    """Why not to believe the frames: `long`, `defocus`, `still`."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons in words."""
        texts = {"long": LONG_TEXT, "defocus": SOFT_TEXT, "still": STILL_TEXT}
        return tuple(texts[reason].format(way=self.motion) for reason in self.reasons)

    def record(self) -> dict[str, Any]:
        """The numbers as plain values."""
        return {
            "psnr": round(self.psnr, 2),
            "motion": round(self.motion, 2),
            "sharpness": round(self.sharpness, 3),
            "reasons": list(self.reasons),
        }


@torch.no_grad()
def assess(
    frames: Tensor,
    y: Tensor,
    scale: float = 1.0,
    *,
    fixed: bool = False,
    any_length: bool = False,
) -> Trust:
    """Say how far frames can be believed.

    Large photos are looked at in every so many rows, and their motion at `CELLS` px, so that this
    takes little time and memory.

    Args:
        frames: x[1..7], (7, 3, H, W), RGB, in [0, 1].
        y: the photo, (3, H, W).
        scale: size at which the network saw it, as a share of its own.
        fixed: the scale was given, not measured.
        any_length: the model knows motion of any length.

    Returns:
        The trust. It does not depend on the response of the photo's camera.

    Raises:
        InputError: a single frame.
    """
    if len(frames) < 2:
        raise InputError("a single frame does not tell how far it can be believed")
    height, width = y.shape[-2:]
    signs = _cells(frames, y)
    most = {name: float(sign.flatten().quantile(0.99)) for name, sign in signs.items()}
    field, mismatch = _motion(frames)
    if most["change"] < _UNSEEN**2:
        field = Field(torch.zeros_like(field.vectors), field.size)
    ways = field.vectors.norm(dim=0)
    shape = (signs["change"].shape[-2], signs["change"].shape[-1])
    signs["way"], signs["mismatch"] = _resized(ways, shape), _resized(mismatch, shape)
    error = torch.full(shape, FACTOR)
    for name, (exponent, least) in SIGNS.items():
        error *= (signs[name] + least) ** exponent
    motion = float(ways.flatten().quantile(0.95))
    sharp = sharpness(y)
    smallest = min(height, width) * _next(scale) < LEAST_SIDE
    reasons = []
    if not any_length and motion * scale > (FULL if fixed or smallest else LONGEST):
        reasons.append("long")
    if sharp < SOFT:
        reasons.append("defocus")
    if most["change"] < max(STILL**2 * most["texture"], _UNSEEN**2):
        reasons.append("still")
    return Trust(
        psnr=-10 * math.log10(float(error.mean())),
        error=error.sqrt(),
        field=field,
        motion=motion,
        sharpness=sharp,
        reasons=tuple(reasons),
    )


def sharpness(y: Tensor) -> float:
    """Tell how sharp an image is, in the direction in which it is sharpest.

    Motion leaves edges along it sharp, defocus none. In images of the world the energy of slopes
    between neighbouring pixels is about the same at every size; blur takes it from the larger.

    Args:
        y: (3, H, W), RGB, in [0, 1].

    Returns:
        Energy of the slopes, as a share of that at half the size; 1 where there are none.
    """
    gray = limited(luma(y)[None, None], _SHARP_SIDE)
    fine, coarse = gray[0, 0], F.avg_pool2d(gray, 2, ceil_mode=True)[0, 0]
    shares = [a / b for a, b in zip(_slopes(fine), _slopes(coarse), strict=True) if b > 1e-7]
    return max(shares, default=1.0)


def _slopes(x: Tensor) -> list[float]:
    """Mean squared differences between neighbours: across, down, and on both diagonals."""
    pairs = (
        (x[:, 1:], x[:, :-1]),
        (x[1:], x[:-1]),
        (x[1:, 1:], x[:-1, :-1]),
        (x[1:, :-1], x[:-1, 1:]),
    )
    return [float((a - b).square().mean()) if a.numel() else 0.0 for a, b in pairs]


def _cells(frames: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What a look at each pixel tells of the cells: change and texture."""

    def look(piece: Tensor, seen: Tensor, skip: int) -> Tensor:
        gray = luma(seen)
        across = F.pad(gray[:, 1:] - gray[:, :-1], (0, 1)).square()
        down = F.pad(gray[1:] - gray[:-1], (0, 0, 0, 1)).square()
        piece = piece[..., ::skip, :].float()
        change = (piece - piece.mean(dim=0)).square().mean(dim=(0, 1))
        return torch.stack([change, (across + down)[::skip]])

    change, texture = _means(frames, y, look)
    return {"change": _smooth(change), "texture": _smooth(texture)}


@torch.no_grad()
def reblur_map(frames: Tensor, y: Tensor, gamma: Gamma = DEFAULT_GAMMA) -> Tensor:
    """Tell where the average of the frames does not explain the photo.

    Args:
        frames: x[1..7], (7, 3, H, W), RGB, in [0, 1].
        y: the photo, (3, H, W).
        gamma: response of the photo's camera.

    Returns:
        Root mean square of the difference in each cell, (h, w) float32, as `Trust.error`.
    """

    def look(piece: Tensor, seen: Tensor, skip: int) -> Tensor:
        average = average_frames(piece[..., ::skip, :].float(), gamma)
        return (average - seen[..., ::skip, :]).square().mean(dim=0, keepdim=True)

    return _means(frames, y, look)[0].sqrt()


def _means(frames: Tensor, y: Tensor, look: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    """Means over cells of what a look at the pixels gives, (N, h, w).

    Args:
        frames: (T, 3, H, W), which may lie on disk.
        y: (3, H, W).
        look: gives of some rows, of which every so many count, (N, counted rows, W).
    """
    height, width = y.shape[-2:]
    skip = math.ceil(max(height, width) / (CELL * CELLS))  # rows of large photos are much alike
    side = CELL * skip
    step = side * max(1, PIXELS_AT_ONCE // (width * CELL))
    found = []
    for top in range(0, height, step):
        planes = look(frames[..., top : top + step, :], y[..., top : top + step, :], skip)
        # Of a cell's rows, every so many are there; of its columns all.
        means = F.avg_pool2d(planes[None], (CELL, side), ceil_mode=True, count_include_pad=False)
        found.append(means[0])
    return torch.cat(found, dim=1)


def _smooth(cells: Tensor) -> Tensor:
    """Mean over 3x3 cells."""
    return F.avg_pool2d(cells[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def _motion(frames: Tensor) -> tuple[Field, Tensor]:
    """Where everything goes from first to last frame, and what that misses, squared, (h, w)."""
    height, width = frames.shape[-2:]
    first, last = (limited(frames[i][None].float(), CELLS) for i in (0, -1))
    flow = neighboring(first, last)
    at = pixel_grid(first.shape[-2], first.shape[-1], first.device) + flow
    missed = (sample(last, at) - first).square().mean(dim=1)[0]
    return Field(flow[0] * (max(height, width) / max(first.shape[-2:])), (height, width)), missed


def _resized(x: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(x[None, None], size=shape, mode="bilinear", antialias=True)[0, 0]


def _next(scale: float) -> float:
    """The next smaller of the scales that are chosen from."""
    return max((other for other in SCALES if other < 0.99 * scale), default=0.0)
