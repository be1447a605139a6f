"""A photo against its frames, as a clip that one posts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blurvid.config import ClipOptions
from blurvid.media.gif import save_gif
from blurvid.media.mp4 import encode
from blurvid.media.webp import save_webp
from blurvid.targets import check_comparison

Pixels = NDArray[np.uint8]

LARGEST = 8_000_000
"""Most bytes of a clip that is posted; several networks refuse more."""
LONGEST = 1080
"""Longest side of its pictures [px]."""
ROUND = 5.0
"""Time of a round [s], about: whole rounds of the frames fit into it."""
_TURNS = 4
"""Of photo and frames in a round."""
_GAP = 4
"""Between two pictures side by side [px]."""
_SMALL = 28
"""The shorter side of a picture is so many times the height of its letters."""
_ANIMATED_SIDE, _ANIMATED_RATE = 720, 12.5
"""...which start with this, since they take many times the bytes."""
_WORST = 45
"""Quality of x264 below which a clip that is too large stays so."""


def save_comparison(
    kind: str,
    blurry: Pixels,
    frames: Sequence[Pixels],
    order: Sequence[int],
    path: Path,
    options: ClipOptions,
    name: Path,
) -> None:
    """Write a clip of a photo against its frames, of at most 1080 px and 8 MB.

    Args:
        kind: one of `targets.COMPARED`.
        blurry: the photo, (H, W, 3) uint8 sRGB.
        frames: the frames likewise.
        order: indices of the frames, as they are shown again and again.
        path: a file that must be new.
        options: what to compare how.
        name: the file to name in messages.

    Raises:
        OptionError: another kind.
        OSError: the file cannot be written.
        OutputError: likewise, a video.
    """
    check_comparison(kind, name)
    animated = kind in ("gif", "webp")
    side, crf = _ANIMATED_SIDE if animated else LONGEST, options.crf
    while True:
        if animated:
            pictures = list(compared(blurry, frames, order, options, side, _ANIMATED_RATE))
            shown = range(len(pictures))
            if kind == "gif":
                save_gif(pictures, shown, path, _ANIMATED_RATE)
            else:
                save_webp(pictures, shown, path, _ANIMATED_RATE)
        else:
            composed = compared(blurry, frames, order, options, side)
            first = next(composed)
            size = first.shape[:2]
            webm = kind == "webm"
            encode(chain([first], composed), size, path, 30.0, crf, name, webm=webm)
        length = path.stat().st_size
        if length <= LARGEST or crf >= _WORST or side <= 2 * _GAP:
            return
        path.unlink()
        if animated:
            side = int(side * min(0.9, 0.95 * (LARGEST / length) ** 0.5))
        else:
            crf = min(_WORST, crf + 4)


def compared(
    blurry: Pixels,
    frames: Sequence[Pixels],
    order: Sequence[int],
    options: ClipOptions,
    side: int = LONGEST,
    rate: float = 30.0,
) -> Iterator[Pixels]:
    """Compose the pictures of a clip of a photo against its frames.

    Args:
        blurry: the photo, (H, W, 3) uint8 sRGB.
        frames: the frames likewise.
        order: indices of the frames, as they are shown again and again.
        options: what to compare how, and at how many frames per second.
        side: longest side of the pictures [px].
        rate: pictures per second.

    Yields:
        Pictures, (H', W', 3) uint8 with even sides, of one round that ends where it begins.
    """
    if options.square:
        blurry, frames = _squares(blurry, frames)
    height, width = blurry.shape[:2]
    upright = height > width
    wide, high = width, height
    if options.compare == "side":
        wide, high = (2 * width, height) if upright or height == width else (width, 2 * height)
    scale = min(1.0, (side - _GAP) / max(wide, high))
    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    left, *right = (
        Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
        for image in [blurry, *frames]
    )
    if options.caption:
        for image, text in [(left, "blurred"), *((image, "sharp") for image in right)]:
            _label(image, text, at_right=image is not left and options.compare == "wipe")
    lap = len(order) / options.fps
    seconds = lap * max(1, round(ROUND / lap))
    count = max(2, round(seconds * rate))
    for number in range(count):
        at = number / count
        frame = right[order[int(at * seconds * options.fps) % len(order)]]
        yield _picture(options.compare, left, frame, at)


def _picture(how: str | None, left: Image.Image, right: Image.Image, at: float) -> Pixels:
    """One picture, at a part of a round."""
    width, height = left.size
    if how == "side":
        beside = height >= width
        step = (width + _GAP, 0) if beside else (0, height + _GAP)
        page = Image.new("RGB", (width + step[0], height + step[1]), "white")
        page.paste(left, (0, 0))
        page.paste(right, step)
        return np.asarray(page)
    if how == "flicker":
        return np.asarray(left if int(at * _TURNS) % 2 == 0 else right)
    edge = round(width * edge_at(at))
    page = right.copy()
    page.paste(left.crop((0, 0, edge, height)), (0, 0))
    if 0 < edge < width:
        half = max(1, width // 500)
        ImageDraw.Draw(page).rectangle((edge - half, 0, edge + half - 1, height), fill="white")
    return np.asarray(page)


def edge_at(part: float) -> float:
    """Where the edge is at a part of a round, from the left; as in the player."""

    def eased(x: float) -> float:
        return x * x * (3 - 2 * x)

    if part < 0.14:
        return 1.0
    if part < 0.46:
        return 1 - eased((part - 0.14) / 0.32)
    return 0.0 if part < 0.76 else eased((part - 0.76) / 0.24)


def _squares(blurry: Pixels, frames: Sequence[Pixels]) -> tuple[Pixels, list[Pixels]]:
    """The largest square of all, where most moves."""
    side = min(blurry.shape[:2])
    top, left = busiest(frames[0], frames[-1], side, side)
    part = (slice(top, top + side), slice(left, left + side))
    return blurry[part], [frame[part] for frame in frames]


def _label(image: Image.Image, text: str, *, at_right: bool) -> None:
    """Write a word into a lower corner, white on a dark pill."""
    high = max(10, min(image.size) // _SMALL)
    font = ImageFont.load_default(high)
    wide, edge = round(font.getlength(text)) + high, high // 2
    x = image.width - wide - edge if at_right else edge
    y = image.height - 2 * high - edge
    shade = Image.new("L", image.size, 0)
    box = (x, y, x + wide, y + 2 * high)
    ImageDraw.Draw(shade).rounded_rectangle(box, radius=high, fill=150)
    image.paste((12, 12, 14), mask=shade)
    middle = (x + wide / 2, y + high)
    ImageDraw.Draw(image).text(middle, text, fill="white", font=font, anchor="mm")


def busiest(first: Pixels, last: Pixels, height: int, width: int) -> tuple[int, int]:
    """Find the region in which two frames differ most, on average over the region.

    Args:
        first: (H, W, 3) uint8.
        last: likewise.
        height: of the region, at most H [px].
        width: of the region, at most W [px].

    Returns:
        Row and column of its upper left corner; that of the middle where nothing moves.
    """
    difference = np.abs(first.astype(np.int16) - last).sum(-1, dtype=np.int64)
    # Sums over all boxes at once, from the sums over all rectangles that start at the corner.
    sums = np.pad(difference, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[height:, width:] - sums[:-height, width:]
    boxes -= sums[height:, :-width] - sums[:-height, :-width]
    if boxes.max() == 0:
        return (boxes.shape[0] - 1) // 2, (boxes.shape[1] - 1) // 2
    row, column = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(row), int(column)
