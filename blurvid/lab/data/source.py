"""What networks learn from: windows of clips and photos under simulated motion, as batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid import runtime, weights
from blurvid.config import FRAMES
from blurvid.errors import InputError
from blurvid.exposure import GAMMA
from blurvid.lab.camera import develop, finish
from blurvid.lab.data.clips import read_stills
from blurvid.lab.data.measured import MeasuredWindows, held_out, is_clip_folder, read_moving
from blurvid.lab.data.windows import Window, is_window_folder
from blurvid.lab.options import TrainOptions
from blurvid.lab.synth import average, draw_gammas, margin, simulate
from blurvid.models import SequenceModel, filled, middle_of
from blurvid.weights import store

Batch: TypeAlias = tuple[Tensor, ...]
"""What a step learns from: y (B, 3, S, S) and x (B, 7, 3, S, S), RGB in [0, 1]. For the motion
model also m, the middle frame of a deblurrer, (B, 3, S, S); path, a and b of each pixel,
(B, 4, S, S) [px]; and looks, of how many instants each exposure is made, (B,), on the CPU."""

DOWNWARDS = 0.4
"""How much downwards counts, when the order of time is fixed by where most of the picture goes."""
MULTIPLE = 32
"""Divides the sides of what validates [px]."""


class StillPool:
    """Photos in memory, from which layers for the simulation are cut at random.

    Args:
        photos: (3, H, W) uint8 RGB each, of any size.
        device: where the photos are kept and blurred.

    Raises:
        InputError: no photos.
    """

    def __init__(self, photos: Sequence[Tensor], device: torch.device) -> None:
        if not photos:
            raise InputError("no photos to train on")
        self.device = device
        self.photos = [photo.to(device) for photo in photos]

    def __len__(self) -> int:
        return len(self.photos)

    def usable(self, side: int) -> list[int]:
        """Numbers of the photos from which a square of `side` px can be cut."""
        return [i for i, photo in enumerate(self.photos) if min(photo.shape[1:]) >= side]

    def cut(self, photos: Tensor, side: int, draws: Tensor) -> Tensor:
        """Cut random squares, turned by a multiple of 90 degrees and maybe mirrored.

        Args:
            photos: numbers of the photos, (N,).
            side: of the squares [px].
            draws: four numbers in [0, 1) for each: top, left, turn, mirror; (N, 4).

        Returns:
            (N, 3, side, side) uint8 RGB.
        """
        squares = []
        for number, (down, across, turn, mirror) in zip(
            photos.tolist(), draws.tolist(), strict=True
        ):
            photo = self.photos[number]
            top, left = (
                int((length - side + 1) * draw)
                for length, draw in zip(photo.shape[1:], (down, across), strict=True)
            )
            square = photo[:, top : top + side, left : left + side]
            square = square.flip(-1) if mirror < 0.5 else square
            squares.append(square.rot90(int(turn * 4), (1, 2)))
        return torch.stack(squares)

    def draw(
        self,
        batch: int,
        size: int,
        source_scale: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        """Draw random crops as they are.

        Args:
            batch: B.
            size: S [px].
            source_scale: photo pixels per pixel of the crop, drawn between these.
            generator: source of randomness, on the pool's device.

        Returns:
            (B, 3, S, S), RGB in [0, 1].

        Raises:
            InputError: every photo is too small.
        """
        low, high = source_scale
        draw = torch.rand(1, generator=generator, device=self.device).item()
        least = math.ceil(size * min(low, 1.0))
        side = math.ceil(size * (low + (high - low) * draw))
        photos = self.usable(side)
        while not photos and side > least:
            side = max(least, int(side * 0.9))
            photos = self.usable(side)
        if not photos:
            raise InputError(f"every photo is smaller than {least} px, which crops of {size} need")
        draws = torch.rand(batch, 5, generator=generator, device=self.device)
        chosen = (draws[:, 0] * len(photos)).long()
        numbers = torch.tensor(photos, device=self.device)[chosen]
        sources = self.cut(numbers, side, draws[:, 1:]).float().div_(255)
        crops = F.interpolate(
            sources, size=(size, size), mode="bicubic", antialias=True, align_corners=False
        )
        return crops.clamp_(0, 1)


class TrainingSource:
    """Batches of windows and of stills that are moved.

    In canonical order, time is such that most of a picture goes one way: to the right, or for the
    motion model, which tells where content comes from, to the left.

    Args:
        windows: to train on; None: stills only.
        kept: to validate on.
        stills: that are moved; None: windows only.
        middle: the deblurrer, for the motion model.
        options: the run.

    Raises:
        InputError: nothing to train on.
    """

    def __init__(
        self,
        windows: MeasuredWindows | None,
        kept: MeasuredWindows | None,
        stills: StillPool | None,
        middle: SequenceModel | None,
        options: TrainOptions,
    ) -> None:
        if windows is None and stills is None:
            raise InputError("no windows and no photos to train on")
        self.windows, self.kept, self.stills = windows, kept, stills
        self.middle, self.options = middle, options
        self.motion = options.motion
        if options.model != "motion":
            order = "canonical" if options.order == "canonical" else "random"
            self.motion = replace(options.motion, order=order)  # type: ignore[arg-type]

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        """Draw a batch, on the device, of which there is no end."""
        g, motion, camera = generator, self.motion, self.options.camera
        count = batch if self.stills is None else 0
        if self.windows and self.stills:  # of a batch of one, now and then
            coin = torch.rand(1, generator=g, device=g.device).item()
            count = int(batch * self.options.windows + coin)
        parts = []
        if self.windows and count:
            x, path = _turned(*self.windows.draw(count, size, g), g)
            parts.append((average(x, draw_gammas(count, motion, g)), x, path))
        if self.stills and batch > count:
            side = size + 2 * margin(motion)
            layers = self.stills.draw(2 * (batch - count), side, motion.source_scale, g)
            moved = simulate(layers.view(-1, 2, 3, side, side), motion, camera, g)
            parts.append((moved.blurry, moved.frames, moved.path))
        y, x, path = (torch.cat(part) for part in zip(*parts, strict=True))
        sign = direction(path)
        if self.options.order != "canonical":
            coins = torch.rand(batch, generator=g, device=y.device) < 0.5
            sign = torch.where(coins, 1.0, -1.0)
        elif self.middle is None:
            sign = -sign
        y, x = finish(y, reversed_where(x, sign), camera, g)
        if self.middle is None:
            y, x = develop(*recoloured(y, x, g), camera, g)
            return y, x.contiguous()
        y, x = develop(y, x, camera, g)
        y = (y * 255).round() / 255
        path = torch.cat([path[:, :2] * sign.view(-1, 1, 1, 1), path[:, 2:]], dim=1)
        looks = [FRAMES] * count + [FRAMES * motion.sub_frames] * (batch - count)
        return y, x.contiguous(), deblurred(self.middle, y), path.contiguous(), torch.tensor(looks)

    def validation(self) -> Iterator[Batch]:
        """Windows of clips that are never drawn, in gamma 2.2, without noise."""
        if self.kept is None or self.middle is None:
            return
        for x, path in self.kept.whole(MULTIPLE):
            gamma = torch.full((1, 1, 1, 1), GAMMA, device=x.device)
            y = (average(x, gamma) * 255).round() / 255
            yield y, x, deblurred(self.middle, y), path, torch.tensor([FRAMES])

    def describe(self) -> str:
        """Say in a few words what the batches are made of, for the model card."""
        told = [self.windows.describe()] if self.windows else []
        if self.stills:
            told.append(f"{len(self.stills)} still photos under simulated motion")
        text = " and ".join(told)
        return text + (f"; {self.kept.describe(' other')} for validation" if self.kept else "")


class PrefetchSource:
    """Draw the next batch in a thread while the network works on this one.

    Batches come in the same order and with the same content whatever the timing; they are drawn
    with a generator of their own, seeded by the first draw. On a GPU they are drawn in a stream
    of their own, so that neither waits for the other.

    Args:
        source: where the batches come from.
    """

    def __init__(self, source: TrainingSource) -> None:
        self.source = source
        # A new thread takes what any other set last, not the number that was asked for.
        self.worker = ThreadPoolExecutor(
            1, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
        )
        self.generator: torch.Generator | None = None
        self.pending: tuple[tuple[int, int], Future[Batch]] | None = None
        self.stream: torch.cuda.Stream | None = None

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        if self.generator is None:
            self.generator = torch.Generator(generator.device)
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            self.generator.manual_seed(int(seed))
            if generator.device.type == "cuda":
                self.stream = torch.cuda.Stream(generator.device)  # type: ignore[no-untyped-call]
        own, wanted = self.generator, (batch, size)
        pending = self.pending
        if pending is None or pending[0] != wanted:
            pending = (wanted, self.worker.submit(self._draw, *wanted, own))
        result = pending[1].result()
        self.pending = (wanted, self.worker.submit(self._draw, *wanted, own))
        if self.stream is not None:
            for tensor in result:  # its memory must not be used anew while it is read here
                if tensor.is_cuda:
                    tensor.record_stream(torch.cuda.current_stream(tensor.device))
        return result

    def _draw(self, batch: int, size: int, own: torch.Generator) -> Batch:
        with torch.cuda.stream(self.stream):  # None changes nothing
            result = self.source.draw(batch, size, own)
        if self.stream is not None:
            self.stream.synchronize()  # this thread waits, the network's launches go on
        return result

    def validation(self) -> Iterator[Batch]:
        return self.source.validation()

    def describe(self) -> str:
        return self.source.describe()


Source: TypeAlias = TrainingSource | PrefetchSource
"""An endless supply of batches."""


def open_source(
    data: Sequence[Path], options: TrainOptions, device: torch.device
) -> PrefetchSource:
    """Open what a run is to be trained on.

    Args:
        data: folders of windows (made by `blurvid synth`) or of videos of seven frames, and sharp
            photos (files, folders, tar archives), which are blurred by simulated motion.
        options: the run.
        device: where everything is kept.

    Raises:
        InputError: nothing usable, or something unreadable.
        WeightsError: the deblurrer of a motion model is not there.
    """
    for path in data:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    moving = [path for path in data if is_window_folder(path) or is_clip_folder(path)]
    photos = [path for path in data if path not in moving]
    training, kept = read_moving(moving), list[Window]()
    measure, middle = options.model == "motion", None
    if measure:
        training, kept = held_out(training, options.paths)
        middle = middle_of(store.load(weights.find(options.paths.middle), device))
    return PrefetchSource(
        TrainingSource(
            MeasuredWindows(training, device, measure) if training else None,
            MeasuredWindows(kept, device, measure) if kept else None,
            StillPool(list(read_stills(photos)), device) if photos else None,
            middle,
            options,
        )
    )


@torch.no_grad()
def deblurred(middle: SequenceModel, y: Tensor) -> Tensor:
    """Middle frames, (B, 3, H, W) -> the same, in [0, 1], of crops, or of a whole photo."""
    height, width = y.shape[-2:]
    right, below = -width % middle.size_multiple, -height % middle.size_multiple
    whole = F.pad(y, (0, right, 0, below), mode="replicate")
    with runtime.autocast(y.device, runtime.resolve_precision("auto", y.device)):
        found = (middle(whole) if len(y) > 1 else filled(middle, whole))[:, 0]
    return found.float()[..., :height, :width].clamp(0, 1).contiguous()


def recoloured(y: Tensor, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shuffle the colour channels of each sample, as the paper does (section 7)."""
    order = torch.rand(len(y), 3, generator=generator, device=y.device).argsort(dim=1)
    rows = torch.arange(len(y), device=y.device)[:, None]
    return y[rows, order], x.transpose(1, 2)[rows, order].transpose(1, 2)


def direction(path: Tensor) -> Tensor:
    """Tell whether most of a picture comes from the right, (B, 4, H, W) -> 1 or -1, (B,)."""
    a = path[:, :2]
    along = (a[:, 0] + DOWNWARDS * a[:, 1]) * a.norm(dim=1)
    return torch.where(along.sum((1, 2)) >= 0, 1.0, -1.0)


def reversed_where(x: Tensor, sign: Tensor) -> Tensor:
    """Frames (B, 7, 3, H, W) with time turned around where the sign (B,) is negative."""
    return torch.where((sign < 0).view(-1, 1, 1, 1, 1), x.flip(1), x)


def _turned(x: Tensor, path: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror windows, and swap rows and columns, each or not; all alike."""
    across, down, swap = (torch.rand(3, generator=generator, device=x.device) < 0.5).tolist()
    for wanted, axis, component in ((across, -1, 0), (down, -2, 1)):
        if wanted:
            x, path = x.flip(axis), path.flip(axis)
            path[:, component::2] *= -1
    if swap:
        x, path = x.transpose(-1, -2), path.transpose(-1, -2)[:, [1, 0, 3, 2]]
    return x, path
