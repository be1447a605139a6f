"""What files say about their colours besides a profile: EXIF tags, PNG chunks, HEIF boxes."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import IO, TypeAlias

from blurvid.media.ifd import RATIONAL, Entry, TiffReader
from blurvid.media.profile import ADOBE, Codes, Colours, of_png

_EXIF, _INTEROPERABILITY = 0x8769, 0xA005
_WHITE_POINT, _PRIMARIES, _COLOUR_SPACE, _GAMMA, _INDEX = 0x13E, 0x13F, 0xA001, 0xA500, 1
_ADOBE_SPACE, _UNCALIBRATED = 2, 0xFFFF
_ADOBE_GAMMA = 563 / 256
_MOST_CHUNKS, _MOST_BOXES = 1000, 10_000
_LONGEST_HEAD = 1 << 24
"""Longest `meta` box [bytes] that is looked through."""

_Box: TypeAlias = tuple[bytes, bytes]
"""Kind and content."""


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
    """Code points of the main picture of an AVIF or HEIC file (ISO/IEC 23008-12, `colr`).

    Returns:
        None where its properties hold none, or cannot be read.
    """
    with contextlib.suppress(ValueError, LookupError, struct.error):
        for kind, content in _properties(stream):
            if kind == b"colr" and content[:4] == b"nclx":
                primaries, transfer, matrix, full = struct.unpack_from(">HHHB", content, 4)
                return primaries, transfer, matrix, bool(full & 0x80)
    return None


def _properties(stream: IO[bytes]) -> list[_Box]:
    """Properties of the main picture."""
    meta = dict(_boxes(_meta(stream)[4:]))
    version, *_ = meta[b"pitm"]
    main = int.from_bytes(meta[b"pitm"][4 : 6 if version == 0 else 8], "big")
    shelf = list(_boxes(meta[b"iprp"]))
    known = list(_boxes(dict(shelf)[b"ipco"]))
    found: list[_Box] = []
    for kind, content in shelf:
        if kind == b"ipma":
            found += [
                known[index - 1] for index in _links(content, main) if 0 < index <= len(known)
            ]
    return found


def _links(content: bytes, item: int) -> Iterator[int]:
    """Numbers of the properties that an `ipma` box gives to an item."""
    version, wide = content[0], content[3] & 1
    name, link, at = (">H" if version == 0 else ">I"), (">H" if wide else ">B"), 8
    for _ in range(min(int.from_bytes(content[4:8], "big"), _MOST_BOXES)):
        (owner,) = struct.unpack_from(name, content, at)
        at += struct.calcsize(name)
        count = content[at]
        links = struct.unpack_from(f">{count}{link[1]}", content, at + 1)
        at += 1 + count * struct.calcsize(link)
        if owner == item:
            yield from (number & (0x7FFF if wide else 0x7F) for number in links)


def _meta(stream: IO[bytes]) -> bytes:
    """Content of the file's `meta` box."""
    end = stream.seek(0, io.SEEK_END)
    at = 0
    for _ in range(_MOST_CHUNKS):
        stream.seek(at)
        size, kind, start = _box_head(stream.read(16), end - at)
        if kind == b"meta" and size <= _LONGEST_HEAD:
            stream.seek(at + start)
            return stream.read(size - start)
        at += size
    raise ValueError("no meta box")


def _boxes(content: bytes) -> Iterator[_Box]:
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(content):
            return
        size, kind, start = _box_head(content[at : at + 16], len(content) - at)
        yield kind, content[at + start : at + size]
        at += size


def _box_head(head: bytes, rest: int) -> tuple[int, bytes, int]:
    """Size and kind of a box, and where its content begins."""
    size, kind = struct.unpack_from(">I4s", head)
    start = 8
    if size == 1:
        (size,) = struct.unpack_from(">Q", head, 8)
        start = 16
    size = size or rest
    if not start <= size <= rest:
        raise ValueError("a box longer than the file")
    return size, kind, start
