"""Processes that `torchrun` started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes when started by `torchrun`; otherwise do nothing.

    Args:
        device: the device asked for; with CUDA each process takes the one of its local rank.

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # Not every build of torch has them.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    # A static rendezvous keeps its store over restarts, with the addresses of processes that ended.
    store, rank, world = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"attempt_{attempt}", store),
        rank=rank,
        world_size=world,
    )
    try:
        yield device
    finally:
        dist.destroy_process_group()
