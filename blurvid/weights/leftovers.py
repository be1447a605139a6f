"""What a process leaves that is killed while it puts a weight set in its place."""

from __future__ import annotations

import contextlib
import glob
import re
import secrets
import shutil
from pathlib import Path

from blurvid.errors import OutputError
from blurvid.locks import locked

PATIENCE = 60.0
"""Longest wait [s] for another process that puts a set in the same place."""
# A leading dot hides unfinished sets from the search.
_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.old)?", re.DOTALL)


def staging_beside(target: Path) -> tuple[Path, Path]:
    """Two hidden names beside the place of a set: for the new one, and for the one it replaces."""
    name = f".{target.name}.{secrets.token_hex(4)}"
    return target.with_name(name), target.with_name(f"{name}.old")


def lock_of(target: Path) -> Path:
    """Lock of the place of a set."""
    return target.with_name(f".{target.name}.lock")


def clear(target: Path) -> None:
    """Remove what is left beside the place of a set, whose lock is held.

    Where a kill came after the old set was moved away and before the new one took its place, the
    old one comes back.
    """
    with contextlib.suppress(OSError):
        for path in sorted(target.parent.glob(f".{glob.escape(target.name)}.*")):
            match = _NAME.fullmatch(path.name)
            if match is None or match[1] != target.name or not path.is_dir():
                continue
            if match[2] and not target.exists():
                path.rename(target)
            else:
                shutil.rmtree(path, ignore_errors=True)


def bring_back(root: Path) -> None:
    """Bring back the sets below a folder that were moved away for new ones that never came."""
    with contextlib.suppress(OSError, OutputError):
        for path in sorted(root.glob(".*.old")):
            match = _NAME.fullmatch(path.name)
            target = None if match is None else root / match[1]
            if target is not None and not target.exists():
                with locked(lock_of(target), target, PATIENCE):
                    clear(target)
