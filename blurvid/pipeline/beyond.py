"""Frames before and after the exposure."""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

from blurvid import runtime
from blurvid.config import FRAMES, MOST_BEYOND, QualityOptions
from blurvid.errors import OptionError
from blurvid.flow import mutual_flow, onward
from blurvid.models import SequenceModel, onward_of
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.extraction import Extractor
from blurvid.pipeline.fitted import Fitted, times_of
from blurvid.pipeline.memory import PIXELS_AT_ONCE, room_for
from blurvid.pipeline.scale import restore, shrink


def check_beyond(count: int, frames: int = FRAMES) -> None:
    """Refuse frames beyond the exposure that cannot be made.

    Args:
        count: how many at each end.
        frames: how many over the exposure.

    Raises:
        OptionError: too many, or not seven within.
    """
    if not 0 <= count <= MOST_BEYOND:
        raise OptionError(f"{count} frames beyond the exposure; 0 to {MOST_BEYOND} are possible")
    if count and frames != FRAMES:
        raise OptionError(f"frames beyond the exposure go with {FRAMES} within, not with {frames}")


def extend(ready: Extractor, clip: Clip, count: int) -> Clip:
    """Add frames before and after the exposure, at the spacing of the seven.

    They follow the order of time that the clip has, in all of it and in parts. Where the motion was
    fitted, they are rendered from it. A cascade applies its outermost network to its own frames
    again; for other models everything moves on as it did between the two outermost frames. What
    is known of the clip (re-blur, motion, trust) stays that of the seven.

    Args:
        ready: what made the clip.
        clip: seven frames.
        count: how many at each end; 0 gives the clip itself.

    Raises:
        OptionError: too many, or a clip of another number of frames.
        DeviceError: too little memory.
        BlurvidError: the network gives values that are not finite.
    """
    check_beyond(count, len(clip.tensor))
    if not count:
        return clip
    started = time.perf_counter()
    found, warnings = extended(
        ready, clip.tensor, clip.photo.pixels, count, clip.scale, clip.fitted
    )
    return dataclasses.replace(
        clip,
        tensor=found,
        seven=clip.tensor,
        beyond=count,
        seconds=clip.seconds + time.perf_counter() - started,
        warnings=tuple(dict.fromkeys(clip.warnings + warnings)),
    )


def extended(
    ready: Extractor,
    frames: Tensor,
    y: Tensor,
    count: int,
    scale: float = 1.0,
    fitted: Fitted | None = None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Add frames at both ends of seven, see `extend`.

    Args:
        ready: what made the seven.
        frames: x[1..7], (7, 3, H, W), RGB, in [0, 1], on the CPU.
        y: the blurry image, (3, H, W), RGB in [0, 1].
        count: how many at each end.
        scale: size at which the model saw the image, and sees it again.
        fitted: what the seven were rendered from, where they were.

    Returns:
        x[1 - count .. 7 + count], (7 + 2 count, 3, H, W) in [0, 1], and what the user should know.
    """
    height, width = y.shape[-2:]
    net = onward_of(ready.network)
    with runtime.memory_guard(torch.device("cpu")):
        out = room_for(height, width, FRAMES + 2 * count, ready.host_memory)
        if fitted is not None:
            fitted.render(times_of(FRAMES, count), out)
        for i, frame in enumerate(frames):
            out[count + i] = frame
        if fitted is not None:
            return out, ()
        # At each end: where the last two frames are, and where those beyond go.
        ends = [
            (count + 1, count, range(count - 1, -1, -1)),
            (count + FRAMES - 2, count + FRAMES - 1, range(count + FRAMES, FRAMES + 2 * count)),
        ]
        if net is not None:
            return out, _recurrent(ready, net, out, y, ends, scale)
        for before, last, further in ends:
            _, back = mutual_flow(out[before], out[last])
            images = [out[i] for i in further]
            moments = [float(step) for step in range(1, count + 1)]
            onward(out[last], back, moments, images, PIXELS_AT_ONCE)
    return out, ()


def _recurrent(
    ready: Extractor,
    net: SequenceModel,
    out: Tensor,
    y: Tensor,
    ends: list[tuple[int, int, range]],
    scale: float,
) -> tuple[str, ...]:
    """Let a network predict frames from the two before, its own among them, in place."""
    plain = QualityOptions(scale=1.0)  # the photo is shrunk here, where the frames are
    # With its own plan of memory: fit, strips, tiles and precision are as for the seven.
    step = Extractor(net, ready.name, ready.device, ready.dtype, plain, max_memory=ready.max_memory)
    small = y if scale == 1 else shrink(y, scale)
    warnings: tuple[str, ...] = ()
    for before, last, further in ends:
        pair = [out[i] if scale == 1 else shrink(out[i], scale) for i in (before, last)]
        for i in further:
            found = step.frames(torch.cat([small, *pair]))
            if scale == 1:
                out[i] = found.frames[0]
            else:
                restore(found.frames, small, y, out[i : i + 1])
            pair = [pair[1], found.frames[0]]
            warnings += found.warnings
    return warnings
