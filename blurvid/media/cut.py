"""Files that end too early: JPEGs that only lack their end, and pictures that lack a part."""

from __future__ import annotations

import io
from typing import IO

from PIL import ImageFile, JpegImagePlugin

END = b"\xff\xd9"
"""Marker at the end of a JPEG."""
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
    there on where they are not. Of a progressive JPEG nobody knows whether another scan was to
    come.
    """
    one, other = (_pixels(ended_jpeg(stream, filling)) for filling in _FILLINGS)
    return one is not None and one == other


def _pixels(file: IO[bytes]) -> bytes | None:
    """Decoded pixels; None of a progressive JPEG."""
    with JpegImagePlugin.JpegImageFile(file, "") as image:
        image.load()
        return None if image.info.get("progressive") else image.tobytes()
