"""Scores of frames between the seven, beside what needs no motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurvid.config import FRAMES, MOST_FRAMES
from blurvid.errors import OptionError
from blurvid.lab.data.windows import StoredWindow
from blurvid.lab.evaluate.shared import Extract, extracted, in_better_order, means, plain, scored
from blurvid.lab.evaluate.windows import windows_with
from blurvid.lab.metrics import psnr
from blurvid.lab.options import SynthOptions
from blurvid.pipeline.resample import places, resample


@dataclass(frozen=True)
class BetweenScore:
    """PSNR [dB] of one way to make frames between seven."""

    motion: float
    """Along the motion, as `Clip.resample` does."""
    blend: float
    """The two beside, blended by their distance in time."""
    nearest: float
    """The nearer of the two beside, repeated."""


@dataclass(frozen=True)
class BetweenRow:
    """Scores of one window; means over its frames, in the better order of time."""

    window: str
    clip: str
    seven: float
    """PSNR [dB] of the seven frames extracted, at their own times."""
    between: BetweenScore
    """Of those between them, made of the frames extracted."""
    of_true: BetweenScore
    """The same, made of the true frames at the times of the seven."""


@dataclass(frozen=True)
class BetweenReport:
    """Scores of all windows, and their means."""

    frames: int
    rows: tuple[BetweenRow, ...]

    @property
    def mean(self) -> BetweenRow:
        """Means over the windows, each counting once."""
        return replace(means(BetweenRow, self.rows), window="all", clip="all")

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; PSNR in dB, None for what is infinite."""
        values: dict[str, Any] = plain(
            {
                "frames": self.frames,
                "windows": len(self.rows),
                "mean": asdict(self.mean),
                "rows": [asdict(row) for row in self.rows],
            }
        )
        return values


def windows_of(source: Path, count: int, options: SynthOptions) -> Iterator[StoredWindow]:
    """Windows of more than seven sharp frames, made of clips.

    Args:
        source: clips, see `data.windows.find_clips`.
        count: frames averaged in each; among them must be those at the times of the seven.
        options: how else windows are made.

    Raises:
        InputError: no clips there.
        OptionError: another number, or options out of range.
    """
    if (count - 1) % (FRAMES - 1) or not FRAMES < count <= MOST_FRAMES:
        fit = ", ".join(str(n) for n in range(2 * FRAMES - 1, MOST_FRAMES + 1, FRAMES - 1))
        raise OptionError(f"--frames {count}: scores need the seven among the true frames: {fit}")
    return windows_with(source, count, options)


def evaluate_between(
    extract: Extract,
    windows: Iterator[StoredWindow],
    count: int,
    *,
    on_window: Callable[[BetweenRow], None] | None = None,
) -> BetweenReport:
    """Score frames between the seven against those of clips of a higher rate.

    Args:
        extract: gives seven frames for y, the average of `count` frames.
        windows: of `windows_of`.
        count: frames of each.
        on_window: called with the scores of every window.

    Raises:
        InputError: no windows, or broken frames from `extract`.
    """

    def score(window: StoredWindow) -> BetweenRow:
        y, truth = window.blurry(), window.sharp()
        seven = truth[:: (count - 1) // (FRAMES - 1)]
        frames = in_better_order(extracted(extract, window.name, y).cpu(), seven)
        return BetweenRow(
            window=window.name,
            clip=window.clip,
            seven=float(psnr(frames, seven).mean()),
            between=_score(frames, truth),
            of_true=_score(seven, truth),
        )

    return BetweenReport(count, scored(windows, score, on_window))


def _score(seven: Tensor, truth: Tensor) -> BetweenScore:
    """Score what is made between seven frames, (7, 3, H, W), against all, (N, 3, H, W)."""
    inner = [(i, before, part) for i, (before, part) in enumerate(places(len(truth))) if part > 0]
    true = truth[[i for i, _, _ in inner]]
    made = resample(seven, len(truth))[[i for i, _, _ in inner]]
    blended = [torch.lerp(seven[before], seven[before + 1], part) for _, before, part in inner]
    near = [seven[before + round(part)] for _, before, part in inner]
    ways = (made, torch.stack(blended), torch.stack(near))
    return BetweenScore(*(float(psnr(frames, true).mean()) for frames in ways))
