"""The part of `blurvid extract` that takes videos."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from blurvid.cli import common
from blurvid.config import SOUNDS, VideoOptions
from blurvid.errors import BlurvidError, OptionError

if TYPE_CHECKING:
    from blurvid.pipeline import Extractor, SlowVideo, Step

audio_option = click.option(
    "--audio",
    type=click.Choice(SOUNDS),
    default=VideoOptions().audio,
    show_default=True,
    help="The sound of a video: made as long as its pictures, kept at its own speed, or dropped.",
)
STDIN = "stdin"
"""Name of the file that standard input is put in."""
_FOR_PHOTOS = (
    *("kind", "montage", "flows", "trusts", "frames", "bounce", "reverse", "seconds", "flips"),
    *("beyond", "compare", "square", "caption"),
    *("direction", "name", "share", "lists", "writers", "engine", "address", "workers"),
)
"""Parameters that mean nothing to a video."""


def videos_among(photos: Sequence[str]) -> list[Path]:
    """The sources as videos, or none if they are photos.

    Raises:
        click.UsageError: there are both, or an option that is for photos.
    """
    from blurvid import media

    videos = [Path(photo) for photo in photos if photo != "-" and media.holds_video(photo)]
    if "-" in photos and (sent := _standard_input()) is not None:
        videos.append(sent)
    if not videos:
        return []
    if len(videos) < len(photos):
        raise click.UsageError("videos and photos have to be extracted by different commands")
    ctx = click.get_current_context()
    for parameter in ctx.command.params:
        name = str(parameter.name)
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in _FOR_PHOTOS and given:
            raise click.UsageError(f"{parameter.opts[0]} is for photos, not for videos")
    return videos


def _standard_input() -> Path | None:
    """Standard input as a file for the time of the command, if it is a video.

    A video is read more than once. A photo stays where it is.
    """
    from blurvid import media

    with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be none
        stream: Any = sys.stdin.buffer
        if stream.isatty() or media.starts_as(stream.peek(media.START)) != "video":
            return None
        folder = tempfile.TemporaryDirectory(prefix="blurvid-")
        click.get_current_context().call_on_close(folder.cleanup)
        path = Path(folder.name) / STDIN
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(path, (0, 0))  # the same for a run that goes on with the work of a killed one
        return path
    return None


def refuse_for_photos(values: dict[str, Any]) -> None:
    """Refuse options that mean nothing to a photo.

    Raises:
        click.UsageError: there is one.
    """
    if isinstance(values["fps"], str):
        raise click.UsageError(f"--fps {values['fps']} is for videos")
    source = click.get_current_context().get_parameter_source("audio")
    if source is ParameterSource.COMMANDLINE:
        raise click.UsageError("--audio is for videos")


def targets_of(videos: Sequence[Path], output: Path | None) -> list[Path]:
    """Where each video goes: the output if it is a file, or its name in that folder.

    Raises:
        OptionError: one file for several, or one name for two.
    """
    if output is not None and output.suffix and not output.is_dir():
        if len(videos) > 1:
            raise OptionError(f"{output} is one file, but there are {len(videos)} videos")
        return [output]
    ending = "_slow" if output is None else ""
    targets = [(output or Path()) / f"{video.stem}{ending}.mp4" for video in videos]
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise OptionError(f"two videos would both become {target}")
    return targets


def extract_videos(
    videos: Sequence[Path], targets: Sequence[Path], ready: Extractor, values: dict[str, Any]
) -> None:
    """Do one video after the other, and end with the exit code of the first failure."""
    from blurvid.pipeline import extract_video

    source = click.get_current_context().get_parameter_source("fps")
    if source is ParameterSource.DEFAULT:
        values = values | {"fps": VideoOptions().fps}
    options = common.picked(VideoOptions, values)
    failures: list[BlurvidError] = []
    for video, target in zip(videos, targets, strict=True):
        if values["skip_existing"] and target.exists():
            if values["as_json"]:
                common.echo_json(
                    {"input": _named(video), "outputs": [str(target)], "skipped": True}
                )
            continue
        try:
            with _progress(video.name, values["quiet"]) as step:
                made = extract_video(
                    video,
                    target,
                    ready,
                    options,
                    overwrite=values["overwrite"],
                    on_step=step,
                    on_warning=None if values["quiet"] else partial(_warn, video),
                )
        except BlurvidError as error:
            failures.append(error)
            common.fail(error)
            if values["as_json"]:
                common.echo_json({"input": _named(video), "outputs": [], "error": str(error)})
            if values["fail_fast"]:
                break
            continue
        _show(video, made, values)
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def _named(video: Path) -> str:
    """What a video is called on the command line."""
    return "-" if video.name == STDIN else str(video)


def _warn(video: Path, warning: str) -> None:
    common.warn(f"{_named(video)}: {warning}")


def _show(video: Path, made: SlowVideo, values: dict[str, Any]) -> None:
    """The result to stdout; what is told of it to stderr."""
    name = _named(video)
    if values["as_json"]:
        record = {"input": name, "outputs": [str(made.path)]} | dataclasses.asdict(made)
        del record["path"]
        record |= {"fps": float(made.fps), "rate": str(made.fps)}
        common.echo_json(record | {"seconds": round(made.seconds, 3)})
    else:
        click.echo(str(made.path), color=True)
    if values["quiet"]:
        return
    if made.audio == "drop":
        common.say(f"{name}: its sound is left out")
    if values["verbose"]:
        shots = f"{made.shots} shot{'s' if made.shots != 1 else ''}"
        common.say(
            f"{name}: {made.frames} frames to {7 * made.frames} at {float(made.fps):g} a second, "
            f"{shots}, {made.turned} turned around, {made.seconds:.1f} s"
        )


@contextlib.contextmanager
def _progress(name: str, hidden: bool) -> Iterator[Callable[[Step], None]]:
    """A bar with the time left on stderr, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=hidden or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(name, total=None)
        first = True

        def show(step: Step) -> None:
            nonlocal first
            total = step.total
            if first:  # what an earlier run had done tells nothing about the speed
                progress.reset(task, total=total, completed=step.done - 1)
                first = False
            progress.update(task, total=total, completed=step.done)

        yield show
