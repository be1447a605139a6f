"""Pieces of video to an animated GIF or WebP, picture by picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from blurvid.media.animation import (
    GREYS,
    MOSAIC_PIXELS,
    WEBP_QUALITY,
    colours_of,
    indexed,
    is_grey,
)
from blurvid.media.mp4 import writing
from blurvid.media.stills import fitting
from blurvid.media.video import read_video

Pixels = NDArray[np.uint8]

_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "gif": ("gif", {}),
    "webp": ("libwebp_anim", {"quality": str(WEBP_QUALITY)}),
}
UNITS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}
"""In which each kind counts time [s]."""
SHORTEST = Fraction(1, 50)
"""Shortest time of a picture [s]; browsers slow down what claims to be faster."""


def animate(
    pieces: Sequence[Path],
    path: Path,
    name: Path,
    shown: Sequence[int],
    tick: Fraction,
    size: tuple[int, int],
    aspect: tuple[int, int] = (1, 1),
) -> int:
    """Make an animation that loops for ever of pieces of video, one picture in memory at a time.

    Times are rounded so that errors do not add up; what would be shown for less than `SHORTEST`
    is left out. In a WebP, the last picture is shown as long as the others are on average.

    Args:
        pieces: made by `mp4.encode`, alike.
        path: a file; it is written over.
        name: the file to name in messages; its suffix is one of `UNITS`.
        shown: when each picture is shown [ticks], and when the last one ends.
        tick: [s].
        size: H and W of the pictures, which in pieces have even sides.
        aspect: width to height of a pixel; those of animations are square.

    Returns:
        How many pictures it has.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    kind = name.suffix.lower().removeprefix(".")
    times = shown_in(UNITS[kind], shown, tick)
    *begins, end = times.values()
    options = {"loop": "0"}
    if kind == "gif":
        options["final_delay"] = str(end - begins[-1])
    palette = _palette(pieces, len(shown) - 1, size) if kind == "gif" else None
    with writing(path, name, kind, options) as out:
        stream: Any = None
        for index, pixels in enumerate(_pictures(pieces, size)):
            if index not in times:
                continue
            frame = _frame(_square(pixels, aspect, kind), palette)
            frame.pts, frame.time_base = times[index], UNITS[kind]
            if stream is None:
                codec, about = _CODECS[kind]
                stream = out.add_stream(codec, 1 / UNITS[kind], about)
                stream.width, stream.height = frame.width, frame.height
                stream.pix_fmt = frame.format.name
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return len(begins)


def shown_in(unit: Fraction, shown: Sequence[int], tick: Fraction) -> dict[int, int]:
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


def _pictures(pieces: Sequence[Path], size: tuple[int, int]) -> Iterator[Pixels]:
    for piece in pieces:
        yield from (pixels[: size[0], : size[1]] for pixels in read_video(piece))


def _square(pixels: Pixels, aspect: tuple[int, int], kind: str) -> Pixels:
    """A picture whose pixels are square, and which is not too large."""
    height, width = pixels.shape[:2]
    wide, high = aspect
    size = fitting(kind, height, max(1, round(width * wide / high)))
    if size == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


def _palette(pieces: Sequence[Path], count: int, size: tuple[int, int]) -> Pixels:
    """Colours for all pictures, chosen by a few pixels of each."""
    parts: list[Pixels] = []
    grey = True
    step = max(1, int(np.ceil(np.sqrt(count * size[0] * size[1] / MOSAIC_PIXELS))))
    for pixels in _pictures(pieces, size):
        grey = grey and is_grey(pixels)
        parts.append(pixels[::step, ::step].copy())
    return GREYS if grey else colours_of(parts)


def _frame(pixels: Pixels, colours: Pixels | None) -> VideoFrame:
    if colours is None:
        return VideoFrame.from_ndarray(np.ascontiguousarray(pixels)).reformat(format="bgra")
    entries = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    entries[: len(colours), 1:] = colours
    found: Any = (np.asarray(indexed(pixels, colours)), entries)
    return VideoFrame.from_ndarray(found, format="pal8")
