"""The part of `blurvid extract` that takes videos; standard input and output as files."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli.photos import Batch, Progress, Report, go_through
from blurvid.cli.values import refuse
from blurvid.config import FORMATS, FRAME_FORMATS, FRAMES, Output, VideoOptions
from blurvid.errors import BlurvidError
from blurvid.files import START, content_of, starts_as
from blurvid.targets import still_suffix

if TYPE_CHECKING:
    from blurvid.pipeline import Extractor
    from blurvid.planning import Job, Outcome, Plan
    from blurvid.recipe import Recipe

FOR_PHOTOS = (
    *("flows", "trusts", "contact", "frames", "bounce", "reverse", "seconds"),
    *("flips", "beyond", "compare", "square", "caption"),
    *("direction", "name", "share", "lists", "writers", "engine", "address", "workers"),
    "allow_truncated",
)
"""Parameters that mean nothing to a video."""


def extract_videos(batch: Batch, output: Output, recipe: Recipe, shown: VideoOptions) -> bool:
    """Extract the sources, if they are videos; whether they are."""
    videos = videos_among(batch.photos)
    if videos:
        # The user's file may have what is for photos.
        batch = dataclasses.replace(batch, lists=(), share=(1, 1))
        recipe = dataclasses.replace(recipe, frames=FRAMES, beyond=0, direction="auto", flips=())
        output = Output(
            *(output.path, output.kind),
            overwrite=output.overwrite,
            skip_existing=output.skip_existing,
        )
        go_through(batch, output, recipe, partial(_do_videos, shown, videos.get("-")))
    return bool(videos)


def videos_among(photos: Sequence[str]) -> dict[str, Path]:
    """Files of the sources that are videos, by name; empty if they are photos.

    Raises:
        click.UsageError: there are both, or an option that is for photos.
    """
    videos = {photo: Path(photo) for photo in photos if photo != "-" and _holds_video(photo)}
    if "-" in photos and (sent := video_on_standard_input()) is not None:
        videos["-"] = sent
    if videos and videos.keys() < set(photos):
        raise click.UsageError("videos and photos have to be extracted by different commands")
    if videos:
        refuse(FOR_PHOTOS, "is for photos, not for videos")
    return videos


def _holds_video(path: str) -> bool:
    """Whether a file is a video; torch is loaded only where its first bytes do not tell."""
    kind = content_of(path)
    if kind is None:
        from blurvid.media import holds_video

        return holds_video(path)
    return kind == "video"


def _do_videos(
    shown: VideoOptions,
    sent: Path | None,
    plan: Plan,
    batch: Batch,
    recipe: Recipe,
    report: Report,
    tell: Progress | None,
) -> list[Outcome]:
    """Do one video after the other, as `do_photos` does photos; `sent` is standard input."""
    from blurvid.pipeline import extract_video, opened  # torch loads here
    from blurvid.planning import Outcome

    def made(job: Job, ready: Extractor) -> Outcome:
        source = job.photo or sent
        assert source is not None
        try:
            found = extract_video(
                *(source, job.target, ready, shown),
                overwrite=plan.output.overwrite,
                on_step=lambda done, total: tell and tell(job.name, done / total),
                on_warning=partial(report.warn_of, job),
            )
        except BlurvidError as error:
            return Outcome(job, error=error)
        facts = dataclasses.asdict(found)
        del facts["path"], facts["warnings"]
        facts |= {"fps": float(found.fps), "rate": str(found.fps)}
        facts["seconds"] = round(found.seconds, 3)
        return Outcome(job, [found.path], None, False, ready.recipe, facts, found.warnings)

    outcomes: list[Outcome] = []
    with opened(recipe, batch.run) as ready:
        for job in plan.jobs:
            outcomes.append(plan.check(job) or made(job, ready))
            report.show(outcomes[-1])
            if batch.options.fail_fast and outcomes[-1].error is not None:
                break
    return outcomes


@contextlib.contextmanager
def standard_output(output: Output, single: bool, as_json: bool) -> Iterator[Output]:
    """Let a block write to a file, and put it on standard output once it is whole.

    Args:
        output: what was asked for.
        single: it is the middle frame alone.
        as_json: records are wanted on standard output.

    Yields:
        The same with a temporary file.

    Raises:
        click.UsageError: standard output cannot be had.
    """
    kinds = FRAME_FORMATS if single else [kind for kind in FORMATS if kind not in FRAME_FORMATS]
    if output.kind is None or output.kind not in kinds:
        raise click.UsageError(f"-o - is one file: choose --format {', '.join(kinds)}")
    if as_json:
        raise click.UsageError("-o - and --json both mean standard output")
    if sys.stdout.isatty():
        raise click.UsageError("-o - writes no picture to a terminal; name a file")
    with tempfile.TemporaryDirectory(prefix="blurvid-") as folder:
        target = Path(folder, f"-{still_suffix(output.kind)}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where the name of the file would go
                yield dataclasses.replace(output, path=target)
        except BlurvidError as error:
            raise type(error)(str(error).replace(str(target), "-o -")) from error
        with target.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                click.echo(piece, nl=False)


def video_on_standard_input() -> Path | None:
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
