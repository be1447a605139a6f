"""A part of a photo that alone is worked on: frames of it, or of the whole photo with it inside."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from blurvid import media
from blurvid.media import Box
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.memory import room_for
from blurvid.pipeline.tiles import RAMP
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
    inner = part.inside(seen)
    own = clip.tensor if clip.seven is None else clip.seven
    trust, warnings, shown = clip.trusted, clip.warnings, media.cropped(photo, part)
    if trust is not None:
        fixed, any_length = clip.recipe.quality.scale != "auto", clip.fitted is not None
        warnings = tuple(text for text in warnings if text not in trust.warnings)
        trust = assess(inner.of(own), shown.pixels, clip.scale, fixed=fixed, any_length=any_length)
        warnings += trust.warnings
    if not paste:
        return dataclasses.replace(
            clip,
            tensor=inner.of(clip.tensor),
            seven=None if clip.seven is None else inner.of(clip.seven),
            photo=shown,
            trusted=trust,
            fitted=None,
            warnings=warnings,
        )
    whole = _pasted(clip.tensor, photo.pixels, inner, seen, clip.host_memory)
    seven = None
    if clip.seven is not None:
        seven = _pasted(clip.seven, photo.pixels, inner, seen, clip.host_memory)
    if trust is not None:  # its map is one of the whole; the part is what there is to be judged
        over = assess(whole if seven is None else seven, photo.pixels, clip.scale)
        trust = dataclasses.replace(trust, error=over.error, size=over.size)
    return dataclasses.replace(
        clip,
        tensor=whole,
        seven=seven,
        photo=photo,
        trusted=trust,
        fitted=None,
        warnings=warnings,
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
