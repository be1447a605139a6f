"""TIFF directories: the form in which TIFF files and EXIF blocks keep their tags."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Literal, TypeAlias

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
    """Offset of the entry itself in the file."""
    record: bytes
    """The entry as it stands in the directory: 12 bytes, 20 in BigTIFF."""


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
        return tag, Entry(kind, at, size, start, record)

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
