"""`blurvid deblur`: the sharp middle frame alone."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import options, values
from blurvid.cli.photos import Batch, go_through
from blurvid.cli.sections import SectionedCommand
from blurvid.config import FAST_MIDDLE, FRAME_FORMATS, Output
from blurvid.recipe import AUTO, resolve_middle


@click.command(
    cls=SectionedCommand,
    first="path kind fast middle passes device overwrite skip_existing quiet",
    short_help="Make photos sharp: their middle frames.",
)
@options.source_options
@options.results(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="A file, whose suffix says what, or a folder. A .png, .tif, .jpg or .webp file; - is "
    "standard output (with --format).  [default: NAME_sharp in the current folder]",
)
@options.results(
    "--format",
    "kind",
    type=click.Choice(FRAME_FORMATS),
    help="What to write to a folder.  [default: the photo's own, or png]",
)
@options.part_options
@options.middle_option("What deblurs; also others' weights")
@options.fast_option("The middle network alone: faster, and less sharp")
@options.passes_option
@options.memory_option
@options.run_options
@options.engine_options
@options.batch_options
@values.takes(batch=Batch, output=Output)
def deblur(
    batch: Batch,
    output: Output,
    middle: str,
    fast: bool,
    passes: int,
    region: str | None,
    paste: bool,
) -> None:
    """Make each PHOTO sharp: the frame in the middle of its exposure alone.

    PHOTO is as for `blurvid extract`. The picture keeps size, profile and EXIF.

    \b
    Examples:
      blurvid deblur photo.jpg                       photo_sharp.jpg
      blurvid deblur photo.tif -o sharp.tif --quality best
      blurvid deblur holiday/ -o sharp/ --middle NAFNet-GoPro-width64.pth
    """
    if fast:
        if middle != AUTO:
            raise click.UsageError(f"--fast is --middle {FAST_MIDDLE}; give one of them")
        middle = FAST_MIDDLE
    recipe = resolve_middle(middle, batch.run.precision, passes=passes, region=region, paste=paste)
    go_through(batch, output, recipe)
