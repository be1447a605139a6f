"""Batches on a Ray cluster: Ray Data hands out the work, and does again what a dead worker had."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
import torch

from blurvid import __version__, media, runtime
from blurvid.batch.cluster import joined, load
from blurvid.batch.run import Steps
from blurvid.config import (
    RAY_BLOCK,
    RAY_SHARES,
    RAY_TRIES,
    BatchOptions,
    Output,
    RayOptions,
    RunOptions,
)
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.pipeline import opened
from blurvid.planning import Gate, Job, Outcome, alone, folder_of, identities, named
from blurvid.recipe import Recipe

Task = TypeVar("Task")
Opening = Callable[[RunOptions], AbstractContextManager[Callable[[Any], Iterator[Any]]]]
"""Loads what is needed, once a worker; gives the function from a task to what is known of it before
the work, and then its result."""


def run_on_ray(
    jobs: Sequence[Job],
    recipe: Recipe,
    output: Output,
    options: BatchOptions,
    ray: RayOptions,
    run: RunOptions,
    *,
    whole: Sequence[Job] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_warning: Callable[[Job, str], None] | None = None,
) -> list[Outcome]:
    """Do jobs on the workers of a Ray cluster, as `run` does them on this machine.

    The files are those that `run` writes, under the same paths, which all machines must see. This
    process looks at what is there and hands out the photos; workers load the model once.

    Args:
        jobs: what to do; no standard input.
        recipe: how frames are made.
        output: how clips are shown, and whether files are written over.
        options: how the batch is gone through; workers do one thing after the other.
        ray: which cluster, how many workers.
        run: device, threads and memory of each worker.
        whole: all jobs of the batch of which these are a share.
        on_outcome: called after each job, in this thread, in the order in which they are done.
        on_warning: called in this thread with what there is to say of a photo while a network
            works on it; the outcome holds it as well.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        OptionError: Ray is not installed, or a photo on standard input.
        DeviceError: no such cluster, or no machine in it has what a worker needs.
        OutputError: another process is doing these jobs.
        BlurvidError: why the model cannot be loaded.
    """
    if any(job.photo is None for job in jobs):
        raise OptionError("standard input cannot be read on other machines; name files")
    gate = Gate(identities(whole or jobs), output)
    outcomes: dict[int, Outcome] = {}

    def finish(job: Job, outcome: Outcome) -> bool:
        outcomes[id(job)] = outcome
        if on_outcome:
            on_outcome(outcome)
        return options.fail_fast and outcome.error is not None

    def tell(job: Job, warnings: Sequence[str]) -> None:
        if on_warning:
            for warning in warnings:
                on_warning(job, warning)

    def results() -> Generator[tuple[Job, Outcome | BlurvidError], None, None]:
        left = []
        for job in jobs:
            settled = gate.check(job)
            if settled is None:
                left.append(job)
            else:
                yield job, settled
        work = _Photos(recipe, replace(output, overwrite=True), options)
        at_once = RAY_BLOCK if recipe.model == "direct" else 1
        made = spread(left, work, folder_of(jobs), ray, run, at_once=at_once, on_known=tell)
        with contextlib.closing(made):
            yield from made

    load(ray, run)
    with alone(jobs), contextlib.closing(results()) as found:
        for job, result in found:
            if isinstance(result, BlurvidError):
                result = Outcome(job, error=named(job, result))
            if finish(job, replace(result, job=job)):  # not the copy that travelled
                break
    with contextlib.suppress(BlurvidError):  # a folder may be gone
        for folder in {path.parent for job in jobs for path in job.files()}:
            media.remove_stale(folder)
    return [outcomes[id(job)] for job in jobs if id(job) in outcomes]


@dataclass(frozen=True)
class _Photos:
    """What workers do with photos."""

    recipe: Recipe
    output: Output
    options: BatchOptions

    @contextlib.contextmanager
    def __call__(self, run: RunOptions) -> Iterator[Callable[[Job], Iterator[Any]]]:
        """Load the model."""
        with opened(self.recipe, run) as extractor:
            gate = Gate(frozenset(), self.output)
            steps = Steps(extractor, gate, self.options.measure, self.options.allow_truncated)

            def do(job: Job) -> Iterator[Any]:
                photo = steps.read(job)
                yield () if isinstance(photo, Outcome) else steps.known(job, photo)
                clip = photo if isinstance(photo, Outcome) else steps.extract(job, photo)
                yield clip if isinstance(clip, Outcome) else steps.write(job, clip)

            yield do


def spread(
    tasks: Sequence[Task],
    opening: Opening,
    folder: Path,
    options: RayOptions,
    run: RunOptions,
    *,
    at_once: int = 1,
    on_known: Callable[[Task, Any], None] = lambda task, known: None,
) -> Generator[tuple[Task, Any], None, None]:
    """Do tasks on the workers of a Ray cluster.

    A task whose worker dies is done again by another, up to `RAY_TRIES` times in all; so are those
    that this worker took with it, which count no tries.

    Args:
        tasks: what is done; it travels as a pickle, as its result does.
        opening: loads what is needed, once a worker.
        folder: of the results, which all machines must see.
        options: which cluster, how many workers.
        run: device, threads and memory of each worker.
        at_once: most tasks that a worker takes in one go: several, where they are short, take less
            time and memory of this process.
        on_known: called in this thread with what is known of a task before its work; of several in
            one go, when all are done.

    Yields:
        A task, in the order in which they are done, with its result or the `BlurvidError` that
        ended it.

    Raises:
        OptionError: Ray is not installed, or options that it cannot serve.
        DeviceError: no such cluster, or no machine in it has what a worker needs.
        OutputError: the folder cannot be written.
        BlurvidError: a worker cannot begin.
    """
    if not tasks:
        return
    with contextlib.ExitStack() as stack:
        ray, seats = stack.enter_context(joined(options, run))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marks = stack.enter_context(TemporaryDirectory(prefix=".blurvid-", dir=folder))
        except OSError as error:
            raise OutputError(f"{folder}: {media.reason(error)}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 1  # what is known early waits for nothing behind it
        shared = Path(marks).absolute()
        device = "cuda" if seats.gpus else "mps" if run.device == "mps" else "cpu"
        own = replace(run, device=device, threads=seats.cpus)
        rows = [{"number": n, "task": pickle.dumps(task)} for n, task in enumerate(tasks)]
        blocks = -(-len(rows) // at_once)
        blocks = max(blocks, min(len(rows), RAY_SHARES * seats.count))
        done = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(
                opening,
                own,
                seats.share,
                Path.cwd(),
                shared,
                __version__,
            ),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                size=min(seats.count, blocks), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=seats.cpus,
            num_gpus=seats.gpus,
        )
        known: set[int] = set()
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for pickled in batch["results"].to_pylist():
                for number, able, result in pickle.loads(pickled):
                    failed = isinstance(result, Exception)
                    if failed and not (able and isinstance(result, BlurvidError)):
                        raise result
                    if number in known:
                        known.remove(number)
                        yield tasks[number], result
                    else:
                        known.add(number)
                        if not failed:
                            on_known(tasks[number], result)


@dataclass
class _Worker:
    """What runs in each process of the cluster; errors come back as values."""

    opening: Opening
    run: RunOptions
    share: float
    home: Path
    marks: Path
    """A folder with a file for each task that was begun, as long as the times that it was, until
    it ends."""
    version: str
    do: Callable[[Any], Iterator[Any]] | None = None
    able: bool = False
    """Whether an error is that of one task; else it is that of every task."""

    def __call__(self, batch: Any) -> Iterator[dict[str, Any]]:
        """Do some tasks; the first time, load what is needed for them.

        Of each come two values, whatever happens, since Ray counts the rows of a worker that died:
        what is known before the work, and the result. An error is both. Those of a single task are
        rows of their own; those of several are one, which has once what they share.
        """
        tasks = zip(*(batch[key].to_pylist() for key in ("number", "task")), strict=True)
        told = (value for number, task in tasks for value in self._told(number, task))
        for some in [list(told)] if batch.num_rows > 1 else ([one] for one in told):
            yield {"results": [pickle.dumps(some)]}

    def _told(self, number: int, task: bytes) -> Iterator[tuple[int, bool, Any]]:
        work, value = self._work(self.marks / str(number), task), None
        for _ in range(2):
            if not isinstance(value, Exception):
                try:
                    value = next(work)
                except Exception as error:  # the class of a bug need not travel
                    value = error if isinstance(error, BlurvidError) else RuntimeError(repr(error))
            yield number, self.able, value

    def _work(self, mark: Path, task: bytes) -> Iterator[Any]:
        self.able = self.do is not None
        if self.do is None:
            self._look()
        with mark.open("a") as tries:
            if tries.tell() >= RAY_TRIES:
                self.able = True  # though a new worker says so
                raise DeviceError(f"given up: {RAY_TRIES} workers died of it")
            tries.write(".")
        if self.do is None:
            self.do = self._begin()
            self.able = True
        try:
            yield from self.do(pickle.loads(task))
        finally:
            mark.unlink()

    def _look(self) -> None:
        """Go where names mean the same as elsewhere."""
        host = platform.node()
        if self.version != __version__:
            raise DeviceError(f"{host} has blurvid {__version__}, here it is {self.version}")
        with contextlib.suppress(OSError):
            os.chdir(self.home)
        if Path.cwd() != self.home or not self.marks.is_dir():
            raise InputError(
                f"{host} does not see {self.home} and the folder of results as this machine does; "
                "photos and results must be on a disk that all machines share"
            )

    def _begin(self) -> Callable[[Any], Iterator[Any]]:
        """Load, in the thread that works: settings of torch belong to it."""
        run = self.run
        if run.max_memory is None and self.share < 1 and run.device == "cpu":
            free = int(self.share * runtime.room(torch.device("cpu")))
            run = replace(run, max_memory=psutil.Process().memory_info().rss + free)
        self.block = self.opening(run)  # which ends with the process
        return self.block.__enter__()
