"""EXIF: what a block says of its picture, and the block that frames take over."""

from __future__ import annotations

import contextlib
import io
import math
import struct
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from blurvid.media.ifd import HEADER_SIZE, LONG, RATIONAL, SHORT, Entry, TiffBuilder, TiffReader
from blurvid.media.profile import ADOBE, Colours, of_png

EXIF_PREFIX = b"Exif\0\0"
"""Begins an EXIF block in a JPEG file, and `Photo.exif`."""

ORIENTATION = 274
RESOLUTION = (282, 283, 296)
"""Pixels a unit across and down, and the unit."""
_EXIF, _INTEROPERABILITY, _GPS = 0x8769, 0xA005, 0x8825
_WHITE_POINT, _PRIMARIES, _COLOUR_SPACE, _GAMMA, _INDEX = 0x13E, 0x13F, 0xA001, 0xA500, 1
_ADOBE_SPACE, _UNCALIBRATED = 2, 0xFFFF
_ADOBE_GAMMA = 563 / 256
_Tree: TypeAlias = Mapping[int, "_Tree"]
_INNER: _Tree = {_EXIF: {_INTEROPERABILITY: {}}, _GPS: {}}
"""Tags that point to other directories."""
_SIZE_TAGS = (0xA002, 0xA003)
"""Width and height of the image."""
_THUMBNAIL = (513, 514)
"""Where the JPEG thumbnail in the second directory (IFD1) starts, and its length."""

# Tags by which a TIFF describes its own layout, or that hold what has its own place (XMP, ICC)
# or a picture (Photoshop's resources and layers); in any other file they would be false.
LAYOUT_TAGS = frozenset(
    (*(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284),
     *(288, 289, 290, 291, 292, 293, 301, 317, 320, 321, 322, 323, 324, 325, 330, 338, 339, 340),
     *(341, 347, 512, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724))
)  # fmt: skip
_LONGEST = 1 << 20
"""Longest value [bytes] that is taken over from the directories of a TIFF."""


def orientation_of(exif: bytes) -> int | None:
    """How the pixels lie: 1 to 8, 1 is upright; None where a block does not tell.

    Args:
        exif: from its byte-order mark on, as for all functions here.
    """
    with contextlib.suppress(ValueError, struct.error):
        tiff, tags = _opened(exif)
        value = tiff.number(tags.get(ORIENTATION), 0)
        return value if 1 <= value <= 8 else None
    return None


def dpi_of(exif: bytes) -> tuple[float, float] | None:
    """Pixels an inch that a block names, across and down."""
    with contextlib.suppress(ValueError, struct.error):
        tiff, tags = _opened(exif)
        across, down = (_fractions(tiff, tags.get(tag)) for tag in RESOLUTION[:2])
        unit = {2: 1.0, 3: 2.54}.get(tiff.number(tags.get(RESOLUTION[2]), 2))
        if unit is not None and len(across) == len(down) == 1:
            return across[0] * unit, down[0] * unit
    return None


def colours_of(exif: bytes) -> Colours | None:
    """Colours of a block: Adobe RGB of cameras, or primaries; None where it tells no others."""
    with contextlib.suppress(ValueError, struct.error):
        tiff, first = _opened(exif)
        tags = tiff.directory(tiff.number(first.get(_EXIF), 0))[0]
        space = tiff.number(tags.get(_COLOUR_SPACE), 1)
        if space == _ADOBE_SPACE:  # as some cameras write it, against the standard
            return Colours(ADOBE, _ADOBE_GAMMA)
        if space != _UNCALIBRATED:
            return None
        if _INTEROPERABILITY in tags:
            inner = tiff.directory(tiff.number(tags[_INTEROPERABILITY], 0))[0]
            if _INDEX in inner and tiff.value(inner[_INDEX]).startswith(b"R03"):
                return Colours(ADOBE, _ADOBE_GAMMA)
        points = _fractions(tiff, first.get(_WHITE_POINT)) + _fractions(tiff, first.get(_PRIMARIES))
        gammas = _fractions(tiff, tags.get(_GAMMA))
        if len(points) == 8:
            gamma = gammas[0] if gammas and gammas[0] > 0 else _ADOBE_GAMMA
            wx, wy, rx, ry, gx, gy, bx, by = points
            return of_png(1 / gamma, (wx, wy, rx, ry, gx, gy, bx, by))
    return None


def _opened(exif: bytes) -> tuple[TiffReader, dict[int, Entry]]:
    tiff = TiffReader(io.BytesIO(exif))
    return tiff, tiff.directory(tiff.first)[0]


def _fractions(tiff: TiffReader, entry: Entry | None) -> list[float]:
    if entry is None or entry.kind != RATIONAL:
        return []
    pairs = struct.iter_unpack(tiff.order + "II", tiff.value(entry))
    return [above / below if below else math.nan for above, below in pairs]


