"""Time, memory and arithmetic of a call, and the arithmetic that the device is capable of."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from blurvid import runtime

PEAK_SECONDS = 0.3
"""How long matrix products of the largest size are repeated."""
LONG_ENOUGH = 0.02
"""Time of a matrix product [s] from which on larger ones are not tried."""
SMALLEST_PRODUCT, LARGEST_PRODUCT = 512, 16384
"""Sides of the matrices."""
SAMPLING = 0.002
"""Time between two looks at the memory of the process [s], where it does not keep the peak."""


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time a call to its end on the device."""
    runtime.synchronize(device)
    start = time.perf_counter()
    call()
    runtime.synchronize(device)
    return time.perf_counter() - start


def count_flop(net: nn.Module, size_multiple: int, size: tuple[int, int]) -> int:
    """Count the floating-point operations of a convolutional network for one image.

    Only the convolutions count, done plainly, whatever way is taken. Their work is proportional
    to the pixels, so it is counted once, on about the smallest image that the network takes,
    for which there are no fast ways.

    Args:
        net: maps (1, 3, H, W) to anything.
        size_multiple: divides the height and width that the network accepts.
        size: height and width of the image [px], multiples of `size_multiple`.

    Returns:
        FLOP; a multiply-add is two of them.
    """
    weight = next(net.parameters())
    # Twice the smallest: no feature map is a single pixel, which normalization refuses.
    small = 2 * size_multiple
    y: Tensor = torch.zeros(1, 3, small, small, device=weight.device, dtype=weight.dtype)
    return runtime.count_flop(lambda: net(y)) * size[0] * size[1] // small**2


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate of large square matrix products.

    The size is doubled until one takes long enough for its start not to matter. Where
    convolutions of float32 may use TensorFloat-32, which torch allows unless told otherwise,
    these products may, too.

    Args:
        device: where.
        dtype: of the matrices.

    Returns:
        FLOP/s of the fastest.
    """
    best, side, spent = 0.0, SMALLEST_PRODUCT, 0.0
    generator = torch.Generator().manual_seed(0)
    with _like_convolutions(device):
        factor = torch.rand(side, side, generator=generator).to(device, dtype)
        factor @ factor  # the first one loads the library
        while spent < PEAK_SECONDS:
            took = seconds(lambda x=factor: x @ x, device)  # type: ignore[misc]
            best = max(best, 2 * side**3 / took)
            if took >= LONG_ENOUGH or side == LARGEST_PRODUCT:
                spent += took
            else:
                side *= 2
                factor = factor.repeat(2, 2)
                factor @ factor
    return best


@contextlib.contextmanager
def _like_convolutions(device: torch.device) -> Iterator[None]:
    """Let matrix products use TensorFloat-32 where convolutions do."""
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has begun to rename these switches
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Measure the memory that a call takes at most beyond what was in use before it.

    On CUDA: live tensors, workspaces included, caches not. On the CPU: the growth of the
    resident set of this process, on Linux to its exact high-water mark, elsewhere to the
    largest value seen by looking every few milliseconds.

    Args:
        run: what to measure; it is called once.
        device: where it works.

    Returns:
        Bytes; None where torch does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        run()
        return None
    resident = _reset_high_water()
    if resident is None:
        return _sampled(run)
    run()
    return max((_status_bytes("VmHWM") or resident) - resident, 0)


def _sampled(run: Callable[[], object]) -> int:
    """Growth of the resident set, seen by a thread of its own."""
    process, done = psutil.Process(), threading.Event()

    def resident() -> int:
        return int(process.memory_info().rss)

    before = resident()
    highest = [before]

    def look() -> None:
        while not done.wait(SAMPLING):
            highest.append(max(highest.pop(), resident()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return max(*highest, resident()) - before


def _reset_high_water() -> int | None:
    """Start the high-water mark of the resident set anew; its size now [bytes]."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # where there is no glibc
        # What was freed but kept by the C library would be taken again unnoticed.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset VmHWM, see proc(5)
    except OSError:
        return None
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int | None:
    """A figure of `/proc/self/status` [bytes]."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None
