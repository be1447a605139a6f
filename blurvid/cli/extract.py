"""`blurvid extract`: the main job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.quality import described, picked_quality, quality_options
from blurvid.config import FORMATS, ClipOptions, RunOptions

if TYPE_CHECKING:
    from blurvid.batch import Outcome


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .mp4, .gif, .webp or .html file, or a folder.  [default: NAME.mp4 in the current "
    "folder]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="What to write to a folder: single frames (png, tiff, jpg, webp-frames) or a file per "
    "photo.  [default: png]",
)
@click.option(
    "--montage",
    type=click.Path(path_type=Path),
    metavar="FILE.png|FOLDER",
    help="Also write one sheet per photo: the photo, its frames, and crops of where most moves.",
)
@common.clip_options
@common.weights_options
@quality_options
@common.run_options
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--skip-existing", is_flag=True, help="Leave out photos that are done: resume.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a photo on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is used and how long it takes.")
def extract(
    photos: tuple[str, ...],
    output: Path | None,
    kind: str | None,
    montage: Path | None,
    weights_name: str | None,
    model: str,
    overwrite: bool,
    skip_existing: bool,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Extract the seven sharp frames that each PHOTO was made of.

    PHOTO is a file, a folder (searched through) or - for standard input. A folder of photos
    becomes the same tree of results.

    \b
    Examples:
      blurvid extract photo.jpg -o clip.mp4
      blurvid extract photo.jpg -o frames/           seven PNG files
      blurvid extract photo.tif -o out/ --format tiff
      blurvid extract photo.jpg -o clip.html         a player for any browser
      blurvid extract photo.jpg --quality best       four times as long
      blurvid extract holiday/ -o clips/ --format gif
    """
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    from blurvid import batch, weights  # torch loads here, so that --help stays instant
    from blurvid.pipeline import extractor

    jobs = batch.plan(photos, output, kind, montage)
    chosen = weights.find(weights_name, model)
    options = common.picked(ClipOptions, values)
    run, quality = common.picked(RunOptions, values), picked_quality(values)
    with extractor(chosen, run=run, quality=quality) as ready:
        if not quiet and (verbose or (model == "auto" and weights_name is None)):
            score = f", {chosen.score:.2f} dB" if chosen.score is not None else ""
            click.echo(f"Model {chosen.model} (weights {chosen.name}{score})", err=True)
        for warning in () if quiet else ready.warnings:
            common.warn(warning)
        with _progress(len(jobs), hidden=quiet or len(jobs) < 2) as advance:

            def show(outcome: Outcome) -> None:
                _show(outcome, as_json, quiet, verbose)
                advance()

            outcomes = batch.run(
                jobs,
                ready,
                options,
                overwrite=overwrite,
                skip_existing=skip_existing,
                fail_fast=fail_fast,
                on_outcome=show,
            )
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(jobs) > 1 and not quiet:
        skipped = sum(outcome.skipped for outcome in outcomes)
        done = len(outcomes) - skipped - len(failures)
        click.echo(f"{done} done, {skipped} skipped, {len(failures)} failed", err=True)
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def _show(outcome: Outcome, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Results to stdout; errors and warnings to stderr."""
    if as_json:
        common.echo_json(outcome.record())
    elif not outcome.skipped:
        for path in outcome.outputs:
            click.echo(path)
    if outcome.error is not None:
        common.fail(outcome.error)
    if outcome.clip is not None and not quiet:
        for warning in outcome.clip.warnings:
            common.warn(f"{outcome.job.name}: {warning}")
        if verbose:
            clip = outcome.clip
            done = described(clip.quality)
            click.echo(
                f"{outcome.job.name}: {clip.tensor.shape[-1]}x{clip.tensor.shape[-2]}, "
                f"{clip.seconds:.2f} s on {clip.device} in {clip.precision}, "
                f"{f'{done}, ' if done else ''}re-blur {clip.reblur_psnr:.1f} dB",
                err=True,
            )


@contextmanager
def _progress(total: int, hidden: bool) -> Iterator[Callable[[], None]]:
    """A bar on stderr, on a terminal only; yields a function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        disable=hidden or not console.is_terminal,
        # The bar is on stderr; piped results must stay on stdout.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task("photos", total=total)
        yield lambda: progress.advance(task)
