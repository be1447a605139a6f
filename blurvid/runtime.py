"""Device, precision, seed and threads: what touches torch's global state."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blurvid.config import FREE_SHARE, RunOptions
from blurvid.errors import DeviceError, OptionError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

VARIANTS = 32
"""Most variants of a function compiled for any size; more are a sign of a mistake."""
WARM_UPS = 2
"""Runs before a recording, so that libraries are loaded and their choices made."""

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


def autocast(
    device: torch.device, dtype: torch.dtype, *, keep_casts: bool = True
) -> AbstractContextManager[object]:
    """Run matrix products and convolutions in `dtype`; a no-op for float32.

    Args:
        device: where.
        dtype: of the features.
        keep_casts: keep the cast weights until the end of the block, those that are trained.
    """
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=keep_casts)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The precision that `autocast` has set for the block at hand."""
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else torch.float32


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


def processors() -> int:
    """How many processors this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return (len(may_use(0)) if may_use else os.cpu_count()) or 1


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Make threads in each of which torch takes one thread, so that results do not depend on it.

    A new thread would take all cores, and what several add up may differ in the last digit.
    """
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Use one CPU thread inside a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    digest = isinstance(error, ValueError) and str(error) == "no reason supplied"
    return allocator or digest or isinstance(error, torch.OutOfMemoryError | MemoryError)


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


def with_share(options: RunOptions, share: float) -> RunOptions:
    """Limit this process to a share of the memory that is free, as others take theirs of it.

    Args:
        options: those of a process on a CPU.
        share: up to 1.
    """
    most = psutil.Process().memory_info().rss + int(share * room(torch.device("cpu")))
    return dataclasses.replace(options, max_memory=most)


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
    # Not every build of torch has them.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    # A static rendezvous keeps its store over restarts, with the addresses of processes that ended.
    store, rank, world = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"attempt_{attempt}", store),
        rank=rank,
        world_size=world,
    )
    try:
        yield device
    finally:
        dist.destroy_process_group()


def launch() -> str | None:
    """Name this start of `torchrun`; the same for processes that it starts anew.

    Its `--rdzv-id` is the same on all machines; without one there is only one machine.

    Returns:
        None where `torchrun` did not start this process.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()}:{os.getppid()}" if name == "none" else name


def lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process of the group has ended."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)  # gloo has no class of its own
    return "gloo/transport" in text or "closed by peer" in text or "reset by peer" in text


def count_flop(call: Callable[[], object]) -> int:
    """Count the floating-point operations of a call; a multiply-add counts as two.

    Only convolutions and matrix products count.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def compiled(call: Callable[..., Any], *, any_size: bool = False) -> Callable[..., Any]:
    """Compile a module or a function; torch does so when it is first called.

    Args:
        call: what to compile, and where torch cannot all of it, in parts.
        any_size: compile all in one for tensors of any size, rather than for each size again.

    Returns:
        A function with the same arguments. It raises DeviceError where torch cannot compile on
        this machine.
    """
    fast = torch.compile(call, dynamic=True, fullgraph=True) if any_size else torch.compile(call)

    def run(*inputs: object) -> Any:
        try:
            if not any_size:
                return fast(*inputs)
            # A variant for each precision, number of arguments, batch of one or more, and layout
            with torch._dynamo.config.patch(cache_size_limit=VARIANTS):
                return fast(*inputs)
        except Exception as error:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds where not loaded

            # What the compiler behind it raises has no class in common in all versions.
            inductor = type(error).__module__.startswith("torch._inductor")
            if not isinstance(error, TorchDynamoException) and not inductor:
                raise
            cause = getattr(error, "inner_exception", error)
            raise DeviceError(
                f"torch.compile does not work here ({first_line(cause)}); run without compile"
            ) from cause

    return run


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class Recording:
    """What a function asks of a CUDA device, recorded once and replayed for other values.

    A network is some hundred small steps; asked for one by one, the asking can take longer than
    the work. Nothing may be waited for in the function, and tensors that it uses besides its
    argument, such as weights, must stay where they are.
    """

    def __init__(
        self, call: Callable[[Tensor], Tensor], x: Tensor, beside: Recording | None = None
    ) -> None:
        """Record a call.

        Args:
            call: what to record; it is run a few times before.
            x: an argument, on the device, of the size that all shall have.
            beside: another recording that shares its memory with this one, so that neither is
                replayed before the result of the other has been used.
        """
        self.input = torch.empty_like(x)
        self.input.copy_(x)
        with torch.cuda.device(x.device), _tried_convolutions():
            # As torch's documentation has it, the same stream for all that share memory
            new = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self.stream: torch.cuda.Stream = new if beside is None else beside.stream
            self.graph: torch.cuda.CUDAGraph = torch.cuda.CUDAGraph()
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(WARM_UPS):
                    call(self.input)
            torch.cuda.current_stream().wait_stream(self.stream)
            with torch.cuda.graph(
                self.graph,
                pool=None if beside is None else beside.graph.pool(),
                stream=self.stream,
                # Other threads, which read and write files, are none of its business.
                capture_error_mode="thread_local",
            ):
                self.output = call(self.input)

    def __call__(self, x: Tensor) -> Tensor:
        """Replay for x; the result is overwritten by the next replay."""
        self.input.copy_(x)
        self.graph.replay()
        return self.output


@contextlib.contextmanager
def _tried_convolutions() -> Iterator[None]:
    """Let cuDNN time its ways to convolve and take the fastest: pays where sizes come again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def release(device: torch.device) -> None:
    """Give memory back that torch keeps of a device for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def to_host(values: Tensor, pinned: bool) -> Tensor:
    """Bring values to the memory of the CPU in one transfer; those there already stay.

    Args:
        values: on any device.
        pinned: into memory that the device can write to itself, which is several times as fast.
            To make such memory takes longer than that saves; but torch keeps it for the next time.
    """
    if values.device.type == "cpu":
        return values
    if pinned and values.device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # the system may not give so much of it
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            return host.copy_(values)
    return values.cpu()


def torch_version() -> str:
    """Version of torch, such as `2.13.0+cpu`."""
    return str(torch.__version__)


def threads() -> int:
    """CPU threads that torch uses."""
    return torch.get_num_threads()
