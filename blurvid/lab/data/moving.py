"""What the motion model learns from: photos, middle frames, frames, and the paths to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import runtime, weights
from blurvid.config import FRAMES
from blurvid.errors import InputError
from blurvid.exposure import GAMMA
from blurvid.lab.data.measured import MeasuredWindows, held_out, is_clip_folder, read_moving
from blurvid.lab.data.stills import StillPool, read_stills
from blurvid.lab.data.supply import Batch
from blurvid.lab.data.windows import is_window_folder
from blurvid.lab.options import CameraOptions, TrainOptions
from blurvid.lab.synth import average, develop, draw_gammas, simulate_paths
from blurvid.models import SequenceModel, middle_of

DOWNWARDS = 0.4
"""How much downwards counts, when the order of time is fixed by where most of the picture goes."""
MULTIPLE = 32
"""Divides the sides of what validates [px]."""


class MovingSource:
    """Batches for the motion model: (y, x, m, path, looks).

    y (B, 3, S, S); x (B, 7, 3, S, S); m, the middle frame of a deblurrer, (B, 3, S, S); path, a and
    b of each pixel, (B, 4, S, S) [px]; looks, of how many instants each exposure is made, (B,), on
    the CPU. The order of time is such that most of the picture goes to the right.

    Args:
        windows: to train on; None: stills only.
        kept: to validate on.
        stills: that are moved; None: windows only.
        middle: the deblurrer.
        options: the run.

    Raises:
        InputError: nothing to train on.
    """

    def __init__(
        self,
        windows: MeasuredWindows | None,
        kept: MeasuredWindows | None,
        stills: StillPool | None,
        middle: SequenceModel,
        options: TrainOptions,
    ) -> None:
        if windows is None and stills is None:
            raise InputError("no windows and no photos to train on")
        self.windows, self.kept, self.stills = windows, kept, stills
        self.middle, self.options = middle, options

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        g, options = generator, self.options.paths
        simulated = round(batch * options.simulated) if self.windows else batch
        simulated = simulated if self.stills else 0
        parts = []
        if self.windows and batch > simulated:
            x, path = self.windows.draw(batch - simulated, size, options, g)
            parts.append((average(x, draw_gammas(len(x), options, g)), x, path))
        if self.stills and simulated:
            side = size + 2 * options.margin
            layers = self.stills.draw(2 * simulated, side, options.photo_scale, g)
            layers = layers.view(simulated, 2, 3, side, side)
            moved = simulate_paths(layers, options, self.options.camera, g)
            parts.append((moved.blurry, moved.frames, moved.path))
        y, x, path = (torch.cat(part) for part in zip(*parts, strict=True))
        y, x, path = _turned(y, x, path, g)
        x, path = _oriented(x, path)
        y = photographed(y, self.options.camera, g)
        looks = [FRAMES] * (batch - simulated) + [FRAMES * options.sub_frames] * simulated
        return y, x.contiguous(), deblurred(self.middle, y), path.contiguous(), torch.tensor(looks)

    def validation(self) -> Iterator[Batch]:
        """Windows of clips that are never drawn, one at a time, in gamma 2.2, without noise."""
        if self.kept is None:
            return
        for x, path in self.kept.whole(MULTIPLE):
            gamma = torch.full((1, 1, 1, 1), GAMMA, device=x.device)
            y = (average(x, gamma) * 255).round() / 255
            yield y, x, deblurred(self.middle, y), path, torch.tensor([FRAMES])

    def describe(self) -> str:
        told = []
        if self.windows:
            clips = len({window.clip for window in self.windows.windows})
            told.append(f"{len(self.windows)} windows of {clips} clips")
        if self.stills:
            told.append(f"{len(self.stills)} still photos under simulated motion")
        text = " and ".join(told)
        if self.kept:
            clips = len({window.clip for window in self.kept.windows})
            text += f"; {len(self.kept)} windows of {clips} other clips for validation"
        return text


def open_moving(data: Sequence[Path], options: TrainOptions, device: torch.device) -> MovingSource:
    """Open what the motion model is to be trained on.

    Args:
        data: folders of windows or of videos of seven frames, and sharp photos.
        options: the run.
        device: where everything is kept.

    Raises:
        InputError: nothing usable, or something unreadable.
        WeightsError: the deblurrer is not there.
    """
    for path in data:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    moving = [path for path in data if is_window_folder(path) or is_clip_folder(path)]
    photos = [path for path in data if path not in moving]
    training, kept = held_out(read_moving(moving), options.paths)
    found = middle_of(weights.load(weights.find(options.paths.middle), device))
    return MovingSource(
        MeasuredWindows(training, device) if training else None,
        MeasuredWindows(kept, device) if kept else None,
        StillPool(list(read_stills(photos)), device) if photos else None,
        found,
        options,
    )


@torch.no_grad()
def deblurred(middle: SequenceModel, y: Tensor) -> Tensor:
    """Middle frames of photos, (B, 3, H, W) -> the same, in [0, 1]."""
    height, width = y.shape[-2:]
    right, below = -width % middle.size_multiple, -height % middle.size_multiple
    whole = F.pad(y, (0, right, 0, below), mode="replicate")
    with runtime.autocast(y.device, runtime.resolve_precision("auto", y.device)):
        found = middle(whole)[:, 0]
    return found.float()[..., :height, :width].clamp(0, 1).contiguous()


def photographed(y: Tensor, camera: CameraOptions, generator: torch.Generator) -> Tensor:
    """Exposures with noise and compression, in steps of 1/255."""
    return (develop(y, camera, generator) * 255).round() / 255


def direction(path: Tensor) -> Tensor:
    """Tell whether most of a picture goes to the right, (B, 4, H, W) -> 1 or -1, (B,)."""
    a = path[:, :2]
    along = (a[:, 0] + DOWNWARDS * a[:, 1]) * a.norm(dim=1)
    return torch.where(along.sum((1, 2)) >= 0, 1.0, -1.0)


def reversed_where(x: Tensor, sign: Tensor) -> Tensor:
    """Frames (B, 7, 3, H, W) with time turned around where the sign (B,) is negative."""
    return torch.where((sign < 0).view(-1, 1, 1, 1, 1), x.flip(1), x)


def _oriented(x: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
    sign = direction(path)
    a = path[:, :2] * sign.view(-1, 1, 1, 1)
    return reversed_where(x, sign), torch.cat([a, path[:, 2:]], dim=1)


def _turned(
    y: Tensor, x: Tensor, path: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror a batch, and swap rows and columns, each or not."""
    across, down, swap = (torch.rand(3, generator=generator, device=y.device) < 0.5).tolist()
    for wanted, axis, component in ((across, -1, 0), (down, -2, 1)):
        if wanted:
            y, x, path = y.flip(axis), x.flip(axis), path.flip(axis)
            path[:, component::2] *= -1
    if swap:
        y, x, path = (part.transpose(-1, -2) for part in (y, x, path))
        path = path[:, [1, 0, 3, 2]]
    return y, x, path
