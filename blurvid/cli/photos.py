"""What `extract` and `deblur` do with photos or videos: find, do, tell."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from blurvid.cli.report import Progress, Report
from blurvid.cli.values import picked_engine
from blurvid.config import BatchOptions, Output, RayOptions, RunOptions

if TYPE_CHECKING:
    from blurvid.cli.video import Videos
    from blurvid.planning import Outcome, Plan
    from blurvid.recipe import Recipe


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


def go_through(batch: Batch, output: Output, recipe: Recipe, videos: Videos | None = None) -> None:
    """Do photos, tell what becomes of each, and end with the exit code of the first failure.

    Args:
        batch: which photos, where and how.
        output: what is written.
        recipe: how frames are made.
        videos: that they are videos.
    """
    from blurvid.files import read_list
    from blurvid.planning import plan  # without torch
    from blurvid.targets import check_besides

    if output.overwrite and output.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    if str(output.path) == "-":
        from blurvid.cli.streams import standard_output

        with standard_output(output, recipe.count == 1, batch.as_json) as aside:
            go_through(batch, aside, recipe, videos)
        return
    whole = plan(
        batch.photos,
        output,
        recipe.count,
        listed=[path for name in batch.lists for path in read_list(name, batch.null)],
        model=recipe.model,
        weights=recipe.weights.name,
        video=videos is not None,
    )
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
            if videos is not None:
                outcomes = videos.extract(todo, recipe, batch, report, tell)
            else:
                outcomes = _do(todo, batch, recipe, report, tell)
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


def _do(
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
