"""Joining a Ray cluster, or starting one, and what room there is in it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurvid import runtime
from blurvid.bounds import check
from blurvid.config import RAY_STORE, RAY_THREADS, RayOptions, RunOptions
from blurvid.errors import DeviceError, OptionError, first_line

_STARTS = 5
"""Times that a cluster is tried to be started; Ray gives itself 30 s, too few on a busy machine."""


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
