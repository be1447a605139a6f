"""Do the jobs of a batch; a failed one is reported and the next one taken."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any

from blurvid import media, runtime
from blurvid.atomic import heed, locked
from blurvid.batch.photo import Steps
from blurvid.config import BATCH_PIXELS, FRAMES, MOST_WRITERS, BatchOptions, Output
from blurvid.pipeline import Clip, Extractor
from blurvid.planning import Gate, Job, Outcome, folder_of, identities
from blurvid.targets import check_clip_options

_TICK = 0.5
"""Longest wait at a time [s]."""
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
    output: Output = Output(),
    options: BatchOptions = BatchOptions(),
    *,
    whole: Sequence[Job] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
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
        output: how clips are shown, and whether files are written over.
        options: how the batch is gone through.
        whole: all jobs of the batch of which these are a share; their photos are not written
            over.
        on_outcome: called after each job, in this thread and in the order of the jobs.
        on_warning: called in this thread with what there is to say of a photo before the network
            works on it; the outcome holds it as well.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        OptionError: an option is out of range.
        OutputError: another process is doing these jobs.
    """
    check_clip_options(output.clip)
    writers = writers_here() if options.writers is None else options.writers
    runtime.check_threads(writers, "threads that write", least=0)
    gate = Gate(identities(whole or jobs), output)
    steps = Steps(extract, gate, options.measure, options.allow_truncated, on_warning)
    pixels = options.pixels or pixels_for(extract)
    one = len(jobs) <= 1
    line = _overlapped(jobs, steps, 0 if one else writers, pixels, options.fail_fast)
    outcomes = []
    with contextlib.nullcontext() if one else alone(jobs), contextlib.closing(line):
        for outcome in line:
            if on_outcome:
                on_outcome(outcome)
            outcomes.append(outcome)
    return outcomes


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
                done = writer.submit(_write, steps, job, [made])
            else:
                done.set_result(steps.write(job, made))
            written.append((done, size))
            del made, done
        yield from finished(0, 0)
    except _EnoughError:
        yield from stop()
    except (KeyboardInterrupt, SystemExit):
        yield from stop()
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


def _write(steps: Steps, job: Job, clip: list[Clip]) -> Outcome:
    return steps.write(job, clip.pop())


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


def pixels_for(extract: Extractor) -> int:
    """Pixels of photos in work at a time: a limit to memory leaves an eighth of it for them."""
    count = extract.recipe.count
    size = (
        _BYTES
        + (_FIT_BYTES if extract.fitting else 0)
        + (count if count != FRAMES else 0) * _FRAME_BYTES
    )
    usual = BATCH_PIXELS * _BYTES // size
    if extract.host_memory is None:
        return usual
    return min(usual, extract.host_memory // (8 * size))
