"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from blurvid import media, runtime
from blurvid.atomic import LOCK_FILE, locked
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.lab.data.windows.clips import SourceClip, find_clips
from blurvid.lab.data.windows.make import Maker, check_options, plan_windows
from blurvid.lab.data.windows.records import BLURRY, MANIFEST, UNFINISHED, Record, read_records
from blurvid.lab.data.windows.simulate import described, find_stills, simulate_still
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions

_SCRATCH = ".making-"
"""What the name of the folder begins with where windows are made."""
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

    writer = _Writer(clips, plan, out, jobs, on_window, on_error)
    with locked(out / LOCK_FILE, out), runtime.memory_guard(torch.device("cpu")):
        try:
            return writer.write(_prepared(out, options, motion, resume))
        except BrokenPipeError:
            raise  # of what the callbacks print to, not of the windows
        except OSError as error:
            raise OutputError(f"{out}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Writer:
    """Writes the windows that are planned for clips; no other process writes there meanwhile."""

    clips: Sequence[SourceClip]
    plan: Plan
    out: Path
    jobs: int
    on_window: Callable[[Record], None] | None
    on_error: Callable[[SourceClip, BlurvidError], None] | None

    def write(self, records: list[Record]) -> WriteSummary:
        """Write the windows that are not among some records, of those that are there already."""
        done: dict[str, set[int]] = {}
        for record in records:
            done.setdefault(record["clip"], set()).add(_number(record))
        skipped, warned, failed = len(records), 0, 0
        unfinished = self.out / UNFINISHED
        for left in self.out.glob(f"{_SCRATCH}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        with (
            tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self.out) as scratch,
            unfinished.open("a", encoding="utf-8") as lines,
            runtime.single_threaded_pool(self.jobs) as pool,
        ):
            for clip in self.clips:
                try:
                    makers = self.plan(clip, done.get(clip.name, frozenset()))
                    made = _made(makers, Path(scratch), pool, 2 * self.jobs)
                    with contextlib.closing(made):
                        for record, images in made:
                            _publish(images, self.out / record["window"], self.out)
                            lines.write(_line(record))
                            lines.flush()
                            records.append(record)
                            warned += bool(record["warnings"])
                            if self.on_window:
                                self.on_window(record)
                except (InputError, DeviceError) as error:
                    if self.on_error is None:
                        raise
                    failed += 1
                    self.on_error(clip, error)
        if records:  # in the order of a run without interruption
            place = {clip.name: index for index, clip in enumerate(self.clips)}
            records.sort(key=lambda record: (place.get(record["clip"], -1), _number(record)))
            _list(records, unfinished)
            unfinished.replace(self.out / MANIFEST)
        else:
            unfinished.unlink()
        written = len(records) - skipped
        manifest = self.out / MANIFEST
        return WriteSummary(manifest, len(self.clips), written, skipped, warned, failed)


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
    if not all(_made_with(record, options, motion) for record in records):
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
    line = json.dumps(record, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:  # a name that is not text
        return json.dumps(record) + "\n"
    return line


def _made_with(record: Record, options: SynthOptions, motion: MotionOptions | None) -> bool:
    crop = record.get("crop")
    made = [record.get(key) for key in ("stride", "gamma", "scale", "noise", "seed")]
    stride = options.stride or options.frames
    wanted = [stride, options.gamma, options.scale, options.noise, options.seed]
    return (
        made == wanted
        and len(record["frames"]) == options.frames
        and (crop[2] if isinstance(crop, list) and len(crop) == 4 else None) == options.crop
        and record.get("simulated") == (described(motion) if motion else None)
    )


def _made(
    makers: Iterator[Maker], scratch: Path, pool: Executor, ahead: int
) -> Generator[Made, None, None]:
    """Make windows side by side; give each, with the folder of its images, in its turn.

    Args:
        makers: what makes them, in order of time.
        scratch: where the images go.
        pool: who makes them.
        ahead: most windows in work, which bounds the memory.
    """
    pending: deque[Future[Made]] = deque()
    failure: InputError | None = None
    try:
        while True:
            while failure is None and len(pending) < ahead:
                try:
                    pending.append(pool.submit(_make_window, next(makers), scratch))
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


def _make_window(make: Maker, scratch: Path) -> Made:
    """Make a window and write its images to a folder of its own."""
    window = make()
    images = Path(tempfile.mkdtemp(dir=scratch))
    images.chmod(scratch.parent.stat().st_mode)  # a temporary folder is for its owner only
    (images / BLURRY).write_bytes(media.quick_png(media.to_uint8(window.blurry)))
    for number, frame in enumerate(window.frames, start=1):
        floats = frame.is_floating_point()
        levels = media.to_uint8(frame) if floats else frame.movedim(0, -1).numpy()
        (images / f"sharp_{number}.png").write_bytes(media.quick_png(levels))
    return window.record, images
