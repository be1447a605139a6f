"""Where the photos of a batch come from: files, folders, patterns, lists, standard input."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurvid.errors import InputError, reason
from blurvid.files import is_photo, is_special, list_photos, natural_key

STDIN = "-"
_MAGIC = frozenset("*?[")
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
    path = Path(source)
    listed = kept is not None
    if not str(source):  # a variable of a shell that is not set; `Path` takes it for this folder
        yield Found(path, Path("photo"), error=InputError("'': no such file or folder"))
        return
    try:
        if path.is_dir():
            yield from _in_folder(path, avoided, path, kept or Path())
        elif os.path.lexists(path) or listed or not _MAGIC & set(str(source)):
            path.stat()
            yield Found(path, kept or Path(path.name), in_folder=listed)
        else:
            yield from _matching(path, avoided)
    except (OSError, ValueError) as problem:
        error = InputError(f"{source}: {reason(problem)}")
        yield Found(path, kept or Path(path.name or "photo"), listed, error)


def _in_folder(
    folder: Path, avoided: frozenset[Path], base: Path, kept: Path = Path()
) -> Iterator[Found]:
    """Photos in a folder and below; what cannot be searched is an entry with an error."""
    problems: list[InputError] = []
    photos = list_photos(folder, True, avoided - {folder.resolve()}, problems.append)
    if not photos and not problems:
        problems.append(InputError(f"{folder}: no photos in this folder"))
    for photo in photos:
        yield Found(photo, kept / photo.relative_to(base), in_folder=True)
    for problem in problems:
        name = kept / folder.relative_to(base) / "photo"
        yield Found(folder, name, in_folder=True, error=problem)


def _matching(pattern: Path, avoided: frozenset[Path]) -> Iterator[Found]:
    """Photos that a pattern matches, and those in folders that it matches.

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
        below = path.relative_to(base).parts
        if not hidden and any(part.startswith(".") for part in below):
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
    for photo in sorted(photos, key=lambda path: (natural_key(path), str(path))):
        yield Found(photo, _below(photo.relative_to(base)), in_folder=True)
    for problem in problems:
        yield Found(pattern, Path("photo"), in_folder=True, error=problem)
