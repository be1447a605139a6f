"""Windows of which only the middle frame is known: the pairs of GOPRO_Large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from blurvid import media
from blurvid.errors import InputError
from blurvid.lab.data.windows.clips import PAIRED, SourceClip, load_photo


@dataclass(frozen=True)
class MiddleWindow:
    """A blurry image and its middle frame, loaded when asked for."""

    name: str
    """`CLIP/000001`: the scene and the name of the files without the suffix."""
    clip: str
    blurry: Callable[[], Tensor]
    """Load y, (3, H, W), RGB, float32 in [0, 1]."""
    middle: Callable[[], Tensor]
    """Load the sharp middle frame, same shape and range."""


def middle_windows(scene: SourceClip, blurry: str) -> list[MiddleWindow]:
    """Pair the blurry images of a scene of GOPRO_Large with their sharp frames, by name.

    Args:
        scene: a clip of that layout, as `find_clips` gives it.
        blurry: folder of blurry images beside `sharp`, see `options.BLUR_FOLDERS`.

    Returns:
        The windows, in natural order.

    Raises:
        InputError: another layout, no such folder, or an image without its partner.
    """
    if scene.layout != PAIRED:
        raise InputError(f"{scene.path}: {scene.layout}, not a scene of GOPRO_Large")
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
        MiddleWindow(
            name=f"{scene.name}/{stem}",
            clip=scene.name,
            blurry=partial(load_photo, photo),
            middle=partial(load_photo, frames[stem]),
        )
        for stem, photo in images.items()
    ]
