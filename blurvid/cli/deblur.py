"""`blurvid deblur`: the sharp middle frame alone."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import common
from blurvid.cli.photos import (
    How,
    Sources,
    Told,
    batch_options,
    go_through,
    source_options,
    standard_output,
)
from blurvid.cli.sections import EXTRACTION, FIRST, SectionedCommand
from blurvid.config import FAST_MIDDLE, FRAME_FORMATS, MIDDLE_CHOICES, Output, PartOptions


@click.command(
    cls=SectionedCommand,
    sections=EXTRACTION,
    first=FIRST["deblur"],
    short_help="Make photos sharp: their middle frames.",
)
@source_options
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="A file, whose suffix says what, or a folder. A .png, .tif, .jpg or .webp file; - is "
    "standard output (with --format).  [default: NAME_sharp in the current folder]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FRAME_FORMATS),
    help="What to write to a folder.  [default: the photo's own, or png]",
)
@common.part_options
@common.middle_option("What deblurs; also others' weights")
@common.fast_option("The middle network alone: seconds instead of a minute")
@common.passes_option
@common.memory_option
@common.run_options
@common.engine_options
@batch_options
@common.takes(sources=Sources, output=Output, how=How, told=Told, part=PartOptions)
@standard_output(FRAME_FORMATS)
def deblur(
    sources: Sources,
    output: Output,
    how: How,
    told: Told,
    part: PartOptions,
    middle: str,
    fast: bool,
    passes: int,
) -> None:
    """Make each PHOTO sharp: the frame in the middle of its exposure alone.

    PHOTO is as for `blurvid extract`. The picture keeps size, profile and EXIF.

    \b
    Examples:
      blurvid deblur photo.jpg                       photo_sharp.jpg
      blurvid deblur photo.tif -o sharp.tif --quality best
      blurvid deblur holiday/ -o sharp/ --middle NAFNet-GoPro-width64.pth
    """
    sources.check(output)
    common.picked_engine(how.engine, how.address, how.workers)
    if fast:
        if middle != MIDDLE_CHOICES[0]:
            raise click.UsageError(f"--fast is --middle {FAST_MIDDLE}; give one of them")
        middle = FAST_MIDDLE
    from blurvid.recipe import resolve_middle

    recipe = resolve_middle(middle, passes=passes, part=part, precision=how.run.precision)
    go_through(sources, output, recipe, how, told)
