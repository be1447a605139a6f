"""One run of the bench: which network runs how, and in which turn."""

from __future__ import annotations

import contextlib
import copy
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from blurvid import runtime
from blurvid.bench.baseline import plain
from blurvid.bench.measure import count_flop, matrix_peak, peak_memory, seconds
from blurvid.bench.report import (
    MIDDLE_NET,
    PAPER_ALL_SECONDS,
    PAPER_MIDDLE_SECONDS,
    Baseline,
    Report,
    Row,
)
from blurvid.bench.sizes import photo_sizes
from blurvid.config import FRAMES, NETWORKS, RESOLUTIONS, ROOMY, BenchOptions, RunOptions
from blurvid.errors import OptionError
from blurvid.models import Cascade, Trainable, build
from blurvid.pipeline.memory import FRAME_SIZE, Plan, frames_on_disk, plan
from blurvid.pipeline.tiles import fill_in_tiles

WAKING = 0.01
"""Standard deviation of the weights that are zero in an untrained network."""
BASELINE_MARGIN = 1.5
"""Memory of the baseline, over that predicted for our network in one go in float32."""


@dataclass
class _Way:
    """A way to run a network on a photo, and how long that took each time."""

    call: Callable[[], Tensor]
    times: list[float] = field(default_factory=list)
    memory: int | None = None
    difference: float = 0.0
    """From the output of the baseline."""


@dataclass(frozen=True)
class _Subject:
    """A network to time, in place on its device."""

    name: str
    net: nn.Module
    model: Trainable
    """The model that it is, or is a part of."""
    plain: nn.Module | None

    def run(self, y: Tensor, how: Plan) -> Tensor:
        """Run it on (1, 3, H, W) as `pipeline` does, the frames beside the photo."""
        if self.net is not self.model:
            found: Tensor = self.net(y, step=how.step)
            return found
        size = (y.shape[-2], y.shape[-1])
        count = self.model.count
        frames = frames_on_disk(*size, count) if how.on_disk else y.new_empty((count, 3, *size))
        if how.side is None:
            self.model.fill(frames, y, how.step)
        else:
            fill_in_tiles(self.model, frames, y, how.side, how.step, y.device)
        return frames


@dataclass(frozen=True)
class _Place:
    """Where things run, and how often."""

    device: torch.device
    max_memory: int | None
    peaks: Mapping[torch.dtype, float]
    options: BenchOptions

    def plan(self, model: Trainable, size: tuple[int, int], dtype: torch.dtype) -> Plan:
        """Choose how a model sees a photo, as `pipeline` does."""
        room = runtime.room(self.device, self.max_memory)
        roomy = ROOMY if self.device.type == "cpu" else None
        return plan(model, *size, dtype.itemsize, room, roomy=roomy)


