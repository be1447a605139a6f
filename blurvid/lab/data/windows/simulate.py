"""Windows from still photos, by simulated motion."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import media
from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.lab.data.windows.clips import SourceClip, load_scaled
from blurvid.lab.data.windows.make import Maker, generator_of, record_of
from blurvid.lab.data.windows.records import Window, in_windows
from blurvid.lab.options import MotionOptions, SynthOptions
from blurvid.lab.synth import IDEAL, margin, simulate


def find_stills(sources: Sequence[Path]) -> list[SourceClip]:
    """Find the photos below some paths, each as a clip of its own.

    Raises:
        InputError: a path that is not there, or a folder without photos.
    """
    stills: dict[str, SourceClip] = {}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        photos = [source]
        if source.is_dir():
            photos = [
                photo
                for photo in media.list_photos(source, recursive=True)
                if not in_windows(photo, source)  # those of an earlier run, made from photos
            ]
        if not photos:
            raise InputError(f"{source}: no photos in this folder")
        for photo in photos:
            relative = photo.relative_to(source) if source.is_dir() else Path(photo.name)
            name = relative.with_suffix("").as_posix()
            if name in stills:  # a.jpg beside a.png
                name = relative.as_posix()
            wanted, number = name, 2
            while name in stills:
                name, number = f"{wanted}_{number}", number + 1
            stills[name] = SourceClip(name, photo, "still photo")
    return list(stills.values())


def simulate_still(
    still: SourceClip,
    others: Sequence[SourceClip],
    options: SynthOptions,
    motion: MotionOptions,
    count: int,
    *,
    skip: Container[int] = (),
) -> Iterator[Maker]:
    """Blur one photo in several ways.

    Args:
        still: the photo, which is the background.
        others: photos from which the layers in front are cut.
        options: scale, crop, response, noise, seed; its window and stride are those of clips.
        motion: how the layers move; its responses give way to `options.gamma`.
        count: windows to make.
        skip: numbers of windows, counted from 1, to pass over.

    Yields:
        What makes each window. Without a crop they are as large as the photo less the room to
        move.

    Raises:
        OptionError: not seven frames.
        InputError: from the makers, an unreadable photo, or one too small for the motion.
    """
    if options.frames != FRAMES:
        raise OptionError(f"simulated windows have {FRAMES} frames, not {options.frames}")
    photo = cache(partial(load_scaled, still.path, options.scale))
    for number in range(1, count + 1):
        if number not in skip:
            yield partial(_simulated, still, photo, others, options, motion, number)


def _simulated(
    still: SourceClip,
    photo: Callable[[], Tensor],
    others: Sequence[SourceClip],
    options: SynthOptions,
    motion: MotionOptions,
    number: int,
) -> Window:
    g = generator_of(options, still, number)
    back, box = _background(photo(), still, options, motion, g)
    front = back
    if motion.covered:
        other = others[int(torch.randint(len(others), (), generator=g))]
        front = _cover(load_scaled(other.path, options.scale), (back.shape[-2], back.shape[-1]))
    layers = torch.stack([back, front]).unsqueeze(0)
    rendered = simulate(layers, motion, IDEAL, g, options.gamma)
    blurry = rendered.blurry[0]
    if options.noise > 0:
        blurry = blurry + options.noise * torch.randn(blurry.shape, generator=g)
    record = record_of(still, options, rendered.frames[0], 0, number, box, motion.sub_frames)
    record["simulated"] = described(motion)
    blurry = blurry.clamp(0, 1)
    return Window(record, lambda: blurry, lambda: rendered.frames[0])


def described(motion: MotionOptions) -> dict[str, Any]:
    """Motion as a manifest tells it; the response stands in the record of the window."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(motion)))
    del plain["gammas"]
    return plain


def _background(
    photo: Tensor,
    still: SourceClip,
    options: SynthOptions,
    motion: MotionOptions,
    g: torch.Generator,
) -> tuple[Tensor, list[int] | None]:
    """Cut the background with room to move; it, and the crop."""
    height, width = photo.shape[-2:]
    rim = margin(motion)
    if options.crop is not None:
        size = (options.crop, options.crop)
    else:
        size = (height - 2 * rim, width - 2 * rim)
    side = [s + 2 * rim for s in size]
    if min(size) < 16 or side[0] > height or side[1] > width:
        raise InputError(
            f"{still.path}: {width}x{height} px leave no room for paths of {motion.max_path:g} px"
        )
    if options.crop is None:
        return photo, None
    top = int(torch.randint(height - side[0] + 1, (), generator=g))
    left = int(torch.randint(width - side[1] + 1, (), generator=g))
    cut = photo[:, top : top + side[0], left : left + side[1]]
    return cut, [left + rim, top + rim, size[1], size[0]]


def _cover(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale an image until it covers a size, and cut the middle."""
    scale = max(size[0] / image.shape[-2], size[1] / image.shape[-1])
    fitted = (
        max(size[0], round(image.shape[-2] * scale)),
        max(size[1], round(image.shape[-1] * scale)),
    )
    image = F.interpolate(image[None], fitted, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (fitted[0] - size[0]) // 2, (fitted[1] - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]]
