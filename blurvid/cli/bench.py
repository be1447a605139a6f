"""`blurvid bench`: timing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from blurvid.cli import common
from blurvid.config import RunOptions
from blurvid.lab.options import NETWORKS, RESOLUTIONS, TIMED, BenchOptions

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.bench import TimingReport, TimingRow

DEFAULT = BenchOptions()


@click.command()
@click.option(
    "--res",
    "resolutions",
    metavar="|".join([*RESOLUTIONS, "WxH", "paper", "sweep", "all"]),
    multiple=True,
    default=["480"],
    show_default=True,
    help="Size of the photo: a height of 16:9, 12 megapixels, or width x height; `paper` stands "
    "for the three of its Table 3, `sweep` for 0.1 to 12 megapixels; repeatable.",
)
@click.option(
    "--network",
    "networks",
    type=click.Choice(TIMED),
    multiple=True,
    default=NETWORKS,
    help="What to time: the cascade's middle network, all seven frames by a model, or the middle "
    f"one by bdirnet; repeatable.  [default: {', '.join(NETWORKS)}]",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["auto", "fp32", "bf16", "fp16", "all"]),
    multiple=True,
    default=[RunOptions().precision],
    show_default=True,
    help="Precision of the features; `all` stands for those that are fast here; repeatable.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=DEFAULT.batches,
    show_default=True,
    help="Photos of the size in a call; more than one are left out where they do not fit into the "
    "memory; repeatable.",
)
@click.option("--repeats", default=DEFAULT.repeats, show_default=True, help="Timed runs.")
@click.option("--warmup", default=DEFAULT.warmup, show_default=True, help="Runs before those.")
@common.threads_option
@common.device_option
@common.memory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each measurement.")
def bench(
    resolutions: tuple[str, ...],
    networks: tuple[str, ...],
    precisions: tuple[str, ...],
    batches: tuple[int, ...],
    repeats: int,
    warmup: int,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Time the middle network and all seven frames, by both models.

    Beside them stand the rate of large matrix products on this device, measured in the same run,
    and what the paper reports for a Titan X. Times are medians; the photo is on the device already,
    and reading and writing files is not counted. Large photos are done in strips, as `extract`
    does them. Memory is that of the weights, the network's maps and the frames.

    \b
    Examples:
      blurvid bench --res 720
      blurvid bench --res paper --json
      blurvid bench --res 720 --batch 1 --batch 8 --device cuda
      blurvid bench --res sweep --network direct
    """
    from blurvid.lab import bench as library

    def show(row: TimingRow) -> None:
        text = f"{_title(row)} {row.label}: {row.seconds:.3f} s"
        if len(precisions) > 1 or "all" in precisions:
            text = f"{_title(row)} {row.label} {row.precision}: {row.seconds:.3f} s"
        click.echo(text, err=True)

    report = library.bench(
        resolutions,
        networks=networks,
        run=common.picked(RunOptions, values),
        precisions=precisions,
        options=BenchOptions(repeats, warmup, batches),
        on_row=None if quiet else show,
    )
    for reason in () if quiet else report.left_out:
        common.warn(reason)
    if as_json:
        common.echo_json(report.to_json())
        return
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    console.print(_table(report))
    for precision, peak in report.matrix_peaks.items():
        console.print(f"matrix product in {precision}: {_number(peak / 1e12)} TFLOP/s")
    for growth in report.growth:
        console.print(
            f"{growth.name} in {growth.precision}: time grows with pixels to the power of "
            f"{growth.exponent:.2f}"
        )


def _title(row: TimingRow) -> str:
    return f"{row.resolution}P" if row.resolution.isdecimal() else row.resolution


def _number(value: float) -> str:
    """Three significant digits without an exponent, be it a phone's CPU or a GPU."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _table(report: TimingReport) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{report.device}, torch {report.torch}, {report.threads} threads, "
        f"{report.repeats} runs"
    )
    columns = [
        "", "network", "precision", "param.", "TFLOP", "median (min..max) [s]", "TFLOP/s",
        "of peak", "memory [MB]", "photos/h", "paper, Titan X [s]",
    ]  # fmt: skip
    lines = []
    for row in report.rows:
        cells = [
            _title(row),
            row.label,
            row.precision,
            f"{row.parameters / 1e6:.2f} M",
            f"{row.flop / 1e12:.3f}",
            f"{row.seconds:.3f} ({row.fastest:.3f}..{row.slowest:.3f})",
            _number(row.flop_per_second / 1e12),
            f"{row.peak_share:.0%}",
            "-" if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f}",
            f"{row.images_per_hour:.0f}",
            "-" if row.paper_seconds is None else f"{row.paper_seconds:.2f}",
        ]
        lines.append(cells)
    for name, *cells in zip(columns, *lines, strict=True):
        # Where the terminal is narrow, lines are wrapped between words; no figure is cut.
        width = max(len(word) for text in (name, *cells) for word in text.split())
        justify: Literal["left", "right"] = "left" if name in columns[:3] else "right"
        table.add_column(name, justify=justify, min_width=width)
    for cells in lines:
        table.add_row(*cells)
    return table
