"""Files that are there whole or not at all, locks on folders, and threads that can be stopped."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import platform
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
from filelock import FileLock, Timeout

from blurvid.errors import OutputError, reason

T = TypeVar("T")


def _host() -> str:
    """Name what process numbers are unique in: a host, or a container on it."""
    names = platform.node()
    with contextlib.suppress(OSError):
        names += os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path of a file
    return hashlib.sha256(names.encode("utf-8", "replace")).hexdigest()[:6]


_HOST = _host()
_PROCESS = secrets.token_hex(4)
_COUNT = itertools.count()
_TEMPORARY = re.compile(r"\.blurvid-([0-9a-f]{6})-(\d+)-([0-9a-f]{8})-\d+(\.\w+)?")
"""Names of temporary files: host, process number, a random name of the process, count. They are
hidden, and short whatever the name of the file in the end."""
LOCK_FILE = ".blurvid.lock"
"""Name of the lock of a whole folder."""
_LOCK = re.compile(r"\.blurvid(-[0-9a-f]{16})?\.lock")
"""Names of locks, which are left over when nobody holds them."""
STALE = 24 * 3600.0
"""Age [s] at which a temporary file is left over, whoever wrote it."""


@contextlib.contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give temporary paths to write, and rename them all when everything went well.

    Folders are made where missing. Whatever goes wrong, an interrupt included, the
    temporary files are removed and the old files at `paths`, if any, stay as they were.

    Args:
        paths: where the files shall be in the end; a link is followed, not replaced.

    Yields:
        One hidden path per file, in the same folder and with the same suffix. Files written
        there get the permissions of any new file.

    Raises:
        OutputError: a folder or file cannot be made, written or renamed.
    """
    ends = [path.resolve() if path.is_symlink() else path for path in paths]
    start = f".blurvid-{_HOST}-{os.getpid()}-{_PROCESS}-"
    temporaries = [end.with_name(f"{start}{next(_COUNT)}{end.suffix}") for end in ends]
    try:
        for folder in dict.fromkeys(end.parent for end in ends):
            folder.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary, end in zip(temporaries, ends, strict=True):
            temporary.replace(end)
    except OSError as error:
        raise OutputError(f"{paths[0]}: not written: {_cause(error)}") from error
    finally:
        _remove(temporaries)


def _remove(paths: Sequence[Path]) -> None:
    """Remove files that may be there, although an interrupt may come in between."""
    try:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    except BaseException:
        _remove(paths)
        raise


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files and locks that killed processes left in a folder.

    A file is left over when the process that wrote it has ended, which can be known on the same
    host only, or when it has not been written to for a day.

    Args:
        folder: where to look; it need not be there.

    Returns:
        The files that were removed.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match is None:
                if _LOCK.fullmatch(entry.name):
                    with contextlib.suppress(OutputError), locked(Path(entry.path), "", 0):
                        removed.append(Path(entry.path))  # as it is when it was held
                continue
            with contextlib.suppress(OSError, OverflowError):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE
                if old or (match[1] == _HOST and not _lives(int(match[2]), match[3])):
                    Path(entry.path).unlink()
                    removed.append(Path(entry.path))
    return removed


def _lives(number: int, process: str) -> bool:
    """Whether a process of this host may still be writing; where in doubt, it may."""
    return process == _PROCESS if number == os.getpid() else psutil.pid_exists(number)


def _cause(error: OSError) -> str:
    """Cause of a failed write; making a folder where a file is says that it exists."""
    if isinstance(error, FileExistsError):
        return "a part of the path is a file, not a folder"
    return reason(error)


@contextlib.contextmanager
def locked(path: Path, name: str | Path, patience: float = 0.25) -> Iterator[None]:
    """Hold a lock for the time of a block; no other process gets it meanwhile.

    The system holds it, not the file: that of a process which was killed does not keep anyone
    out. Where nothing can be written, nothing is locked; what is to be written next tells why.

    Args:
        path: the file to lock. It and its folder are made where missing, and removed in the end
            unless something else has come into that.
        name: what is locked, for the message.
        patience: how long to wait for another process [s]; one that only looks whether the lock
            is left over holds it for an instant.

    Raises:
        OutputError: another process holds it.
    """
    lock, made = FileLock(path, thread_local=False), False
    try:
        try:
            made = not path.parent.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(patience)
        except Timeout:
            text = f"{name}: another blurvid process is writing here; wait for its end"
            raise OutputError(text) from None
        except (OSError, ValueError, NotImplementedError):
            pass
        yield
    finally:
        if lock.is_locked:
            _remove([path])  # while it is held: who waits for it sees that, and makes another
        lock.release()
        if sys.platform == "win32":  # where files that someone has open stay
            _remove([path])
        if made:
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # only where it is empty


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
