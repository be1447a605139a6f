"""Scores of an extractor on windows with known frames, beside the trivial answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from blurvid import media
from blurvid.bounds import check
from blurvid.config import FRAMES, MIDDLE, Gamma
from blurvid.errors import InputError, OptionError
from blurvid.exposure import average_frames
from blurvid.lab.data import (
    PAIRED,
    SourceClip,
    Window,
    find_clips,
    is_window_folder,
    load_photo,
    plan_windows,
    read_windows,
)
from blurvid.lab.metrics import SequenceScore, psnr, score_sequence
from blurvid.lab.options import BLUR_FOLDERS, SynthOptions

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


def windows_from(
    source: Path, options: SynthOptions = SynthOptions(), blur_folder: str = BLUR_FOLDERS[0]
) -> Iterable[Window]:
    """Windows of a folder that lists them, made on the fly from clips, or stored in GOPRO_Large.

    Args:
        source: a folder with a manifest or a listing (see `data.read_windows`), or
            whatever `data.find_clips` understands.
        options: how to make windows from clips; unused where windows are listed or stored.
        blur_folder: which of the stored blurry images, see `options.BLUR_FOLDERS`.

    Returns:
        The windows; those from clips are made one at a time.

    Raises:
        InputError: nothing usable there, listed windows without seven sharp frames, or scenes of
            GOPRO_Large among other clips.
        OptionError: options that do not give seven frames, or out of range.
    """
    if is_window_folder(source):
        listed = read_windows(source)
        check_counts(listed)
        return listed
    check(options)
    if options.frames != FRAMES:
        raise OptionError(f"scores need windows of {FRAMES} frames, not {options.frames}")
    clips = find_clips([source])
    pairs = [clip for clip in clips if clip.layout == PAIRED]
    if len(pairs) not in (0, len(clips)):
        raise InputError(f"{source}: scenes of GOPRO_Large and other clips; score them apart")
    if pairs:
        return [window for scene in pairs for window in middle_windows(scene, blur_folder)]
    return (make() for clip in clips for make in plan_windows(clip, options))


def middle_windows(scene: SourceClip, blurry: str) -> list[Window]:
    """Pair the blurry images of a scene of GOPRO_Large with their sharp middle frames, by name.

    Args:
        scene: a clip of that layout, as `find_clips` gives it.
        blurry: folder of blurry images beside `sharp`, see `options.BLUR_FOLDERS`.

    Returns:
        Windows of one sharp frame, in natural order.

    Raises:
        InputError: no such folder, or an image without its partner.
    """
    folder = scene.path.parent / blurry
    if not folder.is_dir():
        raise InputError(f"{scene.path.parent}: no folder {blurry} in this scene")
    images = {photo.stem: photo for photo in media.list_photos(folder)}
    frames = {photo.stem: photo for photo in media.list_photos(scene.path)}
    alone = sorted(images.keys() ^ frames.keys(), key=media.natural_key)
    if alone:
        raise InputError(
            f"{scene.path.parent}: not in both {blurry} and sharp: {', '.join(alone[:5])}"
            + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
        )
    return [
        Window(
            {
                "window": f"{scene.name}/{stem}",
                "clip": scene.name,
                "gamma": 1.0 if blurry == "blur" else 2.2,
                "frames": [0],
            },
            partial(load_photo, photo),
            partial(_single, frames[stem]),
        )
        for stem, photo in images.items()
    ]


def _single(path: Path) -> Tensor:
    return load_photo(path).unsqueeze(0)


def check_counts(windows: Sequence[Window]) -> None:
    """Refuse windows of neither seven sharp frames nor one, by name, with an InputError."""
    wrong = [f"{w.name} ({w.count})" for w in windows if w.count not in (1, FRAMES)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"scores need {FRAMES} sharp frames a window, not: {', '.join(wrong[:5])}{more}"
        )
