"""Seven frames to what a user asked for: PNG files, an animation, a video or a player."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from blurvid.atomic import replacing, stoppable
from blurvid.bounds import check
from blurvid.config import ANIMATIONS, FRAME_FORMATS, VIDEO_FORMATS, ClipOptions
from blurvid.media.animation import save_looping
from blurvid.media.compare import save_comparison
from blurvid.media.mp4 import encode
from blurvid.media.pages import escaped
from blurvid.media.photo import Photo, fitting, flat_frames
from blurvid.media.player import Notes, save_player
from blurvid.media.profile import Pixels
from blurvid.media.stills import lost_in_still, save_still
from blurvid.targets import check_comparison, check_target, kind_of

NOTEBOOK_SIDE = 640
"""Largest width and height of what a notebook shows [px]; it keeps all that it has shown."""


def write_frames(
    frames: Tensor,
    target: Path,
    *,
    photo: Photo | None = None,
    options: ClipOptions = ClipOptions(),
    stem: str = "frame",
    overwrite: bool = False,
    kind: str | None = None,
    notes: Notes | None = None,
) -> list[Path]:
    """Write frames as one of `config.FORMATS`: single files in a folder, a clip, or a player.

    A folder gets `STEM_1.png` and so on (`STEM_01.png` of ten or more), or files of another of
    `config.FRAME_FORMATS`, with profile, EXIF, XMP, alpha and depth of the photo as far as the
    format can; there `options.reverse` counts, the rest of `options` does not. All others carry no
    profile and hardly any alpha, so their frames are brought to sRGB and put on white. Files are
    written under temporary names and appear when all of them are whole.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device; T >= 1.
        target: a file whose suffix names its kind, or a folder; made if missing.
        photo: what the frames came from, H x W as they are.
        options: speed, order and quality.
        stem: start of the names of files in a folder.
        overwrite: replace existing files.
        kind: one of `config.FORMATS`, whatever the target is called; by default its name tells.
        notes: what a player says besides.

    Returns:
        The files written, in the order in which they are shown.

    Raises:
        OptionError: an unknown suffix, or options out of range.
        OutputError: a file exists already, or cannot be written.
        ValueError: frames of another shape (for the player, than the photo), or with NaN values.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames of shape {tuple(frames.shape)}; (T, 3, H, W) is needed")
    check(options)
    target = Path(target)
    kind = kind or kind_of(target)
    if options.compare:
        check_comparison(kind, target)
    paths = check_target(target, stem, frames.shape[0], overwrite, kind)
    with replacing(paths) as temporaries:
        WRITERS[kind](Work(frames, photo, options, kind, paths, notes or Notes()), temporaries)
    return paths


@dataclass(frozen=True)
class Work:
    """What is to be written."""

    frames: Tensor
    """(T, 3, H, W) RGB in [0, 1]."""
    photo: Photo | None
    options: ClipOptions
    kind: str
    """One of `config.FORMATS`."""
    names: list[Path]
    """The files, for messages."""
    notes: Notes


def _stills(work: Work, paths: Sequence[Path]) -> None:
    """Write a file for each frame."""
    order = stoppable(_order(len(work.frames), work.options, bounce=False))
    for path, index, name in zip(paths, order, work.names, strict=True):
        save_still(work.frames[index], path, work.photo, work.kind, name)


def _moving(work: Work, paths: Sequence[Path]) -> None:
    """Write an animation or a video, of frames, or of the photo against them."""
    options, (path,), (name,) = work.options, paths, work.names
    animated, loops = work.kind in ANIMATIONS, 1

    def save(frames: Sequence[Pixels], order: Sequence[int], fps: float, crf: int) -> int:
        if animated:
            save_looping(frames, order, path, name.with_suffix(f".{work.kind}"), fps)
        else:
            shown = (frames[index] for index in stoppable(order))
            about = shown, frames[0].shape[:2], path, fps, crf, name
            encode(*about, webm=work.kind == "webm", loops=loops)
        return path.stat().st_size

    pixels = flat_frames(work.frames, work.photo, "" if options.compare else work.kind)
    order = _order(len(pixels), options, bounce=options.bounce)
    if options.compare:
        blurry = _flat_photo(work.photo, pixels)
        save_comparison(save, pixels, order, blurry, options, animated)
        return
    # A video does not repeat itself: looped until it lasts as long as is asked for.
    loops = max(1, math.ceil(options.seconds * options.fps / len(order) - 1e-9))
    save(pixels, order, options.fps, options.crf)


