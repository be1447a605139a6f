"""Seven frames to what a user asked for: PNG files, an animation, a video or a player."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurvid.atomic import replacing
from blurvid.config import FRAME_FORMATS, ClipOptions
from blurvid.interrupts import stoppable
from blurvid.media.color import srgb_converter
from blurvid.media.compare import save_comparison
from blurvid.media.gif import save_gif
from blurvid.media.maps import TrustMaps
from blurvid.media.mp4 import encode
from blurvid.media.photo import Photo
from blurvid.media.player import Movable, Origin, save_player
from blurvid.media.png import to_uint8
from blurvid.media.scaling import fitted
from blurvid.media.stills import save_still
from blurvid.media.webp import save_webp
from blurvid.targets import check_clip_options, check_comparison, check_target, kind_of


def write_frames(
    frames: Tensor,
    target: Path,
    *,
    photo: Photo | None = None,
    options: ClipOptions = ClipOptions(),
    stem: str = "frame",
    overwrite: bool = False,
    kind: str | None = None,
    facts: Mapping[str, str] | None = None,
    objects: Sequence[Movable] = (),
    maps: TrustMaps | None = None,
    origin: Origin | None = None,
    verdict: str | None = None,
) -> list[Path]:
    """Write frames as `.mp4`, `.webm`, `.gif`, `.webp` or `.html`, or as PNG files in a folder.

    A folder gets `STEM_1.png` and so on (`STEM_01.png` of ten or more), or files of another of
    `config.FRAME_FORMATS`, with profile, EXIF, XMP, alpha and depth of the photo as far as the
    format can; there
    `options.reverse` counts, the rest of `options` does not. All others carry no profile and
    hardly any alpha, so their frames are brought to sRGB and put on white.
    GIF and WebP loop for ever. The player (`.html`) starts with the speed and order of
    `options`, which can be changed while looking, and compares with the photo if there is one.
    Files are written under temporary names and appear when all of them are whole.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device; T >= 1.
        target: a file whose suffix names its kind, or a folder; made if missing.
        photo: what the frames came from, H x W as they are.
        options: speed, order and quality.
        stem: start of the names of files in a folder.
        overwrite: replace existing files.
        kind: one of `config.FORMATS`, whatever the target is called; by default its name tells.
        facts: what the player says about the frames, each fact under its name.
        objects: what can be turned around in the player.
        maps: what the player can lay over the frames.
        origin: how the player's user can make other files of the same.
        verdict: one sentence of the player about what was gained.

    Returns:
        The files written, in the order in which they are shown.

    Raises:
        OptionError: an unknown suffix, or options out of range.
        OutputError: a file exists already, or cannot be written.
        ValueError: frames of another shape (for the player, than the photo), or with NaN values.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames of shape {tuple(frames.shape)}; (T, 3, H, W) is needed")
    check_clip_options(options)
    target = Path(target)
    kind = kind or kind_of(target)
    if options.compare:
        check_comparison(kind, target)
    count = frames.shape[0]
    paths = check_target(target, stem, count, overwrite, kind)
    with replacing(paths) as temporaries:
        if kind in FRAME_FORMATS:
            order = _order(count, options, bounce=False)
            for path, index, name in zip(temporaries, stoppable(order), paths, strict=True):
                save_still(frames[index], path, photo, kind, name)
        else:
            pixels = flat_frames(frames, photo, "" if options.compare else kind)
            path = temporaries[0]
            if options.compare:
                order = _order(count, options, bounce=options.bounce)
                blurry = _flat_photo(photo, pixels)
                save_comparison(kind, blurry, pixels, order, path, options, target)
            elif kind == "html":
                _save_player(
                    pixels, path, photo, options, facts or {}, objects, maps, origin, verdict
                )
            else:
                shown = _order(count, options, bounce=options.bounce)
                WRITERS[kind](pixels, shown, path, options, target)
    return paths


