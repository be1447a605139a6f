"""The ffmpeg program that comes with imageio-ffmpeg."""

from __future__ import annotations

import _thread
import contextlib
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from blurvid.interrupts import UNBROKEN

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


class Program:
    """A program that has ended when the block has, wherever an interrupt hits this thread.

    One that was lost while it began would write its file after that was removed. So it is started
    by another thread, which no interrupt reaches, and only as long as it is wanted. What the two
    share is made of C: a Ctrl-C cannot break it off in the middle, with a lock held. For the
    same reason nothing has begun when the block is entered.

    Args:
        command: the program and its arguments.
        stdin: as for `subprocess.Popen`; like the others.
        stdout: where results go.
        stderr: where words go.
    """

    def __init__(
        self,
        command: list[str],
        *,
        stdin: int | IO[bytes],
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
    ) -> None:
        self._command = command
        self._streams = stdin, stdout, stderr
        self._lock = threading.Lock()
        self._wanted = True
        self._programs: list[subprocess.Popen[bytes]] = []
        self._told: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it, once.

        Raises:
            OSError: it cannot be started.
        """
        with UNBROKEN:
            # A `Thread` would wait for its start with locks in hand.
            _thread.start_new_thread(self._start, ())
            problem = self._told.get()
        if problem is not None:
            raise problem
        return self._programs[0]

    def _start(self) -> None:
        problem = None
        try:
            with self._lock:
                if self._wanted:
                    stdin, stdout, stderr = self._streams
                    self._programs.append(
                        subprocess.Popen(
                            self._command,
                            stdin=stdin,
                            stdout=stdout,
                            stderr=stderr,
                            env=environment(),
                        )
                    )
        except BaseException as error:  # for the thread that asked
            problem = error
        self._told.put(problem)

    def end(self) -> None:
        """End it, whatever it is doing; it cannot begin any more."""
        with self._lock:
            self._wanted = False
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            for stream in (program.stdin, program.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            program.wait()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            self.end()  # an interrupt may have broken off the first


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
