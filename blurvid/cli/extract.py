"""`blurvid extract`: the main job."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.quality import described, picked_quality, quality_options
from blurvid.config import FORMATS, MOST_WRITERS, ClipOptions, RunOptions

if TYPE_CHECKING:
    from blurvid.batch import Outcome


def parse_share(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Read `I/N`."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 2/8")
    return int(match[1]), int(match[2])


@click.command()
@click.argument("photos", nargs=-1, metavar="[PHOTO...]")
@click.option(
    "--files-from",
    "lists",
    multiple=True,
    metavar="FILE|-",
    help="Also take the photos and folders named in FILE, or on standard input, one a line. "
    "Their own folders are kept below OUTPUT.",
)
@click.option("-0", "--null", is_flag=True, help="Names in lists end in NUL, as by find -print0.")
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
@click.option(
    "--name",
    metavar="TEMPLATE",
    help="Names below OUTPUT, made of {stem} {suffix} {parent} {index} {model} {weights}, such "
    "as '{parent}/{index:04d}_{stem}'.  [default: the photo's, in its folder]",
)
@common.clip_options
@common.weights_options
@quality_options
@common.memory_option
@common.run_options
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--skip-existing", is_flag=True, help="Leave out photos that are done: resume.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@click.option(
    "--shard",
    "share",
    metavar="I/N",
    callback=parse_share,
    help="Do only the I-th of N shares of the photos, for N machines or jobs of an array.",
)
@click.option(
    "--jobs",
    "writers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Threads that write results while the network works; 0 does one thing after the "
    f"other.  [default: one a processor, at most {MOST_WRITERS}]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a photo on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is used and how long it takes.")
def extract(
    photos: tuple[str, ...],
    lists: tuple[str, ...],
    null: bool,
    output: Path | None,
    kind: str | None,
    montage: Path | None,
    name: str | None,
    weights_name: str | None,
    model: str,
    overwrite: bool,
    skip_existing: bool,
    fail_fast: bool,
    share: tuple[int, int] | None,
    writers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Extract the seven sharp frames that each PHOTO was made of.

    PHOTO is a file, a folder (searched through), a pattern in quotes ('in/**/*.jpg') or - for
    standard input. A folder of photos becomes the same tree of results.

    \b
    Examples:
      blurvid extract photo.jpg -o clip.mp4
      blurvid extract photo.jpg -o frames/           seven PNG files
      blurvid extract photo.tif -o out/ --format tiff
      blurvid extract photo.jpg -o clip.html         a player for any browser
      blurvid extract photo.jpg --quality best       four times as long
      blurvid extract holiday/ -o clips/ --format gif
      find . -name '*.jpg' -print0 | blurvid extract --files-from - -0 -o clips/
    """
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    if not photos and not lists:
        raise click.UsageError("Missing argument 'PHOTO...', or --files-from")
    if [*photos, *lists].count("-") > 1:
        raise click.UsageError("standard input can be one thing only: a photo, or a list")
    from blurvid import batch, weights  # torch loads here, so that --help stays instant
    from blurvid.pipeline import extractor

    chosen = weights.find(weights_name, model)
    whole = batch.plan(
        photos,
        output,
        kind,
        montage,
        listed=[path for source in lists for path in batch.read_list(source, null)],
        name=name,
        model=chosen.model,
        weights=chosen.name,
    )
    jobs = batch.share(whole, *share) if share else whole
    if not jobs:
        if not quiet:
            common.say("No photos in this share.")
        return
    options = common.picked(ClipOptions, values)
    run, quality = common.picked(RunOptions, values), picked_quality(values)
    with extractor(chosen, run=run, quality=quality) as ready:
        if not quiet and (verbose or (model == "auto" and weights_name is None)):
            score = f", {chosen.score:.2f} dB" if chosen.score is not None else ""
            common.say(f"Model {chosen.model} (weights {chosen.name}{score})")
        for warning in () if quiet else ready.warnings:
            common.warn(warning)
        started = time.perf_counter()
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
                writers=writers,
                measure=as_json or verbose,
                whole=whole,
            )
        seconds = time.perf_counter() - started
    if len(whole) > 1 and not quiet:
        common.say(_summary(outcomes, seconds))
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What became of a batch."""
    skipped = sum(outcome.skipped for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    done = len(outcomes) - skipped - failed
    speed = f", {60 * done / seconds:.0f} photos a minute" if done and seconds else ""
    return f"{done} done, {skipped} skipped, {failed} failed in {seconds:.1f} s{speed}"


def _show(outcome: Outcome, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Results to stdout; errors and warnings to stderr."""
    if as_json:
        common.echo_json(outcome.record())
    elif outcome.outputs and not outcome.skipped:
        # In one piece, whatever interrupts; colours, or letters of a name that look so, are kept.
        click.echo("\n".join(map(str, outcome.outputs)), color=True)
    if outcome.error is not None:
        common.fail(outcome.error)
    if outcome.clip is not None and not quiet:
        for warning in outcome.clip.warnings:
            common.warn(f"{outcome.job.name}: {warning}")
        if verbose:
            clip = outcome.clip
            done = described(clip.quality, clip.scale)
            common.say(
                f"{outcome.job.name}: {clip.tensor.shape[-1]}x{clip.tensor.shape[-2]}, "
                f"{clip.seconds:.2f} s on {clip.device} in {clip.precision}, "
                f"{f'{done}, ' if done else ''}re-blur {clip.reblur_psnr:.1f} dB"
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
