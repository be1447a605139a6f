"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from blurvid import media, runtime
from blurvid.atomic import LOCK_FILE, locked
from blurvid.errors import BlurvidError, DeviceError, InputError, OutputError
from blurvid.lab.data.windows.clips import SourceClip, find_clips
from blurvid.lab.data.windows.folder import Folder, check_inside, scratch_of
from blurvid.lab.data.windows.make import Maker, check_options, plan_windows
from blurvid.lab.data.windows.records import BLURRY, Record
from blurvid.lab.data.windows.simulate import find_stills, simulate_still
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions

Plan: TypeAlias = Callable[[SourceClip, Container[int]], Iterator[Maker]]
"""Goes through the windows of a clip, passing over those of some numbers."""
Made: TypeAlias = tuple[Record, Path]
"""A window's line of the manifest, and the folder of its images under a temporary name."""


@dataclass(frozen=True)
class WriteSummary:
    """What `write_windows` did."""

    manifest: Path
    clips: int
    written: int
    skipped: int
    """Windows that an earlier, interrupted run had already written."""
    warned: int
    """Windows written with a warning in their record."""
    failed: int
    """Clips given up, each reported to `on_error`."""


def write_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    *,
    motion: MotionOptions | None = None,
    count: int = 1,
    resume: bool = False,
    jobs: int | None = None,
    on_window: Callable[[Record], None] | None = None,
    on_error: Callable[[SourceClip, BlurvidError], None] | None = None,
) -> WriteSummary:
    """Write the windows of all clips, or of simulated motion of all photos, below some paths.

    The layout is `OUT/CLIP/000001/blurry.png`, `sharp_1.png` to `sharp_N.png`, and
    `OUT/manifest.jsonl` with one JSON object a window. A window appears whole or not at all; the
    manifest has another name until the last window is there, so that a run killed at any moment
    can be resumed.

    Args:
        sources: files and folders, see `find_clips`, and for photos `find_stills`.
        out: the folder to fill.
        options: see `make_windows`, and for photos `simulate_still`.
        motion: how photos move; None takes clips.
        count: windows of each photo.
        resume: keep the windows of an interrupted run with the same options, write the others.
        jobs: threads that make windows, by default one a processor, at most `MOST_MAKERS`; the
            files are the same whatever their number.
        on_window: called with the record of every window written.
        on_error: called with a clip or photo that failed and why; the others go on. None: the first
            failure ends the run.

    Returns:
        Counts, and the path of the manifest.

    Raises:
        OptionError: an option is out of range, or not the one of the run to resume.
        InputError: no clips, or one that fails while `on_error` is None.
        OutputError: `out` is not empty and not to be resumed, not writable, or another process
            writes to it.
        DeviceError: too little memory; what is written by then stays, to be resumed.
    """
    check_options(options)
    jobs = min(MOST_MAKERS, runtime.processors()) if jobs is None else jobs
    runtime.check_threads(jobs, "threads that make windows")
    clips = find_clips(sources) if motion is None else find_stills(sources)

    def plan(clip: SourceClip, skip: Container[int]) -> Iterator[Maker]:
        if motion is None:
            return plan_windows(clip, options, skip=skip)
        return simulate_still(clip, clips, options, motion, count, skip=skip)

    writer = _Writer(clips, plan, Folder(out), jobs, on_window, on_error)
    with locked(out / LOCK_FILE, out), runtime.memory_guard(torch.device("cpu")):
        try:
            return writer.write(writer.folder.prepare(options, motion, resume))
        except BrokenPipeError:
            raise  # of what the callbacks print to, not of the windows
        except OSError as error:
            raise OutputError(f"{out}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Writer:
    """Writes the windows that are planned for clips."""

    clips: Sequence[SourceClip]
    plan: Plan
    folder: Folder
    jobs: int
    on_window: Callable[[Record], None] | None
    on_error: Callable[[SourceClip, BlurvidError], None] | None

    def write(self, done: Mapping[str, Set[int]]) -> WriteSummary:
        """Write those that are not there yet."""
        written = warned = failed = 0
        folder = self.folder
        with (
            folder.filling(self.clips) as lines,
            runtime.single_threaded_pool(self.jobs) as pool,
        ):
            for clip in self.clips:
                try:
                    makers = self.plan(clip, done.get(clip.name, frozenset()))
                    with contextlib.closing(_made(makers, folder.out, pool, 2 * self.jobs)) as made:
                        for record, scratch in made:
                            folder.publish(record, scratch, lines)
                            written += 1
                            warned += bool(record["warnings"])
                            if self.on_window:
                                self.on_window(record)
                except (InputError, DeviceError) as error:
                    if self.on_error is None:
                        raise
                    failed += 1
                    self.on_error(clip, error)
        skipped = sum(len(done.get(clip.name, ())) for clip in self.clips)
        if skipped:
            folder.sort(self.clips)
        folder.finish(written + skipped)
        return WriteSummary(folder.manifest, len(self.clips), written, skipped, warned, failed)


def _made(
    makers: Iterator[Maker], out: Path, pool: Executor, ahead: int
) -> Generator[Made, None, None]:
    """Make windows side by side; give each, with the folder of its images, in its turn.

    Args:
        makers: what makes them, in order of time.
        out: the folder to fill.
        pool: who makes them.
        ahead: most windows in work, which bounds the memory.
    """
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
