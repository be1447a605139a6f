"""Timing: how long the networks take for a photo, beside what the paper reports."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blurvid import runtime
from blurvid.config import RESOLUTIONS, BenchOptions, RunOptions
from blurvid.errors import OptionError
from blurvid.models import Cascade, build
from blurvid.networks import DirectNet

MIDDLE_NET = "middle"
"""Name of the rows of the cascade's middle network."""

PAPER_MIDDLE_SECONDS = {"320": 0.24, "480": 0.30, "720": 0.45}
"""Time of the middle network on a Titan X [s] (Jin et al. 2018, Table 3)."""
PAPER_ALL_SECONDS = {"320": 0.61, "480": 0.74, "720": 1.10}
"""Time of all seven frames on a Titan X [s] (Jin et al. 2018, Table 3)."""

FLOP_PER_MULTIPLY_ADD = 2
"""How torch counts, and so how every figure here is meant."""


@dataclass(frozen=True)
class Row:
    """One network at one resolution, one photo at a time."""

    resolution: str
    """Name of the resolution, a key of `config.RESOLUTIONS`."""
    size: tuple[int, int]
    """Height and width of the photo [px]."""
    padded: tuple[int, int]
    """Height and width that the network sees, multiples of what its model asks for [px]."""
    name: str
    """`middle` for the cascade's middle network, otherwise the model: all seven frames."""
    parameters: int
    flop: int
    """Floating-point operations of the convolutions; a multiply-add counts as two."""
    seconds: float
    """Median time of a run; the photo is on the device already and the frames stay there."""
    fastest: float
    """Shortest time of a run [s]."""
    slowest: float
    """Longest time of a run [s]."""
    peak_memory: int | None
    """Weights and what a run takes at most beside them [bytes]; see `peak_memory`."""
    paper_seconds: float | None
    """What the paper reports for the same frames on a Titan X [s] (Table 3)."""

    @property
    def flop_per_second(self) -> float:
        """Floating-point operations reached per second."""
        return self.flop / self.seconds

    @property
    def images_per_hour(self) -> float:
        """Photos per hour, were the network all there is to do."""
        return 3600 / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; times in seconds, memory in bytes."""
        return {
            **asdict(self),
            "size": list(self.size),
            "padded": list(self.padded),
            "flop_per_second": self.flop_per_second,
            "images_per_hour": self.images_per_hour,
        }


@dataclass(frozen=True)
class Report:
    """What was timed, and on what."""

    device: str
    """The device in words."""
    torch: str
    """Version of torch."""
    precision: str
    """Precision of the features: `float32`, `bfloat16` or `float16`."""
    threads: int
    """CPU threads."""
    repeats: int
    """Timed runs of each row."""
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values, rows under `rows`."""
        rows = [row.to_json() for row in self.rows]
        return {**asdict(self), "flop_per_multiply_add": FLOP_PER_MULTIPLY_ADD, "rows": rows}


@dataclass(frozen=True)
class _Subject:
    """A network to time, in place on its device."""

    name: str
    net: nn.Module
    size_multiple: int


