"""Device, precision, seed and threads: what touches torch's global state."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blurvid.config import FREE_SHARE, RunOptions
from blurvid.errors import DeviceError, OptionError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of this process's control group."""


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
    match = re.fullmatch(r"(cpu|mps|cuda)(?:(?<=cuda):([0-9]{1,3}))?", name)
    if match is None:
        raise OptionError(f"no device named {name!r}; use auto, cpu, cuda, cuda:N or mps")
    kind, index = match.groups()
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device on this machine; use --device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"{name} is not there; this machine has cuda:0 to cuda:{count - 1}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("no MPS device on this machine; use --device cpu or auto")
    return torch.device(kind, int(index)) if index else torch.device(kind)


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


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def running(options: RunOptions) -> Iterator[tuple[torch.device, torch.dtype]]:
    """Apply thread and device choices for the time of a block.

    Yields:
        The device and the precision of the features.

    Raises:
        DeviceError: the device is not there, or runs out of memory inside the block.
    """
    device = resolve_device(options.device)
    dtype = resolve_precision(options.precision, device)
    before = torch.get_num_threads()
    if options.threads is not None:
        if options.threads < 1:
            raise OptionError(f"--threads must be at least 1, not {options.threads}")
        torch.set_num_threads(options.threads)
    try:
        with memory_guard(device):
            yield device, dtype
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Use one CPU thread inside a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Turn a lack of memory inside a block into a `DeviceError`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(f"{device} ran out of memory") from error
    except RuntimeError as error:
        # The CPU allocator has no exception class of its own.
        if "can't allocate memory" not in str(error):
            raise
        raise DeviceError(f"{device} ran out of memory") from error


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


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, in the memory format that is fast there.

    Convolutions like channels-last; torch's group norm on a CPU is many times slower in it
    (measured 3x over the whole middle network), so models with norms stay contiguous there.
    """
    normed = any(isinstance(module, nn.GroupNorm) for module in model.modules())
    plain = normed and device.type == "cpu"
    memory_format = torch.contiguous_format if plain else torch.channels_last
    return model.to(device, memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def describe(device: torch.device) -> str:
    """Name the device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes when started by `torchrun`; otherwise do nothing.

    Args:
        device: the device asked for; with CUDA each process takes the one of its local rank.

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def count_flop(call: Callable[[], object]) -> int:
    """Count the floating-point operations of a call; a multiply-add counts as two.

    Only convolutions and matrix products count.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def compiled(module: nn.Module) -> Callable[..., Any]:
    """Compile a module; torch does so when it is first called, and for each new shape again.

    Returns:
        A function with the module's arguments. It raises DeviceError where torch cannot
        compile on this machine.
    """
    fast = torch.compile(module)

    def call(*inputs: object) -> Any:
        try:
            return fast(*inputs)
        except Exception as error:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds where not loaded

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise DeviceError(
                f"torch.compile does not work here ({reason}); run without compile"
            ) from error

    return call


def torch_version() -> str:
    """Version of torch, such as `2.13.0+cpu`."""
    return str(torch.__version__)


def threads() -> int:
    """CPU threads that torch uses."""
    return torch.get_num_threads()
