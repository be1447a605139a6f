"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import torch

from blurvid import media, runtime
from blurvid.atomic import LOCK_FILE, locked
from blurvid.batch import cluster, spread
from blurvid.bounds import check
from blurvid.config import RayOptions, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.lab.data.clips import SourceClip, find_clips, find_stills
from blurvid.lab.data.make import Maker, made_with, plan_windows, simulate_still
from blurvid.lab.data.windows import BLURRY, MANIFEST, UNFINISHED, Record, read_records
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions

_SCRATCH = ".making-"
"""What the name of the folder begins with where windows are made."""


Plan: TypeAlias = Callable[..., Iterator[Maker]]
"""Goes through the windows of a clip, passing over those of some numbers (`skip`)."""
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
        options: see `plan_windows`, and for photos `simulate_still`.
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
    check(options)
    check(RunOptions(threads=jobs))
    if ray is not None:
        cluster.load(ray, RunOptions())
    clips = find_clips(sources) if motion is None else find_stills(sources)
    plan: Plan = partial(plan_windows, options=options)
    if motion is not None:
        plan = partial(simulate_still, others=clips, options=options, motion=motion, count=count)
    with locked(out / LOCK_FILE, out), _named(out):
        records = _prepared(out, options, motion, resume)
        done: dict[str, set[int]] = {}
        for record in records:
            done.setdefault(record["clip"], set()).add(_number(record))
        pending: list[Pending] = [(clip, done.get(clip.name, set())) for clip in clips]
        skipped, warned, failed = len(records), 0, 0
        unfinished = out / UNFINISHED
        for left in out.glob(f"{_SCRATCH}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        with (
            tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=out) as scratch,
            unfinished.open("a", encoding="utf-8") as lines,
            contextlib.closing(
                _results(pending, _Windows(plan, Path(scratch)), jobs, ray)
            ) as results,
        ):
            for clip, result in results:
                if not isinstance(result, BlurvidError):
                    record, images = result
                    _publish(images, out / record["window"], out)
                    lines.write(_line(record))
                    lines.flush()
                    records.append(record)
                    warned += bool(record["warnings"])
                    if on_window:
                        on_window(record)
                elif on_error is None or not isinstance(result, InputError | DeviceError):
                    raise result
                else:
                    failed += 1
                    on_error(clip, result)
        if records:  # in the order of a run without interruption
            place = {clip.name: index for index, clip in enumerate(clips)}
            records.sort(key=lambda record: (place.get(record["clip"], -1), _number(record)))
            _list(records, unfinished)
            unfinished.replace(out / MANIFEST)
        else:
            unfinished.unlink()
        written = len(records) - skipped
        return WriteSummary(out / MANIFEST, len(clips), written, skipped, warned, failed)


@contextlib.contextmanager
def _named(out: Path) -> Iterator[None]:
    """Tell of full disks and the like, and of too little memory, as errors of this library."""
    with runtime.memory_guard(torch.device("cpu")):
        try:
            yield
        except BrokenPipeError:
            raise  # of what the callbacks print to, not of the windows
        except OSError as error:
            if runtime.lacks_memory(error):
                raise
            raise OutputError(f"{out}: {error.strerror or error}") from error


