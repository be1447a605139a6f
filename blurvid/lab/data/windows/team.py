"""Who makes the windows of many clips, and how those of one are made side by side."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from blurvid import media, runtime
from blurvid.errors import InputError
from blurvid.lab.data.windows.clips import SourceClip
from blurvid.lab.data.windows.folder import check_inside, scratch_of
from blurvid.lab.data.windows.make import Maker
from blurvid.lab.data.windows.records import BLURRY, Record


class Planner(Protocol):
    """What makes the windows of a clip, passing over those of some numbers."""

    def __call__(self, clip: SourceClip, /, *, skip: Container[int] = ()) -> Iterator[Maker]: ...


Pending: TypeAlias = tuple[SourceClip, Container[int]]
"""A clip, and the numbers of its windows that are there already."""
Made: TypeAlias = tuple[Record, Path]
"""A window's line of the manifest, and the folder of its images under a temporary name."""


class Team(Protocol):
    """Who makes the windows of many clips."""

    @property
    def in_order(self) -> bool:
        """Whether the clips are given as they come."""
        ...

    def __call__(
        self, clips: Iterable[Pending], plan: Planner, out: Path
    ) -> Generator[tuple[SourceClip, Iterator[Made]], None, None]:
        """Give each clip with its windows, in order of time, and what ends them as an exception."""
        ...


@dataclass(frozen=True)
class Threads:
    """Makes windows in threads of this process."""

    count: int
    in_order = True

    def __call__(
        self, clips: Iterable[Pending], plan: Planner, out: Path
    ) -> Generator[tuple[SourceClip, Iterator[Made]], None, None]:
        with runtime.single_threaded_pool(self.count) as pool:
            for pending in clips:
                made = make_clip(plan, pending, out, pool, 2 * self.count)
                try:
                    yield pending[0], made
                finally:
                    made.close()


def make_clip(
    plan: Planner, clip: Pending, out: Path, pool: Executor, ahead: int
) -> Generator[Made, None, None]:
    """Make windows side by side; give each, with the folder of its images, in its turn.

    Args:
        plan: what makes the windows.
        clip: of which clip, but for which of them.
        out: the folder to fill.
        pool: who makes them.
        ahead: most windows in work, which bounds the memory.
    """
    makers = plan(clip[0], skip=clip[1])
    pending: deque[Future[Made]] = deque()
    failure: InputError | None = None
    try:
        while True:
            while failure is None and len(pending) < ahead:
                try:
                    pending.append(pool.submit(_make_window, next(makers), out))
                except StopIteration:
                    break
                except InputError as error:  # those before it are whole
                    failure = error
            if not pending:
                break
            yield pending[0].result()
            pending.popleft()
        if failure is not None:
            raise failure
    finally:
        for future in pending:
            future.cancel()
        wait(pending)
        for future in pending:
            if not future.cancelled() and future.exception() is None:
                shutil.rmtree(future.result()[1], ignore_errors=True)


def _make_window(make: Maker, out: Path) -> Made:
    """Make a window and write its images to a folder under a temporary name."""
    window = make()
    folder = out / window.record["window"]
    check_inside(folder, out)
    scratch = scratch_of(folder)
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        (scratch / BLURRY).write_bytes(media.quick_png(media.to_uint8(window.blurry)))
        for number, frame in enumerate(window.frames, start=1):
            floats = frame.is_floating_point()
            levels = media.to_uint8(frame) if floats else frame.movedim(0, -1).numpy()
            (scratch / f"sharp_{number}.png").write_bytes(media.quick_png(levels))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return window.record, scratch
