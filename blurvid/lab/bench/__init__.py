"""Timing: how long the networks take for a photo, and how near that is to what is possible."""

from blurvid.lab.bench.measure import count_flop, matrix_peak, peak_memory
from blurvid.lab.bench.report import Growth, TimingReport, TimingRow
from blurvid.lab.bench.sizes import photo_sizes
from blurvid.lab.bench.timing import bench, precision_names

__all__ = [
    "Growth",
    "TimingReport",
    "TimingRow",
    "bench",
    "count_flop",
    "matrix_peak",
    "peak_memory",
    "photo_sizes",
    "precision_names",
]