def bench(
    resolutions: Sequence[str] = tuple(RESOLUTIONS),
    *,
    models: Mapping[str, Trainable] | None = None,
    networks: Sequence[str] = NETWORKS,
    run: RunOptions = RunOptions(),
    precisions: Sequence[str] = (),
    options: BenchOptions = BenchOptions(),
    on_row: Callable[[Row], None] | None = None,
) -> Report:
    """Time the networks at some resolutions.

    For each resolution there is a row for every model (all seven frames), and before that of
    the cascade one for its middle network alone; each in every precision. A photo too large for
    the memory is seen in strips or tiles, as `pipeline` does it; in tiles there is no row for the
    middle network. Precisions and the baseline take turns, so that whatever else the machine does
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
        options: how often, and whether beside the baseline; the first run is never timed, even
            without warm-up.
        on_row: called with each row as soon as it is there; its `matrix_peak` is that found so
            far.

    Raises:
        OptionError: an unknown resolution or precision, nothing to time, or no repeats.
        DeviceError: the device is not there or has too little memory.
    """
    if options.repeats < 1:
        raise OptionError(f"repeats must be at least 1, not {options.repeats}")
    if options.warmup < 0:
        raise OptionError(f"warmup must not be negative, not {options.warmup}")
    sizes = photo_sizes(resolutions)
    rows = []
    with runtime.running(replace(run, precision="fp32") if precisions else run) as (device, dtype):
        dtypes = [dtype]
        if precisions:
            names = precision_names(precisions, device)
            dtypes = [runtime.resolve_precision(name, device) for name in names]
        if models is None:
            models = {
                name: _awake(build(name))
                for name in ("cascade", "direct")
                if name in networks or (name == "cascade" and MIDDLE_NET in networks)
            }
        subjects = list(_subjects(models, networks, device, options.baseline))
        if not subjects:
            raise OptionError("no model to time")
        peaks = dict.fromkeys(dtypes, 0.0)
        _look_for_peak(peaks, device)
        place = _Place(device, run.max_memory, peaks, options)
        for resolution, size in sizes.items():
            for subject in subjects:
                for row in _time(subject, resolution, size, place):
                    rows.append(row)
                    if on_row is not None:
                        on_row(row)
                # The machine may have been busy with something else the first time.
                _look_for_peak(peaks, device)
        by_name = {_name(dtype): peak for dtype, peak in peaks.items()}
        return Report(
            device=f"cpu ({_processor()})" if device.type == "cpu" else runtime.describe(device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            repeats=options.repeats,
            matrix_peaks=by_name,
            rows=tuple(replace(row, matrix_peak=by_name[row.precision]) for row in rows),
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


def _awake(model: Trainable) -> Trainable:
    """Let an untrained model change its input, so that outputs can be compared."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=WAKING, generator=generator)
    return model


def _subjects(
    models: Mapping[str, Trainable],
    networks: Sequence[str],
    device: torch.device,
    baseline: bool,
) -> Iterator[_Subject]:
    for name, model in models.items():
        placed = copy.deepcopy(model).eval().requires_grad_(False)
        runtime.place(placed, device)
        nets: dict[str, nn.Module] = {name: placed}
        if isinstance(placed, Cascade):
            nets = {MIDDLE_NET: placed.stages[MIDDLE_NET], name: placed}
        for part, net in nets.items():
            if part in networks or part not in NETWORKS:
                yield _Subject(part, net, placed, plain(net, device) if baseline else None)


@torch.inference_mode()
def _time(
    subject: _Subject, resolution: str, size: tuple[int, int], place: _Place
) -> Iterator[Row]:
    """Measure one network on one photo: a row for each precision."""
    device, multiple = place.device, subject.model.size_multiple
    height, width = size
    padded = (height + -height % multiple, width + -width % multiple)
    plans = {dtype: place.plan(subject.model, padded, dtype) for dtype in place.peaks}
    if subject.net is not subject.model:  # alone, it has no way to be run in tiles
        plans = {dtype: how for dtype, how in plans.items() if how.side is None}
    y = torch.rand(1, 3, *padded, generator=torch.Generator().manual_seed(0)).to(device)

    def ours(dtype: torch.dtype) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with runtime.autocast(device, dtype):
                return subject.run(y, plans[dtype])

        return call

    ways = {dtype: _Way(ours(dtype)) for dtype in plans}
    baseline = _baseline(subject, y, place)
    _first_runs(list(ways.values()), baseline, device)
    turns = [*ways.values(), *([] if baseline is None else [baseline])]
    for _ in range(place.options.warmup - 1):
        for way in turns:
            seconds(way.call, device)
    for _ in range(place.options.repeats):
        for way in turns:
            way.times.append(seconds(way.call, device))

    flop = count_flop(subject.net, multiple, padded)
    parameters = list(subject.net.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    paper = PAPER_MIDDLE_SECONDS if subject.name == MIDDLE_NET else PAPER_ALL_SECONDS
    for dtype, way in ways.items():
        yield Row(
            resolution=resolution,
            size=size,
            padded=padded,
            name=subject.name,
            precision=_name(dtype),
            strip=plans[dtype].step,
            tile=plans[dtype].side,
            parameters=sum(p.numel() for p in parameters),
            flop=flop,
            seconds=statistics.median(way.times),
            fastest=min(way.times),
            slowest=max(way.times),
            matrix_peak=place.peaks[dtype],
            peak_memory=None if way.memory is None else weights + way.memory,
            paper_seconds=paper.get(resolution),
            baseline=None if baseline is None else _compared(way, baseline),
        )


def _baseline(subject: _Subject, y: Tensor, place: _Place) -> _Way | None:
    """The plain way, where there is room for it."""
    net = subject.plain
    if net is None:
        return None
    height, width = y.shape[-2:]
    need = subject.model.memory(height, width, y.element_size(), None) * BASELINE_MARGIN
    frames = 2 * (FRAMES + 1) * FRAME_SIZE * height * width  # ours beside them
    if need + frames > runtime.room(place.device, place.max_memory):
        return None

    def call() -> Tensor:
        # Of a sequence (1, 7, 3, H, W), of the middle network (1, 3, H, W)
        found: Tensor = net(y)
        return found if found.ndim == 4 else found[0]

    return _Way(call)


def _first_runs(ways: Sequence[_Way], baseline: _Way | None, device: torch.device) -> None:
    """Run everything once, untimed: for the memory, and to compare the outputs."""
    expected = None if baseline is None else baseline.call()
    for way in ways:
        found: list[Tensor] = []
        way.memory = peak_memory(lambda way=way, found=found: found.append(way.call()), device)  # type: ignore[misc]
        if expected is not None:
            way.difference = max(
                float((x.to(device) - other).abs().max())
                for x, other in zip(found[0], expected, strict=True)
            )


def _compared(way: _Way, baseline: _Way) -> Baseline:
    ratios = [slow / fast for slow, fast in zip(baseline.times, way.times, strict=True)]
    return Baseline(
        seconds=statistics.median(baseline.times),
        fastest=min(baseline.times),
        slowest=max(baseline.times),
        ratio=statistics.median(ratios),
        least_ratio=min(ratios),
        most_ratio=max(ratios),
        difference=way.difference,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _processor() -> str:
    """Name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
