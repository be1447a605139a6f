"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import torch

from blurvid import media, runtime
from blurvid.config import MOST_MAKERS, MotionOptions, SynthOptions
from blurvid.dataset.windows.clips import Clip, find_clips
from blurvid.dataset.windows.make import Maker, check_options, plan_windows
from blurvid.dataset.windows.records import (
    BLURRY,
    MANIFEST,
    UNFINISHED,
    Record,
    read_records,
)
from blurvid.dataset.windows.simulate import described, find_stills, simulate_still
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.locks import LOCK_FILE, locked


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


class Plan(Protocol):
    """What makes the windows of a clip, passing over those of some numbers."""

    def __call__(self, clip: Clip, /, *, skip: Container[int] = ()) -> Iterator[Maker]: ...


Pending: TypeAlias = tuple[Clip, Container[int]]
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
        self, clips: Iterable[Pending], plan: Plan, out: Path
    ) -> Generator[tuple[Clip, Iterator[Made]], None, None]:
        """Give each clip with its windows, in order of time, and what ends them as an exception."""
        ...


@dataclass(frozen=True)
class Threads:
    """Makes windows in threads of this process."""

    count: int
    in_order = True

    def __call__(
        self, clips: Iterable[Pending], plan: Plan, out: Path
    ) -> Generator[tuple[Clip, Iterator[Made]], None, None]:
        with runtime.single_threaded_pool(self.count) as pool:
            for pending in clips:
                made = make_clip(plan, pending, out, pool, 2 * self.count)
                try:
                    yield pending[0], made
                finally:
                    made.close()


def simulate_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    motion: MotionOptions,
    *,
    count: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    jobs: int | None = None,
    team: Team | None = None,
    on_window: Callable[[Record], None] | None = None,
    on_error: Callable[[Clip, BlurvidError], None] | None = None,
) -> WriteSummary:
    """Write windows of simulated motion, some of each photo; see `write_windows`.

    Args:
        sources: photos and folders of photos.
        out: the folder to fill.
        options: see `simulate_still`.
        motion: how the photos move.
        count: windows of each photo.
        overwrite: replace the windows that an earlier run listed in `out`; other files stay.
        resume: keep the windows of an interrupted run with the same options, write the others.
        jobs: threads that make windows, by default one a processor, at most `MOST_MAKERS`; the
            files are the same whatever their number.
        team: who makes the windows instead of these threads.
        on_window: called with the record of every window written.
        on_error: called with a photo that failed and why; the others go on.

    Raises:
        OptionError, InputError, OutputError: as `write_windows`.
    """
    check_options(options)
    stills = find_stills(sources)

    plan = partial(simulate_still, others=stills, options=options, motion=motion, count=count)
    team = team or _threads(jobs)
    return _write(
        stills, plan, out, options, overwrite, resume, team, on_window, on_error, motion=motion
    )


def write_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
    jobs: int | None = None,
    team: Team | None = None,
    on_window: Callable[[Record], None] | None = None,
    on_error: Callable[[Clip, BlurvidError], None] | None = None,
) -> WriteSummary:
    """Write the windows of all clips below some paths.

    The layout is `OUT/CLIP/000001/blurry.png`, `sharp_1.png` to `sharp_N.png`, and
    `OUT/manifest.jsonl` with one JSON object a window. A window appears whole or not at all; the
    manifest has another name until the last window is there, so that a run killed at any moment
    can be resumed.

    Args:
        sources: files and folders, see `find_clips`.
        out: the folder to fill.
        options: see `make_windows`.
        overwrite: replace the windows that an earlier run listed in `out`; other files stay.
        resume: keep the windows of an interrupted run with the same options, write the others.
        jobs: threads that make windows, by default one a processor, at most `MOST_MAKERS`; the
            files are the same whatever their number.
        team: who makes the windows instead of these threads.
        on_window: called with the record of every window written.
        on_error: called with a clip that failed and why; the others go on. None: the first
            failure ends the run.

    Returns:
        Counts, and the path of the manifest.

    Raises:
        OptionError: an option is out of range, or not the one of the run to resume.
        InputError: no clips, or one that fails while `on_error` is None.
        OutputError: `out` is not empty and neither to overwrite nor to resume, not writable, or
            another process writes to it.
        DeviceError: too little memory; what is written by then stays, to be resumed.
    """
    check_options(options)
    clips = find_clips(sources)

    plan = partial(plan_windows, options=options)
    team = team or _threads(jobs)
    return _write(clips, plan, out, options, overwrite, resume, team, on_window, on_error)


def _threads(jobs: int | None) -> Threads:
    jobs = min(MOST_MAKERS, runtime.processors()) if jobs is None else jobs
    if jobs < 1:
        raise OptionError(f"{jobs} threads that make windows; at least one is needed")
    return Threads(jobs)


def _write(
    clips: Sequence[Clip],
    plan: Plan,
    out: Path,
    options: SynthOptions,
    overwrite: bool,
    resume: bool,
    team: Team,
    on_window: Callable[[Record], None] | None,
    on_error: Callable[[Clip, BlurvidError], None] | None,
    motion: MotionOptions | None = None,
) -> WriteSummary:
    """Write the windows that are planned for the clips."""
    if overwrite and resume:
        raise OptionError("either overwrite or resume, not both")
    with locked(out / LOCK_FILE, out), runtime.memory_guard(torch.device("cpu")):
        try:
            return _write_alone(
                clips, plan, out, options, overwrite, resume, team, on_window, on_error, motion
            )
        except BrokenPipeError:
            raise  # of what the callbacks print to, not of the windows
        except OSError as error:
            raise OutputError(f"{out}: {error.strerror or error}") from error


