"""EXIF, XMP and colour profile: what frames shall take over from their photo."""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from blurvid.media.beside import (
    IPTC_RESOURCE,
    Dpi,
    dpi_of,
    dpi_of_exif,
    iptc_of,
    raw_profile,
    whole_xmp,
)
from blurvid.media.color import is_profile
from blurvid.media.ifd import HEADER_SIZE, LONG, SHORT, Entry, TiffBuilder, TiffReader
from blurvid.media.profile import Codes, Colours, of_codes, of_png

EXIF_PREFIX = b"Exif\0\0"
"""Begins an EXIF block in a JPEG file, and `Photo.exif`."""

ORIENTATION = 274
_Tree: TypeAlias = Mapping[int, "_Tree"]
_INNER: _Tree = {0x8769: {0xA005: {}}, 0x8825: {}}
"""Tags that point to other directories: EXIF with interoperability inside, and GPS."""
_SIZE_TAGS = (0xA002, 0xA003)
"""Width and height of the image."""
_THUMBNAIL = (513, 514)
"""Where the JPEG thumbnail in the second directory (IFD1) starts, and its length."""
_ICC, _XMP, _IPTC, _PHOTOSHOP = 34675, 700, 33723, 34377

# Tags by which a TIFF describes its own layout, or that hold what has its own place (XMP, ICC)
# or a picture (Photoshop's resources and layers); in any other file they would be false.
LAYOUT_TAGS = frozenset(
    (*(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284),
     *(288, 289, 290, 291, 292, 293, 301, 317, 320, 321, 322, 323, 324, 325, 330, 338, 339, 340),
     *(341, 347, 512, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724))
)  # fmt: skip
_LONGEST = 1 << 20
"""Longest value [bytes] that is taken over from the directories of a TIFF."""

# Packets with these speak of other pictures in the same file (gain map, depth, motion photo).
_XMP_OF_PARTS = (b"hdrgm:", b"GCamera:M", b"GDepth:", b"GImage:", b"GContainer:", b"Container:D")
_PARTS = "its XMP block is about what else is in the file (motion, depth, gain map); it is dropped"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])")
_XMP_PREVIEW = re.compile(rb"<(xmp|xap):Thumbnails\b")
_XMP_EXTENDED = re.compile(rb"\sxmpNote:HasExtendedXMP=(\"[^\"]{,200}\"|'[^']{,200}')")
_LONGEST_XMP = 1 << 24
"""Longest packet [bytes] that is taken over."""


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
    def upright_dpi(self) -> Dpi | None:
        """Pixels an inch of the upright picture, across and down."""
        found = self.dpi or (None if self.exif is None else dpi_of_exif(self.exif))
        return found[::-1] if found is not None and self.orientation >= 5 else found

    @property
    def orientation(self) -> int:
        """How the pixels lie: 1 to 8, as in EXIF; 1 is upright."""
        if self.turned:
            return 1
        if self.exif is not None:
            with contextlib.suppress(ValueError, struct.error):
                tiff = TiffReader(io.BytesIO(self.exif))
                value = tiff.number(tiff.directory(tiff.first)[0].get(ORIENTATION), 0)
                if 1 <= value <= 8:
                    return value
        found = _XMP_ORIENTATION.search(self.xmp) if self.xmp is not None else None
        return int(found[2]) if found else 1


def metadata_of(info: Mapping[Any, Any], segments: Sequence[tuple[str, bytes]] = ()) -> Metadata:
    """Gather metadata from what Pillow or pillow-heif found beside the pixels.

    Args:
        info: what it found.
        segments: of a JPEG, each with the name of its mark.
    """
    problems = []
    blocks: dict[str, bytes | None] = {}
    for name in ("exif", "xmp", "iptc"):
        try:
            blocks[name] = raw_profile(info.get(f"Raw profile type {name}"))
        except ValueError:
            problems.append(f"its {name.upper()} block is damaged; it is dropped")
    exif = info.get("exif") or blocks.get("exif")
    exif = exif.removeprefix(EXIF_PREFIX) if isinstance(exif, bytes) else None
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or blocks.get("xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if isinstance(xmp, bytes) and _XMP_EXTENDED.search(xmp) and segments:
        whole = whole_xmp(xmp, segments)
        if whole is None:
            problems.append("the long part of its XMP block is damaged; it is dropped")
        elif not any(mark in whole for mark in _XMP_OF_PARTS):  # as maps of depth mostly are
            xmp = whole
    resources = info.get("photoshop")
    iptc = resources.get(IPTC_RESOURCE) if isinstance(resources, Mapping) else blocks.get("iptc")
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
        iptc=iptc_of(iptc if isinstance(iptc, bytes) else None),
        dpi=dpi_of(info),
    )


