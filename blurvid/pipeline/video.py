"""A blurry video to one with seven times as many frames."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid import media, runtime
from blurvid.bounds import check
from blurvid.config import (
    ANIMATIONS,
    FRAMES,
    UNKNOWN_FPS,
    VIDEO_FORMATS,
    VideoOptions,
)
from blurvid.errors import InputError, OptionError, OutputError
from blurvid.flow import EXPOSED, Chain, Costs, Placed, Ways, meet, ways
from blurvid.pipeline.extraction import Extractor
from blurvid.recipe import GIVEN
from blurvid.targets import check_file
from blurvid.trajectory import Course, Courses, Shutter, Sighting

PIECE = 16
"""Frames of the input whose sevens are encoded as one piece, which a killed run need not repeat."""
_KEPT = 2
"""Of a piece's sevens so many are kept for the next: the first ones there meet the last here, whose
order was decided with the ones before."""
LONGEST = 2.0
"""Exposures that the seven of a frame are spread over at most, so that the time to the next frame
passes in even steps, although the shutter was closed for some of it."""
_DOUBTS = {
    "long": "motion beyond what the network was trained for",
    "defocus": "blurred alike in all directions, as out of focus",
    "still": "no motion found",
}
"""What is said of the reasons not to believe a frame's seven, see `trust.Trust`."""
_FORMAT = 7
"""Of the work folder; another one is begun anew."""

Sevens = NDArray[np.uint8]
"""Frames of one photo, (7, H, W, 3) RGB."""


@dataclass(frozen=True)
class SlowVideo:
    """A video that was made, and how."""

    path: Path
    frames: int
    """Frames of the input; the output has seven times as many."""
    shots: int
    turned: int
    """Frames whose seven run against the model's own order."""
    fps: Fraction
    """Of the output; on average, where frames are not shown equally long."""
    audio: str
    """What became of the sound: one of `config.Sound`; `none` if there was none."""
    seconds: float
    """Time that it took, without what an earlier run had done."""
    warnings: tuple[str, ...] = ()


