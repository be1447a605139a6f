"""`blurvid deblur`: the sharp middle frame alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from blurvid.cli import common
from blurvid.cli.photos import (
    batch_options,
    check_sources,
    go_through,
    go_through_on_ray,
    listed,
    middle_option,
    source_options,
    standard_output,
)
from blurvid.cli.quality import passes_option
from blurvid.cli.sections import EXTRACTION, SectionedCommand
from blurvid.config import (
    FAST_MIDDLE,
    FRAME_FORMATS,
    MIDDLE_CHOICES,
    QUALITIES,
    ClipOptions,
    RunOptions,
)


@click.command(
    cls=SectionedCommand, sections=EXTRACTION, short_help="Make photos sharp: their middle frames."
)
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .png, .tif, .jpg or .webp file, - for standard output (with --format), or a folder.  "
    "[default: NAME_sharp in the current folder]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FRAME_FORMATS),
    help="What to write to a folder.  [default: the photo's own, or png]",
)
@middle_option("What deblurs")
@common.fast_option("The middle network alone: seconds instead of a minute")
@passes_option
@common.memory_option
@common.run_options
@common.engine_options
@batch_options
@standard_output(FRAME_FORMATS)
def deblur(
    output: Path | None, kind: str | None, middle: str, fast: bool, quality: str, **values: Any
) -> None:
    """Make each PHOTO sharp: the frame in the middle of its exposure, and nothing else.

    PHOTO is as for `blurvid extract`. The picture has the photo's size, profile, EXIF, alpha and
    depth.

    \b
    Examples:
      blurvid deblur photo.jpg                       photo_sharp.jpg
      blurvid deblur photo.tif -o sharp.tif --quality best
      blurvid deblur holiday/ -o sharp/ --middle bdirnet
      blurvid deblur photo.jpg --middle NAFNet-GoPro-width64.pth
    """
    check_sources(values)
    if fast:
        if middle != MIDDLE_CHOICES[0]:
            raise click.UsageError(f"--fast is --middle {FAST_MIDDLE}; give one of them")
        middle = FAST_MIDDLE
    ray = common.picked_engine(values)
    from blurvid import batch  # torch loads here, so that --help stays instant
    from blurvid.pipeline import deblurrer

    run = common.picked(RunOptions, values)
    opening = partial(deblurrer, middle, passes=QUALITIES[quality])
    # Names may need the model's; where workers run it, this process only looks at it.
    with opening(run=run if ray is None else RunOptions(device="cpu")) as ready:
        whole = batch.plan_single(
            values["photos"],
            output,
            kind,
            listed=listed(values),
            name=values["name"],
            model=ready.model.name,
            weights=ready.name,
        )
        jobs = batch.share(whole, *values["share"]) if values["share"] else whole
        if not jobs:
            if not values["quiet"]:
                common.say("No photos in this share.")
            return
        if ray is None:
            go_through(whole, jobs, ready, ClipOptions(), values)
        else:
            go_through_on_ray(whole, jobs, opening, ClipOptions(), ray, values)
