"""What names of outputs ask for, and whether they can be written, before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from blurvid.config import COMPARISONS, FORMATS, FRAME_FORMATS, ClipOptions
from blurvid.errors import ExistsError, OptionError, OutputError, reason

CLIP_SUFFIXES = tuple(f".{kind}" for kind in FORMATS if kind not in FRAME_FORMATS)
"""Of all that is not single frames; a file has its kind as its suffix."""
COMPARED = ("mp4", "webm", "gif", "webp")
"""What a comparison is written as."""
BESIDES = {
    "montage": (".png",),
    "flow": (".flo", ".npy", ".png"),
    "trust": (".npy", ".png"),
    "contact": (".webp",),
}
"""What can be written besides the frames, and the suffixes that each may have."""
STILL_SUFFIXES = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp-frames",
}
"""Suffixes of single pictures, and which of `config.FRAME_FORMATS` they ask for."""
PICTURES = tuple(suffix for suffix in STILL_SUFFIXES if suffix not in CLIP_SUFFIXES)
"""Suffixes of pictures that no clip has."""


def kind_of(target: Path) -> str:
    """What a target's name asks for: one of `config.FORMATS`, `png` for a folder.

    Raises:
        OptionError: a suffix that is not known.
    """
    suffix = target.suffix.lower()
    if suffix == "" or target.is_dir():
        return "png"
    if suffix not in CLIP_SUFFIXES:
        known = ", ".join(CLIP_SUFFIXES)
        raise OptionError(
            f"{target}: unknown suffix {target.suffix}; use {known},"
            " or a folder (a name without a suffix)"
        )
    return suffix.removeprefix(".")


def still_kind(path: Path) -> str:
    """Which of `config.FRAME_FORMATS` a file's name asks for.

    Raises:
        OptionError: a suffix that is not known.
    """
    suffix = path.suffix.lower()
    if suffix not in STILL_SUFFIXES:
        known = ", ".join(STILL_SUFFIXES)
        raise OptionError(f"{path}: unknown suffix {path.suffix}; use {known}")
    return STILL_SUFFIXES[suffix]


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
    try:
        target = Path(target)
        return _check_target(target, stem, count, overwrite, kind or kind_of(target))
    except OSError as error:  # a name too long, a folder that may not be entered
        raise OutputError(f"{target}: not written: {reason(error)}") from error


def _check_target(target: Path, stem: str, count: int, overwrite: bool, kind: str) -> list[Path]:
    """Do what `check_target` says, without a name for every error of the system."""
    if kind in FRAME_FORMATS:
        if not stem or Path(stem).name != stem:
            raise OptionError(f"{stem!r} is not a name for files in a folder")
        suffix = still_suffix(kind)
        digits = len(str(count))
        paths = [target / f"{stem}_{number:0{digits}d}{suffix}" for number in range(1, count + 1)]
    else:
        paths = [target]
    for path in paths:
        _check_file(path, overwrite)
    return paths


def check_file(path: Path, overwrite: bool = False) -> None:
    """Find out early whether one file can be written.

    Raises:
        OutputError: it exists already, or cannot be made there.
    """
    try:
        _check_file(path, overwrite)
    except OSError as error:
        raise OutputError(f"{path}: not written: {reason(error)}") from error


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
        OptionError: it is none of `COMPARED`.
    """
    if kind not in COMPARED:
        known = ", ".join(f".{kind}" for kind in COMPARED)
        raise OptionError(f"{name}: a comparison is written as {known}")


def check_contact(target: Path, overwrite: bool = False) -> None:
    """Find out early whether the page about all photos can be written.

    Raises:
        OptionError: another suffix than `.html`.
        OutputError: the file exists already, or cannot be made there.
    """
    if target.suffix.lower() != ".html":
        raise OptionError(f"{target}: the page about all photos is written as .html")
    check_file(target, overwrite)


def contact_folder(page: Path) -> Path:
    """Where the pictures of a page lie: beside it, in a folder that is named after it."""
    return page.with_name(f"{page.stem.replace('.', '_')}_files")


def _check_file(path: Path, overwrite: bool) -> None:
    """Do what `check_file` says, without a name for every error of the system."""
    _check_folder(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")
    if os.path.lexists(path) and not overwrite:
        raise ExistsError(f"{path}: exists already")


def check_clip_options(options: ClipOptions) -> None:
    """Refuse options that no file can be made with.

    Raises:
        OptionError: an option is out of range.
    """
    if not 0.01 <= options.fps <= 1000:
        raise OptionError(f"{options.fps:g} frames per second; 0.01 to 1000 are possible")
    if not 0 <= options.seconds <= 3600:
        raise OptionError(f"a clip of {options.seconds:g} seconds; 0 to 3600 are possible")
    if options.compare not in (None, *COMPARISONS):
        raise OptionError(f"{options.compare!r} is no comparison; use {', '.join(COMPARISONS)}")
    if not 0 <= options.crf <= 51:
        raise OptionError(f"crf {options.crf}; 0 (best) to 51 are possible")


def _check_folder(path: Path) -> None:
    """Refuse a file whose folder cannot be made or written to."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: not written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: not written: permission denied in {folder}")
