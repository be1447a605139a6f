"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blurvid import media
from blurvid.config import MotionOptions, SynthOptions
from blurvid.dataset.windows.clips import Clip, find_clips
from blurvid.dataset.windows.make import Window, check_options, make_windows
from blurvid.dataset.windows.records import (
    BLURRY,
    MANIFEST,
    UNFINISHED,
    Record,
    read_records,
)
from blurvid.dataset.windows.simulate import described, find_stills, simulate_still
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError


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


Maker = Callable[[Clip, Container[int]], Iterator[Window]]
"""Makes the windows of a clip, passing over those of some numbers."""


def simulate_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    motion: MotionOptions,
    *,
    count: int = 1,
    overwrite: bool = False,
    resume: bool = False,
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
        on_window: called with the record of every window written.
        on_error: called with a photo that failed and why; the others go on.

    Raises:
        OptionError, InputError, OutputError: as `write_windows`.
    """
    check_options(options)
    stills = find_stills(sources)

    def make(still: Clip, skip: Container[int]) -> Iterator[Window]:
        return simulate_still(still, stills, options, motion, count, skip=skip)

    return _write(stills, make, out, options, overwrite, resume, on_window, on_error, motion=motion)


def write_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    *,
    overwrite: bool = False,
    resume: bool = False,
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
        on_window: called with the record of every window written.
        on_error: called with a clip that failed and why; the others go on. None: the first
            failure ends the run.

    Returns:
        Counts, and the path of the manifest.

    Raises:
        OptionError: an option is out of range, or not the one of the run to resume.
        InputError: no clips, or one that fails while `on_error` is None.
        OutputError: `out` is not empty and neither to overwrite nor to resume, or not writable.
    """
    check_options(options)
    clips = find_clips(sources)

    def make(clip: Clip, skip: Container[int]) -> Iterator[Window]:
        return make_windows(clip, options, skip=skip)

    return _write(clips, make, out, options, overwrite, resume, on_window, on_error)


def _write(
    clips: Sequence[Clip],
    make: Maker,
    out: Path,
    options: SynthOptions,
    overwrite: bool,
    resume: bool,
    on_window: Callable[[Record], None] | None,
    on_error: Callable[[Clip, BlurvidError], None] | None,
    motion: MotionOptions | None = None,
) -> WriteSummary:
    """Write the windows that `make` makes of the clips."""
    if overwrite and resume:
        raise OptionError("either overwrite or resume, not both")
    written = skipped = warned = failed = 0
    try:
        done = _prepare(out, options, overwrite, resume, motion)
        with (out / UNFINISHED).open("a", encoding="utf-8") as manifest:
            for clip in clips:
                finished = done.get(clip.name, set())
                skipped += len(finished)
                try:
                    for window in make(clip, finished):
                        _write_window(window, out, manifest)
                        written += 1
                        warned += bool(window.record["warnings"])
                        if on_window:
                            on_window(window.record)
                except InputError as error:
                    if on_error is None:
                        raise
                    failed += 1
                    on_error(clip, error)
        if skipped:
            _write_lines(_in_order(clips, out / UNFINISHED), out / UNFINISHED)
        if written + skipped:
            (out / UNFINISHED).replace(out / MANIFEST)
        else:
            (out / UNFINISHED).unlink()
    except BrokenPipeError:
        raise  # of what the callbacks print to, not of the windows
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from error
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
    if not any(out.iterdir()):
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
    scratch = path.with_name(f".{path.name}")
    scratch.write_text("".join(map(_line, records)), encoding="utf-8")
    scratch.replace(path)


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


def _write_window(window: Window, out: Path, manifest: IO[str]) -> None:
    """Write the images under a temporary name, rename, then add the line."""
    folder = out / window.record["window"]
    _check_inside(folder, out)
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        media.write_png(window.blurry, scratch / BLURRY)
        for number, frame in enumerate(window.sharp, start=1):
            media.write_png(frame, scratch / f"sharp_{number}.png")
        _remove_window(folder, out)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    manifest.write(_line(window.record))
    manifest.flush()
