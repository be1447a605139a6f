"""What was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MIDDLE_NET = "middle"
"""Name of the rows of the cascade's middle network."""

PAPER_MIDDLE_SECONDS = {"320": 0.24, "480": 0.30, "720": 0.45}
"""Time of the middle network on a Titan X [s] (Jin et al. 2018, Table 3)."""
PAPER_ALL_SECONDS = {"320": 0.61, "480": 0.74, "720": 1.10}
"""Time of all seven frames on a Titan X [s] (Jin et al. 2018, Table 3)."""

FLOP_PER_MULTIPLY_ADD = 2
"""How torch counts, and so how every figure here is meant."""


@dataclass(frozen=True)
class TimingRow:
    """One network at one resolution in one precision."""

    resolution: str
    """Name of the resolution, see `photo_sizes`."""
    size: tuple[int, int]
    """Height and width of the photo [px]."""
    padded: tuple[int, int]
    """Height and width that the network sees, multiples of what its model asks for [px]."""
    name: str
    """`middle` for the cascade's middle network, otherwise the model: all seven frames."""
    precision: str
    """Precision of the features: `float32`, `bfloat16` or `float16`."""
    strip: int | None
    """Rows of features at a time, to save memory; None takes all."""
    tile: int | None
    """Side of the tiles [px] where memory is too little for strips; None sees the whole."""
    parameters: int
    flop: int
    """Floating-point operations of a run: of the convolutions of the network run in one go; a
    multiply-add counts as two. Strips compute some of them again, which does not count."""
    seconds: float
    """Median time of a run, of all photos of a batch; they are on the device already, and the
    frames stay there."""
    fastest: float
    """Shortest time of a run [s]."""
    slowest: float
    """Longest time of a run [s]."""
    matrix_peak: float
    """Rate of a large matrix product here in this precision [FLOP/s]."""
    peak_memory: int | None
    """Weights and what a run takes at most beside them, frames included [bytes]; see
    `measure.peak_memory`."""
    paper_seconds: float | None
    """What the paper reports for the same frames on a Titan X [s] (Table 3)."""
    batch: int = 1
    """Photos in a run."""
    predicted_memory: int | None = None
    """What `peak_memory` was taken to be at most, before [bytes]."""

    @property
    def label(self) -> str:
        """What is run: the name, and how many photos at once."""
        several = f", {self.batch} at once" if self.batch > 1 else ""
        return f"{self.name}{several}"

    @property
    def photo_seconds(self) -> float:
        """Time of a run for each of its photos [s]."""
        return self.seconds / self.batch

    @property
    def pixels(self) -> int:
        """Pixels of the photo."""
        return self.size[0] * self.size[1]

    @property
    def flop_per_second(self) -> float:
        """Floating-point operations reached per second."""
        return self.flop / self.seconds

    @property
    def floor_seconds(self) -> float:
        """Time of the arithmetic alone at the rate of a large matrix product [s]."""
        return self.flop / self.matrix_peak

    @property
    def peak_share(self) -> float:
        """Share of the rate of a large matrix product that is reached."""
        return self.flop_per_second / self.matrix_peak

    @property
    def images_per_hour(self) -> float:
        """Photos per hour, were the network all there is to do."""
        return 3600 / self.photo_seconds

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; times in seconds, memory in bytes."""
        return {
            **asdict(self),
            "size": list(self.size),
            "padded": list(self.padded),
            "pixels": self.pixels,
            "flop_per_second": self.flop_per_second,
            "floor_seconds": self.floor_seconds,
            "peak_share": self.peak_share,
            "images_per_hour": self.images_per_hour,
        }


@dataclass(frozen=True)
class Growth:
    """How time grows with pixels, fitted over all sizes: time = constant * pixels**exponent."""

    name: str
    """The rows' `label`."""
    precision: str
    exponent: float
    """1 is linear."""


@dataclass(frozen=True)
class TimingReport:
    """What was timed, and on what."""

    device: str
    """The device in words."""
    torch: str
    """Version of torch."""
    threads: int
    """CPU threads."""
    repeats: int
    """Timed runs of each row."""
    matrix_peaks: Mapping[str, float]
    """Rate of a large matrix product by precision [FLOP/s]: the highest that was measured before
    the rows and between them."""
    rows: tuple[TimingRow, ...]
    left_out: tuple[str, ...] = ()
    """What was asked for but not measured, and why, in sentences."""

    @property
    def growth(self) -> tuple[Growth, ...]:
        """Growth of each network in each precision that was timed at two sizes or more."""
        found = []
        for name, precision in dict.fromkeys((row.label, row.precision) for row in self.rows):
            rows = [row for row in self.rows if (row.label, row.precision) == (name, precision)]
            if len({row.pixels for row in rows}) > 1:
                pixels = [math.log(row.pixels) for row in rows]
                times = [math.log(row.seconds) for row in rows]
                slope = statistics.linear_regression(pixels, times).slope
                found.append(Growth(name, precision, slope))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values, rows under `rows`."""
        return {
            "device": self.device,
            "torch": self.torch,
            "threads": self.threads,
            "repeats": self.repeats,
            "flop_per_multiply_add": FLOP_PER_MULTIPLY_ADD,
            "matrix_peaks": dict(self.matrix_peaks),
            "rows": [row.to_json() for row in self.rows],
            "growth": [asdict(growth) for growth in self.growth],
            "left_out": list(self.left_out),
        }
