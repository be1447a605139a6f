"""Processors and threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from blurvid.config import MOST_THREADS
from blurvid.errors import OptionError


def processors() -> int:
    """How many processors this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return (len(may_use(0)) if may_use else os.cpu_count()) or 1


def check_threads(count: int, what: str, least: int = 1) -> None:
    """Refuse a number of threads or processes that makes no sense.

    Args:
        count: how many.
        what: they are, for the message.
        least: how many there must be.

    Raises:
        OptionError: fewer, or more than `MOST_THREADS`.
    """
    if not least <= count <= MOST_THREADS:
        raise OptionError(f"{count} {what}; {least} to {MOST_THREADS} are possible")


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
