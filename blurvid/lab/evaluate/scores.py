"""Scores of extracted frames, beside the trivial answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from blurvid.config import FRAMES, MIDDLE, Gamma
from blurvid.errors import InputError
from blurvid.exposure import average_frames
from blurvid.lab.data import Window
from blurvid.lab.evaluate.windows import check_counts
from blurvid.lab.metrics import SequenceScore, psnr, score_sequence

Extract: TypeAlias = Callable[[Tensor], Tensor]
"""Gives for y (3, H, W), RGB, float32 in [0, 1], its seven frames (7, 3, H, W) in order of time;
they are clamped to [0, 1], not rounded, before they are scored."""


@dataclass(frozen=True)
class Row:
    """Scores of one window."""

    window: str
    clip: str
    group: str
    gamma: Gamma
    """Response of the re-blur."""
    score: SequenceScore
    """Of all seven frames, or of the middle one where no other is known."""
    reblur: float
    """PSNR [dB] of the average of the extracted frames against the blurry image."""
    blurry: SequenceScore
    """Trivial answer: the blurry image each time."""
    middle: SequenceScore
    """Trivial answer: the extracted middle frame each time."""


@dataclass(frozen=True)
class Summary:
    """Means over windows."""

    windows: int
    score: SequenceScore
    reblur: float
    blurry: SequenceScore
    middle: SequenceScore


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
        return _summarise(self.rows)

    @property
    def groups(self) -> dict[str, Summary]:
        """Means over the windows of each group (`go` of the clips `go_1`, `go_2`), as they come."""
        return self._by(lambda row: row.group)

    @property
    def clips(self) -> dict[str, Summary]:
        """Means over the windows of each clip, in order of appearance."""
        return self._by(lambda row: row.clip)

    def _by(self, key: Callable[[Row], str]) -> dict[str, Summary]:
        names = dict.fromkeys(map(key, self.rows))
        return {n: _summarise([row for row in self.rows if key(row) == n]) for n in names}

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values.

        Returns:
            Strings, numbers, lists and dictionaries; None for what is infinite (a frame that
            equals the truth), since JSON has no name for it. PSNR in dB.
        """
        return plain(
            {
                "gamma": self.gamma,
                "windows": len(self.rows),
                "mean": self.mean,
                "groups": self.groups,
                "clips": self.clips,
                "rows": self.rows,
            }
        )


def evaluate(
    extract: Extract,
    windows: Iterable[Window],
    gamma: Gamma | None = None,
    *,
    on_window: Callable[[Row], None] | None = None,
) -> Report:
    """Score an extractor on windows, one after the other.

    Args:
        extract: gives seven frames for y, see `Extract`.
        windows: of seven sharp frames, or of the middle one alone.
        gamma: camera response of the re-blur; None takes the one each window was made with.
        on_window: called with the scores of every window.

    Returns:
        The scores; where `extract` left its frames on another device, they were computed there.

    Raises:
        InputError: no windows, a window of another number of sharp frames, or frames of the wrong
            shape or with values that are not finite from `extract`.
    """
    rows = []
    for window in windows:
        check_counts([window])
        rows.append(_score(extract, window, window.gamma if gamma is None else gamma))
        if on_window:
            on_window(rows[-1])
    if not rows:
        raise InputError("no windows to evaluate")
    return Report(tuple(rows))


def _score(extract: Extract, window: Window, gamma: Gamma) -> Row:
    y, truth = window.blurry(), window.sharp()
    if truth.shape[1:] != y.shape:
        raise InputError(f"{window.name}: blurry image and sharp frames differ in size")
    frames = _extracted(extract, window.name, y)
    y, truth = y.to(frames.device), truth.to(frames.device)
    middle = frames[MIDDLE - 1 : MIDDLE]
    return Row(
        window=window.name,
        clip=window.clip,
        group=window.clip.rpartition("_")[0] or window.clip,
        gamma=gamma,
        score=score_sequence(frames if len(truth) == FRAMES else middle, truth),
        reblur=float(psnr(average_frames(frames, gamma), y)),
        blurry=score_sequence(y.expand_as(truth), truth),
        middle=score_sequence(middle.expand_as(truth), truth),
    )


def _extracted(extract: Extract, name: str, y: Tensor) -> Tensor:
    """Frames that can be scored, (7, 3, H, W) in [0, 1], on the device where they were left."""
    with torch.no_grad():
        frames = extract(y)
    wanted = (FRAMES, *y.shape)
    if frames.shape != wanted:
        raise InputError(
            f"{name}: the frames extracted have the shape {tuple(frames.shape)}, not {wanted}"
        )
    if not bool(frames.isfinite().all()):
        raise InputError(f"{name}: the frames extracted are not all finite numbers")
    return frames.detach().float().clamp(0, 1)


def _summarise(rows: Sequence[Row]) -> Summary:
    """Average the scores of windows, each counting once; infinite where one of the values is."""
    names = ("score", "reblur", "blurry", "middle")
    return Summary(
        len(rows), **{name: _mean([getattr(row, name) for row in rows]) for name in names}
    )


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers; of records and tuples, of each number in them."""
    first = values[0]
    if is_dataclass(first) and not isinstance(first, type):
        return type(first)(*map(_mean, zip(*(vars(v).values() for v in values), strict=True)))
    if isinstance(first, tuple):
        return tuple(map(_mean, zip(*values, strict=True)))
    return sum(values) / len(values)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold: None for what is not finite, lists for tuples, objects for records."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
