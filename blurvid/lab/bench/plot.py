"""A report as a plot, through matplotlib, which is an extra: `pip install 'blurvid[plot]'`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from blurvid.errors import OptionError
from blurvid.lab.bench.report import MIDDLE_NET, TimingReport, TimingRow
from blurvid.media.atomic import replacing
from blurvid.media.clip import check_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, DPI = 9.0, 6.0, 150
"""Inches, inches, dots per inch."""
CASCADE = "cascade"
"""Name of the rows of the paper's seven frames."""
COLOURS = {MIDDLE_NET: "#0072b2", CASCADE: "#d55e00", "direct": "#009e73", "bdirnet": "#cc79a7"}
"""Of the networks (Okabe, Ito 2008: told apart by colour-blind people too)."""
OTHER_COLOUR = "#cc79a7"
MARKERS = {"float32": "o", "bfloat16": "s", "float16": "^"}
"""Of the precisions."""


def check_plot(path: Path, overwrite: bool = False) -> None:
    """Find out early whether a plot can be written, before anything is measured for it.

    Raises:
        OptionError: a suffix other than `.png`, or matplotlib is not installed.
        OutputError: the file exists already, or cannot be made there.
    """
    if Path(path).suffix.lower() != ".png":
        raise OptionError(f"{path}: a plot is a .png file")
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionError("a plot needs matplotlib; run: pip install 'blurvid[plot]'")
    check_file(Path(path), overwrite)


def write_plot(report: TimingReport, path: Path, *, overwrite: bool = False) -> None:
    """Plot time against pixels on logarithmic axes.

    A line for each network and precision, its median and the range of its times, for each photo
    of a batch (dash-dotted), hollow where compiled; the time of its plain arithmetic alone, dashed;
    the baseline, dotted; and the figures of the paper.

    Args:
        report: what to plot.
        path: a PNG file.
        overwrite: replace an existing file.

    Raises:
        OptionError, OutputError: as for `check_plot`.
    """
    check_plot(path, overwrite)
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(row.name for row in report.rows):
        colour = COLOURS.get(name, OTHER_COLOUR)
        of_name = sorted((row for row in report.rows if row.name == name), key=lambda r: r.pixels)
        for precision in dict.fromkeys(row.precision for row in of_name):
            in_precision = [row for row in of_name if row.precision == precision]
            for label in dict.fromkeys(row.label for row in in_precision):
                rows = [row for row in in_precision if row.label == label]
                axes.errorbar(
                    _megapixels(rows),
                    [row.photo_seconds for row in rows],
                    yerr=[
                        [(row.seconds - row.fastest) / row.batch for row in rows],
                        [(row.slowest - row.seconds) / row.batch for row in rows],
                    ],
                    color=colour,
                    marker=MARKERS.get(precision, "o"),
                    markerfacecolor="white" if rows[0].compiled else colour,
                    linestyle="-" if rows[0].batch == 1 else "-.",
                    capsize=3,
                    label=f"{label}, {precision}",
                )
            # Each size once, however many ways there are
            rows = list({row.pixels: row for row in in_precision}.values())
            axes.plot(
                _megapixels(rows),
                [row.floor_seconds / row.batch for row in rows],
                color=colour,
                marker=MARKERS.get(precision, "o"),
                markersize=3,
                linestyle="--",
                linewidth=1,
                label=f"{name}, {precision}: plain arithmetic alone",
            )
        _points(axes, of_name, colour)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("photo [megapixels]")
    axes.set_ylabel("time a photo [s]")
    axes.set_title(f"{report.device}, torch {report.torch}, {report.threads} threads", fontsize=10)
    axes.grid(which="major", color="#cccccc", linewidth=0.6)
    axes.grid(which="minor", color="#eeeeee", linewidth=0.4)
    entries = zip(*axes.get_legend_handles_labels(), strict=True)
    handles, labels = zip(*sorted(entries, key=lambda entry: entry[1]), strict=True)
    axes.legend(
        handles, labels, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )
    with replacing([Path(path)]) as temporaries:
        figure.savefig(temporaries[0], format="png")


def _points(axes: Axes, rows: list[TimingRow], colour: str) -> None:
    """The baseline of a network, and its figures in the paper."""
    known = ((row, row.baseline) for row in rows)
    slow = {row.pixels: slow.seconds / row.batch for row, slow in known if slow is not None}
    if slow:
        axes.plot(
            [pixels / 1e6 for pixels in slow],
            list(slow.values()),
            color=colour,
            marker="x",
            linestyle=":",
            label=f"{rows[0].name}: the plain way",
        )
    paper = {row.pixels: row.paper_seconds for row in rows if row.paper_seconds is not None}
    if paper and rows[0].name in (MIDDLE_NET, CASCADE):
        axes.plot(
            [pixels / 1e6 for pixels in paper],
            list(paper.values()),
            color=colour,
            marker="*",
            markersize=9,
            linestyle="none",
            label=f"{rows[0].name}: paper, Titan X",
        )


def _megapixels(rows: list[TimingRow]) -> list[float]:
    return [row.pixels / 1e6 for row in rows]
