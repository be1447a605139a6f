"""Do the jobs of a batch; a failed one is reported and the next one taken."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from blurvid import media, runtime
from blurvid.atomic import heed
from blurvid.bounds import check
from blurvid.config import BATCH_PIXELS, FRAMES, MOST_WRITERS, BatchOptions
from blurvid.errors import BlurvidError, DeviceError
from blurvid.flow import Motion
from blurvid.pipeline import Clip, Extractor
from blurvid.planning import Job, Outcome, Plan

WRITING = 0.97
"""Share of the time of a photo after which its files are written, about."""
_TICK = 0.5
"""Longest wait at a time [s]."""
_BYTES = 130
"""Of memory for one pixel of a photo in work: photo and frames as floats, frames as bytes."""
_FIT_BYTES = 40
"""Of these, for the fit that clips of the motion model carry."""
_FRAME_BYTES = 15
"""Of these, for each frame where there are more or fewer than seven besides the seven."""


def run(
    plan: Plan,
    extract: Extractor,
    options: BatchOptions = BatchOptions(),
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_warning: Callable[[Job, str], None] | None = None,
) -> list[Outcome]:
    """Do jobs; a failed one is reported and the next one taken.

    While the network works on a photo, the next one is read and those before are written, in
    threads. What is in memory at a time does not depend on the number of jobs. Whatever ends
    the run, an interrupt included, nothing goes on afterwards and no temporary file is left;
    those of runs that were killed are removed. Two processes do not do the same jobs at once.

    Args:
        plan: what to do.
        extract: the loaded model.
        options: how the batch is gone through.
        on_outcome: called after each job, in this thread and in the order of the jobs.
        on_warning: called in this thread with what there is to say of a photo before the network
            works on it; the outcome holds it as well.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        OptionError: an option is out of range.
        OutputError: another process is doing these jobs.
    """
    check(options)
    writers = options.writers
    if writers is None:
        writers = min(MOST_WRITERS, runtime.processors())
    steps = Steps(extract, plan, options.measure, options.allow_truncated, on_warning)
    one = len(plan.jobs) <= 1
    line = _overlapped(
        plan.jobs, steps, 0 if one else writers, _most_pixels(extract), options.fail_fast
    )
    outcomes = []
    with contextlib.nullcontext() if one else plan.alone(), contextlib.closing(line):
        for outcome in line:
            if on_outcome:
                on_outcome(outcome)
            outcomes.append(outcome)
    return outcomes


@dataclass(frozen=True)
class Steps:
    """What is done with one job, step by step; an `Outcome` ends it before the last."""

    extractor: Extractor
    plan: Plan
    measure: bool = True
    allow_truncated: bool = False
    on_warning: Callable[[Job, str], None] | None = None

    def read(self, job: Job) -> media.Photo | Outcome:
        """Check where the frames will go, and read the photo."""
        settled = self.plan.check(job)
        if settled is not None:
            return settled
        try:
            size = None if job.photo is None else media.photo_size(job.photo)
            if size is not None:
                self.extractor.check_size(*size)
        except DeviceError as error:  # which knows no name
            return Outcome(job, error=job.named(error))
        try:
            source = sys.stdin.buffer if job.photo is None else job.photo
            return media.read_photo(source, job.name, allow_truncated=self.allow_truncated)
        except BlurvidError as error:
            return Outcome(job, error=error)

    def known(self, job: Job, photo: media.Photo) -> tuple[str, ...]:
        """What there is to say of a photo before the network works on it."""
        # A comparison, which is small anyway, lacks nothing.
        lost = () if self.plan.output.clip.compare else media.lost_in(job.kind, photo)
        return (*photo.warnings, *lost)

    def extract(self, job: Job, photo: media.Photo) -> Clip | Outcome:
        """Run the network."""
        try:
            known = self.known(job, photo)
            if self.on_warning is not None:
                for warning in known:
                    self.on_warning(job, warning)
            clip = self.extractor(photo)
        except BlurvidError as error:
            return Outcome(job, error=job.named(error))
        return replace(clip, warnings=tuple(dict.fromkeys((*clip.warnings, *known))))

    def write(self, job: Job, clip: Clip) -> Outcome:
        """Write the frames."""
        self.extractor.tell("writing", WRITING)
        try:
            with runtime.memory_guard(torch.device("cpu")):
                return self._write(job, clip)
        except BlurvidError as error:  # too little memory knows no name
            lacking = isinstance(error, DeviceError)
            return Outcome(job, error=job.named(error) if lacking else error)

    def _write(self, job: Job, clip: Clip) -> Outcome:
        overwrite, shown, motion = self.plan.replaces, self.plan.output.clip, None
        if job.count == 1:
            outputs = [clip.save_still(job.target, overwrite=overwrite)]
        else:
            outputs = clip.save(
                job.target, options=shown, stem=job.stem, overwrite=overwrite, kind=job.kind
            )
            for kind, paths in job.besides.items():
                for path in paths:
                    clip.save_beside(kind, path, reverse=shown.reverse, overwrite=overwrite)
                if kind != "contact":  # a part of the page about all
                    outputs += paths
            if job.besides.get("flow"):
                motion = clip.motion(shown.reverse)
        told = _facts(clip, self.measure, motion)
        return Outcome(job, outputs, recipe=clip.recipe, facts=told, warnings=clip.warnings)


def _facts(clip: Clip, measure: bool, motion: Motion | None = None) -> dict[str, Any]:
    """What is told of a clip, as plain values.

    Args:
        clip: what was made.
        measure: work out the re-blur PSNR and the trust.
        motion: of the frames as they were written, where it was asked for.
    """
    found: dict[str, Any] = {}
    if motion is not None:
        found["motion"] = {name: round(value, 2) for name, value in asdict(motion).items()}
    measure &= len(clip.tensor) > 1  # the average of a single frame explains nothing
    return found | {
        "width": clip.tensor.shape[-1],
        "height": clip.tensor.shape[-2],
        "frames": len(clip.tensor),
        "device": clip.device,
        "scale": clip.scale,
        "tiles": clip.tiles,
        "seconds": round(clip.seconds, 3),
        "reblur_psnr": round(min(clip.reblur_psnr, 999.0), 2) if measure else None,
        "trust": clip.trust().record() if measure else None,
        "verdict": None if clip.verdict is None else clip.verdict.record(),
    }


def _overlapped(
    jobs: Sequence[Job], steps: Steps, writers: int, pixels: int, fail_fast: bool
) -> Generator[Outcome, None, None]:
    """Read the next photo and write the last clips while the network works.

    The network runs in this thread. Whatever ends the iteration, the threads end too: what is
    being written is broken off after the frame at hand.

    Args:
        jobs: what to do.
        steps: how it is done.
        writers: threads that write; 0 does one thing after the other.
        pixels: of photos in work at a time; a larger one is in work alone.
        fail_fast: stop after the first failure.

    Yields:
        The outcomes, in the order of the jobs. After a failure that ends the run, or an interrupt,
        those that are whole all the same.
    """
    wish = threading.Event()
    reader, writer = (
        ThreadPoolExecutor(max(1, count), f"blurvid-{name}", heed, (wish,))
        for name, count in (("reader", 1), ("writer", writers))
    )
    written: deque[tuple[Future[Outcome], int]] = deque()
    """What is made and not yet told of, with the pixels that it takes."""
    ahead: Future[media.Photo | Outcome] | None = None

    def in_work() -> int:
        return sum(taken for _, taken in written)

    def finished(most: float, room: int) -> Iterator[Outcome]:
        while written and (written[0][0].done() or len(written) > most or in_work() > room):
            outcome = _result(written.popleft()[0])
            yield outcome
            if fail_fast and outcome.error is not None:
                raise _EnoughError

    def stop() -> Iterator[Outcome]:
        wish.set()
        for threads in (writer, reader):
            threads.shutdown(cancel_futures=True)
        for future, _ in written:
            if not future.cancelled() and future.exception() is None:
                if future.result().error is None:
                    yield future.result()

    try:
        for number, job in enumerate(jobs):
            if fail_fast and any(done.done() and done.result().error for done, _ in written):
                break  # those before it are waited for, and told of first
            if ahead is None:
                yield from finished(math.inf, pixels - 1)
                if writers and not _may_hang(job):  # its thread starts while there is memory
                    ahead = reader.submit(steps.read, job)
            result = steps.read(job) if ahead is None else _result(ahead)
            size, ahead = _pixels(result), None
            yield from finished(writers, pixels - size)
            after = jobs[number + 1] if number + 1 < len(jobs) else None
            if writers and after and in_work() + size < pixels and not _may_hang(after):
                ahead = reader.submit(steps.read, after)
            made = steps.extract(job, result) if isinstance(result, media.Photo) else result
            del result
            done: Future[Outcome] = Future()
            if isinstance(made, Outcome):
                done.set_result(made)
            elif writers:  # which alone hold the clip, so that it goes as soon as it is written
                done = writer.submit(lambda job, clip: steps.write(job, clip.pop()), job, [made])
            else:
                done.set_result(steps.write(job, made))
            written.append((done, size))
            del made, done
        yield from finished(0, 0)
    except (_EnoughError, KeyboardInterrupt, SystemExit) as end:
        yield from stop()
        if not isinstance(end, _EnoughError):
            raise
    finally:
        list(stop())


class _EnoughError(Exception):
    """A failure that ends the batch."""


def _result(future: Future[Any]) -> Any:
    """What a thread gives back, or raises; Windows ends no endless wait by Ctrl-C."""
    while not wait([future], _TICK).done:
        pass
    return future.result()


def _may_hang(job: Job) -> bool:
    """Whether a photo is a pipe or a device, which may never end: no thread is to wait for it."""
    try:
        return job.photo is None or media.is_special(job.photo)
    except (OSError, ValueError):  # reading it tells
        return False


def _pixels(result: media.Photo | Outcome) -> int:
    """Pixels of a photo; an outcome needs no room."""
    if not isinstance(result, media.Photo):
        return 0
    return result.pixels.shape[-2] * result.pixels.shape[-1]


def _most_pixels(extract: Extractor) -> int:
    """Pixels of photos in work at a time: a limit to memory leaves an eighth of it for them."""
    count = extract.recipe.count
    others = 0 if count == FRAMES else count * _FRAME_BYTES
    size = _BYTES + (_FIT_BYTES if extract.fitting else 0) + others
    usual = BATCH_PIXELS * _BYTES // size
    if extract.host_memory is None:
        return usual
    return min(usual, extract.host_memory // (8 * size))
