"""Windows shown again."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from blurvid.lab.data.supply import Batch, Source, check_generator

_MOST = 2**20
"""Counts and sizes beyond are not believed."""


class ReplaySource:
    """Show each window of another source several times, among older and newer ones.

    Rendering costs about as much as a training step of a small network; a store of recent
    windows halves that at hardly any loss of variety. What a checkpoint keeps of the store is how
    each window was drawn (a few KB instead of some MB); a run that goes on draws them anew.

    Args:
        source: where new windows come from; they depend on the generator only.
        reuse: how often a window is shown on average.
        capacity: windows in store.
    """

    def __init__(self, source: Source, reuse: int, capacity: int = 256) -> None:
        self.source, self.reuse, self.capacity = source, reuse, capacity
        self.store: Batch | None = None
        self.next = 0
        self.drawn: deque[tuple[Tensor, int]] = deque()
        """Of the windows in store: states of the generator, and how many were drawn with each."""
        self.size = 0
        self.due = False
        """Whether the store is to be drawn anew."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        if self.reuse < 2:
            return self.source.draw(batch, size, generator)
        if self.due:
            self._restore(generator.device)
        self.size = size
        full = self.store is not None and len(self.store[0]) == self.capacity
        fresh = max(1, batch // self.reuse) if full else batch
        self.drawn.append((generator.get_state(), fresh))
        while sum(count for _, count in self.drawn) - self.drawn[0][1] >= self.capacity:
            self.drawn.popleft()
        windows = self.source.draw(fresh, size, generator)
        self._put(tuple(map(_packed, windows)))
        assert self.store is not None
        if fresh == batch:
            return windows
        count = len(self.store[0])
        picks = torch.randint(count, (batch - fresh,), generator=generator, device=generator.device)
        pairs = zip(windows, self.store, strict=True)
        return tuple(torch.cat([new, _unpacked(old[picks.to(old.device)])]) for new, old in pairs)

    def state(self) -> Any:
        return {
            "states": [state for state, _ in self.drawn],
            "counts": [count for _, count in self.drawn],
            "size": self.size,
            "next": self.next,
        }

    def resume(self, state: Any) -> None:
        rows, counts = list(state["states"]), list(state["counts"])
        size, place = state["size"], state["next"]
        numbers = [*counts, size, place]
        if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
            raise ValueError("not the state of a store of windows")
        for row in rows:
            check_generator(row)
        self.drawn = deque(zip(rows, counts, strict=True))
        if sum(counts[1:]) >= self.capacity:
            raise ValueError("more windows than a store holds")
        self.size, self.next, self.due = size, place % self.capacity, bool(rows)

    def _restore(self, device: torch.device) -> None:
        """Draw the windows in store as they were drawn before."""
        again = torch.Generator(device)
        drawn = []
        for state, count in self.drawn:
            again.set_state(state)
            drawn.append(tuple(map(_packed, self.source.draw(count, self.size, again))))
        parts = (torch.cat(part)[-self.capacity :] for part in zip(*drawn, strict=True))
        # The newest lies before the place that is written next.
        self.store = tuple(
            part.roll(self.next, 0) if len(part) == self.capacity else part for part in parts
        )
        self.due = False

    def _put(self, windows: Batch) -> None:
        """Store windows, the oldest giving way."""
        store = self.store or tuple(part[:0] for part in windows)
        room = self.capacity - len(store[0])
        late = len(windows[0][room:][-self.capacity :])
        places = (self.next + torch.arange(late)) % self.capacity
        kept = []
        for old, new in zip(store, windows, strict=True):
            part = torch.cat([old, new[:room]]) if room else old
            if late:
                part[places.to(part.device)] = new[-late:]
            kept.append(part)
        self.store = tuple(kept)
        self.next = (self.next + late) % self.capacity

    def describe(self) -> str:
        return self.source.describe()


def _packed(part: Tensor) -> Tensor:
    """Images as levels; what is not RGB as it is."""
    return (part * 255).round().to(torch.uint8) if _is_image(part) else part


def _unpacked(part: Tensor) -> Tensor:
    return part.float() / 255 if _is_image(part) else part


def _is_image(part: Tensor) -> bool:
    return part.dim() > 3 and part.shape[-3] == 3
