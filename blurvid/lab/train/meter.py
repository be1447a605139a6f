"""What a run tells of its progress, and the files that hold it, one JSON object a line."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from blurvid.errors import OutputError
from blurvid.media import replacing


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


def append(record: dict[str, Any], path: Path) -> None:
    """Add a line.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the log ({error.strerror})") from error


def cut(path: Path, step: int) -> None:
    """Drop the lines of steps after one, which will be taken again.

    Raises:
        OutputError: it cannot be read.
    """
    if not path.exists():
        return
    kept = []
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise OutputError(f"{path}: cannot read the log ({error.strerror})") from error
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut short by the end of the earlier session
    with replacing([path]) as (temporary,):
        temporary.write_text("".join(kept))
