"""Frames to an animated GIF with one palette for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.interrupts import stoppable

Pixels = NDArray[np.uint8]

_COLOURS = 256
MOSAIC_PIXELS = 250_000
"""About as many pixels of all frames together are looked at to choose the palette."""
_GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
_SETTLED = 0.01
"""Share of them that may still change their colour when k-means ends."""
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
    palette = Palette.of([frame[::step, ::step] for frame in frames], grey)
    indexed = [palette.indexed(frame) for frame in stoppable(frames)]
    shown = stoppable(indexed[index] for index in order)
    with path.open("xb") as file:
        next(shown).save(
            file,
            format="GIF",
            save_all=True,
            append_images=shown,
            duration=frame_time(fps),
            loop=0,
            palette=palette.colours.tobytes(),  # given here, it is stored once and not per frame
        )


def is_grey(frame: Pixels) -> bool:
    """Whether all pixels (H, W, 3) are grey."""
    return bool((frame == frame[..., :1]).all())


class Palette:
    """At most 256 colours, each of them once."""

    def __init__(self, colours: NDArray[np.uint8]) -> None:
        """Take (N, 3) uint8 RGB, or the 256 greys."""
        self.colours = colours
        self.image = Image.new("P", (1, 1))
        self.image.putpalette(colours.tobytes())

    @classmethod
    def of(cls, parts: Sequence[Pixels], grey: bool) -> Palette:
        """Choose the colours for pictures.

        Args:
            parts: some of their pixels, (H, W, 3) uint8 RGB of one width.
            grey: whether all of them are grey.
        """
        if grey:
            return cls(_GREYS)
        mosaic = Image.fromarray(np.concatenate(parts))
        # The one keeps rare hues, the other does narrow ranges such as sepia.
        methods = Image.Quantize.MAXCOVERAGE, Image.Quantize.MEDIANCUT
        candidates = [cls(_colours_of(mosaic, method)) for method in methods]
        return min(candidates, key=lambda palette: _error(mosaic, palette.image))

    def indexed(self, frame: Pixels) -> Image.Image:
        """A picture as an image of indices."""
        if self.colours is _GREYS:
            # 256 greys need no choice, and Pillow's search for the nearest colour is a bit coarse.
            return Image.fromarray(np.ascontiguousarray(frame[..., 0]))
        return Image.fromarray(frame).quantize(palette=self.image, dither=Image.Dither.NONE)


def _colours_of(mosaic: Image.Image, method: Image.Quantize) -> NDArray[np.uint8]:
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
