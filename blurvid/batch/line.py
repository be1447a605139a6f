"""One job after the other, or reading, network and writing side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeAlias

from blurvid import media
from blurvid.batch.jobs import Job, Outcome
from blurvid.interrupts import Stopped, heed
from blurvid.pipeline import Clip

_TICK = 0.5
"""A wait [s] that Ctrl-C can end on Windows too, where it does not end an endless one."""


class Work(Protocol):
    """The steps of a job; an `Outcome` ends it before the last one."""

    def read(self, job: Job) -> media.Photo | Outcome: ...

    def extract(self, job: Job, photo: media.Photo) -> Clip | Outcome: ...

    def write(self, job: Job, clip: Clip) -> Outcome: ...


def in_turn(jobs: Sequence[Job], steps: Work, fail_fast: bool) -> Generator[Outcome, None, None]:
    """Do one thing after the other, in this thread."""
    for job in jobs:
        result: media.Photo | Clip | Outcome = steps.read(job)
        if isinstance(result, media.Photo):
            result = steps.extract(job, result)
        if isinstance(result, Clip):
            result = steps.write(job, result)
        failed = result.error is not None
        yield result
        del result
        if failed and fail_fast:
            return


def overlapped(
    jobs: Sequence[Job], steps: Work, writers: int, pixels: int, fail_fast: bool
) -> Generator[Outcome, None, None]:
    """Read the next photos and write the last clips while the network works.

    One thread reads, the network runs in this one, others write. All decisions are taken here,
    between two calls of the network; the threads do what they are given. Whatever ends the
    iteration, the threads end too: what is being written is broken off after the frame at hand.

    Args:
        jobs: what to do.
        steps: how it is done.
        writers: threads that write, at least 1.
        pixels: of photos in work at a time; a larger one is in work alone, but for one that is
            read beside it.
        fail_fast: stop after the first failure.

    Returns:
        An iterator over the outcomes, in the order of the jobs. After a failure that ends the
        run, or an interrupt, it gives those that are whole all the same.
    """
    line = _Line(jobs, steps, writers, pixels, fail_fast)
    try:
        while line.told < len(jobs):
            outcome = line.next_outcome()
            yield outcome
            del outcome
            if line.ending is not None and line.ending < line.told:
                line.stop()
                yield from line.whole()
                return
    except (KeyboardInterrupt, SystemExit):
        line.stop()
        yield from line.whole()
        raise
    finally:
        line.stop()


_Result: TypeAlias = media.Photo | Outcome | BaseException


class _Line:
    """Where each job of a batch is."""

    def __init__(
        self, jobs: Sequence[Job], steps: Work, writers: int, pixels: int, fail_fast: bool
    ) -> None:
        self.jobs, self.steps, self.pixels = jobs, steps, pixels
        self.most = writers + 1  # one waits, so that no writer does
        self.wish = threading.Event()
        self.reader, self.writers = (
            ThreadPoolExecutor(count, f"blurvid-{name}", heed, (self.wish,))
            for name, count in (("reader", 1), ("writer", writers))
        )
        self.reading: Future[media.Photo | Outcome] | None = None
        self.writing: dict[Future[Outcome], int] = {}
        """What the writers were given, by number of the job."""
        self.told = 0
        """Jobs whose outcomes have been given away."""
        self.sent = 0
        """Jobs that the reader was given."""
        self.read: deque[_Result] = deque()
        """What the reader laid down and the network has not taken."""
        self.written: dict[int, Outcome | BaseException] = {}
        """Finished, but not given away, by number of the job."""
        self.fail_fast = fail_fast
        self.ending: int | None = None
        """Number of a job whose failure ends the run: nothing more is begun."""
        self.clips: dict[int, int] = {}
        """Pixels of each clip that is not given away, by number of the job."""

    def next_outcome(self) -> Outcome:
        """Work on until the outcome of the next job is there."""
        while self.told not in self.written:
            self._gather(0)
            self._send()
            if self._may_extract():
                self._extract()
            elif self.told not in self.written:
                self._gather(_TICK)
        outcome = self.written.pop(self.told)
        self.clips.pop(self.told, None)
        self.told += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def whole(self) -> Iterator[Outcome]:
        """What else is done after a stop, in the order of the jobs."""
        self._gather(0)
        for _, outcome in sorted(self.written.items()):
            if isinstance(outcome, Outcome) and outcome.error is None:
                yield outcome

    def stop(self) -> None:
        """End all threads; a second call, after an interrupt of the first, waits on."""
        self.wish.set()
        for threads in (self.writers, self.reader):
            threads.shutdown(cancel_futures=True)

    def _gather(self, patience: float) -> None:
        """Take up what the threads have done, and wait for something to be done [s]."""
        running: list[Future[Any]] = [*self.writing]
        if self.reading is not None:
            running.append(self.reading)
        wait(running, patience, FIRST_COMPLETED)
        if self.reading is not None and self.reading.done():
            self.read.append(_result(self.reading))
            self.reading = None
        for future in [future for future in self.writing if future.done()]:
            self._finish(self.writing.pop(future), _result(future))

    def _send(self) -> None:
        """Let the reader go on, where there is room for one more photo."""
        waiting = sum(_pixels(result) for result in self.read)
        if self.sent == len(self.jobs) or self.reading is not None or len(self.read) > 1:
            return
        if self.ending is not None:
            return
        if (self.read or self.clips) and waiting + sum(self.clips.values()) >= self.pixels:
            return
        job = self.jobs[self.sent]
        self.sent += 1
        if job.photo is None or _may_hang(job):
            # A thread that waits for a pipe could not be ended.
            self.read.append(self.steps.read(job))
        else:
            self.reading = self.reader.submit(self.steps.read, job)

    def _finish(self, number: int, result: Outcome | BaseException) -> None:
        """Keep what became of a job until its turn comes."""
        self.written[number] = result
        failed = isinstance(result, BaseException) or (self.fail_fast and result.error is not None)
        if failed and (self.ending is None or number < self.ending):
            self.ending = number

    def _may_extract(self) -> bool:
        """Whether a photo is there, and room for its clip."""
        if not self.read or self.ending is not None:
            return False
        more = _pixels(self.read[0])
        if not more or not self.clips:
            return True
        return len(self.clips) < self.most and sum(self.clips.values()) + more <= self.pixels

    def _extract(self) -> None:
        """Run the network on the next photo, and give the clip to the writers."""
        number = self.sent - len(self.read) - (self.reading is not None)
        result = self.read.popleft()
        if not isinstance(result, media.Photo):
            self._finish(number, result)
            return
        self.clips[number] = _pixels(result)
        self._send()  # the next one is read meanwhile
        job = self.jobs[number]
        clip = self.steps.extract(job, result)
        if isinstance(clip, Outcome):
            self._finish(number, clip)
        else:
            self.writing[self.writers.submit(self._write, job, [clip])] = number

    def _write(self, job: Job, clip: list[Clip]) -> Outcome:
        # Nobody holds the clip any more when the outcome is there, and the next photo may be read.
        return self.steps.write(job, clip.pop())


def _result(future: Future[Any]) -> Any:
    """What a thread gives back, or what it raised."""
    if future.cancelled():
        return Stopped()
    return future.exception() or future.result()


def _may_hang(job: Job) -> bool:
    """Whether a photo is a pipe or a device, which may never end."""
    try:
        return job.photo is not None and media.is_special(job.photo)
    except (OSError, ValueError):  # reading it tells
        return False


def _pixels(result: _Result) -> int:
    """Pixels of a photo; an outcome needs no room."""
    if not isinstance(result, media.Photo):
        return 0
    return result.pixels.shape[-2] * result.pixels.shape[-1]
