"""Do the jobs of a batch; a failed one is reported and the next one taken."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from blurvid import media, runtime
from blurvid.batch.jobs import Job, Made, Outcome
from blurvid.batch.line import in_turn, overlapped
from blurvid.config import BATCH_PIXELS, FRAME_FORMATS, FRAMES, MOST_WRITERS, ClipOptions
from blurvid.errors import BlurvidError, DeviceError, OutputError
from blurvid.locks import locked
from blurvid.pipeline import Clip, Extractor, extend

_BYTES = 130
"""Of memory for one pixel of a photo in work: photo and frames as floats, frames as bytes."""
_FIT_BYTES = 40
"""Of these, for the fit that clips of the motion model carry."""
_FRAME_BYTES = 15
"""Of these, for each frame where there are more or fewer than seven besides the seven."""


def writers_here() -> int:
    """How many threads write by default: one a processor that this process may use."""
    return min(MOST_WRITERS, runtime.processors())


def run(
    jobs: Sequence[Job],
    extract: Extractor,
    options: ClipOptions,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
    writers: int | None = None,
    pixels: int | None = None,
    measure: bool = True,
    whole: Sequence[Job] | None = None,
    on_warning: Callable[[Job, str], None] | None = None,
) -> list[Outcome]:
    """Do jobs; a failed one is reported and the next one taken.

    While the network works on a photo, the next one is read and those before are written, in
    threads. What is in memory at a time does not depend on the number of jobs. Whatever ends
    the run, an interrupt included, nothing goes on afterwards and no temporary file is left;
    those of runs that were killed are removed. Two processes do not do the same jobs at once.

    Args:
        jobs: what to do.
        extract: the loaded model.
        options: how clips are shown.
        overwrite: replace existing outputs.
        skip_existing: leave jobs whose outputs are all there, to resume a batch.
        fail_fast: stop after the first failure; what is whole by then is reported as well.
        on_outcome: called after each job, in this thread and in the order of the jobs.
        writers: threads that write; 0 does one thing after the other; by default
            `writers_here`.
        pixels: of photos in work at a time; a larger one is in work alone. By default
            `BATCH_PIXELS`, or less where the extractor may take little memory.
        measure: work out the re-blur PSNR of clips.
        whole: all jobs of the batch of which these are a share; their photos are not written
            over.
        on_warning: called in this thread with what there is to say of a photo before the network
            works on it; the outcome holds it as well.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        OptionError: an option is out of range.
        OutputError: another process is doing these jobs.
    """
    media.check_clip_options(options)
    writers = writers_here() if writers is None else writers
    runtime.check_threads(writers, "threads that write", least=0)
    gate = Gate(identities(whole or jobs), overwrite, skip_existing)
    steps = Steps(extract, options, gate, measure, on_warning)
    line = side_by_side(jobs, steps, writers, pixels, fail_fast)
    outcomes = []
    with alone(jobs), contextlib.closing(line):
        for outcome in line:
            if on_outcome:
                on_outcome(outcome)
            outcomes.append(_light(outcome))
    return outcomes


def side_by_side(
    jobs: Sequence[Job],
    steps: Steps,
    writers: int,
    pixels: int | None = None,
    fail_fast: bool = False,
) -> Generator[Outcome, None, None]:
    """Do jobs, some things beside the network where there are writers; as `run`."""
    if not writers or len(jobs) <= 1:
        return in_turn(jobs, steps, fail_fast)
    pixels = pixels or pixels_for(steps.extractor, most_frames(jobs))
    return overlapped(jobs, steps, writers, pixels, fail_fast)


def alone(jobs: Sequence[Job]) -> AbstractContextManager[None]:
    """Keep other processes from the same jobs; other jobs, shares of a batch too, may go on.

    Raises:
        OutputError: another process is doing these jobs.
    """
    if not jobs:
        return contextlib.nullcontext()
    targets = "\0".join(f"{job.target.absolute()}\0{job.stem}\0{job.kind}" for job in jobs)
    key = hashlib.sha256(targets.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = folder_of(jobs)
    return locked(folder / f".blurvid-{key}.lock", folder if len(jobs) > 1 else jobs[0].target)


def folder_of(jobs: Sequence[Job]) -> Path:
    """The folder that everything goes to, or the first of several that have none in common."""
    folders = [
        job.target if job.kind in FRAME_FORMATS and not job.single else job.target.parent
        for job in jobs
    ]
    with contextlib.suppress(ValueError):  # two drives
        common = Path(os.path.commonpath(folders))
        if not common.anchor or common != Path(common.anchor):
            return common
    return folders[0]


def most_frames(jobs: Sequence[Job]) -> int:
    """The largest number of frames that one of the jobs asks for."""
    return max((job.count for job in jobs), default=FRAMES)


def pixels_for(extract: Extractor, frames: int = FRAMES) -> int:
    """Pixels of photos in work at a time: a limit to memory leaves an eighth of it for them.

    Args:
        extract: the extractor.
        frames: made of each photo; others than the seven take memory besides these.
    """
    size = (
        _BYTES
        + (_FIT_BYTES if extract.fitting else 0)
        + (frames if frames != FRAMES else 0) * _FRAME_BYTES
    )
    usual = BATCH_PIXELS * _BYTES // size
    if extract.max_memory is None or extract.device.type != "cpu":
        return usual
    return min(usual, extract.max_memory // (8 * size))


def named(job: Job, error: BlurvidError) -> BlurvidError:
    """An error that tells which photo it came from."""
    named = type(error)(f"{job.name}: {error}")
    named.__cause__ = error
    return named


def _light(outcome: Outcome) -> Outcome:
    """An outcome without what takes memory: the clips that its error holds on to."""
    error: BaseException | None = outcome.error
    while error is not None:
        # A traceback keeps all that the functions which failed had in their hands.
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    return outcome


def identities(jobs: Sequence[Job]) -> frozenset[tuple[int, int]]:
    """What the photos of jobs are on the disk, whatever they are called."""
    found = set()
    for job in jobs:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be no stdin
            status = os.fstat(sys.stdin.fileno()) if job.photo is None else job.photo.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


@dataclass
class Gate:
    """What is looked at before a photo is taken up."""

    inputs: frozenset[tuple[int, int]]
    """Device and number of each photo's file; none of them is written over."""
    overwrite: bool
    skip_existing: bool
    cleaned: set[Path] = field(default_factory=set)
    """Folders in which nothing of a killed run is left."""

    @property
    def replaces(self) -> bool:
        """Whether files are written over; also what an interrupted batch left incomplete."""
        return self.overwrite or self.skip_existing

    def check(self, job: Job) -> Outcome | None:
        """Check where the frames will go; an outcome where nothing is left to be done."""
        try:
            if job.error is not None:
                raise job.error
            files = job.files()
            for path in files:
                self._refuse_input(job, path)
            for folder in dict.fromkeys(path.parent for path in files):
                if folder not in self.cleaned:
                    self.cleaned.add(folder)
                    media.remove_stale(folder)
            if self.skip_existing and all(path.exists() for path in files):
                return Outcome(job, files, skipped=True)
            job.files(self.replaces)
        except BlurvidError as error:
            return Outcome(job, error=error)
        return None

    def _refuse_input(self, job: Job, path: Path) -> None:
        """Refuse to write over a photo of the batch, whatever name leads to it."""
        try:
            status = path.stat()
        except OSError:
            return
        if (status.st_dev, status.st_ino) in self.inputs:
            raise OutputError(f"{job.name}: output {path} is the same file as an input")


