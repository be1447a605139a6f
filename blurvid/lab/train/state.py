"""What a run keeps: schedule, averaged weights, checkpoints that survive a kill, and logs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurvid.errors import InputError, OutputError, first_line
from blurvid.lab.data.windows import MALFORMED
from blurvid.lab.options import TrainOptions
from blurvid.media import replacing
from blurvid.weights.pickles import load_plain

DAMAGED = (RuntimeError, *MALFORMED)
"""What checkpoints raise whose values are not of the kinds that `Trainer.state` gives them."""

TensorList = tuple[Tensor, ...] | list[Tensor]


def learning_rate(progress: float, options: TrainOptions) -> float:
    """Warm up linearly, then follow half a cosine down to `lr_end`.

    Args:
        progress: spent share of the budget, in [0, 1].
        options: the run.
    """
    if progress < options.warmup:
        return options.lr * progress / options.warmup
    share = (min(progress, 1.0) - options.warmup) / max(1 - options.warmup, 1e-9)
    return options.lr_end + (options.lr - options.lr_end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class RampedAverage:
    """Exponential moving average whose memory grows with the run, up to `decay`.

    For `torch.optim.swa_utils.AveragedModel`; without the ramp the first steps of a short run
    would weigh as much as its end.
    """

    decay: float

    def __call__(self, averaged: TensorList, current: TensorList, count: Tensor | int) -> None:
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing([path]) as (temporary,), temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch has no other for a disk that is full
        _raise_interrupt(error)
        raise OutputError(f"{path}: cannot write the checkpoint ({error})") from error


def _raise_interrupt(error: BaseException) -> None:
    """Raise the interrupt that came while torch was writing; torch ends with an error of its own.

    Raises:
        KeyboardInterrupt, SystemExit: what the error came after.
    """
    before = error.__context__
    while before is not None:
        if isinstance(before, KeyboardInterrupt | SystemExit):
            raise before from None
        before = before.__context__


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by `save_state`, executing nothing.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with path.open("rb") as file:
            state = load_plain(file)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint") from error
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise InputError(f"{path}: cannot read this checkpoint ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path}: not a checkpoint")
    return state


def load_moments(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take the moments of the gradients from a checkpoint; settings stay those of the run.

    Raises:
        ValueError, LookupError, TypeError: not the state of an optimizer of these parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        for key, value in optimizer.state.get(parameter, {}).items():
            shape = parameter.shape if key.startswith("exp_avg") else torch.Size()
            if not isinstance(value, Tensor) or value.shape != shape:
                raise ValueError(f"{key} of the optimizer does not fit")


def append(record: dict[str, Any], path: Path) -> None:
    """Add a line to a log, which has one JSON object each.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the log ({error.strerror})") from error


def cut(path: Path, step: int) -> None:
    """Drop the lines of a log after a step; what follows will be done again.

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
