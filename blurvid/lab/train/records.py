"""Files of one JSON object a line: the log of a run, and its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blurvid.errors import OutputError
from blurvid.media import replacing


def append(record: dict[str, Any], path: Path) -> None:
    """Add a line.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the log ({error.strerror})") from error


def cut(path: Path, step: int) -> None:
    """Drop the lines of steps after one, which will be taken again.

    Raises:
        OutputError: it cannot be read.
    """
    if not path.exists():
        return
    kept = []
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise OutputError(f"{path}: cannot read the log ({error.strerror})") from error
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut short by the end of the earlier session
    with replacing([path]) as (temporary,):
        temporary.write_text("".join(kept))
