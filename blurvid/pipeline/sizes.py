"""How much of a photo a model sees at a time, and at what scale; frames on disk.

Tiles overlap and are blended, and all run the same way in time. Where a model normalizes, each
tile does by its own statistics: the result is close to that for the whole photo, not equal.

A network shortens motion longer than what it was trained for. At a smaller scale the same motion
is shorter; the frames found there are brought back to full size by the photo itself.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import runtime
from blurvid.config import FAST, FRAMES
from blurvid.errors import DeviceError
from blurvid.flow import sequence_motion
from blurvid.models import SequenceModel, order_agreement

SIDES = (2560, 1280, 640)
"""Sides of tiles [px], to be tried one after the other, less what the model's multiple leaves."""
FRAME_SIZE = 4 * 3
"""Bytes of a pixel of a frame."""
PIXELS_AT_ONCE = 1 << 16
"""Pixels of frames that are handled in one piece where more would take memory of its own."""

MARGIN = 64
"""Least distance [px] of a pixel that is used from a border that cuts through the photo."""
RAMP = 32
"""Width of the blend between two tiles [px]."""
SCALES = (1.0, 0.71, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09)
"""Scales that are chosen from, a factor of about the square root of two apart."""
PROBES = (0.09, 0.18, 0.35)
"""Scales at which the motion is measured, as far as `LEAST_SIDE` lets them. They cost 16 % of a
full run; 0.5 besides, at 25 % more, gains 0.01 dB on blur of real clips."""
SMALL_PROBE = 0.5
"""Where it is measured on photos too small for these."""
TRAINED_MOTION = 13.0
"""Motion between the frames 1 and 7 [px] that is short enough; about what the released networks
find at most, however long it is. From 12 to 14 px the gain is the same within 0.02 dB (blur
simulated from photos held out from training, paths of 3 to 60 px)."""
LEAST_SIDE = 56
"""Shortest side [px] to which a photo is scaled down unless told to."""
Run = Callable[[Tensor], Tensor]
"""Turns y (3, H, W), RGB in [0, 1], into frames (7, 3, H, W), both on the CPU."""


@dataclass(frozen=True)
class View:
    """How a model sees one photo."""

    side: int | None = None
    """Side of the tiles [px]; None sees the whole photo."""
    on_disk: bool = False
    """Whether the frames lie in a file, since there is no room for them."""
    near: bool = False
    """Whether the frames stay on the model's device until all are there, where that is not the
    host: each is seen by others, and all come back in one transfer."""
    memory: int = 0
    """What is taken besides the frames, predicted [bytes]."""


def view_of(
    model: SequenceModel,
    height: int,
    width: int,
    feature_size: int,
    room: int,
    *,
    host: int | None = None,
    whole: bool = False,
) -> View:
    """Choose how a model sees a photo: as much of it at a time as there is room for.

    What gives exact results comes first: the whole photo, its frames in memory or on disk; tiles
    come last, whose statistics are their own.

    Args:
        model: the model.
        height: a multiple of `model.size_multiple` [px].
        width: the same.
        feature_size: bytes of one value of the features.
        room: memory that may be taken [bytes], for the frames too where `host` is None.
        host: room for the frames, where they do not lie on the model's device.
        whole: whether the model has to see all of the photo.

    Raises:
        DeviceError: there is no room for even the smallest tiles.
    """
    pixels = height * width
    frames, image = model.count * FRAME_SIZE * pixels, FRAME_SIZE * pixels
    least = 0
    for side in (None,) if whole else (None, *SIDES):
        if side is not None:
            side -= side % model.size_multiple
            least_side = 2 * MARGIN + RAMP + model.size_multiple
            if not least_side < side < max(height, width):
                continue
        rows, columns = (min(side or length, length) for length in (height, width))
        tile = 0 if side is None else (model.count + 1) * FRAME_SIZE * rows * columns
        for on_disk in (False, True):
            stored = 0 if on_disk else frames
            if host is not None and stored > host:
                continue
            # Elsewhere, the frames that a network sees have to be brought to it.
            left = room - image - tile - (stored if host is None else 2 * image)
            need = model.memory(rows, columns, feature_size)
            if need <= left:
                near = host is not None and not on_disk and need + frames <= left
                return View(side, on_disk, near, memory=need + tile + image)
            least = need + tile + image
    raise DeviceError(
        f"{width} x {height} pixels take {gigabytes(least)} of memory at least, but only "
        f"{gigabytes(room)} may be taken; allow more, "
        f"{f'take the {FAST} model (--fast), ' if whole else ''}"
        "or take a part of the photo (--region)"
    )


