"""Photos that wait to be worked on, and what has become of them."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from blurvid import media
from blurvid.app.tasks import SMALLEST_PART, Asked, Picture, Results, Task
from blurvid.atomic import Stopped, heed
from blurvid.config import RunOptions
from blurvid.errors import BlurvidError, InputError, OptionError
from blurvid.media.photo import flat_frames
from blurvid.pipeline import Extractor, opened
from blurvid.recipe import Recipe

MOST_PHOTOS = 100
"""Photos on the desk at a time."""
_PREVIEW = 1600
"""Longest side of the picture that the page shows of a photo [px]."""


class Desk:
    """Photos and the work on them; a thread does one piece after the other.

    Args:
        folder: an empty folder for files.
        run: where and how the networks run.
    """

    def __init__(self, folder: Path, run: RunOptions = RunOptions()) -> None:
        self.folder, self.run = folder, run
        self.pictures: dict[int, Picture] = {}
        self.tasks: dict[int, Task] = {}
        self._count = 0
        self._paces: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._opened: tuple[Recipe, Extractor] | None = None
        self._stack = ExitStack()
        self._thread = threading.Thread(target=self._go_on, name="desk", daemon=True)
        self._thread.start()

    def check_room(self) -> None:
        """Refuse one more photo where there are too many.

        Raises:
            OptionError: there are.
        """
        if len(self.pictures) >= MOST_PHOTOS:
            raise OptionError(f"{MOST_PHOTOS} photos are here already; remove some first")

    def number(self) -> int:
        """A number that nothing else has."""
        with self._changed:
            self._count += 1
            return self._count

    def bring(self, number: int, name: str, path: Path) -> Picture:
        """Put a photo on the desk; its file is the desk's from now on.

        Args:
            number: from `number`.
            name: what its file was called.
            path: the file.

        Raises:
            InputError: it is no photo.
        """
        photo = media.read_photo(path, name)
        height, width = photo.pixels.shape[-2:]
        if min(height, width) < SMALLEST_PART:
            raise InputError(f"{name}: {width}x{height} pixels are too few")
        (pixels,) = flat_frames(photo.pixels[None], photo)
        image = Image.fromarray(pixels)
        image.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.LANCZOS, reducing_gap=3)
        preview = self.folder / f"{number}.preview.jpg"
        image.save(preview, quality=88)
        picture = Picture(number, name, path, preview, width, height)
        with self._changed:
            self.pictures[number] = picture
        return picture

    def add(self, picture: Picture, asked: Asked) -> Task:
        """Let a photo be worked on: in its turn, a part at once.

        Raises:
            OptionError: a part that is not in the photo.
        """
        task = Task(self.number(), picture, asked)
        left, top, wide, high = asked.part or (0, 0, 0, 0)
        if left + wide > picture.width or top + high > picture.height:
            raise OptionError("the part is not within the photo")
        with self._changed:
            self.tasks[task.number] = task
            if asked.part:  # somebody waits for it; what is at work begins anew afterwards
                for other in self.tasks.values():
                    if other.state == "working" and other.asked.part is None:
                        other.wish.set()
            self._changed.notify_all()
        return task

    def remove(self, number: int) -> None:
        """Take work off the desk, and its photo where nothing else needs it."""
        with self._changed:
            task = self.tasks.pop(number)
            task.wish.set()
            needed = any(other.picture is task.picture for other in self.tasks.values())
            if not needed:
                self.pictures.pop(task.picture.number, None)
        if not needed:
            task.picture.path.unlink(missing_ok=True)
            task.picture.preview.unlink(missing_ok=True)
        shutil.rmtree(self._place(task), ignore_errors=True)

    def record(self) -> list[dict[str, Any]]:
        """All work, as the page shows it."""
        with self._changed:
            tasks = list(self.tasks.values())
        return [task.record(self._paces.get(_kind(task))) for task in tasks]

    def close(self) -> None:
        """Stop all work; what is being computed ends at its next step."""
        with self._changed:
            self._ended = True
            for task in self.tasks.values():
                task.wish.set()
            self._changed.notify_all()
        self._thread.join()

    def _place(self, task: Task) -> Path:
        return self.folder / f"{task.number}"

    def _go_on(self) -> None:
        """Do one piece of work after the other."""
        with self._stack:
            while (task := self._next()) is not None:
                try:
                    heed(task.wish)
                    self._do(task)
                except Stopped:
                    task.state, task.stage, task.share = "waiting", "", 0.0  # anew, in its turn
                except BlurvidError as error:
                    task.state, task.error = "failed", str(error)
                except Exception as error:  # the next photo may do
                    task.state, task.error = "failed", f"{type(error).__name__}: {error}"
                if task.number not in self.tasks:  # it was done before it heard of that
                    shutil.rmtree(self._place(task), ignore_errors=True)

    def _next(self) -> Task | None:
        """Wait for work; None at the end. Parts come first."""
        with self._changed:
            while not self._ended:
                waiting = [task for task in self.tasks.values() if task.state == "waiting"]
                if waiting:
                    task = min(waiting, key=lambda task: task.asked.part is None)
                    task.wish.clear()
                    task.state, task.began = "working", time.monotonic()
                    return task
                self._changed.wait()
        return None

    def _do(self, task: Task) -> None:
        task.tell("reading", 0.0)
        photo = task.picture.read(task.asked.part)
        task.tell("loading the model", 0.0)
        ready = self._ready(task.asked)
        ready.on_progress = task.tell
        clip = ready(photo)
        task.tell("writing", 1.0)
        task.results = Results(clip, self._place(task), task.stem)
        task.seconds = time.monotonic() - task.began
        width, height = task.size
        self._paces[_kind(task)] = task.seconds / (width * height)
        task.state = "done"

    def _ready(self, asked: Asked) -> Extractor:
        """The model that is asked for, loaded; the one before goes."""
        recipe = asked.recipe(self.run.precision)
        if self._opened is None or self._opened[0] != recipe:
            self._opened = None
            self._stack.close()
            self._opened = recipe, self._stack.enter_context(opened(recipe, self.run))
        return self._opened[1]


def _kind(task: Task) -> tuple[str, str]:
    """Work of one kind has one pace."""
    return task.asked.model, task.asked.quality
