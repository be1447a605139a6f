"""A sheet of training samples, to look at before hours are spent on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from blurvid import media, runtime
from blurvid.config import MIDDLE, RunOptions
from blurvid.lab.data import Source
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.settings import check_options, crop_of

COLUMNS = 2
"""Samples beside each other."""
GAP = 4
"""White pixels between samples."""


def preview(
    options: TrainOptions,
    source: Callable[[torch.device], Source],
    path: Path,
    *,
    samples: int = 12,
    run: RunOptions = RunOptions(),
    overwrite: bool = False,
) -> None:
    """Write samples as a run would see them: y, then the frames 1, 4 and 7, side by side.

    Args:
        options: the run.
        source: makes the source of training windows on a device.
        path: a PNG file.
        samples: how many.
        run: device.
        overwrite: replace an existing file.

    Raises:
        InputError, OptionError, OutputError, DeviceError: as their names say.
    """
    check_options(options)
    with runtime.running(run) as (device, _):
        generator = torch.Generator(device).manual_seed(options.seed)
        drawn, rows = source(device), list[Tensor]()
        while len(rows) < samples:
            y, x, *_ = drawn.draw(min(options.batch, samples), crop_of(options), generator)
            rows += torch.cat([y, x[:, 0], x[:, MIDDLE - 1], x[:, -1]], dim=-1).unbind()
    media.write_still(media.sheet(rows[:samples], COLUMNS, GAP), path, overwrite=overwrite)
