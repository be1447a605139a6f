"""The ffmpeg program that comes with imageio-ffmpeg."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import IO

import imageio_ffmpeg

QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")
"""Options before all others: no banner, no keyboard, only errors on stderr."""


def program() -> str:
    """Path of the ffmpeg program.

    Raises:
        RuntimeError: there is none for this platform.
    """
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def environment() -> dict[str, str]:
    """The environment to run ffmpeg in: this one, less what makes it write or say other things."""
    unwanted = ("FFREPORT", "AV_LOG_FORCE_COLOR", "AV_LOG_FORCE_NOCOLOR", "AV_LOG_FORCE_256COLOR")
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return kept | {"AV_LOG_FORCE_NOCOLOR": "1"}


def as_url(path: Path) -> str:
    """Name a file so that no character of it (`-`, `:`, `%`) means anything to ffmpeg."""
    return f"file:{path.absolute()}"


def cause(code: int, log: IO[bytes]) -> str:
    """Why it failed: the signal that ended it (SIGKILL for want of memory), or its last words."""
    if code < 0:
        with contextlib.suppress(ValueError):  # a signal without a name
            return f"ended by {signal.Signals(-code).name}"
    return last_line(log)


def last_line(log: IO[bytes]) -> str:
    """Last line that ffmpeg wrote, without the address of the object that spoke."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    line = next((line for line in reversed(lines) if line), "it said nothing")
    return line.partition("] ")[2] if line.startswith("[") and "] " in line else line
