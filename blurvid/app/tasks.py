"""A photo that was brought, what is asked for of it, and what it has given."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import unicodedata
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from blurvid import media
from blurvid.atomic import Stopped
from blurvid.bounds import Bounds, made
from blurvid.config import (
    FRAMES,
    LEAST_FRAMES,
    MODELS,
    MOST_FRAMES,
    QUALITIES,
)
from blurvid.errors import InputError, OptionError
from blurvid.media import Box
from blurvid.pipeline import Clip
from blurvid.pipeline.sizes import frames_on_disk
from blurvid.recipe import Recipe, resolve

LONGEST_NAME = 100
"""Letters of a file's name that are kept."""
SMALLEST_PART = 32
"""Shortest side of a part that is worked on by itself [px]."""
_KNOWN = 0.04
"""Share of the work after which its pace tells the time that is left."""


@dataclass(frozen=True)
class Asked:
    """What is asked for of a photo."""

    model: str = "auto"
    quality: Literal["fast", "good", "best"] = "fast"
    direction: str = "auto"
    frames: Annotated[int, Bounds(LEAST_FRAMES, MOST_FRAMES)] = FRAMES
    part: tuple[int, int, int, int] | None = None
    """Left, top, width, height [px of the upright photo] of what is worked on; None is all."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Asked:
        """Take what a page sends.

        Raises:
            OptionError: a value that means nothing.
        """
        sent = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        with contextlib.suppress(KeyError, TypeError, ValueError):
            sent["frames"] = int(sent["frames"])  # of an address it is text
        found = made(cls, sent)
        left, top, wide, high = found.part or (0, 0, SMALLEST_PART, SMALLEST_PART)
        if min(left, top) < 0 or min(wide, high) < SMALLEST_PART:
            raise OptionError(f"a part has at least {SMALLEST_PART} pixels a side")
        if found.model not in ("auto", *MODELS):
            raise OptionError(f"{found.model!r} is none of auto, {', '.join(MODELS)}")
        found.recipe()
        return found

    def recipe(self, precision: str = "auto") -> Recipe:
        """The same as the command takes it.

        Raises:
            OptionError: a value is out of range.
            WeightsError: there are no weights.
        """
        return resolve(
            model=self.model,
            passes=QUALITIES[self.quality],
            direction=self.direction,
            frames=self.frames,
            precision=precision,
        )


@dataclass(frozen=True)
class Picture:
    """A photo that was brought, and what the page shows of it."""

    number: int
    name: str
    path: Path
    preview: Path
    width: int
    height: int

    def read(self, part: tuple[int, int, int, int] | None) -> media.Photo:
        """Open it, or a part of it."""
        photo = media.read_photo(self.path, self.name)
        if part is None:
            return photo
        left, top, wide, high = part
        return media.cropped(photo, Box(top, top + high, left, left + wide))


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


@dataclass(eq=False)
class Task:
    """One piece of work: frames of a photo, or of a part of it."""

    number: int
    picture: Picture
    asked: Asked
    state: str = "waiting"
    """`waiting`, `working`, `done` or `failed`."""
    stage: str = ""
    share: float = 0.0
    error: str = ""
    began: float = 0.0
    seconds: float = 0.0
    results: Results | None = None
    wish: threading.Event = field(default_factory=threading.Event)
    """Set when it is to end early."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is worked on [px]."""
        part = self.asked.part
        return part[2:] if part else (self.picture.width, self.picture.height)

    def tell(self, stage: str, share: float) -> None:
        """Note how far the work is; the place where it ends early."""
        if self.wish.is_set():
            raise Stopped
        self.stage, self.share = stage, share

    def left(self, pace: float | None) -> float | None:
        """Time left [s], where it can be told.

        Args:
            pace: time that a pixel took in work of the same kind [s].
        """
        if self.state not in ("waiting", "working"):
            return None
        spent = time.monotonic() - self.began if self.state == "working" else 0.0
        if self.share > _KNOWN:
            return spent * (1 - self.share) / self.share
        width, height = self.size
        return None if pace is None else max(1.0, pace * width * height - spent)

    @property
    def stem(self) -> str:
        """How its files are called."""
        stem = Path(self.picture.name).stem
        return f"{stem}_part" if self.asked.part else stem

    def record(self, pace: float | None) -> dict[str, Any]:
        """What the page shows."""
        left, results = self.left(pace), self.results
        verdict = results.verdict if results else None
        return {
            "id": self.number,
            "photo": self.picture.number,
            "name": self.picture.name,
            "width": self.picture.width,
            "height": self.picture.height,
            **dataclasses.asdict(self.asked),
            "state": self.state,
            "stage": self.stage,
            "share": round(self.share, 3),
            "left": None if left is None else round(left),
            "seconds": round(self.seconds, 1),
            "error": self.error,
            "verdict": verdict.text if verdict else "",
            "level": verdict.level if verdict else "",
            "warnings": list(results.warnings) if results else [],
        }


def clean(name: str) -> str:
    """The name of a file that was sent, without folders and anything that is not for reading.

    Args:
        name: what the page sent.

    Raises:
        InputError: it is not that of a photo.
    """
    letters = [c for c in name if not unicodedata.category(c).startswith("C")]
    last = Path("".join(letters).replace("\\", "/")).name
    if not last.strip(". ") or not media.is_photo(last):
        raise InputError(f"{last or 'a file without a name'}: not the name of a photo")
    path = Path(last)
    return path.stem[:LONGEST_NAME] + path.suffix
