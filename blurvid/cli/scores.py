"""Scores on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.evaluate import MeanScore, Report, Summary


def show_report(report: Report, model: str) -> None:
    """Show what a model scored.

    Args:
        report: the scores.
        model: its name, its weights, and what was done besides one plain pass.
    """
    from rich.console import Console

    click.echo(f"Model {model}, {len(report.rows)} windows")
    # Names of clips and [dB] are text, not markup.
    width = None if Console().is_terminal else 120
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(_table({**report.groups, "all": report.mean}))


def _table(summaries: dict[str, Summary]) -> Table:
    from rich.table import Table

    count = len(summaries["all"].score.per_frame)
    frames = "1234567" if count > 1 else "4"
    which = "frames 1..7 in the better order of time" if count > 1 else "the middle frame"
    table = Table(title=f"PSNR [dB]; {which}")
    for name in ("", "n", "forward", "pPSNR", *frames, "SSIM", "re-blur"):
        table.add_column(name, justify="left" if not name else "right")
    for group, summary in summaries.items():
        table.add_row(group, str(summary.windows), *_cells(summary.score), f"{summary.reblur:.1f}")
        table.add_row(f"  blurry x {count}", "", *_cells(summary.blurry), end_section=count == 1)
        if count > 1:
            table.add_row("  middle x 7", "", *_cells(summary.middle), end_section=True)
    return table


def _cells(score: MeanScore) -> list[str]:
    curve = (f"{value:.2f}" for value in score.per_frame)
    return [f"{score.psnr:.2f}", f"{score.ppsnr:.2f}", *curve, f"{score.pssim:.3f}"]
