"""What a run tells of its progress."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TrainStep:
    """What a run reports every `log_every` steps; a line of its log."""

    step: int
    progress: float
    """Spent share of the budget, in [0, 1]."""
    seconds: float
    """Since the run began, earlier sessions of a resumed run included."""
    lr: float
    losses: dict[str, float]
    """Mean of each loss since the last report."""
    grad_norm: float
    samples_per_second: float
    data_share: float
    """Share of the time spent waiting for data."""


class Meter:
    """Means since the last report, added up on the device so that no step waits for another."""

    def __init__(self) -> None:
        self.steps, self.samples, self.waited = 0, 0, 0.0
        self.begun = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.norm: Tensor | float = 0.0

    def add(self, losses: dict[str, Tensor], norm: Tensor, samples: int) -> None:
        """Add a step: its losses, the norm of its gradient, its samples."""
        self.steps += 1
        self.samples += samples
        self.norm = self.norm + norm
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss

    def report(self, step: int, progress: float, seconds: float, lr: float) -> TrainStep:
        """Tell the means."""
        losses = {name: float(total) / self.steps for name, total in self.sums.items()}
        norm = float(self.norm) / self.steps
        passed = max(time.monotonic() - self.begun, 1e-9)  # after the sums, which synchronize
        rate = self.samples / passed
        return TrainStep(
            step=step,
            progress=round(progress, 6),
            seconds=round(seconds, 2),
            lr=lr,
            losses=losses,
            grad_norm=norm,
            samples_per_second=round(rate, 3),
            data_share=round(self.waited / passed, 4),
        )
