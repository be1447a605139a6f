"""Causes of failure in words, always on one line."""

from __future__ import annotations

import errno

_PLAIN = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, not a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def reason(error: BaseException) -> str:
    """Say what an exception means, on one line and without the file's name."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.errno is not None:
        return _PLAIN.get(error.errno) or (error.strerror or type(error).__name__).lower()
    return " ".join(str(error).split()) or type(error).__name__
