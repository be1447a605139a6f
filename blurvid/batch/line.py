"""One job after the other, or reading, network and writing side by side."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol, TypeAlias

from blurvid import media
from blurvid.batch.jobs import Job, Outcome
from blurvid.interrupts import break_off
from blurvid.pipeline import Clip

PATIENCE = 30.0
"""Longest wait [s] for a thread that is to end: for one call into a codec."""
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
    between two calls of the network; the threads do what they are given and lay down the results.
    Whatever ends the iteration, the threads end too.

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
        self.events: _Events = queue.SimpleQueue()
        self.reader = _Crew(1, self.events)
        self.writers = _Crew(writers, self.events)
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

    @property
    def taken(self) -> int:
        """Jobs that the network is done with, or that needed none."""
        return self.sent - len(self.read) - self.reader.busy

    def next_outcome(self) -> Outcome:
        """Work on until the outcome of the next job is there."""
        while self.told not in self.written:
            self._gather(wait=False)
            self._send()
            if self._may_extract():
                self._extract()
            elif self.told not in self.written:
                self._gather(wait=True)
        outcome = self.written.pop(self.told)
        self.clips.pop(self.told, None)
        self.told += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def whole(self) -> Iterator[Outcome]:
        """What else is done after a stop, in the order of the jobs."""
        self._gather(wait=False)
        for _, outcome in sorted(self.written.items()):
            if isinstance(outcome, Outcome) and outcome.error is None:
                yield outcome

    def stop(self) -> None:
        """End all threads, wherever they are."""
        self.writers.stop(PATIENCE)
        self.reader.stop(1.0)  # it leaves nothing behind, and may hang in a pipe

    def _gather(self, wait: bool) -> None:
        """Take up what the threads have laid down; with `wait`, at least one thing."""
        while True:
            try:
                crew, number, result = self.events.get(wait, _TICK)
            except queue.Empty:
                if wait:
                    continue
                return
            wait = False
            crew.busy -= 1
            if crew is self.reader:
                self.read.append(result)
            elif not isinstance(result, media.Photo):
                self._finish(number, result)

    def _send(self) -> None:
        """Let the reader go on, where there is room for one more photo."""
        waiting = sum(_pixels(result) for result in self.read)
        if self.sent == len(self.jobs) or self.reader.busy or len(self.read) > 1:
            return
        if self.ending is not None:
            return
        if (self.read or self.clips) and waiting + sum(self.clips.values()) >= self.pixels:
            return
        number, job = self.sent, self.jobs[self.sent]
        self.sent += 1
        if job.photo is None:
            # A thread that waits for standard input could not be ended.
            self.read.append(self.steps.read(job))
            return
        self.reader.give(number, lambda: self.steps.read(job))

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
        number, result = self.taken, self.read.popleft()
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
            self.writers.give(number, lambda: self.steps.write(job, clip))


def _pixels(result: _Result) -> int:
    """Pixels of a photo; an outcome needs no room."""
    if not isinstance(result, media.Photo):
        return 0
    return result.pixels.shape[-2] * result.pixels.shape[-1]


class _Stopped(BaseException):
    """Ends what a thread is doing; no handler of errors takes it for one."""


class _Crew:
    """Threads that do what they are given, and lay down what comes of it."""

    def __init__(self, count: int, events: _Events) -> None:
        self.events = events
        self.tasks: queue.SimpleQueue[tuple[int, Callable[[], _Result]] | None] = (
            queue.SimpleQueue()
        )
        self.busy = 0
        """Tasks given whose results have not been taken up; counted by who gives them."""
        self.threads = [
            threading.Thread(target=self._work, name=f"blurvid-{number}", daemon=True)
            for number in range(count)
        ]
        self.untold = list(self.threads)
        """Threads that were not told to stop."""
        for thread in self.threads:
            thread.start()

    def give(self, number: int, task: Callable[[], _Result]) -> None:
        """Have a task done for the job of a number."""
        self.busy += 1
        self.tasks.put((number, task))

    def stop(self, patience: float) -> None:
        """End the threads; what they were doing is broken off as by an interrupt.

        So temporary files are removed and programs ended on the usual ways out. Only queues are
        shared with the threads: an exception from outside could leave a lock locked.

        A second call, after an interrupt of the first, waits on: a thread is told only once, as
        it would be broken off in its own cleaning up.
        """
        while not self.tasks.empty():
            with contextlib.suppress(queue.Empty):
                self.tasks.get_nowait()
        while self.untold:
            thread = self.untold.pop()
            if thread.ident is not None and self.busy:
                break_off(thread, _Stopped)
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join(patience)

    def _work(self) -> None:
        with contextlib.suppress(_Stopped):
            while (given := self.tasks.get()) is not None:
                number, task = given
                results: list[_Result] = []
                try:
                    results.append(task())
                except _Stopped:
                    return
                except BaseException as error:  # for the thread that asked
                    results.append(error)
                # A clip may be in these. It has to be gone from here when the other thread gets
                # the result, which may then have the next photo read.
                del given, task
                self.events.put((self, number, results.pop()))


_Events: TypeAlias = "queue.SimpleQueue[tuple[_Crew, int, _Result]]"
