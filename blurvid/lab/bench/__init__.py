"""Timing: how long the networks take for a photo, and how near that is to what is possible."""

from blurvid.lab.bench.baseline import plain
from blurvid.lab.bench.measure import count_flop, matrix_peak, peak_memory
from blurvid.lab.bench.plot import check_plot, write_plot
from blurvid.lab.bench.report import Baseline, Growth, TimingReport, TimingRow
from blurvid.lab.bench.sizes import photo_sizes
from blurvid.lab.bench.synth import SynthRate, bench_synth
from blurvid.lab.bench.timing import bench, precision_names

__all__ = [
    "Baseline",
    "Growth",
    "TimingReport",
    "TimingRow",
    "SynthRate",
    "bench",
    "bench_synth",
    "check_plot",
    "count_flop",
    "matrix_peak",
    "peak_memory",
    "photo_sizes",
    "plain",
    "precision_names",
    "write_plot",
]
