"""Breaking off what another thread is doing, except where it must not be."""

from __future__ import annotations

import ctypes
import threading

UNBROKEN = threading.Lock()
"""Held where a thread must not be broken off; shortly, and by whoever needs it: no second one is
broken off meanwhile."""


def break_off(thread: threading.Thread, exception: type[BaseException]) -> None:
    """Raise an exception in a thread, wherever it is in Python.

    Args:
        thread: one that has started; nothing happens where it has ended.
        exception: its class.
    """
    # A thread that begins has the number of the one that starts it for a moment (before Python
    # 3.12), and would be hit instead.
    with UNBROKEN:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(exception)
        )
