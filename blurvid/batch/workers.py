"""Tasks that the workers of a Ray cluster do, through Ray Data, and may die of."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pickle
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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


@dataclass(frozen=True)
class _Done:
    """What comes of a block of tasks."""

    worker: Worker | BlurvidError
    """Or why it cannot begin."""
    results: Sequence[Any] = ()
    """None where they were not begun."""
    died: Sequence[str] = ()
    """The workers that died of them before."""


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
    opened: tuple[Worker | BlurvidError, Callable[[Sequence[Any], bool], Sequence[Any]]] | None = (
        None
    )

    def __call__(self, batch: Any) -> dict[str, Any]:
        if self.opened is None:
            try:
                self.opened = self._open()
            except BlurvidError as error:
                self.opened = error, lambda tasks, again: ()
        number = batch["number"][0].as_py()
        done = self._done(_mark(self.sight, number), pickle.loads(batch["tasks"][0].as_py()))
        return {"number": [number], "done": [pickle.dumps(done)]}

    def _open(self) -> tuple[Worker, Callable[[Sequence[Any], bool], Sequence[Any]]]:
        # In the thread that does the work: settings of torch belong to it.
        host = platform.node()
        if self.version != __version__:
            raise DeviceError(f"{host} has blurvid {__version__}, here it is {self.version}")
        try:
            os.chdir(self.home)  # names mean the same everywhere
            seen = self.sight.exists()
        except OSError:
            seen = False
        if not seen:
            raise InputError(
                f"{host} does not see {self.home} and the folder of results as this machine does; "
                "photos and results must be on a disk that all machines share"
            )
        mark = self.sight.with_suffix(f".{_actor_id()}")  # the same after a restart
        if len(_lines(mark)) >= RAY_TRIES:
            raise DeviceError(f"workers die at their start: {RAY_TRIES} on {host}")
        self._note(mark, -1)
        run = self.run
        if run.max_memory is None and self.share < 1 and run.device == "cpu":
            run = runtime.with_share(run, self.share)
        self.block = self.work.opened(run)  # which ends with the process
        told, do = self.block.__enter__()
        mark.unlink(missing_ok=True)
        return Worker(_name(), told), do

    def _done(self, mark: Path, tasks: Sequence[Any]) -> _Done:
        assert self.opened is not None
        worker, do = self.opened
        if isinstance(worker, BlurvidError):
            return _Done(worker)
        before = _lines(mark)
        self._note(mark, -1)
        if not self.sight.exists():
            mark.unlink(missing_ok=True)
            return _Done(worker, [None] * len(tasks))
        if not before:
            return _Done(worker, do(tasks, False))
        self.work.tidy(tasks, [start for start, _, _ in before])
        died_of = {start: int(at) for start, at, _ in before}  # the last that each began
        results: list[Any] = []
        for number, task in enumerate(tasks):
            deaths = sum(at in (-1, number) for at in died_of.values())
            if deaths >= RAY_TRIES:
                results.append(DeviceError(f"given up: {deaths} workers died of it"))
            else:
                self._note(mark, number)
                results += do([task], True)
        return _Done(worker, results, [name for _, _, name in before])

    def _note(self, mark: Path, number: int) -> None:
        """Note that this worker begins a task, or -1 for a block."""
        with mark.open("a", encoding="utf-8") as file:
            file.write(f"{media.own_start()} {number} {_name()}\n")


def _name() -> str:
    return f"worker {os.getpid()} on {platform.node()}"


def _actor_id() -> str:
    return str(importlib.import_module("ray").get_runtime_context().get_actor_id())


def _lines(mark: Path) -> list[tuple[str, str, str]]:
    """The lines of a mark: how files of a worker begin, the task it began, its name."""
    if not mark.exists():
        return []
    lines = [line.split(" ", 2) for line in mark.read_text("utf-8").splitlines()]
    return [(line[0], line[1], line[2]) for line in lines]


@dataclass(frozen=True)
class Workers:
    """Which workers do tasks, and what is told of them."""

    ray: RayOptions = RayOptions()
    """Which cluster, how many workers."""
    run: RunOptions = RunOptions()
    """Device, threads, precision and memory of each worker."""
    on_worker: Callable[[Worker], None] | None = None
    """Called with each worker whose first result comes."""
    on_trouble: Callable[[str], None] | None = None
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
            enough: asked after each result; when it is true, no more tasks are begun.

        Yields:
            A task with what `Work` made of it, or the `BlurvidError` that ended it.

        Raises:
            OptionError: Ray is not installed, or options that it cannot serve.
            DeviceError: no such cluster, or no worker can be had.
            OutputError: the folder cannot be written.
            BlurvidError: a worker cannot begin.
        """
        blocks: list[Sequence[Task]] = []
        with _sight(folder) as sight:
            try:
                with joined(self.ray, self.run) as (ray, seats):
                    size = min(most, max(1, len(tasks) // (4 * seats.count)))
                    blocks += [tasks[i : i + size] for i in range(0, len(tasks), size)]
                    actor = self._actor(work, seats, sight)
                    batches = _batches(ray.data, seats, actor, blocks)
                    try:
                        yield from self._told(batches, blocks, sight, enough)
                    except ray.exceptions.RayActorError as error:
                        reason = runtime.first_line(error)
                        raise DeviceError(f"no worker can be had: {reason}") from error
                    finally:
                        batches.close()
            finally:
                for mark in list(_marks(sight)):  # of workers that were ended in the middle
                    with contextlib.suppress(OSError):
                        starts = [start for start, _, _ in _lines(mark)]
                        mark.unlink()
                        if mark.suffix == ".try":
                            work.tidy(blocks[int(mark.stem.removeprefix(sight.stem))], starts)

    def _actor(self, work: Work[Any], seats: Seats, sight: Path) -> tuple[Any, ...]:
        """The arguments of actors."""
        device = "cuda" if seats.gpus else "mps" if self.run.device == "mps" else "cpu"
        run = dataclasses.replace(self.run, device=device, threads=seats.cpus)
        return work, run, seats.share, Path.cwd(), sight, __version__

    def _told(
        self,
        batches: Iterable[Any],
        blocks: Sequence[Sequence[Task]],
        sight: Path,
        enough: Callable[[], bool],
    ) -> Iterator[tuple[Task, Any]]:
        """Tell of workers, and give the results."""
        known: set[str] = set()
        for batch in batches:
            for number, cell in zip(batch["number"].to_pylist(), batch["done"], strict=True):
                done: _Done = pickle.loads(cell.as_py())
                if isinstance(done.worker, BlurvidError):
                    raise done.worker
                if self.on_worker and done.worker.name not in known:
                    self.on_worker(done.worker)
                for name in dict.fromkeys(done.died):
                    if self.on_trouble and f"{name} died" not in known:
                        self.on_trouble(f"{name} died; what it had in hand is done again")
                known |= {done.worker.name, *(f"{name} died" for name in done.died)}
                _mark(sight, number).unlink(missing_ok=True)
                for task, result in zip(blocks[number], done.results, strict=True):
                    if result is not None:
                        yield task, result
            if enough():
                sight.unlink(missing_ok=True)
                if not any(_marks(sight)):
                    return  # what was in work is done
            else:
                sight.touch()  # others take an old file for one that was left over


def _batches(
    data: Any, seats: Seats, actor: tuple[Any, ...], blocks: Sequence[Sequence[Any]]
) -> Generator[Any, None, None]:
    """Let Ray Data do blocks of tasks; tables of what comes of them."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    rows = [{"number": n, "tasks": pickle.dumps(block)} for n, block in enumerate(blocks)]
    done = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        fn_constructor_args=actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(
            size=min(seats.count, len(rows)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=seats.cpus,
        num_gpus=seats.gpus,
    )
    yield from done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


@contextlib.contextmanager
def _sight(folder: Path) -> Iterator[Path]:
    """A file by which a worker knows that it sees the disk of the results."""
    path = folder.absolute() / f"{media.own_start()}0.here"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OutputError(f"{folder}: {media.reason(error)}") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _mark(sight: Path, number: int) -> Path:
    """What says that a task is in work; the name is one of a temporary file."""
    return sight.with_name(f"{sight.stem}{number}.try")


def _marks(sight: Path) -> Iterator[Path]:
    return (path for path in sight.parent.glob(f"{sight.stem}*") if path != sight)
