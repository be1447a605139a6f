"""Where training windows come from, and what is done to them before a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from blurvid.errors import InputError
from blurvid.lab.data.moving import open_moving
from blurvid.lab.data.pool import WindowSource
from blurvid.lab.data.replay import ReplaySource
from blurvid.lab.data.stills import StillPool, read_stills
from blurvid.lab.data.supply import Batch, Source
from blurvid.lab.data.windows import is_window_folder, read_windows
from blurvid.lab.options import CameraOptions, MotionOptions, TrainOptions
from blurvid.lab.synth import IDEAL, develop


class SimulatedSource:
    """Windows simulated from stills.

    Args:
        pool: the stills.
        motion: how they move.
        camera: what takes them.
    """

    def __init__(
        self, pool: StillPool, motion: MotionOptions, camera: CameraOptions = IDEAL
    ) -> None:
        self.pool, self.motion, self.camera = pool, motion, camera

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rendered = self.pool.render(batch, size, self.motion, generator, self.camera)
        return rendered.blurry, rendered.frames

    def describe(self) -> str:
        return f"simulated motion of {len(self.pool)} still photos"


class AugmentedSource:
    """Another source's windows with shuffled colours, noise and compression (`augment`)."""

    def __init__(self, source: Source, camera: CameraOptions) -> None:
        self.source, self.camera = source, camera

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        y, x = self.source.draw(batch, size, generator)
        return augment(y, x, self.camera, generator)

    def describe(self) -> str:
        return self.source.describe()


class PrefetchSource:
    """Draw the next batch in a thread while the network works on this one.

    Batches come in the same order and with the same content whatever the timing; they are drawn
    with a generator of their own, seeded by the first draw. On a GPU they are drawn in a stream
    of their own, so that neither waits for the other.

    Args:
        source: where the batches come from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        # A new thread would take all cores, not the number that was asked for.
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
        if self.stream is None:
            return self.source.draw(batch, size, own)
        with torch.cuda.stream(self.stream):
            result = self.source.draw(batch, size, own)
        self.stream.synchronize()  # this thread waits, the network's launches go on
        return result

    def describe(self) -> str:
        return self.source.describe()


class MixedSource:
    """Whole batches from one of two sources.

    Args:
        first: one of them.
        second: the other.
        share: of the batches that are the first one's.
    """

    def __init__(self, first: Source, second: Source, share: float) -> None:
        self.sources, self.share = (first, second), share

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        draw = torch.rand(1, generator=generator, device=generator.device).item()
        return self.sources[draw >= self.share].draw(batch, size, generator)

    def describe(self) -> str:
        return "; ".join(source.describe() for source in self.sources)


def open_source(data: Sequence[Path], options: TrainOptions, device: torch.device) -> Source:
    """Open what a run is to be trained on.

    Args:
        data: folders of windows (made by `blurvid synth`), and sharp photos (files, folders,
            tar archives), which are blurred by simulated motion; both are augmented. For the
            motion model also folders of videos of seven frames.
        options: the run.
        device: where the windows are wanted.

    Raises:
        InputError: nothing usable, or something unreadable.
    """
    order: Literal["canonical", "random"] = (
        "canonical" if options.order == "canonical" else "random"
    )
    if options.model == "motion":
        return PrefetchSource(ReplaySource(open_moving(data, options, device), options.reuse))
    sources: list[Source] = []
    windows = [path for path in data if path.is_dir() and is_window_folder(path)]
    stills = [path for path in data if path not in windows]
    if windows:
        listed = [window for path in windows for window in read_windows(path)]
        sources.append(WindowSource(listed, device, order, flips=True))
    if stills:
        for path in stills:
            if not path.exists():
                raise InputError(f"{path}: no such file or folder")
        motion = replace(options.motion, order=order)
        pool = StillPool(list(read_stills(stills)), device)
        simulated = SimulatedSource(pool, motion, options.camera)
        sources.append(ReplaySource(simulated, options.reuse))
    both = len(sources) == 2
    source = MixedSource(sources[0], sources[1], options.windows) if both else sources[0]
    return PrefetchSource(AugmentedSource(source, options.camera))


def augment(
    y: Tensor, x: Tensor, camera: CameraOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Shuffle the colour channels of each sample, add noise and compression to y.

    The paper (section 7) does the first two. Rotations and flips come before: of photos before
    they move, of windows where they are cut.

    Args:
        y: blurry images, (B, 3, H, W).
        x: frames, (B, 7, 3, H, W).
        camera: how much noise and compression.
        generator: source of randomness, on the device of y.
    """
    order = torch.rand(len(y), 3, generator=generator, device=y.device).argsort(dim=1)
    rows = torch.arange(len(y), device=y.device)[:, None]
    y, x = y[rows, order], x.transpose(1, 2)[rows, order].transpose(1, 2)
    return develop(y, camera, generator), x.contiguous()
