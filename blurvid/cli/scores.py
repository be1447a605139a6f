"""Scores on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import click

from blurvid.cli.robustness import print_table

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.evaluate import (
        MeanScore,
        MiddleSummary,
        ProtocolReport,
        Report,
        Summary,
        TimesReport,
    )

AnyReport: TypeAlias = "Report | ProtocolReport | TimesReport"


def show_report(report: AnyReport, model: str) -> None:
    """Show what a model scored.

    Args:
        report: the scores.
        model: its name, its weights, and what was done besides one plain pass.
    """
    from blurvid.lab import evaluate as library

    if isinstance(report, library.ProtocolReport):
        _show_protocol(report, model)
        return
    if isinstance(report, library.TimesReport):
        click.echo(f"Model {model}, {len(report.rows)} windows of {report.frames} frames")
        print_table(_times_table(report))
    else:
        click.echo(f"Model {model}, {len(report.rows)} windows")
        print_table(_table({**report.groups, "all": report.mean}))
        _show_ranking(report)


def _times_table(report: TimesReport) -> Table:
    from rich.table import Table

    mean = report.mean
    table = Table(title="PSNR [dB]; in the better order of time")
    ways = next(iter(mean.scores.values()))
    for name in ("", "at their own times", *ways):
        table.add_column(name, justify="left" if not name else "right")
    seven = f"{mean.seven:.2f}"
    for name, scores in mean.scores.items():
        table.add_row(name, seven, *(f"{value:.2f}" for value in scores.values()))
        seven = ""
    return table


def _show_ranking(report: Report) -> None:
    """How well the windows are ranked by what is known without their true frames."""
    ranking = report.ranking
    if ranking is None:
        return
    click.echo(
        f"Trust: the expected PSNR is off by {ranking.error:.1f} dB on average; rank correlation "
        f"with pPSNR {ranking.expected:.2f} (re-blur {ranking.reblur:.2f}, motion found "
        f"{ranking.motion:.2f}, slopes of the blurry photo {ranking.texture:.2f})"
    )


def _show_protocol(report: ProtocolReport, model: str) -> None:
    benchmark = report.benchmark
    click.echo(f"{benchmark.protocol.column}.")
    click.echo(f"Model {model}, {benchmark.images} images of {len(benchmark.scenes)} scenes")
    print_table(_middle_table(report, model))
    if report.sequence:
        print_table(_table({"all": report.sequence.mean}))
    click.echo("Left open by the paper, done here as follows:")
    for question, answer in benchmark.choices.items():
        click.echo(f"  {question}: {answer}")


def _middle_table(report: ProtocolReport, model: str) -> Table:
    from rich.table import Table

    table = Table(title="Middle frame: PSNR [dB] and SSIM")
    for name in ("", "n", "PSNR", "SSIM", "blurry PSNR", "blurry SSIM"):
        table.add_column(name, justify="left" if not name else "right")
    for figure in report.benchmark.protocol.published:
        table.add_row(f"{figure.method}, published", "", f"{figure.psnr:.2f}")
    table.add_row(model, *_middle_cells(report.middle.mean))
    table.add_section()
    for scene, summary in report.middle.clips.items():
        table.add_row(f"  {scene}", *_middle_cells(summary))
    return table


def _middle_cells(summary: MiddleSummary) -> list[str]:
    scores = (summary.score, summary.blurry)
    cells = [cell for s in scores for cell in (f"{s.psnr:.2f}", f"{s.ssim:.3f}")]
    return [str(summary.windows), *cells]


def _table(summaries: dict[str, Summary]) -> Table:
    from rich.table import Table

    table = Table(title="PSNR [dB]; frames 1..7 in the better order of time")
    for name in ("", "n", "forward", "pPSNR", *"1234567", "SSIM", "re-blur"):
        table.add_column(name, justify="left" if not name else "right")
    for group, summary in summaries.items():
        count = str(summary.windows)
        for label, score, reblur in (
            (group, summary.score, f"{summary.reblur:.1f}"),
            ("  blurry x 7", summary.blurry, ""),
            ("  middle x 7", summary.middle, ""),
            ("  true middle x 7", summary.true_middle, ""),
        ):
            table.add_row(label, count, *_cells(score), reblur)
            count = ""
        table.add_section()
    return table


def _cells(score: MeanScore) -> list[str]:
    return [
        f"{score.psnr:.2f}",
        f"{score.ppsnr:.2f}",
        *(f"{value:.2f}" for value in score.per_frame),
        f"{score.pssim:.3f}",
    ]
