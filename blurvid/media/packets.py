"""XMP packets, in a JPEG those in several segments, and IPTC records: what frames take over."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Sequence

# Packets with these speak of other pictures in the same file (gain map, depth, motion photo).
_OF_PARTS = (b"hdrgm:", b"GCamera:M", b"GDepth:", b"GImage:", b"GContainer:", b"Container:D")
_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])")
_PREVIEW = re.compile(rb"<(xmp|xap):Thumbnails\b")
_EXTENDED = re.compile(rb"\sxmpNote:HasExtendedXMP=(\"[^\"]{,200}\"|'[^']{,200}')")
_RDF = re.compile(rb"<rdf:RDF([^>]*)>(.*)</rdf:RDF>", re.DOTALL)
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_LONGEST = 1 << 24
"""Longest packet [bytes] that is taken over."""
_PIECE = 65_400
"""Bytes of a long packet in one segment of a JPEG."""


def orientation_of(xmp: bytes) -> int | None:
    """How the pixels lie, as in EXIF; None where a packet does not tell."""
    found = _ORIENTATION.search(xmp)
    return int(found[2]) if found else None


def kept_xmp(xmp: bytes) -> bytes | None:
    """XMP packet for upright frames, without the preview of the blurry photo.

    Args:
        xmp: the packet of the photo.

    Returns:
        The packet; None if it is about other pictures that came in the photo's file.

    Raises:
        ValueError: not an XMP packet in UTF-8.
    """
    xmp = xmp.strip(b"\0")
    xmp.decode()
    if b"<rdf:RDF" not in xmp or b"\0" in xmp or len(xmp) > _LONGEST:
        raise ValueError("not an XMP packet")
    if any(mark in xmp for mark in _OF_PARTS):
        return None
    xmp = _ORIENTATION.sub(rb"\g<1>1", xmp)
    return _EXTENDED.sub(b"", _without_previews(xmp))


def _without_previews(xmp: bytes) -> bytes:
    """An XMP packet without its thumbnails; in one pass, whatever is opened and never closed."""
    pieces, at = [], 0
    while (opened := _PREVIEW.search(xmp, at)) is not None:
        closing = b"</" + opened[1] + b":Thumbnails>"
        end = xmp.find(closing, opened.end())
        if end < 0:
            raise ValueError("thumbnails without an end")
        pieces.append(xmp[at : opened.start()])
        at = end + len(closing)
    return b"".join((*pieces, xmp[at:]))


def extended_xmp(xmp: bytes, segments: Sequence[tuple[str, bytes]]) -> bytes | None:
    """The packet of a JPEG with its extension (XMP specification, part 3, 1.1.3.1), if it has one.

    Args:
        xmp: the packet.
        segments: of the file, each with the name of its mark.

    Returns:
        One packet; the same where it has no extension or that is about other pictures, as maps
        of depth mostly are; None where the extension is damaged.
    """
    if not segments or not _EXTENDED.search(xmp):
        return xmp
    whole = _joined(xmp, segments)
    return xmp if whole is not None and any(mark in whole for mark in _OF_PARTS) else whole


def _joined(xmp: bytes, segments: Sequence[tuple[str, bytes]]) -> bytes | None:
    """The packet with its extension; None where that is not whole."""
    pieces: dict[int, bytes] = {}
    total = 0
    for name, content in segments:
        at = len(_EXTENSION)
        if name != "APP1" or not content.startswith(_EXTENSION) or len(content) < at + 40:
            continue
        if content[at : at + 32] in xmp:
            total, offset = struct.unpack_from(">II", content, at + 32)
            pieces[offset] = content[at + 40 :]
    if total > _LONGEST:
        return None
    joined = b"".join(pieces[offset] for offset in sorted(pieces))
    found, own = _RDF.search(joined), _RDF.search(xmp)
    if len(joined) != total or not total or found is None:
        return None
    if own is None:  # a short form without content
        return joined
    # Names that the extension declares outside of its descriptions go with them.
    known = dict(_declared(own[1]))
    more = b"".join(b" " + text for name, text in _declared(found[1]) if name not in known)
    merged = b"<rdf:RDF" + own[1] + more + b">" + own[2] + found[2] + b"</rdf:RDF>"
    return xmp[: own.start()] + merged + xmp[own.end() :]


def _declared(attributes: bytes) -> Iterator[tuple[bytes, bytes]]:
    for match in re.finditer(rb"(xmlns:[\w.-]+)\s*=\s*(\"[^\"]*\"|'[^']*')", attributes):
        yield match[1], match[0]


def split_xmp(xmp: bytes) -> tuple[bytes, list[bytes]]:
    """A packet that is too long for one segment of a JPEG, as a short one and its extension.

    Returns:
        The packet that names the extension, and the contents of APP1 segments with that.
    """
    digest = hashlib.md5(xmp, usedforsecurity=False).hexdigest().upper().encode()
    starts = range(0, len(xmp), _PIECE)
    heads = (_EXTENSION + digest + struct.pack(">II", len(xmp), at) for at in starts)
    short = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%b"/></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    pieces = [head + xmp[at : at + _PIECE] for head, at in zip(heads, starts, strict=True)]
    return short % digest, pieces


RESOURCE = 0x0404
"""Number of the IPTC records among Photoshop's resources."""
PNG_KEYWORD = "Raw profile type iptc"
_PHOTOSHOP = b"Photoshop 3.0\0"


def iptc_of(block: bytes | None) -> bytes | None:
    """IPTC records in a block of Photoshop's resources, or the block if it is these; else None."""
    if block is None or block.startswith(b"\x1c"):
        return block
    at = len(_PHOTOSHOP) if block.startswith(_PHOTOSHOP) else 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number, length = struct.unpack_from(">HB", block, at + 4)
        at += 7 + length + (length + 1) % 2  # the name, with its length, fills whole pairs
        size = int.from_bytes(block[at : at + 4], "big")
        content = block[at + 4 : at + 4 + size]
        if number == RESOURCE and len(content) == size:
            return content or None
        at += 4 + size + size % 2
    return None


def jpeg_iptc(iptc: bytes) -> bytes:
    """Content of a JPEG's APP13 segment with IPTC records."""
    return _PHOTOSHOP + _resource(iptc)


def png_iptc(iptc: bytes) -> str:
    """Text of a PNG with IPTC records, as ImageMagick and ExifTool look for it."""
    block = _resource(iptc)
    digits = block.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(("", "iptc", f"{len(block):8}", *lines, ""))


def _resource(iptc: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
