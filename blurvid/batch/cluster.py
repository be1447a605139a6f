"""Joining a Ray cluster, or starting one, and what room there is in it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blurvid import runtime
from blurvid.config import RAY_STORE, RAY_THREADS, RayOptions, RunOptions
from blurvid.errors import DeviceError, OptionError


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

    Nothing is sent to Ray's authors, no dashboard is started, and Ray's own words are left out.

    Args:
        options: which cluster, how many workers.
        run: the device and the threads of each worker.

    Yields:
        Ray, and the room there is.

    Raises:
        OptionError: Ray is not installed, or options that it cannot serve.
        DeviceError: no such cluster, or no machine in it has what a worker needs.
    """
    _check(options, run)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # warns where it is not set
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise OptionError(
            f"the engine ray needs the package ray ({error}); run: pip install 'blurvid[ray]'"
        ) from None
    given = ray.is_initialized()
    address = options.address or os.environ.get("RAY_ADDRESS")
    threads = run.threads or min(RAY_THREADS, runtime.processors())
    if not given:
        own: dict[str, Any] = {}
        if address is None:
            cpus = max(runtime.processors(), (options.workers or 0) * threads)
            own = {
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": RAY_STORE,
            }
        with _signals_kept():
            try:
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **own,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                where = address or "on this machine"
                raise DeviceError(f"no Ray cluster {where}: {runtime.first_line(error)}") from error
    try:
        yield ray, _seats(ray, options, run)
    finally:
        if not given:
            ray.shutdown()


def _check(options: RayOptions, run: RunOptions) -> None:
    if options.address is not None and options.address.startswith("ray://"):
        raise OptionError(
            f"{options.address}: run the command on a machine of the cluster, with --address auto "
            "or HOST:PORT"
        )
    if options.workers is not None and options.workers < 1:
        raise OptionError(f"{options.workers} workers; at least one is needed")
    if run.device.startswith("cuda:"):
        raise OptionError(f"{run.device}: Ray hands out the GPUs; use --device cuda")


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo what a block does to the handling of a polite kill."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGTERM, before)


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
