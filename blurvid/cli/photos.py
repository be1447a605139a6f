"""What the commands share that turn photos into something: which photos, how, and the report."""

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
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.quality import described
from blurvid.config import MIDDLE_CHOICES, MOST_WRITERS, ClipOptions, RayOptions, RunOptions
from blurvid.errors import BlurvidError

if TYPE_CHECKING:
    from blurvid.batch import Job, Made, Opening, Outcome, Worker
    from blurvid.pipeline import Extractor


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


def source_options(command: common.Command) -> common.Command:
    """Options that say which photos, and what their results are called."""
    for option in (
        click.option(
            "--name",
            metavar="TEMPLATE",
            help="Names below OUTPUT, made of {stem} {suffix} {parent} {index} {model} {weights}, "
            "such as '{parent}/{index:04d}_{stem}'.  [default: the photo's, in its folder]",
        ),
        click.option(
            "--allow-truncated",
            is_flag=True,
            help="Also take photos whose files end early: what is missing stays grey or black.",
        ),
        click.option(
            "-0", "--null", is_flag=True, help="Names in lists end in NUL, as by find -print0."
        ),
        click.option(
            "--files-from",
            "lists",
            multiple=True,
            metavar="FILE|-",
            help="Also take the photos and folders named in FILE, or on standard input, one a "
            "line. Their own folders are kept below OUTPUT.",
        ),
        click.argument("photos", nargs=-1, metavar="[PHOTO...]"),
    ):
        command = option(command)
    return command


