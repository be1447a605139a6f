"""Scores on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.evaluate import Benchmark, MeanScore, Report, Summary


def show_report(report: Report, model: str, benchmark: Benchmark | None) -> None:
    """Show what a model scored.

    Args:
        report: the scores.
        model: its name, its weights, and what was done besides one plain pass.
        benchmark: the protocol by which it was scored, if it was by one.
    """
    if benchmark is not None:
        click.echo(f"{benchmark.protocol.column}.")
        click.echo(f"Model {model}, {benchmark.images} images of {len(benchmark.scenes)} scenes")
        _print(_middle_table(report, model, benchmark))
    else:
        click.echo(f"Model {model}, {len(report.rows)} windows")
    if len(report.mean.score.per_frame) > 1:
        _print(_table({**({} if benchmark else report.groups), "all": report.mean}))
    if benchmark is not None:
        click.echo("Left open by the paper, done here as follows:")
        for question, answer in benchmark.choices.items():
            click.echo(f"  {question}: {answer}")


def _middle_table(report: Report, model: str, benchmark: Benchmark) -> Table:
    from rich.table import Table

    table = Table(title="Middle frame: PSNR [dB] and SSIM")
    for name in ("", "n", "PSNR", "SSIM", "blurry PSNR", "blurry SSIM"):
        table.add_column(name, justify="left" if not name else "right")
    for figure in benchmark.protocol.published:
        table.add_row(f"{figure.method}, published", "", f"{figure.psnr:.2f}")
    rows = {model: report.mean} | {f"  {scene}": mean for scene, mean in report.clips.items()}
    for name, summary in rows.items():
        scores = (summary.score.middle, summary.blurry.middle)
        cells = [cell for psnr, ssim in scores for cell in (f"{psnr:.2f}", f"{ssim:.3f}")]
        table.add_row(name, str(summary.windows), *cells, end_section=name == model)
    return table


def _table(summaries: dict[str, Summary]) -> Table:
    from rich.table import Table

    table = Table(title="PSNR [dB]; frames 1..7 in the better order of time")
    for name in ("", "n", "forward", "pPSNR", *"1234567", "SSIM", "re-blur"):
        table.add_column(name, justify="left" if not name else "right")
    for group, summary in summaries.items():
        table.add_row(group, str(summary.windows), *_cells(summary.score), f"{summary.reblur:.1f}")
        table.add_row("  blurry x 7", "", *_cells(summary.blurry))
        table.add_row("  middle x 7", "", *_cells(summary.middle), end_section=True)
    return table


def _cells(score: MeanScore) -> list[str]:
    curve = (f"{value:.2f}" for value in score.per_frame)
    return [f"{score.psnr:.2f}", f"{score.ppsnr:.2f}", *curve, f"{score.pssim:.3f}"]


def _print(table: Table) -> None:
    from rich.console import Console

    # Names of clips and [dB] are text, not markup.
    width = None if Console().is_terminal else 120
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
