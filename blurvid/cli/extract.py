"""`blurvid extract`: the main job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from blurvid.cli.quality import picked_quality, quality_options
from blurvid.cli.sections import EXTRACTION, SectionedCommand
from blurvid.cli.video import (
    audio_option,
    extract_videos,
    refuse_for_photos,
    targets_of,
    videos_among,
)
from blurvid.config import (
    FORMATS,
    FRAME_FORMATS,
    FRAMES,
    LEAST_FRAMES,
    MOST_BEYOND,
    MOST_FRAMES,
    ClipOptions,
    MotionHints,
    OrderOptions,
    RunOptions,
)

if TYPE_CHECKING:
    from blurvid.pipeline import Extractor
    from blurvid.weights import WeightSet


@click.command(cls=SectionedCommand, sections=EXTRACTION)
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .mp4, .gif, .webp or .html file, - for standard output (with --format), or a folder.  "
    "[default: NAME.mp4 in the current folder]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="What to write to a folder: single frames (png, tiff, jpg, webp-frames) or a file per "
    "photo.  [default: png]",
)
@click.option(
    "--frames",
    type=click.IntRange(LEAST_FRAMES, MOST_FRAMES),
    default=FRAMES,
    show_default=True,
    metavar="N",
    help=f"How many, {LEAST_FRAMES} to {MOST_FRAMES}, evenly over the exposure. The motion model "
    "renders each; of others, those at the times of the seven are these, and the rest is made "
    "between them.",
)
@click.option(
    "--beyond",
    type=click.IntRange(0, MOST_BEYOND),
    default=0,
    show_default=True,
    metavar="K",
    help="K more frames before the exposure and K after it; files are numbered from the first of "
    "all. Guesses: everything moves on as it did (the cascade applies its outermost network to "
    "its own frames again).",
)
@click.option(
    "--montage",
    type=click.Path(path_type=Path),
    metavar="FILE.png|FOLDER",
    help="Also write one sheet per photo: the photo, its frames, and crops of where most moves.",
)
@click.option(
    "--flow",
    "flows",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|FOLDER",
    help="Also write the motion from frame 1 to frame 7: .flo or .npy (pixels), or .png (colours). "
    "May be given again. In a folder, NAME_flow.flo and NAME_flow.png.",
)
@click.option(
    "--trust",
    "trusts",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|FOLDER",
    help="Also write how far off the frames may be, and what their average does not explain of the "
    "photo: .npy (two maps) or .png (drawn over the photo). May be given again. In a folder, "
    "NAME_trust.npy and NAME_trust.png.",
)
@common.clip_options
@audio_option
@common.order_options
@common.weights_options
@middle_option("What gives motion or the cascade its middle frame, or a picture that is it")
@common.hint_options
@quality_options
@common.memory_option
@common.compile_option
@common.run_options
@common.engine_options
@batch_options
@standard_output([kind for kind in FORMATS if kind not in FRAME_FORMATS])
def extract(
    output: Path | None,
    kind: str | None,
    frames: int,
    beyond: int,
    montage: Path | None,
    flows: tuple[Path, ...],
    trusts: tuple[Path, ...],
    weights_name: str | None,
    model: str,
    fast: bool,
    middle: str,
    **values: Any,
) -> None:
    """Extract the seven sharp frames that each PHOTO was made of.

    PHOTO is a file, a folder (searched through), a pattern in quotes ('in/**/*.jpg') or - for
    standard input. A folder of photos becomes the same tree of results.

    Of a video, every frame becomes seven, in one order of time: slow motion. A run that was killed
    goes on when the same command is given again. A GIF is a photo.

    \b
    Examples:
      blurvid extract photo.jpg -o clip.mp4
      blurvid extract photo.jpg -o frames/           seven PNG files
      blurvid extract photo.tif -o out/ --format tiff
      blurvid extract photo.jpg -o clip.html         a player for any browser
      blurvid extract photo.jpg -o clip.mp4 --fast   in seconds, and less sharp
      blurvid extract photo.jpg -o clip.mp4 --frames 25 --fps 30
      blurvid extract photo.jpg -o clip.mp4 --beyond 1
      blurvid extract photo.jpg --direction left --flip 10%,20%,30%,40%
      blurvid extract photo.jpg --flow motion.flo --flow motion.png
      blurvid extract photo.jpg --trust doubts.png
      blurvid extract photo.jpg --quality best       four times as long
      blurvid extract photo.jpg --middle sharp.png   around a middle frame of your own
      blurvid extract holiday/ -o clips/ --format gif
      blurvid extract clip.mp4 -o slow.mp4           7 times as many frames, and as long
      blurvid extract clip.mp4 -o smooth.mp4 --fps keep
      find . -name '*.jpg' -print0 | blurvid extract --files-from - -0 -o clips/
      blurvid extract photos/ -o clips/ --format mp4 --engine ray --address auto
    """
    check_sources(values)
    ray = common.picked_engine(values)
    from blurvid import batch  # torch loads here, so that --help stays instant
    from blurvid.pipeline import check_beyond, choose, extractor

    check_beyond(beyond, frames)
    model = common.picked_model(model, fast)
    named = model == "auto" and weights_name is None
    chosen = choose(weights_name, model, middle)
    hints = common.picked(MotionHints, values)
    run, quality = common.picked(RunOptions, values), picked_quality(values)
    if videos := videos_among(values["photos"]):
        targets = targets_of(videos, output)
        with extractor(chosen, run=run, quality=quality, middle=middle, hints=hints) as ready:
            if not values["quiet"]:
                if values["verbose"] or named:
                    _tell(chosen, ready)
                for warning in ready.warnings:
                    common.warn(warning)
            extract_videos(videos, targets, ready, values)
        return
    refuse_for_photos(values)
    whole = batch.plan(
        values["photos"],
        output,
        kind,
        montage,
        listed=listed(values),
        name=values["name"],
        flows=flows,
        trusts=trusts,
        frames=frames,
        beyond=beyond,
        model=chosen.model,
        weights=chosen.name,
    )
    jobs = batch.share(whole, *values["share"]) if values["share"] else whole
    if not jobs:
        if not values["quiet"]:
            common.say("No photos in this share.")
        return
    order = common.picked(OrderOptions, values)
    opening = partial(extractor, chosen, quality=quality, middle=middle, order=order, hints=hints)
    if ray is not None:
        if not values["quiet"] and (values["verbose"] or named):
            common.say(f"Model {chosen.model} (weights {chosen.name})")
        clip_options = common.picked(ClipOptions, values)
        go_through_on_ray(whole, jobs, opening, clip_options, ray, values)
        return
    with opening(run=run) as ready:
        if not values["quiet"] and (values["verbose"] or named):
            _tell(chosen, ready)
        go_through(whole, jobs, ready, common.picked(ClipOptions, values), values)


def _tell(chosen: WeightSet, ready: Extractor) -> None:
    """Say which model is at work."""
    score = f", {chosen.score:.2f} dB" if chosen.score is not None else ""
    guide = f", middle frame by {ready.middle.name}" if ready.middle else ""
    common.say(f"Model {chosen.model} (weights {chosen.name}{score}{guide})")
