"""Scores of an extractor on windows with known frames, beside the trivial answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurvid.config import FRAMES, MIDDLE, Gamma, SynthOptions
from blurvid.dataset.windows import (
    Clip,
    StoredWindow,
    check_options,
    find_clips,
    is_window_folder,
    make_windows,
    read_windows,
)
from blurvid.errors import InputError, OptionError
from blurvid.metrics import SequenceScore, psnr, score_sequence
from blurvid.synth.blur import average_frames


@dataclass(frozen=True)
class Row:
    """Scores of one window."""

    window: str
    clip: str
    group: str
    gamma: Gamma
    """Response of the re-blur."""
    score: SequenceScore
    reblur: float
    """PSNR [dB] of the average of the extracted frames against the blurry image."""
    blurry: SequenceScore
    """Trivial answer: the blurry image, seven times."""
    middle: SequenceScore
    """Trivial answer: the extracted middle frame, seven times."""
    true_middle: SequenceScore
    """For reference: the true middle frame, seven times; its own frame is infinitely good."""


@dataclass(frozen=True)
class MeanScore:
    """Means of `SequenceScore` over windows."""

    psnr: float
    ppsnr: float
    per_frame: tuple[float, ...]
    ssim: float
    pssim: float
    ssim_per_frame: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Means over windows."""

    windows: int
    reversed: int
    """Windows whose better order of time was the reverse."""
    score: MeanScore
    reblur: float
    blurry: MeanScore
    middle: MeanScore
    true_middle: MeanScore


