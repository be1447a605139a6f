"""What files say about their colours besides a profile: EXIF tags, PNG chunks, HEIF boxes."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import IO

import av

from blurvid.media.ifd import RATIONAL, Entry, TiffReader
from blurvid.media.profile import ADOBE, Codes, Colours, of_png
from blurvid.media.video import MAX_PIXELS, refuse

_EXIF, _INTEROPERABILITY = 0x8769, 0xA005
_WHITE_POINT, _PRIMARIES, _COLOUR_SPACE, _GAMMA, _INDEX = 0x13E, 0x13F, 0xA001, 0xA500, 1
_ADOBE_SPACE, _UNCALIBRATED = 2, 0xFFFF
_ADOBE_GAMMA = 563 / 256
_MOST_CHUNKS = 1000
_UNSPECIFIED, _FULL = 2, 2
"""As FFmpeg counts primaries and ranges."""
_FFMPEG = {"max_pixels": str(MAX_PIXELS)}


def of_exif(exif: bytes) -> Colours | None:
    """Colours of an EXIF block (from its byte-order mark on): Adobe RGB of cameras, or primaries.

    Returns:
        None where it says nothing, or sRGB.
    """
    with contextlib.suppress(ValueError, struct.error):
        tiff = TiffReader(io.BytesIO(exif))
        first = tiff.directory(tiff.first)[0]
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


def _fractions(tiff: TiffReader, entry: Entry | None) -> list[float]:
    if entry is None or entry.kind != RATIONAL:
        return []
    return [above / (below or 1) for above, below in struct.iter_unpack(
        tiff.order + "II", tiff.value(entry))]  # fmt: skip


def png_codes(stream: IO[bytes]) -> Codes | None:
    """Code points of a PNG's cICP chunk (PNG, third edition, 11.3.2.6); None without one."""
    stream.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"IEND")
        if kind in (b"IDAT", b"IEND"):
            break
        if kind == b"cICP" and length == 4:
            primaries, transfer, matrix, full = stream.read(4).ljust(4, b"\0")
            return primaries, transfer, matrix, bool(full)
        stream.seek(length + 4, io.SEEK_CUR)
    return None


def heif_codes(stream: IO[bytes]) -> Codes | None:
    """Code points of an AVIF or HEIC picture; None where it tells none, or is damaged."""
    stream.seek(0)
    with contextlib.suppress(av.FFmpegError, OSError, LookupError, ValueError):
        with av.open(
            stream, format="mov", options=_FFMPEG, metadata_errors="replace", io_open=refuse
        ) as file:
            about = file.streams.video[0].codec_context
            codes = about.color_primaries, about.color_trc, about.colorspace
            return None if codes[0] == _UNSPECIFIED else (*codes, about.color_range == _FULL)
    return None
