"""What is told of photos and videos: results, warnings, what came of them, how far the work is."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli.boundary import echo_json, fail, say, warn
from blurvid.config import FRAMES

if TYPE_CHECKING:
    from blurvid.planning import Job, Outcome
    from blurvid.recipe import Recipe

Progress = Callable[[str, float], None]
"""Told what is being done, and the share of the work that is done."""
PATIENCE = 2.0
"""Time [s] that the work may take before a bar is shown."""


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
