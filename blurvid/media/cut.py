"""Files that end too early: JPEGs that only lack their end, and pictures that lack a part."""

from __future__ import annotations

import io
import re
from typing import IO

from PIL import ImageFile

END = b"\xff\xd9"
"""Marker at the end of a JPEG."""
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")
_PROGRESSIVE, _START_OF_SCAN = 0xC2, 0xDA
_BARE = frozenset((0x01, *range(0xD0, 0xDA)))
"""Markers that no length follows."""
_FILLINGS = (b"\x55" * 64, b"\xaa" * 64)
"""Two ways for the data of a scan to go on that differ in every bit."""


def ends_early(error: Exception) -> bool:
    """Whether a decoder says that a file ended before its picture did."""
    return isinstance(error, OSError) and "truncated" in str(error).lower()


def load_part(image: ImageFile.ImageFile) -> None:
    """Decode what is there of a picture that ends early; the rest is black."""
    try:
        image.load()
    except OSError as error:
        if not ends_early(error):
            raise
        image.tile = []  # as decoded as it will be
        image.load()


def ended_jpeg(stream: IO[bytes], filling: bytes = b"") -> IO[bytes]:
    """The same JPEG with an end; a decoder leaves grey what is missing."""
    stream.seek(0)
    data = stream.read()
    return io.BytesIO(data.removesuffix(b"\xff") + filling + END)


def only_end_missing(stream: IO[bytes]) -> bool:
    """Whether all rows of a JPEG are there and only the marker at its end is not.

    What follows the data of a picture changes nothing where the data are whole, and all from
    there on where they are not.
    """
    stream.seek(0)
    if not _all_scans(stream.read()):
        return False
    one, other = (_pixels(ended_jpeg(stream, filling)) for filling in _FILLINGS)
    return one == other


def _pixels(file: IO[bytes]) -> bytes:
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(file, "") as image:
        image.load()
        return image.tobytes()


def _all_scans(data: bytes) -> bool:
    """Whether every bit of a progressive JPEG has been begun; others have them all in one go."""
    at, progressive = 2, False
    missing: dict[int, set[tuple[int, int]]] = {}
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = found[0][1], found.end()
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in _BARE:
            continue
        content = data[at + 2 : at + length]
        if len(content) < length - 2:
            return False
        at += length
        if marker == _PROGRESSIVE:
            progressive = True
            for place in range(6, len(content), 3):
                # The lowest bit of each of 64 numbers comes last.
                missing[content[place]] = {(number, 0) for number in range(64)}
        elif marker == _START_OF_SCAN and content:
            count = content[0]
            first, last, bits = content[1 + 2 * count : 4 + 2 * count]
            for place in range(count):
                done = {(number, bits & 15) for number in range(first, last + 1)}
                missing.setdefault(content[1 + 2 * place], set()).difference_update(done)
    return not progressive or not any(missing.values())
