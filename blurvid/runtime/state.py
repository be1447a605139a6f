"""What a run sets of torch's global state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from blurvid.config import RunOptions
from blurvid.runtime.cores import check_threads
from blurvid.runtime.devices import resolve_device
from blurvid.runtime.memory import memory_guard
from blurvid.runtime.precision import resolve_precision


@contextlib.contextmanager
def running(options: RunOptions) -> Iterator[tuple[torch.device, torch.dtype]]:
    """Apply thread and device choices for the time of a block.

    Yields:
        The device and the precision of the features.

    Raises:
        DeviceError: the device is not there, or runs out of memory inside the block.
    """
    device = resolve_device(options.device)
    dtype = resolve_precision(options.precision, device)
    before = torch.get_num_threads()
    if options.threads is not None:
        check_threads(options.threads, "CPU threads")
        torch.set_num_threads(options.threads)
    try:
        with memory_guard(device):
            yield device, dtype
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def torch_version() -> str:
    """Version of torch, such as `2.13.0+cpu`."""
    return str(torch.__version__)
