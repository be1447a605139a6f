"""Scores of the middle frame alone: what the paper's Table 2 reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from blurvid.config import MIDDLE
from blurvid.errors import InputError
from blurvid.lab.data.windows import MiddleWindow
from blurvid.lab.evaluate.sequence import Report, Row
from blurvid.lab.evaluate.shared import Extract, by_clip, extracted, means, plain, scored
from blurvid.lab.metrics import psnr, ssim


@dataclass(frozen=True)
class FrameScore:
    """How close one frame is to the truth; the mean of such scores over images has this shape too.

    The middle frame is the same in both orders of time, so that none has to be chosen.
    """

    psnr: float
    """[dB]."""
    ssim: float


@dataclass(frozen=True)
class MiddleRow:
    """Scores of the middle frame of one window."""

    window: str
    clip: str
    score: FrameScore
    blurry: FrameScore
    """Trivial answer: the blurry image itself."""

    @classmethod
    def of(cls, row: Row) -> MiddleRow:
        """Take the middle frame out of the scores of seven."""
        middle = MIDDLE - 1
        score, blurry = (
            FrameScore(sequence.per_frame[middle], sequence.ssim_per_frame[middle])
            for sequence in (row.score, row.blurry)
        )
        return cls(row.window, row.clip, score, blurry)


@dataclass(frozen=True)
class MiddleSummary:
    """Means over windows."""

    windows: int
    score: FrameScore
    blurry: FrameScore


@dataclass(frozen=True)
class MiddleReport:
    """Scores of the middle frames of all windows, and their means."""

    rows: tuple[MiddleRow, ...]

    @classmethod
    def of(cls, report: Report) -> MiddleReport:
        """Take the middle frames out of the scores of seven."""
        return cls(tuple(map(MiddleRow.of, report.rows)))

    @property
    def mean(self) -> MiddleSummary:
        """Means over all windows."""
        return _summarise(self.rows)

    @property
    def clips(self) -> dict[str, MiddleSummary]:
        """Means over the windows of each clip, in order of appearance."""
        return by_clip(self.rows, _summarise)

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values, as `Report.to_json` does."""
        return plain({"mean": self.mean, "clips": self.clips, "rows": self.rows})


def evaluate_middle(
    extract: Extract,
    windows: Iterable[MiddleWindow],
    *,
    on_window: Callable[[MiddleRow], None] | None = None,
) -> MiddleReport:
    """Score the middle frame that an extractor gives, window after window.

    Args:
        extract: gives seven frames for y, see `Extract`; the fourth is scored.
        windows: windows of which the middle frame is known.
        on_window: called with the scores of every window.

    Returns:
        The scores; where `extract` left its frames on another device, they were computed there.

    Raises:
        InputError: no windows, a frame of another size than its blurry image, or frames of the
            wrong shape or with values that are not finite from `extract`.
    """
    return MiddleReport(scored(windows, partial(_score, extract), on_window))


def _score(extract: Extract, window: MiddleWindow) -> MiddleRow:
    y, truth = window.blurry(), window.middle()
    if truth.shape != y.shape:
        raise InputError(f"{window.name}: blurry image and sharp frame differ in size")
    frame = extracted(extract, window.name, y)[MIDDLE - 1]
    y, truth = y.to(frame.device), truth.to(frame.device)
    return MiddleRow(window.name, window.clip, _frame_score(frame, truth), _frame_score(y, truth))


def _frame_score(frame: Tensor, truth: Tensor) -> FrameScore:
    return FrameScore(float(psnr(frame, truth)), float(ssim(frame, truth)))


def _summarise(rows: Sequence[MiddleRow]) -> MiddleSummary:
    return MiddleSummary(
        windows=len(rows),
        score=means(FrameScore, [r.score for r in rows]),
        blurry=means(FrameScore, [r.blurry for r in rows]),
    )