def metadata_of_tiff(tiff: TiffReader, tags: Mapping[int, Entry]) -> Metadata:
    """Gather metadata from a directory of a TIFF file; its tags are its EXIF."""
    out = io.BytesIO()
    build = TiffBuilder(out, tiff.order)
    out.write(bytes(HEADER_SIZE))
    kept = {tag: entry for tag, entry in tags.items() if tag not in LAYOUT_TAGS}
    lost = tiff.lost
    build.finish(_copy_directory(tiff, kept, build, _INNER))
    problems = (
        ("parts of its EXIF block are damaged; they are dropped",) if tiff.lost > lost else ()
    )
    xmp, icc = tags.get(_XMP), tags.get(_ICC)
    iptc = (iptc_of(tiff.value(tags[tag])) for tag in (_IPTC, _PHOTOSHOP) if tag in tags)
    return Metadata(
        out.getvalue() if kept else None,
        tiff.value(xmp) if xmp is not None else None,
        tiff.value(icc) if icc is not None else None,
        problems,
        iptc=next((block for block in iptc if block), None),
    )


def _copy_directory(
    tiff: TiffReader, tags: Mapping[int, Entry], build: TiffBuilder, inner: _Tree
) -> int:
    """Copy a directory, and those that its tags in `inner` point to; return where it went."""
    records = []
    for tag, entry in tags.items():
        if tag in inner:
            try:
                below = tiff.directory(tiff.number(entry, 0))[0]
            except ValueError:
                tiff.lost += 1
                continue
            at = _copy_directory(tiff, below, build, inner[tag])
            records.append(build.record(tag, LONG, (at,)))
        elif entry.kind <= 13 and entry.size <= _LONGEST:  # above are the types of BigTIFF
            records.append(build.record(tag, entry.kind, tiff.value(entry)))
        if build.out.tell() > 16 * _LONGEST:
            break
    return build.directory(records)


def kept_exif(exif: bytes, size: tuple[int, int]) -> tuple[bytes | None, bool]:
    """EXIF block for upright frames: orientation 1, no thumbnail, the rest byte for byte.

    Everything stays where it is, since makers' notes point into the block by offsets that
    only their makers know.

    Args:
        exif: the block of the photo from its byte-order mark on.
        size: width and height of the frames [px].

    Returns:
        The block with its prefix, None if nothing is worth keeping; and whether damaged tags
        had to be left out.

    Raises:
        ValueError: the block is damaged.
    """
    tiff = TiffReader(io.BytesIO(exif))
    if tiff.big:
        raise ValueError("a BigTIFF")
    tags, second = tiff.directory(tiff.first)
    kept = {tag: entry for tag, entry in tags.items() if tag not in LAYOUT_TAGS}
    if not kept.keys() - {ORIENTATION}:
        return None, tiff.lost > 0
    data = bytearray(exif)
    directories = list(_directories(tiff, tiff.first, kept, _INNER))
    used = []
    for offset, entries in directories:
        used.append((offset, offset + 2 + 12 * tiff.count(offset) + 4))
        for tag, entry in entries.items():
            used.append((entry.at, entry.at + entry.size))
            if tag in _SIZE_TAGS and entry.size in (2, 4):
                side = size[_SIZE_TAGS.index(tag)]
                if side < 1 << 8 * entry.size:
                    code = tiff.order + ("H" if entry.size == 2 else "I")
                    struct.pack_into(code, data, entry.at, side)
    _drop_thumbnail(data, tiff, second, used)
    for offset, entries in directories:
        # As many entries as before or fewer, and no other directory after them.
        records = {tag: data[e.start : e.start + 12] for tag, e in entries.items()}
        if offset == tiff.first and ORIENTATION in records:
            upright = struct.pack(tiff.order + "HHIHH", ORIENTATION, SHORT, 1, 1, 0)
            records[ORIENTATION] = bytearray(upright)
        table = struct.pack(tiff.order + "H", len(records))
        table += b"".join(records[tag] for tag in sorted(records)) + bytes(4)
        data[offset : offset + len(table)] = table
    return EXIF_PREFIX + bytes(data), tiff.lost > 0


