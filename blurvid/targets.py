"""What names of outputs ask for, and whether they can be written, before any work is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from blurvid.config import FORMATS, FRAME_FORMATS, VIDEO_FORMATS
from blurvid.errors import ExistsError, OptionError, OutputError, reason

CLIPS = {f".{kind}": kind for kind in FORMATS if kind not in FRAME_FORMATS}
"""Suffixes of all that is not single frames, and which of `config.FORMATS` they ask for."""
BESIDES = {
    "flow": (".flo", ".npy", ".png"),
    "trust": (".npy", ".png"),
    "contact": (".webp",),
    "page": (".html",),
}
"""What can be written besides the frames, and the suffixes that each may have; a photo gets the
first and the last in a folder. The page is about all photos."""
STILLS = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp-frames",
}
"""Suffixes of single pictures, and which of `config.FRAME_FORMATS` they ask for."""


def kind_of(target: Path, single: bool = False) -> str:
    """What a target's name asks for: one of `config.FORMATS`, `png` for a folder.

    Args:
        target: a file or a folder.
        single: it is a file of one picture, which asks for one of `config.FRAME_FORMATS`.

    Raises:
        OptionError: a suffix that is not known.
    """
    suffix = target.suffix.lower()
    kinds, more = (STILLS, "") if single else (CLIPS, ", or a folder (a name without a suffix)")
    if not single and (suffix == "" or target.is_dir()):
        return "png"
    if suffix not in kinds:
        raise OptionError(f"{target}: unknown suffix {target.suffix}; use {', '.join(kinds)}{more}")
    return kinds[suffix]


def still_suffix(kind: str) -> str:
    """Suffix of the files of one of `config.FRAME_FORMATS`."""
    return "." + kind.removesuffix("-frames")


def check_target(
    target: Path, stem: str, count: int, overwrite: bool = False, kind: str | None = None
) -> list[Path]:
    """Find out early whether an output can be written, before any work is done for it.

    Args:
        target: a file whose suffix names its kind, or a folder.
        stem: start of the names of files in a folder.
        count: number of frames.
        overwrite: whether existing files may be replaced.
        kind: one of `config.FORMATS`, whatever the target is called; by default its name tells.

    Returns:
        The files that `write_frames` would write.

    Raises:
        OptionError: a suffix that is not known, or a stem that is not a file name.
        OutputError: a file exists already, or cannot be made there.
    """
    target = Path(target)
    with _told(target):
        kind = kind or kind_of(target)
        paths = [target]
        if kind in FRAME_FORMATS:
            if not stem or Path(stem).name != stem:
                raise OptionError(f"{stem!r} is not a name for files in a folder")
            digits, suffix = len(str(count)), still_suffix(kind)
            paths = [target / f"{stem}_{i:0{digits}d}{suffix}" for i in range(1, count + 1)]
        for path in paths:
            check_file(path, overwrite)
    return paths


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name what the system has against a path: a name too long, a folder that may not be entered.

    Raises:
        OutputError: it has something.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: not written: {reason(error)}") from error


def check_file(path: Path, overwrite: bool = False) -> None:
    """Find out early whether one file can be written.

    Raises:
        OutputError: it exists already, or cannot be made there.
    """
    with _told(path):
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(f"{path}: not written: {folder} is a file, not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: not written: permission denied in {folder}")
        if path.is_dir():
            raise OutputError(f"{path}: is a folder")
        if os.path.lexists(path) and not overwrite:
            raise ExistsError(f"{path}: exists already")


def check_besides(kind: str, target: Path, overwrite: bool = False) -> Path:
    """Find out early whether something besides the frames can be written.

    Args:
        kind: one of `BESIDES`.
        target: the file.
        overwrite: whether it may be replaced.

    Returns:
        The file.

    Raises:
        OptionError: a suffix that is not known.
        OutputError: the file exists already, or cannot be made there.
    """
    target = Path(target)
    if target.suffix.lower() not in BESIDES[kind]:
        raise OptionError(f"{target}: {kind} is written as {', '.join(BESIDES[kind])}")
    check_file(target, overwrite)
    return target


def check_comparison(kind: str, name: Path) -> None:
    """Refuse a kind of file that no comparison can be written as.

    Raises:
        OptionError: it is none of `config.VIDEO_FORMATS`.
    """
    if kind not in VIDEO_FORMATS:
        known = ", ".join(f".{kind}" for kind in VIDEO_FORMATS)
        raise OptionError(f"{name}: a comparison is written as {known}")


def contact_folder(page: Path) -> Path:
    """Where the pictures of a page lie: beside it, in a folder that is named after it."""
    return page.with_name(f"{page.stem.replace('.', '_')}_files")
