"""Which files are photos, which are videos; and the photos of folders, patterns and lists."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
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
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"BM", b"\0\0\1\0"),
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


STDIN = "-"
_MAGIC = frozenset("*?[")
"""Wildcards."""
_LONGEST_LIST = 1 << 28
"""Bytes of a list of names that are read."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Found:
    """A photo, or the reason why there is none."""

    photo: Path | None
    """None is standard input."""
    relative: Path
    """Below the source folder; names the output."""
    in_folder: bool = False
    """Whether it is one of a tree, of which there may be more another time."""
    error: InputError | None = None


def read_list(source: str | Path, null: bool = False) -> list[Path]:
    """Read names of photos and folders from a file, one a line.

    Args:
        source: the file, or `-` for standard input.
        null: names end in a NUL character and not in a line break, which they may contain then
            (as `find -print0` writes them).

    Raises:
        InputError: the list cannot be read, or names nothing.
    """
    try:
        if str(source) == STDIN:
            data = sys.stdin.buffer.read(_LONGEST_LIST + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_LONGEST_LIST + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: {reason(error)}") from error
    if len(data) > _LONGEST_LIST:
        raise InputError(f"{source}: too long for a list of names")
    if null:
        names = data.split(b"\0")
    elif b"\0" in data:
        raise InputError(f"{source}: no list of names; if `find -print0` wrote it, use --null")
    else:
        names = [
            name.removesuffix(b"\r") for name in data.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
        ]
    paths = [Path(os.fsdecode(name)) for name in names if name]
    if not paths:
        raise InputError(f"{source}: this list names no photos")
    return paths


def find(
    sources: Sequence[str | Path], listed: Sequence[Path] = (), outside: Sequence[Path] = ()
) -> list[Found]:
    """Find the photos of some sources, each photo of a tree once.

    Args:
        sources: photos, folders (searched through), patterns such as `photos/**/*.jpg`, or `-`
            for standard input. A file or folder of that very name wins over a pattern. A tree
            begins at the folder, and at what stands before the first wildcard of a pattern.
        listed: photos and folders of a list, which is a tree that begins at the current folder,
            or at the root for what lies elsewhere.
        outside: folders that are not searched where they lie inside of a source, since what
            is written there are no photos to begin with.

    Returns:
        What was found, in natural order within each source.

    Raises:
        InputError: there is no photo at all; one missing among others is an entry with an error.
    """
    avoided = frozenset(folder.resolve() for folder in outside)
    found = [entry for source in sources for entry in _photos(source, avoided)]
    for path in listed:
        found += _photos(path, avoided, _kept(path))
    if all(entry.error for entry in found):
        raise next((entry.error for entry in found if entry.error), InputError("no photos"))
    once: dict[tuple[object, ...], Found] = {}
    for entry in found:
        place = None if entry.photo is None else _real(entry.photo)
        once.setdefault((place, entry.relative, str(entry.error)), entry)
    return list(once.values())


def _real(path: Path) -> str:
    """One name for all ways to a file, as far as there is one."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _photos(
    source: str | Path, avoided: frozenset[Path], kept: Path | None = None
) -> Iterator[Found]:
    """Photos of a source, or the reasons why there are none.

    Args:
        source: as for `find`.
        avoided: folders that are not searched.
        kept: place in the tree, for something in a list.
    """
    if kept is None and str(source) == STDIN:
        yield Found(None, Path("stdin.png"))
        return
    path, listed = Path(source), kept is not None
    if not str(source):  # a variable of a shell that is not set; `Path` takes it for this folder
        yield Found(path, Path("photo"), error=InputError("'': no such file or folder"))
        return
    try:
        if path.is_dir():
            base, photos, problems = _inside(path, avoided)
        elif os.path.lexists(path) or listed or not _MAGIC & set(str(source)):
            path.stat()
            yield Found(path, kept or Path(path.name), in_folder=listed)
            return
        else:
            base, photos, problems = _matching(path, avoided)
    except (OSError, ValueError) as problem:
        error = InputError(f"{source}: {reason(problem)}")
        yield Found(path, kept or Path(path.name or "photo"), listed, error)
        return
    place = kept or Path()
    for photo in photos:
        yield Found(photo, place / _below(photo.relative_to(base)), in_folder=True)
    for error in problems:
        yield Found(path, place / "photo", in_folder=True, error=error)


def _kept(path: Path) -> Path:
    """Place in the tree of results of something in a list."""
    path = Path(os.path.normpath(path))
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return _below(path)


def _below(path: Path) -> Path:
    """A relative path without `..`, so that it leads out of no folder."""
    parts = Path(os.path.normpath(path)).parts
    up = sum(part == os.pardir for part in parts)  # after normpath all at the start
    return Path(*parts[up:])


_Search = tuple[Path, list[Path], list[InputError]]
"""Where a search began, the photos found below, and why parts could not be searched."""


def _inside(folder: Path, avoided: frozenset[Path]) -> _Search:
    """Search a folder and those below it; what cannot be searched is a problem."""
    problems: list[InputError] = []
    photos = list_photos(folder, True, avoided - {folder.resolve()}, problems.append)
    if not photos and not problems:
        problems.append(InputError(f"{folder}: no photos in this folder"))
    return folder, photos, problems


def _matching(pattern: Path, avoided: frozenset[Path]) -> _Search:
    """Search what a pattern matches, and the folders that it matches.

    As for a shell, hidden ones only where the pattern names a dot. Links to folders are followed
    where a part of the pattern names them, but not by `**`, which would go round in circles.
    """
    parts = pattern.parts
    fixed = next(number for number, part in enumerate(parts) if _MAGIC & set(part))
    base = Path(*parts[:fixed])
    hidden = any(part.startswith(".") for part in parts[fixed:])
    photos: set[Path] = set()
    problems: list[InputError] = []

    @functools.cache
    def left_out(folder: Path) -> bool:
        return folder.resolve() in avoided or (folder != base and left_out(folder.parent))

    for path in base.glob(os.path.join(*parts[fixed:])):  # noqa: PTH118 - a pattern
        found = path.relative_to(base).parts
        if not hidden and any(part.startswith(".") for part in found):
            continue
        if path.is_dir():
            if not (path.is_symlink() and "**" in parts) and not left_out(path):
                photos.update(list_photos(path, True, avoided, problems.append))
        elif is_photo(path) and not is_special(path) and not left_out(path.parent):
            photos.add(path)
    if "**" in parts and base.is_dir():  # of what cannot be read, `glob` says nothing
        list_photos(base, True, avoided, problems.append)
        problems = list({str(problem): problem for problem in problems}.values())
    if not photos and not problems:
        nothing = "no such file or folder, and no photo that this pattern matches"
        problems.append(InputError(f"{pattern}: {nothing}"))
    order = sorted(photos, key=lambda path: (natural_key(path), str(path)))
    return base, order, problems
