"""`blurvid eval`: scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.synth import gamma_option, parse_gamma
from blurvid.config import RunOptions, SynthOptions

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.evaluate import MeanScore, Report, Row

DEFAULT = SynthOptions()


@click.command("eval")
@click.argument("source", type=common.existing, metavar="SRC")
@common.weights_options
@gamma_option(None, "Camera response of the re-blur, and of windows made of clips.  [default: 2.2]")
@click.option(
    "--scale", default=DEFAULT.scale, show_default=True, help="Downscaling of clips, see synth."
)
@click.option("--stride", type=int, help="Frames from one window of a clip to the next.")
@common.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each window.")
def evaluate(
    source: Path,
    weights_name: str | None,
    model: str,
    gamma: str | None,
    scale: float,
    stride: int | None,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Score a model on windows with known frames.

    SRC is a folder of windows (made by `blurvid synth`, or with a samples.json), or clips from
    which windows are made on the fly.

    forward is PSNR in the order given; pPSNR that of the better order of time, chosen for each
    window as a whole. The blurry photo and the middle frame, each repeated seven times, are what
    a model must beat; the true middle frame repeated is there for reference.

    \b
    Examples:
      blurvid eval windows/
      blurvid eval windows/ --model cascade --json
    """
    from blurvid import evaluate as library
    from blurvid import weights
    from blurvid.pipeline import extractor

    options = SynthOptions(scale=scale, stride=stride)
    if gamma:
        options = dataclasses.replace(options, gamma=parse_gamma(gamma))
    windows = library.windows_from(source, options)
    chosen = weights.find(weights_name, model)
    with extractor(chosen, run=common.picked(RunOptions, values)) as ready:

        def show(row: Row) -> None:
            click.echo(f"{row.window}: {row.score.ppsnr:.2f} dB", err=True)

        report = library.evaluate(
            lambda y: ready.frames(y)[0],
            windows,
            parse_gamma(gamma) if gamma else None,
            on_window=None if quiet else show,
        )
    if as_json:
        about = {"model": chosen.model, "weights": chosen.name, "source": str(source)}
        common.echo_json(about | report.to_json())
        return
    from rich.console import Console

    click.echo(f"Model {chosen.model} (weights {chosen.name}), {len(report.rows)} windows")
    Console(width=None if Console().is_terminal else 120).print(_table(report))


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table(title="PSNR [dB]; frames 1..7 in the better order of time")
    for name in ("", "n", "forward", "pPSNR", *"1234567", "SSIM", "re-blur"):
        table.add_column(name, justify="left" if not name else "right")
    for group, summary in {**report.groups, "all": report.mean}.items():
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
