"""One process at a time: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from blurvid.errors import OutputError

LOCK_FILE = ".blurvid.lock"
"""Name of the lock of a whole folder."""


@contextlib.contextmanager
def locked(path: Path, name: str | Path, patience: float = 0.25) -> Iterator[None]:
    """Hold a lock for the time of a block; no other process gets it meanwhile.

    The system holds it, not the file: that of a process which was killed does not keep anyone
    out. Where nothing can be written, nothing is locked; what is to be written next tells why.

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
    lock = FileLock(path, thread_local=False)
    try:
        try:
            lock.acquire(patience)
        except Timeout:
            text = f"{name}: another blurvid process is writing here; wait for its end"
            raise OutputError(text) from None
        except (OSError, ValueError, NotImplementedError):
            pass
        except BaseException:  # an interrupt, which may have come when the file was there already
            remove_free(path)
            raise
        yield
    finally:
        if lock.is_locked:
            _remove(lock, path)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where it is empty


def remove_free(path: Path) -> bool:
    """Remove a lock that nobody holds, as killed processes leave them; whether it was one."""
    lock = FileLock(path, thread_local=False)
    with contextlib.suppress(OSError, Timeout, NotImplementedError):
        lock.acquire(0)
        _remove(lock, path)
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


def _remove(lock: FileLock, path: Path) -> None:
    """Give a lock up, and remove its file."""
    try:
        # While it is held: who waits for it sees that the file is gone, and makes another.
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
    except OSError:
        pass  # the folder may be gone, too
    except BaseException:  # an interrupt just before
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    finally:
        lock.release()
    if sys.platform == "win32":  # where files that someone has open stay
        with contextlib.suppress(OSError):
            path.unlink()
