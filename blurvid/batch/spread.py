"""Batches on a Ray cluster, joined or started, which does again what a worker had that died."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

from blurvid import __version__, media, runtime
from blurvid.batch.run import Steps
from blurvid.bounds import check
from blurvid.config import (
    RAY_STORE,
    RAY_THREADS,
    RAY_TRIES,
    BatchOptions,
    RayOptions,
    RunOptions,
)
from blurvid.errors import (
    BlurvidError,
    DeviceError,
    InputError,
    OptionError,
    OutputError,
    first_line,
)
from blurvid.pipeline import opened
from blurvid.planning import Job, Outcome, Plan
from blurvid.recipe import Recipe

Task = TypeVar("Task")
Opening = Callable[[RunOptions], AbstractContextManager[Callable[[Any], Any]]]
"""Loads what is needed, once a worker; gives the function from a task to its result."""
_STARTS = 5
"""Times that a cluster is tried to be started; Ray gives itself 30 s, too few on a busy machine."""


def run_on_ray(
    plan: Plan,
    recipe: Recipe,
    options: BatchOptions,
    ray: RayOptions,
    run: RunOptions,
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
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

    def results() -> Generator[tuple[Job, Outcome | BlurvidError], None, None]:
        left = []
        for job in plan.jobs:
            settled = plan.check(job)
            if settled is None:
                left.append(job)
            else:
                yield job, settled
        work = _Photos(recipe, Plan((), replace(plan.output, overwrite=True)), options)
        with contextlib.closing(spread(left, work, plan.folder, ray, run)) as made:
            yield from made

    load(ray, run)
    with plan.alone(), contextlib.closing(results()) as found:
        for job, result in found:
            if isinstance(result, BlurvidError):
                result = Outcome(job, error=job.named(result))
            outcomes[id(job)] = outcome = replace(result, job=job)  # not the copy that travelled
            if on_outcome:
                on_outcome(outcome)
            if options.fail_fast and outcome.error is not None:
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
    def __call__(self, run: RunOptions) -> Iterator[Callable[[Job], Outcome]]:
        """Load the model."""
        with opened(self.recipe, run) as extractor:
            options = self.options
            yield Steps(extractor, self.plan, options.measure, options.allow_truncated)


def spread(
    tasks: Sequence[Task],
    opening: Opening,
    folder: Path,
    options: RayOptions,
    run: RunOptions,
) -> Generator[tuple[Task, Any], None, None]:
    """Do tasks on the workers of a Ray cluster.

    A task whose worker dies is done again by another, up to `RAY_TRIES` times in all.

    Args:
        tasks: what is done; it travels, as its result does.
        opening: loads what is needed, once a worker.
        folder: of the results, which all machines must see.
        options: which cluster, how many workers.
        run: device, threads and memory of each worker.

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
            max_retries=RAY_TRIES - 1,
            num_cpus=seats.cpus,
            num_gpus=seats.gpus,
        )
        pending: dict[Any, Task] = {}
        try:
            while True:
                for task in islice(left, seats.count - len(pending)):
                    pending[work.remote(place, task)] = task
                if not pending:
                    return
                for done in ray.wait(list(pending))[0]:
                    task = pending.pop(done)
                    try:
                        able, value = ray.get(done)
                    except ray.exceptions.RayError:
                        given_up = DeviceError(f"given up: {RAY_TRIES} workers died of it")
                        able, value = True, given_up
                    if not able:
                        raise value
                    yield task, value
        finally:
            for done in pending:
                ray.cancel(done, force=True)


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

    def begin(self) -> AbstractContextManager[Callable[[Any], Any]]:
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


_ready: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
"""What this process has loaded, by the name of the run, for as long as it lives."""


def _work(place: _Place, task: Any) -> tuple[bool, Any]:
    """Do a task in a worker: its result, or the error that ends it.

    With it, whether that is of the task; else it is that of every task.
    """
    able = False
    try:
        if place.name not in _ready:
            block = place.begin()
            _ready[place.name] = block, block.__enter__()
        able = True
        return True, _ready[place.name][1](task)
    except BlurvidError as error:
        return able, error
    except Exception as error:  # the class of a bug need not travel
        return False, RuntimeError(repr(error))


@dataclass(frozen=True)
class Seats:
    """How many workers there are, and what each gets."""

    count: int
    cpus: int
    gpus: int
    share: float
    """Of the memory of its machine, for each worker that is given no limit."""


