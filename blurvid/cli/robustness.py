"""`blurvid eval --robustness`: middle frames on kinds of blur."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.config import TRAINED, QualityOptions, RunOptions

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from blurvid.lab.evaluate import RobustnessReport
    from blurvid.lab.evaluate.robustness import Mean
    from blurvid.pipeline import Extractor


def score_robustness(
    source: Path,
    middles: tuple[str, ...],
    stills: bool,
    scale: float,
    limit: int | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    values: dict[str, Any],
) -> None:
    """Score what gives the middle frame, and print the table."""
    from blurvid import weights
    from blurvid.lab import evaluate as library
    from blurvid.pipeline import opened
    from blurvid.recipe import resolve_middle

    moments = library.moments_from(source, stills=stills, scale=scale, limit=limit)
    run, passes = common.picked(RunOptions, values), common.picked(QualityOptions, values).passes
    names = middles or tuple(name for name in TRAINED if weights.default(name) is not None)
    with contextlib.ExitStack() as stack:
        deblurrers, domains = {}, {}
        for name in dict.fromkeys(names):
            recipe = resolve_middle(name, passes=passes, precision=run.precision)
            deblurrers[name] = _frame_by(stack.enter_context(opened(recipe, run)))
            info = getattr(recipe.weights.origin, "info", {})  # a file of another's has none
            domains[name] = library.domain_of(info.get("recipe"))
        report = library.evaluate_robustness(
            deblurrers,
            moments,
            domains,
            seed=seed,
            on_moment=None if quiet else lambda name: click.echo(name, err=True),
        )
    if as_json:
        common.echo_json({"source": str(source), "seed": seed} | report.to_json())
        return
    click.echo(f"{len(moments)} moments of {len({m.clip for m in moments})} clips")
    print_table(_kind_table(report))
    print_table(_gain_table(report))


def _frame_by(ready: Extractor) -> Callable[[Tensor], Tensor]:
    return lambda y: ready.scaled(y).frames[0]


def _kind_table(report: RobustnessReport) -> Table:
    from rich.table import Table

    table = Table(title="Middle frame: PSNR [dB] and SSIM by kind of blur (* trained on)")
    models = report.models
    for name in ("", "blurry", *models):
        table.add_column(name, justify="left" if not name else "right", overflow="fold")
    for kind, some in next(iter(models.values())).kinds.items():
        cells = [_pair(some.blurry_psnr, some.blurry_ssim)]
        for model in models.values():
            mark = "*" if kind in model.in_domain else " "
            cells.append(f"{_pair(model.kinds[kind].psnr, model.kinds[kind].ssim)}{mark}")
        table.add_row(kind, *cells)
    return table


def _pair(psnr: float, ssim: float) -> str:
    return f"{psnr:.2f} {ssim:.3f}"


def _gain_table(report: RobustnessReport) -> Table:
    from rich.table import Table

    table = Table(title="Gain over the blurry image [dB], with 95 % intervals")
    models = report.models
    for name in ("", *models):
        table.add_column(name, justify="left" if not name else "right", overflow="fold")
    table.add_row("all kinds", *(_interval(model.gain) for model in models.values()))
    table.add_row("trained on", *(_interval(model.gain_in) for model in models.values()))
    table.add_row("others", *(_interval(model.gain_out) for model in models.values()))
    table.add_row("worst kind", *(f"{model.worst:+.2f}" for model in models.values()))
    gaps = ("" if model.gap is None else f"{model.gap:+.2f}" for model in models.values())
    table.add_row("gap", *gaps)
    return table


def _interval(mean: Mean | None) -> str:
    return "" if mean is None else f"{mean.value:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})"


def print_table(table: Table) -> None:
    """Show a table on stdout."""
    from rich.console import Console

    # Names of clips and [dB] are text, not markup.
    width = None if Console().is_terminal else 120
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
