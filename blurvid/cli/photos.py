"""What `extract` and `deblur` do with photos or videos: find, do, tell."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import values
from blurvid.cli.boundary import echo_json, fail, say, warn
from blurvid.config import (
    ANIMATIONS,
    FASTEST,
    FRAMES,
    VIDEO_FORMATS,
    BatchOptions,
    Output,
    RayOptions,
    RunOptions,
)

if TYPE_CHECKING:
    from blurvid.planning import Job, Outcome, Plan
    from blurvid.recipe import Recipe

Progress = Callable[[str, float], None]
"""Told what is being done, and the share of the work that is done."""
PATIENCE = 2.0
"""Time [s] that the work may take before a bar is shown."""


def picked_engine(engine: str, ray: RayOptions) -> RayOptions | None:
    """The cluster that was asked for; None is this process.

    Raises:
        click.UsageError: options of a cluster without one.
    """
    if engine == "ray":
        return ray
    if ray != RayOptions():
        raise click.UsageError("--address and --workers are for --engine ray")
    return None


@dataclass(frozen=True)
class Batch:
    """What a command line says of photos, besides how frames are made and what is written.

    Raises:
        click.UsageError: there are no photos, or there is a contradiction.
    """

    photos: tuple[str, ...]
    lists: tuple[str, ...]
    null: bool
    run: RunOptions
    options: BatchOptions
    engine: str
    ray: RayOptions
    as_json: bool
    quiet: bool
    verbose: bool
    share: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not self.photos and not self.lists:
            raise click.UsageError("Missing argument 'PHOTO...', or --files-from")
        if (*self.photos, *self.lists).count("-") > 1:
            raise click.UsageError("standard input can be one thing only: a photo, or a list")
        picked_engine(self.engine, self.ray)


class Report:
    """Results on stdout, all else on stderr.

    Args:
        as_json: results are records.
        quiet: nothing but results and errors.
        verbose: also what is used and how long it takes.
    """

    def __init__(self, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose and not quiet
        self._tell: Progress | None = None
        self._done = self._total = 0
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Show one line, unless nothing is to be said."""
        if not self.quiet:
            say(message)

    def warn(self, message: str) -> None:
        """Show one warning, unless nothing is to be said or it was said before."""
        if not self.quiet and message not in self._said:
            self._said.add(message)
            warn(message)

    def warn_of(self, job: Job, message: str) -> None:
        """Show a warning about a photo."""
        self.warn(f"{job.name}: {message}")

    def begin(self, recipe: Recipe) -> None:
        """Say which model is at work, and which options change nothing."""
        if self.verbose:
            score = getattr(recipe.weights.origin, "score", None)
            known = "" if score is None else f", {score:.2f} dB"
            guide = f", middle frame by {recipe.middle.name}" if recipe.middle else ""
            say(f"Model {recipe.model} (weights {recipe.weights.name}{known}{guide})")
        for warning in recipe.warnings:
            self.warn(warning)

    def show(self, outcome: Outcome) -> None:
        """Show what became of a photo or video, and that it is done."""
        self._done += 1
        if self._tell is not None and self._total > 1:
            self._tell(f"{self._done} of {self._total} photos", self._done / self._total)
        if self.as_json:
            echo_json(outcome.record())
        elif outcome.outputs and not outcome.skipped:
            # In one piece, whatever interrupts; colours, or letters of a name that look so, stay.
            click.echo("\n".join(map(str, outcome.outputs)), color=True)
        if outcome.error is not None:
            fail(outcome.error)
        for warning in outcome.warnings:
            self.warn_of(outcome.job, warning)
        if outcome.recipe is None:
            return
        name, facts = outcome.job.name, outcome.facts
        if facts.get("verdict") is not None:
            self.say(f"{name}: {facts['verdict']['text']}")
        if facts.get("audio") == "drop":
            self.say(f"{name}: its sound is left out")
        if self.verbose:
            say(f"{name}: {', '.join(filter(None, _details(outcome.recipe, facts)))}")

    def end(self, outcomes: Sequence[Outcome], what: str, seconds: float) -> None:
        """Say what became of a batch."""
        skipped = sum(outcome.skipped for outcome in outcomes)
        failed = sum(outcome.error is not None for outcome in outcomes)
        done = len(outcomes) - skipped - failed
        speed = f", {60 * done / seconds:.0f} {what} a minute" if done and seconds else ""
        self.say(f"{done} done, {skipped} skipped, {failed} failed in {seconds:.1f} s{speed}")

    @contextlib.contextmanager
    def bar(self, total: int) -> Iterator[Progress | None]:
        """How far the work is, and the time left: a bar on a terminal, once it takes long.

        Args:
            total: photos; several are counted as they are shown.

        Yields:
            What moves the bar where there is one photo, or a video.
        """
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        # Piped results must stay on stdout.
        aside = sys.stdout.isatty()
        bar = Progress(*columns, console=console, transient=True, redirect_stdout=aside)
        task = bar.add_task("loading", total=None)
        timer = threading.Timer(PATIENCE, bar.start)
        timer.start()

        def tell(stage: str, share: float) -> None:
            bar.update(task, description=stage, total=1, completed=share)

        self._tell, self._total = tell, total
        try:
            yield tell
        finally:
            timer.cancel()
            timer.join()
            if bar.live.is_started:  # rich before 14.1 would end a line that was never begun
                bar.stop()


