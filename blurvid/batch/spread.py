"""Batches on a Ray cluster, which does again what a worker had that died."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

from blurvid import __version__, media, runtime
from blurvid.batch.cluster import joined, load
from blurvid.batch.run import Steps
from blurvid.config import RAY_TRIES, BatchOptions, RayOptions, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.pipeline import opened
from blurvid.planning import Job, Outcome, Plan
from blurvid.recipe import Recipe

Task = TypeVar("Task")
Opening = Callable[[RunOptions], AbstractContextManager[Callable[[Any], Iterator[Any]]]]
"""Loads what is needed, once a worker; gives the function from a task to what is known of it before
the work, and then its result."""


def run_on_ray(
    plan: Plan,
    recipe: Recipe,
    options: BatchOptions,
    ray: RayOptions,
    run: RunOptions,
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_warning: Callable[[Job, str], None] | None = None,
) -> list[Outcome]:
    """Do jobs on the workers of a Ray cluster, as `run` does them on this machine.

    The files are those that `run` writes, under the same paths, which all machines must see. This
    process looks at what is there and hands out the photos; workers load the model once.

    Args:
        plan: what to do; no standard input.
        recipe: how frames are made.
        options: how the batch is gone through; workers do one thing after the other.
        ray: which cluster, how many workers.
        run: device, threads and memory of each worker.
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
    if any(job.photo is None for job in plan.jobs):
        raise OptionError("standard input cannot be read on other machines; name files")
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
        for job in plan.jobs:
            settled = plan.check(job)
            if settled is None:
                left.append(job)
            else:
                yield job, settled
        work = _Photos(recipe, Plan((), replace(plan.output, overwrite=True)), options)
        made = spread(left, work, plan.folder, ray, run, on_known=tell)
        with contextlib.closing(made):
            yield from made

    load(ray, run)
    with plan.alone(), contextlib.closing(results()) as found:
        for job, result in found:
            if isinstance(result, BlurvidError):
                result = Outcome(job, error=job.named(result))
            if finish(job, replace(result, job=job)):  # not the copy that travelled
                break
    with contextlib.suppress(BlurvidError):  # a folder may be gone
        for folder in {path.parent for job in plan.jobs for path in job.files()}:
            media.remove_stale(folder)
    return [outcomes[id(job)] for job in plan.jobs if id(job) in outcomes]


@dataclass(frozen=True)
class _Photos:
    """What workers do with photos."""

    recipe: Recipe
    plan: Plan
    options: BatchOptions

    @contextlib.contextmanager
    def __call__(self, run: RunOptions) -> Iterator[Callable[[Job], Iterator[Any]]]:
        """Load the model."""
        with opened(self.recipe, run) as extractor:
            options = self.options
            steps = Steps(extractor, self.plan, options.measure, options.allow_truncated)

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
    on_known: Callable[[Task, Any], None] = lambda task, known: None,
) -> Generator[tuple[Task, Any], None, None]:
    """Do tasks on the workers of a Ray cluster.

    A task whose worker dies is done again by another, up to `RAY_TRIES` times in all.

    Args:
        tasks: what is done; it travels, as its result does.
        opening: loads what is needed, once a worker.
        folder: of the results, which all machines must see.
        options: which cluster, how many workers.
        run: device, threads and memory of each worker.
        on_known: called in this thread with what is known of a task before its work.

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
    with joined(options, run) as (ray, seats):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: {media.reason(error)}") from error
        device = "cuda" if seats.gpus else "mps" if run.device == "mps" else "cpu"
        own = replace(run, device=device, threads=seats.cpus)
        about = opening, own, seats.share, Path.cwd(), folder.absolute(), __version__
        place, left = ray.put(_Place(secrets.token_hex(8), *about)), iter(tasks)
        work = ray.remote(_work).options(
            num_returns="streaming",
            max_retries=RAY_TRIES - 1,
            num_cpus=seats.cpus,
            num_gpus=seats.gpus,
        )
        pending: dict[Any, tuple[Task, bool]] = {}
        """What is being done, and whether what is known of it has been told."""
        try:
            while True:
                for task in islice(left, seats.count - len(pending)):
                    pending[work.remote(place, task)] = task, False
                if not pending:
                    return
                for values in ray.wait(list(pending))[0]:
                    task, told = pending.pop(values)
                    try:
                        able, value = ray.get(next(values))
                    except ray.exceptions.RayError:
                        given_up = DeviceError(f"given up: {RAY_TRIES} workers died of it")
                        able, value = True, given_up
                    if not able:
                        raise value
                    if told or isinstance(value, BlurvidError):
                        yield task, value
                    else:
                        pending[values] = task, True
                        on_known(task, value)
        finally:
            for values in pending:
                ray.cancel(values, force=True)


@dataclass(frozen=True)
class _Place:
    """Where workers find what they need, and what that is."""

    name: str
    """Of the run."""
    opening: Opening
    run: RunOptions
    share: float
    home: Path
    folder: Path
    version: str

    def begin(self) -> AbstractContextManager[Callable[[Any], Iterator[Any]]]:
        """Go where names mean the same as elsewhere, and load what is needed.

        Raises:
            BlurvidError: this machine cannot do the work.
        """
        host = platform.node()
        if self.version != __version__:
            raise DeviceError(f"{host} has blurvid {__version__}, here it is {self.version}")
        with contextlib.suppress(OSError):
            os.chdir(self.home)
        if Path.cwd() != self.home or not self.folder.is_dir():
            raise InputError(
                f"{host} does not see {self.home} and the folder of results as this machine does; "
                "photos and results must be on a disk that all machines share"
            )
        run = self.run
        if run.max_memory is None and self.share < 1 and run.device == "cpu":
            free = int(self.share * runtime.room(torch.device("cpu")))
            run = replace(run, max_memory=psutil.Process().memory_info().rss + free)
        return self.opening(run)


_ready: dict[str, tuple[Any, Callable[[Any], Iterator[Any]]]] = {}
"""What this process has loaded, by the name of the run, for as long as it lives."""


def _work(place: _Place, task: Any) -> Iterator[tuple[bool, Any]]:
    """Do a task in a worker: what is known of it, then its result, or an error that is both.

    With each, whether it is that of the task; else it is that of every task.
    """
    able = False
    try:
        if place.name not in _ready:
            block = place.begin()
            _ready[place.name] = block, block.__enter__()
        able = True
        for value in _ready[place.name][1](task):
            yield True, value
    except BlurvidError as error:
        yield able, error
    except Exception as error:  # the class of a bug need not travel
        yield False, RuntimeError(repr(error))
