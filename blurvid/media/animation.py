"""Frames to an animated GIF, with one palette for all of them, or WebP, with all colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from blurvid.atomic import stoppable
from blurvid.media.mp4 import writing
from blurvid.media.pixels import fitting
from blurvid.media.video import read_video

Pixels = NDArray[np.uint8]

_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "gif": ("gif", {}),
    "webp": ("libwebp_anim", {"quality": "90"}),
}
_UNITS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}
"""In which each kind counts time [s]."""
SHORTEST = Fraction(1, 50)
"""Shortest time of a picture [s]; browsers slow down what claims to be faster."""
_LONGEST = Fraction(655)
"""Longest time of a picture [s]."""
_COLOURS = 256
MOSAIC_PIXELS = 250_000
"""About as many pixels of all frames together are looked at to choose the palette."""
_GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
_SETTLED = 0.01
"""Share of them that may still change their colour when k-means ends."""


def save_looping(
    frames: Sequence[Pixels], order: Sequence[int], path: Path, name: Path, fps: float
) -> None:
    """Write an animation of frames that are all shown equally long.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file; it is written over.
        name: the file to name in messages; its suffix is one of `_UNITS`.
        fps: frames shown per second; in a GIF rounded to hundredths of a second each.

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
    palette = _colours_of(pictures(), len(shown) - 1) if kind == "gif" else None
    with writing(path, name, kind, options) as out:
        stream: Any = None
        for index, pixels in enumerate(pictures()):
            if index not in times:
                continue
            frame = _frame(_square(pixels, aspect, kind), palette)
            frame.pts, frame.time_base = times[index], _UNITS[kind]
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
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


def _frame(pixels: Pixels, colours: Pixels | None) -> VideoFrame:
    if colours is None:
        return VideoFrame.from_ndarray(np.ascontiguousarray(pixels)).reformat(format="bgra")
    entries = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    entries[: len(colours), 1:] = colours
    if colours is _GREYS:
        # 256 greys need no choice, and Pillow's search for the nearest colour is a bit coarse.
        indices = np.ascontiguousarray(pixels[..., 0])
    else:
        image = Image.fromarray(pixels)
        none = Image.Dither.NONE
        indices = np.asarray(image.quantize(palette=_palette(colours), dither=none))
    found: Any = (indices, entries)
    return VideoFrame.from_ndarray(found, format="pal8")


def _colours_of(pictures: Iterable[Pixels], count: int) -> Pixels:
    """Choose at most 256 colours, (N, 3), for so many pictures, by a few pixels of each."""
    parts: list[Pixels] = []
    grey = True
    for pixels in pictures:
        grey = grey and bool((pixels == pixels[..., :1]).all())
        size = count * pixels.shape[0] * pixels.shape[1]
        step = max(1, int(np.ceil(np.sqrt(size / MOSAIC_PIXELS))))
        parts.append(pixels[::step, ::step].copy())
    if grey:
        return _GREYS
    mosaic = Image.fromarray(np.concatenate(parts))
    # The one keeps rare hues, the other does narrow ranges such as sepia.
    methods = Image.Quantize.MAXCOVERAGE, Image.Quantize.MEDIANCUT
    candidates = [_colours_by(mosaic, method) for method in methods]
    return min(candidates, key=lambda colours: _error(mosaic, _palette(colours)))


def _palette(colours: Pixels) -> Image.Image:
    """An image with these colours, as Pillow wants it."""
    image = Image.new("P", (1, 1))
    image.putpalette(colours.tobytes())
    return image


def _colours_by(mosaic: Image.Image, method: Image.Quantize) -> Pixels:
    """Choose colours for an image by one of Pillow's methods and k-means."""
    threshold = max(1, round(_SETTLED * mosaic.width * mosaic.height))
    chosen = mosaic.quantize(
        _COLOURS, method=method, kmeans=threshold, dither=Image.Dither.NONE
    ).getpalette()
    chosen = chosen or []
    colours = dict.fromkeys(zip(chosen[0::3], chosen[1::3], chosen[2::3], strict=True))
    return np.array(list(colours), np.uint8)


def _error(mosaic: Image.Image, palette: Image.Image) -> float:
    """Mean error of an image shown with a palette, to the fourth power: what is far off counts."""
    shown = mosaic.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    difference = np.asarray(shown, np.float32) - np.asarray(mosaic, np.float32)
    return float(np.mean(np.square(difference).sum(-1) ** 2))
