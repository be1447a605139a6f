"""TIFF in and out: float images to files, and files of 16 bits, which Pillow reads with 8.

So that no further library is needed, Pillow decodes these as a wider image of single bytes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from torch import Tensor

from blurvid.errors import InputError, OutputError
from blurvid.media.exif import (
    BYTE,
    EXIF_PREFIX,
    HEADER_SIZE,
    LONG,
    ORIENTATION,
    RATIONAL,
    RESOLUTION,
    SHORT,
    UNDEFINED,
    Entry,
    Order,
    TiffBuilder,
    TiffReader,
    exif_of_tiff,
)
from blurvid.media.packets import iptc_of
from blurvid.media.photo import Metadata, Photo, check_size, photo_from_values
from blurvid.media.pixels import frame_pixels

# Tags of TIFF 6.0
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _FILL_ORDER = 338, 339, 266
_ICC, _XMP, _IPTC, _PHOTOSHOP = 34675, 700, 33723, 34377
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PREMULTIPLIED, _ALPHA = 1, 2
_MOST_SAMPLES = 8
"""Channels of a page, those included that are left out; each takes memory and time."""
RAW = "is a raw photo; develop it to JPEG, PNG or TIFF first"
_LEVEL = 3
"""Of zlib, as for 16-bit PNG."""
_STRIP = 1 << 20
"""About as many bytes are compressed at a time."""
_LARGEST = (1 << 32) - 1
"""Largest file [bytes]; offsets have 32 bits."""


def save_tiff(image: Tensor, path: Path, photo: Photo | None, name: Path) -> None:
    """Write one image as a TIFF file with lossless compression (deflate).

    The file begins with the photo's EXIF block as it is, and the tags of its first directory
    are taken over into the file's own. So nothing in the block moves, and makers' notes,
    which point into it by offsets that only their makers know, stay readable.

    Args and errors are those of `stills.save_still`.
    """
    pixels = np.atleast_3d(frame_pixels(image, photo))
    height, width, channels = pixels.shape
    exif = photo.exif.removeprefix(EXIF_PREFIX) if photo is not None and photo.exif else None
    with path.open("xb+") as file:
        file.write(exif or bytes(HEADER_SIZE))
        records: dict[int, bytes] = {}
        order: Order = "<"
        if exif is not None:
            reader = TiffReader(file)
            order = reader.order
            found = reader.directory(reader.first)[0]
            records = {tag: exif[entry.start : entry.start + 12] for tag, entry in found.items()}
            file.seek(0, 2)
        build = TiffBuilder(file, order)
        offsets, lengths = [], []
        step = min(height, max(1, _STRIP // (pixels.itemsize * width * channels)))
        for top in range(0, height, step):
            rows = pixels[top : top + step]
            rows = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)  # predictor 2
            data = zlib.compress(rows.astype(rows.dtype.newbyteorder(order)).tobytes(), _LEVEL)
            offsets.append(build.align())
            lengths.append(len(data))
            if offsets[-1] + len(data) > _LARGEST:
                raise OutputError(f"{name}: not written: more than TIFF can hold; use png")
            file.write(data)
        tags: dict[int, tuple[int, bytes | tuple[int, ...] | list[int]]] = {
            _WIDTH: (LONG, (width,)),
            _HEIGHT: (LONG, (height,)),
            _BITS: (SHORT, (8 * pixels.itemsize,) * channels),
            _COMPRESSION: (SHORT, (8,)),  # deflate
            _PHOTOMETRIC: (SHORT, (_RGB if channels > 2 else _BLACK_IS_ZERO,)),
            _STRIP_OFFSETS: (LONG, offsets),
            _SAMPLES: (SHORT, (channels,)),
            _STRIP_ROWS: (LONG, (step,)),
            _STRIP_BYTES: (LONG, lengths),
            _PLANES: (SHORT, (1,)),  # channels side by side
            _PREDICTOR: (SHORT, (2,)),  # difference to the pixel on the left
        }
        if channels in (2, 4):
            tags[_EXTRA_SAMPLES] = (SHORT, (_ALPHA,))  # not premultiplied
        dpi = None
        if photo is not None:
            dpi = photo.dpi
            blocks = {_XMP: (BYTE, photo.xmp), _ICC: (UNDEFINED, photo.icc)}
            blocks[_IPTC] = UNDEFINED, photo.iptc
            tags |= {tag: (kind, block) for tag, (kind, block) in blocks.items() if block}
        if dpi is not None or not records.keys() >= {*RESOLUTION}:  # required; 72 says nothing
            for tag, side in zip(RESOLUTION[:2], dpi or (72, 72), strict=True):
                part = Fraction(side).limit_denominator(100)
                tags[tag] = (RATIONAL, struct.pack(order + "II", *part.as_integer_ratio()))
            tags[RESOLUTION[2]] = (SHORT, (2,))
        records |= {tag: build.record(tag, *values) for tag, values in tags.items()}
        build.finish(build.directory(list(records.values())))


def read_deep(stream: IO[bytes], name: str, several: str) -> Photo | None:
    """Read a TIFF whose first page is greyscale or RGB with 16-bit whole numbers.

    Args:
        stream: the file.
        name: source for messages.
        several: what to say of further pages.

    Returns:
        The photo; None if the page is something else, which Pillow may know.

    Raises:
        InputError: a raw photo, or too large.
    """
    try:
        tiff = TiffReader(stream)
        tags, following = tiff.directory(tiff.first)
    except ValueError:
        return None
    page = _Page(stream, tiff, tags)
    reduced = page.number(_SUBFILE_TYPE, 0) & 1 and _SUB_DIRECTORIES in tags
    stream.seek(8)
    if _DNG_VERSION in tags or reduced or stream.read(2) == b"CR":
        raise InputError(f"{name}: {RAW}")
    if not page.is_deep:
        return None
    check_size(page.size, name)
    found, warnings = _metadata_of(tiff, tags), [several] if following else []
    return photo_from_values(page.decode(), 65535, found, name, depth=16, warnings=warnings)


def prepare(image: TiffImagePlugin.TiffImageFile, stream: IO[bytes]) -> Metadata:
    """Make room for the pixels of a TIFF that Pillow reads, and gather its metadata."""
    _make_room(image)
    # A TIFF turns itself when it is loaded. With the rest of its EXIF, it would fail as well
    # where that is damaged.
    known = Image.Exif()
    known[ORIENTATION] = image.tag_v2.get(ORIENTATION, 1)
    image.getexif = lambda: known  # type: ignore[method-assign]
    tiff = TiffReader(stream)
    return replace(_metadata_of(tiff, tiff.directory(tiff.first)[0]), turned=True)


def described(stream: IO[bytes]) -> str:
    """What the first page of a TIFF holds, in words; ValueError where it is none."""
    tiff = TiffReader(stream)
    number = _Page(stream, tiff, tiff.directory(tiff.first)[0]).number
    kind = {2: ", signed numbers", 3: ", floats"}.get(number(_SAMPLE_FORMAT, 1), "")
    layout = f"photometric {number(_PHOTOMETRIC, -1)}, compression {number(_COMPRESSION, 1)}"
    return f"{number(_SAMPLES, 1)} x {number(_BITS, 1)} bits per pixel{kind}, {layout}"


def _metadata_of(tiff: TiffReader, tags: Mapping[int, Entry]) -> Metadata:
    """Gather metadata from a directory; its tags are its EXIF."""
    exif, lost = exif_of_tiff(tiff, tags)
    xmp, icc = (tiff.value(tags[tag]) if tag in tags else None for tag in (_XMP, _ICC))
    iptc = (iptc_of(tiff.value(tags[tag])) for tag in (_IPTC, _PHOTOSHOP) if tag in tags)
    return Metadata(
        exif,
        xmp,
        icc,
        ("parts of its EXIF block are damaged; they are dropped",) if lost else (),
        iptc=next((block for block in iptc if block), None),
    )


class _Page:
    """A page of a TIFF with these tags."""

    def __init__(self, stream: IO[bytes], reader: TiffReader, tags: Mapping[int, Entry]) -> None:
        self.stream, self.reader, self.tags = stream, reader, tags
        self.size = self.number(_WIDTH, 0), self.number(_HEIGHT, 0)
        self.samples = self.number(_SAMPLES, 1)
        """Channels, those included that are neither colour nor alpha."""
        kind = self.number(_PHOTOMETRIC, -1)
        self.colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(kind)
        """1 for greyscale, 3 for RGB; None for others."""

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return next(iter(self.numbers(tag)), default)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All values of a tag."""
        return self.reader.numbers(self.tags.get(tag))

    @property
    def is_deep(self) -> bool:
        """Whether it is greyscale or RGB with 16-bit whole numbers."""
        bits, kinds = (set(self.numbers(tag)) for tag in (_BITS, _SAMPLE_FORMAT))
        return (
            self.colours is not None
            and self.colours <= self.samples <= _MOST_SAMPLES
            and 0 not in self.size
            and bits == {16}
            and kinds <= {1}
            and self.number(_PREDICTOR, 1) in (1, 2)
            and self.number(_FILL_ORDER, 1) == 1
        )

    def decode(self) -> NDArray[np.uint16]:
        """Decode it, if it is deep: (H, W, C) as for `photo_from_values`."""
        if self.number(_PLANES, 1) == 2 and self.samples > 1:
            planes = [self._samples(plane, 1) for plane in range(self.samples)]
            values = np.concatenate(planes, axis=-1)
        else:
            values = self._samples(0, self.samples)
        colours = self.colours or 1
        kind = next(iter(self.numbers(_EXTRA_SAMPLES)), None)
        # A fourth channel without a word about it is taken for alpha, as Pillow does.
        alpha = self.samples > colours and kind in (None, _PREMULTIPLIED, _ALPHA)
        values = values[..., : colours + alpha]
        if self.number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
            values[..., 0] = 65535 - values[..., 0]
        if alpha and kind == _PREMULTIPLIED:
            solid = np.maximum(values[..., -1:], 1).astype(np.float32)
            light = values[..., :-1] * np.float32(65535) / solid
            values[..., :-1] = np.minimum(np.round(light), 65535).astype(np.uint16)
        return values

    def _samples(self, plane: int, count: int) -> NDArray[np.uint16]:
        """(H, W, count) samples of the pixels, or of one plane of them."""
        width, height = self.size
        file, predicted = self._as_bytes(plane, count), self.number(_PREDICTOR, 1) == 2
        with TiffImagePlugin.TiffImageFile(file, "") as image:
            _make_room(image)
            stored = np.array(image).view(self.reader.order + "u2").astype(np.uint16)
        values = stored.reshape(height, width, count)
        if predicted:  # each sample is the difference to the one on its left
            step = self.number(_TILE_WIDTH, width)
            for left in range(0, width, step):
                piece = values[:, left : left + step]
                np.cumsum(piece, axis=1, dtype=np.uint16, out=piece)
        return values

    def _as_bytes(self, plane: int, count: int) -> IO[bytes]:
        """The same file as a greyscale image of single bytes: 2 * count of them a pixel."""
        width, height = self.size
        tiled = _TILE_OFFSETS in self.tags
        where = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
        offsets, lengths = (self.numbers(tag) for tag in where)
        pieces = len(offsets) // (self.samples // count)
        mine = slice(plane * pieces, (plane + 1) * pieces)
        self.stream.seek(0)
        out = io.BytesIO(self.stream.read())
        out.seek(0, io.SEEK_END)
        build = TiffBuilder(out, self.reader.order)
        values = {
            _WIDTH: (LONG, (width * 2 * count,)),
            _HEIGHT: (LONG, (height,)),
            _BITS: (SHORT, (8,)),
            _COMPRESSION: (SHORT, (self.number(_COMPRESSION, 1),)),
            _PHOTOMETRIC: (SHORT, (_BLACK_IS_ZERO,)),
            _SAMPLES: (SHORT, (1,)),
            where[0]: (LONG, offsets[mine]),
        }
        if lengths:
            values[where[1]] = (LONG, lengths[mine])
        if tiled:
            values[_TILE_WIDTH] = (LONG, (self.number(_TILE_WIDTH, 0) * 2 * count,))
            values[_TILE_HEIGHT] = (LONG, (self.number(_TILE_HEIGHT, 0),))
        else:
            values[_STRIP_ROWS] = (LONG, (min(self.number(_STRIP_ROWS, height), height),))
        build.finish(build.directory([build.record(tag, *v) for tag, v in values.items()]))
        out.seek(0)
        return out


def _make_room(image: TiffImagePlugin.TiffImageFile) -> None:
    """Make the memory for a TIFF's pixels, whose size has been checked.

    Pillow would compare it with a limit of its own when it does, which is half of ours, global
    to the process, and counts each byte of deep samples as a pixel.
    """
    image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im
