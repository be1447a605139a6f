"""`blurvid bench`: timing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.config import RESOLUTIONS, BenchOptions, RunOptions

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.bench import Report, Row

DEFAULT = BenchOptions()


@click.command()
@click.option(
    "--res",
    "resolutions",
    type=click.Choice([*RESOLUTIONS, "all"]),
    multiple=True,
    default=["480"],
    show_default=True,
    help="Height of the photo, as in the paper's Table 3; repeatable.",
)
@click.option("--repeats", default=DEFAULT.repeats, show_default=True, help="Timed runs.")
@click.option("--warmup", default=DEFAULT.warmup, show_default=True, help="Runs before those.")
@common.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each measurement.")
def bench(
    resolutions: tuple[str, ...],
    repeats: int,
    warmup: int,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Time the middle network and all seven frames, by both models.

    Beside them stands what the paper reports for a Titan X. Times are medians; the photo is on
    the device already, and reading and writing files is not counted.

    \b
    Examples:
      blurvid bench --res 720
      blurvid bench --res all --json
    """
    from blurvid import bench as library

    names = list(RESOLUTIONS) if "all" in resolutions else list(dict.fromkeys(resolutions))

    def show(row: Row) -> None:
        click.echo(f"{row.resolution}P {row.name}: {row.seconds:.3f} s", err=True)

    report = library.bench(
        names,
        run=common.picked(RunOptions, values),
        options=BenchOptions(repeats=repeats, warmup=warmup),
        on_row=None if quiet else show,
    )
    if as_json:
        common.echo_json(report.to_json())
        return
    from rich.console import Console

    Console(width=None if Console().is_terminal else 120).print(_table(report))


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{report.device}, torch {report.torch}, {report.precision}, "
        f"{report.threads} threads, {report.repeats} runs"
    )
    for name in (
        "", "network", "parameters", "TFLOP", "median [s]", "min..max [s]", "TFLOP/s",
        "memory [MB]", "photos/h", "paper, Titan X [s]",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in ("", "network") else "right")
    for row in report.rows:
        table.add_row(
            f"{row.resolution}P",
            row.name,
            f"{row.parameters / 1e6:.2f} M",
            f"{row.flop / 1e12:.3f}",
            f"{row.seconds:.3f}",
            f"{row.fastest:.3f}..{row.slowest:.3f}",
            f"{row.flop_per_second / 1e12:.3f}",
            "-" if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f}",
            f"{row.images_per_hour:.0f}",
            "-" if row.paper_seconds is None else f"{row.paper_seconds:.2f}",
        )
    return table
