"""`blurvid eval --video`: whole videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.robustness import print_table
from blurvid.config import QualityOptions, RunOptions
from blurvid.lab.options import SynthOptions

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from blurvid.lab.evaluate import FrameRow, VideoReport


def score_video(
    source: Path,
    options: SynthOptions,
    weights_name: str | None,
    model: str,
    as_json: bool,
    quiet: bool,
    values: dict[str, Any],
) -> None:
    """Score videos made of clips of a high rate, and print the table."""
    from blurvid.lab import evaluate as library
    from blurvid.lab.data.windows import find_clips
    from blurvid.pipeline import opened
    from blurvid.recipe import resolve

    clips = find_clips([source])

    def show(row: FrameRow) -> None:
        order = "right" if row.right else "wrong"
        click.echo(
            f"{row.clip}/{row.number}: {row.psnr:.2f} dB, {row.motion:.1f} px, {order}", err=True
        )

    run, quality = common.picked(RunOptions, values), common.picked(QualityOptions, values)
    recipe = resolve(weights_name, model, quality=quality, precision=run.precision)
    for warning in recipe.warnings:
        common.warn(warning)
    with opened(recipe, run) as ready:

        def extract(y: Tensor) -> Tensor:
            return ready.scaled(y).frames

        report = library.evaluate_video(extract, clips, options, on_frame=None if quiet else show)
    if as_json:
        common.echo_json(recipe.record() | {"source": str(source)} | report.to_json())
        return
    click.echo(
        f"Model {recipe.model} (weights {recipe.weights.name}), {len(report.rows)} blurry frames"
    )
    print_table(_table(report))
    jump = report.mean.jump
    if jump is not None:
        click.echo(
            f"Difference at joints: {jump.met:.2f} levels of 255, {jump.plain:.2f} as extracted, "
            f"{jump.true:.2f} by motion alone"
        )


def _table(report: VideoReport) -> Table:
    from rich.table import Table

    from blurvid.lab.evaluate import MOVING

    table = Table(title=f"Order of time where more than {MOVING:g} px move, and PSNR [dB]")
    names = ("", "n", "moving", "right", "video", "own order", "best order", "repeat", "blend")
    for name in names:
        table.add_column(name, justify="left" if not name else "right", overflow="fold")
    for name, some in {**report.clips, "all": report.mean}.items():
        share = f"{100 * some.right / some.moving:.1f} %" if some.moving else ""
        scores = (some.psnr, some.own, some.best, some.repeat, some.blend)
        cells = (f"{value:.2f}" for value in scores)
        table.add_row(name, str(some.frames), str(some.moving), share, *cells)
    return table
