"""A blurry video to one with seven times as many frames."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid import media, runtime
from blurvid.config import FRAMES, SOUNDS, UNKNOWN_FPS, ClipOptions, VideoOptions
from blurvid.errors import InputError, OptionError, OutputError
from blurvid.flow import Chain, Costs, Ways, joint, ways
from blurvid.pipeline.extraction import Extractor

PIECE = 16
"""Frames of the input whose sevens are encoded as one piece, which a killed run need not repeat."""
_FORMAT = 1
"""Of the work folder; another one is begun anew."""

Sevens = NDArray[np.uint8]
"""Frames of one photo, (7, H, W, 3) RGB."""


@dataclass(frozen=True)
class Step:
    """How far a video is."""

    done: int
    """Frames of the input that are extracted."""
    total: int | None
    """About how many there are; None if the video does not tell."""


@dataclass(frozen=True)
class SlowVideo:
    """A video that was made, and how."""

    path: Path
    frames: int
    """Frames of the input; the output has seven times as many."""
    shots: int
    turned: int
    """Frames whose seven run against the model's own order."""
    fps: float
    """Of the output."""
    audio: str
    """What became of the sound: one of `config.SOUNDS`; `none` if there was none."""
    seconds: float
    """Time that it took, without what an earlier run had done."""
    warnings: tuple[str, ...] = ()


def check_video(options: VideoOptions) -> None:
    """Refuse options that mean nothing.

    Raises:
        OptionError: one is out of range; the message names it.
    """
    fps = options.fps
    if isinstance(fps, str) and fps not in ("slow", "keep"):
        raise OptionError(f"fps {fps!r}: use a number, slow or keep")
    if options.audio not in SOUNDS:
        raise OptionError(f"audio {options.audio!r}: use {', '.join(SOUNDS)}")
    number = ClipOptions().fps if isinstance(fps, str) else fps
    media.check_clip_options(ClipOptions(fps=number, crf=options.crf))