def bench(
    resolutions: Sequence[str] = tuple(RESOLUTIONS),
    *,
    models: Mapping[str, Cascade | DirectNet] | None = None,
    run: RunOptions = RunOptions(),
    options: BenchOptions = BenchOptions(),
    on_row: Callable[[Row], None] | None = None,
) -> Report:
    """Time the networks at some resolutions.

    For each resolution there is a row for every model (all seven frames), and before that of
    the cascade one for its middle network alone.

    Args:
        resolutions: keys of `config.RESOLUTIONS`.
        models: by name; they are copied, not moved. Untrained ones of either kind by default,
            which take the same time.
        run: device, precision, threads.
        options: how often; the first run is never timed, even without warm-up.
        on_row: called with each row as soon as it is there.

    Raises:
        OptionError: an unknown resolution, nothing to time, or no repeats.
        DeviceError: the device is not there or has too little memory.
    """
    _check(resolutions, options)
    if models is not None and not models:
        raise OptionError("no model to time")
    rows = []
    with runtime.running(run) as (device, dtype):
        if models is None:
            models = {name: build(name) for name in ("cascade", "direct")}
        subjects = list(_subjects(models, device))
        for resolution in resolutions:
            for subject in subjects:
                row = _time(subject, resolution, device, dtype, options)
                rows.append(row)
                if on_row is not None:
                    on_row(row)
        return Report(
            device=f"cpu ({_processor()})" if device.type == "cpu" else runtime.describe(device),
            torch=torch.__version__,
            precision=str(dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            repeats=options.repeats,
            rows=tuple(rows),
        )


def _check(resolutions: Sequence[str], options: BenchOptions) -> None:
    known = ", ".join(RESOLUTIONS)
    for resolution in resolutions:
        if resolution not in RESOLUTIONS:
            raise OptionError(f"no resolution named {resolution!r}; there are {known}")
    if not resolutions:
        raise OptionError(f"no resolution to time; there are {known}")
    if options.repeats < 1:
        raise OptionError(f"repeats must be at least 1, not {options.repeats}")
    if options.warmup < 0:
        raise OptionError(f"warmup must not be negative, not {options.warmup}")


def _subjects(
    models: Mapping[str, Cascade | DirectNet], device: torch.device
) -> Iterator[_Subject]:
    for name, model in models.items():
        placed = runtime.place(copy.deepcopy(model), device).eval().requires_grad_(False)
        if isinstance(placed, Cascade):
            yield _Subject(MIDDLE_NET, placed.stages[MIDDLE_NET], model.size_multiple)
        yield _Subject(name, placed, model.size_multiple)


@torch.inference_mode()
def _time(
    subject: _Subject,
    resolution: str,
    device: torch.device,
    dtype: torch.dtype,
    options: BenchOptions,
) -> Row:
    """Measure one row."""
    height, width = size = RESOLUTIONS[resolution]
    multiple = subject.size_multiple
    padded = (height + -height % multiple, width + -width % multiple)
    y = torch.rand(1, 3, *padded, generator=torch.Generator().manual_seed(0)).to(device)

    def once() -> float:
        runtime.synchronize(device)
        start = time.perf_counter()
        with runtime.autocast(device, dtype):
            subject.net(y)
        runtime.synchronize(device)
        return time.perf_counter() - start

    working = peak_memory(once, device)
    for _ in range(options.warmup - 1):
        once()
    times = [once() for _ in range(options.repeats)]
    weights = sum(p.numel() * p.element_size() for p in subject.net.parameters())
    paper = PAPER_MIDDLE_SECONDS if subject.name == MIDDLE_NET else PAPER_ALL_SECONDS
    return Row(
        resolution=resolution,
        size=size,
        padded=padded,
        name=subject.name,
        parameters=sum(p.numel() for p in subject.net.parameters()),
        flop=count_flop(subject.net, subject.size_multiple, padded),
        seconds=statistics.median(times),
        fastest=min(times),
        slowest=max(times),
        peak_memory=None if working is None else weights + working,
        paper_seconds=paper.get(resolution),
    )


def count_flop(net: nn.Module, size_multiple: int, size: tuple[int, int]) -> int:
    """Count the floating-point operations of a convolutional network for one image.

    Only the convolutions count. Their work is proportional to the pixels, so it is counted
    once, on the smallest image that the network takes.

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


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Measure the memory that a call takes at most beyond what was in use before it.

    On CUDA: live tensors, workspaces included, caches not. On the CPU: the growth of the
    resident set of this process, to its exact high-water mark (Linux).

    Args:
        run: what to measure; it is called once.
        device: where it works.

    Returns:
        Bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    resident = _reset_high_water() if device.type == "cpu" else None
    run()
    highest = _status_bytes("VmHWM") if resident is not None else None
    return None if resident is None or highest is None else max(highest - resident, 0)


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


def _processor() -> str:
    """Name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


__all__ = ["Report", "Row", "bench", "count_flop", "peak_memory"]