def extract_video(
    source: str | Path,
    target: str | Path,
    extract: Extractor,
    options: VideoOptions = VideoOptions(),
    *,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> SlowVideo:
    """Make seven frames of every frame of a video, in one order of time.

    Memory does not depend on the length: what is not yet encoded lies in a hidden folder beside
    the output. If the run is killed, another one with the same arguments goes on from there and
    ends with the same file.

    Args:
        source: a video.
        target: a file ending in `.mp4` or `.webm`, or in `.gif` or `.webp`, which hold no sound.
        extract: the loaded model, of seven frames, whose order of time nobody has changed.
        options: rate, quality and sound, and which part of the video.
        overwrite: replace an existing output, and begin anew.
        on_step: called after each frame of the input with how many are done, and of about how many.
        on_warning: called with each warning as soon as it is known: most before any work.

    Returns:
        What was made.

    Raises:
        OptionError: options out of range, or another suffix.
        InputError: not a video, or damaged.
        OutputError: the output exists, cannot be written, or was begun otherwise.
        DeviceError: too little memory.
    """
    source, target = Path(source), Path(target)
    check(options)
    kind = target.suffix.lower().removeprefix(".")
    if kind not in VIDEO_FORMATS:
        raise OptionError(f"{target}: a video becomes a .{', .'.join(VIDEO_FORMATS)} file")
    recipe = extract.recipe
    if (recipe.count, recipe.direction, recipe.flips) != (FRAMES, "auto", ()):
        raise OptionError(f"a picture of a video becomes {FRAMES} frames in the video's order")
    if recipe.middle is not None and recipe.middle.kind == GIVEN:
        raise OptionError("a picture is the middle frame of one photo, not of a video")
    check_file(target, overwrite)
    info = media.video_info(source, _span(options))
    if target.exists() and target.samefile(source):
        raise OutputError(f"{source}: output {target} is the same file as the input")
    timing = info.timing
    warnings: list[str] = []

    def warn(*texts: str) -> None:
        warnings.extend(texts)
        if on_warning is not None:
            for text in texts:
                on_warning(text)

    own = timing.rate
    if own is None:
        own = Fraction(UNKNOWN_FPS)
        warn(f"it does not tell its rate; {UNKNOWN_FPS} frames per second are assumed")
    slower = _slower(options.fps, own)
    fps = FRAMES * own / slower
    animated = kind in ANIMATIONS
    if animated:
        options = replace(options, audio="drop")
    if info.colours:
        warn(f"its colours ({info.colours}) are mapped to BT.709")
    if info.alpha:
        warn("what is transparent in it is put on white")
    if info.interlaced:
        warn("its frames are interlaced: deinterlace them first (ffmpeg -vf bwdif)")
    started = time.perf_counter()
    about = _about(source, extract, options, fps)
    with media.Shelf.opened(target, about, anew=overwrite) as shelf:
        # Before all the work: what of it cannot be read is known then.
        tracks = media.write_tracks(
            source, shelf.sound, timing, slower, options.audio, kind == "webm"
        )
        warn(*tracks.warnings)
        if tracks.audio == "keep" and slower != 1:
            warn(
                f"the sound, at its own speed, takes {float(1 / slower):.3g} times as long as the "
                "pictures"
            )
        run = _Run(source, shelf, extract, info, on_step)
        pieces = run.pieces(fps, options.crf, target, kind)
        tick = slower * (timing.tick or 1 / own) / FRAMES
        shown = _shown(run.ticks, timing, round(tracks.offset * slower / tick))
        with media.replacing([target]) as (path,):
            if animated:
                left = media.animate(
                    lambda: media.pieces_again(pieces, info.size),
                    *(path, target, shown, tick, info.aspect),
                )
            else:
                media.join(pieces, path, target, shown, tick, tracks)
                left = FRAMES * run.count
        shelf.remove()
    if left < FRAMES * run.count:
        rest = FRAMES * run.count - left
        warn(f"{rest} frames would be shown for less than 1/50 s, and are left out")
    if run.count < timing.count:
        warn(f"{timing.count - run.count} of its frames cannot be decoded")
    warn(*run.warnings)
    return SlowVideo(
        path=target,
        frames=run.count,
        shots=run.shots,
        turned=run.turned,
        fps=fps,
        audio=tracks.audio,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
    )


def _span(options: VideoOptions) -> media.Span | None:
    """The part that was asked for; None is the whole."""
    if options.start is None and options.duration is None:
        return None
    begin, length = (
        None if time is None else Fraction(time).limit_denominator(1_000_000)
        for time in (options.start, options.duration)
    )
    return begin or Fraction(0), length


def _slower(fps: float | str, own: Fraction) -> Fraction:
    """How many times as long a video takes, for `VideoOptions.fps` and its own rate."""
    if isinstance(fps, str):
        return Fraction(1 if fps == "keep" else FRAMES)
    return FRAMES * own / Fraction(fps).limit_denominator(1_000_000)


def _shown(ticks: Sequence[int], timing: media.Timing, offset: int) -> list[int]:
    """When the frames of the output are shown, in sevenths of ticks, and when the last one ends."""
    ends = [*ticks[1:], max(timing.end, ticks[-1] + 1)]
    times = [
        FRAMES * begin + part * (end - begin)
        for begin, end in zip(ticks, ends, strict=True)
        for part in range(FRAMES)
    ]
    return [offset + time for time in (*times, FRAMES * ends[-1])]


def _about(
    source: Path, extract: Extractor, options: VideoOptions, fps: Fraction
) -> dict[str, Any]:
    """All that the frames depend on."""
    status = source.stat()
    return {
        "format": _FORMAT,
        "video": [source.name, status.st_size, status.st_mtime_ns],
        "recipe": extract.recipe.record(),
        "precision": str(extract.dtype),
        "fps": str(fps),
        "crf": options.crf,
        "start": str(options.start),
        "duration": str(options.duration),
    }


class _Run:
    """The way of one video's frames from the file to encoded pieces; each step pulls the last."""

    def __init__(
        self,
        source: Path,
        shelf: media.Shelf,
        extract: Extractor,
        info: media.VideoInfo,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        self.source, self.shelf, self.extract = source, shelf, extract
        self.info, self.on_step = info, on_step
        self.ticks: list[int] = []
        """When the frames of the input are shown."""
        self.shots = self.turned = 0
        self.made = 0
        """Frames of the input that this run extracted."""
        self.told: dict[str, None] = {}
        self.doubts: Counter[str] = Counter()
        noted = sum(1 for _ in shelf.joints())
        done = 0
        while shelf.piece(done).exists() and (done + 1) * PIECE <= noted:
            done += 1
        self.done = done
        """Pieces made by an earlier run."""
        self.begin = done * PIECE
        """First frame of the input that is still to be encoded."""

    @property
    def count(self) -> int:
        """Frames of the input so far."""
        return len(self.ticks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was said of single frames: each once, doubts with the number of frames."""
        doubts = (f"{_DOUBTS[k]} in {n} of {self.made} frames" for k, n in self.doubts.items())
        return (*self.told, *doubts)

    def pieces(self, fps: Fraction, crf: int, target: Path, kind: str) -> list[Path]:
        """Encode all that is not encoded yet; the files, in order."""
        pictures = self._pictures()
        number = self.done
        for first in pictures:  # one round a piece
            rest = itertools.islice(pictures, FRAMES * PIECE - 1)
            with media.replacing([self.shelf.piece(number)]) as (path,):
                shown = itertools.chain([first], rest)
                size = first.shape[0], first.shape[1]
                media.encode(
                    *(shown, size, path, fps, crf, target),
                    aspect=self.info.aspect,
                    joinable=True,
                    webm=kind == "webm",
                )
            number += 1
            self.shelf.drop(number * PIECE - _KEPT)
        return [self.shelf.piece(index) for index in range(number)]

    def _pictures(self) -> Iterator[Sevens]:
        """Frames of the output, from the first that is not encoded."""
        before: Tensor | None = None
        for placed in self._placed():
            self.turned += placed.turned
            self.shots += placed.cut
            if placed.item < self.begin - 1:
                continue
            sevens = self.shelf.get(placed.item)
            if sevens is None:
                raise OutputError(f"{self.shelf.folder}: frame {placed.item + 1} was removed")
            with runtime.memory_guard(torch.device("cpu")):
                frames = placed.arranged(_floats(sevens))
                if before is not None and not placed.cut:
                    meet(before, frames)
            if before is not None and placed.item > self.begin:
                yield from media.to_uint8(before)
            before = frames
        if before is not None and self.count > self.begin:
            yield from media.to_uint8(before)

    def _placed(self) -> Iterator[Placed[int]]:
        """Extract frame after frame; their numbers and orders, as soon as these are decided.

        Frames that are encoded already are only counted; what is on the shelf is not made again.
        """
        notes = self.shelf.joints()
        chain: Chain[int] = Chain()
        courses, shutter = Courses(), Shutter()
        told = any(way.region is None for way in self.extract.recipe.motion)
        fits = self.extract.fitting is not None and not told
        for index, (now, after) in enumerate(_followed(self._timed())):
            self.ticks.append(now.tick)
            note = next(notes, None)
            first = index <= self.begin - _KEPT
            course: Course | None = None
            # Begun one earlier: the first frame that may be made again is come to from there.
            if fits and index >= self.begin - _KEPT - 1:
                course = self._course(courses, now, after)
            if note is not None:
                shutter.learn(_sightings(note))
            if index < self.begin - _KEPT:
                assert note is not None
                yield from chain.repeat(index, _costs(note), None)
                continue
            known: list[Sighting] = []
            extract, longer = self.extract, 1.0
            if course is not None:
                if note is None:
                    known.append(extract.sighted(course))
                    shutter.learn(known)
                if shutter.share is not None:
                    extract = extract.expecting(course.during(shutter.share))
                    longer = min(max(EXPOSED / shutter.share, 1.0), LONGEST)
            seen = _ways(self._sevens(index, now.picture, extract, longer))
            if first and note is not None:
                yield from chain.repeat(index, _costs(note), seen)
            else:
                decided = chain.push(index, seen)
                if note is None:
                    self.shelf.note({"costs": chain.costs, "sightings": known})
                yield from decided
            if self.on_step is not None:
                self.on_step(self.count, max(self.count, self.info.timing.count))
        yield from chain.finish()

    def _course(self, courses: Courses, now: _Timed, after: _Timed | None) -> Course | None:
        """Where things go in a frame; what that takes of its size is free again afterwards."""
        usual = self.info.timing.end / self.info.timing.count  # ticks from frame to frame
        with runtime.memory_guard(torch.device("cpu")):
            here = _floats(now.picture[None])[0]
            if after is None:
                return courses.push(here, None)
            there = _floats(after.picture[None])[0]
            return courses.push(here, there, (after.tick - now.tick) / usual)

    def _timed(self) -> Iterator[_Timed]:
        """The frames of the input, with the ticks at which they are shown."""
        tick, shape = -1, None
        frames = media.timed_frames(self.source, timing=self.info.timing)
        for index, (shown, picture) in enumerate(frames):
            if shape is not None and picture.shape != shape:
                raise InputError(f"{self.source}: frame {index + 1} has another size")
            shape, tick = picture.shape, self.info.timing.place(shown, tick)
            yield _Timed(tick, picture)

    def _sevens(
        self, index: int, picture: NDArray[np.uint8], extract: Extractor, longer: float
    ) -> Sevens:
        """The seven of a frame, over so many exposures, from the shelf or made and put there."""
        sevens = self.shelf.get(index)
        if sevens is None:
            clip = extract(picture)
            trust = clip.trust()
            self.made += 1
            self.doubts.update(trust.reasons)
            self.told |= dict.fromkeys(w for w in clip.warnings if w not in trust.warnings)
            # Of a part that is pasted, and where nothing was fitted, the exposure is all there is.
            even = longer > 1 and clip.fitted is not None
            sevens = (clip.spread(longer) if even else clip).frames
            self.shelf.put(index, sevens)
        return sevens


@dataclass(frozen=True, eq=False)
class _Timed:
    """A frame of the input."""

    tick: int
    """When it is shown."""
    picture: NDArray[np.uint8]


def _followed(frames: Iterator[_Timed]) -> Iterator[tuple[_Timed, _Timed | None]]:
    """Each frame with the one after it."""
    now = next(frames, None)
    while now is not None:
        after = next(frames, None)
        yield now, after
        now = after


def _sightings(note: Mapping[str, Any]) -> list[Sighting]:
    """Sightings as they were before they were noted."""
    return [(length, share) for length, share in note["sightings"]]


def _floats(sevens: Sevens) -> Tensor:
    """Frames (T, H, W, 3) as (T, 3, H, W), float32 in [0, 1]."""
    return torch.from_numpy(sevens).permute(0, 3, 1, 2).float() / 255


def _ways(sevens: Sevens) -> Ways:
    with runtime.memory_guard(torch.device("cpu")):
        return ways(_floats(np.stack([sevens[0], sevens[FRAMES // 2], sevens[-1]])))


def _costs(note: Mapping[str, Any]) -> Costs | None:
    """Costs as they were before they were noted."""
    if note["costs"] is None:
        return None
    (a, b), (c, d) = note["costs"]
    return (a, b), (c, d)
