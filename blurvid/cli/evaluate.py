"""`blurvid eval`: scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from blurvid.cli import options, values
from blurvid.cli.boundary import echo_json, warn
from blurvid.cli.sections import SectionedCommand, below
from blurvid.config import Gamma, RunOptions
from blurvid.lab.options import BLUR_FOLDERS, SynthOptions
from blurvid.recipe import AUTO, Choices, resolve

if TYPE_CHECKING:
    from rich.table import Table

    from blurvid.lab.evaluate import Report, Row, Summary
    from blurvid.lab.metrics import SequenceScore

DEFAULT = SynthOptions()
FIRST = "fast model weights_name middle gamma clip_scale stride device as_json quiet"
scored = below("What is scored")
windows = below("Windows of clips")
MORE = """
blurvid eval windows/ --model cascade --json
blurvid eval GOPRO_Large/test --blur-folder blur_gamma

A folder with a samples.json will do, too. Of clips, windows are made on the fly. forward is PSNR
in the order given; pPSNR that of the better order of time, chosen for each window as a whole. The
blurry photo and the middle frame, each repeated seven times, are what a model must beat.

Of scenes of GOPRO_Large (blur, blur_gamma, sharp) the stored images are taken, and the middle frame
alone is scored.
"""


@click.command("eval", cls=SectionedCommand, first=FIRST, more=MORE)
@click.argument("source", type=options.existing, metavar="SRC")
@options.weights_options
@options.model(
    "--middle",
    metavar="NAME|FILE",
    default=AUTO,
    show_default=True,
    help="What gives the middle frame. As for `blurvid extract`.",
)
@options.quality_options
@scored(
    "--blur-folder",
    type=click.Choice(BLUR_FOLDERS),
    default=BLUR_FOLDERS[0],
    show_default=True,
    help="Of GOPRO_Large, which of the stored blurry images.",
)
@windows(
    "--gamma",
    type=values.number_or("srgb"),
    metavar="FLOAT|srgb",
    help="Camera response of the re-blur, and of windows made of clips.  "
    f"[default: {DEFAULT.gamma}]",
)
@windows(
    "--clip-scale",
    type=float,
    help=f"Downscaling of clips, as --scale of synth.  [default: {DEFAULT.scale}]",
)
@windows("--stride", type=int, help="Frames from one window of a clip to the next.")
@options.memory_option
@options.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each window.")
@values.takes(choices=Choices, run=RunOptions)
def evaluate(
    source: Path,
    fast: bool,
    model: str,
    weights_name: str | None,
    middle: str,
    choices: Choices,
    blur_folder: str,
    gamma: Gamma | None,
    clip_scale: float | None,
    stride: int | None,
    run: RunOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score a model on windows with known frames.

    SRC is a folder of windows, as `blurvid synth` makes them, or clips.

    \b
    Examples:
      blurvid eval windows/
      blurvid eval clips/ --stride 3 --fast
      blurvid eval GOPRO_Large_all/test --clip-scale 0.45 --gamma 1
    """
    values.refuse_missing([source])
    from blurvid.lab import evaluate as library
    from blurvid.pipeline import opened

    # What is scored on is opened before the weights are.
    given = {"gamma": gamma, "scale": clip_scale, "stride": stride}
    windows = library.windows_from(source, values.picked(SynthOptions, given, set()), blur_folder)
    model = values.quick(model, fast)
    recipe = resolve(model, weights_name, middle, run.precision, **choices)
    for warning in recipe.warnings:
        warn(warning)
    with opened(recipe, run) as ready:
        report = library.evaluate(
            lambda y: ready.scaled(y).frames,
            windows,
            gamma,
            on_window=None if quiet else _show_window,
        )
    if as_json:
        echo_json(recipe.record() | {"source": str(source)} | report.to_json())
        return
    done = ", ".join(filter(None, (f"weights {recipe.weights.name}", recipe.describe())))
    _show(report, f"{recipe.model} ({done})")


def _show_window(row: Row) -> None:
    click.echo(f"{row.window}: {row.score.ppsnr:.2f} dB", err=True)


def _show(report: Report, model: str) -> None:
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


def _cells(score: SequenceScore) -> list[str]:
    curve = (f"{value:.2f}" for value in score.per_frame)
    return [f"{score.psnr:.2f}", f"{score.ppsnr:.2f}", *curve, f"{score.pssim:.3f}"]
