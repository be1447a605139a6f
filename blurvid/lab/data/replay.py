"""Windows shown again."""

from __future__ import annotations

import torch
from torch import Tensor

from blurvid.lab.data.supply import Batch, Source


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
        self.store: Batch = ()
        self.drawn = 0
        """Windows that were ever stored."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        if self.reuse < 2:
            return self.source.draw(batch, size, generator)
        fresh = max(1, batch // self.reuse) if self.drawn >= self.capacity else batch
        windows = self.source.draw(fresh, size, generator)
        self._put(windows)
        if fresh == batch:
            return windows
        device = generator.device
        picks = torch.randint(self.capacity, (batch - fresh,), generator=generator, device=device)
        pairs = zip(windows, self.store, strict=True)
        return tuple(torch.cat([new, _unpacked(old[picks.to(old.device)])]) for new, old in pairs)

    def _put(self, windows: Batch) -> None:
        """Store windows, the oldest giving way."""
        if not self.store:
            self.store = tuple(
                part.new_empty((self.capacity, *part.shape[1:]), dtype=_packed(part).dtype)
                for part in windows
            )
        count = len(windows[0])
        places = (self.drawn + torch.arange(count))[-self.capacity :] % self.capacity
        for old, new in zip(self.store, windows, strict=True):
            old[places.to(old.device)] = _packed(new[-self.capacity :])
        self.drawn += count

    def describe(self) -> str:
        return self.source.describe()


def _packed(part: Tensor) -> Tensor:
    """Images as levels; what is not RGB as it is."""
    return (part * 255).round().to(torch.uint8) if _is_image(part) else part


def _unpacked(part: Tensor) -> Tensor:
    return part.float() / 255 if _is_image(part) else part


def _is_image(part: Tensor) -> bool:
    return part.dim() > 3 and part.shape[-3] == 3
