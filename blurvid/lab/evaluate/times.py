"""Scores of frames at other times than the seven, beside what needs no motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from blurvid.blur import average_frames
from blurvid.config import FRAMES, MOST_BEYOND, MOST_FRAMES
from blurvid.errors import OptionError
from blurvid.lab.data.windows import StoredWindow
from blurvid.lab.evaluate.shared import Extract, extracted, in_better_order, means, plain, scored
from blurvid.lab.evaluate.windows import windows_with
from blurvid.lab.metrics import psnr
from blurvid.lab.options import SynthOptions
from blurvid.pipeline.more import places, resample

Scores: TypeAlias = dict[str, float]
"""PSNR [dB] by the way in which the frames were made."""


@dataclass(frozen=True)
class TimesRow:
    """Scores of one window; means over its frames, in the better order of time."""

    window: str
    clip: str
    seven: float
    """PSNR [dB] of those extracted at their own times: all seven, or beyond them the outermost."""
    scores: dict[str, Scores]
    """By what the frames are made of; beyond the seven, by how many frames they are away."""


@dataclass(frozen=True)
class TimesReport:
    """Scores of all windows, and their means."""

    frames: int
    """Averaged in each blurry image."""
    rows: tuple[TimesRow, ...]

    @property
    def mean(self) -> TimesRow:
        """Means over the windows, each counting once."""
        return replace(means(TimesRow, self.rows), window="all", clip="all")

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; PSNR in dB, None for what is infinite."""
        return plain(asdict(self) | {"windows": len(self.rows), "mean": self.mean})


OnRow: TypeAlias = Callable[[TimesRow], None] | None


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


def evaluate_between(
    extract: Extract, windows: Iterator[StoredWindow], count: int, *, on_window: OnRow = None
) -> TimesReport:
    """Score frames between the seven against those of clips of a higher rate.

    Args:
        extract: gives seven frames for y, the average of `count` frames.
        windows: of `windows_of`.
        count: frames of each.
        on_window: called with the scores of every window.

    Raises:
        InputError: no windows, or broken frames from `extract`.
    """

    def score(window: StoredWindow) -> TimesRow:
        y, truth = window.blurry(), window.sharp()
        seven = truth[:: (count - 1) // (FRAMES - 1)]
        frames = in_better_order(extracted(extract, window.name, y).cpu(), seven)
        scores = {"extracted": _between(frames, truth), "of the true seven": _between(seven, truth)}
        return TimesRow(window.name, window.clip, _psnr(frames, seven), scores)

    return TimesReport(count, scored(windows, score, on_window))


def evaluate_beyond(
    extract: Extract, windows: Iterator[StoredWindow], count: int, *, on_window: OnRow = None
) -> TimesReport:
    """Score frames beyond the exposure against the true ones, over both ends.

    Args:
        extract: gives 7 + 2 `count` frames for y.
        windows: of `windows_beyond`.
        count: frames at each end.
        on_window: called with the scores of every window.

    Raises:
        InputError: no windows, or broken frames from `extract`.
    """
    first, last = count, count + FRAMES - 1
    ends = [first, last]

    def score(window: StoredWindow) -> TimesRow:
        truth = window.sharp()
        y = average_frames(truth[first : last + 1], window.gamma).clamp(0, 1)
        frames = extracted(extract, window.name, y, FRAMES + 2 * count).cpu()
        frames = in_better_order(frames, truth, slice(first, last + 1))
        scores = {}
        for away in range(1, count + 1):
            places = [first - away, last + away]
            scores[f"{away} away"] = {
                "made": _psnr(frames[places], truth[places]),
                "outermost of the seven": _psnr(frames[ends], truth[places]),
                "blurry": _psnr(y.expand_as(truth[places]), truth[places]),
            }
        return TimesRow(window.name, window.clip, _psnr(frames[ends], truth[ends]), scores)

    return TimesReport(FRAMES, scored(windows, score, on_window))


def _between(seven: Tensor, truth: Tensor) -> Scores:
    """Score what is made between seven frames, (7, 3, H, W), against all, (N, 3, H, W)."""
    inner = [(i, before, part) for i, (before, part) in enumerate(places(len(truth))) if part > 0]
    numbers = [i for i, _, _ in inner]
    true, made = truth[numbers], resample(seven, len(truth))[numbers]
    blended = [torch.lerp(seven[before], seven[before + 1], part) for _, before, part in inner]
    near = [seven[before + round(part)] for _, before, part in inner]
    return {
        "by motion": _psnr(made, true),
        "blended": _psnr(torch.stack(blended), true),
        "nearest": _psnr(torch.stack(near), true),
    }


def _psnr(frames: Tensor, truth: Tensor) -> float:
    return float(psnr(frames, truth).mean())
