"""Profile, EXIF, XMP, IPTC and resolution: what frames shall take over from their photo."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blurvid.media import exif as exif_block
from blurvid.media import xmp as xmp_packet
from blurvid.media.color import is_profile
from blurvid.media.profile import Codes, Colours, of_codes, of_png

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


Dpi = tuple[float, float]
"""Pixels an inch, across and down."""
_MOST_DPI = 100_000


@dataclass(frozen=True)
class Metadata:
    """What came with an image, as it came."""

    exif: bytes | None = None
    """EXIF block from its byte-order mark on."""
    xmp: bytes | None = None
    icc: bytes | None = None
    problems: tuple[str, ...] = ()
    """What could not be read."""
    turned: bool = False
    """Whether the pixels have been turned upright by whoever decoded them."""
    colours: Colours | None = None
    """What the file says of its colours besides the profile and EXIF."""
    iptc: bytes | None = None
    """IPTC records."""
    dpi: Dpi | None = None

    def told(self, codes: Codes | None, kind: str | None) -> Metadata:
        """The same with the colours that code points name.

        Args:
            codes: of the file.
            kind: its format; in a PNG they count more than the profile.
        """
        colours = None if codes is None else of_codes(codes)
        if colours is None:
            return self
        return replace(self, colours=colours, icc=None if kind == "PNG" else self.icc)

    @property
    def orientation(self) -> int:
        """How the pixels lie: 1 to 8, as in EXIF; 1 is upright."""
        found = None
        if not self.turned and self.exif is not None:
            found = exif_block.orientation_of(self.exif)
        if not self.turned and found is None and self.xmp is not None:
            found = xmp_packet.orientation_of(self.xmp)
        return found or 1

    @property
    def upright_dpi(self) -> Dpi | None:
        """Pixels an inch of the upright picture, across and down."""
        found = self.dpi
        if found is None and self.exif is not None:
            found = sensible_dpi(exif_block.dpi_of(self.exif))
        return found[::-1] if found is not None and self.orientation >= 5 else found

    def profile(self, grey: bool) -> bytes | None:
        """ICC profile made of what else tells what the numbers mean; None for sRGB."""
        told = self.colours
        if told is None and self.exif is not None:
            told = exif_block.colours_of(self.exif)
        return None if told is None else told.profile(grey)


def metadata_of(info: Mapping[Any, Any], segments: Sequence[tuple[str, bytes]] = ()) -> Metadata:
    """Gather metadata from what Pillow or pillow-heif found beside the pixels.

    Args:
        info: what it found.
        segments: of a JPEG, each with the name of its mark.
    """
    problems = []
    blocks: dict[str, Any] = {}
    for name in ("exif", "xmp", "iptc"):
        try:
            blocks[name] = _raw_profile(info.get(f"Raw profile type {name}"))
        except ValueError:
            problems.append(f"its {name.upper()} block is damaged; it is dropped")
    exif = info.get("exif") or blocks.get("exif")
    exif = exif.removeprefix(exif_block.EXIF_PREFIX) if isinstance(exif, bytes) else None
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or blocks.get("xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if isinstance(xmp, bytes):
        whole = xmp_packet.extended_xmp(xmp, segments)
        if whole is None:
            problems.append("the long part of its XMP block is damaged; it is dropped")
        xmp = whole or xmp
    iptc = info.get("photoshop", blocks.get("iptc"))
    iptc = iptc.get(RESOURCE) if isinstance(iptc, Mapping) else iptc
    icc = info.get("icc_profile")
    if icc is None and "icc_profile" in info:
        problems.append("its colour profile is damaged; it is dropped")
    colours = Colours() if "srgb" in info else None
    if colours is None and ("gamma" in info or "chromaticity" in info):  # of a PNG
        colours = of_png(info.get("gamma"), info.get("chromaticity"))
        if colours is None:
            problems.append("what it says of its colours makes no sense; it is taken for sRGB")
    return Metadata(
        exif or None,
        xmp if isinstance(xmp, bytes) and xmp else None,
        icc if isinstance(icc, bytes) and icc else None,
        tuple(problems),
        colours=colours,
        iptc=iptc_of(iptc) if isinstance(iptc, bytes) else None,
        dpi=sensible_dpi(info.get("dpi")),
    )


def _raw_profile(text: object) -> bytes | None:
    """A block that ImageMagick keeps as text in a PNG: a name, a count, then hex.

    Raises:
        ValueError: it is damaged.
    """
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None


def sensible_dpi(found: Any) -> Dpi | None:
    """A resolution, whatever a file holds for one; None where it makes no sense."""
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = map(float, found)
        if all(1 <= side <= _MOST_DPI for side in (across, down)):
            return across, down
    return None


def kept(
    found: Metadata, size: tuple[int, int], warnings: list[str]
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """What of the metadata the frames of a photo take over.

    Args:
        found: metadata of the photo.
        size: width and height of the frames [px].
        warnings: gets a line for everything that is damaged.

    Returns:
        EXIF block, XMP packet and ICC profile, for `Photo`.
    """
    warnings += found.problems
    exif = xmp = None
    icc = found.icc
    if found.exif is not None:
        try:
            exif, lost = exif_block.kept_exif(found.exif, size)
            if lost:
                warnings.append("parts of its EXIF block are damaged; they are dropped")
        except (ValueError, struct.error):
            warnings.append("its EXIF block is damaged; it is dropped")
    if found.xmp is not None:
        try:
            xmp = xmp_packet.kept_xmp(found.xmp)
            if xmp is None:
                warnings.append(
                    "its XMP block is about what else is in the file (motion, depth, gain map); "
                    "it is dropped"
                )
        except ValueError:
            warnings.append("its XMP block is damaged; it is dropped")
    if icc is not None and not is_profile(icc):
        warnings.append("its colour profile is damaged; it is dropped")
        icc = None
    return exif, xmp, icc
