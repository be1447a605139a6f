"""A wish to stop, which threads look at between two pieces of their work."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_thread = threading.local()


class Stopped(BaseException):
    """Ends what a thread is doing; no handler of errors takes it for one."""


def heed(wish: threading.Event) -> None:
    """Let this thread be stopped by an event, from now on."""
    _thread.wish = wish


def stoppable(items: Iterable[T]) -> Iterator[T]:
    """Go through items, as long as this thread is not to stop.

    Raises:
        Stopped: the event that this thread heeds is set.
    """
    wish = getattr(_thread, "wish", None)
    for item in items:
        if wish is not None and wish.is_set():
            raise Stopped
        yield item