def resized_exif(exif: bytes, size: tuple[int, int]) -> bytes | None:
    """A block that `kept_exif` gave, for frames of another width and height [px]."""
    return kept_exif(exif.removeprefix(EXIF_PREFIX), size)[0]


def _directories(
    tiff: TiffReader, offset: int, tags: dict[int, Entry], inner: _Tree
) -> Iterator[tuple[int, dict[int, Entry]]]:
    """A directory and those below it, the last first; damaged pointers are taken out of `tags`."""
    for pointer, deeper in inner.items():
        if pointer not in tags:
            continue
        at = tiff.number(tags[pointer], 0)
        try:
            below = tiff.directory(at)[0]
        except ValueError:
            tiff.lost += 1
            del tags[pointer]
            continue
        yield from _directories(tiff, at, below, deeper)
    yield offset, tags


def _drop_thumbnail(
    data: bytearray, tiff: TiffReader, offset: int, used: list[tuple[int, int]]
) -> None:
    """Remove the thumbnail, which shows the blurry photo, from where it stands."""
    try:
        tags = tiff.directory(offset)[0] if offset else {}
    except ValueError:
        tags = {}
    start, length = (tiff.number(tags.get(tag), 0) for tag in _THUMBNAIL)
    own = [(start, start + length), *((entry.at, entry.at + entry.size) for entry in tags.values())]
    if tags:
        own.append((offset, offset + 2 + 12 * tiff.count(offset) + 4))
    for start, end in own:
        end = min(end, len(data))
        if start < end and not any(first < end and start < last for first, last in used):
            data[start:end] = bytes(end - start)
    # What else stands there may belong to a maker's note, which points to it in its own way.
    del data[max(len(data.rstrip(b"\0")), *(last for _, last in used)) :]


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
    if b"<rdf:RDF" not in xmp or b"\0" in xmp or len(xmp) > _LONGEST_XMP:
        raise ValueError("not an XMP packet")
    if any(mark in xmp for mark in _XMP_OF_PARTS):
        return None
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return _XMP_EXTENDED.sub(b"", _without_previews(xmp))


def _without_previews(xmp: bytes) -> bytes:
    """An XMP packet without its thumbnails; in one pass, whatever is opened and never closed."""
    pieces, at = [], 0
    while (opened := _XMP_PREVIEW.search(xmp, at)) is not None:
        closing = b"</" + opened[1] + b":Thumbnails>"
        end = xmp.find(closing, opened.end())
        if end < 0:
            raise ValueError("thumbnails without an end")
        pieces.append(xmp[at : opened.start()])
        at = end + len(closing)
    return b"".join((*pieces, xmp[at:]))


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
            exif, lost = kept_exif(found.exif, size)
            if lost:
                warnings.append("parts of its EXIF block are damaged; they are dropped")
        except (ValueError, struct.error):
            warnings.append("its EXIF block is damaged; it is dropped")
    if found.xmp is not None:
        try:
            xmp = kept_xmp(found.xmp)
            if xmp is None:
                warnings.append(_PARTS)
        except ValueError:
            warnings.append("its XMP block is damaged; it is dropped")
    if icc is not None and not is_profile(icc):
        warnings.append("its colour profile is damaged; it is dropped")
        icc = None
    return exif, xmp, icc