@contextlib.contextmanager
def joined(options: RayOptions, run: RunOptions) -> Iterator[tuple[Any, Seats]]:
    """Join a cluster, or start one on this machine for the time of a block.

    Nothing is sent to Ray's authors, no web page is served, and Ray's own words are left out.

    Args:
        options: which cluster, how many workers.
        run: the device and the threads of each worker.

    Yields:
        Ray, and the room there is.

    Raises:
        OptionError: Ray is not installed, or options that it cannot serve.
        DeviceError: no such cluster, or no machine in it has what a worker needs.
    """
    ray = load(options, run)
    given = ray.is_initialized()
    if not given:
        _init(ray, options, run)
    try:
        yield ray, _seats(ray, options, run)
    finally:
        if not given:
            ray.shutdown()


def load(options: RayOptions, run: RunOptions) -> Any:
    """Import Ray, which takes seconds.

    Raises:
        OptionError: one is not installed, or options that Ray cannot serve.
    """
    _check(options, run)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # warns where it is not set
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray: Any = importlib.import_module("ray")
        # What became of each dead worker would be printed on stdout.
        importlib.import_module("ray._private.worker")._worker_logs_enabled = False  # type: ignore[attr-defined]
    except ImportError as error:
        raise OptionError(
            f"the engine ray needs the package ray ({error}); run: pip install 'blurvid[ray]'"
        ) from None
    return ray


def _init(ray: Any, options: RayOptions, run: RunOptions) -> None:
    """Join the cluster that was asked for, or start one on this machine."""
    address = options.address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {}
    if address is None:
        threads = run.threads or min(RAY_THREADS, runtime.processors())
        own = {
            "num_cpus": max(runtime.processors(), (options.workers or 0) * threads),
            "include_dashboard": False,
            "object_store_memory": RAY_STORE,
        }
    own |= {"address": address or "local", "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        for tries in range(_STARTS, 0, -1):
            try:
                with _undisturbed():
                    ray.init(**own)
                return
            except Exception as error:
                if tries == 1 or "timed out during startup" not in str(error):
                    raise
    except Exception as error:  # of any kind, plain ones too
        reason = first_line(error)
        if address is None:
            raise DeviceError(f"no Ray cluster can be started here: {reason}") from error
        raise DeviceError(
            f"no Ray cluster {address}: {reason} (one that asks for a token takes it from "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
        ) from error


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep stderr, where Ray says that it shall say nothing, and the answer to a polite kill."""
    handler = signal.getsignal(signal.SIGTERM)
    if sys.stderr is not None:
        sys.stderr.flush()
    with contextlib.ExitStack() as stack, Path(os.devnull).open("wb") as nothing:
        if threading.current_thread() is threading.main_thread():
            stack.callback(signal.signal, signal.SIGTERM, handler or signal.SIG_DFL)
        with contextlib.suppress(OSError):  # it may be closed
            stderr = os.dup(2)
            stack.callback(os.close, stderr)
            stack.callback(os.dup2, stderr, 2)
            os.dup2(nothing.fileno(), 2)
        yield


def _check(options: RayOptions, run: RunOptions) -> None:
    if options.address is not None and options.address.startswith("ray://"):
        raise OptionError(
            f"{options.address}: run the command on a machine of the cluster, with --address auto "
            "or HOST:PORT"
        )
    check(options)
    check(run)
    if run.device.startswith("cuda:"):
        raise OptionError(f"{run.device}: Ray hands out the GPUs; use --device cuda")


def _seats(ray: Any, options: RayOptions, run: RunOptions) -> Seats:
    """What each worker gets, and how many there is room for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    on_gpu = run.device == "cuda" or (run.device == "auto" and any(gpus))
    if on_gpu:
        if not any(gpus):
            raise DeviceError("no machine of the Ray cluster has a GPU; use --device cpu")
        return Seats(options.workers or sum(gpus), 1, 1, 1 / max(gpus))
    usable = [count for count in cpus if count]
    threads = run.threads or min([RAY_THREADS, *usable])
    room = sum(count // threads for count in cpus)
    if not room:
        raise DeviceError(
            f"no machine of the Ray cluster has {threads} CPUs for a worker; use --threads"
        )
    return Seats(options.workers or room, threads, 0, threads / max(cpus))