def fit(y: Tensor, multiple: int) -> Tensor:
    """Pad (C, H, W) to the right and below by reflection until `multiple` divides both sides.

    Returns:
        (C, H', W'); the image is the upper left part of it, or all of it and no copy.
    """
    if not any(side % multiple for side in y.shape[-2:]):
        return y
    y = y.unsqueeze(0)
    for _ in range(2):  # reflection reaches at most side - 1 pixels far at a time
        right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
        right, below = min(right, y.shape[-1] - 1), min(below, y.shape[-2] - 1)
        y = F.pad(y, (0, right, 0, below), mode="reflect")
    right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
    return F.pad(y, (0, right, 0, below), mode="replicate")[0]


def fill_in_tiles(
    model: SequenceModel,
    out: Tensor,
    y: Tensor,
    side: int,
    device: torch.device,
) -> int:
    """Extract frames tile by tile.

    The order of time of a tile is turned where its reverse is nearer to those before it, over
    all that they share.

    Args:
        model: the model.
        out: the frames go there, (T, 3, H, W) float32; `model.size_multiple` divides H and W.
        y: the blurry image, (1, 3, H, W).
        side: of the tiles [px], a multiple too, and more than that larger than 2 `MARGIN`
            + `RAMP`.
        device: where the model is.

    Returns:
        How many tiles there were.
    """
    for frame in out:
        frame.zero_()
    rows, columns = (spans(length, side, model.size_multiple) for length in y.shape[-2:])
    for top, bottom, down in rows:
        for left, right, across in columns:
            seen = y[..., top:bottom, left:right].to(device)
            tile = out.new_empty((len(out), 3, *seen.shape[-2:]))
            model.fill(tile, seen)
            there = out[..., top:bottom, left:right]
            # Where nothing is yet, zeros say nothing about the order.
            turned = order_agreement(tile, there) < 0
            weight = (down[:, None] * across).to(out)
            for i, frame in enumerate(there):
                frame += weight * tile[-1 - i if turned else i]
    return len(rows) * len(columns)


def spans(length: int, side: int, multiple: int) -> list[tuple[int, int, Tensor]]:
    """Cut an axis into overlapping pieces.

    Args:
        length: of the axis [px], a multiple of `multiple`.
        side: of the pieces; that of the only one is `length` where it is shorter.
        multiple: divides where pieces begin, so that the model sees them as it sees the whole.

    Returns:
        Begin and end of each, and its weights (end - begin,), which add up to 1 everywhere.
    """
    if length <= side:
        return [(0, length, torch.ones(length))]
    count = math.ceil((length - side) / (side - 2 * MARGIN - RAMP - multiple)) + 1
    begins = [round(i * (length - side) / (count - 1) / multiple) * multiple for i in range(count)]
    seams = [(begin + side + following) / 2 for begin, following in pairwise(begins)]
    pieces = []
    for i, begin in enumerate(begins):
        at = torch.arange(begin, begin + side) + 0.5
        weight = torch.ones(side)
        if i > 0:
            weight *= ((at - seams[i - 1]) / RAMP + 0.5).clamp(0, 1)
        if i < len(seams):
            weight *= (0.5 - (at - seams[i]) / RAMP).clamp(0, 1)
        pieces.append((begin, begin + side, weight))
    return pieces


def choose(y: Tensor, run: Run) -> float:
    """Choose the scale at which the motion is `TRAINED_MOTION` long, 1 where it is shorter.

    The motion is measured between the frames 1 and 7 that `run` extracts from small versions of
    the photo. Each measurement errs to the short side, where motion is lost between the pixels or
    too long for the network; so the longest counts.

    Args:
        y: blurry image, (3, H, W), RGB in [0, 1].
        run: extracts frames from an image.

    Returns:
        One of `SCALES`; 1 where the photo is too small to be scaled down.
    """
    short = min(y.shape[-2:])
    probes = [probe for probe in PROBES if short * probe >= LEAST_SIDE]
    if not probes and short * SMALL_PROBE >= LEAST_SIDE:
        probes = [SMALL_PROBE]
    longest = max((_motion(run(shrink(y, probe))) / probe for probe in probes), default=0.0)
    wanted = TRAINED_MOTION / max(longest, TRAINED_MOTION)
    scales = [scale for scale in SCALES if scale == 1 or short * scale >= LEAST_SIDE]
    return min(scales, key=lambda scale: abs(math.log(scale / wanted)))


