"""A part of a photo that alone is worked on: frames of it, or of the whole photo with it inside."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from blurvid import media
from blurvid.media import Box
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.sizes import RAMP, room_for
from blurvid.pipeline.trust import assess

MARGIN = 128
"""Around the part, which the network sees too [px]: what moves into the part, and out of it."""


def part_of(clip: Clip, photo: media.Photo, part: Box, seen: Box, paste: bool) -> Clip:
    """Keep the part of a clip that was asked for.

    Args:
        clip: frames of what was seen.
        photo: the whole photo.
        part: what was asked for...
        seen: ...and what was seen, both boxes of the photo.
        paste: put it into the whole photo, for all frames.

    Returns:
        A clip of the part, or of the whole photo. It knows no fitted motion.
    """
    inner, shown = part.inside(seen), media.cropped(photo, part)
    seven = None if clip.seven is None else inner.of(clip.seven)
    alone = dataclasses.replace(
        clip,
        tensor=inner.of(clip.tensor),
        seven=seven,
        photo=shown,
        trusted=None,
        fitted=None,
    )
    if not paste:
        return alone
    tensor, seven = (
        None if frames is None else _pasted(frames, photo.pixels, inner, seen, clip.host_memory)
        for frames in (clip.tensor, clip.seven)
    )
    assert tensor is not None
    trust = None
    if len(tensor) > 1:  # of the whole it needs a map; the part is what there is to be judged
        trust = alone.trust()
        whole = assess(tensor if seven is None else seven, photo.pixels, clip.scale)
        trust = dataclasses.replace(trust, error=whole.error, field=whole.field)
    return dataclasses.replace(
        alone, tensor=tensor, seven=seven, photo=photo, trusted=trust, judged=alone.verdict
    )


def _pasted(frames: Tensor, y: Tensor, inner: Box, seen: Box, most: int | None) -> Tensor:
    """Put frames of what was seen into the photo.

    All of the part is theirs; over `RAMP` around it, they go over into the photo.

    Args:
        frames: (T, 3, h, w).
        y: the photo, (3, H, W).
        inner: the part, in what was seen.
        seen: in the photo.
        most: most memory that the process may take [bytes].

    Returns:
        (T, 3, H, W).
    """
    height, width = y.shape[-2:]
    across = _weights(frames.shape[-1], inner.left, inner.right)
    down = _weights(frames.shape[-2], inner.top, inner.bottom)
    weight = down[:, None] * across
    out = room_for(height, width, len(frames), most)
    for i, frame in enumerate(frames):
        whole = out[i]
        whole.copy_(y)
        place = seen.of(whole)
        place.copy_(torch.lerp(place, frame, weight))
    return out


def _weights(side: int, begin: int, end: int) -> Tensor:
    """1 from begin to end, and less and less before and after; (side,)."""
    at = torch.arange(side) + 0.5
    outside = torch.maximum(begin - at, at - end)
    return (1 - outside / RAMP).clamp(0, 1)