def _write_alone(
    clips: Sequence[Clip],
    plan: Plan,
    out: Path,
    options: SynthOptions,
    overwrite: bool,
    resume: bool,
    team: Team,
    on_window: Callable[[Record], None] | None,
    on_error: Callable[[Clip, BlurvidError], None] | None,
    motion: MotionOptions | None,
) -> WriteSummary:
    """Write windows to a folder that no other process writes to."""
    written = warned = failed = 0
    done = _prepare(out, options, overwrite, resume, motion)
    skipped = sum(len(done.get(clip.name, ())) for clip in clips)
    pending = ((clip, done.get(clip.name, set())) for clip in clips)
    media.remove_stale(out)
    _remove_scratch(clips, out)  # of a run that was killed
    try:
        with (
            (out / UNFINISHED).open("a", encoding="utf-8") as manifest,
            contextlib.closing(team(pending, plan, out)) as results,
        ):
            for clip, made in results:
                try:
                    for record, scratch in made:
                        _publish(record, scratch, out, manifest)
                        written += 1
                        warned += bool(record["warnings"])
                        if on_window:
                            on_window(record)
                except (InputError, DeviceError) as error:
                    if on_error is None:
                        raise
                    failed += 1
                    on_error(clip, error)
    finally:  # of this one, where an interrupt came between two steps
        try:
            _remove_scratch(clips, out)
        finally:
            _remove_scratch(clips, out)
    if skipped or not team.in_order:
        _write_lines(_in_order(clips, out / UNFINISHED), out / UNFINISHED)
    if written + skipped:
        (out / UNFINISHED).replace(out / MANIFEST)
    else:
        (out / UNFINISHED).unlink()
    return WriteSummary(out / MANIFEST, len(clips), written, skipped, warned, failed)


def _prepare(
    out: Path,
    options: SynthOptions,
    overwrite: bool,
    resume: bool,
    motion: MotionOptions | None,
) -> dict[str, set[int]]:
    """Make `out` ready; which windows of which clip are there already."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: a file, not a folder")
    out.mkdir(parents=True, exist_ok=True)
    if all(path.name == LOCK_FILE for path in out.iterdir()):
        return {}
    if not (overwrite or resume):
        raise OutputError(f"{out}: not empty; overwrite or resume, or choose another folder")
    listing = next((p for p in (out / MANIFEST, out / UNFINISHED) if p.exists()), None)
    if listing is None:
        return {}
    records, _ = read_records(listing)
    if resume and not all(_made_with(record, options, motion) for record in records):
        raise OptionError(f"{out}: made with other options; resume with the same ones")
    listing.replace(out / UNFINISHED)  # from here on the folder counts as unfinished
    if overwrite:
        for record in records:
            _remove_window(out / record["window"], out)
        (out / UNFINISHED).unlink()
        return {}
    # Windows that are gone lose their line, and so does one cut short by the end of the run.
    records = [record for record in records if (out / record["window"]).is_dir()]
    _write_lines(records, out / UNFINISHED)
    done: dict[str, set[int]] = {}
    for record in records:
        done.setdefault(record["clip"], set()).add(int(Path(record["window"]).name))
    return done


def _write_lines(records: Sequence[Record], path: Path) -> None:
    with media.replacing([path]) as (scratch,):
        scratch.write_text("".join(map(_line, records)), encoding="utf-8")


def _line(record: Record) -> str:
    line = json.dumps(record, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:  # a name that is not text
        return json.dumps(record) + "\n"
    return line


def _in_order(clips: Sequence[Clip], path: Path) -> list[Record]:
    """Records as a run without interruption would have written them."""
    place = {clip.name: index for index, clip in enumerate(clips)}
    records, _ = read_records(path)
    return sorted(records, key=lambda r: (place.get(r["clip"], -1), int(Path(r["window"]).name)))


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


def _remove_scratch(clips: Sequence[Clip], out: Path) -> None:
    """Remove the images of windows that were begun and are not whole."""
    for clip in clips:
        with contextlib.suppress(OSError, OutputError):
            _check_inside(out / clip.name, out)
            for scratch in (out / clip.name).glob(".[0-9]*.partial"):
                shutil.rmtree(scratch, ignore_errors=True)


def _remove_window(folder: Path, out: Path) -> None:
    """Remove a window's own files; a folder that holds others is left, and an error."""
    _check_inside(folder, out)
    if not folder.is_dir():
        return
    for image in [folder / BLURRY, *folder.glob("sharp_*.png")]:
        image.unlink(missing_ok=True)
    folder.rmdir()


def _check_inside(folder: Path, out: Path) -> None:
    """Refuse the folder of a window that a link takes out of the folder of all windows."""
    if not folder.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{folder}: a link leads out of {out}; nothing outside is touched")


def make_clip(
    plan: Plan, clip: Pending, out: Path, pool: Executor, ahead: int
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
    _check_inside(folder, out)
    scratch = folder.with_name(f".{folder.name}.partial")
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


def _publish(record: Record, scratch: Path, out: Path, manifest: IO[str]) -> None:
    """Give the images of a window their name, then add the line."""
    folder = out / record["window"]
    _remove_window(folder, out)
    scratch.replace(folder)
    manifest.write(_line(record))
    manifest.flush()