def extract_video(
    source: str | Path,
    target: str | Path,
    extract: Extractor,
    options: VideoOptions = VideoOptions(),
    *,
    overwrite: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> SlowVideo:
    """Make seven frames of every frame of a video, in one order of time.

    Memory does not depend on the length: what is not yet encoded lies in a hidden folder beside
    the output. If the run is killed, another one with the same arguments goes on from there and
    ends with the same file.

    Args:
        source: a video.
        target: a file ending in `.mp4`.
        extract: the loaded model; its `order` is not asked.
        options: rate, quality and sound.
        overwrite: replace an existing output, and begin anew.
        on_step: called after each frame of the input.

    Returns:
        What was made.

    Raises:
        OptionError: options out of range, or another suffix.
        InputError: not a video, or damaged.
        OutputError: the output exists, cannot be written, or was begun otherwise.
        DeviceError: too little memory.
    """
    source, target = Path(source), Path(target)
    check_video(options)
    if target.suffix.lower() != ".mp4":
        raise OptionError(f"{target}: a video becomes a .mp4 file")
    media.check_file(target, overwrite)
    info = media.video_info(source)
    if target.exists() and target.samefile(source):
        raise OutputError(f"{source}: output {target} is the same file as the input")
    warnings = []
    own = info.fps
    if own is None:
        own = UNKNOWN_FPS
        warnings.append(f"{source} does not tell its rate; {own:g} frames per second are assumed")
    fps = {"slow": own, "keep": FRAMES * own}.get(str(options.fps), options.fps)
    assert not isinstance(fps, str)
    slower = FRAMES * own / fps
    audio = options.audio if media.has_sound(source) else "none"
    if audio == "keep" and abs(slower - 1) > 1e-6:
        warnings.append(
            f"the sound, at its own speed, takes {1 / slower:.3g} times as long as the pictures"
        )
    started = time.perf_counter()
    about = _about(source, extract, options, fps)
    with media.Shelf.opened(target, about, anew=overwrite) as shelf:
        run = _Run(source, shelf, extract, info.frames, on_step)
        pieces = run.pieces(fps, options.crf, target)
        sound = source if audio in ("stretch", "keep") else None
        with media.replacing([target]) as (path,):
            media.join(
                pieces, path, target, sound=sound, slower=slower if audio == "stretch" else 1.0
            )
        shelf.remove()
    return SlowVideo(
        path=target,
        frames=run.count,
        shots=run.shots,
        turned=run.turned,
        fps=fps,
        audio=audio,
        seconds=time.perf_counter() - started,
        warnings=(*warnings, *run.warnings),
    )


def _about(source: Path, extract: Extractor, options: VideoOptions, fps: float) -> dict[str, Any]:
    """All that the frames depend on."""
    status = source.stat()
    return {
        "format": _FORMAT,
        "video": [source.name, status.st_size, status.st_mtime_ns],
        "model": extract.model.name,
        "weights": extract.name,
        "precision": str(extract.dtype),
        "quality": [str(value) for value in vars(extract.quality).values()],
        "middle": extract.middle.name if extract.middle else None,
        "fps": fps,
        "crf": options.crf,
    }


class _Run:
    """The way of one video's frames from the file to encoded pieces; each step pulls the last."""

    def __init__(
        self,
        source: Path,
        shelf: media.Shelf,
        extract: Extractor,
        total: int | None,
        on_step: Callable[[Step], None] | None,
    ) -> None:
        self.source, self.shelf, self.extract = source, shelf, extract
        self.total, self.on_step = total, on_step
        self.count = self.shots = self.turned = 0
        self.warnings: dict[str, None] = {}
        noted = sum(1 for _ in shelf.joints())
        done = 0
        while shelf.piece(done).exists() and (done + 1) * PIECE <= noted:
            done += 1
        self.done = done
        """Pieces made by an earlier run."""
        self.begin = done * PIECE
        """First frame of the input that is still to be encoded."""

    def pieces(self, fps: float, crf: int, target: Path) -> list[Path]:
        """Encode all that is not encoded yet; the files, in order."""
        pictures = self._pictures()
        number = self.done
        for first in pictures:  # one round a piece
            rest = itertools.islice(pictures, FRAMES * PIECE - 1)
            with media.replacing([self.shelf.piece(number)]) as (path,):
                shown = itertools.chain([first], rest)
                size = first.shape[0], first.shape[1]
                media.encode(shown, size, path, fps, crf, target, joinable=True)
            number += 1
            # The last seven of a piece meet the first of the next.
            self.shelf.drop(number * PIECE - 1)
        return [self.shelf.piece(index) for index in range(number)]

    def _pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Frames of the output, from the first that is not encoded."""
        for index, sevens in self._ordered():
            if index >= self.begin:
                yield from sevens

    def _ordered(self) -> Iterator[tuple[int, Sevens]]:
        """Sevens in the order of time, as soon as that is decided."""
        chain = Chain()
        waiting: deque[int] = deque()

        def leave(decided: list[bool]) -> Iterator[tuple[int, Sevens]]:
            for turned in decided:
                index = waiting.popleft()
                self.turned += turned
                if index >= self.begin - 1:
                    sevens = self.shelf.get(index)
                    if sevens is None:
                        raise OutputError(f"{self.shelf.folder}: frame {index} was removed")
                    yield index, sevens[::-1] if turned else sevens

        for index, costs in self._joints():
            self.shots += costs is None
            yield from leave(chain.push(costs))
            waiting.append(index)
        yield from leave(chain.finish())

    def _joints(self) -> Iterator[tuple[int, Costs | None]]:
        """Extract frame after frame, and tell how each follows the one before.

        Frames that are encoded already are only counted; what is on the shelf is not made again.
        """
        notes = self.shelf.joints()
        shape: tuple[int, ...] | None = None
        last: Sevens | None = None
        before: Ways | None = None
        for index, picture in enumerate(media.read_video(self.source)):
            if shape is not None and picture.shape != shape:
                raise InputError(f"{self.source}: frame {index + 1} has another size")
            shape = picture.shape
            note = next(notes, None)
            after: Ways | None = None
            sevens: Sevens | None = None
            if note is None or index >= self.begin - 1:
                sevens = self._sevens(index, picture)
            if note is None:
                assert sevens is not None
                after = _ways(sevens)
                if last is not None and before is None:
                    before = _ways(last)
                costs = joint(before, after) if before is not None else None
                self.shelf.note({"costs": costs})
            else:
                costs = _costs(note["costs"])
            last, before = sevens, after
            self.count = index + 1
            if self.on_step is not None and sevens is not None:
                self.on_step(Step(self.count, self.total))
            yield index, costs

    def _sevens(self, index: int, picture: NDArray[np.uint8]) -> Sevens:
        """The seven of a frame, from the shelf or else made and put there."""
        sevens = self.shelf.get(index)
        if sevens is None:
            clip = self.extract(picture)
            self.warnings |= dict.fromkeys(clip.warnings)
            sevens = clip.frames
            self.shelf.put(index, sevens)
        return sevens


def _ways(sevens: Sevens) -> Ways:
    few: Tensor = torch.from_numpy(np.stack([sevens[0], sevens[FRAMES // 2], sevens[-1]]))
    with runtime.memory_guard(torch.device("cpu")):
        return ways(few.permute(0, 3, 1, 2).float() / 255)


def _costs(noted: Any) -> Costs | None:
    """Costs as they were before they were noted."""
    if noted is None:
        return None
    (a, b), (c, d) = noted
    return (a, b), (c, d)
