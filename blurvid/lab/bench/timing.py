"""One run of the bench: which network runs how, and in which turn."""

from __future__ import annotations

import contextlib
import copy
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import nn

from blurvid import runtime
from blurvid.config import RunOptions
from blurvid.errors import DeviceError, OptionError
from blurvid.lab.bench.measure import count_flop, matrix_peak, peak_memory, seconds
from blurvid.lab.bench.report import (
    MIDDLE_NET,
    PAPER_ALL_SECONDS,
    PAPER_MIDDLE_SECONDS,
    TimingReport,
    TimingRow,
)
from blurvid.lab.bench.sizes import photo_sizes
from blurvid.lab.bench.ways import Place, Subject, precision_name, ways_to_run
from blurvid.lab.options import NETWORKS, RESOLUTIONS, TIMED, BenchOptions
from blurvid.models import Cascade, Trainable, build


def bench(
    resolutions: Sequence[str] = tuple(RESOLUTIONS),
    *,
    models: Mapping[str, Trainable] | None = None,
    networks: Sequence[str] = NETWORKS,
    run: RunOptions = RunOptions(),
    precisions: Sequence[str] = (),
    options: BenchOptions = BenchOptions(),
    on_row: Callable[[TimingRow], None] | None = None,
) -> TimingReport:
    """Time the networks at some resolutions.

    For each resolution there is a row for every model (all seven frames), and before that of
    the cascade one for its middle network alone; each in every precision and for every number of
    photos in a call. A photo too large for the memory is seen in strips or tiles, as `pipeline`
    does it; in tiles there is no row for the middle network, and several photos are not measured
    where they do not fit in one go. Precisions take turns, so that whatever else the machine does
    falls on all of them alike.

    Args:
        resolutions: names of sizes, see `photo_sizes`.
        models: by name; they are copied, not moved. Untrained ones of either kind by default,
            which take the same time.
        networks: names of the rows that are wanted, `middle` among them; those of models that
            are not there are left out.
        run: device, precision, threads, memory.
        precisions: several instead of the one of `run`; `all` stands for those that the device
            has fast kernels for.
        options: how often, how many photos in a call; the first run is never timed, even without
            warm-up.
        on_row: called with each row as soon as it is there; its `matrix_peak` is that found so
            far.

    Raises:
        OptionError: an unknown resolution or precision, nothing to time, or no repeats.
        DeviceError: the device is not there or has too little memory for all that was asked for.
    """
    if options.repeats < 1:
        raise OptionError(f"repeats must be at least 1, not {options.repeats}")
    if options.warmup < 0:
        raise OptionError(f"warmup must not be negative, not {options.warmup}")
    if not options.batches or min(options.batches) < 1:
        raise OptionError("a batch is of one photo at least")
    sizes = photo_sizes(resolutions)
    rows = []
    with runtime.running(replace(run, precision="fp32") if precisions else run) as (device, dtype):
        dtypes = [dtype]
        if precisions:
            names = precision_names(precisions, device)
            dtypes = [runtime.resolve_precision(name, device) for name in names]
        if models is None:
            models = {
                name: build(name)
                for name in ("cascade", "direct", "bdirnet")
                if name in networks or (name == "cascade" and MIDDLE_NET in networks)
            }
        subjects = list(_subjects(models, networks, device))
        if not subjects:
            raise OptionError("no model to time")
        peaks = dict.fromkeys(dtypes, 0.0)
        _look_for_peak(peaks, device)
        place = Place(device, run.max_memory, peaks, options)
        for (resolution, size), count in product(sizes.items(), dict.fromkeys(options.batches)):
            for subject in subjects:
                for row in _time(subject, resolution, size, count, place):
                    rows.append(row)
                    if on_row is not None:
                        on_row(row)
                # The machine may have been busy with something else the first time.
                _look_for_peak(peaks, device)
        if not rows and place.left_out:
            raise DeviceError(next(iter(place.left_out)))
        by_name = {precision_name(dtype): peak for dtype, peak in peaks.items()}
        return TimingReport(
            device=f"cpu ({_processor()})" if device.type == "cpu" else runtime.describe(device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            repeats=options.repeats,
            matrix_peaks=by_name,
            rows=tuple(replace(row, matrix_peak=by_name[row.precision]) for row in rows),
            left_out=tuple(place.left_out),
        )


def _look_for_peak(peaks: dict[torch.dtype, float], device: torch.device) -> None:
    """Measure matrix products; the highest rate so far stays."""
    for dtype, peak in peaks.items():
        peaks[dtype] = max(peak, matrix_peak(device, dtype))


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


def _subjects(
    models: Mapping[str, Trainable],
    networks: Sequence[str],
    device: torch.device,
) -> Iterator[Subject]:
    for name, model in models.items():
        placed = copy.deepcopy(model).eval().requires_grad_(False)
        runtime.place(placed, device)
        nets: dict[str, nn.Module] = {name: placed}
        if isinstance(placed, Cascade):
            nets = {MIDDLE_NET: placed.stages[MIDDLE_NET], name: placed}
        for part, net in nets.items():
            if part in networks or part not in TIMED:
                yield Subject(part, net, placed)


@torch.inference_mode()
def _time(
    subject: Subject, resolution: str, size: tuple[int, int], count: int, place: Place
) -> Iterator[TimingRow]:
    """Measure one network on so many photos of a size: a row for each way."""
    device, multiple = place.device, subject.model.size_multiple
    height, width = size
    padded = (height + -height % multiple, width + -width % multiple)
    ways = ways_to_run(subject, count, padded, resolution, place)
    if not ways:
        return
    y = torch.rand(count, 3, *padded, generator=torch.Generator().manual_seed(0)).to(device)
    for way in ways:  # untimed
        way.memory = peak_memory(partial(way.call, y), device)
    for _ in range(place.options.warmup - 1):
        for way in ways:
            seconds(partial(way.call, y), device)
    for _ in range(place.options.repeats):
        for way in ways:
            way.times.append(seconds(partial(way.call, y), device))

    flop = count * count_flop(subject.net, multiple, padded)
    parameters = list(subject.net.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    paper = {MIDDLE_NET: PAPER_MIDDLE_SECONDS, "bdirnet": {}}.get(subject.name, PAPER_ALL_SECONDS)
    for way in ways:
        yield TimingRow(
            resolution=resolution,
            size=size,
            padded=padded,
            name=subject.name,
            precision=precision_name(way.dtype),
            batch=count,
            strip=way.how.step,
            tile=way.how.side,
            parameters=sum(p.numel() for p in parameters),
            flop=flop,
            seconds=statistics.median(way.times),
            fastest=min(way.times),
            slowest=max(way.times),
            matrix_peak=place.peaks[way.dtype],
            predicted_memory=weights + way.predicted,
            peak_memory=None if way.memory is None else weights + way.memory,
            paper_seconds=paper.get(resolution) if count == 1 else None,
        )


def _processor() -> str:
    """Name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
