"""Images of 16 bits per channel at full depth, which Pillow itself reads with 8 bits.

Pillow's decoders do all the hard work all the same: a PNG is decoded twice, once for the high
and once for the low bytes; a TIFF is decoded as a wider image of single bytes. So no further
library is needed for files that most photos are not.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from blurvid.media.ifd import LONG, SHORT, Entry, TiffBuilder, TiffReader

Samples = NDArray[np.uint16]

# Tags of TIFF 6.0
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _FILL_ORDER = 338, 339, 266
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PREMULTIPLIED, _ALPHA = 1, 2
_MOST_SAMPLES = 8
"""Channels of a page, those included that are left out; each takes memory and time."""


def deep_png(image: ImageFile.ImageFile, reopen: Callable[[], Any]) -> Samples | None:
    """Decode a PNG with 16 bits per channel.

    Args:
        image: a PNG, opened but not loaded.
        reopen: opens it again.

    Returns:
        (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha; None if the file
        holds something else. 16-bit grey without alpha is Pillow's mode `I;16`.
    """
    if not image.tile:
        return None
    layout = image.tile[0].args
    if layout == "LA;16B":
        # Four bytes a pixel: Pillow may take them for 8-bit RGBA.
        return np.ascontiguousarray(_decoded(reopen(), "RGBA")).view(">u2").astype(np.uint16)
    if layout not in ("RGB;16B", "RGBA;16B"):
        return None
    # A pixel of the wrong byte order shows its low bytes where 8 bits are wanted.
    low = _decoded(reopen(), layout.removesuffix("B") + "L")
    samples: Samples = _decoded(image, layout).astype(np.uint16) * np.uint16(256) + low
    key = image.info.get("transparency")
    if isinstance(key, tuple):  # a colour that is meant to be transparent
        shown = (samples != np.array(key, np.uint16)).any(-1)
        samples = np.dstack([samples, shown.astype(np.uint16) * np.uint16(65535)])
    return samples


def _decoded(image: ImageFile.ImageFile, layout: str) -> NDArray[np.uint8]:
    """Decode an image, whose pixels are stored in a layout of Pillow's choice or ours."""
    image.tile = [tile._replace(args=layout) for tile in image.tile]
    image.load()
    return np.array(image)


@dataclass(frozen=True)
class DeepTiff:
    """First page of a TIFF with whole numbers of 16 bits."""

    stream: IO[bytes]
    reader: TiffReader
    tags: Mapping[int, Entry]
    size: tuple[int, int]
    """Width and height [px]."""
    samples: int
    """Channels, those included that are neither colour nor alpha."""
    colours: int
    """1 for greyscale, 3 for RGB."""

    def decode(self) -> Samples:
        """Decode the page.

        Returns:
            (H, W, C) with C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

        Raises:
            Exception: whatever Pillow says about damaged data.
        """
        planar = self._number(_PLANES, 1) == 2 and self.samples > 1
        if planar:
            planes = [self._samples(plane, 1) for plane in range(self.samples)]
            values = np.concatenate(planes, axis=-1)
        else:
            values = self._samples(0, self.samples)
        kind = next(iter(self.reader.numbers(self.tags.get(_EXTRA_SAMPLES))), None)
        # A fourth channel without a word about it is taken for alpha, as Pillow does.
        alpha = self.samples > self.colours and kind in (None, _PREMULTIPLIED, _ALPHA)
        values = values[..., : self.colours + alpha]
        if self._number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
            values[..., 0] = 65535 - values[..., 0]
        if alpha and kind == _PREMULTIPLIED:
            solid = np.maximum(values[..., -1:], 1).astype(np.float32)
            light = values[..., :-1] * np.float32(65535) / solid
            values[..., :-1] = np.minimum(np.round(light), 65535).astype(np.uint16)
        return values

    def _number(self, tag: int, default: int) -> int:
        return self.reader.number(self.tags.get(tag), default)

    def _samples(self, plane: int, count: int) -> Samples:
        """(H, W, count) samples of the pixels, or of one plane of them."""
        width, height = self.size
        file, predicted = self._as_bytes(plane, count), self._number(_PREDICTOR, 1) == 2
        with TiffImagePlugin.TiffImageFile(file, "") as image:
            make_room(image)
            stored = np.array(image).view(self.reader.order + "u2").astype(np.uint16)
        values = stored.reshape(height, width, count)
        if predicted:  # each sample is the difference to the one on its left
            step = self._number(_TILE_WIDTH, width)
            for left in range(0, width, step):
                piece = values[:, left : left + step]
                np.cumsum(piece, axis=1, dtype=np.uint16, out=piece)
        return values

    def _as_bytes(self, plane: int, count: int) -> IO[bytes]:
        """The same file as a greyscale image of single bytes: 2 * count of them a pixel."""
        width, height = self.size
        tiled = _TILE_OFFSETS in self.tags
        where = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
        offsets, lengths = (self.reader.numbers(self.tags.get(tag)) for tag in where)
        pieces = len(offsets) // (self.samples // count)
        mine = slice(plane * pieces, (plane + 1) * pieces)
        self.stream.seek(0)
        out = io.BytesIO()
        out.write(self.stream.read())
        build = TiffBuilder(out, self.reader.order)
        values = {
            _WIDTH: (LONG, (width * 2 * count,)),
            _HEIGHT: (LONG, (height,)),
            _BITS: (SHORT, (8,)),
            _COMPRESSION: (SHORT, (self._number(_COMPRESSION, 1),)),
            _PHOTOMETRIC: (SHORT, (_BLACK_IS_ZERO,)),
            _SAMPLES: (SHORT, (1,)),
            where[0]: (LONG, offsets[mine]),
        }
        if lengths:
            values[where[1]] = (LONG, lengths[mine])
        if tiled:
            values[_TILE_WIDTH] = (LONG, (self._number(_TILE_WIDTH, 0) * 2 * count,))
            values[_TILE_HEIGHT] = (LONG, (self._number(_TILE_HEIGHT, 0),))
        else:
            values[_STRIP_ROWS] = (LONG, (min(self._number(_STRIP_ROWS, height), height),))
        first = build.directory([build.record(tag, *value) for tag, value in values.items()])
        build.finish(first)
        out.seek(0)
        return out


def deep_tiff(stream: IO[bytes], reader: TiffReader, tags: Mapping[int, Entry]) -> DeepTiff | None:
    """Look whether a TIFF's first page is greyscale or RGB with 16-bit whole numbers.

    Args:
        stream: the file.
        reader: reads its directories.
        tags: those of its first page.

    Returns:
        What can decode it; None if the page is something else, which Pillow may know.
    """

    def numbers(tag: int, default: int) -> tuple[int, ...]:
        return reader.numbers(tags.get(tag)) or (default,)

    photometric, samples = numbers(_PHOTOMETRIC, -1)[0], numbers(_SAMPLES, 1)[0]
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(photometric)
    size = (numbers(_WIDTH, 0)[0], numbers(_HEIGHT, 0)[0])
    plain = (
        set(numbers(_BITS, 1)) == {16}
        and set(numbers(_SAMPLE_FORMAT, 1)) == {1}
        and numbers(_PREDICTOR, 1)[0] in (1, 2)
        and numbers(_FILL_ORDER, 1)[0] == 1
    )
    if not plain or colours is None or not colours <= samples <= _MOST_SAMPLES or 0 in size:
        return None
    return DeepTiff(stream, reader, tags, size, samples, colours)


def make_room(image: TiffImagePlugin.TiffImageFile) -> None:
    """Make the memory for a TIFF's pixels, whose size has been checked.

    Pillow would compare it with a limit of its own when it does, which is half of ours, global
    to the process, and counts each byte of deep samples as a pixel.
    """
    image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im


def described(reader: TiffReader, tags: Mapping[int, Entry]) -> str:
    """What a TIFF page holds, in words, for a message that it cannot be read."""
    channels = reader.number(tags.get(_SAMPLES), 1)
    bits = reader.number(tags.get(_BITS), 1)
    kind = {2: "signed numbers", 3: "floats"}.get(reader.number(tags.get(_SAMPLE_FORMAT), 1))
    layout = f"photometric {reader.number(tags.get(_PHOTOMETRIC), -1)}, "
    layout += f"compression {reader.number(tags.get(_COMPRESSION), 1)}"
    return f"{channels} x {bits} bits per pixel{f', {kind}' if kind else ''}, {layout}"