def _save_video(
    pixels: list[NDArray[np.uint8]],
    order: list[int],
    path: Path,
    options: ClipOptions,
    target: Path,
    webm: bool = False,
) -> None:
    """Write a video, looped until it lasts as long as is asked for."""
    loops = max(1, math.ceil(options.seconds * options.fps / len(order) - 1e-9))
    shown = (pixels[index] for index in stoppable(order * loops))
    size = pixels[0].shape[:2]
    encode(shown, size, path, options.fps, options.crf, target, webm=webm)


WRITERS: dict[
    str, Callable[[list[NDArray[np.uint8]], list[int], Path, ClipOptions, Path], None]
] = {
    "mp4": _save_video,
    "webm": partial(_save_video, webm=True),
    "gif": lambda pixels, order, path, o, target: save_gif(pixels, order, path, o.fps),
    "webp": lambda pixels, order, path, o, target: save_webp(pixels, order, path, o.fps),
}
"""How each kind of animation or video is written: frames (H, W, 3), their order as shown, a path
that is new, options, and the name for messages."""


def _save_player(
    pixels: list[NDArray[np.uint8]],
    path: Path,
    photo: Photo | None,
    options: ClipOptions,
    facts: Mapping[str, str],
    objects: Sequence[Movable],
    maps: TrustMaps | None,
    origin: Origin | None,
    verdict: str | None,
) -> None:
    """Write a player to a path that is new."""
    blurry = None if photo is None else _flat_photo(photo, pixels)
    if origin is not None:
        origin = dataclasses.replace(origin, reverse=options.reverse)
    save_player(
        [pixels[index] for index in _order(len(pixels), options, bounce=False)],
        blurry,
        path,
        title=_title(photo),
        facts=facts,
        fps=options.fps,
        bounce=options.bounce,
        objects=objects,
        maps=maps,
        origin=origin,
        verdict=verdict,
    )


def _flat_photo(photo: Photo | None, pixels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Make (H, W, 3) uint8 sRGB of a photo that frames came from."""
    if photo is None:
        raise ValueError("a comparison needs the photo")
    if photo.pixels.shape[-2:] != pixels[0].shape[:2]:
        sides = f"{pixels[0].shape[:2]} and {tuple(photo.pixels.shape[-2:])}"
        raise ValueError(f"frames and photo differ in size: {sides}")
    (blurry,) = flat_frames(photo.pixels[None], photo)
    return blurry


def _title(photo: Photo | None) -> str:
    """What to call frames for people: the name of the photo's file, if it has one."""
    return "photo" if photo is None or photo.name == "-" else Path(photo.name).name


def _order(count: int, options: ClipOptions, *, bounce: bool) -> list[int]:
    """Indices of frames as shown; a bounce ends one short of the frame it starts with."""
    order = list(range(count))
    if options.reverse:
        order.reverse()
    return order + order[-2:0:-1] if bounce else order


def flat_frames(frames: Tensor, photo: Photo | None, kind: str = "") -> list[NDArray[np.uint8]]:
    """Make uint8 sRGB frames without transparency, of frames (T, 3, H, W).

    Args:
        frames: RGB in [0, 1].
        photo: what they came from.
        kind: of file, in which they have to fit; any by default.

    Returns:
        (H, W, 3) each, smaller where they do not fit.
    """
    convert = srgb_converter(photo.icc if photo is not None else None)
    alpha = photo.alpha if photo is not None else None
    if alpha is not None and alpha.shape[-2:] != frames.shape[-2:]:
        sides = f"{tuple(frames.shape[-2:])} and {tuple(alpha.shape[-2:])}"
        raise ValueError(f"frames and alpha differ in size: {sides}")
    flat = []
    for frame in stoppable(frames):
        if alpha is not None:
            solid = alpha.to(frame)
            frame = frame.clamp(0, 1) * solid + (1 - solid)
        flat.append(fitted(convert(to_uint8(frame)), kind))
    return flat
