"""Scores of whole videos: order of time, and all frames beside the trivial answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES, MIDDLE
from blurvid.errors import InputError, OptionError
from blurvid.flow import meet, ways
from blurvid.lab.data.windows import SourceClip, Window, make_windows
from blurvid.lab.evaluate.shared import Extract, average, by_clip, extracted, means, plain
from blurvid.lab.metrics import psnr
from blurvid.lab.options import SynthOptions
from blurvid.pipeline import Placed, Weaver

COARSE = 160
"""Long side at which joints are looked at [px]."""
MOVING = 2.0
"""Median motion of a window [px] above which its order counts."""


@dataclass(frozen=True)
class Jump:
    """Mean difference between the frames at a joint, seen coarsely [levels of 255]."""

    plain: float
    """As they were extracted, in order."""
    met: float
    """After they were brought together."""
    true: float
    """What motion makes of it."""


@dataclass(frozen=True)
class FrameRow:
    """One blurry frame of a video."""

    clip: str
    number: int
    motion: float
    """Median motion from the first true frame to the last [px]."""
    turned: bool
    """Whether the seven, as a whole, run against the model's own order."""
    right: bool
    """Whether the reverse of what is in the video would be no better."""
    cut: bool
    """Whether a cut was seen before it."""
    psnr: float
    """Of the seven as they are in the video [dB]."""
    own: float
    """In the model's own order."""
    best: float
    """In the better order, all seven as they were extracted."""
    repeat: float
    """Trivial answer: the blurry frame, seven times."""
    blend: float
    """Trivial answer: a fade from the middle of one blurry frame to that of the next."""
    jump: Jump | None = None
    """From the seven before it; None at the beginning and behind a cut."""


@dataclass(frozen=True)
class VideoSummary:
    """Means over frames."""

    frames: int
    moving: int
    """Frames whose motion is above `MOVING`..."""
    right: int
    """...and those of them whose order is right."""
    cuts: int
    psnr: float
    own: float
    best: float
    repeat: float
    blend: float
    jump: Jump | None
    """Means over the joints; None if there is none."""


@dataclass(frozen=True)
class VideoReport:
    """Scores of all frames, and their means."""

    rows: tuple[FrameRow, ...]

    @property
    def mean(self) -> VideoSummary:
        """Means over all frames."""
        return _summary(self.rows)

    @property
    def clips(self) -> dict[str, VideoSummary]:
        """Means over the frames of each clip, in order of appearance."""
        return by_clip(self.rows, _summary)

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; PSNR in dB, None for what is infinite."""
        return plain({"mean": self.mean, "clips": self.clips, "rows": self.rows})


def evaluate_video(
    extract: Extract,
    clips: Sequence[SourceClip],
    options: SynthOptions = SynthOptions(),
    *,
    on_frame: Callable[[FrameRow], None] | None = None,
) -> VideoReport:
    """Average each clip to a blurry video of a seventh of its frames, and score the way back.

    Args:
        extract: gives seven frames for y, see `Extract`.
        clips: of a high rate.
        options: how windows are made; a `stride` above 7 stands for a shutter that is closed
            between them. Only the frames that were averaged are scored.
        on_frame: called with the scores of every blurry frame.

    Returns:
        The scores.

    Raises:
        InputError: a clip is unreadable, or too short for two windows.
        OptionError: options that do not give seven frames, or windows that overlap.
    """
    stride = options.stride or options.frames
    if options.frames != FRAMES or stride < FRAMES or options.crop is not None:
        raise OptionError(f"a video is scored in whole windows of {FRAMES} frames, side by side")
    rows = []
    for clip in clips:
        count = 0
        for row in _rows(extract, clip.name, make_windows(clip, options), stride):
            rows.append(row)
            count += 1
            if on_frame:
                on_frame(row)
        if count < 2:
            raise InputError(f"{clip.path}: too short; {FRAMES + stride} frames give a video of 2")
    if not rows:
        raise InputError("no clips to evaluate")
    return VideoReport(tuple(rows))


@dataclass
class _Seven:
    """What is kept of a blurry frame until it is scored."""

    number: int
    motion: float
    y: Tensor
    truth: Tensor
    frames: Tensor
    own: Tensor
    """In the model's own order."""
    placed: Placed[Any] | None = None
    jump: Jump | None = None


