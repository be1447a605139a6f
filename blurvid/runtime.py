"""Device, precision, memory, seed and threads: what touches torch's global state."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.func import functional_call

from blurvid.bounds import check
from blurvid.config import DEVICES, FREE_SHARE, RunOptions
from blurvid.errors import DeviceError, OptionError

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of this process's control group."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextlib.contextmanager
def running(options: RunOptions) -> Iterator[tuple[torch.device, torch.dtype]]:
    """Apply thread and device choices for the time of a block.

    Yields:
        The device and the precision of the features.

    Raises:
        DeviceError: the device is not there, or runs out of memory inside the block.
    """
    check(options)
    device = resolve_device(options.device)
    dtype = resolve_precision(options.precision, device)
    before = torch.get_num_threads()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        with memory_guard(device):
            yield device, dtype
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Let glibc keep what is freed inside a block, and give all of it back at the end.

    To take the memory of feature maps anew for each is a fifth of a network's time on a CPU.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, give_back = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library
        yield
        return
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
    mallopt(mmap, 2**26)
    mallopt(trim, 2**29)
    try:
        yield
    finally:
        mallopt(mmap, 2**25)  # the most to which both rise by themselves
        mallopt(trim, 2**26)
        give_back(0)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda[:N]` or `mps` into a device that is there.

    Raises:
        OptionError: not the name of a device.
        DeviceError: the device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    match = re.fullmatch(DEVICES, name)
    if match is None:
        raise OptionError(f"no device named {name!r}; use auto, cpu, cuda, cuda:N or mps")
    _, kind, index = match.groups()
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device on this machine; use --device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"{name} is not there; this machine has cuda:0 to cuda:{count - 1}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("no MPS device on this machine; use --device cpu or auto")
    return torch.device(kind, int(index)) if index else torch.device(kind)


def describe(device: torch.device) -> str:
    """Name the device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, in the memory format that is fast there.

    Convolutions like channels-last; torch's group norm on a CPU is many times slower in it
    (measured 3x over the whole middle network), so models with norms stay contiguous there.
    """
    normed = any(isinstance(module, nn.GroupNorm) for module in model.modules())
    plain = normed and device.type == "cpu"
    memory_format = torch.contiguous_format if plain else torch.channels_last
    return model.to(device, memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Where the instructions are missing, mkldnn emulates bfloat16, slower than float32.
        cpu = torch.cpu
        return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    return False


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn `auto`, `fp32`, `bf16` or `fp16` into the dtype of the features.

    Images, statistics and residual sums stay in float32 whatever is chosen.

    Raises:
        OptionError: no such precision, or fp16 on a CPU.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    if name not in PRECISIONS:
        raise OptionError(f"no precision named {name!r}; use auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise OptionError("fp16 has no fast kernels on a CPU; use bf16 or fp32")
    return PRECISIONS[name]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products and convolutions in `dtype`; a no-op for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def cast(network: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Give a network whose weights and features are in autocast's precision, where it is enabled.

    On a CPU, autocast takes longer over its casts than over many a product. The network has to
    know by its weights what its input is to be.
    """
    kind = device.type
    if kind != "cpu" or not torch.is_autocast_enabled(kind):
        return network
    dtype = torch.get_autocast_dtype(kind)
    weights = {name: value.to(dtype) for name, value in network.state_dict().items()}

    def run(x: Tensor) -> Tensor:
        with torch.autocast(kind, enabled=False):
            out: Tensor = functional_call(network, weights, (x,))
        return out

    return run


def processors() -> int:
    """How many processors this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return (len(may_use(0)) if may_use else os.cpu_count()) or 1


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Make threads in each of which torch takes one thread, so that results do not depend on it.

    What several add up may differ in the last digit. What is set here is what threads made later
    take, too, unless they set their own.
    """
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def scratch() -> str:
    """Folder for large temporary files: the one the user names, or one that is not in memory."""
    large = "/var/tmp"  # where systems keep /tmp in memory, this is not
    if any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")):
        return tempfile.gettempdir()
    return large if os.access(large, os.W_OK | os.X_OK) else tempfile.gettempdir()


class memory_guard:  # noqa: N801, used as a function
    """Turn a lack of memory inside a block into a `DeviceError`."""

    # Not made of a generator, which from Python 3.12 on keeps what the block had in its hands.
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and lacks_memory(error):
            raise DeviceError(f"{self.device} ran out of memory") from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory."""
    # The CPU allocator and Python's locks ("can't allocate read lock") have no exception class of
    # their own, and a digest that OpenSSL finds no memory for ends in a ValueError that says this.
    allocator = isinstance(error, RuntimeError) and "can't allocate" in str(error)
    system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    decoder = isinstance(error, OSError) and "out of memory" in str(error)  # Pillow's
    digest = isinstance(error, ValueError) and str(error) == "no reason supplied"
    told = allocator or system or decoder or digest
    return told or isinstance(error, torch.OutOfMemoryError | MemoryError)


def room(device: torch.device, max_memory: int | None = None) -> int:
    """How much more memory may be taken on a device [bytes].

    Args:
        device: where.
        max_memory: most in all, of a GPU or of this process; None takes `FREE_SHARE` of what
            is free.

    Returns:
        At least 0.
    """
    free: float
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - used
    else:
        used = psutil.Process().memory_info().rss
        free = min(psutil.virtual_memory().available, _left_in_group())
    left = FREE_SHARE * free if max_memory is None else min(max_memory - used, free)
    return max(0, int(left))


def _left_in_group() -> float:
    """Memory left to this process's control group, as containers have one [bytes]."""
    for limit, usage, details in (
        ("memory.max", "memory.current", "memory.stat"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
        ),
    ):
        with contextlib.suppress(OSError, ValueError):  # no limit is the word `max`
            most, used = (int((CONTROL_GROUP / name).read_text()) for name in (limit, usage))
            return most - used + _file_cache(CONTROL_GROUP / details)
    return math.inf


def _file_cache(path: Path) -> int:
    """What a control group's usage holds of files read or written; it goes when needed [bytes]."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        return sum(int(size) for name, size in lines if name in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return 0