def _results(
    pending: Sequence[Pending],
    windows: _Windows,
    jobs: int | None,
    ray: RayOptions | None,
) -> Results:
    """Make the windows here, or by the workers of a cluster."""
    if ray is None:
        threads = jobs or min(MOST_MAKERS, runtime.processors())
        with runtime.single_threaded_pool(threads) as pool:
            yield from windows.made(pending, pool, 2 * threads)
        return
    run = RunOptions(device="cpu", threads=jobs)
    found = spread.spread(pending, windows, windows.scratch, ray, run)
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
    scratch: Path
    """Where the images go."""

    @contextlib.contextmanager
    def __call__(self, run: RunOptions) -> Iterator[Callable[[Pending], Iterator[Any]]]:
        """Start threads; give what makes all windows of a clip."""
        threads = run.threads or 1
        with runtime.single_threaded_pool(threads) as pool:

            def do(clip: Pending) -> Iterator[Any]:
                yield None  # nothing is known before
                with _named(self.scratch):
                    yield list(self.made([clip], pool, 2 * threads))

            yield do

    def made(self, pending: Iterable[Pending], pool: Executor, ahead: int) -> Results:
        """Make windows side by side; give each, with the folder of its images, in its turn.

        Args:
            pending: clips, and what is there of them.
            pool: who makes the windows.
            ahead: most windows in work, which bounds the memory.
        """
        failed: set[str] = set()

        def begun() -> Iterator[tuple[SourceClip, Future[Made]]]:
            for clip, there in pending:
                try:
                    for make in self.plan(clip, skip=there):
                        yield clip, pool.submit(_make_window, make, self.scratch)
                        if clip.name in failed:
                            break
                except InputError as error:  # the windows before it are whole
                    broken: Future[Made] = Future()
                    broken.set_exception(error)
                    yield clip, broken

        waiting, working = begun(), deque[tuple[SourceClip, Future[Made]]]()
        try:
            while True:
                working.extend(islice(waiting, ahead - len(working)))
                if not working:
                    return
                clip, future = working[0]
                if clip.name not in failed:
                    try:
                        result: Made | BlurvidError = future.result()
                    except (InputError, DeviceError) as error:
                        failed.add(clip.name)
                        result = error
                    yield clip, result
                elif not future.cancel():
                    wait([future])
                working.popleft()
        finally:  # what is made all the same goes with the folder
            for _, future in working:
                future.cancel()
            wait([future for _, future in working])


def _prepared(
    out: Path, options: SynthOptions, motion: MotionOptions | None, resume: bool
) -> list[Record]:
    """Make a folder ready to be filled; the records of windows that are there already.

    Raises:
        OptionError: the windows there were made with other options.
        OutputError: it is a file, or not empty and not to be resumed.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: a file, not a folder")
    out.mkdir(parents=True, exist_ok=True)
    media.remove_stale(out)
    if all(path.name == LOCK_FILE for path in out.iterdir()):
        return []
    if not resume:
        raise OutputError(f"{out}: not empty; resume, or choose another folder")
    listing = next((out / name for name in (MANIFEST, UNFINISHED) if (out / name).exists()), None)
    if listing is None:
        return []
    records, _ = read_records(listing)
    if not all(made_with(record, options, motion) for record in records):
        raise OptionError(f"{out}: made with other options; resume with the same ones")
    # Windows that are gone lose their line, and so does one cut short by the end of the run.
    records = [record for record in records if (out / record["window"]).is_dir()]
    listing.replace(out / UNFINISHED)  # from here on the folder counts as unfinished
    _list(records, out / UNFINISHED)
    return records


def _list(records: Sequence[Record], path: Path) -> None:
    with media.replacing([path]) as (scratch,):
        scratch.write_text("".join(map(_line, records)), encoding="utf-8")


def _publish(images: Path, folder: Path, out: Path) -> None:
    """Give the images of a window their name.

    Raises:
        OutputError: a link leads elsewhere.
    """
    if not folder.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{folder}: a link leads out of {out}; nothing outside is touched")
    if folder.is_dir():  # of a run that was killed before its line was written
        for image in [folder / BLURRY, *folder.glob("sharp_*.png")]:
            image.unlink(missing_ok=True)
        folder.rmdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    images.replace(folder)


def _number(record: Record) -> int:
    return int(Path(record["window"]).name)


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _make_window(make: Maker, scratch: Path) -> Made:
    """Make a window and write its images to a folder of its own."""
    window = make()
    images = Path(tempfile.mkdtemp(dir=scratch))
    images.chmod(scratch.parent.stat().st_mode)  # a temporary folder is for its owner only
    (images / BLURRY).write_bytes(media.quick_png(media.to_uint8(window.blurry())))
    for number, frame in enumerate(window.frames(), start=1):
        floats = frame.is_floating_point()
        levels = media.to_uint8(frame) if floats else frame.movedim(0, -1).numpy()
        (images / f"sharp_{number}.png").write_bytes(media.quick_png(levels))
    return window.record, images
