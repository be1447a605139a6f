"""Writing windows to a folder, so that a killed run can be resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from blurvid import runtime
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.lab.data.windows.clips import SourceClip, find_clips
from blurvid.lab.data.windows.folder import Folder
from blurvid.lab.data.windows.make import check_options, plan_windows
from blurvid.lab.data.windows.records import Record
from blurvid.lab.data.windows.simulate import find_stills, simulate_still
from blurvid.lab.data.windows.team import Planner, Team, Threads
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions
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


def write_windows(
    sources: Sequence[Path],
    out: Path,
    options: SynthOptions,
    *,
    motion: MotionOptions | None = None,
    count: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    jobs: int | None = None,
    team: Team | None = None,
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
        overwrite: replace the windows that an earlier run listed in `out`; other files stay.
        resume: keep the windows of an interrupted run with the same options, write the others.
        jobs: threads that make windows, by default one a processor, at most `MOST_MAKERS`; the
            files are the same whatever their number.
        team: who makes the windows instead of these threads.
        on_window: called with the record of every window written.
        on_error: called with a clip or photo that failed and why; the others go on. None: the first
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
    plan: Planner
    if motion is None:
        clips = find_clips(sources)
        plan = partial(plan_windows, options=options)
    else:
        clips = find_stills(sources)
        plan = partial(simulate_still, others=clips, options=options, motion=motion, count=count)
    writer = _Writer(clips, plan, Folder(out), team or _threads(jobs), on_window, on_error)
    return writer.write(options, motion, overwrite, resume)


def _threads(jobs: int | None) -> Threads:
    jobs = min(MOST_MAKERS, runtime.processors()) if jobs is None else jobs
    runtime.check_threads(jobs, "threads that make windows")
    return Threads(jobs)


@dataclass(frozen=True)
class _Writer:
    """Writes the windows that are planned for clips."""

    clips: Sequence[SourceClip]
    plan: Planner
    folder: Folder
    team: Team
    on_window: Callable[[Record], None] | None
    on_error: Callable[[SourceClip, BlurvidError], None] | None

    def write(
        self, options: SynthOptions, motion: MotionOptions | None, overwrite: bool, resume: bool
    ) -> WriteSummary:
        """Write them, while no other process writes to the folder."""
        if overwrite and resume:
            raise OptionError("either overwrite or resume, not both")
        out = self.folder.out
        with locked(out / LOCK_FILE, out), runtime.memory_guard(torch.device("cpu")):
            try:
                return self._write(self.folder.prepare(options, motion, overwrite, resume))
            except BrokenPipeError:
                raise  # of what the callbacks print to, not of the windows
            except OSError as error:
                raise OutputError(f"{out}: {error.strerror or error}") from error

    def _write(self, done: Mapping[str, Set[int]]) -> WriteSummary:
        """Write those that are not there yet."""
        written = warned = failed = 0
        folder = self.folder
        pending = ((clip, done.get(clip.name, frozenset())) for clip in self.clips)
        with (
            folder.filling(self.clips) as lines,
            contextlib.closing(self.team(pending, self.plan, folder.out)) as results,
        ):
            for clip, made in results:
                try:
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
        if skipped or not self.team.in_order:
            folder.sort(self.clips)
        folder.finish(written + skipped)
        return WriteSummary(folder.manifest, len(self.clips), written, skipped, warned, failed)
