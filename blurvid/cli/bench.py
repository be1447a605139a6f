"""`blurvid bench`: timing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from blurvid.cli import options, values
from blurvid.cli.boundary import echo_json
from blurvid.config import TRAINED, RunOptions
from blurvid.lab.options import BENCHED, RESOLUTIONS

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.bench import TimingReport, TimingRow


@click.command()
@click.option(
    "--res",
    "resolutions",
    metavar="|".join([*RESOLUTIONS, "WxH", "paper"]),
    multiple=True,
    default=["320"],
    show_default=True,
    help="Size of the photo: a height of 16:9, 12 megapixels, or width x height; `paper` stands "
    "for the three of its Table 3; repeatable.",
)
@click.option(
    "--model",
    "models",
    type=click.Choice(TRAINED),
    multiple=True,
    default=BENCHED,
    help=f"What to time; repeatable.  [default: {', '.join(BENCHED)}]",
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
    "--repeats",
    default=3,
    show_default=True,
    help="Most timed runs of a row; after a few seconds there are no more.",
)
@options.threads_option
@options.device_option
@options.memory_option
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw how time and memory grow with --res: .png, .svg or .pdf. Needs an extra "
    "(pip install 'blurvid[plot]').",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each measurement.")
@values.takes(run=RunOptions)
def bench(
    resolutions: tuple[str, ...],
    models: tuple[str, ...],
    precisions: tuple[str, ...],
    repeats: int,
    run: RunOptions,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time what `extract` and `deblur` do with a photo.

    Reading and writing files is not counted. Times are medians; beside those of the paper's sizes
    stands what it reports for as many frames on a Titan X. Memory is that of the weights and of
    what a photo takes, the frames included.

    \b
    Examples:
      blurvid bench
      blurvid bench --res 720 --model direct --precision all
      blurvid bench --res paper --model cascade --json
      blurvid bench --res 12mp --model direct --max-memory 2G
      blurvid bench --res 320 --res 720 --res 12mp --plot growth.png
    """
    from blurvid.lab import bench as library

    def show(row: TimingRow) -> None:
        name = f"{_title(row)} {row.model} {row.precision}"
        click.echo(f"{name}: {row.seconds:.3f} s", err=True)

    if plot is not None:
        library.check_plot(plot)
    report = library.bench(
        resolutions,
        models,
        run,
        precisions=precisions,
        repeats=repeats,
        on_row=None if quiet else show,
    )
    if plot is not None:
        library.plot(report.rows, plot)
    if as_json:
        echo_json(report.to_json())
        return
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(report))


def _title(row: TimingRow) -> str:
    return f"{row.resolution}P" if row.resolution.isdecimal() else row.resolution


def _table(report: TimingReport) -> Table:
    from rich.table import Table

    load = "" if report.load is None else f", load {report.load:.1f}"
    title = f"{report.device}, torch {report.torch}, {report.threads} threads{load}"
    table = Table(title=title)
    columns = (
        "", "model", "precision", "frames", "parameters", "median (min..max) [s]", "CPU [s]",
        "runs", "memory [MB]", "photos/h", "paper, Titan X [s]",
    )  # fmt: skip
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 3 else "right", overflow="fold")
    for row in report.rows:
        table.add_row(
            _title(row),
            row.model,
            row.precision,
            str(row.frames),
            f"{row.parameters / 1e6:.1f} M",
            f"{row.seconds:.3f} ({row.fastest:.3f}..{row.slowest:.3f})",
            f"{row.cpu_seconds:.3f}",
            str(row.runs),
            "-" if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f}",
            f"{row.images_per_hour:.0f}",
            "-" if row.paper_seconds is None else f"{row.paper_seconds:.2f}",
        )
    return table
