"""`blurvid extract`: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import options, values
from blurvid.cli.photos import Batch, go_through
from blurvid.cli.sections import SectionedCommand
from blurvid.config import (
    FORMATS,
    FRAMES,
    LEAST_FRAMES,
    MOST_BEYOND,
    MOST_FRAMES,
    Output,
    VideoOptions,
)
from blurvid.files import content_of
from blurvid.recipe import Choices, resolve

FIRST = "path kind fast frames fps compare direction passes overwrite skip_existing quiet"
MORE = """
blurvid extract photo.jpg -o frames/ --format png
blurvid extract photo.tif -o out/ --format tiff
blurvid extract photo.jpg --fast               in seconds, and less sharp
blurvid extract photo.jpg -o clip.mp4 --frames 25 --fps 30
blurvid extract photo.jpg -o clip.mp4 --beyond 1
blurvid extract photo.jpg --direction left --flip 10%,20%,30%,40%
blurvid extract photo.jpg --flow motion.flo --flow motion.png
blurvid extract photo.jpg --trust doubts.png
blurvid extract photo.jpg --quality best       four times as long
blurvid extract photo.jpg --middle sharp.png   around a middle frame of your own
blurvid extract clip.mp4 -o slow.mp4           7 times as many frames, and as long
blurvid extract clip.mp4 -o smooth.mp4 --fps keep
find . -name '*.jpg' -print0 | blurvid extract --files-from - -0 -o clips/
blurvid extract photos/ -o clips/ --engine ray --address auto

A folder of photos becomes the same tree of results; - is standard input. Of a video, every frame
becomes seven, in one order of time. A run that was killed goes on when the same command is given
again. A GIF is a photo.
"""


@click.command(cls=SectionedCommand, first=FIRST, more=MORE)
@options.source_options
@options.results(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="A file, whose suffix says what, or a folder. A .mp4, .webm, .gif, .webp or .html file; - "
    "is standard output (with --format).  [default: NAME.mp4 in the current folder]",
)
@options.results(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="mp4, webm, gif, webp, html, or png, tiff, jpg. What to write to a folder: a file per "
    "photo, or single frames (png, tiff, jpg, webp-frames).  [default: mp4]",
)
@options.results(
    "--frames",
    type=click.IntRange(LEAST_FRAMES, MOST_FRAMES),
    metavar="N",
    help=f"How many, {LEAST_FRAMES} to {MOST_FRAMES}, evenly over the exposure; others than "
    f"{FRAMES} of the motion model.",
)
@options.results(
    "--beyond",
    type=click.IntRange(0, MOST_BEYOND),
    metavar="K",
    help="K more frames before the exposure and K after it, of the motion model; files are "
    "numbered from the first of all. Guesses: everything moves on as it did.",
)
@options.results(
    "--flow",
    "flows",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|FOLDER",
    help="Also write the motion from frame 1 to frame 7: .flo or .npy (pixels), or .png (colours). "
    "May be given again. In a folder, NAME_flow.flo and NAME_flow.png.",
)
@options.results(
    "--trust",
    "trusts",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|FOLDER",
    help="Also write how far off the frames may be, and what their average does not explain of the "
    "photo: .npy (two maps) or .png (drawn over the photo). May be given again. In a folder, "
    "NAME_trust.npy and NAME_trust.png.",
)
@options.results(
    "--contact",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Also write one page about all photos: each blurred and sharp, what to think of it, and "
    "where its results are. Its pictures lie in FILE_files.",
)
@options.part_options
@options.sources(
    "--start",
    type=values.parse_time,
    metavar="TIME",
    help="Of a video, leave out what is shown before: [[H:]M:]S, such as 12.5 or 1:30.",
)
@options.sources(
    "--duration",
    type=values.parse_time,
    metavar="TIME",
    help="Of a video, take so much of it alone, from --start or its beginning.",
)
@options.clip_options
@options.clips(
    "--audio",
    help="The sound of a video: made as long as its pictures, kept at its own speed, or dropped.",
)
@options.order_options
@options.weights_options
@options.middle_option("What gives the middle frame to motion, as a picture can, or the cascade")
@options.hint_options
@options.quality_options
@options.memory_option
@options.run_options
@options.engine_options
@options.batch_options
@values.takes(batch=Batch, output=Output, choices=Choices, shown=VideoOptions)
def extract(
    batch: Batch,
    output: Output,
    fast: bool,
    model: str,
    weights_name: str | None,
    middle: str,
    choices: Choices,
    shown: VideoOptions,
) -> None:
    """Extract the seven sharp frames that each PHOTO was made of.

    A PHOTO may be a folder, a pattern ('in/**/*.jpg'), a video or -.

    \b
    Examples:
      blurvid extract photo.jpg                      photo.mp4
      blurvid extract photo.jpg -o clip.html         a player for any browser
      blurvid extract holiday/ -o clips/             a clip of each photo
    """
    model = values.quick(model, fast)
    recipe = resolve(model, weights_name, middle, batch.run.precision, **choices)
    if any(photo == "-" or content_of(photo) != "photo" for photo in batch.photos):
        from blurvid.cli.video import extract_videos

        if extract_videos(batch, output, recipe, shown):
            return
    if isinstance(output.clip.fps, str):
        raise click.UsageError(f"--fps {output.clip.fps} is for videos")
    if output.clip.compare is None:
        values.refuse(("square", "caption"), "goes with --compare")
    else:
        values.refuse(("seconds",), "does not go with --compare")
    values.refuse(("audio", "start", "duration"), "is for videos")
    go_through(batch, output, recipe)
