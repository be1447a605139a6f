"""The part of `blurvid extract` that takes videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blurvid.cli.photos import Batch, go_through
from blurvid.cli.report import Progress, Report
from blurvid.cli.streams import video_on_standard_input
from blurvid.cli.values import refuse
from blurvid.config import Output, VideoOptions
from blurvid.errors import BlurvidError
from blurvid.files import content_of

if TYPE_CHECKING:
    from blurvid.pipeline import Extractor
    from blurvid.planning import Job, Outcome, Plan
    from blurvid.recipe import Recipe

FOR_PHOTOS = (
    *("flows", "trusts", "contact", "frames", "bounce", "reverse", "seconds"),
    *("flips", "beyond", "compare", "square", "caption"),
    *("direction", "name", "share", "lists", "writers", "engine", "address", "workers"),
)
"""Parameters that mean nothing to a video."""


def extract_videos(batch: Batch, output: Output, recipe: Recipe, shown: VideoOptions) -> bool:
    """Extract the sources, if they are videos; whether they are."""
    videos = videos_among(batch.photos)
    if videos:
        # The user's file may have what is for photos.
        batch = dataclasses.replace(batch, lists=(), share=(1, 1))
        output = Output(
            *(output.path, output.kind),
            overwrite=output.overwrite,
            skip_existing=output.skip_existing,
        )
        go_through(batch, output, recipe, Videos(shown, videos.get("-")))
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


@dataclass(frozen=True)
class Videos:
    """That the sources are videos."""

    options: VideoOptions
    sent: Path | None
    """Where the one from standard input lies."""

    def extract(
        self,
        plan: Plan,
        recipe: Recipe,
        batch: Batch,
        report: Report,
        tell: Progress | None,
    ) -> list[Outcome]:
        """Do one video after the other, as `batch.run` does photos."""
        from blurvid.pipeline import opened  # torch loads here

        outcomes: list[Outcome] = []
        with opened(recipe, batch.run) as ready:
            for job in plan.jobs:
                outcome = plan.check(job) or self._made(
                    job, ready, plan.output.overwrite, report, tell
                )
                report.show(outcome)
                outcomes.append(outcome)
                if batch.options.fail_fast and outcome.error is not None:
                    break
        return outcomes

    def _made(
        self, job: Job, ready: Extractor, overwrite: bool, report: Report, tell: Progress | None
    ) -> Outcome:
        """Extract one video."""
        from blurvid.pipeline import extract_video
        from blurvid.planning import Outcome

        def step(done: int, total: int) -> None:
            if tell is not None:
                tell(job.name, done / total)

        source = job.photo or self.sent
        assert source is not None
        try:
            made = extract_video(
                *(source, job.target, ready, self.options),
                overwrite=overwrite,
                on_step=step,
                on_warning=partial(report.warn_of, job),
            )
        except BlurvidError as error:
            return Outcome(job, error=error)
        facts = dataclasses.asdict(made)
        del facts["path"], facts["warnings"]
        facts |= {"fps": float(made.fps), "rate": str(made.fps), "seconds": round(made.seconds, 3)}
        return Outcome(job, [made.path], recipe=ready.recipe, facts=facts, warnings=made.warnings)
