"""Files that cannot be read as they are: damaged, cut off, or something else than a photo."""

from __future__ import annotations

import contextlib
import io
import zlib
from typing import IO

from PIL import ImageFile, JpegImagePlugin

from blurvid.files import is_video
from blurvid.media.png import SIGNATURE, chunk, chunks
from blurvid.media.profile import LARGEST_PROFILE
from blurvid.media.tiff import RAW, described

_PILLOWS_LIMIT = 1 << 20
"""Pillow refuses a PNG with more bytes than this in one compressed block."""
_JPEG_END = b"\xff\xd9"
"""Marker at the end of a JPEG."""
_FILLINGS = (b"\x55" * 64, b"\xaa" * 64)
"""Two ways for the data of a scan to go on that differ in every bit."""
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb")
"""Of Fujifilm, Panasonic, Olympus and Sigma; others are TIFF files, or media files of Canon."""


def repaired_png(stream: IO[bytes]) -> tuple[IO[bytes], bytes | None, bool] | None:
    """Leave out of a PNG what its pixels do not need and what is damaged or too large.

    Returns:
        The rest, its ICC profile if that was left out only since it is large, and whether
        anything else was left out; None if there is nothing to leave out, or the file is no PNG.
    """
    stream.seek(0)
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        return None
    pieces, profile, lost = [SIGNATURE], None, False
    for kind, data, right in chunks(stream):
        extra = bool(kind[0] & 0x20)  # a small first letter: the image can do without it
        if not extra or (right and _unpacked(kind, data, _PILLOWS_LIMIT) is not None):
            pieces.append(chunk(kind, data, right))
        elif kind == b"iCCP" and right and profile is None:
            profile = _unpacked(kind, data, LARGEST_PROFILE)
            lost = lost or profile is None
        else:
            lost = True
    if not lost and profile is None:
        return None
    return io.BytesIO(b"".join(pieces)), profile, lost


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
    return io.BytesIO(data.removesuffix(b"\xff") + filling + _JPEG_END)


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


def what_else(stream: IO[bytes], start: bytes, name: str) -> str:
    """Say what a file is that is not an image, or not one that can be read."""
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the photo; run `git lfs pull`"
    if start.startswith(_RAW_STARTS) or start[4:12] == b"ftypcrx ":
        return RAW
    if start[:2] in (b"II", b"MM"):
        with contextlib.suppress(ValueError):
            kind = described(stream)
            return f"is a TIFF of a kind that is not read ({kind}); save it with 8 or 16 bits"
    if is_video(name):
        return "is a video, not a photo"
    try:
        start[:-4].decode()  # the cut may go through a character
    except UnicodeDecodeError:
        return "is not an image of a known kind, or is damaged at its start"
    if b"\0" in start:
        return "is not an image of a known kind, or is damaged at its start"
    return "is text, not an image"
