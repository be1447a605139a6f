"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias

import torch

from blurvid import media, runtime
from blurvid.batch import cluster, spread
from blurvid.config import RAY_BLOCK, RayOptions, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OutputError
from blurvid.lab.data.windows.clips import SourceClip, find_clips
from blurvid.lab.data.windows.folder import Folder, check_inside, scratch_of
from blurvid.lab.data.windows.make import Maker, check_options, plan_windows
from blurvid.lab.data.windows.records import BLURRY, Record
from blurvid.lab.data.windows.simulate import find_stills, simulate_still
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions
from blurvid.locks import LOCK_FILE, locked


class Plan(Protocol):
    """Goes through the windows of a clip, passing over those of some numbers."""

    def __call__(self, clip: SourceClip, *, skip: Container[int]) -> Iterator[Maker]: ...


Pending: TypeAlias = tuple[SourceClip, Container[int]]
"""A clip, and the numbers of its windows that are there already."""
Made: TypeAlias = tuple[Record, Path]
"""A window's line of the manifest, and the folder of its images under a temporary name."""
Results: TypeAlias = Generator[tuple[SourceClip, Made | BlurvidError], None, None]
"""The windows of clips, those of each in order of time; an error ends its clip."""


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
    ray: RayOptions | None = None,
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
        ray: a cluster whose workers make the windows of a clip each, in as many threads; by default
            this process makes them.
        on_window: called with the record of every window written.
        on_error: called with a clip or photo that failed and why; the others go on. None: the first
            failure ends the run.

    Returns:
        Counts, and the path of the manifest.

    Raises:
        OptionError: an option is out of range, or not the one of the run to resume; Ray is not
            installed.
        InputError: no clips, or one that fails while `on_error` is None.
        OutputError: `out` is not empty and not to be resumed, not writable, or another process
            writes to it.
        DeviceError: too little memory, or no such cluster; what is written by then stays, to be
            resumed.
    """
    check_options(options)
    if jobs is not None:
        runtime.check_threads(jobs, "threads that make windows")
    if ray is not None:
        cluster.load(ray, RunOptions())
    clips = find_clips(sources) if motion is None else find_stills(sources)

    plan: Plan = partial(plan_windows, options=options)
    if motion is not None:
        plan = partial(simulate_still, others=clips, options=options, motion=motion, count=count)
    with locked(out / LOCK_FILE, out), _named(out):
        folder = Folder(out)
        done = folder.prepare(options, motion, resume)
        pending: list[Pending] = [(clip, done.get(clip.name, set())) for clip in clips]
        skipped = sum(len(done.get(clip.name, ())) for clip in clips)
        at_once = 1 if motion is None else RAY_BLOCK  # a photo makes few windows
        results = _results(pending, _Windows(plan, out), jobs, ray, at_once)
        written = warned = failed = 0
        with (
            folder.filling(clips) as lines,
            contextlib.closing(results),
        ):
            for clip, result in results:
                if not isinstance(result, BlurvidError):
                    record, scratch = result
                    folder.publish(record, scratch, lines)
                    written += 1
                    warned += bool(record["warnings"])
                    if on_window:
                        on_window(record)
                elif on_error is None or not isinstance(result, InputError | DeviceError):
                    raise result
                else:
                    failed += 1
                    on_error(clip, result)
        if skipped or ray is not None:
            folder.sort(clips)
        folder.finish(written + skipped)
        return WriteSummary(folder.manifest, len(clips), written, skipped, warned, failed)


@contextlib.contextmanager
def _named(out: Path) -> Iterator[None]:
    """Tell of full disks and the like, and of too little memory, as errors of this library."""
    with runtime.memory_guard(torch.device("cpu")):
        try:
            yield
        except BrokenPipeError:
            raise  # of what the callbacks print to, not of the windows
        except OSError as error:
            raise OutputError(f"{out}: {error.strerror or error}") from error


def _results(
    pending: Sequence[Pending],
    windows: _Windows,
    jobs: int | None,
    ray: RayOptions | None,
    at_once: int,
) -> Results:
    """Make the windows here, or by the workers of a cluster."""
    if ray is None:
        threads = jobs or min(MOST_MAKERS, runtime.processors())
        with runtime.single_threaded_pool(threads) as pool:
            yield from windows.made(pending, pool, 2 * threads)
        return
    run = RunOptions(device="cpu", threads=jobs)
    found = spread.spread(pending, windows, windows.out, ray, run, at_once)
    with contextlib.closing(found):
        for (clip, _), result in found:
            if isinstance(result, BlurvidError):
                yield clip, type(result)(f"{clip.path}: {result}")
            else:
                yield from ((clip, made) for _, made in result)  # not the copy that travelled


@dataclass(frozen=True)
class _Windows:
    """What makes windows; workers of a cluster open it, too."""

    plan: Plan
    out: Path

    @contextlib.contextmanager
    def __call__(
        self, run: RunOptions
    ) -> Iterator[Callable[[Pending], list[tuple[SourceClip, Made | BlurvidError]]]]:
        """Start threads; give what makes all windows of a clip."""
        threads = run.threads or 1
        with runtime.single_threaded_pool(threads) as pool:

            def do(clip: Pending) -> list[tuple[SourceClip, Made | BlurvidError]]:
                with _named(self.out):
                    return list(self.made([clip], pool, 2 * threads))

            yield do

    def made(self, pending: Iterable[Pending], pool: Executor, ahead: int) -> Results:
        """Make windows side by side; give each, with the folder of its images, in its turn.

        Args:
            pending: clips, and what is there of them.
            pool: who makes the windows.
            ahead: most windows in work, which bounds the memory.
        """
        working: deque[tuple[SourceClip, Future[Made]]] = deque()
        failed: set[str] = set()

        def makers() -> Iterator[tuple[SourceClip, Maker]]:
            for clip, there in pending:
                try:
                    for make in self.plan(clip, skip=there):
                        yield clip, make
                        if clip.name in failed:
                            break
                except InputError as error:  # the windows before it are whole
                    yield clip, partial(_fail, error)

        waiting = makers()
        try:
            while True:
                for clip, make in islice(waiting, ahead - len(working)):
                    working.append((clip, pool.submit(_make_window, make, self.out)))
                if not working:
                    return
                clip, future = working[0]
                if clip.name in failed:
                    _drop([future])
                else:
                    try:
                        result: Made | BlurvidError = future.result()
                    except (InputError, DeviceError) as error:
                        failed.add(clip.name)
                        result = error
                    yield clip, result
                working.popleft()
        finally:
            _drop([future for _, future in working])


def _drop(futures: Sequence[Future[Made]]) -> None:
    """Do without windows, whether they are made or not."""
    for future in futures:
        future.cancel()
    wait(futures)
    for future in futures:
        if not future.cancelled() and future.exception() is None:
            shutil.rmtree(future.result()[1], ignore_errors=True)


def _fail(error: InputError) -> NoReturn:
    raise error


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
