"""Timing: how long a photo takes, and how much memory, as `extract` would do it."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid import runtime, weights
from blurvid.atomic import replacing
from blurvid.config import FRAMES, MODELS, RunOptions
from blurvid.errors import OptionError
from blurvid.lab.options import BENCHED, PAPER_SECONDS, RESOLUTIONS
from blurvid.pipeline import Extractor, opened
from blurvid.recipe import resolve, resolve_middle
from blurvid.targets import check_file

ENOUGH = 4.0
"""Time [s] after which a row is not measured again; a first run that takes longer is the row."""
BLUR = 0.015
"""How far the photo moved, as a share of its width: what `direct` was trained for at 720 lines."""


@dataclass(frozen=True)
class TimingRow:
    """One model on a photo of one size in one precision."""

    resolution: str
    """Name of the resolution, see `photo_sizes`."""
    size: tuple[int, int]
    """Height and width of the photo [px]."""
    model: str
    weights: str
    frames: int
    """How many it gives: all seven, or the middle one."""
    precision: str
    """Precision of the features: `float32`, `bfloat16` or `float16`."""
    parameters: int
    seconds: float
    """Median time of the frames, the photo being in memory; nothing is written."""
    fastest: float
    slowest: float
    cpu_seconds: float
    """Median of the processor time of all threads, which tells more where others work too."""
    runs: int
    """How many there were."""
    peak_memory: int | None
    """Weights and what a run takes at most beside them, frames included [bytes]; None where
    neither torch nor the system tells."""
    paper_seconds: float | None
    """What the paper reports for the same frames on a Titan X [s] (Table 3)."""

    @property
    def images_per_hour(self) -> float:
        """Photos per hour, were the network all there is to do."""
        return 3600 / self.seconds


@dataclass(frozen=True)
class TimingReport:
    """What was timed, and on what."""

    device: str
    """The device in words."""
    torch: str
    """Version of torch."""
    threads: int
    """CPU threads."""
    load: float | None
    """Processes that ran or would have in the last minute, these among them; None on Windows."""
    rows: tuple[TimingRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; times in seconds, memory in bytes."""
        rows = [asdict(row) | {"images_per_hour": row.images_per_hour} for row in self.rows]
        return asdict(self) | {"rows": [row | {"size": list(row["size"])} for row in rows]}


def bench(
    resolutions: Iterable[str],
    models: Sequence[str | weights.WeightSet] = BENCHED,
    run: RunOptions = RunOptions(),
    *,
    precisions: Sequence[str] = (),
    repeats: int = 3,
    on_row: Callable[[TimingRow], None] | None = None,
) -> TimingReport:
    """Time models on photos of some sizes, with a texture that moves.

    Args:
        resolutions: names of sizes, see `photo_sizes`.
        models: their names, or weight sets.
        run: device, precision, threads, memory.
        precisions: several instead of the one of `run`; `all` stands for those that the device
            has fast kernels for.
        repeats: most timed runs of a row; there is one beside them, unless it takes `ENOUGH`.
        on_row: called with each row as soon as it is there.

    Raises:
        OptionError: an unknown resolution or precision, or no repeats.
        WeightsError: there are no such weights.
        DeviceError: the device is not there or has too little memory.
    """
    if repeats < 1:
        raise OptionError(f"repeats must be at least 1, not {repeats}")
    sizes = photo_sizes(resolutions)
    rows = []
    with runtime.running(replace(run, precision="fp32")) as (device, _):
        names = precision_names(precisions or (run.precision,), device)
        told = f"cpu ({_processor()})" if device.type == "cpu" else runtime.describe(device)
        for model in models:
            chosen = weights.find(None, model) if isinstance(model, str) else model
            for name in names:
                recipe = (
                    resolve(weights_name=chosen, precision=name)
                    if chosen.model in MODELS
                    else resolve_middle(middle=chosen.path, precision=name)
                )
                with opened(recipe, replace(run, precision=name)) as ready:
                    for resolution, size in sizes.items():
                        rows.append(_time(ready, chosen, resolution, size, repeats))
                        if on_row is not None:
                            on_row(rows[-1])
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return TimingReport(told, torch.__version__, torch.get_num_threads(), load, tuple(rows))


PLOTS = ("png", "svg", "pdf")
"""Kinds of files that a plot is written to."""


def check_plot(path: Path) -> None:
    """Refuse a plot that cannot be written, before anything is timed.

    Raises:
        OptionError: another suffix than those of `PLOTS`, or matplotlib is not installed.
        OutputError: it exists, or cannot be written there.
    """
    if path.suffix.lower().removeprefix(".") not in PLOTS:
        raise OptionError(f"{path}: a plot is a .{', .'.join(PLOTS)} file")
    if find_spec("matplotlib") is None:
        raise OptionError("plots need matplotlib: pip install 'blurvid[plot]'")
    check_file(path, overwrite=False)


