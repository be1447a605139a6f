"""How much memory there is, and what says that there is too little."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path

import psutil
import torch

from blurvid.config import FREE_SHARE, RunOptions
from blurvid.errors import DeviceError

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of this process's control group."""


class memory_guard:  # noqa: N801, used as a function
    """Turn a lack of memory inside a block into a `DeviceError`."""

    # Not made of a generator, which from Python 3.12 on keeps what the block had in its hands.
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and lacks_memory(error):
            raise DeviceError(f"{self.device} ran out of memory") from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory."""
    # The CPU allocator and Python's locks ("can't allocate read lock") have no exception class of
    # their own, and a digest that OpenSSL finds no memory for ends in a ValueError that says this.
    allocator = isinstance(error, RuntimeError) and "can't allocate" in str(error)
    digest = isinstance(error, ValueError) and str(error) == "no reason supplied"
    return allocator or digest or isinstance(error, torch.OutOfMemoryError | MemoryError)


def room(device: torch.device, max_memory: int | None = None) -> int:
    """How much more memory may be taken on a device [bytes].

    Args:
        device: where.
        max_memory: most in all, of a GPU or of this process; None takes `FREE_SHARE` of what
            is free.

    Returns:
        At least 0.
    """
    free: float
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - used
    else:
        used = psutil.Process().memory_info().rss
        free = min(psutil.virtual_memory().available, _left_in_group())
    left = FREE_SHARE * free if max_memory is None else min(max_memory - used, free)
    return max(0, int(left))


def with_share(options: RunOptions, share: float) -> RunOptions:
    """Limit this process to a share of the memory that is free, as others take theirs of it.

    Args:
        options: those of a process on a CPU.
        share: up to 1.
    """
    most = psutil.Process().memory_info().rss + int(share * room(torch.device("cpu")))
    return dataclasses.replace(options, max_memory=most)


def _left_in_group() -> float:
    """Memory left to this process's control group, as containers have one [bytes]."""
    for limit, usage, details in (
        ("memory.max", "memory.current", "memory.stat"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
        ),
    ):
        with contextlib.suppress(OSError, ValueError):  # no limit is the word `max`
            most, used = (int((CONTROL_GROUP / name).read_text()) for name in (limit, usage))
            return most - used + _file_cache(CONTROL_GROUP / details)
    return math.inf


def _file_cache(path: Path) -> int:
    """What a control group's usage holds of files read or written; it goes when needed [bytes]."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        return sum(int(size) for name, size in lines if name in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return 0
