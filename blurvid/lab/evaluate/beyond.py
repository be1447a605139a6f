"""Scores of frames beyond the exposure, beside what needs no motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blurvid.blur import average_frames
from blurvid.config import FRAMES, MOST_BEYOND
from blurvid.errors import OptionError
from blurvid.lab.data.windows import StoredWindow
from blurvid.lab.evaluate.shared import Extract, extracted, in_better_order, means, plain, scored
from blurvid.lab.evaluate.windows import windows_with
from blurvid.lab.metrics import psnr
from blurvid.lab.options import SynthOptions


@dataclass(frozen=True)
class BeyondScore:
    """PSNR [dB] of frames at one distance from the seven; means over both ends."""

    away: int
    """How many frames before the first of the seven, or after the last."""
    made: float
    """As `extract --beyond` makes them."""
    repeated: float
    """The outermost of the seven that were extracted, repeated."""
    blurry: float
    """The blurry image."""


@dataclass(frozen=True)
class BeyondRow:
    """Scores of one window, in the better order of time."""

    window: str
    clip: str
    outermost: float
    """PSNR [dB] of the frames 1 and 7, at their own times."""
    beyond: tuple[BeyondScore, ...]
    """From the nearest to the farthest."""


@dataclass(frozen=True)
class BeyondReport:
    """Scores of all windows, and their means."""

    beyond: int
    rows: tuple[BeyondRow, ...]

    @property
    def mean(self) -> BeyondRow:
        """Means over the windows, each counting once."""
        return replace(means(BeyondRow, self.rows), window="all", clip="all")

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; PSNR in dB, None for what is infinite."""
        values: dict[str, Any] = plain(
            {
                "beyond": self.beyond,
                "windows": len(self.rows),
                "mean": asdict(self.mean),
                "rows": [asdict(row) for row in self.rows],
            }
        )
        return values


def windows_beyond(source: Path, count: int, options: SynthOptions) -> Iterator[StoredWindow]:
    """Windows of seven sharp frames and some at each end, made of clips.

    Args:
        source: clips, see `data.windows.find_clips`.
        count: frames at each end; `evaluate_beyond` averages the seven between them.
        options: how else windows are made.

    Raises:
        InputError: no clips there.
        OptionError: another number, or options out of range.
    """
    if not 1 <= count <= MOST_BEYOND:
        raise OptionError(f"--beyond {count}: scores are for 1 to {MOST_BEYOND}")
    return windows_with(source, FRAMES + 2 * count, options)


def evaluate_beyond(
    extract: Extract,
    windows: Iterator[StoredWindow],
    count: int,
    *,
    on_window: Callable[[BeyondRow], None] | None = None,
) -> BeyondReport:
    """Score frames beyond the exposure against the true ones.

    Args:
        extract: gives 7 + 2 `count` frames for y.
        windows: of `windows_beyond`.
        count: frames at each end.
        on_window: called with the scores of every window.

    Raises:
        InputError: no windows, or broken frames from `extract`.
    """
    first, last = count, count + FRAMES - 1

    def score(window: StoredWindow) -> BeyondRow:
        truth = window.sharp()
        y = average_frames(truth[first : last + 1], window.gamma).clamp(0, 1)
        frames = extracted(extract, window.name, y, FRAMES + 2 * count).cpu()
        frames = in_better_order(frames, truth, slice(first, last + 1))
        scores = []
        for away in range(1, count + 1):
            true = truth[[first - away, last + away]]
            ways = (frames[[first - away, last + away]], frames[[first, last]], y.expand_as(true))
            scores.append(BeyondScore(away, *(float(psnr(way, true).mean()) for way in ways)))
        ends = [first, last]
        return BeyondRow(
            window=window.name,
            clip=window.clip,
            outermost=float(psnr(frames[ends], truth[ends]).mean()),
            beyond=tuple(scores),
        )

    return BeyondReport(count, scored(windows, score, on_window))
