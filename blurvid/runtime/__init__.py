"""Device, precision, memory, seed and threads: what touches torch's global state."""

from blurvid.runtime.cores import (
    check_threads,
    processors,
    single_thread,
    single_threaded_pool,
    threads,
)
from blurvid.runtime.devices import describe, place, release, resolve_device, synchronize, to_host
from blurvid.runtime.memory import lacks_memory, memory_guard, room, with_share
from blurvid.runtime.precision import (
    PRECISIONS,
    autocast,
    autocast_dtype,
    has_fast_bf16,
    resolve_precision,
)
from blurvid.runtime.speed import Recording, compiled, count_flop, first_line, tried_convolutions
from blurvid.runtime.state import running, seed_everything, torch_version

__all__ = [
    "PRECISIONS",
    "Recording",
    "autocast",
    "autocast_dtype",
    "check_threads",
    "compiled",
    "count_flop",
    "describe",
    "first_line",
    "has_fast_bf16",
    "lacks_memory",
    "memory_guard",
    "place",
    "processors",
    "release",
    "resolve_device",
    "resolve_precision",
    "room",
    "running",
    "seed_everything",
    "single_thread",
    "single_threaded_pool",
    "synchronize",
    "threads",
    "to_host",
    "torch_version",
    "tried_convolutions",
    "with_share",
]