Doing = Callable[["Plan", Batch, "Recipe", Report, Progress | None], "list[Outcome]"]
"""Makes the frames of what is planned, and tells of it."""


def do_photos(
    plan: Plan, batch: Batch, recipe: Recipe, report: Report, tell: Progress | None
) -> list[Outcome]:
    """Do photos, here or on a cluster."""
    from blurvid.batch import run, run_on_ray  # torch loads here
    from blurvid.pipeline import opened

    options = replace(batch.options, measure=report.as_json or report.verbose)
    ray = picked_engine(batch.engine, batch.ray)
    if ray is not None:
        return run_on_ray(
            *(plan, recipe, options, ray, batch.run),
            on_outcome=report.show,
            on_warning=report.warn_of,
        )
    with opened(recipe, batch.run) as ready:
        ready.on_progress = tell if len(plan.jobs) == 1 else None
        return run(
            *(plan, ready, options),
            on_outcome=report.show,
            on_warning=report.warn_of,
        )


def go_through(batch: Batch, output: Output, recipe: Recipe, do: Doing = do_photos) -> None:
    """Do photos, tell what becomes of each, and end with the exit code of the first failure.

    Args:
        batch: which photos, where and how.
        output: what is written.
        recipe: how frames are made.
        do: does them; by default as photos.
    """
    from blurvid.files import read_list
    from blurvid.planning import plan  # without torch
    from blurvid.targets import check_besides

    if output.overwrite and output.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    if str(output.path) == "-":
        from blurvid.cli.video import standard_output

        with standard_output(output, recipe.count == 1, batch.as_json) as aside:
            go_through(batch, aside, recipe, do)
        return
    videos = do is not do_photos
    whole = plan(
        batch.photos,
        output,
        recipe.count,
        listed=[path for name in batch.lists for path in read_list(name, batch.null)],
        model=recipe.model,
        weights=recipe.weights.name,
        video=videos,
    )
    if not {job.kind for job in whole.jobs}.intersection(VIDEO_FORMATS).difference(ANIMATIONS):
        values.refuse(("crf", "seconds"), "is for MP4 and WebM")
    fps, animated = output.clip.fps, any(job.kind in ANIMATIONS for job in whole.jobs)
    if animated and not (videos or output.clip.compare) and float(fps) > FASTEST:
        values.refuse(("fps",), f"is {FASTEST} at most for GIF and WebP")
    todo = whole.share(*batch.share)
    report = Report(batch.as_json, batch.quiet, batch.verbose)
    if not todo.jobs:
        report.say("No photos in this share.")
        return
    if output.contact is not None:
        check_besides("page", output.contact, output.overwrite or output.skip_existing)
    started = time.perf_counter()
    outcomes = todo.settled(batch.options.fail_fast)
    if outcomes is not None:
        for outcome in outcomes:
            report.show(outcome)
    else:
        report.begin(recipe)
        with report.bar(1 if videos else len(todo.jobs)) as tell:
            outcomes = do(todo, batch, recipe, report, tell)
    if len(whole.jobs) > 1:
        report.end(outcomes, "videos" if videos else "photos", time.perf_counter() - started)
    if output.contact is not None:
        from blurvid.batch import write_contact

        page = write_contact(outcomes, output.contact, overwrite=True)
        if not batch.as_json:
            click.echo(page)
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        click.get_current_context().exit(failures[0].code)


def _details(recipe: Recipe, facts: dict[str, Any]) -> list[str]:
    """What else is told of a photo, or of a video."""
    if "shots" in facts:
        count, shots = facts["frames"], facts["shots"]
        return [
            f"{count} frames to {FRAMES * count} at {facts['fps']:g} a second",
            f"{shots} shot{'s' if shots != 1 else ''}",
            f"{facts['turned']} turned around",
            f"{facts['seconds']:.1f} s",
        ]
    parts = [
        f"{facts['width']}x{facts['height']}",
        f"{facts['seconds']:.2f} s on {facts['device']} in {recipe.precision}",
        recipe.describe(facts["scale"]),
    ]
    if facts["reblur_psnr"] is None:
        return [*parts, f"by {recipe.weights.name}"]
    trust = f"expected {facts['trust']['psnr']:.0f} dB"
    return [*parts, f"re-blur {facts['reblur_psnr']:.1f} dB", trust]
