"""A photo against its frames, as a clip that one posts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from blurvid.config import ClipOptions
from blurvid.media.profile import Pixels

Save: TypeAlias = Callable[[Sequence[Pixels], Sequence[int], float, int], int]
"""Writes a clip of frames (H, W, 3), uint8 sRGB, in an order of their indices, at so many a second,
in a quality as x264 counts it; gives its length [bytes]."""
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
    save: Save,
    frames: Sequence[Pixels],
    order: Sequence[int],
    blurry: Pixels,
    options: ClipOptions,
    animated: bool,
) -> None:
    """Write a clip of a photo against its frames, of at most 1080 px and 8 MB.

    Args:
        save: writes a clip, over one that was there.
        frames: (H, W, 3) uint8 sRGB each.
        order: indices of the frames, as they are shown.
        blurry: the photo, likewise.
        options: what to compare how.
        animated: whether it is no video.
    """
    side, rate = (_ANIMATED_SIDE, _ANIMATED_RATE) if animated else (LONGEST, 30.0)
    crf = options.crf
    while True:
        pictures = Comparison(blurry, frames, order, options, side, rate)
        length = save(pictures, range(len(pictures)), rate, crf)
        if length <= LARGEST or crf >= _WORST or side <= 2 * _GAP:
            return
        if animated:
            side = int(side * min(0.9, 0.95 * (LARGEST / length) ** 0.5))
        else:
            crf = min(_WORST, crf + 4)


class Comparison(Sequence[Pixels]):
    """The pictures of a clip of a photo against its frames, each composed when it is asked for.

    They are (H', W', 3) uint8 with even sides, of one round that ends where it begins.

    Args:
        blurry: the photo, (H, W, 3) uint8 sRGB.
        frames: the frames likewise.
        order: indices of the frames, as they are shown again and again.
        options: what to compare how, and at how many frames per second.
        side: longest side of the pictures [px].
        rate: pictures per second.
    """

    def __init__(
        self,
        blurry: Pixels,
        frames: Sequence[Pixels],
        order: Sequence[int],
        options: ClipOptions,
        side: int = LONGEST,
        rate: float = 30.0,
    ) -> None:
        if options.square:
            blurry, frames = _squares(blurry, frames, 2 if options.compare == "side" else 1)
        height, width = blurry.shape[:2]
        upright = height > width
        wide, high = width, height
        if options.compare == "side":
            wide, high = (2 * width, height) if upright or height == width else (width, 2 * height)
        scale = min(1.0, (side - _GAP) / max(wide, high))
        size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        if options.square and options.compare == "side":
            size = (max(2, (size[1] - _GAP) // 2), size[1])
        self.left, *self.right = (
            Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
            for image in [blurry, *frames]
        )
        self.how, self.order, self.fps = options.compare, order, options.fps
        if options.caption:
            _label(self.left, "blurred", at_right=False)
            for image in self.right:
                _label(image, "sharp", at_right=self.how == "wipe")
        lap = len(order) / options.fps
        self.seconds = lap * max(1, round(ROUND / lap))
        self.length = max(2, round(self.seconds * rate))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self.length:
            raise IndexError(number)
        at = number / self.length
        frame = self.right[self.order[int(at * self.seconds * self.fps) % len(self.order)]]
        return _picture(self.how, self.left, frame, at)


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


def _squares(blurry: Pixels, frames: Sequence[Pixels], beside: int) -> tuple[Pixels, list[Pixels]]:
    """The largest square of all where most moves, or what makes one with as much `beside` it."""
    side = min(blurry.shape[:2])
    width = max(1, side // beside)
    top, left = busiest(frames[0], frames[-1], side, width)
    part = (slice(top, top + side), slice(left, left + width))
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
