"""What the commands share that turn photos or videos into something: which, how, and the report."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.config import FRAMES, MOST_WRITERS, BatchOptions, Output, RunOptions
from blurvid.errors import BlurvidError
from blurvid.targets import still_suffix

if TYPE_CHECKING:
    from rich.progress import Progress

    from blurvid.cli.video import Videos
    from blurvid.planning import Gate, Job, Outcome
    from blurvid.recipe import Recipe


PATIENCE = 2.0
"""Time [s] that a photo may take before a bar is shown."""


def parse_share(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Read `I/N`."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 2/8")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Sources:
    """Which photos."""

    photos: tuple[str, ...]
    lists: tuple[str, ...]
    null: bool
    share: tuple[int, int] | None

    def check(self, output: Output) -> None:
        """Refuse a command line without photos, or with contradictions.

        Raises:
            click.UsageError: what is wrong.
        """
        if output.overwrite and output.skip_existing:
            raise click.UsageError("--overwrite and --skip-existing contradict each other")
        if not self.photos and not self.lists:
            raise click.UsageError("Missing argument 'PHOTO...', or --files-from")
        if (*self.photos, *self.lists).count("-") > 1:
            raise click.UsageError("standard input can be one thing only: a photo, or a list")

    def listed(self) -> list[Path]:
        """What the lists name, in their order."""
        from blurvid.planning import read_list

        return [path for name in self.lists for path in read_list(name, self.null)]


@dataclass(frozen=True)
class How:
    """Where the work is done, and how a batch is gone through."""

    run: RunOptions
    batch: BatchOptions
    engine: str
    address: str | None
    workers: int | None


@dataclass(frozen=True)
class Told:
    """What is said of it."""

    as_json: bool
    quiet: bool
    verbose: bool

    def warn(self, message: str) -> None:
        """Show one warning on stderr, unless nothing is to be said."""
        if not self.quiet:
            common.warn(message)


source_options = common.options(
    click.argument("photos", nargs=-1, metavar="[PHOTO...]"),
    click.option(
        "--files-from",
        "lists",
        multiple=True,
        metavar="FILE|-",
        help="Also take the photos and folders named in FILE, or on standard input, one a "
        "line. Their own folders are kept below OUTPUT.",
    ),
    click.option(
        "-0", "--null", is_flag=True, help="Names in lists end in NUL, as by find -print0."
    ),
    click.option(
        "--allow-truncated",
        is_flag=True,
        help="Also take photos whose files end early: what is missing stays grey or black.",
    ),
    click.option(
        "--name",
        metavar="TEMPLATE",
        help="Names below OUTPUT, made of {stem} {suffix} {parent} {index} {model} {weights}, "
        "such as '{parent}/{index:04d}_{stem}'.  [default: the photo's, in its folder]",
    ),
)
"""Options that say which photos, and what their results are called."""


batch_options = common.options(
    click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
    click.option("--skip-existing", is_flag=True, help="Leave out photos that are done: resume."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails."),
    click.option(
        "--shard",
        "share",
        metavar="I/N",
        callback=parse_share,
        help="Do only the I-th of N shares of the photos, for N machines or jobs of an array.",
    ),
    click.option(
        "--jobs",
        "writers",
        type=click.IntRange(min=0),
        metavar="N",
        help="Threads that write results while the network works; 0 does one thing after the "
        f"other.  [default: one a processor, at most {MOST_WRITERS}]",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object a line on stdout, for each file.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
    click.option("-v", "--verbose", is_flag=True, help="Say what is used and how long it takes."),
)
"""Options that say how a batch is gone through, and what is told of it."""


def standard_output(kinds: Sequence[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command with an `Output` write its one file to standard output, as `-o -`.

    Args:
        kinds: formats that are one file.
    """

    def around(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(output: Output, told: Told, **values: object) -> None:
            if output.path is None or str(output.path) != "-":
                command(output=output, told=told, **values)
                return
            if output.kind is None or output.kind not in kinds:
                raise click.UsageError(f"-o - is one file: choose --format {', '.join(kinds)}")
            if told.as_json:
                raise click.UsageError("-o - and --json both mean standard output")
            if sys.stdout.isatty():
                raise click.UsageError("-o - writes no picture to a terminal; name a file")
            _to_standard_output(partial(command, told=told, **values), output)

        return run

    return around


def _to_standard_output(command: Callable[..., None], output: Output) -> None:
    """Run a command for a file that is put on standard output once it is whole."""
    suffix = still_suffix(str(output.kind))
    with tempfile.TemporaryDirectory(prefix="blurvid-") as folder:
        target = Path(folder, f"-{suffix}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where the name of the file would go
                command(output=replace(output, path=target))
        except BlurvidError as error:
            raise type(error)(str(error).replace(str(target), "-o -")) from error
        with target.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def go_through(
    sources: Sources,
    output: Output,
    recipe: Recipe,
    how: How,
    told: Told,
    videos: Videos | None = None,
) -> None:
    """Do the photos, tell what becomes of each, and end with the exit code of the first failure.

    Args:
        sources: which photos.
        output: what is written.
        recipe: how frames are made.
        how: where the work is done.
        told: what is said.
        videos: that they are videos.
    """
    from blurvid.planning import Gate, identities, plan, share  # without torch
    from blurvid.targets import check_contact

    whole = plan(
        sources.photos,
        output,
        recipe.count,
        listed=sources.listed(),
        model=recipe.model,
        weights=recipe.weights.name,
        video=videos is not None,
    )
    jobs = share(whole, *sources.share) if sources.share else whole
    if not jobs:
        if not told.quiet:
            common.say("No photos in this share.")
        return
    if output.contact is not None:
        check_contact(output.contact, output.overwrite or output.skip_existing)
    started = time.perf_counter()
    gate = Gate(identities(whole), output)
    outcomes = settled(jobs, gate, how.batch.fail_fast)
    if outcomes is not None:
        for outcome in outcomes:
            _show(outcome, told, set())
    else:
        if told.verbose and not told.quiet:
            tell(recipe)
        for warning in recipe.warnings:
            told.warn(warning)
        outcomes = _done(jobs, whole, gate, recipe, how, told, videos)
    if len(whole) > 1 and not told.quiet:
        what = "videos" if videos else "photos"
        common.say(_summary(outcomes, what, time.perf_counter() - started))
    if output.contact is not None:
        from blurvid.batch import write_contact

        page = write_contact(outcomes, output.contact, overwrite=True)
        if not told.as_json:
            click.echo(page)
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def settled(jobs: Sequence[Job], gate: Gate, fail_fast: bool) -> list[Outcome] | None:
    """What becomes of jobs of which none needs a network; None where one does."""
    from blurvid.atomic import remove_stale
    from blurvid.planning import folder_of

    found: list[Outcome] = []
    for job in jobs:
        outcome = gate.look(job)
        if outcome is None:
            return None
        found.append(outcome)
        if fail_fast and outcome.error is not None:
            break
    remove_stale(folder_of(jobs))  # what a run left that was killed when all was done
    for outcome in found:
        gate.check(outcome.job)
    return found


def _done(
    jobs: Sequence[Job],
    whole: Sequence[Job],
    gate: Gate,
    recipe: Recipe,
    how: How,
    told: Told,
    videos: Videos | None,
) -> list[Outcome]:
    """Do jobs, here or on a cluster, and show what becomes of each."""
    ray = None if videos else common.picked_engine(how.engine, how.address, how.workers)
    options = replace(how.batch, measure=told.as_json or told.verbose)
    staged = videos is not None or (len(jobs) < 2 and ray is None)
    said: set[str] = set()

    def early(job: Job, warning: str) -> None:
        said.add(f"{job.name}: {warning}")
        told.warn(f"{job.name}: {warning}")

    with progress("photos", len(jobs), told.quiet or staged or len(jobs) < 2) as bar:

        def show(outcome: Outcome) -> None:
            _show(outcome, told, said)
            bar.advance(bar.task_ids[0])

        with _stages(told.quiet or not staged) as stage:
            if videos is not None:
                from blurvid.cli.video import extract_videos

                return extract_videos(
                    *(jobs, gate, videos, recipe, how.run, options),
                    on_stage=stage,
                    on_outcome=show,
                    on_warning=early,
                )
            from blurvid.batch import run, run_on_ray  # torch loads here
            from blurvid.pipeline import opened

            if ray is not None:
                return run_on_ray(
                    *(jobs, recipe, gate.output, options, ray, how.run),
                    whole=whole,
                    on_outcome=show,
                )
            with opened(recipe, how.run) as ready:
                ready.on_progress = stage
                return run(
                    *(jobs, ready, gate.output, options),
                    whole=whole,
                    on_outcome=show,
                    on_warning=early,
                )


def tell(recipe: Recipe) -> None:
    """Say which model is at work."""
    score = getattr(recipe.weights.origin, "score", None)
    known = "" if score is None else f", {score:.2f} dB"
    guide = f", middle frame by {recipe.middle.name}" if recipe.middle else ""
    common.say(f"Model {recipe.model} (weights {recipe.weights.name}{known}{guide})")


def _summary(outcomes: Sequence[Outcome], what: str, seconds: float) -> str:
    """What became of a batch."""
    skipped = sum(outcome.skipped for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    done = len(outcomes) - skipped - failed
    speed = f", {60 * done / seconds:.0f} {what} a minute" if done and seconds else ""
    return f"{done} done, {skipped} skipped, {failed} failed in {seconds:.1f} s{speed}"


def _show(outcome: Outcome, told: Told, said: set[str]) -> None:
    """Results to stdout; errors and warnings that were not said before to stderr."""
    if told.as_json:
        common.echo_json(outcome.record())
    elif outcome.outputs and not outcome.skipped:
        # In one piece, whatever interrupts; colours, or letters of a name that look so, are kept.
        click.echo("\n".join(map(str, outcome.outputs)), color=True)
    name, facts, recipe = outcome.job.name, outcome.facts, outcome.recipe
    if outcome.error is not None:
        common.fail(outcome.error)
    for warning in (f"{name}: {warning}" for warning in outcome.warnings):
        if warning not in said:
            told.warn(warning)
    if recipe is None or told.quiet:
        return
    if facts.get("verdict") is not None:
        common.say(f"{name}: {facts['verdict']['text']}")
    if facts.get("audio") == "drop":
        common.say(f"{name}: its sound is left out")
    if told.verbose:
        common.say(f"{name}: {', '.join(filter(None, _details(recipe, facts)))}")


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


@contextlib.contextmanager
def _stages(hidden: bool) -> Iterator[Callable[[str, float], None] | None]:
    """How far one photo or video is, and the time left: a bar on stderr, once it takes long."""
    with progress("loading", None, hidden, start=False) as bar:
        if bar.disable:
            yield None
            return
        timer = threading.Timer(PATIENCE, bar.start)
        timer.start()

        def tell(stage: str, share: float) -> None:
            bar.update(bar.task_ids[0], description=stage, total=1, completed=share)

        try:
            yield tell
        finally:
            timer.cancel()
            timer.join()


@contextlib.contextmanager
def progress(name: str, total: int | None, hidden: bool, start: bool = True) -> Iterator[Progress]:
    """A bar with the time left on stderr, on a terminal only."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    one = TextColumn("{task.description}")
    columns = (BarColumn(), MofNCompleteColumn()) if start else (one, BarColumn())
    bar = Progress(
        *(*columns, TimeRemainingColumn()),
        console=console,
        disable=hidden or not console.is_terminal,
        transient=not start,
        # The bar is on stderr; piped results must stay on stdout.
        redirect_stdout=sys.stdout.isatty(),
    )
    bar.add_task(name, total=total)
    if start:
        bar.start()
    try:
        yield bar
    finally:
        if not bar.disable:  # rich before 14.1 would end a line that was never begun
            bar.stop()
