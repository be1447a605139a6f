"""`blurvid extract`: the main job."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

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
from blurvid.cli.video import Videos
from blurvid.config import (
    FORMATS,
    FRAME_FORMATS,
    FRAMES,
    LEAST_FRAMES,
    MOST_BEYOND,
    MOST_FRAMES,
    SOUNDS,
    ClipOptions,
    MotionHints,
    OrderOptions,
    Output,
    PartOptions,
    QualityOptions,
    VideoOptions,
)
from blurvid.files import START, content_of, starts_as

if TYPE_CHECKING:
    from blurvid.recipe import Recipe


_FOR_PHOTOS = (
    *("montages", "flows", "trusts", "contact", "frames", "bounce", "reverse", "seconds"),
    *("flips", "beyond", "compare", "square", "caption"),
    *("direction", "name", "share", "lists", "writers", "engine", "address", "workers"),
)
"""Parameters that mean nothing to a video."""


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


@dataclass(frozen=True)
class Asked:
    """What the command line says of the recipe."""

    model: str
    fast: bool
    weights_name: str | None
    middle: str
    quality: QualityOptions
    order: OrderOptions
    hints: MotionHints
    frames: int
    beyond: int
    part: PartOptions

    def resolve(self, precision: str) -> Recipe:
        """Take every choice."""
        from blurvid.recipe import resolve

        return resolve(
            self.weights_name,
            common.picked_model(self.model, self.fast),
            self.middle,
            quality=self.quality,
            order=self.order,
            hints=self.hints,
            frames=self.frames,
            beyond=self.beyond,
            part=self.part,
            precision=precision,
        )


@click.command(cls=SectionedCommand, sections=EXTRACTION, first=FIRST["extract"], more=MORE)
@source_options
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="A file, whose suffix says what, or a folder. A .mp4, .webm, .gif, .webp or .html file; - "
    "is standard output (with --format).  [default: NAME.mp4 in the current folder]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="mp4, webm, gif, webp, html, or png, tiff, jpg. What to write to a folder: a file per "
    "photo, or single frames (png, tiff, jpg, webp-frames).  [default: mp4]",
)
@click.option(
    "--frames",
    type=click.IntRange(LEAST_FRAMES, MOST_FRAMES),
    default=FRAMES,
    show_default=True,
    metavar="N",
    help=f"How many, {LEAST_FRAMES} to {MOST_FRAMES}, evenly over the exposure; others than "
    f"{FRAMES} of the motion model.",
)
@click.option(
    "--beyond",
    type=click.IntRange(0, MOST_BEYOND),
    default=0,
    show_default=True,
    metavar="K",
    help="K more frames before the exposure and K after it, of the motion model; files are "
    "numbered from the first of all. Guesses: everything moves on as it did.",
)
@click.option(
    "--montage",
    "montages",
    type=click.Path(path_type=Path),
    metavar="FILE.png|FOLDER",
    multiple=True,
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
@click.option(
    "--contact",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Also write one page about all photos: each blurred and sharp, what to think of it, and "
    "where its results are. Its pictures lie in FILE_files.",
)
@common.part_options
@click.option(
    "--start",
    callback=common.parse_time,
    metavar="TIME",
    help="Of a video, leave out what is shown before: [[H:]M:]S, such as 12.5 or 1:30.",
)
@click.option(
    "--duration",
    callback=common.parse_time,
    metavar="TIME",
    help="Of a video, take so much of it alone, from --start or its beginning.",
)
@common.clip_options
@click.option(
    "--audio",
    type=click.Choice(SOUNDS),
    default=VideoOptions().audio,
    show_default=True,
    help="The sound of a video: made as long as its pictures, kept at its own speed, or dropped.",
)
@common.order_options
@common.weights_options
@common.middle_option("What gives motion or the cascade its middle frame, or a picture that is it")
@common.hint_options
@common.quality_options
@common.memory_option
@common.run_options
@common.engine_options
@batch_options
@common.takes(sources=Sources, output=Output, asked=Asked, how=How, told=Told, shown=VideoOptions)
@standard_output([kind for kind in FORMATS if kind not in FRAME_FORMATS])
def extract(
    sources: Sources, output: Output, asked: Asked, how: How, told: Told, shown: VideoOptions
) -> None:
    """Extract the seven sharp frames that each PHOTO was made of.

    A PHOTO may be a folder, a pattern ('in/**/*.jpg'), a video or -.

    \b
    Examples:
      blurvid extract photo.jpg                      photo.mp4
      blurvid extract photo.jpg -o clip.html         a player for any browser
      blurvid extract holiday/ -o clips/             a clip of each photo
    """
    sources.check(output)
    common.picked_engine(how.engine, how.address, how.workers)
    recipe = asked.resolve(how.run.precision)
    if videos := videos_among(sources.photos):
        fixed = click.get_current_context().get_parameter_source("fps") is ParameterSource.DEFAULT
        shown = replace(shown, fps=VideoOptions().fps) if fixed else shown
        sources = replace(sources, lists=(), share=None)  # as the user's file may have them
        output = Output(
            *(output.path, output.kind),
            overwrite=output.overwrite,
            skip_existing=output.skip_existing,
        )
        go_through(sources, output, recipe, how, told, Videos(shown, videos.get("-")))
        return
    refuse_for_photos(output.clip)
    go_through(sources, output, recipe, how, told)


def videos_among(photos: Sequence[str]) -> dict[str, Path]:
    """Files of the sources that are videos, by name; empty if they are photos.

    Raises:
        click.UsageError: there are both, or an option that is for photos.
    """
    videos = {photo: Path(photo) for photo in photos if photo != "-" and _holds_video(photo)}
    if "-" in photos and (sent := _standard_input()) is not None:
        videos["-"] = sent
    if not videos:
        return {}
    if videos.keys() < set(photos):
        raise click.UsageError("videos and photos have to be extracted by different commands")
    ctx = click.get_current_context()
    for parameter in ctx.command.params:
        name = str(parameter.name)
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in _FOR_PHOTOS and given:
            raise click.UsageError(f"{parameter.opts[0]} is for photos, not for videos")
    return videos


def _holds_video(path: str) -> bool:
    """Whether a file is a video; torch is loaded only where its first bytes do not tell."""
    kind = content_of(path)
    if kind is None:
        from blurvid.media import holds_video

        return holds_video(path)
    return kind == "video"


def _standard_input() -> Path | None:
    """Standard input as a file for the time of the command, if it is a video.

    A video is read more than once. A photo stays where it is.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be none
        stream: Any = sys.stdin.buffer
        if stream.isatty() or starts_as(stream.peek(START)) != "video":
            return None
        folder = tempfile.TemporaryDirectory(prefix="blurvid-")
        click.get_current_context().call_on_close(folder.cleanup)
        path = Path(folder.name) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(path, (0, 0))  # the same for a run that goes on with the work of a killed one
        return path
    return None


def refuse_for_photos(clip: ClipOptions) -> None:
    """Refuse options that mean nothing to a photo.

    Raises:
        click.UsageError: there is one.
    """
    if isinstance(clip.fps, str):
        raise click.UsageError(f"--fps {clip.fps} is for videos")
    ctx = click.get_current_context()
    for name in ("audio", "start", "duration"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is for videos")
