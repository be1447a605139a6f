"""Where the photos of a batch come from: files, folders, patterns, lists, standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurvid.errors import InputError, reason
from blurvid.planning import trees


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
        found += _photos(path, avoided, trees.kept(path))
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
    if kept is None and str(source) == trees.STDIN:
        yield Found(None, Path("stdin.png"))
        return
    path, listed = Path(source), kept is not None
    if not str(source):  # a variable of a shell that is not set; `Path` takes it for this folder
        yield Found(path, Path("photo"), error=InputError("'': no such file or folder"))
        return
    try:
        if path.is_dir():
            base, photos, problems = trees.inside(path, avoided)
        elif os.path.lexists(path) or listed or not trees.is_pattern(source):
            path.stat()
            yield Found(path, kept or Path(path.name), in_folder=listed)
            return
        else:
            base, photos, problems = trees.matching(path, avoided)
    except (OSError, ValueError) as problem:
        error = InputError(f"{source}: {reason(problem)}")
        yield Found(path, kept or Path(path.name or "photo"), listed, error)
        return
    place = kept or Path()
    for photo in photos:
        yield Found(photo, place / trees.below(photo.relative_to(base)), in_folder=True)
    for error in problems:
        yield Found(path, place / "photo", in_folder=True, error=error)
