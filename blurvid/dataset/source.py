"""Where training windows come from, and what is done to them before a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from blurvid.config import MotionOptions, TrainOptions
from blurvid.dataset.pool import WindowSource
from blurvid.dataset.stills import StillPool, read_stills
from blurvid.dataset.windows import is_window_folder, read_windows
from blurvid.errors import InputError


class Source(Protocol):
    """An endless supply of training windows."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw y (B, 3, S, S) and x (B, 7, 3, S, S), RGB in [0, 1], on the device."""

    def describe(self) -> str:
        """Say in a few words what the windows are made of, for the model card."""


class SimulatedSource:
    """Windows simulated from stills.

    Args:
        pool: the stills.
        motion: how they move.
    """

    def __init__(self, pool: StillPool, motion: MotionOptions) -> None:
        self.pool, self.motion = pool, motion

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rendered = self.pool.render(batch, size, self.motion, generator)
        return rendered.blurry, rendered.frames

    def describe(self) -> str:
        return f"simulated motion of {len(self.pool)} still photos"


class ReplaySource:
    """Show each window of another source several times, among older and newer ones.

    Rendering costs about as much as a training step of a small network; a store of recent
    windows halves that at hardly any loss of variety.

    Args:
        source: where new windows come from.
        reuse: how often a window is shown on average.
        capacity: windows in store.
    """

    def __init__(self, source: Source, reuse: int, capacity: int = 256) -> None:
        self.source, self.reuse, self.capacity = source, reuse, capacity
        self.store: Tensor | None = None  # (N, 8, 3, S, S) uint8: y, then the seven frames
        self.next = 0

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.reuse < 2:
            return self.source.draw(batch, size, generator)
        full = self.store is not None and len(self.store) == self.capacity
        fresh = max(1, batch // self.reuse) if full else batch
        y, x = self.source.draw(fresh, size, generator)
        windows = torch.cat([y.unsqueeze(1), x], dim=1)
        self._put((windows * 255).round().to(torch.uint8))
        assert self.store is not None
        if fresh < batch:
            picks = torch.randint(
                len(self.store), (batch - fresh,), generator=generator, device=y.device
            )
            windows = torch.cat([windows, self.store[picks].to(y.dtype) / 255])
        return windows[:, 0], windows[:, 1:]

    def _put(self, windows: Tensor) -> None:
        """Store windows, the oldest giving way."""
        if self.store is None:
            self.store = windows[:0]
        room = self.capacity - len(self.store)
        self.store = torch.cat([self.store, windows[:room]])
        for window in windows[max(room, 0) :]:
            self.store[self.next] = window
            self.next = (self.next + 1) % self.capacity

    def describe(self) -> str:
        return self.source.describe()


class PrefetchSource:
    """Draw the next batch in a thread while the network works on this one.

    Batches come in the same order and with the same content whatever the timing; they are drawn
    with a generator of their own, seeded by the first draw.

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
        self.pending: tuple[tuple[int, int], Future[tuple[Tensor, Tensor]]] | None = None

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.generator is None:
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            self.generator = torch.Generator(generator.device).manual_seed(int(seed))
        own, wanted = self.generator, (batch, size)
        pending = self.pending
        if pending is None or pending[0] != wanted:
            pending = (wanted, self.worker.submit(self.source.draw, *wanted, own))
        result = pending[1].result()
        self.pending = (wanted, self.worker.submit(self.source.draw, *wanted, own))
        return result

    def describe(self) -> str:
        return self.source.describe()


class MixedSource:
    """Whole batches from one of several sources, each as often as the others."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draw = torch.rand(1, generator=generator, device=generator.device).item()
        return self.sources[int(draw * len(self.sources))].draw(batch, size, generator)

    def describe(self) -> str:
        return "; ".join(source.describe() for source in self.sources)


def open_source(data: Sequence[Path], options: TrainOptions, device: torch.device) -> Source:
    """Open what a run is to be trained on.

    Args:
        data: folders of windows (made by `blurvid synth`), which are taken as they are; and
            sharp photos (files, folders, tar archives), which are blurred by simulated motion.
        options: the run.
        device: where the windows are wanted.

    Raises:
        InputError: nothing usable, or something unreadable.
    """
    order: Literal["canonical", "random"] = (
        "canonical" if options.order == "canonical" else "random"
    )
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
        simulated = SimulatedSource(StillPool(list(read_stills(stills)), device), motion)
        sources.append(ReplaySource(simulated, options.reuse))
    return PrefetchSource(sources[0] if len(sources) == 1 else MixedSource(sources))


def augment(
    y: Tensor, x: Tensor, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Shuffle the colour channels of each sample and add noise to y (paper, section 7).

    Rotations and flips come before: of photos before they move, of windows where they are cut.

    Args:
        y: blurry images, (B, 3, H, W).
        x: frames, (B, 7, 3, H, W).
        noise: standard deviation of the noise, for values in [0, 1].
        generator: source of randomness, on the device of y.
    """
    order = torch.rand(len(y), 3, generator=generator, device=y.device).argsort(dim=1)
    rows = torch.arange(len(y), device=y.device)[:, None]
    y, x = y[rows, order], x.transpose(1, 2)[rows, order].transpose(1, 2)
    if noise:
        y = y + noise * torch.randn(y.shape, generator=generator, device=y.device)
        y = y.clamp(0, 1)
    return y, x.contiguous()
