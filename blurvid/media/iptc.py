"""IPTC records (IIM), which Photoshop's resources and text of a PNG hold."""

from __future__ import annotations

import struct

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
