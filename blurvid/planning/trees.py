"""Photos of folders, of patterns, and of lists."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from blurvid.errors import InputError, reason
from blurvid.files import is_photo, is_special, list_photos, natural_key

STDIN = "-"


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


Search = tuple[Path, list[Path], list[InputError]]
"""Where a search began, the photos found below, and why parts could not be searched."""
_MAGIC = frozenset("*?[")
_LONGEST_LIST = 1 << 28
"""Bytes of a list of names that are read."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


def kept(path: Path) -> Path:
    """Place in the tree of results of something in a list."""
    path = Path(os.path.normpath(path))
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return below(path)


def below(path: Path) -> Path:
    """A relative path without `..`, so that it leads out of no folder."""
    parts = Path(os.path.normpath(path)).parts
    up = sum(part == os.pardir for part in parts)  # after normpath all at the start
    return Path(*parts[up:])


def is_pattern(source: str | Path) -> bool:
    """Whether a name has wildcards."""
    return bool(_MAGIC & set(str(source)))


def inside(folder: Path, avoided: frozenset[Path]) -> Search:
    """Search a folder and those below it; what cannot be searched is a problem."""
    problems: list[InputError] = []
    photos = list_photos(folder, True, avoided - {folder.resolve()}, problems.append)
    if not photos and not problems:
        problems.append(InputError(f"{folder}: no photos in this folder"))
    return folder, photos, problems


def matching(pattern: Path, avoided: frozenset[Path]) -> Search:
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
