"""Which files are photos, which are videos, and in what order they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from pathlib import Path
from typing import Literal

from blurvid.errors import InputError, reason

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .ppm .pgm .pnm .jp2 .avif .tga "
    ".apng .heic .heif .hif".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .mts .m2ts .wmv .3gp .flv .ogv .vob .m2v .dv .mxf "
    ".y4m .ivf .asf .ogm .264 .h264 .265 .hevc".split()
)

_STILL_BRANDS = frozenset(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
)
"""Kinds of ISO media files that hold no video: HEIC, AVIF, and raw photos of Canon."""
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
"""Brands of images coded in HEVC (ISO/IEC 23008-12, annex B)."""
_PHOTO_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"BM"),
)
_VIDEO_STARTS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    *(b"\0\0\x01\xba", b"\0\0\x01\xb3"),  # MPEG program streams, MPEG-1 and 2
    *(b"\0\0\0\x01", b"\0\0\x01"),  # H.264 and H.265 without a container
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02",  # MXF
    *(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"OggS", b"YUV4MPEG2", b"DKIF"),  # ASF; ...; IVF
)
START = 200
"""Bytes that `starts_as` looks at."""


def is_photo(path: Path | str) -> bool:
    """Whether the suffix is one of a photo; the file itself is not looked at."""
    return Path(path).suffix.lower() in PHOTO_SUFFIXES


def is_special(path: Path) -> bool:
    """Whether a path is there and no file, but a pipe or device, which may never end.

    Raises:
        OSError: it cannot be found out.
    """
    return path.exists() and not path.is_file()


def is_video(path: Path | str) -> bool:
    """Whether the suffix is one of a video; a GIF counts as a photo."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def starts_as(start: bytes) -> Literal["photo", "video"] | None:
    """What a file is by its first `START` bytes; None if they do not tell.

    A GIF and a WebP are photos, animated or not.
    """
    if start[4:8] == b"ftyp":
        return "photo" if start[8:12] in _STILL_BRANDS else "video"
    if start[:4] == b"RIFF":
        return {b"AVI ": "video", b"WEBP": "photo"}.get(start[8:12])  # type: ignore[return-value]
    if start.startswith(_PHOTO_STARTS):
        return "photo"
    if start[::188][:2] == b"GG" or start[4::192][:2] == b"GG":
        return "video"  # MPEG transport streams, plain or of camcorders: packets of one length
    return "video" if start.startswith(_VIDEO_STARTS) else None


def is_heif(start: bytes) -> bool:
    """Whether a file that starts like this is a HEIC photo; AVIF, its sibling, is not."""
    if start[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[8:12], *(start[at : at + 4] for at in range(16, length, 4))}
    return bool(brands & _HEIF_BRANDS) or (b"mif1" in brands and b"avif" not in brands)


def content_of(path: Path | str) -> Literal["photo", "video"] | None:
    """What a file is by its content, or where that does not tell, by its suffix.

    None where only opening it tells; what is no file, or cannot be read, counts as a photo.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(START) if path.is_file() else b""
    except (OSError, ValueError):
        return "photo"
    if kind := starts_as(start):
        return kind
    if is_video(path) and path.is_file():
        return "video"
    return "photo" if not start or is_photo(path) else None


def natural_key(path: Path | str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sort key that counts: frame_2 comes before frame_10; folder by folder, ignoring case.

    Args:
        path: a path or a name.

    Returns:
        A key to compare with the keys of other paths.
    """
    return tuple(
        tuple(
            (0, int(piece), piece) if piece.isdecimal() else (1, 0, piece.casefold())
            for piece in re.split(r"(\d+)", part)
            if piece
        )
        for part in Path(path).parts
    )


def list_photos(
    folder: Path,
    recursive: bool = False,
    avoided: Set[Path] = frozenset(),
    on_error: Callable[[InputError], None] | None = None,
) -> list[Path]:
    """List the photos in a folder, in natural order, without hidden files, pipes and devices.

    Args:
        folder: where to look.
        recursive: also look into folders below it; links to folders are not followed.
        avoided: folders below it that are left out, as `Path.resolve` names them.
        on_error: called for each folder that cannot be read, and the others are looked
            through all the same; without it, the first one ends the search.

    Returns:
        Paths that start with `folder`; empty where it holds no photo.

    Raises:
        InputError: `folder` is missing, not a folder, or may not be read.
    """
    folder = Path(folder)
    found: list[Path] = []
    folders = [folder]
    while folders:
        place = folders.pop()
        try:
            for entry in place.iterdir():
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not recursive or entry.is_symlink():
                        continue
                    if not avoided or entry.resolve() not in avoided:
                        folders.append(entry)
                elif is_photo(entry) and not is_special(entry):
                    found.append(entry)
        except OSError as error:
            problem = InputError(f"{place}: {reason(error)}")
            if on_error is None:
                raise problem from error
            on_error(problem)
    return sorted(found, key=lambda path: (natural_key(path.relative_to(folder)), str(path)))
