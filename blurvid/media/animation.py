"""Frames to an animated GIF, with one palette for all of them, or WebP, with all colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.atomic import stoppable

Pixels = NDArray[np.uint8]

_COLOURS = 256
MOSAIC_PIXELS = 250_000
"""About as many pixels of all frames together are looked at to choose the palette."""
GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
_SETTLED = 0.01
"""Share of them that may still change their colour when k-means ends."""
WEBP_QUALITY = 90
"""Of libwebp, 0 to 100."""
SHORTEST = 20
"""Shortest time of a frame [ms]; browsers slow down what claims to be faster."""


def frame_time(fps: float) -> int:
    """Time of one frame [ms]: a multiple of 10, since GIF counts in hundredths of a second."""
    return min(max(SHORTEST, round(100 / fps) * 10), 655_350)


def save_gif(frames: Sequence[Pixels], order: Sequence[int], path: Path, fps: float) -> None:
    """Write an animation that loops for ever.

    There is one palette and no dithering: on real clips, error diffusion made areas that
    stand still flicker three to four times as much as the camera did, and files a quarter
    larger, for a little less banding in skies.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file that must be new.
        fps: frames shown per second, rounded as `frame_time` says.

    Raises:
        OSError: the file cannot be written.
    """
    count = sum(frame.shape[0] * frame.shape[1] for frame in frames)
    step = max(1, int(np.ceil(np.sqrt(count / MOSAIC_PIXELS))))
    grey = all(is_grey(frame) for frame in frames)
    colours = GREYS if grey else colours_of([frame[::step, ::step] for frame in frames])
    images = [indexed(frame, colours) for frame in stoppable(frames)]
    shown = stoppable(images[index] for index in order)
    with path.open("xb") as file:
        next(shown).save(
            file,
            format="GIF",
            save_all=True,
            append_images=shown,
            duration=frame_time(fps),
            loop=0,
            palette=colours.tobytes(),  # given here, it is stored once and not per frame
        )


def save_webp(frames: Sequence[Pixels], order: Sequence[int], path: Path, fps: float) -> None:
    """Write an animation that loops for ever, as `save_gif` does; times in whole milliseconds."""
    images = [Image.fromarray(frame) for frame in frames]
    shown = [images[index] for index in order]
    with path.open("xb") as file:
        shown[0].save(
            file,
            format="WEBP",
            save_all=True,
            append_images=shown[1:],
            duration=max(SHORTEST, round(1000 / fps)),
            loop=0,
            quality=WEBP_QUALITY,
        )


def is_grey(frame: Pixels) -> bool:
    """Whether all pixels (H, W, 3) are grey."""
    return bool((frame == frame[..., :1]).all())


def indexed(frame: Pixels, colours: Pixels) -> Image.Image:
    """A picture as an image of indices of colours, (N, 3)."""
    if colours is GREYS:
        # 256 greys need no choice, and Pillow's search for the nearest colour is a bit coarse.
        return Image.fromarray(np.ascontiguousarray(frame[..., 0]))
    return Image.fromarray(frame).quantize(palette=_palette(colours), dither=Image.Dither.NONE)


def colours_of(parts: Sequence[Pixels]) -> Pixels:
    """Choose at most 256 colours, (N, 3), for some pixels (H, W, 3) of one width."""
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
    # A colour that occurs twice would make Pillow renumber the pixels when it saves.
    colours = dict.fromkeys(zip(chosen[0::3], chosen[1::3], chosen[2::3], strict=True))
    return np.array(list(colours), np.uint8)


def _error(mosaic: Image.Image, palette: Image.Image) -> float:
    """Mean error of an image shown with a palette, to the fourth power: what is far off counts."""
    shown = mosaic.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    difference = np.asarray(shown, np.float32) - np.asarray(mosaic, np.float32)
    return float(np.mean(np.square(difference).sum(-1) ** 2))
