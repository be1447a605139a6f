"""Making windows: of consecutive frames of a clip, or of a photo that is moved."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.bounds import check
from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.exposure import average_frames
from blurvid.flow import sequence_motion
from blurvid.flow.pyramid import COARSEST
from blurvid.lab.camera import IDEAL
from blurvid.lab.data.clips import SourceClip, load_scaled
from blurvid.lab.data.windows import Record, Window, as_floats
from blurvid.lab.options import MotionOptions, SynthOptions
from blurvid.lab.synth import margin, simulate

Maker: TypeAlias = Callable[[], Window]
"""Makes one window, in whatever thread it is called."""
Exposure: TypeAlias = Callable[[torch.Generator], tuple[Tensor, Tensor, list[int] | None]]
"""Gives sharp frames (N, 3, H, W), uint8 or float, their average (3, H, W) and the crop, as left,
top, width, height [px], if there is one."""


def plan_windows(
    clip: SourceClip, options: SynthOptions, *, skip: Container[int] = ()
) -> Iterator[Maker]:
    """Average windows of consecutive frames; memory does not grow with the clip.

    Frames are scaled first, then cropped, then averaged in light (paper, eq. 1 and section 7);
    the noise goes on the blurry image. Crop and noise follow from the seed, the name of the clip
    and the number of the window, hence not from the order of the work.

    Args:
        clip: where the frames come from.
        options: how many frames, how far apart, scale, crop, response, noise, seed.
        skip: numbers of windows, counted from 1, to pass over.

    Yields:
        What makes each window, in order of time; it holds the window's frames. `frames` in the
        record counts from 0; `crop` is left, top, width, height [px] after scaling.

    Raises:
        OptionError: an option is out of range.
        InputError: the clip is unreadable, too short, its frames differ in size, or are smaller
            than the crop; which may also come from the makers.
    """
    check(options)
    stride = options.stride or options.frames
    held: deque[Callable[[], Tensor]] = deque(maxlen=options.frames)
    start = number = longest = 0
    for index, load in enumerate(clip.loaders(options.scale)):
        if index in clip.gaps:  # what lies on its two sides was not taken in a row
            start = index
            held.clear()
        held.append(cache(load))  # windows may share it
        longest = max(longest, index + 1 - start)
        first = index + 1 - options.frames
        if first >= start and (first - start) % stride == 0:
            number += 1
            if number not in skip:
                averaged = partial(_averaged, clip, options, list(held))
                yield partial(_window, clip, options, number, averaged, first)
    if longest < options.frames:
        apart = " without a gap" if clip.gaps else ""
        raise InputError(f"{clip.path}: {longest} frames{apart}, a window needs {options.frames}")


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
            moved = partial(_moved, still, photo, others, options, motion)
            yield partial(_window, still, options, number, moved, motion=motion)


def _averaged(
    clip: SourceClip, options: SynthOptions, held: list[Callable[[], Tensor]], g: torch.Generator
) -> tuple[Tensor, Tensor, list[int] | None]:
    """An `Exposure` of frames of a clip."""
    frames = [load() for load in held]
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"{clip.path}: frames of different sizes")
    sharp, box, side = torch.stack(frames), None, options.crop
    height, width = sharp.shape[-2:]
    if min(height, width) < (side or COARSEST):
        raise InputError(
            f"{clip.path}: frames of {width}x{height} px, smaller than {side or COARSEST} px"
        )
    if side is not None:
        top = int(torch.randint(height - side + 1, (), generator=g))
        left = int(torch.randint(width - side + 1, (), generator=g))
        box = [left, top, side, side]
        sharp = sharp[..., top : top + side, left : left + side]
    return sharp, average_frames(as_floats(sharp), options.gamma), box


def _moved(
    still: SourceClip,
    photo: Callable[[], Tensor],
    others: Sequence[SourceClip],
    options: SynthOptions,
    motion: MotionOptions,
    g: torch.Generator,
) -> tuple[Tensor, Tensor, list[int] | None]:
    """An `Exposure` of a photo, cut with room to move, and of another one in front of it."""
    back, box, rim = photo(), None, margin(motion)
    height, width = back.shape[-2:]
    size = [(options.crop or side - 2 * rim) + 2 * rim for side in (height, width)]
    if min(size) < 16 + 2 * rim or size[0] > height or size[1] > width:
        raise InputError(
            f"{still.path}: {width}x{height} px leave no room for paths of {motion.max_path:g} px"
        )
    if options.crop is not None:
        top = int(torch.randint(height - size[0] + 1, (), generator=g))
        left = int(torch.randint(width - size[1] + 1, (), generator=g))
        back = back[:, top : top + size[0], left : left + size[1]]
        box = [left + rim, top + rim, options.crop, options.crop]
    front = back
    if motion.covered:
        other = others[int(torch.randint(len(others), (), generator=g))]
        front = _cover(load_scaled(other.path, options.scale), size)
    layers = torch.stack([back, front]).unsqueeze(0)
    rendered = simulate(layers, motion, IDEAL, g, options.gamma)
    return rendered.frames[0], rendered.blurry[0], box


def _cover(image: Tensor, size: Sequence[int]) -> Tensor:
    """Scale an image until it covers a size, and cut the middle."""
    sides = image.shape[-2:]
    scale = max(wanted / side for wanted, side in zip(size, sides, strict=True))
    high, wide = (max(n, round(side * scale)) for n, side in zip(size, sides, strict=True))
    image = F.interpolate(image[None], (high, wide), mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (high - size[0]) // 2, (wide - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]]


def _window(
    clip: SourceClip,
    options: SynthOptions,
    number: int,
    exposure: Exposure,
    first: int = 0,
    motion: MotionOptions | None = None,
) -> Window:
    """Make a window, and say how it was made, for its line of the manifest.

    Args:
        clip: where it comes from.
        options: how it is made.
        number: its number in the clip, counted from 1.
        exposure: gives its frames.
        first: index of its first frame in the clip.
        motion: how a photo is moved.
    """
    # Whatever else is made, in whatever order, this window has randomness of its own.
    name = f"{options.seed}/{clip.name}/{number}".encode(errors="surrogatepass")
    digest = hashlib.sha256(name).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    sharp, blurry, box = exposure(generator)
    if options.noise > 0:
        blurry = blurry + options.noise * torch.randn(blurry.shape, generator=generator)
    blurry = blurry.clamp(0, 1)
    found, fastest = sequence_motion(sharp)
    warnings = list(clip.warnings)
    step = fastest / (motion.sub_frames if motion else 1)
    if step > options.max_motion:
        warnings.append(
            f"{step:.1f} px of motion between instants, above {options.max_motion:g}: "
            "the average shows ghosts, not blur"
        )
    record = {
        "window": f"{clip.name}/{number:06d}",
        "clip": clip.name,
        "source": str(clip.path),
        "layout": clip.layout,
        "frames": list(range(first, first + options.frames)),
        "stride": options.stride or options.frames,
        "gamma": options.gamma,
        "scale": options.scale,
        "filter": clip.filter if options.scale != 1 else None,
        "crop": box,
        "size": [sharp.shape[-1], sharp.shape[-2]],
        "noise": options.noise,
        "seed": options.seed,
        "motion": {
            "dx": round(found.dx, 2),
            "dy": round(found.dy, 2),
            "median_px": round(found.median, 2),
            "p95_px": round(found.p95, 2),
            "per_frame_px": round(fastest, 2),
        },
        "warnings": warnings,
    }
    if clip.gaps:
        record["gaps"] = list(clip.gaps.values())
    if motion is not None:
        record["simulated"] = _plain(motion)
    return Window(record, lambda: blurry, lambda: sharp)


def made_with(record: Record, options: SynthOptions, motion: MotionOptions | None) -> bool:
    """Whether a window was made as another one would be now."""
    crop = record.get("crop")
    side = crop[2] if isinstance(crop, list) and len(crop) == 4 else None
    told = record.get("simulated")
    if isinstance(told, dict):  # an older version may have had fewer options
        told = _plain(MotionOptions()) | told
    return (
        (len(record["frames"]), side) == (options.frames, options.crop)
        and record.get("stride") == (options.stride or options.frames)
        and all(record.get(k) == getattr(options, k) for k in ("gamma", "scale", "noise", "seed"))
        and told == (_plain(motion) if motion else None)
    )


def _plain(motion: MotionOptions) -> dict[str, Any]:
    """Motion as a manifest tells it; the response stands in the record of the window."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(motion)))
    del plain["gammas"]
    return plain