def exif_of_tiff(tiff: TiffReader, tags: Mapping[int, Entry]) -> tuple[bytes | None, bool]:
    """EXIF block made of a directory of a TIFF file, whose tags are its EXIF.

    Returns:
        The block, None if nothing is to be kept; and whether damaged tags had to be left out.
    """
    out = io.BytesIO()
    build = TiffBuilder(out, tiff.order)
    out.write(bytes(HEADER_SIZE))
    kept = {tag: entry for tag, entry in tags.items() if tag not in LAYOUT_TAGS}
    lost = tiff.lost
    build.finish(_copy_directory(tiff, kept, build, _INNER))
    return out.getvalue() if kept else None, tiff.lost > lost


def _copy_directory(
    tiff: TiffReader, tags: Mapping[int, Entry], build: TiffBuilder, inner: _Tree
) -> int:
    """Copy a directory, and those that its tags in `inner` point to; return where it went."""
    records = []
    for tag, entry in tags.items():
        if tag in inner:
            try:
                below = tiff.directory(tiff.number(entry, 0))[0]
            except ValueError:
                tiff.lost += 1
                continue
            at = _copy_directory(tiff, below, build, inner[tag])
            records.append(build.record(tag, LONG, (at,)))
        elif entry.kind <= 13 and entry.size <= _LONGEST:  # above are the types of BigTIFF
            records.append(build.record(tag, entry.kind, tiff.value(entry)))
        if build.out.tell() > 16 * _LONGEST:
            break
    return build.directory(records)


def kept_exif(exif: bytes, size: tuple[int, int]) -> tuple[bytes | None, bool]:
    """EXIF block for upright frames: orientation 1, no thumbnail, the rest byte for byte.

    Everything stays where it is, since makers' notes point into the block by offsets that
    only their makers know.

    Args:
        exif: the block of the photo from its byte-order mark on.
        size: width and height of the frames [px].

    Returns:
        The block with its prefix, None if nothing is worth keeping; and whether damaged tags
        had to be left out.

    Raises:
        ValueError: the block is damaged.
    """
    tiff = TiffReader(io.BytesIO(exif))
    if tiff.big:
        raise ValueError("a BigTIFF")
    tags, second = tiff.directory(tiff.first)
    kept = {tag: entry for tag, entry in tags.items() if tag not in LAYOUT_TAGS}
    if not kept.keys() - {ORIENTATION}:
        return None, tiff.lost > 0
    data = bytearray(exif)
    directories = list(_directories(tiff, tiff.first, kept, _INNER))
    used = []
    for offset, entries in directories:
        used.append((offset, offset + 2 + 12 * tiff.count(offset) + 4))
        for tag, entry in entries.items():
            used.append((entry.at, entry.at + entry.size))
            if tag in _SIZE_TAGS and entry.size in (2, 4):
                side = size[_SIZE_TAGS.index(tag)]
                if side < 1 << 8 * entry.size:
                    code = tiff.order + ("H" if entry.size == 2 else "I")
                    struct.pack_into(code, data, entry.at, side)
    _drop_thumbnail(data, tiff, second, used)
    for offset, entries in directories:
        # As many entries as before or fewer, and no other directory after them.
        records = {tag: data[e.start : e.start + 12] for tag, e in entries.items()}
        if offset == tiff.first and ORIENTATION in records:
            upright = struct.pack(tiff.order + "HHIHH", ORIENTATION, SHORT, 1, 1, 0)
            records[ORIENTATION] = bytearray(upright)
        table = struct.pack(tiff.order + "H", len(records))
        table += b"".join(records[tag] for tag in sorted(records)) + bytes(4)
        data[offset : offset + len(table)] = table
    return EXIF_PREFIX + bytes(data), tiff.lost > 0


def resized_exif(exif: bytes, size: tuple[int, int]) -> bytes | None:
    """A block that `kept_exif` gave, for frames of another width and height [px]."""
    return kept_exif(exif.removeprefix(EXIF_PREFIX), size)[0]


def _directories(
    tiff: TiffReader, offset: int, tags: dict[int, Entry], inner: _Tree
) -> Iterator[tuple[int, dict[int, Entry]]]:
    """A directory and those below it, the last first; damaged pointers are taken out of `tags`."""
    for pointer, deeper in inner.items():
        if pointer not in tags:
            continue
        at = tiff.number(tags[pointer], 0)
        try:
            below = tiff.directory(at)[0]
        except ValueError:
            tiff.lost += 1
            del tags[pointer]
            continue
        yield from _directories(tiff, at, below, deeper)
    yield offset, tags


def _drop_thumbnail(
    data: bytearray, tiff: TiffReader, offset: int, used: list[tuple[int, int]]
) -> None:
    """Remove the thumbnail, which shows the blurry photo, from where it stands."""
    try:
        tags = tiff.directory(offset)[0] if offset else {}
    except ValueError:
        tags = {}
    start, length = (tiff.number(tags.get(tag), 0) for tag in _THUMBNAIL)
    own = [(start, start + length), *((entry.at, entry.at + entry.size) for entry in tags.values())]
    if tags:
        own.append((offset, offset + 2 + 12 * tiff.count(offset) + 4))
    for start, end in own:
        end = min(end, len(data))
        if start < end and not any(first < end and start < last for first, last in used):
            data[start:end] = bytes(end - start)
    # What else stands there may belong to a maker's note, which points to it in its own way.
    del data[max(len(data.rstrip(b"\0")), *(last for _, last in used)) :]