def plot(rows: Iterable[TimingRow], path: Path) -> None:
    """Draw how time and memory grow with the photo.

    Args:
        rows: of several sizes; each model and precision is a line.
        path: where to, see `check_plot`.
    """
    from matplotlib.figure import Figure

    lines: dict[str, list[TimingRow]] = {}
    for row in sorted(rows, key=lambda row: math.prod(row.size)):
        lines.setdefault(f"{row.model}, {row.precision}", []).append(row)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("time [s]", "memory [GB]"), strict=True):
        for name, some in lines.items():
            values = [
                row.seconds if what == "time [s]" else (row.peak_memory or math.nan) / 1e9
                for row in some
            ]
            axes.loglog([math.prod(row.size) / 1e6 for row in some], values, "o-", label=name)
        axes.set(xlabel="megapixels", ylabel=what)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.grid(which="both", alpha=0.3)
    figure.axes[0].legend()
    with replacing([path]) as (part,):
        figure.savefig(part, format=path.suffix.lower().removeprefix("."), dpi=150)


def photo_sizes(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Turn names into sizes, each once.

    Args:
        names: keys of `options.RESOLUTIONS`, `WIDTHxHEIGHT`, or `paper`, the three of its Table 3.

    Returns:
        Height and width [px] by name.

    Raises:
        OptionError: an unknown name, or none at all.
    """
    known = f"there are {', '.join(RESOLUTIONS)}, paper and WIDTHxHEIGHT"
    sizes = {}
    for name in (
        n for given in names for n in (PAPER_SECONDS[FRAMES] if given == "paper" else (given,))
    ):
        match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", name)
        if match is not None:
            sizes[name] = (int(match[2]), int(match[1]))
        elif name in RESOLUTIONS:
            sizes[name] = RESOLUTIONS[name]
        else:
            raise OptionError(f"no resolution named {name!r}; {known}")
    if not sizes:
        raise OptionError(f"no resolution to time; {known}")
    return sizes


def precision_names(names: Sequence[str], device: torch.device) -> list[str]:
    """Replace `all` by the precisions that a device has fast kernels for.

    Args:
        names: `auto`, `fp32`, `bf16`, `fp16` or `all`.
        device: the device.

    Returns:
        Names without `all`, each once.
    """
    fast = ["fp32"]
    if runtime.has_fast_bf16(device):
        fast.append("bf16")
    if device.type != "cpu":
        fast.append("fp16")
    return list(dict.fromkeys(x for name in names for x in (fast if name == "all" else (name,))))


def moved_photo(size: tuple[int, int]) -> Tensor:
    """A texture of several scales, blurred by a move to the right, (3, H, W) in [0, 1]."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    path = max(1, round(BLUR * width)) // 2 * 2 + 1
    photo = torch.full((1, 3, height, width + path - 1), 0.5)
    for cell in (64, 16, 4, 1):
        cells = (max(2, height // cell), max(2, photo.shape[-1] // cell))
        noise = torch.rand(1, 3, *cells, generator=generator) - 0.5
        photo += 0.3 * F.interpolate(noise, photo.shape[-2:], mode="bilinear")
    return F.avg_pool2d(photo.clamp(0, 1), (1, path), 1)[0]


def _time(
    ready: Extractor,
    chosen: weights.WeightSet,
    resolution: str,
    size: tuple[int, int],
    repeats: int,
) -> TimingRow:
    y = moved_photo(size)

    def seconds() -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        precision.append(ready.scaled(y).dtype)
        runtime.synchronize(ready.device)
        return time.perf_counter() - start[0], time.process_time() - start[1]

    times: list[tuple[float, float]] = []
    precision: list[torch.dtype] = []
    memory = peak_memory(lambda: times.append(seconds()), ready.device)
    if times[0][0] < ENOUGH:  # that one was the warm-up
        times.clear()
        while len(times) < repeats and sum(wall for wall, _ in times) < ENOUGH:
            times.append(seconds())
    walls, busy = zip(*times, strict=True)
    assert isinstance(ready.network, nn.Module)
    parameters = list(ready.network.parameters())
    held = sum(p.numel() * p.element_size() for p in parameters)
    return TimingRow(
        resolution=resolution,
        size=size,
        model=chosen.model,
        weights=chosen.name,
        frames=ready.model.count,
        precision=str(precision[-1]).removeprefix("torch."),
        parameters=sum(p.numel() for p in parameters),
        seconds=statistics.median(walls),
        fastest=min(walls),
        slowest=max(walls),
        cpu_seconds=statistics.median(busy),
        runs=len(times),
        peak_memory=None if memory is None else held + memory,
        paper_seconds=PAPER_SECONDS[ready.model.count].get(resolution),
    )


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Measure the memory that a call takes at most beyond what was in use before it.

    On CUDA: live tensors, workspaces included, caches not. On the CPU: the growth of the resident
    set of this process to its high-water mark, which Linux tells.

    Args:
        run: what to measure; it is called once.
        device: where it works.

    Returns:
        Bytes; None where nothing tells.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        if device.type != "cpu":
            raise OSError
        with contextlib.suppress(AttributeError, OSError, TypeError):  # where there is no glibc
            # What was freed but kept by the C library would be taken again unnoticed.
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset VmHWM, see proc(5)
        before = psutil.Process().memory_info().rss
    except OSError:
        run()
        return None
    run()
    highest = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return None if highest is None else max(0, int(highest[1]) * 1024 - before)


def _processor() -> str:
    """Name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor() or platform.machine()