def _motion(frames: Tensor) -> float:
    """Motion from the first to the last frame [px], of what moves most.

    What stands still is the same at every scale, so that the median would not do.
    """
    return sequence_motion(frames[[0, -1]])[0].p95


def shrink(y: Tensor, scale: float) -> Tensor:
    """Scale an image down, antialiased.

    Args:
        y: (3, H, W) in [0, 1].
        scale: at most 1.

    Returns:
        (3, H', W') in [0, 1], at least a pixel each way.
    """
    size = [max(1, round(side * scale)) for side in y.shape[-2:]]
    small = F.interpolate(y[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)  # bicubic overshoots at edges


@torch.no_grad()
def restore(frames: Tensor, small: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """Bring frames of a scaled-down photo to the size of the photo: x = y + up(frame - small).

    What the frames have in common with the small photo thus keeps the photo's detail: all of what
    stands still, and across the motion what moves, too. Along the motion the photo has none.

    Args:
        frames: (T, 3, H', W'), extracted from `small`.
        small: the photo scaled down, (3, H', W').
        y: the photo, (3, H, W), RGB in [0, 1].
        out: filled frame by frame, so that hardly any other memory is taken; (T, 3, H, W).

    Returns:
        `out`, in [0, 1].
    """
    size = (y.shape[-2], y.shape[-1])
    for frame, full in zip(frames, out, strict=True):
        change = (frame - small)[None]
        grown = F.interpolate(change, size=size, mode="bilinear", align_corners=False)[0]
        torch.add(y, grown, out=full).clamp_(0, 1)
    return out


def in_pieces(frames: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut frames and their photo into strips of `PIXELS_AT_ONCE`, or of one row.

    Args:
        frames: (T, C, H, W).
        y: (C, H, W).

    Yields:
        Views of both, (T, C, rows, W) and (C, rows, W).
    """
    step = max(1, PIXELS_AT_ONCE // y.shape[-1])
    for top in range(0, y.shape[-2], step):
        yield frames[..., top : top + step, :], y[..., top : top + step, :]


def gigabytes(size: int) -> str:
    """An amount of memory for messages."""
    size = max(size, 0)
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


class _OnDisk(Tensor):
    """Frames in a file, with no more of them in memory than is being worked on.

    What is read and written stays in memory until the next part is asked for by an index. (The
    pages of a file that is mapped count as the program's, although the system takes them back
    when it needs them; here they are handed back.)
    """

    # All else is that of plain tensors, and gives plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    file: mmap.mmap

    @classmethod
    def of(cls, values: Tensor, file: mmap.mmap) -> _OnDisk:
        """Values that lie in a mapped file."""
        found = values.as_subclass(cls)
        found.file = file
        return found

    def __getitem__(self, index: Any) -> Tensor:
        self._let_go()
        found = super().__getitem__(index)
        return _OnDisk.of(found, self.file) if found.ndim == self.ndim else found

    def __setitem__(self, index: Any, values: Any) -> None:
        super().__setitem__(index, values)
        self._let_go()

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def _let_go(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


def room_for(height: int, width: int, count: int = FRAMES, most: int | None = None) -> Tensor:
    """Make room for frames, on disk where there is too little memory.

    Args:
        height: H.
        width: W.
        count: T.
        most: most memory that the process may take [bytes].

    Returns:
        (T, 3, H, W) float32, on the CPU.
    """
    if count * FRAME_SIZE * height * width > runtime.room(torch.device("cpu"), most):
        return frames_on_disk(height, width, count)
    return torch.empty(count, 3, height, width)


def frames_on_disk(height: int, width: int, count: int = FRAMES) -> Tensor:
    """Make room for frames in a temporary file, which goes when the tensor does.

    Args:
        height: H.
        width: W.
        count: T.

    Returns:
        (T, 3, H, W) float32, on the CPU, of which only what is at hand lies in memory.

    Raises:
        DeviceError: there is no room on the disk either.
    """
    size = count * FRAME_SIZE * height * width
    folder = runtime.scratch()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # all of it now, rather than a crash in the middle
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise DeviceError(
            f"no memory for {gigabytes(size)} of frames, nor room in {folder}: {error.strerror}"
        ) from error
    values = torch.frombuffer(mapped, dtype=torch.float32)
    return _OnDisk.of(values.view(count, 3, height, width), mapped)
