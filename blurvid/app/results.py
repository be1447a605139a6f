"""What a piece of work has given, and the files that are made of it when they are asked for."""

from __future__ import annotations

import dataclasses
import threading
import zipfile
from pathlib import Path

from blurvid.pipeline import Clip
from blurvid.runtime import frames_on_disk

PLAYER = "html"
KINDS = {
    PLAYER: ".html",
    "mp4": ".mp4",
    "gif": ".gif",
    "webp": ".webp",
    "png": "_frames.zip",
    "wipe": "_wipe.mp4",
}
"""What can be had, and how its name ends."""


class Results:
    """Frames of a photo, kept on the disk.

    Args:
        clip: the frames.
        folder: where files of them lie.
        stem: what these are called.
    """

    def __init__(self, clip: Clip, folder: Path, stem: str) -> None:
        self._folder, self.stem = folder, stem
        self._writing = threading.Lock()
        self.warnings = clip.warnings
        self.verdict = clip.verdict
        self._clip = clip
        self.file(PLAYER)
        self._clip = _kept(clip)

    def file(self, kind: str) -> Path:
        """A file of the frames; made when it is asked for first.

        Args:
            kind: one of `KINDS`.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._folder / f"{self.stem}{KINDS[kind]}"
        with self._writing:
            if not path.exists():
                if kind == "png":
                    _zip_of_pictures(self._clip, path)
                else:
                    self._clip.save(path, compare="wipe" if kind == "wipe" else None)
        return path


def _kept(clip: Clip) -> Clip:
    """The same frames and photo in a file, with hardly anything of them in memory."""
    count, _, height, width = clip.tensor.shape
    room = frames_on_disk(height, width, count + 1)
    for index, frame in enumerate((*clip.tensor, clip.photo.pixels)):
        room[index] = frame
    photo = dataclasses.replace(clip.photo, pixels=room[count])
    return dataclasses.replace(
        clip, tensor=room[:count], photo=photo, seven=None, fitted=None, trusted=None
    )


def _zip_of_pictures(clip: Clip, path: Path) -> None:
    """All frames in one file, as a browser saves one at a time."""
    folder = path.with_suffix("")
    stem = path.name.removesuffix(KINDS["png"])
    written = clip.save(folder, kind="png", stem=stem)
    with zipfile.ZipFile(path, "x") as bundle:  # PNG files are as small as they get
        for file in written:
            bundle.write(file, file.name)
            file.unlink()
    folder.rmdir()
