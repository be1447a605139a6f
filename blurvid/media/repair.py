"""A PNG without the blocks that Pillow stumbles over, so that its pixels can be read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from blurvid.media.color import LARGEST_PROFILE

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PILLOWS_LIMIT = 1 << 20
"""Pillow refuses a file with more bytes than this in one compressed block."""


@dataclass(frozen=True)
class Repaired:
    """What is left of a PNG."""

    file: IO[bytes]
    """The rest, in memory."""
    profile: bytes | None
    """Its ICC profile, if that was left out only since it is large."""
    lost: bool
    """Whether anything else was left out."""


def repaired_png(stream: IO[bytes]) -> Repaired | None:
    """Leave out of a PNG what its pixels do not need and what is damaged or too large.

    Returns:
        The rest; None if there is nothing to leave out, or the file is no PNG.
    """
    stream.seek(0)
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        return None
    pieces, profile, lost = [SIGNATURE], None, False
    for kind, data, right in _chunks(stream):
        extra = bool(kind[0] & 0x20)  # a small first letter: the image can do without it
        if not extra or (right and _unpacked(kind, data, _PILLOWS_LIMIT) is not None):
            checksum = zlib.crc32(kind + data) ^ (not right)
            pieces += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)]
        elif kind == b"iCCP" and right and profile is None:
            profile = _unpacked(kind, data, LARGEST_PROFILE)
            lost = lost or profile is None
        else:
            lost = True
    if not lost and profile is None:
        return None
    return Repaired(io.BytesIO(b"".join(pieces)), profile, lost)


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and data of each chunk, and whether its checksum is right; ends where they do."""
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        data, checksum = stream.read(length), stream.read(4)
        yield kind, data, checksum == struct.pack(">I", zlib.crc32(kind + data))


def _unpacked(kind: bytes, data: bytes, limit: int) -> bytes | None:
    """The compressed part of a chunk; None if it is damaged or longer than `limit`."""
    _, _, packed = data.partition(b"\0")  # a name comes first
    if kind == b"iTXt" and packed[:1] == b"\1":
        packed = packed[2:].split(b"\0", 2)[-1]
    elif kind in (b"iCCP", b"zTXt"):
        packed = packed[1:]
    else:
        return b""
    unpack = zlib.decompressobj()
    try:
        found = unpack.decompress(packed, limit)
    except zlib.error:
        return None
    return found if unpack.eof else None
