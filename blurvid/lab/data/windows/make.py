"""Averaging consecutive frames of a clip into blurry images."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterator
from functools import cache, partial

import torch
from torch import Tensor

from blurvid.bounds import check
from blurvid.errors import InputError
from blurvid.exposure import average_frames
from blurvid.flow import sequence_motion
from blurvid.flow.pyramid import COARSEST
from blurvid.lab.data.windows.clips import SourceClip
from blurvid.lab.data.windows.records import Record, Window, as_floats
from blurvid.lab.options import SynthOptions

Maker = Callable[[], Window]
"""Makes one window, in whatever thread it is called."""


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
                yield partial(_window, clip, options, list(held), first, number)
    if longest < options.frames:
        apart = " without a gap" if clip.gaps else ""
        raise InputError(f"{clip.path}: {longest} frames{apart}, a window needs {options.frames}")


def _window(
    clip: SourceClip,
    options: SynthOptions,
    held: list[Callable[[], Tensor]],
    first: int,
    number: int,
) -> Window:
    frames = [load() for load in held]
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"{clip.path}: frames of different sizes")
    sharp = torch.stack(frames)
    height, width = sharp.shape[-2:]
    if min(height, width) < (options.crop or COARSEST):
        raise InputError(
            f"{clip.path}: frames of {width}x{height} px, "
            f"smaller than {options.crop or COARSEST} px"
        )
    generator = generator_of(options, clip, number)
    box = None
    if options.crop is not None:
        top = int(torch.randint(height - options.crop + 1, (), generator=generator))
        left = int(torch.randint(width - options.crop + 1, (), generator=generator))
        box = [left, top, options.crop, options.crop]
        sharp = sharp[..., top : top + options.crop, left : left + options.crop]
    blurry = average_frames(as_floats(sharp), options.gamma)
    if options.noise > 0:
        noise = torch.randn(blurry.shape, generator=generator)
        blurry = blurry + options.noise * noise
    record = record_of(clip, options, sharp, first, number, box)
    if clip.gaps:
        record["gaps"] = list(clip.gaps.values())
    blurry = blurry.clamp(0, 1)
    return Window(record, lambda: blurry, lambda: sharp)


def generator_of(options: SynthOptions, clip: SourceClip, number: int) -> torch.Generator:
    """Randomness that belongs to one window, whatever else is made and in which order."""
    name = f"{options.seed}/{clip.name}/{number}".encode(errors="surrogatepass")
    digest = hashlib.sha256(name).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def record_of(
    clip: SourceClip,
    options: SynthOptions,
    sharp: Tensor,
    first: int,
    number: int,
    box: list[int] | None,
    instants: int = 1,
) -> Record:
    """Say how a window was made, for its line of the manifest.

    Args:
        clip: where it comes from.
        options: how it was made.
        sharp: its frames, (N, 3, H, W).
        first: index of its first frame in the clip.
        number: its number in the clip, counted from 1.
        box: crop as left, top, width, height [px], or None.
        instants: averaged for each frame.
    """
    motion, fastest = sequence_motion(sharp)
    warnings = list(clip.warnings)
    step = fastest / instants
    if step > options.max_motion:
        warnings.append(
            f"{step:.1f} px of motion between instants, above {options.max_motion:g}: "
            "the average shows ghosts, not blur"
        )
    return {
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
            "dx": round(motion.dx, 2),
            "dy": round(motion.dy, 2),
            "median_px": round(motion.median, 2),
            "p95_px": round(motion.p95, 2),
            "per_frame_px": round(fastest, 2),
        },
        "warnings": warnings,
    }
