"""One process at a time: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from blurvid.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".blurvid.lock"
"""Name of the lock of a whole folder."""
_TICK = 0.05
"""Wait [s] between two looks at a lock that another process holds."""
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def locked(path: Path, name: str | Path, patience: float = 0.25) -> Iterator[None]:
    """Hold a lock for the time of a block; no other process gets it meanwhile.

    The system holds it, not the file: that of a process which was killed does not keep anyone
    out. Where a file system has no locks, or nothing can be written, nothing is locked; what is
    to be written next then tells why.

    Args:
        path: the file to lock. It and folders that are missing are made, and removed in the end
            unless something else has come into them.
        name: what is locked, for the message.
        patience: how long to wait for another process [s]; one that only looks whether the lock
            is left over holds it for an instant.

    Raises:
        OutputError: another process holds it.
    """
    made = _make_folders(path.parent)
    try:
        handle = _acquired(path, name, patience)
        try:
            yield
        finally:
            if handle is not None:
                try:
                    _remove(handle, path)
                finally:  # an interrupt may have broken off the first
                    _release(handle, path)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where it is empty


def remove_free(path: Path) -> bool:
    """Remove a lock that nobody holds, as killed processes leave them; whether it was one."""
    with contextlib.suppress(OSError):
        handle = _try(path, os.O_RDWR)
        if handle is not None:
            _release(handle, path)
            return True
    return False


def _make_folders(folder: Path) -> list[Path]:
    """Make folders that are missing; which, from the innermost."""
    missing = []
    with contextlib.suppress(OSError, ValueError):
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
    return missing


def _acquired(path: Path, name: str | Path, patience: float) -> int | None:
    """Get a lock; its handle, or None where there are no locks."""
    end = time.monotonic() + patience
    while True:
        try:
            handle = _try(path, os.O_RDWR | os.O_CREAT)
        except (OSError, ValueError):
            return None
        if handle is not None:
            return handle
        if time.monotonic() >= end:
            raise OutputError(f"{name}: another blurvid process is writing here; wait for its end")
        time.sleep(_TICK)


def _try(path: Path, flags: int) -> int | None:
    """Get a lock if it is free; its handle, or None.

    Raises:
        OSError: there are no locks here.
    """
    while True:
        # A link may lead anywhere; the number is not for programs that are started meanwhile.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        handle = os.open(path, flags, 0o666)
        try:
            _lock(handle)
            with contextlib.suppress(FileNotFoundError):
                if _is_at(handle, path):
                    return handle
        except OSError as error:
            os.close(handle)
            if error.errno in _BUSY:
                return None
            raise
        os.close(handle)  # whoever held it before has removed the file since it was opened


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _release(handle: int, path: Path) -> None:
    """Give a lock up, and remove its file."""
    try:
        _remove(handle, path)
    finally:
        os.close(handle)
    if sys.platform == "win32":  # where files that someone has open stay
        with contextlib.suppress(OSError):
            path.unlink()


def _remove(handle: int, path: Path) -> None:
    """Remove the file of a lock that is held; one that another process made since then stays."""
    with contextlib.suppress(OSError):
        if sys.platform != "win32" and _is_at(handle, path):
            path.unlink()


def _is_at(handle: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
