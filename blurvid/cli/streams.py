"""One file on standard output, as `-o -`; a video on standard input, as `-`."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from blurvid.config import FORMATS, FRAME_FORMATS, Output
from blurvid.errors import BlurvidError
from blurvid.files import START, starts_as
from blurvid.targets import still_suffix


@contextlib.contextmanager
def standard_output(output: Output, single: bool, as_json: bool) -> Iterator[Output]:
    """Let a block write to a file, and put it on standard output once it is whole.

    Args:
        output: what was asked for.
        single: it is the middle frame alone.
        as_json: records are wanted on standard output.

    Yields:
        The same with a temporary file.

    Raises:
        click.UsageError: standard output cannot be had.
    """
    kinds = FRAME_FORMATS if single else [kind for kind in FORMATS if kind not in FRAME_FORMATS]
    if output.kind is None or output.kind not in kinds:
        raise click.UsageError(f"-o - is one file: choose --format {', '.join(kinds)}")
    if as_json:
        raise click.UsageError("-o - and --json both mean standard output")
    if sys.stdout.isatty():
        raise click.UsageError("-o - writes no picture to a terminal; name a file")
    with tempfile.TemporaryDirectory(prefix="blurvid-") as folder:
        target = Path(folder, f"-{still_suffix(output.kind)}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where the name of the file would go
                yield replace(output, path=target)
        except BlurvidError as error:
            raise type(error)(str(error).replace(str(target), "-o -")) from error
        with target.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def video_on_standard_input() -> Path | None:
    """Standard input as a file for the time of the command, if it is a video.

    A video is read more than once. A photo stays where it is.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be none
        stream: Any = sys.stdin.buffer
        if stream.isatty() or starts_as(stream.peek(START)) != "video":
            return None
        folder = tempfile.TemporaryDirectory(prefix="blurvid-")
        click.get_current_context().call_on_close(folder.cleanup)
        path = Path(folder.name) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(path, (0, 0))  # the same for a run that goes on with the work of a killed one
        return path
    return None
