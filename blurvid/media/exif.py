"""TIFF directories, in which TIFF files and EXIF blocks keep their tags, and what EXIF says."""

from __future__ import annotations

import contextlib
import io
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Literal, TypeAlias

from blurvid.media.profile import ADOBE, Colours, of_png

BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7

Order: TypeAlias = Literal["<", ">"]
"""Order of bytes, as `struct` writes it: small end first, or large end first."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
"""Bytes of one value by its type (TIFF 6.0, section 2; BigTIFF from 16 on)."""
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types that are whole numbers, as `struct` calls them."""

_MOST_ENTRIES = 4096
"""A directory that claims more is damaged."""


@dataclass(frozen=True)
class Entry:
    """One tag."""

    kind: int
    """Type of the values."""
    at: int
    """Offset of the values in the file."""
    size: int
    """Bytes of all values; they lie inside the file."""
    start: int
    """Offset of the entry itself in the file: of 12 bytes, 20 in BigTIFF."""


class TiffReader:
    """Reads the directories of a TIFF file or an EXIF block; damaged entries are left out."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read the header.

        Raises:
            ValueError: not TIFF.
        """
        self._stream = stream
        stream.seek(0)
        header = stream.read(16)
        self.length = stream.seek(0, 2)
        if header[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or len(header) < 8:
            raise ValueError("not TIFF")
        self.order: Order = "<" if header.startswith(b"II") else ">"
        self.big = b"+" in header[2:4]
        if self.big and len(header) < 16:
            raise ValueError("not TIFF")
        self.lost = 0
        """Entries that were left out."""
        self.first: int = struct.unpack_from(self.order + ("Q" if self.big else "I"), header,
                                             8 if self.big else 4)[0]  # fmt: skip
        """Offset of the first directory."""

    def count(self, offset: int) -> int:
        """Number of entries of a directory.

        Raises:
            ValueError: there is no directory.
        """
        code = self.order + ("Q" if self.big else "H")
        head = self._read(offset, struct.calcsize(code))
        if offset < 8 or len(head) < struct.calcsize(code):
            raise ValueError("a directory outside the file")
        count: int = struct.unpack(code, head)[0]
        if count > _MOST_ENTRIES:
            raise ValueError(f"a directory of {count} entries")
        return count

    def directory(self, offset: int) -> tuple[dict[int, Entry], int]:
        """Read one directory.

        Returns:
            Its entries by tag, and the offset of the next directory, 0 if there is none.

        Raises:
            ValueError: there is no directory.
        """
        size, step, inline = (8, 20, 8) if self.big else (2, 12, 4)
        count = self.count(offset)
        table = self._read(offset + size, count * step + inline)
        entries: dict[int, Entry] = {}
        for start in range(0, count * step, step):
            record = table[start : start + step]
            at = offset + size + start
            tag, entry = self._entry(record, at) if len(record) == step else (0, None)
            if entry is None:
                self.lost += 1
            else:
                entries.setdefault(tag, entry)
        rest = table[count * step :]
        code = self.order + ("Q" if self.big else "I")
        return entries, struct.unpack(code, rest)[0] if len(rest) == inline else 0

    def _entry(self, record: bytes, start: int) -> tuple[int, Entry | None]:
        """Tag of the record that starts there, and its entry, None if it is damaged."""
        code, inline = ("HHQQ", 8) if self.big else ("HHII", 4)
        tag, kind, count, offset = struct.unpack(self.order + code, record)
        size = _SIZES.get(kind, 0) * count
        at = offset if size > inline else start + len(record) - inline
        if size == 0 or at + size > self.length:
            return tag, None
        return tag, Entry(kind, at, size, start)

    def value(self, entry: Entry) -> bytes:
        """The values of an entry as bytes, in the byte order of the file."""
        return self._read(entry.at, entry.size)

    def numbers(self, entry: Entry | None) -> tuple[int, ...]:
        """The values of an entry; empty if it is missing or holds no whole numbers."""
        code = _CODES.get(entry.kind) if entry is not None else None
        if entry is None or code is None:
            return ()
        count = entry.size // _SIZES[entry.kind]
        return struct.unpack(f"{self.order}{count}{code}", self.value(entry))

    def number(self, entry: Entry | None, default: int) -> int:
        """The first value of an entry, or `default`."""
        return next(iter(self.numbers(entry)), default)

    def _read(self, offset: int, size: int) -> bytes:
        if offset > self.length:
            return b""
        self._stream.seek(offset)
        return self._stream.read(size)


HEADER_SIZE = 8
"""Bytes of a file that `TiffBuilder.finish` writes last."""


class TiffBuilder:
    """Puts a TIFF file together: values go where `out` ends, a directory comes last."""

    def __init__(self, out: IO[bytes], order: Order) -> None:
        self.out, self.order = out, order

    def align(self) -> int:
        """Go to an even offset, where values and directories must start; return it."""
        if self.out.tell() % 2:
            self.out.write(b"\0")
        return self.out.tell()

    def record(self, tag: int, kind: int, values: bytes | Sequence[int]) -> bytes:
        """Make one entry of a directory; values that it cannot hold itself are written.

        Args:
            tag: its number.
            kind: type of the values.
            values: whole numbers (two for one fraction), or bytes in the right order.

        Returns:
            The 12 bytes of the entry.
        """
        if not isinstance(values, bytes):
            code = _CODES.get(kind, "I")
            values = struct.pack(f"{self.order}{len(values)}{code}", *values)
        count = len(values) // _SIZES[kind]
        head = struct.pack(self.order + "HHI", tag, kind, count)
        if len(values) <= 4:
            return head + values.ljust(4, b"\0")
        at = self.align()
        self.out.write(values)
        return head + struct.pack(self.order + "I", at)

    def directory(self, records: Sequence[bytes]) -> int:
        """Write a directory with no other after it; return where it starts."""
        at = self.align()
        ordered = sorted(records, key=lambda record: struct.unpack(self.order + "H", record[:2]))
        self.out.write(struct.pack(self.order + "H", len(ordered)))
        self.out.write(b"".join(ordered) + b"\0\0\0\0")
        return at

    def finish(self, first: int) -> None:
        """Write the header, which points at the first directory."""
        self.out.seek(0)
        mark = b"II*\0" if self.order == "<" else b"MM\0*"
        self.out.write(mark + struct.pack(self.order + "I", first))


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