@dataclass(frozen=True)
class Report:
    """Scores of all windows, and their means."""

    rows: tuple[Row, ...]

    @property
    def gamma(self) -> Gamma | None:
        """Response of the re-blur; None if it differs between windows."""
        responses = {row.gamma for row in self.rows}
        return responses.pop() if len(responses) == 1 else None

    @property
    def mean(self) -> Summary:
        """Means over all windows."""
        return summarise(self.rows)

    @property
    def groups(self) -> dict[str, Summary]:
        """Means over the windows of each group, in order of appearance."""
        names = dict.fromkeys(row.group for row in self.rows)
        return {name: summarise([r for r in self.rows if r.group == name]) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values.

        Returns:
            Strings, numbers, lists and dictionaries; None for what is infinite (a frame that
            equals the truth), since JSON has no name for it. PSNR in dB.
        """
        whole = {
            "gamma": self.gamma,
            "windows": len(self.rows),
            "clips": len({row.clip for row in self.rows}),
            "mean": asdict(self.mean),
            "groups": {name: asdict(summary) for name, summary in self.groups.items()},
            "rows": [asdict(row) for row in self.rows],
        }
        plain: dict[str, Any] = _plain(whole)
        return plain


def evaluate(
    extract: Callable[[Tensor], Tensor],
    windows: Iterable[StoredWindow],
    gamma: Gamma | None = None,
    *,
    on_window: Callable[[Row], None] | None = None,
) -> Report:
    """Score an extractor on windows, one after the other.

    Args:
        extract: gives for y (3, H, W), RGB, float32 in [0, 1], its seven frames (7, 3, H, W) in
            order of time; they are clamped to [0, 1], not rounded, before they are scored.
        windows: windows of seven sharp frames.
        gamma: camera response of the re-blur; None takes the one each window was made with.
        on_window: called with the scores of every window.

    Returns:
        The scores; where `extract` left its frames on another device, they were computed there.

    Raises:
        InputError: no windows, a window that has not seven sharp frames, or frames of the wrong
            shape or with values that are not finite from `extract`.
    """
    rows = []
    for window in windows:
        _check_counts([window])
        rows.append(_score(extract, window, window.gamma if gamma is None else gamma))
        if on_window:
            on_window(rows[-1])
    if not rows:
        raise InputError("no windows to evaluate")
    return Report(tuple(rows))


def windows_from(source: Path, options: SynthOptions | None = None) -> Iterable[StoredWindow]:
    """Windows of a folder that lists them, or made on the fly from clips.

    Args:
        source: a folder with a manifest or a listing (see `dataset.windows.read_windows`), or
            whatever `dataset.windows.find_clips` understands.
        options: how to make windows from clips; unused where windows are listed.

    Returns:
        The windows; those from clips are made one at a time.

    Raises:
        InputError: nothing usable there, or listed windows without seven sharp frames.
        OptionError: options that do not give seven frames, or out of range.
    """
    if is_window_folder(source):
        listed = read_windows(source)
        _check_counts(listed)
        return listed
    options = options or SynthOptions()
    check_options(options)
    if options.frames != FRAMES:
        raise OptionError(f"scores need windows of {FRAMES} frames, not {options.frames}")
    return _on_the_fly(find_clips([source]), options)


def _on_the_fly(clips: Sequence[Clip], options: SynthOptions) -> Iterator[StoredWindow]:
    for clip in clips:
        for window in make_windows(clip, options):
            yield StoredWindow(
                name=window.record["window"],
                clip=clip.name,
                gamma=options.gamma,
                count=len(window.sharp),
                blurry=partial(_itself, window.blurry),
                sharp=partial(_itself, window.sharp),
                record=window.record,
            )


def _itself(image: Tensor) -> Tensor:
    return image


def summarise(rows: Sequence[Row]) -> Summary:
    """Average the scores of windows, each window counting once.

    Args:
        rows: at least one.

    Returns:
        The means; infinite where one of the values is.
    """
    return Summary(
        windows=len(rows),
        reversed=sum(row.score.reversed for row in rows),
        score=_mean([row.score for row in rows]),
        reblur=_average([row.reblur for row in rows]),
        blurry=_mean([row.blurry for row in rows]),
        middle=_mean([row.middle for row in rows]),
        true_middle=_mean([row.true_middle for row in rows]),
    )


def _check_counts(windows: Sequence[StoredWindow]) -> None:
    wrong = [f"{w.name} ({w.count})" for w in windows if w.count != FRAMES]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"scores need {FRAMES} sharp frames a window, not: {', '.join(wrong[:5])}{more}"
        )


def _score(extract: Callable[[Tensor], Tensor], window: StoredWindow, gamma: Gamma) -> Row:
    y, truth = window.blurry(), window.sharp()
    if truth.shape[1:] != y.shape:
        raise InputError(f"{window.name}: blurry image and sharp frames differ in size")
    with torch.no_grad():
        frames = extract(y)
    if frames.shape != truth.shape:
        raise InputError(
            f"{window.name}: the frames extracted have the shape {tuple(frames.shape)}, "
            f"not {tuple(truth.shape)}"
        )
    if not bool(frames.isfinite().all()):
        raise InputError(f"{window.name}: the frames extracted are not all finite numbers")
    frames = frames.detach().float().clamp(0, 1)
    y, truth = y.to(frames.device), truth.to(frames.device)
    middle = MIDDLE - 1
    return Row(
        window=window.name,
        clip=window.clip,
        group=window.clip.rpartition("_")[0] or window.clip,
        gamma=gamma,
        score=score_sequence(frames, truth),
        reblur=float(psnr(average_frames(frames, gamma), y)),
        blurry=score_sequence(y.expand_as(truth), truth),
        middle=score_sequence(frames[middle].expand_as(truth), truth),
        true_middle=score_sequence(truth[middle].expand_as(truth), truth),
    )


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean(scores: Sequence[SequenceScore]) -> MeanScore:
    return MeanScore(
        psnr=_average([s.psnr for s in scores]),
        ppsnr=_average([s.ppsnr for s in scores]),
        per_frame=tuple(map(_average, zip(*(s.per_frame for s in scores), strict=True))),
        ssim=_average([s.ssim for s in scores]),
        pssim=_average([s.pssim for s in scores]),
        ssim_per_frame=tuple(map(_average, zip(*(s.ssim_per_frame for s in scores), strict=True))),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
