"""The windows to score: listed in a folder, made from clips on the fly, or pairs of GOPRO_Large."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from blurvid import media
from blurvid.bounds import check
from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.lab.data import (
    PAIRED,
    SourceClip,
    Window,
    find_clips,
    is_window_folder,
    load_photo,
    plan_windows,
    read_windows,
)
from blurvid.lab.options import BLUR_FOLDERS, SynthOptions


def windows_from(
    source: Path, options: SynthOptions = SynthOptions(), blur_folder: str = BLUR_FOLDERS[0]
) -> Iterable[Window]:
    """Windows of a folder that lists them, made on the fly from clips, or stored in GOPRO_Large.

    Args:
        source: a folder with a manifest or a listing (see `data.windows.read_windows`), or
            whatever `data.windows.find_clips` understands.
        options: how to make windows from clips; unused where windows are listed or stored.
        blur_folder: which of the stored blurry images, see `options.BLUR_FOLDERS`.

    Returns:
        The windows; those from clips are made one at a time.

    Raises:
        InputError: nothing usable there, listed windows without seven sharp frames, or scenes of
            GOPRO_Large among other clips.
        OptionError: options that do not give seven frames, or out of range.
    """
    if is_window_folder(source):
        listed = read_windows(source)
        check_counts(listed)
        return listed
    check(options)
    if options.frames != FRAMES:
        raise OptionError(f"scores need windows of {FRAMES} frames, not {options.frames}")
    clips = find_clips([source])
    pairs = [clip for clip in clips if clip.layout == PAIRED]
    if len(pairs) not in (0, len(clips)):
        raise InputError(f"{source}: scenes of GOPRO_Large and other clips; score them apart")
    if pairs:
        return [window for scene in pairs for window in middle_windows(scene, blur_folder)]
    return (make() for clip in clips for make in plan_windows(clip, options))


def middle_windows(scene: SourceClip, blurry: str) -> list[Window]:
    """Pair the blurry images of a scene of GOPRO_Large with their sharp middle frames, by name.

    Args:
        scene: a clip of that layout, as `find_clips` gives it.
        blurry: folder of blurry images beside `sharp`, see `options.BLUR_FOLDERS`.

    Returns:
        Windows of one sharp frame, in natural order.

    Raises:
        InputError: no such folder, or an image without its partner.
    """
    folder = scene.path.parent / blurry
    if not folder.is_dir():
        raise InputError(f"{scene.path.parent}: no folder {blurry} in this scene")
    images = {photo.stem: photo for photo in media.list_photos(folder)}
    frames = {photo.stem: photo for photo in media.list_photos(scene.path)}
    alone = sorted(images.keys() ^ frames.keys(), key=media.natural_key)
    if alone:
        raise InputError(
            f"{scene.path.parent}: not in both {blurry} and sharp: {', '.join(alone[:5])}"
            + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
        )
    return [
        Window(
            {
                "window": f"{scene.name}/{stem}",
                "clip": scene.name,
                "gamma": 1.0 if blurry == "blur" else 2.2,
                "frames": [0],
            },
            partial(load_photo, photo),
            partial(_single, frames[stem]),
        )
        for stem, photo in images.items()
    ]


def _single(path: Path) -> Tensor:
    return load_photo(path).unsqueeze(0)


def check_counts(windows: Sequence[Window]) -> None:
    """Refuse windows of neither seven sharp frames nor one, by name, with an InputError."""
    wrong = [f"{w.name} ({w.count})" for w in windows if w.count not in (1, FRAMES)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"scores need {FRAMES} sharp frames a window, not: {', '.join(wrong[:5])}{more}"
        )
