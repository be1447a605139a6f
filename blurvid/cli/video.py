"""The part of `blurvid extract` that takes videos."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from blurvid.cli import common
from blurvid.cli.photos import How, Told, progress, tell
from blurvid.config import VIDEO_FORMATS, Output, VideoOptions
from blurvid.errors import BlurvidError, OptionError
from blurvid.targets import check_file

if TYPE_CHECKING:
    from blurvid.pipeline import SlowVideo, Step
    from blurvid.recipe import Recipe

STDIN = "stdin"
"""Name of the file that standard input is put in."""


def targets_of(videos: Sequence[Path], output: Path | None, kind: str | None = None) -> list[Path]:
    """Where each video goes: the output if it is a file, or its name in that folder.

    Raises:
        OptionError: one file for several, or one name for two.
    """
    if output is not None and output.suffix and not output.is_dir():
        if output.suffix.lower().removeprefix(".") not in VIDEO_FORMATS:
            known = ", .".join(VIDEO_FORMATS)
            raise OptionError(f"{output}: a video becomes a .{known} file")
        if len(videos) > 1:
            raise OptionError(f"{output} is one file, but there are {len(videos)} videos")
        return [output]
    ending = "_slow" if output is None else ""
    suffix = kind or VIDEO_FORMATS[0]
    targets = [(output or Path()) / f"{video.stem}{ending}.{suffix}" for video in videos]
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise OptionError(f"two videos would both become {target}")
    return targets


def extract_videos(
    videos: Sequence[Path],
    output: Output,
    recipe: Recipe,
    how: How,
    told: Told,
    shown: VideoOptions,
) -> None:
    """Do one video after the other, and end with the exit code of the first failure."""
    targets = targets_of(videos, output.path, output.kind)
    source = click.get_current_context().get_parameter_source("fps")
    given = source is not ParameterSource.DEFAULT
    options = shown if given else dataclasses.replace(shown, fps=VideoOptions().fps)
    failures: list[BlurvidError] = []

    def failed(video: Path, error: BlurvidError) -> None:
        failures.append(error)
        common.fail(error)
        if told.as_json:
            common.echo_json({"input": _named(video), "outputs": [], "error": str(error)})

    wanted = []
    for video, target in zip(videos, targets, strict=True):
        if output.skip_existing and target.exists():
            if told.as_json:
                done = {"input": _named(video), "outputs": [str(target)], "skipped": True}
                common.echo_json(done)
            continue
        try:
            check_file(target, output.overwrite)
            wanted.append((video, target))
        except BlurvidError as error:
            failed(video, error)
    if wanted and not (failures and how.batch.fail_fast):
        for video, problem in _extract(wanted, output, recipe, how, told, options):
            failed(video, problem)
            if how.batch.fail_fast:
                break
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def _extract(
    wanted: Sequence[tuple[Path, Path]],
    output: Output,
    recipe: Recipe,
    how: How,
    told: Told,
    options: VideoOptions,
) -> Iterator[tuple[Path, BlurvidError]]:
    """Do videos whose targets are free; what comes of the generator are those that fail."""
    from blurvid.pipeline import extract_video, opened  # torch loads here

    with opened(recipe, how.run) as ready:
        if told.verbose and not told.quiet:
            tell(recipe)
        for warning in recipe.warnings:
            told.warn(warning)
        for video, target in wanted:
            try:
                with _steps(video.name, told.quiet) as step:
                    made = extract_video(
                        video,
                        target,
                        ready,
                        options,
                        overwrite=output.overwrite,
                        on_step=step,
                        on_warning=partial(_warn, video, told),
                    )
            except BlurvidError as error:
                yield video, error
            else:
                _show(video, made, told)


def _named(video: Path) -> str:
    """What a video is called on the command line."""
    return "-" if video.name == STDIN else str(video)


def _warn(video: Path, told: Told, warning: str) -> None:
    told.warn(f"{_named(video)}: {warning}")


def _show(video: Path, made: SlowVideo, told: Told) -> None:
    """The result to stdout; what is told of it to stderr."""
    name = _named(video)
    if told.as_json:
        record = {"input": name, "outputs": [str(made.path)]} | dataclasses.asdict(made)
        del record["path"]
        record |= {"fps": float(made.fps), "rate": str(made.fps)}
        common.echo_json(record | {"seconds": round(made.seconds, 3)})
    else:
        click.echo(str(made.path), color=True)
    if told.quiet:
        return
    if made.audio == "drop":
        common.say(f"{name}: its sound is left out")
    if told.verbose:
        shots = f"{made.shots} shot{'s' if made.shots != 1 else ''}"
        common.say(
            f"{name}: {made.frames} frames to {7 * made.frames} at {float(made.fps):g} a second, "
            f"{shots}, {made.turned} turned around, {made.seconds:.1f} s"
        )


@contextlib.contextmanager
def _steps(name: str, hidden: bool) -> Iterator[Callable[[Step], None]]:
    """A bar with the time left on stderr, on a terminal only."""
    with progress(name, None, hidden) as bar:
        first = True

        def show(step: Step) -> None:
            nonlocal first
            total, task = step.total, bar.task_ids[0]
            if first:  # what an earlier run had done tells nothing about the speed
                bar.reset(task, total=total, completed=step.done - 1)
                first = False
            bar.update(task, total=total, completed=step.done)

        yield show
