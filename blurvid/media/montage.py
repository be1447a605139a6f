"""A photo and its frames on one sheet, with crops of where most moves, or small in a strip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.media.compare import busiest
from blurvid.media.photo import Photo
from blurvid.media.pixels import flat_frames

Pixels = NDArray[np.uint8]
Edges = tuple[int, int, int, int]

_STRIP_SIDE, _STRIP_QUALITY = 480, 82
"""Longest side of a picture of a strip [px], and what WebP makes of it."""
_COLUMNS = 4
_CELL = 480
"""Longest side of an image on the sheet [px]; crops are about as large."""
_CROP = 4
"""The shorter side of a photo is about so many times that of a crop."""
_SMALLEST = 32
"""Least side of a crop [px], where the photo has as many."""
_GAP = 16
_FONT = 22
"""Height of the letters [px]."""
_MARK = (255, 196, 0)


def save_montage(frames: Tensor, path: Path, photo: Photo) -> None:
    """Write a sheet with a photo and its frames, labelled, each with a crop below it.

    The crop is taken where the first and the last frame differ most on average; it is enlarged
    by a whole number, and marked in the photo. Colours are sRGB, transparent parts white.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that must be new.
        photo: what the frames came from, H x W as they are.

    Raises:
        ValueError: frames of another shape, or with NaN values.
    """
    if frames.ndim != 4 or 0 in frames.shape or frames.shape[1:] != photo.pixels.shape:
        shape = (tuple(frames.shape), tuple(photo.pixels.shape))
        raise ValueError(f"frames of shape {shape[0]} of a photo of shape {shape[1]}")
    (blurry,) = flat_frames(photo.pixels[None], photo)
    with path.open("xb") as file:
        montage(blurry, flat_frames(frames, photo)).save(file, format="PNG")


def montage(blurry: Pixels, frames: Sequence[Pixels]) -> Image.Image:
    """Put a photo and its frames on one sheet, with a headline, labels and crops.

    Args:
        blurry: the photo, (H, W, 3) uint8 sRGB.
        frames: the frames likewise, in the order of time.
    """
    height, width = blurry.shape[:2]
    factor = max(1, _CELL // max(_SMALLEST, min(height, width) // _CROP))
    side = _CELL // factor
    high, wide = min(side, height), min(side, width)
    top, left = busiest(frames[0], frames[-1], high, wide)
    box = (left, top, left + wide, top + high)
    labels = ["photo", *(f"frame {number}" for number in range(1, len(frames) + 1))]
    cells = [
        _cell(Image.fromarray(image), label, box, factor)
        for image, label in zip([blurry, *frames], labels, strict=True)
    ]
    across, down = cells[0].width + _GAP, cells[0].height + _GAP
    columns, rows = min(_COLUMNS, len(cells)), -(-len(cells) // _COLUMNS)
    text = (
        f"{width} x {height} px. Below each image: the {wide} x {high} px of it in which frames 1 "
        f"and {len(frames)} differ most, enlarged {factor} times"
    )
    head = _text(text, columns * across - _GAP)
    begin = head.height + 2 * _GAP
    page = Image.new("RGB", (columns * across + _GAP, begin + rows * down), "white")
    page.paste(head, (_GAP, _GAP))
    for i, cell in enumerate(cells):
        page.paste(cell, (_GAP + i % _COLUMNS * across, begin + i // _COLUMNS * down))
    return page


def _cell(
    image: Image.Image, label: str, box: tuple[int, int, int, int], factor: int
) -> Image.Image:
    """An image with its label above, the mark of its crop in it, and the crop below."""
    scale = _CELL / max(image.size)
    small = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
        Image.Resampling.LANCZOS,
        reducing_gap=3,  # large photos are averaged first, which is quicker
    )
    draw = ImageDraw.Draw(small)
    left, top, right, bottom = (round(edge * scale) for edge in box)
    draw.rectangle((left - 1, top - 1, right, bottom), outline=(0, 0, 0), width=4)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_MARK, width=2)
    crop = image.crop(box)
    crop = crop.resize((crop.width * factor, crop.height * factor), Image.Resampling.BICUBIC)
    parts = [_text(label, _CELL), small, crop]
    cell = Image.new("RGB", (_CELL, sum(part.height + _GAP // 2 for part in parts)), "white")
    below = 0
    for part in parts:
        cell.paste(part, ((_CELL - part.width) // 2, below))
        below += part.height + _GAP // 2
    return cell


def _text(text: str, width: int) -> Image.Image:
    """A line of text, black on white, in letters as large as fit."""
    line = Image.new("RGB", (width, _FONT + 6), "white")
    font = ImageFont.load_default(_FONT)
    if (length := font.getlength(text)) > width:
        font = ImageFont.load_default(_FONT * width / length)
    ImageDraw.Draw(line).text((0, line.height // 2), text, fill="black", font=font, anchor="lm")
    return line


def save_strip(frames: Tensor, path: Path, photo: Photo) -> None:
    """Write a photo and at most seven of its frames below one another, small, as WebP.

    One picture for all of them is one file to load, and a page plays it by moving it.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that is new.
        photo: what the frames came from, H x W as they are.
    """
    (blurry,) = flat_frames(photo.pixels[None], photo)
    picked = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    pictures = [Image.fromarray(blurry)]
    pictures += [Image.fromarray(frame) for frame in flat_frames(frames[picked.tolist()], photo)]
    for picture in pictures:
        picture.thumbnail((_STRIP_SIDE, _STRIP_SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    width, height = pictures[0].size
    strip = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * height))
    strip.save(path, "webp", quality=_STRIP_QUALITY)
