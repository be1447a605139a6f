"""Frames to an animated GIF, with one palette for all of them, or WebP, with all colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from blurvid.atomic import stoppable
from blurvid.config import FASTEST
from blurvid.media.mp4 import writing
from blurvid.media.photo import fitting
from blurvid.media.profile import Pixels
from blurvid.media.video import read_video

_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "gif": ("gif", {}),
    "webp": ("libwebp_anim", {"quality": "90"}),
}
_UNITS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}
"""In which each kind counts time [s]."""
SHORTEST = Fraction(1, FASTEST)
"""Shortest time of a picture [s]; browsers slow down what claims to be faster."""
_LONGEST = Fraction(655)
"""Longest time of a picture [s]."""


def save_looping(
    frames: Sequence[Pixels], order: Sequence[int], path: Path, name: Path, fps: float
) -> None:
    """Write an animation of frames that are all shown equally long.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file; it is written over.
        name: the file to name in messages; its suffix is one of `_UNITS`.
        fps: frames shown per second; in a GIF rounded to hundredths of a second each; `FASTEST` at
            most.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    unit = _UNITS[_kind(name)]
    time = min(max(SHORTEST, round(1 / Fraction(fps) / unit) * unit), _LONGEST)
    animate(
        lambda: (frames[index] for index in stoppable(order)),
        *(path, name, range(len(order) + 1), time),
    )


def animate(
    pictures: Callable[[], Iterable[Pixels]],
    path: Path,
    name: Path,
    shown: Sequence[int],
    tick: Fraction,
    aspect: tuple[int, int] = (1, 1),
) -> int:
    """Make an animation that loops for ever, with one picture in memory at a time.

    Times are rounded so that errors do not add up; what would be shown for less than `SHORTEST`
    is left out. In a WebP, the last picture is shown as long as the others are on average.

    A GIF has one palette and no dithering: on real clips, error diffusion made areas that stand
    still flicker three to four times as much as the camera did, and files a quarter larger, for a
    little less banding in skies.

    Args:
        pictures: gives (H, W, 3) uint8 RGB each, all of one size, as often as it is called.
        path: a file; it is written over.
        name: the file to name in messages; its suffix is one of `_UNITS`.
        shown: when each picture is shown [ticks], and when the last one ends.
        tick: [s].
        aspect: width to height of a pixel; those of animations are square.

    Returns:
        How many pictures it has.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    kind = _kind(name)
    times = _shown_in(_UNITS[kind], shown, tick)
    *begins, end = times.values()
    options = {"loop": "0"}
    if kind == "gif":
        options["final_delay"] = str(end - begins[-1])

    def frames() -> Iterator[VideoFrame]:
        for index, pixels in enumerate(pictures()):
            if index in times:
                frame = VideoFrame.from_ndarray(_square(pixels, aspect, kind))
                frame.pts, frame.time_base = times[index], _UNITS[kind]
                yield frame

    with writing(path, name, kind, options) as out:
        stream: Any = None
        for frame in _in_colours(frames) if kind == "gif" else frames():
            if kind == "webp":
                frame = frame.reformat(format="bgra")
            if stream is None:
                codec, about = _CODECS[kind]
                stream = out.add_stream(codec, 1 / _UNITS[kind], about)
                stream.width, stream.height = frame.width, frame.height
                stream.pix_fmt = frame.format.name
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return len(begins)


def pieces_again(pieces: Sequence[Path], size: tuple[int, int]) -> Iterator[Pixels]:
    """Pictures (H, W, 3) of pieces of video by `mp4.encode`, which gave them even sides."""
    for piece in pieces:
        yield from (pixels[: size[0], : size[1]] for pixels in read_video(piece))


def _kind(name: Path) -> str:
    return name.suffix.lower().removeprefix(".")


def _shown_in(unit: Fraction, shown: Sequence[int], tick: Fraction) -> dict[int, int]:
    """When pictures are shown, in whole units from the first on, without those that are too short.

    Args:
        unit: [s].
        shown: when each is shown [ticks], and when the last one ends.
        tick: [s].

    Returns:
        The time of each picture that is left, by its number; and last the end, by their count.
    """
    least = round(SHORTEST / unit)
    *begins, end = (round((time - shown[0]) * tick / unit) for time in shown)
    found: dict[int, int] = {0: 0}
    last = 0
    for index, begin in enumerate(begins):
        if begin - last >= least and end - begin >= least:
            found[index] = last = begin
    return found | {len(begins): max(end, last + least)}


def _square(pixels: Pixels, aspect: tuple[int, int], kind: str) -> Pixels:
    """A picture whose pixels are square, and which is not too large."""
    height, width = pixels.shape[:2]
    wide, high = aspect
    size = fitting(kind, height, max(1, round(width * wide / high)))
    if size == (height, width):
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


def _in_colours(frames: Callable[[], Iterator[VideoFrame]]) -> Iterator[VideoFrame]:
    """Choose 256 colours for all frames, and show each in these, not dithered."""
    first = next(frames())
    choosing = av.filter.Graph()
    choose = choosing.add("palettegen", "reserve_transparent=0")
    choosing.link_nodes(_buffer(choosing, first), choose, choosing.add("buffersink")).configure()
    for frame in frames():
        choosing.vpush(frame)
    choosing.vpush(None)
    palette, using = choosing.vpull(), av.filter.Graph()
    given, colours = _buffer(using, first), _buffer(using, palette)
    use, sink = using.add("paletteuse", "dither=none"), using.add("buffersink")
    given.link_to(use)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    using.configure()
    colours.push(palette)
    colours.push(None)
    for frame in frames():
        given.push(frame)
        shown = sink.pull()
        assert isinstance(shown, VideoFrame)
        yield shown


def _buffer(graph: av.filter.Graph, frame: VideoFrame) -> av.filter.context.FilterContext:
    """Where frames of one kind come into a graph."""
    size, base = f"{frame.width}x{frame.height}", frame.time_base or Fraction(1)
    return graph.add("buffer", f"video_size={size}:pix_fmt={frame.format.name}:time_base={base}")
