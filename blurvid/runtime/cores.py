"""Processors and threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


def processors() -> int:
    """How many processors this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return (len(may_use(0)) if may_use else os.cpu_count()) or 1


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Make threads in each of which torch takes one thread, so that results do not depend on it.

    A new thread would take all cores, and what several add up may differ in the last digit.
    """
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Use one CPU thread inside a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads() -> int:
    """CPU threads that torch uses."""
    return torch.get_num_threads()
