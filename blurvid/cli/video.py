"""The part of `blurvid extract` that takes videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from blurvid.config import BatchOptions, RunOptions, VideoOptions
from blurvid.errors import BlurvidError

if TYPE_CHECKING:
    from blurvid.pipeline import Extractor
    from blurvid.planning import Gate, Job, Outcome
    from blurvid.recipe import Recipe


@dataclass(frozen=True)
class Videos:
    """That the sources are videos."""

    options: VideoOptions
    sent: Path | None
    """Where the one from standard input lies."""


def extract_videos(
    jobs: Sequence[Job],
    gate: Gate,
    videos: Videos,
    recipe: Recipe,
    run: RunOptions,
    batch: BatchOptions,
    *,
    on_stage: Callable[[str, float], None] | None,
    on_outcome: Callable[[Outcome], None],
    on_warning: Callable[[Job, str], None],
) -> list[Outcome]:
    """Do one video after the other, as `batch.run` does photos."""
    from blurvid.pipeline import opened  # torch loads here

    outcomes: list[Outcome] = []
    with opened(recipe, run) as ready:
        for job in jobs:
            outcome = gate.check(job) or _made(
                job, ready, videos, gate.output.overwrite, on_stage, partial(on_warning, job)
            )
            on_outcome(outcome)
            outcomes.append(outcome)
            if batch.fail_fast and outcome.error is not None:
                break
    return outcomes


def _made(
    job: Job,
    ready: Extractor,
    videos: Videos,
    overwrite: bool,
    on_stage: Callable[[str, float], None] | None,
    warn: Callable[[str], None],
) -> Outcome:
    """Extract one video."""
    from blurvid.pipeline import extract_video
    from blurvid.planning import Outcome

    def step(done: int, total: int) -> None:
        if on_stage is not None:
            on_stage(job.name, done / total)

    source = job.photo or videos.sent
    assert source is not None
    try:
        made = extract_video(
            *(source, job.target, ready, videos.options),
            overwrite=overwrite,
            on_step=step,
            on_warning=warn,
        )
    except BlurvidError as error:
        return Outcome(job, error=error)
    facts = dataclasses.asdict(made)
    del facts["path"], facts["warnings"]
    facts |= {"fps": float(made.fps), "rate": str(made.fps), "seconds": round(made.seconds, 3)}
    return Outcome(job, [made.path], recipe=ready.recipe, facts=facts, warnings=made.warnings)