def batch_options(command: common.Command) -> common.Command:
    """Options that say how a batch is gone through, and what is told of it."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, help="Say what is used and how long it takes."
        ),
        click.option("-q", "--quiet", is_flag=True, help="Errors only."),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="One JSON object a line on stdout, for each file.",
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
            "--shard",
            "share",
            metavar="I/N",
            callback=parse_share,
            help="Do only the I-th of N shares of the photos, for N machines or jobs of an array.",
        ),
        click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails."),
        click.option(
            "--skip-existing", is_flag=True, help="Leave out photos that are done: resume."
        ),
        click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
    ):
        command = option(command)
    return command


def middle_option(text: str) -> Callable[[common.Command], common.Command]:
    """The option that says what gives the middle frame."""
    return click.option(
        "--middle",
        default=MIDDLE_CHOICES[0],
        show_default=True,
        metavar="NAME|FILE",
        help=f"{text}: {', '.join(MIDDLE_CHOICES)}, a weight set, or a .pth or .safetensors file "
        "of any deblurrer that spandrel can read.",
    )


def standard_output(kinds: Sequence[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command with `output` and `kind` write its one file to standard output, as `-o -`.

    Args:
        kinds: formats that are one file.
    """

    def around(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(output: Path | None, kind: str | None, **values: Any) -> None:
            if output is None or str(output) != "-":
                command(output=output, kind=kind, **values)
                return
            if kind is None or kind not in kinds:
                raise click.UsageError(f"-o - is one file: choose --format {', '.join(kinds)}")
            if values["as_json"]:
                raise click.UsageError("-o - and --json both mean standard output")
            if sys.stdout.isatty():
                raise click.UsageError("-o - writes no picture to a terminal; name a file")
            _to_standard_output(command, kind, values)

        return run

    return around


def _to_standard_output(command: Callable[..., None], kind: str, values: dict[str, Any]) -> None:
    """Run a command for a file that is put on standard output once it is whole."""
    from blurvid import media

    suffix = media.still_suffix(kind)
    with tempfile.TemporaryDirectory(prefix="blurvid-") as folder:
        target = Path(folder, f"-{suffix}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where the name of the file would go
                command(output=target, kind=kind, **values)
        except BlurvidError as error:
            raise type(error)(str(error).replace(str(target), "-o -")) from error
        with target.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def check_sources(values: dict[str, Any]) -> None:
    """Refuse a command line without photos, or with contradictions.

    Raises:
        click.UsageError: what is wrong.
    """
    if values["overwrite"] and values["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    if not values["photos"] and not values["lists"]:
        raise click.UsageError("Missing argument 'PHOTO...', or --files-from")
    if [*values["photos"], *values["lists"]].count("-") > 1:
        raise click.UsageError("standard input can be one thing only: a photo, or a list")


def listed(values: dict[str, Any]) -> list[Path]:
    """The photos and folders that lists name."""
    from blurvid import batch

    return [path for source in values["lists"] for path in batch.read_list(source, values["null"])]


def go_through(
    whole: Sequence[Job],
    jobs: Sequence[Job],
    ready: Extractor,
    options: ClipOptions,
    values: dict[str, Any],
) -> None:
    """Do the jobs, tell what becomes of each, and end with the exit code of the first failure."""
    from blurvid import batch

    for warning in () if values["quiet"] else ready.warnings:
        common.warn(warning)

    jobs = [replace(job, allow_truncated=values["allow_truncated"]) for job in jobs]

    told: set[str] = set()

    def tell(job: Job, warning: str) -> None:
        told.add(f"{job.name}: {warning}")
        if not values["quiet"]:
            common.warn(f"{job.name}: {warning}")

    def work(**arguments: Any) -> list[Outcome]:
        with _stages(ready, hidden=values["quiet"] or len(jobs) > 1):
            return batch.run(jobs, ready, options, on_warning=tell, **arguments)

    _go_through(whole, jobs, work, values, told)


def go_through_on_ray(
    whole: Sequence[Job],
    jobs: Sequence[Job],
    opening: Opening,
    options: ClipOptions,
    ray: RayOptions,
    values: dict[str, Any],
) -> None:
    """Do the jobs on a cluster; as `go_through`."""
    from blurvid import batch

    told: set[str] = set()
    jobs = [replace(job, allow_truncated=values["allow_truncated"]) for job in jobs]

    def note(worker: Worker) -> None:
        if values["verbose"]:
            guide = f", middle frame by {worker.told.middle}" if worker.told.middle else ""
            common.say(f"{worker.name}: {worker.told.device}{guide}")
        for warning in worker.told.warnings:
            if warning not in told and not values["quiet"]:
                told.add(warning)
                common.warn(warning)

    def work(**arguments: Any) -> list[Outcome]:
        run = common.picked(RunOptions, values)
        warn = (lambda line: None) if values["quiet"] else common.warn
        workers = batch.Workers(ray, run, note, warn)
        return batch.run_on_ray(jobs, opening, options, workers, **arguments)

    _go_through(whole, jobs, work, values)


def _go_through(
    whole: Sequence[Job],
    jobs: Sequence[Job],
    work: Callable[..., list[Outcome]],
    values: dict[str, Any],
    told: Container[str] = (),
) -> None:
    quiet, as_json, verbose = values["quiet"], values["as_json"], values["verbose"]
    started = time.perf_counter()
    with _progress(len(jobs), hidden=quiet or len(jobs) < 2) as advance:

        def show(outcome: Outcome) -> None:
            _show(outcome, as_json, quiet, verbose, told)
            advance()

        outcomes = work(
            overwrite=values["overwrite"],
            skip_existing=values["skip_existing"],
            fail_fast=values["fail_fast"],
            on_outcome=show,
            writers=values["writers"],
            measure=as_json or verbose,
            whole=whole,
        )
    seconds = time.perf_counter() - started
    if len(whole) > 1 and not quiet:
        common.say(_summary(outcomes, seconds))
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What became of a batch."""
    skipped = sum(outcome.skipped for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    done = len(outcomes) - skipped - failed
    speed = f", {60 * done / seconds:.0f} photos a minute" if done and seconds else ""
    return f"{done} done, {skipped} skipped, {failed} failed in {seconds:.1f} s{speed}"


def _show(
    outcome: Outcome, as_json: bool, quiet: bool, verbose: bool, told: Container[str]
) -> None:
    """Results to stdout; errors and warnings that were not told before to stderr."""
    if as_json:
        common.echo_json(outcome.record())
    elif outcome.outputs and not outcome.skipped:
        # In one piece, whatever interrupts; colours, or letters of a name that look so, are kept.
        click.echo("\n".join(map(str, outcome.outputs)), color=True)
    if outcome.error is not None:
        common.fail(outcome.error)
    made = outcome.made
    if made is None or quiet:
        return
    for warning in (f"{outcome.job.name}: {warning}" for warning in made.warnings):
        if warning not in told:
            common.warn(warning)
    if verbose:
        done = described(made.quality, made.scale)
        common.say(
            f"{outcome.job.name}: {made.width}x{made.height}, "
            f"{made.seconds:.2f} s on {made.device} in {made.precision}, "
            f"{f'{done}, ' if done else ''}{_result(made)}"
        )


def _result(made: Made) -> str:
    """How good a clip is, as far as that can be known; of a single frame, what made it."""
    if made.reblur_psnr is None:
        return f"by {made.weights}"
    guide = f"middle frame by {made.middle}, " if made.middle else ""
    expected = f", expected {made.trust['psnr']:.0f} dB" if made.trust else ""
    return f"{guide}re-blur {made.reblur_psnr:.1f} dB{expected}"


@contextlib.contextmanager
def _stages(ready: Extractor, hidden: bool) -> Iterator[None]:
    """How far the only photo is, and the time left: a bar on stderr, once it takes long."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if hidden or not console.is_terminal:
        yield
        return
    progress = Progress(
        *(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    task = progress.add_task("reading", total=1.0)
    ready.on_progress = lambda stage, share: progress.update(
        task, description=stage, completed=share
    )
    timer = threading.Timer(PATIENCE, progress.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        progress.stop()
        ready.on_progress = None


@contextlib.contextmanager
def _progress(total: int, hidden: bool) -> Iterator[Callable[[], None]]:
    """A bar on stderr, on a terminal only; yields a function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        disable=hidden or not console.is_terminal,
        # The bar is on stderr; piped results must stay on stdout.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task("photos", total=total)
        yield lambda: progress.advance(task)
