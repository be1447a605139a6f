"""Photos of folders, of patterns, and of lists; and what their results are called."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurvid.errors import InputError, OptionError, reason
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


FIELDS = ("stem", "suffix", "parent", "index", "model", "weights")
"""What a name template can hold: the photo's name without its suffix, the suffix without its
dot, the folder below the source, the number of the photo in the whole run from 1 on, the
model, the weight set."""
_WIDTH = r"(?::[<>^]?0?\d{0,3}(?:\.\d{1,3})?[sd]?)?"
_TEMPLATE = re.compile(rf"(?:[^{{}}]|\{{\{{|\}}\}}|\{{(?:{'|'.join(FIELDS)}){_WIDTH}\}})+")


class Template:
    """A name template such as `{parent}/{stem}_{model}`; `/` makes folders.

    Raises:
        OptionError: it is none.
    """

    def __init__(self, text: str, model: str, weights: str) -> None:
        self.text, self.facts = text, {"model": model, "weights": weights}
        if not _TEMPLATE.fullmatch(text):
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise self._error(f" is none: there are {known}, and widths such as {{index:04d}}")

    def __call__(self, relative: Path, index: int) -> Path:
        """Name the results of a photo by its place below its source and its number, from 1 on.

        Raises:
            OptionError: this photo gets no name inside of the output folder.
        """
        parent, suffix = relative.parent.as_posix(), relative.suffix.removeprefix(".")
        parent = "" if parent == "." else parent
        about = {"stem": relative.stem, "suffix": suffix, "parent": parent, "index": index}
        try:
            filled = self.text.format(**about, **self.facts)
        except ValueError as error:
            raise self._error(f": {error}") from error
        if not self.text.startswith("/"):
            filled = filled.lstrip("/")  # {parent} is empty at the top of a tree
        path = Path(filled)
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise self._error(f" leads out of the output folder for {relative}")
        if not path.name or filled.endswith("/"):
            raise self._error(f" gives no name for {relative}")
        return path

    def _error(self, problem: str) -> OptionError:
        return OptionError(f"the name template {self.text!r}{problem}")


def named(found: Sequence[Found], template: Template | None) -> Iterator[Path]:
    """Names of results below the output folder, without suffix, each only once.

    Without a template, results have the names of the photos; `a.jpg` and `a.png`, or photos of
    one name from two places, are told apart by suffixes and numbers.

    Raises:
        OptionError: a template gives two photos the same name.
    """
    taken: dict[str, Path] = {}
    count = Counter(entry.relative.with_suffix("") for entry in found)
    for index, entry in enumerate(found, start=1):
        if template is not None:
            name = template(entry.relative, index)
            other = taken.get(_key(name))
            if entry.error is not None:  # there will be no results to name
                yield name
                continue
            if other is not None:
                raise OptionError(
                    f"the name template {template.text!r} gives {other} and {entry.relative} the "
                    f"same name, {name}; add {{parent}}, {{suffix}} or {{index}}"
                )
        else:
            name = base = entry.relative.with_suffix("")
            if count[base] > 1:
                name = base = base.with_name(entry.relative.name.replace(".", "_"))
            number = 2
            while _key(name) in taken:
                name, number = base.with_name(f"{base.name}_{number}"), number + 1
        taken[_key(name)] = entry.relative
        yield name


def _key(name: Path) -> str:
    """What two names have in common that mean one file."""
    blind = sys.platform in ("darwin", "win32")  # file systems there ignore case
    return str(name).casefold() if blind else str(name)
