"""A folder of work in hand beside an output, from which a killed run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurvid.atomic import locked, remove_stale, replacing
from blurvid.errors import BlurvidError, OutputError, reason

_ABOUT = "run.json"
_LOG = "joints.jsonl"
_SEVEN = re.compile(r"(\d{6,})\.npy")


class Shelf:
    """Frames, numbers and pieces of video of a run, each there whole or not at all.

    Args:
        folder: where they are; use `Shelf.opened`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, target: Path, about: Mapping[str, Any], *, anew: bool = False
    ) -> Iterator[Shelf]:
        """Open the folder of an output, which no other process uses meanwhile.

        It is kept when the block is left, whatever the reason, until `remove`.

        Args:
            target: the output; the folder is beside it, hidden.
            about: what the results depend on, as plain values.
            anew: begin from the beginning.

        Yields:
            The shelf.

        Raises:
            OutputError: the folder cannot be made, holds the work of another run, or is in use.
        """
        folder = target.with_name(f".{target.name}.blurvid")
        plain = json.loads(json.dumps(about))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / "lock", target):
                remove_stale(folder)
                shelf = cls(folder)
                if anew:
                    shelf._empty()
                known = shelf._about()
                if known is None:
                    shelf._empty()
                    with replacing([folder / _ABOUT]) as (path,):
                        path.write_text(json.dumps(plain), encoding="utf-8")
                elif known != plain:
                    differing = ", ".join(
                        key for key in plain | known if plain.get(key) != known.get(key)
                    )
                    raise OutputError(
                        f"{target}: begun with other settings or another video ({differing}); "
                        "--overwrite begins anew"
                    )
                try:
                    yield shelf
                except BlurvidError:
                    if shelf.bare:  # what was asked for wrongly is not in the way of what is right
                        shelf.remove()
                    raise
        except OSError as error:
            raise OutputError(f"{target}: not written: {reason(error)}") from error

    def _about(self) -> dict[str, Any] | None:
        """What the work in the folder depends on; None if there is none."""
        try:
            found = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:  # not ours, or damaged: then nothing here can be trusted
            return {}
        return found if isinstance(found, dict) else {}

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "lock":
                path.unlink()

    def put(self, number: int, frames: NDArray[np.uint8]) -> None:
        """Keep the frames of one photo."""
        with replacing([self._place(number)]) as (path,):
            np.save(path, frames, allow_pickle=False)

    def get(self, number: int) -> NDArray[np.uint8] | None:
        """The frames of one photo; None if they are not here."""
        try:
            frames: NDArray[np.uint8] = np.load(self._place(number), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return frames

    def drop(self, number: int) -> None:
        """Forget the frames of all photos before this one."""
        for path in self.folder.iterdir():
            match = _SEVEN.fullmatch(path.name)
            if match is not None and int(match[1]) < number:
                path.unlink(missing_ok=True)

    def piece(self, number: int) -> Path:
        """Where a piece of video is, or will be."""
        return self.folder / f"piece-{number:06d}.mp4"

    @property
    def sound(self) -> Path:
        """Where the sound is, or will be."""
        return self.folder / "sound.mp4"

    def joints(self) -> Iterator[dict[str, Any]]:
        """What was noted before, in order; what a kill left half written is cut off."""
        path = self.folder / _LOG
        good = 0
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            for line in file:
                try:
                    note = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    note = None
                if not isinstance(note, dict):
                    break
                good += len(line)
                yield note
        if path.exists() and path.stat().st_size != good:
            os.truncate(path, good)

    def note(self, joint: Mapping[str, Any]) -> None:
        """Note something behind what was noted before; `joints` has been gone through."""
        with (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(joint) + "\n")

    @property
    def bare(self) -> bool:
        """Whether nothing was made yet that a later run could go on from."""
        return not any(
            path.suffix == ".npy" or path.match("piece-*") for path in self.folder.iterdir()
        )

    def remove(self) -> None:
        """Remove the folder with all that is in it: the output is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npy"
