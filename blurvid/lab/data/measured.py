"""Windows of real clips and the paths in them, measured by optical flow."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import flow, media, runtime, weights
from blurvid.config import FRAMES, MIDDLE
from blurvid.errors import InputError
from blurvid.flow import sequence_motion
from blurvid.lab.data.clips import find_clips
from blurvid.lab.data.windows import Window, is_window_folder, read_windows
from blurvid.lab.options import PathOptions
from blurvid.media import replacing

LARGEST = (360, 640)
"""Height and width of what is kept of a window whose paths are measured, from its middle [px]."""
MEMORY = 4 << 30
"""Bytes of windows on the device; those beyond lie in files, which the system reads as needed."""
CELL = 2
"""Pixels along each side for which one path is kept."""
AT_ONCE = 16
"""Windows whose flow is measured together on a GPU; one by one it would wait for launches."""
EVERY = 8
"""One of so many clips is held out where none is named."""
APART = 6
"""Windows of a clip from one that validates to the next: neighbours show the same."""
FAR, SCALE = 0.6, (0.5, 1.0)
"""Share of windows that are looked at from afar, scaled by a factor between these."""
PACE = (0.4, 4.0)
"""Windows are drawn in proportion to the root of their mean motion [px], within these bounds."""


def is_clip_folder(folder: Path) -> bool:
    """Whether a folder holds videos."""
    return folder.is_dir() and any(media.is_video(path) for path in folder.iterdir())


def read_moving(sources: Sequence[Path]) -> list[Window]:
    """Windows of folders that `blurvid synth` made, or that hold videos of seven frames each.

    Videos named `CLIP_NUMBER` are of one clip.

    Raises:
        InputError: a folder is damaged, or a window has another number of frames.
    """
    found = []
    for source in sources:
        if is_window_folder(source):
            found += read_windows(source)
            continue
        for clip in find_clips([source]):
            frames = partial(_stacked, clip.path, clip.frames)
            name = re.sub(r"_\d+$", "", clip.name)
            record = {"window": clip.name, "clip": name, "frames": list(range(FRAMES))}
            found.append(Window(record, lambda: torch.empty(0), frames))
    for window in found:
        if window.count != FRAMES:
            raise InputError(f"{window.name}: {window.count} sharp frames; training needs {FRAMES}")
    return found


def held_out(windows: Sequence[Window], options: PathOptions) -> tuple[list[Window], list[Window]]:
    """Split windows by whole clips into those to train on and those to validate on.

    Raises:
        InputError: a clip that is to be held out is not there.
    """
    clips = sorted({window.clip for window in windows})
    kept = set(clips[EVERY - 1 :: EVERY])
    if options.held_out:
        chosen = [[c for c in clips if c.startswith(name)] for name in options.held_out]
        missing = [n for n, own in zip(options.held_out, chosen, strict=True) if not own]
        if missing:
            raise InputError(f"no clip named {missing[0]!r} to hold out")
        kept = {clip for own in chosen for clip in own}
    training = [window for window in windows if window.clip not in kept]
    validating = []
    for clip in sorted(kept):
        own = [window for window in windows if window.clip == clip]
        validating += own[::APART][: options.validated]
    return training, validating


class MeasuredWindows:
    """Windows with their paths, frame_t(x) = m(x + a t + b t²), at hand as far as `MEMORY` reaches.

    The flow takes seconds a window on a CPU, so it is kept in the cache directory.

    Args:
        windows: of seven sharp frames each.
        device: where they are kept.
        measure: measure the path of every place; else a window has one for all of it, which tells
            its order of time.
    """

    def __init__(
        self, windows: Sequence[Window], device: torch.device, measure: bool = True
    ) -> None:
        self.windows, self.device = windows, device
        self.frames: list[Tensor] = []

        def load(window: Window) -> tuple[Tensor, Any]:
            frames = _load(window, LARGEST if measure else None)
            return frames, _place(frames) if measure else _rough(window, frames)

        told, held = [], 0
        with runtime.single_threaded_pool(min(16, runtime.processors())) as pool:
            for frames, known in pool.map(load, windows):
                held += frames.nbytes
                self.frames.append(frames.to(device) if held <= MEMORY else _on_disk(frames))
                told.append(known)
        self.paths = self._measured(told) if measure else [path.to(device) for path in told]
        pace = torch.stack([path[:2].float().norm(dim=0).mean() for path in self.paths])
        self.shares = pace.clamp(*PACE).sqrt()

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut random squares, some of them from afar.

        Returns:
            Frames (B, 7, 3, S, S), RGB in [0, 1], and paths (B, 4, S, S) [px].

        Raises:
            InputError: a window is smaller than the square.
        """
        g = generator
        chosen = torch.multinomial(self.shares, batch, replacement=True, generator=g).tolist()
        draws = torch.rand(batch, 4, generator=g, device=g.device).tolist()
        rows = [self._cut(i, size, d) for i, d in zip(chosen, draws, strict=True)]
        frames, paths = zip(*rows, strict=True)
        return torch.stack(frames), torch.stack(paths)

    def whole(self, multiple: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Each window at its size, cut to a multiple: frames (1, 7, 3, H, W), path (1, 4, H, W)."""
        for frames, path in zip(self.frames, self.paths, strict=True):
            height, width = (side // multiple * multiple for side in frames.shape[-2:])
            part = path[None, :, : height // CELL, : width // CELL].float()
            full = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)
            cut = frames[None, ..., :height, :width].to(self.device)
            yield cut.float() / 255, full

    def describe(self, which: str = "") -> str:
        """Say how much there is."""
        clips = len({window.clip for window in self.windows})
        return f"{len(self.windows)} windows of {clips}{which} clips"

    def _cut(self, index: int, size: int, draws: Sequence[float]) -> tuple[Tensor, Tensor]:
        frames, path = self.frames[index], self.paths[index]
        height, width = frames.shape[-2:]
        least = min(height, width)
        if least < size:
            raise InputError(
                f"{self.windows[index].name}: {width}x{height} px is smaller than the crop of "
                f"{size} px"
            )
        low, high = SCALE
        scale = low + (high - low) * draws[1] if draws[0] < FAR else 1.0
        side = min(least // CELL, round(size / scale / CELL)) * CELL
        top, left = (
            int(draw * ((length - side) // CELL + 1)) * CELL
            for draw, length in ((draws[2], height), (draws[3], width))
        )
        cut = frames[..., top : top + side, left : left + side].to(self.device).float() / 255
        if side != size:
            cut = F.interpolate(
                cut, (size, size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        cells = (slice(n // CELL, (n + side) // CELL) for n in (top, left))
        part = path[(None, slice(None), *cells)].float() * (size / side)
        return cut, F.interpolate(part, (size, size), mode="bilinear", align_corners=False)[0]

    def _measured(self, kept: Sequence[Path]) -> list[Tensor]:
        """Paths of all windows, (4, H/2, W/2) in half precision, from where they are kept."""
        known = {i: place for i, place in enumerate(kept) if place.exists()}
        found = {i: torch.from_numpy(np.load(place)) for i, place in known.items()}
        sizes: dict[tuple[int, ...], list[int]] = {}
        for i, frames in enumerate(self.frames):
            if i not in known:
                sizes.setdefault(tuple(frames.shape), []).append(i)
        at_once = AT_ONCE if self.device.type == "cuda" else 1
        for group in sizes.values():
            for first in range(0, len(group), at_once):
                some = group[first : first + at_once]
                shown = [self.frames[i].to(self.device) for i in some]
                for i, path in zip(some, paths_of(shown), strict=True):
                    found[i] = path.half().cpu()
                    with replacing([kept[i]]) as (temporary,), temporary.open("wb") as file:
                        np.save(file, found[i].numpy())
        return [found[i].to(self.device) for i in range(len(self.frames))]


def paths_of(windows: Sequence[Tensor]) -> Tensor:
    """Measure the paths of windows by the flow from the middle frame to both ends.

    Args:
        windows: N times (7, 3, H, W) uint8 RGB, of one size.

    Returns:
        a and b [px] of cells, (N, 4, H // 2, W // 2).
    """
    middle, first, last = (
        torch.stack([frames[i] for frames in windows]).float() / 255 for i in (MIDDLE - 1, 0, -1)
    )
    # m(x) = last(x + w), so that last(x) is about m(x - w)
    back, forth = flow.estimate(middle, first), flow.estimate(middle, last)
    return F.avg_pool2d(torch.cat([(back - forth) / 2, -(back + forth) / 2], dim=1), CELL)


def _stacked(path: Path, load: object) -> Tensor:
    assert callable(load)
    frames = list(islice(load(), FRAMES + 1))  # a film would not fit into memory
    if len(frames) != FRAMES:
        count = len(frames) if len(frames) < FRAMES else f"more than {FRAMES}"
        raise InputError(
            f"{path}: {count} frames; only videos of {FRAMES} are windows, make some of "
            "longer ones with 'blurvid synth'"
        )
    return torch.stack(frames)


def _load(window: Window, largest: tuple[int, int] | None) -> Tensor:
    """The frames of a window, cut, (7, 3, H, W) uint8."""
    frames = window.sharp()
    size = (frames.shape[-2], frames.shape[-1])
    for axis, most in zip((-2, -1), largest or size, strict=True):
        length = min(most, frames.shape[axis]) // CELL * CELL
        frames = frames.narrow(axis, (frames.shape[axis] - length) // 2, length)
    return (frames * 255).round().to(torch.uint8).contiguous()


def _on_disk(frames: Tensor) -> Tensor:
    """The same in a file that goes with it."""
    with tempfile.TemporaryFile(dir=runtime.scratch()) as file:
        stored = np.memmap(file, np.uint8, "w+", shape=tuple(frames.shape))
    stored[:] = frames.numpy()
    return torch.from_numpy(stored)


def _place(frames: Tensor) -> Path:
    """Where the paths of a window are kept."""
    digest = hashlib.sha256(frames.numpy().tobytes()).hexdigest()
    return weights.cache_dir() / "paths" / f"{digest[:32]}.npy"


def _rough(window: Window, frames: Tensor) -> Tensor:
    """One path for all of a window, as a view of the size of measured ones."""
    motion = window.record.get("motion")
    if motion is None:
        total, _ = sequence_motion(frames)
        motion = {"dx": total.dx, "dy": total.dy}
    path = torch.tensor([-motion["dx"] / 2, -motion["dy"] / 2, 0.0, 0.0]).view(4, 1, 1)
    return path.expand(4, frames.shape[-2] // CELL, frames.shape[-1] // CELL)
