"""Workers that do tasks, a few each at a time, and may die of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from blurvid import __version__, media, runtime
from blurvid.batch.cluster import Seats
from blurvid.config import RAY_TRIES, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError

_TICK = 0.5
"""A wait [s] that Ctrl-C can end."""
_DYING = 5.0
"""Longest wait [s] for a process that was told to end."""

Task = TypeVar("Task")
TaskIn = TypeVar("TaskIn", contravariant=True)


class Work(Protocol[TaskIn]):
    """What workers do; it travels to each of them as a pickle."""

    def opened(
        self, run: RunOptions
    ) -> AbstractContextManager[tuple[Any, Callable[[TaskIn, bool], Any]]]:
        """Load what is needed, once a worker.

        Args:
            run: device, threads and memory of this worker.

        Yields:
            What is told of it; and a function that does a task, which is called in several
            threads. Its second argument says that a worker died of the task before.
        """
        ...


@dataclass(frozen=True)
class Worker:
    """A process of the cluster that is ready for tasks."""

    host: str
    process: int
    """Its number on that host."""
    start: str
    """How the names of its temporary files begin."""
    told: Any
    """What `Work.opened` tells."""

    @property
    def name(self) -> str:
        return f"worker {self.process} on {self.host}"


class _Actor:
    """What runs in each process of the cluster."""

    def __init__(self, work: Work[Any], run: RunOptions, share: float, home: str, sight: str):
        self.work, self.run, self.share = work, run, share
        self.home, self.sight = home, sight
        self.stack = contextlib.ExitStack()

    def open(self, version: str) -> Worker | BlurvidError:
        """Load what is needed; what a user can cause comes back as a value."""
        host = platform.node()
        if version != __version__:
            return DeviceError(f"{host} has blurvid {__version__}, here it is {version}")
        try:
            os.chdir(self.home)  # names mean the same everywhere
            seen = Path(self.sight).exists()
        except OSError:
            seen = False
        if not seen:
            return InputError(
                f"{host} does not see {self.home} and the folder of results as this machine does; "
                "photos and results must be on a disk that all machines share"
            )
        run = self.run
        if run.max_memory is None and self.share < 1 and run.device == "cpu":
            run = runtime.with_share(run, self.share)
        try:
            told, self.do_task = self.stack.enter_context(self.work.opened(run))
        except BlurvidError as error:
            return error
        return Worker(host, os.getpid(), media.own_start(), told)

    def do(self, task: Any, again: bool) -> Any:
        try:
            return self.do_task(task, again)
        except BlurvidError as error:
            return error


@dataclass(eq=False)
class _Member:
    """A worker as this process sees it."""

    actor: Any
    ready: Worker | None = None
    busy: int = 0
    alone: bool = False
    """Whether it does a task of which a worker may have died; it gets no other beside."""


@dataclass(eq=False)
class _Given(Generic[Task]):
    """A task, and how often a worker died of it, or beside it."""

    task: Task
    deaths: int = 0


class Crew(Generic[Task]):
    """Workers that do tasks, a few each at a time.

    A worker that dies is replaced, and what it had in hand is done again: first alone, so that a
    task that kills workers takes no others with it. After `RAY_TRIES` deaths a task is given up.
    """

    def __init__(
        self,
        ray: Any,
        seats: Seats,
        work: Work[Task],
        run: RunOptions,
        sight: Path,
        *,
        in_flight: int,
        on_worker: Callable[[Worker], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
        on_death: Callable[[Worker, list[Task]], None] | None = None,
    ) -> None:
        """Hire the workers.

        Args:
            ray: the module, joined to a cluster.
            seats: as `joined` found them.
            work: what they do.
            run: device, precision, memory of each.
            sight: a file that each must see.
            in_flight: most tasks that a worker has in hand.
            on_worker: called with each worker that is ready.
            on_trouble: called with a line about each that died.
            on_death: called with a worker that has ended and what it had in hand.
        """
        self.ray, self.seats, self.in_flight = ray, seats, in_flight
        self.on_worker, self.on_trouble, self.on_death = on_worker, on_trouble, on_death
        device = "cuda" if seats.gpus else "mps" if run.device == "mps" else "cpu"
        run = dataclasses.replace(run, device=device, threads=seats.cpus)
        # Once into the store of the cluster, not with every worker.
        self.sight = sight
        self.luggage = [ray.put(work), run, seats.share, str(Path.cwd()), str(sight.resolve())]
        self.kind = ray.remote(
            num_cpus=seats.cpus,
            num_gpus=seats.gpus,
            max_concurrency=in_flight + 1,
            max_restarts=0,
            max_task_retries=0,
        )(_Actor)
        self.members: list[_Member] = []
        self.calls: dict[Any, tuple[_Member, _Given[Task] | None]] = {}
        """What is waited for: the opening of a worker, or a task."""
        self.again: deque[_Given[Task]] = deque()
        self.over = False
        """Whether there are no more new tasks."""
        self.false_starts = 0
        self.problem: BlurvidError = DeviceError("no worker is left")
        for _ in range(seats.count):
            self._hire()

    def results(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Any]]:
        """Do tasks; give each with its result as soon as it is there.

        Args:
            tasks: taken one at a time, when a worker has room; None where there is none to be
                had yet.

        Yields:
            A task and what `Work` made of it, or the `BlurvidError` that ended it.

        Raises:
            BlurvidError: no worker can be had.
        """
        while True:
            waits = self._hand_out(tasks)
            working = any(given is not None for _, given in self.calls.values())
            if self.over and not self.again and not working:
                return
            if not self.members:
                raise self.problem
            if self.calls:
                done, _ = self.ray.wait(list(self.calls), timeout=_TICK if waits else 0)
                for reference in done:
                    if reference in self.calls:
                        yield from self._settle(reference)

    def end(self) -> None:
        """End all workers, whatever they are doing."""
        for member in list(self.members):
            self._dismiss(member, [])

    def _hire(self) -> None:
        self.sight.touch()  # others take an old file for one that was left over
        member = _Member(self.kind.remote(*self.luggage))
        self.members.append(member)
        self.calls[member.actor.open.remote(__version__)] = (member, None)

    def _hand_out(self, tasks: Iterator[Task | None]) -> bool:
        """Give tasks to workers that have room; whether to wait for one to be done now."""
        while True:
            free = [m for m in self.members if m.ready and not m.alone and m.busy < self.in_flight]
            if not free:
                return True
            member = min(free, key=lambda member: member.busy)
            if self.again and not member.busy:
                member.alone = True
                self._give(member, self.again.popleft())
                continue
            if self.over:
                return True
            try:
                task = next(tasks)
            except StopIteration:
                self.over = True
                return True
            if task is None:
                return False
            self._give(member, _Given(task))

    def _give(self, member: _Member, given: _Given[Task]) -> None:
        member.busy += 1
        reference = member.actor.do.remote(given.task, given.deaths > 0)
        self.calls[reference] = (member, given)

    def _settle(self, reference: Any) -> Iterator[tuple[Task, Any]]:
        """Take up what a worker gives back."""
        member, given = self.calls[reference]
        try:
            result = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError:
            raise  # a bug
        except self.ray.exceptions.RayError as error:
            yield from self._died(member, error)
            return
        del self.calls[reference]
        if given is not None:
            member.busy -= 1
            member.alone = False
            yield given.task, result
        elif isinstance(result, BlurvidError):
            self._refused(member, result)
        else:
            member.ready, self.false_starts = result, 0
            if self.on_worker:
                self.on_worker(result)

    def _refused(self, member: _Member, error: BlurvidError) -> None:
        """Do without a worker that could not begin, if there are others."""
        self._dismiss(member, [])
        self.problem = error
        if not any(other.ready for other in self.members):
            raise error
        if self.on_trouble:
            self.on_trouble(f"one worker less: {error}")

    def _died(self, member: _Member, error: Exception) -> Iterator[tuple[Task, Any]]:
        """Replace a worker, and do again what it had in hand and had not finished."""
        lost: list[_Given[Task]] = []
        for reference, (other, given) in list(self.calls.items()):
            if other is not member:
                continue
            del self.calls[reference]
            if given is None:
                continue
            try:
                yield given.task, self.ray.get(reference, timeout=_DYING)
            except self.ray.exceptions.RayTaskError:
                raise
            except self.ray.exceptions.RayError:
                given.deaths += 1
                lost.append(given)
        self._dismiss(member, [given.task for given in lost])
        who = member.ready.name if member.ready else "a worker"
        if member.ready is None:
            self.false_starts += 1
            self.problem = DeviceError(f"workers die at their start: {runtime.first_line(error)}")
            if self.false_starts >= RAY_TRIES and not any(m.ready for m in self.members):
                raise self.problem
        if self.on_trouble:
            again = sum(given.deaths < RAY_TRIES for given in lost)
            self.on_trouble(f"{who} died; {again} of what it had in hand done again")
        for given in lost:
            if given.deaths < RAY_TRIES:
                self.again.append(given)
            else:
                yield given.task, DeviceError(f"given up: {given.deaths} workers died of it")
        if self.false_starts < RAY_TRIES:
            self._hire()

    def _dismiss(self, member: _Member, tasks: list[Task]) -> None:
        """End a worker, and wait until it has ended."""
        if member in self.members:
            self.members.remove(member)
        for reference, (other, given) in list(self.calls.items()):
            if other is member:
                del self.calls[reference]
                if given is not None:
                    tasks.append(given.task)
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(member.actor)
            if member.ready is not None:
                self.ray.get(member.actor.open.remote(__version__), timeout=_DYING)
        if self.on_death and member.ready is not None:
            self.on_death(member.ready, tasks)
