"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurvid.errors import OutputError
from blurvid.media.text import reason


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
    token = secrets.token_hex(6)
    temporaries = [
        end.with_name(f".blurvid-{token}-{number}{end.suffix}") for number, end in enumerate(ends)
    ]
    try:
        for folder in dict.fromkeys(end.parent for end in ends):
            folder.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary, end in zip(temporaries, ends, strict=True):
            temporary.replace(end)
    except OSError as error:
        raise OutputError(f"{paths[0]}: not written: {_cause(error)}") from error
    finally:
        for temporary in temporaries:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _cause(error: OSError) -> str:
    """Cause of a failed write; making a folder where a file is says that it exists."""
    if isinstance(error, FileExistsError):
        return "a part of the path is a file, not a folder"
    return reason(error)
