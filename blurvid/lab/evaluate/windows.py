"""The windows to score: listed in a folder, or made from clips on the fly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.lab.data.windows import (
    SourceClip,
    StoredWindow,
    check_options,
    find_clips,
    is_window_folder,
    make_windows,
    read_windows,
)
from blurvid.lab.options import SynthOptions


def windows_from(source: Path, options: SynthOptions | None = None) -> Iterable[StoredWindow]:
    """Windows of a folder that lists them, or made on the fly from clips.

    Args:
        source: a folder with a manifest or a listing (see `data.windows.read_windows`), or
            whatever `data.windows.find_clips` understands.
        options: how to make windows from clips; unused where windows are listed.

    Returns:
        The windows; those from clips are made one at a time.

    Raises:
        InputError: nothing usable there, or listed windows without seven sharp frames.
        OptionError: options that do not give seven frames, or out of range.
    """
    if is_window_folder(source):
        listed = read_windows(source)
        check_counts(listed)
        return listed
    options = options or SynthOptions()
    check_options(options)
    if options.frames != FRAMES:
        raise OptionError(f"scores need windows of {FRAMES} frames, not {options.frames}")
    return on_the_fly(find_clips([source]), options)


def windows_with(source: Path, frames: int, options: SynthOptions) -> Iterator[StoredWindow]:
    """Windows of another number of sharp frames, made of clips on the fly.

    Args:
        source: clips, see `data.windows.find_clips`.
        frames: in each.
        options: how else windows are made.

    Raises:
        InputError: no clips there.
        OptionError: options out of range.
    """
    options = replace(options, frames=frames)
    check_options(options)
    return on_the_fly(find_clips([source]), options)


def on_the_fly(clips: Sequence[SourceClip], options: SynthOptions) -> Iterator[StoredWindow]:
    """Make windows from clips, one at a time.

    Args:
        clips: where the frames come from.
        options: as for `data.windows.make_windows`, which raises the errors.

    Yields:
        The windows, clip after clip, in order of time.
    """
    for clip in clips:
        for window in make_windows(clip, options):
            yield StoredWindow(
                name=window.record["window"],
                clip=clip.name,
                gamma=options.gamma,
                count=len(window.sharp),
                blurry=partial(_itself, window.blurry),
                sharp=partial(_itself, window.sharp),
                record=window.record,
            )


def _itself(image: Tensor) -> Tensor:
    return image


def check_counts(windows: Sequence[StoredWindow]) -> None:
    """Refuse windows without seven sharp frames, by name, with an InputError."""
    wrong = [f"{w.name} ({w.count})" for w in windows if w.count != FRAMES]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"scores need {FRAMES} sharp frames a window, not: {', '.join(wrong[:5])}{more}"
        )
