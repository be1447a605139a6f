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
from blurvid.app.jobs import SMALLEST_PART, Job, Picture, Wanted
from blurvid.app.results import Results
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
        self.jobs: dict[int, Job] = {}
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

    def add(self, picture: Picture, wanted: Wanted) -> Job:
        """Let a photo be worked on: in its turn, a part at once.

        Raises:
            OptionError: a part that is not in the photo.
        """
        job = Job(self.number(), picture, wanted)
        left, top, wide, high = wanted.part or (0, 0, 0, 0)
        if left + wide > picture.width or top + high > picture.height:
            raise OptionError("the part is not within the photo")
        with self._changed:
            self.jobs[job.number] = job
            if wanted.part:  # somebody waits for it; what is at work begins anew afterwards
                for other in self.jobs.values():
                    if other.state == "working" and other.wanted.part is None:
                        other.wish.set()
            self._changed.notify_all()
        return job

    def remove(self, number: int) -> None:
        """Take work off the desk, and its photo where nothing else needs it."""
        with self._changed:
            job = self.jobs.pop(number)
            job.wish.set()
            needed = any(other.picture is job.picture for other in self.jobs.values())
            if not needed:
                self.pictures.pop(job.picture.number, None)
        if not needed:
            job.picture.path.unlink(missing_ok=True)
            job.picture.preview.unlink(missing_ok=True)
        shutil.rmtree(self._place(job), ignore_errors=True)

    def record(self) -> list[dict[str, Any]]:
        """All work, as the page shows it."""
        with self._changed:
            jobs = list(self.jobs.values())
        return [job.record(self._paces.get(_kind(job))) for job in jobs]

    def close(self) -> None:
        """Stop all work; what is being computed ends at its next step."""
        with self._changed:
            self._ended = True
            for job in self.jobs.values():
                job.wish.set()
            self._changed.notify_all()
        self._thread.join()

    def _place(self, job: Job) -> Path:
        return self.folder / f"{job.number}"

    def _go_on(self) -> None:
        """Do one piece of work after the other."""
        with self._stack:
            while (job := self._next()) is not None:
                try:
                    heed(job.wish)
                    self._do(job)
                except Stopped:
                    job.state, job.stage, job.share = "waiting", "", 0.0  # anew, in its turn
                except BlurvidError as error:
                    job.state, job.error = "failed", str(error)
                except Exception as error:  # the next photo may do
                    job.state, job.error = "failed", f"{type(error).__name__}: {error}"
                if job.number not in self.jobs:  # it was done before it heard of that
                    shutil.rmtree(self._place(job), ignore_errors=True)

    def _next(self) -> Job | None:
        """Wait for work; None at the end. Parts come first."""
        with self._changed:
            while not self._ended:
                waiting = [job for job in self.jobs.values() if job.state == "waiting"]
                if waiting:
                    job = min(waiting, key=lambda job: job.wanted.part is None)
                    job.wish.clear()
                    job.state, job.began = "working", time.monotonic()
                    return job
                self._changed.wait()
        return None

    def _do(self, job: Job) -> None:
        job.tell("reading", 0.0)
        photo = job.picture.read(job.wanted.part)
        job.tell("loading the model", 0.0)
        ready = self._ready(job.wanted)
        ready.on_progress = job.tell
        clip = ready(photo)
        job.tell("writing", 1.0)
        job.results = Results(clip, self._place(job), job.stem)
        job.seconds = time.monotonic() - job.began
        width, height = job.size
        self._paces[_kind(job)] = job.seconds / (width * height)
        job.state = "done"

    def _ready(self, wanted: Wanted) -> Extractor:
        """The model that is asked for, loaded; the one before goes."""
        recipe = wanted.recipe(self.run.precision)
        if self._opened is None or self._opened[0] != recipe:
            self._opened = None
            self._stack.close()
            self._opened = recipe, self._stack.enter_context(opened(recipe, self.run))
        return self._opened[1]


def _kind(job: Job) -> tuple[str, str]:
    """Work of one kind has one pace."""
    return job.wanted.model, job.wanted.quality
