"""What stands beside EXIF in a photo: IPTC records, long XMP packets, resolution."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blurvid.media.ifd import RATIONAL, TiffReader

IPTC_RESOURCE = 0x0404
"""Number of the IPTC records among Photoshop's resources."""
_PHOTOSHOP = b"Photoshop 3.0\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_LONGEST_SEGMENT = 65_533
"""Bytes of a JPEG segment after its length."""
_PIECE = 65_400
_LONGEST_EXTENSION = 1 << 24
_RDF = re.compile(rb"<rdf:RDF([^>]*)>(.*)</rdf:RDF>", re.DOTALL)
_MOST_DPI = 100_000

Dpi = tuple[float, float]
"""Pixels an inch, across and down."""


def raw_profile(text: object) -> bytes | None:
    """A block that ImageMagick keeps as text in a PNG: a name, a count, then hex.

    Raises:
        ValueError: it is damaged.
    """
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None


def as_raw_profile(iptc: bytes) -> str:
    """IPTC records as ImageMagick and ExifTool look for them in a PNG."""
    block = _resource(iptc)
    digits = block.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(("", "iptc", f"{len(block):8}", *lines, ""))


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
        if number == IPTC_RESOURCE and len(content) == size:
            return content or None
        at += 4 + size + size % 2
    return None


def _resource(iptc: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def iptc_fits_jpeg(iptc: bytes) -> bool:
    """Whether IPTC records go into one segment of a JPEG."""
    return len(iptc) + 32 <= _LONGEST_SEGMENT


def jpeg_segments(iptc: bytes | None, long_xmp: bytes | None) -> tuple[bytes, bytes | None]:
    """Segments of a JPEG for IPTC records, and for an XMP packet too long for one.

    Args:
        iptc: records that fit.
        long_xmp: the packet.

    Returns:
        The segments with their marks, and the short packet that names the long one.
    """
    segments = b""
    if iptc is not None:
        segments += _segment(0xED, _PHOTOSHOP + _resource(iptc))
    if long_xmp is None:
        return segments, None
    digest = hashlib.md5(long_xmp, usedforsecurity=False).hexdigest().upper().encode()
    for at in range(0, len(long_xmp), _PIECE):
        head = _EXTENSION + digest + struct.pack(">II", len(long_xmp), at)
        segments += _segment(0xE1, head + long_xmp[at : at + _PIECE])
    short = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%b"/></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    return segments, short % digest


def _segment(mark: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content


def whole_xmp(xmp: bytes, segments: Sequence[tuple[str, bytes]]) -> bytes | None:
    """Join the XMP packet of a JPEG with its extension (XMP specification, part 3, 1.1.3.1).

    Args:
        xmp: the packet.
        segments: of the file, each with the name of its mark.

    Returns:
        One packet; None where the extension is not whole.
    """
    pieces: dict[int, bytes] = {}
    total = 0
    for name, content in segments:
        at = len(_EXTENSION)
        if name != "APP1" or not content.startswith(_EXTENSION) or len(content) < at + 40:
            continue
        if content[at : at + 32] in xmp:
            total, offset = struct.unpack_from(">II", content, at + 32)
            pieces[offset] = content[at + 40 :]
    if total > _LONGEST_EXTENSION:
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


def dpi_of(info: Mapping[Any, Any]) -> Dpi | None:
    """Resolution that Pillow found beside the pixels."""
    found = info.get("dpi")
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = map(float, found)  # type: ignore[arg-type]
        return _sensible(across, down)
    return None


def dpi_of_exif(exif: bytes) -> Dpi | None:
    """Resolution that an EXIF block names, from its byte-order mark on."""
    with contextlib.suppress(ValueError, struct.error, ZeroDivisionError):
        tiff = TiffReader(io.BytesIO(exif))
        tags = tiff.directory(tiff.first)[0]
        unit = {2: 1.0, 3: 2.54}.get(tiff.number(tags.get(296), 2))
        sides = [tags[tag] for tag in (282, 283) if tag in tags and tags[tag].kind == RATIONAL]
        if unit is None or len(sides) != 2:
            return None
        across, down = (
            above / below * unit
            for above, below in (struct.unpack(tiff.order + "II", tiff.value(e)) for e in sides)
        )
        return _sensible(across, down)
    return None


def _sensible(across: float, down: float) -> Dpi | None:
    return (across, down) if all(1 <= side <= _MOST_DPI for side in (across, down)) else None