@dataclass(frozen=True)
class Steps:
    """What is done with one job, step by step; an `Outcome` ends it before the last."""

    extractor: Extractor
    options: ClipOptions
    gate: Gate
    measure: bool
    on_warning: Callable[[Job, str], None] | None = None

    def read(self, job: Job) -> media.Photo | Outcome:
        """Check where the frames will go, and read the photo."""
        settled = self.gate.check(job)
        if settled is not None:
            return settled
        try:
            source = sys.stdin.buffer if job.photo is None else job.photo
            return media.read_photo(source, job.name, allow_truncated=job.allow_truncated)
        except BlurvidError as error:
            return Outcome(job, error=error)

    def extract(self, job: Job, photo: media.Photo) -> Clip | Outcome:
        """Run the network."""
        lost = media.lost_in(job.kind, photo)
        if self.on_warning is not None:
            for warning in (*photo.warnings, *lost):
                self.on_warning(job, warning)
        try:
            clip = extend(self.extractor, self.extractor(photo), job.beyond)
        except BlurvidError as error:
            return Outcome(job, error=named(job, error))
        return replace(clip, warnings=clip.warnings + lost)

    def write(self, job: Job, clip: Clip) -> Outcome:
        """Write the frames."""
        overwrite = self.gate.replaces
        try:
            with runtime.memory_guard(torch.device("cpu")):
                if job.single:
                    still = clip.save_still(job.target, overwrite=overwrite)
                    return Outcome(job, [still], Made.of(clip, False))
                if job.count != len(clip.tensor):
                    extractor = self.extractor
                    on_cpu = extractor.device.type == "cpu"
                    clip = clip.resample(job.frames, extractor.max_memory if on_cpu else None)
                outputs = clip.save(
                    job.target,
                    options=self.options,
                    stem=job.stem,
                    overwrite=overwrite,
                    kind=job.kind,
                )
                if job.montage is not None:
                    outputs.append(clip.save_montage(job.montage, overwrite=overwrite))
                reverse = self.options.reverse
                for path in job.flows:
                    outputs.append(clip.save_flow(path, reverse=reverse, overwrite=overwrite))
                for path in job.trusts:
                    outputs.append(clip.save_trust(path, overwrite=overwrite))
                motion = clip.motion(reverse) if job.flows else None
                made = Made.of(clip, self.measure)
        except DeviceError as error:  # too little memory; it knows no name
            return Outcome(job, error=named(job, error))
        except BlurvidError as error:
            return Outcome(job, error=error)
        return Outcome(job, outputs, made, motion=motion)
