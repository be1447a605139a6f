"""Tasks that the workers of a Ray cluster do, through Ray Data, and may die of."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from blurvid import __version__, media, runtime
from blurvid.batch.cluster import Seats, joined
from blurvid.config import RAY_TRIES, RayOptions, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OutputError

Task = TypeVar("Task")
TaskIn = TypeVar("TaskIn", contravariant=True)


class Work(Protocol[TaskIn]):
    """What workers do; it travels to each of them as a pickle."""

    def opened(
        self, run: RunOptions
    ) -> AbstractContextManager[tuple[Any, Callable[[Sequence[TaskIn], bool], Sequence[Any]]]]:
        """Load what is needed, once a worker.

        Args:
            run: device, threads and memory of this worker.

        Yields:
            What is told of it; and a function that does tasks and gives their results. Its second
            argument says that a worker died of them before.
        """
        ...

    def tidy(self, tasks: Sequence[TaskIn], ended: Sequence[str]) -> None:
        """Remove what workers left that died of tasks.

        Args:
            tasks: the tasks.
            ended: the workers, as `media.own_start` named them.
        """
        ...


@dataclass(frozen=True)
class Worker:
    """A process of the cluster that does tasks."""

    name: str
    told: Any
    """What `Work.opened` tells."""


@dataclass
class _Actor:
    """What runs in each process of the cluster. A user's errors come back as values.

    A block of tasks in work has a mark beside the sight, with a line of each worker that began it:
    a restarted worker knows by it what the ones before died of. It does such tasks one by one, so
    that one that kills workers takes no others with it, and gives it up after `RAY_TRIES` deaths.
    """

    work: Work[Any]
    run: RunOptions
    share: float
    home: Path
    sight: Path
    version: str
    worker: Worker | None = None

    def __call__(self, batch: Any) -> dict[str, Any]:
        number, tasks = batch["number"][0].as_py(), pickle.loads(batch["tasks"][0].as_py())
        try:
            done: Any = self._done(_mark(self.sight, number), tasks)
        except BlurvidError as error:
            done = error
        return {"number": [number], "done": [pickle.dumps(done)]}

    def _done(self, mark: Path, tasks: Sequence[Any]) -> tuple[Worker, list[Any], list[str]]:
        """The results of tasks, None where they are not begun, and who died of them before."""
        if self.worker is None:
            self._look()
        before = _lines(mark)
        died_at = {start: int(task) for start, task, _ in before}  # the last that each began
        self._note(mark, -1)
        if self.worker is None:
            if list(died_at.values()).count(-1) >= RAY_TRIES:
                raise DeviceError(f"workers die at their start: {RAY_TRIES} on {platform.node()}")
            self.worker = self._open()
        if self.sight.stat().st_size:  # that is enough
            mark.unlink()
            return self.worker, [None] * len(tasks), []
        if not before:
            return self.worker, list(self.do(tasks, False)), []
        self.work.tidy(tasks, list(died_at))
        results: list[Any] = []
        for number, task in enumerate(tasks):
            deaths = sum(place in (-1, number) for place in died_at.values())
            if deaths >= RAY_TRIES:
                results.append(DeviceError(f"given up: {deaths} workers died of it"))
            else:
                self._note(mark, number)
                results += self.do([task], True)
        return self.worker, results, [name for _, _, name in before]

    def _look(self) -> None:
        """Go where names mean the same as elsewhere.

        Raises:
            BlurvidError: this machine cannot take part.
        """
        host = platform.node()
        if self.version != __version__:
            raise DeviceError(f"{host} has blurvid {__version__}, here it is {self.version}")
        with contextlib.suppress(OSError):
            os.chdir(self.home)
            if self.sight.exists():
                return
        raise InputError(
            f"{host} does not see {self.home} and the folder of results as this machine does; "
            "photos and results must be on a disk that all machines share"
        )

    def _open(self) -> Worker:
        """Load what is needed, in the thread that works: settings of torch belong to it."""
        run = self.run
        if run.max_memory is None and self.share < 1 and run.device == "cpu":
            run = runtime.with_share(run, self.share)
        self.block = self.work.opened(run)  # which ends with the process
        told, self.do = self.block.__enter__()
        return Worker(_name(), told)

    def _note(self, mark: Path, number: int) -> None:
        """Note that this worker begins a task, or -1 for a block."""
        with mark.open("a", encoding="utf-8") as file:
            file.write(f"{media.own_start()} {number} {_name()}\n")


def _name() -> str:
    return f"worker {os.getpid()} on {platform.node()}"


def _mark(sight: Path, number: int) -> Path:
    """What says that a block is in work; the name is one of a temporary file."""
    return sight.with_name(f"{sight.stem}{number}.try")


def _marks(sight: Path) -> list[Path]:
    return list(sight.parent.glob(f"{sight.stem}*.try"))


def _lines(mark: Path) -> list[tuple[str, str, str]]:
    """The lines of a mark: how files of a worker begin, the task it began, its name."""
    if not mark.exists():
        return []
    lines = [line.split(" ", 2) for line in mark.read_text("utf-8").splitlines()]
    return [(start, task, name) for start, task, name in lines]


@dataclass(frozen=True)
class Workers:
    """Which workers do tasks, and what is told of them."""

    ray: RayOptions = RayOptions()
    """Which cluster, how many workers."""
    run: RunOptions = RunOptions()
    """Device, threads, precision and memory of each worker."""
    on_worker: Callable[[Worker], None] = lambda worker: None
    """Called with each worker whose first result comes."""
    on_trouble: Callable[[str], None] = lambda line: None
    """Called with a line about each worker that died."""

    def results(
        self,
        work: Work[Task],
        tasks: Sequence[Task],
        folder: Path,
        most: int = 1,
        enough: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Task, Any], None, None]:
        """Do tasks; those that a worker had in hand which died are done again.

        Args:
            work: what the workers do.
            tasks: what is done.
            folder: of the results, which all machines must see.
            most: tasks that a worker is given at a time.
            enough: asked after each block; when it is true, no more tasks are begun.

        Yields:
            A task with what `Work` made of it, or the `BlurvidError` that ended it.

        Raises:
            OptionError: Ray is not installed, or options that it cannot serve.
            DeviceError: no such cluster, or no worker can be had.
            OutputError: the folder cannot be written.
            BlurvidError: a worker cannot begin.
        """
        sight = folder.absolute() / f"{media.own_start()}0.here"
        blocks: list[Sequence[Task]] = []
        known, lost = set[str](), set[str]()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sight.touch()
        except OSError as error:
            raise OutputError(f"{folder}: {media.reason(error)}") from error
        try:
            with joined(self.ray, self.run) as (ray, seats):
                size = min(most, max(1, len(tasks) // (4 * seats.count)))
                blocks += [tasks[i : i + size] for i in range(0, len(tasks), size)]
                for number, done in _through(ray, seats, self._actor(work, seats, sight), blocks):
                    if isinstance(done, BlurvidError):
                        raise done
                    worker, results, died = done
                    if worker.name not in known:
                        self.on_worker(worker)
                    for name in set(died) - lost:
                        self.on_trouble(f"{name} died; what it had in hand is done again")
                    known.add(worker.name)
                    lost.update(died)
                    _mark(sight, number).unlink(missing_ok=True)
                    for task, result in zip(blocks[number], results, strict=True):
                        if result is not None:
                            yield task, result
                    sight.write_text("enough" if enough() else "")  # not too old to be left over
                    if enough() and not _marks(sight):
                        return  # what was in work is done
        finally:
            sight.unlink(missing_ok=True)
            for mark in _marks(sight):  # of workers that were ended in the middle
                with contextlib.suppress(OSError):
                    starts = [start for start, _, _ in _lines(mark)]
                    mark.unlink()
                    work.tidy(blocks[int(mark.stem.removeprefix(sight.stem))], starts)

    def _actor(self, work: Work[Any], seats: Seats, sight: Path) -> tuple[Any, ...]:
        """The arguments of actors."""
        device = "cuda" if seats.gpus else "mps" if self.run.device == "mps" else "cpu"
        run = dataclasses.replace(self.run, device=device, threads=seats.cpus)
        return work, run, seats.share, Path.cwd(), sight, __version__


def _through(
    ray: Any, seats: Seats, actor: tuple[Any, ...], blocks: Sequence[Sequence[Any]]
) -> Iterator[tuple[int, Any]]:
    """Let Ray Data do blocks of tasks: the number of each with what `_Actor` made of it."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    rows = [{"number": n, "tasks": pickle.dumps(block)} for n, block in enumerate(blocks)]
    size = min(seats.count, len(rows))
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        fn_constructor_args=actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
        num_cpus=seats.cpus,
        num_gpus=seats.gpus,
    )
    try:
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                yield row["number"], pickle.loads(row["done"])
    except ray.exceptions.RayActorError as error:
        raise DeviceError(f"no worker can be had: {runtime.first_line(error)}") from error