def _rows(
    extract: Extract, name: str, windows: Iterable[Window], stride: int
) -> Iterator[FrameRow]:
    """Score the frames of one video, each with its neighbors."""
    before: _Seven | None = None
    now: _Seven | None = None
    for after in _ordered(extract, name, windows):
        if now is not None:
            if after.placed is not None and not after.placed.cut:
                plain_jump = _apart(now.frames, after.frames)
                meet(now.frames, after.frames)
                after.jump = Jump(
                    plain_jump,
                    _apart(now.frames, after.frames),
                    _apart(now.truth, after.truth),
                )
            yield _row(name, before, now, after, stride)
        before, now = now, after
    if now is not None:
        yield _row(name, before, now, None, stride)


def _ordered(extract: Extract, name: str, windows: Iterable[Window]) -> Iterator[_Seven]:
    """Extract the frames of one video and choose their orders."""
    weaver: Weaver[_Seven] = Weaver()

    def leave(decided: list[Placed[_Seven]]) -> Iterator[_Seven]:
        for placed in decided:
            seven = placed.item
            seven.frames, seven.placed = placed.arranged(seven.own), placed
            yield seven

    for number, window in enumerate(windows):
        # A video has 8 bits, before and after.
        y = (window.blurry * 255).round() / 255
        frames = (extracted(extract, f"{name}/{number}", y).cpu() * 255).round() / 255
        motion = float(window.record["motion"]["median_px"])
        seven = _Seven(number, motion, y, window.sharp, frames, frames)
        yield from leave(weaver.push(seven, ways(frames)))
    yield from leave(weaver.finish())


def _row(
    name: str, before: _Seven | None, now: _Seven, after: _Seven | None, stride: int
) -> FrameRow:
    assert now.placed is not None
    chosen, other = (float(psnr(x, now.truth).mean()) for x in (now.frames, now.frames.flip(0)))
    both = [float(psnr(x, now.truth).mean()) for x in (now.own, now.own.flip(0))]
    return FrameRow(
        clip=name,
        number=now.number,
        motion=now.motion,
        turned=now.placed.turned,
        right=chosen >= other,
        cut=now.placed.cut and now.number > 0,
        psnr=chosen,
        own=both[0],
        best=max(both),
        repeat=float(psnr(now.y.expand_as(now.truth), now.truth).mean()),
        blend=float(psnr(_blend(before, now, after, stride), now.truth).mean()),
        jump=now.jump,
    )


def _apart(before: Tensor, after: Tensor) -> float:
    """How far the last frame of one sequence is from the first of the next, seen coarsely."""
    ends = torch.stack([before[-1], after[0]])
    scale = COARSE / max(ends.shape[-2:])
    if scale < 1:
        ends = F.interpolate(ends, scale_factor=scale, mode="bilinear", antialias=True)
    return float((ends[0] - ends[1]).abs().mean()) * 255


def _blend(before: _Seven | None, now: _Seven, after: _Seven | None, stride: int) -> Tensor:
    """Fade from blurry frame to blurry frame; the ends of a video stay as they are."""
    frames = []
    for number in range(1, FRAMES + 1):
        offset = (number - MIDDLE) / stride
        other = after if offset > 0 else before
        frames.append(now.y if other is None else torch.lerp(now.y, other.y, abs(offset)))
    return torch.stack(frames)


def _summary(rows: Sequence[FrameRow]) -> VideoSummary:
    moving = [row for row in rows if row.motion > MOVING]
    jumps = [row.jump for row in rows if row.jump is not None]
    return VideoSummary(
        frames=len(rows),
        moving=len(moving),
        right=sum(row.right for row in moving),
        cuts=sum(row.cut for row in rows),
        psnr=average([row.psnr for row in rows]),
        own=average([row.own for row in rows]),
        best=average([row.best for row in rows]),
        repeat=average([row.repeat for row in rows]),
        blend=average([row.blend for row in rows]),
        jump=means(Jump, jumps) if jumps else None,
    )
