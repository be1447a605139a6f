"""Which files are photos, which are videos, and in what order they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from pathlib import Path

from blurvid.errors import InputError
from blurvid.media.text import reason

PHOTO_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .ppm .pgm .pnm .jp2 .avif .tga "
    ".apng .heic .heif .hif".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .mts .m2ts .wmv .3gp .flv .ogv".split()
)

_PICTURE_BRANDS = frozenset(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
)


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


def holds_video(path: Path | str) -> bool:
    """Whether a file is to be taken for a video: by its suffix, or else by how it begins.

    What has the suffix of a photo is one, so a GIF and an animated WebP are photos.
    """
    if is_video(path) or is_photo(path):
        return is_video(path)
    try:
        with Path(path).open("rb") as file:
            start = file.read(200) if Path(path).is_file() else b""
    except (OSError, ValueError):
        return False
    if start[4:8] == b"ftyp":  # HEIC and AVIF begin so, too
        return start[8:12] not in _PICTURE_BRANDS
    if start[::188][:2] == b"GG" or start[4::192][:2] == b"GG":
        return True  # MPEG transport streams, plain or of camcorders: packets of one length
    return start.startswith((b"\x1a\x45\xdf\xa3", b"FLV\x01")) or (
        start[:4] == b"RIFF" and start[8:12] == b"AVI "
    )


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
