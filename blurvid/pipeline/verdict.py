"""What was gained for a photo, in plain words, from its frames and their motion alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow import Field
from blurvid.flow.sampling import luma
from blurvid.pipeline.sizes import PIXELS_AT_ONCE

Level = Literal["sharper", "some", "none"]

MOVES = 1.4
"""Way from the first frame to the last [px] above which a place moves."""
SHARPER = 0.3
"""Gain above which one sees it at once..."""
SOME = 0.1
"""...and above which one sees it in places. Both set on 16 windows of 8 clips held out from
training. Of the 9 above the first, the middle frame of 6 gains more than 0.5 dB and that of one
nothing: slopes also rise by wrong motion. The 3 below the second gain less than 0.2 dB."""
FAR = 24.0
"""Way [px] of what moves fast, which stays blurred where it is not resolved."""

_SHARPER = "sharper: what was blurred by motion is resolved"
_FAST = "some of it: sharper in places; what moves fastest stays blurred"
_PLACES = "some of it: sharper in places"
_NOTHING = "no visible gain"
_WHY = {
    "still": "nothing moves in it",
    "defocus": "it is blurred alike in all directions, as out of focus, which stays",
    "long": "the motion is longer than the network knows; the motion model follows it further",
    "other": "no motion was found that explains its blur; the motion model, which is the default, "
    "may find it",
    "told": "what was told of its motion (--motion) does not explain its blur",
    "": "no motion was found that explains its blur; a hint of how it moved may help (--motion)",
}


@dataclass(frozen=True)
class Verdict:
    """What was gained."""

    level: Level
    gain: float
    """Gain of the slopes' energy along the motion where something moves, as a share, times the root
    of the share of the photo that moves."""
    moving: float
    """Share of the photo in which something moves."""
    text: str
    """One sentence for the user."""

    def __str__(self) -> str:
        return self.text

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "level": self.level,
            "gain": round(self.gain, 3),
            "moving": round(self.moving, 3),
            "text": self.text,
        }


@torch.no_grad()
def judge(frame: Tensor, y: Tensor, field: Field, reasons: tuple[str, ...] = ()) -> Verdict:
    """Say what was gained.

    Blur takes the slopes along the motion and leaves those across it, so that what came back along
    it, and only there, is what was undone.

    Args:
        frame: the middle frame, (3, H, W), RGB in [0, 1].
        y: the photo, the same.
        field: motion from the first frame to the last.
        reasons: see `trust.Trust.reasons`; and `told` where the user told of the motion.
    """
    height, width = y.shape[-2:]
    sums = torch.zeros(3, dtype=torch.float64)  # slopes of the frame, of the photo; moving places
    rows = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        way = field.rows(top, bottom)
        length = way.norm(dim=0)
        along, moves = way / (length + 1e-6), length > MOVES
        for number, image in enumerate((frame, y)):
            energy = _slopes(image[:, top : bottom + 1], bottom - top, along)
            sums[number] += energy[moves].sum(dtype=torch.float64)
        sums[2] += moves.sum()
    found, had, count = sums.tolist()
    moving = count / (height * width)
    gain = moving**0.5 * max(0.0, (found + 1e-9) / (had + 1e-9) - 1)
    if gain >= SHARPER:
        return Verdict("sharper", gain, moving, _SHARPER)
    if gain >= SOME:
        return Verdict("some", gain, moving, _FAST if field.motion.p95 > FAR else _PLACES)
    why = next(text for reason, text in _WHY.items() if reason in (*reasons, ""))
    return Verdict("none", gain, moving, f"{_NOTHING}: {why}")


def _slopes(image: Tensor, rows: int, along: Tensor) -> Tensor:
    """Squared slope of brightness along directions, (2, rows, W); of an image with a row more."""
    gray = luma(image)
    across = F.pad(gray.diff(dim=1), (0, 1))[:rows]
    down = gray.diff(dim=0)
    down = F.pad(down, (0, 0, 0, rows - len(down)))
    return (across * along[0] + down * along[1]).square()