def _player(work: Work, paths: Sequence[Path]) -> None:
    pixels = flat_frames(work.frames, work.photo, work.kind)
    order = _order(len(pixels), work.options, bounce=False)
    photo, title, blurry = work.photo, "photo", None
    if photo is not None:
        title = "photo" if photo.name == "-" else Path(photo.name).name
        blurry = _flat_photo(photo, pixels)
    shown = [pixels[index] for index in order]
    save_player(shown, blurry, paths[0], title, work.options, work.notes)


WRITERS: dict[str, Callable[[Work, Sequence[Path]], None]] = {
    **dict.fromkeys(FRAME_FORMATS, _stills),
    **dict.fromkeys(VIDEO_FORMATS, _moving),
    "html": _player,
}
"""How each of `config.FORMATS` is written to paths that are new."""


def _flat_photo(photo: Photo | None, pixels: list[Pixels]) -> Pixels:
    """Make (H, W, 3) uint8 sRGB of a photo that frames came from."""
    if photo is None:
        raise ValueError("a comparison needs the photo")
    if photo.pixels.shape[-2:] != pixels[0].shape[:2]:
        sides = f"{pixels[0].shape[:2]} and {tuple(photo.pixels.shape[-2:])}"
        raise ValueError(f"frames and photo differ in size: {sides}")
    (blurry,) = flat_frames(photo.pixels[None], photo)
    return blurry


def _order(count: int, options: ClipOptions, *, bounce: bool) -> list[int]:
    """Indices of frames as shown; a bounce ends one short of the frame it starts with."""
    order = list(range(count))
    if options.reverse:
        order.reverse()
    return order + order[-2:0:-1] if bounce else order


def lost_in(kind: str, photo: Photo) -> tuple[str, ...]:
    """What of a photo its frames cannot hold, one line each.

    Of clips, which hold hardly anything, the size alone.

    Args:
        kind: one of `config.FORMATS`.
        photo: what the frames come from.

    Raises:
        OutputError: single frames that the format cannot hold.
    """
    if kind in FRAME_FORMATS:
        return tuple(lost_in_still(kind, photo))
    height, width = photo.pixels.shape[-2:]
    if (size := fitting(kind, height, width)) == (height, width):
        return ()
    return (f"too large for {kind.upper()}; the clip has {size[1]} x {size[0]} pixels",)


def html_animation(frames: Tensor, photo: Photo) -> str:
    """Play frames forth and back, for ever, as an HTML element that needs nothing else.

    An image, not a video or the player: notebooks that are not trusted, and sites that show them,
    leave out scripts and videos.

    Args:
        frames: (T, 3, H, W) float RGB in [0, 1].
        photo: what they came from.

    Returns:
        A `figure`.
    """
    images = [Image.fromarray(frame) for frame in flat_frames(frames, photo)]
    for image in images:
        image.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE), Image.Resampling.BICUBIC)
    first, *others = (images[i] for i in _order(len(images), ClipOptions(), bounce=True))
    file, time = io.BytesIO(), round(1000 / ClipOptions().fps)
    first.save(file, "webp", save_all=True, append_images=others, duration=time, loop=0, quality=90)
    data = base64.b64encode(file.getvalue()).decode()
    name = escaped(Path(photo.name).name)
    return (
        f'<figure><img alt="{len(images)} frames of {name}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{name}: {len(images)} frames</figcaption></figure>"
    )
